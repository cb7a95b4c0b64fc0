#include "node/engine/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/net/json.h"
#include "sync/seal/seal.h"

static const char *const state_names[] = {"current", "syncing", "offline", "attention"};

const char *node_state_name(enum node_state s)
{
    return state_names[s];
}

uint32_t engine_random(void)
{
    uint32_t r;
    seal_random(&r, sizeof r);
    return r;
}

/* ---- tokens and answers -------------------------------------------------------------------- */

static int sign(void *user, const void *msg, size_t len, uint8_t sig[64])
{
    node_keys_sign(user, msg, len, sig);
    return 0;
}

/* Times by the centre's clock as far as we know it: a node whose own clock is wrong still gets in. */
int engine_token(struct node_engine *e, char out[NET_TOKEN_BYTES_MAX], struct base_err *err)
{
    return engine_token_by(e, e->keys, out, err);
}

int engine_token_by(struct node_engine *e, struct node_keys *keys, char out[NET_TOKEN_BYTES_MAX],
                    struct base_err *err)
{
    engine_clock_follow(e);
    int64_t now_ms =
        base_clock_wall_ms() + (e->status.clock_offset_known ? e->status.clock_offset_ms : 0);
    struct net_token t = {.tenant_id = e->identity.tenant_id,
                          .node_id = e->identity.node_id,
                          .issued_s = now_ms / 1000,
                          .expires_s = now_ms / 1000 + NET_TOKEN_LIFE_S};
    struct base_buf b;
    memcpy(t.ticket, e->ticket, sizeof t.ticket);
    (void)snprintf(t.audience, sizeof t.audience, "%s", e->audience);
    base_buf_init(&b, NET_TOKEN_BYTES_MAX - 1);
    int rc = net_token_make(&b, &t, sign, keys, err);
    if (rc == 0)
        memcpy(out, b.data, b.len + 1);
    base_buf_release(&b);
    seal_wipe(&t, sizeof t);
    return rc;
}

static enum core_failure failure_of(const struct node_request *r)
{
    if (r->rc == BASE_EAUTH || r->status == 401 || r->status == 403)
        return CORE_FAILED_REFUSED;
    return r->status == 409 || r->status == 410 ? CORE_FAILED_REGREET : CORE_FAILED_PASSING;
}

static void problem_text(struct node_request *r, char *out, size_t bytes)
{
    cJSON *o = NULL;
    const char *code = "";
    const char *detail = "";
    if (r->reply.data != NULL && net_json_parse(&o, r->reply.data, r->reply.len, NULL) == 0) {
        (void)net_json_str(o, "code", 64, &code, NULL);
        (void)net_json_str(o, "detail", 512, &detail, NULL);
    }
    (void)snprintf(out, bytes, "the gateway answered %ld %s: %s", r->status, code, detail);
    cJSON_Delete(o);
}

/* True: our idea of the centre's clock was wrong, or there was none. */
static bool take_date(struct node_engine *e, const struct node_request *r)
{
    /* to the second only: good enough to get in, hello then measures */
    int64_t offset = r->date_s * 1000 - base_clock_wall_ms();
    engine_clock_follow(e);
    int64_t doubt = offset - e->status.clock_offset_ms;
    if (r->date_s <= 0 || (e->status.clock_offset_known &&
                           llabs(doubt) <= ENGINE_CLOCK_DOUBT_MS + (int64_t)r->took_ms))
        return false;
    e->status.clock_offset_ms = offset;
    e->status.clock_offset_known = true;
    return true;
}

