/*
 * The OpenAPI 3.1 document, from the catalog: what this file says about a table is what render.c
 * and values.c do with it.
 */
#include <string.h>

#include "node/api/internal.h"

#define PROBLEMS    "\"default\":{\"$ref\":\"#/components/responses/problem\"}"
#define REF(name)   "{\"$ref\":\"#/components/schemas/" name "\"}"
#define PARAM(name) "{\"$ref\":\"#/components/parameters/" name "\"}"
#define JSON_REPLY(description, schema)                                                            \
    "{\"description\":\"" description                                                              \
    "\",\"headers\":{\"Data-As-Of\":{\"$ref\":\"#/components/headers/Data-As-Of\"}},"              \
    "\"content\":{\"application/json\":{\"schema\":" schema "}}}"
#define JSON_BODY(schema)                                                                          \
    "{\"required\":true,\"content\":{\"application/json\":{\"schema\":" schema "}}}"

/* The parts that are the same for every catalog. */
static const char fixed_schemas[] =
    "\"moment\":{\"type\":\"string\",\"description\":\"FHIR dateTime; precision and offset are "
    "kept byte for byte\","
    "\"pattern\":\"^[0-9]{4}(-[0-9]{2}(-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\\\.[0-9]{1,9})?(Z|[+"
    "-][0-9]{2}:[0-9]{2}))?)?)?$\"},"
    "\"sync\":{\"type\":\"string\",\"enum\":[\"pending\",\"acknowledged\",\"contested\","
    "\"quarantined\"]},"
    "\"etag\":{\"type\":\"string\",\"pattern\":\"^\\\"[0-9]+\\\\.[0-9]+\\\"$\"},"
    "\"uuid\":{\"type\":\"string\",\"pattern\":\"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-["
    "0-9a-f]{12}$\"},"
    "\"data_as_of\":{\"type\":[\"string\",\"null\"],\"description\":\"When the centre's changes "
    "were last taken in; null: never\"},"
    "\"problem\":{\"type\":\"object\",\"description\":\"RFC "
    "9457\",\"required\":[\"title\",\"status\",\"code\",\"request_id\"],"
    "\"properties\":{\"type\":{\"type\":\"string\"},\"title\":{\"type\":\"string\"},\"status\":{"
    "\"type\":\"integer\"},"
    "\"code\":{\"type\":\"string\"},\"detail\":{\"type\":\"string\"},\"hint\":{\"type\":\"string\"}"
    ","
    "\"request_id\":{\"type\":\"string\"},\"index\":{\"type\":\"integer\"},\"current\":{\"type\":"
    "\"object\"},"
    "\"errors\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{\"column\":{"
    "\"type\":\"string\"},"
    "\"detail\":{\"type\":\"string\"}}}}}},"
    "\"deleted\":{\"type\":\"object\",\"required\":[\"id\",\"deleted\",\"sync\"],\"properties\":{"
    "\"id\":" REF(
        "uuid") ","
                "\"deleted\":{\"const\":true},\"sync\":" REF(
                    "sync") "}},"
                            "\"login\":{\"type\":\"object\",\"required\":[\"name\",\"password\"],"
                            "\"additionalProperties\":false,\"properties\":{"
                            "\"name\":{\"type\":\"string\",\"maxLength\":128},\"password\":{"
                            "\"type\":\"string\",\"maxLength\":256},"
                            "\"device\":{\"type\":\"string\",\"maxLength\":64}}},"
                            "\"session\":{\"type\":\"object\",\"required\":[\"staff\",\"roles\","
                            "\"expires_at\",\"idle_expires_at\",\"data_as_of\"],"
                            "\"additionalProperties\":false,\"properties\":{\"token\":{\"type\":"
                            "\"string\"},\"staff\":{\"type\":\"object\","
                            "\"required\":[\"id\",\"username\",\"name\"],\"additionalProperties\":"
                            "false,\"properties\":{\"id\":" REF(
                                "uuid") ","
                                        "\"username\":{\"type\":\"string\"},\"name\":{\"type\":"
                                        "\"string\"}}},\"roles\":{\"type\":\"array\",\"items\":{"
                                        "\"type\":\"string\"}},"
                                        "\"device\":{\"type\":[\"string\",\"null\"]},\"expires_"
                                        "at\":{\"type\":\"string\"},\"idle_expires_at\":{\"type\":"
                                        "\"string\"},"
                                        "\"idle_timeout_s\":{\"type\":\"integer\"},\"data_as_"
                                        "of\":" REF(
                                            "data_as_of") "}},"
                                                          "\"status\":{\"type\":\"object\","
                                                          "\"required\":[\"state\",\"tenant_id\","
                                                          "\"node_id\",\"incarnation\","
                                                          "\"timeline\",\"pending\","
                                                          "\"oldest_pending_at\",\"last_seq\","
                                                          "\"acked_seq\",\"cursor\",\"head\","
                                                          "\"quarantined\",\"conflicts_open\","
                                                          "\"last_push_at\","
                                                          "\"last_pull_at\",\"clock_offset_ms\","
                                                          "\"catalog_version\",\"replica_equal\","
                                                          "\"verified_at\",\"data_as_of\"],"
                                                          "\"properties\":{"
                                                          "\"state\":{\"type\":\"string\",\"enum\":"
                                                          "[\"current\",\"syncing\",\"offline\","
                                                          "\"attention\"]},"
                                                          "\"pending\":{\"type\":\"integer\"},"
                                                          "\"last_seq\":{\"type\":\"integer\"},"
                                                          "\"acked_seq\":{\"type\":\"integer\"},"
                                                          "\"cursor\":{\"type\":\"integer\"},"
                                                          "\"head\":{\"type\":\"integer\"},"
                                                          "\"quarantined\":{\"type\":\"integer\"},"
                                                          "\"conflicts_open\":{\"type\":"
                                                          "\"integer\"},\"replica_equal\":{"
                                                          "\"type\":[\"boolean\",\"null\"]},"
                                                          "\"complete\":{\"type\":\"boolean\"}}},";
