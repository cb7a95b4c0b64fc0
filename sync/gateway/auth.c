/*
 * Who is asking: the token names a node, the database knows its key. Keys are kept for a minute;
 * the ticket and the registration are checked by the database in every transaction (enter_node).
 */
#include <stdlib.h>
#include <string.h>

#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/gateway/gateway.h"
#include "sync/seal/seal.h"

enum { KEY_BUCKETS = 4096 };

struct key {
    struct key *next;
    struct base_uuid node, tenant;
    uint8_t public_key[32], former_key[32];
    int64_t former_upto;
    int64_t since_ms, seen_ms;
};

struct gw_keys {
    struct key *buckets[KEY_BUCKETS];
    int count;
};

struct asking {
    struct gateway *gw;
    struct net_http_exchange *x;
    gw_who_cb next;
    struct base_uuid node;
    char node_text[BASE_UUID_CHARS + 1];
    struct gw_pg_conn *conn;
    struct gw_flight flight;
};

static struct key **slot_of(struct gw_keys *k, const struct base_uuid *node)
{
    unsigned h = 0;
    for (int i = 0; i < BASE_UUID_BYTES; i++)
        h = h * 31 + node->bytes[i];
    struct key **at = &k->buckets[h % KEY_BUCKETS];
    while (*at != NULL && !base_uuid_equal(&(*at)->node, node))
        at = &(*at)->next;
    return at;
}

int gw_keys_start(struct gateway *gw, struct base_err *err)
{
    gw->keys = calloc(1, sizeof *gw->keys);
    return gw->keys == NULL ? base_fail(err, BASE_ENOMEM, "out of memory") : 0;
}

static void forget_all(struct gw_keys *k)
{
    for (int i = 0; i < KEY_BUCKETS; i++)
        while (k->buckets[i] != NULL) {
            struct key *next = k->buckets[i]->next;
            free(k->buckets[i]);
            k->buckets[i] = next;
        }
    k->count = 0;
}

void gw_keys_stop(struct gateway *gw)
{
    if (gw->keys != NULL)
        forget_all(gw->keys);
    free(gw->keys);
    gw->keys = NULL;
}

void gw_keys_forget(struct gateway *gw, const struct base_uuid *node)
{
    struct key **at = slot_of(gw->keys, node);
    struct key *k = *at;
    if (k == NULL)
        return;
    *at = k->next;
    free(k);
    gw->keys->count--;
}

bool gw_keys_seen_due(struct gateway *gw, const struct base_uuid *node)
{
    struct key *k = *slot_of(gw->keys, node);
    int64_t now = base_clock_monotonic_ms();
    if (k == NULL || (k->seen_ms != 0 && now - k->seen_ms < GW_SEEN_EVERY_MS))
        return false;
    k->seen_ms = now;
    return true;
}

static void unauthorized(struct gateway *gw, struct net_http_exchange *x, const char *detail)
{
    gw->counts.refused++;
    net_http_reply_header(x, "WWW-Authenticate", "Bearer");
    net_http_problem(x, 401, "unauthorized", detail,
                     "Nothing was changed. Check that this node is still enrolled here.");
}

static const char *bearer(const struct net_http_exchange *x)
{
    const char *h = net_http_header(x, "Authorization");
    return h != NULL && strncmp(h, "Bearer ", 7) == 0 ? h + 7 : NULL;
}

static void ask_database(struct gateway *gw, struct net_http_exchange *x,
                         const struct base_uuid *node, gw_who_cb next);

