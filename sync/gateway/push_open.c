/*
 * How a push begins and ends: the opening queries, the receipt, COMMIT, and every way of answering.
 */
#include "sync/gateway/push.h"

#include <stdlib.h>
#include <string.h>

#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/seal/seal.h"

/* The queries that open every push's transaction, behind BEGIN and enter_node. */
enum { OPEN_CATALOG = 2, OPEN_HEAD_INSERT, OPEN_HEAD };

/* ---- the end ------------------------------------------------------------------------------- */

static void on_timer_closed(uv_handle_t *h)
{
    struct push *p = h->data;
    gw_flight_release(&p->flight);
    gw_catalog_drop(p->catalog);
    base_arena_release(&p->arena);
    base_arena_release(&p->plan);
    base_buf_release(&p->plain);
    base_buf_release(&p->outcomes);
    free(p->known);
    seal_wipe(&p->who, sizeof p->who);
    free(p);
}

void push_done(struct push *p)
{
    push_leave(p);
    if (p->conn != NULL)
        gw_pg_give(p->conn);
    p->conn = NULL;
    uv_close((uv_handle_t *)&p->timer, on_timer_closed);
}

void push_answer(struct push *p, const struct push_answer *a)
{
    char extra[64] = "";
    p->gw->counts.refused++;
    if (p->answered != NULL) {
        p->answered(p->user, p, a);
        return;
    }
    if (a->expected > 0)
        (void)snprintf(extra, sizeof extra, "\"expected\":%lld", (long long)a->expected);
    else if (a->line > 0)
        (void)snprintf(extra, sizeof extra, "\"line\":%d", a->line);
    net_http_problem_with(p->x, a->status, a->code, a->detail, "Nothing was applied.",
                          extra[0] == '\0' ? NULL : extra);
}

void push_answer_away(struct push *p, int rc)
{
    if (p->answered == NULL)
        gw_reply_no_conn(p->gw, p->x, rc);
    else
        push_answer(p, &(struct push_answer){.status = 503,
                                             .code = "database_away",
                                             .detail = "the database is away or too busy"});
}

void push_answer_failed(struct push *p, const char *what)
{
    if (p->answered == NULL)
        gw_reply_failed(p->gw, p->x, &p->flight, what);
    else if (p->flight.failed == GW_ENTER_QUERY && strcmp(p->flight.sqlstate, "EW401") == 0)
        push_answer(p, &(struct push_answer){.status = 401,
                                             .code = "unauthorized",
                                             .detail = "the permit has run out"});
    else
        push_answer_away(p, BASE_EUNREACHABLE);
}

void push_fail(struct push *p)
{
    push_answer_away(p, BASE_EBUSY);
    push_done(p);
}

void push_write_outcomes(struct push *p, struct base_buf *out)
{
    bool first = out->len == 0;
    for (int i = p->skip; i < p->count; i++) {
        const struct push_change *c = &p->changes[i];
        if (c->outcome == CORE_APPLIED)
            continue;
        base_buf_printf(out, "%s{\"seq\":%lld,\"outcome\":\"%s\"", first ? "" : ",",
                        (long long)c->c.seq, core_outcome_name(c->outcome));
        first = false;
        if (c->has_conflict) {
            char id[BASE_UUID_CHARS + 1];
            base_uuid_format(&c->conflict, id);
            base_buf_printf(out, ",\"conflict\":\"%s\"", id);
        }
        if (c->outcome == CORE_QUARANTINED) {
            if (c->sqlstate[0] != '\0')
                base_buf_printf(out, ",\"sqlstate\":\"%s\"", c->sqlstate);
            if (c->constraint != NULL && c->constraint[0] != '\0') {
                base_buf_str(out, ",\"constraint\":");
                base_buf_json_str(out, c->constraint);
            }
            base_buf_str(out, ",\"reason\":");
            base_buf_json_str(out, c->reason == NULL ? "refused" : c->reason);
        }
        base_buf_char(out, '}');
    }
}

