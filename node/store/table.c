/* A synced table as SQL: names, key expressions, the few statements that all the rest is made of.
 */
#include "node/store/internal.h"

enum { TABLE_SQL_BYTES_MAX = 256 * 1024 };

void sql_name(struct base_buf *out, const char *name)
{
    base_buf_char(out, '"');
    base_buf_str(out, name); /* the catalog's reader refuses quotes in names */
    base_buf_char(out, '"');
}

bool column_has_key(const struct core_column *c)
{
    return c->type == CORE_TYPE_MOMENT || c->type == CORE_TYPE_INSTANT ||
           c->type == CORE_TYPE_DECIMAL;
}

void sql_key(struct base_buf *out, const struct core_column *c)
{
    if (column_has_key(c))
        base_buf_str(out, c->type == CORE_TYPE_DECIMAL ? "decimal_key(" : "moment_key(");
    sql_name(out, c->name);
    if (column_has_key(c))
        base_buf_char(out, ')');
}

void sql_columns(struct base_buf *out, const struct core_table *t, const char *before)
{
    for (int i = 0; i < t->column_count; i++) {
        base_buf_str(out, before);
        sql_name(out, t->columns[i].name);
    }
}

struct node_table *table_named(struct node_db *db, const char *name, size_t len)
{
    if (db->catalog == NULL)
        return NULL;
    const struct core_table *t = core_catalog_table(&db->catalog->c, name, len);
    return t == NULL ? NULL : &db->tables[t - db->catalog->c.tables];
}

struct node_table *table_of(struct node_db *db, const struct core_table *t)
{
    const struct core_catalog *c = &db->catalog->c;
    if (t >= c->tables && t < c->tables + c->table_count)
        return &db->tables[t - c->tables];
    return table_named(db, t->name, strlen(t->name));
}

static void sql_insert(struct base_buf *b, const struct core_table *t)
{
    base_buf_str(b, "INSERT INTO ");
    sql_name(b, t->name);
    base_buf_str(b, " (id, rev, _pending");
    sql_columns(b, t, ", ");
    base_buf_str(b, ") VALUES (?, ?, ?");
    for (int i = 0; i < t->column_count; i++)
        base_buf_str(b, ", ?");
    base_buf_char(b, ')');
}

static void sql_upsert(struct base_buf *b, const struct core_table *t, const char *where)
{
    sql_insert(b, t);
    base_buf_str(b, " ON CONFLICT (id) DO UPDATE SET rev = excluded.rev, "
                    "_pending = excluded._pending");
    for (int i = 0; i < t->column_count; i++) {
        base_buf_str(b, ", ");
        sql_name(b, t->columns[i].name);
        base_buf_str(b, " = excluded.");
        sql_name(b, t->columns[i].name);
    }
    base_buf_str(b, where);
}

static void sql_settle(struct base_buf *b, const struct core_table *t)
{
    base_buf_str(b, "UPDATE ");
    sql_name(b, t->name);
    base_buf_str(b, " SET rev = ?2, _pending = 0");
    for (int i = 0; i < t->column_count; i++) {
        base_buf_str(b, ", ");
        sql_name(b, t->columns[i].name);
        base_buf_printf(b, " = ?%d", 4 + i);
    }
    base_buf_str(b, " WHERE id = ?1 AND _pending > 0 AND _pending <= ?3");
}

static void sql_of(struct base_buf *b, const struct core_table *t, enum table_stmt which)
{
    switch (which) {
    case TABLE_GET:
        base_buf_str(b, "SELECT id, rev, _pending");
        sql_columns(b, t, ", ");
        base_buf_str(b, " FROM ");
        sql_name(b, t->name);
        base_buf_str(b, " WHERE id = ?");
        break;
    case TABLE_EXISTS:
        base_buf_str(b, "SELECT EXISTS (SELECT 1 FROM ");
        sql_name(b, t->name);
        base_buf_str(b, " WHERE id = ?1) OR EXISTS (SELECT 1 FROM _base WHERE tbl = ?2 AND "
                        "row_id = ?1)");
        break;
    case TABLE_INSERT:
        sql_insert(b, t);
        break;
    case TABLE_PUT:
        sql_upsert(b, t, "");
        break;
    case TABLE_NEWER:
        sql_upsert(b, t, " WHERE excluded.rev > rev AND _pending = 0");
        break;
    case TABLE_NOT_OLDER:
        sql_upsert(b, t, " WHERE excluded.rev >= rev AND _pending = 0");
        break;
    case TABLE_SETTLE:
        sql_settle(b, t);
        break;
    case TABLE_DELETE:
    case TABLE_DELETE_OLDER:
    case TABLE_STMTS:
        base_buf_str(b, "DELETE FROM ");
        sql_name(b, t->name);
        base_buf_str(b, which == TABLE_DELETE ? " WHERE id = ?"
                                              : " WHERE id = ? AND rev < ? AND _pending = 0");
        break;
    }
}

int table_stmt(struct node_db *db, struct node_table *t, enum table_stmt which, sqlite3_stmt **out,
               struct base_err *err)
{
    if (t->stmt[which] == NULL) {
        struct base_buf b;
        base_buf_init(&b, TABLE_SQL_BYTES_MAX);
        sql_of(&b, t->core, which);
        int rc = base_buf_check(&b);
        if (rc != 0)
            rc = base_fail(err, rc, "the statement for %s", t->name);
        else if (sqlite3_prepare_v3(db->sql, b.data, (int)b.len + 1, SQLITE_PREPARE_PERSISTENT,
                                    &t->stmt[which], NULL) != SQLITE_OK)
            rc = store_fail(db, err, t->name);
        base_buf_release(&b);
        if (rc != 0)
            return rc;
    }
    *out = t->stmt[which];
    return 0;
}

void table_release(struct node_table *t)
{
    for (int i = 0; i < TABLE_STMTS; i++) {
        sqlite3_finalize(t->stmt[i]);
        t->stmt[i] = NULL;
    }
}
