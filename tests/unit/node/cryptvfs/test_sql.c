/* SQLite's features over sealed files: the same SQL gives the same answers as on plain ones. */
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/node/cryptvfs/support.h"

enum { RANDOM_RUNS = 10, RANDOM_STEPS = 220, SQL_BYTES = 400 };

static const char *const MODES[] = {"DELETE", "TRUNCATE", "PERSIST", "WAL", "MEMORY"};
static const char *const CHECK = "SELECT id, k, length(v), hex(substr(v, 1, 40)), sum(length(v)) "
                                 "OVER (ORDER BY id) FROM t ORDER BY id";

static void random_statement(uint64_t *seed, char sql[SQL_BYTES])
{
    unsigned a = (unsigned)rnd_below(seed, 300), b = (unsigned)rnd_below(seed, 9000);
    unsigned c = (unsigned)rnd_below(seed, 40);
    switch (rnd_below(seed, 22)) {
    case 0:
    case 1:
    case 2:
        snprintf(sql, SQL_BYTES, "INSERT OR REPLACE INTO t VALUES(%u, %u, zeroblob(%u))", a, b, b);
        break;
    case 3:
    case 4:
        snprintf(sql, SQL_BYTES,
                 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%u) "
                 "INSERT OR IGNORE INTO t SELECT %u+i, i, printf('%%.*c', %u, 'x') FROM n",
                 c + 5, a, b / 4);
        break;
    case 5:
        snprintf(sql, SQL_BYTES, "UPDATE t SET v=v||'%u', k=k+1 WHERE id%%%u=0", b, c + 1);
        break;
    case 6: /* fails in the middle: the statement journal takes it back */
        snprintf(sql, SQL_BYTES, "UPDATE t SET id=CASE WHEN id>%u THEN %u ELSE id+100000 END", a,
                 b);
        break;
    case 7:
        snprintf(sql, SQL_BYTES, "DELETE FROM t WHERE id BETWEEN %u AND %u", a, a + c);
        break;
    case 8:
        snprintf(sql, SQL_BYTES, "BEGIN");
        break;
    case 9:
        snprintf(sql, SQL_BYTES, "COMMIT");
        break;
    case 10:
        snprintf(sql, SQL_BYTES, "ROLLBACK");
        break;
    case 11:
        snprintf(sql, SQL_BYTES, "SAVEPOINT s%u", c % 3);
        break;
    case 12:
        snprintf(sql, SQL_BYTES, "ROLLBACK TO s%u", c % 3);
        break;
    case 13:
        snprintf(sql, SQL_BYTES, "RELEASE s%u", c % 3);
        break;
    case 14:
        snprintf(sql, SQL_BYTES, "VACUUM");
        break;
    case 15:
        snprintf(sql, SQL_BYTES, "PRAGMA journal_mode=%s", MODES[c % 5]);
        break;
    case 16:
        snprintf(sql, SQL_BYTES, "CREATE INDEX IF NOT EXISTS tk ON t(k, v)");
        break;
    case 17:
        snprintf(sql, SQL_BYTES, "DROP INDEX IF EXISTS tk");
        break;
    case 18:
        snprintf(sql, SQL_BYTES, "PRAGMA incremental_vacuum(%u)", c);
        break;
    case 19:
        snprintf(sql, SQL_BYTES,
                 "SELECT group_concat(id) FROM (SELECT a.id FROM t a JOIN t b ON b.id<a.id "
                 "ORDER BY a.v||b.k, b.id LIMIT 50)");
        break;
    case 20:
        snprintf(sql, SQL_BYTES, "CREATE TEMP TABLE IF NOT EXISTS x AS SELECT * FROM t");
        break;
    default:
        snprintf(sql, SQL_BYTES, "PRAGMA wal_checkpoint(%s)", c % 2 ? "PASSIVE" : "TRUNCATE");
        break;
    }
}

static void set_up_random(sqlite3 *db)
{
    run(db, "PRAGMA auto_vacuum=INCREMENTAL; PRAGMA temp_store=FILE; PRAGMA synchronous=OFF;"
            "PRAGMA cache_size=12; CREATE TABLE t(id INTEGER PRIMARY KEY, k INT, v)");
}

