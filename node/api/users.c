/*
 * /api/v1/users: the node's list of people as a supervisor sees it; opening a name that failed too often, and sending
 * somebody away. All of it works with the line down.
 */
#include <string.h>

#include "node/api/internal.h"
#include "node/people/users.h"

static bool list_one(void *user, const struct node_user *u)
{
    struct api_call *c = user;
    struct base_buf *out = &c->body;
    const struct node_people_config *config = &c->api->people_config;
    int64_t until =
        u->failures >= config->failed_attempts ? u->failed_ms + config->failed_delay_s * 1000 : 0;
    base_buf_str(out, out->data[out->len - 1] == '[' ? "{\"id\":" : ",{\"id\":");
    api_render_uuid(out, &u->id);
    base_buf_str(out, ",\"username\":");
    base_buf_json_str(out, u->username);
    base_buf_str(out, ",\"name\":");
    base_buf_json_str(out, u->name);
    base_buf_printf(out, ",\"roles\":%s,\"wards\":%s,\"usable\":%s,\"revoked_at\":", u->roles,
                    u->wards, u->usable ? "true" : "false");
    base_buf_json_str(out, u->revoked_at[0] != '\0' ? u->revoked_at : NULL);
    base_buf_str(out, ",\"valid_until_at\":");
    base_buf_json_str(out, u->valid_until_at[0] != '\0' ? u->valid_until_at : NULL);
    base_buf_printf(out, ",\"has_password\":%s,\"pin_set\":%s,\"sessions\":%d,\"failures\":%lld",
                    u->has_password ? "true" : "false", u->has_pin ? "true" : "false", u->sessions,
                    (long long)u->failures);
    api_render_time(out, "delayed_until", until > c->now_ms ? until : 0);
    api_render_time(out, "last_login_at", u->last_login_ms);
    base_buf_char(out, '}');
    return base_buf_check(out) == 0;
}

static int list_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    int64_t number = 0;
    int rc = node_staff_list_number(db, &number, err);
    base_buf_str(&c->body, "{\"data_as_of\":");
    base_buf_json_str(&c->body, c->data_as_of);
    base_buf_printf(&c->body, ",\"list_number\":%lld,\"items\":[", (long long)number);
    if (rc == 0)
        rc = node_user_each(db, c->now_ms, c, list_one, err);
    base_buf_str(&c->body, "]}");
    return rc;
}

void api_on_users(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    if (!api_may(c, NODE_MAY_READ, "login"))
        api_finish(c);
    else
        api_run(c, list_work);
}

static int missing(struct api_call *c, int rc)
{
    return rc != BASE_ENOTFOUND ? rc
                                : api_refuse(c, 404, "not_found", NULL, "there is no such person");
}

static int unlock_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    struct node_author author;
    api_author(c, &author);
    return missing(c, node_user_unlock(db, &author, &c->id, c->now_ms, err));
}

static int logout_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    struct node_author author;
    int count = 0;
    api_author(c, &author);
    int rc = node_user_logout(db, &author, &c->id, c->now_ms, &count, err);
    base_buf_printf(&c->body, "{\"ended\":%d}", count);
    return missing(c, rc);
}

static void logged_out(struct api_call *c)
{
    (void)node_people_end_staff(c->api->people, &c->id);
}

/* The reason is for whoever looks later; it may name a patient and stays out of audit and log. */
static int take_reason(struct api_call *c)
{
    static const char *const names[] = {"reason", NULL};
    const char *reason = NULL;
    struct base_err err;
    if (net_json_only(c->json, names, &err) != 0 ||
        net_json_str(c->json, "reason", 200, &reason, &err) != 0 || *reason == '\0')
        return api_refuse(c, 400, "bad_json", "Send {\"reason\":…}.", "a reason must be given");
    return 0;
}

static struct api_call *begin_on(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return NULL;
    if (api_may(c, NODE_MAY_UPDATE, "login") && api_take_id(c) == 0 && api_take_json(c) == 0 &&
        take_reason(c) == 0)
        return c;
    api_finish(c);
    return NULL;
}

void api_on_user_unlock(struct net_http_exchange *x, void *user)
{
    struct api_call *c = begin_on(x, user);
    if (c == NULL)
        return;
    if (base_uuid_equal(&c->id, &c->grants->staff_id)) {
        api_refuse(c, 403, "own_login", "Ask another supervisor.", "nobody unlocks themselves");
        api_finish(c);
        return;
    }
    c->status = 204;
    api_run_write(c, unlock_work);
}

void api_on_user_logout(struct net_http_exchange *x, void *user)
{
    struct api_call *c = begin_on(x, user);
    if (c == NULL)
        return;
    c->after = logged_out;
    api_run_write(c, logout_work);
}
