#include "tests/unit/check.h"

#include "sync/net/token.h"
#include "sync/seal/seal.h"

static const int64_t NOW = 1763876880;

static uint8_t pk[SEAL_PUBLIC_KEY_BYTES];
static uint8_t sk[SEAL_SECRET_KEY_BYTES];

static int setup(void **state)
{
    int rc = seal_init(NULL);
    seal_keypair(pk, sk);
    return rc;
}

static int sign(void *user, const void *msg, size_t len, uint8_t sig[64])
{
    seal_sign(sig, msg, len, user);
    return 0;
}

static struct net_token claims(void)
{
    struct net_token t = {
        .audience = "everward-gateway", .issued_s = NOW, .expires_s = NOW + NET_TOKEN_LIFE_S};
    seal_random(t.tenant_id.bytes, sizeof t.tenant_id.bytes);
    seal_random(t.node_id.bytes, sizeof t.node_id.bytes);
    seal_random(t.ticket, sizeof t.ticket);
    return t;
}

static void make(struct base_buf *out, const struct net_token *t)
{
    base_buf_init(out, NET_TOKEN_BYTES_MAX);
    assert_int_equal(net_token_make(out, t, sign, sk, NULL), 0);
}

static int check(const char *token, size_t len, int64_t now, struct base_err *err)
{
    struct net_token out;
    return net_token_check(&out, token, len, pk, "everward-gateway", now, err);
}

static void a_token_comes_back_as_it_was_made(void **state)
{
    struct base_buf b;
    struct net_token t = claims();
    struct net_token back = {.issued_s = 1};
    struct net_token peeked = {.issued_s = 1};
    make(&b, &t);
    assert_int_equal(net_token_check(&back, b.data, b.len, pk, "everward-gateway", NOW + 10, NULL),
                     0);
    assert_true(base_uuid_equal(&back.tenant_id, &t.tenant_id) &&
                base_uuid_equal(&back.node_id, &t.node_id));
    assert_memory_equal(back.ticket, t.ticket, sizeof t.ticket);
    assert_string_equal(back.audience, t.audience);
    assert_true(back.issued_s == t.issued_s && back.expires_s == t.expires_s);
    assert_int_equal(net_token_peek(&peeked, b.data, b.len, NULL), 0);
    assert_true(base_uuid_equal(&peeked.node_id, &t.node_id));
    base_buf_release(&b);
}

static void any_changed_character_is_noticed(void **state)
{
    struct base_buf b;
    struct net_token t = claims();
    struct base_err err;
    make(&b, &t);
    for (size_t i = 0; i < b.len; i++) {
        char was = b.data[i];
        b.data[i] = was == 'A' ? 'B' : 'A';
        if (check(b.data, b.len, NOW, &err) != BASE_EAUTH)
            fail_msg("position %zu of %zu", i, b.len);
        b.data[i] = was;
    }
    assert_int_equal(check(b.data, b.len, NOW, &err), 0);
    for (size_t len = 0; len < b.len; len++)
        assert_int_equal(check(b.data, len, NOW, &err), BASE_EAUTH);
    base_buf_release(&b);
}

static void another_nodes_key_does_not_open_it(void **state)
{
    uint8_t other_pk[SEAL_PUBLIC_KEY_BYTES];
    uint8_t other_sk[SEAL_SECRET_KEY_BYTES];
    struct base_buf b;
    struct net_token t = claims();
    struct net_token out;
    seal_keypair(other_pk, other_sk);
    make(&b, &t);
    assert_int_equal(net_token_check(&out, b.data, b.len, other_pk, "everward-gateway", NOW, NULL),
                     BASE_EAUTH);
    assert_int_equal(net_token_check(&out, b.data, b.len, pk, "everward-other", NOW, NULL),
                     BASE_EAUTH);
    base_buf_release(&b);
}

static void time_is_checked_with_the_allowed_skew(void **state)
{
    struct base_buf b;
    struct base_err err;
    struct net_token t = claims();
    make(&b, &t);
    assert_int_equal(check(b.data, b.len, NOW - NET_TOKEN_SKEW_S, &err), 0);
    assert_int_equal(check(b.data, b.len, NOW - NET_TOKEN_SKEW_S - 1, &err), BASE_EAUTH);
    assert_int_equal(check(b.data, b.len, t.expires_s + NET_TOKEN_SKEW_S - 1, &err), 0);
    assert_int_equal(check(b.data, b.len, t.expires_s + NET_TOKEN_SKEW_S, &err), BASE_EAUTH);
    assert_non_null(strstr(err.text, "expired"));
    base_buf_release(&b);
    t.expires_s = t.issued_s + NET_TOKEN_LIFE_S + 1;
    make(&b, &t);
    assert_int_equal(check(b.data, b.len, NOW, &err), BASE_EAUTH);
    base_buf_release(&b);
    t.expires_s = t.issued_s;
    make(&b, &t);
    assert_int_equal(check(b.data, b.len, NOW, &err), BASE_EAUTH);
    base_buf_release(&b);
}

