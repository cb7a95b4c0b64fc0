/* The audit trail read back: checked, sent to the centre, reported. */
#include "node/store/audit.h"
#include "node/store/audit_entry.h"

#define ENTRY_COLUMNS                                                                              \
    "n, at, actor, device, request_id, action, tbl, row_id, patient_id, outcome, detail, chain"

enum { MARK_TEXT_BYTES_MAX = 256, AUDIT_TRIGGERS = 8 /* schema/node/0001, 0160, 0182 */ };

/* The entry a result stands on, its texts as long as the step. */
static void entry_read(struct node_stmt *st, struct audit_entry *e, struct node_author *author,
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

/* The canonical line of the entry a result stands on. */
static int entry_line(struct node_stmt *st, int64_t n, struct base_buf *line, struct base_err *err)
{
    struct audit_entry e = {.action = ""};
    struct node_author author;
    struct base_uuid ids[2];
    entry_read(st, &e, &author, ids);
    base_buf_clear(line);
    audit_entry_line(line, n, &e);
    int rc = base_buf_check(line);
    return rc == 0 ? 0 : base_fail(err, rc, "audit entry %lld", (long long)n);
}

static int entry_check(struct node_db *db, struct node_stmt *st, int64_t n,
                       uint8_t chain[CORE_CHAIN_BYTES], struct base_buf *line, struct base_err *err)
{
    size_t len = 0;
    int rc = entry_line(st, n, line, err);
    if (rc != 0)
        return rc;
    audit_chain_step(db, chain, line);
    const void *stored = node_sql_col_blob(st, 11, &len);
    if (node_sql_col_i64(st, 0) != n || len != CORE_CHAIN_BYTES ||
        memcmp(stored, chain, CORE_CHAIN_BYTES) != 0)
        return base_fail(err, BASE_ECORRUPT, "audit entry %lld is not what was written",
                         (long long)n);
    return 0;
}

/* Called behind every entry, and once before the first (n 0, or the newest checkpoint's). */
typedef int (*walk_cb)(void *user, const struct node_audit_head *at, struct base_err *err);

static int walk(struct node_db *db, int64_t upto, struct node_audit_head *head, void *user,
                walk_cb cb, struct base_err *err)
{
    struct node_stmt *st = NULL;
    struct base_buf line;
    struct node_audit_head at;
    struct node_audit_cut cut;
    int rc = node_audit_cut_get(db, &cut, err);
    if (rc == 0)
        rc = node_audit_cut_check(db, &cut, err);
    if (rc == 0)
        rc = stmt_get(
            db, &st, "SELECT " ENTRY_COLUMNS " FROM _audit WHERE n > ? AND n <= ? ORDER BY n", err);
    if (rc != 0)
        return rc;
    base_buf_init(&line, AUDIT_LINE_BYTES_MAX);
    at = cut.head;
    node_sql_i64(st, 1, at.n);
    node_sql_i64(st, 2, upto);
    rc = cb == NULL ? 0 : cb(user, &at, err);
    while (rc == 0 && (rc = node_sql_step(st, err)) == 1) {
        at.n++;
        rc = entry_check(db, st, at.n, at.chain, &line, err);
        if (rc == 0 && cb != NULL)
            rc = cb(user, &at, err);
    }
    node_sql_done(st);
    base_buf_release(&line);
    *head = at;
    return rc;
}

int node_audit_verify(struct node_db *db, int64_t *entries, uint8_t head[32], struct base_err *err)
{
    struct node_audit_head at;
    int rc = walk(db, INT64_MAX, &at, NULL, NULL, err);
    if (rc != 0)
        return rc;
    *entries = at.n;
    memcpy(head, at.chain, sizeof at.chain);
    return 0;
}

int audit_verify_to(struct node_db *db, int64_t n, struct node_audit_head *out,
                    struct base_err *err)
{
    int rc = walk(db, n, out, NULL, NULL, err);
    return rc != 0 || out->n == n
               ? rc
               : base_fail(err, BASE_ECORRUPT, "audit entry %lld is missing", (long long)n);
}

/* ---- signed heads -------------------------------------------------------------------------- */

void node_audit_mark_text(struct base_buf *out, const struct base_uuid *node,
                          const struct node_audit_head *head)
{
    char text[BASE_UUID_CHARS + 1];
    base_uuid_format(node, text);
    base_buf_printf(out, "everward audit head 1\n%s %lld ", text, (long long)head->n);
    base_buf_hex(out, head->chain, sizeof head->chain);
}

int node_audit_state_get(struct node_db *db, struct node_audit_state *out, struct base_err *err)
{
    struct node_audit_state s = {0};
    struct node_stmt *st = NULL;
    audit_chain_start(s.head.chain, db->identity);
    int rc = stmt_get(db, &st,
                      "SELECT n, chain, (SELECT coalesce(max(n), 0) FROM _audit_mark) FROM _audit "
                      "ORDER BY n DESC LIMIT 1",
                      err);
    if (rc != 0)
        return rc;
    rc = node_sql_step(st, err);
    if (rc == 1) {
        size_t len = 0;
        const void *chain = node_sql_col_blob(st, 1, &len);
        s.head.n = node_sql_col_i64(st, 0);
        s.marked = node_sql_col_i64(st, 2);
        rc = len == sizeof s.head.chain
                 ? 0
                 : base_fail(err, BASE_ECORRUPT, "the audit trail's last entry is not whole");
        if (rc == 0)
            memcpy(s.head.chain, chain, len);
    }
    node_sql_done(st);
    if (rc == 0)
        rc = meta_i64(db, "_audit_sent", 0, &s.sent, err);
    if (rc == 0)
        rc = meta_i64(db, "_audit_life", 1, &s.life, err);
    struct node_audit_cut cut = {.at = ""};
    if (rc == 0)
        rc = node_audit_cut_get(db, &cut, err);
    s.cut = cut.head.n;
    if (rc == 0)
        *out = s;
    return rc;
}

int node_audit_mark_add(struct node_db *db, const struct node_audit_mark *mark,
                        struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st,
                      "INSERT INTO _audit_mark (n, at, chain, key, sig) "
                      "SELECT ?1, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), ?2, ?3, ?4 "
                      "WHERE ?1 > (SELECT coalesce(max(n), 0) FROM _audit_mark)",
                      err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, mark->head.n);
    node_sql_blob(st, 2, mark->head.chain, sizeof mark->head.chain);
    node_sql_blob(st, 3, mark->key, sizeof mark->key);
    node_sql_blob(st, 4, mark->sig, sizeof mark->sig);
    return stmt_run(st, err);
}

