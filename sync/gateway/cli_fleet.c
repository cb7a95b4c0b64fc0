/*
 * fleet: who may look at a tenant's nodes in a browser.
 */
#include <stdio.h>
#include <string.h>

#include "sync/base/buf.h"
#include "sync/gateway/cli.h"
#include "sync/gateway/fleet.h"
#include "sync/seal/seal.h"

enum { LINK_BYTES_MAX = 256 };

int gw_cmd_fleet_open(struct gw_cli *cli)
{
    char tenant[37];
    char host[256] = "";
    int64_t port = 0;
    uint8_t key[GW_FLEET_KEY_BYTES];
    uint8_t hash[32];
    struct base_uuid id;
    struct base_buf hex;
    struct base_buf text;
    int code = gw_tenant(cli, tenant);
    if (code == 0)
        code = gw_place(cli, host, &port);
    if (code != 0)
        return code;
    if (!base_uuid_parse(&id, tenant, strlen(tenant)))
        return gw_complain(GW_EXIT_REFUSED, "no such tenant", "everward-gateway tenant list");
    memcpy(key, id.bytes, GW_FLEET_TENANT_BYTES);
    seal_random(key + GW_FLEET_TENANT_BYTES, GW_FLEET_SECRET_BYTES);
    seal_sha256(hash, key + GW_FLEET_TENANT_BYTES, GW_FLEET_SECRET_BYTES);
    base_buf_init(&hex, LINK_BYTES_MAX);
    base_buf_init(&text, LINK_BYTES_MAX);
    base_buf_str(&hex, "\\x");
    base_buf_hex(&hex, hash, sizeof hash);
    seal_base64url(&text, key, sizeof key);
    const char *const values[] = {tenant, hex.data};
    PGresult *r =
        base_buf_check(&hex) != 0 || base_buf_check(&text) != 0
            ? NULL
            : gw_run(cli, &code,
                     "SELECT to_char(everward.add_fleet_link($1::uuid, $2::bytea) AT TIME ZONE"
                     " 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')",
                     2, values);
    if (r != NULL)
        (void)printf(cli->json
                         ? "{\"link\":\"https://%s:%lld/fleet#%.*s\",\"valid_until\":\"%s\"}\n"
                         : "https://%s:%lld/fleet#%.*s\n%.0s",
                     host, (long long)port, (int)text.len, text.data, PQgetvalue(r, 0, 0));
    PQclear(r);
    base_buf_release(&hex);
    base_buf_release(&text);
    seal_wipe(key, sizeof key);
    return code;
}

int gw_cmd_fleet_close(struct gw_cli *cli)
{
    char tenant[37];
    int code = gw_tenant(cli, tenant);
    const char *const values[] = {tenant};
    if (code != 0)
        return code;
    PGresult *r =
        gw_run(cli, &code, "SELECT everward.close_fleet_sessions($1::uuid) AS closed", 1, values);
    if (r != NULL)
        (void)printf(cli->json ? "{\"closed\":%s}\n" : "%s closed\n", PQgetvalue(r, 0, 0));
    PQclear(r);
    return code;
}
