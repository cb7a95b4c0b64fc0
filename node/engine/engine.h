/*
 * node/engine/engine.h - keeps the replica and the centre together: drives sync/core/session over transport and store.
 *
 * Does:       hello, catalog, first fill, push, feed (long poll), verify and repair, fences, backing off, the clock's offset.
 * Does not:   decide anything the core decides, or touch rows itself (node/store/sync.h in jobs).
 * Thread:     the loop's.
 * Invariant:  never waits for the ward and never makes the ward wait.
 */
#ifndef NODE_ENGINE_ENGINE_H
#define NODE_ENGINE_ENGINE_H

#include "node/keys/keys.h"
#include "node/people/standing.h"
#include "node/store/numbers.h"
#include "node/store/store.h"
#include "node/store/sync.h"
#include "sync/base/buf.h"

struct node_engine;

/* Destroys the keys for good; keeps the proof. On the loop. Nonzero: nothing is destroyed. */
typedef int (*node_wipe_cb)(void *user, const char *statement,
                            const uint8_t sig[NODE_KEYS_SIGNATURE_BYTES], struct base_err *err);

/* The centre knows the next signing key: it is to be put in place, in the folder and then in memory. On the loop. */
typedef int (*node_rotated_cb)(void *user, const struct node_keys *next, struct base_err *err);

struct node_engine_config {
    const char *gateway_url;     /* "https://host:port" */
    const char *gateway_ca_path; /* PEM, pinned at setup */
    const uint8_t *ticket;       /* 32 bytes */
    const char *audience;        /* of the node's tokens */
    struct node_keys *keys;
    const char *state_dir;
    int64_t verify_every_s; /* 0: on demand only */
    int64_t keep_days;      /* acknowledged changes, in days of contact; 0: the default (prune.h) */
    int64_t audit_keep_days; /* audit entries that the centre has; likewise (audit.h) */
    int64_t incarnation; /* as last known outside the database: an old one put back is noticed */
    node_wipe_cb wipe;   /* the centre asks for it and nothing is unsent; NULL: never */
    void (*wiped)(void *user); /* the proof is at the centre, or could not be brought there */
    void *wipe_user;
    node_rotated_cb rotated; /* NULL: node_engine_rotate is never called */
    void *rotated_user;
};

enum node_state { NODE_CURRENT, NODE_SYNCING, NODE_OFFLINE, NODE_ATTENTION };
const char *node_state_name(enum node_state s); /* "current" … */

struct node_engine_status {
    enum node_state state;
    char since[32];          /* when it became so */
    char reason[256];        /* of attention or offline: a sentence with the next step; "" else */
    bool link_open;          /* false after `everward link down` */
    bool online;             /* the last contact went well */
    bool fenced;             /* the centre refuses us */
    int64_t head;            /* the centre's, as last heard; -1 unknown */
    int64_t clock_offset_ms; /* centre minus ours */
    bool clock_offset_known;
    enum core_clock clock;    /* for new changes */
    char last_contact_at[32]; /* "" never */
    char audit_witness[256]; /* why the centre does not believe the audit trail; "" while it does */
    int64_t audit_sent;      /* entries the centre has taken in this life; -1: none yet */
    char audit_sent_at[32];
    char downtime_at[32];        /* the downtime folder's last refresh; "" none */
    char downtime_problem[256];  /* "" none */
    bool downtime;               /* a folder is configured */
    struct node_numbers numbers; /* record numbers left; at most some seconds old */
    struct node_sync_state sync; /* as of the last read, at most 1 s old while anything moves */
};

int node_engine_start(struct node_engine **out, struct uv_loop_s *loop, struct node_store *store,
                      const struct node_engine_config *config, struct base_err *err);
void node_engine_stop(struct node_engine *e, void (*stopped)(void *user), void *user);
void node_engine_status(const struct node_engine *e, struct node_engine_status *out);
void node_engine_kick(struct node_engine *e); /* sync now; also after every local write */
/* How the downtime folder does, for the status: a problem is a reason for attention. */
void node_engine_downtime(struct node_engine *e, const char *refreshed_at, const char *problem);
/* Kept over restarts; kept (may be NULL) is called once it is, or could not be (rc). */
void node_engine_link(struct node_engine *e, bool open, void *user,
                      void (*kept)(void *user, int rc));
/* The keys sealed for the tenant's recovery key, to be printed: "ewescrow1:<node>:<recovery key>:<sealed>", hex.
 * BASE_ENOTFOUND: no recovery key is known here. For jobs. */
int node_engine_escrow_text(struct node_db *db, const struct node_keys *keys, struct base_buf *out,
                            struct base_err *err);
/* keys.signing lies in the folder: told to the centre at the next contact, and in force from then on. One at a time, and
 * not while there is one: the caller asks the folder. */
void node_engine_rotate(struct node_engine *e, struct node_keys *take_next);
/* An audit entry of the node itself; kept before the store is closed. detail: ids and words of ours only. */
void node_engine_audit(struct node_engine *e, const char *action, const char *outcome,
                       const char *detail);
/* The first step that did not go well; times since the beginning, 0: that far it did not come. */
enum node_probe_step {
    NODE_PROBE_NAME,
    NODE_PROBE_CONNECTION,
    NODE_PROBE_CERTIFICATE,
    NODE_PROBE_ANSWER,
    NODE_PROBE_REFUSED,
    NODE_PROBE_CLOSED, /* the line, by hand: nothing was tried */
    NODE_PROBE_BUSY,   /* another one is under way */
    NODE_PROBE_GOOD
};
struct node_probe {
    enum node_probe_step step;
    int64_t name_us, connect_us, tls_us, answer_us;
    char text[256]; /* why; "" if good */
};
typedef void (*node_probed_cb)(void *user, const struct node_probe *p);
/* Tries the way to the centre; done is called once, perhaps at once, after some ten seconds at most a step. */
void node_engine_probe(struct node_engine *e, void *user, node_probed_cb done);
void node_probe_write(struct base_buf *out, const struct node_probe *p); /* as JSON */
/* Asks the centre about a member of staff, for NODE_STANDING_MS at most; at once unanswered where the line is down. */
void node_engine_standing(struct node_engine *e, const struct base_uuid *staff_id, void *user,
                          node_standing_cb done);
/* Compares with the centre and mends what differs. done: rc 0 and equal after it, or why not. One at a time (BASE_EBUSY). */
struct node_verify_report {
    int64_t tables, rows, mended;
    bool equal;
};
typedef void (*node_verified_cb)(void *user, int rc, const struct node_verify_report *report,
                                 const char *text);
int node_engine_verify(struct node_engine *e, void *user, node_verified_cb done,
                       struct base_err *err);
void node_engine_verify_cancel(struct node_engine *e); /* its done is called soon, BASE_ECANCELED */
/* Called on the loop whenever state, pending or head changed: for events and screens. */
void node_engine_on_status(struct node_engine *e, void (*cb)(void *user), void *user);

#endif
