#include "tests/unit/check.h"

#include "sync/core/session.h"

enum { NOW = 1000000, NEVER = -1 };

static int64_t until;

static enum core_do next(struct core_session *s, int64_t now)
{
    return core_session_next(s, now, &until);
}

static struct core_session fresh(void)
{
    struct core_session s;
    core_session_init(&s, NOW, true, true, 7);
    return s;
}

/* Greeted, nothing to push, a long poll under way. */
static struct core_session following(void)
{
    struct core_session s = fresh();
    assert_int_equal(next(&s, NOW), CORE_DO_HELLO);
    core_session_on_hello(&s, 7, true);
    assert_int_equal(next(&s, NOW), CORE_DO_PUSH);
    core_session_on_pushed(&s, NOW, 0, false, 0);
    assert_int_equal(next(&s, NOW), CORE_DO_FEED);
    assert_int_equal(next(&s, NOW), CORE_DO_WAIT);
    return s;
}

static void a_session_begins_with_a_greeting_and_nothing_else(void **state)
{
    struct core_session s = fresh();
    assert_int_equal(next(&s, NOW), CORE_DO_HELLO);
    assert_int_equal(next(&s, NOW), CORE_DO_WAIT);
    assert_int_equal(until, NEVER);
}

static void an_empty_node_fetches_the_catalog_then_fills_then_follows(void **state)
{
    struct core_session s;
    core_session_init(&s, NOW, true, false, 0);
    assert_int_equal(next(&s, NOW), CORE_DO_HELLO);
    core_session_on_hello(&s, 7, false);
    assert_int_equal(next(&s, NOW), CORE_DO_PUSH); /* writes are taken to the centre meanwhile */
    assert_int_equal(next(&s, NOW), CORE_DO_CATALOG);
    core_session_on_catalog(&s, 7, false);
    assert_int_equal(next(&s, NOW), CORE_DO_FILL);
    core_session_on_fill(&s, false);
    assert_int_equal(next(&s, NOW), CORE_DO_FILL);
    core_session_on_fill(&s, true);
    assert_int_equal(next(&s, NOW), CORE_DO_FEED);
    assert_string_equal(core_phase_name(s.phase), "following");
}

static void a_local_write_is_pushed_at_once_while_the_long_poll_stays_open(void **state)
{
    struct core_session s = following();
    core_session_on_local(&s, NOW + 5);
    assert_int_equal(next(&s, NOW + 5), CORE_DO_PUSH);
    assert_true(s.pull.busy);
    assert_int_equal(next(&s, NOW + 5), CORE_DO_WAIT); /* one request a lane */
}

static void a_write_during_a_small_push_waits_for_company_and_is_pushed_next(void **state)
{
    struct core_session s = following();
    core_session_on_local(&s, NOW);
    assert_int_equal(next(&s, NOW), CORE_DO_PUSH);
    core_session_on_local(&s, NOW + 1);
    core_session_on_pushed(&s, NOW + 2, 1, false, 2);
    assert_int_equal(next(&s, NOW + 2), CORE_DO_WAIT);
    core_session_on_kick(&s); /* with every write: it ends no wait for company */
    assert_int_equal(next(&s, NOW + 2), CORE_DO_WAIT);
    assert_int_equal(until, NOW + 2 + CORE_SESSION_COMPANY_MS);
    assert_int_equal(next(&s, until), CORE_DO_PUSH);
    core_session_on_pushed(&s, NOW + 60, 1, false, 1);
    assert_int_equal(next(&s, NOW + 60), CORE_DO_WAIT);
    core_session_on_local(&s, NOW + 61); /* alone: at once */
    assert_int_equal(next(&s, NOW + 61), CORE_DO_PUSH);
}

static void a_push_that_is_about_full_is_followed_at_once(void **state)
{
    struct core_session s = following();
    core_session_on_local(&s, NOW);
    assert_int_equal(next(&s, NOW), CORE_DO_PUSH);
    core_session_on_pushed(&s, NOW + 90, s.batch, true, 90);
    assert_int_equal(next(&s, NOW + 90), CORE_DO_PUSH);
}

