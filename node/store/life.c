/*
 * Lives. A node that was put back from a backup goes on in its next life (incarnation): node_rejoin. A centre that was
 * restored has begun another (timeline): the pages of the new one replace what is here, and what it has lost is offered.
 *
 *   receipt behind what was acknowledged ──► those changes wait again, and are pushed again
 *   page row of a lower revision than ours ──► the columns that differ become a change of ours
 *   row of ours that no page has           ──► becomes a new row of ours
 *
 * What only the centre writes is not offered: the node has no say in it.
 */
#include "node/store/life.h"

#include "node/store/audit.h"

#include "sync/seal/seal.h"

static const struct node_author restorer = {.device = "restored", .request_id = ""};

int node_timeline_get(struct node_db *db, struct base_uuid *out, struct base_err *err)
{
    char text[64];
    int64_t head = -1;
    int rc = meta_i64(db, "_fill_head", -1, &head, err);
    if (rc == 0)
        rc = meta_text(db, head >= 0 ? "_fill_timeline" : "_timeline", text, sizeof text, err);
    *out = (struct base_uuid){{0}};
    if (rc == 0)
        (void)base_uuid_parse(out, text, strlen(text));
    return rc;
}

int node_incarnation_get(struct node_db *db, int64_t *out, struct base_err *err)
{
    int64_t after = 0;
    return life_start(db, out, &after, err);
}

int node_former_get(struct node_db *db, int64_t *upto, struct base_err *err)
{
    int64_t filling = 0;
    int rc = meta_i64(db, "_fill_life", 0, &filling, err);
    if (rc == 0)
        rc = meta_i64(db, "_former", 0, upto, err);
    if (rc == 0 && filling)
        *upto = INT64_MAX;
    return rc;
}

/* ---- what was acknowledged waits again ------------------------------------------------------ */

static int lower(struct node_db *db, const char *name, int64_t to, struct base_err *err)
{
    int64_t is = 0;
    int rc = meta_i64(db, name, 0, &is, err);
    return rc == 0 && is > to ? meta_set_i64(db, name, to, err) : rc;
}

/* Overlays of the changes first < seq <= last, anew: what the row shows now is the centre's image as last known. */
static int lay_again(struct node_db *db, int64_t first, int64_t last, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st,
                      "SELECT DISTINCT tbl, row_id FROM _change WHERE seq > ? AND seq <= ?", err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, first);
    node_sql_i64(st, 2, last);
    while ((rc = node_sql_step(st, err)) == 1) {
        struct base_uuid id;
        size_t len = 0;
        const char *name = node_sql_col_text(st, 0, &len);
        struct node_table *t = table_named(db, name, len);
        if (t != NULL && node_sql_col_uuid(st, 1, &id) &&
            (rc = overlay_again(db, t, &id, err)) != 0)
            break;
    }
    node_sql_done(st);
    return rc;
}

static int wait_again(struct node_db *db, int64_t above, struct base_err *err)
{
    int64_t done = 0;
    int64_t floor = 0;
    int rc = prune_floor(db, &floor, err);
    if (rc == 0 && above < floor)
        return base_fail(err, BASE_EFENCED,
                         "the centre knows this node's changes up to %lld; kept here are those "
                         "from %lld on (sync.keep_days). Nothing is deleted",
                         (long long)above, (long long)floor);
    if (rc == 0)
        rc = prune_lower(db, above, err);
    if (rc == 0)
        rc = meta_i64(db, "_done", 0, &done, err);
    if (rc == 0)
        rc = lower(db, "_acked", above, err);
    if (rc == 0)
        rc = lower(db, "_settled", above, err);
    if (rc == 0)
        rc = lower(db, "_done", above, err);
    return rc == 0 && done > above ? lay_again(db, above, done, err) : rc;
}

/* ---- the centre's ---------------------------------------------------------------------------- */

int node_life_begin(struct node_db *db, int64_t receipt_seq, int64_t head,
                    const struct base_uuid *timeline, struct base_err *err)
{
    int64_t done = 0;
    int64_t filling = 0;
    int rc = meta_i64(db, "_done", 0, &done, err);
    if (rc == 0)
        rc = meta_i64(db, "_fill_life", 0, &filling, err);
    if (rc == 0 && !filling) /* begun again: what was settled when the first one began */
        rc = meta_set_i64(db, "_life_done", done, err);
    if (rc == 0)
        rc = wait_again(db, receipt_seq, err);
    if (rc == 0)
        rc = node_fill_begin(db, head, timeline, err);
    return rc == 0 ? meta_set_i64(db, "_fill_life", 1, err) : rc;
}

