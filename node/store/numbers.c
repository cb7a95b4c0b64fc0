#include "node/store/numbers.h"

#include <stdlib.h>

#include "node/store/internal.h"
#include "sync/base/clock.h"
#include "sync/seal/seal.h"

enum { DAY_MS = 24 * 3600 * 1000, NUMBER_COLUMNS = 10, NUMBER_TEXT_BYTES = 256 };

/* One row of patient_identifier to be written. */
struct numbered {
    const struct core_column *columns[NUMBER_COLUMNS];
    struct core_text values[NUMBER_COLUMNS];
    char system[NUMBER_TEXT_BYTES], value[CORE_NUMBER_BYTES_MAX + 1];
    char patient[BASE_UUID_CHARS + 1], staff[BASE_UUID_CHARS + 1], site[BASE_UUID_CHARS + 1];
    char at[BASE_TIME_CHARS + 1];
};

static int one_i64(struct node_db *db, const char *sql, int64_t a, int64_t *out,
                   struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st, sql, err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, a);
    rc = node_sql_step(st, err);
    if (rc == 1)
        *out = node_sql_col_i64(st, 0);
    node_sql_done(st);
    return rc < 0 ? rc : 0;
}

static int withheld(struct node_db *db, bool *yes, struct base_err *err)
{
    char asked[32];
    char restored[32];
    int rc = meta_text(db, NODE_META_REJOIN, asked, sizeof asked, err);
    if (rc == 0)
        rc = meta_text(db, NODE_META_RESTORED, restored, sizeof restored, err);
    if (rc == 0)
        *yes = asked[0] != '\0' || restored[0] != '\0';
    return rc;
}

/* By how many days in use, so that a new node does not wait four weeks for its supply. A week at least. */
static int four_weeks(struct node_db *db, int64_t *need, struct base_err *err)
{
    int64_t today = base_clock_wall_ms() / DAY_MS;
    int64_t first = today;
    int64_t taken = 0;
    int rc = one_i64(db, "SELECT coalesce(min(day), ?) FROM node_number_day", today, &first, err);
    if (rc == 0)
        rc = one_i64(db, "SELECT coalesce(sum(taken), 0) FROM node_number_day WHERE day > ?",
                     today - CORE_NUMBERS_WEEKS_DAYS, &taken, err);
    int64_t days = today - first + 1;
    if (days < 7)
        days = 7;
    if (days > CORE_NUMBERS_WEEKS_DAYS)
        days = CORE_NUMBERS_WEEKS_DAYS;
    if (rc == 0)
        *need = core_numbers_need(taken < 0 ? 0 : taken, days);
    return rc;
}

int node_numbers_get(struct node_db *db, struct node_numbers *out, struct base_err *err)
{
    struct node_numbers n = {0};
    int rc = node_incarnation_get(db, &n.incarnation, err);
    if (rc == 0)
        rc = one_i64(db,
                     "SELECT coalesce(max(block), 0) FROM node_number_block WHERE"
                     " incarnation = ?",
                     n.incarnation, &n.blocks, err);
    if (rc == 0)
        rc = one_i64(db,
                     "SELECT coalesce(sum(last - next + 1), 0) FROM node_number_block WHERE"
                     " incarnation = ?",
                     n.incarnation, &n.left, err);
    if (rc == 0)
        rc = one_i64(db, "SELECT count(*) FROM node_number_owed WHERE ? = 0", 0, &n.owed, err);
    if (rc == 0)
        rc = four_weeks(db, &n.need, err);
    if (rc == 0)
        rc = withheld(db, &n.withheld, err);
    if (rc == 0)
        *out = n;
    return rc;
}

/* ---- taking -------------------------------------------------------------------------------- */

static int note_taken(struct node_db *db, int64_t inc, int64_t block, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st,
                      "UPDATE node_number_block SET next = next + 1 WHERE incarnation = ? AND"
                      " block = ?",
                      err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, inc);
    node_sql_i64(st, 2, block);
    rc = stmt_run(st, err);
    if (rc == 0)
        rc = node_sql(db, &st,
                      "INSERT INTO node_number_day (day, taken) VALUES (?, 1)"
                      " ON CONFLICT (day) DO UPDATE SET taken = taken + 1",
                      err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, base_clock_wall_ms() / DAY_MS);
    return stmt_run(st, err);
}