static const char fixed_schemas_2[] =
    "\"history\":{\"type\":\"object\",\"required\":[\"seq\",\"base\",\"op\",\"at\",\"by\","
    "\"device\",\"clock\",\"outcome\",\"reason\","
    "\"values\"],\"properties\":{\"seq\":{\"type\":\"integer\"},\"base\":{\"type\":\"integer\"},"
    "\"op\":{\"enum\":[\"create\",\"update\","
    "\"delete\"]},\"at\":{\"type\":\"string\"},\"by\":{\"type\":[\"string\",\"null\"]},\"outcome\":"
    "{\"type\":\"string\"},"
    "\"reason\":{\"type\":[\"string\",\"null\"]},\"values\":{\"type\":\"object\"}}},"
    "\"conflict_view\":{\"type\":\"object\",\"required\":[\"id\",\"state\",\"table_name\",\"row_"
    "id\",\"columns\",\"class\",\"rule\","
    "\"rule_text\",\"base\",\"live\",\"incoming\",\"decide_role\",\"row\",\"now\",\"resolution\"],"
    "\"properties\":{\"id\":" REF(
        "uuid") ","
                "\"state\":{\"type\":\"string\",\"enum\":[\"open\",\"resolving\",\"resolved\"]},"
                "\"columns\":{\"type\":\"array\",\"items\":"
                "{\"type\":\"string\"}},\"base\":{\"type\":[\"object\",\"null\"]},\"live\":{"
                "\"type\":[\"object\",\"null\"]},"
                "\"incoming\":{\"type\":[\"object\",\"null\"]},\"now\":{\"type\":[\"object\","
                "\"null\"]},\"row\":{\"type\":[\"object\",\"null\"],"
                "\"properties\":{\"rev\":{\"type\":\"integer\"},\"etag\":" REF(
                    "etag") ",\"sync\":" REF("sync") "}},"
                                                     "\"resolution\":{\"type\":[\"object\","
                                                     "\"null\"]}}},"
                                                     "\"resolution_new\":{\"type\":\"object\","
                                                     "\"required\":[\"choice\",\"seen_rev\"],"
                                                     "\"additionalProperties\":false,"
                                                     "\"properties\":{"
                                                     "\"choice\":{\"type\":\"string\",\"enum\":["
                                                     "\"live\",\"incoming\",\"base\",\"other\"]},"
                                                     "\"values\":{\"type\":\"object\"},"
                                                     "\"reason\":{\"type\":\"string\"},\"seen_"
                                                     "rev\":{\"type\":\"integer\",\"description\":"
                                                     "\"row.rev as it was shown\"}}},"
                                                     "\"transaction\":{\"type\":\"object\","
                                                     "\"required\":[\"writes\"],"
                                                     "\"additionalProperties\":false,"
                                                     "\"properties\":{\"writes\":{"
                                                     "\"type\":\"array\",\"minItems\":1,"
                                                     "\"maxItems\":500,\"items\":{\"type\":"
                                                     "\"object\",\"required\":[\"op\",\"table\"],"
                                                     "\"additionalProperties\":false,"
                                                     "\"properties\":{\"op\":{\"enum\":[\"create\","
                                                     "\"update\",\"delete\"]},\"table\":{\"type\":"
                                                     "\"string\"},"
                                                     "\"id\":" REF("uuid") ",\"if_match\":" REF(
                                                         "etag") ",\"values\":{\"type\":\"object\"}"
                                                                 "}}}}},"
                                                                 "\"transaction_result\":{\"type\":"
                                                                 "\"object\",\"required\":["
                                                                 "\"results\"],"
                                                                 "\"additionalProperties\":false,"
                                                                 "\"properties\":{\"results\":{"
                                                                 "\"type\":\"array\",\"items\":{"
                                                                 "\"type\":\"object\",\"required\":"
                                                                 "[\"table\",\"row\"],"
                                                                 "\"additionalProperties\":false,"
                                                                 "\"properties\":{"
                                                                 "\"table\":{\"type\":\"string\"},"
                                                                 "\"row\":{\"type\":\"object\"}}}}}"
                                                                 "},";

