/*
 * node/cryptvfs/db.c - the database file: one sealed unit per page.
 *
 * SQLite reads 100 bytes at 0 before it holds a lock and before recovery, and 16 bytes at 24 under
 * a lock; everything else is whole pages.
 */
#include <string.h>

#include "node/cryptvfs/internal.h"

static const uint8_t MAGIC[4] = {'E', 'W', 's', '1'};
static const uint8_t PLAIN_MAGIC[HEAD_BYTES] = "SQLite format 3";
static const uint8_t ZEROS[PAGE_BYTES];

enum {
    HEADER_READ_BYTES = 100,
    LOCK_PAGE = LOCK_BYTE_OFFSET / PAGE_BYTES + 1,
    WAL_WRITE_LOCK = 0, /* SQLite's numbering of locks in the WAL index; part of its file format */
    WAL_READ_LOCKS = 3
};

_Thread_local enum node_crypt_problem node_crypt_last_problem;

static struct node_crypt_file *self(sqlite3_file *file)
{
    return (struct node_crypt_file *)file;
}

bool node_crypt_page1_fits(const uint8_t page[PAGE_BYTES])
{
    if (MUTANT(16))
        return true;
    return memcmp(page, PLAIN_MAGIC, HEAD_BYTES) == 0 && page[16] == PAGE_BYTES >> 8 &&
           page[17] == 0 && page[20] == RESERVE_BYTES;
}

bool node_crypt_reserve_is_zero(const uint8_t page[PAGE_BYTES])
{
    return memcmp(page + BODY_BYTES, ZEROS, RESERVE_BYTES) == 0;
}

static size_t page_ad(const struct node_crypt_file *f, uint32_t number, const uint8_t *readable,
                      uint8_t ad[AD_BYTES_MAX])
{
    size_t n = 1 + ID_BYTES + 4;
    ad[0] = 'P';
    memcpy(ad + 1, f->db.head + 4, ID_BYTES);
    node_crypt_put32(ad + 1 + ID_BYTES, MUTANT(1) && number != 1 ? 2 : number);
    if (MUTANT(2))
        memset(ad + 1, 0, ID_BYTES);
    if (number == 1) {
        memcpy(ad + n, readable + HEAD_BYTES, READABLE_BYTES - HEAD_BYTES);
        n += READABLE_BYTES - HEAD_BYTES;
    }
    return n;
}

/* Takes file id and key from the first 16 bytes of a file. */
static int take_head(struct node_crypt_file *f, const uint8_t head[HEAD_BYTES])
{
    uint8_t check[4];
    if (f->db.has_key && memcmp(f->db.head, head, HEAD_BYTES) == 0)
        return SQLITE_OK;
    if (memcmp(head, MAGIC, sizeof MAGIC) != 0) {
        node_crypt_last_problem =
            memcmp(head, PLAIN_MAGIC, HEAD_BYTES) == 0 ? CRYPT_PLAIN_FILE : CRYPT_FOREIGN_FILE;
        return SQLITE_NOTADB;
    }
    int rc = node_crypt_file_key(f->vfs, head + 4, &f->db.key, check);
    if (rc != SQLITE_OK)
        return rc;
    f->db.has_key = memcmp(check, head + 12, sizeof check) == 0;
    node_crypt_last_problem = f->db.has_key ? CRYPT_FINE : CRYPT_WRONG_KEY;
    if (!f->db.has_key)
        return SQLITE_NOTADB;
    memcpy(f->db.head, head, HEAD_BYTES);
    return SQLITE_OK;
}

/* The first write of a new file: names it. */
static int ensure_head(struct node_crypt_file *f)
{
    uint8_t head[HEAD_BYTES];
    if (f->db.has_key)
        return SQLITE_OK;
    int rc = f->real->pMethods->xRead(f->real, head, HEAD_BYTES, 0);
    if (rc == SQLITE_OK)
        return take_head(f, head);
    if (rc != SQLITE_IOERR_SHORT_READ)
        return rc;
    memcpy(head, MAGIC, sizeof MAGIC);
    node_crypt_random(head + 4, ID_BYTES);
    rc = node_crypt_file_key(f->vfs, head + 4, &f->db.key, head + 12);
    if (rc != SQLITE_OK)
        return rc;
    memcpy(f->db.head, head, HEAD_BYTES);
    f->db.has_key = true;
    return SQLITE_OK;
}

