/*
 * What a batch does to the rows: as they were read under lock, with what the writer had not seen,
 * through the core's merge, into writes and conflicts. The rows' state is remade for each range, so
 * that a range taken back leaves nothing behind.
 */
#include <stdlib.h>
#include <string.h>

#include "sync/gateway/push.h"

enum {
    PAST_ROW = 0,
    PAST_REV,
    PAST_OP,
    PAST_COLS,
    PAST_IMAGE,
    PAST_OWN,
    PAST_ACTOR,
    PAST_AT,
    PAST_NODE,
    PAST_ANEW
};

struct push_op *push_op_add(struct push *p)
{
    if (p->op_count == p->op_cap) {
        int cap = p->op_cap == 0 ? 256 : p->op_cap * 2;
        struct push_op *ops = base_arena_get(&p->plan, (size_t)cap * sizeof *ops);
        if (ops == NULL)
            return NULL;
        if (p->op_count > 0)
            memcpy(ops, p->ops, (size_t)p->op_count * sizeof *ops);
        p->ops = ops;
        p->op_cap = cap;
    }
    return &p->ops[p->op_count++];
}

struct push_statement *push_statement_add(struct push *p, const char *sql, int params, int rows)
{
    if (p->statement_count == p->statement_cap) {
        int cap = p->statement_cap == 0 ? 64 : p->statement_cap * 2;
        struct push_statement *s = base_arena_get(&p->plan, (size_t)cap * sizeof *s);
        if (s == NULL)
            return NULL;
        if (p->statement_count > 0)
            memcpy(s, p->statements, (size_t)p->statement_count * sizeof *s);
        p->statements = s;
        p->statement_cap = cap;
    }
    struct push_statement *s = &p->statements[p->statement_count];
    s->sql = sql;
    s->params = base_arena_get(&p->plan, ((size_t)params + 1) * sizeof *s->params);
    s->param_count = params;
    s->rows = rows;
    if (s->params == NULL)
        return NULL;
    p->statement_count++;
    return s;
}

static void begin_plan(struct push *p)
{
    p->ops = NULL;
    p->statements = NULL;
    p->op_count = p->op_cap = p->statement_count = p->statement_cap = 0;
}

int push_plan_fast(struct push *p)
{
    begin_plan(p);
    for (int i = 0; i < p->count; i++) {
        const struct push_change *c = &p->changes[i];
        if (c->refused)
            continue;
        struct push_op *op = push_op_add(p);
        if (op == NULL)
            return BASE_ENOMEM;
        *op = (struct push_op){.change = i,
                               .kind = PUSH_INSERT,
                               .table = c->row->table,
                               .id = c->c.id,
                               .count = c->count,
                               .ords = c->ords,
                               .values = c->values};
    }
    return push_sql(p);
}

/* ---- what is there now -------------------------------------------------------------------- */

static struct push_row *row_of(struct push *p, const struct gw_table *t, const char *id)
{
    struct base_uuid u;
    return base_uuid_parse(&u, id, strlen(id)) ? push_row_find(p, t, &u) : NULL;
}

static int read_live(struct push *p, struct push_row *row, const PGresult *r, int at)
{
    struct core_image *im = base_arena_get(&p->plan, sizeof *im);
    if (im == NULL)
        return BASE_ENOMEM;
    int rc = core_image_read_composite(im, PQgetvalue(r, at, 2), (size_t)PQgetlength(r, at, 2),
                                       &p->plan, &p->err);
    if (rc != 0)
        return rc;
    row->live = true;
    row->rev = strtoll(PQgetvalue(r, at, 1), NULL, 10);
    row->rev_now = row->rev;
    row->field_count = CORE_ORD_REV + row->table->core->column_count;
    if (row->field_count < im->count)
        row->field_count = im->count;
    row->fields = base_arena_get(&p->plan, (size_t)row->field_count * sizeof *row->fields);
    if (row->fields == NULL)
        return BASE_ENOMEM;
    /* The texts point into the result, which is cleared before they are used up: copy. */
    for (int k = 0; k < im->count; k++) {
        const struct core_text v = im->fields[k];
        row->fields[k] = v;
        if (v.s != NULL && (row->fields[k].s = base_arena_copy(&p->plan, v.s, v.len)) == NULL)
            return BASE_ENOMEM;
    }
    return 0;
}

