/*
 * The audit trail on its way to its witness: a lane of its own beside pull and push, and never in their way.
 *
 *   read a batch, sign (reader thread) ──► POST audit ──► "taken up to n" ──► write job: note it, keep the signed head
 *
 * The centre keeps entries and head, and refuses a head that goes backwards or is another one. Then the trail here is
 * not what it was: a cut, an old copy of the store put back, or a clone. Nothing is mended by itself; the status says so.
 * Dying anywhere: what the centre has taken is skipped there when it comes again.
 */
#include "node/engine/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/store/audit.h"
#include "node/store/rows.h"
#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/net/json.h"
#include "sync/seal/seal.h"

enum {
    AUDIT_EVERY_MS = 2000,  /* so often at most, while there are entries */
    AUDIT_RETRY_MS = 30000, /* after a failure or a refusal */
    AUDIT_MARK_MS = 60000,  /* without a line: so often a head is signed and kept */
    AUDIT_DRAIN_MS = 10000, /* while a backlog of changes goes out: so long a batch waits for it */
    AUDIT_HEADER_BYTES_MAX = 1024,
    AUDIT_PLAIN_BYTES_MAX = NODE_AUDIT_BATCH_BYTES * 2 + AUDIT_HEADER_BYTES_MAX,
    AUDIT_ZSTD_LEVEL = 1
};

struct engine_audit {
    struct node_job job;
    struct node_engine *e;
    struct node_request request;
    char token[NET_TOKEN_BYTES_MAX];
    struct base_buf body;
    struct node_audit_state state;       /* as of the last read */
    struct node_audit_head before, last; /* of the batch */
    struct node_audit_mark mark;         /* the head, signed */
    bool busy, greeted;
    bool online,
        greeting; /* of the round under way; greeting: the head goes out even without entries */
    int64_t next_ms, mark_ms;
    int64_t back_to; /* go_back */
};

static struct node_engine *engine_of(struct node_job *job)
{
    return ((struct engine_audit *)job)->e;
}

/* ---- preparing: reader thread -------------------------------------------------------------- */

static int sign_head(struct engine_audit *a, struct base_err *err)
{
    struct base_buf text;
    base_buf_init(&text, AUDIT_HEADER_BYTES_MAX);
    a->mark.head = a->state.head;
    node_audit_mark_text(&text, &a->e->identity.node_id, &a->mark.head);
    int rc = base_buf_check(&text);
    if (rc == 0) {
        node_keys_sign_as(a->e->keys, text.data, text.len, a->mark.sig, a->mark.key);
    }
    base_buf_release(&text);
    return rc == 0 ? 0 : base_fail(err, rc, "the audit trail's head does not fit");
}

static void write_header(struct base_buf *b, const struct engine_audit *a)
{
    char node[BASE_UUID_CHARS + 1];
    base_uuid_format(&a->e->identity.node_id, node);
    base_buf_printf(b,
                    "{\"format\":\"everward-audit/1\",\"node\":\"%s\",\"life\":%lld,\"first\":%lld,"
                    "\"last\":%lld,\"before\":\"",
                    node, (long long)a->state.life, (long long)a->before.n + 1,
                    (long long)a->last.n);
    base_buf_hex(b, a->before.chain, sizeof a->before.chain);
    base_buf_str(b, "\",\"chain\":\"");
    base_buf_hex(b, a->last.chain, sizeof a->last.chain);
    base_buf_printf(b, "\",\"head\":%lld,\"head_chain\":\"", (long long)a->state.head.n);
    base_buf_hex(b, a->state.head.chain, sizeof a->state.head.chain);
    base_buf_str(b, "\"}\n");
}

/* Header line, signature line, entries. Signed: "everward audit 1\n" ‖ header line ‖ BLAKE2b-256(entries) in hex. */
static int write_body(struct engine_audit *a, const struct base_buf *entries, struct base_err *err)
{
    struct base_buf plain, text;
    uint8_t hash[SEAL_HASH_BYTES];
    uint8_t sig[SEAL_SIGNATURE_BYTES];
    base_buf_init(&plain, AUDIT_PLAIN_BYTES_MAX);
    base_buf_init(&text, AUDIT_HEADER_BYTES_MAX * 2);
    write_header(&plain, a);
    seal_hash(hash, entries->data == NULL ? "" : entries->data, entries->len);
    base_buf_str(&text, "everward audit 1\n");
    base_buf_add(&text, plain.data, plain.len);
    base_buf_hex(&text, hash, sizeof hash);
    int rc = base_buf_check(&text);
    if (rc == 0) {
        node_keys_sign(a->e->keys, text.data, text.len, sig);
        base_buf_str(&plain, "{\"sig\":\"");
        seal_base64url(&plain, sig, sizeof sig);
        base_buf_str(&plain, "\"}\n");
        base_buf_add(&plain, entries->data == NULL ? "" : entries->data, entries->len);
        rc = base_buf_check(&plain);
    }
    base_buf_clear(&a->body);
    rc = rc == 0 ? seal_compress(&a->body, plain.data, plain.len, AUDIT_ZSTD_LEVEL, err)
                 : base_fail(err, rc, "a batch of audit entries does not fit");
    base_buf_release(&text);
    base_buf_release(&plain);
    return rc;
}

