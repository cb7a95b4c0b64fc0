#include "sync/net/json_scan.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "sync/net/json.h"

static int value(struct net_json_scan *s, int depth);

int net_json_scan_fail(const struct net_json_scan *s, size_t offset, int code, const char *what)
{
    size_t line = 1;
    size_t column = 1;
    for (size_t i = 0; i < offset && s->text + i < s->end; i++) {
        if (s->text[i] == '\n') {
            line++;
            column = 1;
        } else if ((s->text[i] & 0xc0) != 0x80) {
            column++;
        }
    }
    return base_fail(s->err, code, "JSON line %zu, column %zu: %s", line, column, what);
}

static int fail(struct net_json_scan *s, const char *what)
{
    return net_json_scan_fail(s, (size_t)(s->at - s->text), BASE_EINVALID, what);
}

static int too_big(struct net_json_scan *s, const char *what)
{
    return net_json_scan_fail(s, (size_t)(s->at - s->text), BASE_ETOOBIG, what);
}

static int mark(struct net_json_scan *s, const unsigned char *at)
{
    if (s->mark_count == s->mark_cap) {
        uint32_t cap = s->mark_cap * 2;
        uint32_t *grown = realloc(s->marks == s->few ? NULL : s->marks, cap * sizeof *grown);
        if (grown == NULL)
            return base_fail(s->err, BASE_ENOMEM, "out of memory reading JSON");
        if (s->marks == s->few)
            memcpy(grown, s->few, sizeof s->few);
        s->marks = grown;
        s->mark_cap = cap;
    }
    s->marks[s->mark_count++] = (uint32_t)(at - s->text);
    return 0;
}

static void space(struct net_json_scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\r' || *s->at == '\t'))
        s->at++;
}

static bool digit(const struct net_json_scan *s)
{
    return s->at < s->end && *s->at >= '0' && *s->at <= '9';
}

static int digits(struct net_json_scan *s)
{
    if (!digit(s))
        return fail(s, "expected a digit");
    while (digit(s))
        s->at++;
    return 0;
}

static int number(struct net_json_scan *s)
{
    const unsigned char *begin = s->at;
    int rc = mark(s, begin);
    if (rc != 0)
        return rc;
    if (*s->at == '-')
        s->at++;
    if (s->at < s->end && *s->at == '0') {
        s->at++;
        if (digit(s))
            return fail(s, "a number does not begin with 0");
    } else if ((rc = digits(s)) != 0) {
        return rc;
    }
    if (s->at < s->end && *s->at == '.') {
        s->at++;
        if ((rc = digits(s)) != 0)
            return rc;
    }
    if (s->at < s->end && (*s->at == 'e' || *s->at == 'E')) {
        s->at++;
        if (s->at < s->end && (*s->at == '+' || *s->at == '-'))
            s->at++;
        if ((rc = digits(s)) != 0)
            return rc;
    }
    return s->at - begin > NET_JSON_NUMBER_CHARS_MAX ? too_big(s, "a number has too many digits")
                                                     : 0;
}

size_t net_json_number_chars(const char *text, const char *end)
{
    const char *at = text;
    while (at < end && ((*at >= '0' && *at <= '9') || *at == '-' || *at == '+' || *at == '.' ||
                        *at == 'e' || *at == 'E'))
        at++;
    return (size_t)(at - text);
}

/* Four hex digits at s->at; -1 if they are not. */
static int hex4(struct net_json_scan *s)
{
    int v = 0;
    if (s->end - s->at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        unsigned c = s->at[i];
        unsigned low = c | 0x20;
        if (c >= '0' && c <= '9')
            v = v << 4 | (int)(c - '0');
        else if (low >= 'a' && low <= 'f')
            v = v << 4 | (int)(low - 'a' + 10);
        else
            return -1;
    }
    s->at += 4;
    return v;
}

static int escape(struct net_json_scan *s)
{
    s->at++;
    if (s->at == s->end)
        return fail(s, "a string has no end");
    unsigned char c = *s->at;
    if (c != 'u') {
        if (c == '\0' || strchr("\"\\/bfnrt", c) == NULL)
            return fail(s, "unknown escape in a string");
        s->at++;
        return 0;
    }
    s->at++;
    int high = hex4(s);
    if (high < 0)
        return fail(s, "expected four hex digits");
    if (high == 0)
        return fail(s, "a string must not hold NUL");
    if (high >= 0xdc00 && high <= 0xdfff)
        return fail(s, "lone surrogate in a string");
    if (high < 0xd800 || high > 0xdbff)
        return 0;
    if (s->end - s->at < 2 || s->at[0] != '\\' || s->at[1] != 'u')
        return fail(s, "lone surrogate in a string");
    s->at += 2;
    int low = hex4(s);
    return low >= 0xdc00 && low <= 0xdfff ? 0 : fail(s, "lone surrogate in a string");
}

