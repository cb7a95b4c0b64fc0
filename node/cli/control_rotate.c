/*
 * Another data key, or signing key (at the end), under a running node.
 *
 *   keys.next written (pool: a passphrase takes a second) ─ the store written anew (writer) ─ keys.next becomes keys.sealed
 *   ─ the daemon's own copy
 */
#include <stdlib.h>

#include "node/cli/cli.h"
#include "node/cli/control_internal.h"
#include "node/cli/files.h"
#include "node/store/copy.h"

struct rotation {
    struct node_rekey rekey;
    uv_work_t work;
    struct client *k;
    struct node_keys *next;
    int rc;
    struct base_err err;
};

static int taken(struct node_rekey *r, struct base_err *err)
{
    return node_keys_next_take(r->dir, err);
}

static void finish(struct rotation *r, int rc, const char *text)
{
    struct client *k = r->k;
    k->c->rotating =
        rc != 0 && r->rekey.placed; /* keys.next is the only copy: not to be written over */
    node_engine_audit(k->c->engine, "configuration", rc == 0 ? "ok" : "failed", "another data key");
    node_keys_free(r->next);
    free(r);
    if (rc == 0)
        control_answer_ok(k);
    else
        control_answer_error(k, rc, text);
}

static void rekeyed(struct node_job *job)
{
    struct rotation *r = (struct rotation *)job;
    struct node_control *c = r->k->c;
    struct base_err err = {0};
    if (r->rekey.placed)
        node_keys_adopt(c->keys, r->next);
    else
        (void)node_keys_next_drop(c->state_dir, &err); /* the store is what it was */
    char text[BASE_ERR_TEXT_BYTES];
    (void)snprintf(text, sizeof text, "%s", job->err.text);
    finish(r, job->rc,
           text); /* placed, but not taken: the next start asks the store which key is its */
}

static void make_next(uv_work_t *work)
{
    struct rotation *r = work->data;
    struct node_control *c = r->k->c;
    char key_file[NODE_PATH_BYTES_MAX];
    struct node_keys_source source;
    r->rc = node_cli_key_source(c->cli, &source, key_file, sizeof key_file, &r->err);
    source.ask_terminal = false;
    if (r->rc == 0)
        r->rc = node_keys_next_make(c->state_dir, c->keys, &source, &r->next, &r->err);
}

static void next_made(uv_work_t *work, int status)
{
    struct rotation *r = work->data;
    struct node_control *c = r->k->c;
    if (r->rc != 0) {
        char text[BASE_ERR_TEXT_BYTES];
        (void)snprintf(text, sizeof text, "%s", r->err.text);
        finish(r, r->rc, text);
        return;
    }
    r->rekey = (struct node_rekey){.job = {.done = rekeyed, .exclusive = true},
                                   .dir = c->state_dir,
                                   .old_key = node_keys_data(c->keys),
                                   .new_key = node_keys_data(r->next),
                                   .taken = taken};
    node_store_write(c->store, &r->rekey.job);
}

/* ---- the signing key ------------------------------------------------------------------------ */

static void make_signing(uv_work_t *work)
{
    struct rotation *r = work->data;
    struct node_control *c = r->k->c;
    char key_file[NODE_PATH_BYTES_MAX];
    struct node_keys_source source;
    r->rc = node_cli_key_source(c->cli, &source, key_file, sizeof key_file, &r->err);
    source.ask_terminal = false;
    if (r->rc == 0)
        r->rc = node_keys_signing_make(c->state_dir, c->keys, &source, &r->next, &r->err);
}

static void signing_made(uv_work_t *work, int status)
{
    struct rotation *r = work->data;
    struct client *k = r->k;
    k->c->rotating = false;
    node_engine_audit(k->c->engine, "configuration", r->rc == 0 ? "ok" : "failed",
                      "another signing key is made");
    if (r->rc == 0) {
        node_engine_rotate(k->c->engine, r->next);
        control_answer_ok(k);
    } else {
        control_answer_error(k, r->rc, r->err.text);
    }
    free(r);
}

void control_rotate_signing(struct client *k, const cJSON *o)
{
    bool waits = node_file_exists(k->c->state_dir, NODE_KEYS_SIGNING_FILE);
    struct rotation *r = waits || k->c->rotating ? NULL : calloc(1, sizeof *r);
    if (r == NULL) {
        control_answer_error(k, BASE_EBUSY,
                             waits ? "a signing key waits for the centre to know it already"
                                   : "the data key is being changed; try again");
        return;
    }
    r->k = k;
    r->work.data = r;
    k->c->rotating = true;
    if (uv_queue_work(k->c->loop, &r->work, make_signing, signing_made) != 0) {
        k->c->rotating = false;
        free(r);
        control_answer_error(k, BASE_EBUSY, "no thread for it; try again");
    }
}

void control_rotate(struct client *k, const cJSON *o)
{
    if (node_file_exists(k->c->state_dir, NODE_KEYS_SIGNING_FILE)) {
        control_answer_error(
            k, BASE_EBUSY, "the signing key is being changed; try again when the centre knows it");
        return;
    }
    struct rotation *r = k->c->rotating ? NULL : calloc(1, sizeof *r);
    if (r == NULL) {
        control_answer_error(k, BASE_EBUSY, "the data key is being changed already; try again");
        return;
    }
    r->k = k;
    r->work.data = r;
    k->c->rotating = true;
    if (uv_queue_work(k->c->loop, &r->work, make_next, next_made) != 0) {
        r->rc = BASE_EBUSY;
        finish(r, BASE_EBUSY, "no thread for it; try again");
    }
}
