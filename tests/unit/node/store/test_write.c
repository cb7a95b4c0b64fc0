/* Local writes: what is refused, what is written with them, what a failing one leaves behind. */
#include "sync/seal/seal.h"
#include "tests/unit/node/store/support.h"

static struct fixture f;

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

static const char *const a = "01900000-0001-7000-8000-000000000001";
static const char *const b = "01900000-0002-7000-8000-000000000002";

static void nothing_was_written(void)
{
    assert_int_equal(sql_i64(&f, "SELECT count(*) FROM _change"), 0);
    assert_int_equal(sql_i64(&f, "SELECT count(*) FROM _audit"), 0);
    assert_int_equal(sql_i64(&f, "SELECT count(*) FROM _base"), 0);
    assert_int_equal(sql_i64(&f, "SELECT count(*) FROM patient"), 0);
    assert_int_equal(f.moved, 0);
}

static void what_a_class_forbids_is_denied(void **state)
{
    assert_int_equal(edit(&f, CORE_OP_INSERT, "staff", a, P("username", "x"), NULL), BASE_EDENIED);
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "observation", a, P("code", "x"), NULL),
                     BASE_EDENIED);
    assert_int_equal(edit(&f, CORE_OP_DELETE, "observation", a, NULL, NULL), BASE_EDENIED);
    assert_int_equal(edit(&f, CORE_OP_DELETE, "patient", a, NULL, NULL), BASE_EDENIED);
    assert_int_equal(edit(&f, CORE_OP_INSERT, "patient", a, P("ssn", "1"), NULL), BASE_EDENIED);
    nothing_was_written();
}

static void what_does_not_fit_is_refused(void **state)
{
    assert_int_equal(edit(&f, CORE_OP_INSERT, "patient", a, P("birth_date", "soon"), NULL),
                     BASE_EINVALID);
    assert_non_null(strstr(f.err.text, "patient.birth_date"));
    assert_null(strstr(f.err.text, "soon"));
    assert_int_equal(edit(&f, CORE_OP_INSERT, "observation", a, P("code", "1"), NULL),
                     BASE_EINVALID);
    assert_int_equal(edit(&f, CORE_OP_INSERT, "observation", a,
                          P("code", "1", "patient_id", b, "code", "2"), NULL),
                     BASE_EINVALID);
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", a, P("family_name", "x"), NULL),
                     BASE_ENOTFOUND);
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", a, NULL, NULL), BASE_EINVALID);
    nothing_was_written();
}

static void a_second_row_of_the_same_id_is_refused(void **state)
{
    assert_int_equal(edit(&f, CORE_OP_INSERT, "task", a, P("note", "x"), NULL), 0);
    assert_int_equal(edit(&f, CORE_OP_INSERT, "task", a, P("note", "y"), NULL), BASE_EEXISTS);
    assert_string_equal(shown(&f, "task", a, "note"), "x");
    assert_int_equal(edit(&f, CORE_OP_DELETE, "task", a, NULL, NULL), 0);
    assert_int_equal(edit(&f, CORE_OP_INSERT, "task", a, P("note", "y"), NULL), BASE_EEXISTS);
    assert_int_equal(feed_cut(&f, 1, 0, feed_row("task", 'i', b, 1, "null,null,\"z\"")), 0);
    assert_int_equal(edit(&f, CORE_OP_INSERT, "task", b, P("note", "y"), NULL), BASE_EEXISTS);
    assert_int_equal(sql_i64(&f, "SELECT max(seq) FROM _change"), 2);
}

static void an_edit_of_a_version_that_moved_on_is_stale(void **state)
{
    struct node_version seen;
    struct node_version now;
    assert_int_equal(edit(&f, CORE_OP_INSERT, "patient", a, P("family_name", "Ek"), &seen), 0);
    assert_int_equal(edit_at(&f, CORE_OP_UPDATE, "patient", a, P("family_name", "El"), seen, &now),
                     0);
    assert_int_equal(edit_at(&f, CORE_OP_UPDATE, "patient", a, P("family_name", "Em"), seen, NULL),
                     BASE_ESTALE);
    assert_string_equal(shown(&f, "patient", a, "family_name"), "El");
    assert_int_equal(version_of(&f, "patient", a).pending_seq, now.pending_seq);
    seen.rev = 7;
    assert_int_equal(edit_at(&f, CORE_OP_UPDATE, "patient", a, P("family_name", "Em"), seen, NULL),
                     BASE_ESTALE);
}

