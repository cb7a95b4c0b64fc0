/*
 * Conflicts as rows, and what closes them. One row per contested group; its id is derived from
 * where the change came from, so that no repetition makes a second one. Both values are kept for
 * ever.
 */
#include <stdlib.h>
#include <string.h>

#include "sync/gateway/push.h"
#include "sync/seal/seal.h"

enum { CONFLICT_COLUMNS_MAX = 32, CONFLICT_JSON_BYTES_MAX = 4 * 1024 * 1024 };

struct conflict {
    struct push *p;
    const struct push_change *change;
    const struct core_contest *contest;
    const struct core_image *base, *live;
    const struct gw_table *into;
    int ords[CONFLICT_COLUMNS_MAX];
    struct core_text values[CONFLICT_COLUMNS_MAX];
    int count;
    bool failed;
};

static void set_text(struct conflict *c, const char *column, struct core_text v)
{
    const struct core_column *k = core_table_column(c->into->core, column, strlen(column));
    if (k == NULL || v.s == NULL || c->count == CONFLICT_COLUMNS_MAX)
        return;
    c->ords[c->count] = k->ord;
    c->values[c->count++] = v;
}

static void set_str(struct conflict *c, const char *column, const char *s)
{
    char *kept = s == NULL ? NULL : base_arena_copy(&c->p->plan, s, strlen(s));
    c->failed |= s != NULL && kept == NULL;
    set_text(c, column, core_text_of(kept));
}

static void set_uuid(struct conflict *c, const char *column, const struct base_uuid *u)
{
    char text[BASE_UUID_CHARS + 1];
    if (base_uuid_is_zero(u))
        return;
    base_uuid_format(u, text);
    set_str(c, column, text);
}

static void take_buf(struct conflict *c, const char *column, struct base_buf *b)
{
    c->failed |= base_buf_check(b) != 0;
    if (!c->failed)
        set_str(c, column, b->data);
    base_buf_release(b);
}

static const char *name_of(const struct conflict *c, int ord)
{
    return c->change->row->table->core->columns[ord - CORE_ORD_FIRST].name;
}

static void set_columns(struct conflict *c)
{
    struct base_buf b;
    base_buf_init(&b, CONFLICT_JSON_BYTES_MAX);
    base_buf_char(&b, '[');
    for (int i = 0; i < c->contest->count; i++) {
        if (i > 0)
            base_buf_char(&b, ',');
        base_buf_json_str(&b, name_of(c, c->contest->ords[i]));
    }
    base_buf_char(&b, ']');
    take_buf(c, "columns", &b);
}

static void write_member(struct base_buf *b, int i, const char *name, struct core_text v)
{
    if (i > 0)
        base_buf_char(b, ',');
    base_buf_json_str(b, name);
    base_buf_char(b, ':');
    if (v.s == NULL)
        base_buf_str(b, "null");
    else
        base_buf_json(b, v.s, v.len);
}

/* The contested columns as one side has them; no row on that side: SQL NULL. */
static void set_side(struct conflict *c, const char *column, const struct core_image *im)
{
    struct base_buf b;
    if (im == NULL)
        return;
    base_buf_init(&b, CONFLICT_JSON_BYTES_MAX);
    base_buf_char(&b, '{');
    for (int i = 0; i < c->contest->count; i++)
        write_member(&b, i, name_of(c, c->contest->ords[i]),
                     core_image_field(im, c->contest->ords[i]));
    base_buf_char(&b, '}');
    take_buf(c, column, &b);
}

static struct core_text incoming_value(const struct conflict *c, int ord)
{
    for (int k = 0; k < c->change->count; k++)
        if (c->change->ords[k] == ord)
            return c->change->values[k];
    const struct core_image *seen = c->base != NULL ? c->base : c->live;
    return seen == NULL ? (struct core_text){NULL, 0} : core_image_field(seen, ord);
}

