/*
 * A node's next signing key. POST rotate: a node that is let in tells it, signed with both. POST readmit: a node that was let go, or lost what it was known by, comes back with its outbox by
 * an invite that says so; it signs with the key it had and with the one it will have.
 */
#include <stdlib.h>
#include <string.h>

#include "sync/base/log.h"
#include "sync/gateway/gateway.h"
#include "sync/net/json.h"
#include "sync/seal/seal.h"

enum { TOKEN_BYTES_MAX = 64, HEX32 = 2 + 64 + 1, TEXT_BYTES_MAX = 1024 };

struct renewal {
    struct gateway *gw;
    struct net_http_exchange *x;
    struct gw_pg_conn *conn;
    struct gw_flight flight;
    struct base_uuid node_id;
    char node[BASE_UUID_CHARS + 1], token[2 + 2 * TOKEN_BYTES_MAX + 1], ticket_hash[HEX32];
    char seen[HEX32], next[HEX32]; /* keys: the registered one, the one to come */
    uint8_t next_key[32];
    uint8_t sig[SEAL_SIGNATURE_BYTES], next_sig[SEAL_SIGNATURE_BYTES];
    char last_seq[24];
    char text[TEXT_BYTES_MAX]; /* what both keys signed */
};

static void renewal_free(struct renewal *n)
{
    if (n->conn != NULL)
        gw_pg_give(n->conn);
    gw_flight_release(&n->flight);
    seal_wipe(n, sizeof *n);
    free(n);
}

static void hex_text(char *out, const uint8_t *bytes, size_t len)
{
    static const char digit[] = "0123456789abcdef";
    memcpy(out, "\\x", 2);
    for (size_t i = 0; i < len; i++) {
        out[2 + 2 * i] = digit[bytes[i] >> 4];
        out[3 + 2 * i] = digit[bytes[i] & 15];
    }
    out[2 + 2 * len] = '\0';
}

static bool bytes_member(const cJSON *o, const char *name, uint8_t *out, size_t bytes,
                         struct base_err *err)
{
    const char *text = NULL;
    size_t len = 0;
    if (net_json_str(o, name, 128, &text, err) != 0)
        return false;
    if (seal_base64url_decode(out, bytes, &len, text, strlen(text)) && len == bytes)
        return true;
    (void)base_fail(err, BASE_EINVALID, "%s must be %zu bytes in base64url", name, bytes);
    return false;
}

static void member(struct base_buf *b, const char *name, const char *value)
{
    base_buf_printf(b, "\"%s\":", name);
    base_buf_json_str(b, value);
    base_buf_char(b, ',');
}

/* ---- readmit ------------------------------------------------------------------------------- */

static void refused(struct renewal *n, const struct gw_flight *f)
{
    static const struct {
        const char *state, *code, *detail;
        int status;
    } known[] = {
        {"EW401", "invite_unknown", "No such invite.", 401},
        {"EW410", "invite_expired", "This invite has expired.", 410},
        {"EW409", "invite_used", "This invite has been used.", 409},
        {"EW403", "invite_not_for_it", "This invite does not let that node come back.", 403}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(f->sqlstate, known[i].state) == 0) {
            net_http_problem(n->x, known[i].status, known[i].code, known[i].detail,
                             "Ask for one: everward-gateway node invite NODE --keep-outbox.");
            renewal_free(n);
            return;
        }
    gw_reply_failed(n->gw, n->x, f, "readmit");
    renewal_free(n);
}

