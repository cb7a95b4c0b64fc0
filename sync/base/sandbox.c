#include "sync/base/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than the headers we build with. */
#define ACCESS_REFER    (1ULL << 13) /* version 2 */
#define ACCESS_TRUNCATE (1ULL << 14) /* version 3 */

/* Everything that changes files or runs them; reading stays free. */
#define WRITING                                                                                    \
    (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |                               \
     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | \
     LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |   \
     LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM)
#define IN_A_FOLDER                                                                                \
    (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |                               \
     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |  \
     LANDLOCK_ACCESS_FS_MAKE_SOCK)

/* A leak check at the end needs to look into its own process. */
#if defined(__SANITIZE_ADDRESS__)
#define CAPS_FOR_CHECKS (1U << CAP_SYS_PTRACE)
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CAPS_FOR_CHECKS (1U << CAP_SYS_PTRACE)
#endif
#endif
#ifndef CAPS_FOR_CHECKS
#define CAPS_FOR_CHECKS 0U
#endif

_Static_assert(CAP_NET_BIND_SERVICE < 32 && CAP_SYS_PTRACE < 32, "both lie in the first word");

static int fail(struct base_err *err, const char *what)
{
    return base_fail(err, BASE_EDENIED, "the sandbox: %s: %s", what, strerror(errno));
}

static int drop_capabilities(bool bind_low_ports, struct base_err *err)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    unsigned keep = CAPS_FOR_CHECKS | (bind_low_ports ? 1U << CAP_NET_BIND_SERVICE : 0);
    if (syscall(SYS_capget, &head, data) != 0)
        return fail(err, "reading capabilities");
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (cap >= 32 || (keep & 1U << cap) == 0)
            (void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); /* only who has CAP_SETPCAP can */
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    data[0].permitted &= keep;
    data[0].effective = data[0].permitted;
    data[0].inheritable = 0;
    data[1] = (struct __user_cap_data_struct){0};
    return syscall(SYS_capset, &head, data) == 0 ? 0 : fail(err, "dropping capabilities");
}

static int allow(int rules, const char *path, unsigned long long access, struct base_err *err)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = access};
    rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
    if (rule.parent_fd < 0)
        return errno == ENOENT ? 0 : fail(err, path);
    long rc = syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    int saved = errno;
    (void)close(rule.parent_fd);
    errno = saved;
    return rc == 0 ? 0 : fail(err, path);
}

static int restrict_files(const struct base_sandbox *s, int version, struct base_err *err)
{
    unsigned long long newer =
        (version >= 2 ? ACCESS_REFER : 0) | (version >= 3 ? ACCESS_TRUNCATE : 0);
    struct landlock_ruleset_attr all = {.handled_access_fs =
                                            WRITING | LANDLOCK_ACCESS_FS_EXECUTE | newer};
    int rules = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof all.handled_access_fs, 0);
    if (rules < 0)
        return fail(err, "Landlock");
    int rc = allow(rules, "/dev", LANDLOCK_ACCESS_FS_WRITE_FILE, err); /* null, tty, urandom */
    for (int i = 0; rc == 0 && s->folders[i] != NULL; i++)
        rc = allow(rules, s->folders[i], IN_A_FOLDER | newer, err);
    if (rc == 0 && syscall(SYS_landlock_restrict_self, rules, 0) != 0)
        rc = fail(err, "Landlock");
    (void)close(rules);
    return rc;
}

int base_sandbox_enter(const struct base_sandbox *s, int *landlock, struct base_err *err)
{
    struct rlimit none = {0, 0};
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || setrlimit(RLIMIT_CORE, &none) != 0)
        return fail(err, "no core dumps");
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return fail(err, "no new privileges");
    int rc = version > 0 ? restrict_files(s, (int)version, err) : 0;
    if (rc == 0)
        rc = drop_capabilities(s->bind_low_ports, err);
    *landlock = version > 0 ? (int)version : 0;
    return rc;
}
