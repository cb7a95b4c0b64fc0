/*
 * tests/fuzz/fuzz_cryptvfs.c - hostile bytes as database file and as log, opened with the right
 * key.
 *
 * First byte: 0 the rest is the database file; 1 the rest is the WAL of a sound database; else
 * patches of a sound database (even) or its WAL (odd): offset 2, length 1, bytes to XOR. Never a
 * crash, never wrong data: any row that can be read has the value that belongs to its id.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/cryptvfs/cryptvfs.h"

enum { FILE_BYTES_MAX = 1 << 20, RW = SQLITE_OPEN_READWRITE };

struct file {
    uint8_t *data;
    size_t len;
};

static char dir[64] = "/dev/shm/fuzz_cryptvfs_XXXXXX";
static char db_path[128], wal_path[128], shm_path[128], journal_path[128];
static struct file sound_db, sound_wal;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static void must(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static struct file load(const char *path)
{
    struct file f = {malloc(FILE_BYTES_MAX), 0};
    FILE *in = fopen(path, "rb");
    must(f.data && in, path);
    f.len = fread(f.data, 1, FILE_BYTES_MAX, in);
    fclose(in);
    return f;
}

static void store(const char *path, const uint8_t *data, size_t len)
{
    FILE *out = fopen(path, "wb");
    must(out != NULL && fwrite(data, 1, len, out) == len, path);
    fclose(out);
}

static void clean(void)
{
    unlink(db_path);
    unlink(wal_path);
    unlink(shm_path);
    unlink(journal_path);
}

static void stop(void)
{
    clean();
    rmdir(dir);
}

static void make_sound(void)
{
    sqlite3 *db = NULL;
    struct base_err err;
    must(node_cryptvfs_open("fuzz", db_path, RW | SQLITE_OPEN_CREATE, &db, &err) == 0, "make");
    must(sqlite3_exec(
             db,
             "PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v);"
             "INSERT INTO t SELECT value, 'row '||value FROM json_each('[1,2,3,4,5,6,7,8]');"
             "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA wal_autocheckpoint=0;"
             "INSERT INTO t VALUES(9,'row 9'); INSERT INTO t VALUES(10,'row 10')",
             NULL, NULL, NULL) == SQLITE_OK,
         "fill");
    sound_db = load(db_path);
    sound_wal = load(wal_path);
    sqlite3_close(db);
    clean();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    uint8_t key[NODE_CRYPTVFS_KEY_BYTES];
    (void)argc;
    (void)argv;
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)(i + 1);
    must(mkdtemp(dir) != NULL, dir);
    snprintf(db_path, sizeof db_path, "%s/a.db", dir);
    snprintf(wal_path, sizeof wal_path, "%s/a.db-wal", dir);
    snprintf(shm_path, sizeof shm_path, "%s/a.db-shm", dir);
    snprintf(journal_path, sizeof journal_path, "%s/a.db-journal", dir);
    must(node_cryptvfs_register("fuzz", key, NULL) == 0, "register");
    make_sound();
    atexit(stop);
    return 0;
}

static void patch(struct file base, const uint8_t *data, size_t len, const char *path)
{
    static uint8_t copy[FILE_BYTES_MAX];
    memcpy(copy, base.data, base.len);
    while (len > 3) {
        size_t at = ((size_t)data[0] << 8 | data[1]) % base.len;
        size_t n = data[2];
        data += 3;
        len -= 3;
        for (; n > 0 && len > 0 && at < base.len; n--, len--)
            copy[at++] ^= *data++;
    }
    store(path, copy, base.len);
}

/* Rows may be missing with a damaged log, but none may be wrong; then the writer's paths. */
static void read_and_write(sqlite3 *db)
{
    sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v2(db, "SELECT v = 'row '||id FROM t", -1, &st, NULL) == SQLITE_OK)
        while (sqlite3_step(st) == SQLITE_ROW)
            must(sqlite3_column_int(st, 0) == 1, "wrong data");
    sqlite3_finalize(st);
    sqlite3_exec(db, "PRAGMA integrity_check; INSERT INTO t VALUES(100,'row 100')", NULL, NULL,
                 NULL);
    sqlite3_exec(db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    sqlite3 *db = NULL;
    struct base_err err;
    if (len < 1 || len > FILE_BYTES_MAX)
        return 0;
    uint8_t kind = data[0];
    data++;
    len--;
    if (kind == 0) {
        store(db_path, data, len);
    } else if (kind == 1) {
        store(db_path, sound_db.data, sound_db.len);
        store(wal_path, data, len);
    } else if (kind % 2 == 0) {
        patch(sound_db, data, len, db_path);
        if (kind & 4)
            store(wal_path, sound_wal.data, sound_wal.len);
    } else {
        store(db_path, sound_db.data, sound_db.len);
        patch(sound_wal, data, len, wal_path);
    }
    if (node_cryptvfs_open("fuzz", db_path, RW, &db, &err) == 0) {
        read_and_write(db);
        sqlite3_close(db);
    }
    clean();
    return 0;
}
