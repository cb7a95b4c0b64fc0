/*
 * The audit trail's beginning goes when it is old and the centre has it.
 *
 *   checkpoint (n, chain after entry n, tag under the audit key, signature) and an entry that tells of it, in one transaction
 *   ──► entries up to n and signed heads below it, some at a time
 *
 * A stretch is checked before a checkpoint ends it: a trail that somebody edited is kept, as it is.
 * From the checkpoint on entries up to n count as gone, whether or not they have been deleted yet: the check begins there,
 * reports too. Dying anywhere: without the checkpoint everything is there; with it, the next step deletes the rest.
 * Nobody without the audit key can make a checkpoint: a trail whose front was cut off by hand does not verify.
 */
#include "node/store/audit.h"
#include "node/store/audit_entry.h"
#include "node/store/prune.h"

enum { CUT_TEXT_BYTES_MAX = 256 };

void node_audit_cut_text(struct base_buf *out, const struct base_uuid *node,
                         const struct node_audit_head *head)
{
    char text[BASE_UUID_CHARS + 1];
    base_uuid_format(node, text);
    base_buf_printf(out, "everward audit checkpoint 1\n%s %lld ", text, (long long)head->n);
    base_buf_hex(out, head->chain, sizeof head->chain);
}

static int tag_make(struct node_db *db, const struct node_audit_head *head,
                    uint8_t tag[CORE_CHAIN_BYTES], struct base_buf *text, struct base_err *err)
{
    base_buf_clear(text);
    node_audit_cut_text(text, &db->identity->node_id, head);
    int rc = base_buf_check(text);
    if (rc != 0)
        return base_fail(err, rc, "a checkpoint's text");
    memset(tag, 0, CORE_CHAIN_BYTES);
    audit_chain_step(db, tag, text);
    return 0;
}

/* ---- where the trail begins ---------------------------------------------------------------- */

static bool take(struct node_stmt *st, int col, void *out, size_t len)
{
    size_t n = 0;
    const void *p = node_sql_col_blob(st, col, &n);
    if (n == len)
        memcpy(out, p, len);
    return n == len;
}

static int cut_read(struct node_stmt *st, struct node_audit_cut *out, struct base_err *err)
{
    out->head.n = node_sql_col_i64(st, 0);
    snprintf(out->at, sizeof out->at, "%s", node_sql_col_text(st, 1, NULL));
    if (!take(st, 2, out->head.chain, sizeof out->head.chain) ||
        !take(st, 3, out->tag, sizeof out->tag) || !take(st, 4, out->key, sizeof out->key) ||
        !take(st, 5, out->sig, sizeof out->sig))
        return base_fail(err, BASE_ECORRUPT, "the checkpoint at audit entry %lld is not whole",
                         (long long)out->head.n);
    return 0;
}

int node_audit_cut_get(struct node_db *db, struct node_audit_cut *out, struct base_err *err)
{
    struct node_stmt *st = NULL;
    struct node_audit_cut cut = {.at = ""};
    audit_chain_start(cut.head.chain, db->identity);
    int rc = stmt_get(
        db, &st, "SELECT n, at, chain, tag, key, sig FROM _audit_cut ORDER BY n DESC LIMIT 1", err);
    if (rc != 0)
        return rc;
    rc = node_sql_step(st, err);
    if (rc == 1)
        rc = cut_read(st, &cut, err);
    node_sql_done(st);
    if (rc == 0)
        *out = cut;
    return rc;
}

int node_audit_cut_check(struct node_db *db, const struct node_audit_cut *cut, struct base_err *err)
{
    uint8_t tag[CORE_CHAIN_BYTES];
    struct base_buf text;
    if (cut->head.n == 0)
        return 0;
    base_buf_init(&text, CUT_TEXT_BYTES_MAX);
    int rc = tag_make(db, &cut->head, tag, &text, err);
    if (rc == 0 && (!seal_equal(tag, cut->tag, sizeof tag) ||
                    !seal_verify(cut->sig, text.data, text.len, cut->key)))
        rc = base_fail(err, BASE_ECORRUPT,
                       "the checkpoint at audit entry %lld was not made by this node",
                       (long long)cut->head.n);
    base_buf_release(&text);
    return rc;
}

