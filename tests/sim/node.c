/*
 * A node's engine: what node/engine does with the session of sync/core, without threads and HTTP.
 * Where it decides (a receipt's verdict, when to greet) it calls the core, as node/engine does.
 */
#include "tests/sim/sim.h"

enum { RESTART_MS = 3000, TICK_MS = 1000 };

void sim_node_start(struct sim_world *w, struct sim_node *n)
{
    const struct sim_replica *r = &n->disk;
    n->alive = true;
    n->doomed = false;
    n->restart_at = 0;
    n->pushed_seq = 0;
    n->fenced = false;
    for (int i = 0; i < 2; i++)
        n->lanes[i] = (struct sim_lane){.serial = n->lanes[i].serial + 1};
    memset(n->views, 0, sizeof n->views);
    core_session_init(&n->session, w->now, true, r->filled, r->catalog);
    sim_trace(w, "node %d starts", n->machine);
}

void sim_node_die(struct sim_world *w, struct sim_node *n)
{
    sim_trace(w, "node %d dies", n->machine);
    w->figures->kills++;
    n->alive = n->doomed = false;
    n->restart_at = w->now + RESTART_MS + sim_below(&w->random, RESTART_MS);
}

static uint32_t jitter(struct sim_world *w)
{
    return (uint32_t)sim_random(&w->random);
}

static void failed(struct sim_world *w, struct sim_node *n, enum core_lane_name lane, int rc)
{
    enum core_failure why = rc == BASE_ESTALE    ? CORE_FAILED_STALE
                            : rc == BASE_EPROTO  ? CORE_FAILED_REGREET
                            : rc == BASE_EFENCED ? CORE_FAILED_REFUSED
                                                 : CORE_FAILED_PASSING;
    sim_trace(w, "node %d: lane %d failed, %d", n->machine, lane, rc);
    if (why == CORE_FAILED_REFUSED) {
        n->fenced = true;
        w->figures->fences++;
        sim_check_fenced(w, n);
    }
    core_session_on_failed(&n->session, lane, why, w->now, 0, jitter(w));
}

/* The push lane met something that makes a greeting needed: the long poll does not hold it up. */
static void doubt(struct sim_world *w, struct sim_node *n)
{
    core_session_on_doubt(&n->session);
    if (n->lanes[CORE_LANE_PULL].waiting) {
        n->lanes[CORE_LANE_PULL].waiting = false;
        n->lanes[CORE_LANE_PULL].serial++;
        failed(w, n, CORE_LANE_PULL, BASE_ECANCELED);
    }
}

/* ---- asking -------------------------------------------------------------------------------------- */

static int ask_hello(struct sim_world *w, struct sim_node *n, struct sim_request *q)
{
    struct core_position p;
    const struct sim_replica *r = &n->disk;
    int rc = sim_store->position(w, n, r->acked, &p);
    if (rc != 0)
        return rc;
    q->last_seq = r->last_seq;
    q->acked_seq = n->hello_acked = r->acked;
    memcpy(q->chain, p.chain, sizeof q->chain);
    q->cursor = r->cursor < 0 ? 0 : r->cursor;
    q->timeline = r->timeline;
    return 0;
}

/* 1: there is nothing more to fill. */
static int ask_fill(struct sim_world *w, struct sim_node *n, struct sim_request *q)
{
    int rc = 0;
    if (n->disk.cursor < 0)
        n->fill_acked = n->disk.acked;
    if (n->disk.cursor < 0)
        rc = sim_store->fill_begin(w, n, n->hello_head, n->hello_timeline);
    if (rc != 0)
        return rc;
    if (n->disk.fill == 0) {
        n->fill_entries = w->centre.entry_count;
        rc = sim_store->fill_finish(w, n);
        return rc == 0 ? 1 : rc;
    }
    while (!(n->disk.fill >> q->table & 1))
        q->table++;
    q->from = n->disk.fill_from;
    return 0;
}