/* One character of two to four bytes: shortest form, no surrogates, at most U+10FFFF (RFC 3629). */
static int utf8(struct net_json_scan *s)
{
    const unsigned char *p = s->at;
    ptrdiff_t left = s->end - p;
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    int more = p[0] >= 0xf0 ? 3 : p[0] >= 0xe0 ? 2 : 1;
    if (p[0] < 0xc2 || p[0] > 0xf4 || left <= more)
        return fail(s, "not UTF-8");
    if (p[0] == 0xe0)
        low = 0xa0;
    else if (p[0] == 0xed)
        high = 0x9f;
    else if (p[0] == 0xf0)
        low = 0x90;
    else if (p[0] == 0xf4)
        high = 0x8f;
    if (p[1] < low || p[1] > high)
        return fail(s, "not UTF-8");
    for (int i = 2; i <= more; i++)
        if ((p[i] & 0xc0) != 0x80)
            return fail(s, "not UTF-8");
    s->at += more + 1;
    return 0;
}

/* True if all eight bytes stand for themselves in a string: ASCII, no control character, '"' or
 * '\\'. Most of a text is such bytes. May say false for eight that are fine, never the other way.
 */
static bool plain8(const unsigned char *at)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t highs = UINT64_C(0x8080808080808080);
    uint64_t v;
    memcpy(&v, at, sizeof v);
    uint64_t quote = v ^ ones * '"';
    uint64_t slash = v ^ ones * '\\';
    return ((v | (v - ones * 0x20) | (quote - ones) | (slash - ones)) & highs) == 0;
}

static bool plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

static int string(struct net_json_scan *s)
{
    s->at++;
    for (;;) {
        const unsigned char *at = s->at;
        while (s->end - at >= 8 && plain8(at))
            at += 8;
        while (at < s->end && plain(*at))
            at++;
        s->at = at;
        if (s->at == s->end)
            return fail(s, "a string has no end");
        if (*s->at == '"') {
            s->at++;
            return 0;
        }
        int rc = *s->at == '\\'   ? escape(s)
                 : *s->at >= 0x80 ? utf8(s)
                                  : fail(s, "control character in a string");
        if (rc != 0)
            return rc;
    }
}

static int member(struct net_json_scan *s, int depth)
{
    if (s->at == s->end || *s->at != '"')
        return fail(s, "expected a member's name in quotes");
    int rc = mark(s, s->at);
    if (rc == 0)
        rc = string(s);
    if (rc != 0)
        return rc;
    space(s);
    if (s->at == s->end || *s->at != ':')
        return fail(s, "expected ':'");
    s->at++;
    return value(s, depth);
}

static int container(struct net_json_scan *s, int depth, unsigned char close)
{
    if (depth >= NET_JSON_DEPTH_MAX)
        return too_big(s, "nested too deeply");
    s->at++;
    space(s);
    if (s->at < s->end && *s->at == close) {
        s->at++;
        return 0;
    }
    for (;;) {
        space(s);
        int rc = close == '}' ? member(s, depth + 1) : value(s, depth + 1);
        if (rc != 0)
            return rc;
        if (s->at < s->end && *s->at == close) {
            s->at++;
            return 0;
        }
        if (s->at == s->end || *s->at != ',')
            return fail(s, close == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
        s->at++;
    }
}

static int word(struct net_json_scan *s, const char *w)
{
    size_t len = strlen(w);
    if ((size_t)(s->end - s->at) < len || memcmp(s->at, w, len) != 0)
        return fail(s, "expected a value");
    s->at += len;
    return 0;
}

/* A value with the white space on both sides of it. */
static int value(struct net_json_scan *s, int depth)
{
    int rc;
    space(s);
    if (s->at == s->end)
        return fail(s, "expected a value");
    if (++s->nodes > NET_JSON_NODES_MAX)
        return too_big(s, "too many values");
    switch (*s->at) {
    case '{':
        rc = container(s, depth, '}');
        break;
    case '[':
        rc = container(s, depth, ']');
        break;
    case '"':
        rc = string(s);
        break;
    case 't':
        rc = word(s, "true");
        break;
    case 'f':
        rc = word(s, "false");
        break;
    case 'n':
        rc = word(s, "null");
        break;
    default:
        rc = *s->at == '-' || digit(s) ? number(s) : fail(s, "expected a value");
    }
    space(s);
    return rc;
}

int net_json_scan(struct net_json_scan *s, const char *text, size_t len, struct base_err *err)
{
    s->text = (const unsigned char *)text;
    s->at = s->text;
    s->end = s->text + len;
    s->err = err;
    s->nodes = 0;
    s->marks = s->few;
    s->mark_count = 0;
    s->mark_cap = NET_JSON_MARKS_INLINE;
    if (len > INT32_MAX)
        return base_fail(err, BASE_ETOOBIG, "a JSON text is larger than 2 GiB");
    int rc = value(s, 0);
    if (rc == 0 && s->at != s->end)
        rc = fail(s, "expected the end of the text");
    return rc;
}

void net_json_scan_release(struct net_json_scan *s)
{
    if (s->marks != s->few)
        free(s->marks);
    s->marks = s->few;
}
