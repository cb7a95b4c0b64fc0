#include "node/transport/transport.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <uv.h>

#include "sync/base/clock.h"

enum { TRANSPORT_URL_BYTES_MAX = 2048, TRANSPORT_HEADER_BYTES_MAX = 4096 };

struct node_transport {
    uv_loop_t *loop;
    uv_timer_t timer;
    uv_idle_t failed_later; /* delivers what could not even be started */
    CURLM *multi;
    char url[512], ca_path[1024];
    struct node_request *running, *unstarted;
    int handles_open;
    bool closing;
    void (*closed)(void *user);
    void *closed_user;
};

/* One socket that libcurl wants watched; freed in its close callback. */
struct watched {
    uv_poll_t poll;
    struct node_transport *t;
    curl_socket_t fd;
};

static void unlink_request(struct node_request **list, struct node_request *r)
{
    while (*list != NULL && *list != r)
        list = &(*list)->next;
    if (*list != NULL)
        *list = r->next;
    r->next = NULL;
}

static int translate(CURLcode code, struct base_err *err)
{
    switch (code) {
    case CURLE_OK:
        return 0;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return base_fail(err, BASE_EAUTH,
                         "the gateway's certificate is not from the CA pinned at setup");
    case CURLE_OPERATION_TIMEDOUT:
        return base_fail(err, BASE_ETIMEDOUT, "the gateway did not answer in time");
    case CURLE_WRITE_ERROR:
        return base_fail(err, BASE_ETOOBIG, "the gateway's answer is larger than the limit");
    case CURLE_OUT_OF_MEMORY:
        return base_fail(err, BASE_ENOMEM, "out of memory in the transport");
    default:
        return base_fail(err, BASE_EUNREACHABLE, "the gateway cannot be reached: %s",
                         curl_easy_strerror(code));
    }
}

static void read_timing(struct node_request *r, CURL *c, CURLcode code)
{
    curl_off_t us[4] = {0};
    (void)curl_easy_getinfo(c, CURLINFO_NAMELOOKUP_TIME_T, &us[0]);
    (void)curl_easy_getinfo(c, CURLINFO_CONNECT_TIME_T, &us[1]);
    (void)curl_easy_getinfo(c, CURLINFO_APPCONNECT_TIME_T, &us[2]);
    (void)curl_easy_getinfo(c, CURLINFO_STARTTRANSFER_TIME_T, &us[3]);
    r->timing.name_us = us[0];
    r->timing.connect_us = us[1];
    r->timing.tls_us = us[2];
    r->timing.answer_us = us[3];
    r->timing.tls_failed = code == CURLE_PEER_FAILED_VERIFICATION ||
                           code == CURLE_SSL_CONNECT_ERROR || code == CURLE_SSL_CACERT_BADFILE;
}

static void finish(struct node_transport *t, struct node_request *r, CURLcode code)
{
    CURL *c = r->handle;
    unlink_request(&t->running, r);
    r->rc = translate(code, &r->err);
    (void)curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &r->status);
    r->took_ms = base_clock_monotonic_ms() - r->started_ms;
    read_timing(r, c, code);
    (void)curl_multi_remove_handle(t->multi, c);
    curl_easy_cleanup(c);
    curl_slist_free_all(r->headers);
    r->handle = r->headers = NULL;
    r->done(r);
}

static void collect(struct node_transport *t)
{
    int left = 0;
    CURLMsg *m;
    while ((m = curl_multi_info_read(t->multi, &left)) != NULL) {
        struct node_request *r = NULL;
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode code = m->data.result;
        (void)curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&r);
        finish(t, r, code);
    }
}

static void on_socket(uv_poll_t *poll, int status, int events)
{
    struct watched *w = poll->data;
    struct node_transport *t = w->t;
    int running = 0;
    int flags = (events & UV_READABLE ? CURL_CSELECT_IN : 0) |
                (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0);
    (void)curl_multi_socket_action(t->multi, w->fd, status < 0 ? CURL_CSELECT_ERR : flags,
                                   &running);
    collect(t);
}

