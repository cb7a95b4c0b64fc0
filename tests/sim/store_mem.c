/*
 * A node's store in memory: the contract of node/store/sync.h and rows.h, as small as possible.
 *
 * A transaction works on a copy of what is on the disk, and its commit copies it back: what node/store
 * gets from SQLite (whole transactions, torn writes never seen) is taken for granted here; the second
 * mode runs the real store. What a row shows and when an overlay goes is sync/core/replica.h.
 */
#include "tests/sim/sim.h"

#include "sync/base/clock.h"
#include "sync/seal/seal.h"

enum { LINE_BYTES_MAX = 2048 };
static const int64_t clock_start_ms = 1763873280000; /* 2025-11-23 */

struct txn {
    struct sim_world *w;
    struct sim_node *n;
    struct sim_replica r;
    bool dirty[SIM_TABLES][SIM_ROWS];
    bool any_dirty;
};

static struct txn txn; /* one at a time */

static struct txn *begin(struct sim_world *w, struct sim_node *n)
{
    txn.w = w;
    txn.n = n;
    txn.r = n->disk;
    txn.any_dirty = false;
    return &txn;
}

/* The steps at which a machine can die: before its commit is on the disk, and right after it. */
static int commit(struct txn *t)
{
    struct sim_node *n = t->n;
    bool dies = n->kill_in > 0 && --n->kill_in == 0;
    t->w->figures->commits++;
    if (dies && !n->kill_after) {
        n->doomed = true;
        return SIM_DIED;
    }
    if (n->disk_full)
        return BASE_EFULL;
    n->disk = t->r;
    if (dies)
        n->doomed = true;
    return dies ? SIM_DIED : 0;
}

static const struct core_table *table_of(const struct txn *t, int table)
{
    return t->r.catalog == 0 ? NULL : sim_table_of(t->w, t->r.catalog, table);
}

/* ---- the overlay --------------------------------------------------------------------------------- */

static void values_of(const struct txn *t, struct sim_values *out, const struct core_image *im,
                      const struct core_table *table)
{
    char text[256];
    memset(out, 0, sizeof *out);
    for (int i = 0; i < table->column_count; i++) {
        struct core_text v = core_image_field(im, table->columns[i].ord);
        if (v.s == NULL)
            continue;
        (void)snprintf(text, sizeof text, "%.*s", (int)v.len, v.s);
        out->v[i] = sim_value(t->w, text);
    }
}

static void beneath_set(struct txn *t, int table, int row, const struct sim_beneath *b)
{
    struct sim_beneath *to = &t->r.beneath[table][row];
    t->r.beneath_count += (b->exists ? 1 : 0) - (to->exists ? 1 : 0);
    *to = *b;
}

static void lay(struct txn *t, int table, int row)
{
    struct sim_beneath *b = &t->r.beneath[table][row];
    const struct core_table *ct = table_of(t, table);
    static struct core_laying l;
    static struct core_image central;
    struct base_err err = {0};
    int64_t newest = 0;
    if (!b->exists || ct == NULL)
        return;
    l.exists = b->has_image;
    l.image.count = 0;
    if (b->has_image)
        sim_image(t->w, &l.image, table, row, b->rev, &b->v, ct);
    central = l.image;
    base_arena_clear(&t->w->scratch);
    for (int64_t seq = 1; seq <= t->r.last_seq; seq++) {
        const struct sim_logged *c = &t->r.log[seq - 1];
        struct core_change change;
        bool settled = seq <= t->r.done && !c->held;
        if (c->table != table || c->row != row || c->closed || (settled && newest == 0))
            continue;
        if (core_change_read(&change, c->line, strlen(c->line), &t->w->scratch, &err) != 0) {
            sim_fail(t->w, "a line of the log cannot be read: %s", err.text);
            return;
        }
        if (settled)
            core_lay_settled(&l, ct, &change, &central);
        else
            core_lay_change(&l, ct, &change);
        newest = settled ? newest : seq;
    }
    struct sim_row *shown = &t->r.rows[table][row];
    if (newest == 0 && b->gone)
        l.exists = false;
    *shown = (struct sim_row){.rev = b->rev, .pending = newest, .exists = l.exists};
    if (l.exists)
        values_of(t, &shown->v, &l.image, ct);
    if (newest == 0)
        beneath_set(t, table, row, &(struct sim_beneath){0});
}

