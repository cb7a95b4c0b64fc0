/*
 * JSON members as the texts of columns: what a client may set, in the form that the store, the wire
 * and the centre have.
 */
#include <stdlib.h>
#include <string.h>

#include "node/api/internal.h"
#include "node/api/orders.h"

bool api_set_by_node(const char *column)
{
    static const char *const names[] = {"recorded_at", "recorded_by", "device_id", "clock_state"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(column, names[i]) == 0)
            return true;
    return false;
}

static int wrong_type(struct api_call *c, const struct core_column *col)
{
    static const char *const expected[] = {
        [CORE_TYPE_TEXT] = "a string",
        [CORE_TYPE_UUID] = "a string holding a uuid",
        [CORE_TYPE_INT] = "a whole number or a string of digits",
        [CORE_TYPE_DECIMAL] = "a number or a string holding one, without exponent",
        [CORE_TYPE_BOOL] = "true or false",
        [CORE_TYPE_MOMENT] = "a string holding a FHIR dateTime",
        [CORE_TYPE_DATE] = "a string holding a date (yyyy-mm-dd)",
        [CORE_TYPE_INSTANT] = "a string holding date and time with offset",
        [CORE_TYPE_JSON] = "any JSON value",
        [CORE_TYPE_BYTES] = "a string of the form \\\\x followed by hex digits"};
    return api_refuse_column(c, 422, "invalid_value", col->name, "%s must be %s", col->name,
                             expected[col->type]);
}

static int no_memory(struct api_call *c)
{
    api_refuse_rc(c, BASE_ENOMEM, NULL);
    return BASE_ENOMEM;
}

static int json_text(struct api_call *c, const cJSON *value, struct core_text *out)
{
    struct base_buf text;
    base_buf_init(&text, API_BODY_BYTES_MAX * 2);
    net_json_write(&text, value);
    char *copy =
        base_buf_check(&text) == 0 ? base_arena_copy(&c->arena, text.data, text.len) : NULL;
    *out = (struct core_text){copy, text.len};
    base_buf_release(&text);
    return copy == NULL ? no_memory(c) : 0;
}

static int lower_uuid(struct api_call *c, const char *s, struct core_text *out)
{
    char *copy = base_arena_copy(&c->arena, s, strlen(s));
    if (copy == NULL)
        return no_memory(c);
    for (char *p = copy; *p != '\0'; p++)
        if (*p >= 'A' && *p <= 'F')
            *p = (char)(*p + 32);
    *out = core_text_of(copy);
    return 0;
}

static int refuse_value(struct api_call *c, const struct core_column *col)
{
    struct base_buf list;
    if (col->allowed == NULL)
        return wrong_type(c, col);
    base_buf_init(&list, BASE_ERR_TEXT_BYTES);
    for (int i = 0; col->allowed[i] != NULL; i++)
        base_buf_printf(&list, "%s%s", i > 0 ? ", " : "", col->allowed[i]);
    int rc = api_refuse_column(c, 422, "invalid_value", col->name, "%s must be one of: %s",
                               col->name, list.data != NULL ? list.data : "");
    base_buf_release(&list);
    return rc;
}

int api_value_from_json(struct api_call *c, const struct core_table *t,
                        const struct core_column *col, const cJSON *value, struct core_text *out)
{
    struct core_text v = {NULL, 0};
    bool number =
        cJSON_IsNumber(value) && (col->type == CORE_TYPE_INT || col->type == CORE_TYPE_DECIMAL);
    int rc = 0;
    if (cJSON_IsNull(value)) {
        if (!col->nullable)
            return api_refuse_column(c, 422, "invalid_value", col->name, "%s must not be null",
                                     col->name);
        *out = v;
        return 0;
    }
    if (col->type == CORE_TYPE_JSON)
        rc = json_text(c, value, &v);
    else if (col->type == CORE_TYPE_BOOL && cJSON_IsBool(value))
        v = core_text_of(cJSON_IsTrue(value) ? "t" : "f");
    else if (col->type == CORE_TYPE_BOOL || (!number && !cJSON_IsString(value)))
        return wrong_type(c, col);
    else if (col->type == CORE_TYPE_UUID)
        rc = lower_uuid(c, value->valuestring, &v);
    else
        v = core_text_of(value->valuestring); /* of a number: its digits as they were sent */
    if (rc == 0 && core_value_check(t, col, v, NULL) != 0)
        rc = refuse_value(c, col);
    if (rc == 0)
        *out = v;
    return rc;
}

/* A column under construction of an edit. */
struct setter {
    struct api_call *c;
    const struct core_table *t;
    const struct core_column **columns;
    struct core_text *values;
    int count;
};

static bool has(const struct setter *s, const struct core_column *col)
{
    for (int i = 0; i < s->count; i++)
        if (s->columns[i] == col)
            return true;
    return false;
}

static void set_default(struct setter *s, const char *name, const char *value)
{
    const struct core_column *col = core_table_column(s->t, name, strlen(name));
    if (col == NULL || value[0] == '\0' || has(s, col) || s->count == CORE_COLUMNS_MAX)
        return;
    if (core_value_check(s->t, col, core_text_of(value), NULL) != 0)
        return;
    s->columns[s->count] = col;
    s->values[s->count++] = core_text_of(value);
}

