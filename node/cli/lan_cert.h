/*
 * node/cli/lan_cert.h - the certificate of the built-in private CA for the ward's network.
 *
 * Does:      puts a new leaf in the place of one that has a third of its life left, with the same names under the same
 *            CA: tablets trust the CA and need nothing new. The CA's key is on the node, so that no line is needed.
 * Does not:  touch the hospital's own certificate, or renew the CA (ten years).
 * Thread:    any; one at a time per folder.
 * Invariant: dying between the two files leaves a pair that does not fit; the next look finds that and makes another.
 */
#ifndef NODE_CLI_LAN_CERT_H
#define NODE_CLI_LAN_CERT_H

#include <stdbool.h>
#include <stdint.h>

#include "sync/base/err.h"

/* dir: the state folder. *renewed: server.crt and server.key were written anew. */
int node_lan_cert_renew(const char *dir, int64_t now_s, bool *renewed, struct base_err *err);

#endif
