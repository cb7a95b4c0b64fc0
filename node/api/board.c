/*
 * GET /api/v1/wards/{id}/board: the ward on one screen, in one reply: its places, who lies in them,
 * and of each patient what a glance needs. ?patient_id= gives the same of one patient, for a board
 * that is on the screen already.
 *
 * Two active stays in one bed are both there: which is right is for people. A table that the caller
 * may not read is named in "not_permitted", and its member is null.
 */
#include <string.h>

#include "node/api/conflicts.h"
#include "node/api/internal.h"

enum {
    BOARD_PLACES_MAX = 1000,
    BOARD_STAYS_MAX = 300,
    BOARD_OBSERVATIONS_MAX = 64, /* newest of a patient: some rounds of vital signs */
    BOARD_ROWS_MAX = 100
};

struct rows {
    struct api_call *c;
    int count, max;
    const struct node_row *list[BOARD_PLACES_MAX];
};

struct board {
    struct api_call *c;
    struct node_db *db;
    struct base_err *err;
    struct base_buf denied;
    const char *only; /* a patient's id; NULL: all */
    int rc, stays;
};

static bool collect(void *user, const struct node_row *row)
{
    struct rows *l = user;
    size_t bytes = offsetof(struct node_row, values) +
                   (size_t)row->table->column_count * sizeof row->values[0];
    struct node_row *copy = base_arena_get(&l->c->arena, bytes);
    if (copy == NULL)
        return false;
    memcpy(copy, row, bytes);
    l->list[l->count++] = copy;
    return l->count < l->max;
}

static bool is(const struct node_row *row, const char *column, const char *word)
{
    struct core_text v = api_value(row, column);
    return v.s != NULL && core_text_equal(v, core_text_of(word));
}

static bool may(const struct board *b, const char *table)
{
    return node_grants_may_in_ward(b->c->grants, NODE_MAY_READ, table);
}

/* Rows of a table where column is value; NULL: not permitted, or an error (b->rc). */
static struct rows *rows_of(struct board *b, const char *table, const char *column,
                            const char *value, const char *order, int max)
{
    struct rows *l = base_arena_get(&b->c->arena, sizeof *l);
    if (b->rc != 0 || !may(b, table))
        return NULL;
    if (l == NULL) {
        b->rc = base_fail(b->err, BASE_ENOMEM, "out of memory");
        return NULL;
    }
    memset(l, 0, sizeof *l);
    l->c = b->c;
    l->max = max;
    struct api_select s = {.table = table,
                           .column = {column},
                           .value = {value},
                           .order = order,
                           .descending = true,
                           .limit = max};
    b->rc = api_select(b->c, b->db, &s, l, collect, b->err);
    return b->rc == 0 ? l : NULL;
}

static char *id_text(struct board *b, const struct base_uuid *id)
{
    char *s = base_arena_get(&b->c->arena, BASE_UUID_CHARS + 1);
    if (s != NULL)
        base_uuid_format(id, s);
    else
        b->rc = base_fail(b->err, BASE_ENOMEM, "out of memory");
    return s;
}

typedef bool (*keep_cb)(const struct node_row *row);

static bool keep_current(const struct node_row *row)
{
    return !is(row, "status", "entered-in-error") &&
           !is(row, "verification_status", "entered-in-error");
}

static bool keep_open(const struct node_row *row)
{
    static const char *const over[] = {"completed", "cancelled", "rejected", "failed",
                                       "entered-in-error"};
    for (size_t i = 0; i < sizeof over / sizeof over[0]; i++)
        if (is(row, "status", over[i]))
            return false;
    return true;
}

static bool keep_under_way(const struct node_row *row)
{
    return !is(row, "status", "planned") && !is(row, "status", "finished") &&
           !is(row, "status", "cancelled") && !is(row, "status", "entered-in-error");
}

static void list(struct board *b, const char *name, const struct rows *l, keep_cb keep)
{
    struct base_buf *out = &b->c->body;
    bool first = true;
    base_buf_printf(out, ",\"%s\":", name);
    if (l == NULL) {
        base_buf_str(out, "null");
        return;
    }
    base_buf_char(out, '[');
    for (int i = 0; i < l->count; i++) {
        if (!keep(l->list[i]))
            continue;
        base_buf_str(out, first ? "" : ",");
        first = false;
        api_render_row(out, l->list[i], b->c->grants);
    }
    base_buf_char(out, ']');
}

static void patient_of(struct board *b, const struct base_uuid *id)
{
    const struct core_table *t = core_catalog_table(node_db_catalog(b->db), "patient", 7);
    struct node_row *row = base_arena_get(&b->c->arena, sizeof *row);
    base_buf_str(&b->c->body, ",\"patient\":");
    if (t != NULL && row != NULL && node_row_get(b->db, t, id, &b->c->arena, row, NULL) == 0)
        api_render_row(&b->c->body, row, b->c->grants);
    else
        base_buf_str(&b->c->body, "null");
}

