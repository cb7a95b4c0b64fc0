#include "tests/unit/check.h"

#include "node/api/internal.h"

static int refused_of(struct node_api *a, struct node_session *s, const char *peer, bool login,
                      int n)
{
    int refused = 0;
    for (int i = 0; i < n; i++)
        refused += api_rate(a, s, peer, login) > 0;
    return refused;
}

static void a_tablet_that_floods_is_held_back_and_others_are_not(void **state)
{
    struct node_api *a = calloc(1, sizeof *a);
    struct node_session flood = {.tokens = 0};
    struct node_session calm = {.tokens = 0};
    int most = API_RATE_SESSION_PER_S * API_RATE_BURST_S;
    assert_int_equal(refused_of(a, &flood, "192.0.2.7", false, most), 0);
    assert_in_range(refused_of(a, &flood, "192.0.2.7", false, 1000), 1, 1000);
    assert_int_equal(refused_of(a, &calm, "192.0.2.7", false, 100), 0);
    free(a);
}

static void an_address_without_a_session_is_held_back(void **state)
{
    struct node_api *a = calloc(1, sizeof *a);
    int most = API_RATE_ADDRESS_PER_S * API_RATE_BURST_S;
    assert_int_equal(refused_of(a, NULL, "192.0.2.7", false, most), 0);
    assert_in_range(refused_of(a, NULL, "192.0.2.7", false, 5000), 1, 5000);
    assert_int_equal(refused_of(a, NULL, "192.0.2.8", false, 100), 0);
    free(a);
}

static void programs_on_the_box_are_not_held_back_except_at_the_login(void **state)
{
    struct node_api *a = calloc(1, sizeof *a);
    assert_int_equal(refused_of(a, NULL, "127.0.0.1", false, 20000), 0);
    assert_int_equal(refused_of(a, NULL, "::ffff:127.0.0.1", false, 20000), 0);
    assert_in_range(refused_of(a, NULL, "127.0.0.1", true, 1000), 1, 1000);
    assert_false(api_is_loopback("128.0.0.1"));
    assert_false(api_is_loopback("::2"));
    free(a);
}

static void more_addresses_than_places_do_not_overflow(void **state)
{
    struct node_api *a = calloc(1, sizeof *a);
    for (int i = 0; i < API_ADDRESSES_MAX * 3; i++) {
        char peer[32];
        snprintf(peer, sizeof peer, "10.%d.%d.%d", i >> 16, i >> 8 & 255, i & 255);
        assert_int_equal(api_rate(a, NULL, peer, false), 0);
    }
    free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tablet_that_floods_is_held_back_and_others_are_not),
        cmocka_unit_test(an_address_without_a_session_is_held_back),
        cmocka_unit_test(programs_on_the_box_are_not_held_back_except_at_the_login),
        cmocka_unit_test(more_addresses_than_places_do_not_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
