/* node/cli/call.h - what the commands share that ask the running daemon. */
#ifndef NODE_CLI_CALL_H
#define NODE_CLI_CALL_H

#include "node/cli/cli.h"
#include "sync/net/json.h"

/* Sends the request; NULL with *code set if it failed or the daemon answered with an error. */
cJSON *node_cli_call(struct node_cli *cli, const char *request, int *code);
void node_cli_print_json(const cJSON *o);
const char *node_cli_text_of(const cJSON *o, const char *name); /* "-": there is none */
int node_cli_usage(const char *text);
/* The answer's "items", one a line; or as JSON. */
int node_cli_print_list(struct node_cli *cli, const char *request, const char *const columns[],
                        const char *none);

#endif
