/*
 * sync/base/sandbox.h - gives up what a daemon does not need: core dumps, capabilities, gaining new ones, running programs, and
 * writing anywhere but in its own folders (Landlock, where the kernel has it: Linux 5.13).
 *
 * Does not:   restrict reading or the network; the systemd units do that, and filter system calls.
 * Thread:     before any other thread is made: what is given up is the calling thread's and its children's.
 * Invariant:  nothing given up comes back. A kernel without Landlock is told by the level, never an error.
 */
#ifndef SYNC_BASE_SANDBOX_H
#define SYNC_BASE_SANDBOX_H

#include <stdbool.h>

#include "sync/base/err.h"

enum { BASE_SANDBOX_FOLDERS_MAX = 16 };

struct base_sandbox {
    const char *folders[BASE_SANDBOX_FOLDERS_MAX +
                        1]; /* may be written in; NULL ends; one that is not there is left out */
    bool bind_low_ports;    /* keep CAP_NET_BIND_SERVICE, if it is there */
};

/* *landlock: the kernel's version of it, 0: it has none. */
int base_sandbox_enter(const struct base_sandbox *s, int *landlock, struct base_err *err);

#endif
