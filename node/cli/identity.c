#include "node/cli/identity.h"

#include <stdio.h>
#include <string.h>

#include "node/cli/files.h"
#include "sync/net/json.h"
#include "sync/seal/seal.h"

static void member_uuid(struct base_buf *b, const char *name, const struct base_uuid *u)
{
    char text[BASE_UUID_CHARS + 1];
    base_uuid_format(u, text);
    base_buf_printf(b, ",\"%s\":\"%s\"", name, text);
}

static void member_text(struct base_buf *b, const char *name, const char *value)
{
    base_buf_printf(b, ",\"%s\":", name);
    base_buf_json_str(b, value);
}

int node_identity_write(const char *dir, const struct node_identity_file *f, struct base_err *err)
{
    return node_identity_write_as(dir, NODE_IDENTITY_FILE, f, err);
}

int node_identity_write_as(const char *dir, const char *name, const struct node_identity_file *f,
                           struct base_err *err)
{
    struct base_buf b;
    base_buf_init(&b, NODE_FILE_BYTES_MAX);
    base_buf_str(&b, "{\"format\":\"everward-identity/1\"");
    member_uuid(&b, "tenant", &f->id.tenant_id);
    member_uuid(&b, "site", &f->id.site_id);
    member_uuid(&b, "node", &f->id.node_id);
    member_text(&b, "tenant_name", f->id.tenant_name);
    member_text(&b, "site_name", f->id.site_name);
    member_text(&b, "node_name", f->id.node_name);
    member_text(&b, "gateway_url", f->gateway_url);
    member_text(&b, "audience", f->audience);
    base_buf_printf(&b, ",\"incarnation\":%lld}\n", (long long)f->id.incarnation);
    int rc = base_buf_check(&b);
    rc = rc == 0 ? node_file_write(dir, name, b.data, b.len, err) : base_fail(err, rc, "identity");
    base_buf_release(&b);
    return rc;
}

static int copy_uuid(const cJSON *o, const char *name, struct base_uuid *out, struct base_err *err)
{
    const char *s = NULL;
    int rc = net_json_str(o, name, BASE_UUID_CHARS, &s, err);
    if (rc == 0 && !base_uuid_parse(out, s, strlen(s)))
        rc = base_fail(err, BASE_EINVALID, "\"%s\" is not a uuid", name);
    return rc;
}

static int copy_text(const cJSON *o, const char *name, char *out, size_t bytes,
                     struct base_err *err)
{
    const char *s = NULL;
    int rc = net_json_str(o, name, bytes - 1, &s, err);
    if (rc == 0)
        memcpy(out, s, strlen(s) + 1);
    return rc;
}

static int read_members(struct node_identity_file *f, const cJSON *o, struct base_err *err)
{
    int rc = copy_uuid(o, "tenant", &f->id.tenant_id, err);
    if (rc == 0)
        rc = copy_uuid(o, "site", &f->id.site_id, err);
    if (rc == 0)
        rc = copy_uuid(o, "node", &f->id.node_id, err);
    if (rc == 0)
        rc = copy_text(o, "tenant_name", f->id.tenant_name, sizeof f->id.tenant_name, err);
    if (rc == 0)
        rc = copy_text(o, "site_name", f->id.site_name, sizeof f->id.site_name, err);
    if (rc == 0)
        rc = copy_text(o, "node_name", f->id.node_name, sizeof f->id.node_name, err);
    if (rc == 0)
        rc = copy_text(o, "gateway_url", f->gateway_url, sizeof f->gateway_url, err);
    if (rc == 0)
        rc = copy_text(o, "audience", f->audience, sizeof f->audience, err);
    return rc == 0 ? net_json_i64(o, "incarnation", 1, INT64_MAX, &f->id.incarnation, err) : rc;
}

int node_identity_read(const char *dir, struct node_identity_file *out, struct base_err *err)
{
    return node_identity_read_as(dir, NODE_IDENTITY_FILE, out, err);
}

int node_identity_read_as(const char *dir, const char *name, struct node_identity_file *out,
                          struct base_err *err)
{
    struct node_identity_file f = {0};
    struct base_buf b;
    cJSON *o = NULL;
    base_buf_init(&b, NODE_FILE_BYTES_MAX);
    int rc = node_file_read(dir, name, &b, err);
    if (rc == 0)
        rc = net_json_parse(&o, b.data == NULL ? "" : b.data, b.len, err);
    if (rc == 0)
        rc = read_members(&f, o, err);
    if (rc != 0 && rc != BASE_ENOTFOUND)
        (void)base_err_prefix(err, rc, "%s/%s", dir, name);
    cJSON_Delete(o);
    base_buf_release(&b);
    if (rc == 0)
        *out = f;
    return rc;
}

int node_ticket_read(const char *dir, uint8_t out[NODE_TICKET_BYTES], struct base_err *err)
{
    return node_ticket_read_as(dir, NODE_TICKET_FILE, out, err);
}

int node_ticket_read_as(const char *dir, const char *name, uint8_t out[NODE_TICKET_BYTES],
                        struct base_err *err)
{
    struct base_buf b;
    base_buf_init(&b, 1024);
    int rc = node_file_read(dir, name, &b, err);
    if (rc == 0 && (b.len < 2 * NODE_TICKET_BYTES ||
                    !seal_hex_decode(out, NODE_TICKET_BYTES, b.data, 2 * NODE_TICKET_BYTES)))
        rc = base_fail(err, BASE_ECORRUPT,
                       "%s/%s is damaged; set the node up anew with a new invite", dir, name);
    if (b.data != NULL)
        seal_wipe(b.data, b.len);
    base_buf_release(&b);
    return rc;
}
