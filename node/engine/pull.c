/*
 * The catalog and the feed: what others wrote comes in.
 */
#include "node/engine/internal.h"

#include <stdio.h>
#include <string.h>

#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/seal/seal.h"

static struct node_engine *engine_of(struct node_job *job)
{
    return (struct node_engine *)((char *)job - offsetof(struct node_engine, pull_job));
}

/* Sends a GET on the pull lane. */
static void get(struct node_engine *e, void (*done)(struct node_request *r), int64_t timeout_ms)
{
    struct base_err err = {0};
    if (engine_token(e, e->pull_token, &err) != 0) {
        engine_failed(e, CORE_LANE_PULL, BASE_EIO, err.text);
        engine_done(e);
        return;
    }
    e->pull_request = (struct node_request){.method = "GET",
                                            .path = e->pull_path,
                                            .token = e->pull_token,
                                            .timeout_ms = timeout_ms,
                                            .done = done,
                                            .owner = e};
    node_transport_send(e->transport, &e->pull_request);
}

/* ---- catalog ------------------------------------------------------------------------------- */

static int catalog_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct node_engine *e = engine_of(job);
    int rc = node_catalog_apply(db, e->pull_request.reply.data, e->pull_request.reply.len, err);
    return rc == 0 ? node_sync_state_get(db, &e->pull_state, err) : rc;
}

static void catalog_applied(struct node_job *job)
{
    struct node_engine *e = engine_of(job);
    base_buf_release(&e->pull_request.reply);
    if (job->rc != 0) {
        engine_failed(e, CORE_LANE_PULL, BASE_EIO, job->err.text);
    } else {
        e->status.sync = e->pull_state;
        base_log(BASE_LOG_INFO, "catalog", "version %lld",
                 (long long)e->status.sync.catalog_version);
        /* a new table or column may have something to fetch: the fill looks, and finds that at once if not */
        core_session_on_catalog(&e->session, e->status.sync.catalog_version, false);
    }
    engine_refresh(e);
    engine_done(e);
}

static void catalog_came(struct node_request *r)
{
    struct node_engine *e = r->owner;
    if (engine_reply_failed(e, r, CORE_LANE_PULL)) {
        engine_refresh(e);
        engine_done(e);
        return;
    }
    e->pull_job = (struct node_job){.run = catalog_run, .done = catalog_applied, .write = true};
    node_store_write(e->store, &e->pull_job);
}

void engine_catalog(struct node_engine *e)
{
    (void)snprintf(e->pull_path, sizeof e->pull_path, "/sync/v1/catalog");
    get(e, catalog_came, 0);
}

/* ---- feed ---------------------------------------------------------------------------------- */

static int feed_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct node_engine *e = engine_of(job);
    base_buf_clear(&e->pull_plain);
    int64_t began = base_clock_monotonic_ms();
    int rc =
        seal_decompress(&e->pull_plain, e->pull_request.reply.data, e->pull_request.reply.len, err);
    if (rc == 0)
        rc = node_feed_apply(db, e->pull_plain.data, e->pull_plain.len, &e->feed_result, err);
    if (rc == 0 && e->feed_result.changes > 0)
        base_log(BASE_LOG_DEBUG, "pulled",
                 "%lld changes, %zu bytes, fetched in %lld ms, applied in %lld ms",
                 (long long)e->feed_result.changes, e->pull_plain.len,
                 (long long)e->pull_request.took_ms,
                 (long long)(base_clock_monotonic_ms() - began));
    return rc;
}

static void feed_applied(struct node_job *job)
{
    struct node_engine *e = engine_of(job);
    base_buf_release(&e->pull_request.reply);
    base_buf_release(&e->pull_plain);
    base_buf_init(&e->pull_plain, ENGINE_PLAIN_BYTES_MAX);
    if (job->rc != 0) {
        engine_failed(e, CORE_LANE_PULL, job->rc, job->err.text);
    } else {
        e->status.sync.cursor = e->feed_result.cursor;
        e->status.head = e->feed_result.head > e->feed_result.cursor ? e->feed_result.head
                                                                     : e->feed_result.cursor;
        core_session_on_feed(&e->session, e->feed_result.catalog);
    }
    engine_refresh(e);
    engine_done(e);
}

static void feed_came(struct node_request *r)
{
    struct node_engine *e = r->owner;
    if (engine_reply_failed(e, r, CORE_LANE_PULL)) {
        engine_refresh(e);
        engine_done(e);
        return;
    }
    e->pull_job = (struct node_job){.run = feed_run, .done = feed_applied, .write = true};
    node_store_write(e->store, &e->pull_job);
}

void engine_feed(struct node_engine *e)
{
    (void)snprintf(e->pull_path, sizeof e->pull_path, "/sync/v1/feed?after=%lld&wait=%d",
                   (long long)e->status.sync.cursor, NODE_TRANSPORT_POLL_S);
    get(e, feed_came, (NODE_TRANSPORT_POLL_S + 30) * 1000);
}
