/*
 * How this node is, told to the centre for the fleet page: what waits, what is quarantined, clock and disk. At each greeting,
 * once a minute, and soon after it turns to need attention. Nothing depends on it: an answer that does not come is not missed,
 * and a gateway that does not know the route is asked again with the next greeting.
 * No times, only ages, and no words: those of a problem may name what a ward wrote.
 */
#include "node/engine/internal.h"

#include <stdlib.h>
#include <sys/statvfs.h>

#include "sync/base/clock.h"
#include "sync/seal/seal.h"

enum { REPORT_EVERY_MS = 60 * 1000, REPORT_SOON_MS = 5 * 1000, REPORT_BODY_BYTES_MAX = 512 };

struct engine_report {
    struct node_engine *e;
    struct node_request request;
    char token[NET_TOKEN_BYTES_MAX];
    struct base_buf body;
    bool busy, unknown; /* unknown: to the gateway */
    bool attention;     /* as told last */
    int64_t told_ms;
};

static void add(struct base_buf *b, const char *name, bool known, int64_t n)
{
    if (known)
        base_buf_printf(b, ",\"%s\":%lld", name, (long long)n);
    else
        base_buf_printf(b, ",\"%s\":null", name);
}

static int64_t oldest_s(const struct node_engine *e)
{
    int64_t at = 0;
    bool known = base_time_parse(e->status.sync.oldest_pending_at, &at);
    int64_t age_ms = base_clock_wall_ms() - at;
    return !known ? -1 : age_ms < 0 ? 0 : age_ms / 1000;
}

static void write_body(struct engine_report *r)
{
    const struct node_engine_status *s = &r->e->status;
    struct base_buf *b = &r->body;
    struct statvfs disk;
    bool has_disk = statvfs(r->e->state_dir, &disk) == 0;
    base_buf_clear(b);
    base_buf_printf(b, "{\"format\":\"everward-report/1\",\"attention\":%s",
                    r->attention ? "true" : "false");
    add(b, "pending", true, s->sync.pending);
    add(b, "oldest_pending_s", oldest_s(r->e) >= 0, oldest_s(r->e));
    add(b, "quarantined", true, s->sync.quarantined);
    add(b, "clock_offset_ms", s->clock_offset_known, s->clock_offset_ms);
    add(b, "disk_bytes", has_disk, has_disk ? (int64_t)disk.f_blocks * (int64_t)disk.f_frsize : 0);
    add(b, "disk_free_bytes", has_disk,
        has_disk ? (int64_t)disk.f_bavail * (int64_t)disk.f_frsize : 0);
    base_buf_char(b, '}');
}

static void answered(struct node_request *request)
{
    struct engine_report *r = request->owner;
    r->unknown = request->rc == 0 && request->status == 404;
    r->busy = false;
    base_buf_release(&request->reply);
    engine_done(r->e);
}

void engine_report_tick(struct node_engine *e)
{
    struct engine_report *r = e->report;
    struct base_err err = {0};
    bool attention = e->status.state == NODE_ATTENTION;
    bool changed = attention != r->attention;
    int64_t since = base_clock_monotonic_ms() - r->told_ms;
    if (r->busy || r->unknown || e->stopping || !e->session.link_open || !e->session.greeted ||
        since < (changed ? REPORT_SOON_MS : REPORT_EVERY_MS))
        return;
    r->attention = attention;
    r->told_ms = base_clock_monotonic_ms();
    write_body(r);
    if (base_buf_check(&r->body) != 0 || engine_token(e, r->token, &err) != 0)
        return;
    r->busy = true;
    e->under_way++;
    r->request = (struct node_request){.method = "POST",
                                       .path = "/sync/v1/report",
                                       .token = r->token,
                                       .body = r->body.data,
                                       .body_len = r->body.len,
                                       .content_type = "application/json",
                                       .done = answered,
                                       .owner = r};
    node_transport_send(e->transport, &r->request);
}

void engine_report_greeted(struct node_engine *e)
{
    e->report->told_ms = base_clock_monotonic_ms() - REPORT_EVERY_MS;
    e->report->unknown = false;
}

int engine_report_open(struct node_engine *e, struct base_err *err)
{
    struct engine_report *r = calloc(1, sizeof *r);
    if (r == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for the node's report");
    r->e = e;
    base_buf_init(&r->body, REPORT_BODY_BYTES_MAX);
    e->report = r;
    return 0;
}

void engine_report_close(struct node_engine *e)
{
    if (e->report == NULL)
        return;
    base_buf_release(&e->report->body);
    seal_wipe(e->report->token, sizeof e->report->token);
    free(e->report);
    e->report = NULL;
}
