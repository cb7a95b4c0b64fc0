/*
 * everward setup <invite>: from one pasted line to a node that can serve.
 *
 * Every step leaves a complete file or none, and finds what an earlier attempt left: running it again with the same invite
 * goes on where it stopped. The invite's secret is sent only to a gateway whose CA has the invite's fingerprint.
 *
 *   folder ─ keys ─ ticket ─ gateway's CA (checked) ─ enrol ─ LAN certificate ─ store ─ identity (last: now it can serve)
 *
 * Dying after the gateway has enrolled us and before the identity is written: the same token and key get the same answer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "node/cli/cli.h"
#include "node/cli/files.h"
#include "node/cli/identity.h"
#include "node/cli/invite.h"
#include "node/cli/setup.h"
#include "node/store/copy.h"
#include "sync/base/clock.h"
#include "sync/net/fetch.h"
#include "sync/net/json.h"
#include "sync/net/x509.h"
#include "sync/seal/seal.h"

enum { SETUP_NAMES_BYTES_MAX = 1024 };

struct setup {
    const struct node_cli *cli;
    const char *dir;
    struct node_invite invite;
    struct node_keys *keys;
    uint8_t ticket[NODE_TICKET_BYTES];
    struct node_identity_file identity;
};

static int make_keys(struct setup *s, struct base_err *err)
{
    char key_file[NODE_PATH_BYTES_MAX];
    struct node_keys_source source;
    int rc = node_cli_key_source(s->cli, &source, key_file, sizeof key_file, err);
    if (rc == 0 && source.key_file != NULL) {
        rc = node_keys_make_key_file(source.key_file, err);
        if (rc == BASE_EEXISTS)
            rc = 0; /* an earlier attempt's, or the operator's own */
    }
    if (rc == 0)
        rc = node_keys_create(s->dir, &source, &s->keys, err);
    if (rc == BASE_EEXISTS)
        rc = node_keys_open(s->dir, &source, &s->keys, err);
    return rc;
}

static int make_ticket(struct setup *s, struct base_err *err)
{
    if (node_file_exists(s->dir, NODE_TICKET_FILE))
        return node_ticket_read(s->dir, s->ticket, err);
    struct base_buf b;
    seal_random(s->ticket, sizeof s->ticket);
    base_buf_init(&b, 128);
    base_buf_hex(&b, s->ticket, sizeof s->ticket);
    base_buf_char(&b, '\n');
    int rc = base_buf_check(&b) != 0
                 ? base_fail(err, BASE_ENOMEM, "ticket")
                 : node_file_write(s->dir, NODE_TICKET_FILE, b.data, b.len, err);
    if (b.data != NULL)
        seal_wipe(b.data, b.len);
    base_buf_release(&b);
    return rc;
}

int setup_fetch_ca(const char *dir, const char *gateway_url, const uint8_t ca[32],
                   struct base_err *err)
{
    char url[NODE_URL_BYTES_MAX + 32];
    struct base_buf pem;
    uint8_t found[32];
    long status = 0;
    (void)snprintf(url, sizeof url, "%s/sync/v1/ca", gateway_url);
    base_buf_init(&pem, 64 * 1024);
    int rc = net_fetch(&(struct net_fetch){.url = url, .unverified = true}, &pem, &status, err);
    if (rc == 0 && status != 200)
        rc = base_fail(err, BASE_EPROTO, "%s answered %ld: is that an Everward gateway?", url,
                       status);
    if (rc == 0)
        rc = net_x509_fingerprint(pem.data == NULL ? "" : pem.data, found, err);
    if (rc == 0 && !seal_equal(found, ca, sizeof found))
        rc = base_fail(
            err, BASE_EAUTH,
            "the gateway at %s is not the one the invite was made for (its CA has another "
            "fingerprint); "
            "nothing secret was sent. Ask for a new invite, and who answers at that address",
            gateway_url);
    if (rc == 0)
        rc = node_file_write(dir, NODE_GATEWAY_CA_FILE, pem.data, pem.len, err);
    base_buf_release(&pem);
    return rc;
}

