/*
 * everward setup INVITE --keep-outbox: a node that the centre let go, or that lost what it was known by, comes back.
 *
 * It stays the node that it was, with another signing key and ticket, and goes on in its next life (node/engine/life.c): the
 * numbers of its log tell what had arrived, so that nothing is lost and nothing doubled.
 *
 *   new key and ticket beside the old ─ gateway's CA (checked) ─ readmit, signed with both keys ─ identity.next
 *   ═══ from here on the folder alone finishes it, here or at the next start ═══
 *   store (rejoin at the next contact) ─ keys ─ ticket ─ identity
 *
 * Dying before identity.next: the same invite, asked again with the same keys, gets the same answer.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "node/cli/files.h"
#include "node/cli/setup.h"
#include "node/store/copy.h"
#include "sync/base/log.h"
#include "sync/seal/seal.h"

#define NEXT_TICKET_FILE   "ticket.next"
#define NEXT_IDENTITY_FILE "identity.next"

enum { TEXT_BYTES_MAX = 1024 };

struct readmission {
    const struct node_cli *cli;
    const char *dir;
    const struct node_invite *invite;
    struct node_keys *keys, *next;
    struct node_store_facts facts;
    uint8_t ticket[NODE_TICKET_BYTES];
    struct node_identity_file identity;
};

static int lock(const char *dir, int *fd, struct base_err *err)
{
    char path[NODE_PATH_BYTES_MAX];
    node_path(path, dir, "lock");
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*fd < 0)
        return base_fail(err, BASE_EDENIED, "cannot open %s: %s", path, strerror(errno));
    if (flock(*fd, LOCK_EX | LOCK_NB) != 0)
        return base_fail(err, BASE_EBUSY, "everward runs on %s: stop it first", dir);
    return 0;
}

/* ---- the folder's part --------------------------------------------------------------------- */

