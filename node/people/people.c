/*
 * Sessions: in memory for the check of each request, in the store for the next start.
 */
#include "node/people/internal.h"

#include <stdlib.h>
#include <string.h>

#include "node/store/rows.h"
#include "node/store/sql.h"
#include "sync/base/clock.h"
#include "sync/base/log.h"

enum { PEOPLE_FLUSH_MS = 30 * 1000, PEOPLE_RELOAD_MS = 60 * 1000, PEOPLE_FLUSH_MAX = 512 };

static struct node_session **bucket_of(struct node_people *p, const uint8_t hash[32])
{
    return &p->buckets[((unsigned)hash[0] << 8 | hash[1]) % PEOPLE_BUCKETS];
}

static struct node_session **find(struct node_people *p, const uint8_t hash[32])
{
    struct node_session **at = bucket_of(p, hash);
    while (*at != NULL && memcmp((*at)->hash, hash, 32) != 0)
        at = &(*at)->next;
    return at;
}

static void drop(struct node_people *p, struct node_session **at)
{
    struct node_session *s = *at;
    *at = s->next;
    node_grants_unref(s->grants);
    free(s);
    p->count--;
}

int64_t node_device_idle_s(const struct node_people_config *c, enum node_device_class class)
{
    return class == NODE_DEVICE_TABLET   ? c->idle_tablet_s
           : class == NODE_DEVICE_SHARED ? c->idle_shared_s
                                         : c->session_idle_s;
}

static bool is_paired(const struct node_session *s)
{
    return !base_uuid_is_zero(&s->device.id);
}

int64_t node_people_idle_s(const struct node_people *p, const struct node_session *s)
{
    return is_paired(s) ? node_device_idle_s(&p->config, s->device.class)
                        : p->config.session_idle_s;
}

static bool is_idle(const struct node_people *p, const struct node_session *s, int64_t now_ms)
{
    return now_ms - s->seen_ms > node_people_idle_s(p, s) * 1000;
}

static bool is_over(const struct node_people *p, const struct node_session *s, int64_t now_ms)
{
    bool can_wait = is_paired(s) && s->has_pin;
    if (s->ends_ms != 0 && now_ms >= s->ends_ms)
        return true;
    return now_ms - s->created_ms > NODE_SESSION_LIFE_MS || (!can_wait && is_idle(p, s, now_ms));
}

bool node_people_locked(const struct node_people *p, const struct node_session *s, int64_t now_ms)
{
    return s->locked || is_idle(p, s, now_ms);
}

struct node_session *people_session_add(struct node_people *p, const struct people_session *from,
                                        struct node_grants *take_grants)
{
    struct node_session *s = p->count < NODE_SESSIONS_MAX ? calloc(1, sizeof *s) : NULL;
    if (s == NULL)
        return NULL;
    memcpy(s->hash, from->hash, 32);
    s->grants = take_grants;
    s->device = from->device;
    s->created_ms = from->created_ms;
    s->seen_ms = from->seen_ms;
    s->locked = from->locked;
    s->has_pin = from->has_pin;
    s->by_account = from->by_account;
    struct node_session **at = bucket_of(p, s->hash);
    s->next = *at;
    *at = s;
    p->count++;
    return s;
}

struct node_session *people_session_any(struct node_people *p, const uint8_t hash[32])
{
    return *find(p, hash);
}

int people_session_drop_if(struct node_people *p, void *user,
                           bool (*fits)(void *user, const struct node_session *s))
{
    int before = p->count;
    for (int i = 0; i < PEOPLE_BUCKETS; i++)
        for (struct node_session **at = &p->buckets[i]; *at != NULL;) {
            if (fits(user, *at))
                drop(p, at);
            else
                at = &(*at)->next;
        }
    return before - p->count;
}

void people_session_drop(struct node_people *p, const uint8_t hash[32])
{
    struct node_session **at = find(p, hash);
    if (*at != NULL)
        drop(p, at);
}

void people_session_each(struct node_people *p, void *user,
                         void (*cb)(void *user, struct node_session *s))
{
    for (int i = 0; i < PEOPLE_BUCKETS; i++)
        for (struct node_session *s = p->buckets[i]; s != NULL; s = s->next)
            cb(user, s);
}

