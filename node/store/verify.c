/*
 * Digests of the centre's images as we hold them, and mending what differs.
 *
 * A row that has changes lying over it counts with the image beneath, so that a range stays
 * comparable while changes wait or are quarantined.
 */

#include "node/store/internal.h"
#include "node/store/page.h"
#include "sync/seal/seal.h"

enum { REPAIR_ROWS_MAX = 5000, VERIFY_SQL_BYTES_MAX = 256 * 1024 };

/* A half-open range of ids; a bound that is not there is all zeros, or beyond every id. */
struct range {
    struct base_uuid from, to;
    bool has_to;
};

static int range_read(struct range *r, const char *from, const char *to, struct base_err *err)
{
    *r = (struct range){.has_to = to[0] != '\0'};
    if ((from[0] != '\0' && !base_uuid_parse(&r->from, from, strlen(from))) ||
        (r->has_to && !base_uuid_parse(&r->to, to, strlen(to))))
        return base_fail(err, BASE_EINVALID, "a range's bound is not a uuid");
    return 0;
}

static void range_bind(struct node_stmt *st, int at, const struct range *r)
{
    static const uint8_t beyond[BASE_UUID_BYTES + 1] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                                        0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                                        0xff, 0xff, 0xff, 0xff, 0xff};
    node_sql_uuid(st, at, &r->from);
    if (r->has_to)
        node_sql_uuid(st, at + 1, &r->to);
    else
        node_sql_blob(st, at + 1, beyond, sizeof beyond);
}

/* "SELECT <what> FROM <table> WHERE id >= ? AND id < ? ORDER BY id" */
static int range_select(struct node_db *db, struct node_table *t, bool columns,
                        const struct range *r, struct node_stmt **out, struct base_err *err)
{
    struct base_buf b;
    base_buf_init(&b, VERIFY_SQL_BYTES_MAX);
    base_buf_str(&b, columns ? "SELECT id, rev, _pending" : "SELECT id");
    if (columns)
        sql_columns(&b, t->core, ", ");
    base_buf_str(&b, " FROM ");
    sql_name(&b, t->name);
    base_buf_str(&b, " WHERE id >= ? AND id < ? ORDER BY id");
    int rc = base_buf_check(&b);
    rc = rc != 0 ? base_fail(err, rc, "%s", t->name) : stmt_get(db, out, b.data, err);
    base_buf_release(&b);
    if (rc == 0)
        range_bind(*out, 1, r);
    return rc;
}

struct digesting {
    struct node_db *db;
    struct node_table *table;
    struct base_arena arena;
    struct base_buf text;
    struct row_now row;
    struct core_digest digest;
};

static int digest_image(struct digesting *d, const struct core_image *im, struct base_err *err)
{
    uint8_t sha[32];
    base_buf_clear(&d->text);
    core_image_write_composite(&d->text, im, CORE_ORD_FIRST - 1 + d->table->core->column_count);
    int rc = base_buf_check(&d->text);
    if (rc != 0)
        return base_fail(err, rc, "%s: a row's image", d->table->name);
    seal_sha256(sha, d->text.data, d->text.len);
    core_digest_add(&d->digest, sha);
    return 0;
}

static int digest_visible(struct digesting *d, const struct range *r, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = range_select(d->db, d->table, true, r, &st, err);
    if (rc != 0)
        return rc;
    while ((rc = node_sql_step(st, err)) == 1) {
        if (node_sql_col_i64(st, 2) != 0)
            continue; /* its image is in _base */
        base_arena_clear(&d->arena);
        rc = row_read(d->db, d->table, st->st, &d->arena, &d->row, err);
        if (rc != 0 || (rc = digest_image(d, &d->row.image, err)) != 0)
            break;
    }
    node_sql_done(st);
    return rc;
}

