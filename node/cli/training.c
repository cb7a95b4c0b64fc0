/*
 * everward training --state-dir DIR: a node to practise on, without a centre for good.
 *
 *   folder (empty) ─ keys ─ store with the mark, filled from node/training ─ certificates ─ ticket ─ identity (last)
 *
 * The mark is in the sealed replica (_meta "_training"): setup, serve, backup and the engine ask for it there. What dies
 * on the way leaves no identity, hence no node; the folder is then deleted, nobody has worked with it.
 */
#include "node/cli/training.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "node/cli/cli.h"
#include "node/cli/files.h"
#include "node/cli/identity.h"
#include "node/cli/setup.h"
#include "node/store/sync.h"
#include "sync/base/clock.h"
#include "sync/net/json.h"
#include "sync/seal/seal.h"

enum {
    PASSWORD_CHARS = 14, /* xxxx-xxxx-xxxx: 59 bits */
    SECOND_CHARS = 19,   /* 2026-06-01T08:00:00 */
    HOUR_MS = 3600 * 1000,
    DATA_BYTES_MAX = 4 * 1024 * 1024
};

static const char *const hospital = (const char *)training_hospital;
static const char verifier_mark[] = "\"@VERIFIER@\"";
static const char page_mark[] = "{\"format\":\"everward-page/1\"";
static const char *const staff[] = {"nurse", "doctor", "charge", "pharmacist", "registrar"};

struct training {
    struct node_job job;
    uv_loop_t loop;
    struct node_store *store;
    struct base_buf data; /* the hospital as this node's: its tenant, today */
    char password[PASSWORD_CHARS + 1];
    bool ran;
};

static void make_password(char out[PASSWORD_CHARS + 1])
{
    static const char letters[] = "abcdefghjkmnpqrstuvwxyz23456789"; /* none like another */
    uint8_t r[PASSWORD_CHARS];
    seal_random(r, sizeof r);
    for (int i = 0; i < PASSWORD_CHARS; i++)
        out[i] = i == 4 || i == 9 ? '-' : letters[r[i] % (sizeof letters - 1)];
    out[PASSWORD_CHARS] = '\0';
    seal_wipe(r, sizeof r);
}

/* "training" can be read in it, if it should ever turn up where it does not belong. */
static void make_identity(struct node_identity *id)
{
    int64_t now = base_clock_wall_ms();
    uint8_t *b = id->tenant_id.bytes;
    seal_random(b, sizeof id->tenant_id.bytes);
    memcpy(b, "traini", 6);
    b[6] = 0x80 | ('n' & 0x0f);
    b[7] = 'g';
    b[8] = 0x80 | (b[8] & 0x3f);
    seal_uuid_v7(&id->site_id, now);
    seal_uuid_v7(&id->node_id, now);
    (void)snprintf(id->tenant_name, sizeof id->tenant_name, "TRAINING");
    (void)snprintf(id->site_name, sizeof id->site_name, "Training ward");
    (void)snprintf(id->node_name, sizeof id->node_name, "training");
    id->incarnation = 1;
    id->training = true;
}

static bool second_at(const char *s, const char *end)
{
    static const char form[] = "dddd-dd-ddTdd:dd:dd";
    if (end - s < SECOND_CHARS)
        return false;
    for (int i = 0; i < SECOND_CHARS; i++)
        if (form[i] == 'd' ? s[i] < '0' || s[i] > '9' : s[i] != form[i])
            return false;
    return true;
}

/* Moved by whole hours; a date alone (a birthday) stays. */
static void move_second(struct base_buf *out, const char *s, int64_t by_ms)
{
    char text[BASE_TIME_CHARS + 2];
    int64_t ms = 0;
    (void)snprintf(text, sizeof text, "%.*sZ", SECOND_CHARS, s);
    if (base_time_parse(text, &ms))
        base_time_format(ms + by_ms, text);
    base_buf_add(out, text, SECOND_CHARS);
}

