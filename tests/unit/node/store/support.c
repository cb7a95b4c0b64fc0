#include "tests/unit/node/store/support.h"

#include <sys/stat.h>
#include <unistd.h>

#include "sync/seal/seal.h"

const uint8_t test_key[32] = {1, 2, 3, 4, 5, 6, 7, 8};
const char test_tenant[] = "11111111-1111-4111-8111-111111111111";
const char test_node[] = "33333333-3333-4333-8333-333333333333";
const char test_timeline[] = "44444444-4444-4444-8444-444444444444";

#define COLUMN(ord, name, type, null, class, api)                                                  \
    "{\"ord\":" #ord ",\"name\":\"" name "\",\"type\":\"" type "\",\"null\":" null                 \
    ",\"class\":" class ",\"group\":null,\"api\":\"" api "\",\"allowed\":null,\"ref\":null}"
#define TABLE(tbl, name, class, deletable, push_only, order, columns, indexes)                     \
    "{\"tbl\":" #tbl ",\"name\":\"" name                                                           \
    "\",\"class\":\"" class "\",\"deletable\":" deletable ",\"push_only\":" push_only              \
                            ",\"order\":" #order ",\"columns\":[" columns                          \
                            "],\"indexes\":[" indexes "]}"

/* clang-format off */
const char test_catalog[] =
    "{\"format\":\"everward-catalog/1\",\"version\":7,\"tables\":["
    TABLE(1, "patient", "field", "false", "false", 10,
          COLUMN(4, "family_name", "text", "true", "null", "rw") ","
          COLUMN(5, "given_names", "text", "true", "null", "rw") ","
          COLUMN(6, "birth_date", "moment", "true", "null", "rw") ","
          COLUMN(7, "active", "bool", "true", "null", "rw") ","
          COLUMN(8, "ssn", "text", "true", "\"central\"", "rw"),
          "") ","
    TABLE(2, "observation", "fact", "false", "false", 40,
          COLUMN(4, "patient_id", "uuid", "false", "null", "rw") ","
          COLUMN(5, "code", "text", "false", "null", "rw") ","
          COLUMN(6, "value_decimal", "decimal", "true", "null", "rw") ","
          COLUMN(7, "effective_at", "moment", "true", "null", "rw") ","
          COLUMN(8, "components", "json", "true", "null", "rw") ","
          COLUMN(9, "number", "int", "true", "null", "rw"),
          "[\"patient_id\",\"effective_at\"]") ","
    TABLE(3, "task", "field", "true", "false", 31,
          COLUMN(4, "patient_id", "uuid", "true", "null", "rw") ","
          COLUMN(5, "status", "text", "true", "\"state\"", "rw") ","
          COLUMN(6, "note", "text", "true", "null", "rw"),
          "[\"patient_id\"]") ","
    TABLE(4, "staff", "central", "false", "false", 2,
          COLUMN(4, "username", "text", "true", "null", "rw"),
          "") ","
    TABLE(5, "conflict", "central", "false", "false", 50,
          COLUMN(4, "table_name", "text", "false", "null", "ro") ","
          COLUMN(5, "row_id", "uuid", "false", "null", "ro") ","
          COLUMN(6, "state", "text", "false", "null", "ro"),
          "[\"row_id\"],[\"state\"]") ","
    TABLE(6, "audit_event", "fact", "false", "true", 90,
          COLUMN(4, "action", "text", "true", "null", "rw"),
          "") "]}";
/* clang-format on */

struct waited {
    struct node_job job;
    body_cb run;
    void *arg;
    bool done;
};

static int run_waited(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct waited *w = (struct waited *)job;
    return w->run(db, w->arg, err);
}

static void done_waited(struct node_job *job)
{
    ((struct waited *)job)->done = true;
}

static int wait_for(struct fixture *f, bool write, body_cb run, void *arg)
{
    struct waited w = {.job = {.run = run_waited, .done = done_waited}, .run = run, .arg = arg};
    if (write)
        node_store_write(f->store, &w.job);
    else
        node_store_read(f->store, &w.job);
    while (!w.done)
        uv_run(&f->loop, UV_RUN_ONCE);
    f->err = w.job.err;
    return w.job.rc;
}

int on_writer(struct fixture *f, body_cb run, void *arg)
{
    return wait_for(f, true, run, arg);
}

int on_reader(struct fixture *f, body_cb run, void *arg)
{
    return wait_for(f, false, run, arg);
}

