/*
 * node/people/standing.h - what the centre says about one member of staff at this moment.
 *
 * Nothing here decides: node/engine asks, node/people judges. Times as the centre writes them.
 */
#ifndef NODE_PEOPLE_STANDING_H
#define NODE_PEOPLE_STANDING_H

#include <stdbool.h>
#include <stdint.h>

enum { NODE_STANDING_MS = 2000 /* after that the node's own list decides */ };

struct node_standing {
    bool answered; /* false: the centre was not reached in time; nothing else is set */
    bool known, active, has_verifier;
    char revoked_at[40], valid_until_at[40]; /* "": none */
    uint8_t verifier_hash[32];               /* seal_hash of the verifier's text */
};
typedef void (*node_standing_cb)(void *user, const struct node_standing *s);

#endif
