/*
 * One call from its first byte to its reply: who, how often, what stands in headers and body; and
 * every refusal's form.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "node/api/internal.h"
#include "node/people/devices.h"

int api_refuse(struct api_call *c, int status, const char *code, const char *hint, const char *fmt,
               ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(c->problem.detail, sizeof c->problem.detail, fmt, args);
    va_end(args);
    c->problem.status = status;
    c->problem.code = code;
    snprintf(c->problem.hint, sizeof c->problem.hint, "%s", hint != NULL ? hint : "");
    return BASE_EINVALID;
}

int api_refuse_column(struct api_call *c, int status, const char *code, const char *column,
                      const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(c->problem.detail, sizeof c->problem.detail, fmt, args);
    va_end(args);
    c->problem.status = status;
    c->problem.code = code;
    snprintf(c->problem.hint, sizeof c->problem.hint, "Look at \"%.63s\".", column);
    snprintf(c->problem.column, sizeof c->problem.column, "%s", column);
    return BASE_EINVALID;
}

void api_refuse_rc(struct api_call *c, int rc, const char *text)
{
    static const struct {
        int rc, status, retry_s;
        const char *code, *hint;
    } map[] = {
        {BASE_EINVALID, 422, 0, "invalid_value", ""},
        {BASE_ETOOBIG, 413, 0, "too_large", "Ask for less at once, or send less."},
        {BASE_ENOTFOUND, 404, 0, "not_found", ""},
        {BASE_EEXISTS, 409, 0, "exists", "A row with this id is here already. Choose another id."},
        {BASE_EDENIED, 403, 0, "read_only", "This is not written at a node."},
        {BASE_ESTALE, 412, 0, "stale_version", "Look at the row as it is now and decide again."},
        {BASE_EUNSUPPORTED, 422, 0, "not_supported", ""},
        {BASE_EBUSY, 503, 1, "busy", "Nothing was done. Try again."},
        {BASE_ENOMEM, 503, 1, "busy", "Nothing was done. Try again."},
        {BASE_ECANCELED, 503, 5, "stopping", "Nothing was done. Try again."},
        {BASE_EFULL, 507, 0, "disk_full",
         "Nothing was done. Tell the people who look after this box."},
    };
    /* A lower layer's words about input and rows are for the client; those about files and memory
     * are for the log. */
    for (size_t i = 0; i < sizeof map / sizeof map[0]; i++)
        if (map[i].rc == rc) {
            bool inner = base_code_class(rc) == BASE_CLASS_RETRY;
            api_refuse(c, map[i].status, map[i].code, map[i].hint, "%s",
                       inner || text == NULL || *text == '\0' ? base_code_text(rc) : text);
            c->problem.retry_after_s = map[i].retry_s;
            if (inner)
                base_log(BASE_LOG_WARN, "api_refused", "%s: %s", map[i].code,
                         text != NULL ? text : "");
            return;
        }
    base_log(BASE_LOG_ERROR, "api_failed", "%s: %s", base_code_name(rc), text != NULL ? text : "");
    api_refuse(c, 500, "internal",
               "Nothing was done. The log has the reason under this request_id.", "%s",
               "the node could not do this");
}

const char *api_as_of(const struct node_api *a)
{
    return a->status.sync.last_pull_at[0] != '\0' ? a->status.sync.last_pull_at : NULL;
}

static void security_headers(struct net_http_exchange *x, struct node_api *a, const char *policy)
{
    const char *as_of = api_as_of(a);
    net_http_reply_header(x, "Cache-Control", "no-store");
    net_http_reply_header(x, "Content-Security-Policy", policy);
    net_http_reply_header(x, "Referrer-Policy", "no-referrer");
    net_http_reply_header(x, "Data-As-Of", as_of != NULL ? as_of : "never");
}

void api_headers_for(struct api_call *c, const char *policy)
{
    security_headers(c->x, c->api, policy);
}

