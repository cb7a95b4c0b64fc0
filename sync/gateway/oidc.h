/*
 * sync/gateway/oidc.h - people and other software, by access tokens of the hospital's identity
 * provider (OAuth 2.0, OpenID Connect discovery).
 *
 * Does:      asks sync/net/issuer.h whether a request's token holds, and reads the tenant from it.
 * Does not:  decide what the person may do: the database does, in everward.enter_person.
 * Thread:    the loop's.
 */
#ifndef SYNC_GATEWAY_OIDC_H
#define SYNC_GATEWAY_OIDC_H

#include "sync/gateway/gateway.h"
#include "sync/net/issuer.h"

/* Somebody whose token holds. Not yet somebody of the tenant: gw_add_enter_person asks that. */
struct gw_person {
    const char *issuer; /* the configuration's */
    char subject[NET_CLAIM_BYTES_MAX + 1];
    char tenant[BASE_UUID_CHARS + 1];
};
typedef void (*gw_person_cb)(struct gateway *gw, struct net_http_exchange *x,
                             const struct gw_person *person);
/* Checks the exchange's token; answers 401/503 itself if that fails, else calls back. */
void gw_authenticate_person(struct gateway *gw, struct net_http_exchange *x, gw_person_cb next);

/* BEGIN and entering, like gw_add_enter. Result 1 is (staff_id, roles as a JSON array). */
void gw_add_enter_person(struct gw_flight *f, const struct gw_person *person);

int gw_oidc_start(struct gateway *gw, struct base_err *err);
void gw_oidc_stop(struct gateway *gw); /* nobody waits any more */

int gw_routes_people(struct gateway *gw, struct base_err *err); /* fleet */

#endif
