/*
 * The general way: ranges of a batch, each read under lock, planned, written; halved where they
 * fail for good.
 */
#include "sync/gateway/push.h"

#include <stdlib.h>
#include <string.h>

#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/seal/seal.h"

/* ---- the general way: ranges --------------------------------------------------------------- */

static void plan_work(uv_work_t *w);
static void on_worked(uv_work_t *w, int status);

static void finish(struct push *p, const char *first)
{
    gw_flight_clear(&p->flight);
    if (first != NULL)
        (void)gw_flight_add(&p->flight, first, 0, NULL);
    if (p->late != NULL && !push_late_flags(p)) {
        push_fail(p);
        return;
    }
    push_add_receipt(p);
    (void)gw_flight_add(&p->flight, "COMMIT", 0, NULL);
    p->gw->counts.slow++;
    p->t0_us = base_clock_monotonic_us();
    gw_pg_fly(p->conn, &p->flight, p, push_on_committed);
}

void push_range_add(struct push *p, int from, int to)
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
        push_range_add(p, middle, p->to);
        push_range_add(p, p->from, middle);
    } else {
        push_quarantine(p, p->from, f->sqlstate, f->constraint, reason_of(f->sqlstate));
        base_log(BASE_LOG_WARN, "quarantined", "node %s seq %lld: sqlstate %s, constraint %s",
                 p->who.node, (long long)p->changes[p->from].c.seq, f->sqlstate,
                 f->constraint[0] == '\0' ? "none" : f->constraint);
    }
    push_next_range(p);
}

static void on_written(void *user, struct gw_flight *f)
{
    struct push *p = user;
    p->gw->counts.write_us += (uint64_t)(base_clock_monotonic_us() - p->t0_us);
    if (push_passing(p))
        return;
    if (f->rc != 0) {
        split(p);
        return;
    }
    if (!push_all_affected(p, 0)) {
        /* A row that was read under lock is not there to be written: never to be acknowledged. */
        base_log(BASE_LOG_ERROR, "push_mismatch", "node %s: fewer rows written than decided",
                 p->who.node);
        push_answer_away(p, BASE_EUNREACHABLE);
        push_done(p);
        return;
    }
    push_next_range(p);
}

static void on_planned(struct push *p)
{
    gw_flight_clear(&p->flight);
    push_add_statements(p);
    (void)gw_flight_add(&p->flight, "RELEASE SAVEPOINT everward_range", 0, NULL);
    p->t0_us = base_clock_monotonic_us();
    gw_pg_fly(p->conn, &p->flight, p, on_written);
}

static const char past_sql[] =
    "SELECT c.row_id, c.rev, c.op, c.cols::text, c.image,"
    " coalesce(c.origin_node = $3::uuid AND (c.origin_inc = $4::bigint OR (c.origin_inc <"
    " $4::bigint AND NOT EXISTS (SELECT FROM everward.incarnation i JOIN everward.txn x"
    " ON x.tenant_id = c.tenant_id AND x.txn = c.txn WHERE i.tenant_id = c.tenant_id"
    " AND i.node_id = $3::uuid AND i.incarnation > c.origin_inc AND i.incarnation <= $4::bigint"
    " AND x.origin_seq > i.after_seq))), false), c.actor,"
    " to_char(c.at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), c.origin_node,"
    " $6::boolean AND c.txn > (SELECT everward.life_began())"
    " FROM unnest($1::uuid[], $2::bigint[]) AS w (id, base)"
    " JOIN everward.change c ON c.tenant_id = (SELECT everward.tenant()) AND c.tbl = $5::int"
    " AND c.row_id = w.id AND c.rev >= w.base ORDER BY c.row_id, c.rev";

static void on_past(void *user, struct gw_flight *f)
{
    struct push *p = user;
    if (push_passing(p))
        return;
    if (f->rc != 0) {
        split(p);
        return;
    }
    p->past_read = true;
    push_to_worker(p, plan_work, on_worked);
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
    struct gw_param params[6];
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
    params[5] = gw_text(p->former >= p->first ? "t" : "f");
    (void)gw_flight_add(&p->flight, past_sql, 6, params);
    return true;
}

static void fly_past(struct push *p)
{
    gw_flight_clear(&p->flight);
    for (int i = 0; i < p->read_count; i++)
        if (!add_past_of(p, p->reads[i])) {
            push_fail(p);
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
        push_fail(p);
    } else if (p->line == 1) {
        fly_past(p);
    } else {
        on_planned(p);
    }
}

static void on_read(void *user, struct gw_flight *f)
{
    struct push *p = user;
    if (push_passing(p))
        return;
    if (f->rc != 0) {
        if (!p->txn_begun && f->failed == 0) {
            push_answer_failed(p, "push_txn");
            push_done(p);
            return;
        }
        split(p);
        return;
    }
    p->txn_begun = true;
    p->past_read = false;
    push_to_worker(p, plan_work, on_worked);
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

void push_next_range(struct push *p)
{
    if (p->range_count == 0) {
        /* The culprit stood last: its savepoint is still open. */
        const char *open = p->failed_range ? "ROLLBACK TO SAVEPOINT everward_range" : NULL;
        p->failed_range = false;
        finish(p, open);
        return;
    }
    p->range_count--;
    p->from = p->ranges[p->range_count].from;
    p->to = p->ranges[p->range_count].to;
    gw_flight_clear(&p->flight);
    base_arena_clear(&p->plan);
    if (!p->txn_begun) {
        push_add_txn(p);
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
            push_fail(p);
            return;
        }
    gw_pg_fly(p->conn, &p->flight, p, on_read);
}
