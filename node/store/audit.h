/*
 * node/store/audit.h - the audit trail as a whole: checked, read, signed, sent. For jobs (node/store/store.h).
 *
 * Does:       goes through the chain, keeps signed heads, reads batches for the centre, answers "who has seen this chart",
 *             lets the beginning go that is old and at the centre, behind a checkpoint (audit_trim.c).
 * Does not:   write entries (node_audit_add in node/store/rows.h), sign, or know the network.
 * Invariant:  entries are numbered 1, 2, 3, … without a gap; chain(n) is a BLAKE2b-256 keyed with the audit key over
 *             chain(n-1) and entry n's canonical line: who lacks the key cannot make another trail that fits.
 *             What a checkpoint ends is gone and nothing else: the chain goes on from it.
 *             An entry shares the transaction of what it tells of; a read's is durable before the reply goes out.
 */
#ifndef NODE_STORE_AUDIT_H
#define NODE_STORE_AUDIT_H

#include "node/store/store.h"
#include "sync/base/buf.h"

enum {
    NODE_AUDIT_BATCH_ENTRIES = 1000, /* of one batch for the centre */
    NODE_AUDIT_BATCH_BYTES = 256 * 1024,
    NODE_AUDIT_REPORT_MAX = 10000
};

struct node_audit_head {
    int64_t n;
    uint8_t chain[32];
};

/* A signed head. The signature is over what node_audit_mark_text writes. */
struct node_audit_mark {
    struct node_audit_head head;
    uint8_t key[32], sig[64];
};

/* "everward audit head 1\n<node id> <n> <chain in hex>" */
void node_audit_mark_text(struct base_buf *out, const struct base_uuid *node,
                          const struct node_audit_head *head);

struct node_audit_state {
    struct node_audit_head head;
    int64_t life;   /* 1, and one more with each restore from a backup */
    int64_t sent;   /* the centre has taken entries up to here */
    int64_t marked; /* the newest signed head, 0: none */
    int64_t cut;    /* entries up to here are gone */
};
int node_audit_state_get(struct node_db *db, struct node_audit_state *out, struct base_err *err);

/* Keeps a signed head; one that is not newer than the last is left out. */
int node_audit_mark_add(struct node_db *db, const struct node_audit_mark *mark,
                        struct base_err *err);
/* The store was put back from a backup: the trail goes on in its next life, which the centre is told; at_least: no lower. */
int node_audit_restored(struct node_db *db, int64_t at_least, struct base_err *err);
int node_audit_sent(struct node_db *db, int64_t n, struct base_err *err);

/* The entries above after, each as "<chain in hex> <canonical line>\n"; before and last are the chain's ends of the
 * batch. Nothing there: last is before. */
int node_audit_batch(struct node_db *db, int64_t after, struct base_buf *out,
                     struct node_audit_head *before, struct node_audit_head *last,
                     struct base_err *err);

/* A checkpoint: the trail begins behind it. tag: under the audit key, over what node_audit_cut_text writes; so is the
 * signature. head.n 0: the trail begins at its first entry. */
struct node_audit_cut {
    struct node_audit_head head;
    char at[32];
    uint8_t tag[32], key[32], sig[64];
};
enum {
    NODE_AUDIT_KEEP_DAYS_DEFAULT = 400,
    NODE_AUDIT_CUT_ENTRIES = 128 /* that one checkpoint ends; checked before, on the writer */
};
/* "everward audit checkpoint 1\n<node id> <n> <chain in hex>" */
void node_audit_cut_text(struct base_buf *out, const struct base_uuid *node,
                         const struct node_audit_head *head);
int node_audit_cut_get(struct node_db *db, struct node_audit_cut *out, struct base_err *err);
/* BASE_ECORRUPT: not made with this node's audit key, or its signature is false. */
int node_audit_cut_check(struct node_db *db, const struct node_audit_cut *cut,
                         struct base_err *err);
/* How far the trail may be trimmed: the centre had these entries keep_days days of contact ago (prune.h). n 0: no further.
 * BASE_ECORRUPT: that part of the trail is not what was written, and stays. */
int node_audit_cut_due(struct node_db *db, int64_t keep_days, struct node_audit_head *out,
                       struct base_err *err);
/* key, sig: the node's, over the text. From here on entries up to head->n count as gone. */
int node_audit_cut_add(struct node_db *db, const struct node_audit_head *head,
                       const uint8_t key[32], const uint8_t sig[64], struct base_err *err);
/* Deletes some of what the newest checkpoint ends. */
int node_audit_trim_step(struct node_db *db, int64_t *gone, bool *more, struct base_err *err);

/* What node_audit_check found. broken "": the trail is whole. */
struct node_audit_report {
    struct node_audit_head head;
    int64_t sent, marks, marks_of_other_keys;
    struct node_audit_cut cut; /* the trail was checked from here on */
    char broken[256];
};
/* The whole chain, every signed head, and what the centre is known to have. Checks signatures with each mark's own key;
 * those of other keys than ours are counted. rc tells only whether it could be done. */
int node_audit_check(struct node_db *db, const uint8_t public_key[32],
                     struct node_audit_report *out, struct base_err *err);

struct node_audit_filter {
    const struct base_uuid *patient, *actor; /* NULL: any */
    const char *action;                      /* NULL: any */
    int64_t before;                          /* entries below this number; 0: from the newest on */
    int limit;                               /* ≤ NODE_AUDIT_REPORT_MAX */
};
struct node_audit_entry {
    int64_t n;
    const char *at, *actor, *name, *device, *action, *table, *row, *patient, *outcome, *detail;
};
typedef bool (*node_audit_cb)(void *user, const struct node_audit_entry *e);
/* Newest first; texts live as long as the call; NULL where there is none. name: of the member of staff, if known here. */
int node_audit_each(struct node_db *db, const struct node_audit_filter *f, void *user,
                    node_audit_cb cb, struct base_err *err);

#endif
