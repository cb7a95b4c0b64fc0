/* node/keys/keys.c - keys.sealed: what is in it, and using it. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "node/keys/internal.h"

enum {
    MAGIC_AT = 0,
    WRAPPING_AT = 8,
    OPERATIONS_AT = 12,
    KIB_AT = 16,
    SALT_AT = 20,
    NONCE_AT = SALT_AT + crypto_pwhash_SALTBYTES,
    SEALED_AT = NONCE_AT + crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
    SEALED_BYTES = 3 * NODE_KEYS_KEY_BYTES,
    FILE_BYTES = SEALED_AT + SEALED_BYTES + crypto_aead_xchacha20poly1305_ietf_ABYTES,
    /* A forged header must not make us work for hours or take all memory. */
    OPERATIONS_MAX = 16,
    KIB_MAX = 1024 * 1024
};

/* Signing key and its halves are changed under threads that sign (node_keys_adopt_signing). */
static pthread_mutex_t signing = PTHREAD_MUTEX_INITIALIZER;

static const uint8_t MAGIC[8] = "EWKEYS1\n";

/* The whole struct lives in guarded memory, read-only once it is made. */
struct node_keys {
    uint8_t data[NODE_KEYS_KEY_BYTES]; /* the first three are what is sealed, in this order */
    uint8_t audit[NODE_KEYS_KEY_BYTES];
    uint8_t seed[crypto_sign_SEEDBYTES];
    uint8_t secret[crypto_sign_SECRETKEYBYTES];
    uint8_t public[NODE_KEYS_PUBLIC_BYTES];
};

_Static_assert(offsetof(struct node_keys, secret) == SEALED_BYTES, "sealed part is contiguous");
_Static_assert(crypto_pwhash_SALTBYTES == 16, "format");

static void put32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* key: 32 guarded bytes. file: header with wrapping, cost and salt. */
static int derive(const struct node_keys_wrap *w, const uint8_t *file, uint8_t *key,
                  struct base_err *err)
{
    if (w->kind == WRAPPING_PASSPHRASE) {
        if (crypto_pwhash(key, NODE_KEYS_KEY_BYTES, (const char *)w->bytes, w->len, file + SALT_AT,
                          get32(file + OPERATIONS_AT), (size_t)get32(file + KIB_AT) * 1024,
                          crypto_pwhash_ALG_ARGON2ID13) != 0)
            return base_fail(err, BASE_ENOMEM, "stretching the passphrase needs %u MiB of memory",
                             get32(file + KIB_AT) / 1024);
        return 0;
    }
    static const uint8_t person[crypto_generichash_blake2b_PERSONALBYTES] = "everward wrap 1";
    crypto_generichash_blake2b_salt_personal(key, NODE_KEYS_KEY_BYTES, NULL, 0, w->bytes, w->len,
                                             file + SALT_AT, person);
    return 0;
}

static int seal(const struct node_keys *k, const struct node_keys_wrap *w, uint8_t file[FILE_BYTES],
                struct base_err *err)
{
    uint8_t *key = sodium_malloc(NODE_KEYS_KEY_BYTES);
    if (!key)
        return base_fail(err, BASE_ENOMEM, "no guarded memory for the wrapping key");
    memset(file, 0, FILE_BYTES);
    memcpy(file + MAGIC_AT, MAGIC, sizeof MAGIC);
    file[WRAPPING_AT] = (uint8_t)w->kind;
    if (w->kind == WRAPPING_PASSPHRASE) {
        put32(file + OPERATIONS_AT, (uint32_t)crypto_pwhash_OPSLIMIT_MODERATE);
        put32(file + KIB_AT, (uint32_t)(crypto_pwhash_MEMLIMIT_MODERATE / 1024));
    }
    randombytes_buf(file + SALT_AT, SEALED_AT - SALT_AT); /* salt and nonce */
    int rc = derive(w, file, key, err);
    if (rc == 0)
        crypto_aead_xchacha20poly1305_ietf_encrypt(file + SEALED_AT, NULL, k->data, SEALED_BYTES,
                                                   file, NONCE_AT, NULL, file + NONCE_AT, key);
    sodium_free(key);
    return rc;
}

