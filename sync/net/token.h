/*
 * sync/net/token.h - the node's own short-lived tokens (JWT, RFC 7519, EdDSA only), made and
 * checked.
 *
 * A token is made by the node with its signing key for one audience and lives NET_TOKEN_LIFE_S. The
 * algorithm is not negotiable: any header other than {"alg":"EdDSA","typ":"JWT","kid":…} is
 * refused.
 */
#ifndef SYNC_NET_TOKEN_H
#define SYNC_NET_TOKEN_H

#include <stdint.h>

#include "sync/base/buf.h"
#include "sync/base/err.h"
#include "sync/base/uuid.h"

/* Said alike of an id that nobody has and of a wrong signature: nobody learns which ids there are. */
#define NET_TOKEN_STRANGER "no node of this id and key is registered here"

enum {
    NET_TOKEN_LIFE_S = 300,
    NET_TOKEN_SKEW_S = 120,
    NET_TOKEN_BYTES_MAX = 2048,
    NET_TICKET_BYTES = 32
};

struct net_token {
    struct base_uuid tenant_id;
    struct base_uuid node_id;
    uint8_t ticket[NET_TICKET_BYTES]; /* from enrolment; the database knows only its hash */
    char audience[128];
    int64_t issued_s, expires_s; /* since 1970 */
};

/* Signs with the callback, so that the key stays where it lives. sig: 64 bytes. */
typedef int (*net_token_sign_cb)(void *user, const void *msg, size_t len, uint8_t sig[64]);
int net_token_make(struct base_buf *out, const struct net_token *claims, net_token_sign_cb sign,
                   void *user, struct base_err *err);

/* Reads the claims WITHOUT believing them: only to find the registered key. */
int net_token_peek(struct net_token *out, const char *token, size_t len, struct base_err *err);
/* Signature under public_key, audience, iat/exp against now_s with NET_TOKEN_SKEW_S. BASE_EAUTH
 * with the reason. */
int net_token_check(struct net_token *out, const char *token, size_t len,
                    const uint8_t public_key[32], const char *audience, int64_t now_s,
                    struct base_err *err);

#endif
