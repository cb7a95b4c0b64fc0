/*
 * GET /sync/v1/feed: whole cuts in order, and the long poll.
 *
 * A poll is one transaction: enter, sequence, read by a cursor. Nothing is sent before it has
 * committed, because a cut that a node has seen must never be numbered anew. Who finds nothing
 * waits under its tenant's wake key; a notification wakes one poll of the tenant, which sequences
 * for all (the leader), then the others read.
 */
#include <stdlib.h>
#include <string.h>

#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/core/image.h"
#include "sync/gateway/gateway.h"
#include "sync/gateway/listen.h"
#include "sync/seal/seal.h"

enum {
    FEED_REPLY_BYTES = 3 * 1024 * 1024,       /* a reply ends with the first cut that reaches it */
    FEED_REPLY_BYTES_MAX = 512 * 1024 * 1024, /* one cut of one huge transaction */
    FEED_ARENA_BYTES_MAX = 64 * 1024 * 1024,
    FEED_WAIT_S_MAX = 55,
    FEED_WAITERS_MAX = 20000,
    FEED_TICK_MS = 250,
    FEED_LOOK_MS = 10 * 1000, /* even without a notification */
    FEED_LOOK_DEAF_MS = 1000, /* while nothing can be heard */
    FEED_ZSTD_LEVEL = 1,
    WAKE_BUCKETS = 1024,
    WAKE_KEY_BYTES = 32,
    FEED_FETCH_ROWS = 4000
};
#define FEED_FETCH_SQL "FETCH FORWARD 4000 FROM everward_feed"

/* What is read of a row of the feed's cursor. */
enum { F_CUT = 0, F_TXN, F_AT, F_NODE, F_INC, F_SEQ, F_TABLE, F_OP, F_IMAGE };

struct poll;

struct feed_name {
    int tbl;
    char name[CORE_NAME_BYTES_MAX + 1];
};

/* One tenant, known by its wake key alone. */
struct wake {
    struct wake *next;
    char key[WAKE_KEY_BYTES + 1];
    struct poll *first; /* who waits */
    uint64_t heard;     /* serial of the last notification */
    bool running, again;
    int64_t looked_ms;
};

struct gw_feed {
    struct gateway *gw;
    struct gw_listen *listen;
    uv_timer_t tick;
    struct wake *buckets[WAKE_BUCKETS];
    uint64_t serial; /* counts notifications */
};

struct poll {
    struct poll *next, **at; /* on its tenant's list while it waits */
    struct gateway *gw;
    struct net_http_exchange *x;
    struct gw_who who;
    int64_t after, until_ms;
    struct wake *leads;
    bool sequenced; /* a leader has just done it */
    uint64_t heard_before;
    struct gw_pg_conn *conn;
    struct gw_flight flight;
    int q_head, q_names, q_fetch; /* indices of queries */
    struct feed_name *names;      /* of tables that are given out */
    int name_count;
    uv_work_t work;
    /* the reply */
    struct base_buf plain, packed;
    struct base_arena arena;
    struct core_image *image;
    int64_t head, done, cut, txn, txns, changes; /* txns: of this cut so far */
    size_t good_len;                             /* plain up to the last whole cut */
    bool full, end;
    char timeline[BASE_UUID_CHARS + 1], catalog[24], key[WAKE_KEY_BYTES + 1];
    int rc;
};

static void run(struct poll *p);

static struct wake *wake_of(struct gw_feed *f, const char *key)
{
    unsigned h = 0;
    for (const char *s = key; *s != '\0'; s++)
        h = h * 31 + (unsigned char)*s;
    struct wake **at = &f->buckets[h % WAKE_BUCKETS];
    while (*at != NULL && strcmp((*at)->key, key) != 0)
        at = &(*at)->next;
    if (*at == NULL && strlen(key) <= WAKE_KEY_BYTES) {
        *at = calloc(1, sizeof **at);
        if (*at != NULL)
            (void)snprintf((*at)->key, sizeof(*at)->key, "%s", key);
    }
    return *at;
}

/* ---- waiting and waking -------------------------------------------------------------------- */

static void unlink_poll(struct poll *p)
{
    *p->at = p->next;
    if (p->next != NULL)
        p->next->at = p->at;
    p->next = NULL;
    p->at = NULL;
    p->gw->counts.polls_waiting--;
}

