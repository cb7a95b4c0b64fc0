/*
 * The OpenAPI 3.1 document: what is the same for every catalog stands in openapi.json (built into
 * the program), what a table has is written here: it must say what render.c, query.c and values.c
 * do.
 */
#include <string.h>

#include "node/api/internal.h"

extern const char api_openapi_base[]; /* openapi.json, made by CMake */

static void ref(struct base_buf *out, const char *name, const char *suffix)
{
    base_buf_printf(out, "{\"$ref\":\"#/components/schemas/%s%s\"}", name, suffix);
}

static void param(struct base_buf *out, const char *name)
{
    base_buf_printf(out, "{\"$ref\":\"#/components/parameters/%s\"}", name);
}

/* "responses" with one success and the problem. */
static void responses(struct base_buf *out, const char *status, const char *what, const char *name,
                      const char *suffix)
{
    base_buf_printf(out,
                    "\"responses\":{\"%s\":{\"description\":\"%s\",\"headers\":{\"Data-As-Of\":"
                    "{\"$ref\":\"#/components/headers/Data-As-Of\"}},"
                    "\"content\":{\"application/json\":{\"schema\":",
                    status, what);
    ref(out, name, suffix);
    base_buf_str(out, "}}},\"default\":{\"$ref\":\"#/components/responses/problem\"}}");
}

static void request_body(struct base_buf *out, const char *name, const char *suffix)
{
    base_buf_str(
        out, "\"requestBody\":{\"required\":true,\"content\":{\"application/json\":{\"schema\":");
    ref(out, name, suffix);
    base_buf_str(out, "}}}");
}

static void enumeration(struct base_buf *out, const char *const *words)
{
    base_buf_str(out, "{\"type\":\"string\",\"enum\":[");
    for (int i = 0; words[i] != NULL; i++) {
        base_buf_str(out, i > 0 ? "," : "");
        base_buf_json_str(out, words[i]);
    }
    base_buf_str(out, "]}");
}

/* reading: what comes out; else what may be sent. */
static void type_of(struct base_buf *out, const struct core_column *c, bool reading)
{
    switch (c->type) {
    case CORE_TYPE_BOOL:
        base_buf_str(out, "{\"type\":\"boolean\"}");
        return;
    case CORE_TYPE_INT:
        base_buf_str(
            out, "{\"type\":[\"integer\",\"string\"],\"description\":\"a string beyond 2^53\"}");
        return;
    case CORE_TYPE_DECIMAL:
        base_buf_str(out, reading ? "{\"type\":\"string\",\"pattern\":\"^-?[0-9]+(\\\\.[0-9]+)?$\"}"
                                  : "{\"type\":[\"string\",\"number\"],"
                                    "\"description\":\"digits are kept as they are sent\"}");
        return;
    case CORE_TYPE_UUID:
        ref(out, "uuid", "");
        return;
    case CORE_TYPE_MOMENT:
        ref(out, "moment", "");
        return;
    case CORE_TYPE_JSON:
        base_buf_str(out, "{}");
        return;
    case CORE_TYPE_DATE:
        base_buf_str(out, "{\"type\":\"string\",\"pattern\":\"^[0-9]{4}-[0-9]{2}-[0-9]{2}$\"}");
        return;
    case CORE_TYPE_BYTES:
        base_buf_str(out, "{\"type\":\"string\",\"pattern\":\"^\\\\\\\\x([0-9a-f]{2})*$\"}");
        return;
    case CORE_TYPE_TEXT:
    case CORE_TYPE_INSTANT:
        break;
    }
    if (c->allowed == NULL)
        base_buf_str(out, "{\"type\":\"string\"}");
    else
        enumeration(out, c->allowed);
}

static void property(struct base_buf *out, const struct core_column *c, bool reading)
{
    bool any_of = c->nullable && c->type != CORE_TYPE_JSON;
    base_buf_json_str(out, c->name);
    base_buf_str(out, any_of ? ":{\"anyOf\":[{\"type\":\"null\"}," : ":");
    type_of(out, c, reading);
    base_buf_str(out, any_of ? "]}" : "");
}

