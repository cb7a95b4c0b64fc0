/*
 * What an exported outbox brings in asks for a review: an alert for each row of a batch that it has touched, in the same
 * transaction. Its id is derived from where the change came from, so that no repetition makes a second one.
 */
#include <string.h>

#include "sync/gateway/push.h"
#include "sync/seal/seal.h"

enum { LATE_STAFF_MAX = 16, LATE_JSON_BYTES_MAX = 16 * 1024 * 1024, LATE_SQL_BYTES_MAX = 4096 };

static bool took_effect(const struct push *p, const struct push_change *c)
{
    return c->c.seq <= p->late_upto && c->row != NULL && c->outcome != CORE_QUARANTINED &&
           c->outcome != CORE_DUPLICATE;
}

static void add_id(struct base_buf *b, const struct base_uuid *id)
{
    char text[BASE_UUID_CHARS + 1];
    base_uuid_format(id, text);
    base_buf_printf(b, "\"%s\"", text);
}

/* Whoever wrote this row in this batch, each once. */
static void add_staff(struct base_buf *b, const struct push *p, const struct push_row *row,
                      int first)
{
    struct base_uuid seen[LATE_STAFF_MAX];
    int n = 0;
    base_buf_str(b, ",\"s\":[");
    for (int i = first; i < p->count && n < LATE_STAFF_MAX; i++) {
        const struct base_uuid *actor = &p->changes[i].c.actor;
        bool known = p->changes[i].row != row || base_uuid_is_zero(actor);
        for (int k = 0; k < n && !known; k++)
            known = base_uuid_equal(&seen[k], actor);
        if (known)
            continue;
        if (n > 0)
            base_buf_char(b, ',');
        add_id(b, actor);
        seen[n++] = *actor;
    }
    base_buf_char(b, ']');
}

/* The first change of this row that took effect stands for all of them. */
static bool first_of_row(const struct push *p, int i)
{
    for (int k = p->skip; k < i && p->changes[i].row->changes > 1; k++)
        if (p->changes[k].row == p->changes[i].row && took_effect(p, &p->changes[k]))
            return false;
    return true;
}

static int add_rows(struct base_buf *b, const struct push *p, const struct gw_table *t)
{
    int n = 0;
    base_buf_char(b, '[');
    for (int i = p->skip; i < p->count; i++) {
        const struct push_change *c = &p->changes[i];
        struct base_uuid alert;
        char name[128];
        if (!took_effect(p, c) || c->row->table != t || !first_of_row(p, i))
            continue;
        int len = snprintf(name, sizeof name, "late %s %lld %lld", p->who.node, (long long)p->inc,
                           (long long)c->c.seq);
        seal_uuid_derived(&alert, &p->who.tenant_id, name, (size_t)len);
        base_buf_str(b, n++ == 0 ? "{\"a\":" : ",{\"a\":");
        add_id(b, &alert);
        base_buf_str(b, ",\"i\":");
        add_id(b, &c->row->id);
        add_staff(b, p, c->row, i);
        base_buf_char(b, '}');
    }
    base_buf_char(b, ']');
    return n;
}

/* The row's own column as a uuid, or NULL for tables that have none. */
static const char *column_of(const struct gw_table *t, const char *name)
{
    const struct core_column *k = core_table_column(t->core, name, strlen(name));
    return k == NULL || k->type != CORE_TYPE_UUID ? NULL
                                                  : t->columns[k->ord - CORE_ORD_FIRST].quoted;
}

static char *statement(struct push *p, const struct gw_table *t)
{
    const char *site = column_of(t, "site_id");
    const char *patient =
        strcmp(t->core->name, "patient") == 0 ? t->key : column_of(t, "patient_id");
    struct base_buf b;
    base_buf_init(&b, LATE_SQL_BYTES_MAX);
    base_buf_printf(&b,
                    "INSERT INTO everward.alert (id, tenant_id, site_id, kind, table_name, row_id,"
                    " patient_id, text, for_staff, raised_at) SELECT w.a, (SELECT everward.tenant()"
                    "), %s%s, 'late', $1, w.i, %s%s, $3, w.s, to_char(now() AT TIME ZONE 'UTC',"
                    " 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
                    " FROM json_to_recordset($2::json) AS w (a uuid, i uuid, s json)"
                    " LEFT JOIN %s AS r ON r.%s = (SELECT everward.tenant()) AND r.%s = w.i"
                    " ON CONFLICT DO NOTHING",
                    site == NULL ? "" : "r.", site == NULL ? "NULL" : site,
                    patient == NULL ? "" : "r.", patient == NULL ? "NULL" : patient, t->rel,
                    t->tenant, t->key);
    char *sql = base_buf_check(&b) != 0 ? NULL : base_arena_copy(&p->arena, b.data, b.len);
    base_buf_release(&b);
    return sql;
}

static bool flag_table(struct push *p, const struct gw_table *t)
{
    struct base_buf rows;
    struct base_buf text;
    base_buf_init(&rows, LATE_JSON_BYTES_MAX);
    base_buf_init(&text, LATE_SQL_BYTES_MAX);
    int n = add_rows(&rows, p, t);
    base_buf_printf(&text,
                    "Written at %s%s the centre no longer let in, and taken in late. It "
                    "stands: look whether it is still right.",
                    p->late, p->late[0] == '\0' ? "a node that" : ", which");
    bool ok = base_buf_check(&rows) == 0 && base_buf_check(&text) == 0;
    const struct gw_param params[] = {
        gw_text(t->core->name),
        gw_text(ok ? base_arena_copy(&p->arena, rows.data, rows.len) : NULL),
        gw_text(ok ? base_arena_copy(&p->arena, text.data, text.len) : NULL)};
    const char *sql = ok && n > 0 ? statement(p, t) : NULL;
    base_buf_release(&rows);
    base_buf_release(&text);
    if (!ok || params[1].data == NULL || params[2].data == NULL || (n > 0 && sql == NULL))
        return false;
    if (n > 0)
        (void)gw_flight_add(&p->flight, sql, 3, params);
    return true;
}

bool push_late_flags(struct push *p)
{
    for (int i = 0; i < p->catalog->core.table_count; i++) {
        const struct gw_table *t = &p->catalog->tables[i];
        bool touched = false;
        for (int k = 0; k < p->row_count && !touched; k++)
            touched = p->rows[k].table == t;
        /* What no node is ever shown needs nobody's eyes there. */
        if (touched && !t->core->push_only && !flag_table(p, t))
            return false;
    }
    return true;
}
