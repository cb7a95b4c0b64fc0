/*
 * POST report: how a node says it is, for the fleet page. The newest counts; nothing else depends on it.
 */
#include <stdlib.h>

#include "sync/gateway/gateway.h"
#include "sync/net/json.h"
#include "sync/seal/seal.h"

#define REPORT_AGE_S_MAX     INT64_C(3153600000) /* a century */
#define REPORT_COUNT_MAX     (INT64_C(1) << 53)  /* what a browser reads exactly */
#define REPORT_OFFSET_MS_MAX (1000 * REPORT_AGE_S_MAX)

/* In the order of everward.take_report's parameters behind the first. */
enum { PENDING, OLDEST_S, QUARANTINED, OFFSET_MS, DISK, DISK_FREE, NUMBERS };
static const struct {
    const char *name;
    bool nullable;
    int64_t least, most;
} members[NUMBERS] = {{"pending", false, 0, REPORT_COUNT_MAX},
                      {"oldest_pending_s", true, 0, REPORT_AGE_S_MAX},
                      {"quarantined", false, 0, REPORT_COUNT_MAX},
                      {"clock_offset_ms", true, -REPORT_OFFSET_MS_MAX, REPORT_OFFSET_MS_MAX},
                      {"disk_bytes", true, 0, REPORT_COUNT_MAX},
                      {"disk_free_bytes", true, 0, REPORT_COUNT_MAX}};

struct report {
    struct gateway *gw;
    struct net_http_exchange *x;
    struct gw_who who;
    struct gw_pg_conn *conn;
    struct gw_flight flight;
    bool attention;
    char numbers[NUMBERS][24]; /* "" for null */
};

static void report_free(struct report *r)
{
    if (r->conn != NULL)
        gw_pg_give(r->conn);
    gw_flight_release(&r->flight);
    seal_wipe(r, sizeof *r);
    free(r);
}

static void on_taken(void *user, struct gw_flight *f)
{
    static const char taken[] = "{\"format\":\"everward-report/1\"}";
    struct report *r = user;
    if (f->rc != 0)
        gw_reply_failed(r->gw, r->x, f, "report");
    else
        net_http_reply(r->x, 200, "application/json", taken, sizeof taken - 1);
    report_free(r);
}

static void on_conn(void *user, int rc, struct gw_pg_conn *conn)
{
    struct report *r = user;
    struct gw_param p[1 + NUMBERS] = {gw_text(r->attention ? "t" : "f")};
    if (rc != 0) {
        gw_reply_no_conn(r->gw, r->x, rc);
        report_free(r);
        return;
    }
    r->conn = conn;
    for (int i = 0; i < NUMBERS; i++)
        p[1 + i] = gw_text(r->numbers[i][0] == '\0' ? NULL : r->numbers[i]);
    gw_add_enter(&r->flight, &r->who);
    (void)gw_flight_add(&r->flight,
                        "SELECT everward.take_report($1::boolean, $2::bigint, $3::bigint, "
                        "$4::bigint, $5::bigint, $6::bigint, $7::bigint)",
                        1 + NUMBERS, p);
    (void)gw_flight_add(&r->flight, "COMMIT", 0, NULL);
    gw_pg_fly(r->conn, &r->flight, r, on_taken);
}

static int read_member(struct report *r, const cJSON *json, int i, struct base_err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, members[i].name);
    int64_t n = 0;
    if (members[i].nullable && (item == NULL || cJSON_IsNull(item)))
        return 0;
    int rc = net_json_i64(json, members[i].name, members[i].least, members[i].most, &n, err);
    if (rc == 0)
        (void)snprintf(r->numbers[i], sizeof r->numbers[i], "%lld", (long long)n);
    return rc;
}

static int read_body(struct report *r, struct base_err *err)
{
    size_t len = 0;
    const char *body = net_http_body(r->x, &len);
    const char *format = NULL;
    cJSON *json = NULL;
    int rc = net_json_parse(&json, body == NULL ? "" : body, len, err);
    if (rc == 0)
        rc = net_json_str(json, "format", 64, &format, err);
    if (rc == 0 && strcmp(format, "everward-report/1") != 0)
        rc = base_fail(err, BASE_EUNSUPPORTED, "this gateway reads everward-report/1");
    if (rc == 0)
        rc = net_json_bool(json, "attention", &r->attention, err);
    for (int i = 0; rc == 0 && i < NUMBERS; i++)
        rc = read_member(r, json, i, err);
    cJSON_Delete(json);
    return rc;
}

static void on_who(struct gateway *gw, struct net_http_exchange *x, const struct gw_who *who)
{
    struct base_err err = {0};
    struct report *r = calloc(1, sizeof *r);
    if (r == NULL) {
        gw_reply_no_conn(gw, x, BASE_EBUSY);
        return;
    }
    *r = (struct report){.gw = gw, .x = x, .who = *who};
    gw_flight_init(&r->flight);
    int rc = read_body(r, &err);
    if (rc != 0) {
        net_http_problem(x, 400, rc == BASE_EUNSUPPORTED ? "unsupported_format" : "bad_body",
                         err.text, "See docs/PROTOCOL.md.");
        report_free(r);
        return;
    }
    gw_pg_take(gw->pool, r, on_conn);
}

static void on_report(struct net_http_exchange *x, void *user)
{
    gw_authenticate(user, x, on_who);
}

int gw_routes_report(struct gateway *gw, struct base_err *err)
{
    const struct net_http_route route = {"POST", "/sync/v1/report", GW_SMALL_BODY_BYTES_MAX, true,
                                         on_report};
    return net_http_route_add(gw->http, &route, err);
}
