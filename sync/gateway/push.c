#include "sync/gateway/push.h"

#include <stdlib.h>
#include <string.h>

#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/seal/seal.h"

/* ---- the fast way -------------------------------------------------------------------------- */

static void go_careful(struct push *p)
{
    p->careful = true;
    gw_pg_give(p->conn);
    p->conn = NULL;
    push_attempt(p);
}

static void on_fast(void *user, struct gw_flight *f)
{
    struct push *p = user;
    p->gw->counts.write_us += (uint64_t)(base_clock_monotonic_us() - p->t0_us);
    if (push_passing(p))
        return;
    if (f->rc != 0 && f->failed < PUSH_OPEN_NEXT) {
        push_answer_failed(p, "push");
        push_done(p);
        return;
    }
    if (f->rc != 0) {
        go_careful(p);
        return;
    }
    if (push_check_open(p) != PUSH_OPENED_OK)
        return;
    bool fits = p->head_seq == p->first - 1 &&
                memcmp(p->head_chain, p->chain_before, CORE_CHAIN_BYTES) == 0;
    if (!fits || p->late != NULL || !push_all_affected(p, PUSH_OPEN_NEXT + 1)) {
        go_careful(p);
        return;
    }
    p->gw->counts.fast++;
    push_commit(p);
}

static void fly_fast(struct push *p)
{
    push_add_open(p);
    push_add_txn(p);
    push_add_statements(p);
    p->skip = 0;
    push_add_receipt(p);
    p->t0_us = base_clock_monotonic_us();
    gw_pg_fly(p->conn, &p->flight, p, on_fast);
}

/* ---- the receipt's head -------------------------------------------------------------------- */

static const char known_sql[] =
    "SELECT last_seq, encode(chain, 'hex'), outcomes FROM everward.receipt"
    " WHERE tenant_id = (SELECT everward.tenant()) AND node_id = $1::uuid"
    " AND incarnation = $2::bigint AND last_seq >= $3::bigint AND first_seq <= $4::bigint"
    " ORDER BY last_seq";

/* Outcomes of receipts that overlap the batch, and the chain of the one that ends where it ends. */
static const char *read_known(struct push *p)
{
    const PGresult *r = p->flight.results[PUSH_OPEN_NEXT];
    const char *chain = NULL;
    struct base_buf b;
    base_buf_init(&b, PUSH_OUTCOMES_BYTES_MAX);
    for (int i = 0; i < PQntuples(r); i++) {
        const char *json = PQgetvalue(r, i, 2);
        size_t len = strlen(json);
        if (strtoll(PQgetvalue(r, i, 0), NULL, 10) == p->last)
            chain = base_arena_copy(&p->arena, PQgetvalue(r, i, 1), 2 * CORE_CHAIN_BYTES);
        if (len <= 2)
            continue;
        if (b.len > 0)
            base_buf_char(&b, ',');
        base_buf_add(&b, json + 1, len - 2);
    }
    free(p->known);
    p->known = b.len > 0 ? base_buf_take(&b) : NULL;
    base_buf_release(&b);
    return chain;
}

static bool same_chain(const uint8_t a[CORE_CHAIN_BYTES], const uint8_t b[CORE_CHAIN_BYTES])
{
    return memcmp(a, b, CORE_CHAIN_BYTES) == 0;
}

static bool known_chain_equal(struct push *p, const char *chain_at_last)
{
    uint8_t there[CORE_CHAIN_BYTES];
    if (p->head_seq < p->first)
        return same_chain(p->head_chain, p->chain_before);
    if (p->head_seq <= p->last)
        return same_chain(p->head_chain, p->changes[p->head_seq - p->first].chain);
    /* Below the head: comparable where a receipt ended; else the node compares the head itself. */
    return chain_at_last == NULL ||
           (seal_hex_decode(there, sizeof there, chain_at_last, strlen(chain_at_last)) &&
            same_chain(there, p->chain));
}

