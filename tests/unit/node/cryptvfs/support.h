/*
 * tests/unit/node/cryptvfs/support.h - shared by the groups of test_cryptvfs: a scratch folder, SQL
 * that must work, whole files as bytes, a seeded generator.
 */
#ifndef TESTS_CRYPTVFS_SUPPORT_H
#define TESTS_CRYPTVFS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "node/cryptvfs/internal.h"

#define VFS       "sealed"  /* TEST_KEY */
#define OTHER_VFS "sealed2" /* another key */

enum { RW = SQLITE_OPEN_READWRITE, RWC = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE };

struct bytes {
    uint8_t *data;
    size_t len;
    bool there;
};

extern const uint8_t test_key[32];
extern char test_dir[128];

int support_set_up(
    void **state); /* both VFS, scratch folder in memory: files are rewritten often */
int support_set_up_on_disk(void **state); /* the same for files too large for memory */
int support_tear_down(void **state);

/* A path in the scratch folder; the last eight results stay valid. */
const char *at(const char *name);

sqlite3 *open_sealed(const char *path); /* fails the test */
sqlite3 *open_plain(const char *path);
void run(sqlite3 *db, const char *sql);       /* fails the test */
int try(sqlite3 *db, const char *sql);        /* extended code */
int64_t number(sqlite3 *db, const char *sql); /* first column of the first row; fails the test */
/* All rows as text; NULL on an error (code in *rc, may be NULL). free() it. */
char *answer(sqlite3 *db, const char *sql, int *rc);
void check_integrity(sqlite3 *db);
void close_db(sqlite3 *db);
void keep_wal(sqlite3 *db); /* WAL, no checkpoint, not at close either */

struct bytes load(const char *path);
void store(const char *path, struct bytes b); /* removes it if it was not there */
void forget(struct bytes *b);
void copy_db(const char *from,
             const char *to); /* with -wal and -journal, without -shm: what a crash leaves */
void remove_db(const char *path);

uint64_t rnd(uint64_t *seed);
uint64_t rnd_below(uint64_t *seed, uint64_t n);
uint64_t test_seed(void); /* EVERWARD_SEED or the clock; printed */

int open_tests(void);
int tamper_tests(void);
int sql_tests(void);
int crash_tests(void);
int power_tests(void);
int wal_tests(void);

#endif
