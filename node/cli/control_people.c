/* Tablets and people at the control socket: for who has the machine's root, and is no member of staff. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/cli/control_internal.h"
#include "node/people/devices.h"
#include "node/people/users.h"
#include "sync/base/clock.h"

static const struct node_author operator_here = {.device = "command line", .request_id = ""};

struct people_work {
    struct node_job job;
    struct client *k;
    char name[NODE_LOGIN_NAME_BYTES_MAX + 1];
    enum node_device_class class;
    struct base_uuid ended;
    bool of_device;
    int listed;
};

static void add_time(struct base_buf *b, const char *name, int64_t ms)
{
    char text[BASE_TIME_CHARS + 1];
    base_time_format(ms, text);
    control_add_text(b, name, ms == 0 ? NULL : text);
}

static void worked(struct node_job *job)
{
    struct people_work *w = (struct people_work *)job;
    if (job->rc == 0 && !base_uuid_is_zero(&w->ended) && w->k->c->api != NULL)
        node_api_people_end(w->k->c->api, &w->ended, w->of_device);
    if (job->rc != 0)
        control_answer_error(w->k, job->rc, job->err.text);
    else
        control_answer(w->k);
    free(w);
}

static void start(struct client *k, struct people_work *w,
                  int (*run)(struct node_job *, struct node_db *, struct base_err *), bool write)
{
    w->k = k;
    w->job = (struct node_job){.run = run, .done = worked, .write = write};
    if (write)
        node_store_write(k->c->store, &w->job);
    else
        node_store_read(k->c->store, &w->job);
}

/* With the name that stands in the request, if it has to have one. */
static struct people_work *work_of(struct client *k, const cJSON *o, bool named)
{
    const char *name = "";
    struct base_err err = {0};
    struct people_work *w = calloc(1, sizeof *w);
    int rc = w == NULL ? base_fail(&err, BASE_ENOMEM, "out of memory")
             : named   ? net_json_str(o, "name", NODE_LOGIN_NAME_BYTES_MAX, &name, &err)
                       : 0;
    if (rc != 0) {
        control_answer_error(k, rc, err.text);
        free(w);
        return NULL;
    }
    (void)snprintf(w->name, sizeof w->name, "%s", name);
    return w;
}

static int pair_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct people_work *w = (struct people_work *)job;
    struct node_pairing p;
    int rc =
        node_pairing_make(db, &operator_here, w->name, w->class, base_clock_wall_ms(), &p, err);
    if (rc != 0)
        return rc;
    base_buf_printf(&w->k->out, "{\"token\":\"%s\",\"code\":\"%s\"", p.token, p.code);
    control_add_text(&w->k->out, "name", w->name);
    control_add_text(&w->k->out, "class", node_device_class_name(w->class));
    add_time(&w->k->out, "expires_at", p.expires_ms);
    base_buf_char(&w->k->out, '}');
    return 0;
}

void control_pair(struct client *k, const cJSON *o)
{
    const char *class = NULL;
    struct people_work *w = work_of(k, o, true);
    if (w == NULL)
        return;
    bool good = net_json_str(o, "class", 16, &class, NULL) == 0 &&
                node_device_class_parse(&w->class, class);
    if (!good || w->name[0] == '\0' || strlen(w->name) > NODE_DEVICE_BYTES_MAX) {
        control_answer_error(k, BASE_EINVALID,
                             "the class must be tablet, workstation or shared, the name at most 64 "
                             "bytes");
        free(w);
        return;
    }
    start(k, w, pair_run, true);
}

static bool list_device(void *user, const struct node_device *d)
{
    struct people_work *w = user;
    struct base_buf *b = &w->k->out;
    char id[BASE_UUID_CHARS + 1];
    base_uuid_format(&d->name.id, id);
    base_buf_printf(b, "%s{\"id\":\"%s\"", w->listed++ == 0 ? "" : ",", id);
    control_add_text(b, "name", d->name.name);
    control_add_text(b, "class", node_device_class_name(d->name.class));
    add_time(b, "paired_at", d->paired_ms);
    control_add_text(b, "paired_by", d->paired_by[0] != '\0' ? d->paired_by : "command line");
    add_time(b, "last_seen_at", d->seen_ms);
    control_add_text(b, "last_user", d->last_user[0] != '\0' ? d->last_user : NULL);
    add_time(b, "revoked_at", d->revoked_ms);
    base_buf_char(b, '}');
    return true;
}

