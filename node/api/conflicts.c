/*
 * The conflict desk: what two people changed without seeing each other, as data; and the decision,
 * which is a fact plus an ordinary edit of the row in one local transaction. It works offline:
 * until the centre's own row arrives the conflict stands as "resolving".
 */
#include <string.h>

#include "node/api/conflicts.h"
#include "node/api/internal.h"

struct rows {
    struct api_call *c;
    struct node_row *list[NODE_QUERY_ROWS_MAX];
    int count;
};

static bool collect(void *user, const struct node_row *row)
{
    struct rows *r = user;
    struct node_row *copy = base_arena_get(&r->c->arena, sizeof *copy);
    if (copy == NULL)
        return false;
    *copy = *row;
    r->list[r->count++] = copy;
    return r->count < NODE_QUERY_ROWS_MAX;
}

static bool is_word(struct core_text v, const char *word)
{
    return v.s != NULL && core_text_equal(v, core_text_of(word));
}

static char *as_string(struct api_call *c, struct core_text v)
{
    return v.s == NULL ? NULL : base_arena_copy(&c->arena, v.s, v.len);
}

static void member(struct base_buf *out, const struct node_row *row, const char *column)
{
    const struct core_column *col = core_table_column(row->table, column, strlen(column));
    base_buf_str(out, ",\"");
    base_buf_str(out, column);
    base_buf_str(out, "\":");
    if (col == NULL)
        base_buf_str(out, "null");
    else
        api_render_value(out, col, row->values[col->ord - CORE_ORD_FIRST]);
}