/* 1: nothing to push. */
static int ask_push(struct sim_world *w, struct sim_node *n, struct sim_request *q)
{
    struct sim_lane *l = &n->lanes[CORE_LANE_PUSH];
    int64_t after = n->pushed_seq > n->disk.acked ? n->pushed_seq : n->disk.acked;
    int rc = sim_store->outbox(w, n, after, n->session.batch, q);
    if (rc == 0 && q->count == 0) {
        core_session_on_pushed(&n->session, w->now, 0, false, 0);
        return 1;
    }
    l->sent = q->last;
    l->sent_count = q->count;
    return rc;
}

static void start(struct sim_world *w, struct sim_node *n, enum core_do what)
{
    enum core_lane_name lane = what == CORE_DO_PUSH ? CORE_LANE_PUSH : CORE_LANE_PULL;
    struct sim_request q = {.what = what,
                            .inc = n->disk.incarnation,
                            .catalog = n->disk.catalog,
                            .after = n->disk.cursor};
    int rc = 0;
    if (what == CORE_DO_HELLO)
        rc = ask_hello(w, n, &q);
    else if (what == CORE_DO_FILL)
        rc = ask_fill(w, n, &q);
    else if (what == CORE_DO_PUSH)
        rc = ask_push(w, n, &q);
    if (n->doomed)
        return;
    if (rc < 0)
        failed(w, n, lane, rc);
    else if (rc == 1 && what == CORE_DO_FILL)
        core_session_on_fill(&n->session, true);
    else if (rc == 0)
        sim_net_send(w, n, lane, &q);
}

/* ---- answers ---------------------------------------------------------------------------------------- */

/* Nothing of the receipt counts before its chain has been compared with ours. */
static int take_hello(struct sim_world *w, struct sim_node *n, const struct sim_reply *a)
{
    struct core_position ours = {0};
    const struct sim_replica *r = &n->disk;
    if (a->cut_off)
        return BASE_EIO;
    if (a->inc != r->incarnation)
        return BASE_EFENCED;
    int rc = a->receipt.seq <= r->last_seq ? sim_store->position(w, n, a->receipt.seq, &ours) : 0;
    if (rc != 0)
        return rc;
    enum core_receipt_verdict v =
        core_receipt_check(&a->receipt, r->last_seq, n->hello_acked, ours.chain);
    if (v != CORE_RECEIPT_SETTLES || (r->filled && r->timeline != 0 && r->timeline != a->timeline))
        return BASE_EFENCED;
    if (a->receipt.seq > r->acked)
        rc = sim_store->receipt(w, n, &a->receipt, a->outcomes, a->outcome_count);
    if (rc != 0)
        return rc;
    n->fenced = false;
    n->hello_head = a->head;
    n->hello_timeline = a->timeline;
    core_session_on_hello(&n->session, a->catalog, n->disk.filled && n->disk.fill == 0);
    return 0;
}

static int take_pull(struct sim_world *w, struct sim_node *n, const struct sim_reply *a)
{
    bool more = false;
    int rc;
    switch (n->lanes[CORE_LANE_PULL].what) {
    case CORE_DO_HELLO:
        return take_hello(w, n, a);
    case CORE_DO_CATALOG:
        rc = a->cut_off ? BASE_EIO : sim_store->catalog(w, n, a->catalog);
        if (rc == 0)
            core_session_on_catalog(&n->session, n->disk.catalog, false);
        return rc;
    case CORE_DO_FILL:
        rc = sim_store->page(w, n, a);
        rc = rc == BASE_EPROTO ? BASE_EIO : rc == BASE_ESTALE ? BASE_EPROTO : rc;
        if (rc == 0)
            core_session_on_fill(&n->session, false);
        return rc;
    case CORE_DO_FEED:
        rc = sim_store->feed(w, n, a, &more);
        if (rc == 0)
            core_session_on_feed(&n->session, a->catalog);
        return rc;
    default:
        return BASE_EPROTO;
    }
}

