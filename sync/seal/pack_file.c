#include "sync/seal/pack_file.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "sync/seal/seal.h"

enum { CHECK_BYTES = 4, PWHASH_OPS = 4, PWHASH_BYTES = 64 * 1024 * 1024 };

static const char magic[8] = {'E', 'W', 'D', 'O', 'W', 'N', '1', '\n'};
static const char prefix[] = "ewdown1:";

static void check_of(const struct seal_pack_key *k, uint8_t out[CHECK_BYTES])
{
    uint8_t both[SEAL_PACK_SALT_BYTES + 32];
    uint8_t hash[SEAL_HASH_BYTES];
    memcpy(both, k->salt, SEAL_PACK_SALT_BYTES);
    memcpy(both + SEAL_PACK_SALT_BYTES, k->public_key, 32);
    seal_hash(hash, both, sizeof both);
    memcpy(out, hash, CHECK_BYTES);
}

void seal_pack_key_format(const struct seal_pack_key *k, char out[SEAL_PACK_KEY_TEXT_BYTES])
{
    char salt[2 * SEAL_PACK_SALT_BYTES + 1];
    char key[65];
    char check[2 * CHECK_BYTES + 1];
    uint8_t sum[CHECK_BYTES];
    check_of(k, sum);
    (void)sodium_bin2hex(salt, sizeof salt, k->salt, sizeof k->salt);
    (void)sodium_bin2hex(key, sizeof key, k->public_key, sizeof k->public_key);
    (void)sodium_bin2hex(check, sizeof check, sum, sizeof sum);
    (void)snprintf(out, SEAL_PACK_KEY_TEXT_BYTES, "%s%s:%s:%s", prefix, salt, key, check);
}

bool seal_pack_key_parse(struct seal_pack_key *k, const char *text)
{
    struct seal_pack_key got;
    uint8_t sum[CHECK_BYTES], want[CHECK_BYTES];
    if (strlen(text) != SEAL_PACK_KEY_TEXT_BYTES - 1 || strncmp(text, prefix, 8) != 0 ||
        text[40] != ':' || text[105] != ':')
        return false;
    if (!seal_hex_decode(got.salt, sizeof got.salt, text + 8, 32) ||
        !seal_hex_decode(got.public_key, sizeof got.public_key, text + 41, 64) ||
        !seal_hex_decode(sum, sizeof sum, text + 106, 2 * (size_t)CHECK_BYTES))
        return false;
    check_of(&got, want);
    if (memcmp(sum, want, sizeof sum) != 0)
        return false;
    *k = got;
    return true;
}

bool seal_pack_key_is_passphrase(const struct seal_pack_key *k)
{
    return sodium_is_zero(k->salt, sizeof k->salt) == 0;
}

int seal_pack_secret(uint8_t secret[32], const struct seal_pack_key *k, const char *passphrase,
                     struct base_err *err)
{
    return crypto_pwhash(secret, 32, passphrase, strlen(passphrase), k->salt, PWHASH_OPS,
                         PWHASH_BYTES, crypto_pwhash_ALG_ARGON2ID13) == 0
               ? 0
               : base_fail(err, BASE_ENOMEM, "out of memory for the passphrase");
}

int seal_pack_key_make(struct seal_pack_key *k, uint8_t secret[32], const char *passphrase,
                       struct base_err *err)
{
    struct seal_pack_key made = {.salt = {0}};
    int rc = 0;
    if (passphrase == NULL) {
        seal_box_keypair(made.public_key, secret);
    } else if (strlen(passphrase) < SEAL_PACK_PASSPHRASE_BYTES_MIN) {
        rc = base_fail(err, BASE_EINVALID, "the passphrase is shorter than %d characters",
                       SEAL_PACK_PASSPHRASE_BYTES_MIN);
    } else {
        seal_random(made.salt, sizeof made.salt);
        rc = seal_pack_secret(secret, &made, passphrase, err);
        if (rc == 0 && crypto_scalarmult_base(made.public_key, secret) != 0)
            rc = base_fail(err, BASE_EKEY, "this key cannot seal");
    }
    if (rc == 0)
        *k = made;
    return rc;
}

int seal_pack_write(struct base_buf *out, const struct seal_pack_key *k, const void *content,
                    size_t len, struct base_err *err)
{
    if (len > SEAL_PACK_CONTENT_BYTES_MAX)
        return base_fail(err, BASE_ETOOBIG, "a downtime pack of %zu bytes", len);
    base_buf_add(out, magic, sizeof magic);
    base_buf_add(out, k->salt, sizeof k->salt);
    base_buf_add(out, k->public_key, sizeof k->public_key);
    char *box = base_buf_reserve(out, len + crypto_box_SEALBYTES);
    if (box == NULL)
        return base_fail(err, base_buf_check(out), "a downtime pack");
    if (crypto_box_seal((uint8_t *)box, content, len, k->public_key) != 0)
        return base_fail(err, BASE_EKEY, "the downtime key cannot seal");
    out->len += len + crypto_box_SEALBYTES;
    return 0;
}

int seal_pack_head(struct seal_pack_key *k, const char *bytes, size_t len, struct base_err *err)
{
    if (len < sizeof magic || memcmp(bytes, magic, sizeof magic) != 0)
        return base_fail(err, BASE_EINVALID, "this is no sealed downtime pack");
    if (len < SEAL_PACK_OVERHEAD_BYTES)
        return base_fail(err, BASE_ECORRUPT, "the file is cut off");
    memcpy(k->salt, bytes + sizeof magic, sizeof k->salt);
    memcpy(k->public_key, bytes + sizeof magic + sizeof k->salt, sizeof k->public_key);
    return 0;
}

int seal_pack_read(struct base_buf *out, const uint8_t secret[32], const char *bytes, size_t len,
                   struct base_err *err)
{
    struct seal_pack_key k;
    uint8_t public_key[32];
    int rc = seal_pack_head(&k, bytes, len, err);
    if (rc != 0)
        return rc;
    if (crypto_scalarmult_base(public_key, secret) != 0 ||
        memcmp(public_key, k.public_key, sizeof public_key) != 0)
        return base_fail(err, BASE_EKEY, "it is sealed for another key or passphrase");
    size_t box_len = len - SEAL_PACK_HEAD_BYTES;
    char *to = base_buf_reserve(out, box_len);
    if (to == NULL)
        return base_fail(err, base_buf_check(out), "a downtime pack");
    if (crypto_box_seal_open((uint8_t *)to, (const uint8_t *)bytes + SEAL_PACK_HEAD_BYTES, box_len,
                             public_key, secret) != 0)
        return base_fail(err, BASE_ECORRUPT, "the file is cut off or was changed");
    out->len += box_len - crypto_box_SEALBYTES;
    to[box_len - crypto_box_SEALBYTES] = '\0';
    return 0;
}
