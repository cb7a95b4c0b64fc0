#include "tests/unit/node/api/call.h"

/* One member of a JSON object as the text of its column; "" stands for a refusal, "null" for null.
 */
static void expect(const char *table_name, const char *column_name, const char *json,
                   const char *text)
{
    struct api_call *c = call_new();
    char body[512];
    struct core_text v = {NULL, 0};
    snprintf(body, sizeof body, "{\"v\":%s}", json);
    assert_int_equal(net_json_parse(&c->json, body, strlen(body), NULL), 0);
    int rc = api_value_from_json(c, table(table_name), column(table_name, column_name),
                                 c->json->child, &v);
    if (text[0] == '\0') {
        if (rc == 0 || c->problem.status != 422 || strcmp(c->problem.column, column_name) != 0)
            fail_msg("%s.%s took %s", table_name, column_name, json);
    } else if (rc != 0 ||
               !core_text_equal(v, strcmp(text, "null") == 0 ? (struct core_text){NULL, 0}
                                                             : core_text_of(text))) {
        fail_msg("%s.%s of %s: rc %d, \"%.*s\"", table_name, column_name, json, rc, (int)v.len,
                 v.s != NULL ? v.s : "");
    }
    call_free(c);
}

static void decimals_keep_every_digit_from_number_and_string(void **state)
{
    expect("observation", "value_decimal", "7.10", "7.10");
    expect("observation", "value_decimal", "\"7.10\"", "7.10");
    expect("observation", "value_decimal", "173.93014137598118", "173.93014137598118");
    expect("observation", "value_decimal", "0.10000000000000000000000000000001",
           "0.10000000000000000000000000000001");
    expect("observation", "value_decimal", "123456789012345678901234567890",
           "123456789012345678901234567890");
    expect("observation", "value_decimal", "1e3", "");
    expect("observation", "value_decimal", "\"seven\"", "");
    expect("observation", "value_decimal", "true", "");
    expect("observation", "value_decimal", "null", "null");
}

static void integers_beyond_two_to_the_53_are_kept(void **state)
{
    expect("dose_slot", "number", "9007199254740993", "9007199254740993");
    expect("dose_slot", "number", "\"9223372036854775807\"", "9223372036854775807");
    expect("dose_slot", "number", "9223372036854775808", "");
    expect("dose_slot", "number", "1.5", "");
}

static void each_type_takes_its_own_json_and_nothing_else(void **state)
{
    expect("patient", "active", "true", "t");
    expect("patient", "active", "false", "f");
    expect("patient", "active", "\"t\"", "");
    expect("patient", "active", "1", "");
    expect("patient", "family_name", "\"Zo\\u00eb\"", "Zo\xc3\xab");
    expect("patient", "family_name", "7", "");
    expect("patient", "family_name", "{}", "");
    expect("patient", "sex", "\"female\"", "female");
    expect("patient", "sex", "\"f\"", "");
    expect("patient", "birth_date", "\"1984-02\"", "1984-02");
    expect("patient", "birth_date", "\"1984-02-30\"", "");
    expect("observation", "effective_at", "\"2026-11-23T08:00:00.10+01:00\"",
           "2026-11-23T08:00:00.10+01:00");
    expect("observation", "patient_id", "\"0192F0E8-0000-7000-8000-00000000000A\"",
           "0192f0e8-0000-7000-8000-00000000000a");
    expect("observation", "patient_id", "\"0192\"", "");
    expect("observation", "patient_id", "null", "");
    expect("observation", "value_json", "{\"a\":[1.50,null,\"x\"]}", "{\"a\":[1.50,null,\"x\"]}");
    expect("observation", "value_json", "null", "null");
}

/* An edit from a whole object: the problem's code, "" if it is taken. */
static void edit(const char *table_name, const char *json, const char *code)
{
    struct api_call *c = call_new();
    struct node_edit e = {.op = CORE_OP_UPDATE};
    assert_int_equal(net_json_parse(&c->json, json, strlen(json), NULL), 0);
    int rc = api_edit_from_json(c, NULL, table(table_name), c->json, &e);
    const char *got = c->problem.status == 0 ? "" : c->problem.code;
    if ((rc == 0) != (code[0] == '\0') || strcmp(got, code) != 0)
        fail_msg("%s %s: rc %d, code \"%s\"", table_name, json, rc, got);
    for (int i = 1; rc == 0 && i < e.count; i++)
        assert_true(e.columns[i - 1]->ord < e.columns[i]->ord);
    call_free(c);
}

static void an_edit_takes_known_writable_columns_alone(void **state)
{
    edit("patient", "{\"phone\":\"1\",\"family_name\":\"B\",\"city\":null}", "");
    edit("patient", "{}", "nothing_to_do");
    edit("patient", "{\"nickname\":\"B\"}", "unknown_column");
    edit("patient", "{\"tenant_id\":\"B\"}", "unknown_column");
    edit("patient", "{\"rev\":3}", "read_only_column");
    edit("patient", "{\"id\":\"0192f0e8-0000-7000-8000-00000000000a\"}", "read_only_column");
    edit("staff", "{\"verifier\":\"x\"}", "unknown_column");
    edit("task", "{\"recorded_by\":null}", "set_by_node");
    edit("task", "{\"recorded_at\":\"2026\"}", "set_by_node");
    edit("task", "{\"clock_state\":\"ok\"}", "set_by_node");
    edit("patient", "{\"sex\":\"x\"}", "invalid_value");
}