static void write_request(struct setup *s, struct base_buf *out)
{
    uint8_t public[NODE_KEYS_PUBLIC_BYTES];
    uint8_t hash[32];
    node_keys_public(s->keys, public);
    seal_sha256(hash, s->ticket, sizeof s->ticket);
    base_buf_str(out, "{\"format\":\"everward-enrol/1\",\"token\":");
    base_buf_json_str(out, s->invite.token);
    base_buf_str(out, ",\"public_key\":\"");
    seal_base64url(out, public, sizeof public);
    base_buf_str(out, "\",\"name\":");
    base_buf_json_str(out, s->identity.id.node_name);
    base_buf_str(out, ",\"ticket_hash\":\"");
    base_buf_hex(out, hash, sizeof hash);
    base_buf_str(out, "\"}");
}

static int text_member(const cJSON *o, const char *name, char *out, size_t bytes,
                       struct base_err *err)
{
    const char *s = NULL;
    int rc = net_json_str(o, name, bytes - 1, &s, err);
    if (rc == 0)
        memcpy(out, s, strlen(s) + 1);
    return rc;
}

static int uuid_member(const cJSON *o, const char *name, struct base_uuid *out,
                       struct base_err *err)
{
    const char *s = NULL;
    int rc = net_json_str(o, name, BASE_UUID_CHARS, &s, err);
    return rc == 0 && !base_uuid_parse(out, s, strlen(s))
               ? base_fail(err, BASE_EPROTO, "\"%s\" is not a uuid", name)
               : rc;
}

int setup_read_reply(struct node_identity_file *f, const cJSON *o, struct base_err *err)
{
    struct node_identity *id = &f->id;
    int rc = uuid_member(o, "tenant", &id->tenant_id, err);
    if (rc == 0)
        rc = uuid_member(o, "site", &id->site_id, err);
    if (rc == 0)
        rc = uuid_member(o, "node", &id->node_id, err);
    if (rc == 0)
        rc = text_member(o, "tenant_name", id->tenant_name, sizeof id->tenant_name, err);
    if (rc == 0)
        rc = text_member(o, "site_name", id->site_name, sizeof id->site_name, err);
    if (rc == 0)
        rc = text_member(o, "audience", f->audience, sizeof f->audience, err);
    return rc == 0 ? net_json_i64(o, "incarnation", 1, INT64_MAX, &id->incarnation, err) : rc;
}

int setup_refused(const cJSON *o, long status, struct base_err *err)
{
    const char *code = "";
    (void)net_json_str(o, "code", 64, &code, NULL);
    if (strcmp(code, "invite_expired") == 0)
        return base_fail(
            err, BASE_EDENIED,
            "the invite has expired (24 hours): ask for a new one (everward-gateway node invite)");
    if (strcmp(code, "invite_used") == 0)
        return base_fail(err, BASE_EDENIED,
                         "the invite has been used by another node: ask for a new one "
                         "(everward-gateway node invite)");
    if (strcmp(code, "invite_keeps_outbox") == 0)
        return base_fail(err, BASE_EDENIED,
                         "the invite is for a node that comes back with what it holds: on that "
                         "node, everward setup INVITE --keep-outbox");
    if (strcmp(code, "invite_not_for_it") == 0)
        return base_fail(err, BASE_EDENIED,
                         "the invite does not let this node come back with its outbox: ask for "
                         "one that does (everward-gateway node invite NODE --keep-outbox)");
    if (strcmp(code, "bad_signature") == 0)
        return base_fail(err, BASE_EDENIED,
                         "the keys here are not those of the node that the centre knows: put them "
                         "back from the backup or the escrow");
    if (strcmp(code, "invite_unknown") == 0)
        return base_fail(err, BASE_EDENIED,
                         "the gateway does not know this invite: was the whole line pasted?");
    return base_fail(err, status == 503 || status == 429 ? BASE_EBUSY : BASE_EPROTO,
                     "the gateway refused to enrol this node: %ld %s", status, code);
}

