/*
 * sync/net/http_internal.h - what the files of the HTTP server share. Nobody else includes it.
 *
 * An exchange belongs to two sides: to the library until it says the request is over, and to the
 * handler until it has answered. It is freed when both are through, so a client that leaves early
 * harms no handler.
 *
 *   URI seen ──▶ X_HEADER ──first call──▶ X_BODY ──last call──▶ X_HANDLING ──reply──▶ X_REPLIED ──▶
 * freed └── refused at once (framing, body too large): answer and close
 */
#ifndef SYNC_NET_HTTP_INTERNAL_H
#define SYNC_NET_HTTP_INTERNAL_H

#include <arpa/inet.h>
#include <gnutls/abstract.h>
#include <microhttpd.h>
#include <uv.h>

#include "sync/base/buf.h"
#include "sync/net/http.h"

enum {
    NET_HTTP_POOL_BYTES =
        NET_HTTP_HEADER_BYTES_MAX + 8 * 1024, /* the library's memory per connection */
    NET_HTTP_HEADERS_MAX = 64,
    NET_HTTP_QUERY_MAX = 64,
    NET_HTTP_REPLY_HEADERS_MAX = 16,
    NET_HTTP_BODY_GRACE_MS = 5 * 1000,       /* before the least rate counts */
    NET_HTTP_BODY_OVERRUN_BYTES = 64 * 1024, /* of a body read past its limit to answer 413 */
    NET_HTTP_SWEEP_MS = 1000,
    NET_HTTP_PUMP_STREAMS = 256,   /* streams woken per turn of the loop */
    NET_HTTP_PROBE_STREAMS = 4096, /* per sweep */
    NET_HTTP_PROBE_MS = 5 * 1000,  /* how soon a stream's client that left is found */
    NET_HTTP_REQUEST_ID_CHARS = 24
};

struct net_http_pair {
    const char *name, *value;
};

/* Where a connection stands; the sweep's deadlines depend on it. */
enum net_http_conn_state { C_FIRST, C_IDLE, C_HEADER, C_BODY, C_HANDLING, C_REPLYING, C_STREAM };

struct net_http_conn {
    struct net_http_conn *prev, *next;
    struct net_http_server *server;
    struct net_http_exchange *x; /* the request under way */
    enum net_http_conn_state state;
    int fd;
    bool cut;          /* nothing more is read from it */
    uint64_t since_ms; /* of this state */
    uint64_t bytes;    /* C_BODY: received; C_REPLYING: to be sent */
    char peer[INET6_ADDRSTRLEN];
};

enum net_http_phase { X_HEADER, X_BODY, X_HANDLING, X_REPLIED };

struct net_http_exchange {
    struct net_http_server *server; /* NULL once the server is gone */
    struct MHD_Connection *library; /* NULL once the library is through with it */
    struct net_http_conn *conn;
    struct net_http_stream *stream;
    const struct net_http_route *route;
    enum net_http_phase phase;
    bool suspended, in_callback, has_body, body_over;
    bool user_done; /* the handler has answered, or was never called */
    int refused;    /* status decided before the handler; 0: none */
    const char *refused_code, *refused_detail;
    char allow[64]; /* for 405 */
    const char *method;
    char *target; /* raw */
    const char
        *target_at; /* where the library holds it; compared, not read, after the first call */
    char *text;     /* path, query and headers, decoded */
    const char *path;
    struct net_http_pair params[NET_HTTP_PATH_PARAMS_MAX], query[NET_HTTP_QUERY_MAX],
        headers[NET_HTTP_HEADERS_MAX], reply_headers[NET_HTTP_REPLY_HEADERS_MAX];
    unsigned param_count, query_count, header_count, reply_header_count;
    struct base_buf body;
    struct MHD_Response *response;
    int status;
    size_t reply_bytes;
    void *tag;
    char peer[INET6_ADDRSTRLEN];
    bool tls;
    char request_id[NET_HTTP_REQUEST_ID_CHARS + 1];
};

