#include "sync/gateway/serve.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/base/buf.h"
#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/base/sandbox.h"
#include "sync/gateway/gateway.h"
#include "sync/gateway/oidc.h"
#include "sync/seal/seal.h"

enum { METRICS_BYTES_MAX = 64 * 1024, DRAIN_WORD_MS = 300 };

struct serving {
    struct gateway gw;
    uv_loop_t loop;
    uv_signal_t term, interrupt, hangup;
    uv_timer_t drain;
    bool draining;
};

int gw_read_file(char **out, const char *path, struct base_err *err)
{
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return base_fail(err, errno == ENOENT ? BASE_ENOTFOUND : BASE_EIO, "cannot open %s: %s",
                         path, strerror(errno));
    char *text = calloc(1, GW_FILE_BYTES_MAX + 1);
    size_t n = text == NULL ? 0 : fread(text, 1, GW_FILE_BYTES_MAX, f);
    int rc = 0;
    if (text == NULL || ferror(f) != 0)
        rc = base_fail(err, BASE_EIO, "cannot read %s", path);
    else if (n == GW_FILE_BYTES_MAX)
        rc = base_fail(err, BASE_ETOOBIG, "%s is larger than %d bytes", path, GW_FILE_BYTES_MAX);
    (void)fclose(f);
    if (rc == 0)
        *out = text;
    else
        free(text);
    return rc;
}

static void free_secret(char *pem)
{
    if (pem != NULL)
        seal_wipe(pem, strlen(pem));
    free(pem);
}

/* ---- health -------------------------------------------------------------------------------- */

static void on_health(struct net_http_exchange *x, void *user)
{
    net_http_reply(x, 200, "text/plain", "ok\n", 3);
}

struct probe {
    struct gateway *gw;
    struct net_http_exchange *x;
    struct gw_pg_conn *conn;
    struct gw_flight flight;
};

static void on_probed(void *user, struct gw_flight *f)
{
    struct probe *p = user;
    gw_pg_give(p->conn);
    if (f->rc == 0)
        net_http_reply(p->x, 200, "text/plain", "ready\n", 6);
    else
        gw_reply_no_conn(p->gw, p->x, BASE_EUNREACHABLE);
    gw_flight_release(&p->flight);
    free(p);
}

static void on_probe_conn(void *user, int rc, struct gw_pg_conn *conn)
{
    struct probe *p = user;
    if (rc != 0) {
        gw_reply_no_conn(p->gw, p->x, rc);
        free(p);
        return;
    }
    p->conn = conn;
    (void)gw_flight_add(&p->flight, "SELECT 1", 0, NULL);
    gw_pg_fly(conn, &p->flight, p, on_probed);
}

static void on_ready(struct net_http_exchange *x, void *user)
{
    struct gateway *gw = user;
    struct probe *p = calloc(1, sizeof *p);
    if (p == NULL || gw->stopping) {
        free(p);
        gw_reply_no_conn(gw, x, BASE_EBUSY);
        return;
    }
    p->gw = gw;
    p->x = x;
    gw_flight_init(&p->flight);
    gw_pg_take(gw->pool, p, on_probe_conn);
}

static void metric(struct base_buf *b, const char *name, const char *type, const char *help,
                   uint64_t value)
{
    base_buf_printf(b,
                    "# HELP everward_gateway_%s %s\n# TYPE everward_gateway_%s %s\n"
                    "everward_gateway_%s %llu\n",
                    name, help, name, type, name, (unsigned long long)value);
}