void api_headers(struct api_call *c)
{
    api_headers_for(c, "default-src 'none'; frame-ancestors 'none'");
}

void api_plain(struct net_http_exchange *x, int status, const char *type, const char *text,
               size_t len)
{
    net_http_reply(x, status, type, text, len);
}

static void latency_count(struct node_api *a, int64_t us)
{
    int step = 0;
    for (int64_t limit = 500; step < API_LATENCY_STEPS && us > limit; limit *= 2)
        step++;
    a->latency[step]++;
    a->latency_count++;
    a->latency_us += (uint64_t)us;
}

void api_free(struct api_call *c)
{
    node_grants_unref(c->grants);
    if (c->json != NULL)
        cJSON_Delete(c->json);
    base_buf_release(&c->body);
    base_arena_release(&c->arena);
    free(c);
}

static void problem_extra(struct base_buf *extra, const struct api_problem *p)
{
    if (p->column[0] != '\0') {
        base_buf_str(extra, "\"errors\":[{\"column\":");
        base_buf_json_str(extra, p->column);
        base_buf_str(extra, ",\"detail\":");
        base_buf_json_str(extra, p->detail);
        base_buf_str(extra, "}]");
    }
    if (p->index >= 0)
        base_buf_printf(extra, "%s\"index\":%d", extra->len > 0 ? "," : "", p->index);
    if (p->attempts_left > 0)
        base_buf_printf(extra, "%s\"attempts_left\":%d", extra->len > 0 ? "," : "",
                        p->attempts_left);
    if (p->current != NULL) {
        base_buf_str(extra, extra->len > 0 ? ",\"current\":" : "\"current\":");
        base_buf_str(extra, p->current);
    }
}

static void reply_problem(struct api_call *c)
{
    const struct api_problem *p = &c->problem;
    struct base_buf extra;
    base_buf_init(&extra, API_REPLY_BYTES_MAX);
    problem_extra(&extra, p);
    if (p->retry_after_s > 0)
        net_http_retry_after(c->x, p->retry_after_s);
    if (p->status == 401)
        net_http_reply_header(c->x, "WWW-Authenticate", "Bearer realm=\"everward\"");
    net_http_problem_with(c->x, p->status, p->code, p->detail, p->hint[0] != '\0' ? p->hint : NULL,
                          extra.len > 0 && base_buf_check(&extra) == 0 ? extra.data : NULL);
    base_buf_release(&extra);
}

void api_finish(struct api_call *c)
{
    struct net_http_exchange *x = c->x;
    api_headers(c);
    latency_count(c->api, base_clock_monotonic_us() - c->began_us);
    if (c->problem.status == 0 && base_buf_check(&c->body) != 0)
        api_refuse_rc(c, base_buf_check(&c->body), "the reply is too large");
    if (c->problem.status != 0) {
        if (c->problem.status == 403 && c->grants != NULL)
            api_audit_refused(c);
        reply_problem(c);
        api_free(c);
        return;
    }
    if (c->etag[0] != '\0')
        net_http_reply_header(x, "ETag", c->etag);
    if (c->location[0] != '\0')
        net_http_reply_header(x, "Location", c->location);
    if (c->replayed)
        net_http_reply_header(x, "Idempotency-Replayed", "true");
    size_t len = c->body.len;
    if (len == 0)
        net_http_reply(x, c->status, "application/json", "", 0);
    else
        net_http_reply_take(x, c->status, "application/json", base_buf_take(&c->body), len);
    api_free(c);
}

