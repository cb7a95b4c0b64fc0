/*
 * Access tokens of the hospital's identity provider: a bearer that is a JWT. sync/net/issuer.h checks the token, node/people
 * whether its subject is one of the staff; what is kept here is the request that waits meanwhile.
 *
 *   call ── token holds? ── its tenant is ours? ── who is it, and what says the centre? ── the handler, once more
 */
#include <stdlib.h>
#include <string.h>

#include "node/api/oidc.h"
#include "node/store/rows.h"
#include "node/store/sql.h"

/* ---- what the provider publishes, over a restart ------------------------------------------- */

struct kept {
    struct node_job job;
    struct node_api *api;
    const char *issuer;
    char *document; /* NULL: to be read */
};

static int keep_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct kept *k = (struct kept *)job;
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st,
                      "INSERT INTO node_issuer (issuer, document, fetched_ms) VALUES (?1, ?2, ?3) "
                      "ON CONFLICT (issuer) DO UPDATE SET document = ?2, fetched_ms = ?3 "
                      "WHERE document <> excluded.document",
                      err);
    if (rc != 0)
        return rc;
    node_sql_text(st, 1, k->issuer);
    node_sql_text(st, 2, k->document);
    node_sql_i64(st, 3, base_clock_wall_ms());
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc < 0 ? rc : 0;
}

static int load_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct kept *k = (struct kept *)job;
    struct node_stmt *st = NULL;
    size_t len = 0;
    int rc = node_sql(db, &st, "SELECT document FROM node_issuer WHERE issuer = ?1", err);
    if (rc != 0)
        return rc;
    node_sql_text(st, 1, k->issuer);
    rc = node_sql_step(st, err);
    const char *text = rc > 0 ? node_sql_col_text(st, 0, &len) : NULL;
    k->document = text == NULL ? NULL : strdup(text);
    node_sql_done(st);
    return rc < 0 ? rc : 0;
}

static void kept_end(struct kept *k)
{
    struct node_api *a = k->api;
    free(k->document);
    free(k);
    api_job_end(a);
}

static void keep_done(struct node_job *job)
{
    if (job->rc != 0)
        base_log(BASE_LOG_WARN, "issuer_not_kept", "%s", job->err.text);
    kept_end((struct kept *)job);
}

static void nobody_asks(void *user, const struct net_discovery *where)
{
    (void)user;
    (void)where;
}

/* Then it is asked at once: what it says must be here before the line goes. */
static void load_done(struct node_job *job)
{
    struct kept *k = (struct kept *)job;
    struct api_oidc *o = k->api->oidc;
    struct base_err err = job->err;
    int rc = job->rc;
    if (rc == 0 && k->document != NULL && o != NULL)
        rc = net_issuer_adopt(o->issuer, k->document, strlen(k->document), &err);
    if (rc != 0)
        base_log(BASE_LOG_WARN, "issuer_not_read", "%s; it is fetched anew", err.text);
    if (o != NULL)
        net_issuer_up(o->issuer, NULL, nobody_asks);
    kept_end(k);
}

static struct kept *kept_new(struct api_oidc *o)
{
    struct kept *k = o->api->stopping ? NULL : calloc(1, sizeof *k);
    if (k != NULL) {
        k->api = o->api;
        k->issuer = o->config.issuer;
        api_job_begin(o->api);
    }
    return k;
}

static void on_fetched(void *user, const char *document, size_t len)
{
    struct kept *k = kept_new(user);
    if (k == NULL)
        return;
    k->document = strndup(document, len);
    if (k->document == NULL) {
        kept_end(k);
        return;
    }
    k->job = (struct node_job){.run = keep_run, .done = keep_done, .write = true};
    node_store_write(k->api->store, &k->job);
}

/* ---- a request with a token ---------------------------------------------------------------- */

struct admission {
    struct api_call *c;
    const char *token; /* of the request's header */
    size_t len;
};

static void refuse(struct api_call *c, const char *why)
{
    c->api->logins_refused++;
    api_refuse(c, 401, "invalid_token",
               "Send an access token of the hospital's identity provider for this node's tenant.",
               "%s", why);
}

static void refuse_login(struct api_call *c, const struct node_login *login)
{
    switch (login->result) {
    case NODE_LOGIN_EXPIRED:
        api_refuse(c, 403, "offline_credentials_expired", "Bring the line to the centre back.",
                   "this node has not met the centre for so long that its staff list is not "
                   "trusted any more");
        break;
    case NODE_LOGIN_REFUSED:
        c->api->logins_refused++;
        api_refuse(c, 403, "not_permitted",
                   "everward-gateway staff link makes the provider's subject known.",
                   "the token names nobody who may work here");
        break;
    default:
        api_refuse(c, 503, "busy", "Nothing was done. Try again.",
                   "too many people come in at this moment");
        c->problem.retry_after_s = login->retry_after_s > 0 ? login->retry_after_s : 1;
    }
}

static void on_admitted(void *user, const struct node_login *login)
{
    struct admission *m = user;
    struct api_call *c = m->c;
    struct node_api *a = c->api;
    free(m);
    if (login->result != NODE_LOGIN_OK) {
        refuse_login(c, login);
        api_finish(c);
    } else {
        struct net_http_exchange *x = c->x;
        api_free(c);
        a->again = x;
        net_http_again(x, a);
        a->again = NULL;
    }
    api_job_end(a);
}

