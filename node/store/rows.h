/*
 * node/store/rows.h - reading and writing rows of the replica. For jobs (node/store/store.h): every call takes the node_db.
 *
 * A local write is one transaction: rows, changes with chain, audit entry. There is no way to do one without the others.
 * What is read is the centre's image with the pending columns laid over it.
 */
#ifndef NODE_STORE_ROWS_H
#define NODE_STORE_ROWS_H

#include "node/store/store.h"
#include "sync/base/arena.h"
#include "sync/core/change.h"

enum {
    NODE_EDITS_MAX = 500,
    NODE_QUERY_ROWS_MAX = 1000,
    NODE_FILTERS_MAX = 16,
    NODE_ORDERS_MAX = 4,
    NODE_FILTER_VALUES_MAX = 100
};

/* What an ETag names: the central revision and the seq of the newest pending change to the row (0: none). */
struct node_version {
    int64_t rev, pending_seq;
};

enum node_sync {
    NODE_SYNC_PENDING,
    NODE_SYNC_ACKNOWLEDGED,
    NODE_SYNC_CONTESTED,
    NODE_SYNC_QUARANTINED
};
const char *node_sync_name(enum node_sync s); /* "pending" … */

struct node_row {
    const struct core_table *table;
    struct base_uuid id;
    struct node_version version;
    enum node_sync sync;
    struct core_text
        values[CORE_COLUMNS_MAX]; /* [i] is table->columns[i]; in the arena given to the reader */
};

struct node_author {
    struct base_uuid actor; /* staff id; zero only for the node itself */
    const char *device;     /* "" if none */
    const char *request_id; /* for the audit entry */
    enum core_clock clock;
};

struct node_edit {
    enum core_op op;
    const struct core_table *table;
    struct base_uuid id; /* chosen by the caller (UUIDv7) */
    int count;
    const struct core_column *const *columns;
    const struct core_text *values;
    bool
        check_version; /* u, d: refuse with BASE_ESTALE unless the row is at exactly this version */
    struct node_version version;
};

/* One local transaction. Checks: table writable here (class central: BASE_EDENIED; fact: insert only), values
 * (core_value_check), row exists / does not exist, version. On success versions[i] is the row's new version.
 * BASE_ESTALE, BASE_ENOTFOUND, BASE_EEXISTS, BASE_EDENIED, BASE_EINVALID: *failed tells which edit; nothing is written. */
int node_write_edits(struct node_db *db, const struct node_author *author,
                     const struct node_edit *edits, int count, struct node_version *versions,
                     int *failed, struct base_err *err);
/* An audit entry without a write (a read of a patient, a login, a refusal). detail: ids and words of ours only. */
int node_audit_add(struct node_db *db, const struct node_author *author, const char *action,
                   const char *table, const struct base_uuid *row_id,
                   const struct base_uuid *patient_id, const char *outcome, const char *detail,
                   struct base_err *err);

/* Goes through the whole audit chain. BASE_ECORRUPT: names the first entry that is not what was written. *entries: how
 * many there are; head: the chain behind the last, for a witness to keep. */
int node_audit_verify(struct node_db *db, int64_t *entries, uint8_t head[32], struct base_err *err);

int node_row_get(struct node_db *db, const struct core_table *t, const struct base_uuid *id,
                 struct base_arena *arena, struct node_row *out,
                 struct base_err *err); /* BASE_ENOTFOUND */

enum node_cmp {
    NODE_CMP_EQ,
    NODE_CMP_NEQ,
    NODE_CMP_GT,
    NODE_CMP_GTE,
    NODE_CMP_LT,
    NODE_CMP_LTE,
    NODE_CMP_IN,
    NODE_CMP_IS_NULL,
    NODE_CMP_NOT_NULL,
    NODE_CMP_PREFIX /* case-folded text prefix */
};
struct node_filter {
    const struct core_column *column; /* NULL: id */
    enum node_cmp cmp;
    int value_count;
    struct core_text values
        [NODE_FILTER_VALUES_MAX]; /* checked by the caller with core_value_check, except prefix */
};
struct node_order {
    const struct core_column *column; /* NULL: id */
    bool descending;
};
/* moments compare by the instant they name (then by text), decimals by value, others by their bytes. Nulls come last.
 * Always ends in id, so that a page has a definite end. */
struct node_query {
    const struct core_table *table;
    int filter_count, order_count;
    const struct node_filter *filters;
    const struct node_order *orders;
    int limit; /* 1 … NODE_QUERY_ROWS_MAX */
    const char *
        after; /* the cursor of the page before, as node_query_cb's last row gave it; NULL: first page */
};
/* Rows in order; the callback returns false to stop. *next (in the arena) is the cursor if more rows follow, else NULL. */
typedef bool (*node_row_cb)(void *user, const struct node_row *row);
int node_query_run(struct node_db *db, const struct node_query *q, struct base_arena *arena,
                   void *user, node_row_cb cb, const char **next, struct base_err *err);

/* A row's changes known here, newest first: local ones (pending or acknowledged, 90 days). */
struct node_history {
    int64_t seq, base;
    const char *line;    /* the change's line */
    const char *outcome; /* "pending", "applied", … */
    const char *reason;  /* of a quarantine, or NULL */
};
typedef bool (*node_history_cb)(void *user, const struct node_history *h);
int node_history_each(struct node_db *db, const struct core_table *t, const struct base_uuid *id,
                      void *user, node_history_cb cb, struct base_err *err);

#endif
