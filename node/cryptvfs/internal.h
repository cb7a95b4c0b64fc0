/*
 * node/cryptvfs/internal.h - what the parts of the VFS share. Nothing outside this folder and its
 * tests.
 *
 * Formats (all integers big-endian):
 *
 *   database page     body 4056 sealed | nonce 24 | tag 16
 *                     associated data: 'P', file id 8, page number 4
 *   page 1            magic 4, file id 8, key check 4 | bytes 16-23 readable | 24-4055 sealed |
 * nonce | tag associated data: as above, then bytes 16-23 WAL               header 32 as SQLite's;
 * frame: page number 4, commit size 4, salts 8 readable | checksums 8 and page body 4056 sealed |
 * nonce | tag associated data: 'W', file id 8, frame number 4, the 16 readable bytes rollback
 * journal  headers as SQLite's; record: page number 4 | checksum 4 and body 4056 sealed | nonce |
 * tag; associated data: 'J', file id 8, page number 4, offset 8 temporary file    blocks of 4136:
 * 4096 sealed | nonce | tag, key of this process's life associated data: 'T', file number 8, block
 * number 8
 *
 * The reserved 40 bytes of a page read as zeros: SQLite's WAL checksums cover them.
 */
#ifndef NODE_CRYPTVFS_INTERNAL_H
#define NODE_CRYPTVFS_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef NODE_CRYPTVFS_MODULE
#include <sqlite3ext.h>
extern const sqlite3_api_routines *sqlite3_api;
#else
#include <sqlite3.h>
#endif

#include "node/cryptvfs/cryptvfs.h"

/* Deliberate faults, one per build, that the tests must find (tests/unit/node/cryptvfs). */
#ifndef NODE_CRYPTVFS_MUTANT
#define NODE_CRYPTVFS_MUTANT 0
#endif
#define MUTANT(n) (NODE_CRYPTVFS_MUTANT == (n))

enum {
    PAGE_BYTES = NODE_CRYPTVFS_PAGE_BYTES,
    RESERVE_BYTES = NODE_CRYPTVFS_RESERVE_BYTES,
    BODY_BYTES = PAGE_BYTES - RESERVE_BYTES,
    NONCE_BYTES = 24,
    TAG_BYTES = 16,
    ID_BYTES = 8,
    HEAD_BYTES = 16,     /* page 1: magic, file id, key check */
    READABLE_BYTES = 24, /* page 1: head and the eight bytes SQLite needs before it can lock */
    WAL_HEADER_BYTES = 32,
    FRAME_HEADER_BYTES = 24,
    FRAME_CLEAR_BYTES = 16,
    FRAME_BYTES = FRAME_HEADER_BYTES + PAGE_BYTES,
    RECORD_BYTES = 4 + PAGE_BYTES + 4,
    BLOCK_BYTES = PAGE_BYTES + RESERVE_BYTES,
    NONCE_POOL = 32,
    AD_BYTES_MAX = 40,
    LOCK_BYTE_OFFSET = 0x40000000
};

struct node_crypt_vfs {
    sqlite3_vfs vfs; /* first: SQLite's pointer is ours */
    sqlite3_vfs *base;
    uint8_t *keys; /* guarded, read-only: data key, then the key for temporary files */
    atomic_uint open_files;
    atomic_ullong temp_files;
    struct node_crypt_vfs *next;
    char name[NODE_CRYPTVFS_NAME_BYTES_MAX + 1];
};

/* Why page 1 was refused. SQLite closes the file before anybody can ask it, hence by thread. */
enum node_crypt_problem { CRYPT_FINE, CRYPT_PLAIN_FILE, CRYPT_FOREIGN_FILE, CRYPT_WRONG_KEY };
extern _Thread_local enum node_crypt_problem node_crypt_last_problem;

enum node_crypt_kind { CRYPT_DB, CRYPT_WAL, CRYPT_JOURNAL, CRYPT_TEMP, CRYPT_CLEAR };

/* Buffers of one file, so that no read or write allocates. */
struct node_crypt_work {
    uint8_t raw[BLOCK_BYTES];  /* what goes to or came from the disk */
    uint8_t block[PAGE_BYTES]; /* temporary files: the block in work, clear */
    uint8_t nonces[NONCE_POOL * NONCE_BYTES];
    unsigned nonces_left;
};