static const char fixed_components[] =
    "\"headers\":{\"Data-As-Of\":{\"description\":\"When the centre's changes were last taken in, "
    "or never\",\"schema\":{\"type\":"
    "\"string\"}}},"
    "\"securitySchemes\":{\"bearer\":{\"type\":\"http\",\"scheme\":\"bearer\"},"
    "\"cookie\":{\"type\":\"apiKey\",\"in\":\"cookie\",\"name\":\"__Host-everward\"}},"
    "\"responses\":{\"problem\":{\"description\":\"A refusal; nothing was "
    "changed\",\"content\":{\"application/problem+json\":{\"schema\":" REF(
        "problem") "}}}},"
                   "\"parameters\":{"
                   "\"id\":{\"name\":\"id\",\"in\":\"path\",\"required\":true,\"schema\":" REF(
                       "uuid") "},"
                               "\"limit\":{\"name\":\"limit\",\"in\":\"query\",\"schema\":{"
                               "\"type\":\"integer\",\"minimum\":1,\"maximum\":1000,\"default\":50}"
                               "},"
                               "\"after\":{\"name\":\"after\",\"in\":\"query\",\"description\":"
                               "\"next of the page before\",\"schema\":{\"type\":\"string\"}},"
                               "\"order\":{\"name\":\"order\",\"in\":\"query\",\"description\":\"-"
                               "recorded_at,name or recorded_at.desc,name.asc\",\"schema\":"
                               "{\"type\":\"string\"}},"
                               "\"key\":{\"name\":\"Idempotency-Key\",\"in\":\"header\","
                               "\"required\":true,\"schema\":{\"type\":\"string\",\"minLength\":1,"
                               "\"maxLength\":255}},"
                               "\"if_match\":{\"name\":\"If-Match\",\"in\":\"header\",\"required\":"
                               "true,\"schema\":" REF("etag") "}}";

