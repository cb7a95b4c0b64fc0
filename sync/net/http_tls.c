#include <stdlib.h>
#include <string.h>

#include "sync/net/http_internal.h"

enum { CHAIN_MAX = 8 };

struct credential {
    gnutls_pcert_st certs[CHAIN_MAX];
    unsigned count;
    gnutls_privkey_t key;
};

/* The one before is kept: a handshake under way may still sign with it. */
struct net_http_tls {
    struct credential *now, *before;
};

static void credential_free(struct credential *c)
{
    if (c == NULL)
        return;
    for (unsigned i = 0; i < c->count; i++)
        gnutls_pcert_deinit(&c->certs[i]);
    if (c->key != NULL)
        gnutls_privkey_deinit(c->key);
    free(c);
}

static int fail(struct base_err *err, const char *what, int rc)
{
    return base_fail(err, rc == GNUTLS_E_MEMORY_ERROR ? BASE_ENOMEM : BASE_EINVALID, "%s: %s", what,
                     gnutls_strerror(rc));
}

/* A key that does not belong to the certificate would make every handshake fail: better to say so
 * now. */
static int check_pair(const struct credential *c, struct base_err *err)
{
    unsigned char a[64];
    unsigned char b[64];
    size_t a_len = sizeof a;
    size_t b_len = sizeof b;
    gnutls_pubkey_t own;
    int rc = gnutls_pubkey_init(&own);
    if (rc < 0)
        return fail(err, "TLS key", rc);
    rc = gnutls_pubkey_import_privkey(own, c->key, 0, 0);
    if (rc >= 0)
        rc = gnutls_pubkey_get_key_id(own, GNUTLS_KEYID_USE_SHA256, a, &a_len);
    if (rc >= 0)
        rc = gnutls_pubkey_get_key_id(c->certs[0].pubkey, GNUTLS_KEYID_USE_SHA256, b, &b_len);
    gnutls_pubkey_deinit(own);
    if (rc < 0)
        return fail(err, "TLS key", rc);
    if (a_len != b_len || memcmp(a, b, a_len) != 0)
        return base_fail(err, BASE_EINVALID, "the TLS key does not belong to the certificate");
    return 0;
}

static int credential_new(struct credential **out, const char *cert_pem, const char *key_pem,
                          struct base_err *err)
{
    gnutls_datum_t cert = {(unsigned char *)(uintptr_t)cert_pem, (unsigned)strlen(cert_pem)};
    gnutls_datum_t key = {(unsigned char *)(uintptr_t)key_pem, (unsigned)strlen(key_pem)};
    struct credential *c = calloc(1, sizeof *c);
    if (c == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for a certificate");
    unsigned count = CHAIN_MAX;
    int rc = gnutls_pcert_list_import_x509_raw(c->certs, &count, &cert, GNUTLS_X509_FMT_PEM, 0);
    if (rc < 0) {
        rc = fail(err, "TLS certificate", rc);
        goto out;
    }
    c->count = count;
    if ((rc = gnutls_privkey_init(&c->key)) < 0 ||
        (rc = gnutls_privkey_import_x509_raw(c->key, &key, GNUTLS_X509_FMT_PEM, NULL, 0)) < 0) {
        rc = fail(err, "TLS key", rc);
        goto out;
    }
    rc = check_pair(c, err);
    if (rc == 0) {
        *out = c;
        c = NULL;
    }
out:
    credential_free(c);
    return rc;
}

int net_http_tls_new(struct net_http_tls **out, const char *cert_pem, const char *key_pem,
                     struct base_err *err)
{
    struct net_http_tls *t = calloc(1, sizeof *t);
    if (t == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for a certificate");
    int rc = credential_new(&t->now, cert_pem, key_pem, err);
    if (rc != 0)
        free(t);
    else
        *out = t;
    return rc;
}

void net_http_tls_free(struct net_http_tls *t)
{
    if (t == NULL)
        return;
    credential_free(t->now);
    credential_free(t->before);
    free(t);
}

int net_http_tls_replace(struct net_http_tls *t, const char *cert_pem, const char *key_pem,
                         struct base_err *err)
{
    struct credential *fresh = NULL;
    int rc = credential_new(&fresh, cert_pem, key_pem, err);
    if (rc != 0)
        return rc;
    credential_free(t->before);
    t->before = t->now;
    t->now = fresh;
    return 0;
}

/* The library keeps the connection in the session, and we keep ours in the connection. */
int net_http_tls_retrieve(gnutls_session_t session, const struct gnutls_cert_retr_st *info,
                          gnutls_pcert_st **certs, unsigned *count, gnutls_ocsp_data_st **ocsp,
                          unsigned *ocsp_count, gnutls_privkey_t *key, unsigned *flags)
{
    struct MHD_Connection *connection = gnutls_session_get_ptr(session);
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    if (i == NULL || i->socket_context == NULL)
        return -1;
    struct net_http_conn *conn = i->socket_context;
    struct credential *now = conn->server->tls->now;
    *certs = now->certs;
    *count = now->count;
    *ocsp = NULL;
    *ocsp_count = 0;
    *key = now->key;
    *flags = 0;
    return 0;
}
