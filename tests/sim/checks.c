/*
 * The promises, checked against what the harness itself recorded: what each author had on the screen,
 * what each tablet was told.
 */
#include "tests/sim/sim.h"

/* ---- at the centre, with every change decided ---------------------------------------------------- */

static const struct sim_contest *contested(const struct sim_contest *list, int count, int column)
{
    for (int i = 0; i < count; i++)
        if (list[i].is_delete || list[i].columns >> column & 1)
            return &list[i];
    return NULL;
}

static uint16_t seen_at(const struct sim_write *x, int column)
{
    return x->seen_exists ? x->seen.v[column] : 0;
}

/* Was this value on the author's screen, or on that of the colleague at the same node whose own, not
 * yet settled, value was? */
static bool had_seen(const struct sim_world *w, const struct sim_write *x, int column, uint16_t v)
{
    uint16_t seen = seen_at(x, column);
    for (int i = (int)(x - w->writes) - 1; seen != v && i >= 0; i--) {
        const struct sim_write *u = &w->writes[i];
        if (u->node == x->node && u->table == x->table && u->row == x->row &&
            u->set >> column & 1 && u->v.v[column] == seen)
            seen = seen_at(u, column);
    }
    return seen == v;
}

/* Does a conflict record hold this value of the row? Nothing that it holds is lost silently. */
static bool on_record(const struct sim_world *w, int table, int row, int column, uint16_t v)
{
    const struct sim_centre *c = &w->centre;
    for (int i = 0; i < c->contest_count; i++) {
        const struct sim_contest *k = &c->contests[i];
        if (k->table == table && k->of == row && c->rows[SIM_CONFLICT][k->row].exists &&
            (k->is_delete || k->columns >> column & 1) &&
            (k->live.v[column] == v || k->incoming.v[column] == v))
            return true;
    }
    return false;
}

static int weakness(const struct sim_world *w, uint16_t v)
{
    int i = 0;
    while (sim_states[i] != NULL && (v == 0 || strcmp(sim_states[i], w->texts[v]) != 0))
        i++;
    return i;
}

/* A step back counts only if its author had seen what it undoes. */
static void check_state(struct sim_world *w, const struct sim_write *x,
                        const struct sim_central_row *before, const struct sim_central_row *after)
{
    uint16_t was = before->v.v[SIM_STATE_COLUMN];
    uint16_t is = after->v.v[SIM_STATE_COLUMN];
    if (x->table == SIM_DRAFT && before->exists && after->exists && was != is &&
        !had_seen(w, x, SIM_STATE_COLUMN, was) && weakness(w, is) > weakness(w, was))
        sim_fail(w, "a state gives way to a weaker one that had not seen it: r%d, %s", x->row,
                 sim_text(w, is).s);
}

/* No value overwritten that the author had not seen, without a conflict record. */
static void check_overwritten(struct sim_world *w, const struct sim_write *x,
                              const struct sim_central_row *before,
                              const struct sim_central_row *after)
{
    for (int i = 0; i < SIM_COLUMNS && before->exists && !x->unfilled; i++) {
        uint16_t now = after->exists ? after->v.v[i] : 0;
        if (now != before->v.v[i] && !had_seen(w, x, i, before->v.v[i]) &&
            !on_record(w, x->table, x->row, i, before->v.v[i]))
            sim_fail(w,
                     "silent overwrite: t%d r%d column %d by change %d of node %d: %s, on the "
                     "screen was %s",
                     x->table, x->row, i, (int)x->seq, x->node, sim_text(w, before->v.v[i]).s,
                     x->seen_exists ? sim_text(w, x->seen.v[i]).s : "no row");
    }
}

