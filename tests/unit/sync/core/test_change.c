#include "tests/unit/check.h"

#include "sync/core/change.h"

static struct base_arena arena;

static int setup(void **state)
{
    base_arena_init(&arena, 16 * 1024 * 1024);
    return 0;
}

static int teardown(void **state)
{
    base_arena_release(&arena);
    return 0;
}

static const char line[] =
    "{\"seq\":12,\"txn\":11,\"op\":\"u\",\"t\":\"patient\",\"id\":\"018f0000-0000-7000-8000-"
    "000000000001\",\"base\":3,"
    "\"c\":{\"phone\":\"+49 \\\"1\\\"\",\"note\":null},\"actor\":null,\"device\":\"tab-7\","
    "\"at\":\"2026-11-23T06:00:00.123Z\",\"clock\":\"unsure\"}";

static void a_line_is_written_as_it_was_read(void **state)
{
    struct core_change c;
    struct base_err err;
    assert_int_equal(core_change_read(&c, line, strlen(line), &arena, &err), 0);
    assert_int_equal(c.seq, 12);
    assert_int_equal(c.txn, 11);
    assert_int_equal(c.base, 3);
    assert_int_equal(c.op, CORE_OP_UPDATE);
    assert_int_equal(c.value_count, 2);
    assert_true(core_text_equal(c.values[0].value, core_text_of("+49 \"1\"")));
    assert_null(c.values[1].value.s);
    assert_true(base_uuid_is_zero(&c.actor));
    assert_int_equal(c.clock, CORE_CLOCK_UNSURE);

    struct base_buf out;
    base_buf_init(&out, 4096);
    core_change_write(&out, &c);
    assert_string_equal(out.data, line);
    base_buf_release(&out);
}

static void every_truncation_of_a_line_is_refused(void **state)
{
    struct core_change c;
    for (size_t len = 0; len < strlen(line); len++)
        assert_int_equal(core_change_read(&c, line, len, &arena, NULL), BASE_EPROTO);
}

static void every_changed_byte_is_refused_or_read_as_written(void **state)
{
    char copy[sizeof line];
    for (size_t i = 0; i < strlen(line); i++)
        for (int bit = 0; bit < 8; bit++) {
            struct core_change c;
            memcpy(copy, line, sizeof line);
            copy[i] = (char)(copy[i] ^ 1 << bit);
            base_arena_clear(&arena);
            if (core_change_read(&c, copy, strlen(line), &arena, NULL) != 0)
                continue;
            struct base_buf out;
            base_buf_init(&out, 4096);
            core_change_write(&out, &c);
            /* upper-case hex of an id is the one form that reads and writes differently */
            if (out.len == strlen(line) && memcmp(out.data, copy, out.len) != 0)
                assert_true(copy[i] >= 'A' && copy[i] <= 'F');
            base_buf_release(&out);
        }
}

static void a_seq_of_zero_or_a_txn_above_it_is_refused(void **state)
{
    struct core_change c;
    char copy[sizeof line];
    memcpy(copy, line, sizeof line);
    memcpy(strstr(copy, "\"txn\":11"), "\"txn\":13", 8);
    assert_int_equal(core_change_read(&c, copy, strlen(copy), &arena, NULL), BASE_EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_written_as_it_was_read),
        cmocka_unit_test(every_truncation_of_a_line_is_refused),
        cmocka_unit_test(every_changed_byte_is_refused_or_read_as_written),
        cmocka_unit_test(a_seq_of_zero_or_a_txn_above_it_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
