/*
 * A push from a hostile node. First byte: 'z' a frame as it came; 'p' plain lines, framed here; else
 * change lines, between a header and a trailer that fit and are signed, so that the walls do not hide
 * what is behind them: the changes against the catalog, the plan and its SQL.
 */
#include <string.h>

#include "sync/gateway/push.h"
#include "sync/net/catalog_json.h"
#include "sync/seal/seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FUZZ_BYTES_MAX = 1 << 20 };

static const char catalog_text[] =
    "{\"format\":\"everward-catalog/1\",\"version\":7,\"tables\":["
    "{\"tbl\":1,\"name\":\"patient\",\"class\":\"field\",\"deletable\":true,\"push_only\":false,"
    "\"order\":10,\"columns\":["
    "{\"ord\":4,\"name\":\"name\",\"type\":\"text\",\"null\":true,\"class\":null,\"group\":null,"
    "\"api\":\"rw\",\"allowed\":null,\"ref\":null},"
    "{\"ord\":5,\"name\":\"born\",\"type\":\"moment\",\"null\":true,\"class\":null,\"group\":null,"
    "\"api\":\"rw\",\"allowed\":null,\"ref\":null},"
    "{\"ord\":6,\"name\":\"weight\",\"type\":\"decimal\",\"null\":true,\"class\":null,"
    "\"group\":null,\"api\":\"rw\",\"allowed\":null,\"ref\":null},"
    "{\"ord\":7,\"name\":\"more\",\"type\":\"json\",\"null\":true,\"class\":null,\"group\":null,"
    "\"api\":\"rw\",\"allowed\":null,\"ref\":null}],\"indexes\":[]}]}";

static const char *const types[] = {"text", "everward.moment", "numeric", "jsonb"};
static uint8_t public_key[SEAL_PUBLIC_KEY_BYTES], secret_key[SEAL_SECRET_KEY_BYTES];

static struct gw_catalog *catalog(void)
{
    static struct gw_column columns[4];
    static struct gw_table table = {.rel = "\"ward\".\"patient\"",
                                    .key = "\"id\"",
                                    .tenant = "\"tenant_id\"",
                                    .image = "ROW(r.*)::text",
                                    .columns = columns,
                                    .known = true};
    static struct gw_catalog c;
    if (c.refs == 0) {
        BASE_ASSERT(seal_init(NULL) == 0);
        seal_keypair(public_key, secret_key);
        BASE_ASSERT(net_catalog_parse(&c.core, catalog_text, strlen(catalog_text), NULL) == 0);
        for (int i = 0; i < 4; i++)
            columns[i] = (struct gw_column){"\"x\"", types[i], NULL, i == 0};
        table.core = &c.core.tables[0];
        c.tables = &table;
        c.version = 7;
        c.refs = 1;
    }
    return &c;
}

static long long count_lines(const uint8_t *data, size_t size)
{
    long long n = 0;
    for (size_t i = 0; i < size; i++)
        n += data[i] == '\n';
    return n;
}

/* Header, the lines, trailer: true ones. */
static void wrap(struct base_buf *out, const struct push *p, const uint8_t *data, size_t size)
{
    uint8_t chain[CORE_CHAIN_BYTES] = {0};
    uint8_t sig[SEAL_SIGNATURE_BYTES];
    struct base_buf header;
    struct base_buf msg;
    long long count = count_lines(data, size);
    base_buf_init(&header, FUZZ_BYTES_MAX);
    base_buf_init(&msg, FUZZ_BYTES_MAX);
    base_buf_printf(&header,
                    "{\"format\":\"everward-push/1\",\"tenant\":\"%s\",\"node\":\"%s\",\"inc\":1,"
                    "\"catalog\":7,\"first\":1,\"last\":%lld,\"chain\":\"",
                    p->who.tenant, p->who.node, count);
    base_buf_hex(&header, chain, sizeof chain);
    base_buf_str(&header, "\"}");
    base_buf_add(out, header.data, header.len);
    base_buf_char(out, '\n');
    for (size_t i = 0, from = 0; i < size; i++)
        if (data[i] == '\n') {
            seal_chain_step(chain, data + from, i - from);
            base_buf_add(out, data + from, i - from + 1);
            from = i + 1;
        }
    base_buf_str(&msg, "everward push 1\n");
    base_buf_add(&msg, header.data, header.len);
    base_buf_char(&msg, '\n');
    base_buf_hex(&msg, chain, sizeof chain);
    seal_sign(sig, msg.data, msg.len, secret_key);
    base_buf_printf(out, "{\"count\":%lld,\"chain\":\"", count);
    base_buf_hex(out, chain, sizeof chain);
    base_buf_str(out, "\",\"sig\":\"");
    seal_base64url(out, sig, sizeof sig);
    base_buf_str(out, "\"}\n");
    base_buf_release(&header);
    base_buf_release(&msg);
}

static void give(struct push *p, const uint8_t *data, size_t size)
{
    struct base_buf plain;
    struct base_buf frame;
    base_buf_init(&plain, FUZZ_BYTES_MAX);
    base_buf_init(&frame, 2 * FUZZ_BYTES_MAX);
    char mode = size > 0 ? (char)data[0] : 'z';
    size_t skip = mode == 'z' || mode == 'p';
    if (size < skip)
        skip = size;
    if (mode == 'p')
        base_buf_add(&plain, data + skip, size - skip);
    else if (mode == 'z')
        base_buf_add(&frame, data + skip, size - skip);
    else
        wrap(&plain, p, data, size);
    if (mode != 'z')
        BASE_ASSERT(seal_compress(&frame, plain.data, plain.len, 1, NULL) == 0);
    push_decode_bytes(p, frame.data, frame.len);
    base_buf_release(&plain);
    base_buf_release(&frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gw_catalog *c = catalog();
    struct push p = {.catalog = c};
    if (size > FUZZ_BYTES_MAX / 2)
        return 0;
    memcpy(p.who.tenant, "11111111-1111-4111-8111-111111111111", BASE_UUID_CHARS + 1);
    memcpy(p.who.node, "33333333-3333-4333-8333-333333333333", BASE_UUID_CHARS + 1);
    memcpy(p.who.public_key, public_key, sizeof public_key);
    base_arena_init(&p.arena, PUSH_ARENA_BYTES_MAX);
    base_arena_init(&p.plan, PUSH_ARENA_BYTES_MAX);
    base_buf_init(&p.plain, CORE_BATCH_BYTES_MAX);
    give(&p, data, size);
    BASE_ASSERT((p.status == 0) == (p.err.code == 0) && p.status != 503);
    if (p.status == 0) {
        BASE_ASSERT(p.count >= 1 && p.last == p.first + p.count - 1);
        BASE_ASSERT(push_resolve(&p) == 0);
        if (p.fast)
            BASE_ASSERT(push_plan_fast(&p) == 0);
    }
    base_arena_release(&p.arena);
    base_arena_release(&p.plan);
    base_buf_release(&p.plain);
    return 0;
}
