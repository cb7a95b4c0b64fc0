/*
 * /api/v1/devices: offering, claiming, listing, changing, revoking tablets.
 */
#include "node/people/devices.h"

#include <string.h>

#include "node/api/internal.h"

/* Any session may set this; in the call's arena. */
struct device_call {
    const char *name, *token, *code;
    enum node_device_class class;
    bool has_class;
    struct node_device_name after;
};

static void render(struct api_call *c, const struct node_device *d, bool all)
{
    struct base_buf *out = &c->body;
    base_buf_str(out, "{\"id\":");
    api_render_uuid(out, &d->name.id);
    base_buf_str(out, ",\"name\":");
    base_buf_json_str(out, d->name.name);
    base_buf_printf(out, ",\"class\":\"%s\",\"idle_timeout_s\":%lld",
                    node_device_class_name(d->name.class),
                    (long long)node_device_idle_s(&c->api->people_config, d->name.class));
    api_render_time(out, "paired_at", d->paired_ms);
    base_buf_str(out, ",\"paired_by\":");
    base_buf_json_str(out, d->paired_by[0] != '\0' ? d->paired_by : NULL);
    api_render_time(out, "last_seen_at", d->seen_ms);
    if (all) {
        base_buf_str(out, ",\"last_user\":");
        base_buf_json_str(out, d->last_user[0] != '\0' ? d->last_user : NULL);
        base_buf_printf(out, ",\"sessions\":%d", d->sessions);
    }
    api_render_time(out, "revoked_at", d->revoked_ms);
    base_buf_char(out, '}');
}

static bool is_name(const char *s)
{
    if (*s == '\0' || *s == ' ')
        return false;
    for (const unsigned char *p = (const unsigned char *)s; *p != '\0'; p++)
        if (*p < 0x20 || *p == 0x7F)
            return false;
    return true;
}

/* The members there are; which must be there is the caller's to say. */
static int take(struct api_call *c, const char *const names[], struct device_call *d)
{
    const char *class = NULL;
    struct base_err err;
    int rc = net_json_only(c->json, names, &err);
    if (rc == 0 && net_json_has(c->json, "name"))
        rc = net_json_str(c->json, "name", NODE_DEVICE_BYTES_MAX, &d->name, &err);
    if (rc == 0 && net_json_has(c->json, "class"))
        rc = net_json_str(c->json, "class", 16, &class, &err);
    if (rc == 0 && net_json_has(c->json, "token"))
        rc = net_json_str(c->json, "token", 128, &d->token, &err);
    if (rc == 0 && net_json_has(c->json, "code"))
        rc = net_json_str(c->json, "code", 32, &d->code, &err);
    if (rc != 0)
        return api_refuse(c, 400, "bad_device", NULL, "%s", err.text);
    d->has_class = class != NULL;
    if (d->has_class && !node_device_class_parse(&d->class, class))
        return api_refuse_column(c, 422, "invalid_value", "class",
                                 "class: expected tablet, workstation or shared");
    if (d->name != NULL && !is_name(d->name))
        return api_refuse_column(c, 422, "invalid_value", "name",
                                 "name: expected text without control characters");
    return 0;
}

static struct device_call *details(struct api_call *c)
{
    struct device_call *d = base_arena_get(&c->arena, sizeof *d);
    if (d == NULL) {
        api_refuse_rc(c, BASE_ENOMEM, "out of memory");
        return NULL;
    }
    memset(d, 0, sizeof *d);
    c->user = d;
    return d;
}

static int refuse_name(struct api_call *c)
{
    return api_refuse(c, 409, "device_name_taken", "Choose another name, or revoke that device.",
                      "a device of that name is paired already");
}

static int pairing_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    const struct device_call *d = c->user;
    struct node_pairing p;
    struct node_author author;
    const char *host = net_http_header(c->x, "Host");
    api_author(c, &author);
    int rc = node_pairing_make(db, &author, d->name, d->class, c->now_ms, &p, err);
    if (rc == BASE_EEXISTS)
        return refuse_name(c);
    if (rc == BASE_EFULL) {
        c->problem.retry_after_s = NODE_PAIRING_LIFE_MS / 1000;
        return api_refuse(c, 429, "too_many_pairings", "Use those that are open, or wait.", "%s",
                          err->text);
    }
    if (rc != 0)
        return rc;
    base_buf_printf(&c->body, "{\"token\":\"%s\",\"code\":\"%s\",\"url\":", p.token, p.code);
    char url[512];
    snprintf(url, sizeof url, "https://%.255s/pair#%s", host != NULL ? host : "", p.token);
    base_buf_json_str(&c->body, url);
    base_buf_str(&c->body, ",\"qr\":{\"path\":\"");
    int side = api_qr_path(&c->body, url);
    base_buf_printf(&c->body, "\",\"side\":%d}", side);
    base_buf_printf(&c->body, ",\"class\":\"%s\",\"name\":", node_device_class_name(d->class));
    base_buf_json_str(&c->body, d->name);
    api_render_time(&c->body, "expires_at", p.expires_ms);
    base_buf_char(&c->body, '}');
    c->status = 201;
    return 0;
}

void api_on_pairing(struct net_http_exchange *x, void *user)
{
    static const char *const names[] = {"name", "class", NULL};
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    struct device_call *d = details(c);
    if (d == NULL || !api_may(c, NODE_MAY_CREATE, "device") || api_take_json(c) != 0 ||
        take(c, names, d) != 0) {
        api_finish(c);
        return;
    }
    if (d->name == NULL || !d->has_class) {
        api_refuse(c, 400, "bad_device", "Send {\"name\":…,\"class\":…}.",
                   "name and class must be given");
        api_finish(c);
        return;
    }
    api_run_write(c, pairing_work);
}

