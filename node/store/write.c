/* A local write: rows, changes with chain, audit entries; all or nothing. */
#include "node/store/internal.h"
#include "sync/base/clock.h"

struct writing {
    struct node_db *db;
    const struct node_author *author;
    struct base_arena arena; /* of the edit at hand */
    char at[BASE_TIME_CHARS + 1];
    int64_t txn;  /* 0 until the first change is written */
    size_t bytes; /* lines so far */
    /* the audit entry being gathered: neighbours about one patient share one */
    const char *audit_table;
    struct base_uuid audit_row, audit_patient;
    int64_t audit_first, audit_last;
};

/* The edit's columns in ordinal order, checked. */
struct edit_values {
    int count;
    const struct core_column *columns[CORE_COLUMNS_MAX];
    struct core_text values[CORE_COLUMNS_MAX];
};

static int denied(struct base_err *err, const struct node_table *t, const char *why)
{
    return base_fail(err, BASE_EDENIED, "%s %s", t->name, why);
}

static int check_op(const struct node_edit *e, const struct node_table *t, struct base_err *err)
{
    if (t->core->class == CORE_CENTRAL)
        return denied(err, t, "is written at the centre only");
    if (core_class_is_fact(t->core->class) && e->op != CORE_OP_INSERT)
        return denied(err, t, "holds facts: a correction is a new row");
    if (e->op == CORE_OP_DELETE && !t->core->deletable)
        return denied(err, t, "rows are not deleted; they get a status");
    if (e->count < 0 || e->count > CORE_COLUMNS_MAX || (e->op == CORE_OP_DELETE && e->count > 0) ||
        (e->op == CORE_OP_UPDATE && e->count == 0))
        return base_fail(err, BASE_EINVALID, "%s: the number of columns does not fit", t->name);
    return 0;
}

/* One form for one value: the line is hashed, and the centre compares texts. */
static int settle_value(struct writing *w, const struct core_column *c, struct core_text *v,
                        struct base_err *err)
{
    struct base_uuid u;
    if (c->type != CORE_TYPE_UUID || v->s == NULL || !base_uuid_parse(&u, v->s, v->len))
        return 0;
    char *text = base_arena_get(&w->arena, BASE_UUID_CHARS + 1);
    if (text == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for an edit");
    base_uuid_format(&u, text);
    v->s = text;
    return 0;
}

static int take_value(struct writing *w, const struct node_table *t, struct edit_values *to,
                      const struct core_column *given, struct core_text v, struct base_err *err)
{
    int at = given->ord - CORE_ORD_FIRST;
    if (at < 0 || at >= t->core->column_count ||
        strcmp(t->core->columns[at].name, given->name) != 0)
        return base_fail(err, BASE_EINVALID, "%s has no column %s", t->name, given->name);
    const struct core_column *c = &t->core->columns[at];
    if (c->class == CORE_CENTRAL)
        return base_fail(err, BASE_EDENIED, "%s.%s is written at the centre only", t->name,
                         c->name);
    int rc = core_value_check(t->core, c, v, err);
    if (rc == 0)
        rc = settle_value(w, c, &v, err);
    if (rc != 0)
        return rc;
    int i = to->count++;
    for (; i > 0 && to->columns[i - 1]->ord > c->ord; i--) {
        to->columns[i] = to->columns[i - 1];
        to->values[i] = to->values[i - 1];
    }
    if (i > 0 && to->columns[i - 1] == c)
        return base_fail(err, BASE_EINVALID, "%s.%s stands twice", t->name, c->name);
    to->columns[i] = c;
    to->values[i] = v;
    return 0;
}

/* What must not be null and is not named stands as the centre would have it. */
static int take_presets(struct writing *w, const struct node_table *t, struct edit_values *v,
                        struct base_err *err)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < t->core->column_count; i++) {
        const struct core_column *c = &t->core->columns[i];
        bool given = c->nullable || c->preset == NULL;
        for (int k = 0; k < v->count && !given; k++)
            given = v->columns[k] == c;
        if (!given)
            rc = take_value(w, t, v, c, core_text_of(c->preset), err);
    }
    return rc;
}