static struct api_call *call_new(struct net_http_exchange *x, struct node_api *a)
{
    struct api_call *c = calloc(1, sizeof *c);
    if (c == NULL) {
        net_http_retry_after(x, 1);
        net_http_problem(x, 503, "busy", "out of memory", "Nothing was done. Try again.");
        return NULL;
    }
    c->api = a;
    c->x = x;
    c->status = 200;
    c->problem.index = -1;
    c->began_us = base_clock_monotonic_us();
    c->now_ms = base_clock_wall_ms();
    base_time_format(c->now_ms, c->now);
    base_arena_init(&c->arena, API_ARENA_BYTES_MAX);
    base_buf_init(&c->body, API_REPLY_BYTES_MAX);
    c->request_id = net_http_request_id(x);
    if (a->engine != NULL)
        node_engine_status(a->engine, &a->status);
    c->clock = a->engine != NULL ? a->status.clock : CORE_CLOCK_UNSURE;
    c->complete = a->status.sync.filled;
    const char *as_of = api_as_of(a);
    c->data_as_of = as_of == NULL ? NULL : base_arena_copy(&c->arena, as_of, strlen(as_of));
    return c;
}

static bool rate_ok(struct api_call *c, struct node_session *s, bool login)
{
    c->problem.retry_after_s = api_rate(c->api, s, net_http_peer(c->x), login);
    if (c->problem.retry_after_s == 0)
        return true;
    api_refuse(c, 429, "too_many_requests",
               "Nothing was done. Try again after the time in Retry-After.",
               "too many requests from here");
    return false;
}

struct api_call *api_begin_open(struct net_http_exchange *x, struct node_api *a)
{
    struct api_call *c = call_new(x, a);
    if (c != NULL && !rate_ok(c, NULL, strcmp(net_http_method(x), "POST") == 0)) {
        api_finish(c);
        return NULL;
    }
    return c;
}

const char *api_cookie(const struct net_http_exchange *x, const char *name, size_t *len)
{
    const char *s = net_http_header(x, "Cookie");
    *len = 0;
    while (s != NULL && *s != '\0') {
        while (*s == ' ')
            s++;
        if (strncmp(s, name, strlen(name)) == 0) {
            s += strlen(name);
            *len = strcspn(s, "; ");
            return s;
        }
        s = strchr(s, ';');
        s = s == NULL ? NULL : s + 1;
    }
    return NULL;
}

/* What came as a bearer: ours is one word, an access token (a JWT) has points. */
static const char *jwt_of(const struct api_call *c, size_t *len)
{
    const char *auth = net_http_header(c->x, "Authorization");
    if (c->api->oidc == NULL || auth == NULL || strncasecmp(auth, "Bearer ", 7) != 0 ||
        strchr(auth + 7, '.') == NULL)
        return NULL;
    *len = strlen(auth + 7);
    return auth + 7;
}

static struct node_session *session_of(struct api_call *c)
{
    const char *auth = net_http_header(c->x, "Authorization");
    const char *token = NULL;
    size_t len = 0;
    if (auth != NULL) {
        if (strncasecmp(auth, "Bearer ", 7) != 0)
            return NULL;
        token = auth + 7;
        len = strlen(token);
    } else {
        token = api_cookie(c->x, api_cookie_name(c->api), &len);
        c->by_cookie = true;
    }
    return token == NULL ? NULL : node_people_session(c->api->people, token, len, c->now_ms);
}

bool api_device_secret(const struct api_call *c, uint8_t hash[32])
{
    const char *secret = net_http_header(c->x, "X-Everward-Device");
    size_t len = secret == NULL ? 0 : strlen(secret);
    if (secret == NULL)
        secret = api_cookie(c->x, api_device_cookie_name(c->api), &len);
    return secret != NULL && node_secret_hash(hash, secret, len);
}

/* A browser sends the cookie along with what another page makes it send: then the page must be
 * ours. */
static bool same_origin(const struct net_http_exchange *x)
{
    const char *site = net_http_header(x, "Sec-Fetch-Site");
    const char *origin = net_http_header(x, "Origin");
    const char *host = net_http_header(x, "Host");
    if (site != NULL && strcmp(site, "same-origin") != 0)
        return false;
    if (origin == NULL || host == NULL)
        return site != NULL;
    const char *rest = strncmp(origin, "https://", 8) == 0  ? origin + 8
                       : strncmp(origin, "http://", 7) == 0 ? origin + 7
                                                            : NULL;
    return rest != NULL && strcasecmp(rest, host) == 0;
}

