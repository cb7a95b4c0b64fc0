/* Record numbers: with the patient or not at all, never twice, none of a life that is over. */
#include "node/store/numbers.h"

#include "sync/base/clock.h"
#include "tests/unit/node/store/support.h"

static struct fixture f;

#define IDENTIFIER                                                                                 \
    "{\"tbl\":9,\"name\":\"patient_identifier\",\"class\":\"fact\",\"deletable\":false,"           \
    "\"push_only\":false,\"order\":11,\"columns\":["                                               \
    "{\"ord\":4,\"name\":\"patient_id\",\"type\":\"uuid\",\"null\":false,\"api\":\"rw\"},"         \
    "{\"ord\":5,\"name\":\"system\",\"type\":\"text\",\"null\":true,\"api\":\"rw\"},"              \
    "{\"ord\":6,\"name\":\"value\",\"type\":\"text\",\"null\":true,\"api\":\"rw\"}],"              \
    "\"indexes\":[]},"

static int setup(void **state)
{
    static const char before[] = "{\"format\":\"everward-catalog/1\",\"version\":7,\"tables\":[";
    char json[16384];
    char page[512];
    struct node_page_result r;
    fixture_ready(&f);
    assert_memory_equal(test_catalog, before, sizeof before - 1);
    snprintf(json, sizeof json, "{\"format\":\"everward-catalog/1\",\"version\":8,\"tables\":[%s%s",
             IDENTIFIER, test_catalog + sizeof before - 1);
    assert_int_equal(apply_catalog(&f, json), 0);
    snprintf(page, sizeof page,
             "{\"format\":\"everward-page/1\",\"tenant\":\"%s\",\"table\":\"patient_identifier\","
             "\"catalog\":8,\"head\":0}\n{\"rows\":0,\"next\":null}\n",
             test_tenant);
    assert_int_equal(apply_page(&f, page, &r), 0);
    return 0;
}

static int teardown(void **state)
{
    fixture_remove(&f);
    return 0;
}

/* ---- short ways ------------------------------------------------------------------------------ */

static struct node_author nurse(void)
{
    return (struct node_author){.actor = uuid_of(uuid_n(9999)),
                                .device = "tablet",
                                .request_id = "r1",
                                .clock = CORE_CLOCK_OK};
}

static int run_add(struct node_db *db, void *arg, struct base_err *err)
{
    return node_numbers_add(db, arg, err);
}

static int lease(int64_t incarnation, int64_t block, int64_t first, int64_t last)
{
    struct node_number_block b = {.incarnation = incarnation,
                                  .block = block,
                                  .first = first,
                                  .last = last,
                                  .system = "urn:mrn",
                                  .prefix = "LK",
                                  .digits = 7};
    return on_writer(&f, run_add, &b);
}

struct patients {
    int first, count;
    const char *identifier; /* brought along for the first */
    const char *active;
};

/* Patients first … first + count - 1 in one transaction. */
static int run_patients(struct node_db *db, void *arg, struct base_err *err)
{
    const struct patients *a = arg;
    const struct core_catalog *c = node_db_catalog(db);
    const struct core_table *patient = core_catalog_table(c, "patient", 7);
    const struct core_table *number = core_catalog_table(c, "patient_identifier", 18);
    const struct core_column *active = core_table_column(patient, "active", 6);
    const struct core_column *of[] = {core_table_column(number, "patient_id", 10),
                                      core_table_column(number, "value", 5)};
    struct core_text value = core_text_of(a->active == NULL ? "t" : a->active);
    struct core_text brought[] = {core_text_of(uuid_n(a->first)), {0}};
    struct node_edit edits[8];
    struct node_version versions[8];
    struct node_author author = nurse();
    int failed = -1;
    int n = 0;
    for (; n < a->count; n++)
        edits[n] = (struct node_edit){.op = CORE_OP_INSERT,
                                      .table = patient,
                                      .id = uuid_of(uuid_n(a->first + n)),
                                      .columns = &active,
                                      .values = &value,
                                      .count = 1};
    if (a->identifier != NULL) {
        brought[1] = core_text_of(a->identifier);
        edits[n++] = (struct node_edit){.op = CORE_OP_INSERT,
                                        .table = number,
                                        .id = uuid_of(uuid_n(a->first + 5000)),
                                        .columns = of,
                                        .values = brought,
                                        .count = 2};
    }
    return node_write_numbered(db, &author, edits, n, versions, &failed, err);
}

