/*
 * Greeting: tells the centre where we stand, learns where it stands, settles receipts whose replies were lost, sees fences.
 *
 *   read our position ──► POST hello ──► in one write job: compare the receipt's chain with ours there, apply it
 */
#include "node/engine/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/net/json.h"
#include "sync/seal/seal.h"

static int outcome_read(struct node_outcome *out, const cJSON *o, struct base_err *err)
{
    const char *word = NULL;
    *out = (struct node_outcome){0};
    int rc = net_json_i64(o, "seq", 1, INT64_MAX, &out->seq, err);
    if (rc == 0)
        rc = net_json_str(o, "outcome", 32, &word, err);
    if (rc == 0 && !core_outcome_parse(&out->outcome, word))
        rc = base_fail(err, BASE_EPROTO, "the receipt holds an unknown outcome");
    if (rc == 0 && out->outcome == CORE_QUARANTINED) {
        (void)net_json_str(o, "sqlstate", 16, &out->sqlstate, NULL);
        (void)net_json_str(o, "constraint", 256, &out->constraint, NULL);
        (void)net_json_str(o, "reason", 1024, &out->reason, NULL);
    }
    return rc;
}

int engine_outcomes_read(struct engine_receipt *out, const cJSON *list, struct base_err *err)
{
    int n = cJSON_GetArraySize(list);
    if (!cJSON_IsArray(list) || n > ENGINE_OUTCOMES_MAX)
        return base_fail(err, BASE_EPROTO, "the receipt's outcomes are not a list of at most %d",
                         ENGINE_OUTCOMES_MAX);
    out->outcomes = calloc((size_t)n + 1, sizeof *out->outcomes);
    if (out->outcomes == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for a receipt");
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        int rc = outcome_read(&out->outcomes[out->count], item, err);
        if (rc != 0)
            return rc;
        out->count++;
    }
    return 0;
}

int engine_receipt_read(struct engine_receipt *out, const char *json, size_t len,
                        const char *member, void **root, struct base_err *err)
{
    struct engine_receipt r = {0};
    const char *chain = NULL;
    cJSON *o = NULL;
    int rc = net_json_parse(&o, json, len, err);
    const cJSON *receipt = member == NULL ? o : cJSON_GetObjectItemCaseSensitive(o, member);
    if (rc == 0)
        rc = net_json_i64(receipt, "inc", 1, INT64_MAX, &r.incarnation, err);
    if (rc == 0)
        rc = net_json_i64(receipt, "last_seq", 0, INT64_MAX, &r.position.seq, err);
    if (rc == 0)
        rc = net_json_str(receipt, "chain", 64, &chain, err);
    if (rc == 0 &&
        !seal_hex_decode(r.position.chain, sizeof r.position.chain, chain, strlen(chain)))
        rc = base_fail(err, BASE_EPROTO, "the receipt's chain is not hex");
    if (rc == 0)
        rc = engine_outcomes_read(&r, cJSON_GetObjectItemCaseSensitive(o, "outcomes"), err);
    if (rc != 0) {
        engine_receipt_release(&r, o);
        return base_err_prefix(err, rc, "the gateway's answer");
    }
    *out = r;
    *root = o;
    return 0;
}

void engine_receipt_release(struct engine_receipt *r, void *root)
{
    free(r->outcomes);
    *r = (struct engine_receipt){0};
    cJSON_Delete(root);
}

void engine_clock_measured(struct node_engine *e, int64_t offset_ms)
{
    e->status.clock_offset_ms = offset_ms;
    e->status.clock_offset_known = true;
    e->clock_measured_ms = base_clock_monotonic_ms();
    e->clock_lead_ms = base_clock_wall_ms() - base_clock_uptime_ms();
}

void engine_clock_follow(struct node_engine *e)
{
    int64_t lead = base_clock_wall_ms() - base_clock_uptime_ms();
    if (e->status.clock_offset_known)
        e->status.clock_offset_ms -= lead - e->clock_lead_ms;
    e->clock_lead_ms = lead;
}

static void settled(struct node_job *job)
{
    struct node_engine *e =
        (struct node_engine *)((char *)job - offsetof(struct node_engine, pull_job));
    engine_receipt_release(&e->receipt, e->receipt_root);
    e->receipt_root = NULL;
    if (job->rc == BASE_EFENCED) {
        engine_fenced(e, CORE_LANE_PULL, job->err.text);
    } else if (job->rc != 0) {
        engine_failed(e, CORE_LANE_PULL, job->rc, job->err.text);
    } else {
        e->fence[0] = e->trouble[0] = '\0';
        if (e->life_began) {
            e->status.sync = e->pull_state;
            engine_push_reset(e);
        }
        e->status.head = e->hello_head;
        core_session_on_hello(&e->session, e->hello_catalog, e->hello_filled);
        engine_audit_greeted(e);
        engine_escrow_greeted(e);
        engine_numbers_greeted(e);
        engine_report_greeted(e);
    }
    engine_refresh(e);
    engine_done(e);
}

