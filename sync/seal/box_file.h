/*
 * sync/seal/box_file.h - a file of pieces that only the tenant's recovery key opens (an exported outbox).
 *
 *   "EWOUTBX1" | tenant 16 | node 16 | recovery public key 32 | frame…
 *   frame: length of the box, 4 bytes, big-endian | sealed box (X25519) of:
 *          index from 0, 4 bytes | 1 in the last frame, else 0, 4 bytes | tenant 16 | node 16 | piece
 *
 * Does:      show a frame that is lost, doubled, moved, cut, changed or another file's.
 * Does not:  say who made it: anybody can seal for a public key. The pieces are signed batches.
 * The last frame's piece is empty.
 */
#ifndef SYNC_SEAL_BOX_FILE_H
#define SYNC_SEAL_BOX_FILE_H

#include <stdbool.h>

#include "sync/base/buf.h"
#include "sync/base/err.h"
#include "sync/base/uuid.h"

enum { SEAL_BOX_FILE_PIECE_BYTES_MAX = 40 * 1024 * 1024, SEAL_BOX_FILE_HEAD_BYTES = 72 };

struct seal_box_file {
    struct base_uuid tenant_id, node_id;
    uint8_t recovery_key[32];
    uint32_t next; /* frame; 0 at first */
    bool ended;
};

void seal_box_file_begin(struct base_buf *out, const struct seal_box_file *f);
/* len 0: the last one. */
int seal_box_file_add(struct base_buf *out, struct seal_box_file *f, const void *piece, size_t len,
                      struct base_err *err);

/* BASE_EINVALID: not such a file. */
int seal_box_file_head(struct seal_box_file *f, const char *bytes, size_t len,
                       struct base_err *err);
/* One frame from bytes; *used: its length; the piece is appended to out. BASE_EKEY: another key's; BASE_ECORRUPT. */
int seal_box_file_next(struct seal_box_file *f, const uint8_t secret[32], const char *bytes,
                       size_t len, size_t *used, struct base_buf *out, struct base_err *err);

#endif
