/*
 * Verify and repair: both sides digest ranges, differing ranges are split at ids of ours until they are small, then fetched and
 * put right. Nothing is wiped; what is pending is left alone.
 *
 *   quiet? ──► digests of up to 64 ranges (theirs) ──► ours, compared in one read job ──► equal: next
 *     ▲             ▲                                          │ large: split  ──► more ranges
 *     │             └──────────────────────────────────────────┘ small: fetch, repair ──► next
 *     └── something moved meanwhile, or rows were mended: another pass. A pass without a difference: equal.
 */
#include "node/engine/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/net/json.h"
#include "sync/seal/seal.h"

enum { VERIFY_LOOK_MS = 200 };

struct theirs {
    struct core_digest digest;
    struct engine_range range;
};

struct engine_verify {
    struct node_engine *e;
    node_verified_cb done;
    void *user;
    uv_timer_t timer;
    struct node_request request;
    char token[NET_TOKEN_BYTES_MAX], path[512];
    struct node_job job;
    struct base_buf body, plain;
    struct engine_range *open; /* still to compare; a stack */
    int open_count;
    struct engine_range fetch[ENGINE_RANGES_PER_REQUEST]; /* to be mended now */
    int fetch_count;
    struct theirs theirs[ENGINE_RANGES_PER_REQUEST];
    int theirs_count;
    int64_t cursor; /* when the pass began */
    int passes;
    bool moved, differed, canceled;
    int64_t mended_now, patience_until;
    struct node_verify_report report;
};

static void pass_begin(struct engine_verify *v);
static void next_request(struct engine_verify *v);
static void next_fetch(struct engine_verify *v);

static struct engine_verify *verify_of(struct node_job *job)
{
    return (struct engine_verify *)((char *)job - offsetof(struct engine_verify, job));
}

static void verify_free(uv_handle_t *handle)
{
    struct engine_verify *v = handle->data;
    struct node_engine *e = v->e;
    base_buf_release(&v->body);
    base_buf_release(&v->plain);
    free(v->open);
    free(v);
    e->verify = NULL;
    engine_done(e);
}

static void verify_end(struct engine_verify *v, int rc, const char *text)
{
    base_log(rc == 0 ? BASE_LOG_INFO : BASE_LOG_WARN, "verified", "%s: %lld rows, %lld mended%s%s",
             v->report.equal ? "equal" : "not equal", (long long)v->report.rows,
             (long long)v->report.mended, text[0] == '\0' ? "" : "; ", text);
    engine_refresh(v->e);
    if (v->done != NULL)
        v->done(v->user, rc, &v->report, text);
    uv_close((uv_handle_t *)&v->timer, verify_free);
}

/* ---- mending ------------------------------------------------------------------------------- */

static int repair_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct engine_verify *v = verify_of(job);
    struct engine_range *r = &v->fetch[v->fetch_count - 1];
    cJSON *o = NULL;
    const char *next = NULL;
    base_buf_clear(&v->plain);
    int rc = seal_decompress(&v->plain, v->request.reply.data, v->request.reply.len, err);
    if (rc != 0)
        return rc;
    const char *end = v->plain.data + v->plain.len;
    const char *line = end - (v->plain.len > 0);
    while (line > v->plain.data && line[-1] != '\n')
        line--;
    rc = net_json_parse(&o, line, (size_t)(end - line), err);
    if (rc == 0 && net_json_str(o, "next", BASE_UUID_CHARS, &next, NULL) != 0)
        next = NULL;
    int64_t mended = 0;
    if (rc == 0)
        rc = node_repair_apply(db, r->from, next == NULL ? r->to : next, v->plain.data,
                               v->plain.len, &mended, err);
    v->mended_now += mended;
    if (rc == 0 && next != NULL) /* more than a page: go on there, that row once more */
        (void)snprintf(r->from, sizeof r->from, "%s", next);
    else if (rc == 0)
        v->fetch_count--;
    cJSON_Delete(o);
    return rc;
}

static void repaired(struct node_job *job)
{
    struct engine_verify *v = verify_of(job);
    base_buf_release(&v->request.reply);
    if (v->canceled ||
        job->rc == BASE_ESTALE) { /* ESTALE: the page is older than what we have by now */
        v->moved = true;
        v->fetch_count = 0;
    } else if (job->rc != 0) {
        verify_end(v, job->rc, job->err.text);
        return;
    }
    next_fetch(v);
}