static void a_value_can_be_set_to_null(void **state)
{
    assert_int_equal(edit(&f, CORE_OP_INSERT, "patient", a,
                          P("family_name", "Ek", "active", "t", "birth_date", "1980-02"), NULL),
                     0);
    assert_string_equal(shown(&f, "patient", a, "active"), "t");
    assert_string_equal(shown(&f, "patient", a, "birth_date"), "1980-02");
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", a, P("family_name", "\1"), NULL), 0);
    assert_string_equal(shown(&f, "patient", a, "family_name"), "");
}

static int read_line(struct node_db *db, void *arg, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st, "SELECT line FROM _change ORDER BY seq DESC LIMIT 1", err);
    assert_int_equal(rc, 0);
    assert_int_equal(node_sql_step(st, err), 1);
    snprintf(arg, 2048, "%s", node_sql_col_text(st, 0, NULL));
    node_sql_done(st);
    return 0;
}

static void the_line_is_in_ordinal_order_with_what_its_author_had_seen(void **state)
{
    char line[2048];
    assert_int_equal(feed_cut(&f, 1, 0, feed_row("patient", 'i', a, 41, "\"Ek\"")), 0);
    assert_int_equal(
        edit(&f, CORE_OP_UPDATE, "patient", a, P("birth_date", "1980", "family_name", "\1"), NULL),
        0);
    assert_int_equal(on_reader(&f, read_line, line), 0);
    assert_non_null(strstr(line, "{\"seq\":1,\"txn\":1,\"op\":\"u\",\"t\":\"patient\",\"id\":"
                                 "\"01900000-0001-7000-8000-000000000001\",\"base\":41,\"c\":"
                                 "{\"family_name\":null,\"birth_date\":\"1980\"},\"actor\":"));
    assert_non_null(strstr(line, "\"device\":\"tablet\""));
    assert_int_equal(edit(&f, CORE_OP_INSERT, "observation", b,
                          P("patient_id", "ABCDEF00-0001-7000-8000-000000000001", "code", "1"),
                          NULL),
                     0);
    assert_int_equal(on_reader(&f, read_line, line), 0);
    assert_non_null(strstr(line, "\"patient_id\":\"abcdef00-0001-7000-8000-000000000001\""));
}

/* The chain over all lines is what a centre computes, and the audit entries stand beside. */
struct log_check {
    int64_t last;
    int64_t count;
};

static int check_log(struct node_db *db, void *arg, struct base_err *err)
{
    struct log_check *c = arg;
    struct base_buf out;
    struct core_position before;
    struct core_position last;
    uint8_t chain[32];
    int count = 0;
    base_buf_init(&out, 16 << 20);
    int rc = node_outbox_read(db, 0, 100000, 16 << 20, &out, &before, &last, &count, err);
    assert_int_equal(rc, 0);
    seal_chain_start(chain, &db->identity->node_id, 1);
    assert_memory_equal(chain, before.chain, 32);
    int64_t n = 0;
    for (char *p = out.data; p != NULL && *p != '\0';) {
        char *stop = strchr(p, '\n');
        char want[32];
        snprintf(want, sizeof want, "{\"seq\":%lld,", (long long)++n);
        assert_memory_equal(p, want, strlen(want));
        seal_chain_step(chain, p, (size_t)(stop - p));
        p = stop + 1;
    }
    assert_memory_equal(chain, last.chain, 32);
    assert_int_equal(n, count);
    c->count = count;
    c->last = last.seq;
    base_buf_release(&out);
    return 0;
}

static int64_t log_is_whole(void)
{
    struct log_check c;
    assert_int_equal(on_reader(&f, check_log, &c), 0);
    assert_int_equal(c.last, c.count);
    return c.last;
}

static void the_chain_goes_on_over_a_restart(void **state)
{
    assert_int_equal(edit(&f, CORE_OP_INSERT, "patient", a, P("family_name", "Ek"), NULL), 0);
    fixture_close(&f);
    fixture_open(&f);
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", a, P("family_name", "El"), NULL), 0);
    assert_int_equal(log_is_whole(), 2);
    assert_int_equal(sql_i64(&f, "SELECT count(*) FROM _audit"), 2);
}

/* ---- several edits in one transaction ---- */

struct many {
    int count, bad; /* index of an edit that fails, or -1 */
    bool swallow;   /* the job goes well all the same */
    int base;
    int rc, failed;
};