/* raw: the page from disk; page: where its 4096 clear bytes go. */
static bool unseal_page(struct node_crypt_file *f, uint32_t number, const uint8_t *raw,
                        uint8_t *page)
{
    uint8_t ad[AD_BYTES_MAX];
    size_t skip = number == 1 ? READABLE_BYTES : 0;
    size_t n = page_ad(f, number, raw, ad);
    if (!f->db.has_key || !node_crypt_unseal(f->db.key, page + skip, raw + skip, BODY_BYTES - skip,
                                             raw + BODY_BYTES, ad, n)) {
        if (!MUTANT(3))
            return false;
        memset(page, 0, PAGE_BYTES);
    }
    if (number == 1) {
        memcpy(page, PLAIN_MAGIC, HEAD_BYTES);
        memcpy(page + HEAD_BYTES, raw + HEAD_BYTES, READABLE_BYTES - HEAD_BYTES);
    }
    memset(page + BODY_BYTES, 0, RESERVE_BYTES);
    return true;
}

static int write_page(struct node_crypt_file *f, uint32_t number, const uint8_t *page)
{
    uint8_t ad[AD_BYTES_MAX];
    uint8_t *raw = f->work->raw;
    size_t skip = number == 1 ? READABLE_BYTES : 0;
    size_t n = page_ad(f, number, page, ad);
    if (number == 1) {
        memcpy(raw, f->db.head, HEAD_BYTES);
        memcpy(raw + HEAD_BYTES, page + HEAD_BYTES, READABLE_BYTES - HEAD_BYTES);
    }
    node_crypt_seal(f->work, f->db.key, raw + skip, page + skip, BODY_BYTES - skip,
                    raw + BODY_BYTES, ad, n);
    return f->real->pMethods->xWrite(f->real, raw, PAGE_BYTES,
                                     (sqlite3_int64)(number - 1) * PAGE_BYTES);
}

static int learn_size(struct node_crypt_file *f)
{
    if (f->db.size_known)
        return SQLITE_OK;
    int rc = f->real->pMethods->xFileSize(f->real, &f->db.size);
    f->db.size_known = rc == SQLITE_OK;
    return rc;
}

/* Pages never written would read as zeros, and zeros are tampering: seal them. */
static int fill_gap(struct node_crypt_file *f, sqlite3_int64 end)
{
    sqlite3_int64 at = f->db.size - f->db.size % PAGE_BYTES;
    if (MUTANT(4))
        return SQLITE_OK;
    for (; at < end; at += PAGE_BYTES) {
        uint32_t number = (uint32_t)(at / PAGE_BYTES) + 1;
        int rc = number == LOCK_PAGE ? SQLITE_OK : write_page(f, number, ZEROS);
        if (rc != SQLITE_OK) {
            f->db.size_known = false;
            return rc;
        }
    }
    return SQLITE_OK;
}

/* Before recovery a torn page 1 must not keep the database from being opened: the readable part is
 * enough. */
static int read_header_anyway(const uint8_t *raw, uint8_t *out, size_t bytes)
{
    if (MUTANT(10))
        return SQLITE_IOERR_DATA;
    if (raw[16] != PAGE_BYTES >> 8 || raw[17] != 0 || raw[20] != RESERVE_BYTES) {
        node_crypt_last_problem = CRYPT_FOREIGN_FILE;
        return SQLITE_NOTADB;
    }
    memset(out, 0, bytes);
    memcpy(out, PLAIN_MAGIC, HEAD_BYTES);
    memcpy(out + HEAD_BYTES, raw + HEAD_BYTES, READABLE_BYTES - HEAD_BYTES);
    return SQLITE_OK;
}

static int read_part(struct node_crypt_file *f, uint32_t number, uint8_t *out, size_t bytes,
                     size_t from)
{
    uint8_t *raw = f->work->raw;
    if (!unseal_page(f, number, raw, f->work->block)) {
        if (number == 1 && from == 0 && bytes == HEADER_READ_BYTES)
            return read_header_anyway(raw, out, bytes);
        return SQLITE_IOERR_DATA;
    }
    memcpy(out, f->work->block + from, bytes);
    return SQLITE_OK;
}

/*
 * Nothing there: SQLite expects zeros, for it looks at pages it has not written yet. But half a
 * page is no state it leaves, and a reader's snapshot has every page in the WAL or in this file:
 * zeros would be wrong data.
 */
static int short_read(struct node_crypt_file *f, uint8_t *out, size_t bytes, sqlite3_int64 page_at)
{
    sqlite3_int64 size;
    memset(out, 0, bytes);
    int rc = f->real->pMethods->xFileSize(f->real, &size);
    if (rc != SQLITE_OK)
        return rc;
    if (!MUTANT(17) && bytes == PAGE_BYTES &&
        (size > page_at || (f->db.wal_readers > 0 && !f->db.wal_writer)))
        return SQLITE_IOERR_DATA;
    return SQLITE_IOERR_SHORT_READ;
}

