#include "sync/gateway/oidc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/net/fetch.h"

enum { ISSUER_BYTES_MAX = 512 };

struct waiting {
    struct net_http_exchange *x;
    gw_person_cb next;
};

struct gw_oidc {
    struct gateway *gw;
    const char *issuer, *audience, *tenant_claim, *ca;
    struct net_jwks *keys;        /* NULL: none yet */
    int64_t fetched_ms, tried_ms; /* monotonic; 0: never */
    bool fetching;
    struct waiting waiting[OIDC_WAITING_MAX]; /* for the fetch under way */
    int waiting_count;
    /* the fetch under way: the pool's, until it is done */
    uv_work_t work;
    struct net_jwks *fetched;
    int fetch_rc;
    struct base_err fetch_err;
};

static void unauthorized(struct gateway *gw, struct net_http_exchange *x, const char *detail)
{
    gw->counts.refused++;
    net_http_reply_header(x, "WWW-Authenticate", "Bearer error=\"invalid_token\"");
    net_http_problem(x, 401, "unauthorized", detail,
                     "Send an access token of the hospital's identity provider.");
}

/* ---- fetching (on the pool) ---------------------------------------------------------------- */

static int get(const struct gw_oidc *o, const char *url, struct base_buf *out, struct base_err *err)
{
    long status = 0;
    struct net_fetch f = {.url = url,
                          .ca_path = o->ca[0] == '\0' ? NULL : o->ca,
                          .tls12 = true,
                          .timeout_ms = OIDC_FETCH_MS};
    base_buf_clear(out);
    int rc = net_fetch(&f, out, &status, err);
    if (rc == 0 && status != 200)
        rc = base_fail(err, BASE_EPROTO, "%s answered %ld", url, status);
    return rc;
}

static void fetch_run(uv_work_t *work)
{
    struct gw_oidc *o = work->data;
    char url[ISSUER_BYTES_MAX + 64];
    char jwks_uri[1024];
    struct base_buf b;
    size_t n = strlen(o->issuer);
    base_buf_init(&b, NET_JWKS_BYTES_MAX);
    (void)snprintf(url, sizeof url, "%s%s.well-known/openid-configuration", o->issuer,
                   o->issuer[n - 1] == '/' ? "" : "/");
    o->fetched = NULL;
    int rc = get(o, url, &b, &o->fetch_err);
    if (rc == 0)
        rc = net_discovery_parse(jwks_uri, b.data == NULL ? "" : b.data, b.len, o->issuer,
                                 &o->fetch_err);
    if (rc == 0)
        rc = get(o, jwks_uri, &b, &o->fetch_err);
    if (rc == 0)
        rc = net_jwks_parse(&o->fetched, b.data == NULL ? "" : b.data, b.len, &o->fetch_err);
    if (rc == 0 && net_jwks_count(o->fetched) == 0) {
        net_jwks_free(o->fetched);
        rc = base_fail(&o->fetch_err, BASE_EPROTO, "%s has no key that could be used", jwks_uri);
    }
    o->fetch_rc = rc;
    base_buf_release(&b);
}

static void check(struct gw_oidc *o, struct net_http_exchange *x, gw_person_cb next, bool may_wait);

static void fetch_done(uv_work_t *work, int status)
{
    struct gw_oidc *o = work->data;
    struct waiting list[OIDC_WAITING_MAX];
    int count = o->waiting_count;
    memcpy(list, o->waiting, sizeof list);
    o->waiting_count = 0;
    o->fetching = false;
    if (status == 0 && o->fetch_rc == 0) {
        net_jwks_free(o->keys);
        o->keys = o->fetched;
        o->fetched_ms = base_clock_monotonic_ms();
        base_log(BASE_LOG_INFO, "issuer_keys", "%d keys of %s", net_jwks_count(o->keys), o->issuer);
    } else {
        base_log(BASE_LOG_WARN, "issuer_away", "%s; %s", o->fetch_err.text,
                 o->keys == NULL ? "nobody can be let in by token"
                                 : "the keys known go on serving");
    }
    for (int i = 0; i < count; i++)
        check(o, list[i].x, list[i].next, false);
    if (o->gw->oidc == NULL) { /* stopped meanwhile */
        net_jwks_free(o->keys);
        free(o);
    }
}

