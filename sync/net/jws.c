#include "sync/net/jws.h"

#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

#include "sync/net/json.h"
#include "sync/seal/seal.h"

enum { RSA_BITS_MIN = 2048, NUMBER_BYTES_MAX = 1024, ES256_PART_BYTES = 32 };

enum kind { KIND_RS256, KIND_ES256, KIND_EDDSA, KIND_COUNT };
static const char *const kind_alg[KIND_COUNT] = {"RS256", "ES256", "EdDSA"};

struct net_jwks {
    struct key {
        char kid[NET_KID_BYTES_MAX + 1]; /* "" if it has none */
        enum kind kind;
        gnutls_pubkey_t key;
    } keys[NET_JWKS_KEYS_MAX];
    int count;
};

/* ---- key sets ------------------------------------------------------------------------------ */

/* A number or a point, base64url. */
static bool take_number(const cJSON *jwk, const char *name, uint8_t bytes[NUMBER_BYTES_MAX],
                        gnutls_datum_t *out)
{
    const char *text = NULL;
    size_t n = 0;
    if (net_json_str(jwk, name, (size_t)NUMBER_BYTES_MAX * 2, &text, NULL) != 0 ||
        !seal_base64url_decode(bytes, NUMBER_BYTES_MAX, &n, text, strlen(text)) || n == 0)
        return false;
    *out = (gnutls_datum_t){.data = bytes, .size = (unsigned)n};
    return true;
}

static bool is(const cJSON *jwk, const char *name, const char *value)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(jwk, name);
    return cJSON_IsString(v) && strcmp(v->valuestring, value) == 0;
}

static bool import_rsa(struct key *k, const cJSON *jwk)
{
    uint8_t n[NUMBER_BYTES_MAX];
    uint8_t e[NUMBER_BYTES_MAX];
    gnutls_datum_t modulus;
    gnutls_datum_t exponent;
    unsigned bits = 0;
    k->kind = KIND_RS256;
    return take_number(jwk, "n", n, &modulus) && take_number(jwk, "e", e, &exponent) &&
           gnutls_pubkey_import_rsa_raw(k->key, &modulus, &exponent) == 0 &&
           gnutls_pubkey_get_pk_algorithm(k->key, &bits) == GNUTLS_PK_RSA && bits >= RSA_BITS_MIN;
}

static bool import_curve(struct key *k, const cJSON *jwk)
{
    uint8_t x[NUMBER_BYTES_MAX];
    uint8_t y[NUMBER_BYTES_MAX];
    gnutls_datum_t px;
    gnutls_datum_t py;
    if (is(jwk, "kty", "OKP")) {
        k->kind = KIND_EDDSA;
        return is(jwk, "crv", "Ed25519") && take_number(jwk, "x", x, &px) && px.size == 32 &&
               gnutls_pubkey_import_ecc_raw(k->key, GNUTLS_ECC_CURVE_ED25519, &px, NULL) == 0;
    }
    k->kind = KIND_ES256;
    return is(jwk, "crv", "P-256") && take_number(jwk, "x", x, &px) &&
           take_number(jwk, "y", y, &py) && px.size == ES256_PART_BYTES &&
           py.size == ES256_PART_BYTES &&
           gnutls_pubkey_import_ecc_raw(k->key, GNUTLS_ECC_CURVE_SECP256R1, &px, &py) == 0;
}

/* False: not a key we could use. */
static bool import_key(struct key *k, const cJSON *jwk)
{
    const char *kid = "";
    if (net_json_has(jwk, "kid") && net_json_str(jwk, "kid", NET_KID_BYTES_MAX, &kid, NULL) != 0)
        return false;
    if (net_json_has(jwk, "use") && !is(jwk, "use", "sig"))
        return false;
    if (gnutls_pubkey_init(&k->key) != 0)
        return false;
    memcpy(k->kid, kid, strlen(kid) + 1);
    bool good = is(jwk, "kty", "RSA")                           ? import_rsa(k, jwk)
                : is(jwk, "kty", "EC") || is(jwk, "kty", "OKP") ? import_curve(k, jwk)
                                                                : false;
    if (good && (!net_json_has(jwk, "alg") || is(jwk, "alg", kind_alg[k->kind])))
        return true;
    gnutls_pubkey_deinit(k->key);
    return false;
}

