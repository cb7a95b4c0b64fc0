/*
 * From bytes to changes: size, zstd, lines, numbers, chain, signature. Everything here is refused
 * whole, before the database hears of it. Then the changes against the catalog: what does not fit
 * there is refused one by one.
 */
#include <string.h>

#include "sync/gateway/push.h"
#include "sync/net/json.h"
#include "sync/seal/seal.h"

enum { ID_BYTES_MAX = 40, SIG_TEXT_BYTES_MAX = 100, CHAIN_TEXT = 2 * CORE_CHAIN_BYTES };

static void refuse(struct push *p, int status, const char *code, int line)
{
    /* Nobody's bytes are bad for our want of memory: the node comes again. */
    bool ours = p->err.code == BASE_ENOMEM;
    p->status = ours ? 503 : status;
    p->code = ours ? "busy" : code;
    p->line = line;
}

static bool read_chain(uint8_t out[CORE_CHAIN_BYTES], const cJSON *object, struct base_err *err)
{
    const char *text = NULL;
    if (net_json_str(object, "chain", CHAIN_TEXT, &text, err) != 0)
        return false;
    if (strlen(text) == CHAIN_TEXT && seal_hex_decode(out, CORE_CHAIN_BYTES, text, CHAIN_TEXT))
        return true;
    (void)base_fail(err, BASE_EINVALID, "chain must be 64 hex digits");
    return false;
}

static bool read_id(char out[BASE_UUID_CHARS + 1], const cJSON *object, const char *name,
                    struct base_err *err)
{
    const char *text = NULL;
    struct base_uuid u;
    if (net_json_str(object, name, ID_BYTES_MAX, &text, err) != 0)
        return false;
    if (!base_uuid_parse(&u, text, strlen(text))) {
        (void)base_fail(err, BASE_EINVALID, "%s must be a uuid", name);
        return false;
    }
    base_uuid_format(&u, out);
    return true;
}

static bool whole_number(const cJSON *item, int64_t *out)
{
    const double most = 9007199254740992.0; /* 2^53: further JSON's numbers are not exact */
    double v = cJSON_IsNumber(item) ? item->valuedouble : -1;
    if (!(v >= 1 && v <= most))
        return false;
    *out = (int64_t)v;
    return (double)*out == v;
}

/* "held": [seq, behind, seq, behind, …], seq ascending: what the node holds with a change that is in quarantine already. */
static bool read_held(struct push *p, const cJSON *header)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(header, "held");
    const cJSON *item = cJSON_IsArray(list) ? list->child : NULL;
    int64_t last = 0;
    bool ok = list == NULL || cJSON_IsArray(list);
    while (ok && item != NULL) {
        int64_t seq = 0;
        int64_t behind = 0;
        ok = whole_number(item, &seq) && item->next != NULL && whole_number(item->next, &behind) &&
             seq > last && behind < seq && seq >= p->first && seq - p->first < p->count;
        if (!ok)
            break;
        p->changes[seq - p->first].behind = behind;
        last = seq;
        item = item->next->next;
    }
    if (!ok)
        (void)base_fail(&p->err, BASE_EINVALID,
                        "held must list changes of this batch, each with the earlier one it "
                        "waits for");
    return ok;
}

/* The first line tells the version, before anything else is believed. */
static bool read_header(struct push *p, const char *line, size_t len)
{
    cJSON *h = NULL;
    const char *format = NULL;
    int64_t catalog = 0;
    bool ok = len <= PUSH_HEADER_BYTES_MAX && net_json_parse(&h, line, len, &p->err) == 0 &&
              net_json_str(h, "format", ID_BYTES_MAX, &format, &p->err) == 0;
    if (ok && strcmp(format, "everward-push/1") != 0) {
        cJSON_Delete(h);
        (void)base_fail(&p->err, BASE_EUNSUPPORTED, "this gateway reads everward-push/1");
        refuse(p, 400, "unsupported_format", 1);
        return false;
    }
    ok = ok && read_id(p->header_tenant, h, "tenant", &p->err) &&
         read_id(p->header_node, h, "node", &p->err) &&
         net_json_i64(h, "inc", 1, INT64_MAX, &p->inc, &p->err) == 0 &&
         net_json_i64(h, "catalog", 0, INT64_MAX, &catalog, &p->err) == 0 &&
         net_json_i64(h, "first", 1, INT64_MAX, &p->first, &p->err) == 0 &&
         net_json_i64(h, "last", 1, INT64_MAX, &p->last, &p->err) == 0 &&
         (!net_json_has(h, "former") ||
          net_json_i64(h, "former", 0, INT64_MAX, &p->former, &p->err) == 0) &&
         (!net_json_has(h, "timeline") || read_id(p->timeline, h, "timeline", &p->err)) &&
         read_chain(p->chain_before, h, &p->err) && read_held(p, h);
    cJSON_Delete(h);
    if (!ok) {
        refuse(p, 400, "bad_line", 1);
    } else if (strcmp(p->header_tenant, p->who.tenant) != 0 ||
               strcmp(p->header_node, p->who.node) != 0) {
        (void)base_fail(&p->err, BASE_EDENIED,
                        "the header names another tenant or node than the token");
        refuse(p, 403, "wrong_node", 1);
        ok = false;
    }
    return ok;
}

