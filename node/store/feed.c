/*
 * A feed body: whole cuts into the replica, in one transaction with the cursor.
 *
 * No tombstones are kept. Within the feed a row's lower revision never comes after a higher one, so
 * nothing can bring back what a cut deleted but a cut that is applied again, and then its delete
 * comes again too; a page that is older than the cursor is refused (fill.c, verify.c).
 */
#include "node/store/internal.h"
#include "sync/net/json.h"

enum { FEED_WORD_BYTES_MAX = 64, FEED_INT_MAX_BITS = 53 };
static const int64_t int_max = (int64_t)1 << FEED_INT_MAX_BITS;

struct feed {
    struct node_db *db;
    struct node_feed_result r;
    int64_t cut;                 /* open, or 0 */
    int64_t last;                /* last closed, or the cursor */
    int64_t changes;             /* in the open cut */
    int64_t incarnation, begins; /* our present life, and the change it begins behind */
    int64_t settled;             /* newest seq of our own that came by */
    int64_t
        acked; /* newest seq with a receipt; 0 while changes are held, so that none is overlooked */
    bool in_txn, done;
    bool overlays;            /* some rows have changes lying over them */
    struct node_table *table; /* of the row before: mostly the same */
    struct dirty_rows dirty;
    struct base_arena arena;
};

static int bad(struct base_err *err, const char *what)
{
    return base_fail(err, BASE_EPROTO, "the feed %s", what);
}

static int check_timeline(struct feed *f, const char *timeline, struct base_err *err)
{
    char ours[64];
    int rc = meta_text(f->db, "_timeline", ours, sizeof ours, err);
    if (rc == 0 && ours[0] != '\0' && strcmp(ours, timeline) != 0)
        rc = bad(err, "is of another life of the centre");
    return rc;
}

static int feed_header(struct feed *f, const char *line, size_t len, struct base_err *err)
{
    cJSON *o = NULL;
    const char *format = NULL;
    const char *tenant = NULL;
    const char *timeline = NULL;
    int64_t after = 0;
    int rc = net_json_parse(&o, line, len, err);
    if (rc == 0)
        rc = net_json_str(o, "format", FEED_WORD_BYTES_MAX, &format, err);
    if (rc == 0 && strcmp(format, "everward-feed/1") != 0)
        rc = base_fail(err, BASE_EUNSUPPORTED, "the feed's format is not everward-feed/1");
    if (rc == 0)
        rc = net_json_str(o, "tenant", FEED_WORD_BYTES_MAX, &tenant, err);
    if (rc == 0 && strcmp(tenant, f->db->tenant) != 0)
        rc = base_fail(err, BASE_EDENIED, "the feed is another tenant's");
    if (rc == 0)
        rc = net_json_str(o, "timeline", FEED_WORD_BYTES_MAX, &timeline, err);
    if (rc == 0)
        rc = check_timeline(f, timeline, err);
    if (rc == 0)
        rc = net_json_i64(o, "after", 0, int_max, &after, err);
    if (rc == 0)
        rc = net_json_i64(o, "head", 0, int_max, &f->r.head, err);
    if (rc == 0 && net_json_has(o, "catalog"))
        rc = net_json_i64(o, "catalog", 0, int_max, &f->r.catalog, err);
    if (rc == 0 && after != f->last)
        rc = base_fail(err, BASE_EPROTO, "gap: the feed begins behind cut %lld, not %lld",
                       (long long)after, (long long)f->last);
    cJSON_Delete(o);
    return rc;
}

/* {"txn":…}: ours tells how far the centre's outcomes have come back. */
static int feed_txn(struct feed *f, const cJSON *o, struct base_err *err)
{
    const char *node = NULL;
    struct base_uuid id;
    int64_t inc = 0;
    int64_t seq = 0;
    if (f->cut == 0)
        return bad(err, "has a transaction outside a cut");
    f->in_txn = true;
    if (!net_json_has(o, "node"))
        return 0;
    int rc = net_json_str(o, "node", FEED_WORD_BYTES_MAX, &node, err);
    if (rc == 0)
        rc = net_json_i64(o, "inc", 0, int_max, &inc, err);
    if (rc == 0)
        rc = net_json_i64(o, "seq", 0, int_max, &seq, err);
    if (rc == 0 && !base_uuid_parse(&id, node, strlen(node)))
        rc = bad(err, "names a node by something else than a uuid");
    if (rc == 0 && base_uuid_equal(&id, &f->db->identity->node_id) && inc <= f->incarnation) {
        /* Of a former life of ours only what this log goes on from. */
        int64_t upto = inc < f->incarnation && seq > f->begins ? f->begins : seq;
        f->settled = upto > f->settled ? upto : f->settled;
    }
    return rc;
}

static int feed_cut(struct feed *f, const cJSON *o, struct base_err *err)
{
    int64_t cut = 0;
    int rc = net_json_i64(o, "cut", 1, int_max, &cut, err);
    if (rc != 0)
        return rc;
    if (f->cut != 0)
        return bad(err, "opens a cut within a cut");
    if (!core_cut_follows(f->last, cut))
        return base_fail(err, BASE_EPROTO, "gap: cut %lld follows cut %lld", (long long)cut,
                         (long long)f->last);
    f->cut = cut;
    f->changes = 0;
    return 0;
}

