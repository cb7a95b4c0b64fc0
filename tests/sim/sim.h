/*
 * tests/sim/sim.h - the simulated world: nodes, a gateway with its centre, a bad network, bad disks.
 *
 * Does:       drives sync/core (the code that ships: changes, merge, past, receipts, session,
 *             replica) in one process, in virtual time, from one seed; checks after every commit.
 * Does not:   run SQL, TLS, HTTP or threads. The node's store is in memory (store_mem.c) or the real
 *             one over SQLite (store_sqlite.c); the centre (centre.c) keeps to the contract of
 *             sync/gateway and schema/central, as small as possible.
 * A schedule: a list of steps made from a seed (schedule.c). Running it is deterministic; a failing
 *             one is made smaller by leaving steps out (shrink.c).
 * Limits:     below; a schedule that needs more ends as "too large", which is counted.
 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/base/err.h"
#include "sync/core/past.h"
#include "sync/core/receipt.h"
#include "sync/core/replica.h"
#include "sync/core/session.h"

enum {
    SIM_NODES_MAX = 4,
    SIM_TABLES = 6,
    SIM_ROWS = 96,
    SIM_COLUMNS = 5,
    SIM_LOG_MAX = 256,      /* changes of one node */
    SIM_ENTRIES_MAX = 2048, /* of the centre's log */
    SIM_TXNS_MAX = 1024,
    SIM_RECEIPTS_MAX = 1024,
    SIM_WRITES_MAX = 512,
    SIM_MESSAGES_MAX = 64,
    SIM_TEXTS_MAX = 8192,
    SIM_STEPS_MAX = 256,
    SIM_LIVES_MAX = 8, /* incarnations of one node */
    SIM_POOL_BYTES = 4 << 20,
    SIM_EDITS_MAX = 3,
    SIM_PAGE_ROWS = 3,
    SIM_FEED_CUTS = 4, /* in one reply */
    SIM_TIMEOUT_MS = 30000,
    SIM_POLL_MS = 25000,
    SIM_ROUND_MS = 35000, /* one longest pause and an exchange */
    SIM_ROUNDS = 5,
    SIM_STATES = 3,
    SIM_STATE_COLUMN = 2, /* of a draft */
    SIM_OTHER = -1,       /* other software at the centre */
    SIM_DIED = -1000      /* beside the BASE_E* */
};

enum sim_table { SIM_CHART, SIM_PERSON, SIM_DRAFT, SIM_STAFF, SIM_CONFLICT, SIM_EXTRA };

/* ---- values ---------------------------------------------------------------------------------- */

/* A value is the number of an interned text; 0 is null. Every write uses texts of its own, but for
 * those that are meant to agree. */
struct sim_values {
    uint16_t v[SIM_COLUMNS]; /* [ord - CORE_ORD_FIRST] */
};

/* ---- what the harness knows (the ledger): never read by the code under test ------------------- */

struct sim_write {
    int node; /* SIM_OTHER: at the centre */
    int64_t inc, seq;
    int table, row;
    enum core_op op;
    unsigned set; /* bit per column */
    struct sim_values v, seen;
    bool seen_exists;
    bool unfilled;     /* a column that is new here was still to be fetched */
    bool over_pending; /* changes of the node's own lay over what was on the screen */
    int group, of;     /* of one local transaction: its first write, how many */
    bool told;         /* the tablet has its answer: "saved here" */
    bool poison;       /* the centre's database refuses it */
    bool forgotten;    /* the machine that alone held it was lost with its disk */
};

/* ---- the centre -------------------------------------------------------------------------------- */

struct sim_central_row {
    int64_t rev; /* of the tombstone, too */
    bool exists;
    struct sim_values v;
    int last_entry; /* -1: none */
};

struct sim_entry { /* of the central change log */
    int table, row;
    enum core_op op;
    int64_t rev;
    int txn, prev; /* prev: of the same row, or -1 */
    int node;
    int64_t inc;
    int write; /* the ledger's, or -1 */
    struct sim_values v;
    const char *image, *cols;
};

struct sim_txn {
    int node;
    int64_t inc, seq; /* of a push: its last */
    int64_t cut;      /* 0: not numbered yet */
    int first, count; /* entries */
};

struct sim_decided { /* one change of a push */
    int node;
    int64_t inc, seq;
    enum core_outcome outcome;
    int write, txn;
};

struct sim_receipt {
    int node;
    int64_t inc, first, last;
    uint8_t chain[CORE_CHAIN_BYTES];
};

struct sim_contest { /* a conflict's row, and what the harness needs to know of it */
    int row;         /* in SIM_CONFLICT */
    int node;
    int64_t inc, seq;
    int table, of;
    unsigned columns;
    bool is_delete;
    struct sim_values live, incoming;
};

