#include "sync/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/base/err.h"

void base_buf_init(struct base_buf *b, size_t max_bytes)
{
    *b = (struct base_buf){.max = max_bytes};
}

void base_buf_release(struct base_buf *b)
{
    free(b->data);
    *b = (struct base_buf){.max = b->max};
}

void base_buf_clear(struct base_buf *b)
{
    b->len = 0;
    b->rc = 0;
    if (b->data != NULL)
        b->data[0] = '\0';
}

char *base_buf_reserve(struct base_buf *b, size_t len)
{
    if (b->rc != 0)
        return NULL;
    if (len > b->max || b->len > b->max - len) {
        b->rc = BASE_ETOOBIG;
        return NULL;
    }
    size_t need = b->len + len + 1;
    if (need > b->cap) {
        size_t cap = b->cap < 128 ? 256 : b->cap * 2;
        if (cap < need)
            cap = need;
        char *data = realloc(b->data, cap);
        if (data == NULL) {
            b->rc = BASE_ENOMEM;
            return NULL;
        }
        b->data = data;
        b->cap = cap;
    }
    return b->data + b->len;
}

char *base_buf_take(struct base_buf *b)
{
    if (b->rc != 0 || base_buf_reserve(b, 0) == NULL)
        return NULL;
    b->data[b->len] = '\0';
    char *data = b->data;
    *b = (struct base_buf){.max = b->max};
    return data;
}

void base_buf_add(struct base_buf *b, const void *bytes, size_t len)
{
    char *to = base_buf_reserve(b, len);
    if (to == NULL)
        return;
    if (len > 0)
        memcpy(to, bytes, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void base_buf_str(struct base_buf *b, const char *s)
{
    base_buf_add(b, s, strlen(s));
}

void base_buf_char(struct base_buf *b, char c)
{
    base_buf_add(b, &c, 1);
}

void base_buf_i64(struct base_buf *b, int64_t v)
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%lld", (long long)v);
    base_buf_add(b, digits, (size_t)n);
}

void base_buf_printf(struct base_buf *b, const char *fmt, ...)
{
    va_list ap;
    va_list again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *to = n < 0 ? NULL : base_buf_reserve(b, (size_t)n);
    if (to != NULL) {
        (void)vsnprintf(to, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

void base_buf_hex(struct base_buf *b, const void *bytes, size_t len)
{
    static const char digit[] = "0123456789abcdef";
    char *to = base_buf_reserve(b, len * 2);
    if (to == NULL)
        return;
    const unsigned char *from = bytes;
    for (size_t i = 0; i < len; i++) {
        to[2 * i] = digit[from[i] >> 4];
        to[2 * i + 1] = digit[from[i] & 15];
    }
    b->len += len * 2;
    b->data[b->len] = '\0';
}

void base_buf_json(struct base_buf *b, const char *s, size_t len)
{
    base_buf_char(b, '"');
    size_t done = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
            continue;
        base_buf_add(b, s + done, i - done);
        done = i + 1;
        switch (c) {
        case '"':
            base_buf_add(b, "\\\"", 2);
            break;
        case '\\':
            base_buf_add(b, "\\\\", 2);
            break;
        case '\n':
            base_buf_add(b, "\\n", 2);
            break;
        case '\t':
            base_buf_add(b, "\\t", 2);
            break;
        case '\r':
            base_buf_add(b, "\\r", 2);
            break;
        default:
            base_buf_printf(b, "\\u%04x", c);
        }
    }
    base_buf_add(b, s + done, len - done);
    base_buf_char(b, '"');
}

void base_buf_json_str(struct base_buf *b, const char *s)
{
    if (s == NULL)
        base_buf_add(b, "null", 4);
    else
        base_buf_json(b, s, strlen(s));
}
