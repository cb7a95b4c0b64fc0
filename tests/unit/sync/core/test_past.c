#include "tests/unit/check.h"

#include "sync/core/past.h"
#include "sync/core/replica.h"

static struct base_arena arena;
static struct core_image scratch, base;

/* A chain of changes by rev 1, 2, …; each (op, own, cols, image). */
static struct core_past log_of[4];

static const struct core_past *past(int n)
{
    for (int i = 0; i < n; i++)
        log_of[i].next = i + 1 < n ? &log_of[i + 1] : NULL;
    return log_of;
}

static void entry(int i, enum core_op op, bool own, const char *cols, const char *image)
{
    log_of[i] = (struct core_past){.rev = i + 1,
                                   .op = op,
                                   .own = own,
                                   .cols = core_text_of(cols),
                                   .image = core_text_of(image)};
}

static void what_others_wrote_above_base_was_not_seen(void **state)
{
    struct core_unseen u = {0};
    entry(0, CORE_OP_INSERT, false, NULL, "(i,t,1,a,b)");
    entry(1, CORE_OP_UPDATE, false, "{5}", "(i,t,2,a,c)");
    core_past_unseen(&u, past(2), 2, false, (struct core_seen){.base = 1});
    assert_true(u.any && core_unseen_has(&u, 5) && !core_unseen_has(&u, 4));
}

static void what_the_node_itself_wrote_was_seen(void **state)
{
    struct core_unseen u = {0};
    entry(0, CORE_OP_INSERT, false, NULL, "(i,t,1,a,b)");
    entry(1, CORE_OP_UPDATE, true, "{5}", "(i,t,2,a,c)");
    core_past_unseen(&u, past(2), 2, false, (struct core_seen){.base = 1});
    assert_false(u.any || u.all_columns);
}

static void a_log_that_does_not_reach_back_counts_as_everything(void **state)
{
    struct core_unseen u = {0};
    entry(0, CORE_OP_UPDATE, false, "{5}", "(i,t,1,a,b)");
    log_of[0].rev = 4;
    core_past_unseen(&u, past(1), 4, false, (struct core_seen){.base = 1});
    assert_true(u.any && u.all_columns);
}

static void a_revision_the_centre_has_not_reached_tells_nothing_of_what_was_seen(void **state)
{
    struct core_unseen u = {0};
    core_past_unseen(&u, NULL, 4, false, (struct core_seen){.base = 5});
    assert_true(u.any && u.all_columns);
}

static void a_row_that_another_deleted_was_deleted_unseen(void **state)
{
    struct core_unseen u = {0};
    entry(0, CORE_OP_INSERT, false, NULL, "(i,t,1,a,b)");
    entry(1, CORE_OP_DELETE, false, NULL, "(i,t,2,a,b)");
    core_past_unseen(&u, past(2), 0, false, (struct core_seen){.base = 1});
    assert_true(u.any && u.deleted);
}

static void the_screen_shows_base_with_our_own_changes_over_it(void **state)
{
    struct core_text values[CORE_FIELDS_MAX] = {0};
    bool set[CORE_FIELDS_MAX] = {false};
    struct core_said said = {values, set};
    entry(0, CORE_OP_INSERT, false, NULL, "(i,t,1,a,b,c)");
    entry(1, CORE_OP_UPDATE, true, "{4}", "(i,t,2,mine,b,c)");
    entry(2, CORE_OP_UPDATE, false, "{5}", "(i,t,3,mine,theirs,c)");
    values[5] = core_text_of("said");
    set[5] = true;
    assert_true(
        core_past_base(&base, past(3), (struct core_seen){.base = 1}, &said, &scratch, &arena));
    assert_true(core_text_equal(core_image_field(&base, 4), core_text_of("mine")));
    assert_true(core_text_equal(core_image_field(&base, 5), core_text_of("b")));
    assert_true(core_text_equal(core_image_field(&base, 6), core_text_of("said")));
    assert_false(
        core_past_base(&base, past(3), (struct core_seen){.base = 7}, NULL, &scratch, &arena));
}

static const struct core_seen former = {.base = 2, .former = true};

static void of_a_life_that_is_over_nothing_of_the_present_one_was_seen(void **state)
{
    struct core_unseen u = {0};
    entry(0, CORE_OP_INSERT, false, NULL, "(i,t,1,a,b)");
    entry(1, CORE_OP_UPDATE, false, "{5}", "(i,t,2,a,c)");
    log_of[1].anew = true;
    core_past_unseen(&u, past(2), 2, false, former);
    assert_true(core_unseen_has(&u, 5) && !core_unseen_has(&u, 4) && !u.all_columns);
}

static void a_persons_insert_that_came_again_was_seen_and_one_put_back_was_not(void **state)
{
    struct core_unseen u = {0};
    entry(0, CORE_OP_INSERT, false, NULL, "(i,t,1,a,b)");
    log_of[0].anew = true;
    log_of[0].actor = core_text_of("somebody");
    core_past_unseen(&u, past(1), 1, false, former);
    assert_false(u.any);
    assert_true(core_past_base(&base, past(1), former, NULL, &scratch, &arena));
    log_of[0].actor = (struct core_text){NULL, 0};
    core_past_unseen(&u, past(1), 1, false, former);
    assert_true(u.any && u.all_columns);
}

static void pending_changes_are_laid_over_in_their_order(void **state)
{
    struct core_column column = {.ord = 4, .name = "a", .class = CORE_FIELD};
    struct core_table table = {.name = "t", .columns = &column, .column_count = 1};
    struct core_change_value value = {core_text_of("a"), core_text_of("new")};
    struct core_change c = {.op = CORE_OP_UPDATE, .values = &value, .value_count = 1};
    struct core_laying l = {.exists = true};
    core_image_set(&l.image, 4, core_text_of("old"));
    core_lay_change(&l, &table, &c);
    assert_true(l.exists && core_text_equal(core_image_field(&l.image, 4), core_text_of("new")));
    c.op = CORE_OP_DELETE;
    core_lay_change(&l, &table, &c);
    assert_false(l.exists);
    c.op = CORE_OP_UPDATE;
    core_lay_change(&l, &table, &c);
    assert_false(l.exists);
}

static void a_cut_follows_only_the_one_before_it(void **state)
{
    assert_true(core_cut_follows(7, 8));
    assert_false(core_cut_follows(7, 9) || core_cut_follows(7, 7));
    assert_int_equal(core_settled_upto(3, 5), 3);
    assert_int_equal(core_settled_upto(5, 3), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_others_wrote_above_base_was_not_seen),
        cmocka_unit_test(what_the_node_itself_wrote_was_seen),
        cmocka_unit_test(a_log_that_does_not_reach_back_counts_as_everything),
        cmocka_unit_test(a_revision_the_centre_has_not_reached_tells_nothing_of_what_was_seen),
        cmocka_unit_test(a_row_that_another_deleted_was_deleted_unseen),
        cmocka_unit_test(the_screen_shows_base_with_our_own_changes_over_it),
        cmocka_unit_test(of_a_life_that_is_over_nothing_of_the_present_one_was_seen),
        cmocka_unit_test(a_persons_insert_that_came_again_was_seen_and_one_put_back_was_not),
        cmocka_unit_test(pending_changes_are_laid_over_in_their_order),
        cmocka_unit_test(a_cut_follows_only_the_one_before_it)};
    base_arena_init(&arena, 1 << 20);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    base_arena_release(&arena);
    return rc;
}
