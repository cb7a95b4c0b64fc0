/*
 * The audit trail against whoever may write the open store (past its sealing): each kind of tampering
 * shows. The triggers are dropped first, as such a person would.
 */
#include "node/store/audit.h"
#include "node/store/prune.h"
#include "node/store/rows.h"
#include "sync/base/clock.h"
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

/* ---- trimmed ---- */

enum { DAYS = 3 };

static int run_days(struct node_db *db, void *arg, struct base_err *err)
{
    static int64_t day;
    for (int i = 0; i <= DAYS; i++) {
        int rc = node_prune_day(db, ++day, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int run_sent_to(struct node_db *db, void *arg, struct base_err *err)
{
    return node_audit_sent(db, *(int64_t *)arg, err);
}

/* The centre has had entries up to n for some days. */
static void age(int64_t n)
{
    assert_int_equal(on_writer(&f, run_sent_to, &n), 0);
    assert_int_equal(on_writer(&f, run_days, NULL), 0);
}

static int run_cut(struct node_db *db, void *arg, struct base_err *err)
{
    int64_t *n = arg;
    struct node_audit_head head;
    struct base_buf text;
    uint8_t sig[64];
    int rc = node_audit_cut_due(db, DAYS, &head, err);
    *n = head.n;
    if (rc != 0 || head.n == 0)
        return rc;
    base_buf_init(&text, 256);
    node_audit_cut_text(&text, &node_db_identity(db)->node_id, &head);
    seal_sign(sig, text.data, text.len, secret_key);
    base_buf_release(&text);
    return node_audit_cut_add(db, &head, public_key, sig, err);
}

static int run_trim(struct node_db *db, void *arg, struct base_err *err)
{
    bool more = false;
    return node_audit_trim_step(db, arg, &more, err);
}

static int64_t cut(void)
{
    int64_t n = 0;
    assert_int_equal(on_writer(&f, run_cut, &n), 0);
    return n;
}

static int64_t trim(void)
{
    int64_t gone = 0;
    assert_int_equal(on_writer(&f, run_trim, &gone), 0);
    return gone;
}

static void a_trimmed_trail_is_whole_and_says_from_where(void **state)
{
    age(4);
    assert_int_equal(cut(), 4);
    assert_string_equal(broken(), ""); /* as if it had died here: nothing deleted yet */
    assert_int_equal(report.cut.head.n, 4);
    fixture_close(&f);
    fixture_open(&f);
    node_store_audit_key(f.store, audit_key);
    assert_int_equal(trim(), 4);
    assert_int_equal(trim(), 0);
    assert_string_equal(broken(), "");
    assert_int_equal(report.head.n, 7); /* the trimming is an entry, too */
    assert_int_equal(report.cut.head.n, 4);
    assert_int_equal(report.marks, 0);
    assert_int_equal(cut(), 0); /* no further */
    fixture_close(&f);
    fixture_open(&f);
    node_store_audit_key(f.store, audit_key);
    add(8);
    assert_int_equal(on_writer(&f, run_mark, NULL), 0);
    assert_string_equal(broken(), "");
    assert_int_equal(report.head.n, 8);
    age(8);
    assert_int_equal(cut(), 7); /* never the last one: the next goes on from it */
    assert_int_equal(trim(), 3);
    assert_string_equal(broken(), "");
}

static int run_add_many(struct node_db *db, void *arg, struct base_err *err)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < *(int *)arg; i++)
        rc = run_add(db, &i, err);
    return rc;
}

/* As node/engine/prune.c does it: a stretch checked and ended, some deleted, in one job. */
static int run_round(struct node_db *db, void *arg, struct base_err *err)
{
    int64_t *longest_us = arg;
    int64_t n = 0;
    int64_t gone = 0;
    bool more = false;
    int64_t begun = base_clock_monotonic_us();
    int rc = run_cut(db, &n, err);
    if (rc == 0)
        rc = node_audit_trim_step(db, &gone, &more, err);
    int64_t took = base_clock_monotonic_us() - begun;
    *longest_us = took > *longest_us ? took : *longest_us;
    return rc;
}

static void a_long_trail_is_trimmed_in_short_steps_and_is_whole_after_each(void **state)
{
    int many = 4 * NODE_AUDIT_CUT_ENTRIES;
    int64_t longest_us = 0;
    assert_int_equal(on_writer(&f, run_add_many, &many), 0);
    age(many);
    for (int i = 1; i <= 4; i++) {
        assert_int_equal(on_writer(&f, run_round, &longest_us), 0);
        assert_string_equal(broken(), "");
        assert_int_equal(report.cut.head.n, i * NODE_AUDIT_CUT_ENTRIES);
    }
    assert_int_equal(sql_i64(&f, "SELECT min(n) FROM _audit"), many + 1);
    print_message("          the longest step %lld us\n", (long long)longest_us);
}

static void what_the_centre_has_not_had_for_long_is_not_trimmed(void **state)
{
    int64_t none = 0;
    assert_int_equal(cut(), 0);
    age(0);
    assert_int_equal(cut(), 0);
    age(4);
    assert_int_equal(on_writer(&f, run_sent_to, &none),
                     0); /* it was put back, and gets them again */
    assert_int_equal(cut(), 0);
    none = 6;
    assert_int_equal(on_writer(&f, run_sent_to, &none), 0);
    assert_int_equal(cut(), 0); /* as young as that */
}

static void a_front_cut_off_by_hand_shows(void **state)
{
    age(4);
    assert_int_equal(raw("DELETE FROM _audit WHERE n < 3"), BASE_EDENIED);
    assert_int_equal(raw("DROP TRIGGER _audit_delete"), 0);
    assert_int_equal(raw("DELETE FROM _audit WHERE n < 3"), 0);
    assert_non_null(strstr(broken(), "audit entry 1 is not"));
}

static void a_front_cut_off_behind_the_checkpoint_shows(void **state)
{
    age(4);
    assert_int_equal(cut(), 4);
    assert_int_equal(raw("DELETE FROM _audit WHERE n <= 5"), BASE_EDENIED);
    assert_int_equal(raw("DROP TRIGGER _audit_delete"), 0);
    assert_int_equal(raw("DELETE FROM _audit WHERE n <= 5"), 0);
    assert_non_null(strstr(broken(), "audit entry 5 is not"));
}

static void a_tail_cut_off_a_trimmed_trail_shows(void **state)
{
    age(4);
    assert_int_equal(cut(), 4);
    assert_int_equal(trim(), 4);
    assert_int_equal(on_writer(&f, run_mark, NULL), 0);
    assert_int_equal(raw("DROP TRIGGER _audit_delete"), 0);
    assert_int_equal(raw("DELETE FROM _audit WHERE n > 5"), 0);
    assert_non_null(strstr(broken(), "its end is cut off"));
}

/* Whoever can write the store, but has not the audit key. */
static void a_checkpoint_made_without_the_key_shows(void **state)
{
    int64_t n = 0;
    age(4);
    assert_int_equal(raw("INSERT INTO _audit_cut SELECT 2, '', chain, chain, chain, chain FROM "
                         "_audit WHERE n = 2"),
                     0);
    assert_non_null(strstr(broken(), "checkpoint at audit entry 2 is not whole"));
    assert_int_equal(raw("DROP TRIGGER _audit_cut_delete; DELETE FROM _audit_cut"), 0);
    assert_int_equal(on_writer(&f, run_cut, &n), 0);
    assert_int_equal(raw("DROP TRIGGER _audit_cut_update;"
                         "UPDATE _audit_cut SET tag = x'00' || substr(tag, 2)"),
                     0);
    assert_non_null(strstr(broken(), "checkpoint at audit entry 4 was not made by this node"));
}

static void an_edited_entry_keeps_its_part_of_the_trail_from_being_trimmed(void **state)
{
    int64_t n = 0;
    age(4);
    assert_int_equal(raw("DROP TRIGGER _audit_update;"
                         "UPDATE _audit SET device = 'another' WHERE n = 2"),
                     0);
    assert_int_equal(on_writer(&f, run_cut, &n), BASE_ECORRUPT);
    assert_int_equal(n, 0);
    assert_non_null(strstr(broken(), "audit entry 2 is not"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    struct base_err err;
    const struct CMUnitTest tests[] = {
        T(a_trail_that_nobody_touched_is_whole),
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
        T(a_batch_holds_whole_entries_in_order),
        T(a_trimmed_trail_is_whole_and_says_from_where),
        T(a_long_trail_is_trimmed_in_short_steps_and_is_whole_after_each),
        T(what_the_centre_has_not_had_for_long_is_not_trimmed),
        T(a_front_cut_off_by_hand_shows),
        T(a_front_cut_off_behind_the_checkpoint_shows),
        T(a_tail_cut_off_a_trimmed_trail_shows),
        T(a_checkpoint_made_without_the_key_shows),
        T(an_edited_entry_keeps_its_part_of_the_trail_from_being_trimmed)};
    assert_int_equal(seal_init(&err), 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
