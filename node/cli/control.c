#include "node/cli/control_internal.h"
#include "node/cli/identity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "node/api/api.h"
#include "node/cli/files.h"
#include "node/engine/export.h"
#include "node/store/sql.h"
#include "sync/base/log.h"
#include "sync/net/json.h"

/* ---- clients ------------------------------------------------------------------------------- */

void control_maybe_stopped(struct node_control *c)
{
    if (!c->stopping || c->client_count > 0 || c->backing || !c->pipe_gone)
        return;
    void (*done)(void *) = c->done;
    void *user = c->user;
    free(c);
    done(user);
}

static void client_closed(uv_handle_t *handle)
{
    struct client *k = handle->data;
    struct node_control *c = k->c;
    struct client **at = &c->clients;
    while (*at != k)
        at = &(*at)->next;
    *at = k->next;
    c->client_count--;
    base_buf_release(&k->in);
    base_buf_release(&k->out);
    free(k);
    control_maybe_stopped(c);
}

/* Not while a job still works for it: the job's end closes it then. */
static void client_close(struct client *k)
{
    k->gone = true;
    if (!k->working && !uv_is_closing((uv_handle_t *)&k->pipe))
        uv_close((uv_handle_t *)&k->pipe, client_closed);
}

static void written(uv_write_t *write, int status)
{
    client_close(write->data);
}

void control_answer(struct client *k)
{
    k->working = false;
    base_buf_char(&k->out, '\n');
    if (k->gone || base_buf_check(&k->out) != 0) {
        client_close(k);
        return;
    }
    uv_buf_t buf = uv_buf_init(k->out.data, (unsigned)k->out.len);
    k->write.data = k;
    if (uv_write(&k->write, (uv_stream_t *)&k->pipe, &buf, 1, written) != 0)
        client_close(k);
}

void control_answer_error(struct client *k, int rc, const char *text)
{
    base_buf_clear(&k->out);
    base_buf_printf(&k->out, "{\"code\":%d,\"error\":", rc);
    base_buf_json_str(&k->out, text);
    base_buf_char(&k->out, '}');
    control_answer(k);
}

void control_answer_ok(struct client *k)
{
    base_buf_str(&k->out, "{\"ok\":true}");
    control_answer(k);
}

/* ---- commands that need the store ---------------------------------------------------------- */

/* Who has the machine's root: no member of staff. */
static const struct node_author operator_here = {.device = "command line", .request_id = ""};

void control_add_text(struct base_buf *b, const char *name, const char *value)
{
    base_buf_printf(b, ",\"%s\":", name);
    base_buf_json_str(b, value);
}

static bool list_quarantined(void *user, const struct node_quarantined *q)
{
    struct work *w = user;
    struct base_buf *b = &w->k->out;
    base_buf_printf(b, "%s{\"seq\":%lld", w->listed++ == 0 ? "" : ",", (long long)q->seq);
    control_add_text(b, "at", q->at);
    control_add_text(b, "table", q->table);
    control_add_text(b, "id", q->id);
    control_add_text(b, "sqlstate", q->sqlstate);
    control_add_text(b, "constraint", q->constraint);
    control_add_text(b, "reason", q->reason);
    base_buf_char(b, '}');
    return w->listed < CONTROL_LIST_MAX;
}

static int quarantine_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct work *w = (struct work *)job;
    base_buf_str(&w->k->out, "{\"items\":[");
    int rc = node_quarantine_each(db, w, list_quarantined, err);
    base_buf_str(&w->k->out, "]}");
    return rc;
}

static int retry_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct work *w = (struct work *)job;
    int count = 0;
    int rc = node_quarantine_retry(db, &operator_here, w->seq, &count, err);
    base_buf_printf(&w->k->out, "{\"ok\":true,\"changes\":%d}", count);
    return rc;
}

static int drop_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct work *w = (struct work *)job;
    base_buf_str(&w->k->out, "{\"ok\":true}");
    return node_quarantine_drop(db, &operator_here, w->seq, "dropped by the operator", err);
}

