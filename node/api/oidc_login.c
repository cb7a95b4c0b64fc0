/*
 * Logging in at the hospital's identity provider, for the web app: authorization code with PKCE (RFC 6749, 7636, OpenID Connect).
 *
 *   GET /auth/oidc/start     ── provider's page (state, nonce, S256 challenge; a cookie binds this browser)
 *   GET /auth/oidc/callback  ── state and cookie fit? ── code for an ID token (on the pool) ── token holds?
 *                            ── the staff list and the centre, as for any login ── session cookie ── "/"
 *
 * Each state is good once. The callback always leads to a fixed page of the app, without anything of the provider's address in
 * it: code, state and tokens stand in no log, no referrer, no history. A refusal never leads on to another way in by itself.
 */
#include <stdlib.h>
#include <string.h>

#include "node/api/oidc.h"
#include "sync/net/fetch.h"

enum { LOCATION_BYTES_MAX = 4096, FORM_BYTES_MAX = 8192, EXCHANGE_MS = 10 * 1000 };
static const char cookie_name[] = "__Host-everward-login=";
static const char path_refused[] = "/#/signin/refused";
static const char path_failed[] = "/#/signin/failed";
static const char path_away[] = "/#/signin/away";

void api_on_oidc(struct net_http_exchange *x, void *user)
{
    struct node_api *a = user;
    struct api_call *c = api_begin_open(x, a);
    if (c == NULL)
        return;
    base_buf_printf(&c->body, "{\"configured\":%s,\"reachable\":%s}",
                    a->oidc != NULL && a->oidc->pending != NULL ? "true" : "false",
                    api_oidc_is_up(a) ? "true" : "false");
    api_finish(c);
}

static void go_to(struct api_call *c, const char *location)
{
    net_http_reply_header(c->x, "Location", location);
    c->status = 303;
    api_finish(c);
}

static void add_escaped(struct base_buf *b, const char *name, const char *value)
{
    base_buf_printf(b, "%s=", name);
    for (const char *p = value; *p != '\0'; p++)
        if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
            strchr("-._~", *p) != NULL)
            base_buf_char(b, *p);
        else
            base_buf_printf(b, "%%%02X", (unsigned)(unsigned char)*p);
}

static void add_more(struct base_buf *b, const char *name, const char *value)
{
    base_buf_char(b, '&');
    add_escaped(b, name, value);
}

static void to_base64(char out[OIDC_SECRET_CHARS + 1], const uint8_t raw[32])
{
    struct base_buf b;
    base_buf_init(&b, 64);
    seal_base64url(&b, raw, 32);
    snprintf(out, OIDC_SECRET_CHARS + 1, "%s", b.data == NULL ? "" : b.data);
    base_buf_release(&b);
}

/* 32 bytes that nobody can guess, as text, and the hash that is kept of it. */
static void make_secret(char out[OIDC_SECRET_CHARS + 1], uint8_t hash[32])
{
    uint8_t raw[32];
    seal_random(raw, sizeof raw);
    to_base64(out, raw);
    if (hash != NULL)
        seal_hash(hash, out, strlen(out));
    seal_wipe(raw, sizeof raw);
}

/* ---- there --------------------------------------------------------------------------------- */

static bool is_over(const struct oidc_pending *p, int64_t now)
{
    return p->began_ms == 0 || now - p->began_ms > OIDC_LOGIN_MS;
}

/* A free place; else the oldest of an address that has too many; NULL: full. */
static struct oidc_pending *place_for(struct api_oidc *o, const char *peer, int64_t now)
{
    struct oidc_pending *free_one = NULL;
    struct oidc_pending *oldest = NULL;
    int own = 0;
    for (int i = 0; i < OIDC_LOGINS_MAX; i++) {
        struct oidc_pending *p = &o->pending[i];
        if (is_over(p, now)) {
            free_one = p;
        } else if (strcmp(p->peer, peer) == 0) {
            own++;
            if (oldest == NULL || p->began_ms < oldest->began_ms)
                oldest = p;
        }
    }
    return own >= OIDC_LOGINS_PER_ADDRESS_MAX ? oldest : free_one;
}

