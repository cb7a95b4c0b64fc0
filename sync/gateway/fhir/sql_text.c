/* The text of the import's statements, made from the tables' specs. */
#include "sync/gateway/fhir/import_internal.h"

enum { SQL_BYTES_MAX = 64 * 1024 };

/* unnest($2::uuid[], $3::…[], …) AS u (id, …) */
static void add_source(struct base_buf *b, const struct gw_ward_spec *s)
{
    base_buf_str(b, "unnest($2::uuid[]");
    for (int k = 0; k < s->count; k++)
        base_buf_printf(b, ", $%d::%s[]", k + 3, gw_ward_sql_type(s->columns[k].type));
    base_buf_str(b, ") AS u (id");
    for (int k = 0; k < s->count; k++)
        base_buf_printf(b, ", %s", s->columns[k].name);
    base_buf_str(b, ")");
}

/* json has no equality, and numeric's takes 36.7 for 36.70 */
static const char *cast(const struct gw_ward_column *c)
{
    return c->type == GW_TYPE_JSON || c->type == GW_TYPE_DECIMAL ? "::text" : "";
}

static void add_value(struct base_buf *b, const struct gw_ward_column *c, const char *source)
{
    if (c->renew == GW_RENEW_FALSE)
        base_buf_printf(b, "(t.%s AND %s.%s)", c->name, source, c->name);
    else
        base_buf_printf(b, "%s.%s", source, c->name);
}

/* "(t.a, t.b) IS DISTINCT FROM (u.a, u.b)" of the columns that an import may change */
static void add_differs(struct base_buf *b, const struct gw_ward_spec *s, const char *source)
{
    for (int side = 0; side < 2; side++) {
        bool first = true;
        base_buf_str(b, side == 0 ? "ROW(" : " IS DISTINCT FROM ROW(");
        for (int k = 0; k < s->count; k++) {
            const struct gw_ward_column *c = &s->columns[k];
            if (c->renew == GW_RENEW_NEVER)
                continue;
            base_buf_str(b, first ? "" : ", ");
            first = false;
            if (side == 0)
                base_buf_printf(b, "t.%s", c->name);
            else
                add_value(b, c, source);
            base_buf_str(b, cast(c));
        }
        base_buf_char(b, ')');
    }
}

char *gw_sql_insert(const struct gw_ward_spec *s)
{
    struct base_buf b;
    base_buf_init(&b, SQL_BYTES_MAX);
    base_buf_printf(&b, "INSERT INTO ward.%s AS t (id, tenant_id", s->name);
    for (int k = 0; k < s->count; k++)
        base_buf_printf(&b, ", %s", s->columns[k].name);
    base_buf_str(&b, ") SELECT u.id, $1::uuid");
    for (int k = 0; k < s->count; k++)
        base_buf_printf(&b, ", u.%s", s->columns[k].name);
    base_buf_str(&b, " FROM ");
    add_source(&b, s);
    base_buf_str(&b, " ON CONFLICT (tenant_id, id) DO ");
    if (s->fact) {
        base_buf_str(&b, "NOTHING");
    } else {
        base_buf_str(&b, "UPDATE SET ");
        bool first = true;
        for (int k = 0; k < s->count; k++) {
            if (s->columns[k].renew == GW_RENEW_NEVER)
                continue;
            base_buf_printf(&b, "%s%s = ", first ? "" : ", ", s->columns[k].name);
            add_value(&b, &s->columns[k], "EXCLUDED");
            first = false;
        }
        base_buf_str(&b, " WHERE ");
        add_differs(&b, s, "EXCLUDED");
    }
    base_buf_str(&b, " RETURNING t.id");
    return base_buf_take(&b);
}

/* Of facts: those that are there with another content. LATERAL with LIMIT, here and below: few rows
 * out of many are found by index, whatever the statistics say of a table that is being filled. */
char *gw_sql_compare(const struct gw_ward_spec *s)
{
    struct base_buf b;
    base_buf_init(&b, SQL_BYTES_MAX);
    base_buf_str(&b, "SELECT u.id FROM ");
    add_source(&b, s);
    base_buf_printf(&b,
                    " CROSS JOIN LATERAL (SELECT * FROM ward.%s x WHERE x.tenant_id = $1::uuid"
                    " AND x.id = u.id LIMIT 1) t WHERE ",
                    s->name);
    add_differs(&b, s, "u");
    return base_buf_take(&b);
}
