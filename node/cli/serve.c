/*
 * everward serve: opens what there is, starts engine, API and control socket, and takes them down in order on SIGTERM.
 *
 *   start:  lock ─ identity ─ keys ─ store ─ engine ─ API ─ control        stop: control ─ API ─ engine ─ store ─ keys
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "node/api/api.h"
#include "node/cli/cli.h"
#include "node/cli/control.h"
#include "node/cli/files.h"
#include "node/cli/identity.h"
#include "node/cli/lan_cert.h"
#include "node/cli/setup.h"
#include "node/paper/paper.h"
#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/base/sandbox.h"
#include "sync/net/x509.h"
#include "sync/seal/seal.h"

enum {
    CERTIFICATE_LOOK_MS = 5000,
    CERTIFICATE_AGE_LOOK_MS = 3600 * 1000,
    CERTIFICATE_WARN_S = 30 * 86400
};
enum { TRAINING_PORT = 8543 };
enum { LOCK_PATIENCE_MS = 3000, LOCK_LOOK_MS = 50 };

struct daemon {
    const struct node_cli *cli;
    const char *dir;
    uv_loop_t loop;
    uv_signal_t term, interrupt, hangup;
    uv_fs_poll_t watch; /* the hospital's own certificate */
    bool watching;
    uv_timer_t age; /* of the built-in CA's certificate */
    bool aging;
    int lock;
    struct node_identity_file identity;
    uint8_t ticket[NODE_TICKET_BYTES];
    struct node_keys *keys;
    struct node_store *store;
    struct node_engine *engine;
    struct node_api *api;
    struct node_control *control;
    struct node_paper *paper; /* NULL: no downtime folder */
    char *cert, *key, *ca;
    char *client_secret; /* at the identity provider; NULL: none */
    bool stopping;
    int exit_code;
};

/* One line to systemd, if it waits for one (sd_notify(3)). */
static void notify(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (path == NULL || strlen(path) >= sizeof a.sun_path)
        return;
    memcpy(a.sun_path, path, strlen(path) + 1);
    if (a.sun_path[0] == '@')
        a.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    (void)sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&a,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path)));
    (void)close(fd);
}

static int lock_dir(struct daemon *d, struct base_err *err)
{
    char path[NODE_PATH_BYTES_MAX];
    node_path(path, d->dir, "lock");
    d->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (d->lock < 0)
        return base_fail(err, BASE_EDENIED, "cannot open %s: %s", path, strerror(errno));
    /* one that was killed holds it until its last thread is gone */
    for (int waited = 0; flock(d->lock, LOCK_EX | LOCK_NB) != 0; waited += LOCK_LOOK_MS) {
        if (waited >= LOCK_PATIENCE_MS)
            return base_fail(err, BASE_EEXISTS, "another everward runs on %s", d->dir);
        uv_sleep(LOCK_LOOK_MS);
    }
    return 0;
}

static char *read_text(const char *dir, const char *name, struct base_err *err)
{
    struct base_buf b;
    base_buf_init(&b, NODE_FILE_BYTES_MAX);
    char *text = node_file_read(dir, name, &b, err) == 0 ? base_buf_take(&b) : NULL;
    base_buf_release(&b);
    return text;
}

/* Also with the hospital's own in use: it may be taken out again in a year. A failure leaves the old one in its place. */
static bool renew_certificate(struct daemon *d)
{
    struct base_err err = {0};
    bool renewed = false;
    if (node_lan_cert_renew(d->dir, base_clock_wall_ms() / 1000, &renewed, &err) != 0)
        base_log(BASE_LOG_ERROR, "certificate", "could not be renewed: %s", err.text);
    else if (renewed)
        base_log(BASE_LOG_INFO, "certificate",
                 "renewed under the same private CA, before its life ends");
    return renewed;
}

/* The hospital's own certificate if it is configured, else the built-in CA's. */
static int read_certificates(struct daemon *d, struct base_err *err)
{
    const char *cert = base_config_text(d->cli->config, "api", "certificate");
    const char *key = base_config_text(d->cli->config, "api", "key");
    char tls[NODE_PATH_BYTES_MAX];
    node_path(tls, d->dir, "tls");
    free(d->cert);
    free(d->key);
    free(d->ca);
    d->ca = read_text(tls, "ca.crt", err);
    d->cert = cert[0] != '\0' ? read_text("", cert + (cert[0] == '/'), err)
                              : read_text(tls, "server.crt", err);
    d->key = key[0] != '\0' ? read_text("", key + (key[0] == '/'), err)
                            : read_text(tls, "server.key", err);
    return d->cert == NULL || d->key == NULL || d->ca == NULL
               ? base_err_prefix(err, err->code, "the LAN certificate")
               : 0;
}

