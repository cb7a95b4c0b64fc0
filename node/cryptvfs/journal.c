/*
 * node/cryptvfs/journal.c - the rollback journal: one sealed unit per record.
 *
 * SQLite writes a record as page number, page, checksum. They are put together and leave as one
 * write. Headers (magic, counts, the database's size) and the name of a super-journal at the end
 * stay readable: a process that rolls back another database looks for that name through a handle
 * that knows no key.
 */
#include <string.h>

#include "node/cryptvfs/internal.h"

enum { SUM_AT = 4, BODY_AT = 8, TAIL_AT = BODY_AT + BODY_BYTES };

_Static_assert(TAIL_AT + RESERVE_BYTES == RECORD_BYTES,
               "a sealed record is as long as a clear one");

static const uint8_t JOURNAL_MAGIC[8] = {0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7};

static struct node_crypt_file *self(sqlite3_file *file)
{
    return (struct node_crypt_file *)file;
}

static size_t record_ad(const struct node_crypt_file *f, const uint8_t *number, sqlite3_int64 at,
                        uint8_t ad[AD_BYTES_MAX])
{
    ad[0] = 'J';
    memcpy(ad + 1, f->owner->db.head + 4, ID_BYTES);
    memcpy(ad + 1 + ID_BYTES, number, 4);
    node_crypt_put64(ad + 5 + ID_BYTES, (uint64_t)at);
    return 13 + ID_BYTES;
}

/* What was held back and turned out not to be a record. */
static int flush(struct node_crypt_file *f)
{
    if (f->journal->state == RECORD_NONE)
        return SQLITE_OK;
    bool page = f->journal->state == RECORD_PAGE;
    f->journal->state = RECORD_NONE;
    if (page)
        return SQLITE_IOERR_WRITE; /* a page without its checksum: never written in the clear */
    return f->real->pMethods->xWrite(f->real, f->journal->record, 4, f->journal->at);
}

static int write_record(struct node_crypt_file *f, const uint8_t sum[4])
{
    uint8_t ad[AD_BYTES_MAX];
    uint8_t *raw = f->work->raw;
    const uint8_t *record = f->journal->record;
    f->journal->state = RECORD_NONE;
    int rc = node_crypt_owner(f);
    if (rc != SQLITE_OK)
        return rc;
    memcpy(raw, record, 4);
    memcpy(raw + SUM_AT, sum, 4);
    memcpy(raw + BODY_AT, record + 4, BODY_BYTES);
    size_t n = record_ad(f, raw, f->journal->at, ad);
    if (!MUTANT(13))
        node_crypt_seal(f->work, f->owner->db.key, raw + SUM_AT, raw + SUM_AT, 4 + BODY_BYTES,
                        raw + TAIL_AT, ad, n);
    f->journal->written = true;
    return f->real->pMethods->xWrite(f->real, raw, RECORD_BYTES, f->journal->at);
}

static int journal_write(sqlite3_file *file, const void *in, int amount, sqlite3_int64 offset)
{
    struct node_crypt_file *f = self(file);
    f->journal->read_at = -1;
    if (f->journal->state == RECORD_NUMBER && amount == PAGE_BYTES &&
        offset == f->journal->at + 4) {
        memcpy(f->journal->record + 4, in, PAGE_BYTES);
        f->journal->state = RECORD_PAGE;
        return SQLITE_OK;
    }
    if (f->journal->state == RECORD_PAGE && amount == 4 &&
        offset == f->journal->at + 4 + PAGE_BYTES)
        return write_record(f, in);
    int rc = flush(f);
    if (rc != SQLITE_OK)
        return rc;
    if (amount == 4) {
        memcpy(f->journal->record, in, 4);
        f->journal->at = offset;
        f->journal->state = RECORD_NUMBER;
        return SQLITE_OK;
    }
    /* Anything as long as a page must be a header, or it would be a page in the clear. */
    if (amount >= PAGE_BYTES && memcmp(in, JOURNAL_MAGIC, sizeof JOURNAL_MAGIC) != 0)
        return SQLITE_IOERR_WRITE;
    return f->real->pMethods->xWrite(f->real, in, amount, offset);
}

static int read_record(struct node_crypt_file *f, uint8_t *page, sqlite3_int64 at)
{
    uint8_t ad[AD_BYTES_MAX];
    uint8_t *raw = f->work->raw;
    int rc = node_crypt_owner(f);
    if (rc == SQLITE_OK)
        rc = f->real->pMethods->xRead(f->real, raw, RECORD_BYTES, at);
    if (rc != SQLITE_OK)
        return rc;
    size_t n = record_ad(f, raw, at, ad);
    /* A torn tail after a crash: SQLite stops the rollback at a short read, nothing later was used.
     */
    if (!MUTANT(13) && !node_crypt_unseal(f->owner->db.key, raw + SUM_AT, raw + SUM_AT,
                                          4 + BODY_BYTES, raw + TAIL_AT, ad, n))
        return f->journal->written ? SQLITE_IOERR_DATA : SQLITE_IOERR_SHORT_READ;
    memcpy(page, raw + BODY_AT, BODY_BYTES);
    memset(page + BODY_BYTES, 0, RESERVE_BYTES);
    memcpy(f->journal->read_sum, raw + SUM_AT, 4);
    f->journal->read_at = at;
    return SQLITE_OK;
}

static int journal_read(sqlite3_file *file, void *out, int amount, sqlite3_int64 offset)
{
    struct node_crypt_file *f = self(file);
    int rc = flush(f);
    if (rc != SQLITE_OK)
        return rc;
    if (amount == PAGE_BYTES && offset >= 4) {
        rc = read_record(f, out, offset - 4);
        if (rc != SQLITE_OK)
            memset(out, 0, PAGE_BYTES);
        return rc;
    }
    if (amount == 4 && f->journal->read_at >= 0 && offset == f->journal->read_at + 4 + PAGE_BYTES) {
        memcpy(out, f->journal->read_sum, 4);
        return SQLITE_OK;
    }
    return f->real->pMethods->xRead(f->real, out, amount, offset);
}

static int journal_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct node_crypt_file *f = self(file);
    int rc = flush(f);
    f->journal->read_at = -1;
    return rc != SQLITE_OK ? rc : f->real->pMethods->xTruncate(f->real, size);
}

static int journal_sync(sqlite3_file *file, int flags)
{
    struct node_crypt_file *f = self(file);
    int rc = flush(f);
    return rc != SQLITE_OK ? rc : f->real->pMethods->xSync(f->real, flags);
}

static int journal_size(sqlite3_file *file, sqlite3_int64 *size)
{
    struct node_crypt_file *f = self(file);
    int rc = flush(f);
    return rc != SQLITE_OK ? rc : f->real->pMethods->xFileSize(f->real, size);
}

const sqlite3_io_methods node_crypt_journal_methods = {
    .iVersion = 1,
    .xClose = node_crypt_close,
    .xRead = journal_read,
    .xWrite = journal_write,
    .xTruncate = journal_truncate,
    .xSync = journal_sync,
    .xFileSize = journal_size,
    .xLock = node_crypt_lock,
    .xUnlock = node_crypt_unlock,
    .xCheckReservedLock = node_crypt_check_reserved,
    .xFileControl = node_crypt_control,
    .xSectorSize = node_crypt_sector_bytes,
    .xDeviceCharacteristics = node_crypt_device,
};
