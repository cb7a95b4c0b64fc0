/*
 * Random edits, pushes, receipts, cuts, quarantines and restarts against a model that computes what
 * must be seen from the whole past each time.
 *
 * The model's centre is as arbitrary as a real one may be: it applies, refuses or ignores what a
 * node pushes, and others write there too. Receipt and feed come in any order of the two.
 */
#include "tests/unit/node/store/support.h"

enum { IDS = 6, COLUMNS = 3, CHANGES_MAX = 4000, CUTS_MAX = 4000, RUNS = 12, STEPS = 250 };

static struct fixture f;
static uint64_t seed;

static const char *const column_names[COLUMNS] = {"patient_id", "status", "note"};

struct image {
    bool there;
    int64_t rev;
    char text[COLUMNS][40]; /* "" is null */
};

struct change {
    int id;
    char op;
    bool set[COLUMNS];
    char text[COLUMNS][40];
    int outcome; /* decided at the centre; -1 before */
    bool held, closed;
};

struct cut {
    int64_t settles; /* seq of ours, 0: another's */
    char rows[IDS * 2][300];
    int row_count;
    struct {
        int id;
        char op;
        struct image image;
    } images[IDS * 2];
};

static struct {
    struct image centre[IDS];
    struct change changes[CHANGES_MAX + 1]; /* [seq] */
    int64_t last, pushed, acked, settled;
    struct cut cuts[CUTS_MAX + 1];
    int64_t head, cursor;
    struct image base[IDS]; /* what the node has of the centre */
    bool gone[IDS];
} m;

static int below(int n)
{
    return check_below(&seed, n);
}

static bool lies_over(int64_t seq)
{
    int64_t done = m.acked < m.settled ? m.acked : m.settled;
    return !m.changes[seq].closed && (seq > done || m.changes[seq].held);
}

/* What must be seen, from scratch. */
static int64_t expect(int id, struct image *out)
{
    int64_t newest = 0;
    *out = m.base[id];
    for (int64_t seq = 1; seq <= m.last; seq++) {
        const struct change *c = &m.changes[seq];
        if (c->id != id || c->closed || (newest == 0 && !lies_over(seq)))
            continue;
        if (!lies_over(seq)) { /* settled behind one that is held: what the centre made of it */
            for (int k = 0; k < COLUMNS; k++)
                if (c->set[k])
                    memcpy(out->text[k], m.base[id].text[k], sizeof out->text[k]);
            continue;
        }
        newest = seq;
        if (c->op == 'd') {
            out->there = false;
            continue;
        }
        if (c->op == 'i') {
            if (!out->there)
                memset(out->text, 0, sizeof out->text);
            out->there = true;
        }
        for (int k = 0; k < COLUMNS; k++)
            if (c->set[k])
                memcpy(out->text[k], c->text[k], sizeof out->text[k]);
    }
    if (newest == 0 && m.gone[id])
        out->there = false;
    return newest;
}

/* A row that is gone and has nothing lying over it is forgotten, revision and all. */
static void forget_gone(void)
{
    for (int id = 0; id < IDS; id++) {
        struct image im;
        if (m.gone[id] && expect(id, &im) == 0) {
            m.base[id] = (struct image){.rev = 0};
            m.gone[id] = false;
        }
    }
}

static const char *id_text(int id)
{
    return uuid_n(id + 1);
}

/* What led to a difference. */
static void dump(int id)
{
    print_error("row %d: base rev %lld%s %s; %s; %s; acked %lld settled %lld cursor %lld\n", id,
                (long long)m.base[id].rev, m.gone[id] ? " gone" : "", m.base[id].text[0],
                m.base[id].text[1], m.base[id].text[2], (long long)m.acked, (long long)m.settled,
                (long long)m.cursor);
    for (int64_t seq = 1; seq <= m.last; seq++) {
        const struct change *c = &m.changes[seq];
        if (c->id != id)
            continue;
        print_error("%lld %c outcome %d%s%s%s", (long long)seq, c->op, c->outcome,
                    c->held ? " held" : "", c->closed ? " closed" : "",
                    lies_over(seq) ? " over" : "");
        for (int k = 0; k < COLUMNS; k++)
            if (c->set[k])
                print_error(" %s=%s", column_names[k], c->text[k]);
        print_error("\n");
    }
}

