/*
 * POST numbers: the n-th block of record numbers of the node's present life. Asked again (the answer was lost), the same one.
 */
#include <stdlib.h>
#include <string.h>

#include "sync/base/log.h"
#include "sync/core/number.h"
#include "sync/gateway/gateway.h"
#include "sync/net/json.h"
#include "sync/seal/seal.h"

enum { NUMBERS_QUERY = 2, NUMBERS_BLOCKS_MAX = 1000000 };
enum { COL_SYSTEM, COL_PREFIX, COL_DIGITS, COL_FIRST, COL_LAST };

struct numbers {
    struct gateway *gw;
    struct net_http_exchange *x;
    struct gw_who who;
    struct gw_pg_conn *conn;
    struct gw_flight flight;
    int64_t inc, block, size;
};

static void numbers_free(struct numbers *n)
{
    if (n->conn != NULL)
        gw_pg_give(n->conn);
    gw_flight_release(&n->flight);
    seal_wipe(n, sizeof *n);
    free(n);
}

static void reply(struct numbers *n)
{
    const struct gw_flight *f = &n->flight;
    struct base_buf b;
    base_buf_init(&b, GW_SMALL_BODY_BYTES_MAX);
    base_buf_printf(&b, "{\"format\":\"everward-numbers/1\",\"inc\":%lld,\"block\":%lld,\"lease\":",
                    (long long)n->inc, (long long)n->block);
    if (gw_flight_rows(f, NUMBERS_QUERY) == 0) {
        base_buf_str(&b, "null}");
    } else {
        base_buf_str(&b, "{\"system\":");
        base_buf_json_str(&b, gw_flight_value(f, NUMBERS_QUERY, COL_SYSTEM));
        base_buf_str(&b, ",\"prefix\":");
        base_buf_json_str(&b, gw_flight_value(f, NUMBERS_QUERY, COL_PREFIX));
        base_buf_printf(&b, ",\"digits\":%s,\"first\":%s,\"last\":%s}}",
                        gw_flight_value(f, NUMBERS_QUERY, COL_DIGITS),
                        gw_flight_value(f, NUMBERS_QUERY, COL_FIRST),
                        gw_flight_value(f, NUMBERS_QUERY, COL_LAST));
        base_log(BASE_LOG_INFO, "numbers", "node %s: block %lld of life %lld", n->who.node,
                 (long long)n->block, (long long)n->inc);
    }
    size_t len = b.len;
    char *text = base_buf_take(&b);
    if (text == NULL)
        net_http_problem(n->x, 500, "internal", "The answer could not be made.", NULL);
    else
        net_http_reply_take(n->x, 200, "application/json", text, len);
    base_buf_release(&b);
}

static void on_leased(void *user, struct gw_flight *f)
{
    struct numbers *n = user;
    bool ours = f->rc != 0 && f->failed == NUMBERS_QUERY;
    if (ours && strcmp(f->sqlstate, "EW410") == 0)
        net_http_problem(n->x, 409, "numbers_exhausted", "The tenant's record numbers are used up.",
                         "everward-gateway numbers set, with more digits or another prefix.");
    else if (ours && strcmp(f->sqlstate, "EW409") == 0)
        net_http_problem(n->x, 409, "out_of_order",
                         "This is not the node's present life, or not its next block.", NULL);
    else if (f->rc != 0)
        gw_reply_failed(n->gw, n->x, f, "numbers");
    else
        reply(n);
    numbers_free(n);
}

static void on_conn(void *user, int rc, struct gw_pg_conn *conn)
{
    struct numbers *n = user;
    char text[3][24];
    if (rc != 0) {
        gw_reply_no_conn(n->gw, n->x, rc);
        numbers_free(n);
        return;
    }
    n->conn = conn;
    (void)snprintf(text[0], sizeof text[0], "%lld", (long long)n->inc);
    (void)snprintf(text[1], sizeof text[1], "%lld", (long long)n->block);
    (void)snprintf(text[2], sizeof text[2], "%lld", (long long)n->size);
    const struct gw_param p[] = {gw_text(text[0]), gw_text(text[1]), gw_text(text[2])};
    gw_add_enter(&n->flight, &n->who);
    (void)gw_flight_add(&n->flight,
                        "SELECT system, prefix, digits, first, last FROM"
                        " everward.lease_numbers($1::bigint, $2::bigint, $3::bigint)",
                        3, p);
    (void)gw_flight_add(&n->flight, "COMMIT", 0, NULL);
    gw_pg_fly(n->conn, &n->flight, n, on_leased);
}

static int read_body(struct numbers *n, struct base_err *err)
{
    size_t len = 0;
    const char *body = net_http_body(n->x, &len);
    const char *format = NULL;
    cJSON *json = NULL;
    int rc = net_json_parse(&json, body == NULL ? "" : body, len, err);
    if (rc == 0)
        rc = net_json_str(json, "format", 64, &format, err);
    if (rc == 0 && strcmp(format, "everward-numbers/1") != 0)
        rc = base_fail(err, BASE_EUNSUPPORTED, "this gateway reads everward-numbers/1");
    if (rc == 0)
        rc = net_json_i64(json, "inc", 1, INT64_MAX, &n->inc, err);
    if (rc == 0)
        rc = net_json_i64(json, "block", 1, NUMBERS_BLOCKS_MAX, &n->block, err);
    if (rc == 0)
        rc = net_json_i64(json, "size", 1, CORE_NUMBERS_MAX, &n->size, err);
    cJSON_Delete(json);
    return rc;
}

static void on_who(struct gateway *gw, struct net_http_exchange *x, const struct gw_who *who)
{
    struct base_err err = {0};
    struct numbers *n = calloc(1, sizeof *n);
    if (n == NULL) {
        gw_reply_no_conn(gw, x, BASE_EBUSY);
        return;
    }
    *n = (struct numbers){.gw = gw, .x = x, .who = *who};
    gw_flight_init(&n->flight);
    int rc = read_body(n, &err);
    if (rc != 0) {
        net_http_problem(x, 400, rc == BASE_EUNSUPPORTED ? "unsupported_format" : "bad_body",
                         err.text, "See docs/PROTOCOL.md.");
        numbers_free(n);
        return;
    }
    gw_pg_take(gw->pool, n, on_conn);
}

static void on_numbers(struct net_http_exchange *x, void *user)
{
    gw_authenticate(user, x, on_who);
}

int gw_routes_numbers(struct gateway *gw, struct base_err *err)
{
    const struct net_http_route route = {"POST", "/sync/v1/numbers", GW_SMALL_BODY_BYTES_MAX, true,
                                         on_numbers};
    return net_http_route_add(gw->http, &route, err);
}
