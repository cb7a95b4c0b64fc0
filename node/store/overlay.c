/*
 * The overlay: what the ward reads is the centre's image with our pending changes laid over it.
 *
 * A row with pending changes has an entry in _base that holds the centre's image; what comes from
 * the centre goes there, and the visible row is made anew from image and changes. A change goes
 * when its receipt and its outcome in the feed have both arrived (seq <= _done), in whichever order
 * they come; a quarantined one stays until a person retries or drops it. With the last change the
 * entry in _base goes, and the row is the centre's again.
 */

#include "node/store/internal.h"

int base_get(struct node_db *db, struct node_table *t, const struct base_uuid *id,
             struct base_arena *arena, struct row_base *out, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc =
        stmt_get(db, &st, "SELECT rev, gone, image FROM _base WHERE tbl = ? AND row_id = ?", err);
    if (rc != 0)
        return rc;
    node_sql_text(st, 1, t->name);
    node_sql_uuid(st, 2, id);
    rc = node_sql_step(st, err);
    out->exists = rc == 1;
    out->has_image = out->gone = false;
    out->rev = 0;
    out->image.count = 0;
    if (rc == 1) {
        size_t len = 0;
        const char *s = node_sql_col_text(st, 2, &len);
        out->rev = node_sql_col_i64(st, 0);
        out->gone = node_sql_col_i64(st, 1) != 0;
        out->has_image = s != NULL;
        rc = 0;
        if (s != NULL && (s = base_arena_copy(arena, s, len)) == NULL)
            rc = base_fail(err, BASE_ENOMEM, "out of memory for a row");
        else if (s != NULL)
            rc = core_image_read_composite(&out->image, s, len, arena, err);
    }
    node_sql_done(st);
    return rc;
}

static int base_store(struct node_db *db, const char *sql, struct node_table *t,
                      const struct base_uuid *id, const struct core_image *im, int64_t rev,
                      bool gone, struct base_err *err)
{
    struct node_stmt *st = NULL;
    struct base_buf image;
    base_buf_init(&image, STORE_IMAGE_BYTES_MAX);
    if (im != NULL)
        core_image_write_composite(&image, im, im->count);
    int rc = base_buf_check(&image);
    rc = rc == 0 ? stmt_get(db, &st, sql, err) : base_fail(err, rc, "%s: a row's image", t->name);
    if (rc == 0) {
        node_sql_text(st, 1, t->name);
        node_sql_uuid(st, 2, id);
        node_sql_i64(st, 3, rev);
        node_sql_i64(st, 4, gone);
        if (im != NULL)
            node_sql_text_len(st, 5, image.data, image.len);
        rc = stmt_run(st, err);
    }
    base_buf_release(&image);
    return rc;
}

int base_insert(struct node_db *db, struct node_table *t, const struct base_uuid *id,
                const struct core_image *im, int64_t rev, struct base_err *err)
{
    return base_store(db,
                      "INSERT INTO _base (tbl, row_id, rev, gone, image) VALUES (?, ?, ?, ?, ?)", t,
                      id, im, rev, false, err);
}

int base_update(struct node_db *db, struct node_table *t, const struct base_uuid *id,
                const struct core_image *im, int64_t rev, bool gone, struct base_err *err)
{
    return base_store(db,
                      "INSERT INTO _base (tbl, row_id, rev, gone, image) VALUES (?, ?, ?, ?, ?) "
                      "ON CONFLICT (tbl, row_id) DO UPDATE "
                      "SET rev = excluded.rev, gone = excluded.gone, image = excluded.image",
                      t, id, im, rev, gone, err);
}

int base_delete(struct node_db *db, struct node_table *t, const struct base_uuid *id,
                struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st, "DELETE FROM _base WHERE tbl = ? AND row_id = ?", err);
    if (rc != 0)
        return rc;
    node_sql_text(st, 1, t->name);
    node_sql_uuid(st, 2, id);
    return stmt_run(st, err);
}

int base_any(struct node_db *db, bool *any, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st, "SELECT EXISTS (SELECT 1 FROM _base)", err);
    if (rc != 0)
        return rc;
    rc = node_sql_step(st, err);
    if (rc == 1)
        *any = node_sql_col_i64(st, 0) != 0;
    node_sql_done(st);
    return rc < 0 ? rc : 0;
}

