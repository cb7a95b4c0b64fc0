/* Access tokens: what a provider's key signed is believed, nothing else is. Keys are made anew in each run. */
#include "tests/unit/check.h"

#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>

#include "sync/net/jws.h"
#include "sync/seal/seal.h"

#define ISSUER "https://id.example"
#define NOW    1800000000

enum kind { RS256, ES256, EDDSA, RS1024, KINDS };
static const char *const alg_of[KINDS] = {"RS256", "ES256", "EdDSA", "RS256"};

static gnutls_privkey_t private_of[KINDS], stranger;
static struct net_jwks *set;
static struct base_buf token;
static const struct net_access_want want = {
    .issuer = ISSUER, .audience = "everward", .tenant_claim = "tenant", .now_s = NOW};

static void make(gnutls_privkey_t *key, gnutls_pk_algorithm_t algorithm, unsigned bits)
{
    assert_int_equal(gnutls_privkey_init(key), 0);
    assert_int_equal(gnutls_privkey_generate(*key, algorithm, bits, 0), 0);
}

static void put_number(struct base_buf *b, const char *name, const gnutls_datum_t *d, unsigned size)
{
    static const uint8_t zeros[64];
    uint8_t bytes[1024];
    unsigned skip = d->size > size ? d->size - size : 0; /* the sign's zero byte */
    unsigned pad = d->size < size ? size - d->size : 0;
    memcpy(bytes, zeros, pad);
    memcpy(bytes + pad, d->data + skip, d->size - skip);
    base_buf_printf(b, ",\"%s\":\"", name);
    seal_base64url(b, bytes, d->size - skip + pad);
    base_buf_char(b, '"');
}

static void put_jwk(struct base_buf *b, enum kind kind, const char *kid)
{
    gnutls_datum_t x = {NULL, 0};
    gnutls_datum_t y = {NULL, 0};
    gnutls_ecc_curve_t curve;
    gnutls_pubkey_t pub;
    assert_int_equal(gnutls_pubkey_init(&pub), 0);
    assert_int_equal(gnutls_pubkey_import_privkey(pub, private_of[kind], 0, 0), 0);
    base_buf_printf(b, "{\"kid\":\"%s\",\"use\":\"sig\",\"alg\":\"%s\"", kid, alg_of[kind]);
    if (kind == RS256 || kind == RS1024) {
        assert_int_equal(gnutls_pubkey_export_rsa_raw(pub, &x, &y), 0);
        base_buf_str(b, ",\"kty\":\"RSA\"");
        put_number(b, "n", &x, kind == RS256 ? 256 : 128);
        put_number(b, "e", &y, y.size);
    } else {
        assert_int_equal(gnutls_pubkey_export_ecc_raw(pub, &curve, &x, &y), 0);
        base_buf_str(b, kind == ES256 ? ",\"kty\":\"EC\",\"crv\":\"P-256\""
                                      : ",\"kty\":\"OKP\",\"crv\":\"Ed25519\"");
        put_number(b, "x", &x, 32);
        if (kind == ES256)
            put_number(b, "y", &y, 32);
    }
    base_buf_char(b, '}');
    gnutls_free(x.data);
    gnutls_free(y.data);
    gnutls_pubkey_deinit(pub);
}

static int set_up(void **state)
{
    struct base_buf b;
    make(&private_of[RS256], GNUTLS_PK_RSA, 2048);
    make(&private_of[RS1024], GNUTLS_PK_RSA, 1024);
    make(&private_of[ES256], GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1));
    make(&private_of[EDDSA], GNUTLS_PK_EDDSA_ED25519, 0);
    make(&stranger, GNUTLS_PK_EDDSA_ED25519, 0);
    base_buf_init(&b, 65536);
    base_buf_init(&token, 65536);
    base_buf_str(&b, "{\"keys\":[");
    put_jwk(&b, RS256, "r");
    base_buf_char(&b, ',');
    put_jwk(&b, ES256, "e");
    base_buf_char(&b, ',');
    put_jwk(&b, EDDSA, "d");
    base_buf_char(&b, ',');
    put_jwk(&b, RS1024, "weak");
    base_buf_str(&b, ",{\"kty\":\"oct\",\"k\":\"AAAA\",\"kid\":\"secret\"},{\"kty\":\"RSA\","
                     "\"use\":\"enc\",\"n\":\"AQAB\",\"e\":\"AQAB\"},7]}");
    assert_int_equal(net_jwks_parse(&set, b.data, b.len, NULL), 0);
    base_buf_release(&b);
    return 0;
}

