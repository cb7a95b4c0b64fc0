/*
 * everward-gateway: words and options to a command.
 */
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "sync/base/log.h"
#include "sync/gateway/cli.h"
#include "sync/gateway/settings.h"
#include "sync/seal/seal.h"

static const struct gw_command commands[] = {
    {"serve", " ", "", "Serves nodes until SIGTERM.", gw_cmd_serve},
    {"migrate", " --dsn ", "[--dsn CONNINFO]",
     "Brings the database's schema up to date (run it as a superuser).", gw_cmd_migrate},
    {"ca make", " --dir --name ", "--dir D --name HOST[,IP...]",
     "Makes a private CA and the gateway's certificate.", gw_cmd_ca_make},
    {"numbers set", " --tenant --system --prefix --digits --next ",
     "--tenant T --system S --digits N [--prefix P] [--next N]",
     "Sets the form of a tenant's record numbers; nodes are leased blocks of them.",
     gw_cmd_numbers_set},
    {"numbers show", " --tenant ", "--tenant T", "Lists the blocks leased, and how much is used.",
     gw_cmd_numbers_show},
    {"tenant add", " ", "NAME", "Adds a hospital (a tenant).", gw_cmd_tenant_add},
    {"tenant list", " ", "", "Lists tenants.", gw_cmd_tenant_list},
    {"site add", " --tenant ", "NAME --tenant T", "Adds a site to a tenant.", gw_cmd_site_add},
    {"site list", " --tenant ", "--tenant T", "Lists a tenant's sites.", gw_cmd_site_list},
    {"node invite", " --tenant --site --name !--keep-outbox ",
     "[NODE] --tenant T --site S | NODE --tenant T --keep-outbox",
     "Prints an invite for one node; or for one that is there, to come back with its outbox.",
     gw_cmd_node_invite},
    {"fleet open", " --tenant ", "--tenant T",
     "Prints a link that shows a tenant's nodes in one browser; 10 minutes, once.",
     gw_cmd_fleet_open},
    {"fleet close", " --tenant ", "--tenant T", "Ends every browser's sight of a tenant's nodes.",
     gw_cmd_fleet_close},
    {"node list", " --tenant ", "--tenant T", "Lists a tenant's nodes.", gw_cmd_node_list},
    {"node revoke", " --tenant ", "NODE --tenant T", "Lets a node in no longer.",
     gw_cmd_node_revoke},
    {"staff add", " --tenant --username --name --role --password-file ",
     "--tenant T --username U --name \"First Last\" --role R[,R...] [--password-file F|-]",
     "Adds a person who may log in at the nodes.", gw_cmd_staff_add},
    {"staff passwd", " --tenant --username --password-file ",
     "--tenant T --username U [--password-file F|-]", "Sets a person's password.",
     gw_cmd_staff_passwd},
    {"staff list", " --tenant ", "--tenant T", "Lists a tenant's staff.", gw_cmd_staff_list},
    {"node escrow", " --tenant ", "NODE --tenant T",
     "Prints a node's escrows, newest first, for everward restore --escrow.", gw_cmd_node_escrow},
    {"node wipe", " --tenant ", "[NODE] --tenant T",
     "Tells a node to destroy its keys once it holds nothing unsent; without NODE: how far it is.",
     gw_cmd_node_wipe},
    {"recovery make", " --tenant --secret-file ", "--tenant T --secret-file F",
     "Makes the tenant's recovery key; the secret half goes into the file alone.",
     gw_cmd_recovery_make},
    {"outbox open", " --tenant --secret-file ", "FILE OUT --tenant T --secret-file F",
     "Opens what a node exported sealed: signed batches with patient data.", gw_cmd_outbox_open},
    {"outbox accept", " --tenant --secret-file !--apply ",
     "FILE --tenant T --secret-file F [--apply]",
     "Tells what a sealed outbox would bring; --apply takes it in, late and to be reviewed.",
     gw_cmd_outbox_accept},
    {"audit report", " --tenant --patient --action ", "--tenant T [--patient ID] [--action A]",
     "Lists what the nodes' audit trails tell, newest first.", gw_cmd_audit_report},
    {"audit alarms", " --tenant ", "--tenant T",
     "Lists nodes whose audit trail did not go on from what was witnessed.", gw_cmd_audit_alarms},
    {"staff link", " --tenant --username --subject --issuer ",
     "--tenant T --username U --subject S [--issuer URL]",
     "Lets a person in by access tokens of the identity provider.", gw_cmd_staff_link},
    {"staff unlink", " --tenant --username ", "--tenant T --username U",
     "Takes back every such link of a person.", gw_cmd_staff_unlink},
    {"status", " ", "", "Tells how the centre is.", gw_cmd_status},
    {"feed compact", " --tenant --keep-days !--all-the-same ",
     "--tenant T [--keep-days 90] [--all-the-same]",
     "Forgets feed that is older and that every enrolled node has (or all the same).",
     gw_cmd_feed_compact},
    {"timeline renew", " ", "",
     "After the database was put back to an earlier copy: nodes offer again what it lost.",
     gw_cmd_timeline_renew},
    {"doctor", " ", "", "Checks that the database keeps tenants apart and captures every change.",
     gw_cmd_doctor},
    {"import fhir", " --tenant ", "PATH... --tenant T",
     "Loads FHIR NDJSON, resources or bundles into a tenant.", gw_cmd_import},
    {"config check", " ", "", "Checks the configuration.", gw_cmd_config_check},
    {"config show", " !--origin ", "[--origin]", "Prints every setting in force.",
     gw_cmd_config_show},
    {"version", " ", "", "Prints the version.", gw_cmd_version}};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void print_help(FILE *to)
{
    (void)fprintf(to, "usage: everward-gateway [--config FILE] [--json] COMMAND ...\n\n");
    for (size_t i = 0; i < COMMANDS; i++)
        (void)fprintf(to, "  %s %s\n      %s\n", commands[i].verb, commands[i].usage,
                      commands[i].help);
    (void)fprintf(to, "\nFirst time: ca make, migrate, tenant add, site add, staff add, serve, "
                      "node invite.\nTenants are named by name or uuid. --help works behind every "
                      "command.\n");
}

