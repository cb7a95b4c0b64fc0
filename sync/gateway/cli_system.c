/*
 * migrate, ca make, status, config, import, serve, version.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sync/base/clock.h"
#include "sync/gateway/cli.h"
#include "sync/gateway/migrations.h"
#include "sync/gateway/serve.h"
#include "sync/gateway/settings.h"
#include "sync/net/x509.h"
#include "sync/seal/seal.h"
#ifdef EW_HAS_FHIR
#include "sync/gateway/fhir/fhir.h"
#endif

enum { MINOR_SAFE = 150020, PATH_BYTES = 1024 };

int gw_cmd_serve(struct gw_cli *cli)
{
    struct base_err err = {0};
    if (gw_check_isolation(cli->config) > 0)
        return gw_complain(GW_EXIT_REFUSED,
                           "the database does not keep tenants apart; nothing is served",
                           "everward-gateway doctor");
    int rc = gw_serve(cli->config, &err);
    if (rc == 0)
        return GW_EXIT_OK;
    return gw_complain(base_code_class(rc) == BASE_CLASS_RETRY ? GW_EXIT_UNAVAILABLE
                                                               : GW_EXIT_CONFIG,
                       err.text, "everward-gateway config check");
}

int gw_cmd_version(struct gw_cli *cli)
{
    (void)printf(cli->json ? "{\"version\":\"%s\"}\n" : "everward-gateway %s\n", EW_VERSION);
    return GW_EXIT_OK;
}

/* ---- config -------------------------------------------------------------------------------- */

int gw_cmd_config_check(struct gw_cli *cli)
{
    static const char *const files[] = {"certificate", "key", "ca"};
    struct base_err err = {0};
    int code = GW_EXIT_OK;
    for (size_t i = 0; i < 3; i++) {
        const char *path = base_config_text(cli->config, "tls", files[i]);
        char *text = NULL;
        if (path[0] == '\0')
            continue;
        if (gw_read_file(&text, path, &err) != 0)
            code = gw_complain(GW_EXIT_CONFIG, err.text,
                               "everward-gateway ca make --dir D --name HOST");
        if (text != NULL)
            seal_wipe(text, strlen(text));
        free(text);
    }
    if (code == GW_EXIT_OK)
        (void)printf("ok%s%s\n", cli->config_used[0] == '\0' ? "" : " ", cli->config_used);
    return code;
}

int gw_cmd_config_show(struct gw_cli *cli)
{
    const char *section = "";
    for (const struct base_setting *s = gw_settings; s->section != NULL; s++) {
        if (strcmp(section, s->section) != 0)
            (void)printf("%s[%s]\n", section[0] == '\0' ? "" : "\n", s->section);
        section = s->section;
        (void)printf("%s = %s", s->key, base_config_text(cli->config, s->section, s->key));
        if (gw_option(cli, "--origin") != NULL)
            (void)printf("    # %s", base_config_origin(cli->config, s->section, s->key));
        (void)printf("\n");
    }
    return GW_EXIT_OK;
}

/* ---- ca make ------------------------------------------------------------------------------- */

/* Written beside and renamed, so that a certificate is never half; a key is never readable by
 * others. */
static int write_pem(const char *dir, const char *name, const char *pem, mode_t mode)
{
    char path[PATH_BYTES];
    char beside[PATH_BYTES + 8];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    (void)snprintf(beside, sizeof beside, "%s.new", path);
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    size_t len = strlen(pem);
    bool ok = fd >= 0 && write(fd, pem, len) == (ssize_t)len && fsync(fd) == 0;
    if (fd >= 0 && close(fd) != 0)
        ok = false;
    if (ok && rename(beside, path) == 0)
        return 0;
    (void)fprintf(stderr, "everward-gateway: cannot write %s: %s\n", path, strerror(errno));
    return GW_EXIT_REFUSED;
}

struct ca {
    char *cert, *key, *leaf, *leaf_key;
};

static void ca_release(struct ca *ca)
{
    if (ca->key != NULL)
        seal_wipe(ca->key, strlen(ca->key));
    if (ca->leaf_key != NULL)
        seal_wipe(ca->leaf_key, strlen(ca->leaf_key));
    free(ca->cert);
    free(ca->key);
    free(ca->leaf);
    free(ca->leaf_key);
}

/* A CA that is there is used again: nodes have pinned it. */
static int make_or_read_ca(struct ca *ca, const char *dir, const char *host, struct base_err *err)
{
    char cert[PATH_BYTES];
    char key[PATH_BYTES];
    char name[PATH_BYTES];
    (void)snprintf(cert, sizeof cert, "%s/ca.crt", dir);
    (void)snprintf(key, sizeof key, "%s/ca.key", dir);
    (void)snprintf(name, sizeof name, "Everward private CA of %.200s", host);
    if (access(key, F_OK) != 0)
        return net_x509_make_ca(name, base_clock_wall_ms() / 1000, &ca->cert, &ca->key, err);
    int rc = gw_read_file(&ca->cert, cert, err);
    return rc != 0 ? rc : gw_read_file(&ca->key, key, err);
}

