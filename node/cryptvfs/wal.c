/*
 * node/cryptvfs/wal.c - the write-ahead log: one sealed unit per frame.
 *
 * SQLite writes a frame as header and page. The header waits for its page, and both leave as one
 * write. When a transaction has spilled its cache, SQLite also overwrites a page alone, and later
 * the header alone.
 */
#include <string.h>

#include "node/cryptvfs/internal.h"

enum { SEALED_AT = FRAME_CLEAR_BYTES, SEALED_BYTES = FRAME_HEADER_BYTES - SEALED_AT + BODY_BYTES };

static struct node_crypt_file *self(sqlite3_file *file)
{
    return (struct node_crypt_file *)file;
}

static sqlite3_int64 frame_offset(sqlite3_int64 frame)
{
    return WAL_HEADER_BYTES + frame * FRAME_BYTES;
}

static size_t frame_ad(const struct node_crypt_file *f, sqlite3_int64 frame, const uint8_t *raw,
                       uint8_t ad[AD_BYTES_MAX])
{
    ad[0] = 'W';
    memcpy(ad + 1, f->owner->db.head + 4, ID_BYTES);
    node_crypt_put32(ad + 1 + ID_BYTES, (uint32_t)frame);
    memcpy(ad + 5 + ID_BYTES, raw, FRAME_CLEAR_BYTES);
    return 5 + ID_BYTES + FRAME_CLEAR_BYTES;
}

/* work->raw holds header and clear page; seals them in place and writes them. */
static int write_frame(struct node_crypt_file *f, sqlite3_int64 frame)
{
    uint8_t ad[AD_BYTES_MAX];
    uint8_t sum[8];
    uint8_t *raw = f->work->raw;
    size_t n = frame_ad(f, frame, raw, ad);
    memcpy(sum, raw + SEALED_AT, sizeof sum);
    node_crypt_seal(f->work, f->owner->db.key, raw + SEALED_AT, raw + SEALED_AT, SEALED_BYTES,
                    raw + FRAME_HEADER_BYTES + BODY_BYTES, ad, n);
    if (MUTANT(11))
        memcpy(raw + SEALED_AT, sum, sizeof sum);
    return f->real->pMethods->xWrite(f->real, raw, FRAME_BYTES, frame_offset(frame));
}

/* Reads a frame into work->raw and opens it there. SQLITE_IOERR_DATA: it is not one of ours. */
static int read_frame(struct node_crypt_file *f, sqlite3_int64 frame)
{
    uint8_t ad[AD_BYTES_MAX];
    uint8_t *raw = f->work->raw;
    int rc = node_crypt_owner(f);
    if (rc == SQLITE_OK)
        rc = f->real->pMethods->xRead(f->real, raw, FRAME_BYTES, frame_offset(frame));
    if (rc != SQLITE_OK)
        return rc;
    size_t n = frame_ad(f, frame, raw, ad);
    if (!node_crypt_unseal(f->owner->db.key, raw + SEALED_AT, raw + SEALED_AT, SEALED_BYTES,
                           raw + FRAME_HEADER_BYTES + BODY_BYTES, ad, n))
        return SQLITE_IOERR_DATA;
    memset(raw + FRAME_HEADER_BYTES + BODY_BYTES, 0, RESERVE_BYTES);
    return SQLITE_OK;
}

/* A header that no page followed replaces the header of the frame that is there. */
static int flush(struct node_crypt_file *f)
{
    if (f->wal.pending < 0)
        return SQLITE_OK;
    sqlite3_int64 frame = f->wal.pending;
    f->wal.pending = -1;
    if (MUTANT(6))
        return SQLITE_OK;
    int rc = read_frame(f, frame);
    if (rc == SQLITE_IOERR_SHORT_READ)
        return SQLITE_IOERR_WRITE;
    if (rc != SQLITE_OK)
        return rc;
    memcpy(f->work->raw, f->wal.header, FRAME_HEADER_BYTES);
    return write_frame(f, frame);
}

static int wal_read(sqlite3_file *file, void *out, int amount, sqlite3_int64 offset)
{
    struct node_crypt_file *f = self(file);
    size_t bytes = (size_t)amount;
    int rc = flush(f);
    if (rc != SQLITE_OK)
        return rc;
    if (offset < WAL_HEADER_BYTES)
        return offset + amount <= WAL_HEADER_BYTES
                   ? f->real->pMethods->xRead(f->real, out, amount, offset)
                   : SQLITE_IOERR_READ;

    sqlite3_int64 frame = (offset - WAL_HEADER_BYTES) / FRAME_BYTES;
    size_t from = (size_t)((offset - WAL_HEADER_BYTES) % FRAME_BYTES);
    if (from + bytes > FRAME_BYTES)
        return SQLITE_IOERR_READ;
    rc = read_frame(f, frame);
    if (rc == SQLITE_OK) {
        memcpy(out, f->work->raw + from, bytes);
        return SQLITE_OK;
    }
    memset(out, 0, bytes);
    /*
     * Whole frames are read in recovery, where a torn one ends the log, and before a header is
     * rewritten, where the write that follows finds the same damage and fails.
     */
    if (rc == SQLITE_IOERR_DATA && bytes == FRAME_BYTES && !MUTANT(8))
        return SQLITE_OK;
    return rc;
}

