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
                "SELECT q.at, q.node, q.who, q.action, q.table_name, q.row_id, q.patient_id,"
                " q.device, q.outcome, q.detail FROM ("
                "SELECT a.at, n.name AS node, coalesce(s.username, a.actor::text) AS who, a.action,"
                " a.table_name, a.row_id, a.patient_id, a.device, a.outcome, a.detail,"
                " a.received_at, a.node_id, a.life, a.n"
                " FROM everward.audit_trail a"
                " JOIN everward.node n ON n.tenant_id = a.tenant_id AND n.node_id = a.node_id"
                " LEFT JOIN ward.staff s ON s.tenant_id = a.tenant_id AND s.id = a.actor"
                " WHERE a.tenant_id = $1::uuid AND ($2::uuid IS NULL OR a.patient_id = $2::uuid)"
                " AND ($3::text IS NULL OR a.action = $3)"
                " UNION ALL SELECT to_char(l.begun_at AT TIME ZONE 'UTC',"
                " 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), n.name, l.begun_by, 'outbox_accept', NULL,"
                " NULL, NULL, 'everward-gateway', coalesce(l.outcome, 'broken off'),"
                " format('changes %s to %s of life %s: %s taken in, %s known', l.first_seq,"
                " l.last_seq, l.incarnation, coalesce(l.applied::text, '?'),"
                " coalesce(l.known::text, '?')), l.begun_at, l.node_id, 0, 0"
                " FROM everward.late_accept l JOIN everward.node n USING (tenant_id, node_id)"
                " WHERE l.tenant_id = $1::uuid AND $2::uuid IS NULL"
                " AND ($3::text IS NULL OR $3 = 'outbox_accept')"
                ") q ORDER BY q.received_at DESC, q.node_id, q.life DESC, q.n DESC LIMIT 10000",
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
