#include "sync/net/http.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sync/base/log.h"
#include "sync/net/http_internal.h"
#include "sync/seal/seal.h"

enum {
    LISTEN_BACKLOG = 1024,
    UNACKNOWLEDGED_MS = 3 * NET_HTTP_STREAM_HEARTBEAT_MS, /* a cable pulled shows after this */
    DRAIN_SWEEP_MS = 20,
    SPARE_DESCRIPTORS = 512
};

#define PRIORITY_13 "SECURE128:-VERS-ALL:+VERS-TLS1.3"
#define PRIORITY_12                                                                                \
    PRIORITY_13                                                                                    \
    ":+VERS-TLS1.2:-RSA:-DHE-RSA:-CIPHER-ALL:+AES-256-GCM:+CHACHA20-POLY1305:+AES-128-GCM"

/* Connections */

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode what);

void net_http_conn_enter(struct net_http_conn *c, enum net_http_conn_state state)
{
    c->state = state;
    c->since_ms = uv_now(c->server->loop);
    c->bytes = 0;
    if (state == C_IDLE && c->server->draining)
        net_http_conn_cut(c);
}

void net_http_conn_cut(struct net_http_conn *c)
{
    c->cut = true; /* the library may have read the next request already */
    (void)shutdown(c->fd, SHUT_RDWR);
}

static void read_peer(char out[INET6_ADDRSTRLEN], const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        (void)inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr,
                        out, INET6_ADDRSTRLEN);
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)address;
        if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
            (void)inet_ntop(AF_INET, &six->sin6_addr.s6_addr[12], out, INET6_ADDRSTRLEN);
        else
            (void)inet_ntop(AF_INET6, &six->sin6_addr, out, INET6_ADDRSTRLEN);
    }
}

static struct net_http_conn *conn_new(struct net_http_server *s, struct MHD_Connection *connection)
{
    struct net_http_conn *c = calloc(1, sizeof *c);
    const union MHD_ConnectionInfo *fd =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *from =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    unsigned patience = UNACKNOWLEDGED_MS;
    if (c == NULL || fd == NULL) {
        free(c);
        return NULL;
    }
    c->server = s;
    c->fd = fd->connect_fd;
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience, sizeof patience);
    if (from != NULL && from->client_addr != NULL)
        read_peer(c->peer, from->client_addr);
    c->next = s->conns;
    if (s->conns != NULL)
        s->conns->prev = c;
    s->conns = c;
    s->counts.connections_open++;
    net_http_conn_enter(c, C_FIRST);
    return c;
}

static void conn_free(struct net_http_conn *c)
{
    struct net_http_server *s = c->server;
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        s->conns = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    s->counts.connections_open--;
    free(c);
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        *context = conn_new(cls, connection);
    } else if (*context != NULL) {
        conn_free(*context);
        *context = NULL;
    }
}

/* The library's own timeout starts anew with every byte; these do not. */
static bool too_slow(const struct net_http_conn *c, uint64_t now_ms)
{
    uint64_t ms = now_ms - c->since_ms;
    switch (c->state) {
    case C_FIRST:
    case C_HEADER:
        return ms > c->server->header_ms;
    case C_IDLE:
        return ms > NET_HTTP_IDLE_MS + c->server->header_ms;
    case C_BODY:
        return ms > NET_HTTP_BODY_GRACE_MS && c->bytes * 1000 < ms * NET_HTTP_BODY_BYTES_PER_S_MIN;
    case C_REPLYING:
        return ms > NET_HTTP_IDLE_MS + c->bytes * 1000 / NET_HTTP_BODY_BYTES_PER_S_MIN;
    case C_HANDLING:
    case C_STREAM:
        break;
    }
    return false;
}

/* The library in the loop */

static void on_wake(uv_timer_t *handle)
{
    net_http_server_turn(handle->data);
}

/* A timer of 0 ms started from a timer's callback would run before any other I/O, for ever: what is
 * to be done at once goes through the idle handle. */
void net_http_server_turn(struct net_http_server *s)
{
    MHD_UNSIGNED_LONG_LONG ms = 0;
    if (s->running || s->daemon == NULL)
        return;
    s->running = true;
    s->again = false;
    (void)MHD_run(s->daemon);
    s->running = false;
    (void)uv_timer_stop(&s->wake);
    if (MHD_get_timeout(s->daemon, &ms) == MHD_YES) {
        if (ms == 0)
            s->again = true;
        else
            (void)uv_timer_start(&s->wake, on_wake, ms, 0);
    }
    if (s->again)
        (void)uv_idle_start(&s->pump, net_http_on_pump);
}

void net_http_resume(struct net_http_server *s, struct MHD_Connection *connection)
{
    MHD_resume_connection(connection);
    s->again = true;
    (void)uv_idle_start(&s->pump, net_http_on_pump);
}

static void on_readable(uv_poll_t *handle, int status, int events)
{
    net_http_server_turn(handle->data);
}

static void finish(struct net_http_server *s);

