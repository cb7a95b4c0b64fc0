/*
 * A node's store as it ships: node/store over the sealed SQLite file, in a scratch folder.
 *
 * Each function is one job on the store's writer thread, waited for. After it, what is on the disk is
 * read into sim_node.disk, which the engine and the checks look at. A machine dies before its commit
 * by a job that fails (its transaction is taken back), right after it by not being told; in both cases
 * the files are copied as they lie there, without closing, and opened anew: a power cut.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "node/store/internal.h"
#include "sync/seal/seal.h"
#include "tests/sim/wire.h"

enum { BODY_BYTES_MAX = 4 << 20, PATH_BYTES = 256 };

struct place {
    struct node_store *store;
    char dir[PATH_BYTES], image[PATH_BYTES];
    int serial;
};

static uv_loop_t loop;
static bool loop_ready;
static char scratch[PATH_BYTES];
static int serial;
static const uint8_t key[32] = {1, 2, 3, 4, 5, 6, 7, 8};
static const struct node_author itself = {.device = "", .request_id = ""};

/* ---- files --------------------------------------------------------------------------------------- */

static const char *const files[] = {"node.db", "node.db-wal", "node.db-shm"};

static void remove_dir(const char *dir)
{
    char path[PATH_BYTES + 16];
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        (void)unlink(path);
    }
    (void)rmdir(dir);
}

static void copy_file(const char *from, const char *to)
{
    static char bytes[1 << 16];
    ssize_t n;
    int in = open(from, O_RDONLY);
    int out = in < 0 ? -1 : open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    while (out >= 0 && (n = read(in, bytes, sizeof bytes)) > 0)
        BASE_ASSERT(write(out, bytes, (size_t)n) == n);
    if (in >= 0)
        (void)close(in);
    if (out >= 0)
        (void)close(out);
}

/* Database and log as they lie there; the index of the log is memory and dies with the machine. */
static void copy_dir(const char *from, const char *to)
{
    char a[PATH_BYTES + 16];
    char b[PATH_BYTES + 16];
    BASE_ASSERT(mkdir(to, 0700) == 0);
    for (int i = 0; i < 2; i++) {
        (void)snprintf(a, sizeof a, "%s/%s", from, files[i]);
        (void)snprintf(b, sizeof b, "%s/%s", to, files[i]);
        copy_file(a, b);
    }
}

static void new_dir(char out[PATH_BYTES])
{
    (void)snprintf(out, PATH_BYTES, "%.200s/%d", scratch, ++serial);
}

/* ---- opening -------------------------------------------------------------------------------------- */

static void note_closed(void *user)
{
    *(bool *)user = true;
}

static void shut(struct place *p)
{
    bool closed = false;
    if (p->store == NULL)
        return;
    node_store_close(p->store, note_closed, &closed);
    while (!closed)
        (void)uv_run(&loop, UV_RUN_ONCE);
    p->store = NULL;
    remove_dir(p->dir);
}

static int open_place(struct sim_world *w, struct place *p)
{
    struct base_err err = {0};
    int rc = node_store_open(&p->store, &loop, p->dir, key, &err);
    if (rc != 0)
        sim_fail(w, "the store does not open: %s", err.text);
    return rc;
}

/* ---- jobs ------------------------------------------------------------------------------------------- */

struct call {
    struct node_job job;
    struct sim_world *w;
    struct sim_node *n;
    int (*run)(struct call *c, struct node_db *db, struct base_err *err);
    void *arg;
    int64_t i64;
    bool done;
};

static int run_call(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct call *c = (struct call *)job;
    int rc = c->run(c, db, err);
    if (rc != 0 || !job->write)
        return rc;
    if (c->n->kill_in == 1 && !c->n->kill_after)
        return base_fail(err, BASE_ECANCELED, "the machine dies before its commit");
    return c->n->disk_full ? base_fail(err, BASE_EFULL, "the disk is full") : 0;
}

static void call_done(struct node_job *job)
{
    ((struct call *)job)->done = true;
}

static int wait_for(struct call *c)
{
    struct place *p = c->n->store;
    c->job.run = run_call;
    c->job.done = call_done;
    if (c->job.write)
        node_store_write(p->store, &c->job);
    else
        node_store_read(p->store, &c->job);
    while (!c->done)
        (void)uv_run(&loop, UV_RUN_ONCE);
    return c->job.rc;
}