static int write_header(struct node_crypt_file *f, const uint8_t *in)
{
    int rc = flush(f);
    if (rc != SQLITE_OK)
        return rc;
    if (node_crypt_get32(in + 8) != PAGE_BYTES)
        return SQLITE_IOERR_WRITE;
    return f->real->pMethods->xWrite(f->real, in, WAL_HEADER_BYTES, 0);
}

static int write_frame_header(struct node_crypt_file *f, sqlite3_int64 frame, const uint8_t *in)
{
    int rc = SQLITE_OK;
    if (f->wal.pending != frame)
        rc = flush(f);
    if (rc != SQLITE_OK)
        return rc;
    memcpy(f->wal.header, in, FRAME_HEADER_BYTES);
    f->wal.pending = frame;
    return SQLITE_OK;
}

static int write_frame_page(struct node_crypt_file *f, sqlite3_int64 frame, const uint8_t *in)
{
    uint8_t *raw = f->work->raw;
    bool alone = f->wal.pending != frame;
    int rc = node_crypt_owner(f);
    if (rc == SQLITE_OK && !alone) {
        memcpy(raw, f->wal.header, FRAME_HEADER_BYTES);
        f->wal.pending = -1;
    } else if (rc == SQLITE_OK) {
        rc = flush(f);
        if (rc == SQLITE_OK)
            rc = read_frame(f, frame);
        if (rc == SQLITE_IOERR_SHORT_READ)
            rc = SQLITE_IOERR_WRITE;
    }
    if (rc != SQLITE_OK)
        return rc;
    /* Recovery gives zeros back for the reserve; other bytes there would break SQLite's checksum
     * then. */
    if (!node_crypt_reserve_is_zero(in))
        return SQLITE_IOERR_WRITE;
    if (node_crypt_get32(raw) == 1 && !node_crypt_page1_fits(in))
        return SQLITE_IOERR_WRITE;
    if (!(MUTANT(7) && alone))
        memcpy(raw + FRAME_HEADER_BYTES, in, BODY_BYTES);
    return write_frame(f, frame);
}

static int wal_write(sqlite3_file *file, const void *in, int amount, sqlite3_int64 offset)
{
    struct node_crypt_file *f = self(file);
    if (offset == 0 && amount == WAL_HEADER_BYTES)
        return write_header(f, in);
    if (offset < WAL_HEADER_BYTES)
        return SQLITE_IOERR_WRITE;
    sqlite3_int64 frame = (offset - WAL_HEADER_BYTES) / FRAME_BYTES;
    sqlite3_int64 from = (offset - WAL_HEADER_BYTES) % FRAME_BYTES;
    if (from == 0 && amount == FRAME_HEADER_BYTES)
        return write_frame_header(f, frame, in);
    if (from == FRAME_HEADER_BYTES && amount == PAGE_BYTES)
        return write_frame_page(f, frame, in);
    return SQLITE_IOERR_WRITE;
}

static int wal_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct node_crypt_file *f = self(file);
    int rc = flush(f);
    return rc != SQLITE_OK ? rc : f->real->pMethods->xTruncate(f->real, size);
}

static int wal_sync(sqlite3_file *file, int flags)
{
    struct node_crypt_file *f = self(file);
    int rc = flush(f);
    if (MUTANT(14))
        return rc;
    return rc != SQLITE_OK ? rc : f->real->pMethods->xSync(f->real, flags);
}

static int wal_size(sqlite3_file *file, sqlite3_int64 *size)
{
    struct node_crypt_file *f = self(file);
    int rc = flush(f);
    return rc != SQLITE_OK ? rc : f->real->pMethods->xFileSize(f->real, size);
}

const sqlite3_io_methods node_crypt_wal_methods = {
    .iVersion = 1,
    .xClose = node_crypt_close,
    .xRead = wal_read,
    .xWrite = wal_write,
    .xTruncate = wal_truncate,
    .xSync = wal_sync,
    .xFileSize = wal_size,
    .xLock = node_crypt_lock,
    .xUnlock = node_crypt_unlock,
    .xCheckReservedLock = node_crypt_check_reserved,
    .xFileControl = node_crypt_control,
    .xSectorSize = node_crypt_sector_bytes,
    .xDeviceCharacteristics = node_crypt_device,
};
