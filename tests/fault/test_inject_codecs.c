/*
 * Every allocation of the parsers and codecs fails in turn: the error is "out of memory" and never
 * blames the input, for a peer that is told its bytes are bad may set them aside for good.
 */
#include "sync/core/change.h"
#include "sync/gateway/push.h"
#include "sync/net/catalog_json.h"
#include "sync/net/json.h"
#include "sync/net/token.h"
#include "sync/seal/seal.h"
#include "tests/fault/inject.h"
#include "tests/unit/check.h"

enum { POINTS_MAX = 5000, TEXT_BYTES_MAX = 1 << 20 };

static const char catalog_text[] =
    "{\"format\":\"everward-catalog/1\",\"version\":7,\"tables\":["
    "{\"tbl\":1,\"name\":\"patient\",\"class\":\"field\",\"deletable\":true,\"push_only\":false,"
    "\"order\":10,\"columns\":["
    "{\"ord\":4,\"name\":\"name\",\"type\":\"text\",\"null\":true,\"class\":null,\"group\":null,"
    "\"api\":\"rw\",\"allowed\":[\"a\",\"b\"],\"ref\":null}],\"indexes\":[[\"name\"]]}]}";
static const char change_text[] =
    "{\"seq\":1,\"txn\":1,\"op\":\"i\",\"t\":\"patient\",\"id\":"
    "\"01900000-0001-7000-8000-000000000001\",\"base\":0,\"c\":{\"name\":\"R\\u00f6e\"},"
    "\"actor\":null,\"device\":\"test\",\"at\":\"2026-11-23T06:00:00.123Z\",\"clock\":\"ok\"}";
static const char json_text[] = "{\"a\":[1,2.5,\"\\u00e9x\",{\"b\":null}],\"c\":\"text\"}";
static const char tenant[] = "11111111-1111-4111-8111-111111111111";
static const char node[] = "33333333-3333-4333-8333-333333333333";
static uint8_t public_key[SEAL_PUBLIC_KEY_BYTES], secret_key[SEAL_SECRET_KEY_BYTES];
static struct base_buf frame; /* a good push */

typedef int (*codec_cb)(struct base_err *err);

static int parse_json(struct base_err *err)
{
    cJSON *o = NULL;
    struct base_buf b;
    int rc = net_json_parse(&o, json_text, sizeof json_text - 1, err);
    if (rc != 0)
        assert_null(o);
    base_buf_init(&b, TEXT_BYTES_MAX);
    if (rc == 0)
        net_json_write(&b, o);
    if (rc == 0 && base_buf_check(&b) != 0)
        rc = base_fail(err, base_buf_check(&b), "writing");
    base_buf_release(&b);
    cJSON_Delete(o);
    return rc;
}

static int parse_catalog(struct base_err *err)
{
    struct core_catalog c;
    int rc = net_catalog_parse(&c, catalog_text, sizeof catalog_text - 1, err);
    if (rc == 0)
        base_arena_release(&c.arena);
    return rc;
}

static int read_change(struct base_err *err)
{
    struct core_change c;
    struct base_arena arena;
    base_arena_init(&arena, TEXT_BYTES_MAX);
    int rc = core_change_read(&c, change_text, sizeof change_text - 1, &arena, err);
    base_arena_release(&arena);
    return rc;
}

static int sign(void *user, const void *msg, size_t len, uint8_t sig[64])
{
    seal_sign(sig, msg, len, secret_key);
    return 0;
}

static int make_and_check_token(struct base_err *err)
{
    struct net_token t = {.audience = "gw", .issued_s = 1000, .expires_s = 1300};
    struct net_token seen;
    struct base_buf b;
    base_buf_init(&b, NET_TOKEN_BYTES_MAX);
    int rc = net_token_make(&b, &t, sign, NULL, err);
    if (rc == 0)
        rc = net_token_check(&seen, b.data, b.len, public_key, "gw", 1001, err);
    base_buf_release(&b);
    return rc;
}

