/* Small durable values by name. */

#include "node/store/internal.h"
#include "sync/base/clock.h"

enum { META_NAME_BYTES_MAX = 64, META_VALUE_BYTES_MAX = 64 * 1024 };

static int meta_find(struct node_db *db, struct node_stmt **st, const char *name,
                     struct base_err *err)
{
    int rc = stmt_get(db, st, "SELECT value FROM _meta WHERE name = ?", err);
    if (rc != 0)
        return rc;
    node_sql_text(*st, 1, name);
    rc = node_sql_step(*st, err);
    if (rc < 0)
        node_sql_done(*st);
    return rc;
}

int meta_text(struct node_db *db, const char *name, char *out, size_t bytes, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = meta_find(db, &st, name, err);
    if (rc < 0)
        return rc;
    snprintf(out, bytes, "%s", rc == 1 ? node_sql_col_text(st, 0, NULL) : "");
    node_sql_done(st);
    return 0;
}

int meta_i64(struct node_db *db, const char *name, int64_t fallback, int64_t *out,
             struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = meta_find(db, &st, name, err);
    if (rc < 0)
        return rc;
    *out = rc == 1 ? node_sql_col_i64(st, 0) : fallback;
    node_sql_done(st);
    return 0;
}

int meta_set(struct node_db *db, const char *name, const char *value, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st,
                      "INSERT INTO _meta (name, value) VALUES (?, ?) "
                      "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                      err);
    if (rc != 0)
        return rc;
    node_sql_text(st, 1, name);
    node_sql_text(st, 2, value);
    return stmt_run(st, err);
}

int meta_set_i64(struct node_db *db, const char *name, int64_t value, struct base_err *err)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return meta_set(db, name, text, err);
}

int meta_set_now(struct node_db *db, const char *name, struct base_err *err)
{
    char now[BASE_TIME_CHARS + 1];
    base_time_format(base_clock_wall_ms(), now);
    return meta_set(db, name, now, err);
}

int node_meta_get(struct node_db *db, const char *name, struct base_buf *out, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = meta_find(db, &st, name, err);
    if (rc < 0)
        return rc;
    size_t len = 0;
    const char *s = rc == 1 ? node_sql_col_text(st, 0, &len) : "";
    base_buf_add(out, s, len);
    node_sql_done(st);
    rc = base_buf_check(out);
    return rc == 0 ? 0 : base_fail(err, rc, "reading the value %s", name);
}

int node_meta_set(struct node_db *db, const char *name, const char *value, struct base_err *err)
{
    if (name[0] == '_' || name[0] == '\0' || strlen(name) > META_NAME_BYTES_MAX)
        return base_fail(err, BASE_EINVALID, "a value's name must not begin with \"_\"");
    if (strlen(value) > META_VALUE_BYTES_MAX)
        return base_fail(err, BASE_ETOOBIG, "the value %s is longer than %d bytes", name,
                         META_VALUE_BYTES_MAX);
    if (value[0] != '\0')
        return meta_set(db, name, value, err);
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st, "DELETE FROM _meta WHERE name = ?", err);
    if (rc != 0)
        return rc;
    node_sql_text(st, 1, name);
    return stmt_run(st, err);
}