static void stay(struct board *b, const struct node_row *row)
{
    struct core_text patient = api_value(row, "patient_id");
    struct base_uuid id;
    if (!is(row, "status", "active") || b->stays == BOARD_STAYS_MAX || b->rc != 0)
        return;
    if (patient.s == NULL || !base_uuid_parse(&id, patient.s, patient.len))
        return;
    char *p = id_text(b, &id);
    if (p == NULL || (b->only != NULL && strcmp(b->only, p) != 0))
        return;
    base_buf_str(&b->c->body, b->stays++ > 0 ? ",{\"stay\":" : "{\"stay\":");
    api_render_row(&b->c->body, row, b->c->grants);
    patient_of(b, &id);
    list(b, "encounters", rows_of(b, "encounter", "patient_id", p, "started_at", BOARD_ROWS_MAX),
         keep_under_way);
    list(b, "allergies", rows_of(b, "allergy", "patient_id", p, "recorded_at", BOARD_ROWS_MAX),
         keep_current);
    list(b, "observations",
         rows_of(b, "observation", "patient_id", p, "effective_at", BOARD_OBSERVATIONS_MAX),
         keep_current);
    list(b, "tasks", rows_of(b, "task", "patient_id", p, "due_at", BOARD_ROWS_MAX), keep_open);
    base_buf_char(&b->c->body, '}');
}

static void stays_at(struct board *b, const struct rows *places)
{
    for (int i = 0; i < places->count && b->rc == 0; i++) {
        char *id = id_text(b, &places->list[i]->id);
        struct rows *l =
            id == NULL ? NULL
                       : rows_of(b, "bed_stay", "location_id", id, "started_at", BOARD_ROWS_MAX);
        for (int k = 0; l != NULL && k < l->count; k++)
            stay(b, l->list[k]);
    }
}

/* The ward and everything beneath it: rooms, their beds. */
static struct rows *places_of(struct board *b, const struct node_row *ward)
{
    struct rows *all = base_arena_get(&b->c->arena, sizeof *all);
    if (all == NULL) {
        b->rc = base_fail(b->err, BASE_ENOMEM, "out of memory");
        return NULL;
    }
    memset(all, 0, sizeof *all);
    all->list[all->count++] = ward;
    for (int i = 0; i < all->count && b->rc == 0; i++) {
        char *id = id_text(b, &all->list[i]->id);
        struct rows *under =
            id == NULL ? NULL : rows_of(b, "location", "parent_id", id, "name", BOARD_PLACES_MAX);
        for (int k = 0; under != NULL && k < under->count && all->count < BOARD_PLACES_MAX; k++)
            all->list[all->count++] = under->list[k];
    }
    return b->rc == 0 ? all : NULL;
}

static void denied_names(struct board *b)
{
    static const char *const tables[] = {"encounter", "allergy", "observation", "task"};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        if (!may(b, tables[i]))
            base_buf_printf(&b->denied, "%s\"%s\"", b->denied.len > 0 ? "," : "", tables[i]);
}

static bool keep_all(const struct node_row *row)
{
    (void)row;
    return true;
}

static int board_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    struct board b = {.c = c, .db = db, .err = err};
    const struct core_table *t = api_table(c, db, "location");
    struct node_row *ward = base_arena_get(&c->arena, sizeof *ward);
    if (t == NULL)
        return 0;
    int rc = ward == NULL ? BASE_ENOMEM : node_row_get(db, t, &c->id, &c->arena, ward, err);
    if (rc == BASE_ENOTFOUND)
        return api_refuse(c, 404, "not_found", NULL, "there is no such ward here");
    if (rc != 0)
        return rc;
    if (!api_place_ok(c, db, &c->id))
        return api_refuse_ward(c);
    if (c->param_count > 0)
        b.only = c->params[0].value;
    base_buf_init(&b.denied, 4096);
    denied_names(&b);
    api_render_head(&c->body, c);
    base_buf_printf(&c->body, ",\"now\":\"%s\"", c->now);
    struct rows *places = places_of(&b, ward);
    if (places != NULL) {
        list(&b, "places", places, keep_all);
        base_buf_str(&c->body, ",\"stays\":[");
        stays_at(&b, places);
        base_buf_char(&c->body, ']');
    }
    base_buf_printf(&c->body, ",\"not_permitted\":[%s]}",
                    b.denied.data != NULL ? b.denied.data : "");
    base_buf_release(&b.denied);
    c->table = b.only != NULL ? "patient" : "location";
    c->audit_action = "board";
    c->audit_row = c->id;
    c->audit_has_row = true;
    if (b.only != NULL)
        c->audit_has_patient = base_uuid_parse(&c->audit_patient, b.only, strlen(b.only));
    return b.rc;
}

static int take_patient(struct api_call *c)
{
    struct base_uuid id;
    if (api_take_params(c) != 0)
        return BASE_EINVALID;
    for (int i = 0; i < c->param_count; i++) {
        if (strcmp(c->params[i].name, "patient_id") != 0 || i > 0)
            return api_refuse_column(c, 400, "unknown_parameter", "patient_id",
                                     "a board knows patient_id, once");
        if (!base_uuid_parse(&id, c->params[i].value, strlen(c->params[i].value)))
            return api_refuse_column(c, 400, "bad_filter", "patient_id",
                                     "parameter \"patient_id\": expected a uuid");
    }
    return 0;
}

void api_on_board(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    if (!api_may(c, NODE_MAY_READ, "location") || !api_may_some(c, NODE_MAY_READ, "patient") ||
        !api_may_some(c, NODE_MAY_READ, "bed_stay") || api_take_id(c) != 0 || take_patient(c) != 0)
        api_finish(c);
    else
        api_run(c, board_work);
}
