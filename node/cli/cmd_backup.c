/* everward backup, everward restore. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "node/cli/backup.h"
#include "node/cli/call.h"
#include "node/cli/control.h"
#include "node/cli/files.h"
#include "node/cli/identity.h"

/* Alone on the folder: no daemon. */
static int lock_folder(const char *dir, int *out, struct base_err *err)
{
    char path[NODE_PATH_BYTES_MAX];
    node_path(path, dir, "lock");
    *out = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*out < 0)
        return base_fail(err, BASE_EDENIED, "cannot open %s: %s", path, strerror(errno));
    if (flock(*out, LOCK_EX | LOCK_NB) != 0)
        return base_fail(err, BASE_EBUSY, "another everward works on %s; try again", dir);
    return 0;
}

static int open_keys(const struct node_cli *cli, struct node_keys **out, struct base_err *err)
{
    char key_file[NODE_PATH_BYTES_MAX];
    struct node_keys_source source;
    int rc = node_cli_key_source(cli, &source, key_file, sizeof key_file, err);
    return rc == 0 ? node_keys_open(node_cli_state_dir(cli), &source, out, err) : rc;
}

static int backup_without_daemon(const struct node_cli *cli, const char *to,
                                 struct node_backup_facts *f, struct base_err *err)
{
    const char *dir = node_cli_state_dir(cli);
    struct node_keys *keys = NULL;
    int lock = -1;
    int rc = node_state_dir_check(dir, err);
    if (rc == 0)
        rc = lock_folder(dir, &lock, err);
    if (rc == 0)
        rc = open_keys(cli, &keys, err);
    if (rc == 0)
        rc = node_backup_make_verified(dir, keys, to, cli->verify, f, err);
    node_keys_free(keys);
    if (lock >= 0)
        (void)close(lock);
    return rc;
}

static int backup_by_daemon(struct node_cli *cli, const char *to, bool *runs)
{
    struct base_buf request, reply;
    struct base_err err = {0};
    int code = NODE_EXIT_OK;
    base_buf_init(&reply, 64);
    *runs = node_control_call(node_cli_state_dir(cli), "{\"command\":\"ping\"}", &reply, &err) !=
            BASE_EUNREACHABLE;
    base_buf_release(&reply);
    if (!*runs)
        return 0;
    base_buf_init(&request, NODE_PATH_BYTES_MAX * 2);
    base_buf_str(&request, "{\"command\":\"backup\",\"path\":");
    base_buf_json_str(&request, to);
    base_buf_printf(&request, ",\"verify\":%s}", cli->verify ? "true" : "false");
    cJSON *o = base_buf_check(&request) == 0 ? node_cli_call(cli, request.data, &code) : NULL;
    base_buf_release(&request);
    if (o == NULL)
        return code;
    if (cli->json)
        node_cli_print_json(o);
    else
        (void)printf("%s: as of %s%s\n", to, node_cli_text_of(o, "at"),
                     cli->verify ? ", restored into a scratch folder and looked through" : "");
    cJSON_Delete(o);
    return NODE_EXIT_OK;
}

int node_cmd_backup(struct node_cli *cli)
{
    struct base_err err = {0};
    struct node_backup_facts f;
    bool runs = false;
    if (cli->word_count != 1 || cli->words[0][0] != '/')
        return node_cli_usage("backup takes the full path of a file to write");
    const char *to = cli->words[0];
    int code = backup_by_daemon(cli, to, &runs);
    if (runs)
        return code;
    if (backup_without_daemon(cli, to, &f, &err) != 0)
        return node_cli_fail(&err);
    if (cli->json)
        (void)printf("{\"bytes\":%lld,\"last_seq\":%lld,\"unsent\":%lld,\"verified\":%s,\"at\":"
                     "\"%s\"}\n",
                     (long long)f.store_bytes, (long long)f.store.last_seq,
                     (long long)f.store.changes_unsent, cli->verify ? "true" : "false", f.at);
    else
        (void)printf("%s: as of %s%s\n", to, f.at,
                     cli->verify ? ", restored into a scratch folder and looked through" : "");
    return NODE_EXIT_OK;
}

static int restore(struct node_cli *cli, const char *bundle, struct node_backup_facts *f,
                   struct base_err *err)
{
    const char *dir = node_cli_state_dir(cli);
    struct node_keys *keys = NULL;
    int lock = -1;
    int rc = node_backup_look(bundle, f, err);
    if (rc == 0)
        rc = node_state_dir_make(dir, err);
    if (rc == 0)
        rc = lock_folder(dir, &lock, err);
    if (rc == 0 && node_file_exists(dir, NODE_IDENTITY_FILE))
        rc = base_fail(err, BASE_EEXISTS,
                       "%s belongs to a node already; move it away, or choose another folder", dir);
    if (rc == 0)
        rc = node_backup_keys(bundle, dir, err);
    if (rc == 0)
        rc = open_keys(cli, &keys, err);
    if (rc == 0)
        rc = node_backup_restore(bundle, dir, keys, false, f, err);
    node_keys_free(keys);
    if (lock >= 0)
        (void)close(lock);
    return rc;
}

int node_cmd_restore(struct node_cli *cli)
{
    struct base_err err = {0};
    struct node_backup_facts f;
    if (cli->word_count != 1)
        return node_cli_usage("restore takes a file that `everward backup` wrote");
    if (restore(cli, cli->words[0], &f, &err) != 0)
        return node_cli_fail(&err);
    if (cli->json)
        (void)printf("{\"at\":\"%s\",\"last_seq\":%lld,\"audit\":%lld}\n", f.at,
                     (long long)f.store.last_seq, (long long)f.store.audit_entries);
    else
        (void)printf("node %s is as it was at %s; start it with `everward serve`. Keep the machine "
                     "it came from off.\n",
                     f.store.id.node_name, f.at);
    return NODE_EXIT_OK;
}
