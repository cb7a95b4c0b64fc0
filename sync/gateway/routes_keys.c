/*
 * A node's next signing key. POST readmit: a node that was let go, or lost what it was known by, comes back with its outbox by
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
    uint8_t key[32];
    const char *hex = gw_flight_value(f, 0, 0);
    if (f->rc != 0 || hex == NULL) {
        refused(n, f);
        return;
    }
    bool good =
        strlen(hex) == 64 && seal_hex_decode(key, 32, hex, 64) &&
        seal_verify(n->next_sig, n->text, strlen(n->text), n->next_key) &&
        (seal_verify(n->sig, n->text, strlen(n->text), key) ||
         memcmp(key, n->next_key, sizeof key) == 0); /* done before, and the answer was lost */
    if (!good) {
        net_http_problem(n->x, 403, "bad_signature",
                         "Whoever asks does not have the key that the node had.",
                         "Only the node's own folder, or its backup, brings its outbox.");
        renewal_free(n);
        return;
    }
    hex_text(n->seen, key, sizeof key);
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
        &n->flight, "SELECT encode(everward.readmission_key($1::bytea, $2::uuid), 'hex')", 2, p);
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

int gw_routes_keys(struct gateway *gw, struct base_err *err)
{
    const struct net_http_route route = {"POST", "/sync/v1/readmit", GW_SMALL_BODY_BYTES_MAX, true,
                                         on_readmit};
    return net_http_route_add(gw->http, &route, err);
}
