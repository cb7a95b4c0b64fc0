/*
 * POST, PATCH, DELETE of rows: one store job each, which checks, writes, builds the reply and
 * stores it under its key.
 *
 * Dying before the commit: nothing happened, the client has no answer and sends again. Dying after
 * it: the client sends again and gets the stored reply (POST), or 412 with the row as it is (PATCH
 * without a key).
 */
#include <string.h>

#include "node/api/internal.h"
#include "node/store/numbers.h"

void api_author(const struct api_call *c, struct node_author *out)
{
    *out = (struct node_author){.actor = c->grants->staff_id,
                                .device = c->device,
                                .request_id = c->request_id,
                                .clock = c->clock};
}

bool api_writable(struct api_call *c, const struct core_table *t, enum core_op op)
{
    if (t->class == CORE_CENTRAL) {
        api_refuse(c, 403, "read_only", "This is changed at the centre.",
                   "%s is not written at a node", t->name);
    } else if (t->push_only || strcmp(t->name, "conflict_resolution") == 0) {
        api_refuse(c, 403, "read_only",
                   t->push_only ? "The node writes this itself."
                                : "Use POST /api/v1/conflicts/{id}/resolution.",
                   "%s is not written through this route", t->name);
    } else if (op == CORE_OP_UPDATE && core_class_is_fact(t->class)) {
        api_refuse(c, 403, "fact", "Write a new row that corrects it.",
                   "rows of %s are never changed", t->name);
    } else if (op == CORE_OP_DELETE && !t->deletable) {
        api_refuse(c, 403, "not_deletable", "Set its status to entered-in-error, with a reason.",
                   "rows of %s are not deleted", t->name);
    } else {
        return true;
    }
    return false;
}

/* Puts the row as it is now into the problem, so that the client can show what has changed. */
static void attach_current(struct api_call *c, struct node_db *db, const struct node_edit *edit)
{
    struct node_row *row = base_arena_get(&c->arena, sizeof *row);
    struct base_buf text;
    if (row == NULL || node_row_get(db, edit->table, &edit->id, &c->arena, row, NULL) != 0 ||
        !api_row_ok(c, db, NODE_MAY_READ, row))
        return;
    base_buf_init(&text, API_BODY_BYTES_MAX * 4);
    api_render_row(&text, row, c->grants);
    if (base_buf_check(&text) == 0)
        c->problem.current = base_arena_copy(&c->arena, text.data, text.len);
    base_buf_release(&text);
}

int api_edits(struct api_call *c, struct node_db *db, const struct node_edit *edits, int count,
              struct node_version *versions, struct base_err *err)
{
    struct node_author author;
    int failed = 0;
    api_author(c, &author);
    int rc = node_write_numbered(db, &author, edits, count, versions, &failed, err);
    if (rc == 0 || base_code_class(rc) != BASE_CLASS_REJECT)
        return rc;
    api_refuse_rc(c, rc, err->text);
    if (count > 1)
        c->problem.index = failed;
    if (rc == BASE_ESTALE)
        attach_current(c, db, &edits[failed]);
    return rc;
}

/* The id the client chose, or a new one. Derived rows (a dose slot) bring ids of version 5 or 8. */
static int choose_id(struct api_call *c, const cJSON *values, struct base_uuid *out)
{
    const cJSON *id = cJSON_GetObjectItemCaseSensitive(values, "id");
    if (id == NULL) {
        seal_uuid_v7(out, c->now_ms);
        return 0;
    }
    if (cJSON_IsString(id) && base_uuid_parse(out, id->valuestring, strlen(id->valuestring))) {
        int version = out->bytes[6] >> 4;
        if ((version == 7 || version == 5 || version == 8) && out->bytes[8] >> 6 == 2)
            return 0;
    }
    return api_refuse_column(c, 422, "invalid_id", "id",
                             "id must be a uuid of version 7 (or 5, 8 for a derived row)");
}

/* What the new row reads as: no need to ask the store for what was just given to it. */
static void render_new(struct base_buf *out, struct api_call *c, const struct node_edit *e,
                       const struct node_version *version, struct node_row *row)
{
    row->table = e->table;
    row->id = e->id;
    row->version = *version;
    row->sync = NODE_SYNC_PENDING;
    memset(row->values, 0, (size_t)e->table->column_count * sizeof row->values[0]);
    for (int i = 0; i < e->count; i++)
        row->values[e->columns[i]->ord - CORE_ORD_FIRST] = e->values[i];
    api_render_row(out, row, c->grants);
}

