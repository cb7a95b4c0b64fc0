/* everward-gateway import fhir */
#include <stdlib.h>

#include "sync/gateway/cli.h"
#include "sync/gateway/fhir/fhir.h"
#include "sync/gateway/fhir/import.h"

static int exit_code(int rc)
{
    switch (rc) {
    case BASE_EUNREACHABLE:
        return GW_EXIT_UNAVAILABLE;
    case BASE_EINVALID:
    case BASE_ENOTFOUND:
        return GW_EXIT_USAGE;
    default:
        return GW_EXIT_FAILED;
    }
}

int gw_import(struct gw_cli *cli, const char *tenant)
{
    struct base_err err = {0};
    struct gw_import_options o = {
        .dsn = base_config_text(cli->config, "database", "admin_dsn"),
        .tenant = tenant,
        .paths = cli->words,
        .path_count = cli->word_count,
    };
    struct gw_import_report *r = calloc(1, sizeof *r);
    if (r == NULL)
        return gw_complain(GW_EXIT_FAILED, "out of memory", NULL);
    int rc = gw_import_fhir(&o, r, &err);
    int code = rc != 0 ? exit_code(rc) : gw_import_refused(r) > 0 ? GW_EXIT_FAILED : GW_EXIT_OK;
    if (rc == 0 || r->type_count > 0) {
        if (cli->json)
            gw_import_print_json(r, stdout);
        else
            gw_import_print(r, stdout);
    }
    if (rc != 0)
        (void)gw_complain(code, err.text, NULL);
    gw_import_report_release(r);
    free(r);
    return code;
}
