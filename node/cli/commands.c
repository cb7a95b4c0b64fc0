/*
 * The commands that speak to the running daemon. Results on stdout, messages on stderr.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/cli/call.h"
#include "node/cli/control.h"
#include "node/cli/settings.h"
#include "sync/net/json.h"

/* Sends the request; NULL with *code set if it failed or the daemon answered with an error. */
cJSON *node_cli_call(struct node_cli *cli, const char *request, int *code)
{
    struct base_buf reply;
    struct base_err err = {0};
    cJSON *o = NULL;
    const char *text = NULL;
    base_buf_init(&reply, NODE_CONTROL_BYTES_MAX);
    int rc = node_control_call(node_cli_state_dir(cli), request, &reply, &err);
    if (rc == 0)
        rc = net_json_parse(&o, reply.data, reply.len, &err);
    base_buf_release(&reply);
    if (rc != 0) {
        *code = node_cli_fail(&err);
        return NULL;
    }
    if (net_json_has(o, "error")) {
        int64_t number = 0;
        (void)net_json_str(o, "error", BASE_ERR_TEXT_BYTES, &text, NULL);
        (void)net_json_i64(o, "code", -100, 0, &number, NULL);
        (void)base_fail(&err, (int)number, "%s", text == NULL ? "refused" : text);
        *code = node_cli_fail(&err);
        cJSON_Delete(o);
        return NULL;
    }
    *code = NODE_EXIT_OK;
    return o;
}

void node_cli_print_json(const cJSON *o)
{
    struct base_buf b;
    base_buf_init(&b, NODE_CONTROL_BYTES_MAX);
    net_json_write(&b, o);
    (void)printf("%s\n", b.data == NULL ? "" : b.data);
    base_buf_release(&b);
}

const char *node_cli_text_of(const cJSON *o, const char *name)
{
    const cJSON *m = cJSON_GetObjectItemCaseSensitive(o, name);
    if (cJSON_IsNull(m) || m == NULL)
        return "-";
    if (cJSON_IsBool(m))
        return cJSON_IsTrue(m) ? "true" : "false";
    return m->valuestring == NULL ? "-" : m->valuestring;
}

int node_cli_usage(const char *text)
{
    (void)fprintf(stderr, "everward: %s; see everward --help\n", text);
    return NODE_EXIT_USAGE;
}

static int status_exit(const char *state)
{
    if (strcmp(state, "current") == 0)
        return NODE_EXIT_OK;
    return strcmp(state, "attention") == 0 ? NODE_EXIT_ATTENTION : NODE_EXIT_BEHIND;
}

static void print_status(const cJSON *o)
{
    static const struct {
        const char *label, *name;
    } lines[] = {{"since", "since"},
                 {"tenant", "tenant"},
                 {"node", "node"},
                 {"waiting changes", "pending"},
                 {"oldest since", "oldest_pending_at"},
                 {"quarantined", "quarantined"},
                 {"open conflicts", "conflicts_open"},
                 {"record numbers", "numbers_left"},
                 {"waiting for one", "numbers_owed"},
                 {"cut applied", "cursor"},
                 {"cut at the centre", "head"},
                 {"last push", "last_push_at"},
                 {"last pull", "last_pull_at"},
                 {"replica equal", "replica_equal"},
                 {"verified", "verified_at"},
                 {"clock offset, ms", "clock_offset_ms"},
                 {"downtime pack", "downtime_refreshed_at"}};
    (void)printf("%s\n", node_cli_text_of(o, "state"));
    if (strcmp(node_cli_text_of(o, "reason"), "-") != 0)
        (void)printf("  %s\n", node_cli_text_of(o, "reason"));
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        (void)printf("  %-18s %s\n", lines[i].label, node_cli_text_of(o, lines[i].name));
}

