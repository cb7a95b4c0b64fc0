#include "node/store/query_sql.h"

#include "sync/seal/seal.h"

enum { CURSOR_BYTES_MAX = 64 * 1024 };

static const struct core_column *order_column(const struct query_sql *s, int i)
{
    const struct core_column *c = s->q->orders[i].column;
    return c == NULL ? NULL : &s->table->core->columns[c->ord - CORE_ORD_FIRST];
}

/* A column of another instance of the catalog stands for ours of the same ordinal. */
static int check_column(struct query_sql *s, const struct core_column *c, struct base_err *err)
{
    if (c == NULL)
        return 0;
    int i = c->ord - CORE_ORD_FIRST;
    if (i < 0 || i >= s->table->core->column_count ||
        strcmp(s->table->core->columns[i].name, c->name) != 0)
        return base_fail(err, BASE_EINVALID, "%s has no column %s", s->table->name, c->name);
    return 0;
}

static void add_term(struct query_sql *s, const struct core_column *c, bool key, bool descending)
{
    s->terms[s->term_count++] = (struct query_term){c, key, descending, c != NULL && c->nullable};
}

/* Moments of one instant go on by their text; decimals of one value are equal. */
static bool has_text_term(const struct core_column *c)
{
    return c == NULL || c->type != CORE_TYPE_DECIMAL;
}

static void make_terms(struct query_sql *s)
{
    for (int i = 0; i < s->q->order_count; i++) {
        const struct core_column *c = order_column(s, i);
        bool descending = s->q->orders[i].descending;
        if (c != NULL && column_has_key(c))
            add_term(s, c, true, descending);
        if (has_text_term(c))
            add_term(s, c, false, descending);
        if (c == NULL)
            return; /* nothing is equal behind id */
    }
    add_term(s, NULL, false, false);
}

static struct query_value id_value(struct query_sql *s, struct core_text v)
{
    struct base_uuid *id = base_arena_get(s->arena, sizeof *id);
    struct query_value out = {.kind = QUERY_BLOB};
    if (id == NULL) {
        s->rc = BASE_ENOMEM;
        return out;
    }
    if (!base_uuid_parse(id, v.s, v.len))
        s->rc = BASE_EINVALID;
    out.text = (struct core_text){(const char *)id->bytes, BASE_UUID_BYTES};
    return out;
}

static struct query_value key_value(struct query_sql *s, const struct core_column *c,
                                    struct core_text v)
{
    struct query_value out = {.kind = QUERY_TEXT};
    if (c->type != CORE_TYPE_DECIMAL) {
        out.kind = QUERY_INT;
        if (!moment_ticks(v, &out.i))
            s->rc = BASE_EINVALID;
        return out;
    }
    struct base_buf b;
    base_buf_init(&b, CURSOR_BYTES_MAX);
    decimal_key(&b, v);
    const char *copy = base_buf_check(&b) == 0 ? base_arena_copy(s->arena, b.data, b.len) : NULL;
    if (copy == NULL)
        s->rc = BASE_ENOMEM;
    out.text = (struct core_text){copy, b.len};
    base_buf_release(&b);
    return out;
}

/* A text of the outside world as the file holds it. key: as its column's key. */
static struct query_value value_of(struct query_sql *s, const struct core_column *c, bool key,
                                   struct core_text v)
{
    struct query_value out = {.kind = QUERY_NULL};
    if (v.s == NULL)
        return out;
    if (c == NULL || c->type == CORE_TYPE_UUID)
        return id_value(s, v);
    if (key && column_has_key(c))
        return key_value(s, c, v);
    out.kind = QUERY_TEXT;
    out.text = v;
    if (c->type == CORE_TYPE_BOOL) {
        out.kind = QUERY_INT;
        out.i = v.len == 1 && v.s[0] == 't';
    } else if (c->type == CORE_TYPE_INT) {
        char digits[24];
        out.kind = QUERY_INT;
        if (v.len >= sizeof digits)
            s->rc = BASE_EINVALID;
        else
            snprintf(digits, sizeof digits, "%.*s", (int)v.len, v.s);
        out.i = s->rc == 0 ? strtoll(digits, NULL, 10) : 0;
    }
    return out;
}

