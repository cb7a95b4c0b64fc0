/*
 * The gateway and its database, in memory: the contract of sync/gateway (push, feed, bootstrap,
 * hello) and of schema/central (revisions, the change log, cuts, receipts), as small as possible.
 *
 * The real code: what is decided about a change (sync/core/merge.h), what its author had not seen
 * (sync/core/past.h), whether a push fits (sync/core/receipt.h), the lines (sync/core/change.h).
 * Copied, and so not proved here: that a transaction is whole, that cuts follow commits
 * (schema/central/0004), the capture triggers (0005), the order of push_open.c and push_range.c.
 */
#include "tests/sim/sim.h"

#include "sync/seal/seal.h"

enum { TEXT_BYTES_MAX = 1024, CUT_TXNS_MAX = 3 };

/* ---- the log ------------------------------------------------------------------------------------ */

static const char *write_image(struct sim_world *w, int table, int row, int64_t rev,
                               const struct sim_values *v)
{
    static struct core_image im;
    struct base_buf b;
    const struct core_table *t = sim_table_of(w, 3, table);
    base_buf_init(&b, TEXT_BYTES_MAX);
    sim_image(w, &im, table, row, rev, v, t);
    core_image_write_composite(&b, &im, CORE_ORD_REV + t->column_count);
    const char *s = sim_keep(w, base_buf_check(&b) == 0 ? b.data : "()");
    base_buf_release(&b);
    return s;
}

static const char *write_cols(struct sim_world *w, const struct sim_values *a,
                              const struct sim_values *b)
{
    char text[64] = "{";
    size_t n = 1;
    for (int i = 0; i < SIM_COLUMNS; i++)
        if (a->v[i] != b->v[i])
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%d", n > 1 ? "," : "",
                                  i + CORE_ORD_FIRST);
    (void)snprintf(text + n, sizeof text - n, "}");
    return sim_keep(w, text);
}

static int open_txn(struct sim_world *w, int node, int64_t inc, int64_t seq)
{
    struct sim_centre *c = &w->centre;
    if (c->txn_count == SIM_TXNS_MAX || c->entry_count + SIM_ROWS > SIM_ENTRIES_MAX) {
        w->too_large = true;
        c->txn_count = 0;
    }
    c->txns[c->txn_count] =
        (struct sim_txn){.node = node, .inc = inc, .seq = seq, .first = c->entry_count};
    return c->txn_count++;
}

/* What the capture triggers do: the row's next revision, an entry of the log. */
static void write_row(struct sim_world *w, int txn, int table, int row, enum core_op op,
                      const struct sim_values *v, int write)
{
    struct sim_centre *c = &w->centre;
    struct sim_central_row *r = &c->rows[table][row];
    if (c->entry_count == SIM_ENTRIES_MAX) {
        w->too_large = true;
        return;
    }
    r->rev++;
    struct sim_entry *e = &c->entries[c->entry_count];
    *e = (struct sim_entry){.table = table,
                            .row = row,
                            .op = op,
                            .rev = r->rev,
                            .txn = txn,
                            .prev = r->rev == 1 ? -1 : r->last_entry,
                            .node = c->txns[txn].node,
                            .inc = c->txns[txn].inc,
                            .write = write,
                            .v = *v,
                            .image = write_image(w, table, row, r->rev, v),
                            .cols = op == CORE_OP_UPDATE ? write_cols(w, &r->v, v) : NULL};
    r->last_entry = c->entry_count++;
    r->exists = op != CORE_OP_DELETE;
    r->v = *v;
    c->txns[txn].count++;
    if (row >= c->used[table])
        c->used[table] = row + 1;
}

/* Whoever asks first numbers what has become visible: some transactions to a cut, none to two. */
void sim_centre_sequence(struct sim_world *w)
{
    struct sim_centre *c = &w->centre;
    while (c->sequenced < c->txn_count) {
        int n = 1 + sim_below(&w->random, CUT_TXNS_MAX);
        c->head++;
        for (; n > 0 && c->sequenced < c->txn_count; n--)
            c->txns[c->sequenced++].cut = c->head;
    }
}

