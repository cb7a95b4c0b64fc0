#include "node/people/devices.h"

#include <string.h>

#include "node/people/internal.h"
#include "node/store/sql.h"
#include "sync/base/clock.h"

/* Crockford's alphabet: no letter that looks like a digit. */
static const char code_digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static const char *const class_names[] = {"tablet", "workstation", "shared"};

const char *node_device_class_name(enum node_device_class c)
{
    return class_names[c];
}

bool node_device_class_parse(enum node_device_class *out, const char *s)
{
    for (int i = 0; i < 3; i++)
        if (strcmp(class_names[i], s) == 0) {
            *out = (enum node_device_class)i;
            return true;
        }
    return false;
}

int people_sql_blob(struct node_db *db, const char *text, const void *blob, size_t len,
                    struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st, text, err);
    if (rc != 0)
        return rc;
    node_sql_blob(st, 1, blob, len);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc < 0 ? rc : rc > 0 || node_sql_changes(db) > 0 ? 1 : 0;
}

static int count_of(struct node_db *db, const char *text, int64_t arg, int64_t *out,
                    struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st, text, err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, arg);
    rc = node_sql_step(st, err);
    *out = rc > 0 ? node_sql_col_i64(st, 0) : 0;
    node_sql_done(st);
    return rc < 0 ? rc : 0;
}

static int delete_before(struct node_db *db, const char *text, int64_t ms, struct base_err *err)
{
    int64_t ignored = 0;
    return count_of(db, text, ms, &ignored, err);
}

static int token_make(char out[NODE_SESSION_TOKEN_CHARS + 1], uint8_t hash[32])
{
    uint8_t raw[NODE_SESSION_TOKEN_BYTES];
    struct base_buf text;
    seal_random(raw, sizeof raw);
    seal_hash(hash, raw, sizeof raw);
    base_buf_init(&text, 2 * NODE_SESSION_TOKEN_CHARS);
    seal_base64url(&text, raw, sizeof raw);
    int rc = base_buf_check(&text);
    if (rc == 0)
        snprintf(out, NODE_SESSION_TOKEN_CHARS + 1, "%s", text.data);
    base_buf_release(&text);
    seal_wipe(raw, sizeof raw);
    return rc;
}

bool node_secret_hash(uint8_t out[32], const char *text, size_t len)
{
    uint8_t raw[NODE_SESSION_TOKEN_BYTES];
    size_t n = 0;
    if (len != NODE_SESSION_TOKEN_CHARS || !seal_base64url_decode(raw, sizeof raw, &n, text, len) ||
        n != sizeof raw)
        return false;
    seal_hash(out, raw, sizeof raw);
    return true;
}

/* As people type it: any case, hyphens and blanks anywhere, O for 0 and I or L for 1. */
static bool code_hash(uint8_t out[32], const char *typed)
{
    char plain[NODE_PAIRING_CODE_CHARS];
    int n = 0;
    for (const char *s = typed; *s != '\0'; s++) {
        char c = *s >= 'a' && *s <= 'z' ? (char)(*s - 'a' + 'A') : *s;
        c = c == 'O' ? '0' : c == 'I' || c == 'L' ? '1' : c;
        if (c == '-' || c == ' ')
            continue;
        if (n == NODE_PAIRING_CODE_CHARS || strchr(code_digits, c) == NULL)
            return false;
        plain[n++] = c;
    }
    seal_hash(out, plain, sizeof plain);
    return n == NODE_PAIRING_CODE_CHARS;
}

static void code_make(char out[NODE_PAIRING_CODE_CHARS + 2], uint8_t hash[32])
{
    uint8_t random[NODE_PAIRING_CODE_CHARS];
    int n = 0;
    seal_random(random, sizeof random);
    for (int i = 0; i < NODE_PAIRING_CODE_CHARS; i++) {
        if (i == NODE_PAIRING_CODE_CHARS / 2)
            out[n++] = '-';
        out[n++] = code_digits[random[i] & 31];
    }
    out[n] = '\0';
    (void)code_hash(hash, out);
}