/* A new row names every column that must not be null. */
static int check_complete(const struct node_table *t, const struct edit_values *v,
                          struct base_err *err)
{
    int k = 0;
    for (int i = 0; i < t->core->column_count; i++) {
        const struct core_column *c = &t->core->columns[i];
        bool given = k < v->count && v->columns[k] == c;
        k += given;
        if (!given && !c->nullable)
            return core_value_check(t->core, c, text_null(), err);
    }
    return 0;
}

static int read_values(struct writing *w, const struct node_edit *e, struct node_table *t,
                       struct edit_values *out, struct base_err *err)
{
    out->count = 0;
    for (int i = 0; i < e->count; i++) {
        int rc = take_value(w, t, out, e->columns[i], e->values[i], err);
        if (rc != 0)
            return rc;
    }
    if (e->op != CORE_OP_INSERT)
        return 0;
    int rc = take_presets(w, t, out, err);
    return rc == 0 ? check_complete(t, out, err) : rc;
}

static int log_change(struct writing *w, const struct node_edit *e, struct node_table *t,
                      const struct edit_values *v, int64_t base, int64_t *seq, struct base_err *err)
{
    struct core_change_value values[CORE_COLUMNS_MAX];
    struct core_change c = {.txn = w->txn,
                            .base = base,
                            .op = e->op,
                            .table = core_text_of(t->name),
                            .id = e->id,
                            .values = values,
                            .actor = w->author->actor,
                            .at = core_text_of(w->at),
                            .clock = w->author->clock};
    if (w->author->device != NULL && w->author->device[0] != '\0')
        c.device = core_text_of(w->author->device);
    for (int i = 0; i < v->count; i++)
        if (e->op != CORE_OP_INSERT || v->values[i].s != NULL)
            values[c.value_count++] =
                (struct core_change_value){core_text_of(v->columns[i]->name), v->values[i]};
    int rc = change_append(w->db, &c, seq, &w->bytes, err);
    if (rc != 0)
        return rc;
    if (w->txn == 0)
        w->txn = *seq;
    if (w->bytes > STORE_WRITE_BYTES_MAX)
        return base_fail(err, BASE_ETOOBIG, "one transaction's changes are larger than %d bytes",
                         STORE_WRITE_BYTES_MAX);
    return 0;
}

/* Looked for first, so that nothing is written for a row that is refused. Also one that is deleted
 * here, while the delete waits. */
static int check_absent(struct writing *w, const struct node_edit *e, struct node_table *t,
                        struct base_err *err)
{
    bool there = false;
    int rc = row_exists(w->db, t, &e->id, &there, err);
    if (rc == 0 && there)
        rc = base_fail(err, BASE_EEXISTS, "%s: a row with this id exists already", t->name);
    return rc;
}

static int edit_insert(struct writing *w, const struct node_edit *e, struct node_table *t,
                       const struct edit_values *v, struct core_image *im, struct node_version *out,
                       struct base_err *err)
{
    int64_t seq = 0;
    for (int i = 0; i < v->count; i++)
        core_image_set(im, v->columns[i]->ord, v->values[i]);
    int rc = check_absent(w, e, t, err);
    if (rc == 0)
        rc = log_change(w, e, t, v, 0, &seq, err);
    if (rc == 0)
        rc = base_insert(w->db, t, &e->id, NULL, 0, err);
    if (rc == 0)
        rc = row_write(w->db, t, TABLE_INSERT, &e->id, im, 0, seq, NULL, err);
    if (rc == 0)
        *out = (struct node_version){0, seq};
    return rc;
}