/* What a kill now would leave must hold the last committed state. */
static bool crash_copy_holds(bool sealed, const char *path, const char *committed)
{
    copy_db(path, at("copy.db"));
    sqlite3 *db = sealed ? open_sealed(at("copy.db")) : open_plain(at("copy.db"));
    char *a = answer(db, CHECK, NULL);
    bool same = a && strcmp(a, committed) == 0;
    sqlite3_free(a);
    if (same)
        check_integrity(db);
    close_db(db);
    return same;
}

static void compare_step(sqlite3 *plain, sqlite3 *sealed, const char *sql)
{
    int p, s;
    char *x = answer(plain, sql, &p);
    char *y = answer(sealed, sql, &s);
    bool page_counts =
        strncmp(sql, "PRAGMA wal_c", 12) == 0 || strncmp(sql, "PRAGMA incr", 11) == 0;
    if (p != s || (!page_counts && x && y && strcmp(x, y) != 0))
        fail_msg("%s: plain %d, sealed %d", sql, p, s);
    sqlite3_free(x);
    sqlite3_free(y);
}

static void check_crash_copies(char paths[2][256], const char *committed)
{
    bool plain = crash_copy_holds(false, paths[0], committed);
    bool sealed = crash_copy_holds(true, paths[1], committed);
    if (!plain || !sealed)
        fail_msg("after a crash: plain %d, sealed %d", plain, sealed);
}

static bool survives_a_crash(sqlite3 *db, bool spill)
{
    char *mode = answer(db, "PRAGMA journal_mode", NULL);
    bool yes = strncmp(mode, "wal", 3) == 0 ? !spill : strncmp(mode, "memory", 6) != 0;
    sqlite3_free(mode);
    return yes;
}

static void random_run(uint64_t seed)
{
    char sql[SQL_BYTES];
    char paths[2][256];
    snprintf(paths[0], sizeof paths[0], "%s", at("p.db"));
    snprintf(paths[1], sizeof paths[1], "%s", at("s.db"));
    remove_db(paths[0]);
    remove_db(paths[1]);
    sqlite3 *plain = open_plain(paths[0]), *sealed = open_sealed(paths[1]);
    bool spill = rnd_below(&seed, 2), safe = true;
    set_up_random(plain);
    set_up_random(sealed);
    run(plain, spill ? "PRAGMA cache_spill=ON" : "PRAGMA cache_spill=OFF");
    run(sealed, spill ? "PRAGMA cache_spill=ON" : "PRAGMA cache_spill=OFF");
    char *committed = answer(sealed, CHECK, NULL);
    for (int i = 0; i < RANDOM_STEPS; i++) {
        random_statement(&seed, sql);
        compare_step(plain, sealed, sql);
        if (sqlite3_get_autocommit(sealed)) {
            compare_step(plain, sealed,
                         CHECK); /* a read on one side alone would end a transaction */
            sqlite3_free(committed);
            committed = answer(sealed, CHECK, NULL);
            sqlite3_free(answer(plain, "PRAGMA journal_mode", NULL));
            safe = true;
        }
        safe = safe && survives_a_crash(sealed, spill); /* a mode can change within a transaction */
        if (i % 20 == 19 && safe)
            check_crash_copies(paths, committed);
        if (i % 50 == 49)
            compare_step(plain, sealed, CHECK);
    }
    compare_step(plain, sealed, CHECK);
    if (!sqlite3_get_autocommit(sealed))
        run(sealed, "ROLLBACK");
    check_integrity(sealed);
    sqlite3_free(committed);
    close_db(plain);
    close_db(sealed);
    sealed = open_sealed(paths[1]);
    check_integrity(sealed);
    close_db(sealed);
}

static void random_sql_answers_as_on_a_plain_file(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (int i = 0; i < RANDOM_RUNS; i++)
        random_run(seed + (uint64_t)i);
}

