/*
 * The outbox on its way to the centre: one batch under way, the next one prepared meanwhile.
 *
 *   read, hash-check, sign, pack (reader thread) ──► POST push ──► receipt ──► write job, and the next batch at once
 *
 * Dying anywhere: what the centre has taken stands in its receipt, which hello compares; what it has not is still here. A
 * receipt that was not stored yet is asked for again.
 */
#include "node/engine/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/seal/seal.h"

enum { PUSH_ZSTD_LEVEL = 1, PUSH_HEADER_BYTES_MAX = 1024 + NODE_BEHIND_BYTES_MAX };

struct prepare {
    struct node_job job;
    struct node_engine *e;
    struct engine_batch *batch;
    int64_t after;
    int most;
};

struct settle {
    struct node_job job;
    struct node_engine *e;
    struct engine_receipt receipt;
    void *root;
    bool
        holds; /* something is quarantined: no batch is made before it is stored (node_outbox_behind) */
};

static void add_uuid(struct base_buf *b, const char *name, const struct base_uuid *u)
{
    char text[BASE_UUID_CHARS + 1];
    base_uuid_format(u, text);
    base_buf_printf(b, ",\"%s\":\"%s\"", name, text);
}

int engine_batch_head_get(struct engine_batch_head *out, struct node_db *db, struct base_err *err)
{
    int rc = node_incarnation_get(db, &out->incarnation, err);
    out->catalog_version = node_db_catalog(db) == NULL ? 0 : node_db_catalog(db)->version;
    if (rc == 0)
        rc = node_timeline_get(db, &out->timeline, err);
    return rc == 0 ? node_former_get(db, &out->former, err) : rc;
}

static void write_header(struct base_buf *b, const struct node_identity *id,
                         const struct engine_batch_head *head, const struct core_position *before,
                         const struct core_position *last, const struct base_buf *behind)
{
    base_buf_str(b, "{\"format\":\"everward-push/1\"");
    add_uuid(b, "tenant", &id->tenant_id);
    add_uuid(b, "node", &id->node_id);
    base_buf_printf(b, ",\"inc\":%lld,\"catalog\":%lld,\"first\":%lld,\"last\":%lld,\"chain\":\"",
                    (long long)head->incarnation, (long long)head->catalog_version,
                    (long long)before->seq + 1, (long long)last->seq);
    base_buf_hex(b, before->chain, sizeof before->chain);
    base_buf_char(b, '"');
    if (!base_uuid_is_zero(&head->timeline))
        add_uuid(b, "timeline", &head->timeline);
    if (head->former > before->seq)
        base_buf_printf(b, ",\"former\":%lld",
                        (long long)(head->former < last->seq ? head->former : last->seq));
    if (behind->len > 0) {
        base_buf_str(b, ",\"held\":[");
        base_buf_add(b, behind->data, behind->len);
        base_buf_char(b, ']');
    }
    base_buf_char(b, '}');
}

/* "everward push 1\n" ‖ header ‖ "\n" ‖ the last chain in hex */
static int sign_batch(struct base_buf *plain, struct node_keys *keys, const struct base_buf *header,
                      const struct core_position *last, int count)
{
    uint8_t sig[SEAL_SIGNATURE_BYTES];
    struct base_buf signed_text;
    base_buf_init(&signed_text, PUSH_HEADER_BYTES_MAX * 2);
    base_buf_str(&signed_text, "everward push 1\n");
    base_buf_add(&signed_text, header->data, header->len);
    base_buf_char(&signed_text, '\n');
    base_buf_hex(&signed_text, last->chain, sizeof last->chain);
    int rc = base_buf_check(&signed_text);
    if (rc == 0) {
        node_keys_sign(keys, signed_text.data, signed_text.len, sig);
        base_buf_printf(plain, "{\"count\":%d,\"chain\":\"", count);
        base_buf_hex(plain, last->chain, sizeof last->chain);
        base_buf_str(plain, "\",\"sig\":\"");
        seal_base64url(plain, sig, sizeof sig);
        base_buf_str(plain, "\"}\n");
    }
    base_buf_release(&signed_text);
    return rc;
}

