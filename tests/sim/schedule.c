/* Schedules: made from a seed, printed, and done step by step. */
#include "tests/sim/sim.h"

enum {
    COLUMNS_MASK = 31,
    EDIT_OLD_VIEW = 1 << 8, /* what is on the screen since an earlier look */
    EDIT_AGREE = 1 << 9,    /* a value that others may enter, too */
    EDIT_POISON = 1 << 10,
    EDIT_DELETE = 1 << 11,
    EDIT_INSERT = 1 << 12,
    EDIT_WITH_FACT = 1 << 13, /* and a fact, in one transaction */
    EDIT_FORM = 1 << 14,      /* a form: all columns, most of them as they were */
    EDIT_SAME_BODY = 1 << 15, /* a derived row: every node writes the same */
    OLD_ROWS = 3,             /* persons and drafts that are there from the beginning */
    FIRST_DERIVED_ROW = 4,    /* ids that two nodes make alike */
    DERIVED_ROWS = 4,
    FIRST_NEW_ROW = 8
};

/* ---- making ------------------------------------------------------------------------------------ */

static int new_row(int serial)
{
    return FIRST_NEW_ROW + serial % (SIM_ROWS - FIRST_NEW_ROW);
}

static void make_edit(struct sim_step *s, uint64_t *r)
{
    static const int old[] = {SIM_PERSON, SIM_PERSON, SIM_PERSON, SIM_DRAFT};
    int dice = sim_below(r, 100);
    if (dice < 25) {
        s->a = SIM_CHART;
        s->b = new_row(s->serial);
        s->c = EDIT_INSERT | 3;
        if (sim_below(r, 5) == 0) {
            s->b = FIRST_DERIVED_ROW + sim_below(r, DERIVED_ROWS);
            s->c |= sim_below(r, 4) == 0 ? 0 : EDIT_SAME_BODY;
        }
        return;
    }
    s->a = old[sim_below(r, 4)];
    s->b = sim_below(r, OLD_ROWS);
    s->c = 1 + sim_below(r, s->a == SIM_DRAFT ? 7 : 31);
    if (dice < 28) { /* a table that comes with catalog 3 */
        s->a = SIM_EXTRA;
        s->b =
            sim_below(r, 2) ? new_row(s->serial) : FIRST_DERIVED_ROW + sim_below(r, DERIVED_ROWS);
        s->c = 1 | (sim_below(r, 2) ? EDIT_INSERT : 0);
        return;
    }
    if (dice < 35) {
        s->b =
            sim_below(r, 2) ? new_row(s->serial) : FIRST_DERIVED_ROW + sim_below(r, DERIVED_ROWS);
        s->c |= EDIT_INSERT;
    } else if (dice < 45 && s->a == SIM_DRAFT) {
        s->c = EDIT_DELETE;
    } else if (dice < 60) {
        s->c |= EDIT_OLD_VIEW;
    } else if (dice < 68) {
        s->c |= EDIT_AGREE;
    } else if (dice < 71) {
        s->c |= EDIT_POISON;
    } else if (dice < 80) {
        s->c |= EDIT_WITH_FACT;
    } else if (dice < 85) {
        s->c |= EDIT_FORM;
    }
}

static void make_great_fault(struct sim_step *s, uint64_t *r)
{
    static const enum sim_kind kinds[] = {SIM_TAKE_IMAGE,   SIM_TAKE_IMAGE,    SIM_RESTORE,
                                          SIM_RESTORE,      SIM_CLONE,         SIM_ABSENT,
                                          SIM_CENTRE_IMAGE, SIM_CENTRE_RESTORE};
    s->kind = kinds[sim_below(r, 8)];
}

static void make_fault(struct sim_step *s, uint64_t *r, bool great)
{
    int dice = sim_below(r, great ? 130 : 100);
    if (dice < 56) {
        s->kind = SIM_NET;
        s->a = 1 + sim_below(r, SIM_FATES - 1);
        s->b = sim_below(r, 2);
    } else if (dice < 76) {
        s->kind = SIM_KILL;
        s->a = 1 + sim_below(r, 4);
        s->b = sim_below(r, 2);
    } else if (dice < 86) {
        s->kind = SIM_LINK;
        s->a = sim_below(r, 4);
    } else if (dice < 90) {
        s->kind = SIM_DISK;
        s->a = sim_below(r, 2);
    } else if (dice < 92) {
        s->kind = SIM_COMPACT;
    } else if (dice < 94) {
        s->kind = SIM_CLOCK;
        s->a = (sim_below(r, 400) - 200) * 3600;
    } else if (dice < 96) {
        s->kind = SIM_CATALOG;
    } else if (great) {
        make_great_fault(s, r);
    } else {
        s->kind = SIM_ABSENT;
    }
}

