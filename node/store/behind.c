/*
 * What stands behind a quarantined change: later changes of its row, and, if it made the row, changes whose values name it.
 * They are pushed like any other, and the centre is told to hold them with it (docs/PROTOCOL.md, "held"): what goes in one
 * by one could put half of what belongs together in place, or a child before its parent.
 *
 * Usual cost: one look into an empty index. Only what the centre has judged counts: held changes from `first` on are on their
 * way again and are judged anew.
 */
#include "node/store/internal.h"

struct behind_row {
    struct base_uuid id;
    const struct node_table *table; /* NULL: the catalog has lost it */
    int64_t seq;                    /* of the oldest one held */
    bool made;                      /* by a change that is held: who names it waits */
};

struct behind {
    struct node_db *db;
    struct behind_row *rows; /* by id */
    int count, cap;
    struct base_arena arena; /* of the line at hand */
};

static int find(const struct behind *b, const struct base_uuid *id)
{
    int low = 0;
    int high = b->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (memcmp(b->rows[middle].id.bytes, id->bytes, BASE_UUID_BYTES) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool at(const struct behind *b, int i, const struct base_uuid *id)
{
    return i < b->count && base_uuid_equal(&b->rows[i].id, id);
}

/* Called in order of seq: the first of a row stays. there: the centre has the row. */
static int add(struct behind *b, const struct core_change *c, int64_t seq, bool there,
               struct base_err *err)
{
    const struct node_table *t = table_named(b->db, c->table.s, c->table.len);
    int i = find(b, &c->id);
    for (int k = i; at(b, k, &c->id); k++)
        if (b->rows[k].table == t)
            return 0;
    if (b->count == NODE_BEHIND_ROWS_MAX)
        return 0; /* the oldest ones count */
    if (b->count == b->cap) {
        int cap = b->cap == 0 ? 64 : b->cap * 2;
        struct behind_row *more = realloc(b->rows, (size_t)cap * sizeof *more);
        if (more == NULL)
            return base_fail(err, BASE_ENOMEM, "out of memory for rows in quarantine");
        b->rows = more;
        b->cap = cap;
    }
    memmove(&b->rows[i + 1], &b->rows[i], (size_t)(b->count - i) * sizeof *b->rows);
    b->rows[i] = (struct behind_row){
        .id = c->id, .table = t, .seq = seq, .made = c->op == CORE_OP_INSERT && !there};
    b->count++;
    return 0;
}

static int read_line(struct behind *b, const char *line, size_t len, struct core_change *c,
                     struct base_err *err)
{
    base_arena_clear(&b->arena);
    line = base_arena_copy(&b->arena, line, len);
    *c = (struct core_change){0};
    return line == NULL ? base_fail(err, BASE_ENOMEM, "out of memory for a change")
                        : core_change_read(c, line, len, &b->arena, err);
}

static int load(struct behind *b, int64_t first, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc =
        stmt_get(b->db, &st,
                 "SELECT seq, line, EXISTS (SELECT 1 FROM _base b WHERE b.tbl = _change.tbl AND "
                 "b.row_id = _change.row_id AND b.image IS NOT NULL) FROM _change "
                 "WHERE held = 1 AND seq < ? ORDER BY seq",
                 err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, first);
    while ((rc = node_sql_step(st, err)) == 1) {
        struct core_change c;
        size_t len = 0;
        const char *line = node_sql_col_text(st, 1, &len);
        rc = read_line(b, line, len, &c, err);
        if (rc == 0)
            rc = add(b, &c, node_sql_col_i64(st, 0), node_sql_col_i64(st, 2) != 0, err);
        if (rc != 0)
            break;
    }
    node_sql_done(st);
    return rc;
}

/* The seq that this change waits for; 0: none. */
static int64_t stands_behind(const struct behind *b, const struct core_change *c)
{
    const struct node_table *t = table_named(b->db, c->table.s, c->table.len);
    for (int i = find(b, &c->id); at(b, i, &c->id); i++)
        if (b->rows[i].table == t)
            return b->rows[i].seq;
    for (int k = 0; k < c->value_count; k++) {
        const struct core_text *v = &c->values[k].value;
        struct base_uuid id;
        if (v->s == NULL || v->len != BASE_UUID_CHARS || !base_uuid_parse(&id, v->s, v->len))
            continue;
        for (int i = find(b, &id); at(b, i, &id); i++)
            if (b->rows[i].made)
                return b->rows[i].seq;
    }
    return 0;
}

static int list(struct behind *b, const struct base_buf *lines, struct base_buf *out,
                struct base_err *err)
{
    const char *s = lines->data;
    const char *end = s + lines->len;
    while (s < end) {
        const char *eol = memchr(s, '\n', (size_t)(end - s));
        struct core_change c;
        int rc = read_line(b, s, (size_t)(eol - s), &c, err);
        if (rc != 0)
            return rc;
        int64_t behind = stands_behind(b, &c);
        if (behind > 0) {
            base_buf_printf(out, "%s%lld,%lld", out->len == 0 ? "" : ",", (long long)c.seq,
                            (long long)behind);
            if ((rc = add(b, &c, c.seq, false, err)) != 0)
                return rc;
        }
        s = eol + 1;
    }
    return base_buf_check(out) == 0
               ? 0
               : base_fail(err, base_buf_check(out), "the list of what is held");
}

static int any_held(struct node_db *db, bool *any, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st, "SELECT EXISTS (SELECT 1 FROM _change WHERE held = 1)", err);
    if (rc != 0)
        return rc;
    rc = node_sql_step(st, err);
    *any = rc == 1 && node_sql_col_i64(st, 0) != 0;
    node_sql_done(st);
    return rc < 0 ? rc : 0;
}

int node_outbox_behind(struct node_db *db, int64_t first, const struct base_buf *lines,
                       struct base_buf *out, struct base_err *err)
{
    struct behind b = {.db = db};
    bool any = false;
    int rc = any_held(db, &any, err);
    if (rc != 0 || !any || lines->len == 0)
        return rc;
    base_arena_init(&b.arena, STORE_ROW_BYTES_MAX);
    rc = load(&b, first, err);
    if (rc == 0 && b.count > 0)
        rc = list(&b, lines, out, err);
    base_arena_release(&b.arena);
    free(b.rows);
    return rc;
}