/* 1: taken, 0: there is none. */
static int take(struct node_db *db, int64_t inc, struct numbered *n, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st,
                      "SELECT block, system, prefix, digits, next FROM node_number_block WHERE"
                      " incarnation = ? AND next <= last ORDER BY block LIMIT 1",
                      err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, inc);
    rc = node_sql_step(st, err);
    int64_t block = 0;
    if (rc == 1) {
        block = node_sql_col_i64(st, 0);
        (void)snprintf(n->system, sizeof n->system, "%s", node_sql_col_text(st, 1, NULL));
        int made = core_number_format(n->value, node_sql_col_text(st, 2, NULL),
                                      (int)node_sql_col_i64(st, 3), node_sql_col_i64(st, 4), err);
        rc = made != 0 ? made : 1;
    }
    node_sql_done(st);
    if (rc != 1)
        return rc;
    rc = note_taken(db, inc, block, err);
    return rc == 0 ? 1 : rc;
}

static int owe(struct node_db *db, const struct base_uuid *patient, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st,
                      "INSERT INTO node_number_owed (patient_id) VALUES (?) ON CONFLICT DO NOTHING",
                      err);
    if (rc != 0)
        return rc;
    node_sql_uuid(st, 1, patient);
    return stmt_run(st, err);
}

static void add_value(struct node_edit *e, struct numbered *n, const char *name, const char *s)
{
    const struct core_column *c = core_table_column(e->table, name, strlen(name));
    if (c == NULL || s[0] == '\0')
        return;
    BASE_ASSERT(e->count < NUMBER_COLUMNS);
    n->columns[e->count] = c;
    n->values[e->count++] = core_text_of(s);
}

/* The identifier's row: as if the author had typed it. */
static void make_edit(struct node_db *db, const struct node_author *author,
                      const struct core_table *t, const struct base_uuid *patient,
                      struct numbered *n, struct node_edit *e)
{
    const struct node_identity *who = node_db_identity(db);
    int64_t now = base_clock_wall_ms();
    *e = (struct node_edit){
        .op = CORE_OP_INSERT, .table = t, .columns = n->columns, .values = n->values};
    seal_uuid_v7(&e->id, now);
    base_time_format(now, n->at);
    base_uuid_format(patient, n->patient);
    if (!base_uuid_is_zero(&author->actor))
        base_uuid_format(&author->actor, n->staff);
    if (!base_uuid_is_zero(&who->site_id))
        base_uuid_format(&who->site_id, n->site);
    add_value(e, n, "site_id", n->site);
    add_value(e, n, "patient_id", n->patient);
    add_value(e, n, "system", n->system);
    add_value(e, n, "value", n->value);
    add_value(e, n, "type_code", "MR");
    add_value(e, n, "effective_at", n->at);
    add_value(e, n, "recorded_at", n->at);
    add_value(e, n, "recorded_by", n->staff);
    add_value(e, n, "clock_state", core_clock_name(author->clock));
    add_value(e, n, "source", "live");
}

/* ---- patients that come without a number ---------------------------------------------------- */

static bool is_new(const struct node_edit *e, const char *table)
{
    return e->op == CORE_OP_INSERT && strcmp(e->table->name, table) == 0;
}

/* Does this transaction bring an identifier for that patient? Whoever types one in needs none of ours. */
static bool brings_one(const struct node_edit *edits, int count, const struct base_uuid *patient)
{
    for (int i = 0; i < count; i++) {
        struct base_uuid id;
        if (!is_new(&edits[i], "patient_identifier"))
            continue;
        for (int k = 0; k < edits[i].count; k++)
            if (strcmp(edits[i].columns[k]->name, "patient_id") == 0 &&
                edits[i].values[k].s != NULL &&
                base_uuid_parse(&id, edits[i].values[k].s, edits[i].values[k].len) &&
                base_uuid_equal(&id, patient))
                return true;
    }
    return false;
}