static int run_many(struct node_db *db, void *arg, struct base_err *err)
{
    struct many *m = arg;
    const struct core_table *t = core_catalog_table(node_db_catalog(db), "task", 4);
    const struct core_column *column = core_table_column(t, "note", 4);
    struct core_text value = core_text_of("x");
    struct node_author author = {.actor = uuid_of(a), .device = "", .request_id = ""};
    struct node_edit edits[NODE_EDITS_MAX];
    struct node_version versions[NODE_EDITS_MAX];
    for (int i = 0; i < m->count; i++)
        edits[i] = (struct node_edit){.op = i == m->bad ? CORE_OP_UPDATE : CORE_OP_INSERT,
                                      .table = t,
                                      .id = uuid_of(uuid_n(m->base + i)),
                                      .count = 1,
                                      .columns = &column,
                                      .values = &value};
    m->rc = node_write_edits(db, &author, edits, m->count, versions, &m->failed, err);
    return m->swallow ? 0 : m->rc;
}

static void a_transaction_is_all_or_nothing(void **state)
{
    struct many m = {.count = 5, .bad = 3, .base = 1};
    assert_int_equal(on_writer(&f, run_many, &m), BASE_ENOTFOUND);
    assert_int_equal(m.failed, 3);
    nothing_was_written();
    m.swallow = true; /* a caller that stores its refusal */
    assert_int_equal(on_writer(&f, run_many, &m), 0);
    assert_int_equal(m.rc, BASE_ENOTFOUND);
    nothing_was_written();
    m.bad = -1;
    assert_int_equal(on_writer(&f, run_many, &m), 0);
    assert_int_equal(sql_i64(&f, "SELECT count(*) FROM task"), 5);
    assert_int_equal(sql_i64(&f, "SELECT count(DISTINCT txn) FROM _change"), 1);
    assert_int_equal(log_is_whole(), 5);
    assert_int_equal(f.moved, 5);
}

/* ---- jobs that share a commit ---- */

enum { GROUP_JOBS = 40 };

struct grouped {
    struct node_job job;
    struct many m;
    int *left;
};

/* Writes well, then changes its mind. */
static int run_regretted(struct node_job *job, struct node_db *db, struct base_err *err)
{
    int rc = run_many(db, &((struct grouped *)job)->m, err);
    return rc == 0 ? base_fail(err, BASE_ECANCELED, "on second thoughts") : rc;
}

static int run_grouped(struct node_job *job, struct node_db *db, struct base_err *err)
{
    return run_many(db, &((struct grouped *)job)->m, err);
}

static void done_grouped(struct node_job *job)
{
    --*((struct grouped *)job)->left;
}

static void a_failing_job_does_not_touch_the_others_of_its_group(void **state)
{
    static struct grouped jobs[GROUP_JOBS];
    int left = GROUP_JOBS;
    for (int i = 0; i < GROUP_JOBS; i++) {
        jobs[i] = (struct grouped){.job = {.run = run_grouped, .done = done_grouped},
                                   .m = {.count = 3, .bad = i % 3 == 1 ? 2 : -1, .base = 1 + i * 3},
                                   .left = &left};
        node_store_write(f.store, &jobs[i].job);
    }
    while (left > 0)
        uv_run(&f.loop, UV_RUN_ONCE);
    int good = 0;
    for (int i = 0; i < GROUP_JOBS; i++) {
        assert_int_equal(jobs[i].job.rc, i % 3 == 1 ? BASE_ENOTFOUND : 0);
        good += jobs[i].job.rc == 0;
    }
    assert_int_equal(log_is_whole(), good * 3);
    assert_int_equal(sql_i64(&f, "SELECT count(*) FROM task"), good * 3);
    assert_int_equal(f.moved, good * 3);
    assert_int_equal(sql_i64(&f, "SELECT max(n) FROM _audit"), good);
}

static void a_job_that_fails_after_it_wrote_leaves_nothing(void **state)
{
    static struct grouped jobs[GROUP_JOBS];
    int left = GROUP_JOBS;
    for (int i = 0; i < GROUP_JOBS; i++) {
        jobs[i] = (struct grouped){
            .job = {.run = i % 2 == 1 ? run_regretted : run_grouped, .done = done_grouped},
            .m = {.count = 1 + i % 3, .bad = -1, .base = 1 + i * 3},
            .left = &left};
        node_store_write(f.store, &jobs[i].job);
    }
    while (left > 0)
        uv_run(&f.loop, UV_RUN_ONCE);
    int good = 0;
    for (int i = 0; i < GROUP_JOBS; i++) {
        assert_int_equal(jobs[i].job.rc, i % 2 == 1 ? BASE_ECANCELED : 0);
        good += i % 2 == 1 ? 0 : 1 + i % 3;
    }
    assert_int_equal(log_is_whole(), good);
    assert_int_equal(sql_i64(&f, "SELECT count(*) FROM task"), good);
    assert_int_equal(f.moved, good);
    assert_int_equal(sql_i64(&f, "SELECT max(n) FROM _audit"), GROUP_JOBS / 2);
}

