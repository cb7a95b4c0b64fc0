#include "sync/net/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/net/http_internal.h"

static void pump(struct net_http_server *s);

static void on_readable(uv_poll_t *poll, int status, int events)
{
    pump(poll->data);
}

static void on_timer(uv_timer_t *timer)
{
    pump(timer->data);
}

/* The library works until nothing is ready, then tells when it wants to be called again. */
static void pump(struct net_http_server *s)
{
    MHD_UNSIGNED_LONG_LONG ms = 0;
    (void)MHD_run(s->daemon);
    if (MHD_get_timeout(s->daemon, &ms) == MHD_YES)
        (void)uv_timer_start(&s->timer, on_timer, ms, 0);
    else
        (void)uv_timer_stop(&s->timer);
}

static bool overdue(const struct http_connection *c, int64_t now)
{
    int64_t age = now - c->since_ms;
    switch (c->phase) {
    case HTTP_IDLE:
        return age > (c->first ? NET_HTTP_HEADER_MS : NET_HTTP_IDLE_MS);
    case HTTP_HEADER:
        return age > NET_HTTP_HEADER_MS;
    case HTTP_BODY:
        return age > HTTP_BODY_GRACE_MS &&
               (int64_t)c->body_bytes * 1000 < age * NET_HTTP_BODY_BYTES_PER_S_MIN;
    case HTTP_WORKING:
    case HTTP_REPLYING: /* a reader that stands still is the library's idle timeout's */
        break;
    }
    return false;
}

static void finish_stop(struct net_http_server *s);

static void on_sweep(uv_timer_t *timer)
{
    struct net_http_server *s = timer->data;
    int64_t now = base_clock_monotonic_ms();
    for (struct http_connection *c = s->connections; c != NULL; c = c->next)
        if (overdue(c, now)) {
            c->since_ms = now;
            s->counts.refused++;
            (void)shutdown(c->fd, SHUT_RDWR); /* the library notices and closes */
        }
    http_streams_heartbeat(s);
    if (s->draining && ((s->exchanges == NULL && s->streams == NULL) || now >= s->drain_until_ms))
        finish_stop(s);
    else
        pump(s);
}

static void on_connection(void *user, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct net_http_server *s = user;
    struct http_connection *c = *context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        c = calloc(1, sizeof *c);
        *context = c;
        if (c == NULL || info == NULL)
            return;
        *c = (struct http_connection){.fd = info->connect_fd,
                                      .first = true,
                                      .since_ms = base_clock_monotonic_ms(),
                                      .next = s->connections};
        if (s->connections != NULL)
            s->connections->prev = c;
        s->connections = c;
        s->counts.connections_open++;
    } else if (c != NULL) {
        if (c->prev != NULL)
            c->prev->next = c->next;
        else
            s->connections = c->next;
        if (c->next != NULL)
            c->next->prev = c->prev;
        s->counts.connections_open--;
        *context = NULL;
        free(c);
    }
}

static void on_library_log(void *user, const char *fmt, va_list ap)
{
    char text[256];
    (void)vsnprintf(text, sizeof text, fmt, ap);
    text[strcspn(text, "\n")] = '\0';
    base_log(BASE_LOG_DEBUG, "http_library", "%s", text);
}

/* Our own socket, so that "in use" and "not allowed" are told apart. */
static int listen_on(const struct net_http_config *config, int *fd, uint16_t *port,
                     struct base_err *err)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a = {0};
    socklen_t len = sizeof a.v4;
    if (inet_pton(AF_INET, config->address, &a.v4.sin_addr) == 1) {
        a.v4.sin_family = AF_INET;
        a.v4.sin_port = htons(config->port);
    } else if (inet_pton(AF_INET6, config->address, &a.v6.sin6_addr) == 1) {
        a.v6.sin6_family = AF_INET6;
        a.v6.sin6_port = htons(config->port);
        len = sizeof a.v6;
    } else {
        return base_fail(err, BASE_EINVALID, "\"%s\" is not an IP address to listen on",
                         config->address);
    }
    int one = 1;
    int s = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s < 0)
        return base_fail(err, BASE_EIO, "cannot open a socket: %s", strerror(errno));
    (void)setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(s, &a.any, len) != 0 || listen(s, SOMAXCONN) != 0) {
        int why = errno;
        (void)close(s);
        return base_fail(
            err,
            why == EADDRINUSE ? BASE_EEXISTS
            : why == EACCES   ? BASE_EDENIED
                              : BASE_EIO,
            "cannot listen on %s port %u: %s%s", config->address, config->port, strerror(why),
            why == EADDRINUSE ? "; is another instance running, or set another port" : "");
    }
    (void)getsockname(s, &a.any, &len);
    *port = ntohs(a.any.sa_family == AF_INET6 ? a.v6.sin6_port : a.v4.sin_port);
    *fd = s;
    return 0;
}