static int render_written(struct base_buf *out, struct api_call *c, struct node_db *db,
                          const struct node_edit *e, const struct node_version *version,
                          struct base_err *err)
{
    struct node_row *row = base_arena_get(&c->arena, sizeof *row);
    if (row == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory");
    if (e->op == CORE_OP_INSERT) {
        render_new(out, c, e, version, row);
        return 0;
    }
    if (e->op == CORE_OP_DELETE) {
        base_buf_str(out, "{\"id\":");
        api_render_uuid(out, &e->id);
        base_buf_str(out, ",\"deleted\":true,\"sync\":\"pending\"}");
        return 0;
    }
    int rc = node_row_get(db, e->table, &e->id, &c->arena, row, err);
    if (rc == 0)
        api_render_row(out, row, c->grants);
    return rc;
}

static int create_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    struct node_edit edit = {.op = CORE_OP_INSERT};
    struct node_version version = {0, 0};
    char id[BASE_UUID_CHARS + 1];
    const struct core_table *t = api_table(c, db, c->table);
    if (t == NULL || !api_writable(c, t, edit.op))
        return BASE_EINVALID;
    int rc = choose_id(c, c->json, &edit.id);
    if (rc == 0)
        rc = api_edit_from_json(c, db, t, c->json, &edit);
    if (rc == 0)
        rc = api_edit_ok(c, db, &edit);
    if (rc == 0)
        rc = api_edits(c, db, &edit, 1, &version, err);
    if (rc == 0)
        rc = render_written(&c->body, c, db, &edit, &version, err);
    if (rc != 0)
        return rc;
    base_uuid_format(&edit.id, id);
    c->status = 201;
    api_etag(c->etag, &version);
    snprintf(c->location, sizeof c->location, "/api/v1/%s/%s", t->name, id);
    return 0;
}

void api_on_create(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    if (!api_may_some(c, NODE_MAY_CREATE, c->table) || api_take_key(c, true) != 0 ||
        api_take_json(c) != 0)
        api_finish(c);
    else
        api_run_write(c, create_work);
}

static int change_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    struct node_edit edit = {.op = c->json != NULL ? CORE_OP_UPDATE : CORE_OP_DELETE,
                             .id = c->id,
                             .check_version = true,
                             .version = c->version};
    struct node_version version = {0, 0};
    const struct core_table *t = api_table(c, db, c->table);
    if (t == NULL || !api_writable(c, t, edit.op))
        return BASE_EINVALID;
    edit.table = t;
    int rc = c->json == NULL ? 0 : api_edit_from_json(c, db, t, c->json, &edit);
    if (rc == 0)
        rc = api_edit_ok(c, db, &edit);
    if (rc == 0)
        rc = api_edits(c, db, &edit, 1, &version, err);
    if (rc == 0)
        rc = render_written(&c->body, c, db, &edit, &version, err);
    if (rc == 0 && edit.op == CORE_OP_UPDATE)
        api_etag(c->etag, &version);
    return rc;
}

static void on_change(struct net_http_exchange *x, void *user, enum node_action action)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    if (!api_may_some(c, action, c->table) || api_take_id(c) != 0 ||
        api_take_if_match(c, true) != 0 || api_take_key(c, false) != 0 ||
        (action == NODE_MAY_UPDATE && api_take_json(c) != 0))
        api_finish(c);
    else
        api_run_write(c, change_work);
}

void api_on_update(struct net_http_exchange *x, void *user)
{
    on_change(x, user, NODE_MAY_UPDATE);
}

void api_on_delete(struct net_http_exchange *x, void *user)
{
    on_change(x, user, NODE_MAY_DELETE);
}

/* Several writes, all or nothing. */

static int bad_write(struct api_call *c, int index, const char *why)
{
    api_refuse(c, 400, "bad_write",
               "Each write is {\"op\",\"table\",\"id\",\"if_match\",\"values\"}.", "writes[%d]: %s",
               index, why);
    c->problem.index = index;
    return BASE_EINVALID;
}

static const char *member_text(const cJSON *object, const char *name)
{
    const cJSON *m = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsString(m) ? m->valuestring : NULL;
}

static int op_of(const cJSON *w, enum core_op *op, enum node_action *action)
{
    const char *text = member_text(w, "op");
    if (text != NULL && strcmp(text, "create") == 0) {
        *op = CORE_OP_INSERT;
        *action = NODE_MAY_CREATE;
    } else if (text != NULL && strcmp(text, "update") == 0) {
        *op = CORE_OP_UPDATE;
        *action = NODE_MAY_UPDATE;
    } else if (text != NULL && strcmp(text, "delete") == 0) {
        *op = CORE_OP_DELETE;
        *action = NODE_MAY_DELETE;
    } else {
        return BASE_EINVALID;
    }
    return 0;
}

/* A row written earlier in the same transaction is as its author knows it. */
static bool seen_before(const struct node_edit *edits, int i)
{
    for (int k = 0; k < i; k++)
        if (edits[k].table == edits[i].table && base_uuid_equal(&edits[k].id, &edits[i].id))
            return true;
    return false;
}

static int write_id(struct api_call *c, const cJSON *w, const cJSON *values, struct node_edit *e,
                    int i)
{
    const char *id = member_text(w, "id");
    if (e->op == CORE_OP_INSERT && cJSON_GetObjectItemCaseSensitive(w, "id") == NULL)
        return choose_id(c, values, &e->id);
    if (e->op == CORE_OP_INSERT)
        return choose_id(c, w, &e->id);
    if (id == NULL || !base_uuid_parse(&e->id, id, strlen(id)))
        return bad_write(c, i, "id must be a uuid");
    return 0;
}