/* ---- cutting ------------------------------------------------------------------------------- */

/* The newest entry that the centre had keep_days days of contact ago, and still has; 0: none. */
static int aged(struct node_db *db, int64_t keep_days, const struct node_audit_state *s,
                int64_t *out, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int64_t n = 0;
    int rc =
        stmt_get(db, &st, "SELECT audited FROM _contact ORDER BY n DESC LIMIT 1 OFFSET ?", err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, keep_days);
    rc = node_sql_step(st, err);
    if (rc == 1)
        n = node_sql_col_i64(st, 0);
    node_sql_done(st);
    n = n < s->sent ? n : s->sent;
    *out = n < s->head.n ? n : s->head.n - 1;
    return rc < 0 ? rc : 0;
}

int node_audit_cut_due(struct node_db *db, int64_t keep_days, struct node_audit_head *out,
                       struct base_err *err)
{
    struct node_audit_state s = {.sent = 0};
    struct node_audit_cut cut = {.at = ""};
    int64_t n = 0;
    *out = (struct node_audit_head){.n = 0};
    int rc = node_audit_state_get(db, &s, err);
    if (rc == 0)
        rc = node_audit_cut_get(db, &cut, err);
    if (rc == 0)
        rc = aged(db, keep_days, &s, &n, err);
    if (rc != 0 || n <= cut.head.n)
        return rc;
    if (n > cut.head.n + NODE_AUDIT_CUT_ENTRIES)
        n = cut.head.n + NODE_AUDIT_CUT_ENTRIES;
    rc = audit_verify_to(db, n, out, err);
    if (rc != 0)
        out->n = 0;
    return rc;
}

int node_audit_cut_add(struct node_db *db, const struct node_audit_head *head,
                       const uint8_t key[32], const uint8_t sig[64], struct base_err *err)
{
    static const struct node_author itself = {.device = "", .request_id = ""};
    uint8_t tag[CORE_CHAIN_BYTES];
    char detail[96];
    struct base_buf text;
    struct node_stmt *st = NULL;
    base_buf_init(&text, CUT_TEXT_BYTES_MAX);
    int rc = tag_make(db, head, tag, &text, err);
    base_buf_release(&text);
    if (rc == 0)
        rc = stmt_get(db, &st,
                      "INSERT INTO _audit_cut (n, at, chain, tag, key, sig) VALUES "
                      "(?, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), ?, ?, ?, ?)",
                      err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, head->n);
    node_sql_blob(st, 2, head->chain, sizeof head->chain);
    node_sql_blob(st, 3, tag, sizeof tag);
    node_sql_blob(st, 4, key, 32);
    node_sql_blob(st, 5, sig, 64);
    rc = stmt_run(st, err);
    snprintf(detail, sizeof detail, "entries up to %lld: the centre has them", (long long)head->n);
    return rc == 0 ? node_audit_add(db, &itself, "audit_trim", NULL, NULL, NULL, "ok", detail, err)
                   : rc;
}

static int trim(struct node_db *db, const char *sql, int64_t *gone, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st, sql, err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, NODE_PRUNE_STEP);
    rc = stmt_run(st, err);
    *gone += rc == 0 ? sqlite3_changes64(db->sql) : 0;
    return rc;
}

int node_audit_trim_step(struct node_db *db, int64_t *gone, bool *more, struct base_err *err)
{
    int64_t marks = 0;
    *gone = 0;
    int rc = trim(db,
                  "DELETE FROM _audit WHERE n IN (SELECT n FROM _audit WHERE n <= "
                  "(SELECT coalesce(max(n), 0) FROM _audit_cut) ORDER BY n LIMIT ?)",
                  gone, err);
    if (rc == 0)
        rc = trim(db,
                  "DELETE FROM _audit_mark WHERE n IN (SELECT n FROM _audit_mark WHERE n < "
                  "(SELECT coalesce(max(n), 0) FROM _audit_cut) ORDER BY n LIMIT ?)",
                  &marks, err);
    *more = *gone == NODE_PRUNE_STEP || marks == NODE_PRUNE_STEP;
    return rc;
}
