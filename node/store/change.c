/* The log of what is written here: line, chain, row. Written once, never altered. */
#include "node/store/internal.h"
#include "sync/seal/seal.h"

static int insert(struct node_db *db, const struct core_change *c, const struct base_buf *line,
                  const uint8_t chain[CORE_CHAIN_BYTES], struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st,
                      "INSERT INTO _change (seq, txn, tbl, row_id, base, at, line, chain) "
                      "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                      err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, c->seq);
    node_sql_i64(st, 2, c->txn);
    node_sql_text_len(st, 3, c->table.s, c->table.len);
    node_sql_uuid(st, 4, &c->id);
    node_sql_i64(st, 5, c->base);
    node_sql_text_len(st, 6, c->at.s, c->at.len);
    node_sql_text_len(st, 7, line->data, line->len);
    node_sql_blob(st, 8, chain, CORE_CHAIN_BYTES);
    return stmt_run(st, err);
}

int change_append(struct node_db *db, struct core_change *c, int64_t *seq, size_t *bytes,
                  struct base_err *err)
{
    struct base_buf line;
    uint8_t chain[CORE_CHAIN_BYTES];
    base_buf_init(&line, CORE_CHANGE_LINE_BYTES_MAX);
    c->seq = db->heads.seq + 1;
    if (c->txn == 0)
        c->txn = c->seq;
    core_change_write(&line, c);
    int rc = base_buf_check(&line);
    if (rc != 0)
        rc = base_fail(err, rc, "a change to %.*s is larger than %d bytes", (int)c->table.len,
                       c->table.s, CORE_CHANGE_LINE_BYTES_MAX);
    if (rc == 0) {
        memcpy(chain, db->heads.chain, sizeof chain);
        seal_chain_step(chain, line.data, line.len);
        rc = insert(db, c, &line, chain, err);
    }
    if (rc == 0) {
        db->heads.seq = c->seq;
        memcpy(db->heads.chain, chain, sizeof chain);
        *seq = c->seq;
        *bytes += line.len;
    }
    base_buf_release(&line);
    return rc;
}