struct laying {
    struct core_laying row;
    const struct core_image *central;
    int64_t newest; /* seq of the newest change laid over; 0: none */
};

/* From the oldest that lies over the row on: behind one that is held there may be settled ones. */
static const char lay_sql[] =
    "SELECT seq, line, seq > ?3 OR held = 1 FROM _change WHERE row_id = ?1 AND tbl = ?2 AND closed "
    "IS NULL AND seq >= (SELECT min(seq) FROM _change WHERE row_id = ?1 AND tbl = ?2 AND "
    "(seq > ?3 OR held = 1) AND closed IS NULL) ORDER BY seq";

static int lay_changes(struct node_db *db, struct node_table *t, const struct base_uuid *id,
                       struct base_arena *arena, struct laying *to, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int64_t settled = 0;
    int rc = meta_i64(db, "_done", 0, &settled, err);
    if (rc == 0)
        rc = stmt_get(db, &st, lay_sql, err);
    if (rc != 0)
        return rc;
    node_sql_uuid(st, 1, id);
    node_sql_text(st, 2, t->name);
    node_sql_i64(st, 3, settled);
    while ((rc = node_sql_step(st, err)) == 1) {
        struct core_change c = {0};
        size_t len = 0;
        const char *line = node_sql_col_text(st, 1, &len);
        if ((line = base_arena_copy(arena, line, len)) == NULL)
            rc = base_fail(err, BASE_ENOMEM, "out of memory for a row");
        else
            rc = core_change_read(&c, line, len, arena, err);
        if (rc != 0)
            break;
        if (node_sql_col_i64(st, 2) == 0) {
            core_lay_settled(&to->row, t->core, &c, to->central);
            continue;
        }
        core_lay_change(&to->row, t->core, &c);
        to->newest = node_sql_col_i64(st, 0);
    }
    node_sql_done(st);
    return rc;
}

/* A row of a push-only table never comes back: ours is all there is. */
static int keep_ours(struct node_db *db, struct node_table *t, const struct base_uuid *id,
                     struct base_arena *arena, struct base_err *err)
{
    struct row_now now;
    int rc = row_get(db, t, id, arena, &now, err);
    if (rc == 0 && now.exists)
        rc = row_write(db, t, TABLE_PUT, id, &now.image, now.rev, 0, NULL, err);
    return rc;
}

static int overlay_lay(struct node_db *db, struct node_table *t, const struct base_uuid *id,
                       struct base_arena *arena, struct row_base *base, struct base_err *err)
{
    struct laying l = {.row = {.image = base->image, .exists = base->has_image},
                       .central = &base->image};
    bool changed = false;
    int rc = lay_changes(db, t, id, arena, &l, err);
    if (rc != 0)
        return rc;
    if (l.newest == 0) {
        rc = base_delete(db, t, id, err);
        if (rc == 0 && !base->has_image && t->core->push_only)
            return keep_ours(db, t, id, arena, err);
        if (base->gone)
            l.row.exists = false;
    }
    if (rc == 0 && l.row.exists) {
        rc = row_write(db, t, TABLE_PUT, id, &l.row.image, base->rev, l.newest, NULL, err);
        changed = true;
    } else if (rc == 0) {
        rc = row_delete(db, t, id, &changed, err);
    }
    if (rc == 0 && changed)
        row_moved(db, t, id, l.row.exists ? 'u' : 'd', false, &l.row.image);
    return rc;
}

int overlay_refresh(struct node_db *db, struct node_table *t, const struct base_uuid *id,
                    struct base_err *err)
{
    struct base_arena arena;
    struct row_base base;
    base_arena_init(&arena, STORE_ROW_BYTES_MAX);
    int rc = base_get(db, t, id, &arena, &base, err);
    if (rc == 0 && base.exists)
        rc = overlay_lay(db, t, id, &arena, &base, err);
    base_arena_release(&arena);
    return rc;
}

/* A row whose overlay had gone gets one again: what is shown is the centre's image. */
int overlay_again(struct node_db *db, struct node_table *t, const struct base_uuid *id,
                  struct base_err *err)
{
    struct base_arena arena;
    struct row_now now;
    struct row_base base;
    base_arena_init(&arena, STORE_ROW_BYTES_MAX);
    int rc = base_get(db, t, id, &arena, &base, err);
    if (rc == 0 && !base.exists) {
        rc = row_get(db, t, id, &arena, &now, err);
        if (rc == 0)
            rc = base_insert(db, t, id, now.rev > 0 ? &now.image : NULL, now.rev, err);
    }
    base_arena_release(&arena);
    return rc == 0 ? overlay_refresh(db, t, id, err) : rc;
}