static int rename_file(const char *dir, const char *from, const char *to, struct base_err *err)
{
    char paths[2][NODE_PATH_BYTES_MAX];
    if (!node_file_exists(dir, from))
        return 0; /* done before */
    node_path(paths[0], dir, from);
    node_path(paths[1], dir, to);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || rename(paths[0], paths[1]) != 0 || fsync(fd) != 0
                 ? base_fail(err, BASE_EIO, "cannot rename %s: %s", paths[0], strerror(errno))
                 : 0;
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

int node_readmit_finish(const struct node_cli *cli, const char *dir, struct base_err *err)
{
    char path[NODE_PATH_BYTES_MAX];
    struct node_identity_file f;
    struct node_keys *keys = NULL;
    if (!node_file_exists(dir, NEXT_IDENTITY_FILE))
        return 0;
    node_path(path, dir, "node.db");
    int rc = node_identity_read_as(dir, NEXT_IDENTITY_FILE, &f, err);
    if (rc == 0)
        rc = node_cli_keys_open(cli, &keys, err);
    if (rc == 0)
        rc = node_store_readmitted(path, node_keys_data(keys), node_keys_audit(keys), &f.id, err);
    node_keys_free(keys);
    if (rc == 0 && node_file_exists(dir, NODE_KEYS_SIGNING_FILE))
        rc = node_keys_signing_take(dir, err);
    if (rc == 0)
        rc = rename_file(dir, NEXT_TICKET_FILE, NODE_TICKET_FILE, err);
    return rc == 0 ? rename_file(dir, NEXT_IDENTITY_FILE, NODE_IDENTITY_FILE, err) : rc;
}

/* ---- asking -------------------------------------------------------------------------------- */

/* A key that waits from an earlier attempt is used again; one beside another data key is of no use. */
static int make_next(struct readmission *r, struct base_err *err)
{
    char key_file[NODE_PATH_BYTES_MAX];
    struct node_keys_source source;
    int rc = node_cli_key_source(r->cli, &source, key_file, sizeof key_file, err);
    if (rc == 0 && node_file_exists(r->dir, NODE_KEYS_SIGNING_FILE)) {
        rc = node_keys_signing_open(r->dir, &source, &r->next, err);
        if (rc == 0 && seal_equal(node_keys_data(r->keys), node_keys_data(r->next), 32))
            return 0;
        node_keys_free(r->next);
        r->next = NULL;
        if (rc == 0)
            rc = node_keys_signing_drop(r->dir, err);
    }
    return rc == 0 ? node_keys_signing_make(r->dir, r->keys, &source, &r->next, err) : rc;
}

static int make_ticket(struct readmission *r, struct base_err *err)
{
    struct base_buf b;
    if (node_file_exists(r->dir, NEXT_TICKET_FILE))
        return node_ticket_read_as(r->dir, NEXT_TICKET_FILE, r->ticket, err);
    seal_random(r->ticket, sizeof r->ticket);
    base_buf_init(&b, 128);
    base_buf_hex(&b, r->ticket, sizeof r->ticket);
    base_buf_char(&b, '\n');
    int rc = base_buf_check(&b) != 0
                 ? base_fail(err, BASE_ENOMEM, "ticket")
                 : node_file_write(r->dir, NEXT_TICKET_FILE, b.data, b.len, err);
    if (b.data != NULL)
        seal_wipe(b.data, b.len);
    base_buf_release(&b);
    return rc;
}

static void member_bytes(struct base_buf *b, const char *name, const void *bytes, size_t len)
{
    base_buf_printf(b, ",\"%s\":\"", name);
    seal_base64url(b, bytes, len);
    base_buf_char(b, '"');
}

/* "everward readmit 1", node, token, new key, ticket's hash, last change: signed by the key it had and the one to come. */
static int write_request(struct readmission *r, struct base_buf *out, struct base_err *err)
{
    struct base_buf text;
    char node[BASE_UUID_CHARS + 1];
    uint8_t public[NODE_KEYS_PUBLIC_BYTES];
    uint8_t hash[32];
    uint8_t sigs[2][NODE_KEYS_SIGNATURE_BYTES];
    base_uuid_format(&r->facts.id.node_id, node);
    node_keys_public(r->next, public);
    seal_sha256(hash, r->ticket, sizeof r->ticket);
    base_buf_init(&text, TEXT_BYTES_MAX);
    base_buf_printf(&text, "everward readmit 1\n%s\n%s\n", node, r->invite->token);
    base_buf_hex(&text, public, sizeof public);
    base_buf_char(&text, '\n');
    base_buf_hex(&text, hash, sizeof hash);
    base_buf_printf(&text, "\n%lld", (long long)r->facts.last_seq);
    int rc = base_buf_check(&text);
    if (rc == 0) {
        node_keys_sign(r->keys, text.data, text.len, sigs[0]);
        node_keys_sign(r->next, text.data, text.len, sigs[1]);
    }
    base_buf_release(&text);
    if (rc != 0)
        return base_fail(err, rc, "the request does not fit");
    base_buf_printf(out, "{\"format\":\"everward-readmit/1\",\"node\":\"%s\",\"token\":", node);
    base_buf_json_str(out, r->invite->token);
    base_buf_str(out, ",\"ticket_hash\":\"");
    base_buf_hex(out, hash, sizeof hash);
    base_buf_printf(out, "\",\"last_seq\":%lld", (long long)r->facts.last_seq);
    member_bytes(out, "public_key", public, sizeof public);
    member_bytes(out, "sig", sigs[0], sizeof sigs[0]);
    member_bytes(out, "next_sig", sigs[1], sizeof sigs[1]);
    base_buf_char(out, '}');
    return 0;
}

static int read_reply(struct readmission *r, const cJSON *o, struct base_err *err)
{
    struct node_identity *id = &r->identity.id;
    const char *name = NULL;
    int rc = setup_read_reply(&r->identity, o, err);
    if (rc == 0)
        rc = net_json_str(o, "node_name", sizeof id->node_name - 1, &name, err);
    if (rc == 0 && (!base_uuid_equal(&id->node_id, &r->facts.id.node_id) ||
                    !base_uuid_equal(&id->tenant_id, &r->facts.id.tenant_id)))
        rc = base_fail(err, BASE_EPROTO, "the gateway answers for another node");
    if (rc != 0)
        return rc;
    (void)snprintf(id->node_name, sizeof id->node_name, "%s", name);
    id->incarnation = r->facts.id.incarnation; /* until the next one has begun */
    return 0;
}

static int ask(struct readmission *r, struct base_err *err)
{
    struct base_buf request;
    cJSON *o = NULL;
    long status = 0;
    base_buf_init(&request, 4096);
    int rc = write_request(r, &request, err);
    if (rc == 0)
        rc = setup_post(r->dir, r->identity.gateway_url, "/sync/v1/readmit", &request, &o, &status,
                        err);
    if (rc == 0)
        rc = status == 200 ? read_reply(r, o, err) : setup_refused(o, status, err);
    cJSON_Delete(o);
    base_buf_release(&request);
    return rc;
}

static int run(struct readmission *r, struct base_err *err)
{
    char path[NODE_PATH_BYTES_MAX];
    node_path(path, r->dir, "node.db");
    if (!node_file_exists(r->dir, "node.db"))
        return base_fail(err, BASE_ENOTFOUND, "%s holds no node that could come back", r->dir);
    int rc = node_cli_keys_open(r->cli, &r->keys, err);
    if (rc == 0)
        rc = node_store_look(path, node_keys_data(r->keys), &r->facts, err);
    if (rc == 0)
        rc = setup_not_training(r->dir, r->keys, err);
    if (rc == 0)
        rc = make_next(r, err);
    if (rc == 0)
        rc = make_ticket(r, err);
    setup_gateway_url(r->identity.gateway_url, r->invite);
    if (rc == 0)
        rc = setup_fetch_ca(r->dir, r->identity.gateway_url, r->invite->ca, err);
    if (rc == 0)
        rc = ask(r, err);
    if (rc == 0)
        rc = node_identity_write_as(r->dir, NEXT_IDENTITY_FILE, &r->identity, err);
    return rc == 0 ? node_readmit_finish(r->cli, r->dir, err) : rc;
}

int node_readmit(const struct node_cli *cli, const struct node_invite *invite,
                 struct node_identity_file *out, struct base_err *err)
{
    struct readmission r = {.cli = cli, .dir = node_cli_state_dir(cli), .invite = invite};
    int fd = -1;
    int rc = node_state_dir_check(r.dir, err);
    if (rc == 0)
        rc = lock(r.dir, &fd, err);
    if (rc == 0)
        rc = node_readmit_finish(cli, r.dir, err); /* of an earlier one: it counts, and then this */
    if (rc == 0)
        rc = run(&r, err);
    if (rc == 0)
        *out = r.identity;
    node_keys_free(r.keys);
    node_keys_free(r.next);
    seal_wipe(r.ticket, sizeof r.ticket);
    if (fd >= 0)
        (void)close(fd);
    return rc;
}
