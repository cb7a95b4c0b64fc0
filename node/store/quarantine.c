/* Changes that the centre could not apply: listed, written again, or dropped by a person. */
#include "node/store/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static int close_and_lay(struct node_db *db, const struct node_author *author,
                         const struct core_change *c, int64_t seq, const char *how,
                         const char *action, const char *detail, struct base_err *err)
{
    struct node_table *t = table_named(db, c->table.s, c->table.len);
    if (t == NULL)
        return base_fail(err, BASE_ESTALE, "change %lld: no such table", (long long)seq);
    int rc = close_change(db, seq, how, err);
    if (rc == 0)
        rc = overlay_refresh(db, t, &c->id, err);
    return rc == 0 ? node_audit_add(db, author, action, t->name, &c->id, NULL, "ok", detail, err)
                   : rc;
}

/* Seqs still to be written again, ascending: a change never overtakes the one it stands on. */
struct waiting {
    int64_t *seqs; /* NODE_QUARANTINE_RETRY_MAX */
    int count;
};

static int wait_add(struct waiting *w, int64_t seq, struct base_err *err)
{
    int at = w->count;
    while (at > 0 && w->seqs[at - 1] > seq)
        at--;
    if (at > 0 && w->seqs[at - 1] == seq)
        return 0;
    if (w->count == NODE_QUARANTINE_RETRY_MAX)
        return base_fail(err, BASE_ETOOBIG, "more than %d changes at once; retry them one by one",
                         NODE_QUARANTINE_RETRY_MAX);
    memmove(&w->seqs[at + 1], &w->seqs[at], (size_t)(w->count - at) * sizeof w->seqs[0]);
    w->seqs[at] = seq;
    w->count++;
    return 0;
}

static int wait_add_all(struct waiting *w, struct node_stmt *st, struct base_err *err)
{
    int rc;
    while ((rc = node_sql_step(st, err)) == 1)
        if ((rc = wait_add(w, node_sql_col_i64(st, 0), err)) != 0)
            break;
    node_sql_done(st);
    return rc;
}

/* Later changes of the row, and what was refused for want of it. */
static int wait_for_row(struct node_db *db, struct waiting *w, const struct core_change *c,
                        int64_t seq, struct base_err *err)
{
    struct node_stmt *st = NULL;
    char id[BASE_UUID_CHARS + 1];
    int rc =
        stmt_get(db, &st,
                 "SELECT seq FROM _change WHERE held = 1 AND ((seq > ? AND row_id = ?) OR "
                 "((sqlstate = '23503' OR reason LIKE 'held behind seq %') AND row_id <> ? AND "
                 "instr(line, ?) > 0)) ORDER BY seq",
                 err);
    if (rc != 0)
        return rc;
    base_uuid_format(&c->id, id);
    node_sql_i64(st, 1, seq);
    node_sql_uuid(st, 2, &c->id);
    node_sql_uuid(st, 3, &c->id);
    node_sql_text(st, 4, id);
    return wait_add_all(w, st, err);
}

/* What its author had seen stays what it was: base, time and clock are the first writing's. */
static int retry_one(struct node_db *db, const struct node_author *author, struct waiting *w,
                     int64_t seq, struct base_err *err)
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
        rc = close_and_lay(db, author, &c, seq, how, "quarantine_retry", how, err);
    }
    if (rc == 0)
        rc = wait_for_row(db, w, &c, seq, err);
    base_arena_release(&arena);
    return rc;
}

static int wait_for_all(struct node_db *db, struct waiting *w, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st, "SELECT seq FROM _change WHERE held = 1 ORDER BY seq", err);
    return rc != 0 ? rc : wait_add_all(w, st, err);
}

/* Only what the centre has held behind this one, and not judged itself. */
static int wait_for_followers(struct node_db *db, struct waiting *w, int64_t seq,
                              struct base_err *err)
{
    struct node_stmt *st = NULL;
    char reason[64];
    int rc = stmt_get(db, &st, "SELECT seq FROM _change WHERE held = 1 AND reason = ? ORDER BY seq",
                      err);
    if (rc != 0)
        return rc;
    snprintf(reason, sizeof reason, "held behind seq %lld", (long long)seq);
    node_sql_text(st, 1, reason);
    return wait_add_all(w, st, err);
}

static int retry_waiting(struct node_db *db, const struct node_author *author, struct waiting *w,
                         int *count, struct base_err *err)
{
    int rc = 0;
    for (; rc == 0 && w->count > 0; ++*count) {
        int64_t next = w->seqs[0];
        memmove(&w->seqs[0], &w->seqs[1], (size_t)--w->count * sizeof w->seqs[0]);
        rc = retry_one(db, author, w, next, err);
    }
    return rc;
}

int node_quarantine_retry(struct node_db *db, const struct node_author *author, int64_t seq,
                          int *count, struct base_err *err)
{
    struct waiting w = {.seqs = calloc(NODE_QUARANTINE_RETRY_MAX, sizeof(int64_t))};
    int done = 0;
    if (w.seqs == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for a retry");
    int rc = seq == 0 ? wait_for_all(db, &w, err) : wait_add(&w, seq, err);
    if (rc == 0)
        rc = retry_waiting(db, author, &w, &done, err);
    free(w.seqs);
    if (rc == 0)
        *count = done;
    return rc;
}

/* What waited for a change that was given up goes on without it; a row that was never made takes nothing along. */
static int go_on_without(struct node_db *db, const struct node_author *author,
                         const struct core_change *c, int64_t seq, struct base_err *err)
{
    struct waiting w = {.seqs = calloc(NODE_QUARANTINE_RETRY_MAX, sizeof(int64_t))};
    int done = 0;
    if (w.seqs == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for a retry");
    int rc = c->op == CORE_OP_INSERT ? 0 : wait_for_followers(db, &w, seq, err);
    if (rc == 0)
        rc = retry_waiting(db, author, &w, &done, err);
    free(w.seqs);
    return rc;
}

int node_quarantine_drop(struct node_db *db, const struct node_author *author, int64_t seq,
                         const char *reason, struct base_err *err)
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
        rc = close_and_lay(db, author, &c, seq, how, "quarantine_drop", detail, err);
    if (rc == 0)
        rc = go_on_without(db, author, &c, seq, err);
    base_arena_release(&arena);
    return rc;
}