/* What came in is live, or in a conflict record; what the author did not change needs neither. */
static void check_kept(struct sim_world *w, const struct sim_write *x,
                       const struct sim_central_row *after, const struct sim_contest *list,
                       int count)
{
    bool gone_contested = false;
    for (int i = 0; i < count; i++)
        gone_contested |= list[i].is_delete;
    if (x->op == CORE_OP_DELETE) {
        if (after->exists && !gone_contested)
            sim_fail(w, "a deletion is neither done nor contested: t%d r%d", x->table, x->row);
        return;
    }
    for (int i = 0; i < SIM_COLUMNS; i++) {
        const struct sim_contest *k = contested(list, count, i);
        bool live = after->exists && after->v.v[i] == x->v.v[i];
        if (!(x->set >> i & 1) || x->v.v[i] == seen_at(x, i) || live)
            continue;
        if (k == NULL || k->incoming.v[i] != x->v.v[i])
            sim_fail(w, "a value that came in is lost: t%d r%d column %d, change %d of node %d",
                     x->table, x->row, i, (int)x->seq, x->node);
    }
}

/* Behind a quarantined change the author's screen shows what the centre has refused. */
static bool behind_quarantine(const struct sim_world *w, const struct sim_write *x)
{
    const struct sim_centre *c = &w->centre;
    for (int i = 0; i < c->decided_count; i++) {
        const struct sim_write *u = &w->writes[c->decided[i].write];
        if (c->decided[i].outcome == CORE_QUARANTINED && u->node == x->node &&
            u->table == x->table && u->row == x->row)
            return true;
    }
    return false;
}

/* The columns of a group are one author's, never one of each. */
static void check_group(struct sim_world *w, const struct sim_write *x,
                        const struct sim_central_row *before, const struct sim_central_row *after)
{
    enum { FIRST = 2, LAST = 3 };
    bool as_before = true;
    bool as_written = true;
    if (x->table != SIM_PERSON || !before->exists || !after->exists || behind_quarantine(w, x))
        return;
    for (int i = FIRST; i <= LAST; i++) {
        uint16_t written = x->set >> i & 1 ? x->v.v[i] : seen_at(x, i);
        as_before &= after->v.v[i] == before->v.v[i];
        as_written &= after->v.v[i] == written;
    }
    if (!as_before && !as_written)
        sim_fail(w, "a group of columns is put together from two authors: r%d", x->row);
}

static bool common_value(const struct sim_world *w, uint16_t v)
{
    return v != 0 && strncmp(w->texts[v], "same", 4) == 0;
}

static bool stands_alone(int table, int column)
{
    return table != SIM_PERSON || (column != 2 && column != 3);
}

/* A conflict over a field that the author saw as it is. Where changes of ours lay over the row, or the
 * log is compacted, unsure means a person looks; a value that came and went may look like that. */
static bool was_seen_as_it_is(const struct sim_world *w, const struct sim_write *x,
                              const struct sim_central_row *before, int column)
{
    return stands_alone(x->table, column) && x->op == CORE_OP_UPDATE && !x->over_pending &&
           !w->compacted && before->exists && x->seen_exists &&
           before->v.v[column] == x->seen.v[column] && !common_value(w, before->v.v[column]);
}

static void check_needless(struct sim_world *w, const struct sim_write *x,
                           const struct sim_central_row *before, const struct sim_contest *list,
                           int count)
{
    for (int i = 0; i < count; i++) {
        if (list[i].columns == 0 && !list[i].is_delete)
            sim_fail(w, "a conflict over nothing: t%d r%d", x->table, x->row);
        for (int k = 0; k < SIM_COLUMNS && !list[i].is_delete; k++)
            if (list[i].columns >> k & 1 && x->op == CORE_OP_UPDATE && !(x->set >> k & 1) &&
                stands_alone(x->table, k))
                sim_fail(w, "a conflict over what the author left alone: t%d r%d column %d",
                         x->table, x->row, k);
        for (int k = 0; k < SIM_COLUMNS && !list[i].is_delete; k++)
            if (list[i].columns >> k & 1 && was_seen_as_it_is(w, x, before, k))
                sim_fail(w, "a conflict over what the author had seen: t%d r%d column %d", x->table,
                         x->row, k);
    }
    for (int i = 0; i < count; i++)
        for (int k = 0; k < SIM_COLUMNS && !list[i].is_delete && before->exists; k++)
            if (list[i].columns >> k & 1 && list[i].incoming.v[k] == before->v.v[k])
                sim_fail(w, "a conflict over what both sides agree on: t%d r%d", x->table, x->row);
}

