#include "sync/net/token.h"

#include <string.h>

#include "sync/net/json.h"
#include "sync/seal/seal.h"

enum { PART_BYTES_MAX = NET_TOKEN_BYTES_MAX * 3 / 4 + 3 };

static void put_text(struct base_buf *b, const char *name, const char *value)
{
    base_buf_printf(b, "%s\"%s\":", b->len == 1 ? "" : ",", name);
    base_buf_json_str(b, value);
}

static void put_claims(struct base_buf *json, const struct net_token *claims)
{
    char node[BASE_UUID_CHARS + 1];
    char tenant[BASE_UUID_CHARS + 1];
    base_uuid_format(&claims->node_id, node);
    base_uuid_format(&claims->tenant_id, tenant);
    base_buf_char(json, '{');
    put_text(json, "iss", node);
    put_text(json, "sub", node);
    put_text(json, "tenant", tenant);
    put_text(json, "aud", claims->audience);
    base_buf_printf(json, ",\"iat\":%lld,\"exp\":%lld,\"ticket\":\"", (long long)claims->issued_s,
                    (long long)claims->expires_s);
    seal_base64url(json, claims->ticket, sizeof claims->ticket);
    base_buf_str(json, "\"}");
}

int net_token_make(struct base_buf *out, const struct net_token *claims, net_token_sign_cb sign,
                   void *user, struct base_err *err)
{
    struct base_buf json;
    struct base_buf token;
    char kid[BASE_UUID_CHARS + 1];
    uint8_t sig[SEAL_SIGNATURE_BYTES];
    base_buf_init(&json, PART_BYTES_MAX);
    base_buf_init(&token, NET_TOKEN_BYTES_MAX);
    base_uuid_format(&claims->node_id, kid);
    base_buf_printf(&json, "{\"alg\":\"EdDSA\",\"typ\":\"JWT\",\"kid\":\"%s\"}", kid);
    seal_base64url(&token, json.data, json.len);
    base_buf_char(&token, '.');
    int rc = base_buf_check(&json); /* clearing forgets it */
    base_buf_clear(&json);
    put_claims(&json, claims);
    seal_base64url(&token, json.data, json.len);
    if (rc == 0)
        rc = base_buf_check(&json) != 0 ? base_buf_check(&json) : base_buf_check(&token);
    if (rc != 0) {
        rc = base_fail(err, rc, "a token could not be made: %s", base_code_text(rc));
        goto out;
    }
    rc = sign(user, token.data, token.len, sig);
    if (rc != 0) {
        rc = base_fail(err, rc, "a token could not be signed");
        goto out;
    }
    base_buf_char(&token, '.');
    seal_base64url(&token, sig, sizeof sig);
    rc = base_buf_check(&token);
    if (rc == 0) {
        base_buf_add(out, token.data, token.len);
        rc = base_buf_check(out);
    }
    if (rc != 0)
        rc = base_fail(err, rc, "a token could not be made: %s", base_code_text(rc));
out:
    if (json.data != NULL)
        seal_wipe(json.data, json.cap); /* the ticket */
    if (token.data != NULL)
        seal_wipe(token.data, token.cap);
    base_buf_release(&json);
    base_buf_release(&token);
    return rc;
}

/* header.claims.signature; each part base64url. */
struct parts {
    const char *header, *claims, *signature;
    size_t header_len, claims_len, signature_len;
    size_t signed_len; /* what the signature covers, from the beginning */
};

static int split(struct parts *p, const char *token, size_t len, struct base_err *err)
{
    if (len > NET_TOKEN_BYTES_MAX)
        return base_fail(err, BASE_EAUTH, "the token is longer than %d bytes", NET_TOKEN_BYTES_MAX);
    const char *first = memchr(token, '.', len);
    const char *end = token + len;
    const char *second = first == NULL ? NULL : memchr(first + 1, '.', (size_t)(end - first - 1));
    if (second == NULL || memchr(second + 1, '.', (size_t)(end - second - 1)) != NULL)
        return base_fail(err, BASE_EAUTH, "the token does not have three parts");
    p->header = token;
    p->header_len = (size_t)(first - token);
    p->claims = first + 1;
    p->claims_len = (size_t)(second - first - 1);
    p->signature = second + 1;
    p->signature_len = (size_t)(end - second - 1);
    p->signed_len = (size_t)(second - token);
    return 0;
}