void people_work_done(struct node_people *p)
{
    p->busy--;
    if (!p->closing || p->busy > 0)
        return;
    for (int i = 0; i < PEOPLE_BUCKETS; i++)
        while (p->buckets[i] != NULL)
            drop(p, &p->buckets[i]);
    void (*closed)(void *) = p->closed;
    void *user = p->closed_user;
    seal_wipe(p->dummy, sizeof p->dummy);
    free(p);
    closed(user);
}

/* The first load: sessions from the store, each with its person's grants. */

struct loaded {
    struct people_session s;
    struct base_uuid staff_id;
};

struct reload {
    struct node_job job;
    struct node_people *people;
    int64_t now_ms;
    bool first;
    struct loaded *sessions;
    int session_count;
    struct base_uuid *staff;
    struct node_grants **grants; /* [i] is staff[i]'s; NULL: may not be logged in */
    bool *linked;                /* ... has an account at the identity provider */
    int staff_count;
};

static int read_session(struct node_stmt *st, struct loaded *out)
{
    size_t len = 0;
    const void *hash = node_sql_col_blob(st, 0, &len);
    if (hash == NULL || len != sizeof out->s.hash || !node_sql_col_uuid(st, 1, &out->staff_id))
        return BASE_EINVALID;
    memcpy(out->s.hash, hash, sizeof out->s.hash);
    const char *device = node_sql_col_text(st, 2, &len);
    snprintf(out->s.device.name, sizeof out->s.device.name, "%s", device != NULL ? device : "");
    out->s.created_ms = node_sql_col_i64(st, 3);
    out->s.seen_ms = node_sql_col_i64(st, 4);
    out->s.locked = node_sql_col_i64(st, 5) != 0;
    const char *class = node_sql_col_text(st, 7, &len);
    if (node_sql_col_uuid(st, 6, &out->s.device.id) &&
        (class == NULL || !node_device_class_parse(&out->s.device.class, class)))
        return BASE_EINVALID; /* its device is gone */
    out->s.has_pin = node_sql_col_i64(st, 8) != 0;
    out->s.by_account = node_sql_col_i64(st, 9) != 0;
    return 0;
}

static int reload_sessions(struct reload *r, struct node_db *db, struct base_err *err)
{
    struct node_stmt *st = NULL;
    r->sessions = calloc(NODE_SESSIONS_MAX, sizeof *r->sessions);
    r->staff = calloc(NODE_SESSIONS_MAX, sizeof *r->staff);
    if (r->sessions == NULL || r->staff == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory reading sessions");
    int rc =
        node_sql(db, &st,
                 "SELECT s.token_hash, s.staff_id, coalesce(d.name, s.device), s.created_ms, "
                 "s.seen_ms, s.locked, s.device_id, d.class, p.staff_id IS NOT NULL, s.by_account "
                 "FROM node_session s LEFT JOIN node_device d ON d.id = s.device_id "
                 "AND d.revoked_ms IS NULL LEFT JOIN node_pin p ON p.staff_id = s.staff_id",
                 err);
    while (rc == 0) {
        int step = node_sql_step(st, err);
        if (step <= 0 || r->session_count == NODE_SESSIONS_MAX) {
            rc = step < 0 ? step : 0;
            break;
        }
        if (read_session(st, &r->sessions[r->session_count]) == 0) {
            r->staff[r->staff_count++] = r->sessions[r->session_count].staff_id;
            r->session_count++;
        }
    }
    node_sql_done(st);
    return rc;
}

static int by_uuid(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct base_uuid));
}

static void staff_unique(struct reload *r)
{
    int n = 0;
    if (r->staff_count == 0)
        return;
    qsort(r->staff, (size_t)r->staff_count, sizeof *r->staff, by_uuid);
    for (int i = 0; i < r->staff_count; i++)
        if (n == 0 || !base_uuid_equal(&r->staff[n - 1], &r->staff[i]))
            r->staff[n++] = r->staff[i];
    r->staff_count = n;
}

