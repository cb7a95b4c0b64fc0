/*
 * node/cryptvfs/temp.c - statement journals, sorter runs, temporary databases: any offset, any
 * length.
 *
 * Nobody but this handle ever opens such a file, so its length and the block in work live in
 * memory, and its key dies with the process. Blocks of 4096 clear bytes lie at multiples of 4136.
 */
#include <string.h>

#include "node/cryptvfs/internal.h"

enum { TEMP_AD_BYTES = 17 };

static struct node_crypt_file *self(sqlite3_file *file)
{
    return (struct node_crypt_file *)file;
}

static void block_ad(const struct node_crypt_file *f, sqlite3_int64 block,
                     uint8_t ad[TEMP_AD_BYTES])
{
    ad[0] = 'T';
    node_crypt_put64(ad + 1, f->temp.number);
    node_crypt_put64(ad + 9, (uint64_t)block);
}

static int write_block(struct node_crypt_file *f, sqlite3_int64 block, const uint8_t *in)
{
    uint8_t ad[TEMP_AD_BYTES];
    uint8_t *raw = f->work->raw;
    block_ad(f, block, ad);
    if (MUTANT(9))
        memcpy(raw, in, PAGE_BYTES);
    else
        node_crypt_seal(f->work, node_crypt_temp_key(f->vfs), raw, in, PAGE_BYTES, raw + PAGE_BYTES,
                        ad, sizeof ad);
    return f->real->pMethods->xWrite(f->real, raw, BLOCK_BYTES, block * BLOCK_BYTES);
}

static int read_block(struct node_crypt_file *f, sqlite3_int64 block, uint8_t *out)
{
    uint8_t ad[TEMP_AD_BYTES];
    uint8_t *raw = f->work->raw;
    int rc = f->real->pMethods->xRead(f->real, raw, BLOCK_BYTES, block * BLOCK_BYTES);
    if (rc == SQLITE_IOERR_SHORT_READ)
        return SQLITE_IOERR_DATA;
    if (rc != SQLITE_OK)
        return rc;
    block_ad(f, block, ad);
    if (MUTANT(9)) {
        memcpy(out, raw, PAGE_BYTES);
        return SQLITE_OK;
    }
    return node_crypt_unseal(node_crypt_temp_key(f->vfs), out, raw, PAGE_BYTES, raw + PAGE_BYTES,
                             ad, sizeof ad)
               ? SQLITE_OK
               : SQLITE_IOERR_DATA;
}

static int flush(struct node_crypt_file *f)
{
    if (!f->temp.dirty)
        return SQLITE_OK;
    int rc = write_block(f, f->temp.cached, f->work->block);
    if (rc == SQLITE_OK)
        f->temp.dirty = false;
    return rc;
}

/* Brings a block into work->block; one behind the end starts as zeros, and so do those before it.
 */
static int load(struct node_crypt_file *f, sqlite3_int64 block)
{
    if (f->temp.cached == block)
        return SQLITE_OK;
    int rc = flush(f);
    if (rc != SQLITE_OK)
        return rc;
    f->temp.cached = -1;
    memset(f->work->block, 0, PAGE_BYTES);
    if (block < f->temp.blocks) {
        rc = read_block(f, block, f->work->block);
    } else {
        for (; rc == SQLITE_OK && f->temp.blocks < block; f->temp.blocks++)
            rc = write_block(f, f->temp.blocks, f->work->block);
        if (rc == SQLITE_OK) {
            f->temp.blocks = block + 1;
            f->temp.dirty = true;
        }
    }
    if (rc == SQLITE_OK)
        f->temp.cached = block;
    return rc;
}

