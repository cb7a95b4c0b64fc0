/*
 * node/engine/export.h - what the centre has not acknowledged, as a file of push batches.
 */
#ifndef NODE_ENGINE_EXPORT_H
#define NODE_ENGINE_EXPORT_H

#include "node/engine/engine.h"

/* Writes path (mode 0600, new): one zstd frame a batch, each a body of POST /sync/v1/push, sealed for the tenant's recovery key
 * (sync/seal/box_file.h) where this node knows one, else plain. done: changes written, or rc with text. */
typedef void (*node_exported_cb)(void *user, int rc, int64_t changes, bool sealed,
                                 const char *text);
int node_engine_export(struct node_engine *e, const char *path, void *user, node_exported_cb done,
                       struct base_err *err);

#endif
