/*
 * node/store/sync.h - the replica's side of the sync: outbox, receipts, feed, pages, digests. For jobs.
 *
 * Every function that takes something in from the centre does it in one transaction with the cursor or receipt it belongs
 * to: dying before the commit means it is asked for again, dying after it means it is not.
 */
#ifndef NODE_STORE_SYNC_H
#define NODE_STORE_SYNC_H

#include "node/store/rows.h"
#include "node/store/store.h"
#include "sync/base/buf.h"
#include "sync/core/digest.h"
#include "sync/core/merge.h"
#include "sync/core/receipt.h"

struct node_sync_state {
    int64_t incarnation;
    int64_t last_seq,
        acked_seq; /* newest change written here; newest the centre has a receipt for */
    int64_t
        settled_seq; /* newest whose outcome the feed has brought back (overlays above it stand) */
    int64_t pending; /* changes above acked_seq, plus quarantined ones */
    int64_t quarantined, conflicts_open;
    char oldest_pending_at[32]; /* "" if none */
    int64_t cursor;             /* last cut applied; -1: first fill not begun */
    int64_t catalog_version;
    bool filled;               /* the first fill is complete: the replica is published */
    bool fill_waits;           /* tables are still to be fetched: the first time, or for a column */
    struct base_uuid timeline; /* zero: not known yet */
    char last_push_at[32], last_pull_at[32], verified_at[32];
    int replica_equal; /* 1, 0, -1 unknown */
    bool
        surplus; /* filled over rows that were there: until a comparison, some may be gone at the centre */
};
int node_sync_state_get(struct node_db *db, struct node_sync_state *out, struct base_err *err);

/* Small durable values by name (engine's and people's own: timeline, clock offset, flags). "" and absent are the same. */
int node_meta_get(struct node_db *db, const char *name, struct base_buf *out, struct base_err *err);
int node_meta_set(struct node_db *db, const char *name, const char *value, struct base_err *err);

/* Outbox: position (chain) at a seq; a batch of whole transactions above after_seq, lines with newlines appended to out.
 * *last = after_seq if there is nothing. Stops at max_changes, max_bytes. Quarantined changes are in the log like any other. */
int node_outbox_position(struct node_db *db, int64_t seq, struct core_position *out,
                         struct base_err *err);
int node_outbox_read(struct node_db *db, int64_t after_seq, int max_changes, size_t max_bytes,
                     struct base_buf *out, struct core_position *before, struct core_position *last,
                     int *count, struct base_err *err);

/* Of the changes in lines (a batch from `first` on), those that wait for one in quarantine, as "seq,behind,seq,behind,…":
 * later changes of its row, and what names a row that it would have made. Nothing: out stays as it is. */
enum { NODE_BEHIND_ROWS_MAX = 50000, NODE_BEHIND_BYTES_MAX = 40 * CORE_BATCH_CHANGES_MAX };
int node_outbox_behind(struct node_db *db, int64_t first, const struct base_buf *lines,
                       struct base_buf *out, struct base_err *err);

struct node_outcome {
    int64_t seq;
    enum core_outcome outcome;
    const char *sqlstate, *constraint, *reason; /* quarantined only; else NULL */
};
/* The centre has taken everything up to receipt->seq, with these outcomes (others: applied). The caller has compared the chain. */
int node_receipt_apply(struct node_db *db, const struct core_position *receipt,
                       const struct node_outcome *outcomes, int count, struct base_err *err);

/* A feed body (plain NDJSON, whole, docs/PROTOCOL.md): all its cuts and the cursor, in this transaction. A cut that is not the
 * last plus one: BASE_EPROTO "gap", nothing applied. A row of another tenant: BASE_EDENIED, nothing applied.
 * An unknown table or more fields than the catalog has: BASE_ESTALE (fetch the catalog first). */
struct node_feed_result {
    int64_t cursor, head;
    int64_t catalog; /* the centre's version; 0: it did not say */
    int64_t changes;
    bool more;
};
int node_feed_apply(struct node_db *db, const char *body, size_t len, struct node_feed_result *out,
                    struct base_err *err);