void sim_centre_init(struct sim_world *w)
{
    struct sim_centre *c = &w->centre;
    c->catalog = 1;
    c->timeline = 1;
    for (int i = 0; i < SIM_NODES_MAX; i++)
        c->incarnation[i] = 1;
    int txn = open_txn(w, SIM_OTHER, 0, 0);
    for (int i = 0; i < 3; i++) {
        struct sim_values v = {{0}};
        char text[16];
        for (int k = 0; k < 4; k++) {
            (void)snprintf(text, sizeof text, "p%d%c", i, "abde"[k]);
            v.v[k] = sim_value(w, text);
        }
        write_row(w, txn, SIM_PERSON, i, CORE_OP_INSERT, &v, -1);
        v.v[SIM_STATE_COLUMN] = sim_value(w, sim_states[SIM_STATES - 1]);
        v.v[3] = 0;
        write_row(w, txn, SIM_DRAFT, i, CORE_OP_INSERT, &v, -1);
    }
}

/* ---- push ----------------------------------------------------------------------------------------- */

struct push_row {
    bool seen, held, made, wants_past, live;
    int64_t rev, base_min;
    int writes;
    struct core_text said[CORE_FIELDS_MAX];
    bool said_set[CORE_FIELDS_MAX];
    bool said_any;
};

struct push {
    struct sim_world *w;
    int node;
    const struct sim_request *q;
    struct core_change changes[SIM_LOG_MAX];
    struct core_resolved resolved[SIM_LOG_MAX];
    bool refused[SIM_LOG_MAX];
    uint8_t chains[SIM_LOG_MAX][CORE_CHAIN_BYTES];
    struct push_row rows[SIM_TABLES][SIM_ROWS];
    int first_entry; /* of this push's transaction */
    int txn;
    struct core_merge merge;
    struct core_image live, base, scratch;
};

static struct push the_push;

static bool decode(struct push *p)
{
    const struct sim_request *q = p->q;
    uint8_t chain[CORE_CHAIN_BYTES];
    memcpy(chain, q->before.chain, sizeof chain);
    if (q->cut_off || q->count > SIM_LOG_MAX || q->last.seq - q->before.seq != q->count)
        return false;
    for (int i = 0; i < q->count; i++) {
        struct core_change *c = &p->changes[i];
        if (core_change_read(c, q->lines[i], strlen(q->lines[i]), &p->w->scratch, NULL) != 0 ||
            c->seq != q->before.seq + 1 + i)
            return false;
        seal_chain_step(chain, q->lines[i], strlen(q->lines[i]));
        memcpy(p->chains[i], chain, sizeof chain);
    }
    return memcmp(chain, q->last.chain, sizeof chain) == 0;
}

static bool same_chain(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, CORE_CHAIN_BYTES) == 0;
}

/* push.c: known_chain_equal */
static bool chain_fits(const struct push *p, const struct core_position *head)
{
    const struct sim_centre *c = &p->w->centre;
    const struct sim_request *q = p->q;
    int64_t first = q->before.seq + 1;
    if (head->seq < first)
        return same_chain(head->chain, q->before.chain);
    if (head->seq <= q->last.seq)
        return same_chain(head->chain, p->chains[head->seq - first]);
    for (int i = 0; i < c->receipt_count; i++)
        if (c->receipts[i].node == p->node && c->receipts[i].inc == q->inc &&
            c->receipts[i].last == q->last.seq)
            return same_chain(c->receipts[i].chain, q->last.chain);
    return true;
}

static int ledger_of(const struct core_change *c)
{
    char text[16];
    (void)snprintf(text, sizeof text, "%.*s", (int)c->device.len, c->device.s);
    return (int)strtol(text + 1, NULL, 10) + (int)(c->seq - c->txn);
}

static bool locate(const struct core_change *c, int *table, int *row)
{
    return sim_id_read(&c->id, table, row);
}

