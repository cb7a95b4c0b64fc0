#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "sync/net/http_internal.h"
#include "sync/seal/seal.h"

enum { STREAM_BLOCK_BYTES = 4096, KEEP_BYTES = 4096, RETRY_MS = 2000, RETRY_JITTER_MS = 4000 };

static void list_add(struct net_http_server *s, struct net_http_stream *st)
{
    st->prev = s->streams_tail;
    st->next = NULL;
    if (s->streams_tail != NULL)
        s->streams_tail->next = st;
    else
        s->streams_head = st;
    s->streams_tail = st;
}

static void list_remove(struct net_http_server *s, struct net_http_stream *st)
{
    if (st->prev != NULL)
        st->prev->next = st->next;
    else
        s->streams_head = st->next;
    if (st->next != NULL)
        st->next->prev = st->prev;
    else
        s->streams_tail = st->prev;
}

static void ready_add(struct net_http_server *s, struct net_http_stream *st)
{
    if (st->in_ready || !st->suspended)
        return; /* awake: the library asks for more by itself */
    st->in_ready = true;
    st->ready_prev = s->ready_tail;
    st->ready_next = NULL;
    if (s->ready_tail != NULL)
        s->ready_tail->ready_next = st;
    else
        s->ready_head = st;
    s->ready_tail = st;
    (void)uv_idle_start(&s->pump, net_http_on_pump);
}

static void ready_remove(struct net_http_server *s, struct net_http_stream *st)
{
    if (!st->in_ready)
        return;
    st->in_ready = false;
    if (st->ready_prev != NULL)
        st->ready_prev->ready_next = st->ready_next;
    else
        s->ready_head = st->ready_next;
    if (st->ready_next != NULL)
        st->ready_next->ready_prev = st->ready_prev;
    else
        s->ready_tail = st->ready_prev;
}

static void wake(struct net_http_stream *st)
{
    ready_remove(st->x->server, st);
    st->suspended = false;
    net_http_resume(st->x->server, st->x->library);
}

/* A broadcast to thousands is spread over many turns, so that others are served between them. */
void net_http_on_pump(uv_idle_t *handle)
{
    struct net_http_server *s = handle->data;
    for (int n = 0; n < NET_HTTP_PUMP_STREAMS && s->ready_head != NULL; n++)
        wake(s->ready_head);
    net_http_server_turn(s);
    if (s->ready_head == NULL && !s->again)
        (void)uv_idle_stop(&s->pump);
}

static ssize_t read_stream(void *cls, uint64_t pos, char *to, size_t max)
{
    struct net_http_stream *st = cls;
    size_t left = st->queue.len - st->sent;
    if (st->dropped)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (left > 0) {
        size_t n = left < max ? left : max;
        memcpy(to, st->queue.data + st->sent, n);
        st->sent += n;
        if (st->sent == st->queue.len) {
            st->sent = 0;
            if (st->queue.cap > KEEP_BYTES)
                base_buf_release(&st->queue);
            else
                base_buf_clear(&st->queue);
        }
        return (ssize_t)n;
    }
    if (st->ending)
        return MHD_CONTENT_READER_END_OF_STREAM;
    st->suspended = true;
    MHD_suspend_connection(st->x->library);
    return 0;
}