static void on_sweep(uv_timer_t *handle)
{
    struct net_http_server *s = handle->data;
    uint64_t now = uv_now(s->loop);
    if (s->draining && (s->conns == NULL || now >= s->drain_until_ms)) {
        finish(s);
        return;
    }
    for (struct net_http_conn *c = s->conns; c != NULL; c = c->next) {
        if (!too_slow(c, now))
            continue;
        base_log(BASE_LOG_DEBUG, "http_too_slow", "connection cut in state %d after %llu ms",
                 (int)c->state, (unsigned long long)(now - c->since_ms));
        s->counts.refused++;
        c->since_ms = now; /* once is enough */
        net_http_conn_cut(c);
    }
    net_http_streams_probe(s, now);
    net_http_server_turn(s);
}

/* Start */

static void library_log(void *cls, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));

static void library_log(void *cls, const char *fmt, va_list ap)
{
    char text[256];
    (void)vsnprintf(text, sizeof text, fmt, ap);
    text[strcspn(text, "\n")] = '\0';
    base_log(BASE_LOG_DEBUG, "http_library", "%s", text);
}

/* The target is decoded by ourselves (http_target.c), strictly. */
static size_t leave_escaped(void *cls, struct MHD_Connection *connection, char *text)
{
    return strlen(text);
}

static int listen_on(int *out, const struct net_http_config *config, struct base_err *err)
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char port[8];
    int on = 1;
    int off = 0;
    (void)snprintf(port, sizeof port, "%u", (unsigned)config->port);
    if (getaddrinfo(config->address, port, &hints, &found) != 0)
        return base_fail(err, BASE_EINVALID, "\"%s\" is not an address to listen on",
                         config->address);
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd >= 0 && found->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    int failed = fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) != 0 ||
                 listen(fd, LISTEN_BACKLOG) != 0;
    int why = errno;
    freeaddrinfo(found);
    if (failed) {
        if (fd >= 0)
            (void)close(fd);
        return base_fail(err,
                         why == EADDRINUSE ? BASE_EEXISTS
                         : why == EACCES   ? BASE_EDENIED
                                           : BASE_EIO,
                         "cannot listen on %s port %u: %s%s", config->address,
                         (unsigned)config->port, strerror(why),
                         why == EADDRINUSE ? "; is another instance running, or set another port"
                                           : "");
    }
    *out = fd;
    return 0;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage a;
    socklen_t len = sizeof a;
    memset(&a, 0, sizeof a);
    if (getsockname(fd, (struct sockaddr *)&a, &len) != 0)
        return 0;
    return ntohs(a.ss_family == AF_INET6
                     ? ((const struct sockaddr_in6 *)(const void *)&a)->sin6_port
                     : ((const struct sockaddr_in *)(const void *)&a)->sin_port);
}

/* Ten thousand tablets do not fit into the usual soft limit of 1,024 descriptors. */
static void raise_descriptors(void)
{
    struct rlimit r;
    rlim_t want = NET_HTTP_CONNECTIONS_MAX + SPARE_DESCRIPTORS;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur >= want)
        return;
    r.rlim_cur = r.rlim_max < want ? r.rlim_max : want;
    (void)setrlimit(RLIMIT_NOFILE, &r);
}

static struct MHD_Daemon *start_library(struct net_http_server *s, int fd,
                                        const struct net_http_config *config)
{
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG |
                     (s->tls != NULL ? MHD_USE_TLS : 0u);
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_PRIORITIES, 0,
         (void *)(uintptr_t)(config->tls12 ? PRIORITY_12 : PRIORITY_13)},
        {MHD_OPTION_HTTPS_CERT_CALLBACK2, 0, (void *)(uintptr_t)net_http_tls_retrieve},
        {MHD_OPTION_END, 0, NULL}};
    struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
    return MHD_start_daemon(
        flags, 0, NULL, NULL, net_http_on_request, s, MHD_OPTION_EXTERNAL_LOGGER, library_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)NET_HTTP_POOL_BYTES, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)NET_HTTP_CONNECTIONS_MAX, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        (unsigned)NET_HTTP_CONNECTIONS_PER_ADDRESS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)(NET_HTTP_IDLE_MS / 1000), MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_UNESCAPE_CALLBACK, leave_escaped, NULL,
        MHD_OPTION_URI_LOG_CALLBACK, net_http_on_uri, s, MHD_OPTION_NOTIFY_COMPLETED,
        net_http_on_completed, s, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_ARRAY,
        s->tls != NULL ? tls : none, MHD_OPTION_END);
}

static int watch(struct net_http_server *s, struct base_err *err)
{
    const union MHD_DaemonInfo *i = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    int rc = i == NULL ? UV_EINVAL : uv_poll_init(s->loop, &s->poll, i->epoll_fd);
    if (rc != 0)
        return base_fail(err, BASE_EIO, "the HTTP server cannot be polled: %s", uv_strerror(rc));
    (void)uv_timer_init(s->loop, &s->wake);
    (void)uv_timer_init(s->loop, &s->sweep);
    (void)uv_idle_init(s->loop, &s->pump);
    s->poll.data = s->wake.data = s->sweep.data = s->pump.data = s;
    s->handles_open = 4;
    (void)uv_poll_start(&s->poll, UV_READABLE, on_readable);
    (void)uv_timer_start(&s->sweep, on_sweep, NET_HTTP_SWEEP_MS, NET_HTTP_SWEEP_MS);
    return 0;
}