static int decode(cJSON **out, const char *part, size_t len, const char *what, struct base_err *err)
{
    char json[PART_BYTES_MAX];
    size_t n = 0;
    if (!seal_base64url_decode(json, sizeof json, &n, part, len))
        return base_fail(err, BASE_EAUTH, "the token's %s is not base64url", what);
    int rc = net_json_parse(out, json, n, err);
    seal_wipe(json, sizeof json);
    if (rc != 0)
        return rc == BASE_ENOMEM ? rc
                                 : base_fail(err, BASE_EAUTH, "the token's %s is not JSON", what);
    if (!cJSON_IsObject(*out)) {
        cJSON_Delete(*out);
        *out = NULL;
        return base_fail(err, BASE_EAUTH, "the token's %s is not an object", what);
    }
    return 0;
}

static int read_uuid(const cJSON *object, const char *name, struct base_uuid *out,
                     struct base_err *err)
{
    const char *text = NULL;
    int rc = net_json_str(object, name, BASE_UUID_CHARS, &text, err);
    if (rc == 0 && !base_uuid_parse(out, text, strlen(text)))
        rc = base_fail(err, BASE_EINVALID, "\"%s\" must be a uuid", name);
    return rc;
}

/* Seconds since 1970: a JSON number, not a string of digits. */
static int read_time(const cJSON *object, const char *name, int64_t *out, struct base_err *err)
{
    if (cJSON_IsString(cJSON_GetObjectItemCaseSensitive(object, name)))
        return base_fail(err, BASE_EINVALID, "\"%s\" must be a number", name);
    return net_json_i64(object, name, 0, INT64_C(253402300799), out, err);
}

static int read_header(struct base_uuid *kid, const struct parts *p, struct base_err *err)
{
    static const char *const known[] = {"alg", "typ", "kid", NULL};
    cJSON *json = NULL;
    const char *alg = NULL;
    const char *typ = NULL;
    int rc = decode(&json, p->header, p->header_len, "header", err);
    if (rc != 0)
        return rc;
    if ((rc = net_json_only(json, known, err)) == 0 &&
        (rc = net_json_str(json, "alg", 16, &alg, err)) == 0 &&
        (rc = net_json_str(json, "typ", 16, &typ, err)) == 0 &&
        (rc = read_uuid(json, "kid", kid, err)) == 0 &&
        (strcmp(alg, "EdDSA") != 0 || strcmp(typ, "JWT") != 0))
        rc = base_fail(err, BASE_EAUTH, "only alg EdDSA and typ JWT are accepted");
    cJSON_Delete(json);
    return rc == 0 ? 0 : base_err_prefix(err, BASE_EAUTH, "the token's header");
}

static int read_ticket(const cJSON *json, struct net_token *t, struct base_err *err)
{
    const char *text = NULL;
    size_t n = 0;
    int rc = net_json_str(json, "ticket", 64, &text, err);
    if (rc == 0 && (!seal_base64url_decode(t->ticket, sizeof t->ticket, &n, text, strlen(text)) ||
                    n != sizeof t->ticket))
        rc = base_fail(err, BASE_EINVALID, "\"ticket\" must be %d bytes in base64url",
                       NET_TICKET_BYTES);
    return rc;
}