static int write_version(struct api_call *c, const cJSON *w, struct node_edit *edits, int i)
{
    struct node_edit *e = &edits[i];
    const char *tag = member_text(w, "if_match");
    if (e->op == CORE_OP_INSERT)
        return net_json_has(w, "if_match") ? bad_write(c, i, "a create has no if_match") : 0;
    if (!net_json_has(w, "if_match")) {
        if (seen_before(edits, i))
            return 0;
        api_refuse(c, 428, "version_required",
                   "Give if_match, the etag of the row as it was shown.",
                   "writes[%d]: this needs the version that was seen", i);
        return BASE_EINVALID;
    }
    if (tag == NULL || !api_etag_parse(&e->version, tag))
        return bad_write(c, i, "if_match is not a version of ours");
    e->check_version = true;
    return 0;
}

static int one_write(struct api_call *c, struct node_db *db, const cJSON *w,
                     struct node_edit *edits, int i)
{
    static const char *const names[] = {"op", "table", "id", "if_match", "values", NULL};
    struct node_edit *e = &edits[i];
    const cJSON *values = cJSON_GetObjectItemCaseSensitive(w, "values");
    const char *table = member_text(w, "table");
    enum node_action action;
    struct base_err why;
    if (!cJSON_IsObject(w))
        return bad_write(c, i, "not an object");
    if (net_json_only(w, names, &why) != 0)
        return bad_write(c, i, why.text);
    if (op_of(w, &e->op, &action) != 0)
        return bad_write(c, i, "op must be create, update or delete");
    if (table == NULL)
        return bad_write(c, i, "table must be a string");
    if (e->op == CORE_OP_DELETE ? values != NULL : !cJSON_IsObject(values))
        return bad_write(c, i,
                         "values must be an object for create and update, and absent for delete");
    e->table = NULL;
    if (!api_may_some(c, action, table) || (e->table = api_table(c, db, table)) == NULL ||
        !api_writable(c, e->table, e->op))
        return BASE_EINVALID;
    int rc = write_id(c, w, values, e, i);
    if (rc == 0)
        rc = write_version(c, w, edits, i);
    if (rc == 0 && e->op != CORE_OP_DELETE)
        rc = api_edit_from_json(c, db, e->table, values, e);
    if (rc == 0)
        rc = api_edit_ok(c, db, e);
    return rc;
}

/* Not the rows: the reply is stored too, and the client has what it sent. */
static void render_results(struct base_buf *out, const struct node_edit *edits,
                           const struct node_version *versions, int count)
{
    char etag[64];
    base_buf_str(out, "{\"results\":[");
    for (int i = 0; i < count; i++) {
        base_buf_str(out, i > 0 ? ",{\"table\":" : "{\"table\":");
        base_buf_json_str(out, edits[i].table->name);
        base_buf_str(out, ",\"id\":");
        api_render_uuid(out, &edits[i].id);
        base_buf_str(out, ",\"etag\":");
        api_etag(etag, &versions[i]);
        base_buf_json_str(out, edits[i].op == CORE_OP_DELETE ? NULL : etag);
        base_buf_str(out, ",\"sync\":\"pending\"}");
    }
    base_buf_str(out, "]}");
}

static int transaction_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    const cJSON *writes = cJSON_GetObjectItemCaseSensitive(c->json, "writes");
    int count = cJSON_GetArraySize(writes);
    struct node_edit *edits = base_arena_get(&c->arena, (size_t)count * sizeof *edits);
    struct node_version *versions = base_arena_get(&c->arena, (size_t)count * sizeof *versions);
    const cJSON *w;
    int i = 0;
    if (edits == NULL || versions == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory");
    cJSON_ArrayForEach(w, writes)
    {
        int rc = one_write(c, db, w, edits, i);
        if (rc != 0) {
            c->problem.index = i;
            return rc;
        }
        i++;
    }
    int rc = api_edits(c, db, edits, count, versions, err);
    if (rc != 0 && c->problem.status != 0 && c->problem.index < 0)
        c->problem.index = 0;
    if (rc == 0)
        render_results(&c->body, edits, versions, count);
    return rc;
}

static int transaction_shape(struct api_call *c)
{
    static const char *const names[] = {"writes", NULL};
    const cJSON *writes = cJSON_GetObjectItemCaseSensitive(c->json, "writes");
    struct base_err err;
    if (net_json_only(c->json, names, &err) != 0)
        return api_refuse(c, 400, "bad_transaction", NULL, "%s", err.text);
    int n = cJSON_GetArraySize(writes);
    if (!cJSON_IsArray(writes) || n < 1 || n > NODE_EDITS_MAX)
        return api_refuse(c, 400, "bad_transaction", NULL,
                          "writes must be a list of 1 to %d writes", NODE_EDITS_MAX);
    return 0;
}

void api_on_transaction(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    if (api_take_key(c, true) != 0 || api_take_json(c) != 0 || transaction_shape(c) != 0)
        api_finish(c);
    else
        api_run_write(c, transaction_work);
}