bool engine_reply_failed(struct node_engine *e, struct node_request *r, enum core_lane_name lane)
{
    char text[256];
    int64_t now = base_clock_monotonic_ms();
    bool learned = r->rc == 0 && take_date(e, r);
    if (r->rc == 0 && (r->status == 200 || r->status == 304)) {
        base_time_format(base_clock_wall_ms(), e->status.last_contact_at);
        return false;
    }
    enum core_failure why = failure_of(r);
    if (r->status == 401 && (learned || engine_rotation_pending(e)))
        why = CORE_FAILED_PASSING; /* perhaps our clock: now it is known, try once more */
    if (r->rc != 0)
        (void)snprintf(text, sizeof text, "%.200s", r->err.text);
    else
        problem_text(r, text, sizeof text);
    if (r->rc != BASE_ECANCELED)
        base_log(BASE_LOG_INFO, "sync_failed", "%s lane: %s",
                 lane == CORE_LANE_PULL ? "pull" : "push", text);
    (void)snprintf(e->trouble, sizeof e->trouble, "%s", text);
    if (why == CORE_FAILED_REFUSED)
        (void)snprintf(e->fence, sizeof e->fence,
                       "the centre refuses this node: %.150s. Nothing here is deleted; ask the "
                       "operator of the gateway.",
                       text);
    core_session_on_failed(&e->session, lane, why, now, r->retry_after_s * 1000, engine_random());
    base_buf_release(&r->reply);
    if (lane == CORE_LANE_PUSH && why != CORE_FAILED_PASSING)
        engine_doubt(e);
    return true;
}

void engine_failed(struct node_engine *e, enum core_lane_name lane, int rc, const char *text)
{
    enum core_failure why = rc == BASE_ESTALE    ? CORE_FAILED_STALE
                            : rc == BASE_EPROTO  ? CORE_FAILED_REGREET
                            : rc == BASE_EDENIED ? CORE_FAILED_REFUSED
                                                 : CORE_FAILED_PASSING;
    base_log(BASE_LOG_WARN, "sync_failed", "%s lane: %s", lane == CORE_LANE_PULL ? "pull" : "push",
             text);
    (void)snprintf(e->trouble, sizeof e->trouble, "%.250s", text);
    if (why == CORE_FAILED_REFUSED)
        (void)snprintf(e->fence, sizeof e->fence, "%.250s", text);
    core_session_on_failed(&e->session, lane, why, base_clock_monotonic_ms(), 0, engine_random());
}

void engine_doubt(struct node_engine *e)
{
    core_session_on_doubt(&e->session);
    node_transport_cancel(e->transport, &e->pull_request);
}

void engine_fenced(struct node_engine *e, enum core_lane_name lane, const char *why)
{
    engine_failed(e, lane, BASE_EDENIED, why);
}

/* ---- status -------------------------------------------------------------------------------- */

struct refresh {
    struct node_job job;
    struct node_engine *e;
    struct node_sync_state state;
};

static int refresh_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct refresh *r = (struct refresh *)job;
    return node_sync_state_get(db, &r->state, err);
}

/* The tenant has record numbers, and this node none that it may give. */
static bool numbers_out(const struct node_engine *e)
{
    return e->status.numbers.blocks > 0 && e->status.numbers.left == 0;
}

static enum node_state state_of(const struct node_engine *e)
{
    const struct node_sync_state *s = &e->status.sync;
    if (e->fence[0] != '\0' || s->quarantined > 0 || e->witness[0] != '\0' ||
        e->status.downtime_problem[0] != '\0' || numbers_out(e))
        return NODE_ATTENTION;
    if (!e->session.link_open || !e->session.greeted)
        return NODE_OFFLINE;
    return s->filled && s->pending == 0 && s->cursor >= e->status.head &&
                   e->session.phase == CORE_FOLLOWING
               ? NODE_CURRENT
               : NODE_SYNCING;
}

