/*
 * staff: people who may log in at the nodes. Only a verifier (Argon2id) is stored.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "sync/base/clock.h"
#include "sync/gateway/cli.h"
#include "sync/seal/seal.h"

enum { PASSWORD_BYTES_MAX = 256, PASSWORD_BYTES_MIN = 8, NAME_BYTES = 256 };

static bool read_line(FILE *f, char out[PASSWORD_BYTES_MAX])
{
    if (fgets(out, PASSWORD_BYTES_MAX, f) == NULL)
        return false;
    out[strcspn(out, "\r\n")] = '\0';
    return true;
}

/* Never from the command line: it stands in the shell's history and in ps. */
static int read_password(struct gw_cli *cli, char out[PASSWORD_BYTES_MAX])
{
    const char *file = gw_option(cli, "--password-file");
    bool ok = false;
    if (file != NULL && strcmp(file, "-") != 0) {
        FILE *f = fopen(file, "re");
        ok = f != NULL && read_line(f, out);
        if (f != NULL)
            (void)fclose(f);
    } else if (file != NULL || isatty(STDIN_FILENO) == 0) {
        ok = read_line(stdin, out);
    } else {
        struct termios was;
        struct termios quiet;
        (void)tcgetattr(STDIN_FILENO, &was);
        quiet = was;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        (void)fprintf(stderr, "Password: ");
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
        ok = read_line(stdin, out);
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &was);
        (void)fprintf(stderr, "\n");
    }
    if (!ok)
        return gw_complain(GW_EXIT_USAGE, "no password was given",
                           "--password-file F, or - for stdin");
    if (strlen(out) < PASSWORD_BYTES_MIN)
        return gw_complain(GW_EXIT_REFUSED, "a password needs at least 8 characters", NULL);
    return 0;
}

static int make_verifier(struct gw_cli *cli, char out[SEAL_PASSWORD_TEXT_BYTES])
{
    char password[PASSWORD_BYTES_MAX] = "";
    struct base_err err = {0};
    int code = read_password(cli, password);
    if (code == 0 && seal_password_hash(out, password, strlen(password), &err) != 0)
        code = gw_complain(GW_EXIT_FAILED, err.text, NULL);
    seal_wipe(password, sizeof password);
    return code;
}

static void new_id(char out[37])
{
    struct base_uuid id;
    seal_uuid_v7(&id, base_clock_wall_ms());
    base_uuid_format(&id, out);
}

static int begin(struct gw_cli *cli, const char *tenant)
{
    int code = 0;
    const char *const values[] = {tenant};
    PQclear(gw_run(cli, &code, "BEGIN", 0, NULL));
    if (code == 0)
        PQclear(gw_run(cli, &code, "SELECT set_config('everward.tenant_id', $1, true)", 1, values));
    return code;
}

static int end(struct gw_cli *cli, int code)
{
    int ended = 0;
    PQclear(gw_run(cli, &ended, code == 0 ? "COMMIT" : "ROLLBACK", 0, NULL));
    return code != 0 ? code : ended;
}

static int check_new(struct gw_cli *cli, const char *tenant, const char *username)
{
    int code = 0;
    const char *const values[] = {tenant, username};
    PGresult *r =
        gw_run(cli, &code, "SELECT 1 FROM ward.staff WHERE tenant_id = $1::uuid AND username = $2",
               2, values);
    if (r == NULL)
        return code;
    bool taken = PQntuples(r) > 0;
    PQclear(r);
    return taken ? gw_complain(GW_EXIT_REFUSED, "this username is taken",
                               "everward-gateway staff list --tenant T")
                 : 0;
}

static int add_role(struct gw_cli *cli, const char *tenant, const char *staff, const char *role)
{
    int code = 0;
    char id[37];
    new_id(id);
    const char *const asked[] = {tenant, role};
    PGresult *r =
        gw_run(cli, &code,
               "SELECT 1 FROM ward.role_permission WHERE tenant_id = $1::uuid AND role = $2"
               " LIMIT 1",
               2, asked);
    if (r == NULL)
        return code;
    bool known = PQntuples(r) > 0;
    PQclear(r);
    if (!known)
        return gw_complain(GW_EXIT_REFUSED, "this tenant has no such role",
                           "nurse, charge_nurse, doctor, pharmacist, registrar, it_support");
    const char *const values[] = {id, tenant, staff, role};
    PQclear(gw_run(cli, &code,
                   "INSERT INTO ward.staff_role (id, tenant_id, staff_id, role)"
                   " VALUES ($1::uuid, $2::uuid, $3::uuid, $4)",
                   4, values));
    return code;
}

static int add_roles(struct gw_cli *cli, const char *tenant, const char *staff, const char *roles)
{
    char list[NAME_BYTES];
    char *rest = list;
    int code = 0;
    (void)snprintf(list, sizeof list, "%s", roles);
    while (rest != NULL && code == 0)
        code = add_role(cli, tenant, staff, strsep(&rest, ","));
    return code;
}

static int insert_staff(struct gw_cli *cli, const char *tenant, const char *id, const char *name,
                        const char *verifier)
{
    char given[NAME_BYTES];
    int code = 0;
    const char *last = strrchr(name, ' ');
    (void)snprintf(given, sizeof given, "%.*s", last == NULL ? 0 : (int)(last - name), name);
    const char *const values[] = {id,
                                  tenant,
                                  gw_option(cli, "--username"),
                                  last == NULL ? name : last + 1,
                                  given[0] == '\0' ? NULL : given,
                                  verifier};
    PQclear(gw_run(cli, &code,
                   "INSERT INTO ward.staff (id, tenant_id, username, family_name, given_names,"
                   " active, verifier) VALUES ($1::uuid, $2::uuid, $3, $4, $5, true, $6)",
                   6, values));
    return code;
}