static void on_readmitted(void *user, struct gw_flight *f)
{
    struct renewal *n = user;
    if (f->rc != 0) {
        refused(n, f);
        return;
    }
    struct base_buf b;
    base_buf_init(&b, GW_SMALL_BODY_BYTES_MAX);
    base_buf_char(&b, '{');
    member(&b, "tenant", gw_flight_value(f, 0, 0));
    member(&b, "site", gw_flight_value(f, 0, 1));
    member(&b, "node", gw_flight_value(f, 0, 2));
    member(&b, "tenant_name", gw_flight_value(f, 0, 3));
    member(&b, "site_name", gw_flight_value(f, 0, 4));
    member(&b, "node_name", gw_flight_value(f, 0, 6));
    base_buf_printf(&b, "\"incarnation\":%s,\"audience\":", gw_flight_value(f, 0, 5));
    base_buf_json_str(&b, n->gw->audience);
    base_buf_char(&b, '}');
    base_log(BASE_LOG_WARN, "node_readmitted", "node %s: another key, changes up to %s", n->node,
             n->last_seq);
    gw_keys_forget(n->gw, &n->node_id);
    size_t len = b.len;
    char *text = base_buf_take(&b);
    if (text == NULL)
        gw_reply_no_conn(n->gw, n->x, BASE_ENOMEM);
    else
        net_http_reply_take(n->x, 200, "application/json", text, len);
    base_buf_release(&b);
    renewal_free(n);
}

static void on_readmission_key(void *user, struct gw_flight *f)
{
    struct renewal *n = user;
    uint8_t present[32] = {0};
    if (f->rc != 0 || gw_flight_rows(f, 0) == 0) {
        refused(n, f);
        return;
    }
    /* One of the keys it has had, for a backup holds an older one; or done before, and the answer was lost. */
    bool good = false;
    for (int i = 0; i < gw_flight_rows(f, 0); i++) {
        uint8_t key[32];
        if (!seal_hex_decode(key, 32, PQgetvalue(f->results[0], i, 0), 64))
            continue;
        good |= seal_verify(n->sig, n->text, strlen(n->text), key) ||
                (i == 0 && memcmp(key, n->next_key, sizeof key) == 0);
        if (i == 0)
            memcpy(present, key, sizeof present);
    }
    if (!good || !seal_verify(n->next_sig, n->text, strlen(n->text), n->next_key)) {
        net_http_problem(n->x, 403, "bad_signature",
                         "Whoever asks does not have the key that the node had.",
                         "Only the node's own folder, or its backup, brings its outbox.");
        renewal_free(n);
        return;
    }
    hex_text(n->seen, present, sizeof present);
    gw_flight_clear(f);
    const struct gw_param p[] = {gw_text(n->token), gw_text(n->node),        gw_text(n->seen),
                                 gw_text(n->next),  gw_text(n->ticket_hash), gw_text(n->last_seq)};
    (void)gw_flight_add(f,
                        "SELECT tenant_id, site_id, node_id, tenant_name, site_name, incarnation,"
                        " node_name FROM everward.readmit($1::bytea, $2::uuid, $3::bytea,"
                        " $4::bytea, $5::bytea, $6::bigint)",
                        6, p);
    gw_pg_fly(n->conn, f, n, on_readmitted);
}

static void on_readmit_conn(void *user, int rc, struct gw_pg_conn *conn)
{
    struct renewal *n = user;
    if (rc != 0) {
        gw_reply_no_conn(n->gw, n->x, rc);
        renewal_free(n);
        return;
    }
    n->conn = conn;
    const struct gw_param p[] = {gw_text(n->token), gw_text(n->node)};
    (void)gw_flight_add(
        &n->flight, "SELECT encode(k, 'hex') FROM everward.readmission_key($1::bytea, $2::uuid) k",
        2, p);
    gw_pg_fly(conn, &n->flight, n, on_readmission_key);
}

