/* node/keys/file.c - a small file that is there whole or not at all. */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/keys/internal.h"

enum { NAME_BYTES_MAX = 255 };

void (*node_keys_step_hook)(int step);

static void step(int n)
{
    if (node_keys_step_hook)
        node_keys_step_hook(n);
}

static int fail_errno(struct base_err *err, const char *dir, const char *name, const char *what)
{
    int code = errno == ENOSPC || errno == EDQUOT    ? BASE_EFULL
               : errno == EACCES || errno == EPERM   ? BASE_EDENIED
               : errno == ENOENT || errno == ENOTDIR ? BASE_ENOTFOUND
                                                     : BASE_EIO;
    return base_fail(err, code, "%s/%s: could not %s: %s", dir, name, what, strerror(errno));
}

static int write_all(int fd, const uint8_t *p, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

/* The bytes are on the disk under the temporary name. */
static int write_temporary(int dir_fd, const char *temporary, mode_t mode, const void *bytes,
                           size_t len)
{
    int rc = -1;
    if (unlinkat(dir_fd, temporary, 0) != 0 && errno != ENOENT) /* left by one who died */
        return -1;
    step(1);
    int fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0)
        return -1;
    step(2);
    if (fchmod(fd, mode) == 0 && write_all(fd, bytes, len) == 0) {
        step(3);
        rc = fsync(fd);
    }
    if (close(fd) != 0)
        rc = -1;
    if (rc != 0) {
        int saved = errno;
        unlinkat(dir_fd, temporary, 0);
        errno = saved;
    }
    return rc;
}

/* link() refuses to replace, rename() replaces: each in one step. */
static int put_in_place(int dir_fd, const char *temporary, const char *name, bool replace)
{
    if (replace)
        return renameat(dir_fd, temporary, dir_fd, name);
    int rc = linkat(dir_fd, temporary, dir_fd, name, 0);
    int saved = errno;
    step(5);
    if (unlinkat(dir_fd, temporary, 0) != 0 && rc == 0)
        return -1;
    errno = saved;
    return rc;
}

int node_keys_file_write(const char *dir, const char *name, mode_t mode, const void *bytes,
                         size_t len, bool replace, struct base_err *err)
{
    char temporary[NAME_BYTES_MAX + 8];
    int rc = 0;
    size_t n = strlen(name);
    if (n == 0 || n > NAME_BYTES_MAX - 4)
        return base_fail(err, BASE_EINVALID, "the file name in %s is empty or too long", dir);
    memcpy(temporary, name, n);
    memcpy(temporary + n, ".new", 5);
    int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return fail_errno(err, dir, name, "open the folder");
    step(0);
    if (flock(dir_fd, LOCK_EX | LOCK_NB) != 0)
        rc = base_fail(err, BASE_EBUSY, "another process is changing the keys in %s; try again",
                       dir);
    else if (write_temporary(dir_fd, temporary, mode, bytes, len) != 0)
        rc = fail_errno(err, dir, name, "write it");
    if (rc != 0)
        goto out;
    step(4);
    if (put_in_place(dir_fd, temporary, name, replace) != 0) {
        rc = errno == EEXIST ? base_fail(err, BASE_EEXISTS,
                                         "%s/%s exists already; it was left alone", dir, name)
                             : fail_errno(err, dir, name, "put it in place");
        goto out;
    }
    step(6);
    if (fsync(dir_fd) != 0)
        rc = fail_errno(err, dir, name, "sync the folder");
    step(7);
out:
    close(dir_fd);
    return rc;
}

int node_keys_file_read(const char *dir, const char *name, uint8_t *out, size_t bytes,
                        struct base_err *err)
{
    uint8_t more;
    size_t got = 0;
    int rc = 0;
    struct stat st;
    int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return fail_errno(err, dir, name, "open the folder");
    int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        rc = errno == ENOENT
                 ? base_fail(err, BASE_ENOTFOUND,
                             "no keys in %s; the node is not set up there, run setup or check the "
                             "path",
                             dir)
                 : fail_errno(err, dir, name, "open it");
        goto out;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        rc = base_fail(err, BASE_ECORRUPT, "%s/%s is not a regular file", dir, name);
        goto out;
    }
    while (got < bytes) {
        ssize_t n = read(fd, out + got, bytes - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = fail_errno(err, dir, name, "read it");
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    if (rc == 0 && (got < bytes || read(fd, &more, 1) != 0))
        rc = base_fail(
            err, BASE_ECORRUPT,
            "%s/%s is damaged: it is not %zu bytes long. Restore it from the backup of the node's "
            "folder, or use the escrow",
            dir, name, bytes);
out:
    if (fd >= 0)
        close(fd);
    close(dir_fd);
    return rc;
}

static int shred(const char *path, struct base_err *err)
{
    uint8_t noise[256];
    struct stat st;
    int fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == EACCES && chmod(path, 0600) == 0) /* a key file is 0400 */
        fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : fail_errno(err, path, "", "open it");
    int rc = fstat(fd, &st) != 0 ? -1 : 0;
    for (off_t at = 0; rc == 0 && at < st.st_size; at += (off_t)sizeof noise) {
        randombytes_buf(noise, sizeof noise);
        off_t left = st.st_size - at;
        rc = write_all(fd, noise, left < (off_t)sizeof noise ? (size_t)left : sizeof noise);
    }
    if (rc == 0)
        rc = fsync(fd);
    (void)close(fd);
    if (rc != 0 || unlink(path) != 0)
        return fail_errno(err, path, "", "destroy it");
    return 0;
}

int node_keys_destroy(const char *dir, const char *key_file, struct base_err *err)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", dir, NODE_KEYS_FILE);
    if (n < 0 || (size_t)n >= sizeof path)
        return base_fail(err, BASE_ETOOBIG, "the path is too long");
    int rc = shred(path, err);
    if (rc == 0) /* each holds the data key, too */
        rc = node_keys_signing_drop(dir, err);
    if (rc == 0)
        rc = node_keys_next_drop(dir, err);
    if (rc == 0 && key_file != NULL)
        rc = shred(key_file, err);
    int fd = rc == 0 ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (rc == 0 && (fd < 0 || fsync(fd) != 0))
        rc = fail_errno(err, dir, NODE_KEYS_FILE, "sync the folder");
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

static int drop(const char *dir, const char *name, struct base_err *err)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    if (n < 0 || (size_t)n >= sizeof path)
        return base_fail(err, BASE_ETOOBIG, "the path is too long");
    return shred(path, err);
}

static int take(const char *dir, const char *name, struct base_err *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = 0;
    if (fd < 0 || renameat(fd, name, fd, NODE_KEYS_FILE) != 0 || fsync(fd) != 0)
        rc = fail_errno(err, dir, name, "put it in place");
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

int node_keys_next_drop(const char *dir, struct base_err *err)
{
    return drop(dir, NODE_KEYS_NEXT_FILE, err);
}

int node_keys_next_take(const char *dir, struct base_err *err)
{
    return take(dir, NODE_KEYS_NEXT_FILE, err);
}

int node_keys_signing_drop(const char *dir, struct base_err *err)
{
    return drop(dir, NODE_KEYS_SIGNING_FILE, err);
}

int node_keys_signing_take(const char *dir, struct base_err *err)
{
    return take(dir, NODE_KEYS_SIGNING_FILE, err);
}
