/*
 * The node's keys in the tenant's safe, and the order to destroy them: a small exchange beside the lanes.
 *
 *   escrow:  ask for the recovery key ─ pin the first one ─ seal the keys for it ─ sent until the centre has kept it
 *   wipe:    asked for ─ writes stop ─ nothing unsent? ─ keys destroyed ─ proof sent ─ the daemon ends
 *                                        └ something: writes go on, and the centre is told what
 *
 * Another recovery key than the pinned one is not used until a person at the node accepts it: whoever holds the centre
 * alone cannot have the keys of a node sealed for themselves.
 */
#include "node/engine/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/net/json.h"
#include "sync/seal/seal.h"

enum {
    ESCROW_EVERY_MS = 60 * 1000,
    ESCROW_RETRY_MS = 5000,
    ESCROW_BODY_BYTES_MAX = 8192,
    WIPED_PATIENCE_MS = 60 * 1000, /* for the proof to get through; it lies in the folder, too */
    KEY_HEX = 64
};

enum wipe_state { WIPE_NONE, WIPE_LOOKING, WIPE_REFUSED, WIPE_DONE };

struct engine_escrow {
    struct node_job job;
    struct node_engine *e;
    struct node_request request;
    char token[NET_TOKEN_BYTES_MAX];
    struct base_buf body;
    bool busy, warned;
    int64_t next_ms;
    bool pinned, kept; /* as the store says */
    uint8_t key[32];
    char kept_id[33]; /* of this recovery key and this data key */
    uint8_t nonce[32];
    enum wipe_state wipe;
    char refused[200];
    char statement[512];
    uint8_t sig[SEAL_SIGNATURE_BYTES];
    int64_t wiped_ms;
};

static void round_over(struct engine_escrow *x, int64_t wait_ms)
{
    x->busy = false;
    x->next_ms = base_clock_monotonic_ms() + wait_ms;
    engine_done(x->e);
}

/* ---- what the store knows ------------------------------------------------------------------ */

/* Changes with each of the keys: then the escrow is made anew. */
static void kept_id(const struct node_keys *keys, const uint8_t key[32], char out[33])
{
    uint8_t all[96];
    uint8_t hash[SEAL_HASH_BYTES];
    memcpy(all, key, 32);
    memcpy(all + 32, node_keys_data(keys), 32);
    node_keys_public(keys, all + 64);
    seal_hash(hash, all, sizeof all);
    for (int i = 0; i < 16; i++)
        (void)snprintf(out + 2 * i, 3, "%02x", hash[i]);
    seal_wipe(all, sizeof all);
}

int engine_recovery_key(struct node_db *db, uint8_t key[32], bool *pinned, struct base_err *err)
{
    struct base_buf b;
    base_buf_init(&b, 128);
    int rc = node_meta_get(db, "recovery_key", &b, err);
    *pinned = rc == 0 && b.len == KEY_HEX && seal_hex_decode(key, 32, b.data, KEY_HEX);
    base_buf_release(&b);
    return rc;
}

static int look_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct engine_escrow *x = (struct engine_escrow *)job;
    struct base_buf b;
    int rc = engine_recovery_key(db, x->key, &x->pinned, err);
    if (rc != 0 || !x->pinned)
        return rc;
    base_buf_init(&b, 128);
    kept_id(x->e->keys, x->key, x->kept_id);
    rc = node_meta_get(db, "escrow_kept", &b, err);
    x->kept = rc == 0 && b.data != NULL && strcmp(b.data, x->kept_id) == 0;
    base_buf_release(&b);
    return rc;
}

static int note_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct engine_escrow *x = (struct engine_escrow *)job;
    char hex[KEY_HEX + 1];
    if (x->kept)
        return node_meta_set(db, "escrow_kept", x->kept_id, err);
    for (int i = 0; i < 32; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", x->key[i]);
    return node_meta_set(db, "recovery_key", hex, err);
}

