/*
 * tests/unit/sync/net/http_server_for_tests.c - a server for clients that behave badly
 * (tests/integration/test_http_hostile.py) and for measuring. Not shipped.
 *
 * http_server_for_tests [--plain] [--tls12]: prints one line of JSON with port and CA (a PEM text),
 * serves until SIGTERM, drains, prints "stopped". A line "broadcast N BYTES" on stdin sends N
 * events of that size to every stream; "reload" changes the certificate; "counts" prints them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/net/http.h"
#include "sync/net/x509.h"
#include "sync/seal/seal.h"

enum {
    STREAMS_MAX = 12000,
    LINE_BYTES_MAX = 256,
    LATE_MS_MAX = 90000,
    EVENT_BYTES_MAX = 256 * 1024
};

static struct net_http_server *server;
static char *ca_cert;
static char *ca_key;
static struct net_http_stream *streams[STREAMS_MAX];
static size_t stream_count;
static uint64_t closed_count;
static uv_pipe_t input;
static uv_signal_t on_term;
static char line[LINE_BYTES_MAX];
static size_t line_len;

static void hello(struct net_http_exchange *x, void *user)
{
    net_http_reply(x, 200, "text/plain", "hello\n", 6);
}

static void echo(struct net_http_exchange *x, void *user)
{
    size_t len = 0;
    const char *body = net_http_body(x, &len);
    net_http_reply(x, 200, "application/octet-stream", body, len);
}

static void show_query(struct net_http_exchange *x, void *user)
{
    struct base_buf b;
    base_buf_init(&b, 64 * 1024);
    base_buf_str(&b, "{\"path\":");
    base_buf_json_str(&b, net_http_path(x));
    base_buf_str(&b, ",\"id\":");
    base_buf_json_str(&b, net_http_param(x, "id"));
    base_buf_str(&b, ",\"q\":");
    base_buf_json_str(&b, net_http_query(x, "q"));
    base_buf_str(&b, ",\"peer\":");
    base_buf_json_str(&b, net_http_peer(x));
    base_buf_str(&b, "}");
    net_http_reply(x, 200, "application/json", b.data, b.len);
    base_buf_release(&b);
}

static void fixed(struct net_http_exchange *x, void *user)
{
    net_http_reply(x, 200, "text/plain", "fixed", 5);
}

struct late {
    uv_timer_t timer;
    struct net_http_exchange *x;
};

static void late_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void late_reply(uv_timer_t *timer)
{
    struct late *l = timer->data;
    const char *agent = net_http_header(l->x, "X-Echo"); /* still there, whoever has left */
    if (agent == NULL)
        agent = "late";
    net_http_reply(l->x, 200, "text/plain", agent, strlen(agent));
    uv_close((uv_handle_t *)timer, late_closed);
}

static void late(struct net_http_exchange *x, void *user)
{
    const char *ms = net_http_query(x, "ms");
    long long wait = ms == NULL ? 10 : strtoll(ms, NULL, 10);
    struct late *l = calloc(1, sizeof *l);
    if (l == NULL || wait < 0 || wait > LATE_MS_MAX) {
        free(l);
        net_http_problem(x, 400, "bad_wait", "ms is out of range.", NULL);
        return;
    }
    l->x = x;
    l->timer.data = l;
    (void)uv_timer_init(uv_default_loop(), &l->timer);
    (void)uv_timer_start(&l->timer, late_reply, (uint64_t)wait, 0);
}

static void large(struct net_http_exchange *x, void *user)
{
    size_t len = 8 * 1024 * 1024;
    char *body = malloc(len);
    if (body != NULL)
        memset(body, 'x', len);
    net_http_reply_take(x, 200, "application/octet-stream", body, body == NULL ? 0 : len);
}

static void stream_closed(struct net_http_stream *st, void *user)
{
    closed_count++;
    for (size_t i = 0; i < stream_count; i++)
        if (streams[i] == st) {
            streams[i] = streams[--stream_count];
            return;
        }
}

static void events(struct net_http_exchange *x, void *user)
{
    if (stream_count == STREAMS_MAX) {
        net_http_problem(x, 503, "busy", "Too many streams.", NULL);
        return;
    }
    struct net_http_stream *st = net_http_stream_open(x, NULL, stream_closed);
    if (st == NULL)
        return;
    streams[stream_count++] = st;
    net_http_stream_send(st, "1", "hello", "first line\nsecond line");
}

static void broadcast(long long n, long long bytes)
{
    static char data[EVENT_BYTES_MAX];
    char id[32];
    if (bytes >= EVENT_BYTES_MAX)
        return;
    memset(data, 'e', (size_t)bytes);
    data[bytes] = '\0';
    for (long long i = 0; i < n; i++) {
        (void)snprintf(id, sizeof id, "%lld", (long long)base_clock_monotonic_us());
        for (size_t s = 0; s < stream_count; s++)
            net_http_stream_send(streams[s], id, "row", data);
    }
    printf("sent\n");
}

static int identity(char **cert, char **key, struct base_err *err)
{
    const char *const names[] = {"localhost", "127.0.0.1", "::1", NULL};
    return net_x509_make_leaf(ca_cert, ca_key, names, base_clock_wall_ms() / 1000, cert, key, err);
}