static void write_reason(struct node_engine *e)
{
    char *out = e->status.reason;
    size_t bytes = sizeof e->status.reason;
    out[0] = '\0';
    if (e->fence[0] != '\0')
        (void)snprintf(out, bytes, "%s", e->fence);
    else if (e->status.sync.quarantined == 0 && e->witness[0] != '\0')
        (void)snprintf(out, bytes, "%s", e->witness);
    else if (e->status.sync.quarantined == 0 && e->status.downtime_problem[0] != '\0')
        (void)snprintf(out, bytes, "%s", e->status.downtime_problem);
    else if (e->status.sync.quarantined == 0 && numbers_out(e))
        (void)snprintf(
            out, bytes,
            "no record numbers are left here: %lld patients wait for one; the next block "
            "comes with the line",
            (long long)e->status.numbers.owed);
    else if (e->status.state == NODE_ATTENTION)
        (void)snprintf(out, bytes, "%lld changes are quarantined; see `everward quarantine list`",
                       (long long)e->status.sync.quarantined);
    else if (e->identity.training)
        (void)snprintf(out, bytes, "%s",
                       "a training node has no line to a centre, and never gets one");
    else if (!e->session.link_open)
        (void)snprintf(out, bytes, "the line was closed by hand; `everward link up` opens it");
    else if (e->status.state == NODE_OFFLINE)
        (void)snprintf(out, bytes, "%s",
                       e->trouble[0] != '\0' ? e->trouble : "the centre has not been reached yet");
}

static enum core_clock clock_of(const struct node_engine *e)
{
    int64_t offset = e->status.clock_offset_ms;
    if (!e->status.clock_offset_known || e->clock_measured_ms == 0 ||
        base_clock_monotonic_ms() - e->clock_measured_ms > ENGINE_CLOCK_FRESH_MS)
        return CORE_CLOCK_UNSURE;
    return offset > ENGINE_CLOCK_OK_MS || offset < -ENGINE_CLOCK_OK_MS ? CORE_CLOCK_WRONG
                                                                       : CORE_CLOCK_OK;
}

static void update_status(struct node_engine *e)
{
    enum node_state before = e->status.state;
    engine_clock_follow(e);
    e->status.link_open = e->session.link_open;
    e->status.fenced = e->fence[0] != '\0';
    e->status.online = e->session.link_open && e->session.greeted;
    e->status.state = state_of(e);
    e->status.clock = clock_of(e);
    write_reason(e);
    if (before != e->status.state || e->status.since[0] == '\0') {
        base_time_format(base_clock_wall_ms(), e->status.since);
        bool usual =
            before <= NODE_SYNCING && e->status.state <= NODE_SYNCING; /* with every write */
        base_log(usual ? BASE_LOG_DEBUG : BASE_LOG_INFO, "state", "%s%s%s",
                 node_state_name(e->status.state), e->status.reason[0] == '\0' ? "" : ": ",
                 e->status.reason);
    }
    for (int i = 0; i < e->on_status_count; i++)
        e->on_status[i](e->on_status_user[i]);
}

void node_engine_downtime(struct node_engine *e, const char *refreshed_at, const char *problem)
{
    if (e->stopping)
        return;
    e->status.downtime = true;
    (void)snprintf(e->status.downtime_at, sizeof e->status.downtime_at, "%s", refreshed_at);
    (void)snprintf(e->status.downtime_problem, sizeof e->status.downtime_problem, "%s", problem);
    update_status(e);
}

static void refresh_done(struct node_job *job)
{
    struct refresh *r = (struct refresh *)job;
    struct node_engine *e = r->e;
    if (job->rc == 0)
        e->status.sync = r->state;
    free(r);
    e->refreshing = false;
    if (!e->session.outbox && e->status.sync.last_seq > e->status.sync.acked_seq &&
        e->status.sync.last_seq > e->pushed_seq)
        core_session_on_local(&e->session,
                              base_clock_monotonic_ms()); /* written by whatever way: it goes out */
    update_status(e);
    engine_done(e);
}

void engine_refresh(struct node_engine *e)
{
    int64_t now = base_clock_monotonic_ms();
    e->refresh_again = true;
    if (e->refreshing || e->stopping || now - e->refreshed_ms < ENGINE_REFRESH_MS)
        return;
    struct refresh *r = calloc(1, sizeof *r);
    if (r == NULL)
        return;
    e->refresh_again = false;
    e->refreshed_ms = now;
    r->job = (struct node_job){.run = refresh_run, .done = refresh_done};
    r->e = e;
    e->refreshing = true;
    e->under_way++;
    node_store_read(e->store, &r->job);
}

