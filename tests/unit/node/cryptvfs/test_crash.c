/* Dying at any moment: what was acknowledged is there, what was not is there whole or not at all.
 */
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/node/cryptvfs/disk.h"
#include "tests/unit/node/cryptvfs/support.h"

enum { KILL_ROUNDS = 72, POWER_ROUNDS = 320, POWER_COMMITS = 14, ROWS_PER_COMMIT = 5 };

/* DELETE forgets its journal's deletion in a power cut unless the folder is synced too: EXTRA. */
static const char *const SETTINGS[] = {
    ("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_spill=OFF; PRAGMA "
     "wal_autocheckpoint=8"),
    "PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA; PRAGMA cache_size=6",
    "PRAGMA journal_mode=TRUNCATE; PRAGMA synchronous=EXTRA; PRAGMA cache_size=6",
    "PRAGMA journal_mode=PERSIST; PRAGMA synchronous=EXTRA; PRAGMA cache_size=6",
};

static const char *const CREATE =
    "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, batch INT, v);"
    "CREATE INDEX IF NOT EXISTS tb ON t(batch)";

/* One commit: rows of one batch, and changes to old rows so that pages are overwritten. */
static int commit_batch(sqlite3 *db, int64_t batch, uint64_t *seed)
{
    char sql[500];
    snprintf(
        sql, sizeof sql,
        "BEGIN; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d)"
        "INSERT INTO t(batch, v) SELECT %lld, printf('%%.*c', %u, 'a'+%lld%%20)||'-%lld' FROM n;"
        "UPDATE t SET v=v WHERE batch%%3=%lld%%3; COMMIT",
        ROWS_PER_COMMIT, (long long)batch, (unsigned)rnd_below(seed, 3000), (long long)batch,
        (long long)batch, (long long)batch);
    return try(db, sql);
}

/* acknowledged: the last batch a client was told about. */
static void check_batches(sqlite3 *db, int64_t acknowledged)
{
    check_integrity(db);
    int64_t last = number(db, "SELECT ifnull(max(batch), 0) FROM t");
    assert_true(last == acknowledged || last == acknowledged + 1);
    assert_int_equal(number(db, "SELECT count(*) FROM t"), last * ROWS_PER_COMMIT);
    assert_int_equal(
        number(db, "SELECT count(*) FROM (SELECT 1 FROM t GROUP BY batch HAVING count(*)=5)"),
        last);
    assert_int_equal(number(db, "SELECT count(*) FROM t WHERE v NOT LIKE '%-'||batch"), 0);
}

static _Noreturn void child_writes(int out, const char *path, const char *settings, int64_t batch,
                                   uint64_t seed)
{
    struct base_err err;
    sqlite3 *db = NULL;
    if (node_cryptvfs_open(VFS, path, RWC, &db, &err) != 0 || try(db, settings) != SQLITE_OK)
        _exit(3);
    for (;;) {
        batch++;
        if (commit_batch(db, batch, &seed) != SQLITE_OK)
            _exit(4);
        if (write(out, &batch, sizeof batch) != sizeof batch)
            _exit(5);
        if (batch % 16 == 0 && try(db, "VACUUM") != SQLITE_OK)
            _exit(6);
    }
}

static int64_t run_and_kill(const char *path, const char *settings, int64_t batch, uint64_t *seed)
{
    int ends[2], status;
    int64_t seen;
    assert_int_equal(pipe(ends), 0);
    uint64_t child_seed = rnd(seed);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(ends[0]);
        child_writes(ends[1], path, settings, batch, child_seed);
    }
    close(ends[1]);
    struct timespec wait = {0, (long)(2000000 + rnd_below(seed, 40) * 1000000)};
    nanosleep(&wait, NULL);
    kill(child, SIGKILL);
    while (read(ends[0], &seen, sizeof seen) == sizeof seen)
        batch = seen;
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFSIGNALED(status))
        fail_msg("the writer failed with %d", WEXITSTATUS(status));
    return batch;
}