static void fetch(struct gw_oidc *o)
{
    int64_t now = base_clock_monotonic_ms();
    if (o->fetching || (o->tried_ms != 0 && now - o->tried_ms < OIDC_COOL_DOWN_MS))
        return;
    o->tried_ms = now;
    o->work.data = o;
    o->fetching = uv_queue_work(o->gw->loop, &o->work, fetch_run, fetch_done) == 0;
}

/* ---- checking ------------------------------------------------------------------------------ */

static bool wait_for_keys(struct gw_oidc *o, struct net_http_exchange *x, gw_person_cb next)
{
    fetch(o);
    if (!o->fetching || o->waiting_count == OIDC_WAITING_MAX)
        return false;
    o->waiting[o->waiting_count++] = (struct waiting){x, next};
    return true;
}

static void issuer_away(struct gateway *gw, struct net_http_exchange *x)
{
    gw->counts.refused++;
    net_http_retry_after(x, GW_RETRY_AFTER_S);
    net_http_problem(x, 503, "issuer_away", "The identity provider's keys could not be fetched.",
                     "Nothing was done. Try again; the gateway's log says why.");
}

static void accept_token(struct gw_oidc *o, struct net_http_exchange *x, gw_person_cb next,
                         const struct net_access *a)
{
    struct gw_person person;
    struct base_uuid tenant;
    if (!base_uuid_parse(&tenant, a->tenant, strlen(a->tenant))) {
        unauthorized(o->gw, x, "the token's tenant is not an id of ours");
        return;
    }
    person.issuer = o->issuer;
    base_uuid_format(&tenant, person.tenant);
    memcpy(person.subject, a->subject, sizeof person.subject);
    next(o->gw, x, &person);
}

static void check(struct gw_oidc *o, struct net_http_exchange *x, gw_person_cb next, bool may_wait)
{
    const char *h = net_http_header(x, "Authorization");
    struct net_access a;
    struct base_err err = {0};
    struct net_access_want want = {.issuer = o->issuer,
                                   .audience = o->audience,
                                   .tenant_claim = o->tenant_claim,
                                   .now_s = base_clock_wall_ms() / 1000};
    if (o->keys == NULL) {
        if (!may_wait || !wait_for_keys(o, x, next))
            issuer_away(o->gw, x);
        return;
    }
    int rc = net_access_check(&a, h + 7, strlen(h + 7), o->keys, &want, &err);
    if (rc == BASE_ENOTFOUND && may_wait && wait_for_keys(o, x, next))
        return; /* the provider may have a new key */
    if (rc == 0)
        accept_token(o, x, next, &a);
    else if (rc == BASE_ENOMEM)
        gw_reply_no_conn(o->gw, x, rc);
    else
        unauthorized(o->gw, x, err.text);
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
    if (o->keys != NULL && base_clock_monotonic_ms() - o->fetched_ms > OIDC_FRESH_MS)
        fetch(o); /* meanwhile the old ones serve */
    check(o, x, next, true);
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
    const char *issuer = base_config_text(c, "oidc", "issuer");
    if (issuer[0] == '\0')
        return 0;
    if (strncmp(issuer, "https://", 8) != 0 || strlen(issuer) > ISSUER_BYTES_MAX)
        return base_fail(err, BASE_EINVALID,
                         "oidc.issuer must be an https address of at most %d bytes",
                         ISSUER_BYTES_MAX);
    struct gw_oidc *o = calloc(1, sizeof *o);
    if (o == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory");
    o->gw = gw;
    o->issuer = issuer;
    o->audience = base_config_text(c, "oidc", "audience");
    o->tenant_claim = base_config_text(c, "oidc", "tenant_claim");
    o->ca = base_config_text(c, "oidc", "ca");
    gw->oidc = o;
    return 0;
}

void gw_oidc_stop(struct gateway *gw)
{
    struct gw_oidc *o = gw->oidc;
    gw->oidc = NULL;
    if (o == NULL || o->fetching)
        return; /* fetch_done frees it */
    net_jwks_free(o->keys);
    free(o);
}
