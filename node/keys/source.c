/* node/keys/source.c - where the wrapping key comes from. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "node/keys/internal.h"

enum { READ_BYTES_MAX = NODE_KEYS_PASSPHRASE_BYTES_MAX + 2, HEX_DIGITS = 2 * NODE_KEYS_KEY_BYTES };
enum owner_rule { OWNED_BY_US, GIVEN_BY_SYSTEMD };

void node_keys_wrap_release(struct node_keys_wrap *w)
{
    sodium_free(w->bytes);
    w->bytes = NULL;
    w->len = 0;
}

/* Reads to the end, at most READ_BYTES_MAX. Negative: errno. */
static int read_all(int fd, struct node_keys_wrap *w)
{
    w->len = 0;
    while (w->len < READ_BYTES_MAX) {
        ssize_t n = read(fd, w->bytes + w->len, READ_BYTES_MAX - w->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        w->len += (size_t)n;
    }
    return 0;
}

static int check_mode(const struct stat *st, enum owner_rule rule, struct node_keys_wrap *w,
                      struct base_err *err)
{
    unsigned mode = st->st_mode & 07777U;
    if (!S_ISREG(st->st_mode))
        return base_fail(err, BASE_EDENIED, "%s is not a regular file", w->from);
    if (rule == GIVEN_BY_SYSTEMD) {
        if (mode & 07U)
            return base_fail(err, BASE_EDENIED, "%s has mode %04o: everybody can read it", w->from,
                             mode);
        return 0; /* systemd may own it and grant us access by an ACL, which shows as a group's bit
                   */
    }
    if (mode != 0400 && mode != 0600)
        return base_fail(err, BASE_EDENIED,
                         "%s has mode %04o, must be 0400 or 0600; run chmod 0400 on it", w->from,
                         mode);
    if (st->st_uid != geteuid())
        return base_fail(err, BASE_EDENIED,
                         "%s belongs to user %u, must belong to user %u; run chown on it", w->from,
                         (unsigned)st->st_uid, (unsigned)geteuid());
    return 0;
}

static int read_file(const char *path, enum owner_rule rule, struct node_keys_wrap *w,
                     struct base_err *err)
{
    struct stat st;
    int rc = 0;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return base_fail(err, errno == ENOENT ? BASE_ENOTFOUND : BASE_EDENIED,
                         "%s cannot be opened: %s", w->from, strerror(errno));
    if (fstat(fd, &st) != 0)
        rc = base_fail(err, BASE_EIO, "%s: %s", w->from, strerror(errno));
    if (rc == 0)
        rc = check_mode(&st, rule, w, err);
    if (rc == 0 && read_all(fd, w) != 0)
        rc = base_fail(err, BASE_EIO, "%s cannot be read: %s", w->from, strerror(errno));
    close(fd);
    return rc;
}

/* 32 bytes, or 64 hex digits with or without a newline. */
static int decode_key(struct node_keys_wrap *w, struct base_err *err)
{
    uint8_t key[NODE_KEYS_KEY_BYTES];
    size_t got = 0;
    int rc = 0;
    w->kind = WRAPPING_KEY;
    if (w->len == HEX_DIGITS + 1 && w->bytes[HEX_DIGITS] == '\n')
        w->len--;
    if (w->len == NODE_KEYS_KEY_BYTES)
        memcpy(key, w->bytes, sizeof key);
    else if (w->len != HEX_DIGITS ||
             sodium_hex2bin(key, sizeof key, (const char *)w->bytes, w->len, NULL, &got, NULL) !=
                 0 ||
             got != sizeof key)
        rc = base_fail(err, BASE_EINVALID,
                       "%s must hold 32 bytes or 64 hex digits, and nothing else", w->from);
    if (rc == 0 && sodium_is_zero(key, sizeof key))
        rc = base_fail(err, BASE_EINVALID, "%s holds only zeros; that is no key", w->from);
    if (rc == 0) {
        memcpy(w->bytes, key, sizeof key);
        w->len = sizeof key;
    }
    sodium_memzero(key, sizeof key);
    return rc;
}

static int check_passphrase(struct node_keys_wrap *w, bool confirm, struct base_err *err)
{
    const uint8_t *end = memchr(w->bytes, '\n', w->len);
    w->kind = WRAPPING_PASSPHRASE;
    if (end)
        w->len = (size_t)(end - w->bytes);
    if (w->len > NODE_KEYS_PASSPHRASE_BYTES_MAX)
        return base_fail(err, BASE_ETOOBIG, "%s is longer than %d bytes", w->from,
                         NODE_KEYS_PASSPHRASE_BYTES_MAX);
    if (w->len == 0)
        return base_fail(err, BASE_EINVALID, "%s is empty", w->from);
    if (confirm && w->len < NODE_KEYS_PASSPHRASE_BYTES_MIN)
        return base_fail(err, BASE_EINVALID, "%s is shorter than %d bytes; take a longer one",
                         w->from, NODE_KEYS_PASSPHRASE_BYTES_MIN);
    return 0;
}

/* One line without echo. */
static int ask(int tty, const char *prompt, struct node_keys_wrap *w)
{
    struct termios old, quiet;
    ssize_t n;
    if (tcgetattr(tty, &old) != 0)
        return -1;
    quiet = old;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    if (tcsetattr(tty, TCSAFLUSH, &quiet) != 0)
        return -1;
    n = write(tty, prompt, strlen(prompt));
    if (n >= 0)
        n = read(tty, w->bytes, READ_BYTES_MAX); /* canonical mode: one line */
    w->len = n > 0 ? (size_t)n : 0;
    tcsetattr(tty, TCSAFLUSH, &old);
    if (write(tty, "\n", 1) < 0)
        return -1;
    return n > 0 ? 0 : -1;
}

static int ask_terminal(struct node_keys_wrap *w, const char *prompt, bool confirm,
                        struct base_err *err)
{
    struct node_keys_wrap again = {.bytes = NULL};
    int rc = 0;
    int tty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (tty < 0)
        return base_fail(err, BASE_EINVALID,
                         "there is no terminal to ask; name a passphrase file, a key file "
                         "or a systemd credential");
    if (ask(tty, prompt, w) != 0)
        rc = base_fail(err, BASE_ECANCELED, "nothing was entered");
    if (rc == 0 && confirm) {
        again.bytes = sodium_malloc(READ_BYTES_MAX);
        if (!again.bytes)
            rc = base_fail(err, BASE_ENOMEM, "no guarded memory for the passphrase");
        else if (ask(tty, "Again: ", &again) != 0 || again.len != w->len ||
                 sodium_memcmp(again.bytes, w->bytes, w->len) != 0)
            rc = base_fail(err, BASE_EINVALID, "the two passphrases differ; nothing was changed");
    }
    node_keys_wrap_release(&again);
    close(tty);
    return rc;
}

/* 1: there is none, and err is untouched. */
static int from_credential(const struct node_keys_source *s, struct node_keys_wrap *w,
                           struct base_err *err)
{
    char path[PATH_MAX];
    const char *dir = getenv("CREDENTIALS_DIRECTORY");
    if (!s->credential || !dir || !dir[0])
        return 1;
    int n = snprintf(path, sizeof path, "%s/%s", dir, s->credential);
    if (n < 0 || (size_t)n >= sizeof path || strchr(s->credential, '/'))
        return base_fail(err, BASE_EINVALID, "the name of the systemd credential is not valid");
    if (access(path, F_OK) != 0)
        return 1;
    snprintf(w->from, sizeof w->from, "the systemd credential %s", s->credential);
    int rc = read_file(path, GIVEN_BY_SYSTEMD, w, err);
    return rc != 0 ? rc : decode_key(w, err);
}

static int from_passphrase(const struct node_keys_source *s, bool confirm, struct node_keys_wrap *w,
                           struct base_err *err)
{
    int rc;
    const char *path = s->passphrase_file;
    if (!path || !path[0])
        path = getenv("EVERWARD_PASSPHRASE_FILE");
    if (s->passphrase_fd > 0) {
        snprintf(w->from, sizeof w->from, "the passphrase from descriptor %d", s->passphrase_fd);
        rc = read_all(s->passphrase_fd, w) != 0
                 ? base_fail(err, BASE_EIO, "%s cannot be read: %s", w->from, strerror(errno))
                 : 0;
    } else if (path && path[0]) {
        snprintf(w->from, sizeof w->from, "the passphrase file %s", path);
        rc = read_file(path, OWNED_BY_US, w, err);
    } else if (s->ask_terminal) {
        snprintf(w->from, sizeof w->from, "the passphrase");
        rc = ask_terminal(w, "Everward passphrase: ", confirm, err);
    } else {
        return 1;
    }
    return rc != 0 ? rc : check_passphrase(w, confirm, err);
}

int node_keys_wrap_read(const struct node_keys_source *source, bool confirm,
                        struct node_keys_wrap *out, struct base_err *err)
{
    struct node_keys_wrap w = {.len = 0};
    if (sodium_init() < 0)
        return base_fail(err, BASE_EBUG, "libsodium could not start");
    w.bytes = sodium_malloc(READ_BYTES_MAX);
    if (!w.bytes)
        return base_fail(err, BASE_ENOMEM, "no guarded memory for the wrapping key");
    int rc = from_credential(source, &w, err);
    if (rc == 1)
        rc = from_passphrase(source, confirm, &w, err);
    if (rc == 1 && source->key_file && source->key_file[0]) {
        snprintf(w.from, sizeof w.from, "the key file %s", source->key_file);
        rc = read_file(source->key_file, OWNED_BY_US, &w, err);
        if (rc == 0)
            rc = decode_key(&w, err);
    }
    if (rc == 1)
        rc = base_fail(
            err, BASE_EINVALID,
            "no source for the wrapping key: name a key file, a passphrase file or a systemd "
            "credential");
    if (rc != 0)
        node_keys_wrap_release(&w);
    else
        *out = w;
    return rc;
}

int node_keys_key_read(const char *path, struct node_keys_wrap *out, struct base_err *err)
{
    struct node_keys_wrap w = {.len = 0};
    int rc;
    if (sodium_init() < 0)
        return base_fail(err, BASE_EBUG, "libsodium could not start");
    w.bytes = sodium_malloc(READ_BYTES_MAX);
    if (!w.bytes)
        return base_fail(err, BASE_ENOMEM, "no guarded memory for the key");
    if (path && path[0]) {
        snprintf(w.from, sizeof w.from, "the key file %s", path);
        rc = read_file(path, OWNED_BY_US, &w, err);
    } else {
        snprintf(w.from, sizeof w.from, "the key");
        rc = ask_terminal(&w, "Everward data key (64 hex digits): ", false, err);
    }
    if (rc == 0)
        rc = decode_key(&w, err);
    if (rc != 0)
        node_keys_wrap_release(&w);
    else
        *out = w;
    return rc;
}