struct net_http_stream {
    struct net_http_stream *prev, *next;             /* all of the server, oldest probe first */
    struct net_http_stream *ready_prev, *ready_next; /* those to be woken */
    struct net_http_exchange *x;
    struct base_buf queue;
    size_t sent;                  /* of the queue */
    uint64_t probed_ms, spoke_ms; /* looked whether the client is there; last sent something */
    bool suspended, in_ready, ending, dropped, user_closed;
    net_http_stream_closed_cb closed;
    void *user;
};

struct net_http_routes {
    struct net_http_route **items; /* each on its own: an exchange keeps a pointer */
    size_t count, cap;
};

struct net_http_tls;

struct net_http_server {
    struct MHD_Daemon *daemon;
    uv_loop_t *loop;
    uv_poll_t poll;
    uv_timer_t wake;  /* the library's own next timeout */
    uv_timer_t sweep; /* deadlines and heartbeats */
    uv_idle_t pump; /* active while something is to be done at once: streams to wake, connections to
                       resume */
    int handles_open;
    void *user;
    char name[64];
    char id_prefix[9]; /* random per start: ids of two runs do not meet */
    uint64_t id_next;
    uint16_t port;
    struct net_http_tls *tls;
    struct net_http_routes routes;
    struct net_http_conn *conns;
    struct net_http_stream *streams_head, *streams_tail;
    struct net_http_stream *ready_head, *ready_tail;
    uint64_t header_ms;
    uint64_t handling; /* exchanges whose answer is not complete */
    bool again;        /* the library wants another turn at once */
    bool running;      /* inside the library: no second entry */
    bool draining, finished;
    uint64_t drain_until_ms;
    net_http_stopped_cb stopped;
    void *stopped_user;
    struct net_http_counts counts;
};

/* http_tls.c */
int net_http_tls_new(struct net_http_tls **out, const char *cert_pem, const char *key_pem,
                     struct base_err *err);
void net_http_tls_free(struct net_http_tls *t);
int net_http_tls_replace(struct net_http_tls *t, const char *cert_pem, const char *key_pem,
                         struct base_err *err);
int net_http_tls_retrieve(gnutls_session_t session, const struct gnutls_cert_retr_st *info,
                          gnutls_pcert_st **certs, unsigned *count, gnutls_ocsp_data_st **ocsp,
                          unsigned *ocsp_count, gnutls_privkey_t *key, unsigned *flags);

/* http_target.c: routes and the request's target. Finds the route or leaves the refusal in x. */
void net_http_target_read(struct net_http_exchange *x);
void net_http_routes_release(struct net_http_routes *r);

/* http_request.c: the library's callbacks for one request. */
void *net_http_on_uri(void *cls, const char *uri, struct MHD_Connection *connection);
enum MHD_Result net_http_on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                    const char *method, const char *version, const char *upload,
                                    size_t *upload_len, void **context);
void net_http_on_completed(void *cls, struct MHD_Connection *connection, void **context,
                           enum MHD_RequestTerminationCode how);
void net_http_refuse(struct net_http_exchange *x, int status, const char *code, const char *detail);

/* http_reply.c */
void net_http_exchange_free(struct net_http_exchange *x);
void net_http_exchange_answered(
    struct net_http_exchange *x); /* x->response is set, or NULL: close */

/* http_stream.c */
void net_http_stream_over(struct net_http_stream *st); /* the library is through with it */
void net_http_streams_probe(struct net_http_server *s, uint64_t now_ms);
void net_http_streams_end(struct net_http_server *s);
void net_http_on_pump(uv_idle_t *handle);

/* http.c */
void net_http_conn_enter(struct net_http_conn *c, enum net_http_conn_state state);
void net_http_conn_cut(
    struct net_http_conn *c); /* shuts the socket; the library notices by itself */
void net_http_server_turn(struct net_http_server *s);
void net_http_resume(struct net_http_server *s, struct MHD_Connection *connection);

#endif
