/*
 * Bytes of a stranger into the plain server, over loopback: it must neither crash nor stop serving.
 * Input: pieces divided by 0xff, sent one by one. The server lives for the whole run, as in life.
 */
#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "sync/net/http.h"
#include "sync/seal/seal.h"

enum { TURNS = 8, REPLY_BYTES = 65536 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uv_loop_t loop;
static struct net_http_server *server;
static struct net_http_exchange *waiting;
static struct net_http_stream *stream;

static void touch(void *user, const char *name, const char *value)
{
    volatile size_t sum = strlen(name) + strlen(value);
    (void)sum;
}

static bool each(void *user, const char *name, const char *value)
{
    touch(user, name, value);
    return true;
}

static void echo(struct net_http_exchange *x, void *user)
{
    size_t len = 0;
    const char *body = net_http_body(x, &len);
    net_http_query_each(x, NULL, each);
    if (net_http_param(x, "id") != NULL)
        touch(NULL, net_http_param(x, "id"), net_http_path(x));
    net_http_reply(x, 200, "application/octet-stream", body, len);
}

static void later(struct net_http_exchange *x, void *user)
{
    if (waiting != NULL)
        net_http_problem(waiting, 503, "busy", NULL, NULL);
    waiting = x;
}

static void closed(struct net_http_stream *st, void *user)
{
    if (stream == st)
        stream = NULL;
}

static void events(struct net_http_exchange *x, void *user)
{
    stream = net_http_stream_open(x, NULL, closed);
}

static void start(void)
{
    static const struct net_http_route routes[] = {{"GET", "/a/{id}", 0, true, echo},
                                                   {"POST", "/a", 4096, true, echo},
                                                   {"GET", "/later", 0, true, later},
                                                   {"GET", "/events", 0, true, events}};
    struct net_http_config config = {.address = "127.0.0.1"};
    BASE_ASSERT(seal_init(NULL) == 0 && uv_loop_init(&loop) == 0);
    BASE_ASSERT(net_http_server_start(&server, &loop, &config, NULL, NULL) == 0);
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
        BASE_ASSERT(net_http_route_add(server, &routes[i], NULL) == 0);
}

static void turn(void)
{
    for (int i = 0; i < TURNS; i++)
        (void)uv_run(&loop, UV_RUN_NOWAIT);
}

static int dial(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(net_http_server_port(server))};
    struct linger now = {1, 0}; /* no TIME_WAIT: there are thousands a second */
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    BASE_ASSERT(fd >= 0 && inet_pton(AF_INET, "127.0.0.1", &a.sin_addr) == 1);
    BASE_ASSERT(connect(fd, (const struct sockaddr *)&a, sizeof a) == 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char reply[REPLY_BYTES];
    const uint8_t *end = data + size;
    if (server == NULL)
        start();
    int fd = dial();
    while (data < end) {
        const uint8_t *cut = memchr(data, 0xff, (size_t)(end - data));
        size_t len = (size_t)((cut == NULL ? end : cut) - data);
        if (len > 0 && send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            break;
        turn();
        if (stream != NULL)
            net_http_stream_send(stream, "1", "row", "data");
        (void)recv(fd, reply, sizeof reply, MSG_DONTWAIT);
        data = cut == NULL ? end : cut + 1;
    }
    while (waiting != NULL || stream != NULL) { /* once answered, the next of a pipeline is asked */
        if (waiting != NULL) {
            struct net_http_exchange *x = waiting;
            waiting = NULL;
            net_http_reply(x, 200, "text/plain", "late", 4);
        }
        if (stream != NULL) {
            net_http_stream_close(stream);
            stream = NULL;
        }
        turn();
    }
    (void)close(fd);
    turn();
    struct net_http_counts counts;
    net_http_counts(server, &counts);
    BASE_ASSERT(counts.connections_open <= 1 && counts.streams_open == 0);
    return 0;
}