static void dirty(struct txn *t, int table, int row)
{
    if (!t->any_dirty)
        memset(t->dirty, 0, sizeof t->dirty);
    t->any_dirty = t->dirty[table][row] = true;
}

static void settle(struct txn *t)
{
    int64_t upto = core_settled_upto(t->r.acked, t->r.settled);
    for (int64_t seq = t->r.done + 1; seq <= upto; seq++)
        dirty(t, t->r.log[seq - 1].table, t->r.log[seq - 1].row);
    if (upto > t->r.done)
        t->r.done = upto;
    for (int i = 0; t->any_dirty && i < SIM_TABLES; i++)
        for (int k = 0; k < SIM_ROWS; k++)
            if (t->dirty[i][k])
                lay(t, i, k);
}

/* ---- writing ---------------------------------------------------------------------------------------- */

static int append(struct txn *t, const struct sim_edit *e, int64_t base, int64_t txn_seq)
{
    struct core_change_value values[SIM_COLUMNS];
    struct base_buf line;
    char device[16];
    char at[BASE_TIME_CHARS + 1];
    const struct core_table *ct = table_of(t, e->table);
    base_time_format(clock_start_ms + t->w->now + t->n->clock_offset, at);
    if (t->r.last_seq == SIM_LOG_MAX) {
        t->w->too_large = true;
        return BASE_EFULL;
    }
    struct sim_logged *c = &t->r.log[t->r.last_seq];
    struct core_change change = {.seq = t->r.last_seq + 1,
                                 .txn = txn_seq == 0 ? t->r.last_seq + 1 : txn_seq,
                                 .base = base,
                                 .op = e->op,
                                 .table = core_text_of(ct->name),
                                 .values = values,
                                 .at = core_text_of(at),
                                 .clock =
                                     t->n->clock_offset == 0 ? CORE_CLOCK_OK : CORE_CLOCK_WRONG};
    /* a transaction is written on one device: named by its first write */
    (void)snprintf(device, sizeof device, "w%d", e->write - (int)(change.seq - change.txn));
    change.device = core_text_of(device);
    sim_id(&change.id, e->table, e->row);
    for (int i = 0; i < ct->column_count; i++)
        if (e->set >> i & 1)
            values[change.value_count++] = (struct core_change_value){
                core_text_of(ct->columns[i].name), sim_text(t->w, e->v.v[i])};
    base_buf_init(&line, LINE_BYTES_MAX);
    core_change_write(&line, &change);
    if (base_buf_check(&line) != 0)
        t->w->too_large = true;
    *c = (struct sim_logged){.line = sim_keep(t->w, line.data),
                             .txn = change.txn,
                             .base = base,
                             .table = e->table,
                             .row = e->row,
                             .write = e->write};
    if (t->r.last_seq == 0) {
        struct base_uuid id;
        sim_node_id(&id, t->n->id);
        seal_chain_start(c->chain, &id, t->r.incarnation);
    } else {
        memcpy(c->chain, t->r.log[t->r.last_seq - 1].chain, sizeof c->chain);
    }
    seal_chain_step(c->chain, line.data, line.len);
    base_buf_release(&line);
    t->r.last_seq++;
    return 0;
}

/* What the author leaves as it stands on the screen is no change. */
static struct sim_edit without_unchanged(const struct sim_edit *e, const struct sim_row *now)
{
    struct sim_edit kept = *e;
    for (int i = 0; i < SIM_COLUMNS && e->op == CORE_OP_UPDATE; i++)
        if (e->v.v[i] == now->v.v[i])
            kept.set &= ~(1u << i);
    return kept;
}

