/*
 * tests/bench/bench_cryptvfs.c - what sealing costs, against plain SQLite in the same run.
 *
 *   bench_cryptvfs [--json] [--rows N] [--rounds N] [--dir DIR]
 *
 * Rounds alternate between plain and sealed, the table shows medians. Settings are the node's: WAL,
 * synchronous=FULL, cache_spill=OFF.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/cryptvfs/cryptvfs.h"
#include "sync/base/clock.h"

enum { ROUNDS_MAX = 15, COMMITS = 4000, READS = 100000, BATCH = 1000, SCANS = 5 };
enum { BULK, COMMIT, POINT, SCAN, FIGURES };

static const char *const NAMES[FIGURES] = {"bulk insert", "one-row FULL commit", "cold point read",
                                           "full scan"};
static const char *const UNITS[FIGURES] = {"us/row", "us/commit", "us/read", "ms/scan"};
static const double GOALS[FIGURES] = {1.4, 1.2, 1.8, 0};

static void must(sqlite3 *db, int rc, const char *what)
{
    if (rc == SQLITE_OK || rc == SQLITE_DONE || rc == SQLITE_ROW)
        return;
    fprintf(stderr, "%s: %s\n", what, db ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
    exit(1);
}

static void run(sqlite3 *db, const char *sql)
{
    must(db, sqlite3_exec(db, sql, NULL, NULL, NULL), sql);
}

static sqlite3 *open_db(bool sealed, const char *path, const char *pragmas)
{
    sqlite3 *db = NULL;
    struct base_err err;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    if (!sealed) {
        must(NULL, sqlite3_open_v2(path, &db, flags, NULL), path);
    } else if (node_cryptvfs_open("bench", path, flags, &db, &err) != 0) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    run(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_spill=OFF");
    run(db, pragmas);
    return db;
}

static void drop(const char *path)
{
    char other[600];
    static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        snprintf(other, sizeof other, "%s%s", path, ends[i]);
        unlink(other);
    }
}

static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 33;
    return x * 0xc4ceb9fe1a85ec53ULL;
}

static void insert(sqlite3 *db, sqlite3_stmt *st, int64_t id)
{
    char text[160];
    uint64_t key[2] = {mix((uint64_t)id), mix((uint64_t)id + 77)};
    snprintf(text, sizeof text,
             "row %lld of the benchmark with a text as long as a short note: %llx %llx",
             (long long)id, (unsigned long long)key[0], (unsigned long long)key[1]);
    sqlite3_bind_int64(st, 1, id);
    sqlite3_bind_blob(st, 2, key, sizeof key, SQLITE_STATIC);
    sqlite3_bind_int64(st, 3, id % 40);
    sqlite3_bind_text(st, 4, text, -1, SQLITE_STATIC);
    must(db, sqlite3_step(st), "insert");
    must(db, sqlite3_reset(st), "reset");
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *st = NULL;
    must(db, sqlite3_prepare_v2(db, sql, -1, &st, NULL), sql);
    return st;
}

static void write_part(bool sealed, const char *path, int rows, double *figures)
{
    sqlite3 *db = open_db(sealed, path, "PRAGMA cache_size=-16000");
    run(db, "CREATE TABLE t(id INTEGER PRIMARY KEY, k BLOB, ward INT, note TEXT);"
            "CREATE INDEX t_ward ON t(ward, id)");
    sqlite3_stmt *st = prepare(db, "INSERT INTO t VALUES(?,?,?,?)");
    int64_t start = base_clock_monotonic_us();
    for (int i = 0; i < rows; i++) {
        if (i % BATCH == 0)
            run(db, "BEGIN");
        insert(db, st, i);
        if (i % BATCH == BATCH - 1 || i == rows - 1)
            run(db, "COMMIT");
    }
    figures[BULK] = (double)(base_clock_monotonic_us() - start) / rows;
    run(db, "PRAGMA wal_checkpoint(TRUNCATE)");
    start = base_clock_monotonic_us();
    for (int i = 0; i < COMMITS; i++)
        insert(db, st, rows + i);
    figures[COMMIT] = (double)(base_clock_monotonic_us() - start) / COMMITS;
    sqlite3_finalize(st);
    run(db, "PRAGMA wal_checkpoint(TRUNCATE)");
    sqlite3_close(db);
}

/* Cold: SQLite's cache is far smaller than the file (the system's cache stays warm). */
static void read_part(bool sealed, const char *path, int rows, double *figures)
{
    sqlite3 *db = open_db(sealed, path, "PRAGMA cache_size=-400");
    sqlite3_stmt *st = prepare(db, "SELECT length(note) FROM t WHERE id=?");
    int64_t start = base_clock_monotonic_us();
    for (int i = 0; i < READS; i++) {
        sqlite3_bind_int64(st, 1, (int64_t)(mix((uint64_t)i + 5) % (uint64_t)rows));
        must(db, sqlite3_step(st), "read");
        must(db, sqlite3_reset(st), "reset");
    }
    figures[POINT] = (double)(base_clock_monotonic_us() - start) / READS;
    sqlite3_finalize(st);
    start = base_clock_monotonic_us();
    for (int i = 0; i < SCANS; i++)
        run(db, "SELECT sum(length(note)) FROM t");
    figures[SCAN] = (double)(base_clock_monotonic_us() - start) / 1000 / SCANS;
    sqlite3_close(db);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double figures[ROUNDS_MAX][2][FIGURES], int rounds, int side, int what)
{
    double v[ROUNDS_MAX];
    for (int i = 0; i < rounds; i++)
        v[i] = figures[i][side][what];
    qsort(v, (size_t)rounds, sizeof v[0], compare);
    return v[rounds / 2];
}