/* First fill and repair. */
int node_fill_begin(struct node_db *db, int64_t head, const struct base_uuid *timeline,
                    struct base_err *err);
/* The table and the id to go on with; *done when every table is complete. table: name. after: "" at a table's start. */
int node_fill_next(struct node_db *db, char table[CORE_NAME_BYTES_MAX + 1],
                   char after[BASE_UUID_CHARS + 1], bool *done, struct base_err *err);
struct node_page_result {
    int64_t rows;
    bool last; /* the table is complete */
    char next[BASE_UUID_CHARS + 1];
};
int node_page_apply(struct node_db *db, const char *body, size_t len, struct node_page_result *out,
                    struct base_err *err);
int node_fill_finish(
    struct node_db *db,
    struct base_err *err); /* publishes the replica, cursor = the head noted at begin */

/*
 * Lives. timeline: the centre's life that the replica counts in, or that it is being filled from; zero: none yet.
 * former: changes up to it name revisions that count in a life of the centre that is over.
 */
int node_incarnation_get(struct node_db *db, int64_t *out, struct base_err *err);
int node_timeline_get(struct node_db *db, struct base_uuid *out, struct base_err *err);
int node_former_get(struct node_db *db, int64_t *upto, struct base_err *err);
/* The centre was restored: it holds of ours what its receipt says. What it had acknowledged beyond that waits again, all
 * tables are filled anew, and what it lost is offered. The caller has compared the chain at receipt_seq. */
int node_life_begin(struct node_db *db, int64_t receipt_seq, int64_t head,
                    const struct base_uuid *timeline, struct base_err *err);
int node_life_filling(struct node_db *db, bool *yes, struct base_err *err);
/* This node was restored: it goes on as this incarnation behind change `after`, the last that the centre has of it. The
 * numbers stay; the chain begins anew. Both marks go. */
int node_rejoin(struct node_db *db, int64_t incarnation, int64_t after, struct base_err *err);
#define NODE_META_REJOIN   "rejoin"   /* the operator wants it */
#define NODE_META_RESTORED "restored" /* put back from a backup: wants it, too */

/* Makes and alters local tables to fit; raises the version. json: the catalog document, kept verbatim. */
int node_catalog_apply(struct node_db *db, const char *json, size_t len, struct base_err *err);

/* Verify. from/to: "" is open. */
int node_digest(struct node_db *db, const struct core_table *t, const char *from, const char *to,
                struct core_digest *out, bool *has_pending, struct base_err *err);
/* Up to CORE_DIGEST_SPLIT - 1 ids that cut the range into parts of equal row count. Returns how many in *count. */
int node_digest_split(struct node_db *db, const struct core_table *t, const char *from,
                      const char *to, char ids[CORE_DIGEST_SPLIT][BASE_UUID_CHARS + 1], int *count,
                      struct base_err *err);
/* A page fetched for from ≤ id < to replaces what is there: equal or higher rev wins, surplus rows go unless pending. */
int node_repair_apply(struct node_db *db, const char *from, const char *to, const char *body,
                      size_t len, int64_t *mended, struct base_err *err);
int node_verified(struct node_db *db, bool equal, const char *at, struct base_err *err);

/* Quarantine list, newest first. */
struct node_quarantined {
    int64_t seq;
    const char *table, *id, *sqlstate, *constraint, *reason, *at, *line;
};
enum { NODE_QUARANTINE_RETRY_MAX = 5000 }; /* changes offered again by one call */
typedef bool (*node_quarantine_cb)(void *user, const struct node_quarantined *q);
int node_quarantine_each(struct node_db *db, void *user, node_quarantine_cb cb,
                         struct base_err *err);
/*
 * retry: written again as a new change (new seq) and settled here, and after it, in order, what waits for it: later changes
 *        of the row, and rows that were refused because they refer to it. seq 0: everything held. *count: how many.
 * drop:  the local value goes, the change stays in the log; what was only held behind it is written again.
 */
int node_quarantine_retry(struct node_db *db, const struct node_author *author, int64_t seq,
                          int *count, struct base_err *err);
int node_quarantine_drop(struct node_db *db, const struct node_author *author, int64_t seq,
                         const char *reason, struct base_err *err);

#endif