/* Signs any header and claims with the right key: what is refused is refused for its content. */
static int forged(const char *header, const char *body, struct base_err *err)
{
    struct base_buf b;
    uint8_t sig[64];
    base_buf_init(&b, 8192);
    seal_base64url(&b, header, strlen(header));
    base_buf_char(&b, '.');
    seal_base64url(&b, body, strlen(body));
    seal_sign(sig, b.data, b.len, sk);
    base_buf_char(&b, '.');
    seal_base64url(&b, sig, sizeof sig);
    assert_int_equal(base_buf_check(&b), 0);
    int rc = check(b.data, b.len, NOW, err);
    base_buf_release(&b);
    return rc;
}

#define NODE   "018f0000-0000-7000-8000-000000000001"
#define TENANT "018f0000-0000-7000-8000-000000000002"
#define HEADER "{\"alg\":\"EdDSA\",\"typ\":\"JWT\",\"kid\":\"" NODE "\"}"
#define TICKET "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define BODY(iss, sub, tenant, iat, ticket, more)                                                  \
    "{\"iss\":\"" iss "\",\"sub\":\"" sub "\",\"tenant\":\"" tenant                                \
    "\",\"aud\":\"everward-gateway\",\"iat\":" iat ",\"exp\":1763877000,\"ticket\":\"" ticket      \
    "\"" more "}"
#define GOOD BODY(NODE, NODE, TENANT, "1763876880", TICKET, "")

static void the_algorithm_is_not_negotiable(void **state)
{
    static const char *const headers[] = {
        "{\"alg\":\"none\",\"typ\":\"JWT\",\"kid\":\"" NODE "\"}",
        "{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"" NODE "\"}",
        "{\"alg\":\"eddsa\",\"typ\":\"JWT\",\"kid\":\"" NODE "\"}",
        "{\"alg\":\"EdDSA\",\"kid\":\"" NODE "\"}",
        "{\"alg\":\"EdDSA\",\"typ\":\"JWT\"}",
        "{\"alg\":\"EdDSA\",\"typ\":\"JWT\",\"kid\":\"" TENANT "\"}",
        "{\"alg\":\"EdDSA\",\"typ\":\"JWT\",\"kid\":\"" NODE "\",\"jwk\":{}}",
        "{\"alg\":\"EdDSA\",\"alg\":\"EdDSA\",\"typ\":\"JWT\",\"kid\":\"" NODE "\"}",
        "[]",
        "",
    };
    struct base_err err;
    assert_int_equal(forged(HEADER, GOOD, &err), 0);
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
        assert_int_equal(forged(headers[i], GOOD, &err), BASE_EAUTH);
}

static void claims_that_are_missing_or_odd_are_refused(void **state)
{
    static const char *const bodies[] = {
        BODY(NODE, TENANT, TENANT, "1763876880", TICKET, ""),
        BODY(NODE, NODE, "x", "1763876880", TICKET, ""),
        BODY(NODE, NODE, TENANT, "\"1763876880\"", TICKET, ""),
        BODY(NODE, NODE, TENANT, "1763876880.5", TICKET, ""),
        BODY(NODE, NODE, TENANT, "-5", TICKET, ""),
        BODY(NODE, NODE, TENANT, "1763876880", "AAAA", ""),
        BODY(NODE, NODE, TENANT, "1763876880", TICKET "=", ""),
        BODY(NODE, NODE, TENANT, "1763876880", TICKET, ",\"nbf\":1"),
        BODY(NODE, NODE, TENANT, "1763876880", TICKET, ",\"tenant\":\"" NODE "\""),
        BODY(NODE, NODE, TENANT, "1763876880", TICKET, "} "),
        "{}",
        "null",
    };
    struct base_err err;
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++)
        if (forged(HEADER, bodies[i], &err) != BASE_EAUTH)
            fail_msg("claims %zu were believed", i);
}

static void an_error_never_shows_the_token(void **state)
{
    struct base_err err;
    assert_int_equal(forged(HEADER, BODY(NODE, NODE, "secretsecret", "1", TICKET, ""), &err),
                     BASE_EAUTH);
    assert_null(strstr(err.text, "secret"));
    assert_null(strstr(err.text, TICKET));
}

static int no_key(void *user, const void *msg, size_t len, uint8_t sig[64])
{
    return BASE_EKEY;
}

static void a_failed_signature_leaves_nothing_behind(void **state)
{
    struct base_buf b;
    struct net_token t = claims();
    base_buf_init(&b, NET_TOKEN_BYTES_MAX);
    base_buf_str(&b, "Bearer ");
    assert_int_equal(net_token_make(&b, &t, no_key, NULL, NULL), BASE_EKEY);
    assert_string_equal(b.data, "Bearer ");
    base_buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_comes_back_as_it_was_made),
        cmocka_unit_test(any_changed_character_is_noticed),
        cmocka_unit_test(another_nodes_key_does_not_open_it),
        cmocka_unit_test(time_is_checked_with_the_allowed_skew),
        cmocka_unit_test(the_algorithm_is_not_negotiable),
        cmocka_unit_test(claims_that_are_missing_or_odd_are_refused),
        cmocka_unit_test(an_error_never_shows_the_token),
        cmocka_unit_test(a_failed_signature_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
