/*
 * sync/gateway/lint.h - is the database still as isolated as the migrations made it?
 *
 * Does:      looks into PostgreSQL's catalog, as any role may: forced policies of the one form on every table with a tenant, keys that
 *            begin with it, definer functions, views, grants, roles, capture triggers, settings. From the
 *            catalog, so that a table nobody thought of is not forgotten.
 * Does not:  change anything, or read a row of a tenant.
 * Used by:   `everward-gateway doctor`, `serve` at its start (a leak: it does not serve), the tests (tests/isolation plants
 *            faults, each of which must be found).
 */
#ifndef SYNC_GATEWAY_LINT_H
#define SYNC_GATEWAY_LINT_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "sync/base/err.h"

struct gw_finding {
    const char *check; /* "rls-forced" */
    bool leak;         /* one tenant might see another, or a change might not be captured */
    const char *what;  /* the object, never data */
    const char *fix;   /* what to do about it */
};
typedef void (*gw_finding_cb)(void *user, const struct gw_finding *f);
/* done(check) after each check, with how many it found; may be NULL. BASE_EUNREACHABLE, BASE_ENOTFOUND (not migrated). */
int gw_lint(PGconn *pg, void *user, gw_finding_cb found,
            void (*done)(void *user, const char *check, int count), struct base_err *err);

#endif
