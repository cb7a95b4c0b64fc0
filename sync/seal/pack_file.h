/*
 * sync/seal/pack_file.h - a file that a dead node leaves behind: sealed for a key of which the node has the public half only.
 *
 *   "EWDOWN1\n" | salt 16 | public key 32 | sealed box (X25519) of the content
 *
 * The secret half is in a file of the hospital's (salt: zeros), or comes from a passphrase and the salt by Argon2id.
 *
 * Does:      show a file that was cut or changed: it does not open.
 * Does not:  say who made it: anybody who reads the public half can seal for it.
 * Thread:    any; a passphrase takes about a second: never on a loop.
 */
#ifndef SYNC_SEAL_PACK_FILE_H
#define SYNC_SEAL_PACK_FILE_H

#include <stdbool.h>

#include "sync/base/buf.h"
#include "sync/base/err.h"

enum {
    SEAL_PACK_SALT_BYTES = 16,
    SEAL_PACK_HEAD_BYTES = 8 + SEAL_PACK_SALT_BYTES + 32,
    SEAL_PACK_OVERHEAD_BYTES = SEAL_PACK_HEAD_BYTES + 48,
    SEAL_PACK_CONTENT_BYTES_MAX = 32 * 1024 * 1024,
    SEAL_PACK_KEY_TEXT_BYTES = 8 + 32 + 1 + 64 + 1 + 8 + 1, /* NUL included */
    SEAL_PACK_PASSPHRASE_BYTES_MIN = 12
};

struct seal_pack_key {
    uint8_t salt[SEAL_PACK_SALT_BYTES]; /* zeros: no passphrase */
    uint8_t public_key[32];
};

/* "ewdown1:<salt>:<public key>:<check>": a slip of the pen is seen, not sealed for. */
void seal_pack_key_format(const struct seal_pack_key *k, char out[SEAL_PACK_KEY_TEXT_BYTES]);
bool seal_pack_key_parse(struct seal_pack_key *k, const char *text);
bool seal_pack_key_is_passphrase(const struct seal_pack_key *k);

/* A new one; passphrase NULL: a random secret. */
int seal_pack_key_make(struct seal_pack_key *k, uint8_t secret[32], const char *passphrase,
                       struct base_err *err);
/* The secret half from the passphrase and k's salt. */
int seal_pack_secret(uint8_t secret[32], const struct seal_pack_key *k, const char *passphrase,
                     struct base_err *err);

int seal_pack_write(struct base_buf *out, const struct seal_pack_key *k, const void *content,
                    size_t len, struct base_err *err);
/* BASE_EINVALID: not such a file. */
int seal_pack_head(struct seal_pack_key *k, const char *bytes, size_t len, struct base_err *err);
/* The content, appended to out. BASE_EKEY: another key's; BASE_ECORRUPT: cut or changed. */
int seal_pack_read(struct base_buf *out, const uint8_t secret[32], const char *bytes, size_t len,
                   struct base_err *err);

#endif