static void reset_row(struct push *p, struct push_row *row)
{
    row->range = p->range_serial;
    row->live = row->wants_past = row->made = false;
    if (row->held_by >= p->changes[p->from].c.seq)
        row->held_by = 0; /* decided in a range or an attempt that was taken back */
    row->rev = row->rev_now = 0;
    row->base_min = INT64_MAX;
    row->writes = row->field_count = row->past_count = 0;
    row->fields = row->own = NULL;
    row->own_set = NULL;
    row->past = row->past_last = NULL;
}

static bool takes_part(const struct push_change *c)
{
    return !c->refused && c->row != NULL;
}

/* Did anyone write the row after what this change had seen? Then its past is needed. A row that is
 * not there may have been deleted: the log tells, unless this batch itself makes the row. */
static void judge_past(struct push *p, bool *wants_past)
{
    for (int i = p->from; i < p->to; i++) {
        const struct push_change *c = &p->changes[i];
        if (!takes_part(c))
            continue;
        struct push_row *row = c->row;
        if (c->c.op == CORE_OP_INSERT) {
            row->made = true;
            continue;
        }
        int64_t base = c->former ? 0 : c->c.base; /* its number says nothing about this life */
        if (base < row->base_min)
            row->base_min = base;
        if (row->live ? c->former || row->rev > base : !row->made)
            row->wants_past = *wants_past = true;
    }
}

int push_plan_absorb(struct push *p, bool *wants_past)
{
    p->range_serial++;
    *wants_past = false;
    for (int i = p->from; i < p->to; i++)
        if (p->changes[i].row != NULL && p->changes[i].row->range != p->range_serial)
            reset_row(p, p->changes[i].row);
    for (int i = p->from; i < p->to; i++)
        if (p->changes[i].refused && p->changes[i].row != NULL && p->changes[i].row->held_by == 0)
            p->changes[i].row->held_by = p->changes[i].c.seq;
    for (int t = 0; t < p->read_count; t++) {
        const PGresult *r = p->flight.results[p->read_query + t];
        for (int i = 0; i < PQntuples(r); i++) {
            struct push_row *row = row_of(p, p->reads[t], PQgetvalue(r, i, 0));
            int rc = row == NULL ? BASE_ECORRUPT : read_live(p, row, r, i);
            if (rc != 0)
                return rc;
        }
    }
    judge_past(p, wants_past);
    return 0;
}

static struct core_text copy_cell(struct push *p, const PGresult *r, int row, int column)
{
    if (PQgetisnull(r, row, column))
        return (struct core_text){NULL, 0};
    size_t len = (size_t)PQgetlength(r, row, column);
    return (struct core_text){base_arena_copy(&p->plan, PQgetvalue(r, row, column), len), len};
}

int push_plan_past(struct push *p)
{
    for (int t = 0; t < p->read_count; t++) {
        const PGresult *r = p->flight.results[t];
        for (int i = 0; i < PQntuples(r); i++) {
            struct push_row *row = row_of(p, p->reads[t], PQgetvalue(r, i, PAST_ROW));
            struct core_past *past = base_arena_get(&p->plan, sizeof *past);
            if (row == NULL || past == NULL)
                return row == NULL ? BASE_ECORRUPT : BASE_ENOMEM;
            *past = (struct core_past){.rev = strtoll(PQgetvalue(r, i, PAST_REV), NULL, 10),
                                       .op = (enum core_op)PQgetvalue(r, i, PAST_OP)[0],
                                       .own = PQgetvalue(r, i, PAST_OWN)[0] == 't',
                                       .anew = PQgetvalue(r, i, PAST_ANEW)[0] == 't',
                                       .cols = copy_cell(p, r, i, PAST_COLS),
                                       .image = copy_cell(p, r, i, PAST_IMAGE),
                                       .actor = copy_cell(p, r, i, PAST_ACTOR),
                                       .at = copy_cell(p, r, i, PAST_AT),
                                       .node = copy_cell(p, r, i, PAST_NODE)};
            if (past->image.s == NULL)
                return BASE_ENOMEM;
            if (row->past_last == NULL)
                row->past = past;
            else
                row->past_last->next = past;
            row->past_last = past;
            row->past_count++;
        }
    }
    return 0;
}

