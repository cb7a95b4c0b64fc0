/*
 * Record numbers, beside the lanes and never in their way.
 *
 *   look: how many are left ─ less than half of four weeks' supply ──► POST numbers, for the next block of this life
 *   ──► write job: the block, and numbers for those who are owed one ──► look
 *
 * Dying anywhere: the same block is asked for again, and is the same. While the centre refuses this node another copy of it
 * may run: what is left is given up.
 */
#include "node/engine/internal.h"

#include <stdlib.h>
#include <string.h>

#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/seal/seal.h"

enum {
    NUMBERS_LOOK_MS = 2000,
    NUMBERS_RETRY_MS = 5000,
    NUMBERS_LATER_MS = 10 * 60 * 1000, /* the tenant has no scheme, or its numbers are used up */
    NUMBERS_BODY_BYTES_MAX = 512
};

struct engine_numbers {
    struct node_job job;
    struct node_engine *e;
    struct node_request request;
    char token[NET_TOKEN_BYTES_MAX];
    struct base_buf body;
    cJSON *reply; /* being stored */
    struct node_numbers now;
    bool busy, dropped, alarmed;
    int64_t next_ms, ask_ms;
    int paid;
};

static const struct node_author nobody = {.device = "numbers", .request_id = ""};

static void over(struct engine_numbers *x, int64_t wait_ms)
{
    x->busy = false;
    x->next_ms = base_clock_monotonic_ms() + wait_ms;
    engine_done(x->e);
}

/* ---- a block came -------------------------------------------------------------------------- */

static int read_lease(const cJSON *o, struct node_number_block *b, struct base_err *err)
{
    const cJSON *lease = cJSON_GetObjectItemCaseSensitive(o, "lease");
    int64_t digits = 0;
    int rc = net_json_i64(o, "inc", 1, INT64_MAX, &b->incarnation, err);
    if (rc == 0)
        rc = net_json_i64(o, "block", 1, INT64_MAX, &b->block, err);
    if (rc == 0)
        rc = net_json_str(lease, "system", 255, &b->system, err);
    if (rc == 0)
        rc = net_json_str(lease, "prefix", CORE_NUMBER_PREFIX_MAX, &b->prefix, err);
    if (rc == 0)
        rc = net_json_i64(lease, "digits", CORE_NUMBER_DIGITS_MIN, CORE_NUMBER_DIGITS_MAX, &digits,
                          err);
    if (rc == 0)
        rc = net_json_i64(lease, "first", 0, INT64_MAX, &b->first, err);
    if (rc == 0)
        rc = net_json_i64(lease, "last", 0, INT64_MAX, &b->last, err);
    b->digits = (int)digits;
    return rc;
}

static int store_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct engine_numbers *x = (struct engine_numbers *)job;
    struct node_number_block b = {0};
    int rc = x->reply == NULL ? 0 : read_lease(x->reply, &b, err);
    if (rc == 0 && x->reply != NULL)
        rc = node_numbers_add(db, &b, err);
    return rc == 0 ? node_numbers_pay(db, &nobody, &x->paid, err) : rc;
}

static void stored(struct node_job *job)
{
    struct engine_numbers *x = (struct engine_numbers *)job;
    if (job->rc != 0)
        base_log(BASE_LOG_WARN, "numbers", "a block could not be stored: %s", job->err.text);
    else if (x->reply != NULL)
        base_log(BASE_LOG_INFO, "numbers", "block %lld of life %lld came; %d patients got theirs",
                 (long long)x->now.blocks + 1, (long long)x->now.incarnation, x->paid);
    cJSON_Delete(x->reply);
    x->reply = NULL;
    over(x, job->rc != 0 ? NUMBERS_RETRY_MS : 0);
}

static void store(struct engine_numbers *x)
{
    x->job = (struct node_job){.run = store_run, .done = stored, .write = true};
    node_store_write(x->e->store, &x->job);
}

static void answered(struct node_request *r)
{
    struct engine_numbers *x = r->owner;
    cJSON *o = NULL;
    long status = r->rc == 0 ? r->status : 0;
    int rc = status == 200 ? net_json_parse(&o, r->reply.data == NULL ? "" : r->reply.data,
                                            r->reply.len, NULL)
                           : BASE_EIO;
    base_buf_release(&r->reply);
    if (rc == 0 && !x->e->stopping &&
        cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(o, "lease"))) {
        x->reply = o;
        store(x);
        return;
    }
    cJSON_Delete(o);
    if (status == 409)
        base_log(BASE_LOG_WARN, "numbers", "the centre leases no more record numbers");
    bool later = status == 200 || (status >= 400 && status < 500 && status != 401);
    x->ask_ms = base_clock_monotonic_ms() + (later ? NUMBERS_LATER_MS : NUMBERS_RETRY_MS);
    over(x, NUMBERS_LOOK_MS);
}