static void judge_past(struct push *p, int skip)
{
    for (int i = skip; i < p->q->count; i++) {
        const struct core_change *c = &p->changes[i];
        int table;
        int row;
        if (p->refused[i] || !locate(c, &table, &row))
            continue;
        struct push_row *r = &p->rows[table][row];
        const struct sim_central_row *now = &p->w->centre.rows[table][row];
        if (!r->seen) {
            memset(r, 0, sizeof *r);
            r->seen = true;
            r->live = now->exists;
            r->rev = now->exists ? now->rev : 0;
            r->base_min = INT64_MAX;
        }
        if (c->op == CORE_OP_INSERT) {
            r->made = true;
            continue;
        }
        if (c->base < r->base_min)
            r->base_min = c->base;
        if (r->live ? r->rev > c->base : !r->made)
            r->wants_past = true;
    }
}

/* push_range.c: past_sql */
static struct core_past *read_past(struct push *p, int table, int row)
{
    const struct sim_centre *c = &p->w->centre;
    struct push_row *r = &p->rows[table][row];
    struct core_past *list = NULL;
    if (!r->wants_past || c->rows[table][row].rev == 0)
        return NULL;
    for (int i = c->rows[table][row].last_entry; i >= c->kept_from && i >= 0;
         i = c->entries[i].prev) {
        const struct sim_entry *e = &c->entries[i];
        if (i >= p->first_entry || e->rev < r->base_min)
            continue;
        struct core_past *past = base_arena_get(&p->w->scratch, sizeof *past);
        BASE_ASSERT(past != NULL);
        *past = (struct core_past){.next = list,
                                   .rev = e->rev,
                                   .op = e->op,
                                   .own = e->node == p->node && e->inc == p->q->inc,
                                   .cols = core_text_of(e->cols),
                                   .image = core_text_of(e->image)};
        list = past;
    }
    return list;
}

static void decided(struct push *p, int i, enum core_outcome outcome)
{
    struct sim_centre *c = &p->w->centre;
    if (c->decided_count == SIM_WRITES_MAX * 2) {
        p->w->too_large = true;
        return;
    }
    c->decided[c->decided_count++] = (struct sim_decided){.node = p->node,
                                                          .inc = p->q->inc,
                                                          .seq = p->changes[i].seq,
                                                          .outcome = outcome,
                                                          .write = ledger_of(&p->changes[i]),
                                                          .txn = p->txn};
    p->w->figures->contested += outcome == CORE_CONTESTED;
    p->w->figures->quarantined += outcome == CORE_QUARANTINED;
}

static uint16_t value_number(struct sim_world *w, struct core_text v)
{
    char text[TEXT_BYTES_MAX];
    if (v.s == NULL)
        return 0;
    (void)snprintf(text, sizeof text, "%.*s", (int)v.len, v.s);
    return sim_value(w, text);
}

static void join(char *out, size_t bytes, const struct sim_world *w, const struct core_contest *k,
                 const struct sim_values *v)
{
    size_t n = 0;
    out[0] = '\0';
    for (int i = 0; i < k->count && n < bytes; i++) {
        struct core_text t = sim_text(w, v->v[k->ords[i] - CORE_ORD_FIRST]);
        n += (size_t)snprintf(out + n, bytes - n, "%d=%s|", k->ords[i], t.s == NULL ? "" : t.s);
    }
}

static void conflict_row(struct push *p, int i, const struct core_contest *k,
                         struct sim_contest *out)
{
    struct sim_world *w = p->w;
    struct sim_centre *c = &w->centre;
    struct sim_values v = {{0}};
    char text[TEXT_BYTES_MAX];
    if (c->contest_count == SIM_ROWS) {
        w->too_large = true;
        return;
    }
    out->row = c->used[SIM_CONFLICT];
    (void)snprintf(text, sizeof text, "n%d i%d s%d t%d r%d%s", p->node, (int)p->q->inc,
                   (int)p->changes[i].seq, out->table, out->of, k->is_delete ? " delete" : "");
    v.v[0] = sim_value(w, text);
    (void)snprintf(text, sizeof text, "%x", out->columns);
    v.v[1] = sim_value(w, text);
    join(text, sizeof text, w, k, &out->live);
    v.v[2] = sim_value(w, text);
    join(text, sizeof text, w, k, &out->incoming);
    v.v[3] = sim_value(w, text);
    if (out->row < SIM_ROWS)
        write_row(w, p->txn, SIM_CONFLICT, out->row, CORE_OP_INSERT, &v, -1);
    else
        w->too_large = true;
    c->contests[c->contest_count++] = *out;
}

