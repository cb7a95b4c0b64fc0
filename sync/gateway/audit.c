/*
 * POST /sync/v1/audit: a node's audit entries are kept, and the head of its trail witnessed.
 *
 *   unpack, check the signature (worker) ──► one transaction: enter, take_audit ──► how far, or why not
 *
 * A head that goes backwards or is another one is answered by 409 after the alarm has been committed.
 */
#include <stdlib.h>
#include <string.h>

#include "sync/base/log.h"
#include "sync/gateway/gateway.h"
#include "sync/net/json.h"
#include "sync/seal/seal.h"

enum {
    PACKED_BYTES_MAX = 512 * 1024,
    PLAIN_BYTES_MAX = 1024 * 1024,
    HEADER_BYTES_MAX = 1024,
    NUMBER_CHARS = 24,
    BYTEA_CHARS = 2 + 2 * SEAL_SIGNATURE_BYTES + 1,
    TAKE_QUERY = 2
};

struct audit {
    uv_work_t work;
    struct gateway *gw;
    struct net_http_exchange *x;
    struct gw_who who;
    struct gw_pg_conn *conn;
    struct gw_flight flight;
    struct base_buf plain;
    struct base_err err;
    int rc;
    int64_t life, first, last, head;
    char numbers[4][NUMBER_CHARS];
    char before[BYTEA_CHARS], chain[BYTEA_CHARS], head_chain[BYTEA_CHARS], sig[BYTEA_CHARS];
    char statement[HEADER_BYTES_MAX + 1];
    const char *entries;
};

static void audit_free(struct audit *a)
{
    if (a->conn != NULL)
        gw_pg_give(a->conn);
    gw_flight_release(&a->flight);
    base_buf_release(&a->plain);
    seal_wipe(&a->who, sizeof a->who);
    free(a);
}

static void hex_text(char out[BYTEA_CHARS], const uint8_t *bytes, size_t len)
{
    static const char digit[] = "0123456789abcdef";
    memcpy(out, "\\x", 2);
    for (size_t i = 0; i < len; i++) {
        out[2 + 2 * i] = digit[bytes[i] >> 4];
        out[3 + 2 * i] = digit[bytes[i] & 15];
    }
    out[2 + 2 * len] = '\0';
}

/* ---- worker -------------------------------------------------------------------------------- */

static int read_hash(char out[BYTEA_CHARS], const cJSON *h, const char *name, struct base_err *err)
{
    const char *text = NULL;
    uint8_t bytes[SEAL_HASH_BYTES];
    int rc = net_json_str(h, name, 2 * SEAL_HASH_BYTES, &text, err);
    if (rc == 0 && !seal_hex_decode(bytes, sizeof bytes, text, strlen(text)))
        rc = base_fail(err, BASE_EINVALID, "%s must be 64 hex digits", name);
    if (rc == 0)
        hex_text(out, bytes, sizeof bytes);
    return rc;
}

static int read_numbers(struct audit *a, const cJSON *h, struct base_err *err)
{
    struct {
        const char *name;
        int64_t least, *to;
    } numbers[] = {{"life", 1, &a->life},
                   {"first", 1, &a->first},
                   {"last", 0, &a->last},
                   {"head", 0, &a->head}};
    int rc = 0;
    for (size_t i = 0; i < 4 && rc == 0; i++) {
        rc = net_json_i64(h, numbers[i].name, numbers[i].least, INT64_MAX, numbers[i].to, err);
        if (rc == 0)
            (void)snprintf(a->numbers[i], NUMBER_CHARS, "%lld", (long long)*numbers[i].to);
    }
    return rc;
}

