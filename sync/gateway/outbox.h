/*
 * sync/gateway/outbox.h - a node's exported outbox, opened with the tenant's recovery key.
 *
 * Does:      tell a foreign, damaged or cut file and a wrong key apart; whole or not at all.
 * Does not:  check who wrote the batches: that is push_decode.c's.
 */
#ifndef SYNC_GATEWAY_OUTBOX_H
#define SYNC_GATEWAY_OUTBOX_H

#include "sync/base/buf.h"
#include "sync/base/uuid.h"
#include "sync/gateway/cli.h"

enum { GW_OUTBOX_PIECES_MAX = 16384 };

struct gw_outbox {
    struct base_uuid node_id;
    uint8_t sha256[32];    /* of the sealed file */
    struct base_buf bytes; /* plain: wiped by _release */
    size_t ends[GW_OUTBOX_PIECES_MAX];
    int count; /* push bodies; the k-th ends at ends[k] */
};

/* BASE_EINVALID no such file, BASE_EKEY another recovery key's, BASE_EDENIED another tenant's, BASE_ECORRUPT. */
int gw_outbox_read(struct gw_outbox *o, const char *path, const char *tenant,
                   const char *secret_path, struct base_err *err);
void gw_outbox_release(struct gw_outbox *o);

#endif
