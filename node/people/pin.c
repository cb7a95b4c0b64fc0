/*
 * PINs. As a login in three steps (login.c): what counts a wrong one is written BEFORE it is looked at.
 *
 *   set:     the person's password must be right (as many tries as of a PIN); the PIN is stored as Argon2id
 *   unlock:  session, its device's secret and its PIN; after pin_attempts wrong ones the session is over
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "node/people/devices.h"
#include "node/people/internal.h"
#include "node/store/rows.h"
#include "node/store/sql.h"
#include "sync/base/clock.h"
#include "sync/base/log.h"

enum { PIN_BUSY_RETRY_S = 2 };

struct pin {
    struct node_job job;
    struct people_check check;
    struct node_people *people;
    bool setting, right, no_memory;
    uint8_t session_hash[32], secret_hash[32];
    bool has_secret;
    struct base_uuid staff_id;
    struct node_device_name device;
    char username[NODE_LOGIN_NAME_BYTES_MAX + 1];
    char pin[NODE_PIN_DIGITS_MAX + 1], password[NODE_LOGIN_PASSWORD_BYTES_MAX + 1], request_id[64];
    char verifier[SEAL_PASSWORD_TEXT_BYTES], made[SEAL_PASSWORD_TEXT_BYTES];
    int64_t now_ms;
    struct node_pin answer;
    void *user;
    node_pin_cb done;
};

bool node_pin_is_strong(const char *pin)
{
    size_t n = strlen(pin);
    bool same = true;
    bool up = true;
    bool down = true;
    if (n < NODE_PIN_DIGITS_MIN || n > NODE_PIN_DIGITS_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (pin[i] < '0' || pin[i] > '9')
            return false;
        same = same && (i == 0 || pin[i] == pin[i - 1]);
        up = up && (i == 0 || pin[i] == pin[i - 1] + 1);
        down = down && (i == 0 || pin[i] == pin[i - 1] - 1);
    }
    return !same && !up && !down;
}

int people_has_pin(struct node_db *db, const struct base_uuid *staff_id, bool *out,
                   struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st, "SELECT 1 FROM node_pin WHERE staff_id = ?1", err);
    if (rc != 0)
        return rc;
    node_sql_uuid(st, 1, staff_id);
    rc = node_sql_step(st, err);
    *out = rc > 0;
    node_sql_done(st);
    return rc < 0 ? rc : 0;
}

static void pin_end(struct pin *w)
{
    struct node_people *p = w->people;
    w->done(w->user, &w->answer);
    seal_wipe(w, sizeof *w);
    free(w);
    people_work_done(p);
}

static void answer(struct pin *w, enum node_pin_result result)
{
    w->answer.result = result;
    w->answer.retry_after_s = result == NODE_PIN_BUSY ? PIN_BUSY_RETRY_S : 0;
}

static int audit(struct pin *w, struct node_db *db, const char *outcome, struct base_err *err)
{
    struct node_author author = {
        .actor = w->staff_id, .device = w->device.name, .request_id = w->request_id};
    return node_audit_add(db, &author, w->setting ? "pin_set" : "unlock", "staff", &w->staff_id,
                          NULL, outcome, "", err);
}

/* The session is this device's. */
static int check_device(struct pin *w, struct node_db *db, struct base_err *err)
{
    struct node_device_name d;
    int rc = w->has_secret ? people_device_by_secret(db, w->secret_hash, &d, err) : BASE_ENOTFOUND;
    if (rc == BASE_ENOTFOUND || (rc == 0 && !base_uuid_equal(&d.id, &w->device.id))) {
        answer(w, NODE_PIN_NO_DEVICE);
        return 0;
    }
    return rc;
}

static int count_failure(struct pin *w, struct node_db *db, int64_t *failures, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st,
                      "UPDATE node_session SET pin_failures = pin_failures + 1 WHERE "
                      "token_hash = ?1 RETURNING pin_failures",
                      err);
    if (rc != 0)
        return rc;
    node_sql_blob(st, 1, w->session_hash, 32);
    rc = node_sql_step(st, err);
    *failures = rc > 0 ? node_sql_col_i64(st, 0) : INT32_MAX;
    while (rc > 0)
        rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc;
}

