/*
 * Another signing key, beside the lanes and never in their way.
 *
 *   keys.signing lies in the folder ─ read where the log ends, sign with both keys (reader thread) ──► POST rotate
 *   ──► the centre knows it ─ keys.signing becomes keys.sealed ─ the daemon's own copy
 *
 * Until the last step everything is signed with the key it had. Dying anywhere: what lies in the folder is offered again; if
 * the centre knows it already it refuses the former key's token, and takes the request under the next one's.
 */
#include "node/engine/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/seal/seal.h"

enum {
    ROTATE_RETRY_MS = 1000,
    ROTATE_LATER_MS = 60 * 1000, /* after an answer that time alone does not change */
    ROTATE_SETTLE_MS = 10 * 1000,
    ROTATE_BODY_BYTES_MAX = 4096
};

struct engine_rotation {
    struct node_job job;
    struct node_engine *e;
    struct node_request request;
    char token[NET_TOKEN_BYTES_MAX];
    struct base_buf body;
    struct node_keys *next; /* NULL: nothing to be done */
    bool busy, by_next, refused[2];
    int64_t next_ms, done_ms;
};

bool engine_rotation_pending(const struct node_engine *e)
{
    const struct engine_rotation *r = e->rotation;
    bool settling = r->done_ms != 0 && base_clock_monotonic_ms() - r->done_ms < ROTATE_SETTLE_MS;
    return settling || (r->next != NULL && !(r->refused[0] && r->refused[1]));
}

static void over(struct engine_rotation *r, int64_t wait_ms)
{
    r->busy = false;
    r->next_ms = base_clock_monotonic_ms() + wait_ms;
    engine_done(r->e);
}

/* ---- the request: reader thread ------------------------------------------------------------ */

static void member(struct base_buf *b, const char *name, const void *bytes, size_t len)
{
    base_buf_printf(b, ",\"%s\":\"", name);
    seal_base64url(b, bytes, len);
    base_buf_char(b, '"');
}

static int write_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct engine_rotation *r = (struct engine_rotation *)job;
    struct node_sync_state s;
    struct base_buf text;
    char node[BASE_UUID_CHARS + 1];
    uint8_t public[NODE_KEYS_PUBLIC_BYTES];
    uint8_t sig[NODE_KEYS_SIGNATURE_BYTES];
    int rc = node_sync_state_get(db, &s, err);
    if (rc != 0)
        return rc;
    base_uuid_format(&node_db_identity(db)->node_id, node);
    node_keys_public(r->next, public);
    base_buf_init(&text, ROTATE_BODY_BYTES_MAX);
    base_buf_printf(&text, "everward rotate 1\n%s\n", node);
    base_buf_hex(&text, public, sizeof public);
    base_buf_printf(&text, "\n%lld", (long long)s.last_seq);
    base_buf_clear(&r->body);
    base_buf_printf(&r->body, "{\"format\":\"everward-rotate/1\",\"last_seq\":%lld",
                    (long long)s.last_seq);
    member(&r->body, "public_key", public, sizeof public);
    if ((rc = base_buf_check(&text)) == 0) {
        node_keys_sign(r->e->keys, text.data, text.len, sig);
        member(&r->body, "sig", sig, sizeof sig);
        node_keys_sign(r->next, text.data, text.len, sig);
        member(&r->body, "next_sig", sig, sizeof sig);
    }
    base_buf_char(&r->body, '}');
    base_buf_release(&text);
    if (rc == 0)
        rc = base_buf_check(&r->body);
    return rc == 0 ? 0 : base_fail(err, rc, "the next key does not fit into a request");
}

/* ---- the exchange -------------------------------------------------------------------------- */

static void in_force(struct engine_rotation *r)
{
    struct node_engine *e = r->e;
    struct base_err err = {0};
    if (e->rotated(e->rotated_user, r->next, &err) != 0) {
        base_log(BASE_LOG_ERROR, "key", "the next signing key could not be put in place: %s",
                 err.text);
        over(r, ROTATE_RETRY_MS);
        return;
    }
    node_keys_free(r->next);
    r->next = NULL;
    r->done_ms = base_clock_monotonic_ms();
    engine_push_reset(e); /* what is prepared is signed with the former one */
    base_log(BASE_LOG_WARN, "key", "the centre knows another signing key of this node");
    node_engine_audit(e, "configuration", "ok", "another signing key is in force");
    engine_escrow_greeted(e);
    over(r, 0);
}

static void answered(struct node_request *q)
{
    struct engine_rotation *r = q->owner;
    struct node_engine *e = r->e;
    int64_t wait = ROTATE_RETRY_MS;
    long status = q->rc == 0 ? q->status : 0;
    base_buf_release(&q->reply);
    if (status == 200 && !e->stopping) {
        in_force(r);
        return;
    }
    r->refused[r->by_next] = status == 401;
    if (status == 401) /* perhaps it knows the next one already, and we were not told */
        wait = r->refused[0] && r->refused[1] ? ROTATE_LATER_MS : 0;
    else if (status != 0 && status != 503)
        wait = ROTATE_LATER_MS;
    if (wait == ROTATE_LATER_MS)
        base_log(BASE_LOG_WARN, "key", "the centre answers %ld to the next signing key", status);
    if (status == 401)
        r->by_next = !r->by_next;
    over(r, wait);
}

static void written(struct node_job *job)
{
    struct engine_rotation *r = (struct engine_rotation *)job;
    struct node_engine *e = r->e;
    struct base_err err = {0};
    int rc = job->rc != 0 || e->stopping
                 ? BASE_ECANCELED
                 : engine_token_by(e, r->by_next ? r->next : e->keys, r->token, &err);
    if (rc != 0) {
        over(r, ROTATE_RETRY_MS);
        return;
    }
    r->request = (struct node_request){.method = "POST",
                                       .path = "/sync/v1/rotate",
                                       .token = r->token,
                                       .body = r->body.data,
                                       .body_len = r->body.len,
                                       .content_type = "application/json",
                                       .done = answered,
                                       .owner = r};
    node_transport_send(e->transport, &r->request);
}

/* Not only after a greeting: the former key may be what keeps us from one. */
void engine_rotation_tick(struct node_engine *e)
{
    struct engine_rotation *r = e->rotation;
    if (r->next == NULL || r->busy || e->stopping || !e->session.link_open ||
        base_clock_monotonic_ms() < r->next_ms)
        return;
    r->busy = true;
    r->job = (struct node_job){.run = write_run, .done = written};
    e->under_way++;
    node_store_read(e->store, &r->job);
}

void node_engine_rotate(struct node_engine *e, struct node_keys *take_next)
{
    struct engine_rotation *r = e->rotation;
    BASE_ASSERT(r->next == NULL && e->rotated != NULL);
    r->next = take_next;
    r->by_next = r->refused[0] = r->refused[1] = false;
    r->next_ms = 0; /* the tick takes it up: the session may not have begun */
}

/* ---- lifecycle ----------------------------------------------------------------------------- */

int engine_rotation_open(struct node_engine *e, struct base_err *err)
{
    e->rotation = calloc(1, sizeof *e->rotation);
    if (e->rotation == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for the signing key");
    e->rotation->e = e;
    base_buf_init(&e->rotation->body, ROTATE_BODY_BYTES_MAX);
    return 0;
}

void engine_rotation_close(struct node_engine *e)
{
    if (e->rotation == NULL)
        return;
    node_keys_free(e->rotation->next);
    base_buf_release(&e->rotation->body);
    seal_wipe(e->rotation->token, sizeof e->rotation->token);
    free(e->rotation);
    e->rotation = NULL;
}
