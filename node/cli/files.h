/*
 * node/cli/files.h - small files of the state folder, written so that each is absent or complete whatever moment the
 * machine dies: temporary file, fsync, rename, fsync of the folder. Mode 0600.
 */
#ifndef NODE_CLI_FILES_H
#define NODE_CLI_FILES_H

#include <stdbool.h>

#include "sync/base/buf.h"
#include "sync/base/err.h"

enum { NODE_FILE_BYTES_MAX = 1024 * 1024, NODE_PATH_BYTES_MAX = 4096 };

int node_file_write(const char *dir, const char *name, const void *bytes, size_t len,
                    struct base_err *err);
int node_file_read(const char *dir, const char *name, struct base_buf *out,
                   struct base_err *err); /* BASE_ENOTFOUND */
bool node_file_exists(const char *dir, const char *name);
/* Makes the folder (mode 0700), or refuses one that others own or may read. */
int node_state_dir_make(const char *dir, struct base_err *err);
int node_state_dir_check(const char *dir, struct base_err *err); /* the same, without making it */
/* "dir/name" */
void node_path(char out[NODE_PATH_BYTES_MAX], const char *dir, const char *name);

#endif
