/*
 * sync/gateway/migrations.h - the SQL files of schema/central as they were when this program was
 * built.
 */
#ifndef SYNC_GATEWAY_MIGRATIONS_H
#define SYNC_GATEWAY_MIGRATIONS_H

#include <stddef.h>

struct gw_migration {
    const char *name; /* "0001_roles.sql" */
    const char *sql;  /* NUL-terminated */
    size_t len;
};

extern const struct gw_migration gw_migrations[]; /* in order of name */
extern const size_t gw_migration_count;

#endif
