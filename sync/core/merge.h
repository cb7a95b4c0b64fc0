/*
 * sync/core/merge.h - what happens when two people change one thing. The only place that decides
 * (design, merge.md).
 *
 * Does:       given a change, the row as it is now and what its writer had not seen, decides each
 * column: new value, outcome, conflict or none. Does not:   touch a database, read a clock, know
 * tenants. A wall clock never decides. Called by:  the gateway's push (under the row's lock), the
 * simulator, the property tests. There is no second one.
 */
#ifndef SYNC_CORE_MERGE_H
#define SYNC_CORE_MERGE_H

#include "sync/core/change.h"

/* clang-format off */
#define CORE_OUTCOMES(X) \
    X(APPLIED, "applied") \
    X(MERGED, "merged") \
    X(DUPLICATE, "duplicate") \
    X(CONTESTED, "contested") \
    X(QUARANTINED, "quarantined") \
    X(FLAGGED, "flagged")
/* clang-format on */

enum core_outcome {
#define X(name, text) CORE_##name,
    CORE_OUTCOMES(X)
#undef X
};
const char *core_outcome_name(enum core_outcome o);
bool core_outcome_parse(enum core_outcome *out, const char *s);

/*    rule                     text (stands in the conflict, one sentence a person reads) */
#define CORE_RULES(X)                                                                              \
    X(NONE, "nothing clashed")                                                                     \
    X(FAST_FORWARD, "nobody else had changed it")                                                  \
    X(OTHER_COLUMNS, "others had changed other fields")                                            \
    X(AGREEMENT, "both entered the same value")                                                    \
    X(FIELD_LIVE_STAYS,                                                                            \
      "both changed the same field; the centre's value stays live until a person chooses")         \
    X(REVIEW_LIVE_STAYS,                                                                           \
      "both changed a field that needs review; the older value stays live until a person chooses") \
    X(SAFER_LIVE, "both changed it; the safer value is live until a person chooses")               \
    X(SAFER_WON, "both changed its state; the safer of the two stands, and both are told")         \
    X(FACT_REPEATED, "the same fact had arrived before")                                           \
    X(FACT_REWRITTEN, "a fact with this id exists with another content; facts are never changed")  \
    X(FACT_NOT_NEW, "facts are never updated or deleted; a correction is a new row")               \
    X(CENTRAL_ONLY, "this is written at the centre only")                                          \
    X(NOT_DELETABLE, "rows of this table are not deleted; they get a status")                      \
    X(DELETE_CLASH,                                                                                \
      "one side deleted what the other changed; the row stays until a person chooses")             \
    X(GONE, "the row is not there")                                                                \
    X(UNKNOWN_HISTORY, "the history is compacted, so every field counts as changed; a person "     \
                       "looks")

enum core_rule {
#define X(name, text) CORE_RULE_##name,
    CORE_RULES(X)
#undef X
};
const char *core_rule_name(enum core_rule r); /* "FIELD_LIVE_STAYS" */
const char *core_rule_text(enum core_rule r);

/* What the writer had not seen, from the row's changes with rev > base that are not from the same
 * node and incarnation. */
struct core_unseen {
    bool any;
    bool all_columns; /* compacted past base, or an insert/delete among them: every column counts as
                         changed */
    bool deleted;     /* the row is a tombstone now */
    uint8_t columns[(CORE_FIELDS_MAX + 7) / 8]; /* bit (ord - 1) */
};
void core_unseen_add(struct core_unseen *u, int ord);
bool core_unseen_has(const struct core_unseen *u, int ord);

/* One contested group of columns (or one column that stands alone). */
struct core_contest {
    int ords[CORE_COLUMNS_MAX];
    int count;
    enum core_class class;
    enum core_rule rule;
    bool is_delete; /* the incoming side wanted the row gone */
    bool settled; /* the rule has decided, nobody has to: both values are kept, both people told */
    bool incoming_live; /* the incoming value is the one that stands now */
};

enum { CORE_CONTESTS_MAX = 32 };

struct core_merge {
    enum core_outcome outcome;
    enum core_rule rule; /* the gravest that applied */
    enum { CORE_WRITE_NOTHING, CORE_WRITE_INSERT, CORE_WRITE_UPDATE, CORE_WRITE_DELETE } write;
    struct core_image image; /* the row to write, if any; rev is the database's business */
    struct core_contest contests[CORE_CONTESTS_MAX];
    int contest_count;
};

/* The single decision for one column or group: class, what it was based on, what is live, what
 * comes in. Arrays of n texts, side by side. unseen: someone else changed at least one of them. */
struct core_decision {
    bool take_incoming; /* else the live values stay */
    enum core_outcome outcome;
    enum core_rule rule;
    bool conflict;
    bool settled; /* kept as a conflict that is closed already */
};
/* dominance: of a column that stands alone, the safest value first (struct core_column); NULL: none is
 * safer. */
struct core_decision core_merge_decide(enum core_class class, const char *const *dominance, int n,
                                       const struct core_text *base, const struct core_text *live,
                                       const struct core_text *incoming, bool unseen);
/* May rows of the class be written once only? */
bool core_class_is_fact(enum core_class class);

/*
 * The whole row. live: NULL if there is no such row. base: the image at change->base, NULL if
 * unknown (compacted) or new. The texts in out point to the inputs. Columns of the change must have
 * been resolved and checked against the table by the caller (core_change_resolve).
 */
struct core_resolved {
    int count;
    int ords[CORE_COLUMNS_MAX];
    struct core_text values[CORE_COLUMNS_MAX];
};
/* Finds each named column and checks each value. BASE_ENOTFOUND: no such column; BASE_EINVALID: not
 * a value of it. */
int core_change_resolve(struct core_resolved *out, const struct core_change *c,
                        const struct core_table *t, struct base_err *err);

void core_merge_row(struct core_merge *out, const struct core_table *t,
                    const struct core_change *change, const struct core_resolved *incoming,
                    const struct core_image *live, const struct core_image *base,
                    const struct core_unseen *unseen);

#endif