static void write_location(struct base_buf *b, const struct api_oidc *o, const char *authorize,
                           const struct oidc_pending *p, const char *state)
{
    uint8_t digest[32];
    char challenge[OIDC_SECRET_CHARS + 1];
    seal_sha256(digest, p->verifier, strlen(p->verifier));
    to_base64(challenge, digest);
    base_buf_str(b, authorize);
    base_buf_char(b, strchr(authorize, '?') == NULL ? '?' : '&');
    add_escaped(b, "response_type", "code");
    add_more(b, "client_id", o->config.client_id);
    add_more(b, "redirect_uri", o->config.redirect_uri);
    add_more(b, "scope", o->config.scope);
    add_more(b, "state", state);
    add_more(b, "nonce", p->nonce);
    add_more(b, "code_challenge", challenge);
    add_more(b, "code_challenge_method", "S256");
    if (o->config.prompt[0] != '\0')
        add_more(b, "prompt", o->config.prompt);
}

static void send_there(struct api_call *c, const struct net_discovery *where)
{
    struct api_oidc *o = c->api->oidc;
    char state[OIDC_SECRET_CHARS + 1];
    char browser[OIDC_SECRET_CHARS + 1];
    char cookie[192];
    struct base_buf b;
    int64_t now = base_clock_monotonic_ms();
    struct oidc_pending *p = place_for(o, net_http_peer(c->x), now);
    if (p == NULL) {
        go_to(c, path_failed);
        return;
    }
    *p = (struct oidc_pending){.began_ms = now};
    make_secret(state, p->state_hash);
    make_secret(browser, p->browser_hash);
    make_secret(p->nonce, NULL);
    make_secret(p->verifier, NULL);
    p->has_device = api_device_secret(c, p->device_hash);
    snprintf(p->token_url, sizeof p->token_url, "%s", where->token);
    snprintf(p->peer, sizeof p->peer, "%s", net_http_peer(c->x));
    base_buf_init(&b, LOCATION_BYTES_MAX);
    write_location(&b, o, where->authorize, p, state);
    snprintf(cookie, sizeof cookie, "%s%s; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=%d",
             cookie_name, browser, OIDC_LOGIN_MS / 1000);
    if (base_buf_check(&b) == 0) {
        net_http_reply_header(c->x, "Set-Cookie", cookie);
        go_to(c, b.data);
    } else {
        go_to(c, path_failed);
    }
    base_buf_release(&b);
}

static void on_where(void *user, const struct net_discovery *where)
{
    struct api_call *c = user;
    struct node_api *a = c->api;
    if (where == NULL || a->oidc == NULL || where->authorize[0] == '\0' || where->token[0] == '\0')
        go_to(c, path_away);
    else
        send_there(c, where);
    api_job_end(a);
}

static bool is_offered(struct api_call *c)
{
    if (!api_ready(c->api)) {
        api_refuse(c, 503, "starting", "Nothing was done. Try again.", "the node is starting");
        c->problem.retry_after_s = 1;
    } else if (c->api->oidc == NULL || c->api->oidc->pending == NULL) {
        api_refuse(c, 404, "not_found", NULL, "there is no login by an identity provider here");
    }
    return c->problem.status == 0;
}

void api_on_oidc_start(struct net_http_exchange *x, void *user)
{
    struct node_api *a = user;
    struct api_call *c = api_begin_open(x, a);
    const char *site = net_http_header(x, "Sec-Fetch-Site");
    if (c == NULL)
        return;
    if (is_offered(c) && site != NULL && strcmp(site, "cross-site") == 0)
        api_refuse(c, 403, "cross_site", "Begin at the node's own page.",
                   "another site wants to log somebody in");
    if (c->problem.status != 0) {
        api_finish(c);
        return;
    }
    api_job_begin(a);
    net_issuer_up(a->oidc->issuer, c, on_where);
}

/* ---- and back ------------------------------------------------------------------------------ */

struct exchange {
    uv_work_t work;
    struct api_call *c;
    struct oidc_pending p; /* out of the list: it is good once */
    char code[OIDC_CODE_BYTES_MAX + 1];
    struct node_api_oidc config; /* its texts live as long as the API */
    char id_token[NET_ACCESS_BYTES_MAX + 1];
    int rc;
    struct base_err err;
};

static void exchange_end(struct exchange *e, const char *path)
{
    struct api_call *c = e->c;
    struct node_api *a = c->api;
    char cookie[128];
    snprintf(cookie, sizeof cookie, "%s; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0",
             cookie_name);
    net_http_reply_header(c->x, "Set-Cookie", cookie);
    if (strcmp(path, "/") != 0)
        a->logins_refused++;
    go_to(c, path);
    seal_wipe(e, sizeof *e);
    free(e);
    api_job_end(a);
}

