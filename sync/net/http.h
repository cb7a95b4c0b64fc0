/*
 * sync/net/http.h - the HTTPS server of node and gateway, behind a face of its own so that it can
 * be changed.
 *
 * Does:       TLS 1.3 (1.2 by option), HTTP/1.1, routes, body limits, deadlines, answers from other
 * threads' work, event streams, drain. One listener per struct; its epoll descriptor is polled by
 * the given libuv loop. Does not:   know tenants, people or JSON of its users. Authentication is
 * the route's business, but a route without a stated decision (auth_decided false) is refused at
 * registration. Thread:     everything here runs on the loop's thread, callbacks too. Work done
 * elsewhere comes back through the loop (uv_async, uv_queue_work) before it touches an exchange.
 * Limits:     below; each is tested with a hostile client (slow header, slow body, Content-Length
 * with Transfer-Encoding, NUL in a header, body over the limit, reader that never reads, vanished
 * SSE client). Library:    libmicrohttpd (GnuTLS); no other file includes it.
 */
#ifndef SYNC_NET_HTTP_H
#define SYNC_NET_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sync/base/err.h"

enum {
    NET_HTTP_HEADER_BYTES_MAX = 16 * 1024,
    NET_HTTP_HEADER_MS = 10 * 1000,       /* whole header must have arrived */
    NET_HTTP_BODY_BYTES_PER_S_MIN = 1024, /* a body slower than this, averaged, is cut off */
    NET_HTTP_IDLE_MS = 60 * 1000,
    NET_HTTP_CONNECTIONS_MAX = 12000,
    NET_HTTP_CONNECTIONS_PER_ADDRESS_MAX = 1000,
    NET_HTTP_STREAM_QUEUE_BYTES_MAX = 64 * 1024, /* a reader further behind is dropped */
    NET_HTTP_STREAM_HEARTBEAT_MS = 20 * 1000,
    NET_HTTP_PATH_PARAMS_MAX = 4,
    NET_HTTP_DRAIN_MS = 5 * 1000
};

struct uv_loop_s;
struct net_http_server;
struct net_http_exchange; /* one request and its answer */
struct net_http_stream;   /* one open event stream */

struct net_http_config {
    const char *address;  /* "127.0.0.1", "::", … */
    uint16_t port;        /* 0: any; net_http_server_port tells */
    const char *cert_pem; /* PEM texts (not paths); both NULL: plain HTTP */
    const char *key_pem;
    bool tls12; /* also allow TLS 1.2 */
    int header_ms; /* a connection without a whole header after this is closed; 0: NET_HTTP_HEADER_MS */
    const char
        *server_name; /* for problem+json "instance" and logs: "everward", "everward-gateway" */
};

/* Called once the whole body is there. Must lead to exactly one net_http_reply* or
 * net_http_stream_open, now or later (on the loop thread). The exchange stays valid until then,
 * even if the client has left. */
typedef void (*net_http_handler_cb)(struct net_http_exchange *x, void *user);

struct net_http_route {
    const char *method; /* "GET", "POST", "PATCH", "DELETE" */
    const char *path; /* "/api/v1/{table}/{id}": {name} matches one segment; fixed segments win over
                         params */
    size_t body_bytes_max; /* 0: no body allowed (413) */
    bool auth_decided;     /* the author has decided who may call this; false is refused by
                              net_http_route_add */
    net_http_handler_cb handler;
};

int net_http_server_start(struct net_http_server **out, struct uv_loop_s *loop,
                          const struct net_http_config *config, void *user, struct base_err *err);
int net_http_route_add(struct net_http_server *s, const struct net_http_route *route,
                       struct base_err *err);
/* Replaces certificate and key for new connections. */
int net_http_server_tls_set(struct net_http_server *s, const char *cert_pem, const char *key_pem,
                            struct base_err *err);
