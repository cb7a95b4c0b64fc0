/* Receipts, feed, overlay, quarantine: what the ward sees while changes are under way. */
#include "tests/unit/node/store/support.h"

static struct fixture f;

static int setup(void **state)
{
    fixture_ready(&f);
    return 0;
}

static int teardown(void **state)
{
    fixture_remove(&f);
    return 0;
}

#define P(...)                          ((const char *const[]){__VA_ARGS__, NULL})
#define SHOWN(table, id, column, value) assert_string_equal(shown(&f, table, id, column), value)

static const char *const a = "01900000-0001-7000-8000-000000000001";
static const char *const b = "01900000-0002-7000-8000-000000000002";

static void central_patient(int64_t cut, int64_t rev, const char *family, const char *given)
{
    char rest[256];
    snprintf(rest, sizeof rest, "\"%s\",\"%s\"", family, given);
    assert_int_equal(feed_cut(&f, cut, 0, feed_row("patient", rev == 1 ? 'i' : 'u', a, rev, rest)),
                     0);
}

static void a_row_of_the_feed_is_shown(void **state)
{
    central_patient(1, 1, "Berg", "Ada");
    SHOWN("patient", a, "family_name", "Berg");
    assert_int_equal(version_of(&f, "patient", a).rev, 1);
    assert_int_equal(sync_of(&f, "patient", a), NODE_SYNC_ACKNOWLEDGED);
    assert_int_equal(state_of(&f).cursor, 1);
    assert_int_equal(f.moved, 1);
    assert_true(base_uuid_equal(&f.last_moved.patient_id, &(struct base_uuid){{0}}) == false);
}

static void an_older_image_is_ignored(void **state)
{
    central_patient(1, 1, "Berg", "Ada");
    central_patient(2, 5, "Berg", "Eva");
    central_patient(3, 4, "Old", "Old");
    SHOWN("patient", a, "given_names", "Eva");
    assert_int_equal(version_of(&f, "patient", a).rev, 5);
}

static void an_older_image_is_ignored_under_an_edit_too(void **state)
{
    central_patient(1, 5, "Berg", "Eva");
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", a, P("given_names", "Ida"), NULL), 0);
    central_patient(2, 4, "Old", "Old");
    central_patient(3, 5, "Same", "Same");
    SHOWN("patient", a, "family_name", "Berg");
    assert_int_equal(version_of(&f, "patient", a).rev, 5);
}

static void an_edit_shows_over_what_the_feed_brings(void **state)
{
    struct node_version v;
    central_patient(1, 1, "Berg", "Ada");
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", a, P("given_names", "Ida"), &v), 0);
    assert_int_equal(v.rev, 1);
    assert_int_equal(v.pending_seq, 1);
    assert_int_equal(sync_of(&f, "patient", a), NODE_SYNC_PENDING);
    central_patient(2, 2, "Bergmann", "Eva");
    SHOWN("patient", a, "family_name", "Bergmann");
    SHOWN("patient", a, "given_names", "Ida");
    assert_int_equal(version_of(&f, "patient", a).rev, 2);
    assert_int_equal(version_of(&f, "patient", a).pending_seq, 1);
}

static void the_overlay_goes_when_receipt_then_feed_have_come(void **state)
{
    central_patient(1, 1, "Berg", "Ada");
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", a, P("given_names", "Ida"), NULL), 0);
    assert_int_equal(receipt(&f, 1, 1, CORE_CONTESTED), 0);
    SHOWN("patient", a, "given_names", "Ida");
    assert_int_equal(feed_cut(&f, 2, 1, feed_row("patient", 'u', a, 2, "\"Berg\",\"Eva\"")), 0);
    SHOWN("patient", a, "given_names", "Eva");
    assert_int_equal(version_of(&f, "patient", a).pending_seq, 0);
    assert_int_equal(sql_i64(&f, "SELECT count(*) FROM _base"), 0);
}