int net_jwks_parse(struct net_jwks **out, const char *json, size_t len, struct base_err *err)
{
    cJSON *root = NULL;
    if (len > NET_JWKS_BYTES_MAX)
        return base_fail(err, BASE_ETOOBIG, "a key set of more than %d bytes", NET_JWKS_BYTES_MAX);
    int rc = net_json_parse(&root, json, len, err);
    if (rc != 0)
        return base_err_prefix(err, rc, "the key set");
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "keys");
    struct net_jwks *set = cJSON_IsArray(list) ? calloc(1, sizeof *set) : NULL;
    if (set == NULL) {
        cJSON_Delete(root);
        return cJSON_IsArray(list) ? base_fail(err, BASE_ENOMEM, "out of memory for a key set")
                                   : base_fail(err, BASE_EINVALID, "the key set has no \"keys\"");
    }
    const cJSON *jwk;
    cJSON_ArrayForEach(jwk, list)
    {
        if (set->count < NET_JWKS_KEYS_MAX && cJSON_IsObject(jwk) &&
            import_key(&set->keys[set->count], jwk))
            set->count++;
    }
    cJSON_Delete(root);
    *out = set;
    return 0;
}

void net_jwks_free(struct net_jwks *set)
{
    for (int i = 0; set != NULL && i < set->count; i++)
        gnutls_pubkey_deinit(set->keys[i].key);
    free(set);
}

int net_jwks_count(const struct net_jwks *set)
{
    return set == NULL ? 0 : set->count;
}

/* ---- the token ----------------------------------------------------------------------------- */

struct token {
    const char *text;
    size_t header_len, signed_len, len; /* header . claims . signature */
    uint8_t signature[NUMBER_BYTES_MAX];
    size_t signature_len;
};

static int split(struct token *t, const char *text, size_t len, struct base_err *err)
{
    if (len > NET_ACCESS_BYTES_MAX)
        return base_fail(err, BASE_EAUTH, "the token is longer than %d bytes",
                         NET_ACCESS_BYTES_MAX);
    const char *first = memchr(text, '.', len);
    const char *end = text + len;
    const char *second = first == NULL ? NULL : memchr(first + 1, '.', (size_t)(end - first - 1));
    if (second == NULL || memchr(second + 1, '.', (size_t)(end - second - 1)) != NULL)
        return base_fail(err, BASE_EAUTH, "the token does not have three parts");
    *t = (struct token){.text = text,
                        .header_len = (size_t)(first - text),
                        .signed_len = (size_t)(second - text),
                        .len = len};
    if (!seal_base64url_decode(t->signature, sizeof t->signature, &t->signature_len, second + 1,
                               (size_t)(end - second - 1)))
        return base_fail(err, BASE_EAUTH, "the token's signature is not base64url");
    return 0;
}

