#include "tests/unit/node/cryptvfs/support.h"

#include <dirent.h>
#include <time.h>
#include <unistd.h>

const uint8_t test_key[32] = {7, 1, 2, 3, 4, 5, 6, 7, 8, 9};
static const uint8_t other_key[32] = {9, 9, 9};
char test_dir[128];

static int set_up_in(const char *parent)
{
    struct base_err err;
    snprintf(test_dir, sizeof test_dir, "%s/test_cryptvfs_XXXXXX", parent);
    if (!mkdtemp(test_dir))
        return -1;
    int rc = node_cryptvfs_register(VFS, test_key, &err) |
             node_cryptvfs_register(OTHER_VFS, other_key, &err);
    if (rc != 0) /* a failed test before this one left a connection open */
        rmdir(test_dir);
    return rc;
}

int support_set_up(void **state)
{
    (void)state;
    return set_up_in(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
}

int support_set_up_on_disk(void **state)
{
    (void)state;
    return set_up_in("/tmp");
}

int support_tear_down(void **state)
{
    (void)state;
    char path[512];
    struct dirent *e;
    DIR *d = opendir(test_dir);
    while (d && (e = readdir(d))) {
        snprintf(path, sizeof path, "%s/%s", test_dir, e->d_name);
        unlink(path);
    }
    if (d)
        closedir(d);
    rmdir(test_dir);
    return node_cryptvfs_unregister(VFS) | node_cryptvfs_unregister(OTHER_VFS);
}

const char *at(const char *name)
{
    static char paths[8][256];
    static unsigned next;
    char *p = paths[next++ % 8];
    snprintf(p, sizeof paths[0], "%s/%s", test_dir, name);
    return p;
}

sqlite3 *open_sealed(const char *path)
{
    struct base_err err;
    sqlite3 *db = NULL;
    if (node_cryptvfs_open(VFS, path, RWC, &db, &err) != 0)
        fail_msg("%s", err.text);
    return db;
}

sqlite3 *open_plain(const char *path)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open_v2(path, &db, RWC, NULL), SQLITE_OK);
    return db;
}

int try(sqlite3 *db, const char *sql)
{
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? rc : sqlite3_extended_errcode(db);
}

void run(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%.200s: %s (%d)", sql, sqlite3_errmsg(db), sqlite3_extended_errcode(db));
}

int64_t number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK || sqlite3_step(st) != SQLITE_ROW) {
        sqlite3_finalize(st);
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    }
    int64_t v = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return v;
}

char *answer(sqlite3 *db, const char *sql, int *rc)
{
    sqlite3_stmt *st = NULL;
    sqlite3_str *s = sqlite3_str_new(db);
    int code = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
    while (code == SQLITE_OK || code == SQLITE_ROW) {
        code = sqlite3_step(st);
        for (int i = 0; code == SQLITE_ROW && i < sqlite3_column_count(st); i++)
            sqlite3_str_appendf(s, "%s|", (const char *)sqlite3_column_text(st, i));
        if (code == SQLITE_ROW)
            sqlite3_str_appendchar(s, 1, '\n');
    }
    sqlite3_finalize(st);
    char *text = sqlite3_str_finish(s);
    if (rc)
        *rc = code == SQLITE_DONE ? SQLITE_OK : sqlite3_extended_errcode(db);
    if (code == SQLITE_DONE)
        return text ? text : sqlite3_mprintf("");
    sqlite3_free(text);
    return NULL;
}

void check_integrity(sqlite3 *db)
{
    char *a = answer(db, "PRAGMA integrity_check", NULL);
    if (!a || strcmp(a, "ok|\n") != 0)
        fail_msg("integrity_check: %s", a ? a : sqlite3_errmsg(db));
    sqlite3_free(a);
}

void close_db(sqlite3 *db)
{
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

void keep_wal(sqlite3 *db)
{
    run(db, "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=OFF");
    assert_int_equal(sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL), SQLITE_OK);
}

struct bytes load(const char *path)
{
    struct bytes b = {NULL, 0, false};
    FILE *f = fopen(path, "rb");
    if (!f)
        return b;
    fseek(f, 0, SEEK_END);
    b.len = (size_t)ftell(f);
    rewind(f);
    b.data = malloc(b.len + 1);
    b.there = true;
    assert_non_null(b.data);
    assert_int_equal(fread(b.data, 1, b.len, f), b.len);
    fclose(f);
    return b;
}

void store(const char *path, struct bytes b)
{
    if (!b.there) {
        unlink(path);
        return;
    }
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b.data, 1, b.len, f), b.len);
    fclose(f);
}

void forget(struct bytes *b)
{
    free(b->data);
    b->data = NULL;
    b->len = 0;
}

void copy_db(const char *from, const char *to)
{
    static const char *const ends[] = {"", "-wal", "-journal"};
    char a[300], b[300];
    remove_db(to);
    for (size_t i = 0; i < 3; i++) {
        snprintf(a, sizeof a, "%s%s", from, ends[i]);
        snprintf(b, sizeof b, "%s%s", to, ends[i]);
        struct bytes x = load(a);
        store(b, x);
        forget(&x);
    }
}

void remove_db(const char *path)
{
    static const char *const ends[] = {"", "-wal", "-journal", "-shm"};
    char a[300];
    for (size_t i = 0; i < 4; i++) {
        snprintf(a, sizeof a, "%s%s", path, ends[i]);
        unlink(a);
    }
}

uint64_t rnd(uint64_t *seed)
{
    uint64_t x = *seed += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

uint64_t rnd_below(uint64_t *seed, uint64_t n)
{
    return rnd(seed) % n;
}

uint64_t test_seed(void)
{
    const char *given = getenv("EVERWARD_SEED");
    uint64_t seed = given ? (uint64_t)strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    print_message("EVERWARD_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}
