/*
 * Every allocation, write, sync, … of the store fails in turn: no crash, no leak, the error is
 * reported, what was refused is absent, what was acknowledged is there, and the next attempt succeeds.
 */
#include "sync/base/log.h"
#include "tests/fault/inject.h"
#include "tests/unit/node/store/support.h"

#include <limits.h>
#include <unistd.h>

enum { POINTS_MAX = 20000, BASE_ROW = 1, OPEN_POINTS = 25, CHECKPOINT_WAIT_US = 500 * 1000 };

static struct fixture f;
static int next = 100;   /* row ids */
static int patients = 1; /* acknowledged */
static int reopened, survived;
static uint64_t seed;

struct step {
    const char *name;
    void (*prepare)(int k); /* before anything fails */
    int (*run)(int k);
    bool (*done)(int k); /* NULL: it changes nothing */
};

static const char *text_of(int k)
{
    static char text[32];
    snprintf(text, sizeof text, "name %d", k);
    return text;
}

static int insert_run(int k)
{
    return edit(&f, CORE_OP_INSERT, "patient", uuid_n(k),
                (const char *const[]){"family_name", text_of(k), "given_names", "A", NULL}, NULL);
}

static bool insert_done(int k)
{
    return strcmp(shown(&f, "patient", uuid_n(k), "family_name"), text_of(k)) == 0;
}

static int update_run(int k)
{
    return edit(&f, CORE_OP_UPDATE, "patient", uuid_n(BASE_ROW),
                (const char *const[]){"family_name", text_of(k), NULL}, NULL);
}

static bool update_done(int k)
{
    return strcmp(shown(&f, "patient", uuid_n(BASE_ROW), "family_name"), text_of(k)) == 0;
}

/* What is asked for is made ready before: the test's own allocations shall not fail. */
static int64_t cursor_before;
static int64_t seq_before;
static char body[2048];

static void feed_prepare(int k)
{
    cursor_before = state_of(&f).cursor;
    char rest[64];
    snprintf(rest, sizeof rest, "null,\"open\",\"%s\"", text_of(k));
    snprintf(body, sizeof body,
             "{\"format\":\"everward-feed/1\",\"tenant\":\"%s\",\"timeline\":\"%s\","
             "\"catalog\":7,\"after\":%lld,\"head\":%lld}\n{\"cut\":%lld}\n"
             "{\"txn\":901,\"at\":\"2026-11-23T06:00:00.123Z\"}\n%s%s"
             "{\"end\":%lld,\"changes\":2}\n{\"done\":%lld,\"more\":false}\n",
             test_tenant, test_timeline, (long long)cursor_before, (long long)cursor_before + 1,
             (long long)cursor_before + 1, feed_row("task", 'i', uuid_n(k), 1, rest),
             feed_row("task", 'u', uuid_n(k), 2, rest), (long long)cursor_before + 1,
             (long long)cursor_before + 1);
}

static int feed_run(int k)
{
    struct node_feed_result r;
    return apply_feed(&f, body, &r);
}

static bool feed_done(int k)
{
    bool there = strcmp(shown(&f, "task", uuid_n(k), "note"), text_of(k)) == 0;
    assert_int_equal(there, state_of(&f).cursor == cursor_before + 1);
    return there;
}

/* The change comes back from the centre: the overlay goes. */
static void receipt_prepare(int k)
{
    assert_int_equal(insert_run(k), 0);
    patients++;
    seq_before = state_of(&f).last_seq;
}

static int receipt_run(int k)
{
    return receipt(&f, seq_before, 0, -1);
}

static bool receipt_done(int k)
{
    struct node_sync_state s = state_of(&f);
    return s.acked_seq == s.last_seq;
}

static int read_body(struct node_db *db, void *arg, struct base_err *err)
{
    struct node_sync_state s;
    struct core_digest d;
    struct core_position before;
    struct core_position last;
    struct base_buf out;
    bool pending = false;
    int count = 0;
    const struct core_table *t = core_catalog_table(node_db_catalog(db), "patient", 7);
    int rc = node_sync_state_get(db, &s, err);
    if (rc == 0)
        rc = node_digest(db, t, "", "", &d, &pending, err);
    base_buf_init(&out, 1 << 20);
    if (rc == 0)
        rc = node_outbox_read(db, s.last_seq > 3 ? s.last_seq - 3 : 0, 100, 1 << 20, &out, &before,
                              &last, &count, err);
    if (rc == 0)
        assert_int_equal(last.seq, s.last_seq);
    base_buf_release(&out);
    return rc;
}

static int read_run(int k)
{
    return on_reader(&f, read_body, NULL);
}

static const struct step steps[] = {
    {"a new row", NULL, insert_run, insert_done},
    {"a change of a row", NULL, update_run, update_done},
    {"a cut of the feed", feed_prepare, feed_run, feed_done},
    {"a receipt", receipt_prepare, receipt_run, receipt_done},
    {"state, digest and outbox", NULL, read_run, NULL},
};

/* After the fault: at once, or at the latest when the store was opened anew. */
static void next_attempt(const struct step *s, int k)
{
    if (s->run(k) != 0) {
        fixture_close(&f);
        fixture_open(&f);
        reopened++;
        int rc = s->run(k);
        if (rc != 0)
            print_error("%s: again: %s\n", s->name, f.err.text);
        assert_int_equal(rc, 0);
    }
    if (s->done != NULL)
        assert_true(s->done(k));
}

