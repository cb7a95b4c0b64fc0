/*
 * sync/base/config.h - one INI file, a drop-in folder, EVERWARD_* overrides; one table names all
 * settings.
 *
 * Does:       reads FILE, then every *.conf of the folder FILE.d in order of name, then the
 * environment (section "sync", key "gateway_url" is EVERWARD_SYNC_GATEWAY_URL). Unknown section or
 * key, wrong type, out of range: BASE_EINVALID with file, line and the nearest known name. Does
 * not:   hold secrets: those come from files named here. This is the one place in base that uses a
 * library (libinih): it has line numbers.
 */
#ifndef SYNC_BASE_CONFIG_H
#define SYNC_BASE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sync/base/err.h"

enum base_config_type { BASE_CONFIG_TEXT, BASE_CONFIG_INT, BASE_CONFIG_BOOL };

/* One row of the program's table. The table ends with a row whose section is NULL. */
struct base_setting {
    const char *section;
    const char *key;
    enum base_config_type type;
    const char
        *fallback;    /* the value if nobody sets it, as text; NULL for a text that must be set */
    int64_t min, max; /* INT only */
    const char *help; /* one sentence with the unit */
};

struct base_config;

/* path may be NULL: defaults and environment alone. Free with base_config_free. */
int base_config_load(struct base_config **out, const struct base_setting *table, const char *path,
                     struct base_err *err);
void base_config_free(struct base_config *c);

/* Asking for a setting that is not in the table is a bug (assertion). Text may be "" but is never
 * NULL. */
const char *base_config_text(const struct base_config *c, const char *section, const char *key);
int64_t base_config_int(const struct base_config *c, const char *section, const char *key);
bool base_config_bool(const struct base_config *c, const char *section, const char *key);
/* "default", "env EVERWARD_…" or "file:line" */
const char *base_config_origin(const struct base_config *c, const char *section, const char *key);

#endif
