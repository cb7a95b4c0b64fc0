/*
 * outbox open: what a node exported, opened with the tenant's recovery key.
 *
 * The result is what the node would have pushed: signed batches, plain patient data. Nothing is taken in by this.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sync/gateway/outbox.h"
#include "sync/seal/box_file.h"
#include "sync/seal/seal.h"

enum { FILE_BYTES_MAX = 1024 * 1024 * 1024, CHUNK_BYTES = 64 * 1024 };

static int read_file(struct base_buf *out, const char *path, struct base_err *err)
{
    char chunk[CHUNK_BYTES];
    ssize_t n = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return base_fail(err, BASE_ENOTFOUND, "%s: %s", path, strerror(errno));
    while ((n = read(fd, chunk, sizeof chunk)) > 0)
        base_buf_add(out, chunk, (size_t)n);
    int rc = n < 0 ? base_fail(err, BASE_EIO, "%s: %s", path, strerror(errno)) : 0;
    (void)close(fd);
    if (rc == 0 && base_buf_check(out) != 0)
        rc = base_fail(err, base_buf_check(out), "%s does not fit", path);
    return rc;
}

static int read_secret(uint8_t secret[32], const char *path, struct base_err *err)
{
    struct base_buf b;
    base_buf_init(&b, 4096);
    int rc = read_file(&b, path, err);
    if (rc == 0 && (b.len < 64 || !seal_hex_decode(secret, 32, b.data, 64)))
        rc = base_fail(err, BASE_EINVALID, "%s holds no recovery secret", path);
    if (b.data != NULL)
        seal_wipe(b.data, b.len);
    base_buf_release(&b);
    return rc;
}

static int open_all(struct gw_outbox *o, const struct base_buf *in, const char *tenant,
                    const uint8_t secret[32], struct base_err *err)
{
    struct seal_box_file f;
    char of[BASE_UUID_CHARS + 1];
    size_t at = SEAL_BOX_FILE_HEAD_BYTES;
    int rc = seal_box_file_head(&f, in->data == NULL ? "" : in->data, in->len, err);
    if (rc != 0)
        return rc;
    base_uuid_format(&f.tenant_id, of);
    if (strcmp(of, tenant) != 0)
        return base_fail(err, BASE_EDENIED, "it is another tenant's");
    while (rc == 0 && !f.ended) {
        size_t used = 0;
        size_t begin = o->bytes.len;
        rc = seal_box_file_next(&f, secret, in->data + at, in->len - at, &used, &o->bytes, err);
        at += used;
        if (rc == 0 && o->bytes.len > begin && o->count == GW_OUTBOX_PIECES_MAX)
            rc = base_fail(err, BASE_ETOOBIG, "more than %d batches", GW_OUTBOX_PIECES_MAX);
        else if (rc == 0 && o->bytes.len > begin)
            o->ends[o->count++] = o->bytes.len;
    }
    o->node_id = f.node_id;
    seal_sha256(o->sha256, in->data, in->len);
    return rc == 0 && at != in->len
               ? base_fail(err, BASE_ECORRUPT, "something follows the last frame")
               : rc;
}

void gw_outbox_release(struct gw_outbox *o)
{
    if (o->bytes.data != NULL)
        seal_wipe(o->bytes.data, o->bytes.len);
    base_buf_release(&o->bytes);
}

int gw_outbox_read(struct gw_outbox *o, const char *path, const char *tenant,
                   const char *secret_path, struct base_err *err)
{
    uint8_t secret[32];
    struct base_buf in;
    base_buf_init(&in, FILE_BYTES_MAX);
    base_buf_init(&o->bytes, FILE_BYTES_MAX);
    o->count = 0;
    int rc = read_secret(secret, secret_path, err);
    if (rc == 0)
        rc = read_file(&in, path, err);
    if (rc == 0)
        rc = open_all(o, &in, tenant, secret, err);
    seal_wipe(secret, sizeof secret);
    base_buf_release(&in);
    return rc;
}

static int write_file(const char *path, const struct base_buf *b, struct base_err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return base_fail(err, BASE_EEXISTS, "%s: %s", path, strerror(errno));
    size_t done = 0;
    ssize_t n = 1;
    while (done < b->len && (n = write(fd, b->data + done, b->len - done)) > 0)
        done += (size_t)n;
    int rc = done < b->len || fsync(fd) != 0
                 ? base_fail(err, BASE_EIO, "%s: %s", path, strerror(errno))
                 : 0;
    (void)close(fd);
    if (rc != 0)
        (void)unlink(path);
    return rc;
}

int gw_cmd_outbox_open(struct gw_cli *cli)
{
    char tenant[37];
    struct base_err err = {0};
    struct gw_outbox o;
    const char *path = gw_option(cli, "--secret-file");
    if (path == NULL || cli->word_count != 2)
        return gw_complain(GW_EXIT_USAGE, "give the sealed file, and a new one to write",
                           "everward-gateway outbox open FILE OUT --tenant T --secret-file F");
    int code = gw_tenant(cli, tenant);
    if (code != 0)
        return code;
    int rc = gw_outbox_read(&o, cli->words[0], tenant, path, &err);
    if (rc == 0)
        rc = write_file(cli->words[1], &o.bytes, &err);
    gw_outbox_release(&o);
    return rc == 0 ? GW_EXIT_OK
                   : gw_complain(GW_EXIT_REFUSED, err.text, "nothing was written; export anew");
}