struct sim_centre {
    struct sim_central_row rows[SIM_TABLES][SIM_ROWS];
    int used[SIM_TABLES]; /* rows ever made */
    struct sim_entry entries[SIM_ENTRIES_MAX];
    struct sim_txn txns[SIM_TXNS_MAX];
    struct sim_decided decided[SIM_WRITES_MAX * 2];
    struct sim_receipt receipts[SIM_RECEIPTS_MAX];
    struct sim_contest contests[SIM_ROWS];
    int entry_count, txn_count, decided_count, receipt_count, contest_count;
    int sequenced;    /* txns with a cut */
    int64_t head;     /* newest cut */
    int kept_from;    /* entries below are compacted away */
    int64_t kept_cut; /* cuts below are not served any more */
    int64_t catalog;
    int64_t timeline;
    int64_t incarnation[SIM_NODES_MAX];
    struct core_position heads[SIM_NODES_MAX][SIM_LIVES_MAX]; /* [inc] */
    bool head_known[SIM_NODES_MAX][SIM_LIVES_MAX];
};

/* ---- messages ----------------------------------------------------------------------------------- */

enum sim_line_kind { SIM_LINE_CUT, SIM_LINE_TXN, SIM_LINE_ROW, SIM_LINE_END, SIM_LINE_DONE };

struct sim_line { /* of a feed or a page */
    enum sim_line_kind kind;
    int64_t cut, changes;
    bool more;
    int node;
    int64_t inc, seq;
    int table, row;
    enum core_op op;
    int64_t rev;
    struct sim_values v;
};

struct sim_outcome {
    int64_t seq;
    enum core_outcome outcome;
};

struct sim_request {
    enum core_do what;
    int64_t inc, catalog;
    int64_t after;   /* feed: cursor */
    int table, from; /* page; rows from this one on */
    /* push */
    struct core_position before, last;
    int count;
    const char **lines;
    bool cut_off;
    /* hello */
    int64_t last_seq, acked_seq, cursor, timeline;
    uint8_t chain[CORE_CHAIN_BYTES];
};

struct sim_reply {
    int status;
    int64_t catalog, head, timeline, inc, expected;
    struct core_position receipt;
    const struct sim_outcome *outcomes;
    int outcome_count;
    int64_t after; /* feed */
    const struct sim_line *lines;
    int line_count;
    int table, from, next; /* page; next -1: it is the last */
    bool cut_off;
};

enum sim_fate {
    SIM_FATE_NONE,
    SIM_FATE_LOSE_REQUEST,
    SIM_FATE_LOSE_REPLY,
    SIM_FATE_LATE, /* the request arrives after its sender gave up */
    SIM_FATE_TWICE,
    SIM_FATE_CUT_REQUEST,
    SIM_FATE_CUT_REPLY,
    SIM_FATE_BUSY,
    SIM_FATE_GATEWAY_DIES_BEFORE,
    SIM_FATE_GATEWAY_DIES_AFTER, /* between the database's commit and the reply */
    SIM_FATE_SLOW,
    SIM_FATE_SLOW_REPLY,
    SIM_FATE_HOLE, /* a feed that lacks a cut, as from a cache or a database that lags behind */
    SIM_FATES
};

struct sim_message {
    bool used, reply, parked;
    int64_t at;
    int node;
    enum core_lane_name lane;
    int serial;  /* of the node's lane: an answer to an older one is not listened to */
    int machine; /* the clone that asked */
    enum sim_fate fate;
    struct sim_request request;
    struct sim_reply answer;
};

/* ---- a node ---------------------------------------------------------------------------------------- */

struct sim_row {
    int64_t rev, pending;
    bool exists;
    struct sim_values v;
};

struct sim_beneath { /* the centre's image of a row that has changes lying over it */
    bool exists, has_image, gone;
    int64_t rev;
    struct sim_values v;
};

struct sim_logged {
    const char *line;
    int64_t txn, base;
    int table, row;
    bool held, closed;
    int write;
    uint8_t chain[CORE_CHAIN_BYTES];
};

/* What is on the disk: copied to begin a transaction, copied back to commit it. */
struct sim_replica {
    struct sim_row rows[SIM_TABLES][SIM_ROWS];
    struct sim_beneath beneath[SIM_TABLES][SIM_ROWS];
    int beneath_count;
    struct sim_logged log[SIM_LOG_MAX]; /* [seq - 1] */
    int64_t last_seq, acked, settled, done, cursor, timeline, incarnation, catalog;
    bool filled;
    int64_t fill_head, fill_timeline, fill_acked;
    bool filling;         /* a whole one: cursor and timeline come with its end */
    unsigned fill, equal; /* tables still to be fetched; images of equal revision count */
    int fill_from;        /* in the first of them */
};