/* ---- what the writer had seen --------------------------------------------------------------- */

static bool remember_own(struct push *p, struct push_row *row, const struct push_change *c)
{
    if (row->own == NULL) {
        row->own = base_arena_get(&p->plan, CORE_FIELDS_MAX * sizeof *row->own);
        row->own_set = base_arena_get(&p->plan, CORE_FIELDS_MAX * sizeof *row->own_set);
        if (row->own == NULL || row->own_set == NULL)
            return false;
    }
    for (int k = 0; k < c->count; k++) {
        row->own[c->ords[k] - 1] = c->values[k];
        row->own_set[c->ords[k] - 1] = true;
    }
    return true;
}

/* ---- the merge ----------------------------------------------------------------------------- */

/* One per range, because each is large. */
struct workspace {
    struct core_merge merge;
    struct core_resolved incoming;
    struct core_image live, base, scratch;
};

static void load(const struct push_row *row, struct core_image *out)
{
    out->count = row->field_count;
    memcpy(out->fields, row->fields, (size_t)row->field_count * sizeof *out->fields);
}

/* The row as it will stand after this write. */
static int settle_row(struct push *p, struct push_row *row, const struct core_merge *m)
{
    row->writes++;
    row->rev_now++;
    if (m->write == CORE_WRITE_DELETE) {
        row->live = false;
        return 0;
    }
    int count = CORE_ORD_REV + row->table->core->column_count;
    if (count < m->image.count)
        count = m->image.count;
    struct core_text *fields = base_arena_get(&p->plan, (size_t)count * sizeof *fields);
    if (fields == NULL)
        return BASE_ENOMEM;
    memcpy(fields, m->image.fields, (size_t)m->image.count * sizeof *fields);
    row->fields = fields;
    row->field_count = count;
    row->live = true;
    return 0;
}

static int op_values(struct push *p, struct push_op *op, const struct core_merge *m,
                     const struct core_image *live)
{
    int *ords = base_arena_get(&p->plan, ((size_t)m->image.count + 1) * sizeof *ords);
    struct core_text *values =
        base_arena_get(&p->plan, ((size_t)m->image.count + 1) * sizeof *values);
    if (ords == NULL || values == NULL)
        return BASE_ENOMEM;
    for (int ord = CORE_ORD_FIRST; ord <= m->image.count; ord++) {
        struct core_text v = core_image_field(&m->image, ord);
        if (core_text_equal(v, live == NULL ? (struct core_text){NULL, 0}
                                            : core_image_field(live, ord)))
            continue;
        ords[op->count] = ord;
        values[op->count++] = v;
    }
    op->ords = ords;
    op->values = values;
    return 0;
}

static int add_write(struct push *p, int i, const struct core_merge *m,
                     const struct core_image *live)
{
    struct push_row *row = p->changes[i].row;
    struct push_op *op = push_op_add(p);
    if (op == NULL)
        return BASE_ENOMEM;
    *op = (struct push_op){.change = i,
                           .wave = row->writes,
                           .kind = m->write == CORE_WRITE_INSERT   ? PUSH_INSERT
                                   : m->write == CORE_WRITE_UPDATE ? PUSH_UPDATE
                                                                   : PUSH_DELETE,
                           .table = row->table,
                           .id = row->id};
    int rc = op->kind == PUSH_DELETE ? 0 : op_values(p, op, m, live);
    if (rc == 0)
        rc = settle_row(p, row, m);
    op->fields = row->fields;
    op->field_count = row->field_count;
    return rc;
}

static void held(struct push *p, int i, int64_t behind)
{
    char reason[64];
    (void)snprintf(reason, sizeof reason, "held behind seq %lld", (long long)behind);
    push_quarantine(p, i, "", "", reason);
}

/* Rows that quarantined changes of this batch would have made. Where a foreign key refers to them the database says so;
 * the rest is looked for here. */
