/* Changed bytes: an error, or in a log the absence of that commit and later ones. Never wrong data.
 */
#include <unistd.h>

#include "tests/unit/node/cryptvfs/support.h"

enum { COMMITS = 4 };

static const char *const READ_ALL = "SELECT id, hex(v) FROM t ORDER BY id";

/* A database of a few pages: schema, a leaf, overflow pages, an index. */
static void make_db(const char *path, const char *seed)
{
    char sql[300];
    sqlite3 *db = open_sealed(path);
    run(db, "PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    snprintf(
        sql, sizeof sql,
        "INSERT INTO t VALUES(1, CAST('%s' AS BLOB)), (2, zeroblob(5000)), (3, CAST('%s' AS BLOB))",
        seed, seed);
    run(db, sql);
    close_db(db);
}

/* Opens, reads all; NULL means an error came. */
static char *read_all(const char *path)
{
    struct base_err err;
    sqlite3 *db = NULL;
    if (node_cryptvfs_open(VFS, path, RW, &db, &err) != 0)
        return NULL;
    assert_int_equal(sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL), SQLITE_OK);
    char *a = answer(db, READ_ALL, NULL);
    close_db(db);
    return a;
}

static void expect_error(const char *path, const char *what, size_t where)
{
    char *a = read_all(path);
    if (a)
        fail_msg("%s %zu was not noticed", what, where);
}

static void every_flipped_byte_of_the_database_is_an_error(void **state)
{
    (void)state;
    make_db(at("a.db"), "abc");
    char *right = read_all(at("a.db"));
    assert_non_null(right);
    struct bytes b = load(at("a.db"));
    assert_true(b.len >= (size_t)3 * PAGE_BYTES);
    for (size_t i = 0; i < b.len; i++) {
        uint8_t old = b.data[i];
        b.data[i] ^= (uint8_t)(1U << (i % 8));
        store(at("a.db"), b);
        expect_error(at("a.db"), "flipped byte", i);
        b.data[i] = old;
    }
    store(at("a.db"), b);
    char *again = read_all(at("a.db"));
    assert_string_equal(right, again);
    sqlite3_free(right);
    sqlite3_free(again);
    forget(&b);
}

static void swapped_zeroed_and_repeated_pages_are_errors(void **state)
{
    (void)state;
    make_db(at("a.db"), "abc");
    struct bytes b = load(at("a.db"));
    struct bytes bad = load(at("a.db"));
    size_t pages = b.len / PAGE_BYTES;
    for (size_t i = 0; i < pages; i++) {
        for (size_t j = 0; j < pages; j++) {
            if (i == j)
                memset(bad.data + i * PAGE_BYTES, 0, PAGE_BYTES);
            else
                memcpy(bad.data + i * PAGE_BYTES, b.data + j * PAGE_BYTES, PAGE_BYTES);
            store(at("a.db"), bad);
            expect_error(at("a.db"), "page", i * 100 + j);
            if (j > i) {
                memcpy(bad.data + j * PAGE_BYTES, b.data + i * PAGE_BYTES, PAGE_BYTES);
                store(at("a.db"), bad);
                expect_error(at("a.db"), "swap", i * 100 + j);
            }
            memcpy(bad.data, b.data, b.len);
        }
    }
    forget(&b);
    forget(&bad);
}

static void pages_of_another_file_under_the_same_key_are_errors(void **state)
{
    (void)state;
    make_db(at("a.db"), "abc");
    make_db(at("b.db"), "xyz");
    struct bytes a = load(at("a.db"));
    struct bytes b = load(at("b.db"));
    assert_int_equal(a.len, b.len);
    for (size_t i = 0; i < a.len / PAGE_BYTES; i++) {
        struct bytes mixed = load(at("a.db"));
        memcpy(mixed.data + i * PAGE_BYTES, b.data + i * PAGE_BYTES, PAGE_BYTES);
        store(at("m.db"), mixed);
        expect_error(at("m.db"), "foreign page", i);
        forget(&mixed);
    }
    forget(&a);
    forget(&b);
}