struct sim_view { /* what a person has on the screen */
    bool valid, exists;
    int64_t rev, pending, catalog;
    struct sim_values v;
};

struct sim_lane {
    int serial;
    int64_t deadline, sent_at;
    struct core_position sent;
    int sent_count;
    enum core_do what;
    bool waiting;
};

struct sim_node {
    int id;      /* its identity */
    int machine; /* index in the world: a clone is another machine with the same identity */
    bool used, alive, doomed; /* doomed: died within what is being done */
    int64_t restart_at;
    struct core_session session;
    struct sim_lane lanes[2];
    int64_t pushed_seq, hello_head, hello_timeline, hello_acked;
    bool fenced;
    struct sim_replica disk, image; /* image: a copy taken earlier */
    bool has_image;
    int kill_in; /* store steps; 0: never */
    bool kill_after, disk_full;
    int64_t clock_offset;
    struct sim_view views[SIM_TABLES][SIM_ROWS];
    int64_t newest[SIM_TABLES][SIM_ROWS]; /* revision ever shown */
    int64_t fill_acked; /* acknowledged when the first fill began: its pages bring the outcomes */
    int fill_entries;   /* how long the centre's log was when the last fill ended */
    uint64_t checked;   /* commits when it was last looked at */
    void *store;        /* store_sqlite.c's */
};

/* ---- steps ------------------------------------------------------------------------------------------- */

enum sim_kind {
    SIM_RUN,
    SIM_LOOK,
    SIM_EDIT,
    SIM_OTHER_EDIT,
    SIM_NET,
    SIM_KILL,
    SIM_LINK,
    SIM_DISK,
    SIM_CLOCK,
    SIM_COMPACT,
    SIM_DROP,
    SIM_TAKE_IMAGE,
    SIM_RESTORE,
    SIM_CLONE,
    SIM_ABSENT,
    SIM_CENTRE_IMAGE,
    SIM_CENTRE_RESTORE,
    SIM_CATALOG,
    SIM_KINDS
};

struct sim_step {
    enum sim_kind kind;
    int node, a, b, c; /* by kind, see schedule.c */
    int serial;        /* of the schedule as it was made: values are named by it */
};

struct sim_schedule {
    uint64_t seed;
    int nodes, count;
    struct sim_step steps[SIM_STEPS_MAX];
};

/* ---- the world ------------------------------------------------------------------------------------------ */

struct sim_figures {
    uint64_t schedules, steps, commits, writes, messages, checks, too_large;
    uint64_t fates[SIM_FATES], kinds[SIM_KINDS], kills, contested, quarantined, fences;
};

struct sim_world {
    uint64_t random;
    int64_t now;
    int node_count;
    struct sim_node nodes[SIM_NODES_MAX];
    struct sim_centre centre, centre_image;
    bool has_centre_image;
    struct sim_message messages[SIM_MESSAGES_MAX];
    enum sim_fate next_fate[SIM_NODES_MAX][2];
    struct sim_write writes[SIM_WRITES_MAX];
    int write_count;
    struct core_catalog catalogs[4]; /* [version] */
    /* texts and lines of the schedule; what is interned stays */
    char pool[SIM_POOL_BYTES];
    size_t pool_used;
    const char *texts[SIM_TEXTS_MAX];
    uint16_t text_slots[2 * SIM_TEXTS_MAX];
    int text_count;
    bool faults_over, trace, too_large;
    bool compacted, fences_expected, centre_restored;
    char failed[256]; /* the first violation, or "" */
    struct sim_figures *figures;
    struct base_arena scratch;
};

/* splitmix64 (public domain, Vigna) */
static inline uint64_t sim_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
static inline int sim_below(uint64_t *state, int n)
{
    return (int)(sim_random(state) % (uint64_t)n);
}