static int tear_down(void **state)
{
    for (int i = 0; i < KINDS; i++)
        gnutls_privkey_deinit(private_of[i]);
    gnutls_privkey_deinit(stranger);
    net_jwks_free(set);
    base_buf_release(&token);
    return 0;
}

static void put_signature(gnutls_privkey_t key, enum kind kind)
{
    static const gnutls_sign_algorithm_t algorithms[KINDS] = {
        GNUTLS_SIGN_RSA_SHA256, GNUTLS_SIGN_ECDSA_SHA256, GNUTLS_SIGN_EDDSA_ED25519,
        GNUTLS_SIGN_RSA_SHA256};
    gnutls_datum_t data = {(unsigned char *)token.data, (unsigned)token.len};
    gnutls_datum_t sig;
    gnutls_datum_t r = {NULL, 0};
    gnutls_datum_t s = {NULL, 0};
    uint8_t both[64] = {0};
    assert_int_equal(gnutls_privkey_sign_data2(key, algorithms[kind], 0, &data, &sig), 0);
    base_buf_char(&token, '.');
    if (kind == ES256) {
        assert_int_equal(gnutls_decode_rs_value(&sig, &r, &s), 0);
        for (unsigned i = 0; i < 32 && i < r.size; i++)
            both[31 - i] = r.data[r.size - 1 - i];
        for (unsigned i = 0; i < 32 && i < s.size; i++)
            both[63 - i] = s.data[s.size - 1 - i];
        seal_base64url(&token, both, sizeof both);
        gnutls_free(r.data);
        gnutls_free(s.data);
    } else {
        seal_base64url(&token, sig.data, sig.size);
    }
    gnutls_free(sig.data);
}

static void make_token(gnutls_privkey_t key, enum kind kind, const char *header, const char *claims)
{
    base_buf_clear(&token);
    seal_base64url(&token, header, strlen(header));
    base_buf_char(&token, '.');
    seal_base64url(&token, claims, strlen(claims));
    put_signature(key, kind);
}

#define CLAIMS(rest) "{\"iss\":\"" ISSUER "\",\"sub\":\"nadia\",\"tenant\":\"t1\"," rest "}"
#define GOOD         CLAIMS("\"aud\":\"everward\",\"exp\":1800000300")

static int check(struct base_err *err)
{
    struct net_access a = {.subject = ""};
    int rc = net_access_check(&a, token.data, token.len, set, &want, err);
    if (rc == 0) {
        assert_string_equal(a.subject, "nadia");
        assert_string_equal(a.tenant, "t1");
        assert_int_equal(a.expires_s, 1800000300);
    } else {
        assert_string_equal(a.subject, "");
    }
    return rc;
}

static void tokens_of_each_kind_of_key_are_believed(void **state)
{
    make_token(private_of[RS256], RS256, "{\"alg\":\"RS256\",\"kid\":\"r\",\"typ\":\"at+jwt\"}",
               GOOD);
    assert_int_equal(check(NULL), 0);
    make_token(private_of[ES256], ES256, "{\"alg\":\"ES256\",\"kid\":\"e\",\"typ\":\"JWT\"}", GOOD);
    assert_int_equal(check(NULL), 0);
    make_token(private_of[EDDSA], EDDSA, "{\"alg\":\"EdDSA\",\"kid\":\"d\"}", GOOD);
    assert_int_equal(check(NULL), 0);
    make_token(private_of[EDDSA], EDDSA, "{\"alg\":\"EdDSA\"}",
               GOOD); /* the only key of its kind */
    assert_int_equal(check(NULL), 0);
}

static void the_audience_may_be_one_of_a_list(void **state)
{
    make_token(private_of[EDDSA], EDDSA, "{\"alg\":\"EdDSA\",\"kid\":\"d\"}",
               CLAIMS("\"aud\":[\"other\",\"everward\"],\"exp\":1800000300,\"nbf\":1799999999.5"));
    assert_int_equal(check(NULL), 0);
}

