/*
 * node/engine/internal.h - what the files of the engine share.
 *
 *   engine.c   lifecycle, the deciding loop, status      hello.c   greeting, receipts, fences, the clock
 *   pull.c     catalog, feed                             push.c    outbox to batches, receipts
 *   fill.c     first fill, page by page, one ahead
 *   verify.c   digests and repair                        export.c  the outbox as a file
 *   life.c     after a restore: where our log and the centre's part, and the next incarnation
 *   audit.c    the audit trail on its way to its witness  escrow.c  keys in the tenant's safe; wipe
 *   rotate.c   another signing key                       numbers.c  blocks of record numbers
 *   prune.c    old acknowledged changes                  report.c   how this node is, for the fleet page
 *   probe.c    the way to the centre, step by step
 */
#ifndef NODE_ENGINE_INTERNAL_H
#define NODE_ENGINE_INTERNAL_H

#include <uv.h>

#include "node/engine/engine.h"
#include "node/transport/transport.h"
#include "sync/core/receipt.h"
#include "sync/core/session.h"
#include "sync/net/json.h"
#include "sync/net/token.h"

enum {
    ENGINE_TICK_MS = 1000,
    ENGINE_REFRESH_MS = 20,                    /* the store's state is read so often at most */
    ENGINE_PLAIN_BYTES_MAX = 48 * 1024 * 1024, /* of a feed reply or page, unpacked */
    ENGINE_PUSH_BYTES_MAX = 8 * 1024 * 1024,   /* lines of one batch, unpacked */
    ENGINE_OUTCOMES_MAX = 100000,
    ENGINE_CLOCK_OK_MS = 2000,
    ENGINE_CLOCK_DOUBT_MS = 5000, /* a reply's date this far off is believed over what we knew */
    ENGINE_CLOCK_FRESH_MS = 24 * 3600 * 1000,
    ENGINE_FILL_ROWS = 5000,
    ENGINE_RANGES_MAX = 4096,
    ENGINE_RANGES_PER_REQUEST = 64,
    ENGINE_VERIFY_PASSES_MAX = 6,
    ENGINE_VERIFY_PATIENCE_MS = 60 * 1000,
    ENGINE_SURPLUS_MS = 30 * 1000 /* between comparisons after a fill over a published replica */
};

/* One batch of the outbox, signed and packed, ready to be sent. */
struct engine_batch {
    int64_t incarnation;
    struct core_position before, last;
    int count;
    struct base_buf body;
    bool ready;
};

/* What a receipt says, in the gateway's words; texts live in the parsed document. */
struct engine_receipt {
    struct core_position position;
    int64_t incarnation;
    struct node_outcome *outcomes;
    int count;
};

struct engine_range {
    char table[CORE_NAME_BYTES_MAX + 1];
    char from[BASE_UUID_CHARS + 1], to[BASE_UUID_CHARS + 1]; /* "": open */
};

struct engine_verify;  /* verify.c */
struct engine_fill;    /* fill.c */
struct engine_audit;   /* audit.c */
struct engine_escrow;  /* escrow.c */
struct engine_numbers; /* numbers.c */
struct engine_report;  /* report.c */
struct engine_prune;   /* prune.c */

struct node_engine {
    uv_loop_t *loop;
    struct node_store *store;
    struct node_transport *transport;
    struct node_keys *keys;
    struct node_identity identity;
    uint8_t ticket[NET_TICKET_BYTES];
    char audience[128];
    char state_dir[1024];
    int64_t verify_every_ms;
    uv_timer_t tick;
    struct core_session session;
    bool stopping;
    int under_way; /* requests and jobs that still point here */
    void (*stopped)(void *user);
    void *stopped_user;

    struct node_engine_status status;
    char fence[256];   /* why the centre refuses us, or "" */
    char trouble[256]; /* the last passing failure, or "" */
    int64_t clock_measured_ms;
    int64_t clock_lead_ms; /* wall before uptime, when the offset was true */
    bool refreshing, refresh_again;
    int64_t refreshed_ms; /* when the last one began */
    void (*on_status[4])(void *user);
    void *on_status_user[4];
    int on_status_count;

    /* pull lane: one of these at a time */
    struct node_request pull_request;
    struct node_job pull_job;
    char pull_token[NET_TOKEN_BYTES_MAX];
    char pull_path[512];
    struct base_buf pull_body;  /* to send */
    struct base_buf pull_plain; /* unpacked reply under work */
    struct node_feed_result feed_result;
    struct node_sync_state pull_state; /* the job's, until it is done: status is the loop's alone */
    struct engine_fill *fill;          /* fill.c; NULL while no table is being filled */
    struct engine_receipt receipt;     /* of the hello under work */
    void *receipt_root;
    int64_t hello_catalog, hello_head, hello_tail, hello_acked;
    bool life_began;   /* of the centre, seen by the greeting under work */
    bool put_back;     /* the database is older than what stands outside it */
    bool wants_rejoin; /* asked for by a person, or put back from a backup */
    int64_t life_inc, life_common, life_next; /* life.c: compared, last in common, to begin */
    uint8_t life_link[8];                     /* our chain at life_common, its first bytes */
    bool life_more;
    bool hello_filled; /* and no table waits to be fetched: a fill that broke off goes on */
    struct base_uuid hello_timeline;

