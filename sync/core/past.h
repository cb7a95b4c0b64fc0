/*
 * sync/core/past.h - from a row's log at the centre: what a change's author had not seen, and what
 * was on the author's screen.
 *
 * Does:       reads a row's earlier changes (ascending by rev, from the oldest base of a batch on).
 * Does not:   decide anything about values: that is sync/core/merge.h.
 * Called by:  the gateway's push under the row's lock, and the simulator.
 */
#ifndef SYNC_CORE_PAST_H
#define SYNC_CORE_PAST_H

#include "sync/core/merge.h"

/* One earlier change, as the log holds it. */
struct core_past {
    struct core_past *next; /* ascending by rev */
    int64_t rev;
    enum core_op op;
    bool own;  /* of the same node, in this life of it or a former one it goes on from */
    bool anew; /* written in the centre's present life, not before it was restored */
    struct core_text cols;  /* "{4,7}": the ordinals it set */
    struct core_text image; /* composite, as it stood after it */
    struct core_text actor, at, node;
};

/* What earlier changes of the same batch said, by ord - 1: their author saw that, too. */
struct core_said {
    struct core_text *values;
    bool *set;
};

/* What was on the author's screen: the row at `base`; former: a revision that counts in a life of the
 * centre that is over, so that nothing of the present one was seen, whatever its number. */
struct core_seen {
    int64_t base;
    bool former;
};
/* Does it stand in the life in which the base counts? A person's own insert that came again says what
 * it had said before; a row that a node put back (no actor) may hold more. */
static inline bool core_past_counts(const struct core_past *past, struct core_seen seen)
{
    bool again = past->op == CORE_OP_INSERT && past->rev == 1 && past->actor.s != NULL;
    return !seen.former || !past->anew || again;
}
static inline bool core_past_was_seen(const struct core_past *past, struct core_seen seen)
{
    return past->own || (past->rev <= seen.base && core_past_counts(past, seen));
}

/* live_rev: of the row as it was read, 0 if it is not there; touched: a change before this one in
 * the batch wrote it. Past that is not complete counts as everything. */
void core_past_unseen(struct core_unseen *out, const struct core_past *past, int64_t live_rev,
                      bool touched, struct core_seen seen);

/* The image that was seen, with the node's own changes since laid over it, and those of the batch (said
 * may be NULL). False: the log does not reach back to it. scratch: a second image to work in. */
bool core_past_base(struct core_image *out, const struct core_past *past, struct core_seen seen,
                    const struct core_said *said, struct core_image *scratch,
                    struct base_arena *arena);

#endif
