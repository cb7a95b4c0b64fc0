#include "sync/gateway/listen.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "sync/base/log.h"

/* idle -> connecting (worker) -> up -> (lost) idle; the timer makes the next attempt */
struct gw_listen {
    struct uv_loop_s *loop;
    char *dsn;
    void *user;
    gw_listen_cb heard;
    uv_work_t work;
    uv_timer_t timer;
    uv_poll_t *poll;
    PGconn *pg;
    bool connecting, up, stopping, timer_closed;
};

static void free_if_done(struct gw_listen *l)
{
    if (!l->stopping || l->connecting || !l->timer_closed)
        return;
    free(l->dsn);
    free(l);
}

static void drop_notice(void *user, const char *message)
{
}

static void connect_work(uv_work_t *w)
{
    struct gw_listen *l = w->data;
    const char *const keys[] = {"connect_timeout",
                                "keepalives_idle",
                                "keepalives_interval",
                                "keepalives_count",
                                "target_session_attrs",
                                "application_name",
                                "dbname",
                                NULL};
    const char *const values[] = {"5",    "15", "5", "3", "read-write", "everward-gateway listen",
                                  l->dsn, NULL};
    l->pg = PQconnectdbParams(keys, values, 1);
    if (l->pg == NULL || PQstatus(l->pg) != CONNECTION_OK)
        return;
    (void)PQsetNoticeProcessor(l->pg, drop_notice, NULL);
    PGresult *r = PQexec(l->pg, "LISTEN everward_feed");
    l->up = PQresultStatus(r) == PGRES_COMMAND_OK && PQsetnonblocking(l->pg, 1) == 0;
    PQclear(r);
}

static void close_pg(struct gw_listen *l)
{
    if (l->poll != NULL) {
        (void)uv_poll_stop(l->poll);
        uv_close((uv_handle_t *)l->poll, (uv_close_cb)free);
        l->poll = NULL;
    }
    if (l->pg != NULL)
        PQfinish(l->pg);
    l->pg = NULL;
    l->up = false;
}

static void on_readable(uv_poll_t *h, int status, int events)
{
    struct gw_listen *l = h->data;
    if (status < 0 || PQconsumeInput(l->pg) == 0) {
        base_log(BASE_LOG_WARN, "listen_lost", "no wake-ups from PostgreSQL for now");
        close_pg(l);
        return;
    }
    PGnotify *n;
    while (l->pg != NULL && (n = PQnotifies(l->pg)) != NULL) {
        l->heard(l->user, n->extra);
        PQfreemem(n);
    }
}

static void on_connected(uv_work_t *w, int status)
{
    struct gw_listen *l = w->data;
    l->connecting = false;
    if (l->stopping || !l->up) {
        close_pg(l);
        free_if_done(l);
        return;
    }
    l->poll = calloc(1, sizeof *l->poll);
    if (l->poll == NULL || uv_poll_init(l->loop, l->poll, PQsocket(l->pg)) != 0) {
        free(l->poll);
        l->poll = NULL;
        close_pg(l);
        return;
    }
    l->poll->data = l;
    (void)uv_poll_start(l->poll, UV_READABLE, on_readable);
    l->heard(l->user, NULL);
}

static void on_tick(uv_timer_t *t)
{
    struct gw_listen *l = t->data;
    if (l->up || l->connecting || l->stopping)
        return;
    l->work.data = l;
    l->connecting = uv_queue_work(l->loop, &l->work, connect_work, on_connected) == 0;
}

int gw_listen_start(struct gw_listen **out, struct uv_loop_s *loop, const char *dsn, void *user,
                    gw_listen_cb heard, struct base_err *err)
{
    struct gw_listen *l = calloc(1, sizeof *l);
    if (l == NULL || (l->dsn = strdup(dsn)) == NULL) {
        free(l);
        return base_fail(err, BASE_ENOMEM, "out of memory while starting to listen");
    }
    l->loop = loop;
    l->user = user;
    l->heard = heard;
    l->timer.data = l;
    (void)uv_timer_init(loop, &l->timer);
    (void)uv_timer_start(&l->timer, on_tick, 0, GW_LISTEN_RETRY_MS);
    *out = l;
    return 0;
}

static void on_timer_closed(uv_handle_t *h)
{
    struct gw_listen *l = h->data;
    l->timer_closed = true;
    free_if_done(l);
}

void gw_listen_stop(struct gw_listen *l)
{
    l->stopping = true;
    if (!l->connecting)
        close_pg(l);
    uv_close((uv_handle_t *)&l->timer, on_timer_closed);
}

bool gw_listen_up(const struct gw_listen *l)
{
    return l->up && !l->connecting;
}
