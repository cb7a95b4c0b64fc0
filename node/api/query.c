/*
 * Query parameters as filters, order and page. What is not on the list of columns and operators is
 * refused by its name.
 */
#include <stdlib.h>
#include <string.h>

#include "node/api/internal.h"

enum { QUERY_AFTER_BYTES_MAX = 4096 };

static const struct core_column id_column = {.name = "id", .type = CORE_TYPE_UUID};

const struct core_table *api_table(struct api_call *c, struct node_db *db, const char *name)
{
    const struct core_catalog *catalog = node_db_catalog(db);
    const struct core_table *t =
        catalog == NULL ? NULL : core_catalog_table(catalog, name, strlen(name));
    if (t != NULL && !t->push_only)
        return t;
    api_refuse(c, 404, "unknown_table", "GET /openapi.json lists the tables.",
               "there is no such table");
    return NULL;
}

static const char *type_hint(enum core_type type)
{
    switch (type) {
    case CORE_TYPE_UUID:
        return "a uuid of 36 characters";
    case CORE_TYPE_INT:
        return "a whole number";
    case CORE_TYPE_DECIMAL:
        return "a decimal number without exponent";
    case CORE_TYPE_BOOL:
        return "true or false";
    case CORE_TYPE_MOMENT:
    case CORE_TYPE_INSTANT:
        return "a FHIR dateTime such as 2026-11-23T08:00:00+01:00 (write + as %2B in a URL)";
    case CORE_TYPE_DATE:
        return "a date such as 2026-11-23";
    default:
        return "text";
    }
}

static int bad(struct api_call *c, const char *name, const char *why)
{
    return api_refuse_column(c, 400, "bad_filter", name, "parameter \"%.63s\": %s", name, why);
}

/* Checks a value and puts it into the filter. prefix: no check of the form. */
static int add_value(struct api_call *c, const struct core_table *t, const char *name,
                     struct node_filter *f, char *s, size_t len)
{
    const struct core_column *col = f->column != NULL ? f->column : &id_column;
    struct core_text v = {s, len};
    struct core_column any = *col;
    char why[160];
    any.allowed = NULL; /* asking for what cannot be there finds nothing; that is an answer */
    if (col->type == CORE_TYPE_BOOL) {
        if (!(len == 4 && memcmp(s, "true", 4) == 0) && !(len == 5 && memcmp(s, "false", 5) == 0))
            return bad(c, name, "expected true or false");
        v = core_text_of(s[0] == 't' ? "t" : "f");
    } else if (col->type == CORE_TYPE_UUID) {
        for (size_t i = 0; i < len; i++)
            if (s[i] >= 'A' && s[i] <= 'F')
                s[i] = (char)(s[i] + 32);
    }
    if (f->value_count == NODE_FILTER_VALUES_MAX)
        return bad(c, name, "too many values");
    if (f->cmp != NODE_CMP_PREFIX && core_value_check(t, &any, v, NULL) != 0) {
        snprintf(why, sizeof why, "expected %s", type_hint(col->type));
        return bad(c, name, why);
    }
    f->values[f->value_count++] = v;
    return 0;
}

/* (a,b,"c,d"): quotes keep commas, a backslash keeps the next character. */
static int parse_list(struct api_call *c, const struct core_table *t, const char *name,
                      struct node_filter *f, char *s)
{
    size_t n = strlen(s);
    if (n < 2 || s[0] != '(' || s[n - 1] != ')')
        return bad(c, name, "expected in.(a,b,…)");
    char *end = s + n - 1;
    for (char *p = s + 1;; p++) {
        char *out = p;
        char *start = p;
        bool quoted = *p == '"';
        if (quoted)
            p++;
        while (p < end && *p != (quoted ? '"' : ',')) {
            if (quoted && *p == '\\' && p + 1 < end)
                p++;
            *out++ = *p++;
        }
        if (quoted && (p++ == end || (p < end && *p != ',')))
            return bad(c, name, "a quote in the list is not closed");
        int rc = add_value(c, t, name, f, start, (size_t)(out - start));
        if (rc != 0 || p >= end)
            return rc;
    }
}

