/*
 * POST /api/v1/conflicts/{id}/resolution: the decision as a fact, and the row's edit, in one local
 * transaction. The edit is an ordinary one with a version: if the row has moved since it was shown,
 * nothing is written and the person looks again.
 */
#include <string.h>

#include "node/api/conflicts.h"
#include "node/api/internal.h"
#include "sync/core/image.h"

struct decision {
    const struct node_row *conflict;
    const struct core_table *table; /* of the contested row; NULL if unknown here */
    struct node_row *row;           /* NULL: gone */
    const char *choice;
    cJSON *columns;            /* names, parsed */
    struct node_edit edits[2]; /* the fact, the row */
    int count;
};

static int refuse_conflict(struct api_call *c, const char *code, const char *hint,
                           const char *detail)
{
    return api_refuse(c, 409, code, hint, "%s", detail);
}

static bool in_columns(const struct decision *d, const char *name)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, d->columns)
    {
        if (cJSON_IsString(item) && strcmp(item->valuestring, name) == 0)
            return true;
    }
    return false;
}

static int load_row(struct api_call *c, struct node_db *db, struct decision *d,
                    struct base_err *err)
{
    struct core_text name = api_value(d->conflict, "table_name");
    struct core_text id = api_value(d->conflict, "row_id");
    struct base_uuid u;
    if (name.s == NULL || id.s == NULL || !base_uuid_parse(&u, id.s, id.len))
        return refuse_conflict(c, "conflict_unreadable", NULL, "the conflict names no row");
    d->table = core_catalog_table(node_db_catalog(db), name.s, name.len);
    d->row = base_arena_get(&c->arena, sizeof *d->row);
    if (d->table == NULL)
        return refuse_conflict(c, "conflict_unreadable", NULL,
                               "the conflict is about a table that is not here");
    int rc = d->row == NULL ? BASE_ENOMEM : node_row_get(db, d->table, &u, &c->arena, d->row, err);
    if (rc == BASE_ENOTFOUND) {
        d->row = NULL;
        return 0;
    }
    return rc;
}

static bool any_row(void *user, const struct node_row *row)
{
    *(bool *)user = true;
    return false;
}

/* Open, and not decided here already: two decisions would be a new conflict. */
static int check_open(struct api_call *c, struct node_db *db, struct decision *d,
                      struct base_err *err)
{
    char id[BASE_UUID_CHARS + 1];
    bool found = false;
    if (!core_text_equal(api_value(d->conflict, "state"), core_text_of("open")))
        return refuse_conflict(c, "already_resolved", "Look at it again.",
                               "the conflict is resolved");
    base_uuid_format(&d->conflict->id, id);
    struct api_select s = {
        .table = "conflict_resolution", .column = {"conflict_id"}, .value = {id}, .limit = 1};
    int rc = api_select(c, db, &s, &found, any_row, err);
    if (rc == 0 && found)
        return refuse_conflict(c, "already_resolving", "The decision is on its way to the centre.",
                               "somebody has decided this");
    return rc;
}

/* What the conflict shows as live is still what stands in the contested columns, whatever else has
 * moved. */
static bool live_stands(const struct decision *d)
{
    struct core_text json = api_value(d->conflict, "live");
    cJSON *object = NULL;
    const cJSON *m;
    bool same = json.s != NULL && net_json_parse(&object, json.s, json.len, NULL) == 0 &&
                cJSON_IsObject(object) && object->child != NULL;
    cJSON_ArrayForEach(m, object)
    {
        const struct core_column *col = core_table_column(d->table, m->string, strlen(m->string));
        struct core_text shown = core_text_of(cJSON_IsString(m) ? m->valuestring : NULL);
        same = same && col != NULL &&
               core_text_equal(d->row->values[col->ord - CORE_ORD_FIRST], shown);
    }
    cJSON_Delete(object);
    return same;
}

/* The version that was shown: the row's, by ETag or rev; or the conflict's own live_rev while its
 * live values still stand. */