static const char *fence_text(enum core_receipt_verdict v)
{
    switch (v) {
    case CORE_RECEIPT_WE_ARE_BEHIND:
        return "the centre holds more changes of this node than the node itself: it was put back "
               "to "
               "an old copy, or a clone of it runs. Nothing is deleted. If this machine is the "
               "only "
               "one: everward rejoin";
    case CORE_RECEIPT_FORKED:
        return "the centre holds other changes of this node than the node itself: a clone of it "
               "runs, or it was put back to an old copy. Nothing is deleted. On the one that shall "
               "go on: everward rejoin";
    case CORE_RECEIPT_CENTRE_BEHIND:
        return "the centre has lost what this node had from it or brought to it: it was put back "
               "to an earlier copy. It is still here. At the centre: everward-gateway timeline "
               "renew";
    case CORE_RECEIPT_SETTLES:
        break;
    }
    return "";
}

/* In the writer's transaction: nothing of the receipt counts before its chain has been compared with ours. */
static int settle_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct node_engine *e =
        (struct node_engine *)((char *)job - offsetof(struct node_engine, pull_job));
    const struct core_position *receipt = &e->receipt.position;
    struct node_sync_state s;
    struct core_position ours = {0};
    int rc = node_sync_state_get(db, &s, err);
    if (rc == 0)
        e->hello_filled = s.filled && !s.fill_waits;
    if (rc == 0 && e->receipt.incarnation != s.incarnation)
        return base_fail(err, BASE_EFENCED,
                         "the centre knows this node in another incarnation (%lld, here %lld)",
                         (long long)e->receipt.incarnation, (long long)s.incarnation);
    if (rc == 0 && receipt->seq <= s.last_seq)
        rc = node_outbox_position(db, receipt->seq, &ours, err);
    if (rc != 0)
        return rc;
    /* Against what was acknowledged when we asked: a receipt of the push lane may have come since. */
    struct base_uuid timeline;
    rc = node_timeline_get(db, &timeline, err);
    bool restored =
        rc == 0 && !base_uuid_is_zero(&timeline) && !base_uuid_equal(&timeline, &e->hello_timeline);
    enum core_receipt_verdict v =
        core_receipt_check(receipt, s.last_seq, e->hello_acked, ours.chain);
    if (rc == 0 && v != CORE_RECEIPT_SETTLES && !(restored && v == CORE_RECEIPT_CENTRE_BEHIND))
        return base_fail(err, BASE_EFENCED, "%s", fence_text(v));
    if (rc == 0 && !restored && s.filled && s.cursor > e->hello_head)
        return base_fail(err, BASE_EFENCED, "%s", fence_text(CORE_RECEIPT_CENTRE_BEHIND));
    if (rc == 0 && restored) {
        base_log(BASE_LOG_WARN, "centre_restored",
                 "the centre lives in another timeline and holds changes up to %lld of %lld: what "
                 "it lost is offered again",
                 (long long)receipt->seq, (long long)s.acked_seq);
        e->hello_filled = false;
        e->life_began = true;
        rc = node_life_begin(db, receipt->seq, e->hello_head, &e->hello_timeline, err);
        return rc == 0 ? node_sync_state_get(db, &e->pull_state, err) : rc;
    }
    if (rc == 0 && receipt->seq > s.acked_seq)
        rc = node_receipt_apply(db, receipt, e->receipt.outcomes, e->receipt.count, err);
    if (rc == 0 && s.filled && !s.fill_waits && s.cursor < e->hello_tail) {
        /* Away for so long that the feed no longer reaches back: the pages do. The outbox stays, and what waits lies over them. */
        e->hello_filled = false;
        rc = node_fill_begin(db, e->hello_head, &e->hello_timeline, err);
    }
    return rc;
}

static int hello_members(struct node_engine *e, const struct node_request *r, struct base_err *err)
{
    const cJSON *o = e->receipt_root;
    const char *timeline = NULL;
    const char *now = NULL;
    int rc = net_json_i64(o, "head", 0, INT64_MAX, &e->hello_head, err);
    if (rc == 0)
        rc = net_json_i64(o, "tail", 0, INT64_MAX, &e->hello_tail, err);
    if (rc == 0)
        rc = net_json_i64(o, "catalog", 0, INT64_MAX, &e->hello_catalog, err);
    if (rc == 0)
        rc = net_json_str(o, "timeline", BASE_UUID_CHARS, &timeline, err);
    if (rc == 0 && !base_uuid_parse(&e->hello_timeline, timeline, strlen(timeline)))
        rc = base_fail(err, BASE_EPROTO, "the timeline is not a uuid");
    if (rc == 0)
        rc = net_json_str(o, "now", 40, &now, err);
    int64_t centre_ms = 0;
    if (rc == 0 && base_time_parse(now, &centre_ms)) /* half the round trip ago */
        engine_clock_measured(e, centre_ms - (base_clock_wall_ms() - r->took_ms / 2));
    return rc;
}

