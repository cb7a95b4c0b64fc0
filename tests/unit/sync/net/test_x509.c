#include "tests/unit/check.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "sync/net/x509.h"

static const int64_t NOW = 1763876880;

struct made {
    char *ca_cert, *ca_key, *cert, *key;
};

static void make(struct made *m, const char *const names[])
{
    struct base_err err = {0};
    if (net_x509_make_ca("Everward private CA of Alder", NOW, &m->ca_cert, &m->ca_key, &err) != 0 ||
        net_x509_make_leaf(m->ca_cert, m->ca_key, names, NOW, &m->cert, &m->key, &err) != 0)
        fail_msg("%s", err.text);
}

static void release(struct made *m)
{
    free(m->ca_cert);
    free(m->ca_key);
    free(m->cert);
    free(m->key);
}

static gnutls_x509_crt_t import(const char *pem)
{
    gnutls_x509_crt_t c;
    gnutls_datum_t d = {(unsigned char *)(uintptr_t)pem, (unsigned)strlen(pem)};
    assert_int_equal(gnutls_x509_crt_init(&c), 0);
    assert_int_equal(gnutls_x509_crt_import(c, &d, GNUTLS_X509_FMT_PEM), 0);
    return c;
}

static unsigned verify(const char *ca_pem, const char *pem, const char *host)
{
    gnutls_x509_trust_list_t trust;
    gnutls_x509_crt_t ca = import(ca_pem);
    gnutls_x509_crt_t leaf = import(pem);
    unsigned status = 0;
    gnutls_typed_vdata_st data = {GNUTLS_DT_DNS_HOSTNAME, (unsigned char *)(uintptr_t)host, 0};
    assert_int_equal(gnutls_x509_trust_list_init(&trust, 0), 0);
    assert_int_equal(gnutls_x509_trust_list_add_cas(trust, &ca, 1, 0), 1);
    assert_int_equal(gnutls_x509_trust_list_verify_crt2(trust, &leaf, 1, &data, 1,
                                                        GNUTLS_VERIFY_DISABLE_TIME_CHECKS, &status,
                                                        NULL),
                     0);
    gnutls_x509_crt_deinit(leaf);
    gnutls_x509_trust_list_deinit(trust, 1);
    return status;
}

static void a_leaf_is_good_for_each_of_its_names_and_no_other(void **state)
{
    static const char *const names[] = {"gateway.alder.example", "localhost", "192.0.2.7",
                                        "2001:db8::1", NULL};
    struct made m;
    make(&m, names);
    for (size_t i = 0; names[i] != NULL; i++)
        assert_int_equal(verify(m.ca_cert, m.cert, names[i]), 0);
    assert_int_not_equal(verify(m.ca_cert, m.cert, "other.alder.example"), 0);
    assert_int_not_equal(verify(m.ca_cert, m.cert, "192.0.2.8"), 0);
    release(&m);
}

static void a_leaf_of_another_ca_is_not_trusted_and_a_leaf_is_no_ca(void **state)
{
    static const char *const names[] = {"localhost", NULL};
    struct made a;
    struct made b;
    make(&a, names);
    make(&b, names);
    assert_int_not_equal(verify(b.ca_cert, a.cert, "localhost"), 0);
    gnutls_x509_crt_t leaf = import(a.cert);
    gnutls_x509_crt_t ca = import(a.ca_cert);
    assert_int_equal(gnutls_x509_crt_get_ca_status(leaf, NULL), 0);
    assert_true(gnutls_x509_crt_get_ca_status(ca, NULL) > 0);
    gnutls_x509_crt_deinit(leaf);
    gnutls_x509_crt_deinit(ca);
    release(&a);
    release(&b);
}

static void expiry_and_fingerprint_are_those_of_the_certificate(void **state)
{
    static const char *const names[] = {"localhost", NULL};
    struct made m;
    int64_t until = 0;
    uint8_t print[32];
    uint8_t other[32];
    make(&m, names);
    assert_int_equal(net_x509_expiry(m.cert, &until, NULL), 0);
    assert_true(until == NOW + INT64_C(86400) * NET_X509_LEAF_DAYS);
    assert_int_equal(net_x509_expiry(m.ca_cert, &until, NULL), 0);
    assert_true(until == NOW + INT64_C(86400) * NET_X509_CA_DAYS);
    assert_int_equal(net_x509_fingerprint(m.cert, print, NULL), 0);
    gnutls_x509_crt_t c = import(m.cert);
    size_t len = sizeof other;
    assert_int_equal(gnutls_x509_crt_get_fingerprint(c, GNUTLS_DIG_SHA256, other, &len), 0);
    gnutls_x509_crt_deinit(c);
    assert_memory_equal(print, other, sizeof print);
    assert_int_equal(net_x509_fingerprint(m.ca_cert, other, NULL), 0);
    assert_memory_not_equal(print, other, sizeof print);
    release(&m);
}

