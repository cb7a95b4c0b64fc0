/*
 * node/api/oidc.h - what oidc.c (access tokens) and oidc_login.c (logging in at the provider) share.
 */
#ifndef NODE_API_OIDC_H
#define NODE_API_OIDC_H

#include "node/api/internal.h"
#include "sync/net/issuer.h"

enum {
    OIDC_LOGINS_MAX = 256,            /* under way at one time */
    OIDC_LOGINS_PER_ADDRESS_MAX = 32, /* then an address' oldest makes place */
    OIDC_LOGIN_MS = 10 * 60 * 1000,   /* between start and callback */
    OIDC_SECRET_CHARS = 43,           /* 32 random bytes as base64url */
    OIDC_CODE_BYTES_MAX = 2048,
    OIDC_REPLY_BYTES_MAX = 64 * 1024
};

/* Somebody who was sent to the provider and has not come back. In memory only: after a restart one begins again. */
struct oidc_pending {
    int64_t began_ms;         /* monotonic; 0: free */
    uint8_t state_hash[32];   /* what comes back in the address */
    uint8_t browser_hash[32]; /* what only the browser that began has, in a cookie */
    uint8_t device_hash
        [32]; /* of the paired device; its own cookie does not come along from elsewhere */
    bool has_device;
    char nonce[OIDC_SECRET_CHARS + 1], verifier[OIDC_SECRET_CHARS + 1];
    char token_url[NET_ENDPOINT_BYTES_MAX + 1];
    char peer[48];
};

struct api_oidc {
    struct node_api *api;
    struct net_issuer *issuer;
    struct node_api_oidc config;
    struct oidc_pending *pending; /* OIDC_LOGINS_MAX; NULL: no login here */
};

bool api_oidc_is_our_tenant(const struct node_api *a, const char *text);

#endif
