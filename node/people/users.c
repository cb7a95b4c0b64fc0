#include "node/people/users.h"

#include <string.h>

#include "node/people/internal.h"
#include "node/store/sql.h"

static void text_col(struct node_stmt *st, int col, char *out, size_t out_bytes)
{
    size_t len = 0;
    const char *s = node_sql_col_text(st, col, &len);
    snprintf(out, out_bytes, "%s", s != NULL ? s : "");
}

/* A JSON list that would be cut off is none. */
static void list_col(struct node_stmt *st, int col, char *out, size_t out_bytes)
{
    size_t len = 0;
    const char *s = node_sql_col_text(st, col, &len);
    snprintf(out, out_bytes, "%s", s != NULL && len < out_bytes ? s : "[]");
}

static bool is_past(const char *text, int64_t now_ms)
{
    int64_t at = 0;
    return !node_moment_ms(&at, text, strlen(text)) || at <= now_ms;
}

#define USER_COLUMNS                                                                               \
    "SELECT s.id, s.username, trim(coalesce(s.given_names, '') || ' ' || "                         \
    "coalesce(s.family_name, '')), s.active, s.verifier IS NOT NULL, s.revoked_at, "               \
    "s.valid_until_at, "                                                                           \
    "(SELECT json_group_array(r.role) FROM \"staff_role\" r WHERE r.staff_id = s.id), "            \
    "(SELECT json_group_array(coalesce(l.name, l.code)) FROM \"staff_role\" r JOIN \"location\" "  \
    "l "                                                                                           \
    "ON l.id = r.location_id WHERE r.staff_id = s.id), "                                           \
    "EXISTS (SELECT 1 FROM node_pin p WHERE p.staff_id = s.id), "                                  \
    "(SELECT count(*) FROM node_session n WHERE n.staff_id = s.id), "                              \
    "(SELECT at_ms FROM node_last_login g WHERE g.staff_id = s.id) FROM \"staff\" s "

static void user_read(struct node_stmt *st, int64_t now_ms, struct node_user *u)
{
    memset(u, 0, sizeof *u);
    (void)node_sql_col_uuid(st, 0, &u->id);
    text_col(st, 1, u->username, sizeof u->username);
    text_col(st, 2, u->name, sizeof u->name);
    text_col(st, 5, u->revoked_at, sizeof u->revoked_at);
    text_col(st, 6, u->valid_until_at, sizeof u->valid_until_at);
    u->usable = node_sql_col_i64(st, 3) == 1 &&
                (u->revoked_at[0] == '\0' || !is_past(u->revoked_at, now_ms)) &&
                (u->valid_until_at[0] == '\0' || !is_past(u->valid_until_at, now_ms));
    u->has_password = node_sql_col_i64(st, 4) != 0;
    list_col(st, 7, u->roles, sizeof u->roles);
    list_col(st, 8, u->wards, sizeof u->wards);
    u->has_pin = node_sql_col_i64(st, 9) != 0;
    u->sessions = (int)node_sql_col_i64(st, 10);
    u->last_login_ms = node_sql_col_i64(st, 11);
}

static int failures_read(struct node_db *db, struct node_user *u, struct base_err *err)
{
    struct node_stmt *st = NULL;
    uint8_t hash[32];
    int rc = node_sql(db, &st,
                      "SELECT failures, last_ms FROM node_login_failure WHERE name_hash = ?1", err);
    if (rc != 0)
        return rc;
    node_login_name_hash(hash, u->username);
    node_sql_blob(st, 1, hash, sizeof hash);
    rc = node_sql_step(st, err);
    if (rc > 0) {
        u->failures = node_sql_col_i64(st, 0);
        u->failed_ms = node_sql_col_i64(st, 1);
    }
    node_sql_done(st);
    return rc < 0 ? rc : 0;
}

int node_user_each(struct node_db *db, int64_t now_ms, void *user,
                   bool (*cb)(void *user, const struct node_user *u), struct base_err *err)
{
    struct node_user u;
    struct node_stmt *st = NULL;
    int left = NODE_USERS_LIST_MAX;
    int rc = node_sql(db, &st, USER_COLUMNS "ORDER BY s.username, s.id", err);
    if (rc != 0)
        return rc;
    while (left-- > 0 && (rc = node_sql_step(st, err)) > 0) {
        user_read(st, now_ms, &u);
        rc = failures_read(db, &u, err);
        if (rc != 0 || !cb(user, &u))
            break;
    }
    node_sql_done(st);
    return rc < 0 ? rc : 0;
}

static int user_get(struct node_db *db, const struct base_uuid *id, int64_t now_ms,
                    struct node_user *out, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st, USER_COLUMNS "WHERE s.id = ?1", err);
    if (rc != 0)
        return rc;
    node_sql_uuid(st, 1, id);
    rc = node_sql_step(st, err);
    if (rc > 0)
        user_read(st, now_ms, out);
    node_sql_done(st);
    return rc < 0 ? rc : rc > 0 ? 0 : base_fail(err, BASE_ENOTFOUND, "there is no such person");
}

int node_user_unlock(struct node_db *db, const struct node_author *author,
                     const struct base_uuid *id, int64_t now_ms, struct base_err *err)
{
    struct node_user u;
    uint8_t hash[32];
    int rc = user_get(db, id, now_ms, &u, err);
    if (rc != 0)
        return rc;
    node_login_name_hash(hash, u.username);
    rc = people_sql_blob(db, "DELETE FROM node_login_failure WHERE name_hash = ?1", hash,
                         sizeof hash, err);
    return rc < 0 ? rc
                  : node_audit_add(db, author, "user_unlock", "staff", id, NULL, "ok", "", err);
}

int node_user_logout(struct node_db *db, const struct node_author *author,
                     const struct base_uuid *id, int64_t now_ms, int *count, struct base_err *err)
{
    struct node_user u;
    int rc = user_get(db, id, now_ms, &u, err);
    if (rc == 0)
        rc = people_sql_blob(db, "DELETE FROM node_session WHERE staff_id = ?1", id->bytes,
                             BASE_UUID_BYTES, err);
    *count = rc == 1 ? (int)node_sql_changes(db) : 0;
    return rc < 0 ? rc
                  : node_audit_add(db, author, "user_logout", "staff", id, NULL, "ok", "", err);
}

int node_user_find(struct node_db *db, const char *username, int64_t now_ms, struct base_uuid *out,
                   struct base_err *err)
{
    char folded[NODE_LOGIN_NAME_BYTES_MAX * 2 + 1];
    struct people_staff staff = {.usable = false};
    node_username_fold(folded, sizeof folded, username);
    int rc = people_staff_by_name(db, folded, now_ms, &staff, err);
    if (rc == 0)
        *out = staff.id;
    return rc;
}

int node_staff_list_number(struct node_db *db, int64_t *out, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st, "SELECT number FROM node_staff_list WHERE one = 1", err);
    if (rc != 0)
        return rc;
    rc = node_sql_step(st, err);
    *out = rc > 0 ? node_sql_col_i64(st, 0) : 0;
    node_sql_done(st);
    return rc < 0 ? rc : 0;
}