static void on_timer(uv_timer_t *timer)
{
    struct node_transport *t = timer->data;
    int running = 0;
    (void)curl_multi_socket_action(t->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    collect(t);
}

static int set_timer(CURLM *multi, long ms, void *user)
{
    struct node_transport *t = user;
    if (ms < 0 || t->closing)
        (void)uv_timer_stop(&t->timer);
    else
        (void)uv_timer_start(&t->timer, on_timer, (uint64_t)(ms == 0 ? 1 : ms), 0);
    return 0;
}

static void free_watched(uv_handle_t *handle)
{
    free(handle->data);
}

static int set_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *socket_user)
{
    struct node_transport *t = user;
    struct watched *w = socket_user;
    if (what == CURL_POLL_REMOVE) {
        if (w != NULL) {
            (void)uv_poll_stop(&w->poll);
            uv_close((uv_handle_t *)&w->poll, free_watched);
            (void)curl_multi_assign(t->multi, fd, NULL);
        }
        return 0;
    }
    if (w == NULL) {
        w = calloc(1, sizeof *w);
        if (w == NULL)
            return -1;
        w->t = t;
        w->fd = fd;
        w->poll.data = w;
        if (uv_poll_init_socket(t->loop, &w->poll, fd) != 0) {
            free(w);
            return -1;
        }
        (void)curl_multi_assign(t->multi, fd, w);
    }
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    return uv_poll_start(&w->poll, events, on_socket) == 0 ? 0 : -1;
}

static size_t take_body(char *bytes, size_t size, size_t count, void *user)
{
    struct node_request *r = user;
    base_buf_add(&r->reply, bytes, size * count);
    return base_buf_check(&r->reply) == 0 ? size * count : 0;
}

static size_t take_header(char *bytes, size_t size, size_t count, void *user)
{
    struct node_request *r = user;
    size_t len = size * count;
    char line[256];
    if (len >= sizeof line)
        return len;
    memcpy(line, bytes, len);
    line[len] = '\0';
    if (strncasecmp(line, "retry-after:", 12) == 0)
        r->retry_after_s = strtoll(line + 12, NULL, 10);
    if (strncasecmp(line, "date:", 5) == 0) {
        time_t at = curl_getdate(line + 5, NULL);
        r->date_s = at < 0 ? 0 : (int64_t)at;
    }
    if (r->retry_after_s < 0 || r->retry_after_s > 3600)
        r->retry_after_s = 3600;
    return len;
}

static bool add_header(struct node_request *r, const char *name, const char *value)
{
    char line[TRANSPORT_HEADER_BYTES_MAX + 64];
    (void)snprintf(line, sizeof line, "%.60s: %s", name, value);
    struct curl_slist *more = curl_slist_append(r->headers, line);
    if (more != NULL)
        r->headers = more;
    return more != NULL;
}

static bool add_headers(struct node_request *r)
{
    char bearer[TRANSPORT_HEADER_BYTES_MAX];
    bool good = true;
    if (r->token != NULL) {
        (void)snprintf(bearer, sizeof bearer, "Bearer %s", r->token);
        good = add_header(r, "Authorization", bearer);
    }
    if (r->body != NULL)
        good =
            good && add_header(r, "Content-Type", r->content_type) && add_header(r, "Expect", "");
    return good && (!r->zstd || add_header(r, "Content-Encoding", "zstd"));
}

static void configure(struct node_transport *t, struct node_request *r, CURL *c)
{
    char url[TRANSPORT_URL_BYTES_MAX];
    (void)snprintf(url, sizeof url, "%s%s", t->url, r->path);
    (void)curl_easy_setopt(c, CURLOPT_URL, url);
    (void)curl_easy_setopt(c, CURLOPT_PRIVATE, r);
    (void)curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "https");
    (void)curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3);
    (void)curl_easy_setopt(c, CURLOPT_CAINFO, t->ca_path);
    (void)curl_easy_setopt(c, CURLOPT_CAPATH, NULL);
    (void)curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(c, CURLOPT_BUFFERSIZE, 128L * 1024);
    (void)curl_easy_setopt(c, CURLOPT_UPLOAD_BUFFERSIZE, 256L * 1024);
    (void)curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)NODE_TRANSPORT_CONNECT_MS);
    /* Not the whole request is timed but its silence: a large reply over a slow line may take long. */
    (void)curl_easy_setopt(
        c, CURLOPT_LOW_SPEED_TIME,
        (long)((r->timeout_ms > 0 ? r->timeout_ms : NODE_TRANSPORT_REQUEST_MS) / 1000));
    (void)curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, (long)NODE_TRANSPORT_BYTES_PER_S_MIN);
    (void)curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)NODE_TRANSPORT_TOTAL_MS);
    (void)curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
    (void)curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, r->fresh ? 1L : 0L);
    (void)curl_easy_setopt(c, CURLOPT_FORBID_REUSE, r->fresh ? 1L : 0L);
    (void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_body);
    (void)curl_easy_setopt(c, CURLOPT_WRITEDATA, r);
    (void)curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, take_header);
    (void)curl_easy_setopt(c, CURLOPT_HEADERDATA, r);
    (void)curl_easy_setopt(c, CURLOPT_HTTPHEADER, r->headers);
    if (r->body != NULL) {
        (void)curl_easy_setopt(c, CURLOPT_POST, 1L);
        (void)curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_len);
        (void)curl_easy_setopt(c, CURLOPT_POSTFIELDS, r->body);
    }
}

