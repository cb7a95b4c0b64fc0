/*
 * POST /sync/v1/escrow: the recovery key for a node, its escrow for the centre, and the order to wipe it with its answer.
 */
#include <stdlib.h>
#include <string.h>

#include "sync/base/log.h"
#include "sync/gateway/gateway.h"
#include "sync/net/json.h"
#include "sync/seal/seal.h"

enum {
    BODY_BYTES_MAX = 8192,
    BOX_BYTES_MAX = 1024,
    BYTEA_CHARS = 2 + 2 * BOX_BYTES_MAX + 1,
    TEXT_BYTES_MAX = 1024,
    EXCHANGE_QUERY = 2
};

struct escrow {
    struct gateway *gw;
    struct net_http_exchange *x;
    struct gw_who who;
    struct gw_pg_conn *conn;
    struct gw_flight flight;
    /* bytea in hex; "": not there */
    char made_for[BYTEA_CHARS], sealed[BYTEA_CHARS], wipe[BYTEA_CHARS], sig[BYTEA_CHARS];
    char refused[TEXT_BYTES_MAX + 1], statement[TEXT_BYTES_MAX + 1];
};

static void escrow_free(struct escrow *e)
{
    if (e->conn != NULL)
        gw_pg_give(e->conn);
    gw_flight_release(&e->flight);
    seal_wipe(e, sizeof *e);
    free(e);
}

static int read_bytes(const cJSON *o, const char *name, size_t least, size_t most,
                      char out[BYTEA_CHARS], struct base_err *err)
{
    static const char digit[] = "0123456789abcdef";
    uint8_t bytes[BOX_BYTES_MAX];
    const char *text = NULL;
    size_t len = 0;
    if (!net_json_has(o, name))
        return 0;
    int rc = net_json_str(o, name, 2 * BOX_BYTES_MAX, &text, err);
    if (rc != 0)
        return rc;
    if (!seal_base64url_decode(bytes, most, &len, text, strlen(text)) || len < least)
        return base_fail(err, BASE_EINVALID, "%s must be %zu to %zu bytes in base64url", name,
                         least, most);
    memcpy(out, "\\x", 2);
    for (size_t i = 0; i < len; i++) {
        out[2 + 2 * i] = digit[bytes[i] >> 4];
        out[3 + 2 * i] = digit[bytes[i] & 15];
    }
    out[2 + 2 * len] = '\0';
    return 0;
}

static int read_text(const cJSON *o, const char *name, char out[TEXT_BYTES_MAX + 1],
                     struct base_err *err)
{
    const char *text = NULL;
    if (!net_json_has(o, name))
        return 0;
    int rc = net_json_str(o, name, TEXT_BYTES_MAX, &text, err);
    if (rc == 0)
        (void)snprintf(out, TEXT_BYTES_MAX + 1, "%s", text);
    return rc;
}

/* The proof of a wipe is the node's signature under its statement, which begins with the nonce it was asked with. */
static int check_proof(const struct escrow *e, struct base_err *err)
{
    uint8_t sig[SEAL_SIGNATURE_BYTES];
    if (e->sig[0] == '\0')
        return 0;
    if (e->wipe[0] == '\0' || strncmp(e->statement, "everward wiped 1\n", 17) != 0 ||
        strncmp(e->statement + 17, e->wipe + 2, 2 * 32) != 0 ||
        !seal_hex_decode(sig, sizeof sig, e->sig + 2, strlen(e->sig + 2)) ||
        !seal_verify(sig, e->statement, strlen(e->statement), e->who.public_key))
        return base_fail(err, BASE_EINVALID, "the proof is not this node's");
    return 0;
}

static int read_all(struct escrow *e, struct base_err *err)
{
    size_t len = 0;
    cJSON *o = NULL;
    const char *format = NULL;
    const char *body = net_http_body(e->x, &len);
    int rc = net_json_parse(&o, body == NULL ? "" : body, len, err);
    if (rc == 0)
        rc = net_json_str(o, "format", 64, &format, err);
    if (rc == 0 && strcmp(format, "everward-escrow/1") != 0)
        rc = base_fail(err, BASE_EUNSUPPORTED, "this gateway reads everward-escrow/1");
    if (rc == 0)
        rc = read_bytes(o, "recovery_key", 32, 32, e->made_for, err);
    if (rc == 0)
        rc = read_bytes(o, "sealed", 48, BOX_BYTES_MAX, e->sealed, err);
    if (rc == 0)
        rc = read_bytes(o, "wipe", 32, 32, e->wipe, err);
    if (rc == 0)
        rc = read_bytes(o, "sig", 64, 64, e->sig, err);
    if (rc == 0)
        rc = read_text(o, "refused", e->refused, err);
    if (rc == 0)
        rc = read_text(o, "statement", e->statement, err);
    cJSON_Delete(o);
    return rc == 0 ? check_proof(e, err) : rc;
}

