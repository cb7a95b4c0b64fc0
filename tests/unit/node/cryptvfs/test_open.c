/* Keys and refusals. */
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/node/cryptvfs/support.h"

static int open_code(const char *vfs, const char *path, int flags, struct base_err *err)
{
    sqlite3 *db = NULL;
    int rc = node_cryptvfs_open(vfs, path, flags, &db, err);
    if (rc == 0)
        close_db(db);
    else
        assert_null(db);
    return rc;
}

static void make(const char *path, const char *mode)
{
    char sql[64];
    sqlite3 *db = open_sealed(path);
    snprintf(sql, sizeof sql, "PRAGMA journal_mode=%s", mode);
    run(db, sql);
    run(db, "CREATE TABLE t(x); INSERT INTO t VALUES('hello')");
    close_db(db);
}

static void the_right_key_opens(void **state)
{
    (void)state;
    make(at("a.db"), "WAL");
    sqlite3 *db = open_sealed(at("a.db"));
    assert_int_equal(number(db, "SELECT count(*) FROM t WHERE x='hello'"), 1);
    assert_int_equal(number(db, "PRAGMA page_size"), 4096);
    assert_true(node_cryptvfs_sealed(db, "main"));
    assert_false(node_cryptvfs_sealed(db, "nobody"));
    close_db(db);
    struct bytes b = load(at("a.db"));
    assert_int_equal(b.data[20], 40);
    assert_memory_equal(b.data, "EWs1", 4);
    forget(&b);
}

static void a_wrong_key_is_told_from_damage_and_changes_nothing(void **state)
{
    (void)state;
    struct base_err err;
    make(at("a.db"), "WAL");
    struct bytes before = load(at("a.db"));
    assert_int_equal(open_code(OTHER_VFS, at("a.db"), RWC, &err), BASE_EKEY);
    assert_non_null(strstr(err.text, "keys.sealed"));
    struct bytes after = load(at("a.db"));
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
    forget(&before);
    forget(&after);
}

static void without_a_key_the_file_is_no_database(void **state)
{
    (void)state;
    make(at("a.db"), "DELETE");
    sqlite3 *db = open_plain(at("a.db"));
    assert_int_equal(try(db, "SELECT * FROM t"), SQLITE_NOTADB);
    close_db(db);
    struct base_err err;
    assert_int_equal(open_code("unix", at("a.db"), RW, &err), BASE_EINVALID);
    assert_int_equal(open_code("nowhere", at("a.db"), RW, &err), BASE_EINVALID);
}

static void a_plain_database_is_refused_untouched(void **state)
{
    (void)state;
    struct base_err err;
    sqlite3 *db = open_plain(at("p.db"));
    run(db, "CREATE TABLE t(x)");
    close_db(db);
    struct bytes before = load(at("p.db"));
    assert_int_equal(open_code(VFS, at("p.db"), RWC, &err), BASE_EINVALID);
    assert_non_null(strstr(err.text, "plain SQLite"));
    struct bytes after = load(at("p.db"));
    assert_memory_equal(before.data, after.data, before.len);
    forget(&before);
    forget(&after);
}

static void other_files_and_names_are_refused(void **state)
{
    (void)state;
    struct base_err err;
    uint8_t junk[9000];
    memset(junk, 'j', sizeof junk);
    store(at("j.db"), (struct bytes){junk, sizeof junk, true});
    assert_int_equal(open_code(VFS, at("j.db"), RWC, &err), BASE_ECORRUPT);
    assert_int_equal(open_code(VFS, at("none.db"), RW, &err), BASE_ENOTFOUND);
    assert_int_equal(open_code(VFS, ":memory:", RWC, &err), BASE_EINVALID);
    assert_int_equal(open_code(VFS, "", RWC, &err), BASE_EINVALID);
    assert_int_equal(open_code(VFS, "file:x.db?vfs=unix", RWC, &err), BASE_EINVALID);
}

static void an_empty_file_becomes_a_sealed_one(void **state)
{
    (void)state;
    uint8_t nothing = 0;
    store(at("e.db"), (struct bytes){&nothing, 0, true});
    make(at("e.db"), "WAL");
    sqlite3 *db = open_sealed(at("e.db"));
    assert_int_equal(number(db, "SELECT count(*) FROM t"), 1);
    close_db(db);
}