static bool request_failed(struct engine_verify *v, struct node_request *r)
{
    if (r->rc == 0 && r->status == 200)
        return false;
    char text[BASE_ERR_TEXT_BYTES];
    (void)snprintf(text, sizeof text, "%s",
                   r->rc != 0 ? r->err.text : "the gateway refused to compare");
    base_buf_release(&r->reply);
    verify_end(v, r->rc != 0 ? r->rc : BASE_EPROTO, text);
    return true;
}

static void fetched(struct node_request *r)
{
    struct engine_verify *v = r->owner;
    if (request_failed(v, r))
        return;
    v->job = (struct node_job){.run = repair_run, .done = repaired, .write = true};
    node_store_write(v->e->store, &v->job);
}

static void send_request(struct engine_verify *v, const char *method, const char *path,
                         const struct base_buf *body, void (*done)(struct node_request *r))
{
    struct base_err err = {0};
    if (v->canceled || v->e->stopping || !v->e->session.link_open) {
        verify_end(v, BASE_ECANCELED, "the line was closed");
        return;
    }
    if (engine_token(v->e, v->token, &err) != 0) {
        verify_end(v, BASE_EIO, err.text);
        return;
    }
    v->request = (struct node_request){.method = method,
                                       .path = path,
                                       .token = v->token,
                                       .body = body == NULL ? NULL : body->data,
                                       .body_len = body == NULL ? 0 : body->len,
                                       .content_type = "application/json",
                                       .done = done,
                                       .owner = v};
    node_transport_send(v->e->transport, &v->request);
}

static void next_fetch(struct engine_verify *v)
{
    if (v->fetch_count == 0) {
        next_request(v);
        return;
    }
    const struct engine_range *r = &v->fetch[v->fetch_count - 1];
    (void)snprintf(v->path, sizeof v->path, "/sync/v1/bootstrap?table=%s&limit=%d%s%s%s%s",
                   r->table, ENGINE_FILL_ROWS, r->from[0] == '\0' ? "" : "&from=", r->from,
                   r->to[0] == '\0' ? "" : "&to=", r->to);
    send_request(v, "GET", v->path, NULL, fetched);
}

/* ---- comparing ----------------------------------------------------------------------------- */

static void push_range(struct engine_verify *v, const char *table, const char *from, const char *to)
{
    if (v->open_count == ENGINE_RANGES_MAX) {
        v->moved = true; /* far apart: what is mended in this pass makes the next one smaller */
        return;
    }
    struct engine_range *r = &v->open[v->open_count++];
    (void)snprintf(r->table, sizeof r->table, "%s", table);
    (void)snprintf(r->from, sizeof r->from, "%s", from);
    (void)snprintf(r->to, sizeof r->to, "%s", to);
}

static int split_or_fetch(struct engine_verify *v, struct node_db *db, const struct core_table *t,
                          const struct theirs *theirs, int64_t our_rows, struct base_err *err)
{
    char ids[CORE_DIGEST_SPLIT][BASE_UUID_CHARS + 1];
    const struct engine_range *r = &theirs->range;
    int count = 0;
    int rc = our_rows > CORE_DIGEST_FETCH_ROWS
                 ? node_digest_split(db, t, r->from, r->to, ids, &count, err)
                 : 0;
    if (rc != 0)
        return rc;
    if (count == 0) { /* small here: if the centre has much more, it comes page by page */
        v->fetch[v->fetch_count++] = *r;
        return 0;
    }
    for (int i = 0; i <= count; i++)
        push_range(v, r->table, i == 0 ? r->from : ids[i - 1], i == count ? r->to : ids[i]);
    return 0;
}

