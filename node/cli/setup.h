/* node/cli/setup.h - between setup.c and readmit.c: what an invite leads to. */
#ifndef NODE_CLI_SETUP_H
#define NODE_CLI_SETUP_H

#include "node/cli/cli.h"
#include "node/cli/identity.h"
#include "node/cli/invite.h"
#include "sync/net/json.h"

void setup_gateway_url(char out[NODE_URL_BYTES_MAX], const struct node_invite *i);
/* The gateway's CA, if it has the invite's fingerprint, into the state folder. Nothing secret is sent before. */
int setup_fetch_ca(const char *dir, const char *gateway_url, const uint8_t ca[32],
                   struct base_err *err);
/* POST of a JSON body (wiped); the reply's object goes to cJSON_Delete, status beside it. */
int setup_post(const char *dir, const char *gateway_url, const char *path, struct base_buf *body,
               cJSON **reply, long *status, struct base_err *err);
/* The built-in private CA and the first certificate for the ward's network; host: names and addresses, NULL: localhost. */
int setup_certificates(const char *state_dir, const char *host, const char *node_name,
                       struct base_err *err);
/* BASE_EDENIED: what lies in the folder is a training node's. Nothing there yet: fine. */
int setup_not_training(const char *dir, const struct node_keys *keys, struct base_err *err);
int setup_read_reply(struct node_identity_file *f, const cJSON *o, struct base_err *err);
int setup_refused(const cJSON *o, long status, struct base_err *err);

/* everward setup INVITE --keep-outbox, the daemon not running. */
int node_readmit(const struct node_cli *cli, const struct node_invite *invite,
                 struct node_identity_file *out, struct base_err *err);
/* What a readmission that died has left to do; nothing: fine. Alone on the folder, before its keys and identity are read. */
int node_readmit_finish(const struct node_cli *cli, const char *dir, struct base_err *err);

#endif
