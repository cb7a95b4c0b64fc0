/*
 * GET /api/v1/patients/{id}/chart: what a ward needs of one patient, in one reply, from one
 * reader's view of the store.
 *
 * A section of a table that the caller may not read is null and named in "not_permitted": missing
 * is never taken for empty.
 */
#include <stdlib.h>
#include <string.h>

#include "node/api/conflicts.h"
#include "node/api/internal.h"
#include "node/api/orders.h"

enum {
    CHART_ROWS_MAX = 200,
    CHART_NOTES_MAX = 50,
    CHART_ALERTS_MAX = 50,
    CHART_OBSERVATIONS_MAX = 1000, /* looked through for the last vitals */
    CHART_CODES_MAX = 64,
    CHART_TREND_MAX = 12,
    CHART_SLOTS_MAX = 500,
    CHART_DUE_MS = 24 * 3600 * 1000,
    CHART_OVERDUE_MS = 24 * 3600 * 1000 /* a slot missed longer ago is history */
};

struct list {
    struct api_call *c;
    int count, max;
    struct node_row *rows[CHART_OBSERVATIONS_MAX];
};

struct chart {
    struct api_call *c;
    struct node_db *db;
    struct base_err *err;
    char id[BASE_UUID_CHARS + 1];
    struct base_buf denied; /* names of tables left out */
    int rc;
};

static bool collect(void *user, const struct node_row *row)
{
    struct list *l = user;
    size_t bytes = offsetof(struct node_row, values) +
                   (size_t)row->table->column_count * sizeof row->values[0];
    struct node_row *copy = base_arena_get(&l->c->arena, bytes);
    if (copy == NULL)
        return false;
    memcpy(copy, row, bytes);
    l->rows[l->count++] = copy;
    return l->count < l->max;
}

/* The patient's rows of a table, newest first by column; NULL: not permitted, or an error
 * (chart.rc). */
static struct list *rows_of(struct chart *h, const char *table, const char *order, int max)
{
    struct list *l = base_arena_get(&h->c->arena, sizeof *l);
    if (h->rc != 0)
        return NULL;
    if (!api_patient_ok(h->c, h->db, NODE_MAY_READ, table, &h->c->id)) {
        base_buf_str(&h->denied, h->denied.len > 0 ? "," : "");
        base_buf_json_str(&h->denied, table);
        return NULL;
    }
    if (l == NULL) {
        h->rc = base_fail(h->err, BASE_ENOMEM, "out of memory");
        return NULL;
    }
    l->c = h->c;
    l->max = max;
    struct api_select s = {.table = table,
                           .column = {"patient_id"},
                           .value = {h->id},
                           .order = order,
                           .descending = true,
                           .limit = max};
    h->rc = api_select(h->c, h->db, &s, l, collect, h->err);
    return h->rc == 0 ? l : NULL;
}

static bool is(const struct node_row *row, const char *column, const char *word)
{
    struct core_text v = api_value(row, column);
    return v.s != NULL && core_text_equal(v, core_text_of(word));
}

