/*
 * Decided writes into few statements: all rows of one wave, table, kind and actor in one. Values go
 * as binary arrays (uuid[] or text[], cast in the statement); a column that is the same in all rows
 * goes as one scalar, so that a batch of vital signs does not carry its status two thousand times.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "sync/gateway/push.h"

enum { OID_TEXT = 25, OID_UUID = 2950, ARRAY_HEAD_BYTES = 20, SQL_BYTES_MAX = 256 * 1024 };

struct group {
    struct push *p;
    struct push_op **ops;
    int count;
    const struct gw_table *t;
    int columns[CORE_COLUMNS_MAX]; /* ordinals that some row sets */
    int column_count;
    struct core_text *cells; /* [column][row] */
    struct gw_param params[CORE_COLUMNS_MAX + 4];
    int param_count;
    struct base_buf list; /* of expressions or assignments */
    struct base_buf unnest, names;
    int arrays;
};

char *push_i64(struct base_arena *a, int64_t v)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%lld", (long long)v);
    return base_arena_copy(a, text, (size_t)n);
}

static char *put32(char *to, uint32_t v)
{
    uint32_t be = htonl(v);
    memcpy(to, &be, 4);
    return to + 4;
}

static char *put_head(char *to, int n, bool nulls, uint32_t oid)
{
    to = put32(to, 1);
    to = put32(to, nulls ? 1 : 0);
    to = put32(to, oid);
    to = put32(to, (uint32_t)n);
    return put32(to, 1);
}

bool push_uuid_array(struct base_arena *a, struct gw_param *out, int n,
                     const struct base_uuid *const ids[])
{
    size_t size = ARRAY_HEAD_BYTES + (size_t)n * (4 + BASE_UUID_BYTES);
    char *data = base_arena_get(a, size);
    if (data == NULL)
        return false;
    char *to = put_head(data, n, false, OID_UUID);
    for (int i = 0; i < n; i++) {
        to = put32(to, BASE_UUID_BYTES);
        memcpy(to, ids[i]->bytes, BASE_UUID_BYTES);
        to += BASE_UUID_BYTES;
    }
    *out = (struct gw_param){data, (int)size, true};
    return true;
}

static bool value_array(struct base_arena *a, struct gw_param *out, int n,
                        const struct core_text *v, bool uuid)
{
    size_t size = ARRAY_HEAD_BYTES;
    bool nulls = false;
    for (int i = 0; i < n; i++) {
        size += 4 + (v[i].s == NULL ? 0 : uuid ? BASE_UUID_BYTES : v[i].len);
        nulls |= v[i].s == NULL;
    }
    char *data = base_arena_get(a, size);
    if (data == NULL)
        return false;
    char *to = put_head(data, n, nulls, uuid ? OID_UUID : OID_TEXT);
    for (int i = 0; i < n; i++) {
        struct base_uuid u;
        if (v[i].s == NULL) {
            to = put32(to, UINT32_MAX);
        } else if (uuid && base_uuid_parse(&u, v[i].s, v[i].len)) {
            to = put32(to, BASE_UUID_BYTES);
            memcpy(to, u.bytes, BASE_UUID_BYTES);
            to += BASE_UUID_BYTES;
        } else {
            to = put32(to, (uint32_t)v[i].len);
            memcpy(to, v[i].s, v[i].len);
            to += v[i].len;
        }
    }
    *out = (struct gw_param){data, (int)size, true};
    return true;
}

static const struct gw_column *column_of(const struct gw_table *t, int ord)
{
    return &t->columns[ord - CORE_ORD_FIRST];
}

static bool is_uuid(const struct gw_table *t, int ord)
{
    return t->core->columns[ord - CORE_ORD_FIRST].type == CORE_TYPE_UUID;
}

/* Which columns, and each row's value of each. An update's row gives the value that stands for what
 * it does not change itself: its lock is ours, so that is the same value. */
static bool fill_cells(struct group *g)
{
    int at[CORE_FIELDS_MAX + 1] = {0};
    g->column_count = 0;
    for (int i = 0; i < g->count; i++)
        for (int k = 0; k < g->ops[i]->count; k++)
            at[g->ops[i]->ords[k]] = 1;
    for (int ord = CORE_ORD_FIRST; ord <= CORE_FIELDS_MAX; ord++)
        if (at[ord] != 0) {
            at[ord] = g->column_count;
            g->columns[g->column_count++] = ord;
        }
    size_t n = (size_t)g->count;
    g->cells = base_arena_get(&g->p->plan, ((size_t)g->column_count * n + 1) * sizeof *g->cells);
    if (g->cells == NULL)
        return false;
    for (size_t i = 0; i < n; i++) {
        const struct push_op *op = g->ops[i];
        for (int c = 0; op->kind == PUSH_UPDATE && c < g->column_count; c++)
            if (g->columns[c] <= op->field_count)
                g->cells[(size_t)c * n + i] = op->fields[g->columns[c] - 1];
        for (int k = 0; k < op->count; k++)
            g->cells[(size_t)at[op->ords[k]] * n + i] = op->values[k];
    }
    return true;
}

