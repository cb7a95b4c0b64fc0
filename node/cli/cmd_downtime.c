/*
 * everward downtime: the key that packs are sealed for, and opening them where nothing else is left.
 *
 * Opening needs the folder and the secret: no configuration, no state folder, no daemon.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/cli/call.h"
#include "node/cli/files.h"
#include "sync/seal/pack_file.h"
#include "sync/seal/seal.h"

enum { SECRET_BYTES_MAX = 4096, NAME_BYTES_MAX = 255 };

static const char suffix[] = ".ewdown";

static const char *tail_of(const char *path)
{
    return path + (path[0] == '/');
}

/* The file's first line. */
static int read_line(const char *path, char out[SECRET_BYTES_MAX], struct base_err *err)
{
    struct base_buf b;
    base_buf_init(&b, SECRET_BYTES_MAX - 1);
    int rc = node_file_read(path[0] == '/' ? "" : ".", tail_of(path), &b, err);
    if (rc == 0) {
        (void)snprintf(out, SECRET_BYTES_MAX, "%s", b.data == NULL ? "" : b.data);
        out[strcspn(out, "\r\n")] = '\0';
    }
    if (b.data != NULL)
        seal_wipe(b.data, b.cap);
    base_buf_release(&b);
    return rc;
}

static int write_new(const char *path, const char *bytes, size_t len, mode_t mode,
                     struct base_err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return base_fail(err, errno == EEXIST ? BASE_EEXISTS : BASE_EDENIED, "%s: %s", path,
                         strerror(errno));
    size_t done = 0;
    ssize_t n = 1;
    while (done < len && (n = write(fd, bytes + done, len - done)) > 0)
        done += (size_t)n;
    int rc = done < len || fsync(fd) != 0
                 ? base_fail(err, BASE_EIO, "%s: %s", path, strerror(errno))
                 : 0;
    if (close(fd) != 0 && rc == 0)
        rc = base_fail(err, BASE_EIO, "%s: %s", path, strerror(errno));
    if (rc != 0)
        (void)unlink(path);
    return rc;
}

/* ---- key ----------------------------------------------------------------------------------- */

static int make_key(const struct node_cli *cli, char text[SEAL_PACK_KEY_TEXT_BYTES],
                    struct base_err *err)
{
    char line[SECRET_BYTES_MAX] = "";
    struct seal_pack_key k;
    uint8_t secret[32];
    int rc = cli->passphrase_file != NULL ? read_line(cli->passphrase_file, line, err) : 0;
    if (rc == 0)
        rc = seal_pack_key_make(&k, secret, cli->passphrase_file != NULL ? line : NULL, err);
    if (rc == 0 && cli->passphrase_file == NULL) {
        struct base_buf b;
        base_buf_init(&b, 128);
        base_buf_hex(&b, secret, sizeof secret);
        base_buf_char(&b, '\n');
        rc = base_buf_check(&b) == 0 ? write_new(cli->secret_file, b.data, b.len, 0400, err)
                                     : base_fail(err, BASE_ENOMEM, "out of memory");
        if (b.data != NULL)
            seal_wipe(b.data, b.cap);
        base_buf_release(&b);
    }
    if (rc == 0)
        seal_pack_key_format(&k, text);
    seal_wipe(secret, sizeof secret);
    seal_wipe(line, sizeof line);
    return rc;
}

static int cmd_key(const struct node_cli *cli)
{
    char text[SEAL_PACK_KEY_TEXT_BYTES];
    struct base_err err = {0};
    if (make_key(cli, text, &err) != 0)
        return node_cli_fail(&err);
    (void)printf("%s\n", text);
    (void)fprintf(stderr,
                  "everward: put it into the configuration as downtime.key; keep the %s "
                  "away from the node\n",
                  cli->passphrase_file != NULL ? "passphrase" : "secret file");
    return NODE_EXIT_OK;
}

/* ---- open ---------------------------------------------------------------------------------- */

struct opening {
    const struct node_cli *cli;
    char line[SECRET_BYTES_MAX];
    uint8_t secret[32];
    uint8_t salt[SEAL_PACK_SALT_BYTES];
    bool known; /* secret, for that salt */
    int opened, failed;
};

