/*
 * Statements, cached by their text, behind sql.h.
 *
 * A text that is in use already (a callback that asks again) gets a statement of its own for that
 * time. Binding errors are kept and told by the next step, so that callers need not look after
 * each.
 */

#include "node/store/internal.h"

static uint64_t hash_of(const char *text)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++)
        h = (h ^ *p) * 0x100000001b3u;
    return h;
}

static void stmt_free(struct node_stmt *st)
{
    sqlite3_finalize(st->st);
    free(st->text);
    free(st);
}

static struct node_stmt **bucket_of(struct node_db *db, uint64_t hash)
{
    return &db->buckets[(hash ^ hash >> 32) & (STORE_STMT_BUCKETS - 1)];
}

/* Room for one more: the one unused longest goes. */
static void evict(struct node_db *db)
{
    struct node_stmt **oldest = NULL;
    for (int i = 0; i < STORE_STMT_BUCKETS; i++)
        for (struct node_stmt **p = &db->buckets[i]; *p != NULL; p = &(*p)->next)
            if (!(*p)->busy && (oldest == NULL || (*p)->used < (*oldest)->used))
                oldest = p;
    if (oldest == NULL)
        return;
    struct node_stmt *st = *oldest;
    *oldest = st->next;
    db->stmt_count--;
    stmt_free(st);
}

static int stmt_new(struct node_db *db, struct node_stmt **out, const char *text, bool cached,
                    struct base_err *err)
{
    struct node_stmt *st = calloc(1, sizeof *st);
    if (st == NULL || (st->text = strdup(text)) == NULL) {
        free(st);
        return base_fail(err, BASE_ENOMEM, "out of memory for a statement");
    }
    if (sqlite3_prepare_v3(db->sql, text, -1, SQLITE_PREPARE_PERSISTENT, &st->st, NULL) !=
        SQLITE_OK) {
        int rc = store_fail(db, err, "preparing a statement");
        stmt_free(st);
        return rc;
    }
    st->db = db;
    st->cached = cached;
    *out = st;
    return 0;
}

int stmt_get(struct node_db *db, struct node_stmt **out, const char *text, struct base_err *err)
{
    /* what was prepared for us does not serve a module: it was not looked at */
    uint64_t hash = hash_of(text) ^ (db->guarded ? 0x9e3779b97f4a7c15u : 0);
    struct node_stmt **bucket = bucket_of(db, hash);
    struct node_stmt *st = *bucket;
    while (st != NULL && (st->hash != hash || strcmp(st->text, text) != 0))
        st = st->next;
    bool nested = st != NULL && st->busy;
    if (st == NULL || nested) {
        if (!nested && db->stmt_count >= STORE_STMTS_MAX)
            evict(db);
        int rc = stmt_new(db, &st, text, !nested, err);
        if (rc != 0)
            return rc;
        BASE_ASSERT(st != NULL);
        if (!nested) {
            st->hash = hash;
            st->next = *bucket;
            *bucket = st;
            db->stmt_count++;
        }
    }
    st->busy = true;
    db->busy_count++;
    st->bind_rc = SQLITE_OK;
    st->used = ++db->stmt_clock;
    *out = st;
    return 0;
}

int node_sql(struct node_db *db, struct node_stmt **out, const char *text, struct base_err *err)
{
    db->guarded = true;
    int rc = stmt_get(db, out, text, err);
    db->guarded = false;
    return rc;
}

static void bound(struct node_stmt *st, int rc)
{
    if (rc != SQLITE_OK)
        st->bind_rc = rc;
}

void node_sql_text(struct node_stmt *st, int at, const char *s)
{
    bound(st, sqlite3_bind_text(st->st, at, s, -1, SQLITE_TRANSIENT));
}

void node_sql_text_len(struct node_stmt *st, int at, const char *s, size_t len)
{
    bound(st, sqlite3_bind_text64(st->st, at, s, len, SQLITE_TRANSIENT, SQLITE_UTF8));
}

void node_sql_i64(struct node_stmt *st, int at, int64_t v)
{
    bound(st, sqlite3_bind_int64(st->st, at, v));
}

void node_sql_blob(struct node_stmt *st, int at, const void *p, size_t len)
{
    bound(st, sqlite3_bind_blob64(st->st, at, p, len, SQLITE_TRANSIENT));
}

void node_sql_uuid(struct node_stmt *st, int at, const struct base_uuid *u)
{
    bound(st, u == NULL
                  ? sqlite3_bind_null(st->st, at)
                  : sqlite3_bind_blob(st->st, at, u->bytes, BASE_UUID_BYTES, SQLITE_TRANSIENT));
}

int node_sql_step(struct node_stmt *st, struct base_err *err)
{
    if (st->bind_rc != SQLITE_OK)
        return base_fail(err, st->bind_rc == SQLITE_NOMEM ? BASE_ENOMEM : BASE_EBUG,
                         "binding a value: %s", sqlite3_errstr(st->bind_rc));
    int rc = sqlite3_step(st->st);
    if (rc == SQLITE_ROW)
        return 1;
    return rc == SQLITE_DONE ? 0 : store_fail(st->db, err, "the replica");
}

const char *node_sql_col_text(struct node_stmt *st, int col, size_t *len)
{
    const char *s = (const char *)sqlite3_column_text(st->st, col);
    if (len != NULL)
        *len = s == NULL ? 0 : (size_t)sqlite3_column_bytes(st->st, col);
    return s;
}

int64_t node_sql_col_i64(struct node_stmt *st, int col)
{
    return sqlite3_column_int64(st->st, col);
}

const void *node_sql_col_blob(struct node_stmt *st, int col, size_t *len)
{
    const void *p = sqlite3_column_blob(st->st, col);
    if (len != NULL)
        *len = p == NULL ? 0 : (size_t)sqlite3_column_bytes(st->st, col);
    return p;
}

bool node_sql_col_uuid(struct node_stmt *st, int col, struct base_uuid *out)
{
    const void *p = sqlite3_column_blob(st->st, col);
    if (p == NULL || sqlite3_column_bytes(st->st, col) != BASE_UUID_BYTES)
        return false;
    memcpy(out->bytes, p, BASE_UUID_BYTES);
    return true;
}

void node_sql_done(struct node_stmt *st)
{
    if (st == NULL)
        return;
    sqlite3_reset(st->st);
    sqlite3_clear_bindings(st->st); /* no patient's data stays behind in a cache */
    st->busy = false;
    st->db->busy_count--;
    if (!st->cached)
        stmt_free(st);
}

int stmt_run(struct node_stmt *st, struct base_err *err)
{
    int rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc > 0 ? 0 : rc;
}

int64_t node_sql_changes(struct node_db *db)
{
    return sqlite3_changes64(db->sql);
}

int node_sql_exec(struct node_db *db, const char *text, struct base_err *err)
{
    db->guarded = true;
    int rc = connection_exec(db, text, err);
    db->guarded = false;
    return rc;
}

void stmt_reset_busy(struct node_db *db)
{
    for (int i = 0; db->busy_count > 0 && i < STORE_STMT_BUCKETS; i++)
        for (struct node_stmt *st = db->buckets[i], *next; st != NULL; st = next) {
            next = st->next;
            if (st->busy)
                node_sql_done(st);
        }
}

void stmt_drop_all(struct node_db *db)
{
    for (int i = 0; i < STORE_STMT_BUCKETS; i++)
        while (db->buckets[i] != NULL) {
            struct node_stmt *st = db->buckets[i];
            db->buckets[i] = st->next;
            stmt_free(st);
        }
    db->stmt_count = 0;
}