static void check_all(void)
{
    for (int id = 0; id < IDS; id++) {
        struct image want;
        int64_t newest = expect(id, &want);
        char name[40];
        snprintf(name, sizeof name, "%s", id_text(id));
        if (!want.there) {
            assert_string_equal(shown(&f, "task", name, "note"), "(none)");
            continue;
        }
        for (int k = 0; k < COLUMNS; k++) {
            if (strcmp(shown(&f, "task", name, column_names[k]), want.text[k]) != 0)
                dump(id);
            assert_string_equal(shown(&f, "task", name, column_names[k]), want.text[k]);
        }
        struct node_version v = version_of(&f, "task", name);
        assert_int_equal(v.rev, m.base[id].rev);
        assert_int_equal(v.pending_seq, newest);
    }
    int64_t held = 0;
    for (int64_t seq = 1; seq <= m.last; seq++)
        held += m.changes[seq].held;
    struct node_sync_state s = state_of(&f);
    assert_int_equal(s.last_seq, m.last);
    assert_int_equal(s.acked_seq, m.acked);
    assert_int_equal(s.cursor, m.cursor);
    assert_int_equal(s.quarantined, held);
    assert_int_equal(s.pending, m.last - m.acked + held);
}

static void random_value(int column, char to[40])
{
    if (below(5) == 0)
        to[0] = '\0';
    else if (column == 0)
        snprintf(to, 40, "%s", uuid_n(100 + below(3)));
    else
        snprintf(to, 40, "v%d", below(1000));
}

/* ---- the node's own ---- */

static void local_edit(void)
{
    int id = below(IDS);
    struct image now;
    const char *pairs[2 * COLUMNS + 1] = {NULL};
    int n = 0;
    if (m.last == CHANGES_MAX)
        return;
    struct change c = {.id = id, .outcome = -1};
    int64_t newest = expect(id, &now);
    c.op = !now.there ? 'i' : below(6) == 0 ? 'd' : 'u';
    for (int k = 0; k < COLUMNS && c.op != 'd'; k++) {
        c.set[k] = below(2) == 0 || (k == COLUMNS - 1 && n == 0);
        if (!c.set[k])
            continue;
        random_value(k, c.text[k]);
        pairs[n++] = column_names[k];
        pairs[n++] = c.text[k][0] == '\0' ? "\1" : c.text[k];
        c.set[k] = c.op == 'u' || c.text[k][0] != '\0'; /* an insert's line has no nulls */
    }
    pairs[n] = NULL;
    int rc = edit(&f, (enum core_op)c.op, "task", id_text(id), pairs, NULL);
    if (c.op == 'i' && newest != 0) { /* deleted here, and that waits */
        assert_int_equal(rc, BASE_EEXISTS);
        return;
    }
    assert_int_equal(rc, 0);
    bool any = c.op != 'u';
    for (int k = 0; k < COLUMNS && c.op == 'u'; k++) /* what stands there already is no change */
        any |= c.set[k] = c.set[k] && strcmp(c.text[k], now.text[k]) != 0;
    if (any)
        m.changes[++m.last] = c;
}

static int run_drop(struct node_db *db, void *arg, struct base_err *err)
{
    return node_quarantine_drop(db, &(struct node_author){.device = "", .request_id = ""},
                                *(int64_t *)arg, "model", err);
}

static int run_retry(struct node_db *db, void *arg, struct base_err *err)
{
    int count = 0;
    return node_quarantine_retry(db, &(struct node_author){.device = "", .request_id = ""},
                                 *(int64_t *)arg, &count, err);
}

