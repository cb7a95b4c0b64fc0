#include "tests/unit/check.h"

#include "sync/core/merge.h"

/* A table with two lone columns (phone, city), one group (name, birth) and one column written at
 * the centre. */
enum { PHONE = 4, CITY, NAME, BIRTH, BADGE };
static struct core_column columns[] = {
    {.ord = PHONE, .name = "phone", .class = CORE_FIELD, .nullable = true},
    {.ord = CITY, .name = "city", .class = CORE_FIELD, .nullable = true},
    {.ord = NAME, .name = "name", .class = CORE_REVIEW, .group = "identity", .nullable = true},
    {.ord = BIRTH, .name = "birth", .class = CORE_REVIEW, .group = "identity", .nullable = true},
    {.ord = BADGE, .name = "badge", .class = CORE_CENTRAL, .nullable = true},
};
static struct core_table table = {
    .tbl = 1, .name = "patient", .class = CORE_FIELD, .columns = columns, .column_count = 5};

static struct core_merge m;

static struct core_image image(const char *phone, const char *city, const char *name,
                               const char *birth)
{
    struct core_image im = {0};
    core_image_set(&im, CORE_ORD_ID, core_text_of("id"));
    core_image_set(&im, PHONE, core_text_of(phone));
    core_image_set(&im, CITY, core_text_of(city));
    core_image_set(&im, NAME, core_text_of(name));
    core_image_set(&im, BIRTH, core_text_of(birth));
    return im;
}

static struct core_resolved sets(int ord, const char *value)
{
    return (struct core_resolved){.count = 1, .ords = {ord}, .values = {core_text_of(value)}};
}

static struct core_unseen others_changed(int ord)
{
    struct core_unseen u = {0};
    core_unseen_add(&u, ord);
    return u;
}

static void run(enum core_op op, const struct core_resolved *in, const struct core_image *live,
                const struct core_image *base, const struct core_unseen *unseen)
{
    static const struct core_unseen none;
    struct core_change c = {.seq = 1, .txn = 1, .op = op};
    core_merge_row(&m, &table, &c, in, live, base, unseen == NULL ? &none : unseen);
}

static void expect_column(int ord, const char *value)
{
    assert_true(core_text_equal(core_image_field(&m.image, ord), core_text_of(value)));
}

static void nobody_else_changed_it_so_it_is_applied(void **state)
{
    struct core_image live = image("1", "Ulm", "Ada", "1970");
    struct core_resolved in = sets(PHONE, "2");
    run(CORE_OP_UPDATE, &in, &live, &live, NULL);
    assert_int_equal(m.outcome, CORE_APPLIED);
    assert_int_equal(m.write, CORE_WRITE_UPDATE);
    expect_column(PHONE, "2");
    expect_column(CITY, "Ulm");
}

static void others_changed_other_fields_so_both_stand(void **state)
{
    struct core_image base = image("1", "Ulm", "Ada", "1970");
    struct core_image live = image("1", "Bonn", "Ada", "1970");
    struct core_resolved in = sets(PHONE, "2");
    struct core_unseen unseen = others_changed(CITY);
    run(CORE_OP_UPDATE, &in, &live, &base, &unseen);
    assert_int_equal(m.outcome, CORE_MERGED);
    expect_column(PHONE, "2");
    expect_column(CITY, "Bonn");
}

static void the_same_value_from_both_sides_is_agreement(void **state)
{
    struct core_image base = image("1", "Ulm", "Ada", "1970");
    struct core_image live = image("2", "Ulm", "Ada", "1970");
    struct core_resolved in = sets(PHONE, "2");
    struct core_unseen unseen = others_changed(PHONE);
    run(CORE_OP_UPDATE, &in, &live, &base, &unseen);
    assert_int_equal(m.outcome, CORE_MERGED);
    assert_int_equal(m.write, CORE_WRITE_NOTHING);
    assert_int_equal(m.contest_count, 0);
}