static void names_are_registered_once_and_not_while_in_use_undone(void **state)
{
    (void)state;
    struct base_err err;
    char long_name[80];
    memset(long_name, 'n', sizeof long_name);
    long_name[79] = '\0';
    assert_int_equal(node_cryptvfs_register(VFS, test_key, &err), BASE_EEXISTS);
    assert_int_equal(node_cryptvfs_register("", test_key, &err), BASE_EINVALID);
    assert_int_equal(node_cryptvfs_register(long_name, test_key, &err), BASE_EINVALID);
    assert_int_equal(node_cryptvfs_unregister("unix"), BASE_ENOTFOUND);
    sqlite3 *db = open_sealed(at("a.db"));
    assert_int_equal(node_cryptvfs_unregister(VFS), BASE_EBUSY);
    close_db(db);
}

static void a_torn_first_page_does_not_keep_a_wal_from_recovering(void **state)
{
    (void)state;
    sqlite3 *db = open_sealed(at("a.db"));
    keep_wal(db);
    run(db, "CREATE TABLE t(x); INSERT INTO t VALUES('kept')");
    copy_db(at("a.db"), at("b.db"));
    close_db(db);
    struct bytes b = load(at("b.db"));
    memset(b.data + 512, 0x55, 512); /* a sector of page 1 */
    store(at("b.db"), b);
    forget(&b);
    db = open_sealed(at("b.db"));
    assert_int_equal(number(db, "SELECT count(*) FROM t WHERE x='kept'"), 1);
    check_integrity(db);
    close_db(db);
}

static void without_a_wal_a_torn_first_page_is_damage(void **state)
{
    (void)state;
    struct base_err err;
    make(at("a.db"), "DELETE");
    struct bytes b = load(at("a.db"));
    memset(b.data + 512, 0x55, 512);
    store(at("a.db"), b);
    forget(&b);
    assert_int_equal(open_code(VFS, at("a.db"), RW, &err), BASE_ECORRUPT);
    assert_non_null(strstr(err.text, "backup"));
}

static void a_readable_page_size_that_is_not_ours_is_refused(void **state)
{
    (void)state;
    struct base_err err;
    make(at("a.db"), "DELETE");
    struct bytes b = load(at("a.db"));
    b.data[20] = 0;
    store(at("a.db"), b);
    forget(&b);
    assert_int_equal(open_code(VFS, at("a.db"), RW, &err), BASE_ECORRUPT);
}

static void a_data_key_is_rotated_by_vacuum_into(void **state)
{
    (void)state;
    struct base_err err;
    char sql[400];
    sqlite3 *db = open_sealed(at("a.db"));
    run(db, "CREATE TABLE t(x); INSERT INTO t VALUES('moved')");
    snprintf(sql, sizeof sql, "VACUUM INTO 'file:%s?vfs=" OTHER_VFS "'", at("n.db"));
    run(db, sql);
    close_db(db);
    db = NULL;
    assert_int_equal(open_code(VFS, at("n.db"), RW, &err), BASE_EKEY);
    assert_int_equal(node_cryptvfs_open(OTHER_VFS, at("n.db"), RW, &db, &err), 0);
    assert_int_equal(number(db, "SELECT count(*) FROM t WHERE x='moved'"), 1);
    check_integrity(db);
    close_db(db);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, support_set_up, support_tear_down)

int open_tests(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_right_key_opens),
        CASE(a_wrong_key_is_told_from_damage_and_changes_nothing),
        CASE(without_a_key_the_file_is_no_database),
        CASE(a_plain_database_is_refused_untouched),
        CASE(other_files_and_names_are_refused),
        CASE(an_empty_file_becomes_a_sealed_one),
        CASE(names_are_registered_once_and_not_while_in_use_undone),
        CASE(a_torn_first_page_does_not_keep_a_wal_from_recovering),
        CASE(without_a_wal_a_torn_first_page_is_damage),
        CASE(a_readable_page_size_that_is_not_ours_is_refused),
        CASE(a_data_key_is_rotated_by_vacuum_into),
    };
    return cmocka_run_group_tests_name("open", tests, NULL, NULL);
}
