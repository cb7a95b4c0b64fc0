/*
 * node/store/query_sql.h - a query as SQL: names from the catalog, values as parameters, always.
 *
 * A page with an order is asked for in up to two parts, so that an index serves both: rows that
 * have a value in the first column of the order, then those that have none (nulls come last).
 */
#ifndef NODE_STORE_QUERY_SQL_H
#define NODE_STORE_QUERY_SQL_H

#include "node/store/internal.h"

enum { QUERY_SQL_BYTES_MAX = 256 * 1024, QUERY_TERMS_MAX = NODE_ORDERS_MAX * 2 + 1 };

enum query_part { QUERY_ALL, QUERY_VALUES, QUERY_NULLS };

/* One thing to order by: a column's key, its text behind it, or id. */
struct query_term {
    const struct core_column *column; /* NULL: id */
    bool key;                         /* moment_key(…), decimal_key(…) */
    bool descending;
    bool nullable;
};

struct query_value {
    enum { QUERY_NULL, QUERY_INT, QUERY_TEXT, QUERY_BLOB } kind;
    int64_t i;
    struct core_text text; /* also of a blob */
};

struct query_sql {
    const struct node_query *q;
    struct node_table *table;
    struct base_arena *arena;
    struct base_buf sql;
    struct query_term terms[QUERY_TERMS_MAX];
    int term_count;
    struct query_value *values;
    int value_count, value_max;
    bool has_after;
    struct query_value after[QUERY_TERMS_MAX]; /* where the page before ended */
    int rc;
};

int query_sql_init(struct query_sql *s, struct node_db *db, const struct node_query *q,
                   struct base_arena *arena, struct base_err *err);
void query_sql_release(struct query_sql *s);
/* The first part of the page, and whether a second follows it. */
enum query_part query_first_part(const struct query_sql *s);
int query_sql_write(struct query_sql *s, enum query_part part, struct base_err *err);
int query_sql_bind(struct query_sql *s, struct node_stmt *st, int64_t limit);
/* The cursor behind a row, in the arena. */
int query_cursor(struct query_sql *s, const struct node_row *row, const char **out,
                 struct base_err *err);

#endif
