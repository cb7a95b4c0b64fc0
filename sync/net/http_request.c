#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sync/base/log.h"
#include "sync/net/http_internal.h"

void net_http_refuse(struct net_http_exchange *x, int status, const char *code, const char *detail)
{
    if (x->refused != 0)
        return; /* the first reason stands */
    x->refused = status;
    x->refused_code = code;
    x->refused_detail = detail;
}

static struct net_http_conn *conn_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return i == NULL ? NULL : i->socket_context;
}

/* The request line has arrived, raw. */
void *net_http_on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
    struct net_http_server *s = cls;
    struct net_http_conn *conn = conn_of(connection);
    struct net_http_exchange *x = conn == NULL ? NULL : calloc(1, sizeof *x);
    if (x == NULL)
        return NULL;
    x->server = s;
    x->library = connection;
    x->conn = conn;
    x->target_at = uri;
    x->target = strdup(uri == NULL ? "" : uri);
    x->tls = s->tls != NULL;
    memcpy(x->peer, conn->peer, sizeof x->peer);
    (void)snprintf(x->request_id, sizeof x->request_id, "%s%08llx", s->id_prefix,
                   (unsigned long long)++s->id_next);
    s->counts.requests++;
    if (x->target == NULL) {
        free(x);
        return NULL;
    }
    conn->x = x;
    net_http_conn_enter(conn, C_HEADER);
    return x;
}

/* What the headers say together; the raw view of them is for the check against NUL. */
struct reading {
    struct net_http_exchange *x;
    size_t bytes;
    unsigned lengths, encodings, hosts;
    bool bad_name, too_many, gap, has_body;
    const char *length;
    const char *raw_end; /* where the line before must have ended */
};

/* A header's name (RFC 9110, token). "Transfer-Encoding " with a blank is how requests are
 * smuggled. */
static bool token(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        bool alnum = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        if (!alnum && (c == '\0' || strchr("!#$%&'*+-.^_`|~", c) == NULL))
            return false;
    }
    return len > 0;
}

/* Between two pieces the library leaves only what it put there itself: one or two NULs per line
 * end, and blanks before a value. Anything else was behind a NUL of the client's. True for
 * libmicrohttpd before 1.0; later ones refuse NUL by themselves and are not looked at. */
static bool only_zeros(const char *from, const char *to, ptrdiff_t least, ptrdiff_t most)
{
    if (to - from < least || to - from > most)
        return false;
    for (; from < to; from++)
        if (*from != '\0')
            return false;
    return true;
}

static bool only_blanks(const char *from, const char *to)
{
    if (to <= from || *from != '\0')
        return false;
    for (from++; from < to; from++)
        if (*from != ' ' && *from != '\t')
            return false;
    return true;
}

static enum MHD_Result read_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                   size_t name_len, const char *value, size_t value_len)
{
    struct reading *r = cls;
    struct net_http_exchange *x = r->x;
    if (value == NULL) {
        value = "";
        value_len = 0;
    }
    if (x->header_count == NET_HTTP_HEADERS_MAX) {
        r->too_many = true;
        return MHD_NO;
    }
    r->bad_name |= !token(name, name_len);
    r->gap |= !only_zeros(r->raw_end, name, 1, 2) || !only_blanks(name + name_len, value);
    r->raw_end = value + value_len;
    r->bytes += name_len + value_len + 2;
    if (strcasecmp(name, "Content-Length") == 0) {
        r->lengths++;
        r->length = value;
    } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
        r->encodings++;
        r->bad_name |= strcasecmp(value, "chunked") != 0;
    } else if (strcasecmp(name, "Host") == 0) {
        r->hosts++;
    }
    x->headers[x->header_count++] = (struct net_http_pair){name, value};
    return MHD_YES;
}