static void two_values_for_one_field_are_contested_and_the_live_one_stays(void **state)
{
    struct core_image base = image("1", "Ulm", "Ada", "1970");
    struct core_image live = image("2", "Ulm", "Ada", "1970");
    struct core_resolved in = sets(PHONE, "3");
    struct core_unseen unseen = others_changed(PHONE);
    run(CORE_OP_UPDATE, &in, &live, &base, &unseen);
    assert_int_equal(m.outcome, CORE_CONTESTED);
    assert_int_equal(m.write, CORE_WRITE_NOTHING);
    assert_int_equal(m.contest_count, 1);
    assert_int_equal(m.contests[0].count, 1);
    assert_int_equal(m.contests[0].ords[0], PHONE);
    assert_int_equal(m.contests[0].rule, CORE_RULE_FIELD_LIVE_STAYS);
}

static void a_contested_field_does_not_hold_back_its_neighbour(void **state)
{
    struct core_image base = image("1", "Ulm", "Ada", "1970");
    struct core_image live = image("2", "Ulm", "Ada", "1970");
    struct core_resolved in = {
        .count = 2, .ords = {PHONE, CITY}, .values = {core_text_of("3"), core_text_of("Bonn")}};
    struct core_unseen unseen = others_changed(PHONE);
    run(CORE_OP_UPDATE, &in, &live, &base, &unseen);
    assert_int_equal(m.outcome, CORE_CONTESTED);
    assert_int_equal(m.write, CORE_WRITE_UPDATE);
    expect_column(PHONE, "2");
    expect_column(CITY, "Bonn");
}

static void name_from_one_and_birth_date_from_the_other_never_make_a_third_person(void **state)
{
    struct core_image base = image("1", "Ulm", "Ada", "1970");
    struct core_image live = image("1", "Ulm", "Ida", "1970");
    struct core_resolved in = sets(BIRTH, "1971");
    struct core_unseen unseen = others_changed(NAME);
    run(CORE_OP_UPDATE, &in, &live, &base, &unseen);
    assert_int_equal(m.outcome, CORE_CONTESTED);
    assert_int_equal(m.write, CORE_WRITE_NOTHING);
    assert_int_equal(m.contest_count, 1);
    assert_int_equal(m.contests[0].count, 2);
    assert_int_equal(m.contests[0].rule, CORE_RULE_REVIEW_LIVE_STAYS);
}

static void a_field_cleared_here_and_changed_there_is_contested(void **state)
{
    struct core_image base = image("1", "Ulm", "Ada", "1970");
    struct core_image live = image("2", "Ulm", "Ada", "1970");
    struct core_resolved in = sets(PHONE, NULL);
    struct core_unseen unseen = others_changed(PHONE);
    run(CORE_OP_UPDATE, &in, &live, &base, &unseen);
    assert_int_equal(m.outcome, CORE_CONTESTED);
}

/* It is in the change, so its author has entered it: over another value of the same author, say. */
static void a_value_taken_back_to_what_it_was_is_contested_too(void **state)
{
    struct core_image base = image("1", "Ulm", "Ada", "1970");
    struct core_image live = image("2", "Ulm", "Ada", "1970");
    struct core_resolved in = sets(PHONE, "1");
    struct core_unseen unseen = others_changed(PHONE);
    run(CORE_OP_UPDATE, &in, &live, &base, &unseen);
    assert_int_equal(m.outcome, CORE_CONTESTED);
    assert_int_equal(m.contest_count, 1);
}

static void a_compacted_history_makes_every_field_count_as_changed(void **state)
{
    struct core_image live = image("1", "Ulm", "Ada", "1970");
    struct core_resolved in = sets(PHONE, "3");
    struct core_unseen unseen = {.any = true, .all_columns = true};
    run(CORE_OP_UPDATE, &in, &live, NULL, &unseen);
    assert_int_equal(m.outcome, CORE_CONTESTED);
    assert_int_equal(m.contests[0].rule, CORE_RULE_UNKNOWN_HISTORY);
}

static void what_only_the_centre_writes_is_quarantined(void **state)
{
    struct core_image live = image("1", "Ulm", "Ada", "1970");
    struct core_resolved in = sets(BADGE, "9");
    run(CORE_OP_UPDATE, &in, &live, &live, NULL);
    assert_int_equal(m.outcome, CORE_QUARANTINED);
    assert_int_equal(m.rule, CORE_RULE_CENTRAL_ONLY);
    assert_int_equal(m.write, CORE_WRITE_NOTHING);
}

