/*
 * numbers: the form of a tenant's record numbers, and which blocks of them its nodes hold.
 */
#include <stdio.h>
#include <string.h>

#include "sync/gateway/cli.h"

int gw_cmd_numbers_set(struct gw_cli *cli)
{
    char tenant[37];
    int code = 0;
    const char *system = gw_option(cli, "--system");
    const char *prefix = gw_option(cli, "--prefix");
    const char *digits = gw_option(cli, "--digits");
    const char *next = gw_option(cli, "--next");
    if (system == NULL || digits == NULL || strlen(digits) > 2 ||
        strspn(digits, "0123456789") != strlen(digits) || digits[0] == '\0' ||
        (next != NULL &&
         (strlen(next) > 15 || strspn(next, "0123456789") != strlen(next) || next[0] == '\0')))
        return gw_complain(GW_EXIT_USAGE, "give --system, --digits and, if need be, --next",
                           "everward-gateway numbers set --tenant T --system urn:mrn --digits 7");
    if ((code = gw_tenant(cli, tenant)) != 0)
        return code;
    const char *const values[] = {tenant, system, prefix == NULL ? "" : prefix, digits,
                                  next == NULL ? "1" : next};
    PGresult *r = gw_run(cli, &code,
                         "INSERT INTO everward.number_scheme AS s (tenant_id, system, prefix,"
                         " digits, next_number) VALUES ($1::uuid, $2, $3, $4::int, $5::bigint)"
                         " ON CONFLICT (tenant_id) DO UPDATE SET system = excluded.system,"
                         " prefix = excluded.prefix, digits = excluded.digits,"
                         " next_number = greatest(s.next_number, excluded.next_number)"
                         " RETURNING system, prefix, digits, next_number",
                         5, values);
    if (r == NULL)
        return code;
    gw_print(cli, r);
    PQclear(r);
    return 0;
}

int gw_cmd_numbers_show(struct gw_cli *cli)
{
    char tenant[37];
    int code = gw_tenant(cli, tenant);
    const char *const values[] = {tenant};
    if (code != 0)
        return code;
    PGresult *r =
        gw_run(cli, &code,
               "SELECT s.system, s.prefix, s.digits, s.next_number, n.name AS node, l.incarnation,"
               " l.block, l.prefix AS block_prefix, l.first, l.last, l.leased_at,"
               " (SELECT count(*) FROM ward.patient_identifier i WHERE i.tenant_id = l.tenant_id"
               " AND i.system = l.system AND i.value >= l.prefix || lpad(l.first::text, l.digits,"
               " '0') AND i.value <= l.prefix || lpad(l.last::text, l.digits, '0') || '9'"
               " AND length(i.value) = length(l.prefix) + l.digits + 1) AS arrived"
               " FROM everward.number_scheme s LEFT JOIN everward.number_lease l USING (tenant_id)"
               " LEFT JOIN everward.node n USING (tenant_id, node_id)"
               " WHERE s.tenant_id = $1::uuid ORDER BY l.first",
               1, values);
    if (r == NULL)
        return code;
    gw_print(cli, r);
    PQclear(r);
    return 0;
}
