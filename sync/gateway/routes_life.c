/*
 * A node that was put back from a backup: POST lineage tells how the centre knows its log, so that it finds where the two
 * part, and POST rejoin begins its next life (incarnation) there.
 */
#include <stdlib.h>
#include <string.h>

#include "sync/base/log.h"
#include "sync/gateway/gateway.h"
#include "sync/net/json.h"
#include "sync/seal/seal.h"

enum {
    LIFE_RECEIPTS_MAX = 32, /* in one answer: 5,000 changes each at most, 16 hex digits a change */
    LIFE_REPLY_BYTES_MAX = 64 * 1024 * 1024,
    LIFE_QUERY = 2,
    LINK_BYTES = 8
};

struct life {
    struct gateway *gw;
    struct net_http_exchange *x;
    struct gw_who who;
    struct gw_pg_conn *conn;
    struct gw_flight flight;
    void (*fly)(struct life *l);
    int64_t inc, after, next;
    char link[2 + 2 * LINK_BYTES + 1];
};

static void life_free(struct life *l)
{
    if (l->conn != NULL)
        gw_pg_give(l->conn);
    gw_flight_release(&l->flight);
    seal_wipe(l, sizeof *l);
    free(l);
}

static void reply(struct life *l, struct base_buf *b)
{
    size_t len = b->len;
    char *text = base_buf_take(b);
    if (text == NULL)
        net_http_problem(l->x, 500, "internal", "The answer could not be made.", NULL);
    else
        net_http_reply_take(l->x, 200, "application/json", text, len);
    base_buf_release(b);
}

/* ---- lineage ------------------------------------------------------------------------------- */

static void write_receipt(struct base_buf *b, const struct gw_flight *f, int i)
{
    const PGresult *r = f->results[LIFE_QUERY];
    const char *links = PQgetisnull(r, i, 3) ? NULL : PQgetvalue(r, i, 3);
    base_buf_printf(b, "%s{\"first\":%s,\"last\":%s,\"chain\":\"%s\",\"links\":", i == 0 ? "" : ",",
                    PQgetvalue(r, i, 0), PQgetvalue(r, i, 1), PQgetvalue(r, i, 2));
    base_buf_json_str(b, links);
    base_buf_str(b, ",\"outcomes\":");
    base_buf_str(b, PQgetvalue(r, i, 4));
    base_buf_char(b, '}');
}

static void on_lineage_read(void *user, struct gw_flight *f)
{
    struct life *l = user;
    if (f->rc != 0) {
        gw_reply_failed(l->gw, l->x, f, "lineage");
        life_free(l);
        return;
    }
    struct base_buf b;
    int n = gw_flight_rows(f, LIFE_QUERY);
    base_buf_init(&b, LIFE_REPLY_BYTES_MAX);
    base_buf_printf(&b, "{\"format\":\"everward-lineage/1\",\"incarnation\":%s,\"receipts\":[",
                    gw_flight_value(f, GW_ENTER_QUERY, GW_ENTER_INCARNATION));
    for (int i = 0; i < n; i++)
        write_receipt(&b, f, i);
    base_buf_printf(&b, "],\"more\":%s}", n == LIFE_RECEIPTS_MAX ? "true" : "false");
    reply(l, &b);
    life_free(l);
}

static void fly_lineage(struct life *l)
{
    char inc[24];
    char after[24];
    char most[24];
    (void)snprintf(inc, sizeof inc, "%lld", (long long)l->inc);
    (void)snprintf(after, sizeof after, "%lld", (long long)l->after);
    (void)snprintf(most, sizeof most, "%d", LIFE_RECEIPTS_MAX);
    const struct gw_param p[] = {gw_text(l->who.node), gw_text(inc), gw_text(after), gw_text(most)};
    gw_add_enter(&l->flight, &l->who);
    (void)gw_flight_add(&l->flight,
                        "SELECT first_seq, last_seq, encode(chain, 'hex'), encode(links, 'hex'),"
                        " outcomes FROM everward.receipt"
                        " WHERE tenant_id = (SELECT everward.tenant()) AND node_id = $1::uuid"
                        " AND incarnation = $2::bigint AND last_seq > $3::bigint"
                        " ORDER BY last_seq LIMIT $4::int",
                        4, p);
    (void)gw_flight_add(&l->flight, "COMMIT", 0, NULL);
    gw_pg_fly(l->conn, &l->flight, l, on_lineage_read);
}

/* ---- rejoin -------------------------------------------------------------------------------- */

static void on_rejoined(void *user, struct gw_flight *f)
{
    struct life *l = user;
    if (f->rc != 0 && f->failed == LIFE_QUERY && strcmp(f->sqlstate, "EW409") == 0) {
        net_http_problem(l->x, 409, "not_common",
                         "The centre does not hold this change of that life, or the life asked for "
                         "is not the next one.",
                         "Ask for the lineage again.");
        life_free(l);
        return;
    }
    if (f->rc != 0) {
        gw_reply_failed(l->gw, l->x, f, "rejoin");
        life_free(l);
        return;
    }
    struct base_buf b;
    base_buf_init(&b, GW_SMALL_BODY_BYTES_MAX);
    base_buf_printf(&b, "{\"format\":\"everward-rejoin/1\",\"inc\":%lld,\"after\":%lld}",
                    (long long)l->next, (long long)l->after);
    base_log(BASE_LOG_WARN, "node_rejoined", "node %s: incarnation %lld behind seq %lld of %lld",
             l->who.node, (long long)l->next, (long long)l->after, (long long)l->inc);
    reply(l, &b);
    life_free(l);
}

