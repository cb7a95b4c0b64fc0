/*
 * sync/core/catalog.h - the synced tables, their columns and merge classes, with a version
 * (docs/CENTRAL.md).
 *
 * Does:       holds the model that gateway, node and API share; finds tables and columns by name;
 * checks values. Does not:   parse or print the catalog document (sync/net/catalog_json.h). Thread:
 * immutable once built; then any.
 */
#ifndef SYNC_CORE_CATALOG_H
#define SYNC_CORE_CATALOG_H

#include <stdbool.h>
#include <stdint.h>

#include "sync/base/arena.h"
#include "sync/base/err.h"
#include "sync/core/text.h"

enum {
    CORE_TABLES_MAX = 512,
    CORE_COLUMNS_MAX = 256, /* per table, the three key columns not counted */
    CORE_NAME_BYTES_MAX = 63,
    CORE_ALLOWED_MAX = 64,
    CORE_INDEXES_MAX = 16,
    CORE_INDEX_COLUMNS_MAX = 4,
    CORE_ORD_ID = 1,
    CORE_ORD_TENANT = 2,
    CORE_ORD_REV = 3,
    CORE_ORD_FIRST = 4, /* columns[i].ord == CORE_ORD_FIRST + i */
    CORE_FIELDS_MAX = CORE_COLUMNS_MAX + CORE_ORD_FIRST - 1
};

/* clang-format off */
#define CORE_CLASSES(X) \
    X(FACT, "fact") \
    X(STATE, "state") \
    X(FIELD, "field") \
    X(REVIEW, "review") \
    X(UNION, "union") \
    X(CLAIM, "claim") \
    X(CENTRAL, "central") \
    X(LINK, "link")

#define CORE_TYPES(X) \
    X(TEXT, "text") \
    X(UUID, "uuid") \
    X(INT, "int") \
    X(DECIMAL, "decimal") \
    X(BOOL, "bool") \
    X(MOMENT, "moment") \
    X(DATE, "date") \
    X(INSTANT, "instant") \
    X(JSON, "json") \
    X(BYTES, "bytes")
/* clang-format on */

enum core_class {
#define X(name, text) CORE_##name,
    CORE_CLASSES(X)
#undef X
};

enum core_type {
#define X(name, text) CORE_TYPE_##name,
    CORE_TYPES(X)
#undef X
};

enum core_api { CORE_API_RW, CORE_API_RO, CORE_API_HIDDEN };

struct core_column {
    int ord;
    const char *name;
    enum core_type type;
    enum core_class class; /* in force: the column's own, else its group's, else the table's */
    enum core_api api;
    bool nullable;
    const char
        *group; /* NULL: stands alone. Columns of one group are merged and contested together */
    const char *ref;              /* name of the table it points to, or NULL */
    const char *const *allowed;   /* NULL-terminated list, or NULL */
    const char *const *dominance; /* NULL-terminated, the safest value first; or NULL */
    const char *preset; /* of a new row that does not name it; not nullable only; or NULL */
};

struct core_index {
    int ords[CORE_INDEX_COLUMNS_MAX];
    int count;
};

struct core_table {
    int tbl;
    const char *name;
    enum core_class class;
    bool deletable, push_only;
    int order; /* of the first fill */
    struct core_column *columns;
    int column_count;
    struct core_index indexes[CORE_INDEXES_MAX];
    int index_count;
};

struct core_catalog {
    int64_t version;
    struct core_table *tables; /* ascending by order, then name */
    int table_count;
    struct base_arena arena; /* everything above lives here */
};

void core_catalog_init(struct core_catalog *c);
void core_catalog_release(struct core_catalog *c);
const struct core_table *core_catalog_table(const struct core_catalog *c, const char *name,
                                            size_t len);
const struct core_table *core_catalog_tbl(const struct core_catalog *c, int tbl);
/* NULL if there is none; id, tenant_id and rev are not among them. */
const struct core_column *core_table_column(const struct core_table *t, const char *name,
                                            size_t len);

const char *core_class_name(enum core_class class);
bool core_class_parse(enum core_class *out, const char *s);
const char *core_type_name(enum core_type type);
bool core_type_parse(enum core_type *out, const char *s);

/* Is text a well-formed value of this column: form by type, allowed values, not null? Null is
 * well-formed where nullable. BASE_EINVALID: names table and column and what was expected, never
 * the value. */
int core_value_check(const struct core_table *t, const struct core_column *c,
                     struct core_text value, struct base_err *err);

#endif
