#include "sync/gateway/catalog.h"

#include <stdlib.h>
#include <string.h>

#include "sync/base/log.h"
#include "sync/gateway/gateway.h"
#include "sync/net/catalog_json.h"

enum { CATALOG_QUERY_DOC = 1, CATALOG_QUERY_TABLES = 2, CATALOG_QUERY_COLUMNS = 3 };

struct loading {
    struct gateway *gw;
    struct gw_pg_conn *conn;
    struct gw_flight flight;
    void *user;
    gw_catalog_cb done;
};

struct gw_catalog *gw_catalog_hold(struct gw_catalog *c)
{
    c->refs++;
    return c;
}

void gw_catalog_drop(struct gw_catalog *c)
{
    if (c == NULL || --c->refs > 0)
        return;
    core_catalog_release(&c->core);
    free(c->json);
    free(c);
}

const struct gw_table *gw_catalog_table(const struct gw_catalog *c, const char *name, size_t len)
{
    const struct core_table *t = core_catalog_table(&c->core, name, len);
    return t == NULL ? NULL : &c->tables[t - c->core.tables];
}

static struct gw_table *by_number(struct gw_catalog *c, const char *number)
{
    const struct core_table *t = core_catalog_tbl(&c->core, (int)strtol(number, NULL, 10));
    return t == NULL ? NULL : &c->tables[t - c->core.tables];
}

static const char *keep(struct gw_catalog *c, const PGresult *r, int row, int column)
{
    if (PQgetisnull(r, row, column))
        return NULL;
    return base_arena_copy(&c->core.arena, PQgetvalue(r, row, column),
                           (size_t)PQgetlength(r, row, column));
}

static void read_tables(struct gw_catalog *c, const PGresult *r)
{
    for (int i = 0; i < PQntuples(r); i++) {
        struct gw_table *t = by_number(c, PQgetvalue(r, i, 0));
        if (t == NULL)
            continue;
        t->rel = keep(c, r, i, 1);
        t->key = keep(c, r, i, 2);
        t->tenant = keep(c, r, i, 3);
        t->image = keep(c, r, i, 4);
        t->columns = base_arena_get(&c->core.arena, sizeof *t->columns * CORE_COLUMNS_MAX);
        t->known = t->rel != NULL && t->key != NULL && t->tenant != NULL && t->image != NULL &&
                   t->columns != NULL;
    }
}

static void read_columns(struct gw_catalog *c, const PGresult *r)
{
    for (int i = 0; i < PQntuples(r); i++) {
        struct gw_table *t = by_number(c, PQgetvalue(r, i, 0));
        long ord = strtol(PQgetvalue(r, i, 1), NULL, 10);
        if (t == NULL || !t->known || ord < CORE_ORD_FIRST || ord > CORE_FIELDS_MAX)
            continue;
        struct gw_column *column = &t->columns[ord - CORE_ORD_FIRST];
        column->quoted = keep(c, r, i, 2);
        column->type = keep(c, r, i, 3);
        column->fallback = keep(c, r, i, 4);
        column->is_text = column->type != NULL && strcmp(column->type, "text") == 0;
    }
}

static int build(struct gw_catalog **out, const struct gw_flight *f, struct base_err *err)
{
    const char *json = gw_flight_value(f, CATALOG_QUERY_DOC, 0);
    struct gw_catalog *c = calloc(1, sizeof *c);
    if (c == NULL || json == NULL) {
        free(c);
        return base_fail(err, BASE_ENOMEM, "the catalog could not be read");
    }
    c->refs = 1;
    c->json_len = strlen(json);
    c->json = strdup(json);
    int rc = c->json == NULL ? base_fail(err, BASE_ENOMEM, "out of memory in the catalog")
                             : net_catalog_parse(&c->core, json, c->json_len, err);
    if (rc != 0) {
        free(c->json);
        free(c);
        return rc;
    }
    c->version = c->core.version;
    c->tables =
        base_arena_get(&c->core.arena, sizeof *c->tables * ((size_t)c->core.table_count + 1));
    if (c->tables == NULL) {
        gw_catalog_drop(c);
        return base_fail(err, BASE_ENOMEM, "out of memory in the catalog");
    }
    for (int i = 0; i < c->core.table_count; i++)
        c->tables[i].core = &c->core.tables[i];
    read_tables(c, f->results[CATALOG_QUERY_TABLES]);
    read_columns(c, f->results[CATALOG_QUERY_COLUMNS]);
    *out = c;
    return 0;
}

