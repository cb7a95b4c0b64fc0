#include "sync/gateway/settings.h"

#include <unistd.h>

#define TEXT BASE_CONFIG_TEXT
#define INT  BASE_CONFIG_INT

const struct base_setting gw_settings[] = {
    {"gateway", "address", TEXT, "0.0.0.0", 0, 0, "address to listen on"},
    {"gateway", "port", INT, "8443", 0, 65535, "TCP port to listen on; 0 takes any free one"},
    {"gateway", "audience", TEXT, "everward-gateway", 0, 0,
     "the audience that nodes' tokens must name; the same at all gateways of a centre"},
    {"gateway", "public_host", TEXT, "", 0, 0,
     "host name that invites give to nodes; empty: the address, or this machine's name"},
    {"gateway", "public_port", INT, "0", 0, 65535,
     "port that invites give to nodes; 0: the port listened on"},
    {"database", "dsn", TEXT, "host=/var/run/postgresql dbname=everward user=everward_gateway", 0,
     0, "conninfo of role everward_gateway; several hosts and target_session_attrs are fine"},
    {"database", "listen_dsn", TEXT, "", 0, 0,
     "conninfo for LISTEN, past any pooler in transaction mode; empty: the same as dsn"},
    {"database", "admin_dsn", TEXT, "host=/var/run/postgresql dbname=everward user=everward_admin",
     0, 0, "conninfo of the operator's commands (role everward_admin); serve never uses it"},
    {"database", "migrate_dsn", TEXT, "", 0, 0,
     "conninfo of a superuser, for migrate alone; empty: the same as admin_dsn"},
    {"database", "pool", INT, "16", 1, 256, "connections at most"},
    {"tls", "certificate", TEXT, "/etc/everward/server.crt", 0, 0, "PEM file of the certificate"},
    {"tls", "key", TEXT, "/etc/everward/server.key", 0, 0, "PEM file of the private key"},
    {"tls", "ca", TEXT, "/etc/everward/ca.crt", 0, 0,
     "PEM file of the CA certificate that nodes pin; empty: none is given out"},
    {"oidc", "issuer", TEXT, "", 0, 0,
     "https address of the identity provider; empty: nobody is let in by access token"},
    {"oidc", "audience", TEXT, "everward", 0, 0, "the audience that access tokens must name"},
    {"oidc", "tenant_claim", TEXT, "tenant", 0, 0, "the claim that holds the tenant's id"},
    {"oidc", "ca", TEXT, "", 0, 0,
     "PEM file of the CA that the provider's certificate is from; empty: the system's"},
    {"limits", "invite_hours", INT, "24", 1, 24, "how long an invite may be used, in hours"},
    {"log", "level", TEXT, "info", 0, 0, "error, warn, info or debug"},
    {NULL, NULL, TEXT, NULL, 0, 0, NULL}};

int gw_config_load(struct base_config **out, const char *path, const char **used,
                   struct base_err *err)
{
    if (path == NULL && access(GW_CONFIG_PATH, R_OK) == 0)
        path = GW_CONFIG_PATH;
    int rc = base_config_load(out, gw_settings, path, err);
    if (rc == 0)
        *used = path == NULL ? "" : path;
    return rc;
}
