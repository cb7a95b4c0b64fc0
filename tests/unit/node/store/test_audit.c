/*
 * The audit trail against whoever may write the open store (past its sealing): each kind of tampering
 * shows. The triggers are dropped first, as such a person would.
 */
#include "node/store/audit.h"
#include "node/store/rows.h"
#include "sync/seal/seal.h"
#include "tests/unit/node/store/support.h"

static struct fixture f;
static const uint8_t audit_key[32] = {1, 2, 3};
static uint8_t public_key[32], secret_key[64];
static struct node_audit_report report;

static int run_add(struct node_db *db, void *arg, struct base_err *err)
{
    struct node_author author = {.device = "tablet", .request_id = "r"};
    struct base_uuid patient = uuid_of(uuid_n(*(int *)arg));
    return node_audit_add(db, &author, "read", "patient", &patient, &patient, "ok", "", err);
}

static void add(int n)
{
    assert_int_equal(on_writer(&f, run_add, &n), 0);
}

static int run_mark(struct node_db *db, void *arg, struct base_err *err)
{
    struct node_audit_state s;
    struct node_audit_mark m;
    struct base_buf text;
    int rc = node_audit_state_get(db, &s, err);
    m.head = s.head;
    base_buf_init(&text, 256);
    node_audit_mark_text(&text, &node_db_identity(db)->node_id, &m.head);
    memcpy(m.key, public_key, sizeof m.key);
    seal_sign(m.sig, text.data, text.len, secret_key);
    base_buf_release(&text);
    return rc == 0 ? node_audit_mark_add(db, &m, err) : rc;
}

static int run_raw(struct node_db *db, void *arg, struct base_err *err)
{
    return connection_exec(db, arg, err);
}

static int raw(const char *text)
{
    return on_writer(&f, run_raw, (void *)(uintptr_t)text);
}

static const char open_up[] = "DROP TRIGGER _audit_update; DROP TRIGGER _audit_delete;"
                              "DROP TRIGGER _audit_mark_update;"
                              "DROP TRIGGER _audit_mark_delete; DROP TRIGGER _audit_mark_insert";

static int run_check(struct node_db *db, void *arg, struct base_err *err)
{
    return node_audit_check(db, public_key, &report, err);
}

/* "": the trail is whole. */
static const char *broken(void)
{
    assert_int_equal(on_reader(&f, run_check, NULL), 0);
    return report.broken;
}

static int begin(void **state)
{
    fixture_ready(&f);
    node_store_audit_key(f.store, audit_key);
    seal_keypair(public_key, secret_key);
    for (int i = 1; i <= 6; i++) {
        add(i);
        if (i == 3)
            assert_int_equal(on_writer(&f, run_mark, NULL), 0);
    }
    return 0;
}

static int end(void **state)
{
    fixture_remove(&f);
    return 0;
}

static void a_trail_that_nobody_touched_is_whole(void **state)
{
    assert_string_equal(broken(), "");
    assert_int_equal(report.head.n, 6);
    assert_int_equal(report.marks, 1);
    assert_int_equal(report.marks_of_other_keys, 0);
    fixture_close(&f);
    fixture_open(&f);
    node_store_audit_key(f.store, audit_key);
    add(7);
    assert_string_equal(broken(), "");
    assert_int_equal(report.head.n, 7);
}

static void sql_cannot_change_what_is_there(void **state)
{
    static const char insert[] =
        "INSERT OR REPLACE INTO _audit SELECT n, at, actor, device, request_id, 'x', tbl, row_id, "
        "patient_id, outcome, detail, chain FROM _audit WHERE n = 2";
    static const char *const tries[] = {
        "UPDATE _audit SET action = 'x'",
        "DELETE FROM _audit WHERE n = 6",
        insert,
        "UPDATE _audit_mark SET at = ''",
        "DELETE FROM _audit_mark",
        "INSERT OR REPLACE INTO _audit_mark SELECT n, at, chain, key, sig FROM _audit_mark"};
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++)
        assert_int_equal(raw(tries[i]), BASE_EDENIED);
    assert_string_equal(broken(), "");
}

static void an_edited_entry_shows(void **state)
{
    assert_int_equal(raw(open_up), 0);
    assert_int_equal(raw("UPDATE _audit SET patient_id = row_id || x'' WHERE n = 2"), 0);
    assert_int_equal(raw("UPDATE _audit SET device = 'another' WHERE n = 2"), 0);
    assert_non_null(strstr(broken(), "audit entry 2 is not"));
}

static void a_deleted_entry_shows(void **state)
{
    assert_int_equal(raw(open_up), 0);
    assert_int_equal(raw("DELETE FROM _audit WHERE n = 4"), 0);
    assert_non_null(strstr(broken(), "audit entry 4 is not"));
    assert_int_equal(raw("UPDATE _audit SET n = n - 1 WHERE n > 4"), 0); /* and the gap closed */
    assert_non_null(strstr(broken(), "audit entry 4 is not"));
}