static void check_token(struct gateway *gw, struct net_http_exchange *x, const struct key *key,
                        gw_who_cb next)
{
    struct net_token token;
    struct base_err err = {0};
    const char *text = bearer(x);
    int rc = net_token_check(&token, text, strlen(text), key->public_key, gw->audience,
                             base_clock_wall_ms() / 1000, &err);
    if (rc == 0 && !base_uuid_equal(&token.node_id, &key->node))
        rc = base_fail(&err, BASE_EAUTH, "the token names another node");
    if (rc == 0 && !base_uuid_equal(&token.tenant_id, &key->tenant))
        rc = base_fail(&err, BASE_EAUTH, "the token names another tenant");
    if (rc == BASE_ENOMEM) {
        gw_reply_no_conn(gw, x, rc);
        return;
    }
    if (rc != 0 && base_clock_monotonic_ms() - key->since_ms >= GW_KEY_AGAIN_MS) {
        /* It may have another key by now: asked again, but no more often for all the strangers. */
        struct base_uuid node = key->node;
        ask_database(gw, x, &node, next);
        return;
    }
    if (rc != 0) {
        unauthorized(gw, x, err.text);
        return;
    }
    struct gw_who who = {.node_id = key->node, .tenant_id = key->tenant};
    static const char digit[] = "0123456789abcdef";
    base_uuid_format(&who.node_id, who.node);
    base_uuid_format(&who.tenant_id, who.tenant);
    memcpy(who.public_key, key->public_key, sizeof who.public_key);
    memcpy(who.former_key, key->former_key, sizeof who.former_key);
    who.former_upto = key->former_upto;
    memcpy(who.ticket, "\\x", 2);
    for (int i = 0; i < NET_TICKET_BYTES; i++) {
        who.ticket[2 + 2 * i] = digit[token.ticket[i] >> 4];
        who.ticket[3 + 2 * i] = digit[token.ticket[i] & 15];
    }
    who.ticket[2 + 2 * NET_TICKET_BYTES] = '\0';
    next(gw, x, &who);
    seal_wipe(&who, sizeof who);
    seal_wipe(&token, sizeof token);
}

static struct key *remember(struct gw_keys *keys, const struct base_uuid *node,
                            const struct gw_flight *f)
{
    struct base_uuid tenant;
    uint8_t public_key[32];
    const char *t = gw_flight_value(f, 0, 0);
    const char *pk = gw_flight_value(f, 0, 1);
    const char *former = gw_flight_value(f, 0, 3);
    const char *upto = gw_flight_value(f, 0, 4);
    if (t == NULL || pk == NULL || !base_uuid_parse(&tenant, t, strlen(t)) ||
        strlen(pk) != 2 + 64 || !seal_hex_decode(public_key, 32, pk + 2, 64))
        return NULL;
    if (keys->count >= GW_KEYS_MAX)
        forget_all(keys);
    struct key **at = slot_of(keys, node);
    if (*at == NULL) {
        *at = calloc(1, sizeof **at);
        if (*at == NULL)
            return NULL;
        keys->count++;
    }
    (*at)->node = *node;
    (*at)->tenant = tenant;
    memcpy((*at)->public_key, public_key, sizeof public_key);
    (*at)->former_upto = 0;
    if (former != NULL && upto != NULL && seal_hex_decode((*at)->former_key, 32, former, 64))
        (*at)->former_upto = strtoll(upto, NULL, 10);
    (*at)->since_ms = base_clock_monotonic_ms();
    return *at;
}

static void on_key(void *user, struct gw_flight *f)
{
    struct asking *a = user;
    struct gateway *gw = a->gw;
    struct net_http_exchange *x = a->x;
    gw_pg_give(a->conn);
    if (f->rc != 0) {
        gw_reply_failed(gw, x, f, "node_key");
    } else {
        struct key *key = remember(gw->keys, &a->node, f);
        if (key == NULL)
            unauthorized(gw, x, NET_TOKEN_STRANGER);
        else
            check_token(gw, x, key, a->next);
    }
    gw_flight_release(&a->flight);
    free(a);
}

static void on_conn(void *user, int rc, struct gw_pg_conn *conn)
{
    struct asking *a = user;
    if (rc != 0) {
        gw_reply_no_conn(a->gw, a->x, rc);
        free(a);
        return;
    }
    struct gw_param p = gw_text(a->node_text);
    a->conn = conn;
    (void)gw_flight_add(&a->flight,
                        "SELECT tenant_id, '\\x' || encode(public_key, 'hex'), status,"
                        " encode(former_key, 'hex'), former_upto FROM everward.node_key($1::uuid)",
                        1, &p);
    gw_pg_fly(conn, &a->flight, a, on_key);
}

