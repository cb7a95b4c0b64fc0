/* The audit trail at the control socket. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/cli/control_internal.h"
#include "node/store/audit.h"

struct verify {
    struct node_job job;
    struct client *k;
    uint8_t key[NODE_KEYS_PUBLIC_BYTES];
    struct node_audit_report found;
};

static int verify_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct verify *v = (struct verify *)job;
    return node_audit_check(db, v->key, &v->found, err);
}

static void write_verdict(struct base_buf *b, const struct node_audit_report *r,
                          const struct node_engine_status *s)
{
    bool whole = r->broken[0] == '\0' && s->audit_witness[0] == '\0';
    base_buf_printf(b, "{\"whole\":%s,\"entries\":%lld,\"head\":\"", whole ? "true" : "false",
                    (long long)r->head.n);
    base_buf_hex(b, r->head.chain, sizeof r->head.chain);
    base_buf_printf(
        b, "\",\"signed_heads\":%lld,\"signed_by_earlier_keys\":%lld,\"sent\":%lld,\"witness\":",
        (long long)r->marks, (long long)r->marks_of_other_keys, (long long)r->sent);
    base_buf_json_str(b, s->audit_witness[0] != '\0' ? "refused"
                         : s->audit_sent >= 0        ? "agrees"
                                                     : "not asked");
    if (r->cut.head.n > 0) {
        base_buf_printf(b, ",\"trimmed_to\":%lld", (long long)r->cut.head.n);
        control_add_text(b, "trimmed_at", r->cut.at);
    }
    control_add_text(b, "witnessed_at", s->audit_sent_at[0] == '\0' ? NULL : s->audit_sent_at);
    control_add_text(b, "broken",
                     r->broken[0] != '\0'          ? r->broken
                     : s->audit_witness[0] != '\0' ? s->audit_witness
                                                   : NULL);
    base_buf_char(b, '}');
}

static void verified(struct node_job *job)
{
    struct verify *v = (struct verify *)job;
    struct node_engine_status s;
    if (job->rc != 0) {
        control_answer_error(v->k, job->rc, job->err.text);
    } else {
        node_engine_status(v->k->c->engine, &s);
        node_engine_audit(v->k->c->engine, "audit_verify",
                          v->found.broken[0] == '\0' ? "ok" : "broken", "");
        write_verdict(&v->k->out, &v->found, &s);
        control_answer(v->k);
    }
    free(v);
}

void control_audit_verify(struct client *k, const cJSON *o)
{
    struct verify *v = calloc(1, sizeof *v);
    if (v == NULL) {
        control_answer_error(k, BASE_ENOMEM, "out of memory");
        return;
    }
    v->job = (struct node_job){.run = verify_run, .done = verified};
    v->k = k;
    node_keys_public(k->c->keys, v->key);
    node_store_read(k->c->store, &v->job);
}

/* ---- report -------------------------------------------------------------------------------- */

struct report {
    struct node_job job;
    struct client *k;
    struct base_uuid patient, actor;
    bool has_patient, has_actor;
    char action[32];
    int64_t before;
    int listed;
};

static bool list_entry(void *user, const struct node_audit_entry *e)
{
    struct report *r = user;
    struct base_buf *b = &r->k->out;
    base_buf_printf(b, "%s{\"n\":%lld", r->listed++ == 0 ? "" : ",", (long long)e->n);
    control_add_text(b, "at", e->at);
    control_add_text(b, "actor", e->actor);
    control_add_text(b, "username", e->name);
    control_add_text(b, "device", e->device);
    control_add_text(b, "action", e->action);
    control_add_text(b, "table", e->table);
    control_add_text(b, "row", e->row);
    control_add_text(b, "patient", e->patient);
    control_add_text(b, "outcome", e->outcome);
    control_add_text(b, "detail", e->detail);
    base_buf_char(b, '}');
    return true;
}

static int report_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct report *r = (struct report *)job;
    const struct node_audit_filter f = {.patient = r->has_patient ? &r->patient : NULL,
                                        .actor = r->has_actor ? &r->actor : NULL,
                                        .action = r->action[0] == '\0' ? NULL : r->action,
                                        .before = r->before,
                                        .limit = CONTROL_LIST_MAX};
    base_buf_str(&r->k->out, "{\"items\":[");
    int rc = node_audit_each(db, &f, r, list_entry, err);
    base_buf_printf(&r->k->out, "],\"more\":%s}", r->listed == CONTROL_LIST_MAX ? "true" : "false");
    return rc;
}

/* Whoever asks who has seen a chart has seen that: it is an entry, too. */
static void reported(struct node_job *job)
{
    struct report *r = (struct report *)job;
    char detail[96] = "";
    char id[BASE_UUID_CHARS + 1];
    if (job->rc != 0) {
        control_answer_error(r->k, job->rc, job->err.text);
    } else {
        base_uuid_format(&r->patient, id);
        (void)snprintf(detail, sizeof detail, "%s%s %.30s", r->has_patient ? "patient " : "",
                       r->has_patient ? id : "", r->action);
        node_engine_audit(r->k->c->engine, "audit_report", "ok", detail);
        control_answer(r->k);
    }
    free(r);
}

static int read_id(const cJSON *o, const char *name, struct base_uuid *out, bool *has,
                   struct base_err *err)
{
    const char *text = NULL;
    if (!net_json_has(o, name))
        return 0;
    int rc = net_json_str(o, name, BASE_UUID_CHARS, &text, err);
    if (rc == 0 && !base_uuid_parse(out, text, strlen(text)))
        rc = base_fail(err, BASE_EINVALID, "%s: an id is a uuid of 36 characters", name);
    *has = rc == 0;
    return rc;
}

void control_audit_report(struct client *k, const cJSON *o)
{
    struct base_err err = {0};
    const char *action = NULL;
    struct report *r = calloc(1, sizeof *r);
    if (r == NULL) {
        control_answer_error(k, BASE_ENOMEM, "out of memory");
        return;
    }
    r->job = (struct node_job){.run = report_run, .done = reported};
    r->k = k;
    int rc = read_id(o, "patient", &r->patient, &r->has_patient, &err);
    if (rc == 0)
        rc = read_id(o, "actor", &r->actor, &r->has_actor, &err);
    if (rc == 0 && net_json_has(o, "before"))
        rc = net_json_i64(o, "before", 1, INT64_MAX, &r->before, &err);
    if (rc == 0 && net_json_has(o, "action"))
        rc = net_json_str(o, "action", sizeof r->action - 1, &action, &err);
    if (rc != 0) {
        control_answer_error(k, rc, err.text);
        free(r);
        return;
    }
    (void)snprintf(r->action, sizeof r->action, "%s", action == NULL ? "" : action);
    node_store_read(k->c->store, &r->job);
}