static bool read_readmit(struct renewal *n, const cJSON *o, struct base_err *err)
{
    const char *format = NULL;
    const char *token = NULL;
    const char *node = NULL;
    const char *hash = NULL;
    uint8_t bytes[TOKEN_BYTES_MAX];
    uint8_t ticket[32];
    size_t len = 0;
    int64_t last = 0;
    if (net_json_str(o, "format", 64, &format, err) != 0 ||
        net_json_str(o, "token", 128, &token, err) != 0 ||
        net_json_str(o, "node", BASE_UUID_CHARS, &node, err) != 0 ||
        net_json_str(o, "ticket_hash", 64, &hash, err) != 0 ||
        net_json_i64(o, "last_seq", 0, INT64_MAX, &last, err) != 0 ||
        !bytes_member(o, "public_key", n->next_key, sizeof n->next_key, err) ||
        !bytes_member(o, "sig", n->sig, sizeof n->sig, err) ||
        !bytes_member(o, "next_sig", n->next_sig, sizeof n->next_sig, err))
        return false;
    if (strcmp(format, "everward-readmit/1") != 0 ||
        !base_uuid_parse(&n->node_id, node, strlen(node)) ||
        !seal_base64url_decode(bytes, sizeof bytes, &len, token, strlen(token)) || len == 0 ||
        !seal_hex_decode(ticket, sizeof ticket, hash, strlen(hash)))
        return base_fail(err, BASE_EINVALID,
                         "everward-readmit/1, a node's id, an invite's token and a ticket's hash "
                         "are needed") == 0;
    base_uuid_format(&n->node_id, n->node);
    hex_text(n->token, bytes, len);
    hex_text(n->ticket_hash, ticket, sizeof ticket);
    hex_text(n->next, n->next_key, sizeof n->next_key);
    (void)snprintf(n->last_seq, sizeof n->last_seq, "%lld", (long long)last);
    (void)snprintf(n->text, sizeof n->text, "everward readmit 1\n%s\n%s\n%s\n%s\n%s", n->node,
                   token, n->next + 2, n->ticket_hash + 2, n->last_seq);
    return true;
}

static void on_readmit(struct net_http_exchange *x, void *user)
{
    struct gateway *gw = user;
    struct base_err err = {0};
    size_t len = 0;
    const char *body = net_http_body(x, &len);
    cJSON *json = NULL;
    struct renewal *n = calloc(1, sizeof *n);
    if (n == NULL) {
        gw_reply_no_conn(gw, x, BASE_EBUSY);
        return;
    }
    n->gw = gw;
    n->x = x;
    gw_flight_init(&n->flight);
    bool ok = net_json_parse(&json, body == NULL ? "" : body, len, &err) == 0 &&
              read_readmit(n, json, &err);
    cJSON_Delete(json);
    if (!ok) {
        net_http_problem(x, 400, "bad_body", err.text, "See docs/PROTOCOL.md.");
        renewal_free(n);
        return;
    }
    gw_pg_take(gw->pool, n, on_readmit_conn);
}

/* ---- rotate -------------------------------------------------------------------------------- */

enum { ROTATE_QUERY = 2 };

struct rotation {
    struct gateway *gw;
    struct net_http_exchange *x;
    struct gw_who who;
    struct gw_pg_conn *conn;
    struct gw_flight flight;
    char seen[HEX32], next[HEX32], last_seq[24];
};

static void rotation_free(struct rotation *n)
{
    if (n->conn != NULL)
        gw_pg_give(n->conn);
    gw_flight_release(&n->flight);
    seal_wipe(n, sizeof *n);
    free(n);
}

static void on_rotated(void *user, struct gw_flight *f)
{
    struct rotation *n = user;
    char text[160];
    if (f->rc != 0 && f->failed == ROTATE_QUERY && strcmp(f->sqlstate, "EW409") == 0) {
        net_http_problem(n->x, 409, "another_key",
                         "The node has another key by now, or had this one before.",
                         "Make another one: everward keys rotate-signing.");
    } else if (f->rc != 0) {
        gw_reply_failed(n->gw, n->x, f, "rotate");
    } else {
        gw_keys_forget(n->gw, &n->who.node_id);
        base_log(BASE_LOG_WARN, "key_rotated", "node %s: the former key counts up to %s",
                 n->who.node, n->last_seq);
        (void)snprintf(text, sizeof text, "{\"format\":\"everward-rotate/1\",\"key\":\"%s\"}",
                       n->next + 2);
        net_http_reply(n->x, 200, "application/json", text, strlen(text));
    }
    rotation_free(n);
}