static void make_step(struct sim_step *s, uint64_t *r, int nodes, int serial, bool great)
{
    static const int waits[] = {30, 200, 1000, 5000, 30000};
    int dice = sim_below(r, 100);
    /* a step of a machine that is not there does nothing; clones may come */
    *s = (struct sim_step){.serial = serial, .node = sim_below(r, great ? SIM_NODES_MAX : nodes)};
    if (dice < 38) {
        s->kind = SIM_EDIT;
        make_edit(s, r);
    } else if (dice < 44) {
        s->kind = SIM_LOOK;
        s->a = sim_below(r, 4) == 0 ? SIM_DRAFT : SIM_PERSON;
        s->b = sim_below(r, OLD_ROWS);
    } else if (dice < 52) {
        s->kind = SIM_OTHER_EDIT;
        s->a = sim_below(r, 4) == 0 ? SIM_STAFF : sim_below(r, 3) == 0 ? SIM_DRAFT : SIM_PERSON;
        s->b = sim_below(r, OLD_ROWS);
        s->c = sim_below(r, 8) == 0 ? 0 : 1 + sim_below(r, 31);
    } else if (dice < 74) {
        s->kind = SIM_RUN;
        s->a = waits[sim_below(r, 5)] + sim_below(r, 400);
    } else if (dice < 76) {
        s->kind = SIM_DROP;
    } else {
        make_fault(s, r, great);
    }
}

void sim_schedule_make(struct sim_schedule *out, uint64_t seed, int length)
{
    uint64_t r = seed;
    *out = (struct sim_schedule){.seed = seed};
    out->nodes = 2 + sim_below(&r, 2);
    out->count = length / 2 + sim_below(&r, length);
    if (out->count > SIM_STEPS_MAX)
        out->count = SIM_STEPS_MAX;
    bool great = sim_below(&r, 4) == 0; /* machines and centres restored, cloned */
    for (int i = 0; i < out->count; i++)
        make_step(&out->steps[i], &r, out->nodes, i, great);
}

/* ---- printing ------------------------------------------------------------------------------------- */

static const char *const table_names[] = {"chart", "person", "draft", "staff", "conflict", "extra"};
static const char *const fate_names[] = {"-",
                                         "request lost",
                                         "reply lost",
                                         "request arrives after its sender gave up",
                                         "request arrives twice",
                                         "request cut off",
                                         "reply cut off",
                                         "gateway busy",
                                         "gateway dies before it commits",
                                         "gateway dies between commit and reply",
                                         "request slow",
                                         "reply slow",
                                         "a cut is left out of the reply"};

static void print_edit(FILE *f, const struct sim_step *s)
{
    (void)fprintf(f, "node %d: %s %s %d columns %x%s%s%s%s", s->node,
                  s->c & EDIT_INSERT   ? "insert"
                  : s->c & EDIT_DELETE ? "delete"
                                       : "update",
                  table_names[s->a], s->b, s->c & COLUMNS_MASK,
                  s->c & EDIT_OLD_VIEW ? " of an old view" : "",
                  s->c & EDIT_AGREE       ? " agreeing"
                  : s->c & EDIT_SAME_BODY ? " alike everywhere"
                                          : "",
                  s->c & EDIT_POISON ? " poisoned" : "",
                  s->c & EDIT_WITH_FACT ? " with a fact"
                  : s->c & EDIT_FORM    ? " in a form"
                                        : "");
}