static int admit(int first, int count)
{
    struct patients a = {.first = first, .count = count};
    return on_writer(&f, run_patients, &a);
}

static int run_numbers(struct node_db *db, void *arg, struct base_err *err)
{
    return node_numbers_get(db, arg, err);
}

static struct node_numbers numbers(void)
{
    struct node_numbers n;
    assert_int_equal(on_reader(&f, run_numbers, &n), 0);
    return n;
}

static int run_pay(struct node_db *db, void *arg, struct base_err *err)
{
    struct node_author author = nurse();
    return node_numbers_pay(db, &author, arg, err);
}

static int pay(void)
{
    int paid = -1;
    assert_int_equal(on_writer(&f, run_pay, &paid), 0);
    return paid;
}

static int64_t has(int patient, int64_t number)
{
    char value[CORE_NUMBER_BYTES_MAX + 1];
    char sql[256];
    assert_int_equal(core_number_format(value, "LK", 7, number, NULL), 0);
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM patient_identifier WHERE value = '%s' AND system = 'urn:mrn'"
             " AND patient_id = (SELECT id FROM patient ORDER BY id LIMIT 1 OFFSET %d)",
             value, patient - 1);
    return sql_i64(&f, sql);
}

static int64_t given(void)
{
    return sql_i64(&f, "SELECT count(*) FROM patient_identifier");
}

static int run_exec(struct node_db *db, void *arg, struct base_err *err)
{
    return connection_exec(db, arg, err);
}

static void exec(const char *sql)
{
    assert_int_equal(on_writer(&f, run_exec, (void *)(uintptr_t)sql), 0);
}

/* ---- what must hold -------------------------------------------------------------------------- */

static void a_tenant_without_a_form_of_numbers_writes_as_ever(void **state)
{
    assert_int_equal(admit(1, 2), 0);
    assert_int_equal(given(), 0);
    assert_int_equal(numbers().owed, 0);
}

static void each_new_patient_takes_the_next_number_in_the_same_transaction(void **state)
{
    assert_int_equal(lease(1, 1, 241, 245), 0);
    assert_int_equal(admit(1, 3), 0);
    assert_int_equal(has(1, 241) + has(2, 242) + has(3, 243), 3);
    assert_int_equal(numbers().left, 2);
    assert_int_equal(state_of(&f).last_seq, 6);
    assert_int_equal(sql_i64(&f, "SELECT count(DISTINCT txn) FROM _change"), 1);
}

static void a_refused_write_gives_its_number_back(void **state)
{
    struct patients wrong = {.first = 1, .count = 1, .active = "perhaps"};
    assert_int_equal(lease(1, 1, 241, 245), 0);
    assert_int_not_equal(on_writer(&f, run_patients, &wrong), 0);
    assert_int_equal(numbers().left, 5);
    assert_int_equal(given(), 0);
    assert_int_equal(admit(1, 1), 0);
    assert_int_equal(has(1, 241), 1);
}

static void who_brings_an_identifier_takes_none(void **state)
{
    struct patients a = {.first = 1, .count = 2, .identifier = "OLD-7"};
    assert_int_equal(lease(1, 1, 241, 245), 0);
    assert_int_equal(on_writer(&f, run_patients, &a), 0);
    assert_int_equal(has(2, 241), 1);
    assert_int_equal(given(), 2);
    assert_int_equal(numbers().left, 4);
}

static void who_finds_none_is_written_and_paid_by_the_next_block(void **state)
{
    assert_int_equal(lease(1, 1, 241, 241), 0);
    assert_int_equal(admit(1, 3), 0);
    assert_int_equal(numbers().owed, 2);
    assert_int_equal(pay(), 0);
    assert_int_equal(lease(1, 2, 300, 310), 0);
    assert_int_equal(pay(), 2);
    assert_int_equal(has(2, 300) + has(3, 301), 2);
    assert_int_equal(numbers().owed, 0);
    assert_int_equal(pay(), 0);
}

static void who_got_one_elsewhere_is_owed_none(void **state)
{
    static const char *const typed[] = {"patient_id", NULL, "value", "TYPED-1", NULL};
    const char *pairs[5];
    memcpy(pairs, typed, sizeof pairs);
    assert_int_equal(lease(1, 1, 241, 241), 0);
    assert_int_equal(admit(1, 2), 0);
    pairs[1] = uuid_n(2);
    assert_int_equal(edit(&f, CORE_OP_INSERT, "patient_identifier", uuid_n(77), pairs, NULL), 0);
    assert_int_equal(lease(1, 2, 300, 310), 0);
    assert_int_equal(pay(), 1); /* seen to */
    assert_int_equal(numbers().left, 11);
    assert_int_equal(given(), 2);
}