static void count_moved(void *user, const struct node_moved *moved, int count, int64_t last)
{
    struct fixture *f = user;
    f->moved += count;
    f->last_moved = moved[count - 1];
}

static void count_failed(void *user, int rc, const char *text)
{
    struct fixture *f = user;
    f->failed++;
    f->failed_rc = rc;
}

void fixture_open(struct fixture *f)
{
    struct base_err err = {0};
    int rc = node_store_open(&f->store, &f->loop, f->dir, test_key, &err);
    if (rc != 0)
        print_error("%s\n", err.text);
    assert_int_equal(rc, 0);
    node_store_on_moved(f->store, count_moved, f);
    node_store_on_failed(f->store, count_failed, f);
}

struct base_uuid uuid_of(const char *text)
{
    struct base_uuid u;
    assert_true(base_uuid_parse(&u, text, strlen(text)));
    return u;
}

const char *fixture_parent = "/tmp";

void fixture_make(struct fixture *f)
{
    struct base_err err = {0};
    *f = (struct fixture){.moved = 0};
    snprintf(f->dir, sizeof f->dir, "%s/ew_store_XXXXXX", fixture_parent);
    assert_int_equal(seal_init(NULL), 0);
    assert_non_null(mkdtemp(f->dir));
    f->id = (struct node_identity){.tenant_id = uuid_of(test_tenant),
                                   .site_id = uuid_of("22222222-2222-4222-8222-222222222222"),
                                   .node_id = uuid_of(test_node),
                                   .tenant_name = "General",
                                   .site_name = "North",
                                   .node_name = "Alder",
                                   .incarnation = 1};
    int rc = node_store_create(f->dir, test_key, &f->id, &err);
    if (rc != 0)
        print_error("%s\n", err.text);
    assert_int_equal(rc, 0);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    fixture_open(f);
}

static void note_closed(void *user)
{
    *(bool *)user = true;
}

void fixture_close(struct fixture *f)
{
    bool closed = false;
    node_store_close(f->store, note_closed, &closed);
    while (!closed)
        uv_run(&f->loop, UV_RUN_ONCE);
    f->store = NULL;
}

void fixture_remove(struct fixture *f)
{
    static const char *const names[] = {"node.db", "node.db-wal", "node.db-shm"};
    if (f->store != NULL)
        fixture_close(f);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", f->dir, names[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(f->dir), 0);
}

void fixture_ready(struct fixture *f)
{
    static const char *const tables[] = {"staff", "patient", "task", "observation", "conflict"};
    fixture_make(f);
    assert_int_equal(apply_catalog(f, test_catalog), 0);
    assert_int_equal(begin_fill(f, 0), 0);
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        char page[512];
        struct node_page_result r;
        snprintf(page, sizeof page,
                 "{\"format\":\"everward-page/1\",\"tenant\":\"%s\",\"table\":\"%s\","
                 "\"catalog\":7,\"head\":0}\n{\"rows\":0,\"next\":null}\n",
                 test_tenant, tables[i]);
        assert_int_equal(apply_page(f, page, &r), 0);
    }
    assert_int_equal(finish_fill(f), 0);
}

static int run_catalog(struct node_db *db, void *arg, struct base_err *err)
{
    return node_catalog_apply(db, arg, strlen(arg), err);
}

int apply_catalog(struct fixture *f, const char *json)
{
    return on_writer(f, run_catalog, (void *)(uintptr_t)json);
}

struct body {
    const char *text;
    void *result;
};

static int run_feed(struct node_db *db, void *arg, struct base_err *err)
{
    struct body *b = arg;
    return node_feed_apply(db, b->text, strlen(b->text), b->result, err);
}

int apply_feed(struct fixture *f, const char *body, struct node_feed_result *r)
{
    struct body b = {body, r};
    return on_writer(f, run_feed, &b);
}

static int run_page(struct node_db *db, void *arg, struct base_err *err)
{
    struct body *b = arg;
    return node_page_apply(db, b->text, strlen(b->text), b->result, err);
}

int apply_page(struct fixture *f, const char *body, struct node_page_result *r)
{
    struct body b = {body, r};
    return on_writer(f, run_page, &b);
}

static int run_begin(struct node_db *db, void *arg, struct base_err *err)
{
    struct base_uuid timeline = uuid_of(test_timeline);
    return node_fill_begin(db, *(int64_t *)arg, &timeline, err);
}