static void noted(struct node_job *job)
{
    struct engine_escrow *x = (struct engine_escrow *)job;
    if (job->rc != 0)
        base_log(BASE_LOG_WARN, "escrow", "it could not be noted: %s", job->err.text);
    else
        base_log(BASE_LOG_INFO, "escrow",
                 x->kept ? "the centre keeps the keys, sealed for the recovery key"
                         : "the tenant's recovery key is pinned");
    round_over(x, job->rc != 0 || x->kept ? ESCROW_EVERY_MS : 0);
}

/* ---- the exchange -------------------------------------------------------------------------- */

static void add_bytes(struct base_buf *b, const char *name, const void *bytes, size_t len)
{
    base_buf_printf(b, ",\"%s\":\"", name);
    seal_base64url(b, bytes, len);
    base_buf_char(b, '"');
}

static int write_body(struct engine_escrow *x, struct base_err *err)
{
    struct base_buf *b = &x->body;
    uint8_t box[NODE_KEYS_ESCROW_BYTES];
    int rc = 0;
    base_buf_clear(b);
    base_buf_str(b, "{\"format\":\"everward-escrow/1\"");
    if (x->pinned && !x->kept && x->wipe != WIPE_DONE) {
        rc = node_keys_escrow(x->e->keys, x->key, box, err);
        add_bytes(b, "recovery_key", x->key, sizeof x->key);
        add_bytes(b, "sealed", box, sizeof box);
    }
    if (x->wipe == WIPE_REFUSED || x->wipe == WIPE_DONE)
        add_bytes(b, "wipe", x->nonce, sizeof x->nonce);
    if (x->wipe == WIPE_REFUSED) {
        base_buf_str(b, ",\"refused\":");
        base_buf_json_str(b, x->refused);
    } else if (x->wipe == WIPE_DONE) {
        base_buf_str(b, ",\"statement\":");
        base_buf_json_str(b, x->statement);
        add_bytes(b, "sig", x->sig, sizeof x->sig);
    }
    base_buf_char(b, '}');
    return rc != 0 || base_buf_check(b) == 0
               ? rc
               : base_fail(err, base_buf_check(b), "the escrow does not fit");
}

static void take_key(struct engine_escrow *x, const uint8_t key[32], bool kept)
{
    bool same = x->pinned && memcmp(key, x->key, 32) == 0;
    if (x->pinned && !same) {
        if (!x->warned)
            base_log(BASE_LOG_ERROR, "escrow",
                     "the centre names another recovery key than the one pinned here: it is not "
                     "used until `everward keys accept-recovery` has been told it");
        x->warned = true;
        round_over(x, ESCROW_EVERY_MS);
        return;
    }
    if (same && (x->kept || !kept)) {
        round_over(x, ESCROW_EVERY_MS);
        return;
    }
    x->kept = same;
    memcpy(x->key, key, 32);
    x->job = (struct node_job){.run = note_run, .done = noted};
    node_store_write(x->e->store, &x->job);
}

static bool bytes_of(const cJSON *o, const char *name, uint8_t out[32])
{
    const char *text = NULL;
    size_t len = 0;
    return net_json_str(o, name, 64, &text, NULL) == 0 &&
           seal_base64url_decode(out, 32, &len, text, strlen(text)) && len == 32;
}

static void look_for_unsent(struct engine_escrow *x);