static int prepare_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct engine_audit *a = (struct engine_audit *)job;
    struct base_buf entries;
    int rc = node_audit_state_get(db, &a->state, err);
    if (rc == 0 && a->online && !a->greeting && a->state.sent == a->state.head.n)
        a->online = false; /* nothing to tell */
    if (rc == 0 && a->state.head.n != a->state.marked)
        rc = sign_head(a, err);
    if (rc != 0 || !a->online)
        return rc;
    base_buf_init(&entries, AUDIT_PLAIN_BYTES_MAX);
    rc = node_audit_batch(db, a->state.sent, &entries, &a->before, &a->last, err);
    if (rc == 0)
        rc = write_body(a, &entries, err);
    base_buf_release(&entries);
    return rc;
}

/* ---- the round ----------------------------------------------------------------------------- */

static void over(struct engine_audit *a, int64_t wait_ms)
{
    a->busy = false;
    a->next_ms = base_clock_monotonic_ms() + wait_ms;
    engine_done(a->e);
}

static void kept(struct node_job *job)
{
    struct engine_audit *a = (struct engine_audit *)job;
    bool more = a->online && a->last.n < a->state.head.n;
    if (job->rc != 0)
        base_log(BASE_LOG_WARN, "audit", "the signed head could not be kept: %s", job->err.text);
    over(a, job->rc != 0 ? AUDIT_RETRY_MS : more ? 0 : AUDIT_EVERY_MS);
}

static int keep_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct engine_audit *a = (struct engine_audit *)job;
    int rc = a->mark.head.n == a->state.head.n ? node_audit_mark_add(db, &a->mark, err) : 0;
    return rc == 0 && a->online ? node_audit_sent(db, a->last.n, err) : rc;
}

static void keep(struct engine_audit *a)
{
    if (a->state.head.n == a->state.marked && (!a->online || a->last.n == a->state.sent)) {
        over(a, AUDIT_EVERY_MS);
        return;
    }
    a->mark_ms = base_clock_monotonic_ms();
    a->job = (struct node_job){.run = keep_run, .done = kept};
    node_store_write(a->e->store, &a->job);
}

static int go_back_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    return node_audit_sent(db, ((struct engine_audit *)job)->back_to, err);
}

static void gone_back(struct node_job *job)
{
    over((struct engine_audit *)job, job->rc != 0 ? AUDIT_RETRY_MS : 0);
}

/* The centre has less than it had taken (it was restored): it gets the rest again. The alarm at the centre stays. */
static bool go_back(struct engine_audit *a)
{
    cJSON *o = NULL;
    const char *code = "";
    int64_t taken = -1;
    const struct base_buf *b = &a->request.reply;
    if (b->data != NULL && net_json_parse(&o, b->data, b->len, NULL) == 0 &&
        net_json_str(o, "code", 64, &code, NULL) == 0 && strcmp(code, "audit_gap") == 0)
        (void)net_json_i64(o, "taken", 0, INT64_MAX, &taken, NULL);
    cJSON_Delete(o);
    if (taken < 0 || taken >= a->state.sent)
        return false;
    if (taken < a->state.cut) { /* put back further than the trail reaches here */
        base_log(
            BASE_LOG_ERROR, "audit",
            "the centre has lost entries of the trail from %lld on; here they are gone up to %lld",
            (long long)taken + 1, (long long)a->state.cut);
        return false;
    }
    base_log(BASE_LOG_WARN, "audit",
             "the centre has lost entries of the trail: sent again from %lld",
             (long long)taken + 1);
    a->back_to = taken;
    a->job = (struct node_job){.run = go_back_run, .done = gone_back, .write = true};
    return true;
}

static void refused(struct engine_audit *a)
{
    struct node_engine *e = a->e;
    cJSON *o = NULL;
    const char *code = "";
    const char *detail = "";
    if (a->request.reply.data != NULL &&
        net_json_parse(&o, a->request.reply.data, a->request.reply.len, NULL) == 0) {
        (void)net_json_str(o, "code", 64, &code, NULL);
        (void)net_json_str(o, "detail", 200, &detail, NULL);
    }
    if (strncmp(code, "audit_", 6) == 0) {
        if (e->witness[0] == '\0')
            base_log(BASE_LOG_ERROR, "audit", "the centre refuses the audit trail: %s", code);
        (void)snprintf(e->witness, sizeof e->witness,
                       "the audit trail is not the one the centre has witnessed (%.20s): %.80s "
                       "See `everward audit verify`.",
                       code, detail);
        (void)snprintf(e->status.audit_witness, sizeof e->status.audit_witness, "%s", e->witness);
        engine_refresh(e);
    }
    cJSON_Delete(o);
}

