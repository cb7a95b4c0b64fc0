/* Acknowledged changes leave the log when they are old, and nothing else does. */
#include "node/store/prune.h"
#include "sync/base/clock.h"
#include "tests/unit/node/store/support.h"

static struct fixture f;

enum { KEEP = 3, FIRST_DAY = 20000 };

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

static void write_patients(int first, int last)
{
    for (int n = first; n <= last; n++)
        assert_int_equal(
            edit(&f, CORE_OP_INSERT, "patient", uuid_n(n), P("family_name", "Berg"), NULL), 0);
}

static char rows_text[1 << 20];

/* The centre's images of patients first to last, in one cut that names our change seq. */
static void settle(int64_t cut, int64_t seq, int first, int last)
{
    size_t at = 0;
    for (int n = first; n <= last; n++)
        at += (size_t)snprintf(
            rows_text + at, sizeof rows_text - at, "%s",
            feed_row("patient", 'i', uuid_n(n), 1, "\"Berg\",null,null,null,null"));
    assert_int_equal(receipt(&f, seq, 0, -1), 0);
    assert_int_equal(feed_cut(&f, cut, seq, rows_text), 0);
}

static int run_day(struct node_db *db, void *arg, struct base_err *err)
{
    return node_prune_day(db, *(int64_t *)arg, err);
}

static void day(int64_t n)
{
    n += FIRST_DAY;
    assert_int_equal(on_writer(&f, run_day, &n), 0);
}

struct step {
    int64_t gone, longest_us;
    bool more;
};

static int run_step(struct node_db *db, void *arg, struct base_err *err)
{
    struct step *s = arg;
    int64_t begun = base_clock_monotonic_us();
    int rc = node_prune_step(db, KEEP, &s->gone, &s->more, err);
    int64_t took = base_clock_monotonic_us() - begun;
    s->longest_us = took > s->longest_us ? took : s->longest_us;
    return rc;
}

/* Steps until there are no more; how many changes went. */
static int64_t prune(void)
{
    struct step s = {.more = true};
    int64_t gone = 0;
    while (s.more) {
        assert_int_equal(on_writer(&f, run_step, &s), 0);
        assert_true(s.gone <= NODE_PRUNE_STEP);
        gone += s.gone;
    }
    print_message("          %lld gone, the longest step %lld us\n", (long long)gone,
                  (long long)s.longest_us);
    return gone;
}

static int64_t lines(void)
{
    return sql_i64(&f, "SELECT count(*) FROM _change");
}

struct outbox {
    int64_t after;
    int count;
};

static int run_outbox(struct node_db *db, void *arg, struct base_err *err)
{
    struct outbox *o = arg;
    struct base_buf out;
    struct core_position before, last;
    base_buf_init(&out, 1 << 22);
    int rc = node_outbox_read(db, o->after, 100000, 1 << 22, &out, &before, &last, &o->count, err);
    base_buf_release(&out);
    return rc;
}

static int outbox_after(int64_t after, int *count)
{
    struct outbox o = {.after = after};
    int rc = on_reader(&f, run_outbox, &o);
    *count = o.count;
    return rc;
}

static void what_was_acknowledged_long_ago_goes_and_the_rest_is_whole(void **state)
{
    int count = 0;
    write_patients(1, 1000);
    settle(1, 1000, 1, 1000);
    day(0);
    write_patients(1001, 1005); /* not acknowledged */
    for (int n = 1; n < KEEP; n++)
        day(n);
    assert_int_equal(prune(), 0);
    day(KEEP);
    assert_int_equal(prune(), 999); /* the newest stays: the log goes on behind it */
    assert_int_equal(lines(), 6);
    fixture_close(&f); /* as if it had died right after */
    fixture_open(&f);
    assert_int_equal(outbox_after(1000, &count), 0);
    assert_int_equal(count, 5);
    assert_int_equal(outbox_after(999, &count), BASE_EFENCED);
    assert_non_null(strstr(f.err.text, "sync.keep_days"));
    struct node_sync_state s = state_of(&f);
    assert_int_equal(s.pending, 5);
    assert_int_equal(s.last_seq, 1005);
    assert_string_equal(shown(&f, "patient", uuid_n(1), "family_name"), "Berg");
    assert_int_equal(sync_of(&f, "patient", uuid_n(1)), NODE_SYNC_ACKNOWLEDGED);
    write_patients(1006, 1006);
    assert_int_equal(state_of(&f).last_seq, 1006);
}

static void a_clock_that_jumps_ahead_makes_nothing_old(void **state)
{
    write_patients(1, 20);
    settle(1, 20, 1, 20);
    day(0);
    day(100); /* for an hour */
    for (int i = 0; i < 50; i++) {
        day(100);
        day(0);
    }
    assert_int_equal(prune(), 0);
    day(1);
    assert_int_equal(prune(), 0);
    day(2); /* the third day after the first; the jump was one of them */
    assert_int_equal(prune(), 19);
}

static void days_before_the_receipt_do_not_count(void **state)
{
    for (int n = 0; n < 10; n++)
        day(n);
    write_patients(1, 20);
    for (int n = 10; n < 20; n++)
        day(n);
    settle(1, 20, 1, 20);
    assert_int_equal(prune(), 0);
    day(20);
    day(21);
    assert_int_equal(prune(), 0);
}