static int name_free(struct node_db *db, const char *name, const struct base_uuid *but,
                     struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(
        db, &st, "SELECT 1 FROM node_device WHERE name = ?1 AND revoked_ms IS NULL AND id <> ?2",
        err);
    if (rc != 0)
        return rc;
    node_sql_text(st, 1, name);
    node_sql_uuid(st, 2, but);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc <= 0 ? rc : base_fail(err, BASE_EEXISTS, "a device of that name is paired already");
}

static int check_room(struct node_db *db, const char *name, int64_t now_ms, struct base_err *err)
{
    static const struct base_uuid none;
    int64_t offers = 0;
    int64_t devices = 0;
    int rc = delete_before(db, "DELETE FROM node_pairing WHERE expires_ms <= ?1", now_ms, err);
    if (rc == 0)
        rc = name_free(db, name, &none, err);
    if (rc == 0)
        rc = count_of(db, "SELECT count(*) FROM node_pairing WHERE expires_ms > ?1", now_ms,
                      &offers, err);
    if (rc == 0)
        rc = count_of(db, "SELECT count(*) FROM node_device WHERE revoked_ms IS NULL AND ?1 > 0",
                      now_ms, &devices, err);
    if (rc == 0 && (offers >= NODE_PAIRINGS_MAX || devices >= NODE_DEVICES_MAX))
        return base_fail(err, BASE_EFULL, "at most %d devices, and %d offers at a time",
                         NODE_DEVICES_MAX, NODE_PAIRINGS_MAX);
    return rc;
}

static void bind_uuid_or_null(struct node_stmt *st, int at, const struct base_uuid *u)
{
    if (base_uuid_is_zero(u))
        node_sql_text(st, at, NULL);
    else
        node_sql_uuid(st, at, u);
}

int node_pairing_make(struct node_db *db, const struct node_author *author, const char *name,
                      enum node_device_class class, int64_t now_ms, struct node_pairing *out,
                      struct base_err *err)
{
    struct node_stmt *st = NULL;
    uint8_t token_hash[32];
    uint8_t of_code[32];
    int rc = check_room(db, name, now_ms, err);
    if (rc == 0)
        rc = token_make(out->token, token_hash);
    if (rc != 0)
        return rc;
    code_make(out->code, of_code);
    out->expires_ms = now_ms + NODE_PAIRING_LIFE_MS;
    rc = node_sql(db, &st,
                  "INSERT INTO node_pairing (token_hash, code_hash, name, class, made_by, "
                  "expires_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                  err);
    if (rc != 0)
        return rc;
    node_sql_blob(st, 1, token_hash, sizeof token_hash);
    node_sql_blob(st, 2, of_code, sizeof of_code);
    node_sql_text(st, 3, name);
    node_sql_text(st, 4, node_device_class_name(class));
    bind_uuid_or_null(st, 5, &author->actor);
    node_sql_i64(st, 6, out->expires_ms);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc != 0 ? rc
                   : node_audit_add(db, author, "device_offer", NULL, NULL, NULL, "ok", "", err);
}

struct offer {
    uint8_t token_hash[32];
    char name[NODE_DEVICE_BYTES_MAX + 1];
    enum node_device_class class;
    struct base_uuid made_by;
};

static int offer_find(struct node_db *db, const char *token, const char *code, int64_t now_ms,
                      struct offer *out, struct base_err *err)
{
    struct node_stmt *st = NULL;
    uint8_t hash[32];
    size_t len = 0;
    bool good =
        token != NULL ? node_secret_hash(hash, token, strlen(token)) : code_hash(hash, code);
    if (!good)
        return base_fail(err, BASE_ENOTFOUND, "no such offer");
    int rc = node_sql(db, &st,
                      "SELECT token_hash, name, class, made_by FROM node_pairing WHERE "
                      "expires_ms > ?2 AND (?3 AND token_hash = ?1 OR NOT ?3 AND code_hash = ?1)",
                      err);
    if (rc != 0)
        return rc;
    node_sql_blob(st, 1, hash, sizeof hash);
    node_sql_i64(st, 2, now_ms);
    node_sql_i64(st, 3, token != NULL);
    rc = node_sql_step(st, err);
    if (rc > 0) {
        const void *token_hash = node_sql_col_blob(st, 0, &len);
        if (token_hash != NULL && len == sizeof out->token_hash)
            memcpy(out->token_hash, token_hash, len);
        snprintf(out->name, sizeof out->name, "%s", node_sql_col_text(st, 1, &len));
        (void)node_device_class_parse(&out->class, node_sql_col_text(st, 2, &len));
        (void)node_sql_col_uuid(st, 3, &out->made_by);
    }
    node_sql_done(st);
    return rc < 0 ? rc : rc > 0 ? 0 : base_fail(err, BASE_ENOTFOUND, "no such offer");
}

static int device_insert(struct node_db *db, const struct offer *o, const struct base_uuid *id,
                         const uint8_t secret_hash[32], int64_t now_ms, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st,
                      "INSERT INTO node_device (id, name, class, secret_hash, paired_ms, "
                      "paired_by, seen_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?5)",
                      err);
    if (rc != 0)
        return rc;
    node_sql_uuid(st, 1, id);
    node_sql_text(st, 2, o->name);
    node_sql_text(st, 3, node_device_class_name(o->class));
    node_sql_blob(st, 4, secret_hash, 32);
    node_sql_i64(st, 5, now_ms);
    bind_uuid_or_null(st, 6, &o->made_by);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc;
}

