/*
 * One request: from its first byte to the end of its answer.
 *
 *   begin ──► access (header) ──► access (body …) ──► access (end) ──► handler ──► reply ──►
 * completed │ refused: problem, connection closed       └─ not replied yet: suspended until it is
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/net/http_internal.h"
#include "sync/seal/seal.h"

static void exchange_free(struct net_http_exchange *x)
{
    if (x->with_handler || x->connection != NULL)
        return; /* one of the two still holds it */
    for (int i = 0; i < x->param_count; i++) {
        free(x->params[i].name);
        free(x->params[i].value);
    }
    for (int i = 0; i < x->query_count; i++) {
        free(x->queries[i].name);
        free(x->queries[i].value);
    }
    for (int i = 0; i < x->header_count; i++) {
        free(x->headers[i].name);
        free(x->headers[i].value);
    }
    if (x->response != NULL)
        MHD_destroy_response(x->response);
    base_buf_release(&x->body);
    free(x->raw);
    free(x->path);
    if (x->prev != NULL)
        x->prev->next = x->next;
    else if (!x->orphan)
        x->server->exchanges = x->next;
    if (x->next != NULL)
        x->next->prev = x->prev;
    free(x);
}

static void enter(struct net_http_exchange *x, enum http_phase phase)
{
    if (x->entry == NULL)
        return;
    x->entry->phase = phase;
    x->entry->since_ms = base_clock_monotonic_ms();
    x->entry->body_bytes = 0;
}

static void peer_of(struct net_http_exchange *x)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *a = info == NULL ? NULL : info->client_addr;
    x->peer[0] = '\0';
    if (a != NULL)
        (void)getnameinfo(
            a, a->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in),
            x->peer, sizeof x->peer, NULL, 0, NI_NUMERICHOST);
}

void *http_exchange_begin(void *server, const char *uri, struct MHD_Connection *connection)
{
    struct net_http_server *s = server;
    struct net_http_exchange *x = calloc(1, sizeof *x);
    uint8_t random[HTTP_REQUEST_ID_CHARS / 2];
    struct base_buf id;
    if (x == NULL)
        return NULL;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    x->server = s;
    x->connection = connection;
    x->entry = info == NULL ? NULL : info->socket_context;
    x->raw = strdup(uri);
    x->next = s->exchanges;
    if (s->exchanges != NULL)
        s->exchanges->prev = x;
    s->exchanges = x;
    s->counts.requests++;
    seal_random(random, sizeof random);
    base_buf_init(&id, HTTP_REQUEST_ID_CHARS);
    base_buf_hex(&id, random, sizeof random);
    if (id.data != NULL)
        memcpy(x->request_id, id.data, HTTP_REQUEST_ID_CHARS);
    base_buf_release(&id);
    base_buf_init(&x->body, 0);
    enter(x, HTTP_HEADER);
    return x;
}

struct header_check {
    int lengths, encodings;
    bool bad;
};

