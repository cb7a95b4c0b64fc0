#include "sync/net/x509.h"

#include <arpa/inet.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    DAY_S = 86400,
    SERIAL_BYTES = 16,
    KEY_ID_BYTES = 20,
    BACKDATE_S = 3600,
    NAME_BYTES_MAX = 255
};

/* One certificate being made. */
struct making {
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t cert;
    gnutls_x509_privkey_t ca_key; /* NULL: signs itself */
    gnutls_x509_crt_t ca_cert;
    gnutls_datum_t cert_pem, key_pem;
};

static void making_release(struct making *m)
{
    if (m->key != NULL)
        gnutls_x509_privkey_deinit(m->key);
    if (m->cert != NULL)
        gnutls_x509_crt_deinit(m->cert);
    if (m->ca_key != NULL)
        gnutls_x509_privkey_deinit(m->ca_key);
    if (m->ca_cert != NULL)
        gnutls_x509_crt_deinit(m->ca_cert);
    gnutls_free(m->cert_pem.data);
    if (m->key_pem.data != NULL)
        gnutls_memset(m->key_pem.data, 0, m->key_pem.size);
    gnutls_free(m->key_pem.data);
}

static int fail(struct base_err *err, const char *what, int gnutls_rc)
{
    int code = gnutls_rc == GNUTLS_E_MEMORY_ERROR ? BASE_ENOMEM : BASE_EINVALID;
    return base_fail(err, code, "%s: %s", what, gnutls_strerror(gnutls_rc));
}

static int datum(gnutls_datum_t *d, const char *pem, struct base_err *err)
{
    size_t len = strlen(pem);
    if (len > UINT32_MAX)
        return base_fail(err, BASE_ETOOBIG, "a PEM text is too large");
    d->data = (unsigned char *)(uintptr_t)pem; /* only read by GnuTLS */
    d->size = (unsigned)len;
    return 0;
}

static int begin(struct making *m, int64_t now_s, int days)
{
    unsigned char serial[SERIAL_BYTES];
    unsigned char id[64];
    size_t id_len = sizeof id;
    time_t from = (time_t)(now_s - BACKDATE_S); /* a tablet's clock may be a little behind */
    time_t until = (time_t)(now_s + (int64_t)days * DAY_S);
    unsigned bits = GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1);
    int rc;
    if ((rc = gnutls_x509_privkey_init(&m->key)) < 0 || (rc = gnutls_x509_crt_init(&m->cert)) < 0 ||
        (rc = gnutls_x509_privkey_generate(m->key, GNUTLS_PK_ECDSA, bits, 0)) < 0 ||
        (rc = gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof serial)) < 0)
        return rc;
    serial[0] = (unsigned char)((serial[0] & 0x7f) | 0x40); /* positive, full length */
    if ((rc = gnutls_x509_crt_set_version(m->cert, 3)) < 0 ||
        (rc = gnutls_x509_crt_set_serial(m->cert, serial, sizeof serial)) < 0 ||
        (rc = gnutls_x509_crt_set_activation_time(m->cert, from)) < 0 ||
        (rc = gnutls_x509_crt_set_expiration_time(m->cert, until)) < 0 ||
        (rc = gnutls_x509_crt_set_key(m->cert, m->key)) < 0 ||
        (rc = gnutls_x509_crt_get_key_id(m->cert, GNUTLS_KEYID_USE_SHA1, id, &id_len)) < 0)
        return rc;
    return gnutls_x509_crt_set_subject_key_id(m->cert, id, id_len);
}

/* A common name holds at most 64 characters (RFC 5280, ub-common-name). */
static int set_name(struct making *m, const char *name)
{
    size_t len = strlen(name);
    return gnutls_x509_crt_set_dn_by_oid(m->cert, GNUTLS_OID_X520_COMMON_NAME, 0, name,
                                         len > 64 ? 64 : (unsigned)len);
}