static void close_held(struct change *c, bool retry)
{
    c->held = false;
    c->closed = true;
    if (retry) {
        m.changes[++m.last] = *c;
        m.changes[m.last].closed = false;
        m.changes[m.last].outcome = -1;
    }
}

/* A retry takes along what is held behind it on the same row. */
static void end_quarantine(void)
{
    int64_t seq = 1;
    int64_t last = m.last;
    int held = 0;
    for (int64_t i = 1; i <= last; i++)
        held += m.changes[i].held;
    while (seq <= last && (!m.changes[seq].held || below(2) == 0))
        seq++;
    if (seq > last || last + held > CHANGES_MAX)
        return;
    bool retry = below(2) == 0;
    assert_int_equal(on_writer(&f, retry ? run_retry : run_drop, &seq), 0);
    close_held(&m.changes[seq], retry);
    for (int64_t i = seq + 1; retry && i <= last; i++)
        if (m.changes[i].held && m.changes[i].id == m.changes[seq].id)
            close_held(&m.changes[i], true);
}

/* ---- the centre ---- */

static struct cut *new_cut(int64_t settles)
{
    struct cut *c = &m.cuts[++m.head];
    c->settles = settles;
    c->row_count = 0;
    return c;
}

static void put_image(struct cut *c, int id, char op)
{
    struct image *im = &m.centre[id];
    char rest[200] = "";
    for (int k = 0; k < COLUMNS; k++) {
        size_t at = strlen(rest);
        if (im->text[k][0] == '\0')
            snprintf(rest + at, sizeof rest - at, "%snull", k == 0 ? "" : ",");
        else
            snprintf(rest + at, sizeof rest - at, "%s\"%s\"", k == 0 ? "" : ",", im->text[k]);
    }
    snprintf(c->rows[c->row_count], sizeof c->rows[0], "%s",
             feed_row("task", op, id_text(id), im->rev, rest));
    c->images[c->row_count].id = id;
    c->images[c->row_count].op = op;
    c->images[c->row_count++].image = *im;
}

static void centre_write(struct cut *c, int id, char op, const bool set[COLUMNS],
                         char text[COLUMNS][40])
{
    struct image *im = &m.centre[id];
    if (c->row_count == IDS * 2)
        return;
    im->rev++;
    if (op == 'i')
        memset(im->text, 0, sizeof im->text);
    im->there = op != 'd';
    for (int k = 0; k < COLUMNS; k++)
        if (set[k])
            memcpy(im->text[k], text[k], sizeof im->text[k]);
    put_image(c, id, op);
}

static void others_write(void)
{
    int id = below(IDS);
    bool set[COLUMNS] = {false};
    char text[COLUMNS][40] = {""};
    if (m.head == CUTS_MAX)
        return;
    char op = !m.centre[id].there ? 'i' : below(6) == 0 ? 'd' : 'u';
    for (int k = 0; k < COLUMNS && op != 'd'; k++)
        if ((set[k] = below(2) == 0))
            random_value(k, text[k]);
    centre_write(new_cut(0), id, op, set, text);
}

/* A push reaches the centre; receipt and cut are on their way. */
static void push(void)
{
    int64_t upto = m.pushed + 1 + below(3);
    if (m.pushed == m.last || m.head == CUTS_MAX)
        return;
    upto = upto > m.last ? m.last : upto;
    struct cut *cut = new_cut(upto);
    while (m.pushed < upto) {
        struct change *c = &m.changes[++m.pushed];
        struct image *im = &m.centre[c->id];
        c->outcome = below(5) == 0   ? CORE_QUARANTINED
                     : below(4) == 0 ? CORE_CONTESTED
                                     : CORE_APPLIED;
        if (c->outcome != CORE_APPLIED || cut->row_count == IDS * 2)
            continue;
        if (c->op == 'i' ? !im->there : im->there)
            centre_write(cut, c->id, c->op, c->set, c->text);
        else
            c->outcome = CORE_MERGED;
    }
}

