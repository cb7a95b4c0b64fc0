/*
 * GET /api/v1/events. What moved goes through one read job (its sync state and status are looked up
 * there), then into a ring of the last EVENTS_RING and to each stream that asks for it. While
 * nobody listens nothing is looked up: the ring then says "sync":null, which means "read the row".
 *
 * An id is "<start of this process>.<seq>": after a restart an old id is not mistaken for one of
 * ours, the client gets "reset".
 */
#include <stdlib.h>
#include <string.h>

#include "node/api/internal.h"

enum {
    EVENTS_RING = 1024,
    EVENTS_REPLAY_MAX = 200, /* what fits the queue of a stream at once */
    EVENTS_STREAMS_MAX = 512,
    EVENTS_WAITING_MAX = 8192, /* moved, not looked up yet; more: everybody gets a reset */
    EVENTS_BATCH = 256,
    EVENTS_TABLES_MAX = 32,
    EVENTS_STATUSES_MAX = 8,
    EVENTS_ID_BYTES = 48
};

struct event {
    int64_t seq;
    char table[CORE_NAME_BYTES_MAX + 1];
    struct base_uuid id, patient_id;
    char op;
    bool local;
    int sync;                  /* enum node_sync; -1 not looked up */
    char status[24];           /* of the row, if it has one */
    struct base_uuid order_id; /* of an order_event that ends its order */
};

struct stream {
    struct api_events *events;
    struct net_http_stream *http;
    uint8_t session_hash[32];
    struct base_uuid patient_id; /* zero: all */
    int table_count, status_count;
    char tables[EVENTS_TABLES_MAX][CORE_NAME_BYTES_MAX + 1];
    char statuses[EVENTS_STATUSES_MAX][24];
    struct stream *next;
};

struct api_events {
    struct node_api *api;
    uint32_t boot;
    struct event ring[EVENTS_RING];
    int64_t first, last; /* seqs in the ring; last 0: nothing yet */
    struct event *waiting;
    int waiting_count;
    bool looking;
    struct stream *streams;
    int stream_count;
};

struct look_up {
    struct node_job job;
    struct api_events *events;
    struct event list[EVENTS_BATCH];
    int count;
};

/* One event to one stream. */

static bool listed(char (*list)[CORE_NAME_BYTES_MAX + 1], int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(list[i], name) == 0)
            return true;
    return count == 0;
}

static bool has_left(const struct stream *s, const struct event *e)
{
    if (e->op == 'd')
        return true;
    if (s->status_count == 0 || e->status[0] == '\0')
        return false;
    for (int i = 0; i < s->status_count; i++)
        if (strcmp(s->statuses[i], e->status) == 0)
            return false;
    return true;
}

static const char *op_word(char op)
{
    return op == 'i' ? "create" : op == 'u' ? "update" : "delete";
}

static void send_left(struct stream *s, const char *id, const char *table,
                      const struct base_uuid *row)
{
    char uuid[BASE_UUID_CHARS + 1];
    char data[256];
    base_uuid_format(row, uuid);
    snprintf(data, sizeof data, "{\"table\":\"%s\",\"id\":\"%s\"}", table, uuid);
    net_http_stream_send(s->http, id, "left", data);
}

static bool wants(struct stream *s, const struct event *e, const struct node_session *session)
{
    bool about =
        base_uuid_is_zero(&s->patient_id) || base_uuid_equal(&s->patient_id, &e->patient_id);
    return about && listed(s->tables, s->table_count, e->table) &&
           node_grants_may_in_ward(session->grants, NODE_MAY_READ, e->table);
}

static void send_event(struct stream *s, const struct event *e, const struct node_session *session)
{
    char id[EVENTS_ID_BYTES];
    char uuid[BASE_UUID_CHARS + 1];
    char patient[BASE_UUID_CHARS + 1] = "";
    char data[400];
    snprintf(id, sizeof id, "%08x.%lld", s->events->boot, (long long)e->seq);
    if (!base_uuid_is_zero(&e->order_id) && listed(s->tables, s->table_count, "medication_order") &&
        (base_uuid_is_zero(&s->patient_id) || base_uuid_equal(&s->patient_id, &e->patient_id)) &&
        node_grants_may_in_ward(session->grants, NODE_MAY_READ, "medication_order"))
        send_left(s, id, "medication_order", &e->order_id);
    if (!wants(s, e, session))
        return;
    base_uuid_format(&e->id, uuid);
    if (!base_uuid_is_zero(&e->patient_id))
        base_uuid_format(&e->patient_id, patient);
    snprintf(data, sizeof data,
             "{\"table\":\"%s\",\"id\":\"%s\",\"patient_id\":%s%s%s,\"op\":\"%s\",\"sync\":%s%s%s,"
             "\"local\":%s}",
             e->table, uuid, patient[0] != '\0' ? "\"" : "", patient[0] != '\0' ? patient : "null",
             patient[0] != '\0' ? "\"" : "", op_word(e->op), e->sync >= 0 ? "\"" : "",
             e->sync >= 0 ? node_sync_name((enum node_sync)e->sync) : "null",
             e->sync >= 0 ? "\"" : "", e->local ? "true" : "false");
    if (has_left(s, e))
        send_left(s, id, e->table, &e->id);
    net_http_stream_send(s->http, id, "row", data);
}