static struct MHD_Daemon *start_daemon(struct net_http_server *s,
                                       const struct net_http_config *config, int fd)
{
    const char *priorities = config->tls12 ? "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
                                           : "NORMAL:-VERS-ALL:+VERS-TLS1.3";
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_CERT_CALLBACK, 0, http_tls_callback()},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)priorities},
        {MHD_OPTION_END, 0, NULL},
    };
    struct MHD_OptionItem plain[] = {{MHD_OPTION_END, 0, NULL}};
    unsigned flags =
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | (s->tls ? MHD_USE_TLS : 0);
    return MHD_start_daemon(
        flags, 0, NULL, NULL, http_exchange_access, s, MHD_OPTION_EXTERNAL_LOGGER, on_library_log,
        NULL, MHD_OPTION_LISTEN_SOCKET, (MHD_socket)fd, MHD_OPTION_URI_LOG_CALLBACK,
        http_exchange_begin, s, MHD_OPTION_NOTIFY_COMPLETED, http_exchange_completed, s,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)NET_HTTP_CONNECTIONS_MAX, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        (unsigned)NET_HTTP_CONNECTIONS_PER_ADDRESS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)(NET_HTTP_IDLE_MS / 1000), MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)HTTP_POOL_BYTES, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_ARRAY,
        s->tls ? tls : plain, MHD_OPTION_END);
}

static void handle_closed(uv_handle_t *handle)
{
    struct net_http_server *s = handle->data;
    if (--s->handles_open > 0)
        return;
    net_http_stopped_cb stopped = s->stopped;
    void *user = s->stopped_user;
    free(s);
    if (stopped != NULL)
        stopped(user);
}

static void close_handles(struct net_http_server *s)
{
    s->handles_open = 3;
    uv_close((uv_handle_t *)&s->poll, handle_closed);
    uv_close((uv_handle_t *)&s->timer, handle_closed);
    uv_close((uv_handle_t *)&s->sweep, handle_closed);
}

static int watch(struct net_http_server *s, struct base_err *err)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (info == NULL || uv_poll_init(s->loop, &s->poll, info->epoll_fd) != 0)
        return base_fail(err, BASE_EIO, "the HTTP server's events cannot be watched");
    (void)uv_timer_init(s->loop, &s->timer);
    (void)uv_timer_init(s->loop, &s->sweep);
    s->poll.data = s->timer.data = s->sweep.data = s;
    (void)uv_poll_start(&s->poll, UV_READABLE, on_readable);
    (void)uv_timer_start(&s->sweep, on_sweep, HTTP_SWEEP_MS, HTTP_SWEEP_MS);
    return 0;
}

int net_http_server_start(struct net_http_server **out, uv_loop_t *loop,
                          const struct net_http_config *config, void *user, struct base_err *err)
{
    int fd = -1;
    struct net_http_server *s = calloc(1, sizeof *s);
    if (s == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for the HTTP server");
    s->loop = loop;
    s->user = user;
    s->tls = config->cert_pem != NULL;
    (void)snprintf(s->name, sizeof s->name, "%s",
                   config->server_name == NULL ? "everward" : config->server_name);
    int rc = s->tls ? http_tls_set(config->cert_pem, config->key_pem, err) : 0;
    if (rc == 0)
        rc = listen_on(config, &fd, &s->port, err);
    if (rc == 0) {
        s->daemon = start_daemon(s, config, fd);
        if (s->daemon == NULL) {
            (void)close(fd);
            rc = base_fail(err, BASE_EIO, "the HTTP server did not start");
        }
    }
    if (rc == 0)
        rc = watch(s, err);
    if (rc != 0) {
        if (s->daemon != NULL)
            MHD_stop_daemon(s->daemon);
        free(s);
        return rc;
    }
    *out = s;
    return 0;
}

int net_http_route_add(struct net_http_server *s, const struct net_http_route *route,
                       struct base_err *err)
{
    if (!route->auth_decided)
        return base_fail(err, BASE_EBUG, "nobody has decided who may call %s %s", route->method,
                         route->path);
    BASE_ASSERT(s->route_count < HTTP_ROUTES_MAX);
    s->routes[s->route_count++] = *route;
    return 0;
}

int net_http_server_tls_set(struct net_http_server *s, const char *cert_pem, const char *key_pem,
                            struct base_err *err)
{
    BASE_ASSERT(s->tls);
    return http_tls_set(cert_pem, key_pem, err);
}

uint16_t net_http_server_port(const struct net_http_server *s)
{
    return s->port;
}

void net_http_server_stop(struct net_http_server *s, net_http_stopped_cb done, void *user)
{
    s->draining = true;
    s->stopped = done;
    s->stopped_user = user;
    s->drain_until_ms = base_clock_monotonic_ms() + NET_HTTP_DRAIN_MS;
    MHD_socket fd = MHD_quiesce_daemon(s->daemon);
    if (fd != MHD_INVALID_SOCKET)
        (void)close(fd);
    http_streams_close_all(s);
    (void)uv_timer_start(&s->sweep, on_sweep, 0, 20);
}

/* Whoever has not replied by now will reply to nobody: the library must not hold a suspended
 * connection when it stops. */
static void stop_daemon(struct net_http_server *s)
{
    for (struct http_connection *c = s->connections; c != NULL; c = c->next)
        (void)shutdown(c->fd, SHUT_RDWR);
    http_exchanges_abandon(s);
    (void)MHD_run(s->daemon);
    MHD_stop_daemon(s->daemon);
    for (struct net_http_exchange *x = s->exchanges; x != NULL; x = x->next)
        x->orphan = true;
}

static void finish_stop(struct net_http_server *s)
{
    (void)uv_timer_stop(&s->sweep);
    (void)uv_timer_stop(&s->timer);
    (void)uv_poll_stop(&s->poll);
    stop_daemon(s);
    close_handles(s);
}

void net_http_routes_each(const struct net_http_server *s, void *user, net_http_route_cb cb)
{
    for (int i = 0; i < s->route_count; i++)
        cb(user, &s->routes[i]);
}

void net_http_counts(const struct net_http_server *s, struct net_http_counts *out)
{
    *out = s->counts;
}