struct node_crypt_file {
    sqlite3_file file; /* first: SQLite's pointer is ours */
    struct node_crypt_vfs *vfs;
    sqlite3_file *real;
    struct node_crypt_work *work;
    enum node_crypt_kind kind;
    const char *name; /* WAL and journal: SQLite's own string, outlives the file */
    struct node_crypt_file
        *owner; /* WAL and journal: the database, found at the first sealed byte */
    union {
        struct {
            uint8_t *key; /* guarded, read-only */
            uint8_t head[HEAD_BYTES];
            bool has_key;
            bool size_known; /* until somebody else may have moved it: each lock forgets it */
            sqlite3_int64 size;
            unsigned wal_readers; /* WAL snapshot locks this connection holds: 0 or 1 */
            bool wal_writer;      /* it holds the WAL's write lock */
        } db;
        struct {
            sqlite3_int64 pending; /* frame whose header waits for its page, or -1 */
            uint8_t header[FRAME_HEADER_BYTES];
        } wal;
        struct {
            enum { RECORD_NONE, RECORD_NUMBER, RECORD_PAGE } state;
            sqlite3_int64 at; /* RECORD_*: offset of the record being put together in record */
            uint8_t record[RECORD_BYTES];
            sqlite3_int64 read_at; /* offset of the record whose checksum is in read_sum, or -1 */
            uint8_t read_sum[4];
            bool written; /* this handle sealed records itself: a bad one is damage, not a torn tail
                           */
        } * journal;
        struct {
            uint64_t number;
            sqlite3_int64 size;   /* clear bytes */
            sqlite3_int64 blocks; /* blocks on the disk or in work->block */
            sqlite3_int64 cached; /* block in work->block, or -1 */
            bool dirty;
        } temp;
    };
};

/* seal.c: the only place that calls libsodium's ciphers. */
int node_crypt_keys_new(uint8_t **keys, const uint8_t data_key[NODE_CRYPTVFS_KEY_BYTES]);
void node_crypt_keys_free(uint8_t *keys);
void node_crypt_wipe(void *p, size_t bytes);
void node_crypt_random(void *p, size_t bytes);
/* Derives the file's key into guarded memory and its check value. */
int node_crypt_file_key(const struct node_crypt_vfs *vfs, const uint8_t id[ID_BYTES], uint8_t **key,
                        uint8_t check[4]);
const uint8_t *node_crypt_temp_key(const struct node_crypt_vfs *vfs);
/* out may be in. tail: 40 bytes, nonce and tag. */
void node_crypt_seal(struct node_crypt_work *w, const uint8_t *key, uint8_t *out, const uint8_t *in,
                     size_t bytes, uint8_t tail[RESERVE_BYTES], const uint8_t *ad, size_t ad_bytes);
bool node_crypt_unseal(const uint8_t *key, uint8_t *out, const uint8_t *in, size_t bytes,
                       const uint8_t tail[RESERVE_BYTES], const uint8_t *ad, size_t ad_bytes);

static inline void node_crypt_put32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

static inline uint32_t node_crypt_get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void node_crypt_put64(uint8_t *p, uint64_t v)
{
    node_crypt_put32(p, (uint32_t)(v >> 32));
    node_crypt_put32(p + 4, (uint32_t)v);
}

/* db.c, wal.c, journal.c, temp.c: the methods of each kind. */
extern const sqlite3_io_methods node_crypt_db_methods;
extern const sqlite3_io_methods node_crypt_wal_methods;
extern const sqlite3_io_methods node_crypt_journal_methods;
extern const sqlite3_io_methods node_crypt_temp_methods;

/* db.c: page 1 as SQLite may write it: 4096-byte pages with 40 reserved. */
bool node_crypt_page1_fits(const uint8_t page[PAGE_BYTES]);
bool node_crypt_reserve_is_zero(const uint8_t page[PAGE_BYTES]);

/* vfs.c */
int node_crypt_owner(
    struct node_crypt_file *f); /* finds f->owner; SQLITE_IOERR_DATA if it has no key */
int node_crypt_close(sqlite3_file *file);
int node_crypt_lock(sqlite3_file *file, int level);
int node_crypt_unlock(sqlite3_file *file, int level);
int node_crypt_check_reserved(sqlite3_file *file, int *out);
int node_crypt_control(sqlite3_file *file, int op, void *arg);
int node_crypt_sector_bytes(sqlite3_file *file);
int node_crypt_device(sqlite3_file *file);
sqlite3_vfs *node_crypt_find(const char *vfs_name); /* NULL: not one of ours */
/* For tests: over another VFS than the operating system's. */
int node_cryptvfs_register_over(const char *vfs_name, const char *base_name,
                                const uint8_t data_key[NODE_CRYPTVFS_KEY_BYTES],
                                struct base_err *err);

#endif