static int feed_end(struct feed *f, const cJSON *o, struct base_err *err)
{
    int64_t cut = 0;
    int64_t changes = 0;
    int rc = net_json_i64(o, "end", 1, int_max, &cut, err);
    if (rc == 0)
        rc = net_json_i64(o, "changes", 0, int_max, &changes, err);
    if (rc != 0)
        return rc;
    if (f->cut == 0 || cut != f->cut || changes != f->changes)
        return bad(err, "has a cut that is not whole");
    f->last = cut;
    f->cut = 0;
    f->in_txn = false;
    f->r.changes += changes;
    return 0;
}

static int feed_done(struct feed *f, const cJSON *o, struct base_err *err)
{
    int64_t done = 0;
    int rc = net_json_i64(o, "done", 0, int_max, &done, err);
    if (rc == 0)
        rc = net_json_bool(o, "more", &f->r.more, err);
    if (rc != 0)
        return rc;
    if (f->cut != 0 || done != f->last)
        return bad(err, "does not end where its cuts end");
    f->done = true;
    return 0;
}

static int feed_object(struct feed *f, const char *line, size_t len, struct base_err *err)
{
    cJSON *o = NULL;
    int rc = net_json_parse(&o, line, len, err);
    if (rc != 0)
        return rc;
    if (net_json_has(o, "txn"))
        rc = feed_txn(f, o, err);
    else if (net_json_has(o, "cut"))
        rc = feed_cut(f, o, err);
    else if (net_json_has(o, "end"))
        rc = feed_end(f, o, err);
    else if (net_json_has(o, "done"))
        rc = feed_done(f, o, err);
    else
        rc = bad(err, "has a line of no known kind");
    cJSON_Delete(o);
    return rc;
}

struct feed_row {
    struct node_table *table;
    char op;
    struct base_uuid id;
    int64_t rev;
    struct core_image image;
};

static bool skip(const char **s, const char *end, const char *what)
{
    size_t n = strlen(what);
    if ((size_t)(end - *s) < n || memcmp(*s, what, n) != 0)
        return false;
    *s += n;
    return true;
}

/* ["observation","i",[…]] */
static int read_row(struct feed *f, const char *line, size_t len, struct feed_row *row,
                    struct base_err *err)
{
    const char *s = line;
    const char *end = line + len;
    struct core_text name;
    struct core_text op;
    if (!skip(&s, end, "["))
        return bad(err, "has a line that is no row");
    int rc = core_json_string(&name, &s, end, &f->arena, err);
    if (rc == 0 && !skip(&s, end, ","))
        rc = bad(err, "has a row without an operation");
    if (rc == 0)
        rc = core_json_string(&op, &s, end, &f->arena, err);
    if (rc == 0 && (op.len != 1 || strchr("iud", op.s[0]) == NULL || !skip(&s, end, ",")))
        rc = bad(err, "has a row with an unknown operation");
    if (rc == 0)
        rc = core_image_read_array(&row->image, &s, end, &f->arena, err);
    if (rc == 0 && (!skip(&s, end, "]") || s != end))
        rc = bad(err, "has a row that goes on behind its end");
    if (rc != 0)
        return rc;
    if (f->table == NULL || strlen(f->table->name) != name.len ||
        memcmp(f->table->name, name.s, name.len) != 0)
        f->table = table_named(f->db, name.s, name.len);
    if (f->table == NULL)
        return base_fail(err, BASE_ESTALE, "the feed has a table that catalog %lld does not know",
                         (long long)f->db->catalog->c.version);
    row->table = f->table;
    row->op = op.s[0];
    return image_check(f->db, row->table, &row->image, &row->id, &row->rev, err);
}

/* The image that came by holds the outcome of every change that lies over the row: the row is the
 * centre's. What overlay_settle would do at the end, without the image's way through _base. */
static int row_settle(struct feed *f, const struct feed_row *row, bool *changed,
                      struct base_err *err)
{
    int64_t upto = core_settled_upto(f->acked, f->settled);
    *changed = false;
    if (upto == 0 || row->op == 'd')
        return 0;
    int rc = row_write(f->db, row->table, TABLE_SETTLE, &row->id, &row->image, row->rev, upto,
                       changed, err);
    if (rc != 0 || !*changed)
        return rc;
    row_moved(f->db, row->table, &row->id, row->op, false, &row->image);
    return base_delete(f->db, row->table, &row->id, err);
}

/* Under an overlay the centre's image moves; the visible row is laid out when the body is through.
 */
static int row_under(struct feed *f, const struct feed_row *row, const struct row_base *base,
                     struct base_err *err)
{
    bool changed = false;
    if (base->has_image && row->rev <= base->rev)
        return 0;
    int rc = row_settle(f, row, &changed, err);
    if (rc != 0 || changed)
        return rc;
    rc = base_update(f->db, row->table, &row->id, &row->image, row->rev, row->op == 'd', err);
    return rc == 0 ? dirty_add(f->db, &f->dirty, row->table, &row->id, err) : rc;
}