static void ask_database(struct gateway *gw, struct net_http_exchange *x,
                         const struct base_uuid *node, gw_who_cb next)
{
    struct asking *a = calloc(1, sizeof *a);
    if (a == NULL) {
        gw_reply_no_conn(gw, x, BASE_ENOMEM);
        return;
    }
    *a = (struct asking){.gw = gw, .x = x, .next = next, .node = *node};
    base_uuid_format(&a->node, a->node_text);
    gw_flight_init(&a->flight);
    gw_pg_take(gw->pool, a, on_conn);
}

void gw_authenticate(struct gateway *gw, struct net_http_exchange *x, gw_who_cb next)
{
    struct net_token token;
    struct base_err err = {0};
    const char *text = bearer(x);
    if (text == NULL) {
        unauthorized(gw, x, "this request needs a bearer token");
        return;
    }
    int rc = net_token_peek(&token, text, strlen(text), &err);
    if (rc == BASE_ENOMEM) {
        gw_reply_no_conn(gw, x, rc);
        return;
    }
    if (rc != 0) {
        unauthorized(gw, x, err.text);
        return;
    }
    struct key *key = *slot_of(gw->keys, &token.node_id);
    if (key != NULL && base_clock_monotonic_ms() - key->since_ms < GW_KEY_LIFE_MS) {
        check_token(gw, x, key, next);
        return;
    }
    ask_database(gw, x, &token.node_id, next);
}

#define ENTER_SQL(by)                                                                              \
    "SELECT e.tenant_id, e.site_id, e.incarnation,"                                                \
    " set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO', true),"                  \
    " set_config('extra_float_digits', '1', true),"                                                \
    " set_config('bytea_output', 'hex', true),"                                                    \
    " set_config('statement_timeout', '60000', true),"                                             \
    " set_config('lock_timeout', '15000', true),"                                                  \
    " set_config('idle_in_transaction_session_timeout', '60000', true)"                            \
    " FROM everward." by "($1::uuid, $2::bytea) e"

void gw_add_enter(struct gw_flight *f, const struct gw_who *who)
{
    const struct gw_param p[] = {gw_text(who->node), gw_text(who->ticket)};
    (void)gw_flight_add(f, "BEGIN ISOLATION LEVEL READ COMMITTED", 0, NULL);
    (void)gw_flight_add(f, who->late ? ENTER_SQL("enter_late") : ENTER_SQL("enter_node"), 2, p);
}

void gw_reply_no_conn(struct gateway *gw, struct net_http_exchange *x, int rc)
{
    gw->counts.refused++;
    net_http_retry_after(x, GW_RETRY_AFTER_S);
    net_http_problem(x, 503, rc == BASE_EBUSY ? "busy" : "database_away",
                     rc == BASE_EBUSY ? "The gateway is too busy." : "The database is away.",
                     "Nothing was done. Try again later.");
}

void gw_reply_failed(struct gateway *gw, struct net_http_exchange *x, const struct gw_flight *f,
                     const char *what)
{
    gw->counts.refused++;
    if (f->failed == GW_ENTER_QUERY && strcmp(f->sqlstate, "EW401") == 0) {
        unauthorized(gw, x, "the registration does not know this node with this ticket");
        return;
    }
    if (f->failed == GW_ENTER_QUERY && strcmp(f->sqlstate, "EW403") == 0) {
        net_http_problem(x, 403, "revoked", "This node is no longer enrolled.",
                         "Its data stay where they are. Ask whoever runs the centre.");
        return;
    }
    if (f->rc == BASE_EUNREACHABLE || f->rc == BASE_ENOMEM || gw_sqlstate_passing(f->sqlstate)) {
        gw_reply_no_conn(gw, x, f->rc);
        return;
    }
    base_log(BASE_LOG_ERROR, "request_failed", "%s: sqlstate %s in query %d, request %s", what,
             f->sqlstate, f->failed, net_http_request_id(x));
    if (strncmp(f->sqlstate, "42", 2) == 0) { /* perhaps the catalog is older than the tables */
        gw_catalog_drop(gw->catalog);
        gw->catalog = NULL;
    }
    net_http_problem(x, 500, "internal", "The centre could not answer this request.",
                     "Give the request id to whoever runs the centre.");
}
