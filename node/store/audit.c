/*
 * Audit entries: appended, chained, never changed.
 *
 * chain(n) = BLAKE2b-256(chain(n-1) || canonical line of entry n); chain(0) = BLAKE2b-256("everward
 * audit 1" || node id). The line is a JSON array of the columns' texts in their order.
 */
#include "node/store/internal.h"
#include "sync/base/clock.h"
#include "sync/seal/seal.h"

enum { AUDIT_LINE_BYTES_MAX = 64 * 1024 };

struct entry {
    char at[BASE_TIME_CHARS + 1];
    const struct node_author *author;
    const char *action, *table, *outcome, *detail;
    const struct base_uuid *row_id, *patient_id;
};

void audit_chain_start(uint8_t chain[CORE_CHAIN_BYTES], const struct node_identity *id)
{
    static const char word[] = "everward audit 1";
    uint8_t start[sizeof word - 1 + BASE_UUID_BYTES];
    memcpy(start, word, sizeof word - 1);
    memcpy(start + sizeof word - 1, id->node_id.bytes, BASE_UUID_BYTES);
    seal_hash(chain, start, sizeof start);
}

static void put_id(struct base_buf *b, const struct base_uuid *id)
{
    char text[BASE_UUID_CHARS + 1];
    if (id != NULL)
        base_uuid_format(id, text);
    base_buf_json_str(b, id == NULL ? NULL : text);
    base_buf_char(b, ',');
}

static void entry_line(struct base_buf *b, int64_t n, const struct entry *e)
{
    base_buf_char(b, '[');
    base_buf_i64(b, n);
    base_buf_char(b, ',');
    base_buf_json_str(b, e->at);
    base_buf_char(b, ',');
    put_id(b, &e->author->actor);
    base_buf_json_str(b, e->author->device);
    base_buf_char(b, ',');
    base_buf_json_str(b, e->author->request_id);
    base_buf_char(b, ',');
    base_buf_json_str(b, e->action);
    base_buf_char(b, ',');
    base_buf_json_str(b, e->table);
    base_buf_char(b, ',');
    put_id(b, e->row_id);
    put_id(b, e->patient_id);
    base_buf_json_str(b, e->outcome);
    base_buf_char(b, ',');
    base_buf_json_str(b, e->detail);
    base_buf_char(b, ']');
}

static int entry_insert(struct node_db *db, int64_t n, const struct entry *e,
                        const uint8_t chain[CORE_CHAIN_BYTES], struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st,
                      "INSERT INTO _audit (n, at, actor, device, request_id, action, tbl, row_id, "
                      "patient_id, outcome, detail, chain) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                      err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, n);
    node_sql_text(st, 2, e->at);
    node_sql_uuid(st, 3, &e->author->actor);
    node_sql_text(st, 4, e->author->device);
    node_sql_text(st, 5, e->author->request_id);
    node_sql_text(st, 6, e->action);
    node_sql_text(st, 7, e->table);
    node_sql_uuid(st, 8, e->row_id);
    node_sql_uuid(st, 9, e->patient_id);
    node_sql_text(st, 10, e->outcome);
    node_sql_text(st, 11, e->detail);
    node_sql_blob(st, 12, chain, CORE_CHAIN_BYTES);
    return stmt_run(st, err);
}

