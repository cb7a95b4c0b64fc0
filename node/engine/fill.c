/*
 * The first fill (and that of a new table or column): pages in order of id, the next one on its way while one is applied.
 *
 *   which table, from where? ──► GET page ──► unpack (pool) ──► apply (writer) ──► … ──► last page: which table next?
 *                                   ▲                │ tells where the next page begins
 *                                   └────────────────┘ asked for at once
 *
 * How far a table is stands in the store, written with each page: breaking off anywhere loses only what was on its way.
 */
#include "node/engine/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/net/json.h"
#include "sync/seal/seal.h"

struct engine_fill {
    struct node_engine *e;
    char table[CORE_NAME_BYTES_MAX + 1];
    char after[BASE_UUID_CHARS + 1];
    bool done;   /* every table is complete */
    bool former; /* what we hold is of a life of the centre that is over */
    struct node_request request;
    char token[NET_TOKEN_BYTES_MAX];
    char path[256];
    struct node_job job; /* ask or apply */
    uv_work_t unpack;
    struct base_buf packed,
        plain; /* of the page being unpacked; plain waits until the one before is applied */
    struct base_buf applying;
    char next[BASE_UUID_CHARS + 1];        /* behind the page in plain; "": it is the last */
    bool getting, unpacking, parked, busy; /* parked: plain is ready; busy: a job runs */
    int rc, unpack_rc;
    struct base_err err, unpack_err;
    int64_t rows;
};

static void fill_step(struct engine_fill *f);

static void fill_end(struct engine_fill *f)
{
    struct node_engine *e = f->e;
    bool done = f->done;
    if (f->rc != 0) {
        /* a failed request has been noted already. A page of a newer catalog, or of an older cut than
         * ours (the centre was restored): a greeting tells which, fetching the catalog again would
         * go on for ever. */
        if (f->rc != BASE_ECANCELED)
            engine_failed(e, CORE_LANE_PULL, f->rc == BASE_ESTALE ? BASE_EPROTO : f->rc,
                          f->err.text);
    } else {
        core_session_on_fill(&e->session, done);
    }
    base_buf_release(&f->packed);
    base_buf_release(&f->plain);
    base_buf_release(&f->applying);
    free(f);
    e->fill = NULL;
    engine_refresh(e);
    engine_done(e);
}

static void on_page(struct node_request *r);

static void get_page(struct engine_fill *f, const char *after)
{
    struct node_engine *e = f->e;
    (void)snprintf(f->path, sizeof f->path, "/sync/v1/bootstrap?table=%s&limit=%d%s%s%s", f->table,
                   ENGINE_FILL_ROWS, f->former ? "&life=former" : "",
                   after[0] == '\0' ? "" : "&after=", after);
    if (e->stopping || (f->rc = engine_token(e, f->token, &f->err)) != 0) {
        f->rc = f->rc == 0 ? BASE_ECANCELED : BASE_EIO;
        if (f->rc == BASE_ECANCELED)
            core_session_on_failed(&e->session, CORE_LANE_PULL, CORE_FAILED_PASSING,
                                   base_clock_monotonic_ms(), 0, 0);
        return;
    }
    f->getting = true;
    f->request = (struct node_request){
        .method = "GET", .path = f->path, .token = f->token, .done = on_page, .owner = f};
    node_transport_send(e->transport, &f->request);
}

/* The last line tells where the next page begins; the store reads the page strictly, this only looks ahead. */
static int look_ahead(struct engine_fill *f)
{
    const char *end = f->plain.data + f->plain.len;
    const char *line = end - 1;
    cJSON *o = NULL;
    const char *next = NULL;
    f->next[0] = '\0';
    if (f->plain.len < 2 || *line != '\n')
        return base_fail(&f->unpack_err, BASE_EIO, "a page of %s is cut off", f->table);
    while (line > f->plain.data && line[-1] != '\n')
        line--;
    int rc = net_json_parse(&o, line, (size_t)(end - line), &f->unpack_err);
    if (rc == 0 && net_json_str(o, "next", BASE_UUID_CHARS, &next, NULL) == 0)
        (void)snprintf(f->next, sizeof f->next, "%s", next);
    cJSON_Delete(o);
    return rc == 0 ? 0 : BASE_EIO;
}

static void unpack(uv_work_t *work)
{
    struct engine_fill *f = work->data;
    base_buf_clear(&f->plain);
    f->unpack_rc = seal_decompress(&f->plain, f->packed.data, f->packed.len, &f->unpack_err);
    if (f->unpack_rc == 0)
        f->unpack_rc = look_ahead(f);
}

static void unpacked(uv_work_t *work, int status)
{
    struct engine_fill *f = work->data;
    base_buf_release(&f->packed);
    f->unpacking = false;
    if (f->unpack_rc != 0 && f->rc == 0) {
        f->rc = BASE_EIO;
        f->err = f->unpack_err;
    }
    if (f->rc == 0) {
        f->parked = true;
        if (f->next[0] != '\0' && !f->getting && !f->busy)
            get_page(f, f->next); /* nothing is being applied: this one is next, so there is room */
    }
    fill_step(f);
}