static int check_row(const struct node_edit *e, const struct node_table *t,
                     const struct row_now *now, struct base_err *err)
{
    if (!now->exists)
        return base_fail(err, BASE_ENOTFOUND, "%s: no row with this id", t->name);
    if (e->check_version && (now->rev != e->version.rev || now->pending != e->version.pending_seq))
        return base_fail(err, BASE_ESTALE, "%s: the row has moved on meanwhile", t->name);
    return 0;
}

/* What the author leaves as it stands on the screen is no change. In the log it would claim to be
 * one, and hide from the next author what the centre has there by now. */
static void drop_unchanged(struct edit_values *v, const struct core_image *shown)
{
    int kept = 0;
    for (int i = 0; i < v->count; i++) {
        if (core_text_equal(v->values[i], core_image_field(shown, v->columns[i]->ord)))
            continue;
        v->columns[kept] = v->columns[i];
        v->values[kept++] = v->values[i];
    }
    v->count = kept;
}

static int edit_base(struct writing *w, const struct row_now *now, int64_t *base,
                     struct base_err *err)
{
    struct node_stmt *st = NULL;
    *base = now->rev;
    if (now->pending == 0)
        return 0;
    int rc = stmt_get(w->db, &st, "SELECT base FROM _change WHERE seq = ?", err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, now->pending);
    rc = node_sql_step(st, err);
    if (rc == 1)
        *base = core_edit_base(now->rev, true, node_sql_col_i64(st, 0));
    node_sql_done(st);
    return rc < 0 ? rc : 0;
}

/* An update that changes nothing leaves seq and the log alone. */
static int edit_existing(struct writing *w, const struct node_edit *e, struct node_table *t,
                         struct edit_values *v, struct row_now *now, struct node_version *out,
                         struct base_err *err)
{
    int64_t seq = 0;
    int64_t base = 0;
    int rc = row_get(w->db, t, &e->id, &w->arena, now, err);
    if (rc == 0)
        rc = check_row(e, t, now, err);
    if (rc == 0)
        rc = edit_base(w, now, &base, err);
    if (rc == 0 && e->op == CORE_OP_UPDATE) {
        drop_unchanged(v, &now->image);
        *out = (struct node_version){now->rev, now->pending};
        if (v->count == 0)
            return 0;
    }
    if (rc == 0)
        rc = log_change(w, e, t, v, base, &seq, err);
    if (rc == 0 && now->pending == 0)
        rc = base_insert(w->db, t, &e->id, now->rev > 0 ? &now->image : NULL, now->rev, err);
    if (rc != 0)
        return rc;
    for (int i = 0; i < v->count; i++)
        core_image_set(&now->image, v->columns[i]->ord, v->values[i]);
    if (e->op == CORE_OP_DELETE)
        rc = row_delete(w->db, t, &e->id, NULL, err);
    else
        rc = row_write(w->db, t, TABLE_PUT, &e->id, &now->image, now->rev, seq, NULL, err);
    if (rc == 0)
        *out = (struct node_version){now->rev, seq};
    return rc;
}

static int audit_flush(struct writing *w, struct base_err *err)
{
    char detail[64];
    if (w->audit_first == 0)
        return 0;
    snprintf(detail, sizeof detail, "seq %lld-%lld", (long long)w->audit_first,
             (long long)w->audit_last);
    w->audit_first = 0;
    return node_audit_add(w->db, w->author, "write", w->audit_table, &w->audit_row,
                          &w->audit_patient, "ok", detail, err);
}

static int audit_note(struct writing *w, const struct node_table *t, const struct node_edit *e,
                      const struct base_uuid *patient, int64_t seq, struct base_err *err)
{
    if (w->audit_first == 0 || !base_uuid_equal(patient, &w->audit_patient)) {
        int rc = audit_flush(w, err);
        if (rc != 0)
            return rc;
        w->audit_first = seq;
        w->audit_table = t->name;
        w->audit_row = e->id;
        w->audit_patient = *patient;
    }
    w->audit_last = seq;
    return 0;
}

