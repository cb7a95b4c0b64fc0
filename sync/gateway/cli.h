/*
 * sync/gateway/cli.h - the operator's commands: one table of verbs, plain libpq, one statement
 * after the other.
 */
#ifndef SYNC_GATEWAY_CLI_H
#define SYNC_GATEWAY_CLI_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "sync/base/config.h"

/* sysexits, as far as they are used */
enum {
    GW_EXIT_OK = 0,
    GW_EXIT_FAILED = 1,
    GW_EXIT_USAGE = 64,
    GW_EXIT_UNAVAILABLE = 69,
    GW_EXIT_AGAIN = 75,
    GW_EXIT_REFUSED = 77,
    GW_EXIT_CONFIG = 78
};

enum { GW_ARGS_MAX = 64 };

struct gw_cli {
    const char *config_path;
    struct base_config *config;
    const char *config_used;
    bool json, help;
    /* after the verb: words, and options as they were given */
    const char *words[GW_ARGS_MAX];
    int word_count;
    struct {
        const char *name, *value;
    } options[GW_ARGS_MAX];
    int option_count;
    PGconn *pg;
};

struct gw_command {
    const char *verb; /* "node invite" */
    const char
        *options;      /* " --tenant --site ": what it takes, each with a value; "!" before: none */
    const char *usage; /* what stands behind the verb */
    const char *help;  /* one sentence */
    int (*run)(struct gw_cli *cli);
};

const char *gw_option(const struct gw_cli *cli, const char *name);
/* Says what is wrong and what to do next; returns the exit code. */
int gw_complain(int code, const char *what, const char *next) __attribute__((nonnull(2)));
/* The operator's connection (database.admin_dsn). 0 or an exit code, said. */
int gw_connect(struct gw_cli *cli);
/* One statement; NULL: it failed, *code says how and it was said. */
PGresult *gw_run(struct gw_cli *cli, int *code, const char *sql, int count,
                 const char *const values[]);
/* --tenant by name or uuid; out must hold 37 bytes. 0 or an exit code, said. */
int gw_tenant(struct gw_cli *cli, char out[37]);
/* Prints rows as an aligned table or, with --json, as an array of objects. */
void gw_print(const struct gw_cli *cli, const PGresult *r);
/* Where others reach this gateway. 0 or an exit code, said. */
int gw_place(struct gw_cli *cli, char host[256], int64_t *port);

int gw_cmd_migrate(struct gw_cli *cli);
int gw_cmd_serve(struct gw_cli *cli);
int gw_cmd_ca_make(struct gw_cli *cli);
int gw_cmd_tenant_add(struct gw_cli *cli);
int gw_cmd_numbers_set(struct gw_cli *cli);
int gw_cmd_numbers_show(struct gw_cli *cli);
int gw_cmd_tenant_list(struct gw_cli *cli);
int gw_cmd_site_add(struct gw_cli *cli);
int gw_cmd_site_list(struct gw_cli *cli);
int gw_cmd_fleet_open(struct gw_cli *cli);
int gw_cmd_fleet_close(struct gw_cli *cli);
int gw_cmd_node_invite(struct gw_cli *cli);
int gw_cmd_node_list(struct gw_cli *cli);
int gw_cmd_node_revoke(struct gw_cli *cli);
int gw_cmd_staff_add(struct gw_cli *cli);
int gw_cmd_staff_passwd(struct gw_cli *cli);
int gw_cmd_staff_list(struct gw_cli *cli);
int gw_cmd_node_escrow(struct gw_cli *cli);
int gw_cmd_node_wipe(struct gw_cli *cli);
int gw_cmd_recovery_make(struct gw_cli *cli);
int gw_cmd_outbox_open(struct gw_cli *cli);
int gw_cmd_outbox_accept(struct gw_cli *cli);
int gw_cmd_audit_report(struct gw_cli *cli);
int gw_cmd_audit_alarms(struct gw_cli *cli);
int gw_cmd_staff_link(struct gw_cli *cli);
int gw_cmd_staff_unlink(struct gw_cli *cli);
int gw_cmd_status(struct gw_cli *cli);
int gw_cmd_feed_compact(struct gw_cli *cli);
int gw_cmd_timeline_renew(struct gw_cli *cli);
int gw_cmd_doctor(struct gw_cli *cli);
/* How many leaks the database has, each logged; what serve asks before it serves. */
int gw_check_isolation(const struct base_config *config);
int gw_cmd_import(struct gw_cli *cli);
int gw_cmd_config_check(struct gw_cli *cli);
int gw_cmd_config_show(struct gw_cli *cli);
int gw_cmd_version(struct gw_cli *cli);

#endif
