#include "tests/unit/node/cryptvfs/disk.h"

#include "tests/unit/node/cryptvfs/support.h"

enum { FILES_MAX = 16, SECTOR_BYTES = 512, SHM_REGIONS_MAX = 16, PATH_BYTES = 256 };

struct promise {
    sqlite3_int64 at;
    size_t len;
    uint8_t *bytes; /* NULL: truncate to `at` */
};

struct image {
    uint8_t *data;
    size_t len;
};

struct disk_file {
    char path[PATH_BYTES];
    bool used, there; /* there: what programs see */
    bool durable;     /* the folder entry is on the disk */
    bool ghost; /* an entry that was deleted, or replaced since, may still be on the disk: old */
    struct image live, disk, old;
    struct promise *promises;
    size_t promise_count;
    void *shm[SHM_REGIONS_MAX];
};

struct handle {
    sqlite3_file file;
    struct disk_file *of;
    bool delete_on_close;
    bool sync_folder; /* SQLite syncs the folder with the first sync of a new journal */
};

static struct disk_file files[FILES_MAX];
static long operations, fail_at = -1;

static bool failing(void)
{
    operations++;
    return fail_at >= 0 && operations > fail_at;
}

static void resize(struct image *i, size_t len)
{
    if (len == i->len)
        return;
    i->data = realloc(i->data, len + 1);
    assert_non_null(i->data);
    if (len > i->len)
        memset(i->data + i->len, 0, len - i->len);
    i->len = len;
}

static void put(struct image *i, const uint8_t *bytes, size_t len, size_t at_byte)
{
    if (at_byte + len > i->len)
        resize(i, at_byte + len);
    memcpy(i->data + at_byte, bytes, len);
}

static void drop_promises(struct disk_file *f)
{
    for (size_t i = 0; i < f->promise_count; i++)
        free(f->promises[i].bytes);
    free(f->promises);
    f->promises = NULL;
    f->promise_count = 0;
}

static void promise(struct disk_file *f, const void *bytes, size_t len, sqlite3_int64 at_byte)
{
    f->promises = realloc(f->promises, (f->promise_count + 1) * sizeof *f->promises);
    assert_non_null(f->promises);
    struct promise *p = &f->promises[f->promise_count++];
    *p = (struct promise){at_byte, len, NULL};
    if (bytes) {
        p->bytes = malloc(len + 1);
        assert_non_null(p->bytes);
        memcpy(p->bytes, bytes, len);
    }
}

static void wipe(struct disk_file *f)
{
    drop_promises(f);
    free(f->live.data);
    free(f->disk.data);
    free(f->old.data);
    for (int i = 0; i < SHM_REGIONS_MAX; i++)
        free(f->shm[i]);
    memset(f, 0, sizeof *f);
}

static struct disk_file *find(const char *path)
{
    for (int i = 0; i < FILES_MAX; i++)
        if (files[i].used && strcmp(files[i].path, path) == 0)
            return &files[i];
    return NULL;
}

static struct disk_file *make(const char *path)
{
    static unsigned temps;
    for (int i = 0; i < FILES_MAX; i++) {
        if (files[i].used)
            continue;
        files[i].used = true;
        if (path)
            snprintf(files[i].path, PATH_BYTES, "%s", path);
        else
            snprintf(files[i].path, PATH_BYTES, "temp%u", temps++);
        return &files[i];
    }
    return NULL;
}

static struct disk_file *of(sqlite3_file *file)
{
    return ((struct handle *)file)->of;
}

static int d_close(sqlite3_file *file)
{
    struct handle *h = (struct handle *)file;
    if (h->delete_on_close)
        wipe(h->of);
    return SQLITE_OK;
}

static int d_read(sqlite3_file *file, void *out, int amount, sqlite3_int64 offset)
{
    struct image *i = &of(file)->live;
    size_t n = (size_t)amount, o = (size_t)offset;
    size_t there = o >= i->len ? 0 : i->len - o < n ? i->len - o : n;
    if (failing())
        return SQLITE_IOERR_READ;
    if (there)
        memcpy(out, i->data + o, there);
    memset((uint8_t *)out + there, 0, n - there);
    return there < n ? SQLITE_IOERR_SHORT_READ : SQLITE_OK;
}

static int d_write(sqlite3_file *file, const void *in, int amount, sqlite3_int64 offset)
{
    struct disk_file *f = of(file);
    if (failing())
        return SQLITE_IOERR_WRITE;
    promise(f, in, (size_t)amount, offset);
    put(&f->live, in, (size_t)amount, (size_t)offset);
    return SQLITE_OK;
}

