/*
 * Units gathered into batches. Two of them: while the database works on one, the other is filled.
 *
 * Before a batch is sent, every row that it names is looked up (in the batch, among what is known,
 * then in the database), so that foreign keys hardly ever fail there. What names a row that has not
 * come waits on disk until all else is in; so a row is written once, with its references.
 */
#include <stdlib.h>
#include <string.h>

#include "sync/gateway/fhir/import_internal.h"
#include "sync/gateway/fhir/seen.h"

enum { ASKED_MAX = GW_SEEN_PLACES };

int gw_batch_init(struct gw_batch *b, int rows, struct base_err *err)
{
    *b = (struct gw_batch){.cap = rows};
    base_arena_init(&b->arena, (size_t)GW_IMPORT_BATCH_BYTES * 64);
    b->units = calloc((size_t)rows, sizeof *b->units);
    b->rows = calloc((size_t)rows, sizeof *b->rows);
    b->seen = calloc(1, sizeof *b->seen);
    if (b->units == NULL || b->rows == NULL || b->seen == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for a batch");
    return 0;
}

void gw_batch_release(struct gw_batch *b)
{
    base_arena_release(&b->arena);
    free(b->units);
    free(b->rows);
    free(b->seen);
    *b = (struct gw_batch){0};
}

static void clear(struct gw_batch *b)
{
    base_arena_clear(&b->arena);
    b->unit_count = b->row_count = 0;
    b->in_flight = false;
    memset(b->seen, 0, sizeof *b->seen);
}

static uint64_t hash(enum gw_ward_table table, const struct base_uuid *id)
{
    uint64_t a;
    uint64_t c;
    memcpy(&a, id->bytes, sizeof a);
    memcpy(&c, id->bytes + sizeof a, sizeof c);
    return (a ^ c * 0x9e3779b97f4a7c15u ^ (uint64_t)table) * 0xff51afd7ed558ccdu;
}

/* The place of (table, id): taken by it, or empty. There are always empty ones: see GW_SEEN_PLACES.
 */
struct gw_seen_place *gw_seen_find(struct gw_seen *s, enum gw_ward_table table,
                                   const struct base_uuid *id)
{
    size_t i = (size_t)(hash(table, id) >> 32) & (GW_SEEN_PLACES - 1);
    while (s->places[i].state != GW_SEEN_EMPTY &&
           (s->places[i].table != table || !base_uuid_equal(&s->places[i].id, id)))
        i = (i + 1) & (GW_SEEN_PLACES - 1);
    return &s->places[i];
}

static struct gw_seen_place *see(struct gw_seen *s, enum gw_ward_table table,
                                 const struct base_uuid *id, enum gw_seen_state state, int row)
{
    struct gw_seen_place *p = gw_seen_find(s, table, id);
    *p = (struct gw_seen_place){*id, table, state, row};
    return p;
}

/* ---- who names whom ------------------------------------------------------------------------- */

/* The row that column k of r names; false if it names none. */
static bool named(const struct gw_batch_row *r, int k, enum gw_ward_table *table,
                  struct base_uuid *id)
{
    const struct gw_ward_column *c = &gw_ward_spec(r->row.table)->columns[k];
    const char *text = r->row.values[k];
    if (c->ref == GW_WARD_NOTHING || text == NULL)
        return false;
    *table = (enum gw_ward_table)c->ref;
    return base_uuid_parse(id, text, strlen(text));
}

static int ask(struct gw_import *im, struct gw_seen_place **asked, int count, struct base_err *err)
{
    int rc = 0;
    struct base_uuid *ids = calloc((size_t)count + 1, sizeof *ids);
    int *at = calloc((size_t)count + 1, sizeof *at);
    bool *present = calloc((size_t)count + 1, sizeof *present);
    if (ids == NULL || at == NULL || present == NULL)
        rc = base_fail(err, BASE_ENOMEM, "out of memory for a batch");
    for (int t = 0; t < GW_WARD_TABLES && rc == 0; t++) {
        int n = 0;
        for (int i = 0; i < count; i++)
            if ((int)asked[i]->table == t) {
                ids[n] = asked[i]->id;
                at[n++] = i;
            }
        if (n == 0)
            continue;
        rc = gw_sql_present(im, (enum gw_ward_table)t, ids, n, present, err);
        for (int i = 0; i < n && rc == 0; i++) {
            asked[at[i]]->state = present[i] ? GW_SEEN_PRESENT : GW_SEEN_MISSING;
            if (present[i])
                gw_known_add(im->known, (enum gw_ward_table)t, &ids[i]);
        }
    }
    free(ids);
    free(at);
    free(present);
    return rc;
}

/* Finds out about every row that the batch names. */
static int look_up(struct gw_import *im, struct gw_batch *b, struct base_err *err)
{
    int count = 0;
    struct gw_seen_place **asked = malloc(ASKED_MAX * sizeof *asked);
    if (asked == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for a batch");
    for (int i = 0; i < b->row_count; i++) {
        const struct gw_ward_spec *spec = gw_ward_spec(b->rows[i].row.table);
        for (int k = 0; k < spec->count; k++) {
            enum gw_ward_table table;
            struct base_uuid id;
            if (!named(&b->rows[i], k, &table, &id) ||
                gw_seen_find(b->seen, table, &id)->state != GW_SEEN_EMPTY)
                continue;
            if (gw_known_has(im->known, table, &id))
                (void)see(b->seen, table, &id, GW_SEEN_PRESENT, 0);
            else
                asked[count++] = see(b->seen, table, &id, GW_SEEN_MISSING, 0);
        }
    }
    int rc = count > 0 ? ask(im, asked, count, err) : 0;
    free(asked);
    return rc;
}

static bool missing(struct gw_batch *b, const struct gw_batch_row *r, int k)
{
    enum gw_ward_table table;
    struct base_uuid id;
    if (!named(r, k, &table, &id))
        return false;
    const struct gw_seen_place *p = gw_seen_find(b->seen, table, &id);
    if (p->state != GW_SEEN_ROW)
        return p->state != GW_SEEN_PRESENT;
    const struct gw_batch_row *other = &b->rows[p->row];
    return other->dropped || b->units[other->unit].state != GW_UNIT_ALIVE;
}

static void count_missing(struct gw_import *im, const struct gw_batch *b,
                          const struct gw_batch_row *r, int k, enum gw_import_about about)
{
    const struct gw_ward_spec *spec = gw_ward_spec(r->row.table);
    char text[128];
    (void)snprintf(text, sizeof text, "%s.%s: no such %s%s", spec->name, spec->columns[k].name,
                   gw_ward_spec((enum gw_ward_table)spec->columns[k].ref)->name,
                   about != GW_ABOUT_DANGLING             ? ""
                   : spec->columns[k].need == GW_REF_KEPT ? " (the id is kept)"
                                                          : " (left empty)");
    gw_report_reason(im->report, b->units[r->unit].type, about, text);
}

/* One row that names something which is not there. True if the unit or the row is out. */
static bool without(struct gw_import *im, struct gw_batch *b, struct gw_batch_row *r, int k)
{
    struct gw_batch_unit *u = &b->units[r->unit];
    enum gw_ward_need need = gw_ward_spec(r->row.table)->columns[k].need;
    if (need == GW_REF_KEPT)
        return false;
    if (!im->last_round) {
        u->state = GW_UNIT_DEFERRED;
        return true;
    }
    if (need == GW_REF_NULL) {
        count_missing(im, b, r, k, GW_ABOUT_DANGLING);
        r->row.values[k] = NULL;
        return false;
    }
    if (r == &b->rows[u->first]) {
        count_missing(im, b, r, k, GW_ABOUT_UNPLACED);
        u->state = GW_UNIT_UNPLACED;
    } else {
        count_missing(im, b, r, k, GW_ABOUT_LEFT_OUT);
        r->dropped = true;
    }
    return true;
}

/* A row that is out can put out those which name it: until nothing moves. */
static void put_out(struct gw_import *im, struct gw_batch *b)
{
    bool moved = true;
    while (moved) {
        moved = false;
        for (int i = 0; i < b->row_count; i++) {
            struct gw_batch_row *r = &b->rows[i];
            const struct gw_ward_spec *spec = gw_ward_spec(r->row.table);
            for (int k = 0; k < spec->count; k++) {
                if (r->dropped || b->units[r->unit].state != GW_UNIT_ALIVE)
                    break;
                if (missing(b, r, k) && without(im, b, r, k))
                    moved = true;
            }
        }
    }
}

static int settle_references(struct gw_import *im, struct gw_batch *b, struct base_err *err)
{
    int rc = look_up(im, b, err);
    if (rc != 0)
        return rc;
    put_out(im, b);
    for (int i = 0; i < b->row_count; i++) {
        struct gw_batch_row *r = &b->rows[i];
        const struct gw_ward_spec *spec = gw_ward_spec(r->row.table);
        for (int k = 0; k < spec->count; k++)
            if (!r->dropped && b->units[r->unit].state == GW_UNIT_ALIVE && missing(b, r, k))
                count_missing(im, b, r, k, GW_ABOUT_DANGLING);
    }
    for (int i = 0; i < b->unit_count && rc == 0; i++) {
        const struct gw_batch_unit *u = &b->units[i];
        if (u->state != GW_UNIT_DEFERRED)
            continue;
        rc = gw_spill_add(im->spill, u->type, &b->rows[u->first], u->count, err);
        im->deferred++;
    }
    return rc;
}

/* ---- the batch's life ------------------------------------------------------------------------ */

static void count_outcomes(struct gw_import *im, struct gw_batch *b)
{
    for (int i = 0; i < b->unit_count; i++) {
        struct gw_batch_unit *u = &b->units[i];
        struct gw_import_type *t = &im->report->types[u->type];
        for (int k = u->first; k < u->first + u->count; k++)
            if (u->state == GW_UNIT_ALIVE && b->rows[k].touched)
                u->state = GW_UNIT_WRITTEN;
        if (u->state == GW_UNIT_DEFERRED)
            continue;
        if (u->state == GW_UNIT_UNPLACED)
            t->unplaced++;
        else if (u->state == GW_UNIT_WRITTEN)
            t->written++;
        else
            t->unchanged++;
    }
}

static int finish(struct gw_import *im, struct gw_batch *b, struct base_err *err)
{
    if (!b->in_flight)
        return 0;
    int rc = gw_sql_finish(im, b, err);
    if (rc != 0)
        return rc;
    for (int i = 0; i < b->row_count; i++) {
        const struct gw_batch_row *r = &b->rows[i];
        if (!r->dropped && b->units[r->unit].state == GW_UNIT_ALIVE &&
            gw_ward_referred(r->row.table))
            gw_known_add(im->known, r->row.table, &r->row.id);
    }
    count_outcomes(im, b);
    clear(b);
    return 0;
}

static int flush(struct gw_import *im, struct base_err *err)
{
    struct gw_batch *b = &im->batches[im->current];
    struct gw_batch *other = &im->batches[1 - im->current];
    int rc = finish(im, other, err);
    if (rc != 0 || b->unit_count == 0)
        return rc;
    rc = settle_references(im, b, err);
    if (rc == 0)
        rc = gw_sql_send(im, b, err);
    if (rc != 0)
        return rc;
    b->in_flight = true;
    im->current = 1 - im->current;
    return 0;
}

int gw_batch_drain(struct gw_import *im, struct base_err *err)
{
    int rc = flush(im, err);
    if (rc == 0)
        rc = finish(im, &im->batches[1 - im->current], err);
    return rc;
}

static bool fits(const struct gw_batch *b, const struct gw_fhir_row *rows, int count)
{
    if (b->row_count + count > b->cap || b->arena.used > GW_IMPORT_BATCH_BYTES)
        return false;
    /* one statement cannot touch a row twice */
    for (int i = 0; i < count; i++)
        if (gw_seen_find(b->seen, rows[i].table, &rows[i].id)->state != GW_SEEN_EMPTY)
            return false;
    return true;
}

static int copy_row(struct gw_batch *b, struct gw_batch_row *to, const struct gw_fhir_row *from,
                    struct base_err *err)
{
    const struct gw_ward_spec *spec = gw_ward_spec(from->table);
    to->row = *from;
    to->row.values = base_arena_get(&b->arena, (size_t)spec->count * sizeof *to->row.values);
    if (to->row.values == NULL)
        return base_fail(err, BASE_ENOMEM, "a batch is too large");
    for (int k = 0; k < spec->count; k++) {
        if (from->values[k] == NULL)
            continue;
        to->row.values[k] = base_arena_copy(&b->arena, from->values[k], strlen(from->values[k]));
        if (to->row.values[k] == NULL)
            return base_fail(err, BASE_ENOMEM, "a batch is too large");
    }
    return 0;
}

int gw_batch_add(struct gw_import *im, int type, const struct gw_fhir_row *rows, int count,
                 struct base_err *err)
{
    struct gw_batch *b = &im->batches[im->current];
    if (b->unit_count > 0 && !fits(b, rows, count)) {
        int rc = flush(im, err);
        if (rc != 0)
            return rc;
        b = &im->batches[im->current];
    }
    b->units[b->unit_count] = (struct gw_batch_unit){type, b->row_count, 0, GW_UNIT_ALIVE};
    struct gw_batch_unit *u = &b->units[b->unit_count++];
    for (int i = 0; i < count; i++) {
        /* the same thing twice in one resource (an identifier) is one row */
        if (gw_seen_find(b->seen, rows[i].table, &rows[i].id)->state != GW_SEEN_EMPTY)
            continue;
        struct gw_batch_row *r = &b->rows[b->row_count];
        *r = (struct gw_batch_row){.unit = b->unit_count - 1};
        int rc = copy_row(b, r, &rows[i], err);
        if (rc != 0)
            return rc;
        (void)see(b->seen, rows[i].table, &rows[i].id, GW_SEEN_ROW, b->row_count);
        b->row_count++;
        u->count++;
    }
    return 0;
}
