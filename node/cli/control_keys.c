/* Escrow and recovery key at the control socket. */
#include <stdlib.h>
#include <string.h>

#include "node/cli/control_internal.h"

struct keys_work {
    struct node_job job;
    struct client *k;
    char key[65];
};

static void done(struct node_job *job)
{
    struct keys_work *w = (struct keys_work *)job;
    if (job->write && job->rc == 0)
        node_engine_audit(w->k->c->engine, "configuration", "ok", "another recovery key accepted");
    if (job->rc != 0)
        control_answer_error(w->k, job->rc, job->err.text);
    else
        control_answer(w->k);
    free(w);
}

static struct keys_work *begin(struct client *k,
                               int (*run)(struct node_job *, struct node_db *, struct base_err *))
{
    struct keys_work *w = calloc(1, sizeof *w);
    if (w == NULL) {
        control_answer_error(k, BASE_ENOMEM, "out of memory");
        return NULL;
    }
    w->job = (struct node_job){.run = run, .done = done};
    w->k = k;
    return w;
}

static int escrow_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct keys_work *w = (struct keys_work *)job;
    base_buf_str(&w->k->out, "{\"escrow\":\"");
    int rc = node_engine_escrow_text(db, w->k->c->keys, &w->k->out, err);
    base_buf_str(&w->k->out, "\"}");
    return rc;
}

void control_escrow(struct client *k, const cJSON *o)
{
    struct keys_work *w = begin(k, escrow_run);
    if (w != NULL)
        node_store_read(k->c->store, &w->job);
}

static int accept_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct keys_work *w = (struct keys_work *)job;
    base_buf_str(&w->k->out, "{\"ok\":true}");
    return node_meta_set(db, "recovery_key", w->key, err);
}

void control_accept_recovery(struct client *k, const cJSON *o)
{
    const char *key = NULL;
    struct base_err err = {0};
    int rc = net_json_str(o, "key", 64, &key, &err);
    if (rc == 0 && (strlen(key) != 64 || strspn(key, "0123456789abcdef") != 64))
        rc = base_fail(
            &err, BASE_EINVALID,
            "a recovery key is 64 hex digits, as `everward-gateway recovery make` prints");
    if (rc != 0) {
        control_answer_error(k, rc, err.text);
        return;
    }
    struct keys_work *w = begin(k, accept_run);
    if (w == NULL)
        return;
    memcpy(w->key, key, 65);
    node_store_write(k->c->store, &w->job);
}