int node_life_filling(struct node_db *db, bool *yes, struct base_err *err)
{
    int64_t filling = 0;
    int rc = meta_i64(db, "_fill_life", 0, &filling, err);
    if (rc == 0)
        *yes = filling != 0;
    return rc;
}

/* Changes of ours may have come before the rows of others that they need and that we offered behind them. */
int life_acknowledged(struct node_db *db, int64_t acked, struct base_err *err)
{
    int64_t at = 0;
    int count = 0;
    int rc = meta_i64(db, "_life_retry", 0, &at, err);
    if (rc != 0 || at == 0 || acked < at)
        return rc;
    rc = meta_set_i64(db, "_life_retry", 0, err);
    return rc == 0 ? node_quarantine_retry(db, &restorer, 0, &count, err) : rc;
}

int life_filled(struct node_db *db, struct base_err *err)
{
    int64_t filling = 0;
    int64_t acked = 0;
    int rc = meta_i64(db, "_fill_life", 0, &filling, err);
    if (rc == 0)
        rc = meta_i64(db, "_acked", 0, &acked, err);
    if (rc != 0 || !filling)
        return rc;
    rc = meta_set_i64(db, "_fill_life", 0, err);
    if (rc == 0)
        rc = meta_set_i64(db, "_former", db->heads.seq, err);
    if (rc == 0)
        rc = meta_set_i64(db, "_life_retry", db->heads.seq, err);
    return rc == 0 ? life_acknowledged(db, acked, err) : rc;
}

/* ---- offers ---------------------------------------------------------------------------------- */

/* What the centre's former life had here. */
struct former {
    bool exists, laid; /* laid: changes of ours lie over it */
    int64_t rev;
    struct core_image image;
};

static int former_get(struct node_db *db, struct node_table *t, const struct base_uuid *id,
                      struct base_arena *arena, struct former *out, struct base_err *err)
{
    struct row_base base;
    struct row_now now = {.exists = false};
    *out = (struct former){.exists = false};
    int rc = base_get(db, t, id, arena, &base, err);
    if (rc == 0 && base.exists) {
        out->laid = true;
        out->exists = base.has_image && !base.gone;
        out->rev = base.rev;
        out->image = base.image;
    } else if (rc == 0) {
        rc = row_get(db, t, id, arena, &now, err);
        out->exists = now.exists && now.rev > 0;
        out->rev = now.rev;
        out->image = now.image;
    }
    return rc;
}

/* Columns that a change of ours has set which had not been settled when the former life ended: it is newer. */
static int own_columns(struct node_db *db, struct node_table *t, const struct base_uuid *id,
                       struct base_arena *arena, bool own[CORE_FIELDS_MAX + 1],
                       struct base_err *err)
{
    struct node_stmt *st = NULL;
    int64_t done = 0;
    int rc = meta_i64(db, "_life_done", 0, &done, err);
    if (rc == 0)
        rc = stmt_get(db, &st, "SELECT line FROM _change WHERE row_id = ? AND tbl = ? AND seq > ?",
                      err);
    if (rc != 0)
        return rc;
    node_sql_uuid(st, 1, id);
    node_sql_text(st, 2, t->name);
    node_sql_i64(st, 3, done);
    while ((rc = node_sql_step(st, err)) == 1) {
        struct core_change c = {0};
        size_t len = 0;
        const char *line = node_sql_col_text(st, 0, &len);
        line = base_arena_copy(arena, line, len);
        rc = line == NULL ? base_fail(err, BASE_ENOMEM, "out of memory for a change")
                          : core_change_read(&c, line, len, arena, err);
        if (rc != 0)
            break;
        for (int k = 0; k < c.value_count; k++)
            for (int i = 0; i < t->core->column_count; i++)
                if (core_text_equal(c.values[k].name, core_text_of(t->core->columns[i].name)))
                    own[t->core->columns[i].ord] = true;
    }
    node_sql_done(st);
    return rc;
}

static bool offers(const struct node_table *t, enum core_op op)
{
    if (t->core->class == CORE_CENTRAL || t->core->push_only)
        return false;
    /* A row of such a table that the centre lacks may have been deleted there. */
    return op == CORE_OP_INSERT ? !t->core->deletable : !core_class_is_fact(t->core->class);
}

