/*
 * The same key gets the same answer: while the first is under way, after it, and after a kill and
 * restart, because key, request and reply are stored in the transaction of the write itself.
 *
 * Which keys were used is known in memory (keyset.c), read back at the start; the reply is read
 * from the store by its number. A key is in memory before its request stops counting as under way.
 */
#include <stdlib.h>
#include <string.h>

#include "node/api/internal.h"

enum {
    KEYS_PRUNE_MS = 10 * 60 * 1000,
    KEYS_PRUNE_ROWS = 500, /* in one job: others wait for it */
    KEYS_ROOM = 2 * NODE_STORE_QUEUE_MAX
};

static uint64_t fingerprint_of(const struct api_call *c)
{
    uint64_t f;
    memcpy(&f, c->key_hash, sizeof f);
    return f != 0 ? f : 1;
}

static struct api_call **running_of(struct api_call *c)
{
    struct api_call **at = &c->api->running[c->key_hash[0] % API_RUNNING_BUCKETS];
    while (*at != NULL && memcmp((*at)->key_hash, c->key_hash, sizeof c->key_hash) != 0)
        at = &(*at)->running_next;
    return at;
}

bool api_key_enter(struct api_call *c)
{
    struct api_call **at = running_of(c);
    if (*at == NULL && api_keyset_reserve(&c->api->keys, KEYS_ROOM) != 0) {
        api_refuse_rc(c, BASE_ENOMEM, "no memory for the request's key");
        api_finish(c);
        return false;
    }
    if (*at == NULL) {
        *at = c;
        c->key_used = api_keyset_find(&c->api->keys, fingerprint_of(c));
        c->key_n = ++c->api->key_last;
        return true;
    }
    bool same = memcmp((*at)->request_hash, c->request_hash, sizeof c->request_hash) == 0;
    if (same) {
        api_refuse(c, 409, "request_running", "Send it again in a moment to get its answer.",
                   "a request with this Idempotency-Key is under way");
        c->problem.retry_after_s = 1;
    } else {
        api_refuse(c, 422, "idempotency_key_reused", "Make a new key for each thing done.",
                   "this Idempotency-Key was used for another request");
    }
    api_finish(c);
    return false;
}

void api_key_leave(struct api_call *c)
{
    struct api_call **at = running_of(c);
    if (c->job.rc == 0 && !c->replayed)
        api_keyset_add(&c->api->keys, fingerprint_of(c), c->key_n);
    if (*at == c)
        *at = c->running_next;
}

static void copy_col(struct node_stmt *st, int col, char *out, size_t out_bytes)
{
    size_t len = 0;
    const char *s = node_sql_col_text(st, col, &len);
    snprintf(out, out_bytes, "%.*s", (int)len, s != NULL ? s : "");
}

int api_key_find(struct api_call *c, struct node_db *db, struct base_err *err)
{
    struct node_stmt *st = NULL;
    size_t len = 0;
    if (c->key_used == 0)
        return 0;
    int rc = node_sql(db, &st,
                      "SELECT request_hash, status, location, etag, body FROM node_reply "
                      "WHERE n = ?2 AND key_hash = ?1",
                      err);
    if (rc != 0)
        return rc;
    node_sql_blob(st, 1, c->key_hash, sizeof c->key_hash);
    node_sql_i64(st, 2, c->key_used);
    rc = node_sql_step(st, err);
    if (rc > 0) {
        const void *hash = node_sql_col_blob(st, 0, &len);
        if (hash == NULL || len != sizeof c->request_hash ||
            memcmp(hash, c->request_hash, len) != 0) {
            rc = api_refuse(c, 422, "idempotency_key_reused", "Make a new key for each thing done.",
                            "this Idempotency-Key was used for another request");
        } else {
            c->status = (int)node_sql_col_i64(st, 1);
            copy_col(st, 2, c->location, sizeof c->location);
            copy_col(st, 3, c->etag, sizeof c->etag);
            const char *body = node_sql_col_text(st, 4, &len);
            base_buf_add(&c->body, body != NULL ? body : "", body != NULL ? len : 0);
            c->replayed = true;
        }
    }
    node_sql_done(st);
    return rc;
}

static int store_fingerprint(struct api_call *c, struct node_db *db, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st, "INSERT INTO node_reply_key (n, fingerprint) VALUES (?1, ?2)", err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, c->key_n);
    node_sql_i64(st, 2, (int64_t)fingerprint_of(c));
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc;
}