static int read_head(const char **tenant, int64_t *at_ms, cJSON **o, struct base_err *err)
{
    const char *at = "";
    const char *end = memchr(hospital, '\n', training_hospital_len);
    int rc = net_json_parse(o, hospital, (size_t)(end - hospital), err);
    if (rc == 0)
        rc = net_json_str(*o, "tenant", BASE_UUID_CHARS, tenant, err);
    if (rc == 0)
        rc = net_json_str(*o, "at", 32, &at, err);
    return rc == 0 && !base_time_parse(at, at_ms)
               ? base_fail(err, BASE_EBUG, "the training data's head")
               : rc;
}

/* Tenant, times and verifiers of this node in place of those of the file. */
static int adapt(struct training *t, const struct node_identity *id, struct base_err *err)
{
    char tenant[BASE_UUID_CHARS + 1], verifier[SEAL_PASSWORD_TEXT_BYTES];
    const char *old = NULL;
    cJSON *head = NULL;
    int64_t at_ms = 0;
    base_uuid_format(&id->tenant_id, tenant);
    int rc = read_head(&old, &at_ms, &head, err);
    if (rc == 0)
        rc = seal_password_hash(verifier, t->password, strlen(t->password), err);
    int64_t by_ms = (base_clock_wall_ms() - at_ms) / HOUR_MS * HOUR_MS;
    const char *end = hospital + training_hospital_len;
    for (const char *s = hospital; rc == 0 && s < end;) {
        size_t left = (size_t)(end - s);
        if (second_at(s, end)) {
            move_second(&t->data, s, by_ms);
            s += SECOND_CHARS;
        } else if (left > BASE_UUID_CHARS && *s == *old && memcmp(s, old, BASE_UUID_CHARS) == 0) {
            base_buf_add(&t->data, tenant, BASE_UUID_CHARS);
            s += BASE_UUID_CHARS;
        } else if (left > sizeof verifier_mark &&
                   memcmp(s, verifier_mark, sizeof verifier_mark - 1) == 0) {
            base_buf_json_str(&t->data, verifier);
            s += sizeof verifier_mark - 1;
        } else {
            base_buf_char(&t->data, *s++);
        }
    }
    seal_wipe(verifier, sizeof verifier);
    cJSON_Delete(head);
    return rc != 0 || base_buf_check(&t->data) == 0
               ? rc
               : base_fail(err, base_buf_check(&t->data), "the training data does not fit");
}

/* What the pages do not name (a table of later times) would be asked for; it cannot be, and the fill says so. */
static int fill_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct training *t = (struct training *)job;
    struct base_uuid timeline = {{1}};
    struct node_page_result result;
    int rc = node_catalog_apply(db, (const char *)training_catalog, training_catalog_len, err);
    if (rc == 0)
        rc = node_fill_begin(db, 0, &timeline, err);
    const char *page = strstr(t->data.data, page_mark);
    while (rc == 0 && page != NULL) {
        const char *next = strstr(page + 1, page_mark);
        size_t len = next == NULL ? strlen(page) : (size_t)(next - page);
        rc = node_page_apply(db, page, len, &result, err);
        page = next;
    }
    return rc == 0 ? node_fill_finish(db, err) : rc;
}

static void filled(struct node_job *job)
{
    ((struct training *)job)->ran = true;
}

static void closed(void *user)
{
    ((struct training *)user)->store = NULL;
}

static int fill(struct training *t, const char *dir, const struct node_keys *keys,
                struct base_err *err)
{
    (void)uv_loop_init(&t->loop);
    int rc = node_store_open(&t->store, &t->loop, dir, node_keys_data(keys), err);
    if (rc == 0) {
        t->job = (struct node_job){.run = fill_run, .done = filled, .write = true};
        node_store_write(t->store, &t->job);
        while (!t->ran)
            (void)uv_run(&t->loop, UV_RUN_ONCE);
        rc = t->job.rc;
        if (rc != 0)
            *err = t->job.err;
        node_store_close(t->store, closed, t);
        while (t->store != NULL)
            (void)uv_run(&t->loop, UV_RUN_ONCE);
    }
    (void)uv_run(&t->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&t->loop);
    return rc;
}