static void judge_framing(struct reading *r, const char *method, size_t header_bytes)
{
    struct net_http_exchange *x = r->x;
    bool raw = MHD_VERSION < 0x01000000;
    if (r->too_many || header_bytes > NET_HTTP_HEADER_BYTES_MAX)
        net_http_refuse(x, 431, "too_large", "The request's header is too large.");
    else if (raw && (r->gap || !only_zeros(r->raw_end, method + header_bytes, 2, 4)))
        net_http_refuse(x, 400, "bad_header", "The request's header holds a NUL or a folded line.");
    else if (r->bad_name)
        net_http_refuse(x, 400, "bad_header", "The request's header is malformed.");
    else if (r->lengths + r->encodings > 1)
        net_http_refuse(x, 400, "bad_header", "The request states its length more than once.");
    else if (r->hosts > 1)
        net_http_refuse(x, 400, "bad_header", "The request names more than one host.");
}

/* The library's memory goes when the connection goes, our handlers may take longer: everything is
 * copied. */
static bool copy_text(struct net_http_exchange *x, size_t header_bytes)
{
    size_t target = 2 * strlen(x->target) + 2 * NET_HTTP_QUERY_MAX + NET_HTTP_PATH_PARAMS_MAX + 2;
    x->text = malloc(target + header_bytes);
    if (x->text == NULL)
        return false;
    char *to = x->text + target;
    for (unsigned i = 0; i < x->header_count; i++) {
        struct net_http_pair *p = &x->headers[i];
        size_t name = strlen(p->name) + 1;
        size_t value = strlen(p->value) + 1;
        memcpy(to, p->name, name);
        memcpy(to + name, p->value, value);
        *p = (struct net_http_pair){to, to + name};
        to += name + value;
    }
    return true;
}

static void judge_body(struct net_http_exchange *x, const struct reading *r)
{
    x->has_body =
        r->encodings > 0 || (r->lengths > 0 && strspn(r->length, "0") != strlen(r->length));
    if (x->route == NULL || !x->has_body)
        return;
    uint64_t length = r->lengths == 0 ? 0 : strtoull(r->length, NULL, 10);
    /* Who waits for a "100 Continue" hears of it before the body; see take_body for the others. */
    bool waits = MHD_lookup_connection_value(x->library, MHD_HEADER_KIND, "Expect") != NULL;
    uint64_t overrun = waits || x->route->body_bytes_max == 0 ? 0 : NET_HTTP_BODY_OVERRUN_BYTES;
    if (x->route->body_bytes_max == 0 || length > x->route->body_bytes_max + overrun)
        net_http_refuse(x, 413, "too_large",
                        "The request's body is larger than this address takes.");
}

static const char *method_name(const char *method)
{
    static const char *const known[] = {"GET",   "HEAD",   "POST",    "PUT",
                                        "PATCH", "DELETE", "OPTIONS", NULL};
    for (size_t i = 0; known[i] != NULL; i++)
        if (strcmp(known[i], method) == 0)
            return known[i];
    return "OTHER";
}

/* An answer before the body was read makes the library close the connection behind it. */
static enum MHD_Result refuse_now(struct net_http_exchange *x)
{
    x->phase = X_HANDLING;
    x->server->counts.refused++;
    x->server->handling++;
    x->in_callback = true;
    if (x->refused == 405)
        net_http_reply_header(x, "Allow", x->allow);
    if (x->refused == 503)
        net_http_retry_after(x, 1);
    net_http_problem(x, x->refused, x->refused_code, x->refused_detail, NULL);
    x->in_callback = false;
    return x->response == NULL ? MHD_NO
                               : MHD_queue_response(x->library, (unsigned)x->status, x->response);
}

