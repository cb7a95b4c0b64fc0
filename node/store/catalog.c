/* The catalog in force, and the tables it asks for. Tables and columns are made, never dropped. */

#include "node/store/internal.h"
#include "sync/net/catalog_json.h"

enum { DDL_BYTES_MAX = 256 * 1024 };

struct shared_catalog *shared_catalog_hold(struct shared_catalog *c)
{
    atomic_fetch_add(&c->refs, 1);
    return c;
}

void shared_catalog_drop(struct shared_catalog *c)
{
    if (c == NULL || atomic_fetch_sub(&c->refs, 1) > 1)
        return;
    core_catalog_release(&c->c);
    free(c);
}

static struct shared_catalog *shared_catalog_new(int64_t generation)
{
    struct shared_catalog *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    atomic_init(&c->refs, 1);
    c->generation = generation;
    core_catalog_init(&c->c);
    return c;
}

/* Takes over the reference, whatever comes. */
static int catalog_set(struct node_db *db, struct shared_catalog *take_c, struct base_err *err)
{
    int n = take_c->c.table_count;
    struct node_table *tables = calloc((size_t)n + 1, sizeof *tables);
    int rc = tables == NULL ? BASE_ENOMEM : 0;
    for (int i = 0; rc == 0 && i < n; i++) {
        const struct core_table *core = &take_c->c.tables[i];
        const struct core_column *patient = core_table_column(core, "patient_id", 10);
        tables[i].core = core;
        tables[i].name = db->store == NULL ? core->name : store_intern(db->store, core->name);
        if (strcmp(core->name, "patient") == 0)
            tables[i].patient_ord = CORE_ORD_ID;
        else if (patient != NULL && patient->type == CORE_TYPE_UUID)
            tables[i].patient_ord = patient->ord;
        if (tables[i].name == NULL)
            rc = BASE_ENOMEM;
    }
    if (rc != 0) {
        free(tables);
        shared_catalog_drop(take_c);
        return base_fail(err, rc, "out of memory for the catalog");
    }
    catalog_forget(db);
    db->catalog = take_c;
    db->tables = tables;
    return 0;
}

void catalog_forget(struct node_db *db)
{
    for (int i = 0; db->catalog != NULL && i < db->catalog->c.table_count; i++)
        table_release(&db->tables[i]);
    free(db->tables);
    db->tables = NULL;
    shared_catalog_drop(db->catalog);
    db->catalog = NULL;
}