static int db_read(sqlite3_file *file, void *out, int amount, sqlite3_int64 offset)
{
    struct node_crypt_file *f = self(file);
    uint8_t *raw = f->work->raw;
    size_t bytes = (size_t)amount;
    size_t from = (size_t)(offset % PAGE_BYTES);
    sqlite3_int64 page_at = offset - (sqlite3_int64)from;
    uint32_t number = (uint32_t)(page_at / PAGE_BYTES) + 1;

    if (from + bytes > PAGE_BYTES)
        return SQLITE_IOERR_READ;
    int rc = f->real->pMethods->xRead(f->real, raw, PAGE_BYTES, page_at);
    if (rc == SQLITE_IOERR_SHORT_READ)
        return short_read(f, out, bytes, page_at);
    if (rc != SQLITE_OK)
        return rc;
    if (number == 1 && (rc = take_head(f, raw)) != SQLITE_OK)
        return rc;
    if (bytes < PAGE_BYTES)
        return read_part(f, number, out, bytes, from);
    return unseal_page(f, number, raw, out) ? SQLITE_OK : SQLITE_IOERR_DATA;
}

static int db_write(sqlite3_file *file, const void *in, int amount, sqlite3_int64 offset)
{
    struct node_crypt_file *f = self(file);
    uint32_t number = (uint32_t)(offset / PAGE_BYTES) + 1;
    if (amount != PAGE_BYTES || offset % PAGE_BYTES != 0)
        return SQLITE_IOERR_WRITE;
    if (number == 1 && !node_crypt_page1_fits(in))
        return SQLITE_IOERR_WRITE;
    int rc = ensure_head(f);
    if (rc == SQLITE_OK)
        rc = learn_size(f);
    if (rc == SQLITE_OK && offset > f->db.size)
        rc = fill_gap(f, offset);
    if (rc == SQLITE_OK)
        rc = write_page(f, number, in);
    if (rc != SQLITE_OK)
        f->db.size_known = false;
    else if (f->db.size < offset + PAGE_BYTES)
        f->db.size = offset + PAGE_BYTES;
    return rc;
}

static int db_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct node_crypt_file *f = self(file);
    f->db.size_known = false;
    int rc = learn_size(f);
    if (rc == SQLITE_OK && size > f->db.size && !MUTANT(12)) {
        rc = ensure_head(f);
        if (rc == SQLITE_OK)
            rc = fill_gap(f, size);
    }
    f->db.size_known = false;
    return rc != SQLITE_OK ? rc : f->real->pMethods->xTruncate(f->real, size);
}

static int db_sync(sqlite3_file *file, int flags)
{
    struct node_crypt_file *f = self(file);
    return f->real->pMethods->xSync(f->real, flags);
}

static int db_size(sqlite3_file *file, sqlite3_int64 *size)
{
    struct node_crypt_file *f = self(file);
    return f->real->pMethods->xFileSize(f->real, size);
}

static int db_shm_map(sqlite3_file *file, int region, int bytes, int extend, void volatile **out)
{
    struct node_crypt_file *f = self(file);
    return f->real->pMethods->xShmMap(f->real, region, bytes, extend, out);
}

static int db_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    struct node_crypt_file *f = self(file);
    bool lock = (flags & SQLITE_SHM_LOCK) != 0;
    f->db.size_known = false;
    int rc = f->real->pMethods->xShmLock(f->real, offset, n, flags);
    if (rc != SQLITE_OK)
        return rc;
    if (offset == WAL_WRITE_LOCK && (flags & SQLITE_SHM_EXCLUSIVE))
        f->db.wal_writer = lock;
    if (offset >= WAL_READ_LOCKS && (flags & SQLITE_SHM_SHARED))
        f->db.wal_readers = lock ? 1 : 0;
    return rc;
}

static void db_shm_barrier(sqlite3_file *file)
{
    struct node_crypt_file *f = self(file);
    f->real->pMethods->xShmBarrier(f->real);
}

static int db_shm_unmap(sqlite3_file *file, int delete_it)
{
    struct node_crypt_file *f = self(file);
    return f->real->pMethods->xShmUnmap(f->real, delete_it);
}

/* Version 2: shared memory for the WAL index, but no memory map of the file, which would be
 * ciphertext. */
const sqlite3_io_methods node_crypt_db_methods = {
    .iVersion = 2,
    .xClose = node_crypt_close,
    .xRead = db_read,
    .xWrite = db_write,
    .xTruncate = db_truncate,
    .xSync = db_sync,
    .xFileSize = db_size,
    .xLock = node_crypt_lock,
    .xUnlock = node_crypt_unlock,
    .xCheckReservedLock = node_crypt_check_reserved,
    .xFileControl = node_crypt_control,
    .xSectorSize = node_crypt_sector_bytes,
    .xDeviceCharacteristics = node_crypt_device,
    .xShmMap = db_shm_map,
    .xShmLock = db_shm_lock,
    .xShmBarrier = db_shm_barrier,
    .xShmUnmap = db_shm_unmap,
};
