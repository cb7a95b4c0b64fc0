/*
 * sync/net/fetch.h - one blocking HTTPS request: for setup, and on a worker thread for what an
 * identity provider publishes. The daemon's sync uses node/transport/transport.h.
 *
 * Follows no redirects. Never sends anything without having verified the server.
 */
#ifndef SYNC_NET_FETCH_H
#define SYNC_NET_FETCH_H

#include <stdbool.h>

#include "sync/base/buf.h"
#include "sync/base/err.h"

enum { NET_FETCH_MS = 30 * 1000 };

struct net_fetch {
    const char *url;
    const char *ca_path; /* NULL: the system's CAs */
    bool unverified;     /* whoever answers: only for a certificate that is checked afterwards */
    bool tls12;          /* also TLS 1.2, for servers that are not ours */
    const char *body;    /* NULL: GET; else what to POST */
    const char *type;    /* of the body; NULL: JSON */
    const char *user, *password; /* HTTP Basic, never sent elsewhere; NULL: none */
    long timeout_ms;             /* 0: NET_FETCH_MS */
};

/* *status: the HTTP status; reply: limited by its own maximum. BASE_EUNREACHABLE, BASE_ETIMEDOUT, BASE_EAUTH (the certificate is not
 * from that CA), BASE_ETOOBIG. */
int net_fetch(const struct net_fetch *f, struct base_buf *reply, long *status,
              struct base_err *err);

#endif