static void a_fact_is_inserted_once_and_never_changed(void **state)
{
    struct core_image live = image("1", NULL, NULL, NULL);
    struct core_resolved same = sets(PHONE, "1");
    struct core_resolved other = sets(PHONE, "2");
    table.class = CORE_FACT;
    run(CORE_OP_INSERT, &same, NULL, NULL, NULL);
    assert_int_equal(m.outcome, CORE_APPLIED);
    assert_int_equal(m.write, CORE_WRITE_INSERT);
    run(CORE_OP_INSERT, &same, &live, NULL, NULL);
    assert_int_equal(m.outcome, CORE_DUPLICATE);
    assert_int_equal(m.write, CORE_WRITE_NOTHING);
    run(CORE_OP_INSERT, &other, &live, NULL, NULL);
    assert_int_equal(m.outcome, CORE_QUARANTINED);
    assert_int_equal(m.rule, CORE_RULE_FACT_REWRITTEN);
    run(CORE_OP_UPDATE, &other, &live, &live, NULL);
    assert_int_equal(m.rule, CORE_RULE_FACT_NOT_NEW);
    run(CORE_OP_DELETE, &same, &live, &live, NULL);
    assert_int_equal(m.rule, CORE_RULE_FACT_NOT_NEW);
    table.class = CORE_FIELD;
}

static void a_delete_against_a_change_is_contested(void **state)
{
    struct core_image live = image("2", "Ulm", "Ada", "1970");
    struct core_resolved in = {0};
    struct core_unseen unseen = others_changed(PHONE);
    run(CORE_OP_DELETE, &in, &live, &live, NULL);
    assert_int_equal(m.rule, CORE_RULE_NOT_DELETABLE);
    table.deletable = true;
    run(CORE_OP_DELETE, &in, &live, &live, &unseen);
    assert_int_equal(m.outcome, CORE_CONTESTED);
    assert_true(m.contests[0].is_delete);
    run(CORE_OP_DELETE, &in, &live, &live, NULL);
    assert_int_equal(m.write, CORE_WRITE_DELETE);
    table.deletable = false;

    struct core_resolved change = sets(PHONE, "3");
    struct core_unseen gone = {.any = true, .all_columns = true, .deleted = true};
    run(CORE_OP_UPDATE, &change, NULL, &live, &gone);
    assert_int_equal(m.outcome, CORE_CONTESTED);
    assert_int_equal(m.rule, CORE_RULE_DELETE_CLASH);
    run(CORE_OP_UPDATE, &change, NULL, &live, NULL);
    assert_int_equal(m.outcome, CORE_QUARANTINED);
    assert_int_equal(m.rule, CORE_RULE_GONE);
}

/* Whatever happens: a value that was live and unseen by the writer is never replaced, and no
 * incoming value goes without being live, equal to what was, or in a conflict. */
static void no_value_is_ever_overwritten_unseen_nor_lost(void **state)
{
    static const char *const values[] = {NULL, "1", "2", "3"};
    uint64_t seed = check_seed();
    for (int round = 0; round < 200000; round++) {
        struct core_image base =
            image(values[check_below(&seed, 4)], values[check_below(&seed, 4)],
                  values[check_below(&seed, 4)], values[check_below(&seed, 4)]);
        struct core_image live = base;
        struct core_unseen unseen = {0};
        struct core_resolved in = {0};
        for (int ord = PHONE; ord <= BIRTH; ord++) {
            const char *other = values[check_below(&seed, 4)];
            if (check_below(&seed, 2) == 0 &&
                !core_text_equal(core_text_of(other), core_image_field(&base, ord))) {
                core_image_set(&live, ord, core_text_of(other));
                core_unseen_add(&unseen, ord);
            }
            if (check_below(&seed, 2) == 0) {
                in.ords[in.count] = ord;
                in.values[in.count++] = core_text_of(values[check_below(&seed, 4)]);
            }
        }
        run(CORE_OP_UPDATE, &in, &live, &base, &unseen);
        for (int ord = PHONE; ord <= BIRTH; ord++)
            if (core_unseen_has(&unseen, ord))
                assert_true(
                    core_text_equal(core_image_field(&m.image, ord), core_image_field(&live, ord)));
        for (int i = 0; i < in.count; i++) {
            bool kept = core_text_equal(core_image_field(&m.image, in.ords[i]), in.values[i]) ||
                        core_text_equal(core_image_field(&base, in.ords[i]), in.values[i]);
            for (int k = 0; k < m.contest_count; k++)
                for (int j = 0; j < m.contests[k].count; j++)
                    kept |= m.contests[k].ords[j] == in.ords[i];
            assert_true(kept);
        }
        assert_int_equal(m.contest_count > 0, m.outcome == CORE_CONTESTED);
    }
}