static const char
    fixed_paths[] =
        "\"/api/v1/session\":{"
        "\"post\":{\"summary\":\"Log in\",\"security\":[],\"requestBody\":" JSON_BODY(REF("login")) ",\"responses\":{\"200\":" JSON_REPLY(
            "Logged in; the token also comes as a cookie",
            REF("session")) "," PROBLEMS "}},"
                            "\"get\":{\"summary\":\"Who am I\",\"responses\":{\"200\":" JSON_REPLY(
                                "The session",
                                REF("session")) "," PROBLEMS "}},"
                                                "\"delete\":{\"summary\":\"Log "
                                                "out\",\"responses\":{\"204\":{\"description\":"
                                                "\"Logged out\"}," PROBLEMS "}}},"
                                                "\"/api/v1/sync\":{\"get\":{\"summary\":\"How the "
                                                "node stands to the "
                                                "centre\",\"responses\":{\"200\":" JSON_REPLY(
                                                    "The state",
                                                    REF("status")) "," PROBLEMS "}}},"
                                                                   "\"/api/v1/"
                                                                   "events\":{\"get\":{\"summary\":"
                                                                   "\"What changes, as it changes "
                                                                   "(Server-Sent Events: row, "
                                                                   "left, status, reset)\","
                                                                   "\"parameters\":[{\"name\":"
                                                                   "\"tables\",\"in\":\"query\","
                                                                   "\"schema\":{\"type\":"
                                                                   "\"string\"}},{\"name\":"
                                                                   "\"patient_id\",\"in\":"
                                                                   "\"query\","
                                                                   "\"schema\":" REF(
                                                                       "uuid") "},{\"name\":"
                                                                               "\"status\",\"in\":"
                                                                               "\"query\","
                                                                               "\"schema\":{"
                                                                               "\"type\":"
                                                                               "\"string\"}},{"
                                                                               "\"name\":\"Last-"
                                                                               "Event-ID\","
                                                                               "\"in\":\"header\","
                                                                               "\"schema\":{"
                                                                               "\"type\":"
                                                                               "\"string\"}}],"
                                                                               "\"responses\":{"
                                                                               "\"200\":{"
                                                                               "\"description\":"
                                                                               "\"The "
                                                                               "stream\","
                                                                               "\"content\":{"
                                                                               "\"text/"
                                                                               "event-stream\":{"
                                                                               "\"schema\":{"
                                                                               "\"type\":"
                                                                               "\"string\"}}}}"
                                                                               "," PROBLEMS "}}},"
                                                                               "\"/api/v1/"
                                                                               "transaction\":{"
                                                                               "\"post\":{"
                                                                               "\"summary\":"
                                                                               "\"Several writes, "
                                                                               "all or "
                                                                               "nothing\","
                                                                               "\"parameters\":"
                                                                               "[" PARAM(
                                                                                   "key") "],"
                                                                                          "\"reques"
                                                                                          "tBody\""
                                                                                          ":" JSON_BODY(REF("transaction")) ",\"responses\":{\"200\":" JSON_REPLY(
                                                                                              "All "
                                                                                              "were"
                                                                                              " don"
                                                                                              "e",
                                                                                              REF("transaction_result")) "," PROBLEMS
                                                                                                                         "}}},";
