/* The replica's file as a whole: copied while it is written, looked through, put back. */
#include <unistd.h>

#include "node/store/audit.h"
#include "node/store/copy.h"
#include "sync/seal/seal.h"
#include "tests/unit/node/store/support.h"

#define P(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct fixture f;
static const uint8_t audit_key[32] = {7};
static uint8_t public_key[32];
static char to[128];

static int begin(void **state)
{
    fixture_ready(&f);
    node_store_audit_key(f.store, audit_key);
    snprintf(to, sizeof to, "%s/copy.db", f.dir);
    for (int i = 1; i <= 20; i++)
        assert_int_equal(
            edit(&f, CORE_OP_INSERT, "patient", uuid_n(i), P("family_name", "Ek"), NULL), 0);
    return 0;
}

static int end(void **state)
{
    char side[160];
    (void)unlink(to);
    snprintf(side, sizeof side, "%s-wal", to);
    (void)unlink(side);
    snprintf(side, sizeof side, "%s-shm", to);
    (void)unlink(side);
    fixture_remove(&f);
    return 0;
}

static void a_copy_beside_an_open_store_holds_everything_that_was_committed(void **state)
{
    struct node_store_facts facts;
    assert_int_equal(node_store_copy(f.dir, test_key, NULL, to, &f.err), 0);
    assert_int_equal(edit(&f, CORE_OP_INSERT, "patient", uuid_n(21), P("family_name", "Ek"), NULL),
                     0);
    assert_int_equal(node_store_check(to, test_key, audit_key, public_key, &facts, &f.err), 0);
    assert_int_equal(facts.last_seq, 20);
    assert_int_equal(facts.audit_entries, 20);
    assert_int_equal(facts.changes_unsent, 20);
    assert_int_equal(node_store_copy(f.dir, test_key, NULL, to, &f.err), BASE_EEXISTS);
}

static void a_copy_under_another_key_opens_with_that_alone(void **state)
{
    static const uint8_t other[32] = {9, 9};
    struct node_store_facts facts;
    assert_int_equal(node_store_copy(f.dir, test_key, other, to, &f.err), 0);
    assert_int_equal(node_store_look(to, test_key, &facts, &f.err), BASE_EKEY);
    assert_int_equal(node_store_look(to, other, &facts, &f.err), 0);
    assert_int_equal(facts.last_seq, 20);
}

static void a_wrong_key_copies_nothing(void **state)
{
    static const uint8_t other[32] = {9, 9};
    assert_int_equal(node_store_copy(f.dir, other, NULL, to, &f.err), BASE_EKEY);
    assert_int_equal(access(to, F_OK), -1);
}

static int64_t byte_at(const char *path, long at)
{
    FILE *file = fopen(path, "rbe");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    int c = fgetc(file);
    (void)fclose(file);
    return c;
}

/* VACUUM makes files in rollback mode; byte 18 says 2 in WAL mode. */
static void a_restored_copy_is_in_wal_mode_and_in_its_next_life(void **state)
{
    struct node_store_facts facts;
    assert_int_equal(node_store_copy(f.dir, test_key, NULL, to, &f.err), 0);
    assert_int_equal(node_store_restored(to, test_key, audit_key, &f.err), 0);
    assert_int_equal(byte_at(to, 18), 2);
    assert_int_equal(node_store_check(to, test_key, audit_key, public_key, &facts, &f.err), 0);
    assert_int_equal(facts.audit_entries, 21);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    struct base_err err;
    const struct CMUnitTest tests[] = {
        T(a_copy_beside_an_open_store_holds_everything_that_was_committed),
        T(a_copy_under_another_key_opens_with_that_alone), T(a_wrong_key_copies_nothing),
        T(a_restored_copy_is_in_wal_mode_and_in_its_next_life)};
    assert_int_equal(seal_init(&err), 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