static int conflicts_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    static const char *const names[] = {"table_name", "row_id", "columns", "rule", "decide_role"};
    struct work *w = (struct work *)job;
    struct base_buf *b = &w->k->out;
    struct node_stmt *st = NULL;
    base_buf_str(b, "{\"items\":[");
    int rc = node_db_catalog(db) == NULL ? 0 : 1; /* without a catalog there is no such table yet */
    if (rc == 1)
        rc = node_sql(db, &st,
                      "SELECT id, table_name, lower(hex(row_id)), columns, rule, decide_role FROM "
                      "\"conflict\" WHERE state = 'open' LIMIT 1000",
                      err);
    while (rc == 0 && st != NULL && (rc = node_sql_step(st, err)) == 1) {
        struct base_uuid id;
        char text[BASE_UUID_CHARS + 1] = "";
        if (node_sql_col_uuid(st, 0, &id))
            base_uuid_format(&id, text);
        base_buf_printf(b, "%s{\"id\":\"%s\"", w->listed++ == 0 ? "" : ",", text);
        for (int i = 0; i < 5; i++)
            control_add_text(b, names[i], node_sql_col_text(st, i + 1, NULL));
        base_buf_char(b, '}');
        rc = 0;
    }
    if (st != NULL)
        node_sql_done(st);
    base_buf_str(b, "]}");
    return rc;
}

static void worked(struct node_job *job)
{
    struct work *w = (struct work *)job;
    if (job->write && job->rc == 0)
        node_engine_kick(
            w->k->c->engine); /* a retried change goes out now, and the status tells it */
    if (job->rc != 0)
        control_answer_error(w->k, job->rc, job->err.text);
    else
        control_answer(w->k);
    free(w);
}

void control_start_work(struct client *k,
                        int (*run)(struct node_job *, struct node_db *, struct base_err *),
                        bool write, int64_t seq)
{
    struct work *w = calloc(1, sizeof *w);
    if (w == NULL) {
        control_answer_error(k, BASE_ENOMEM, "out of memory");
        return;
    }
    w->job = (struct node_job){.run = run, .done = worked, .write = write};
    w->k = k;
    w->seq = seq;
    if (write)
        node_store_write(k->c->store, &w->job);
    else
        node_store_read(k->c->store, &w->job);
}

/* ---- commands ------------------------------------------------------------------------------ */

static void do_status(struct client *k, const cJSON *o)
{
    struct node_engine_status s;
    node_engine_status(k->c->engine, &s);
    node_api_status_write(&k->out, &s, node_store_identity(k->c->store));
    control_answer(k);
}

static void link_kept(void *user, int rc)
{
    if (rc != 0)
        control_answer_error(user, rc, "the position of the line could not be kept");
    else
        control_answer_ok(user);
}

static void do_link(struct client *k, const cJSON *o)
{
    bool open = false;
    if (net_json_bool(o, "open", &open, NULL) != 0) {
        control_answer_error(k, BASE_EINVALID, "link: open must be true or false");
        return;
    }
    if (open && node_store_identity(k->c->store)->training) {
        control_answer_error(k, BASE_EDENIED, NODE_TRAINING_REFUSAL);
        return;
    }
    node_engine_audit(k->c->engine, "configuration", "ok", open ? "link up" : "link down");
    node_engine_link(k->c->engine, open, k, link_kept);
}

static void probed(void *user, const struct node_probe *p)
{
    struct client *k = user;
    node_probe_write(&k->out, p);
    control_answer(k);
}

static void do_link_test(struct client *k, const cJSON *o)
{
    node_engine_probe(k->c->engine, k, probed);
}

static void do_kick(struct client *k, const cJSON *o)
{
    node_engine_kick(k->c->engine);
    control_answer_ok(k);
}

static void verified(void *user, int rc, const struct node_verify_report *r, const char *text)
{
    struct client *k = user;
    if (rc != 0) {
        control_answer_error(k, rc, text);
        return;
    }
    base_buf_printf(&k->out, "{\"equal\":%s,\"tables\":%lld,\"rows\":%lld,\"mended\":%lld}",
                    r->equal ? "true" : "false", (long long)r->tables, (long long)r->rows,
                    (long long)r->mended);
    control_answer(k);
}