/* What is refused has a cause: a fact rewritten, what the database refuses, what stands on that. */
static void check_refused(struct sim_world *w, const struct sim_write *x,
                          const struct core_merge *m, const struct sim_central_row *before)
{
    bool other_body = before->exists && memcmp(&before->v, &x->v, sizeof x->v) != 0;
    bool gone = m->rule == CORE_RULE_GONE && (w->compacted || behind_quarantine(w, x));
    if (x->poison || gone || (x->table == SIM_CHART && other_body))
        return;
    sim_fail(w, "%s is refused without a cause: t%d r%d of node %d: %s",
             x->table == SIM_CHART ? "a fact" : "a change", x->table, x->row, x->node,
             core_rule_name(m->rule));
}

void sim_check_fenced(struct sim_world *w, const struct sim_node *n)
{
    if (!w->fences_expected)
        sim_fail(w, "node %d is fenced without a cause", n->machine);
}

void sim_check_decided(struct sim_world *w, int write, const struct core_merge *m,
                       const struct sim_central_row *before, const struct sim_central_row *after,
                       const struct sim_contest *list, int count)
{
    if (write < 0 || write >= w->write_count) {
        sim_fail(w, "a change that nobody wrote");
        return;
    }
    const struct sim_write *x = &w->writes[write];
    w->figures->checks++;
    if (m->outcome == CORE_QUARANTINED) {
        check_refused(w, x, m, before);
        return;
    }
    if (x->table == SIM_CHART && before->exists &&
        memcmp(&before->v, &after->v, sizeof before->v) != 0)
        sim_fail(w, "a fact is rewritten: r%d", x->row);
    if (!w->centre_restored) /* what was seen of a life that is over cannot be told from this one's */
        check_overwritten(w, x, before, after);
    check_kept(w, x, after, list, count);
    check_state(w, x, before, after);
    if (w->centre_restored)
        return;
    check_group(w, x, before, after);
    check_needless(w, x, before, list, count);
}

/* ---- at a node, after every commit --------------------------------------------------------------------- */

/* Which of its changes have had both receipt and outcome come back, as the centre knows it. */
static void find_done(const struct sim_world *w, const struct sim_node *n, bool done[SIM_LOG_MAX])
{
    const struct sim_centre *c = &w->centre;
    memset(done, 0, SIM_LOG_MAX * sizeof *done);
    for (int i = 0; i < c->decided_count; i++) {
        const struct sim_decided *d = &c->decided[i];
        int64_t cut = c->txns[d->txn].cut;
        if (d->node == n->id && d->inc == n->disk.incarnation && d->seq <= n->disk.acked &&
            d->write == n->disk.log[d->seq - 1].write &&
            ((cut != 0 && cut <= n->disk.cursor) || (n->disk.filled && d->seq <= n->fill_acked)))
            done[d->seq - 1] = true;
    }
}

static const struct sim_entry *entry_at(const struct sim_world *w, int table, int row, int64_t rev)
{
    const struct sim_centre *c = &w->centre;
    if (c->rows[table][row].rev == 0)
        return NULL;
    for (int i = c->rows[table][row].last_entry; i >= 0; i = c->entries[i].prev)
        if (c->entries[i].rev == rev)
            return &c->entries[i];
    return NULL;
}

static const struct sim_entry *entry_at_cut(const struct sim_world *w, int table, int row,
                                            int64_t cut)
{
    const struct sim_centre *c = &w->centre;
    if (c->rows[table][row].rev == 0)
        return NULL;
    for (int i = c->rows[table][row].last_entry; i >= 0; i = c->entries[i].prev) {
        const struct sim_txn *t = &c->txns[c->entries[i].txn];
        if (t->cut != 0 && t->cut <= cut)
            return &c->entries[i];
    }
    return NULL;
}

/* The pages of a fill may be newer than the cut it began with: the feed then brings the deletion. */
static bool deleted_before_fill(const struct sim_world *w, const struct sim_node *n, int table,
                                int row)
{
    const struct sim_centre *c = &w->centre;
    for (int i = c->rows[table][row].last_entry; i >= 0; i = c->entries[i].prev)
        if (c->entries[i].op == CORE_OP_DELETE && i < n->fill_entries)
            return true;
    return false;
}

