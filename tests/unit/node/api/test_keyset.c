#include "tests/unit/check.h"

#include "node/api/internal.h"

static void what_was_added_is_found_and_nothing_else(void **state)
{
    struct api_keyset s = {.first_n = 0};
    uint64_t seed = check_seed();
    uint64_t start = seed;
    assert_int_equal(api_keyset_find(&s, 7), 0);
    for (int64_t n = 1; n <= 50000; n++) {
        assert_int_equal(api_keyset_reserve(&s, 100), 0);
        api_keyset_add(&s, check_random(&seed) | 1, n);
    }
    for (int64_t n = 1; n <= 50000; n++)
        assert_int_equal(api_keyset_find(&s, check_random(&start) | 1), n);
    for (int i = 0; i < 50000; i++)
        assert_int_equal(api_keyset_find(&s, check_random(&seed) & ~(uint64_t)1), 0);
    api_keyset_release(&s);
}

static void fingerprints_that_fall_on_one_place_are_told_apart(void **state)
{
    struct api_keyset s = {.first_n = 0};
    assert_int_equal(api_keyset_reserve(&s, 100), 0);
    for (uint64_t i = 1; i <= 1000; i++)
        api_keyset_add(&s, i << 32 | 5, (int64_t)i);
    for (uint64_t i = 1; i <= 1000; i++)
        assert_int_equal(api_keyset_find(&s, i << 32 | 5), (int64_t)i);
    assert_int_equal(api_keyset_find(&s, 5), 0);
    api_keyset_release(&s);
}

static void what_the_store_has_forgotten_is_forgotten_and_makes_room(void **state)
{
    struct api_keyset s = {.first_n = 0};
    size_t cap = 0;
    for (int64_t n = 1; n <= 400000; n++) {
        s.first_n = n - 1000;
        assert_int_equal(api_keyset_reserve(&s, 100), 0);
        api_keyset_add(&s, (uint64_t)n * 0x9e3779b97f4a7c15u, n);
        cap = s.cap > cap ? s.cap : cap;
    }
    assert_int_equal(api_keyset_find(&s, (uint64_t)398999 * 0x9e3779b97f4a7c15u), 0);
    assert_int_equal(api_keyset_find(&s, (uint64_t)399500 * 0x9e3779b97f4a7c15u), 399500);
    assert_true(cap <= 32 * 1024);
    api_keyset_release(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_added_is_found_and_nothing_else),
        cmocka_unit_test(fingerprints_that_fall_on_one_place_are_told_apart),
        cmocka_unit_test(what_the_store_has_forgotten_is_forgotten_and_makes_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
