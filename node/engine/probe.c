/*
 * The way to the centre, tried once on a connection of its own, step by step: the gateway's name, its machine, its
 * certificate, its answer, and whether it lets this node in. For somebody who has to say on the telephone where it breaks.
 */
#include <stdlib.h>

#include "node/engine/internal.h"
#include "sync/seal/seal.h"

enum { PROBE_MS = 10 * 1000 };
/* Nobody is asked about: an answer needs token, gateway and database, and tells nothing. */
static const char probe_path[] = "/sync/v1/standing?staff=00000000-0000-0000-0000-000000000000";

struct probe {
    struct node_engine *e;
    struct node_request request;
    char token[NET_TOKEN_BYTES_MAX];
    void *user;
    node_probed_cb done;
};

static enum node_probe_step step_of(const struct node_request *r)
{
    if (r->rc == 0)
        return r->status == 200                       ? NODE_PROBE_GOOD
               : r->status == 401 || r->status == 403 ? NODE_PROBE_REFUSED
                                                      : NODE_PROBE_ANSWER;
    return r->timing.tls_failed        ? NODE_PROBE_CERTIFICATE
           : r->timing.name_us == 0    ? NODE_PROBE_NAME
           : r->timing.connect_us == 0 ? NODE_PROBE_CONNECTION
           : r->timing.tls_us == 0     ? NODE_PROBE_CERTIFICATE
                                       : NODE_PROBE_ANSWER;
}

static void end(struct probe *p, const struct node_probe *out)
{
    struct node_engine *e = p->e;
    e->probing = false;
    p->done(p->user, out);
    seal_wipe(p->token, sizeof p->token);
    free(p);
}

static void answered(struct node_request *r)
{
    struct probe *p = r->owner;
    struct node_engine *e = p->e;
    struct node_probe out = {.step = step_of(r),
                             .name_us = r->timing.name_us,
                             .connect_us = r->timing.connect_us,
                             .tls_us = r->timing.tls_us,
                             .answer_us = r->timing.answer_us};
    if (r->rc != 0)
        (void)snprintf(out.text, sizeof out.text, "%.250s", r->err.text);
    else if (out.step != NODE_PROBE_GOOD)
        (void)snprintf(out.text, sizeof out.text, "the gateway answered %ld", r->status);
    base_buf_release(&r->reply);
    end(p, &out);
    engine_done(e);
}

void node_engine_probe(struct node_engine *e, void *user, node_probed_cb done)
{
    struct node_probe closed = {.step = NODE_PROBE_CLOSED,
                                .text = "the line was closed by hand; `everward link up` opens it"};
    struct node_probe busy = {.step = NODE_PROBE_BUSY, .text = "it is being tried already"};
    struct probe *p =
        e->stopping || !e->session.link_open || e->probing ? NULL : calloc(1, sizeof *p);
    if (p == NULL || engine_token(e, p->token, NULL) != 0) {
        free(p);
        done(user, e->session.link_open ? &busy : &closed);
        return;
    }
    e->probing = true;
    p->e = e;
    p->user = user;
    p->done = done;
    p->request = (struct node_request){.method = "GET",
                                       .path = probe_path,
                                       .token = p->token,
                                       .timeout_ms = PROBE_MS,
                                       .fresh = true,
                                       .done = answered,
                                       .owner = p};
    e->under_way++;
    node_transport_send(e->transport, &p->request);
}

void node_probe_write(struct base_buf *out, const struct node_probe *p)
{
    static const char *const steps[] = {"name",    "connection", "certificate", "answer",
                                        "refused", "closed",     "busy",        "good"};
    const struct {
        const char *name;
        int64_t us;
    } times[] = {{"name_ms", p->name_us},
                 {"connection_ms", p->connect_us},
                 {"certificate_ms", p->tls_us},
                 {"answer_ms", p->answer_us}};
    base_buf_printf(out, "{\"good\":%s,\"step\":\"%s\"",
                    p->step == NODE_PROBE_GOOD ? "true" : "false", steps[p->step]);
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        if (times[i].us > 0)
            base_buf_printf(out, ",\"%s\":%.1f", times[i].name, (double)times[i].us / 1000);
        else
            base_buf_printf(out, ",\"%s\":null", times[i].name);
    }
    base_buf_str(out, ",\"detail\":");
    base_buf_json_str(out, p->text[0] == '\0' ? NULL : p->text);
    base_buf_char(out, '}');
}