/* push_conflict.c: what stands in a conflict's row */
static int conflicts(struct push *p, int i, int table, int row, const struct core_image *base,
                     struct sim_contest list[CORE_CONTESTS_MAX])
{
    const struct core_change *c = &p->changes[i];
    const struct core_resolved *in = &p->resolved[i];
    for (int k = 0; k < p->merge.contest_count; k++) {
        const struct core_contest *from = &p->merge.contests[k];
        struct sim_contest *to = &list[k];
        *to = (struct sim_contest){.node = p->node,
                                   .inc = p->q->inc,
                                   .seq = c->seq,
                                   .table = table,
                                   .of = row,
                                   .is_delete = from->is_delete,
                                   .live = p->w->centre.rows[table][row].v};
        const struct core_image *seen = base != NULL ? base : &p->live;
        for (int n = 0; n < from->count; n++) {
            int ord = from->ords[n];
            uint16_t value = seen == NULL ? 0 : value_number(p->w, core_image_field(seen, ord));
            for (int m = 0; m < in->count; m++)
                if (in->ords[m] == ord)
                    value = value_number(p->w, in->values[m]);
            to->columns |= 1u << (ord - CORE_ORD_FIRST);
            to->incoming.v[ord - CORE_ORD_FIRST] = value;
        }
        conflict_row(p, i, from, to);
    }
    return p->merge.contest_count;
}

/* push_plan.c: merge_one, add_write */
static void merge_one(struct push *p, int i, int table, int row)
{
    static struct sim_contest list[CORE_CONTESTS_MAX];
    struct sim_world *w = p->w;
    struct sim_central_row *now = &w->centre.rows[table][row];
    struct sim_central_row before = *now;
    struct push_row *r = &p->rows[table][row];
    const struct core_table *t = sim_table_of(w, w->centre.catalog, table);
    const struct core_change *c = &p->changes[i];
    struct core_unseen unseen = {0};
    struct core_past *past = read_past(p, table, row);
    const struct core_said said = {r->said, r->said_set};
    const struct core_image *live = now->exists ? &p->live : NULL;
    const struct core_image *base = NULL;
    p->live.count = 0;
    if (now->exists)
        sim_image(w, &p->live, table, row, now->rev, &now->v, t);
    if (c->op != CORE_OP_INSERT)
        core_past_unseen(&unseen, past, r->rev, r->writes > 0, (struct core_seen){.base = c->base});
    if (!unseen.any && !unseen.all_columns)
        base = live;
    else if (core_past_base(&p->base, past, (struct core_seen){.base = c->base},
                            r->said_any ? &said : NULL, &p->scratch, &w->scratch))
        base = &p->base;
    core_merge_row(&p->merge, t, c, &p->resolved[i], live, base, &unseen);
    if (p->merge.outcome != CORE_QUARANTINED) {
        int count = conflicts(p, i, table, row, base, list);
        if (p->merge.write != CORE_WRITE_NOTHING) {
            struct sim_values v = before.v;
            if (p->merge.write != CORE_WRITE_DELETE)
                for (int k = 0; k < t->column_count; k++)
                    v.v[k] = value_number(w, core_image_field(&p->merge.image, k + CORE_ORD_FIRST));
            write_row(w, p->txn, table, row,
                      p->merge.write == CORE_WRITE_INSERT   ? CORE_OP_INSERT
                      : p->merge.write == CORE_WRITE_UPDATE ? CORE_OP_UPDATE
                                                            : CORE_OP_DELETE,
                      &v, ledger_of(c));
            r->writes++;
        }
        for (int k = 0; k < p->resolved[i].count; k++) {
            r->said[p->resolved[i].ords[k] - 1] = p->resolved[i].values[k];
            r->said_set[p->resolved[i].ords[k] - 1] = r->said_any = true;
        }
        sim_check_decided(w, ledger_of(c), &p->merge, &before, now, list, count);
    } else {
        sim_check_decided(w, ledger_of(c), &p->merge, &before, now, NULL, 0);
    }
    decided(p, i, p->merge.outcome);
}