static void write_push_metrics(struct base_buf *b, const struct gw_counts *n)
{
    metric(b, "pushes_total", "counter", "Pushes applied.", n->pushes);
    metric(b, "push_bytes_total", "counter", "Compressed bytes of pushes received.", n->push_bytes);
    metric(b, "changes_total", "counter", "Changes taken, with whatever outcome.", n->changes);
    metric(b, "merged_total", "counter", "Changes merged with others.", n->merged);
    metric(b, "duplicate_total", "counter", "Changes that were there already.", n->duplicate);
    metric(b, "conflicts_total", "counter", "Changes contested.", n->contested);
    metric(b, "quarantined_total", "counter", "Changes quarantined.", n->quarantined);
    metric(b, "push_fast_total", "counter", "Pushes that only inserted.", n->fast);
    metric(b, "push_general_total", "counter", "Pushes that read rows first.", n->slow);
    metric(b, "push_retries_total", "counter", "Transactions repeated.", n->retries);
    metric(b, "push_decode_microseconds_total", "counter", "Spent on decoding.", n->decode_us);
    metric(b, "push_plan_microseconds_total", "counter", "Spent on merging.", n->plan_us);
    metric(b, "push_write_microseconds_total", "counter", "Spent waiting for writes.", n->write_us);
    metric(b, "push_commit_microseconds_total", "counter", "Spent waiting for commits.",
           n->commit_us);
}

static void on_metrics(struct net_http_exchange *x, void *user)
{
    struct gateway *gw = user;
    struct gw_pg_counts pg;
    struct net_http_counts http;
    struct base_buf b;
    gw_pg_counts(gw->pool, &pg);
    net_http_counts(gw->http, &http);
    base_buf_init(&b, METRICS_BYTES_MAX);
    write_push_metrics(&b, &gw->counts);
    metric(&b, "refused_total", "counter", "Requests refused.", gw->counts.refused);
    metric(&b, "feeds_total", "counter", "Feed replies.", gw->counts.feeds);
    metric(&b, "feed_changes_total", "counter", "Changes sent to nodes.", gw->counts.feed_changes);
    metric(&b, "feed_waiting", "gauge", "Long polls waiting.", gw->counts.polls_waiting);
    metric(&b, "pages_total", "counter", "Bootstrap pages sent.", gw->counts.pages);
    metric(&b, "pool_size", "gauge", "Database connections at most.", (uint64_t)pg.size);
    metric(&b, "pool_open", "gauge", "Database connections open.", (uint64_t)pg.open);
    metric(&b, "pool_busy", "gauge", "Database connections in use.", (uint64_t)pg.busy);
    metric(&b, "pool_waiting", "gauge", "Requests waiting for one.", (uint64_t)pg.waiting);
    metric(&b, "pool_connect_failures_total", "counter", "Failed attempts.", pg.failures);
    metric(&b, "database_up", "gauge", "1 while PostgreSQL can be reached.", pg.reachable ? 1 : 0);
    metric(&b, "http_requests_total", "counter", "Requests.", http.requests);
    metric(&b, "http_connections", "gauge", "Connections open.", http.connections_open);
    net_http_reply(x, 200, "text/plain; version=0.0.4", b.data == NULL ? "" : b.data, b.len);
    base_buf_release(&b);
}

int gw_routes_health(struct gateway *gw, struct base_err *err)
{
    const struct net_http_route routes[] = {{"GET", "/healthz", 0, true, on_health},
                                            {"GET", "/readyz", 0, true, on_ready},
                                            {"GET", "/metrics", 0, true, on_metrics}};
    int rc = 0;
    for (size_t i = 0; i < sizeof routes / sizeof routes[0] && rc == 0; i++)
        rc = net_http_route_add(gw->http, &routes[i], err);
    return rc;
}

/* ---- life ---------------------------------------------------------------------------------- */

static void on_http_stopped(void *user)
{
    struct serving *s = user;
    s->gw.http = NULL;
    gw_oidc_stop(&s->gw);
    gw_feed_stop(&s->gw);
    gw_pg_stop(s->gw.pool);
    uv_close((uv_handle_t *)&s->term, NULL);
    uv_close((uv_handle_t *)&s->interrupt, NULL);
    uv_close((uv_handle_t *)&s->hangup, NULL);
    uv_close((uv_handle_t *)&s->drain, NULL);
}

static void on_drained(uv_timer_t *t)
{
    struct serving *s = t->data;
    net_http_server_stop(s->gw.http, on_http_stopped, s);
}

