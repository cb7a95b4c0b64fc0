#include "sync/seal/box_file.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { PREFIX_BYTES = 4 + 4 + 16 + 16, LENGTH_BYTES = 4 };

static const char magic[8] = {'E', 'W', 'O', 'U', 'T', 'B', 'X', '1'};

static void put32(uint8_t *to, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(v >> (24 - 8 * i));
}

static uint32_t get32(const uint8_t *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static void prefix(uint8_t out[PREFIX_BYTES], const struct seal_box_file *f, bool last)
{
    put32(out, f->next);
    put32(out + 4, last ? 1 : 0);
    memcpy(out + 8, f->tenant_id.bytes, 16);
    memcpy(out + 24, f->node_id.bytes, 16);
}

void seal_box_file_begin(struct base_buf *out, const struct seal_box_file *f)
{
    base_buf_add(out, magic, sizeof magic);
    base_buf_add(out, f->tenant_id.bytes, 16);
    base_buf_add(out, f->node_id.bytes, 16);
    base_buf_add(out, f->recovery_key, 32);
}

int seal_box_file_add(struct base_buf *out, struct seal_box_file *f, const void *piece, size_t len,
                      struct base_err *err)
{
    size_t plain_len = PREFIX_BYTES + len;
    size_t box_len = plain_len + crypto_box_SEALBYTES;
    if (len > SEAL_BOX_FILE_PIECE_BYTES_MAX)
        return base_fail(err, BASE_ETOOBIG, "a piece of %zu bytes", len);
    uint8_t *plain = malloc(plain_len);
    uint8_t *box = malloc(LENGTH_BYTES + box_len);
    int rc = plain == NULL || box == NULL ? base_fail(err, BASE_ENOMEM, "out of memory") : 0;
    if (rc == 0) {
        prefix(plain, f, len == 0);
        if (len > 0)
            memcpy(plain + PREFIX_BYTES, piece, len);
        put32(box, (uint32_t)box_len);
        if (crypto_box_seal(box + LENGTH_BYTES, plain, plain_len, f->recovery_key) != 0)
            rc = base_fail(err, BASE_EKEY, "the recovery key cannot seal");
    }
    if (rc == 0) {
        base_buf_add(out, box, LENGTH_BYTES + box_len);
        f->next++;
        rc = base_buf_check(out) == 0 ? 0 : base_fail(err, base_buf_check(out), "a sealed piece");
    }
    if (plain != NULL)
        sodium_memzero(plain, plain_len);
    free(plain);
    free(box);
    return rc;
}

int seal_box_file_head(struct seal_box_file *f, const char *bytes, size_t len, struct base_err *err)
{
    if (len < SEAL_BOX_FILE_HEAD_BYTES || memcmp(bytes, magic, sizeof magic) != 0)
        return base_fail(err, BASE_EINVALID, "this is no sealed outbox");
    *f = (struct seal_box_file){.next = 0};
    memcpy(f->tenant_id.bytes, bytes + 8, 16);
    memcpy(f->node_id.bytes, bytes + 24, 16);
    memcpy(f->recovery_key, bytes + 40, 32);
    return 0;
}

static int open_box(struct seal_box_file *f, const uint8_t secret[32], const char *box, size_t len,
                    uint8_t *plain, struct base_buf *out, struct base_err *err)
{
    uint8_t public_key[32];
    uint8_t want[PREFIX_BYTES];
    size_t plain_len = len - crypto_box_SEALBYTES;
    if (crypto_scalarmult_base(public_key, secret) != 0 ||
        memcmp(public_key, f->recovery_key, 32) != 0)
        return base_fail(err, BASE_EKEY, "it is sealed for another recovery key");
    if (crypto_box_seal_open(plain, (const uint8_t *)box, len, public_key, secret) != 0)
        return base_fail(err, BASE_ECORRUPT, "frame %u is damaged", f->next);
    bool last = plain_len == PREFIX_BYTES;
    prefix(want, f, last);
    if (memcmp(want, plain, PREFIX_BYTES) != 0)
        return base_fail(err, BASE_ECORRUPT, "frame %u is not in its place", f->next);
    base_buf_add(out, plain + PREFIX_BYTES, plain_len - PREFIX_BYTES);
    f->ended = last;
    f->next++;
    return base_buf_check(out) == 0 ? 0 : base_fail(err, base_buf_check(out), "the opened pieces");
}

int seal_box_file_next(struct seal_box_file *f, const uint8_t secret[32], const char *bytes,
                       size_t len, size_t *used, struct base_buf *out, struct base_err *err)
{
    enum { LEAST = PREFIX_BYTES + crypto_box_SEALBYTES };
    if (len < LENGTH_BYTES)
        return base_fail(err, BASE_ECORRUPT, "the file ends early, at frame %u", f->next);
    uint32_t box_len = get32((const uint8_t *)bytes);
    if (box_len < LEAST || box_len > SEAL_BOX_FILE_PIECE_BYTES_MAX + LEAST)
        return base_fail(err, BASE_ECORRUPT, "frame %u has no sensible length", f->next);
    if (len - LENGTH_BYTES < box_len)
        return base_fail(err, BASE_ECORRUPT, "the file ends early, in frame %u", f->next);
    uint8_t *plain = malloc(box_len);
    if (plain == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory");
    int rc = open_box(f, secret, bytes + LENGTH_BYTES, box_len, plain, out, err);
    sodium_memzero(plain, box_len);
    free(plain);
    if (rc == 0)
        *used = LENGTH_BYTES + box_len;
    return rc;
}
