#include "sync/base/config.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/base/buf.h"

enum { CONFIG_NAME_BYTES_MAX = 128, CONFIG_ORIGIN_BYTES_MAX = 512, CONFIG_VALUE_BYTES_MAX = 4096 };

struct value {
    char *text;
    char *origin;
};

struct base_config {
    const struct base_setting *table;
    size_t count;
    struct value *values;
};

struct reading {
    struct base_config *config;
    const char *path;
    struct base_err *err;
    int rc;
    int line;
};

static size_t table_count(const struct base_setting *table)
{
    size_t n = 0;
    while (table[n].section != NULL)
        n++;
    return n;
}

static size_t find(const struct base_config *c, const char *section, const char *key)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->table[i].section, section) == 0 && strcmp(c->table[i].key, key) == 0)
            return i;
    return c->count;
}

/* Levenshtein distance of two short names; tells a typo's nearest neighbour. */
static size_t distance(const char *a, const char *b)
{
    size_t row[CONFIG_NAME_BYTES_MAX + 1];
    size_t n = strlen(b);
    if (n > CONFIG_NAME_BYTES_MAX || strlen(a) > CONFIG_NAME_BYTES_MAX)
        return CONFIG_NAME_BYTES_MAX;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t best = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[n];
}

static int unknown(const struct base_config *c, const char *where, const char *section,
                   const char *key, struct base_err *err)
{
    char full[CONFIG_NAME_BYTES_MAX * 2];
    char best[CONFIG_NAME_BYTES_MAX * 2] = "";
    size_t nearest = CONFIG_NAME_BYTES_MAX;
    (void)snprintf(full, sizeof full, "%s.%s", section, key);
    for (size_t i = 0; i < c->count; i++) {
        char name[CONFIG_NAME_BYTES_MAX * 2];
        (void)snprintf(name, sizeof name, "%s.%s", c->table[i].section, c->table[i].key);
        size_t d = distance(full, name);
        if (d < nearest) {
            nearest = d;
            (void)snprintf(best, sizeof best, "%s", name);
        }
    }
    return base_fail(err, BASE_EINVALID,
                     "%s: unknown setting \"%s\" in section [%s]; did you mean %s?", where, key,
                     section, best);
}

static int check(const struct base_setting *s, const char *text, const char *where,
                 struct base_err *err)
{
    if (strlen(text) > CONFIG_VALUE_BYTES_MAX)
        return base_fail(err, BASE_ETOOBIG, "%s: %s.%s is longer than %d bytes", where, s->section,
                         s->key, CONFIG_VALUE_BYTES_MAX);
    if (s->type == BASE_CONFIG_INT) {
        char *end = NULL;
        errno = 0;
        long long v = strtoll(text, &end, 10);
        if (errno != 0 || end == text || *end != '\0' || v < s->min || v > s->max)
            return base_fail(err, BASE_EINVALID,
                             "%s: %s.%s must be a whole number from %lld to %lld, not \"%s\"",
                             where, s->section, s->key, (long long)s->min, (long long)s->max, text);
    }
    if (s->type == BASE_CONFIG_BOOL && strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
        return base_fail(err, BASE_EINVALID, "%s: %s.%s must be true or false, not \"%s\"", where,
                         s->section, s->key, text);
    return 0;
}

static int set(struct base_config *c, size_t i, const char *text, const char *where,
               struct base_err *err)
{
    int rc = check(&c->table[i], text, where, err);
    if (rc != 0)
        return rc;
    char *copy = strdup(text);
    char *origin = strdup(where);
    if (copy == NULL || origin == NULL) {
        free(copy);
        free(origin);
        return base_fail(err, BASE_ENOMEM, "out of memory while reading the configuration");
    }
    free(c->values[i].text);
    free(c->values[i].origin);
    c->values[i].text = copy;
    c->values[i].origin = origin;
    return 0;
}

static int on_line(void *user, const char *section, const char *name, const char *value)
{
    struct reading *r = user;
    char where[CONFIG_ORIGIN_BYTES_MAX];
    (void)snprintf(where, sizeof where, "%s:%d", r->path, r->line);
    size_t i = find(r->config, section, name);
    r->rc = i == r->config->count ? unknown(r->config, where, section, name, r->err)
                                  : set(r->config, i, value == NULL ? "" : value, where, r->err);
    return r->rc == 0;
}

/* libinih tells the line only of its first error: count lines ourselves as it asks for them. */
struct counted_file {
    FILE *file;
    struct reading *reading;
};

static char *next_line(char *str, int num, void *stream)
{
    struct counted_file *f = stream;
    char *line = fgets(str, num, f->file);
    if (line != NULL)
        f->reading->line++;
    return line;
}

static int read_file(struct base_config *c, const char *path, struct base_err *err)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return base_fail(err, errno == ENOENT ? BASE_ENOTFOUND : BASE_EIO,
                         "cannot open the configuration %s: %s", path, strerror(errno));
    struct reading r = {.config = c, .path = path, .err = err};
    struct counted_file f = {file, &r};
    int line = ini_parse_stream(next_line, &f, on_line, &r);
    (void)fclose(file);
    if (r.rc != 0)
        return r.rc;
    if (line != 0)
        return base_fail(err, BASE_EINVALID, "%s:%d: not \"key = value\" nor \"[section]\"", path,
                         line);
    return 0;
}