static int reload_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct reload *r = (struct reload *)job;
    int rc = r->first ? reload_sessions(r, db, err) : 0;
    if (rc != 0)
        return rc;
    staff_unique(r);
    r->grants = calloc((size_t)r->staff_count + 1, sizeof(void *));
    r->linked = calloc((size_t)r->staff_count + 1, sizeof *r->linked);
    if (r->grants == NULL || r->linked == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory reading permissions");
    const char *issuer = r->people->config.issuer;
    for (int i = 0; i < r->staff_count && rc == 0; i++) {
        rc = people_grants_read(db, &r->staff[i], r->now_ms, &r->grants[i], err);
        if (rc == 0 && r->grants[i] != NULL && issuer != NULL)
            rc = people_has_account(db, issuer, &r->staff[i], &r->linked[i], err);
    }
    return rc;
}

static int staff_index(const struct reload *r, const struct base_uuid *id)
{
    struct base_uuid *at = r->staff_count == 0
                               ? NULL
                               : bsearch(id, r->staff, (size_t)r->staff_count, sizeof *id, by_uuid);
    return at == NULL ? -1 : (int)(at - r->staff);
}

static bool may_stay(const struct reload *r, int k, bool by_account)
{
    return r->grants[k] != NULL && (!by_account || r->linked[k]);
}

static void reload_adopt(struct node_people *p, struct reload *r)
{
    for (int i = 0; i < r->session_count; i++) {
        struct loaded *l = &r->sessions[i];
        int k = staff_index(r, &l->staff_id);
        if (k >= 0 && may_stay(r, k, l->s.by_account) && *find(p, l->s.hash) == NULL) {
            struct node_grants *g = node_grants_ref(r->grants[k]);
            if (people_session_add(p, &l->s, g) == NULL)
                node_grants_unref(g);
        }
    }
    for (int i = 0; i < PEOPLE_BUCKETS; i++)
        for (struct node_session **at = &p->buckets[i]; *at != NULL;) {
            int k = staff_index(r, &(*at)->grants->staff_id);
            if (k >= 0 && !may_stay(r, k, (*at)->by_account)) {
                base_log(BASE_LOG_INFO, "session_revoked",
                         "a session ended: its person may not be logged in any more");
                drop(p, at);
                continue;
            }
            if (k >= 0) {
                node_grants_unref((*at)->grants);
                (*at)->grants = node_grants_ref(r->grants[k]);
            }
            at = &(*at)->next;
        }
}

static void reload_start(struct node_people *p);

static void reload_done(struct node_job *job)
{
    struct reload *r = (struct reload *)job;
    struct node_people *p = r->people;
    if (job->rc == 0) {
        reload_adopt(p, r);
        p->loaded = true;
    } else {
        /* The tick tries again: flushed_ms of a failed reload stays old. */
        base_log(BASE_LOG_WARN, "sessions_not_read", "%s", job->err.text);
        p->reloaded_ms = 0;
    }
    for (int i = 0; r->grants != NULL && i < r->staff_count; i++)
        node_grants_unref(r->grants[i]);
    free(r->sessions);
    free(r->staff);
    free(r->grants);
    free(r->linked);
    free(r);
    p->reloading = false;
    if (p->reload_again && !p->closing)
        reload_start(p);
    people_work_done(p);
}

static void collect_staff(void *user, struct node_session *s)
{
    struct reload *r = user;
    r->staff[r->staff_count++] = s->grants->staff_id;
}

static void reload_start(struct node_people *p)
{
    if (p->reloading || p->closing) {
        p->reload_again = true;
        return;
    }
    p->reload_again = false;
    p->reloaded_ms = base_clock_monotonic_ms();
    if (p->loaded && p->count == 0)
        return;
    struct reload *r = calloc(1, sizeof *r);
    if (r == NULL)
        return;
    r->first = !p->loaded;
    if (!r->first) {
        r->staff = calloc((size_t)p->count, sizeof *r->staff);
        if (r->staff == NULL) {
            free(r);
            return;
        }
        people_session_each(p, r, collect_staff);
    }
    r->people = p;
    r->now_ms = base_clock_wall_ms();
    r->job.run = reload_run;
    r->job.done = reload_done;
    p->reloading = true;
    p->busy++;
    node_store_read(p->store, &r->job);
}