static void all_eight_classes_decide(void **state)
{
    struct core_text base = core_text_of("1");
    struct core_text live = core_text_of("2");
    struct core_text incoming = core_text_of("3");
    static const enum core_outcome expected[] = {
        [CORE_FACT] = CORE_QUARANTINED,    [CORE_STATE] = CORE_CONTESTED,
        [CORE_FIELD] = CORE_CONTESTED,     [CORE_REVIEW] = CORE_CONTESTED,
        [CORE_UNION] = CORE_CONTESTED,     [CORE_CLAIM] = CORE_CONTESTED,
        [CORE_CENTRAL] = CORE_QUARANTINED, [CORE_LINK] = CORE_QUARANTINED};
    for (int class = CORE_FACT; class <= CORE_LINK; class ++) {
        struct core_decision d =
            core_merge_decide((enum core_class) class, NULL, 1, &base, &live, &incoming, true);
        assert_int_equal(d.outcome, expected[class]);
        assert_false(d.take_incoming);
        assert_int_equal(d.conflict, d.outcome == CORE_CONTESTED);
    }
}

/* ---- what is safer ---- */

static const char *const safest_first[] = {"stopped", "on-hold", "active", NULL};

static struct core_decision clash(enum core_class class, const char *live, const char *incoming)
{
    struct core_text base = core_text_of("draft");
    struct core_text l = core_text_of(live);
    struct core_text in = core_text_of(incoming);
    return core_merge_decide(class, safest_first, 1, &base, &l, &in, true);
}

static void of_two_states_the_safer_stands_whichever_came_first(void **state)
{
    struct core_decision d = clash(CORE_STATE, "active", "stopped");
    assert_true(d.take_incoming && d.conflict && d.settled);
    assert_int_equal(d.outcome, CORE_FLAGGED);
    d = clash(CORE_STATE, "stopped", "active");
    assert_true(!d.take_incoming && d.conflict && d.settled);
    assert_int_equal(d.outcome, CORE_FLAGGED);
    assert_int_equal(d.rule, CORE_RULE_SAFER_WON);
}

static void a_step_back_counts_only_if_it_had_seen_what_it_undoes(void **state)
{
    struct core_text hold = core_text_of("on-hold");
    struct core_text active = core_text_of("active");
    struct core_decision d =
        core_merge_decide(CORE_STATE, safest_first, 1, &hold, &hold, &active, false);
    assert_true(d.take_incoming);
    assert_int_equal(d.outcome, CORE_APPLIED);
    d = core_merge_decide(CORE_STATE, safest_first, 1, &active, &hold, &active, true);
    assert_false(d.take_incoming);
}

static void states_that_nobody_ranked_are_for_a_person(void **state)
{
    struct core_decision d = clash(CORE_STATE, "green", "blue");
    assert_int_equal(d.outcome, CORE_CONTESTED);
    assert_true(d.conflict && !d.settled && !d.take_incoming);
    d = clash(CORE_STATE, "green", "active"); /* a ranked one is safer than an unknown one */
    assert_true(d.take_incoming && d.settled);
}

