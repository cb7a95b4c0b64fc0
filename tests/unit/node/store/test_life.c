/* The node's next life, and a centre that was restored: what waits again, what is offered. */
#include "sync/seal/seal.h"
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

#define P(...) ((const char *const[]){__VA_ARGS__, NULL})

static void write_patient(int n, const char *name)
{
    assert_int_equal(edit(&f, CORE_OP_INSERT, "patient", uuid_n(n), P("family_name", name), NULL),
                     0);
}

/* ---- the node's ------------------------------------------------------------------------------ */

static int run_rejoin(struct node_db *db, void *arg, struct base_err *err)
{
    const int64_t *a = arg;
    return node_rejoin(db, a[0], a[1], err);
}

static int rejoin(int64_t incarnation, int64_t after)
{
    int64_t a[] = {incarnation, after};
    return on_writer(&f, run_rejoin, a);
}

struct position_args {
    int64_t seq;
    struct core_position p;
};

static int run_position(struct node_db *db, void *arg, struct base_err *err)
{
    struct position_args *a = arg;
    return node_outbox_position(db, a->seq, &a->p, err);
}

static struct core_position position(int64_t seq)
{
    struct position_args a = {.seq = seq};
    assert_int_equal(on_reader(&f, run_position, &a), 0);
    return a.p;
}

static void the_next_life_begins_its_chain_behind_the_last_common_change(void **state)
{
    uint8_t start[CORE_CHAIN_BYTES];
    for (int n = 1; n <= 5; n++)
        write_patient(n, "Berg");
    struct core_position third = position(3);
    struct core_position fifth = position(5);
    assert_int_equal(rejoin(2, 3), 0);
    fixture_close(&f); /* as if it had died right after */
    fixture_open(&f);
    struct node_sync_state s = state_of(&f);
    assert_int_equal(s.incarnation, 2);
    assert_int_equal(s.acked_seq, 3);
    assert_int_equal(s.last_seq, 5);
    assert_int_equal(s.pending, 2);
    seal_chain_start(start, &f.id.node_id, 2);
    assert_memory_equal(position(3).chain, start, sizeof start);
    assert_memory_not_equal(third.chain, start, sizeof start);
    assert_memory_not_equal(position(5).chain, fifth.chain, sizeof start);
    write_patient(6, "Holm"); /* goes on from there */
    assert_int_equal(state_of(&f).last_seq, 6);
    assert_int_equal(receipt(&f, 6, 0, -1), 0);
    assert_int_equal(state_of(&f).pending, 0);
}

static void a_life_that_does_not_follow_is_refused_and_changes_nothing(void **state)
{
    write_patient(1, "Berg");
    struct core_position before = position(1);
    assert_int_equal(rejoin(1, 0), BASE_EPROTO);
    assert_int_equal(rejoin(2, 7), BASE_EPROTO);
    assert_int_equal(state_of(&f).incarnation, 1);
    assert_memory_equal(position(1).chain, before.chain, sizeof before.chain);
}

static void what_the_former_life_had_pushed_settles_only_up_to_the_common_change(void **state)
{
    write_patient(1, "Berg");
    write_patient(2, "Berg");
    assert_int_equal(rejoin(2, 1), 0);
    /* the feed brings the former life's push up to seq 9: of this log it holds change 1 alone */
    assert_int_equal(
        feed_cut(&f, 1, 9, feed_row("patient", 'i', uuid_n(1), 1, "\"Berg\",null,null,null,null")),
        0);
    assert_int_equal(sync_of(&f, "patient", uuid_n(1)), NODE_SYNC_ACKNOWLEDGED);
    assert_int_equal(sync_of(&f, "patient", uuid_n(2)), NODE_SYNC_PENDING);
}

/* ---- the centre's ---------------------------------------------------------------------------- */

static const char other_timeline[] = "0190a000-0000-7000-8000-0000000000ff";

static int run_life(struct node_db *db, void *arg, struct base_err *err)
{
    struct base_uuid timeline = uuid_of(other_timeline);
    return node_life_begin(db, *(const int64_t *)arg, 2, &timeline, err);
}

static char page_text[1 << 16];