static void on_page(struct node_request *r)
{
    struct engine_fill *f = r->owner;
    f->getting = false;
    if (engine_reply_failed(f->e, r, CORE_LANE_PULL)) {
        f->rc = BASE_ECANCELED;
        fill_step(f);
        return;
    }
    if (f->rc == 0 && r->reply.data == NULL)
        f->rc = base_fail(&f->err, BASE_EIO, "a page of %s is empty", f->table);
    if (f->rc == 0)
        f->packed = r->reply;
    else
        base_buf_release(&r->reply);
    base_buf_init(&r->reply, 0);
    fill_step(f);
}

static void applied(struct node_job *job)
{
    struct engine_fill *f = (struct engine_fill *)((char *)job - offsetof(struct engine_fill, job));
    f->busy = false;
    if (job->rc != 0 && f->rc == 0) {
        f->rc = job->rc;
        f->err = job->err;
    }
    fill_step(f);
}

static int apply_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct engine_fill *f = (struct engine_fill *)((char *)job - offsetof(struct engine_fill, job));
    struct node_page_result result;
    int rc = node_page_apply(db, f->applying.data, f->applying.len, &result, err);
    if (rc == 0)
        f->rows += result.rows;
    return rc;
}

static void apply(struct engine_fill *f)
{
    struct base_buf swap = f->applying;
    f->applying = f->plain;
    f->plain = swap;
    f->parked = false;
    f->busy = true;
    f->job = (struct node_job){.run = apply_run, .done = applied, .write = true};
    node_store_write(f->e->store, &f->job);
}

/* Starts whatever can go on; ends when nothing runs any more. Memory: one page applied, one parked or unpacked, one on its way. */
static void fill_step(struct engine_fill *f)
{
    if (f->rc == 0 && f->packed.data != NULL && !f->unpacking && !f->parked) {
        f->unpacking = true;
        f->unpack.data = f;
        (void)uv_queue_work(f->e->loop, &f->unpack, unpack, unpacked);
    }
    if (f->rc == 0 && f->parked && !f->busy) {
        char next[BASE_UUID_CHARS + 1];
        memcpy(next, f->next, sizeof next);
        apply(f);
        if (next[0] != '\0' && !f->getting && f->packed.data == NULL)
            get_page(f, next);
        if (f->packed.data != NULL) {
            fill_step(f);
            return;
        }
    }
    if (!f->busy && !f->getting && !f->unpacking &&
        (f->rc != 0 || (!f->parked && f->packed.data == NULL)))
        fill_end(f);
}

static int ask_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct engine_fill *f = (struct engine_fill *)((char *)job - offsetof(struct engine_fill, job));
    struct node_engine *e = f->e;
    struct node_sync_state s;
    int rc = node_sync_state_get(db, &s, err);
    if (rc == 0 && s.cursor < 0)
        rc = node_fill_begin(db, e->hello_head, &e->hello_timeline, err);
    if (rc == 0)
        rc = node_life_filling(db, &f->former, err);
    if (rc == 0)
        rc = node_fill_next(db, f->table, f->after, &f->done, err);
    return rc == 0 && f->done ? node_fill_finish(db, err) : rc;
}

static int finish_state_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct engine_fill *f = (struct engine_fill *)((char *)job - offsetof(struct engine_fill, job));
    return node_sync_state_get(db, &f->e->pull_state, err);
}

static void finished(struct node_job *job)
{
    struct engine_fill *f = (struct engine_fill *)((char *)job - offsetof(struct engine_fill, job));
    if (job->rc == 0)
        f->e->status.sync = f->e->pull_state;
    applied(job);
}

static void asked(struct node_job *job)
{
    struct engine_fill *f = (struct engine_fill *)((char *)job - offsetof(struct engine_fill, job));
    if (job->rc != 0) {
        f->rc = job->rc;
        f->err = job->err;
        f->busy = false;
    } else if (f->done) { /* the feed goes on from the cursor that the end of the fill has set */
        f->job = (struct node_job){.run = finish_state_run, .done = finished};
        node_store_read(f->e->store, &f->job);
        return;
    } else {
        f->busy = false;
        get_page(f, f->after);
    }
    fill_step(f);
}

void engine_fill(struct node_engine *e)
{
    struct engine_fill *f = calloc(1, sizeof *f);
    if (f == NULL) {
        engine_failed(e, CORE_LANE_PULL, BASE_ENOMEM, "out of memory for the first fill");
        engine_done(e);
        return;
    }
    f->e = e;
    e->fill = f;
    base_buf_init(&f->plain, ENGINE_PLAIN_BYTES_MAX);
    base_buf_init(&f->applying, ENGINE_PLAIN_BYTES_MAX);
    f->busy = true;
    f->job = (struct node_job){.run = ask_run, .done = asked, .write = true};
    node_store_write(e->store, &f->job);
}