static int decode_push(struct base_err *err)
{
    struct push p = {.status = 0};
    memcpy(p.who.tenant, tenant, sizeof tenant);
    memcpy(p.who.node, node, sizeof node);
    memcpy(p.who.public_key, public_key, sizeof public_key);
    base_arena_init(&p.arena, PUSH_ARENA_BYTES_MAX);
    base_buf_init(&p.plain, CORE_BATCH_BYTES_MAX);
    push_decode_bytes(&p, frame.data, frame.len);
    base_arena_release(&p.arena);
    base_buf_release(&p.plain);
    *err = p.err;
    if (p.status == 0)
        return 0;
    if (p.status != 503)
        fail_msg("the node is told %d %s for want of memory: %s", p.status, p.code, p.err.text);
    return BASE_ENOMEM;
}

static void make_frame(void)
{
    uint8_t chain[CORE_CHAIN_BYTES] = {0};
    uint8_t sig[SEAL_SIGNATURE_BYTES];
    struct base_buf plain;
    struct base_buf msg;
    base_buf_init(&plain, TEXT_BYTES_MAX);
    base_buf_init(&msg, TEXT_BYTES_MAX);
    base_buf_init(&frame, TEXT_BYTES_MAX);
    base_buf_printf(&plain,
                    "{\"format\":\"everward-push/1\",\"tenant\":\"%s\",\"node\":\"%s\",\"inc\":1,"
                    "\"catalog\":7,\"first\":1,\"last\":1,\"chain\":\"",
                    tenant, node);
    base_buf_hex(&plain, chain, sizeof chain);
    base_buf_str(&plain, "\"}");
    base_buf_str(&msg, "everward push 1\n");
    base_buf_add(&msg, plain.data, plain.len);
    base_buf_char(&msg, '\n');
    seal_chain_step(chain, change_text, sizeof change_text - 1);
    base_buf_hex(&msg, chain, sizeof chain);
    seal_sign(sig, msg.data, msg.len, secret_key);
    base_buf_printf(&plain, "\n%s\n{\"count\":1,\"chain\":\"", change_text);
    base_buf_hex(&plain, chain, sizeof chain);
    base_buf_str(&plain, "\",\"sig\":\"");
    seal_base64url(&plain, sig, sizeof sig);
    base_buf_str(&plain, "\"}\n");
    assert_int_equal(seal_compress(&frame, plain.data, plain.len, 1, NULL), 0);
    base_buf_release(&plain);
    base_buf_release(&msg);
}

static void every(const char *name, codec_cb run)
{
    struct base_err err = {0};
    bool fired = true;
    assert_int_equal(run(&err), 0);
    for (long n = 1; fired; n++) {
        assert_in_range(n, 1, POINTS_MAX);
        for (int again = 0; again < 2; again++) {
            err = (struct base_err){0};
            inject_arm(INJECT_ALLOC, n, again);
            int rc = run(&err);
            fired = inject_disarm();
            if (rc != (fired ? BASE_ENOMEM : 0))
                print_error("%s: allocation %ld: %d %s\n", name, n, rc, err.text);
            assert_int_equal(rc, fired ? BASE_ENOMEM : 0);
        }
    }
    assert_int_equal(run(&err), 0);
    inject_figures(name);
}

static void test_json_says_out_of_memory_at_every_allocation(void **state)
{
    every("JSON", parse_json);
}

static void test_a_catalog_says_out_of_memory_at_every_allocation(void **state)
{
    every("a catalog", parse_catalog);
}

static void test_a_change_says_out_of_memory_at_every_allocation(void **state)
{
    every("a change", read_change);
}

static void test_a_token_says_out_of_memory_at_every_allocation(void **state)
{
    every("a token", make_and_check_token);
}

static void test_a_push_is_never_refused_for_want_of_memory(void **state)
{
    every("a push", decode_push);
}

static int set_up(void **state)
{
    assert_int_equal(seal_init(NULL), 0);
    seal_keypair(public_key, secret_key);
    make_frame();
    return 0;
}

static int tear_down(void **state)
{
    base_buf_release(&frame);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_says_out_of_memory_at_every_allocation),
        cmocka_unit_test(test_a_catalog_says_out_of_memory_at_every_allocation),
        cmocka_unit_test(test_a_change_says_out_of_memory_at_every_allocation),
        cmocka_unit_test(test_a_token_says_out_of_memory_at_every_allocation),
        cmocka_unit_test(test_a_push_is_never_refused_for_want_of_memory),
    };
    inject_start();
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