int api_key_store(struct api_call *c, struct node_db *db, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = base_buf_check(&c->body);
    if (rc != 0)
        return base_fail(err, rc, "the reply is too large");
    rc = node_sql(db, &st,
                  "INSERT INTO node_reply (n, key_hash, request_hash, status, location, "
                  "etag, body, at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                  err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, c->key_n);
    node_sql_blob(st, 2, c->key_hash, sizeof c->key_hash);
    node_sql_blob(st, 3, c->request_hash, sizeof c->request_hash);
    node_sql_i64(st, 4, c->status);
    node_sql_text(st, 5, c->location);
    node_sql_text(st, 6, c->etag);
    node_sql_text_len(st, 7, c->body.data != NULL ? c->body.data : "", c->body.len);
    node_sql_i64(st, 8, c->now_ms);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc != 0 ? rc : store_fingerprint(c, db, err);
}

/* Reading back. */

struct load {
    struct node_job job;
    struct node_api *api;
    struct api_keyslot *list;
    int count;
    int64_t last_n;
};

static int load_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct load *l = (struct load *)job;
    struct node_stmt *st = NULL;
    int step = 1;
    l->list = calloc(API_KEYS_MAX, sizeof *l->list);
    if (l->list == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory reading idempotency keys");
    int rc = node_sql(db, &st, "SELECT n, fingerprint FROM node_reply_key ORDER BY n DESC LIMIT ?1",
                      err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, API_KEYS_MAX);
    while (l->count < API_KEYS_MAX && (step = node_sql_step(st, err)) > 0)
        l->list[l->count++] =
            (struct api_keyslot){(uint64_t)node_sql_col_i64(st, 1), node_sql_col_i64(st, 0)};
    node_sql_done(st);
    return step < 0 ? step : 0;
}

static void load_done(struct node_job *job)
{
    struct load *l = (struct load *)job;
    struct node_api *a = l->api;
    int rc = job->rc == 0 ? api_keyset_reserve(&a->keys, (size_t)l->count + KEYS_ROOM) : job->rc;
    a->keys_busy = false;
    if (rc != 0)
        base_log(BASE_LOG_WARN, "keys_not_read", "%s", job->err.text); /* the tick tries again */
    for (int i = l->count - 1; rc == 0 && i >= 0; i--)
        api_keyset_add(&a->keys, l->list[i].fingerprint, l->list[i].n);
    if (rc == 0 && l->count > 0)
        a->key_last = l->list[0].n;
    a->keys_loaded = rc == 0;
    free(l->list);
    free(l);
    api_job_end(a);
}

void api_keys_load(struct node_api *a)
{
    struct load *l = a->keys_busy || a->keys_loaded ? NULL : calloc(1, sizeof *l);
    if (l == NULL)
        return;
    l->api = a;
    l->job.run = load_run;
    l->job.done = load_done;
    a->keys_busy = true;
    api_job_begin(a);
    node_store_read(a->store, &l->job);
}

/* Forgetting. The fingerprint goes with its reply: a key whose reply is gone counts as new. */

struct prune {
    struct node_job job;
    struct node_api *api;
    int64_t before_ms, before_n, first_n;
    int64_t gone;
};

static int prune_table(struct node_db *db, const char *sql, int64_t to, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st, sql, err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, to);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc;
}

/* The last n of those that go in this round. */
static int prune_to(struct prune *p, struct node_db *db, int64_t *to, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st,
                      "SELECT max(n), count(*) FROM (SELECT n, at_ms FROM node_reply "
                      "ORDER BY n LIMIT ?3) WHERE at_ms < ?1 OR n < ?2",
                      err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, p->before_ms);
    node_sql_i64(st, 2, p->before_n);
    node_sql_i64(st, 3, KEYS_PRUNE_ROWS);
    rc = node_sql_step(st, err);
    if (rc > 0) {
        *to = node_sql_col_i64(st, 0);
        p->gone = node_sql_col_i64(st, 1);
        rc = 0;
    }
    node_sql_done(st);
    return rc;
}

static int prune_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct prune *p = (struct prune *)job;
    int64_t to = 0;
    int rc = prune_to(p, db, &to, err);
    if (rc != 0 || p->gone == 0)
        return rc;
    p->first_n = to + 1;
    rc = prune_table(db, "DELETE FROM node_reply WHERE n <= ?1", to, err);
    return rc != 0 ? rc : prune_table(db, "DELETE FROM node_reply_key WHERE n <= ?1", to, err);
}

static void prune_done(struct node_job *job)
{
    struct prune *p = (struct prune *)job;
    struct node_api *a = p->api;
    a->keys_busy = false;
    a->keys_more = job->rc == 0 && p->gone == KEYS_PRUNE_ROWS;
    if (job->rc != 0)
        base_log(BASE_LOG_WARN, "keys_not_pruned", "%s", job->err.text);
    else if (p->gone > 0)
        a->keys.first_n = p->first_n;
    free(p);
    if (a->keys_more && !a->stopping)
        api_keys_prune(a);
    api_job_end(a);
}

void api_keys_prune(struct node_api *a)
{
    int64_t now = base_clock_monotonic_ms();
    bool full = a->keys.count > API_KEYS_MAX && a->key_last - a->keys.first_n > API_KEYS_MAX;
    if (!a->keys_loaded || a->keys_busy ||
        (!full && !a->keys_more && a->pruned_ms != 0 && now - a->pruned_ms < KEYS_PRUNE_MS))
        return;
    struct prune *p = calloc(1, sizeof *p);
    if (p == NULL)
        return;
    a->pruned_ms = now;
    p->api = a;
    p->before_ms = base_clock_wall_ms() - (int64_t)API_KEYS_KEPT_MS;
    p->before_n = a->key_last - API_KEYS_MAX;
    p->job.run = prune_run;
    p->job.done = prune_done;
    p->job.write = true;
    a->keys_busy = true;
    api_job_begin(a);
    node_store_write(a->store, &p->job);
}
