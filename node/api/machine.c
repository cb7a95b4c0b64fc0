/*
 * What IT wants to know of the machine itself: certificate, keys, disk, the age of what the node decides by, the last
 * backup, and what the node has written down about itself lately. No row of the ward and no name is in it.
 */
#include <string.h>
#include <sys/statvfs.h>

#include "node/api/internal.h"
#include "node/people/users.h"
#include "node/store/sql.h"

/* Of the trail's newest entries; older ones are in `everward audit report`. */
enum { MACHINE_LOOK_BACK = 200 * 1000 };
static const char events_sql[] =
    "SELECT at, action, outcome, detail FROM _audit WHERE n > (SELECT coalesce(max(n), 0) FROM"
    " _audit) - ?1 AND action IN ('start', 'stop', 'configuration', 'backup',"
    " 'audit_verify', 'sync') ORDER BY n DESC LIMIT 30";
static const char backup_sql[] =
    "SELECT at, detail FROM _audit WHERE n > (SELECT coalesce(max(n), 0) FROM _audit) - ?1"
    " AND action = 'backup' AND outcome = 'ok' ORDER BY n DESC LIMIT 1";

static void member(struct base_buf *out, const char *name, const char *value)
{
    base_buf_printf(out, ",\"%s\":", name);
    base_buf_json_str(out, value);
}

static int add_backup(struct api_call *c, struct node_db *db, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st, backup_sql, err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, MACHINE_LOOK_BACK);
    rc = node_sql_step(st, err);
    member(&c->body, "backup_at", rc == 1 ? node_sql_col_text(st, 0, NULL) : NULL);
    bool verified = rc == 1 && strcmp(node_sql_col_text(st, 1, NULL), "verified") == 0;
    base_buf_printf(&c->body, ",\"backup_verified\":%s", verified ? "true" : "false");
    node_sql_done(st);
    return rc < 0 ? rc : 0;
}

static int add_events(struct api_call *c, struct node_db *db, struct base_err *err)
{
    static const char *const names[] = {"action", "outcome", "detail"};
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st, events_sql, err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, MACHINE_LOOK_BACK);
    base_buf_str(&c->body, ",\"events\":[");
    for (int n = 0; (rc = node_sql_step(st, err)) == 1; n++) {
        base_buf_str(&c->body, n > 0 ? ",{\"at\":" : "{\"at\":");
        base_buf_json_str(&c->body, node_sql_col_text(st, 0, NULL));
        for (int i = 0; i < 3; i++)
            member(&c->body, names[i], node_sql_col_text(st, i + 1, NULL));
        base_buf_char(&c->body, '}');
    }
    base_buf_char(&c->body, ']');
    node_sql_done(st);
    return rc;
}

static void add_disk(struct api_call *c)
{
    const char *dir = c->api->state_dir;
    struct statvfs disk;
    if (dir == NULL || statvfs(dir, &disk) != 0)
        base_buf_str(&c->body, ",\"disk_bytes\":null,\"disk_free_bytes\":null");
    else
        base_buf_printf(&c->body, ",\"disk_bytes\":%lld,\"disk_free_bytes\":%lld",
                        (long long)disk.f_blocks * (long long)disk.f_frsize,
                        (long long)disk.f_bavail * (long long)disk.f_frsize);
}

static int machine_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    const struct node_api *a = c->api;
    int64_t number = 0;
    int rc = node_staff_list_number(db, &number, err);
    if (rc != 0)
        return rc;
    base_buf_str(&c->body, "{\"version\":\"" EW_VERSION "\"");
    member(&c->body, "keys_source", a->keys_source);
    api_render_time(&c->body, "certificate_not_after", a->cert_until_s * 1000);
    api_render_time(&c->body, "authority_not_after", a->ca_until_s * 1000);
    add_disk(c);
    base_buf_printf(&c->body, ",\"staff_list_number\":%lld", (long long)number);
    member(&c->body, "staff_list_as_of", c->data_as_of);
    rc = add_backup(c, db, err);
    if (rc == 0)
        rc = add_events(c, db, err);
    base_buf_char(&c->body, '}');
    return rc;
}

void api_on_machine(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    if (!api_may(c, NODE_MAY_READ, "device"))
        api_finish(c);
    else
        api_run(c, machine_work);
}

/* It may take minutes: how it ended stands among the events. */
void api_on_machine_backup(struct net_http_exchange *x, void *user)
{
    struct node_api *a = user;
    struct api_call *c = api_begin(x, a);
    struct base_err err = {0};
    if (c == NULL)
        return;
    if (api_may(c, NODE_MAY_UPDATE, "device")) {
        int rc = a->backup == NULL ? base_fail(&err, BASE_ENOTFOUND, "no backups are made here")
                                   : a->backup(a->backup_user, &err);
        if (rc != 0) {
            api_refuse_rc(c, rc, err.text);
        } else {
            base_buf_str(&c->body, "{\"started\":true}");
            c->status = 202;
        }
    }
    api_finish(c);
}