static void deliver_unstarted(uv_idle_t *idle)
{
    struct node_transport *t = idle->data;
    (void)uv_idle_stop(idle);
    while (t->unstarted != NULL) {
        struct node_request *r = t->unstarted;
        unlink_request(&t->unstarted, r);
        r->done(r);
    }
}

void node_transport_send(struct node_transport *t, struct node_request *r)
{
    base_buf_init(&r->reply, NODE_TRANSPORT_REPLY_BYTES_MAX);
    r->rc = 0;
    r->status = 0;
    r->retry_after_s = r->date_s = 0;
    r->headers = NULL;
    r->started_ms = base_clock_monotonic_ms();
    bool nowhere = t->url[0] == '\0'; /* a training node's: nothing leaves it, whoever asks */
    CURL *c = nowhere ? NULL : curl_easy_init();
    r->handle = c;
    if (c != NULL && add_headers(r)) {
        configure(t, r, c);
        if (curl_multi_add_handle(t->multi, c) == CURLM_OK) {
            r->next = t->running;
            t->running = r;
            return;
        }
    }
    if (c != NULL)
        curl_easy_cleanup(c);
    curl_slist_free_all(r->headers);
    r->handle = r->headers = NULL;
    r->rc = nowhere ? base_fail(&r->err, BASE_EDENIED, "this node has no gateway")
                    : base_fail(&r->err, BASE_ENOMEM, "out of memory for a request");
    r->next = t->unstarted;
    t->unstarted = r;
    (void)uv_idle_start(&t->failed_later, deliver_unstarted);
}

static void cancel(struct node_transport *t, struct node_request *r)
{
    (void)curl_multi_remove_handle(t->multi, r->handle);
    curl_easy_cleanup(r->handle);
    curl_slist_free_all(r->headers);
    r->handle = r->headers = NULL;
    r->rc = base_fail(&r->err, BASE_ECANCELED, "the line was closed");
    r->done(r);
}

void node_transport_cancel(struct node_transport *t, struct node_request *r)
{
    struct node_request *at = t->running;
    while (at != NULL && at != r)
        at = at->next;
    if (at == NULL)
        return;
    unlink_request(&t->running, r);
    cancel(t, r);
}

void node_transport_cancel_all(struct node_transport *t)
{
    struct node_request *list = t->running;
    t->running = NULL; /* what a done starts is not ended */
    while (list != NULL) {
        struct node_request *r = list;
        list = r->next;
        r->next = NULL;
        cancel(t, r);
    }
}

int node_transport_open(struct node_transport **out, uv_loop_t *loop, const char *base_url,
                        const char *ca_path, struct base_err *err)
{
    struct node_transport *t = calloc(1, sizeof *t);
    if (t == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != 0 ||
        (t->multi = curl_multi_init()) == NULL) {
        free(t);
        return base_fail(err, BASE_ENOMEM, "libcurl could not be started");
    }
    t->loop = loop;
    (void)snprintf(t->url, sizeof t->url, "%s", base_url);
    (void)snprintf(t->ca_path, sizeof t->ca_path, "%s", ca_path);
    (void)uv_timer_init(loop, &t->timer);
    (void)uv_idle_init(loop, &t->failed_later);
    t->timer.data = t->failed_later.data = t;
    (void)curl_multi_setopt(t->multi, CURLMOPT_SOCKETFUNCTION, set_socket);
    (void)curl_multi_setopt(t->multi, CURLMOPT_SOCKETDATA, t);
    (void)curl_multi_setopt(t->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    (void)curl_multi_setopt(t->multi, CURLMOPT_TIMERDATA, t);
    (void)curl_multi_setopt(t->multi, CURLMOPT_MAXCONNECTS, 4L);
    *out = t;
    return 0;
}

static void handle_closed(uv_handle_t *handle)
{
    struct node_transport *t = handle->data;
    if (--t->handles_open > 0)
        return;
    void (*closed)(void *) = t->closed;
    void *user = t->closed_user;
    free(t);
    closed(user);
}

void node_transport_close(struct node_transport *t, void (*closed)(void *user), void *user)
{
    t->closing = true;
    t->closed = closed;
    t->closed_user = user;
    node_transport_cancel_all(t);
    deliver_unstarted(&t->failed_later);
    (void)curl_multi_cleanup(t->multi);
    t->handles_open = 2;
    uv_close((uv_handle_t *)&t->timer, handle_closed);
    uv_close((uv_handle_t *)&t->failed_later, handle_closed);
}