static void the_overlay_goes_when_feed_then_receipt_have_come(void **state)
{
    central_patient(1, 1, "Berg", "Ada");
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", a, P("given_names", "Ida"), NULL), 0);
    assert_int_equal(feed_cut(&f, 2, 1, feed_row("patient", 'u', a, 2, "\"Berg\",\"Eva\"")), 0);
    SHOWN("patient", a, "given_names", "Ida");
    assert_int_equal(receipt(&f, 1, 0, -1), 0);
    SHOWN("patient", a, "given_names", "Eva");
    assert_int_equal(sync_of(&f, "patient", a), NODE_SYNC_ACKNOWLEDGED);
    assert_int_equal(sql_i64(&f, "SELECT count(*) FROM _base"), 0);
}

static void two_pending_edits_go_one_after_the_other(void **state)
{
    central_patient(1, 1, "Berg", "Ada");
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", a, P("given_names", "Ida"), NULL), 0);
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", a, P("family_name", "Holm"), NULL), 0);
    assert_int_equal(feed_cut(&f, 2, 1, feed_row("patient", 'u', a, 2, "\"Berg\",\"Eva\"")), 0);
    SHOWN("patient", a, "given_names", "Ida");
    SHOWN("patient", a, "family_name", "Holm");
    assert_int_equal(receipt(&f, 1, 0, -1), 0);
    SHOWN("patient", a, "given_names", "Eva");
    SHOWN("patient", a, "family_name", "Holm");
    assert_int_equal(version_of(&f, "patient", a).pending_seq, 2);
    assert_int_equal(receipt(&f, 2, 0, -1), 0);
    SHOWN("patient", a, "family_name", "Holm");
    assert_int_equal(feed_cut(&f, 3, 2, ""), 0);
    SHOWN("patient", a, "family_name", "Berg");
}

static void an_insert_becomes_the_centres(void **state)
{
    assert_int_equal(edit(&f, CORE_OP_INSERT, "patient", a, P("family_name", "Ek"), NULL), 0);
    assert_int_equal(version_of(&f, "patient", a).rev, 0);
    assert_int_equal(feed_cut(&f, 1, 1, feed_row("patient", 'i', a, 1, "\"Ek\"")), 0);
    assert_int_equal(version_of(&f, "patient", a).rev, 1);
    assert_int_equal(version_of(&f, "patient", a).pending_seq, 1);
    assert_int_equal(receipt(&f, 1, 0, -1), 0);
    assert_int_equal(version_of(&f, "patient", a).pending_seq, 0);
    SHOWN("patient", a, "family_name", "Ek");
}

static int run_drop(struct node_db *db, void *arg, struct base_err *err)
{
    return node_quarantine_drop(db, &(struct node_author){.device = "", .request_id = ""},
                                *(int64_t *)arg, "wrong chart", err);
}

static int run_retry(struct node_db *db, void *arg, struct base_err *err)
{
    int count = 0;
    return node_quarantine_retry(db, &(struct node_author){.device = "", .request_id = ""},
                                 *(int64_t *)arg, &count, err);
}

static void a_quarantined_change_keeps_its_value_until_it_is_dropped(void **state)
{
    int64_t one = 1;
    central_patient(1, 1, "Berg", "Ada");
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", a, P("given_names", "Ida"), NULL), 0);
    assert_int_equal(receipt(&f, 1, 1, CORE_QUARANTINED), 0);
    assert_int_equal(feed_cut(&f, 2, 1, ""), 0);
    central_patient(3, 2, "Bergmann", "Eva");
    SHOWN("patient", a, "given_names", "Ida");
    SHOWN("patient", a, "family_name", "Bergmann");
    assert_int_equal(sync_of(&f, "patient", a), NODE_SYNC_QUARANTINED);
    assert_int_equal(state_of(&f).quarantined, 1);
    assert_int_equal(state_of(&f).pending, 1);
    assert_int_equal(on_writer(&f, run_drop, &one), 0);
    SHOWN("patient", a, "given_names", "Eva");
    assert_int_equal(state_of(&f).pending, 0);
    assert_int_equal(sql_i64(&f, "SELECT count(*) FROM _change"), 1);
    assert_int_equal(on_writer(&f, run_drop, &one), BASE_ENOTFOUND);
}

