#include <stdint.h>
#include <string.h>

#include "node/people/people.h"

static uint32_t fold(uint32_t c)
{
    if ((c >= 'A' && c <= 'Z') || (c >= 0xC0 && c <= 0xDE && c != 0xD7) ||
        (c >= 0x391 && c <= 0x3AB) || (c >= 0x410 && c <= 0x42F))
        return c + 0x20;
    if (c >= 0x400 && c <= 0x40F)
        return c + 0x50;
    /* Latin Extended-A goes by pairs, in two stretches with the odd one first; dotted I and Y with
     * diaeresis stand apart. */
    if (c == 0x130)
        return 'i';
    if (c == 0x178)
        return 0xFF;
    if ((c >= 0x100 && c <= 0x137) || (c >= 0x14A && c <= 0x177))
        return c | 1;
    if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E))
        return c + (c & 1);
    return c;
}

/* One character of UTF-8; a byte that is none stands for itself. */
static size_t decode(const unsigned char *s, uint32_t *c)
{
    if (s[0] >= 0xC2 && s[0] <= 0xDF && (s[1] & 0xC0) == 0x80) {
        *c = (uint32_t)(s[0] & 0x1F) << 6 | (s[1] & 0x3F);
        return 2;
    }
    *c = s[0];
    return s[0] < 0x80 ? 1 : 0;
}

void node_username_fold(char *out, size_t out_bytes, const char *name)
{
    const unsigned char *s = (const unsigned char *)name;
    size_t n = 0;
    while (*s != '\0' && n + 3 < out_bytes) {
        uint32_t c = 0;
        size_t used = decode(s, &c);
        if (used == 0) {
            out[n++] = (char)*s++;
            continue;
        }
        s += used;
        c = fold(c);
        if (c < 0x80) {
            out[n++] = (char)c;
        } else {
            out[n++] = (char)(0xC0 | c >> 6);
            out[n++] = (char)(0x80 | (c & 0x3F));
        }
    }
    out[n] = '\0';
}