static void answered(struct node_request *r)
{
    struct engine_escrow *x = r->owner;
    uint8_t key[32], nonce[32];
    cJSON *o = NULL;
    bool kept = false;
    bool good =
        r->rc == 0 && r->status == 200 && !x->e->stopping &&
        net_json_parse(&o, r->reply.data == NULL ? "" : r->reply.data, r->reply.len, NULL) == 0;
    bool has_key = good && bytes_of(o, "recovery_key", key);
    bool asked = good && bytes_of(o, "wipe", nonce);
    (void)net_json_bool(o, "kept", &kept, NULL);
    cJSON_Delete(o);
    base_buf_release(&r->reply);
    if (good && x->wipe == WIPE_DONE) {
        x->busy = true; /* nothing more is asked */
        x->e->wiped(x->e->wipe_user);
        engine_done(x->e);
    } else if (asked && x->wipe == WIPE_NONE) {
        memcpy(x->nonce, nonce, sizeof x->nonce);
        look_for_unsent(x);
    } else {
        if (x->wipe == WIPE_REFUSED && good)
            x->wipe = WIPE_NONE; /* looked again with the next round */
        if (has_key)
            take_key(x, key, kept);
        else
            round_over(x, good ? ESCROW_EVERY_MS : ESCROW_RETRY_MS);
    }
}

static void exchange(struct engine_escrow *x)
{
    struct node_engine *e = x->e;
    struct base_err err = {0};
    int rc = e->stopping || !e->session.link_open ? BASE_ECANCELED : write_body(x, &err);
    if (rc == 0)
        rc = engine_token(e, x->token, &err);
    if (rc != 0) {
        round_over(x, ESCROW_RETRY_MS);
        return;
    }
    x->request = (struct node_request){.method = "POST",
                                       .path = "/sync/v1/escrow",
                                       .token = x->token,
                                       .body = x->body.data,
                                       .body_len = x->body.len,
                                       .content_type = "application/json",
                                       .done = answered,
                                       .owner = x};
    node_transport_send(e->transport, &x->request);
}

static void looked(struct node_job *job)
{
    struct engine_escrow *x = (struct engine_escrow *)job;
    if (job->rc != 0)
        round_over(x, ESCROW_RETRY_MS);
    else
        exchange(x);
}

/* ---- wipe ---------------------------------------------------------------------------------- */

/* On the writer, with no other write behind it: what is unsent now stays unsent. */
static int unsent_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct engine_escrow *x = (struct engine_escrow *)job;
    struct node_sync_state s;
    struct base_buf b;
    base_buf_init(&b, 64);
    int rc = node_sync_state_get(db, &s, err);
    if (rc == 0)
        rc = node_meta_get(db, "exported_seq", &b, err);
    int64_t exported = b.data == NULL ? 0 : strtoll(b.data, NULL, 10);
    base_buf_release(&b);
    if (rc != 0)
        return rc;
    x->refused[0] = '\0';
    if (s.last_seq > s.acked_seq && s.last_seq > exported)
        (void)snprintf(x->refused, sizeof x->refused,
                       "%lld changes are neither acknowledged nor exported",
                       (long long)(s.last_seq - s.acked_seq));
    else if (s.quarantined > 0)
        (void)snprintf(x->refused, sizeof x->refused,
                       "%lld changes are quarantined: retry or drop them first",
                       (long long)s.quarantined);
    char at[BASE_TIME_CHARS + 1], node[BASE_UUID_CHARS + 1], nonce[KEY_HEX + 1];
    base_time_format(base_clock_wall_ms(), at);
    base_uuid_format(&x->e->identity.node_id, node);
    for (int i = 0; i < 32; i++)
        (void)snprintf(nonce + 2 * i, 3, "%02x", x->nonce[i]);
    (void)snprintf(x->statement, sizeof x->statement,
                   "everward wiped 1\n%s\nnode %s at %s\nlast_seq %lld acked_seq %lld exported "
                   "%lld",
                   nonce, node, at, (long long)s.last_seq, (long long)s.acked_seq,
                   (long long)exported);
    return 0;
}