static void link_poll(struct wake *w, struct poll *p)
{
    p->next = w->first;
    p->at = &w->first;
    if (w->first != NULL)
        w->first->at = &p->next;
    w->first = p;
    p->gw->counts.polls_waiting++;
}

static void wake_up(struct wake *w)
{
    if (w->running) {
        w->again = true;
        return;
    }
    struct poll *leader = w->first;
    if (leader == NULL)
        return;
    /* a poll is off the list before it is freed, which the analyzer cannot follow */
    unlink_poll(leader); // NOLINT(clang-analyzer-unix.Malloc)
    w->running = true;
    w->again = false;
    w->looked_ms = base_clock_monotonic_ms();
    leader->leads = w;
    leader->sequenced = false;
    run(leader);
}

/* The leader has the head (-1: it failed): whoever is behind it reads now. */
static void leader_done(struct poll *p, int64_t head)
{
    struct wake *w = p->leads;
    p->leads = NULL;
    if (w == NULL)
        return;
    w->running = false;
    for (struct poll *o = w->first; o != NULL;) {
        struct poll *next = o->next;
        if (o->after < head) {
            unlink_poll(o);
            o->sequenced = true;
            run(o);
        }
        o = next;
    }
    if (w->again)
        wake_up(w);
}

static void on_heard(void *user, const char *key)
{
    struct gw_feed *f = user;
    f->serial++;
    if (key != NULL) {
        struct wake *w = wake_of(f, key);
        if (w == NULL)
            return;
        w->heard = f->serial;
        wake_up(w);
        return;
    }
    for (int i = 0; i < WAKE_BUCKETS; i++)
        for (struct wake *w = f->buckets[i]; w != NULL; w = w->next) {
            w->heard = f->serial;
            wake_up(w);
        }
}

/* ---- replying ------------------------------------------------------------------------------ */

static void free_poll(struct poll *p)
{
    gw_flight_release(&p->flight);
    base_buf_release(&p->plain);
    base_buf_release(&p->packed);
    base_arena_release(&p->arena);
    free(p->image);
    free(p->names);
    seal_wipe(&p->who, sizeof p->who);
    free(p);
}

static void give_up(struct poll *p, int rc)
{
    leader_done(p, -1);
    if (p->conn != NULL)
        gw_pg_give(p->conn);
    gw_reply_no_conn(p->gw, p->x, rc);
    free_poll(p);
}

static void pack_work(uv_work_t *w)
{
    struct poll *p = w->data;
    p->rc = seal_compress(&p->packed, p->plain.data, p->plain.len, FEED_ZSTD_LEVEL, NULL);
}

static void on_packed(uv_work_t *w, int status)
{
    struct poll *p = w->data;
    if (status != 0 || p->rc != 0) {
        give_up(p, BASE_EBUSY);
        return;
    }
    size_t len = p->packed.len;
    p->gw->counts.feeds++;
    net_http_reply_header(p->x, "Content-Encoding", "zstd");
    net_http_reply_take(p->x, 200, "application/x-ndjson", base_buf_take(&p->packed), len);
    free_poll(p);
}

static void write_header(struct poll *p)
{
    base_buf_printf(&p->plain,
                    "{\"format\":\"everward-feed/1\",\"tenant\":\"%s\",\"timeline\":\"%s\","
                    "\"catalog\":%s,\"after\":%lld,\"head\":%lld}\n",
                    p->who.tenant, p->timeline, p->catalog, (long long)p->after,
                    (long long)p->head);
}

static void reply(struct poll *p)
{
    base_buf_printf(&p->plain, "{\"done\":%lld,\"more\":%s}\n", (long long)p->done,
                    p->done < p->head ? "true" : "false");
    if (base_buf_check(&p->plain) != 0) {
        base_log(BASE_LOG_ERROR, "feed_too_large", "tenant %s: a cut behind %lld is over %d bytes",
                 p->who.tenant, (long long)p->done, FEED_REPLY_BYTES_MAX);
        give_up(p, BASE_EBUSY);
        return;
    }
    p->work.data = p;
    if (uv_queue_work(p->gw->loop, &p->work, pack_work, on_packed) != 0)
        give_up(p, BASE_EBUSY);
}