static void a_quarantined_change_can_be_written_again(void **state)
{
    int64_t one = 1;
    assert_int_equal(
        edit(&f, CORE_OP_INSERT, "observation", a, P("patient_id", b, "code", "1"), NULL), 0);
    assert_int_equal(receipt(&f, 1, 1, CORE_QUARANTINED), 0);
    assert_int_equal(feed_cut(&f, 1, 1, ""), 0);
    SHOWN("observation", a, "code", "1");
    assert_int_equal(on_writer(&f, run_retry, &one), 0);
    SHOWN("observation", a, "code", "1");
    assert_int_equal(sync_of(&f, "observation", a), NODE_SYNC_PENDING);
    assert_int_equal(version_of(&f, "observation", a).pending_seq, 2);
    assert_int_equal(receipt(&f, 2, 0, -1), 0);
    assert_int_equal(feed_cut(&f, 2, 2,
                              feed_row("observation", 'i', a, 1,
                                       "\"0190aaaa-0001-7000-8000-000000000001\",\"1\"")),
                     0);
    assert_int_equal(sync_of(&f, "observation", a), NODE_SYNC_ACKNOWLEDGED);
    assert_int_equal(state_of(&f).pending, 0);
}

static void dropping_an_insert_takes_the_row_away(void **state)
{
    int64_t one = 1;
    assert_int_equal(
        edit(&f, CORE_OP_INSERT, "observation", a, P("patient_id", b, "code", "1"), NULL), 0);
    assert_int_equal(receipt(&f, 1, 1, CORE_QUARANTINED), 0);
    assert_int_equal(on_writer(&f, run_drop, &one), 0);
    SHOWN("observation", a, "code", "(none)");
    assert_int_equal(sql_i64(&f, "SELECT count(*) FROM _base"), 0);
}

static void a_centre_that_judges_anew_is_believed(void **state)
{
    central_patient(1, 1, "Berg", "Ada");
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", a, P("given_names", "Ida"), NULL), 0);
    assert_int_equal(receipt(&f, 1, 0, -1), 0);
    assert_int_equal(feed_cut(&f, 2, 1, feed_row("patient", 'u', a, 2, "\"Berg\",\"Eva\"")), 0);
    SHOWN("patient", a, "given_names", "Eva");
    assert_int_equal(receipt(&f, 1, 1, CORE_QUARANTINED), 0);
    SHOWN("patient", a, "given_names", "Ida");
    assert_int_equal(sync_of(&f, "patient", a), NODE_SYNC_QUARANTINED);
    assert_int_equal(receipt(&f, 1, 1, CORE_MERGED), 0);
    SHOWN("patient", a, "given_names", "Eva");
    assert_int_equal(version_of(&f, "patient", a).pending_seq, 0);
    assert_int_equal(sql_i64(&f, "SELECT count(*) FROM _base"), 0);
}

static void a_pending_delete_stays_deleted_under_a_feed(void **state)
{
    assert_int_equal(feed_cut(&f, 1, 0, feed_row("task", 'i', a, 1, "null,\"ready\"")), 0);
    assert_int_equal(edit(&f, CORE_OP_DELETE, "task", a, NULL, NULL), 0);
    SHOWN("task", a, "status", "(none)");
    assert_int_equal(feed_cut(&f, 2, 0, feed_row("task", 'u', a, 2, "null,\"done\"")), 0);
    SHOWN("task", a, "status", "(none)");
    assert_int_equal(receipt(&f, 1, 1, CORE_CONTESTED), 0);
    assert_int_equal(feed_cut(&f, 3, 1, ""), 0);
    SHOWN("task", a, "status", "done");
}