static bool is_conflict_table(const struct core_table *t)
{
    return strcmp(t->name, "conflict") == 0 || strcmp(t->name, "conflict_resolution") == 0;
}

static bool is_shown(const struct core_table *t, const struct core_column *c)
{
    return c->api != CORE_API_HIDDEN &&
           !(c->type == CORE_TYPE_JSON && strcmp(t->name, "conflict_resolution") == 0);
}

static void row_schema(struct base_buf *out, const struct core_table *t)
{
    base_buf_printf(out,
                    "\"%s\":{\"type\":\"object\",\"description\":\"merge class %s\","
                    "\"additionalProperties\":false,\"required\":[\"id\",\"rev\",\"etag\",\"sync\"",
                    t->name, core_class_name(t->class));
    for (int i = 0; i < t->column_count; i++)
        if (is_shown(t, &t->columns[i])) {
            base_buf_char(out, ',');
            base_buf_json_str(out, t->columns[i].name);
        }
    base_buf_str(out, "],\"properties\":{\"id\":");
    ref(out, "uuid", "");
    base_buf_str(out, ",\"rev\":{\"type\":\"integer\"},\"etag\":");
    ref(out, "etag", "");
    base_buf_str(out, ",\"sync\":");
    ref(out, "sync", "");
    for (int i = 0; i < t->column_count; i++)
        if (is_shown(t, &t->columns[i])) {
            base_buf_char(out, ',');
            property(out, &t->columns[i], true);
        }
    base_buf_str(out, "}},");
}

static void list_schema(struct base_buf *out, const char *name)
{
    base_buf_printf(out,
                    "\"%s_list\":{\"type\":\"object\",\"additionalProperties\":false,"
                    "\"required\":[\"data_as_of\",\"complete\",\"items\",\"next\"],\"properties\":{"
                    "\"complete\":{\"type\":\"boolean\"},\"next\":{\"type\":[\"string\",\"null\"]},"
                    "\"data_as_of\":",
                    name);
    ref(out, "data_as_of", "");
    base_buf_str(out, ",\"items\":{\"type\":\"array\",\"items\":");
    ref(out, name, "");
    base_buf_str(out, "}}},");
}

static bool is_settable(const struct core_column *c)
{
    return c->api == CORE_API_RW && !api_set_by_node(c->name);
}

static void input_schema(struct base_buf *out, const struct core_table *t, bool create)
{
    const char *comma = "";
    base_buf_printf(
        out, "\"%s_%s\":{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{",
        t->name, create ? "new" : "edit");
    if (create) {
        base_buf_str(out, "\"id\":");
        ref(out, "uuid", "");
        comma = ",";
    }
    for (int i = 0; i < t->column_count; i++)
        if (is_settable(&t->columns[i])) {
            base_buf_str(out, comma);
            property(out, &t->columns[i], false);
            comma = ",";
        }
    base_buf_str(out, "},\"required\":[");
    comma = "";
    for (int i = 0; create && i < t->column_count; i++)
        if (is_settable(&t->columns[i]) && !t->columns[i].nullable &&
            t->columns[i].preset == NULL) {
            base_buf_str(out, comma);
            base_buf_json_str(out, t->columns[i].name);
            comma = ",";
        }
    base_buf_str(out, "]},");
}

struct can {
    bool create, update, delete;
};

static struct can can_of(const struct core_table *t)
{
    bool here = t->class != CORE_CENTRAL && !is_conflict_table(t);
    bool fixed = core_class_is_fact(t->class);
    return (struct can){here, here && !fixed, here && t->deletable};
}

static void filter(struct base_buf *out, const char *column)
{
    base_buf_printf(
        out,
        ",{\"name\":\"%s\",\"in\":\"query\",\"description\":\"eq. neq. gt. gte. lt. lte. in.(a,b) "
        "like.beginning* is.null not.is.null\",\"schema\":{\"type\":\"string\"}}",
        column);
}

