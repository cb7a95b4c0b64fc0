/*
 * node/store/prune.h - acknowledged changes leave the log when they are old enough. For jobs (node/store/store.h).
 *
 * Does:       counts days of contact with the centre, by the centre's clock; deletes, some at a time, changes that were
 *             acknowledged keep_days such days ago. They are kept so long so that a centre restored from a backup can be
 *             given back what it lost.
 * Does not:   decide when (node/engine/prune.c), or touch anything but _change, _contact and two values of _meta.
 * Invariant:  what is not acknowledged, or whose outcome has not come back, or is held, or lies over a row (_base) stays, and
 *             so does every change from the newest pruned one on: chain and lines are without a gap above _pruned. While
 *             the centre begins another life, or this node its next one, nothing goes.
 * Clocks:     a day counts once, whatever its date: a clock that is 100 days ahead for an hour makes changes one day older.
 *             Days without the line count nothing: what has gone out late is kept as long.
 * Dying:      a step is one transaction: deleted changes and _pruned, or neither. The next step goes on from there; noting a
 *             day twice is noting it once.
 */
#ifndef NODE_STORE_PRUNE_H
#define NODE_STORE_PRUNE_H

#include <stdbool.h>

#include "node/store/store.h"

enum {
    NODE_PRUNE_STEP = 256, /* changes looked at by one step: some milliseconds of the writer */
    NODE_PRUNE_DAYS_MIN = 7,
    NODE_PRUNE_DAYS_DEFAULT = 90,
    NODE_PRUNE_DAYS_MAX = 3650
};

/* The centre was there on this day (since 1970, by its clock). */
int node_prune_day(struct node_db *db, int64_t day, struct base_err *err);
/* One step. keep_days: of contact, ≥ 1. *gone: changes deleted; *more: a further step may find some. */
int node_prune_step(struct node_db *db, int64_t keep_days, int64_t *gone, bool *more,
                    struct base_err *err);

#endif
