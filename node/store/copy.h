/*
 * node/store/copy.h - the replica's file as a whole: copied while it is in use, looked through, made ready after a restore.
 *
 * Thread: any but the loop's: these block. Connections of their own, beside those of an open store.
 */
#ifndef NODE_STORE_COPY_H
#define NODE_STORE_COPY_H

#include "node/store/store.h"

struct node_store_facts {
    struct node_identity id;
    int64_t last_seq, acked_seq, audit_entries, catalog_version, changes_unsent;
    uint8_t audit_chain[32];
};

/* <dir>/node.db as of one moment into the new file `to`, sealed under new_key (NULL: the same key), synced. What is
 * written meanwhile is not in it. BASE_EEXISTS: there is a file. On failure nothing is left. */
int node_store_copy(const char *dir, const uint8_t data_key[32], const uint8_t *new_key,
                    const char *to, struct base_err *err);

/* What stands in it, without looking at every page. */
int node_store_look(const char *path, const uint8_t data_key[32], struct node_store_facts *out,
                    struct base_err *err);
/* Opens the file, reads every page (integrity_check) and every audit entry. public_key: of the node (signed heads). */
int node_store_check(const char *path, const uint8_t data_key[32], const uint8_t audit_key[32],
                     const uint8_t public_key[32], struct node_store_facts *out,
                     struct base_err *err);

/* A file that was put back from a backup: its audit trail begins its next life, and _meta "restored" tells the engine. */
int node_store_restored(const char *path, const uint8_t data_key[32], const uint8_t audit_key[32],
                        struct base_err *err);

/* The centre has let the node come back, and calls tenant, site and node so: its next life begins at the next contact, the
 * keys go to the safe anew. Done again it changes nothing. */
int node_store_readmitted(const char *path, const uint8_t data_key[32], const uint8_t audit_key[32],
                          const struct node_identity *id, struct base_err *err);

/*
 * The store under another data key, while it is open: writes wait, reads go on. For node_store_write with job.write and
 * job.exclusive set. The copy is made first; then, with nothing in the WAL, the file takes the old one's place and every
 * connection is opened anew at its next job. taken: called right behind that, on the writer's thread (keys.next becomes
 * keys.sealed). rc 0: the old key opens nothing here any more.
 */
struct node_rekey {
    struct node_job job;
    const char *dir;
    const uint8_t *old_key, *new_key; /* 32 bytes each, until done */
    int (*taken)(struct node_rekey *r, struct base_err *err);
    bool placed; /* out: the store is under the new key, whatever rc says of the rest */
};
/* The same without an open store. */
int node_store_rekey_closed(struct node_rekey *r, struct base_err *err);

#endif