static void answered(struct node_request *r)
{
    struct engine_audit *a = r->owner;
    struct node_engine *e = a->e;
    bool taken = r->rc == 0 && r->status == 200;
    if (r->rc == 0 && r->status == 409 && !e->stopping && go_back(a)) {
        base_buf_release(&r->reply);
        node_store_write(e->store, &a->job);
        return;
    }
    if (r->rc == 0 && r->status == 409)
        refused(a);
    else if (!taken && r->rc != BASE_ECANCELED)
        base_log(BASE_LOG_DEBUG, "audit", "the trail was not taken: %ld %s", r->status,
                 r->rc != 0 ? r->err.text : "");
    base_buf_release(&r->reply);
    if (!taken || e->stopping) {
        over(a, AUDIT_RETRY_MS);
        return;
    }
    if (e->witness[0] != '\0') {
        e->witness[0] = e->status.audit_witness[0] = '\0';
        engine_refresh(e);
    }
    e->status.audit_sent = a->last.n;
    base_time_format(base_clock_wall_ms(), e->status.audit_sent_at);
    keep(a);
}

static void prepared(struct node_job *job)
{
    struct engine_audit *a = (struct engine_audit *)job;
    struct node_engine *e = engine_of(job);
    struct base_err err = {0};
    int rc = job->rc != 0 ? base_fail(&err, job->rc, "%s", job->err.text) : 0;
    if (rc == 0 && !a->online && !e->stopping) {
        keep(a);
        return;
    }
    if (rc == 0)
        rc =
            e->stopping || !e->session.link_open ? BASE_ECANCELED : engine_token(e, a->token, &err);
    if (rc != 0) {
        if (rc != BASE_ECANCELED)
            base_log(BASE_LOG_WARN, "audit", "the trail cannot be sent: %s", err.text);
        over(a, AUDIT_RETRY_MS);
        return;
    }
    a->request = (struct node_request){.method = "POST",
                                       .path = "/sync/v1/audit",
                                       .token = a->token,
                                       .body = a->body.data,
                                       .body_len = a->body.len,
                                       .content_type = "application/x-ndjson",
                                       .zstd = true,
                                       .done = answered,
                                       .owner = a};
    node_transport_send(e->transport, &a->request);
}

void engine_audit_tick(struct node_engine *e)
{
    struct engine_audit *a = e->audit;
    int64_t now = base_clock_monotonic_ms();
    bool online = e->session.link_open && e->session.greeted;
    if (a->busy || e->stopping || now < a->next_ms || (!online && now - a->mark_ms < AUDIT_MARK_MS))
        return;
    /* A ward's changes are waited for at the centre, its trail is not; the head went with the greeting. */
    if (e->session.draining && !a->greeted && now - a->next_ms < AUDIT_DRAIN_MS)
        return;
    a->busy = true;
    a->online = online;
    a->greeting = online && a->greeted;
    a->greeted = a->greeted && !online;
    a->job = (struct node_job){.run = prepare_run, .done = prepared};
    e->under_way++;
    node_store_read(e->store, &a->job);
}

void engine_audit_greeted(struct node_engine *e)
{
    e->audit->next_ms = 0;
    e->audit->greeted = true;
    node_engine_audit(e, "sync", "ok", "a session with the centre begins");
}

/* ---- entries of the node itself ------------------------------------------------------------ */

enum { DETAIL_BYTES_MAX = 256 };

struct event {
    struct node_job job;
    const char *action, *outcome;
    char detail[DETAIL_BYTES_MAX];
};

static int event_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct event *v = (struct event *)job;
    struct node_author itself = {.device = "", .request_id = ""};
    return node_audit_add(db, &itself, v->action, NULL, NULL, NULL, v->outcome, v->detail, err);
}

static void event_done(struct node_job *job)
{
    if (job->rc != 0)
        base_log(BASE_LOG_ERROR, "audit_missed", "%s: %s", ((struct event *)job)->action,
                 job->err.text);
    free(job);
}

void node_engine_audit(struct node_engine *e, const char *action, const char *outcome,
                       const char *detail)
{
    struct event *v = calloc(1, sizeof *v);
    if (v == NULL) {
        base_log(BASE_LOG_ERROR, "audit_missed", "%s: out of memory", action);
        return;
    }
    v->job = (struct node_job){.run = event_run, .done = event_done};
    v->action = action;
    v->outcome = outcome;
    (void)snprintf(v->detail, sizeof v->detail, "%s", detail);
    node_store_write(e->store, &v->job);
}

/* ---- lifecycle ----------------------------------------------------------------------------- */

int engine_audit_open(struct node_engine *e, struct base_err *err)
{
    struct engine_audit *a = calloc(1, sizeof *a);
    if (a == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for the audit trail's lane");
    a->e = e;
    a->mark_ms = base_clock_monotonic_ms() - AUDIT_MARK_MS; /* what the last life left, at once */
    base_buf_init(&a->body, AUDIT_PLAIN_BYTES_MAX);
    e->audit = a;
    e->status.audit_sent = -1;
    return 0;
}

void engine_audit_close(struct node_engine *e)
{
    if (e->audit == NULL)
        return;
    base_buf_release(&e->audit->body);
    seal_wipe(e->audit->token, sizeof e->audit->token);
    free(e->audit);
    e->audit = NULL;
}
