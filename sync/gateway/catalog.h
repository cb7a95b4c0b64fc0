/*
 * sync/gateway/catalog.h - the catalog as the gateway uses it: the core's model, and how each table
 * is called in SQL.
 *
 * Counted references, because a push holds its catalog while a newer one is being loaded.
 * Thread: made and dropped on the loop; read anywhere while held.
 */
#ifndef SYNC_GATEWAY_CATALOG_H
#define SYNC_GATEWAY_CATALOG_H

#include "sync/core/catalog.h"

struct gateway;

struct gw_column {
    const char *quoted;   /* "family_name" */
    const char *type;     /* PostgreSQL's name for casts, without a length; NULL: dropped */
    const char *fallback; /* the default as an SQL expression, or NULL */
    bool is_text;         /* needs no cast */
};

struct gw_table {
    const struct core_table *core;
    const char *rel;           /* "ward"."patient" */
    const char *key;           /* "id" */
    const char *tenant;        /* "tenant_id" */
    const char *image;         /* ROW(r."id", ...)::text */
    struct gw_column *columns; /* by ord - CORE_ORD_FIRST */
    bool known; /* false: the catalog names it, the database does not show it to us */
};

struct gw_catalog {
    int refs;
    int64_t version;
    struct core_catalog core;
    struct gw_table *tables; /* side by side with core.tables */
    char *json;              /* the document as it is sent */
    size_t json_len;
};

struct gw_catalog *gw_catalog_hold(struct gw_catalog *c);
void gw_catalog_drop(struct gw_catalog *c); /* NULL is fine */
const struct gw_table *gw_catalog_table(const struct gw_catalog *c, const char *name, size_t len);

/* Calls back with the catalog (borrowed: hold it to keep it), or NULL and rc. at_least: the version
 * that must be reached; a cached one is used where it does. */
typedef void (*gw_catalog_cb)(void *user, int rc, struct gw_catalog *c);
void gw_catalog_get(struct gateway *gw, int64_t at_least, void *user, gw_catalog_cb done);

#endif
