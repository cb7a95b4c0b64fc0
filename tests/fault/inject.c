#include "tests/fault/inject.h"

#include <cjson/cJSON.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/check.h"

static atomic_int armed = -1;
static atomic_long left, calls;
static atomic_bool persistent, fired;
static long injected[INJECT_KINDS];

static const char *const names[] = {"allocations", "SQLite allocations", "opens",       "reads",
                                    "writes",      "full disks",         "torn writes", "syncs",
                                    "truncations", "index mappings",     "locks"};

static bool fails(enum inject_kind kind)
{
    if (atomic_load(&armed) != (int)kind)
        return false;
    (void)atomic_fetch_add(&calls, 1);
    long n = atomic_fetch_sub(&left, 1);
    if (n > 1 || (n < 1 && !atomic_load(&persistent)))
        return false;
    atomic_store(&fired, true);
    return true;
}

void inject_arm(enum inject_kind kind, long n, bool again)
{
    atomic_store(&fired, false);
    atomic_store(&persistent, again);
    atomic_store(&left, n);
    atomic_store(&calls, 0);
    atomic_store(&armed, (int)kind);
}

bool inject_disarm(void)
{
    int kind = atomic_exchange(&armed, -1);
    bool did = atomic_load(&fired);
    if (kind >= 0 && did)
        injected[kind]++;
    return did;
}

long inject_calls(void)
{
    return atomic_load(&calls);
}

const char *inject_name(enum inject_kind kind)
{
    return names[kind];
}

void inject_figures(const char *what)
{
    char line[512];
    size_t n = 0;
    for (int k = 0; k < INJECT_KINDS; k++)
        if (injected[k] > 0 && n < sizeof line)
            n += (size_t)snprintf(line + n, sizeof line - n, " %ld %s,", injected[k], names[k]);
    print_message("## injected one at a time into %s:%.*s\n", what, n > 0 ? (int)n - 1 : 0, line);
    memset(injected, 0, sizeof injected);
}

/* ---- allocations -------------------------------------------------------------------------- */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);

void *__wrap_malloc(size_t n)
{
    return fails(INJECT_ALLOC) ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails(INJECT_ALLOC) ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return fails(INJECT_ALLOC) ? NULL : __real_realloc(p, n);
}

char *__wrap_strdup(const char *s)
{
    return fails(INJECT_ALLOC) ? NULL : __real_strdup(s);
}

static sqlite3_mem_methods memory;

static void *sql_malloc(int n)
{
    return fails(INJECT_SQLITE_ALLOC) ? NULL : memory.xMalloc(n);
}

static void *sql_realloc(void *p, int n)
{
    return fails(INJECT_SQLITE_ALLOC) ? NULL : memory.xRealloc(p, n);
}

/* ---- files -------------------------------------------------------------------------------- */

struct handle {
    sqlite3_file base;
    sqlite3_file *real;
};

static sqlite3_vfs *below;

static const struct sqlite3_io_methods *real_of(sqlite3_file *f, sqlite3_file **real)
{
    *real = ((struct handle *)f)->real;
    return (*real)->pMethods;
}

static int f_close(sqlite3_file *f)
{
    sqlite3_file *r;
    return real_of(f, &r)->xClose(r);
}

static int f_read(sqlite3_file *f, void *to, int n, sqlite3_int64 at)
{
    sqlite3_file *r;
    return fails(INJECT_READ) ? SQLITE_IOERR_READ : real_of(f, &r)->xRead(r, to, n, at);
}

static int f_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 at)
{
    sqlite3_file *r;
    const struct sqlite3_io_methods *m = real_of(f, &r);
    if (fails(INJECT_WRITE))
        return SQLITE_IOERR_WRITE;
    if (fails(INJECT_FULL))
        return SQLITE_FULL;
    if (fails(INJECT_SHORT)) {
        (void)m->xWrite(r, from, n / 2, at);
        return SQLITE_IOERR_WRITE;
    }
    return m->xWrite(r, from, n, at);
}

static int f_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    sqlite3_file *r;
    return fails(INJECT_TRUNCATE) ? SQLITE_IOERR_TRUNCATE : real_of(f, &r)->xTruncate(r, size);
}

static int f_sync(sqlite3_file *f, int flags)
{
    sqlite3_file *r;
    return fails(INJECT_SYNC) ? SQLITE_IOERR_FSYNC : real_of(f, &r)->xSync(r, flags);
}

