/*
 * A call's store job, and what comes after it: the audit entry of a read, the engine's kick, the
 * reply.
 */
#include <stdlib.h>
#include <string.h>

#include "node/api/internal.h"

static int call_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct api_call *c = (struct api_call *)job;
    int rc = c->has_key ? api_key_find(c, db, err) : 0;
    if (rc != 0)
        return rc > 0 ? 0 : rc;
    rc = c->work(c, db, err);
    if (rc == 0 && c->write && c->glass != NULL)
        rc = api_glass_used(c, db, err);
    if (!c->has_key)
        return rc;
    return rc != 0 ? rc : api_key_store(c, db, err);
}

static void call_end(struct api_call *c)
{
    struct node_api *a = c->api;
    api_finish(c);
    api_job_end(a);
}

static int audit_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct api_call *c = (struct api_call *)job;
    struct node_author author;
    api_author(c, &author);
    if (c->glass != NULL && api_glass_used(c, db, err) != 0)
        return err->code;
    return node_audit_add(db, &author, c->audit_action, c->table,
                          c->audit_has_row ? &c->audit_row : NULL,
                          c->audit_has_patient ? &c->audit_patient : NULL, "ok",
                          c->glass != NULL ? "break_glass" : "", err);
}

/* A full disk must not hide the chart: the entry is missed, the log says so, the reply goes out. */
static void audit_done(struct node_job *job)
{
    struct api_call *c = (struct api_call *)job;
    if (job->rc != 0)
        base_log(BASE_LOG_ERROR, "audit_missed", "a read could not be written down: %s",
                 job->err.text);
    call_end(c);
}

/* A refusal is no reason to wait, nor to fail: its entry goes its own way. */
struct refusal {
    struct node_job job;
    struct node_author author;
    const char *code; /* a word of ours */
    char device[sizeof((struct api_call *)0)->device], request_id[64],
        table[CORE_NAME_BYTES_MAX + 1];
};

static int refusal_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct refusal *r = (struct refusal *)job;
    return node_audit_add(db, &r->author, "refused", r->table[0] == '\0' ? NULL : r->table, NULL,
                          NULL, "refused", r->code, err);
}

static void refusal_done(struct node_job *job)
{
    free(job);
}

void api_audit_refused(struct api_call *c)
{
    struct refusal *r = calloc(1, sizeof *r);
    if (r == NULL)
        return;
    api_author(c, &r->author);
    snprintf(r->device, sizeof r->device, "%s", c->device);
    snprintf(r->request_id, sizeof r->request_id, "%s", c->request_id);
    snprintf(r->table, sizeof r->table, "%s",
             c->table != NULL && core_catalog_table(node_store_catalog(c->api->store), c->table,
                                                    strlen(c->table)) != NULL
                 ? c->table
                 : "");
    r->author.device = r->device;
    r->author.request_id = r->request_id;
    r->code = c->problem.code;
    r->job = (struct node_job){.run = refusal_run, .done = refusal_done};
    node_store_write(c->api->store, &r->job);
}

static void call_done(struct node_job *job)
{
    struct api_call *c = (struct api_call *)job;
    struct node_api *a = c->api;
    if (c->has_key)
        api_key_leave(c);
    if (job->rc != 0 && c->problem.status == 0)
        api_refuse_rc(c, job->rc, job->err.text);
    if (job->rc == 0 && c->problem.status == 0 && c->after != NULL)
        c->after(c);
    if (c->write && c->problem.status == 0) {
        a->writes++;
        if (a->engine != NULL)
            node_engine_kick(a->engine);
    }
    if (c->write || c->problem.status != 0 || c->audit_action == NULL) {
        call_end(c);
        return;
    }
    memset(&c->job, 0, sizeof c->job);
    c->job.run = audit_run;
    c->job.done = audit_done;
    c->job.write = true;
    node_store_write(a->store, &c->job);
}

static void start(struct api_call *c, api_work_cb work, bool write)
{
    c->work = work;
    c->write = write;
    c->job.run = call_run;
    c->job.done = call_done;
    c->job.write = write;
    api_job_begin(c->api);
    if (write)
        node_store_write(c->api->store, &c->job);
    else
        node_store_read(c->api->store, &c->job);
}

void api_run(struct api_call *c, api_work_cb work)
{
    start(c, work, false);
}

void api_run_write(struct api_call *c, api_work_cb work)
{
    if (c->has_key && !api_key_enter(c))
        return;
    start(c, work, true);
}
