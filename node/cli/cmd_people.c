/*
 * everward pair, everward users: tablets and people, from the machine itself.
 */
#include <stdio.h>
#include <string.h>

#include "node/cli/call.h"
#include "sync/base/buf.h"

enum { REQUEST_BYTES_MAX = 8192 };

static cJSON *call_named(struct node_cli *cli, const char *command, const char *name,
                         const char *class, int *code)
{
    struct base_buf b;
    cJSON *o = NULL;
    base_buf_init(&b, REQUEST_BYTES_MAX);
    base_buf_printf(&b, "{\"command\":\"%s\",\"name\":", command);
    base_buf_json_str(&b, name);
    base_buf_str(&b, ",\"class\":");
    base_buf_json_str(&b, class);
    base_buf_char(&b, '}');
    *code = NODE_EXIT_TRY_AGAIN;
    if (base_buf_check(&b) == 0)
        o = node_cli_call(cli, b.data, code);
    base_buf_release(&b);
    return o;
}

static int done(struct node_cli *cli, cJSON *o, int code, const char *said)
{
    if (o == NULL)
        return code;
    if (cli->json)
        node_cli_print_json(o);
    else
        (void)printf("%s\n", said);
    cJSON_Delete(o);
    return NODE_EXIT_OK;
}

static int pair(struct node_cli *cli)
{
    int code;
    const char *class = cli->word_count > 1 ? cli->words[1] : "tablet";
    cJSON *o = call_named(cli, "pair", cli->words[0], class, &code);
    if (o == NULL)
        return code;
    if (cli->json)
        node_cli_print_json(o);
    else
        (void)printf("On the device, open this node's address with /pair and type\n\n    %s\n\n"
                     "or open  https://<this node>/pair#%s\n"
                     "Once, until %s.\n",
                     node_cli_text_of(o, "code"), node_cli_text_of(o, "token"),
                     node_cli_text_of(o, "expires_at"));
    cJSON_Delete(o);
    return NODE_EXIT_OK;
}

int node_cmd_pair(struct node_cli *cli)
{
    static const char *const columns[] = {"name",      "class",        "paired_at",  "paired_by",
                                          "last_user", "last_seen_at", "revoked_at", NULL};
    int code;
    const char *word = cli->word_count > 0 ? cli->words[0] : "list";
    if (strcmp(word, "list") == 0 && cli->word_count <= 1)
        return node_cli_print_list(cli, "{\"command\":\"devices\"}", columns,
                                   "no device is paired");
    if (strcmp(word, "revoke") == 0 && cli->word_count == 2) {
        cJSON *o = call_named(cli, "device_revoke", cli->words[1], NULL, &code);
        return done(cli, o, code, "revoked; its sessions are over");
    }
    if (cli->word_count > 2)
        return node_cli_usage("pair takes NAME [tablet|workstation|shared], list, or revoke NAME");
    return pair(cli);
}

int node_cmd_users(struct node_cli *cli)
{
    static const char *const columns[] = {"username", "state",         "name", "failures",
                                          "sessions", "last_login_at", NULL};
    int code;
    const char *word = cli->word_count > 0 ? cli->words[0] : "list";
    if (strcmp(word, "list") == 0 && cli->word_count <= 1)
        return node_cli_print_list(cli, "{\"command\":\"users\"}", columns,
                                   "the staff list is not here yet");
    if (strcmp(word, "unlock") == 0 && cli->word_count == 2) {
        cJSON *o = call_named(cli, "user_unlock", cli->words[1], NULL, &code);
        return done(cli, o, code, "failed logins are forgotten");
    }
    if (strcmp(word, "logout") == 0 && cli->word_count == 2) {
        cJSON *o = call_named(cli, "user_logout", cli->words[1], NULL, &code);
        return done(cli, o, code, "their sessions at this node are over");
    }
    return node_cli_usage("users takes list, unlock NAME or logout NAME");
}
