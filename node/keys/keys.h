/*
 * node/keys/keys.h - the node's own keys, sealed in one file under a wrapping key.
 *
 * Does:       wrapping key (systemd credential, passphrase or key file) -> data key (database),
 * audit key, Ed25519 signing key. Changing the wrapping key rewrites one small file. Does not: hold
 * TLS keys, or change the data key (that is a VACUUM INTO under the new key). Thread:     any for
 * reading one struct; create, open, rewrap from one thread. A passphrase costs 256 MiB and about a
 * second: never on an event loop. Invariant:  keys.sealed is either absent or complete, whatever
 * moment the process or the machine dies. Secrets live in guarded memory and are wiped.
 *
 * keys.sealed, version 1, big-endian: "EWKEYS1\n" 8 | wrapping 1 (1 key, 2 passphrase) | zero 3 |
 * Argon2id operations 4 | Argon2id KiB 4 | salt 16 | nonce 24 | sealed 96 (data key, audit key,
 * Ed25519 seed) | tag 16. XChaCha20-Poly1305-IETF; everything before the nonce is the associated
 * data.
 */
#ifndef NODE_KEYS_KEYS_H
#define NODE_KEYS_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sync/base/err.h"

enum {
    NODE_KEYS_KEY_BYTES = 32,
    NODE_KEYS_PUBLIC_BYTES = 32,
    NODE_KEYS_SIGNATURE_BYTES = 64,
    NODE_KEYS_ESCROW_BYTES = 3 * NODE_KEYS_KEY_BYTES + 48, /* libsodium's sealed box */
    NODE_KEYS_PASSPHRASE_BYTES_MIN = 10,
    NODE_KEYS_PASSPHRASE_BYTES_MAX = 1024
};

/* The file inside the node's folder. */
#define NODE_KEYS_FILE      "keys.sealed"
#define NODE_KEYS_NEXT_FILE "keys.next" /* while the data key is being changed */
#define NODE_KEYS_SIGNING_FILE                                                                     \
    "keys.signing" /* while the centre does not know the next signing key */

/*
 * Where the wrapping key comes from. Asked in this order, the first that is there is taken; a
 * source that is there but cannot be used (wrong mode, unreadable) is an error, not a reason to try
 * the next.
 *   1. credential: the file of that name in $CREDENTIALS_DIRECTORY (systemd). 32 bytes, or 64 hex
 * digits.
 *   2. passphrase: passphrase_fd if >= 0, else passphrase_file, else the file named by
 *      $EVERWARD_PASSPHRASE_FILE, else the terminal if ask_terminal. First line only.
 *   3. key_file: mode 0400 or 0600, owned by this user, 32 bytes or 64 hex digits.
 * A zeroed struct asks only $EVERWARD_PASSPHRASE_FILE; set passphrase_fd to -1 if there is none (0
 * counts as none, too).
 */
struct node_keys_source {
    const char *credential; /* NULL: do not look; usual: "everward.key" */
    const char *passphrase_file;
    const char *key_file;
    int passphrase_fd; /* > 0; read to its end, not closed */
    bool ask_terminal;
};

struct node_keys;

/* Makes new keys in dir. BASE_EEXISTS: there are keys already (they are left alone). Out: free with
 * node_keys_free. */
int node_keys_create(const char *dir, const struct node_keys_source *source, struct node_keys **out,
                     struct base_err *err);

/* BASE_ENOTFOUND: no keys in dir. BASE_EKEY: the wrapping key does not fit. BASE_ECORRUPT: the file
 * is damaged. */
int node_keys_open(const char *dir, const struct node_keys_source *source, struct node_keys **out,
                   struct base_err *err);
void node_keys_free(struct node_keys *k); /* wipes; NULL is fine */

/* Seals the same keys under another wrapping key; the old one opens nothing afterwards. */
int node_keys_rewrap(const char *dir, const struct node_keys *k,
                     const struct node_keys_source *source, struct base_err *err);

/*
 * Another data key, in steps that may end anywhere: _make writes keys.next (new data key, the other keys as they are); the
 * store is written under it and put in place; _take makes it keys.sealed. Who starts and finds keys.next asks the store
 * which of the two opens it, and takes or drops it.
 */
int node_keys_next_make(const char *dir, const struct node_keys *k,
                        const struct node_keys_source *source, struct node_keys **out,
                        struct base_err *err);
