/*
 * /api/v1/session: log in, who am I, log out.
 */
#include <stdlib.h>
#include <string.h>

#include "node/api/internal.h"

void api_render_time(struct base_buf *out, const char *name, int64_t ms)
{
    char text[BASE_TIME_CHARS + 1];
    base_time_format(ms, text);
    base_buf_printf(out, ",\"%s\":", name);
    base_buf_json_str(out, ms == 0 ? NULL : text);
}

static void render_device(struct base_buf *out, const struct node_session *s)
{
    bool paired = !base_uuid_is_zero(&s->device.id);
    base_buf_str(out, "],\"device\":");
    base_buf_json_str(out, s->device.name[0] != '\0' ? s->device.name : NULL);
    base_buf_str(out, ",\"device_id\":");
    if (paired)
        api_render_uuid(out, &s->device.id);
    else
        base_buf_str(out, "null");
    base_buf_str(out, ",\"device_class\":");
    base_buf_json_str(out, paired ? node_device_class_name(s->device.class) : NULL);
}

/* What the banner shows. */
static void render_glass(struct base_buf *out, const struct node_grants *g)
{
    int64_t now = base_clock_wall_ms();
    bool first = true;
    for (int i = 0; i < g->glass_count; i++) {
        if (g->glass[i].ends_ms <= now)
            continue;
        base_buf_str(out, first ? "{\"id\":" : ",{\"id\":");
        first = false;
        api_render_uuid(out, &g->glass[i].id);
        base_buf_str(out, ",\"patient_id\":");
        api_render_uuid(out, &g->glass[i].patient_id);
        base_buf_printf(out, ",\"reason\":\"%s\"", g->glass[i].reason);
        api_render_time(out, "ends_at", g->glass[i].ends_ms);
        base_buf_char(out, '}');
    }
}

static void render_session(struct base_buf *out, const struct node_api *a,
                           const struct node_session *s, const char *token)
{
    int64_t idle_s = node_people_idle_s(a->people, s);
    bool locked = node_people_locked(a->people, s, base_clock_wall_ms());
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
    render_device(out, s);
    api_render_time(out, "expires_at", s->created_ms + NODE_SESSION_LIFE_MS);
    api_render_time(out, "idle_expires_at", s->seen_ms + idle_s * 1000);
    base_buf_printf(out,
                    ",\"idle_timeout_s\":%lld,\"locked\":%s,\"pin_set\":%s,\"source\":\"node\","
                    "\"break_glass\":[",
                    (long long)idle_s, locked ? "true" : "false", s->has_pin ? "true" : "false");
    render_glass(out, g);
    base_buf_printf(out, "],\"training\":%s,\"data_as_of\":",
                    node_store_identity(a->store)->training ? "true" : "false");
    base_buf_json_str(out, api_as_of(a));
    base_buf_char(out, '}');
}

static const char *const refused_hint =
    "Check name and password. After several failures there is a delay.";

/* Cookies do not know ports: a tablet that knows a training node and a real one must not mix them up. */
const char *api_cookie_name(const struct node_api *a)
{
    return node_store_identity(a->store)->training ? "__Host-everward-training="
                                                   : "__Host-everward=";
}

const char *api_device_cookie_name(const struct node_api *a)
{
    return node_store_identity(a->store)->training ? "__Host-everward-training-device="
                                                   : "__Host-everward-device=";
}

void api_session_cookie(const struct node_api *a, struct net_http_exchange *x, const char *token)
{
    char cookie[160];
    snprintf(cookie, sizeof cookie, "%s%s; Path=/; Secure; HttpOnly; SameSite=Strict",
             api_cookie_name(a), token);
    net_http_reply_header(x, "Set-Cookie", cookie);
    seal_wipe(cookie, sizeof cookie);
}