static int parse_prefix(struct api_call *c, const struct core_table *t, const char *name,
                        struct node_filter *f, char *s)
{
    size_t n = strlen(s);
    if (f->column == NULL || f->column->type != CORE_TYPE_TEXT)
        return bad(c, name, "like is for text columns");
    if (n < 2 || strchr(s, '*') != s + n - 1)
        return bad(c, name, "expected like.beginning*, with the one * at its end");
    f->cmp = NODE_CMP_PREFIX;
    return add_value(c, t, name, f, s, n - 1);
}

static int parse_filter(struct api_call *c, const struct core_table *t,
                        const struct core_column *col, const char *name, const char *value,
                        struct node_filter *f)
{
    static const struct {
        const char *word;
        enum node_cmp cmp;
    } words[] = {{"eq.", NODE_CMP_EQ},   {"neq.", NODE_CMP_NEQ}, {"gt.", NODE_CMP_GT},
                 {"gte.", NODE_CMP_GTE}, {"lt.", NODE_CMP_LT},   {"lte.", NODE_CMP_LTE},
                 {"in.", NODE_CMP_IN}};
    f->column = col;
    char *s = base_arena_copy(&c->arena, value, strlen(value));
    if (s == NULL) {
        api_refuse_rc(c, BASE_ENOMEM, NULL);
        return BASE_ENOMEM;
    }
    if (strcmp(s, "is.null") == 0 || strcmp(s, "not.is.null") == 0) {
        f->cmp = s[0] == 'i' ? NODE_CMP_IS_NULL : NODE_CMP_NOT_NULL;
        return 0;
    }
    if (col != NULL && (col->type == CORE_TYPE_JSON || col->type == CORE_TYPE_BYTES))
        return bad(c, name, "this column can only be asked for is.null and not.is.null");
    if (strncmp(s, "like.", 5) == 0)
        return parse_prefix(c, t, name, f, s + 5);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t n = strlen(words[i].word);
        if (strncmp(s, words[i].word, n) != 0)
            continue;
        f->cmp = words[i].cmp;
        if (f->cmp == NODE_CMP_IN)
            return parse_list(c, t, name, f, s + n);
        if (col != NULL && col->type == CORE_TYPE_BOOL && f->cmp != NODE_CMP_EQ &&
            f->cmp != NODE_CMP_NEQ)
            return bad(c, name, "true and false have no order");
        return add_value(c, t, name, f, s + n, strlen(s + n));
    }
    return bad(c, name,
               "expected eq. neq. gt. gte. lt. lte. in.(…) like.beginning* is.null not.is.null");
}

/* Finds a visible column or id (*out NULL). */
static int find_column(struct api_call *c, const struct core_table *t, const char *name, size_t len,
                       const struct core_column **out)
{
    char text[CORE_NAME_BYTES_MAX + 1];
    *out = NULL;
    if (len == 2 && memcmp(name, "id", 2) == 0)
        return 0;
    *out = core_table_column(t, name, len);
    if (*out != NULL && (*out)->api != CORE_API_HIDDEN)
        return 0;
    snprintf(text, sizeof text, "%.*s", len < sizeof text ? (int)len : (int)sizeof text - 1, name);
    return api_refuse_column(c, 400, "unknown_parameter", text,
                             "\"%s\" is neither a column of %s nor order, limit, after", text,
                             t->name);
}

/* -a,b or a.desc,b.asc */
static int parse_order(struct api_call *c, const struct core_table *t, const char *value,
                       struct node_query *q, struct node_order *orders)
{
    while (*value != '\0') {
        size_t n = strcspn(value, ",");
        const char *name = value;
        size_t len = n;
        struct node_order *o = &orders[q->order_count];
        if (q->order_count == NODE_ORDERS_MAX)
            return bad(c, "order", "at most four columns");
        o->descending = len > 0 && *name == '-';
        if (o->descending) {
            name++;
            len--;
        } else if (len > 5 && memcmp(name + len - 5, ".desc", 5) == 0) {
            o->descending = true;
            len -= 5;
        } else if (len > 4 && memcmp(name + len - 4, ".asc", 4) == 0) {
            len -= 4;
        }
        int rc = find_column(c, t, name, len, &o->column);
        if (rc != 0)
            return rc;
        if (o->column != NULL &&
            (o->column->type == CORE_TYPE_JSON || o->column->type == CORE_TYPE_BYTES))
            return bad(c, "order", "this column has no order");
        q->order_count++;
        value += n;
        if (*value == ',' && *++value == '\0')
            return bad(c, "order", "a column is missing after the comma");
    }
    return 0;
}

