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
#include "sync/seal/seal.h"

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
        rc = node_cli_keys_open(cli, &keys, err);
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

/* "ewescrow1:<node>:<recovery key>:<sealed>": the first line of the file. */
static int read_escrow(const char *path, const struct base_uuid *node,
                       uint8_t out[NODE_KEYS_ESCROW_BYTES], struct base_err *err)
{
    struct base_buf b;
    struct base_uuid of;
    base_buf_init(&b, NODE_FILE_BYTES_MAX);
    int rc = node_file_read(path[0] == '/' ? "" : ".", path + (path[0] == '/'), &b, err);
    if (rc == 0) {
        char *text = b.data == NULL ? "" : b.data;
        const char *sealed = NULL;
        if (b.len > 0)
            text[strcspn(text, "\r\n")] = '\0';
        if (strncmp(text, "ewescrow1:", 10) == 0 && strlen(text) > 10 + BASE_UUID_CHARS + 66)
            sealed = text + 10 + BASE_UUID_CHARS + 1 + 64 + 1;
        if (sealed == NULL || !base_uuid_parse(&of, text + 10, BASE_UUID_CHARS) ||
            !seal_hex_decode(out, NODE_KEYS_ESCROW_BYTES, sealed, strlen(sealed)))
            rc = base_fail(err, BASE_EINVALID,
                           "%s is not an escrow: it begins with ewescrow1: (everward-gateway node "
                           "escrow, or everward keys escrow)",
                           path);
        else if (!base_uuid_equal(&of, node))
            rc = base_fail(err, BASE_EKEY, "%s is the escrow of another node", path);
    }
    base_buf_release(&b);
    return rc;
}

/* New keys.sealed from the escrow, under the source of the configuration, which is made if it is a key file. */
static int recover_keys(const struct node_cli *cli, const struct node_backup_facts *f,
                        struct node_keys **out, struct base_err *err)
{
    char key_file[NODE_PATH_BYTES_MAX];
    struct node_keys_source source;
    uint8_t escrow[NODE_KEYS_ESCROW_BYTES];
    int rc = read_escrow(cli->escrow, &f->store.id.node_id, escrow, err);
    if (rc == 0)
        rc = node_cli_key_source(cli, &source, key_file, sizeof key_file, err);
    if (rc == 0 && source.key_file != NULL) {
        rc = node_keys_make_key_file(source.key_file, err);
        rc = rc == BASE_EEXISTS ? 0 : rc;
    }
    if (rc == 0)
        rc = node_keys_recover(node_cli_state_dir(cli), &source, escrow, cli->recovery_key, out,
                               err);
    /* an attempt that died behind it left them */
    return rc == BASE_EEXISTS ? node_keys_open(node_cli_state_dir(cli), &source, out, err) : rc;
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
    if (rc == 0 && cli->escrow != NULL) {
        rc = recover_keys(cli, f, &keys, err);
    } else if (rc == 0) {
        rc = node_backup_keys(bundle, dir, err);
        if (rc == 0)
            rc = node_cli_keys_open(cli, &keys, err);
    }
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