static void fly_rejoin(struct life *l)
{
    char numbers[3][24];
    char start[2 + 2 * SEAL_HASH_BYTES + 1] = "\\x";
    uint8_t chain[SEAL_HASH_BYTES];
    (void)snprintf(numbers[0], sizeof numbers[0], "%lld", (long long)l->next);
    (void)snprintf(numbers[1], sizeof numbers[1], "%lld", (long long)l->inc);
    (void)snprintf(numbers[2], sizeof numbers[2], "%lld", (long long)l->after);
    seal_chain_start(chain, &l->who.node_id, l->next);
    for (size_t i = 0; i < sizeof chain; i++)
        (void)snprintf(start + 2 + 2 * i, 3, "%02x", chain[i]);
    const struct gw_param p[] = {gw_text(numbers[0]), gw_text(numbers[1]), gw_text(numbers[2]),
                                 gw_text(l->link), gw_text(start)};
    gw_add_enter(&l->flight, &l->who);
    (void)gw_flight_add(&l->flight,
                        "SELECT everward.begin_incarnation($1::bigint, $2::bigint, $3::bigint,"
                        " $4::bytea, $5::bytea)",
                        5, p);
    (void)gw_flight_add(&l->flight, "COMMIT", 0, NULL);
    gw_pg_fly(l->conn, &l->flight, l, on_rejoined);
}

/* ---- asking -------------------------------------------------------------------------------- */

static void on_conn(void *user, int rc, struct gw_pg_conn *conn)
{
    struct life *l = user;
    if (rc != 0) {
        gw_reply_no_conn(l->gw, l->x, rc);
        life_free(l);
        return;
    }
    l->conn = conn;
    l->fly(l);
}

static int read_link(struct life *l, const cJSON *json, struct base_err *err)
{
    uint8_t bytes[LINK_BYTES];
    const char *text = NULL;
    int rc = net_json_str(json, "link", 2 * sizeof bytes, &text, err);
    if (rc == 0 && (strlen(text) != 2 * sizeof bytes ||
                    !seal_hex_decode(bytes, sizeof bytes, text, strlen(text))))
        rc = base_fail(err, BASE_EINVALID, "link must be 16 hex digits");
    if (rc == 0)
        (void)snprintf(l->link, sizeof l->link, "\\x%s", text);
    return rc;
}

static int read_body(struct life *l, const char *format, bool rejoin, struct base_err *err)
{
    size_t len = 0;
    const char *body = net_http_body(l->x, &len);
    const char *has = NULL;
    cJSON *json = NULL;
    int rc = net_json_parse(&json, body == NULL ? "" : body, len, err);
    if (rc == 0)
        rc = net_json_str(json, "format", 64, &has, err);
    if (rc == 0 && strcmp(has, format) != 0)
        rc = base_fail(err, BASE_EUNSUPPORTED, "this gateway reads %s", format);
    if (rc == 0)
        rc = net_json_i64(json, "inc", 1, INT64_MAX, &l->inc, err);
    if (rc == 0)
        rc = net_json_i64(json, "after", 0, INT64_MAX, &l->after, err);
    if (rc == 0 && rejoin)
        rc = net_json_i64(json, "next", 2, INT64_MAX, &l->next, err);
    if (rc == 0 && rejoin)
        rc = read_link(l, json, err);
    cJSON_Delete(json);
    return rc;
}

static void ask(struct gateway *gw, struct net_http_exchange *x, const struct gw_who *who,
                const char *format, void (*fly)(struct life *l))
{
    struct base_err err = {0};
    struct life *l = calloc(1, sizeof *l);
    if (l == NULL) {
        gw_reply_no_conn(gw, x, BASE_EBUSY);
        return;
    }
    *l = (struct life){.gw = gw, .x = x, .who = *who, .fly = fly};
    gw_flight_init(&l->flight);
    int rc = read_body(l, format, fly == fly_rejoin, &err);
    if (rc != 0) {
        net_http_problem(x, 400, rc == BASE_EUNSUPPORTED ? "unsupported_format" : "bad_body",
                         err.text, "See docs/PROTOCOL.md.");
        life_free(l);
        return;
    }
    gw_pg_take(gw->pool, l, on_conn);
}

static void on_lineage_who(struct gateway *gw, struct net_http_exchange *x,
                           const struct gw_who *who)
{
    ask(gw, x, who, "everward-lineage/1", fly_lineage);
}

static void on_rejoin_who(struct gateway *gw, struct net_http_exchange *x, const struct gw_who *who)
{
    ask(gw, x, who, "everward-rejoin/1", fly_rejoin);
}

static void on_lineage(struct net_http_exchange *x, void *user)
{
    gw_authenticate(user, x, on_lineage_who);
}

static void on_rejoin(struct net_http_exchange *x, void *user)
{
    gw_authenticate(user, x, on_rejoin_who);
}

int gw_routes_life(struct gateway *gw, struct base_err *err)
{
    const struct net_http_route routes[] = {
        {"POST", "/sync/v1/lineage", GW_SMALL_BODY_BYTES_MAX, true, on_lineage},
        {"POST", "/sync/v1/rejoin", GW_SMALL_BODY_BYTES_MAX, true, on_rejoin}};
    int rc = 0;
    for (size_t i = 0; i < sizeof routes / sizeof routes[0] && rc == 0; i++)
        rc = net_http_route_add(gw->http, &routes[i], err);
    return rc;
}