static int count_needing(const struct node_edit *edits, int count)
{
    int n = 0;
    for (int i = 0; i < count; i++)
        n += is_new(&edits[i], "patient") && !brings_one(edits, count, &edits[i].id);
    return n;
}

struct numbering {
    struct node_edit *edits;
    struct numbered *numbers;
    struct node_version *versions;
    int count;
};

static int numbering_new(struct numbering *g, int edits, int numbers, struct base_err *err)
{
    g->edits = calloc((size_t)edits + (size_t)numbers, sizeof *g->edits);
    g->versions = calloc((size_t)edits + (size_t)numbers, sizeof *g->versions);
    g->numbers = calloc((size_t)numbers, sizeof *g->numbers);
    if (g->edits == NULL || g->versions == NULL || g->numbers == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for record numbers");
    return 0;
}

static void numbering_free(struct numbering *g)
{
    free(g->edits);
    free(g->versions);
    free(g->numbers);
}

static int exec(struct node_db *db, const char *sql, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st, sql, err);
    return rc == 0 ? stmt_run(st, err) : rc;
}

/* Each new patient's number, or that it is owed one. Behind the edits: a number names a patient who is there. */
static int number_them(struct node_db *db, const struct node_author *author,
                       const struct node_edit *edits, int count, int64_t inc, bool none,
                       struct numbering *g, struct base_err *err)
{
    const struct node_table *t = table_named(db, "patient_identifier", 18);
    int rc = 0;
    memcpy(g->edits, edits, (size_t)count * sizeof *edits);
    g->count = count;
    for (int i = 0; i < count && rc >= 0; i++) {
        if (!is_new(&edits[i], "patient") || brings_one(edits, count, &edits[i].id))
            continue;
        struct numbered *n = &g->numbers[g->count - count];
        bool room = t != NULL && !none && g->count < NODE_EDITS_MAX;
        rc = room ? take(db, inc, n, err) : 0;
        if (rc == 1)
            make_edit(db, author, t->core, &edits[i].id, n, &g->edits[g->count++]);
        else if (rc == 0)
            rc = owe(db, &edits[i].id, err);
    }
    return rc < 0 ? rc : 0;
}

static int has_scheme(struct node_db *db, int64_t *yes, struct base_err *err)
{
    return one_i64(db, "SELECT EXISTS (SELECT 1 FROM node_number_block WHERE incarnation > ?)", 0,
                   yes, err);
}

int node_write_numbered(struct node_db *db, const struct node_author *author,
                        const struct node_edit *edits, int count, struct node_version *versions,
                        int *failed, struct base_err *err)
{
    struct numbering g = {0};
    int64_t scheme = 0;
    int64_t inc = 0;
    bool none = false;
    int needing = count < 1 || count > NODE_EDITS_MAX ? 0 : count_needing(edits, count);
    int rc = needing == 0 ? 0 : has_scheme(db, &scheme, err);
    if (rc == 0 && !scheme)
        return node_write_edits(db, author, edits, count, versions, failed, err);
    if (rc == 0)
        rc = numbering_new(&g, count, needing, err);
    if (rc == 0)
        rc = node_incarnation_get(db, &inc, err);
    if (rc == 0)
        rc = withheld(db, &none, err);
    if (rc == 0)
        rc = exec(db, "SAVEPOINT numbers", err);
    if (rc != 0)
        goto out;
    rc = number_them(db, author, edits, count, inc, none, &g, err);
    if (rc == 0)
        rc = node_write_edits(db, author, g.edits, g.count, g.versions, failed, err);
    if (rc == 0) {
        rc = exec(db, "RELEASE numbers", err);
        memcpy(versions, g.versions, (size_t)count * sizeof *versions);
    } else if (sqlite3_get_autocommit(db->sql) == 0 &&
               (exec(db, "ROLLBACK TO numbers", NULL) != 0 ||
                exec(db, "RELEASE numbers", NULL) != 0)) {
        rc = base_err_prefix(err, BASE_EBUG, "giving record numbers back");
    }
    if (rc != 0 && failed != NULL && *failed >= count)
        *failed = 0;
out:
    numbering_free(&g);
    return rc;
}

/* ---- blocks -------------------------------------------------------------------------------- */

