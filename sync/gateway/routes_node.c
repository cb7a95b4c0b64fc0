/*
 * enrol, ca, hello, catalog: what a node asks before and beside its stream.
 */
#include <stdlib.h>
#include <string.h>

#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/gateway/gateway.h"
#include "sync/net/json.h"
#include "sync/seal/seal.h"

enum {
    INVITE_BYTES_MAX = 64,
    NAME_BYTES_MAX = 128,
    VERSION_BYTES_MAX = 64,
    REPLY_BYTES_MAX = 64 * 1024 * 1024
};

struct ask {
    struct gateway *gw;
    struct net_http_exchange *x;
    struct gw_who who;
    struct gw_pg_conn *conn;
    struct gw_flight flight;
    void (*fly)(struct ask *a);
    /* enrol */
    char token[2 + 2 * INVITE_BYTES_MAX + 1], public_key[2 + 64 + 1], ticket_hash[2 + 64 + 1];
    char name[NAME_BYTES_MAX + 1];
    /* hello */
    int64_t inc, acked_seq, cursor;
    char version[VERSION_BYTES_MAX + 1];
};

static void free_ask(struct ask *a)
{
    if (a->conn != NULL)
        gw_pg_give(a->conn);
    gw_flight_release(&a->flight);
    seal_wipe(a, sizeof *a);
    free(a);
}

static struct ask *new_ask(struct gateway *gw, struct net_http_exchange *x)
{
    struct ask *a = calloc(1, sizeof *a);
    if (a == NULL) {
        gw_reply_no_conn(gw, x, BASE_EBUSY);
        return NULL;
    }
    a->gw = gw;
    a->x = x;
    gw_flight_init(&a->flight);
    return a;
}

static void on_conn(void *user, int rc, struct gw_pg_conn *conn)
{
    struct ask *a = user;
    if (rc != 0) {
        gw_reply_no_conn(a->gw, a->x, rc);
        free_ask(a);
        return;
    }
    a->conn = conn;
    a->fly(a);
}

static void ask_database(struct ask *a, void (*fly)(struct ask *a))
{
    a->fly = fly;
    gw_pg_take(a->gw->pool, a, on_conn);
}

static void reply_json(struct net_http_exchange *x, struct base_buf *b)
{
    size_t len = b->len;
    char *text = base_buf_take(b);
    if (text == NULL)
        net_http_problem(x, 500, "internal", "The answer could not be made.", NULL);
    else
        net_http_reply_take(x, 200, "application/json", text, len);
    base_buf_release(b);
}

static void bad_body(struct net_http_exchange *x, cJSON *json, const struct base_err *err)
{
    cJSON_Delete(json);
    net_http_problem(x, 400, "bad_body", err->text, "See docs/PROTOCOL.md.");
}

/* The body's format must be this one; anything else says so by its own word. */
static int read_body(struct net_http_exchange *x, const char *format, cJSON **out,
                     struct base_err *err)
{
    size_t len = 0;
    const char *body = net_http_body(x, &len);
    const char *has = NULL;
    cJSON *json = NULL;
    int rc = net_json_parse(&json, body == NULL ? "" : body, len, err);
    if (rc == 0)
        rc = net_json_str(json, "format", 64, &has, err);
    if (rc == 0 && strcmp(has, format) != 0)
        rc = base_fail(err, BASE_EUNSUPPORTED, "this gateway reads %s", format);
    if (rc == 0) {
        *out = json;
        return 0;
    }
    cJSON_Delete(json);
    net_http_problem(x, 400, rc == BASE_EUNSUPPORTED ? "unsupported_format" : "bad_body", err->text,
                     "See docs/PROTOCOL.md.");
    return rc;
}

static void hex_text(char *out, const uint8_t *bytes, size_t len)
{
    static const char digit[] = "0123456789abcdef";
    memcpy(out, "\\x", 2);
    for (size_t i = 0; i < len; i++) {
        out[2 + 2 * i] = digit[bytes[i] >> 4];
        out[3 + 2 * i] = digit[bytes[i] & 15];
    }
    out[2 + 2 * len] = '\0';
}

/* ---- enrol --------------------------------------------------------------------------------- */

static void member(struct base_buf *b, const char *name, const char *value)
{
    base_buf_printf(b, "\"%s\":", name);
    base_buf_json_str(b, value);
    base_buf_char(b, ',');
}