static int decode(cJSON **out, const char *part, size_t len, const char *what, struct base_err *err)
{
    char *json = malloc(NET_ACCESS_BYTES_MAX);
    size_t n = 0;
    if (json == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for a token");
    int rc = seal_base64url_decode(json, NET_ACCESS_BYTES_MAX, &n, part, len)
                 ? net_json_parse(out, json, n, NULL)
                 : BASE_EAUTH;
    free(json);
    if (rc == 0 && cJSON_IsObject(*out))
        return 0;
    if (rc == 0)
        cJSON_Delete(*out);
    *out = NULL;
    return rc == BASE_ENOMEM
               ? base_fail(err, rc, "out of memory for a token")
               : base_fail(err, BASE_EAUTH, "the token's %s is not a JSON object", what);
}

/* The one key whose kid the header names, or, if it names none, the only key of that kind. */
static const struct key *find_key(const struct net_jwks *set, const char *kid, const char *alg)
{
    const struct key *found = NULL;
    for (int i = 0; i < set->count; i++) {
        const struct key *k = &set->keys[i];
        if (kid[0] != '\0' ? strcmp(k->kid, kid) != 0 : strcmp(kind_alg[k->kind], alg) != 0)
            continue;
        if (found != NULL)
            return NULL;
        found = k;
    }
    return found;
}

static int choose_key(const struct key **out, const struct token *t, const struct net_jwks *set,
                      struct base_err *err)
{
    cJSON *header = NULL;
    const char *alg = NULL;
    const char *kid = "";
    bool known = false;
    int rc = decode(&header, t->text, t->header_len, "header", err);
    if (rc != 0)
        return rc;
    if (net_json_str(header, "alg", 16, &alg, NULL) == 0)
        for (int i = 0; i < KIND_COUNT; i++)
            known = known || strcmp(alg, kind_alg[i]) == 0;
    if (!known)
        rc = base_fail(err, BASE_EAUTH, "only RS256, ES256 and EdDSA are accepted");
    else if (net_json_has(header, "crit"))
        rc = base_fail(err, BASE_EAUTH, "the token demands extensions that are not known here");
    else if (net_json_has(header, "typ") && !is(header, "typ", "JWT") &&
             !is(header, "typ", "at+jwt") && !is(header, "typ", "application/at+jwt"))
        rc = base_fail(err, BASE_EAUTH, "the token is of another type");
    else if (net_json_has(header, "kid") &&
             net_json_str(header, "kid", NET_KID_BYTES_MAX, &kid, NULL) != 0)
        rc = base_fail(err, BASE_EAUTH, "the token's kid is not a short text");
    if (rc == 0 && (*out = find_key(set, kid, alg)) == NULL)
        rc = base_fail(err, BASE_ENOTFOUND, "the issuer's key set has no such key");
    if (rc == 0 && strcmp(kind_alg[(*out)->kind], alg) != 0)
        rc = base_fail(err, BASE_EAUTH, "the token names another algorithm than its key's");
    cJSON_Delete(header);
    return rc;
}

static bool signature_holds(const struct key *k, const struct token *t)
{
    static const gnutls_sign_algorithm_t algorithms[KIND_COUNT] = {
        GNUTLS_SIGN_RSA_SHA256, GNUTLS_SIGN_ECDSA_SHA256, GNUTLS_SIGN_EDDSA_ED25519};
    /* GnuTLS only reads them */
    gnutls_datum_t text = {.data = (unsigned char *)(uintptr_t)t->text,
                           .size = (unsigned)t->signed_len};
    gnutls_datum_t sig = {.data = (unsigned char *)(uintptr_t)t->signature,
                          .size = (unsigned)t->signature_len};
    if (k->kind != KIND_ES256)
        return gnutls_pubkey_verify_data2(k->key, algorithms[k->kind], 0, &text, &sig) >= 0;
    if (t->signature_len != (size_t)2 * ES256_PART_BYTES)
        return false;
    gnutls_datum_t r = {.data = sig.data, .size = ES256_PART_BYTES};
    gnutls_datum_t s = {.data = sig.data + ES256_PART_BYTES, .size = ES256_PART_BYTES};
    gnutls_datum_t der = {.data = NULL};
    if (gnutls_encode_rs_value(&der, &r, &s) != 0)
        return false;
    bool good = gnutls_pubkey_verify_data2(k->key, algorithms[k->kind], 0, &text, &der) >= 0;
    gnutls_free(der.data);
    return good;
}

/* ---- the claims ---------------------------------------------------------------------------- */

/* Seconds since 1970, whole; a fraction is left away. 0 if it is not there. */
static int take_time(const cJSON *claims, const char *name, int64_t *out, struct base_err *err)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(claims, name);
    *out = 0;
    if (v == NULL)
        return 0;
    if (!cJSON_IsNumber(v) || !(v->valuedouble >= 1 && v->valuedouble <= 253402300799.0))
        return base_fail(err, BASE_EAUTH, "the token's %s is not a time", name);
    *out = (int64_t)v->valuedouble;
    return 0;
}

static int check_times(const cJSON *claims, const struct net_access_want *want, int64_t *expires,
                       struct base_err *err)
{
    int64_t not_before = 0;
    int rc = take_time(claims, "exp", expires, err);
    if (rc == 0)
        rc = take_time(claims, "nbf", &not_before, err);
    if (rc != 0)
        return rc;
    if (*expires == 0)
        return base_fail(err, BASE_EAUTH, "the token has no exp");
    if (*expires + NET_ACCESS_SKEW_S <= want->now_s)
        return base_fail(err, BASE_EAUTH, "the token has expired %lld s ago",
                         (long long)(want->now_s - *expires));
    if (not_before > want->now_s + NET_ACCESS_SKEW_S)
        return base_fail(err, BASE_EAUTH, "the token is not valid yet");
    return 0;
}

