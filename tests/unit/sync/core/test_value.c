#include "tests/unit/check.h"

#include "sync/core/catalog.h"

static const char *const sexes[] = {"male", "female", NULL};
static struct core_column column = {.ord = 4, .name = "x", .nullable = true};
static const struct core_table table = {.name = "t", .columns = &column, .column_count = 1};

static void expect(enum core_type type, const char *text, int rc)
{
    column.type = type;
    if (core_value_check(&table, &column, core_text_of(text), NULL) != rc)
        fail_msg("%s \"%s\": not %d", core_type_name(type), text, rc);
}

static void moments_keep_every_precision_that_fhir_knows(void **state)
{
    static const char *const good[] = {"2024",
                                       "2024-02",
                                       "2024-02-29",
                                       "2024-02-29T08:00:00Z",
                                       "2024-02-29T08:00:00+02:00",
                                       "2024-02-29T08:00:00.123456-11:30",
                                       "2016-12-31T23:59:60Z"};
    static const char *const bad[] = {"",
                                      "24",
                                      "2023-02-29",
                                      "2024-13",
                                      "2024-02-29T",
                                      "2024-02-29T08:00",
                                      "2024-02-29T08:00:00",
                                      "2024-02-29 08:00:00Z",
                                      "2024-02-29T25:00:00Z",
                                      "2024-02-29T08:00:00+15:00",
                                      "2024-02-29T08:00:00.Z",
                                      "2024-02-29T08:00:00Zx",
                                      "0000",
                                      "2024-2-9"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        expect(CORE_TYPE_MOMENT, good[i], 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        expect(CORE_TYPE_MOMENT, bad[i], BASE_EINVALID);
}

static void decimals_have_one_form(void **state)
{
    static const char *const good[] = {"0", "7.10", "-0.5", "173.93014137598118",
                                       "100000000000000000000000.000000001"};
    static const char *const bad[] = {"",    "-",   ".5", "5.", "1e3", "01",
                                      "1,5", "NaN", "+1", " 1", "1 "};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        expect(CORE_TYPE_DECIMAL, good[i], 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        expect(CORE_TYPE_DECIMAL, bad[i], BASE_EINVALID);
}

static void integers_end_where_bigint_ends(void **state)
{
    expect(CORE_TYPE_INT, "9223372036854775807", 0);
    expect(CORE_TYPE_INT, "9223372036854775808", BASE_EINVALID);
    expect(CORE_TYPE_INT, "-1", 0);
    expect(CORE_TYPE_INT, "007", BASE_EINVALID);
    expect(CORE_TYPE_INT, "1.0", BASE_EINVALID);
}

static void the_other_types_are_strict_too(void **state)
{
    expect(CORE_TYPE_BOOL, "t", 0);
    expect(CORE_TYPE_BOOL, "true", BASE_EINVALID);
    expect(CORE_TYPE_UUID, "018f0000-0000-7000-8000-000000000001", 0);
    expect(CORE_TYPE_UUID, "018f0000-0000-7000-8000-00000000000g", BASE_EINVALID);
    expect(CORE_TYPE_DATE, "2024-02-29", 0);
    expect(CORE_TYPE_DATE, "2024-02", BASE_EINVALID);
    expect(CORE_TYPE_INSTANT, "2024-02-29 08:00:00.5+00", 0);
    expect(CORE_TYPE_INSTANT, "2024-02-29", BASE_EINVALID);
    expect(CORE_TYPE_BYTES, "\\x00ff", 0);
    expect(CORE_TYPE_BYTES, "\\x0", BASE_EINVALID);
}

static void nulls_and_allowed_values_are_held(void **state)
{
    column.allowed = sexes;
    expect(CORE_TYPE_TEXT, "male", 0);
    expect(CORE_TYPE_TEXT, "man", BASE_EINVALID);
    column.allowed = NULL;
    column.nullable = false;
    expect(CORE_TYPE_TEXT, NULL, BASE_EINVALID);
    column.nullable = true;
    expect(CORE_TYPE_TEXT, NULL, 0);
}

static void an_error_never_quotes_the_value(void **state)
{
    struct base_err err;
    column.type = CORE_TYPE_DECIMAL;
    assert_int_equal(core_value_check(&table, &column, core_text_of("HIV positive"), &err),
                     BASE_EINVALID);
    assert_null(strstr(err.text, "HIV"));
    assert_non_null(strstr(err.text, "t.x"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments_keep_every_precision_that_fhir_knows),
        cmocka_unit_test(decimals_have_one_form),
        cmocka_unit_test(integers_end_where_bigint_ends),
        cmocka_unit_test(the_other_types_are_strict_too),
        cmocka_unit_test(nulls_and_allowed_values_are_held),
        cmocka_unit_test(an_error_never_quotes_the_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