static void a_shortened_database_is_an_error(void **state)
{
    (void)state;
    make_db(at("a.db"), "abc");
    struct bytes b = load(at("a.db"));
    size_t full = b.len;
    for (b.len = 1; b.len < full; b.len += 511) {
        store(at("a.db"), b);
        char *a = read_all(at("a.db"));
        assert_null(a);
    }
    forget(&b);
}

/* COMMITS commits in the WAL of path; states[k]: the answer after k of them. */
static void make_wal(const char *path, char *states[COMMITS + 1])
{
    make_db(at("w.db"), "abc");
    sqlite3 *db = open_sealed(at("w.db"));
    keep_wal(db);
    states[0] = answer(db, READ_ALL, NULL);
    for (int k = 1; k <= COMMITS; k++) {
        char sql[120];
        snprintf(sql, sizeof sql, "INSERT INTO t VALUES(%d, 'commit %d'); ", 10 + k, k);
        run(db, sql);
        states[k] = answer(db, READ_ALL, NULL);
    }
    copy_db(at("w.db"), path);
    close_db(db);
}

static void expect_prefix(const char *path, char *states[COMMITS + 1], const char *what,
                          size_t where)
{
    char shm[300];
    char *a = read_all(path);
    bool found = a == NULL;
    for (int k = 0; k <= COMMITS && a; k++)
        found = found || strcmp(a, states[k]) == 0;
    sqlite3_free(a);
    snprintf(shm, sizeof shm, "%s-shm", path);
    unlink(shm);
    if (!found)
        fail_msg("%s %zu gave data that was never there", what, where);
}

static void every_flipped_byte_of_the_log_is_an_error_or_an_absent_commit(void **state)
{
    (void)state;
    char *states[COMMITS + 1];
    char wal[300];
    make_wal(at("a.db"), states);
    snprintf(wal, sizeof wal, "%s-wal", at("a.db"));
    struct bytes db = load(at("a.db"));
    struct bytes b = load(wal);
    assert_int_equal((b.len - WAL_HEADER_BYTES) % FRAME_BYTES, 0);
    char *whole = read_all(at("a.db"));
    assert_string_equal(whole, states[COMMITS]);
    sqlite3_free(whole);
    for (size_t i = 0; i < b.len; i++) {
        b.data[i] ^= (uint8_t)(1U << (i % 8));
        store(wal, b);
        expect_prefix(at("a.db"), states, "flipped log byte", i);
        b.data[i] ^= (uint8_t)(1U << (i % 8));
    }
    struct bytes after = load(at("a.db"));
    assert_memory_equal(db.data, after.data, db.len);
    for (int k = 0; k <= COMMITS; k++)
        sqlite3_free(states[k]);
    forget(&b);
    forget(&db);
    forget(&after);
}

static void swapped_frames_and_cut_logs_end_the_log(void **state)
{
    (void)state;
    char *states[COMMITS + 1];
    char wal[300];
    make_wal(at("a.db"), states);
    snprintf(wal, sizeof wal, "%s-wal", at("a.db"));
    struct bytes b = load(wal), bad = load(wal);
    size_t frames = (b.len - WAL_HEADER_BYTES) / FRAME_BYTES;
    for (size_t i = 0; i < frames; i++)
        for (size_t j = 0; j < frames; j++) {
            uint8_t *to = bad.data + WAL_HEADER_BYTES + i * FRAME_BYTES;
            memcpy(to, b.data + WAL_HEADER_BYTES + j * FRAME_BYTES, FRAME_BYTES);
            if (i == j)
                memset(to, 0, FRAME_BYTES);
            store(wal, bad);
            expect_prefix(at("a.db"), states, "frame", i * 100 + j);
            memcpy(bad.data, b.data, b.len);
        }
    for (bad.len = 0; bad.len < b.len; bad.len += 700) {
        store(wal, bad);
        expect_prefix(at("a.db"), states, "log cut at", bad.len);
    }
    for (int k = 0; k <= COMMITS; k++)
        sqlite3_free(states[k]);
    forget(&b);
    forget(&bad);
}

