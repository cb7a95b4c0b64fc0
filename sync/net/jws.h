/*
 * sync/net/jws.h - access tokens of an identity provider: signed JWTs (RFC 7515, 7519, 9068) checked
 * against the provider's key set (RFC 7517).
 *
 * Does:      RS256 (2,048 bits or more), ES256, EdDSA (Ed25519); issuer, audience, expiry,
 *            not-before; the claim that names the tenant.
 * Does not:  fetch or keep key sets, decide what a person may do, or believe anything before the
 *            signature: net_access_kid only finds the key.
 * The algorithm belongs to the key, not to the token: a token whose header names another one than
 * its key is refused, "none" and the HMAC ones always.
 */
#ifndef SYNC_NET_JWS_H
#define SYNC_NET_JWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sync/base/err.h"

enum {
    NET_ACCESS_BYTES_MAX = 8 * 1024,
    NET_ACCESS_SKEW_S = 60, /* clocks may differ by so much */
    NET_JWKS_KEYS_MAX = 32,
    NET_JWKS_BYTES_MAX = 256 * 1024,
    NET_KID_BYTES_MAX = 128,
    NET_CLAIM_BYTES_MAX = 255
};

struct net_jwks;
/* Keys of kinds we do not use, or for encryption, are left out; none that is left is no error. */
int net_jwks_parse(struct net_jwks **out, const char *json, size_t len, struct base_err *err);
void net_jwks_free(struct net_jwks *set); /* NULL is fine */
int net_jwks_count(const struct net_jwks *set);

struct net_access_want {
    const char *issuer, *audience;
    const char *tenant_claim;
    const char *nonce; /* NULL: an access token; else an ID token that must have this one */
    int64_t now_s;     /* since 1970 */
};
struct net_access {
    char subject[NET_CLAIM_BYTES_MAX + 1];
    char tenant[NET_CLAIM_BYTES_MAX + 1];
    int64_t expires_s;
};

/* BASE_EAUTH with the reason. BASE_ENOTFOUND: no key of the set has the token's kid (its provider
 * may have made a new one). */
int net_access_check(struct net_access *out, const char *token, size_t len,
                     const struct net_jwks *set, const struct net_access_want *want,
                     struct base_err *err);

/* What OpenID Connect discovery says of the issuer; all https addresses. */
enum { NET_ENDPOINT_BYTES_MAX = 1023 };
struct net_discovery {
    char jwks_uri[NET_ENDPOINT_BYTES_MAX + 1];
    char authorize[NET_ENDPOINT_BYTES_MAX + 1], token[NET_ENDPOINT_BYTES_MAX + 1]; /* "": none */
};
/* BASE_EAUTH if the document is another issuer's. */
int net_discovery_parse(struct net_discovery *out, const char *json, size_t len, const char *issuer,
                        struct base_err *err);

#endif