static bool is_as_seen(const struct api_call *c, const struct decision *d, int64_t seen)
{
    const struct node_version *v = &d->row->version;
    char text[24];
    if (c->has_version)
        return v->rev == seen && v->rev == c->version.rev &&
               v->pending_seq == c->version.pending_seq;
    if (v->rev == seen && v->pending_seq == 0)
        return true;
    snprintf(text, sizeof text, "%lld", (long long)seen);
    return core_text_equal(api_value(d->conflict, "live_rev"), core_text_of(text)) &&
           live_stands(d);
}

static int check_seen(struct api_call *c, struct decision *d)
{
    int64_t seen = 0;
    struct base_err err;
    struct base_buf text;
    if (net_json_i64(c->json, "seen_rev", 0, INT64_MAX, &seen, &err) != 0)
        return api_refuse_column(c, 422, "invalid_value", "seen_rev", "%s", err.text);
    if (d->row == NULL)
        return 0;
    if (is_as_seen(c, d, seen))
        return 0;
    base_buf_init(&text, API_BODY_BYTES_MAX * 4);
    api_render_row(&text, d->row, c->grants);
    if (base_buf_check(&text) == 0)
        c->problem.current = base_arena_copy(&c->arena, text.data, text.len);
    base_buf_release(&text);
    return api_refuse(c, 412, "stale_version",
                      "Look at the row as it is now and decide again. If it has changes of its own "
                      "waiting, send its etag "
                      "in If-Match.",
                      "the row is not at the version that was shown");
}

/* incoming, base: the texts as the conflict keeps them. */
static int values_kept(struct api_call *c, struct decision *d, struct node_edit *e,
                       const struct core_column **cols, struct core_text *values)
{
    struct core_text json = api_value(d->conflict, d->choice);
    cJSON *object = NULL;
    const cJSON *m;
    int rc = 0;
    if (json.s != NULL && net_json_parse(&object, json.s, json.len, NULL) != 0)
        return refuse_conflict(c, "conflict_unreadable", NULL, "the kept values cannot be read");
    cJSON_ArrayForEach(m, object)
    {
        const struct core_column *col = core_table_column(d->table, m->string, strlen(m->string));
        struct core_text v = {NULL, 0};
        if (cJSON_IsString(m)) {
            v = core_text_of(base_arena_copy(&c->arena, m->valuestring, strlen(m->valuestring)));
            if (v.s == NULL)
                rc = BASE_ENOMEM;
        }
        if (rc == 0 && (col == NULL || e->count == d->table->column_count ||
                        core_value_check(d->table, col, v, NULL) != 0))
            rc = refuse_conflict(c, "conflict_unreadable", "Choose other values.",
                                 "a kept value does not fit the table as it is now");
        if (rc != 0)
            break;
        cols[e->count] = col;
        values[e->count++] = v;
    }
    cJSON_Delete(object);
    return rc;
}

static int values_other(struct api_call *c, struct decision *d, struct node_edit *e,
                        const struct core_column **cols, struct core_text *values)
{
    const cJSON *given = cJSON_GetObjectItemCaseSensitive(c->json, "values");
    const cJSON *m;
    cJSON_ArrayForEach(m, given)
    {
        const struct core_column *col = core_table_column(d->table, m->string, strlen(m->string));
        if (col == NULL || col->api != CORE_API_RW || !in_columns(d, m->string))
            return api_refuse_column(c, 422, "unknown_column",
                                     strlen(m->string) <= CORE_NAME_BYTES_MAX ? m->string : "?",
                                     "values may only name the contested columns");
        int rc = api_value_from_json(c, d->table, col, m, &values[e->count]);
        if (rc != 0)
            return rc;
        cols[e->count++] = col;
    }
    if (e->count == 0)
        return api_refuse(c, 422, "nothing_to_do", NULL,
                          "choice other needs values for the contested columns");
    return 0;
}