int gw_cmd_ca_make(struct gw_cli *cli)
{
    const char *dir = gw_option(cli, "--dir");
    const char *given = gw_option(cli, "--name");
    const char *names[NET_X509_NAMES_MAX + 1] = {NULL};
    char list[PATH_BYTES];
    char *rest = list;
    int n = 0;
    struct ca ca = {0};
    struct base_err err = {0};
    if (dir == NULL || given == NULL)
        return gw_complain(
            GW_EXIT_USAGE, "--dir and --name are needed",
            "everward-gateway ca make --dir /etc/everward --name gateway.example.org");
    (void)snprintf(list, sizeof list, "%s", given);
    while (rest != NULL && n < NET_X509_NAMES_MAX)
        names[n++] = strsep(&rest, ",");
    if (names[0][0] == '\0')
        return gw_complain(GW_EXIT_USAGE, "--name is empty", NULL);
    if (mkdir(dir, 0750) != 0 && errno != EEXIST)
        return gw_complain(GW_EXIT_REFUSED, "cannot make the folder", dir);
    int rc = make_or_read_ca(&ca, dir, names[0], &err);
    if (rc == 0)
        rc = net_x509_make_leaf(ca.cert, ca.key, names, base_clock_wall_ms() / 1000, &ca.leaf,
                                &ca.leaf_key, &err);
    int code = rc == 0 ? 0 : gw_complain(GW_EXIT_FAILED, err.text, NULL);
    if (code == 0)
        code = write_pem(dir, "ca.key", ca.key, 0600);
    if (code == 0)
        code = write_pem(dir, "ca.crt", ca.cert, 0644);
    if (code == 0)
        code = write_pem(dir, "server.key", ca.leaf_key, 0600);
    if (code == 0)
        code = write_pem(dir, "server.crt", ca.leaf, 0644);
    if (code == 0)
        (void)printf("%s/ca.crt\n%s/server.crt\n%s/server.key\n", dir, dir, dir);
    ca_release(&ca);
    return code;
}

/* ---- migrate ------------------------------------------------------------------------------- */

static int connect_migrator(struct gw_cli *cli)
{
    const char *dsn = gw_option(cli, "--dsn");
    if (dsn == NULL)
        dsn = base_config_text(cli->config, "database", "migrate_dsn");
    if (dsn[0] == '\0')
        dsn = base_config_text(cli->config, "database", "admin_dsn");
    cli->pg = PQconnectdb(dsn);
    if (cli->pg != NULL && PQstatus(cli->pg) == CONNECTION_OK)
        return 0;
    char text[512];
    (void)snprintf(text, sizeof text, "%s", cli->pg == NULL ? "" : PQerrorMessage(cli->pg));
    text[strcspn(text, "\n")] = '\0';
    return gw_complain(GW_EXIT_UNAVAILABLE, text,
                       "give a superuser's conninfo: migrate --dsn \"host=... user=postgres\"");
}

static int exec_script(struct gw_cli *cli, const char *sql)
{
    PGresult *r = PQexec(cli->pg, sql);
    bool ok = PQresultStatus(r) == PGRES_COMMAND_OK || PQresultStatus(r) == PGRES_TUPLES_OK;
    if (!ok)
        (void)fprintf(stderr, "everward-gateway: %s", PQerrorMessage(cli->pg));
    PQclear(r);
    return ok ? 0 : GW_EXIT_REFUSED;
}

/* 1: applied before with the same content, 0: new, -1: applied with another content. */
static int applied_before(struct gw_cli *cli, const char *name, const char *sha, int *code)
{
    const char *const values[] = {name};
    PGresult *r =
        gw_run(cli, code, "SELECT to_regclass('everward.migration') IS NOT NULL", 0, NULL);
    if (r == NULL)
        return 0;
    bool there = PQgetvalue(r, 0, 0)[0] == 't';
    PQclear(r);
    if (!there)
        return 0;
    r = gw_run(cli, code, "SELECT sha256 FROM everward.migration WHERE name = $1", 1, values);
    if (r == NULL)
        return 0;
    int found = PQntuples(r) == 0 ? 0 : strcmp(PQgetvalue(r, 0, 0), sha) == 0 ? 1 : -1;
    PQclear(r);
    return found;
}

