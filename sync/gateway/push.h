/*
 * sync/gateway/push.h - one push on its way through the gateway (docs/PROTOCOL.md, "push").
 *
 *   decode (worker) -> fast flight ----------------------------------------> commit -> reply
 *        |                 | something was there, or failed                    ^
 *        v                 v                                                   |
 *   open flight -> range: read rows -> plan (worker) -> write -> next range ... finish
 *                    ^                                    |
 *                    +---- halves of the range <----------+ failed for good
 *
 * fast:  a batch of new rows only, inserted without reading anything first; taken back if a row was
 *        there already, if anything fails or if the receipt's head was not where the batch begins.
 * range: the general way. Rows are locked and read, the core merges, the writes go in waves (the
 *        k-th write to a row in wave k). A range that fails for good is taken back to its savepoint
 *        and halved until the culprit stands alone; that one is quarantined.
 * Invariant: everything of one push happens in one PostgreSQL transaction, or nothing.
 * Thread: the loop's, but *_work run on libuv's pool while the loop leaves the push alone.
 */
#ifndef SYNC_GATEWAY_PUSH_H
#define SYNC_GATEWAY_PUSH_H

#include "sync/core/past.h"
#include "sync/core/receipt.h"
#include "sync/gateway/gateway.h"

enum {
    PUSH_ARENA_BYTES_MAX = 512 * 1024 * 1024,
    PUSH_UNDER_WAY_MAX = 64, /* bodies decoded at once: beyond it 503 before anything is done */
    PUSH_ATTEMPTS_MAX = 5,
    PUSH_JITTER_MS = 40, /* times the attempt */
    PUSH_HEADER_BYTES_MAX =
        4096 + 40 * CORE_BATCH_CHANGES_MAX, /* "held" names each change at most */
    PUSH_TRAILER_BYTES_MAX = 4096,
    PUSH_OUTCOMES_BYTES_MAX = 16 * 1024 * 1024,
    PUSH_NOT_MADE_MAX = 1024, /* quarantined inserts of a batch whose children are looked for */
    PUSH_RANGES_MAX = 64      /* halving 5,000 needs 13 */
};

/* A row that the batch touches. What is below `live` belongs to the range under way. */
struct push_row {
    const struct gw_table *table;
    struct base_uuid id;
    int changes;                 /* in the whole batch */
    int64_t held_by;             /* seq whose quarantine holds all later ones; 0: none */
    int range;                   /* the range that this state belongs to */
    bool live, wants_past, made; /* made: a change before this one inserts it */
    int64_t rev;                 /* as read; 0: not there */
    int64_t rev_now;             /* after the writes planned so far */
    int64_t base_min;
    int writes;               /* planned so far */
    struct core_text *fields; /* [ord - 1], field_count of them: as it will stand */
    int field_count;
    struct core_past *past, *past_last;
    int past_count;
    struct core_text
        *own; /* what this batch's changes said, by ord - 1; NULL pointer: nothing yet */
    bool *own_set;
};

struct push_change {
    struct core_change c;
    struct push_row *row; /* NULL: table unknown */
    int count;            /* resolved columns */
    int *ords;
    struct core_text *values;
    uint8_t chain[CORE_CHAIN_BYTES]; /* after it */
    bool former;                     /* its base counts in a life of the centre that is over */
    bool refused;                    /* before the database was asked; stays so in every attempt */
    int64_t behind;                  /* a quarantined change that the node holds it with; 0: none */
    enum core_outcome outcome;
    char sqlstate[6];
    const char *constraint, *reason;
    bool has_conflict;
    struct base_uuid conflict;
};

enum push_kind { PUSH_INSERT, PUSH_UPDATE, PUSH_DELETE };

static inline struct core_seen push_seen(const struct push_change *c)
{
    return (struct core_seen){.base = c->c.base, .former = c->former};
}

/* One write that was decided. */
struct push_op {
    int change; /* index */
    int wave;
    enum push_kind kind;
    const struct gw_table *table;
    struct base_uuid id;
    int count;
    const int *ords;
    const struct core_text *values;
    const struct core_text *fields; /* update: the whole row, for columns that only others change */
    int field_count;
    bool may_exist; /* a conflict row: its id says that it is the same one */
};

/* SQL with its parameters, ready to fly. */
struct push_statement {
    const char *sql;
    struct gw_param *params;
    int param_count;
    int rows; /* that must be affected; -1: any */
};

/* What became of a push that no exchange waits for. 200: taken, but for the `skip` first, known before. */
struct push_answer {
    int status;
    const char *code, *detail;
    int64_t expected; /* seq, or 0 */
    int line;         /* or 0 */
};
struct push;
typedef void (*push_answered_cb)(void *user, const struct push *p, const struct push_answer *a);

struct push {
    struct push *next; /* of all that are under way */
    bool parked;       /* decoded, but an earlier one of the same node goes first */
    struct gateway *gw;
    struct net_http_exchange *x; /* NULL: answered instead */
    void *user;
    push_answered_cb answered;
    const char *late; /* the node's name or "": changes up to late_upto are to be reviewed */
    int64_t late_upto;
    struct gw_who who;
    uv_work_t work;
    uv_timer_t timer;
    struct gw_catalog *catalog;
    struct gw_pg_conn *conn;
    struct gw_flight flight;
    int attempt;

