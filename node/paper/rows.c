/* What a ward's pack is made of, read in one job. */
#include <stdlib.h>
#include <string.h>

#include "node/paper/internal.h"

enum { STAYS_OF_PLACE_MAX = 50, ENCOUNTERS_MAX = 50, LOCATION_ROWS_MAX = 1000 };

struct collecting {
    struct paper *p;
    struct paper_rows *to;
    int max;
    bool full;
};

static const struct node_row *keep(struct paper *p, const struct node_row *row)
{
    size_t bytes = offsetof(struct node_row, values) +
                   (size_t)row->table->column_count * sizeof row->values[0];
    struct node_row *copy = base_arena_get(&p->arena, bytes);
    if (copy != NULL)
        memcpy(copy, row, bytes);
    return copy;
}

static bool collect(void *user, const struct node_row *row)
{
    struct collecting *c = user;
    const struct node_row *copy = keep(c->p, row);
    c->full = copy == NULL;
    if (copy != NULL)
        c->to->list[c->to->count++] = copy;
    return !c->full && c->to->count < c->max;
}

int paper_rows_of(struct paper *p, struct paper_rows *out, const char *table, const char *column,
                  const char *value, const char *order, int max)
{
    const struct core_table *t = core_catalog_table(node_db_catalog(p->db), table, strlen(table));
    struct node_filter *f = base_arena_get(&p->arena, sizeof *f);
    struct node_order by = {NULL, true};
    const char *next = NULL;
    out->count = 0;
    out->list = base_arena_get(&p->arena, (size_t)max * sizeof *out->list);
    if (f == NULL || out->list == NULL)
        return base_fail(p->err, BASE_ENOMEM, "a downtime pack is too large");
    if (t == NULL)
        return 0;
    f->column = core_table_column(t, column, strlen(column));
    f->cmp = NODE_CMP_EQ;
    f->value_count = 1;
    f->values[0] = core_text_of(value);
    if (f->column == NULL)
        return 0;
    if (order != NULL)
        by.column = core_table_column(t, order, strlen(order));
    struct node_query q = {
        .table = t, .filters = f, .filter_count = 1, .orders = &by, .order_count = 1, .limit = max};
    struct collecting c = {.p = p, .to = out, .max = max};
    int rc = node_query_run(p->db, &q, &p->arena, &c, collect, &next, p->err);
    return rc == 0 && c.full ? base_fail(p->err, BASE_ENOMEM, "a downtime pack is too large") : rc;
}

static char *id_text(struct paper *p, const struct base_uuid *id)
{
    char *s = base_arena_get(&p->arena, BASE_UUID_CHARS + 1);
    if (s != NULL)
        base_uuid_format(id, s);
    return s;
}

static bool is_under_way(const struct node_row *e)
{
    return !paper_is(e, "status", "planned") && !paper_is(e, "status", "finished") &&
           !paper_is(e, "status", "cancelled") && !paper_is(e, "status", "entered-in-error");
}

static int add_stay(struct paper *p, const struct node_row *place, const struct node_row *stay)
{
    const struct core_table *t = core_catalog_table(node_db_catalog(p->db), "patient", 7);
    struct core_text patient = paper_value(stay, "patient_id");
    struct paper_stay *s = &p->stays[p->stay_count];
    struct node_row *row = base_arena_get(&p->arena, sizeof *row);
    struct paper_rows l;
    struct base_uuid id;
    if (t == NULL || patient.s == NULL || !base_uuid_parse(&id, patient.s, patient.len))
        return 0;
    *s = (struct paper_stay){.stay = stay, .place = place, .patient_id = id_text(p, &id)};
    if (row == NULL || s->patient_id == NULL)
        return base_fail(p->err, BASE_ENOMEM, "a downtime pack is too large");
    int rc = node_row_get(p->db, t, &id, &p->arena, row, p->err);
    if (rc != 0 && rc != BASE_ENOTFOUND)
        return rc;
    s->patient = rc == 0 ? row : NULL;
    rc = paper_rows_of(p, &l, "encounter", "patient_id", s->patient_id, "started_at",
                       ENCOUNTERS_MAX);
    for (int i = 0; rc == 0 && i < l.count && s->encounter == NULL; i++)
        if (is_under_way(l.list[i]))
            s->encounter = l.list[i];
    p->stay_count++;
    return rc;
}