static int set_member(struct setter *s, const cJSON *member)
{
    struct api_call *c = s->c;
    const char *name = member->string;
    const struct core_column *col = core_table_column(s->t, name, strlen(name));
    if (strcmp(name, "rev") == 0 || strcmp(name, "etag") == 0 || strcmp(name, "sync") == 0 ||
        strcmp(name, "id") == 0)
        return api_refuse_column(c, 422, "read_only_column", name, "%s cannot be set here", name);
    if (col == NULL || col->api == CORE_API_HIDDEN)
        return api_refuse_column(c, 422, "unknown_column",
                                 strlen(name) <= CORE_NAME_BYTES_MAX ? name : "?",
                                 "%s has no such column", s->t->name);
    if (col->api == CORE_API_RO)
        return api_refuse_column(c, 422, "read_only_column", name,
                                 "%s is not written through this interface", name);
    if (api_set_by_node(name))
        return api_refuse_column(c, 422, "set_by_node", name, "%s is filled in by the node", name);
    if (s->count == CORE_COLUMNS_MAX)
        return api_refuse(c, 422, "invalid_value", NULL, "too many columns");
    int rc = api_value_from_json(c, s->t, col, member, &s->values[s->count]);
    if (rc == 0)
        s->columns[s->count++] = col;
    return rc;
}

static struct core_text value_named(const struct setter *s, const char *name)
{
    for (int i = 0; i < s->count; i++)
        if (strcmp(s->columns[i]->name, name) == 0)
            return s->values[i];
    return (struct core_text){NULL, 0};
}

static bool is_resume(const struct setter *s)
{
    struct core_text action = value_named(s, "action");
    return action.s != NULL && core_text_equal(action, core_text_of("resume"));
}

static int set_defaults(struct setter *s, struct node_db *db)
{
    struct api_call *c = s->c;
    const struct node_identity *who = node_db_identity(db);
    char *site = base_arena_get(&c->arena, BASE_UUID_CHARS + 1);
    char *staff = base_arena_get(&c->arena, BASE_UUID_CHARS + 1);
    if (site == NULL || staff == NULL)
        return no_memory(c);
    if (!base_uuid_is_zero(&who->site_id))
        base_uuid_format(&who->site_id, site);
    base_uuid_format(&c->grants->staff_id, staff);
    set_default(s, "site_id", site);
    if (core_table_column(s->t, "recorded_at", 11) != NULL) {
        set_default(s, "effective_at", c->now);
        set_default(s, "recorded_at", c->now);
        set_default(s, "recorded_by", staff);
        set_default(s, "device_id", c->device);
        set_default(s, "clock_state", core_clock_name(c->clock));
        set_default(s, "source", "live");
    }
    if (strcmp(s->t->name, "order_event") == 0 && is_resume(s))
        set_default(s, "undoes_id", api_order_hold(c, db, value_named(s, "order_id")));
    for (int i = 0; i < s->t->column_count; i++) {
        const struct core_column *col = &s->t->columns[i];
        if (!col->nullable && col->preset == NULL && !has(s, col))
            return api_refuse_column(c, 422, "missing_value", col->name, "%s must be given",
                                     col->name);
    }
    return 0;
}

static int by_ord(const struct setter *s, int a, int b)
{
    return s->columns[a]->ord - s->columns[b]->ord;
}

/* In ordinal order, as a change's line has them. Insertion sort: few and nearly sorted. */
static void sort(struct setter *s)
{
    for (int i = 1; i < s->count; i++)
        for (int k = i; k > 0 && by_ord(s, k - 1, k) > 0; k--) {
            const struct core_column *col = s->columns[k];
            struct core_text v = s->values[k];
            s->columns[k] = s->columns[k - 1];
            s->values[k] = s->values[k - 1];
            s->columns[k - 1] = col;
            s->values[k - 1] = v;
        }
}

int api_edit_from_json(struct api_call *c, struct node_db *db, const struct core_table *t,
                       const cJSON *values, struct node_edit *edit)
{
    struct setter s = {.c = c, .t = t};
    size_t n = (size_t)t->column_count + 1;
    const cJSON *member;
    s.columns = base_arena_get(&c->arena, n * sizeof *s.columns);
    s.values = base_arena_get(&c->arena, n * sizeof *s.values);
    if (s.columns == NULL || s.values == NULL)
        return no_memory(c);
    cJSON_ArrayForEach(member, values)
    {
        if (edit->op == CORE_OP_INSERT && strcmp(member->string, "id") == 0)
            continue;
        int rc = set_member(&s, member);
        if (rc != 0)
            return rc;
    }
    if (edit->op == CORE_OP_INSERT) {
        int rc = set_defaults(&s, db);
        if (rc != 0)
            return rc;
    } else if (s.count == 0) {
        return api_refuse(c, 422, "nothing_to_do", NULL, "no column was given");
    }
    sort(&s);
    edit->table = t;
    edit->count = s.count;
    edit->columns = s.columns;
    edit->values = s.values;
    return 0;
}
