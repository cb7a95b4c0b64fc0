#include "sync/gateway/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/base/buf.h"
#include "sync/base/uuid.h"

enum { JSON_BYTES_MAX = 64 * 1024 * 1024, CELL_WIDTH_MAX = 60 };

const char *gw_option(const struct gw_cli *cli, const char *name)
{
    for (int i = 0; i < cli->option_count; i++)
        if (strcmp(cli->options[i].name, name) == 0)
            return cli->options[i].value;
    return NULL;
}

int gw_complain(int code, const char *what, const char *next)
{
    (void)fprintf(stderr, "everward-gateway: %s\n", what);
    if (next != NULL)
        (void)fprintf(stderr, "  next: %s\n", next);
    return code;
}

/* The operator's own terminal: here the server's words may be shown. */
static int say_pg(struct gw_cli *cli, const char *sqlstate)
{
    char text[512];
    (void)snprintf(text, sizeof text, "%s", PQerrorMessage(cli->pg));
    text[strcspn(text, "\n")] = '\0';
    if (PQstatus(cli->pg) != CONNECTION_OK)
        return gw_complain(GW_EXIT_UNAVAILABLE, text,
                           "start PostgreSQL, or correct database.admin_dsn");
    if (sqlstate != NULL && (strncmp(sqlstate, "40", 2) == 0 || strncmp(sqlstate, "55P", 3) == 0))
        return gw_complain(GW_EXIT_AGAIN, text, "try again");
    if (sqlstate != NULL && (strncmp(sqlstate, "42P01", 5) == 0 || strcmp(sqlstate, "3F000") == 0 ||
                             strcmp(sqlstate, "42883") == 0))
        return gw_complain(GW_EXIT_CONFIG, text, "everward-gateway migrate");
    return gw_complain(GW_EXIT_REFUSED, text, "check what was given, and the role's rights");
}

int gw_connect(struct gw_cli *cli)
{
    if (cli->pg != NULL)
        return 0;
    const char *const keys[] = {"connect_timeout", "application_name", "dbname", "client_encoding",
                                NULL};
    const char *const values[] = {"10", "everward-gateway cli",
                                  base_config_text(cli->config, "database", "admin_dsn"), "UTF8",
                                  NULL};
    cli->pg = PQconnectdbParams(keys, values, 1);
    if (cli->pg == NULL)
        return gw_complain(GW_EXIT_FAILED, "out of memory", NULL);
    return PQstatus(cli->pg) == CONNECTION_OK ? 0 : say_pg(cli, NULL);
}

PGresult *gw_run(struct gw_cli *cli, int *code, const char *sql, int count,
                 const char *const values[])
{
    PGresult *r = PQexecParams(cli->pg, sql, count, NULL, values, NULL, NULL, 0);
    ExecStatusType status = PQresultStatus(r);
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
        return r;
    *code = say_pg(cli, PQresultErrorField(r, PG_DIAG_SQLSTATE));
    PQclear(r);
    return NULL;
}

int gw_tenant(struct gw_cli *cli, char out[37])
{
    const char *name = gw_option(cli, "--tenant");
    int code = 0;
    if (name == NULL)
        return gw_complain(GW_EXIT_USAGE, "--tenant is missing", "everward-gateway tenant list");
    code = gw_connect(cli);
    if (code != 0)
        return code;
    const char *const values[] = {name};
    PGresult *r = gw_run(cli, &code,
                         "SELECT tenant_id FROM everward.tenant"
                         " WHERE tenant_id::text = lower($1) OR name = $1",
                         1, values);
    if (r == NULL)
        return code;
    if (PQntuples(r) == 1)
        (void)snprintf(out, 37, "%s", PQgetvalue(r, 0, 0));
    else
        code = gw_complain(GW_EXIT_REFUSED,
                           PQntuples(r) == 0 ? "no tenant of this name or id"
                                             : "more than one tenant has this name: give its id",
                           "everward-gateway tenant list");
    PQclear(r);
    return code;
}

static void print_json(const PGresult *r)
{
    struct base_buf b;
    base_buf_init(&b, JSON_BYTES_MAX);
    base_buf_char(&b, '[');
    for (int i = 0; i < PQntuples(r); i++) {
        base_buf_str(&b, i == 0 ? "{" : ",{");
        for (int k = 0; k < PQnfields(r); k++) {
            if (k > 0)
                base_buf_char(&b, ',');
            base_buf_json_str(&b, PQfname(r, k));
            base_buf_char(&b, ':');
            base_buf_json_str(&b, PQgetisnull(r, i, k) ? NULL : PQgetvalue(r, i, k));
        }
        base_buf_char(&b, '}');
    }
    base_buf_char(&b, ']');
    (void)printf("%s\n", b.data);
    base_buf_release(&b);
}

void gw_print(const struct gw_cli *cli, const PGresult *r)
{
    int width[GW_ARGS_MAX] = {0};
    int n = PQnfields(r) < GW_ARGS_MAX ? PQnfields(r) : GW_ARGS_MAX;
    if (cli->json) {
        print_json(r);
        return;
    }
    for (int k = 0; k < n; k++) {
        width[k] = (int)strlen(PQfname(r, k));
        for (int i = 0; i < PQntuples(r); i++)
            if (PQgetlength(r, i, k) > width[k])
                width[k] = PQgetlength(r, i, k);
        if (width[k] > CELL_WIDTH_MAX)
            width[k] = CELL_WIDTH_MAX;
    }
    for (int i = -1; i < PQntuples(r); i++) {
        for (int k = 0; k < n; k++)
            (void)printf("%s%-*s", k == 0 ? "" : "  ", k == n - 1 ? 0 : width[k],
                         i < 0 ? PQfname(r, k) : PQgetvalue(r, i, k));
        (void)printf("\n");
    }
}