static const char fixed_paths_2[] =
    "\"/api/v1/patients/{id}/chart\":{\"get\":{\"summary\":\"What a ward needs of one "
    "patient\",\"parameters\":[" PARAM("id") "],\"responses\":{\"200\":" JSON_REPLY(
        "The chart",
        REF("chart")) "," PROBLEMS "}}},"
                      "\"/api/v1/conflicts\":{\"get\":{\"summary\":\"Conflicts, open ones "
                      "first\",\"parameters\":[" PARAM("limit") "," PARAM(
                          "after") ","
                                   "{\"name\":\"state\",\"in\":\"query\",\"schema\":{\"type\":"
                                   "\"string\"},\"description\":\"eq.open or eq.resolved\"},"
                                   "{\"name\":\"patient_id\",\"in\":\"query\",\"schema\":{\"type\":"
                                   "\"string\"}}],\"responses\":{\"200\":" JSON_REPLY(
                                       "A page",
                                       REF("conflict_list")) "," PROBLEMS "}}},"
                                                             "\"/api/v1/conflicts/"
                                                             "{id}\":{\"get\":{\"summary\":\"One "
                                                             "conflict\",\"parameters\":[" PARAM("i"
                                                                                                 "d") "],\"responses\":{\"200\":" JSON_REPLY(
                                                                 "The conflict",
                                                                 REF("conflict_view")) "," PROBLEMS
                                                                                       "}}},"
                                                                                       "\"/api/v1/"
                                                                                       "conflicts/"
                                                                                       "{id}/"
                                                                                       "resolution"
                                                                                       "\":{"
                                                                                       "\"post\":{"
                                                                                       "\"summary\""
                                                                                       ":\"Decide "
                                                                                       "a "
                                                                                       "conflict\","
                                                                                       "\"parameter"
                                                                                       "s\":"
                                                                                       "[" PARAM("i"
                                                                                                 "d") "," PARAM(
                                                                                           "key") "],"
                                                                                                  "\"requestBody\":" JSON_BODY(REF("resolution_new")) ",\"responses\":{\"201\":" JSON_REPLY(
                                                                                                      "Decided here; resolving until the centre has it",
                                                                                                      REF("conflict_view")) "," PROBLEMS
                                                                                                                            "}}},"
                                                                                                                            "\"/healthz\":{\"get\":{\"summary\":\"The loop is alive\",\"security\":[],\"responses\":{\"200\":{\"description\":\"Yes\"}}}},"
                                                                                                                            "\"/readyz\":{\"get\":{\"summary\":\"The store is open; also while the line is down\",\"security\":[],\"responses\":{\"200\":"
                                                                                                                            "{\"description\":\"Yes\"}," PROBLEMS
                                                                                                                            "}}},"
                                                                                                                            "\"/metrics\":{\"get\":{\"summary\":\"Prometheus, for the box itself\",\"security\":[],\"responses\":{\"200\":{\"description\":"
                                                                                                                            "\"Text\"}," PROBLEMS
                                                                                                                            "}}},"
                                                                                                                            "\"/trust\":{\"get\":{\"summary\":\"How devices come to trust this node\",\"security\":[],\"responses\":{\"200\":{\"description\":"
                                                                                                                            "\"HTML\"}}}},"
                                                                                                                            "\"/trust/ca.crt\":{\"get\":{\"summary\":\"The node's certificate authority\",\"security\":[],\"responses\":{\"200\":{\"description\":"
                                                                                                                            "\"PEM\"}," PROBLEMS
                                                                                                                            "}}}";

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
                                  : "{\"type\":[\"string\",\"number\"],\"description\":\"digits "
                                    "are kept as they are sent\"}");
        return;
    case CORE_TYPE_UUID:
        base_buf_str(out, REF("uuid"));
        return;
    case CORE_TYPE_MOMENT:
        base_buf_str(out, REF("moment"));
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
    if (c->allowed == NULL) {
        base_buf_str(out, "{\"type\":\"string\"}");
        return;
    }
    base_buf_str(out, "{\"type\":\"string\",\"enum\":[");
    for (int i = 0; c->allowed[i] != NULL; i++) {
        base_buf_str(out, i > 0 ? "," : "");
        base_buf_json_str(out, c->allowed[i]);
    }
    base_buf_str(out, "]}");
}

static void property(struct base_buf *out, const struct core_column *c, bool reading)
{
    bool any = c->type == CORE_TYPE_JSON;
    base_buf_char(out, '"');
    base_buf_str(out, c->name);
    base_buf_str(out, "\":");
    if (c->nullable && !any)
        base_buf_str(out, "{\"anyOf\":[{\"type\":\"null\"},");
    type_of(out, c, reading);
    if (c->nullable && !any)
        base_buf_str(out, "]}");
}

static bool is_conflict_table(const struct core_table *t)
{
    return strcmp(t->name, "conflict") == 0 || strcmp(t->name, "conflict_resolution") == 0;
}

static bool is_shown(const struct core_table *t, const struct core_column *c)
{
    return c->api != CORE_API_HIDDEN && !(c->type == CORE_TYPE_JSON && is_conflict_table(t));
}