static int run_catalog_regretted(struct node_db *db, void *arg, struct base_err *err)
{
    static char text[16384];
    snprintf(text, sizeof text, "%s", test_catalog);
    memcpy(strstr(text, "\"family_name\"") + 1, "family_nome", 11);
    memcpy(strstr(text, "\"version\":7"), "\"version\":9", 11);
    int rc = node_catalog_apply(db, text, strlen(text), err);
    assert_int_equal(rc, 0);
    assert_int_equal(node_db_catalog(db)->version, 9);
    return base_fail(err, BASE_ECANCELED, "on second thoughts");
}

static int run_version(struct node_db *db, void *arg, struct base_err *err)
{
    *(int64_t *)arg = node_db_catalog(db)->version;
    return 0;
}

static void a_catalog_whose_job_fails_is_not_in_force(void **state)
{
    int64_t version = 0;
    assert_int_equal(on_writer(&f, run_catalog_regretted, NULL), BASE_ECANCELED);
    assert_int_equal(on_writer(&f, run_version, &version), 0);
    assert_int_equal(version, 7);
    assert_int_equal(node_store_catalog(f.store)->version, 7);
    assert_int_equal(edit(&f, CORE_OP_INSERT, "patient", a, P("family_name", "Ek"), NULL), 0);
    assert_string_equal(shown(&f, "patient", a, "family_name"), "Ek");
}

static uv_sem_t all_there;

/* The first waits, so that those behind it pile up. */
static int run_waiting(struct node_job *job, struct node_db *db, struct base_err *err)
{
    uv_sem_wait(&all_there);
    return 0;
}

static void a_full_queue_is_told_at_once(void **state)
{
    enum { JOBS = NODE_STORE_QUEUE_MAX * 2 };
    struct grouped *jobs = calloc(JOBS, sizeof *jobs);
    int left = JOBS;
    int busy = 0;
    assert_int_equal(uv_sem_init(&all_there, 0), 0);
    for (int i = 0; i < JOBS; i++) {
        jobs[i] =
            (struct grouped){.job = {.run = run_waiting, .done = done_grouped}, .left = &left};
        node_store_write(f.store, &jobs[i].job);
    }
    for (int i = 0; i < JOBS; i++)
        uv_sem_post(&all_there);
    while (left > 0)
        uv_run(&f.loop, UV_RUN_ONCE);
    for (int i = 0; i < JOBS; i++)
        busy += jobs[i].job.rc == BASE_EBUSY;
    assert_true(busy >= JOBS - NODE_STORE_QUEUE_MAX - 1 && busy < JOBS);
    uv_sem_destroy(&all_there);
    free(jobs);
}

static void what_is_queued_runs_before_the_store_closes(void **state)
{
    static struct grouped jobs[GROUP_JOBS];
    int left = GROUP_JOBS;
    for (int i = 0; i < GROUP_JOBS; i++) {
        jobs[i] = (struct grouped){.job = {.run = run_grouped, .done = done_grouped},
                                   .m = {.count = 1, .bad = -1, .base = 1 + i},
                                   .left = &left};
        node_store_write(f.store, &jobs[i].job);
    }
    fixture_close(&f);
    assert_int_equal(left, 0);
    fixture_open(&f);
    assert_int_equal(log_is_whole(), GROUP_JOBS);
}

/* ---- outbox ---- */

struct outbox {
    int64_t after, last;
    int max, count;
    size_t max_bytes, len;
};

static int run_outbox(struct node_db *db, void *arg, struct base_err *err)
{
    struct outbox *o = arg;
    struct base_buf out;
    struct core_position before;
    struct core_position last;
    base_buf_init(&out, 1 << 20);
    int rc =
        node_outbox_read(db, o->after, o->max, o->max_bytes, &out, &before, &last, &o->count, err);
    if (rc == 0) {
        assert_int_equal(before.seq, o->after);
        o->last = last.seq;
        o->len = out.len;
    }
    base_buf_release(&out);
    return rc;
}

