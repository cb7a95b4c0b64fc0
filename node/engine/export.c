#include "node/engine/export.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/engine/internal.h"
#include "sync/seal/box_file.h"

enum { EXPORT_CHANGES = 1000, EXPORT_PATH_BYTES_MAX = 4096 };

struct export
{
    struct node_job job;
    struct node_engine *e;
    char path[EXPORT_PATH_BYTES_MAX];
    int64_t changes, last; /* exported up to here */
    bool sealed;
    struct seal_box_file box;
    void *user;
    node_exported_cb done;
};

static int write_all(int fd, const char *bytes, size_t len, struct base_err *err)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n <= 0)
            return base_fail(err, errno == ENOSPC ? BASE_EFULL : BASE_EIO,
                             "cannot write the export: %s", strerror(errno));
        bytes += n;
        len -= (size_t)n;
    }
    return 0;
}

/* The tenant's recovery key, if this node knows it: from then on nothing leaves it unsealed. */
static int begin_file(struct export *x, struct node_db *db, int fd, struct base_err *err)
{
    struct base_buf b;
    x->box.tenant_id = node_db_identity(db)->tenant_id;
    x->box.node_id = node_db_identity(db)->node_id;
    int rc = engine_recovery_key(db, x->box.recovery_key, &x->sealed, err);
    if (rc != 0 || !x->sealed)
        return rc;
    base_buf_init(&b, SEAL_BOX_FILE_HEAD_BYTES);
    seal_box_file_begin(&b, &x->box);
    rc = base_buf_check(&b) == 0 ? write_all(fd, b.data, b.len, err)
                                 : base_fail(err, base_buf_check(&b), "the export");
    base_buf_release(&b);
    return rc;
}

static int write_batch(struct export *x, int fd, const char *bytes, size_t len,
                       struct base_err *err)
{
    struct base_buf b;
    if (!x->sealed)
        return len == 0 ? 0 : write_all(fd, bytes, len, err);
    base_buf_init(&b, SEAL_BOX_FILE_PIECE_BYTES_MAX + EXPORT_PATH_BYTES_MAX);
    int rc = seal_box_file_add(&b, &x->box, bytes, len, err);
    if (rc == 0)
        rc = write_all(fd, b.data, b.len, err);
    base_buf_release(&b);
    return rc;
}

static int export_batches(struct export *x, struct node_db *db, int fd, struct base_err *err)
{
    struct node_sync_state s;
    struct engine_batch_head head;
    struct core_position before, last;
    int count = 0;
    int rc = node_sync_state_get(db, &s, err);
    if (rc == 0)
        rc = engine_batch_head_get(&head, db, err);
    int64_t after = s.acked_seq;
    while (rc == 0) {
        struct base_buf lines, body;
        base_buf_init(&lines, ENGINE_PUSH_BYTES_MAX + CORE_CHANGE_LINE_BYTES_MAX * 4);
        base_buf_init(&body, ENGINE_PUSH_BYTES_MAX * 2);
        rc = node_outbox_read(db, after, EXPORT_CHANGES, ENGINE_PUSH_BYTES_MAX, &lines, &before,
                              &last, &count, err);
        if (rc == 0 && count > 0)
            rc = engine_batch_write(&body, db, x->e->keys, &head, &lines, &before, &last, count,
                                    err);
        if (rc == 0 && count > 0)
            rc = write_batch(x, fd, body.data, body.len, err);
        base_buf_release(&lines);
        base_buf_release(&body);
        if (rc != 0 || count == 0)
            break;
        x->changes += count;
        x->last = after = last.seq;
    }
    return rc;
}

static int export_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct export *x = (struct export *)job;
    int fd = open(x->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return base_fail(err, errno == EEXIST ? BASE_EEXISTS : BASE_EDENIED,
                         "cannot make the file %s: %s", x->path, strerror(errno));
    int rc = begin_file(x, db, fd, err);
    if (rc == 0)
        rc = export_batches(x, db, fd, err);
    if (rc == 0)
        rc = write_batch(x, fd, NULL, 0, err); /* the end */
    if (rc == 0 && fsync(fd) != 0)
        rc = base_fail(err, BASE_EIO, "cannot sync %s: %s", x->path, strerror(errno));
    (void)close(fd);
    if (rc != 0)
        (void)unlink(x->path);
    return rc;
}

static void told(struct node_job *job)
{
    struct export *x = (struct export *)job;
    struct node_engine *e = x->e;
    x->done(x->user, job->rc, x->changes, x->sealed, job->rc == 0 ? "" : job->err.text);
    free(x);
    engine_done(e);
}

/* What is in the file need not hold up a wipe of this node: known once it is kept. */
static int note_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%lld", (long long)((struct export *)job)->last);
    return node_meta_set(db, "exported_seq", text, err);
}

static void export_done(struct node_job *job)
{
    struct export *x = (struct export *)job;
    if (job->rc != 0 || x->last == 0) {
        told(job);
        return;
    }
    x->job = (struct node_job){.run = note_run, .done = told};
    node_store_write(x->e->store, &x->job);
}

int node_engine_export(struct node_engine *e, const char *path, void *user, node_exported_cb done,
                       struct base_err *err)
{
    struct export *x = calloc(1, sizeof *x);
    if (x == NULL || strlen(path) >= sizeof x->path) {
        free(x);
        return base_fail(err, BASE_EINVALID, "the path is too long");
    }
    x->job = (struct node_job){.run = export_run, .done = export_done};
    x->e = e;
    x->user = user;
    x->done = done;
    memcpy(x->path, path, strlen(path) + 1);
    e->under_way++;
    node_store_read(e->store, &x->job);
    return 0;
}