static int is_conf(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return d->d_name[0] != '.' && n > 5 && strcmp(d->d_name + n - 5, ".conf") == 0;
}

static int read_drop_ins(struct base_config *c, const char *path, struct base_err *err)
{
    char folder[CONFIG_ORIGIN_BYTES_MAX];
    struct dirent **found = NULL;
    (void)snprintf(folder, sizeof folder, "%s.d", path);
    int n = scandir(folder, &found, is_conf, alphasort);
    int rc = 0;
    for (int i = 0; i < n; i++) {
        char file[CONFIG_ORIGIN_BYTES_MAX * 2];
        (void)snprintf(file, sizeof file, "%s/%s", folder, found[i]->d_name);
        if (rc == 0)
            rc = read_file(c, file, err);
        free(found[i]);
    }
    free(found);
    return rc;
}

static int read_environment(struct base_config *c, struct base_err *err)
{
    int rc = 0;
    for (size_t i = 0; i < c->count && rc == 0; i++) {
        char name[CONFIG_NAME_BYTES_MAX * 2 + 16];
        (void)snprintf(name, sizeof name, "EVERWARD_%s_%s", c->table[i].section, c->table[i].key);
        for (char *p = name; *p != '\0'; p++)
            *p = (char)toupper((unsigned char)*p);
        const char *text = getenv(name);
        if (text == NULL)
            continue;
        char where[CONFIG_NAME_BYTES_MAX * 2 + 24];
        (void)snprintf(where, sizeof where, "env %s", name);
        rc = set(c, i, text, where, err);
    }
    return rc;
}

static int require_all(const struct base_config *c, struct base_err *err)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->values[i].text == NULL)
            return base_fail(err, BASE_EINVALID, "setting %s.%s is missing: %s",
                             c->table[i].section, c->table[i].key, c->table[i].help);
    return 0;
}

int base_config_load(struct base_config **out, const struct base_setting *table, const char *path,
                     struct base_err *err)
{
    struct base_config *c = calloc(1, sizeof *c);
    if (c == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory while reading the configuration");
    c->table = table;
    c->count = table_count(table);
    c->values = calloc(c->count + 1, sizeof *c->values);
    int rc = c->values == NULL ? base_fail(err, BASE_ENOMEM, "out of memory") : 0;
    for (size_t i = 0; rc == 0 && i < c->count; i++)
        if (table[i].fallback != NULL)
            rc = set(c, i, table[i].fallback, "default", err);
    if (rc == 0 && path != NULL)
        rc = read_file(c, path, err);
    if (rc == 0 && path != NULL)
        rc = read_drop_ins(c, path, err);
    if (rc == 0)
        rc = read_environment(c, err);
    if (rc == 0)
        rc = require_all(c, err);
    if (rc != 0) {
        base_config_free(c);
        return rc;
    }
    *out = c;
    return 0;
}

void base_config_free(struct base_config *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; c->values != NULL && i < c->count; i++) {
        free(c->values[i].text);
        free(c->values[i].origin);
    }
    free(c->values);
    free(c);
}

static const struct value *get(const struct base_config *c, const char *section, const char *key)
{
    size_t i = find(c, section, key);
    BASE_ASSERT(i < c->count);
    return &c->values[i];
}

const char *base_config_text(const struct base_config *c, const char *section, const char *key)
{
    return get(c, section, key)->text;
}

int64_t base_config_int(const struct base_config *c, const char *section, const char *key)
{
    return strtoll(get(c, section, key)->text, NULL, 10);
}

bool base_config_bool(const struct base_config *c, const char *section, const char *key)
{
    return strcmp(get(c, section, key)->text, "true") == 0;
}

const char *base_config_origin(const struct base_config *c, const char *section, const char *key)
{
    return get(c, section, key)->origin;
}
