/* node/cryptvfs/vfs.c - registering, opening files by kind, and what all kinds hand through. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "node/cryptvfs/internal.h"

#ifndef SQLITE_IOCAP_SUBPAGE_READ
#define SQLITE_IOCAP_SUBPAGE_READ 0x00008000 /* newer than Debian 12's header */
#endif

enum {
    ATOMIC_WRITES = SQLITE_IOCAP_ATOMIC | SQLITE_IOCAP_ATOMIC512 | SQLITE_IOCAP_ATOMIC1K |
                    SQLITE_IOCAP_ATOMIC2K | SQLITE_IOCAP_ATOMIC4K | SQLITE_IOCAP_ATOMIC8K |
                    SQLITE_IOCAP_ATOMIC16K | SQLITE_IOCAP_ATOMIC32K | SQLITE_IOCAP_ATOMIC64K |
                    SQLITE_IOCAP_BATCH_ATOMIC,
    REAL_FILE_AT = (sizeof(struct node_crypt_file) + 15) / 16 * 16
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct node_crypt_vfs *registry;

static struct node_crypt_file *self(sqlite3_file *file)
{
    return (struct node_crypt_file *)file;
}

int node_crypt_owner(struct node_crypt_file *f)
{
    if (!f->owner) {
        /* Not at open: SQLite opens journals of other databases by a name it cannot be asked about.
         */
        sqlite3_file *db = sqlite3_database_file_object(f->name);
        if (!db || db->pMethods != &node_crypt_db_methods)
            return SQLITE_IOERR_DATA;
        f->owner = self(db);
    }
    return f->owner->db.has_key ? SQLITE_OK : SQLITE_IOERR_DATA;
}

int node_crypt_close(sqlite3_file *file)
{
    struct node_crypt_file *f = self(file);
    int rc = f->real->pMethods ? f->real->pMethods->xClose(f->real) : SQLITE_OK;
    if (f->kind == CRYPT_DB)
        node_crypt_keys_free(f->db.key);
    if (f->kind == CRYPT_JOURNAL && f->journal) {
        node_crypt_wipe(f->journal, sizeof *f->journal);
        sqlite3_free(f->journal);
    }
    if (f->work) {
        node_crypt_wipe(f->work, sizeof *f->work);
        sqlite3_free(f->work);
    }
    atomic_fetch_sub(&f->vfs->open_files, 1);
    f->file.pMethods = NULL;
    return rc;
}

int node_crypt_lock(sqlite3_file *file, int level)
{
    struct node_crypt_file *f = self(file);
    if (f->kind == CRYPT_DB)
        f->db.size_known = false;
    return f->real->pMethods->xLock(f->real, level);
}

int node_crypt_unlock(sqlite3_file *file, int level)
{
    struct node_crypt_file *f = self(file);
    if (f->kind == CRYPT_DB)
        f->db.size_known = false;
    return f->real->pMethods->xUnlock(f->real, level);
}

int node_crypt_check_reserved(sqlite3_file *file, int *out)
{
    struct node_crypt_file *f = self(file);
    return f->real->pMethods->xCheckReservedLock(f->real, out);
}

int node_crypt_control(sqlite3_file *file, int op, void *arg)
{
    struct node_crypt_file *f = self(file);
    switch (op) {
    case SQLITE_FCNTL_MMAP_SIZE: /* a map would show ciphertext */
        *(sqlite3_int64 *)arg = 0;
        return SQLITE_OK;
    case SQLITE_FCNTL_CHUNK_SIZE: /* both would leave pages that were never sealed */
    case SQLITE_FCNTL_SIZE_HINT:
        return SQLITE_OK;
    case SQLITE_FCNTL_BEGIN_ATOMIC_WRITE:
    case SQLITE_FCNTL_COMMIT_ATOMIC_WRITE:
    case SQLITE_FCNTL_ROLLBACK_ATOMIC_WRITE:
        return SQLITE_NOTFOUND;
    default:
        break;
    }
    int rc = f->real->pMethods->xFileControl(f->real, op, arg);
    if (op == SQLITE_FCNTL_VFSNAME && rc == SQLITE_OK)
        *(char **)arg = sqlite3_mprintf("%s/%z", f->vfs->name, *(char **)arg);
    return rc;
}

int node_crypt_sector_bytes(sqlite3_file *file)
{
    struct node_crypt_file *f = self(file);
    return f->real->pMethods->xSectorSize(f->real);
}

/* Without POWERSAFE_OVERWRITE SQLite would pad and split WAL frames. */
int node_crypt_device(sqlite3_file *file)
{
    struct node_crypt_file *f = self(file);
    int can = f->real->pMethods->xDeviceCharacteristics(f->real);
    can &= ~(ATOMIC_WRITES | SQLITE_IOCAP_SUBPAGE_READ | SQLITE_IOCAP_SAFE_APPEND);
    return can | SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static enum node_crypt_kind kind_of(const char *name, int flags)
{
    if (flags &
        SQLITE_OPEN_SUPER_JOURNAL) /* file names only, and journals looked through for them */
        return CRYPT_CLEAR;
    if (!name || (flags & SQLITE_OPEN_DELETEONCLOSE))
        return CRYPT_TEMP;
    if (flags & SQLITE_OPEN_MAIN_DB)
        return CRYPT_DB;
    if (flags & SQLITE_OPEN_WAL)
        return CRYPT_WAL;
    if (flags & SQLITE_OPEN_MAIN_JOURNAL)
        return CRYPT_JOURNAL;
    return CRYPT_TEMP;
}

static int prepare_kind(struct node_crypt_file *f)
{
    f->work = sqlite3_malloc64(sizeof *f->work);
    if (!f->work)
        return SQLITE_NOMEM;
    f->work->nonces_left = 0;
    switch (f->kind) {
    case CRYPT_DB:
        f->file.pMethods = &node_crypt_db_methods;
        break;
    case CRYPT_WAL:
        f->wal.pending = -1;
        f->file.pMethods = &node_crypt_wal_methods;
        break;
    case CRYPT_JOURNAL:
        f->journal = sqlite3_malloc64(sizeof *f->journal);
        if (!f->journal)
            return SQLITE_NOMEM;
        memset(f->journal, 0, sizeof *f->journal);
        f->journal->read_at = -1;
        f->file.pMethods = &node_crypt_journal_methods;
        break;
    case CRYPT_TEMP:
        f->temp.number = atomic_fetch_add(&f->vfs->temp_files, 1);
        f->temp.cached = -1;
        f->file.pMethods = &node_crypt_temp_methods;
        break;
    case CRYPT_CLEAR:
        break;
    }
    return SQLITE_OK;
}

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                    int *out_flags)
{
    struct node_crypt_vfs *v = (struct node_crypt_vfs *)vfs;
    struct node_crypt_file *f = self(file);
    enum node_crypt_kind kind = kind_of(name, flags);
    if (kind == CRYPT_CLEAR)
        return v->base->xOpen(v->base, name, file, flags, out_flags);

    memset(f, 0, sizeof *f);
    f->vfs = v;
    f->kind = kind;
    f->name = name;
    f->real = (sqlite3_file *)((uint8_t *)file + REAL_FILE_AT);
    f->real->pMethods = NULL;
    int rc = v->base->xOpen(v->base, name, f->real, flags, out_flags);
    if (rc == SQLITE_OK) {
        atomic_fetch_add(&v->open_files, 1);
        rc = prepare_kind(f);
        if (rc != SQLITE_OK)
            node_crypt_close(file);
    } else if (f->real->pMethods) {
        f->real->pMethods->xClose(f->real);
    }
    if (rc != SQLITE_OK)
        f->file.pMethods = NULL;
    return rc;
}

static sqlite3_vfs *base_of(sqlite3_vfs *vfs)
{
    return ((struct node_crypt_vfs *)vfs)->base;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync_dir)
{
    return base_of(vfs)->xDelete(base_of(vfs), name, sync_dir);
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
    return base_of(vfs)->xAccess(base_of(vfs), name, flags, out);
}

static int vfs_full_pathname(sqlite3_vfs *vfs, const char *name, int bytes, char *out)
{
    return base_of(vfs)->xFullPathname(base_of(vfs), name, bytes, out);
}

static void *vfs_dl_open(sqlite3_vfs *vfs, const char *path)
{
    return base_of(vfs)->xDlOpen(base_of(vfs), path);
}

static void vfs_dl_error(sqlite3_vfs *vfs, int bytes, char *out)
{
    base_of(vfs)->xDlError(base_of(vfs), bytes, out);
}

static void (*vfs_dl_sym(sqlite3_vfs *vfs, void *library, const char *symbol))(void)
{
    return base_of(vfs)->xDlSym(base_of(vfs), library, symbol);
}

static void vfs_dl_close(sqlite3_vfs *vfs, void *library)
{
    base_of(vfs)->xDlClose(base_of(vfs), library);
}

static int vfs_randomness(sqlite3_vfs *vfs, int bytes, char *out)
{
    return base_of(vfs)->xRandomness(base_of(vfs), bytes, out);
}

static int vfs_sleep(sqlite3_vfs *vfs, int us)
{
    return base_of(vfs)->xSleep(base_of(vfs), us);
}

static int vfs_time(sqlite3_vfs *vfs, double *out)
{
    return base_of(vfs)->xCurrentTime(base_of(vfs), out);
}

static int vfs_time_ms(sqlite3_vfs *vfs, sqlite3_int64 *out)
{
    return base_of(vfs)->xCurrentTimeInt64(base_of(vfs), out);
}

static int vfs_last_error(sqlite3_vfs *vfs, int bytes, char *out)
{
    return base_of(vfs)->xGetLastError(base_of(vfs), bytes, out);
}

static void fill_vfs(struct node_crypt_vfs *v)
{
    v->vfs = (sqlite3_vfs){
        .iVersion = v->base->iVersion >= 2 ? 2 : 1,
        .szOsFile = REAL_FILE_AT + v->base->szOsFile,
        .mxPathname = v->base->mxPathname,
        .zName = v->name,
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_pathname,
        .xDlOpen = vfs_dl_open,
        .xDlError = vfs_dl_error,
        .xDlSym = vfs_dl_sym,
        .xDlClose = vfs_dl_close,
        .xRandomness = vfs_randomness,
        .xSleep = vfs_sleep,
        .xCurrentTime = vfs_time,
        .xGetLastError = vfs_last_error,
        .xCurrentTimeInt64 = v->base->iVersion >= 2 ? vfs_time_ms : NULL,
    };
}

sqlite3_vfs *node_crypt_find(const char *vfs_name)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find(vfs_name);
    return vfs && vfs->xOpen == vfs_open ? vfs : NULL;
}