static const char *page(const char *table, const char *rows, int count)
{
    (void)snprintf(page_text, sizeof page_text,
                   "{\"format\":\"everward-page/1\",\"tenant\":\"%s\",\"table\":\"%s\","
                   "\"catalog\":7,\"head\":2}\n%s{\"rows\":%d,\"next\":null}\n",
                   test_tenant, table, rows, count);
    return page_text;
}

static int run_next(struct node_db *db, void *arg, struct base_err *err)
{
    char after[BASE_UUID_CHARS + 1];
    bool done = false;
    int rc = node_fill_next(db, arg, after, &done, err);
    if (done)
        ((char *)arg)[0] = '\0';
    return rc;
}

/* Every table is empty at the restored centre, but for the patients given. */
static void fill_anew(const char *patients, int count)
{
    struct node_page_result r;
    char table[CORE_NAME_BYTES_MAX + 1];
    for (;;) {
        assert_int_equal(on_reader(&f, run_next, table), 0);
        if (table[0] == '\0')
            break;
        bool patient = strcmp(table, "patient") == 0;
        assert_int_equal(
            apply_page(&f, page(table, patient ? patients : "", patient ? count : 0), &r), 0);
    }
    assert_int_equal(finish_fill(&f), 0);
}

static char line_text[512];

static const char *patient_line(int n, int rev, const char *name)
{
    (void)snprintf(line_text, sizeof line_text,
                   "[\"%s\",\"%s\",\"%d\",\"%s\",null,null,null,null]\n", uuid_n(n), test_tenant,
                   rev, name);
    return line_text;
}

static void what_was_acknowledged_and_lost_waits_again(void **state)
{
    int64_t taken = 1;
    write_patient(1, "Kept");
    write_patient(2, "Lost");
    assert_int_equal(receipt(&f, 2, 0, -1), 0);
    assert_int_equal(
        feed_cut(&f, 1, 2, feed_row("patient", 'i', uuid_n(2), 1, "\"Lost\",null,null,null,null")),
        0);
    assert_int_equal(on_writer(&f, run_life, &taken), 0);
    assert_int_equal(state_of(&f).pending, 1);
    assert_string_equal(shown(&f, "patient", uuid_n(2), "family_name"), "Lost");
    fixture_close(&f);
    fixture_open(&f);
    fill_anew(patient_line(1, 1, "Kept"), 1);
    struct node_sync_state s = state_of(&f);
    assert_int_equal(s.last_seq, 2); /* nothing is offered: the own change says it */
    assert_int_equal(s.pending, 1);
    assert_string_equal(shown(&f, "patient", uuid_n(2), "family_name"), "Lost");
    assert_int_equal(sync_of(&f, "patient", uuid_n(2)), NODE_SYNC_PENDING);
}

static void rows_of_others_that_the_centre_lost_are_offered(void **state)
{
    int64_t taken = 0;
    char *rows = feed_row("patient", 'i', uuid_n(1), 5, "\"Newer\",null,null,null,null");
    assert_int_equal(feed_cut(&f, 1, 0, rows), 0);
    rows = feed_row("patient", 'i', uuid_n(2), 1, "\"OnlyHere\",null,null,null,null");
    assert_int_equal(feed_cut(&f, 2, 0, rows), 0);
    rows = feed_row("task", 'i', uuid_n(3), 1, "");
    assert_int_equal(feed_cut(&f, 3, 0, rows), 0);
    assert_int_equal(on_writer(&f, run_life, &taken), 0);
    fill_anew(patient_line(1, 3, "Older"), 1);
    assert_string_equal(shown(&f, "patient", uuid_n(1), "family_name"), "Newer");
    assert_string_equal(shown(&f, "patient", uuid_n(2), "family_name"), "OnlyHere");
    assert_int_equal(state_of(&f).last_seq, 2);
    assert_int_equal(state_of(&f).pending, 2);
    /* a deletable row that no page has counts as deleted */
    assert_string_equal(shown(&f, "task", uuid_n(3), "id"), "(none)");
}