static int digest_beneath(struct digesting *d, const struct range *r, bool *pending,
                          struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc =
        stmt_get(d->db, &st,
                 "SELECT image, gone FROM _base WHERE tbl = ? AND row_id >= ? AND row_id < ?", err);
    if (rc != 0)
        return rc;
    node_sql_text(st, 1, d->table->name);
    range_bind(st, 2, r);
    while ((rc = node_sql_step(st, err)) == 1) {
        size_t len = 0;
        const char *s = node_sql_col_text(st, 0, &len);
        *pending = true;
        if (s == NULL || node_sql_col_i64(st, 1) != 0)
            continue;
        base_arena_clear(&d->arena);
        rc = core_image_read_composite(&d->row.image, s, len, &d->arena, err);
        if (rc != 0 || (rc = digest_image(d, &d->row.image, err)) != 0)
            break;
    }
    node_sql_done(st);
    return rc;
}

int node_digest(struct node_db *db, const struct core_table *t, const char *from, const char *to,
                struct core_digest *out, bool *has_pending, struct base_err *err)
{
    struct range r;
    bool pending = false;
    struct digesting d = {.db = db, .table = table_of(db, t)};
    if (d.table == NULL)
        return base_fail(err, BASE_ENOTFOUND, "no such table: %s", t->name);
    int rc = range_read(&r, from, to, err);
    if (rc != 0)
        return rc;
    base_arena_init(&d.arena, STORE_ROW_BYTES_MAX);
    base_buf_init(&d.text, STORE_IMAGE_BYTES_MAX);
    rc = digest_visible(&d, &r, err);
    if (rc == 0)
        rc = digest_beneath(&d, &r, &pending, err);
    base_arena_release(&d.arena);
    base_buf_release(&d.text);
    if (rc == 0) {
        *out = d.digest;
        *has_pending = pending;
    }
    return rc;
}

static int count_rows(struct node_db *db, struct node_table *t, const struct range *r, int64_t *n,
                      struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = range_select(db, t, false, r, &st, err);
    for (*n = 0; rc == 0 && (rc = node_sql_step(st, err)) == 1; rc = 0)
        ++*n;
    node_sql_done(st);
    return rc;
}

int node_digest_split(struct node_db *db, const struct core_table *t, const char *from,
                      const char *to, char ids[CORE_DIGEST_SPLIT][BASE_UUID_CHARS + 1], int *count,
                      struct base_err *err)
{
    struct node_table *table = table_of(db, t);
    struct node_stmt *st = NULL;
    struct range r;
    int64_t rows = 0;
    int64_t at = 0;
    int n = 0;
    if (table == NULL)
        return base_fail(err, BASE_ENOTFOUND, "no such table: %s", t->name);
    int rc = range_read(&r, from, to, err);
    if (rc == 0)
        rc = count_rows(db, table, &r, &rows, err);
    if (rc == 0)
        rc = range_select(db, table, false, &r, &st, err);
    if (rc != 0)
        return rc;
    while (n < CORE_DIGEST_SPLIT - 1 && (rc = node_sql_step(st, err)) == 1) {
        struct base_uuid id;
        int64_t cut = rows * (n + 1) / CORE_DIGEST_SPLIT;
        if (at++ != cut || !node_sql_col_uuid(st, 0, &id))
            continue;
        if (cut > 0)
            base_uuid_format(&id, ids[n++]);
        while (n < CORE_DIGEST_SPLIT - 1 && rows * (n + 1) / CORE_DIGEST_SPLIT < at)
            break;
    }
    node_sql_done(st);
    if (rc < 0)
        return rc;
    *count = n;
    return 0;
}

struct repair {
    struct page page;
    struct range range;
    struct base_uuid *ids; /* of the page, ascending */
    int count;
    int64_t mended;
};

/* Is what we hold exactly the page's image? */
static int same_row(struct repair *r, const struct base_uuid *id, int64_t rev, bool *same,
                    struct base_err *err)
{
    struct base_arena arena;
    struct row_now now = {0};
    struct row_base base = {0};
    const struct core_image *ours = NULL;
    struct node_table *t = r->page.table;
    base_arena_init(&arena, STORE_ROW_BYTES_MAX);
    int rc = base_get(r->page.db, t, id, &arena, &base, err);
    if (rc == 0 && base.exists && base.has_image && !base.gone && base.rev == rev)
        ours = &base.image;
    if (rc == 0 && !base.exists)
        rc = row_get(r->page.db, t, id, &arena, &now, err);
    if (rc == 0 && !base.exists && now.exists && now.rev == rev)
        ours = &now.image;
    *same = rc == 0 && ours != NULL;
    for (int ord = CORE_ORD_FIRST; *same && ord < CORE_ORD_FIRST + t->core->column_count; ord++)
        *same = core_text_equal(core_image_field(ours, ord), core_image_field(&r->page.image, ord));
    base_arena_release(&arena);
    return rc;
}