static void enrol_refused(struct ask *a, const struct gw_flight *f)
{
    if (strcmp(f->sqlstate, "EW401") == 0)
        net_http_problem(a->x, 401, "invite_unknown", "No such invite.",
                         "Ask for a new one: everward-gateway node invite.");
    else if (strcmp(f->sqlstate, "EW410") == 0)
        net_http_problem(a->x, 410, "invite_expired", "This invite has expired.",
                         "Ask for a new one: everward-gateway node invite.");
    else if (strcmp(f->sqlstate, "EW409") == 0)
        net_http_problem(a->x, 409, "invite_used", "This invite has been used.",
                         "Each node needs an invite of its own.");
    else if (strcmp(f->sqlstate, "EW403") == 0)
        net_http_problem(a->x, 403, "invite_keeps_outbox",
                         "This invite is for a node that comes back with what it holds.",
                         "On that node: everward setup INVITE --keep-outbox.");
    else
        gw_reply_failed(a->gw, a->x, f, "enrol");
}

static void on_enrolled(void *user, struct gw_flight *f)
{
    struct ask *a = user;
    if (f->rc != 0) {
        enrol_refused(a, f);
        free_ask(a);
        return;
    }
    struct base_buf b;
    const char *inc = gw_flight_value(f, 0, 5);
    base_buf_init(&b, GW_SMALL_BODY_BYTES_MAX);
    base_buf_char(&b, '{');
    member(&b, "tenant", gw_flight_value(f, 0, 0));
    member(&b, "tenant_name", gw_flight_value(f, 0, 3));
    member(&b, "site", gw_flight_value(f, 0, 1));
    member(&b, "site_name", gw_flight_value(f, 0, 4));
    member(&b, "node", gw_flight_value(f, 0, 2));
    base_buf_printf(&b, "\"incarnation\":%s,", inc == NULL ? "1" : inc);
    member(&b, "timeline", gw_flight_value(f, 0, 6));
    base_buf_str(&b, "\"audience\":");
    base_buf_json_str(&b, a->gw->audience);
    base_buf_char(&b, '}');
    const char *node = gw_flight_value(f, 0, 2);
    base_log(BASE_LOG_INFO, "node_enrolled", "node %s", node == NULL ? "?" : node);
    reply_json(a->x, &b);
    free_ask(a);
}

static void fly_enrol(struct ask *a)
{
    const struct gw_param p[] = {gw_text(a->token), gw_text(a->public_key), gw_text(a->name),
                                 gw_text(a->ticket_hash)};
    (void)gw_flight_add(&a->flight,
                        "SELECT e.tenant_id, e.site_id, e.node_id, e.tenant_name, e.site_name,"
                        " e.incarnation, everward.timeline()"
                        " FROM everward.enrol($1::bytea, $2::bytea, $3, $4::bytea) e",
                        4, p);
    gw_pg_fly(a->conn, &a->flight, a, on_enrolled);
}

static bool read_enrol(struct ask *a, const cJSON *json, struct base_err *err)
{
    const char *token = NULL;
    const char *key = NULL;
    const char *name = NULL;
    const char *hash = NULL;
    uint8_t bytes[INVITE_BYTES_MAX];
    size_t len = 0;
    if (net_json_str(json, "token", 128, &token, err) != 0 ||
        net_json_str(json, "public_key", 64, &key, err) != 0 ||
        net_json_str(json, "name", NAME_BYTES_MAX, &name, err) != 0 ||
        net_json_str(json, "ticket_hash", 64, &hash, err) != 0)
        return false;
    if (!seal_base64url_decode(bytes, sizeof bytes, &len, token, strlen(token)) || len == 0)
        return base_fail(err, BASE_EINVALID, "token must be base64url") == 0;
    hex_text(a->token, bytes, len);
    if (!seal_base64url_decode(bytes, 32, &len, key, strlen(key)) || len != 32)
        return base_fail(err, BASE_EINVALID, "public_key must be 32 bytes in base64url") == 0;
    hex_text(a->public_key, bytes, 32);
    if (!seal_hex_decode(bytes, 32, hash, strlen(hash)))
        return base_fail(err, BASE_EINVALID, "ticket_hash must be 64 hex digits") == 0;
    hex_text(a->ticket_hash, bytes, 32);
    (void)snprintf(a->name, sizeof a->name, "%s", name);
    return true;
}

static void on_enrol(struct net_http_exchange *x, void *user)
{
    struct gateway *gw = user;
    struct base_err err = {0};
    cJSON *json = NULL;
    if (read_body(x, "everward-enrol/1", &json, &err) != 0)
        return;
    struct ask *a = new_ask(gw, x);
    if (a == NULL) {
        cJSON_Delete(json);
        return;
    }
    if (!read_enrol(a, json, &err)) {
        bad_body(x, json, &err);
        free_ask(a);
        return;
    }
    cJSON_Delete(json);
    ask_database(a, fly_enrol);
}

