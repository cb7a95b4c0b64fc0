/*
 * Rows as JSON, by type: exact decimals are strings, integers are numbers as far as every JSON
 * reader keeps them, json stands as it was stored.
 */
#include <stdlib.h>
#include <string.h>

#include "node/api/internal.h"

enum { RENDER_EXACT_DIGITS = 15 };
static const int64_t render_exact_max = (int64_t)1 << 53;

static void text(struct base_buf *out, struct core_text v)
{
    base_buf_json(out, v.s, v.len);
}

static void integer(struct base_buf *out, struct core_text v)
{
    char digits[24];
    if (v.len <= RENDER_EXACT_DIGITS) {
        base_buf_add(out, v.s, v.len);
        return;
    }
    if (v.len >= sizeof digits) {
        text(out, v);
        return;
    }
    memcpy(digits, v.s, v.len);
    digits[v.len] = '\0';
    int64_t n = strtoll(digits, NULL, 10);
    if (n >= -render_exact_max && n <= render_exact_max)
        base_buf_add(out, v.s, v.len);
    else
        text(out, v);
}

void api_render_value(struct base_buf *out, const struct core_column *c, struct core_text v)
{
    if (v.s == NULL) {
        base_buf_add(out, "null", 4);
        return;
    }
    switch (c->type) {
    case CORE_TYPE_BOOL:
        base_buf_str(out, v.len == 1 && v.s[0] == 't' ? "true" : "false");
        return;
    case CORE_TYPE_INT:
        integer(out, v);
        return;
    case CORE_TYPE_JSON:
        base_buf_add(out, v.s, v.len);
        return;
    case CORE_TYPE_TEXT:
    case CORE_TYPE_UUID:
    case CORE_TYPE_DECIMAL:
    case CORE_TYPE_MOMENT:
    case CORE_TYPE_DATE:
    case CORE_TYPE_INSTANT:
    case CORE_TYPE_BYTES:
        text(out, v);
        return;
    }
}

void api_render_uuid(struct base_buf *out, const struct base_uuid *u)
{
    char s[BASE_UUID_CHARS + 1];
    if (base_uuid_is_zero(u)) {
        base_buf_add(out, "null", 4);
        return;
    }
    base_uuid_format(u, s);
    base_buf_char(out, '"');
    base_buf_add(out, s, BASE_UUID_CHARS);
    base_buf_char(out, '"');
}

/* What both sides of a conflict entered may be of a table that the reader may not read. */
static bool is_shown(const struct core_table *t, const struct core_column *c)
{
    if (c->api == CORE_API_HIDDEN)
        return false;
    if (c->type != CORE_TYPE_JSON)
        return true;
    return strcmp(t->name, "conflict_resolution") != 0;
}

static bool is_readable(const struct node_row *row, const struct core_column *c,
                        const struct node_grants *reader)
{
    char table[CORE_NAME_BYTES_MAX + 1];
    if (c->type != CORE_TYPE_JSON || strcmp(row->table->name, "conflict") != 0)
        return true;
    struct core_text name = api_value(row, "table_name");
    if (name.s == NULL || name.len > CORE_NAME_BYTES_MAX)
        return false;
    memcpy(table, name.s, name.len);
    table[name.len] = '\0';
    return node_grants_may(reader, NODE_MAY_READ, table);
}

void api_render_row(struct base_buf *out, const struct node_row *row,
                    const struct node_grants *reader)
{
    const struct core_table *t = row->table;
    char etag[64];
    api_etag(etag, &row->version);
    base_buf_str(out, "{\"id\":");
    api_render_uuid(out, &row->id);
    base_buf_str(out, ",\"rev\":");
    base_buf_i64(out, row->version.rev);
    base_buf_str(out, ",\"etag\":");
    base_buf_json_str(out, etag);
    base_buf_str(out, ",\"sync\":\"");
    base_buf_str(out, node_sync_name(row->sync));
    base_buf_char(out, '"');
    for (int i = 0; i < t->column_count; i++) {
        const struct core_column *c = &t->columns[i];
        if (!is_shown(t, c))
            continue;
        base_buf_add(out, ",\"", 2);
        base_buf_str(out, c->name);
        base_buf_add(out, "\":", 2);
        api_render_value(
            out, c, is_readable(row, c, reader) ? row->values[i] : (struct core_text){NULL, 0});
    }
    base_buf_char(out, '}');
}

void api_render_values(struct base_buf *out, const struct core_table *t, struct core_text json)
{
    cJSON *object = NULL;
    const cJSON *member;
    bool first = true;
    if (json.s == NULL || net_json_parse(&object, json.s, json.len, NULL) != 0 ||
        !cJSON_IsObject(object)) {
        cJSON_Delete(object);
        base_buf_add(out, "null", 4);
        return;
    }
    base_buf_char(out, '{');
    cJSON_ArrayForEach(member, object)
    {
        const struct core_column *c = core_table_column(t, member->string, strlen(member->string));
        if (c == NULL || c->api == CORE_API_HIDDEN)
            continue;
        if (!first)
            base_buf_char(out, ',');
        first = false;
        base_buf_json_str(out, member->string);
        base_buf_char(out, ':');
        api_render_value(out, c,
                         cJSON_IsString(member) ? core_text_of(member->valuestring)
                                                : (struct core_text){NULL, 0});
    }
    base_buf_char(out, '}');
    cJSON_Delete(object);
}

void api_render_head(struct base_buf *out, const struct api_call *c)
{
    base_buf_str(out, "{\"data_as_of\":");
    base_buf_json_str(out, c->data_as_of);
    base_buf_str(out, c->complete ? ",\"complete\":true" : ",\"complete\":false");
}

struct core_text api_value(const struct node_row *row, const char *column)
{
    const struct core_column *c = core_table_column(row->table, column, strlen(column));
    return c == NULL ? (struct core_text){NULL, 0} : row->values[c->ord - CORE_ORD_FIRST];
}