int node_audit_add(struct node_db *db, const struct node_author *author, const char *action,
                   const char *table, const struct base_uuid *row_id,
                   const struct base_uuid *patient_id, const char *outcome, const char *detail,
                   struct base_err *err)
{
    struct node_author who = *author;
    who.device = who.device == NULL ? "" : who.device;
    who.request_id = who.request_id == NULL ? "" : who.request_id;
    if (patient_id != NULL && base_uuid_is_zero(patient_id))
        patient_id = NULL;
    struct entry e = {.author = &who,
                      .action = action,
                      .table = table,
                      .row_id = row_id,
                      .patient_id = patient_id,
                      .outcome = outcome == NULL ? "" : outcome,
                      .detail = detail == NULL ? "" : detail};
    struct base_buf line;
    uint8_t chain[CORE_CHAIN_BYTES];
    base_time_format(base_clock_wall_ms(), e.at);
    base_buf_init(&line, AUDIT_LINE_BYTES_MAX);
    entry_line(&line, db->heads.audit + 1, &e);
    int rc = base_buf_check(&line);
    if (rc != 0)
        rc = base_fail(err, rc, "an audit entry is larger than %d bytes", AUDIT_LINE_BYTES_MAX);
    if (rc == 0) {
        memcpy(chain, db->heads.audit_chain, sizeof chain);
        seal_chain_step(chain, line.data, line.len);
        rc = entry_insert(db, db->heads.audit + 1, &e, chain, err);
    }
    if (rc == 0) {
        db->heads.audit++;
        memcpy(db->heads.audit_chain, chain, sizeof chain);
    }
    base_buf_release(&line);
    return rc;
}

/* The entry a result stands on, its texts as long as the step. */
static void entry_read(struct node_stmt *st, struct entry *e, struct node_author *author,
                       struct base_uuid ids[2])
{
    snprintf(e->at, sizeof e->at, "%s", node_sql_col_text(st, 1, NULL));
    *author = (struct node_author){.device = node_sql_col_text(st, 3, NULL),
                                   .request_id = node_sql_col_text(st, 4, NULL)};
    (void)node_sql_col_uuid(st, 2, &author->actor);
    e->author = author;
    e->action = node_sql_col_text(st, 5, NULL);
    e->table = node_sql_col_text(st, 6, NULL);
    e->row_id = node_sql_col_uuid(st, 7, &ids[0]) ? &ids[0] : NULL;
    e->patient_id = node_sql_col_uuid(st, 8, &ids[1]) ? &ids[1] : NULL;
    e->outcome = node_sql_col_text(st, 9, NULL);
    e->detail = node_sql_col_text(st, 10, NULL);
}

static int entry_check(struct node_stmt *st, int64_t n, uint8_t chain[CORE_CHAIN_BYTES],
                       struct base_buf *line, struct base_err *err)
{
    struct entry e = {.action = ""};
    struct node_author author;
    struct base_uuid ids[2];
    size_t len = 0;
    entry_read(st, &e, &author, ids);
    base_buf_clear(line);
    entry_line(line, n, &e);
    int rc = base_buf_check(line);
    if (rc != 0)
        return base_fail(err, rc, "audit entry %lld", (long long)n);
    seal_chain_step(chain, line->data, line->len);
    const void *stored = node_sql_col_blob(st, 11, &len);
    if (node_sql_col_i64(st, 0) != n || len != CORE_CHAIN_BYTES ||
        memcmp(stored, chain, CORE_CHAIN_BYTES) != 0)
        return base_fail(err, BASE_ECORRUPT, "audit entry %lld is not what was written",
                         (long long)n);
    return 0;
}

int node_audit_verify(struct node_db *db, int64_t *entries, uint8_t head[32], struct base_err *err)
{
    struct node_stmt *st = NULL;
    struct base_buf line;
    uint8_t chain[CORE_CHAIN_BYTES];
    int64_t n = 0;
    int rc = stmt_get(db, &st,
                      "SELECT n, at, actor, device, request_id, action, tbl, row_id, patient_id, "
                      "outcome, detail, chain FROM _audit ORDER BY n",
                      err);
    if (rc != 0)
        return rc;
    base_buf_init(&line, AUDIT_LINE_BYTES_MAX);
    audit_chain_start(chain, db->identity);
    while ((rc = node_sql_step(st, err)) == 1)
        if ((rc = entry_check(st, ++n, chain, &line, err)) != 0)
            break;
    node_sql_done(st);
    base_buf_release(&line);
    if (rc != 0)
        return rc;
    *entries = n;
    memcpy(head, chain, CORE_CHAIN_BYTES);
    return 0;
}
