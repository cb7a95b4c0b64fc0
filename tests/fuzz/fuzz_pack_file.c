/* A sealed downtime pack of any content: opened, or refused. The bytes are also taken as a key's text, as content that is sealed and
 * comes back the same, and as such a file with one byte changed or some cut off, which must never open. */
#include <string.h>

#include "sync/seal/pack_file.h"
#include "sync/seal/seal.h"

enum { MOST = 1024 * 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take_key_text(const uint8_t *data, size_t size)
{
    char text[SEAL_PACK_KEY_TEXT_BYTES] = "";
    char again[SEAL_PACK_KEY_TEXT_BYTES];
    struct seal_pack_key k;
    memcpy(text, data, size < sizeof text ? size : sizeof text - 1);
    if (!seal_pack_key_parse(&k, text))
        return;
    seal_pack_key_format(&k, again);
    BASE_ASSERT(strlen(again) == strlen(text));
}

static void round_trip(const uint8_t *data, size_t size, const struct seal_pack_key *k,
                       const uint8_t secret[32])
{
    struct base_buf file, out;
    struct base_err err = {0};
    base_buf_init(&file, MOST);
    base_buf_init(&out, MOST);
    BASE_ASSERT(seal_pack_write(&file, k, data, size, &err) == 0);
    BASE_ASSERT(file.len == size + SEAL_PACK_OVERHEAD_BYTES);
    BASE_ASSERT(seal_pack_read(&out, secret, file.data, file.len, &err) == 0);
    BASE_ASSERT(out.len == size && memcmp(out.data, data, size) == 0);
    base_buf_clear(&out);
    BASE_ASSERT(seal_pack_read(&out, secret, file.data, file.len - 1 - size / 2, &err) != 0);
    size_t at = ((size_t)data[0] * 251 + size) % file.len;
    bool salt = at >= 8 && at < 8 + SEAL_PACK_SALT_BYTES; /* binds a passphrase only */
    file.data[at] = (char)(file.data[at] ^ 1);
    BASE_ASSERT(salt || seal_pack_read(&out, secret, file.data, file.len, &err) != 0);
    base_buf_release(&file);
    base_buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct seal_pack_key k;
    static uint8_t secret[32];
    static bool made;
    struct base_err err = {0};
    struct base_buf out;
    if (!made)
        BASE_ASSERT(seal_init(&err) == 0 && seal_pack_key_make(&k, secret, NULL, &err) == 0);
    made = true;
    base_buf_init(&out, MOST);
    BASE_ASSERT(size == 0 || seal_pack_read(&out, secret, (const char *)data, size, &err) != 0);
    base_buf_release(&out);
    take_key_text(data, size);
    if (size > 0 && size < MOST / 4)
        round_trip(data, size, &k, secret);
    return 0;
}