int setup_post(const char *dir, const char *gateway_url, const char *path, struct base_buf *body,
               cJSON **reply, long *status, struct base_err *err)
{
    char url[NODE_URL_BYTES_MAX + 32];
    char ca[NODE_PATH_BYTES_MAX];
    struct base_buf text;
    (void)snprintf(url, sizeof url, "%s%s", gateway_url, path);
    node_path(ca, dir, NODE_GATEWAY_CA_FILE);
    base_buf_init(&text, 64 * 1024);
    int rc = base_buf_check(body) != 0
                 ? base_fail(err, base_buf_check(body), "the enrolment does not fit")
                 : net_fetch(&(struct net_fetch){.url = url, .ca_path = ca, .body = body->data},
                             &text, status, err);
    if (rc == 0)
        rc = net_json_parse(reply, text.data == NULL ? "" : text.data, text.len, err);
    if (body->data != NULL)
        seal_wipe(body->data, body->len);
    base_buf_release(&text);
    return rc;
}

static int enrol(struct setup *s, struct base_err *err)
{
    struct base_buf request;
    cJSON *o = NULL;
    long status = 0;
    base_buf_init(&request, 4096);
    write_request(s, &request);
    int rc =
        setup_post(s->dir, s->identity.gateway_url, "/sync/v1/enrol", &request, &o, &status, err);
    if (rc == 0)
        rc = status == 200 ? setup_read_reply(&s->identity, o, err) : setup_refused(o, status, err);
    cJSON_Delete(o);
    base_buf_release(&request);
    return rc;
}

static int write_pair(const char *dir, const char *cert_name, const char *cert,
                      const char *key_name, char *key, struct base_err *err)
{
    int rc = node_file_write(dir, key_name, key, strlen(key), err);
    return rc == 0 ? node_file_write(dir, cert_name, cert, strlen(cert), err) : rc;
}

static void wipe_free(char *secret)
{
    if (secret != NULL)
        seal_wipe(secret, strlen(secret));
    free(secret);
}

int setup_certificates(const char *state_dir, const char *host, const char *node_name,
                       struct base_err *err)
{
    char dir[NODE_PATH_BYTES_MAX];
    char list[SETUP_NAMES_BYTES_MAX];
    const char *names[NET_X509_NAMES_MAX + 1] = {NULL};
    char *ca = NULL, *ca_key = NULL, *cert = NULL, *key = NULL;
    char ca_name[192];
    int count = 0;
    node_path(dir, state_dir, "tls");
    if (node_file_exists(dir, "server.crt"))
        return 0;
    (void)snprintf(list, sizeof list, "%s", host == NULL ? "localhost,127.0.0.1" : host);
    char *rest = NULL;
    for (char *name = strtok_r(list, ", ", &rest); name != NULL && count < NET_X509_NAMES_MAX;
         name = strtok_r(NULL, ", ", &rest))
        names[count++] = name;
    (void)snprintf(ca_name, sizeof ca_name, "Everward private CA of %s", node_name);
    int64_t now_s = base_clock_wall_ms() / 1000;
    int rc = node_state_dir_make(dir, err);
    if (rc == 0)
        rc = net_x509_make_ca(ca_name, now_s, &ca, &ca_key, err);
    if (rc == 0)
        rc = net_x509_make_leaf(ca, ca_key, names, now_s, &cert, &key, err);
    if (rc == 0)
        rc = write_pair(dir, "ca.crt", ca, "ca.key", ca_key, err);
    if (rc == 0)
        rc = write_pair(dir, "server.crt", cert, "server.key", key, err);
    free(ca);
    free(cert);
    wipe_free(ca_key);
    wipe_free(key);
    return rc;
}

