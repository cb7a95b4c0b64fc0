#include <stdlib.h>
#include <string.h>

#include "sync/base/clock.h"
#include "sync/net/http_internal.h"

static ssize_t read_queue(void *user, uint64_t at, char *to, size_t max)
{
    struct net_http_stream *st = user;
    size_t left = st->queue.len - st->sent;
    if (left == 0) {
        if (st->closing)
            return MHD_CONTENT_READER_END_OF_STREAM;
        MHD_suspend_connection(st->connection); /* woken by the next send */
        st->suspended = true;
        return 0;
    }
    size_t n = left < max ? left : max;
    memcpy(to, st->queue.data + st->sent, n);
    st->sent += n;
    if (st->sent == st->queue.len) {
        base_buf_clear(&st->queue);
        st->sent = 0;
    }
    return (ssize_t)n;
}

static void stream_gone(void *user)
{
    struct net_http_stream *st = user;
    struct net_http_server *s = st->server;
    if (st->prev != NULL)
        st->prev->next = st->next;
    else
        s->streams = st->next;
    if (st->next != NULL)
        st->next->prev = st->prev;
    s->counts.streams_open--;
    st->closed(st, st->user);
    base_buf_release(&st->queue);
    free(st);
}

struct net_http_stream *net_http_stream_open(struct net_http_exchange *x, void *user,
                                             net_http_stream_closed_cb closed)
{
    struct net_http_server *s = x->server;
    struct net_http_stream *st = x->connection == NULL ? NULL : calloc(1, sizeof *st);
    struct MHD_Response *r = st == NULL ? NULL
                                        : MHD_create_response_from_callback(
                                              MHD_SIZE_UNKNOWN, 4096, read_queue, st, stream_gone);
    if (r == NULL) {
        free(st);
        net_http_problem(x, 503, "busy", "There is no memory for another event stream.",
                         "Try again in a while.");
        return NULL;
    }
    st->server = s;
    st->connection = x->connection;
    st->user = user;
    st->closed = closed;
    base_buf_init(&st->queue, NET_HTTP_STREAM_QUEUE_BYTES_MAX);
    st->next = s->streams;
    if (s->streams != NULL)
        s->streams->prev = st;
    s->streams = st;
    s->counts.streams_open++;
    (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, "text/event-stream");
    (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    http_reply_with(x, 200, r);
    return st;
}

static void wake(struct net_http_stream *st)
{
    if (!st->suspended)
        return;
    st->suspended = false;
    MHD_resume_connection(st->connection);
}

/* A socket that takes no more will not end by itself: cut it, the library then notices. */
static void drop(struct net_http_stream *st)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(st->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    st->closing = true;
    base_buf_clear(&st->queue);
    st->sent = 0;
    if (info != NULL)
        (void)shutdown(info->connect_fd, SHUT_RDWR);
    wake(st);
}

static void queue_raw(struct net_http_stream *st, const char *bytes, size_t len)
{
    if (st->closing)
        return;
    base_buf_add(&st->queue, bytes, len);
    if (base_buf_check(&st->queue) != 0)
        drop(st); /* too far behind: it reconnects with Last-Event-ID */
    else
        wake(st);
}

void net_http_stream_send(struct net_http_stream *st, const char *id, const char *event,
                          const char *data)
{
    struct base_buf text;
    base_buf_init(&text, NET_HTTP_STREAM_QUEUE_BYTES_MAX);
    if (id != NULL)
        base_buf_printf(&text, "id: %s\n", id);
    if (event != NULL)
        base_buf_printf(&text, "event: %s\n", event);
    for (const char *line = data; line != NULL;) {
        const char *end = strchr(line, '\n');
        base_buf_str(&text, "data: ");
        base_buf_add(&text, line, end == NULL ? strlen(line) : (size_t)(end - line));
        base_buf_char(&text, '\n');
        line = end == NULL ? NULL : end + 1;
    }
    base_buf_char(&text, '\n');
    if (base_buf_check(&text) == 0)
        queue_raw(st, text.data, text.len);
    else if (!st->closing)
        drop(st);
    base_buf_release(&text);
}

void net_http_stream_close(struct net_http_stream *st)
{
    st->closing = true;
    wake(st);
}

void http_streams_heartbeat(struct net_http_server *s)
{
    int64_t now = base_clock_monotonic_ms();
    if (now < s->heartbeat_at_ms)
        return;
    s->heartbeat_at_ms = now + NET_HTTP_STREAM_HEARTBEAT_MS;
    for (struct net_http_stream *st = s->streams; st != NULL; st = st->next)
        queue_raw(st, ":\n\n", 3);
}

void http_streams_close_all(struct net_http_server *s)
{
    for (struct net_http_stream *st = s->streams; st != NULL; st = st->next)
        net_http_stream_close(st);
}