static void do_ping(struct client *k, const cJSON *o)
{
    control_answer_ok(k);
}

static void do_verify(struct client *k, const cJSON *o)
{
    struct base_err err = {0};
    int rc = node_engine_verify(k->c->engine, k, verified, &err);
    if (rc != 0)
        control_answer_error(k, rc, err.text);
}

static void do_quarantine(struct client *k, const cJSON *o)
{
    control_start_work(k, quarantine_run, false, 0);
}

static void on_seq(struct client *k, const cJSON *o,
                   int (*run)(struct node_job *, struct node_db *, struct base_err *))
{
    int64_t seq = 0;
    struct base_err err = {0};
    if (net_json_i64(o, "seq", 0, INT64_MAX, &seq, &err) != 0)
        control_answer_error(k, err.code, err.text);
    else
        control_start_work(k, run, true, seq);
}

static void do_retry(struct client *k, const cJSON *o)
{
    on_seq(k, o, retry_run);
}

static int rejoin_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct work *w = (struct work *)job;
    base_buf_str(&w->k->out, "{\"ok\":true}");
    int rc = node_meta_set(db, NODE_META_REJOIN, "asked", err);
    return rc == 0 ? node_audit_add(db, &operator_here, "configuration", NULL, NULL, NULL, "ok",
                                    "rejoin", err)
                   : rc;
}

static void do_rejoin(struct client *k, const cJSON *o)
{
    struct node_engine_status s;
    node_engine_status(k->c->engine, &s);
    if (node_store_identity(k->c->store)->training)
        control_answer_error(k, BASE_EDENIED, NODE_TRAINING_REFUSAL);
    else if (!s.fenced)
        control_answer_error(
            k, BASE_EINVALID,
            "the centre and this node agree on its log: there is nothing to rejoin");
    else
        control_start_work(k, rejoin_run, true, 0);
}

static void do_drop(struct client *k, const cJSON *o)
{
    on_seq(k, o, drop_run);
}

static void do_conflicts(struct client *k, const cJSON *o)
{
    control_start_work(k, conflicts_run, false, 0);
}

static void exported(void *user, int rc, int64_t changes, bool sealed, const char *text)
{
    struct client *k = user;
    if (rc != 0) {
        control_answer_error(k, rc, text);
        return;
    }
    char detail[64];
    (void)snprintf(detail, sizeof detail, "outbox: %lld changes, %s", (long long)changes,
                   sealed ? "sealed" : "not sealed");
    node_engine_audit(k->c->engine, "export", "ok", detail);
    base_buf_printf(&k->out, "{\"changes\":%lld,\"sealed\":%s}", (long long)changes,
                    sealed ? "true" : "false");
    control_answer(k);
}

static void do_export(struct client *k, const cJSON *o)
{
    const char *path = NULL;
    struct base_err err = {0};
    int rc = net_json_str(o, "path", 4095, &path, &err);
    if (rc == 0)
        rc = node_engine_export(k->c->engine, path, k, exported, &err);
    if (rc != 0)
        control_answer_error(k, rc, err.text);
}

static const struct {
    const char *name;
    void (*run)(struct client *k, const cJSON *o);
} commands[] = {{"status", do_status},
                {"link", do_link},
                {"link_test", do_link_test},
                {"kick", do_kick},
                {"verify", do_verify},
                {"quarantine", do_quarantine},
                {"quarantine_retry", do_retry},
                {"quarantine_drop", do_drop},
                {"rejoin", do_rejoin},
                {"conflicts", do_conflicts},
                {"export_outbox", do_export},
                {"audit_verify", control_audit_verify},
                {"audit_report", control_audit_report},
                {"ping", do_ping},
                {"escrow", control_escrow},
                {"rotate", control_rotate},
                {"rotate_signing", control_rotate_signing},
                {"accept_recovery", control_accept_recovery},
                {"backup", control_backup},
                {"pair", control_pair},
                {"devices", control_devices},
                {"device_revoke", control_device_revoke},
                {"users", control_users},
                {"user_unlock", control_user_unlock},
                {"user_logout", control_user_logout}};