static void on_admitted(void *user, const struct node_login *login)
{
    struct exchange *e = user;
    if (login->result == NODE_LOGIN_OK)
        api_session_cookie(e->c->api, e->c->x, login->token);
    exchange_end(e, login->result == NODE_LOGIN_OK ? "/"
                    : login->result == NODE_LOGIN_REFUSED || login->result == NODE_LOGIN_EXPIRED
                        ? path_refused
                        : path_failed);
}

/* Whom it was, nobody knows: the provider has named nobody. */
static void note_refused(struct node_api *a, const char *why)
{
    if (a->engine != NULL)
        node_engine_audit(a->engine, "login", "refused", why);
}

static void on_id_token(void *user, int rc, const struct net_access *access, const char *why)
{
    struct exchange *e = user;
    struct node_api *a = e->c->api;
    if (rc == 0 && !api_oidc_is_our_tenant(a, access->tenant)) {
        rc = BASE_EAUTH;
        why = "the token is of another tenant";
    }
    if (rc != 0) {
        base_log(BASE_LOG_WARN, "oidc_login", "request %s: %s", e->c->request_id, why);
        note_refused(a, "the identity provider's token does not hold");
        exchange_end(e, rc == BASE_EAUTH ? path_refused : path_failed);
        return;
    }
    struct node_admission r = {.issuer = e->config.issuer,
                               .subject = access->subject,
                               .device = "",
                               .request_id = e->c->request_id,
                               .device_secret_hash = e->p.has_device ? e->p.device_hash : NULL,
                               .last_contact_ms = api_last_contact_ms(a)};
    node_people_admit(a->people, &r, e, on_admitted);
}

static void write_form(struct base_buf *b, const struct exchange *e)
{
    add_escaped(b, "grant_type", "authorization_code");
    add_more(b, "code", e->code);
    add_more(b, "redirect_uri", e->config.redirect_uri);
    add_more(b, "code_verifier", e->p.verifier);
    if (e->config.client_secret == NULL)
        add_more(b, "client_id", e->config.client_id);
}

static int read_id_token(struct exchange *e, const struct base_buf *reply, struct base_err *err)
{
    cJSON *o = NULL;
    const char *token = NULL;
    int rc = net_json_parse(&o, reply->data == NULL ? "" : reply->data, reply->len, NULL);
    if (rc == 0)
        rc = net_json_str(o, "id_token", NET_ACCESS_BYTES_MAX, &token, NULL);
    if (rc == 0)
        snprintf(e->id_token, sizeof e->id_token, "%s", token);
    cJSON_Delete(o);
    return rc == 0 ? 0 : base_fail(err, BASE_EPROTO, "the token endpoint gave no ID token");
}

/* RFC 6749, 2.3.1: name and secret are escaped before they become HTTP Basic. */
static int post(struct exchange *e, struct base_buf *form, struct base_buf *reply, long *status)
{
    struct base_buf user;
    struct base_buf password;
    struct net_fetch f = {.url = e->p.token_url,
                          .ca_path = e->config.ca[0] == '\0' ? NULL : e->config.ca,
                          .tls12 = true,
                          .body = form->data,
                          .type = "application/x-www-form-urlencoded",
                          .timeout_ms = EXCHANGE_MS};
    base_buf_init(&user, FORM_BYTES_MAX);
    base_buf_init(&password, FORM_BYTES_MAX);
    if (e->config.client_secret != NULL) {
        add_escaped(&user, "", e->config.client_id);
        add_escaped(&password, "", e->config.client_secret);
        f.user = user.data == NULL ? NULL : user.data + 1; /* without the "=" */
        f.password = password.data == NULL ? "" : password.data + 1;
    }
    int rc = net_fetch(&f, reply, status, &e->err);
    if (password.data != NULL)
        seal_wipe(password.data, password.len);
    base_buf_release(&user);
    base_buf_release(&password);
    return rc;
}