static int f_size(sqlite3_file *f, sqlite3_int64 *size)
{
    sqlite3_file *r;
    return real_of(f, &r)->xFileSize(r, size);
}

static int f_lock(sqlite3_file *f, int level)
{
    sqlite3_file *r;
    return fails(INJECT_LOCK) ? SQLITE_IOERR_LOCK : real_of(f, &r)->xLock(r, level);
}

static int f_unlock(sqlite3_file *f, int level)
{
    sqlite3_file *r;
    return real_of(f, &r)->xUnlock(r, level);
}

static int f_reserved(sqlite3_file *f, int *out)
{
    sqlite3_file *r;
    return real_of(f, &r)->xCheckReservedLock(r, out);
}

static int f_control(sqlite3_file *f, int op, void *arg)
{
    sqlite3_file *r;
    return real_of(f, &r)->xFileControl(r, op, arg);
}

static int f_sector(sqlite3_file *f)
{
    sqlite3_file *r;
    return real_of(f, &r)->xSectorSize(r);
}

static int f_character(sqlite3_file *f)
{
    sqlite3_file *r;
    return real_of(f, &r)->xDeviceCharacteristics(r);
}

static int f_shm_map(sqlite3_file *f, int region, int size, int extend, void volatile **out)
{
    sqlite3_file *r;
    const struct sqlite3_io_methods *m = real_of(f, &r);
    return fails(INJECT_SHM) ? SQLITE_IOERR_SHMMAP : m->xShmMap(r, region, size, extend, out);
}

static int f_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    sqlite3_file *r;
    const struct sqlite3_io_methods *m = real_of(f, &r);
    if ((flags & SQLITE_SHM_LOCK) != 0 && fails(INJECT_LOCK))
        return SQLITE_IOERR_SHMLOCK;
    return m->xShmLock(r, offset, n, flags);
}

static void f_shm_barrier(sqlite3_file *f)
{
    sqlite3_file *r;
    real_of(f, &r)->xShmBarrier(r);
}

static int f_shm_unmap(sqlite3_file *f, int remove)
{
    sqlite3_file *r;
    return real_of(f, &r)->xShmUnmap(r, remove);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2, /* without mapped reads: every one is seen */
    .xClose = f_close,
    .xRead = f_read,
    .xWrite = f_write,
    .xTruncate = f_truncate,
    .xSync = f_sync,
    .xFileSize = f_size,
    .xLock = f_lock,
    .xUnlock = f_unlock,
    .xCheckReservedLock = f_reserved,
    .xFileControl = f_control,
    .xSectorSize = f_sector,
    .xDeviceCharacteristics = f_character,
    .xShmMap = f_shm_map,
    .xShmLock = f_shm_lock,
    .xShmBarrier = f_shm_barrier,
    .xShmUnmap = f_shm_unmap,
};

static int v_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *out_flags)
{
    struct handle *h = (struct handle *)f;
    h->base.pMethods = NULL;
    h->real = (sqlite3_file *)(void *)(h + 1);
    if (fails(INJECT_OPEN))
        return SQLITE_CANTOPEN;
    int rc = below->xOpen(below, name, h->real, flags, out_flags);
    if (h->real->pMethods != NULL)
        h->base.pMethods = &methods;
    return rc;
}

void inject_start(void)
{
    static sqlite3_vfs vfs;
    static cJSON_Hooks hooks = {__wrap_malloc, free};
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory), SQLITE_OK);
    sqlite3_mem_methods ours = memory;
    ours.xMalloc = sql_malloc;
    ours.xRealloc = sql_realloc;
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_MALLOC, &ours), SQLITE_OK);
    /* Its own small buffers per connection would hide most allocations. */
    (void)sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0);
    cJSON_InitHooks(&hooks);
    (void)sqlite3_config(SQLITE_CONFIG_STMTJRNL_SPILL, -1); /* as connection_setup does */
    assert_int_equal(sqlite3_initialize(), SQLITE_OK);
    below = sqlite3_vfs_find(NULL);
    assert_non_null(below);
    vfs = *below;
    vfs.pNext = NULL;
    vfs.zName = "inject";
    vfs.szOsFile = (int)sizeof(struct handle) + below->szOsFile;
    vfs.xOpen = v_open;
    assert_int_equal(sqlite3_vfs_register(&vfs, 1), SQLITE_OK);
}
