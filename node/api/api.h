/*
 * node/api/api.h - the ward's HTTPS API (design, node.md "Local API"; docs/API.md).
 *
 * Thread: the loop's. Every request becomes a store job; Argon2 runs on libuv's pool.
 */
#ifndef NODE_API_API_H
#define NODE_API_API_H

#include "node/engine/engine.h"
#include "node/store/store.h"

struct node_api;

struct node_api_oidc {  /* texts live as long as the API */
    const char *issuer; /* NULL or "": nobody is let in by access token */
    const char *audience, *tenant_claim;
    const char *ca; /* PEM file; "": the system's */
    /* logging in at the provider; client_id NULL or "": not offered */
    const char *client_id, *client_secret, *redirect_uri, *scope, *prompt;
    bool
        account_first; /* who has an account there uses a password only while the provider is away */
};

struct node_api_config {
    struct node_api_oidc oidc;
    const char *address;
    uint16_t port;
    const char *cert_pem, *key_pem, *ca_pem; /* PEM texts; ca_pem is what /trust offers */
    bool tls12;
    const char *state_dir, *keys_source; /* what /api/v1/machine tells; kept; NULL: unknown */
    /* Begins a backup in the folder the node is configured with; NULL: it can't be asked for here. */
    int (*backup)(void *backup_user, struct base_err *err);
    void *backup_user;
    int64_t session_idle_s;                      /* default 900; also of workstations */
    int64_t idle_tablet_s, idle_shared_s;        /* default 300, 120 */
    int64_t pin_attempts;                        /* default 3 */
    int64_t offline_credentials_expiration_days; /* default 35 */
    int64_t offline_failed_login_attempts;       /* default 5 */
    int64_t offline_failed_login_delay_s;        /* default 60 */
};

int node_api_start(struct node_api **out, struct uv_loop_s *loop, struct node_store *store,
                   struct node_engine *engine, const struct node_api_config *config,
                   struct base_err *err);
uint16_t node_api_port(const struct node_api *a);
/* Replaces the LAN certificate for new connections. */
int node_api_tls_set(struct node_api *a, const char *cert_pem, const char *key_pem,
                     struct base_err *err);
/* The document of /api/v1/sync and of `everward status --json`. */
void node_api_status_write(struct base_buf *out, const struct node_engine_status *s,
                           const struct node_identity *id);
/* The store has it: the sessions of a device, or of a person, are over. */
void node_api_people_end(struct node_api *a, const struct base_uuid *id, bool of_device);
void node_api_stop(struct node_api *a, void (*stopped)(void *user), void *user);

#endif