static int finish(struct making *m, char **cert_pem, char **key_pem, struct base_err *err)
{
    gnutls_x509_crt_t issuer = m->ca_cert != NULL ? m->ca_cert : m->cert;
    gnutls_x509_privkey_t signer = m->ca_key != NULL ? m->ca_key : m->key;
    int rc = gnutls_x509_crt_sign2(m->cert, issuer, signer, GNUTLS_DIG_SHA256, 0);
    if (rc < 0 || (rc = gnutls_x509_crt_export2(m->cert, GNUTLS_X509_FMT_PEM, &m->cert_pem)) < 0 ||
        (rc = gnutls_x509_privkey_export2_pkcs8(m->key, GNUTLS_X509_FMT_PEM, NULL,
                                                GNUTLS_PKCS_PLAIN, &m->key_pem)) < 0)
        return fail(err, "a certificate could not be signed", rc);
    char *cert = strndup((const char *)m->cert_pem.data, m->cert_pem.size);
    char *key = strndup((const char *)m->key_pem.data, m->key_pem.size);
    if (cert == NULL || key == NULL) {
        free(cert);
        free(key);
        return base_fail(err, BASE_ENOMEM, "out of memory for a certificate");
    }
    *cert_pem = cert;
    *key_pem = key;
    return 0;
}

int net_x509_make_ca(const char *name, int64_t now_s, char **cert_pem, char **key_pem,
                     struct base_err *err)
{
    struct making m = {.key = NULL};
    int rc = begin(&m, now_s, NET_X509_CA_DAYS);
    if (rc < 0 || (rc = set_name(&m, name)) < 0 ||
        (rc = gnutls_x509_crt_set_basic_constraints(m.cert, 1, 0)) < 0 ||
        (rc = gnutls_x509_crt_set_key_usage(m.cert,
                                            GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN)) < 0)
        rc = fail(err, "a CA certificate could not be made", rc);
    else
        rc = finish(&m, cert_pem, key_pem, err);
    making_release(&m);
    return rc;
}

static int add_name(struct making *m, const char *name)
{
    unsigned char ip[16];
    if (inet_pton(AF_INET, name, ip) == 1)
        return gnutls_x509_crt_set_subject_alt_name(m->cert, GNUTLS_SAN_IPADDRESS, ip, 4,
                                                    GNUTLS_FSAN_APPEND);
    if (inet_pton(AF_INET6, name, ip) == 1)
        return gnutls_x509_crt_set_subject_alt_name(m->cert, GNUTLS_SAN_IPADDRESS, ip, 16,
                                                    GNUTLS_FSAN_APPEND);
    return gnutls_x509_crt_set_subject_alt_name(m->cert, GNUTLS_SAN_DNSNAME, name,
                                                (unsigned)strlen(name), GNUTLS_FSAN_APPEND);
}

static int load_ca(struct making *m, const char *cert_pem, const char *key_pem,
                   struct base_err *err)
{
    gnutls_datum_t cert;
    gnutls_datum_t key;
    int rc = datum(&cert, cert_pem, err);
    if (rc != 0 || (rc = datum(&key, key_pem, err)) != 0)
        return rc;
    if ((rc = gnutls_x509_crt_init(&m->ca_cert)) < 0 ||
        (rc = gnutls_x509_crt_import(m->ca_cert, &cert, GNUTLS_X509_FMT_PEM)) < 0)
        return fail(err, "the CA's certificate", rc);
    if ((rc = gnutls_x509_privkey_init(&m->ca_key)) < 0 ||
        (rc = gnutls_x509_privkey_import2(m->ca_key, &key, GNUTLS_X509_FMT_PEM, NULL, 0)) < 0)
        return fail(err, "the CA's key", rc);
    return 0;
}

