#include "tests/unit/check.h"

#include "node/people/people.h"

static void folds(const char *name, const char *to)
{
    char out[64];
    node_username_fold(out, sizeof out, name);
    assert_string_equal(out, to);
}

static void user_names_are_folded_in_the_alphabets_of_hospitals(void **state)
{
    folds("Nadia.Berg", "nadia.berg");
    folds("ZO\xc3\x8b", "zo\xc3\xab");             /* ZOË */
    folds("\xc5\x81ukasz", "\xc5\x82ukasz");       /* Łukasz */
    folds("\xc5\xbd", "\xc5\xbe");                 /* Ž */
    folds("\xce\xa9", "\xcf\x89");                 /* Ω */
    folds("\xd0\x98\xd0\xb2", "\xd0\xb8\xd0\xb2"); /* Ив */
    folds("a\xc3\x97", "a\xc3\x97");               /* × has no small form */
    folds("\xff\xfe", "\xff\xfe");                 /* not UTF-8: as it is */
    folds("", "");
}

static void folding_twice_changes_nothing_and_stays_inside(void **state)
{
    uint64_t seed = check_seed();
    for (int round = 0; round < 20000; round++) {
        char name[40];
        char once[48];
        char twice[48];
        int n = check_below(&seed, 39);
        for (int i = 0; i < n; i++)
            name[i] = (char)(1 + check_below(&seed, 255));
        name[n] = '\0';
        node_username_fold(once, 16, name);
        assert_true(strlen(once) < 16);
        node_username_fold(once, sizeof once, name);
        node_username_fold(twice, sizeof twice, once);
        assert_string_equal(once, twice);
    }
}

static void moment(const char *text, int64_t ms)
{
    int64_t got = -1;
    if (!node_moment_ms(&got, text, strlen(text)) || got != ms)
        fail_msg("%s: %lld", text, (long long)got);
}

static void moments_name_their_instant(void **state)
{
    static const char *const bad[] = {
        "", "24", "2024-13", "2024-02-29T", "2024-02-29T08:00", "x", "2024-02-29T08:00:00+2"};
    int64_t ms = 0;
    moment("1970", 0);
    moment("1970-01-01T00:00:00Z", 0);
    moment("1970-01-01T01:00:00+01:00", 0);
    moment("1970-01-01 00:00:00.25+00", 250);
    moment("2024-02-29T08:00:00.123456-05:30", 1709213400123);
    moment("2000-03-01", 951868800000);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (node_moment_ms(&ms, bad[i], strlen(bad[i])))
            fail_msg("took \"%s\"", bad[i]);
}

static void what_is_not_named_is_denied(void **state)
{
    struct node_grants g = {.refs = 1,
                            .count = 3,
                            .grants = {{"note", NODE_MAY_READ | NODE_MAY_CREATE, 0},
                                       {"patient", NODE_MAY_READ, 0},
                                       {"task", 0, 0}}};
    assert_true(node_grants_may(&g, NODE_MAY_READ, "note"));
    assert_true(node_grants_may(&g, NODE_MAY_CREATE, "note"));
    assert_false(node_grants_may(&g, NODE_MAY_UPDATE, "note"));
    assert_false(node_grants_may(&g, NODE_MAY_CREATE, "patient"));
    assert_false(node_grants_may(&g, NODE_MAY_READ, "task"));
    assert_false(node_grants_may(&g, NODE_MAY_READ, "observation"));
    assert_false(node_grants_may(&g, NODE_MAY_READ, ""));
    assert_false(
        node_grants_may(&g, NODE_MAY_READ,
                        "a name that is longer than any table's name may be, sixty-three bytes"));
}

static void a_star_means_every_table_but_only_its_own_actions(void **state)
{
    struct node_grants g = {.refs = 1, .count = 1, .grants = {{"*", NODE_MAY_READ, 0}}};
    assert_true(node_grants_may(&g, NODE_MAY_READ, "observation"));
    assert_false(node_grants_may(&g, NODE_MAY_CREATE, "observation"));
}

static void words(const char *s, unsigned anywhere, unsigned in_ward)
{
    struct node_actions a = node_actions_parse(s, strlen(s));
    if (a.anywhere != anywhere || a.in_ward != in_ward)
        fail_msg("\"%s\": %u, %u", s, a.anywhere, a.in_ward);
}

static void unknown_words_permit_nothing(void **state)
{
    words("read create", NODE_MAY_READ | NODE_MAY_CREATE, 0);
    words("update delete resolve", NODE_MAY_UPDATE | NODE_MAY_DELETE | NODE_MAY_RESOLVE, 0);
    words("all reads READ", 0, 0);
    words("  read  ", NODE_MAY_READ, 0);
    words("", 0, 0);
    words("read:ward create", NODE_MAY_CREATE, NODE_MAY_READ);
    words("read:site :ward read:ward:ward read:WARD", 0, 0);
}

static void a_right_in_the_ward_is_none_elsewhere(void **state)
{
    struct node_grants g = {
        .refs = 1, .count = 1, .grants = {{.table = "note", .ward_actions = NODE_MAY_READ}}};
    assert_false(node_grants_may(&g, NODE_MAY_READ, "note"));
    assert_true(node_grants_may_in_ward(&g, NODE_MAY_READ, "note"));
    assert_false(node_grants_may_in_ward(&g, NODE_MAY_UPDATE, "note"));
}

static void broken_glass_is_for_one_patient_and_ends(void **state)
{
    struct base_uuid patient = {{7}};
    struct base_uuid other = {{8}};
    struct node_grants g = {
        .refs = 1, .glass_count = 1, .glass = {{.patient_id = {{7}}, .ends_ms = 100}}};
    assert_non_null(node_grants_glass(&g, &patient, 99));
    assert_null(node_grants_glass(&g, &patient, 100));
    assert_null(node_grants_glass(&g, &other, 99));
}

static void a_pin_that_anybody_would_try_is_weak(void **state)
{
    static const char *const weak[] = {"",     "123",  "1234",          "98765",
                                       "0000", "12a4", "1234567890123", "-471"};
    static const char *const strong[] = {"4711", "1235", "0470815", "112233445566"};
    for (size_t i = 0; i < sizeof weak / sizeof weak[0]; i++)
        assert_false(node_pin_is_strong(weak[i]));
    for (size_t i = 0; i < sizeof strong / sizeof strong[0]; i++)
        assert_true(node_pin_is_strong(strong[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(user_names_are_folded_in_the_alphabets_of_hospitals),
        cmocka_unit_test(folding_twice_changes_nothing_and_stays_inside),
        cmocka_unit_test(moments_name_their_instant),
        cmocka_unit_test(what_is_not_named_is_denied),
        cmocka_unit_test(a_star_means_every_table_but_only_its_own_actions),
        cmocka_unit_test(unknown_words_permit_nothing),
        cmocka_unit_test(a_right_in_the_ward_is_none_elsewhere),
        cmocka_unit_test(broken_glass_is_for_one_patient_and_ends),
        cmocka_unit_test(a_pin_that_anybody_would_try_is_weak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