/* world.c */
extern const char *const sim_states[SIM_STATES + 1];
void sim_world_init(struct sim_world *w, const struct sim_schedule *s, struct sim_figures *f);
void sim_world_release(struct sim_world *w);
void *sim_get(struct sim_world *w, size_t bytes); /* lives as long as the schedule runs */
const char *sim_keep(struct sim_world *w, const char *s);
uint16_t sim_value(struct sim_world *w, const char *text);
struct core_text sim_text(const struct sim_world *w, uint16_t value);
void sim_fail(struct sim_world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_trace(struct sim_world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Runs a schedule to its end with all checks. True: nothing was violated. */
bool sim_run(struct sim_world *w, const struct sim_schedule *s, struct sim_figures *f, bool trace);
void sim_run_until(struct sim_world *w, int64_t until);
void sim_id(struct base_uuid *out, int table, int row);
bool sim_id_read(const struct base_uuid *id, int *table, int *row);
void sim_node_id(struct base_uuid *out, int node);
const struct core_table *sim_table_of(const struct sim_world *w, int64_t version, int table);
void sim_image(const struct sim_world *w, struct core_image *out, int table, int row, int64_t rev,
               const struct sim_values *v, const struct core_table *t);

/* schedule.c */
void sim_schedule_make(struct sim_schedule *out, uint64_t seed, int length);
void sim_step_print(FILE *f, const struct sim_step *s);
void sim_step_do(struct sim_world *w, const struct sim_step *s);

/* net.c */
void sim_net_send(struct sim_world *w, struct sim_node *n, enum core_lane_name lane,
                  const struct sim_request *r);
void sim_net_deliver(struct sim_world *w, struct sim_message *m);
int64_t sim_net_next(const struct sim_world *w, struct sim_message **out);
void sim_net_wake(struct sim_world *w); /* the centre has moved: long polls look */

/* node.c */
void sim_node_start(struct sim_world *w, struct sim_node *n);
void sim_node_die(struct sim_world *w, struct sim_node *n);
void sim_node_work(struct sim_world *w, struct sim_node *n);
int64_t sim_node_next(struct sim_world *w,
                      struct sim_node *n); /* when it has something to do; -1 */
void sim_node_answer(struct sim_world *w, struct sim_node *n, enum core_lane_name lane,
                     const struct sim_reply *r);
struct sim_edit {
    enum core_op op;
    int table, row;
    unsigned set;
    struct sim_values v;
    bool check_version;
    int64_t rev, pending;
    int write; /* the ledger's */
};

/* The store: store_mem.c, or the real one. Each function is one transaction; SIM_DIED: the machine
 * died within it, before or after its commit. */
struct sim_store {
    int (*open)(struct sim_world *w, struct sim_node *n, bool fresh);
    void (*close)(struct sim_world *w, struct sim_node *n);
    int (*write)(struct sim_world *w, struct sim_node *n, const struct sim_edit *edits, int count);
    int (*position)(struct sim_world *w, struct sim_node *n, int64_t seq,
                    struct core_position *out);
    int (*outbox)(struct sim_world *w, struct sim_node *n, int64_t after, int most,
                  struct sim_request *out);
    int (*receipt)(struct sim_world *w, struct sim_node *n, const struct core_position *p,
                   const struct sim_outcome *outcomes, int count);
    int (*feed)(struct sim_world *w, struct sim_node *n, const struct sim_reply *r, bool *more);
    int (*fill_begin)(struct sim_world *w, struct sim_node *n, int64_t head, int64_t timeline);
    int (*page)(struct sim_world *w, struct sim_node *n, const struct sim_reply *r);
    int (*fill_finish)(struct sim_world *w, struct sim_node *n);
    int (*catalog)(struct sim_world *w, struct sim_node *n, int64_t version);
    int (*drop)(struct sim_world *w, struct sim_node *n, int64_t seq);
    /* Beside sim_node.disk; NULL where that is all there is. */
    void (*take_image)(struct sim_world *w, struct sim_node *n);
    void (*restore)(struct sim_world *w, struct sim_node *n);
    void (*clone)(struct sim_world *w, const struct sim_node *from, struct sim_node *to);
};
extern const struct sim_store *sim_store;
extern const struct sim_store sim_store_mem;
extern const struct sim_store sim_store_sqlite; /* in the program sim_store only */
void sim_store_sqlite_end(void);

/* centre.c */
void sim_centre_init(struct sim_world *w);
void sim_centre_answer(struct sim_world *w, int node, const struct sim_request *q,
                       struct sim_reply *out);
void sim_centre_other_edit(struct sim_world *w, const struct sim_step *s);
void sim_centre_sequence(struct sim_world *w);
void sim_centre_catalog(struct sim_world *w); /* it moves on by one version */

/* checks.c */
void sim_check_node(struct sim_world *w, struct sim_node *n);
void sim_check_decided(struct sim_world *w, int write, const struct core_merge *m,
                       const struct sim_central_row *before, const struct sim_central_row *after,
                       const struct sim_contest *contests, int count);
void sim_check_end(struct sim_world *w);
/* What only this disk holds, and an older image of it does not, is lost with it. */
void sim_forget(struct sim_world *w, const struct sim_replica *lost,
                const struct sim_replica *kept);
void sim_check_fenced(struct sim_world *w, const struct sim_node *n);

/* shrink.c */
void sim_shrink(struct sim_world *w, struct sim_schedule *s);

#endif
