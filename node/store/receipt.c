/* What the centre has taken, and what it said of it; and the state of the whole sync. */
#include "node/store/life.h"

struct judged {
    struct node_table *table; /* NULL: the catalog has lost it */
    struct base_uuid id;
    bool was_held, held;
    bool pruned; /* known long since, and no longer in the log */
};

static int judged_find(struct node_db *db, int64_t seq, struct judged *j, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int64_t floor = 0;
    size_t len = 0;
    int rc = stmt_get(db, &st, "SELECT tbl, row_id, held, closed FROM _change WHERE seq = ?", err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, seq);
    rc = node_sql_step(st, err);
    if (rc == 1) {
        const char *name = node_sql_col_text(st, 0, &len);
        j->table = table_named(db, name, len);
        j->was_held = node_sql_col_i64(st, 2) != 0;
        j->held = j->held && node_sql_col_text(st, 3, NULL) == NULL;
        rc = node_sql_col_uuid(st, 1, &j->id)
                 ? 0
                 : base_fail(err, BASE_ECORRUPT, "change %lld names no row", (long long)seq);
    } else if (rc == 0 && (rc = prune_floor(db, &floor, err)) == 0 && seq < floor) {
        j->pruned = true;
    } else if (rc == 0) {
        rc = base_fail(err, BASE_EPROTO, "an outcome for change %lld, which is not in the log",
                       (long long)seq);
    }
    node_sql_done(st);
    return rc;
}

static int judged_store(struct node_db *db, const struct node_outcome *o, bool held,
                        struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st,
                      "UPDATE _change SET outcome = ?, sqlstate = ?, constraint_name = ?, "
                      "reason = ?, held = ? WHERE seq = ?",
                      err);
    if (rc != 0)
        return rc;
    node_sql_text(st, 1, core_outcome_name(o->outcome));
    node_sql_text(st, 2, o->sqlstate);
    node_sql_text(st, 3, o->constraint);
    node_sql_text(st, 4, o->reason);
    node_sql_i64(st, 5, held);
    node_sql_i64(st, 6, o->seq);
    return stmt_run(st, err);
}

/* A quarantined change is held: its value stays on the screen until a person retries or drops it. A
 * centre restored from a backup judges anew, either way. */
static int outcome_apply(struct node_db *db, const struct node_outcome *o, struct base_err *err)
{
    struct judged j = {.held = o->outcome == CORE_QUARANTINED};
    int rc = judged_find(db, o->seq, &j, err);
    if (rc != 0 || j.pruned)
        return rc;
    if (rc == 0)
        rc = judged_store(db, o, j.held, err);
    return rc == 0 && j.held != j.was_held && j.table != NULL
               ? overlay_again(db, j.table, &j.id, err)
               : rc;
}

int node_receipt_apply(struct node_db *db, const struct core_position *receipt,
                       const struct node_outcome *outcomes, int count, struct base_err *err)
{
    int64_t acked = 0;
    int rc = meta_i64(db, "_acked", 0, &acked, err);
    if (rc == 0 && receipt->seq > db->heads.seq)
        rc = base_fail(err, BASE_EFENCED, "a receipt for %lld, but the log ends at %lld",
                       (long long)receipt->seq, (long long)db->heads.seq);
    for (int i = 0; rc == 0 && i < count; i++)
        rc = outcomes[i].seq > receipt->seq || outcomes[i].seq < 1
                 ? base_fail(err, BASE_EPROTO, "an outcome beyond its receipt")
                 : outcome_apply(db, &outcomes[i], err);
    if (rc == 0 && receipt->seq > acked)
        rc = meta_set_i64(db, "_acked", receipt->seq, err);
    if (rc == 0)
        rc = meta_set_now(db, "_last_push_at", err);
    if (rc == 0)
        rc = overlay_settle(db, err);
    return rc == 0 ? life_acknowledged(db, receipt->seq, err) : rc;
}

static int one_i64(struct node_db *db, const char *sql, int64_t *out, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st, sql, err);
    if (rc != 0)
        return rc;
    rc = node_sql_step(st, err);
    if (rc == 1)
        *out = node_sql_col_i64(st, 0);
    node_sql_done(st);
    return rc < 0 ? rc : 0;
}