static void add_value(struct query_sql *s, struct query_value v)
{
    BASE_ASSERT(s->value_count < s->value_max);
    s->values[s->value_count++] = v;
    base_buf_char(&s->sql, '?');
}

static void write_term(struct query_sql *s, const struct query_term *t)
{
    if (t->column == NULL)
        base_buf_str(&s->sql, "id");
    else if (t->key)
        sql_key(&s->sql, t->column);
    else
        sql_name(&s->sql, t->column->name);
}

/* What a cursor belongs to: another query's is refused. */
static void write_signature(const struct query_sql *s, struct base_buf *b)
{
    base_buf_str(b, s->table->name);
    for (int i = 0; i < s->q->order_count; i++) {
        const struct core_column *c = order_column(s, i);
        base_buf_str(b, s->q->orders[i].descending ? " -" : " +");
        base_buf_str(b, c == NULL ? "id" : c->name);
    }
}

int query_cursor(struct query_sql *s, const struct node_row *row, const char **out,
                 struct base_err *err)
{
    struct core_image im = {.count = 0};
    struct base_buf name;
    struct base_buf json;
    struct base_buf text;
    char id[BASE_UUID_CHARS + 1];
    base_buf_init(&name, CURSOR_BYTES_MAX);
    base_buf_init(&json, 64 * CURSOR_BYTES_MAX);
    base_buf_init(&text, 128 * CURSOR_BYTES_MAX);
    write_signature(s, &name);
    base_uuid_format(&row->id, id);
    core_image_set(&im, 1, (struct core_text){name.data, name.len});
    core_image_set(&im, 2, core_text_of(id));
    for (int i = 0; i < s->q->order_count; i++)
        if (order_column(s, i) != NULL)
            core_image_set(&im, 3 + i, row->values[order_column(s, i)->ord - CORE_ORD_FIRST]);
    core_image_write_array(&json, &im);
    if (base_buf_check(&name) == 0 && base_buf_check(&json) == 0)
        seal_base64url(&text, json.data, json.len);
    int rc = base_buf_check(&name) != 0   ? name.rc
             : base_buf_check(&json) != 0 ? json.rc
                                          : base_buf_check(&text);
    const char *copy = rc == 0 ? base_arena_copy(s->arena, text.data, text.len) : NULL;
    if (rc == 0 && copy == NULL)
        rc = BASE_ENOMEM;
    base_buf_release(&name);
    base_buf_release(&json);
    base_buf_release(&text);
    if (rc != 0)
        return base_fail(err, rc, "a cursor");
    *out = copy;
    return 0;
}

static int bad_cursor(struct base_err *err)
{
    return base_fail(err, BASE_EINVALID, "the cursor is not one of this query");
}

/* The order's values, by term. Each must be a value its column may hold. */
static int take_cursor(struct query_sql *s, const struct core_image *im, struct base_err *err)
{
    int n = 0;
    for (int i = 0; i < s->q->order_count; i++) {
        const struct core_column *c = order_column(s, i);
        struct core_text v = core_image_field(im, 3 + i);
        if (c == NULL)
            break;
        if (v.s != NULL && core_value_check(s->table->core, c, v, NULL) != 0)
            return bad_cursor(err);
        if (v.s == NULL && !c->nullable)
            return bad_cursor(err);
        if (column_has_key(c))
            s->after[n++] = value_of(s, c, true, v);
        if (has_text_term(c))
            s->after[n++] = value_of(s, c, false, v);
    }
    if (n < s->term_count)
        s->after[n] = value_of(s, NULL, false, core_image_field(im, 2));
    s->has_after = true;
    return s->rc == 0 ? 0 : bad_cursor(err);
}

static int read_cursor(struct query_sql *s, struct base_err *err)
{
    struct base_buf name;
    struct core_image im;
    size_t max = strlen(s->q->after);
    size_t len = 0;
    char *json = max > 64 * CURSOR_BYTES_MAX ? NULL : base_arena_get(s->arena, max + 1);
    if (json == NULL || !seal_base64url_decode(json, max, &len, s->q->after, max))
        return bad_cursor(err);
    const char *p = json;
    if (core_image_read_array(&im, &p, json + len, s->arena, NULL) != 0 || p != json + len ||
        im.count < 2 || im.count > 2 + s->q->order_count || im.fields[1].s == NULL)
        return bad_cursor(err);
    base_buf_init(&name, CURSOR_BYTES_MAX);
    write_signature(s, &name);
    bool ours = base_buf_check(&name) == 0 &&
                core_text_equal(im.fields[0], (struct core_text){name.data, name.len});
    base_buf_release(&name);
    return ours ? take_cursor(s, &im, err) : bad_cursor(err);
}

