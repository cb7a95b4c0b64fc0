/*
 * GET /sync/v1/standing: is somebody still who the list says. Asked while a login waits, for two seconds at most; where
 * the line is known to be down, not at all.
 */
#include <stdlib.h>
#include <string.h>

#include "node/engine/internal.h"
#include "sync/base/clock.h"
#include "sync/net/json.h"
#include "sync/seal/seal.h"

enum { STANDING_PAUSE_MS = 30 * 1000 };

struct standing {
    struct node_engine *e;
    struct node_request request;
    char token[NET_TOKEN_BYTES_MAX];
    char path[96];
    void *user;
    node_standing_cb done;
};

static void text_of(const cJSON *o, const char *name, char *out, size_t out_bytes)
{
    const char *s = NULL;
    if (cJSON_IsString(cJSON_GetObjectItemCaseSensitive(o, name)) &&
        net_json_str(o, name, out_bytes - 1, &s, NULL) == 0)
        (void)snprintf(out, out_bytes, "%s", s);
}

static bool read_reply(const struct node_request *r, struct node_standing *out)
{
    cJSON *o = NULL;
    char hash[64] = "";
    size_t len = 0;
    bool good =
        r->rc == 0 && r->status == 200 &&
        net_json_parse(&o, r->reply.data == NULL ? "" : r->reply.data, r->reply.len, NULL) == 0 &&
        net_json_bool(o, "known", &out->known, NULL) == 0 &&
        net_json_bool(o, "active", &out->active, NULL) == 0;
    if (good) {
        text_of(o, "revoked_at", out->revoked_at, sizeof out->revoked_at);
        text_of(o, "valid_until_at", out->valid_until_at, sizeof out->valid_until_at);
        text_of(o, "verifier", hash, sizeof hash);
        out->has_verifier = seal_base64url_decode(out->verifier_hash, sizeof out->verifier_hash,
                                                  &len, hash, strlen(hash)) &&
                            len == sizeof out->verifier_hash;
    }
    cJSON_Delete(o);
    return good;
}

static void answered(struct node_request *r)
{
    struct standing *s = r->owner;
    struct node_engine *e = s->e;
    struct node_standing out = {.answered = false};
    struct node_standing none = {.answered = false};
    out.answered = read_reply(r, &out);
    e->standing_failed_ms = out.answered ? 0 : base_clock_monotonic_ms();
    base_buf_release(&r->reply);
    s->done(s->user, out.answered ? &out : &none);
    seal_wipe(s->token, sizeof s->token);
    free(s);
    engine_done(e);
}

void node_engine_standing(struct node_engine *e, const struct base_uuid *staff_id, void *user,
                          node_standing_cb done)
{
    struct node_standing none = {.answered = false};
    char id[BASE_UUID_CHARS + 1];
    /* One person has waited for a line that swallows everything: the next ones need not. */
    bool tried = e->standing_failed_ms != 0 &&
                 base_clock_monotonic_ms() - e->standing_failed_ms < STANDING_PAUSE_MS;
    bool can = !e->stopping && e->session.link_open && e->status.online && !tried;
    struct standing *s = can ? calloc(1, sizeof *s) : NULL;
    if (s == NULL || engine_token(e, s->token, NULL) != 0) {
        free(s);
        done(user, &none);
        return;
    }
    base_uuid_format(staff_id, id);
    (void)snprintf(s->path, sizeof s->path, "/sync/v1/standing?staff=%s", id);
    s->e = e;
    s->user = user;
    s->done = done;
    s->request = (struct node_request){.method = "GET",
                                       .path = s->path,
                                       .token = s->token,
                                       .timeout_ms = NODE_STANDING_MS,
                                       .done = answered,
                                       .owner = s};
    e->under_way++;
    node_transport_send(e->transport, &s->request);
}
