#include "sync/gateway/fleet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/base/log.h"
#include "sync/net/json.h"
#include "sync/seal/seal.h"

enum { BODY_BYTES_MAX = 1024, RESULT_QUERY = 2 };

static const char cookie_name[] = "__Host-everward-fleet=";

/* A link or a session, as the database takes it. */
struct key {
    char tenant[BASE_UUID_CHARS + 1];
    char secret[2 + 2 * GW_FLEET_SECRET_BYTES + 1]; /* bytea in hex */
};

struct visit {
    struct gateway *gw;
    struct net_http_exchange *x;
    struct gw_pg_conn *conn;
    struct gw_flight flight;
    struct key key;                     /* what was brought */
    char fresh[GW_FLEET_KEY_CHARS + 1]; /* opening: the session to be */
    struct key fresh_key;
    void (*fly)(struct visit *v);
};

static void end(struct visit *v)
{
    if (v->conn != NULL)
        gw_pg_give(v->conn);
    gw_flight_release(&v->flight);
    seal_wipe(v, sizeof *v);
    free(v);
}

static void unauthorized(struct gateway *gw, struct net_http_exchange *x, const char *detail)
{
    gw->counts.refused++;
    net_http_problem(x, 401, "unauthorized", detail,
                     "Ask an operator for a link: everward-gateway fleet open --tenant T.");
}

static void key_of(struct key *k, const uint8_t bytes[GW_FLEET_KEY_BYTES])
{
    static const char digit[] = "0123456789abcdef";
    struct base_uuid tenant;
    memcpy(tenant.bytes, bytes, sizeof tenant.bytes);
    base_uuid_format(&tenant, k->tenant);
    memcpy(k->secret, "\\x", 2);
    for (size_t i = 0; i < GW_FLEET_SECRET_BYTES; i++) {
        k->secret[2 + 2 * i] = digit[bytes[GW_FLEET_TENANT_BYTES + i] >> 4];
        k->secret[3 + 2 * i] = digit[bytes[GW_FLEET_TENANT_BYTES + i] & 15];
    }
    k->secret[2 + 2 * GW_FLEET_SECRET_BYTES] = '\0';
}

static bool read_key(struct key *k, const char *text, size_t text_len)
{
    uint8_t bytes[GW_FLEET_KEY_BYTES];
    size_t len = 0;
    bool good = text != NULL && text_len == GW_FLEET_KEY_CHARS &&
                seal_base64url_decode(bytes, sizeof bytes, &len, text, text_len) &&
                len == sizeof bytes;
    if (good)
        key_of(k, bytes);
    seal_wipe(bytes, sizeof bytes);
    return good;
}

static bool read_cookie(struct key *k, const struct net_http_exchange *x)
{
    const char *s = net_http_header(x, "Cookie");
    while (s != NULL && *s != '\0') {
        s += strspn(s, " ;");
        size_t len = strcspn(s, ";");
        if (strncmp(s, cookie_name, sizeof cookie_name - 1) == 0)
            return read_key(k, s + sizeof cookie_name - 1, len - (sizeof cookie_name - 1));
        s += len;
    }
    return false;
}

/* SameSite=Strict already says so; a browser that tells where a request comes from is believed. */
static bool same_origin(const struct net_http_exchange *x)
{
    const char *site = net_http_header(x, "Sec-Fetch-Site");
    return site == NULL || strcmp(site, "same-origin") == 0;
}

static struct visit *new_visit(struct gateway *gw, struct net_http_exchange *x)
{
    struct visit *v = gw->stopping ? NULL : calloc(1, sizeof *v);
    if (v == NULL) {
        gw_reply_no_conn(gw, x, BASE_EBUSY);
        return NULL;
    }
    v->gw = gw;
    v->x = x;
    gw_flight_init(&v->flight);
    return v;
}

static void on_conn(void *user, int rc, struct gw_pg_conn *conn)
{
    struct visit *v = user;
    if (rc != 0) {
        gw_reply_no_conn(v->gw, v->x, rc);
        end(v);
        return;
    }
    v->conn = conn;
    v->fly(v);
}

