#include "node/cli/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void node_path(char out[NODE_PATH_BYTES_MAX], const char *dir, const char *name)
{
    (void)snprintf(out, NODE_PATH_BYTES_MAX, "%s/%s", dir, name);
}

static int io_fail(struct base_err *err, const char *what, const char *path)
{
    int code = errno == ENOSPC || errno == EDQUOT  ? BASE_EFULL
               : errno == EACCES || errno == EPERM ? BASE_EDENIED
               : errno == ENOENT                   ? BASE_ENOTFOUND
                                                   : BASE_EIO;
    return base_fail(err, code, "cannot %s %s: %s", what, path, strerror(errno));
}

static int sync_dir(const char *path, struct base_err *err)
{
    char dir[NODE_PATH_BYTES_MAX];
    (void)snprintf(dir, sizeof dir, "%s", path);
    *strrchr(dir, '/') = '\0';
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return io_fail(err, "open", dir);
    int rc = fsync(fd) == 0 ? 0 : io_fail(err, "sync", dir);
    (void)close(fd);
    return rc;
}

static int write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
    }
    return fsync(fd);
}

int node_file_write(const char *dir, const char *name, const void *bytes, size_t len,
                    struct base_err *err)
{
    char path[NODE_PATH_BYTES_MAX];
    char temporary[NODE_PATH_BYTES_MAX + 8];
    node_path(path, dir, name);
    (void)snprintf(temporary, sizeof temporary, "%s.new", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return io_fail(err, "write", temporary);
    int rc = write_all(fd, bytes, len) == 0 ? 0 : io_fail(err, "write", temporary);
    if (close(fd) != 0 && rc == 0)
        rc = io_fail(err, "write", temporary);
    if (rc == 0 && rename(temporary, path) != 0)
        rc = io_fail(err, "rename", temporary);
    if (rc != 0) {
        (void)unlink(temporary);
        return rc;
    }
    return sync_dir(path, err);
}

int node_file_read(const char *dir, const char *name, struct base_buf *out, struct base_err *err)
{
    char path[NODE_PATH_BYTES_MAX];
    char chunk[4096];
    node_path(path, dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return io_fail(err, "read", path);
    ssize_t n = 0;
    while ((n = read(fd, chunk, sizeof chunk)) > 0)
        base_buf_add(out, chunk, (size_t)n);
    int rc = n < 0 ? io_fail(err, "read", path) : 0;
    (void)close(fd);
    if (rc == 0 && base_buf_check(out) != 0)
        rc = base_fail(err, base_buf_check(out), "%s is too large", path);
    return rc;
}

bool node_file_exists(const char *dir, const char *name)
{
    char path[NODE_PATH_BYTES_MAX];
    node_path(path, dir, name);
    return access(path, F_OK) == 0;
}

int node_state_dir_make(const char *dir, struct base_err *err)
{
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return io_fail(err, "make the state folder", dir);
    return node_state_dir_check(dir, err);
}

int node_state_dir_check(const char *dir, struct base_err *err)
{
    struct stat st;
    if (stat(dir, &st) != 0)
        return io_fail(err, "look at the state folder", dir);
    if (!S_ISDIR(st.st_mode))
        return base_fail(err, BASE_EINVALID, "%s is not a folder", dir);
    if (st.st_uid != geteuid())
        return base_fail(
            err, BASE_EDENIED,
            "the state folder %s belongs to another user (uid %u); run as that user or chown it",
            dir, (unsigned)st.st_uid);
    if ((st.st_mode & 0077) != 0)
        return base_fail(err, BASE_EDENIED,
                         "others may look into the state folder %s: chmod 700 it", dir);
    return 0;
}