int gw_cmd_staff_add(struct gw_cli *cli)
{
    char tenant[37];
    char id[37];
    char verifier[SEAL_PASSWORD_TEXT_BYTES] = "";
    const char *username = gw_option(cli, "--username");
    const char *name = gw_option(cli, "--name");
    const char *roles = gw_option(cli, "--role");
    if (username == NULL || name == NULL || roles == NULL)
        return gw_complain(GW_EXIT_USAGE, "--username, --name and --role are needed",
                           "everward-gateway staff add --help");
    int code = gw_tenant(cli, tenant);
    if (code == 0)
        code = check_new(cli, tenant, username);
    if (code == 0)
        code = make_verifier(cli, verifier);
    if (code != 0)
        return code;
    new_id(id);
    code = begin(cli, tenant);
    if (code == 0)
        code = insert_staff(cli, tenant, id, name, verifier);
    if (code == 0)
        code = add_roles(cli, tenant, id, roles);
    code = end(cli, code);
    if (code == 0)
        (void)printf(cli->json ? "{\"staff_id\":\"%s\"}\n" : "%s\n", id);
    return code;
}

int gw_cmd_staff_passwd(struct gw_cli *cli)
{
    char tenant[37];
    char verifier[SEAL_PASSWORD_TEXT_BYTES] = "";
    const char *username = gw_option(cli, "--username");
    if (username == NULL)
        return gw_complain(GW_EXIT_USAGE, "--username is needed",
                           "everward-gateway staff passwd --help");
    int code = gw_tenant(cli, tenant);
    if (code == 0)
        code = make_verifier(cli, verifier);
    if (code != 0)
        return code;
    const char *const values[] = {tenant, username, verifier};
    code = begin(cli, tenant);
    PGresult *r = code != 0 ? NULL
                            : gw_run(cli, &code,
                                     "UPDATE ward.staff SET verifier = $3"
                                     " WHERE tenant_id = $1::uuid AND username = $2",
                                     3, values);
    if (r != NULL && strcmp(PQcmdTuples(r), "1") != 0)
        code = gw_complain(GW_EXIT_REFUSED, "nobody of this username",
                           "everward-gateway staff list --tenant T");
    PQclear(r);
    return end(cli, code);
}

int gw_cmd_staff_list(struct gw_cli *cli)
{
    char tenant[37];
    int code = gw_tenant(cli, tenant);
    const char *const values[] = {tenant};
    if (code != 0)
        return code;
    PGresult *r = gw_run(cli, &code,
                         "SELECT s.id AS staff_id, s.username,"
                         " concat_ws(' ', s.given_names, s.family_name) AS name, s.active,"
                         " (SELECT string_agg(r.role, ',' ORDER BY r.role) FROM ward.staff_role r"
                         " WHERE r.tenant_id = s.tenant_id AND r.staff_id = s.id) AS roles"
                         " FROM ward.staff s WHERE s.tenant_id = $1::uuid ORDER BY s.username",
                         1, values);
    if (r == NULL)
        return code;
    gw_print(cli, r);
    PQclear(r);
    return 0;
}

/* ---- the identity provider's names for them ------------------------------------------------ */

static int changed_one(struct gw_cli *cli, const char *sql, int count, const char *const values[])
{
    int code = 0;
    PGresult *r = gw_run(cli, &code, sql, count, values);
    if (r != NULL && strcmp(PQcmdTuples(r), "0") == 0)
        code = gw_complain(GW_EXIT_REFUSED, "nobody of this username, or nothing to take back",
                           "everward-gateway staff list --tenant T");
    PQclear(r);
    return code;
}

int gw_cmd_staff_link(struct gw_cli *cli)
{
    char tenant[37];
    const char *username = gw_option(cli, "--username");
    const char *subject = gw_option(cli, "--subject");
    const char *issuer = gw_option(cli, "--issuer");
    if (issuer == NULL)
        issuer = base_config_text(cli->config, "oidc", "issuer");
    if (username == NULL || subject == NULL)
        return gw_complain(GW_EXIT_USAGE, "--username and --subject are needed",
                           "everward-gateway staff link --help");
    if (strncmp(issuer, "https://", 8) != 0)
        return gw_complain(GW_EXIT_USAGE, "the issuer is an https address",
                           "--issuer URL, or issuer in section oidc of the configuration");
    int code = gw_tenant(cli, tenant);
    const char *const values[] = {tenant, username, issuer, subject};
    if (code != 0 || (code = begin(cli, tenant)) != 0)
        return code;
    return end(
        cli, changed_one(cli,
                         "INSERT INTO ward.staff_account (id, tenant_id, issuer, subject, staff_id)"
                         " SELECT gen_random_uuid(), s.tenant_id, $3, $4, s.id FROM ward.staff s"
                         " WHERE s.tenant_id = $1::uuid AND s.username = $2"
                         " ON CONFLICT (tenant_id, issuer, subject)"
                         " DO UPDATE SET staff_id = excluded.staff_id",
                         4, values));
}

int gw_cmd_staff_unlink(struct gw_cli *cli)
{
    char tenant[37];
    const char *username = gw_option(cli, "--username");
    if (username == NULL)
        return gw_complain(GW_EXIT_USAGE, "--username is needed",
                           "everward-gateway staff unlink --help");
    int code = gw_tenant(cli, tenant);
    const char *const values[] = {tenant, username};
    if (code != 0 || (code = begin(cli, tenant)) != 0)
        return code;
    return end(cli, changed_one(cli,
                                "DELETE FROM ward.staff_account p USING ward.staff s"
                                " WHERE p.tenant_id = $1::uuid AND s.tenant_id = p.tenant_id"
                                " AND s.id = p.staff_id AND s.username = $2",
                                2, values));
}