int node_audit_sent(struct node_db *db, int64_t n, struct base_err *err)
{
    int64_t was = 0;
    int rc = meta_i64(db, "_audit_sent", 0, &was, err);
    if (rc == 0 && n < was) /* the centre has lost some: days of contact tell no more */
        rc = prune_lower_audited(db, n, err);
    return rc != 0 ? rc : meta_set_i64(db, "_audit_sent", n, err);
}

int node_audit_restored(struct node_db *db, int64_t at_least, struct base_err *err)
{
    int64_t life = 1;
    int rc = meta_i64(db, "_audit_life", 1, &life, err);
    life = life + 1 > at_least ? life + 1 : at_least;
    return rc == 0 ? meta_set_i64(db, "_audit_life", life, err) : rc;
}

/* ---- the check ----------------------------------------------------------------------------- */

struct check {
    struct node_db *db;
    const uint8_t *public_key;
    struct node_audit_report *report;
    struct node_stmt *marks;
    struct base_buf text;
    int64_t next; /* entry of the mark that marks stands on; -1: there are no more */
};

static int next_mark(struct check *c, struct base_err *err)
{
    int rc = node_sql_step(c->marks, err);
    c->next = rc == 1 ? node_sql_col_i64(c->marks, 0) : -1;
    return rc < 0 ? rc : 0;
}