static void wait_or_reply(struct poll *p)
{
    struct gateway *gw = p->gw;
    struct wake *w = wake_of(gw->feed, p->key);
    bool in_time = base_clock_monotonic_ms() < p->until_ms && !gw->stopping;
    if (p->done > p->after || !in_time || w == NULL ||
        gw->counts.polls_waiting >= FEED_WAITERS_MAX) {
        reply(p);
        return;
    }
    base_buf_clear(&p->plain);
    if (w->heard > p->heard_before) { /* said while we were reading */
        p->sequenced = false;
        run(p);
        return;
    }
    if (w->looked_ms == 0)
        w->looked_ms = base_clock_monotonic_ms();
    link_poll(w, p);
}

/* ---- reading ------------------------------------------------------------------------------- */

static void close_cut(struct poll *p)
{
    if (p->cut == 0)
        return;
    base_buf_printf(&p->plain, "{\"end\":%lld,\"changes\":%lld}\n", (long long)p->cut,
                    (long long)p->changes);
    p->good_len = p->plain.len;
    p->done = p->cut;
    p->cut = 0;
    p->txn = p->txns = 0;
    p->changes = 0;
    p->full = p->plain.len >= FEED_REPLY_BYTES;
}

/* The number that goes out counts within the cut: the database's own come from a sequence that all
 * tenants share, and the gaps between them tell how much the others write. */
static void open_txn(struct poll *p, const PGresult *r, int i, int64_t txn)
{
    p->txn = txn;
    p->txns++;
    base_buf_printf(&p->plain, "{\"txn\":%lld,\"at\":\"%s\"", (long long)p->txns,
                    PQgetvalue(r, i, F_AT));
    if (!PQgetisnull(r, i, F_NODE))
        base_buf_printf(&p->plain, ",\"node\":\"%s\",\"inc\":%s,\"seq\":%s",
                        PQgetvalue(r, i, F_NODE), PQgetvalue(r, i, F_INC),
                        PQgetisnull(r, i, F_SEQ) ? "0" : PQgetvalue(r, i, F_SEQ));
    base_buf_str(&p->plain, "}\n");
}

static const char *name_of(const struct poll *p, int tbl)
{
    for (int i = 0; i < p->name_count; i++)
        if (p->names[i].tbl == tbl)
            return p->names[i].name;
    return NULL;
}

static int write_change(struct poll *p, const PGresult *r, int i)
{
    const char *name = name_of(p, (int)strtol(PQgetvalue(r, i, F_TABLE), NULL, 10));
    if (name == NULL) /* push_only, or no longer synced */
        return 0;
    base_arena_clear(&p->arena);
    int rc = core_image_read_composite(p->image, PQgetvalue(r, i, F_IMAGE),
                                       (size_t)PQgetlength(r, i, F_IMAGE), &p->arena, NULL);
    if (rc != 0)
        return rc;
    base_buf_char(&p->plain, '[');
    base_buf_json_str(&p->plain, name);
    base_buf_add(&p->plain, ",\"", 2);
    base_buf_char(&p->plain, PQgetvalue(r, i, F_OP)[0]);
    base_buf_add(&p->plain, "\",", 2);
    core_image_write_array(&p->plain, p->image);
    base_buf_add(&p->plain, "]\n", 2);
    p->changes++;
    p->gw->counts.feed_changes++;
    return 0;
}

/* Worker: one fetch of the cursor into lines. */
static void read_work(uv_work_t *w)
{
    struct poll *p = w->data;
    const PGresult *r = p->flight.results[p->q_fetch];
    int n = PQntuples(r);
    p->rc = 0;
    p->end = n < FEED_FETCH_ROWS;
    for (int i = 0; i < n && p->rc == 0; i++) {
        int64_t cut = strtoll(PQgetvalue(r, i, F_CUT), NULL, 10);
        int64_t txn = strtoll(PQgetvalue(r, i, F_TXN), NULL, 10);
        if (cut < p->cut || (cut == p->cut && txn < p->txn)) {
            p->rc = BASE_EBUG;
            break;
        }
        if (cut != p->cut) {
            close_cut(p);
            if (p->full)
                break;
            p->cut = cut;
            base_buf_printf(&p->plain, "{\"cut\":%lld}\n", (long long)cut);
        }
        if (txn != p->txn)
            open_txn(p, r, i, txn);
        if (!PQgetisnull(r, i, F_TABLE))
            p->rc = write_change(p, r, i);
    }
    if (p->end && !p->full)
        close_cut(p);
    if (p->full)
        p->end = true;
    if (p->rc == 0)
        p->rc = base_buf_check(&p->plain);
}