static void on_open(void *user, struct gw_flight *f)
{
    struct push *p = user;
    if (push_passing(p))
        return;
    if (f->rc != 0) {
        push_answer_failed(p, "push");
        push_done(p);
        return;
    }
    if (push_check_open(p) != PUSH_OPENED_OK)
        return;
    enum core_push_verdict v = core_push_check(p->head_seq, p->first, p->last);
    if (v == CORE_PUSH_GAP || v == CORE_PUSH_INVALID) {
        push_conflict_reply(p, "gap", "Changes before these have not arrived.", p->head_seq + 1);
        return;
    }
    if (!known_chain_equal(p, read_known(p))) {
        push_conflict_reply(
            p, "chain_differs",
            "The centre holds another history under these numbers: this node was cloned"
            " or restored.",
            0);
        return;
    }
    if (v == CORE_PUSH_KNOWN) {
        p->skip = p->count;
        base_buf_clear(&p->outcomes);
        push_reply_receipt(p, p->head_seq, p->head_chain);
        return;
    }
    p->skip = (int)(p->head_seq - p->first + 1);
    p->range_count = 0;
    p->txn_begun = p->failed_range = false;
    push_range_add(p, p->skip, p->count);
    push_next_range(p);
}

static void fly_open(struct push *p)
{
    push_add_open(p);
    const struct gw_param known[] = {gw_text(p->who.node), gw_text(push_i64(&p->arena, p->inc)),
                                     gw_text(push_i64(&p->arena, p->first)),
                                     gw_text(push_i64(&p->arena, p->last))};
    (void)gw_flight_add(&p->flight, known_sql, 4, known);
    gw_pg_fly(p->conn, &p->flight, p, on_open);
}

void push_to_worker(struct push *p, uv_work_cb work, uv_after_work_cb after)
{
    p->work.data = p;
    if (uv_queue_work(p->gw->loop, &p->work, work, after) != 0)
        push_fail(p);
}

/* ---- attempts ------------------------------------------------------------------------------ */

static void on_conn(void *user, int rc, struct gw_pg_conn *conn)
{
    struct push *p = user;
    if (rc != 0) {
        push_answer_away(p, rc);
        push_done(p);
        return;
    }
    p->conn = conn;
    if (p->fast && !p->careful)
        fly_fast(p);
    else
        fly_open(p);
}

/* A node may send its next push before the last one is answered: that one is decoded meanwhile, and
 * goes to the database when those that came before it are done. */
static struct push *same_node(struct push *from, const struct push *p)
{
    while (from != NULL && !base_uuid_equal(&from->who.node_id, &p->who.node_id))
        from = from->next;
    return from;
}

static void push_enter(struct push *p)
{
    struct push **at = &p->gw->pushes;
    while (*at != NULL)
        at = &(*at)->next;
    *at = p;
}

static void take_turn(struct push *p)
{
    p->parked = same_node(p->gw->pushes, p) != p;
    if (!p->parked)
        push_attempt(p);
}

void push_begin(struct push *p)
{
    take_turn(p);
}

void push_leave(struct push *p)
{
    struct push **at = &p->gw->pushes;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    struct push *next = same_node(p->gw->pushes, p);
    if (next != NULL && next->parked)
        take_turn(next);
}

void push_attempt(struct push *p)
{
    p->attempt++;
    gw_pg_take(p->gw->pool, p, on_conn);
}

static void on_again(uv_timer_t *t)
{
    push_attempt(t->data);
}

void push_attempt_later(struct push *p)
{
    uint8_t random = 0;
    if (p->conn != NULL)
        gw_pg_give(p->conn);
    p->conn = NULL;
    seal_random(&random, 1);
    (void)uv_timer_start(&p->timer, on_again,
                         (uint64_t)p->attempt * PUSH_JITTER_MS + random % PUSH_JITTER_MS, 0);
}

/* ---- arrival ------------------------------------------------------------------------------- */

