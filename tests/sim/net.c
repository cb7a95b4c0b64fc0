/* The line between a node and the gateway: a request and its answer, each with a fate. */
#include "tests/sim/sim.h"

enum { LATENCY_MS = 20, JITTER_MS = 80, SLOW_MS = 6000 };

static struct sim_message *free_message(struct sim_world *w)
{
    for (int i = 0; i < SIM_MESSAGES_MAX; i++)
        if (!w->messages[i].used)
            return &w->messages[i];
    w->too_large = true;
    return NULL;
}

static int64_t latency(struct sim_world *w)
{
    return LATENCY_MS + sim_below(&w->random, JITTER_MS);
}

void sim_net_send(struct sim_world *w, struct sim_node *n, enum core_lane_name lane,
                  const struct sim_request *r)
{
    struct sim_message *m = free_message(w);
    if (m == NULL)
        return;
    enum sim_fate fate = w->next_fate[n->machine][lane];
    if (fate == SIM_FATE_HOLE && (r->what != CORE_DO_FEED || r->after + 2 > w->centre.head))
        fate = SIM_FATE_NONE; /* it waits for a feed of several cuts */
    else
        w->next_fate[n->machine][lane] = SIM_FATE_NONE;
    w->figures->messages++;
    w->figures->fates[fate]++;
    struct sim_lane *l = &n->lanes[lane];
    l->serial++;
    l->waiting = true;
    l->what = r->what;
    l->sent_at = w->now;
    l->deadline = w->now + SIM_TIMEOUT_MS + (r->what == CORE_DO_FEED ? SIM_POLL_MS : 0);
    *m = (struct sim_message){.used = true,
                              .at = w->now + latency(w),
                              .node = n->id,
                              .machine = n->machine,
                              .lane = lane,
                              .serial = l->serial,
                              .fate = fate,
                              .request = *r};
    sim_trace(w, "node %d sends %d%s%d", n->machine, (int)r->what, fate ? " fate " : " ", fate);
    switch (fate) {
    case SIM_FATE_LOSE_REQUEST:
        m->used = false;
        break;
    case SIM_FATE_LATE:
        m->at = l->deadline + 1 + sim_below(&w->random, 60000);
        break;
    case SIM_FATE_SLOW:
        m->at += SLOW_MS;
        break;
    case SIM_FATE_CUT_REQUEST:
        m->request.cut_off = true;
        break;
    case SIM_FATE_TWICE: {
        struct sim_message *again = free_message(w);
        if (again != NULL) {
            *again = *m;
            again->at += sim_below(&w->random, 40000);
            again->serial = -1; /* nobody waits for its answer */
        }
        break;
    }
    default:
        break;
    }
}

/* The second of several cuts goes. */
static void leave_out_a_cut(struct sim_reply *a)
{
    int from = 0;
    while (from < a->line_count && a->lines[from].kind != SIM_LINE_END)
        from++;
    int to = ++from;
    while (to < a->line_count && a->lines[to].kind != SIM_LINE_END)
        to++;
    if (to >= a->line_count)
        return;
    struct sim_line *lines = (struct sim_line *)(uintptr_t)a->lines;
    memmove(&lines[from], &lines[to + 1], (size_t)(a->line_count - to - 1) * sizeof *lines);
    a->line_count -= to + 1 - from;
}

static void reply(struct sim_world *w, struct sim_message *m)
{
    m->parked = false;
    m->reply = true;
    m->at = w->now + latency(w) + (m->fate == SIM_FATE_SLOW_REPLY ? SLOW_MS : 0);
    if (m->fate == SIM_FATE_HOLE)
        leave_out_a_cut(&m->answer);
    if (m->serial < 0 || m->fate == SIM_FATE_LOSE_REPLY)
        m->used = false;
    if (m->fate == SIM_FATE_GATEWAY_DIES_AFTER) /* the line breaks at once */
        m->answer = (struct sim_reply){.status = 0};
    if (m->fate == SIM_FATE_CUT_REPLY && m->answer.status == 200)
        m->answer.cut_off = true;
}

static void to_centre(struct sim_world *w, struct sim_message *m)
{
    bool patient = m->request.what == CORE_DO_FEED && w->now < m->at + SIM_POLL_MS;
    if (m->fate == SIM_FATE_BUSY || m->fate == SIM_FATE_GATEWAY_DIES_BEFORE) {
        m->answer = (struct sim_reply){.status = m->fate == SIM_FATE_BUSY ? 503 : 0};
        reply(w, m);
        return;
    }
    sim_centre_answer(w, m->node, &m->request, &m->answer);
    if (patient && !m->parked && m->answer.status == 200 && m->answer.line_count == 1) {
        m->parked = true; /* nothing new: the long poll waits */
        m->at = w->now + SIM_POLL_MS;
        return;
    }
    reply(w, m);
}

void sim_net_wake(struct sim_world *w)
{
    for (int i = 0; i < SIM_MESSAGES_MAX; i++)
        if (w->messages[i].used && w->messages[i].parked)
            w->messages[i].at = w->now + 1;
}

void sim_net_deliver(struct sim_world *w, struct sim_message *m)
{
    if (!m->reply) {
        to_centre(w, m);
        return;
    }
    struct sim_node *n = &w->nodes[m->machine];
    struct sim_lane *l = &n->lanes[m->lane];
    m->used = false;
    if (!n->alive || !l->waiting || l->serial != m->serial)
        return;
    l->waiting = false;
    sim_node_answer(w, n, m->lane, &m->answer);
}

int64_t sim_net_next(const struct sim_world *w, struct sim_message **out)
{
    int64_t at = -1;
    for (int i = 0; i < SIM_MESSAGES_MAX; i++)
        if (w->messages[i].used && (at < 0 || w->messages[i].at < at)) {
            at = w->messages[i].at;
            *out = (struct sim_message *)(uintptr_t)&w->messages[i];
        }
    return at;
}