static int row_edit(struct api_call *c, struct decision *d)
{
    struct node_edit *e = &d->edits[1];
    size_t n = (size_t)d->table->column_count + 1;
    const struct core_column **cols = base_arena_get(&c->arena, n * sizeof *cols);
    struct core_text *values = base_arena_get(&c->arena, n * sizeof *values);
    if (cols == NULL || values == NULL)
        return BASE_ENOMEM;
    if (d->row == NULL)
        return refuse_conflict(c, "row_gone", "Only the live state can be confirmed.",
                               "the row is not here any more");
    *e = (struct node_edit){.op = CORE_OP_UPDATE,
                            .table = d->table,
                            .id = d->row->id,
                            .columns = cols,
                            .values = values,
                            .check_version = true,
                            .version = d->row->version};
    int rc = strcmp(d->choice, "other") == 0 ? values_other(c, d, e, cols, values)
                                             : values_kept(c, d, e, cols, values);
    if (rc != 0)
        return rc;
    if (e->count == 0) { /* the incoming side wanted the row gone */
        e->op = CORE_OP_DELETE;
        if (!api_may(c, NODE_MAY_DELETE, d->table->name) || !api_writable(c, d->table, e->op))
            return BASE_EINVALID;
    }
    d->count = 2;
    return 0;
}

/* The fact, written as any client's JSON would be. */
static int fact_json(struct api_call *c, struct decision *d, cJSON **out, struct base_err *err)
{
    const cJSON *reason = cJSON_GetObjectItemCaseSensitive(c->json, "reason");
    struct base_buf text;
    base_buf_init(&text, API_BODY_BYTES_MAX * 2);
    base_buf_str(&text, "{\"conflict_id\":");
    api_render_uuid(&text, &d->conflict->id);
    base_buf_str(&text, ",\"choice\":");
    base_buf_json_str(&text, d->choice);
    base_buf_str(&text, ",\"seen_rev\":");
    net_json_write(&text, cJSON_GetObjectItemCaseSensitive(c->json, "seen_rev"));
    if (reason != NULL) {
        base_buf_str(&text, ",\"reason\":");
        net_json_write(&text, reason);
    }
    if (d->count == 2 && d->edits[1].op == CORE_OP_UPDATE) {
        base_buf_str(&text, ",\"values\":{");
        for (int i = 0; i < d->edits[1].count; i++) {
            struct core_text v = d->edits[1].values[i];
            base_buf_str(&text, i > 0 ? "," : "");
            base_buf_json_str(&text, d->edits[1].columns[i]->name);
            base_buf_char(&text, ':');
            if (v.s != NULL)
                base_buf_json(&text, v.s, v.len);
            else
                base_buf_str(&text, "null");
        }
        base_buf_char(&text, '}');
    }
    base_buf_char(&text, '}');
    int rc = base_buf_check(&text);
    if (rc == 0)
        rc = net_json_parse(out, text.data, text.len, err);
    base_buf_release(&text);
    return rc;
}

/* The role the conflict is for; or one that the hospital lets decide about the table itself. */
static int check_role(struct api_call *c, const struct decision *d)
{
    struct core_text role = api_value(d->conflict, "decide_role");
    if (role.s == NULL || node_grants_has_role(c->grants, role.s, role.len) ||
        node_grants_may(c->grants, NODE_MAY_RESOLVE, d->table->name))
        return 0;
    return api_refuse(c, 403, "not_your_decision",
                      "Roles and what they may do are set at the centre.",
                      "this is for a %.*s to decide", (int)role.len, role.s);
}

