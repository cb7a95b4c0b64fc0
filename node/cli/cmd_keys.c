/* everward keys: what they are wrapped under, and their escrow. */
#include <stdio.h>
#include <string.h>

#include "node/cli/call.h"
#include "node/cli/files.h"
#include "sync/base/buf.h"

static const char usage_text[] = "keys takes rewrap file PATH, rewrap passphrase FILE, rewrap "
                                 "credential, rotate, rotate-signing, "
                                 "escrow, or accept-recovery KEY";

/* The same keys under another wrapping: one small file is written anew, also while the daemon runs. */
static int rewrap(struct node_cli *cli)
{
    char key_file[NODE_PATH_BYTES_MAX];
    struct base_err err = {0};
    struct node_keys_source now;
    struct node_keys_source next = {.passphrase_fd = -1};
    struct node_keys *keys = NULL;
    const char *word = cli->word_count > 1 ? cli->words[1] : "";
    const char *path = cli->word_count > 2 ? cli->words[2] : NULL;
    if (strcmp(word, "file") == 0 && path != NULL)
        next.key_file = path;
    else if (strcmp(word, "passphrase") == 0)
        next.passphrase_file = path;
    else if (strcmp(word, "credential") == 0)
        next.credential = "everward.key";
    else
        return node_cli_usage(usage_text);
    next.ask_terminal = strcmp(word, "passphrase") == 0 && path == NULL;
    int rc = node_cli_key_source(cli, &now, key_file, sizeof key_file, &err);
    if (rc == 0 && (node_file_exists(node_cli_state_dir(cli), NODE_KEYS_NEXT_FILE) ||
                    node_file_exists(node_cli_state_dir(cli), NODE_KEYS_SIGNING_FILE)))
        rc = base_fail(&err, BASE_EBUSY,
                       "another key is being changed; try again after the next start, or when the "
                       "centre knows it");
    if (rc == 0)
        rc = node_keys_open(node_cli_state_dir(cli), &now, &keys, &err);
    if (rc == 0 && next.key_file != NULL) {
        rc = node_keys_make_key_file(next.key_file, &err);
        rc = rc == BASE_EEXISTS ? 0 : rc;
    }
    if (rc == 0)
        rc = node_keys_rewrap(node_cli_state_dir(cli), keys, &next, &err);
    node_keys_free(keys);
    if (rc != 0)
        return node_cli_fail(&err);
    (void)printf(
        "wrapped anew; now set keys.source = %s%s%s, and destroy what wrapped them before\n", word,
        path == NULL                ? ""
        : strcmp(word, "file") == 0 ? ", keys.key_file = "
                                    : ", keys.passphrase_file = ",
        path == NULL ? "" : path);
    return NODE_EXIT_OK;
}

static int escrow(struct node_cli *cli)
{
    int code;
    cJSON *o = node_cli_call(cli, "{\"command\":\"escrow\"}", &code);
    if (o == NULL)
        return code;
    if (cli->json)
        node_cli_print_json(o);
    else
        (void)printf("%s\n", node_cli_text_of(o, "escrow"));
    cJSON_Delete(o);
    return NODE_EXIT_OK;
}

static int accept_recovery(struct node_cli *cli)
{
    int code = NODE_EXIT_TRY_AGAIN;
    struct base_buf b;
    base_buf_init(&b, 1024);
    base_buf_str(&b, "{\"command\":\"accept_recovery\",\"key\":");
    base_buf_json_str(&b, cli->words[1]);
    base_buf_char(&b, '}');
    cJSON *o = base_buf_check(&b) == 0 ? node_cli_call(cli, b.data, &code) : NULL;
    base_buf_release(&b);
    if (o == NULL)
        return code;
    (void)printf("the keys will be sealed for this recovery key at the next contact\n");
    cJSON_Delete(o);
    return NODE_EXIT_OK;
}

static int rotate(struct node_cli *cli)
{
    int code;
    cJSON *o = node_cli_call(cli, "{\"command\":\"rotate\"}", &code);
    if (o == NULL)
        return code;
    (void)printf("the store is sealed under another data key; backups made before still open with "
                 "what wrapped the keys of their time\n");
    cJSON_Delete(o);
    return NODE_EXIT_OK;
}

static int rotate_signing(struct node_cli *cli)
{
    int code;
    cJSON *o = node_cli_call(cli, "{\"command\":\"rotate_signing\"}", &code);
    if (o == NULL)
        return code;
    (void)printf("another signing key is made; the node signs with it once the centre knows it: at "
                 "once, or when the line is back\n");
    cJSON_Delete(o);
    return NODE_EXIT_OK;
}

int node_cmd_keys(struct node_cli *cli)
{
    const char *word = cli->word_count > 0 ? cli->words[0] : "";
    if (strcmp(word, "rewrap") == 0)
        return rewrap(cli);
    if (strcmp(word, "rotate") == 0 && cli->word_count == 1)
        return rotate(cli);
    if (strcmp(word, "rotate-signing") == 0 && cli->word_count == 1)
        return rotate_signing(cli);
    if (strcmp(word, "escrow") == 0 && cli->word_count == 1)
        return escrow(cli);
    if (strcmp(word, "accept-recovery") == 0 && cli->word_count == 2)
        return accept_recovery(cli);
    return node_cli_usage(usage_text);
}
