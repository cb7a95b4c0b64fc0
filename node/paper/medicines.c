/* The medication chart: a row for each order, a column for each day, boxes to sign. */
#include <string.h>
#include <time.h>

#include "node/api/orders.h"
#include "node/paper/internal.h"

enum { ORDERS_MAX = 200, EVENTS_MAX = 500, SLOTS_MAX = 1000 };

struct chart {
    struct paper *p;
    struct paper_rows orders, events, slots, given;
    int64_t days[PAPER_DAYS_MAX + 1]; /* midnights, by the box's own zone */
};

static bool points_to(const struct node_row *row, const char *column, const struct base_uuid *id)
{
    struct core_text v = paper_value(row, column);
    struct base_uuid u;
    return v.s != NULL && base_uuid_parse(&u, v.s, v.len) && base_uuid_equal(&u, id);
}

static bool moment(const struct node_row *row, const char *column, int64_t *ms)
{
    struct core_text v = paper_value(row, column);
    return v.s != NULL && node_moment_ms(ms, v.s, v.len);
}

static void set_days(struct chart *c)
{
    time_t now = (time_t)(c->p->look->now_ms / 1000);
    struct tm tm;
    if (localtime_r(&now, &tm) == NULL)
        return;
    for (int i = 0; i <= c->p->look->days; i++) {
        struct tm at = {
            .tm_year = tm.tm_year, .tm_mon = tm.tm_mon, .tm_mday = tm.tm_mday + i, .tm_isdst = -1};
        c->days[i] = (int64_t)mktime(&at) * 1000;
    }
}

static bool was_given(const struct chart *c, const struct node_row *slot)
{
    for (int i = 0; i < c->given.count; i++)
        if (points_to(c->given.list[i], "slot_id", &slot->id) &&
            !paper_is(c->given.list[i], "status", "entered-in-error"))
            return true;
    return false;
}

/* Slots that the centre has made for that day; false: it has not got that far. */
static bool known_slots(const struct chart *c, const struct node_row *order, int day)
{
    struct base_buf *b = c->p->out;
    bool reaches = false;
    for (int i = c->slots.count - 1; i >= 0; i--) { /* they come newest first */
        const struct node_row *slot = c->slots.list[i];
        int64_t due = 0;
        if (!points_to(slot, "order_id", &order->id) || !moment(slot, "due_at", &due))
            continue;
        reaches = reaches || due >= c->days[day + 1];
        if (due < c->days[day] || due >= c->days[day + 1])
            continue;
        reaches = true;
        base_buf_str(b, "<span class=\"box\">");
        paper_moment(b, due, "%H:%M");
        base_buf_str(b, was_given(c, slot) ? " entered</span>" : " ______</span>");
    }
    return reaches;
}

static void day_cell(const struct chart *c, const struct node_row *order, int day)
{
    struct base_buf *b = c->p->out;
    int64_t at = 0;
    base_buf_str(b, "<td>");
    if (moment(order, "end_at", &at) && at < c->days[day])
        base_buf_str(b, "ended");
    else if (moment(order, "start_at", &at) && at >= c->days[day + 1])
        base_buf_str(b, "not yet");
    else if (paper_is(order, "as_needed", "t"))
        base_buf_str(b, "as needed<span class=\"box\">__:__ ______</span>");
    else if (!known_slots(c, order, day))
        base_buf_str(b, "times not known here<span class=\"box\">__:__ ______</span>");
    base_buf_str(b, "</td>");
}

static void order_row(const struct chart *c, const struct node_row *order, const char *state)
{
    struct base_buf *b = c->p->out;
    struct core_text shown = paper_value(order, "display");
    base_buf_str(b, "<tr><th scope=\"row\">");
    base_buf_str(b, paper_is(order, "high_alert", "t") ? "(!) " : "");
    paper_text(b, shown.s != NULL && shown.len > 0 ? shown : paper_value(order, "code"));
    base_buf_str(b, "<br>");
    paper_text(b, paper_value(order, "dose_quantity"));
    base_buf_char(b, ' ');
    paper_text(b, paper_value(order, "dose_unit"));
    base_buf_char(b, ' ');
    paper_text(b, paper_value(order, "route"));
    base_buf_char(b, ' ');
    paper_text(b, paper_value(order, "frequency_text"));
    base_buf_str(b, strcmp(state, "on-hold") == 0 ? "<br>ON HOLD" : "");
    base_buf_str(b, "</th>");
    for (int i = 0; i < c->p->look->days; i++)
        day_cell(c, order, i);
    base_buf_str(b, "</tr>");
}

static int read_chart(struct chart *c, const char *patient)
{
    struct paper *p = c->p;
    int rc = paper_rows_of(p, &c->orders, "medication_order", "patient_id", patient, "recorded_at",
                           ORDERS_MAX);
    if (rc == 0)
        rc = paper_rows_of(p, &c->events, "order_event", "patient_id", patient, "recorded_at",
                           EVENTS_MAX);
    if (rc == 0)
        rc = paper_rows_of(p, &c->slots, "dose_slot", "patient_id", patient, "due_at", SLOTS_MAX);
    if (rc == 0)
        rc = paper_rows_of(p, &c->given, "medication_administration", "patient_id", patient,
                           "effective_at", SLOTS_MAX);
    return rc;
}

int paper_medicines(struct paper *p, const struct paper_stay *s)
{
    struct chart c = {.p = p};
    struct base_buf *b = p->out;
    int shown = 0;
    int rc = read_chart(&c, s->patient_id);
    if (rc != 0)
        return rc;
    set_days(&c);
    base_buf_printf(
        b, "<h2>Medicines, %d days</h2><table><thead><tr class=\"again\"><th colspan=\"%d\">",
        p->look->days, p->look->days + 1);
    paper_whose(p, s); /* again on each page that the table runs over */
    base_buf_str(b, "</th></tr><tr><th class=\"med\">Medicine</th>");
    for (int i = 0; i < p->look->days; i++) {
        base_buf_str(b, "<th>");
        paper_moment(b, c.days[i], "%a %d %b");
        base_buf_str(b, "</th>");
    }
    base_buf_str(b, "</tr></thead><tbody>");
    for (int i = 0; i < c.orders.count; i++) {
        const char *state = api_order_state(
            c.orders.list[i], (struct node_row *const *)c.events.list, c.events.count);
        if (strcmp(state, "active") != 0 && strcmp(state, "on-hold") != 0)
            continue;
        order_row(&c, c.orders.list[i], state);
        shown++;
    }
    base_buf_str(b, "</tbody></table>");
    if (shown == 0)
        base_buf_str(b, "<p>No medicines ordered.</p>");
    if (c.orders.count == ORDERS_MAX || c.slots.count == SLOTS_MAX)
        base_buf_str(b, "<p><b>There are more orders or doses than fit here.</b></p>");
    return 0;
}