static void exchange_run(uv_work_t *work)
{
    struct exchange *e = work->data;
    struct base_buf form;
    struct base_buf reply;
    long status = 0;
    base_buf_init(&form, FORM_BYTES_MAX);
    base_buf_init(&reply, OIDC_REPLY_BYTES_MAX);
    write_form(&form, e);
    e->rc = base_buf_check(&form) == 0 ? post(e, &form, &reply, &status) : BASE_ENOMEM;
    if (e->rc == 0 && status != 200)
        e->rc = base_fail(&e->err, BASE_EAUTH, "the token endpoint answered %ld", status);
    if (e->rc == 0)
        e->rc = read_id_token(e, &reply, &e->err);
    if (form.data != NULL)
        seal_wipe(form.data, form.len);
    if (reply.data != NULL)
        seal_wipe(reply.data, reply.len);
    base_buf_release(&form);
    base_buf_release(&reply);
}

static void exchange_done(uv_work_t *work, int status)
{
    struct exchange *e = work->data;
    struct api_oidc *o = e->c->api->oidc;
    if (status != 0 || e->rc != 0 || o == NULL) {
        base_log(BASE_LOG_WARN, "oidc_login", "request %s: %s", e->c->request_id, e->err.text);
        exchange_end(e, e->rc == BASE_EAUTH || o == NULL ? path_failed : path_away);
        return;
    }
    struct net_issuer_ask ask = {.token = e->id_token,
                                 .len = strlen(e->id_token),
                                 .audience = e->config.client_id,
                                 .nonce = e->p.nonce};
    net_issuer_check(o->issuer, &ask, e, on_id_token);
}

/* Takes the login that this answer belongs to out of the list: what comes a second time belongs to none. */
static bool take_pending(struct api_call *c, struct oidc_pending *out)
{
    const char *state = net_http_query(c->x, "state");
    size_t len = 0;
    const char *browser = api_cookie(c->x, cookie_name, &len);
    uint8_t state_hash[32];
    uint8_t browser_hash[32];
    int64_t now = base_clock_monotonic_ms();
    if (state == NULL || browser == NULL)
        return false;
    seal_hash(state_hash, state, strlen(state));
    seal_hash(browser_hash, browser, len);
    for (int i = 0; i < OIDC_LOGINS_MAX; i++) {
        struct oidc_pending *p = &c->api->oidc->pending[i];
        if (is_over(p, now) || !seal_equal(p->state_hash, state_hash, 32))
            continue;
        if (!seal_equal(p->browser_hash, browser_hash, 32))
            return false; /* another browser: whoever began may still end it */
        *out = *p;
        seal_wipe(p, sizeof *p);
        return true;
    }
    return false;
}

/* NULL: go on with the code. */
static const char *refusal(struct api_call *c, const struct exchange *e)
{
    const char *error = net_http_query(c->x, "error");
    const char *issuer = net_http_query(c->x, "iss");
    const char *code = net_http_query(c->x, "code");
    if (issuer != NULL && strcmp(issuer, e->config.issuer) != 0)
        return path_failed; /* RFC 9207: another provider's answer */
    if (error != NULL)
        return strcmp(error, "server_error") == 0 || strcmp(error, "temporarily_unavailable") == 0
                   ? path_away
                   : path_refused;
    return code == NULL || code[0] == '\0' || strlen(code) > OIDC_CODE_BYTES_MAX ? path_failed
                                                                                 : NULL;
}

void api_on_oidc_callback(struct net_http_exchange *x, void *user)
{
    struct node_api *a = user;
    struct api_call *c = api_begin_open(x, a);
    if (c == NULL)
        return;
    struct exchange *e = is_offered(c) ? calloc(1, sizeof *e) : NULL;
    if (e == NULL) {
        if (c->problem.status == 0)
            api_refuse_rc(c, BASE_ENOMEM, "a login");
        api_finish(c);
        return;
    }
    e->c = c;
    e->config = a->oidc->config;
    api_job_begin(a);
    if (!take_pending(c, &e->p)) {
        base_log(BASE_LOG_WARN, "oidc_login", "request %s: no login that this belongs to",
                 c->request_id);
        exchange_end(e, path_failed);
        return;
    }
    const char *path = refusal(c, e);
    if (path != NULL) {
        base_log(BASE_LOG_INFO, "oidc_login", "request %s: the provider let nobody in",
                 c->request_id);
        if (strcmp(path, path_refused) == 0)
            note_refused(a, "the identity provider let nobody in");
        exchange_end(e, path);
        return;
    }
    snprintf(e->code, sizeof e->code, "%s", net_http_query(x, "code"));
    e->work.data = e;
    if (uv_queue_work(a->loop, &e->work, exchange_run, exchange_done) != 0)
        exchange_end(e, path_failed);
}