enum auth { AUTH_OK, AUTH_REFUSED, AUTH_LATER /* the call is given away */ };

/* Whose token is not known yet, or was looked at too long ago. */
static bool must_wait(struct api_call *c, struct node_session **s)
{
    size_t len = 0;
    bool fresh = true;
    const char *jwt = jwt_of(c, &len);
    if (jwt == NULL)
        return false;
    *s = node_people_token(c->api->people, jwt, len, c->now_ms, &fresh);
    return !fresh && c->api->again != c->x;
}

static enum auth admit(struct api_call *c)
{
    size_t len = 0;
    const char *jwt = jwt_of(c, &len);
    api_oidc_admit(c, jwt, len);
    return AUTH_LATER;
}

static enum auth authenticate(struct api_call *c)
{
    if (!api_ready(c->api)) {
        api_refuse(c, 503, "starting", "Nothing was done. Try again.", "the node is starting");
        c->problem.retry_after_s = 1;
        return AUTH_REFUSED;
    }
    struct node_session *s = session_of(c);
    bool wait = must_wait(c, &s);
    if (!rate_ok(c, s, false))
        return AUTH_REFUSED;
    if (wait)
        return admit(c);
    if (s == NULL) {
        api_refuse(c, 401, "not_logged_in", "Log in with POST /api/v1/session and send the token.",
                   "no valid session came with this request");
        return AUTH_REFUSED;
    }
    bool safe = strcmp(net_http_method(c->x), "GET") == 0;
    if (c->by_cookie && !safe && !same_origin(c->x)) {
        api_refuse(c, 403, "cross_site", "Programs send the token in Authorization: Bearer.",
                   "the request came from another site");
        return AUTH_REFUSED;
    }
    if (!c->locked_too && node_people_locked(c->api->people, s, c->now_ms)) {
        api_refuse(c, 423, "session_locked", "Unlock it with the PIN, or log in by password.",
                   "the session is locked");
        return AUTH_REFUSED;
    }
    c->grants = node_grants_ref(s->grants);
    memcpy(c->session_hash, s->hash, sizeof c->session_hash);
    snprintf(c->device, sizeof c->device, "%s", s->device.name);
    return AUTH_OK;
}

static struct api_call *begin(struct net_http_exchange *x, struct node_api *a, bool locked_too)
{
    struct api_call *c = call_new(x, a);
    if (c == NULL)
        return NULL;
    c->locked_too = locked_too;
    enum auth auth = authenticate(c);
    if (auth == AUTH_REFUSED)
        api_finish(c);
    if (auth != AUTH_OK)
        return NULL;
    const char *table = net_http_param(x, "table");
    c->table = table;
    return c;
}

struct api_call *api_begin(struct net_http_exchange *x, struct node_api *a)
{
    return begin(x, a, false);
}

struct api_call *api_begin_locked(struct net_http_exchange *x, struct node_api *a)
{
    return begin(x, a, true);
}

bool api_may(struct api_call *c, enum node_action action, const char *table)
{
    if (node_grants_may(c->grants, action, table))
        return true;
    const char *word = action == NODE_MAY_READ     ? "read"
                       : action == NODE_MAY_CREATE ? "create"
                       : action == NODE_MAY_UPDATE ? "update"
                       : action == NODE_MAY_DELETE ? "delete"
                                                   : "resolve";
    api_refuse(c, 403, "not_permitted", "Roles and what they may do are set at the centre.",
               "none of your roles may %s %s", word, table);
    return false;
}

int api_take_id(struct api_call *c)
{
    const char *id = net_http_param(c->x, "id");
    if (id != NULL && base_uuid_parse(&c->id, id, strlen(id)))
        return 0;
    return api_refuse(c, 400, "invalid_id", "Ids are uuids of 36 characters.",
                      "the id in the path is not a uuid");
}

