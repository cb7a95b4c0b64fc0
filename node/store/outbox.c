/* What is to be pushed, and where the log stands. */
#include "node/store/internal.h"
#include "sync/seal/seal.h"

int life_start(struct node_db *db, int64_t *incarnation, int64_t *after, struct base_err *err)
{
    int rc = meta_i64(db, "_incarnation", 0, incarnation, err);
    return rc == 0 ? meta_i64(db, "_life_after", 0, after, err) : rc;
}

int node_outbox_position(struct node_db *db, int64_t seq, struct core_position *out,
                         struct base_err *err)
{
    struct node_stmt *st = NULL;
    int64_t incarnation = 0;
    int64_t begins = 0;
    int64_t floor = 0;
    int rc = life_start(db, &incarnation, &begins, err);
    if (rc != 0)
        return rc;
    if (seq == begins) {
        out->seq = seq;
        seal_chain_start(out->chain, &db->identity->node_id, incarnation);
        return 0;
    }
    rc = stmt_get(db, &st, "SELECT chain FROM _change WHERE seq = ?", err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, seq);
    rc = node_sql_step(st, err);
    size_t len = 0;
    const void *chain = rc == 1 ? node_sql_col_blob(st, 0, &len) : NULL;
    if (rc == 1 && len == CORE_CHAIN_BYTES) {
        out->seq = seq;
        memcpy(out->chain, chain, CORE_CHAIN_BYTES);
        rc = 0;
    } else if (rc == 1) {
        rc = base_fail(err, BASE_ECORRUPT, "the chain at %lld is not whole", (long long)seq);
    } else if (rc == 0 && (rc = prune_floor(db, &floor, err)) == 0 && seq < floor) {
        rc = base_fail(err, BASE_EFENCED,
                       "change %lld of this node was acknowledged long ago and is no longer kept "
                       "(from %lld on they are): the centre was put back to a copy older than "
                       "sync.keep_days. Nothing is deleted",
                       (long long)seq, (long long)floor);
    } else if (rc == 0) {
        rc = base_fail(err, BASE_ENOTFOUND, "the log does not hold change %lld", (long long)seq);
    }
    node_sql_done(st);
    return rc;
}

/* Lines of whole transactions: what a transaction that does not fit had added goes again. At least
 * one is given, so that nothing is too large to go on (store: one is below half a push). */
struct batch {
    int64_t txn, last; /* the transaction being read, the last change of a whole one */
    size_t bytes;      /* of out, with whole transactions only */
    int count, whole;
    uint8_t chain[CORE_CHAIN_BYTES], whole_chain[CORE_CHAIN_BYTES];
};

static void batch_close(struct batch *b, const struct base_buf *out, int64_t seq)
{
    b->bytes = out->len;
    b->whole = b->count;
    b->last = seq;
    memcpy(b->whole_chain, b->chain, CORE_CHAIN_BYTES);
}

static int batch_read(struct node_stmt *st, int64_t after, int max_changes, size_t max_bytes,
                      struct base_buf *out, struct batch *b, struct base_err *err)
{
    size_t start = out->len;
    int64_t seq = after;
    int rc;
    while ((rc = node_sql_step(st, err)) == 1) {
        size_t len = 0;
        size_t chain_len = 0;
        int64_t txn = node_sql_col_i64(st, 1);
        const char *line = node_sql_col_text(st, 2, &len);
        const void *chain = node_sql_col_blob(st, 3, &chain_len);
        if (node_sql_col_i64(st, 0) != seq + 1 || chain_len != CORE_CHAIN_BYTES)
            return base_fail(err, BASE_ECORRUPT, "the log is not whole behind change %lld",
                             (long long)seq);
        if (txn != b->txn)
            batch_close(b, out, seq);
        b->txn = txn;
        if (b->whole > 0 && (b->count + 1 > max_changes || out->len - start + len + 1 > max_bytes))
            return 0;
        seq++;
        b->count++;
        memcpy(b->chain, chain, CORE_CHAIN_BYTES);
        base_buf_add(out, line, len);
        base_buf_char(out, '\n');
        if ((rc = base_buf_check(out)) != 0)
            return base_fail(err, rc, "a batch of changes");
    }
    if (rc == 0)
        batch_close(b, out, seq);
    return rc;
}

int node_outbox_read(struct node_db *db, int64_t after_seq, int max_changes, size_t max_bytes,
                     struct base_buf *out, struct core_position *before, struct core_position *last,
                     int *count, struct base_err *err)
{
    struct node_stmt *st = NULL;
    struct core_position at;
    size_t start = out->len;
    int rc = node_outbox_position(db, after_seq, &at, err);
    if (rc == 0)
        rc = stmt_get(db, &st,
                      "SELECT seq, txn, line, chain FROM _change WHERE seq > ? ORDER BY seq", err);
    if (rc != 0)
        return rc;
    struct batch b = {.last = after_seq, .bytes = start};
    memcpy(b.chain, at.chain, CORE_CHAIN_BYTES);
    memcpy(b.whole_chain, at.chain, CORE_CHAIN_BYTES);
    node_sql_i64(st, 1, after_seq);
    rc = batch_read(st, after_seq, max_changes, max_bytes, out, &b, err);
    node_sql_done(st);
    if (rc != 0)
        return rc;
    if (out->data != NULL && out->len > b.bytes)
        out->data[out->len = b.bytes] = '\0';
    *before = at;
    last->seq = b.last;
    memcpy(last->chain, b.whole_chain, CORE_CHAIN_BYTES);
    *count = b.whole;
    return 0;
}
