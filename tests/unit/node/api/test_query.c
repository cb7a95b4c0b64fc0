#include "tests/unit/node/api/call.h"

/* Parses "name=value" pairs against a table; the call stays for looking at. */
static struct api_call *parse(const char *table_name, const char *const pairs[],
                              struct node_query *q, int *rc)
{
    struct api_call *c = call_new();
    for (int i = 0; pairs[i] != NULL; i++) {
        const char *eq = strchr(pairs[i], '=');
        char *name = base_arena_copy(&c->arena, pairs[i], (size_t)(eq - pairs[i]));
        c->params[c->param_count++] = (struct api_param){name, eq + 1};
    }
    *rc = api_query_parse(c, table(table_name), q);
    return c;
}

static void refused(const char *table_name, const char *pair, const char *code,
                    const char *column_name)
{
    const char *const pairs[] = {pair, NULL};
    struct node_query q;
    int rc = 0;
    struct api_call *c = parse(table_name, pairs, &q, &rc);
    if (rc == 0 || c->problem.status != 400 || strcmp(c->problem.code, code) != 0 ||
        strcmp(c->problem.column, column_name) != 0)
        fail_msg("%s: rc %d, status %d, code %s, column %s", pair, rc, c->problem.status,
                 c->problem.code != NULL ? c->problem.code : "-", c->problem.column);
    call_free(c);
}

