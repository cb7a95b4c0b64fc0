/* How values compare. */
#include "tests/unit/node/store/support.h"

static int64_t ticks(const char *s)
{
    int64_t t = -1;
    assert_true(moment_ticks(core_text_of(s), &t));
    return t;
}

static void moments_compare_by_the_instant(void **state)
{
    assert_true(ticks("2026-11-23T08:00:00+02:00") == ticks("2026-11-23T06:00:00Z"));
    assert_true(ticks("2026-11-23T08:00:00.000+02:00") == ticks("2026-11-23 06:00:00+00"));
    assert_true(ticks("2026-11-23T07:59:59.999+02:00") < ticks("2026-11-23T06:00:00Z"));
    assert_true(ticks("2024") == ticks("2024-01-01"));
    assert_true(ticks("2024-02") == ticks("2024-02-01T00:00:00Z"));
    assert_true(ticks("2024-02-29") < ticks("2024-03-01"));
    assert_true(ticks("2024-03-01") - ticks("2024-02-29") == 864000000000);
    assert_true(ticks("0001-01-01") == 0);
    assert_true(ticks("1970-01-01") == 621355968000000000);
    assert_true(ticks("9999-12-31T23:59:59.9999999Z") > ticks("9999-12-31T23:59:59.9999998Z"));
    assert_true(ticks("2026-11-23T00:30:00-05:30") == ticks("2026-11-23T06:00:00Z"));
}

static void what_is_no_moment_has_no_key(void **state)
{
    static const char *const bad[] = {
        "", "20", "2024-13", "2024-02-30x", "2024-02-29T", "2024-02-29T08:00:00+2", "yesterday"};
    int64_t t = 0;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(moment_ticks(core_text_of(bad[i]), &t));
}

static int decimals(const char *a, const char *b)
{
    struct base_buf x;
    struct base_buf y;
    base_buf_init(&x, 4096);
    base_buf_init(&y, 4096);
    decimal_key(&x, core_text_of(a));
    decimal_key(&y, core_text_of(b));
    int order = strcmp(x.data, y.data);
    base_buf_release(&x);
    base_buf_release(&y);
    return order;
}

static void decimals_compare_by_value(void **state)
{
    static const char *const ascending[] = {
        "-1000.5", "-1000", "-99.99", "-99.9", "-10",  "-9.5", "-9",    "-0.51", "-0.5", "-0.05",
        "-0.001",  "0",     "0.0009", "0.001", "0.05", "0.5",  "0.501", "0.51",  "1",    "1.5",
        "7.09",    "7.1",   "7.11",   "9",     "10",   "11",   "99.99", "100",   "1000", "1000.5"};
    int n = (int)(sizeof ascending / sizeof ascending[0]);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < n; k++) {
            int order = decimals(ascending[i], ascending[k]);
            assert_int_equal(order < 0 ? -1 : order > 0, i < k ? -1 : i > k);
        }
    assert_int_equal(decimals("7.1", "7.10"), 0);
    assert_int_equal(decimals("100", "100.00"), 0);
    assert_int_equal(decimals("-0.50", "-0.5"), 0);
    assert_int_equal(decimals("0", "-0.000"), 0);
    assert_true(decimals("NaN", "99999999999999999999") > 0);
}

static void names_compare_without_case(void **state)
{
    static const char *const pairs[][2] = {{"BERG", "berg"},     {"ÅSA ÖBERG", "åsa öberg"},
                                           {"ČAPEK", "čapek"},   {"ΑΘΗΝΑ", "αθηνα"},
                                           {"ИВАНОВ", "иванов"}, {"Ły", "ły"},
                                           {"ÿŸ", "ÿÿ"},         {"Ž×", "ž×"},
                                           {"日本", "日本"}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct base_buf b;
        base_buf_init(&b, 256);
        text_fold(&b, core_text_of(pairs[i][0]));
        assert_string_equal(b.data, pairs[i][1]);
        base_buf_release(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments_compare_by_the_instant),
        cmocka_unit_test(what_is_no_moment_has_no_key),
        cmocka_unit_test(decimals_compare_by_value),
        cmocka_unit_test(names_compare_without_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
