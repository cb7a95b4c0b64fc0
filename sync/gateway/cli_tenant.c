/*
 * tenant, site, node: who belongs to the centre.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sync/base/buf.h"
#include "sync/gateway/cli.h"
#include "sync/gateway/serve.h"
#include "sync/net/x509.h"
#include "sync/seal/seal.h"

enum { INVITE_TOKEN_BYTES = 24 };

static int print_one(struct gw_cli *cli, const char *sql, int count, const char *const values[])
{
    int code = 0;
    PGresult *r = gw_run(cli, &code, sql, count, values);
    if (r == NULL)
        return code;
    (void)printf(cli->json ? "{\"%s\":\"%s\"}\n" : "%.0s%s\n", PQfname(r, 0), PQgetvalue(r, 0, 0));
    PQclear(r);
    return 0;
}

static int print_list(struct gw_cli *cli, const char *sql, int count, const char *const values[])
{
    int code = 0;
    PGresult *r = gw_run(cli, &code, sql, count, values);
    if (r == NULL)
        return code;
    gw_print(cli, r);
    PQclear(r);
    return 0;
}

/* The name must be given, and be new: a tenant is also found by it. */
int gw_cmd_tenant_add(struct gw_cli *cli)
{
    int code = gw_connect(cli);
    if (cli->word_count != 1)
        return gw_complain(GW_EXIT_USAGE, "give the tenant's name",
                           "everward-gateway tenant add \"General Hospital\"");
    if (code != 0)
        return code;
    PGresult *r =
        gw_run(cli, &code, "SELECT 1 FROM everward.tenant WHERE name = $1", 1, cli->words);
    if (r == NULL)
        return code;
    bool taken = PQntuples(r) > 0;
    PQclear(r);
    if (taken)
        return gw_complain(GW_EXIT_REFUSED, "a tenant of this name exists already",
                           "everward-gateway tenant list");
    return print_one(cli, "SELECT everward.add_tenant($1) AS tenant_id", 1, cli->words);
}

int gw_cmd_tenant_list(struct gw_cli *cli)
{
    int code = gw_connect(cli);
    if (code != 0)
        return code;
    return print_list(cli,
                      "SELECT t.tenant_id, t.name, t.tier,"
                      " (SELECT count(*) FROM everward.site s WHERE s.tenant_id = t.tenant_id)"
                      " AS sites,"
                      " (SELECT count(*) FROM everward.node n WHERE n.tenant_id = t.tenant_id AND"
                      " n.status = 'enrolled') AS nodes FROM everward.tenant t ORDER BY t.name",
                      0, NULL);
}

int gw_cmd_site_add(struct gw_cli *cli)
{
    char tenant[37];
    if (cli->word_count != 1)
        return gw_complain(GW_EXIT_USAGE, "give the site's name",
                           "everward-gateway site add \"Clinic North\" --tenant T");
    int code = gw_tenant(cli, tenant);
    if (code != 0)
        return code;
    const char *const values[] = {tenant, cli->words[0]};
    return print_one(cli, "SELECT everward.add_site($1::uuid, $2) AS site_id", 2, values);
}

int gw_cmd_site_list(struct gw_cli *cli)
{
    char tenant[37];
    int code = gw_tenant(cli, tenant);
    const char *const values[] = {tenant};
    if (code != 0)
        return code;
    return print_list(cli,
                      "SELECT site_id, name FROM everward.site WHERE tenant_id = $1::uuid"
                      " ORDER BY name",
                      1, values);
}

static int find_site(struct gw_cli *cli, const char *tenant, char out[37])
{
    const char *site = gw_option(cli, "--site");
    int code = 0;
    if (site == NULL)
        return gw_complain(GW_EXIT_USAGE, "--site is missing",
                           "everward-gateway site list --tenant T");
    const char *const values[] = {tenant, site};
    PGresult *r = gw_run(cli, &code,
                         "SELECT site_id FROM everward.site WHERE tenant_id = $1::uuid"
                         " AND (site_id::text = lower($2) OR name = $2)",
                         2, values);
    if (r == NULL)
        return code;
    if (PQntuples(r) == 1)
        (void)snprintf(out, 37, "%s", PQgetvalue(r, 0, 0));
    else
        code = gw_complain(GW_EXIT_REFUSED, "no such site, or more than one of this name",
                           "everward-gateway site list --tenant T");
    PQclear(r);
    return code;
}

