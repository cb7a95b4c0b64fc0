#include <sodium.h>

#include "sync/seal/seal.h"

void seal_base64url(struct base_buf *out, const void *bytes, size_t len)
{
    size_t need = sodium_base64_encoded_len(len, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    char *to = base_buf_reserve(out, need - 1); /* a buffer always has room for the NUL */
    if (to == NULL)
        return;
    (void)sodium_bin2base64(to, need, bytes, len, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    out->len += need - 1;
}

bool seal_base64url_decode(void *out, size_t out_bytes_max, size_t *len, const char *s,
                           size_t s_len)
{
    const char *end = NULL;
    return sodium_base642bin(out, out_bytes_max, s, s_len, NULL, len, &end,
                             sodium_base64_VARIANT_URLSAFE_NO_PADDING) == 0 &&
           end == s + s_len;
}

bool seal_hex_decode(void *out, size_t out_bytes, const char *s, size_t s_len)
{
    size_t len = 0;
    const char *end = NULL;
    return s_len == out_bytes * 2 &&
           sodium_hex2bin(out, out_bytes, s, s_len, NULL, &len, &end) == 0 && len == out_bytes;
}
