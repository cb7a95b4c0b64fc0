/*
 * Audit entries: appended, chained, never changed. Reading them: audit_read.c.
 *
 * chain(n) = BLAKE2b-256(audit key; chain(n-1) || canonical line of entry n); chain(0) =
 * BLAKE2b-256("everward audit 2" || node id). The line is a JSON array of the columns' texts in
 * their order.
 */
#include "node/store/audit_entry.h"
#include "sync/base/clock.h"
#include "sync/seal/seal.h"

void audit_chain_start(uint8_t chain[CORE_CHAIN_BYTES], const struct node_identity *id)
{
    static const char word[] = "everward audit 2";
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

void audit_chain_step(const struct node_db *db, uint8_t chain[CORE_CHAIN_BYTES],
                      const struct base_buf *line)
{
    static const uint8_t none[SEAL_KEY_BYTES];
    seal_chain_step_keyed(chain, db->audit_key == NULL ? none : db->audit_key, line->data,
                          line->len);
}

void audit_entry_line(struct base_buf *b, int64_t n, const struct audit_entry *e)
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

static int entry_insert(struct node_db *db, int64_t n, const struct audit_entry *e,
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
    struct audit_entry e = {.author = &who,
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
    audit_entry_line(&line, db->heads.audit + 1, &e);
    int rc = base_buf_check(&line);
    if (rc != 0)
        rc = base_fail(err, rc, "an audit entry is larger than %d bytes", AUDIT_LINE_BYTES_MAX);
    if (rc == 0) {
        memcpy(chain, db->heads.audit_chain, sizeof chain);
        audit_chain_step(db, chain, &line);
        rc = entry_insert(db, db->heads.audit + 1, &e, chain, err);
    }
    if (rc == 0) {
        db->heads.audit++;
        memcpy(db->heads.audit_chain, chain, sizeof chain);
    }
    base_buf_release(&line);
    return rc;
}