static void on_committed(void *user, struct gw_flight *f)
{
    struct poll *p = user;
    int rc = f->rc;
    gw_pg_give(p->conn);
    p->conn = NULL;
    if (rc != 0) {
        give_up(p, BASE_EUNREACHABLE);
        return;
    }
    p->plain.len = p->good_len; /* a cut that was cut off by the limit goes with the next reply */
    leader_done(p, p->head);
    reply(p);
}

static void on_fetched(void *user, struct gw_flight *f);

static void on_read(uv_work_t *w, int status)
{
    struct poll *p = w->data;
    if (status != 0 || p->rc != 0) {
        base_log(BASE_LOG_ERROR, "feed_unreadable", "tenant %s: cut %lld: %s", p->who.tenant,
                 (long long)p->cut, base_code_name(p->rc));
        give_up(p, BASE_EBUSY);
        return;
    }
    gw_flight_clear(&p->flight);
    if (p->end) {
        (void)gw_flight_add(&p->flight, "COMMIT", 0, NULL);
        gw_pg_fly(p->conn, &p->flight, p, on_committed);
        return;
    }
    p->q_fetch = gw_flight_add(&p->flight, FEED_FETCH_SQL, 0, NULL);
    gw_pg_fly(p->conn, &p->flight, p, on_fetched);
}

static void to_reader(struct poll *p)
{
    p->work.data = p;
    if (uv_queue_work(p->gw->loop, &p->work, read_work, on_read) != 0)
        give_up(p, BASE_EBUSY);
}

static void on_fetched(void *user, struct gw_flight *f)
{
    struct poll *p = user;
    if (f->rc != 0)
        give_up(p, BASE_EUNREACHABLE);
    else
        to_reader(p);
}

static void keep_names(struct poll *p)
{
    const PGresult *r = p->flight.results[p->q_names];
    free(p->names);
    p->name_count = PQntuples(r);
    p->names = calloc((size_t)p->name_count + 1, sizeof *p->names);
    if (p->names == NULL)
        p->name_count = 0;
    for (int i = 0; i < p->name_count; i++) {
        p->names[i].tbl = (int)strtol(PQgetvalue(r, i, 0), NULL, 10);
        (void)snprintf(p->names[i].name, sizeof p->names[i].name, "%s", PQgetvalue(r, i, 1));
    }
}

enum { H_HEAD = 0, H_TAIL, H_TIMELINE, H_CATALOG, H_KEY };

static void refuse(struct poll *p, int status, const char *code, const char *detail,
                   const char *hint)
{
    leader_done(p, p->head);
    gw_pg_give(p->conn);
    p->conn = NULL;
    net_http_problem(p->x, status, code, detail, hint);
    free_poll(p);
}

static void on_nothing(void *user, struct gw_flight *f)
{
    struct poll *p = user;
    int rc = f->rc;
    gw_pg_give(p->conn);
    p->conn = NULL;
    if (rc != 0) {
        give_up(p, BASE_EUNREACHABLE);
        return;
    }
    leader_done(p, p->head);
    wait_or_reply(p);
}

static void on_opened(void *user, struct gw_flight *f)
{
    struct poll *p = user;
    if (f->rc != 0) {
        if (p->leads != NULL && f->failed == GW_ENTER_QUERY && f->rc == BASE_EINVALID)
            p->leads->again = true; /* it alone is not let in any more: the next one leads */
        leader_done(p, -1);
        gw_pg_give(p->conn);
        gw_reply_failed(p->gw, p->x, f, "feed");
        free_poll(p);
        return;
    }
    const char *head = gw_flight_value(f, p->q_head, H_HEAD);
    const char *tail = gw_flight_value(f, p->q_head, H_TAIL);
    const char *timeline = gw_flight_value(f, p->q_head, H_TIMELINE);
    const char *catalog = gw_flight_value(f, p->q_head, H_CATALOG);
    const char *key = gw_flight_value(f, p->q_head, H_KEY);
    p->head = head == NULL ? 0 : strtoll(head, NULL, 10);
    (void)snprintf(p->timeline, sizeof p->timeline, "%s", timeline == NULL ? "" : timeline);
    (void)snprintf(p->catalog, sizeof p->catalog, "%s", catalog == NULL ? "0" : catalog);
    if (p->after > p->head) {
        refuse(p, 409, "ahead", "The node has seen more than the centre holds.",
               "The centre was restored from a backup. Verify against it.");
        return;
    }
    if (tail != NULL && p->after < strtoll(tail, NULL, 10)) {
        refuse(p, 410, "compacted", "The feed no longer reaches back so far.",
               "Verify against the centre, then follow the feed from its head.");
        return;
    }
    p->done = p->after;
    write_header(p);
    p->good_len = p->plain.len;
    if (gw_flight_rows(f, p->q_fetch) > 0) {
        keep_names(p);
        if (p->names == NULL)
            give_up(p, BASE_EBUSY); /* never a reply without some tables' changes */
        else
            to_reader(p);
        return;
    }
    (void)snprintf(p->key, sizeof p->key, "%s", key == NULL ? "" : key);
    gw_flight_clear(f);
    (void)gw_flight_add(f, "COMMIT", 0, NULL);
    gw_pg_fly(p->conn, f, p, on_nothing);
}