void push_reply_receipt(struct push *p, int64_t last_seq, const uint8_t chain[CORE_CHAIN_BYTES])
{
    struct base_buf b;
    if (p->answered != NULL) {
        p->answered(p->user, p, &(struct push_answer){.status = 200});
        push_done(p);
        return;
    }
    base_buf_init(&b, PUSH_OUTCOMES_BYTES_MAX);
    base_buf_printf(
        &b, "{\"format\":\"everward-receipt/1\",\"inc\":%lld,\"last_seq\":%lld,\"chain\":\"",
        (long long)p->inc, (long long)last_seq);
    base_buf_hex(&b, chain, CORE_CHAIN_BYTES);
    base_buf_str(&b, "\",\"outcomes\":[");
    if (p->known != NULL && p->known[0] != '\0')
        base_buf_str(&b, p->known);
    if (p->outcomes.len > 0) {
        if (p->known != NULL && p->known[0] != '\0')
            base_buf_char(&b, ',');
        base_buf_add(&b, p->outcomes.data, p->outcomes.len);
    }
    base_buf_str(&b, "]}");
    if (base_buf_check(&b) != 0) {
        base_buf_release(&b);
        push_fail(p);
        return;
    }
    size_t len = b.len;
    net_http_reply_take(p->x, 200, "application/json", base_buf_take(&b), len);
    push_done(p);
}

static void count_outcomes(struct push *p)
{
    struct gw_counts *n = &p->gw->counts;
    n->pushes++;
    n->changes += (uint64_t)(p->count - p->skip);
    for (int i = p->skip; i < p->count; i++) {
        n->merged += p->changes[i].outcome == CORE_MERGED;
        n->duplicate += p->changes[i].outcome == CORE_DUPLICATE;
        n->contested += p->changes[i].outcome == CORE_CONTESTED;
        n->quarantined += p->changes[i].outcome == CORE_QUARANTINED;
    }
}

void push_conflict_reply(struct push *p, const char *code, const char *detail, int64_t expected)
{
    push_answer(p, &(struct push_answer){
                       .status = 409, .code = code, .detail = detail, .expected = expected});
    base_log(BASE_LOG_WARN, "push_refused", "node %s: %s, seq %lld to %lld", p->who.node, code,
             (long long)p->first, (long long)p->last);
    push_done(p);
}

static bool out_of_luck(struct push *p)
{
    return p->attempt >= PUSH_ATTEMPTS_MAX || p->gw->stopping;
}

/* A flight that failed in a way that may pass: all of it again. Not until the head is compared do
 * we know whether a lost COMMIT took place; the next attempt does that. */
bool push_passing(struct push *p)
{
    const struct gw_flight *f = &p->flight;
    if (f->rc == 0 || (f->rc == BASE_EINVALID && gw_sqlstate_permanent(f->sqlstate)))
        return false;
    p->gw->counts.retries++;
    if (out_of_luck(p)) {
        base_log(BASE_LOG_WARN, "push_given_up", "node %s: sqlstate %s after %d attempts",
                 p->who.node, f->sqlstate, p->attempt);
        push_answer_away(p, BASE_EUNREACHABLE);
        push_done(p);
    } else {
        push_attempt_later(p);
    }
    return true;
}

/* ---- opening ------------------------------------------------------------------------------- */

static const char head_insert_sql[] =
    "INSERT INTO everward.node_head (tenant_id, node_id, incarnation, last_seq, chain)"
    " VALUES ((SELECT everward.tenant()), $1::uuid, $2::bigint, 0, $3::bytea)"
    " ON CONFLICT (tenant_id, node_id, incarnation) DO NOTHING";
static const char head_sql[] =
    "SELECT last_seq, encode(chain, 'hex'), (SELECT max(k.late_upto) FROM everward.node_former_key "
    "k"
    " WHERE k.tenant_id = (SELECT everward.tenant()) AND k.node_id = $1::uuid)"
    " FROM everward.node_head WHERE tenant_id = (SELECT everward.tenant()) AND node_id = $1::uuid"
    " AND incarnation = $2::bigint FOR UPDATE";