static bool same_everywhere(const struct core_text *v, int n)
{
    for (int i = 1; i < n; i++)
        if (!core_text_equal(v[0], v[i]))
            return false;
    return true;
}

static bool any_null(const struct core_text *v, int n)
{
    for (int i = 0; i < n; i++)
        if (v[i].s == NULL)
            return true;
    return false;
}

/* One more array: gives it the name x.cN. */
static void unnest_add(struct group *g, bool uuid)
{
    base_buf_printf(&g->unnest, "%s$%d::%s", g->arrays == 0 ? "" : ", ", g->param_count,
                    uuid ? "uuid[]" : "text[]");
    base_buf_printf(&g->names, "%sc%d", g->arrays == 0 ? "" : ", ", g->arrays);
    g->arrays++;
}

/* The expression of one column goes to g->list. */
static bool add_column(struct group *g, int c, bool insert)
{
    const struct gw_column *column = column_of(g->t, g->columns[c]);
    const struct core_text *v = &g->cells[(size_t)c * (size_t)g->count];
    bool uuid = is_uuid(g->t, g->columns[c]);
    bool fallback = insert && column->fallback != NULL && any_null(v, g->count);
    struct gw_param *param = &g->params[g->param_count++];
    if (fallback)
        base_buf_str(&g->list, "coalesce(");
    if (same_everywhere(v, g->count)) {
        *param = gw_text(v[0].s == NULL ? NULL : base_arena_copy(&g->p->plan, v[0].s, v[0].len));
        if (v[0].s != NULL && param->data == NULL)
            return false;
        base_buf_printf(&g->list, "$%d::text", g->param_count);
        if (!column->is_text)
            base_buf_printf(&g->list, "::%s", column->type);
    } else {
        if (!value_array(&g->p->plan, param, g->count, v, uuid))
            return false;
        base_buf_printf(&g->list, "x.c%d", g->arrays);
        if (!column->is_text && !uuid)
            base_buf_printf(&g->list, "::%s", column->type);
        unnest_add(g, uuid);
    }
    if (fallback)
        base_buf_printf(&g->list, ", %s)", column->fallback);
    return true;
}

static bool add_ids(struct group *g)
{
    const struct base_uuid **ids =
        base_arena_get(&g->p->plan, ((size_t)g->count + 1) * sizeof(struct base_uuid *));
    if (ids == NULL)
        return false;
    for (int i = 0; i < g->count; i++)
        ids[i] = &g->ops[i]->id;
    return push_uuid_array(&g->p->plan, &g->params[g->param_count++], g->count, ids);
}

/* As the registration has it; the row security policy compares it with the transaction's own.
 * Asking everward.tenant() once more in each statement costs a tenth of a millisecond. */
static void add_tenant(struct group *g)
{
    g->params[g->param_count++] = gw_text(g->p->who.tenant);
}

static bool write_insert(struct group *g, struct base_buf *sql)
{
    base_buf_printf(sql, "INSERT INTO %s (%s, %s", g->t->rel, g->t->tenant, g->t->key);
    base_buf_str(&g->list, "$1::uuid, x.c0");
    add_tenant(g);
    if (!add_ids(g))
        return false;
    unnest_add(g, true);
    for (int c = 0; c < g->column_count; c++) {
        base_buf_printf(sql, ", %s", column_of(g->t, g->columns[c])->quoted);
        base_buf_str(&g->list, ", ");
        if (!add_column(g, c, true))
            return false;
    }
    base_buf_printf(sql, ") SELECT %s FROM unnest(%s) AS x (%s)", g->list.data, g->unnest.data,
                    g->names.data);
    if (g->ops[0]->may_exist)
        base_buf_str(sql, " ON CONFLICT DO NOTHING");
    return true;
}

static bool write_update(struct group *g, struct base_buf *sql)
{
    base_buf_printf(sql, "UPDATE %s AS r SET ", g->t->rel);
    add_tenant(g);
    if (!add_ids(g))
        return false;
    unnest_add(g, true);
    for (int c = 0; c < g->column_count; c++) {
        base_buf_printf(&g->list, "%s%s = ", c == 0 ? "" : ", ",
                        column_of(g->t, g->columns[c])->quoted);
        if (!add_column(g, c, false))
            return false;
    }
    base_buf_printf(sql,
                    "%s FROM unnest(%s) AS x (%s)"
                    " WHERE r.%s = $1::uuid AND r.%s = x.c0",
                    g->list.data, g->unnest.data, g->names.data, g->t->tenant, g->t->key);
    return true;
}