void sim_step_print(FILE *f, const struct sim_step *s)
{
    switch (s->kind) {
    case SIM_RUN:
        (void)fprintf(f, "wait %d ms", s->a);
        break;
    case SIM_LOOK:
        (void)fprintf(f, "node %d: look at %s %d", s->node, table_names[s->a], s->b);
        break;
    case SIM_EDIT:
        print_edit(f, s);
        break;
    case SIM_OTHER_EDIT:
        (void)fprintf(f, "centre: other software %s %s %d columns %x",
                      s->c == 0 ? "deletes" : "writes", table_names[s->a], s->b, s->c);
        break;
    case SIM_NET:
        (void)fprintf(f, "node %d, next %s: %s", s->node, s->b == 0 ? "pull" : "push",
                      fate_names[s->a]);
        break;
    case SIM_KILL:
        (void)fprintf(f, "node %d dies %s its %d. commit from now", s->node,
                      s->b ? "right after" : "before", s->a);
        break;
    case SIM_LINK:
        (void)fprintf(f, "node %d: line %s", s->node,
                      s->a == 3   ? "flaps, and the next answer is slow"
                      : s->a == 2 ? "flaps"
                      : s->a      ? "up"
                                  : "down");
        break;
    case SIM_DISK:
        (void)fprintf(f, "node %d: disk %s", s->node, s->a ? "full" : "has room");
        break;
    case SIM_COMPACT:
        (void)fprintf(f, "centre: old changes are compacted away");
        break;
    case SIM_DROP:
        (void)fprintf(f, "node %d: quarantined changes are dropped", s->node);
        break;
    case SIM_CLOCK:
        (void)fprintf(f, "node %d: clock wrong by %d s", s->node, s->a);
        break;
    case SIM_ABSENT:
        (void)fprintf(f, "node %d: absent, 60 days pass", s->node);
        break;
    case SIM_CATALOG:
        (void)fprintf(f, "centre: the catalog moves on");
        break;
    case SIM_CENTRE_IMAGE:
        (void)fprintf(f, "centre: a backup is taken");
        break;
    case SIM_CENTRE_RESTORE:
        (void)fprintf(f, "centre: restored from its backup");
        break;
    case SIM_TAKE_IMAGE:
        (void)fprintf(f, "node %d: an image of its disk is taken", s->node);
        break;
    case SIM_RESTORE:
        (void)fprintf(f, "node %d: its disk is replaced by the image", s->node);
        break;
    case SIM_CLONE:
        (void)fprintf(f, "node %d: a second machine starts with a copy of its disk", s->node);
        break;
    case SIM_KINDS:
        break;
    }
    (void)fprintf(f, "  (#%d)\n", s->serial);
}

/* ---- doing ------------------------------------------------------------------------------------------ */

static struct sim_view look(const struct sim_node *n, int table, int row)
{
    const struct sim_row *r = &n->disk.rows[table][row];
    return (struct sim_view){.valid = true,
                             .catalog = n->disk.catalog,
                             .exists = r->exists,
                             .rev = r->rev,
                             .pending = r->pending,
                             .v = r->v};
}

static void name_values(struct sim_world *w, const struct sim_step *s, struct sim_edit *e)
{
    char text[32];
    for (int i = 0; i < SIM_COLUMNS; i++) {
        if (!(e->set >> i & 1))
            continue;
        if (e->table == SIM_DRAFT && i == SIM_STATE_COLUMN)
            (void)snprintf(text, sizeof text, "%s", sim_states[s->serial % SIM_STATES]);
        else if (s->c & EDIT_SAME_BODY)
            (void)snprintf(text, sizeof text, "slot%d.%d", e->row, i);
        else if (s->c & EDIT_AGREE && e->table != SIM_CHART)
            (void)snprintf(text, sizeof text, "same%d", s->serial % 2);
        else
            (void)snprintf(text, sizeof text, "%sw%d.%d",
                           s->c & EDIT_POISON && e->table != SIM_CHART ? "bad" : "", s->serial, i);
        e->v.v[i] = sim_value(w, text);
    }
}

/* Does the screen lack what a new column holds already, now or when an earlier change was made? */
static bool unfilled(const struct sim_world *w, const struct sim_node *n, int table, int row)
{
    bool yes = (n->disk.fill >> table & 1) != 0;
    for (int i = 0; i < w->write_count; i++)
        yes |= w->writes[i].unfilled && w->writes[i].node == n->id && w->writes[i].table == table &&
               w->writes[i].row == row;
    return yes;
}

/* Do changes of ours lie over something that has moved beneath them? */
static bool hides(const struct sim_node *n, const struct sim_view *v)
{
    return v->pending != 0 && n->disk.log[v->pending - 1].base < v->rev;
}