static struct node_session *session_of(const struct stream *s)
{
    struct node_people *people = s->events->api->people;
    int64_t now = base_clock_wall_ms();
    struct node_session *session = node_people_session_by_hash(people, s->session_hash, now);
    return session == NULL || node_people_locked(people, session, now) ? NULL : session;
}

static void deliver(struct api_events *v, const struct event *e)
{
    for (struct stream *s = v->streams; s != NULL; s = s->next) {
        struct node_session *session = session_of(s);
        if (session != NULL)
            send_event(s, e, session);
    }
}

static void push(struct api_events *v, const struct event *e)
{
    if (v->last == 0 || e->seq != v->last + 1)
        v->first = e->seq; /* what was before the gap can't be resumed from */
    v->ring[e->seq % EVENTS_RING] = *e;
    v->last = e->seq;
    if (v->last - v->first >= EVENTS_RING)
        v->first = v->last - EVENTS_RING + 1;
    deliver(v, e);
}

static void send_all(struct api_events *v, const char *event, const char *data)
{
    for (struct stream *s = v->streams; s != NULL; s = s->next)
        net_http_stream_send(s->http, NULL, event, data);
}

/* Looking up. */

static void copy_status(struct event *e, const struct node_row *row)
{
    struct core_text status = api_value(row, "status");
    struct core_text action = api_value(row, "action");
    struct core_text order = api_value(row, "order_id");
    if (status.s != NULL && status.len < sizeof e->status)
        memcpy(e->status, status.s, status.len);
    if (strcmp(e->table, "order_event") != 0 || action.s == NULL || order.s == NULL)
        return;
    if (core_text_equal(action, core_text_of("stop")) ||
        core_text_equal(action, core_text_of("complete")))
        (void)base_uuid_parse(&e->order_id, order.s, order.len);
}

static int look_up_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct look_up *l = (struct look_up *)job;
    const struct core_catalog *catalog = node_db_catalog(db);
    struct base_arena arena;
    base_arena_init(&arena, API_ARENA_BYTES_MAX);
    for (int i = 0; i < l->count; i++) {
        struct event *e = &l->list[i];
        const struct core_table *t =
            catalog == NULL ? NULL : core_catalog_table(catalog, e->table, strlen(e->table));
        struct node_row *row = base_arena_get(&arena, sizeof *row);
        if (t != NULL && row != NULL && e->op != 'd' &&
            node_row_get(db, t, &e->id, &arena, row, NULL) == 0) {
            e->sync = (int)row->sync;
            copy_status(e, row);
        }
        base_arena_clear(&arena);
    }
    base_arena_release(&arena);
    return 0;
}

static void look_up_start(struct api_events *v);

static void look_up_done(struct node_job *job)
{
    struct look_up *l = (struct look_up *)job;
    struct api_events *v = l->events;
    struct node_api *a = v->api;
    for (int i = 0; i < l->count; i++)
        push(v, &l->list[i]);
    free(l);
    v->looking = false;
    if (v->waiting_count > 0 && !a->stopping)
        look_up_start(v);
    api_job_end(a);
}

static void look_up_start(struct api_events *v)
{
    struct look_up *l = calloc(1, sizeof *l);
    if (l == NULL)
        return;
    l->events = v;
    l->count = v->waiting_count < EVENTS_BATCH ? v->waiting_count : EVENTS_BATCH;
    memcpy(l->list, v->waiting, (size_t)l->count * sizeof l->list[0]);
    v->waiting_count -= l->count;
    memmove(v->waiting, v->waiting + l->count, (size_t)v->waiting_count * sizeof v->waiting[0]);
    l->job.run = look_up_run;
    l->job.done = look_up_done;
    v->looking = true;
    api_job_begin(v->api);
    node_store_read(v->api->store, &l->job);
}

