/*
 * sync/gateway/serve.h - the running gateway: from configuration to drained.
 */
#ifndef SYNC_GATEWAY_SERVE_H
#define SYNC_GATEWAY_SERVE_H

#include "sync/base/config.h"

enum { GW_FILE_BYTES_MAX = 1024 * 1024 };

/* Blocks until SIGTERM or SIGINT has been served: requests under way are finished, then everything
 * is closed. SIGHUP reads certificate and key anew; if they do not fit, the old ones stay. */
int gw_serve(const struct base_config *config, struct base_err *err);
/* A small file as a string, free() it. */
int gw_read_file(char **out, const char *path, struct base_err *err);

#endif
