/* Which changes of a batch stand behind one in quarantine. */
#include "tests/unit/node/store/support.h"

static struct fixture f;
static char found[1024];

static int setup(void **state)
{
    fixture_ready(&f);
    return 0;
}

static int teardown(void **state)
{
    fixture_remove(&f);
    return 0;
}

#define P(...) ((const char *const[]){__VA_ARGS__, NULL})

static void patient(int n)
{
    assert_int_equal(edit(&f, CORE_OP_INSERT, "patient", uuid_n(n), P("family_name", "Berg"), NULL),
                     0);
}

static void rename_to(int n, const char *name)
{
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", uuid_n(n), P("family_name", name), NULL),
                     0);
}

static void observe(int n, int patient_n)
{
    assert_int_equal(edit(&f, CORE_OP_INSERT, "observation", uuid_n(n),
                          P("patient_id", uuid_n(patient_n), "code", "8867-4"), NULL),
                     0);
}

static int run_behind(struct node_db *db, void *arg, struct base_err *err)
{
    int64_t after = *(int64_t *)arg;
    struct core_position before, last;
    struct base_buf lines, out;
    int count = 0;
    base_buf_init(&lines, 1 << 20);
    base_buf_init(&out, NODE_BEHIND_BYTES_MAX);
    int rc = node_outbox_read(db, after, 1000, 1 << 20, &lines, &before, &last, &count, err);
    if (rc == 0)
        rc = node_outbox_behind(db, after + 1, &lines, &out, err);
    (void)snprintf(found, sizeof found, "%s", out.data == NULL ? "" : out.data);
    base_buf_release(&lines);
    base_buf_release(&out);
    return rc;
}

/* "seq,behind,…" of the batch above after. */
static const char *behind(int64_t after)
{
    assert_int_equal(on_reader(&f, run_behind, &after), 0);
    return found;
}

static void nothing_in_quarantine_holds_nothing(void **state)
{
    patient(1);
    assert_int_equal(receipt(&f, 1, 0, -1), 0);
    rename_to(1, "Ek");
    assert_string_equal(behind(1), "");
    assert_string_equal(behind(2), "");
}

static void the_same_row_and_what_names_a_row_that_was_not_made_are_held(void **state)
{
    patient(1);
    patient(2);
    patient(3);
    assert_int_equal(receipt(&f, 3, 1, CORE_QUARANTINED), 0);
    rename_to(1, "Ek");  /* 4: the row itself */
    rename_to(2, "Ek");  /* 5: another */
    observe(10, 1);      /* 6: names it */
    observe(11, 2);      /* 7 */
    rename_to(1, "Elm"); /* 8 */
    assert_string_equal(behind(3), "4,1,6,1,8,1");
}

static void an_update_in_quarantine_does_not_hold_what_names_its_row(void **state)
{
    patient(1);
    rename_to(1, "Held");
    assert_int_equal(receipt(&f, 2, 2, CORE_QUARANTINED), 0);
    observe(10, 1);
    rename_to(1, "Ek");
    assert_string_equal(behind(2), "4,2");
}

static void a_row_that_the_centre_has_after_all_holds_nobody_who_names_it(void **state)
{
    patient(1);
    assert_int_equal(receipt(&f, 1, 1, CORE_QUARANTINED), 0); /* the id was taken */
    assert_int_equal(
        feed_cut(&f, 1, 1, feed_row("patient", 'i', uuid_n(1), 1, "\"Ek\",null,null,null,null")),
        0);
    observe(10, 1);
    rename_to(1, "Elm");
    assert_string_equal(behind(1), "3,1");
}

static void what_is_on_its_way_again_holds_nothing(void **state)
{
    patient(1);
    rename_to(1, "Ek");
    assert_int_equal(receipt(&f, 2, 1, CORE_QUARANTINED), 0);
    assert_string_equal(behind(0), ""); /* judged anew, together */
}

static int run_drop(struct node_db *db, void *arg, struct base_err *err)
{
    struct node_author author = {.device = "test", .request_id = ""};
    return node_quarantine_drop(db, &author, *(int64_t *)arg, "a test", err);
}

static int run_retry(struct node_db *db, void *arg, struct base_err *err)
{
    struct node_author author = {.device = "test", .request_id = ""};
    int count = 0;
    return node_quarantine_retry(db, &author, *(int64_t *)arg, &count, err);
}

static void what_was_retried_or_dropped_holds_nothing_any_more(void **state)
{
    int64_t first = 1;
    int64_t second = 2;
    patient(1);
    patient(2);
    assert_int_equal(receipt(&f, 2, 1, CORE_QUARANTINED), 0);
    assert_int_equal(receipt(&f, 2, 2, CORE_QUARANTINED), 0);
    assert_int_equal(on_writer(&f, run_retry, &first), 0);
    assert_int_equal(on_writer(&f, run_drop, &second), 0);
    rename_to(1, "Ek");
    observe(10, 2);
    assert_string_equal(behind(2), "");
}

static int run_held_behind(struct node_db *db, void *arg, struct base_err *err)
{
    struct node_outcome o = {*(int64_t *)arg, CORE_QUARANTINED, "", "", "held behind seq 2"};
    struct core_position p = {.seq = o.seq};
    return node_receipt_apply(db, &p, &o, 1, err);
}

static void what_was_held_behind_a_dropped_change_goes_on_without_it(void **state)
{
    int64_t dropped = 2;
    int64_t follower = 3;
    patient(1);
    assert_int_equal(receipt(&f, 1, 0, -1), 0);
    assert_int_equal(
        feed_cut(&f, 1, 1, feed_row("patient", 'i', uuid_n(1), 1, "\"Berg\",null,null,null,null")),
        0);
    rename_to(1, "Held");
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", uuid_n(1), P("given_names", "Ada"), NULL),
                     0);
    assert_int_equal(receipt(&f, 2, 2, CORE_QUARANTINED), 0);
    assert_string_equal(behind(2), "3,2");
    assert_int_equal(on_writer(&f, run_held_behind, &follower), 0);
    assert_int_equal(state_of(&f).quarantined, 2);
    assert_int_equal(on_writer(&f, run_drop, &dropped), 0);
    assert_int_equal(state_of(&f).quarantined, 0);
    assert_int_equal(state_of(&f).last_seq, 4); /* the follower, written again */
    assert_string_equal(behind(3), "");
    assert_string_equal(shown(&f, "patient", uuid_n(1), "family_name"), "Berg");
    assert_string_equal(shown(&f, "patient", uuid_n(1), "given_names"), "Ada");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(nothing_in_quarantine_holds_nothing),
        T(the_same_row_and_what_names_a_row_that_was_not_made_are_held),
        T(an_update_in_quarantine_does_not_hold_what_names_its_row),
        T(a_row_that_the_centre_has_after_all_holds_nobody_who_names_it),
        T(what_is_on_its_way_again_holds_nothing),
        T(what_was_retried_or_dropped_holds_nothing_any_more),
        T(what_was_held_behind_a_dropped_change_goes_on_without_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