static int catalog_load(struct node_db *db, int64_t generation, struct shared_catalog **out,
                        struct base_err *err)
{
    struct node_stmt *st = NULL;
    struct shared_catalog *c = shared_catalog_new(generation);
    if (c == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for the catalog");
    int rc = 0;
    if (generation > 0)
        rc = stmt_get(db, &st, "SELECT json FROM _catalog", err);
    if (rc == 0 && st != NULL && (rc = node_sql_step(st, err)) == 1) {
        size_t len = 0;
        const char *json = node_sql_col_text(st, 0, &len);
        core_catalog_release(&c->c);
        rc = net_catalog_parse(&c->c, json, len, err);
    }
    node_sql_done(st);
    if (rc != 0) {
        shared_catalog_drop(c);
        return base_err_prefix(err, rc, "the catalog");
    }
    *out = c;
    return 0;
}

int catalog_refresh(struct node_db *db, struct base_err *err)
{
    struct node_stmt *st = NULL;
    struct shared_catalog *c = NULL;
    int rc = stmt_get(db, &st, "SELECT generation FROM _catalog", err);
    if (rc != 0)
        return rc;
    rc = node_sql_step(st, err);
    int64_t generation = rc == 1 ? node_sql_col_i64(st, 0) : 0;
    node_sql_done(st);
    if (rc < 0)
        return rc;
    if (db->catalog != NULL && db->catalog->generation == generation)
        return 0;
    if (db->store != NULL)
        c = store_newest_catalog(db->store, generation);
    rc = c != NULL ? 0 : catalog_load(db, generation, &c, err);
    return rc == 0 ? catalog_set(db, c, err) : rc;
}

static const char *declared(enum core_type type)
{
    switch (type) {
    case CORE_TYPE_UUID:
        return " BLOB";
    case CORE_TYPE_INT:
    case CORE_TYPE_BOOL:
        return " INTEGER";
    default:
        return " TEXT";
    }
}

static int run_ddl(struct node_db *db, struct base_buf *b, const char *name, struct base_err *err)
{
    int rc = base_buf_check(b);
    rc = rc != 0 ? base_fail(err, rc, "the definition of %s", name)
                 : connection_exec(db, b->data, err);
    base_buf_release(b);
    return rc;
}

static int create_table(struct node_db *db, const struct core_table *t, struct base_err *err)
{
    struct base_buf b;
    base_buf_init(&b, DDL_BYTES_MAX);
    base_buf_str(&b, "CREATE TABLE ");
    sql_name(&b, t->name);
    base_buf_str(&b, " (_rowid INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, rev INTEGER NOT NULL, "
                     "_pending INTEGER NOT NULL DEFAULT 0");
    for (int i = 0; i < t->column_count; i++) {
        base_buf_str(&b, ", ");
        sql_name(&b, t->columns[i].name);
        base_buf_str(&b, declared(t->columns[i].type));
    }
    base_buf_char(&b, ')');
    return run_ddl(db, &b, t->name, err);
}

/* 1: there, 0: not. column NULL: the table. */
static int has_column(struct node_db *db, const char *table, const char *column,
                      struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(
        db, &st, "SELECT 1 FROM pragma_table_info(?1) WHERE ?2 IS NULL OR name = ?2 LIMIT 1", err);
    if (rc != 0)
        return rc;
    node_sql_text(st, 1, table);
    node_sql_text(st, 2, column);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc;
}

static int add_columns(struct node_db *db, const struct core_table *t, bool *added,
                       struct base_err *err)
{
    int rc = has_column(db, t->name, "_pending", err);
    if (rc == 0)
        return base_fail(err, BASE_EUNSUPPORTED, "%s is the name of a table of the node's own",
                         t->name);
    for (int i = 0; rc >= 0 && i < t->column_count; i++) {
        struct base_buf b;
        rc = has_column(db, t->name, t->columns[i].name, err);
        if (rc != 0)
            continue;
        base_buf_init(&b, DDL_BYTES_MAX);
        base_buf_str(&b, "ALTER TABLE ");
        sql_name(&b, t->name);
        base_buf_str(&b, " ADD COLUMN ");
        sql_name(&b, t->columns[i].name);
        base_buf_str(&b, declared(t->columns[i].type));
        rc = run_ddl(db, &b, t->name, err);
        *added = true;
    }
    return rc < 0 ? rc : 0;
}

static void index_name(struct base_buf *b, const struct core_table *t, const struct core_index *ix)
{
    base_buf_printf(b, "\"_ix_%s", t->name);
    for (int i = 0; i < ix->count; i++)
        base_buf_printf(b, "_%d", ix->ords[i]);
    base_buf_char(b, '"');
}

static int create_index(struct node_db *db, const struct core_table *t, const struct core_index *ix,
                        struct base_err *err)
{
    struct base_buf b;
    base_buf_init(&b, DDL_BYTES_MAX);
    base_buf_str(&b, "CREATE INDEX IF NOT EXISTS ");
    index_name(&b, t, ix);
    base_buf_str(&b, " ON ");
    sql_name(&b, t->name);
    for (int i = 0; i < ix->count; i++) {
        base_buf_str(&b, i == 0 ? " (" : ", ");
        sql_key(&b, &t->columns[ix->ords[i] - CORE_ORD_FIRST]);
    }
    base_buf_char(&b, ')');
    return run_ddl(db, &b, t->name, err);
}

int catalog_indexes_make(struct node_db *db, const struct core_table *t, struct base_err *err)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < t->index_count; i++)
        rc = create_index(db, t, &t->indexes[i], err);
    return rc;
}

