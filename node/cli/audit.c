/* everward audit verify|report: is the trail whole, and who has seen this chart. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/cli/call.h"
#include "sync/base/buf.h"

enum { REQUEST_BYTES_MAX = 1024 };

static int verify(struct node_cli *cli)
{
    int code;
    cJSON *o = node_cli_call(cli, "{\"command\":\"audit_verify\"}", &code);
    if (o == NULL)
        return code;
    bool whole = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, "whole")) != 0;
    if (cli->json) {
        node_cli_print_json(o);
    } else {
        const cJSON *n = cJSON_GetObjectItemCaseSensitive(o, "entries");
        const cJSON *heads = cJSON_GetObjectItemCaseSensitive(o, "signed_heads");
        (void)printf("%s: %.0f entries, %.0f signed heads, the centre: %s\n",
                     whole ? "the audit trail is whole" : "THE AUDIT TRAIL IS NOT WHOLE",
                     cJSON_GetNumberValue(n), cJSON_GetNumberValue(heads),
                     node_cli_text_of(o, "witness"));
        const cJSON *cut = cJSON_GetObjectItemCaseSensitive(o, "trimmed_to");
        if (cJSON_IsNumber(cut))
            (void)printf(
                "  checked from the signed checkpoint at entry %.0f on (%s): entries up to "
                "it are at the centre\n",
                cJSON_GetNumberValue(cut), node_cli_text_of(o, "trimmed_at"));
        if (!whole)
            (void)printf("  %s\n", node_cli_text_of(o, "broken"));
    }
    cJSON_Delete(o);
    return whole ? NODE_EXIT_OK : NODE_EXIT_ATTENTION;
}

/* Words in pairs: patient ID, actor ID, action NAME, before N; and "break-glass" alone. */
static int write_request(struct node_cli *cli, struct base_buf *b)
{
    static const char *const names[] = {"patient", "actor", "action"};
    base_buf_str(b, "{\"command\":\"audit_report\"");
    for (int i = 1; i < cli->word_count; i++) {
        const char *word = cli->words[i];
        if (strcmp(word, "break-glass") == 0) {
            base_buf_str(b, ",\"action\":\"break_glass\"");
            continue;
        }
        size_t k = 0;
        while (k < 3 && strcmp(word, names[k]) != 0)
            k++;
        if (i + 1 == cli->word_count || (k == 3 && strcmp(word, "before") != 0))
            return -1;
        const char *value = cli->words[++i];
        if (k < 3) {
            base_buf_printf(b, ",\"%s\":", names[k]);
            base_buf_json_str(b, value);
        } else {
            char *end = NULL;
            long long n = strtoll(value, &end, 10);
            if (*end != '\0' || n < 1)
                return -1;
            base_buf_printf(b, ",\"before\":%lld", n);
        }
    }
    base_buf_char(b, '}');
    return base_buf_check(b);
}

int node_cmd_audit(struct node_cli *cli)
{
    static const char *const columns[] = {"at",      "username", "action",  "table",  "row",
                                          "patient", "device",   "outcome", "detail", NULL};
    struct base_buf b;
    const char *word = cli->word_count > 0 ? cli->words[0] : "";
    if (strcmp(word, "verify") == 0 && cli->word_count == 1)
        return verify(cli);
    if (strcmp(word, "report") != 0)
        return node_cli_usage("audit takes verify, or report [patient ID] [actor ID] [action NAME] "
                              "[break-glass] [before N]");
    base_buf_init(&b, REQUEST_BYTES_MAX);
    int code = write_request(cli, &b) == 0
                   ? node_cli_print_list(cli, b.data, columns, "no such entry")
                   : node_cli_usage("audit report takes patient ID, actor ID, action NAME, "
                                    "break-glass, before N");
    base_buf_release(&b);
    return code;
}