static void event_from(struct event *e, const struct node_moved *m, int64_t seq)
{
    memset(e, 0, sizeof *e);
    e->seq = seq;
    snprintf(e->table, sizeof e->table, "%s", m->table);
    e->id = m->id;
    e->patient_id = m->patient_id;
    if (strcmp(m->table, "patient") == 0)
        e->patient_id = m->id;
    e->op = m->op;
    e->local = m->local;
    e->sync = m->local && m->op != 'd' ? (int)NODE_SYNC_PENDING : -1;
}

void api_events_moved(struct node_api *a, const struct node_moved *moved, int count, int64_t last)
{
    struct api_events *v = a->events;
    if (v->stream_count > 0 && v->waiting_count + count > EVENTS_WAITING_MAX) {
        /* More than anybody can follow one by one: everybody reads again what is on the screen. */
        v->waiting_count = 0;
        v->first = last + 1;
        v->last = last;
        send_all(v, "reset", "{}");
        return;
    }
    for (int i = 0; i < count; i++) {
        struct event e;
        event_from(&e, &moved[i], last - count + 1 + i);
        if (v->stream_count > 0 || v->looking)
            v->waiting[v->waiting_count++] = e;
        else
            push(v, &e);
    }
    if (!v->looking && v->waiting_count > 0)
        look_up_start(v);
}

void api_events_status(struct node_api *a)
{
    struct base_buf text;
    if (a->events->stream_count == 0)
        return;
    base_buf_init(&text, 8192);
    node_api_status_write(&text, &a->status, node_store_identity(a->store));
    if (base_buf_check(&text) == 0)
        send_all(a->events, "status", text.data);
    base_buf_release(&text);
}

void api_events_claim(struct node_api *a, const char *json)
{
    for (struct stream *s = a->events->streams; s != NULL; s = s->next) {
        struct node_session *session = session_of(s);
        if (session != NULL && node_grants_may_in_ward(session->grants, NODE_MAY_READ, "dose_slot"))
            net_http_stream_send(s->http, NULL, "claim", json);
    }
}

/* Opening. */

static void forget(struct stream *s)
{
    struct stream **at = &s->events->streams;
    while (*at != NULL && *at != s)
        at = &(*at)->next;
    if (*at == s) {
        *at = s->next;
        s->events->stream_count--;
    }
    free(s);
}

static void stream_closed(struct net_http_stream *http, void *user)
{
    forget(user);
}

static int bad_param(struct api_call *c, const char *name, const char *why)
{
    return api_refuse_column(c, 400, "bad_filter", name, "parameter \"%s\": %s", name, why);
}

static int take_list(struct api_call *c, const char *name, const char *value, char *out,
                     size_t each, int max, int *count)
{
    while (*value != '\0') {
        size_t n = strcspn(value, ",");
        if (n == 0 || n >= each || *count == max)
            return bad_param(c, name, "expected a list of names with commas");
        memcpy(out + (size_t)*count * each, value, n);
        (*count)++;
        value += n;
        if (*value == ',')
            value++;
    }
    return *count == 0 ? bad_param(c, name, "expected a list of names with commas") : 0;
}

static int take_filters(struct api_call *c, struct stream *s, const struct core_catalog *catalog)
{
    for (int i = 0; i < c->param_count; i++) {
        const char *name = c->params[i].name;
        const char *value = c->params[i].value;
        int rc = 0;
        if (strcmp(name, "tables") == 0)
            rc = take_list(c, name, value, s->tables[0], sizeof s->tables[0], EVENTS_TABLES_MAX,
                           &s->table_count);
        else if (strcmp(name, "status") == 0)
            rc = take_list(c, name, value, s->statuses[0], sizeof s->statuses[0],
                           EVENTS_STATUSES_MAX, &s->status_count);
        else if (strcmp(name, "patient_id") == 0)
            rc = base_uuid_parse(&s->patient_id, value, strlen(value))
                     ? 0
                     : bad_param(c, name, "expected a uuid");
        else
            return api_refuse_column(c, 400, "unknown_parameter",
                                     strlen(name) <= CORE_NAME_BYTES_MAX ? name : "?",
                                     "events knows tables, patient_id and status");
        if (rc != 0)
            return rc;
    }
    for (int i = 0; i < s->table_count; i++) {
        if (catalog == NULL ||
            core_catalog_table(catalog, s->tables[i], strlen(s->tables[i])) == NULL)
            return bad_param(c, "tables", "there is no such table");
        if (!api_may_some(c, NODE_MAY_READ, s->tables[i]))
            return BASE_EDENIED;
    }
    return 0;
}

