/*
 * What is no table: the state of the sync, health, metrics, and how to trust this node.
 */
#include <stdlib.h>
#include <string.h>

#include "node/api/internal.h"

static void text_or_null(struct base_buf *out, const char *name, const char *value)
{
    base_buf_printf(out, ",\"%s\":", name);
    base_buf_json_str(out, value[0] != '\0' ? value : NULL);
}

static void number(struct base_buf *out, const char *name, int64_t v)
{
    base_buf_printf(out, ",\"%s\":%lld", name, (long long)v);
}

static void uuid(struct base_buf *out, const char *name, const struct base_uuid *u)
{
    base_buf_printf(out, "%s\"%s\":", out->data[out->len - 1] == '{' ? "" : ",", name);
    api_render_uuid(out, u);
}

void node_api_status_write(struct base_buf *out, const struct node_engine_status *s,
                           const struct node_identity *id)
{
    const struct node_sync_state *y = &s->sync;
    base_buf_str(out, "{\"state\":");
    base_buf_json_str(out, node_state_name(s->state));
    text_or_null(out, "since", s->since);
    text_or_null(out, "reason", s->reason);
    uuid(out, "tenant_id", &id->tenant_id);
    uuid(out, "site_id", &id->site_id);
    uuid(out, "node_id", &id->node_id);
    text_or_null(out, "tenant", id->tenant_name);
    text_or_null(out, "site", id->site_name);
    text_or_null(out, "node", id->node_name);
    number(out, "incarnation", y->incarnation != 0 ? y->incarnation : id->incarnation);
    uuid(out, "timeline", &y->timeline);
    number(out, "pending", y->pending);
    text_or_null(out, "oldest_pending_at", y->oldest_pending_at);
    number(out, "last_seq", y->last_seq);
    number(out, "acked_seq", y->acked_seq);
    number(out, "cursor", y->cursor);
    number(out, "head", s->head);
    number(out, "quarantined", y->quarantined);
    number(out, "conflicts_open", y->conflicts_open);
    number(out, "numbers_left", s->numbers.left);
    number(out, "numbers_owed", s->numbers.owed);
    text_or_null(out, "last_contact_at", s->last_contact_at);
    text_or_null(out, "last_push_at", y->last_push_at);
    text_or_null(out, "last_pull_at", y->last_pull_at);
    if (s->clock_offset_known)
        number(out, "clock_offset_ms", s->clock_offset_ms);
    else
        base_buf_str(out, ",\"clock_offset_ms\":null");
    number(out, "catalog_version", y->catalog_version);
    base_buf_printf(out, ",\"complete\":%s,\"link_open\":%s,\"online\":%s,\"replica_equal\":%s",
                    y->filled ? "true" : "false", s->link_open ? "true" : "false",
                    s->online ? "true" : "false",
                    y->replica_equal < 0   ? "null"
                    : y->replica_equal > 0 ? "true"
                                           : "false");
    text_or_null(out, "verified_at", y->verified_at);
    text_or_null(out, "data_as_of", y->last_pull_at);
    base_buf_printf(out, ",\"training\":%s", id->training ? "true" : "false");
    base_buf_printf(out, ",\"downtime_folder\":%s", s->downtime ? "true" : "false");
    text_or_null(out, "downtime_refreshed_at", s->downtime_at);
    text_or_null(out, "downtime_problem", s->downtime_problem);
    base_buf_char(out, '}');
}

void api_on_sync(struct net_http_exchange *x, void *user)
{
    struct node_api *a = user;
    struct api_call *c = api_begin(x, a);
    if (c == NULL)
        return;
    node_api_status_write(&c->body, &a->status, node_store_identity(a->store));
    api_finish(c);
}

static void health(struct net_http_exchange *x, struct node_api *a, bool ready)
{
    struct api_call *c = api_begin_open(x, a);
    if (c == NULL)
        return;
    if (!ready) {
        api_refuse(c, 503, "starting", "Try again.", "the store is not open yet");
        c->problem.retry_after_s = 1;
    } else {
        base_buf_str(&c->body, "{\"status\":\"ok\",\"data_as_of\":");
        base_buf_json_str(&c->body, c->data_as_of);
        base_buf_char(&c->body, '}');
    }
    api_finish(c);
}

void api_on_healthz(struct net_http_exchange *x, void *user)
{
    health(x, user, true);
}

/* A line that is down is no reason to take a ward's tablets away from their node. */
void api_on_readyz(struct net_http_exchange *x, void *user)
{
    struct node_api *a = user;
    health(x, a, api_ready(a));
}

static void metric(struct base_buf *out, const char *name, const char *type, const char *help,
                   double v)
{
    base_buf_printf(out, "# HELP everward_%s %s\n# TYPE everward_%s %s\neverward_%s %.15g\n", name,
                    help, name, type, name, v);
}

static void latency(struct base_buf *out, const struct node_api *a)
{
    uint64_t sum = 0;
    double limit = 0.0005;
    base_buf_str(out,
                 "# HELP everward_request_seconds Time from a request's last byte to its reply\n"
                 "# TYPE everward_request_seconds histogram\n");
    for (int i = 0; i < API_LATENCY_STEPS; i++, limit *= 2) {
        sum += a->latency[i];
        base_buf_printf(out, "everward_request_seconds_bucket{le=\"%g\"} %llu\n", limit,
                        (unsigned long long)sum);
    }
    base_buf_printf(
        out,
        "everward_request_seconds_bucket{le=\"+Inf\"} %llu\neverward_request_seconds_sum %.6f\n"
        "everward_request_seconds_count %llu\n",
        (unsigned long long)a->latency_count, (double)a->latency_us / 1e6,
        (unsigned long long)a->latency_count);
}