static int check_header(const uint8_t *file, const char *dir, const struct node_keys_wrap *w,
                        struct base_err *err)
{
    static const uint8_t zeros[3];
    enum node_keys_wrapping kind = file[WRAPPING_AT];
    bool fits = memcmp(file, MAGIC, sizeof MAGIC) == 0 &&
                memcmp(file + WRAPPING_AT + 1, zeros, sizeof zeros) == 0;
    if (kind == WRAPPING_PASSPHRASE)
        fits = fits && get32(file + OPERATIONS_AT) >= crypto_pwhash_OPSLIMIT_MIN &&
               get32(file + OPERATIONS_AT) <= OPERATIONS_MAX &&
               get32(file + KIB_AT) >= crypto_pwhash_MEMLIMIT_MIN / 1024 &&
               get32(file + KIB_AT) <= KIB_MAX;
    else if (kind != WRAPPING_KEY)
        fits = false;
    if (!fits)
        return base_fail(
            err, BASE_ECORRUPT,
            "%s/%s is damaged or from another version. Restore it from the backup of the node's "
            "folder, or use the escrow",
            dir, NODE_KEYS_FILE);
    if (kind != w->kind)
        return base_fail(
            err, BASE_EKEY, "%s/%s is sealed under %s, but %s was given", dir, NODE_KEYS_FILE,
            kind == WRAPPING_PASSPHRASE ? "a passphrase" : "a key, not a passphrase", w->from);
    return 0;
}

static struct node_keys *keys_alloc(struct base_err *err)
{
    struct node_keys *k = sodium_malloc(sizeof *k);
    if (!k)
        (void)base_fail(err, BASE_ENOMEM, "no guarded memory for the keys");
    return k;
}

static void finish(struct node_keys *k)
{
    crypto_sign_seed_keypair(k->public, k->secret, k->seed);
    sodium_mprotect_readonly(k);
}

static int unseal(const char *dir, const uint8_t *file, const struct node_keys_wrap *w,
                  struct node_keys *k, struct base_err *err)
{
    uint8_t *key = sodium_malloc(NODE_KEYS_KEY_BYTES);
    if (!key)
        return base_fail(err, BASE_ENOMEM, "no guarded memory for the wrapping key");
    int rc = derive(w, file, key, err);
    if (rc == 0 && crypto_aead_xchacha20poly1305_ietf_decrypt(k->data, NULL, NULL, file + SEALED_AT,
                                                              FILE_BYTES - SEALED_AT, file,
                                                              NONCE_AT, file + NONCE_AT, key) != 0)
        rc = base_fail(
            err, BASE_EKEY,
            "%s does not open %s/%s: wrong key, or the file is damaged. Nothing was changed; check "
            "the key, else restore the file from the backup or use the escrow",
            w->from, dir, NODE_KEYS_FILE);
    sodium_free(key);
    return rc;
}

static int seal_to_dir(const char *dir, const char *name, const struct node_keys *k,
                       const struct node_keys_source *source, bool replace, struct base_err *err)
{
    uint8_t file[FILE_BYTES];
    struct node_keys_wrap w;
    int rc = node_keys_wrap_read(source, true, &w, err);
    if (rc != 0)
        return rc;
    rc = seal(k, &w, file, err);
    node_keys_wrap_release(&w);
    return rc != 0 ? rc : node_keys_file_write(dir, name, 0600, file, FILE_BYTES, replace, err);
}

int node_keys_create(const char *dir, const struct node_keys_source *source, struct node_keys **out,
                     struct base_err *err)
{
    if (sodium_init() < 0)
        return base_fail(err, BASE_EBUG, "libsodium could not start");
    struct node_keys *k = keys_alloc(err);
    if (!k)
        return BASE_ENOMEM;
    randombytes_buf(k->data, SEALED_BYTES);
    finish(k);
    int rc = seal_to_dir(dir, NODE_KEYS_FILE, k, source, false, err);
    if (rc != 0)
        node_keys_free(k);
    else
        *out = k;
    return rc;
}

