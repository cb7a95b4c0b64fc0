/*
 * sync/core/replica.h - the rules by which a replica takes what the centre sends and shows what
 * still waits here. Pure; the store's SQL (node/store) keeps to them.
 *
 * Called by:  node/store, and the simulator's store in memory.
 */
#ifndef SYNC_CORE_REPLICA_H
#define SYNC_CORE_REPLICA_H

#include "sync/core/change.h"

/* Cuts come one by one: anything else is a gap, and nothing of it is applied. */
static inline bool core_cut_follows(int64_t last, int64_t cut)
{
    return cut == last + 1;
}

/* Up to which of our changes the overlay goes: receipt and outcome in the feed have both come. */
static inline int64_t core_settled_upto(int64_t acked, int64_t outcome_came)
{
    return acked < outcome_came ? acked : outcome_came;
}

/* The centre's image with our pending changes laid over it, one after the other. */
struct core_laying {
    struct core_image image;
    bool exists;
};
void core_lay_change(struct core_laying *to, const struct core_table *t,
                     const struct core_change *c);

#endif
