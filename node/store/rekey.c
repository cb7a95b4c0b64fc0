/*
 * Another data key for an open store.
 *
 *   writer: WAL emptied ─ copy under the new key ─ old WAL and index unlinked ─ copy in the old file's place ─ keys taken
 *           ─ connection anew          readers, checkpointer: finish what they do on the old file, then connection anew
 *
 * Dying before the rename: the old file with its whole content, for the WAL was empty. Dying after it: the new file, whose
 * key stands in keys.next (node/keys/keys.h says who takes it).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>

#include "node/cryptvfs/cryptvfs.h"
#include "node/store/copy.h"
#include "node/store/worker.h"
#include "sync/base/log.h"

enum { REKEY_WAIT_MS = 5000 /* for readers to leave the WAL */ };

static int file_fail(struct base_err *err, const char *what, const char *path)
{
    return base_fail(err, errno == ENOSPC ? BASE_EFULL : BASE_EIO, "cannot %s %s: %s", what, path,
                     strerror(errno));
}

/* Everything is in the database file, and nothing in the WAL. */
static int empty_wal(sqlite3 *sql, struct base_err *err)
{
    sqlite3_busy_timeout(sql, REKEY_WAIT_MS);
    int rc = sqlite3_wal_checkpoint_v2(sql, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    sqlite3_busy_timeout(sql, NODE_CRYPTVFS_OPEN_WAIT_MS);
    return rc == SQLITE_OK
               ? 0
               : base_fail(err, BASE_EBUSY, "readers did not leave the log within %d s; try again",
                           REKEY_WAIT_MS / 1000);
}

static int sync_dir(const char *dir, struct base_err *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) != 0 ? file_fail(err, "sync", dir) : 0;
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

struct names {
    char db[STORE_PATH_BYTES], wal[STORE_PATH_BYTES], shm[STORE_PATH_BYTES], next[STORE_PATH_BYTES];
};

static void names_of(struct names *n, const char *dir)
{
    (void)snprintf(n->db, sizeof n->db, "%.4000s/node.db", dir);
    (void)snprintf(n->wal, sizeof n->wal, "%.4000s/node.db-wal", dir);
    (void)snprintf(n->shm, sizeof n->shm, "%.4000s/node.db-shm", dir);
    (void)snprintf(n->next, sizeof n->next, "%.4000s/node.db.next", dir);
}

/* Readers on the old file keep theirs; nobody new finds them under the new file's names. */
static int swap(struct node_rekey *r, const struct names *n, struct base_err *err)
{
    if ((unlink(n->wal) != 0 && errno != ENOENT) || (unlink(n->shm) != 0 && errno != ENOENT))
        return file_fail(err, "remove the log of", n->db);
    if (rename(n->next, n->db) != 0)
        return file_fail(err, "put in place", n->db);
    r->placed = true;
    int rc = sync_dir(r->dir, err);
    return rc == 0 ? r->taken(r, err) : rc;
}

static int make_copy(struct node_rekey *r, const struct names *n, struct base_err *err)
{
    (void)unlink(n->next); /* of one that died */
    return node_store_copy(r->dir, r->old_key, r->new_key, n->next, err);
}

int node_store_rekey_closed(struct node_rekey *r, struct base_err *err)
{
    struct names n;
    sqlite3 *sql = NULL;
    static const char vfs[] = "everward-rekey";
    names_of(&n, r->dir);
    connection_setup();
    int rc = node_cryptvfs_register(vfs, r->old_key, err);
    if (rc != 0)
        return rc;
    rc = node_cryptvfs_open(vfs, n.db, SQLITE_OPEN_READWRITE, &sql, err);
    if (rc == 0)
        rc = empty_wal(sql, err);
    (void)sqlite3_close(sql);
    (void)node_cryptvfs_unregister(vfs);
    if (rc == 0)
        rc = make_copy(r, &n, err);
    return rc == 0 ? swap(r, &n, err) : rc;
}

/* ---- with the store open ------------------------------------------------------------------- */

static void drop_vfs_before(struct node_store *s)
{
    uv_mutex_lock(&s->mutex);
    if (s->vfs_before[0] != '\0' && node_cryptvfs_unregister(s->vfs_before) == 0) {
        s->vfs_before[0] = '\0';
        base_log(BASE_LOG_INFO, "rekeyed", "nothing of the old data key is left in memory");
    }
    uv_mutex_unlock(&s->mutex);
}

int worker_follow(struct worker *w, struct base_err *err)
{
    struct node_store *s = w->store;
    char vfs[STORE_VFS_NAME_BYTES];
    uv_mutex_lock(&s->mutex);
    int generation = s->generation;
    memcpy(vfs, s->vfs, sizeof vfs);
    uv_mutex_unlock(&s->mutex);
    if (generation == w->generation && w->db.sql != NULL)
        return 0;
    connection_close(&w->db);
    w->db.wal_pages = w->db.checked_pages = 0;
    w->open = false;
    int rc = connection_open(&w->db, vfs, s->path, w->db.writer, false, err);
    if (rc == 0)
        rc = catalog_refresh(&w->db, err);
    if (rc == 0 && w->db.writer)
        rc = heads_load(&w->db, err);
    if (rc != 0)
        connection_close(&w->db); /* never half: the next job tries again */
    w->open = w->db.sql != NULL;
    if (rc == 0)
        w->generation = generation;
    drop_vfs_before(s);
    return rc;
}

static int rekey(struct worker *w, struct node_rekey *r, struct base_err *err)
{
    static atomic_int count;
    struct node_store *s = w->store;
    struct names n;
    char vfs[STORE_VFS_NAME_BYTES];
    names_of(&n, r->dir);
    if (s->vfs_before[0] != '\0')
        return base_fail(err, BASE_EBUSY, "a reader is still on the file before this one");
    (void)snprintf(vfs, sizeof vfs, "everward-key-%d", atomic_fetch_add(&count, 1));
    int rc = node_cryptvfs_register(vfs, r->new_key, err);
    if (rc != 0)
        return rc;
    rc = empty_wal(w->db.sql, err);
    if (rc == 0)
        rc = make_copy(r, &n, err);
    if (rc == 0)
        rc = empty_wal(w->db.sql, err); /* nobody has written; to be sure, right before the swap */
    if (rc != 0) {
        (void)unlink(n.next);
        (void)node_cryptvfs_unregister(vfs);
        return rc;
    }
    rc = swap(r, &n, err);
    /* Not in place: the old file stays, but its log may be unlinked already: every connection is opened anew all the same. */
    bool stays = !r->placed;
    uv_mutex_lock(&s->mutex);
    if (!stays) {
        memcpy(s->vfs_before, s->vfs, sizeof vfs);
        memcpy(s->vfs, vfs, sizeof vfs);
    }
    uv_mutex_unlock(&s->mutex);
    /* The writer first and alone: the first connection to a new file makes its log, which takes a lock that others would hold. */
    connection_close(&w->db);
    int followed = worker_follow(w, rc == 0 ? err : NULL);
    uv_mutex_lock(&s->mutex);
    w->generation = followed == 0 ? s->generation + 1 : w->generation;
    s->generation++;
    uv_cond_broadcast(&s->read_wake);
    uv_cond_broadcast(&s->check_wake);
    uv_mutex_unlock(&s->mutex);
    if (stays) {
        (void)unlink(n.next);
        (void)node_cryptvfs_unregister(vfs);
    }
    return rc != 0 ? rc : followed;
}

void rekey_run(struct worker *w, struct node_job *job)
{
    struct base_err err = {0};
    job->rc = rekey(w, (struct node_rekey *)job, &err);
    job->err = err;
    if (job->rc != 0)
        base_log(BASE_LOG_ERROR, "rekey", "the data key is not changed: %s", err.text);
}