int api_take_json(struct api_call *c)
{
    size_t len = 0;
    const char *body = net_http_body(c->x, &len);
    const char *type = net_http_header(c->x, "Content-Type");
    struct base_err err;
    if (type == NULL || (strncasecmp(type, "application/json", 16) != 0 &&
                         strncasecmp(type, "application/merge-patch+json", 28) != 0))
        return api_refuse(c, 415, "unsupported_media_type", "Send Content-Type: application/json.",
                          "the body must be JSON");
    if (net_json_parse(&c->json, body != NULL ? body : "", len, &err) != 0)
        return api_refuse(c, 400, "bad_json", NULL, "%s", err.text);
    if (!cJSON_IsObject(c->json))
        return api_refuse(c, 400, "bad_json", NULL, "the body must be a JSON object");
    return 0;
}

int api_take_if_match(struct api_call *c, bool required)
{
    const char *tag = net_http_header(c->x, "If-Match");
    if (tag == NULL) {
        if (!required)
            return 0;
        return api_refuse(c, 428, "version_required",
                          "Send If-Match with the ETag of the row as it was shown.",
                          "this needs the version that was seen");
    }
    if (!api_etag_parse(&c->version, tag))
        return api_refuse(c, 400, "bad_version",
                          "Send the ETag exactly as it came: \"<rev>.<pending>\".",
                          "If-Match is not a version of ours");
    c->has_version = true;
    return 0;
}

int api_take_key(struct api_call *c, bool required)
{
    const char *key = net_http_header(c->x, "Idempotency-Key");
    size_t n = key == NULL ? 0 : strlen(key);
    if (key == NULL && !required)
        return 0;
    if (key == NULL)
        return api_refuse(c, 400, "idempotency_key_required",
                          "Send Idempotency-Key: a new random text for each thing done, the same "
                          "when it is sent again.",
                          "this needs an Idempotency-Key");
    bool good = n >= 1 && n <= API_KEY_BYTES_MAX;
    for (size_t i = 0; i < n && good; i++)
        good = key[i] > 0x20 && key[i] < 0x7F;
    if (!good)
        return api_refuse(c, 400, "bad_idempotency_key", NULL,
                          "Idempotency-Key must be 1 to %d visible ASCII characters",
                          API_KEY_BYTES_MAX);
    size_t body_len = 0;
    const char *body = net_http_body(c->x, &body_len);
    const char *tag = net_http_header(c->x, "If-Match");
    struct base_buf text;
    base_buf_init(&text, API_BODY_BYTES_MAX * 2);
    base_buf_add(&text, c->grants->staff_id.bytes, BASE_UUID_BYTES);
    base_buf_add(&text, key, n);
    if (base_buf_check(&text) == 0)
        seal_hash(c->key_hash, text.data, text.len);
    base_buf_clear(&text);
    base_buf_printf(&text, "%s\n%s\n%s\n", net_http_method(c->x), net_http_path(c->x),
                    tag != NULL ? tag : "");
    base_buf_add(&text, body != NULL ? body : "", body_len);
    int rc = base_buf_check(&text);
    if (rc == 0)
        seal_hash(c->request_hash, text.data, text.len);
    base_buf_release(&text);
    if (rc != 0) {
        api_refuse_rc(c, rc, "no memory for the request");
        return rc;
    }
    c->has_key = true;
    return 0;
}

static bool take_param(void *user, const char *name, const char *value)
{
    struct api_call *c = user;
    if (c->param_count < API_PARAMS_MAX)
        c->params[c->param_count] = (struct api_param){name, value};
    return ++c->param_count <= API_PARAMS_MAX;
}

int api_take_params(struct api_call *c)
{
    net_http_query_each(c->x, c, take_param);
    if (c->param_count > API_PARAMS_MAX)
        return api_refuse(c, 400, "too_many_parameters", NULL, "at most %d query parameters",
                          API_PARAMS_MAX);
    return 0;
}