static bool write_delete(struct group *g, struct base_buf *sql)
{
    base_buf_printf(sql, "DELETE FROM %s AS r WHERE r.%s = $1::uuid AND r.%s = ANY ($2::uuid[])",
                    g->t->rel, g->t->tenant, g->t->key);
    add_tenant(g);
    return add_ids(g);
}

static int write_group(struct group *g)
{
    struct base_buf sql;
    base_buf_init(&sql, SQL_BYTES_MAX);
    base_buf_clear(&g->list);
    base_buf_clear(&g->unnest);
    base_buf_clear(&g->names);
    g->param_count = 0;
    g->arrays = 0;
    g->t = g->ops[0]->table;
    bool ok = fill_cells(g);
    if (ok)
        ok = g->ops[0]->kind == PUSH_INSERT   ? write_insert(g, &sql)
             : g->ops[0]->kind == PUSH_UPDATE ? write_update(g, &sql)
                                              : write_delete(g, &sql);
    ok = ok && base_buf_check(&sql) == 0 && base_buf_check(&g->list) == 0;
    const char *text = ok ? base_arena_copy(&g->p->plan, sql.data, sql.len) : NULL;
    base_buf_release(&sql);
    struct push_statement *s =
        text == NULL
            ? NULL
            : push_statement_add(g->p, text, g->param_count, g->ops[0]->may_exist ? -1 : g->count);
    if (s == NULL)
        return BASE_ENOMEM;
    memcpy(s->params, g->params, (size_t)g->param_count * sizeof *s->params);
    return 0;
}

static const struct base_uuid *actor_of(const struct push *p, const struct push_op *op)
{
    return &p->changes[op->change].c.actor;
}

/* Waves one after the other; in each the tables in the catalog's order, so that what is referred to
 * comes first, and all gateways lock in one order. */
static int order_of(const struct push *p, const struct push_op *a, const struct push_op *b)
{
    if (a->wave != b->wave)
        return a->wave < b->wave ? -1 : 1;
    if (a->table != b->table)
        return a->table < b->table ? -1 : 1;
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    return memcmp(actor_of(p, a)->bytes, actor_of(p, b)->bytes, BASE_UUID_BYTES);
}

static int compare_ops(const void *pa, const void *pb, void *user)
{
    const struct push_op *a = *(struct push_op *const *)pa;
    const struct push_op *b = *(struct push_op *const *)pb;
    int order = order_of(user, a, b);
    if (order != 0)
        return order;
    return memcmp(a->id.bytes, b->id.bytes, BASE_UUID_BYTES);
}

static int set_actor(struct push *p, const struct base_uuid *actor)
{
    struct push_statement *s =
        push_statement_add(p, "SELECT set_config('everward.actor', $1, true)", 1, -1);
    char text[BASE_UUID_CHARS + 1] = "";
    if (s == NULL)
        return BASE_ENOMEM;
    if (!base_uuid_is_zero(actor))
        base_uuid_format(actor, text);
    s->params[0] = gw_text(base_arena_copy(&p->plan, text, strlen(text)));
    return s->params[0].data == NULL ? BASE_ENOMEM : 0;
}

int push_sql(struct push *p)
{
    struct push_op **sorted =
        base_arena_get(&p->plan, ((size_t)p->op_count + 1) * sizeof(struct push_op *));
    struct group *g = base_arena_get(&p->plan, sizeof *g);
    const struct base_uuid none = {{0}};
    const struct base_uuid *actor = &none;
    if (sorted == NULL || g == NULL)
        return BASE_ENOMEM;
    for (int i = 0; i < p->op_count; i++)
        sorted[i] = &p->ops[i];
    qsort_r(sorted, (size_t)p->op_count, sizeof(struct push_op *), compare_ops, p);
    g->p = p;
    base_buf_init(&g->list, SQL_BYTES_MAX);
    base_buf_init(&g->unnest, SQL_BYTES_MAX);
    base_buf_init(&g->names, SQL_BYTES_MAX);
    int rc = 0;
    for (int i = 0; rc == 0 && i < p->op_count; i += g->count) {
        g->ops = sorted + i;
        g->count = 1;
        while (i + g->count < p->op_count && order_of(p, sorted[i], sorted[i + g->count]) == 0)
            g->count++;
        /* A fresh transaction has no actor; in a range the one before may have left its own. */
        if (p->careful ? i == 0 || !base_uuid_equal(actor, actor_of(p, sorted[i]))
                       : !base_uuid_equal(actor, actor_of(p, sorted[i]))) {
            actor = actor_of(p, sorted[i]);
            rc = set_actor(p, actor);
        }
        if (rc == 0)
            rc = write_group(g);
    }
    base_buf_release(&g->list);
    base_buf_release(&g->unnest);
    base_buf_release(&g->names);
    return rc;
}
