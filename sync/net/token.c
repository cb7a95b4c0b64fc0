#include "sync/net/token.h"

#include <string.h>

#include "sync/net/json.h"
#include "sync/seal/seal.h"

enum { TOKEN_HEADER_BYTES_MAX = 256, TOKEN_CLAIMS_BYTES_MAX = 1024 };

int net_token_make(struct base_buf *out, const struct net_token *t, net_token_sign_cb sign,
                   void *user, struct base_err *err)
{
    char tenant[BASE_UUID_CHARS + 1];
    char node[BASE_UUID_CHARS + 1];
    uint8_t sig[SEAL_SIGNATURE_BYTES];
    struct base_buf text;
    size_t from = out->len;
    base_uuid_format(&t->tenant_id, tenant);
    base_uuid_format(&t->node_id, node);
    base_buf_init(&text, TOKEN_CLAIMS_BYTES_MAX);
    base_buf_printf(&text, "{\"alg\":\"EdDSA\",\"typ\":\"JWT\",\"kid\":\"%s\"}", node);
    seal_base64url(out, text.data, text.len);
    base_buf_char(out, '.');
    base_buf_clear(&text);
    base_buf_printf(&text, "{\"iss\":\"%s\",\"sub\":\"%s\",\"tenant\":\"%s\",\"aud\":", node, node,
                    tenant);
    base_buf_json_str(&text, t->audience);
    base_buf_printf(&text, ",\"iat\":%lld,\"exp\":%lld,\"ticket\":\"", (long long)t->issued_s,
                    (long long)t->expires_s);
    seal_base64url(&text, t->ticket, sizeof t->ticket);
    base_buf_str(&text, "\"}");
    int rc = base_buf_check(&text);
    if (rc == 0) {
        seal_base64url(out, text.data, text.len);
        rc = base_buf_check(out);
    }
    if (rc == 0)
        rc = sign(user, out->data + from, out->len - from, sig);
    if (rc == 0) {
        base_buf_char(out, '.');
        seal_base64url(out, sig, sizeof sig);
        rc = base_buf_check(out);
    }
    if (text.data != NULL)
        seal_wipe(text.data, text.len);
    base_buf_release(&text);
    return rc == 0 ? 0 : base_fail(err, rc, "the node's token could not be made");
}

static int malformed(struct base_err *err, const char *what)
{
    return base_fail(err, BASE_EAUTH, "the token %s", what);
}

/* Decodes base64url JSON between from and to. */
static int part(cJSON **out, const char *from, const char *to, struct base_err *err)
{
    char text[TOKEN_CLAIMS_BYTES_MAX];
    size_t len = 0;
    if (!seal_base64url_decode(text, sizeof text, &len, from, (size_t)(to - from)))
        return malformed(err, "is not base64url");
    if (net_json_parse(out, text, len, NULL) != 0)
        return malformed(err, "is not JSON");
    return 0;
}

static int check_header(const char *from, const char *to, struct base_err *err)
{
    static const char *const known[] = {"alg", "typ", "kid", NULL};
    cJSON *header = NULL;
    const char *alg = NULL;
    const char *typ = NULL;
    int rc = part(&header, from, to, err);
    if (rc != 0)
        return rc;
    if (net_json_only(header, known, NULL) != 0 ||
        net_json_str(header, "alg", 16, &alg, NULL) != 0 || strcmp(alg, "EdDSA") != 0 ||
        net_json_str(header, "typ", 16, &typ, NULL) != 0 || strcmp(typ, "JWT") != 0)
        rc = malformed(err, "is not one of EdDSA");
    cJSON_Delete(header);
    return rc;
}

static bool claim_uuid(const cJSON *claims, const char *name, struct base_uuid *out)
{
    const char *s = NULL;
    return net_json_str(claims, name, BASE_UUID_CHARS, &s, NULL) == 0 &&
           base_uuid_parse(out, s, strlen(s));
}

static int read_claims(struct net_token *out, const cJSON *claims, struct base_err *err)
{
    struct net_token t = {0};
    struct base_uuid issuer;
    const char *audience = NULL;
    const char *ticket = NULL;
    size_t len = 0;
    if (!claim_uuid(claims, "sub", &t.node_id) || !claim_uuid(claims, "iss", &issuer) ||
        !base_uuid_equal(&issuer, &t.node_id) || !claim_uuid(claims, "tenant", &t.tenant_id))
        return malformed(err, "does not name its node and tenant");
    if (net_json_str(claims, "aud", sizeof t.audience - 1, &audience, NULL) != 0)
        return malformed(err, "has no audience");
    if (net_json_i64(claims, "iat", 0, INT64_MAX / 2, &t.issued_s, NULL) != 0 ||
        net_json_i64(claims, "exp", 0, INT64_MAX / 2, &t.expires_s, NULL) != 0)
        return malformed(err, "has no times");
    if (net_json_str(claims, "ticket", 64, &ticket, NULL) != 0 ||
        !seal_base64url_decode(t.ticket, sizeof t.ticket, &len, ticket, strlen(ticket)) ||
        len != sizeof t.ticket)
        return malformed(err, "has no ticket");
    memcpy(t.audience, audience, strlen(audience) + 1);
    *out = t;
    return 0;
}

int net_token_peek(struct net_token *out, const char *token, size_t len, struct base_err *err)
{
    cJSON *claims = NULL;
    if (len > NET_TOKEN_BYTES_MAX)
        return malformed(err, "is too long");
    const char *first = memchr(token, '.', len);
    const char *end = token + len;
    const char *second = first == NULL ? NULL : memchr(first + 1, '.', (size_t)(end - first - 1));
    if (second == NULL || memchr(second + 1, '.', (size_t)(end - second - 1)) != NULL)
        return malformed(err, "does not have three parts");
    int rc = check_header(token, first, err);
    if (rc == 0)
        rc = part(&claims, first + 1, second, err);
    if (rc == 0)
        rc = read_claims(out, claims, err);
    cJSON_Delete(claims);
    return rc;
}

int net_token_check(struct net_token *out, const char *token, size_t len,
                    const uint8_t public_key[32], const char *audience, int64_t now_s,
                    struct base_err *err)
{
    struct net_token t;
    uint8_t sig[SEAL_SIGNATURE_BYTES];
    size_t sig_len = 0;
    int rc = net_token_peek(&t, token, len, err);
    if (rc != 0)
        return rc;
    const char *dot = token + len - 1;
    while (*dot != '.')
        dot--;
    if (!seal_base64url_decode(sig, sizeof sig, &sig_len, dot + 1,
                               (size_t)(token + len - dot - 1)) ||
        sig_len != sizeof sig || !seal_verify(sig, token, (size_t)(dot - token), public_key))
        return malformed(err, "is not signed by its node");
    if (strcmp(t.audience, audience) != 0)
        return malformed(err, "is for another audience");
    if (t.expires_s <= t.issued_s || t.expires_s - t.issued_s > NET_TOKEN_LIFE_S)
        return malformed(err, "lives longer than allowed");
    if (t.issued_s > now_s + NET_TOKEN_SKEW_S)
        return malformed(err, "is not valid yet: is the node's clock right?");
    if (t.expires_s + NET_TOKEN_SKEW_S < now_s)
        return malformed(err, "has expired: is the node's clock right?");
    *out = t;
    return 0;
}
