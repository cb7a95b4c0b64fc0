/*
 * sync/base/buf.h - a growing byte buffer that declares its maximum.
 *
 * Errors are sticky: after the first failure every append is a no-op, and base_buf_check() tells
 * once at the end. The data is always NUL-terminated behind len, so that it can be read as a
 * string. Ownership: _init / _release; base_buf_take() gives the memory away (free() it).
 */
#ifndef SYNC_BASE_BUF_H
#define SYNC_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct base_buf {
    char *data; /* NULL only while nothing was ever appended */
    size_t len;
    size_t cap;
    size_t max; /* bytes; appending beyond it fails with BASE_ETOOBIG */
    int rc;     /* 0, BASE_ENOMEM or BASE_ETOOBIG */
};

void base_buf_init(struct base_buf *b, size_t max_bytes);
void base_buf_release(struct base_buf *b);
void base_buf_clear(struct base_buf *b); /* keeps the memory, forgets content and error */
char *base_buf_take(struct base_buf *b); /* never NULL unless rc is set; b is empty after it */

void base_buf_add(struct base_buf *b, const void *bytes, size_t len);
void base_buf_str(struct base_buf *b, const char *s);
void base_buf_char(struct base_buf *b, char c);
void base_buf_i64(struct base_buf *b, int64_t v);
void base_buf_printf(struct base_buf *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void base_buf_hex(struct base_buf *b, const void *bytes, size_t len);
/* A JSON string with its quotes; s must be valid UTF-8 (control characters are escaped). */
void base_buf_json(struct base_buf *b, const char *s, size_t len);
void base_buf_json_str(struct base_buf *b, const char *s); /* NULL gives null */

/* Makes room for len more bytes and returns where they go (then add to b->len yourself); NULL on
 * failure. */
char *base_buf_reserve(struct base_buf *b, size_t len);

static inline int base_buf_check(const struct base_buf *b)
{
    return b->rc;
}

#endif