static int parse_limit(struct api_call *c, const char *value, int *out)
{
    int v = 0;
    size_t n = strlen(value);
    for (size_t i = 0; i < n && n <= 4; i++) {
        if (value[i] < '0' || value[i] > '9') {
            v = 0;
            break;
        }
        v = v * 10 + (value[i] - '0');
    }
    if (n < 1 || n > 4 || v < 1 || v > NODE_QUERY_ROWS_MAX)
        return bad(c, "limit", "expected a number from 1 to 1000");
    *out = v;
    return 0;
}

static int parse_param(struct api_call *c, const struct core_table *t, const struct api_param *p,
                       struct node_query *q, struct node_filter *filters, struct node_order *orders)
{
    const struct core_column *col = NULL;
    if (strcmp(p->name, "limit") == 0)
        return parse_limit(c, p->value, &q->limit);
    if (strcmp(p->name, "order") == 0)
        return q->order_count > 0 ? bad(c, "order", "given twice")
                                  : parse_order(c, t, p->value, q, orders);
    if (strcmp(p->name, "after") == 0) {
        size_t n = strlen(p->value);
        if (n == 0 || n > QUERY_AFTER_BYTES_MAX || q->after != NULL)
            return bad(c, "after", "expected the value of next, once");
        q->after = p->value;
        return 0;
    }
    int rc = find_column(c, t, p->name, strlen(p->name), &col);
    if (rc != 0)
        return rc;
    if (q->filter_count == NODE_FILTERS_MAX)
        return bad(c, p->name, "too many filters");
    rc = parse_filter(c, t, col, p->name, p->value, &filters[q->filter_count]);
    if (rc == 0)
        q->filter_count++;
    return rc;
}

int api_query_parse(struct api_call *c, const struct core_table *t, struct node_query *out)
{
    struct node_filter *filters = base_arena_get(&c->arena, NODE_FILTERS_MAX * sizeof *filters);
    struct node_order *orders = base_arena_get(&c->arena, NODE_ORDERS_MAX * sizeof *orders);
    struct node_query q = {
        .table = t, .limit = API_LIMIT_DEFAULT, .filters = filters, .orders = orders};
    if (filters == NULL || orders == NULL) {
        api_refuse_rc(c, BASE_ENOMEM, NULL);
        return BASE_ENOMEM;
    }
    for (int i = 0; i < c->param_count; i++) {
        int rc = parse_param(c, t, &c->params[i], &q, filters, orders);
        if (rc != 0)
            return rc;
    }
    *out = q;
    return 0;
}

int api_select(struct api_call *c, struct node_db *db, const struct api_select *s, void *user,
               node_row_cb cb, struct base_err *err)
{
    const struct core_table *t =
        core_catalog_table(node_db_catalog(db), s->table, strlen(s->table));
    struct node_filter *filters = base_arena_get(&c->arena, 3 * sizeof *filters);
    struct node_order order = {NULL, s->descending};
    struct node_query q = {
        .table = t, .limit = s->limit, .filters = filters, .orders = &order, .order_count = 1};
    const char *next = NULL;
    if (t == NULL)
        return 0;
    if (filters == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory");
    for (int i = 0; i < 3 && s->column[i] != NULL; i++) {
        struct node_filter *f = &filters[q.filter_count++];
        f->column = strcmp(s->column[i], "id") == 0
                        ? NULL
                        : core_table_column(t, s->column[i], strlen(s->column[i]));
        if (f->column == NULL && strcmp(s->column[i], "id") != 0)
            return 0; /* this catalog has no such column: nothing can match */
        f->cmp = NODE_CMP_EQ;
        f->value_count = 1;
        f->values[0] = core_text_of(s->value[i]);
    }
    if (s->order != NULL)
        order.column = core_table_column(t, s->order, strlen(s->order));
    return node_query_run(db, &q, &c->arena, user, cb, &next, err);
}