static int d_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct disk_file *f = of(file);
    if (failing())
        return SQLITE_IOERR_TRUNCATE;
    promise(f, NULL, 0, size);
    resize(&f->live, (size_t)size);
    return SQLITE_OK;
}

static void keep(struct disk_file *f, const struct promise *p)
{
    if (p->bytes)
        put(&f->disk, p->bytes, p->len, (size_t)p->at);
    else
        resize(&f->disk, (size_t)p->at);
}

/* All creations and deletions so far are on the disk. */
static void sync_folder(void)
{
    for (int i = 0; i < FILES_MAX; i++) {
        files[i].durable = files[i].there;
        files[i].ghost = false;
        resize(&files[i].old, 0);
    }
}

static int d_sync(sqlite3_file *file, int flags)
{
    struct disk_file *f = of(file);
    struct handle *h = (struct handle *)file;
    (void)flags;
    if (failing())
        return SQLITE_IOERR_FSYNC;
    for (size_t i = 0; i < f->promise_count; i++)
        keep(f, &f->promises[i]);
    drop_promises(f);
    f->durable = true;
    if (h->sync_folder)
        sync_folder();
    h->sync_folder = false;
    return SQLITE_OK;
}

static int d_size(sqlite3_file *file, sqlite3_int64 *size)
{
    *size = (sqlite3_int64)of(file)->live.len;
    return SQLITE_OK;
}

static int d_lock(sqlite3_file *file, int level)
{
    (void)file;
    (void)level;
    return SQLITE_OK;
}

static int d_reserved(sqlite3_file *file, int *out)
{
    (void)file;
    *out = 0;
    return SQLITE_OK;
}

static int d_control(sqlite3_file *file, int op, void *arg)
{
    (void)file;
    (void)op;
    (void)arg;
    return SQLITE_NOTFOUND;
}

static int d_sector(sqlite3_file *file)
{
    (void)file;
    return SECTOR_BYTES;
}

static int d_device(sqlite3_file *file)
{
    (void)file;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static int d_shm_map(sqlite3_file *file, int region, int bytes, int extend, void volatile **out)
{
    struct disk_file *f = of(file);
    if (region >= SHM_REGIONS_MAX)
        return SQLITE_IOERR_SHMMAP;
    if (!f->shm[region] && extend)
        f->shm[region] = calloc(1, (size_t)bytes);
    *out = f->shm[region];
    return SQLITE_OK;
}

static int d_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    (void)file;
    (void)offset;
    (void)n;
    (void)flags;
    return SQLITE_OK;
}

static void d_shm_barrier(sqlite3_file *file)
{
    (void)file;
}

static int d_shm_unmap(sqlite3_file *file, int delete_it)
{
    struct disk_file *f = of(file);
    (void)delete_it;
    for (int i = 0; i < SHM_REGIONS_MAX; i++) {
        free(f->shm[i]);
        f->shm[i] = NULL;
    }
    return SQLITE_OK;
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = d_close,
    .xRead = d_read,
    .xWrite = d_write,
    .xTruncate = d_truncate,
    .xSync = d_sync,
    .xFileSize = d_size,
    .xLock = d_lock,
    .xUnlock = d_lock,
    .xCheckReservedLock = d_reserved,
    .xFileControl = d_control,
    .xSectorSize = d_sector,
    .xDeviceCharacteristics = d_device,
    .xShmMap = d_shm_map,
    .xShmLock = d_shm_lock,
    .xShmBarrier = d_shm_barrier,
    .xShmUnmap = d_shm_unmap,
};

static int d_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags)
{
    struct handle *h = (struct handle *)file;
    (void)vfs;
    memset(h, 0, sizeof *h);
    struct disk_file *f = name ? find(name) : NULL;
    if ((!f || !f->there) && !(flags & SQLITE_OPEN_CREATE))
        return SQLITE_CANTOPEN;
    if (failing())
        return SQLITE_CANTOPEN;
    if (!f)
        f = make(name);
    if (!f)
        return SQLITE_CANTOPEN;
    h->sync_folder =
        !f->there &&
        (flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL | SQLITE_OPEN_SUPER_JOURNAL)) != 0;
    f->there = true;
    h->of = f;
    h->delete_on_close = (flags & SQLITE_OPEN_DELETEONCLOSE) != 0;
    h->file.pMethods = &methods;
    if (out_flags)
        *out_flags = flags;
    return SQLITE_OK;
}

