#include "sync/base/uuid.h"

#include <string.h>

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool base_uuid_parse(struct base_uuid *out, const char *s, size_t len)
{
    struct base_uuid u;
    if (len != BASE_UUID_CHARS)
        return false;
    size_t at = 0;
    for (size_t i = 0; i < BASE_UUID_BYTES; i++) {
        if (at == 8 || at == 13 || at == 18 || at == 23)
            if (s[at++] != '-')
                return false;
        int hi = hex_value(s[at]);
        int lo = hex_value(s[at + 1]);
        if (hi < 0 || lo < 0)
            return false;
        u.bytes[i] = (uint8_t)(hi << 4 | lo);
        at += 2;
    }
    *out = u;
    return true;
}

void base_uuid_format(const struct base_uuid *u, char out[BASE_UUID_CHARS + 1])
{
    static const char digit[] = "0123456789abcdef";
    char *to = out;
    for (size_t i = 0; i < BASE_UUID_BYTES; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *to++ = '-';
        *to++ = digit[u->bytes[i] >> 4];
        *to++ = digit[u->bytes[i] & 15];
    }
    *to = '\0';
}

void base_uuid_v7(struct base_uuid *out, int64_t unix_ms, const uint8_t random[10])
{
    uint64_t ms = (uint64_t)unix_ms;
    for (int i = 0; i < 6; i++)
        out->bytes[i] = (uint8_t)(ms >> (40 - 8 * i));
    memcpy(out->bytes + 6, random, 10);
    out->bytes[6] = (uint8_t)(0x70 | (out->bytes[6] & 0x0f));
    out->bytes[8] = (uint8_t)(0x80 | (out->bytes[8] & 0x3f));
}

bool base_uuid_is_zero(const struct base_uuid *u)
{
    static const struct base_uuid zero;
    return base_uuid_equal(u, &zero);
}

bool base_uuid_equal(const struct base_uuid *a, const struct base_uuid *b)
{
    return memcmp(a->bytes, b->bytes, BASE_UUID_BYTES) == 0;
}
