/*
 * sync/gateway/fleet.h - the fleet page: how a tenant's nodes are, for the hospital's IT in a browser.
 *
 * Does:      serves the page's files; turns an operator's link into a session, once; answers
 *            GET /fleet/v1/nodes for that session's tenant, or for a person with a token (oidc.h).
 * Does not:  change anything at a node; know a patient.
 * Thread:    the loop's.
 * Invariant: link and session name their tenant, and the database seals that tenant before it looks
 *            for their hash; they are kept nowhere but as hashes.
 */
#ifndef SYNC_GATEWAY_FLEET_H
#define SYNC_GATEWAY_FLEET_H

#include <stddef.h>

#include "sync/gateway/gateway.h"

enum {
    GW_FLEET_TENANT_BYTES = 16,
    GW_FLEET_SECRET_BYTES = 32,
    GW_FLEET_KEY_BYTES = GW_FLEET_TENANT_BYTES + GW_FLEET_SECRET_BYTES,
    GW_FLEET_KEY_CHARS = GW_FLEET_KEY_BYTES / 3 * 4, /* in base64url; what link and cookie carry */
    GW_FLEET_SESSION_S = 8 * 3600                    /* as everward.open_fleet says */
};

/* A file of the page, made by node/web/embed.cmake. */
struct gw_web_file {
    const char *name, *type, *etag;
    const void *data;
    size_t len;
};
extern const struct gw_web_file gw_web_files[];
extern const size_t gw_web_file_count;

int gw_routes_fleet_web(struct gateway *gw, struct base_err *err);

/* The page's document for whom a bearer token names (routes_people.c). */
void gw_fleet_by_token(struct gateway *gw, struct net_http_exchange *x);

#endif
