/*
 * tests/integration/api_server.c - a real store and the real API without an engine, for
 * tests/integration/test_api.py.
 *
 *   api_server hash PASSWORD                 prints an Argon2id verifier
 *   api_server serve DIR CATALOG             makes the store in DIR if there is none (filled from
 * DIR/pages/<table>), writes DIR/ca.pem, prints the port, then obeys stdin line by line: feed FILE
 * applies a feed body as the engine would; clock SECONDS moves the wall clock; stop        (or end of input) ends in order
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <uv.h>

#include "node/api/api.h"
#include "node/store/sync.h"
#include "sync/base/log.h"
#include "sync/net/x509.h"
#include "sync/seal/seal.h"

enum { FILE_BYTES_MAX = 32 * 1024 * 1024, LINE_BYTES_MAX = 4096 };

static uv_loop_t loop;
static struct node_store *store;
static struct node_api *api;
static uv_pipe_t input;
static char line[LINE_BYTES_MAX];
static size_t line_len;
static const uint8_t data_key[32] = {7};

/* The wall clock is moved by "clock SECONDS" (linked with --wrap). */
static _Atomic int64_t clock_offset_ms;
int64_t __real_base_clock_wall_ms(void);
int64_t __wrap_base_clock_wall_ms(void);
int64_t __wrap_base_clock_wall_ms(void)
{
    return __real_base_clock_wall_ms() + clock_offset_ms;
}

static _Noreturn void die(const char *what, const struct base_err *err)
{
    fprintf(stderr, "api_server: %s: %s\n", what, err != NULL ? err->text : "");
    exit(1);
}

static char *read_file(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    char *text = f == NULL ? NULL : malloc(FILE_BYTES_MAX);
    *len = text == NULL ? 0 : fread(text, 1, FILE_BYTES_MAX - 1, f);
    if (f != NULL)
        (void)fclose(f);
    if (text != NULL)
        text[*len] = '\0';
    return text;
}

struct task {
    struct node_job job;
    char path[LINE_BYTES_MAX];
    bool done;
};

static int apply_catalog(struct node_job *job, struct node_db *db, struct base_err *err)
{
    size_t len = 0;
    char *text = read_file(((struct task *)job)->path, &len);
    int rc = text == NULL ? base_fail(err, BASE_EIO, "no catalog")
                          : node_catalog_apply(db, text, len, err);
    free(text);
    return rc;
}

static int apply_feed(struct node_job *job, struct node_db *db, struct base_err *err)
{
    size_t len = 0;
    struct node_feed_result result;
    char *text = read_file(((struct task *)job)->path, &len);
    int rc = text == NULL ? base_fail(err, BASE_EIO, "no feed")
                          : node_feed_apply(db, text, len, &result, err);
    free(text);
    return rc;
}

static int fill(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct base_uuid timeline = {{1}};
    struct node_page_result result;
    char table[CORE_NAME_BYTES_MAX + 1];
    char after[BASE_UUID_CHARS + 1];
    char path[LINE_BYTES_MAX * 2];
    bool done = false;
    int rc = node_fill_begin(db, 0, &timeline, err);
    while (rc == 0) {
        size_t len = 0;
        rc = node_fill_next(db, table, after, &done, err);
        if (rc != 0 || done)
            break;
        snprintf(path, sizeof path, "%s/pages/%s", ((struct task *)job)->path, table);
        char *text = read_file(path, &len);
        rc = text == NULL ? base_fail(err, BASE_EIO, "no page %s", table)
                          : node_page_apply(db, text, len, &result, err);
        free(text);
    }
    return rc != 0 ? rc : node_fill_finish(db, err);
}

static void task_done(struct node_job *job)
{
    ((struct task *)job)->done = true;
}

static int run_task(int (*run)(struct node_job *, struct node_db *, struct base_err *),
                    const char *path, struct base_err *err)
{
    struct task t = {.job = {.run = run, .done = task_done, .write = true}};
    snprintf(t.path, sizeof t.path, "%s", path);
    node_store_write(store, &t.job);
    while (!t.done)
        (void)uv_run(&loop, UV_RUN_ONCE);
    *err = t.job.err;
    return t.job.rc;
}

static void on_store_closed(void *user)
{
    uv_stop(&loop);
}

static void on_api_stopped(void *user)
{
    node_store_close(store, on_store_closed, NULL);
}

static void stop(void)
{
    if (api == NULL)
        return;
    uv_close((uv_handle_t *)&input, NULL);
    node_api_stop(api, on_api_stopped, NULL);
    api = NULL;
}

static void feed_done(struct node_job *job)
{
    printf("%s\n", job->rc == 0 ? "ok" : job->err.text);
    (void)fflush(stdout);
    free(job);
}

