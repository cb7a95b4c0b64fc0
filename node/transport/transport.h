/*
 * node/transport/transport.h - HTTPS requests to the gateway: libcurl's multi interface on the libuv loop.
 *
 * Does:       TLS 1.3 against the pinned CA alone, connections kept alive, a limit on what comes back, absolute deadlines.
 * Does not:   retry, decompress, or know what is asked.
 * Thread:     the loop's. A request is embedded in its owner; done is called once, never from within node_transport_send.
 */
#ifndef NODE_TRANSPORT_TRANSPORT_H
#define NODE_TRANSPORT_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "sync/base/buf.h"
#include "sync/base/err.h"

enum {
    NODE_TRANSPORT_REPLY_BYTES_MAX = 40 * 1024 * 1024,
    NODE_TRANSPORT_CONNECT_MS = 30 * 1000, /* TCP and TLS, on a slow, far line */
    NODE_TRANSPORT_REQUEST_MS = 60 * 1000, /* of silence, or of less than this: */
    NODE_TRANSPORT_BYTES_PER_S_MIN = 64,
    NODE_TRANSPORT_TOTAL_MS = 20 * 60 * 1000, /* whatever comes meanwhile */
    NODE_TRANSPORT_POLL_S = 50                /* how long a feed request asks to be held */
};

struct uv_loop_s;
struct node_transport;

struct node_request {
    /* set by the owner */
    const char *method; /* "GET", "POST" */
    const char *path;   /* with query; copied */
    const char *token;  /* copied */
    const void *body;   /* must live until done; NULL for GET */
    size_t body_len;
    const char *content_type; /* of the body */
    bool zstd;                /* the body is compressed */
    int64_t timeout_ms;       /* of silence; 0: NODE_TRANSPORT_REQUEST_MS */
    bool fresh;               /* on a connection of its own, so that the timing tells */
    void (*done)(struct node_request *r);
    void *owner;
    /* set before done */
    int rc; /* 0: there is an answer, of whatever status */
    struct base_err err;
    long status;
    struct base_buf reply; /* released by the owner */
    int64_t retry_after_s; /* 0: none given */
    int64_t date_s;        /* the server's Date header, since 1970; 0: none */
    int64_t took_ms;
    struct {
        int64_t name_us, connect_us, tls_us, answer_us;
        bool tls_failed; /* the machine was reached, libcurl does not tell when */
    } timing; /* when each was done, since it began; 0: not, or the connection was there */
    /* the transport's */
    void *handle, *headers;
    int64_t started_ms;
    struct node_request *next;
};

int node_transport_open(struct node_transport **out, struct uv_loop_s *loop, const char *base_url,
                        const char *ca_path, struct base_err *err);
/* Starts it. On failure done is called from the loop with rc set. */
void node_transport_send(struct node_transport *t, struct node_request *r);
/* Ends this one if it is under way (done with BASE_ECANCELED). */
void node_transport_cancel(struct node_transport *t, struct node_request *r);
/* Ends every request under way (done with BASE_ECANCELED). */
void node_transport_cancel_all(struct node_transport *t);
void node_transport_close(struct node_transport *t, void (*closed)(void *user), void *user);

#endif
