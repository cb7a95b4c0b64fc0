#include "node/store/prune.h"

#include "node/store/internal.h"

static const char pruned_name[] = "_pruned";
static const char at_name[] = "_prune_at";

static int run_i64(struct node_db *db, const char *sql, int64_t value, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st, sql, err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, value);
    return stmt_run(st, err);
}

int prune_floor(struct node_db *db, int64_t *seq, struct base_err *err)
{
    return meta_i64(db, pruned_name, 0, seq, err);
}

int prune_lower(struct node_db *db, int64_t acked, struct base_err *err)
{
    return run_i64(db, "UPDATE _contact SET acked = ?1 WHERE acked > ?1", acked, err);
}

int prune_lower_audited(struct node_db *db, int64_t sent, struct base_err *err)
{
    return run_i64(db, "UPDATE _contact SET audited = ?1 WHERE audited > ?1", sent, err);
}

int node_prune_day(struct node_db *db, int64_t day, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int64_t acked = 0;
    int64_t audited = 0;
    int rc = meta_i64(db, "_acked", 0, &acked, err);
    if (rc == 0)
        rc = meta_i64(db, "_audit_sent", 0, &audited, err);
    if (rc == 0)
        rc = stmt_get(db, &st,
                      "INSERT OR IGNORE INTO _contact (day, acked, audited) VALUES (?, ?, ?)", err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, day);
    node_sql_i64(st, 2, acked);
    node_sql_i64(st, 3, audited);
    rc = stmt_run(st, err);
    if (rc == 0) /* nobody asks for older ones */
        rc = run_i64(db, "DELETE FROM _contact WHERE n < (SELECT max(n) FROM _contact) - ?",
                     NODE_PRUNE_DAYS_MAX, err);
    /* What was held or laid over its row when it was passed by may be free now. */
    return rc == 0 ? meta_set_i64(db, at_name, 0, err) : rc;
}

/* Another life is about to begin, here or at the centre: the log stays as it is. */
static int life_begins(struct node_db *db, bool *yes, struct base_err *err)
{
    struct base_buf mark;
    int64_t filling = 0;
    base_buf_init(&mark, 256);
    int rc = meta_i64(db, "_fill_life", 0, &filling, err);
    if (rc == 0)
        rc = node_meta_get(db, NODE_META_REJOIN, &mark, err);
    if (rc == 0)
        rc = node_meta_get(db, NODE_META_RESTORED, &mark, err);
    *yes = filling != 0 || mark.len > 0;
    base_buf_release(&mark);
    return rc;
}

/* The newest change that was acknowledged keep_days days of contact ago and has its outcome; 0: none. */
static int aged(struct node_db *db, int64_t keep_days, int64_t *seq, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int64_t done = 0;
    int64_t acked = 0;
    int rc = meta_i64(db, "_done", 0, &done, err);
    if (rc == 0)
        rc = stmt_get(db, &st, "SELECT acked FROM _contact ORDER BY n DESC LIMIT 1 OFFSET ?", err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, keep_days);
    rc = node_sql_step(st, err);
    if (rc == 1)
        acked = node_sql_col_i64(st, 0);
    node_sql_done(st);
    *seq = acked < done ? acked : done;
    return rc < 0 ? rc : 0;
}

/* Where a step that begins at `at` ends: behind NODE_PRUNE_STEP changes, or at the target. */
static int step_end(struct node_db *db, int64_t at, int64_t target, int64_t *end,
                    struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st,
                      "SELECT seq FROM _change WHERE seq >= ? AND seq < ? ORDER BY seq "
                      "LIMIT 1 OFFSET ?",
                      err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, at);
    node_sql_i64(st, 2, target);
    node_sql_i64(st, 3, NODE_PRUNE_STEP);
    rc = node_sql_step(st, err);
    *end = rc == 1 ? node_sql_col_i64(st, 0) : target;
    node_sql_done(st);
    return rc < 0 ? rc : 0;
}

static int delete_range(struct node_db *db, int64_t at, int64_t end, int64_t *gone,
                        struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st,
                      "DELETE FROM _change WHERE seq >= ? AND seq < ? AND held = 0 AND NOT EXISTS "
                      "(SELECT 1 FROM _base b WHERE b.tbl = _change.tbl AND b.row_id = "
                      "_change.row_id)",
                      err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, at);
    node_sql_i64(st, 2, end);
    rc = stmt_run(st, err);
    *gone = rc == 0 ? sqlite3_changes64(db->sql) : 0;
    return rc;
}

int node_prune_step(struct node_db *db, int64_t keep_days, int64_t *gone, bool *more,
                    struct base_err *err)
{
    int64_t at = 0;
    int64_t end = 0;
    int64_t floor = 0;
    int64_t target = 0;
    bool begins = true;
    BASE_ASSERT(keep_days >= 1);
    *gone = 0;
    *more = false;
    int rc = life_begins(db, &begins, err);
    if (rc != 0 || begins)
        return rc;
    rc = aged(db, keep_days, &target, err);
    if (rc == 0)
        rc = meta_i64(db, at_name, 0, &at, err);
    if (rc != 0 || at >= target)
        return rc;
    rc = step_end(db, at, target, &end, err);
    if (rc == 0)
        rc = delete_range(db, at, end, gone, err);
    if (rc == 0)
        rc = meta_set_i64(db, at_name, end, err);
    if (rc == 0)
        rc = prune_floor(db, &floor, err);
    if (rc == 0 && *gone > 0 && end > floor)
        rc = meta_set_i64(db, pruned_name, end, err);
    *more = rc == 0 && end < target;
    return rc;
}