static const char head_sql[] =
    "SELECT coalesce(max(h.head), 0), coalesce(max(h.tail), 0), everward.timeline(),"
    " (SELECT version FROM everward.catalog_state), everward.wake_key(),"
    " set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),"
    " set_config('enable_seqscan', 'off', true)"
    " FROM everward.feed_head h WHERE h.tenant_id = (SELECT everward.tenant())";

/* Bounded by the number of transactions, so that a long backlog is never sorted as a whole: the few
 * transactions are put in order, then each one's changes are read in order. A left join with a
 * LATERAL that has its own order can only be a nested loop; read_work checks the order all the
 * same. */
static const char cursor_sql[] =
    "DECLARE everward_feed NO SCROLL CURSOR FOR"
    " SELECT x.cut, x.txn, to_char(x.at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),"
    " x.origin_node, x.origin_inc, x.origin_seq, s.tbl, s.op, s.image"
    " FROM (SELECT c.cut, c.txn, t.at, t.origin_node, t.origin_inc, t.origin_seq"
    "  FROM everward.cut c JOIN everward.txn t ON t.tenant_id = c.tenant_id AND t.txn = c.txn"
    "  WHERE c.tenant_id = (SELECT everward.tenant()) AND c.cut > $1::bigint"
    "  AND c.cut <= (SELECT max(q.cut) FROM (SELECT b.cut FROM everward.cut b"
    "   WHERE b.tenant_id = (SELECT everward.tenant()) AND b.cut > $1::bigint"
    "   ORDER BY b.cut, b.txn LIMIT 4096) q)"
    "  ORDER BY c.cut, c.txn OFFSET 0) x"
    " LEFT JOIN LATERAL (SELECT h.tbl, h.op, h.image FROM everward.change h"
    "  WHERE h.tenant_id = (SELECT everward.tenant()) AND h.txn = x.txn ORDER BY h.id) s ON true";

static const char names_sql[] =
    "SELECT tbl, name FROM everward.sync_table WHERE enabled AND NOT push_only";

static void on_conn(void *user, int rc, struct gw_pg_conn *conn)
{
    struct poll *p = user;
    if (rc != 0) {
        give_up(p, rc);
        return;
    }
    struct gw_flight *f = &p->flight;
    char after[24];
    (void)snprintf(after, sizeof after, "%lld", (long long)p->after);
    struct gw_param param = gw_text(after);
    p->conn = conn;
    gw_flight_clear(f);
    gw_add_enter(f, &p->who);
    if (gw_keys_seen_due(p->gw, &p->who.node_id))
        (void)gw_flight_add(f, "SELECT everward.node_seen($1::bigint, NULL)", 1, &param);
    if (!p->sequenced)
        (void)gw_flight_add(f, "SELECT everward.sequence_feed()", 0, NULL);
    p->q_head = gw_flight_add(f, head_sql, 0, NULL);
    p->q_names = gw_flight_add(f, names_sql, 0, NULL);
    (void)gw_flight_add(f, cursor_sql, 1, &param);
    p->q_fetch = gw_flight_add(f, FEED_FETCH_SQL, 0, NULL);
    gw_pg_fly(conn, f, p, on_opened);
}

static void run(struct poll *p)
{
    p->heard_before = p->gw->feed->serial;
    base_buf_clear(&p->plain);
    p->cut = p->txn = p->txns = p->changes = 0;
    p->full = p->end = false;
    gw_pg_take(p->gw->pool, p, on_conn);
}