/* Long polls are answered first (the feed looks at `stopping`), then the server lets go. */
static void on_term(uv_signal_t *h, int number)
{
    struct serving *s = h->data;
    if (s->draining)
        return;
    s->draining = true;
    s->gw.stopping = true;
    base_log(BASE_LOG_INFO, "draining", "finishing what is under way");
    (void)uv_timer_start(&s->drain, on_drained, DRAIN_WORD_MS, 0);
}

static void on_hangup(uv_signal_t *h, int number)
{
    struct serving *s = h->data;
    struct base_err err = {0};
    char *cert = NULL;
    char *key = NULL;
    int rc = gw_read_file(&cert, base_config_text(s->gw.config, "tls", "certificate"), &err);
    if (rc == 0)
        rc = gw_read_file(&key, base_config_text(s->gw.config, "tls", "key"), &err);
    if (rc == 0 && !s->draining)
        rc = net_http_server_tls_set(s->gw.http, cert, key, &err);
    if (rc == 0)
        base_log(BASE_LOG_INFO, "certificate_reloaded", "new connections use it");
    else
        base_log(BASE_LOG_ERROR, "certificate_refused", "the old one stays: %s", err.text);
    free(cert);
    free_secret(key);
}

static int start_http(struct serving *s, struct base_err *err)
{
    const struct base_config *c = s->gw.config;
    char *cert = NULL;
    char *key = NULL;
    const char *ca = base_config_text(c, "tls", "ca");
    int rc = gw_read_file(&cert, base_config_text(c, "tls", "certificate"), err);
    if (rc == 0)
        rc = gw_read_file(&key, base_config_text(c, "tls", "key"), err);
    if (rc == 0 && ca[0] != '\0')
        rc = gw_read_file(&s->gw.ca_pem, ca, err);
    if (rc == 0) {
        const struct net_http_config http = {.address = base_config_text(c, "gateway", "address"),
                                             .port =
                                                 (uint16_t)base_config_int(c, "gateway", "port"),
                                             .cert_pem = cert,
                                             .key_pem = key,
                                             .header_ms = GW_HEADER_MS,
                                             .server_name = "everward-gateway"};
        rc = net_http_server_start(&s->gw.http, &s->loop, &http, &s->gw, err);
    } else {
        rc = base_err_prefix(err, rc, "TLS (everward-gateway ca make creates these files)");
    }
    free(cert);
    free_secret(key);
    return rc;
}

static int add_routes(struct gateway *gw, struct base_err *err)
{
    int rc = gw_routes_health(gw, err);
    if (rc == 0)
        rc = gw_routes_node(gw, err);
    if (rc == 0)
        rc = gw_routes_push(gw, err);
    if (rc == 0)
        rc = gw_routes_feed(gw, err);
    if (rc == 0)
        rc = gw_routes_fill(gw, err);
    if (rc == 0)
        rc = gw_routes_audit(gw, err);
    if (rc == 0)
        rc = gw_routes_people(gw, err);
    if (rc == 0)
        rc = gw_routes_fleet(gw, err);
    if (rc == 0)
        rc = gw_routes_escrow(gw, err);
    if (rc == 0)
        rc = gw_routes_standing(gw, err);
    if (rc == 0)
        rc = gw_routes_life(gw, err);
    if (rc == 0)
        rc = gw_routes_numbers(gw, err);
    if (rc == 0)
        rc = gw_routes_report(gw, err);
    if (rc == 0)
        rc = gw_routes_keys(gw, err);
    return rc;
}

static int start_signals(struct serving *s)
{
    s->term.data = s->interrupt.data = s->hangup.data = s->drain.data = s;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)uv_timer_init(&s->loop, &s->drain);
    (void)uv_signal_init(&s->loop, &s->term);
    (void)uv_signal_init(&s->loop, &s->interrupt);
    (void)uv_signal_init(&s->loop, &s->hangup);
    (void)uv_signal_start(&s->term, on_term, SIGTERM);
    (void)uv_signal_start(&s->interrupt, on_term, SIGINT);
    return uv_signal_start(&s->hangup, on_hangup, SIGHUP);
}

