#include "sync/gateway/oidc.h"

#include <stdlib.h>
#include <string.h>

struct gw_oidc {
    struct net_issuer *issuer;
    const char *name; /* the configuration's */
};

/* Whose token is looked at. */
struct checking {
    struct gateway *gw;
    struct net_http_exchange *x;
    gw_person_cb next;
    const char *issuer;
};

static void unauthorized(struct gateway *gw, struct net_http_exchange *x, const char *detail)
{
    gw->counts.refused++;
    net_http_reply_header(x, "WWW-Authenticate", "Bearer error=\"invalid_token\"");
    net_http_problem(x, 401, "unauthorized", detail,
                     "Send an access token of the hospital's identity provider.");
}

static void issuer_away(struct gateway *gw, struct net_http_exchange *x)
{
    gw->counts.refused++;
    net_http_retry_after(x, GW_RETRY_AFTER_S);
    net_http_problem(x, 503, "issuer_away", "The identity provider's keys could not be fetched.",
                     "Nothing was done. Try again; the gateway's log says why.");
}

static void accept_token(const struct checking *k, const struct net_access *a)
{
    struct gw_person person;
    struct base_uuid tenant;
    if (!base_uuid_parse(&tenant, a->tenant, strlen(a->tenant))) {
        unauthorized(k->gw, k->x, "the token's tenant is not an id of ours");
        return;
    }
    person.issuer = k->issuer;
    base_uuid_format(&tenant, person.tenant);
    memcpy(person.subject, a->subject, sizeof person.subject);
    k->next(k->gw, k->x, &person);
}

static void on_checked(void *user, int rc, const struct net_access *a, const char *why)
{
    struct checking k = *(struct checking *)user;
    free(user);
    if (rc == 0)
        accept_token(&k, a);
    else if (rc == BASE_EUNREACHABLE || rc == BASE_ECANCELED)
        issuer_away(k.gw, k.x);
    else if (rc == BASE_ENOMEM)
        gw_reply_no_conn(k.gw, k.x, rc);
    else
        unauthorized(k.gw, k.x, why);
}

void gw_authenticate_person(struct gateway *gw, struct net_http_exchange *x, gw_person_cb next)
{
    struct gw_oidc *o = gw->oidc;
    const char *h = net_http_header(x, "Authorization");
    if (o == NULL) {
        unauthorized(gw, x, "no identity provider is configured here (section oidc)");
        return;
    }
    if (h == NULL || strncmp(h, "Bearer ", 7) != 0) {
        unauthorized(gw, x, "this request needs a bearer token");
        return;
    }
    struct checking *k = malloc(sizeof *k);
    if (k == NULL) {
        gw_reply_no_conn(gw, x, BASE_ENOMEM);
        return;
    }
    *k = (struct checking){gw, x, next, o->name};
    struct net_issuer_ask ask = {.token = h + 7, .len = strlen(h + 7)};
    net_issuer_check(o->issuer, &ask, k, on_checked);
}

void gw_add_enter_person(struct gw_flight *f, const struct gw_person *person)
{
    const struct gw_param p[] = {gw_text(person->issuer), gw_text(person->subject),
                                 gw_text(person->tenant)};
    (void)gw_flight_add(f, "BEGIN ISOLATION LEVEL READ COMMITTED", 0, NULL);
    (void)gw_flight_add(f,
                        "SELECT e.staff_id, to_json(e.roles)::text,"
                        " set_config('TimeZone', 'UTC', true),"
                        " set_config('statement_timeout', '15000', true)"
                        " FROM everward.enter_person($1, $2, $3::uuid) e",
                        3, p);
}

/* ---- life ---------------------------------------------------------------------------------- */

int gw_oidc_start(struct gateway *gw, struct base_err *err)
{
    const struct base_config *c = gw->config;
    struct net_issuer_config config = {.issuer = base_config_text(c, "oidc", "issuer"),
                                       .audience = base_config_text(c, "oidc", "audience"),
                                       .tenant_claim = base_config_text(c, "oidc", "tenant_claim"),
                                       .ca = base_config_text(c, "oidc", "ca")};
    if (config.issuer[0] == '\0')
        return 0;
    struct gw_oidc *o = calloc(1, sizeof *o);
    if (o == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory");
    int rc = net_issuer_new(&o->issuer, gw->loop, &config, err);
    if (rc != 0) {
        free(o);
        return rc;
    }
    o->name = config.issuer;
    gw->oidc = o;
    return 0;
}

void gw_oidc_stop(struct gateway *gw)
{
    struct gw_oidc *o = gw->oidc;
    gw->oidc = NULL;
    if (o == NULL)
        return;
    net_issuer_free(o->issuer);
    free(o);
}
