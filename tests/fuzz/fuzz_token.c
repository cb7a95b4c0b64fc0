/* A token from anyone. Read unbelieved it may be anything; believed it is never: nobody here has
 * the key. */
#include "sync/net/token.h"
#include "sync/seal/seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input as it came, and, so that the signature's wall does not hide what is behind it, as a
 * header and claims that are encoded here. */
static void peek_inside(const uint8_t *data, size_t size)
{
    struct net_token t;
    struct base_buf b;
    size_t half = size / 2;
    base_buf_init(&b, NET_TOKEN_BYTES_MAX);
    for (size_t i = 0; i < size; i++)
        if (data[i] == '\n') {
            half = i;
            break;
        }
    seal_base64url(&b, data, half);
    base_buf_char(&b, '.');
    if (half < size)
        seal_base64url(&b, data + half + 1, size - half - 1);
    base_buf_str(&b, ".AAAA");
    if (base_buf_check(&b) == 0)
        (void)net_token_peek(&t, b.data, b.len, NULL);
    base_buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t public_key[32] = {0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7,
                                           0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a,
                                           0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25,
                                           0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a};
    struct net_token t;
    struct base_err err = {0};
    const char *token = (const char *)data;
    BASE_ASSERT(seal_init(NULL) == 0);
    (void)net_token_peek(&t, token, size, &err);
    BASE_ASSERT(net_token_check(&t, token, size, public_key, "everward-gateway", 1763876880,
                                &err) == BASE_EAUTH);
    peek_inside(data, size);
    return 0;
}