/* ---- what is on the disk ---------------------------------------------------------------------------- */

static uint16_t col_value(struct sim_world *w, struct node_stmt *st, int col)
{
    size_t len = 0;
    const char *s = node_sql_col_text(st, col, &len);
    return sim_value(w, s);
}

static int read_rows(struct call *c, struct node_db *db, int table, const struct core_table *t,
                     struct base_err *err)
{
    struct node_stmt *st = NULL;
    char sql[256];
    size_t n = (size_t)snprintf(sql, sizeof sql, "SELECT id, rev, _pending");
    for (int i = 0; i < t->column_count; i++)
        n += (size_t)snprintf(sql + n, sizeof sql - n, ", \"%s\"", t->columns[i].name);
    (void)snprintf(sql + n, sizeof sql - n, " FROM \"%s\"", t->name);
    int rc = stmt_get(db, &st, sql, err);
    while (rc == 0 && (rc = node_sql_step(st, err)) == 1) {
        struct base_uuid id;
        int at;
        int row;
        rc = 0;
        if (!node_sql_col_uuid(st, 0, &id) || !sim_id_read(&id, &at, &row) || at != table)
            return base_fail(err, BASE_ECORRUPT, "a row nobody made");
        struct sim_row *r = &c->n->disk.rows[table][row];
        *r = (struct sim_row){
            .exists = true, .rev = node_sql_col_i64(st, 1), .pending = node_sql_col_i64(st, 2)};
        for (int i = 0; i < t->column_count; i++)
            r->v.v[i] = col_value(c->w, st, 3 + i);
    }
    node_sql_done(st);
    return rc;
}

static void read_change(struct call *c, struct node_stmt *st)
{
    struct sim_replica *r = &c->n->disk;
    struct base_uuid id;
    size_t len = 0;
    int64_t seq = node_sql_col_i64(st, 0);
    if (seq < 1 || seq > SIM_LOG_MAX) {
        c->w->too_large = true;
        return;
    }
    struct sim_logged *l = &r->log[seq - 1];
    const char *line = node_sql_col_text(st, 4, &len);
    if (l->line == NULL || strcmp(l->line, line) != 0)
        l->line = sim_keep(c->w, line);
    const char *device = strstr(l->line, "\"device\":\"w");
    l->txn = node_sql_col_i64(st, 1);
    l->write = device == NULL ? 0 : (int)strtol(device + 11, NULL, 10) + (int)(seq - l->txn);
    l->base = node_sql_col_i64(st, 2);
    if (node_sql_col_uuid(st, 3, &id))
        (void)sim_id_read(&id, &l->table, &l->row);
    const void *chain = node_sql_col_blob(st, 5, &len);
    if (chain != NULL && len == sizeof l->chain)
        memcpy(l->chain, chain, sizeof l->chain);
    l->held = node_sql_col_i64(st, 6) != 0;
    l->closed = node_sql_col_i64(st, 7) != 0;
}

static int read_log(struct call *c, struct node_db *db, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st,
                      "SELECT seq, txn, base, row_id, line, chain, held, closed IS NOT NULL "
                      "FROM _change ORDER BY seq",
                      err);
    while (rc == 0 && (rc = node_sql_step(st, err)) == 1) {
        rc = 0;
        read_change(c, st);
    }
    node_sql_done(st);
    return rc;
}

static int read_fill(struct call *c, struct node_db *db, struct base_err *err)
{
    struct sim_replica *r = &c->n->disk;
    struct node_stmt *st = NULL;
    r->fill = 0;
    r->fill_from = 0;
    int rc = stmt_get(
        db, &st, "SELECT tbl, after FROM _fill WHERE done = 0 ORDER BY place DESC, tbl DESC", err);
    while (rc == 0 && (rc = node_sql_step(st, err)) == 1) {
        struct base_uuid id;
        size_t len = 0;
        int table;
        int row;
        rc = 0;
        const char *name = node_sql_col_text(st, 0, &len);
        for (table = 0; table < SIM_TABLES; table++)
            if (strcmp(sim_table_of(c->w, 3, table)->name, name) == 0)
                r->fill |= 1u << table;
        const char *after = node_sql_col_text(st, 1, &len);
        bool begun = base_uuid_parse(&id, after, len) && sim_id_read(&id, &table, &row);
        r->fill_from = begun ? row + 1 : 0;
    }
    node_sql_done(st);
    return rc;
}