/* The mark is asked for where it cannot be edited: in the sealed replica. */
int setup_not_training(const char *dir, const struct node_keys *keys, struct base_err *err)
{
    char path[NODE_PATH_BYTES_MAX];
    struct node_store_facts facts = {0};
    struct base_err ignored = {0};
    node_path(path, dir, "node.db");
    if (!node_file_exists(dir, "node.db") ||
        node_store_look(path, node_keys_data(keys), &facts, &ignored) != 0 || !facts.id.training)
        return 0;
    return base_fail(err, BASE_EDENIED, "%s: " NODE_TRAINING_REFUSAL, dir);
}

static int make_store(struct setup *s, struct base_err *err)
{
    int rc = node_store_create(s->dir, node_keys_data(s->keys), &s->identity.id, err);
    return rc == BASE_EEXISTS ? 0
                              : rc; /* an earlier attempt's: nothing has been written to it yet */
}

void setup_gateway_url(char out[NODE_URL_BYTES_MAX], const struct node_invite *i)
{
    bool v6 = strchr(i->host, ':') != NULL && i->host[0] != '[';
    (void)snprintf(out, NODE_URL_BYTES_MAX, v6 ? "https://[%s]:%d" : "https://%s:%d", i->host,
                   i->port);
}

static void begin(struct setup *s, struct node_cli *cli)
{
    s->cli = cli;
    s->dir = node_cli_state_dir(cli);
    setup_gateway_url(s->identity.gateway_url, &s->invite);
    (void)snprintf(s->identity.id.node_name, sizeof s->identity.id.node_name, "%s",
                   cli->name == NULL ? "node" : cli->name);
}

static int run(struct setup *s, struct base_err *err)
{
    int rc = node_state_dir_make(s->dir, err);
    if (rc == 0 && node_file_exists(s->dir, NODE_IDENTITY_FILE))
        rc = base_fail(err, BASE_EEXISTS,
                       "%s belongs to a node that is set up already; start it with `everward "
                       "serve`, or choose another "
                       "state folder; if the centre has let it go: everward setup INVITE "
                       "--keep-outbox",
                       s->dir);
    if (rc == 0)
        rc = make_keys(s, err);
    if (rc == 0)
        rc = setup_not_training(s->dir, s->keys, err);
    if (rc == 0)
        rc = make_ticket(s, err);
    if (rc == 0)
        rc = setup_fetch_ca(s->dir, s->identity.gateway_url, s->invite.ca, err);
    if (rc == 0)
        rc = enrol(s, err);
    if (rc == 0)
        rc = setup_certificates(s->dir, s->cli->host, s->identity.id.node_name, err);
    if (rc == 0)
        rc = make_store(s, err);
    return rc == 0 ? node_identity_write(s->dir, &s->identity, err) : rc;
}

int node_cmd_setup(struct node_cli *cli)
{
    struct base_err err = {0};
    struct setup s = {0};
    if (cli->word_count != 1) {
        (void)fprintf(
            stderr,
            "everward setup: give the invite that `everward-gateway node invite` printed\n");
        return NODE_EXIT_USAGE;
    }
    int rc = node_invite_read(&s.invite, cli->words[0], &err);
    if (rc == 0 && cli->keep_outbox) {
        rc = node_readmit(cli, &s.invite, &s.identity, &err);
    } else if (rc == 0) {
        begin(&s, cli);
        rc = run(&s, &err);
    }
    node_keys_free(s.keys);
    seal_wipe(s.ticket, sizeof s.ticket);
    seal_wipe(&s.invite, sizeof s.invite);
    if (rc != 0)
        return node_cli_fail(&err);
    (void)printf("%s is set up: %s, %s. Now start it: everward serve%s%s\n",
                 s.identity.id.node_name, s.identity.id.tenant_name, s.identity.id.site_name,
                 cli->config_path == NULL ? "" : " --config ",
                 cli->config_path == NULL ? "" : cli->config_path);
    return NODE_EXIT_OK;
}
