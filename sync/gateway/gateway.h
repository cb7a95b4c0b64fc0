/*
 * sync/gateway/gateway.h - what all endpoints of one running gateway share.
 *
 * Stateless between requests: everything here is a cache or a queue; kill the process at any moment
 * and nothing is lost.
 * Thread: the loop's.
 */
#ifndef SYNC_GATEWAY_GATEWAY_H
#define SYNC_GATEWAY_GATEWAY_H

#include <uv.h>

#include "sync/base/config.h"
#include "sync/base/uuid.h"
#include "sync/gateway/catalog.h"
#include "sync/gateway/pg.h"
#include "sync/net/http.h"
#include "sync/net/token.h"

enum {
    GW_BODY_BYTES_MAX = 4 * 1024 * 1024, /* compressed push */
    GW_SMALL_BODY_BYTES_MAX = 64 * 1024,
    GW_KEY_LIFE_MS = 60 * 1000, /* a node's public key may be this old */
    GW_KEY_AGAIN_MS = 1000,     /* ... and is asked for again so soon if a token does not fit it */
    GW_KEYS_MAX = 65536,
    GW_SEEN_EVERY_MS = 10 * 1000, /* how often a node's last_seen_at is written */
    GW_HEADER_MS = 30 * 1000, /* TLS and a request's header from a clinic behind a slow, far line */
    GW_RETRY_AFTER_S = 2
};

struct gw_feed;
struct push;
struct gw_keys;
struct gw_oidc;

struct gw_counts {
    uint64_t pushes, push_bytes, changes, merged, duplicate, contested, quarantined, fast, slow;
    uint64_t retries, refused, feeds, feed_changes, polls_waiting, pages;
    uint64_t decode_us, plan_us, write_us, commit_us; /* where a push's time goes, in sum */
};

struct gateway {
    uv_loop_t *loop;
    const struct base_config *config;
    struct gw_pg *pool;
    struct net_http_server *http;
    struct gw_catalog *catalog; /* NULL until first asked for */
    struct gw_keys *keys;
    struct gw_oidc *oidc; /* NULL: no identity provider is configured */
    struct gw_feed *feed;
    struct push *pushes; /* under way */
    const char *audience;
    char *ca_pem; /* NULL: none configured */
    char timeline[BASE_UUID_CHARS + 1];
    struct gw_counts counts;
    bool stopping;
};

/* The node that a checked token names. */
struct gw_who {
    struct base_uuid node_id, tenant_id;
    char node[BASE_UUID_CHARS + 1], tenant[BASE_UUID_CHARS + 1];
    char ticket[2 + 2 * NET_TICKET_BYTES + 1]; /* bytea in hex; the database checks it */
    uint8_t public_key[32];
    uint8_t former_key[32]; /* before the last rotation: it may have signed up to former_upto */
    int64_t former_upto;    /* 0: there was none */
    bool late;              /* it does not ask itself: the ticket is an operator's permit */
};

/* Checks the exchange's token; answers 401/503 itself if that fails, else calls back. */
typedef void (*gw_who_cb)(struct gateway *gw, struct net_http_exchange *x,
                          const struct gw_who *who);
void gw_authenticate(struct gateway *gw, struct net_http_exchange *x, gw_who_cb next);
int gw_keys_start(struct gateway *gw, struct base_err *err);
void gw_keys_stop(struct gateway *gw);
/* True at most every GW_SEEN_EVERY_MS for a node. */
bool gw_keys_seen_due(struct gateway *gw, const struct base_uuid *node);
void gw_keys_forget(struct gateway *gw, const struct base_uuid *node);

/* BEGIN and entering: the first two queries of each transaction. Result 1 is
 * (tenant_id, site_id, incarnation). */
enum { GW_ENTER_QUERY = 1, GW_ENTER_INCARNATION = 2 };
void gw_add_enter(struct gw_flight *f, const struct gw_who *who);

/* Answers for a taker that got no connection, or a flight that failed. Never the server's words. */
void gw_reply_no_conn(struct gateway *gw, struct net_http_exchange *x, int rc);
void gw_reply_failed(struct gateway *gw, struct net_http_exchange *x, const struct gw_flight *f,
                     const char *what);

/* The endpoints, each registering its routes. */
int gw_routes_node(struct gateway *gw, struct base_err *err); /* enrol, ca, hello, catalog */
int gw_routes_life(struct gateway *gw, struct base_err *err); /* lineage, rejoin */
int gw_routes_numbers(struct gateway *gw, struct base_err *err);
int gw_routes_report(struct gateway *gw, struct base_err *err);
int gw_routes_keys(struct gateway *gw, struct base_err *err); /* readmit, rotate */
int gw_routes_push(struct gateway *gw, struct base_err *err);
int gw_routes_feed(struct gateway *gw, struct base_err *err);
int gw_routes_fill(struct gateway *gw, struct base_err *err); /* bootstrap, verify */
int gw_routes_standing(struct gateway *gw, struct base_err *err);
int gw_routes_escrow(struct gateway *gw, struct base_err *err);
int gw_routes_audit(struct gateway *gw, struct base_err *err);
int gw_routes_fleet(struct gateway *gw, struct base_err *err);
int gw_routes_health(struct gateway *gw, struct base_err *err);

int gw_feed_start(struct gateway *gw, const char *listen_dsn, struct base_err *err);
void gw_feed_stop(struct gateway *gw); /* answers all who wait */

#endif
