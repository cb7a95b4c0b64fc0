#include "sync/base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_BLOCK_BYTES = 64 * 1024 };

struct base_arena_block {
    struct base_arena_block *next;
    size_t cap;
    size_t used;
    alignas(max_align_t) unsigned char bytes[];
};

void base_arena_init(struct base_arena *a, size_t max_bytes)
{
    *a = (struct base_arena){.max = max_bytes};
}

static void free_blocks(struct base_arena_block *b)
{
    while (b != NULL) {
        struct base_arena_block *next = b->next;
        free(b);
        b = next;
    }
}

void base_arena_release(struct base_arena *a)
{
    free_blocks(a->head);
    a->head = NULL;
    a->used = 0;
}

void base_arena_clear(struct base_arena *a)
{
    if (a->head == NULL)
        return;
    free_blocks(a->head->next);
    a->head->next = NULL;
    a->head->used = 0;
    a->used = 0;
}

void *base_arena_get(struct base_arena *a, size_t bytes)
{
    if (bytes > a->max || a->used > a->max - bytes)
        return NULL;
    size_t need = (bytes + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    struct base_arena_block *b = a->head;
    if (b == NULL || b->cap - b->used < need) {
        size_t cap = need > ARENA_BLOCK_BYTES ? need : ARENA_BLOCK_BYTES;
        b = malloc(sizeof *b + cap);
        if (b == NULL)
            return NULL;
        *b = (struct base_arena_block){.next = a->head, .cap = cap};
        a->head = b;
    }
    void *p = b->bytes + b->used;
    b->used += need;
    a->used += need;
    memset(p, 0, need);
    return p;
}

char *base_arena_copy(struct base_arena *a, const char *s, size_t len)
{
    char *p = base_arena_get(a, len + 1);
    if (p != NULL && len > 0)
        memcpy(p, s, len);
    return p;
}