static const char push_txn_sql[] = "SELECT everward.push_txn($1::uuid, $2::bigint, $3::bigint)";
static const char receipt_sql[] =
    "INSERT INTO everward.receipt (tenant_id, node_id, incarnation, first_seq, last_seq, chain,"
    " outcomes, links, txn) VALUES ((SELECT everward.tenant()), $1::uuid, $2::bigint, $3::bigint,"
    " $4::bigint, $5::bytea, $6::json, $7::bytea,"
    " split_part(current_setting('everward.txn'), ',', 1)::bigint)";
static const char head_update_sql[] =
    "UPDATE everward.node_head SET last_seq = $3::bigint, chain = $4::bytea, updated_at = now()"
    " WHERE tenant_id = (SELECT everward.tenant()) AND node_id = $1::uuid"
    " AND incarnation = $2::bigint";

static char *bytea(struct push *p, const uint8_t *bytes, size_t len)
{
    static const char digit[] = "0123456789abcdef";
    char *text = base_arena_get(&p->arena, 2 * len + 3);
    if (text == NULL)
        return NULL;
    memcpy(text, "\\x", 2);
    for (size_t i = 0; i < len; i++) {
        text[2 + 2 * i] = digit[bytes[i] >> 4];
        text[3 + 2 * i] = digit[bytes[i] & 15];
    }
    return text;
}

/* The first bytes of the chain after each change: a restored node finds by them where its log and
 * ours part. */
static char *links(struct push *p)
{
    enum { LINK_BYTES = 8 };
    size_t n = (size_t)(p->count - p->skip);
    uint8_t *bytes = base_arena_get(&p->arena, n * LINK_BYTES);
    for (size_t i = 0; bytes != NULL && i < n; i++)
        memcpy(bytes + i * LINK_BYTES, p->changes[(size_t)p->skip + i].chain, LINK_BYTES);
    return bytes == NULL ? NULL : bytea(p, bytes, n * LINK_BYTES);
}

void push_add_open(struct push *p)
{
    struct gw_flight *f = &p->flight;
    uint8_t start[CORE_CHAIN_BYTES];
    seal_chain_start(start, &p->who.node_id, p->inc);
    const struct gw_param head[] = {gw_text(p->who.node), gw_text(push_i64(&p->arena, p->inc)),
                                    gw_text(bytea(p, start, sizeof start))};
    gw_flight_clear(f);
    gw_add_enter(f, &p->who);
    (void)gw_flight_add(f, "SELECT version, everward.timeline() FROM everward.catalog_state", 0,
                        NULL);
    (void)gw_flight_add(f, head_insert_sql, 3, head);
    (void)gw_flight_add(f, head_sql, 2, head);
}

void push_add_txn(struct push *p)
{
    const struct gw_param params[] = {gw_text(p->who.node), gw_text(push_i64(&p->arena, p->inc)),
                                      gw_text(push_i64(&p->arena, p->last))};
    (void)gw_flight_add(&p->flight, push_txn_sql, 3, params);
}

void push_add_receipt(struct push *p)
{
    const char *inc = push_i64(&p->arena, p->inc);
    const char *last = push_i64(&p->arena, p->last);
    const char *first = push_i64(&p->arena, p->first + p->skip);
    const char *chain = bytea(p, p->chain, sizeof p->chain);
    base_buf_clear(&p->outcomes);
    push_write_outcomes(p, &p->outcomes);
    struct base_buf json;
    base_buf_init(&json, PUSH_OUTCOMES_BYTES_MAX);
    base_buf_char(&json, '[');
    base_buf_add(&json, p->outcomes.data, p->outcomes.len);
    base_buf_char(&json, ']');
    const char *kept =
        base_buf_check(&json) == 0 ? base_arena_copy(&p->arena, json.data, json.len) : NULL;
    base_buf_release(&json);
    const struct gw_param receipt[] = {gw_text(p->who.node), gw_text(inc),   gw_text(first),
                                       gw_text(last),        gw_text(chain), gw_text(kept),
                                       gw_text(links(p))};
    const struct gw_param head[] = {gw_text(p->who.node), gw_text(inc), gw_text(last),
                                    gw_text(chain)};
    (void)gw_flight_add(&p->flight, receipt_sql, 7, receipt);
    (void)gw_flight_add(&p->flight, head_update_sql, 4, head);
}