/* ---- deciding ------------------------------------------------------------------------------ */

static void start(struct node_engine *e, enum core_do what)
{
    e->under_way++;
    switch (what) {
    case CORE_DO_HELLO:
        engine_hello(e);
        break;
    case CORE_DO_CATALOG:
        engine_catalog(e);
        break;
    case CORE_DO_FILL:
        engine_fill(e);
        break;
    case CORE_DO_FEED:
        engine_feed(e);
        break;
    case CORE_DO_PUSH:
        engine_push(e);
        break;
    case CORE_DO_WAIT:
        break;
    }
}

static void on_tick(uv_timer_t *timer);

void engine_decide(struct node_engine *e)
{
    int64_t until = -1;
    enum core_do what;
    if (e->stopping)
        return;
    if (e->identity.training) { /* whatever the session says: nothing begins a conversation */
        if (e->refresh_again)
            engine_refresh(e);
        (void)uv_timer_start(&e->tick, on_tick,
                             e->refresh_again ? ENGINE_REFRESH_MS : ENGINE_TICK_MS, 0);
        return;
    }
    while ((what = core_session_next(&e->session, base_clock_monotonic_ms(), &until)) !=
           CORE_DO_WAIT)
        start(e, what);
    engine_audit_tick(e);
    engine_escrow_tick(e);
    engine_rotation_tick(e);
    engine_numbers_tick(e);
    engine_report_tick(e);
    engine_prune_tick(e);
    if (e->refresh_again)
        engine_refresh(e);
    int64_t now = base_clock_monotonic_ms();
    int64_t wait = until < 0 ? ENGINE_TICK_MS : until - now;
    if (e->refresh_again && !e->refreshing && wait > e->refreshed_ms + ENGINE_REFRESH_MS - now)
        wait = e->refreshed_ms + ENGINE_REFRESH_MS - now;
    if (wait < 1)
        wait = 1;
    if (wait > ENGINE_TICK_MS)
        wait = ENGINE_TICK_MS;
    (void)uv_timer_start(&e->tick, on_tick, (uint64_t)wait, 0);
}

static void free_when_closed(uv_handle_t *handle)
{
    struct node_engine *e = handle->data;
    void (*stopped)(void *) = e->stopped;
    void *user = e->stopped_user;
    engine_audit_close(e);
    engine_escrow_close(e);
    engine_rotation_close(e);
    engine_numbers_close(e);
    engine_report_close(e);
    engine_prune_close(e);
    seal_wipe(e->ticket, sizeof e->ticket);
    for (int i = 0; i < 2; i++)
        base_buf_release(&e->batch[i].body);
    base_buf_release(&e->pull_body);
    base_buf_release(&e->pull_plain);
    free(e);
    stopped(user);
}

static void transport_closed(void *user)
{
    struct node_engine *e = user;
    uv_close((uv_handle_t *)&e->tick, free_when_closed);
}

/* One thing less under way; the next is decided. After the last one of a stop, the rest is closed. */
void engine_done(struct node_engine *e)
{
    e->under_way--;
    if (!e->stopping)
        engine_decide(e);
    else if (e->under_way == 0)
        node_transport_close(e->transport, transport_closed, e);
}

