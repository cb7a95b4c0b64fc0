/*
 * node/store/numbers.h - record numbers for new patients, from blocks that the centre has leased to this node.
 *
 * A number is taken in the transaction that writes the patient: it is there with the patient or not at all, and never twice.
 * A patient for whom there is none is written all the same, and owed one: the next block pays first.
 * Invariant: no number is taken from a block of another life, nor while this replica is one that was put back and has not
 * begun its next life: what the former one gave after the copy was made is not known here.
 * For jobs.
 */
#ifndef NODE_STORE_NUMBERS_H
#define NODE_STORE_NUMBERS_H

#include "node/store/rows.h"
#include "sync/core/number.h"

enum { NODE_NUMBERS_OWED_STEP = 200 }; /* patients paid in one transaction */

struct node_numbers {
    int64_t incarnation;
    int64_t blocks; /* leased in this life, used up or not; 0: none, or the tenant has no scheme */
    int64_t left, need, owed; /* need: four weeks' */
    bool withheld;            /* put back, or to rejoin: none is given */
};
int node_numbers_get(struct node_db *db, struct node_numbers *out, struct base_err *err);

/* node_write_edits; a new patient that comes without an identifier gets one from a block besides. */
int node_write_numbered(struct node_db *db, const struct node_author *author,
                        const struct node_edit *edits, int count, struct node_version *versions,
                        int *failed, struct base_err *err);

struct node_number_block {
    int64_t incarnation, block, first, last;
    const char *system, *prefix;
    int digits;
};
/* One that is known already stays as it is. Of a life that is not the present one: not taken. */
int node_numbers_add(struct node_db *db, const struct node_number_block *b, struct base_err *err);
/* Gives numbers to those who are owed one, NODE_NUMBERS_OWED_STEP at most; *paid: how many. */
int node_numbers_pay(struct node_db *db, const struct node_author *author, int *paid,
                     struct base_err *err);
/* Gives up what is left of all blocks: the centre refuses this node, another copy of it may run. */
int node_numbers_drop(struct node_db *db, struct base_err *err);

#endif