static void entries_in_another_order_show(void **state)
{
    assert_int_equal(raw(open_up), 0);
    assert_int_equal(raw("UPDATE _audit SET n = -4 WHERE n = 4;"
                         "UPDATE _audit SET n = 4 WHERE n = 5;"
                         "UPDATE _audit SET n = 5 WHERE n = -4"),
                     0);
    assert_non_null(strstr(broken(), "audit entry 4 is not"));
}

static void a_tail_cut_off_below_a_signed_head_shows(void **state)
{
    assert_int_equal(raw(open_up), 0);
    assert_int_equal(raw("DELETE FROM _audit WHERE n > 2"), 0);
    assert_non_null(strstr(broken(), "entry 3 was signed here"));
}

static int run_sent(struct node_db *db, void *arg, struct base_err *err)
{
    return node_audit_sent(db, 5, err);
}

static void a_tail_cut_off_below_what_the_centre_has_shows(void **state)
{
    assert_int_equal(on_writer(&f, run_sent, NULL), 0);
    assert_int_equal(raw(open_up), 0);
    assert_int_equal(raw("DELETE FROM _audit WHERE n > 4; DELETE FROM _audit_mark"), 0);
    assert_non_null(strstr(broken(), "the centre has taken entry 5"));
}

/* Who can write but lacks the audit key goes on with the chain as well as they can. */
static void a_trail_made_without_the_key_shows(void **state)
{
    assert_int_equal(raw(open_up), 0);
    assert_int_equal(raw("DELETE FROM _audit WHERE n > 3"), 0);
    fixture_close(&f);
    fixture_open(&f); /* no audit key: another one */
    add(10);
    fixture_close(&f);
    fixture_open(&f);
    node_store_audit_key(f.store, audit_key);
    assert_non_null(strstr(broken(), "audit entry 4 is not"));
}

static void guards_that_were_taken_away_show(void **state)
{
    assert_int_equal(raw("DROP TRIGGER _audit_delete"), 0);
    assert_non_null(strstr(broken(), "triggers"));
}

static void a_false_signature_shows(void **state)
{
    assert_int_equal(raw(open_up), 0);
    assert_int_equal(raw("UPDATE _audit_mark SET sig = zeroblob(64)"), 0);
    assert_non_null(strstr(broken(), "signature under audit entry 3"));
}

static void a_head_signed_by_an_earlier_key_is_counted(void **state)
{
    uint8_t other[64];
    seal_keypair(public_key, other);
    assert_string_equal(broken(), "");
    assert_int_equal(report.marks_of_other_keys, 1);
}

struct seen {
    int count;
    int64_t first;
};

static bool note(void *user, const struct node_audit_entry *e)
{
    struct seen *s = user;
    if (s->count++ == 0)
        s->first = e->n;
    assert_string_equal(e->device, "tablet");
    return true;
}

static int run_each(struct node_db *db, void *arg, struct base_err *err)
{
    struct base_uuid patient = uuid_of(uuid_n(2));
    const struct node_audit_filter of_patient = {.patient = &patient};
    const struct node_audit_filter all = {.before = 6, .limit = 3};
    int rc = node_audit_each(db, &of_patient, arg, note, err);
    return rc == 0 ? node_audit_each(db, &all, (struct seen *)arg + 1, note, err) : rc;
}

static void who_has_seen_a_chart_is_told_newest_first(void **state)
{
    struct seen seen[2] = {0};
    add(2);
    assert_int_equal(on_reader(&f, run_each, seen), 0);
    assert_int_equal(seen[0].count, 2);
    assert_int_equal(seen[0].first, 7);
    assert_int_equal(seen[1].count, 3);
    assert_int_equal(seen[1].first, 5);
}

static int run_batch(struct node_db *db, void *arg, struct base_err *err)
{
    struct base_buf b;
    struct node_audit_head before, last;
    base_buf_init(&b, 1024 * 1024);
    int rc = node_audit_batch(db, 4, &b, &before, &last, err);
    int lines = 0;
    for (size_t i = 0; i < b.len; i++)
        lines += b.data[i] == '\n';
    assert_int_equal(before.n, 4);
    assert_int_equal(last.n, 6);
    assert_int_equal(lines, 2);
    assert_memory_equal(b.data + 64, " [5,\"", 5);
    base_buf_release(&b);
    return rc;
}

static void a_batch_holds_whole_entries_in_order(void **state)
{
    assert_int_equal(on_reader(&f, run_batch, NULL), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    struct base_err err;
    const struct CMUnitTest tests[] = {T(a_trail_that_nobody_touched_is_whole),
                                       T(sql_cannot_change_what_is_there),
                                       T(an_edited_entry_shows),
                                       T(a_deleted_entry_shows),
                                       T(entries_in_another_order_show),
                                       T(a_tail_cut_off_below_a_signed_head_shows),
                                       T(a_tail_cut_off_below_what_the_centre_has_shows),
                                       T(a_trail_made_without_the_key_shows),
                                       T(guards_that_were_taken_away_show),
                                       T(a_false_signature_shows),
                                       T(a_head_signed_by_an_earlier_key_is_counted),
                                       T(who_has_seen_a_chart_is_told_newest_first),
                                       T(a_batch_holds_whole_entries_in_order)};
    assert_int_equal(seal_init(&err), 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
