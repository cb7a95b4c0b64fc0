/*
 * tests/bench/bench_store.c - the store's figures on this machine.
 *
 *   bench_store [rows] [seconds] [folder]
 *
 * Pages of 5,000 observation rows of 25 columns into a sealed replica; then 50 clients that each
 * write one observation, wait until it is durable, and write the next. "cpu" is that of the store's
 * threads: on a machine that does other things it says more than the clock.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "node/store/rows.h"
#include "node/store/sync.h"
#include "sync/base/clock.h"
#include "sync/core/image.h"
#include "sync/seal/seal.h"

enum { PAGE_ROWS = 5000, CLIENTS = 50, LATENCIES_MAX = 2000000 };

static const char tenant[] = "11111111-1111-4111-8111-111111111111";
static const char *const text_columns[] = {
    "status",     "category",        "code_system", "code",          "display",
    "value_unit", "value_unit_code", "value_text",  "value_code",    "value_json",
    "components", "body_site",       "method",      "interpretation"};
static struct node_store *store;
static uv_loop_t loop;
static int64_t ids;

static void die(const char *what, int rc, const struct base_err *err)
{
    fprintf(stderr, "%s: %d %s\n", what, rc, err->text);
    exit(1);
}

static int64_t cpu_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t store_cpu(void)
{
    return cpu_of(CLOCK_PROCESS_CPUTIME_ID) - cpu_of(CLOCK_THREAD_CPUTIME_ID);
}

static void column(struct base_buf *b, int *ord, const char *name, const char *type, bool null)
{
    base_buf_printf(b,
                    "%s{\"ord\":%d,\"name\":\"%s\",\"type\":\"%s\",\"null\":%s,\"class\":null,"
                    "\"group\":null,\"api\":\"rw\",\"allowed\":null,\"ref\":null}",
                    *ord == 4 ? "" : ",", *ord, name, type, null ? "true" : "false");
    ++*ord;
}

static void make_catalog(struct base_buf *b)
{
    int ord = 4;
    base_buf_str(b, "{\"format\":\"everward-catalog/1\",\"version\":1,\"tables\":[{\"tbl\":1,"
                    "\"name\":\"observation\",\"class\":\"fact\",\"deletable\":false,"
                    "\"push_only\":false,\"order\":1,\"columns\":[");
    column(b, &ord, "site_id", "uuid", true);
    column(b, &ord, "patient_id", "uuid", false);
    column(b, &ord, "encounter_id", "uuid", true);
    for (size_t i = 0; i < sizeof text_columns / sizeof text_columns[0]; i++)
        column(b, &ord, text_columns[i], "text", true);
    column(b, &ord, "value_decimal", "decimal", true);
    column(b, &ord, "corrects_id", "uuid", true);
    column(b, &ord, "effective_at", "moment", true);
    column(b, &ord, "recorded_at", "moment", true);
    column(b, &ord, "recorded_by", "uuid", true);
    column(b, &ord, "device_id", "text", true);
    column(b, &ord, "clock_state", "text", true);
    column(b, &ord, "source", "text", true);
    base_buf_str(b, "],\"indexes\":[[\"patient_id\",\"effective_at\"]]}]}");
}

static void make_id(char out[64], int64_t n)
{
    snprintf(out, 64, "01930000-%04x-7%03x-8000-0000%08llx", (unsigned)(n >> 12 & 0xffff),
             (unsigned)(n & 0xfff), (unsigned long long)(n & 0xffffffff));
}

static void make_row(struct base_buf *b, int64_t n)
{
    char id[64];
    make_id(id, n);
    base_buf_printf(
        b,
        "[\"%s\",\"%s\",\"1\",\"22222222-2222-4222-8222-222222222222\","
        "\"0190bbbb-%04x-7000-8000-000000000001\",\"0190cccc-%04x-7000-8000-000000000001\","
        "\"final\",\"vital-signs\",\"http://loinc.org\",\"8867-4\",\"Heart rate\",\"beats/minute\","
        "\"/min\",null,null,null,null,null,null,\"N\",\"%d\",null,"
        "\"2026-11-%02dT%02d:%02d:00.000+02:00\",\"2026-11-23T06:00:00.000+02:00\","
        "\"0190dddd-0000-7000-8000-000000000001\",\"tablet-7\",\"ok\",\"live\"]\n",
        id, tenant, (unsigned)(n * 7919 % 2000), (unsigned)(n * 7919 % 2000), 60 + (int)(n % 60),
        1 + (int)(n % 28), (int)(n % 24), (int)(n % 60));
}

static void make_page(struct base_buf *b, int64_t first, bool last)
{
    char id[64];
    base_buf_clear(b);
    base_buf_printf(b,
                    "{\"format\":\"everward-page/1\",\"tenant\":\"%s\",\"table\":\"observation\","
                    "\"catalog\":1,\"head\":0}\n",
                    tenant);
    for (int64_t n = first; n < first + PAGE_ROWS; n++)
        make_row(b, n);
    make_id(id, first + PAGE_ROWS - 1);
    base_buf_printf(b, last ? "{\"rows\":%d,\"next\":null}\n" : "{\"rows\":%d,\"next\":\"%s\"}\n",
                    PAGE_ROWS, id);
}

struct simple {
    struct node_job job;
    int (*run)(struct node_db *db, void *arg, struct base_err *err);
    void *arg;
    bool done;
};

static int simple_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct simple *s = (struct simple *)job;
    return s->run(db, s->arg, err);
}

static void simple_done(struct node_job *job)
{
    ((struct simple *)job)->done = true;
}

static void wait_for(const char *what, int (*run)(struct node_db *, void *, struct base_err *),
                     void *arg)
{
    struct simple s = {.job = {.run = simple_run, .done = simple_done}, .run = run, .arg = arg};
    node_store_write(store, &s.job);
    while (!s.done)
        uv_run(&loop, UV_RUN_ONCE);
    if (s.job.rc != 0)
        die(what, s.job.rc, &s.job.err);
}

static int do_catalog(struct node_db *db, void *arg, struct base_err *err)
{
    struct base_buf *b = arg;
    return node_catalog_apply(db, b->data, b->len, err);
}

static int do_begin(struct node_db *db, void *arg, struct base_err *err)
{
    struct base_uuid timeline = {{1}};
    return node_fill_begin(db, 0, &timeline, err);
}

static int do_page(struct node_db *db, void *arg, struct base_err *err)
{
    struct base_buf *b = arg;
    struct node_page_result r;
    return node_page_apply(db, b->data, b->len, &r, err);
}

static int do_finish(struct node_db *db, void *arg, struct base_err *err)
{
    return node_fill_finish(db, err);
}

static int do_digest(struct node_db *db, void *arg, struct base_err *err)
{
    struct core_digest *d = arg;
    bool pending;
    return node_digest(db, &node_db_catalog(db)->tables[0], "", "", d, &pending, err);
}

static void bench_pages(int64_t rows)
{
    struct base_buf catalog;
    struct base_buf page;
    int64_t spent = 0;
    int64_t cpu = store_cpu();
    base_buf_init(&catalog, 1 << 20);
    base_buf_init(&page, 64 << 20);
    make_catalog(&catalog);
    wait_for("catalog", do_catalog, &catalog);
    wait_for("begin", do_begin, NULL);
    for (int64_t n = 0; n < rows; n += PAGE_ROWS) {
        make_page(&page, n, n + PAGE_ROWS >= rows);
        int64_t start = base_clock_monotonic_us();
        wait_for("page", do_page, &page);
        spent += base_clock_monotonic_us() - start;
    }
    ids = rows;
    wait_for("finish", do_finish, NULL);
    cpu = store_cpu() - cpu;
    printf("pages: %lld rows in %.2f s: %.0f rows/s; cpu %.2f s: %.0f rows/s (%zu bytes a page)\n",
           (long long)rows, (double)spent / 1e6, (double)rows * 1e6 / (double)spent,
           (double)cpu / 1e6, (double)rows * 1e6 / (double)cpu, page.len);
    struct core_digest d = {0};
    int64_t start = base_clock_monotonic_us();
    wait_for("digest", do_digest, &d);
    spent = base_clock_monotonic_us() - start;
    printf("digest: %.0f rows/s\n", (double)d.rows * 1e6 / (double)spent);
    base_buf_release(&catalog);
    base_buf_release(&page);
}

struct client {
    struct node_job job;
    int64_t start;
};

static int64_t deadline;
static int64_t written;
static uint32_t *latencies;
static int running;

static int client_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    static const char *const names[] = {
        "patient_id",   "code",        "value_decimal", "value_unit", "status",
        "effective_at", "recorded_at", "recorded_by",   "source",     "device_id"};
    static const char *const texts[] = {"0190bbbb-0001-7000-8000-000000000001",
                                        "8867-4",
                                        "72",
                                        "beats/minute",
                                        "final",
                                        "2026-11-23T06:00:00.000+02:00",
                                        "2026-11-23T06:00:00.000+02:00",
                                        "0190dddd-0000-7000-8000-000000000001",
                                        "live",
                                        "tablet-7"};
    const struct core_table *t = &node_db_catalog(db)->tables[0];
    const struct core_column *columns[10];
    struct core_text values[10];
    struct node_author author = {
        .actor = {{1}}, .device = "tablet-7", .request_id = "r", .clock = CORE_CLOCK_OK};
    struct node_edit e = {
        .op = CORE_OP_INSERT, .table = t, .count = 10, .columns = columns, .values = values};
    struct node_version v;
    int failed;
    for (int i = 0; i < 10; i++) {
        columns[i] = core_table_column(t, names[i], strlen(names[i]));
        values[i] = core_text_of(texts[i]);
    }
    seal_uuid_v7(&e.id, base_clock_wall_ms());
    return node_write_edits(db, &author, &e, 1, &v, &failed, err);
}

static void client_done(struct node_job *job)
{
    struct client *c = (struct client *)job;
    int64_t now = base_clock_monotonic_us();
    if (job->rc != 0)
        die("write", job->rc, &job->err);
    if (written < LATENCIES_MAX)
        latencies[written] = (uint32_t)(now - c->start);
    written++;
    if (now < deadline) {
        c->start = now;
        node_store_write(store, job);
    } else {
        running--;
    }
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void bench_writes(int clients, int seconds)
{
    static struct client all[CLIENTS];
    written = 0;
    running = clients;
    int64_t start = base_clock_monotonic_us();
    int64_t cpu = store_cpu();
    deadline = start + (int64_t)seconds * 1000000;
    for (int i = 0; i < clients; i++) {
        all[i] = (struct client){.job = {.run = client_run, .done = client_done}, .start = start};
        node_store_write(store, &all[i].job);
    }
    while (running > 0)
        uv_run(&loop, UV_RUN_ONCE);
    double spent = (double)(base_clock_monotonic_us() - start) / 1e6;
    int64_t n = written < LATENCIES_MAX ? written : LATENCIES_MAX;
    qsort(latencies, (size_t)n, sizeof *latencies, compare);
    printf("writes: %d clients: %.0f durable writes/s, cpu %.0f us each; p50 %.2f ms, p99 %.2f ms, "
           "most %.2f ms\n",
           clients, (double)written / spent, (double)(store_cpu() - cpu) / (double)written,
           latencies[n / 2] / 1e3, latencies[n * 99 / 100] / 1e3, latencies[n - 1] / 1e3);
}

static void on_closed(void *user)
{
    *(bool *)user = true;
}

int main(int argc, char **argv)
{
    static const uint8_t key[32] = {9};
    struct node_identity id = {
        .tenant_name = "t", .site_name = "s", .node_name = "n", .incarnation = 1};
    struct base_err err = {0};
    int64_t rows = argc > 1 ? strtoll(argv[1], NULL, 10) : 100000;
    int seconds = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 5;
    char dir[256];
    bool closed = false;
    snprintf(dir, sizeof dir, "%s/bench_store_XXXXXX", argc > 3 ? argv[3] : "/tmp");
    latencies = calloc(LATENCIES_MAX, sizeof *latencies);
    if (seal_init(&err) != 0 || mkdtemp(dir) == NULL || latencies == NULL)
        die("setup", 0, &err);
    (void)base_uuid_parse(&id.tenant_id, tenant, sizeof tenant - 1);
    id.node_id.bytes[0] = 1;
    int rc = node_store_create(dir, key, &id, &err);
    if (rc == 0)
        rc = uv_loop_init(&loop);
    if (rc == 0)
        rc = node_store_open(&store, &loop, dir, key, &err);
    if (rc != 0)
        die("open", rc, &err);
    bench_pages(rows);
    bench_writes(1, 1);
    bench_writes(CLIENTS, seconds);
    node_store_close(store, on_closed, &closed);
    while (!closed)
        uv_run(&loop, UV_RUN_ONCE);
    printf("%s\n", dir);
    return uv_loop_close(&loop);
}