struct life {
    struct gateway *gw;
    struct gw_pg_conn *conn;
    struct gw_flight flight;
};

static void on_timeline(void *user, struct gw_flight *f)
{
    struct life *l = user;
    const char *renewed = gw_flight_value(f, 0, 0);
    if (f->rc == 0 && renewed != NULL && renewed[0] == 't')
        base_log(BASE_LOG_WARN, "timeline_renewed",
                 "the centre's database was restored or moved: nodes will compare");
    gw_pg_give(l->conn);
    gw_flight_release(&l->flight);
    free(l);
}

static void on_timeline_conn(void *user, int rc, struct gw_pg_conn *conn)
{
    struct life *l = user;
    if (rc != 0) {
        free(l);
        return;
    }
    l->conn = conn;
    (void)gw_flight_add(&l->flight, "SELECT everward.renew_timeline()", 0, NULL);
    (void)gw_flight_add(&l->flight, "SELECT everward.maintain()", 0, NULL);
    gw_pg_fly(conn, &l->flight, l, on_timeline);
}

/* If the database is away at the start, `migrate` or the next start does it. */
static void renew_timeline(struct gateway *gw)
{
    struct life *l = calloc(1, sizeof *l);
    if (l == NULL)
        return;
    l->gw = gw;
    gw_flight_init(&l->flight);
    gw_pg_take(gw->pool, l, on_timeline_conn);
}

static int start(struct serving *s, struct base_err *err)
{
    const struct base_config *c = s->gw.config;
    const char *dsn = base_config_text(c, "database", "dsn");
    const char *listen = base_config_text(c, "database", "listen_dsn");
    int rc = gw_keys_start(&s->gw, err);
    if (rc == 0)
        rc = gw_oidc_start(&s->gw, err);
    if (rc == 0)
        rc = gw_pg_start(&s->gw.pool, &s->loop, dsn, (int)base_config_int(c, "database", "pool"),
                         err);
    if (rc == 0)
        rc = gw_feed_start(&s->gw, listen[0] == '\0' ? dsn : listen, err);
    if (rc == 0)
        rc = start_http(s, err);
    if (rc == 0)
        rc = add_routes(&s->gw, err);
    if (rc == 0 && start_signals(s) != 0)
        rc = base_fail(err, BASE_EIO, "cannot watch for signals");
    return rc;
}

int gw_serve(const struct base_config *config, struct base_err *err)
{
    /* It writes no file: before there is a second thread, it gives up being able to. */
    const int64_t port = base_config_int(config, "gateway", "port");
    const struct base_sandbox box = {.folders = {NULL}, .bind_low_ports = port > 0 && port < 1024};
    int landlock = 0;
    int boxed = base_sandbox_enter(&box, &landlock, err);
    if (boxed != 0)
        return boxed;
    struct serving *s = calloc(1, sizeof *s);
    if (s == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory");
    (void)uv_loop_init(&s->loop);
    s->gw.loop = &s->loop;
    s->gw.config = config;
    s->gw.audience = base_config_text(config, "gateway", "audience");
    int rc = start(s, err);
    if (rc == 0) {
        base_log(BASE_LOG_INFO, "listening", "%s port %u",
                 base_config_text(config, "gateway", "address"),
                 (unsigned)net_http_server_port(s->gw.http));
        renew_timeline(&s->gw);
        (void)uv_run(&s->loop, UV_RUN_DEFAULT);
        base_log(BASE_LOG_INFO, "stopped", "drained");
        (void)uv_loop_close(&s->loop);
    }
    gw_catalog_drop(s->gw.catalog);
    gw_keys_stop(&s->gw);
    free(s->gw.ca_pem);
    if (rc == 0) /* after a failed start the loop's handles may still point into it */
        free(s);
    return rc;
}
