/*
 * sync/net/issuer.h - the hospital's identity provider (OAuth 2.0, OpenID Connect discovery), as gateway and node know it.
 *
 * Does:      keeps where it is and its key set: fetched at the first use, anew every NET_ISSUER_FRESH_MS
 *            and for an unknown key (not more often than NET_ISSUER_COOL_DOWN_MS); what can't be
 *            renewed goes on serving, also what a run before had fetched (net_issuer_adopt).
 *            Checks tokens against it.
 * Does not:  decide what a person may do, or keep anything on disk.
 * Thread:    the loop's; fetching runs on libuv's pool.
 */
#ifndef SYNC_NET_ISSUER_H
#define SYNC_NET_ISSUER_H

#include "sync/net/jws.h"

enum {
    NET_ISSUER_BYTES_MAX = 512,
    NET_ISSUER_FRESH_MS = 10 * 60 * 1000,
    NET_ISSUER_UP_MS = 30 * 1000, /* between looks whether it is still there */
    NET_ISSUER_COOL_DOWN_MS = 5 * 1000,
    NET_ISSUER_FETCH_MS = 5 * 1000,
    NET_ISSUER_WAITING_MAX = 256,
    NET_ISSUER_DOCUMENT_BYTES_MAX = 2 * NET_JWKS_BYTES_MAX + 64
};

struct uv_loop_s;
struct net_issuer;
struct net_issuer_config { /* its texts must live as long as the issuer */
    const char *issuer, *audience, *tenant_claim;
    const char *ca; /* PEM file; "": the system's */
    void *user;
    /* What came, for net_issuer_adopt in the next run; NULL: not wanted. */
    void (*fetched)(void *user, const char *document, size_t len);
};
int net_issuer_new(struct net_issuer **out, struct uv_loop_s *loop,
                   const struct net_issuer_config *config, struct base_err *err);
/* Who waits is told BASE_ECANCELED. NULL is fine. */
void net_issuer_free(struct net_issuer *i);
int net_issuer_adopt(struct net_issuer *i, const char *document, size_t len, struct base_err *err);

struct net_issuer_ask {
    const char *token; /* must live until the answer */
    size_t len;
    const char *audience; /* NULL: the configuration's */
    const char *nonce;    /* NULL: of an access token; else an ID token must have this one */
};
/* rc 0: access holds. BASE_EUNREACHABLE: the keys could not be fetched. Else as net_access_check; an
 * unknown key is BASE_EAUTH. May be called before net_issuer_check returns. */
typedef void (*net_issuer_cb)(void *user, int rc, const struct net_access *access, const char *why);
void net_issuer_check(struct net_issuer *i, const struct net_issuer_ask *ask, void *user,
                      net_issuer_cb done);

/* Does it answer at this moment (within NET_ISSUER_COOL_DOWN_MS)? May be called at once. where: NULL if not. */
typedef void (*net_issuer_up_cb)(void *user, const struct net_discovery *where);
void net_issuer_up(struct net_issuer *i, void *user, net_issuer_up_cb done);
/* By what was seen last, without asking: somebody must ask every NET_ISSUER_UP_MS (net_issuer_tick). */
bool net_issuer_is_up(const struct net_issuer *i);
void net_issuer_tick(struct net_issuer *i);

#endif