struct receipt_of {
    struct core_position p;
    struct node_outcome outcomes[CHANGES_MAX];
    int count;
};

static int run_outcomes(struct node_db *db, void *arg, struct base_err *err)
{
    struct receipt_of *r = arg;
    return node_receipt_apply(db, &r->p, r->outcomes, r->count, err);
}

static void receipt_comes(void)
{
    static struct receipt_of r;
    int64_t upto = m.acked + 1 + below(4);
    if (m.acked == m.pushed)
        return;
    upto = upto > m.pushed ? m.pushed : upto;
    r.p.seq = upto;
    r.count = 0;
    for (int64_t seq = m.acked + 1; seq <= upto; seq++) {
        struct change *c = &m.changes[seq];
        if (c->outcome != CORE_APPLIED)
            r.outcomes[r.count++] =
                (struct node_outcome){seq, (enum core_outcome)c->outcome, NULL, NULL, NULL};
        c->held = c->outcome == CORE_QUARANTINED;
    }
    assert_int_equal(on_writer(&f, run_outcomes, &r), 0);
    m.acked = upto;
}

static void cut_comes(void)
{
    char rows[IDS * 2 * 300] = "";
    if (m.cursor == m.head)
        return;
    struct cut *c = &m.cuts[++m.cursor];
    for (int i = 0; i < c->row_count; i++) {
        int id = c->images[i].id;
        snprintf(rows + strlen(rows), sizeof rows - strlen(rows), "%s", c->rows[i]);
        if (c->images[i].image.rev <= m.base[id].rev)
            continue;
        m.base[id] = c->images[i].image;
        m.base[id].there = true;
        m.gone[id] = c->images[i].op == 'd';
    }
    if (c->settles > m.settled)
        m.settled = c->settles;
    assert_int_equal(feed_cut(&f, m.cursor, c->settles, rows), 0);
}

static void restart(void)
{
    fixture_close(&f);
    fixture_open(&f);
}

static void step(void)
{
    switch (below(20)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
    case 5:
        local_edit();
        break;
    case 6:
    case 7:
    case 8:
        others_write();
        break;
    case 9:
    case 10:
    case 11:
        push();
        break;
    case 12:
    case 13:
    case 14:
        receipt_comes();
        break;
    case 15:
    case 16:
    case 17:
        cut_comes();
        break;
    case 18:
        end_quarantine();
        break;
    default:
        if (below(4) == 0)
            restart();
    }
    forget_gone();
}

static void what_is_seen_is_what_the_model_says(void **state)
{
    seed = check_seed();
    for (int run = 0; run < RUNS; run++) {
        memset(&m, 0, sizeof m);
        fixture_ready(&f);
        for (int i = 0; i < STEPS; i++) {
            step();
            check_all();
        }
        while (m.pushed < m.last || m.acked < m.pushed || m.cursor < m.head) {
            push();
            receipt_comes();
            cut_comes();
            forget_gone();
        }
        for (int again = 1; again;) {
            again = 0;
            for (int64_t seq = 1; seq <= m.last; seq++)
                if (m.changes[seq].held) {
                    assert_int_equal(on_writer(&f, run_drop, &seq), 0);
                    m.changes[seq].held = false;
                    m.changes[seq].closed = true;
                }
        }
        forget_gone();
        check_all();
        for (int id = 0; id < IDS; id++) { /* all settled: the node has what the centre has */
            assert_int_equal(m.base[id].there, m.centre[id].there);
            if (m.centre[id].there)
                assert_memory_equal(m.base[id].text, m.centre[id].text, sizeof m.base[id].text);
        }
        assert_int_equal(sql_i64(&f, "SELECT count(*) FROM _base"), 0);
        fixture_remove(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_seen_is_what_the_model_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