int engine_batch_write(struct base_buf *out, struct node_db *db, struct node_keys *keys,
                       const struct engine_batch_head *head, const struct base_buf *lines,
                       const struct core_position *before, const struct core_position *last,
                       int count, struct base_err *err)
{
    struct base_buf header;
    struct base_buf plain;
    struct base_buf behind;
    base_buf_init(&header, PUSH_HEADER_BYTES_MAX);
    base_buf_init(&plain, CORE_BATCH_BYTES_MAX);
    base_buf_init(&behind, NODE_BEHIND_BYTES_MAX);
    int rc = node_outbox_behind(db, before->seq + 1, lines, &behind, err);
    if (rc != 0)
        goto out;
    write_header(&header, node_db_identity(db), head, before, last, &behind);
    rc = base_buf_check(&header);
    if (rc == 0) {
        base_buf_add(&plain, header.data, header.len);
        base_buf_char(&plain, '\n');
        base_buf_add(&plain, lines->data, lines->len);
        rc = sign_batch(&plain, keys, &header, last, count);
    }
    if (rc == 0)
        rc = base_buf_check(&plain);
    rc = rc == 0 ? seal_compress(out, plain.data, plain.len, PUSH_ZSTD_LEVEL, err)
                 : base_fail(err, rc, "a batch does not fit");
out:
    base_buf_release(&behind);
    base_buf_release(&header);
    base_buf_release(&plain);
    return rc;
}

static int prepare_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct prepare *p = (struct prepare *)job;
    struct engine_batch *b = p->batch;
    struct base_buf lines;
    base_buf_init(&lines, ENGINE_PUSH_BYTES_MAX + CORE_CHANGE_LINE_BYTES_MAX * 4);
    base_buf_clear(&b->body);
    b->count = 0;
    struct engine_batch_head head;
    int rc = node_outbox_read(db, p->after, p->most, ENGINE_PUSH_BYTES_MAX, &lines, &b->before,
                              &b->last, &b->count, err);
    if (rc == 0)
        rc = engine_batch_head_get(&head, db, err);
    if (rc == 0 && b->count > 0) {
        b->incarnation = head.incarnation;
        rc = engine_batch_write(&b->body, db, p->e->keys, &head, &lines, &b->before, &b->last,
                                b->count, err);
    }
    base_buf_release(&lines);
    return rc;
}

static void send_batch(struct node_engine *e);

static void lane_done(struct node_engine *e)
{
    engine_refresh(e);
    engine_done(e);
}

/* There was nothing above what the centre has. */
static void nothing_to_push(struct node_engine *e)
{
    core_session_on_pushed(&e->session, base_clock_monotonic_ms(), 0, false, 0);
    lane_done(e);
}

static void prepared(struct node_job *job)
{
    struct prepare *p = (struct prepare *)job;
    struct node_engine *e = p->e;
    struct engine_batch *b = p->batch;
    b->ready = job->rc == 0 && b->count > 0;
    e->preparing = false;
    if (b == &e->batch[0]) { /* the lane waits for it */
        if (job->rc != 0) {
            engine_failed(e, CORE_LANE_PUSH, job->rc == BASE_ETOOBIG ? BASE_EIO : job->rc,
                          job->err.text);
            lane_done(e);
        } else if (b->count == 0) {
            nothing_to_push(e);
        } else {
            send_batch(e);
        }
    } else {
        b->ready = b->ready && !e->prepared_stale;
        e->prepared_stale = false;
        if (e->push_waiting && e->holding == 0) { /* it may fit or not: the lane looks */
            e->push_waiting = false;
            engine_push(e);
        }
    }
    free(p);
    engine_done(e);
}

static bool prepare(struct node_engine *e, struct engine_batch *b, int64_t after)
{
    struct prepare *p = calloc(1, sizeof *p);
    if (p == NULL)
        return false;
    p->job = (struct node_job){.run = prepare_run, .done = prepared};
    p->e = e;
    p->batch = b;
    p->after = after;
    p->most = e->session.batch;
    b->ready = false;
    e->preparing = true;
    e->under_way++;
    node_store_read(e->store, &p->job);
    return true;
}

static void settled(struct node_job *job)
{
    struct settle *s = (struct settle *)job;
    struct node_engine *e = s->e;
    if (job->rc != 0) { /* hello asks for it again */
        base_log(BASE_LOG_WARN, "sync_failed", "a receipt could not be stored: %s", job->err.text);
        (void)snprintf(e->trouble, sizeof e->trouble, "%.250s", job->err.text);
        if (s->holds) /* pushed once more, and the receipt comes again */
            engine_push_reset(e);
        engine_doubt(e);
    }
    e->holding -= s->holds;
    if (e->holding == 0 && e->push_waiting && !e->preparing) {
        e->push_waiting = false;
        engine_push(e);
    }
    engine_receipt_release(&s->receipt, s->root);
    free(s);
    engine_refresh(e);
    engine_done(e);
}

static int settle_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct settle *s = (struct settle *)job;
    int64_t incarnation = 0;
    int rc = node_incarnation_get(db, &incarnation, err);
    if (rc != 0 || incarnation != s->receipt.incarnation)
        return rc; /* of a life that ended meanwhile: the greeting has told what of it counts */
    return node_receipt_apply(db, &s->receipt.position, s->receipt.outcomes, s->receipt.count, err);
}