/* A row on which nothing of ours waits is the centre's at some revision not older than the cursor. */
static void check_settled_row(struct sim_world *w, struct sim_node *n, int table, int row)
{
    const struct sim_row *shown = &n->disk.rows[table][row];
    const struct core_table *t = sim_table_of(w, n->disk.catalog, table);
    const struct sim_entry *at_cut = entry_at_cut(w, table, row, n->disk.cursor);
    if (t == NULL)
        return;
    if (!shown->exists) {
        if (at_cut != NULL && at_cut->op != CORE_OP_DELETE &&
            !deleted_before_fill(w, n, table, row))
            sim_fail(w, "node %d lacks t%d r%d, which stands in cut %d", n->machine, table, row,
                     (int)n->disk.cursor);
        return;
    }
    const struct sim_entry *e = entry_at(w, table, row, shown->rev);
    if (e == NULL || e->op == CORE_OP_DELETE) {
        sim_fail(w, "node %d shows t%d r%d at revision %d, which never was", n->machine, table, row,
                 (int)shown->rev);
        return;
    }
    if (shown->rev < n->newest[table][row])
        sim_fail(w, "node %d shows t%d r%d at revision %d after %d", n->machine, table, row,
                 (int)shown->rev, (int)n->newest[table][row]);
    n->newest[table][row] = shown->rev;
    if (at_cut != NULL && at_cut->rev > shown->rev)
        sim_fail(w, "node %d shows t%d r%d older than its cursor", n->machine, table, row);
    for (int i = 0; i < t->column_count; i++)
        if (shown->v.v[i] != e->v.v[i])
            sim_fail(w, "node %d shows another t%d r%d than the centre's revision %d", n->machine,
                     table, row, (int)shown->rev);
}

/* What was written here and is not settled is what the ward sees. */
static void check_pending(struct sim_world *w, const struct sim_node *n, const bool *done,
                          bool busy[SIM_TABLES][SIM_ROWS])
{
    struct {
        bool any, deleted;
        unsigned set;
        struct sim_values v;
    } want[SIM_TABLES][SIM_ROWS];
    memset(want, 0, sizeof want);
    for (int64_t seq = 1; seq <= n->disk.last_seq; seq++) {
        const struct sim_logged *c = &n->disk.log[seq - 1];
        const struct sim_write *x = &w->writes[c->write];
        if (!c->closed && done[seq - 1] && !c->held) /* what the centre made of it shows */
            want[c->table][c->row].set &= ~x->set;
        if (c->closed || (done[seq - 1] && !c->held))
            continue;
        want[c->table][c->row].any = busy[c->table][c->row] = true;
        want[c->table][c->row].deleted = x->op == CORE_OP_DELETE;
        want[c->table][c->row].set |= x->set;
        for (int i = 0; i < SIM_COLUMNS; i++)
            if (x->set >> i & 1)
                want[c->table][c->row].v.v[i] = x->v.v[i];
    }
    for (int t = 0; t < SIM_TABLES; t++)
        for (int r = 0; r < SIM_ROWS; r++) {
            const struct sim_row *shown = &n->disk.rows[t][r];
            if (!want[t][r].any)
                continue;
            if (want[t][r].deleted && shown->exists)
                sim_fail(w, "node %d shows t%d r%d, whose deletion waits", n->machine, t, r);
            for (int i = 0; i < SIM_COLUMNS && !want[t][r].deleted; i++)
                if (want[t][r].set >> i & 1 &&
                    (!shown->exists || shown->v.v[i] != want[t][r].v.v[i]))
                    sim_fail(w, "node %d hides what waits: t%d r%d column %d", n->machine, t, r, i);
        }
}