void people_reload(struct node_people *p)
{
    reload_start(p);
}

/* The number of the list this node decides by. One job for however many rows have moved meanwhile. */
struct number {
    struct node_job job;
    struct node_people *people;
};

static int number_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st, "UPDATE node_staff_list SET number = number + 1", err);
    if (rc != 0)
        return rc;
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc;
}

static void number_done(struct node_job *job)
{
    struct node_people *p = ((struct number *)job)->people;
    p->numbering = false;
    free(job);
    people_work_done(p);
}

static void number_raise(struct node_people *p)
{
    struct number *n = p->numbering || p->closing ? NULL : calloc(1, sizeof *n);
    if (n == NULL)
        return;
    n->people = p;
    n->job = (struct node_job){.run = number_run, .done = number_done, .write = true};
    p->numbering = true;
    p->busy++;
    node_store_write(p->store, &n->job);
}

void node_people_moved(struct node_people *p, const char *table)
{
    if (strcmp(table, "staff") == 0 || strcmp(table, "staff_role") == 0 ||
        strcmp(table, "role_permission") == 0) {
        reload_start(p);
        number_raise(p);
    }
    if (strcmp(table, "staff_account") == 0) {
        people_tokens_end(p); /* the next request asks whose it is now */
        reload_start(p);
    }
}

/* Writing down what was seen, ending what is over. */

struct flush {
    struct node_job job;
    struct node_people *people;
    int64_t idle_before_ms, created_before_ms;
    struct {
        uint8_t hash[32];
        struct base_uuid device_id, staff_id;
        int64_t seen_ms;
    } seen[PEOPLE_FLUSH_MAX];
    int count;
};

/* The device a session is one of was seen, too. */
static int flush_device(struct flush *f, int i, struct node_db *db, struct base_err *err)
{
    struct node_stmt *st = NULL;
    if (base_uuid_is_zero(&f->seen[i].device_id))
        return 0;
    int rc = node_sql(db, &st,
                      "UPDATE node_device SET seen_ms = max(seen_ms, ?2), last_user = ?3 "
                      "WHERE id = ?1",
                      err);
    if (rc != 0)
        return rc;
    node_sql_uuid(st, 1, &f->seen[i].device_id);
    node_sql_i64(st, 2, f->seen[i].seen_ms);
    node_sql_uuid(st, 3, &f->seen[i].staff_id);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc;
}

static int flush_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct flush *f = (struct flush *)job;
    struct node_stmt *st = NULL;
    int rc = 0;
    for (int i = 0; i < f->count && rc == 0; i++) {
        rc = node_sql(db, &st,
                      "UPDATE node_session SET seen_ms = max(seen_ms, ?2) WHERE token_hash = ?1",
                      err);
        if (rc != 0)
            return rc;
        node_sql_blob(st, 1, f->seen[i].hash, 32);
        node_sql_i64(st, 2, f->seen[i].seen_ms);
        rc = node_sql_step(st, err);
        node_sql_done(st);
        if (rc == 0)
            rc = flush_device(f, i, db, err);
    }
    if (rc != 0)
        return rc;
    rc = node_sql(db, &st,
                  "DELETE FROM node_session WHERE created_ms < ?2 OR (seen_ms < ?1 AND NOT "
                  "(device_id IS NOT NULL AND staff_id IN (SELECT staff_id FROM node_pin)))",
                  err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, f->idle_before_ms);
    node_sql_i64(st, 2, f->created_before_ms);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc;
}

static void flush_done(struct node_job *job)
{
    struct flush *f = (struct flush *)job;
    struct node_people *p = f->people;
    p->flushing = false;
    free(f);
    people_work_done(p);
}