static void ask_database(struct visit *v, void (*fly)(struct visit *v))
{
    v->fly = fly;
    gw_pg_take(v->gw->pool, v, on_conn);
}

static void failed(struct visit *v, const char *detail)
{
    if (v->flight.failed == GW_ENTER_QUERY && strcmp(v->flight.sqlstate, "EW401") == 0)
        unauthorized(v->gw, v->x, detail);
    else
        gw_reply_failed(v->gw, v->x, &v->flight, "fleet");
}

/* The first two queries of a transaction for the session that was brought. */
static void add_enter(struct visit *v)
{
    const struct gw_param p[] = {gw_text(v->key.tenant), gw_text(v->key.secret)};
    (void)gw_flight_add(&v->flight, "BEGIN ISOLATION LEVEL READ COMMITTED", 0, NULL);
    (void)gw_flight_add(&v->flight,
                        "SELECT everward.enter_fleet($1::uuid, $2::bytea),"
                        " set_config('TimeZone', 'UTC', true),"
                        " set_config('statement_timeout', '15000', true)",
                        2, p);
}

/* ---- a link becomes a session -------------------------------------------------------------- */

static void set_cookie(struct net_http_exchange *x, const char *value, int seconds)
{
    char cookie[192];
    (void)snprintf(cookie, sizeof cookie,
                   "%s%s; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=%d", cookie_name,
                   value, seconds);
    net_http_reply_header(x, "Set-Cookie", cookie);
    seal_wipe(cookie, sizeof cookie);
}

static void on_opened(void *user, struct gw_flight *f)
{
    struct visit *v = user;
    if (f->rc != 0) {
        failed(v, "This link is unknown, has been used, or is older than ten minutes.");
    } else {
        base_log(BASE_LOG_INFO, "fleet_opened", "tenant %s, from %s", v->key.tenant,
                 net_http_peer(v->x));
        set_cookie(v->x, v->fresh, GW_FLEET_SESSION_S);
        net_http_reply(v->x, 204, "application/json", "", 0);
    }
    end(v);
}

static void fly_open(struct visit *v)
{
    const struct gw_param p[] = {gw_text(v->key.tenant), gw_text(v->key.secret),
                                 gw_text(v->fresh_key.secret)};
    (void)gw_flight_add(&v->flight, "BEGIN ISOLATION LEVEL READ COMMITTED", 0, NULL);
    (void)gw_flight_add(&v->flight, "SELECT everward.open_fleet($1::uuid, $2::bytea, $3::bytea)", 3,
                        p);
    (void)gw_flight_add(&v->flight, "COMMIT", 0, NULL);
    gw_pg_fly(v->conn, &v->flight, v, on_opened);
}

/* The session's tenant is the link's. */
static int make_session(struct visit *v)
{
    uint8_t bytes[GW_FLEET_KEY_BYTES];
    struct base_uuid tenant;
    struct base_buf text;
    (void)base_uuid_parse(&tenant, v->key.tenant, strlen(v->key.tenant));
    memcpy(bytes, tenant.bytes, GW_FLEET_TENANT_BYTES);
    seal_random(bytes + GW_FLEET_TENANT_BYTES, GW_FLEET_SECRET_BYTES);
    key_of(&v->fresh_key, bytes);
    base_buf_init(&text, GW_FLEET_KEY_CHARS + 1);
    seal_base64url(&text, bytes, sizeof bytes);
    int rc = base_buf_check(&text);
    if (rc == 0)
        (void)snprintf(v->fresh, sizeof v->fresh, "%.*s", (int)text.len, text.data);
    if (text.data != NULL)
        seal_wipe(text.data, text.len);
    base_buf_release(&text);
    seal_wipe(bytes, sizeof bytes);
    return rc;
}

