/*
 * sync/gateway/pg_internal.h - what pg.c and flight.c share.
 */
#ifndef SYNC_GATEWAY_PG_INTERNAL_H
#define SYNC_GATEWAY_PG_INTERNAL_H

#include <uv.h>

#include "sync/gateway/pg.h"

enum { GW_PARAMS_MAX = 300 }; /* a table's columns and a few */

struct gw_query {
    const char *sql;
    struct gw_param *params;
    int count;
};

/* idle -> busy (taken) -> idle (given back) ... -> closed */
enum gw_conn_state { GW_CONN_IDLE, GW_CONN_BUSY, GW_CONN_CLOSED };

struct gw_pg_conn {
    struct gw_pg *pool;
    PGconn *pg;
    uv_poll_t poll;
    enum gw_conn_state state;
    bool broken;
    struct gw_flight *flight; /* under way */
    int at;                   /* the query whose result comes next */
    gw_flight_cb done;
    void *user;
    struct gw_flight rollback;
};

struct waiter {
    struct waiter *next;
    void *user;
    gw_taken_cb taken;
    int64_t since_ms;
};

struct opening {
    uv_work_t work;
    struct gw_pg *pool;
    const char *dsn;
    PGconn *pg;
    bool ok;
};

struct late {
    uv_timer_t timer;
    struct gw_pg_conn *conn;
};

struct gw_pg {
    struct uv_loop_s *loop;
    char *dsn;
    int size;
    struct gw_pg_conn *conns[GW_PG_SIZE_MAX];
    int opening; /* connection attempts under way */
    struct waiter *first, *last;
    int waiting;
    uv_timer_t tick;
    int64_t backoff_ms, not_before_ms;
    bool reachable, stopping;
    int handles; /* uv handles not yet closed */
    uint64_t connects, failures, flights;
};

void gw_pg_free_if_done(struct gw_pg *p);

#endif
