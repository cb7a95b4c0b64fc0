#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sync/core/number.h"

static void the_known_example_has_its_digit(void **state)
{
    (void)state;
    assert_int_equal(core_number_check("572", 3), '4');
    assert_true(core_number_valid("5724", 4));
    assert_false(core_number_valid("5727", 4));
    assert_false(core_number_valid("57a4", 4));
    assert_false(core_number_valid("", 0));
}

static void every_wrong_digit_and_every_swap_of_neighbours_is_found(void **state)
{
    (void)state;
    for (int64_t n = 0; n < 1000000; n += 7) {
        char text[CORE_NUMBER_BYTES_MAX + 1];
        assert_int_equal(core_number_format(text, "", 6, n, NULL), 0);
        assert_true(core_number_valid(text, 7));
        for (int i = 0; i < 7; i++) {
            char was = text[i];
            for (char c = '0'; c <= '9'; c++) {
                text[i] = c;
                assert_int_equal(core_number_valid(text, 7), c == was);
            }
            text[i] = was;
            if (i == 6 || text[i] == text[i + 1])
                continue;
            text[i] = text[i + 1];
            text[i + 1] = was;
            assert_false(core_number_valid(text, 7));
            text[i + 1] = text[i];
            text[i] = was;
        }
    }
}

static void a_number_has_prefix_width_and_check_digit(void **state)
{
    char text[CORE_NUMBER_BYTES_MAX + 1] = "as it was";
    (void)state;
    assert_int_equal(core_number_format(text, "LK-", 7, 572, NULL), 0);
    assert_string_equal(text, "LK-00005724");
    assert_int_not_equal(core_number_format(text, "LK-", 4, 10000, NULL), 0);
    assert_int_not_equal(core_number_format(text, "LK-", 3, 1, NULL), 0);
    assert_int_not_equal(core_number_format(text, "a prefix that is too long", 7, 1, NULL), 0);
    assert_string_equal(text, "LK-00005724");
}

static void four_weeks_follow_the_use_within_their_bounds(void **state)
{
    (void)state;
    assert_int_equal(core_numbers_need(0, 1), CORE_NUMBERS_FLOOR);
    assert_int_equal(core_numbers_need(50, 7), 200);
    assert_int_equal(core_numbers_need(1000, 28), 1000);
    assert_int_equal(core_numbers_need(INT64_MAX, 1), CORE_NUMBERS_MAX);
    assert_true(core_numbers_low(49, 100));
    assert_false(core_numbers_low(50, 100));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_known_example_has_its_digit),
        cmocka_unit_test(every_wrong_digit_and_every_swap_of_neighbours_is_found),
        cmocka_unit_test(a_number_has_prefix_width_and_check_digit),
        cmocka_unit_test(four_weeks_follow_the_use_within_their_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