int node_pairing_claim(struct node_db *db, const char *token, const char *code, const char *name,
                       const char *request_id, int64_t now_ms, struct node_device *out,
                       char secret[NODE_SESSION_TOKEN_CHARS + 1], struct base_err *err)
{
    static const struct base_uuid none;
    struct offer o = {.class = NODE_DEVICE_TABLET};
    struct base_uuid id;
    uint8_t secret_hash[32];
    int rc = offer_find(db, token, code, now_ms, &o, err);
    if (rc != 0)
        return rc;
    if (*name != '\0')
        snprintf(o.name, sizeof o.name, "%s", name);
    rc = name_free(db, o.name, &none, err);
    if (rc == 0)
        rc = token_make(secret, secret_hash);
    if (rc != 0)
        return rc;
    seal_uuid_v7(&id, now_ms);
    rc = people_sql_blob(db, "DELETE FROM node_pairing WHERE token_hash = ?1", o.token_hash, 32,
                         err);
    if (rc > 0)
        rc = device_insert(db, &o, &id, secret_hash, now_ms, err);
    struct node_author author = {.actor = o.made_by, .device = o.name, .request_id = request_id};
    if (rc == 0)
        rc = node_audit_add(db, &author, "device_paired", NULL, &id, NULL, "ok", "", err);
    return rc == 0 ? node_device_get(db, &id, out, err) : rc;
}

static void device_read(struct node_stmt *st, struct node_device *d)
{
    size_t len = 0;
    memset(d, 0, sizeof *d);
    (void)node_sql_col_uuid(st, 0, &d->name.id);
    snprintf(d->name.name, sizeof d->name.name, "%s", node_sql_col_text(st, 1, &len));
    (void)node_device_class_parse(&d->name.class, node_sql_col_text(st, 2, &len));
    d->paired_ms = node_sql_col_i64(st, 3);
    d->seen_ms = node_sql_col_i64(st, 4);
    d->revoked_ms = node_sql_col_i64(st, 5);
    const char *by = node_sql_col_text(st, 6, &len);
    snprintf(d->paired_by, sizeof d->paired_by, "%s", by != NULL ? by : "");
    by = node_sql_col_text(st, 7, &len);
    snprintf(d->last_user, sizeof d->last_user, "%s", by != NULL ? by : "");
    d->sessions = (int)node_sql_col_i64(st, 8);
}

#define DEVICE_COLUMNS                                                                             \
    "SELECT d.id, d.name, d.class, d.paired_ms, d.seen_ms, d.revoked_ms, "                         \
    "(SELECT username FROM \"staff\" WHERE id = d.paired_by), "                                    \
    "(SELECT username FROM \"staff\" WHERE id = d.last_user), "                                    \
    "(SELECT count(*) FROM node_session s WHERE s.device_id = d.id) FROM node_device d "

