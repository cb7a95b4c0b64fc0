/*
 * sync/core/text.h - a piece of text that is not owned; NULL pointer means SQL NULL.
 */
#ifndef SYNC_CORE_TEXT_H
#define SYNC_CORE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct core_text {
    const char *s; /* NULL: null. Else len bytes of UTF-8; not always NUL-terminated */
    size_t len;
};

static inline struct core_text core_text_of(const char *s)
{
    return (struct core_text){s, s == NULL ? 0 : strlen(s)};
}

static inline bool core_text_equal(struct core_text a, struct core_text b)
{
    if (a.s == NULL || b.s == NULL)
        return a.s == b.s;
    return a.len == b.len && memcmp(a.s, b.s, a.len) == 0;
}

#endif
