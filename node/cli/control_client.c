#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "node/cli/control.h"
#include "node/cli/files.h"

static int connect_to(const char *state_dir, int *out, struct base_err *err)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(state_dir) + sizeof NODE_CONTROL_SOCKET + 1 > sizeof a.sun_path)
        return base_fail(err, BASE_EINVALID, "the state folder's path is too long for a socket: %s",
                         state_dir);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return base_fail(err, BASE_EIO, "cannot open a socket: %s", strerror(errno));
    char path[NODE_PATH_BYTES_MAX];
    node_path(path, state_dir, NODE_CONTROL_SOCKET);
    memcpy(a.sun_path, path, strlen(path) + 1);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
        int why = errno;
        (void)close(fd);
        if (why == EACCES)
            return base_fail(err, BASE_EDENIED,
                             "only the user that runs everward may speak to it (%s)", path);
        return base_fail(err, BASE_EUNREACHABLE,
                         "everward does not run on %s: start it with `everward serve`", state_dir);
    }
    *out = fd;
    return 0;
}

static int exchange(int fd, const char *request, struct base_buf *reply, struct base_err *err)
{
    struct base_buf line;
    char chunk[16384];
    ssize_t n = 0;
    base_buf_init(&line, NODE_CONTROL_BYTES_MAX);
    base_buf_str(&line, request);
    base_buf_char(&line, '\n');
    int rc = base_buf_check(&line);
    for (size_t sent = 0; rc == 0 && sent < line.len; sent += (size_t)n)
        if ((n = send(fd, line.data + sent, line.len - sent, MSG_NOSIGNAL)) <= 0)
            rc = BASE_EIO;
    base_buf_release(&line);
    while (rc == 0 && (reply->len == 0 || reply->data[reply->len - 1] != '\n')) {
        n = read(fd, chunk, sizeof chunk);
        if (n <= 0)
            rc = BASE_EIO;
        else
            base_buf_add(reply, chunk, (size_t)n);
        if (rc == 0)
            rc = base_buf_check(reply);
    }
    return rc == 0 ? 0 : base_fail(err, rc, "everward closed the control socket without an answer");
}

int node_control_call(const char *state_dir, const char *request, struct base_buf *reply,
                      struct base_err *err)
{
    int fd = -1;
    int rc = connect_to(state_dir, &fd, err);
    if (rc != 0)
        return rc;
    rc = exchange(fd, request, reply, err);
    (void)close(fd);
    return rc;
}
