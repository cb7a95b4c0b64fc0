/*
 * GET of a table, a row, its history. A read of patients leaves an audit entry before the reply
 * goes out (run.c).
 */
#include <string.h>

#include "node/api/internal.h"

static bool is_patient(const struct core_table *t)
{
    return strcmp(t->name, "patient") == 0;
}

static void audit_row(struct api_call *c, const struct node_row *row)
{
    struct core_text patient = api_value(row, "patient_id");
    c->audit_row = row->id;
    c->audit_has_row = true;
    if (is_patient(row->table)) {
        c->audit_patient = row->id;
        c->audit_has_patient = true;
    } else if (patient.s != NULL) {
        c->audit_has_patient = base_uuid_parse(&c->audit_patient, patient.s, patient.len);
    }
    if (c->audit_has_patient)
        c->audit_action = "read";
}

static void audit_list(struct api_call *c, const struct core_table *t, const struct node_query *q)
{
    const struct core_column *patient = core_table_column(t, "patient_id", 10);
    if (!is_patient(t) && patient == NULL)
        return;
    c->audit_action = "search";
    for (int i = 0; i < q->filter_count; i++) {
        const struct node_filter *f = &q->filters[i];
        if (f->column == (is_patient(t) ? NULL : patient) && f->cmp == NODE_CMP_EQ)
            c->audit_has_patient =
                base_uuid_parse(&c->audit_patient, f->values[0].s, f->values[0].len);
    }
}

struct listing {
    struct api_call *c;
    struct node_db *db;
};

/* What is left out makes a page shorter; next goes on behind it all the same. */
static bool add_row(void *user, const struct node_row *row)
{
    struct listing *l = user;
    struct api_call *c = l->c;
    struct base_buf *out = &c->body;
    if (!api_row_ok(c, l->db, NODE_MAY_READ, row))
        return true;
    if (out->len > 0 && out->data[out->len - 1] != '[')
        base_buf_char(out, ',');
    api_render_row(out, row, c->grants);
    return base_buf_check(out) == 0;
}

static int list_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    struct node_query q;
    const char *next = NULL;
    const struct core_table *t = api_table(c, db, c->table);
    if (t == NULL || api_query_parse(c, t, &q) != 0)
        return 0;
    api_render_head(&c->body, c);
    base_buf_str(&c->body, ",\"items\":[");
    struct listing l = {c, db};
    int rc = node_query_run(db, &q, &c->arena, &l, add_row, &next, err);
    if (rc == BASE_EINVALID && q.after != NULL) {
        api_refuse_column(c, 400, "bad_filter", "after",
                          "parameter \"after\": expected the value of next of the same query");
        return 0;
    }
    if (rc != 0)
        return rc;
    base_buf_str(&c->body, "],\"next\":");
    base_buf_json_str(&c->body, next);
    base_buf_char(&c->body, '}');
    audit_list(c, t, &q);
    return 0;
}

void api_on_list(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    if (!api_may_some(c, NODE_MAY_READ, c->table) || api_take_params(c) != 0)
        api_finish(c);
    else
        api_run(c, list_work);
}

static int get_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    const struct core_table *t = api_table(c, db, c->table);
    struct node_row *row = base_arena_get(&c->arena, sizeof *row);
    if (t == NULL)
        return 0;
    int rc = row == NULL ? BASE_ENOMEM : node_row_get(db, t, &c->id, &c->arena, row, err);
    if (rc == BASE_ENOTFOUND)
        return api_refuse(c, 404, "not_found", NULL, "there is no such row in %s", t->name);
    if (rc != 0)
        return rc;
    if (!api_row_ok(c, db, NODE_MAY_READ, row))
        return api_refuse_ward(c);
    audit_row(c, row);
    api_etag(c->etag, &row->version);
    if (strcmp(c->etag, c->not_modified) == 0) {
        c->status = 304;
        return 0;
    }
    api_render_row(&c->body, row, c->grants);
    return 0;
}

