/*
 * Quarantine: what the centre could not apply, why, and what a person does about it. The ward goes
 * on seeing its own value until then.
 */
#include <stdlib.h>
#include <string.h>

#include "node/api/internal.h"
#include "node/store/sync.h"

enum { QUARANTINE_LIST_MAX = 1000 };

static const char *op_word(enum core_op op)
{
    return op == CORE_OP_INSERT ? "create" : op == CORE_OP_UPDATE ? "update" : "delete";
}

struct listing {
    struct api_call *c;
    int count;
};

/* Ids, names and our own words; the values stay in the row's own route. */
static bool list_one(void *user, const struct node_quarantined *q)
{
    struct listing *l = user;
    struct base_buf *out = &l->c->body;
    struct core_change change;
    struct base_arena arena;
    if (!node_grants_may(l->c->grants, NODE_MAY_READ, q->table))
        return true;
    base_arena_init(&arena, API_BODY_BYTES_MAX);
    bool read = core_change_read(&change, q->line, strlen(q->line), &arena, NULL) == 0;
    base_buf_printf(out, "%s{\"seq\":\"%lld\",\"at\":", l->count++ == 0 ? "" : ",",
                    (long long)q->seq);
    base_buf_json_str(out, q->at);
    base_buf_str(out, ",\"op\":");
    base_buf_json_str(out, read ? op_word(change.op) : NULL);
    base_buf_str(out, ",\"table\":");
    base_buf_json_str(out, q->table);
    base_buf_printf(out, ",\"id\":\"%s\",\"sqlstate\":", q->id);
    base_buf_json_str(out, q->sqlstate);
    base_buf_str(out, ",\"constraint\":");
    base_buf_json_str(out, q->constraint);
    base_buf_str(out, ",\"reason\":");
    base_buf_json_str(out, q->reason);
    base_buf_char(out, '}');
    base_arena_release(&arena);
    return l->count < QUARANTINE_LIST_MAX;
}

static int list_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    struct listing l = {.c = c};
    api_render_head(&c->body, c);
    base_buf_str(&c->body, ",\"items\":[");
    int rc = node_quarantine_each(db, &l, list_one, err);
    base_buf_str(&c->body, "]}");
    return rc;
}

void api_on_quarantine(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c != NULL)
        api_run(c, list_work);
}

/* ---- retry and drop ------------------------------------------------------------------------ */

struct wanted {
    int64_t seq;
    char table[CORE_NAME_BYTES_MAX + 1];
};

static bool find_one(void *user, const struct node_quarantined *q)
{
    struct wanted *w = user;
    if (q->seq == w->seq)
        snprintf(w->table, sizeof w->table, "%s", q->table);
    return w->table[0] == '\0';
}

/* The change in the path, held, of a table the caller may read. */
static int take_held(struct api_call *c, struct node_db *db, struct wanted *w, struct base_err *err)
{
    const char *text = net_http_param(c->x, "seq");
    char *end = NULL;
    w->seq = text == NULL ? 0 : strtoll(text, &end, 10);
    if (text == NULL || *end != '\0' || w->seq < 1)
        return api_refuse(c, 400, "invalid_seq", "It is the seq that GET /api/v1/quarantine shows.",
                          "the number in the path is not a change's");
    int rc = node_quarantine_each(db, w, find_one, err);
    if (rc != 0)
        return rc;
    if (w->table[0] == '\0' || !node_grants_may(c->grants, NODE_MAY_READ, w->table))
        return api_refuse(c, 404, "not_found", "It may have been retried or dropped already.",
                          "this change is not in quarantine");
    return 0;
}

static int retry_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    struct wanted w = {0};
    struct node_author author;
    int count = 0;
    int rc = take_held(c, db, &w, err);
    api_author(c, &author);
    if (rc == 0)
        rc = node_quarantine_retry(db, &author, w.seq, &count, err);
    api_render_head(&c->body, c);
    base_buf_printf(&c->body, ",\"changes\":%d}", count);
    return rc;
}

static int drop_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    struct wanted w = {0};
    struct node_author author;
    int rc = take_held(c, db, &w, err);
    api_author(c, &author);
    const cJSON *reason = cJSON_GetObjectItemCaseSensitive(c->json, "reason");
    if (rc == 0)
        rc = node_quarantine_drop(db, &author, w.seq, reason->valuestring, err);
    api_render_head(&c->body, c);
    base_buf_str(&c->body, ",\"changes\":1}");
    return rc;
}

void api_on_quarantine_retry(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    if (!api_may(c, NODE_MAY_RESOLVE, "conflict") || api_take_key(c, true) != 0)
        api_finish(c);
    else
        api_run_write(c, retry_work);
}

static int drop_shape(struct api_call *c)
{
    static const char *const names[] = {"reason", NULL};
    const char *reason = NULL;
    struct base_err err;
    if (net_json_only(c->json, names, &err) != 0)
        return api_refuse(c, 422, "unknown_column", NULL, "%s", err.text);
    if (net_json_str(c->json, "reason", 400, &reason, &err) != 0 || reason[0] == '\0')
        return api_refuse_column(c, 422, "invalid_value", "reason",
                                 "say in reason why the entry is given up");
    return 0;
}

void api_on_quarantine_drop(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    if (!api_may(c, NODE_MAY_RESOLVE, "conflict") || api_take_key(c, true) != 0 ||
        api_take_json(c) != 0 || drop_shape(c) != 0)
        api_finish(c);
    else
        api_run_write(c, drop_work);
}
