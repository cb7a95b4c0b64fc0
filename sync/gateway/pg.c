#include "sync/gateway/pg.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/gateway/pg_internal.h"

static void serve_waiters(struct gw_pg *p);
static void open_more(struct gw_pg *p);

/* ---- taking and giving -------------------------------------------------------------------- */

static struct gw_pg_conn *idle_conn(struct gw_pg *p)
{
    for (int i = 0; i < p->size; i++)
        if (p->conns[i] != NULL && p->conns[i]->state == GW_CONN_IDLE)
            return p->conns[i];
    return NULL;
}

static int count_state(const struct gw_pg *p, enum gw_conn_state state)
{
    int n = 0;
    for (int i = 0; i < p->size; i++)
        n += p->conns[i] != NULL && p->conns[i]->state == state;
    return n;
}

static void pop_waiter(struct gw_pg *p, struct waiter *out)
{
    struct waiter *w = p->first;
    *out = *w;
    p->first = w->next;
    if (p->first == NULL)
        p->last = NULL;
    p->waiting--;
    free(w);
}

static void serve_waiters(struct gw_pg *p)
{
    struct gw_pg_conn *c;
    while (p->first != NULL && (c = idle_conn(p)) != NULL) {
        struct waiter w;
        pop_waiter(p, &w);
        c->state = GW_CONN_BUSY;
        w.taken(w.user, 0, c);
    }
    if (p->first != NULL)
        open_more(p);
}

/* Everyone who waits hears the same: the database is away, or it is too busy. */
static void refuse_waiters(struct gw_pg *p, int64_t asked_before_ms, int rc)
{
    while (p->first != NULL && p->first->since_ms <= asked_before_ms) {
        struct waiter w;
        pop_waiter(p, &w);
        w.taken(w.user, rc, NULL);
    }
}

void gw_pg_take(struct gw_pg *p, void *user, gw_taken_cb taken)
{
    struct gw_pg_conn *c = p->first == NULL && !p->stopping ? idle_conn(p) : NULL;
    if (c != NULL) {
        c->state = GW_CONN_BUSY;
        taken(user, 0, c);
        return;
    }
    bool away = !p->reachable && count_state(p, GW_CONN_BUSY) == 0;
    struct waiter *w = NULL;
    if (!p->stopping && !away && p->waiting < GW_PG_QUEUE_MAX)
        w = malloc(sizeof *w);
    if (w == NULL) {
        taken(user, p->stopping || away ? BASE_EUNREACHABLE : BASE_EBUSY, NULL);
        return;
    }
    *w = (struct waiter){NULL, user, taken, base_clock_monotonic_ms()};
    if (p->last == NULL)
        p->first = w;
    else
        p->last->next = w;
    p->last = w;
    p->waiting++;
    open_more(p);
}

static void on_conn_closed(uv_handle_t *h)
{
    struct gw_pg_conn *c = h->data;
    struct gw_pg *p = c->pool;
    PQfinish(c->pg);
    gw_flight_release(&c->rollback);
    free(c);
    p->handles--;
    gw_pg_free_if_done(p);
}

static void drop(struct gw_pg_conn *c)
{
    struct gw_pg *p = c->pool;
    for (int i = 0; i < p->size; i++)
        if (p->conns[i] == c)
            p->conns[i] = NULL;
    c->state = GW_CONN_CLOSED;
    (void)uv_poll_stop(&c->poll);
    uv_close((uv_handle_t *)&c->poll, on_conn_closed);
}

static void on_rolled_back(void *user, struct gw_flight *f)
{
    struct gw_pg_conn *c = user;
    int rc = f->rc;
    gw_flight_clear(f);
    if (rc != 0 || PQtransactionStatus(c->pg) != PQTRANS_IDLE)
        c->broken = true;
    gw_pg_give(c);
}

void gw_pg_give(struct gw_pg_conn *c)
{
    struct gw_pg *p = c->pool;
    BASE_ASSERT(c->state == GW_CONN_BUSY && c->flight == NULL);
    if (c->broken || p->stopping || PQstatus(c->pg) != CONNECTION_OK) {
        drop(c);
        serve_waiters(p);
        return;
    }
    if (PQtransactionStatus(c->pg) != PQTRANS_IDLE) {
        gw_flight_clear(&c->rollback);
        (void)gw_flight_add(&c->rollback, "ROLLBACK", 0, NULL);
        gw_pg_fly(c, &c->rollback, c, on_rolled_back);
        return;
    }
    c->state = GW_CONN_IDLE;
    serve_waiters(p);
}

