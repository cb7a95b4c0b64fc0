/*
 * GET /sync/v1/standing?staff=ID: what the centre knows of one member of the node's tenant's staff, for a login that
 * waits at the node. Of the verifier only a hash goes out.
 */
#include <stdlib.h>
#include <string.h>

#include "sync/gateway/gateway.h"
#include "sync/seal/seal.h"

enum { STANDING_QUERY = 2 };

struct standing {
    struct gateway *gw;
    struct net_http_exchange *x;
    struct gw_who who;
    struct gw_pg_conn *conn;
    struct gw_flight flight;
    char staff[BASE_UUID_CHARS + 1];
};

static void standing_free(struct standing *s)
{
    if (s->conn != NULL)
        gw_pg_give(s->conn);
    gw_flight_release(&s->flight);
    free(s);
}

static void write_reply(struct base_buf *b, struct gw_flight *f)
{
    const char *active = gw_flight_value(f, STANDING_QUERY, 0);
    const char *verifier = gw_flight_value(f, STANDING_QUERY, 3);
    uint8_t hash[SEAL_HASH_BYTES];
    base_buf_printf(b, "{\"format\":\"everward-standing/1\",\"known\":%s,\"active\":%s",
                    gw_flight_value(f, STANDING_QUERY, 4) != NULL ? "true" : "false",
                    active != NULL && strcmp(active, "t") == 0 ? "true" : "false");
    base_buf_str(b, ",\"revoked_at\":");
    base_buf_json_str(b, gw_flight_value(f, STANDING_QUERY, 1));
    base_buf_str(b, ",\"valid_until_at\":");
    base_buf_json_str(b, gw_flight_value(f, STANDING_QUERY, 2));
    base_buf_str(b, ",\"verifier\":");
    if (verifier == NULL) {
        base_buf_str(b, "null}");
        return;
    }
    seal_hash(hash, verifier, strlen(verifier));
    base_buf_char(b, '"');
    seal_base64url(b, hash, sizeof hash);
    base_buf_str(b, "\"}");
}

static void on_read(void *user, struct gw_flight *f)
{
    struct standing *s = user;
    struct base_buf b;
    if (f->rc != 0) {
        gw_reply_failed(s->gw, s->x, f, "standing");
        standing_free(s);
        return;
    }
    base_buf_init(&b, 1024);
    write_reply(&b, f);
    if (base_buf_check(&b) == 0)
        net_http_reply(s->x, 200, "application/json", b.data, b.len);
    else
        net_http_problem(s->x, 500, "internal", "The answer could not be made.", NULL);
    base_buf_release(&b);
    standing_free(s);
}

static void on_conn(void *user, int rc, struct gw_pg_conn *conn)
{
    struct standing *s = user;
    if (rc != 0) {
        gw_reply_no_conn(s->gw, s->x, rc);
        standing_free(s);
        return;
    }
    s->conn = conn;
    const struct gw_param id[] = {gw_text(s->staff)};
    gw_add_enter(&s->flight, &s->who);
    (void)gw_flight_add(&s->flight,
                        "SELECT active, revoked_at, valid_until_at, verifier, id FROM ward.staff"
                        " WHERE tenant_id = (SELECT everward.tenant()) AND id = $1::uuid",
                        1, id);
    (void)gw_flight_add(&s->flight, "COMMIT", 0, NULL);
    gw_pg_fly(conn, &s->flight, s, on_read);
}

static void on_who(struct gateway *gw, struct net_http_exchange *x, const struct gw_who *who)
{
    const char *text = net_http_query(x, "staff");
    struct base_uuid id;
    if (text == NULL || !base_uuid_parse(&id, text, strlen(text))) {
        net_http_problem(x, 400, "bad_parameter", "staff must be a uuid", "See docs/PROTOCOL.md.");
        return;
    }
    struct standing *s = calloc(1, sizeof *s);
    if (s == NULL) {
        gw_reply_no_conn(gw, x, BASE_EBUSY);
        return;
    }
    s->gw = gw;
    s->x = x;
    s->who = *who;
    base_uuid_format(&id, s->staff);
    gw_flight_init(&s->flight);
    gw_pg_take(gw->pool, s, on_conn);
}

static void on_standing(struct net_http_exchange *x, void *user)
{
    gw_authenticate(user, x, on_who);
}

int gw_routes_standing(struct gateway *gw, struct base_err *err)
{
    const struct net_http_route route = {"GET", "/sync/v1/standing", 0, true, on_standing};
    return net_http_route_add(gw->http, &route, err);
}