static void on_tick(uv_timer_t *timer)
{
    struct node_engine *e = timer->data;
    int64_t now = base_clock_monotonic_ms();
    if (core_session_stuck(&e->session, now)) {
        base_log(BASE_LOG_ERROR, "stuck",
                 "connected, changes wait, nothing taken for %d s: the session begins anew",
                 CORE_SESSION_STUCK_MS / 1000);
        node_transport_cancel_all(e->transport);
        engine_push_reset(e);
    }
    if (e->status.sync.surplus && now >= e->surplus_at_ms && e->status.state == NODE_CURRENT) {
        e->surplus_at_ms = now + ENGINE_SURPLUS_MS;
        (void)node_engine_verify(e, NULL, NULL, NULL);
    }
    if (e->verify_every_ms > 0 && now >= e->verify_at_ms && e->status.state == NODE_CURRENT) {
        e->verify_at_ms = now + e->verify_every_ms;
        (void)node_engine_verify(e, NULL, NULL, NULL);
    }
    engine_decide(e);
}

static void on_moved(void *user, const struct node_moved *moved, int count, int64_t event_seq_last)
{
    struct node_engine *e = user;
    for (int i = 0; i < count; i++)
        if (moved[i].local) {
            core_session_on_local(&e->session, base_clock_monotonic_ms());
            engine_refresh(e);
            engine_decide(e);
            return;
        }
}

/* ---- lifecycle ----------------------------------------------------------------------------- */

struct begin {
    struct node_job job;
    struct node_engine *e;
    struct node_sync_state state;
    bool link_closed;
};

static int begin_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct begin *b = (struct begin *)job;
    struct base_buf value;
    base_buf_init(&value, 64);
    int rc = node_sync_state_get(db, &b->state, err);
    if (rc == 0)
        rc = node_meta_get(db, "link", &value, err);
    b->link_closed = value.data != NULL && strcmp(value.data, "closed") == 0;
    base_buf_release(&value);
    return rc;
}

static void begin_done(struct node_job *job)
{
    struct begin *b = (struct begin *)job;
    struct node_engine *e = b->e;
    int64_t now = base_clock_monotonic_ms();
    if (job->rc != 0)
        base_log(BASE_LOG_ERROR, "engine", "the store's state cannot be read: %s", job->err.text);
    e->status.sync = b->state;
    e->pushed_seq = b->state.acked_seq;
    core_session_init(&e->session, now, !b->link_closed && !e->identity.training, b->state.filled,
                      b->state.catalog_version);
    free(b);
    update_status(e);
    engine_done(e);
}

int node_engine_start(struct node_engine **out, uv_loop_t *loop, struct node_store *store,
                      const struct node_engine_config *config, struct base_err *err)
{
    struct node_engine *e = calloc(1, sizeof *e);
    struct begin *b = calloc(1, sizeof *b);
    if (e == NULL || b == NULL) {
        free(e);
        free(b);
        return base_fail(err, BASE_ENOMEM, "out of memory for the engine");
    }
    int rc = engine_audit_open(e, err);
    if (rc == 0)
        rc = engine_escrow_open(e, err);
    if (rc == 0)
        rc = engine_rotation_open(e, err);
    if (rc == 0)
        rc = engine_numbers_open(e, err);
    if (rc == 0)
        rc = engine_report_open(e, err);
    if (rc == 0)
        rc = engine_prune_open(e, config->keep_days, config->audit_keep_days, err);
    if (rc == 0)
        rc = node_transport_open(&e->transport, loop,
                                 node_store_identity(store)->training ? "" : config->gateway_url,
                                 config->gateway_ca_path, err);
    if (rc != 0) {
        engine_audit_close(e);
        engine_escrow_close(e);
        engine_rotation_close(e);
        engine_numbers_close(e);
        engine_report_close(e);
        engine_prune_close(e);
        free(e);
        free(b);
        return rc;
    }
    e->loop = loop;
    e->store = store;
    e->keys = config->keys;
    e->wipe = config->wipe;
    e->wiped = config->wiped;
    e->wipe_user = config->wipe_user;
    e->rotated = config->rotated;
    e->rotated_user = config->rotated_user;
    e->identity = *node_store_identity(store);
    memcpy(e->ticket, config->ticket, sizeof e->ticket);
    (void)snprintf(e->audience, sizeof e->audience, "%s", config->audience);
    (void)snprintf(e->state_dir, sizeof e->state_dir, "%s", config->state_dir);
    e->put_back = config->incarnation > e->identity.incarnation;
    e->verify_every_ms = config->verify_every_s * 1000;
    e->verify_at_ms = base_clock_monotonic_ms() + e->verify_every_ms;
    e->status.head = -1;
    e->status.clock = CORE_CLOCK_UNSURE;
    base_buf_init(&e->pull_body, 64 * 1024);
    base_buf_init(&e->pull_plain, ENGINE_PLAIN_BYTES_MAX);
    for (int i = 0; i < 2; i++)
        base_buf_init(&e->batch[i].body, ENGINE_PUSH_BYTES_MAX * 2);
    (void)uv_timer_init(loop, &e->tick);
    e->tick.data = e;
    node_store_on_moved(store, on_moved, e);
    b->job = (struct node_job){.run = begin_run, .done = begin_done};
    b->e = e;
    e->under_way = 1;
    node_store_read(store, &b->job);
    *out = e;
    return 0;
}

