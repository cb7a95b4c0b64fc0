/*
 * sync/seal/seal.h - hashes, chains, signatures, random, compression. libsodium and zstd behind
 * plain bytes.
 *
 * Thread: any. seal_init() once before everything else.
 */
#ifndef SYNC_SEAL_SEAL_H
#define SYNC_SEAL_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sync/base/buf.h"
#include "sync/base/err.h"
#include "sync/base/uuid.h"

enum {
    SEAL_HASH_BYTES = 32, /* BLAKE2b-256 */
    SEAL_KEY_BYTES = 32,  /* of a keyed BLAKE2b */
    SEAL_PUBLIC_KEY_BYTES = 32,
    SEAL_SECRET_KEY_BYTES = 64,
    SEAL_SIGNATURE_BYTES = 64,
    SEAL_PASSWORD_TEXT_BYTES = 128 /* an Argon2id string in libsodium's form, NUL included */
};

int seal_init(struct base_err *err);
void seal_random(void *out, size_t len);
void seal_wipe(void *p, size_t len);
bool seal_equal(const void *a, const void *b, size_t len); /* constant time */

/* chain' = BLAKE2b-256(chain ‖ line): one step of a change log (docs/PROTOCOL.md, "Chain"). In
 * place. */
void seal_chain_step(uint8_t chain[SEAL_HASH_BYTES], const void *line, size_t len);
/* The same under a key: who lacks it cannot go on with the chain, nor make another. */
void seal_chain_step_keyed(uint8_t chain[SEAL_HASH_BYTES], const uint8_t key[SEAL_KEY_BYTES],
                           const void *line, size_t len);
/* The chain before the first change of an incarnation. */
void seal_chain_start(uint8_t chain[SEAL_HASH_BYTES], const struct base_uuid *node_id,
                      int64_t incarnation);

void seal_hash(uint8_t out[SEAL_HASH_BYTES], const void *data, size_t len);
void seal_sha256(uint8_t out[32], const void *data, size_t len);
/* UUIDv5-shaped id derived from a name under a namespace (RFC 9562, SHA-1 replaced by SHA-256,
 * version 8). */
void seal_uuid_derived(struct base_uuid *out, const struct base_uuid *space, const char *name,
                       size_t len);
/* Version 7 from the wall clock; ids made by one process within a millisecond still ascend. */
void seal_uuid_v7(struct base_uuid *out, int64_t unix_ms);

void seal_keypair(uint8_t pk[SEAL_PUBLIC_KEY_BYTES], uint8_t sk[SEAL_SECRET_KEY_BYTES]);
/* X25519, for sealed boxes (a tenant's recovery key). */
void seal_box_keypair(uint8_t pk[SEAL_PUBLIC_KEY_BYTES], uint8_t sk[32]);
void seal_sign(uint8_t sig[SEAL_SIGNATURE_BYTES], const void *msg, size_t len,
               const uint8_t sk[SEAL_SECRET_KEY_BYTES]);
bool seal_verify(const uint8_t sig[SEAL_SIGNATURE_BYTES], const void *msg, size_t len,
                 const uint8_t pk[SEAL_PUBLIC_KEY_BYTES]);

/* Argon2id, 32 MiB and 4 passes (about 0.1 s): never on a loop thread. */
int seal_password_hash(char out[SEAL_PASSWORD_TEXT_BYTES], const char *password, size_t len,
                       struct base_err *err);
bool seal_password_verify(const char *text, const char *password, size_t len);

/* base64url without padding. Decoding: exact, no white space; false if malformed or another length.
 */
void seal_base64url(struct base_buf *out, const void *bytes, size_t len);
bool seal_base64url_decode(void *out, size_t out_bytes_max, size_t *len, const char *s,
                           size_t s_len);
bool seal_hex_decode(void *out, size_t out_bytes, const char *s, size_t s_len);

/* Whole-buffer zstd with a cap on what comes out. BASE_ETOOBIG beyond out->max, BASE_ECORRUPT if
 * not zstd. */
int seal_compress(struct base_buf *out, const void *data, size_t len, int level,
                  struct base_err *err);
int seal_decompress(struct base_buf *out, const void *data, size_t len, struct base_err *err);

#endif