static int edit_one(struct txn *t, const struct sim_edit *all, int64_t *txn_seq)
{
    const struct sim_edit kept = without_unchanged(all, &t->r.rows[all->table][all->row]);
    const struct sim_edit *e = &kept;
    const struct core_table *ct = table_of(t, e->table);
    struct sim_row *now = &t->r.rows[e->table][e->row];
    if (ct == NULL)
        return BASE_ENOTFOUND;
    if (ct->class == CORE_CENTRAL || (ct->class == CORE_FACT && e->op != CORE_OP_INSERT) ||
        (e->op == CORE_OP_DELETE && !ct->deletable))
        return BASE_EDENIED;
    if (e->op == CORE_OP_INSERT && (now->exists || t->r.beneath[e->table][e->row].exists))
        return BASE_EEXISTS;
    if (e->op != CORE_OP_INSERT && !now->exists)
        return BASE_ENOTFOUND;
    if (e->check_version && (now->rev != e->rev || now->pending != e->pending))
        return BASE_ESTALE;
    if (e->op == CORE_OP_UPDATE && e->set == 0)
        return 0;
    int64_t base = e->op == CORE_OP_INSERT
                       ? 0
                       : core_edit_base(now->rev, now->pending != 0,
                                        now->pending == 0 ? 0 : t->r.log[now->pending - 1].base);
    int rc = append(t, e, base, *txn_seq);
    if (rc != 0)
        return rc;
    if (*txn_seq == 0)
        *txn_seq = t->r.last_seq;
    if (!t->r.beneath[e->table][e->row].exists)
        beneath_set(t, e->table, e->row,
                    &(struct sim_beneath){.exists = true,
                                          .has_image = now->exists && now->rev > 0,
                                          .rev = now->exists ? now->rev : 0,
                                          .v = now->v});
    lay(t, e->table, e->row);
    return 0;
}

static int mem_write(struct sim_world *w, struct sim_node *n, const struct sim_edit *edits,
                     int count)
{
    struct txn *t = begin(w, n);
    int64_t txn_seq = 0;
    for (int i = 0; i < count; i++) {
        int rc = edit_one(t, &edits[i], &txn_seq);
        if (rc != 0)
            return rc;
    }
    return commit(t);
}

/* ---- the outbox --------------------------------------------------------------------------------------- */

static int mem_position(struct sim_world *w, struct sim_node *n, int64_t seq,
                        struct core_position *out)
{
    struct base_uuid id;
    if (seq > n->disk.last_seq)
        return BASE_ENOTFOUND;
    out->seq = seq;
    sim_node_id(&id, n->id);
    if (seq == 0)
        seal_chain_start(out->chain, &id, n->disk.incarnation);
    else
        memcpy(out->chain, n->disk.log[seq - 1].chain, sizeof out->chain);
    return 0;
}

static int mem_outbox(struct sim_world *w, struct sim_node *n, int64_t after, int most,
                      struct sim_request *out)
{
    const struct sim_replica *r = &n->disk;
    int64_t end = after;
    int rc = mem_position(w, n, after, &out->before);
    if (rc != 0)
        return rc;
    while (end < r->last_seq) { /* whole transactions; at least one */
        int64_t stop = end + 1;
        while (stop < r->last_seq && r->log[stop].txn == r->log[end].txn)
            stop++;
        if (end > after && stop - after > most)
            break;
        end = stop;
    }
    out->count = (int)(end - after);
    out->lines = sim_get(w, (size_t)(out->count + 1) * sizeof *out->lines);
    for (int i = 0; i < out->count; i++)
        out->lines[i] = r->log[after + i].line;
    return mem_position(w, n, end, &out->last);
}

