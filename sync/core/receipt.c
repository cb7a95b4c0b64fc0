#include "sync/core/receipt.h"

#include <string.h>

enum core_receipt_verdict core_receipt_check(const struct core_position *receipt,
                                             int64_t our_last_seq, int64_t our_acked_seq,
                                             const uint8_t our_chain_there[CORE_CHAIN_BYTES])
{
    if (receipt->seq > our_last_seq)
        return CORE_RECEIPT_WE_ARE_BEHIND;
    if (memcmp(receipt->chain, our_chain_there, CORE_CHAIN_BYTES) != 0)
        return CORE_RECEIPT_FORKED;
    return receipt->seq < our_acked_seq ? CORE_RECEIPT_CENTRE_BEHIND : CORE_RECEIPT_SETTLES;
}

enum core_push_verdict core_push_check(int64_t head_seq, int64_t first, int64_t last)
{
    if (first < 1 || last < first)
        return CORE_PUSH_INVALID;
    if (first > head_seq + 1)
        return CORE_PUSH_GAP;
    if (last <= head_seq)
        return CORE_PUSH_KNOWN;
    return first == head_seq + 1 ? CORE_PUSH_NEW : CORE_PUSH_PARTLY;
}
