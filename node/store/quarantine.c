/* Changes that the centre could not apply: listed, written again, or dropped by a person. */
#include "node/store/internal.h"

int node_quarantine_each(struct node_db *db, void *user, node_quarantine_cb cb,
                         struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st,
                      "SELECT seq, tbl, row_id, sqlstate, constraint_name, reason, at, line "
                      "FROM _change WHERE held = 1 ORDER BY seq DESC",
                      err);
    if (rc != 0)
        return rc;
    while ((rc = node_sql_step(st, err)) == 1) {
        char text[BASE_UUID_CHARS + 1] = "";
        struct base_uuid id;
        if (node_sql_col_uuid(st, 2, &id))
            base_uuid_format(&id, text);
        struct node_quarantined q = {
            .seq = node_sql_col_i64(st, 0),
            .table = node_sql_col_text(st, 1, NULL),
            .id = text,
            .sqlstate = node_sql_col_text(st, 3, NULL),
            .constraint = node_sql_col_text(st, 4, NULL),
            .reason = node_sql_col_text(st, 5, NULL),
            .at = node_sql_col_text(st, 6, NULL),
            .line = node_sql_col_text(st, 7, NULL),
        };
        if (!cb(user, &q)) {
            rc = 0;
            break;
        }
    }
    node_sql_done(st);
    return rc;
}

/* The line of a change that is held, read; the texts in the arena. */
static int held_change(struct node_db *db, int64_t seq, struct core_change *c,
                       struct base_arena *arena, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st, "SELECT line FROM _change WHERE seq = ? AND held = 1", err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, seq);
    rc = node_sql_step(st, err);
    if (rc == 1) {
        size_t len = 0;
        const char *line = node_sql_col_text(st, 0, &len);
        line = base_arena_copy(arena, line, len);
        rc = line == NULL ? base_fail(err, BASE_ENOMEM, "out of memory for a change")
                          : core_change_read(c, line, len, arena, err);
    } else if (rc == 0) {
        rc = base_fail(err, BASE_ENOTFOUND, "change %lld is not in quarantine", (long long)seq);
    }
    node_sql_done(st);
    return rc;
}

static int close_change(struct node_db *db, int64_t seq, const char *how, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st, "UPDATE _change SET held = 0, closed = ? WHERE seq = ?", err);
    if (rc != 0)
        return rc;
    node_sql_text(st, 1, how);
    node_sql_i64(st, 2, seq);
    return stmt_run(st, err);
}

static int close_and_lay(struct node_db *db, const struct core_change *c, int64_t seq,
                         const char *how, const char *action, const char *detail,
                         struct base_err *err)
{
    static const struct node_author node_itself = {.device = "", .request_id = ""};
    struct node_table *t = table_named(db, c->table.s, c->table.len);
    if (t == NULL)
        return base_fail(err, BASE_ESTALE, "change %lld: no such table", (long long)seq);
    int rc = close_change(db, seq, how, err);
    if (rc == 0)
        rc = overlay_refresh(db, t, &c->id, err);
    return rc == 0
               ? node_audit_add(db, &node_itself, action, t->name, &c->id, NULL, "ok", detail, err)
               : rc;
}

/* What its author had seen stays what it was: base, time and clock are the first writing's. */
int node_quarantine_retry(struct node_db *db, int64_t seq, struct base_err *err)
{
    struct base_arena arena;
    struct core_change c;
    char how[64];
    int64_t new_seq = 0;
    size_t bytes = 0;
    base_arena_init(&arena, STORE_ROW_BYTES_MAX);
    int rc = held_change(db, seq, &c, &arena, err);
    if (rc == 0) {
        c.txn = 0;
        rc = change_append(db, &c, &new_seq, &bytes, err);
    }
    if (rc == 0) {
        snprintf(how, sizeof how, "retried as %lld", (long long)new_seq);
        rc = close_and_lay(db, &c, seq, how, "quarantine_retry", how, err);
    }
    base_arena_release(&arena);
    return rc;
}

int node_quarantine_drop(struct node_db *db, int64_t seq, const char *reason, struct base_err *err)
{
    struct base_arena arena;
    struct core_change c;
    char how[512];
    char detail[64];
    base_arena_init(&arena, STORE_ROW_BYTES_MAX);
    snprintf(how, sizeof how, "dropped: %s", reason == NULL ? "" : reason);
    snprintf(detail, sizeof detail, "seq %lld", (long long)seq);
    int rc = held_change(db, seq, &c, &arena, err);
    if (rc == 0)
        rc = close_and_lay(db, &c, seq, how, "quarantine_drop", detail, err);
    base_arena_release(&arena);
    return rc;
}
