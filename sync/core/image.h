/*
 * sync/core/image.h - a row as a list of texts by ordinal, and its two written forms.
 *
 * Composite: PostgreSQL's ROW(...)::text, what the centre stores and both sides digest.
 * Array:     a JSON array of strings and nulls, what travels (docs/PROTOCOL.md). Trailing nulls may
 * be missing. Decoded texts point into the input where they need no unescaping, else into the
 * arena: keep both while in use.
 */
#ifndef SYNC_CORE_IMAGE_H
#define SYNC_CORE_IMAGE_H

#include "sync/base/arena.h"
#include "sync/base/buf.h"
#include "sync/core/catalog.h"

struct core_image {
    int count;                                /* fields present; a field beyond it is null */
    struct core_text fields[CORE_FIELDS_MAX]; /* [ord - 1] */
};

static inline struct core_text core_image_field(const struct core_image *im, int ord)
{
    return ord <= im->count ? im->fields[ord - 1] : (struct core_text){NULL, 0};
}
/* Sets a field, filling the gap before it with nulls. */
void core_image_set(struct core_image *im, int ord, struct core_text value);

/* fields: how many the catalog has now (3 + column_count): the composite form always has them all.
 */
void core_image_write_composite(struct base_buf *out, const struct core_image *im, int fields);
void core_image_write_array(struct base_buf *out, const struct core_image *im);

int core_image_read_composite(struct core_image *out, const char *s, size_t len,
                              struct base_arena *arena, struct base_err *err);
/* Reads one array at *s, leaves *s behind its ']'. end: first byte that may not be read. */
int core_image_read_array(struct core_image *out, const char **s, const char *end,
                          struct base_arena *arena, struct base_err *err);

/* A JSON string at **s == '"'; strict (escapes, surrogates, UTF-8, no control characters, no NUL).
 * Leaves *s behind it. */
int core_json_string(struct core_text *out, const char **s, const char *end,
                     struct base_arena *arena, struct base_err *err);

#endif