static enum MHD_Result begin(struct net_http_exchange *x, const char *method, const char *version)
{
    if (x->conn->cut)
        return MHD_NO;
    struct reading r = {.x = x, .raw_end = version + strlen(version)};
    const union MHD_ConnectionInfo *size =
        MHD_get_connection_info(x->library, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    x->method = method_name(method);
    x->phase = X_BODY;
    base_buf_init(&x->body, 0);
    (void)MHD_get_connection_values_n(x->library, MHD_HEADER_KIND, read_header, &r);
    /* A NUL in the target hides what follows it: its end must be where the version begins. */
    r.gap |= x->target_at == NULL || x->target_at + strlen(x->target) + 1 != version;
    judge_framing(&r, method, size == NULL ? 0 : size->header_size);
    bool framing = x->refused != 0;
    if (!copy_text(x, r.bytes))
        return MHD_NO;
    net_http_target_read(x);
    judge_body(x, &r);
    if (x->server->draining)
        net_http_refuse(x, 503, "stopping", "The server is stopping.");
    if (x->refused != 0 && (framing || x->has_body))
        return refuse_now(x);
    if (x->route != NULL)
        x->body.max = x->route->body_bytes_max;
    net_http_conn_enter(x->conn, C_BODY);
    return MHD_YES;
}

/* A little beyond the limit is read and dropped, whether the length was said before or not: a client
 * that still sends when the connection is closed behind an answer may never see the answer. Who goes
 * on is cut off. */
static enum MHD_Result take_body(struct net_http_exchange *x, const char *upload, size_t *len)
{
    x->conn->bytes += *len;
    if (!x->body_over) {
        base_buf_add(&x->body, upload, *len);
        x->body_over = base_buf_check(&x->body) != 0;
    }
    *len = 0;
    if (!x->body_over)
        return MHD_YES;
    if (x->conn->bytes > x->body.max + NET_HTTP_BODY_OVERRUN_BYTES) {
        x->server->counts.refused++;
        return MHD_NO;
    }
    return MHD_YES;
}

static enum MHD_Result answer_or_wait(struct net_http_exchange *x)
{
    if (x->phase == X_REPLIED)
        return x->response == NULL
                   ? MHD_NO
                   : MHD_queue_response(x->library, (unsigned)x->status, x->response);
    if (x->server->finished)
        return MHD_NO;
    x->suspended = true;
    MHD_suspend_connection(x->library);
    return MHD_YES;
}

/* Not from x->server: the client may have left, and nobody but the handler knows what it holds. */
void net_http_again(struct net_http_exchange *x, void *user)
{
    x->route->handler(x, user);
}

static enum MHD_Result handle(struct net_http_exchange *x)
{
    if (x->body_over && base_buf_check(&x->body) == BASE_ENOMEM)
        net_http_refuse(x, 503, "busy", "There is no memory for this request.");
    else if (x->body_over)
        net_http_refuse(x, 413, "too_large",
                        "The request's body is larger than this address takes.");
    net_http_conn_enter(x->conn, C_HANDLING);
    if (x->refused != 0)
        return refuse_now(x);
    x->phase = X_HANDLING;
    x->server->handling++;
    x->in_callback = true;
    x->route->handler(x, x->server->user);
    x->in_callback = false;
    return answer_or_wait(x);
}

/* Called first with the header, then with each piece of the body, then once more, and again after
 * each resume. */
enum MHD_Result net_http_on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                    const char *method, const char *version, const char *upload,
                                    size_t *upload_len, void **context)
{
    struct net_http_exchange *x = *context;
    if (x == NULL)
        return MHD_NO;
    switch (x->phase) {
    case X_HEADER:
        return begin(x, method, version);
    case X_BODY:
        return *upload_len > 0 ? take_body(x, upload, upload_len) : handle(x);
    default:
        return answer_or_wait(x);
    }
}

void net_http_on_completed(void *cls, struct MHD_Connection *connection, void **context,
                           enum MHD_RequestTerminationCode how)
{
    struct net_http_exchange *x = *context;
    *context = NULL;
    if (x == NULL)
        return;
    struct net_http_conn *conn = x->conn;
    /* The library has refused it by itself, and would take what follows for the next request. */
    if (x->phase == X_HEADER)
        net_http_conn_cut(conn);
    bool handled = x->phase == X_HANDLING || x->phase == X_REPLIED;
    if (handled)
        x->server->handling--;
    if (x->stream != NULL)
        net_http_stream_over(x->stream);
    x->stream = NULL;
    x->library = NULL;
    x->conn = NULL;
    conn->x = NULL;
    if (x->response != NULL)
        MHD_destroy_response(x->response);
    x->response = NULL;
    if (!handled || x->phase == X_REPLIED)
        net_http_exchange_free(x);
    else
        x->server = NULL; /* the handler still holds it; whoever answers now answers nobody */
    net_http_conn_enter(conn, C_IDLE);
}