static void obey(void)
{
    if (strncmp(line, "feed ", 5) == 0) {
        struct task *t = calloc(1, sizeof *t);
        if (t == NULL)
            die("memory", NULL);
        t->job = (struct node_job){.run = apply_feed, .done = feed_done, .write = true};
        snprintf(t->path, sizeof t->path, "%s", line + 5);
        node_store_write(store, &t->job);
    } else if (strncmp(line, "clock ", 6) == 0) {
        clock_offset_ms = strtoll(line + 6, NULL, 10) * 1000;
        puts("ok");
        (void)fflush(stdout);
    } else {
        stop();
    }
}

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *buf)
{
    static char bytes[1024];
    *buf = uv_buf_init(bytes, sizeof bytes);
}

static void on_input(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    if (n < 0) {
        stop();
        return;
    }
    for (ssize_t i = 0; i < n; i++) {
        if (buf->base[i] == '\n') {
            line[line_len] = '\0';
            line_len = 0;
            obey();
        } else if (line_len + 1 < sizeof line) {
            line[line_len++] = buf->base[i];
        }
    }
}

static void open_store(const char *dir, const char *catalog)
{
    struct node_identity id = {.tenant_id = {{0xa0}},
                               .site_id = {{0xa1}},
                               .node_id = {{0xa2}},
                               .tenant_name = "Lakeside",
                               .site_name = "Alder",
                               .node_name = "Alder",
                               .incarnation = 1};
    struct base_err err = {0};
    char path[LINE_BYTES_MAX];
    struct stat st;
    snprintf(path, sizeof path, "%s/node.db", dir);
    bool fresh = stat(path, &st) != 0;
    if (fresh && node_store_create(dir, data_key, &id, &err) != 0)
        die("create", &err);
    if (node_store_open(&store, &loop, dir, data_key, &err) != 0)
        die("open", &err);
    if (fresh && run_task(apply_catalog, catalog, &err) != 0)
        die("catalog", &err);
    if (fresh && run_task(fill, dir, &err) != 0)
        die("fill", &err);
}

static void start_api(const char *dir)
{
    static const char *const names[] = {"localhost", "127.0.0.1", NULL};
    char *ca = NULL;
    char *ca_key = NULL;
    char *cert = NULL;
    char *key = NULL;
    struct base_err err = {0};
    char path[LINE_BYTES_MAX];
    int64_t now = (int64_t)time(NULL);
    if (net_x509_make_ca("Everward test CA", now, &ca, &ca_key, &err) != 0 ||
        net_x509_make_leaf(ca, ca_key, names, now, &cert, &key, &err) != 0)
        die("certificates", &err);
    snprintf(path, sizeof path, "%s/ca.pem", dir);
    FILE *f = fopen(path, "wb");
    if (f == NULL || fputs(ca, f) < 0 || fclose(f) != 0)
        die(path, NULL);
    const char *idle = getenv("API_SERVER_IDLE_S");
    const char *delay = getenv("API_SERVER_DELAY_S");
    struct node_api_config config = {.address = "127.0.0.1",
                                     .cert_pem = cert,
                                     .key_pem = key,
                                     .ca_pem = ca,
                                     .tls12 = true,
                                     .session_idle_s = idle != NULL ? strtoll(idle, NULL, 10) : 0,
                                     .idle_tablet_s = idle != NULL ? strtoll(idle, NULL, 10) : 0,
                                     .offline_failed_login_delay_s =
                                         delay != NULL ? strtoll(delay, NULL, 10) : 0};
    if (node_api_start(&api, &loop, store, NULL, &config, &err) != 0)
        die("api", &err);
    free(ca);
    free(ca_key);
    free(cert);
    free(key);
    printf("%u\n", node_api_port(api));
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    struct base_err err = {0};
    char hash[SEAL_PASSWORD_TEXT_BYTES];
    base_log_init("api_server", BASE_LOG_INFO);
    if (seal_init(&err) != 0)
        die("seal", &err);
    if (argc == 3 && strcmp(argv[1], "hash") == 0) {
        if (seal_password_hash(hash, argv[2], strlen(argv[2]), &err) != 0)
            die("hash", &err);
        puts(hash);
        return 0;
    }
    if (argc != 4 || strcmp(argv[1], "serve") != 0)
        die("usage: api_server hash PASSWORD | serve DIR CATALOG", NULL);
    (void)uv_loop_init(&loop);
    open_store(argv[2], argv[3]);
    start_api(argv[2]);
    (void)uv_pipe_init(&loop, &input, 0);
    (void)uv_pipe_open(&input, 0);
    (void)uv_read_start((uv_stream_t *)&input, on_alloc, on_input);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop) == 0 ? 0 : 2;
}