static void on_ca(struct net_http_exchange *x, void *user)
{
    struct gateway *gw = user;
    if (gw->ca_pem == NULL)
        net_http_problem(x, 404, "no_ca", "This gateway gives out no CA certificate.",
                         "Set tls.ca in the gateway's configuration.");
    else
        net_http_reply(x, 200, "application/x-pem-file", gw->ca_pem, strlen(gw->ca_pem));
}

/* ---- hello --------------------------------------------------------------------------------- */

enum { HELLO_SEEN = 2, HELLO_SEQUENCE, HELLO_STATE, HELLO_HEAD, HELLO_RECEIPTS };

static void write_receipt(struct base_buf *b, const struct ask *a)
{
    const char *seq = gw_flight_value(&a->flight, HELLO_HEAD, 0);
    const char *chain = gw_flight_value(&a->flight, HELLO_HEAD, 1);
    uint8_t start[SEAL_HASH_BYTES];
    base_buf_printf(b, "\"receipt\":{\"inc\":%lld,\"last_seq\":%s,\"chain\":\"", (long long)a->inc,
                    seq == NULL ? "0" : seq);
    if (chain == NULL) {
        seal_chain_start(start, &a->who.node_id, a->inc);
        base_buf_hex(b, start, sizeof start);
    } else {
        base_buf_str(b, chain);
    }
    base_buf_str(b, "\"},\"outcomes\":[");
}

static void write_outcomes(struct base_buf *b, const struct gw_flight *f)
{
    bool first = true;
    for (int i = 0; i < gw_flight_rows(f, HELLO_RECEIPTS); i++) {
        const char *json = PQgetvalue(f->results[HELLO_RECEIPTS], i, 0);
        size_t len = strlen(json);
        if (len <= 2)
            continue;
        if (!first)
            base_buf_char(b, ',');
        first = false;
        base_buf_add(b, json + 1, len - 2);
    }
    base_buf_str(b, "]}");
}

static void on_hello_done(void *user, struct gw_flight *f)
{
    struct ask *a = user;
    if (f->rc != 0) {
        gw_reply_failed(a->gw, a->x, f, "hello");
        free_ask(a);
        return;
    }
    const char *inc = gw_flight_value(f, GW_ENTER_QUERY, GW_ENTER_INCARNATION);
    if (inc == NULL || strtoll(inc, NULL, 10) != a->inc) {
        net_http_problem(a->x, 409, "wrong_incarnation",
                         "The node's present incarnation at the centre is another one.",
                         "This machine was cloned, or put back from a backup: everward rejoin.");
        free_ask(a);
        return;
    }
    struct base_buf b;
    char now[BASE_TIME_CHARS + 1];
    const char *timeline = gw_flight_value(f, HELLO_STATE, 2);
    base_time_format(base_clock_wall_ms(), now);
    base_buf_init(&b, REPLY_BYTES_MAX);
    base_buf_printf(&b, "{\"tenant\":\"%s\",\"node\":\"%s\",\"timeline\":\"%s\"", a->who.tenant,
                    a->who.node, timeline == NULL ? "" : timeline);
    base_buf_printf(&b, ",\"head\":%s,\"tail\":%s,\"catalog\":%s,\"now\":\"%s\",",
                    gw_flight_value(f, HELLO_STATE, 0), gw_flight_value(f, HELLO_STATE, 1),
                    gw_flight_value(f, HELLO_STATE, 3), now);
    write_receipt(&b, a);
    write_outcomes(&b, f);
    reply_json(a->x, &b);
    free_ask(a);
}

static void fly_hello(struct ask *a)
{
    char inc[24];
    char acked[24];
    char cursor[24];
    (void)snprintf(inc, sizeof inc, "%lld", (long long)a->inc);
    (void)snprintf(acked, sizeof acked, "%lld", (long long)a->acked_seq);
    (void)snprintf(cursor, sizeof cursor, "%lld", (long long)a->cursor);
    const struct gw_param seen[] = {gw_text(cursor), gw_text(a->version)};
    const struct gw_param head[] = {gw_text(a->who.node), gw_text(inc), gw_text(acked)};
    struct gw_flight *f = &a->flight;
    gw_add_enter(f, &a->who);
    (void)gw_flight_add(f, "SELECT everward.node_seen($1::bigint, $2)", 2, seen);
    (void)gw_flight_add(f, "SELECT everward.sequence_feed()", 0, NULL);
    (void)gw_flight_add(f,
                        "SELECT coalesce(max(head), 0), coalesce(max(tail), 0),"
                        " everward.timeline(), (SELECT version FROM everward.catalog_state)"
                        " FROM everward.feed_head WHERE tenant_id = (SELECT everward.tenant())",
                        0, NULL);
    (void)gw_flight_add(f,
                        "SELECT last_seq, encode(chain, 'hex') FROM everward.node_head"
                        " WHERE tenant_id = (SELECT everward.tenant()) AND node_id = $1::uuid"
                        " AND incarnation = $2::bigint",
                        2, head);
    (void)gw_flight_add(f,
                        "SELECT outcomes FROM everward.receipt"
                        " WHERE tenant_id = (SELECT everward.tenant()) AND node_id = $1::uuid"
                        " AND incarnation = $2::bigint AND last_seq > $3::bigint"
                        " ORDER BY last_seq",
                        3, head);
    (void)gw_flight_add(f, "COMMIT", 0, NULL);
    gw_pg_fly(a->conn, f, a, on_hello_done);
}