static int edit_one(struct writing *w, const struct node_edit *e, struct node_version *version,
                    struct base_err *err)
{
    struct edit_values v;
    struct row_now now = {.exists = false};
    struct base_uuid patient = {{0}};
    struct node_table *t = table_of(w->db, e->table);
    if (t == NULL)
        return base_fail(err, BASE_ENOTFOUND, "no such table: %s", e->table->name);
    base_arena_clear(&w->arena);
    int rc = check_op(e, t, err);
    if (rc == 0)
        rc = read_values(w, e, t, &v, err);
    if (rc != 0)
        return rc;
    if (e->op == CORE_OP_INSERT)
        rc = edit_insert(w, e, t, &v, &now.image, version, err);
    else
        rc = edit_existing(w, e, t, &v, &now, version, err);
    if (rc != 0 || (e->op == CORE_OP_UPDATE && v.count == 0))
        return rc;
    row_moved(w->db, t, &e->id, (char)e->op, true, &now.image);
    if (t->patient_ord == CORE_ORD_ID) {
        patient = e->id;
    } else if (t->patient_ord != 0) {
        struct core_text p = core_image_field(&now.image, t->patient_ord);
        if (p.s != NULL)
            (void)base_uuid_parse(&patient, p.s, p.len);
    }
    return audit_note(w, t, e, &patient, version->pending_seq, err);
}

static int write_all(struct writing *w, const struct node_edit *edits, int count,
                     struct node_version *versions, int *failed, struct base_err *err)
{
    for (int i = 0; i < count; i++) {
        int rc = edit_one(w, &edits[i], &versions[i], err);
        if (rc != 0) {
            *failed = i;
            return rc;
        }
    }
    return audit_flush(w, err);
}

static int savepoint(struct node_db *db, const char *sql, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st, sql, err);
    return rc == 0 ? stmt_run(st, err) : rc;
}

/* A caller may store its refusal and go on: what was written here must be gone then. One edit alone
 * looks before it writes; if it fails after that, the file has failed, and the whole job with it. A
 * savepoint would copy every page it touches. */
static int edits_undo(struct node_db *db, bool alone, const struct store_heads *heads, int moved)
{
    bool wrote = db->heads.seq != heads->seq;
    db->heads = *heads;
    db->moved.count = moved;
    if (alone) {
        db->doomed = db->doomed || wrote;
        return 0;
    }
    if (sqlite3_get_autocommit(db->sql) != 0)
        return 0;
    int rc = savepoint(db, "ROLLBACK TO edits", NULL);
    return rc == 0 ? savepoint(db, "RELEASE edits", NULL) : rc;
}

int node_write_edits(struct node_db *db, const struct node_author *author,
                     const struct node_edit *edits, int count, struct node_version *versions,
                     int *failed, struct base_err *err)
{
    struct writing w = {.db = db, .author = author};
    struct store_heads heads = db->heads;
    int moved = db->moved.count;
    int at = 0;
    BASE_ASSERT(db->writer);
    if (count < 1 || count > NODE_EDITS_MAX)
        return base_fail(err, BASE_ETOOBIG, "a transaction has 1 to %d edits", NODE_EDITS_MAX);
    if (author->device != NULL && strlen(author->device) > CORE_DEVICE_BYTES_MAX)
        return base_fail(err, BASE_EINVALID, "the device's name is longer than %d bytes",
                         CORE_DEVICE_BYTES_MAX);
    int rc = count == 1 ? 0 : savepoint(db, "SAVEPOINT edits", err);
    if (rc != 0)
        return rc;
    base_time_format(base_clock_wall_ms(), w.at);
    base_arena_init(&w.arena, STORE_ROW_BYTES_MAX);
    rc = write_all(&w, edits, count, versions, &at, err);
    base_arena_release(&w.arena);
    if (rc == 0)
        return count == 1 ? 0 : savepoint(db, "RELEASE edits", err);
    if (failed != NULL)
        *failed = at;
    if (edits_undo(db, count == 1, &heads, moved) != 0)
        return base_err_prefix(err, BASE_EBUG, "undoing an edit");
    return rc;
}
