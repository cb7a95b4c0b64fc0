#include "node/cli/cli.h"

#include <stdio.h>
#include <string.h>

const char *node_cli_state_dir(const struct node_cli *cli)
{
    return cli->state_dir != NULL ? cli->state_dir
                                  : base_config_text(cli->config, "node", "state_dir");
}

int node_cli_key_source(const struct node_cli *cli, struct node_keys_source *out, char *key_file,
                        size_t key_file_bytes, struct base_err *err)
{
    const char *source = base_config_text(cli->config, "keys", "source");
    const char *file = base_config_text(cli->config, "keys", "key_file");
    const char *passphrase = base_config_text(cli->config, "keys", "passphrase_file");
    *out = (struct node_keys_source){.passphrase_fd = -1};
    if (strcmp(source, "credential") == 0) {
        out->credential = "everward.key";
    } else if (strcmp(source, "passphrase") == 0) {
        out->passphrase_file = passphrase[0] == '\0' ? NULL : passphrase;
        out->ask_terminal = passphrase[0] == '\0';
    } else if (strcmp(source, "file") == 0) {
        (void)snprintf(key_file, key_file_bytes, "%s%s",
                       file[0] == '\0' ? node_cli_state_dir(cli) : file,
                       file[0] == '\0' ? "/wrapping.key" : "");
        out->key_file = key_file;
    } else {
        return base_fail(err, BASE_EINVALID,
                         "keys.source must be file, passphrase or credential, not \"%s\"", source);
    }
    return 0;
}

static enum node_exit exit_of(int code)
{
    switch (code) {
    case BASE_EINVALID:
        return NODE_EXIT_CONFIG;
    case BASE_EDENIED:
    case BASE_EAUTH:
    case BASE_EKEY:
    case BASE_EFENCED:
    case BASE_EEXISTS:
        return NODE_EXIT_REFUSED;
    case BASE_ENOTFOUND:
    case BASE_EUNREACHABLE:
    case BASE_ECORRUPT:
        return NODE_EXIT_UNAVAILABLE;
    case BASE_EBUG:
        return NODE_EXIT_SOFTWARE;
    default:
        return base_code_class(code) == BASE_CLASS_RETRY ? NODE_EXIT_TRY_AGAIN
                                                         : NODE_EXIT_UNAVAILABLE;
    }
}

int node_cli_fail(const struct base_err *err)
{
    (void)fprintf(stderr, "everward: %s\n", err->text);
    return (int)exit_of(err->code);
}