static bool takes(const struct gw_command *c, const char *name, bool *value)
{
    char needle[64];
    (void)snprintf(needle, sizeof needle, " %s ", name);
    *value = true;
    if (strstr(c->options, needle) != NULL)
        return true;
    (void)snprintf(needle, sizeof needle, " !%s ", name);
    *value = false;
    return strstr(c->options, needle) != NULL;
}

/* The verb is one or two leading words. */
static const struct gw_command *find(int argc, char **argv, int at, int *used)
{
    char two[64] = "";
    if (at + 1 < argc)
        (void)snprintf(two, sizeof two, "%s %s", argv[at], argv[at + 1]);
    for (size_t i = 0; at < argc && i < COMMANDS; i++) {
        *used = strcmp(commands[i].verb, two) == 0 ? 2 : strcmp(commands[i].verb, argv[at]) == 0;
        if (*used > 0)
            return &commands[i];
    }
    return NULL;
}

static int usage(const struct gw_command *c, const char *what, const char *arg)
{
    (void)fprintf(stderr, "everward-gateway %s: %s%s%s\n  usage: everward-gateway %s %s\n", c->verb,
                  what, arg[0] == '\0' ? "" : " ", arg, c->verb, c->usage);
    return GW_EXIT_USAGE;
}

/* Options that stand before or behind the verb; 1: taken (and its value), 0: not one, -1: broken.
 */
