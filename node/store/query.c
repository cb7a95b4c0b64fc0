/* Rows for people: with their version, and how they stand with the centre. */
#include "node/store/query_sql.h"

static const char *const sync_names[] = {"pending", "acknowledged", "contested", "quarantined"};

const char *node_sync_name(enum node_sync s)
{
    return sync_names[s];
}

/* 1: yes, 0: no. */
static int is_held(struct node_db *db, struct node_table *t, const struct base_uuid *id,
                   struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(
        db, &st, "SELECT 1 FROM _change WHERE row_id = ? AND tbl = ? AND held = 1 LIMIT 1", err);
    if (rc != 0)
        return rc;
    node_sql_uuid(st, 1, id);
    node_sql_text(st, 2, t->name);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc;
}

static int is_contested(struct node_db *db, struct node_table *t, const struct base_uuid *id,
                        struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st,
                      "SELECT 1 FROM conflict WHERE row_id = ? AND table_name = ? AND "
                      "state = 'open' LIMIT 1",
                      err);
    if (rc != 0)
        return rc;
    node_sql_uuid(st, 1, id);
    node_sql_text(st, 2, t->name);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc;
}

/* Are there open conflicts at all? Mostly not, and then no row need be looked up. */
static int any_conflict(struct node_db *db, bool *any, struct base_err *err)
{
    struct node_stmt *st = NULL;
    *any = false;
    if (table_named(db, "conflict", 8) == NULL)
        return 0;
    int rc = stmt_get(db, &st, "SELECT EXISTS (SELECT 1 FROM conflict WHERE state = 'open')", err);
    if (rc != 0)
        return rc;
    rc = node_sql_step(st, err);
    if (rc == 1)
        *any = node_sql_col_i64(st, 0) != 0;
    node_sql_done(st);
    return rc < 0 ? rc : 0;
}

static int row_sync(struct node_db *db, struct node_table *t, const struct row_now *now,
                    const struct base_uuid *id, bool conflicts, enum node_sync *out,
                    struct base_err *err)
{
    *out = now->pending != 0 ? NODE_SYNC_PENDING : NODE_SYNC_ACKNOWLEDGED;
    int rc = now->pending != 0 ? is_held(db, t, id, err) : 0;
    if (rc == 1)
        *out = NODE_SYNC_QUARANTINED;
    else if (rc == 0 && conflicts && (rc = is_contested(db, t, id, err)) == 1)
        *out = NODE_SYNC_CONTESTED;
    return rc < 0 ? rc : 0;
}

static int row_give(struct node_db *db, struct node_table *t, const struct row_now *now,
                    const struct base_uuid *id, bool conflicts, struct node_row *out,
                    struct base_err *err)
{
    out->table = t->core;
    out->id = *id;
    out->version = (struct node_version){now->rev, now->pending};
    for (int i = 0; i < t->core->column_count; i++)
        out->values[i] = core_image_field(&now->image, CORE_ORD_FIRST + i);
    return row_sync(db, t, now, id, conflicts, &out->sync, err);
}

int node_row_get(struct node_db *db, const struct core_table *table, const struct base_uuid *id,
                 struct base_arena *arena, struct node_row *out, struct base_err *err)
{
    struct node_table *t = table_of(db, table);
    struct row_now now;
    bool conflicts = false;
    if (t == NULL)
        return base_fail(err, BASE_ENOTFOUND, "no such table: %s", table->name);
    int rc = row_get(db, t, id, arena, &now, err);
    if (rc == 0 && !now.exists)
        rc = base_fail(err, BASE_ENOTFOUND, "%s: no row with this id", t->name);
    if (rc == 0)
        rc = any_conflict(db, &conflicts, err);
    return rc == 0 ? row_give(db, t, &now, id, conflicts, out, err) : rc;
}

struct query_run {
    struct node_db *db;
    struct query_sql sql;
    void *user;
    node_row_cb cb;
    bool conflicts, more, stopped;
    int given;
    struct row_now now;
    struct node_row row; /* the last one given */
};

static int run_part(struct query_run *r, enum query_part part, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = query_sql_write(&r->sql, part, err);
    if (rc == 0)
        rc = stmt_get(r->db, &st, r->sql.sql.data, err);
    if (rc != 0)
        return rc;
    query_sql_bind(&r->sql, st, r->sql.q->limit + 1 - r->given);
    while ((rc = node_sql_step(st, err)) == 1) {
        struct base_uuid id;
        if (r->given == r->sql.q->limit || r->stopped) {
            r->more = true;
            rc = 0;
            break;
        }
        rc = row_read(r->db, r->sql.table, st->st, r->sql.arena, &r->now, err);
        if (rc == 0 && !node_sql_col_uuid(st, 0, &id))
            rc = base_fail(err, BASE_ECORRUPT, "%s: a stored id is no uuid", r->sql.table->name);
        if (rc == 0)
            rc = row_give(r->db, r->sql.table, &r->now, &id, r->conflicts, &r->row, err);
        if (rc != 0)
            break;
        r->given++;
        r->stopped = !r->cb(r->user, &r->row);
    }
    node_sql_done(st);
    return rc;
}

int node_query_run(struct node_db *db, const struct node_query *q, struct base_arena *arena,
                   void *user, node_row_cb cb, const char **next, struct base_err *err)
{
    struct query_run r = {.db = db, .user = user, .cb = cb};
    int rc = query_sql_init(&r.sql, db, q, arena, err);
    if (rc == 0)
        rc = any_conflict(db, &r.conflicts, err);
    if (rc == 0) {
        enum query_part part = query_first_part(&r.sql);
        rc = run_part(&r, part, err);
        if (rc == 0 && part == QUERY_VALUES && !r.more)
            rc = run_part(&r, QUERY_NULLS, err);
    }
    const char *cursor = NULL;
    if (rc == 0 && r.more)
        rc = query_cursor(&r.sql, &r.row, &cursor, err);
    query_sql_release(&r.sql);
    if (rc == 0)
        *next = cursor;
    return rc;
}
