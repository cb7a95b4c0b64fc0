/*
 * recovery make, node escrow, node wipe: the tenant's recovery key, and the last resorts for one node.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sync/base/buf.h"
#include "sync/gateway/cli.h"
#include "sync/seal/seal.h"

static int write_secret(const char *path, const uint8_t secret[32])
{
    struct base_buf b;
    int code = 0;
    BASE_ASSERT(path != NULL);
    base_buf_init(&b, 128);
    base_buf_hex(&b, secret, 32);
    base_buf_char(&b, '\n');
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0400);
    if (fd < 0)
        code = gw_complain(GW_EXIT_REFUSED, strerror(errno), "name a file that does not exist yet");
    else if (base_buf_check(&b) != 0 || write(fd, b.data, b.len) != (ssize_t)b.len ||
             fsync(fd) != 0)
        code = gw_complain(GW_EXIT_FAILED, "the secret could not be written",
                           "remove the file and try again");
    if (fd >= 0)
        (void)close(fd);
    if (b.data != NULL)
        seal_wipe(b.data, b.len);
    base_buf_release(&b);
    return code;
}

int gw_cmd_recovery_make(struct gw_cli *cli)
{
    char tenant[37];
    uint8_t pk[32];
    uint8_t sk[32];
    struct base_buf hex;
    int code = gw_tenant(cli, tenant);
    const char *path = gw_option(cli, "--secret-file");
    if (code == 0 && path == NULL)
        code = gw_complain(GW_EXIT_USAGE, "--secret-file is missing",
                           "everward-gateway recovery make --tenant T --secret-file F");
    if (code != 0)
        return code;
    seal_box_keypair(pk, sk);
    code = write_secret(path, sk);
    seal_wipe(sk, sizeof sk);
    if (code != 0)
        return code;
    base_buf_init(&hex, 128);
    base_buf_str(&hex, "\\x");
    base_buf_hex(&hex, pk, sizeof pk);
    const char *const values[] = {tenant, hex.data};
    PGresult *r =
        gw_run(cli, &code, "SELECT everward.set_recovery($1::uuid, $2::bytea)", 2, values);
    if (r != NULL)
        (void)printf("%s\n", hex.data + 2);
    if (r != NULL && !cli->json)
        (void)fprintf(stderr,
                      "The secret half is in %s and nowhere else: move it off this machine,"
                      " print it, keep it in a safe.\n",
                      path);
    PQclear(r);
    base_buf_release(&hex);
    return code;
}

int gw_cmd_node_escrow(struct gw_cli *cli)
{
    char tenant[37];
    if (cli->word_count != 1)
        return gw_complain(GW_EXIT_USAGE, "give the node's id or name",
                           "everward-gateway node list --tenant T");
    int code = gw_tenant(cli, tenant);
    const char *const values[] = {tenant, cli->words[0]};
    if (code != 0)
        return code;
    PGresult *r =
        gw_run(cli, &code,
               "SELECT 'ewescrow1:' || n.node_id || ':' || encode(e.recovery_key, 'hex') || ':' ||"
               " encode(e.sealed, 'hex') AS escrow FROM everward.escrow e JOIN everward.node n"
               " USING (tenant_id, node_id) WHERE e.tenant_id = $1::uuid"
               " AND (n.node_id::text = lower($2) OR n.name = $2) ORDER BY e.at DESC",
               2, values);
    if (r == NULL)
        return code;
    if (PQntuples(r) == 0)
        code = gw_complain(GW_EXIT_REFUSED, "the centre has no escrow of such a node",
                           "everward-gateway recovery make, then let the node sync");
    for (int i = 0; i < PQntuples(r); i++)
        (void)printf("%s\n", PQgetvalue(r, i, 0));
    PQclear(r);
    return code;
}

static int show_wipes(struct gw_cli *cli, const char *tenant)
{
    int code = 0;
    const char *const values[] = {tenant};
    PGresult *r = gw_run(cli, &code,
                         "SELECT n.name AS node, w.asked_at, w.done_at, w.refused, w.statement,"
                         " encode(w.sig, 'hex') AS proof FROM everward.wipe w JOIN everward.node n"
                         " USING (tenant_id, node_id) WHERE w.tenant_id = $1::uuid"
                         " ORDER BY w.asked_at DESC",
                         1, values);
    if (r == NULL)
        return code;
    gw_print(cli, r);
    PQclear(r);
    return 0;
}

/* Without a node: how far those that were asked for are. */
int gw_cmd_node_wipe(struct gw_cli *cli)
{
    char tenant[37];
    int code = gw_tenant(cli, tenant);
    if (code != 0 || cli->word_count == 0)
        return code != 0 ? code : show_wipes(cli, tenant);
    const char *const values[] = {tenant, cli->words[0]};
    PGresult *r = gw_run(cli, &code,
                         "SELECT everward.ask_wipe($1::uuid, n.node_id) FROM everward.node n"
                         " WHERE n.tenant_id = $1::uuid AND n.status = 'enrolled'"
                         " AND (n.node_id::text = lower($2) OR n.name = $2)",
                         2, values);
    if (r == NULL)
        return code;
    if (PQntuples(r) != 1)
        code =
            gw_complain(GW_EXIT_REFUSED, "no such enrolled node",
                        "everward-gateway node list --tenant T (a revoked node no longer hears)");
    else
        (void)printf(
            "asked; the node wipes itself at its next contact, once nothing unsent is on it:"
            " everward-gateway node wipe --tenant T tells\n");
    PQclear(r);
    return code;
}