static int read_header(struct audit *a, const char *line, size_t len, struct base_err *err)
{
    cJSON *h = NULL;
    const char *format = NULL;
    const char *node = NULL;
    if (len > HEADER_BYTES_MAX)
        return base_fail(err, BASE_ETOOBIG, "the header is larger than %d bytes", HEADER_BYTES_MAX);
    int rc = net_json_parse(&h, line, len, err);
    if (rc == 0)
        rc = net_json_str(h, "format", 64, &format, err);
    if (rc == 0 && strcmp(format, "everward-audit/1") != 0)
        rc = base_fail(err, BASE_EUNSUPPORTED, "this gateway reads everward-audit/1");
    if (rc == 0)
        rc = net_json_str(h, "node", BASE_UUID_CHARS, &node, err);
    if (rc == 0 && strcmp(node, a->who.node) != 0)
        rc = base_fail(err, BASE_EDENIED, "the header names another node than the token");
    if (rc == 0)
        rc = read_numbers(a, h, err);
    if (rc == 0)
        rc = read_hash(a->before, h, "before", err);
    if (rc == 0)
        rc = read_hash(a->chain, h, "chain", err);
    if (rc == 0)
        rc = read_hash(a->head_chain, h, "head_chain", err);
    cJSON_Delete(h);
    memcpy(a->statement, line, len);
    a->statement[len] = '\0';
    return rc;
}

static int check_signature(struct audit *a, const char *line, size_t len, struct base_err *err)
{
    cJSON *o = NULL;
    const char *text = NULL;
    uint8_t sig[SEAL_SIGNATURE_BYTES];
    uint8_t hash[SEAL_HASH_BYTES];
    size_t got = 0;
    struct base_buf said;
    int rc = net_json_parse(&o, line, len, err);
    if (rc == 0)
        rc = net_json_str(o, "sig", 128, &text, err);
    if (rc == 0 &&
        (!seal_base64url_decode(sig, sizeof sig, &got, text, strlen(text)) || got != sizeof sig))
        rc = base_fail(err, BASE_EINVALID, "sig must be 64 bytes in base64url");
    cJSON_Delete(o);
    if (rc != 0)
        return rc;
    base_buf_init(&said, HEADER_BYTES_MAX * 2);
    seal_hash(hash, a->entries, a->plain.len - (size_t)(a->entries - a->plain.data));
    base_buf_printf(&said, "everward audit 1\n%s\n", a->statement);
    base_buf_hex(&said, hash, sizeof hash);
    if (base_buf_check(&said) != 0 || !seal_verify(sig, said.data, said.len, a->who.public_key))
        rc = base_fail(err, BASE_EAUTH, "the signature is not this node's");
    base_buf_release(&said);
    hex_text(a->sig, sig, sizeof sig);
    return rc;
}

static int decode(struct audit *a, struct base_err *err)
{
    size_t len = 0;
    const char *body = net_http_body(a->x, &len);
    int rc = seal_decompress(&a->plain, body == NULL ? "" : body, len, err);
    if (rc != 0)
        return rc;
    base_buf_char(&a->plain, '\0'); /* the entries go on as a text */
    if (base_buf_check(&a->plain) != 0)
        return base_fail(err, BASE_ETOOBIG, "the batch is too large");
    a->plain.len--;
    const char *first = a->plain.data;
    const char *end = memchr(first, '\n', a->plain.len);
    const char *second = end == NULL ? NULL : end + 1;
    const char *second_end = second == NULL ? NULL : strchr(second, '\n');
    if (second_end == NULL || strlen(a->plain.data) != a->plain.len)
        return base_fail(err, BASE_EINVALID, "header and signature lines are missing");
    a->entries = second_end + 1;
    rc = read_header(a, first, (size_t)(end - first), err);
    return rc == 0 ? check_signature(a, second, (size_t)(second_end - second), err) : rc;
}

static void work(uv_work_t *w)
{
    struct audit *a = w->data;
    a->rc = decode(a, &a->err);
}

/* ---- loop ---------------------------------------------------------------------------------- */

