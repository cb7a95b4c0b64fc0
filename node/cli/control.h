/*
 * node/cli/control.h - the daemon's own socket (<state_dir>/control.sock, mode 0600): one JSON line in, one JSON line out.
 *
 * Server: on the loop. Client: blocking, for the command line.
 */
#ifndef NODE_CLI_CONTROL_H
#define NODE_CLI_CONTROL_H

#include "node/engine/engine.h"
#include "sync/base/buf.h"

enum { NODE_CONTROL_BYTES_MAX = 4 * 1024 * 1024, NODE_CONTROL_CLIENTS_MAX = 16 };

#define NODE_CONTROL_SOCKET "control.sock"

struct node_control;

int node_control_start(struct node_control **out, struct uv_loop_s *loop, const char *state_dir,
                       struct node_store *store, struct node_engine *engine, struct base_err *err);
struct node_api;
/* For what must reach sessions that are open. */
void node_control_api(struct node_control *c, struct node_api *api);
struct node_cli;
/* What signatures are checked, backups sealed and other data keys made with; borrowed. At once after the start. */
void node_control_keys(struct node_control *c, const struct node_cli *cli, struct node_keys *keys);
/* Makes a backup in the first folder of node.export_dirs and opens it again; how it ended stands in the trail. One at a time
 * (BASE_EBUSY). */
int node_control_backup(struct node_control *c, struct base_err *err);
/* Closes socket and clients; done once everything is closed. */
void node_control_stop(struct node_control *c, void (*done)(void *user), void *user);

/* Client. request: one JSON object without newline. BASE_EUNREACHABLE: the daemon does not run. */
int node_control_call(const char *state_dir, const char *request, struct base_buf *reply,
                      struct base_err *err);

#endif