static bool check_signature(struct push *p, const char *header, size_t header_len,
                            const char *chain_text, const char *sig_text)
{
    uint8_t sig[SEAL_SIGNATURE_BYTES];
    size_t len = 0;
    struct base_buf msg;
    base_buf_init(&msg, PUSH_HEADER_BYTES_MAX + 256);
    base_buf_str(&msg, "everward push 1\n");
    base_buf_add(&msg, header, header_len);
    base_buf_char(&msg, '\n');
    base_buf_add(&msg, chain_text, CHAIN_TEXT);
    int rc = base_buf_check(&msg);
    bool ok =
        rc == 0 && seal_base64url_decode(sig, sizeof sig, &len, sig_text, strlen(sig_text)) &&
        len == sizeof sig &&
        (seal_verify(sig, msg.data, msg.len, p->who.public_key) ||
         (p->last <= p->who.former_upto && seal_verify(sig, msg.data, msg.len, p->who.former_key)));
    base_buf_release(&msg);
    if (rc != 0) {
        (void)base_fail(&p->err, rc, "the signature could not be checked");
        refuse(p, 503, "busy", 0);
    } else if (!ok) {
        (void)base_fail(&p->err, BASE_EAUTH, "the signature is not this node's over this push");
        refuse(p, 400, "bad_signature", 0);
    }
    return ok;
}

static bool check_trailer(struct push *p, const char *line, size_t len, int line_number,
                          const char *header, size_t header_len)
{
    cJSON *t = NULL;
    int64_t count = 0;
    uint8_t chain[CORE_CHAIN_BYTES];
    const char *sig = NULL;
    bool ok = len <= PUSH_TRAILER_BYTES_MAX && net_json_parse(&t, line, len, &p->err) == 0 &&
              net_json_i64(t, "count", 0, INT64_MAX, &count, &p->err) == 0 &&
              read_chain(chain, t, &p->err) &&
              net_json_str(t, "sig", SIG_TEXT_BYTES_MAX, &sig, &p->err) == 0;
    if (!ok) {
        refuse(p, 400, "bad_line", line_number);
    } else if (count != p->count || p->last - p->first + 1 != p->count) {
        (void)base_fail(&p->err, BASE_EPROTO, "first, last, count and the lines do not agree");
        refuse(p, 400, "bad_count", 0);
        ok = false;
    } else if (memcmp(chain, p->chain, sizeof chain) != 0) {
        (void)base_fail(&p->err, BASE_EPROTO, "the chain over the lines is another one");
        refuse(p, 400, "bad_chain", 0);
        ok = false;
    } else {
        const char *chain_text = NULL;
        ok = net_json_str(t, "chain", CHAIN_TEXT, &chain_text, &p->err) == 0 &&
             check_signature(p, header, header_len, chain_text, sig);
    }
    cJSON_Delete(t);
    return ok;
}

static bool read_change(struct push *p, int i, const char *line, size_t len)
{
    struct push_change *c = &p->changes[i];
    bool ok = core_change_read(&c->c, line, len, &p->arena, &p->err) == 0;
    if (ok && c->c.seq != p->first + i) {
        (void)base_fail(&p->err, BASE_EPROTO, "its seq does not follow");
        ok = false;
    }
    if (ok && c->c.txn != c->c.seq && (i == 0 || c->c.txn != p->changes[i - 1].c.txn)) {
        (void)base_fail(&p->err, BASE_EPROTO, "its txn begins elsewhere: whole transactions only");
        ok = false;
    }
    if (!ok) {
        refuse(p, 400, "bad_line", i + 2);
        return false;
    }
    c->former = c->c.seq <= p->former;
    seal_chain_step(p->chain, line, len);
    memcpy(c->chain, p->chain, sizeof c->chain);
    return true;
}

