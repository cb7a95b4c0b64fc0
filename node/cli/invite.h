/*
 * node/cli/invite.h - reads the one line that enrols a node; it was pasted, so it may be anything.
 *
 * Does not: tell whether the invite is good, which only the gateway it names can say.
 */
#ifndef NODE_CLI_INVITE_H
#define NODE_CLI_INVITE_H

#include <stdint.h>

#include "sync/base/err.h"

enum { NODE_INVITE_HOST_BYTES_MAX = 255, NODE_INVITE_TOKEN_BYTES_MAX = 128 };

struct node_invite {
    char host[NODE_INVITE_HOST_BYTES_MAX + 1];
    int port;
    uint8_t ca[32]; /* fingerprint */
    char token[NODE_INVITE_TOKEN_BYTES_MAX + 1];
};

int node_invite_read(struct node_invite *out, const char *text, struct base_err *err);

#endif
