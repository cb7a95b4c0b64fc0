/*
 * sync/base/arena.h - memory for one exchange: many small pieces, freed at once.
 *
 * Pieces are zeroed and aligned for any type. Limit: max bytes in all, then NULL.
 * base_arena_clear() keeps the first block, so that a loop over batches does not go through malloc.
 */
#ifndef SYNC_BASE_ARENA_H
#define SYNC_BASE_ARENA_H

#include <stddef.h>

struct base_arena_block;

struct base_arena {
    struct base_arena_block *head;
    size_t used; /* bytes given out */
    size_t max;
};

void base_arena_init(struct base_arena *a, size_t max_bytes);
void base_arena_release(struct base_arena *a);
void base_arena_clear(struct base_arena *a);
void *base_arena_get(struct base_arena *a, size_t bytes);               /* NULL: BASE_ENOMEM */
char *base_arena_copy(struct base_arena *a, const char *s, size_t len); /* NUL-terminated */

#endif
