/*
 * A writer that is killed, and a disk that is full: what was acknowledged is there, what was not is
 * whole or absent.
 *
 * The killed one is this program again, called "child": it writes in a loop and says each seq that
 * was acknowledged on its standard output.
 */
#include "tests/unit/node/store/support.h"

#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sync/base/clock.h"
#include "sync/seal/seal.h"

enum { ROUNDS = 50, WRITERS = 20 };

static struct fixture f;

struct writer {
    struct node_job job;
    int edits;
    bool fails; /* its transaction ends in an edit that is refused */
    int64_t last;
    int *left;
};

static int run_writer(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct writer *w = (struct writer *)job;
    const struct core_table *t = core_catalog_table(node_db_catalog(db), "observation", 11);
    const struct core_column *columns[] = {&t->columns[0], &t->columns[1], &t->columns[4]};
    char blob[1200];
    memset(blob, 'x', sizeof blob);
    struct core_text values[] = {core_text_of("01900000-0001-7000-8000-000000000001"),
                                 core_text_of("8867-4"),
                                 {blob, sizeof blob}};
    struct node_author author = {.device = "", .request_id = ""};
    struct node_edit edits[8];
    struct node_version versions[8];
    int failed = 0;
    for (int i = 0; i < w->edits; i++) {
        edits[i] = (struct node_edit){
            .op = CORE_OP_INSERT, .table = t, .count = 3, .columns = columns, .values = values};
        seal_uuid_v7(&edits[i].id, base_clock_wall_ms());
    }
    if (w->fails)
        edits[w->edits - 1].op = CORE_OP_DELETE;
    int rc = node_write_edits(db, &author, edits, w->edits, versions, &failed, err);
    if (rc == 0)
        w->last = versions[w->edits - 1].pending_seq;
    return rc;
}

static void done_writer(struct node_job *job)
{
    struct writer *w = (struct writer *)job;
    --*w->left;
}

/* ---- the child ---- */

static struct node_store *child_store;

static void done_child(struct node_job *job)
{
    struct writer *w = (struct writer *)job;
    char line[32];
    if (job->rc == 0) {
        int n = snprintf(line, sizeof line, "%lld\n", (long long)w->last);
        if (write(STDOUT_FILENO, line, (size_t)n) != n)
            _exit(3);
    } else if (!w->fails) {
        _exit(4);
    }
    w->fails = w->last % 7 == 3 && !w->fails;
    node_store_write(child_store, job);
}

static int child(const char *dir)
{
    static struct writer all[WRITERS];
    uv_loop_t loop;
    struct base_err err = {0};
    if (seal_init(&err) != 0 || uv_loop_init(&loop) != 0 ||
        node_store_open(&child_store, &loop, dir, test_key, &err) != 0) {
        fprintf(stderr, "child: %s\n", err.text);
        return 2;
    }
    for (int i = 0; i < WRITERS; i++) {
        all[i] =
            (struct writer){.job = {.run = run_writer, .done = done_child}, .edits = 1 + i % 4};
        node_store_write(child_store, &all[i].job);
    }
    return uv_run(&loop, UV_RUN_DEFAULT);
}

/* ---- the parent ---- */

static int64_t read_acknowledged(int fd, int64_t most)
{
    static char text[1 << 20];
    size_t n = 0;
    ssize_t got;
    while (n < sizeof text - 1 && (got = read(fd, text + n, sizeof text - 1 - n)) > 0)
        n += (size_t)got;
    text[n] = '\0';
    for (char *p = text, *stop; (stop = strchr(p, '\n')) != NULL; p = stop + 1) {
        int64_t seq = strtoll(p, NULL, 10);
        if (seq > most)
            most = seq;
    }
    return most;
}

static int64_t killed_after(unsigned us, int64_t most)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        close(fds[0]);
        close(fds[1]);
        execl("/proc/self/exe", "child", f.dir, (char *)NULL);
        _exit(9);
    }
    close(fds[1]);
    char first;
    assert_int_equal(read(fds[0], &first, 1), 1); /* it writes: now the time runs */
    usleep(us);
    kill(pid, SIGKILL);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    most = read_acknowledged(fds[0], most);
    close(fds[0]);
    return most;
}

static int check_whole(struct node_db *db, void *arg, struct base_err *err)
{
    struct node_stmt *st = NULL;
    uint8_t chain[32];
    int64_t n = 0;
    seal_chain_start(chain, &db->identity->node_id, 1);
    assert_int_equal(node_sql(db, &st, "SELECT seq, line, chain FROM _change ORDER BY seq", err),
                     0);
    while (node_sql_step(st, err) == 1) {
        size_t len = 0;
        const char *line = node_sql_col_text(st, 1, &len);
        assert_int_equal(node_sql_col_i64(st, 0), ++n);
        seal_chain_step(chain, line, len);
        assert_memory_equal(chain, node_sql_col_blob(st, 2, NULL), 32);
    }
    node_sql_done(st);
    *(int64_t *)arg = n;
    return 0;
}

