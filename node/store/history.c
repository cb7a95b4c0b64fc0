/* What happened to one row here, as far as the log reaches back. */
#include "node/store/internal.h"

int node_history_each(struct node_db *db, const struct core_table *t, const struct base_uuid *id,
                      void *user, node_history_cb cb, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int64_t acked = 0;
    int rc = meta_i64(db, "_acked", 0, &acked, err);
    if (rc == 0)
        rc = stmt_get(db, &st,
                      "SELECT seq, base, line, outcome, reason FROM _change "
                      "WHERE row_id = ? AND tbl = ? ORDER BY seq DESC",
                      err);
    if (rc != 0)
        return rc;
    node_sql_uuid(st, 1, id);
    node_sql_text(st, 2, t->name);
    while ((rc = node_sql_step(st, err)) == 1) {
        struct node_history h = {
            .seq = node_sql_col_i64(st, 0),
            .base = node_sql_col_i64(st, 1),
            .line = node_sql_col_text(st, 2, NULL),
            .outcome = node_sql_col_text(st, 3, NULL),
            .reason = node_sql_col_text(st, 4, NULL),
        };
        if (h.outcome == NULL)
            h.outcome = h.seq > acked ? "pending" : "applied";
        if (!cb(user, &h)) {
            rc = 0;
            break;
        }
    }
    node_sql_done(st);
    return rc;
}
