/* node/keys/internal.h - between keys.c, source.c and file.c. */
#ifndef NODE_KEYS_INTERNAL_H
#define NODE_KEYS_INTERNAL_H

#include <sys/types.h>

#include "node/keys/keys.h"

enum node_keys_wrapping { WRAPPING_KEY = 1, WRAPPING_PASSPHRASE = 2 };

/* What a source gave, in guarded memory. */
struct node_keys_wrap {
    enum node_keys_wrapping kind;
    size_t len;
    uint8_t *bytes; /* sodium_malloc */
    char from[160]; /* for messages: which source it was */
};

/* source.c. confirm: the terminal asks twice and a passphrase must be long enough. */
int node_keys_wrap_read(const struct node_keys_source *source, bool confirm,
                        struct node_keys_wrap *out, struct base_err *err);
void node_keys_wrap_release(struct node_keys_wrap *w);

/* A key itself, from a key file, or as 64 digits from the terminal if path is NULL or "". */
int node_keys_key_read(const char *path, struct node_keys_wrap *out, struct base_err *err);

/* file.c. Whole small files, durable when they return 0. */
int node_keys_file_read(const char *dir, const char *name, uint8_t *out, size_t bytes,
                        struct base_err *err);
/* replace false: BASE_EEXISTS if the file is there, checked in the same step that puts it there. */
int node_keys_file_write(const char *dir, const char *name, mode_t mode, const void *bytes,
                         size_t len, bool replace, struct base_err *err);

/* For tests: called before each step of node_keys_file_write; may _exit. */
extern void (*node_keys_step_hook)(int step);

#endif