static int compare_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct engine_verify *v = verify_of(job);
    struct node_sync_state s;
    int rc = node_sync_state_get(db, &s, err);
    if (rc == 0 && s.cursor != v->cursor) {
        v->moved = true;
        return 0;
    }
    for (int i = 0; rc == 0 && i < v->theirs_count; i++) {
        const struct theirs *theirs = &v->theirs[i];
        const struct core_table *t = core_catalog_table(node_db_catalog(db), theirs->range.table,
                                                        strlen(theirs->range.table));
        struct core_digest ours = {0};
        bool pending = false;
        if (t == NULL)
            continue;
        rc = node_digest(db, t, theirs->range.from, theirs->range.to, &ours, &pending, err);
        if (rc != 0)
            break;
        if (theirs->range.from[0] == '\0' && theirs->range.to[0] == '\0')
            v->report.rows += ours.rows;
        if (ours.hash == theirs->digest.hash && ours.rows == theirs->digest.rows)
            continue;
        if (pending && s.pending > s.quarantined) { /* on its way; what is held stays beneath */
            v->moved = true;
            continue;
        }
        v->differed = true;
        rc = split_or_fetch(v, db, t, theirs, ours.rows, err);
    }
    return rc;
}

static void compared(struct node_job *job)
{
    struct engine_verify *v = verify_of(job);
    if (job->rc != 0) {
        verify_end(v, job->rc, job->err.text);
        return;
    }
    next_fetch(v);
}

static int read_digests(struct engine_verify *v, const struct node_request *r, int64_t *head,
                        struct base_err *err)
{
    cJSON *o = NULL;
    int rc = net_json_parse(&o, r->reply.data == NULL ? "" : r->reply.data, r->reply.len, err);
    if (rc == 0)
        rc = net_json_i64(o, "head", 0, INT64_MAX, head, err);
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(o, "digests");
    if (rc == 0 && cJSON_GetArraySize(list) != v->theirs_count)
        rc = base_fail(err, BASE_EPROTO, "the gateway answered for other ranges than were asked");
    const cJSON *item = rc == 0 ? list->child : NULL;
    for (int i = 0; rc == 0 && i < v->theirs_count; i++, item = item->next) {
        const char *hex = NULL;
        uint8_t bytes[8];
        rc = net_json_i64(item, "rows", 0, INT64_MAX, &v->theirs[i].digest.rows, err);
        if (rc == 0)
            rc = net_json_str(item, "digest", 16, &hex, err);
        if (rc == 0 && !seal_hex_decode(bytes, sizeof bytes, hex, strlen(hex)))
            rc = base_fail(err, BASE_EPROTO, "a digest is not 16 hex digits");
        v->theirs[i].digest.hash = 0;
        for (int k = 0; rc == 0 && k < 8; k++)
            v->theirs[i].digest.hash = v->theirs[i].digest.hash << 8 | bytes[k];
    }
    cJSON_Delete(o);
    return rc;
}

static void digests_came(struct node_request *r)
{
    struct engine_verify *v = r->owner;
    struct base_err err = {0};
    int64_t head = 0;
    if (request_failed(v, r))
        return;
    int rc = read_digests(v, r, &head, &err);
    base_buf_release(&r->reply);
    if (rc != 0) {
        verify_end(v, rc, err.text);
        return;
    }
    if (head != v->cursor) { /* the centre has moved on since the pass began */
        v->moved = true;
        v->open_count = 0;
        next_request(v);
        return;
    }
    v->job = (struct node_job){.run = compare_run, .done = compared};
    node_store_read(v->e->store, &v->job);
}

static void add_bound(struct base_buf *b, const char *name, const char *id)
{
    base_buf_printf(b, ",\"%s\":%s%s%s", name, id[0] == '\0' ? "" : "\"",
                    id[0] == '\0' ? "null" : id, id[0] == '\0' ? "" : "\"");
}

static void pass_end(struct engine_verify *v);

static void next_request(struct engine_verify *v)
{
    if (v->open_count == 0) {
        pass_end(v);
        return;
    }
    base_buf_clear(&v->body);
    base_buf_str(&v->body, "{\"format\":\"everward-verify/1\",\"ranges\":[");
    v->theirs_count = 0;
    while (v->open_count > 0 && v->theirs_count < ENGINE_RANGES_PER_REQUEST) {
        struct engine_range *r = &v->theirs[v->theirs_count].range;
        *r = v->open[--v->open_count];
        base_buf_printf(&v->body, "%s{\"table\":\"%s\"", v->theirs_count++ == 0 ? "" : ",",
                        r->table);
        add_bound(&v->body, "from", r->from);
        add_bound(&v->body, "to", r->to);
        base_buf_char(&v->body, '}');
    }
    base_buf_str(&v->body, "]}");
    send_request(v, "POST", "/sync/v1/verify", &v->body, digests_came);
}