void sim_check_node(struct sim_world *w, struct sim_node *n)
{
    static bool busy[SIM_TABLES][SIM_ROWS];
    static bool done[SIM_LOG_MAX];
    if (n->checked == w->figures->commits || n->disk.catalog == 0 || w->centre_restored)
        return; /* a centre that forgets what was: the end is looked at */
    n->checked = w->figures->commits;
    w->figures->checks++;
    memset(busy, 0, sizeof busy);
    find_done(w, n, done);
    check_pending(w, n, done, busy);
    for (int t = 0; t < SIM_TABLES && n->disk.filled; t++)
        for (int r = 0; r < SIM_ROWS && !(n->disk.fill >> t & 1); r++)
            if (!busy[t][r] && (n->disk.rows[t][r].exists || w->centre.rows[t][r].rev > 0))
                check_settled_row(w, n, t, r);
}

/* ---- at the end -------------------------------------------------------------------------------------------- */

static bool decided_at(const struct sim_world *w, int write)
{
    for (int i = 0; i < w->centre.decided_count; i++)
        if (w->centre.decided[i].write == write)
            return true;
    return false;
}

/* What a node takes for acknowledged the centre has, or the node stands fenced and still has it; and
 * who must be fenced is. */
static void check_acknowledged(struct sim_world *w, const struct sim_node *n)
{
    const struct sim_centre *c = &w->centre;
    const struct core_position *head = &c->heads[n->id][n->disk.incarnation];
    bool ahead = c->head_known[n->id][n->disk.incarnation] && head->seq < n->disk.acked;
    for (int64_t seq = 1; seq <= n->disk.acked && !(n->fenced && w->centre_restored); seq++)
        if (!decided_at(w, n->disk.log[seq - 1].write))
            sim_fail(w, "node %d takes its change %d for acknowledged, the centre never took it",
                     n->machine, (int)seq);
    if (!n->fenced && (ahead || (n->disk.filled && n->disk.timeline != c->timeline)))
        sim_fail(w, "node %d does not notice that the centre was restored", n->machine);
}

static void check_at_rest(struct sim_world *w, const struct sim_node *n)
{
    bool held[SIM_TABLES][SIM_ROWS];
    memset(held, 0, sizeof held);
    check_acknowledged(w, n);
    if (n->fenced || w->centre_restored) /* an operator must act */
        return;
    if (n->disk.acked != n->disk.last_seq)
        sim_fail(w, "node %d: %d changes still wait after %d rounds", n->machine,
                 (int)(n->disk.last_seq - n->disk.acked), SIM_ROUNDS);
    if (n->disk.cursor != w->centre.head || !n->disk.filled)
        sim_fail(w, "node %d stands at cut %d of %d after %d rounds", n->machine,
                 (int)n->disk.cursor, (int)w->centre.head, SIM_ROUNDS);
    for (int i = 0; i < w->centre.decided_count; i++) {
        const struct sim_decided *d = &w->centre.decided[i];
        if (d->node == n->id && d->inc == n->disk.incarnation && d->outcome == CORE_QUARANTINED &&
            d->seq <= n->disk.last_seq && !n->disk.log[d->seq - 1].held &&
            !n->disk.log[d->seq - 1].closed)
            sim_fail(w, "node %d does not know that its change %d is quarantined", n->machine,
                     (int)d->seq);
    }
    for (int64_t seq = 1; seq <= n->disk.last_seq; seq++)
        if (n->disk.log[seq - 1].held)
            held[n->disk.log[seq - 1].table][n->disk.log[seq - 1].row] = true;
    for (int t = 0; t < SIM_TABLES; t++)
        for (int r = 0; r < SIM_ROWS; r++) {
            const struct sim_row *shown = &n->disk.rows[t][r];
            const struct sim_central_row *c = &w->centre.rows[t][r];
            if (held[t][r] || sim_table_of(w, n->disk.catalog, t) == NULL)
                continue;
            if (shown->exists != c->exists || shown->pending != 0 ||
                (c->exists &&
                 (shown->rev != c->rev || memcmp(&shown->v, &c->v, sizeof shown->v) != 0)))
                sim_fail(w, "node %d and the centre differ at rest: t%d r%d", n->machine, t, r);
        }
}