static void nothing_is_started_while_the_line_is_closed_by_hand(void **state)
{
    struct core_session s = following();
    core_session_on_link(&s, NOW, false);
    core_session_on_failed(&s, CORE_LANE_PULL, CORE_FAILED_PASSING, NOW, 0, 0);
    core_session_on_local(&s, NOW);
    assert_int_equal(next(&s, NOW + 100000), CORE_DO_WAIT);
    assert_int_equal(until, NEVER);
    core_session_on_link(&s, NOW + 100000, true);
    assert_int_equal(next(&s, NOW + 100000), CORE_DO_HELLO);
}

static void a_greeting_that_ends_after_the_line_was_closed_does_not_count(void **state)
{
    struct core_session s = fresh();
    assert_int_equal(next(&s, NOW), CORE_DO_HELLO);
    core_session_on_link(&s, NOW, false);
    core_session_on_hello(&s, 7, true);
    assert_false(s.greeted);
    core_session_on_link(&s, NOW, true);
    assert_int_equal(next(&s, NOW), CORE_DO_HELLO);
}

static void a_lost_line_is_greeted_again_after_a_pause(void **state)
{
    struct core_session s = following();
    core_session_on_failed(&s, CORE_LANE_PULL, CORE_FAILED_PASSING, NOW, 0, 17);
    core_session_on_local(&s, NOW);
    assert_false(s.greeted);
    assert_int_equal(next(&s, NOW), CORE_DO_WAIT); /* nor is anything pushed unheard */
    assert_int_equal(until, NOW + 18);
    assert_int_equal(next(&s, NOW + 17), CORE_DO_WAIT);
    assert_int_equal(next(&s, NOW + 18), CORE_DO_HELLO);
}

static void pauses_grow_to_half_a_minute_and_never_beyond(void **state)
{
    struct core_session s = fresh();
    int64_t longest = 0;
    for (int i = 0; i < 40; i++) {
        core_session_on_failed(&s, CORE_LANE_PULL, CORE_FAILED_PASSING, NOW, 0, UINT32_MAX - 1);
        int64_t pause = s.pull.not_before - NOW;
        assert_true(pause >= 1 && pause <= CORE_SESSION_PAUSE_MAX_MS);
        if (pause > longest)
            longest = pause;
    }
    assert_true(longest > CORE_SESSION_PAUSE_MAX_MS / 2);
}

static void pauses_of_many_nodes_are_spread_over_the_whole_bound(void **state)
{
    uint64_t seed = check_seed();
    int below = 0;
    for (int i = 0; i < 1000; i++) {
        struct core_session s = fresh();
        s.pull.failures = 20;
        core_session_on_failed(&s, CORE_LANE_PULL, CORE_FAILED_PASSING, NOW, 0,
                               (uint32_t)check_random(&seed));
        below += s.pull.not_before - NOW <= CORE_SESSION_PAUSE_MAX_MS / 2;
    }
    assert_true(below > 400 && below < 600);
}

static void retry_after_is_the_least_pause(void **state)
{
    struct core_session s = following();
    core_session_on_local(&s, NOW);
    assert_int_equal(next(&s, NOW), CORE_DO_PUSH);
    core_session_on_failed(&s, CORE_LANE_PUSH, CORE_FAILED_PASSING, NOW, 5000, 0);
    assert_int_equal(next(&s, NOW + 5000), CORE_DO_WAIT);
    assert_int_equal(next(&s, NOW + 5001), CORE_DO_PUSH);
}

static void a_push_that_fails_in_passing_leaves_the_pull_lane_alone(void **state)
{
    struct core_session s = following();
    core_session_on_local(&s, NOW);
    assert_int_equal(next(&s, NOW), CORE_DO_PUSH);
    core_session_on_failed(&s, CORE_LANE_PUSH, CORE_FAILED_PASSING, NOW, 0, 0);
    assert_true(s.greeted);
    core_session_on_feed(&s, 7);
    assert_int_equal(next(&s, NOW), CORE_DO_FEED);
}