static int open_files(struct daemon *d, struct base_err *err)
{
    int rc = node_state_dir_check(d->dir, err);
    if (rc == 0)
        rc = lock_dir(d, err);
    if (rc == 0)
        rc = node_readmit_finish(d->cli, d->dir, err);
    if (rc == 0)
        rc = node_identity_read(d->dir, &d->identity, err);
    if (rc == 0 && node_file_exists(d->dir, "wiped.json") &&
        !node_file_exists(d->dir, NODE_KEYS_FILE))
        rc = base_fail(err, BASE_EKEY,
                       "%s was wiped by order of the centre: its keys are gone, wiped.json is the "
                       "proof. Restore a backup with the escrow, or set the node up anew elsewhere",
                       d->dir);
    if (rc == BASE_ENOTFOUND)
        rc = base_fail(err, rc, "%s is not set up: run `everward setup <invite>` first", d->dir);
    if (rc == 0)
        rc = node_ticket_read(d->dir, d->ticket, err);
    if (rc == 0)
        rc = node_cli_keys_open(d->cli, &d->keys, err);
    if (rc == 0)
        (void)renew_certificate(d);
    return rc == 0 ? read_certificates(d, err) : rc;
}

/* The centre has asked for it, and nothing unsent is left. The proof stays in the folder: it holds no secret. */
static int wipe(void *user, const char *statement, const uint8_t sig[NODE_KEYS_SIGNATURE_BYTES],
                struct base_err *err)
{
    struct daemon *d = user;
    char key_file[NODE_PATH_BYTES_MAX];
    struct node_keys_source source;
    struct base_buf b;
    base_buf_init(&b, 4096);
    base_buf_str(&b, "{\"statement\":");
    base_buf_json_str(&b, statement);
    base_buf_str(&b, ",\"sig\":\"");
    base_buf_hex(&b, sig, NODE_KEYS_SIGNATURE_BYTES);
    base_buf_str(&b, "\"}\n");
    int rc = base_buf_check(&b);
    if (rc == 0)
        rc = node_cli_key_source(d->cli, &source, key_file, sizeof key_file, err);
    if (rc == 0)
        rc = node_keys_destroy(d->dir, source.key_file, err);
    if (rc == 0 && node_file_write(d->dir, "wiped.json", b.data, b.len, err) != 0)
        base_log(BASE_LOG_ERROR, "wipe", "the proof could not be kept: %s", err->text);
    base_buf_release(&b);
    return rc;
}

static void stop(struct daemon *d);

static void wiped(void *user)
{
    stop(user);
}

/* The database tells first, then the file: dying between, the file lags behind, and that says nothing. */
static void keep_incarnation(void *user)
{
    struct daemon *d = user;
    struct node_engine_status s;
    struct base_err err = {0};
    node_engine_status(d->engine, &s);
    if (s.sync.incarnation <= d->identity.id.incarnation)
        return;
    d->identity.id.incarnation = s.sync.incarnation;
    if (node_identity_write(d->dir, &d->identity, &err) != 0)
        base_log(BASE_LOG_ERROR, "identity", "the incarnation could not be kept: %s", err.text);
}

/* Dying between the two: the next start reads the folder. */
static int rotated(void *user, const struct node_keys *next, struct base_err *err)
{
    struct daemon *d = user;
    int rc = node_keys_signing_take(d->dir, err);
    if (rc == 0)
        node_keys_adopt_signing(d->keys, next);
    return rc;
}

