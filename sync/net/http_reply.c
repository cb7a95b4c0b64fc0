#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sync/base/log.h"
#include "sync/net/http_internal.h"

enum { PROBLEM_BYTES_MAX = 1024 * 1024 };

const char *net_http_method(const struct net_http_exchange *x)
{
    return x->route == NULL ? x->method : x->route->method; /* HEAD is a GET to its handler */
}

const char *net_http_path(const struct net_http_exchange *x)
{
    return x->path;
}

const char *net_http_header(const struct net_http_exchange *x, const char *name)
{
    for (unsigned i = 0; i < x->header_count; i++)
        if (strcasecmp(x->headers[i].name, name) == 0)
            return x->headers[i].value;
    return NULL;
}

const char *net_http_body(const struct net_http_exchange *x, size_t *len)
{
    if (len != NULL)
        *len = x->body.len;
    return x->body.data == NULL ? "" : x->body.data;
}

const char *net_http_peer(const struct net_http_exchange *x)
{
    return x->peer;
}

bool net_http_is_tls(const struct net_http_exchange *x)
{
    return x->tls;
}

const char *net_http_request_id(const struct net_http_exchange *x)
{
    return x->request_id;
}

void *net_http_tag(const struct net_http_exchange *x)
{
    return x->tag;
}

void net_http_set_tag(struct net_http_exchange *x, void *tag)
{
    x->tag = tag;
}

void net_http_exchange_free(struct net_http_exchange *x)
{
    for (unsigned i = 0; i < x->reply_header_count; i++)
        free((void *)(uintptr_t)x->reply_headers[i].name); /* name and value in one piece */
    base_buf_release(&x->body);
    free(x->target);
    free(x->text);
    free(x);
}

void net_http_reply_header(struct net_http_exchange *x, const char *name, const char *value)
{
    BASE_ASSERT(x->phase == X_HANDLING && x->reply_header_count < NET_HTTP_REPLY_HEADERS_MAX);
    size_t name_len = strlen(name) + 1;
    size_t value_len = strlen(value) + 1;
    char *copy = malloc(name_len + value_len);
    if (copy == NULL)
        return;
    memcpy(copy, name, name_len);
    memcpy(copy + name_len, value, value_len);
    struct net_http_pair *p = &x->reply_headers[x->reply_header_count++];
    p->name = copy;
    p->value = copy + name_len;
}

static void add_header(struct net_http_exchange *x, const char *name, const char *value)
{
    if (MHD_add_response_header(x->response, name, value) != MHD_YES)
        base_log(BASE_LOG_WARN, "http_header_dropped", "request %s: reply header %s is not valid",
                 x->request_id, name);
}

/* The one way out of X_HANDLING. */
void net_http_exchange_answered(struct net_http_exchange *x)
{
    BASE_ASSERT(x->phase == X_HANDLING);
    x->phase = X_REPLIED;
    if (x->library == NULL || x->server == NULL) { /* nobody is left to be told */
        if (x->response != NULL)
            MHD_destroy_response(x->response);
        net_http_exchange_free(x);
        return;
    }
    if (x->response != NULL) {
        for (unsigned i = 0; i < x->reply_header_count; i++)
            add_header(x, x->reply_headers[i].name, x->reply_headers[i].value);
        add_header(x, "X-Request-Id", x->request_id);
        add_header(x, "X-Content-Type-Options", "nosniff");
        if (x->server->draining)
            add_header(x, MHD_HTTP_HEADER_CONNECTION, "close");
    }
    net_http_conn_enter(x->conn, x->stream != NULL ? C_STREAM : C_REPLYING);
    x->conn->bytes = x->reply_bytes;
    if (x->suspended) {
        x->suspended = false;
        net_http_resume(x->server, x->library);
    }
}

static void reply(struct net_http_exchange *x, int status, const char *content_type, void *body,
                  size_t len, enum MHD_ResponseMemoryMode mode)
{
    x->status = status;
    x->reply_bytes = len;
    x->response = MHD_create_response_from_buffer(len, body, mode);
    if (x->response == NULL && mode == MHD_RESPMEM_MUST_FREE)
        free(body);
    if (x->response != NULL && content_type != NULL)
        add_header(x, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    net_http_exchange_answered(x);
}

void net_http_reply(struct net_http_exchange *x, int status, const char *content_type,
                    const void *body, size_t len)
{
    reply(x, status, content_type, (void *)(uintptr_t)body, len, MHD_RESPMEM_MUST_COPY);
}

void net_http_reply_take(struct net_http_exchange *x, int status, const char *content_type,
                         void *take_body, size_t len)
{
    reply(x, status, content_type, take_body, len, MHD_RESPMEM_MUST_FREE);
}

static const char *title(int status)
{
    const char *phrase = MHD_get_reason_phrase_for((unsigned)status);
    return phrase == NULL ? "Error" : phrase;
}

static void put_member(struct base_buf *b, const char *name, const char *value)
{
    if (value == NULL)
        return;
    base_buf_printf(b, ",\"%s\":", name);
    base_buf_json_str(b, value);
}

void net_http_problem_with(struct net_http_exchange *x, int status, const char *code,
                           const char *detail, const char *hint, const char *extra_json)
{
    struct base_buf b;
    base_buf_init(&b, PROBLEM_BYTES_MAX);
    base_buf_str(&b, "{\"type\":\"about:blank\"");
    put_member(&b, "title", title(status));
    base_buf_printf(&b, ",\"status\":%d", status);
    put_member(&b, "code", code);
    put_member(&b, "detail", detail);
    put_member(&b, "hint", hint);
    if (x->server != NULL)
        base_buf_printf(&b, ",\"instance\":\"urn:%s:request:%s\"", x->server->name, x->request_id);
    put_member(&b, "request_id", x->request_id);
    if (extra_json != NULL && extra_json[0] != '\0') {
        base_buf_char(&b, ',');
        base_buf_str(&b, extra_json);
    }
    base_buf_str(&b, "}\n");
    size_t len = b.len;
    char *text = base_buf_take(&b);
    base_buf_release(&b);
    net_http_reply_take(x, status, "application/problem+json", text, text == NULL ? 0 : len);
}

void net_http_problem(struct net_http_exchange *x, int status, const char *code, const char *detail,
                      const char *hint)
{
    net_http_problem_with(x, status, code, detail, hint, NULL);
}

void net_http_retry_after(struct net_http_exchange *x, int seconds)
{
    char text[16];
    (void)snprintf(text, sizeof text, "%d", seconds < 1 ? 1 : seconds);
    net_http_reply_header(x, "Retry-After", text);
}
