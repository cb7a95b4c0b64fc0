/*
 * tests/fault/inject.h - the n-th allocation, SQLite allocation, write, sync, … from now on fails.
 *
 * Allocations: malloc, calloc, realloc, strdup of everything linked statically (-Wl,--wrap), cJSON's
 * and SQLite's own. Files: a SQLite VFS below the sealing one. Not reached: libraries that call
 * malloc inside (zstd, libsodium's guarded memory, libcurl, GnuTLS).
 * Thread: any; what other threads do counts, too.
 */
#ifndef TESTS_FAULT_INJECT_H
#define TESTS_FAULT_INJECT_H

#include <stdbool.h>

enum inject_kind {
    INJECT_ALLOC,
    INJECT_SQLITE_ALLOC,
    INJECT_OPEN,
    INJECT_READ,
    INJECT_WRITE,
    INJECT_FULL,  /* a write, refused for want of space */
    INJECT_SHORT, /* a write of which only half arrives */
    INJECT_SYNC,
    INJECT_TRUNCATE,
    INJECT_SHM, /* mapping the WAL's index */
    INJECT_LOCK,
    INJECT_KINDS
};

/* First thing in main: SQLite must not have begun. */
void inject_start(void);
/* n >= 1: the n-th from now fails, and if again is set all that follow, too. */
void inject_arm(enum inject_kind kind, long n, bool again);
/* Nothing fails any more; did anything? */
bool inject_disarm(void);
/* How many calls of the kind that was armed last have come since. */
long inject_calls(void);
const char *inject_name(enum inject_kind kind);
/* What was injected so far, all kinds, as a line. */
void inject_figures(const char *what);

#endif