static int read_disk(struct call *c, struct node_db *db, struct base_err *err)
{
    struct sim_replica *r = &c->n->disk;
    struct node_sync_state s;
    const struct core_catalog *catalog = node_db_catalog(db);
    int rc = node_sync_state_get(db, &s, err);
    if (rc != 0)
        return rc;
    r->last_seq = s.last_seq;
    r->acked = s.acked_seq;
    r->settled = s.settled_seq;
    r->cursor = s.cursor;
    r->incarnation = s.incarnation;
    r->filled = s.filled;
    r->timeline = s.timeline.bytes[15];
    r->catalog = catalog == NULL ? 0 : catalog->version;
    memset(r->rows, 0, sizeof r->rows);
    for (int t = 0; rc == 0 && r->catalog > 0 && t < SIM_TABLES; t++) {
        const struct core_table *ct = sim_table_of(c->w, r->catalog, t);
        rc = ct == NULL ? 0 : read_rows(c, db, t, ct, err);
    }
    if (rc == 0)
        rc = read_log(c, db, err);
    return rc == 0 ? read_fill(c, db, err) : rc;
}

static void mirror(struct sim_world *w, struct sim_node *n)
{
    struct call c = {.w = w, .n = n, .run = read_disk};
    if (wait_for(&c) != 0)
        sim_fail(w, "the store of node %d cannot be read: %s", n->machine, c.job.err.text);
}

/* ---- dying ------------------------------------------------------------------------------------------- */

/* The files as they lie there become another machine's. */
static void power_cut(struct sim_world *w, struct sim_node *n)
{
    struct place *p = n->store;
    struct place after = *p;
    new_dir(after.dir);
    copy_dir(p->dir, after.dir);
    shut(p);
    *p = after;
    p->store = NULL;
    if (open_place(w, p) == 0)
        mirror(w, n);
}

static int transact(struct call *c)
{
    struct sim_node *n = c->n;
    bool dies = n->kill_in == 1;
    c->job.write = true;
    c->w->figures->commits++;
    int rc = wait_for(c);
    if (rc != 0 && rc != BASE_ECANCELED)
        return rc; /* refused, or no room: nothing was written */
    if (n->kill_in > 0)
        n->kill_in--;
    if (dies) {
        n->doomed = true;
        power_cut(c->w, n);
        return SIM_DIED;
    }
    mirror(c->w, n);
    return rc;
}

/* ---- the contract --------------------------------------------------------------------------------------- */