static void login_done(void *user, const struct node_login *login)
{
    struct api_call *c = user;
    struct node_api *a = c->api;
    switch (login->result) {
    case NODE_LOGIN_OK:
        render_session(&c->body, a, login->session, login->token);
        api_session_cookie(a, c->x, login->token);
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
    case NODE_LOGIN_ELSEWHERE:
        api_refuse(c, 403, "hospital_account", "Use \"Sign in with the hospital's account\".",
                   "this person logs in at the hospital's identity provider while it is there");
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

int64_t api_last_contact_ms(const struct node_api *a)
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
    uint8_t secret[32];
    struct node_login_request r = {.name = name,
                                   .password = password,
                                   .device = device,
                                   .request_id = c->request_id,
                                   .device_secret_hash =
                                       api_device_secret(c, secret) ? secret : NULL,
                                   .last_contact_ms = api_last_contact_ms(a)};
    node_people_login(a->people, &r, c, login_done);
}

void api_on_whoami(struct net_http_exchange *x, void *user)
{
    struct node_api *a = user;
    struct api_call *c = api_begin_locked(x, a);
    if (c == NULL)
        return;
    struct node_session *s = node_people_session_by_hash(a->people, c->session_hash, c->now_ms);
    if (s != NULL)
        render_session(&c->body, a, s, NULL);
    api_finish(c);
}

static void logout_done(void *user, int rc)
{
    struct api_call *c = user;
    struct node_api *a = c->api;
    char cookie[128];
    /* In memory it is over either way; in the store a session that could not be deleted would live
     * on after a restart. */
    if (rc != 0)
        api_refuse_rc(c, rc, "the session could not be deleted");
    c->status = 204;
    snprintf(cookie, sizeof cookie, "%s; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0",
             api_cookie_name(a));
    net_http_reply_header(c->x, "Set-Cookie", cookie);
    api_finish(c);
    api_job_end(a);
}

void api_on_logout(struct net_http_exchange *x, void *user)
{
    struct node_api *a = user;
    struct api_call *c = api_begin_locked(x, a);
    if (c == NULL)
        return;
    api_job_begin(a);
    node_people_logout(a->people, c->session_hash, c->request_id, c, logout_done);
}

/* Locking and the PIN. */

static void pin_answer(struct api_call *c, const struct node_pin *pin)
{
    switch (pin->result) {
    case NODE_PIN_OK:
        return;
    case NODE_PIN_REFUSED:
        c->api->logins_refused++;
        api_refuse(c, 401, "pin_failed", "After too many the session is over.",
                   "that is not right; %d left", pin->attempts_left);
        c->problem.attempts_left = pin->attempts_left;
        break;
    case NODE_PIN_ENDED:
        c->api->logins_refused++;
        api_refuse(c, 401, "not_logged_in", "Log in with name and password.",
                   "the session is over: too many wrong ones");
        break;
    case NODE_PIN_NO_DEVICE:
        api_refuse(c, 403, "not_paired", "Pair this device, or log in with name and password.",
                   "a PIN is for the paired device its session began on");
        break;
    case NODE_PIN_BUSY:
        api_refuse(c, 503, "busy", "Nothing was done. Try again.", "too many at this moment");
        c->problem.retry_after_s = pin->retry_after_s;
        break;
    case NODE_PIN_ERROR:
        api_refuse(c, 500, "internal", "Nothing was done. The log has the reason.",
                   "this could not be done");
        break;
    }
}

static void pin_set_done(void *user, const struct node_pin *pin)
{
    struct api_call *c = user;
    struct node_api *a = c->api;
    c->status = 204;
    pin_answer(c, pin);
    if (pin->result == NODE_PIN_REFUSED) {
        c->problem.code = "login_failed";
        snprintf(c->problem.detail, sizeof c->problem.detail, "the password is not right");
    }
    api_finish(c);
    api_job_end(a);
}

static int read_pin(struct api_call *c, bool setting, struct node_pin_request *r)
{
    static const char *const both[] = {"pin", "password", NULL};
    static const char *const one[] = {"pin", NULL};
    struct base_err err;
    if (net_json_only(c->json, setting ? both : one, &err) != 0 ||
        net_json_str(c->json, "pin", NODE_PIN_DIGITS_MAX, &r->pin, &err) != 0 ||
        (setting &&
         net_json_str(c->json, "password", NODE_LOGIN_PASSWORD_BYTES_MAX, &r->password, &err) != 0))
        return api_refuse(c, 400, "bad_login", "Send \"pin\" and, to set it, \"password\".", "%s",
                          err.text);
    if (setting && !node_pin_is_strong(r->pin))
        return api_refuse(c, 422, "weak_pin", "4 to 12 digits, not all the same, not in a row.",
                          "that PIN is too easy to guess");
    return 0;
}

static void pin_call(struct api_call *c, bool setting, node_pin_cb done)
{
    struct node_api *a = c->api;
    uint8_t secret[32];
    struct node_pin_request r = {.session_hash = c->session_hash, .request_id = c->request_id};
    if (api_take_json(c) != 0 || read_pin(c, setting, &r) != 0) {
        api_finish(c);
        return;
    }
    r.device_secret_hash = api_device_secret(c, secret) ? secret : NULL;
    api_job_begin(a);
    if (setting)
        node_people_pin_set(a->people, &r, c, done);
    else
        node_people_unlock(a->people, &r, c, done);
}

void api_on_pin_set(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c != NULL)
        pin_call(c, true, pin_set_done);
}