static int mark_check(void *user, const struct node_audit_head *at, struct base_err *err)
{
    struct check *c = user;
    while (c->next == at->n) {
        size_t chain_len = 0, key_len = 0, sig_len = 0;
        const void *chain = node_sql_col_blob(c->marks, 1, &chain_len);
        const void *key = node_sql_col_blob(c->marks, 2, &key_len);
        const void *sig = node_sql_col_blob(c->marks, 3, &sig_len);
        if (chain_len != sizeof at->chain || memcmp(chain, at->chain, sizeof at->chain) != 0)
            return base_fail(err, BASE_ECORRUPT,
                             "audit entry %lld is not the one that was signed here",
                             (long long)at->n);
        base_buf_clear(&c->text);
        node_audit_mark_text(&c->text, &c->db->identity->node_id, at);
        if (base_buf_check(&c->text) != 0 || key_len != SEAL_PUBLIC_KEY_BYTES ||
            sig_len != SEAL_SIGNATURE_BYTES || !seal_verify(sig, c->text.data, c->text.len, key))
            return base_fail(err, BASE_ECORRUPT, "the signature under audit entry %lld is false",
                             (long long)at->n);
        c->report->marks++;
        c->report->marks_of_other_keys += memcmp(key, c->public_key, key_len) != 0;
        int rc = next_mark(c, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Whoever took the triggers away wanted to write. */
static int guards_check(struct node_db *db, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st,
                      "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND tbl_name IN "
                      "('_audit', '_audit_mark', '_audit_cut')",
                      err);
    if (rc != 0)
        return rc;
    rc = node_sql_step(st, err);
    if (rc == 1)
        rc = node_sql_col_i64(st, 0) == AUDIT_TRIGGERS
                 ? 0
                 : base_fail(err, BASE_ECORRUPT,
                             "the triggers that keep the trail from being changed are gone");
    node_sql_done(st);
    return rc;
}

static int check_all(struct check *c, struct base_err *err)
{
    struct node_audit_report *r = c->report;
    int rc = next_mark(c, err);
    if (rc == 0)
        rc = walk(c->db, INT64_MAX, &r->head, c, mark_check, err);
    if (rc == 0 && c->next >= 0)
        return base_fail(err, BASE_ECORRUPT,
                         "the trail ends at entry %lld, but entry %lld was signed here: its end is "
                         "cut off",
                         (long long)r->head.n, (long long)c->next);
    if (rc == 0 && r->sent > r->head.n)
        return base_fail(err, BASE_ECORRUPT,
                         "the trail ends at entry %lld, but the centre has taken entry %lld from "
                         "here: its end is cut off",
                         (long long)r->head.n, (long long)r->sent);
    return rc == 0 ? guards_check(c->db, err) : rc;
}

int node_audit_check(struct node_db *db, const uint8_t public_key[32],
                     struct node_audit_report *out, struct base_err *err)
{
    struct node_audit_report r = {0};
    struct base_err found = {0};
    struct check c = {.db = db, .public_key = public_key, .report = &r};
    int rc = meta_i64(db, "_audit_sent", 0, &r.sent, err);
    if (rc == 0 && (rc = node_audit_cut_get(db, &r.cut, err)) == BASE_ECORRUPT)
        rc = 0; /* the walk says so */
    if (rc == 0)
        rc = stmt_get(db, &c.marks,
                      "SELECT n, chain, key, sig FROM _audit_mark WHERE n >= ? ORDER BY n", err);
    if (rc != 0)
        return rc;
    node_sql_i64(c.marks, 1, r.cut.head.n);
    base_buf_init(&c.text, MARK_TEXT_BYTES_MAX);
    rc = check_all(&c, &found);
    base_buf_release(&c.text);
    node_sql_done(c.marks);
    if (rc == BASE_ECORRUPT)
        snprintf(r.broken, sizeof r.broken, "%.255s", found.text);
    else if (rc != 0)
        return base_fail(err, rc, "%s", found.text);
    *out = r;
    return 0;
}

/* ---- for the centre ------------------------------------------------------------------------ */

static int head_at(struct node_db *db, int64_t n, struct node_audit_head *out, struct base_err *err)
{
    struct node_stmt *st = NULL;
    struct node_audit_cut cut;
    int rc = node_audit_cut_get(db, &cut, err);
    if (rc == 0 && n == cut.head.n)
        *out = cut.head;
    if (rc != 0 || n == cut.head.n)
        return rc;
    *out = (struct node_audit_head){.n = n};
    rc = stmt_get(db, &st, "SELECT chain FROM _audit WHERE n = ?", err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, n);
    rc = node_sql_step(st, err);
    size_t len = 0;
    const void *chain = rc == 1 ? node_sql_col_blob(st, 0, &len) : NULL;
    if (rc >= 0)
        rc = len == sizeof out->chain
                 ? 0
                 : base_fail(err, BASE_ECORRUPT, "audit entry %lld is missing", (long long)n);
    if (rc == 0)
        memcpy(out->chain, chain, len);
    node_sql_done(st);
    return rc;
}

static int batch_entries(struct node_stmt *st, struct base_buf *out, struct node_audit_head *last,
                         struct base_err *err)
{
    struct base_buf line;
    int rc = 0;
    base_buf_init(&line, AUDIT_LINE_BYTES_MAX);
    while (rc == 0 && out->len < NODE_AUDIT_BATCH_BYTES && (rc = node_sql_step(st, err)) == 1) {
        size_t len = 0;
        rc = entry_line(st, last->n + 1, &line, err);
        const void *chain = node_sql_col_blob(st, 11, &len);
        if (rc == 0 && (len != sizeof last->chain || node_sql_col_i64(st, 0) != last->n + 1))
            rc = base_fail(err, BASE_ECORRUPT, "audit entry %lld is missing",
                           (long long)last->n + 1);
        if (rc != 0)
            break;
        last->n++;
        memcpy(last->chain, chain, len);
        base_buf_hex(out, chain, len);
        base_buf_char(out, ' ');
        base_buf_add(out, line.data, line.len);
        base_buf_char(out, '\n');
    }
    base_buf_release(&line);
    return rc;
}

int node_audit_batch(struct node_db *db, int64_t after, struct base_buf *out,
                     struct node_audit_head *before, struct node_audit_head *last,
                     struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = head_at(db, after, before, err);
    if (rc == 0)
        rc = stmt_get(db, &st,
                      "SELECT " ENTRY_COLUMNS " FROM _audit WHERE n > ? ORDER BY n LIMIT ?", err);
    if (rc != 0)
        return rc;
    *last = *before;
    node_sql_i64(st, 1, after);
    node_sql_i64(st, 2, NODE_AUDIT_BATCH_ENTRIES);
    rc = batch_entries(st, out, last, err);
    node_sql_done(st);
    return rc == 0 && base_buf_check(out) != 0
               ? base_fail(err, base_buf_check(out), "a batch of audit entries does not fit")
               : rc;
}

/* ---- reports ------------------------------------------------------------------------------- */

static const char *uuid_text(struct node_stmt *st, int col, char room[BASE_UUID_CHARS + 1])
{
    struct base_uuid id;
    if (!node_sql_col_uuid(st, col, &id))
        return NULL;
    base_uuid_format(&id, room);
    return room;
}

static bool tell(struct node_stmt *st, void *user, node_audit_cb cb)
{
    char ids[3][BASE_UUID_CHARS + 1];
    const struct node_audit_entry e = {.n = node_sql_col_i64(st, 0),
                                       .at = node_sql_col_text(st, 1, NULL),
                                       .actor = uuid_text(st, 2, ids[0]),
                                       .device = node_sql_col_text(st, 3, NULL),
                                       .action = node_sql_col_text(st, 4, NULL),
                                       .table = node_sql_col_text(st, 5, NULL),
                                       .row = uuid_text(st, 6, ids[1]),
                                       .patient = uuid_text(st, 7, ids[2]),
                                       .outcome = node_sql_col_text(st, 8, NULL),
                                       .detail = node_sql_col_text(st, 9, NULL),
                                       .name = node_sql_col_text(st, 10, NULL)};
    return cb(user, &e);
}

#define REPORT(name, patient)                                                                      \
    "SELECT a.n, a.at, a.actor, a.device, a.action, a.tbl, a.row_id, a.patient_id, a.outcome, "    \
    "a.detail, " name " FROM _audit a WHERE " patient " AND (?2 IS NULL OR a.actor = ?2) "         \
    "AND (?3 IS NULL OR a.action = ?3) AND a.n < ?4 AND a.n > "                                    \
    "(SELECT coalesce(max(n), 0) FROM _audit_cut) ORDER BY a.n DESC LIMIT ?5"
#define NAME "(SELECT s.username FROM staff s WHERE s.id = a.actor)"

/* Without a catalog there is no table of staff yet. */
static const char *report_sql(const struct node_db *db, bool patient)
{
    bool staff = db->catalog != NULL && core_catalog_table(node_db_catalog(db), "staff", 5) != NULL;
    if (patient)
        return staff ? REPORT(NAME, "a.patient_id = ?1") : REPORT("NULL", "a.patient_id = ?1");
    return staff ? REPORT(NAME, "?1 IS NULL") : REPORT("NULL", "?1 IS NULL");
}

int node_audit_each(struct node_db *db, const struct node_audit_filter *f, void *user,
                    node_audit_cb cb, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st, report_sql(db, f->patient != NULL), err);
    if (rc != 0)
        return rc;
    node_sql_uuid(st, 1, f->patient);
    node_sql_uuid(st, 2, f->actor);
    node_sql_text(st, 3, f->action);
    node_sql_i64(st, 4, f->before > 0 ? f->before : INT64_MAX);
    node_sql_i64(
        st, 5, f->limit > 0 && f->limit < NODE_AUDIT_REPORT_MAX ? f->limit : NODE_AUDIT_REPORT_MAX);
    while ((rc = node_sql_step(st, err)) == 1)
        if (!tell(st, user, cb)) {
            rc = 0;
            break;
        }
    node_sql_done(st);
    return rc;
}