static enum MHD_Result check_header(void *user, enum MHD_ValueKind kind, const char *name,
                                    size_t name_len, const char *value, size_t value_len)
{
    struct header_check *c = user;
    if (strlen(name) != name_len || (value != NULL && strlen(value) != value_len))
        c->bad = true; /* a NUL within */
    if (strcasecmp(name, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0)
        c->lengths++;
    if (strcasecmp(name, MHD_HTTP_HEADER_TRANSFER_ENCODING) == 0)
        c->encodings++;
    return MHD_YES;
}

static void refuse(struct net_http_exchange *x, int status, const char *code, const char *detail)
{
    x->server->counts.refused++;
    net_http_problem(x, status, code, detail, NULL);
}

static bool too_large(const struct net_http_exchange *x)
{
    const char *length = net_http_header(x, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return length != NULL && strtoull(length, NULL, 10) > x->route->body_bytes_max;
}

/* Everything that can be said before the body comes. */
static void check_request(struct net_http_exchange *x)
{
    struct header_check c = {0, 0, false};
    char allow[64];
    (void)MHD_get_connection_values_n(x->connection, MHD_HEADER_KIND, check_header, &c);
    if (c.bad || c.lengths > 1 || (c.lengths > 0 && c.encodings > 0)) {
        refuse(x, 400, "bad_header",
               "A header holds a NUL, or the body's length is stated in two ways.");
        return;
    }
    if (x->raw == NULL || !http_path_split(x)) {
        refuse(x, 400, "bad_path", "The path or query is malformed.");
        return;
    }
    x->route = http_route_find(x, allow, sizeof allow);
    if (x->route == NULL && allow[0] != '\0') {
        net_http_reply_header(x, MHD_HTTP_HEADER_ALLOW, allow);
        refuse(x, 405, "method_not_allowed", "This path does not know that method.");
    } else if (x->route == NULL) {
        refuse(x, 404, "not_found", "There is nothing at this path.");
    } else if (too_large(x)) {
        refuse(x, 413, "too_large", "The body is larger than this path takes.");
    } else if (x->server->draining) {
        net_http_retry_after(x, 5);
        refuse(x, 503, "stopping", "The service is stopping.");
    }
}

static void take_body(struct net_http_exchange *x, const char *bytes, size_t len)
{
    if (x->entry != NULL)
        x->entry->body_bytes += len;
    if (x->replied)
        return; /* refused already; the rest is read and dropped */
    base_buf_add(&x->body, bytes, len);
    if (base_buf_check(&x->body) == BASE_ETOOBIG)
        refuse(x, 413, "too_large", "The body is larger than this path takes.");
    else if (base_buf_check(&x->body) != 0)
        refuse(x, 503, "busy", "There is no memory for the body.");
}

static enum MHD_Result queue_reply(struct net_http_exchange *x)
{
    enum MHD_Result rc = MHD_queue_response(x->connection, x->status, x->response);
    MHD_destroy_response(x->response);
    x->response = NULL;
    enter(x, HTTP_REPLYING);
    return rc;
}

static enum MHD_Result hand_over(struct net_http_exchange *x)
{
    enter(x, HTTP_WORKING);
    x->with_handler = true;
    x->route->handler(x, x->server->user);
    if (x->replied)
        return queue_reply(x);
    MHD_suspend_connection(x->connection);
    x->suspended = true;
    return MHD_YES;
}

enum MHD_Result http_exchange_access(void *server, struct MHD_Connection *connection,
                                     const char *url, const char *method, const char *version,
                                     const char *upload, size_t *upload_len, void **held)
{
    struct net_http_exchange *x = *held;
    if (x == NULL)
        return MHD_NO; /* no memory at its begin */
    if (!x->begun) {
        x->begun = true;
        x->method = method;
        peer_of(x);
        check_request(x);
        if (x->replied)
            return queue_reply(x);
        base_buf_init(&x->body, x->route->body_bytes_max);
        enter(x, HTTP_BODY);
        return MHD_YES;
    }
    if (*upload_len > 0) {
        take_body(x, upload, *upload_len);
        *upload_len = 0;
        return x->replied && x->body.rc == BASE_ETOOBIG && x->body.len > 4 * x->body.max ? MHD_NO
                                                                                         : MHD_YES;
    }
    if (x->replied)
        return x->response != NULL ? queue_reply(x) : MHD_YES;
    return x->with_handler ? MHD_YES : hand_over(x);
}

void http_exchange_completed(void *server, struct MHD_Connection *connection, void **held,
                             enum MHD_RequestTerminationCode code)
{
    struct net_http_exchange *x = *held;
    if (x == NULL)
        return;
    *held = NULL;
    if (x->entry != NULL)
        x->entry->first = false;
    enter(x, HTTP_IDLE);
    x->connection = NULL;
    x->entry = NULL;
    x->suspended = false;
    exchange_free(x);
}

void http_exchange_resume(struct net_http_exchange *x)
{
    if (!x->suspended)
        return;
    x->suspended = false;
    MHD_resume_connection(x->connection);
}

void http_exchanges_abandon(struct net_http_server *s)
{
    for (struct net_http_exchange *x = s->exchanges; x != NULL; x = x->next)
        http_exchange_resume(x);
}

static void add_headers(struct net_http_exchange *x, struct MHD_Response *r)
{
    for (int i = 0; i < x->header_count; i++)
        (void)MHD_add_response_header(r, x->headers[i].name, x->headers[i].value);
    (void)MHD_add_response_header(r, "X-Request-Id", x->request_id);
    (void)MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    if (!x->orphan && x->server->draining)
        (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
}

void http_reply_with(struct net_http_exchange *x, int status, struct MHD_Response *response)
{
    BASE_ASSERT(!x->replied);
    x->replied = true;
    x->status = (unsigned)status;
    x->response = response;
    add_headers(x, response);
    x->with_handler = false;
    if (x->connection == NULL)
        exchange_free(x); /* the client has left */
    else
        http_exchange_resume(x);
}

void net_http_reply_take(struct net_http_exchange *x, int status, const char *content_type,
                         void *take_body_bytes, size_t len)
{
    struct MHD_Response *r =
        MHD_create_response_from_buffer(len, take_body_bytes, MHD_RESPMEM_MUST_FREE);
    if (r == NULL) { /* no memory for a reply: closing is all that is left */
        free(take_body_bytes);
        r = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
        BASE_ASSERT(r != NULL);
        status = 503;
    } else if (content_type != NULL) {
        (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    }
    http_reply_with(x, status, r);
}

void net_http_reply(struct net_http_exchange *x, int status, const char *content_type,
                    const void *body, size_t len)
{
    char *copy = malloc(len + 1);
    if (copy != NULL && len > 0)
        memcpy(copy, body, len);
    net_http_reply_take(x, copy == NULL ? 503 : status, content_type, copy, copy == NULL ? 0 : len);
}

void net_http_reply_header(struct net_http_exchange *x, const char *name, const char *value)
{
    BASE_ASSERT(x->header_count < HTTP_REPLY_HEADERS_MAX);
    struct http_pair *h = &x->headers[x->header_count];
    h->name = strdup(name);
    h->value = strdup(value);
    if (h->name != NULL && h->value != NULL) {
        x->header_count++;
        return;
    }
    free(h->name);
    free(h->value);
}

void net_http_retry_after(struct net_http_exchange *x, int seconds)
{
    char text[16];
    (void)snprintf(text, sizeof text, "%d", seconds);
    net_http_reply_header(x, MHD_HTTP_HEADER_RETRY_AFTER, text);
}

static const char *title_of(int status)
{
    const char *title = MHD_get_reason_phrase_for((unsigned)status);
    return title == NULL ? "Error" : title;
}

void net_http_problem_with(struct net_http_exchange *x, int status, const char *code,
                           const char *detail, const char *hint, const char *extra_json)
{
    enum { PROBLEM_BYTES_MAX = 1024 * 1024 };
    struct base_buf b;
    base_buf_init(&b, PROBLEM_BYTES_MAX);
    base_buf_str(&b, "{\"type\":\"about:blank\",\"title\":");
    base_buf_json_str(&b, title_of(status));
    base_buf_printf(&b, ",\"status\":%d,\"code\":", status);
    base_buf_json_str(&b, code);
    if (detail != NULL) {
        base_buf_str(&b, ",\"detail\":");
        base_buf_json_str(&b, detail);
    }
    if (hint != NULL) {
        base_buf_str(&b, ",\"hint\":");
        base_buf_json_str(&b, hint);
    }
    base_buf_printf(&b, ",\"request_id\":\"%s\"", x->request_id);
    if (extra_json != NULL) {
        base_buf_char(&b, ',');
        base_buf_str(&b, extra_json);
    }
    base_buf_char(&b, '}');
    size_t len = b.len;
    char *body = base_buf_take(&b);
    base_buf_release(&b);
    net_http_reply_take(x, status, "application/problem+json", body, body == NULL ? 0 : len);
}

void net_http_problem(struct net_http_exchange *x, int status, const char *code, const char *detail,
                      const char *hint)
{
    net_http_problem_with(x, status, code, detail, hint, NULL);
}

const char *net_http_method(const struct net_http_exchange *x)
{
    return x->route == NULL ? x->method : x->route->method;
}

const char *net_http_path(const struct net_http_exchange *x)
{
    return x->path;
}

const char *net_http_param(const struct net_http_exchange *x, const char *name)
{
    for (int i = 0; i < x->param_count; i++)
        if (strcmp(x->params[i].name, name) == 0)
            return x->params[i].value;
    return NULL;
}

const char *net_http_header(const struct net_http_exchange *x, const char *name)
{
    return x->connection == NULL
               ? NULL
               : MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

const char *net_http_query(const struct net_http_exchange *x, const char *name)
{
    for (int i = 0; i < x->query_count; i++)
        if (strcmp(x->queries[i].name, name) == 0)
            return x->queries[i].value;
    return NULL;
}

void net_http_query_each(const struct net_http_exchange *x, void *user, net_http_query_cb cb)
{
    for (int i = 0; i < x->query_count; i++)
        if (!cb(user, x->queries[i].name, x->queries[i].value))
            return;
}

const char *net_http_body(const struct net_http_exchange *x, size_t *len)
{
    *len = x->body.len;
    return x->body.data == NULL ? "" : x->body.data;
}

const char *net_http_peer(const struct net_http_exchange *x)
{
    return x->peer;
}

bool net_http_is_tls(const struct net_http_exchange *x)
{
    return x->server->tls;
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
