#include <stdlib.h>

#include "node/api/internal.h"

enum { KEYSET_CAP_MIN = 16 * 1024 };

static struct api_keyslot *slot_of(const struct api_keyset *s, uint64_t fingerprint)
{
    size_t i = (size_t)fingerprint & (s->cap - 1);
    while (s->slots[i].fingerprint != 0 && s->slots[i].fingerprint != fingerprint)
        i = (i + 1) & (s->cap - 1);
    return &s->slots[i];
}

int64_t api_keyset_find(const struct api_keyset *s, uint64_t fingerprint)
{
    if (s->cap == 0)
        return 0;
    const struct api_keyslot *slot = slot_of(s, fingerprint);
    return slot->fingerprint != 0 && slot->n >= s->first_n ? slot->n : 0;
}

/* Those that are gone from the store are left behind. */
static int rebuild(struct api_keyset *s, size_t extra)
{
    size_t live = 0;
    for (size_t i = 0; i < s->cap; i++)
        live += s->slots[i].fingerprint != 0 && s->slots[i].n >= s->first_n;
    struct api_keyset to = {.cap = KEYSET_CAP_MIN, .first_n = s->first_n, .count = live};
    while (to.cap < (live + extra) * 2)
        to.cap *= 2;
    to.slots = calloc(to.cap, sizeof *to.slots);
    if (to.slots == NULL)
        return BASE_ENOMEM;
    for (size_t i = 0; i < s->cap; i++)
        if (s->slots[i].fingerprint != 0 && s->slots[i].n >= s->first_n)
            *slot_of(&to, s->slots[i].fingerprint) = s->slots[i];
    free(s->slots);
    *s = to;
    return 0;
}

int api_keyset_reserve(struct api_keyset *s, size_t extra)
{
    return (s->count + extra) * 4 <= s->cap * 3 ? 0 : rebuild(s, extra);
}

void api_keyset_add(struct api_keyset *s, uint64_t fingerprint, int64_t n)
{
    BASE_ASSERT(s->count < s->cap); /* reserved before */
    struct api_keyslot *slot = slot_of(s, fingerprint);
    s->count += slot->fingerprint == 0;
    *slot = (struct api_keyslot){fingerprint, n};
}

void api_keyset_release(struct api_keyset *s)
{
    free(s->slots);
    *s = (struct api_keyset){.first_n = 0};
}