static int stays_at(struct paper *p, const struct node_row *place)
{
    struct paper_rows l;
    const char *id = id_text(p, &place->id);
    int rc = id == NULL ? base_fail(p->err, BASE_ENOMEM, "a downtime pack is too large")
                        : paper_rows_of(p, &l, "bed_stay", "location_id", id, "started_at",
                                        STAYS_OF_PLACE_MAX);
    bool taken = false;
    for (int i = 0; rc == 0 && i < l.count; i++) {
        if (!paper_is(l.list[i], "status", "active"))
            continue;
        taken = true;
        if (p->stay_count < PAPER_STAYS_MAX)
            rc = add_stay(p, place, l.list[i]);
    }
    /* a bed with more stays than were read may have an active one among the others: not offered */
    bool sure = rc == 0 && !taken && l.count < STAYS_OF_PLACE_MAX;
    if (sure && paper_is(place, "kind", "bed") && !paper_is(place, "active", "f"))
        p->free[p->free_count++] = place;
    return rc;
}

/* "Bed 2" before "Bed 10": shorter names first among those that begin alike. */
static int by_name(const struct node_row *a, const struct node_row *b)
{
    struct core_text x = paper_value(a, "name");
    struct core_text y = paper_value(b, "name");
    size_t i = 0;
    while (i < x.len && i < y.len && x.s[i] == y.s[i])
        i++;
    bool digits =
        i < x.len && i < y.len && x.s[i] >= '0' && x.s[i] <= '9' && y.s[i] >= '0' && y.s[i] <= '9';
    if (digits && x.len != y.len)
        return x.len < y.len ? -1 : 1;
    if (i == x.len || i == y.len)
        return x.len == y.len ? 0 : x.len < y.len ? -1 : 1;
    return (unsigned char)x.s[i] < (unsigned char)y.s[i] ? -1 : 1;
}

static int by_place(const void *a, const void *b)
{
    return by_name(((const struct paper_stay *)a)->place, ((const struct paper_stay *)b)->place);
}

static int by_bed(const void *a, const void *b)
{
    return by_name(*(const struct node_row *const *)a, *(const struct node_row *const *)b);
}

int paper_collect(struct paper *p, const struct base_uuid *ward, const struct node_row **row)
{
    const struct core_table *t = core_catalog_table(node_db_catalog(p->db), "location", 8);
    const struct node_row **places = base_arena_get(&p->arena, PAPER_PLACES_MAX * sizeof *places);
    struct node_row *head = base_arena_get(&p->arena, sizeof *head);
    int count = 0;
    if (places == NULL || head == NULL)
        return base_fail(p->err, BASE_ENOMEM, "a downtime pack is too large");
    int rc = t == NULL ? base_fail(p->err, BASE_ENOTFOUND, "there are no wards here yet")
                       : node_row_get(p->db, t, ward, &p->arena, head, p->err);
    if (rc == 0)
        places[count++] = head;
    for (int i = 0; rc == 0 && i < count; i++) {
        struct paper_rows under;
        const char *id = id_text(p, &places[i]->id);
        rc = id == NULL
                 ? base_fail(p->err, BASE_ENOMEM, "a downtime pack is too large")
                 : paper_rows_of(p, &under, "location", "parent_id", id, "name", LOCATION_ROWS_MAX);
        for (int k = 0; rc == 0 && k < under.count && count < PAPER_PLACES_MAX; k++)
            places[count++] = under.list[k];
    }
    for (int i = 0; rc == 0 && i < count; i++)
        rc = stays_at(p, places[i]);
    if (rc == 0) {
        qsort(p->stays, (size_t)p->stay_count, sizeof p->stays[0], by_place);
        qsort(p->free, (size_t)p->free_count, sizeof p->free[0], by_bed);
        *row = head;
    }
    return rc;
}

int paper_wards(struct node_db *db, struct base_uuid *out, int *count, struct base_err *err)
{
    struct paper *p = calloc(1, sizeof *p);
    struct paper_rows l;
    if (p == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for a downtime pack");
    p->db = db;
    p->err = err;
    base_arena_init(&p->arena, PAPER_ARENA_BYTES_MAX);
    int rc = paper_rows_of(p, &l, "location", "kind", "ward", "name", PAPER_WARDS_MAX);
    for (int i = 0; rc == 0 && i < l.count; i++)
        out[i] = l.list[i]->id;
    if (rc == 0)
        *count = l.count;
    base_arena_release(&p->arena);
    free(p);
    return rc;
}