void node_engine_stop(struct node_engine *e, void (*stopped)(void *user), void *user)
{
    e->stopping = true;
    e->stopped = stopped;
    e->stopped_user = user;
    (void)uv_timer_stop(&e->tick);
    node_engine_verify_cancel(e);
    e->under_way++;
    node_transport_cancel_all(e->transport);
    engine_done(e);
}

void node_engine_status(const struct node_engine *e, struct node_engine_status *out)
{
    *out = e->status;
}

void node_engine_kick(struct node_engine *e)
{
    core_session_on_local(&e->session, base_clock_monotonic_ms());
    core_session_on_kick(&e->session);
    engine_refresh(e);
    engine_decide(e);
}

struct link_job {
    struct node_job job;
    struct node_engine *e;
    bool open;
    void *user;
    void (*kept)(void *user, int rc);
};

static int link_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    return node_meta_set(db, "link", ((struct link_job *)job)->open ? "open" : "closed", err);
}

static void link_done(struct node_job *job)
{
    struct link_job *l = (struct link_job *)job;
    struct node_engine *e = l->e;
    if (job->rc != 0)
        base_log(BASE_LOG_ERROR, "link", "the position of the line could not be kept: %s",
                 job->err.text);
    if (l->kept != NULL)
        l->kept(l->user, job->rc);
    free(l);
    engine_done(e);
}

void node_engine_link(struct node_engine *e, bool open, void *user,
                      void (*kept)(void *user, int rc))
{
    if (e->identity.training) { /* closed it is; the control socket says why it stays so */
        if (kept != NULL)
            kept(user, open ? BASE_EDENIED : 0);
        return;
    }
    if (open ==
        e->session.link_open) { /* nothing to change; who opens it again wants it tried now */
        if (open)
            node_engine_kick(e);
        if (kept != NULL)
            kept(user, 0);
        return;
    }
    struct link_job *l = calloc(1, sizeof *l);
    core_session_on_link(&e->session, base_clock_monotonic_ms(), open);
    if (!open)
        node_transport_cancel_all(e->transport);
    e->fence[0] = e->trouble[0] = '\0';
    if (l != NULL) {
        l->job = (struct node_job){.run = link_run, .done = link_done, .write = true};
        l->e = e;
        l->open = open;
        l->user = user;
        l->kept = kept;
        e->under_way++;
        node_store_write(e->store, &l->job);
    } else if (kept != NULL) {
        kept(user, BASE_ENOMEM);
    }
    base_log(BASE_LOG_INFO, "link", "%s by hand", open ? "opened" : "closed");
    update_status(e);
    engine_decide(e);
}

void node_engine_on_status(struct node_engine *e, void (*cb)(void *user), void *user)
{
    BASE_ASSERT(e->on_status_count < 4);
    e->on_status[e->on_status_count] = cb;
    e->on_status_user[e->on_status_count++] = user;
}