/* What came in, by column; a side that wanted the row gone has none. */
static void set_incoming(struct conflict *c, const char *column)
{
    struct base_buf b;
    if (c->contest->is_delete)
        return;
    base_buf_init(&b, CONFLICT_JSON_BYTES_MAX);
    base_buf_char(&b, '{');
    for (int i = 0; i < c->contest->count; i++)
        write_member(&b, i, name_of(c, c->contest->ords[i]),
                     incoming_value(c, c->contest->ords[i]));
    base_buf_char(&b, '}');
    take_buf(c, column, &b);
}

static bool cols_have(struct core_text cols, int ord)
{
    char needle[16];
    int n = snprintf(needle, sizeof needle, "%d", ord);
    for (size_t i = 0; cols.s != NULL && i + (size_t)n < cols.len; i++) {
        bool left = cols.s[i] == '{' || cols.s[i] == ',';
        if (left && memcmp(cols.s + i + 1, needle, (size_t)n) == 0 &&
            (cols.s[i + 1 + (size_t)n] == ',' || cols.s[i + 1 + (size_t)n] == '}'))
            return true;
    }
    return false;
}

/* Whoever wrote what stands there now, last and unseen. */
static const struct core_past *author_of_live(const struct conflict *c)
{
    const struct core_past *found = NULL;
    for (const struct core_past *past = c->change->row->past; past != NULL; past = past->next) {
        if (core_past_was_seen(past, push_seen(c->change)))
            continue;
        bool touches = past->op != CORE_OP_UPDATE || c->contest->count == 0;
        for (int i = 0; i < c->contest->count; i++)
            touches |= cols_have(past->cols, c->contest->ords[i]);
        if (touches)
            found = past;
    }
    return found;
}

/* The two sides: "live" is what stands now, "incoming" the other, whichever came first. */
static void set_sides(struct conflict *c)
{
    const struct core_past *past = author_of_live(c);
    bool in_live = c->contest->incoming_live;
    set_incoming(c, in_live ? "live" : "incoming");
    set_uuid(c, in_live ? "live_by" : "incoming_by", &c->change->c.actor);
    set_text(c, in_live ? "live_at" : "incoming_at", c->change->c.at);
    set_str(c, in_live ? "live_node" : "incoming_node", c->p->who.node);
    set_side(c, in_live ? "incoming" : "live", c->live);
    if (past != NULL) {
        set_text(c, in_live ? "incoming_by" : "live_by", past->actor);
        set_text(c, in_live ? "incoming_at" : "live_at", past->at);
        set_text(c, in_live ? "incoming_node" : "live_node", past->node);
    }
    if (!in_live)
        set_str(c, "incoming_clock", core_clock_name(c->change->c.clock));
}

static struct core_text of_row(const struct conflict *c, const char *column)
{
    const struct core_table *t = c->change->row->table->core;
    const struct core_column *k = core_table_column(t, column, strlen(column));
    if (k == NULL)
        return (struct core_text){NULL, 0};
    struct core_text v =
        c->live == NULL ? (struct core_text){NULL, 0} : core_image_field(c->live, k->ord);
    return v.s != NULL ? v : incoming_value(c, k->ord);
}

/* Who should choose: what a person is called by, the registrar; medicines, the pharmacist. */
static const char *decide_role(const struct conflict *c)
{
    const struct core_table *t = c->change->row->table->core;
    if (strncmp(t->name, "medication", 10) == 0 || strcmp(t->name, "order_event") == 0)
        return "pharmacist";
    if (strcmp(t->name, "patient") == 0 && c->contest->count > 0) {
        const char *group = t->columns[c->contest->ords[0] - CORE_ORD_FIRST].group;
        if (group != NULL && strcmp(group, "identity") == 0)
            return "registrar";
    }
    return "charge_nurse";
}

static void derive_id(const struct conflict *c, struct base_uuid *out)
{
    char name[256];
    const struct core_table *t = c->change->row->table->core;
    const char *group = "row";
    if (c->contest->count > 0) {
        const struct core_column *k = &t->columns[c->contest->ords[0] - CORE_ORD_FIRST];
        group = k->group != NULL ? k->group : k->name;
    }
    int n = snprintf(name, sizeof name, "conflict %s %lld %lld %s", c->p->who.node,
                     (long long)c->p->inc, (long long)c->change->c.seq, group);
    seal_uuid_derived(out, &c->p->who.tenant_id, name, (size_t)n);
}

