/*
 * Start, stop, and what happens in between without a request: the tick, and what the store and the
 * engine tell.
 */
#include <stdlib.h>
#include <string.h>

#include "node/api/internal.h"
#include "sync/net/x509.h"

/* Store and engine have no way to stop telling: they tell this, which points to the API while there
 * is one. One per process. */
static struct node_api *running;

static const struct net_http_route routes[] = {
    {"GET", "/", 0, true, api_on_app}, /* anybody: the app's files hold no data */
    {"GET", "/pair", 0, true, api_on_app},
    {"GET", "/app/{file}", 0, true, api_on_app_file},
    {"GET", "/sw.js", 0, true, api_on_app_worker},
    {"GET", "/healthz", 0, true, api_on_healthz},
    {"GET", "/readyz", 0, true, api_on_readyz},
    {"GET", "/metrics", 0, true, api_on_metrics},      /* loopback */
    {"GET", "/openapi.json", 0, true, api_on_openapi}, /* anybody: the shape, no data */
    {"GET", "/trust", 0, true, api_on_trust},          /* anybody: needed before trust */
    {"GET", "/trust/ca.crt", 0, true, api_on_trust_ca},
    {"GET", "/trust/ca.mobileconfig", 0, true, api_on_trust_profile},
    {"GET", "/trust/qr.svg", 0, true, api_on_trust_qr},
    {"GET", "/trust/info", 0, true, api_on_trust_info},
    {"GET", "/auth/oidc", 0, true, api_on_oidc}, /* anybody: is there another way to log in? */
    {"GET", "/auth/oidc/start", 0, true, api_on_oidc_start}, /* anybody: ends at the provider */
    {"GET", "/auth/oidc/callback", 0, true,
     api_on_oidc_callback}, /* anybody with a state and its cookie */
    {"POST", "/api/v1/session", 16 * 1024, true,
     api_on_login}, /* anybody: that is where one logs in */
    /* All below: api_begin asks for a session, each table's route for the role's permission. */
    {"GET", "/api/v1/session", 0, true, api_on_whoami},
    {"DELETE", "/api/v1/session", 0, true, api_on_logout},
    {"GET", "/api/v1/users", 0, true, api_on_users},
    {"POST", "/api/v1/users/{id}/unlock", 16 * 1024, true, api_on_user_unlock},
    {"POST", "/api/v1/users/{id}/logout", 16 * 1024, true, api_on_user_logout},
    {"GET", "/api/v1/break-glass/reasons", 0, true, api_on_glass_reasons},
    {"GET", "/api/v1/break-glass/patients", 0, true, api_on_glass_patients},
    {"GET", "/api/v1/break-glass", 0, true, api_on_glass_list},
    {"POST", "/api/v1/break-glass", 16 * 1024, true, api_on_glass_begin},
    {"DELETE", "/api/v1/break-glass/{id}", 0, true, api_on_glass_end},
    {"POST", "/api/v1/break-glass/{id}/review", 16 * 1024, true, api_on_glass_review},
    {"PUT", "/api/v1/session/pin", 16 * 1024, true, api_on_pin_set},
    {"DELETE", "/api/v1/session/pin", 0, true, api_on_pin_drop},
    {"POST", "/api/v1/session/lock", 16 * 1024, true, api_on_lock},
    {"POST", "/api/v1/session/unlock", 16 * 1024, true, api_on_unlock},
    {"POST", "/api/v1/devices/pairing", 16 * 1024, true, api_on_pairing},
    {"POST", "/api/v1/devices", 16 * 1024, true, api_on_claim},   /* anybody with an offer */
    {"GET", "/api/v1/devices/self", 0, true, api_on_device_self}, /* anybody with the secret */
    {"GET", "/api/v1/devices", 0, true, api_on_devices},
    {"PATCH", "/api/v1/devices/{id}", 16 * 1024, true, api_on_device_change},
    {"DELETE", "/api/v1/devices/{id}", 0, true, api_on_device_revoke},
    {"GET", "/api/v1/sync", 0, true, api_on_sync},
    {"GET", "/api/v1/sync/history", 0, true, api_on_sync_history},
    {"GET", "/api/v1/machine", 0, true, api_on_machine},
    {"POST", "/api/v1/machine/backup", 1024, true, api_on_machine_backup},
    {"POST", "/api/v1/sync/now", 1024, true, api_on_sync_now},
    {"POST", "/api/v1/sync/verify", 1024, true, api_on_sync_verify},
    {"POST", "/api/v1/sync/test", 1024, true, api_on_sync_test},
    {"GET", "/api/v1/events", 0, true, api_on_events},
    {"POST", "/api/v1/transaction", API_BODY_BYTES_MAX, true, api_on_transaction},
    {"GET", "/api/v1/conflicts", 0, true, api_on_conflicts},
    {"GET", "/api/v1/conflicts/{id}", 0, true, api_on_conflict},
    {"POST", "/api/v1/conflicts/{id}/resolution", API_BODY_BYTES_MAX, true, api_on_resolution},
    {"GET", "/api/v1/quarantine", 0, true, api_on_quarantine},
    {"POST", "/api/v1/quarantine/{seq}/retry", API_BODY_BYTES_MAX, true, api_on_quarantine_retry},
    {"POST", "/api/v1/quarantine/{seq}/drop", API_BODY_BYTES_MAX, true, api_on_quarantine_drop},
    {"GET", "/api/v1/patients/{id}/chart", 0, true, api_on_chart},
    {"GET", "/api/v1/wards/{id}/board", 0, true, api_on_board},
    {"POST", "/api/v1/claims", 4096, true, api_on_dose_claim},
    {"GET", "/api/v1/{table}", 0, true, api_on_list},
    {"POST", "/api/v1/{table}", API_BODY_BYTES_MAX, true, api_on_create},
    {"GET", "/api/v1/{table}/{id}", 0, true, api_on_get},
    {"PATCH", "/api/v1/{table}/{id}", API_BODY_BYTES_MAX, true, api_on_update},
    {"DELETE", "/api/v1/{table}/{id}", 0, true, api_on_delete},
    {"GET", "/api/v1/{table}/{id}/history", 0, true, api_on_history},
    {"GET", "/api/v1/{table}/{id}/conflicts", 0, true, api_on_row_conflicts},
};