static void a_kick_ends_the_pauses(void **state)
{
    struct core_session s = following();
    core_session_on_failed(&s, CORE_LANE_PULL, CORE_FAILED_PASSING, NOW, 60000, 0);
    assert_int_equal(next(&s, NOW), CORE_DO_WAIT);
    core_session_on_kick(&s);
    assert_int_equal(next(&s, NOW), CORE_DO_HELLO);
}

static void a_refused_node_stops_and_asks_again_every_five_minutes(void **state)
{
    struct core_session s = following();
    core_session_on_failed(&s, CORE_LANE_PULL, CORE_FAILED_REFUSED, NOW, 0, 99);
    core_session_on_local(&s, NOW);
    assert_int_equal(s.phase, CORE_STOPPED);
    assert_int_equal(next(&s, NOW + CORE_SESSION_REFUSED_MS - 1), CORE_DO_WAIT);
    assert_int_equal(next(&s, NOW + CORE_SESSION_REFUSED_MS), CORE_DO_HELLO);
    core_session_on_hello(&s, 7, true);
    assert_int_equal(next(&s, NOW + CORE_SESSION_REFUSED_MS),
                     CORE_DO_PUSH); /* it was still there */
}

static void a_feed_that_ends_after_a_refused_push_does_not_reopen_the_session(void **state)
{
    struct core_session s = following();
    core_session_on_local(&s, NOW);
    assert_int_equal(next(&s, NOW), CORE_DO_PUSH);
    core_session_on_failed(&s, CORE_LANE_PUSH, CORE_FAILED_REFUSED, NOW, 0, 0);
    core_session_on_feed(&s, 7);
    assert_false(s.greeted);
    assert_int_equal(next(&s, NOW + 1000),
                     CORE_DO_HELLO); /* which tells whether it holds for all */
}

static void a_push_that_contradicts_the_centre_makes_the_session_greet(void **state)
{
    struct core_session s = following();
    core_session_on_local(&s, NOW);
    assert_int_equal(next(&s, NOW), CORE_DO_PUSH);
    core_session_on_failed(&s, CORE_LANE_PUSH, CORE_FAILED_REGREET, NOW, 0, 0);
    assert_int_equal(next(&s, NOW + 60000), CORE_DO_WAIT); /* the long poll holds the lane */
    core_session_on_feed(&s, 7);
    assert_int_equal(next(&s, NOW + 60000), CORE_DO_HELLO);
    assert_int_equal(next(&s, NOW + 60000), CORE_DO_WAIT);
}

static void a_doubt_is_cleared_by_the_next_greeting(void **state)
{
    struct core_session s = following();
    core_session_on_doubt(&s);
    core_session_on_feed(&s, 7);
    assert_int_equal(next(&s, NOW), CORE_DO_HELLO);
    core_session_on_hello(&s, 7, true);
    assert_int_equal(next(&s, NOW), CORE_DO_FEED);
}

static void a_newer_catalog_in_the_feed_is_fetched_before_the_next_feed(void **state)
{
    struct core_session s = following();
    core_session_on_feed(&s, 8);
    assert_int_equal(next(&s, NOW), CORE_DO_CATALOG);
    core_session_on_catalog(&s, 8, true);
    assert_int_equal(next(&s, NOW), CORE_DO_FEED);
}

static void a_centre_with_an_older_catalog_than_ours_gives_its_own(void **state)
{
    struct core_session s;
    core_session_init(&s, NOW, true, true, 9);
    assert_int_equal(next(&s, NOW), CORE_DO_HELLO);
    core_session_on_hello(&s, 7, true);
    assert_int_equal(next(&s, NOW), CORE_DO_PUSH);
    assert_int_equal(next(&s, NOW), CORE_DO_CATALOG);
    core_session_on_catalog(&s, 7, true);
    assert_int_equal(next(&s, NOW), CORE_DO_FEED);
}

