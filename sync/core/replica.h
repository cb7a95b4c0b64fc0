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

/* What a new change names as seen: the row's central revision, unless changes of ours lie over it.
 * Their columns hide what the centre has there by now, so nothing newer than what the newest of them
 * (pending_base) had seen counts as seen. */
static inline int64_t core_edit_base(int64_t rev, bool pending, int64_t pending_base)
{
    return pending && pending_base < rev ? pending_base : rev;
}

/* The centre's image with our pending changes laid over it, one after the other. */
struct core_laying {
    struct core_image image;
    bool exists;
};
void core_lay_change(struct core_laying *to, const struct core_table *t,
                     const struct core_change *c);
/* A change of ours that is settled, behind one that is held (quarantined): what the centre made of
 * it shows, not the older value that was refused. */
void core_lay_settled(struct core_laying *to, const struct core_table *t,
                      const struct core_change *c, const struct core_image *central);

#endif
