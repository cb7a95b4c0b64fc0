/* An exported outbox of any content: opened frame by frame, or refused. The bytes are also taken as frames behind a true head, as
 * pieces that are sealed and come back the same, and as those with one byte of them changed, which must never open. */
#include <stdlib.h>
#include <string.h>

#include "sync/seal/box_file.h"
#include "sync/seal/seal.h"

enum { MOST = 1024 * 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void keys(uint8_t pk[32], uint8_t sk[32])
{
    static uint8_t public_key[32], secret[32];
    static bool made;
    if (!made)
        seal_box_keypair(public_key, secret);
    made = true;
    memcpy(pk, public_key, 32);
    memcpy(sk, secret, 32);
}

static int read_all(struct seal_box_file *f, const uint8_t sk[32], const char *bytes, size_t len,
                    struct base_buf *out)
{
    struct base_err err = {0};
    int rc = 0;
    while (rc == 0 && !f->ended) {
        size_t used = 0;
        rc = seal_box_file_next(f, sk, bytes, len, &used, out, &err);
        BASE_ASSERT(rc != 0 || (used > 0 && used <= len));
        bytes += used;
        len -= used;
    }
    return rc;
}

static void round_trip(const uint8_t *data, size_t size, const uint8_t pk[32], const uint8_t sk[32])
{
    struct base_buf file, out;
    struct base_err err = {0};
    struct seal_box_file f = {.next = 0};
    struct seal_box_file g;
    base_buf_init(&file, MOST);
    base_buf_init(&out, MOST);
    memcpy(f.recovery_key, pk, 32);
    g = f;
    BASE_ASSERT(seal_box_file_add(&file, &f, data, size, &err) == 0);
    BASE_ASSERT(seal_box_file_add(&file, &f, NULL, 0, &err) == 0);
    BASE_ASSERT(read_all(&g, sk, file.data, file.len, &out) == 0);
    BASE_ASSERT(out.len == size && memcmp(out.data, data, size) == 0);
    file.data[data[0] % file.len] = (char)(file.data[data[0] % file.len] ^ 1);
    g = (struct seal_box_file){.next = 0};
    memcpy(g.recovery_key, pk, 32);
    base_buf_clear(&out);
    BASE_ASSERT(read_all(&g, sk, file.data, file.len, &out) != 0);
    base_buf_release(&file);
    base_buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seal_box_file f;
    struct base_err err = {0};
    struct base_buf out;
    uint8_t pk[32], sk[32];
    keys(pk, sk);
    base_buf_init(&out, MOST);
    if (seal_box_file_head(&f, (const char *)data, size, &err) == 0)
        (void)read_all(&f, sk, (const char *)data + SEAL_BOX_FILE_HEAD_BYTES,
                       size - SEAL_BOX_FILE_HEAD_BYTES, &out);
    f = (struct seal_box_file){.next = 0};
    memcpy(f.recovery_key, pk, 32);
    BASE_ASSERT(read_all(&f, sk, (const char *)data, size, &out) != 0);
    base_buf_release(&out);
    if (size > 0 && size < MOST / 4)
        round_trip(data, size, pk, sk);
    return 0;
}