/* One edit, and what its author had seen. */
static bool make(struct sim_world *w, struct sim_node *n, const struct sim_step *s, int table,
                 int row, struct sim_edit *e)
{
    struct sim_view v = look(n, table, row);
    const struct core_table *t =
        n->disk.catalog == 0 ? NULL : sim_table_of(w, n->disk.catalog, table);
    if (t == NULL || w->write_count == SIM_WRITES_MAX)
        return false;
    if (s->c & EDIT_OLD_VIEW && n->views[table][row].valid &&
        n->views[table][row].catalog ==
            n->disk.catalog) /* no screen shows a field it did not know */
        v = n->views[table][row];
    *e = (struct sim_edit){.op = s->c & EDIT_INSERT || table == SIM_CHART ? CORE_OP_INSERT
                                 : s->c & EDIT_DELETE                     ? CORE_OP_DELETE
                                                                          : CORE_OP_UPDATE,
                           .table = table,
                           .row = row,
                           .rev = v.rev,
                           .pending = v.pending,
                           .write = w->write_count};
    if (e->op != CORE_OP_DELETE)
        e->set = (unsigned)(s->c & COLUMNS_MASK) & ((1u << t->column_count) - 1);
    if (table == SIM_CHART)
        e->set = 3;
    if (e->op == CORE_OP_UPDATE && e->set == 0)
        return false;
    e->check_version = e->op != CORE_OP_INSERT;
    name_values(w, s, e);
    if (s->c & EDIT_FORM && e->op == CORE_OP_UPDATE)
        for (int i = 0; i < t->column_count; i++)
            if (!(e->set >> i & 1)) {
                e->set |= 1u << i;
                e->v.v[i] = v.v.v[i];
            }
    unsigned changed = e->set; /* what stands there already is no change */
    for (int i = 0; i < SIM_COLUMNS && e->op == CORE_OP_UPDATE; i++)
        if (v.exists && e->v.v[i] == v.v.v[i])
            changed &= ~(1u << i);
    if (e->op == CORE_OP_UPDATE && changed == 0)
        return false;
    w->writes[w->write_count++] = (struct sim_write){.node = n->id,
                                                     .inc = n->disk.incarnation,
                                                     .table = table,
                                                     .row = row,
                                                     .op = e->op,
                                                     .set = changed,
                                                     .v = e->v,
                                                     .seen = v.v,
                                                     .seen_exists = v.exists,
                                                     .unfilled = unfilled(w, n, table, row),
                                                     .over_pending = hides(n, &v),
                                                     .poison = (s->c & EDIT_POISON) != 0};
    return true;
}

static void do_edit(struct sim_world *w, const struct sim_step *s)
{
    struct sim_node *n = &w->nodes[s->node];
    struct sim_edit edits[SIM_EDITS_MAX];
    int count = 0;
    int first = w->write_count;
    if (!n->alive)
        return;
    if (make(w, n, s, s->a, s->b, &edits[0]))
        count++;
    if (count == 1 && s->c & EDIT_WITH_FACT &&
        make(w, n, s, SIM_CHART, new_row(s->serial), &edits[1]))
        count++;
    if (count == 0)
        return;
    int rc = sim_store->write(w, n, edits, count);
    bool kept = rc == 0 || rc == SIM_DIED;
    for (int i = 0; kept && i < count; i++) {
        w->writes[first + i].told = rc == 0;
        w->writes[first + i].group = first;
        w->writes[first + i].of = count;
        w->writes[first + i].seq = n->disk.last_seq - count + 1 + i;
    }
    if (!kept)
        w->write_count = first;
    sim_trace(w, "node %d writes %s %d: %d, seq %d", n->machine, table_names[s->a], s->b, rc,
              (int)n->disk.last_seq);
    if (rc == 0)
        core_session_on_local(&n->session, w->now);
    if (n->doomed)
        sim_node_die(w, n);
    sim_check_node(w, n);
}

static void do_drop(struct sim_world *w, struct sim_node *n)
{
    for (int64_t seq = 1; n->alive && seq <= n->disk.last_seq; seq++)
        if (n->disk.log[seq - 1].held) {
            (void)sim_store->drop(w, n, seq);
            if (n->doomed)
                sim_node_die(w, n);
        }
    sim_check_node(w, n);
}

/* Everything with a cut goes but the newest few transactions. */
static void do_compact(struct sim_world *w)
{
    enum { KEPT_TXNS = 6 };
    struct sim_centre *c = &w->centre;
    if (c->sequenced > KEPT_TXNS)
        c->kept_from = c->txns[c->sequenced - KEPT_TXNS].first;
    w->compacted = true;
}