static void report(double figures[ROUNDS_MAX][2][FIGURES], int rounds, int rows, bool json)
{
    if (json)
        printf("{\"bench\":\"cryptvfs\",\"rows\":%d,\"rounds\":%d", rows, rounds);
    else
        printf("%-22s %-10s %10s %10s %7s %7s\n", "figure", "unit", "plain", "sealed", "ratio",
               "goal");
    for (int w = 0; w < FIGURES; w++) {
        double plain = median(figures, rounds, 0, w);
        double sealed = median(figures, rounds, 1, w);
        if (json)
            printf(",\"%s\":{\"unit\":\"%s\",\"plain\":%.3f,\"sealed\":%.3f,\"ratio\":%.3f}",
                   NAMES[w], UNITS[w], plain, sealed, sealed / plain);
        else
            printf("%-22s %-10s %10.2f %10.2f %6.2fx %6.2fx\n", NAMES[w], UNITS[w], plain, sealed,
                   sealed / plain, GOALS[w]);
    }
    if (json)
        printf("}\n");
}

int main(int argc, char **argv)
{
    static double figures[ROUNDS_MAX][2][FIGURES];
    static const uint8_t key[NODE_CRYPTVFS_KEY_BYTES] = {1, 2, 3};
    const char *dir = "/tmp";
    char path[512];
    int rows = 200000, rounds = 3;
    bool json = false;
    struct base_err err;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (strcmp(argv[i], "--rows") == 0 && i + 1 < argc)
            rows = (int)strtoll(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc)
            rounds = (int)strtoll(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--dir") == 0 && i + 1 < argc)
            dir = argv[++i];
        else
            return fprintf(stderr,
                           "usage: bench_cryptvfs [--json] [--rows N] [--rounds N] [--dir DIR]\n"),
                   64;
    }
    if (rows < 1 || rounds < 1 || rounds > ROUNDS_MAX)
        return 64;
    if (node_cryptvfs_register("bench", key, &err) != 0)
        return fprintf(stderr, "%s\n", err.text), 1;
    for (int r = 0; r < rounds; r++) {
        for (int side = 0; side < 2; side++) {
            int sealed = (side + r) % 2;
            snprintf(path, sizeof path, "%s/bench_cryptvfs_%d_%d.db", dir, (int)getpid(), sealed);
            drop(path);
            write_part(sealed, path, rows, figures[r][sealed]);
            read_part(sealed, path, rows, figures[r][sealed]);
            drop(path);
        }
    }
    report(figures, rounds, rows, json);
    return 0;
}
