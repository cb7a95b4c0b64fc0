/* What a daemon has given up is gone: tried for real, each in a child of its own. */
#include "tests/unit/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sync/base/sandbox.h"

static char inside[64], outside[64];

static int begin(void **state)
{
    (void)snprintf(inside, sizeof inside, "/tmp/sandbox_in_XXXXXX");
    (void)snprintf(outside, sizeof outside, "/tmp/sandbox_out_XXXXXX");
    return mkdtemp(inside) == NULL || mkdtemp(outside) == NULL;
}

static int end(void **state)
{
    char path[96];
    (void)snprintf(path, sizeof path, "%s/f", inside);
    (void)unlink(path);
    (void)snprintf(path, sizeof path, "%s/f", outside);
    (void)unlink(path);
    return rmdir(inside) | rmdir(outside);
}

/* 0 made, else errno. */
static int make(const char *dir)
{
    char path[96];
    (void)snprintf(path, sizeof path, "%s/f", dir);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    if (fd < 0)
        return errno;
    (void)close(fd);
    return 0;
}

/* The exit code of body run in a child that is in the sandbox; 99: it could not be entered, 98: no Landlock here. */
static int inside_of(int (*body)(void))
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        const struct base_sandbox box = {.folders = {inside, "/there/is/no/such/folder", NULL}};
        int landlock = 0;
        if (base_sandbox_enter(&box, &landlock, NULL) != 0)
            _exit(99);
        _exit(landlock == 0 ? 98 : body());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 98)
        skip();
    return WEXITSTATUS(status);
}

static int write_inside(void)
{
    char path[96];
    (void)snprintf(path, sizeof path, "%s/f", inside);
    return make(inside) != 0 || truncate(path, 0) != 0 || unlink(path) != 0;
}

static int write_outside(void)
{
    return make(outside) == EACCES && mkdir("/tmp/sandbox_new", 0700) != 0 ? 0 : 1;
}

static int read_outside(void)
{
    int fd = open("/etc/passwd", O_RDONLY);
    return fd >= 0 ? 0 : 1;
}

static int write_null(void)
{
    int fd = open("/dev/null", O_WRONLY);
    return fd >= 0 && write(fd, "x", 1) == 1 ? 0 : 1;
}

static int execute(void)
{
    (void)execl("/bin/true", "true", (char *)NULL);
    return errno == EACCES ? 0 : 1;
}

static int privileges(void)
{
    char line[128];
    unsigned long long caps = ~0ULL;
    FILE *f = fopen("/proc/self/status", "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "CapEff:", 7) == 0)
            caps = strtoull(line + 7, NULL, 16);
    caps &= ~(1ULL << 19); /* CAP_SYS_PTRACE stays for leak checks */
    return caps == 0 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 && prctl(PR_GET_DUMPABLE) == 0
               ? 0
               : 1;
}

static void it_writes_in_its_own_folders(void **state)
{
    assert_int_equal(inside_of(write_inside), 0);
    assert_int_equal(inside_of(write_null), 0);
}

static void it_writes_nowhere_else(void **state)
{
    assert_int_equal(inside_of(write_outside), 0);
}

static void it_still_reads(void **state)
{
    assert_int_equal(inside_of(read_outside), 0);
}

static void it_runs_no_program(void **state)
{
    assert_int_equal(inside_of(execute), 0);
}

static void it_has_no_capability_and_gets_none_and_dumps_no_core(void **state)
{
    assert_int_equal(inside_of(privileges), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {T(it_writes_in_its_own_folders), T(it_writes_nowhere_else),
                                       T(it_still_reads), T(it_runs_no_program),
                                       T(it_has_no_capability_and_gets_none_and_dumps_no_core)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