static int read_verifier(struct pin *w, struct node_db *db, struct base_err *err)
{
    struct node_stmt *st = NULL;
    size_t len = 0;
    int rc = node_sql(db, &st, "SELECT verifier FROM node_pin WHERE staff_id = ?1", err);
    if (rc != 0)
        return rc;
    node_sql_uuid(st, 1, &w->staff_id);
    rc = node_sql_step(st, err);
    if (rc > 0)
        snprintf(w->verifier, sizeof w->verifier, "%s", node_sql_col_text(st, 0, &len));
    node_sql_done(st);
    return rc < 0 ? rc : 0;
}

static int session_delete(struct pin *w, struct node_db *db, struct base_err *err)
{
    int rc = people_sql_blob(db, "DELETE FROM node_session WHERE token_hash = ?1", w->session_hash,
                             32, err);
    return rc < 0 ? rc : audit(w, db, "ended", err);
}

static int attempt_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct pin *w = (struct pin *)job;
    struct people_staff staff = {.usable = false};
    int64_t failures = 0;
    int64_t most = w->people->config.pin_attempts;
    int rc = check_device(w, db, err);
    if (rc == 0 && w->answer.result != NODE_PIN_NO_DEVICE)
        rc = count_failure(w, db, &failures, err);
    if (rc != 0 || w->answer.result == NODE_PIN_NO_DEVICE)
        return rc;
    w->answer.attempts_left = (int)(failures < most ? most - failures : 0);
    if (failures > most) {
        answer(w, NODE_PIN_ENDED);
        return session_delete(w, db, err);
    }
    if (!w->setting)
        return read_verifier(w, db, err);
    rc = people_staff_by_name(db, w->username, w->now_ms, &staff, err);
    if (rc == 0 && staff.usable && base_uuid_equal(&staff.id, &w->staff_id))
        snprintf(w->verifier, sizeof w->verifier, "%s", staff.verifier);
    return rc == BASE_ENOTFOUND ? 0 : rc;
}

static struct pin *pin_of(struct people_check *c)
{
    return (struct pin *)((char *)c - offsetof(struct pin, check));
}

static void check_work(struct people_check *c)
{
    struct pin *w = pin_of(c);
    const char *secret = w->setting ? w->password : w->pin;
    const char *verifier = w->verifier[0] != '\0' ? w->verifier : w->people->dummy;
    w->right = seal_password_verify(verifier, secret, strlen(secret)) && w->verifier[0] != '\0';
    if (w->right && w->setting)
        w->no_memory = seal_password_hash(w->made, w->pin, strlen(w->pin), NULL) != 0;
    seal_wipe(w->password, sizeof w->password);
    seal_wipe(w->pin, sizeof w->pin);
}

static int store_pin(struct pin *w, struct node_db *db, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st,
                      "INSERT INTO node_pin (staff_id, verifier, set_ms) VALUES (?1, ?2, ?3) ON "
                      "CONFLICT (staff_id) DO UPDATE SET verifier = ?2, set_ms = ?3",
                      err);
    if (rc != 0)
        return rc;
    node_sql_uuid(st, 1, &w->staff_id);
    node_sql_text(st, 2, w->made);
    node_sql_i64(st, 3, w->now_ms);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc;
}

static int finish_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct pin *w = (struct pin *)job;
    struct node_stmt *st = NULL;
    if (w->answer.result == NODE_PIN_ENDED)
        return session_delete(w, db, err);
    if (w->answer.result != NODE_PIN_OK)
        return audit(w, db, "refused", err);
    int rc = w->setting ? store_pin(w, db, err) : 0;
    if (rc == 0)
        rc = node_sql(db, &st,
                      "UPDATE node_session SET pin_failures = 0, locked = 0, seen_ms = "
                      "max(seen_ms, ?2) WHERE token_hash = ?1",
                      err);
    if (rc != 0)
        return rc;
    node_sql_blob(st, 1, w->session_hash, 32);
    node_sql_i64(st, 2, w->now_ms);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc != 0 ? rc : audit(w, db, "ok", err);
}

