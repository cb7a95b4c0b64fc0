/*
 * What IT sees and does at a node from a browser: the last day of waiting changes, sync now, compare
 * with the centre. The rest of the console is made of the routes that exist (sync, devices,
 * quarantine).
 */
#include <string.h>

#include "node/api/internal.h"

/* One a minute; the newest day. On the loop's thread only; one API per process (server.c). */
static struct sample {
    int64_t at_ms, pending, oldest_ms;
    bool online;
} samples[API_SAMPLES_MAX];
static int64_t sample_count;

void api_console_tick(struct node_api *a)
{
    int64_t now = base_clock_wall_ms();
    int64_t oldest = 0;
    const struct sample *last =
        sample_count > 0 ? &samples[(sample_count - 1) % API_SAMPLES_MAX] : NULL;
    if (last != NULL && now - last->at_ms < API_SAMPLE_MS && now >= last->at_ms)
        return;
    if (a->engine != NULL)
        node_engine_status(a->engine, &a->status);
    const struct node_sync_state *y = &a->status.sync;
    if (!node_moment_ms(&oldest, y->oldest_pending_at, strlen(y->oldest_pending_at)))
        oldest = now;
    samples[sample_count++ % API_SAMPLES_MAX] =
        (struct sample){.at_ms = now,
                        .pending = y->pending,
                        .oldest_ms = y->pending > 0 && now > oldest ? now - oldest : 0,
                        .online = a->status.online};
}

void api_on_sync_history(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    char at[BASE_TIME_CHARS + 1];
    if (c == NULL)
        return;
    int64_t first = sample_count > API_SAMPLES_MAX ? sample_count - API_SAMPLES_MAX : 0;
    base_buf_str(&c->body, "{\"items\":[");
    for (int64_t i = first; i < sample_count; i++) {
        const struct sample *s = &samples[i % API_SAMPLES_MAX];
        base_time_format(s->at_ms, at);
        base_buf_printf(&c->body,
                        "%s{\"at\":\"%s\",\"pending\":%lld,\"oldest_ms\":%lld,\"online\":%s}",
                        i > first ? "," : "", at, (long long)s->pending, (long long)s->oldest_ms,
                        s->online ? "true" : "false");
    }
    base_buf_str(&c->body, "]}");
    api_finish(c);
}

/* A call of somebody who looks after tablets and node. NULL: answered. */
static struct api_call *begin_it(struct net_http_exchange *x, struct node_api *a)
{
    struct api_call *c = api_begin(x, a);
    if (c == NULL)
        return NULL;
    if (!api_may(c, NODE_MAY_UPDATE, "device")) {
        api_finish(c);
        return NULL;
    }
    if (a->engine == NULL) {
        api_refuse(c, 503, "starting", NULL, "the node does not sync");
        api_finish(c);
        return NULL;
    }
    return c;
}

void api_on_sync_now(struct net_http_exchange *x, void *user)
{
    struct node_api *a = user;
    struct api_call *c = begin_it(x, a);
    if (c == NULL)
        return;
    node_engine_kick(a->engine);
    base_buf_str(&c->body, "{\"started\":true}");
    c->status = 202;
    api_finish(c);
}

static void probed(void *user, const struct node_probe *p)
{
    struct api_call *c = user;
    struct node_api *a = c->api;
    node_probe_write(&c->body, p);
    api_finish(c);
    api_job_end(a);
}

void api_on_sync_test(struct net_http_exchange *x, void *user)
{
    struct node_api *a = user;
    struct api_call *c = begin_it(x, a);
    if (c == NULL)
        return;
    api_job_begin(a);
    node_engine_probe(a->engine, c, probed);
}

static void verified(void *user, int rc, const struct node_verify_report *report, const char *text)
{
    struct node_api *a = user;
    if (!a->stopping)
        api_events_status(a);
    api_job_end(a);
}

/* It may take minutes: the result comes as replica_equal and verified_at of the state. */
void api_on_sync_verify(struct net_http_exchange *x, void *user)
{
    struct node_api *a = user;
    struct api_call *c = begin_it(x, a);
    struct base_err err = {0};
    if (c == NULL)
        return;
    api_job_begin(a);
    int rc = node_engine_verify(a->engine, a, verified, &err);
    if (rc != 0) {
        api_refuse_rc(c, rc, err.text);
        api_finish(c);
        api_job_end(a);
        return;
    }
    base_buf_str(&c->body, "{\"started\":true}");
    c->status = 202;
    api_finish(c);
}