int begin_fill(struct fixture *f, int64_t head)
{
    return on_writer(f, run_begin, &head);
}

static int run_finish(struct node_db *db, void *arg, struct base_err *err)
{
    return node_fill_finish(db, err);
}

int finish_fill(struct fixture *f)
{
    return on_writer(f, run_finish, NULL);
}

static int run_state(struct node_db *db, void *arg, struct base_err *err)
{
    return node_sync_state_get(db, arg, err);
}

struct node_sync_state state_of(struct fixture *f)
{
    struct node_sync_state s;
    assert_int_equal(on_reader(f, run_state, &s), 0);
    return s;
}

struct receipt_args {
    int64_t seq, outcome_seq;
    int outcome;
};

static int run_receipt(struct node_db *db, void *arg, struct base_err *err)
{
    struct receipt_args *a = arg;
    struct core_position p = {.seq = a->seq};
    struct node_outcome o = {a->outcome_seq, (enum core_outcome)a->outcome, NULL, NULL, NULL};
    if (a->outcome == CORE_QUARANTINED) {
        o.sqlstate = "23514";
        o.constraint = "a_check";
        o.reason = "refused by a rule";
    }
    return node_receipt_apply(db, &p, &o, a->outcome >= 0 ? 1 : 0, err);
}

int receipt(struct fixture *f, int64_t seq, int64_t outcome_seq, int outcome)
{
    struct receipt_args a = {seq, outcome_seq, outcome};
    return on_writer(f, run_receipt, &a);
}

int feed_cut(struct fixture *f, int64_t cut, int64_t seq, const char *rows)
{
    struct base_buf b;
    struct node_feed_result r;
    int n = 0;
    for (const char *p = rows; *p != '\0'; p++)
        n += *p == '\n';
    base_buf_init(&b, 64 << 20);
    base_buf_printf(&b,
                    "{\"format\":\"everward-feed/1\",\"tenant\":\"%s\",\"timeline\":\"%s\","
                    "\"catalog\":7,\"after\":%lld,\"head\":%lld}\n{\"cut\":%lld}\n",
                    test_tenant, test_timeline, (long long)cut - 1, (long long)cut, (long long)cut);
    if (seq > 0)
        base_buf_printf(&b,
                        "{\"txn\":%lld,\"at\":\"2026-11-23T06:00:00.123Z\",\"node\":\"%s\","
                        "\"inc\":1,\"seq\":%lld}\n",
                        (long long)cut + 900, test_node, (long long)seq);
    else
        base_buf_printf(&b, "{\"txn\":%lld,\"at\":\"2026-11-23T06:00:00.123Z\"}\n",
                        (long long)cut + 900);
    base_buf_str(&b, rows);
    base_buf_printf(&b, "{\"end\":%lld,\"changes\":%d}\n{\"done\":%lld,\"more\":false}\n",
                    (long long)cut, n, (long long)cut);
    assert_int_equal(base_buf_check(&b), 0);
    int rc = apply_feed(f, b.data, &r);
    base_buf_release(&b);
    if (rc == 0)
        assert_int_equal(r.catalog, 7);
    if (rc == 0)
        assert_int_equal(r.cursor, cut);
    return rc;
}

char *feed_row(const char *table, char op, const char *id, int64_t rev, const char *rest)
{
    static char rows[8][4096];
    static int turn;
    char *row = rows[turn++ % 8];
    snprintf(row, sizeof rows[0], "[\"%s\",\"%c\",[\"%s\",\"%s\",\"%lld\"%s%s]]\n", table, op, id,
             test_tenant, (long long)rev, rest[0] != '\0' ? "," : "", rest);
    return row;
}

const char *uuid_n(int n)
{
    static char texts[8][BASE_UUID_CHARS + 1];
    static int turn;
    char *text = texts[turn++ % 8];
    snprintf(text, sizeof texts[0], "0190%04x-%04x-7000-8000-%012d", (unsigned)n >> 16,
             (unsigned)n & 0xffff, n);
    return text;
}

struct edit_args {
    enum core_op op;
    const char *table, *id;
    const char *const *pairs;
    bool check;
    struct node_version seen, out;
};