static int mem_receipt(struct sim_world *w, struct sim_node *n, const struct core_position *p,
                       const struct sim_outcome *outcomes, int count)
{
    struct txn *t = begin(w, n);
    if (p->seq > t->r.last_seq)
        return BASE_EFENCED;
    for (int i = 0; i < count; i++) {
        if (outcomes[i].seq > p->seq || outcomes[i].seq < 1)
            return BASE_EPROTO;
        struct sim_logged *c = &t->r.log[outcomes[i].seq - 1];
        bool held = outcomes[i].outcome == CORE_QUARANTINED && !c->closed;
        if (held == c->held)
            continue;
        c->held = held;
        const struct sim_row *now = &t->r.rows[c->table][c->row];
        if (!t->r.beneath[c->table][c->row].exists)
            beneath_set(t, c->table, c->row,
                        &(struct sim_beneath){.exists = true,
                                              .has_image = now->exists && now->rev > 0,
                                              .rev = now->rev,
                                              .v = now->v});
        dirty(t, c->table, c->row);
    }
    if (p->seq > t->r.acked)
        t->r.acked = p->seq;
    settle(t);
    return commit(t);
}

static int mem_drop(struct sim_world *w, struct sim_node *n, int64_t seq)
{
    struct txn *t = begin(w, n);
    struct sim_logged *c = &t->r.log[seq - 1];
    c->held = false;
    c->closed = true;
    lay(t, c->table, c->row);
    return commit(t);
}

/* ---- what the centre sends -------------------------------------------------------------------------------- */

static void take_image(struct txn *t, const struct sim_line *l, bool equal)
{
    struct sim_beneath *b = &t->r.beneath[l->table][l->row];
    struct sim_row *shown = &t->r.rows[l->table][l->row];
    bool gone = l->op == CORE_OP_DELETE;
    if (b->exists) {
        if (b->has_image && l->rev <= b->rev && !(equal && l->rev == b->rev))
            return;
        beneath_set(t, l->table, l->row,
                    &(struct sim_beneath){
                        .exists = true, .has_image = true, .gone = gone, .rev = l->rev, .v = l->v});
        dirty(t, l->table, l->row);
    } else if (gone) {
        if (shown->exists && shown->rev < l->rev)
            *shown = (struct sim_row){.exists = false};
    } else if (!shown->exists || shown->rev < l->rev || (equal && shown->rev == l->rev)) {
        *shown = (struct sim_row){.rev = l->rev, .exists = true, .v = l->v};
    }
}

/* An unknown table, or more fields than ours: the catalog must be fetched first. */
static bool fits_catalog(const struct txn *t, const struct sim_line *l)
{
    const struct core_table *ct = table_of(t, l->table);
    for (int i = ct == NULL ? 0 : ct->column_count; ct != NULL && i < SIM_COLUMNS; i++)
        if (l->v.v[i] != 0)
            return false;
    return ct != NULL;
}

static int feed_lines(struct txn *t, const struct sim_reply *f, bool *more)
{
    int64_t cut = 0;
    int64_t changes = 0;
    int64_t last = t->r.cursor;
    int count = f->cut_off ? f->line_count / 2 : f->line_count;
    for (int i = 0; i < count; i++) {
        const struct sim_line *l = &f->lines[i];
        switch (l->kind) {
        case SIM_LINE_CUT:
            if (cut != 0 || !core_cut_follows(last, l->cut))
                return BASE_EPROTO;
            cut = l->cut;
            changes = 0;
            break;
        case SIM_LINE_TXN:
            if (l->node == t->n->id && l->inc == t->r.incarnation && l->seq > t->r.settled)
                t->r.settled = l->seq;
            break;
        case SIM_LINE_ROW:
            if (!fits_catalog(t, l))
                return BASE_ESTALE;
            changes++;
            take_image(t, l, false);
            break;
        case SIM_LINE_END:
            if (cut != l->cut || changes != l->changes)
                return BASE_EPROTO;
            last = cut;
            cut = 0;
            break;
        case SIM_LINE_DONE:
            if (cut != 0)
                return BASE_EPROTO;
            *more = l->more;
            t->r.cursor = last;
            return 0;
        }
    }
    return BASE_EPROTO; /* it ends too early */
}

