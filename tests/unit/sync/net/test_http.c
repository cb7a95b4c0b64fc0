/* What can be said of the server without a client; clients are in
 * tests/integration/test_http_hostile.py. */
#include "tests/unit/check.h"

#include <uv.h>

#include "sync/net/http.h"
#include "sync/net/x509.h"
#include "sync/seal/seal.h"

static uv_loop_t loop;

static int setup(void **state)
{
    return seal_init(NULL) != 0 ? -1 : uv_loop_init(&loop);
}

static int teardown(void **state)
{
    return uv_loop_close(&loop); /* UV_EBUSY if a handle was forgotten */
}

static struct net_http_server *start(const char *cert, const char *key)
{
    struct net_http_config config = {.address = "127.0.0.1", .cert_pem = cert, .key_pem = key};
    struct net_http_server *s = NULL;
    struct base_err err;
    if (net_http_server_start(&s, &loop, &config, NULL, &err) != 0)
        fail_msg("%s", err.text);
    return s;
}

static void stopped(void *user)
{
    (*(int *)user)++;
}

static void stop(struct net_http_server *s)
{
    int count = 0;
    net_http_server_stop(s, stopped, &count);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(count, 1);
}

static void nothing(struct net_http_exchange *x, void *user)
{
    net_http_reply(x, 204, NULL, NULL, 0);
}

static void a_route_nobody_has_decided_about_is_refused(void **state)
{
    struct net_http_server *s = start(NULL, NULL);
    struct net_http_route r = {"GET", "/x/{id}", 0, false, nothing};
    struct base_err err;
    assert_int_not_equal(net_http_route_add(s, &r, &err), 0);
    assert_non_null(strstr(err.text, "/x/{id}"));
    r.auth_decided = true;
    assert_int_equal(net_http_route_add(s, &r, &err), 0);
    assert_int_equal(net_http_route_add(s, &r, &err), BASE_EEXISTS);
    r.path = "no slash";
    assert_int_equal(net_http_route_add(s, &r, &err), BASE_EINVALID);
    r.path = "/{a}/{b}/{c}/{d}/{e}";
    assert_int_equal(net_http_route_add(s, &r, &err), BASE_EINVALID);
    stop(s);
}

static void count_route(void *user, const struct net_http_route *route)
{
    assert_true(route->auth_decided);
    (*(int *)user)++;
}

static void routes_can_be_walked(void **state)
{
    struct net_http_server *s = start(NULL, NULL);
    int count = 0;
    for (int i = 0; i < 100; i++) {
        char path[16];
        struct net_http_route r = {"GET", path, 0, true, nothing};
        (void)snprintf(path, sizeof path, "/r%d", i);
        assert_int_equal(net_http_route_add(s, &r, NULL), 0);
    }
    net_http_routes_each(s, &count, count_route);
    assert_int_equal(count, 100);
    stop(s);
}

static void a_port_in_use_is_said_and_nothing_leaks(void **state)
{
    struct net_http_server *s = start(NULL, NULL);
    struct net_http_server *other = NULL;
    struct net_http_config config = {.address = "127.0.0.1", .port = net_http_server_port(s)};
    struct base_err err;
    assert_true(config.port > 0);
    assert_int_equal(net_http_server_start(&other, &loop, &config, NULL, &err), BASE_EEXISTS);
    assert_null(other);
    config.address = "not an address";
    assert_int_equal(net_http_server_start(&other, &loop, &config, NULL, &err), BASE_EINVALID);
    stop(s);
}

static void a_key_of_another_certificate_is_refused_at_once(void **state)
{
    static const char *const names[] = {"localhost", NULL};
    struct base_err err;
    struct net_http_server *other = NULL;
    char *ca[2];
    char *a[2];
    char *b[2];
    assert_int_equal(net_x509_make_ca("Test", 1763876880, &ca[0], &ca[1], &err), 0);
    assert_int_equal(net_x509_make_leaf(ca[0], ca[1], names, 1763876880, &a[0], &a[1], &err), 0);
    assert_int_equal(net_x509_make_leaf(ca[0], ca[1], names, 1763876880, &b[0], &b[1], &err), 0);
    struct net_http_config config = {.address = "127.0.0.1", .cert_pem = a[0], .key_pem = b[1]};
    assert_int_equal(net_http_server_start(&other, &loop, &config, NULL, &err), BASE_EINVALID);
    config.key_pem = NULL;
    assert_int_equal(net_http_server_start(&other, &loop, &config, NULL, &err), BASE_EINVALID);
    struct net_http_server *s = start(a[0], a[1]);
    assert_int_equal(net_http_server_tls_set(s, a[0], b[1], &err), BASE_EINVALID);
    assert_int_equal(net_http_server_tls_set(s, "no certificate", b[1], &err), BASE_EINVALID);
    for (int i = 0; i < 3; i++)
        assert_int_equal(net_http_server_tls_set(s, b[0], b[1], &err), 0);
    stop(s);
    for (int i = 0; i < 2; i++) {
        free(ca[i]);
        free(a[i]);
        free(b[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_route_nobody_has_decided_about_is_refused),
        cmocka_unit_test(routes_can_be_walked),
        cmocka_unit_test(a_port_in_use_is_said_and_nothing_leaks),
        cmocka_unit_test(a_key_of_another_certificate_is_refused_at_once),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