void api_on_get(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    const char *tag = net_http_header(x, "If-None-Match");
    snprintf(c->not_modified, sizeof c->not_modified, "%s", tag != NULL ? tag : "");
    if (!api_may_some(c, NODE_MAY_READ, c->table) || api_take_id(c) != 0)
        api_finish(c);
    else
        api_run(c, get_work);
}

struct history {
    struct api_call *c;
    const struct core_table *t;
    bool first;
};

static void history_values(struct base_buf *out, const struct core_table *t,
                           const struct core_change *change)
{
    bool first = true;
    base_buf_char(out, '{');
    for (int i = 0; i < change->value_count; i++) {
        const struct core_change_value *v = &change->values[i];
        const struct core_column *col = core_table_column(t, v->name.s, v->name.len);
        if (col == NULL || col->api == CORE_API_HIDDEN)
            continue;
        if (!first)
            base_buf_char(out, ',');
        first = false;
        base_buf_json_str(out, col->name);
        base_buf_char(out, ':');
        api_render_value(out, col, v->value);
    }
    base_buf_char(out, '}');
}

static bool history_row(void *user, const struct node_history *h)
{
    struct history *s = user;
    struct base_buf *out = &s->c->body;
    struct core_change change;
    if (core_change_read(&change, h->line, strlen(h->line), &s->c->arena, NULL) != 0)
        return true;
    base_buf_str(out, s->first ? "" : ",");
    s->first = false;
    base_buf_printf(out, "{\"seq\":%lld,\"base\":%lld,\"op\":\"%s\",\"at\":", (long long)h->seq,
                    (long long)h->base,
                    change.op == CORE_OP_INSERT   ? "create"
                    : change.op == CORE_OP_UPDATE ? "update"
                                                  : "delete");
    base_buf_json(out, change.at.s, change.at.len);
    base_buf_str(out, ",\"by\":");
    api_render_uuid(out, &change.actor);
    base_buf_str(out, ",\"device\":");
    if (change.device.s != NULL)
        base_buf_json(out, change.device.s, change.device.len);
    else
        base_buf_str(out, "null");
    base_buf_str(out, ",\"clock\":");
    base_buf_json_str(out, core_clock_name(change.clock));
    base_buf_str(out, ",\"outcome\":");
    base_buf_json_str(out, h->outcome);
    base_buf_str(out, ",\"reason\":");
    base_buf_json_str(out, h->reason);
    base_buf_str(out, ",\"values\":");
    history_values(out, s->t, &change);
    base_buf_char(out, '}');
    return base_buf_check(out) == 0;
}

static int history_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    const struct core_table *t = api_table(c, db, c->table);
    struct history h = {c, t, true};
    struct node_row *row = base_arena_get(&c->arena, sizeof *row);
    if (t == NULL)
        return 0;
    int rc = row == NULL ? BASE_ENOMEM : node_row_get(db, t, &c->id, &c->arena, row, err);
    if (rc == 0)
        audit_row(c, row);
    if (rc != 0 && rc != BASE_ENOTFOUND)
        return rc;
    bool gone = rc == BASE_ENOTFOUND;
    if (gone ? !node_grants_may(c->grants, NODE_MAY_READ, t->name)
             : !api_row_ok(c, db, NODE_MAY_READ, row))
        return api_refuse_ward(c);
    api_render_head(&c->body, c);
    base_buf_str(&c->body, ",\"items\":[");
    rc = node_history_each(db, t, &c->id, &h, history_row, err);
    if (rc == 0 && gone && h.first)
        return api_refuse(c, 404, "not_found", NULL, "there is no such row in %s", t->name);
    base_buf_str(&c->body, "]}");
    return rc;
}

void api_on_history(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    if (!api_may_some(c, NODE_MAY_READ, c->table) || api_take_id(c) != 0)
        api_finish(c);
    else
        api_run(c, history_work);
}