static int sql_open(struct sim_world *w, struct sim_node *n, bool fresh)
{
    struct base_err err = {0};
    struct place *p = calloc(1, sizeof *p);
    struct node_identity id = {
        .tenant_name = "General", .site_name = "North", .node_name = "Alder", .incarnation = 1};
    BASE_ASSERT(p != NULL);
    if (!loop_ready) {
        (void)snprintf(scratch, sizeof scratch, "%s/ew_sim_XXXXXX",
                       access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        BASE_ASSERT(seal_init(NULL) == 0 && uv_loop_init(&loop) == 0 && mkdtemp(scratch) != NULL);
        loop_ready = true;
    }
    n->store = p;
    new_dir(p->dir);
    BASE_ASSERT(mkdir(p->dir, 0700) == 0);
    sim_tenant(&id.tenant_id);
    sim_node_id(&id.node_id, n->id);
    id.site_id = id.node_id;
    int rc = node_store_create(p->dir, key, &id, &err);
    if (rc != 0)
        sim_fail(w, "the store cannot be made: %s", err.text);
    rc = rc == 0 ? open_place(w, p) : rc;
    if (rc == 0)
        mirror(w, n);
    return rc;
}

static void sql_close(struct sim_world *w, struct sim_node *n)
{
    struct place *p = n->store;
    if (p == NULL)
        return;
    shut(p);
    if (p->image[0] != '\0')
        remove_dir(p->image);
    free(p);
    n->store = NULL;
}

void sim_store_sqlite_end(void)
{
    if (!loop_ready)
        return;
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    (void)uv_loop_close(&loop);
    (void)rmdir(scratch);
}

struct writing {
    const struct sim_edit *edits;
    int count;
};

static int run_write(struct call *c, struct node_db *db, struct base_err *err)
{
    const struct writing *wr = c->arg;
    struct node_edit edits[SIM_EDITS_MAX];
    struct node_version versions[SIM_EDITS_MAX];
    const struct core_column *columns[SIM_EDITS_MAX][SIM_COLUMNS];
    struct core_text values[SIM_EDITS_MAX][SIM_COLUMNS];
    char device[16];
    struct node_author author = {.device = device, .request_id = "", .clock = CORE_CLOCK_OK};
    int rc = 0;
    for (int i = 0; i < wr->count; i++) {
        const struct sim_edit *e = &wr->edits[i];
        const struct core_table *t = core_catalog_tbl(node_db_catalog(db), e->table + 1);
        if (t == NULL)
            return BASE_ENOTFOUND;
        edits[i] = (struct node_edit){.op = e->op,
                                      .table = t,
                                      .columns = columns[i],
                                      .values = values[i],
                                      .check_version = e->check_version,
                                      .version = {e->rev, e->pending}};
        sim_id(&edits[i].id, e->table, e->row);
        for (int k = 0; k < t->column_count; k++)
            if (e->set >> k & 1) {
                columns[i][edits[i].count] = &t->columns[k];
                values[i][edits[i].count++] = sim_text(c->w, e->v.v[k]);
            }
    }
    (void)snprintf(device, sizeof device, "w%d", wr->edits[0].write);
    rc = node_write_edits(db, &author, edits, wr->count, versions, NULL, err);
    return rc;
}

static int sql_write(struct sim_world *w, struct sim_node *n, const struct sim_edit *edits,
                     int count)
{
    struct writing wr = {edits, count};
    struct call c = {.w = w, .n = n, .run = run_write, .arg = &wr};
    return transact(&c);
}

static int sql_position(struct sim_world *w, struct sim_node *n, int64_t seq,
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

struct reading {
    int64_t after;
    int most, count;
    struct core_position before, last;
    struct base_buf lines;
};

static int run_outbox(struct call *c, struct node_db *db, struct base_err *err)
{
    struct reading *r = c->arg;
    return node_outbox_read(db, r->after, r->most, BODY_BYTES_MAX, &r->lines, &r->before, &r->last,
                            &r->count, err);
}

static int sql_outbox(struct sim_world *w, struct sim_node *n, int64_t after, int most,
                      struct sim_request *out)
{
    struct reading r = {.after = after, .most = most};
    struct call c = {.w = w, .n = n, .run = run_outbox, .arg = &r};
    base_buf_init(&r.lines, BODY_BYTES_MAX);
    int rc = wait_for(&c);
    if (rc == 0) {
        out->before = r.before;
        out->last = r.last;
        out->count = r.count;
        out->lines = sim_get(w, (size_t)(r.count + 1) * sizeof *out->lines);
        char *s = r.lines.data;
        for (int i = 0; i < r.count; i++) {
            char *end = strchr(s, '\n');
            *end = '\0';
            out->lines[i] = sim_keep(w, s);
            s = end + 1;
        }
    }
    base_buf_release(&r.lines);
    return rc;
}

struct receiving {
    const struct core_position *position;
    struct node_outcome outcomes[SIM_LOG_MAX];
    int count;
};

static int run_receipt(struct call *c, struct node_db *db, struct base_err *err)
{
    struct receiving *r = c->arg;
    return node_receipt_apply(db, r->position, r->outcomes, r->count, err);
}

static int sql_receipt(struct sim_world *w, struct sim_node *n, const struct core_position *p,
                       const struct sim_outcome *outcomes, int count)
{
    static struct receiving r;
    struct call c = {.w = w, .n = n, .run = run_receipt, .arg = &r};
    r.position = p;
    r.count = count;
    for (int i = 0; i < count; i++)
        r.outcomes[i] = (struct node_outcome){.seq = outcomes[i].seq,
                                              .outcome = outcomes[i].outcome,
                                              .sqlstate = "23514",
                                              .reason = "simulated"};
    return transact(&c);
}

struct body {
    struct base_buf text;
    struct node_feed_result feed;
};

static int run_feed(struct call *c, struct node_db *db, struct base_err *err)
{
    struct body *b = c->arg;
    return node_feed_apply(db, b->text.data, b->text.len, &b->feed, err);
}

static int run_page(struct call *c, struct node_db *db, struct base_err *err)
{
    struct body *b = c->arg;
    struct node_page_result r;
    return node_page_apply(db, b->text.data, b->text.len, &r, err);
}

static int run_catalog(struct call *c, struct node_db *db, struct base_err *err)
{
    struct body *b = c->arg;
    return node_catalog_apply(db, b->text.data, b->text.len, err);
}

static int run_fill_begin(struct call *c, struct node_db *db, struct base_err *err)
{
    return node_fill_begin(db, c->i64, c->arg, err);
}

static int run_fill_finish(struct call *c, struct node_db *db, struct base_err *err)
{
    return node_fill_finish(db, err);
}

static int run_drop(struct call *c, struct node_db *db, struct base_err *err)
{
    return node_quarantine_drop(db, &itself, c->i64, "simulated", err);
}

static int sql_feed(struct sim_world *w, struct sim_node *n, const struct sim_reply *r, bool *more)
{
    struct body b = {.feed = {.more = false}};
    struct call c = {.w = w, .n = n, .run = run_feed, .arg = &b};
    base_buf_init(&b.text, BODY_BYTES_MAX);
    sim_feed_text(&b.text, w, r);
    int rc = transact(&c);
    *more = b.feed.more;
    base_buf_release(&b.text);
    return rc;
}

static int sql_page(struct sim_world *w, struct sim_node *n, const struct sim_reply *r)
{
    struct body b = {.feed = {.more = false}};
    struct call c = {.w = w, .n = n, .run = run_page, .arg = &b};
    base_buf_init(&b.text, BODY_BYTES_MAX);
    sim_page_text(&b.text, w, r);
    int rc = transact(&c);
    base_buf_release(&b.text);
    return rc;
}

static int sql_catalog(struct sim_world *w, struct sim_node *n, int64_t version)
{
    struct body b = {.feed = {.more = false}};
    struct call c = {.w = w, .n = n, .run = run_catalog, .arg = &b};
    base_buf_init(&b.text, BODY_BYTES_MAX);
    sim_catalog_text(&b.text, &w->catalogs[version]);
    int rc = transact(&c);
    base_buf_release(&b.text);
    return rc;
}

static int sql_fill_begin(struct sim_world *w, struct sim_node *n, int64_t head, int64_t timeline)
{
    struct base_uuid id;
    struct call c = {.w = w, .n = n, .run = run_fill_begin, .arg = &id, .i64 = head};
    sim_timeline(&id, timeline);
    return transact(&c);
}

static int sql_fill_finish(struct sim_world *w, struct sim_node *n)
{
    struct call c = {.w = w, .n = n, .run = run_fill_finish};
    return transact(&c);
}

static int sql_drop(struct sim_world *w, struct sim_node *n, int64_t seq)
{
    struct call c = {.w = w, .n = n, .run = run_drop, .i64 = seq};
    return transact(&c);
}

/* ---- whole machines ------------------------------------------------------------------------------------- */

static void sql_take_image(struct sim_world *w, struct sim_node *n)
{
    struct place *p = n->store;
    if (p->image[0] != '\0')
        remove_dir(p->image);
    new_dir(p->image);
    copy_dir(p->dir, p->image);
}

static void sql_restore(struct sim_world *w, struct sim_node *n)
{
    struct place *p = n->store;
    shut(p);
    new_dir(p->dir);
    copy_dir(p->image, p->dir);
    if (open_place(w, p) == 0)
        mirror(w, n);
}

static void sql_clone(struct sim_world *w, const struct sim_node *from, struct sim_node *to)
{
    const struct place *p = from->store;
    struct place *q = calloc(1, sizeof *q);
    BASE_ASSERT(q != NULL);
    new_dir(q->dir);
    copy_dir(p->dir, q->dir);
    to->store = q;
    if (open_place(w, q) == 0)
        mirror(w, to);
}

const struct sim_store sim_store_sqlite = {.open = sql_open,
                                           .close = sql_close,
                                           .write = sql_write,
                                           .position = sql_position,
                                           .outbox = sql_outbox,
                                           .receipt = sql_receipt,
                                           .feed = sql_feed,
                                           .fill_begin = sql_fill_begin,
                                           .page = sql_page,
                                           .fill_finish = sql_fill_finish,
                                           .catalog = sql_catalog,
                                           .drop = sql_drop,
                                           .take_image = sql_take_image,
                                           .restore = sql_restore,
                                           .clone = sql_clone};
