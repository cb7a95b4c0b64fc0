/* node/cli/control_internal.h - the control socket's server as the files of its commands see it. */
#ifndef NODE_CLI_CONTROL_INTERNAL_H
#define NODE_CLI_CONTROL_INTERNAL_H

#include <uv.h>

#include "node/api/api.h"
#include "node/cli/control.h"
#include "sync/net/json.h"

enum { CONTROL_LINE_BYTES_MAX = 64 * 1024, CONTROL_LIST_MAX = 1000 };

struct client {
    uv_pipe_t pipe;
    uv_write_t write;
    struct node_control *c;
    struct client *next;
    struct base_buf in, out;
    bool gone, working;
};

struct node_control {
    uv_loop_t *loop;
    uv_pipe_t pipe;
    struct node_store *store;
    struct node_engine *engine;
    const struct node_cli *cli;
    struct node_keys *keys;
    bool rotating;
    struct node_api *api; /* NULL: not told */
    char state_dir[4096];
    struct client *clients;
    int client_count;
    bool stopping, pipe_gone;
    bool backing; /* a backup that nobody waits for is being made */
    void (*done)(void *user);
    void *user;
};

/* A command's job on the store; what its run writes to k->out is the answer. */
struct work {
    struct node_job job;
    struct client *k;
    int64_t seq;
    int listed;
};

void control_maybe_stopped(struct node_control *c); /* after the last of what a stop waits for */
void control_answer(struct client *k);
void control_answer_error(struct client *k, int rc, const char *text);
void control_answer_ok(struct client *k);
void control_add_text(struct base_buf *b, const char *name,
                      const char *value); /* ,"name":"value" */
void control_start_work(struct client *k,
                        int (*run)(struct node_job *, struct node_db *, struct base_err *),
                        bool write, int64_t seq);

/* control_audit.c */
void control_audit_verify(struct client *k, const cJSON *o);
void control_audit_report(struct client *k, const cJSON *o);

/* control_keys.c */
void control_escrow(struct client *k, const cJSON *o);
void control_accept_recovery(struct client *k, const cJSON *o);

/* control_people.c */
void control_pair(struct client *k, const cJSON *o);
void control_devices(struct client *k, const cJSON *o);
void control_device_revoke(struct client *k, const cJSON *o);
void control_users(struct client *k, const cJSON *o);
void control_user_unlock(struct client *k, const cJSON *o);
void control_user_logout(struct client *k, const cJSON *o);

/* control_rotate.c */
void control_rotate(struct client *k, const cJSON *o);
void control_rotate_signing(struct client *k, const cJSON *o);

/* control_backup.c */
void control_backup(struct client *k, const cJSON *o);

#endif