struct net_http_stream *net_http_stream_open(struct net_http_exchange *x, void *user,
                                             net_http_stream_closed_cb closed)
{
    struct net_http_stream *st = x->library == NULL ? NULL : calloc(1, sizeof *st);
    struct net_http_server *s = x->server;
    if (st != NULL) {
        x->response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES,
                                                        read_stream, st, NULL);
        if (x->response == NULL) {
            free(st);
            st = NULL;
        }
    }
    if (st == NULL || s->draining) {
        if (st != NULL)
            MHD_destroy_response(x->response);
        x->response = NULL;
        free(st);
        net_http_problem(x, 503, "stopping", "The server is stopping.", NULL);
        return NULL;
    }
    base_buf_init(&st->queue, 2 * NET_HTTP_STREAM_QUEUE_BYTES_MAX);
    st->x = x;
    st->user = user;
    st->closed = closed;
    st->probed_ms = st->spoke_ms = uv_now(s->loop);
    uint32_t jitter;
    seal_random(&jitter, sizeof jitter);
    base_buf_printf(&st->queue, "retry: %u\n\n", RETRY_MS + jitter % RETRY_JITTER_MS);
    x->stream = st;
    x->status = 200;
    list_add(s, st);
    s->counts.streams_open++;
    (void)MHD_add_response_header(x->response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/event-stream");
    (void)MHD_add_response_header(x->response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    (void)MHD_add_response_header(x->response, "X-Accel-Buffering", "no");
    net_http_exchange_answered(x);
    return st;
}

static void drop(struct net_http_stream *st)
{
    if (st->dropped)
        return;
    st->dropped = true;
    net_http_conn_cut(st->x->conn);
    ready_add(st->x->server, st);
}

/* Each line of data gets its own "data: ". */
static void put_data(struct base_buf *b, const char *data)
{
    for (;;) {
        size_t len = strcspn(data, "\r\n");
        base_buf_str(b, "data: ");
        base_buf_add(b, data, len);
        base_buf_char(b, '\n');
        data += len;
        if (*data == '\0')
            return;
        data += data[0] == '\r' && data[1] == '\n' ? 2 : 1;
    }
}

void net_http_stream_send(struct net_http_stream *st, const char *id, const char *event,
                          const char *data)
{
    struct base_buf *b = &st->queue;
    if (st->dropped || st->ending)
        return;
    if (st->sent >= KEEP_BYTES) {
        memmove(b->data, b->data + st->sent, b->len - st->sent + 1);
        b->len -= st->sent;
        st->sent = 0;
    }
    st->spoke_ms = uv_now(st->x->server->loop);
    if (id != NULL)
        base_buf_printf(b, "id: %.*s\n", (int)strcspn(id, "\r\n"), id);
    if (event != NULL)
        base_buf_printf(b, "event: %.*s\n", (int)strcspn(event, "\r\n"), event);
    put_data(b, data);
    base_buf_char(b, '\n');
    if (base_buf_check(b) != 0 || b->len - st->sent > NET_HTTP_STREAM_QUEUE_BYTES_MAX)
        drop(st); /* it comes back with Last-Event-ID */
    else
        ready_add(st->x->server, st);
}

void net_http_stream_close(struct net_http_stream *st)
{
    st->user_closed = true;
    st->ending = true;
    net_http_conn_enter(st->x->conn, C_REPLYING); /* a reader that stands still is cut in the end */
    ready_add(st->x->server, st);
}

void net_http_stream_over(struct net_http_stream *st)
{
    struct net_http_server *s = st->x->server;
    ready_remove(s, st);
    list_remove(s, st);
    s->counts.streams_open--;
    if (!st->user_closed && st->closed != NULL)
        st->closed(st, st->user);
    base_buf_release(&st->queue);
    free(st);
}

static bool has_left(const struct net_http_stream *st)
{
    struct pollfd p = {.fd = st->x->conn->fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

/* A suspended connection is not in the library's epoll set: a client that left shows only here. */
void net_http_streams_probe(struct net_http_server *s, uint64_t now_ms)
{
    for (int n = 0; n < NET_HTTP_PROBE_STREAMS && s->streams_head != NULL; n++) {
        struct net_http_stream *st = s->streams_head;
        if (now_ms - st->probed_ms < NET_HTTP_PROBE_MS)
            return;
        st->probed_ms = now_ms;
        list_remove(s, st);
        list_add(s, st);
        if (has_left(st)) {
            drop(st);
        } else if (now_ms - st->spoke_ms >= NET_HTTP_STREAM_HEARTBEAT_MS && st->queue.len == 0 &&
                   !st->ending && !st->dropped) {
            st->spoke_ms = now_ms;
            base_buf_str(&st->queue, ": \n\n");
            ready_add(s, st);
        }
    }
}

void net_http_streams_end(struct net_http_server *s)
{
    for (struct net_http_stream *st = s->streams_head; st != NULL; st = st->next) {
        st->ending = true;
        ready_add(s, st);
    }
}
