/*
 * node/store/store.h - the sealed replica: one writer thread, reader threads, jobs.
 *
 * Does:       opens <dir>/node.db through node/cryptvfs, runs jobs on its threads, groups the commits of concurrent writes
 *             (each job in a savepoint of its own, each answered for itself once the shared commit is durable),
 *             checkpoints, tells the loop what changed.
 * Does not:   know the network or HTTP, or decide conflicts (sync/core/merge.h).
 * Thread:     node_store_* on the loop's thread. A job's run() on a store thread with the node_db it is given; nothing
 *             from a node_db may outlive run(). done() on the loop's thread.
 * Invariant:  no row moves without exactly one change (local) or one central image (feed, bootstrap, repair).
 *             done() with rc 0 of a write means: on disk, synced. Dying before it: the caller has answered nobody.
 * Settings:   WAL, synchronous=FULL, cache_spill=OFF, only the writer checkpoints (design, encryption.md).
 */
#ifndef NODE_STORE_STORE_H
#define NODE_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "sync/base/err.h"
#include "sync/base/uuid.h"
#include "sync/core/catalog.h"

enum {
    NODE_STORE_READERS = 2,
    NODE_STORE_QUEUE_MAX = 4096,    /* jobs waiting; more: BASE_EBUSY at once */
    NODE_STORE_GROUP_MAX = 256,     /* writes in one commit */
    NODE_STORE_CACHE_KIB = 6 * 1024 /* per connection */
};

struct uv_loop_s;
struct node_store;
struct node_db; /* a connection in the hands of a job */

struct node_job {
    /* On a store thread. Nonzero: this job's writes are undone (the others' of the group are not). */
    int (*run)(struct node_job *job, struct node_db *db, struct base_err *err);
    void (*done)(struct node_job *job); /* on the loop; may free the job */
    int rc;
    struct base_err err;
    bool write;
    bool though_frozen; /* a write that is taken all the same */
    bool exclusive;     /* a node_rekey (copy.h): alone on the writer, outside of a transaction */
    struct node_job *next; /* the queue's */
};

/* Who the replica belongs to; written once at setup. */
struct node_identity {
    struct base_uuid tenant_id, site_id, node_id;
    char tenant_name[128], site_name[128], node_name[128];
    int64_t incarnation;
    bool training; /* synthetic patients, and never a line to a centre: sealed in, and for good */
};

int node_store_open(struct node_store **out, struct uv_loop_s *loop, const char *dir,
                    const uint8_t data_key[32], struct base_err *err);
/* The key the audit trail is chained under; borrowed until the store is closed. Before the first job. */
void node_store_audit_key(struct node_store *s, const uint8_t audit_key[32]);
/* For setup and command line: creates the file and its bookkeeping tables (schema/node), no loop needed. */
int node_store_create(const char *dir, const uint8_t data_key[32], const struct node_identity *id,
                      struct base_err *err);
/* Runs what is queued, closes, then calls closed once on the loop. */
void node_store_close(struct node_store *s, void (*closed)(void *user), void *user);

void node_store_read(struct node_store *s, struct node_job *job);
void node_store_write(struct node_store *s, struct node_job *job);

/* Writes are refused from now on (BASE_ECANCELED); those that wait already are done. False: taken again. */
void node_store_freeze(struct node_store *s, bool frozen);

/* After a commit, on the loop: the rows that moved (several jobs' together, in order). */
struct node_moved {
    const char *table; /* lives as long as the call */
    struct base_uuid id;
    char op;                     /* 'i' 'u' 'd' */
    bool local;                  /* written here; else from the centre */
    struct base_uuid patient_id; /* of the row, zero if none: for event filters */
};
typedef void (*node_moved_cb)(void *user, const struct node_moved *moved, int count,
                              int64_t event_seq_last);
void node_store_on_moved(struct node_store *s, node_moved_cb cb,
                         void *user); /* several may register (max 4) */
typedef void (*node_failed_cb)(void *user, int rc,
                               const char *text); /* disk full, corruption: on the loop */
void node_store_on_failed(struct node_store *s, node_failed_cb cb, void *user);

/* The catalog in force; swapped as a whole when a new version was applied. Loop thread: valid until the next turn of the loop.
 * In a job: node_db_catalog, valid until run() returns. */
const struct core_catalog *node_store_catalog(const struct node_store *s);
const struct core_catalog *node_db_catalog(const struct node_db *db);
const struct node_identity *node_store_identity(const struct node_store *s);
const struct node_identity *node_db_identity(const struct node_db *db);

#endif
