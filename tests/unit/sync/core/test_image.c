#include "tests/unit/check.h"

#include "sync/core/image.h"

static struct base_arena arena;

static int setup(void **state)
{
    base_arena_init(&arena, 64 * 1024 * 1024);
    return 0;
}

static int teardown(void **state)
{
    base_arena_release(&arena);
    return 0;
}

static void expect_field(const struct core_image *im, int ord, const char *text)
{
    struct core_text v = core_image_field(im, ord);
    if (text == NULL) {
        assert_null(v.s);
        return;
    }
    assert_non_null(v.s);
    assert_int_equal(v.len, strlen(text));
    assert_memory_equal(v.s, text, v.len);
}

static void what_postgresql_prints_is_read(void **state)
{
    /* SELECT ROW('a', NULL, '', 'b c', 'q"x', 'back\slash', 'a,b', '()', E'new\nline', 'é')::text
     */
    static const char text[] =
        "(a,,\"\",\"b c\",\"q\"\"x\",\"back\\\\slash\",\"a,b\",\"()\",\"new\nline\",é)";
    struct core_image im;
    assert_int_equal(core_image_read_composite(&im, text, strlen(text), &arena, NULL), 0);
    assert_int_equal(im.count, 10);
    expect_field(&im, 1, "a");
    expect_field(&im, 2, NULL);
    expect_field(&im, 3, "");
    expect_field(&im, 4, "b c");
    expect_field(&im, 5, "q\"x");
    expect_field(&im, 6, "back\\slash");
    expect_field(&im, 7, "a,b");
    expect_field(&im, 8, "()");
    expect_field(&im, 9, "new\nline");
    expect_field(&im, 10, "é");
    expect_field(&im, 11, NULL);

    struct base_buf out;
    base_buf_init(&out, 4096);
    core_image_write_composite(&out, &im, 10);
    assert_string_equal(out.data, text);
    base_buf_release(&out);
}

static void a_damaged_composite_is_refused(void **state)
{
    static const char *const bad[] = {"",         "(",    "a",    "(a",   "(a,", "(\"a)",
                                      "(\"a\"\"", "(a)b", "(a\\", "(\\)", "a)"};
    struct core_image im;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(core_image_read_composite(&im, bad[i], strlen(bad[i]), &arena, NULL),
                         BASE_ECORRUPT);
}

static void a_damaged_array_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "[",
                                      "[1]",
                                      "[null",
                                      "[\"a\"",
                                      "[\"a\",]",
                                      "[\"\\x\"]",
                                      "[\"\\ud800\"]",
                                      "[\"\\u0000\"]",
                                      "[nul]",
                                      "[\"\x01\"]",
                                      "[\"\xff\"]",
                                      "[ \"a\"]",
                                      "[\"\xed\xa0\x80\"]",
                                      "[\"\\"};
    struct core_image im;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *s = bad[i];
        assert_int_equal(core_image_read_array(&im, &s, s + strlen(s), &arena, NULL), BASE_EPROTO);
        assert_ptr_equal(s, bad[i]);
    }
}

static void trailing_nulls_are_not_written(void **state)
{
    struct core_image im = {0};
    struct base_buf out;
    base_buf_init(&out, 4096);
    core_image_set(&im, 1, core_text_of("x"));
    core_image_set(&im, 5, core_text_of(NULL));
    core_image_write_array(&out, &im);
    assert_string_equal(out.data, "[\"x\"]");
    base_buf_release(&out);
}

static struct core_text random_text(uint64_t *seed)
{
    static const char *const pieces[] = {"a",  "\"", "\\", ",", "(", ")",    " ", "\n",
                                         "\t", "é",  "漢", "😀", "'", "\x7f", "0"};
    struct base_buf b;
    if (check_below(seed, 4) == 0)
        return (struct core_text){NULL, 0};
    base_buf_init(&b, 4096);
    base_buf_str(&b, "");
    for (int n = check_below(seed, 8); n > 0; n--)
        base_buf_str(&b, pieces[check_below(seed, (int)(sizeof pieces / sizeof pieces[0]))]);
    struct core_text v = {base_arena_copy(&arena, b.data, b.len), b.len};
    base_buf_release(&b);
    return v;
}

static void any_image_survives_both_forms(void **state)
{
    uint64_t seed = check_seed();
    struct core_image im;
    struct core_image back;
    struct base_buf out;
    base_buf_init(&out, 1 << 20);
    for (int round = 0; round < 5000; round++) {
        base_arena_clear(&arena);
        im.count = 0;
        int fields = 1 + check_below(&seed, 30);
        for (int ord = 1; ord <= fields; ord++)
            core_image_set(&im, ord, random_text(&seed));

        base_buf_clear(&out);
        core_image_write_composite(&out, &im, fields);
        assert_int_equal(core_image_read_composite(&back, out.data, out.len, &arena, NULL), 0);
        assert_int_equal(back.count, fields);
        for (int ord = 1; ord <= fields; ord++)
            assert_true(core_text_equal(core_image_field(&im, ord), core_image_field(&back, ord)));

        base_buf_clear(&out);
        core_image_write_array(&out, &im);
        const char *s = out.data;
        assert_int_equal(core_image_read_array(&back, &s, out.data + out.len, &arena, NULL), 0);
        assert_ptr_equal(s, out.data + out.len);
        for (int ord = 1; ord <= fields; ord++)
            assert_true(core_text_equal(core_image_field(&im, ord), core_image_field(&back, ord)));
    }
    base_buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_postgresql_prints_is_read),
        cmocka_unit_test(a_damaged_composite_is_refused),
        cmocka_unit_test(a_damaged_array_is_refused),
        cmocka_unit_test(trailing_nulls_are_not_written),
        cmocka_unit_test(any_image_survives_both_forms),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