static int count_lines(const struct base_buf *b)
{
    int n = 0;
    const char *s = b->data;
    const char *end = b->data + b->len;
    while (s < end && n <= CORE_BATCH_CHANGES_MAX + 2) {
        s = memchr(s, '\n', (size_t)(end - s));
        if (s == NULL)
            return -1;
        s++;
        n++;
    }
    return n;
}

static bool read_lines(struct push *p)
{
    const char *s = p->plain.data;
    const char *end = s + p->plain.len;
    int lines = count_lines(&p->plain);
    if (lines < 3) {
        (void)base_fail(&p->err, BASE_EPROTO,
                        lines < 0 ? "the last line does not end"
                                  : "header, changes and trailer are needed");
        refuse(p, 400, "bad_count", 0);
        return false;
    }
    if (lines > CORE_BATCH_CHANGES_MAX + 2) {
        (void)base_fail(&p->err, BASE_ETOOBIG, "more than %d changes", CORE_BATCH_CHANGES_MAX);
        refuse(p, 413, "too_large", 0);
        return false;
    }
    p->count = lines - 2;
    p->changes = base_arena_get(&p->arena, (size_t)p->count * sizeof *p->changes);
    if (p->changes == NULL) {
        refuse(p, 503, "busy", 0);
        return false;
    }
    const char *header = s;
    const char *eol = memchr(s, '\n', (size_t)(end - s));
    size_t header_len = (size_t)(eol - s);
    if (!read_header(p, header, header_len))
        return false;
    memcpy(p->chain, p->chain_before, sizeof p->chain);
    s = eol + 1;
    for (int i = 0; i < p->count; i++, s = eol + 1) {
        eol = memchr(s, '\n', (size_t)(end - s));
        if (!read_change(p, i, s, (size_t)(eol - s)))
            return false;
    }
    eol = memchr(s, '\n', (size_t)(end - s));
    return check_trailer(p, s, (size_t)(eol - s), lines, header, header_len);
}

void push_decode(struct push *p)
{
    size_t len = 0;
    const char *body = net_http_body(p->x, &len);
    push_decode_bytes(p, body, len);
}

void push_decode_bytes(struct push *p, const char *body, size_t len)
{
    int rc = seal_decompress(&p->plain, body, len, &p->err);
    if (rc == BASE_ETOOBIG)
        refuse(p, 413, "too_large", 0);
    else if (rc != 0)
        refuse(p, 400, "bad_frame", 0);
    else if (p->plain.len == 0) {
        (void)base_fail(&p->err, BASE_EPROTO, "the body is empty");
        refuse(p, 400, "bad_count", 0);
    } else
        (void)read_lines(p);
}

/* ---- against the catalog ------------------------------------------------------------------ */

static size_t hash_of(const struct gw_table *t, const struct base_uuid *id)
{
    uint64_t h;
    uint64_t low;
    memcpy(&h, id->bytes, sizeof h);
    memcpy(&low, id->bytes + 8, sizeof low);
    h ^= low ^ (uint64_t)t->core->tbl;
    h *= 0x9E3779B97F4A7C15u;
    return (size_t)(h >> 32);
}

static struct push_row **slot(const struct push *p, const struct gw_table *t,
                              const struct base_uuid *id)
{
    size_t mask = (size_t)p->map_size - 1;
    size_t at = hash_of(t, id) & mask;
    while (p->map[at] != NULL && (p->map[at]->table != t || !base_uuid_equal(&p->map[at]->id, id)))
        at = (at + 1) & mask;
    return &p->map[at];
}

struct push_row *push_row_find(const struct push *p, const struct gw_table *t,
                               const struct base_uuid *id)
{
    return *slot(p, t, id);
}