static int oldest_pending(struct node_db *db, struct node_sync_state *s, struct base_err *err)
{
    struct node_stmt *st = NULL;
    s->oldest_pending_at[0] = '\0';
    int rc = stmt_get(db, &st,
                      "SELECT at FROM _change WHERE seq = (SELECT min(n) FROM (SELECT ?1 + 1 AS n "
                      "UNION ALL SELECT min(seq) FROM _change WHERE held = 1))",
                      err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, s->acked_seq);
    rc = node_sql_step(st, err);
    if (rc == 1)
        snprintf(s->oldest_pending_at, sizeof s->oldest_pending_at, "%s",
                 node_sql_col_text(st, 0, NULL));
    node_sql_done(st);
    return rc < 0 ? rc : 0;
}

static int counts(struct node_db *db, struct node_sync_state *s, struct base_err *err)
{
    int64_t held_above = 0;
    struct node_table *conflict = table_named(db, "conflict", 8);
    int rc = one_i64(db, "SELECT coalesce(max(seq), 0) FROM _change", &s->last_seq, err);
    if (rc == 0)
        rc = one_i64(db, "SELECT count(*) FROM _change WHERE held = 1", &s->quarantined, err);
    if (rc == 0 && conflict != NULL)
        rc = one_i64(db, "SELECT count(*) FROM conflict WHERE state = 'open'", &s->conflicts_open,
                     err);
    s->pending = s->last_seq - s->acked_seq + s->quarantined - held_above;
    return rc == 0 ? oldest_pending(db, s, err) : rc;
}

static int texts(struct node_db *db, struct node_sync_state *s, struct base_err *err)
{
    char text[64];
    int rc = meta_text(db, "_timeline", text, sizeof text, err);
    if (rc == 0)
        (void)base_uuid_parse(&s->timeline, text, strlen(text));
    if (rc == 0)
        rc = meta_text(db, "_last_push_at", s->last_push_at, sizeof s->last_push_at, err);
    if (rc == 0)
        rc = meta_text(db, "_last_pull_at", s->last_pull_at, sizeof s->last_pull_at, err);
    if (rc == 0)
        rc = meta_text(db, "_verified_at", s->verified_at, sizeof s->verified_at, err);
    return rc;
}

int node_sync_state_get(struct node_db *db, struct node_sync_state *out, struct base_err *err)
{
    struct node_sync_state s = {.catalog_version = db->catalog->c.version};
    int64_t filled = 0;
    int64_t waits = 0;
    int64_t equal = -1;
    int64_t surplus = 0;
    int rc = meta_i64(db, "_incarnation", 0, &s.incarnation, err);
    if (rc == 0)
        rc = meta_i64(db, "_acked", 0, &s.acked_seq, err);
    if (rc == 0)
        rc = meta_i64(db, "_settled", 0, &s.settled_seq, err);
    if (rc == 0)
        rc = meta_i64(db, "_cursor", -1, &s.cursor, err);
    if (rc == 0)
        rc = meta_i64(db, "_filled", 0, &filled, err);
    if (rc == 0)
        rc = one_i64(db, "SELECT EXISTS (SELECT 1 FROM _fill)", &waits, err);
    if (rc == 0)
        rc = meta_i64(db, "_replica_equal", -1, &equal, err);
    if (rc == 0)
        rc = meta_i64(db, "_surplus", 0, &surplus, err);
    if (rc == 0)
        rc = texts(db, &s, err);
    if (rc == 0)
        rc = counts(db, &s, err);
    s.filled = filled != 0;
    s.fill_waits = waits != 0;
    s.replica_equal = (int)equal;
    s.surplus = surplus != 0;
    if (rc == 0)
        *out = s;
    return rc;
}

int node_verified(struct node_db *db, bool equal, const char *at, struct base_err *err)
{
    int rc = meta_set_i64(db, "_replica_equal", equal, err);
    if (rc == 0 && equal)
        rc = meta_set_i64(db, "_surplus", 0, err);
    return rc == 0 ? meta_set(db, "_verified_at", at, err) : rc;
}