static void the_outbox_gives_whole_transactions(void **state)
{
    struct many m = {.count = 3, .bad = -1, .base = 1};
    for (int i = 0; i < 4; i++, m.base += 3)
        assert_int_equal(on_writer(&f, run_many, &m), 0);
    struct outbox o = {.max = 7, .max_bytes = 1 << 20};
    assert_int_equal(on_reader(&f, run_outbox, &o), 0);
    assert_int_equal(o.last, 6);
    assert_int_equal(o.count, 6);
    o = (struct outbox){.after = 6, .max = 1, .max_bytes = 1 << 20};
    assert_int_equal(on_reader(&f, run_outbox, &o), 0);
    assert_int_equal(o.last, 9); /* at least one, so that it goes on */
    o = (struct outbox){.after = 3, .max = 100, .max_bytes = 1500};
    assert_int_equal(on_reader(&f, run_outbox, &o), 0);
    assert_int_equal(o.last, 6 + 3 * (o.len > 1000));
    o = (struct outbox){.after = 12, .max = 7, .max_bytes = 1 << 20};
    assert_int_equal(on_reader(&f, run_outbox, &o), 0);
    assert_int_equal(o.last, 12);
    assert_int_equal(o.count, 0);
    assert_int_equal(o.len, 0);
    o.after = 13;
    assert_int_equal(on_reader(&f, run_outbox, &o), BASE_ENOTFOUND);
}

/* ---- sql.h and audit ---- */

static int run_text(struct node_db *db, void *arg, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st, arg, err);
    if (rc != 0)
        return rc;
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc < 0 ? rc : 0;
}

static int sql(const char *text)
{
    return on_writer(&f, run_text, (void *)(uintptr_t)text);
}

static void a_modules_sql_cannot_write_what_is_synced_or_ours(void **state)
{
    assert_int_equal(edit(&f, CORE_OP_INSERT, "patient", a, P("family_name", "Ek"), NULL), 0);
    assert_int_equal(sql("UPDATE patient SET family_name = 'x'"), BASE_EDENIED);
    assert_int_equal(sql("DELETE FROM _change"), BASE_EDENIED);
    assert_int_equal(sql("INSERT INTO _meta VALUES ('a', 'b')"), BASE_EDENIED);
    assert_int_equal(sql("DROP TABLE patient"), BASE_EDENIED);
    assert_int_equal(sql("PRAGMA query_only"), BASE_EDENIED);
    assert_int_equal(sql("COMMIT"), BASE_EDENIED);
    assert_int_equal(sql("DELETE FROM node_session"), 0);
    assert_int_equal(sql("SELECT * FROM patient"), 0);
}

static int run_raw(struct node_db *db, void *arg, struct base_err *err)
{
    return connection_exec(db, arg, err);
}

static void audit_entries_are_never_changed(void **state)
{
    static char update[] = "UPDATE _audit SET action = 'x'";
    static char delete[] = "DELETE FROM _audit";
    assert_int_equal(edit(&f, CORE_OP_INSERT, "patient", a, P("family_name", "Ek"), NULL), 0);
    assert_int_equal(on_writer(&f, run_raw, update), BASE_EDENIED);
    assert_int_equal(on_writer(&f, run_raw, delete), BASE_EDENIED);
    assert_int_equal(sql_i64(&f, "SELECT count(*) FROM _audit WHERE action = 'write' AND tbl = "
                                 "'patient' AND patient_id = row_id AND length(chain) = 32"),
                     1);
}

static int run_verify(struct node_db *db, void *arg, struct base_err *err)
{
    uint8_t head[32];
    return node_audit_verify(db, arg, head, err);
}

static void an_altered_audit_entry_is_found(void **state)
{
    static char trigger[] = "DROP TRIGGER _audit_update";
    static char alter[] = "UPDATE _audit SET actor = zeroblob(16) WHERE n = 2";
    static char end[] = "DROP TRIGGER _audit_delete; DELETE FROM _audit WHERE n = 1";
    int64_t entries = 0;
    for (int i = 1; i <= 3; i++)
        assert_int_equal(
            edit(&f, CORE_OP_INSERT, "patient", uuid_n(i), P("family_name", "Ek"), NULL), 0);
    assert_int_equal(edit(&f, CORE_OP_INSERT, "staff", uuid_n(4), P("username", "x"), NULL),
                     BASE_EDENIED);
    assert_int_equal(on_reader(&f, run_verify, &entries), 0);
    assert_int_equal(entries, 3);
    assert_int_equal(on_writer(&f, run_raw, trigger), 0);
    assert_int_equal(on_writer(&f, run_raw, alter), 0);
    assert_int_equal(on_reader(&f, run_verify, &entries), BASE_ECORRUPT);
    assert_non_null(strstr(f.err.text, "entry 2 "));
    assert_int_equal(on_writer(&f, run_raw, end), 0);
    assert_int_equal(on_reader(&f, run_verify, &entries), BASE_ECORRUPT);
    assert_non_null(strstr(f.err.text, "entry 1 "));
}