static void set_all(struct conflict *c)
{
    const struct push_row *row = c->change->row;
    const struct core_change *in = &c->change->c;
    set_str(c, "table_name", row->table->core->name);
    set_uuid(c, "row_id", &row->id);
    set_columns(c);
    set_str(c, "class", core_class_name(c->contest->class));
    set_str(c, "rule", core_rule_text(c->contest->rule));
    set_side(c, "base", c->base);
    set_sides(c);
    set_text(c, "base_rev", core_text_of(push_i64(&c->p->plan, in->base)));
    set_text(c, "live_rev",
             core_text_of(push_i64(&c->p->plan, row->rev_now + c->contest->incoming_live)));
    set_str(c, "decide_role", decide_role(c));
    set_str(c, "state", c->contest->settled ? "resolved" : "open");
    set_text(c, "site_id", of_row(c, "site_id"));
    if (strcmp(row->table->core->name, "patient") == 0)
        set_uuid(c, "patient_id", &row->id);
    else
        set_text(c, "patient_id", of_row(c, "patient_id"));
}

static int add_op(struct conflict *c, int change, const struct base_uuid *id)
{
    struct push_op *op = push_op_add(c->p);
    int *ords = base_arena_get(&c->p->plan, sizeof c->ords);
    struct core_text *values = base_arena_get(&c->p->plan, sizeof c->values);
    if (op == NULL || ords == NULL || values == NULL || c->failed)
        return BASE_ENOMEM;
    memcpy(ords, c->ords, sizeof c->ords);
    memcpy(values, c->values, sizeof c->values);
    *op = (struct push_op){.change = change,
                           .wave = CORE_BATCH_CHANGES_MAX + 1, /* behind all rows */
                           .kind = PUSH_INSERT,
                           .table = c->into,
                           .id = *id,
                           .count = c->count,
                           .ords = ords,
                           .values = values,
                           .may_exist = true};
    return 0;
}

int push_conflicts(struct push *p, int change, const struct core_merge *m,
                   const struct core_image *base, const struct core_image *live)
{
    const struct gw_table *into = gw_catalog_table(p->catalog, "conflict", strlen("conflict"));
    if (into == NULL || !into->known)
        return base_fail(&p->err, BASE_ECORRUPT, "the catalog has no table conflict");
    for (int i = 0; i < m->contest_count; i++) {
        struct conflict c = {.p = p,
                             .change = &p->changes[change],
                             .contest = &m->contests[i],
                             .base = base,
                             .live = live,
                             .into = into};
        struct base_uuid id;
        derive_id(&c, &id);
        set_all(&c);
        int rc = add_op(&c, change, &id);
        if (rc != 0)
            return rc;
        if (i == 0) {
            p->changes[change].conflict = id;
            p->changes[change].has_conflict = true;
        }
    }
    return 0;
}

/* ---- resolutions --------------------------------------------------------------------------- */

/* Locked first, so that of two resolutions at the same moment the later one sees the earlier. */
static const char lock_sql[] = "SELECT 1 FROM everward.conflict WHERE tenant_id = (SELECT"
                               " everward.tenant()) AND id = $1::uuid FOR NO KEY UPDATE";