static void a_block_told_again_stays_as_it_is(void **state)
{
    assert_int_equal(lease(1, 1, 241, 245), 0);
    assert_int_equal(admit(1, 2), 0);
    assert_int_equal(lease(1, 1, 241, 245), 0);
    assert_int_equal(numbers().left, 3);
    assert_int_equal(admit(3, 1), 0);
    assert_int_equal(has(3, 243), 1);
}

static void a_block_out_of_bounds_is_refused(void **state)
{
    assert_int_equal(lease(1, 1, 245, 241), BASE_EPROTO);
    assert_int_equal(lease(1, 1, -1, 5), BASE_EPROTO);
    assert_int_equal(lease(1, 1, 1, CORE_NUMBERS_MAX + 1), BASE_EPROTO);
    assert_int_not_equal(lease(1, 1, 9999990, 10000001), 0); /* more digits than it says */
    assert_int_equal(numbers().blocks, 0);
}

static int run_rejoin(struct node_db *db, void *arg, struct base_err *err)
{
    return node_rejoin(db, 2, *(int64_t *)arg, err);
}

static void no_number_of_a_life_that_is_over_is_given(void **state)
{
    int64_t after = 0;
    assert_int_equal(lease(1, 1, 241, 245), 0);
    assert_int_equal(on_writer(&f, run_rejoin, &after), 0);
    assert_int_equal(numbers().left, 0);
    assert_int_equal(lease(1, 2, 250, 260), 0); /* a reply that comes late */
    assert_int_equal(admit(1, 1), 0);
    assert_int_equal(given(), 0);
    assert_int_equal(numbers().owed, 1);
    assert_int_equal(lease(2, 1, 300, 310), 0);
    assert_int_equal(pay(), 1);
    assert_int_equal(has(1, 300), 1);
}

static int run_restored(struct node_db *db, void *arg, struct base_err *err)
{
    return node_meta_set(db, NODE_META_RESTORED, "1", err);
}

static void a_copy_that_was_put_back_gives_none_before_its_next_life(void **state)
{
    assert_int_equal(lease(1, 1, 241, 245), 0);
    assert_int_equal(on_writer(&f, run_restored, NULL), 0);
    assert_true(numbers().withheld);
    assert_int_equal(admit(1, 1), 0);
    assert_int_equal(given(), 0);
    assert_int_equal(pay(), 0);
    assert_int_equal(numbers().left, 5);
}

static int run_drop(struct node_db *db, void *arg, struct base_err *err)
{
    return node_numbers_drop(db, err);
}

static void a_refused_node_gives_up_what_is_left(void **state)
{
    assert_int_equal(lease(1, 1, 241, 245), 0);
    assert_int_equal(admit(1, 1), 0);
    assert_int_equal(on_writer(&f, run_drop, NULL), 0);
    assert_int_equal(numbers().left, 0);
    assert_int_equal(numbers().blocks, 1);
    assert_int_equal(admit(2, 1), 0);
    assert_int_equal(numbers().owed, 1);
}

static void the_supply_follows_the_use_of_four_weeks(void **state)
{
    char sql[160];
    int64_t today = base_clock_wall_ms() / (24 * 3600 * 1000);
    assert_int_equal(numbers().need, CORE_NUMBERS_FLOOR);
    for (int day = 0; day < 40; day++) {
        snprintf(sql, sizeof sql, "INSERT INTO node_number_day VALUES (%lld, 20)",
                 (long long)(today - day));
        exec(sql);
    }
    assert_int_equal(numbers().need, 28 * 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(a_tenant_without_a_form_of_numbers_writes_as_ever),
        T(each_new_patient_takes_the_next_number_in_the_same_transaction),
        T(a_refused_write_gives_its_number_back),
        T(who_brings_an_identifier_takes_none),
        T(who_finds_none_is_written_and_paid_by_the_next_block),
        T(who_got_one_elsewhere_is_owed_none),
        T(a_block_told_again_stays_as_it_is),
        T(a_block_out_of_bounds_is_refused),
        T(no_number_of_a_life_that_is_over_is_given),
        T(a_copy_that_was_put_back_gives_none_before_its_next_life),
        T(a_refused_node_gives_up_what_is_left),
        T(the_supply_follows_the_use_of_four_weeks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