static int leaf_extensions(struct making *m)
{
    unsigned char id[64];
    size_t id_len = sizeof id;
    int rc;
    if ((rc = gnutls_x509_crt_set_basic_constraints(m->cert, 0, -1)) < 0 ||
        (rc = gnutls_x509_crt_set_key_usage(m->cert, GNUTLS_KEY_DIGITAL_SIGNATURE)) < 0 ||
        (rc = gnutls_x509_crt_set_key_purpose_oid(m->cert, GNUTLS_KP_TLS_WWW_SERVER, 0)) < 0)
        return rc;
    if (gnutls_x509_crt_get_subject_key_id(m->ca_cert, id, &id_len, NULL) < 0)
        return 0;
    return gnutls_x509_crt_set_authority_key_id(m->cert, id, id_len);
}

int net_x509_make_leaf(const char *ca_cert_pem, const char *ca_key_pem, const char *const names[],
                       int64_t now_s, char **cert_pem, char **key_pem, struct base_err *err)
{
    struct making m = {.key = NULL};
    size_t count = 0;
    while (names[count] != NULL)
        count++;
    if (count == 0 || count > NET_X509_NAMES_MAX)
        return base_fail(err, BASE_EINVALID, "a certificate needs 1 to %d names",
                         NET_X509_NAMES_MAX);
    int rc = load_ca(&m, ca_cert_pem, ca_key_pem, err);
    if (rc != 0)
        goto out;
    rc = begin(&m, now_s, NET_X509_LEAF_DAYS);
    if (rc >= 0)
        rc = set_name(&m, names[0]);
    for (size_t i = 0; rc >= 0 && i < count; i++)
        rc = add_name(&m, names[i]);
    if (rc >= 0)
        rc = leaf_extensions(&m);
    rc = rc < 0 ? fail(err, "a certificate could not be made", rc)
                : finish(&m, cert_pem, key_pem, err);
out:
    making_release(&m);
    return rc;
}

static int load(gnutls_x509_crt_t *out, const char *cert_pem, struct base_err *err)
{
    gnutls_datum_t pem;
    gnutls_x509_crt_t cert;
    int rc = datum(&pem, cert_pem, err);
    if (rc != 0)
        return rc;
    rc = gnutls_x509_crt_init(&cert);
    if (rc < 0)
        return fail(err, "a certificate", rc);
    rc = gnutls_x509_crt_import(cert, &pem, GNUTLS_X509_FMT_PEM);
    if (rc < 0) {
        gnutls_x509_crt_deinit(cert);
        return fail(err, "a certificate", rc);
    }
    *out = cert;
    return 0;
}

int net_x509_fingerprint(const char *cert_pem, uint8_t out[32], struct base_err *err)
{
    gnutls_x509_crt_t cert = NULL;
    uint8_t hash[32] = {0};
    size_t len = sizeof hash;
    int rc = load(&cert, cert_pem, err);
    if (rc != 0)
        return rc;
    rc = gnutls_x509_crt_get_fingerprint(cert, GNUTLS_DIG_SHA256, hash, &len);
    gnutls_x509_crt_deinit(cert);
    if (rc < 0)
        return fail(err, "a certificate's fingerprint", rc);
    memcpy(out, hash, sizeof hash);
    return 0;
}

int net_x509_expiry(const char *cert_pem, int64_t *not_after_s, struct base_err *err)
{
    gnutls_x509_crt_t cert = NULL;
    int rc = load(&cert, cert_pem, err);
    if (rc != 0)
        return rc;
    time_t until = gnutls_x509_crt_get_expiration_time(cert);
    gnutls_x509_crt_deinit(cert);
    if (until == (time_t)-1)
        return base_fail(err, BASE_EINVALID, "a certificate does not say when it expires");
    *not_after_s = until;
    return 0;
}

/* Key ids are hashes of the public key: equal if and only if the two belong together. */
static bool key_fits(gnutls_x509_crt_t cert, const char *key_pem)
{
    unsigned char of_cert[64], of_key[64];
    size_t cert_len = sizeof of_cert, key_len = sizeof of_key;
    gnutls_datum_t pem;
    gnutls_x509_privkey_t key;
    if (datum(&pem, key_pem, NULL) != 0 || gnutls_x509_privkey_init(&key) < 0)
        return false;
    bool fits =
        gnutls_x509_privkey_import2(key, &pem, GNUTLS_X509_FMT_PEM, NULL, 0) >= 0 &&
        gnutls_x509_privkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, of_key, &key_len) >= 0 &&
        gnutls_x509_crt_get_key_id(cert, GNUTLS_KEYID_USE_SHA256, of_cert, &cert_len) >= 0 &&
        key_len == cert_len && memcmp(of_key, of_cert, key_len) == 0;
    gnutls_x509_privkey_deinit(key);
    return fits;
}