static int devices_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct people_work *w = (struct people_work *)job;
    base_buf_str(&w->k->out, "{\"items\":[");
    int rc = node_db_catalog(db) == NULL ? 0 : node_device_each(db, w, list_device, err);
    base_buf_str(&w->k->out, "]}");
    return rc;
}

void control_devices(struct client *k, const cJSON *o)
{
    struct people_work *w = work_of(k, o, false);
    if (w != NULL)
        start(k, w, devices_run, false);
}

static bool is_named(void *user, const struct node_device *d)
{
    struct people_work *w = user;
    if (d->revoked_ms == 0 && strcmp(d->name.name, w->name) == 0)
        w->ended = d->name.id;
    return base_uuid_is_zero(&w->ended);
}

static int revoke_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct people_work *w = (struct people_work *)job;
    w->of_device = true;
    int rc = node_db_catalog(db) == NULL ? 0 : node_device_each(db, w, is_named, err);
    if (rc == 0 && base_uuid_is_zero(&w->ended))
        return base_fail(err, BASE_ENOTFOUND, "no device of the name %s is paired", w->name);
    if (rc == 0)
        rc = node_device_revoke(db, &operator_here, &w->ended, base_clock_wall_ms(), err);
    base_buf_str(&w->k->out, "{\"ok\":true}");
    return rc;
}

void control_device_revoke(struct client *k, const cJSON *o)
{
    struct people_work *w = work_of(k, o, true);
    if (w != NULL)
        start(k, w, revoke_run, true);
}

static bool list_user(void *user, const struct node_user *u)
{
    struct people_work *w = user;
    struct base_buf *b = &w->k->out;
    char id[BASE_UUID_CHARS + 1];
    base_uuid_format(&u->id, id);
    base_buf_printf(b, "%s{\"id\":\"%s\"", w->listed++ == 0 ? "" : ",", id);
    control_add_text(b, "username", u->username);
    control_add_text(b, "name", u->name);
    control_add_text(b, "state",
                     !u->usable         ? "may not log in"
                     : !u->has_password ? "no password"
                     : u->failures > 0  ? "failed logins"
                                        : "good");
    base_buf_printf(b, ",\"roles\":%s,\"sessions\":%d,\"failures\":%lld", u->roles, u->sessions,
                    (long long)u->failures);
    add_time(b, "last_login_at", u->last_login_ms);
    base_buf_char(b, '}');
    return w->listed < CONTROL_LIST_MAX;
}

static int users_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct people_work *w = (struct people_work *)job;
    base_buf_str(&w->k->out, "{\"items\":[");
    int rc = node_db_catalog(db) == NULL
                 ? 0
                 : node_user_each(db, base_clock_wall_ms(), w, list_user, err);
    base_buf_str(&w->k->out, "]}");
    return rc;
}

void control_users(struct client *k, const cJSON *o)
{
    struct people_work *w = work_of(k, o, false);
    if (w != NULL)
        start(k, w, users_run, false);
}

static int unlock_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct people_work *w = (struct people_work *)job;
    struct base_uuid id;
    int64_t now = base_clock_wall_ms();
    int rc = node_user_find(db, w->name, now, &id, err);
    base_buf_str(&w->k->out, "{\"ok\":true}");
    return rc != 0 ? rc : node_user_unlock(db, &operator_here, &id, now, err);
}

void control_user_unlock(struct client *k, const cJSON *o)
{
    struct people_work *w = work_of(k, o, true);
    if (w != NULL)
        start(k, w, unlock_run, true);
}

static int logout_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct people_work *w = (struct people_work *)job;
    int64_t now = base_clock_wall_ms();
    int count = 0;
    int rc = node_user_find(db, w->name, now, &w->ended, err);
    if (rc == 0)
        rc = node_user_logout(db, &operator_here, &w->ended, now, &count, err);
    base_buf_printf(&w->k->out, "{\"ended\":%d}", count);
    return rc;
}

void control_user_logout(struct client *k, const cJSON *o)
{
    struct people_work *w = work_of(k, o, true);
    if (w != NULL)
        start(k, w, logout_run, true);
}
