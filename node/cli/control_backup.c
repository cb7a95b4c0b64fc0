/* A backup made by the daemon, beside its work: on a thread of libuv's pool. */
#include <stdlib.h>
#include <string.h>

#include "node/cli/backup.h"
#include "node/cli/control_internal.h"
#include "node/cli/files.h"

struct backup {
    uv_work_t work;
    struct client *k;
    char path[NODE_PATH_BYTES_MAX];
    bool verify;
    int rc;
    struct base_err err;
    struct node_backup_facts facts;
};

static void backup_work(uv_work_t *work)
{
    struct backup *b = work->data;
    const struct node_control *c = b->k->c;
    b->rc =
        node_backup_make_verified(c->state_dir, c->keys, b->path, b->verify, &b->facts, &b->err);
}

static void backup_done(uv_work_t *work, int status)
{
    struct backup *b = work->data;
    struct client *k = b->k;
    node_engine_audit(k->c->engine, "backup", b->rc == 0 ? "ok" : "failed",
                      b->verify ? "verified" : "");
    if (b->rc != 0) {
        control_answer_error(k, b->rc, b->err.text);
    } else {
        base_buf_printf(&k->out,
                        "{\"bytes\":%lld,\"last_seq\":%lld,\"unsent\":%lld,\"verified\":%s",
                        (long long)b->facts.store_bytes, (long long)b->facts.store.last_seq,
                        (long long)b->facts.store.changes_unsent, b->verify ? "true" : "false");
        control_add_text(&k->out, "at", b->facts.at);
        base_buf_char(&k->out, '}');
        control_answer(k);
    }
    free(b);
}

void control_backup(struct client *k, const cJSON *o)
{
    const char *path = NULL;
    struct base_err err = {0};
    struct backup *b = calloc(1, sizeof *b);
    int rc = b == NULL ? base_fail(&err, BASE_ENOMEM, "out of memory")
                       : net_json_str(o, "path", sizeof b->path - 16, &path, &err);
    if (rc == 0)
        rc = net_json_bool(o, "verify", &b->verify, &err);
    if (rc == 0) {
        (void)snprintf(b->path, sizeof b->path, "%s", path);
        b->work.data = b;
        b->k = k;
        if (uv_queue_work(k->c->loop, &b->work, backup_work, backup_done) != 0)
            rc = base_fail(&err, BASE_EBUSY, "no thread for a backup; try again");
    }
    if (rc != 0) {
        control_answer_error(k, rc, err.text);
        free(b);
    }
}