static int read_history(struct node_db *db, void *arg, struct base_err *err);
static bool note_history(void *user, const struct node_history *h)
{
    char *to = user;
    snprintf(to + strlen(to), 64, "%lld:%s ", (long long)h->seq, h->outcome);
    return true;
}

static int read_history(struct node_db *db, void *arg, struct base_err *err)
{
    struct base_uuid id = uuid_of(a);
    return node_history_each(db, core_catalog_table(node_db_catalog(db), "patient", 7), &id, arg,
                             note_history, err);
}

static void the_history_tells_each_change_newest_first(void **state)
{
    char text[256] = "";
    assert_int_equal(edit(&f, CORE_OP_INSERT, "patient", a, P("family_name", "Ek"), NULL), 0);
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", a, P("family_name", "El"), NULL), 0);
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", a, P("family_name", "Em"), NULL), 0);
    assert_int_equal(receipt(&f, 2, 2, CORE_MERGED), 0);
    assert_int_equal(on_reader(&f, read_history, text), 0);
    assert_string_equal(text, "3:pending 2:merged 1:applied ");
}

static int use_meta(struct node_db *db, void *arg, struct base_err *err)
{
    struct base_buf out;
    base_buf_init(&out, 100);
    assert_int_equal(node_meta_get(db, "offset", &out, err), 0);
    assert_int_equal(out.len, 0);
    assert_int_equal(node_meta_set(db, "offset", "12", err), 0);
    assert_int_equal(node_meta_set(db, "offset", "13", err), 0);
    assert_int_equal(node_meta_get(db, "offset", &out, err), 0);
    assert_string_equal(out.data, "13");
    assert_int_equal(node_meta_set(db, "offset", "", err), 0);
    base_buf_clear(&out);
    assert_int_equal(node_meta_get(db, "offset", &out, err), 0);
    assert_int_equal(out.len, 0);
    assert_int_equal(node_meta_set(db, "_cursor", "13", err), BASE_EINVALID);
    base_buf_release(&out);
    return 0;
}

static void small_values_are_kept_by_name(void **state)
{
    assert_int_equal(on_writer(&f, use_meta, NULL), 0);
}

static void a_replica_is_opened_with_its_key_alone(void **state)
{
    struct base_err err = {0};
    struct node_store *other = NULL;
    uint8_t wrong[32] = {7};
    assert_int_equal(node_store_create(f.dir, test_key, &f.id, &err), BASE_EEXISTS);
    assert_int_equal(node_store_open(&other, &f.loop, f.dir, wrong, &err), BASE_EKEY);
    assert_int_equal(node_store_open(&other, &f.loop, "/tmp/none-here", test_key, &err),
                     BASE_ENOTFOUND);
    assert_string_equal(node_store_identity(f.store)->node_name, "Alder");
    assert_int_equal(node_store_catalog(f.store)->version, 7);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_a_class_forbids_is_denied),
        T(what_does_not_fit_is_refused),
        T(a_second_row_of_the_same_id_is_refused),
        T(an_edit_of_a_version_that_moved_on_is_stale),
        T(a_value_can_be_set_to_null),
        T(the_line_is_in_ordinal_order_with_what_its_author_had_seen),
        T(the_chain_goes_on_over_a_restart),
        T(a_transaction_is_all_or_nothing),
        T(a_failing_job_does_not_touch_the_others_of_its_group),
        T(a_job_that_fails_after_it_wrote_leaves_nothing),
        T(a_catalog_whose_job_fails_is_not_in_force),
        T(a_full_queue_is_told_at_once),
        T(what_is_queued_runs_before_the_store_closes),
        T(the_outbox_gives_whole_transactions),
        T(a_modules_sql_cannot_write_what_is_synced_or_ours),
        T(audit_entries_are_never_changed),
        T(an_altered_audit_entry_is_found),
        T(the_history_tells_each_change_newest_first),
        T(small_values_are_kept_by_name),
        T(a_replica_is_opened_with_its_key_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