static void greeted(struct node_request *r)
{
    struct node_engine *e = r->owner;
    struct base_err err = {0};
    if (r->rc == 0 && r->status == 409) {
        base_buf_release(&r->reply);
        engine_fenced(e, CORE_LANE_PULL,
                      "the centre knows this node in another life: another copy of it has rejoined "
                      "since. Nothing is deleted. If this machine shall go on: everward rejoin");
        engine_refresh(e);
        engine_done(e);
        return;
    }
    if (engine_reply_failed(e, r, CORE_LANE_PULL)) {
        engine_refresh(e);
        engine_done(e);
        return;
    }
    int rc = engine_receipt_read(&e->receipt, r->reply.data == NULL ? "" : r->reply.data,
                                 r->reply.len, "receipt", &e->receipt_root, &err);
    if (rc == 0)
        rc = hello_members(e, r, &err);
    base_buf_release(&r->reply);
    if (rc != 0) {
        engine_receipt_release(&e->receipt, e->receipt_root);
        e->receipt_root = NULL;
        engine_failed(e, CORE_LANE_PULL, BASE_EIO, err.text);
        engine_done(e);
        return;
    }
    e->pull_job = (struct node_job){.run = settle_run, .done = settled, .write = true};
    node_store_write(e->store, &e->pull_job);
}

static int wants_rejoin(struct node_db *db, bool *yes, struct base_err *err)
{
    struct base_buf b;
    base_buf_init(&b, 256);
    int rc = node_meta_get(db, NODE_META_REJOIN, &b, err);
    if (rc == 0)
        rc = node_meta_get(db, NODE_META_RESTORED, &b, err);
    *yes = b.len > 0;
    base_buf_release(&b);
    return rc;
}

static int position_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct node_engine *e =
        (struct node_engine *)((char *)job - offsetof(struct node_engine, pull_job));
    struct node_sync_state s;
    struct core_position p;
    char timeline[BASE_UUID_CHARS + 1];
    int rc = node_sync_state_get(db, &s, err);
    if (rc == 0)
        rc = node_outbox_position(db, s.acked_seq, &p, err);
    if (rc != 0)
        return rc;
    e->hello_acked = s.acked_seq;
    e->life_inc = s.incarnation;
    e->life_common = s.acked_seq;
    e->life_began = false;
    if (rc == 0)
        rc = wants_rejoin(db, &e->wants_rejoin, err);
    if (rc != 0)
        return rc;
    e->wants_rejoin |= e->put_back;
    base_uuid_format(&s.timeline, timeline);
    struct base_buf *b = &e->pull_body;
    base_buf_clear(b);
    base_buf_printf(b,
                    "{\"format\":\"everward-hello/"
                    "1\",\"inc\":%lld,\"last_seq\":%lld,\"acked_seq\":%lld,\"chain\":\"",
                    (long long)s.incarnation, (long long)s.last_seq, (long long)s.acked_seq);
    base_buf_hex(b, p.chain, sizeof p.chain);
    base_buf_printf(b,
                    "\",\"cursor\":%lld,\"catalog\":%lld,\"timeline\":%s%s%s,\"version\":\"%s\"}",
                    (long long)(s.cursor < 0 ? 0 : s.cursor), (long long)s.catalog_version,
                    base_uuid_is_zero(&s.timeline) ? "" : "\"",
                    base_uuid_is_zero(&s.timeline) ? "null" : timeline,
                    base_uuid_is_zero(&s.timeline) ? "" : "\"", EW_VERSION);
    return base_buf_check(b) == 0 ? 0 : base_fail(err, base_buf_check(b), "hello does not fit");
}

static void position_known(struct node_job *job)
{
    struct node_engine *e =
        (struct node_engine *)((char *)job - offsetof(struct node_engine, pull_job));
    struct base_err err = {0};
    int rc = job->rc != 0 ? job->rc : engine_token(e, e->pull_token, &err);
    if (rc != 0 || e->stopping) {
        engine_failed(e, CORE_LANE_PULL, BASE_EIO, job->rc != 0 ? job->err.text : err.text);
        engine_done(e);
        return;
    }
    if (e->wants_rejoin) {
        engine_rejoin(e);
        return;
    }
    e->pull_request = (struct node_request){.method = "POST",
                                            .path = "/sync/v1/hello",
                                            .token = e->pull_token,
                                            .body = e->pull_body.data,
                                            .body_len = e->pull_body.len,
                                            .content_type = "application/json",
                                            .done = greeted,
                                            .owner = e};
    node_transport_send(e->transport, &e->pull_request);
}

void engine_hello(struct node_engine *e)
{
    e->pull_job = (struct node_job){.run = position_run, .done = position_known};
    node_store_read(e->store, &e->pull_job);
}