static void row_schema(struct base_buf *out, const struct core_table *t)
{
    base_buf_printf(out,
                    "\"%s\":{\"type\":\"object\",\"description\":\"merge class "
                    "%s\",\"additionalProperties\":false,"
                    "\"required\":[\"id\",\"rev\",\"etag\",\"sync\"",
                    t->name, core_class_name(t->class));
    for (int i = 0; i < t->column_count; i++)
        if (is_shown(t, &t->columns[i]))
            base_buf_printf(out, ",\"%s\"", t->columns[i].name);
    base_buf_str(
        out,
        "],\"properties\":{\"id\":" REF("uuid") ",\"rev\":{\"type\":\"integer\"},\"etag\":" REF(
            "etag") ",\"sync\":" REF("sync"));
    for (int i = 0; i < t->column_count; i++)
        if (is_shown(t, &t->columns[i])) {
            base_buf_char(out, ',');
            property(out, &t->columns[i], true);
        }
    base_buf_printf(out,
                    "}},\"%s_list\":{\"type\":\"object\",\"additionalProperties\":false,"
                    "\"required\":[\"data_as_of\",\"complete\","
                    "\"items\",\"next\"],\"properties\":{\"data_as_of\":" REF(
                        "data_as_of") ",\"complete\":{\"type\":\"boolean\"},"
                                      "\"items\":{\"type\":\"array\",\"items\":",
                    t->name);
    if (strcmp(t->name, "conflict") == 0)
        base_buf_str(out, "{\"anyOf\":[" REF("conflict_view") "," REF("conflict") "]}");
    else
        base_buf_printf(out, "{\"$ref\":\"#/components/schemas/%s\"}", t->name);
    base_buf_str(out, "},\"next\":{\"type\":[\"string\",\"null\"]}}},");
}

static bool is_settable(const struct core_column *c)
{
    return c->api == CORE_API_RW && !api_set_by_node(c->name);
}

static void input_schema(struct base_buf *out, const struct core_table *t, bool create)
{
    bool first = true;
    base_buf_printf(
        out, "\"%s_%s\":{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{",
        t->name, create ? "new" : "edit");
    if (create) {
        base_buf_str(out, "\"id\":" REF("uuid"));
        first = false;
    }
    for (int i = 0; i < t->column_count; i++) {
        if (!is_settable(&t->columns[i]))
            continue;
        base_buf_str(out, first ? "" : ",");
        first = false;
        property(out, &t->columns[i], false);
    }
    base_buf_str(out, "},\"required\":[");
    first = true;
    for (int i = 0; create && i < t->column_count; i++)
        if (is_settable(&t->columns[i]) && !t->columns[i].nullable) {
            base_buf_printf(out, "%s\"%s\"", first ? "" : ",", t->columns[i].name);
            first = false;
        }
    base_buf_str(out, "]},");
}

struct can {
    bool create, update, delete;
};

static struct can can_of(const struct core_table *t)
{
    bool here = t->class != CORE_CENTRAL && !is_conflict_table(t);
    bool fixed = t->class == CORE_FACT || t->class == CORE_LINK;
    return (struct can){here, here && !fixed, here && t->deletable};
}

static void list_path(struct base_buf *out, const struct core_table *t, struct can can)
{
    base_buf_printf(out,
                    "\"/api/v1/%s\":{\"get\":{\"summary\":\"Rows of %s\",\"parameters\":[" PARAM(
                        "limit") "," PARAM("after") "," PARAM("order"),
                    t->name, t->name);
    for (int i = -1; i < t->column_count; i++)
        if (i < 0 || is_shown(t, &t->columns[i]))
            base_buf_printf(out,
                            ",{\"name\":\"%s\",\"in\":\"query\",\"description\":\"eq. neq. gt. "
                            "gte. lt. lte. in.(…) "
                            "like.…* is.null not.is.null\",\"schema\":{\"type\":\"string\"}}",
                            i < 0 ? "id" : t->columns[i].name);
    base_buf_printf(out,
                    "],\"responses\":{\"200\":" JSON_REPLY(
                        "A page", "{\"$ref\":\"#/components/schemas/%s_list\"}") "," PROBLEMS "}}",
                    t->name);
    if (can.create)
        base_buf_printf(
            out,
            ",\"post\":{\"summary\":\"A new row\",\"parameters\":[" PARAM("key") "],"
                                                                                 "\"requestBody\""
                                                                                 ":" JSON_BODY("{\""
                                                                                               "$re"
                                                                                               "f\""
                                                                                               ":\""
                                                                                               "#/"
                                                                                               "com"
                                                                                               "pon"
                                                                                               "ent"
                                                                                               "s/"
                                                                                               "sch"
                                                                                               "ema"
                                                                                               "s/"
                                                                                               "%s_"
                                                                                               "new"
                                                                                               "\""
                                                                                               "}") ",\"responses\":{\"201\":" JSON_REPLY(
                                                                                     "Stored here, "
                                                                                     "durably",
                                                                                     "{\"$ref\":\"#"
                                                                                     "/components/"
                                                                                     "schemas/"
                                                                                     "%s\"}") "," PROBLEMS
                                                                                              "}}",
            t->name, t->name);
    base_buf_str(out, "},");
}