static int make_keys(const struct node_cli *cli, const char *dir, struct node_keys **out,
                     struct base_err *err)
{
    char key_file[NODE_PATH_BYTES_MAX];
    struct node_keys_source source;
    int rc = node_cli_key_source(cli, &source, key_file, sizeof key_file, err);
    if (rc == 0 && source.key_file != NULL)
        rc = node_keys_make_key_file(source.key_file, err);
    return rc == 0 ? node_keys_create(dir, &source, out, err) : rc;
}

static int write_ticket(const char *dir, struct base_err *err)
{
    char hex[2 * NODE_TICKET_BYTES + 2];
    uint8_t ticket[NODE_TICKET_BYTES];
    struct base_buf b;
    seal_random(ticket, sizeof ticket); /* of nothing: serve wants the file */
    base_buf_init(&b, sizeof hex);
    base_buf_hex(&b, ticket, sizeof ticket);
    int rc = base_buf_check(&b) != 0 ? base_fail(err, BASE_ENOMEM, "ticket")
                                     : node_file_write(dir, NODE_TICKET_FILE, b.data, b.len, err);
    base_buf_release(&b);
    return rc;
}

static int make(const struct node_cli *cli, struct training *t, struct base_err *err)
{
    const char *dir = node_cli_state_dir(cli);
    struct node_identity_file f = {.gateway_url = ""};
    struct node_keys *keys = NULL;
    int rc = node_state_dir_make(dir, err);
    if (rc == 0 && (node_file_exists(dir, NODE_IDENTITY_FILE) || node_file_exists(dir, "node.db") ||
                    node_file_exists(dir, NODE_KEYS_FILE)))
        rc =
            base_fail(err, BASE_EEXISTS,
                      "%s holds a node, or what is left of one: choose an empty folder. To begin a "
                      "training node anew, stop it and delete its folder",
                      dir);
    make_identity(&f.id);
    if (rc == 0)
        rc = make_keys(cli, dir, &keys, err);
    if (rc == 0)
        rc = node_store_create(dir, node_keys_data(keys), &f.id, err);
    if (rc == 0)
        rc = adapt(t, &f.id, err);
    if (rc == 0)
        rc = fill(t, dir, keys, err);
    if (rc == 0)
        rc = setup_certificates(dir, cli->host, "a TRAINING node", err);
    if (rc == 0)
        rc = write_ticket(dir, err);
    if (rc == 0)
        rc = node_identity_write(dir, &f, err);
    node_keys_free(keys);
    return rc;
}

int node_cmd_training(struct node_cli *cli)
{
    struct base_err err = {0};
    struct training t = {.ran = false};
    if (cli->word_count != 0 || (cli->state_dir == NULL && cli->config_path == NULL)) {
        (void)fprintf(stderr, "everward training: give the folder it may have for itself "
                              "(--state-dir DIR), and nothing else\n");
        return NODE_EXIT_USAGE;
    }
    base_buf_init(&t.data, DATA_BYTES_MAX);
    make_password(t.password);
    int rc = make(cli, &t, &err);
    base_buf_release(&t.data);
    if (rc == 0) {
        (void)printf("TRAINING node in %s: synthetic patients, and no line to a centre.\n"
                     "Password of everybody, shown only now: %s\nPeople:",
                     node_cli_state_dir(cli), t.password);
        for (size_t i = 0; i < sizeof staff / sizeof staff[0]; i++)
            (void)printf(" %s", staff[i]);
        (void)printf("\nStart it: everward serve --state-dir %s   (port 8543 unless api.port says "
                     "otherwise)\nFresh data: stop it, delete the folder, and run this again.\n",
                     node_cli_state_dir(cli));
    }
    seal_wipe(t.password, sizeof t.password);
    return rc == 0 ? NODE_EXIT_OK : node_cli_fail(&err);
}