static void do_restore(struct sim_world *w, struct sim_node *n)
{
    if (!n->has_image || n->image.incarnation != n->disk.incarnation)
        return;
    sim_forget(w, &n->disk, &n->image);
    if (n->alive)
        sim_node_die(w, n);
    n->disk = n->image;
    if (sim_store->restore != NULL)
        sim_store->restore(w, n);
    memset(n->newest, 0, sizeof n->newest);
    w->fences_expected = true;
}

static void do_clone(struct sim_world *w, const struct sim_node *n)
{
    for (int i = 0; i < SIM_NODES_MAX; i++) {
        struct sim_node *to = &w->nodes[i];
        if (to->used)
            continue;
        *to = *n;
        to->machine = i;
        to->has_image = false;
        to->kill_in = 0;
        if (sim_store->clone != NULL)
            sim_store->clone(w, n, to);
        w->fences_expected = true;
        sim_node_start(w, to);
        return;
    }
}

static void do_centre_restore(struct sim_world *w)
{
    int64_t timeline = w->centre.timeline;
    if (!w->has_centre_image)
        return;
    w->centre = w->centre_image;
    w->centre.timeline = timeline + 1;
    w->fences_expected = w->centre_restored = true;
    sim_net_wake(w);
}

static void do_absent(struct sim_world *w, struct sim_node *n)
{
    static const int64_t sixty_days_ms = (int64_t)60 * 24 * 3600 * 1000;
    if (n->alive && n->session.link_open)
        core_session_on_link(&n->session, w->now, false);
    w->now += sixty_days_ms;
}

/* What happens to whole machines. */
static void do_great(struct sim_world *w, const struct sim_step *s)
{
    struct sim_node *n = &w->nodes[s->node];
    switch (s->kind) {
    case SIM_TAKE_IMAGE:
        n->image = n->disk;
        n->has_image = true;
        if (sim_store->take_image != NULL)
            sim_store->take_image(w, n);
        break;
    case SIM_RESTORE:
        do_restore(w, n);
        break;
    case SIM_CLONE:
        do_clone(w, n);
        break;
    case SIM_CENTRE_IMAGE:
        w->centre_image = w->centre;
        w->has_centre_image = true;
        break;
    case SIM_CENTRE_RESTORE:
        do_centre_restore(w);
        break;
    case SIM_ABSENT:
        do_absent(w, n);
        break;
    case SIM_CATALOG:
        sim_centre_catalog(w);
        break;
    case SIM_CLOCK:
        n->clock_offset = (int64_t)s->a * 1000;
        break;
    default:
        break;
    }
}

void sim_step_do(struct sim_world *w, const struct sim_step *s)
{
    struct sim_node *n = &w->nodes[s->node];
    bool of_node = s->kind != SIM_RUN && s->kind != SIM_OTHER_EDIT && s->kind != SIM_COMPACT &&
                   s->kind != SIM_CATALOG && s->kind != SIM_CENTRE_IMAGE &&
                   s->kind != SIM_CENTRE_RESTORE;
    if (of_node && !n->used)
        return;
    if (w->trace) {
        printf("%9lld  * ", (long long)w->now);
        sim_step_print(stdout, s);
    }
    switch (s->kind) {
    case SIM_RUN:
        sim_run_until(w, w->now + s->a);
        break;
    case SIM_LOOK:
        if (n->alive && n->disk.fill == 0)
            n->views[s->a][s->b] = look(n, s->a, s->b);
        break;
    case SIM_EDIT:
        do_edit(w, s);
        break;
    case SIM_OTHER_EDIT:
        sim_centre_other_edit(w, s);
        break;
    case SIM_NET:
        w->next_fate[s->node][s->b] = (enum sim_fate)s->a;
        break;
    case SIM_KILL:
        n->kill_in = s->a;
        n->kill_after = s->b != 0;
        break;
    case SIM_LINK:
        if (s->a == 3)
            w->next_fate[s->node][CORE_LANE_PULL] = SIM_FATE_SLOW_REPLY;
        if (n->alive && s->a >= 2)
            core_session_on_link(&n->session, w->now, false);
        if (n->alive && n->session.link_open != (s->a != 0))
            core_session_on_link(&n->session, w->now, s->a != 0);
        break;
    case SIM_DISK:
        n->disk_full = s->a != 0;
        break;
    case SIM_COMPACT:
        do_compact(w);
        break;
    case SIM_DROP:
        do_drop(w, n);
        break;
    default:
        do_great(w, s);
        break;
    }
    sim_run_until(w, w->now);
}
