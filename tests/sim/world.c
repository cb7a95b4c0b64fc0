/* The world: its texts, its tables, its clock, and running a schedule from beginning to end. */
#include "tests/sim/sim.h"

#include <stdarg.h>

const struct sim_store *sim_store = &sim_store_mem;

/* ---- tables ------------------------------------------------------------------------------------ */

#define TEXT(o, n, cl, g)                                                                          \
    {                                                                                              \
        .ord = (o), .name = (n), .type = CORE_TYPE_TEXT, .class = (cl), .nullable = true,          \
        .group = (g)                                                                               \
    }

static struct core_column chart[] = {TEXT(4, "a", CORE_FACT, NULL), TEXT(5, "b", CORE_FACT, NULL)};
static struct core_column person[] = {
    TEXT(4, "a", CORE_FIELD, NULL), TEXT(5, "b", CORE_FIELD, NULL), TEXT(6, "d", CORE_REVIEW, "g"),
    TEXT(7, "e", CORE_REVIEW, "g"), TEXT(8, "f", CORE_FIELD, NULL)};
/* The safest first. */
const char *const sim_states[SIM_STATES + 1] = {"same-stopped", "same-held", "same-active", NULL};
static struct core_column draft[] = {TEXT(4, "a", CORE_REVIEW, NULL),
                                     TEXT(5, "b", CORE_REVIEW, NULL),
                                     {.ord = 6,
                                      .name = "s",
                                      .type = CORE_TYPE_TEXT,
                                      .class = CORE_STATE,
                                      .nullable = true,
                                      .dominance = sim_states}};
static struct core_column staff[] = {TEXT(4, "a", CORE_CENTRAL, NULL)};
static struct core_column conflict[] = {
    TEXT(4, "what", CORE_CENTRAL, NULL), TEXT(5, "cols", CORE_CENTRAL, NULL),
    TEXT(6, "live", CORE_CENTRAL, NULL), TEXT(7, "incoming", CORE_CENTRAL, NULL)};
static struct core_column extra[] = {TEXT(4, "a", CORE_FIELD, NULL)};

/* Version 2 brings the column person.f, version 3 the table extra. */
static const struct {
    const char *name;
    enum core_class class;
    bool deletable;
    struct core_column *columns;
    int counts[4], since;
} tables[SIM_TABLES] = {
    {"chart", CORE_FACT, false, chart, {0, 2, 2, 2}, 1},
    {"person", CORE_FIELD, false, person, {0, 4, 5, 5}, 1},
    {"draft", CORE_REVIEW, true, draft, {0, 3, 3, 3}, 1},
    {"staff", CORE_CENTRAL, false, staff, {0, 1, 1, 1}, 1},
    {"contest", CORE_CENTRAL, false, conflict, {0, 4, 4, 4}, 1},
    {"extra", CORE_FIELD, false, extra, {0, 1, 1, 1}, 3},
};

static void make_catalog(struct core_catalog *c, int version)
{
    core_catalog_init(c);
    c->version = version;
    c->tables = base_arena_get(&c->arena, SIM_TABLES * sizeof *c->tables);
    BASE_ASSERT(c->tables != NULL);
    for (int t = 0; t < SIM_TABLES; t++)
        if (tables[t].since <= version)
            c->tables[c->table_count++] =
                (struct core_table){.tbl = t + 1,
                                    .name = tables[t].name,
                                    .class = tables[t].class,
                                    .deletable = tables[t].deletable,
                                    .order = t,
                                    .columns = tables[t].columns,
                                    .column_count = tables[t].counts[version]};
}

const struct core_table *sim_table_of(const struct sim_world *w, int64_t version, int table)
{
    return core_catalog_tbl(&w->catalogs[version], table + 1);
}

/* ---- ids ----------------------------------------------------------------------------------------- */

void sim_id(struct base_uuid *out, int table, int row)
{
    *out = (struct base_uuid){{(uint8_t)(table + 1), 0, 0, 0, 0, 0, 0x70, 0, 0x80}};
    out->bytes[14] = (uint8_t)(row >> 8);
    out->bytes[15] = (uint8_t)row;
}