static void an_edit_outlives_the_centres_delete_until_it_is_settled(void **state)
{
    assert_int_equal(feed_cut(&f, 1, 0, feed_row("task", 'i', a, 1, "null,\"ready\",\"x\"")), 0);
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "task", a, P("status", "done"), NULL), 0);
    assert_int_equal(feed_cut(&f, 2, 0, feed_row("task", 'd', a, 2, "null,\"ready\",\"x\"")), 0);
    SHOWN("task", a, "status", "done");
    SHOWN("task", a, "note", "x");
    assert_int_equal(receipt(&f, 1, 1, CORE_MERGED), 0);
    assert_int_equal(feed_cut(&f, 3, 1, ""), 0);
    SHOWN("task", a, "status", "(none)");
}

static void a_delete_of_the_feed_deletes(void **state)
{
    assert_int_equal(feed_cut(&f, 1, 0, feed_row("task", 'i', a, 1, "null,\"ready\"")), 0);
    assert_int_equal(feed_cut(&f, 2, 0, feed_row("task", 'd', a, 2, "null,\"ready\"")), 0);
    SHOWN("task", a, "status", "(none)");
    assert_int_equal(f.last_moved.op, 'd');
}

static void rows_of_a_push_only_table_stay(void **state)
{
    assert_int_equal(edit(&f, CORE_OP_INSERT, "audit_event", a, P("action", "read"), NULL), 0);
    assert_int_equal(receipt(&f, 1, 0, -1), 0);
    assert_int_equal(feed_cut(&f, 1, 1, ""), 0);
    SHOWN("audit_event", a, "action", "read");
    assert_int_equal(sync_of(&f, "audit_event", a), NODE_SYNC_ACKNOWLEDGED);
}

static void an_open_conflict_makes_its_row_contested(void **state)
{
    char rest[128];
    central_patient(1, 1, "Berg", "Ada");
    snprintf(rest, sizeof rest, "\"patient\",\"%s\",\"open\"", a);
    assert_int_equal(feed_cut(&f, 2, 0, feed_row("conflict", 'i', b, 1, rest)), 0);
    assert_int_equal(sync_of(&f, "patient", a), NODE_SYNC_CONTESTED);
    assert_int_equal(state_of(&f).conflicts_open, 1);
    snprintf(rest, sizeof rest, "\"patient\",\"%s\",\"resolved\"", a);
    assert_int_equal(feed_cut(&f, 3, 0, feed_row("conflict", 'u', b, 2, rest)), 0);
    assert_int_equal(sync_of(&f, "patient", a), NODE_SYNC_ACKNOWLEDGED);
}

#define HEADER                                                                                     \
    "{\"format\":\"everward-feed/1\",\"tenant\":\"11111111-1111-4111-8111-111111111111\","         \
    "\"timeline\":\"44444444-4444-4444-8444-444444444444\",\"catalog\":7,\"after\":0,"             \
    "\"head\":9}\n"
#define ROW(op)                                                                                    \
    "[\"task\",\"" op "\",[\"01900000-0001-7000-8000-000000000001\","                              \
    "\"11111111-1111-4111-8111-111111111111\",\"1\"]]\n"
#define TXN "{\"txn\":1,\"at\":\"x\"}\n"

static void refused(const char *body, int code)
{
    struct node_feed_result r;
    assert_int_equal(apply_feed(&f, body, &r), code);
    struct base_err err = f.err;
    assert_int_equal(state_of(&f).cursor, 0);
    SHOWN("task", a, "status", "(none)");
    assert_int_equal(sql_i64(&f, "SELECT count(*) FROM task"), 0);
    f.err = err;
}