static int common(struct gw_cli *cli, int argc, char **argv, int *at)
{
    if (strcmp(argv[*at], "--json") == 0) {
        cli->json = true;
        return 1;
    }
    if (strcmp(argv[*at], "--help") == 0 || strcmp(argv[*at], "-h") == 0) {
        cli->help = true;
        return 1;
    }
    if (strcmp(argv[*at], "--config") != 0)
        return 0;
    if (*at + 1 >= argc)
        return -1;
    cli->config_path = argv[++*at];
    return 1;
}

static int read_args(struct gw_cli *cli, const struct gw_command *c, int argc, char **argv, int at)
{
    for (; at < argc; at++) {
        bool value = true;
        int taken = common(cli, argc, argv, &at);
        if (taken < 0)
            return usage(c, "--config needs a file", "");
        if (taken > 0)
            continue;
        if (cli->word_count == GW_ARGS_MAX || cli->option_count == GW_ARGS_MAX)
            return usage(c, "too many arguments", "");
        if (strncmp(argv[at], "--", 2) != 0) {
            cli->words[cli->word_count++] = argv[at];
            continue;
        }
        if (!takes(c, argv[at], &value))
            return usage(c, "unknown option", argv[at]);
        if (value && at + 1 >= argc)
            return usage(c, "a value is missing behind", argv[at]);
        cli->options[cli->option_count].name = argv[at];
        cli->options[cli->option_count++].value = value ? argv[++at] : "";
    }
    return 0;
}

static enum base_log_level level_of(const struct base_config *config)
{
    const char *s = base_config_text(config, "log", "level");
    return strcmp(s, "debug") == 0   ? BASE_LOG_DEBUG
           : strcmp(s, "warn") == 0  ? BASE_LOG_WARN
           : strcmp(s, "error") == 0 ? BASE_LOG_ERROR
                                     : BASE_LOG_INFO;
}

static int run(struct gw_cli *cli, const struct gw_command *c)
{
    struct base_err err = {0};
    base_log_init("everward-gateway", BASE_LOG_INFO);
    int rc = seal_init(&err);
    if (rc == 0)
        rc = gw_config_load(&cli->config, cli->config_path, &cli->config_used, &err);
    if (rc != 0)
        return gw_complain(GW_EXIT_CONFIG, err.text,
                           "Correct the setting, then run: everward-gateway config check");
    base_log_init("everward-gateway", level_of(cli->config));
    int code = c->run(cli);
    if (cli->pg != NULL)
        PQfinish(cli->pg);
    base_config_free(cli->config);
    return code;
}

/* Bodies of megabytes go back to the system as soon as they are freed, and threads share arenas: memory
 * stays flat, at the price of some page faults. */
static void keep_memory_flat(void)
{
    (void)mallopt(M_ARENA_MAX, 2);
    (void)mallopt(M_MMAP_THRESHOLD, 4 * 1024 * 1024);
    (void)mallopt(M_TRIM_THRESHOLD, 16 * 1024 * 1024);
}

int main(int argc, char **argv)
{
    keep_memory_flat();
    struct gw_cli cli = {.config_used = ""};
    int at = 1;
    int used = 0;
    while (at < argc && argv[at][0] == '-') {
        int taken = common(&cli, argc, argv, &at);
        if (taken <= 0 && strcmp(argv[at], "--version") != 0) {
            print_help(stderr);
            return GW_EXIT_USAGE;
        }
        if (taken <= 0)
            return gw_cmd_version(&cli);
        at++;
    }
    const struct gw_command *c = find(argc, argv, at, &used);
    if (c == NULL) {
        print_help(cli.help ? stdout : stderr);
        return cli.help ? GW_EXIT_OK : GW_EXIT_USAGE;
    }
    int code = read_args(&cli, c, argc, argv, at + used);
    if (code != 0)
        return code;
    if (cli.help) {
        (void)printf("usage: everward-gateway %s %s\n  %s\n", c->verb, c->usage, c->help);
        return GW_EXIT_OK;
    }
    return run(&cli, c);
}
