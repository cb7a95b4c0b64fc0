/*
 * sync/core/receipt.h - how far the centre has taken a node's log, compared by seq and chain; both
 * ends.
 */
#ifndef SYNC_CORE_RECEIPT_H
#define SYNC_CORE_RECEIPT_H

#include <stdint.h>

enum { CORE_CHAIN_BYTES = 32 };

struct core_position {
    int64_t seq;
    uint8_t chain[CORE_CHAIN_BYTES];
};

/* The node's side: the centre's receipt against the node's own log. */
enum core_receipt_verdict {
    CORE_RECEIPT_SETTLES, /* receipt.seq within our log and the chain there is ours: acknowledged up
                             to it */
    CORE_RECEIPT_CENTRE_BEHIND, /* behind what we hold acknowledged: the centre was restored from a
                                   backup */
    CORE_RECEIPT_WE_ARE_BEHIND, /* ahead of our last seq: we are a clone or a restored image */
    CORE_RECEIPT_FORKED         /* another chain at the same seq: likewise */
};
/* ours_at_receipt: our own position at receipt->seq (its chain ignored if that is beyond our log).
 */
enum core_receipt_verdict core_receipt_check(const struct core_position *receipt,
                                             int64_t our_last_seq, int64_t our_acked_seq,
                                             const uint8_t our_chain_there[CORE_CHAIN_BYTES]);

/* The gateway's side: a push of first..last against the receipt head. */
enum core_push_verdict {
    CORE_PUSH_NEW,    /* all of it is new */
    CORE_PUSH_PARTLY, /* skip up to head.seq, after comparing the chain there */
    CORE_PUSH_KNOWN,  /* last == head.seq (compare the chain) or below it (compare with the receipt
                         kept for last) */
    CORE_PUSH_GAP,    /* first > head.seq + 1 */
    CORE_PUSH_INVALID /* first < 1, last < first, … */
};
enum core_push_verdict core_push_check(int64_t head_seq, int64_t first, int64_t last);

#endif
