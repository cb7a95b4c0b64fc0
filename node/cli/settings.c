#include "node/cli/settings.h"

#include <stddef.h>

#define TEXT BASE_CONFIG_TEXT
#define INT  BASE_CONFIG_INT
#define BOOL BASE_CONFIG_BOOL

const struct base_setting node_settings[] = {
    {"node", "state_dir", TEXT, "/var/lib/everward", 0, 0,
     "folder of the sealed store, keys and certificates; mode 0700"},
    {"node", "export_dirs", TEXT, "/var/backups/everward", 0, 0,
     "folders that exports and backups may be written to, separated by colons"},
    {"node", "sandbox", BOOL, "true", 0, 0,
     "give up capabilities, running programs, and writing outside of those folders"},
    {"api", "address", TEXT, "0.0.0.0", 0, 0, "address to listen on for tablets"},
    {"api", "port", INT, "8443", 0, 65535,
     "TCP port to listen on for tablets; 0 takes any free one"},
    {"api", "tls12", BOOL, "false", 0, 0, "also allow TLS 1.2, for old tablets"},
    {"api", "certificate", TEXT, "", 0, 0,
     "PEM file of the hospital's own certificate; empty: the built-in private CA"},
    {"api", "key", TEXT, "", 0, 0, "PEM file of its private key"},
    {"sync", "verify_hours", INT, "24", 0, 8760,
     "hours between comparisons with the centre; 0: on demand only"},
    {"keys", "source", TEXT, "file", 0, 0,
     "where the wrapping key comes from: file, passphrase or credential"},
    {"keys", "key_file", TEXT, "", 0, 0, "the key file; empty: wrapping.key in the state folder"},
    {"keys", "passphrase_file", TEXT, "", 0, 0,
     "file whose first line is the passphrase; empty: asked on the terminal"},
    {"people", "session_idle_s", INT, "900", 30, 86400,
     "seconds without a request after which a session ends"},
    {"people", "idle_tablet_s", INT, "300", 10, 86400, "the same on a paired tablet"},
    {"people", "idle_shared_s", INT, "120", 10, 86400, "the same on a paired shared device"},
    {"people", "pin_attempts", INT, "3", 1, 20, "wrong PINs after which a session is over"},
    {"people", "offline_credentials_expiration", INT, "35", 0, 3650,
     "days without contact to the centre during which people may log in; 0: no limit"},
    {"people", "offline_failed_login_attempts", INT, "5", 1, 1000, "failed logins before a delay"},
    {"people", "offline_failed_login_delay", INT, "60", 1, 86400, "seconds of that delay"},
    {"oidc", "issuer", TEXT, "", 0, 0,
     "https address of the identity provider; empty: nobody is let in by access token"},
    {"oidc", "audience", TEXT, "everward", 0, 0, "the audience that access tokens must name"},
    {"oidc", "tenant_claim", TEXT, "tenant", 0, 0, "the claim that holds the tenant's id"},
    {"oidc", "ca", TEXT, "", 0, 0,
     "PEM file of the CA that the provider's certificate is from; empty: the system's"},
    {"log", "level", TEXT, "info", 0, 0, "error, warn, info or debug"},
    {NULL, NULL, TEXT, NULL, 0, 0, NULL},
};
