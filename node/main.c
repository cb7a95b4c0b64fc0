/*
 * everward: words and options to a command.
 */
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/cli/cli.h"
#include "node/cli/settings.h"
#include "sync/base/log.h"
#include "sync/seal/seal.h"

static const struct command {
    const char *name, *usage, *help;
    int (*run)(struct node_cli *cli);
} commands[] = {
    {"setup", "INVITE [--name N] [--host NAME,IP...] [--keep-outbox]",
     "Enrols this node: paste the invite of `everward-gateway node invite`. --keep-outbox: a node "
     "that the centre let go, or that lost its identity, comes back with what it holds.",
     node_cmd_setup},
    {"training", "--state-dir DIR [--host NAME,IP...]",
     "Makes a node to practise on: synthetic patients, staff with a password that is printed once, "
     "no centre, now or later; \"TRAINING\" stands on every screen and page. Fresh data: delete "
     "DIR, run it again.",
     node_cmd_training},
    {"serve", "", "Serves the ward and keeps in step with the centre until SIGTERM.",
     node_cmd_serve},
    {"status", "[--json]",
     "Tells how it is. Exit 0 up to date, 1 behind or offline, 2 needs attention.",
     node_cmd_status},
    {"verify", "[--json]", "Compares every row with the centre and mends what differs.",
     node_cmd_verify},
    {"link", "down|up|test",
     "Closes or opens the line to the centre by hand (drills), or tries it step by step.",
     node_cmd_link},
    {"rejoin", "",
     "After this node was put back to an old copy: it goes on here, and no other copy does.",
     node_cmd_rejoin},
    {"quarantine", "list|retry SEQ|retry all|drop SEQ [--json]",
     "Changes the centre could not apply, and what to do with them.", node_cmd_quarantine},
    {"conflicts", "[--json]", "Lists what two people changed without seeing each other.",
     node_cmd_conflicts},
    {"export-outbox", "FILE",
     "Writes all changes the centre has not acknowledged to a file, sealed for the tenant's "
     "recovery "
     "key if there is one.",
     node_cmd_export_outbox},
    {"backup", "FILE [--verify]",
     "Writes the whole node into one sealed file, also while it runs; --verify restores it for "
     "real into a scratch folder.",
     node_cmd_backup},
    {"restore", "FILE [--escrow FILE --recovery-key FILE]",
     "Puts a backup into an empty state folder; with escrow and recovery key also if the wrapping "
     "key is lost.",
     node_cmd_restore},
    {"downtime",
     "key --secret-file F|--passphrase-file F; open FOLDER --out DIR --secret-file F|"
     "--passphrase-file F",
     "Makes the key that downtime packs are sealed for; opens them on any machine, without a node.",
     node_cmd_downtime},
    {"keys",
     "rewrap file PATH|passphrase FILE|credential; rotate; rotate-signing; escrow; "
     "accept-recovery KEY",
     "Changes what the keys are wrapped under, the data key or the signing key; prints the escrow.",
     node_cmd_keys},
    {"pair", "NAME [tablet|workstation|shared]|list|revoke NAME [--json]",
     "Pairs a tablet: prints a code for ten minutes. Lists and revokes tablets.", node_cmd_pair},
    {"users", "list|unlock NAME|logout NAME [--json]",
     "The people this node knows; forgets failed logins; ends sessions.", node_cmd_users},
    {"audit", "verify|report [patient ID] [actor ID] [action NAME] [break-glass] [before N]",
     "Checks the audit trail; tells who has seen a chart, newest first.", node_cmd_audit},
    {"config", "check|show [--origin]", "Checks or prints the configuration.", node_cmd_config},
    {"version", "", "Prints the version.", node_cmd_version},
};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void print_help(FILE *to)
{
    (void)fprintf(to, "usage: everward COMMAND [--config FILE] [--state-dir DIR] [--json] ...\n\n");
    for (size_t i = 0; i < COMMANDS; i++)
        (void)fprintf(to, "  %s %s\n      %s\n", commands[i].name, commands[i].usage,
                      commands[i].help);
    (void)fprintf(to,
                  "\nFirst time: setup, then serve. Settings: %s, or --config FILE; `everward "
                  "config show` prints them.\n",
                  NODE_CONFIG_PATH);
}

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