/* What the database refuses for good, and what lies behind it (push_range.c: split; held). */
static bool take_out(struct push *p, int i, int table, int row)
{
    struct push_row *r = &p->rows[table][row];
    bool poison = p->refused[i];
    for (int k = 0; k < p->resolved[i].count && !poison; k++)
        poison = p->resolved[i].values[k].s != NULL && p->resolved[i].values[k].len >= 3 &&
                 memcmp(p->resolved[i].values[k].s, "bad", 3) == 0;
    if (!poison && !r->held)
        return false;
    r->held = true;
    decided(p, i, CORE_QUARANTINED);
    return true;
}

static const struct sim_outcome *outcomes_of(struct sim_world *w, int node, int64_t inc,
                                             int64_t first, int64_t last, int *count)
{
    const struct sim_centre *c = &w->centre;
    struct sim_outcome *out = sim_get(w, SIM_LOG_MAX * sizeof *out);
    *count = 0;
    for (int i = 0; i < c->decided_count && *count < SIM_LOG_MAX; i++) {
        const struct sim_decided *d = &c->decided[i];
        if (d->node == node && d->inc == inc && d->seq >= first && d->seq <= last &&
            d->outcome != CORE_APPLIED)
            out[(*count)++] = (struct sim_outcome){d->seq, d->outcome};
    }
    return out;
}

static void reply_receipt(struct push *p, const struct core_position *head, struct sim_reply *out)
{
    out->status = 200;
    out->inc = p->q->inc;
    out->receipt = *head;
    out->outcomes =
        outcomes_of(p->w, p->node, p->q->inc, p->q->before.seq + 1, head->seq, &out->outcome_count);
}

static void apply(struct push *p, int skip)
{
    struct sim_world *w = p->w;
    const struct core_catalog *catalog = &w->catalogs[w->centre.catalog];
    for (int i = skip; i < p->q->count; i++) {
        const struct core_change *c = &p->changes[i];
        const struct core_table *t = core_catalog_table(catalog, c->table.s, c->table.len);
        p->refused[i] = t == NULL || core_change_resolve(&p->resolved[i], c, t, NULL) != 0;
        if (p->refused[i])
            p->resolved[i].count = 0;
    }
    for (int t = 0; t < SIM_TABLES; t++)
        for (int r = 0; r < SIM_ROWS; r++)
            p->rows[t][r].seen = false;
    judge_past(p, skip);
    for (int i = skip; i < p->q->count; i++) {
        int table;
        int row;
        if (!locate(&p->changes[i], &table, &row)) {
            sim_fail(w, "a change names no row");
            return;
        }
        if (!take_out(p, i, table, row))
            merge_one(p, i, table, row);
    }
}

static void answer_push(struct sim_world *w, int node, const struct sim_request *q,
                        struct sim_reply *out)
{
    struct push *p = &the_push;
    struct sim_centre *c = &w->centre;
    p->w = w;
    p->node = node;
    p->q = q;
    base_arena_clear(&w->scratch);
    out->status = 400;
    if (!decode(p))
        return;
    out->status = 409;
    if (q->inc != c->incarnation[node] || q->inc >= SIM_LIVES_MAX)
        return;
    struct core_position *head = &c->heads[node][q->inc];
    if (!c->head_known[node][q->inc]) {
        struct base_uuid id;
        sim_node_id(&id, node);
        head->seq = 0;
        seal_chain_start(head->chain, &id, q->inc);
        c->head_known[node][q->inc] = true;
    }
    enum core_push_verdict v = core_push_check(head->seq, q->before.seq + 1, q->last.seq);
    if (v == CORE_PUSH_GAP || v == CORE_PUSH_INVALID || !chain_fits(p, head))
        return;
    if (v == CORE_PUSH_KNOWN) {
        reply_receipt(p, head, out);
        return;
    }
    if (c->receipt_count == SIM_RECEIPTS_MAX) {
        w->too_large = true;
        return;
    }
    int skip = (int)(head->seq - q->before.seq);
    p->first_entry = c->entry_count;
    p->txn = open_txn(w, node, q->inc, q->last.seq);
    apply(p, skip);
    struct sim_receipt *r = &c->receipts[c->receipt_count++];
    *r = (struct sim_receipt){
        .node = node, .inc = q->inc, .first = head->seq + 1, .last = q->last.seq};
    memcpy(r->chain, q->last.chain, sizeof r->chain);
    *head = q->last;
    sim_net_wake(w);
    reply_receipt(p, head, out);
}

