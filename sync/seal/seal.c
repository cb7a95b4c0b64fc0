#include "sync/seal/seal.h"

#include <pthread.h>
#include <sodium.h>
#include <string.h>

int seal_init(struct base_err *err)
{
    if (sodium_init() < 0)
        return base_fail(err, BASE_EIO,
                         "libsodium could not be started: is there a source of randomness?");
    return 0;
}

void seal_random(void *out, size_t len)
{
    randombytes_buf(out, len);
}

void seal_wipe(void *p, size_t len)
{
    sodium_memzero(p, len);
}

bool seal_equal(const void *a, const void *b, size_t len)
{
    return sodium_memcmp(a, b, len) == 0;
}

void seal_chain_step(uint8_t chain[SEAL_HASH_BYTES], const void *line, size_t len)
{
    crypto_generichash_state h;
    (void)crypto_generichash_init(&h, NULL, 0, SEAL_HASH_BYTES);
    (void)crypto_generichash_update(&h, chain, SEAL_HASH_BYTES);
    (void)crypto_generichash_update(&h, line, len);
    (void)crypto_generichash_final(&h, chain, SEAL_HASH_BYTES);
}

void seal_chain_step_keyed(uint8_t chain[SEAL_HASH_BYTES], const uint8_t key[SEAL_KEY_BYTES],
                           const void *line, size_t len)
{
    crypto_generichash_state h;
    (void)crypto_generichash_init(&h, key, SEAL_KEY_BYTES, SEAL_HASH_BYTES);
    (void)crypto_generichash_update(&h, chain, SEAL_HASH_BYTES);
    (void)crypto_generichash_update(&h, line, len);
    (void)crypto_generichash_final(&h, chain, SEAL_HASH_BYTES);
    seal_wipe(&h, sizeof h);
}

void seal_chain_start(uint8_t chain[SEAL_HASH_BYTES], const struct base_uuid *node_id,
                      int64_t incarnation)
{
    static const char label[] = "everward chain 1";
    uint8_t text[sizeof label - 1 + BASE_UUID_BYTES + 8];
    memcpy(text, label, sizeof label - 1);
    memcpy(text + sizeof label - 1, node_id->bytes, BASE_UUID_BYTES);
    for (int i = 0; i < 8; i++)
        text[sizeof text - 8 + (size_t)i] = (uint8_t)((uint64_t)incarnation >> (56 - 8 * i));
    seal_hash(chain, text, sizeof text);
}

void seal_hash(uint8_t out[SEAL_HASH_BYTES], const void *data, size_t len)
{
    (void)crypto_generichash(out, SEAL_HASH_BYTES, data, len, NULL, 0);
}

void seal_sha256(uint8_t out[32], const void *data, size_t len)
{
    (void)crypto_hash_sha256(out, data, len);
}

void seal_uuid_derived(struct base_uuid *out, const struct base_uuid *space, const char *name,
                       size_t len)
{
    crypto_hash_sha256_state h;
    uint8_t hash[crypto_hash_sha256_BYTES];
    (void)crypto_hash_sha256_init(&h);
    (void)crypto_hash_sha256_update(&h, space->bytes, BASE_UUID_BYTES);
    (void)crypto_hash_sha256_update(&h, (const unsigned char *)name, len);
    (void)crypto_hash_sha256_final(&h, hash);
    memcpy(out->bytes, hash, BASE_UUID_BYTES);
    out->bytes[6] = (uint8_t)(0x80 | (out->bytes[6] & 0x0f));
    out->bytes[8] = (uint8_t)(0x80 | (out->bytes[8] & 0x3f));
}

void seal_uuid_v7(struct base_uuid *out, int64_t unix_ms)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static int64_t last_ms;
    static uint16_t counter; /* 12 bits behind the milliseconds: ids of one millisecond ascend */
    uint8_t random[10];
    randombytes_buf(random, sizeof random);
    (void)pthread_mutex_lock(&lock);
    if (unix_ms > last_ms) {
        last_ms = unix_ms;
        counter = (uint16_t)((random[0] & 0x07) << 8 | random[1]); /* top bit free: room to count */
    } else if (++counter > 0x0fff) {
        last_ms++;
        counter = 0;
    }
    unix_ms = last_ms;
    random[0] = (uint8_t)(counter >> 8);
    random[1] = (uint8_t)counter;
    (void)pthread_mutex_unlock(&lock);
    base_uuid_v7(out, unix_ms, random);
}

void seal_keypair(uint8_t pk[SEAL_PUBLIC_KEY_BYTES], uint8_t sk[SEAL_SECRET_KEY_BYTES])
{
    (void)crypto_sign_keypair(pk, sk);
}

void seal_box_keypair(uint8_t pk[SEAL_PUBLIC_KEY_BYTES], uint8_t sk[32])
{
    (void)crypto_box_keypair(pk, sk);
}

void seal_sign(uint8_t sig[SEAL_SIGNATURE_BYTES], const void *msg, size_t len,
               const uint8_t sk[SEAL_SECRET_KEY_BYTES])
{
    (void)crypto_sign_detached(sig, NULL, msg, len, sk);
}

bool seal_verify(const uint8_t sig[SEAL_SIGNATURE_BYTES], const void *msg, size_t len,
                 const uint8_t pk[SEAL_PUBLIC_KEY_BYTES])
{
    return crypto_sign_verify_detached(sig, msg, len, pk) == 0;
}