static int apply(struct gw_cli *cli, const struct gw_migration *m)
{
    uint8_t hash[32];
    char sha[65];
    int code = 0;
    seal_sha256(hash, m->sql, m->len);
    for (int i = 0; i < 32; i++)
        (void)snprintf(sha + 2 * i, 3, "%02x", hash[i]);
    int before = applied_before(cli, m->name, sha, &code);
    if (code != 0 || before == 1)
        return code;
    if (before < 0) {
        (void)fprintf(stderr, "everward-gateway: %s was applied with another content\n", m->name);
        return gw_complain(GW_EXIT_REFUSED, "migrations are never changed once applied",
                           "use the gateway's version that fits this database");
    }
    const char *const values[] = {m->name, sha};
    code = exec_script(cli, "BEGIN");
    if (code == 0)
        code = exec_script(cli, m->sql);
    if (code == 0)
        PQclear(gw_run(cli, &code, "INSERT INTO everward.migration (name, sha256) VALUES ($1, $2)",
                       2, values));
    int ended = exec_script(cli, code == 0 ? "COMMIT" : "ROLLBACK");
    if (code == 0)
        code = ended;
    (void)fprintf(code == 0 ? stdout : stderr, "%s %s\n", code == 0 ? "applied" : "failed",
                  m->name);
    return code;
}

/* New default rights for the tenants that are there already; a transaction cannot write for two of them. */
static int seed_tenants(struct gw_cli *cli)
{
    int code = 0;
    PGresult *r = gw_run(cli, &code, "SELECT tenant_id FROM everward.tenant ORDER BY 1", 0, NULL);
    for (int i = 0; r != NULL && code == 0 && i < PQntuples(r); i++) {
        const char *const values[] = {PQgetvalue(r, i, 0)};
        PGresult *n = gw_run(cli, &code, "SELECT everward.seed_tenant($1::uuid)", 1, values);
        if (n != NULL && strcmp(PQgetvalue(n, 0, 0), "0") != 0)
            (void)printf("tenant %s: %s rows of new default rights\n", values[0],
                         PQgetvalue(n, 0, 0));
        PQclear(n);
    }
    PQclear(r);
    return code;
}

int gw_cmd_migrate(struct gw_cli *cli)
{
    int code = connect_migrator(cli);
    if (code != 0)
        return code;
    if (PQserverVersion(cli->pg) < MINOR_SAFE)
        (void)fprintf(stderr,
                      "everward-gateway: warning: PostgreSQL below 15.20 can show one tenant's "
                      "values to another; update it\n");
    code = exec_script(cli, "SET client_min_messages = warning;"
                            "SELECT pg_advisory_lock(hashtext('everward.migrate'))");
    for (size_t i = 0; code == 0 && i < gw_migration_count; i++)
        code = apply(cli, &gw_migrations[i]);
    if (code == 0)
        code = exec_script(cli, "SELECT everward.renew_timeline()");
    if (code == 0)
        code = seed_tenants(cli);
    if (code == 0)
        (void)printf("schema up to date, %zu migrations\n", gw_migration_count);
    return code;
}

/* ---- timeline ------------------------------------------------------------------------------ */

/* A copy of the files put back under the same server is not to be told from a restart; the operator knows. */
int gw_cmd_timeline_renew(struct gw_cli *cli)
{
    int code = gw_connect(cli);
    if (code != 0)
        return code;
    PGresult *r = gw_run(cli, &code, "SELECT everward.begin_timeline() AS timeline", 0, NULL);
    if (r == NULL)
        return code;
    gw_print(cli, r);
    PQclear(r);
    return GW_EXIT_OK;
}

/* ---- status -------------------------------------------------------------------------------- */

int gw_cmd_status(struct gw_cli *cli)
{
    int code = gw_connect(cli);
    if (code != 0)
        return code;
    PGresult *r = gw_run(
        cli, &code,
        "SELECT t.name AS tenant,"
        " (SELECT count(*) FROM everward.node n WHERE n.tenant_id = t.tenant_id"
        "  AND n.status = 'enrolled') AS nodes,"
        " (SELECT count(*) FROM everward.node n WHERE n.tenant_id = t.tenant_id"
        "  AND n.status = 'enrolled' AND n.last_seen_at > now() - interval '2 minutes') AS online,"
        " coalesce(h.head, 0) AS head,"
        " (SELECT coalesce(min(n.acked_cut), 0) FROM everward.node n"
        "  WHERE n.tenant_id = t.tenant_id AND n.status = 'enrolled') AS slowest_node_at,"
        " (SELECT count(*) FROM everward.conflict c WHERE c.tenant_id = t.tenant_id"
        "  AND c.state = 'open') AS conflicts_open"
        " FROM everward.tenant t LEFT JOIN everward.feed_head h USING (tenant_id) ORDER BY t.name",
        0, NULL);
    if (r == NULL)
        return code;
    gw_print(cli, r);
    PQclear(r);
    return GW_EXIT_OK;
}

/* ---- import -------------------------------------------------------------------------------- */

int gw_cmd_import(struct gw_cli *cli)
{
    char tenant[37];
    if (cli->word_count == 0)
        return gw_complain(GW_EXIT_USAGE, "give a file or folder",
                           "everward-gateway import fhir PATH... --tenant T");
    int code = gw_tenant(cli, tenant);
    if (code != 0)
        return code;
#ifdef EW_HAS_FHIR
    return gw_import(cli, tenant);
#else
    return gw_complain(GW_EXIT_FAILED, "this build has no FHIR import", NULL);
#endif
}