static void unlock_done(void *user, const struct node_pin *pin)
{
    struct api_call *c = user;
    struct node_api *a = c->api;
    struct node_session *s =
        node_people_session_by_hash(a->people, c->session_hash, base_clock_wall_ms());
    pin_answer(c, pin);
    if (c->problem.status == 0 && s != NULL)
        render_session(&c->body, a, s, NULL);
    api_finish(c);
    api_job_end(a);
}

void api_on_unlock(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin_locked(x, user);
    if (c != NULL)
        pin_call(c, false, unlock_done);
}

static int own_row(struct api_call *c, struct node_db *db, const char *text, const char *action,
                   struct base_err *err)
{
    struct node_author author;
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st, text, err);
    if (rc != 0)
        return rc;
    node_sql_blob(st, 1, c->session_hash, sizeof c->session_hash);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    api_author(c, &author);
    return rc < 0 ? rc
                  : node_audit_add(db, &author, action, "staff", &c->grants->staff_id, NULL, "ok",
                                   "", err);
}

static int lock_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    return own_row(c, db, "UPDATE node_session SET locked = 1 WHERE token_hash = ?1", "lock", err);
}

static void locked(struct api_call *c)
{
    node_people_lock(c->api->people, c->session_hash);
}

/* Without a way to unlock it again, a session that is locked is over. */
void api_on_lock(struct net_http_exchange *x, void *user)
{
    struct node_api *a = user;
    struct api_call *c = api_begin_locked(x, a);
    if (c == NULL)
        return;
    struct node_session *s = node_people_session_by_hash(a->people, c->session_hash, c->now_ms);
    c->status = 204;
    if (s != NULL && s->has_pin && !base_uuid_is_zero(&s->device.id)) {
        c->after = locked;
        api_run_write(c, lock_work);
        return;
    }
    api_job_begin(a);
    node_people_logout(a->people, c->session_hash, c->request_id, c, logout_done);
}

static int pin_drop_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    return own_row(c, db,
                   "DELETE FROM node_pin WHERE staff_id = (SELECT staff_id FROM node_session WHERE "
                   "token_hash = ?1)",
                   "pin_dropped", err);
}

static void pin_dropped(struct api_call *c)
{
    node_people_pin_moved(c->api->people, &c->grants->staff_id, false);
}

void api_on_pin_drop(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    c->status = 204;
    c->after = pin_dropped;
    api_run_write(c, pin_drop_work);
}
