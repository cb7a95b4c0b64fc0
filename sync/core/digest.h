/*
 * sync/core/digest.h - the sum over rows that both sides of verify compute alike (docs/PROTOCOL.md,
 * "verify").
 *
 * XOR of the first 8 bytes (big endian) of SHA-256 over each row's composite text: order does not
 * matter. The hashing is the caller's (sync/seal).
 */
#ifndef SYNC_CORE_DIGEST_H
#define SYNC_CORE_DIGEST_H

#include <stdint.h>

enum { CORE_DIGEST_FETCH_ROWS = 256, CORE_DIGEST_SPLIT = 16, CORE_DIGEST_RANGES_MAX = 256 };

struct core_digest {
    uint64_t hash;
    int64_t rows;
};

static inline void core_digest_add(struct core_digest *d, const uint8_t sha256[32])
{
    uint64_t h = 0;
    for (int i = 0; i < 8; i++)
        h = h << 8 | sha256[i];
    d->hash ^= h;
    d->rows++;
}

#endif