static int temp_read(sqlite3_file *file, void *out, int amount, sqlite3_int64 offset)
{
    struct node_crypt_file *f = self(file);
    uint8_t *to = out;
    sqlite3_int64 there = f->temp.size - offset;
    sqlite3_int64 left = there < 0 ? 0 : there < amount ? there : amount;
    int rc = SQLITE_OK;
    if (left < amount) {
        memset(to + left, 0, (size_t)(amount - left));
        rc = SQLITE_IOERR_SHORT_READ;
    }
    while (left > 0) {
        sqlite3_int64 block = offset / PAGE_BYTES;
        sqlite3_int64 from = offset % PAGE_BYTES;
        sqlite3_int64 n = PAGE_BYTES - from < left ? PAGE_BYTES - from : left;
        int got;
        if (n == PAGE_BYTES && block != f->temp.cached && block < f->temp.blocks) {
            got = read_block(f, block, to);
        } else {
            got = load(f, block);
            if (got == SQLITE_OK)
                memcpy(to, f->work->block + from, (size_t)n);
        }
        if (got != SQLITE_OK)
            return got;
        to += n;
        offset += n;
        left -= n;
    }
    return rc;
}

static int temp_write(sqlite3_file *file, const void *in, int amount, sqlite3_int64 offset)
{
    struct node_crypt_file *f = self(file);
    const uint8_t *from = in;
    sqlite3_int64 left = amount;
    while (left > 0) {
        sqlite3_int64 block = offset / PAGE_BYTES;
        sqlite3_int64 at = offset % PAGE_BYTES;
        sqlite3_int64 n = PAGE_BYTES - at < left ? PAGE_BYTES - at : left;
        int rc;
        if (n == PAGE_BYTES && block != f->temp.cached && block <= f->temp.blocks) {
            rc = write_block(f, block, from);
            if (rc == SQLITE_OK && block == f->temp.blocks)
                f->temp.blocks++;
        } else {
            rc = load(f, block);
            if (rc == SQLITE_OK) {
                memcpy(f->work->block + at, from, (size_t)n);
                f->temp.dirty = true;
            }
        }
        if (rc != SQLITE_OK)
            return rc;
        from += n;
        offset += n;
        left -= n;
        if (f->temp.size < offset)
            f->temp.size = offset;
    }
    return SQLITE_OK;
}

static int temp_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct node_crypt_file *f = self(file);
    sqlite3_int64 blocks = (size + PAGE_BYTES - 1) / PAGE_BYTES;
    sqlite3_int64 kept = size % PAGE_BYTES;
    if (kept != 0 && size < f->temp.size) {
        /* What is cut off must read as zeros if the file grows again. */
        int rc = load(f, blocks - 1);
        if (rc != SQLITE_OK)
            return rc;
        memset(f->work->block + kept, 0, (size_t)(PAGE_BYTES - kept));
        f->temp.dirty = true;
    }
    if (f->temp.cached >= blocks) {
        f->temp.cached = -1;
        f->temp.dirty = false;
    }
    if (f->temp.blocks > blocks) {
        int rc = f->real->pMethods->xTruncate(f->real, blocks * BLOCK_BYTES);
        if (rc != SQLITE_OK)
            return rc;
        f->temp.blocks = blocks;
    } else if (blocks > f->temp.blocks) {
        int rc = load(f, blocks - 1);
        if (rc != SQLITE_OK)
            return rc;
    }
    f->temp.size = size;
    return SQLITE_OK;
}

static int temp_sync(sqlite3_file *file, int flags)
{
    (void)file;
    (void)flags;
    return SQLITE_OK; /* nobody reads it after a crash */
}

static int temp_size(sqlite3_file *file, sqlite3_int64 *size)
{
    *size = self(file)->temp.size;
    return SQLITE_OK;
}

const sqlite3_io_methods node_crypt_temp_methods = {
    .iVersion = 1,
    .xClose = node_crypt_close,
    .xRead = temp_read,
    .xWrite = temp_write,
    .xTruncate = temp_truncate,
    .xSync = temp_sync,
    .xFileSize = temp_size,
    .xLock = node_crypt_lock,
    .xUnlock = node_crypt_unlock,
    .xCheckReservedLock = node_crypt_check_reserved,
    .xFileControl = node_crypt_control,
    .xSectorSize = node_crypt_sector_bytes,
    .xDeviceCharacteristics = node_crypt_device,
};