static int run_edit(struct node_db *db, void *arg, struct base_err *err)
{
    struct edit_args *a = arg;
    const struct core_table *t =
        core_catalog_table(node_db_catalog(db), a->table, strlen(a->table));
    const struct core_column *columns[8];
    struct core_text values[8];
    struct node_author author = {.actor = uuid_of(uuid_n(9999)),
                                 .device = "tablet",
                                 .request_id = "r1",
                                 .clock = CORE_CLOCK_OK};
    struct node_edit e = {.op = a->op,
                          .table = t,
                          .id = uuid_of(a->id),
                          .columns = columns,
                          .values = values,
                          .check_version = a->check,
                          .version = a->seen};
    int failed = -1;
    for (int i = 0; a->pairs != NULL && a->pairs[2 * i] != NULL; i++) {
        columns[i] = core_table_column(t, a->pairs[2 * i], strlen(a->pairs[2 * i]));
        assert_non_null(columns[i]);
        values[i] =
            a->pairs[2 * i + 1][0] == '\1' ? text_null() : core_text_of(a->pairs[2 * i + 1]);
        e.count = i + 1;
    }
    return node_write_edits(db, &author, &e, 1, &a->out, &failed, err);
}

static int edit_with(struct fixture *f, struct edit_args *a, struct node_version *out)
{
    int rc = on_writer(f, run_edit, a);
    if (out != NULL)
        *out = a->out;
    return rc;
}

int edit(struct fixture *f, enum core_op op, const char *table, const char *id,
         const char *const pairs[], struct node_version *out)
{
    struct edit_args a = {.op = op, .table = table, .id = id, .pairs = pairs};
    return edit_with(f, &a, out);
}

int edit_at(struct fixture *f, enum core_op op, const char *table, const char *id,
            const char *const pairs[], struct node_version seen, struct node_version *out)
{
    struct edit_args a = {
        .op = op, .table = table, .id = id, .pairs = pairs, .check = true, .seen = seen};
    return edit_with(f, &a, out);
}

struct shown_args {
    const char *table, *id, *column;
    char text[1024];
    enum node_sync sync;
    struct node_version version;
};

static int run_shown(struct node_db *db, void *arg, struct base_err *err)
{
    struct shown_args *a = arg;
    struct base_arena arena;
    struct node_row row;
    const struct core_table *t =
        core_catalog_table(node_db_catalog(db), a->table, strlen(a->table));
    struct base_uuid id = uuid_of(a->id);
    base_arena_init(&arena, 1 << 20);
    int rc = node_row_get(db, t, &id, &arena, &row, err);
    if (rc == 0) {
        struct core_text v = text_null();
        if (a->column != NULL)
            v = row.values[core_table_column(t, a->column, strlen(a->column))->ord -
                           CORE_ORD_FIRST];
        snprintf(a->text, sizeof a->text, "%.*s", (int)v.len, v.s == NULL ? "" : v.s);
        a->sync = row.sync;
        a->version = row.version;
    }
    base_arena_release(&arena);
    return rc;
}

const char *shown(struct fixture *f, const char *table, const char *id, const char *column)
{
    static struct shown_args a;
    a = (struct shown_args){.table = table, .id = id, .column = column};
    int rc = on_reader(f, run_shown, &a);
    if (rc == BASE_ENOTFOUND)
        return "(none)";
    assert_int_equal(rc, 0);
    return a.text;
}

enum node_sync sync_of(struct fixture *f, const char *table, const char *id)
{
    struct shown_args a = {.table = table, .id = id};
    assert_int_equal(on_reader(f, run_shown, &a), 0);
    return a.sync;
}

struct node_version version_of(struct fixture *f, const char *table, const char *id)
{
    struct shown_args a = {.table = table, .id = id};
    assert_int_equal(on_reader(f, run_shown, &a), 0);
    return a.version;
}

struct sql_args {
    const char *sql;
    int64_t out;
};

static int run_sql_i64(struct node_db *db, void *arg, struct base_err *err)
{
    struct sql_args *a = arg;
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st, a->sql, err);
    if (rc != 0)
        return rc;
    rc = node_sql_step(st, err);
    a->out = rc == 1 ? node_sql_col_i64(st, 0) : -1;
    node_sql_done(st);
    return rc < 0 ? rc : 0;
}

int64_t sql_i64(struct fixture *f, const char *sql)
{
    struct sql_args a = {.sql = sql};
    int rc = on_reader(f, run_sql_i64, &a);
    if (rc != 0)
        print_error("%s\n", f->err.text);
    assert_int_equal(rc, 0);
    return a.out;
}