/* The receipt must name exactly what we sent, by chain. */
static bool receipt_fits(const struct node_engine *e, const struct engine_receipt *r)
{
    const struct core_position *last = &e->batch[0].last;
    return r->incarnation == e->batch[0].incarnation && r->position.seq == last->seq &&
           memcmp(r->position.chain, last->chain, sizeof last->chain) == 0;
}

static void take_receipt(struct node_engine *e, struct settle *s, int64_t took_ms)
{
    bool more =
        e->batch[1].ready || e->preparing || e->status.sync.last_seq > s->receipt.position.seq;
    e->pushed_seq = s->receipt.position.seq;
    base_log(BASE_LOG_DEBUG, "pushed", "%d changes, %zu bytes packed, %lld ms", e->batch[0].count,
             e->batch[0].body.len, (long long)took_ms);
    base_time_format(base_clock_wall_ms(), e->status.sync.last_push_at);
    s->job = (struct node_job){.run = settle_run, .done = settled, .write = true};
    s->e = e;
    for (int i = 0; i < s->receipt.count; i++)
        s->holds = s->holds || s->receipt.outcomes[i].outcome == CORE_QUARANTINED;
    if (s->holds) {
        e->holding++;
        e->batch[1].ready = false;
        e->prepared_stale = e->preparing;
    }
    e->under_way++;
    node_store_write(e->store, &s->job);
    core_session_on_pushed(&e->session, base_clock_monotonic_ms(), e->batch[0].count, more,
                           took_ms);
}

static void pushed(struct node_request *r)
{
    struct node_engine *e = r->owner;
    struct base_err err = {0};
    if (engine_reply_failed(e, r, CORE_LANE_PUSH)) {
        engine_push_reset(e);
        lane_done(e);
        return;
    }
    struct settle *s = calloc(1, sizeof *s);
    int rc = s == NULL
                 ? base_fail(&err, BASE_ENOMEM, "out of memory for a receipt")
                 : engine_receipt_read(&s->receipt, r->reply.data == NULL ? "" : r->reply.data,
                                       r->reply.len, NULL, &s->root, &err);
    base_buf_release(&r->reply);
    if (rc == 0 && !receipt_fits(e, &s->receipt)) {
        engine_receipt_release(&s->receipt, s->root);
        rc = base_fail(&err, BASE_EPROTO, "the receipt is not for the batch that was sent");
    }
    if (rc != 0) {
        free(s);
        engine_push_reset(e);
        engine_failed(e, CORE_LANE_PUSH, BASE_EPROTO, err.text);
        engine_doubt(e);
    } else {
        take_receipt(e, s, r->took_ms);
    }
    lane_done(e);
}

static void send_batch(struct node_engine *e)
{
    struct engine_batch *b = &e->batch[0];
    struct base_err err = {0};
    b->ready = false;
    if (e->stopping || !e->session.link_open || engine_token(e, e->push_token, &err) != 0) {
        engine_failed(e, CORE_LANE_PUSH, BASE_EIO,
                      e->stopping ? "stopping" : "the line was closed");
        lane_done(e);
        return;
    }
    e->push_request = (struct node_request){.method = "POST",
                                            .path = "/sync/v1/push",
                                            .token = e->push_token,
                                            .body = b->body.data,
                                            .body_len = b->body.len,
                                            .content_type = "application/x-ndjson",
                                            .zstd = true,
                                            .done = pushed,
                                            .owner = e};
    node_transport_send(e->transport, &e->push_request);
    if (!e->preparing && e->status.sync.last_seq > b->last.seq)
        (void)prepare(e, &e->batch[1], b->last.seq);
}

void engine_push_reset(struct node_engine *e)
{
    e->batch[1].ready = false; /* its lines are in the store; it is made anew */
    e->pushed_seq = 0; /* what is stored as acknowledged counts, until a receipt tells more */
}

void engine_push(struct node_engine *e)
{
    int64_t after =
        e->pushed_seq > e->status.sync.acked_seq ? e->pushed_seq : e->status.sync.acked_seq;
    if (e->preparing || e->holding > 0) {
        e->push_waiting = true;
        return;
    }
    if (e->batch[1].ready && e->batch[1].before.seq == after) {
        struct engine_batch swap = e->batch[0];
        e->batch[0] = e->batch[1];
        e->batch[1] = swap;
        send_batch(e);
        return;
    }
    if (!prepare(e, &e->batch[0], after)) {
        engine_failed(e, CORE_LANE_PUSH, BASE_ENOMEM, "out of memory for a batch");
        lane_done(e);
    }
}