/* ---- connecting --------------------------------------------------------------------------- */

/* The server's sentences can quote rows: they go nowhere, not even to the log. */
static void drop_notice(void *user, const char *message)
{
}

static void connect_work(uv_work_t *w)
{
    struct opening *o = w->data;
    char timeout[16];
    (void)snprintf(timeout, sizeof timeout, "%d", GW_PG_CONNECT_S);
    /* What stands before dbname is only a default: the operator's conninfo wins. */
    const char *const keys[] = {"connect_timeout",  "tcp_user_timeout",
                                "keepalives_idle",  "keepalives_interval",
                                "keepalives_count", "target_session_attrs",
                                "application_name", "dbname",
                                "client_encoding",  NULL};
    const char *const values[] = {
        timeout, "20000", "15", "5", "3", "read-write", "everward-gateway", o->dsn, "UTF8", NULL};
    o->pg = PQconnectdbParams(keys, values, 1);
    if (o->pg == NULL || PQstatus(o->pg) != CONNECTION_OK)
        return;
    (void)PQsetNoticeProcessor(o->pg, drop_notice, NULL);
    o->ok = PQsetnonblocking(o->pg, 1) == 0 && PQenterPipelineMode(o->pg) == 1;
}

static void on_poll(uv_poll_t *h, int status, int events);

static void adopt(struct gw_pg *p, PGconn *pg)
{
    struct gw_pg_conn *c = calloc(1, sizeof *c);
    int slot = 0;
    while (slot < p->size && p->conns[slot] != NULL)
        slot++;
    if (c == NULL || slot == p->size || uv_poll_init(p->loop, &c->poll, PQsocket(pg)) != 0) {
        free(c);
        PQfinish(pg);
        return;
    }
    c->pool = p;
    c->pg = pg;
    c->state = GW_CONN_IDLE;
    c->poll.data = c;
    gw_flight_init(&c->rollback);
    p->handles++;
    p->conns[slot] = c;
    (void)uv_poll_start(&c->poll, UV_READABLE, on_poll);
}

static void on_connected(uv_work_t *w, int status)
{
    struct opening *o = w->data;
    struct gw_pg *p = o->pool;
    p->opening--;
    if (o->ok && !p->stopping) {
        if (!p->reachable)
            base_log(BASE_LOG_INFO, "database_back", "connected to PostgreSQL");
        p->reachable = true;
        p->backoff_ms = 0;
        p->connects++;
        adopt(p, o->pg);
    } else {
        if (o->pg != NULL)
            PQfinish(o->pg);
        p->failures++;
        p->backoff_ms = p->backoff_ms == 0 ? GW_PG_BACKOFF_MS_MIN : p->backoff_ms * 2;
        if (p->backoff_ms > GW_PG_BACKOFF_MS_MAX)
            p->backoff_ms = GW_PG_BACKOFF_MS_MAX;
        p->not_before_ms = base_clock_monotonic_ms() + p->backoff_ms;
        if (p->reachable && !p->stopping && count_state(p, GW_CONN_BUSY) == 0) {
            p->reachable = false;
            base_log(BASE_LOG_WARN, "database_away", "PostgreSQL cannot be reached; trying again");
        }
    }
    free(o);
    if (!p->reachable)
        refuse_waiters(p, INT64_MAX, BASE_EUNREACHABLE);
    serve_waiters(p);
    gw_pg_free_if_done(p);
}

static void open_one(struct gw_pg *p)
{
    struct opening *o = calloc(1, sizeof *o);
    if (o == NULL)
        return;
    o->pool = p;
    o->dsn = p->dsn;
    o->work.data = o;
    if (uv_queue_work(p->loop, &o->work, connect_work, on_connected) != 0)
        free(o);
    else
        p->opening++;
}