    /* push lane */
    struct node_request push_request;
    struct node_job push_job;
    char push_token[NET_TOKEN_BYTES_MAX];
    struct engine_batch batch[2]; /* [0] under way, [1] prepared while [0] is */
    bool preparing, push_waiting; /* a prepare job runs; the lane waits for it, or for `holding` */
    bool probing;                 /* probe.c: one at a time */
    int holding;                  /* receipts with something quarantined that are not stored yet */
    bool prepared_stale;          /* what is being prepared does not know of them */
    int64_t pushed_seq; /* the centre has told us so, whether or not it is stored here yet */

    struct engine_verify *verify;
    int64_t verify_at_ms, surplus_at_ms;

    struct engine_audit *audit;
    int64_t standing_failed_ms; /* monotonic; 0: the last one was answered */
    struct engine_escrow *escrow;
    struct engine_rotation *rotation;
    struct engine_numbers *numbers;
    struct engine_report *report;
    struct engine_prune *prune;
    node_rotated_cb rotated; /* NULL: this node keeps its signing key */
    void *rotated_user;
    node_wipe_cb wipe; /* NULL: this node does not wipe itself */
    void (*wiped)(void *user);
    void *wipe_user;
    char witness[256]; /* why the centre does not believe our audit trail, or "" */
};

/* engine.c */
void engine_decide(struct node_engine *e);
/* Reads the store's state, then tells who listens; soon if it has just been read: engine_decide sees to that. */
void engine_refresh(struct node_engine *e);
void engine_done(struct node_engine *e); /* one thing under way less */
int engine_token_by(struct node_engine *e, struct node_keys *keys, char out[NET_TOKEN_BYTES_MAX],
                    struct base_err *err);
int engine_token(struct node_engine *e, char out[NET_TOKEN_BYTES_MAX], struct base_err *err);
uint32_t engine_random(void);
/* What a finished request means: 0, or a failure noted in the session for that lane (and the reply released). Takes the
 * server's clock from its Date. */
bool engine_reply_failed(struct node_engine *e, struct node_request *r, enum core_lane_name lane);
void engine_failed(struct node_engine *e, enum core_lane_name lane, int rc, const char *text);
/* What the push lane met makes a greeting needed: the long poll does not hold it up. */
void engine_doubt(struct node_engine *e);
void engine_fenced(struct node_engine *e, enum core_lane_name lane, const char *why);

/* hello.c */
void engine_hello(struct node_engine *e);
/* Parses {"inc":…,"last_seq":…,"chain":…} and its outcomes; *root keeps the texts (engine_receipt_release). */
int engine_receipt_read(struct engine_receipt *out, const char *json, size_t len,
                        const char *member, void **root, struct base_err *err);
int engine_outcomes_read(struct engine_receipt *out, const cJSON *list, struct base_err *err);
void engine_receipt_release(struct engine_receipt *r, void *root);
void engine_clock_measured(struct node_engine *e, int64_t offset_ms);
/* The wall clock was set: the offset to the centre moves the other way. */
void engine_clock_follow(struct node_engine *e);

/* life.c: on the pull lane, instead of a greeting; greets when it is through. */
void engine_rejoin(struct node_engine *e);

/* pull.c */
void engine_catalog(struct node_engine *e);
void engine_feed(struct node_engine *e);

/* fill.c */
void engine_fill(struct node_engine *e);

/* audit.c: beside the lanes; never in their way. */
int engine_audit_open(struct node_engine *e, struct base_err *err);
void engine_audit_close(struct node_engine *e); /* when nothing is under way any more */
void engine_audit_tick(struct node_engine *e);
void engine_audit_greeted(struct node_engine *e); /* a sync session begins: its head goes out now */

/* escrow.c */
int engine_escrow_open(struct node_engine *e, struct base_err *err);
void engine_escrow_close(struct node_engine *e);
void engine_escrow_tick(struct node_engine *e);
void engine_escrow_greeted(struct node_engine *e);
/* rotate.c */
int engine_rotation_open(struct node_engine *e, struct base_err *err);
void engine_rotation_close(struct node_engine *e);
void engine_rotation_tick(struct node_engine *e);
/* report.c: beside the lanes */
int engine_report_open(struct node_engine *e, struct base_err *err);
void engine_report_close(struct node_engine *e);
void engine_report_tick(struct node_engine *e);
void engine_report_greeted(struct node_engine *e);

/* numbers.c: beside the lanes */
int engine_numbers_open(struct node_engine *e, struct base_err *err);
void engine_numbers_close(struct node_engine *e);
void engine_numbers_tick(struct node_engine *e);
void engine_numbers_greeted(struct node_engine *e);
/* prune.c: beside the lanes */
int engine_prune_open(struct node_engine *e, int64_t keep_days, int64_t audit_days,
                      struct base_err *err);
void engine_prune_close(struct node_engine *e);
void engine_prune_tick(struct node_engine *e);
/* A token that is refused may have been signed with a key that the centre knows no more, or not yet. */
bool engine_rotation_pending(const struct node_engine *e);

int engine_recovery_key(struct node_db *db, uint8_t key[32], bool *pinned, struct base_err *err);

/* push.c */
void engine_push(struct node_engine *e);
void engine_push_reset(struct node_engine *e);
/* Header, lines, trailer with signature. lines end in newlines. On any thread. */
struct engine_batch_head {
    int64_t incarnation, catalog_version, former; /* former: node/store/sync.h, "Lives" */
    struct base_uuid timeline;
};
int engine_batch_head_get(struct engine_batch_head *out, struct node_db *db, struct base_err *err);
int engine_batch_write(struct base_buf *out, struct node_db *db, struct node_keys *keys,
                       const struct engine_batch_head *head, const struct base_buf *lines,
                       const struct core_position *before, const struct core_position *last,
                       int count, struct base_err *err);

#endif
