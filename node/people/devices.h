/*
 * node/people/devices.h - tablets of this node: offered, paired, listed, revoked.
 *
 * Does not:   know HTTP, or hold anything in memory: a device is looked up in the store when somebody logs in or
 *             unlocks there.
 * Thread:     jobs. What sessions must learn afterwards is told on the loop (people.h).
 * Invariant:  an offer makes at most one device: it is deleted in the transaction that makes it. Secrets, tokens
 *             and codes are kept as hashes only.
 * Limits:     NODE_DEVICES_MAX devices that are not revoked, NODE_PAIRINGS_MAX offers at a time.
 */
#ifndef NODE_PEOPLE_DEVICES_H
#define NODE_PEOPLE_DEVICES_H

#include "node/people/people.h"
#include "node/store/rows.h"

enum {
    NODE_DEVICES_MAX = 1000,
    NODE_DEVICES_REVOKED_MAX = 200, /* shown; older ones are forgotten */
    NODE_PAIRINGS_MAX = 16,
    NODE_PAIRING_LIFE_MS = 10 * 60 * 1000,
    NODE_PAIRING_CODE_CHARS = 8
};

struct node_pairing {
    char token[NODE_SESSION_TOKEN_CHARS + 1];
    char code[NODE_PAIRING_CODE_CHARS + 2]; /* with a hyphen in the middle */
    int64_t expires_ms;
};
/* BASE_EEXISTS: the name is taken. BASE_EFULL: too many devices or offers. author->actor zero: the command line. */
int node_pairing_make(struct node_db *db, const struct node_author *author, const char *name,
                      enum node_device_class class, int64_t now_ms, struct node_pairing *out,
                      struct base_err *err);

struct node_device {
    struct node_device_name name;
    int64_t paired_ms, seen_ms, revoked_ms; /* 0: not */
    char paired_by[NODE_LOGIN_NAME_BYTES_MAX + 1], last_user[NODE_LOGIN_NAME_BYTES_MAX + 1];
    int sessions;
};
/* token or code, the other NULL. name: "" keeps that of the offer. BASE_ENOTFOUND: no such offer (any more).
 * secret: what the device must keep, once. */
int node_pairing_claim(struct node_db *db, const char *token, const char *code, const char *name,
                       const char *request_id, int64_t now_ms, struct node_device *out,
                       char secret[NODE_SESSION_TOKEN_CHARS + 1], struct base_err *err);

/* Base64url of 32 bytes to its hash; false: not one. */
bool node_secret_hash(uint8_t out[32], const char *text, size_t len);
int node_device_by_secret(struct node_db *db, const uint8_t secret_hash[32],
                          struct node_device *out, struct base_err *err);
int node_device_get(struct node_db *db, const struct base_uuid *id, struct node_device *out,
                    struct base_err *err);
/* Those in use by name, then the revoked, newest first. */
int node_device_each(struct node_db *db, void *user,
                     bool (*cb)(void *user, const struct node_device *d), struct base_err *err);
/* name NULL, class NULL: as it was. */
int node_device_change(struct node_db *db, const struct node_author *author,
                       const struct base_uuid *id, const char *name,
                       const enum node_device_class *class, struct base_err *err);
/* Its sessions are deleted, too. BASE_ENOTFOUND: no such device, or revoked already. */
int node_device_revoke(struct node_db *db, const struct node_author *author,
                       const struct base_uuid *id, int64_t now_ms, struct base_err *err);

#endif