static int open_as(const char *dir, const char *name, const struct node_keys_source *source,
                   struct node_keys **out, struct base_err *err)
{
    uint8_t file[FILE_BYTES];
    struct node_keys_wrap w = {.bytes = NULL};
    struct node_keys *k = NULL;
    int rc = node_keys_file_read(dir, name, file, FILE_BYTES, err);
    if (rc != 0)
        return rc;
    rc = node_keys_wrap_read(source, false, &w, err);
    if (rc != 0)
        return rc;
    rc = check_header(file, dir, &w, err);
    if (rc != 0)
        goto out;
    k = keys_alloc(err);
    rc = k ? unseal(dir, file, &w, k, err) : BASE_ENOMEM;
    if (rc != 0)
        goto out;
    finish(k);
    *out = k;
    k = NULL;
out:
    node_keys_free(k);
    node_keys_wrap_release(&w);
    return rc;
}

int node_keys_open(const char *dir, const struct node_keys_source *source, struct node_keys **out,
                   struct base_err *err)
{
    return open_as(dir, NODE_KEYS_FILE, source, out, err);
}

int node_keys_next_open(const char *dir, const struct node_keys_source *source,
                        struct node_keys **out, struct base_err *err)
{
    return open_as(dir, NODE_KEYS_NEXT_FILE, source, out, err);
}

int node_keys_next_make(const char *dir, const struct node_keys *k,
                        const struct node_keys_source *source, struct node_keys **out,
                        struct base_err *err)
{
    struct node_keys *next = keys_alloc(err);
    if (!next)
        return BASE_ENOMEM;
    memcpy(next, k, sizeof *next);
    randombytes_buf(next->data, sizeof next->data);
    finish(next);
    int rc = seal_to_dir(dir, NODE_KEYS_NEXT_FILE, next, source, true, err);
    if (rc != 0)
        node_keys_free(next);
    else
        *out = next;
    return rc;
}

int node_keys_signing_make(const char *dir, const struct node_keys *k,
                           const struct node_keys_source *source, struct node_keys **out,
                           struct base_err *err)
{
    struct node_keys *next = keys_alloc(err);
    if (!next)
        return BASE_ENOMEM;
    memcpy(next, k, sizeof *next);
    randombytes_buf(next->seed, sizeof next->seed);
    finish(next);
    int rc = seal_to_dir(dir, NODE_KEYS_SIGNING_FILE, next, source, false, err);
    if (rc != 0)
        node_keys_free(next);
    else
        *out = next;
    return rc;
}

int node_keys_signing_open(const char *dir, const struct node_keys_source *source,
                           struct node_keys **out, struct base_err *err)
{
    return open_as(dir, NODE_KEYS_SIGNING_FILE, source, out, err);
}

void node_keys_adopt(struct node_keys *k, const struct node_keys *next)
{
    sodium_mprotect_readwrite(k);
    memcpy(k->data, next->data, sizeof k->data);
    sodium_mprotect_readonly(k);
}

void node_keys_free(struct node_keys *k)
{
    sodium_free(k);
}

int node_keys_rewrap(const char *dir, const struct node_keys *k,
                     const struct node_keys_source *source, struct base_err *err)
{
    return seal_to_dir(dir, NODE_KEYS_FILE, k, source, true, err);
}

int node_keys_make_key_file(const char *path, struct base_err *err)
{
    char dir[PATH_MAX];
    uint8_t key[NODE_KEYS_KEY_BYTES];
    char hex[2 * NODE_KEYS_KEY_BYTES + 2];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 1;
    if (sodium_init() < 0)
        return base_fail(err, BASE_EBUG, "libsodium could not start");
    if (n >= sizeof dir)
        return base_fail(err, BASE_ETOOBIG, "the path of the key file is too long");
    memcpy(dir, slash ? path : ".", n);
    dir[n] = '\0';
    randombytes_buf(key, sizeof key);
    sodium_bin2hex(hex, sizeof hex, key, sizeof key);
    hex[sizeof hex - 2] = '\n';
    int rc = node_keys_file_write(n == 0 ? "/" : dir, slash ? slash + 1 : path, 0400, hex,
                                  sizeof hex - 1, false, err);
    sodium_memzero(key, sizeof key);
    sodium_memzero(hex, sizeof hex);
    return rc;
}