static void the_log_of_another_file_adds_nothing(void **state)
{
    (void)state;
    char *states[COMMITS + 1];
    char wal[300];
    make_wal(at("a.db"), states);
    make_db(at("b.db"), "xyz");
    char *right = read_all(at("b.db"));
    snprintf(wal, sizeof wal, "%s-wal", at("a.db"));
    struct bytes b = load(wal);
    snprintf(wal, sizeof wal, "%s-wal", at("b.db"));
    store(wal, b);
    char *got = read_all(at("b.db"));
    assert_true(!got || strcmp(got, right) == 0);
    sqlite3_free(got);
    sqlite3_free(right);
    for (int k = 0; k <= COMMITS; k++)
        sqlite3_free(states[k]);
    forget(&b);
}

static void the_same_page_is_never_sealed_twice_alike(void **state)
{
    (void)state;
    make_db(at("a.db"), "abc");
    struct bytes before = load(at("a.db"));
    sqlite3 *db = open_sealed(at("a.db"));
    run(db, "PRAGMA journal_mode=DELETE; UPDATE t SET v=v; UPDATE t SET v=v");
    close_db(db);
    struct bytes after = load(at("a.db"));
    assert_int_equal(before.len, after.len);
    for (size_t i = 0; i < before.len / PAGE_BYTES; i++)
        for (size_t j = 0; j < after.len / PAGE_BYTES; j++) {
            const uint8_t *x = before.data + i * PAGE_BYTES + BODY_BYTES;
            const uint8_t *y = after.data + j * PAGE_BYTES + BODY_BYTES;
            bool untouched = i == j && memcmp(x, y, RESERVE_BYTES) == 0 &&
                             memcmp(x - BODY_BYTES, y - BODY_BYTES, BODY_BYTES) == 0;
            assert_true(untouched || memcmp(x, y, NONCE_BYTES) != 0);
            assert_true(i == j ||
                        memcmp(after.data + i * PAGE_BYTES + BODY_BYTES, y, NONCE_BYTES) != 0);
        }
    forget(&before);
    forget(&after);
}

static void the_log_shows_no_checksum_of_clear_pages(void **state)
{
    (void)state;
    char wal[300], shm[300];
    sqlite3 *db = open_sealed(at("a.db"));
    keep_wal(db);
    run(db, "CREATE TABLE t(x); INSERT INTO t VALUES('a')");
    snprintf(wal, sizeof wal, "%s-wal", at("a.db"));
    snprintf(shm, sizeof shm, "%s-shm", at("a.db"));
    struct bytes w = load(wal), s = load(shm);
    uint8_t sum[8];
    for (size_t i = 0; i < 8; i++) /* aFrameCksum of the index, in the other byte order */
        sum[i] = s.data[24 + i / 4 * 4 + (3 - i % 4)];
    const uint8_t *last = w.data + w.len - FRAME_BYTES;
    assert_memory_not_equal(last + FRAME_CLEAR_BYTES, sum, 8);
    assert_memory_not_equal(last + FRAME_CLEAR_BYTES, s.data + 24, 8);
    close_db(db);
    forget(&w);
    forget(&s);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, support_set_up, support_tear_down)

int tamper_tests(void)
{
    const struct CMUnitTest tests[] = {
        CASE(swapped_zeroed_and_repeated_pages_are_errors),
        CASE(pages_of_another_file_under_the_same_key_are_errors),
        CASE(a_shortened_database_is_an_error),
        CASE(swapped_frames_and_cut_logs_end_the_log),
        CASE(the_log_of_another_file_adds_nothing),
        CASE(the_same_page_is_never_sealed_twice_alike),
        CASE(the_log_shows_no_checksum_of_clear_pages),
        CASE(every_flipped_byte_of_the_database_is_an_error),
        CASE(every_flipped_byte_of_the_log_is_an_error_or_an_absent_commit),
    };
    return cmocka_run_group_tests_name("tamper", tests, NULL, NULL);
}