int gw_place(struct gw_cli *cli, char host[256], int64_t *port)
{
    const char *address = base_config_text(cli->config, "gateway", "address");
    const char *public_host = base_config_text(cli->config, "gateway", "public_host");
    if (public_host[0] != '\0')
        (void)snprintf(host, 256, "%s", public_host);
    else if (strcmp(address, "0.0.0.0") != 0 && strcmp(address, "::") != 0)
        (void)snprintf(host, 256, "%s", address);
    else if (gethostname(host, 255) != 0)
        return gw_complain(GW_EXIT_CONFIG, "this machine has no name", "set gateway.public_host");
    *port = base_config_int(cli->config, "gateway", "public_port");
    if (*port == 0)
        *port = base_config_int(cli->config, "gateway", "port");
    return 0;
}

/* Where nodes reach this gateway, and which CA they must see there. */
static int invite_place(struct gw_cli *cli, char host[256], int64_t *port, char ca_hex[65])
{
    struct base_err err = {0};
    char *pem = NULL;
    uint8_t hash[32];
    const char *ca = base_config_text(cli->config, "tls", "ca");
    int rc = gw_read_file(&pem, ca, &err);
    if (rc == 0)
        rc = net_x509_fingerprint(pem, hash, &err);
    free(pem);
    if (rc != 0)
        return gw_complain(GW_EXIT_CONFIG, err.text, "everward-gateway ca make, then set tls.ca");
    for (int i = 0; i < 32; i++)
        (void)snprintf(ca_hex + 2 * i, 3, "%02x", hash[i]);
    return gw_place(cli, host, port);
}

/* A place among the rows to come, or a node that is there and may come back with what it holds. */
static PGresult *add_invite(struct gw_cli *cli, int *code, const char *tenant, const char *hash,
                            const char *hours)
{
    char site[37];
    const char *name = cli->word_count > 0 ? cli->words[0] : gw_option(cli, "--name");
    if (gw_option(cli, "--keep-outbox") == NULL) {
        *code = find_site(cli, tenant, site);
        const char *const values[] = {tenant, site, name == NULL ? "" : name, hash, hours};
        return *code != 0 ? NULL
                          : gw_run(cli, code,
                                   "SELECT everward.add_invite($1::uuid, $2::uuid, $3, $4::bytea,"
                                   " $5::interval)",
                                   5, values);
    }
    const char *const values[] = {tenant, name == NULL ? "" : name, hash, hours};
    PGresult *r = gw_run(cli, code,
                         "SELECT everward.add_readmission($1::uuid, max(n.node_id::text)::uuid,"
                         " $3::bytea, $4::interval) FROM everward.node n"
                         " WHERE n.tenant_id = $1::uuid AND (n.node_id::text = lower($2)"
                         " OR n.name = $2) HAVING count(*) = 1",
                         4, values);
    if (r != NULL && PQntuples(r) != 1) {
        *code = gw_complain(GW_EXIT_REFUSED,
                            "no node of this name or id, or more than one of this name",
                            "everward-gateway node list --tenant T");
        PQclear(r);
        return NULL;
    }
    return r;
}

int gw_cmd_node_invite(struct gw_cli *cli)
{
    char tenant[37];
    char host[256] = "";
    char ca_hex[65];
    char hours[24];
    int64_t port = 0;
    uint8_t token[INVITE_TOKEN_BYTES];
    uint8_t hash[32];
    struct base_buf hex;
    struct base_buf text;
    int code = gw_tenant(cli, tenant);
    if (code == 0)
        code = invite_place(cli, host, &port, ca_hex);
    if (code != 0)
        return code;
    seal_random(token, sizeof token);
    seal_sha256(hash, token, sizeof token);
    base_buf_init(&hex, 256);
    base_buf_init(&text, 256);
    base_buf_str(&hex, "\\x");
    base_buf_hex(&hex, hash, sizeof hash);
    seal_base64url(&text, token, sizeof token);
    (void)snprintf(hours, sizeof hours, "%lld hours",
                   (long long)base_config_int(cli->config, "limits", "invite_hours"));
    PGresult *r = add_invite(cli, &code, tenant, hex.data, hours);
    if (r != NULL && cli->json)
        (void)printf("{\"invite\":\"ew1:%s:%lld:%s:%s\",\"valid\":\"%s\"}\n", host, (long long)port,
                     ca_hex, text.data, hours);
    else if (r != NULL)
        (void)printf("ew1:%s:%lld:%s:%s\n", host, (long long)port, ca_hex, text.data);
    PQclear(r);
    base_buf_release(&hex);
    base_buf_release(&text);
    seal_wipe(token, sizeof token);
    return code;
}