int node_cmd_status(struct node_cli *cli)
{
    int code;
    cJSON *o = node_cli_call(cli, "{\"command\":\"status\"}", &code);
    if (o == NULL)
        return code;
    code = status_exit(node_cli_text_of(o, "state"));
    if (cli->json)
        node_cli_print_json(o);
    else
        print_status(o);
    cJSON_Delete(o);
    return code;
}

int node_cmd_verify(struct node_cli *cli)
{
    int code;
    cJSON *o = node_cli_call(cli, "{\"command\":\"verify\"}", &code);
    if (o == NULL)
        return code;
    bool equal = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, "equal")) != 0;
    if (cli->json)
        node_cli_print_json(o);
    else
        (void)printf("%s: %s rows of %s tables compared, %s mended\n",
                     equal ? "equal to the centre" : "NOT equal to the centre",
                     node_cli_text_of(o, "rows"), node_cli_text_of(o, "tables"),
                     node_cli_text_of(o, "mended"));
    cJSON_Delete(o);
    return equal ? NODE_EXIT_OK : NODE_EXIT_ATTENTION;
}

/* A request whose answer is no more than "done". */
static int simple(struct node_cli *cli, const char *request, const char *said)
{
    int code;
    cJSON *o = node_cli_call(cli, request, &code);
    if (o == NULL)
        return code;
    if (cli->json)
        node_cli_print_json(o);
    else
        (void)printf("%s\n", said);
    cJSON_Delete(o);
    return NODE_EXIT_OK;
}

/* Each step with the time it was done at, up to the one that failed. */
static void print_probe(const cJSON *o)
{
    static const struct {
        const char *label, *time;
    } steps[] = {{"name found", "name_ms"},
                 {"machine reached", "connection_ms"},
                 {"certificate good", "certificate_ms"},
                 {"gateway answered", "answer_ms"}};
    bool good = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, "good")) != 0;
    (void)printf("%s\n", good ? "the centre lets this node in" : node_cli_text_of(o, "detail"));
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        (void)printf("  %-18s %s ms\n", steps[i].label, node_cli_text_of(o, steps[i].time));
}

static int link_test(struct node_cli *cli)
{
    int code;
    cJSON *o = node_cli_call(cli, "{\"command\":\"link_test\"}", &code);
    if (o == NULL)
        return code;
    bool good = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, "good")) != 0;
    if (cli->json)
        node_cli_print_json(o);
    else
        print_probe(o);
    cJSON_Delete(o);
    return good ? NODE_EXIT_OK : NODE_EXIT_BEHIND;
}

int node_cmd_link(struct node_cli *cli)
{
    if (cli->word_count == 1 && strcmp(cli->words[0], "test") == 0)
        return link_test(cli);
    if (cli->word_count == 1 && strcmp(cli->words[0], "down") == 0)
        return simple(cli, "{\"command\":\"link\",\"open\":false}",
                      "the line to the centre is closed until `everward link up`");
    if (cli->word_count == 1 && strcmp(cli->words[0], "up") == 0)
        return simple(cli, "{\"command\":\"link\",\"open\":true}",
                      "the line to the centre is open");
    return node_cli_usage("link takes down, up or test");
}

int node_cli_print_list(struct node_cli *cli, const char *request, const char *const columns[],
                        const char *none)
{
    int code;
    cJSON *o = node_cli_call(cli, request, &code);
    if (o == NULL)
        return code;
    const cJSON *items = cJSON_GetObjectItemCaseSensitive(o, "items");
    const cJSON *item;
    if (cli->json)
        node_cli_print_json(items);
    else if (cJSON_GetArraySize(items) == 0)
        (void)printf("%s\n", none);
    else
        cJSON_ArrayForEach(item, items) for (int i = 0; columns[i] != NULL; i++)(void) printf(
            "%s%s", node_cli_text_of(item, columns[i]), columns[i + 1] == NULL ? "\n" : "  ");
    cJSON_Delete(o);
    return NODE_EXIT_OK;
}

int node_cmd_rejoin(struct node_cli *cli)
{
    return simple(
        cli, "{\"command\":\"rejoin\"}",
        "this machine goes on as the node, in its next life; another copy of it is refused "
        "from now on");
}