/* Argon2 once for a folder, not for each file. */
static int secret_for(struct opening *o, const struct seal_pack_key *k, struct base_err *err)
{
    if (o->cli->secret_file != NULL)
        return strlen(o->line) == 64 && seal_hex_decode(o->secret, sizeof o->secret, o->line, 64)
                   ? 0
                   : base_fail(err, BASE_EINVALID, "%s holds no downtime secret",
                               o->cli->secret_file);
    if (!seal_pack_key_is_passphrase(k))
        return base_fail(err, BASE_EKEY, "it opens with a secret file, not with a passphrase");
    if (o->known && memcmp(o->salt, k->salt, sizeof o->salt) == 0)
        return 0;
    int rc = seal_pack_secret(o->secret, k, o->line, err);
    o->known = rc == 0;
    memcpy(o->salt, k->salt, sizeof o->salt);
    return rc;
}

static int open_one(struct opening *o, const char *folder, const char *name, struct base_err *err)
{
    char path[NODE_PATH_BYTES_MAX];
    char to[NAME_BYTES_MAX + 1];
    struct seal_pack_key k;
    struct base_buf in, out;
    base_buf_init(&in, SEAL_PACK_CONTENT_BYTES_MAX + SEAL_PACK_OVERHEAD_BYTES);
    base_buf_init(&out, SEAL_PACK_CONTENT_BYTES_MAX + SEAL_PACK_OVERHEAD_BYTES);
    (void)snprintf(to, sizeof to, "%.*s.html", (int)(strlen(name) - (sizeof suffix - 1)), name);
    int rc = node_file_read(folder, name, &in, err);
    if (rc == 0)
        rc = seal_pack_head(&k, in.data == NULL ? "" : in.data, in.len, err);
    if (rc == 0)
        rc = secret_for(o, &k, err);
    if (rc == 0)
        rc = seal_pack_read(&out, o->secret, in.data, in.len, err);
    node_path(path, o->cli->out, to);
    if (rc == 0)
        rc = write_new(path, out.data, out.len, 0600, err);
    if (out.data != NULL)
        seal_wipe(out.data, out.cap);
    base_buf_release(&in);
    base_buf_release(&out);
    if (rc == 0)
        (void)printf("%s\n", path);
    return rc == 0 ? 0 : base_err_prefix(err, rc, "%s", name);
}

static bool is_pack(const char *name)
{
    size_t len = strlen(name);
    return len >= sizeof suffix && len <= NAME_BYTES_MAX - 8 &&
           strcmp(name + len - (sizeof suffix - 1), suffix) == 0;
}

/* A bad file does not keep the others shut. */
static int open_folder(struct opening *o, const char *folder, struct base_err *err)
{
    struct base_err each = {0};
    DIR *dir = opendir(folder);
    if (dir == NULL)
        return base_fail(err, BASE_ENOTFOUND, "%s: %s", folder, strerror(errno));
    for (struct dirent *e = NULL; (e = readdir(dir)) != NULL;) {
        if (!is_pack(e->d_name))
            continue;
        if (open_one(o, folder, e->d_name, &each) == 0) {
            o->opened++;
        } else {
            (void)fprintf(stderr, "everward: %s\n", each.text);
            *err = each;
            o->failed++;
        }
    }
    (void)closedir(dir);
    if (o->opened + o->failed == 0)
        return base_fail(err, BASE_ENOTFOUND, "%s holds no downtime packs", folder);
    return o->failed == 0 ? 0
                          : base_fail(err, err->code, "%d of %d packs did not open", o->failed,
                                      o->opened + o->failed);
}

static int cmd_open(const struct node_cli *cli)
{
    struct opening o = {.cli = cli};
    struct base_err err = {0};
    const char *from = cli->secret_file != NULL ? cli->secret_file : cli->passphrase_file;
    int rc = read_line(from, o.line, &err);
    if (rc == 0 && mkdir(cli->out, 0700) != 0 && errno != EEXIST)
        rc = base_fail(&err, BASE_EDENIED, "%s: %s", cli->out, strerror(errno));
    if (rc == 0)
        rc = open_folder(&o, cli->words[1], &err);
    seal_wipe(&o.secret, sizeof o.secret);
    seal_wipe(o.line, sizeof o.line);
    return rc == 0 ? NODE_EXIT_OK : node_cli_fail(&err);
}

int node_cmd_downtime(struct node_cli *cli)
{
    bool one = (cli->secret_file == NULL) != (cli->passphrase_file == NULL);
    bool key = cli->word_count == 1 && strcmp(cli->words[0], "key") == 0;
    bool open = cli->word_count == 2 && strcmp(cli->words[0], "open") == 0 && cli->out != NULL;
    if (!one || (!key && !open))
        return node_cli_usage("downtime takes key, or open FOLDER --out DIR, and one of "
                              "--secret-file and --passphrase-file");
    return key ? cmd_key(cli) : cmd_open(cli);
}
