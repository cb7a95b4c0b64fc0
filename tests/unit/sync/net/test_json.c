#include "tests/unit/check.h"

#include "sync/net/json.h"

static void refused_at(const char *text, size_t len, int code, const char *place)
{
    cJSON *out = NULL;
    struct base_err err = {0};
    assert_int_equal(net_json_parse(&out, text, len, &err), code);
    assert_null(out);
    if (strstr(err.text, place) == NULL)
        fail_msg("expected \"%s\" in \"%s\"", place, err.text);
}

static void refused(const char *text, const char *place)
{
    refused_at(text, strlen(text), BASE_EINVALID, place);
}

static cJSON *parsed(const char *text)
{
    cJSON *out = NULL;
    struct base_err err = {0};
    if (net_json_parse(&out, text, strlen(text), &err) != 0)
        fail_msg("%s", err.text);
    return out;
}

static void numbers_keep_their_exact_text(void **state)
{
    cJSON *v = parsed("{\"a\":12345678901234567890,\"b\":[-0.10,1e400,{\"c\":0}],\"d\":7}");
    assert_string_equal(cJSON_GetObjectItem(v, "a")->valuestring, "12345678901234567890");
    const cJSON *b = cJSON_GetObjectItem(v, "b");
    assert_string_equal(cJSON_GetArrayItem(b, 0)->valuestring, "-0.10");
    assert_string_equal(cJSON_GetArrayItem(b, 1)->valuestring, "1e400");
    assert_string_equal(cJSON_GetObjectItem(cJSON_GetArrayItem(b, 2), "c")->valuestring, "0");
    assert_string_equal(cJSON_GetObjectItem(v, "d")->valuestring, "7");
    cJSON_Delete(v);
}

static void what_was_read_is_written_back_the_same(void **state)
{
    static const char text[] =
        "{\"a\":[1.50,true,false,null,\"x\\\"y\\n\\\\ä\"],\"b\":{},\"c\":[],\"\":-0}";
    struct base_buf out;
    cJSON *v = parsed(text);
    base_buf_init(&out, 4096);
    net_json_write(&out, v);
    assert_string_equal(out.data, text);
    base_buf_release(&out);
    cJSON_Delete(v);
}

static void an_error_names_line_and_column(void **state)
{
    refused("{\n  \"ä\": tru\n}", "line 2, column 8");
    refused("", "line 1, column 1: expected a value");
    refused("[1,\n2", "line 2, column 2: expected ',' or ']'");
}

