/* Rows and values of synced tables, between the file and texts by ordinal. */

#include "node/store/internal.h"

static int misfit(struct base_err *err, enum core_type type)
{
    return base_fail(err, BASE_EPROTO, "a value is not of type %s", core_type_name(type));
}

static bool parse_i64(struct core_text v, int64_t *out)
{
    bool negative = v.len > 0 && v.s[0] == '-';
    uint64_t n = 0;
    if (v.len == (size_t)negative || v.len > 19u + negative)
        return false;
    for (size_t i = negative; i < v.len; i++) {
        if (v.s[i] < '0' || v.s[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(v.s[i] - '0');
    }
    if (n > (uint64_t)INT64_MAX + negative)
        return false;
    *out = negative ? (int64_t)(0 - n) : (int64_t)n;
    return true;
}

int value_bind(sqlite3_stmt *st, int at, enum core_type type, struct core_text v,
               struct base_uuid *room, struct base_err *err)
{
    int rc = SQLITE_OK;
    if (v.s == NULL) {
        rc = sqlite3_bind_null(st, at);
    } else if (type == CORE_TYPE_UUID) {
        if (!base_uuid_parse(room, v.s, v.len))
            return misfit(err, type);
        rc = sqlite3_bind_blob(st, at, room->bytes, BASE_UUID_BYTES, SQLITE_STATIC);
    } else if (type == CORE_TYPE_INT) {
        int64_t n = 0;
        if (!parse_i64(v, &n))
            return misfit(err, type);
        rc = sqlite3_bind_int64(st, at, n);
    } else if (type == CORE_TYPE_BOOL) {
        if (v.len != 1 || (v.s[0] != 't' && v.s[0] != 'f'))
            return misfit(err, type);
        rc = sqlite3_bind_int(st, at, v.s[0] == 't');
    } else {
        rc = sqlite3_bind_text(st, at, v.s, (int)v.len, SQLITE_STATIC);
    }
    return rc == SQLITE_OK ? 0
                           : base_fail(err, BASE_ENOMEM, "binding a value: %s", sqlite3_errstr(rc));
}

static int keep(struct base_arena *arena, const char *s, size_t len, struct core_text *out,
                struct base_err *err)
{
    char *copy = base_arena_copy(arena, s, len);
    if (copy == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for a row");
    *out = (struct core_text){copy, len};
    return 0;
}

/* By what is stored, so that a column whose type the centre changed is still read. */
int value_read(sqlite3_stmt *st, int col, enum core_type type, struct base_arena *arena,
               struct core_text *out, struct base_err *err)
{
    char text[BASE_UUID_CHARS + 1];
    switch (sqlite3_column_type(st, col)) {
    case SQLITE_NULL:
        *out = text_null();
        return 0;
    case SQLITE_BLOB: {
        struct base_uuid u;
        if (sqlite3_column_bytes(st, col) != BASE_UUID_BYTES)
            return base_fail(err, BASE_ECORRUPT, "a stored uuid is not 16 bytes long");
        memcpy(u.bytes, sqlite3_column_blob(st, col), BASE_UUID_BYTES);
        base_uuid_format(&u, text);
        return keep(arena, text, BASE_UUID_CHARS, out, err);
    }
    case SQLITE_INTEGER:
        if (type == CORE_TYPE_BOOL)
            return keep(arena, sqlite3_column_int(st, col) != 0 ? "t" : "f", 1, out, err);
        snprintf(text, sizeof text, "%lld", (long long)sqlite3_column_int64(st, col));
        return keep(arena, text, strlen(text), out, err);
    default: {
        const char *s = (const char *)sqlite3_column_text(st, col);
        if (s == NULL)
            return base_fail(err, BASE_ENOMEM, "out of memory for a row");
        return keep(arena, s, (size_t)sqlite3_column_bytes(st, col), out, err);
    }
    }
}

int row_read(struct node_db *db, struct node_table *t, sqlite3_stmt *st, struct base_arena *arena,
             struct row_now *out, struct base_err *err)
{
    char rev[24];
    out->exists = true;
    out->rev = sqlite3_column_int64(st, 1);
    out->pending = sqlite3_column_int64(st, 2);
    snprintf(rev, sizeof rev, "%lld", (long long)out->rev);
    int rc = value_read(st, 0, CORE_TYPE_UUID, arena, &out->image.fields[CORE_ORD_ID - 1], err);
    if (rc == 0)
        rc = keep(arena, rev, strlen(rev), &out->image.fields[CORE_ORD_REV - 1], err);
    out->image.fields[CORE_ORD_TENANT - 1] = (struct core_text){db->tenant, BASE_UUID_CHARS};
    for (int i = 0; rc == 0 && i < t->core->column_count; i++)
        rc = value_read(st, 3 + i, t->core->columns[i].type, arena,
                        &out->image.fields[CORE_ORD_FIRST - 1 + i], err);
    out->image.count = CORE_ORD_FIRST - 1 + t->core->column_count;
    return rc == 0 ? 0 : base_err_prefix(err, rc, "%s", t->name);
}

int row_get(struct node_db *db, struct node_table *t, const struct base_uuid *id,
            struct base_arena *arena, struct row_now *out, struct base_err *err)
{
    sqlite3_stmt *st = NULL;
    int rc = table_stmt(db, t, TABLE_GET, &st, err);
    if (rc != 0)
        return rc;
    sqlite3_bind_blob(st, 1, id->bytes, BASE_UUID_BYTES, SQLITE_STATIC);
    int step = sqlite3_step(st);
    if (step == SQLITE_ROW) {
        rc = row_read(db, t, st, arena, out, err);
    } else if (step == SQLITE_DONE) {
        out->exists = false;
        out->rev = out->pending = 0;
        out->image.count = 0;
    } else {
        rc = store_fail(db, err, t->name);
    }
    sqlite3_reset(st);
    return rc;
}

int row_exists(struct node_db *db, struct node_table *t, const struct base_uuid *id, bool *there,
               struct base_err *err)
{
    sqlite3_stmt *st = NULL;
    int rc = table_stmt(db, t, TABLE_EXISTS, &st, err);
    if (rc != 0)
        return rc;
    sqlite3_bind_blob(st, 1, id->bytes, BASE_UUID_BYTES, SQLITE_STATIC);
    sqlite3_bind_text(st, 2, t->name, -1, SQLITE_STATIC);
    if (sqlite3_step(st) == SQLITE_ROW)
        *there = sqlite3_column_int(st, 0) != 0;
    else
        rc = store_fail(db, err, t->name);
    sqlite3_reset(st);
    return rc;
}

int row_write(struct node_db *db, struct node_table *t, enum table_stmt how,
              const struct base_uuid *id, const struct core_image *im, int64_t rev, int64_t pending,
              bool *changed, struct base_err *err)
{
    sqlite3_stmt *st = NULL;
    struct base_uuid room[CORE_COLUMNS_MAX];
    int rc = table_stmt(db, t, how, &st, err);
    if (rc != 0)
        return rc;
    sqlite3_bind_blob(st, 1, id->bytes, BASE_UUID_BYTES, SQLITE_STATIC);
    sqlite3_bind_int64(st, 2, rev);
    sqlite3_bind_int64(st, 3, pending);
    for (int i = 0; i < t->core->column_count; i++) {
        rc = value_bind(st, 4 + i, t->core->columns[i].type,
                        core_image_field(im, CORE_ORD_FIRST + i), &room[i], err);
        if (rc != 0)
            return base_err_prefix(err, rc, "%s.%s", t->name, t->core->columns[i].name);
    }
    if (sqlite3_step(st) != SQLITE_DONE)
        rc = store_fail(db, err, t->name);
    else if (changed != NULL)
        *changed = sqlite3_changes(db->sql) > 0;
    sqlite3_reset(st);
    return rc;
}

int row_delete(struct node_db *db, struct node_table *t, const struct base_uuid *id, bool *changed,
               struct base_err *err)
{
    sqlite3_stmt *st = NULL;
    int rc = table_stmt(db, t, TABLE_DELETE, &st, err);
    if (rc != 0)
        return rc;
    sqlite3_bind_blob(st, 1, id->bytes, BASE_UUID_BYTES, SQLITE_STATIC);
    if (sqlite3_step(st) != SQLITE_DONE)
        rc = store_fail(db, err, t->name);
    else if (changed != NULL)
        *changed = sqlite3_changes(db->sql) > 0;
    sqlite3_reset(st);
    return rc;
}

/* Losing an event is told by a log line of the writer; the rows themselves are right. */
void row_moved(struct node_db *db, const struct node_table *t, const struct base_uuid *id, char op,
               bool local, const struct core_image *im)
{
    struct store_moved *m = &db->moved;
    if (db->store == NULL)
        return;
    if (m->count == m->cap) {
        int cap = m->cap == 0 ? 256 : m->cap * 2;
        struct node_moved *list =
            cap > STORE_MOVED_MAX ? NULL : realloc(m->list, (size_t)cap * sizeof *list);
        if (list == NULL) {
            m->lost++;
            return;
        }
        m->list = list;
        m->cap = cap;
    }
    struct node_moved *to = &m->list[m->count++];
    *to = (struct node_moved){.table = t->name, .id = *id, .op = op, .local = local};
    if (t->patient_ord == CORE_ORD_ID) {
        to->patient_id = *id;
    } else if (t->patient_ord != 0) {
        struct core_text v = core_image_field(im, t->patient_ord);
        if (v.s != NULL)
            (void)base_uuid_parse(&to->patient_id, v.s, v.len);
    }
}

int image_check(struct node_db *db, const struct node_table *t, const struct core_image *im,
                struct base_uuid *id, int64_t *rev, struct base_err *err)
{
    struct core_text tenant = core_image_field(im, CORE_ORD_TENANT);
    if (im->count > CORE_ORD_FIRST - 1 + t->core->column_count)
        return base_fail(err, BASE_ESTALE, "%s: a row has more fields than catalog %lld says",
                         t->name, (long long)db->catalog->c.version);
    if (im->count < CORE_ORD_REV || im->fields[CORE_ORD_ID - 1].s == NULL ||
        !base_uuid_parse(id, im->fields[CORE_ORD_ID - 1].s, im->fields[CORE_ORD_ID - 1].len) ||
        im->fields[CORE_ORD_REV - 1].s == NULL || !parse_i64(im->fields[CORE_ORD_REV - 1], rev) ||
        *rev < 1)
        return base_fail(err, BASE_EPROTO, "%s: a row without id or rev", t->name);
    if (tenant.s == NULL || tenant.len != BASE_UUID_CHARS ||
        memcmp(tenant.s, db->tenant, BASE_UUID_CHARS) != 0)
        return base_fail(err, BASE_EDENIED, "%s: a row of another tenant", t->name);
    return 0;
}