/* is: the row at the centre, NULL: none; restored: as it was before the new life wrote it, if that is known. */
struct centre {
    const struct core_image *is, *restored;
};

static bool centre_has(const struct centre *c, int ord, struct core_text v)
{
    if (c->is == NULL)
        return v.s == NULL;
    return core_text_equal(v, core_image_field(c->is, ord)) ||
           (c->restored != NULL && core_text_equal(v, core_image_field(c->restored, ord)));
}

static int offer(struct node_db *db, struct node_table *t, const struct base_uuid *id,
                 enum core_op op, const struct centre *centre, const struct core_image *was,
                 const bool own[CORE_FIELDS_MAX + 1], struct base_err *err)
{
    const struct core_column *columns[CORE_COLUMNS_MAX];
    struct core_text values[CORE_COLUMNS_MAX];
    struct node_version version;
    struct node_edit e = {
        .op = op, .table = t->core, .id = *id, .columns = columns, .values = values};
    for (int i = 0; i < t->core->column_count; i++) {
        const struct core_column *c = &t->core->columns[i];
        struct core_text v = core_image_field(was, c->ord);
        if (c->class == CORE_CENTRAL || own[c->ord] || centre_has(centre, c->ord, v))
            continue;
        columns[e.count] = c;
        values[e.count++] = v;
    }
    if (e.count == 0)
        return 0;
    return node_write_edits(db, &restorer, &e, 1, &version, NULL, err);
}

int life_row(struct page *p, const struct base_uuid *id, int64_t rev, struct base_err *err)
{
    struct former f;
    struct node_db *db = p->db;
    struct node_table *t = p->table;
    const struct core_image *im = &p->image;
    const struct centre centre = {im, p->restored.count > 0 ? &p->restored : NULL};
    bool own[CORE_FIELDS_MAX + 1] = {false};
    int rc = former_get(db, t, id, &p->arena, &f, err);
    if (rc == 0 && f.laid) {
        rc = base_update(db, t, id, im, rev, false, err);
        if (rc == 0)
            rc = overlay_refresh(db, t, id, err);
    } else if (rc == 0) {
        rc = row_write(db, t, TABLE_PUT, id, im, rev, 0, NULL, err);
        if (rc == 0)
            row_moved(db, t, id, 'u', false, im);
    }
    int64_t restored = p->restored_rev > 0 ? p->restored_rev : rev;
    if (rc != 0 || !f.exists || f.rev <= restored || !offers(t, CORE_OP_UPDATE))
        return rc;
    rc = own_columns(db, t, id, &p->arena, own, err);
    return rc == 0 ? offer(db, t, id, CORE_OP_UPDATE, &centre, &f.image, own, err) : rc;
}

/* A row that the centre's new life has not got. One written here that no life of the centre had stays as it is. */
static int life_lacking(struct node_db *db, struct node_table *t, const struct base_uuid *id,
                        struct base_err *err)
{
    struct base_arena arena;
    struct former f;
    struct row_now now = {.exists = false};
    const bool none[CORE_FIELDS_MAX + 1] = {false};
    const struct centre nothing = {NULL, NULL};
    base_arena_init(&arena, STORE_ROW_BYTES_MAX);
    int rc = former_get(db, t, id, &arena, &f, err);
    if (rc == 0 && f.exists && f.laid) {
        rc = base_update(db, t, id, NULL, 0, false, err);
        if (rc == 0)
            rc = overlay_refresh(db, t, id, err);
        if (rc == 0)
            rc = row_get(db, t, id, &arena, &now, err); /* our own insert waits again */
    } else if (rc == 0 && f.exists) {
        rc = row_delete(db, t, id, NULL, err);
        if (rc == 0)
            row_moved(db, t, id, 'd', false, &f.image);
    }
    if (rc == 0 && f.exists && !f.laid && offers(t, CORE_OP_INSERT))
        rc = offer(db, t, id, CORE_OP_INSERT, &nothing, &f.image, none, err);
    else if (rc == 0 && f.exists && f.laid && !now.exists && offers(t, CORE_OP_INSERT))
        rc = base_delete(db, t, id, err) != 0
                 ? BASE_EIO
                 : offer(db, t, id, CORE_OP_INSERT, &nothing, &f.image, none, err);
    base_arena_release(&arena);
    return rc;
}