static void savepoints_and_failed_statements_are_taken_back(void **state)
{
    (void)state;
    static const char *const modes[] = {"DELETE", "PERSIST", "TRUNCATE", "WAL"};
    for (size_t m = 0; m < 4; m++) {
        char sql[100];
        remove_db(at("a.db"));
        sqlite3 *db = open_sealed(at("a.db"));
        snprintf(sql, sizeof sql, "PRAGMA journal_mode=%s; PRAGMA cache_size=5", modes[m]);
        run(db, sql);
        run(db, "CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE);"
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2000)"
                "INSERT INTO t SELECT i, printf('%0200d', i) FROM n");
        run(db,
            "BEGIN; DELETE FROM t WHERE id<=500; SAVEPOINT a; UPDATE t SET v=v||'x'; SAVEPOINT b;"
            "DELETE FROM t; ROLLBACK TO b");
        assert_int_equal(number(db, "SELECT count(*) FROM t WHERE v LIKE '%x'"), 1500);
        assert_int_equal(try(db,
                             "UPDATE t SET v=CASE id WHEN 1900 THEN (SELECT v FROM t WHERE id=600) "
                             "ELSE v||'y' END") &
                             0xff,
                         SQLITE_CONSTRAINT);
        assert_int_equal(number(db, "SELECT count(*) FROM t WHERE v LIKE '%y'"), 0);
        run(db, "ROLLBACK TO a; COMMIT");
        assert_int_equal(number(db, "SELECT count(*) FROM t WHERE length(v)=200"), 1500);
        check_integrity(db);
        close_db(db);
    }
}

static void vacuum_keeps_pages_sealed_and_data_right(void **state)
{
    (void)state;
    sqlite3 *db = open_sealed(at("a.db"));
    run(db,
        "CREATE TABLE t(v); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE "
        "i<3000)"
        "INSERT INTO t SELECT printf('%0300d', i) FROM n; DELETE FROM t WHERE rowid%3=0; VACUUM");
    assert_int_equal(number(db, "SELECT count(*) FROM t"), 2000);
    check_integrity(db);
    int none = 0;
    assert_int_equal(sqlite3_file_control(db, "main", SQLITE_FCNTL_RESERVE_BYTES, &none),
                     SQLITE_OK);
    run(db, "VACUUM"); /* SQLite keeps the larger of the two */
    assert_int_not_equal(try(db, "PRAGMA page_size=8192; VACUUM"), SQLITE_OK);
    close_db(db);
    db = open_sealed(at("a.db"));
    assert_int_equal(number(db, "SELECT count(*) FROM t"), 2000);
    check_integrity(db);
    close_db(db);
}

static int copy_all(sqlite3 *to, sqlite3 *from)
{
    sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
    if (!b)
        return sqlite3_errcode(to);
    int rc;
    while ((rc = sqlite3_backup_step(b, 7)) == SQLITE_OK)
        ;
    int end = sqlite3_backup_finish(b);
    return rc == SQLITE_DONE ? end : rc;
}

static void a_backup_into_a_sealed_file_is_whole_and_sealed(void **state)
{
    (void)state;
    sqlite3 *db = open_sealed(at("a.db")), *to = open_sealed(at("b.db"));
    run(db,
        "PRAGMA journal_mode=WAL; CREATE TABLE t(v);"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2000)"
        "INSERT INTO t SELECT printf('patient %0300d', i) FROM n; DELETE FROM t WHERE rowid>1500");
    assert_int_equal(copy_all(to, db), SQLITE_OK);
    close_db(to);
    to = open_sealed(at("b.db"));
    assert_int_equal(number(to, "SELECT count(*) FROM t"), 1500);
    check_integrity(to);
    close_db(to);
    close_db(db);
}

static void a_plain_file_backed_up_into_a_sealed_one_is_refused(void **state)
{
    (void)state;
    static const char *const modes[] = {"PRAGMA journal_mode=DELETE", "PRAGMA journal_mode=WAL"};
    for (size_t i = 0; i < 2; i++) {
        remove_db(at("a.db"));
        sqlite3 *plain = open_plain(at("p.db")), *to = open_sealed(at("a.db"));
        run(plain, "CREATE TABLE IF NOT EXISTS t(v); INSERT INTO t VALUES('x')");
        run(to, modes[i]);
        run(to, "CREATE TABLE kept(v); INSERT INTO kept VALUES('kept')");
        assert_int_not_equal(copy_all(to, plain), SQLITE_OK);
        assert_int_equal(number(to, "SELECT count(*) FROM kept"), 1);
        close_db(plain);
        close_db(to);
        to = open_sealed(at("a.db"));
        assert_int_equal(number(to, "SELECT count(*) FROM kept"), 1);
        check_integrity(to);
        close_db(to);
    }
}