/* ---- passes -------------------------------------------------------------------------------- */

static int verdict_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    char at[BASE_TIME_CHARS + 1];
    base_time_format(base_clock_wall_ms(), at);
    return node_verified(db, verify_of(job)->report.equal, at, err);
}

static void verdict_kept(struct node_job *job)
{
    struct engine_verify *v = verify_of(job);
    if (job->rc != 0)
        verify_end(v, job->rc, job->err.text);
    else
        verify_end(
            v, 0,
            v->report.equal
                ? ""
                : "rows still differ after several passes; is something written all the time?");
}

static void keep_verdict(struct engine_verify *v)
{
    v->job = (struct node_job){.run = verdict_run, .done = verdict_kept, .write = true};
    node_store_write(v->e->store, &v->job);
}

static void on_timer(uv_timer_t *timer)
{
    pass_begin(timer->data);
}

static void pass_end(struct engine_verify *v)
{
    v->report.mended += v->mended_now;
    if (!v->moved && !v->differed)
        v->report.equal = true;
    if (v->report.equal || (!v->moved && ++v->passes >= ENGINE_VERIFY_PASSES_MAX) ||
        base_clock_monotonic_ms() > v->patience_until)
        keep_verdict(v);
    else
        (void)uv_timer_start(&v->timer, on_timer, VERIFY_LOOK_MS, 0);
}

/* Comparable only when nothing of ours waits and the cursor stands at the centre's head. */
static void pass_begin(struct engine_verify *v)
{
    struct node_engine *e = v->e;
    const struct core_catalog *c = node_store_catalog(e->store);
    const struct node_sync_state *s = &e->status.sync;
    if (v->canceled || e->stopping || !e->session.link_open) {
        verify_end(v, BASE_ECANCELED, "the line is closed; `everward link up` opens it");
        return;
    }
    if (c == NULL || !s->filled || !e->session.greeted || s->pending > s->quarantined ||
        s->settled_seq < s->acked_seq || s->cursor < e->status.head) {
        if (base_clock_monotonic_ms() > v->patience_until)
            verify_end(v, BASE_EBUSY,
                       "the node has not come up to date with the centre; see `everward status`");
        else
            (void)uv_timer_start(&v->timer, on_timer, VERIFY_LOOK_MS, 0);
        return;
    }
    v->cursor = s->cursor;
    v->moved = v->differed = false;
    v->mended_now = 0;
    v->open_count = v->fetch_count = 0;
    v->report.rows = v->report.tables = 0;
    for (int i = c->table_count - 1; i >= 0; i--)
        if (!c->tables[i].push_only) {
            push_range(v, c->tables[i].name, "", "");
            v->report.tables++;
        }
    next_request(v);
}

int node_engine_verify(struct node_engine *e, void *user, node_verified_cb done,
                       struct base_err *err)
{
    if (e->verify != NULL || e->stopping)
        return base_fail(err, BASE_EBUSY, "a comparison is under way already");
    struct engine_verify *v = calloc(1, sizeof *v);
    if (v != NULL)
        v->open = calloc(ENGINE_RANGES_MAX, sizeof *v->open);
    if (v == NULL || v->open == NULL) {
        free(v);
        return base_fail(err, BASE_ENOMEM, "out of memory to compare");
    }
    v->e = e;
    v->done = done;
    v->user = user;
    base_buf_init(&v->body, 256 * 1024);
    base_buf_init(&v->plain, ENGINE_PLAIN_BYTES_MAX);
    v->patience_until = base_clock_monotonic_ms() + ENGINE_VERIFY_PATIENCE_MS;
    (void)uv_timer_init(e->loop, &v->timer);
    v->timer.data = v;
    e->verify = v;
    e->under_way++;
    (void)uv_timer_start(&v->timer, on_timer, 1, 0);
    return 0;
}

void node_engine_verify_cancel(struct node_engine *e)
{
    if (e->verify == NULL)
        return;
    e->verify->canceled = true;
    node_transport_cancel(e->transport, &e->verify->request);
    if (e->verify != NULL && !uv_is_closing((uv_handle_t *)&e->verify->timer) &&
        uv_is_active((uv_handle_t *)&e->verify->timer))
        (void)uv_timer_start(&e->verify->timer, on_timer, 0, 0);
}