void push_quarantine(struct push *p, int change, const char *sqlstate, const char *constraint,
                     const char *reason)
{
    struct push_change *c = &p->changes[change];
    c->outcome = CORE_QUARANTINED;
    c->has_conflict = false;
    (void)snprintf(c->sqlstate, sizeof c->sqlstate, "%s", sqlstate);
    c->constraint =
        constraint[0] == '\0' ? "" : base_arena_copy(&p->arena, constraint, strlen(constraint));
    c->reason = base_arena_copy(&p->arena, reason, strlen(reason));
    if (c->row != NULL && c->row->held_by == 0)
        c->row->held_by = c->c.seq;
}

static int refuse_change(struct push *p, int i, const char *reason)
{
    push_quarantine(p, i, "", "", reason);
    p->changes[i].refused = true;
    return p->changes[i].reason == NULL ? BASE_ENOMEM : 0;
}

static int enter_row(struct push *p, int i, const struct gw_table *t)
{
    struct push_change *c = &p->changes[i];
    struct push_row **at = slot(p, t, &c->c.id);
    if (*at == NULL) {
        *at = &p->rows[p->row_count++];
        (*at)->table = t;
        (*at)->id = c->c.id;
    }
    c->row = *at;
    c->row->changes++;
    return 0;
}

static int keep_resolved(struct push *p, struct push_change *c, const struct core_resolved *r)
{
    c->count = r->count;
    c->ords = base_arena_get(&p->arena, ((size_t)r->count + 1) * sizeof *c->ords);
    c->values = base_arena_get(&p->arena, ((size_t)r->count + 1) * sizeof *c->values);
    if (c->ords == NULL || c->values == NULL)
        return BASE_ENOMEM;
    memcpy(c->ords, r->ords, (size_t)r->count * sizeof *c->ords);
    memcpy(c->values, r->values, (size_t)r->count * sizeof *c->values);
    return 0;
}

static const char *missing_place(const struct gw_table *t, const struct core_resolved *r)
{
    for (int i = 0; i < r->count; i++)
        if (t->columns[r->ords[i] - CORE_ORD_FIRST].type == NULL)
            return t->core->columns[r->ords[i] - CORE_ORD_FIRST].name;
    return NULL;
}

static int resolve_one(struct push *p, int i, struct core_resolved *r)
{
    struct push_change *c = &p->changes[i];
    struct base_err err = {0};
    char reason[64];
    /* Most changes are of the same table as the one before. */
    const struct push_change *before = i > 0 ? &p->changes[i - 1] : NULL;
    const struct gw_table *t =
        before != NULL && before->row != NULL && core_text_equal(before->c.table, c->c.table)
            ? before->row->table
            : gw_catalog_table(p->catalog, c->c.table.s, c->c.table.len);
    c->outcome = CORE_APPLIED;
    if (t == NULL || !t->known)
        return refuse_change(p, i, "the centre has no synced table of this name");
    (void)enter_row(p, i, t);
    if (c->behind > 0) {
        p->fast = false;
        (void)snprintf(reason, sizeof reason, "held behind seq %lld", (long long)c->behind);
        return refuse_change(p, i, reason);
    }
    if (t->core->class == CORE_CENTRAL)
        return refuse_change(p, i, core_rule_text(CORE_RULE_CENTRAL_ONLY));
    if (core_change_resolve(r, &c->c, t->core, &err) != 0)
        return refuse_change(p, i, err.text);
    if (missing_place(t, r) != NULL)
        return refuse_change(p, i, "the centre no longer has a column that the change sets");
    if (c->c.op != CORE_OP_INSERT || c->row->changes > 1 || c->c.base != 0 ||
        strcmp(t->core->name, "conflict_resolution") == 0)
        p->fast = false;
    return keep_resolved(p, c, r);
}

int push_resolve(struct push *p)
{
    struct core_resolved *r = base_arena_get(&p->arena, sizeof *r);
    p->map_size = 16;
    while (p->map_size < p->count * 2)
        p->map_size *= 2;
    p->map = base_arena_get(&p->arena, (size_t)p->map_size * sizeof *p->map);
    p->rows = base_arena_get(&p->arena, (size_t)p->count * sizeof *p->rows);
    p->row_count = 0;
    p->fast = true;
    if (r == NULL || p->map == NULL || p->rows == NULL)
        return BASE_ENOMEM;
    for (int i = 0; i < p->count; i++) {
        p->changes[i].row = NULL;
        p->changes[i].refused = false;
        p->changes[i].sqlstate[0] = '\0';
        int rc = resolve_one(p, i, r);
        if (rc != 0)
            return rc;
    }
    return 0;
}
