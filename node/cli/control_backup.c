/* A backup made by the daemon, beside its work: on a thread of libuv's pool. */
#include <stdlib.h>
#include <string.h>

#include "node/cli/backup.h"
#include "node/cli/cli.h"
#include "node/cli/control_internal.h"
#include "node/cli/files.h"
#include "sync/base/clock.h"
#include "sync/base/log.h"

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

/* ---- one that nobody waits for --------------------------------------------------------------- */

struct own_backup {
    uv_work_t work;
    struct node_control *c;
    char path[NODE_PATH_BYTES_MAX];
    int rc;
    struct base_err err;
    struct node_backup_facts facts;
};

static void own_work(uv_work_t *work)
{
    struct own_backup *b = work->data;
    b->rc =
        node_backup_make_verified(b->c->state_dir, b->c->keys, b->path, true, &b->facts, &b->err);
}

static void own_done(uv_work_t *work, int status)
{
    struct own_backup *b = work->data;
    struct node_control *c = b->c;
    char failed[200];
    if (status != 0)
        b->rc = base_fail(&b->err, BASE_ECANCELED, "the node stops");
    (void)snprintf(failed, sizeof failed, "%.190s", b->err.text);
    if (b->rc != 0)
        base_log(BASE_LOG_WARN, "backup", "%s", b->err.text);
    if (!c->stopping)
        node_engine_audit(c->engine, "backup", b->rc == 0 ? "ok" : "failed",
                          b->rc == 0 ? "verified" : failed);
    free(b);
    c->backing = false;
    control_maybe_stopped(c);
}

/* The node's own name for it: nothing of a request is in the path. */
static int name_it(const struct node_control *c, char *out, size_t bytes, struct base_err *err)
{
    const char *dirs = base_config_text(c->cli->config, "node", "export_dirs");
    int dir = (int)strcspn(dirs, ":");
    char id[BASE_UUID_CHARS + 1];
    char at[BASE_TIME_CHARS + 1];
    if (dir == 0)
        return base_fail(err, BASE_ENOTFOUND, "node.export_dirs names no folder for backups");
    base_uuid_format(&node_store_identity(c->store)->node_id, id);
    base_time_format(base_clock_wall_ms(), at);
    at[19] = '\0'; /* to the second */
    int n = snprintf(out, bytes, "%.*s/everward-%.8s-%sZ.backup", dir, dirs, id, at);
    return n > 0 && (size_t)n < bytes ? 0 : base_fail(err, BASE_EINVALID, "the path is too long");
}

int node_control_backup(struct node_control *c, struct base_err *err)
{
    if (c->stopping || c->backing)
        return base_fail(err, BASE_EBUSY, "a backup is being made already");
    struct own_backup *b = calloc(1, sizeof *b);
    int rc = b == NULL ? base_fail(err, BASE_ENOMEM, "out of memory") : 0;
    if (rc == 0)
        rc = name_it(c, b->path, sizeof b->path - 16, err);
    if (rc == 0) {
        b->work.data = b;
        b->c = c;
        if (uv_queue_work(c->loop, &b->work, own_work, own_done) != 0)
            rc = base_fail(err, BASE_EBUSY, "no thread for a backup; try again");
    }
    if (rc != 0)
        free(b);
    else
        c->backing = true;
    return rc;
}
