/*
 * node/cli/cli.h - the command line of `everward`.
 */
#ifndef NODE_CLI_CLI_H
#define NODE_CLI_CLI_H

#include <stdbool.h>

#include "node/keys/keys.h"
#include "sync/base/config.h"

/* sysexits.h has most of them; the meanings are design's (node.md). */
enum node_exit {
    NODE_EXIT_OK = 0,
    NODE_EXIT_BEHIND = 1,    /* status: behind or offline */
    NODE_EXIT_ATTENTION = 2, /* status: needs attention */
    NODE_EXIT_USAGE = 64,
    NODE_EXIT_UNAVAILABLE = 69,
    NODE_EXIT_SOFTWARE = 70,
    NODE_EXIT_TRY_AGAIN = 75,
    NODE_EXIT_REFUSED = 77,
    NODE_EXIT_CONFIG = 78
};

enum { NODE_CLI_WORDS_MAX = 8 };

struct node_cli {
    const char *config_path;           /* NULL: /etc/everward/everward.conf if it is there */
    const char *state_dir;             /* --state-dir, or NULL */
    const char *name, *host;           /* --name, --host of setup */
    const char *escrow, *recovery_key; /* files; restore */
    const char *out;                   /* folder; downtime open */
    const char *secret_file, *passphrase_file; /* downtime */
    bool json, origin, verify, keep_outbox;
    int word_count;
    const char *words[NODE_CLI_WORDS_MAX]; /* behind the command */
    struct base_config *config;            /* loaded before the command runs */
};

const char *node_cli_state_dir(const struct node_cli *cli);
/* The wrapping key's source by the configuration. key_file: room for a path that lives as long as the source. */
int node_cli_key_source(const struct node_cli *cli, struct node_keys_source *out, char *key_file,
                        size_t key_file_bytes, struct base_err *err);
/* The node's keys; what a change of the data key left half done is settled first. Alone on the folder. */
int node_cli_keys_open(const struct node_cli *cli, struct node_keys **out, struct base_err *err);
/* Prints "everward: text" to stderr and gives the exit code that fits the error. */
int node_cli_fail(const struct base_err *err);

int node_cmd_setup(struct node_cli *cli);
int node_cmd_training(struct node_cli *cli);
int node_cmd_serve(struct node_cli *cli);
int node_cmd_status(struct node_cli *cli);
int node_cmd_verify(struct node_cli *cli);
int node_cmd_link(struct node_cli *cli);
int node_cmd_quarantine(struct node_cli *cli);
int node_cmd_rejoin(struct node_cli *cli);
int node_cmd_conflicts(struct node_cli *cli);
int node_cmd_export_outbox(struct node_cli *cli);
int node_cmd_backup(struct node_cli *cli);
int node_cmd_restore(struct node_cli *cli);
int node_cmd_downtime(struct node_cli *cli);
int node_cmd_keys(struct node_cli *cli);
int node_cmd_pair(struct node_cli *cli);
int node_cmd_users(struct node_cli *cli);
int node_cmd_audit(struct node_cli *cli);
int node_cmd_config(struct node_cli *cli);
int node_cmd_version(struct node_cli *cli);

#endif