static void on_rotate_conn(void *user, int rc, struct gw_pg_conn *conn)
{
    struct rotation *n = user;
    if (rc != 0) {
        gw_reply_no_conn(n->gw, n->x, rc);
        rotation_free(n);
        return;
    }
    n->conn = conn;
    const struct gw_param p[] = {gw_text(n->seen), gw_text(n->next), gw_text(n->last_seq)};
    gw_add_enter(&n->flight, &n->who);
    (void)gw_flight_add(&n->flight, "SELECT everward.rotate_key($1::bytea, $2::bytea, $3::bigint)",
                        3, p);
    (void)gw_flight_add(&n->flight, "COMMIT", 0, NULL);
    gw_pg_fly(conn, &n->flight, n, on_rotated);
}

/* Signed by the key it has, or had when the answer was lost, and by the next one: nobody registers another's. */
static bool read_rotate(struct rotation *n, struct net_http_exchange *x, struct base_err *err)
{
    size_t len = 0;
    const char *body = net_http_body(x, &len);
    const char *format = NULL;
    cJSON *o = NULL;
    uint8_t next[32], sig[SEAL_SIGNATURE_BYTES], next_sig[SEAL_SIGNATURE_BYTES];
    char text[TEXT_BYTES_MAX];
    int64_t last = 0;
    bool ok = net_json_parse(&o, body == NULL ? "" : body, len, err) == 0 &&
              net_json_str(o, "format", 64, &format, err) == 0 &&
              net_json_i64(o, "last_seq", 0, INT64_MAX, &last, err) == 0 &&
              bytes_member(o, "public_key", next, sizeof next, err) &&
              bytes_member(o, "sig", sig, sizeof sig, err) &&
              bytes_member(o, "next_sig", next_sig, sizeof next_sig, err);
    if (ok && strcmp(format, "everward-rotate/1") != 0)
        ok = base_fail(err, BASE_EINVALID, "this gateway reads everward-rotate/1") == 0;
    cJSON_Delete(o);
    if (!ok)
        return false;
    hex_text(n->seen, n->who.public_key, sizeof n->who.public_key);
    hex_text(n->next, next, sizeof next);
    (void)snprintf(n->last_seq, sizeof n->last_seq, "%lld", (long long)last);
    (void)snprintf(text, sizeof text, "everward rotate 1\n%s\n%s\n%s", n->who.node, n->next + 2,
                   n->last_seq);
    ok = seal_verify(next_sig, text, strlen(text), next) &&
         (seal_verify(sig, text, strlen(text), n->who.public_key) ||
          memcmp(next, n->who.public_key, sizeof next) == 0);
    return ok || base_fail(err, BASE_EAUTH, "both keys must sign it") == 0;
}

static void on_rotate_who(struct gateway *gw, struct net_http_exchange *x, const struct gw_who *who)
{
    struct base_err err = {0};
    struct rotation *n = calloc(1, sizeof *n);
    if (n == NULL) {
        gw_reply_no_conn(gw, x, BASE_EBUSY);
        return;
    }
    n->gw = gw;
    n->x = x;
    n->who = *who;
    gw_flight_init(&n->flight);
    if (!read_rotate(n, x, &err)) {
        net_http_problem(x, 400, err.code == BASE_EAUTH ? "bad_signature" : "bad_body", err.text,
                         "See docs/PROTOCOL.md.");
        rotation_free(n);
        return;
    }
    gw_pg_take(gw->pool, n, on_rotate_conn);
}

static void on_rotate(struct net_http_exchange *x, void *user)
{
    gw_authenticate(user, x, on_rotate_who);
}

int gw_routes_keys(struct gateway *gw, struct base_err *err)
{
    const struct net_http_route routes[] = {
        {"POST", "/sync/v1/readmit", GW_SMALL_BODY_BYTES_MAX, true, on_readmit},
        {"POST", "/sync/v1/rotate", GW_SMALL_BODY_BYTES_MAX, true, on_rotate}};
    int rc = net_http_route_add(gw->http, &routes[0], err);
    return rc == 0 ? net_http_route_add(gw->http, &routes[1], err) : rc;
}