static void an_id_token_holds_for_its_own_login_alone_and_opens_nothing_else(void **state)
{
    static const char header[] = "{\"alg\":\"EdDSA\",\"kid\":\"d\"}";
    struct net_access a;
    struct net_access_want login = want;
    login.nonce = "n1";
    make_token(private_of[EDDSA], EDDSA, header,
               CLAIMS("\"aud\":[\"everward\",\"other\"],\"azp\":\"everward\",\"nonce\":\"n1\","
                      "\"exp\":1800000300"));
    assert_int_equal(net_access_check(&a, token.data, token.len, set, &login, NULL), 0);
    assert_int_equal(net_access_check(&a, token.data, token.len, set, &want, NULL), BASE_EAUTH);
    login.nonce = "n2";
    assert_int_equal(net_access_check(&a, token.data, token.len, set, &login, NULL), BASE_EAUTH);
    make_token(private_of[EDDSA], EDDSA, header,
               CLAIMS("\"aud\":[\"everward\",\"other\"],\"azp\":\"other\",\"nonce\":\"n2\","
                      "\"exp\":1800000300"));
    assert_int_equal(net_access_check(&a, token.data, token.len, set, &login, NULL), BASE_EAUTH);
    make_token(private_of[EDDSA], EDDSA, header, GOOD);
    assert_int_equal(net_access_check(&a, token.data, token.len, set, &login, NULL), BASE_EAUTH);
}

static void a_changed_byte_anywhere_is_refused(void **state)
{
    make_token(private_of[EDDSA], EDDSA, "{\"alg\":\"EdDSA\",\"kid\":\"d\"}", GOOD);
    for (size_t i = 0; i < token.len; i++) {
        char was = token.data[i];
        token.data[i] = was == 'A' ? 'B' : 'A';
        assert_true(check(NULL) < 0);
        token.data[i] = was;
        struct net_access a;
        assert_true(net_access_check(&a, token.data, i, set, &want, NULL) < 0);
    }
    assert_int_equal(check(NULL), 0);
}

static void the_algorithm_belongs_to_the_key(void **state)
{
    static const char *const headers[] = {"{\"alg\":\"none\",\"kid\":\"d\"}",
                                          "{\"alg\":\"HS256\",\"kid\":\"secret\"}",
                                          "{\"alg\":\"RS256\",\"kid\":\"d\"}",
                                          "{\"alg\":\"ES256\",\"kid\":\"d\"}",
                                          "{\"kid\":\"d\"}",
                                          "{\"alg\":7,\"kid\":\"d\"}",
                                          "{\"alg\":\"EdDSA\",\"kid\":7}",
                                          "{\"alg\":\"EdDSA\",\"kid\":\"d\",\"crit\":[\"b64\"]}",
                                          "{\"alg\":\"EdDSA\",\"kid\":\"d\",\"typ\":\"dpop+jwt\"}",
                                          "[]",
                                          ""};
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        make_token(private_of[EDDSA], EDDSA, headers[i], GOOD);
        assert_int_equal(check(NULL), BASE_EAUTH);
    }
}

static void keys_that_are_not_in_the_set_are_told_apart(void **state)
{
    make_token(stranger, EDDSA, "{\"alg\":\"EdDSA\",\"kid\":\"new\"}", GOOD);
    assert_int_equal(check(NULL), BASE_ENOTFOUND);
    make_token(stranger, EDDSA, "{\"alg\":\"EdDSA\",\"kid\":\"d\"}", GOOD);
    assert_int_equal(check(NULL), BASE_EAUTH);
    make_token(private_of[RS1024], RS256, "{\"alg\":\"RS256\",\"kid\":\"weak\"}", GOOD);
    assert_int_equal(check(NULL), BASE_ENOTFOUND); /* 1,024 bits were never taken in */
    assert_int_equal(net_jwks_count(set), 3);
}

static void claims_are_held_against_what_is_wanted(void **state)
{
    static const char *const bad[] = {
        CLAIMS("\"aud\":\"other\",\"exp\":1800000300"),
        CLAIMS("\"aud\":[\"other\",7],\"exp\":1800000300"),
        CLAIMS("\"exp\":1800000300"),
        CLAIMS("\"aud\":\"everward\""),
        CLAIMS("\"aud\":\"everward\",\"exp\":1799999940"),
        CLAIMS("\"aud\":\"everward\",\"exp\":\"1800000300\""),
        CLAIMS("\"aud\":\"everward\",\"exp\":1e99"),
        CLAIMS("\"aud\":\"everward\",\"exp\":1800000300,\"nbf\":1800000061"),
        CLAIMS("\"aud\":\"everward\",\"exp\":1800000300,\"nbf\":\"x\""),
        "{\"iss\":\"https://"
        "evil.example\",\"sub\":\"nadia\",\"tenant\":\"t1\",\"aud\":\"everward\",\"exp\":"
        "1800000300}",
        "{\"iss\":\"" ISSUER "\",\"tenant\":\"t1\",\"aud\":\"everward\",\"exp\":1800000300}",
        "{\"iss\":\"" ISSUER
        "\",\"sub\":\"\",\"tenant\":\"t1\",\"aud\":\"everward\",\"exp\":1800000300}",
        "{\"iss\":\"" ISSUER "\",\"sub\":\"nadia\",\"aud\":\"everward\",\"exp\":1800000300}",
        "{\"iss\":\"" ISSUER
        "\",\"sub\":\"nadia\",\"tenant\":[\"t1\"],\"aud\":\"everward\",\"exp\":1800000300}",
        "{\"iss\":\"" ISSUER "\",\"sub\":\"nadia\",\"tenant\":\"t1\",\"tenant\":\"t2\",\"aud\":"
        "\"everward\",\"exp\":1800000300}",
        "\"everward\"",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        make_token(private_of[EDDSA], EDDSA, "{\"alg\":\"EdDSA\",\"kid\":\"d\"}", bad[i]);
        assert_int_equal(check(NULL), BASE_EAUTH);
    }
}