static void finish(struct loading *l, int rc, struct gw_catalog *c)
{
    gw_catalog_cb done = l->done;
    void *user = l->user;
    if (l->conn != NULL)
        gw_pg_give(l->conn);
    gw_flight_release(&l->flight);
    free(l);
    done(user, rc, c);
}

static void on_loaded(void *user, struct gw_flight *f)
{
    struct loading *l = user;
    struct gateway *gw = l->gw;
    struct gw_catalog *c = NULL;
    struct base_err err = {0};
    int rc = f->rc;
    if (rc == 0)
        rc = build(&c, f, &err);
    if (rc != 0) {
        base_log(BASE_LOG_ERROR, "catalog_failed", "catalog not loaded: sqlstate %s, %s",
                 f->sqlstate, err.text);
        finish(l, rc == BASE_EINVALID ? BASE_EUNREACHABLE : rc, NULL);
        return;
    }
    gw_catalog_drop(gw->catalog);
    gw->catalog = c;
    base_log(BASE_LOG_INFO, "catalog_loaded", "catalog version %lld, %d tables",
             (long long)c->version, c->core.table_count);
    finish(l, 0, c);
}

/* A column that the catalog has and the table lacks (dropped) stays without a type. */
static void on_conn(void *user, int rc, struct gw_pg_conn *conn)
{
    struct loading *l = user;
    if (rc != 0) {
        finish(l, rc, NULL);
        return;
    }
    l->conn = conn;
    struct gw_flight *f = &l->flight;
    (void)gw_flight_add(f, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", 0, NULL);
    (void)gw_flight_add(f, "SELECT everward.catalog()", 0, NULL);
    (void)gw_flight_add(f,
                        "SELECT tbl, format('%I.%I', schema_name, table_name),"
                        " quote_ident(key_column), quote_ident(tenant_column),"
                        " everward.image_sql(tbl, 'r', 0) FROM everward.sync_table WHERE enabled",
                        0, NULL);
    (void)gw_flight_add(
        f,
        "SELECT c.tbl, c.ord, quote_ident(a.attname), format_type(a.atttypid, -1),"
        " CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END"
        " FROM everward.sync_table s JOIN everward.sync_column c USING (tbl)"
        " JOIN pg_catalog.pg_attribute a ON a.attrelid ="
        " to_regclass(format('%I.%I', s.schema_name, s.table_name)) AND a.attname = c.name"
        " AND NOT a.attisdropped"
        " LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
        " WHERE s.enabled AND c.dropped_version IS NULL",
        0, NULL);
    (void)gw_flight_add(f, "COMMIT", 0, NULL);
    gw_pg_fly(conn, f, l, on_loaded);
}

void gw_catalog_get(struct gateway *gw, int64_t at_least, void *user, gw_catalog_cb done)
{
    if (gw->catalog != NULL && gw->catalog->version >= at_least) {
        done(user, 0, gw->catalog);
        return;
    }
    struct loading *l = calloc(1, sizeof *l);
    if (l == NULL) {
        done(user, BASE_ENOMEM, NULL);
        return;
    }
    *l = (struct loading){.gw = gw, .user = user, .done = done};
    gw_flight_init(&l->flight);
    gw_pg_take(gw->pool, l, on_conn);
}
