/*
 * A node that was put back from a backup (or whose operator says so) finds where its log and what the centre holds of it
 * part, and begins its next life there:
 *
 *   POST lineage ──► write job: compare links with our chain, settle what is common ──► … more? ──► POST rejoin
 *   ──► write job: the next incarnation, behind the last common change ──► hello
 *
 * Dying anywhere: the mark stands until the last job; a life that the centre has begun and we have not is skipped.
 */
#include "node/engine/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/base/log.h"
#include "sync/net/json.h"
#include "sync/seal/seal.h"

enum { LIFE_RECEIPTS_MAX = 64, LINK_BYTES = 8, LINKS_TEXT_MAX = 2 * LINK_BYTES * 5000 };

static struct node_engine *engine_of(struct node_job *job)
{
    return (struct node_engine *)((char *)job - offsetof(struct node_engine, pull_job));
}

static void end(struct node_engine *e, int rc, const char *text)
{
    engine_failed(e, CORE_LANE_PULL, rc, text);
    engine_refresh(e);
    engine_done(e);
}

static void ask(struct node_engine *e, const char *path, void (*done)(struct node_request *r))
{
    struct base_err err = {0};
    int rc = base_buf_check(&e->pull_body);
    if (rc == 0)
        rc = engine_token(e, e->pull_token, &err);
    if (rc != 0 || e->stopping) {
        end(e, BASE_EIO, rc != 0 ? err.text : "stopping");
        return;
    }
    e->pull_request = (struct node_request){.method = "POST",
                                            .path = path,
                                            .token = e->pull_token,
                                            .body = e->pull_body.data,
                                            .body_len = e->pull_body.len,
                                            .content_type = "application/json",
                                            .done = done,
                                            .owner = e};
    node_transport_send(e->transport, &e->pull_request);
}

/* ---- the next life ------------------------------------------------------------------------- */

static int begin_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct node_engine *e = engine_of(job);
    int rc = node_rejoin(db, e->life_next, e->life_common, err);
    return rc == 0 ? node_sync_state_get(db, &e->pull_state, err) : rc;
}

static void begun(struct node_job *job)
{
    struct node_engine *e = engine_of(job);
    if (job->rc != 0) {
        end(e, job->rc, job->err.text);
        return;
    }
    char detail[96];
    (void)snprintf(detail, sizeof detail, "incarnation %lld behind change %lld",
                   (long long)e->life_next, (long long)e->life_common);
    base_log(BASE_LOG_WARN, "rejoined", "%s", detail);
    node_engine_audit(e, "rejoin", "ok", detail);
    e->status.sync = e->pull_state; /* the next push begins behind it */
    engine_push_reset(e);
    e->put_back = false;
    e->fence[0] = '\0';
    engine_hello(e);
}

static void rejoined(struct node_request *r)
{
    struct node_engine *e = r->owner;
    if (engine_reply_failed(e, r, CORE_LANE_PULL)) {
        engine_refresh(e);
        engine_done(e);
        return;
    }
    base_buf_release(&r->reply);
    e->pull_job = (struct node_job){.run = begin_run, .done = begun, .write = true};
    node_store_write(e->store, &e->pull_job);
}

static void ask_rejoin(struct node_engine *e)
{
    struct base_buf *b = &e->pull_body;
    base_buf_clear(b);
    base_buf_printf(b,
                    "{\"format\":\"everward-rejoin/1\",\"inc\":%lld,\"after\":%lld,\"next\":%lld,"
                    "\"link\":\"",
                    (long long)e->life_inc, (long long)e->life_common, (long long)e->life_next);
    base_buf_hex(b, e->life_link, LINK_BYTES);
    base_buf_str(b, "\"}");
    ask(e, "/sync/v1/rejoin", rejoined);
}

/* ---- where the logs part ------------------------------------------------------------------- */