static void a_killed_writer_loses_nothing_acknowledged(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    int64_t batches = 0;
    for (int round = 0; round < KILL_ROUNDS; round++) {
        const char *path = at(round % 12 < 3 ? "w.db" : "r.db");
        const char *settings = SETTINGS[round % 4];
        if (round % 12 == 0) {
            remove_db(at("w.db"));
            remove_db(at("r.db"));
        }
        sqlite3 *db = open_sealed(path);
        run(db, CREATE);
        int64_t before = number(db, "SELECT ifnull(max(batch), 0) FROM t");
        close_db(db);
        int64_t acknowledged = run_and_kill(path, settings, before, &seed);
        batches += acknowledged - before;
        db = open_sealed(path);
        check_batches(db, acknowledged);
        close_db(db);
    }
    print_message("%lld acknowledged commits in %d rounds\n", (long long)batches, KILL_ROUNDS);
    assert_true(batches > KILL_ROUNDS);
}

static sqlite3 *open_disk(bool sealed)
{
    struct base_err err;
    sqlite3 *db = NULL;
    if (!sealed) {
        assert_int_equal(sqlite3_open_v2("/d.db", &db, RWC, DISK_VFS), SQLITE_OK);
        return db;
    }
    if (node_cryptvfs_open("sealed-disk", "/d.db", RWC, &db, &err) != 0)
        fail_msg("%s", err.text);
    return db;
}

/* Writes until the disk fails or the batches are done; the last acknowledged batch. */
static int64_t write_until_cut(bool sealed, const char *settings, int64_t batch, uint64_t *seed)
{
    struct base_err err;
    sqlite3 *db = NULL;
    int rc = sealed ? node_cryptvfs_open("sealed-disk", "/d.db", RWC, &db, &err)
                    : sqlite3_open_v2("/d.db", &db, RWC, DISK_VFS);
    if (rc != 0) {
        assert_true(disk_has_failed());
        sqlite3_close(db);
        return batch;
    }
    if (try(db, settings) == SQLITE_OK)
        for (int i = 0; i < POWER_COMMITS; i++) {
            if (commit_batch(db, batch + 1, seed) != SQLITE_OK)
                break;
            batch++;
            if (i % 6 == 5 && try(db, "DELETE FROM t WHERE 0; VACUUM") != SQLITE_OK)
                break;
        }
    sqlite3_close(db);
    return batch;
}

static void power_round(bool sealed, uint64_t seed, const char *settings)
{
    int64_t acknowledged = 0;
    disk_clear();
    sqlite3 *db = open_disk(sealed);
    run(db, settings);
    run(db, CREATE);
    close_db(db);
    for (int cut = 0; cut < 3; cut++) {
        disk_fail_after((long)rnd_below(&seed, 1400));
        acknowledged = write_until_cut(sealed, settings, acknowledged, &seed);
        disk_cut_power(rnd(&seed));
        db = open_disk(sealed);
        check_batches(db, acknowledged);
        acknowledged = number(db, "SELECT ifnull(max(batch), 0) FROM t");
        close_db(db);
    }
}

static int power_set_up(void **state)
{
    struct base_err err;
    if (support_set_up(state) != 0 || disk_register() != SQLITE_OK)
        return -1;
    return node_cryptvfs_register_over("sealed-disk", DISK_VFS, test_key, &err);
}

static int power_tear_down(void **state)
{
    int rc = node_cryptvfs_unregister("sealed-disk");
    disk_unregister();
    return rc | support_tear_down(state);
}

static void a_power_cut_loses_nothing_acknowledged(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (int round = 0; round < POWER_ROUNDS; round++)
        power_round(true, seed + (uint64_t)round, SETTINGS[round % 4]);
}

/* The simulated disk is fair: plain SQLite survives it too. */
static void plain_sqlite_survives_the_same_disk(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (int round = 0; round < POWER_ROUNDS / 4; round++)
        power_round(false, seed + (uint64_t)round, SETTINGS[round % 4]);
}

#define CASE(name)       cmocka_unit_test_setup_teardown(name, support_set_up, support_tear_down)
#define POWER_CASE(name) cmocka_unit_test_setup_teardown(name, power_set_up, power_tear_down)

int crash_tests(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_killed_writer_loses_nothing_acknowledged),
    };
    return cmocka_run_group_tests_name("crash", tests, NULL, NULL);
}

int power_tests(void)
{
    const struct CMUnitTest tests[] = {
        POWER_CASE(plain_sqlite_survives_the_same_disk),
        POWER_CASE(a_power_cut_loses_nothing_acknowledged),
    };
    return cmocka_run_group_tests_name("power", tests, NULL, NULL);
}