static const char again_sql[] =
    "INSERT INTO everward.conflict (tenant_id, id, site_id, table_name, row_id, columns, class,"
    " rule, base, live, incoming, base_rev, live_rev, live_by, live_at, live_node, incoming_by,"
    " incoming_at, incoming_node, incoming_clock, decide_role, state, patient_id)"
    " SELECT o.tenant_id, $3::uuid, o.site_id, o.table_name, o.row_id, o.columns, o.class,"
    " 'two people resolved this conflict differently; a person looks again', o.base,"
    " CASE f.choice WHEN 'live' THEN o.live WHEN 'incoming' THEN o.incoming WHEN 'base' THEN o.base"
    " ELSE f.\"values\" END,"
    " CASE s.choice WHEN 'live' THEN o.live WHEN 'incoming' THEN o.incoming WHEN 'base' THEN o.base"
    " ELSE s.\"values\" END,"
    " o.base_rev, o.live_rev, o.resolved_by, o.resolved_at, NULL, $4::uuid, $5, $6::uuid, $7,"
    " o.decide_role, 'open', o.patient_id"
    " FROM everward.conflict o"
    " JOIN everward.conflict_resolution f ON f.tenant_id = o.tenant_id AND f.id = o.resolution_id"
    " JOIN everward.conflict_resolution s ON s.tenant_id = o.tenant_id AND s.id = $2::uuid"
    " WHERE o.tenant_id = (SELECT everward.tenant()) AND o.id = $1::uuid AND o.state = 'resolved'"
    " AND o.resolution_id <> $2::uuid"
    " AND (f.choice, f.\"values\"::text) IS DISTINCT FROM (s.choice, s.\"values\"::text)"
    " ON CONFLICT DO NOTHING";

static const char resolve_sql[] =
    "UPDATE everward.conflict SET state = 'resolved', resolved_by = $3::uuid, resolved_at = $4,"
    " resolution_id = $2::uuid WHERE tenant_id = (SELECT everward.tenant()) AND id = $1::uuid"
    " AND state = 'open'";

static struct core_text value_of(const struct push_change *c, const char *column)
{
    const struct core_table *t = c->row->table->core;
    const struct core_column *k = core_table_column(t, column, strlen(column));
    for (int i = 0; k != NULL && i < c->count; i++)
        if (c->ords[i] == k->ord)
            return c->values[i];
    return (struct core_text){NULL, 0};
}

static const char *zero_terminated(struct push *p, struct core_text v)
{
    return v.s == NULL ? NULL : base_arena_copy(&p->plan, v.s, v.len);
}

static const char *uuid_text(struct push *p, const struct base_uuid *u)
{
    char text[BASE_UUID_CHARS + 1];
    if (base_uuid_is_zero(u))
        return NULL;
    base_uuid_format(u, text);
    return base_arena_copy(&p->plan, text, BASE_UUID_CHARS);
}

static int resolve(struct push *p, const struct push_change *c)
{
    struct base_uuid again;
    char name[128];
    const char *conflict = zero_terminated(p, value_of(c, "conflict_id"));
    const char *id = uuid_text(p, &c->c.id);
    const char *actor = uuid_text(p, &c->c.actor);
    const char *at = zero_terminated(p, c->c.at);
    if (conflict == NULL || id == NULL)
        return 0;
    int n = snprintf(name, sizeof name, "resolved again %s %s", conflict, id);
    seal_uuid_derived(&again, &p->who.tenant_id, name, (size_t)n);
    struct push_statement *lock = push_statement_add(p, lock_sql, 1, -1);
    if (lock == NULL)
        return BASE_ENOMEM;
    lock->params[0] = gw_text(conflict);
    struct push_statement *s = push_statement_add(p, again_sql, 7, -1);
    if (s == NULL)
        return BASE_ENOMEM;
    const struct gw_param again_params[] = {gw_text(conflict),
                                            gw_text(id),
                                            gw_text(uuid_text(p, &again)),
                                            gw_text(actor),
                                            gw_text(at),
                                            gw_text(p->who.node),
                                            gw_text(core_clock_name(c->c.clock))};
    memcpy(s->params, again_params, sizeof again_params);
    s = push_statement_add(p, resolve_sql, 4, -1);
    if (s == NULL)
        return BASE_ENOMEM;
    const struct gw_param params[] = {gw_text(conflict), gw_text(id), gw_text(actor), gw_text(at)};
    memcpy(s->params, params, sizeof params);
    return 0;
}

int push_resolutions(struct push *p)
{
    int rc = 0;
    for (int i = p->from; i < p->to && rc == 0; i++) {
        const struct push_change *c = &p->changes[i];
        if (c->row != NULL && !c->refused && c->outcome == CORE_APPLIED &&
            c->c.op == CORE_OP_INSERT &&
            strcmp(c->row->table->core->name, "conflict_resolution") == 0)
            rc = resolve(p, c);
    }
    return rc;
}