static void an_oversized_token_is_refused_before_it_is_read(void **state)
{
    struct net_access a;
    char *big = calloc(1, NET_ACCESS_BYTES_MAX + 2);
    memset(big, 'A', NET_ACCESS_BYTES_MAX + 1);
    big[10] = big[20] = '.';
    assert_int_equal(net_access_check(&a, big, NET_ACCESS_BYTES_MAX + 1, set, &want, NULL),
                     BASE_EAUTH);
    free(big);
}

/* RFC 8037, appendix A.4: what it signs is no JSON, so that the refusal tells that the signature held. */
static void the_rfcs_own_ed25519_example_holds(void **state)
{
    static const char keys[] = "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":"
                               "\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";
    static const char text[] = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_"
                               "MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVs"
                               "Pt9g7sVvpAr_MuM0KAg";
    struct net_jwks *own = NULL;
    struct net_access a;
    struct base_err err = {0};
    assert_int_equal(net_jwks_parse(&own, keys, strlen(keys), NULL), 0);
    assert_int_equal(net_access_check(&a, text, strlen(text), own, &want, &err), BASE_EAUTH);
    assert_string_equal(err.text, "the token's claims is not a JSON object");
    net_jwks_free(own);
}

static void a_broken_key_set_is_refused_whole(void **state)
{
    static const char *const bad[] = {
        "", "[]", "{}", "{\"keys\":{}}", "{\"keys\":[]", "{\"keys\":[],\"keys\":[]}"};
    struct net_jwks *none = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_true(net_jwks_parse(&none, bad[i], strlen(bad[i]), NULL) < 0);
    assert_null(none);
}

static void discovery_must_be_of_the_issuer_and_name_https(void **state)
{
    struct net_discovery where;
    static const char good[] =
        "{\"issuer\":\"" ISSUER "\",\"jwks_uri\":\"https://id.example/keys\",\"more\":[1],"
        "\"authorization_endpoint\":\"https://id.example/auth\","
        "\"token_endpoint\":\"http://id.example/token\"}";
    static const char other[] =
        "{\"issuer\":\"https://evil.example\",\"jwks_uri\":\"https://id.example/keys\"}";
    static const char plain[] =
        "{\"issuer\":\"" ISSUER "\",\"jwks_uri\":\"http://id.example/keys\"}";
    assert_int_equal(net_discovery_parse(&where, good, strlen(good), ISSUER, NULL), 0);
    assert_string_equal(where.jwks_uri, "https://id.example/keys");
    assert_string_equal(where.authorize, "https://id.example/auth");
    assert_string_equal(where.token, ""); /* not by https */
    assert_int_equal(net_discovery_parse(&where, other, strlen(other), ISSUER, NULL), BASE_EAUTH);
    assert_int_equal(net_discovery_parse(&where, plain, strlen(plain), ISSUER, NULL), BASE_EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_of_each_kind_of_key_are_believed),
        cmocka_unit_test(the_audience_may_be_one_of_a_list),
        cmocka_unit_test(an_id_token_holds_for_its_own_login_alone_and_opens_nothing_else),
        cmocka_unit_test(a_changed_byte_anywhere_is_refused),
        cmocka_unit_test(the_algorithm_belongs_to_the_key),
        cmocka_unit_test(keys_that_are_not_in_the_set_are_told_apart),
        cmocka_unit_test(claims_are_held_against_what_is_wanted),
        cmocka_unit_test(an_oversized_token_is_refused_before_it_is_read),
        cmocka_unit_test(the_rfcs_own_ed25519_example_holds),
        cmocka_unit_test(a_broken_key_set_is_refused_whole),
        cmocka_unit_test(discovery_must_be_of_the_issuer_and_name_https),
    };
    return seal_init(NULL) != 0 ? 1 : cmocka_run_group_tests(tests, set_up, tear_down);
}