struct not_made {
    int *changes; /* PUSH_NOT_MADE_MAX, the first ones */
    int count;
};

static void note_not_made(const struct push *p, int i, struct not_made *n)
{
    const struct push_change *c = &p->changes[i];
    bool there = c->row != NULL && c->row->rev > 0; /* another body under an id that is taken */
    if (c->outcome == CORE_QUARANTINED && c->c.op == CORE_OP_INSERT && !there &&
        n->count < PUSH_NOT_MADE_MAX)
        n->changes[n->count++] = i;
}

/* The seq of the one that this change names; 0: none. */
static int64_t names_not_made(const struct push *p, int i, const struct not_made *n)
{
    const struct push_change *c = &p->changes[i];
    for (int k = 0; n->count > 0 && k < c->count; k++) {
        struct base_uuid id;
        const struct core_text *v = &c->values[k];
        if (v->s == NULL || v->len != BASE_UUID_CHARS || !base_uuid_parse(&id, v->s, v->len))
            continue;
        for (int m = 0; m < n->count; m++)
            if (base_uuid_equal(&p->changes[n->changes[m]].c.id, &id))
                return p->changes[n->changes[m]].c.seq;
    }
    return 0;
}

static int merge_one(struct push *p, int i, struct workspace *w)
{
    struct push_change *c = &p->changes[i];
    struct push_row *row = c->row;
    struct core_unseen unseen = {0};
    const struct core_image *live = NULL;
    const struct core_image *base = NULL;
    const struct core_said said = {row->own, row->own_set};
    w->incoming.count = c->count;
    memcpy(w->incoming.ords, c->ords, (size_t)c->count * sizeof *c->ords);
    memcpy(w->incoming.values, c->values, (size_t)c->count * sizeof *c->values);
    if (row->live) {
        load(row, &w->live);
        live = &w->live;
    }
    if (c->c.op != CORE_OP_INSERT)
        core_past_unseen(&unseen, row->past, row->rev, row->writes > 0, push_seen(c));
    if (!unseen.any && !unseen.all_columns)
        base = live;
    else if (core_past_base(&w->base, row->past, push_seen(c), row->own == NULL ? NULL : &said,
                            &w->scratch, &p->plan))
        base = &w->base;
    core_merge_row(&w->merge, row->table->core, &c->c, &w->incoming, live, base, &unseen);
    c->outcome = w->merge.outcome;
    c->has_conflict = false;
    if (w->merge.outcome == CORE_QUARANTINED) {
        push_quarantine(p, i, "", "", core_rule_text(w->merge.rule));
        return 0;
    }
    int rc = 0;
    if (w->merge.contest_count > 0)
        rc = push_conflicts(p, i, &w->merge, base, live);
    if (rc == 0 && w->merge.write != CORE_WRITE_NOTHING)
        rc = add_write(p, i, &w->merge, live);
    if (rc == 0 && !remember_own(p, row, c))
        rc = BASE_ENOMEM;
    return rc;
}

int push_plan_merge(struct push *p)
{
    struct workspace *w = base_arena_get(&p->plan, sizeof *w);
    struct not_made lost = {base_arena_get(&p->plan, PUSH_NOT_MADE_MAX * sizeof(int)), 0};
    int rc = w == NULL || lost.changes == NULL ? BASE_ENOMEM : 0;
    begin_plan(p);
    for (int i = p->skip; i < p->from && rc == 0; i++)
        note_not_made(p, i, &lost);
    for (int i = p->from; i < p->to && rc == 0; i++) {
        struct push_change *c = &p->changes[i];
        int64_t behind = takes_part(c) ? names_not_made(p, i, &lost) : 0;
        if (takes_part(c) && c->row->held_by != 0 && c->row->held_by < c->c.seq)
            held(p, i, c->row->held_by);
        else if (behind > 0)
            held(p, i, behind);
        else if (takes_part(c))
            rc = merge_one(p, i, w);
        note_not_made(p, i, &lost);
    }
    if (rc == 0)
        rc = push_sql(p);
    if (rc == 0)
        rc = push_resolutions(p);
    return rc;
}