/* A signing key that the centre was not known to know when this node last ran. */
static int rotate_on(struct daemon *d, struct base_err *err)
{
    char key_file[NODE_PATH_BYTES_MAX];
    struct node_keys_source source;
    struct node_keys *next = NULL;
    if (!node_file_exists(d->dir, NODE_KEYS_SIGNING_FILE))
        return 0;
    int rc = node_cli_key_source(d->cli, &source, key_file, sizeof key_file, err);
    if (rc == 0)
        rc = node_keys_signing_open(d->dir, &source, &next, err);
    if (rc == 0 && !seal_equal(node_keys_data(next), node_keys_data(d->keys), 32)) {
        node_keys_free(next); /* of another store: it must never take the place of these */
        return node_keys_signing_drop(d->dir, err);
    }
    if (rc == 0)
        node_engine_rotate(d->engine, next);
    return rc;
}

static int start_engine(struct daemon *d, struct base_err *err)
{
    char ca[NODE_PATH_BYTES_MAX];
    node_path(ca, d->dir, NODE_GATEWAY_CA_FILE);
    struct node_engine_config c = {
        .gateway_url = d->identity.gateway_url,
        .gateway_ca_path = ca,
        .ticket = d->ticket,
        .audience = d->identity.audience,
        .keys = d->keys,
        .state_dir = d->dir,
        .wipe = wipe,
        .wiped = wiped,
        .wipe_user = d,
        .rotated = rotated,
        .rotated_user = d,
        .incarnation = d->identity.id.incarnation,
        .verify_every_s = base_config_int(d->cli->config, "sync", "verify_hours") * 3600,
        .keep_days = base_config_int(d->cli->config, "sync", "keep_days"),
        .audit_keep_days = base_config_int(d->cli->config, "audit", "keep_days")};
    int rc = node_engine_start(&d->engine, &d->loop, d->store, &c, err);
    if (rc == 0)
        node_engine_on_status(d->engine, keep_incarnation, d);
    return rc;
}

static int read_client_secret(struct daemon *d, struct base_err *err)
{
    const char *path = base_config_text(d->cli->config, "oidc", "client_secret_file");
    if (path[0] == '\0')
        return 0;
    d->client_secret = read_text("", path + (path[0] == '/'), err);
    if (d->client_secret == NULL)
        return base_err_prefix(err, err->code, "oidc.client_secret_file");
    d->client_secret[strcspn(d->client_secret, "\r\n")] = '\0';
    return 0;
}

static bool port_by_default(const struct base_config *c)
{
    return strcmp(base_config_origin(c, "api", "port"), "default") == 0;
}

/* Its own port, so that a tablet's page of one never talks to the other; no provider, and people that never expire. */
static void settle_training(struct node_api_config *a, const struct base_config *c)
{
    if (port_by_default(c))
        a->port = TRAINING_PORT;
    a->oidc.issuer = a->oidc.client_id = "";
    a->offline_credentials_expiration_days = 0;
}

static int begin_backup(void *user, struct base_err *err)
{
    struct daemon *d = user;
    return d->control == NULL ? base_fail(err, BASE_EBUSY, "the node is starting or stopping")
                              : node_control_backup(d->control, err);
}

static int start_api(struct daemon *d, struct base_err *err)
{
    if (read_client_secret(d, err) != 0)
        return err->code;
    const struct base_config *c = d->cli->config;
    struct node_api_config a = {
        .address = base_config_text(c, "api", "address"),
        .port = (uint16_t)base_config_int(c, "api", "port"),
        .cert_pem = d->cert,
        .key_pem = d->key,
        .ca_pem = d->ca,
        .tls12 = base_config_bool(c, "api", "tls12"),
        .state_dir = d->dir,
        .keys_source = base_config_text(c, "keys", "source"),
        .backup = begin_backup,
        .backup_user = d,
        .session_idle_s = base_config_int(c, "people", "session_idle_s"),
        .idle_tablet_s = base_config_int(c, "people", "idle_tablet_s"),
        .idle_shared_s = base_config_int(c, "people", "idle_shared_s"),
        .pin_attempts = base_config_int(c, "people", "pin_attempts"),
        .offline_credentials_expiration_days =
            base_config_int(c, "people", "offline_credentials_expiration"),
        .offline_failed_login_attempts =
            base_config_int(c, "people", "offline_failed_login_attempts"),
        .offline_failed_login_delay_s = base_config_int(c, "people", "offline_failed_login_delay"),
        .oidc = {.issuer = base_config_text(c, "oidc", "issuer"),
                 .audience = base_config_text(c, "oidc", "audience"),
                 .tenant_claim = base_config_text(c, "oidc", "tenant_claim"),
                 .ca = base_config_text(c, "oidc", "ca"),
                 .client_id = base_config_text(c, "oidc", "client_id"),
                 .client_secret = d->client_secret,
                 .redirect_uri = base_config_text(c, "oidc", "redirect_uri"),
                 .scope = base_config_text(c, "oidc", "scope"),
                 .prompt = base_config_text(c, "oidc", "prompt"),
                 .account_first = base_config_bool(c, "oidc", "account_first")}};
    if (node_store_identity(d->store)->training)
        settle_training(&a, c);
    int rc = node_api_start(&d->api, &d->loop, d->store, d->engine, &a, err);
    if (rc == BASE_EEXISTS)
        rc = err->code = BASE_EUNREACHABLE; /* the port is taken: not a refusal of ours */
    return rc == 0 ? 0 : base_err_prefix(err, rc, "the ward's API");
}

