/*
 * audit report, audit alarms: what the nodes of a tenant wrote down, as the centre keeps it.
 */
#include <string.h>

#include "sync/gateway/cli.h"

static int list(struct gw_cli *cli, const char *sql, int count, const char *const values[])
{
    int code = 0;
    PGresult *r = gw_run(cli, &code, sql, count, values);
    if (r == NULL)
        return code;
    gw_print(cli, r);
    PQclear(r);
    return 0;
}

int gw_cmd_audit_report(struct gw_cli *cli)
{
    char tenant[37];
    int code = gw_tenant(cli, tenant);
    if (code != 0)
        return code;
    const char *const values[] = {tenant, gw_option(cli, "--patient"), gw_option(cli, "--action")};
    return list(cli,
                "SELECT a.at, n.name AS node, coalesce(s.username, a.actor::text) AS who, a.action,"
                " a.table_name, a.row_id, a.patient_id, a.device, a.outcome, a.detail"
                " FROM everward.audit_trail a"
                " JOIN everward.node n ON n.tenant_id = a.tenant_id AND n.node_id = a.node_id"
                " LEFT JOIN ward.staff s ON s.tenant_id = a.tenant_id AND s.id = a.actor"
                " WHERE a.tenant_id = $1::uuid AND ($2::uuid IS NULL OR a.patient_id = $2::uuid)"
                " AND ($3::text IS NULL OR a.action = $3)"
                " ORDER BY a.received_at DESC, a.node_id, a.life DESC, a.n DESC LIMIT 10000",
                3, values);
}

int gw_cmd_audit_alarms(struct gw_cli *cli)
{
    char tenant[37];
    int code = gw_tenant(cli, tenant);
    const char *const values[] = {tenant};
    if (code != 0)
        return code;
    return list(cli,
                "SELECT a.at, n.name AS node, a.life, a.kind, a.held_n, a.said_n"
                " FROM everward.audit_alarm a"
                " JOIN everward.node n ON n.tenant_id = a.tenant_id AND n.node_id = a.node_id"
                " WHERE a.tenant_id = $1::uuid ORDER BY a.at DESC",
                1, values);
}