static void row_path(struct base_buf *out, const struct core_table *t, struct can can)
{
    base_buf_printf(
        out,
        "\"/api/v1/%s/{id}\":{\"parameters\":[" PARAM("id") "],\"get\":{\"summary\":\"One "
                                                            "row\",\"responses\":{"
                                                            "\"200\":" JSON_REPLY(
                                                                "The row",
                                                                "{\"$ref\":\"#/components/schemas/"
                                                                "%s\"}") ",\"304\":{"
                                                                         "\"description\":\"As in "
                                                                         "If-None-Match\"}"
                                                                         "," PROBLEMS "}}",
        t->name, t->name);
    if (can.update)
        base_buf_printf(
            out,
            ",\"patch\":{\"summary\":\"Change columns of the version that was "
            "seen\",\"parameters\":[" PARAM("if_match") "],\"requestBody\":" JSON_BODY(
                "{\"$ref\":\"#/components/schemas/%s_edit\"}") ",\"responses\":{"
                                                               "\"200\":" JSON_REPLY("Stored here, "
                                                                                     "durably",
                                                                                     "{\"$ref\":\"#"
                                                                                     "/components/"
                                                                                     "schemas/"
                                                                                     "%s\"}") "," PROBLEMS
                                                                                              "}}",
            t->name, t->name);
    if (can.delete)
        base_buf_str(
            out,
            ",\"delete\":{\"summary\":\"Delete the version that was seen\",\"parameters\":[" PARAM(
                "if_match") "],\"responses\":{\"200\":" JSON_REPLY("Deleted here",
                                                                   REF("deleted")) "," PROBLEMS
                                                                                   "}}");
    base_buf_printf(
        out,
        "},\"/api/v1/%s/{id}/history\":{\"get\":{\"summary\":\"What this node wrote to the row, "
        "newest first\","
        "\"parameters\":[" PARAM("id") "],\"responses\":{\"200\":" JSON_REPLY(
            "Changes",
            REF("history_list")) "," PROBLEMS
                                 "}}},\"/api/v1/%s/{id}/conflicts\":{\"get\":{\"summary\":\"The "
                                 "row's conflicts\",\"parameters\":[" PARAM("id") "],\"responses\":"
                                                                                  "{\"200\""
                                                                                  ":" JSON_REPLY(
                                                                                      "Conflicts",
                                                                                      REF("row_"
                                                                                          "conflict"
                                                                                          "s")) "," PROBLEMS
                                                                                                "}}"
                                                                                                "}"
                                                                                                ",",
        t->name, t->name);
}

static void plain_list(struct base_buf *out, const char *name, const char *item)
{
    base_buf_printf(
        out,
        "\"%s\":{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"data_as_of\","
        "\"complete\",\"items\"],"
        "\"properties\":{\"data_as_of\":" REF(
            "data_as_of") ",\"complete\":{\"type\":\"boolean\"},\"items\":{\"type\":"
                          "\"array\",\"items\":{\"$ref\":\"#/components/schemas/%s\"}}}},",
        name, item);
}