static bool was_ever(const struct sim_world *w, const struct sim_write *x, int column)
{
    const struct sim_centre *c = &w->centre;
    if (c->rows[x->table][x->row].rev == 0)
        return false;
    for (int i = c->rows[x->table][x->row].last_entry; i >= 0; i = c->entries[i].prev)
        if (c->entries[i].op != CORE_OP_DELETE && c->entries[i].v.v[column] == x->v.v[column])
            return true;
    for (int i = 0; i < c->contest_count; i++)
        if (c->contests[i].table == x->table && c->contests[i].of == x->row &&
            c->rows[SIM_CONFLICT][c->contests[i].row].exists &&
            c->contests[i].incoming.v[column] == x->v.v[column])
            return true;
    return false;
}

/* Nothing acknowledged lost, every effect once. */
static bool in_a_log(const struct sim_world *w, int write)
{
    for (int i = 0; i < SIM_NODES_MAX; i++)
        for (int64_t seq = 1; w->nodes[i].used && seq <= w->nodes[i].disk.last_seq; seq++)
            if (w->nodes[i].disk.log[seq - 1].write == write)
                return true;
    return false;
}

void sim_forget(struct sim_world *w, const struct sim_replica *lost, const struct sim_replica *kept)
{
    for (int64_t seq = kept->last_seq + 1; seq <= lost->last_seq; seq++)
        w->writes[lost->log[seq - 1].write].forgotten = true;
}

static void check_write(struct sim_world *w, int write)
{
    const struct sim_centre *c = &w->centre;
    const struct sim_write *x = &w->writes[write];
    int times = 0;
    int together = 0;
    int txn = -1;
    bool quarantined = false;
    for (int i = 0; i < c->decided_count; i++)
        if (c->decided[i].write == write) {
            times++;
            txn = c->decided[i].txn;
            quarantined |= c->decided[i].outcome == CORE_QUARANTINED;
        }
    for (int i = 0; i < c->decided_count && times == 1; i++)
        together += c->decided[i].write >= x->group && c->decided[i].write < x->group + x->of &&
                    c->decided[i].txn == txn;
    if (times == 1 && together != x->of)
        sim_fail(w, "a transaction of node %d came in pieces: change %d", x->node, (int)x->seq);
    if (times > 1)
        sim_fail(w, "change %d of node %d took effect %d times", (int)x->seq, x->node, times);
    if (times == 0 && x->told && !x->forgotten &&
        !(w->fences_expected && in_a_log(w, write))) /* it waits there for an operator */
        sim_fail(w, "change %d of node %d was acknowledged and is lost", (int)x->seq, x->node);
    if (times != 1 || quarantined || x->op == CORE_OP_DELETE)
        return;
    for (int i = 0; i < SIM_COLUMNS; i++)
        if (x->set >> i & 1 && x->v.v[i] != seen_at(x, i) && !was_ever(w, x, i))
            sim_fail(w, "a value of change %d of node %d stands nowhere: t%d r%d column %d",
                     (int)x->seq, x->node, x->table, x->row, i);
    if (x->table == SIM_CHART &&
        (!c->rows[SIM_CHART][x->row].exists || c->rows[SIM_CHART][x->row].rev != 1))
        sim_fail(w, "the fact r%d is gone or was changed", x->row);
}

/* What the centre has taken of a node is all of it up to the receipt. */
static void check_gaps(struct sim_world *w, int node)
{
    const struct sim_centre *c = &w->centre;
    for (int64_t inc = 1; inc <= c->incarnation[node]; inc++) {
        int64_t taken = 0;
        for (int i = 0; i < c->decided_count; i++)
            taken += c->decided[i].node == node && c->decided[i].inc == inc;
        if (c->head_known[node][inc] && taken != c->heads[node][inc].seq)
            sim_fail(w, "the centre has a receipt for %d changes of node %d, and took %d",
                     (int)c->heads[node][inc].seq, node, (int)taken);
    }
}

void sim_check_end(struct sim_world *w)
{
    sim_centre_sequence(w);
    for (int i = 0; i < w->node_count; i++)
        check_gaps(w, i);
    for (int i = 0; i < SIM_NODES_MAX; i++)
        if (w->nodes[i].used)
            check_at_rest(w, &w->nodes[i]);
    for (int i = 0; i < w->write_count; i++)
        check_write(w, i);
}