bool api_oidc_is_our_tenant(const struct node_api *a, const char *text)
{
    struct base_uuid tenant;
    return base_uuid_parse(&tenant, text, strlen(text)) &&
           base_uuid_equal(&tenant, &node_store_identity(a->store)->tenant_id);
}

static void admit(struct admission *m, const struct net_access *access)
{
    struct node_api *a = m->c->api;
    struct node_admission r = {.issuer = a->oidc->config.issuer,
                               .subject = access->subject,
                               .device = "",
                               .request_id = m->c->request_id,
                               .token = m->token,
                               .token_len = m->len,
                               .ends_ms = (access->expires_s + NET_ACCESS_SKEW_S) * 1000,
                               .last_contact_ms = api_last_contact_ms(a)};
    node_people_admit(a->people, &r, m, on_admitted);
}

static void on_checked(void *user, int rc, const struct net_access *access, const char *why)
{
    struct admission *m = user;
    struct api_call *c = m->c;
    struct node_api *a = c->api;
    if (rc == 0 && api_oidc_is_our_tenant(a, access->tenant)) {
        admit(m, access);
        return;
    }
    if (rc == 0 || rc == BASE_EAUTH) {
        refuse(c, rc == 0 ? "the token is of another tenant" : why);
    } else {
        api_refuse(c, 503, "issuer_away", "Nothing was done. Try again, or log in by password.",
                   "the identity provider's keys are not known here and could not be fetched");
        c->problem.retry_after_s = NET_ISSUER_COOL_DOWN_MS / 1000;
    }
    free(m);
    api_finish(c);
    api_job_end(a);
}

void api_oidc_admit(struct api_call *take_c, const char *token, size_t len)
{
    struct node_api *a = take_c->api;
    struct admission *m = calloc(1, sizeof *m);
    if (m == NULL) {
        api_refuse_rc(take_c, BASE_ENOMEM, "an access token");
        api_finish(take_c);
        return;
    }
    *m = (struct admission){take_c, token, len};
    struct net_issuer_ask ask = {.token = token, .len = len};
    api_job_begin(a);
    net_issuer_check(a->oidc->issuer, &ask, m, on_checked);
}

/* ---- life ---------------------------------------------------------------------------------- */

static const char callback_path[] = "/auth/oidc/callback";

static int check_login(const struct node_api_oidc *c, struct base_err *err)
{
    const char *path = c->redirect_uri == NULL || strncmp(c->redirect_uri, "https://", 8) != 0
                           ? NULL
                           : strchr(c->redirect_uri + 8, '/');
    if (c->client_id == NULL || c->client_id[0] == '\0')
        return 0;
    if (path == NULL || strcmp(path, callback_path) != 0)
        return base_fail(err, BASE_EINVALID, "oidc.redirect_uri must be https://<this node>%s",
                         callback_path);
    if (strcmp(c->client_id, c->audience) == 0)
        return base_fail(err, BASE_EINVALID,
                         "oidc.audience must not be oidc.client_id: ID tokens would be access "
                         "tokens");
    return 0;
}

int api_oidc_open(struct node_api *a, const struct node_api_oidc *config, struct base_err *err)
{
    if (config->issuer == NULL || config->issuer[0] == '\0')
        return 0;
    int rc = check_login(config, err);
    if (rc != 0)
        return rc;
    struct api_oidc *o = calloc(1, sizeof *o);
    if (o == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory");
    struct net_issuer_config issuer = {.issuer = config->issuer,
                                       .audience = config->audience,
                                       .tenant_claim = config->tenant_claim,
                                       .ca = config->ca,
                                       .user = o,
                                       .fetched = on_fetched};
    rc = net_issuer_new(&o->issuer, a->loop, &issuer, err);
    if (rc != 0) {
        free(o);
        return rc;
    }
    if (config->client_id != NULL && config->client_id[0] != '\0')
        o->pending = calloc(OIDC_LOGINS_MAX, sizeof *o->pending);
    o->api = a;
    o->config = *config;
    a->oidc = o;
    struct kept *k = kept_new(o);
    if (k != NULL) {
        k->job = (struct node_job){.run = load_run, .done = load_done};
        node_store_read(a->store, &k->job);
    }
    return 0;
}

/* Whether it is there must be known before somebody asks: a login waits for nothing that is far away. */
void api_oidc_tick(struct node_api *a)
{
    if (a->oidc != NULL && a->oidc->pending != NULL)
        net_issuer_tick(a->oidc->issuer);
}

bool api_oidc_is_up(const struct node_api *a)
{
    return a->oidc != NULL && a->oidc->pending != NULL && net_issuer_is_up(a->oidc->issuer);
}

bool api_oidc_account_first(const struct node_api_oidc *config)
{
    return config->account_first && config->issuer != NULL && config->issuer[0] != '\0' &&
           config->client_id != NULL && config->client_id[0] != '\0';
}

void api_oidc_close(struct node_api *a)
{
    struct api_oidc *o = a->oidc;
    a->oidc = NULL;
    if (o == NULL)
        return;
    net_issuer_free(o->issuer);
    if (o->pending != NULL)
        seal_wipe(o->pending, OIDC_LOGINS_MAX * sizeof *o->pending);
    free(o->pending);
    free(o);
}