static void a_body_from_a_newer_catalog_is_answered_by_fetching_it_once(void **state)
{
    struct core_session s = following();
    core_session_on_failed(&s, CORE_LANE_PULL, CORE_FAILED_STALE, NOW, 0, 0);
    assert_int_equal(next(&s, NOW + 1), CORE_DO_CATALOG);
    core_session_on_catalog(&s, 7, true); /* there is none */
    assert_int_equal(next(&s, NOW + 1), CORE_DO_FEED);
}

static void a_catalog_with_a_new_table_fills_it_before_following(void **state)
{
    struct core_session s = following();
    core_session_on_feed(&s, 8);
    assert_int_equal(next(&s, NOW), CORE_DO_CATALOG);
    core_session_on_catalog(&s, 8, false);
    assert_int_equal(next(&s, NOW), CORE_DO_FILL);
}

static int after_push(int batch, int count, int64_t took_ms)
{
    struct core_session s = fresh();
    s.batch = batch;
    core_session_on_pushed(&s, NOW, count, true, took_ms);
    return s.batch;
}

static void the_batch_follows_the_measured_time_within_its_limits(void **state)
{
    assert_int_equal(after_push(1000, 1000, 150), 2000);
    assert_int_equal(after_push(1000, 1000, 10), 1000 * CORE_SESSION_BATCH_GROWTH);
    assert_int_equal(after_push(1000, 1000, 600), 500);
    assert_int_equal(after_push(1000, 1000, 60000), 500); /* at most half */
    assert_int_equal(after_push(4000, 4000, 10), CORE_SESSION_BATCH_MAX);
    assert_int_equal(after_push(120, 120, 60000), CORE_SESSION_BATCH_MIN);
    assert_int_equal(after_push(1000, 1000, 0), 1000 * CORE_SESSION_BATCH_GROWTH);
}

/* Whole transactions of 500 never fill 1,127: the size must not stay there for ever. */
static void a_batch_of_whole_transactions_counts_as_full(void **state)
{
    assert_int_equal(after_push(1127, 1000, 150), 2000);
}

static void a_batch_that_was_not_full_tells_nothing_about_the_size(void **state)
{
    assert_int_equal(after_push(1000, 3, 2), 1000);
    assert_int_equal(after_push(1000, 3, 9000), 1000);
}

static void while_a_backlog_goes_out_the_feed_is_fetched_seldom(void **state)
{
    struct core_session s = following(); /* the feed was asked for at NOW */
    core_session_on_local(&s, NOW + 100);
    assert_int_equal(next(&s, NOW + 100), CORE_DO_PUSH);
    core_session_on_pushed(&s, NOW + 300, 1000, true, 200);
    core_session_on_feed(&s, 7); /* our own changes come by */
    assert_int_equal(next(&s, NOW + 300), CORE_DO_PUSH);
    assert_int_equal(next(&s, NOW + 300), CORE_DO_WAIT);
    assert_int_equal(until, NOW + CORE_SESSION_DRAIN_FEED_MS);
    assert_int_equal(next(&s, NOW + CORE_SESSION_DRAIN_FEED_MS), CORE_DO_FEED);
    core_session_on_feed(&s, 7);
    assert_int_equal(next(&s, NOW + CORE_SESSION_DRAIN_FEED_MS + 100), CORE_DO_WAIT);
    core_session_on_pushed(&s, NOW + CORE_SESSION_DRAIN_FEED_MS + 200, 400, false,
                           100); /* all out: at once */
    assert_int_equal(next(&s, NOW + CORE_SESSION_DRAIN_FEED_MS + 200), CORE_DO_FEED);
}

static void a_batch_that_did_not_get_through_is_halved(void **state)
{
    struct core_session s = following();
    for (int i = 0; i < 20; i++) {
        core_session_on_failed(&s, CORE_LANE_PUSH, CORE_FAILED_PASSING, NOW, 0, 0);
        assert_true(s.batch >= CORE_SESSION_BATCH_MIN);
    }
    assert_true(s.batch < 2 * CORE_SESSION_BATCH_MIN);
}

