/* What people and other software may ask of a gateway with an access token: how the tenant's nodes are. */
#include <stdlib.h>
#include <string.h>

#include "sync/base/log.h"
#include "sync/gateway/fleet.h"
#include "sync/gateway/oidc.h"
#include "sync/net/json.h"

enum { FLEET_BYTES_MAX = 8 * 1024 * 1024, FLEET_NODES = 2 };

struct asking {
    struct gateway *gw;
    struct net_http_exchange *x;
    struct gw_person person;
    bool page; /* the fleet page's document, not the list of nodes */
    struct gw_pg_conn *conn;
    struct gw_flight flight;
};

static void end(struct asking *a)
{
    gw_flight_release(&a->flight);
    free(a);
}

static bool has_role(const char *roles_json, const char *role)
{
    cJSON *list = NULL;
    const cJSON *one;
    bool found = false;
    if (roles_json == NULL || net_json_parse(&list, roles_json, strlen(roles_json), NULL) != 0)
        return false;
    cJSON_ArrayForEach(one, list) found =
        found || (cJSON_IsString(one) && strcmp(one->valuestring, role) == 0);
    cJSON_Delete(list);
    return found;
}

static void reply_fleet(struct asking *a)
{
    const char *nodes = gw_flight_value(&a->flight, FLEET_NODES, 0);
    struct base_buf b;
    if (a->page && nodes != NULL) {
        net_http_reply_header(a->x, "Cache-Control", "no-store");
        net_http_reply(a->x, 200, "application/json", nodes, strlen(nodes));
        return;
    }
    base_buf_init(&b, FLEET_BYTES_MAX);
    base_buf_printf(&b, "{\"tenant_id\":\"%s\",\"nodes\":", a->person.tenant);
    base_buf_str(&b, nodes == NULL ? "[]" : nodes);
    base_buf_char(&b, '}');
    if (base_buf_check(&b) == 0)
        net_http_reply(a->x, 200, "application/json", b.data, b.len);
    else
        gw_reply_no_conn(a->gw, a->x, BASE_ENOMEM);
    base_buf_release(&b);
}

static void on_fleet_read(void *user, struct gw_flight *f)
{
    struct asking *a = user;
    gw_pg_give(a->conn);
    if (f->rc != 0 && f->failed == GW_ENTER_QUERY && strcmp(f->sqlstate, "EW401") == 0) {
        net_http_problem(a->x, 403, "not_permitted", "The token names nobody of this tenant.",
                         "everward-gateway staff link makes the provider's subject known.");
    } else if (f->rc != 0) {
        gw_reply_failed(a->gw, a->x, f, "fleet");
    } else if (!has_role(gw_flight_value(f, GW_ENTER_QUERY, 1), "it_support")) {
        net_http_problem(a->x, 403, "not_permitted", "This needs the role it_support.",
                         "Roles are given at the centre: everward-gateway staff add --role.");
    } else {
        reply_fleet(a);
    }
    end(a);
}

static void on_conn(void *user, int rc, struct gw_pg_conn *conn)
{
    struct asking *a = user;
    if (rc != 0) {
        gw_reply_no_conn(a->gw, a->x, rc);
        end(a);
        return;
    }
    a->conn = conn;
    gw_add_enter_person(&a->flight, &a->person);
    (void)gw_flight_add(&a->flight,
                        a->page
                            ? "SELECT everward.fleet_page()::text"
                            : "SELECT coalesce(json_agg(f), '[]')::text FROM everward.fleet() f",
                        0, NULL);
    (void)gw_flight_add(&a->flight, "COMMIT", 0, NULL);
    gw_pg_fly(conn, &a->flight, a, on_fleet_read);
}

static void ask(struct gateway *gw, struct net_http_exchange *x, const struct gw_person *person,
                bool page)
{
    struct asking *a = calloc(1, sizeof *a);
    if (a == NULL) {
        gw_reply_no_conn(gw, x, BASE_ENOMEM);
        return;
    }
    *a = (struct asking){.gw = gw, .x = x, .person = *person, .page = page};
    gw_flight_init(&a->flight);
    gw_pg_take(gw->pool, a, on_conn);
}

static void on_person(struct gateway *gw, struct net_http_exchange *x,
                      const struct gw_person *person)
{
    ask(gw, x, person, false);
}

static void on_page_person(struct gateway *gw, struct net_http_exchange *x,
                           const struct gw_person *person)
{
    ask(gw, x, person, true);
}

void gw_fleet_by_token(struct gateway *gw, struct net_http_exchange *x)
{
    gw_authenticate_person(gw, x, on_page_person);
}

static void on_fleet(struct net_http_exchange *x, void *user)
{
    gw_authenticate_person(user, x, on_person);
}

int gw_routes_people(struct gateway *gw, struct base_err *err)
{
    static const struct net_http_route route = {"GET", "/api/v1/fleet", 0, true, on_fleet};
    return net_http_route_add(gw->http, &route, err);
}