static void reload(void)
{
    struct base_err err;
    char *cert = NULL;
    char *key = NULL;
    if (identity(&cert, &key, &err) != 0 || net_http_server_tls_set(server, cert, key, &err) != 0)
        printf("reload failed: %s\n", err.text);
    else
        printf("reloaded\n");
    free(cert);
    free(key);
}

static void command(char *text)
{
    struct net_http_counts c;
    char *rest = NULL;
    if (strncmp(text, "broadcast ", 10) == 0) {
        long long n = strtoll(text + 10, &rest, 10);
        broadcast(n, strtoll(rest, NULL, 10));
    } else if (strcmp(text, "reload") == 0) {
        reload();
    } else if (strcmp(text, "close streams") == 0) {
        while (stream_count > 0)
            net_http_stream_close(streams[--stream_count]);
        printf("closed\n");
    } else if (strcmp(text, "counts") == 0) {
        net_http_counts(server, &c);
        printf("{\"requests\":%llu,\"refused\":%llu,\"streams\":%llu,\"connections\":%llu,\"held\":"
               "%zu,\"closed\":%llu}\n",
               (unsigned long long)c.requests, (unsigned long long)c.refused,
               (unsigned long long)c.streams_open, (unsigned long long)c.connections_open,
               stream_count, (unsigned long long)closed_count);
    }
    (void)fflush(stdout);
}

static void give_memory(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    static char memory[256];
    *buf = uv_buf_init(memory, sizeof memory);
}

static void on_input(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    if (n < 0) {
        (void)uv_read_stop(stream);
        return;
    }
    for (ssize_t i = 0; i < n; i++) {
        if (buf->base[i] == '\n') {
            line[line_len] = '\0';
            line_len = 0;
            command(line);
        } else if (line_len + 1 < sizeof line) {
            line[line_len++] = buf->base[i];
        }
    }
}

static void stopped(void *user)
{
    printf("stopped\n");
    (void)fflush(stdout);
    uv_close((uv_handle_t *)&input, NULL);
    uv_close((uv_handle_t *)&on_term, NULL);
}

static void stop(uv_signal_t *handle, int number)
{
    net_http_server_stop(server, stopped, NULL);
}

static int add_routes(struct base_err *err)
{
    static const struct net_http_route routes[] = {
        {"GET", "/hello", 0, true, hello},           {"POST", "/echo", 1024 * 1024, true, echo},
        {"GET", "/items/{id}", 0, true, show_query}, {"GET", "/items/fixed", 0, true, fixed},
        {"PATCH", "/items/{id}", 1024, true, echo},  {"GET", "/late", 0, true, late},
        {"POST", "/late", 1024, true, late},         {"GET", "/large", 0, true, large},
        {"GET", "/events", 0, true, events},
    };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof routes / sizeof routes[0]; i++)
        rc = net_http_route_add(server, &routes[i], err);
    return rc;
}

static int start(bool plain, bool tls12, struct base_err *err)
{
    struct net_http_config config = {
        .address = "127.0.0.1", .tls12 = tls12, .server_name = "everward-test"};
    char *cert = NULL;
    char *key = NULL;
    int rc = seal_init(err);
    if (rc == 0)
        rc = net_x509_make_ca("Test CA", base_clock_wall_ms() / 1000, &ca_cert, &ca_key, err);
    if (rc == 0)
        rc = identity(&cert, &key, err);
    if (rc == 0 && !plain) {
        config.cert_pem = cert;
        config.key_pem = key;
    }
    if (rc == 0)
        rc = net_http_server_start(&server, uv_default_loop(), &config, NULL, err);
    if (rc == 0)
        rc = add_routes(err);
    free(cert);
    free(key);
    return rc;
}

int main(int argc, char **argv)
{
    struct base_err err;
    struct base_buf hello_line;
    bool plain = false;
    bool tls12 = false;
    for (int i = 1; i < argc; i++) {
        plain |= strcmp(argv[i], "--plain") == 0;
        tls12 |= strcmp(argv[i], "--tls12") == 0;
    }
    base_log_init("http_server_for_tests",
                  getenv("EVERWARD_DEBUG") != NULL ? BASE_LOG_DEBUG : BASE_LOG_WARN);
    if (start(plain, tls12, &err) != 0) {
        (void)fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    base_buf_init(&hello_line, 64 * 1024);
    base_buf_printf(&hello_line, "{\"port\":%u,\"ca\":", net_http_server_port(server));
    base_buf_json_str(&hello_line, ca_cert);
    base_buf_str(&hello_line, "}\n");
    (void)fwrite(hello_line.data, 1, hello_line.len, stdout);
    (void)fflush(stdout);
    base_buf_release(&hello_line);
    (void)uv_pipe_init(uv_default_loop(), &input, 0);
    if (uv_pipe_open(&input, 0) == 0)
        (void)uv_read_start((uv_stream_t *)&input, give_memory, on_input);
    (void)uv_signal_init(uv_default_loop(), &on_term);
    (void)uv_signal_start(&on_term, stop, SIGTERM);
    (void)uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    (void)uv_loop_close(uv_default_loop());
    free(ca_cert);
    free(ca_key);
    return 0;
}