    /* from the body; stays */
    struct base_arena arena;
    struct base_buf plain;
    int64_t inc, first, last;
    int64_t
        former; /* changes up to it were written over rows of a life of the centre that is over */
    char timeline[BASE_UUID_CHARS + 1]; /* the centre's life the node knows; "": it does not say */
    char header_tenant[BASE_UUID_CHARS + 1], header_node[BASE_UUID_CHARS + 1];
    uint8_t chain_before[CORE_CHAIN_BYTES], chain[CORE_CHAIN_BYTES];
    struct push_change *changes;
    int count;
    int status; /* of the refusal, 0: none */
    const char *code;
    int line;
    struct base_err err;

    /* from the catalog; made anew when it moves */
    struct push_row *rows;
    struct push_row **map;
    int row_count, map_size;
    bool fast;

    /* of the attempt */
    struct base_arena plan; /* of the range */
    struct push_op *ops;
    int op_count, op_cap;
    struct push_statement *statements;
    int statement_count, statement_cap;
    int64_t head_seq;
    uint8_t head_chain[CORE_CHAIN_BYTES];
    char *known; /* outcomes of what was known before: members of a JSON array, or NULL */
    int skip;    /* changes known before */
    struct {
        int from, to;
    } ranges[PUSH_RANGES_MAX];
    int range_count, range_serial, from, to;
    bool careful, past_read, txn_begun, failed_range;
    const struct gw_table *reads[CORE_TABLES_MAX];
    int read_count, read_query;
    struct base_buf outcomes;
    int64_t t0_us;
};

/* push.c, loop */
struct push *push_new(struct gateway *gw, const struct gw_who *who); /* NULL: out of memory */
void push_begin(struct push *p); /* decoded and resolved: to the database, in its turn */
void push_attempt(struct push *p);
void push_attempt_later(struct push *p); /* gives the connection back, waits with jitter */
void push_to_worker(struct push *p, uv_work_cb work, uv_after_work_cb after);
void push_on_catalog_again(void *user, int rc, struct gw_catalog *c);
void push_leave(struct push *p); /* the node's next push may go on */
/* push_open.c, loop */
enum push_opened { PUSH_OPENED_OK, PUSH_OPENED_ANSWERED, PUSH_OPENED_CATALOG };
enum { PUSH_OPEN_NEXT = 5 }; /* the first query behind the opening ones */
void push_add_open(struct push *p);
void push_add_txn(struct push *p);
void push_add_receipt(struct push *p);
void push_add_statements(struct push *p);
/* Did each statement, from this query on, affect the rows it should? */
bool push_all_affected(const struct push *p, int first_query);
/* What the opening queries said: is it this node's turn, and against which head? */
enum push_opened push_check_open(struct push *p);
/* The flight failed in a way that may pass: true, and the push has been taken care of. */
bool push_passing(struct push *p);
void push_commit(struct push *p);
void push_on_committed(void *user, struct gw_flight *f);
void push_reply_receipt(struct push *p, int64_t last_seq, const uint8_t chain[CORE_CHAIN_BYTES]);
void push_conflict_reply(struct push *p, const char *code, const char *detail, int64_t expected);
/* Answers, without push_done. */
void push_answer(struct push *p, const struct push_answer *a);
void push_answer_away(struct push *p, int rc);
void push_answer_failed(struct push *p, const char *what);
void push_fail(struct push *p); /* 503: not enough memory or threads */
void push_done(struct push *p); /* after the reply: everything goes */
/* push_late.c, loop. False: out of memory. */
bool push_late_flags(struct push *p);
/* push_range.c, loop */
void push_range_add(struct push *p, int from, int to);
void push_next_range(struct push *p);
/* push_decode.c, worker */
void push_decode(struct push *p); /* the body of p->x */
void push_decode_bytes(struct push *p, const char *body, size_t len);
int push_resolve(struct push *p); /* rows, columns, values against p->catalog; BASE_ENOMEM */
struct push_row *push_row_find(const struct push *p, const struct gw_table *t,
                               const struct base_uuid *id);
/* push_plan.c, worker. Return 0 or BASE_ENOMEM / BASE_ECORRUPT */
int push_plan_fast(struct push *p);
int push_plan_absorb(struct push *p, bool *wants_past); /* the rows read by p->flight */
int push_plan_past(struct push *p);                     /* the changes read by p->flight */
int push_plan_merge(struct push *p);
/* push_sql.c, worker */
int push_sql(struct push *p); /* ops into statements */
/* The parameter for a list of ids; n 0 gives an empty array. False: out of memory. */
bool push_uuid_array(struct base_arena *a, struct gw_param *out, int n,
                     const struct base_uuid *const ids[]);
char *push_i64(struct base_arena *a, int64_t v);
/* push_conflict.c, worker */
int push_conflicts(struct push *p, int change, const struct core_merge *m,
                   const struct core_image *base, const struct core_image *live);
int push_resolutions(struct push *p); /* statements behind the facts that resolve */
struct push_op *push_op_add(struct push *p);
struct push_statement *push_statement_add(struct push *p, const char *sql, int params, int rows);
void push_quarantine(struct push *p, int change, const char *sqlstate, const char *constraint,
                     const char *reason);
void push_write_outcomes(struct push *p, struct base_buf *out);

#endif
