/*
 * The same key gets the same answer: while the first is under way, after it, and after a kill and
 * restart, because key, request and reply are stored in the transaction of the write itself.
 */
#include <stdlib.h>
#include <string.h>

#include "node/api/internal.h"

enum { KEYS_PRUNE_MS = 10 * 60 * 1000, KEYS_PRUNE_ROWS = 2000 };

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
    if (*at == NULL) {
        *at = c;
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
    int rc = node_sql(db, &st,
                      "SELECT request_hash, status, location, etag, body FROM node_idempotency "
                      "WHERE key_hash = ?1",
                      err);
    if (rc != 0)
        return rc;
    node_sql_blob(st, 1, c->key_hash, sizeof c->key_hash);
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

int api_key_store(struct api_call *c, struct node_db *db, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = base_buf_check(&c->body);
    if (rc != 0)
        return base_fail(err, rc, "the reply is too large");
    rc = node_sql(db, &st,
                  "INSERT INTO node_idempotency (key_hash, request_hash, status, location, etag, "
                  "body, at_ms) "
                  "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                  err);
    if (rc != 0)
        return rc;
    node_sql_blob(st, 1, c->key_hash, sizeof c->key_hash);
    node_sql_blob(st, 2, c->request_hash, sizeof c->request_hash);
    node_sql_i64(st, 3, c->status);
    node_sql_text(st, 4, c->location);
    node_sql_text(st, 5, c->etag);
    node_sql_text_len(st, 6, c->body.data != NULL ? c->body.data : "", c->body.len);
    node_sql_i64(st, 7, c->now_ms);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc;
}

struct prune {
    struct node_job job;
    struct node_api *api;
    int64_t before_ms;
};

static int prune_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct prune *p = (struct prune *)job;
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st,
                      "DELETE FROM node_idempotency WHERE n IN "
                      "(SELECT n FROM (SELECT n, at_ms FROM node_idempotency ORDER BY n LIMIT ?2) "
                      "WHERE at_ms < ?1)",
                      err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, p->before_ms);
    node_sql_i64(st, 2, KEYS_PRUNE_ROWS);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc;
}

static void prune_done(struct node_job *job)
{
    struct prune *p = (struct prune *)job;
    struct node_api *a = p->api;
    if (job->rc != 0)
        base_log(BASE_LOG_WARN, "keys_not_pruned", "%s", job->err.text);
    free(p);
    api_job_end(a);
}

void api_key_prune(struct node_api *a)
{
    int64_t now = base_clock_monotonic_ms();
    if (a->pruned_ms != 0 && now - a->pruned_ms < KEYS_PRUNE_MS)
        return;
    struct prune *p = calloc(1, sizeof *p);
    if (p == NULL)
        return;
    a->pruned_ms = now;
    p->api = a;
    p->before_ms = base_clock_wall_ms() - (int64_t)API_KEYS_KEPT_MS;
    p->job.run = prune_run;
    p->job.done = prune_done;
    p->job.write = true;
    api_job_begin(a);
    node_store_write(a->store, &p->job);
}
