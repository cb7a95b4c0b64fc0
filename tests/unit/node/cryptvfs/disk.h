/*
 * tests/unit/node/cryptvfs/disk.h - a disk in memory, as a SQLite VFS, whose power can be cut.
 *
 * Until a file is synced, its writes and truncations are only promised. A power cut keeps each
 * promise whole, in part (by sectors of 512 bytes) or not at all, each for itself: so writes are
 * lost, torn and reordered. Creation and deletion are promised until the file or its folder is
 * synced. One connection at a time: locks and shared memory are only simulated for it.
 */
#ifndef TESTS_CRYPTVFS_DISK_H
#define TESTS_CRYPTVFS_DISK_H

#include <stdint.h>

#define DISK_VFS "disk"

int disk_register(void);
void disk_unregister(void); /* forgets all files */
void disk_clear(void);
/* From the given number of operations on, everything fails, as before a power cut. Negative: never.
 */
void disk_fail_after(long operations);
long disk_operations(void);
int disk_has_failed(void);
/* Decides about every promise with seed and forgets the rest; files must be closed. */
void disk_cut_power(uint64_t seed);

#endif