static void run_line(struct client *k)
{
    struct base_err err = {0};
    cJSON *o = NULL;
    const char *name = NULL;
    k->working = true;
    int rc = net_json_parse(&o, k->in.data, k->in.len, &err);
    if (rc == 0)
        rc = net_json_str(o, "command", 64, &name, &err);
    size_t i = 0;
    while (rc == 0 && i < sizeof commands / sizeof commands[0] &&
           strcmp(commands[i].name, name) != 0)
        i++;
    if (rc != 0)
        control_answer_error(k, rc, err.text);
    else if (i == sizeof commands / sizeof commands[0])
        control_answer_error(
            k, BASE_EUNSUPPORTED,
            "this everward does not know that command: is the daemon of another version?");
    else
        commands[i].run(k, o);
    cJSON_Delete(o);
}

static void give_room(uv_handle_t *handle, size_t wanted, uv_buf_t *buf)
{
    struct client *k = handle->data;
    char *room = base_buf_reserve(&k->in, 4096);
    *buf = room == NULL ? uv_buf_init(NULL, 0) : uv_buf_init(room, 4096);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct client *k = stream->data;
    if (n < 0) {
        client_close(k);
        return;
    }
    k->in.len += (size_t)n;
    if (k->working || k->in.len == 0 || k->in.data[k->in.len - 1] != '\n')
        return;
    k->in.data[k->in.len] = '\0';
    run_line(k);
}

static void on_connection(uv_stream_t *server, int status)
{
    struct node_control *c = server->data;
    struct client *k = status != 0 ? NULL : calloc(1, sizeof *k);
    if (k == NULL)
        return;
    k->c = c;
    k->pipe.data = k;
    base_buf_init(&k->in, CONTROL_LINE_BYTES_MAX);
    base_buf_init(&k->out, NODE_CONTROL_BYTES_MAX);
    (void)uv_pipe_init(c->loop, &k->pipe, 0);
    k->next = c->clients;
    c->clients = k;
    c->client_count++;
    if (uv_accept(server, (uv_stream_t *)&k->pipe) != 0 ||
        c->client_count > NODE_CONTROL_CLIENTS_MAX ||
        uv_read_start((uv_stream_t *)&k->pipe, give_room, on_read) != 0)
        client_close(k);
}

int node_control_start(struct node_control **out, uv_loop_t *loop, const char *state_dir,
                       struct node_store *store, struct node_engine *engine, struct base_err *err)
{
    char path[NODE_PATH_BYTES_MAX];
    struct node_control *c = calloc(1, sizeof *c);
    if (c == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for the control socket");
    c->loop = loop;
    c->store = store;
    c->engine = engine;
    c->pipe.data = c;
    (void)snprintf(c->state_dir, sizeof c->state_dir, "%s", state_dir);
    node_path(path, state_dir, NODE_CONTROL_SOCKET);
    (void)unlink(path); /* of a life that ended without stopping; the lock file says we are alone */
    (void)uv_pipe_init(loop, &c->pipe, 0);
    mode_t before = umask(0177);
    int rc = uv_pipe_bind(&c->pipe, path);
    (void)umask(before);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&c->pipe, NODE_CONTROL_CLIENTS_MAX, on_connection);
    *out = c;
    return rc == 0 ? 0
                   : base_fail(err, BASE_EIO, "the control socket %s cannot be made: %s", path,
                               uv_strerror(rc));
}

static void pipe_closed(uv_handle_t *handle)
{
    struct node_control *c = handle->data;
    c->pipe_gone = true;
    control_maybe_stopped(c);
}

void node_control_api(struct node_control *c, struct node_api *api)
{
    c->api = api;
}

void node_control_keys(struct node_control *c, const struct node_cli *cli, struct node_keys *keys)
{
    c->cli = cli;
    c->keys = keys;
}

void node_control_stop(struct node_control *c, void (*done)(void *user), void *user)
{
    c->stopping = true;
    c->done = done;
    c->user = user;
    uv_close((uv_handle_t *)&c->pipe, pipe_closed);
    for (struct client *k = c->clients; k != NULL; k = k->next)
        client_close(k);
}