static int64_t all_is_whole(void)
{
    int64_t n = 0;
    assert_int_equal(on_reader(&f, check_whole, &n), 0);
    assert_int_equal(sql_i64(&f, "SELECT count(*) FROM observation"), n);
    assert_int_equal(sql_i64(&f, "SELECT count(*) FROM _base"), n);
    assert_int_equal(sql_i64(&f, "SELECT count(*) FROM observation o JOIN _change c "
                                 "ON c.row_id = o.id AND c.seq = o._pending"),
                     n);
    assert_int_equal(sql_i64(&f, "SELECT count(*) FROM _audit"),
                     sql_i64(&f, "SELECT count(DISTINCT txn) FROM _change"));
    return n;
}

static int integrity(struct node_db *db, void *arg, struct base_err *err)
{
    struct node_stmt *st = NULL;
    assert_int_equal(stmt_get(db, &st, "PRAGMA integrity_check", err), 0);
    assert_int_equal(node_sql_step(st, err), 1);
    assert_string_equal(node_sql_col_text(st, 0, NULL), "ok");
    node_sql_done(st);
    return 0;
}

static void what_a_killed_writer_had_acknowledged_is_there(void **state)
{
    uint64_t random = check_seed();
    int64_t most = 0;
    fixture_ready(&f);
    for (int round = 0; round < ROUNDS; round++) {
        fixture_close(&f);
        most = killed_after((unsigned)check_below(&random, 40000), most);
        fixture_open(&f);
        int64_t n = all_is_whole();
        if (n < most)
            print_error("round %d: %lld acknowledged, %lld there\n", round, (long long)most,
                        (long long)n);
        assert_true(n >= most);
    }
    assert_int_equal(on_reader(&f, integrity, NULL), 0);
    print_message("%lld changes over %d kills\n", (long long)most, ROUNDS);
    fixture_remove(&f);
}

/* ---- a full disk: a file system of its own, as small as it takes ---- */

static int64_t write_round(int *good, int *full)
{
    static struct writer all[WRITERS];
    int left = WRITERS;
    int64_t most = 0;
    for (int i = 0; i < WRITERS; i++) {
        all[i] = (struct writer){
            .job = {.run = run_writer, .done = done_writer}, .edits = 4, .left = &left};
        node_store_write(f.store, &all[i].job);
    }
    while (left > 0)
        uv_run(&f.loop, UV_RUN_ONCE);
    for (int i = 0; i < WRITERS; i++) {
        *good += all[i].job.rc == 0;
        *full += all[i].job.rc == BASE_EFULL;
        assert_true(all[i].job.rc == 0 || all[i].job.rc == BASE_EFULL);
        if (all[i].job.rc == 0 && all[i].last > most)
            most = all[i].last;
    }
    return most;
}

static void a_full_disk_is_told_and_loses_nothing(void **state)
{
    char mount_point[] = "/tmp/ew_full_XXXXXX";
    int good = 0;
    int full = 0;
    assert_non_null(mkdtemp(mount_point));
    if (mount("tmpfs", mount_point, "tmpfs", 0, "size=3m") != 0) {
        rmdir(mount_point);
        print_message("skipped: this account may not mount a file system\n");
        skip();
    }
    fixture_parent = mount_point;
    fixture_ready(&f);
    int64_t most = write_round(&good, &full);
    assert_int_equal(full, 0);
    for (int i = 0; i < 40; i++) {
        int64_t last = write_round(&good, &full);
        most = last > most ? last : most;
    }
    assert_true(full > 0);
    assert_true(f.failed > 0);
    assert_int_equal(f.failed_rc, BASE_EFULL);
    assert_int_equal(all_is_whole(), most);
    fixture_close(&f);
    fixture_open(&f); /* opens on a full disk too */
    assert_int_equal(all_is_whole(), most);
    assert_int_equal(mount("tmpfs", mount_point, "tmpfs", MS_REMOUNT, "size=64m"), 0);
    full = 0;
    int64_t last = write_round(&good, &full);
    assert_int_equal(full, 0);
    assert_int_equal(last, most + WRITERS * 4);
    assert_int_equal(all_is_whole(), last);
    fixture_close(&f);
    fixture_open(&f);
    assert_int_equal(all_is_whole(), last);
    assert_int_equal(on_reader(&f, integrity, NULL), 0);
    fixture_remove(&f);
    fixture_parent = "/tmp";
    assert_int_equal(umount(mount_point), 0);
    assert_int_equal(rmdir(mount_point), 0);
}

static int from_the_future(struct node_db *db, void *arg, struct base_err *err)
{
    return connection_exec(db, "INSERT INTO _migration (name) VALUES ('9999_future.sql')", err);
}

static void a_replica_that_a_newer_program_has_written_is_not_opened(void **state)
{
    struct base_err err = {0};
    fixture_ready(&f);
    assert_int_equal(on_writer(&f, from_the_future, NULL), 0);
    fixture_close(&f);
    assert_int_equal(node_store_open(&f.store, &f.loop, f.dir, test_key, &err), BASE_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "9999_future.sql"));
    assert_null(f.store);
    while (uv_run(&f.loop, UV_RUN_NOWAIT) != 0)
        continue;
    fixture_remove(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_killed_writer_had_acknowledged_is_there),
        cmocka_unit_test(a_full_disk_is_told_and_loses_nothing),
        cmocka_unit_test(a_replica_that_a_newer_program_has_written_is_not_opened),
    };
    if (strcmp(argv[0], "child") == 0 && argc == 2)
        return child(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