const uint8_t *node_keys_data(const struct node_keys *k)
{
    return k->data;
}

const uint8_t *node_keys_audit(const struct node_keys *k)
{
    return k->audit;
}

void node_keys_sign(const struct node_keys *k, const void *msg, size_t len,
                    uint8_t sig[NODE_KEYS_SIGNATURE_BYTES])
{
    uint8_t pk[NODE_KEYS_PUBLIC_BYTES];
    node_keys_sign_as(k, msg, len, sig, pk);
}

void node_keys_sign_as(const struct node_keys *k, const void *msg, size_t len,
                       uint8_t sig[NODE_KEYS_SIGNATURE_BYTES], uint8_t pk[NODE_KEYS_PUBLIC_BYTES])
{
    (void)pthread_mutex_lock(&signing);
    crypto_sign_detached(sig, NULL, msg, len, k->secret);
    memcpy(pk, k->public, NODE_KEYS_PUBLIC_BYTES);
    (void)pthread_mutex_unlock(&signing);
}

void node_keys_adopt_signing(struct node_keys *k, const struct node_keys *next)
{
    (void)pthread_mutex_lock(&signing);
    sodium_mprotect_readwrite(k);
    memcpy(k->seed, next->seed, sizeof k->seed);
    memcpy(k->secret, next->secret, sizeof k->secret);
    memcpy(k->public, next->public, sizeof k->public);
    sodium_mprotect_readonly(k);
    (void)pthread_mutex_unlock(&signing);
}

void node_keys_public(const struct node_keys *k, uint8_t pk[NODE_KEYS_PUBLIC_BYTES])
{
    (void)pthread_mutex_lock(&signing);
    memcpy(pk, k->public, NODE_KEYS_PUBLIC_BYTES);
    (void)pthread_mutex_unlock(&signing);
}

int node_keys_escrow(const struct node_keys *k,
                     const uint8_t recovery_public[NODE_KEYS_PUBLIC_BYTES],
                     uint8_t out[NODE_KEYS_ESCROW_BYTES], struct base_err *err)
{
    (void)pthread_mutex_lock(&signing);
    int sealed = crypto_box_seal(out, k->data, SEALED_BYTES, recovery_public);
    (void)pthread_mutex_unlock(&signing);
    if (sealed != 0)
        return base_fail(err, BASE_EINVALID, "the recovery key is not a usable public key");
    return 0;
}

static int open_escrow(const uint8_t escrow[NODE_KEYS_ESCROW_BYTES], const uint8_t *secret,
                       struct node_keys *k, struct base_err *err)
{
    uint8_t public[crypto_box_PUBLICKEYBYTES];
    if (crypto_scalarmult_base(public, secret) != 0 ||
        crypto_box_seal_open(k->data, escrow, NODE_KEYS_ESCROW_BYTES, public, secret) != 0)
        return base_fail(
            err, BASE_EKEY,
            "the recovery key does not open this escrow: it is another tenant's, or the "
            "escrow was changed");
    return 0;
}

int node_keys_recover(const char *dir, const struct node_keys_source *source,
                      const uint8_t escrow[NODE_KEYS_ESCROW_BYTES], const char *recovery_file,
                      struct node_keys **out, struct base_err *err)
{
    struct node_keys_wrap secret;
    int rc = node_keys_key_read(recovery_file, &secret, err);
    if (rc != 0)
        return base_err_prefix(err, rc, "the recovery key");
    struct node_keys *k = keys_alloc(err);
    rc = k == NULL ? BASE_ENOMEM : open_escrow(escrow, secret.bytes, k, err);
    node_keys_wrap_release(&secret);
    if (rc == 0) {
        finish(k);
        rc = seal_to_dir(dir, NODE_KEYS_FILE, k, source, false, err);
    }
    if (rc != 0)
        node_keys_free(k);
    else
        *out = k;
    return rc;
}

int node_keys_harden_process(struct base_err *err)
{
    struct rlimit none = {0, 0};
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || setrlimit(RLIMIT_CORE, &none) != 0)
        return base_fail(err, BASE_EIO, "core dumps could not be switched off: %s",
                         strerror(errno));
    return 0;
}