/* ---- arrival ------------------------------------------------------------------------------- */

static bool read_number(const char *s, int64_t max, int64_t *out)
{
    char *end = NULL;
    if (s == NULL || *s < '0' || *s > '9')
        return false;
    long long v = strtoll(s, &end, 10);
    if (*end != '\0' || v > max)
        return false;
    *out = v;
    return true;
}

static void on_who(struct gateway *gw, struct net_http_exchange *x, const struct gw_who *who)
{
    int64_t after = 0;
    int64_t wait = 0;
    const char *wait_text = net_http_query(x, "wait");
    if (!read_number(net_http_query(x, "after"), INT64_C(1) << 53, &after) ||
        (wait_text != NULL && !read_number(wait_text, INT64_C(1) << 31, &wait))) {
        net_http_problem(x, 400, "bad_query", "after must be a cut number, wait whole seconds.",
                         NULL);
        return;
    }
    struct poll *p = calloc(1, sizeof *p);
    if (p == NULL || (p->image = calloc(1, sizeof *p->image)) == NULL) {
        free(p);
        gw_reply_no_conn(gw, x, BASE_EBUSY);
        return;
    }
    p->gw = gw;
    p->x = x;
    p->who = *who;
    p->after = after;
    if (wait > FEED_WAIT_S_MAX)
        wait = FEED_WAIT_S_MAX;
    p->until_ms = base_clock_monotonic_ms() + wait * 1000;
    gw_flight_init(&p->flight);
    base_buf_init(&p->plain, FEED_REPLY_BYTES_MAX);
    base_buf_init(&p->packed, FEED_REPLY_BYTES_MAX);
    base_arena_init(&p->arena, FEED_ARENA_BYTES_MAX);
    run(p);
}

static void on_feed(struct net_http_exchange *x, void *user)
{
    gw_authenticate(user, x, on_who);
}

static void answer_empty(struct poll *p)
{
    unlink_poll(p);
    base_buf_clear(&p->plain);
    p->done = p->after;
    write_header(p);
    reply(p);
}

static void on_tick(uv_timer_t *t)
{
    struct gw_feed *f = t->data;
    int64_t now = base_clock_monotonic_ms();
    int64_t look = gw_listen_up(f->listen) ? FEED_LOOK_MS : FEED_LOOK_DEAF_MS;
    for (int i = 0; i < WAKE_BUCKETS; i++)
        for (struct wake *w = f->buckets[i]; w != NULL; w = w->next) {
            for (struct poll *p = w->first; p != NULL;) {
                struct poll *next = p->next;
                if (now >= p->until_ms || f->gw->stopping)
                    answer_empty(p);
                p = next;
            }
            if (w->first != NULL && now - w->looked_ms >= look)
                wake_up(w);
        }
}

int gw_routes_feed(struct gateway *gw, struct base_err *err)
{
    const struct net_http_route route = {
        .method = "GET", .path = "/sync/v1/feed", .auth_decided = true, .handler = on_feed};
    return net_http_route_add(gw->http, &route, err);
}

int gw_feed_start(struct gateway *gw, const char *listen_dsn, struct base_err *err)
{
    struct gw_feed *f = calloc(1, sizeof *f);
    if (f == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory");
    f->gw = gw;
    gw->feed = f;
    f->tick.data = f;
    (void)uv_timer_init(gw->loop, &f->tick);
    (void)uv_timer_start(&f->tick, on_tick, FEED_TICK_MS, FEED_TICK_MS);
    return gw_listen_start(&f->listen, gw->loop, listen_dsn, f, on_heard, err);
}

static void on_tick_closed(uv_handle_t *h)
{
    struct gw_feed *f = h->data;
    for (int i = 0; i < WAKE_BUCKETS; i++)
        while (f->buckets[i] != NULL) {
            struct wake *next = f->buckets[i]->next;
            free(f->buckets[i]);
            f->buckets[i] = next;
        }
    f->gw->feed = NULL;
    free(f);
}

void gw_feed_stop(struct gateway *gw)
{
    if (gw->feed == NULL)
        return;
    if (gw->feed->listen != NULL)
        gw_listen_stop(gw->feed->listen);
    uv_close((uv_handle_t *)&gw->feed->tick, on_tick_closed);
}
