#include "sync/gateway/pg.h"

#include "tests/unit/check.h"

static void a_deadlock_or_a_lost_connection_is_passing(void **state)
{
    static const char *const list[] = {"40001", "40P01", "57P01", "57P03", "08006",
                                       "53300", "55P03", "57014", "25P03"};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        assert_true(gw_sqlstate_passing(list[i]));
        assert_false(gw_sqlstate_permanent(list[i]));
    }
}

static void what_the_row_or_its_table_is_at_fault_for_is_permanent(void **state)
{
    static const char *const list[] = {"22P02", "23503", "23505", "23514", "42501",
                                       "42P01", "P0001", "EW400", "EW405"};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        assert_true(gw_sqlstate_permanent(list[i]));
        assert_false(gw_sqlstate_passing(list[i]));
    }
}

/* Quarantining every row because an index is damaged would be worse than waiting. */
static void an_inner_error_of_the_server_is_not_the_rows_fault(void **state)
{
    assert_false(gw_sqlstate_permanent("XX000"));
    assert_false(gw_sqlstate_permanent("XX001"));
    assert_false(gw_sqlstate_permanent(""));
}

static void a_flight_can_be_filled_again_after_it_was_cleared(void **state)
{
    struct gw_flight f;
    const struct gw_param p[] = {gw_text("a"), gw_text(NULL)};
    gw_flight_init(&f);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 40; i++)
            assert_int_equal(gw_flight_add(&f, "SELECT $1, $2", 2, p), i);
        assert_int_equal(f.count, 40);
        assert_int_equal(f.rc, 0);
        gw_flight_clear(&f);
        assert_int_equal(f.count, 0);
        assert_int_equal(f.failed, -1);
    }
    assert_null(gw_flight_value(&f, 0, 0));
    gw_flight_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_deadlock_or_a_lost_connection_is_passing),
        cmocka_unit_test(what_the_row_or_its_table_is_at_fault_for_is_permanent),
        cmocka_unit_test(an_inner_error_of_the_server_is_not_the_rows_fault),
        cmocka_unit_test(a_flight_can_be_filled_again_after_it_was_cleared)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