bool sim_id_read(const struct base_uuid *id, int *table, int *row)
{
    *table = id->bytes[0] - 1;
    *row = id->bytes[14] << 8 | id->bytes[15];
    return *table >= 0 && *table < SIM_TABLES && *row < SIM_ROWS;
}

void sim_node_id(struct base_uuid *out, int node)
{
    *out = (struct base_uuid){{0xee, 0, 0, 0, 0, 0, 0x70, 0, 0x80}};
    out->bytes[15] = (uint8_t)(node + 1);
}

/* ---- texts ----------------------------------------------------------------------------------------- */

void *sim_get(struct sim_world *w, size_t bytes)
{
    static char
        spare[1 << 16]; /* a schedule that is too large is given up: what it writes is lost */
    size_t at = (w->pool_used + 15) & ~(size_t)15;
    if (at + bytes > sizeof w->pool) {
        w->too_large = true;
        BASE_ASSERT(bytes <= sizeof spare);
        return spare;
    }
    w->pool_used = at + bytes;
    return w->pool + at;
}

const char *sim_keep(struct sim_world *w, const char *s)
{
    size_t n = strlen(s) + 1;
    char *p = sim_get(w, n);
    memcpy(p, s, n);
    return p;
}

uint16_t sim_value(struct sim_world *w, const char *text)
{
    uint64_t h = 1469598103934665603u;
    if (text == NULL)
        return 0;
    for (const char *s = text; *s != '\0'; s++)
        h = (h ^ (uint8_t)*s) * 1099511628211u;
    for (size_t i = h % (2 * SIM_TEXTS_MAX);; i = (i + 1) % (2 * SIM_TEXTS_MAX)) {
        uint16_t at = w->text_slots[i];
        if (at != 0 && strcmp(w->texts[at], text) == 0)
            return at;
        if (at != 0)
            continue;
        if (w->text_count + 1 >= SIM_TEXTS_MAX) {
            w->too_large = true;
            return 1;
        }
        w->texts[++w->text_count] = sim_keep(w, text);
        w->text_slots[i] = (uint16_t)w->text_count;
        return (uint16_t)w->text_count;
    }
}

struct core_text sim_text(const struct sim_world *w, uint16_t value)
{
    return core_text_of(value == 0 ? NULL : w->texts[value]);
}

void sim_image(const struct sim_world *w, struct core_image *out, int table, int row, int64_t rev,
               const struct sim_values *v, const struct core_table *t)
{
    out->count = 0;
    core_image_set(out, CORE_ORD_REV, core_text_of(NULL));
    for (int i = 0; i < t->column_count; i++)
        core_image_set(out, t->columns[i].ord, sim_text(w, v->v[i]));
}

/* ---- what is told ------------------------------------------------------------------------------------ */

void sim_fail(struct sim_world *w, const char *fmt, ...)
{
    va_list args;
    if (w->failed[0] != '\0' || w->too_large)
        return;
    va_start(args, fmt);
    (void)vsnprintf(w->failed, sizeof w->failed, fmt, args);
    va_end(args);
    sim_trace(w, "VIOLATED: %s", w->failed);
}

void sim_trace(struct sim_world *w, const char *fmt, ...)
{
    va_list args;
    if (!w->trace)
        return;
    printf("%9lld  ", (long long)w->now);
    va_start(args, fmt);
    (void)vprintf(fmt, args);
    va_end(args);
    putchar('\n');
}

/* ---- running ------------------------------------------------------------------------------------------- */

