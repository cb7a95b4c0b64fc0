#include "tests/unit/check.h"

#include "sync/base/arena.h"
#include "sync/base/buf.h"
#include "sync/base/clock.h"
#include "sync/base/err.h"
#include "sync/base/uuid.h"

static void a_buffer_remembers_its_first_failure(void **state)
{
    struct base_buf b;
    base_buf_init(&b, 4);
    base_buf_str(&b, "abcd");
    assert_int_equal(base_buf_check(&b), 0);
    base_buf_char(&b, 'e');
    assert_int_equal(base_buf_check(&b), BASE_ETOOBIG);
    base_buf_clear(&b);
    base_buf_str(&b, "x");
    assert_int_equal(base_buf_check(&b), 0);
    assert_string_equal(b.data, "x");
    base_buf_release(&b);
}

static void json_text_is_escaped(void **state)
{
    struct base_buf b;
    base_buf_init(&b, 100);
    base_buf_json(&b, "a\"b\\c\n\x01é", 9);
    assert_string_equal(b.data, "\"a\\\"b\\\\c\\n\\u0001é\"");
    base_buf_release(&b);
}

static void errors_are_prefixed_on_the_way_up(void **state)
{
    struct base_err err;
    int rc = base_fail(&err, BASE_EFULL, "cannot write %s", "node.db");
    assert_int_equal(base_err_prefix(&err, rc, "store"), BASE_EFULL);
    assert_string_equal(err.text, "store: cannot write node.db");
    assert_string_equal(base_code_name(rc), "BASE_EFULL");
    assert_int_equal(base_code_class(rc), BASE_CLASS_RETRY);
    char longest[2000];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    (void)base_fail(&err, BASE_EIO, "%s", longest);
    (void)base_err_prefix(&err, BASE_EIO, "%s", longest);
    assert_true(strlen(err.text) < sizeof err.text);
}

static void an_arena_ends_at_its_limit(void **state)
{
    struct base_arena a;
    base_arena_init(&a, 1000);
    char *p = base_arena_get(&a, 500);
    assert_non_null(p);
    for (int i = 0; i < 500; i++)
        assert_int_equal(p[i], 0);
    assert_null(base_arena_get(&a, 600));
    base_arena_clear(&a);
    assert_non_null(base_arena_get(&a, 600));
    base_arena_release(&a);
}

static void uuids_survive_their_text(void **state)
{
    struct base_uuid u;
    char text[BASE_UUID_CHARS + 1];
    assert_true(base_uuid_parse(&u, "018F0000-aBcD-7000-8000-000000000001", 36));
    base_uuid_format(&u, text);
    assert_string_equal(text, "018f0000-abcd-7000-8000-000000000001");
    assert_false(base_uuid_parse(&u, "018f0000-abcd-7000-8000-00000000000", 35));
    assert_false(base_uuid_parse(&u, "018f0000aabcd-7000-8000-000000000001", 36));
    uint8_t random[10] = {0xff, 0xff, 0xff};
    base_uuid_v7(&u, 0x0123456789ab, random);
    base_uuid_format(&u, text);
    assert_memory_equal(text, "01234567-89ab-7fff-bf00", 23);
}

static void times_are_written_in_utc(void **state)
{
    char text[BASE_TIME_CHARS + 1];
    base_time_format(0, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
    base_time_format(-1, text);
    assert_string_equal(text, "1969-12-31T23:59:59.999Z");
    base_time_format(1763876880123, text);
    assert_string_equal(text, "2025-11-23T05:48:00.123Z");
    int64_t back = 0;
    assert_true(base_time_parse(text, &back));
    assert_int_equal(back, 1763876880123);
    assert_true(base_time_parse("1970-01-01T00:00:01Z", &back));
    assert_int_equal(back, 1000);
    assert_false(base_time_parse("1970-01-01T00:00:01", &back));
    assert_false(base_time_parse("1970-01-01T00:00:01.5Z", &back));
    assert_false(base_time_parse("", &back));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_buffer_remembers_its_first_failure),
        cmocka_unit_test(json_text_is_escaped),
        cmocka_unit_test(errors_are_prefixed_on_the_way_up),
        cmocka_unit_test(an_arena_ends_at_its_limit),
        cmocka_unit_test(uuids_survive_their_text),
        cmocka_unit_test(times_are_written_in_utc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