int node_keys_next_open(const char *dir, const struct node_keys_source *source,
                        struct node_keys **out, struct base_err *err); /* BASE_ENOTFOUND */
int node_keys_next_take(const char *dir, struct base_err *err);
int node_keys_next_drop(const char *dir, struct base_err *err); /* none there: fine */
/* The data key of next in the place of k's; pointers stay what they are. No other thread reads the data key meanwhile. */
void node_keys_adopt(struct node_keys *k, const struct node_keys *next);

/*
 * Another signing key, the others as they are: _make writes keys.signing, _take makes it keys.sealed once the centre knows
 * it. Until then the node signs with what keys.sealed holds. BASE_EEXISTS: one waits already.
 */
int node_keys_signing_make(const char *dir, const struct node_keys *k,
                           const struct node_keys_source *source, struct node_keys **out,
                           struct base_err *err);
int node_keys_signing_open(const char *dir, const struct node_keys_source *source,
                           struct node_keys **out, struct base_err *err); /* BASE_ENOTFOUND */
int node_keys_signing_take(const char *dir, struct base_err *err);
/* The signing key of next in the place of k's; any thread may be signing meanwhile. */
void node_keys_adopt_signing(struct node_keys *k, const struct node_keys *next);
int node_keys_signing_drop(const char *dir, struct base_err *err); /* none there: fine */

/* A new key file, mode 0400, 64 hex digits. BASE_EEXISTS if there is a file. */
int node_keys_make_key_file(const char *path, struct base_err *err);

/* Valid until node_keys_free; 32 bytes each. */
const uint8_t *node_keys_data(const struct node_keys *k);
const uint8_t *node_keys_audit(const struct node_keys *k);

void node_keys_sign(const struct node_keys *k, const void *msg, size_t len,
                    uint8_t sig[NODE_KEYS_SIGNATURE_BYTES]);
/* And with which key, as one: it may be changed meanwhile. */
void node_keys_sign_as(const struct node_keys *k, const void *msg, size_t len,
                       uint8_t sig[NODE_KEYS_SIGNATURE_BYTES], uint8_t pk[NODE_KEYS_PUBLIC_BYTES]);
void node_keys_public(const struct node_keys *k, uint8_t pk[NODE_KEYS_PUBLIC_BYTES]);

/* What is sealed in keys.sealed, for the tenant's recovery key (X25519): only its secret half opens it. All three keys,
 * so that a recovered node can read its store and audit trail and is still itself at the centre. */
int node_keys_escrow(const struct node_keys *k,
                     const uint8_t recovery_public[NODE_KEYS_PUBLIC_BYTES],
                     uint8_t out[NODE_KEYS_ESCROW_BYTES], struct base_err *err);
/* Makes keys.sealed anew under this source from an escrow. recovery_file: the secret half, 32 bytes or 64 hex digits, mode
 * 0400 or 0600; NULL: asked at the terminal. BASE_EKEY: the escrow was made for another key. BASE_EEXISTS: there are keys. */
int node_keys_recover(const char *dir, const struct node_keys_source *source,
                      const uint8_t escrow[NODE_KEYS_ESCROW_BYTES], const char *recovery_file,
                      struct node_keys **out, struct base_err *err);

/*
 * Bytes under a key derived from the data key for one use (label: ≤ 16 characters). known: goes along in the clear and must be
 * the same at the opening. A box is NODE_KEYS_BOX_BYTES longer than what is in it.
 */
enum { NODE_KEYS_BOX_BYTES = 24 + 16 };
void node_keys_box(const struct node_keys *k, const char *label, const void *known,
                   size_t known_len, const void *plain, size_t len, uint8_t *box);
/* BASE_EKEY: another key, or changed. */
int node_keys_unbox(const struct node_keys *k, const char *label, const void *known,
                    size_t known_len, const uint8_t *box, size_t box_len, uint8_t *plain,
                    struct base_err *err);

/* Overwrites and removes keys.sealed, and the key file if there is one: what they opened is lost but for an escrow.
 * (Flash and journals may keep old blocks: full-disk encryption underneath.) */
int node_keys_destroy(const char *dir, const char *key_file, struct base_err *err);

/* No core dumps, no ptrace by others. First thing in main(). */
int node_keys_harden_process(struct base_err *err);

#endif