static void collect_seen(void *user, struct node_session *s)
{
    struct flush *f = user;
    if (!s->dirty || f->count == PEOPLE_FLUSH_MAX)
        return;
    memcpy(f->seen[f->count].hash, s->hash, 32);
    f->seen[f->count].device_id = s->device.id;
    f->seen[f->count].staff_id = s->grants->staff_id;
    f->seen[f->count++].seen_ms = s->seen_ms;
    s->dirty = false;
}

static int64_t idle_most_s(const struct node_people *p)
{
    const struct node_people_config *c = &p->config;
    int64_t most = c->session_idle_s > c->idle_tablet_s ? c->session_idle_s : c->idle_tablet_s;
    return most > c->idle_shared_s ? most : c->idle_shared_s;
}

static void flush_start(struct node_people *p, int64_t now_ms)
{
    struct flush *f = p->flushing ? NULL : calloc(1, sizeof *f);
    if (f == NULL)
        return;
    people_session_each(p, f, collect_seen);
    f->people = p;
    /* A session that was seen since the last flush is still older in the store. */
    f->idle_before_ms = now_ms - idle_most_s(p) * 1000 - 2 * PEOPLE_FLUSH_MS;
    f->created_before_ms = now_ms - NODE_SESSION_LIFE_MS;
    f->job.run = flush_run;
    f->job.done = flush_done;
    f->job.write = true;
    p->flushing = true;
    p->busy++;
    node_store_write(p->store, &f->job);
}

void node_people_tick(struct node_people *p, int64_t now_ms)
{
    int64_t mono = base_clock_monotonic_ms();
    int ended = 0;
    if (p->closing)
        return;
    for (int i = 0; i < PEOPLE_BUCKETS; i++)
        for (struct node_session **at = &p->buckets[i]; *at != NULL;) {
            if (is_over(p, *at, now_ms)) {
                drop(p, at);
                ended++;
            } else {
                at = &(*at)->next;
            }
        }
    if (!p->reloading && (!p->loaded || mono - p->reloaded_ms > PEOPLE_RELOAD_MS))
        reload_start(p); /* validity ends by itself, without a row that moves */
    if (p->loaded && (ended > 0 || mono - p->flushed_ms > PEOPLE_FLUSH_MS) &&
        (ended > 0 || p->count > 0)) {
        p->flushed_ms = mono;
        flush_start(p, now_ms);
    }
}

struct node_session *node_people_session_by_hash(struct node_people *p, const uint8_t hash[32],
                                                 int64_t now_ms)
{
    struct node_session *s = *find(p, hash);
    return s == NULL || is_over(p, s, now_ms) ? NULL : s;
}

struct node_session *node_people_session(struct node_people *p, const char *token, size_t len,
                                         int64_t now_ms)
{
    uint8_t raw[NODE_SESSION_TOKEN_BYTES];
    uint8_t hash[32];
    size_t n = 0;
    if (len != NODE_SESSION_TOKEN_CHARS ||
        !seal_base64url_decode(raw, sizeof raw, &n, token, len) || n != sizeof raw)
        return NULL;
    seal_hash(hash, raw, sizeof raw);
    struct node_session *s = node_people_session_by_hash(p, hash, now_ms);
    if (s != NULL && now_ms > s->seen_ms && !node_people_locked(p, s, now_ms)) {
        s->seen_ms = now_ms;
        s->dirty = true;
    }
    return s;
}

bool node_people_ready(const struct node_people *p)
{
    return p->loaded;
}

int node_people_count(const struct node_people *p)
{
    return p->count;
}

int node_people_open(struct node_people **out, struct uv_loop_s *loop, struct node_store *store,
                     const struct node_people_config *config, struct base_err *err)
{
    struct node_people *p = calloc(1, sizeof *p);
    if (p == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory");
    p->loop = loop;
    p->store = store;
    p->config = *config;
    p->waiting_end = &p->waiting;
    int rc = people_login_start(p, err);
    if (rc != 0) {
        free(p);
        return rc;
    }
    reload_start(p);
    *out = p;
    return 0;
}

void node_people_close(struct node_people *p, void (*closed)(void *user), void *user)
{
    p->closing = true;
    p->closed = closed;
    p->closed_user = user;
    p->busy++;
    people_check_next(p); /* those who wait are told */
    people_work_done(p);
}