static void unsent_known(struct node_job *job)
{
    struct engine_escrow *x = (struct engine_escrow *)job;
    struct node_engine *e = x->e;
    struct base_err err = {0};
    if (job->rc == 0 && x->refused[0] == '\0') {
        node_keys_sign(e->keys, x->statement, strlen(x->statement), x->sig);
        if (e->wipe(e->wipe_user, x->statement, x->sig, &err) == 0) {
            base_log(BASE_LOG_WARN, "wipe", "the keys are destroyed, as the centre has asked");
            x->wipe = WIPE_DONE;
            x->wiped_ms = base_clock_monotonic_ms();
            exchange(x);
            return;
        }
        (void)snprintf(x->refused, sizeof x->refused, "%.190s", err.text);
    } else if (job->rc != 0) {
        (void)snprintf(x->refused, sizeof x->refused, "%.190s", job->err.text);
    }
    node_store_freeze(e->store, false);
    base_log(BASE_LOG_WARN, "wipe", "asked for by the centre, refused: %s", x->refused);
    node_engine_audit(e, "wipe", "refused", x->refused);
    x->wipe = WIPE_REFUSED;
    exchange(x);
}

static void look_for_unsent(struct engine_escrow *x)
{
    x->wipe = WIPE_LOOKING;
    if (x->e->wipe == NULL) {
        x->wipe = WIPE_NONE;
        round_over(x, ESCROW_EVERY_MS);
        return;
    }
    node_store_freeze(x->e->store, true);
    x->job = (struct node_job){.run = unsent_run, .done = unsent_known, .though_frozen = true};
    node_store_write(x->e->store, &x->job);
}

int node_engine_escrow_text(struct node_db *db, const struct node_keys *keys, struct base_buf *out,
                            struct base_err *err)
{
    uint8_t key[32];
    uint8_t box[NODE_KEYS_ESCROW_BYTES];
    char node[BASE_UUID_CHARS + 1];
    bool pinned = false;
    int rc = engine_recovery_key(db, key, &pinned, err);
    if (rc == 0 && !pinned)
        rc =
            base_fail(err, BASE_ENOTFOUND,
                      "the tenant's recovery key is not known here yet: `everward-gateway recovery "
                      "make`, then let the node sync");
    if (rc == 0)
        rc = node_keys_escrow(keys, key, box, err);
    if (rc != 0)
        return rc;
    base_uuid_format(&node_db_identity(db)->node_id, node);
    base_buf_printf(out, "ewescrow1:%s:", node);
    base_buf_hex(out, key, sizeof key);
    base_buf_char(out, ':');
    base_buf_hex(out, box, sizeof box);
    return 0;
}

/* ---- lifecycle ----------------------------------------------------------------------------- */

void engine_escrow_tick(struct node_engine *e)
{
    struct engine_escrow *x = e->escrow;
    int64_t now = base_clock_monotonic_ms();
    if (x->wipe == WIPE_DONE && now - x->wiped_ms > WIPED_PATIENCE_MS && !e->stopping) {
        x->wiped_ms = now;
        e->wiped(e->wipe_user);
        return;
    }
    if (x->busy || e->stopping || now < x->next_ms || !e->session.link_open || !e->session.greeted)
        return;
    x->busy = true;
    e->under_way++;
    if (x->wipe == WIPE_DONE) {
        exchange(x);
        return;
    }
    x->job = (struct node_job){.run = look_run, .done = looked};
    node_store_read(e->store, &x->job);
}

void engine_escrow_greeted(struct node_engine *e)
{
    e->escrow->next_ms = 0;
}

int engine_escrow_open(struct node_engine *e, struct base_err *err)
{
    struct engine_escrow *x = calloc(1, sizeof *x);
    if (x == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for the escrow");
    x->e = e;
    base_buf_init(&x->body, ESCROW_BODY_BYTES_MAX);
    e->escrow = x;
    return 0;
}

void engine_escrow_close(struct node_engine *e)
{
    if (e->escrow == NULL)
        return;
    base_buf_release(&e->escrow->body);
    seal_wipe(e->escrow->token, sizeof e->escrow->token);
    free(e->escrow);
    e->escrow = NULL;
}