/* How far our chain and the links of this receipt are the same; *all: to its end. */
static int compare(struct node_db *db, const cJSON *receipt, struct core_position *common,
                   bool *all, struct base_err *err)
{
    const char *links = NULL;
    const char *chain = NULL;
    int64_t first = 0;
    int64_t last = 0;
    int rc = net_json_i64(receipt, "first", 1, INT64_MAX, &first, err);
    if (rc == 0)
        rc = net_json_i64(receipt, "last", first, first + 4999, &last, err);
    if (rc == 0)
        rc = net_json_str(receipt, "chain", 2 * SEAL_HASH_BYTES, &chain, err);
    if (rc != 0)
        return rc;
    if (net_json_str(receipt, "links", LINKS_TEXT_MAX, &links, NULL) != 0 ||
        strlen(links) != (size_t)(last - first + 1) * 2 * LINK_BYTES)
        links = NULL; /* of a gateway that kept none: only the end of the receipt can be compared */
    *all = true;
    for (int64_t seq = links == NULL ? last : first; seq <= last && *all; seq++) {
        uint8_t link[LINK_BYTES];
        struct core_position ours;
        const char *text = links == NULL ? chain : links + (seq - first) * 2 * LINK_BYTES;
        if (seq <= common->seq)
            continue;
        if (!seal_hex_decode(link, sizeof link, text, 2 * sizeof link))
            return base_fail(err, BASE_EPROTO, "the lineage's links are not hex");
        *all = node_outbox_position(db, seq, &ours, NULL) == 0 &&
               memcmp(ours.chain, link, sizeof link) == 0;
        if (*all)
            *common = ours;
    }
    return 0;
}

/* What the centre says of the changes that are common counts, and no more. */
static int settle(struct node_db *db, const cJSON *receipt, const struct core_position *common,
                  struct base_err *err)
{
    struct engine_receipt r = {0};
    int rc = engine_outcomes_read(&r, cJSON_GetObjectItemCaseSensitive(receipt, "outcomes"), err);
    int n = 0;
    for (int i = 0; rc == 0 && i < r.count; i++)
        if (r.outcomes[i].seq <= common->seq)
            r.outcomes[n++] = r.outcomes[i];
    if (rc == 0)
        rc = node_receipt_apply(db, common, r.outcomes, n, err);
    engine_receipt_release(&r, NULL);
    return rc;
}

static int lineage_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct node_engine *e = engine_of(job);
    const cJSON *o = e->receipt_root;
    const cJSON *receipts = cJSON_GetObjectItemCaseSensitive(o, "receipts");
    struct core_position common = {0};
    int64_t present = 0;
    bool more = false;
    bool all = true;
    int rc = net_json_i64(o, "incarnation", 1, INT64_MAX, &present, err);
    if (rc == 0)
        rc = net_json_bool(o, "more", &more, err);
    if (rc == 0 && (!cJSON_IsArray(receipts) || cJSON_GetArraySize(receipts) > LIFE_RECEIPTS_MAX))
        rc = base_fail(err, BASE_EPROTO, "the lineage's receipts are not a list");
    if (rc == 0)
        rc = node_outbox_position(db, e->life_common, &common, err);
    const cJSON *receipt = NULL;
    cJSON_ArrayForEach(receipt, receipts)
    {
        int64_t before = common.seq;
        if (rc == 0 && all)
            rc = compare(db, receipt, &common, &all, err);
        if (rc == 0 && common.seq > before)
            rc = settle(db, receipt, &common, err);
    }
    e->life_more = more && all;
    e->life_common = common.seq;
    memcpy(e->life_link, common.chain, LINK_BYTES);
    e->life_next = (present > e->life_inc ? present : e->life_inc) + 1;
    return rc;
}

static void compared(struct node_job *job)
{
    struct node_engine *e = engine_of(job);
    engine_receipt_release(&e->receipt, e->receipt_root);
    e->receipt_root = NULL;
    if (job->rc != 0)
        end(e, job->rc, job->err.text);
    else if (e->life_more)
        engine_rejoin(e);
    else
        ask_rejoin(e);
}

static void lineage_came(struct node_request *r)
{
    struct node_engine *e = r->owner;
    struct base_err err = {0};
    cJSON *o = NULL;
    if (engine_reply_failed(e, r, CORE_LANE_PULL)) {
        engine_refresh(e);
        engine_done(e);
        return;
    }
    int rc = net_json_parse(&o, r->reply.data == NULL ? "" : r->reply.data, r->reply.len, &err);
    base_buf_release(&r->reply);
    if (rc != 0) {
        end(e, BASE_EIO, err.text);
        return;
    }
    e->receipt_root = o;
    e->pull_job = (struct node_job){.run = lineage_run, .done = compared, .write = true};
    node_store_write(e->store, &e->pull_job);
}

void engine_rejoin(struct node_engine *e)
{
    struct base_buf *b = &e->pull_body;
    base_buf_clear(b);
    base_buf_printf(b, "{\"format\":\"everward-lineage/1\",\"inc\":%lld,\"after\":%lld}",
                    (long long)e->life_inc, (long long)e->life_common);
    ask(e, "/sync/v1/lineage", lineage_came);
}