static int take_receipt(struct sim_world *w, struct sim_node *n, const struct sim_reply *a)
{
    struct sim_lane *l = &n->lanes[CORE_LANE_PUSH];
    if (a->cut_off || a->inc != n->disk.incarnation || a->receipt.seq != l->sent.seq ||
        memcmp(a->receipt.chain, l->sent.chain, sizeof l->sent.chain) != 0)
        return BASE_EPROTO;
    n->pushed_seq = a->receipt.seq;
    int rc = sim_store->receipt(w, n, &a->receipt, a->outcomes, a->outcome_count);
    if (n->doomed)
        return rc;
    core_session_on_pushed(&n->session, w->now, l->sent_count, n->disk.last_seq > a->receipt.seq,
                           w->now - l->sent_at);
    if (rc != 0) /* hello asks for it again */
        doubt(w, n);
    return 0;
}

static enum core_failure failure_of(int status)
{
    return status == 403                    ? CORE_FAILED_REFUSED
           : status == 409 || status == 410 ? CORE_FAILED_REGREET
                                            : CORE_FAILED_PASSING;
}

static void answer_failed(struct sim_world *w, struct sim_node *n, enum core_lane_name lane,
                          int status)
{
    sim_trace(w, "node %d: lane %d answered %d", n->machine, lane, status);
    core_session_on_failed(&n->session, lane, failure_of(status), w->now, 0, jitter(w));
    if (lane == CORE_LANE_PUSH) {
        n->pushed_seq = 0;
        if (failure_of(status) != CORE_FAILED_PASSING)
            doubt(w, n);
    }
}

void sim_node_answer(struct sim_world *w, struct sim_node *n, enum core_lane_name lane,
                     const struct sim_reply *a)
{
    int rc;
    if (a->status != 200) {
        answer_failed(w, n, lane, a->status);
    } else if (lane == CORE_LANE_PUSH) {
        rc = take_receipt(w, n, a);
        if (rc != 0 && !n->doomed) {
            n->pushed_seq = 0;
            failed(w, n, lane, BASE_EPROTO);
            doubt(w, n);
        }
    } else {
        rc = take_pull(w, n, a);
        if (rc != 0 && !n->doomed)
            failed(w, n, lane, rc);
    }
    if (n->doomed)
        sim_node_die(w, n);
    sim_check_node(w, n);
}

/* ---- time ------------------------------------------------------------------------------------------- */

static void time_out(struct sim_world *w, struct sim_node *n, enum core_lane_name lane)
{
    struct sim_lane *l = &n->lanes[lane];
    if (!l->waiting || l->deadline > w->now)
        return;
    l->waiting = false;
    l->serial++;
    answer_failed(w, n, lane, 0);
}

void sim_node_work(struct sim_world *w, struct sim_node *n)
{
    int64_t until = -1;
    enum core_do what;
    if (!n->alive) {
        sim_node_start(w, n);
        return;
    }
    time_out(w, n, CORE_LANE_PULL);
    time_out(w, n, CORE_LANE_PUSH);
    if (core_session_stuck(&n->session, w->now)) {
        sim_trace(w, "node %d is stuck", n->machine);
        for (int i = 0; i < 2; i++)
            n->lanes[i].deadline = w->now;
        n->pushed_seq = 0;
        time_out(w, n, CORE_LANE_PULL);
        time_out(w, n, CORE_LANE_PUSH);
    }
    while (!n->doomed && (what = core_session_next(&n->session, w->now, &until)) != CORE_DO_WAIT)
        start(w, n, what);
    if (n->doomed)
        sim_node_die(w, n);
    sim_check_node(w, n);
}

/* Asks a copy of the session: what it would do is not done yet. */
int64_t sim_node_next(struct sim_world *w, struct sim_node *n)
{
    if (!n->alive)
        return n->restart_at;
    struct core_session s = n->session;
    int64_t until = -1;
    if (core_session_next(&s, w->now, &until) != CORE_DO_WAIT)
        return w->now;
    for (int i = 0; i < 2; i++)
        if (n->lanes[i].waiting && (until < 0 || n->lanes[i].deadline < until))
            until = n->lanes[i].deadline;
    int64_t stuck = n->session.progress_at + CORE_SESSION_STUCK_MS;
    if (n->session.link_open && n->session.greeted && n->session.outbox &&
        (until < 0 || stuck < until))
        until = stuck;
    return until;
}