void sim_world_init(struct sim_world *w, const struct sim_schedule *s, struct sim_figures *f)
{
    bool trace = w->trace;
    memset(w, 0, offsetof(struct sim_world, pool));
    memset((char *)w + offsetof(struct sim_world, pool_used), 0,
           sizeof *w - offsetof(struct sim_world, pool_used));
    w->trace = trace;
    w->random = s->seed ^ 0x51d;
    w->figures = f;
    w->node_count = s->nodes;
    w->now = 1000;
    base_arena_init(&w->scratch, 1 << 22);
    for (int v = 1; v <= 3; v++)
        make_catalog(&w->catalogs[v], v);
    sim_centre_init(w);
    for (int i = 0; i < s->nodes; i++) {
        struct sim_node *n = &w->nodes[i];
        n->id = n->machine = i;
        n->used = true;
        n->disk.incarnation = 1;
        n->disk.cursor = -1;
        if (sim_store->open(w, n, true) != 0)
            sim_fail(w, "the store of node %d cannot be made", i);
        sim_node_start(w, n);
    }
}

void sim_world_release(struct sim_world *w)
{
    for (int i = 0; i < SIM_NODES_MAX; i++)
        if (w->nodes[i].used)
            sim_store->close(w, &w->nodes[i]);
    for (int v = 1; v <= 3; v++)
        core_catalog_release(&w->catalogs[v]);
    base_arena_release(&w->scratch);
}

/* The earliest thing that happens by itself: a message arrives, a node's timer goes off. */
void sim_run_until(struct sim_world *w, int64_t until)
{
    enum { TURNS_MAX = 200000 };
    for (int turn = 0; w->failed[0] == '\0' && !w->too_large; turn++) {
        struct sim_message *m = NULL;
        struct sim_node *who = NULL;
        int64_t at = sim_net_next(w, &m);
        for (int i = 0; i < SIM_NODES_MAX; i++) {
            int64_t t = w->nodes[i].used ? sim_node_next(w, &w->nodes[i]) : -1;
            if (t >= 0 && (at < 0 || t < at)) {
                at = t;
                who = &w->nodes[i];
            }
        }
        if (at < 0 || at > until)
            break;
        if (turn > TURNS_MAX)
            sim_fail(w, "the world does not come to rest");
        if (at > w->now)
            w->now = at;
        if (who != NULL)
            sim_node_work(w, who);
        else
            sim_net_deliver(w, m);
    }
    if (until > w->now)
        w->now = until;
}

/* Everything is mended; then five rounds, each as long as the longest pause and an exchange. */
static void come_to_rest(struct sim_world *w)
{
    w->faults_over = true;
    for (int i = 0; i < SIM_NODES_MAX; i++) {
        struct sim_node *n = &w->nodes[i];
        w->next_fate[i][0] = w->next_fate[i][1] = SIM_FATE_NONE;
        n->kill_in = 0;
        n->disk_full = false;
        if (!n->used)
            continue;
        if (!n->alive)
            sim_node_start(w, n);
        if (!n->session.link_open)
            core_session_on_link(&n->session, w->now, true);
    }
    int64_t wait = SIM_ROUNDS * SIM_ROUND_MS;
    for (int i = 0; i < SIM_NODES_MAX; i++) /* a refused node is greeted again this seldom */
        if (w->nodes[i].used && w->nodes[i].session.phase == CORE_STOPPED)
            wait = SIM_ROUNDS * SIM_ROUND_MS + CORE_SESSION_REFUSED_MS;
    sim_run_until(w, w->now + wait);
}

bool sim_run(struct sim_world *w, const struct sim_schedule *s, struct sim_figures *f, bool trace)
{
    w->trace = trace;
    sim_world_init(w, s, f);
    f->schedules++;
    for (int i = 0; i < s->count && w->failed[0] == '\0' && !w->too_large; i++) {
        f->steps++;
        f->kinds[s->steps[i].kind]++;
        sim_step_do(w, &s->steps[i]);
    }
    if (w->failed[0] == '\0')
        come_to_rest(w);
    if (w->failed[0] == '\0' && !w->too_large)
        sim_check_end(w);
    f->too_large += w->too_large;
    f->writes += (uint64_t)w->write_count;
    bool ok = w->failed[0] == '\0' || w->too_large;
    sim_world_release(w);
    return ok;
}