/* An option with a value; NULL: not this one. */
static const char **valued(struct node_cli *cli, const char *arg)
{
    if (strcmp(arg, "--config") == 0)
        return &cli->config_path;
    if (strcmp(arg, "--state-dir") == 0)
        return &cli->state_dir;
    if (strcmp(arg, "--name") == 0)
        return &cli->name;
    if (strcmp(arg, "--escrow") == 0)
        return &cli->escrow;
    if (strcmp(arg, "--recovery-key") == 0)
        return &cli->recovery_key;
    if (strcmp(arg, "--out") == 0)
        return &cli->out;
    if (strcmp(arg, "--secret-file") == 0)
        return &cli->secret_file;
    if (strcmp(arg, "--passphrase-file") == 0)
        return &cli->passphrase_file;
    return strcmp(arg, "--host") == 0 ? &cli->host : NULL;
}

static bool read_args(struct node_cli *cli, int argc, char **argv, const struct command **command)
{
    for (int i = 1; i < argc; i++) {
        const char **value = valued(cli, argv[i]);
        if (value != NULL && i + 1 < argc)
            *value = argv[++i];
        else if (strcmp(argv[i], "--json") == 0)
            cli->json = true;
        else if (strcmp(argv[i], "--origin") == 0)
            cli->origin = true;
        else if (strcmp(argv[i], "--keep-outbox") == 0)
            cli->keep_outbox = true;
        else if (strcmp(argv[i], "--verify") == 0)
            cli->verify = true;
        else if (argv[i][0] == '-' && argv[i][1] != '\0') {
            (void)fprintf(
                stderr, "everward: option %s is unknown or lacks its value; see everward --help\n",
                argv[i]);
            return false;
        } else if (*command == NULL) {
            *command = find(argv[i]);
            if (*command == NULL) {
                (void)fprintf(stderr, "everward: there is no command \"%s\"; see everward --help\n",
                              argv[i]);
                return false;
            }
        } else if (cli->word_count < NODE_CLI_WORDS_MAX) {
            cli->words[cli->word_count++] = argv[i];
        } else {
            (void)fprintf(stderr, "everward: too many words\n");
            return false;
        }
    }
    return true;
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0 ||
            (i == 1 && strcmp(argv[i], "help") == 0))
            return true;
    return false;
}

static enum base_log_level log_level(const struct base_config *config)
{
    const char *level = base_config_text(config, "log", "level");
    if (strcmp(level, "error") == 0)
        return BASE_LOG_ERROR;
    if (strcmp(level, "warn") == 0)
        return BASE_LOG_WARN;
    return strcmp(level, "debug") == 0 ? BASE_LOG_DEBUG : BASE_LOG_INFO;
}

static int run(struct node_cli *cli, const struct command *command)
{
    struct base_err err = {0};
    const char *path = cli->config_path;
    if (path == NULL && access(NODE_CONFIG_PATH, R_OK) == 0)
        path = NODE_CONFIG_PATH;
    if (base_config_load(&cli->config, node_settings, path, &err) != 0) {
        (void)fprintf(stderr, "everward: %s\n", err.text);
        return NODE_EXIT_CONFIG;
    }
    base_log_init("everward", log_level(cli->config));
    int code = command->run(cli);
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
    struct node_cli cli = {0};
    struct base_err err = {0};
    const struct command *command = NULL;
    (void)umask(0077); /* whatever a library makes in the state folder, too */
    if (argc < 2 || wants_help(argc, argv)) {
        print_help(argc < 2 ? stderr : stdout);
        return argc < 2 ? NODE_EXIT_USAGE : NODE_EXIT_OK;
    }
    if (!read_args(&cli, argc, argv, &command) || command == NULL)
        return NODE_EXIT_USAGE;
    if (node_keys_harden_process(&err) != 0 || seal_init(&err) != 0)
        return node_cli_fail(&err);
    return run(&cli, command);
}