static void every_operator_is_understood(void **state)
{
    static const struct {
        const char *pair;
        enum node_cmp cmp;
        int values;
    } cases[] = {{"code=eq.8867-4", NODE_CMP_EQ, 1},
                 {"code=neq.x", NODE_CMP_NEQ, 1},
                 {"value_decimal=gt.7.10", NODE_CMP_GT, 1},
                 {"value_decimal=gte.-1", NODE_CMP_GTE, 1},
                 {"effective_at=lt.2026-11-23T08:00:00+01:00", NODE_CMP_LT, 1},
                 {"effective_at=lte.2026", NODE_CMP_LTE, 1},
                 {"code=in.(a,b,c)", NODE_CMP_IN, 3},
                 {"value_json=is.null", NODE_CMP_IS_NULL, 0},
                 {"patient_id=not.is.null", NODE_CMP_NOT_NULL, 0},
                 {"display=like.Heart*", NODE_CMP_PREFIX, 1},
                 {"id=eq.0192F0E8-0000-7000-8000-000000000001", NODE_CMP_EQ, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *const pairs[] = {cases[i].pair, NULL};
        struct node_query q;
        int rc = 0;
        struct api_call *c = parse("observation", pairs, &q, &rc);
        if (rc != 0 || q.filter_count != 1 || q.filters[0].cmp != cases[i].cmp ||
            q.filters[0].value_count != cases[i].values)
            fail_msg("%s: %s", cases[i].pair, c->problem.detail);
        call_free(c);
    }
}

static void values_reach_the_filter_as_the_store_keeps_them(void **state)
{
    const char *const pairs[] = {"active=eq.true", "id=eq.0192F0E8-0000-7000-8000-00000000000A",
                                 "family_name=like.Ber*", "city=in.(\"a,b\",\"c\\\"d\",e)", NULL};
    struct node_query q;
    int rc = 0;
    struct api_call *c = parse("patient", pairs, &q, &rc);
    assert_int_equal(rc, 0);
    assert_true(core_text_equal(q.filters[0].values[0], core_text_of("t")));
    assert_null(q.filters[1].column);
    assert_true(core_text_equal(q.filters[1].values[0],
                                core_text_of("0192f0e8-0000-7000-8000-00000000000a")));
    assert_true(core_text_equal(q.filters[2].values[0], core_text_of("Ber")));
    assert_int_equal(q.filters[3].value_count, 3);
    assert_true(core_text_equal(q.filters[3].values[0], core_text_of("a,b")));
    assert_true(core_text_equal(q.filters[3].values[1], core_text_of("c\"d")));
    assert_true(core_text_equal(q.filters[3].values[2], core_text_of("e")));
    call_free(c);
}

static void order_is_read_in_both_forms(void **state)
{
    const char *const pairs[] = {"order=-recorded_at,code.desc,display.asc,id", NULL};
    struct node_query q;
    int rc = 0;
    struct api_call *c = parse("observation", pairs, &q, &rc);
    assert_int_equal(rc, 0);
    assert_int_equal(q.order_count, 4);
    assert_ptr_equal(q.orders[0].column, column("observation", "recorded_at"));
    assert_true(q.orders[0].descending);
    assert_true(q.orders[1].descending);
    assert_false(q.orders[2].descending);
    assert_null(q.orders[3].column);
    call_free(c);
}

static void the_limit_has_a_default_and_bounds(void **state)
{
    const char *const none[] = {NULL};
    struct node_query q;
    int rc = 0;
    call_free(parse("patient", none, &q, &rc));
    assert_int_equal(q.limit, API_LIMIT_DEFAULT);
    static const char *const bad[] = {"limit=0", "limit=1001", "limit=-1",
                                      "limit=",  "limit=1e3",  "limit=99999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refused("patient", bad[i], "bad_filter", "limit");
}

static void what_is_not_on_the_list_is_refused_by_name(void **state)
{
    refused("patient", "nickname=eq.x", "unknown_parameter", "nickname");
    refused("patient", "rev=gt.1", "unknown_parameter", "rev");
    refused("patient", "tenant_id=eq.x", "unknown_parameter", "tenant_id");
    refused("staff", "verifier=like.$argon2id*", "unknown_parameter", "verifier");
    refused("staff", "order=verifier", "unknown_parameter", "verifier");
    refused("patient", "order=nickname", "unknown_parameter", "nickname");
    refused("patient", "order=city,", "bad_filter", "order");
    refused("patient", "order=id,id,id,id,id", "bad_filter", "order");
}

static void malformed_filters_are_refused(void **state)
{
    static const char *const bad[] = {"family_name=",          "family_name=x",
                                      "family_name=ilike.x*",  "family_name=like.*x",
                                      "family_name=like.a*b*", "family_name=like.x",
                                      "family_name=in.a,b",    "family_name=in.(\"a,b)",
                                      "family_name=is.true",   "family_name=not.eq.x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refused("patient", bad[i], "bad_filter", "family_name");
    refused("patient", "active=eq.1", "bad_filter", "active");
    refused("patient", "active=gt.true", "bad_filter", "active");
    refused("patient", "birth_date=gte.yesterday", "bad_filter", "birth_date");
    refused("patient", "birth_date=gte.2026-11-23T08:00:00 01:00", "bad_filter", "birth_date");
    refused("patient", "id=eq.1", "bad_filter", "id");
    refused("patient", "id=like.0*", "bad_filter", "id");
    refused("observation", "value_decimal=eq.1e3", "bad_filter", "value_decimal");
    refused("observation", "value_json=eq.{}", "bad_filter", "value_json");
    refused("patient", "after=", "bad_filter", "after");
}

static void too_many_filters_and_values_are_refused(void **state)
{
    const char *pairs[NODE_FILTERS_MAX + 2];
    char list[NODE_FILTER_VALUES_MAX * 2 + 32] = "city=in.(a";
    struct node_query q;
    int rc = 0;
    for (int i = 0; i <= NODE_FILTERS_MAX; i++)
        pairs[i] = "city=eq.x";
    pairs[NODE_FILTERS_MAX + 1] = NULL;
    struct api_call *c = parse("patient", pairs, &q, &rc);
    assert_int_not_equal(rc, 0);
    call_free(c);
    size_t n = strlen(list);
    for (int i = 0; i < NODE_FILTER_VALUES_MAX; i++)
        n += (size_t)snprintf(list + n, sizeof list - n, ",a");
    snprintf(list + n, sizeof list - n, ")");
    refused("patient", list, "bad_filter", "city");
}

static void random_parameters_never_crash(void **state)
{
    static const char alphabet[] = "eqnltgi.(),\"\\*-asc_0129nullnot is";
    uint64_t seed = check_seed();
    for (int round = 0; round < 20000; round++) {
        char pair[64] = "city=";
        size_t n = 5 + (size_t)check_below(&seed, 50);
        for (size_t i = 5; i < n; i++)
            pair[i] = alphabet[check_below(&seed, (int)sizeof alphabet - 1)];
        pair[n] = '\0';
        const char *const pairs[] = {pair, NULL};
        struct node_query q;
        int rc = 0;
        struct api_call *c = parse("patient", pairs, &q, &rc);
        if (rc != 0)
            assert_int_equal(c->problem.status, 400);
        call_free(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operator_is_understood),
        cmocka_unit_test(values_reach_the_filter_as_the_store_keeps_them),
        cmocka_unit_test(order_is_read_in_both_forms),
        cmocka_unit_test(the_limit_has_a_default_and_bounds),
        cmocka_unit_test(what_is_not_on_the_list_is_refused_by_name),
        cmocka_unit_test(malformed_filters_are_refused),
        cmocka_unit_test(too_many_filters_and_values_are_refused),
        cmocka_unit_test(random_parameters_never_crash),
    };
    catalog_load();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    core_catalog_release(&catalog);
    return failed;
}