static void ask(struct engine_numbers *x)
{
    struct node_engine *e = x->e;
    struct base_err err = {0};
    base_buf_clear(&x->body);
    base_buf_printf(
        &x->body, "{\"format\":\"everward-numbers/1\",\"inc\":%lld,\"block\":%lld,\"size\":%lld}",
        (long long)x->now.incarnation, (long long)x->now.blocks + 1, (long long)x->now.need);
    if (base_buf_check(&x->body) != 0 || engine_token(e, x->token, &err) != 0) {
        over(x, NUMBERS_RETRY_MS);
        return;
    }
    x->request = (struct node_request){.method = "POST",
                                       .path = "/sync/v1/numbers",
                                       .token = x->token,
                                       .body = x->body.data,
                                       .body_len = x->body.len,
                                       .content_type = "application/json",
                                       .done = answered,
                                       .owner = x};
    node_transport_send(e->transport, &x->request);
}

/* ---- looking ------------------------------------------------------------------------------- */

static int look_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct engine_numbers *x = (struct engine_numbers *)job;
    return node_numbers_get(db, &x->now, err);
}

static void tell(struct engine_numbers *x)
{
    bool empty = x->now.blocks > 0 && x->now.left == 0;
    x->e->status.numbers = x->now;
    if (empty && !x->alarmed)
        base_log(BASE_LOG_ERROR, "numbers",
                 "no record numbers are left: new patients are written without one");
    x->alarmed = empty;
    engine_refresh(x->e);
}

static bool moved(const struct node_numbers *a, const struct node_numbers *b)
{
    return a->incarnation != b->incarnation || a->blocks != b->blocks || a->left != b->left ||
           a->need != b->need || a->owed != b->owed || a->withheld != b->withheld;
}

static void looked(struct node_job *job)
{
    struct engine_numbers *x = (struct engine_numbers *)job;
    struct node_engine *e = x->e;
    const struct node_numbers *was = &e->status.numbers;
    if (job->rc != 0 || e->stopping) {
        over(x, NUMBERS_RETRY_MS);
        return;
    }
    if (moved(was, &x->now))
        tell(x);
    bool can = e->session.link_open && e->session.greeted && e->fence[0] == '\0' &&
               e->status.sync.filled && !x->now.withheld;
    if (can && base_clock_monotonic_ms() >= x->ask_ms && core_numbers_low(x->now.left, x->now.need))
        ask(x);
    else if (x->now.owed > 0 && x->now.left > 0 && !x->now.withheld)
        store(x);
    else
        over(x, NUMBERS_LOOK_MS);
}

static int drop_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    (void)job;
    return node_numbers_drop(db, err);
}

static void dropped(struct node_job *job)
{
    struct engine_numbers *x = (struct engine_numbers *)job;
    x->dropped = job->rc == 0;
    over(x, x->dropped ? 0 : NUMBERS_RETRY_MS);
}

void engine_numbers_tick(struct node_engine *e)
{
    struct engine_numbers *x = e->numbers;
    bool refused = e->fence[0] != '\0' || e->put_back;
    if (!refused)
        x->dropped = false;
    if (x->busy || e->stopping || base_clock_monotonic_ms() < x->next_ms)
        return;
    x->busy = true;
    e->under_way++;
    if (refused && !x->dropped) {
        x->job = (struct node_job){.run = drop_run, .done = dropped, .write = true};
        node_store_write(e->store, &x->job);
    } else {
        x->job = (struct node_job){.run = look_run, .done = looked};
        node_store_read(e->store, &x->job);
    }
}

void engine_numbers_greeted(struct node_engine *e)
{
    e->numbers->next_ms = e->numbers->ask_ms = 0;
}

int engine_numbers_open(struct node_engine *e, struct base_err *err)
{
    struct engine_numbers *x = calloc(1, sizeof *x);
    if (x == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for record numbers");
    x->e = e;
    base_buf_init(&x->body, NUMBERS_BODY_BYTES_MAX);
    e->numbers = x;
    return 0;
}

void engine_numbers_close(struct node_engine *e)
{
    if (e->numbers == NULL)
        return;
    base_buf_release(&e->numbers->body);
    cJSON_Delete(e->numbers->reply);
    seal_wipe(e->numbers->token, sizeof e->numbers->token);
    free(e->numbers);
    e->numbers = NULL;
}
