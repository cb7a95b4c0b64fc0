/* node/cryptvfs/open.c - opening a sealed database with clear refusals. */
#include <string.h>

#include "node/cryptvfs/internal.h"

static int fail_problem(enum node_crypt_problem problem, const char *path, struct base_err *err)
{
    switch (problem) {
    case CRYPT_PLAIN_FILE:
        return base_fail(err, BASE_EINVALID,
                         "%s is a plain SQLite database, not a sealed store; nothing was changed. "
                         "Name the sealed file, or import this one into a new store",
                         path);
    case CRYPT_FOREIGN_FILE:
        return base_fail(
            err, BASE_ECORRUPT,
            "%s does not begin like a sealed store: another file, or its start is damaged. "
            "Check the path; if it is right, restore the last backup",
            path);
    case CRYPT_WRONG_KEY:
        return base_fail(
            err, BASE_EKEY,
            "the key does not open %s; nothing was changed. Use the key the store was made "
            "with (keys.sealed of the same folder), or the escrow",
            path);
    case CRYPT_FINE:
        break;
    }
    return 0;
}

static int fail_sqlite(int code, const char *text, const char *path, struct base_err *err)
{
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return base_fail(err, BASE_EBUSY, "%s is in use by another process; try again", path);
    case SQLITE_NOMEM:
        return base_fail(err, BASE_ENOMEM, "no memory to open %s", path);
    case SQLITE_FULL:
        return base_fail(err, BASE_EFULL, "no space left to open %s; free some and try again",
                         path);
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_READONLY:
        return base_fail(err, BASE_EDENIED, "%s may not be written; check owner and mode", path);
    case SQLITE_CANTOPEN:
        return base_fail(
            err, BASE_ENOTFOUND,
            "%s cannot be opened: it does not exist or may not be read; check path, owner and "
            "mode",
            path);
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        break;
    case SQLITE_IOERR:
        if (code == SQLITE_IOERR_DATA)
            break;
        return base_fail(err, BASE_EIO, "%s: %s (SQLite %d); check the disk", path, text, code);
    default:
        return base_fail(err, BASE_EIO, "%s: %s (SQLite %d)", path, text, code);
    }
    return base_fail(
        err, BASE_ECORRUPT,
        "%s is damaged or was tampered with (SQLite %d). Keep a copy of the file and its -wal, "
        "then restore the last backup",
        path, code);
}

static int check_path(const char *path, struct base_err *err)
{
    if (path[0] == '\0' || strcmp(path, ":memory:") == 0 || strncmp(path, "file:", 5) == 0)
        return base_fail(err, BASE_EINVALID,
                         "\"%s\" is not a file name; give the path of the store", path);
    return 0;
}

int node_cryptvfs_prepare(struct sqlite3 *db, const char *schema, struct base_err *err)
{
    int reserve = RESERVE_BYTES;
    if (!node_cryptvfs_sealed(db, schema))
        return base_fail(err, BASE_EINVALID, "the schema %s is not a sealed file", schema);
    if (sqlite3_file_control(db, schema, SQLITE_FCNTL_RESERVE_BYTES, &reserve) != SQLITE_OK)
        return base_fail(err, BASE_EBUG, "SQLite refused the reserved bytes for %s", schema);
    return 0;
}

bool node_cryptvfs_sealed(struct sqlite3 *db, const char *schema)
{
    sqlite3_file *file = NULL;
    if (sqlite3_file_control(db, schema, SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK || !file)
        return false;
    return file->pMethods == &node_crypt_db_methods;
}

/* Reads page 1 and the schema: a wrong key or damage shows now, not at the first query. */
static int try_read(struct sqlite3 *db, const char *path, struct base_err *err)
{
    int rc = node_cryptvfs_prepare(db, "main", err);
    if (rc != 0)
        return rc;
    sqlite3_busy_timeout(db, NODE_CRYPTVFS_OPEN_WAIT_MS);
    int code = sqlite3_exec(db, "PRAGMA page_size=4096; SELECT count(*) FROM sqlite_master", NULL,
                            NULL, NULL);
    if (code != SQLITE_OK) {
        rc = fail_problem(node_crypt_last_problem, path, err);
        return rc != 0 ? rc
                       : fail_sqlite(sqlite3_extended_errcode(db), sqlite3_errmsg(db), path, err);
    }
    sqlite3_busy_timeout(db, 0);
    return 0;
}

int node_cryptvfs_open(const char *vfs_name, const char *path, int sqlite_open_flags,
                       struct sqlite3 **out, struct base_err *err)
{
    sqlite3 *db = NULL;
    int rc = check_path(path, err);
    if (rc != 0)
        return rc;
    if (!node_crypt_find(vfs_name))
        return base_fail(err, BASE_EINVALID, "no sealed VFS named %s is registered", vfs_name);
    node_crypt_last_problem = CRYPT_FINE;
    int code = sqlite3_open_v2(path, &db, sqlite_open_flags, vfs_name);
    if (code != SQLITE_OK) {
        rc = fail_problem(node_crypt_last_problem, path, err);
        if (rc == 0)
            rc = fail_sqlite(db ? sqlite3_extended_errcode(db) : code, sqlite3_errstr(code), path,
                             err);
        goto out;
    }
    rc = try_read(db, path, err);
out:
    if (rc != 0)
        sqlite3_close(db);
    else
        *out = db;
    return rc;
}