static int device_one(struct node_db *db, const char *text, const void *blob, size_t len,
                      struct node_device *out, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st, text, err);
    if (rc != 0)
        return rc;
    node_sql_blob(st, 1, blob, len);
    rc = node_sql_step(st, err);
    if (rc > 0)
        device_read(st, out);
    node_sql_done(st);
    return rc < 0 ? rc : rc > 0 ? 0 : base_fail(err, BASE_ENOTFOUND, "no such device");
}

int node_device_by_secret(struct node_db *db, const uint8_t secret_hash[32],
                          struct node_device *out, struct base_err *err)
{
    return device_one(db, DEVICE_COLUMNS "WHERE d.secret_hash = ?1 AND d.revoked_ms IS NULL",
                      secret_hash, 32, out, err);
}

int people_device_by_secret(struct node_db *db, const uint8_t secret_hash[32],
                            struct node_device_name *out, struct base_err *err)
{
    struct node_device d;
    int rc = node_device_by_secret(db, secret_hash, &d, err);
    if (rc == 0)
        *out = d.name;
    return rc;
}

int node_device_get(struct node_db *db, const struct base_uuid *id, struct node_device *out,
                    struct base_err *err)
{
    return device_one(db, DEVICE_COLUMNS "WHERE d.id = ?1", id->bytes, BASE_UUID_BYTES, out, err);
}

int node_device_each(struct node_db *db, void *user,
                     bool (*cb)(void *user, const struct node_device *d), struct base_err *err)
{
    struct node_stmt *st = NULL;
    struct node_device d;
    int left = NODE_DEVICES_MAX + NODE_DEVICES_REVOKED_MAX;
    int rc = node_sql(db, &st,
                      DEVICE_COLUMNS "ORDER BY d.revoked_ms IS NOT NULL, d.revoked_ms DESC, d.name",
                      err);
    if (rc != 0)
        return rc;
    while (left-- > 0 && (rc = node_sql_step(st, err)) > 0) {
        device_read(st, &d);
        if (!cb(user, &d))
            break;
    }
    node_sql_done(st);
    return rc < 0 ? rc : 0;
}

int node_device_change(struct node_db *db, const struct node_author *author,
                       const struct base_uuid *id, const char *name,
                       const enum node_device_class *class, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = name == NULL ? 0 : name_free(db, name, id, err);
    if (rc == 0)
        rc = node_sql(db, &st,
                      "UPDATE node_device SET name = coalesce(?2, name), class = coalesce(?3, "
                      "class) WHERE id = ?1 AND revoked_ms IS NULL",
                      err);
    if (rc != 0)
        return rc;
    node_sql_uuid(st, 1, id);
    node_sql_text(st, 2, name);
    node_sql_text(st, 3, class == NULL ? NULL : node_device_class_name(*class));
    rc = node_sql_step(st, err);
    node_sql_done(st);
    if (rc == 0 && node_sql_changes(db) == 0)
        return base_fail(err, BASE_ENOTFOUND, "no such device");
    return rc != 0 ? rc
                   : node_audit_add(db, author, "device_changed", NULL, id, NULL, "ok", "", err);
}

int node_device_revoke(struct node_db *db, const struct node_author *author,
                       const struct base_uuid *id, int64_t now_ms, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st,
                      "UPDATE node_device SET revoked_ms = ?2, revoked_by = ?3 WHERE id = ?1 AND "
                      "revoked_ms IS NULL",
                      err);
    if (rc != 0)
        return rc;
    node_sql_uuid(st, 1, id);
    node_sql_i64(st, 2, now_ms);
    bind_uuid_or_null(st, 3, &author->actor);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    if (rc == 0 && node_sql_changes(db) == 0)
        return base_fail(err, BASE_ENOTFOUND, "no such device");
    if (rc == 0)
        rc = people_sql_blob(db, "DELETE FROM node_session WHERE device_id = ?1", id->bytes,
                             BASE_UUID_BYTES, err);
    return rc < 0 ? rc
                  : node_audit_add(db, author, "device_revoked", NULL, id, NULL, "ok", "", err);
}