static void resolve_work(struct push *p)
{
    int rc = push_resolve(p);
    if (rc == 0 && p->fast) {
        base_arena_clear(&p->plan);
        rc = push_plan_fast(p);
    }
    if (rc != 0) {
        p->status = 503;
        p->code = "busy";
    }
}

static void decode_work(uv_work_t *w)
{
    struct push *p = w->data;
    p->t0_us = base_clock_monotonic_us();
    push_decode(p);
    if (p->status == 0)
        resolve_work(p);
    p->t0_us = base_clock_monotonic_us() - p->t0_us;
}

static void again_work(uv_work_t *w)
{
    resolve_work(w->data);
}

static void refuse(struct push *p)
{
    char detail[BASE_ERR_TEXT_BYTES + 2];
    if (p->status == 503) {
        push_fail(p);
        return;
    }
    (void)snprintf(detail, sizeof detail, "%s", p->err.text);
    push_answer(p, &(struct push_answer){
                       .status = p->status, .code = p->code, .detail = detail, .line = p->line});
    base_log(BASE_LOG_WARN, "push_refused", "node %s: %s, line %d", p->who.node, p->code, p->line);
    push_done(p);
}

static void on_decoded(uv_work_t *w, int status)
{
    struct push *p = w->data;
    p->gw->counts.decode_us += (uint64_t)p->t0_us;
    if (status != 0) {
        push_fail(p);
    } else if (p->status != 0) {
        refuse(p);
    } else {
        take_turn(p);
    }
}

void push_on_catalog_again(void *user, int rc, struct gw_catalog *c)
{
    struct push *p = user;
    if (rc != 0 || p->attempt >= PUSH_ATTEMPTS_MAX) {
        push_answer_away(p, rc == 0 ? BASE_EBUSY : rc);
        push_done(p);
        return;
    }
    gw_catalog_drop(p->catalog);
    p->catalog = gw_catalog_hold(c);
    push_to_worker(p, again_work, on_decoded);
}

static void on_catalog(void *user, int rc, struct gw_catalog *c)
{
    struct push *p = user;
    if (rc != 0) {
        push_answer_away(p, rc);
        push_done(p);
        return;
    }
    p->catalog = gw_catalog_hold(c);
    push_to_worker(p, decode_work, on_decoded);
}

struct push *push_new(struct gateway *gw, const struct gw_who *who)
{
    struct push *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->gw = gw;
    p->who = *who;
    push_enter(p);
    p->timer.data = p;
    (void)uv_timer_init(gw->loop, &p->timer);
    gw_flight_init(&p->flight);
    base_arena_init(&p->arena, PUSH_ARENA_BYTES_MAX);
    base_arena_init(&p->plan, PUSH_ARENA_BYTES_MAX);
    base_buf_init(&p->plain, CORE_BATCH_BYTES_MAX);
    base_buf_init(&p->outcomes, PUSH_OUTCOMES_BYTES_MAX);
    return p;
}

static void on_who(struct gateway *gw, struct net_http_exchange *x, const struct gw_who *who)
{
    int under_way = 0;
    for (const struct push *o = gw->pushes; o != NULL; o = o->next)
        under_way++;
    struct push *p = under_way < PUSH_UNDER_WAY_MAX ? push_new(gw, who) : NULL;
    if (p == NULL) {
        gw_reply_no_conn(gw, x, BASE_EBUSY);
        return;
    }
    p->x = x;
    size_t len = 0;
    (void)net_http_body(x, &len);
    gw->counts.push_bytes += len;
    gw_catalog_get(gw, 0, p, on_catalog);
}

static void on_push(struct net_http_exchange *x, void *user)
{
    gw_authenticate(user, x, on_who);
}

int gw_routes_push(struct gateway *gw, struct base_err *err)
{
    const struct net_http_route route = {.method = "POST",
                                         .path = "/sync/v1/push",
                                         .body_bytes_max = GW_BODY_BYTES_MAX,
                                         .auth_decided = true,
                                         .handler = on_push};
    return net_http_route_add(gw->http, &route, err);
}