static void a_bad_feed_changes_nothing(void **state)
{
    /* a gap, in the cuts and in the header */
    refused(HEADER "{\"cut\":2}\n" TXN ROW("i") "{\"end\":2,\"changes\":1}\n"
                                                "{\"done\":2,\"more\":false}\n",
            BASE_EPROTO);
    assert_non_null(strstr(f.err.text, "gap"));
    refused(HEADER
            "{\"cut\":1}\n" TXN ROW("i") "{\"end\":1,\"changes\":1}\n{\"cut\":3}\n" TXN
                                         "{\"end\":3,\"changes\":0}\n{\"done\":3,\"more\":false}\n",
            BASE_EPROTO);
    /* a cut with fewer rows than it says, an open cut, no end, more behind the end */
    refused(HEADER "{\"cut\":1}\n" TXN ROW("i") "{\"end\":1,\"changes\":2}\n"
                                                "{\"done\":1,\"more\":false}\n",
            BASE_EPROTO);
    refused(HEADER "{\"cut\":1}\n" TXN ROW("i") "{\"done\":1,\"more\":false}\n", BASE_EPROTO);
    refused(HEADER "{\"cut\":1}\n" TXN ROW("i") "{\"end\":1,\"changes\":1}\n", BASE_EPROTO);
    refused(HEADER "{\"cut\":1}\n" TXN ROW("i") "{\"end\":1,\"changes\":1}\n"
                                                "{\"done\":1,\"more\":false}\n\n",
            BASE_EPROTO);
    refused(HEADER "{\"cut\":1}\n" TXN ROW("i") "{\"end\":1,\"changes\":1}\n"
                                                "{\"done\":1,\"more\":false}",
            BASE_EPROTO);
    /* a malformed row, an unknown operation, a row outside a transaction */
    refused(HEADER "{\"cut\":1}\n" TXN ROW("i") "[\"task\",\"i\",[\"x\n", BASE_EPROTO);
    refused(HEADER "{\"cut\":1}\n" TXN ROW("x"), BASE_EPROTO);
    refused(HEADER "{\"cut\":1}\n" ROW("i"), BASE_EPROTO);
    /* another tenant's */
    refused(HEADER "{\"cut\":1}\n" TXN ROW(
                "i") "[\"task\",\"i\",[\"01900000-0002-7000-8000-000000000001\","
                     "\"99999999-1111-4111-8111-111111111111\",\"1\"]]\n",
            BASE_EDENIED);
    /* a table and a field that the catalog has not */
    refused(HEADER "{\"cut\":1}\n" TXN ROW("i") "[\"tusk\",\"i\",[]]\n", BASE_ESTALE);
    refused(HEADER "{\"cut\":1}\n" TXN "[\"task\",\"i\",[\"01900000-0002-7000-8000-000000000001\","
                   "\"11111111-1111-4111-8111-111111111111\",\"1\",null,null,null,\"7\"]]\n",
            BASE_ESTALE);
}

static void a_feed_of_another_life_of_the_centre_is_refused(void **state)
{
    struct node_feed_result r;
    char body[] = HEADER "{\"done\":0,\"more\":false}\n";
    assert_int_equal(apply_feed(&f, body, &r), 0);
    strstr(body, "4444")[0] = '5';
    assert_int_equal(apply_feed(&f, body, &r), BASE_EPROTO);
}

static void several_cuts_come_in_one_body(void **state)
{
    struct node_feed_result r;
    assert_int_equal(apply_feed(&f,
                                HEADER "{\"cut\":1}\n" TXN ROW("i") "{\"end\":1,\"changes\":1}\n"
                                                                    "{\"cut\":2}\n" TXN
                                                                    "{\"end\":2,\"changes\":0}\n"
                                                                    "{\"done\":2,\"more\":true}\n",
                                &r),
                     0);
    assert_int_equal(r.cursor, 2);
    assert_int_equal(r.head, 9);
    assert_int_equal(r.changes, 1);
    assert_true(r.more);
}

static void a_receipt_beyond_our_log_is_a_fence(void **state)
{
    assert_int_equal(receipt(&f, 5, 0, -1), BASE_EFENCED);
    assert_int_equal(state_of(&f).acked_seq, 0);
}

static void the_state_tells_what_waits(void **state)
{
    assert_int_equal(edit(&f, CORE_OP_INSERT, "patient", a, P("family_name", "Ek"), NULL), 0);
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", a, P("family_name", "Ek2"), NULL), 0);
    struct node_sync_state s = state_of(&f);
    assert_int_equal(s.last_seq, 2);
    assert_int_equal(s.pending, 2);
    assert_int_equal(s.acked_seq, 0);
    assert_true(s.filled);
    assert_int_equal(s.catalog_version, 7);
    assert_int_equal(strlen(s.oldest_pending_at), 24);
    assert_int_equal(receipt(&f, 2, 0, -1), 0);
    s = state_of(&f);
    assert_int_equal(s.pending, 0);
    assert_string_equal(s.oldest_pending_at, "");
    assert_int_equal(s.replica_equal, -1);
}