void push_add_statements(struct push *p)
{
    for (int i = 0; i < p->statement_count; i++) {
        const struct push_statement *s = &p->statements[i];
        (void)gw_flight_add(&p->flight, s->sql, s->param_count, s->params);
    }
}

bool push_all_affected(const struct push *p, int first_query)
{
    for (int i = 0; i < p->statement_count; i++) {
        const struct push_statement *s = &p->statements[i];
        if (s->rows >= 0 &&
            strtol(PQcmdTuples(p->flight.results[first_query + i]), NULL, 10) != s->rows)
            return false;
    }
    return true;
}

/* What the opening queries said: is it this node's turn, and against which head? */
enum push_opened push_check_open(struct push *p)
{
    const struct gw_flight *f = &p->flight;
    const char *inc = gw_flight_value(f, GW_ENTER_QUERY, GW_ENTER_INCARNATION);
    const char *version = gw_flight_value(f, OPEN_CATALOG, 0);
    const char *timeline = gw_flight_value(f, OPEN_CATALOG, 1);
    const char *seq = gw_flight_value(f, OPEN_HEAD, 0);
    const char *chain = gw_flight_value(f, OPEN_HEAD, 1);
    if (inc == NULL || strtoll(inc, NULL, 10) != p->inc) {
        push_conflict_reply(p, "wrong_incarnation",
                            "The node's present incarnation at the centre is another one.",
                            inc == NULL ? 0 : strtoll(inc, NULL, 10));
        return PUSH_OPENED_ANSWERED;
    }
    bool restored =
        p->timeline[0] != '\0' && timeline != NULL && strcmp(p->timeline, timeline) != 0;
    if (restored && p->late != NULL) { /* nobody there can greet first: all of it is of that life */
        p->former = p->last;
        for (int i = 0; i < p->count; i++)
            p->changes[i].former = true;
    } else if (restored) {
        push_conflict_reply(p, "timeline",
                            "The centre has begun another life: it was restored from a backup.", 0);
        return PUSH_OPENED_ANSWERED;
    }
    if (seq == NULL || chain == NULL ||
        !seal_hex_decode(p->head_chain, CORE_CHAIN_BYTES, chain, strlen(chain))) {
        push_fail(p);
        return PUSH_OPENED_ANSWERED;
    }
    p->head_seq = strtoll(seq, NULL, 10);
    const char *late = gw_flight_value(f, OPEN_HEAD, 2);
    if (p->late == NULL && late != NULL && strtoll(late, NULL, 10) >= p->first) {
        p->late = "";
        p->late_upto = strtoll(late, NULL, 10);
    }
    if (version == NULL || strtoll(version, NULL, 10) != p->catalog->version) {
        gw_pg_give(p->conn);
        p->conn = NULL;
        gw_catalog_get(p->gw, version == NULL ? 0 : strtoll(version, NULL, 10), p,
                       push_on_catalog_again);
        return PUSH_OPENED_CATALOG;
    }
    return PUSH_OPENED_OK;
}

void push_on_committed(void *user, struct gw_flight *f)
{
    struct push *p = user;
    p->gw->counts.commit_us += (uint64_t)(base_clock_monotonic_us() - p->t0_us);
    if (push_passing(p))
        return;
    if (f->rc != 0 && out_of_luck(p)) {
        push_answer_failed(p, "push");
        push_done(p);
        return;
    }
    if (f->rc != 0) { /* a constraint deferred to the end: in ranges, it shows at its change */
        p->careful = true;
        push_attempt_later(p);
        return;
    }
    count_outcomes(p);
    base_log(BASE_LOG_DEBUG, "push_applied", "node %s: %d changes to seq %lld", p->who.node,
             p->count - p->skip, (long long)p->last);
    push_reply_receipt(p, p->last, p->chain);
}

void push_commit(struct push *p)
{
    gw_flight_clear(&p->flight);
    (void)gw_flight_add(&p->flight, "COMMIT", 0, NULL);
    p->t0_us = base_clock_monotonic_us();
    gw_pg_fly(p->conn, &p->flight, p, push_on_committed);
}