/* ---- stopping, one after the other --------------------------------------------------------- */

static void store_closed(void *user)
{
    struct daemon *d = user;
    uv_close((uv_handle_t *)&d->term, NULL);
    (void)signal(SIGTERM, SIG_IGN); /* a second one must not cut the end short */
    uv_close((uv_handle_t *)&d->interrupt, NULL);
    uv_close((uv_handle_t *)&d->hangup, NULL);
    if (d->watching)
        uv_close((uv_handle_t *)&d->watch, NULL);
    if (d->aging)
        uv_close((uv_handle_t *)&d->age, NULL);
}

static void engine_stopped(void *user)
{
    struct daemon *d = user;
    if (d->store != NULL)
        node_store_close(d->store, store_closed, d);
    else
        store_closed(d);
}

static void api_stopped(void *user)
{
    struct daemon *d = user;
    if (d->engine != NULL)
        node_engine_stop(d->engine, engine_stopped, d);
    else
        engine_stopped(d);
}

static void paper_stopped(void *user)
{
    struct daemon *d = user;
    if (d->api != NULL)
        node_api_stop(d->api, api_stopped, d);
    else
        api_stopped(d);
}

static void control_stopped(void *user)
{
    struct daemon *d = user;
    d->control = NULL; /* a request may still ask for a backup */
    if (d->paper != NULL)
        node_paper_stop(d->paper, paper_stopped, d);
    else
        paper_stopped(d);
}

static void stop(struct daemon *d)
{
    if (d->stopping)
        return;
    d->stopping = true;
    notify("STOPPING=1");
    if (d->engine != NULL)
        node_engine_audit(d->engine, "stop", "ok", "");
    if (d->engine != NULL)
        node_engine_verify_cancel(
            d->engine); /* whoever waits for it at the control socket is answered */
    if (d->control != NULL)
        node_control_stop(d->control, control_stopped, d);
    else
        control_stopped(d);
}

static void on_term(uv_signal_t *handle, int number)
{
    base_log(BASE_LOG_INFO, "stopping", "signal %d", number);
    stop(handle->data);
}

static void reload(struct daemon *d)
{
    struct base_err err = {0};
    int rc = read_certificates(d, &err);
    if (rc == 0)
        rc = node_api_tls_set(d->api, d->cert, d->key, &err);
    node_engine_audit(d->engine, "configuration", rc == 0 ? "ok" : "failed", "LAN certificate");
    if (rc == 0)
        base_log(BASE_LOG_INFO, "reloaded", "the LAN certificate");
    else
        base_log(BASE_LOG_ERROR, "reload_failed", "%s; the old certificate stays in use", err.text);
}

static void on_hangup(uv_signal_t *handle, int number)
{
    (void)renew_certificate(handle->data);
    reload(handle->data);
}

/* The hospital's own is not ours to renew. */
static void warn_of_the_end(const struct daemon *d)
{
    int64_t until_s = 0;
    int64_t now_s = base_clock_wall_ms() / 1000;
    if (d->cert != NULL && net_x509_expiry(d->cert, &until_s, NULL) == 0 &&
        until_s - now_s < CERTIFICATE_WARN_S)
        base_log(BASE_LOG_WARN, "certificate", "the one on the ward's network ends in %lld hours",
                 (long long)(until_s - now_s) / 3600);
}

