/*
 * sync/gateway/pg.h - PostgreSQL without waiting: a pool of connections, each transaction takes
 * one.
 *
 * Does:       opens connections on libuv's thread pool, keeps at most `size`, gives one to each
 * taker in order of asking, sends queries in libpq's pipeline mode ("a flight": several queries,
 *             one round trip) and hands back all results at once. Reconnects by itself, with
 * backoff. Does not:   keep anything in a session: no named statements, no SET, no LISTEN.
 * PgBouncer in transaction mode may stand between. Hosts, failover and TLS are the conninfo's.
 * Thread:     the loop's. A flight's results may be read by a worker while the taker holds it.
 * Invariant:  a connection given back inside a transaction is rolled back before anyone else has
 * it; one whose state is unknown is closed.
 */
#ifndef SYNC_GATEWAY_PG_H
#define SYNC_GATEWAY_PG_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "sync/base/buf.h"
#include "sync/base/err.h"

enum {
    GW_PG_SIZE_MAX = 256,
    GW_PG_QUEUE_MAX = 4096, /* takers waiting; beyond it BASE_EBUSY at once */
    GW_PG_WAIT_MS = 5000,   /* how long a taker waits for a connection */
    GW_PG_CONNECTS_MAX = 2, /* being opened at the same time: they hold a thread each */
    GW_PG_CONNECT_S = 5,    /* connect_timeout where the conninfo has none */
    GW_PG_BACKOFF_MS_MIN = 100,
    GW_PG_BACKOFF_MS_MAX = 2000,
    GW_PG_STATEMENT_MS = 60000, /* statement_timeout of every transaction */
    GW_PG_LOCK_MS = 15000       /* lock_timeout likewise */
};

struct uv_loop_s;
struct gw_pg;
struct gw_pg_conn;

/* One parameter; data NULL is SQL NULL. Text must be NUL-terminated; binary has len bytes. */
struct gw_param {
    const char *data;
    int len;
    bool binary;
};

struct gw_flight {
    struct gw_query *queries;
    int count, cap;
    int rc; /* after the flight: 0; BASE_EUNREACHABLE lost; BASE_EINVALID a query failed; _ENOMEM */
    int failed; /* index of the first query that failed, or -1 */
    char sqlstate[6];
    char constraint[64]; /* name only; the server's sentences stay here (see gw_flight_log) */
    PGresult **results;  /* [count]; NULL behind a failed one */
};

typedef void (*gw_flight_cb)(void *user, struct gw_flight *f);
/* rc 0 and a connection, or BASE_EBUSY (queue full), BASE_EUNREACHABLE, BASE_ETIMEDOUT. */
typedef void (*gw_taken_cb)(void *user, int rc, struct gw_pg_conn *conn);

void gw_flight_init(struct gw_flight *f);
void gw_flight_clear(struct gw_flight *f); /* forgets queries and results, keeps the memory */
void gw_flight_release(struct gw_flight *f);
/* Adds a query; sql and what params point to are borrowed until gw_pg_fly, the array is copied.
 * Returns its index; out of memory is told by the flight. */
int gw_flight_add(struct gw_flight *f, const char *sql, int count, const struct gw_param *params);
/* A value of the first row, or NULL. */
const char *gw_flight_value(const struct gw_flight *f, int query, int column);
int gw_flight_rows(const struct gw_flight *f, int query);
/* May the same transaction go through if it is repeated as it is? */
bool gw_sqlstate_passing(const char *sqlstate);
/* Is the batch or the row at fault, for good? Neither: an inner error, treated as passing. */
bool gw_sqlstate_permanent(const char *sqlstate);

static inline struct gw_param gw_text(const char *s)
{
    return (struct gw_param){s, 0, false};
}

int gw_pg_start(struct gw_pg **out, struct uv_loop_s *loop, const char *dsn, int size,
                struct base_err *err);
void gw_pg_stop(struct gw_pg *p); /* the struct goes with the loop's last turns */
void gw_pg_take(struct gw_pg *p, void *user, gw_taken_cb taken);
void gw_pg_give(struct gw_pg_conn *c);
/* Sends the flight; done is called later, always. One flight at a time per connection. */
void gw_pg_fly(struct gw_pg_conn *c, struct gw_flight *f, void *user, gw_flight_cb done);

struct gw_pg_counts {
    int size, open, busy, waiting;
    uint64_t connects, failures, flights;
    bool reachable; /* the last connection attempt or flight reached a server */
};
void gw_pg_counts(const struct gw_pg *p, struct gw_pg_counts *out);

#endif
