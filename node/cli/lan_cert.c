#include "node/cli/lan_cert.h"

#include <stdlib.h>
#include <string.h>

#include "node/cli/files.h"
#include "sync/net/x509.h"
#include "sync/seal/seal.h"

struct pair {
    char *cert, *key;
};

static int take_text(char **out, const char *tls, const char *name, struct base_err *err)
{
    struct base_buf b;
    base_buf_init(&b, NODE_FILE_BYTES_MAX);
    int rc = node_file_read(tls, name, &b, err);
    if (rc == 0) {
        base_buf_str(&b, ""); /* an empty file is an empty text */
        *out = base_buf_take(&b);
        rc = *out == NULL ? base_fail(err, BASE_EINVALID, "%s/%s is empty", tls, name) : 0;
    }
    base_buf_release(&b);
    return rc;
}

static void release(struct pair *p)
{
    if (p->key != NULL)
        seal_wipe(p->key, strlen(p->key));
    free(p->key);
    free(p->cert);
}

int node_lan_cert_renew(const char *dir, int64_t now_s, bool *renewed, struct base_err *err)
{
    char tls[NODE_PATH_BYTES_MAX];
    struct pair ca = {NULL, NULL}, old = {NULL, NULL}, made = {NULL, NULL};
    bool due = false;
    node_path(tls, dir, "tls");
    int rc = take_text(&old.cert, tls, "server.crt", err);
    if (rc == 0)
        rc = take_text(&old.key, tls, "server.key", err);
    if (rc == 0)
        rc = net_x509_renew_due(old.cert, old.key, now_s, &due, err);
    if (rc != 0 || !due)
        goto out;
    rc = take_text(&ca.cert, tls, "ca.crt", err);
    if (rc == 0)
        rc = take_text(&ca.key, tls, "ca.key", err);
    if (rc == 0)
        rc = net_x509_renew_leaf(ca.cert, ca.key, old.cert, now_s, &made.cert, &made.key, err);
    if (rc == 0)
        rc = node_file_write(tls, "server.key", made.key, strlen(made.key), err);
    if (rc == 0)
        rc = node_file_write(tls, "server.crt", made.cert, strlen(made.cert), err);
    if (rc == 0)
        *renewed = true;
out:
    release(&ca);
    release(&old);
    release(&made);
    return rc == 0 ? 0 : base_err_prefix(err, rc, "the ward's certificate");
}
