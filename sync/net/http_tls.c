/*
 * The certificate, replaceable while the server runs: GnuTLS asks for it at each handshake.
 * libmicrohttpd gives its callback no user pointer, so there is one TLS identity per process; both
 * programs have one listener.
 */
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

#include "sync/net/http_internal.h"

enum { TLS_CHAIN_MAX = 8 };

struct identity {
    gnutls_pcert_st chain[TLS_CHAIN_MAX];
    unsigned count;
    gnutls_privkey_t key;
};

static struct identity *current;
static struct identity *retired; /* a handshake under way may still hold the one before */

static void identity_free(struct identity *id)
{
    if (id == NULL)
        return;
    for (unsigned i = 0; i < id->count; i++)
        gnutls_pcert_deinit(&id->chain[i]);
    if (id->key != NULL)
        gnutls_privkey_deinit(id->key);
    free(id);
}

/* Does the key belong to the certificate? Both give the same id of their public half. */
static bool belongs(const struct identity *id)
{
    unsigned char a[64];
    unsigned char b[64];
    size_t a_len = sizeof a;
    size_t b_len = sizeof b;
    gnutls_pubkey_t public = NULL;
    bool same = gnutls_pubkey_init(&public) == 0 &&
                gnutls_pubkey_import_privkey(public, id->key, 0, 0) == 0 &&
                gnutls_pubkey_get_key_id(public, 0, a, &a_len) == 0 &&
                gnutls_pubkey_get_key_id(id->chain[0].pubkey, 0, b, &b_len) == 0 &&
                a_len == b_len && memcmp(a, b, a_len) == 0;
    if (public != NULL)
        gnutls_pubkey_deinit(public);
    return same;
}

int http_tls_set(const char *cert_pem, const char *key_pem, struct base_err *err)
{
    gnutls_datum_t cert = {(unsigned char *)(uintptr_t)cert_pem, (unsigned)strlen(cert_pem)};
    gnutls_datum_t key = {(unsigned char *)(uintptr_t)key_pem, (unsigned)strlen(key_pem)};
    struct identity *id = calloc(1, sizeof *id);
    if (id == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for the certificate");
    unsigned count = TLS_CHAIN_MAX;
    int rc = gnutls_pcert_list_import_x509_raw(id->chain, &count, &cert, GNUTLS_X509_FMT_PEM, 0);
    if (rc == 0) {
        id->count = count;
        rc = gnutls_privkey_init(&id->key);
    }
    if (rc == 0)
        rc = gnutls_privkey_import_x509_raw(id->key, &key, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (rc != 0 || !belongs(id)) {
        identity_free(id);
        return base_fail(err, BASE_EINVALID, "the TLS certificate or its key cannot be used: %s",
                         rc != 0 ? gnutls_strerror(rc)
                                 : "the key does not belong to the certificate");
    }
    identity_free(retired);
    retired = current;
    current = id;
    return 0;
}

static int give(gnutls_session_t session, const gnutls_datum_t *ca, int ca_count,
                const gnutls_pk_algorithm_t *algorithms, int algorithm_count,
                gnutls_pcert_st **chain, unsigned *count, gnutls_privkey_t *key)
{
    if (current == NULL)
        return -1;
    *chain = current->chain;
    *count = current->count;
    *key = current->key;
    return 0;
}

void *http_tls_callback(void)
{
    union {
        int (*function)(gnutls_session_t, const gnutls_datum_t *, int,
                        const gnutls_pk_algorithm_t *, int, gnutls_pcert_st **, unsigned *,
                        gnutls_privkey_t *);
        void *pointer;
    } u = {.function = give};
    return u.pointer;
}