int image_apply(struct node_db *db, struct node_table *t, const struct base_uuid *id, int64_t rev,
                const struct core_image *im, bool equal, bool *changed, struct base_err *err)
{
    struct base_arena arena;
    struct row_base base;
    base_arena_init(&arena, STORE_ROW_BYTES_MAX);
    int rc = base_get(db, t, id, &arena, &base, err);
    if (rc == 0 && !base.exists) {
        rc = row_write(db, t, equal ? TABLE_NOT_OLDER : TABLE_NEWER, id, im, rev, 0, changed, err);
        if (rc == 0 && *changed)
            row_moved(db, t, id, 'u', false, im);
    } else if (rc == 0) {
        *changed = !base.has_image || rev > base.rev || (equal && rev == base.rev);
        if (*changed)
            rc = base_update(db, t, id, im, rev, false, err);
        if (rc == 0 && *changed)
            rc = overlay_refresh(db, t, id, err);
    }
    base_arena_release(&arena);
    return rc;
}

void dirty_release(struct dirty_rows *d)
{
    free(d->list);
    *d = (struct dirty_rows){0};
}

int dirty_add(struct node_db *db, struct dirty_rows *d, struct node_table *t,
              const struct base_uuid *id, struct base_err *err)
{
    if (d->list == NULL && (d->list = calloc(STORE_DIRTY_MAX, sizeof *d->list)) == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for rows to be laid out anew");
    if (d->count == STORE_DIRTY_MAX) {
        int rc = dirty_flush(db, d, err);
        if (rc != 0)
            return rc;
    }
    d->list[d->count++] = (struct dirty_row){t, *id};
    return 0;
}

static int compare_dirty(const void *a, const void *b)
{
    const struct dirty_row *x = a;
    const struct dirty_row *y = b;
    if (x->table != y->table)
        return x->table < y->table ? -1 : 1;
    return memcmp(x->id.bytes, y->id.bytes, BASE_UUID_BYTES);
}

int dirty_flush(struct node_db *db, struct dirty_rows *d, struct base_err *err)
{
    int rc = 0;
    if (d->count > 0)
        qsort(d->list, (size_t)d->count, sizeof *d->list, compare_dirty);
    for (int i = 0; rc == 0 && i < d->count; i++)
        if (i == 0 || compare_dirty(&d->list[i - 1], &d->list[i]) != 0)
            rc = overlay_refresh(db, d->list[i].table, &d->list[i].id, err);
    d->count = 0;
    return rc;
}

/* The rows of the changes first < seq <= last. A table that the catalog lost keeps its overlay. */
static int settle_rows(struct node_db *db, struct dirty_rows *d, int64_t first, int64_t last,
                       struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st, "SELECT tbl, row_id FROM _change WHERE seq > ? AND seq <= ?", err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, first);
    node_sql_i64(st, 2, last);
    while ((rc = node_sql_step(st, err)) == 1) {
        struct base_uuid id;
        size_t len = 0;
        const char *name = node_sql_col_text(st, 0, &len);
        struct node_table *t = table_named(db, name, len);
        if (t != NULL && node_sql_col_uuid(st, 1, &id) && (rc = dirty_add(db, d, t, &id, err)) != 0)
            break;
    }
    node_sql_done(st);
    return rc;
}

int overlay_settle(struct node_db *db, struct base_err *err)
{
    struct dirty_rows dirty = {0};
    int64_t acked = 0;
    int64_t settled = 0;
    int64_t was = 0;
    int rc = meta_i64(db, "_acked", 0, &acked, err);
    if (rc == 0)
        rc = meta_i64(db, "_settled", 0, &settled, err);
    if (rc == 0)
        rc = meta_i64(db, "_done", 0, &was, err);
    int64_t now = core_settled_upto(acked, settled);
    if (rc != 0 || now <= was)
        return rc;
    rc = meta_set_i64(db, "_done", now, err);
    if (rc == 0)
        rc = settle_rows(db, &dirty, was, now, err);
    if (rc == 0)
        rc = dirty_flush(db, &dirty, err);
    dirty_release(&dirty);
    return rc;
}
