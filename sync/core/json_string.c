/*
 * One JSON string, strictly (RFC 8259, RFC 3629). On the hot path of push and feed: a string
 * without escapes is not copied.
 */
#include "sync/core/image.h"

static int bad(struct base_err *err, const char *what)
{
    return base_fail(err, BASE_EPROTO, "a JSON string %s", what);
}

/* Length of the well-formed UTF-8 sequence at p (lead byte >= 0x80), 0 if it is not well-formed. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
    unsigned char lead = p[0];
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    size_t n = 0;
    if (lead >= 0xc2 && lead <= 0xdf)
        n = 2;
    else if (lead >= 0xe0 && lead <= 0xef)
        n = 3;
    else if (lead >= 0xf0 && lead <= 0xf4)
        n = 4;
    if (n == 0 || left < n)
        return 0;
    if (lead == 0xe0)
        low = 0xa0;
    else if (lead == 0xed)
        high = 0x9f; /* no surrogates */
    else if (lead == 0xf0)
        low = 0x90;
    else if (lead == 0xf4)
        high = 0x8f;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

static int hex4(const char *p, const char *end)
{
    int v = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0)
            return -1;
        v = v << 4 | d;
    }
    return v;
}

static size_t put_utf8(char *to, int code)
{
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        to[0] = (char)(0xc0 | code >> 6);
        to[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        to[0] = (char)(0xe0 | code >> 12);
        to[1] = (char)(0x80 | (code >> 6 & 0x3f));
        to[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    to[0] = (char)(0xf0 | code >> 18);
    to[1] = (char)(0x80 | (code >> 12 & 0x3f));
    to[2] = (char)(0x80 | (code >> 6 & 0x3f));
    to[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

/* \uXXXX at p (behind the u), with its low surrogate if it needs one. Returns bytes read, 0 if
 * malformed. */
static size_t read_unicode(const char *p, const char *end, int *code)
{
    int high = hex4(p, end);
    if (high <= 0 || (high >= 0xdc00 && high <= 0xdfff)) /* no NUL, no lone low surrogate */
        return 0;
    *code = high;
    if (high < 0xd800 || high > 0xdbff)
        return 4;
    int low = end - p >= 10 && p[4] == '\\' && p[5] == 'u' ? hex4(p + 6, end) : -1;
    if (low < 0xdc00 || low > 0xdfff)
        return 0;
    *code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    return 10;
}

/* Bytes read of one escape (behind the backslash), 0 if malformed; what it stands for goes to
 * to[*n]. */
static size_t read_escape(const char *p, const char *end, char *to, size_t *n)
{
    static const char names[] = "\"\\/bfnrt";
    static const char means[] = "\"\\/\b\f\n\r\t";
    if (p >= end)
        return 0;
    const char *at = *p == '\0' ? NULL : strchr(names, *p);
    if (at != NULL) {
        to[(*n)++] = means[at - names];
        return 1;
    }
    int code = 0;
    size_t used = *p == 'u' ? read_unicode(p + 1, end, &code) : 0;
    if (used == 0)
        return 0;
    *n += put_utf8(to + *n, code);
    return used + 1;
}

/* Runs to the closing quote or the first backslash. NULL: malformed. */
static const char *scan(const char *p, const char *end)
{
    while (p < end) {
        unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\')
            return p;
        if (c < 0x20)
            return NULL;
        if (c < 0x80) {
            p++;
            continue;
        }
        size_t n = utf8_length((const unsigned char *)p, (size_t)(end - p));
        if (n == 0)
            return NULL;
        p += n;
    }
    return NULL;
}

static int read_with_escapes(struct core_text *out, const char **s, const char *first,
                             const char *end, struct base_arena *arena, struct base_err *err)
{
    const char *close = first;
    while (close < end && *close != '"')
        close += *close == '\\' ? 2 : 1;
    if (close >= end)
        return bad(err, "does not end");
    char *to =
        base_arena_get(arena, (size_t)(close - first) + 1); /* unescaping never makes it longer */
    if (to == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory in a JSON string");
    size_t n = 0;
    for (const char *p = first;;) {
        const char *stop = scan(p, end);
        if (stop == NULL)
            return bad(err, "holds a control character or is not UTF-8");
        memcpy(to + n, p, (size_t)(stop - p));
        n += (size_t)(stop - p);
        if (*stop == '"') {
            *out = (struct core_text){to, n};
            *s = stop + 1;
            return 0;
        }
        size_t used = read_escape(stop + 1, end, to, &n);
        if (used == 0)
            return bad(err, "holds a malformed escape");
        p = stop + 1 + used;
    }
}

int core_json_string(struct core_text *out, const char **s, const char *end,
                     struct base_arena *arena, struct base_err *err)
{
    const char *p = *s;
    if (p >= end || *p != '"')
        return bad(err, "must begin with a quote");
    const char *stop = scan(p + 1, end);
    if (stop == NULL)
        return bad(err, "does not end, holds a control character or is not UTF-8");
    if (*stop == '\\')
        return read_with_escapes(out, s, p + 1, end, arena, err);
    *out = (struct core_text){p + 1, (size_t)(stop - p - 1)};
    *s = stop + 1;
    return 0;
}
