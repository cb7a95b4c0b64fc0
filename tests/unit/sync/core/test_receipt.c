#include "tests/unit/check.h"

#include "sync/core/receipt.h"

static void a_receipt_within_our_log_settles(void **state)
{
    struct core_position r = {.seq = 10, .chain = {1}};
    uint8_t ours[CORE_CHAIN_BYTES] = {1};
    assert_int_equal(core_receipt_check(&r, 20, 5, ours), CORE_RECEIPT_SETTLES);
    assert_int_equal(core_receipt_check(&r, 10, 10, ours), CORE_RECEIPT_SETTLES);
}

static void a_receipt_ahead_of_our_log_tells_that_we_were_restored(void **state)
{
    struct core_position r = {.seq = 21, .chain = {1}};
    uint8_t ours[CORE_CHAIN_BYTES] = {1};
    assert_int_equal(core_receipt_check(&r, 20, 5, ours), CORE_RECEIPT_WE_ARE_BEHIND);
}

static void another_chain_at_the_same_seq_is_a_fork(void **state)
{
    struct core_position r = {.seq = 10, .chain = {1}};
    uint8_t ours[CORE_CHAIN_BYTES] = {2};
    assert_int_equal(core_receipt_check(&r, 20, 5, ours), CORE_RECEIPT_FORKED);
}

static void a_receipt_below_what_was_acknowledged_tells_that_the_centre_was_restored(void **state)
{
    struct core_position r = {.seq = 4, .chain = {1}};
    uint8_t ours[CORE_CHAIN_BYTES] = {1};
    assert_int_equal(core_receipt_check(&r, 20, 5, ours), CORE_RECEIPT_CENTRE_BEHIND);
}

static void a_push_is_new_partly_known_known_or_after_a_gap(void **state)
{
    assert_int_equal(core_push_check(10, 11, 20), CORE_PUSH_NEW);
    assert_int_equal(core_push_check(10, 5, 20), CORE_PUSH_PARTLY);
    assert_int_equal(core_push_check(10, 5, 10), CORE_PUSH_KNOWN);
    assert_int_equal(core_push_check(10, 5, 9), CORE_PUSH_KNOWN);
    assert_int_equal(core_push_check(10, 12, 20), CORE_PUSH_GAP);
    assert_int_equal(core_push_check(0, 1, 1), CORE_PUSH_NEW);
    assert_int_equal(core_push_check(0, 0, 1), CORE_PUSH_INVALID);
    assert_int_equal(core_push_check(0, 2, 1), CORE_PUSH_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_receipt_within_our_log_settles),
        cmocka_unit_test(a_receipt_ahead_of_our_log_tells_that_we_were_restored),
        cmocka_unit_test(another_chain_at_the_same_seq_is_a_fork),
        cmocka_unit_test(a_receipt_below_what_was_acknowledged_tells_that_the_centre_was_restored),
        cmocka_unit_test(a_push_is_new_partly_known_known_or_after_a_gap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