static void on_open(struct net_http_exchange *x, void *user)
{
    size_t len = 0;
    struct base_err err = {0};
    const char *body = net_http_body(x, &len);
    const char *link = NULL;
    cJSON *json = NULL;
    struct key key;
    int rc = net_json_parse(&json, body == NULL ? "" : body, len, &err);
    if (rc == 0)
        rc = net_json_str(json, "link", BODY_BYTES_MAX, &link, &err);
    if (rc != 0 || !same_origin(x)) {
        net_http_problem(x, 400, "bad_body", rc != 0 ? err.text : "asked for by another page",
                         "Send {\"link\": \"…\"}, what stands behind # in the operator's link.");
    } else if (!read_key(&key, link, strlen(link))) {
        unauthorized(user, x, "This is not a link of the fleet page.");
    } else {
        struct visit *v = new_visit(user, x);
        if (v != NULL) {
            v->key = key;
            if (make_session(v) == 0) {
                ask_database(v, fly_open);
            } else {
                gw_reply_no_conn(v->gw, x, BASE_ENOMEM);
                end(v);
            }
        }
    }
    cJSON_Delete(json);
}

/* ---- the nodes, and the end ---------------------------------------------------------------- */

static const char no_session[] = "No session, or it has ended.";

static void on_nodes_read(void *user, struct gw_flight *f)
{
    struct visit *v = user;
    const char *page = f->rc == 0 ? gw_flight_value(f, RESULT_QUERY, 0) : NULL;
    if (f->rc != 0) {
        failed(v, no_session);
    } else if (page == NULL) {
        unauthorized(v->gw, v->x, no_session);
    } else {
        net_http_reply_header(v->x, "Cache-Control", "no-store");
        net_http_reply(v->x, 200, "application/json", page, strlen(page));
    }
    end(v);
}

static void fly_nodes(struct visit *v)
{
    add_enter(v);
    (void)gw_flight_add(&v->flight, "SELECT everward.fleet_page()::text", 0, NULL);
    (void)gw_flight_add(&v->flight, "COMMIT", 0, NULL);
    gw_pg_fly(v->conn, &v->flight, v, on_nodes_read);
}

static void on_nodes(struct net_http_exchange *x, void *user)
{
    struct key key;
    if (net_http_header(x, "Authorization") != NULL) {
        gw_fleet_by_token(user, x);
    } else if (!read_cookie(&key, x)) {
        unauthorized(user, x, no_session);
    } else {
        struct visit *v = new_visit(user, x);
        if (v != NULL) {
            v->key = key;
            ask_database(v, fly_nodes);
        }
    }
}

static void on_closed(void *user, struct gw_flight *f)
{
    struct visit *v = user;
    if (f->rc != 0) {
        failed(v, no_session);
    } else {
        set_cookie(v->x, "", 0);
        net_http_reply(v->x, 204, "application/json", "", 0);
    }
    end(v);
}

static void fly_close(struct visit *v)
{
    const struct gw_param p[] = {gw_text(v->key.secret)};
    add_enter(v);
    (void)gw_flight_add(&v->flight, "SELECT everward.close_fleet($1::bytea)", 1, p);
    (void)gw_flight_add(&v->flight, "COMMIT", 0, NULL);
    gw_pg_fly(v->conn, &v->flight, v, on_closed);
}

static void on_close(struct net_http_exchange *x, void *user)
{
    struct key key;
    if (!same_origin(x) || !read_cookie(&key, x)) {
        unauthorized(user, x, no_session);
        return;
    }
    struct visit *v = new_visit(user, x);
    if (v != NULL) {
        v->key = key;
        ask_database(v, fly_close);
    }
}

int gw_routes_fleet(struct gateway *gw, struct base_err *err)
{
    static const struct net_http_route routes[] = {
        {"GET", "/fleet/v1/nodes", 0, true, on_nodes},
        {"POST", "/fleet/v1/session", BODY_BYTES_MAX, true, on_open},
        {"DELETE", "/fleet/v1/session", 0, true, on_close}};
    int rc = gw_routes_fleet_web(gw, err);
    for (size_t i = 0; i < sizeof routes / sizeof routes[0] && rc == 0; i++)
        rc = net_http_route_add(gw->http, &routes[i], err);
    return rc;
}