static void on_hello_who(struct gateway *gw, struct net_http_exchange *x, const struct gw_who *who)
{
    struct base_err err = {0};
    cJSON *json = NULL;
    const char *version = NULL;
    if (read_body(x, "everward-hello/1", &json, &err) != 0)
        return;
    struct ask *a = new_ask(gw, x);
    if (a == NULL) {
        cJSON_Delete(json);
        return;
    }
    a->who = *who;
    if (net_json_i64(json, "inc", 1, INT64_MAX, &a->inc, &err) != 0 ||
        net_json_i64(json, "acked_seq", 0, INT64_MAX, &a->acked_seq, &err) != 0 ||
        net_json_i64(json, "cursor", 0, INT64_MAX, &a->cursor, &err) != 0 ||
        net_json_str(json, "version", VERSION_BYTES_MAX, &version, &err) != 0) {
        bad_body(x, json, &err);
        free_ask(a);
        return;
    }
    (void)snprintf(a->version, sizeof a->version, "%s", version);
    cJSON_Delete(json);
    ask_database(a, fly_hello);
}

static void on_hello(struct net_http_exchange *x, void *user)
{
    gw_authenticate(user, x, on_hello_who);
}

/* ---- catalog ------------------------------------------------------------------------------- */

static void on_catalog(void *user, int rc, struct gw_catalog *c)
{
    struct ask *a = user;
    if (rc != 0) {
        gw_reply_no_conn(a->gw, a->x, rc);
        free_ask(a);
        return;
    }
    char etag[32];
    const char *has = net_http_header(a->x, "If-None-Match");
    (void)snprintf(etag, sizeof etag, "\"%lld\"", (long long)c->version);
    net_http_reply_header(a->x, "ETag", etag);
    if (has != NULL && strcmp(has, etag) == 0)
        net_http_reply(a->x, 304, "application/json", "", 0);
    else
        net_http_reply(a->x, 200, "application/json", c->json, c->json_len);
    free_ask(a);
}

static void on_version(void *user, struct gw_flight *f)
{
    struct ask *a = user;
    if (f->rc != 0) {
        gw_reply_failed(a->gw, a->x, f, "catalog");
        free_ask(a);
        return;
    }
    const char *version = gw_flight_value(f, 2, 0);
    int64_t at_least = version == NULL ? 0 : strtoll(version, NULL, 10);
    gw_pg_give(a->conn);
    a->conn = NULL;
    gw_catalog_get(a->gw, at_least, a, on_catalog);
}

static void fly_version(struct ask *a)
{
    gw_add_enter(&a->flight, &a->who);
    (void)gw_flight_add(&a->flight, "SELECT version FROM everward.catalog_state", 0, NULL);
    (void)gw_flight_add(&a->flight, "COMMIT", 0, NULL);
    gw_pg_fly(a->conn, &a->flight, a, on_version);
}

static void on_catalog_who(struct gateway *gw, struct net_http_exchange *x,
                           const struct gw_who *who)
{
    struct ask *a = new_ask(gw, x);
    if (a == NULL)
        return;
    a->who = *who;
    ask_database(a, fly_version);
}

static void on_catalog_asked(struct net_http_exchange *x, void *user)
{
    gw_authenticate(user, x, on_catalog_who);
}

int gw_routes_node(struct gateway *gw, struct base_err *err)
{
    const struct net_http_route routes[] = {
        {"POST", "/sync/v1/enrol", GW_SMALL_BODY_BYTES_MAX, true, on_enrol},
        {"GET", "/sync/v1/ca", 0, true, on_ca},
        {"POST", "/sync/v1/hello", GW_SMALL_BODY_BYTES_MAX, true, on_hello},
        {"GET", "/sync/v1/catalog", 0, true, on_catalog_asked}};
    int rc = 0;
    for (size_t i = 0; i < sizeof routes / sizeof routes[0] && rc == 0; i++)
        rc = net_http_route_add(gw->http, &routes[i], err);
    return rc;
}
