/* The replica's file as a whole. */
#include "node/store/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "node/cryptvfs/cryptvfs.h"
#include "node/store/audit.h"
#include "node/store/internal.h"
#include "node/store/rows.h"
#include "node/store/sync.h"

enum { PATH_BYTES_MAX = 4096 };

/* A connection without a store around it. */
struct alone {
    struct node_db db;
    struct node_identity id;
    char vfs[NODE_CRYPTVFS_NAME_BYTES_MAX + 1];
    bool registered;
};

static int alone_register(char vfs[NODE_CRYPTVFS_NAME_BYTES_MAX + 1], const uint8_t key[32],
                          struct base_err *err)
{
    static atomic_int count;
    connection_setup();
    snprintf(vfs, NODE_CRYPTVFS_NAME_BYTES_MAX, "everward-alone-%d", atomic_fetch_add(&count, 1));
    return node_cryptvfs_register(vfs, key, err);
}

static void alone_close(struct alone *a)
{
    if (a == NULL)
        return;
    connection_close(&a->db);
    if (a->registered)
        (void)node_cryptvfs_unregister(a->vfs);
    free(a);
}

static int alone_open(struct alone **out, const char *path, const uint8_t key[32], bool writer,
                      struct base_err *err)
{
    struct alone *a = calloc(1, sizeof *a);
    if (a == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for the replica");
    a->db.identity = &a->id;
    int rc = alone_register(a->vfs, key, err);
    a->registered = rc == 0;
    if (rc == 0)
        rc = connection_open(&a->db, a->vfs, path, writer, false, err);
    if (rc == 0 && writer)
        rc = connection_migrate(&a->db, err);
    if (rc == 0)
        rc = identity_load(&a->db, &a->id, err);
    if (rc == 0)
        rc = catalog_refresh(&a->db, err);
    if (rc == 0)
        base_uuid_format(&a->id.tenant_id, a->db.tenant);
    if (rc != 0) {
        alone_close(a);
        return base_err_prefix(err, rc, "%s", path);
    }
    *out = a;
    return 0;
}

static int sync_file(const char *path, struct base_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) != 0
                 ? base_fail(err, BASE_EIO, "%s cannot be synced: %s", path, strerror(errno))
                 : 0;
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

/* ---- copy ---------------------------------------------------------------------------------- */

/* VACUUM INTO under another key: through an attached file of the other VFS, page by page, would keep the first key's
 * seals; so the whole is written anew by SQLite itself, into a file that the URI gives the other VFS. */
static int vacuum_into(sqlite3 *sql, const char *to, const char *vfs, struct base_err *err)
{
    sqlite3_stmt *st = NULL;
    char uri[PATH_BYTES_MAX * 3 + 128];
    size_t n = (size_t)snprintf(uri, sizeof uri, "file:");
    for (const char *s = to; *s != '\0' && n < sizeof uri - 128; s++)
        n += (size_t)snprintf(uri + n, sizeof uri - n, strchr("?#%", *s) != NULL ? "%%%02X" : "%c",
                              (unsigned char)*s);
    snprintf(uri + n, sizeof uri - n, "?vfs=%s", vfs);
    int rc = sqlite3_prepare_v2(sql, "VACUUM INTO ?", -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(st, 1, uri, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    int code = store_code(sql);
    int failed = rc == SQLITE_DONE ? 0
                                   : base_fail(err, code == 0 ? BASE_EIO : code,
                                               "copying the store: %s", sqlite3_errmsg(sql));
    (void)sqlite3_finalize(st);
    return failed;
}

static int copy_with(const char *from, const char *vfs, const char *to, const char *to_vfs,
                     struct base_err *err)
{
    sqlite3 *sql = NULL;
    int rc = node_cryptvfs_open(vfs, from, SQLITE_OPEN_READWRITE | SQLITE_OPEN_URI, &sql, err);
    if (rc != 0)
        return base_err_prefix(err, rc, "%s", from);
    sqlite3_busy_timeout(sql, NODE_CRYPTVFS_OPEN_WAIT_MS);
    (void)sqlite3_db_config(sql, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    /* the writer of the store checkpoints, nobody else */
    (void)sqlite3_exec(sql, "PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=-6144", NULL, NULL,
                       NULL);
    rc = functions_register(sql) == SQLITE_OK /* indexes are made anew */
             ? vacuum_into(sql, to, to_vfs, err)
             : base_fail(err, BASE_ENOMEM, "setting up a connection");
    (void)sqlite3_close(sql);
    return rc == 0 ? sync_file(to, err) : rc;
}

int node_store_copy(const char *dir, const uint8_t data_key[32], const uint8_t *new_key,
                    const char *to, struct base_err *err)
{
    char from[PATH_BYTES_MAX];
    char vfs[2][NODE_CRYPTVFS_NAME_BYTES_MAX + 1];
    int n = snprintf(from, sizeof from, "%s/node.db", dir);
    if (n < 0 || (size_t)n >= sizeof from || strlen(to) >= PATH_BYTES_MAX)
        return base_fail(err, BASE_ETOOBIG, "the path is too long");
    if (access(to, F_OK) == 0)
        return base_fail(err, BASE_EEXISTS, "%s exists already; it was left alone", to);
    int rc = alone_register(vfs[0], data_key, err);
    if (rc != 0)
        return rc;
    rc = alone_register(vfs[1], new_key == NULL ? data_key : new_key, err);
    if (rc == 0) {
        rc = copy_with(from, vfs[0], to, vfs[1], err);
        if (rc != 0)
            (void)unlink(to);
        (void)node_cryptvfs_unregister(vfs[1]);
    }
    (void)node_cryptvfs_unregister(vfs[0]);
    return rc;
}

/* ---- looking through ----------------------------------------------------------------------- */

static int check_pages(struct node_db *db, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st, "PRAGMA integrity_check(1)", err);
    if (rc != 0)
        return rc;
    rc = node_sql_step(st, err);
    if (rc == 1)
        rc = strcmp(node_sql_col_text(st, 0, NULL), "ok") == 0
                 ? 0
                 : base_fail(err, BASE_ECORRUPT, "the store is damaged: %s",
                             node_sql_col_text(st, 0, NULL));
    node_sql_done(st);
    return rc;
}

static int facts_of(struct alone *a, struct node_store_facts *out, struct base_err *err)
{
    struct node_audit_state trail;
    struct node_sync_state s;
    int rc = node_audit_state_get(&a->db, &trail, err);
    if (rc == 0)
        rc = node_sync_state_get(&a->db, &s, err);
    if (rc != 0)
        return rc;
    *out = (struct node_store_facts){.id = a->id,
                                     .last_seq = s.last_seq,
                                     .acked_seq = s.acked_seq,
                                     .changes_unsent = s.last_seq - s.acked_seq,
                                     .audit_entries = trail.head.n,
                                     .catalog_version = s.catalog_version};
    memcpy(out->audit_chain, trail.head.chain, sizeof out->audit_chain);
    return 0;
}

int node_store_look(const char *path, const uint8_t data_key[32], struct node_store_facts *out,
                    struct base_err *err)
{
    struct alone *a = NULL;
    int rc = alone_open(&a, path, data_key, false, err);
    if (rc != 0)
        return rc;
    rc = facts_of(a, out, err);
    alone_close(a);
    return rc;
}

static int check_in(struct alone *a, const uint8_t public_key[32], struct node_store_facts *out,
                    struct base_err *err)
{
    struct node_audit_report trail;
    int rc = check_pages(&a->db, err);
    if (rc == 0)
        rc = node_audit_check(&a->db, public_key, &trail, err);
    if (rc == 0 && trail.broken[0] != '\0')
        rc = base_fail(err, BASE_ECORRUPT, "%s", trail.broken);
    return rc == 0 ? facts_of(a, out, err) : rc;
}

int node_store_check(const char *path, const uint8_t data_key[32], const uint8_t audit_key[32],
                     const uint8_t public_key[32], struct node_store_facts *out,
                     struct base_err *err)
{
    struct alone *a = NULL;
    int rc = alone_open(&a, path, data_key, false, err);
    if (rc != 0)
        return rc;
    a->db.audit_key = audit_key;
    rc = check_in(a, public_key, out, err);
    alone_close(a);
    return rc;
}

static int restored_in(struct node_db *db, struct base_err *err)
{
    struct node_author itself = {.device = "", .request_id = ""};
    int rc = heads_load(db, err);
    if (rc == 0)
        rc = connection_exec(db, "BEGIN IMMEDIATE", err);
    if (rc == 0)
        rc = node_audit_restored(db, 1, err);
    if (rc == 0)
        rc = meta_set_now(db, NODE_META_RESTORED, err);
    if (rc == 0)
        rc = node_audit_add(db, &itself, "restore", NULL, NULL, NULL, "ok", "from a backup", err);
    return rc == 0 ? connection_exec(db, "COMMIT", err) : rc;
}

int node_store_restored(const char *path, const uint8_t data_key[32], const uint8_t audit_key[32],
                        struct base_err *err)
{
    struct alone *a = NULL;
    int rc = alone_open(&a, path, data_key, true, err);
    if (rc != 0)
        return rc;
    a->db.audit_key = audit_key;
    rc = restored_in(&a->db, err);
    alone_close(a);
    return rc;
}

static int readmitted_in(struct node_db *db, const struct node_identity *id, struct base_err *err)
{
    struct node_author itself = {.device = "", .request_id = ""};
    char asked[32] = "";
    int rc = meta_text(db, NODE_META_REJOIN, asked, sizeof asked, err);
    if (rc != 0 || strcmp(asked, "readmitted") == 0)
        return rc;
    rc = heads_load(db, err);
    if (rc == 0)
        rc = connection_exec(db, "BEGIN IMMEDIATE", err);
    if (rc == 0)
        rc = identity_rename(db, id, err);
    if (rc == 0)
        rc = node_meta_set(db, "escrow_kept", "", err);
    if (rc == 0)
        rc = node_meta_set(db, NODE_META_REJOIN, "readmitted", err);
    if (rc == 0)
        rc = node_audit_add(db, &itself, "configuration", NULL, NULL, NULL, "ok",
                            "readmitted by the centre, another signing key", err);
    return rc == 0 ? connection_exec(db, "COMMIT", err) : rc;
}

int node_store_readmitted(const char *path, const uint8_t data_key[32], const uint8_t audit_key[32],
                          const struct node_identity *id, struct base_err *err)
{
    struct alone *a = NULL;
    int rc = alone_open(&a, path, data_key, true, err);
    if (rc != 0)
        return rc;
    a->db.audit_key = audit_key;
    rc = readmitted_in(&a->db, id, err);
    alone_close(a);
    return rc;
}