int gw_cmd_node_list(struct gw_cli *cli)
{
    char tenant[37];
    int code = gw_tenant(cli, tenant);
    const char *const values[] = {tenant};
    if (code != 0)
        return code;
    return print_list(
        cli,
        "SELECT n.node_id, n.name, s.name AS site, n.status, n.incarnation,"
        " to_char(n.last_seen_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS "
        "last_seen,"
        " n.acked_cut, coalesce(h.last_seq, 0) AS last_seq, n.program_version AS version"
        " FROM everward.node n JOIN everward.site s USING (tenant_id, site_id)"
        " LEFT JOIN everward.node_head h USING (tenant_id, node_id, incarnation)"
        " WHERE n.tenant_id = $1::uuid ORDER BY n.name",
        1, values);
}

int gw_cmd_node_revoke(struct gw_cli *cli)
{
    char tenant[37];
    if (cli->word_count != 1)
        return gw_complain(GW_EXIT_USAGE, "give the node's name or id",
                           "everward-gateway node list --tenant T");
    int code = gw_tenant(cli, tenant);
    if (code != 0)
        return code;
    const char *const values[] = {tenant, cli->words[0]};
    PGresult *r = gw_run(cli, &code,
                         "SELECT node_id, everward.revoke_node(tenant_id, node_id)"
                         " FROM everward.node WHERE tenant_id = $1::uuid AND status = 'enrolled'"
                         " AND (node_id::text = lower($2) OR name = $2)",
                         2, values);
    if (r == NULL)
        return code;
    if (PQntuples(r) == 0)
        code = gw_complain(GW_EXIT_REFUSED, "no enrolled node of this name or id",
                           "everward-gateway node list --tenant T");
    for (int i = 0; i < PQntuples(r); i++)
        (void)printf("revoked %s\n", PQgetvalue(r, i, 0));
    PQclear(r);
    return code;
}

/* ---- feed ---------------------------------------------------------------------------------- */

enum { KEEP_DAYS = 90, KEEP_DAYS_MAX = 36500 };

/* Age only says where to look; what goes is decided by what the nodes have (everward.compact). */
int gw_cmd_feed_compact(struct gw_cli *cli)
{
    static const char sql[] =
        "SELECT t.upto AS compacted_to, everward.compact($1::uuid, t.upto, $3::boolean) AS changes"
        " FROM (SELECT least(coalesce((SELECT min(k.cut) - 1 FROM everward.cut k"
        " JOIN everward.change c ON c.tenant_id = k.tenant_id AND c.txn = k.txn"
        " WHERE k.tenant_id = $1::uuid AND c.at >= now() - make_interval(days => $2::int)), "
        "h.head),"
        " CASE WHEN NOT $3::boolean THEN (SELECT min(n.acked_cut) FROM everward.node n"
        " WHERE n.tenant_id = $1::uuid AND n.status = 'enrolled') END) AS upto, h.tail"
        " FROM everward.feed_head h WHERE h.tenant_id = $1::uuid) t WHERE t.upto > t.tail";
    char tenant[37];
    char keep[16];
    char *end = NULL;
    const char *days = gw_option(cli, "--keep-days");
    long count = days == NULL ? KEEP_DAYS : strtol(days, &end, 10);
    if (days != NULL && (*days == '\0' || *end != '\0' || count < 0 || count > KEEP_DAYS_MAX))
        return gw_complain(GW_EXIT_USAGE, "--keep-days takes a number of days", "90 is usual");
    int code = gw_tenant(cli, tenant);
    if (code != 0)
        return code;
    (void)snprintf(keep, sizeof keep, "%ld", count);
    const char *const values[] = {tenant, keep,
                                  gw_option(cli, "--all-the-same") == NULL ? "false" : "true"};
    PGresult *r = gw_run(cli, &code, sql, 3, values);
    if (r == NULL)
        return code;
    gw_print(cli, r);
    PQclear(r);
    return 0;
}