/* What the client missed since its last id; false: it can't be told from the ring. */
static bool replay(struct stream *s, const struct node_session *session, const char *last_id)
{
    struct api_events *v = s->events;
    char *end = NULL;
    unsigned long boot = strtoul(last_id, &end, 16);
    if (end != last_id + 8 || *end != '.' || boot != v->boot)
        return false;
    const char *digits = end + 1;
    long long seq = strtoll(digits, &end, 10);
    if (end == digits || *end != '\0' || seq < 0 || seq > v->last || seq + 1 < v->first ||
        v->last - seq > EVENTS_REPLAY_MAX)
        return false;
    for (int64_t i = seq + 1; i <= v->last; i++)
        send_event(s, &v->ring[i % EVENTS_RING], session);
    return true;
}

static void greet(struct stream *s, const struct node_session *session, const char *last_id)
{
    struct api_events *v = s->events;
    char id[EVENTS_ID_BYTES];
    struct base_buf text;
    if (last_id != NULL && !replay(s, session, last_id)) {
        snprintf(id, sizeof id, "%08x.%lld", v->boot, (long long)v->last);
        net_http_stream_send(s->http, id, "reset", "{}");
    }
    base_buf_init(&text, 8192);
    node_api_status_write(&text, &v->api->status, node_store_identity(v->api->store));
    snprintf(id, sizeof id, "%08x.%lld", v->boot, (long long)v->last);
    if (base_buf_check(&text) == 0)
        net_http_stream_send(s->http, id, "status", text.data);
    base_buf_release(&text);
}

void api_on_events(struct net_http_exchange *x, void *user)
{
    struct node_api *a = user;
    struct api_events *v = a->events;
    struct api_call *c = api_begin(x, a);
    if (c == NULL)
        return;
    struct stream *s = calloc(1, sizeof *s);
    const char *header = net_http_header(x, "Last-Event-ID");
    char last_id[EVENTS_ID_BYTES] = ""; /* the header does not outlive the call's reply */
    if (header != NULL)
        snprintf(last_id, sizeof last_id, "%s", header);
    if (s == NULL || v->stream_count >= EVENTS_STREAMS_MAX || a->stopping) {
        api_refuse(c, 503, "busy", "Close a stream that is not needed.",
                   "too many event streams are open");
        c->problem.retry_after_s = 10;
    }
    if (s == NULL || c->problem.status != 0 || api_take_params(c) != 0 ||
        take_filters(c, s, node_store_catalog(a->store)) != 0) {
        free(s);
        api_finish(c);
        return;
    }
    s->events = v;
    memcpy(s->session_hash, c->session_hash, sizeof s->session_hash);
    api_headers(c);
    api_free(c);
    s->http = net_http_stream_open(x, s, stream_closed);
    if (s->http == NULL) {
        free(s);
        return;
    }
    s->next = v->streams;
    v->streams = s;
    v->stream_count++;
    struct node_session *session = session_of(s);
    if (session != NULL)
        greet(s, session, header != NULL ? last_id : NULL);
}

void api_events_tick(struct node_api *a)
{
    struct stream *next;
    for (struct stream *s = a->events->streams; s != NULL; s = next) {
        next = s->next;
        if (session_of(s) == NULL) {
            net_http_stream_close(s->http); /* closed is not called for what we close ourselves */
            forget(s);
        }
    }
}

int api_events_streams(const struct node_api *a)
{
    return a->events->stream_count;
}

int api_events_open(struct node_api *a, struct base_err *err)
{
    struct api_events *v = calloc(1, sizeof *v);
    struct event *waiting = calloc(EVENTS_WAITING_MAX, sizeof *waiting);
    if (v == NULL || waiting == NULL) {
        free(v);
        free(waiting);
        return base_fail(err, BASE_ENOMEM, "out of memory");
    }
    v->api = a;
    v->waiting = waiting;
    seal_random(&v->boot, sizeof v->boot);
    a->events = v;
    return 0;
}

void api_events_close(struct node_api *a)
{
    if (a->events == NULL)
        return;
    while (a->events->streams !=
           NULL) { /* the server has closed them all before; none may be left */
        struct stream *s = a->events->streams;
        a->events->streams = s->next;
        free(s);
    }
    free(a->events->waiting);
    free(a->events);
    a->events = NULL;
}