static int register_locked(struct node_crypt_vfs *v, struct base_err *err)
{
    if (sqlite3_vfs_find(v->name))
        return base_fail(err, BASE_EEXISTS, "a VFS named %s is registered already", v->name);
    if (sqlite3_vfs_register(&v->vfs, 0) != SQLITE_OK)
        return base_fail(err, BASE_ENOMEM, "could not register the VFS %s", v->name);
    v->next = registry;
    registry = v;
    return 0;
}

int node_cryptvfs_register_over(const char *vfs_name, const char *base_name,
                                const uint8_t data_key[NODE_CRYPTVFS_KEY_BYTES],
                                struct base_err *err)
{
    int rc;
    size_t n = strlen(vfs_name);
    struct node_crypt_vfs *v = NULL;
    if (n == 0 || n > NODE_CRYPTVFS_NAME_BYTES_MAX)
        return base_fail(err, BASE_EINVALID, "a VFS name has 1 to %d characters",
                         NODE_CRYPTVFS_NAME_BYTES_MAX);
    v = calloc(1, sizeof *v);
    if (!v)
        return base_fail(err, BASE_ENOMEM, "no memory for the VFS %s", vfs_name);
    memcpy(v->name, vfs_name, n + 1);
    rc = sqlite3_initialize();
    v->base = rc == SQLITE_OK ? sqlite3_vfs_find(base_name) : NULL;
    if (!v->base) {
        rc = base_fail(err, BASE_ENOTFOUND, "SQLite has no VFS to build on");
        goto out;
    }
    if (node_crypt_keys_new(&v->keys, data_key) != SQLITE_OK) {
        rc = base_fail(err, BASE_ENOMEM, "no guarded memory for the data key");
        goto out;
    }
    fill_vfs(v);
    pthread_mutex_lock(&registry_lock);
    rc = register_locked(v, err);
    pthread_mutex_unlock(&registry_lock);
out:
    if (rc != 0) {
        node_crypt_keys_free(v->keys);
        free(v);
    }
    return rc;
}

int node_cryptvfs_register(const char *vfs_name, const uint8_t data_key[NODE_CRYPTVFS_KEY_BYTES],
                           struct base_err *err)
{
    return node_cryptvfs_register_over(vfs_name, NULL, data_key, err);
}

int node_cryptvfs_unregister(const char *vfs_name)
{
    int rc = BASE_ENOTFOUND;
    pthread_mutex_lock(&registry_lock);
    for (struct node_crypt_vfs **at = &registry; *at; at = &(*at)->next) {
        struct node_crypt_vfs *v = *at;
        if (strcmp(v->name, vfs_name) != 0)
            continue;
        rc = BASE_EBUSY;
        if (atomic_load(&v->open_files) != 0)
            break;
        sqlite3_vfs_unregister(&v->vfs);
        *at = v->next;
        node_crypt_keys_free(v->keys);
        free(v);
        rc = 0;
        break;
    }
    pthread_mutex_unlock(&registry_lock);
    return rc;
}