static int row_delete_older(struct node_db *db, const struct feed_row *row, bool *changed,
                            struct base_err *err)
{
    sqlite3_stmt *st = NULL;
    int rc = table_stmt(db, row->table, TABLE_DELETE_OLDER, &st, err);
    if (rc != 0)
        return rc;
    sqlite3_bind_blob(st, 1, row->id.bytes, BASE_UUID_BYTES, SQLITE_STATIC);
    sqlite3_bind_int64(st, 2, row->rev);
    if (sqlite3_step(st) != SQLITE_DONE)
        rc = store_fail(db, err, row->table->name);
    else
        *changed = sqlite3_changes(db->sql) > 0;
    sqlite3_reset(st);
    return rc;
}

static int feed_row(struct feed *f, const char *line, size_t len, struct base_err *err)
{
    struct feed_row row;
    struct row_base base = {.exists = false};
    bool changed = false;
    if (!f->in_txn)
        return bad(err, "has a row outside a transaction");
    f->changes++;
    base_arena_clear(&f->arena);
    int rc = read_row(f, line, len, &row, err);
    if (rc == 0 && f->overlays)
        rc = base_get(f->db, row.table, &row.id, &f->arena, &base, err);
    if (rc != 0)
        return rc;
    if (base.exists)
        return row_under(f, &row, &base, err);
    if (row.op == 'd')
        rc = row_delete_older(f->db, &row, &changed, err);
    else
        rc = row_write(f->db, row.table, TABLE_NEWER, &row.id, &row.image, row.rev, 0, &changed,
                       err);
    if (rc == 0 && changed)
        row_moved(f->db, row.table, &row.id, row.op, false, &row.image);
    return rc;
}

static int feed_lines(struct feed *f, const char *body, size_t len, struct base_err *err)
{
    struct line_reader r = {body, body + len, 0};
    const char *line = NULL;
    size_t n = 0;
    int rc = 0;
    while (rc == 0 && line_next(&r, &line, &n, &rc, err)) {
        if (f->done)
            return bad(err, "goes on behind its end");
        if (r.number == 1)
            rc = feed_header(f, line, n, err);
        else if (line[0] == '[')
            rc = feed_row(f, line, n, err);
        else
            rc = feed_object(f, line, n, err);
        if (rc != 0)
            return base_err_prefix(err, rc, "line %lld", (long long)r.number);
    }
    return rc != 0 || f->done ? rc : bad(err, "ends too early");
}

static int feed_finish(struct feed *f, struct base_err *err)
{
    int64_t settled = 0;
    int rc = meta_i64(f->db, "_settled", 0, &settled, err);
    if (rc == 0 && f->settled > settled)
        rc = meta_set_i64(f->db, "_settled", f->settled, err);
    if (rc == 0)
        rc = meta_set_i64(f->db, "_cursor", f->last, err);
    if (rc == 0)
        rc = meta_set_now(f->db, "_last_pull_at", err);
    if (rc == 0)
        rc = overlay_settle(f->db, err); /* first: what it lays out needs no second time */
    if (rc == 0)
        rc = dirty_flush(f->db, &f->dirty, err);
    f->r.cursor = f->last;
    return rc;
}

/* A held change lies over its row though it has a receipt and its outcome came by. */
static int read_acked(struct feed *f, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = meta_i64(f->db, "_acked", 0, &f->acked, err);
    if (rc == 0)
        rc = life_start(f->db, &f->incarnation, &f->begins, err);
    if (rc == 0)
        rc = stmt_get(f->db, &st, "SELECT EXISTS (SELECT 1 FROM _change WHERE held = 1)", err);
    if (rc != 0)
        return rc;
    rc = node_sql_step(st, err);
    if (rc == 1 && node_sql_col_i64(st, 0) != 0)
        f->acked = 0;
    node_sql_done(st);
    return rc < 0 ? rc : 0;
}

int node_feed_apply(struct node_db *db, const char *body, size_t len, struct node_feed_result *out,
                    struct base_err *err)
{
    struct feed f = {.db = db};
    int64_t filled = 0;
    int rc = meta_i64(db, "_filled", 0, &filled, err);
    if (rc == 0)
        rc = meta_i64(db, "_cursor", -1, &f.last, err);
    if (rc == 0 && filled == 0)
        rc = base_fail(err, BASE_EPROTO, "gap: the first fill is not complete");
    if (rc == 0)
        rc = base_any(db, &f.overlays, err);
    if (rc == 0)
        rc = read_acked(&f, err);
    if (rc != 0)
        return rc;
    base_arena_init(&f.arena, STORE_ROW_BYTES_MAX);
    rc = feed_lines(&f, body, len, err);
    if (rc == 0)
        rc = feed_finish(&f, err);
    base_arena_release(&f.arena);
    dirty_release(&f.dirty);
    if (rc == 0)
        *out = f.r;
    return rc;
}