static void stop_check(struct node_api *a)
{
    if (!a->stopping || !a->http_stopped || !a->people_closed || !a->tick_closed || a->busy > 0)
        return;
    void (*stopped)(void *) = a->stopped;
    void *user = a->stopped_user;
    api_events_close(a);
    api_keyset_release(&a->keys);
    free(a->openapi);
    free(a->ca_pem);
    free(a);
    if (stopped != NULL)
        stopped(user);
}

void api_job_begin(struct node_api *a)
{
    a->busy++;
}

void api_job_end(struct node_api *a)
{
    a->busy--;
    stop_check(a);
}

/* Without an engine the store alone knows how things stand. */

struct refresh {
    struct node_job job;
    struct node_api *api;
    struct node_sync_state state;
};

static int refresh_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    return node_sync_state_get(db, &((struct refresh *)job)->state, err);
}

static void refresh_done(struct node_job *job)
{
    struct refresh *r = (struct refresh *)job;
    struct node_api *a = r->api;
    if (job->rc == 0)
        a->status.sync = r->state;
    free(r);
    a->refreshing = false;
    if (a->refresh_again && !a->stopping)
        api_refresh(a);
    api_job_end(a);
}

void api_refresh(struct node_api *a)
{
    if (a->engine != NULL)
        return;
    struct refresh *r = a->refreshing ? NULL : calloc(1, sizeof *r);
    a->refresh_again = a->refreshing;
    if (r == NULL)
        return;
    r->api = a;
    r->job.run = refresh_run;
    r->job.done = refresh_done;
    a->refreshing = true;
    api_job_begin(a);
    node_store_read(a->store, &r->job);
}

bool api_ready(const struct node_api *a)
{
    return node_people_ready(a->people) && a->keys_loaded && !a->stopping;
}

static void on_moved(void *user, const struct node_moved *moved, int count, int64_t last)
{
    struct node_api *a = running;
    const char *told = "";
    if (a == NULL || a->stopping)
        return;
    for (int i = 0; i < count; i++)
        if (strcmp(told, moved[i].table) != 0) {
            told = moved[i].table;
            node_people_moved(a->people, told);
        }
    api_events_moved(a, moved, count, last);
    api_refresh(a);
}

static void on_status(void *user)
{
    struct node_api *a = running;
    if (a == NULL || a->stopping || a->engine == NULL)
        return;
    node_engine_status(a->engine, &a->status);
    api_events_status(a);
}

static void on_tick(uv_timer_t *timer)
{
    struct node_api *a = timer->data;
    if (a->stopping)
        return;
    node_people_tick(a->people, base_clock_wall_ms());
    api_oidc_tick(a);
    api_events_tick(a);
    api_console_tick(a);
    api_keys_load(a);
    api_keys_prune(a);
}

static int start_http(struct node_api *a, const struct node_api_config *config,
                      struct base_err *err)
{
    struct net_http_config http = {.address = config->address,
                                   .port = config->port,
                                   .cert_pem = config->cert_pem,
                                   .key_pem = config->key_pem,
                                   .tls12 = config->tls12,
                                   .server_name = "everward"};
    int rc = net_http_server_start(&a->http, a->loop, &http, a, err);
    for (size_t i = 0; rc == 0 && i < sizeof routes / sizeof routes[0]; i++)
        rc = net_http_route_add(a->http, &routes[i], err);
    return rc;
}

int node_api_tls_set(struct node_api *a, const char *cert_pem, const char *key_pem,
                     struct base_err *err)
{
    int rc = net_http_server_tls_set(a->http, cert_pem, key_pem, err);
    if (rc == 0)
        (void)net_x509_expiry(cert_pem, &a->cert_until_s, NULL);
    return rc;
}