static void rows_or_null(struct base_buf *out, const struct core_catalog *catalog, const char *name,
                         const char *table)
{
    bool known = catalog != NULL && core_catalog_table(catalog, table, strlen(table)) != NULL;
    if (known)
        base_buf_printf(out,
                        ",\"%s\":{\"type\":[\"array\",\"null\"],\"items\":{\"$ref\":\"#/components/"
                        "schemas/%s\"}}",
                        name, table);
    else
        base_buf_printf(out, ",\"%s\":{\"type\":[\"array\",\"null\"]}", name);
}

static void chart_schema(struct base_buf *out, const struct core_catalog *catalog)
{
    static const char *const objects[] = {"orders", "due", "vitals", "beds"};
    base_buf_str(
        out,
        "\"chart\":{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"data_as_"
        "of\",\"complete\",\"patient\","
        "\"identifiers\",\"allergies\",\"conditions\",\"orders\",\"due\",\"vitals\",\"notes\","
        "\"tasks\",\"encounter\","
        "\"beds\",\"conflicts\",\"not_permitted\"],\"properties\":{\"data_as_of\":" REF(
            "data_as_of") ",\"complete\":{\"type\":\"boolean\"},\"patient\":{\"type\":\"object\"},"
                          "\"encounter\":{\"type\":[\"object\","
                          "\"null\"]},\"conflicts\":{\"type\":[\"array\",\"null\"],\"items\":" REF(
                              "conflict_view") "},\"not_permitted\":{\"type\":\"array\",\"items\":{"
                                               "\"type\":\"string\"}}");
    rows_or_null(out, catalog, "identifiers", "patient_identifier");
    rows_or_null(out, catalog, "allergies", "allergy");
    rows_or_null(out, catalog, "conditions", "condition");
    rows_or_null(out, catalog, "notes", "note");
    rows_or_null(out, catalog, "tasks", "task");
    for (size_t i = 0; i < sizeof objects / sizeof objects[0]; i++)
        base_buf_printf(out,
                        ",\"%s\":{\"type\":[\"array\",\"null\"],\"items\":{\"type\":\"object\"}}",
                        objects[i]);
    base_buf_str(out, "}}");
}

void api_openapi_write(struct base_buf *out, const struct core_catalog *catalog)
{
    int count = catalog == NULL ? 0 : catalog->table_count;
    base_buf_printf(out,
                    "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"Everward "
                    "node\",\"version\":\"%s\",\"description\":\"The ward's API. "
                    "Every write that is answered with success is on the disk; sync tells whether "
                    "the centre has it. Catalog version "
                    "%lld.\",\"license\":{\"name\":\"Apache-2.0\",\"identifier\":\"Apache-2.0\"}},"
                    "\"servers\":[{\"url\":\"/\"}],"
                    "\"security\":[{\"bearer\":[]},{\"cookie\":[]}],\"paths\":{",
                    EW_VERSION, catalog == NULL ? 0 : (long long)catalog->version);
    for (int i = 0; i < count; i++)
        if (!catalog->tables[i].push_only) {
            struct can can = can_of(&catalog->tables[i]);
            list_path(out, &catalog->tables[i], can);
            row_path(out, &catalog->tables[i], can);
        }
    base_buf_str(out, fixed_paths);
    base_buf_str(out, fixed_paths_2);
    base_buf_str(out, "},\"components\":{");
    base_buf_str(out, fixed_components);
    base_buf_str(out, ",\"schemas\":{");
    base_buf_str(out, fixed_schemas);
    base_buf_str(out, fixed_schemas_2);
    plain_list(out, "history_list", "history");
    plain_list(out, "row_conflicts", "conflict_view");
    for (int i = 0; i < count; i++) {
        const struct core_table *t = &catalog->tables[i];
        struct can can = can_of(t);
        if (t->push_only)
            continue;
        row_schema(out, t);
        if (can.create)
            input_schema(out, t, true);
        if (can.update)
            input_schema(out, t, false);
    }
    if (count == 0 || core_catalog_table(catalog, "conflict", 8) == NULL)
        base_buf_str(out, "\"conflict_list\":{\"type\":\"object\"},");
    chart_schema(out, catalog);
    base_buf_str(out, "}}}");
}
