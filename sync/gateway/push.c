#include "sync/gateway/push.h"

#include <stdlib.h>
#include <string.h>

#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/seal/seal.h"

/* The queries that open every push's transaction, behind BEGIN and enter_node. */
enum { OPEN_CATALOG = 2, OPEN_HEAD_INSERT, OPEN_HEAD, OPEN_NEXT };
enum { OUTCOMES_BYTES_MAX = 16 * 1024 * 1024 };

static void attempt(struct push *p);
static void attempt_later(struct push *p);
static void next_range(struct push *p);

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

static void done(struct push *p)
{
    if (p->conn != NULL)
        gw_pg_give(p->conn);
    p->conn = NULL;
    uv_close((uv_handle_t *)&p->timer, on_timer_closed);
}

static void fail_out_of_memory(struct push *p)
{
    gw_reply_no_conn(p->gw, p->x, BASE_EBUSY);
    done(p);
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

static void reply_receipt(struct push *p, int64_t last_seq, const uint8_t chain[CORE_CHAIN_BYTES])
{
    struct base_buf b;
    base_buf_init(&b, OUTCOMES_BYTES_MAX);
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
        fail_out_of_memory(p);
        return;
    }
    size_t len = b.len;
    net_http_reply_take(p->x, 200, "application/json", base_buf_take(&b), len);
    done(p);
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

static void conflict_reply(struct push *p, const char *code, const char *detail, int64_t expected)
{
    char extra[64] = "";
    if (expected > 0)
        (void)snprintf(extra, sizeof extra, "\"expected\":%lld", (long long)expected);
    p->gw->counts.refused++;
    net_http_problem_with(p->x, 409, code, detail, "Nothing was applied.",
                          expected > 0 ? extra : NULL);
    base_log(BASE_LOG_WARN, "push_refused", "node %s: %s, seq %lld to %lld", p->who.node, code,
             (long long)p->first, (long long)p->last);
    done(p);
}

static bool out_of_luck(struct push *p)
{
    return p->attempt >= PUSH_ATTEMPTS_MAX || p->gw->stopping;
}

/* A flight that failed in a way that may pass: all of it again. Not until the head is compared do
 * we know whether a lost COMMIT took place; the next attempt does that. */
static bool passing(struct push *p)
{
    const struct gw_flight *f = &p->flight;
    if (f->rc == 0 || (f->rc == BASE_EINVALID && gw_sqlstate_permanent(f->sqlstate)))
        return false;
    p->gw->counts.retries++;
    if (out_of_luck(p)) {
        base_log(BASE_LOG_WARN, "push_given_up", "node %s: sqlstate %s after %d attempts",
                 p->who.node, f->sqlstate, p->attempt);
        gw_reply_no_conn(p->gw, p->x, BASE_EUNREACHABLE);
        done(p);
    } else {
        attempt_later(p);
    }
    return true;
}

/* ---- opening ------------------------------------------------------------------------------- */

static const char head_insert_sql[] =
    "INSERT INTO everward.node_head (tenant_id, node_id, incarnation, last_seq, chain)"
    " VALUES ((SELECT everward.tenant()), $1::uuid, $2::bigint, 0, $3::bytea)"
    " ON CONFLICT (tenant_id, node_id, incarnation) DO NOTHING";
static const char head_sql[] =
    "SELECT last_seq, encode(chain, 'hex') FROM everward.node_head"
    " WHERE tenant_id = (SELECT everward.tenant()) AND node_id = $1::uuid"
    " AND incarnation = $2::bigint FOR UPDATE";
static const char push_txn_sql[] = "SELECT everward.push_txn($1::uuid, $2::bigint, $3::bigint)";
static const char receipt_sql[] =
    "INSERT INTO everward.receipt (tenant_id, node_id, incarnation, first_seq, last_seq, chain,"
    " outcomes, txn) VALUES ((SELECT everward.tenant()), $1::uuid, $2::bigint, $3::bigint,"
    " $4::bigint, $5::bytea, $6::json,"
    " split_part(current_setting('everward.txn'), ',', 1)::bigint)";
static const char head_update_sql[] =
    "UPDATE everward.node_head SET last_seq = $3::bigint, chain = $4::bytea, updated_at = now()"
    " WHERE tenant_id = (SELECT everward.tenant()) AND node_id = $1::uuid"
    " AND incarnation = $2::bigint";
static const char known_sql[] =
    "SELECT last_seq, encode(chain, 'hex'), outcomes FROM everward.receipt"
    " WHERE tenant_id = (SELECT everward.tenant()) AND node_id = $1::uuid"
    " AND incarnation = $2::bigint AND last_seq >= $3::bigint AND first_seq <= $4::bigint"
    " ORDER BY last_seq";

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

static void add_open(struct push *p)
{
    struct gw_flight *f = &p->flight;
    uint8_t start[CORE_CHAIN_BYTES];
    seal_chain_start(start, &p->who.node_id, p->inc);
    const struct gw_param head[] = {gw_text(p->who.node), gw_text(push_i64(&p->arena, p->inc)),
                                    gw_text(bytea(p, start, sizeof start))};
    gw_flight_clear(f);
    gw_add_enter(f, &p->who);
    (void)gw_flight_add(f, "SELECT version FROM everward.catalog_state", 0, NULL);
    (void)gw_flight_add(f, head_insert_sql, 3, head);
    (void)gw_flight_add(f, head_sql, 2, head);
}

static void add_push_txn(struct push *p)
{
    const struct gw_param params[] = {gw_text(p->who.node), gw_text(push_i64(&p->arena, p->inc)),
                                      gw_text(push_i64(&p->arena, p->last))};
    (void)gw_flight_add(&p->flight, push_txn_sql, 3, params);
}

static void add_receipt(struct push *p)
{
    const char *inc = push_i64(&p->arena, p->inc);
    const char *last = push_i64(&p->arena, p->last);
    const char *first = push_i64(&p->arena, p->first + p->skip);
    const char *chain = bytea(p, p->chain, sizeof p->chain);
    base_buf_clear(&p->outcomes);
    push_write_outcomes(p, &p->outcomes);
    struct base_buf json;
    base_buf_init(&json, OUTCOMES_BYTES_MAX);
    base_buf_char(&json, '[');
    base_buf_add(&json, p->outcomes.data, p->outcomes.len);
    base_buf_char(&json, ']');
    const char *kept =
        base_buf_check(&json) == 0 ? base_arena_copy(&p->arena, json.data, json.len) : NULL;
    base_buf_release(&json);
    const struct gw_param receipt[] = {gw_text(p->who.node), gw_text(inc),   gw_text(first),
                                       gw_text(last),        gw_text(chain), gw_text(kept)};
    const struct gw_param head[] = {gw_text(p->who.node), gw_text(inc), gw_text(last),
                                    gw_text(chain)};
    (void)gw_flight_add(&p->flight, receipt_sql, 6, receipt);
    (void)gw_flight_add(&p->flight, head_update_sql, 4, head);
}

static void add_statements(struct push *p)
{
    for (int i = 0; i < p->statement_count; i++) {
        const struct push_statement *s = &p->statements[i];
        (void)gw_flight_add(&p->flight, s->sql, s->param_count, s->params);
    }
}

static bool all_affected(const struct push *p, int first_query)
{
    for (int i = 0; i < p->statement_count; i++) {
        const struct push_statement *s = &p->statements[i];
        if (s->rows >= 0 &&
            strtol(PQcmdTuples(p->flight.results[first_query + i]), NULL, 10) != s->rows)
            return false;
    }
    return true;
}

static void on_catalog_again(void *user, int rc, struct gw_catalog *c);

enum opened { OPENED_OK, OPENED_ANSWERED, OPENED_CATALOG };

/* What the opening queries said: is it this node's turn, and against which head? */
static enum opened check_open(struct push *p)
{
    const struct gw_flight *f = &p->flight;
    const char *inc = gw_flight_value(f, GW_ENTER_QUERY, GW_ENTER_INCARNATION);
    const char *version = gw_flight_value(f, OPEN_CATALOG, 0);
    const char *seq = gw_flight_value(f, OPEN_HEAD, 0);
    const char *chain = gw_flight_value(f, OPEN_HEAD, 1);
    if (inc == NULL || strtoll(inc, NULL, 10) != p->inc) {
        conflict_reply(p, "wrong_incarnation",
                       "The node's present incarnation at the centre is another one.",
                       inc == NULL ? 0 : strtoll(inc, NULL, 10));
        return OPENED_ANSWERED;
    }
    if (seq == NULL || chain == NULL ||
        !seal_hex_decode(p->head_chain, CORE_CHAIN_BYTES, chain, strlen(chain))) {
        fail_out_of_memory(p);
        return OPENED_ANSWERED;
    }
    p->head_seq = strtoll(seq, NULL, 10);
    if (version == NULL || strtoll(version, NULL, 10) != p->catalog->version) {
        gw_pg_give(p->conn);
        p->conn = NULL;
        gw_catalog_get(p->gw, version == NULL ? 0 : strtoll(version, NULL, 10), p,
                       on_catalog_again);
        return OPENED_CATALOG;
    }
    return OPENED_OK;
}

static void on_committed(void *user, struct gw_flight *f)
{
    struct push *p = user;
    p->gw->counts.commit_us += (uint64_t)(base_clock_monotonic_us() - p->t0_us);
    if (passing(p))
        return;
    if (f->rc != 0 && out_of_luck(p)) {
        gw_reply_failed(p->gw, p->x, f, "push");
        done(p);
        return;
    }
    if (f->rc != 0) { /* a constraint deferred to the end: in ranges, it shows at its change */
        p->careful = true;
        attempt_later(p);
        return;
    }
    count_outcomes(p);
    base_log(BASE_LOG_DEBUG, "push_applied", "node %s: %d changes to seq %lld", p->who.node,
             p->count - p->skip, (long long)p->last);
    reply_receipt(p, p->last, p->chain);
}

static void commit(struct push *p)
{
    gw_flight_clear(&p->flight);
    (void)gw_flight_add(&p->flight, "COMMIT", 0, NULL);
    p->t0_us = base_clock_monotonic_us();
    gw_pg_fly(p->conn, &p->flight, p, on_committed);
}

/* ---- the fast way -------------------------------------------------------------------------- */

static void go_careful(struct push *p)
{
    p->careful = true;
    gw_pg_give(p->conn);
    p->conn = NULL;
    attempt(p);
}

static void on_fast(void *user, struct gw_flight *f)
{
    struct push *p = user;
    p->gw->counts.write_us += (uint64_t)(base_clock_monotonic_us() - p->t0_us);
    if (passing(p))
        return;
    if (f->rc != 0 && f->failed < OPEN_NEXT) {
        gw_reply_failed(p->gw, p->x, f, "push");
        done(p);
        return;
    }
    if (f->rc != 0) {
        go_careful(p);
        return;
    }
    if (check_open(p) != OPENED_OK)
        return;
    bool fits = p->head_seq == p->first - 1 &&
                memcmp(p->head_chain, p->chain_before, CORE_CHAIN_BYTES) == 0;
    if (!fits || !all_affected(p, OPEN_NEXT + 1)) {
        go_careful(p);
        return;
    }
    p->gw->counts.fast++;
    commit(p);
}

static void fly_fast(struct push *p)
{
    add_open(p);
    add_push_txn(p);
    add_statements(p);
    p->skip = 0;
    add_receipt(p);
    p->t0_us = base_clock_monotonic_us();
    gw_pg_fly(p->conn, &p->flight, p, on_fast);
}

/* ---- the general way: ranges --------------------------------------------------------------- */

static void plan_work(uv_work_t *w);
static void on_worked(uv_work_t *w, int status);

static void to_worker(struct push *p, uv_work_cb work, uv_after_work_cb after)
{
    p->work.data = p;
    if (uv_queue_work(p->gw->loop, &p->work, work, after) != 0)
        fail_out_of_memory(p);
}

static void finish(struct push *p)
{
    gw_flight_clear(&p->flight);
    add_receipt(p);
    (void)gw_flight_add(&p->flight, "COMMIT", 0, NULL);
    p->gw->counts.slow++;
    p->t0_us = base_clock_monotonic_us();
    gw_pg_fly(p->conn, &p->flight, p, on_committed);
}

static void push_range(struct push *p, int from, int to)
{
    BASE_ASSERT(p->range_count < PUSH_RANGES_MAX);
    p->ranges[p->range_count].from = from;
    p->ranges[p->range_count++].to = to;
}

static const char *reason_of(const char *sqlstate)
{
    static const struct {
        const char *state, *reason;
    } known[] = {{"23503", "a row that this one refers to is not at the centre"},
                 {"23505", "another row at the centre holds this value, which must be unique"},
                 {"23502", "a value that the centre requires is missing"},
                 {"23514", "a rule of the centre's table does not allow this value"},
                 {"42501", "the gateway may not write this table"},
                 {"22", "a value does not have the form that its column needs"},
                 {"EW400", "the row belongs to another tenant"},
                 {"EW405", "the centre does not allow this to be done to a synced row"},
                 {"42", "the centre's table is not as the catalog describes it"}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strncmp(sqlstate, known[i].state, strlen(known[i].state)) == 0)
            return known[i].reason;
    return "the centre's database refused it";
}

/* The range failed for good: halve it, or its one change is the culprit. */
static void split(struct push *p)
{
    const struct gw_flight *f = &p->flight;
    p->failed_range = true;
    if (p->to - p->from > 1) {
        int middle = p->from + (p->to - p->from) / 2;
        push_range(p, middle, p->to);
        push_range(p, p->from, middle);
    } else {
        push_quarantine(p, p->from, f->sqlstate, f->constraint, reason_of(f->sqlstate));
        base_log(BASE_LOG_WARN, "quarantined", "node %s seq %lld: sqlstate %s, constraint %s",
                 p->who.node, (long long)p->changes[p->from].c.seq, f->sqlstate,
                 f->constraint[0] == '\0' ? "none" : f->constraint);
    }
    next_range(p);
}

static void on_written(void *user, struct gw_flight *f)
{
    struct push *p = user;
    p->gw->counts.write_us += (uint64_t)(base_clock_monotonic_us() - p->t0_us);
    if (passing(p))
        return;
    if (f->rc != 0) {
        split(p);
        return;
    }
    if (!all_affected(p, 0)) {
        /* A row that was read under lock is not there to be written: never to be acknowledged. */
        base_log(BASE_LOG_ERROR, "push_mismatch", "node %s: fewer rows written than decided",
                 p->who.node);
        gw_reply_no_conn(p->gw, p->x, BASE_EUNREACHABLE);
        done(p);
        return;
    }
    next_range(p);
}

static void on_planned(struct push *p)
{
    gw_flight_clear(&p->flight);
    add_statements(p);
    (void)gw_flight_add(&p->flight, "RELEASE SAVEPOINT everward_range", 0, NULL);
    p->t0_us = base_clock_monotonic_us();
    gw_pg_fly(p->conn, &p->flight, p, on_written);
}

static const char past_sql[] =
    "SELECT c.row_id, c.rev, c.op, c.cols::text, c.image,"
    " coalesce(c.origin_node = $3::uuid AND c.origin_inc = $4::bigint, false), c.actor,"
    " to_char(c.at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), c.origin_node"
    " FROM unnest($1::uuid[], $2::bigint[]) AS w (id, base)"
    " JOIN everward.change c ON c.tenant_id = (SELECT everward.tenant()) AND c.tbl = $5::int"
    " AND c.row_id = w.id AND c.rev >= w.base ORDER BY c.row_id, c.rev";

static void on_past(void *user, struct gw_flight *f)
{
    struct push *p = user;
    if (passing(p))
        return;
    if (f->rc != 0) {
        split(p);
        return;
    }
    p->past_read = true;
    to_worker(p, plan_work, on_worked);
}

static bool add_past_of(struct push *p, const struct gw_table *t)
{
    const struct base_uuid **ids =
        base_arena_get(&p->plan, ((size_t)p->row_count + 1) * sizeof(struct base_uuid *));
    struct base_buf bases;
    int n = 0;
    base_buf_init(&bases, PUSH_ARENA_BYTES_MAX);
    base_buf_char(&bases, '{');
    for (int i = 0; ids != NULL && i < p->row_count; i++) {
        struct push_row *row = &p->rows[i];
        if (row->table != t || row->range != p->range_serial || !row->wants_past)
            continue;
        if (n > 0)
            base_buf_char(&bases, ',');
        base_buf_i64(&bases, row->base_min);
        ids[n++] = &row->id;
    }
    base_buf_char(&bases, '}');
    struct gw_param params[5];
    const char *kept =
        base_buf_check(&bases) != 0 ? NULL : base_arena_copy(&p->plan, bases.data, bases.len);
    bool ok = ids != NULL && kept != NULL && push_uuid_array(&p->plan, &params[0], n, ids);
    base_buf_release(&bases);
    if (!ok)
        return false;
    params[1] = gw_text(kept);
    params[2] = gw_text(p->who.node);
    params[3] = gw_text(push_i64(&p->plan, p->inc));
    params[4] = gw_text(push_i64(&p->plan, t->core->tbl));
    (void)gw_flight_add(&p->flight, past_sql, 5, params);
    return true;
}

static void fly_past(struct push *p)
{
    gw_flight_clear(&p->flight);
    for (int i = 0; i < p->read_count; i++)
        if (!add_past_of(p, p->reads[i])) {
            fail_out_of_memory(p);
            return;
        }
    gw_pg_fly(p->conn, &p->flight, p, on_past);
}

/* Worker: what was read, and if that is all, the merge. */
static void plan_work(uv_work_t *w)
{
    struct push *p = w->data;
    bool wants_past = false;
    int64_t t0 = base_clock_monotonic_us();
    int rc = p->past_read ? push_plan_past(p) : push_plan_absorb(p, &wants_past);
    if (rc == 0 && !wants_past)
        rc = push_plan_merge(p);
    p->line = wants_past ? 1 : 0;
    p->status = rc;
    p->t0_us = base_clock_monotonic_us() - t0;
}

static void on_worked(uv_work_t *w, int status)
{
    struct push *p = w->data;
    p->gw->counts.plan_us += (uint64_t)p->t0_us;
    if (status != 0 || p->status != 0) {
        base_log(BASE_LOG_ERROR, "push_plan", "node %s: %s %s", p->who.node,
                 base_code_name(p->status), p->err.text);
        fail_out_of_memory(p);
    } else if (p->line == 1) {
        fly_past(p);
    } else {
        on_planned(p);
    }
}

static void on_read(void *user, struct gw_flight *f)
{
    struct push *p = user;
    if (passing(p))
        return;
    if (f->rc != 0) {
        if (!p->txn_begun && f->failed == 0) {
            gw_reply_failed(p->gw, p->x, f, "push_txn");
            done(p);
            return;
        }
        split(p);
        return;
    }
    p->txn_begun = true;
    p->past_read = false;
    to_worker(p, plan_work, on_worked);
}

static int compare_tables(const void *a, const void *b)
{
    const struct gw_table *const *ta = a;
    const struct gw_table *const *tb = b;
    return *ta < *tb ? -1 : *ta > *tb;
}

static void collect_tables(struct push *p)
{
    p->read_count = 0;
    for (int i = p->from; i < p->to; i++) {
        const struct push_change *c = &p->changes[i];
        if (c->refused || c->row == NULL)
            continue;
        int k = 0;
        while (k < p->read_count && p->reads[k] != c->row->table)
            k++;
        if (k == p->read_count)
            p->reads[p->read_count++] = c->row->table;
    }
    qsort(p->reads, (size_t)p->read_count, sizeof p->reads[0], compare_tables);
}

static int compare_ids(const void *a, const void *b)
{
    const struct base_uuid *const *ua = a;
    const struct base_uuid *const *ub = b;
    return memcmp((*ua)->bytes, (*ub)->bytes, BASE_UUID_BYTES);
}

/* Rows are locked by table in the catalog's order, then by id: two pushes never wait for each other
 * crosswise. */
static bool add_read_of(struct push *p, const struct gw_table *t)
{
    const struct base_uuid **ids =
        base_arena_get(&p->plan, ((size_t)(p->to - p->from) + 1) * sizeof(struct base_uuid *));
    struct gw_param param;
    struct base_buf sql;
    int n = 0;
    if (ids == NULL)
        return false;
    for (int i = p->from; i < p->to; i++)
        if (!p->changes[i].refused && p->changes[i].row != NULL && p->changes[i].row->table == t)
            ids[n++] = &p->changes[i].row->id;
    qsort(ids, (size_t)n, sizeof ids[0], compare_ids);
    base_buf_init(&sql, CORE_BATCH_BYTES_MAX);
    base_buf_printf(&sql,
                    "SELECT r.%s, r.rev, %s FROM %s AS r WHERE r.%s = (SELECT everward.tenant())"
                    " AND r.%s = ANY ($1::uuid[]) ORDER BY r.%s FOR NO KEY UPDATE",
                    t->key, t->image, t->rel, t->tenant, t->key, t->key);
    const char *text =
        base_buf_check(&sql) != 0 ? NULL : base_arena_copy(&p->plan, sql.data, sql.len);
    base_buf_release(&sql);
    if (text == NULL || !push_uuid_array(&p->plan, &param, n, ids))
        return false;
    (void)gw_flight_add(&p->flight, text, 1, &param);
    return true;
}

static void next_range(struct push *p)
{
    if (p->range_count == 0) {
        if (p->failed_range) {
            /* The culprit stood last: its savepoint is still open. */
            p->failed_range = false;
            gw_flight_clear(&p->flight);
            (void)gw_flight_add(&p->flight, "ROLLBACK TO SAVEPOINT everward_range", 0, NULL);
            add_receipt(p);
            (void)gw_flight_add(&p->flight, "COMMIT", 0, NULL);
            p->gw->counts.slow++;
            p->t0_us = base_clock_monotonic_us();
            gw_pg_fly(p->conn, &p->flight, p, on_committed);
            return;
        }
        finish(p);
        return;
    }
    p->range_count--;
    p->from = p->ranges[p->range_count].from;
    p->to = p->ranges[p->range_count].to;
    gw_flight_clear(&p->flight);
    base_arena_clear(&p->plan);
    if (!p->txn_begun) {
        add_push_txn(p);
        (void)gw_flight_add(&p->flight, "SET CONSTRAINTS ALL IMMEDIATE", 0, NULL);
    }
    if (p->failed_range) {
        (void)gw_flight_add(&p->flight, "ROLLBACK TO SAVEPOINT everward_range", 0, NULL);
        (void)gw_flight_add(&p->flight, "RELEASE SAVEPOINT everward_range", 0, NULL);
        p->failed_range = false;
    }
    (void)gw_flight_add(&p->flight, "SAVEPOINT everward_range", 0, NULL);
    collect_tables(p);
    p->read_query = p->flight.count;
    for (int i = 0; i < p->read_count; i++)
        if (!add_read_of(p, p->reads[i])) {
            fail_out_of_memory(p);
            return;
        }
    gw_pg_fly(p->conn, &p->flight, p, on_read);
}

/* ---- the receipt's head -------------------------------------------------------------------- */

/* Outcomes of receipts that overlap the batch, and the chain of the one that ends where it ends. */
static const char *read_known(struct push *p)
{
    const PGresult *r = p->flight.results[OPEN_NEXT];
    const char *chain = NULL;
    struct base_buf b;
    base_buf_init(&b, OUTCOMES_BYTES_MAX);
    for (int i = 0; i < PQntuples(r); i++) {
        const char *json = PQgetvalue(r, i, 2);
        size_t len = strlen(json);
        if (strtoll(PQgetvalue(r, i, 0), NULL, 10) == p->last)
            chain = base_arena_copy(&p->arena, PQgetvalue(r, i, 1), 2 * CORE_CHAIN_BYTES);
        if (len <= 2)
            continue;
        if (b.len > 0)
            base_buf_char(&b, ',');
        base_buf_add(&b, json + 1, len - 2);
    }
    free(p->known);
    p->known = b.len > 0 ? base_buf_take(&b) : NULL;
    base_buf_release(&b);
    return chain;
}

static bool same_chain(const uint8_t a[CORE_CHAIN_BYTES], const uint8_t b[CORE_CHAIN_BYTES])
{
    return memcmp(a, b, CORE_CHAIN_BYTES) == 0;
}

static bool known_chain_equal(struct push *p, const char *chain_at_last)
{
    uint8_t there[CORE_CHAIN_BYTES];
    if (p->head_seq < p->first)
        return same_chain(p->head_chain, p->chain_before);
    if (p->head_seq <= p->last)
        return same_chain(p->head_chain, p->changes[p->head_seq - p->first].chain);
    /* Below the head: comparable where a receipt ended; else the node compares the head itself. */
    return chain_at_last == NULL ||
           (seal_hex_decode(there, sizeof there, chain_at_last, strlen(chain_at_last)) &&
            same_chain(there, p->chain));
}

static void on_open(void *user, struct gw_flight *f)
{
    struct push *p = user;
    if (passing(p))
        return;
    if (f->rc != 0) {
        gw_reply_failed(p->gw, p->x, f, "push");
        done(p);
        return;
    }
    if (check_open(p) != OPENED_OK)
        return;
    enum core_push_verdict v = core_push_check(p->head_seq, p->first, p->last);
    if (v == CORE_PUSH_GAP || v == CORE_PUSH_INVALID) {
        conflict_reply(p, "gap", "Changes before these have not arrived.", p->head_seq + 1);
        return;
    }
    if (!known_chain_equal(p, read_known(p))) {
        conflict_reply(p, "chain_differs",
                       "The centre holds another history under these numbers: this node was cloned"
                       " or restored.",
                       0);
        return;
    }
    if (v == CORE_PUSH_KNOWN) {
        base_buf_clear(&p->outcomes);
        reply_receipt(p, p->head_seq, p->head_chain);
        return;
    }
    p->skip = (int)(p->head_seq - p->first + 1);
    p->range_count = 0;
    p->txn_begun = p->failed_range = false;
    push_range(p, p->skip, p->count);
    next_range(p);
}

static void fly_open(struct push *p)
{
    add_open(p);
    const struct gw_param known[] = {gw_text(p->who.node), gw_text(push_i64(&p->arena, p->inc)),
                                     gw_text(push_i64(&p->arena, p->first)),
                                     gw_text(push_i64(&p->arena, p->last))};
    (void)gw_flight_add(&p->flight, known_sql, 4, known);
    gw_pg_fly(p->conn, &p->flight, p, on_open);
}

/* ---- attempts ------------------------------------------------------------------------------ */

static void on_conn(void *user, int rc, struct gw_pg_conn *conn)
{
    struct push *p = user;
    if (rc != 0) {
        gw_reply_no_conn(p->gw, p->x, rc);
        done(p);
        return;
    }
    p->conn = conn;
    if (p->fast && !p->careful)
        fly_fast(p);
    else
        fly_open(p);
}

static void attempt(struct push *p)
{
    p->attempt++;
    gw_pg_take(p->gw->pool, p, on_conn);
}

static void on_again(uv_timer_t *t)
{
    attempt(t->data);
}

static void attempt_later(struct push *p)
{
    uint8_t random = 0;
    if (p->conn != NULL)
        gw_pg_give(p->conn);
    p->conn = NULL;
    seal_random(&random, 1);
    (void)uv_timer_start(&p->timer, on_again,
                         (uint64_t)(p->attempt * PUSH_JITTER_MS + random % PUSH_JITTER_MS), 0);
}

/* ---- arrival ------------------------------------------------------------------------------- */

static void resolve_work(struct push *p)
{
    int rc = push_resolve(p);
    if (rc == 0 && p->fast) {
        base_arena_clear(&p->plan);
        rc = push_plan_fast(p);
    }
    if (rc != 0) {
        p->status = 503;
        p->code = "busy";
    }
}

static void decode_work(uv_work_t *w)
{
    struct push *p = w->data;
    p->t0_us = base_clock_monotonic_us();
    push_decode(p);
    if (p->status == 0)
        resolve_work(p);
    p->t0_us = base_clock_monotonic_us() - p->t0_us;
}

static void again_work(uv_work_t *w)
{
    resolve_work(w->data);
}

static void refuse(struct push *p)
{
    char extra[48] = "";
    char detail[BASE_ERR_TEXT_BYTES + 2];
    if (p->status == 503) {
        fail_out_of_memory(p);
        return;
    }
    if (p->line > 0)
        (void)snprintf(extra, sizeof extra, "\"line\":%d", p->line);
    (void)snprintf(detail, sizeof detail, "%s", p->err.text);
    p->gw->counts.refused++;
    net_http_problem_with(p->x, p->status, p->code, detail, "Nothing was applied.",
                          p->line > 0 ? extra : NULL);
    base_log(BASE_LOG_WARN, "push_refused", "node %s: %s, line %d", p->who.node, p->code, p->line);
    done(p);
}

static void on_decoded(uv_work_t *w, int status)
{
    struct push *p = w->data;
    p->gw->counts.decode_us += (uint64_t)p->t0_us;
    if (status != 0) {
        fail_out_of_memory(p);
    } else if (p->status != 0) {
        refuse(p);
    } else {
        attempt(p);
    }
}

static void on_catalog_again(void *user, int rc, struct gw_catalog *c)
{
    struct push *p = user;
    if (rc != 0 || p->attempt >= PUSH_ATTEMPTS_MAX) {
        gw_reply_no_conn(p->gw, p->x, rc == 0 ? BASE_EBUSY : rc);
        done(p);
        return;
    }
    gw_catalog_drop(p->catalog);
    p->catalog = gw_catalog_hold(c);
    to_worker(p, again_work, on_decoded);
}

static void on_catalog(void *user, int rc, struct gw_catalog *c)
{
    struct push *p = user;
    if (rc != 0) {
        gw_reply_no_conn(p->gw, p->x, rc);
        done(p);
        return;
    }
    p->catalog = gw_catalog_hold(c);
    to_worker(p, decode_work, on_decoded);
}

static void on_who(struct gateway *gw, struct net_http_exchange *x, const struct gw_who *who)
{
    struct push *p = calloc(1, sizeof *p);
    if (p == NULL) {
        gw_reply_no_conn(gw, x, BASE_EBUSY);
        return;
    }
    p->gw = gw;
    p->x = x;
    p->who = *who;
    p->timer.data = p;
    (void)uv_timer_init(gw->loop, &p->timer);
    gw_flight_init(&p->flight);
    base_arena_init(&p->arena, PUSH_ARENA_BYTES_MAX);
    base_arena_init(&p->plan, PUSH_ARENA_BYTES_MAX);
    base_buf_init(&p->plain, CORE_BATCH_BYTES_MAX);
    base_buf_init(&p->outcomes, OUTCOMES_BYTES_MAX);
    size_t len = 0;
    (void)net_http_body(x, &len);
    gw->counts.push_bytes += len;
    gw_catalog_get(gw, 0, p, on_catalog);
}

static void on_push(struct net_http_exchange *x, void *user)
{
    gw_authenticate(user, x, on_who);
}

int gw_routes_push(struct gateway *gw, struct base_err *err)
{
    const struct net_http_route route = {.method = "POST",
                                         .path = "/sync/v1/push",
                                         .body_bytes_max = GW_BODY_BYTES_MAX,
                                         .auth_decided = true,
                                         .handler = on_push};
    return net_http_route_add(gw->http, &route, err);
}