int catalog_indexes_drop(struct node_db *db, const struct core_table *t, struct base_err *err)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < t->index_count; i++) {
        struct base_buf b;
        base_buf_init(&b, DDL_BYTES_MAX);
        base_buf_str(&b, "DROP INDEX IF EXISTS ");
        index_name(&b, t, &t->indexes[i]);
        rc = run_ddl(db, &b, t->name, err);
    }
    return rc;
}

/* A new table is fetched; one with a new column is fetched again, images of equal rev counting. */
static int put_on_fill_list(struct node_db *db, const struct core_table *t, int place, bool equal,
                            struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st,
                      "INSERT INTO _fill (tbl, place, equal) VALUES (?, ?, ?) ON CONFLICT (tbl) "
                      "DO UPDATE SET after = '', done = 0, equal = max(equal, excluded.equal)",
                      err);
    if (rc != 0)
        return rc;
    node_sql_text(st, 1, t->name);
    node_sql_i64(st, 2, place);
    node_sql_i64(st, 3, equal);
    return stmt_run(st, err);
}

static int apply_table(struct node_db *db, const struct core_table *t, int place, bool filling,
                       struct base_err *err)
{
    bool added = false;
    int there = has_column(db, t->name, NULL, err);
    if (there < 0)
        return there;
    int rc = there ? add_columns(db, t, &added, err) : create_table(db, t, err);
    if (rc == 0)
        rc = catalog_indexes_make(db, t, err);
    if (rc == 0 && filling && !t->push_only && (!there || added))
        rc = put_on_fill_list(db, t, place, added, err);
    return rc;
}

static int catalog_store(struct node_db *db, const struct shared_catalog *c, const char *json,
                         size_t len, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = connection_exec(db, "DELETE FROM _catalog", err);
    if (rc == 0)
        rc = stmt_get(db, &st, "INSERT INTO _catalog (generation, version, json) VALUES (?, ?, ?)",
                      err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, c->generation);
    node_sql_i64(st, 2, c->c.version);
    node_sql_text_len(st, 3, json, len);
    return stmt_run(st, err);
}

/* A table that is synced no longer is not given out any more: a fill that waits for it would wait
 * for ever, and everything behind it. */
static int forget_fills(struct node_db *db, struct base_err *err)
{
    return connection_exec(db,
                           "DELETE FROM _fill WHERE tbl NOT IN (SELECT t.value ->> '$.name' FROM"
                           " _catalog, json_each(_catalog.json, '$.tables') AS t)",
                           err);
}

int node_catalog_apply(struct node_db *db, const char *json, size_t len, struct base_err *err)
{
    int64_t cursor = -1;
    struct shared_catalog *c = shared_catalog_new(db->catalog->generation + 1);
    if (c == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for the catalog");
    core_catalog_release(&c->c);
    int rc = net_catalog_parse(&c->c, json, len, err);
    if (rc == 0 && c->c.table_count == 0 && db->catalog->c.table_count > 0)
        rc = base_fail(err, BASE_EINVALID, "names no table: the ward would have nothing left");
    if (rc == 0)
        rc = meta_i64(db, "_cursor", -1, &cursor, err);
    for (int i = 0; rc == 0 && i < c->c.table_count; i++)
        rc = apply_table(db, &c->c.tables[i], i, cursor >= 0, err);
    if (rc == 0)
        rc = catalog_store(db, c, json, len, err);
    if (rc == 0)
        rc = forget_fills(db, err);
    if (rc == 0)
        return catalog_set(db, c, err);
    shared_catalog_drop(c);
    return base_err_prefix(err, rc, "the catalog");
}
