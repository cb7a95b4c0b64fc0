#include "node/api/orders.h"

#include <string.h>

enum { EVENTS_MAX = 200 };

static bool is(const struct node_row *row, const char *column, const char *word)
{
    struct core_text v = api_value(row, column);
    return v.s != NULL && core_text_equal(v, core_text_of(word));
}

static bool points_to(const struct node_row *row, const char *column, const struct base_uuid *id)
{
    struct core_text v = api_value(row, column);
    struct base_uuid u;
    return v.s != NULL && base_uuid_parse(&u, v.s, v.len) && base_uuid_equal(&u, id);
}

static bool is_undone(const struct node_row *hold, struct node_row *const *events, int count)
{
    for (int i = 0; i < count; i++)
        if (is(events[i], "action", "resume") && points_to(events[i], "undoes_id", &hold->id))
            return true;
    return false;
}

static bool is_over(const struct node_row *order)
{
    return is(order, "status", "stopped") || is(order, "status", "cancelled") ||
           is(order, "status", "entered-in-error");
}

const char *api_order_state(const struct node_row *order, struct node_row *const *events, int count)
{
    bool completed = is(order, "status", "completed");
    bool held = false;
    bool begun = false;
    for (int i = 0; i < count; i++) {
        const struct node_row *e = events[i];
        if (!points_to(e, "order_id", &order->id))
            continue;
        if (is(e, "action", "stop"))
            return "stopped";
        begun = true;
        completed = completed || is(e, "action", "complete");
        held = held || (is(e, "action", "hold") && !is_undone(e, events, count));
    }
    if (is_over(order))
        return "stopped";
    if (completed)
        return "completed";
    if (held || (!begun && is(order, "status", "on-hold")))
        return "on-hold";
    return is(order, "status", "draft") && !begun ? "draft" : "active";
}

struct events {
    struct api_call *c;
    struct node_row *rows[EVENTS_MAX];
    int count;
};

static bool collect(void *user, const struct node_row *row)
{
    struct events *l = user;
    struct node_row *copy = base_arena_get(&l->c->arena, sizeof *copy);
    if (copy == NULL)
        return false;
    *copy = *row;
    l->rows[l->count++] = copy;
    return l->count < EVENTS_MAX;
}

const char *api_order_hold(struct api_call *c, struct node_db *db, struct core_text order_id)
{
    struct events *l = base_arena_get(&c->arena, sizeof *l);
    char *text = base_arena_get(&c->arena, BASE_UUID_CHARS + 1);
    char *order = order_id.s == NULL ? NULL : base_arena_copy(&c->arena, order_id.s, order_id.len);
    if (l == NULL || text == NULL || order == NULL)
        return "";
    l->c = c;
    l->count = 0;
    struct api_select s = {.table = "order_event",
                           .column = {"order_id"},
                           .value = {order},
                           .order = "recorded_at",
                           .descending = true,
                           .limit = EVENTS_MAX};
    if (api_select(c, db, &s, l, collect, NULL) != 0)
        return "";
    for (int i = 0; i < l->count; i++)
        if (is(l->rows[i], "action", "hold") && !is_undone(l->rows[i], l->rows, l->count)) {
            base_uuid_format(&l->rows[i]->id, text);
            return text;
        }
    return "";
}