static void what_the_centre_refused_or_has_not_told_the_outcome_of_stays(void **state)
{
    write_patients(1, 20);
    assert_int_equal(receipt(&f, 20, 0, -1), 0);
    for (int n = 0; n < 10; n++)
        day(n);
    assert_int_equal(prune(), 0); /* receipts, but no feed yet */
    settle(1, 20, 1, 20);
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", uuid_n(5), P("family_name", "Held"), NULL),
                     0);
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", uuid_n(5), P("given_names", "Kept"), NULL),
                     0);
    write_patients(21, 21);
    assert_int_equal(receipt(&f, 23, 21, CORE_QUARANTINED), 0);
    assert_int_equal(
        feed_cut(&f, 2, 23,
                 feed_row("patient", 'u', uuid_n(5), 2, "\"Berg\",\"Kept\",null,null,null")),
        0);
    for (int n = 10; n < 20; n++)
        day(n);
    /* 21 is held; 5 and 22 changed the same row; 23 is the newest */
    assert_int_equal(prune(), 19);
    assert_int_equal(sql_i64(&f, "SELECT sum(seq) FROM _change"), 5 + 21 + 22 + 23);
    assert_string_equal(shown(&f, "patient", uuid_n(5), "family_name"), "Held");
    assert_int_equal(state_of(&f).quarantined, 1);
    assert_int_equal(sync_of(&f, "patient", uuid_n(5)), NODE_SYNC_QUARANTINED);
}

static int run_retry(struct node_db *db, void *arg, struct base_err *err)
{
    struct node_author author = {.device = "test", .request_id = ""};
    return node_quarantine_retry(db, &author, 0, arg, err);
}

static void what_was_held_goes_when_it_no_longer_is(void **state)
{
    int count = 0;
    write_patients(1, 3);
    assert_int_equal(receipt(&f, 3, 1, CORE_QUARANTINED), 0);
    assert_int_equal(feed_cut(&f, 1, 3, ""), 0);
    for (int n = 0; n < 10; n++)
        day(n);
    assert_int_equal(prune(), 1); /* 2 */
    assert_int_equal(on_writer(&f, run_retry, &count), 0);
    assert_int_equal(count, 1);
    assert_int_equal(prune(), 0); /* it lies over its row as change 4 */
    settle(2, 4, 1, 1);
    day(10);
    assert_int_equal(prune(), 1);
    for (int n = 11; n < 20; n++)
        day(n);
    assert_int_equal(prune(), 1);
    assert_int_equal(sql_i64(&f, "SELECT sum(seq) FROM _change"), 4);
}

static int run_life(struct node_db *db, void *arg, struct base_err *err)
{
    struct base_uuid timeline = uuid_of("0190a000-0000-7000-8000-0000000000ff");
    return node_life_begin(db, *(const int64_t *)arg, 2, &timeline, err);
}

static void a_restored_centre_is_given_back_what_is_kept_and_told_when_it_is_too_old(void **state)
{
    int64_t taken = 12;
    int count = 0;
    write_patients(1, 10);
    settle(1, 10, 1, 10);
    for (int n = 0; n < 3; n++)
        day(n);
    write_patients(11, 20);
    settle(2, 20, 11, 20);
    day(3);
    assert_int_equal(prune(), 9);
    taken = 5;
    assert_int_equal(on_writer(&f, run_life, &taken), BASE_EFENCED);
    assert_int_equal(state_of(&f).acked_seq, 20); /* and nothing has changed */
    taken = 12;
    assert_int_equal(on_writer(&f, run_life, &taken), 0);
    assert_int_equal(outbox_after(12, &count), 0);
    assert_int_equal(count, 8);
    for (int n = 4; n < 20; n++)
        day(n);
    assert_int_equal(prune(), 0); /* while the other life is being filled from */
    assert_int_equal(lines(), 11);
}

static void what_is_acknowledged_anew_is_as_young_as_that(void **state)
{
    int64_t taken = 12;
    write_patients(1, 20);
    settle(1, 20, 1, 20);
    for (int n = 0; n < 3; n++)
        day(n);
    assert_int_equal(on_writer(&f, run_life, &taken), 0);
    assert_int_equal(sql_i64(&f, "SELECT max(acked) FROM _contact"), 12);
}

static void an_outcome_of_a_change_that_has_gone_harms_nothing(void **state)
{
    write_patients(1, 10);
    settle(1, 10, 1, 10);
    for (int n = 0; n < 10; n++)
        day(n);
    assert_int_equal(prune(), 9);
    assert_int_equal(receipt(&f, 10, 3, CORE_QUARANTINED), 0);
    assert_int_equal(state_of(&f).quarantined, 0);
    assert_int_equal(receipt(&f, 10, 10, CORE_QUARANTINED), 0);
    assert_int_equal(state_of(&f).quarantined, 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_was_acknowledged_long_ago_goes_and_the_rest_is_whole),
        T(a_clock_that_jumps_ahead_makes_nothing_old),
        T(days_before_the_receipt_do_not_count),
        T(what_the_centre_refused_or_has_not_told_the_outcome_of_stays),
        T(what_was_held_goes_when_it_no_longer_is),
        T(a_restored_centre_is_given_back_what_is_kept_and_told_when_it_is_too_old),
        T(what_is_acknowledged_anew_is_as_young_as_that),
        T(an_outcome_of_a_change_that_has_gone_harms_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