static void under_review_the_safer_value_is_live_and_a_person_still_chooses(void **state)
{
    for (int i = 0; i < 2; i++) {
        enum core_class class = i == 0 ? CORE_REVIEW : CORE_UNION;
        struct core_decision d = clash(class, "active", "stopped");
        assert_true(d.take_incoming && d.conflict && !d.settled);
        assert_int_equal(d.outcome, CORE_CONTESTED);
        assert_int_equal(d.rule, CORE_RULE_SAFER_LIVE);
        d = clash(class, "stopped", "active");
        assert_true(!d.take_incoming && d.conflict && !d.settled);
    }
}

static void a_field_knows_no_safer_value(void **state)
{
    assert_false(clash(CORE_FIELD, "active", "stopped").take_incoming);
}

static void an_open_question_outweighs_a_settled_one_in_the_outcome(void **state)
{
    struct core_image base = image("1", "active", "Ada", "1970");
    struct core_image live = image("2", "active", "Ada", "1970");
    struct core_resolved in = {
        .count = 2, .ords = {PHONE, CITY}, .values = {core_text_of("3"), core_text_of("stopped")}};
    struct core_unseen unseen = others_changed(PHONE);
    core_unseen_add(&unseen, CITY);
    core_image_set(&live, CITY, core_text_of("on-hold"));
    columns[CITY - CORE_ORD_FIRST].class = CORE_STATE;
    columns[CITY - CORE_ORD_FIRST].dominance = safest_first;
    run(CORE_OP_UPDATE, &in, &live, &base, &unseen);
    columns[CITY - CORE_ORD_FIRST].class = CORE_FIELD;
    columns[CITY - CORE_ORD_FIRST].dominance = NULL;
    assert_int_equal(m.outcome, CORE_CONTESTED);
    assert_int_equal(m.contest_count, 2);
    assert_true(!m.contests[0].settled && m.contests[1].settled && m.contests[1].incoming_live);
    expect_column(PHONE, "2");
    expect_column(CITY, "stopped");
}

static void a_link_is_a_fact(void **state)
{
    struct core_image live = image("1", "Ulm", "Ada", "1970");
    struct core_resolved in = sets(PHONE, "2");
    table.class = CORE_LINK;
    run(CORE_OP_UPDATE, &in, &live, &live, NULL);
    assert_int_equal(m.rule, CORE_RULE_FACT_NOT_NEW);
    run(CORE_OP_INSERT, &in, &live, NULL, NULL);
    assert_int_equal(m.rule, CORE_RULE_FACT_REWRITTEN);
    table.class = CORE_FIELD;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_else_changed_it_so_it_is_applied),
        cmocka_unit_test(others_changed_other_fields_so_both_stand),
        cmocka_unit_test(the_same_value_from_both_sides_is_agreement),
        cmocka_unit_test(two_values_for_one_field_are_contested_and_the_live_one_stays),
        cmocka_unit_test(a_contested_field_does_not_hold_back_its_neighbour),
        cmocka_unit_test(name_from_one_and_birth_date_from_the_other_never_make_a_third_person),
        cmocka_unit_test(a_field_cleared_here_and_changed_there_is_contested),
        cmocka_unit_test(a_value_taken_back_to_what_it_was_is_contested_too),
        cmocka_unit_test(a_compacted_history_makes_every_field_count_as_changed),
        cmocka_unit_test(what_only_the_centre_writes_is_quarantined),
        cmocka_unit_test(a_fact_is_inserted_once_and_never_changed),
        cmocka_unit_test(a_delete_against_a_change_is_contested),
        cmocka_unit_test(no_value_is_ever_overwritten_unseen_nor_lost),
        cmocka_unit_test(all_eight_classes_decide),
        cmocka_unit_test(of_two_states_the_safer_stands_whichever_came_first),
        cmocka_unit_test(a_step_back_counts_only_if_it_had_seen_what_it_undoes),
        cmocka_unit_test(states_that_nobody_ranked_are_for_a_person),
        cmocka_unit_test(under_review_the_safer_value_is_live_and_a_person_still_chooses),
        cmocka_unit_test(a_field_knows_no_safer_value),
        cmocka_unit_test(an_open_question_outweighs_a_settled_one_in_the_outcome),
        cmocka_unit_test(a_link_is_a_fact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
