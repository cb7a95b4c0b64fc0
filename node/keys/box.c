/* node/keys/box.c - bytes sealed under a key derived from the data key. */
#include <sodium.h>
#include <string.h>

#include "node/keys/internal.h"

/* The AEAD's key lives on the stack and is wiped: a subkey, good for nothing but this label. */
static void subkey(const struct node_keys *k, const char *label,
                   uint8_t out[crypto_aead_xchacha20poly1305_ietf_KEYBYTES])
{
    uint8_t person[crypto_generichash_blake2b_PERSONALBYTES] = {0};
    size_t n = strlen(label);
    memcpy(person, label, n < sizeof person ? n : sizeof person);
    crypto_generichash_blake2b_salt_personal(out, crypto_aead_xchacha20poly1305_ietf_KEYBYTES, NULL,
                                             0, node_keys_data(k), NODE_KEYS_KEY_BYTES, NULL,
                                             person);
}

void node_keys_box(const struct node_keys *k, const char *label, const void *known,
                   size_t known_len, const void *plain, size_t len, uint8_t *box)
{
    uint8_t key[crypto_aead_xchacha20poly1305_ietf_KEYBYTES];
    subkey(k, label, key);
    randombytes_buf(box, crypto_aead_xchacha20poly1305_ietf_NPUBBYTES);
    crypto_aead_xchacha20poly1305_ietf_encrypt(box + crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
                                               NULL, plain, len, known, known_len, NULL, box, key);
    sodium_memzero(key, sizeof key);
}

int node_keys_unbox(const struct node_keys *k, const char *label, const void *known,
                    size_t known_len, const uint8_t *box, size_t box_len, uint8_t *plain,
                    struct base_err *err)
{
    uint8_t key[crypto_aead_xchacha20poly1305_ietf_KEYBYTES];
    const size_t nonce = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
    int rc = -1;
    subkey(k, label, key);
    if (box_len >= NODE_KEYS_BOX_BYTES)
        rc = crypto_aead_xchacha20poly1305_ietf_decrypt(
            plain, NULL, NULL, box + nonce, box_len - nonce, known, known_len, box, key);
    sodium_memzero(key, sizeof key);
    return rc == 0 ? 0 : base_fail(err, BASE_EKEY, "these keys do not open it, or it was changed");
}