static void server_free(struct net_http_server *s)
{
    net_http_tls_free(s->tls);
    net_http_routes_release(&s->routes);
    free(s);
}

int net_http_server_start(struct net_http_server **out, struct uv_loop_s *loop,
                          const struct net_http_config *config, void *user, struct base_err *err)
{
    uint32_t prefix;
    int fd = -1;
    struct net_http_server *s = calloc(1, sizeof *s);
    if (s == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for the HTTP server");
    s->loop = loop;
    s->user = user;
    seal_random(&prefix, sizeof prefix);
    (void)snprintf(s->id_prefix, sizeof s->id_prefix, "%08x", prefix);
    s->header_ms = config->header_ms > 0 ? (uint64_t)config->header_ms : NET_HTTP_HEADER_MS;
    (void)snprintf(s->name, sizeof s->name, "%s",
                   config->server_name == NULL ? "everward" : config->server_name);
    (void)signal(SIGPIPE, SIG_IGN); /* GnuTLS writes without MSG_NOSIGNAL */
    raise_descriptors();
    int rc = 0;
    if (config->cert_pem != NULL && config->key_pem != NULL)
        rc = net_http_tls_new(&s->tls, config->cert_pem, config->key_pem, err);
    else if (config->cert_pem != NULL || config->key_pem != NULL)
        rc = base_fail(err, BASE_EINVALID, "TLS needs both a certificate and a key");
    if (rc == 0)
        rc = listen_on(&fd, config, err);
    if (rc != 0)
        goto failed;
    s->port = port_of(fd);
    s->daemon = start_library(s, fd, config);
    if (s->daemon == NULL) {
        (void)close(fd);
        rc = base_fail(err, BASE_EIO, "the HTTP library did not start");
        goto failed;
    }
    rc = watch(s, err);
    if (rc != 0) {
        MHD_stop_daemon(s->daemon);
        goto failed;
    }
    *out = s;
    return 0;
failed:
    server_free(s);
    return rc;
}

int net_http_server_tls_set(struct net_http_server *s, const char *cert_pem, const char *key_pem,
                            struct base_err *err)
{
    if (s->tls == NULL)
        return base_fail(err, BASE_EINVALID, "this listener does not speak TLS");
    return net_http_tls_replace(s->tls, cert_pem, key_pem, err);
}

uint16_t net_http_server_port(const struct net_http_server *s)
{
    return s->port;
}

void net_http_counts(const struct net_http_server *s, struct net_http_counts *out)
{
    *out = s->counts;
}

/* Stop */

void net_http_server_stop(struct net_http_server *s, net_http_stopped_cb done, void *user)
{
    if (s->draining)
        return;
    s->draining = true;
    s->stopped = done;
    s->stopped_user = user;
    s->drain_until_ms = uv_now(s->loop) + NET_HTTP_DRAIN_MS;
    int fd = MHD_quiesce_daemon(s->daemon);
    if (fd >= 0)
        (void)close(fd);
    net_http_streams_end(s);
    for (struct net_http_conn *c = s->conns; c != NULL; c = c->next)
        if (c->state == C_FIRST || c->state == C_IDLE)
            net_http_conn_cut(c);
    (void)uv_timer_start(&s->sweep, on_sweep, 0, DRAIN_SWEEP_MS);
}

static void on_closed(uv_handle_t *handle)
{
    struct net_http_server *s = handle->data;
    if (--s->handles_open > 0)
        return;
    net_http_stopped_cb stopped = s->stopped;
    void *user = s->stopped_user;
    server_free(s);
    if (stopped != NULL)
        stopped(user);
}

/* Whoever is still suspended must be woken before the library stops, or it aborts. With `finished`
 * set their turn ends in a close. */
static void finish(struct net_http_server *s)
{
    s->finished = true;
    for (struct net_http_conn *c = s->conns; c != NULL; c = c->next) {
        struct net_http_exchange *x = c->x;
        if (x == NULL)
            continue;
        bool asleep = x->suspended || (x->stream != NULL && x->stream->suspended);
        x->suspended = false;
        if (x->stream != NULL) {
            x->stream->dropped = true;
            x->stream->suspended = false;
        }
        if (asleep)
            net_http_resume(s, x->library);
    }
    s->running = true;
    (void)MHD_run(s->daemon);
    (void)uv_poll_stop(&s->poll);
    MHD_stop_daemon(s->daemon);
    s->daemon = NULL;
    uv_close((uv_handle_t *)&s->poll, on_closed);
    uv_close((uv_handle_t *)&s->wake, on_closed);
    uv_close((uv_handle_t *)&s->sweep, on_closed);
    uv_close((uv_handle_t *)&s->pump, on_closed);
}