static void a_row_that_the_centre_has_newer_is_not_offered(void **state)
{
    int64_t taken = 0;
    char *rows = feed_row("patient", 'i', uuid_n(1), 2, "\"Older\",null,null,null,null");
    assert_int_equal(feed_cut(&f, 1, 0, rows), 0);
    assert_int_equal(on_writer(&f, run_life, &taken), 0);
    fill_anew(patient_line(1, 4, "Since"), 1);
    assert_string_equal(shown(&f, "patient", uuid_n(1), "family_name"), "Since");
    assert_int_equal(state_of(&f).last_seq, 0);
}

static const char *restored_line(int rev, const char *row, const char *now)
{
    static char text[2048];
    (void)snprintf(text, sizeof text, "{\"restored\":%d,\"row\":%.*s}\n%s", rev,
                   (int)strcspn(row, "\n"), row, now);
    return text;
}

static void what_was_lost_is_offered_though_the_row_was_written_since(void **state)
{
    int64_t taken = 0;
    char was[512];
    char *rows = feed_row("patient", 'i', uuid_n(1), 3, "\"Lost\",\"Given\",null,null,null");
    assert_int_equal(feed_cut(&f, 1, 0, rows), 0);
    assert_int_equal(on_writer(&f, run_life, &taken), 0);
    (void)snprintf(was, sizeof was, "%s", patient_line(1, 2, "Restored"));
    /* since then four writes of another column */
    const char *now = "[\"%s\",\"%s\",\"6\",\"Restored\",\"Since\",null,null,null]\n";
    char line[512];
    (void)snprintf(line, sizeof line, now, uuid_n(1), test_tenant);
    fill_anew(restored_line(2, was, line), 1);
    assert_string_equal(shown(&f, "patient", uuid_n(1), "family_name"), "Lost");
    assert_int_equal(state_of(&f).last_seq, 1);
}

static void what_the_new_life_alone_has_written_is_not_offered_over(void **state)
{
    int64_t taken = 0;
    char was[512];
    char *rows = feed_row("patient", 'i', uuid_n(1), 2, "\"Restored\",null,null,null,null");
    assert_int_equal(feed_cut(&f, 1, 0, rows), 0);
    assert_int_equal(on_writer(&f, run_life, &taken), 0);
    (void)snprintf(was, sizeof was, "%s", patient_line(1, 1, "Restored"));
    fill_anew(restored_line(1, was, patient_line(1, 2, "Since")), 1);
    assert_string_equal(shown(&f, "patient", uuid_n(1), "family_name"), "Since");
    assert_int_equal(state_of(&f).last_seq, 0);
}

static void a_restored_row_that_does_not_fit_its_row_is_refused(void **state)
{
    struct node_page_result r;
    int64_t taken = 0;
    char row[512];
    assert_int_equal(on_writer(&f, run_life, &taken), 0);
    (void)snprintf(row, sizeof row, "%s", patient_line(2, 1, "Another"));
    const char *bad[] = {restored_line(1, row, ""), "{\"restored\":0,\"row\":null}\n",
                         "{\"restored\":3,\"row\":null} \n", "{\"restored\":3}\n",
                         "{\"restored\":99999999999999999999,\"row\":null}\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[2048];
        (void)snprintf(text, sizeof text, "%s%s", bad[i], patient_line(1, 4, "Row"));
        assert_int_not_equal(apply_page(&f, page("patient", text, 1), &r), 0);
        assert_int_not_equal(apply_page(&f, page("patient", bad[i], 0), &r), 0);
    }
    assert_string_equal(shown(&f, "patient", uuid_n(1), "id"), "(none)");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_next_life_begins_its_chain_behind_the_last_common_change),
        T(a_life_that_does_not_follow_is_refused_and_changes_nothing),
        T(what_the_former_life_had_pushed_settles_only_up_to_the_common_change),
        T(what_was_acknowledged_and_lost_waits_again),
        T(rows_of_others_that_the_centre_lost_are_offered),
        T(what_was_lost_is_offered_though_the_row_was_written_since),
        T(what_the_new_life_alone_has_written_is_not_offered_over),
        T(a_restored_row_that_does_not_fit_its_row_is_refused),
        T(a_row_that_the_centre_has_newer_is_not_offered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