int net_x509_renew_due(const char *leaf_pem, const char *leaf_key_pem, int64_t now_s, bool *due,
                       struct base_err *err)
{
    gnutls_x509_crt_t cert = NULL;
    int rc = load(&cert, leaf_pem, err);
    if (rc != 0)
        return rc;
    int64_t from = gnutls_x509_crt_get_activation_time(cert);
    int64_t until = gnutls_x509_crt_get_expiration_time(cert);
    *due = from > now_s || until - now_s <= (until - from) / 3 || !key_fits(cert, leaf_key_pem);
    gnutls_x509_crt_deinit(cert);
    return 0;
}

/* The n-th name as text; 0 at the end of the list too, with *out empty. */
static int name_of(gnutls_x509_crt_t cert, unsigned n, char out[NAME_BYTES_MAX + 1])
{
    unsigned char raw[NAME_BYTES_MAX];
    size_t len = sizeof raw;
    int type = gnutls_x509_crt_get_subject_alt_name(cert, n, raw, &len, NULL);
    out[0] = '\0';
    if (type == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
        return 0;
    if (type == GNUTLS_SAN_IPADDRESS && (len == 4 || len == 16))
        return inet_ntop(len == 4 ? AF_INET : AF_INET6, raw, out, NAME_BYTES_MAX) == NULL ? -1 : 0;
    if (type != GNUTLS_SAN_DNSNAME)
        return -1;
    while (len > 0 && raw[len - 1] == '\0')
        len--;
    memcpy(out, raw, len);
    out[len] = '\0';
    return 0;
}

/* count: the names found; those of a certificate that the CA has not signed are nobody's to renew. */
static int names_of(gnutls_x509_crt_t cert, gnutls_x509_crt_t ca,
                    char texts[NET_X509_NAMES_MAX][NAME_BYTES_MAX + 1], unsigned *count,
                    struct base_err *err)
{
    if (gnutls_x509_crt_check_issuer(cert, ca) != 1)
        return base_fail(err, BASE_EDENIED, "the old certificate is not of this CA");
    for (*count = 0; *count < NET_X509_NAMES_MAX; (*count)++) {
        if (name_of(cert, *count, texts[*count]) != 0)
            return base_fail(err, BASE_EINVALID,
                             "a name of the old certificate is neither DNS name nor address");
        if (texts[*count][0] == '\0')
            break;
    }
    return 0;
}

int net_x509_renew_leaf(const char *ca_cert_pem, const char *ca_key_pem, const char *leaf_pem,
                        int64_t now_s, char **cert_pem, char **key_pem, struct base_err *err)
{
    char texts[NET_X509_NAMES_MAX][NAME_BYTES_MAX + 1];
    const char *names[NET_X509_NAMES_MAX + 1] = {NULL};
    gnutls_x509_crt_t leaf = NULL, ca = NULL;
    unsigned count = 0;
    int rc = load(&leaf, leaf_pem, err);
    if (rc == 0)
        rc = load(&ca, ca_cert_pem, err);
    if (rc == 0)
        rc = names_of(leaf, ca, texts, &count, err);
    for (unsigned i = 0; rc == 0 && i < count; i++)
        names[i] = texts[i];
    if (leaf != NULL)
        gnutls_x509_crt_deinit(leaf);
    if (ca != NULL)
        gnutls_x509_crt_deinit(ca);
    return rc == 0
               ? net_x509_make_leaf(ca_cert_pem, ca_key_pem, names, now_s, cert_pem, key_pem, err)
               : rc;
}