static void open_more(struct gw_pg *p)
{
    int open = p->opening;
    for (int i = 0; i < p->size; i++)
        open += p->conns[i] != NULL;
    int wanted = p->waiting > 0 ? p->waiting : 0;
    if (open == 0 && wanted == 0)
        wanted = 1; /* one is always kept, so that health tells the truth */
    while (!p->stopping && p->opening < GW_PG_CONNECTS_MAX && p->opening < wanted &&
           open < p->size && base_clock_monotonic_ms() >= p->not_before_ms) {
        open_one(p);
        open++;
    }
}

static void on_tick(uv_timer_t *t)
{
    struct gw_pg *p = t->data;
    refuse_waiters(p, base_clock_monotonic_ms() - GW_PG_WAIT_MS, BASE_ETIMEDOUT);
    serve_waiters(p);
    open_more(p);
}

/* ---- flights ------------------------------------------------------------------------------ */

static void land(struct gw_pg_conn *c)
{
    struct gw_flight *f = c->flight;
    c->flight = NULL;
    if (f->rc == BASE_EUNREACHABLE || PQstatus(c->pg) != CONNECTION_OK)
        c->broken = true;
    c->done(c->user, f);
}

static void lose(struct gw_pg_conn *c)
{
    c->broken = true;
    (void)uv_poll_stop(&c->poll);
    if (c->flight == NULL) {
        if (c->state == GW_CONN_IDLE) {
            struct gw_pg *p = c->pool;
            drop(c);
            serve_waiters(p);
        }
        return;
    }
    c->flight->rc = BASE_EUNREACHABLE;
    (void)snprintf(c->flight->sqlstate, sizeof c->flight->sqlstate, "08006");
    land(c);
}

static void note_failure(struct gw_pg_conn *c, PGresult *r)
{
    struct gw_flight *f = c->flight;
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    const char *name = PQresultErrorField(r, PG_DIAG_CONSTRAINT_NAME);
    const char *said = PQresultErrorField(r, PG_DIAG_SEVERITY_NONLOCALIZED);
    f->rc = BASE_EINVALID;
    f->failed = c->at;
    (void)snprintf(f->sqlstate, sizeof f->sqlstate, "%s", state == NULL ? "XX000" : state);
    (void)snprintf(f->constraint, sizeof f->constraint, "%s", name == NULL ? "" : name);
    if (said != NULL && (strcmp(said, "FATAL") == 0 || strcmp(said, "PANIC") == 0)) {
        f->rc = BASE_EUNREACHABLE;
        c->broken = true;
    }
}

/* Takes one result if there is one. False: nothing more for now, or the flight has landed. */
static bool take_result(struct gw_pg_conn *c)
{
    struct gw_flight *f = c->flight;
    if (PQisBusy(c->pg))
        return false;
    PGresult *r = PQgetResult(c->pg);
    if (r == NULL) { /* between two queries */
        if (PQstatus(c->pg) != CONNECTION_OK) {
            lose(c);
            return false;
        }
        c->at++;
        return c->at <= f->count;
    }
    switch (PQresultStatus(r)) {
    case PGRES_PIPELINE_SYNC:
        PQclear(r);
        land(c);
        return false;
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
        f->results[c->at] = r;
        return true;
    case PGRES_PIPELINE_ABORTED:
        PQclear(r);
        return true;
    default:
        if (f->failed < 0)
            note_failure(c, r);
        PQclear(r);
        if (c->broken) {
            lose(c);
            return false;
        }
        return true;
    }
}

static void watch(struct gw_pg_conn *c)
{
    int left = PQflush(c->pg);
    if (left < 0) {
        lose(c);
        return;
    }
    (void)uv_poll_start(&c->poll, left == 1 ? UV_READABLE | UV_WRITABLE : UV_READABLE, on_poll);
}

static void on_poll(uv_poll_t *h, int status, int events)
{
    struct gw_pg_conn *c = h->data;
    if (status < 0 || PQconsumeInput(c->pg) == 0) {
        lose(c);
        return;
    }
    if (c->flight == NULL) { /* idle and talking: a notice, or its farewell */
        if (!PQisBusy(c->pg) && PQstatus(c->pg) == CONNECTION_OK)
            return;
        if (PQstatus(c->pg) != CONNECTION_OK)
            lose(c);
        return;
    }
    while (c->flight != NULL && take_result(c))
        ;
    if (c->flight != NULL && c->state == GW_CONN_BUSY)
        watch(c);
}