/* The sentence of a rule's name; what is no name of ours is taken as the sentence. */
static void rule_text(struct base_buf *out, struct core_text rule)
{
    static const enum core_rule rules[] = {
#define X(name, text) CORE_RULE_##name,
        CORE_RULES(X)
#undef X
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (is_word(rule, core_rule_name(rules[i]))) {
            base_buf_json_str(out, core_rule_text(rules[i]));
            return;
        }
    if (rule.s != NULL)
        base_buf_json(out, rule.s, rule.len);
    else
        base_buf_str(out, "null");
}

static void staff_name(struct base_buf *out, struct api_call *c, struct node_db *db,
                       struct core_text id)
{
    const struct core_table *staff = core_catalog_table(node_db_catalog(db), "staff", 5);
    struct node_row *row = base_arena_get(&c->arena, sizeof *row);
    struct base_uuid u;
    if (staff == NULL || row == NULL || id.s == NULL || !base_uuid_parse(&u, id.s, id.len) ||
        node_row_get(db, staff, &u, &c->arena, row, NULL) != 0) {
        base_buf_str(out, "null");
        return;
    }
    struct core_text given = api_value(row, "given_names");
    struct core_text family = api_value(row, "family_name");
    char name[256];
    snprintf(name, sizeof name, "%.*s%s%.*s", (int)given.len, given.s != NULL ? given.s : "",
             given.len > 0 && family.len > 0 ? " " : "", (int)family.len,
             family.s != NULL ? family.s : "");
    base_buf_json(out, name, strlen(name));
}

static bool first_of(void *user, const struct node_row *row)
{
    struct node_row *out = user;
    *out = *row;
    return false;
}

/* The newest resolution of a conflict known here; NULL if there is none. */
static struct node_row *resolution_of(struct api_call *c, struct node_db *db,
                                      const struct base_uuid *conflict, struct base_err *err,
                                      int *rc)
{
    struct node_row *row = base_arena_get(&c->arena, sizeof *row);
    char *id = base_arena_get(&c->arena, BASE_UUID_CHARS + 1);
    *rc = BASE_ENOMEM;
    if (row == NULL || id == NULL)
        return NULL;
    base_uuid_format(conflict, id);
    struct api_select s = {.table = "conflict_resolution",
                           .column = {"conflict_id"},
                           .value = {id},
                           .descending = true,
                           .limit = 1};
    *rc = api_select(c, db, &s, row, first_of, err);
    return *rc == 0 && row->table != NULL ? row : NULL;
}

static int target_row(struct api_call *c, struct node_db *db, const struct node_row *conflict,
                      struct node_row **out, struct base_err *err)
{
    struct core_text name = api_value(conflict, "table_name");
    struct core_text id = api_value(conflict, "row_id");
    const struct core_table *t =
        name.s == NULL ? NULL : core_catalog_table(node_db_catalog(db), name.s, name.len);
    struct base_uuid u;
    struct node_row *row = base_arena_get(&c->arena, sizeof *row);
    *out = NULL;
    if (row == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory");
    if (t == NULL || id.s == NULL || !base_uuid_parse(&u, id.s, id.len))
        return 0;
    int rc = node_row_get(db, t, &u, &c->arena, row, err);
    if (rc == 0)
        *out = row;
    return rc == BASE_ENOTFOUND ? 0 : rc;
}

static void names(struct base_buf *out, struct core_text json)
{
    cJSON *list = NULL;
    if (json.s != NULL && net_json_parse(&list, json.s, json.len, NULL) == 0 && cJSON_IsArray(list))
        net_json_write(out, list);
    else
        base_buf_str(out, "[]");
    cJSON_Delete(list);
}

/* What the contested columns are now: the live value may have moved since the conflict was found.
 */
static void now_values(struct base_buf *out, const struct node_row *row, struct core_text json)
{
    cJSON *list = NULL;
    const cJSON *item;
    bool first = true;
    if (row == NULL || json.s == NULL || net_json_parse(&list, json.s, json.len, NULL) != 0) {
        base_buf_str(out, "null");
        return;
    }
    base_buf_char(out, '{');
    cJSON_ArrayForEach(item, list)
    {
        const struct core_column *col =
            cJSON_IsString(item)
                ? core_table_column(row->table, item->valuestring, strlen(item->valuestring))
                : NULL;
        if (col == NULL || col->api == CORE_API_HIDDEN)
            continue;
        base_buf_str(out, first ? "" : ",");
        first = false;
        base_buf_json_str(out, col->name);
        base_buf_char(out, ':');
        api_render_value(out, col, row->values[col->ord - CORE_ORD_FIRST]);
    }
    base_buf_char(out, '}');
    cJSON_Delete(list);
}

static void render_row_version(struct base_buf *out, const struct node_row *row)
{
    char etag[64];
    if (row == NULL) {
        base_buf_str(out, "null");
        return;
    }
    api_etag(etag, &row->version);
    base_buf_str(out, "{\"rev\":");
    base_buf_i64(out, row->version.rev);
    base_buf_str(out, ",\"etag\":");
    base_buf_json_str(out, etag);
    base_buf_str(out, ",\"sync\":");
    base_buf_json_str(out, node_sync_name(row->sync));
    base_buf_char(out, '}');
}

static void render_resolution(struct base_buf *out, const struct node_row *r)
{
    if (r == NULL) {
        base_buf_str(out, "null");
        return;
    }
    base_buf_str(out, "{\"id\":");
    api_render_uuid(out, &r->id);
    member(out, r, "choice");
    member(out, r, "reason");
    member(out, r, "recorded_by");
    member(out, r, "recorded_at");
    base_buf_str(out, ",\"sync\":");
    base_buf_json_str(out, node_sync_name(r->sync));
    base_buf_char(out, '}');
}

static void render_sides(struct base_buf *out, const struct node_row *k, const struct core_table *t)
{
    static const char *const sides[] = {"base", "live", "incoming"};
    for (size_t i = 0; i < sizeof sides / sizeof sides[0]; i++) {
        base_buf_printf(out, ",\"%s\":", sides[i]);
        if (t == NULL)
            base_buf_str(out, "null");
        else
            api_render_values(out, t, api_value(k, sides[i]));
    }
}

int api_render_conflict(struct api_call *c, struct node_db *db, const struct node_row *k,
                        struct base_err *err)
{
    static const char *const plain[] = {
        "base_rev",    "live_rev",    "live_by",       "live_at",        "live_node",
        "incoming_by", "incoming_at", "incoming_node", "incoming_clock", "decide_role",
        "resolved_by", "resolved_at", "resolution_id"};
    struct base_buf *out = &c->body;
    struct node_row *row = NULL;
    int rc = target_row(c, db, k, &row, err);
    if (rc != 0)
        return rc;
    struct node_row *resolution = resolution_of(c, db, &k->id, err, &rc);
    if (rc != 0)
        return rc;
    bool resolved = is_word(api_value(k, "state"), "resolved");
    base_buf_str(out, "{\"id\":");
    api_render_uuid(out, &k->id);
    base_buf_str(out, ",\"state\":");
    base_buf_json_str(out, resolved ? "resolved" : resolution != NULL ? "resolving" : "open");
    member(out, k, "table_name");
    member(out, k, "row_id");
    member(out, k, "patient_id");
    base_buf_str(out, ",\"columns\":");
    names(out, api_value(k, "columns"));
    member(out, k, "class");
    member(out, k, "rule");
    base_buf_str(out, ",\"rule_text\":");
    rule_text(out, api_value(k, "rule"));
    struct core_text table = api_value(k, "table_name");
    render_sides(out, k,
                 table.s == NULL ? NULL
                                 : core_catalog_table(node_db_catalog(db), table.s, table.len));
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        member(out, k, plain[i]);
    base_buf_str(out, ",\"live_by_name\":");
    staff_name(out, c, db, api_value(k, "live_by"));
    base_buf_str(out, ",\"incoming_by_name\":");
    staff_name(out, c, db, api_value(k, "incoming_by"));
    base_buf_str(out, ",\"row\":");
    render_row_version(out, row);
    base_buf_str(out, ",\"now\":");
    now_values(out, row, api_value(k, "columns"));
    base_buf_str(out, ",\"resolution\":");
    render_resolution(out, resolution);
    base_buf_char(out, '}');
    return base_buf_check(out);
}

bool api_conflict_readable(struct api_call *c, struct node_db *db, const struct node_row *k)
{
    char *table = as_string(c, api_value(k, "table_name"));
    struct core_text text = api_value(k, "patient_id");
    struct base_uuid patient;
    if (table == NULL || text.s == NULL || !base_uuid_parse(&patient, text.s, text.len))
        return table != NULL && node_grants_may(c->grants, NODE_MAY_READ, table) &&
               node_grants_may(c->grants, NODE_MAY_READ, "conflict");
    return api_patient_ok(c, db, NODE_MAY_READ, table, &patient) &&
           api_patient_ok(c, db, NODE_MAY_READ, "conflict", &patient);
}

/* Appends the rows, with commas, those the caller may read. */
static int render_all(struct api_call *c, struct node_db *db, const struct rows *r,
                      struct base_err *err)
{
    int rc = 0;
    bool first = true;
    for (int i = 0; i < r->count && rc == 0; i++) {
        if (!api_conflict_readable(c, db, r->list[i]))
            continue;
        base_buf_str(&c->body, first ? "" : ",");
        first = false;
        rc = api_render_conflict(c, db, r->list[i], err);
    }
    return rc;
}

int api_render_conflicts_of(struct api_call *c, struct node_db *db, const struct api_select *select,
                            struct base_err *err)
{
    struct rows *r = base_arena_get(&c->arena, sizeof *r);
    if (r == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory");
    r->c = c;
    int rc = api_select(c, db, select, r, collect, err);
    base_buf_char(&c->body, '[');
    if (rc == 0)
        rc = render_all(c, db, r, err);
    base_buf_char(&c->body, ']');
    return rc;
}

static int list_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    const struct core_table *t = api_table(c, db, "conflict");
    struct rows *r = base_arena_get(&c->arena, sizeof *r);
    struct node_order *orders = base_arena_get(&c->arena, 2 * sizeof *orders);
    struct node_query q;
    const char *next = NULL;
    if (t == NULL || api_query_parse(c, t, &q) != 0)
        return 0;
    if (r == NULL || orders == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory");
    if (q.order_count == 0) {
        /* "open" sorts before "resolved"; the newest first within each. */
        orders[0] = (struct node_order){core_table_column(t, "state", 5), false};
        orders[1] = (struct node_order){core_table_column(t, "incoming_at", 11), true};
        q.orders = orders;
        q.order_count = 2;
    }
    r->c = c;
    int rc = node_query_run(db, &q, &c->arena, r, collect, &next, err);
    if (rc == BASE_EINVALID && q.after != NULL) {
        api_refuse_column(c, 400, "bad_filter", "after",
                          "parameter \"after\": expected the value of next of the same query");
        return 0;
    }
    if (rc != 0)
        return rc;
    api_render_head(&c->body, c);
    base_buf_str(&c->body, ",\"items\":[");
    rc = render_all(c, db, r, err);
    base_buf_str(&c->body, "],\"next\":");
    base_buf_json_str(&c->body, next);
    base_buf_char(&c->body, '}');
    c->audit_action = "search";
    c->table = "conflict";
    return rc;
}

void api_on_conflicts(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    if (!api_may_some(c, NODE_MAY_READ, "conflict") || api_take_params(c) != 0)
        api_finish(c);
    else
        api_run(c, list_work);
}

static int one_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    const struct core_table *t = api_table(c, db, "conflict");
    struct node_row *row = base_arena_get(&c->arena, sizeof *row);
    if (t == NULL)
        return 0;
    int rc = row == NULL ? BASE_ENOMEM : node_row_get(db, t, &c->id, &c->arena, row, err);
    if (rc == BASE_ENOTFOUND || (rc == 0 && !api_conflict_readable(c, db, row)))
        return api_refuse(c, 404, "not_found", NULL, "there is no such conflict");
    if (rc != 0)
        return rc;
    struct core_text patient = api_value(row, "patient_id");
    c->table = "conflict";
    c->audit_action = "read";
    c->audit_row = row->id;
    c->audit_has_row = true;
    c->audit_has_patient =
        patient.s != NULL && base_uuid_parse(&c->audit_patient, patient.s, patient.len);
    return api_render_conflict(c, db, row, err);
}

void api_on_conflict(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    if (!api_may_some(c, NODE_MAY_READ, "conflict") || api_take_id(c) != 0)
        api_finish(c);
    else
        api_run(c, one_work);
}

static int row_conflicts_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    char id[BASE_UUID_CHARS + 1];
    if (api_table(c, db, c->table) == NULL)
        return 0;
    base_uuid_format(&c->id, id);
    struct api_select s = {.table = "conflict",
                           .column = {"row_id", "table_name"},
                           .value = {id, c->table},
                           .order = "state",
                           .limit = NODE_QUERY_ROWS_MAX};
    api_render_head(&c->body, c);
    base_buf_str(&c->body, ",\"items\":");
    int rc = api_render_conflicts_of(c, db, &s, err);
    base_buf_char(&c->body, '}');
    c->audit_action = "read";
    c->audit_row = c->id;
    c->audit_has_row = true;
    return rc;
}

void api_on_row_conflicts(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    if (!api_may(c, NODE_MAY_READ, c->table) || !api_may(c, NODE_MAY_READ, "conflict") ||
        api_take_id(c) != 0)
        api_finish(c);
    else
        api_run(c, row_conflicts_work);
}