static void finish_done(struct node_job *job)
{
    struct pin *w = (struct pin *)job;
    if (job->rc != 0) {
        base_log(BASE_LOG_WARN, "pin_failed", "%s", job->err.text);
        answer(w, NODE_PIN_ERROR);
    }
    struct node_session *s = people_session_any(w->people, w->session_hash);
    if (w->answer.result == NODE_PIN_ENDED) {
        people_session_drop(w->people, w->session_hash);
    } else if (w->answer.result == NODE_PIN_OK && w->setting) {
        node_people_pin_moved(w->people, &w->staff_id, true);
    } else if (w->answer.result == NODE_PIN_OK && s == NULL) {
        answer(w, NODE_PIN_ENDED); /* revoked meanwhile */
    } else if (w->answer.result == NODE_PIN_OK) {
        s->locked = false;
        s->seen_ms = base_clock_wall_ms();
    }
    pin_end(w);
}

static void check_done(struct people_check *c, bool ran)
{
    struct pin *w = pin_of(c);
    if (!ran || w->no_memory) {
        answer(w, NODE_PIN_BUSY);
        pin_end(w);
        return;
    }
    answer(w, w->right                       ? NODE_PIN_OK
              : w->answer.attempts_left == 0 ? NODE_PIN_ENDED
                                             : NODE_PIN_REFUSED);
    memset(&w->job, 0, sizeof w->job);
    w->job.run = finish_run;
    w->job.done = finish_done;
    w->job.write = true;
    node_store_write(w->people->store, &w->job);
}

static void attempt_done(struct node_job *job)
{
    struct pin *w = (struct pin *)job;
    if (job->rc != 0) {
        base_log(BASE_LOG_WARN, "pin_failed", "%s", job->err.text);
        answer(w, job->rc == BASE_EBUSY ? NODE_PIN_BUSY : NODE_PIN_ERROR);
    }
    if (w->answer.result == NODE_PIN_ENDED)
        people_session_drop(w->people, w->session_hash);
    if (w->answer.result != NODE_PIN_REFUSED) {
        pin_end(w);
        return;
    }
    w->check.run = check_work;
    w->check.done = check_done;
    people_check_add(w->people, &w->check);
}

static void start(struct node_people *p, const struct node_pin_request *r, bool setting, void *user,
                  node_pin_cb done)
{
    struct node_pin busy = {.result = NODE_PIN_BUSY, .retry_after_s = PIN_BUSY_RETRY_S};
    struct node_pin none = {.result = NODE_PIN_NO_DEVICE};
    struct node_session *s = people_session_any(p, r->session_hash);
    bool full = p->closing || p->waiting_count >= NODE_LOGIN_QUEUE_MAX;
    struct pin *w =
        s == NULL || base_uuid_is_zero(&s->device.id) || full ? NULL : calloc(1, sizeof *w);
    if (w == NULL) {
        done(user, s == NULL || base_uuid_is_zero(&s->device.id) ? &none : &busy);
        return;
    }
    w->people = p;
    w->user = user;
    w->done = done;
    w->setting = setting;
    w->answer.result = NODE_PIN_REFUSED;
    w->now_ms = base_clock_wall_ms();
    w->staff_id = s->grants->staff_id;
    w->device = s->device;
    node_username_fold(w->username, sizeof w->username, s->grants->username);
    memcpy(w->session_hash, r->session_hash, 32);
    w->has_secret = r->device_secret_hash != NULL;
    if (w->has_secret)
        memcpy(w->secret_hash, r->device_secret_hash, 32);
    snprintf(w->pin, sizeof w->pin, "%s", r->pin);
    snprintf(w->password, sizeof w->password, "%s", r->password != NULL ? r->password : "");
    snprintf(w->request_id, sizeof w->request_id, "%s", r->request_id);
    w->job = (struct node_job){.run = attempt_run, .done = attempt_done, .write = true};
    p->busy++;
    node_store_write(p->store, &w->job);
}

void node_people_pin_set(struct node_people *p, const struct node_pin_request *r, void *user,
                         node_pin_cb done)
{
    start(p, r, true, user, done);
}

void node_people_unlock(struct node_people *p, const struct node_pin_request *r, void *user,
                        node_pin_cb done)
{
    start(p, r, false, user, done);
}