static void list_path(struct base_buf *out, const struct core_table *t, struct can can)
{
    base_buf_printf(out, "\"/api/v1/%s\":{\"get\":{\"summary\":\"Rows of %s\",\"parameters\":[",
                    t->name, t->name);
    param(out, "limit");
    base_buf_char(out, ',');
    param(out, "after");
    base_buf_char(out, ',');
    param(out, "order");
    filter(out, "id");
    for (int i = 0; i < t->column_count; i++)
        if (t->columns[i].api != CORE_API_HIDDEN)
            filter(out, t->columns[i].name);
    base_buf_str(out, "],");
    responses(out, "200", "A page", t->name, "_list");
    base_buf_char(out, '}');
    if (can.create) {
        base_buf_str(out, ",\"post\":{\"summary\":\"A new row\",\"parameters\":[");
        param(out, "key");
        base_buf_str(out, "],");
        request_body(out, t->name, "_new");
        base_buf_char(out, ',');
        responses(out, "201", "Stored here, durably", t->name, "");
        base_buf_char(out, '}');
    }
    base_buf_str(out, "},");
}

static void changing(struct base_buf *out, const char *method, const char *summary)
{
    base_buf_printf(out, ",\"%s\":{\"summary\":\"%s\",\"parameters\":[", method, summary);
    param(out, "if_match");
    base_buf_str(out, "],");
}

static void beneath(struct base_buf *out, const struct core_table *t, const char *name,
                    const char *summary, const char *schema)
{
    base_buf_printf(out, "\"/api/v1/%s/{id}/%s\":{\"get\":{\"summary\":\"%s\",\"parameters\":[",
                    t->name, name, summary);
    param(out, "id");
    base_buf_str(out, "],");
    responses(out, "200", summary, schema, "");
    base_buf_str(out, "}},");
}

static void row_path(struct base_buf *out, const struct core_table *t, struct can can)
{
    base_buf_printf(out, "\"/api/v1/%s/{id}\":{\"parameters\":[", t->name);
    param(out, "id");
    base_buf_str(out, "],\"get\":{\"summary\":\"One row; 304 if it is as in If-None-Match\",");
    responses(out, "200", "The row", t->name, "");
    base_buf_char(out, '}');
    if (can.update) {
        changing(out, "patch", "Change columns of the version that was seen");
        request_body(out, t->name, "_edit");
        base_buf_char(out, ',');
        responses(out, "200", "Stored here, durably", t->name, "");
        base_buf_char(out, '}');
    }
    if (can.delete) {
        changing(out, "delete", "Delete the version that was seen");
        responses(out, "200", "Deleted here, durably", "deleted", "");
        base_buf_char(out, '}');
    }
    base_buf_str(out, "},");
    beneath(out, t, "history", "What this node wrote to the row, newest first", "history_list");
    beneath(out, t, "conflicts", "The row's conflicts", "row_conflicts");
}

/* A list of a table's rows; a table that this catalog lacks leaves any object. */
static void section(struct base_buf *out, const struct core_catalog *catalog, const char *name,
                    const char *table)
{
    base_buf_printf(out, ",\"%s\":{\"type\":[\"array\",\"null\"],\"items\":", name);
    if (catalog != NULL && table[0] != '\0' &&
        core_catalog_table(catalog, table, strlen(table)) != NULL)
        ref(out, table, "");
    else
        base_buf_str(out, "{\"type\":\"object\"}");
    base_buf_char(out, '}');
}