static void metrics(struct base_buf *out, const struct node_api *a)
{
    const struct node_sync_state *y = &a->status.sync;
    struct net_http_counts http;
    int64_t at = 0;
    net_http_counts(a->http, &http);
    metric(out, "pending_changes", "gauge", "Changes that have not reached the centre",
           (double)y->pending);
    metric(out, "record_numbers_left", "gauge", "Record numbers this node may still give",
           (double)a->status.numbers.left);
    metric(out, "record_numbers_owed", "gauge", "Patients written while there was none",
           (double)a->status.numbers.owed);
    metric(out, "quarantined_changes", "gauge", "Changes that the centre could not apply",
           (double)y->quarantined);
    metric(out, "conflicts_open", "gauge", "Conflicts that wait for a person",
           (double)y->conflicts_open);
    metric(out, "feed_cursor", "gauge", "Last cut applied", (double)y->cursor);
    metric(out, "feed_head", "gauge", "The centre's last cut, as last heard",
           (double)a->status.head);
    metric(out, "online", "gauge", "1: the last contact with the centre went well",
           a->status.online ? 1 : 0);
    metric(out, "attention", "gauge", "1: somebody has to look",
           a->status.state == NODE_ATTENTION ? 1 : 0);
    if (node_moment_ms(&at, y->last_pull_at, strlen(y->last_pull_at)))
        metric(out, "last_pull_timestamp_seconds", "gauge",
               "When the centre's changes were last taken in", (double)at / 1000);
    if (a->cert_until_s > 0)
        metric(out, "lan_certificate_end_timestamp_seconds", "gauge",
               "When the certificate on the ward's network ends", (double)a->cert_until_s);
    metric(out, "sessions", "gauge", "People logged in", node_people_count(a->people));
    metric(out, "logins_refused_total", "counter", "Logins refused since the start",
           (double)a->logins_refused);
    metric(out, "writes_total", "counter", "Writes answered with success since the start",
           (double)a->writes);
    metric(out, "http_requests_total", "counter", "Requests since the start",
           (double)http.requests);
    metric(out, "http_refused_total", "counter", "Requests refused before they reached a route",
           (double)http.refused);
    metric(out, "http_connections", "gauge", "Open connections", (double)http.connections_open);
    metric(out, "event_streams", "gauge", "Open event streams", api_events_streams(a));
    latency(out, a);
}

void api_on_metrics(struct net_http_exchange *x, void *user)
{
    struct node_api *a = user;
    struct api_call *c = api_begin_open(x, a);
    if (c == NULL)
        return;
    if (!api_is_loopback(net_http_peer(x))) {
        api_refuse(c, 403, "loopback_only", "Ask on the box itself.",
                   "metrics are for the box itself");
        api_finish(c);
        return;
    }
    metrics(&c->body, a);
    api_headers(c);
    net_http_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8", c->body.data, c->body.len);
    api_free(c);
}

/* The whole document is built once per catalog. */
void api_on_openapi(struct net_http_exchange *x, void *user)
{
    struct node_api *a = user;
    struct api_call *c = api_begin_open(x, a);
    const struct core_catalog *catalog = node_store_catalog(a->store);
    int64_t version = catalog == NULL ? 0 : catalog->version;
    if (c == NULL)
        return;
    if (a->openapi == NULL || a->openapi_version != version) {
        struct base_buf text;
        base_buf_init(&text, API_REPLY_BYTES_MAX);
        api_openapi_write(&text, catalog);
        if (base_buf_check(&text) == 0) {
            free(a->openapi);
            a->openapi_len = text.len;
            a->openapi = base_buf_take(&text);
            a->openapi_version = version;
        }
        base_buf_release(&text);
    }
    if (a->openapi == NULL)
        api_refuse_rc(c, BASE_ENOMEM, "no memory for the document");
    else
        base_buf_add(&c->body, a->openapi, a->openapi_len);
    api_finish(c);
}

/* Trust. */

enum { PEM_BYTES_MAX = 16 * 1024 };

static bool pem_to_der(const char *pem, uint8_t *out, size_t out_max, size_t *len)
{
    static const char begin[] = "-----BEGIN CERTIFICATE-----";
    char text[PEM_BYTES_MAX];
    size_t n = 0;
    const char *s = strstr(pem, begin);
    if (s == NULL)
        return false;
    for (s += sizeof begin - 1; *s != '\0' && *s != '-' && n + 1 < sizeof text; s++) {
        if (*s == '\n' || *s == '\r' || *s == '=')
            continue;
        text[n++] = *s == '+' ? '-' : *s == '/' ? '_' : *s; /* seal reads base64url */
    }
    return seal_base64url_decode(out, out_max, len, text, n);
}

void api_fingerprint(char out[96], const char *pem)
{
    uint8_t der[PEM_BYTES_MAX];
    uint8_t hash[32];
    size_t len = 0;
    out[0] = '\0';
    if (pem == NULL || !pem_to_der(pem, der, sizeof der, &len))
        return;
    seal_sha256(hash, der, len);
    for (size_t i = 0; i < sizeof hash; i++)
        snprintf(out + i * 3, 4, "%02X%s", hash[i], i + 1 < sizeof hash ? ":" : "");
}