/* ---- hello, feed, pages -------------------------------------------------------------------------------- */

static void answer_hello(struct sim_world *w, int node, const struct sim_request *q,
                         struct sim_reply *out)
{
    struct sim_centre *c = &w->centre;
    struct base_uuid id;
    int64_t inc = c->incarnation[node];
    sim_node_id(&id, node);
    out->status = 200;
    out->inc = inc;
    out->head = c->head;
    out->timeline = c->timeline;
    out->catalog = c->catalog;
    if (c->head_known[node][inc])
        out->receipt = c->heads[node][inc];
    else
        seal_chain_start(out->receipt.chain, &id, inc);
    out->outcomes =
        outcomes_of(w, node, inc, q->acked_seq + 1, out->receipt.seq, &out->outcome_count);
}

static struct sim_line line_of(const struct sim_entry *e)
{
    return (struct sim_line){.kind = SIM_LINE_ROW,
                             .table = e->table,
                             .row = e->row,
                             .op = e->op,
                             .rev = e->rev,
                             .v = e->v};
}

static int feed_txn(const struct sim_centre *c, const struct sim_txn *t, struct sim_line *out)
{
    int n = 0;
    out[n++] =
        (struct sim_line){.kind = SIM_LINE_TXN, .node = t->node, .inc = t->inc, .seq = t->seq};
    for (int i = t->first; i < t->first + t->count; i++)
        out[n++] = line_of(&c->entries[i]);
    return n;
}

static void answer_feed(struct sim_world *w, const struct sim_request *q, struct sim_reply *out)
{
    enum { LINES_MAX = 1024, ROOM = 300 };
    static struct sim_line lines[LINES_MAX];
    struct sim_centre *c = &w->centre;
    int n = 0;
    int64_t cut = q->after;
    out->status = 410;
    if (q->after < c->kept_cut || q->after > c->head)
        return;
    for (int i = 0; cut < c->head && cut < q->after + SIM_FEED_CUTS && n + ROOM < LINES_MAX;) {
        while (i < c->sequenced && c->txns[i].cut <= cut)
            i++;
        cut++;
        int open = n;
        int64_t changes = 0;
        lines[n++] = (struct sim_line){.kind = SIM_LINE_CUT, .cut = cut};
        for (; i < c->sequenced && c->txns[i].cut == cut; i++) {
            if (n + c->txns[i].count + 4 > LINES_MAX) {
                w->too_large = true;
                n = open;
                break;
            }
            n += feed_txn(c, &c->txns[i], &lines[n]);
            changes += c->txns[i].count;
        }
        lines[n++] = (struct sim_line){.kind = SIM_LINE_END, .cut = cut, .changes = changes};
    }
    lines[n++] = (struct sim_line){.kind = SIM_LINE_DONE, .cut = cut, .more = cut < c->head};
    struct sim_line *kept = sim_get(w, (size_t)n * sizeof *kept);
    if (w->too_large)
        return;
    memcpy(kept, lines, (size_t)n * sizeof *kept);
    *out = (struct sim_reply){.status = 200,
                              .head = c->head,
                              .timeline = c->timeline,
                              .after = q->after,
                              .catalog = c->catalog,
                              .lines = kept,
                              .line_count = n};
}

static void answer_page(struct sim_world *w, const struct sim_request *q, struct sim_reply *out)
{
    const struct sim_centre *c = &w->centre;
    struct sim_line *lines = sim_get(w, SIM_PAGE_ROWS * sizeof *lines);
    int n = 0;
    int row = q->from;
    for (; row < c->used[q->table] && n < SIM_PAGE_ROWS; row++) {
        const struct sim_central_row *r = &c->rows[q->table][row];
        if (r->exists)
            lines[n++] = (struct sim_line){.kind = SIM_LINE_ROW,
                                           .table = q->table,
                                           .row = row,
                                           .op = CORE_OP_INSERT,
                                           .rev = r->rev,
                                           .v = r->v};
    }
    *out = (struct sim_reply){.status = 200,
                              .head = c->head,
                              .timeline = c->timeline,
                              .table = q->table,
                              .from = q->from,
                              .next = row < c->used[q->table] ? row : -1,
                              .lines = lines,
                              .line_count = n};
}