static int mem_feed(struct sim_world *w, struct sim_node *n, const struct sim_reply *f, bool *more)
{
    struct txn *t = begin(w, n);
    if (!t->r.filled || f->after != t->r.cursor || f->timeline != t->r.timeline)
        return BASE_EPROTO;
    int rc = feed_lines(t, f, more);
    if (rc != 0)
        return rc;
    settle(t);
    return commit(t);
}

static unsigned all_tables(const struct txn *t)
{
    unsigned all = 0;
    for (int i = 0; i < SIM_TABLES; i++)
        if (table_of(t, i) != NULL)
            all |= 1u << i;
    return all;
}

static int first_of(unsigned set)
{
    int i = 0;
    while (!(set >> i & 1))
        i++;
    return i;
}

static int mem_fill_begin(struct sim_world *w, struct sim_node *n, int64_t head, int64_t timeline)
{
    struct txn *t = begin(w, n);
    t->r.fill_head = head;
    t->r.fill_timeline = timeline;
    t->r.fill_acked = t->r.acked;
    t->r.filling = true;
    t->r.fill = all_tables(t);
    t->r.equal = 0;
    t->r.fill_from = 0;
    if (!t->r.filled || t->r.cursor > head)
        t->r.cursor = head;
    return commit(t);
}

static int mem_page(struct sim_world *w, struct sim_node *n, const struct sim_reply *p)
{
    struct txn *t = begin(w, n);
    if (p->cut_off || t->r.fill == 0 || p->table != first_of(t->r.fill) ||
        p->from != t->r.fill_from)
        return BASE_EPROTO;
    if (t->r.filled && p->head < t->r.cursor)
        return BASE_ESTALE;
    for (int i = 0; i < p->line_count; i++) {
        if (!fits_catalog(t, &p->lines[i]))
            return BASE_ESTALE;
        take_image(t, &p->lines[i], (t->r.equal >> p->table & 1) != 0);
    }
    t->r.fill_from = p->next;
    if (p->next < 0) {
        t->r.fill &= ~(1u << p->table);
        t->r.equal &= ~(1u << p->table);
        t->r.fill_from = 0;
    }
    settle(t);
    return commit(t);
}

static int mem_fill_finish(struct sim_world *w, struct sim_node *n)
{
    struct txn *t = begin(w, n);
    if (t->r.fill != 0)
        return BASE_ESTALE;
    if (t->r.filling) {
        t->r.timeline = t->r.fill_timeline;
        t->r.cursor = t->r.fill_head;
        t->r.filled = true;
        if (t->r.fill_acked > t->r.settled)
            t->r.settled = t->r.fill_acked;
        settle(t);
    }
    t->r.filling = false;
    return commit(t);
}

/* A new table is fetched; one with a new column is fetched again, images of equal revision counting. */
static int mem_catalog(struct sim_world *w, struct sim_node *n, int64_t version)
{
    struct txn *t = begin(w, n);
    for (int i = 0; i < SIM_TABLES && t->r.cursor >= 0; i++) {
        const struct core_table *was = table_of(t, i);
        const struct core_table *is = sim_table_of(w, version, i);
        if (is == NULL || (was != NULL && was->column_count == is->column_count))
            continue;
        if (t->r.fill == 0 || i <= first_of(t->r.fill))
            t->r.fill_from = 0;
        t->r.fill |= 1u << i;
        t->r.equal |= was != NULL ? 1u << i : 0;
    }
    t->r.catalog = version;
    return commit(t);
}

static int mem_open(struct sim_world *w, struct sim_node *n, bool fresh)
{
    return 0;
}

static void mem_close(struct sim_world *w, struct sim_node *n)
{
}

const struct sim_store sim_store_mem = {.open = mem_open,
                                        .close = mem_close,
                                        .write = mem_write,
                                        .position = mem_position,
                                        .outbox = mem_outbox,
                                        .receipt = mem_receipt,
                                        .feed = mem_feed,
                                        .fill_begin = mem_fill_begin,
                                        .page = mem_page,
                                        .fill_finish = mem_fill_finish,
                                        .catalog = mem_catalog,
                                        .drop = mem_drop};