int node_numbers_add(struct node_db *db, const struct node_number_block *b, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int64_t inc = 0;
    char probe[CORE_NUMBER_BYTES_MAX + 1];
    int rc = node_incarnation_get(db, &inc, err);
    if (rc != 0 || inc != b->incarnation)
        return rc;
    if (b->first < 0 || b->last < b->first || b->last - b->first >= CORE_NUMBERS_MAX ||
        strlen(b->system) >= NUMBER_TEXT_BYTES)
        return base_fail(err, BASE_EPROTO, "the leased block is out of bounds");
    rc = core_number_format(probe, b->prefix, b->digits, b->last, err);
    if (rc == 0)
        rc = node_sql(db, &st,
                      "INSERT INTO node_number_block (incarnation, block, system, prefix, digits,"
                      " first, last, next) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?6)"
                      " ON CONFLICT DO NOTHING",
                      err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, b->incarnation);
    node_sql_i64(st, 2, b->block);
    node_sql_text(st, 3, b->system);
    node_sql_text(st, 4, b->prefix);
    node_sql_i64(st, 5, b->digits);
    node_sql_i64(st, 6, b->first);
    node_sql_i64(st, 7, b->last);
    return stmt_run(st, err);
}

int node_numbers_drop(struct node_db *db, struct base_err *err)
{
    return exec(db, "UPDATE node_number_block SET next = last + 1 WHERE next <= last", err);
}

/* ---- what is owed -------------------------------------------------------------------------- */

static int next_owed(struct node_db *db, struct base_uuid *patient, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st, "SELECT patient_id FROM node_number_owed LIMIT 1", err);
    if (rc != 0)
        return rc;
    rc = node_sql_step(st, err);
    if (rc == 1 && !node_sql_col_uuid(st, 0, patient))
        rc = base_fail(err, BASE_ECORRUPT, "a patient who is owed a number has no id");
    node_sql_done(st);
    return rc;
}

/* 1: the patient is there and has no identifier yet. */
static int still_owed(struct node_db *db, const struct base_uuid *patient, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st,
                      "SELECT 1 FROM \"patient\" p WHERE p.id = ?1 AND NOT EXISTS (SELECT 1 FROM"
                      " \"patient_identifier\" i WHERE i.patient_id = ?1)",
                      err);
    if (rc != 0)
        return rc;
    node_sql_uuid(st, 1, patient);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc;
}

static int paid_off(struct node_db *db, const struct base_uuid *patient, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st, "DELETE FROM node_number_owed WHERE patient_id = ?", err);
    if (rc != 0)
        return rc;
    node_sql_uuid(st, 1, patient);
    return stmt_run(st, err);
}

/* 1: seen to, 0: there is nothing to do or no number left. */
static int pay_one(struct node_db *db, const struct node_author *author, int64_t inc,
                   struct base_err *err)
{
    const struct node_table *t = table_named(db, "patient_identifier", 18);
    struct numbered n = {0};
    struct node_version version;
    struct node_edit e;
    struct base_uuid patient;
    int rc = t == NULL ? 0 : next_owed(db, &patient, err);
    if (rc != 1)
        return rc;
    rc = still_owed(db, &patient, err);
    if (rc == 1) {
        rc = take(db, inc, &n, err);
        if (rc != 1)
            return rc;
        make_edit(db, author, t->core, &patient, &n, &e);
        rc = node_write_edits(db, author, &e, 1, &version, NULL, err);
    }
    if (rc == 0)
        rc = paid_off(db, &patient, err);
    return rc == 0 ? 1 : rc;
}

int node_numbers_pay(struct node_db *db, const struct node_author *author, int *paid,
                     struct base_err *err)
{
    int64_t inc = 0;
    int n = 0;
    bool none = false;
    int rc = node_incarnation_get(db, &inc, err);
    if (rc == 0)
        rc = withheld(db, &none, err);
    while (rc == 0 && !none && n < NODE_NUMBERS_OWED_STEP) {
        rc = pay_one(db, author, inc, err);
        if (rc != 1)
            break;
        n++;
        rc = 0;
    }
    if (rc == 0)
        *paid = n;
    return rc;
}