static int d_delete(sqlite3_vfs *vfs, const char *name, int sync_dir)
{
    (void)vfs;
    struct disk_file *f = find(name);
    if (!f || !f->there)
        return SQLITE_IOERR_DELETE_NOENT;
    if (failing())
        return SQLITE_IOERR_DELETE;
    if (f->durable) { /* what comes back if the deletion is lost */
        f->ghost = true;
        resize(&f->old, f->disk.len);
        if (f->disk.len)
            memcpy(f->old.data, f->disk.data, f->disk.len);
    }
    drop_promises(f);
    resize(&f->live, 0);
    resize(&f->disk, 0);
    f->there = f->durable = false;
    if (sync_dir)
        sync_folder();
    return SQLITE_OK;
}

static int d_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
    (void)vfs;
    (void)flags;
    struct disk_file *f = find(name);
    *out = f && f->there && (flags != SQLITE_ACCESS_EXISTS || f->live.len > 0);
    return SQLITE_OK;
}

static int d_full(sqlite3_vfs *vfs, const char *name, int bytes, char *out)
{
    (void)vfs;
    snprintf(out, (size_t)bytes, "%s", name);
    return SQLITE_OK;
}

static int d_random(sqlite3_vfs *vfs, int bytes, char *out)
{
    (void)vfs;
    sqlite3_vfs *os = sqlite3_vfs_find(NULL);
    return os->xRandomness(os, bytes, out);
}

static int d_sleep(sqlite3_vfs *vfs, int us)
{
    (void)vfs;
    return us;
}

static int d_time(sqlite3_vfs *vfs, double *out)
{
    (void)vfs;
    *out = 2460000.5;
    return SQLITE_OK;
}

static int d_error(sqlite3_vfs *vfs, int bytes, char *out)
{
    (void)vfs;
    if (bytes > 0)
        out[0] = '\0';
    return 0;
}

static sqlite3_vfs disk_vfs = {
    .iVersion = 1,
    .szOsFile = sizeof(struct handle),
    .mxPathname = PATH_BYTES - 1,
    .zName = DISK_VFS,
    .xOpen = d_open,
    .xDelete = d_delete,
    .xAccess = d_access,
    .xFullPathname = d_full,
    .xRandomness = d_random,
    .xSleep = d_sleep,
    .xCurrentTime = d_time,
    .xGetLastError = d_error,
};

int disk_register(void)
{
    return sqlite3_vfs_register(&disk_vfs, 0);
}

void disk_clear(void)
{
    for (int i = 0; i < FILES_MAX; i++)
        wipe(&files[i]);
    operations = 0;
    fail_at = -1;
}

void disk_unregister(void)
{
    disk_clear();
    sqlite3_vfs_unregister(&disk_vfs);
}

void disk_fail_after(long n)
{
    operations = 0;
    fail_at = n;
}

long disk_operations(void)
{
    return operations;
}

int disk_has_failed(void)
{
    return fail_at >= 0 && operations > fail_at;
}

static void keep_some_sectors(struct disk_file *f, const struct promise *p, uint64_t *seed)
{
    size_t from = 0;
    while (from < p->len) {
        size_t n = SECTOR_BYTES - ((size_t)p->at + from) % SECTOR_BYTES;
        n = n < p->len - from ? n : p->len - from;
        if (rnd_below(seed, 2))
            put(&f->disk, p->bytes + from, n, (size_t)p->at + from);
        from += n;
    }
}

void disk_cut_power(uint64_t seed)
{
    uint64_t mood = rnd_below(&seed, 4); /* some cuts lose all, some little */
    for (int i = 0; i < FILES_MAX; i++) {
        struct disk_file *f = &files[i];
        if (!f->used)
            continue;
        for (size_t k = 0; k < f->promise_count; k++) {
            const struct promise *p = &f->promises[k];
            uint64_t fate = rnd_below(&seed, 8);
            if (fate < mood * 2)
                keep(f, p);
            else if (fate == 7 && p->bytes)
                keep_some_sectors(f, p, &seed);
        }
        drop_promises(f);
        bool is_new = f->there && (f->durable || rnd_below(&seed, 2));
        if (!is_new && !(f->ghost && rnd_below(&seed, 2))) {
            wipe(f);
            continue;
        }
        struct image *from = is_new ? &f->disk : &f->old;
        resize(&f->live, from->len);
        resize(&f->disk, from->len);
        if (from->len) {
            memcpy(f->live.data, from->data, from->len);
            memmove(f->disk.data, from->data, from->len);
        }
        f->there = f->durable = true;
        f->ghost = false;
    }
    operations = 0;
    fail_at = -1;
}