static void what_is_not_json_is_refused(void **state)
{
    static const char *const bad[] = {"{",        "[1,]",        "{\"a\":1,}",
                                      "{a:1}",    "'a'",         "01",
                                      "1.",       ".5",          "+1",
                                      "-",        "1e",          "0x1",
                                      "NaN",      "Infinity",    "nul",
                                      "truex",    "[1] x",       "{\"a\" 1}",
                                      "{\"a\":}", "{1:2}",       "[1 2]",
                                      "\"\\x\"",  "\"\\u12g4\"", "\"\t\"",
                                      "\"abc",    "/**/1",       "\xef\xbb\xbf{}",
                                      "1 1",      "-01",         "[",
                                      "{\"a\"",   "{\"a\":1",    "\"\\"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refused(bad[i], "JSON line 1");
}

static void a_nul_is_refused_wherever_it_stands(void **state)
{
    refused_at("{}\0", 3, BASE_EINVALID, "column 3");
    refused_at("\"a\0b\"", 5, BASE_EINVALID, "control character");
    refused_at("\0", 1, BASE_EINVALID, "expected a value");
    refused("\"\\u0000\"", "NUL");
}

static void broken_utf8_is_refused(void **state)
{
    static const char *const bad[] = {"\"\x80\"",
                                      "\"\xc0\xaf\"",
                                      "\"\xc3\"",
                                      "\"\xe0\x9f\xbf\"",
                                      "\"\xed\xa0\x80\"",
                                      "\"\xf0\x8f\xbf\xbf\"",
                                      "\"\xf4\x90\x80\x80\"",
                                      "\"\xf5\x80\x80\x80\"",
                                      "\"\xe2\x82"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refused(bad[i], "not UTF-8");
    cJSON_Delete(parsed("\"ä€\xf0\x9f\x98\x80\xef\xbf\xbf\xed\x9f\xbf\""));
}

static void a_lone_surrogate_is_refused_and_a_pair_is_not(void **state)
{
    refused("\"\\ud800\"", "lone surrogate");
    refused("\"\\udc00\"", "lone surrogate");
    refused("\"\\ud800\\u0041\"", "lone surrogate");
    refused("\"\\ud800x\"", "lone surrogate");
    cJSON *v = parsed("\"\\ud83d\\ude00\"");
    assert_string_equal(v->valuestring, "\xf0\x9f\x98\x80");
    cJSON_Delete(v);
}

static void a_name_that_is_there_twice_is_refused(void **state)
{
    refused("{\"a\":1,\"b\":{\"c\":1},\"a\":2}", "column 20: a member's name is there twice");
    refused("{\"a\":1,\"\\u0061\":2}", "column 8"); /* the same name, written otherwise */
    refused("[{\"x\":[{\"y\":1,\"y\":1}]}]", "column 15");
    cJSON_Delete(parsed("{\"a\":{\"a\":{\"a\":1}},\"A\":2}"));
}

/* 100,000 members: the square of that would take minutes. */
static void many_members_cost_no_square(void **state)
{
    enum { MEMBERS = 100000 };
    struct base_buf b;
    cJSON *out = NULL;
    struct base_err err;
    base_buf_init(&b, 16 * 1024 * 1024);
    for (int i = 0; i < MEMBERS; i++)
        base_buf_printf(&b, "%c\"the same long beginning of a name %d\":%d", i == 0 ? '{' : ',', i,
                        i);
    size_t before = b.len;
    base_buf_str(&b, "}");
    assert_int_equal(net_json_parse(&out, b.data, b.len, &err), 0);
    cJSON_Delete(out);
    out = NULL;
    b.len = before;
    base_buf_str(&b, ",\"the same long beginning of a name 17\":0}");
    assert_int_equal(net_json_parse(&out, b.data, b.len, &err), BASE_EINVALID);
    assert_non_null(strstr(err.text, "twice"));
    base_buf_release(&b);
}

static void depth_and_number_of_values_are_limited(void **state)
{
    char text[2 * NET_JSON_DEPTH_MAX + 4];
    memset(text, '[', NET_JSON_DEPTH_MAX + 1);
    memset(text + NET_JSON_DEPTH_MAX + 1, ']', NET_JSON_DEPTH_MAX + 1);
    refused_at(text, 2 * NET_JSON_DEPTH_MAX + 2, BASE_ETOOBIG, "nested too deeply");
    cJSON *out = NULL;
    assert_int_equal(net_json_parse(&out, text + 1, 2 * NET_JSON_DEPTH_MAX, NULL), 0);
    cJSON_Delete(out);
    size_t len = 2 * (size_t)NET_JSON_NODES_MAX + 1;
    char *many = malloc(len);
    assert_non_null(many);
    for (size_t i = 0; i < len; i++)
        many[i] = i % 2 == 0 ? ',' : '1';
    many[0] = '[';
    many[len - 1] = ']';
    refused_at(many, len, BASE_ETOOBIG, "too many values");
    free(many);
    char digits[80];
    memset(digits, '1', sizeof digits);
    refused_at(digits, 64, BASE_ETOOBIG, "too many digits");
}

static void typed_access_names_the_member_and_leaves_out_alone(void **state)
{
    cJSON *v = parsed("{\"s\":\"text\",\"n\":9007199254740993,\"t\":\"42\",\"f\":1.0,\"b\":true,"
                      "\"z\":null,\"u\":\"042\"}");
    struct base_err err;
    const char *s = "untouched";
    int64_t n = 5;
    bool b = false;
    assert_int_equal(net_json_str(v, "s", 3, &s, &err), BASE_EINVALID);
    assert_string_equal(s, "untouched");
    assert_int_equal(net_json_str(v, "s", 4, &s, &err), 0);
    assert_string_equal(s, "text");
    assert_int_equal(net_json_str(v, "n", 40, &s, &err), BASE_EINVALID);
    assert_int_equal(net_json_str(v, "missing", 40, &s, &err), BASE_EINVALID);
    assert_non_null(strstr(err.text, "\"missing\""));
    assert_int_equal(net_json_i64(v, "n", 0, INT64_MAX, &n, &err), 0);
    assert_true(n == INT64_C(9007199254740993)); /* a double would have lost the 3 */
    assert_int_equal(net_json_i64(v, "t", 0, 42, &n, &err), 0);
    assert_int_equal(n, 42);
    assert_int_equal(net_json_i64(v, "t", 0, 41, &n, &err), BASE_EINVALID);
    assert_int_equal(net_json_i64(v, "f", 0, 9, &n, &err), BASE_EINVALID);
    assert_int_equal(net_json_i64(v, "u", 0, 99, &n, &err), BASE_EINVALID);
    assert_int_equal(net_json_i64(v, "b", 0, 9, &n, &err), BASE_EINVALID);
    assert_int_equal(net_json_bool(v, "b", &b, &err), 0);
    assert_true(b);
    assert_int_equal(net_json_bool(v, "s", &b, &err), BASE_EINVALID);
    assert_true(net_json_has(v, "z"));
    assert_false(net_json_has(v, "Z"));
    cJSON_Delete(v);
}

static void a_foreign_member_is_named_unless_it_could_be_a_value(void **state)
{
    static const char *const known[] = {"a", "b", NULL};
    struct base_err err;
    cJSON *v = parsed("{\"a\":1,\"colour\":2}");
    assert_int_equal(net_json_only(v, known, &err), BASE_EINVALID);
    assert_non_null(strstr(err.text, "\"colour\""));
    cJSON_Delete(v);
    v = parsed("{\"John Smith, 1961\":2}");
    assert_int_equal(net_json_only(v, known, &err), BASE_EINVALID);
    assert_null(strstr(err.text, "Smith"));
    cJSON_Delete(v);
    v = parsed("{\"b\":1}");
    assert_int_equal(net_json_only(v, known, &err), 0);
    cJSON_Delete(v);
    v = parsed("[]");
    assert_int_equal(net_json_only(v, known, &err), BASE_EINVALID);
    cJSON_Delete(v);
}

/* Whatever is read and written can be read again and writes the same: with random damage to a good
 * text. */
static void damaged_texts_are_refused_or_stable(void **state)
{
    static const char good[] = "{\"seq\":101,\"tx\":9,\"op\":\"u\",\"row\":[\"018f\",null,\"7.10\","
                               "\"\\u00e4\"],\"who\":{\"n\":\"x\",\"f\":[1,2.5e-3]}}";
    uint64_t seed = check_seed();
    for (int i = 0; i < 20000; i++) {
        char text[sizeof good];
        cJSON *a = NULL;
        cJSON *b = NULL;
        struct base_buf one;
        struct base_buf two;
        memcpy(text, good, sizeof good);
        for (int k = check_below(&seed, 3); k >= 0; k--)
            text[check_below(&seed, sizeof good - 1)] =
                "{}[]\",:\\0e-. u\x80\xc3"[check_below(&seed, 16)];
        if (net_json_parse(&a, text, sizeof good - 1, NULL) != 0)
            continue;
        base_buf_init(&one, 4096);
        base_buf_init(&two, 4096);
        net_json_write(&one, a);
        assert_int_equal(net_json_parse(&b, one.data, one.len, NULL), 0);
        net_json_write(&two, b);
        assert_string_equal(one.data, two.data);
        base_buf_release(&one);
        base_buf_release(&two);
        cJSON_Delete(a);
        cJSON_Delete(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_keep_their_exact_text),
        cmocka_unit_test(what_was_read_is_written_back_the_same),
        cmocka_unit_test(an_error_names_line_and_column),
        cmocka_unit_test(what_is_not_json_is_refused),
        cmocka_unit_test(a_nul_is_refused_wherever_it_stands),
        cmocka_unit_test(broken_utf8_is_refused),
        cmocka_unit_test(a_lone_surrogate_is_refused_and_a_pair_is_not),
        cmocka_unit_test(a_name_that_is_there_twice_is_refused),
        cmocka_unit_test(many_members_cost_no_square),
        cmocka_unit_test(depth_and_number_of_values_are_limited),
        cmocka_unit_test(typed_access_names_the_member_and_leaves_out_alone),
        cmocka_unit_test(a_foreign_member_is_named_unless_it_could_be_a_value),
        cmocka_unit_test(damaged_texts_are_refused_or_stable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