static int decide(struct api_call *c, struct node_db *db, struct decision *d, struct base_err *err)
{
    const struct core_table *facts = core_catalog_table(node_db_catalog(db), "conflict_resolution",
                                                        strlen("conflict_resolution"));
    cJSON *fact = NULL;
    bool live = strcmp(d->choice, "live") == 0;
    if (facts == NULL)
        return base_fail(err, BASE_ENOTFOUND, "there is no table conflict_resolution");
    int rc = load_row(c, db, d, err);
    if (rc == 0)
        rc = check_open(c, db, d, err);
    BASE_ASSERT(rc != 0 || d->table != NULL);
    if (rc == 0)
        rc = check_role(c, d);
    if (rc == 0 && !live && !api_may(c, NODE_MAY_UPDATE, d->table->name))
        rc = BASE_EINVALID;
    if (rc == 0)
        rc = check_seen(c, d);
    if (rc == 0 && !live)
        rc = row_edit(c, d);
    if (rc == 0)
        rc = fact_json(c, d, &fact, err);
    if (rc != 0)
        return rc;
    d->edits[0] = (struct node_edit){.op = CORE_OP_INSERT};
    seal_uuid_v7(&d->edits[0].id, c->now_ms);
    rc = api_edit_from_json(c, db, facts, fact, &d->edits[0]);
    /* The edit's texts may point into the parsed fact: it lives until they are written. */
    struct node_version versions[2];
    if (rc == 0)
        rc = api_edits(c, db, d->edits, d->count, versions, err);
    c->problem.index = -1;
    cJSON_Delete(fact);
    return rc;
}

static int resolution_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    const struct core_table *t = api_table(c, db, "conflict");
    struct node_row *conflict = base_arena_get(&c->arena, sizeof *conflict);
    struct decision d = {.conflict = conflict, .count = 1};
    if (t == NULL)
        return BASE_EINVALID;
    int rc = conflict == NULL ? BASE_ENOMEM : node_row_get(db, t, &c->id, &c->arena, conflict, err);
    if (rc == BASE_ENOTFOUND || (rc == 0 && !api_conflict_readable(c, db, conflict)))
        return api_refuse(c, 404, "not_found", NULL, "there is no such conflict");
    if (rc != 0)
        return rc;
    struct core_text columns = api_value(conflict, "columns");
    if (columns.s != NULL)
        (void)net_json_parse(&d.columns, columns.s, columns.len, NULL);
    d.choice = cJSON_GetObjectItemCaseSensitive(c->json, "choice")->valuestring;
    rc = decide(c, db, &d, err);
    cJSON_Delete(d.columns);
    if (rc != 0)
        return rc;
    c->status = 201;
    char id[BASE_UUID_CHARS + 1];
    base_uuid_format(&c->id, id);
    snprintf(c->location, sizeof c->location, "/api/v1/conflicts/%s", id);
    return api_render_conflict(c, db, conflict, err);
}

static int resolution_shape(struct api_call *c)
{
    static const char *const names[] = {"choice", "values", "reason", "seen_rev", NULL};
    static const char *const choices[] = {"live", "incoming", "base", "other"};
    const cJSON *choice = cJSON_GetObjectItemCaseSensitive(c->json, "choice");
    const cJSON *reason = cJSON_GetObjectItemCaseSensitive(c->json, "reason");
    const cJSON *values = cJSON_GetObjectItemCaseSensitive(c->json, "values");
    struct base_err err;
    bool known = false;
    if (net_json_only(c->json, names, &err) != 0)
        return api_refuse(c, 422, "unknown_column", NULL, "%s", err.text);
    for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++)
        known = known || (cJSON_IsString(choice) && strcmp(choice->valuestring, choices[i]) == 0);
    if (!known)
        return api_refuse_column(c, 422, "invalid_value", "choice",
                                 "choice must be live, incoming, base or other");
    if (reason != NULL && !cJSON_IsString(reason))
        return api_refuse_column(c, 422, "invalid_value", "reason", "reason must be a string");
    if ((strcmp(choice->valuestring, "other") == 0) != cJSON_IsObject(values) ||
        (values != NULL && !cJSON_IsObject(values)))
        return api_refuse_column(c, 422, "invalid_value", "values",
                                 "values go with choice other, and with it alone");
    return 0;
}

void api_on_resolution(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    if (!api_may(c, NODE_MAY_READ, "conflict") || !api_may(c, NODE_MAY_RESOLVE, "conflict") ||
        api_take_id(c) != 0 || api_take_key(c, true) != 0 || api_take_if_match(c, false) != 0 ||
        api_take_json(c) != 0 || resolution_shape(c) != 0)
        api_finish(c);
    else
        api_run_write(c, resolution_work);
}
