/*
 * First fill, fill of a new table, back-fill of a new column.
 *
 * Pages come in order of id, and how far a table is stands in _fill, written with the page: a fill
 * that breaks off anywhere goes on behind the last page that is on disk. The replica is published
 * by node_fill_finish alone. Local writes may come at any time: they lie over what the pages bring.
 */
#include "node/store/life.h"
#include "node/store/page.h"

enum { FILL_OTHER_ROWS_MAX = 20000 }; /* written here before or during the fill */

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int list_tables(struct node_db *db, struct base_err *err)
{
    const struct core_catalog *c = &db->catalog->c;
    int rc = connection_exec(db, "DELETE FROM _fill", err);
    for (int i = 0; rc == 0 && i < c->table_count; i++) {
        struct node_stmt *st = NULL;
        if (c->tables[i].push_only)
            continue;
        rc = stmt_get(db, &st, "INSERT INTO _fill (tbl, place) VALUES (?, ?)", err);
        if (rc != 0)
            break;
        node_sql_text(st, 1, c->tables[i].name);
        node_sql_i64(st, 2, i);
        rc = stmt_run(st, err);
    }
    return rc;
}

/* On a published replica this is a repair: cursor and timeline stay what they are until it is
 * complete, so that a broken-off one is seen and begun again. A cursor ahead of the centre's head
 * counts in a life that is over; it goes back, else every page would look older than it. */
int node_fill_begin(struct node_db *db, int64_t head, const struct base_uuid *timeline,
                    struct base_err *err)
{
    char text[BASE_UUID_CHARS + 1];
    int64_t acked = 0;
    int64_t cursor = -1;
    int64_t filled = 0;
    base_uuid_format(timeline, text);
    int rc = meta_i64(db, "_acked", 0, &acked, err);
    if (rc == 0)
        rc = meta_i64(db, "_cursor", -1, &cursor, err);
    if (rc == 0)
        rc = meta_i64(db, "_filled", 0, &filled, err);
    if (rc == 0)
        rc = list_tables(db, err);
    if (rc == 0)
        rc = meta_set_i64(db, "_fill_head", head, err);
    if (rc == 0)
        rc = meta_set_i64(db, "_fill_acked", acked, err);
    if (rc == 0)
        rc = meta_set(db, "_fill_timeline", text, err);
    if (rc == 0)
        rc = meta_set_i64(db, "_cursor", filled ? min_i64(cursor, head) : head, err);
    if (rc == 0 && filled) /* pages do not tell what was deleted: a comparison does */
        rc = meta_set_i64(db, "_surplus", 1, err);
    if (rc == 0 && filled)
        rc = meta_set_i64(db, "_replica_equal", -1, err);
    return rc;
}

int node_fill_next(struct node_db *db, char table[CORE_NAME_BYTES_MAX + 1],
                   char after[BASE_UUID_CHARS + 1], bool *done, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(
        db, &st, "SELECT tbl, after FROM _fill WHERE done = 0 ORDER BY place, tbl LIMIT 1", err);
    if (rc != 0)
        return rc;
    rc = node_sql_step(st, err);
    table[0] = after[0] = '\0';
    *done = rc == 0;
    if (rc == 1) {
        snprintf(table, CORE_NAME_BYTES_MAX + 1, "%s", node_sql_col_text(st, 0, NULL));
        snprintf(after, BASE_UUID_CHARS + 1, "%s", node_sql_col_text(st, 1, NULL));
    }
    node_sql_done(st);
    return rc < 0 ? rc : 0;
}

struct fill {
    int64_t rows; /* of this table so far */
    bool equal, bare;
    int64_t life; /* the centre's new one: its rows take the place of ours */
};

/* How far the page's table is. BASE_EPROTO: nobody asked for it. */
static int fill_place(struct page *p, struct fill *f, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc =
        stmt_get(p->db, &st, "SELECT after, equal, done, rows, bare FROM _fill WHERE tbl = ?", err);
    if (rc != 0)
        return rc;
    node_sql_text(st, 1, p->table->name);
    rc = node_sql_step(st, err);
    if (rc == 1 && node_sql_col_i64(st, 2) == 0) {
        snprintf(p->before, sizeof p->before, "%s", node_sql_col_text(st, 0, NULL));
        f->equal = node_sql_col_i64(st, 1) != 0;
        f->rows = node_sql_col_i64(st, 3);
        f->bare = node_sql_col_i64(st, 4) != 0;
        rc = 0;
    } else if (rc >= 0) {
        rc = base_fail(err, BASE_EPROTO, "a page of %s, which is not being filled", p->table->name);
    }
    node_sql_done(st);
    return rc;
}

static int fill_moves(struct page *p, const struct fill *f, const struct node_page_result *r,
                      struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(
        p->db, &st, "UPDATE _fill SET after = ?, done = ?, rows = ?, bare = ? WHERE tbl = ?", err);
    if (rc != 0)
        return rc;
    node_sql_text(st, 1, r->last ? p->before : r->next);
    node_sql_i64(st, 2, r->last);
    node_sql_i64(st, 3, f->rows);
    node_sql_i64(st, 4, f->bare);
    node_sql_text(st, 5, p->table->name);
    return stmt_run(st, err);
}

/* A newest _rowid far above the rows that have come: the table held rows before this fill. */
static int held_before(struct page *p, int64_t rows, bool *yes, struct base_err *err)
{
    struct node_stmt *st = NULL;
    struct base_buf b;
    base_buf_init(&b, 1024);
    base_buf_str(&b, "SELECT coalesce(max(_rowid), 0) FROM ");
    sql_name(&b, p->table->name);
    int rc = stmt_get(p->db, &st, b.data, err);
    base_buf_release(&b);
    if (rc != 0)
        return rc;
    rc = node_sql_step(st, err);
    if (rc == 1)
        *yes = node_sql_col_i64(st, 0) > rows + FILL_OTHER_ROWS_MAX;
    node_sql_done(st);
    return rc < 0 ? rc : 0;
}