static void blobs_are_read_and_written_in_place(void **state)
{
    (void)state;
    char piece[1000], back[1000];
    sqlite3_blob *blob = NULL;
    sqlite3 *db = open_sealed(at("a.db"));
    run(db, "CREATE TABLE t(v); INSERT INTO t VALUES(zeroblob(300000))");
    assert_int_equal(sqlite3_blob_open(db, "main", "t", "v", 1, 1, &blob), SQLITE_OK);
    for (int i = 0; i < 300; i++) {
        memset(piece, i, sizeof piece);
        assert_int_equal(sqlite3_blob_write(blob, piece, sizeof piece, (299 - i) * 1000),
                         SQLITE_OK);
    }
    assert_int_equal(sqlite3_blob_close(blob), SQLITE_OK);
    close_db(db);
    db = open_sealed(at("a.db"));
    assert_int_equal(sqlite3_blob_open(db, "main", "t", "v", 1, 0, &blob), SQLITE_OK);
    for (int i = 0; i < 300; i++) {
        memset(piece, i, sizeof piece);
        assert_int_equal(sqlite3_blob_read(blob, back, sizeof back, (299 - i) * 1000), SQLITE_OK);
        assert_memory_equal(piece, back, sizeof back);
    }
    sqlite3_blob_close(blob);
    close_db(db);
}

static void attached_files_are_sealed_and_commit_together(void **state)
{
    (void)state;
    char sql[400];
    struct base_err err;
    sqlite3 *db = open_sealed(at("a.db"));
    snprintf(sql, sizeof sql, "ATTACH '%s' AS b", at("b.db"));
    run(db, sql);
    assert_int_not_equal(try(db, "CREATE TABLE b.t(v)"),
                         SQLITE_OK); /* not prepared: refused, not clear */
    run(db, "DETACH b");
    run(db, sql);
    assert_int_equal(node_cryptvfs_prepare(db, "b", &err), 0);
    run(db, "CREATE TABLE main.t(v); CREATE TABLE b.t(v)");
    for (int i = 0; i < 20; i++)
        run(db, "BEGIN; INSERT INTO main.t VALUES('m'); INSERT INTO b.t VALUES('b'); COMMIT");
    run(db, "BEGIN; DELETE FROM main.t; DELETE FROM b.t; ROLLBACK");
    assert_true(node_cryptvfs_sealed(db, "b"));
    snprintf(sql, sizeof sql, "ATTACH 'file:%s?vfs=unix' AS c", at("c.db"));
    run(db, sql);
    assert_false(node_cryptvfs_sealed(db, "c")); /* what an export has to ask first */
    close_db(db);
    db = open_sealed(at("b.db"));
    assert_int_equal(number(db, "SELECT count(*) FROM t"), 20);
    check_integrity(db);
    close_db(db);
}

/* A crash after the super-journal is there and before it is gone: both files go back together. */
static void two_files_are_rolled_back_together(void **state)
{
    (void)state;
    char sql[400];
    struct base_err err;
    sqlite3 *db = open_sealed(at("a.db"));
    snprintf(sql, sizeof sql, "ATTACH '%s' AS b", at("b.db"));
    run(db, sql);
    assert_int_equal(node_cryptvfs_prepare(db, "b", &err), 0);
    run(db,
        "PRAGMA cache_size=5; PRAGMA b.cache_size=5; CREATE TABLE main.t(v); CREATE TABLE b.t(v);"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<500)"
        "INSERT INTO main.t SELECT printf('%0200d', i) FROM n; INSERT INTO b.t SELECT v FROM "
        "main.t");
    run(db, "BEGIN; UPDATE main.t SET v=v||'x'; UPDATE b.t SET v=v||'x'");
    copy_db(at("a.db"), at("c.db"));
    copy_db(at("b.db"), at("d.db"));
    run(db, "COMMIT");
    close_db(db);
    static const char *const copies[] = {"c.db", "d.db"};
    for (size_t i = 0; i < 2; i++) {
        db = open_sealed(at(copies[i]));
        assert_int_equal(number(db, "SELECT count(*) FROM t WHERE length(v)=200"), 500);
        check_integrity(db);
        close_db(db);
    }
}

static void every_journal_mode_follows_every_other(void **state)
{
    (void)state;
    char sql[200];
    int rows = 0;
    sqlite3 *db = open_sealed(at("a.db"));
    run(db, "CREATE TABLE t(v)");
    for (size_t i = 0; i < 5; i++)
        for (size_t j = 0; j < 5; j++) {
            snprintf(sql, sizeof sql,
                     "PRAGMA journal_mode=%s; INSERT INTO t VALUES(zeroblob(9000)); PRAGMA "
                     "journal_mode=%s;"
                     "INSERT INTO t VALUES(zeroblob(100)); BEGIN; DELETE FROM t; ROLLBACK",
                     MODES[i], MODES[j]);
            run(db, sql);
            rows += 2;
            close_db(db);
            db = open_sealed(at("a.db"));
            assert_int_equal(number(db, "SELECT count(*) FROM t"), rows);
            check_integrity(db);
        }
    close_db(db);
}