static void renders(const char *table_name, const char *column_name, const char *value,
                    const char *json)
{
    struct base_buf out;
    base_buf_init(&out, 4096);
    api_render_value(&out, column(table_name, column_name), core_text_of(value));
    assert_string_equal(out.data, json);
    base_buf_release(&out);
}

static void values_are_shown_by_type(void **state)
{
    renders("observation", "value_decimal", "7.10", "\"7.10\"");
    renders("dose_slot", "number", "12", "12");
    renders("dose_slot", "number", "-9007199254740992", "-9007199254740992");
    renders("dose_slot", "number", "9007199254740993", "\"9007199254740993\"");
    renders("patient", "active", "t", "true");
    renders("patient", "active", "f", "false");
    renders("patient", "family_name", "a\"b\n", "\"a\\\"b\\n\"");
    renders("patient", "family_name", NULL, "null");
    renders("observation", "value_json", "{\"a\": 1.50}", "{\"a\": 1.50}");
    renders("patient", "birth_date", "1984-02", "\"1984-02\"");
}

static struct node_row *row_of(const char *table_name)
{
    static struct node_row row;
    memset(&row, 0, sizeof row);
    row.table = table(table_name);
    row.id.bytes[0] = 1;
    row.version = (struct node_version){4, 17};
    return &row;
}

static struct core_text *field(struct node_row *row, const char *name)
{
    return &row->values[core_table_column(row->table, name, strlen(name))->ord - CORE_ORD_FIRST];
}

static void hidden_columns_are_never_shown(void **state)
{
    struct base_buf out;
    struct node_grants reader = {.refs = 1};
    struct node_row *row = row_of("staff");
    *field(row, "username") = core_text_of("ann");
    *field(row, "verifier") = core_text_of("$argon2id$secret");
    *field(row, "badge") = core_text_of("badge-7");
    base_buf_init(&out, 65536);
    api_render_row(&out, row, &reader);
    assert_non_null(strstr(out.data, "\"username\":\"ann\""));
    assert_non_null(strstr(out.data, "\"etag\":\"\\\"4.17\\\"\""));
    assert_null(strstr(out.data, "verifier"));
    assert_null(strstr(out.data, "argon2id"));
    assert_null(strstr(out.data, "badge"));
    base_buf_release(&out);
}

static void a_conflicts_values_need_the_right_to_read_their_table(void **state)
{
    struct base_buf out;
    struct node_grants reader = {
        .refs = 1, .count = 1, .grants = {{.table = "patient", .actions = NODE_MAY_READ}}};
    struct node_row *row = row_of("conflict");
    *field(row, "live") = core_text_of("{\"phone\":\"123\"}");
    *field(row, "table_name") = core_text_of("patient");
    base_buf_init(&out, 65536);
    api_render_row(&out, row, &reader);
    assert_non_null(strstr(out.data, "\"live\":{\"phone\":\"123\"}"));
    base_buf_clear(&out);
    *field(row, "table_name") = core_text_of("note");
    api_render_row(&out, row, &reader);
    assert_non_null(strstr(out.data, "\"live\":null"));
    base_buf_release(&out);
}

static void an_etag_is_read_exactly_as_it_is_written(void **state)
{
    static const char *const bad[] = {"",
                                      "*",
                                      "4.17",
                                      "\"4\"",
                                      "\"4.\"",
                                      "\"4.17",
                                      "W/\"4.17\"",
                                      "\"4.17\",\"5.1\"",
                                      "\"-1.0\"",
                                      "\"4.17 \"",
                                      "\"99999999999999999999.0\""};
    struct node_version v = {4, 17};
    char text[64];
    api_etag(text, &v);
    assert_string_equal(text, "\"4.17\"");
    v = (struct node_version){0, 0};
    assert_true(api_etag_parse(&v, text));
    assert_int_equal(v.rev, 4);
    assert_int_equal(v.pending_seq, 17);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (api_etag_parse(&v, bad[i]))
            fail_msg("took %s", bad[i]);
}

static void the_openapi_document_is_strict_json_and_names_every_table(void **state)
{
    struct base_buf out;
    cJSON *doc = NULL;
    struct base_err err;
    base_buf_init(&out, API_REPLY_BYTES_MAX);
    api_openapi_write(&out, &catalog);
    assert_int_equal(base_buf_check(&out), 0);
    if (net_json_parse(&doc, out.data, out.len, &err) != 0)
        fail_msg("%s", err.text);
    const cJSON *paths = cJSON_GetObjectItemCaseSensitive(doc, "paths");
    for (int i = 0; i < catalog.table_count; i++) {
        char path[128];
        snprintf(path, sizeof path, "/api/v1/%s", catalog.tables[i].name);
        assert_int_equal(net_json_has(paths, path), !catalog.tables[i].push_only);
    }
    assert_null(strstr(out.data, "verifier"));
    cJSON_Delete(doc);
    base_buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decimals_keep_every_digit_from_number_and_string),
        cmocka_unit_test(integers_beyond_two_to_the_53_are_kept),
        cmocka_unit_test(each_type_takes_its_own_json_and_nothing_else),
        cmocka_unit_test(an_edit_takes_known_writable_columns_alone),
        cmocka_unit_test(values_are_shown_by_type),
        cmocka_unit_test(hidden_columns_are_never_shown),
        cmocka_unit_test(a_conflicts_values_need_the_right_to_read_their_table),
        cmocka_unit_test(an_etag_is_read_exactly_as_it_is_written),
        cmocka_unit_test(the_openapi_document_is_strict_json_and_names_every_table),
    };
    catalog_load();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    core_catalog_release(&catalog);
    return failed;
}
