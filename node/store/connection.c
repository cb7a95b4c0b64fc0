/* One connection: how it is opened, what its errors mean, how its bookkeeping tables come about. */
#include <errno.h>

#include "node/cryptvfs/cryptvfs.h"
#include "node/store/internal.h"
#include "node/store/schema.h"

int store_code(sqlite3 *sql)
{
    int code = sqlite3_extended_errcode(sql);
    int os = sqlite3_system_errno(sql);
    switch (code & 0xff) {
    case SQLITE_FULL:
        return BASE_EFULL;
    case SQLITE_IOERR:
        if (code == SQLITE_IOERR_DATA || code == SQLITE_IOERR_CORRUPTFS)
            return BASE_ECORRUPT;
        if (code == SQLITE_IOERR_NOMEM)
            return BASE_ENOMEM;
        return os == ENOSPC || os == EDQUOT || os == EFBIG ? BASE_EFULL : BASE_EIO;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return BASE_ECORRUPT;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return BASE_EBUSY;
    case SQLITE_NOMEM:
        return BASE_ENOMEM;
    case SQLITE_CONSTRAINT:
        return code == SQLITE_CONSTRAINT_PRIMARYKEY || code == SQLITE_CONSTRAINT_UNIQUE ||
                       code == SQLITE_CONSTRAINT_ROWID
                   ? BASE_EEXISTS
                   : BASE_EDENIED;
    case SQLITE_READONLY:
    case SQLITE_AUTH:
    case SQLITE_PERM:
        return BASE_EDENIED;
    case SQLITE_CANTOPEN:
        return os == ENOSPC ? BASE_EFULL : BASE_EIO;
    case SQLITE_TOOBIG:
        return BASE_ETOOBIG;
    case SQLITE_INTERRUPT:
        return BASE_ECANCELED;
    default:
        return BASE_EBUG;
    }
}

int store_fail(struct node_db *db, struct base_err *err, const char *what)
{
    return base_fail(err, store_code(db->sql), "%s: %s", what, sqlite3_errmsg(db->sql));
}