static int repair_row(struct repair *r, const struct base_uuid *id, int64_t rev,
                      struct base_err *err)
{
    bool same = false;
    bool changed = false;
    if (memcmp(id->bytes, r->range.from.bytes, BASE_UUID_BYTES) < 0 ||
        (r->range.has_to && memcmp(id->bytes, r->range.to.bytes, BASE_UUID_BYTES) >= 0))
        return base_fail(err, BASE_EPROTO, "the page has a row outside the range asked for");
    if (r->count == REPAIR_ROWS_MAX)
        return base_fail(err, BASE_ETOOBIG, "a repair of more than %d rows", REPAIR_ROWS_MAX);
    r->ids[r->count++] = *id;
    int rc = same_row(r, id, rev, &same, err);
    if (rc != 0 || same)
        return rc;
    rc = image_apply(r->page.db, r->page.table, id, rev, &r->page.image, true, &changed, err);
    r->mended += changed;
    return rc;
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, BASE_UUID_BYTES);
}

static int drop_surplus(struct repair *r, const struct base_uuid *id, struct base_err *err)
{
    bool deleted = false;
    struct row_now now = {.image = {.count = 0}};
    struct base_arena arena;
    base_arena_init(&arena, STORE_ROW_BYTES_MAX);
    int rc = row_get(r->page.db, r->page.table, id, &arena, &now, err);
    if (rc == 0 && now.exists && now.pending == 0 && now.rev > 0)
        rc = row_delete(r->page.db, r->page.table, id, &deleted, err);
    if (rc == 0 && deleted) {
        row_moved(r->page.db, r->page.table, id, 'd', false, &now.image);
        r->mended++;
    }
    base_arena_release(&arena);
    return rc;
}

/* What we hold in the range the page covers, and the page does not. Gathered first: a statement
 * does not see its table change beneath it. */
static int repair_surplus(struct repair *r, struct base_err *err)
{
    struct node_stmt *st = NULL;
    struct base_uuid *gone = calloc(REPAIR_ROWS_MAX, sizeof *gone);
    struct base_uuid id;
    int n = 0;
    if (gone == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for a repair");
    int rc = range_select(r->page.db, r->page.table, false, &r->range, &st, err);
    while (rc == 0 && n < REPAIR_ROWS_MAX && (rc = node_sql_step(st, err)) == 1) {
        rc = 0;
        if (!node_sql_col_uuid(st, 0, &id))
            continue;
        if (r->page.next[0] != '\0' && compare_ids(&id, &r->page.last) > 0)
            break; /* the page ends before the range does */
        if (bsearch(&id, r->ids, (size_t)r->count, sizeof id, compare_ids) == NULL)
            gone[n++] = id;
    }
    node_sql_done(st);
    for (int i = 0; rc == 0 && i < n; i++)
        rc = drop_surplus(r, &gone[i], err);
    free(gone);
    return rc;
}

int node_repair_apply(struct node_db *db, const char *from, const char *to, const char *body,
                      size_t len, int64_t *mended, struct base_err *err)
{
    struct repair r = {.count = 0};
    struct base_uuid id;
    int64_t rev = 0;
    r.ids = calloc(REPAIR_ROWS_MAX, sizeof *r.ids);
    if (r.ids == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for a repair");
    int rc = range_read(&r.range, from, to, err);
    if (rc == 0) {
        rc = page_open(&r.page, db, body, len, err);
        while (rc == 0 && (rc = page_row(&r.page, &id, &rev, err)) == 1)
            rc = repair_row(&r, &id, rev, err);
        if (rc == 0)
            rc = repair_surplus(&r, err);
        page_close(&r.page);
    }
    free(r.ids);
    if (rc == 0)
        *mended = r.mended;
    return rc;
}