static void on_age(uv_timer_t *handle)
{
    struct daemon *d = handle->data;
    if (!d->stopping && renew_certificate(d))
        reload(d);
    warn_of_the_end(d);
}

/* Certificate and key are two files: one that does not fit the other yet is looked at again with the next change,
 * and until then the old pair stays in use. */
static void on_changed(uv_fs_poll_t *handle, int status, const uv_stat_t *before,
                       const uv_stat_t *now)
{
    struct daemon *d = handle->data;
    if (status == 0 && !d->stopping)
        reload(d);
}

static void watch_certificate(struct daemon *d)
{
    const char *key = base_config_text(d->cli->config, "api", "key");
    const char *cert = base_config_text(d->cli->config, "api", "certificate");
    d->age.data = d->watch.data = d;
    (void)uv_timer_init(&d->loop, &d->age);
    d->aging = true;
    (void)uv_timer_start(&d->age, on_age, CERTIFICATE_AGE_LOOK_MS, CERTIFICATE_AGE_LOOK_MS);
    if (cert[0] == '\0')
        return;
    (void)uv_fs_poll_init(&d->loop, &d->watch);
    d->watching = true;
    (void)uv_fs_poll_start(&d->watch, on_changed, key[0] != '\0' ? key : cert, CERTIFICATE_LOOK_MS);
}

static void on_store_failed(void *user, int rc, const char *text)
{
    base_log(BASE_LOG_ERROR, "store", "%s: %s", base_code_name(rc), text);
}

static void paper_changed(void *user, const struct node_paper_state *s)
{
    struct daemon *d = user;
    node_engine_downtime(d->engine, s->refreshed_at, s->problem);
}

static int start_paper(struct daemon *d, struct base_err *err)
{
    const struct base_config *c = d->cli->config;
    struct node_paper_config p = {.folder = base_config_text(c, "downtime", "folder"),
                                  .every_s = (int)base_config_int(c, "downtime", "every_s"),
                                  .days = (int)base_config_int(c, "downtime", "days")};
    if (p.folder[0] == '\0')
        return 0;
    if (p.folder[0] != '/' || strlen(p.folder) > NODE_PATH_BYTES_MAX / 2)
        return base_fail(err, BASE_EINVALID, "downtime.folder must be a full path");
    if (!seal_pack_key_parse(&p.key, base_config_text(c, "downtime", "key")))
        return base_fail(err, BASE_EINVALID,
                         "downtime.key is not what `everward downtime key` printed");
    node_engine_downtime(d->engine, "", "");
    return node_paper_start(&d->paper, &d->loop, d->store, &p, d, paper_changed, err);
}

/* Whichever of the two was edited or copied here: the folder's file must say what the sealed replica says. */
static int training_fits(const struct daemon *d, struct base_err *err)
{
    bool training = node_store_identity(d->store)->training;
    if (training && d->identity.gateway_url[0] != '\0')
        return base_fail(err, BASE_EDENIED,
                         "%s/" NODE_IDENTITY_FILE " names a gateway, but " NODE_TRAINING_REFUSAL,
                         d->dir);
    if (!training && d->identity.gateway_url[0] == '\0')
        return base_fail(err, BASE_EDENIED,
                         "%s/" NODE_IDENTITY_FILE " names no gateway, but the replica is no "
                         "training node's: put the file back from a backup",
                         d->dir);
    return 0;
}

static int start_all(struct daemon *d, struct base_err *err)
{
    int rc = node_store_open(&d->store, &d->loop, d->dir, node_keys_data(d->keys), err);
    if (rc == 0)
        rc = training_fits(d, err);
    if (rc != 0)
        return rc;
    node_store_audit_key(d->store, node_keys_audit(d->keys));
    node_store_on_failed(d->store, on_store_failed, d);
    rc = start_engine(d, err);
    if (rc == 0)
        rc = rotate_on(d, err);
    if (rc == 0)
        rc = start_api(d, err);
    if (rc == 0)
        rc = start_paper(d, err);
    if (rc == 0)
        rc = node_control_start(&d->control, &d->loop, d->dir, d->store, d->engine, err);
    if (rc == 0) {
        node_control_keys(d->control, d->cli, d->keys);
        node_control_api(d->control, d->api);
    }
    return rc;
}

