/*
 * doctor: is the database as isolated as it should be? One line a check, a fix behind each finding.
 */
#include <stdio.h>
#include <string.h>

#include "sync/base/buf.h"
#include "sync/base/log.h"
#include "sync/gateway/cli.h"
#include "sync/gateway/lint.h"

enum { DOCTOR_JSON_BYTES_MAX = 4 * 1024 * 1024 };

struct visit {
    const struct gw_cli *cli;
    struct base_buf json, lines; /* of the check under way */
    int leaks, warnings;
};

static void member(struct base_buf *b, const char *name, const char *value)
{
    base_buf_printf(b, "%s\"%s\":", b->data[b->len - 1] == '{' ? "" : ",", name);
    base_buf_json_str(b, value);
}

static void found(void *user, const struct gw_finding *f)
{
    struct visit *v = user;
    v->leaks += f->leak;
    v->warnings += !f->leak;
    base_buf_str(&v->json, v->json.len > 1 ? ",{" : "{");
    member(&v->json, "check", f->check);
    member(&v->json, "severity", f->leak ? "leak" : "warning");
    member(&v->json, "what", f->what);
    member(&v->json, "fix", f->fix);
    base_buf_char(&v->json, '}');
    base_buf_printf(&v->lines, "%-8s %-18s %s\n         %s\n", f->leak ? "LEAK" : "warning",
                    f->check, f->what, f->fix);
}

static void checked(void *user, const char *check, int count)
{
    struct visit *v = user;
    if (!v->cli->json && count == 0)
        (void)printf("%-8s %s\n", "ok", check);
    else if (!v->cli->json)
        (void)printf("%s", v->lines.data == NULL ? "" : v->lines.data);
    base_buf_clear(&v->lines);
}

int gw_cmd_doctor(struct gw_cli *cli)
{
    struct visit v = {.cli = cli};
    struct base_err err = {0};
    int code = gw_connect(cli);
    if (code != 0)
        return code;
    base_buf_init(&v.json, DOCTOR_JSON_BYTES_MAX);
    base_buf_init(&v.lines, DOCTOR_JSON_BYTES_MAX);
    base_buf_char(&v.json, '[');
    int rc = gw_lint(cli->pg, &v, found, checked, &err);
    base_buf_char(&v.json, ']');
    if (rc != 0)
        code = gw_complain(GW_EXIT_UNAVAILABLE, err.text, "everward-gateway migrate");
    else if (cli->json)
        (void)printf("%s\n", base_buf_check(&v.json) == 0 ? v.json.data : "[]");
    else
        (void)printf("%d leaks, %d warnings\n", v.leaks, v.warnings);
    base_buf_release(&v.json);
    base_buf_release(&v.lines);
    if (code != 0)
        return code;
    return v.leaks > 0 ? GW_EXIT_REFUSED : GW_EXIT_OK;
}

/* ---- before serving ------------------------------------------------------------------------ */

static void say(void *user, const struct gw_finding *f)
{
    *(int *)user += f->leak;
    base_log(f->leak ? BASE_LOG_ERROR : BASE_LOG_WARN, f->leak ? "isolation_leak" : "isolation",
             "%s: %s; %s", f->check, f->what, f->fix);
}

/* As the gateway's own role, which is all that serve may be. A database that is away is no leak: it is served
 * when it comes back, and the next start looks again. */
int gw_check_isolation(const struct base_config *config)
{
    const char *const keys[] = {"connect_timeout", "application_name", "dbname", "client_encoding",
                                NULL};
    const char *const values[] = {"10", "everward-gateway doctor",
                                  base_config_text(config, "database", "dsn"), "UTF8", NULL};
    struct base_err err = {0};
    int leaks = 0;
    PGconn *pg = PQconnectdbParams(keys, values, 1);
    if (PQstatus(pg) != CONNECTION_OK)
        base_log(BASE_LOG_WARN, "isolation_unchecked", "the database is away");
    else if (gw_lint(pg, &leaks, say, NULL, &err) != 0)
        base_log(BASE_LOG_WARN, "isolation_unchecked", "%s", err.text);
    PQfinish(pg);
    return leaks;
}