static void what_is_no_certificate_is_refused(void **state)
{
    static const char *const none[] = {NULL};
    static const char *const names[] = {"localhost", NULL};
    const char *many[NET_X509_NAMES_MAX + 2];
    struct made m;
    struct base_err err;
    int64_t until = 5;
    uint8_t print[32];
    char *cert = NULL;
    char *key = NULL;
    assert_int_equal(net_x509_expiry("no certificate", &until, &err), BASE_EINVALID);
    assert_int_equal(until, 5);
    assert_int_equal(net_x509_fingerprint("", print, &err), BASE_EINVALID);
    make(&m, names);
    assert_int_equal(net_x509_make_leaf(m.ca_cert, m.ca_key, none, NOW, &cert, &key, &err),
                     BASE_EINVALID);
    for (size_t i = 0; i <= NET_X509_NAMES_MAX; i++)
        many[i] = "localhost";
    many[NET_X509_NAMES_MAX + 1] = NULL;
    assert_int_equal(net_x509_make_leaf(m.ca_cert, m.ca_key, many, NOW, &cert, &key, &err),
                     BASE_EINVALID);
    assert_int_equal(net_x509_make_leaf(m.ca_cert, "no key", names, NOW, &cert, &key, &err),
                     BASE_EINVALID);
    assert_null(cert);
    assert_null(key);
    release(&m);
}

static void a_leaf_is_renewed_with_a_third_of_its_life_left_and_not_before(void **state)
{
    static const char *const names[] = {"alder.example", "192.0.2.7", "2001:db8::1", NULL};
    static const int64_t DAY = 86400;
    struct base_err err = {0};
    struct made m;
    char *cert = NULL, *key = NULL;
    bool due = true;
    make(&m, names);
    assert_int_equal(net_x509_renew_due(m.cert, m.key, NOW, &due, &err), 0);
    assert_false(due);
    assert_int_equal(net_x509_renew_due(m.cert, m.key, NOW + 264 * DAY, &due, &err), 0);
    assert_false(due);
    assert_int_equal(net_x509_renew_due(m.cert, m.key, NOW + 265 * DAY, &due, &err), 0);
    assert_true(due);
    assert_int_equal(
        net_x509_renew_leaf(m.ca_cert, m.ca_key, m.cert, NOW + 265 * DAY, &cert, &key, &err), 0);
    for (size_t i = 0; names[i] != NULL; i++)
        assert_int_equal(verify(m.ca_cert, cert, names[i]), 0);
    assert_string_not_equal(key, m.key);
    assert_int_equal(net_x509_renew_due(cert, key, NOW + 265 * DAY, &due, &err), 0);
    assert_false(due);
    free(cert);
    free(key);
    release(&m);
}

static void a_leaf_from_the_future_or_with_anothers_key_is_renewed(void **state)
{
    static const char *const names[] = {"alder.example", NULL};
    struct base_err err = {0};
    struct made m;
    bool due = false;
    make(&m, names);
    assert_int_equal(net_x509_renew_due(m.cert, m.key, NOW - 7200, &due, &err), 0);
    assert_true(due);
    due = false;
    assert_int_equal(net_x509_renew_due(m.cert, m.ca_key, NOW, &due, &err), 0);
    assert_true(due);
    due = false;
    assert_int_equal(net_x509_renew_due(m.cert, "no key", NOW, &due, &err), 0);
    assert_true(due);
    release(&m);
}

static void a_leaf_of_another_ca_is_not_renewed(void **state)
{
    static const char *const names[] = {"alder.example", NULL};
    struct base_err err = {0};
    struct made m, other;
    char *cert = NULL, *key = NULL;
    make(&m, names);
    make(&other, names);
    /* both CAs have one name; the key's id tells them apart */
    assert_int_equal(
        net_x509_renew_leaf(other.ca_cert, other.ca_key, m.cert, NOW, &cert, &key, &err),
        BASE_EDENIED);
    assert_null(cert);
    assert_int_equal(net_x509_renew_leaf(m.ca_cert, m.ca_key, "no leaf", NOW, &cert, &key, &err),
                     BASE_EINVALID);
    assert_null(key);
    release(&m);
    release(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_leaf_is_good_for_each_of_its_names_and_no_other),
        cmocka_unit_test(a_leaf_of_another_ca_is_not_trusted_and_a_leaf_is_no_ca),
        cmocka_unit_test(expiry_and_fingerprint_are_those_of_the_certificate),
        cmocka_unit_test(what_is_no_certificate_is_refused),
        cmocka_unit_test(a_leaf_is_renewed_with_a_third_of_its_life_left_and_not_before),
        cmocka_unit_test(a_leaf_from_the_future_or_with_anothers_key_is_renewed),
        cmocka_unit_test(a_leaf_of_another_ca_is_not_renewed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