static void watch_signals(struct daemon *d)
{
    d->term.data = d->interrupt.data = d->hangup.data = d;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)uv_signal_init(&d->loop, &d->term);
    (void)uv_signal_init(&d->loop, &d->interrupt);
    (void)uv_signal_init(&d->loop, &d->hangup);
    (void)uv_signal_start(&d->term, on_term, SIGTERM);
    (void)uv_signal_start(&d->interrupt, on_term, SIGINT);
    (void)uv_signal_start(&d->hangup, on_hangup, SIGHUP);
}

static void run(struct daemon *d)
{
    struct base_err err = {0};
    (void)uv_loop_init(&d->loop);
    watch_signals(d);
    if (start_all(d, &err) != 0) {
        d->exit_code = node_cli_fail(&err);
        stop(d);
    } else {
        base_log(BASE_LOG_INFO, "serving", "node %s on port %u", d->identity.id.node_name,
                 node_api_port(d->api));
        node_engine_audit(d->engine, "start", "ok", "everward " EW_VERSION);
        watch_certificate(d);
        warn_of_the_end(d);
        notify("READY=1");
    }
    (void)uv_run(&d->loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&d->loop) != 0)
        base_log(BASE_LOG_WARN, "stopping", "something was still open when the loop ended");
}

enum { EXPORT_DIRS_BYTES_MAX = 4096 };

/* Before there is a second thread: state folder, the key file's folder (a wipe removes it), and where exports go. */
static int enter_sandbox(struct daemon *d, struct base_err *err)
{
    char key_file[NODE_PATH_BYTES_MAX];
    char dirs[EXPORT_DIRS_BYTES_MAX];
    struct node_keys_source source;
    struct base_sandbox box = {.folders = {d->dir}};
    int count = 1;
    int landlock = 0;
    if (!base_config_bool(d->cli->config, "node", "sandbox"))
        return 0;
    int rc = node_cli_key_source(d->cli, &source, key_file, sizeof key_file, err);
    char *slash = rc == 0 && source.key_file != NULL ? strrchr(key_file, '/') : NULL;
    if (slash != NULL && slash != key_file) {
        *slash = '\0';
        box.folders[count++] = key_file;
    }
    (void)snprintf(dirs, sizeof dirs, "%s",
                   base_config_text(d->cli->config, "node", "export_dirs"));
    char *rest = NULL;
    for (char *dir = strtok_r(dirs, ":", &rest); dir != NULL; dir = strtok_r(NULL, ":", &rest))
        if (count < BASE_SANDBOX_FOLDERS_MAX)
            box.folders[count++] = dir;
    const char *packs = base_config_text(d->cli->config, "downtime", "folder");
    if (packs[0] != '\0' && count < BASE_SANDBOX_FOLDERS_MAX)
        box.folders[count++] = packs;
    int64_t port = base_config_int(d->cli->config, "api", "port");
    box.bind_low_ports = port > 0 && port < 1024;
    if (rc == 0)
        rc = base_sandbox_enter(&box, &landlock, err);
    if (rc == 0)
        base_log(BASE_LOG_INFO, "sandbox", "Landlock version %d%s", landlock,
                 landlock == 0 ? ": this kernel has none" : "");
    return rc;
}

int node_cmd_serve(struct node_cli *cli)
{
    struct base_err err = {0};
    struct daemon *d = calloc(1, sizeof *d);
    if (d == NULL)
        return NODE_EXIT_TRY_AGAIN;
    d->cli = cli;
    d->dir = node_cli_state_dir(cli);
    d->lock = -1;
    (void)setenv("SQLITE_TMPDIR", d->dir, 1); /* sealed, but nowhere else all the same */
    if (open_files(d, &err) != 0 || enter_sandbox(d, &err) != 0)
        d->exit_code = node_cli_fail(&err);
    else
        run(d);
    node_paper_free(d->paper);
    node_keys_free(d->keys);
    if (d->key != NULL)
        seal_wipe(d->key, strlen(d->key));
    if (d->client_secret != NULL)
        seal_wipe(d->client_secret, strlen(d->client_secret));
    free(d->client_secret);
    free(d->cert);
    free(d->key);
    free(d->ca);
    if (d->lock >= 0)
        (void)close(d->lock);
    seal_wipe(d->ticket, sizeof d->ticket);
    int code = d->exit_code;
    free(d);
    return code;
}