static void reply_verdict(struct audit *a, const char *verdict, const char *held)
{
    static const struct {
        const char *verdict, *code, *detail;
    } refusals[] = {
        {"behind", "audit_behind", "The trail ends before entries the centre has witnessed."},
        {"forked", "audit_forked", "The trail holds other entries than the centre has witnessed."},
        {"gap", "audit_gap", "Entries are missing between what the centre has and this batch."}};
    char text[128];
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++)
        if (strcmp(verdict, refusals[i].verdict) == 0) {
            base_log(BASE_LOG_WARN, "audit_refused", "node %s: %s, witnessed %s, said %lld",
                     a->who.node, verdict, held, (long long)a->head);
            (void)snprintf(text, sizeof text, "\"taken\":%s", held);
            net_http_problem_with(
                a->x, 409, refusals[i].code, refusals[i].detail,
                "It was cut, put back from an old copy, or cloned; the alarm is kept.", text);
            return;
        }
    int n =
        snprintf(text, sizeof text, "{\"format\":\"everward-audit-taken/1\",\"taken\":%s}", held);
    net_http_reply(a->x, 200, "application/json", text, (size_t)n);
}

static void on_taken(void *user, struct gw_flight *f)
{
    struct audit *a = user;
    const char *verdict = gw_flight_value(f, TAKE_QUERY, 0);
    const char *held = gw_flight_value(f, TAKE_QUERY, 1);
    if (f->rc != 0 || verdict == NULL)
        gw_reply_failed(a->gw, a->x, f, "audit");
    else
        reply_verdict(a, verdict, held == NULL ? "0" : held);
    audit_free(a);
}

static void on_conn(void *user, int rc, struct gw_pg_conn *conn)
{
    struct audit *a = user;
    if (rc != 0) {
        gw_reply_no_conn(a->gw, a->x, rc);
        audit_free(a);
        return;
    }
    a->conn = conn;
    const struct gw_param p[] = {gw_text(a->numbers[0]), gw_text(a->numbers[1]),
                                 gw_text(a->numbers[2]), gw_text(a->before),
                                 gw_text(a->chain),      gw_text(a->numbers[3]),
                                 gw_text(a->head_chain), gw_text(a->statement),
                                 gw_text(a->sig),        gw_text(a->entries)};
    gw_add_enter(&a->flight, &a->who);
    (void)gw_flight_add(&a->flight,
                        "SELECT verdict, held FROM everward.take_audit($1::bigint, $2::bigint,"
                        " $3::bigint, $4::bytea, $5::bytea, $6::bigint, $7::bytea, $8, $9::bytea,"
                        " $10)",
                        10, p);
    (void)gw_flight_add(&a->flight, "COMMIT", 0, NULL);
    gw_pg_fly(conn, &a->flight, a, on_taken);
}

static void decoded(uv_work_t *w, int status)
{
    struct audit *a = w->data;
    if (a->rc == 0) {
        gw_pg_take(a->gw->pool, a, on_conn);
        return;
    }
    bool denied = a->rc == BASE_EDENIED;
    net_http_problem(a->x,
                     denied                  ? 403
                     : a->rc == BASE_ETOOBIG ? 413
                                             : 400,
                     denied                       ? "wrong_node"
                     : a->rc == BASE_EAUTH        ? "bad_signature"
                     : a->rc == BASE_ETOOBIG      ? "too_large"
                     : a->rc == BASE_EUNSUPPORTED ? "unsupported_format"
                                                  : "bad_body",
                     a->err.text, "See docs/PROTOCOL.md.");
    audit_free(a);
}

static void on_who(struct gateway *gw, struct net_http_exchange *x, const struct gw_who *who)
{
    struct audit *a = calloc(1, sizeof *a);
    if (a == NULL) {
        gw_reply_no_conn(gw, x, BASE_EBUSY);
        return;
    }
    a->gw = gw;
    a->x = x;
    a->who = *who;
    a->work.data = a;
    gw_flight_init(&a->flight);
    base_buf_init(&a->plain, PLAIN_BYTES_MAX);
    if (uv_queue_work(gw->loop, &a->work, work, decoded) != 0) {
        gw_reply_no_conn(gw, x, BASE_EBUSY);
        audit_free(a);
    }
}

static void on_audit(struct net_http_exchange *x, void *user)
{
    gw_authenticate(user, x, on_who);
}

int gw_routes_audit(struct gateway *gw, struct base_err *err)
{
    const struct net_http_route route = {"POST", "/sync/v1/audit", PACKED_BYTES_MAX, true,
                                         on_audit};
    return net_http_route_add(gw->http, &route, err);
}
