/*
 * POST /api/v1/claims: "I have this dose open", told to the node's other tablets as the event
 * "claim". It keeps two people from giving one dose; it forbids nothing, because a dose that was
 * given has happened. In memory only, for two minutes at most; {"release": true} ends it.
 */
#include <string.h>

#include "node/api/internal.h"

struct claim {
    struct base_uuid slot, staff;
    int64_t until_ms;
    char name[256], device[NODE_DEVICE_BYTES_MAX + 1];
    uint8_t session[8];
};

/* On the loop's thread only; one API per process (server.c). */
static struct claim claims[API_CLAIMS_MAX];

static bool alive(const struct claim *k, int64_t now)
{
    return k->until_ms > now;
}

static bool same_session(const struct claim *k, const struct api_call *c)
{
    return memcmp(k->session, c->session_hash, sizeof k->session) == 0;
}

/* The caller's claim of this slot, a free place, or the one that ends first. */
static struct claim *place_for(const struct api_call *c)
{
    struct claim *best = &claims[0];
    for (int i = 0; i < API_CLAIMS_MAX; i++) {
        struct claim *k = &claims[i];
        if (alive(k, c->now_ms) && base_uuid_equal(&k->slot, &c->id) && same_session(k, c))
            return k;
        if (k->until_ms < best->until_ms)
            best = k;
    }
    return best;
}

static void render(struct base_buf *out, const struct claim *k)
{
    char until[BASE_TIME_CHARS + 1];
    base_time_format(k->until_ms, until);
    base_buf_str(out, "{\"slot_id\":");
    api_render_uuid(out, &k->slot);
    base_buf_str(out, ",\"staff_id\":");
    api_render_uuid(out, &k->staff);
    base_buf_str(out, ",\"name\":");
    base_buf_json_str(out, k->name);
    base_buf_str(out, ",\"device\":");
    base_buf_json_str(out, k->device[0] != '\0' ? k->device : NULL);
    base_buf_printf(out, ",\"until\":\"%s\"}", until);
}

static void tell(struct node_api *a, const struct claim *k)
{
    struct base_buf text;
    base_buf_init(&text, 4096);
    render(&text, k);
    if (base_buf_check(&text) == 0)
        api_events_claim(a, text.data);
    base_buf_release(&text);
}

static int take(struct api_call *c, bool *release)
{
    static const char *const names[] = {"slot_id", "release", NULL};
    const char *slot = NULL;
    struct base_err err;
    const cJSON *r = cJSON_GetObjectItemCaseSensitive(c->json, "release");
    if (net_json_only(c->json, names, &err) != 0 ||
        net_json_str(c->json, "slot_id", BASE_UUID_CHARS, &slot, &err) != 0 ||
        !base_uuid_parse(&c->id, slot, strlen(slot)) || (r != NULL && !cJSON_IsBool(r)))
        return api_refuse(c, 422, "invalid_value", NULL,
                          "send {\"slot_id\":…} and, to end it, \"release\":true");
    *release = r != NULL && cJSON_IsTrue(r);
    return 0;
}

void api_on_dose_claim(struct net_http_exchange *x, void *user)
{
    struct node_api *a = user;
    struct api_call *c = api_begin(x, a);
    bool release = false;
    bool first = true;
    if (c == NULL)
        return;
    if (!api_may_some(c, NODE_MAY_CREATE, "medication_administration") || api_take_json(c) != 0 ||
        take(c, &release) != 0) {
        api_finish(c);
        return;
    }
    struct claim *k = place_for(c);
    k->slot = c->id;
    k->staff = c->grants->staff_id;
    k->until_ms = release ? c->now_ms : c->now_ms + API_CLAIM_MS;
    snprintf(k->name, sizeof k->name, "%s", c->grants->name);
    snprintf(k->device, sizeof k->device, "%s", c->device);
    memcpy(k->session, c->session_hash, sizeof k->session);
    tell(a, k);
    base_buf_str(&c->body, "{\"others\":[");
    for (int i = 0; i < API_CLAIMS_MAX; i++)
        if (&claims[i] != k && alive(&claims[i], c->now_ms) &&
            base_uuid_equal(&claims[i].slot, &c->id)) {
            base_buf_str(&c->body, first ? "" : ",");
            first = false;
            render(&c->body, &claims[i]);
        }
    base_buf_str(&c->body, "]}");
    api_finish(c);
}