static void what_stands_there_already_is_no_change(void **state)
{
    struct node_version v;
    central_patient(1, 1, "Berg", "Ada");
    assert_int_equal(
        edit(&f, CORE_OP_UPDATE, "patient", a, P("family_name", "Berg", "given_names", "Ada"), &v),
        0);
    assert_int_equal(v.rev, 1);
    assert_int_equal(state_of(&f).last_seq, 0);
    assert_int_equal(
        edit(&f, CORE_OP_UPDATE, "patient", a, P("family_name", "Berg", "given_names", "Ida"), &v),
        0);
    assert_int_equal(
        sql_i64(&f, "SELECT line LIKE '%\"c\":{\"given_names\":\"Ida\"}%' FROM _change"), 1);
}

/* The ward reads "Ida" where the centre has "Eva" by now: nobody here has seen "Eva". */
static void an_edit_over_a_pending_one_has_seen_no_more_than_that(void **state)
{
    central_patient(1, 1, "Berg", "Ada");
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", a, P("given_names", "Ida"), NULL), 0);
    assert_int_equal(feed_cut(&f, 2, 0, feed_row("patient", 'u', a, 2, "\"Berg\",\"Eva\"")), 0);
    SHOWN("patient", a, "given_names", "Ida");
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", a, P("given_names", "Ina"), NULL), 0);
    assert_int_equal(sql_i64(&f, "SELECT base FROM _change WHERE seq = 2"), 1);
}

/* A refused value does not come back over what was entered after it and taken. */
static void a_held_change_does_not_hide_a_later_one_that_was_taken(void **state)
{
    central_patient(1, 1, "Berg", "Ada");
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", a, P("given_names", "Bad"), NULL), 0);
    assert_int_equal(receipt(&f, 1, 1, CORE_QUARANTINED), 0);
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", a, P("given_names", "Ida"), NULL), 0);
    assert_int_equal(receipt(&f, 2, 0, -1), 0);
    assert_int_equal(feed_cut(&f, 2, 2, feed_row("patient", 'u', a, 2, "\"Berg\",\"Ida\"")), 0);
    SHOWN("patient", a, "given_names", "Ida");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_row_of_the_feed_is_shown),
        T(an_older_image_is_ignored),
        T(an_older_image_is_ignored_under_an_edit_too),
        T(an_edit_shows_over_what_the_feed_brings),
        T(the_overlay_goes_when_receipt_then_feed_have_come),
        T(the_overlay_goes_when_feed_then_receipt_have_come),
        T(two_pending_edits_go_one_after_the_other),
        T(an_insert_becomes_the_centres),
        T(a_quarantined_change_keeps_its_value_until_it_is_dropped),
        T(a_quarantined_change_can_be_written_again),
        T(dropping_an_insert_takes_the_row_away),
        T(a_centre_that_judges_anew_is_believed),
        T(a_pending_delete_stays_deleted_under_a_feed),
        T(an_edit_outlives_the_centres_delete_until_it_is_settled),
        T(a_delete_of_the_feed_deletes),
        T(rows_of_a_push_only_table_stay),
        T(an_open_conflict_makes_its_row_contested),
        T(a_bad_feed_changes_nothing),
        T(a_feed_of_another_life_of_the_centre_is_refused),
        T(several_cuts_come_in_one_body),
        T(a_receipt_beyond_our_log_is_a_fence),
        T(the_state_tells_what_waits),
        T(what_stands_there_already_is_no_change),
        T(an_edit_over_a_pending_one_has_seen_no_more_than_that),
        T(a_held_change_does_not_hide_a_later_one_that_was_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
