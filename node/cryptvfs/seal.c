/* node/cryptvfs/seal.c - libsodium behind the shapes the VFS needs. */
#include <sodium.h>
#include <string.h>

#include "node/cryptvfs/internal.h"

static const char PAGES_CONTEXT[crypto_kdf_CONTEXTBYTES + 1] = "EwPages1";
static const char CHECK_CONTEXT[crypto_kdf_CONTEXTBYTES + 1] = "EwCheck1";

_Static_assert(NODE_CRYPTVFS_KEY_BYTES == crypto_kdf_KEYBYTES, "the data key feeds crypto_kdf");
_Static_assert(NONCE_BYTES == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "nonce");
_Static_assert(TAG_BYTES == crypto_aead_xchacha20poly1305_ietf_ABYTES, "tag");
_Static_assert(NONCE_BYTES + TAG_BYTES == RESERVE_BYTES, "both fit the reserve exactly");

int node_crypt_keys_new(uint8_t **keys, const uint8_t data_key[NODE_CRYPTVFS_KEY_BYTES])
{
    if (sodium_init() < 0)
        return SQLITE_ERROR;
    uint8_t *k = sodium_malloc((size_t)2 * NODE_CRYPTVFS_KEY_BYTES);
    if (!k)
        return SQLITE_NOMEM;
    memcpy(k, data_key, NODE_CRYPTVFS_KEY_BYTES);
    randombytes_buf(k + NODE_CRYPTVFS_KEY_BYTES, NODE_CRYPTVFS_KEY_BYTES);
    sodium_mprotect_readonly(k);
    *keys = k;
    return SQLITE_OK;
}

void node_crypt_keys_free(uint8_t *keys)
{
    sodium_free(keys); /* wipes; NULL is fine */
}

void node_crypt_wipe(void *p, size_t bytes)
{
    sodium_memzero(p, bytes);
}

void node_crypt_random(void *p, size_t bytes)
{
    randombytes_buf(p, bytes);
}

const uint8_t *node_crypt_temp_key(const struct node_crypt_vfs *vfs)
{
    return vfs->keys + NODE_CRYPTVFS_KEY_BYTES;
}

int node_crypt_file_key(const struct node_crypt_vfs *vfs, const uint8_t id[ID_BYTES], uint8_t **key,
                        uint8_t check[4])
{
    uint8_t full_check[crypto_kdf_BYTES_MIN];
    uint64_t number = (uint64_t)node_crypt_get32(id) << 32 | node_crypt_get32(id + 4);
    if (MUTANT(2))
        number = 7;
    uint8_t *k = *key;
    if (!k)
        k = sodium_malloc(NODE_CRYPTVFS_KEY_BYTES);
    if (!k)
        return SQLITE_NOMEM;
    sodium_mprotect_readwrite(k);
    crypto_kdf_derive_from_key(k, NODE_CRYPTVFS_KEY_BYTES, number, PAGES_CONTEXT, vfs->keys);
    sodium_mprotect_readonly(k);
    crypto_kdf_derive_from_key(full_check, sizeof full_check, number, CHECK_CONTEXT, vfs->keys);
    memcpy(check, full_check, 4);
    if (MUTANT(15))
        memset(check, 0, 4);
    *key = k;
    return SQLITE_OK;
}

static void take_nonce(struct node_crypt_work *w, uint8_t nonce[NONCE_BYTES])
{
    /* One system call per nonce costs more than a tenth of a page's sealing. */
    if (w->nonces_left == 0) {
        randombytes_buf(w->nonces, sizeof w->nonces);
        w->nonces_left = NONCE_POOL;
    }
    if (!MUTANT(5))
        w->nonces_left--;
    memcpy(nonce, w->nonces + (size_t)w->nonces_left % NONCE_POOL * NONCE_BYTES, NONCE_BYTES);
}

void node_crypt_seal(struct node_crypt_work *w, const uint8_t *key, uint8_t *out, const uint8_t *in,
                     size_t bytes, uint8_t tail[RESERVE_BYTES], const uint8_t *ad, size_t ad_bytes)
{
    unsigned long long tag_bytes;
    take_nonce(w, tail);
    crypto_aead_xchacha20poly1305_ietf_encrypt_detached(out, tail + NONCE_BYTES, &tag_bytes, in,
                                                        bytes, ad, ad_bytes, NULL, tail, key);
}

bool node_crypt_unseal(const uint8_t *key, uint8_t *out, const uint8_t *in, size_t bytes,
                       const uint8_t tail[RESERVE_BYTES], const uint8_t *ad, size_t ad_bytes)
{
    return crypto_aead_xchacha20poly1305_ietf_decrypt_detached(
               out, NULL, in, bytes, tail + NONCE_BYTES, ad, ad_bytes, tail, key) == 0;
}