static void changes_that_wait_a_minute_while_connected_reset_the_session(void **state)
{
    struct core_session s = following();
    core_session_on_local(&s, NOW);
    assert_int_equal(next(&s, NOW), CORE_DO_PUSH);
    assert_false(core_session_stuck(&s, NOW + CORE_SESSION_STUCK_MS - 1));
    assert_true(core_session_stuck(&s, NOW + CORE_SESSION_STUCK_MS));
    assert_false(core_session_stuck(&s, NOW + CORE_SESSION_STUCK_MS)); /* once */
    assert_int_equal(s.phase, CORE_GREETING);
    assert_int_equal(s.resets, 1);
    assert_true(s.push.busy); /* until whoever works for it has said so */
}

static void progress_puts_off_the_reset(void **state)
{
    struct core_session s = following();
    core_session_on_local(&s, NOW);
    for (int64_t now = NOW; now < NOW + 10 * CORE_SESSION_STUCK_MS;
         now += CORE_SESSION_STUCK_MS - 1) {
        assert_int_equal(next(&s, now), CORE_DO_PUSH);
        assert_false(core_session_stuck(&s, now));
        core_session_on_pushed(&s, now, 100, true, 100);
    }
}

static void a_long_outage_is_not_a_standstill(void **state)
{
    struct core_session s = following();
    core_session_on_local(&s, NOW);
    core_session_on_failed(&s, CORE_LANE_PULL, CORE_FAILED_PASSING, NOW, 0, 0);
    int64_t later = NOW + 3600 * 1000;
    assert_false(core_session_stuck(&s, later));
    assert_int_equal(next(&s, later), CORE_DO_HELLO);
    core_session_on_hello(&s, 7, true);
    assert_int_equal(next(&s, later), CORE_DO_PUSH);
    assert_false(core_session_stuck(&s, later + 1));
}

static void a_session_that_only_greets_and_never_delivers_is_stuck(void **state)
{
    struct core_session s = following();
    bool stuck = false;
    core_session_on_local(&s, NOW);
    for (int64_t now = NOW; now < NOW + 2 * CORE_SESSION_STUCK_MS && !stuck; now += 1000) {
        enum core_do what;
        while ((what = next(&s, now)) != CORE_DO_WAIT) {
            if (what == CORE_DO_HELLO)
                core_session_on_hello(&s, 7, true);
            if (what == CORE_DO_PUSH)
                core_session_on_failed(&s, CORE_LANE_PUSH, CORE_FAILED_REGREET, now, 0, 0);
            if (what == CORE_DO_FEED)
                break;
        }
        if (s.pull.busy)
            core_session_on_feed(&s, 7);
        stuck = core_session_stuck(&s, now);
    }
    assert_true(stuck);
}

/* Whatever happens in whatever order: one request a lane, no push before a greeting, none while
 * closed. */
