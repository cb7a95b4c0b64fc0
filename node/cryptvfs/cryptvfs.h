/*
 * node/cryptvfs/cryptvfs.h - SQLite files whose pages are sealed.
 *
 * Does:       registers a SQLite VFS over the operating system's. Database pages, WAL frames,
 * rollback and statement journals and temporary files are sealed with XChaCha20-Poly1305; a change
 * of any sealed byte is an error or, in recovery, the absence of that commit, never wrong data.
 * Does not:   keep or wrap the key (node/keys), or notice an old image of the whole file put back
 * (the incarnation and the centre's receipts do). Leaks:      file sizes, page numbers in WAL frame
 * and journal record headers and in -shm, file names in super-journals; a 24-byte header of the
 * database (magic, file id, page size). Thread:     any for register/unregister; a connection as
 * SQLite says. Not across fork(). Invariant:  every connection to a sealed file uses this VFS. A
 * backup or ATTACH through another VFS is a plain export: ask node_cryptvfs_sealed() about the
 * target first. Settings:   SQLite 3.40 to 3.49 can lose commits when a transaction spills its
 * cache into the WAL and is then partly rolled back: writers set PRAGMA cache_spill=OFF
 * (docs/SECURITY.md).
 */
#ifndef NODE_CRYPTVFS_CRYPTVFS_H
#define NODE_CRYPTVFS_CRYPTVFS_H

#include <stdbool.h>
#include <stdint.h>

#include "sync/base/err.h"

struct sqlite3;

enum {
    NODE_CRYPTVFS_KEY_BYTES = 32,
    NODE_CRYPTVFS_PAGE_BYTES = 4096,
    NODE_CRYPTVFS_RESERVE_BYTES = 40, /* 24 nonce, 16 tag at the end of each page */
    NODE_CRYPTVFS_NAME_BYTES_MAX = 63,
    NODE_CRYPTVFS_OPEN_WAIT_MS = 5000 /* how long an open waits for another process's recovery */
};

/* The key is copied into guarded memory. BASE_EEXISTS: a VFS of that name exists. */
int node_cryptvfs_register(const char *vfs_name, const uint8_t data_key[NODE_CRYPTVFS_KEY_BYTES],
                           struct base_err *err);

/* Wipes the key. BASE_EBUSY while a file is open, BASE_ENOTFOUND if the name is not one of ours. */
int node_cryptvfs_unregister(const char *vfs_name);

/*
 * Opens path (a file name, no URI, no ":memory:") with flags as for sqlite3_open_v2 (SQLITE_OPEN_URI:
 * ATTACH and VACUUM INTO may name another sealing VFS by "?vfs="); close with sqlite3_close. A new file gets pages of 4096 bytes with 40 reserved at its first write.
 * The busy timeout is 0 afterwards.
 * BASE_EKEY: the key does not fit. BASE_ECORRUPT: damaged or tampered with. BASE_EINVALID: a plain
 * SQLite database or something else. BASE_ENOTFOUND, BASE_EBUSY, BASE_EDENIED, BASE_EFULL,
 * BASE_EIO, BASE_ENOMEM.
 */
int node_cryptvfs_open(const char *vfs_name, const char *path, int sqlite_open_flags,
                       struct sqlite3 **out, struct base_err *err);

/* Before the first write to an attached new file; harmless on others. schema: the name given in
 * ATTACH. */
int node_cryptvfs_prepare(struct sqlite3 *db, const char *schema, struct base_err *err);

/* True if that schema's file ("main", an attached name) is sealed by this VFS: a copy into it stays
 * unreadable. */
bool node_cryptvfs_sealed(struct sqlite3 *db, const char *schema);

#endif