uint16_t net_http_server_port(const struct net_http_server *s);
/* Stops accepting, closes idle connections and streams, lets requests under way finish until the
 * deadline, then calls done once on the loop; after it the struct is gone. */
typedef void (*net_http_stopped_cb)(void *user);
void net_http_server_stop(struct net_http_server *s, net_http_stopped_cb done, void *user);

/* What was asked. Strings live as long as the exchange. NULL where absent. */
const char *net_http_method(const struct net_http_exchange *x); /* HEAD shows as GET */
const char *net_http_path(const struct net_http_exchange *x);   /* decoded, without query */
const char *net_http_param(const struct net_http_exchange *x,
                           const char *name); /* of the route's path */
const char *net_http_header(const struct net_http_exchange *x, const char *name); /* any case */
const char *net_http_query(const struct net_http_exchange *x,
                           const char *name); /* first of that name */
/* All query parameters in order; stops when the callback returns false. value may be "". */
typedef bool (*net_http_query_cb)(void *user, const char *name, const char *value);
void net_http_query_each(const struct net_http_exchange *x, void *user, net_http_query_cb cb);
const char *net_http_body(const struct net_http_exchange *x, size_t *len); /* NUL-terminated */
const char *net_http_peer(const struct net_http_exchange *x);              /* "192.0.2.7" */
bool net_http_is_tls(const struct net_http_exchange *x);
const char *
net_http_request_id(const struct net_http_exchange *x); /* ours, in every reply as X-Request-Id */
void *net_http_tag(const struct net_http_exchange *x);  /* the caller's own pointer */
void net_http_set_tag(struct net_http_exchange *x, void *tag);
/* Calls the route's handler once more, for an exchange that has not been answered: what it had to wait for is there. */
void net_http_again(struct net_http_exchange *x, void *user);

/* Answering. Headers may be added before the reply. The body is copied. */
void net_http_reply_header(struct net_http_exchange *x, const char *name, const char *value);
void net_http_reply(struct net_http_exchange *x, int status, const char *content_type,
                    const void *body, size_t len);
/* As above but takes the malloc'ed body (free() when sent). */
void net_http_reply_take(struct net_http_exchange *x, int status, const char *content_type,
                         void *take_body, size_t len);
/* RFC 9457. code: our fixed word ("stale_version"); detail and hint: whole sentences or NULL. title
 * from status. */
void net_http_problem(struct net_http_exchange *x, int status, const char *code, const char *detail,
                      const char *hint);
/* extra_json: NULL or members to add, e.g. "\"current\":{…}". */
void net_http_problem_with(struct net_http_exchange *x, int status, const char *code,
                           const char *detail, const char *hint, const char *extra_json);
void net_http_retry_after(struct net_http_exchange *x, int seconds); /* header for 429/503 */

/* Event stream (text/event-stream): ends the exchange's reply phase. closed is called once, from
 * the loop and never from within net_http_stream_send, when the client has left, fell behind or the
 * server drains; the stream is invalid after it. It is not called for a stream its user closes.
 * NULL: no memory or the server stops; the exchange has been answered with 503. */
typedef void (*net_http_stream_closed_cb)(struct net_http_stream *st, void *user);
struct net_http_stream *net_http_stream_open(struct net_http_exchange *x, void *user,
                                             net_http_stream_closed_cb closed);
/* id and event may be NULL. data is one line or several (split into data: lines). */
void net_http_stream_send(struct net_http_stream *st, const char *id, const char *event,
                          const char *data);
/* What is queued is still sent. The stream is invalid from here on. */
void net_http_stream_close(struct net_http_stream *st);

/* For the test that walks the router. */
typedef void (*net_http_route_cb)(void *user, const struct net_http_route *route);
void net_http_routes_each(const struct net_http_server *s, void *user, net_http_route_cb cb);

struct net_http_counts {
    uint64_t requests, refused, streams_open, connections_open;
};
void net_http_counts(const struct net_http_server *s, struct net_http_counts *out);

#endif