static bool same(const struct node_row *a, const char *column, const struct base_uuid *id)
{
    struct core_text v = api_value(a, column);
    struct base_uuid u;
    return v.s != NULL && base_uuid_parse(&u, v.s, v.len) && base_uuid_equal(&u, id);
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

static void section(struct chart *h, const char *name, const char *table, const char *order,
                    int max, keep_cb keep)
{
    struct base_buf *out = &h->c->body;
    struct list *l = rows_of(h, table, order, max);
    bool first = true;
    base_buf_printf(out, ",\"%s\":", name);
    if (l == NULL) {
        base_buf_str(out, "null");
        return;
    }
    base_buf_char(out, '[');
    for (int i = 0; i < l->count; i++) {
        if (!keep(l->rows[i]))
            continue;
        base_buf_str(out, first ? "" : ",");
        first = false;
        api_render_row(out, l->rows[i], h->c->grants);
    }
    base_buf_char(out, ']');
}

static const char *order_state(const struct node_row *order, const struct list *events)
{
    return api_order_state(order, events == NULL ? NULL : events->rows,
                           events == NULL ? 0 : events->count);
}

static bool is_running(const char *state)
{
    return strcmp(state, "active") == 0 || strcmp(state, "on-hold") == 0;
}

static void render_orders(struct chart *h, const struct list *orders, const struct list *events)
{
    struct base_buf *out = &h->c->body;
    bool first = true;
    base_buf_str(out, ",\"orders\":");
    if (orders == NULL) {
        base_buf_str(out, "null");
        return;
    }
    base_buf_char(out, '[');
    for (int i = 0; i < orders->count; i++) {
        const char *state = order_state(orders->rows[i], events);
        if (!is_running(state))
            continue;
        base_buf_str(out, first ? "{\"state\":" : ",{\"state\":");
        first = false;
        base_buf_json_str(out, state);
        base_buf_str(out, ",\"row\":");
        api_render_row(out, orders->rows[i], h->c->grants);
        base_buf_char(out, '}');
    }
    base_buf_char(out, ']');
}

static const struct node_row *order_of(const struct list *orders, const struct node_row *slot)
{
    for (int i = 0; orders != NULL && i < orders->count; i++)
        if (same(slot, "order_id", &orders->rows[i]->id))
            return orders->rows[i];
    return NULL;
}

static const struct node_row *given_for(const struct list *given, const struct node_row *slot)
{
    for (int i = 0; given != NULL && i < given->count; i++)
        if (same(given->rows[i], "slot_id", &slot->id) &&
            !is(given->rows[i], "status", "entered-in-error"))
            return given->rows[i];
    return NULL;
}

/* Slots of running orders from a day ago to a day ahead; what was given or not given for each
 * stands beside it. */
static void render_due(struct chart *h, const struct list *slots, const struct list *orders,
                       const struct list *events, const struct list *given)
{
    struct base_buf *out = &h->c->body;
    bool first = true;
    base_buf_str(out, ",\"due\":");
    if (slots == NULL) {
        base_buf_str(out, "null");
        return;
    }
    base_buf_char(out, '[');
    for (int i = slots->count - 1; i >= 0; i--) {
        const struct node_row *slot = slots->rows[i];
        const struct node_row *order = order_of(orders, slot);
        const struct node_row *done = given_for(given, slot);
        struct core_text due = api_value(slot, "due_at");
        int64_t at = 0;
        if (due.s == NULL || !node_moment_ms(&at, due.s, due.len) ||
            at > h->c->now_ms + CHART_DUE_MS || at < h->c->now_ms - CHART_OVERDUE_MS)
            continue;
        if (order != NULL && !is_running(order_state(order, events)))
            continue;
        base_buf_str(out, first ? "{\"overdue\":" : ",{\"overdue\":");
        first = false;
        base_buf_str(out, done == NULL && at < h->c->now_ms ? "true" : "false");
        base_buf_str(out, ",\"slot\":");
        api_render_row(out, slot, h->c->grants);
        base_buf_str(out, ",\"administration\":");
        if (done != NULL)
            api_render_row(out, done, h->c->grants);
        else
            base_buf_str(out, "null");
        base_buf_char(out, '}');
    }
    base_buf_char(out, ']');
}

static void medicines(struct chart *h)
{
    struct list *orders = rows_of(h, "medication_order", "recorded_at", CHART_ROWS_MAX);
    struct list *events = rows_of(h, "order_event", "recorded_at", CHART_OBSERVATIONS_MAX);
    struct list *slots = rows_of(h, "dose_slot", "due_at", CHART_SLOTS_MAX);
    struct list *given = rows_of(h, "medication_administration", "effective_at", CHART_SLOTS_MAX);
    if (h->rc != 0)
        return;
    render_orders(h, orders, events);
    render_due(h, slots, orders, events, given);
}

struct code {
    struct core_text code;
    int count;
    const struct node_row *rows[CHART_TREND_MAX];
};

/* What was corrected by a later row, or entered in error, is no vital sign. */
static bool is_corrected(const struct list *l, int i)
{
    for (int k = 0; k < i; k++)
        if (same(l->rows[k], "corrects_id", &l->rows[i]->id))
            return true;
    return !keep_current(l->rows[i]);
}

static int group_codes(const struct list *l, struct code *codes)
{
    int count = 0;
    for (int i = 0; i < l->count; i++) {
        struct core_text code = api_value(l->rows[i], "code");
        int k = 0;
        while (k < count && !core_text_equal(codes[k].code, code))
            k++;
        if ((k == count && count == CHART_CODES_MAX) || codes[k].count == CHART_TREND_MAX ||
            is_corrected(l, i))
            continue;
        if (k == count)
            codes[count++].code = code;
        codes[k].rows[codes[k].count++] = l->rows[i];
    }
    return count;
}

static void render_value_of(struct base_buf *out, const struct node_row *row, const char *name,
                            const char *column)
{
    const struct core_column *col = core_table_column(row->table, column, strlen(column));
    base_buf_printf(out, "\"%s\":", name);
    if (col == NULL)
        base_buf_str(out, "null");
    else
        api_render_value(out, col, row->values[col->ord - CORE_ORD_FIRST]);
}

static void render_code(struct chart *h, const struct code *k)
{
    struct base_buf *out = &h->c->body;
    base_buf_char(out, '{');
    render_value_of(out, k->rows[0], "code", "code");
    base_buf_char(out, ',');
    render_value_of(out, k->rows[0], "display", "display");
    base_buf_str(out, ",\"last\":");
    api_render_row(out, k->rows[0], h->c->grants);
    base_buf_str(out, ",\"trend\":[");
    for (int i = k->count - 1; i >= 0; i--) {
        base_buf_char(out, '{');
        render_value_of(out, k->rows[i], "effective_at", "effective_at");
        base_buf_char(out, ',');
        render_value_of(out, k->rows[i], "value", "value_decimal");
        base_buf_char(out, ',');
        render_value_of(out, k->rows[i], "text", "value_text");
        base_buf_char(out, ',');
        render_value_of(out, k->rows[i], "code", "value_code");
        base_buf_char(out, ',');
        render_value_of(out, k->rows[i], "components", "components");
        base_buf_str(out, i > 0 ? "}," : "}");
    }
    base_buf_str(out, "]}");
}

static void vitals(struct chart *h)
{
    struct base_buf *out = &h->c->body;
    struct list *l = rows_of(h, "observation", "effective_at", CHART_OBSERVATIONS_MAX);
    struct code *codes = base_arena_get(&h->c->arena, (CHART_CODES_MAX + 1) * sizeof *codes);
    base_buf_str(out, ",\"vitals\":");
    if (l == NULL || codes == NULL) {
        base_buf_str(out, "null");
        return;
    }
    int count = group_codes(l, codes);
    base_buf_char(out, '[');
    for (int i = 0; i < count; i++) {
        base_buf_str(out, i > 0 ? "," : "");
        render_code(h, &codes[i]);
    }
    base_buf_char(out, ']');
}

static void row_or_null(struct api_call *c, const char *name, const struct node_row *row)
{
    struct base_buf *out = &c->body;
    base_buf_printf(out, ",\"%s\":", name);
    if (row != NULL)
        api_render_row(out, row, c->grants);
    else
        base_buf_str(out, "null");
}

/* Where the patient is: the encounter under way; every active bed stay, for two claims of a bed are
 * both shown. */
static void stay(struct chart *h)
{
    struct base_buf *out = &h->c->body;
    struct list *encounters = rows_of(h, "encounter", "started_at", CHART_ROWS_MAX);
    struct list *beds = rows_of(h, "bed_stay", "started_at", CHART_ROWS_MAX);
    const struct node_row *encounter = NULL;
    bool first = true;
    for (int i = 0; encounters != NULL && i < encounters->count && encounter == NULL; i++)
        if (is(encounters->rows[i], "status", "in-progress") ||
            is(encounters->rows[i], "status", "arrived") ||
            is(encounters->rows[i], "status", "triaged") ||
            is(encounters->rows[i], "status", "onleave"))
            encounter = encounters->rows[i];
    row_or_null(h->c, "encounter", encounter);
    base_buf_str(out, ",\"beds\":[");
    for (int i = 0; beds != NULL && i < beds->count; i++) {
        const struct core_table *t = core_catalog_table(node_db_catalog(h->db), "location", 8);
        struct node_row *place = base_arena_get(&h->c->arena, sizeof *place);
        struct core_text id = api_value(beds->rows[i], "location_id");
        struct base_uuid u;
        if (!is(beds->rows[i], "status", "active"))
            continue;
        base_buf_str(out, first ? "{\"stay\":" : ",{\"stay\":");
        first = false;
        api_render_row(out, beds->rows[i], h->c->grants);
        bool found = t != NULL && place != NULL && id.s != NULL &&
                     base_uuid_parse(&u, id.s, id.len) &&
                     node_grants_may(h->c->grants, NODE_MAY_READ, "location") &&
                     node_row_get(h->db, t, &u, &h->c->arena, place, NULL) == 0;
        row_or_null(h->c, "location", found ? place : NULL);
        base_buf_char(out, '}');
    }
    base_buf_char(out, ']');
}

static void conflicts(struct chart *h)
{
    struct api_select s = {.table = "conflict",
                           .column = {"patient_id", "state"},
                           .value = {h->id, "open"},
                           .limit = CHART_ROWS_MAX};
    base_buf_str(&h->c->body, ",\"conflicts\":");
    if (!api_patient_ok(h->c, h->db, NODE_MAY_READ, "conflict", &h->c->id)) {
        base_buf_str(&h->denied, h->denied.len > 0 ? ",\"conflict\"" : "\"conflict\"");
        base_buf_str(&h->c->body, "null");
    } else if (h->rc == 0) {
        h->rc = api_render_conflicts_of(h->c, h->db, &s, h->err);
    }
}

/* Any allergy that stands outranks every "none known", whoever wrote which when. */
static bool keep_standing(const struct node_row *row)
{
    return keep_current(row) && !is(row, "kind", "none-known") &&
           !is(row, "clinical_status", "inactive") && !is(row, "clinical_status", "resolved") &&
           !is(row, "verification_status", "refuted");
}

static void allergy_state(struct chart *h)
{
    struct list *l = node_grants_may(h->c->grants, NODE_MAY_READ, "allergy")
                         ? rows_of(h, "allergy", "recorded_at", CHART_ROWS_MAX)
                         : NULL; /* named as not permitted by the list itself */
    bool none_known = false;
    bool allergic = false;
    for (int i = 0; l != NULL && i < l->count; i++) {
        allergic = allergic || keep_standing(l->rows[i]);
        none_known =
            none_known || (keep_current(l->rows[i]) && is(l->rows[i], "kind", "none-known"));
    }
    base_buf_printf(&h->c->body, ",\"allergy_state\":%s",
                    l == NULL    ? "null"
                    : allergic   ? "\"allergic\""
                    : none_known ? "\"none-known\""
                                 : "\"not-asked\"");
}

/* Has the caller said of it that they have seen it? */
static bool is_acknowledged(struct chart *h, const struct node_row *alert)
{
    char id[BASE_UUID_CHARS + 1];
    char me[BASE_UUID_CHARS + 1];
    struct list *l = base_arena_get(&h->c->arena, sizeof *l);
    if (l == NULL || core_catalog_table(node_db_catalog(h->db), "alert_ack", 9) == NULL)
        return false;
    base_uuid_format(&alert->id, id);
    base_uuid_format(&h->c->grants->staff_id, me);
    *l = (struct list){.c = h->c, .max = 1};
    struct api_select s = {
        .table = "alert_ack", .column = {"alert_id", "recorded_by"}, .value = {id, me}, .limit = 1};
    return api_select(h->c, h->db, &s, l, collect, h->err) == 0 && l->count > 0;
}

static void alerts(struct chart *h)
{
    struct base_buf *out = &h->c->body;
    bool first = true;
    base_buf_str(out, ",\"alerts\":");
    if (core_catalog_table(node_db_catalog(h->db), "alert", 5) == NULL) {
        base_buf_str(out, "[]"); /* a centre that does not know them yet */
        return;
    }
    struct list *l = rows_of(h, "alert", "raised_at", CHART_ALERTS_MAX);
    if (l == NULL) {
        base_buf_str(out, "null");
        return;
    }
    base_buf_char(out, '[');
    for (int i = 0; i < l->count; i++) {
        if (is_acknowledged(h, l->rows[i]))
            continue;
        base_buf_str(out, first ? "" : ",");
        first = false;
        api_render_row(out, l->rows[i], h->c->grants);
    }
    base_buf_char(out, ']');
}

static bool keep_all(const struct node_row *row)
{
    return true;
}

static int chart_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    struct chart h = {.c = c, .db = db, .err = err};
    const struct core_table *t = api_table(c, db, "patient");
    struct node_row *patient = base_arena_get(&c->arena, sizeof *patient);
    if (t == NULL)
        return 0;
    int rc = patient == NULL ? BASE_ENOMEM : node_row_get(db, t, &c->id, &c->arena, patient, err);
    if (rc == BASE_ENOTFOUND)
        return api_refuse(c, 404, "not_found", NULL, "there is no such patient here");
    if (rc != 0)
        return rc;
    if (!api_row_ok(c, db, NODE_MAY_READ, patient))
        return api_refuse_ward(c);
    base_uuid_format(&c->id, h.id);
    base_buf_init(&h.denied, 4096);
    api_render_head(&c->body, c);
    row_or_null(c, "patient", patient);
    section(&h, "identifiers", "patient_identifier", NULL, CHART_ROWS_MAX, keep_all);
    section(&h, "allergies", "allergy", "recorded_at", CHART_ROWS_MAX, keep_current);
    allergy_state(&h);
    alerts(&h);
    section(&h, "conditions", "condition", "recorded_at", CHART_ROWS_MAX, keep_current);
    medicines(&h);
    vitals(&h);
    section(&h, "notes", "note", "effective_at", CHART_NOTES_MAX, keep_current);
    section(&h, "tasks", "task", "due_at", CHART_ROWS_MAX, keep_open);
    stay(&h);
    conflicts(&h);
    base_buf_printf(&c->body, ",\"not_permitted\":[%s]}",
                    h.denied.data != NULL ? h.denied.data : "");
    base_buf_release(&h.denied);
    c->table = "patient";
    c->audit_row = c->audit_patient = c->id;
    c->audit_has_row = c->audit_has_patient = true;
    return h.rc;
}

/* What the audit entry says: a screen that prints or exports tells so. */
static const char *purpose_of(const struct net_http_exchange *x)
{
    const char *why = net_http_query(x, "purpose");
    if (why != NULL && strcmp(why, "print") == 0)
        return "print";
    return why != NULL && strcmp(why, "export") == 0 ? "export" : "chart";
}

void api_on_chart(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    c->audit_action = purpose_of(x);
    if (!api_may_some(c, NODE_MAY_READ, "patient") || api_take_id(c) != 0)
        api_finish(c);
    else
        api_run(c, chart_work);
}
