#include <sodium.h>

#include "sync/seal/seal.h"

/* Half the memory of libsodium's "interactive" and twice its passes: a login must fit a node's
 * 64 MiB beside everything else. Above OWASP's least for Argon2id (19 MiB, 2 passes). */
enum { PASSWORD_PASSES = 4, PASSWORD_BYTES = 32 * 1024 * 1024 };

int seal_password_hash(char out[SEAL_PASSWORD_TEXT_BYTES], const char *password, size_t len,
                       struct base_err *err)
{
    _Static_assert(SEAL_PASSWORD_TEXT_BYTES == crypto_pwhash_STRBYTES, "libsodium's size");
    if (crypto_pwhash_str(out, password, len, PASSWORD_PASSES, PASSWORD_BYTES) != 0)
        return base_fail(err, BASE_ENOMEM, "not enough memory for Argon2id (64 MiB)");
    return 0;
}

bool seal_password_verify(const char *text, const char *password, size_t len)
{
    return crypto_pwhash_str_verify(text, password, len) == 0;
}