int connection_exec(struct node_db *db, const char *sql, struct base_err *err)
{
    if (sqlite3_exec(db->sql, sql, NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    return store_fail(db, err, "the replica");
}

/* What a savepoint may have to bring back stays in memory up to this size: by default it goes into
 * a (sealed) temporary file from 64 KiB on, and every small write touches as much. */
void connection_setup(void)
{
    (void)sqlite3_config(SQLITE_CONFIG_STMTJRNL_SPILL, -1);
}

/* What comes through sql.h may neither write what only this folder writes, nor change its shape. */
static int authorize(void *user, int op, const char *a, const char *b, const char *schema,
                     const char *trigger)
{
    struct node_db *db = user;
    if (!db->guarded || trigger != NULL)
        return SQLITE_OK;
    switch (op) {
    case SQLITE_INSERT:
    case SQLITE_UPDATE:
    case SQLITE_DELETE:
    case SQLITE_DROP_TABLE:
        return a[0] == '_' || table_named(db, a, strlen(a)) != NULL ? SQLITE_DENY : SQLITE_OK;
    case SQLITE_ALTER_TABLE:
        return b[0] == '_' || table_named(db, b, strlen(b)) != NULL ? SQLITE_DENY : SQLITE_OK;
    case SQLITE_CREATE_TRIGGER:
    case SQLITE_DROP_TRIGGER:
    case SQLITE_ATTACH:
    case SQLITE_PRAGMA:
    case SQLITE_TRANSACTION:
    case SQLITE_SAVEPOINT:
        return SQLITE_DENY;
    default:
        return SQLITE_OK;
    }
}

static int note_wal(void *user, sqlite3 *sql, const char *schema, int pages)
{
    ((struct node_db *)user)->wal_pages = pages;
    return SQLITE_OK;
}

/* Why each: docs/SECURITY.md and the design (encryption.md, "A fault in Debian's SQLite"). */
static int configure(struct node_db *db, bool create, struct base_err *err)
{
    char sql[256];
    snprintf(sql, sizeof sql,
             "PRAGMA cache_spill=OFF; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; "
             "PRAGMA trusted_schema=OFF; PRAGMA foreign_keys=OFF; "
             "PRAGMA recursive_triggers=ON; PRAGMA cache_size=-%d;",
             NODE_STORE_CACHE_KIB);
    if (sqlite3_db_config(db->sql, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL) != SQLITE_OK ||
        functions_register(db->sql) != SQLITE_OK)
        return store_fail(db, err, "setting up a connection");
    int rc = connection_exec(db, sql, err);
    if (rc == 0 && (create || db->writer)) /* a copy that VACUUM made is not in WAL mode yet */
        rc = connection_exec(db, "PRAGMA journal_mode=WAL", err);
    if (rc == 0 && !db->writer)
        rc = connection_exec(db, "PRAGMA query_only=ON", err);
    if (rc != 0)
        return rc;
    sqlite3_busy_timeout(db->sql, NODE_CRYPTVFS_OPEN_WAIT_MS);
    if (db->writer)
        sqlite3_wal_hook(db->sql, note_wal, db);
    sqlite3_set_authorizer(db->sql, authorize, db);
    return 0;
}

int connection_open(struct node_db *db, const char *vfs, const char *path, bool writer, bool create,
                    struct base_err *err)
{
    db->writer = writer;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (create ? SQLITE_OPEN_CREATE : 0);
    int rc = node_cryptvfs_open(vfs, path, flags, &db->sql, err);
    if (rc != 0)
        return rc;
    rc = configure(db, create, err);
    if (rc != 0)
        connection_close(db);
    return rc;
}

void connection_close(struct node_db *db)
{
    if (db->sql == NULL)
        return;
    stmt_drop_all(db);
    catalog_forget(db);
    free(db->moved.list);
    db->moved = (struct store_moved){0};
    BASE_ASSERT(sqlite3_close(db->sql) == SQLITE_OK);
    db->sql = NULL;
}

static int migrate_one(struct node_db *db, const struct node_schema_file *f, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st, "SELECT 1 FROM _migration WHERE name = ?", err);
    if (rc != 0)
        return rc;
    node_sql_text(st, 1, f->name);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    rc = connection_exec(db, f->sql, err);
    if (rc == 0)
        rc = stmt_get(db, &st, "INSERT INTO _migration (name) VALUES (?)", err);
    if (rc != 0)
        return base_err_prefix(err, rc, "schema/node/%s", f->name);
    node_sql_text(st, 1, f->name);
    return stmt_run(st, err);
}

static bool known(const char *name)
{
    for (int i = 0; node_schema[i].name != NULL; i++)
        if (strcmp(node_schema[i].name, name) == 0)
            return true;
    return false;
}

/* What a newer program has added may mean that what this one sees is not all there is. */
static int refuse_newer(struct node_db *db, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st, "SELECT name FROM _migration ORDER BY name", err);
    while (rc == 0 && (rc = node_sql_step(st, err)) == 1) {
        const char *name = node_sql_col_text(st, 0, NULL);
        rc = known(name) ? 0
                         : base_fail(err, BASE_EUNSUPPORTED,
                                     "a newer Everward has written this replica (%s): install that "
                                     "version again; nothing was changed",
                                     name);
    }
    node_sql_done(st);
    return rc;
}

int connection_migrate(struct node_db *db, struct base_err *err)
{
    int rc = connection_exec(db, "BEGIN IMMEDIATE", err);
    if (rc != 0)
        return rc;
    rc = connection_exec(
        db, "CREATE TABLE IF NOT EXISTS _migration (name TEXT PRIMARY KEY) WITHOUT ROWID", err);
    if (rc == 0)
        rc = refuse_newer(db, err);
    for (int i = 0; rc == 0 && node_schema[i].name != NULL; i++)
        rc = migrate_one(db, &node_schema[i], err);
    if (rc == 0)
        rc = connection_exec(db, "COMMIT", err);
    if (rc != 0)
        sqlite3_exec(db->sql, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}