int life_gap(struct node_db *db, struct node_table *t, const struct base_uuid *after,
             const struct base_uuid *before, struct base_err *err)
{
    struct node_stmt *st = NULL;
    struct base_buf b;
    struct base_buf ids;
    base_buf_init(&b, 1024);
    base_buf_init(&ids, STORE_IMAGE_BYTES_MAX);
    base_buf_str(&b, "SELECT id FROM ");
    sql_name(&b, t->name);
    base_buf_str(&b, " WHERE id > ? AND (? IS NULL OR id < ?) ORDER BY id");
    int rc = stmt_get(db, &st, b.data, err);
    base_buf_release(&b);
    if (rc != 0)
        return rc;
    if (after != NULL)
        node_sql_uuid(st, 1, after);
    else
        node_sql_blob(st, 1, "", 0);
    if (before != NULL) {
        node_sql_uuid(st, 2, before);
        node_sql_uuid(st, 3, before);
    }
    while ((rc = node_sql_step(st, err)) == 1) {
        struct base_uuid id;
        if (node_sql_col_uuid(st, 0, &id))
            base_buf_add(&ids, (const char *)id.bytes, sizeof id.bytes);
    }
    node_sql_done(st);
    if (rc == 0 && base_buf_check(&ids) != 0)
        rc = base_fail(err, base_buf_check(&ids), "%s: rows that the centre lacks", t->name);
    for (size_t at = 0; rc == 0 && at < ids.len; at += BASE_UUID_BYTES) {
        struct base_uuid id;
        memcpy(id.bytes, ids.data + at, sizeof id.bytes);
        rc = life_lacking(db, t, &id, err);
    }
    base_buf_release(&ids);
    return rc;
}

/* ---- the node's ------------------------------------------------------------------------------ */

static int chain_set(struct node_db *db, int64_t seq, const uint8_t chain[CORE_CHAIN_BYTES],
                     struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st, "UPDATE _change SET chain = ? WHERE seq = ?", err);
    if (rc != 0)
        return rc;
    node_sql_blob(st, 1, chain, CORE_CHAIN_BYTES);
    node_sql_i64(st, 2, seq);
    return stmt_run(st, err);
}

/* The lines stay as they are, byte for byte; only the chain over them is another one. */
static int chain_anew(struct node_db *db, int64_t after, int64_t incarnation, struct base_err *err)
{
    struct node_stmt *st = NULL;
    uint8_t chain[CORE_CHAIN_BYTES];
    seal_chain_start(chain, &db->identity->node_id, incarnation);
    int rc = stmt_get(db, &st, "SELECT seq, line FROM _change WHERE seq > ? ORDER BY seq", err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, after);
    while ((rc = node_sql_step(st, err)) == 1) {
        size_t len = 0;
        const char *line = node_sql_col_text(st, 1, &len);
        seal_chain_step(chain, line, len);
        if ((rc = chain_set(db, node_sql_col_i64(st, 0), chain, err)) != 0)
            break;
    }
    node_sql_done(st);
    if (rc == 0)
        memcpy(db->heads.chain, chain, sizeof chain);
    return rc;
}

int node_rejoin(struct node_db *db, int64_t incarnation, int64_t after, struct base_err *err)
{
    int64_t present = 0;
    int rc = meta_i64(db, "_incarnation", 0, &present, err);
    if (rc == 0 && (incarnation <= present || after > db->heads.seq))
        rc = base_fail(err, BASE_EPROTO, "life %lld behind change %lld does not follow life %lld",
                       (long long)incarnation, (long long)after, (long long)present);
    if (rc == 0)
        rc = wait_again(db, after, err);
    if (rc == 0)
        rc = meta_set_i64(db, "_acked", after, err);
    if (rc == 0)
        rc = chain_anew(db, after, incarnation, err);
    if (rc == 0)
        rc = meta_set_i64(db, "_incarnation", incarnation, err);
    if (rc == 0)
        rc = meta_set_i64(db, "_life_after", after, err);
    if (rc == 0)
        rc = node_audit_restored(db, incarnation, err);
    if (rc == 0)
        rc = node_meta_set(db, NODE_META_REJOIN, "", err);
    if (rc == 0)
        rc = node_meta_set(db, NODE_META_RESTORED, "", err);
    return rc == 0 ? overlay_settle(db, err) : rc;
}