static int read_claims(struct net_token *t, const struct parts *p, struct base_err *err)
{
    static const char *const known[] = {"iss", "sub", "tenant", "aud",
                                        "iat", "exp", "ticket", NULL};
    cJSON *json = NULL;
    struct base_uuid subject;
    const char *audience = NULL;
    int rc = decode(&json, p->claims, p->claims_len, "claims", err);
    if (rc != 0)
        return rc;
    if ((rc = net_json_only(json, known, err)) == 0 &&
        (rc = read_uuid(json, "iss", &t->node_id, err)) == 0 &&
        (rc = read_uuid(json, "sub", &subject, err)) == 0 &&
        (rc = read_uuid(json, "tenant", &t->tenant_id, err)) == 0 &&
        (rc = net_json_str(json, "aud", sizeof t->audience - 1, &audience, err)) == 0 &&
        (rc = read_time(json, "iat", &t->issued_s, err)) == 0 &&
        (rc = read_time(json, "exp", &t->expires_s, err)) == 0 &&
        (rc = read_ticket(json, t, err)) == 0) {
        memcpy(t->audience, audience, strlen(audience) + 1);
        if (!base_uuid_equal(&subject, &t->node_id))
            rc = base_fail(err, BASE_EAUTH, "iss and sub differ");
    }
    cJSON_Delete(json);
    return rc == 0 ? 0 : base_err_prefix(err, BASE_EAUTH, "the token's claims");
}

static int read_all(struct net_token *t, const struct parts *p, struct base_err *err)
{
    struct base_uuid kid;
    *t = (struct net_token){.issued_s = 0};
    int rc = read_header(&kid, p, err);
    if (rc == 0)
        rc = read_claims(t, p, err);
    if (rc == 0 && !base_uuid_equal(&kid, &t->node_id))
        rc = base_fail(err, BASE_EAUTH, "the token's kid is not its issuer");
    return rc == 0 || rc == BASE_ENOMEM ? rc : BASE_EAUTH;
}

int net_token_peek(struct net_token *out, const char *token, size_t len, struct base_err *err)
{
    struct parts p = {.header = NULL};
    struct net_token t = {.issued_s = 0};
    int rc = split(&p, token, len, err);
    if (rc == 0)
        rc = read_all(&t, &p, err);
    if (rc == 0)
        *out = t;
    return rc;
}

static int check_time(const struct net_token *t, int64_t now_s, struct base_err *err)
{
    if (t->expires_s <= t->issued_s || t->expires_s - t->issued_s > NET_TOKEN_LIFE_S)
        return base_fail(err, BASE_EAUTH, "the token's life is longer than %d s", NET_TOKEN_LIFE_S);
    if (t->issued_s > now_s + NET_TOKEN_SKEW_S)
        return base_fail(err, BASE_EAUTH,
                         "the token was issued in the future: the clocks differ by %lld s",
                         (long long)(t->issued_s - now_s));
    if (t->expires_s + NET_TOKEN_SKEW_S <= now_s)
        return base_fail(err, BASE_EAUTH, "the token has expired %lld s ago",
                         (long long)(now_s - t->expires_s));
    return 0;
}

int net_token_check(struct net_token *out, const char *token, size_t len,
                    const uint8_t public_key[32], const char *audience, int64_t now_s,
                    struct base_err *err)
{
    struct parts p = {.header = NULL};
    struct net_token t = {.issued_s = 0};
    uint8_t sig[SEAL_SIGNATURE_BYTES];
    size_t sig_len = 0;
    int rc = split(&p, token, len, err);
    if (rc != 0)
        return rc;
    if (!seal_base64url_decode(sig, sizeof sig, &sig_len, p.signature, p.signature_len) ||
        sig_len != sizeof sig || !seal_verify(sig, token, p.signed_len, public_key))
        return base_fail(err, BASE_EAUTH, NET_TOKEN_STRANGER);
    rc = read_all(&t, &p, err);
    if (rc == 0 && strcmp(t.audience, audience) != 0)
        rc = base_fail(err, BASE_EAUTH, "the token is for another audience");
    if (rc == 0)
        rc = check_time(&t, now_s, err);
    if (rc == 0)
        *out = t;
    return rc;
}