static void member(struct base_buf *b, const char *name, const char *bytea)
{
    uint8_t bytes[32];
    base_buf_printf(b, ",\"%s\":", name);
    if (bytea == NULL || strlen(bytea) != 2 + 64 ||
        !seal_hex_decode(bytes, sizeof bytes, bytea + 2, 64)) {
        base_buf_str(b, "null");
        return;
    }
    base_buf_char(b, '"');
    seal_base64url(b, bytes, sizeof bytes);
    base_buf_char(b, '"');
}

static void on_exchanged(void *user, struct gw_flight *f)
{
    struct escrow *e = user;
    struct base_buf b;
    if (f->rc != 0) {
        gw_reply_failed(e->gw, e->x, f, "escrow");
        escrow_free(e);
        return;
    }
    const char *kept = gw_flight_value(f, EXCHANGE_QUERY, 1);
    base_buf_init(&b, 1024);
    base_buf_printf(&b, "{\"format\":\"everward-escrow/1\",\"kept\":%s",
                    kept != NULL && strcmp(kept, "t") == 0 ? "true" : "false");
    member(&b, "recovery_key", gw_flight_value(f, EXCHANGE_QUERY, 0));
    member(&b, "wipe", gw_flight_value(f, EXCHANGE_QUERY, 2));
    base_buf_char(&b, '}');
    if (e->wipe[0] != '\0')
        base_log(BASE_LOG_WARN, "wipe", "node %s: %s", e->who.node,
                 e->sig[0] != '\0' ? "wiped, with proof" : e->refused);
    if (base_buf_check(&b) == 0)
        net_http_reply(e->x, 200, "application/json", b.data, b.len);
    else
        net_http_problem(e->x, 500, "internal", "The answer could not be made.", NULL);
    base_buf_release(&b);
    escrow_free(e);
}

static struct gw_param or_null(const char *s)
{
    return gw_text(s[0] == '\0' ? NULL : s);
}

static void on_conn(void *user, int rc, struct gw_pg_conn *conn)
{
    struct escrow *e = user;
    if (rc != 0) {
        gw_reply_no_conn(e->gw, e->x, rc);
        escrow_free(e);
        return;
    }
    e->conn = conn;
    const struct gw_param box[] = {or_null(e->made_for), or_null(e->sealed)};
    const struct gw_param answer[] = {or_null(e->wipe), or_null(e->refused), or_null(e->statement),
                                      or_null(e->sig)};
    gw_add_enter(&e->flight, &e->who);
    (void)gw_flight_add(&e->flight,
                        "SELECT recovery_key, kept, wipe_nonce"
                        " FROM everward.exchange_escrow($1::bytea, $2::bytea)",
                        2, box);
    (void)gw_flight_add(&e->flight, "SELECT everward.answer_wipe($1::bytea, $2, $3, $4::bytea)", 4,
                        answer);
    (void)gw_flight_add(&e->flight, "COMMIT", 0, NULL);
    gw_pg_fly(conn, &e->flight, e, on_exchanged);
}

static void on_who(struct gateway *gw, struct net_http_exchange *x, const struct gw_who *who)
{
    struct base_err err = {0};
    struct escrow *e = calloc(1, sizeof *e);
    if (e == NULL) {
        gw_reply_no_conn(gw, x, BASE_EBUSY);
        return;
    }
    e->gw = gw;
    e->x = x;
    e->who = *who;
    gw_flight_init(&e->flight);
    if (read_all(e, &err) != 0) {
        net_http_problem(x, 400, "bad_body", err.text, "See docs/PROTOCOL.md.");
        escrow_free(e);
        return;
    }
    gw_pg_take(gw->pool, e, on_conn);
}

static void on_escrow(struct net_http_exchange *x, void *user)
{
    gw_authenticate(user, x, on_who);
}

int gw_routes_escrow(struct gateway *gw, struct base_err *err)
{
    const struct net_http_route route = {"POST", "/sync/v1/escrow", BODY_BYTES_MAX, true,
                                         on_escrow};
    return net_http_route_add(gw->http, &route, err);
}