/* Pages SQLite counts but never writes are sealed zeros afterwards, not holes. */
static void a_grown_file_has_no_page_that_is_not_sealed(void **state)
{
    (void)state;
    char sql[200];
    sqlite3_file *file = NULL;
    uint8_t page[PAGE_BYTES];
    sqlite3 *db = open_sealed(at("a.db"));
    run(db, "CREATE TABLE t(v); INSERT INTO t VALUES(1)");
    assert_int_equal(sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file), SQLITE_OK);
    memset(page, 5, sizeof page);
    run(db, "BEGIN EXCLUSIVE");
    assert_int_equal(file->pMethods->xWrite(file, page, PAGE_BYTES, 20 * PAGE_BYTES), SQLITE_OK);
    assert_int_equal(file->pMethods->xTruncate(file, 30 * PAGE_BYTES), SQLITE_OK);
    for (int i = 1; i < 30; i++)
        assert_int_equal(file->pMethods->xRead(file, page, PAGE_BYTES, i * PAGE_BYTES), SQLITE_OK);
    assert_int_equal(page[0], 0);
    memset(page, 0, sizeof page);
    snprintf(sql, sizeof sql, "%s", at("a.db"));
    struct bytes b = load(sql);
    for (size_t i = 1; i < 30; i++)
        assert_memory_not_equal(b.data + i * PAGE_BYTES, page, PAGE_BYTES);
    forget(&b);
    run(db, "ROLLBACK");
    close_db(db);
}

static const char CANARY[] = "Canary-Mrs-Featherstonehaugh-4711";

static void expect_no_canary(const char *when)
{
    struct dirent *e;
    DIR *d = opendir(test_dir);
    int files = 0;
    assert_non_null(d);
    while ((e = readdir(d))) {
        if (e->d_name[0] == '.')
            continue;
        struct bytes b = load(at(e->d_name));
        files++;
        if (b.there &&
            (memmem(b.data, b.len, CANARY, 12) || memmem(b.data, b.len, "CREATE TABLE", 12)))
            fail_msg("%s: %s holds plain text", when, e->d_name);
        forget(&b);
    }
    closedir(d);
    assert_true(files > 0);
}

/* Temporary files have no name any more; their bytes are looked at through the open descriptors. */
static int deleted_files_with_canary(int *seen)
{
    int bad = 0;
    char path[64], target[512];
    for (int fd = 3; fd < 200; fd++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(path, target, sizeof target - 1);
        if (n <= 0)
            continue;
        target[n] = '\0';
        struct stat st;
        if (!strstr(target, "(deleted)") || fstat(fd, &st) != 0 || st.st_size == 0)
            continue;
        uint8_t *p = malloc((size_t)st.st_size);
        assert_non_null(p);
        ssize_t got = pread(fd, p, (size_t)st.st_size, 0);
        bad += got > 0 && memmem(p, (size_t)got, CANARY, 12) != NULL;
        *seen += 1;
        free(p);
    }
    return bad;
}

static void no_file_holds_known_plain_text(void **state)
{
    (void)state;
    static const char *const modes[] = {"PERSIST", "WAL"};
    int seen = 0;
    char sql[500];
    for (size_t m = 0; m < 2; m++) {
        sqlite3 *db = open_sealed(at("a.db"));
        snprintf(sql, sizeof sql,
                 "PRAGMA journal_mode=%s; PRAGMA temp_store=FILE; PRAGMA cache_size=10;"
                 "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v);"
                 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<3000)"
                 "INSERT INTO t(v) SELECT '%s '||i FROM n",
                 modes[m], CANARY);
        run(db, sql);
        run(db, "BEGIN; CREATE TEMP TABLE x AS SELECT v FROM t; SAVEPOINT s; UPDATE t SET v=v||'.';"
                "UPDATE x SET v=v||'.'; SAVEPOINT s2; UPDATE t SET v=v||'.'");
        expect_no_canary("in a transaction");
        assert_int_equal(deleted_files_with_canary(&seen), 0);
        sqlite3_stmt *st = NULL;
        assert_int_equal(sqlite3_prepare_v2(db,
                                            "SELECT a.v||b.v FROM t a, t b WHERE b.id<8 ORDER BY 1",
                                            -1, &st, NULL),
                         SQLITE_OK);
        assert_int_equal(sqlite3_step(st), SQLITE_ROW); /* the sorter's runs are on the disk now */
        assert_int_equal(deleted_files_with_canary(&seen), 0);
        sqlite3_finalize(st);
        run(db, "ROLLBACK TO s; COMMIT; VACUUM");
        expect_no_canary("after a vacuum");
        close_db(db);
    }
    expect_no_canary("at the end");
    assert_true(seen > 0);
}

