/*
 * node/cli/backup.h - the whole node in one sealed file, and back.
 *
 * Does:       makes a bundle beside a running daemon, reads one, puts one back into an empty state folder.
 * Does not:   hold the wrapping key: keys.sealed is in the bundle as it is; a key file must be kept elsewhere.
 * Thread:     any but the loop's: these block for as long as the store is large.
 * Invariant:  a bundle has its final name only when it is whole and synced; a state folder has an identity only when
 *             everything else is in it. Dying anywhere: run it again.
 *
 * Version 1: "EWBACKUP1\n" | header, one line of JSON | keys.sealed | box (label "everward backup", known: the header
 * line) of a JSON object: the small files of the state folder, and the store's hash | the store (pages sealed).
 * The hash is BLAKE2b-256 over chunks of 1 MiB: h = BLAKE2b-256(h ‖ chunk), from 32 zeros.
 */
#ifndef NODE_CLI_BACKUP_H
#define NODE_CLI_BACKUP_H

#include "node/keys/keys.h"
#include "node/store/copy.h"
#include "sync/base/buf.h"

enum { NODE_BACKUP_HEADER_BYTES_MAX = 4096, NODE_BACKUP_SMALL_BYTES_MAX = 1024 * 1024 };

struct node_backup_facts {
    struct node_store_facts store;
    int64_t store_bytes, keys_bytes, box_bytes;
    char at[32];
    char header[NODE_BACKUP_HEADER_BYTES_MAX];
};

/* BASE_EEXISTS: there is a file of that name. */
int node_backup_make(const char *state_dir, const struct node_keys *keys, const char *to,
                     struct node_backup_facts *out, struct base_err *err);
/* What the header says; nothing is checked but its form. */
int node_backup_look(const char *bundle, struct node_backup_facts *out, struct base_err *err);
/* keys.sealed of the bundle, into the folder; one that is there must be the same (BASE_EEXISTS). */
int node_backup_keys(const char *bundle, const char *state_dir, struct base_err *err);
/* Everything else. scratch: to see whether it could be done; the node is not told that it was restored. */
int node_backup_restore(const char *bundle, const char *state_dir, const struct node_keys *keys,
                        bool scratch, struct node_backup_facts *out, struct base_err *err);

/* Makes it and, with verify, puts it back for real into a scratch folder beside it, looks through all of it, and removes
 * that folder. */
int node_backup_make_verified(const char *state_dir, const struct node_keys *keys, const char *to,
                              bool verify, struct node_backup_facts *out, struct base_err *err);

#endif
