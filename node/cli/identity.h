/*
 * node/cli/identity.h - who this node is and where its gateway is, as setup wrote it: identity.json in the state folder.
 *
 * The incarnation stands here as well as in the database: an old database put back under a newer identity is noticed.
 */
#ifndef NODE_CLI_IDENTITY_H
#define NODE_CLI_IDENTITY_H

#include "node/store/store.h"

enum { NODE_TICKET_BYTES = 32, NODE_URL_BYTES_MAX = 512 };

#define NODE_IDENTITY_FILE   "identity.json"
#define NODE_TICKET_FILE     "ticket"
#define NODE_GATEWAY_CA_FILE "gateway-ca.crt"

#define NODE_TRAINING_REFUSAL                                                                      \
    "this is a training node (synthetic patients): it has no line to a centre and can "            \
    "never get one. Set the node up in another, empty state folder"

struct node_identity_file {
    struct node_identity id;
    char gateway_url[NODE_URL_BYTES_MAX];
    char audience[128];
};

/* _as: under another name, while it is not the node's yet. */
int node_identity_write_as(const char *dir, const char *name, const struct node_identity_file *f,
                           struct base_err *err);
int node_identity_read_as(const char *dir, const char *name, struct node_identity_file *out,
                          struct base_err *err);
int node_ticket_read_as(const char *dir, const char *name, uint8_t out[NODE_TICKET_BYTES],
                        struct base_err *err);
int node_identity_write(const char *dir, const struct node_identity_file *f, struct base_err *err);
/* BASE_ENOTFOUND: not set up yet. */
int node_identity_read(const char *dir, struct node_identity_file *out, struct base_err *err);
int node_ticket_read(const char *dir, uint8_t out[NODE_TICKET_BYTES], struct base_err *err);

#endif