void sim_centre_answer(struct sim_world *w, int node, const struct sim_request *q,
                       struct sim_reply *out)
{
    *out = (struct sim_reply){.status = 400};
    if (q->cut_off && q->what != CORE_DO_PUSH)
        return;
    if (q->what != CORE_DO_PUSH)
        sim_centre_sequence(w);
    switch (q->what) {
    case CORE_DO_HELLO:
        answer_hello(w, node, q, out);
        break;
    case CORE_DO_CATALOG:
        *out = (struct sim_reply){.status = 200, .catalog = w->centre.catalog};
        break;
    case CORE_DO_FILL:
        answer_page(w, q, out);
        break;
    case CORE_DO_FEED:
        answer_feed(w, q, out);
        break;
    case CORE_DO_PUSH:
        answer_push(w, node, q, out);
        break;
    case CORE_DO_WAIT:
        break;
    }
    sim_trace(w, "centre answers node %d: %d with %d", node, (int)q->what, out->status);
}

/* ---- other software -------------------------------------------------------------------------------------- */

static uint16_t other_value(struct sim_world *w, const struct sim_step *s, int column)
{
    char text[24];
    if (s->a == SIM_DRAFT && column == SIM_STATE_COLUMN)
        return sim_value(w, sim_states[s->serial % SIM_STATES]);
    (void)snprintf(text, sizeof text, "o%d.%d", s->serial, column);
    return sim_value(w, text);
}

/* Plain SQL: a new row, columns of a row, or a row away. */
void sim_centre_other_edit(struct sim_world *w, const struct sim_step *s)
{
    struct sim_centre *c = &w->centre;
    int table = s->a;
    int row = s->b;
    const struct core_table *t = sim_table_of(w, c->catalog, table);
    struct sim_central_row *r = &c->rows[table][row];
    if (t == NULL || row >= SIM_ROWS)
        return;
    struct sim_values v = r->exists ? r->v : (struct sim_values){{0}};
    if (s->c == 0 && (!t->deletable || !r->exists))
        return;
    if (t->class == CORE_FACT && r->exists)
        return;
    for (int i = 0; i < t->column_count; i++)
        if (s->c >> i & 1)
            v.v[i] = other_value(w, s, i);
    enum core_op op = s->c == 0 ? CORE_OP_DELETE : r->exists ? CORE_OP_UPDATE : CORE_OP_INSERT;
    int txn = open_txn(w, SIM_OTHER, 0, 0);
    write_row(w, txn, table, row, op, &v, -1);
    sim_trace(w, "other software %c %d/%d", (char)op, table, row);
    sim_net_wake(w);
}

/* A column or a table that was there before comes under sync: its values are in no change. They are
 * given to the log's last entry of the row, and to the first transaction, which no feed brings. */
void sim_centre_catalog(struct sim_world *w)
{
    enum { COLUMN = 4, OLD_ROWS = 3 };
    struct sim_centre *c = &w->centre;
    char text[16];
    if (c->catalog == 3)
        return;
    c->catalog++;
    for (int i = 0; i < OLD_ROWS; i++) {
        struct sim_central_row *r = &c->rows[c->catalog == 2 ? SIM_PERSON : SIM_EXTRA][i];
        (void)snprintf(text, sizeof text, "old%d", i);
        if (c->catalog == 3) {
            int txn = c->txns[0].count;
            write_row(w, 0, SIM_EXTRA, i, CORE_OP_INSERT,
                      &(struct sim_values){{sim_value(w, text)}}, -1);
            c->txns[0].count = txn;
        } else if (r->exists) {
            struct sim_entry *e = &c->entries[r->last_entry];
            r->v.v[COLUMN] = e->v.v[COLUMN] = sim_value(w, text);
            e->image = write_image(w, SIM_PERSON, i, r->rev, &r->v);
        }
    }
}