static void a_file_beyond_one_gib_passes_the_lock_page(void **state)
{
    (void)state;
    sqlite3 *db = open_sealed(at("big.db"));
    run(db, "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-8000;"
            "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    run(db, "BEGIN; INSERT INTO t VALUES(1, zeroblob(530000000)); INSERT INTO t VALUES(2, "
            "zeroblob(530000000));"
            "INSERT INTO t VALUES(3, zeroblob(20000000)); INSERT INTO t VALUES(4, 'behind the lock "
            "page');"
            "COMMIT");
    close_db(db);
    struct stat st;
    assert_int_equal(stat(at("big.db"), &st), 0);
    assert_true(st.st_size > (off_t)LOCK_BYTE_OFFSET + 4 * PAGE_BYTES);
    db = open_sealed(at("big.db"));
    assert_int_equal(number(db, "SELECT count(*) FROM t WHERE v='behind the lock page'"), 1);
    assert_int_equal(number(db, "SELECT length(v) FROM t WHERE id=2"), 530000000);
    run(db, "PRAGMA journal_mode=WAL; INSERT INTO t VALUES(5, 'and by the log');"
            "PRAGMA wal_checkpoint(TRUNCATE)");
    assert_int_equal(number(db, "SELECT count(*) FROM t WHERE id>3"), 2);
    char *a = answer(db, "PRAGMA quick_check", NULL);
    assert_non_null(a);
    assert_string_equal(a, "ok|\n");
    sqlite3_free(a);
    close_db(db);
}

static void a_gap_is_filled_past_the_lock_page(void **state)
{
    (void)state;
    if (!getenv("EVERWARD_LONG")) {
        print_message("skipped: writes another GiB; set EVERWARD_LONG=1\n");
        skip();
    }
    uint8_t page[PAGE_BYTES] = {1};
    sqlite3_file *file = NULL;
    sqlite3 *db = open_sealed(at("big.db"));
    run(db, "CREATE TABLE t(v); BEGIN EXCLUSIVE");
    sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    assert_int_equal(
        file->pMethods->xWrite(file, page, PAGE_BYTES, LOCK_BYTE_OFFSET + 9LL * PAGE_BYTES),
        SQLITE_OK);
    assert_int_equal(
        file->pMethods->xRead(file, page, PAGE_BYTES, LOCK_BYTE_OFFSET + 1LL * PAGE_BYTES),
        SQLITE_OK);
    run(db, "ROLLBACK");
    close_db(db);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, support_set_up, support_tear_down)

#define DISK_CASE(name)                                                                            \
    cmocka_unit_test_setup_teardown(name, support_set_up_on_disk, support_tear_down)

int sql_tests(void)
{
    const struct CMUnitTest tests[] = {
        CASE(savepoints_and_failed_statements_are_taken_back),
        CASE(vacuum_keeps_pages_sealed_and_data_right),
        CASE(a_backup_into_a_sealed_file_is_whole_and_sealed),
        CASE(a_plain_file_backed_up_into_a_sealed_one_is_refused),
        CASE(blobs_are_read_and_written_in_place),
        CASE(attached_files_are_sealed_and_commit_together),
        CASE(two_files_are_rolled_back_together),
        CASE(every_journal_mode_follows_every_other),
        CASE(a_grown_file_has_no_page_that_is_not_sealed),
        CASE(no_file_holds_known_plain_text),
        CASE(random_sql_answers_as_on_a_plain_file),
        DISK_CASE(a_file_beyond_one_gib_passes_the_lock_page),
        DISK_CASE(a_gap_is_filled_past_the_lock_page),
    };
    return cmocka_run_group_tests_name("sql", tests, NULL, NULL);
}
