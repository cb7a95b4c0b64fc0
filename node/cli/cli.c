#include "node/cli/cli.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "node/cli/files.h"
#include "node/store/copy.h"

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

/* Which of the two opens the store? Asked, not guessed: dropping the wrong one would lose everything. */
static int settle_next(const char *dir, const struct node_keys_source *source,
                       const struct node_keys *now, struct base_err *err)
{
    char path[NODE_PATH_BYTES_MAX];
    struct node_keys *next = NULL;
    struct node_store_facts facts;
    struct base_err ignored = {0};
    node_path(path, dir, "node.db");
    if (!node_file_exists(dir, NODE_KEYS_NEXT_FILE))
        return 0;
    if (node_store_look(path, node_keys_data(now), &facts, &ignored) == 0) {
        node_path(path, dir, "node.db.next");
        (void)unlink(path);
        return node_keys_next_drop(dir, err);
    }
    int rc = node_keys_next_open(dir, source, &next, err);
    if (rc == 0)
        rc = node_store_look(path, node_keys_data(next), &facts, err);
    node_keys_free(next);
    return rc == 0 ? node_keys_next_take(dir, err)
                   : base_err_prefix(err, rc, "neither %s nor %s opens the store", NODE_KEYS_FILE,
                                     NODE_KEYS_NEXT_FILE);
}

int node_cli_keys_open(const struct node_cli *cli, struct node_keys **out, struct base_err *err)
{
    char key_file[NODE_PATH_BYTES_MAX];
    struct node_keys_source source;
    struct node_keys *keys = NULL;
    const char *dir = node_cli_state_dir(cli);
    bool half = node_file_exists(dir, NODE_KEYS_NEXT_FILE);
    int rc = node_cli_key_source(cli, &source, key_file, sizeof key_file, err);
    if (rc == 0)
        rc = node_keys_open(dir, &source, &keys, err);
    if (rc == 0 && half) {
        rc = settle_next(dir, &source, keys, err);
        node_keys_free(keys);
        keys = NULL;
        if (rc == 0)
            rc = node_keys_open(dir, &source, &keys, err);
    }
    if (rc == 0)
        *out = keys;
    else
        node_keys_free(keys);
    return rc;
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