static void chart_schema(struct base_buf *out, const struct core_catalog *catalog)
{
    static const char *const sections[][2] = {{"identifiers", "patient_identifier"},
                                              {"allergies", "allergy"},
                                              {"alerts", "alert"},
                                              {"conditions", "condition"},
                                              {"notes", "note"},
                                              {"tasks", "task"},
                                              {"orders", ""},
                                              {"due", ""},
                                              {"vitals", ""},
                                              {"beds", ""},
                                              {"conflicts", ""}};
    base_buf_str(out, "\"chart\":{\"type\":\"object\",\"additionalProperties\":false,\"required\":["
                      "\"data_as_of\","
                      "\"complete\",\"patient\",\"encounter\",\"allergy_state\",\"not_permitted\"");
    for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++)
        base_buf_printf(out, ",\"%s\"", sections[i][0]);
    base_buf_str(out, "],\"properties\":{\"data_as_of\":");
    ref(out, "data_as_of", "");
    base_buf_str(out,
                 ",\"complete\":{\"type\":\"boolean\"},\"patient\":{\"type\":\"object\"},"
                 "\"encounter\":{\"type\":[\"object\",\"null\"]},"
                 "\"allergy_state\":{\"enum\":[\"allergic\",\"none-known\",\"not-asked\",null]},"
                 "\"not_permitted\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}}");
    for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++)
        section(out, catalog, sections[i][0], sections[i][1]);
    base_buf_str(out, "}}");
}

static void members(struct base_buf *out, const cJSON *object)
{
    const cJSON *m;
    bool first = true;
    cJSON_ArrayForEach(m, object)
    {
        base_buf_str(out, first ? "" : ",");
        first = false;
        base_buf_json_str(out, m->string);
        base_buf_char(out, ':');
        net_json_write(out, m);
    }
}

static void paths(struct base_buf *out, const struct core_catalog *catalog, const cJSON *base)
{
    base_buf_str(out, "\"paths\":{");
    for (int i = 0; catalog != NULL && i < catalog->table_count; i++)
        if (!catalog->tables[i].push_only) {
            struct can can = can_of(&catalog->tables[i]);
            list_path(out, &catalog->tables[i], can);
            row_path(out, &catalog->tables[i], can);
        }
    members(out, cJSON_GetObjectItemCaseSensitive(base, "paths"));
    base_buf_char(out, '}');
}

static void schemas(struct base_buf *out, const struct core_catalog *catalog, const cJSON *fixed)
{
    base_buf_str(out, "\"schemas\":{");
    for (int i = 0; catalog != NULL && i < catalog->table_count; i++) {
        const struct core_table *t = &catalog->tables[i];
        struct can can = can_of(t);
        if (t->push_only)
            continue;
        row_schema(out, t);
        list_schema(out, t->name);
        if (can.create)
            input_schema(out, t, true);
        if (can.update)
            input_schema(out, t, false);
    }
    members(out, fixed);
    base_buf_char(out, ',');
    chart_schema(out, catalog);
    base_buf_char(out, '}');
}

void api_openapi_write(struct base_buf *out, const struct core_catalog *catalog)
{
    cJSON *base = NULL;
    if (net_json_parse(&base, api_openapi_base, strlen(api_openapi_base), NULL) != 0)
        base_assert_failed("openapi.json is well formed", __FILE__, __LINE__);
    cJSON *components = cJSON_GetObjectItemCaseSensitive(base, "components");
    cJSON *fixed = cJSON_DetachItemFromObjectCaseSensitive(components, "schemas");
    base_buf_printf(out,
                    "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"Everward "
                    "node\",\"version\":\"%s\",\"description\":"
                    "\"The ward's API. A write that is answered with success is on the disk; sync "
                    "tells whether the "
                    "centre has it. Catalog version %lld.\",\"license\":{\"name\":\"Apache-2.0\","
                    "\"identifier\":\"Apache-2.0\"}},\"servers\":[{\"url\":\"/\"}],"
                    "\"security\":[{\"bearer\":[]},{\"cookie\":[]}],",
                    EW_VERSION, catalog == NULL ? 0 : (long long)catalog->version);
    paths(out, catalog, base);
    base_buf_str(out, ",\"components\":{");
    schemas(out, catalog, fixed);
    base_buf_char(out, ',');
    members(out, components);
    base_buf_str(out, "}}");
    cJSON_Delete(fixed);
    cJSON_Delete(base);
}
