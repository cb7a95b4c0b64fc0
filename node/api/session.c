/*
 * /api/v1/session: log in, who am I, log out.
 */
#include <stdlib.h>
#include <string.h>

#include "node/api/internal.h"

static void json_time(struct base_buf *out, const char *name, int64_t ms)
{
    char text[BASE_TIME_CHARS + 1];
    base_time_format(ms, text);
    base_buf_printf(out, ",\"%s\":\"%s\"", name, text);
}

static void render_session(struct base_buf *out, const struct node_api *a,
                           const struct node_session *s, const char *token, int64_t idle_s)
{
    const struct node_grants *g = s->grants;
    base_buf_char(out, '{');
    if (token != NULL) {
        base_buf_str(out, "\"token\":");
        base_buf_json_str(out, token);
        base_buf_char(out, ',');
    }
    base_buf_str(out, "\"staff\":{\"id\":");
    api_render_uuid(out, &g->staff_id);
    base_buf_str(out, ",\"username\":");
    base_buf_json_str(out, g->username);
    base_buf_str(out, ",\"name\":");
    base_buf_json_str(out, g->name);
    base_buf_str(out, "},\"roles\":[");
    for (int i = 0; i < g->role_count; i++) {
        base_buf_str(out, i > 0 ? "," : "");
        base_buf_json_str(out, g->roles[i]);
    }
    base_buf_str(out, "],\"device\":");
    base_buf_json_str(out, s->device[0] != '\0' ? s->device : NULL);
    json_time(out, "expires_at", s->created_ms + NODE_SESSION_LIFE_MS);
    json_time(out, "idle_expires_at", s->seen_ms + idle_s * 1000);
    base_buf_printf(out, ",\"idle_timeout_s\":%lld,\"data_as_of\":", (long long)idle_s);
    base_buf_json_str(out, api_as_of(a));
    base_buf_char(out, '}');
}

static const char *const refused_hint =
    "Check name and password. After several failures there is a delay.";

static void login_done(void *user, const struct node_login *login)
{
    struct api_call *c = user;
    struct node_api *a = c->api;
    char cookie[160];
    switch (login->result) {
    case NODE_LOGIN_OK:
        render_session(&c->body, a, login->session, login->token, node_people_idle_s(a->people));
        snprintf(cookie, sizeof cookie,
                 "__Host-everward=%s; Path=/; Secure; HttpOnly; SameSite=Strict", login->token);
        net_http_reply_header(c->x, "Set-Cookie", cookie);
        break;
    case NODE_LOGIN_REFUSED:
        a->logins_refused++;
        api_refuse(c, 401, "login_failed", refused_hint, "name or password is not right");
        break;
    case NODE_LOGIN_DELAYED:
        a->logins_refused++;
        api_refuse(c, 429, "login_delayed", "Wait, or ask a supervisor.",
                   "too many failed attempts with this name");
        c->problem.retry_after_s = login->retry_after_s;
        break;
    case NODE_LOGIN_EXPIRED:
        api_refuse(c, 403, "offline_credentials_expired", "Bring the line to the centre back.",
                   "this node has not met the centre for so long that its staff list is not "
                   "trusted any more");
        break;
    case NODE_LOGIN_BUSY:
        api_refuse(c, 503, "busy", "Nothing was done. Try again.",
                   "too many people log in at this moment");
        c->problem.retry_after_s = login->retry_after_s;
        break;
    case NODE_LOGIN_ERROR:
        api_refuse(c, 500, "internal", "Nothing was done. The log has the reason.",
                   "the login could not be done");
        break;
    }
    api_finish(c);
    api_job_end(a);
}

static int64_t last_contact_ms(const struct node_api *a)
{
    const char *times[] = {a->status.last_contact_at, a->status.sync.last_pull_at,
                           a->status.sync.last_push_at};
    int64_t newest = 0;
    int64_t at = 0;
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++)
        if (node_moment_ms(&at, times[i], strlen(times[i])) && at > newest)
            newest = at;
    return newest;
}

static int read_login(struct api_call *c, const char **name, const char **password,
                      const char **device)
{
    static const char *const names[] = {"name", "password", "device", NULL};
    struct base_err err;
    *device = "";
    if (net_json_only(c->json, names, &err) != 0 ||
        net_json_str(c->json, "name", NODE_LOGIN_NAME_BYTES_MAX, name, &err) != 0 ||
        net_json_str(c->json, "password", NODE_LOGIN_PASSWORD_BYTES_MAX, password, &err) != 0 ||
        (net_json_has(c->json, "device") &&
         net_json_str(c->json, "device", NODE_DEVICE_BYTES_MAX, device, &err) != 0))
        return api_refuse(c, 400, "bad_login",
                          "Send {\"name\":…,\"password\":…} and, if you like, \"device\".", "%s",
                          err.text);
    return 0;
}

void api_on_login(struct net_http_exchange *x, void *user)
{
    struct node_api *a = user;
    struct api_call *c = api_begin_open(x, a);
    const char *name = NULL;
    const char *password = NULL;
    const char *device = NULL;
    if (c == NULL)
        return;
    if (!api_ready(a)) {
        api_refuse(c, 503, "starting", "Nothing was done. Try again.", "the node is starting");
        c->problem.retry_after_s = 1;
    }
    if (c->problem.status != 0 || api_take_json(c) != 0 ||
        read_login(c, &name, &password, &device) != 0) {
        api_finish(c);
        return;
    }
    api_job_begin(a);
    node_people_login(a->people, name, password, device, c->request_id, last_contact_ms(a), c,
                      login_done);
}

void api_on_whoami(struct net_http_exchange *x, void *user)
{
    struct node_api *a = user;
    struct api_call *c = api_begin(x, a);
    if (c == NULL)
        return;
    struct node_session *s = node_people_session_by_hash(a->people, c->session_hash, c->now_ms);
    if (s != NULL)
        render_session(&c->body, a, s, NULL, node_people_idle_s(a->people));
    api_finish(c);
}

static void logout_done(void *user, int rc)
{
    struct api_call *c = user;
    struct node_api *a = c->api;
    /* In memory it is over either way; in the store a session that could not be deleted would live
     * on after a restart. */
    if (rc != 0)
        api_refuse_rc(c, rc, "the session could not be deleted");
    c->status = 204;
    net_http_reply_header(c->x, "Set-Cookie",
                          "__Host-everward=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0");
    api_finish(c);
    api_job_end(a);
}

void api_on_logout(struct net_http_exchange *x, void *user)
{
    struct node_api *a = user;
    struct api_call *c = api_begin(x, a);
    if (c == NULL)
        return;
    api_job_begin(a);
    node_people_logout(a->people, c->session_hash, c->request_id, c, logout_done);
}