int query_sql_init(struct query_sql *s, struct node_db *db, const struct node_query *q,
                   struct base_arena *arena, struct base_err *err)
{
    *s = (struct query_sql){.q = q, .arena = arena, .table = table_of(db, q->table)};
    base_buf_init(&s->sql, QUERY_SQL_BYTES_MAX);
    if (s->table == NULL)
        return base_fail(err, BASE_ENOTFOUND, "no such table: %s", q->table->name);
    if (q->limit < 1 || q->limit > NODE_QUERY_ROWS_MAX || q->filter_count > NODE_FILTERS_MAX ||
        q->order_count > NODE_ORDERS_MAX)
        return base_fail(err, BASE_EINVALID, "a query out of its limits");
    int rc = 0;
    for (int i = 0; rc == 0 && i < q->filter_count; i++)
        rc = check_column(s, q->filters[i].column, err);
    for (int i = 0; rc == 0 && i < q->order_count; i++)
        rc = check_column(s, q->orders[i].column, err);
    if (rc != 0)
        return rc;
    make_terms(s);
    s->value_max = QUERY_TERMS_MAX * QUERY_TERMS_MAX + 4;
    for (int i = 0; i < q->filter_count; i++)
        s->value_max += q->filters[i].value_count + 1;
    s->values = base_arena_get(arena, (size_t)s->value_max * sizeof *s->values);
    if (s->values == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for a query");
    return q->after == NULL ? 0 : read_cursor(s, err);
}

void query_sql_release(struct query_sql *s)
{
    base_buf_release(&s->sql);
}

static void write_filter(struct query_sql *s, const struct node_filter *f)
{
    static const char *const ops[] = {" = ", " <> ", " > ", " >= ", " < ", " <= "};
    const struct core_column *c =
        f->column == NULL ? NULL : &s->table->core->columns[f->column->ord - CORE_ORD_FIRST];
    struct query_term t = {.column = c, .key = c != NULL && column_has_key(c)};
    struct base_buf *b = &s->sql;
    base_buf_str(b, " AND ");
    if (f->cmp == NODE_CMP_PREFIX) {
        struct base_buf folded;
        base_buf_init(&folded, CURSOR_BYTES_MAX);
        text_fold(&folded, f->values[0]);
        const char *copy =
            base_arena_copy(s->arena, folded.data == NULL ? "" : folded.data, folded.len);
        s->rc = folded.rc != 0 ? folded.rc : copy == NULL ? BASE_ENOMEM : s->rc;
        t.key = false;
        base_buf_str(b, "fold_prefix(");
        write_term(s, &t);
        base_buf_str(b, ", ");
        add_value(s, (struct query_value){.kind = QUERY_TEXT, .text = {copy, folded.len}});
        base_buf_char(b, ')');
        base_buf_release(&folded);
        return;
    }
    t.key = t.key && f->cmp != NODE_CMP_IS_NULL && f->cmp != NODE_CMP_NOT_NULL;
    write_term(s, &t);
    if (f->cmp == NODE_CMP_IS_NULL || f->cmp == NODE_CMP_NOT_NULL) {
        base_buf_str(b, f->cmp == NODE_CMP_IS_NULL ? " IS NULL" : " IS NOT NULL");
    } else if (f->cmp == NODE_CMP_IN) {
        base_buf_str(b, " IN (");
        for (int i = 0; i < f->value_count; i++) {
            base_buf_str(b, i == 0 ? "" : ", ");
            add_value(s, value_of(s, c, true, f->values[i]));
        }
        base_buf_char(b, ')');
    } else {
        base_buf_str(b, ops[f->cmp]);
        add_value(s, value_of(s, c, true, f->values[0]));
    }
}

/* Rows behind the cursor, from term i on: greater in it, or null (last), or equal and behind in the
 * next. */
static void write_after(struct query_sql *s, int i, enum query_part part)
{
    const struct query_term *t = &s->terms[i];
    const struct query_value *v = &s->after[i];
    bool last = i == s->term_count - 1;
    struct base_buf *b = &s->sql;
    base_buf_char(b, '(');
    if (v->kind == QUERY_NULL) {
        write_term(s, t);
        base_buf_str(b, " IS NULL");
    } else {
        write_term(s, t);
        base_buf_str(b, t->descending ? " < " : " > ");
        add_value(s, *v);
        if (t->nullable && !(i == 0 && part == QUERY_VALUES)) {
            base_buf_str(b, " OR ");
            write_term(s, t);
            base_buf_str(b, " IS NULL");
        }
        if (!last) {
            base_buf_str(b, " OR ");
            write_term(s, t);
            base_buf_str(b, " = ");
            add_value(s, *v);
        }
    }
    if (!last) {
        base_buf_str(b, " AND ");
        write_after(s, i + 1, part);
    }
    base_buf_char(b, ')');
}

static void write_order(struct query_sql *s, enum query_part part)
{
    for (int i = 0; i < s->term_count; i++) {
        base_buf_str(&s->sql, i == 0 ? " ORDER BY " : ", ");
        write_term(s, &s->terms[i]);
        if (s->terms[i].descending)
            base_buf_str(&s->sql, " DESC");
        else if (s->terms[i].nullable && !(i == 0 && part == QUERY_VALUES))
            base_buf_str(&s->sql, " NULLS LAST");
    }
}

enum query_part query_first_part(const struct query_sql *s)
{
    if (!s->terms[0].nullable)
        return QUERY_ALL;
    return s->has_after && s->after[0].kind == QUERY_NULL ? QUERY_NULLS : QUERY_VALUES;
}

static void write_part(struct query_sql *s, enum query_part part)
{
    struct base_buf *b = &s->sql;
    bool first_has_value = s->has_after && s->after[0].kind != QUERY_NULL;
    if (part != QUERY_ALL) {
        base_buf_str(b, " AND ");
        write_term(s, &s->terms[0]);
        base_buf_str(b, part == QUERY_VALUES ? " IS NOT NULL" : " IS NULL");
    }
    if (!s->has_after || (part == QUERY_NULLS && first_has_value))
        return;
    if (first_has_value) { /* what an index can begin at */
        base_buf_str(b, " AND ");
        write_term(s, &s->terms[0]);
        base_buf_str(b, s->terms[0].descending ? " <= " : " >= ");
        add_value(s, s->after[0]);
    }
    base_buf_str(b, " AND ");
    write_after(s, 0, part);
}

int query_sql_write(struct query_sql *s, enum query_part part, struct base_err *err)
{
    struct base_buf *b = &s->sql;
    base_buf_clear(b);
    s->value_count = 0;
    base_buf_str(b, "SELECT id, rev, _pending");
    sql_columns(b, s->table->core, ", ");
    base_buf_str(b, " FROM ");
    sql_name(b, s->table->name);
    base_buf_str(b, " WHERE 1");
    for (int i = 0; i < s->q->filter_count; i++)
        write_filter(s, &s->q->filters[i]);
    write_part(s, part);
    write_order(s, part);
    base_buf_str(b, " LIMIT ?");
    if (s->rc == 0)
        s->rc = base_buf_check(b);
    return s->rc == 0 ? 0 : base_fail(err, s->rc, "%s: a query", s->table->name);
}

int query_sql_bind(struct query_sql *s, struct node_stmt *st, int64_t limit)
{
    for (int i = 0; i < s->value_count; i++) {
        const struct query_value *v = &s->values[i];
        if (v->kind == QUERY_INT)
            node_sql_i64(st, i + 1, v->i);
        else if (v->kind == QUERY_TEXT)
            node_sql_text_len(st, i + 1, v->text.s, v->text.len);
        else if (v->kind == QUERY_BLOB)
            node_sql_blob(st, i + 1, v->text.s, v->text.len);
    }
    node_sql_i64(st, s->value_count + 1, limit);
    return 0;
}