static bool send_all(struct gw_pg_conn *c, struct gw_flight *f)
{
    for (int i = 0; i < f->count; i++) {
        const struct gw_query *q = &f->queries[i];
        const char *values[GW_PARAMS_MAX];
        int lengths[GW_PARAMS_MAX];
        int formats[GW_PARAMS_MAX];
        for (int k = 0; k < q->count; k++) {
            values[k] = q->params[k].data;
            lengths[k] = q->params[k].len;
            formats[k] = q->params[k].binary ? 1 : 0;
        }
        if (PQsendQueryParams(c->pg, q->sql, q->count, NULL, values, lengths, formats, 0) != 1)
            return false;
    }
    return PQpipelineSync(c->pg) == 1;
}

static void on_never_sent(uv_timer_t *t)
{
    struct gw_pg_conn *c = ((struct late *)t)->conn;
    uv_close((uv_handle_t *)t, (uv_close_cb)free);
    lose(c);
}

/* The taker expects its answer later, never from within its own call. */
static void fail_later(struct gw_pg_conn *c)
{
    struct late *l = calloc(1, sizeof *l);
    BASE_ASSERT(l != NULL);
    l->conn = c;
    (void)uv_timer_init(c->pool->loop, &l->timer);
    (void)uv_timer_start(&l->timer, on_never_sent, 0, 0);
}

void gw_pg_fly(struct gw_pg_conn *c, struct gw_flight *f, void *user, gw_flight_cb done)
{
    BASE_ASSERT(c->flight == NULL && c->state == GW_CONN_BUSY);
    c->flight = f;
    c->user = user;
    c->done = done;
    c->at = 0;
    c->pool->flights++;
    if (f->rc == 0)
        f->results = calloc((size_t)f->count + 1, sizeof(PGresult *));
    if (f->rc != 0 || f->results == NULL || c->broken || !send_all(c, f)) {
        fail_later(c);
        return;
    }
    int left = PQflush(c->pg);
    if (left < 0) {
        fail_later(c);
        return;
    }
    (void)uv_poll_start(&c->poll, left == 1 ? UV_READABLE | UV_WRITABLE : UV_READABLE, on_poll);
}

/* ---- life --------------------------------------------------------------------------------- */

int gw_pg_start(struct gw_pg **out, struct uv_loop_s *loop, const char *dsn, int size,
                struct base_err *err)
{
    struct gw_pg *p = calloc(1, sizeof *p);
    if (p == NULL || (p->dsn = strdup(dsn)) == NULL) {
        free(p);
        return base_fail(err, BASE_ENOMEM, "out of memory while starting the database pool");
    }
    p->loop = loop;
    p->size = size;
    p->reachable = true; /* until the first attempt says otherwise: takers wait for it */
    p->handles = 1;
    p->tick.data = p;
    (void)uv_timer_init(loop, &p->tick);
    (void)uv_timer_start(&p->tick, on_tick, 0, 200);
    *out = p;
    return 0;
}

static void on_tick_closed(uv_handle_t *h)
{
    struct gw_pg *p = h->data;
    p->handles--;
    gw_pg_free_if_done(p);
}

void gw_pg_free_if_done(struct gw_pg *p)
{
    if (!p->stopping || p->handles > 0 || p->opening > 0)
        return;
    free(p->dsn);
    free(p);
}

void gw_pg_stop(struct gw_pg *p)
{
    p->stopping = true;
    refuse_waiters(p, INT64_MAX, BASE_EUNREACHABLE);
    for (int i = 0; i < p->size; i++)
        if (p->conns[i] != NULL && p->conns[i]->state == GW_CONN_IDLE)
            drop(p->conns[i]);
    uv_close((uv_handle_t *)&p->tick, on_tick_closed);
}

void gw_pg_counts(const struct gw_pg *p, struct gw_pg_counts *out)
{
    *out = (struct gw_pg_counts){.size = p->size,
                                 .busy = count_state(p, GW_CONN_BUSY),
                                 .waiting = p->waiting,
                                 .connects = p->connects,
                                 .failures = p->failures,
                                 .flights = p->flights,
                                 .reachable = p->reachable};
    out->open = out->busy + count_state(p, GW_CONN_IDLE);
}