/* Rows of a page are spread over the whole of an index: each page would write nearly all of it
 * anew. From the second page of an empty table on its indexes are away, until the last, or until
 * they would be too large to be built at once. Building stands in no writer's way but then: about
 * 1 s for a million rows. */
static int fill_bares(struct page *p, struct fill *f, struct base_err *err)
{
    bool before = true;
    if (f->bare || f->rows == 0 || f->rows >= STORE_FILL_BARE_ROWS_MAX)
        return 0;
    int rc = held_before(p, f->rows, &before, err);
    if (rc != 0 || before)
        return rc;
    f->bare = true;
    return catalog_indexes_drop(p->db, p->table->core, err);
}

static int fill_covers(struct page *p, struct fill *f, bool last, struct base_err *err)
{
    if (!last && !(f->bare && f->rows >= STORE_FILL_BARE_ROWS_MAX))
        return 0;
    f->bare = false;
    return catalog_indexes_make(p->db, p->table->core, err);
}

static int fill_row(struct page *p, const struct base_uuid *id, int64_t rev,
                    const struct core_image *im, const struct fill *f, bool overlays,
                    struct base_err *err)
{
    bool changed = false;
    bool equal = f->equal;
    if (f->life)
        return life_row(p, id, rev, err);
    if (overlays)
        return image_apply(p->db, p->table, id, rev, im, equal, &changed, err);
    int rc = row_write(p->db, p->table, equal ? TABLE_NOT_OLDER : TABLE_NEWER, id, im, rev, 0,
                       &changed, err);
    if (rc == 0 && changed && p->published)
        row_moved(p->db, p->table, id, 'u', false, im);
    return rc;
}

int node_page_apply(struct node_db *db, const char *body, size_t len, struct node_page_result *out,
                    struct base_err *err)
{
    struct page p;
    struct base_uuid id;
    int64_t rev = 0;
    struct fill f = {.rows = 0};
    bool overlays = false;
    int rc = page_open(&p, db, body, len, err);
    if (rc == 0)
        rc = fill_place(&p, &f, err);
    if (rc == 0)
        rc = base_any(db, &overlays, err);
    if (rc == 0)
        rc = page_check_start(&p, err);
    if (rc == 0)
        rc = fill_bares(&p, &f, err);
    if (rc == 0)
        rc = meta_i64(db, "_fill_life", 0, &f.life, err);
    struct base_uuid before = p.last;
    bool any = p.any;
    while (rc == 0 && (rc = page_row(&p, &id, &rev, err)) == 1) {
        rc = f.life ? life_gap(db, p.table, any ? &before : NULL, &id, err) : 0;
        if (rc == 0)
            rc = fill_row(&p, &id, rev, &p.image, &f, overlays, err);
        before = id;
        any = true;
    }
    if (rc == 0 && f.life && p.next[0] == '\0')
        rc = life_gap(db, p.table, any ? &before : NULL, NULL, err);
    struct node_page_result r = {.rows = p.rows, .last = p.next[0] == '\0'};
    memcpy(r.next, p.next, sizeof r.next);
    f.rows += p.rows;
    if (rc == 0)
        rc = fill_covers(&p, &f, r.last, err);
    if (rc == 0)
        rc = fill_moves(&p, &f, &r, err);
    page_close(&p);
    if (rc == 0)
        *out = r;
    return rc;
}

/* Everything acknowledged before the fill began is in its pages, and may stand in a cut that lies
 * before the head: the feed need not bring it again. */
static int fill_settles(struct node_db *db, struct base_err *err)
{
    int64_t acked = 0;
    int64_t settled = 0;
    int rc = meta_i64(db, "_fill_acked", 0, &acked, err);
    if (rc == 0)
        rc = meta_i64(db, "_settled", 0, &settled, err);
    if (rc == 0 && acked > settled)
        rc = meta_set_i64(db, "_settled", acked, err);
    return rc == 0 ? overlay_settle(db, err) : rc;
}

int node_fill_finish(struct node_db *db, struct base_err *err)
{
    char table[CORE_NAME_BYTES_MAX + 1];
    char text[64];
    bool done = false;
    int64_t head = -1;
    int rc = node_fill_next(db, table, text, &done, err);
    if (rc == 0 && !done)
        rc = base_fail(err, BASE_ESTALE, "%s is not complete yet", table);
    if (rc == 0)
        rc = meta_i64(db, "_fill_head", -1, &head, err);
    if (rc == 0 && head >= 0) {
        rc = meta_text(db, "_fill_timeline", text, sizeof text, err);
        if (rc == 0)
            rc = meta_set(db, "_timeline", text, err);
        if (rc == 0)
            rc = meta_set_i64(db, "_cursor", head, err);
        if (rc == 0)
            rc = meta_set_i64(db, "_fill_head", -1, err);
        if (rc == 0)
            rc = meta_set_i64(db, "_filled", 1, err);
        if (rc == 0) /* as of its head: the replica tells how old it is from its first moment */
            rc = meta_set_now(db, "_last_pull_at", err);
        if (rc == 0)
            rc = fill_settles(db, err);
        if (rc == 0)
            rc = life_filled(db, err);
    }
    return rc == 0 ? connection_exec(db, "DELETE FROM _fill", err) : rc;
}
