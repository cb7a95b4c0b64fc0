/* Queries: filters, order, pages. */
#include "tests/unit/node/store/support.h"

static struct fixture f;

#define P(...) ((const char *const[]){__VA_ARGS__, NULL})

static const char *const pat = "01900000-0001-7000-8000-000000000077";

/* number, value, moment: chosen so that text order is not the order of what they mean. */
static const char *const rows[][3] = {
    {"1", "9", "2026-11-23T08:00:00+02:00"},
    {"2", "10", "2026-11-23T06:30:00Z"},
    {"3", "\1", "2026-11-23T07:00:00+00:00"},
    {"4", "-0.5", "\1"},
    {"-5", "10.0", "2026-11-23"},
    {"6", "7.10", "2026"},
    {"7", "7.1", "2026-11-23T06:00:00Z"},
    {"8", "\1", "\1"},
};
enum { ROWS = (int)(sizeof rows / sizeof rows[0]) };

static int setup(void **state)
{
    fixture_ready(&f);
    for (int i = 0; i < ROWS; i++) {
        const char *pairs[12] = {"patient_id", pat, "code", "8867-4", "number", rows[i][0]};
        int n = 6;
        if (rows[i][1][0] != '\1') {
            pairs[n++] = "value_decimal";
            pairs[n++] = rows[i][1];
        }
        if (rows[i][2][0] != '\1') {
            pairs[n++] = "effective_at";
            pairs[n++] = rows[i][2];
        }
        assert_int_equal(edit(&f, CORE_OP_INSERT, "observation", uuid_n(i + 1), pairs, NULL), 0);
    }
    return 0;
}

static int teardown(void **state)
{
    fixture_remove(&f);
    return 0;
}

struct ask {
    const char *table;
    const char *order; /* "number" or "-number", "" none */
    const char *order2;
    const char *column; /* of the filter, or NULL */
    enum node_cmp cmp;
    const char *values[4];
    int limit, stop_after;
    const char *after;
    char got[512]; /* numbers, a space behind each */
    int count;
    char next[1024];
};

static bool note_row(void *user, const struct node_row *row)
{
    struct ask *a = user;
    int at = strcmp(row->table->name, "observation") == 0 ? 5 : 0;
    snprintf(a->got + strlen(a->got), 64, "%.*s ", (int)row->values[at].len,
             row->values[at].s == NULL ? "" : row->values[at].s);
    return ++a->count != a->stop_after;
}

static const struct core_column *column_of(const struct core_table *t, const char *name)
{
    return strcmp(name, "id") == 0 ? NULL : core_table_column(t, name, strlen(name));
}

static int run_ask(struct node_db *db, void *arg, struct base_err *err)
{
    struct ask *a = arg;
    const char *table = a->table == NULL ? "observation" : a->table;
    const struct core_table *t = core_catalog_table(node_db_catalog(db), table, strlen(table));
    struct node_filter filter = {.cmp = a->cmp};
    struct node_order orders[2];
    struct node_query q = {.table = t,
                           .filters = &filter,
                           .orders = orders,
                           .limit = a->limit == 0 ? 100 : a->limit,
                           .after = a->after};
    const char *const names[] = {a->order, a->order2};
    struct base_arena arena;
    const char *next = NULL;
    if (a->column != NULL) {
        q.filter_count = 1;
        filter.column = column_of(t, a->column);
        while (filter.value_count < 4 && a->values[filter.value_count] != NULL) {
            filter.values[filter.value_count] = core_text_of(a->values[filter.value_count]);
            filter.value_count++;
        }
    }
    for (int i = 0; i < 2 && names[i] != NULL && names[i][0] != '\0'; i++) {
        bool descending = names[i][0] == '-';
        orders[q.order_count++] =
            (struct node_order){column_of(t, names[i] + descending), descending};
    }
    base_arena_init(&arena, 16 << 20);
    int rc = node_query_run(db, &q, &arena, a, note_row, &next, err);
    if (rc == 0)
        snprintf(a->next, sizeof a->next, "%s", next == NULL ? "" : next);
    base_arena_release(&arena);
    return rc;
}