static bool audience_holds(const cJSON *claims, const char *audience)
{
    const cJSON *aud = cJSON_GetObjectItemCaseSensitive(claims, "aud");
    const cJSON *one;
    if (cJSON_IsString(aud))
        return strcmp(aud->valuestring, audience) == 0;
    if (cJSON_IsArray(aud))
        cJSON_ArrayForEach(one, aud) if (cJSON_IsString(one) &&
                                         strcmp(one->valuestring, audience) == 0) return true;
    return false;
}

static int check_claims(struct net_access *out, const cJSON *claims,
                        const struct net_access_want *want, struct base_err *err)
{
    const char *subject = NULL;
    const char *tenant = NULL;
    struct net_access a = {.expires_s = 0};
    if (!is(claims, "iss", want->issuer))
        return base_fail(err, BASE_EAUTH, "the token is of another issuer");
    if (!audience_holds(claims, want->audience) ||
        (want->nonce != NULL && net_json_has(claims, "azp") && !is(claims, "azp", want->audience)))
        return base_fail(err, BASE_EAUTH, "the token is for another audience");
    if (want->nonce != NULL ? !is(claims, "nonce", want->nonce) : net_json_has(claims, "nonce"))
        return base_fail(err, BASE_EAUTH,
                         want->nonce != NULL ? "the token has another nonce"
                                             : "an ID token opens nothing here");
    int rc = check_times(claims, want, &a.expires_s, err);
    if (rc != 0)
        return rc;
    if (net_json_str(claims, "sub", NET_CLAIM_BYTES_MAX, &subject, NULL) != 0 || *subject == '\0')
        return base_fail(err, BASE_EAUTH, "the token names no subject");
    if (net_json_str(claims, want->tenant_claim, NET_CLAIM_BYTES_MAX, &tenant, NULL) != 0 ||
        *tenant == '\0')
        return base_fail(err, BASE_EAUTH, "the token has no claim \"%s\"", want->tenant_claim);
    memcpy(a.subject, subject, strlen(subject) + 1);
    memcpy(a.tenant, tenant, strlen(tenant) + 1);
    *out = a;
    return 0;
}

int net_access_check(struct net_access *out, const char *token, size_t len,
                     const struct net_jwks *set, const struct net_access_want *want,
                     struct base_err *err)
{
    struct token t;
    const struct key *key = NULL;
    cJSON *claims = NULL;
    int rc = split(&t, token, len, err);
    if (rc == 0)
        rc = choose_key(&key, &t, set, err);
    if (rc != 0)
        return rc;
    if (!signature_holds(key, &t))
        return base_fail(err, BASE_EAUTH, "the token's signature does not match the issuer's key");
    rc = decode(&claims, token + t.header_len + 1, t.signed_len - t.header_len - 1, "claims", err);
    if (rc == 0)
        rc = check_claims(out, claims, want, err);
    cJSON_Delete(claims);
    return rc;
}

static bool take_endpoint(const cJSON *root, const char *name, char out[NET_ENDPOINT_BYTES_MAX + 1])
{
    const char *uri = NULL;
    if (net_json_str(root, name, NET_ENDPOINT_BYTES_MAX, &uri, NULL) != 0 ||
        strncmp(uri, "https://", 8) != 0)
        return false;
    memcpy(out, uri, strlen(uri) + 1);
    return true;
}

int net_discovery_parse(struct net_discovery *out, const char *json, size_t len, const char *issuer,
                        struct base_err *err)
{
    cJSON *root = NULL;
    struct net_discovery d = {.jwks_uri = ""};
    int rc = net_json_parse(&root, json, len, err);
    if (rc != 0)
        return base_err_prefix(err, rc, "the discovery document");
    if (!is(root, "issuer", issuer))
        rc = base_fail(err, BASE_EAUTH, "the discovery document is another issuer's");
    else if (!take_endpoint(root, "jwks_uri", d.jwks_uri))
        rc = base_fail(err, BASE_EPROTO, "the discovery document names no https jwks_uri");
    if (rc == 0) {
        (void)take_endpoint(root, "authorization_endpoint", d.authorize);
        (void)take_endpoint(root, "token_endpoint", d.token);
        *out = d;
    }
    cJSON_Delete(root);
    return rc;
}