static int64_t or_default(int64_t v, int64_t fallback)
{
    return v > 0 ? v : fallback;
}

static void ask_centre(void *ask_user, const struct base_uuid *staff_id, void *user,
                       node_standing_cb done)
{
    struct node_api *a = ask_user;
    node_engine_standing(a->engine, staff_id, user, done);
}

static bool issuer_is_up(void *ask_user)
{
    return api_oidc_is_up(ask_user);
}

static int start_people(struct node_api *a, const struct node_api_config *config,
                        struct base_err *err)
{
    struct node_people_config people = {
        .session_idle_s = or_default(config->session_idle_s, 900),
        .credentials_expiration_days = or_default(config->offline_credentials_expiration_days, 35),
        .failed_attempts = or_default(config->offline_failed_login_attempts, 5),
        .failed_delay_s = or_default(config->offline_failed_login_delay_s, 60),
        .idle_tablet_s = or_default(config->idle_tablet_s, 300),
        .idle_shared_s = or_default(config->idle_shared_s, 120),
        .pin_attempts = or_default(config->pin_attempts, 3),
        .ask = a->engine != NULL ? ask_centre : NULL,
        .ask_user = a,
        .is_up = issuer_is_up,
        .issuer = config->oidc.issuer,
        .account_issuer = api_oidc_account_first(&config->oidc) ? config->oidc.issuer : NULL};
    a->people_config = people;
    return node_people_open(&a->people, a->loop, a->store, &people, err);
}

static void on_people_closed(void *user)
{
    struct node_api *a = user;
    a->people_closed = true;
    stop_check(a);
}

static void on_http_stopped(void *user)
{
    struct node_api *a = user;
    a->http_stopped = true;
    a->http = NULL;
    api_oidc_close(a);
    if (a->people != NULL) {
        node_people_close(a->people, on_people_closed, a); /* may be over at once, and a with it */
        return;
    }
    a->people_closed = true;
    stop_check(a);
}

static void on_tick_closed(uv_handle_t *handle)
{
    struct node_api *a = handle->data;
    a->tick_closed = true;
    stop_check(a);
}

int node_api_start(struct node_api **out, struct uv_loop_s *loop, struct node_store *store,
                   struct node_engine *engine, const struct node_api_config *config,
                   struct base_err *err)
{
    struct node_api *a = calloc(1, sizeof *a);
    if (a == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory");
    a->loop = loop;
    a->store = store;
    a->engine = engine;
    a->openapi_version = -1;
    a->status.state = NODE_OFFLINE;
    a->status.head = -1;
    a->status.sync.replica_equal = -1;
    a->ca_pem = config->ca_pem != NULL ? strdup(config->ca_pem) : NULL;
    api_fingerprint(a->ca_fingerprint, config->ca_pem);
    if (config->cert_pem != NULL)
        (void)net_x509_expiry(config->cert_pem, &a->cert_until_s, NULL);
    if (config->ca_pem != NULL)
        (void)net_x509_expiry(config->ca_pem, &a->ca_until_s, NULL);
    a->state_dir = config->state_dir;
    a->keys_source = config->keys_source;
    a->backup = config->backup;
    a->backup_user = config->backup_user;
    a->tick.data = a;
    int rc =
        uv_timer_init(loop, &a->tick) == 0 ? 0 : base_fail(err, BASE_ENOMEM, "libuv gave no timer");
    if (rc != 0) {
        free(a->ca_pem);
        free(a);
        return rc;
    }
    rc = api_events_open(a, err);
    if (rc == 0)
        rc = start_http(a, config, err);
    if (rc == 0)
        rc = start_people(a, config, err);
    if (rc == 0)
        rc = api_oidc_open(a, &config->oidc, err);
    if (rc != 0) {
        node_api_stop(a, NULL, NULL);
        return base_err_prefix(err, rc, "api");
    }
    (void)uv_timer_start(&a->tick, on_tick, API_TICK_MS, API_TICK_MS);
    running = a;
    node_store_on_moved(store, on_moved, NULL);
    if (engine != NULL)
        node_engine_on_status(engine, on_status, NULL);
    api_refresh(a);
    api_keys_load(a);
    *out = a;
    return 0;
}

void node_api_people_end(struct node_api *a, const struct base_uuid *id, bool of_device)
{
    if (of_device)
        (void)node_people_end_device(a->people, id);
    else
        (void)node_people_end_staff(a->people, id);
}

uint16_t node_api_port(const struct node_api *a)
{
    return net_http_server_port(a->http);
}

void node_api_stop(struct node_api *a, void (*stopped)(void *user), void *user)
{
    a->stopping = true;
    a->stopped = stopped;
    a->stopped_user = user;
    if (running == a)
        running = NULL;
    uv_close((uv_handle_t *)&a->tick, on_tick_closed);
    if (a->http != NULL)
        net_http_server_stop(a->http, on_http_stopped, a);
    else
        on_http_stopped(a);
}