#define ASK(want, ...)                                                                             \
    do {                                                                                           \
        struct ask ask_ = {__VA_ARGS__};                                                           \
        int rc_ = on_reader(&f, run_ask, &ask_);                                                   \
        if (rc_ != 0)                                                                              \
            print_error("%s\n", f.err.text);                                                       \
        assert_int_equal(rc_, 0);                                                                  \
        assert_string_equal(ask_.got, want);                                                       \
    } while (0)

static void moments_are_ordered_by_the_instant_nulls_last(void **state)
{
    /* equal instants by their text */
    ASK("6 -5 7 1 2 3 4 8 ", .order = "effective_at");
    ASK("3 2 1 7 -5 6 4 8 ", .order = "-effective_at");
}

static void decimals_and_numbers_are_ordered_by_value(void **state)
{
    ASK("-5 1 2 3 4 6 7 8 ", .order = "number");
    ASK("4 6 7 1 2 -5 3 8 ", .order = "value_decimal");
    ASK("-5 2 1 7 6 4 8 3 ", .order = "-value_decimal", .order2 = "-id", .column = "number",
        .cmp = NODE_CMP_NEQ, .values = {"99"});
}

static void filters_compare_by_value(void **state)
{
    ASK("1 7 ", .column = "effective_at", .cmp = NODE_CMP_EQ, .values = {"2026-11-23T06:00:00Z"});
    ASK("1 2 3 7 ", .column = "effective_at", .cmp = NODE_CMP_GTE,
        .values = {"2026-11-23T06:00:00Z"});
    ASK("-5 6 ", .column = "effective_at", .cmp = NODE_CMP_LT, .values = {"2026-11-23T06:00:00Z"});
    ASK("6 7 ", .column = "value_decimal", .cmp = NODE_CMP_EQ, .values = {"7.100"});
    ASK("2 -5 ", .column = "value_decimal", .cmp = NODE_CMP_GT, .values = {"9"});
    ASK("1 2 -5 ", .column = "number", .cmp = NODE_CMP_IN, .values = {"2", "-5", "1"});
    ASK("3 8 ", .column = "value_decimal", .cmp = NODE_CMP_IS_NULL);
    ASK("3 ", .column = "id", .cmp = NODE_CMP_EQ, .values = {uuid_n(3)});
    ASK("1 2 3 4 -5 6 7 8 ", .column = "patient_id", .cmp = NODE_CMP_EQ, .values = {pat});
    ASK("4 6 7 8 ", .column = "number", .cmp = NODE_CMP_GT, .values = {"3"});
}

static void a_prefix_does_not_mind_case(void **state)
{
    assert_int_equal(
        edit(&f, CORE_OP_INSERT, "patient", uuid_n(1), P("family_name", "Öberg"), NULL), 0);
    assert_int_equal(
        edit(&f, CORE_OP_INSERT, "patient", uuid_n(2), P("family_name", "ÖBERGSSON"), NULL), 0);
    assert_int_equal(
        edit(&f, CORE_OP_INSERT, "patient", uuid_n(3), P("family_name", "Oberg"), NULL), 0);
    ASK("Öberg ÖBERGSSON ", .table = "patient", .column = "family_name", .cmp = NODE_CMP_PREFIX,
        .values = {"öbERG"});
    ASK("", .table = "patient", .column = "family_name", .cmp = NODE_CMP_PREFIX,
        .values = {"%berg"});
}

static void pages_put_together_are_the_whole(void **state)
{
    static const char *const orders[][2] = {{"", ""},
                                            {"number", ""},
                                            {"-number", ""},
                                            {"effective_at", ""},
                                            {"-effective_at", ""},
                                            {"value_decimal", ""},
                                            {"-value_decimal", ""},
                                            {"code", "-effective_at"},
                                            {"-value_decimal", "effective_at"},
                                            {"value_decimal", "-number"},
                                            {"id", ""},
                                            {"-id", ""}};
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++)
        for (int limit = 1; limit < ROWS + 1; limit++) {
            struct ask whole = {.order = orders[i][0], .order2 = orders[i][1]};
            char got[512] = "";
            char after[1024] = "";
            assert_int_equal(on_reader(&f, run_ask, &whole), 0);
            assert_string_equal(whole.next, "");
            for (int pages = 0; pages < ROWS + 1; pages++) {
                struct ask part = {.order = orders[i][0],
                                   .order2 = orders[i][1],
                                   .limit = limit,
                                   .after = pages == 0 ? NULL : after};
                assert_int_equal(on_reader(&f, run_ask, &part), 0);
                assert_true(part.count <= limit);
                snprintf(got + strlen(got), sizeof got - strlen(got), "%s", part.got);
                snprintf(after, sizeof after, "%s", part.next);
                if (after[0] == '\0')
                    break;
            }
            assert_string_equal(got, whole.got);
        }
}

