/*
 * sync/net/http_internal.h - what the files of the HTTP server share. Only they include it, and
 * libmicrohttpd through it.
 */
#ifndef SYNC_NET_HTTP_INTERNAL_H
#define SYNC_NET_HTTP_INTERNAL_H

#include <microhttpd.h>
#include <uv.h>

#include "sync/base/buf.h"
#include "sync/net/http.h"

enum {
    HTTP_ROUTES_MAX = 128,
    HTTP_POOL_BYTES = NET_HTTP_HEADER_BYTES_MAX + 8 * 1024,
    HTTP_REPLY_HEADERS_MAX = 16,
    HTTP_SEGMENTS_MAX = 12,
    HTTP_QUERIES_MAX = 64,
    HTTP_SWEEP_MS = 1000,
    HTTP_BODY_GRACE_MS = 5000, /* a body may begin slowly */
    HTTP_REQUEST_ID_CHARS = 16
};

enum http_phase {
    HTTP_IDLE,    /* nothing of a request has come; also the TLS handshake */
    HTTP_HEADER,  /* request line is there, header is coming */
    HTTP_BODY,    /* body is coming */
    HTTP_WORKING, /* the handler has it */
    HTTP_REPLYING
};

/* One connection, on the server's list from accept to close. */
struct http_connection {
    struct http_connection *prev, *next;
    int fd;
    enum http_phase phase;
    bool first; /* no request has been answered yet */
    int64_t since_ms;
    size_t body_bytes;
};

struct http_pair {
    char *name, *value;
};

/* One request. Two hold it: the library until its connection is done with it, the handler until it
 * has replied. */
struct net_http_exchange {
    struct net_http_exchange *prev, *next; /* the server's list */
    struct net_http_server *server;
    struct MHD_Connection *connection; /* NULL: the client has left */
    struct http_connection *entry;
    const struct net_http_route *route;
    const char *method;
    char *raw;  /* request target as sent */
    char *path; /* decoded */
    struct http_pair params[NET_HTTP_PATH_PARAMS_MAX];
    int param_count;
    struct http_pair queries[HTTP_QUERIES_MAX];
    int query_count;
    struct base_buf body;
    char request_id[HTTP_REQUEST_ID_CHARS + 1];
    char peer[64];
    struct MHD_Response *response;                    /* ready to be queued */
    struct http_pair headers[HTTP_REPLY_HEADERS_MAX]; /* for the reply */
    int header_count;
    unsigned status;
    void *tag;
    bool begun;        /* the first call of the access handler has been */
    bool with_handler; /* the handler owes a reply */
    bool replied, suspended;
    bool orphan; /* the server is gone */
};

struct net_http_stream {
    struct net_http_stream *prev, *next;
    struct net_http_server *server;
    struct MHD_Connection *connection;
    struct base_buf queue;
    size_t sent; /* of queue */
    bool suspended, closing;
    void *user;
    net_http_stream_closed_cb closed;
};

struct net_http_server {
    struct MHD_Daemon *daemon;
    uv_loop_t *loop;
    uv_poll_t poll;
    uv_timer_t timer, sweep;
    int handles_open;
    void *user;
    char name[64];
    uint16_t port;
    bool tls, draining;
    int64_t drain_until_ms;
    struct net_http_route routes[HTTP_ROUTES_MAX];
    int route_count;
    struct http_connection *connections;
    struct net_http_stream *streams;
    struct net_http_exchange *exchanges;
    int64_t heartbeat_at_ms;
    struct net_http_counts counts;
    net_http_stopped_cb stopped;
    void *stopped_user;
};

/* http_exchange.c */
void *http_exchange_begin(void *server, const char *uri, struct MHD_Connection *connection);
enum MHD_Result http_exchange_access(void *server, struct MHD_Connection *connection,
                                     const char *url, const char *method, const char *version,
                                     const char *upload, size_t *upload_len, void **held);
void http_exchange_completed(void *server, struct MHD_Connection *connection, void **held,
                             enum MHD_RequestTerminationCode code);
void http_exchange_resume(struct net_http_exchange *x);
/* Wakes every suspended connection; what their handlers reply later goes nowhere. */
void http_exchanges_abandon(struct net_http_server *s);
void http_reply_with(struct net_http_exchange *x, int status, struct MHD_Response *response);

/* http_path.c: strict decoding. False: malformed (bad escape, NUL, "..", too many parts). */
bool http_path_split(struct net_http_exchange *x);
/* Finds the route; NULL: 404, or 405 if *allow was filled with the methods there are. */
const struct net_http_route *http_route_find(struct net_http_exchange *x, char *allow,
                                             size_t allow_bytes);

/* http_stream.c */
void http_streams_heartbeat(struct net_http_server *s);
void http_streams_close_all(struct net_http_server *s);

/* http_tls.c */
int http_tls_set(const char *cert_pem, const char *key_pem, struct base_err *err);
void *http_tls_callback(void);

#endif