/* False: it had no n-th. */
static bool attempt(const struct step *s, enum inject_kind kind, long n, bool again)
{
    int k = next++;
    if (s->prepare != NULL)
        s->prepare(k);
    inject_arm(kind, n, again);
    int rc = s->run(k);
    bool fired = inject_disarm();
    if (rc != 0 && !fired)
        print_error("%s, %s %ld: failed by itself: %s\n", s->name, inject_name(kind), n,
                    f.err.text);
    assert_true(rc == 0 || fired);
    if (rc == 0) {
        survived += fired;
        if (s->done != NULL)
            assert_true(s->done(k));
    } else {
        assert_int_not_equal(f.err.text[0], '\0');
        if (s->done != NULL && s->done(k))
            fail_msg("%s, %s %ld: refused (%s) and done", s->name, inject_name(kind), n,
                     f.err.text);
        next_attempt(s, k);
    }
    patients += s->run == insert_run;
    return fired;
}

static void all_there(void)
{
    assert_int_equal(sql_i64(&f, "SELECT count(*) FROM patient"), patients);
    struct node_sync_state s = state_of(&f);
    assert_int_equal(sql_i64(&f, "SELECT count(*) FROM _change"), s.last_seq);
}

static void every(enum inject_kind kind, bool again)
{
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        long n = 1;
        while (n <= POINTS_MAX && attempt(&steps[i], kind, n, again))
            n++;
        assert_true(n <= POINTS_MAX);
    }
    all_there();
    fixture_close(&f);
    fixture_open(&f);
    all_there();
}

static void test_every_point_of_the_store_fails_once_and_the_next_attempt_succeeds(void **state)
{
    for (int kind = 0; kind < INJECT_KINDS; kind++)
        every((enum inject_kind)kind, false);
    inject_figures("the store");
    print_message("## of them %d were survived without an error, %d needed the store to be opened "
                  "anew\n",
                  survived, reopened);
}

static void test_every_point_of_the_store_fails_and_goes_on_failing_until_it_ends(void **state)
{
    static const enum inject_kind kinds[] = {INJECT_ALLOC, INJECT_SQLITE_ALLOC, INJECT_FULL,
                                             INJECT_SYNC};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        every(kinds[i], true);
    inject_figures("the store, lasting");
}

/* Opening reads the whole schema, with thousands of allocations: a part of them, others each time. */
static long next_point(long n, long count)
{
    long step = getenv("EVERWARD_INJECT_ALL") != NULL ? 1 : count / OPEN_POINTS + 1;
    return n + (step == 1 ? 1 : 1 + check_below(&seed, (int)(2 * step - 1)));
}

static void fails_to_open(enum inject_kind kind, long n)
{
    struct base_err err = {0};
    inject_arm(kind, n, false);
    int rc = node_store_open(&f.store, &f.loop, f.dir, test_key, &err);
    bool fired = inject_disarm();
    if (rc == 0)
        return;
    assert_true(fired);
    assert_int_not_equal(err.text[0], '\0');
    f.store = NULL;
    fixture_open(&f);
}

static void test_points_of_opening_fail_and_the_next_opening_finds_everything(void **state)
{
    for (int kind = 0; kind < INJECT_KINDS; kind++) {
        fixture_close(&f);
        fails_to_open((enum inject_kind)kind, LONG_MAX);
        long count = inject_calls();
        for (long n = 1; n <= count; n = next_point(n, count)) {
            fixture_close(&f);
            fails_to_open((enum inject_kind)kind, n);
        }
        all_there();
    }
    inject_figures("opening the store");
}

/* So much that the checkpointer moves it as soon as nobody writes. */
static void fill_wal(void)
{
    static char text[48 * 1024];
    memset(text, 'x', sizeof text - 1);
    for (int i = 0; i < 60; i++) {
        const char *const pairs[] = {"family_name", text, NULL};
        assert_int_equal(edit(&f, CORE_OP_INSERT, "patient", uuid_n(next++), pairs, NULL), 0);
        patients++;
    }
}

static void test_points_of_a_checkpoint_fail_and_nothing_is_lost(void **state)
{
    for (int kind = INJECT_READ; kind <= INJECT_LOCK; kind++)
        for (int i = 0; i < 2; i++) {
            fill_wal();
            inject_arm((enum inject_kind)kind, i == 0 ? 1 : 1 + check_below(&seed, 200), i == 0);
            (void)usleep(CHECKPOINT_WAIT_US);
            (void)inject_disarm();
            assert_int_equal(insert_run(next++), 0);
            patients++;
            all_there();
            fixture_close(&f);
            fixture_open(&f);
            all_there();
        }
    inject_figures("a checkpoint");
}

static int set_up(void **state)
{
    seed = check_seed();
    fixture_parent = "/dev/shm";
    fixture_ready(&f);
    return edit(&f, CORE_OP_INSERT, "patient", uuid_n(BASE_ROW),
                (const char *const[]){"family_name", "first", NULL}, NULL);
}

static int tear_down(void **state)
{
    fixture_remove(&f);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_point_of_the_store_fails_once_and_the_next_attempt_succeeds),
        cmocka_unit_test(test_every_point_of_the_store_fails_and_goes_on_failing_until_it_ends),
        cmocka_unit_test(test_points_of_opening_fail_and_the_next_opening_finds_everything),
        cmocka_unit_test(test_points_of_a_checkpoint_fail_and_nothing_is_lost),
    };
    inject_start();
    base_log_init("test", (enum base_log_level)0);
    const char *only = getenv("EVERWARD_TEST_FILTER");
    if (only != NULL)
        cmocka_set_test_filter(only);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