int node_cmd_quarantine(struct node_cli *cli)
{
    static const char *const columns[] = {"seq",      "at",         "table",  "id",
                                          "sqlstate", "constraint", "reason", NULL};
    const char *word = cli->word_count > 0 ? cli->words[0] : "list";
    char request[96];
    char *end = NULL;
    if (strcmp(word, "list") == 0)
        return node_cli_print_list(cli, "{\"command\":\"quarantine\"}", columns,
                                   "nothing is quarantined");
    if ((strcmp(word, "retry") != 0 && strcmp(word, "drop") != 0) || cli->word_count != 2)
        return node_cli_usage("quarantine takes list, retry SEQ, retry all or drop SEQ");
    bool all = strcmp(word, "retry") == 0 && strcmp(cli->words[1], "all") == 0;
    long long seq = all ? 0 : strtoll(cli->words[1], &end, 10);
    if (!all && (*end != '\0' || seq < 1))
        return node_cli_usage("SEQ is the number that `everward quarantine list` shows first");
    (void)snprintf(request, sizeof request, "{\"command\":\"quarantine_%s\",\"seq\":%lld}", word,
                   seq);
    return simple(cli, request,
                  strcmp(word, "retry") == 0 ? "offered again, with what waited for it"
                                             : "dropped; the change stays in the log");
}

int node_cmd_conflicts(struct node_cli *cli)
{
    static const char *const columns[] = {"id",      "table_name",  "row_id",
                                          "columns", "decide_role", NULL};
    if (cli->word_count > 1 || (cli->word_count == 1 && strcmp(cli->words[0], "list") != 0))
        return node_cli_usage("conflicts takes list or nothing");
    return node_cli_print_list(cli, "{\"command\":\"conflicts\"}", columns, "no open conflict");
}

int node_cmd_export_outbox(struct node_cli *cli)
{
    int code = NODE_EXIT_TRY_AGAIN;
    struct base_buf b;
    if (cli->word_count != 1 || cli->words[0][0] != '/')
        return node_cli_usage("export-outbox takes the full path of a file to write");
    base_buf_init(&b, 8192);
    base_buf_str(&b, "{\"command\":\"export_outbox\",\"path\":");
    base_buf_json_str(&b, cli->words[0]);
    base_buf_char(&b, '}');
    cJSON *o = base_buf_check(&b) == 0 ? node_cli_call(cli, b.data, &code) : NULL;
    base_buf_release(&b);
    if (o == NULL)
        return code;
    (void)printf("%s changes written to %s\n", node_cli_text_of(o, "changes"), cli->words[0]);
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, "sealed")))
        (void)fprintf(stderr, "sealed: only the tenant's recovery key opens it\n");
    else
        (void)fprintf(stderr, "NOT sealed, plain patient data: this node knows no recovery key of "
                              "the tenant (everward-gateway recovery make)\n");
    cJSON_Delete(o);
    return NODE_EXIT_OK;
}

int node_cmd_config(struct node_cli *cli)
{
    const char *word = cli->word_count == 1 ? cli->words[0] : "";
    if (strcmp(word, "check") == 0) {
        (void)printf("the configuration is good\n"); /* it was loaded before we came here */
        return NODE_EXIT_OK;
    }
    if (strcmp(word, "show") != 0)
        return node_cli_usage("config takes check or show");
    for (const struct base_setting *s = node_settings; s->section != NULL; s++)
        (void)printf("%s.%s = %s%s%s\n", s->section, s->key,
                     base_config_text(cli->config, s->section, s->key), cli->origin ? "    # " : "",
                     cli->origin ? base_config_origin(cli->config, s->section, s->key) : "");
    return NODE_EXIT_OK;
}

int node_cmd_version(struct node_cli *cli)
{
    (void)printf("everward %s\n", EW_VERSION);
    return NODE_EXIT_OK;
}
