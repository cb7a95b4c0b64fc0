/*
 * node/transport/fetch.h - one blocking HTTPS request, for setup; the daemon uses node/transport/transport.h.
 *
 * Never sends anything secret unless ca_path is given: without it the server is not verified, and only a GET is allowed.
 */
#ifndef NODE_TRANSPORT_FETCH_H
#define NODE_TRANSPORT_FETCH_H

#include "sync/base/buf.h"
#include "sync/base/err.h"

enum { NODE_FETCH_MS = 30 * 1000 };

/* body: NULL for GET, else JSON to POST. *status: the HTTP status. BASE_EUNREACHABLE, BASE_EAUTH (not the pinned CA). */
int node_transport_fetch(const char *url, const char *ca_path, const char *body,
                         struct base_buf *reply, long *status, struct base_err *err);

#endif