static void nothing_that_happens_breaks_the_rules_of_the_lanes(void **state)
{
    uint64_t seed = check_seed();
    struct core_session s = fresh();
    int64_t now = NOW;
    enum core_do pull = CORE_DO_WAIT;
    bool push = false;
    for (int i = 0; i < 200000; i++) {
        enum core_do what = next(&s, now);
        if (what != CORE_DO_WAIT)
            assert_true(s.link_open);
        if (what == CORE_DO_PUSH) {
            assert_true(s.greeted && !push);
            push = true;
        } else if (what != CORE_DO_WAIT) {
            assert_int_equal(pull, CORE_DO_WAIT);
            pull = what;
        }
        assert_true(s.batch >= CORE_SESSION_BATCH_MIN && s.batch <= CORE_SESSION_BATCH_MAX);
        enum core_failure why = (enum core_failure)check_below(&seed, 4);
        uint32_t r = (uint32_t)check_random(&seed);
        now += check_below(&seed, 300);
        switch (check_below(&seed, 8)) {
        case 0:
            core_session_on_local(&s, now);
            break;
        case 1:
            core_session_on_link(&s, now, check_below(&seed, 3) > 0);
            break;
        case 2:
            core_session_on_kick(&s);
            break;
        case 3:
            if (push)
                core_session_on_pushed(&s, now, check_below(&seed, s.batch + 1),
                                       check_below(&seed, 2) == 0, check_below(&seed, 900));
            push = false;
            break;
        case 4:
            if (push)
                core_session_on_failed(&s, CORE_LANE_PUSH, why, now, 0, r);
            push = false;
            break;
        case 5:
            if (pull != CORE_DO_WAIT)
                core_session_on_failed(&s, CORE_LANE_PULL, why, now, 0, r);
            pull = CORE_DO_WAIT;
            break;
        default:
            if (pull == CORE_DO_HELLO)
                core_session_on_hello(&s, check_below(&seed, 20), check_below(&seed, 2) == 0);
            if (pull == CORE_DO_CATALOG)
                core_session_on_catalog(&s, check_below(&seed, 20), check_below(&seed, 2) == 0);
            if (pull == CORE_DO_FILL)
                core_session_on_fill(&s, check_below(&seed, 2) == 0);
            if (pull == CORE_DO_FEED)
                core_session_on_feed(&s, check_below(&seed, 20));
            pull = CORE_DO_WAIT;
        }
        (void)core_session_stuck(&s, now);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_begins_with_a_greeting_and_nothing_else),
        cmocka_unit_test(an_empty_node_fetches_the_catalog_then_fills_then_follows),
        cmocka_unit_test(a_local_write_is_pushed_at_once_while_the_long_poll_stays_open),
        cmocka_unit_test(a_write_during_a_small_push_waits_for_company_and_is_pushed_next),
        cmocka_unit_test(a_push_that_is_about_full_is_followed_at_once),
        cmocka_unit_test(nothing_is_started_while_the_line_is_closed_by_hand),
        cmocka_unit_test(a_greeting_that_ends_after_the_line_was_closed_does_not_count),
        cmocka_unit_test(a_lost_line_is_greeted_again_after_a_pause),
        cmocka_unit_test(pauses_grow_to_half_a_minute_and_never_beyond),
        cmocka_unit_test(pauses_of_many_nodes_are_spread_over_the_whole_bound),
        cmocka_unit_test(retry_after_is_the_least_pause),
        cmocka_unit_test(a_push_that_fails_in_passing_leaves_the_pull_lane_alone),
        cmocka_unit_test(a_kick_ends_the_pauses),
        cmocka_unit_test(a_refused_node_stops_and_asks_again_every_five_minutes),
        cmocka_unit_test(a_feed_that_ends_after_a_refused_push_does_not_reopen_the_session),
        cmocka_unit_test(a_push_that_contradicts_the_centre_makes_the_session_greet),
        cmocka_unit_test(a_doubt_is_cleared_by_the_next_greeting),
        cmocka_unit_test(a_newer_catalog_in_the_feed_is_fetched_before_the_next_feed),
        cmocka_unit_test(a_centre_with_an_older_catalog_than_ours_gives_its_own),
        cmocka_unit_test(a_body_from_a_newer_catalog_is_answered_by_fetching_it_once),
        cmocka_unit_test(a_catalog_with_a_new_table_fills_it_before_following),
        cmocka_unit_test(the_batch_follows_the_measured_time_within_its_limits),
        cmocka_unit_test(a_batch_of_whole_transactions_counts_as_full),
        cmocka_unit_test(a_batch_that_was_not_full_tells_nothing_about_the_size),
        cmocka_unit_test(while_a_backlog_goes_out_the_feed_is_fetched_seldom),
        cmocka_unit_test(a_batch_that_did_not_get_through_is_halved),
        cmocka_unit_test(changes_that_wait_a_minute_while_connected_reset_the_session),
        cmocka_unit_test(progress_puts_off_the_reset),
        cmocka_unit_test(a_long_outage_is_not_a_standstill),
        cmocka_unit_test(a_session_that_only_greets_and_never_delivers_is_stuck),
        cmocka_unit_test(nothing_that_happens_breaks_the_rules_of_the_lanes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