static void a_reader_that_stops_gets_a_cursor(void **state)
{
    struct ask a = {.order = "number", .stop_after = 3};
    assert_int_equal(on_reader(&f, run_ask, &a), 0);
    assert_string_equal(a.got, "-5 1 2 ");
    ASK("3 4 6 7 8 ", .order = "number", .after = a.next);
}

static void a_cursor_that_is_not_of_the_query_is_refused(void **state)
{
    struct ask a = {.order = "-effective_at", .limit = 2};
    assert_int_equal(on_reader(&f, run_ask, &a), 0);
    struct ask other = {.order = "effective_at", .after = a.next};
    assert_int_equal(on_reader(&f, run_ask, &other), BASE_EINVALID);
    static const char *const bad[] = {"",
                                      "x",
                                      "????",
                                      "bnVsbA",
                                      "W10",
                                      "W251bGwsbnVsbF0",
                                      "WyJvYnNlcnZhdGlvbiAtZWZmZWN0aXZlX2F0IiwieCIsInkiXQ"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct ask b = {.order = "-effective_at", .after = bad[i]};
        assert_int_equal(on_reader(&f, run_ask, &b), BASE_EINVALID);
    }
    uint64_t random = check_seed();
    for (int i = 0; i < 300; i++) {
        char text[1024];
        snprintf(text, sizeof text, "%s", a.next);
        size_t len = strlen(text);
        text[check_below(&random, (int)len)] = (char)(33 + check_below(&random, 90));
        struct ask b = {.order = "-effective_at", .after = text};
        int rc = on_reader(&f, run_ask, &b);
        assert_true(rc == 0 || rc == BASE_EINVALID);
    }
}

static void a_query_out_of_its_limits_is_refused(void **state)
{
    struct ask a = {.limit = NODE_QUERY_ROWS_MAX + 1};
    assert_int_equal(on_reader(&f, run_ask, &a), BASE_EINVALID);
}

struct plan {
    const char *sql;
    char text[512];
};

static int run_plan(struct node_db *db, void *arg, struct base_err *err)
{
    struct plan *p = arg;
    struct node_stmt *st = NULL;
    assert_int_equal(stmt_get(db, &st, p->sql, err), 0);
    while (node_sql_step(st, err) == 1)
        snprintf(p->text + strlen(p->text), 200, "%s; ", node_sql_col_text(st, 3, NULL));
    node_sql_done(st);
    return 0;
}

/* The chart's query must not read a patient's whole past to show its end. */
static void a_charts_query_uses_the_index_on_the_moment(void **state)
{
    struct plan p = {.sql =
                         "EXPLAIN QUERY PLAN SELECT id FROM observation WHERE 1 AND "
                         "\"patient_id\" = ? AND moment_key(\"effective_at\") IS NOT NULL AND "
                         "moment_key(\"effective_at\") <= ? ORDER BY "
                         "moment_key(\"effective_at\") DESC, \"effective_at\" DESC, id LIMIT 50"};
    assert_int_equal(on_reader(&f, run_plan, &p), 0);
    assert_non_null(strstr(p.text, "_ix_observation_4_7"));
    assert_non_null(strstr(p.text, "<expr><?"));
    assert_non_null(strstr(p.text, "RIGHT PART OF ORDER BY"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(moments_are_ordered_by_the_instant_nulls_last),
        T(decimals_and_numbers_are_ordered_by_value),
        T(filters_compare_by_value),
        T(a_prefix_does_not_mind_case),
        T(pages_put_together_are_the_whole),
        T(a_reader_that_stops_gets_a_cursor),
        T(a_cursor_that_is_not_of_the_query_is_refused),
        T(a_query_out_of_its_limits_is_refused),
        T(a_charts_query_uses_the_index_on_the_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