static int claim_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    const struct device_call *d = c->user;
    struct node_device made;
    char secret[NODE_SESSION_TOKEN_CHARS + 1];
    int rc = node_pairing_claim(db, d->token, d->code, d->name != NULL ? d->name : "",
                                c->request_id, c->now_ms, &made, secret, err);
    if (rc == BASE_EEXISTS)
        return refuse_name(c);
    if (rc == BASE_ENOTFOUND) {
        struct node_author author = {.device = "", .request_id = c->request_id};
        api_refuse(c, 401, "pairing_failed", "Ask for a new code.",
                   "that code is wrong, used, or older than ten minutes");
        return node_audit_add(db, &author, "device_paired", NULL, NULL, NULL, "refused", "", err);
    }
    if (rc != 0)
        return rc;
    c->secret = base_arena_copy(&c->arena, secret, sizeof secret - 1);
    base_buf_str(&c->body, "{\"device\":");
    render(c, &made, false);
    base_buf_printf(&c->body, ",\"device_token\":\"%s\"}", secret);
    seal_wipe(secret, sizeof secret);
    c->status = 201;
    return c->secret != NULL ? 0 : BASE_ENOMEM;
}

static void claimed(struct api_call *c)
{
    char cookie[192];
    snprintf(cookie, sizeof cookie,
             "%s%s; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=31536000",
             api_device_cookie_name(c->api), c->secret);
    net_http_reply_header(c->x, "Set-Cookie", cookie);
    seal_wipe(cookie, sizeof cookie);
}

/* Anybody: what is sent is the permission. */
void api_on_claim(struct net_http_exchange *x, void *user)
{
    static const char *const names[] = {"token", "code", "name", NULL};
    struct api_call *c = api_begin_open(x, user);
    if (c == NULL)
        return;
    struct device_call *d = details(c);
    if (d == NULL || api_take_json(c) != 0 || take(c, names, d) != 0) {
        api_finish(c);
        return;
    }
    if ((d->token == NULL) == (d->code == NULL)) {
        api_refuse(c, 400, "bad_device", "Send {\"token\":…} or {\"code\":…}.",
                   "one of token and code must be given");
        api_finish(c);
        return;
    }
    c->after = claimed;
    api_run_write(c, claim_work);
}

static bool list_one(void *user, const struct node_device *d)
{
    struct api_call *c = user;
    if (c->body.data[c->body.len - 1] != '[')
        base_buf_char(&c->body, ',');
    render(c, d, true);
    return base_buf_check(&c->body) == 0;
}

static int list_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    base_buf_str(&c->body, "{\"data_as_of\":");
    base_buf_json_str(&c->body, c->data_as_of);
    base_buf_str(&c->body, ",\"items\":[");
    int rc = node_device_each(db, c, list_one, err);
    base_buf_str(&c->body, "]}");
    return rc;
}

void api_on_devices(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    if (!api_may(c, NODE_MAY_READ, "device"))
        api_finish(c);
    else
        api_run(c, list_work);
}

static int self_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    struct node_device d;
    uint8_t hash[32];
    int rc = api_device_secret(c, hash) ? node_device_by_secret(db, hash, &d, err) : BASE_ENOTFOUND;
    if (rc == BASE_ENOTFOUND)
        return api_refuse(c, 401, "not_paired", "Pair this device again.",
                          "this device is not paired here (any more)");
    if (rc != 0)
        return rc;
    base_buf_str(&c->body, "{\"device\":");
    render(c, &d, false);
    base_buf_char(&c->body, '}');
    return 0;
}

/* The device's secret decides. */
void api_on_device_self(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin_open(x, user);
    if (c != NULL)
        api_run(c, self_work);
}

static int missing(struct api_call *c, int rc)
{
    return rc != BASE_ENOTFOUND ? rc
                                : api_refuse(c, 404, "not_found", NULL, "there is no such device");
}

static int change_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    struct device_call *d = c->user;
    struct node_device now;
    struct node_author author;
    api_author(c, &author);
    int rc = node_device_change(db, &author, &c->id, d->name, d->has_class ? &d->class : NULL, err);
    if (rc == BASE_EEXISTS)
        return refuse_name(c);
    if (rc == 0)
        rc = node_device_get(db, &c->id, &now, err);
    if (rc != 0)
        return missing(c, rc);
    d->after = now.name;
    render(c, &now, true);
    return 0;
}

static void changed(struct api_call *c)
{
    const struct device_call *d = c->user;
    node_people_device_moved(c->api->people, &d->after);
}

void api_on_device_change(struct net_http_exchange *x, void *user)
{
    static const char *const names[] = {"name", "class", NULL};
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    struct device_call *d = details(c);
    if (d == NULL || !api_may(c, NODE_MAY_UPDATE, "device") || api_take_id(c) != 0 ||
        api_take_json(c) != 0 || take(c, names, d) != 0) {
        api_finish(c);
        return;
    }
    c->after = changed;
    api_run_write(c, change_work);
}

static int revoke_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    struct node_author author;
    api_author(c, &author);
    return missing(c, node_device_revoke(db, &author, &c->id, c->now_ms, err));
}

static void revoked(struct api_call *c)
{
    (void)node_people_end_device(c->api->people, &c->id);
}

void api_on_device_revoke(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    if (!api_may(c, NODE_MAY_DELETE, "device") || api_take_id(c) != 0) {
        api_finish(c);
        return;
    }
    c->status = 204;
    c->after = revoked;
    api_run_write(c, revoke_work);
}
