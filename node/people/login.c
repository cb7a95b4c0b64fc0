/*
 * Logging in. Three steps, each of which may be the last one a killed process does:
 *
 *   attempt  (write job)  counts a failure BEFORE the password is looked at, so that neither a kill
 * nor many tries at once get more attempts than allowed; reads the person check    (uv's pool)
 * Argon2id, at most checking_max at a time; an unknown name is checked against a dummy finish
 * (write job)  right: failures forgotten, session stored; wrong: audit entry
 */
#include "node/people/internal.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "node/store/rows.h"
#include "node/store/sql.h"
#include "sync/base/clock.h"
#include "sync/base/log.h"

enum {
    LOGIN_BUSY_RETRY_S = 2,
    LOGIN_FAILURES_KEPT_MS = 24 * 3600 * 1000,
    LOGIN_CHECKING_MAX = 2 /* 64 MiB each */
};

static void login_end(struct people_login *l)
{
    struct node_people *p = l->people;
    node_grants_unref(l->grants);
    l->done(l->user, &l->answer);
    seal_wipe(l, sizeof *l);
    free(l);
    people_work_done(p);
}

static void answer(struct people_login *l, enum node_login_result result, int retry_after_s)
{
    l->answer.result = result;
    l->answer.retry_after_s = retry_after_s;
}

static int audit(struct people_login *l, struct node_db *db, const char *outcome,
                 const char *detail, struct base_err *err)
{
    bool known = !base_uuid_is_zero(&l->staff.id);
    struct node_author author = {.device = l->device.name, .request_id = l->request_id};
    if (l->answer.result == NODE_LOGIN_OK)
        author.actor = l->staff.id;
    return node_audit_add(db, &author, "login", "staff", known ? &l->staff.id : NULL, NULL, outcome,
                          detail, err);
}

/* Seconds still to wait, 0: may try. */
static int delay_left(const struct people_login *l, int64_t failures, int64_t last_ms)
{
    const struct node_people_config *c = &l->people->config;
    int64_t past_ms = l->now_ms - last_ms;
    if (failures < c->failed_attempts || past_ms >= c->failed_delay_s * 1000)
        return 0;
    if (past_ms < 0)
        past_ms = 0; /* the clock was set back: the whole delay, not for ever */
    return (int)(c->failed_delay_s - past_ms / 1000);
}

static int failures_read(struct people_login *l, struct node_db *db, int64_t *failures,
                         int64_t *last_ms, struct base_err *err)
{
    struct node_stmt *st = NULL;
    *failures = 0;
    *last_ms = 0;
    int rc = node_sql(db, &st,
                      "SELECT failures, last_ms FROM node_login_failure WHERE name_hash = ?1", err);
    if (rc != 0)
        return rc;
    node_sql_blob(st, 1, l->name_hash, 32);
    rc = node_sql_step(st, err);
    if (rc > 0) {
        *failures = node_sql_col_i64(st, 0);
        *last_ms = node_sql_col_i64(st, 1);
        rc = 0;
    }
    node_sql_done(st);
    return rc;
}

static int failures_write(struct people_login *l, struct node_db *db, int64_t failures,
                          struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(
        db, &st,
        "INSERT INTO node_login_failure (name_hash, failures, last_ms) VALUES (?1, ?2, ?3) "
        "ON CONFLICT (name_hash) DO UPDATE SET failures = ?2, last_ms = ?3",
        err);
    if (rc != 0)
        return rc;
    node_sql_blob(st, 1, l->name_hash, 32);
    node_sql_i64(st, 2, failures);
    node_sql_i64(st, 3, l->now_ms);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    if (rc != 0)
        return rc;
    rc = node_sql(db, &st, "DELETE FROM node_login_failure WHERE last_ms < ?1", err);
    if (rc != 0)
        return rc;
    node_sql_i64(st, 1, l->now_ms - LOGIN_FAILURES_KEPT_MS);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc;
}

static int attempt_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct people_login *l = (struct people_login *)job;
    int64_t failures = 0;
    int64_t last_ms = 0;
    int rc = failures_read(l, db, &failures, &last_ms, err);
    if (rc != 0)
        return rc;
    int left = delay_left(l, failures, last_ms);
    if (left > 0) {
        answer(l, NODE_LOGIN_DELAYED, left);
        return 0;
    }
    /* After a delay that was sat out one more try is free, then the delay comes again. */
    rc = failures_write(l, db, failures + 1, err);
    if (rc != 0)
        return rc;
    if (l->has_secret) {
        rc = people_device_by_secret(db, l->secret_hash, &l->device, err);
        if (rc != 0 && rc != BASE_ENOTFOUND)
            return rc;
    }
    rc = people_staff_by_name(db, l->folded, l->now_ms, &l->staff, err);
    if (rc == 0 && l->staff.usable)
        rc = people_grants_read(db, &l->staff.id, l->now_ms, &l->grants, err);
    if (rc == 0)
        rc = people_has_pin(db, &l->staff.id, &l->has_pin, err);
    if (rc == 0 && l->people->config.account_issuer != NULL)
        rc = people_has_account(db, l->people->config.account_issuer, &l->staff.id, &l->has_account,
                                err);
    return rc == BASE_ENOTFOUND ? 0 : rc;
}

static struct people_login *login_of(struct people_check *c)
{
    return (struct people_login *)((char *)c - offsetof(struct people_login, check));
}

static void check_work(struct people_check *c)
{
    struct people_login *l = login_of(c);
    const char *verifier = l->staff.verifier[0] != '\0' ? l->staff.verifier : l->people->dummy;
    bool right = seal_password_verify(verifier, l->password, strlen(l->password));
    l->matched = right && l->staff.verifier[0] != '\0' && l->staff.usable && l->grants != NULL;
    seal_wipe(l->password, sizeof l->password);
}

static int last_login_write(struct people_login *l, struct node_db *db, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st,
                      "INSERT INTO node_last_login (staff_id, at_ms) VALUES (?1, ?2) ON CONFLICT "
                      "(staff_id) DO UPDATE SET at_ms = ?2",
                      err);
    if (rc != 0)
        return rc;
    node_sql_uuid(st, 1, &l->staff.id);
    node_sql_i64(st, 2, l->now_ms);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc;
}

static int session_write(struct people_login *l, struct node_db *db, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st, "DELETE FROM node_login_failure WHERE name_hash = ?1", err);
    if (rc != 0)
        return rc;
    node_sql_blob(st, 1, l->name_hash, 32);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    if (rc != 0)
        return rc;
    rc = last_login_write(l, db, err);
    if (rc != 0)
        return rc;
    rc = node_sql(db, &st,
                  "INSERT INTO node_session (token_hash, staff_id, device, created_ms, seen_ms, "
                  "device_id, by_account) VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6)",
                  err);
    if (rc != 0)
        return rc;
    node_sql_blob(st, 1, l->token_hash, 32);
    node_sql_blob(st, 2, l->staff.id.bytes, BASE_UUID_BYTES);
    node_sql_text(st, 3, l->device.name);
    node_sql_i64(st, 4, l->now_ms);
    if (base_uuid_is_zero(&l->device.id))
        node_sql_text(st, 5, NULL);
    else
        node_sql_uuid(st, 5, &l->device.id);
    node_sql_i64(st, 6, l->by_account);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc;
}

static int finish_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct people_login *l = (struct people_login *)job;
    switch (l->answer.result) {
    case NODE_LOGIN_OK: {
        int rc = l->by_token ? 0 : session_write(l, db, err);
        return rc != 0 ? rc
                       : audit(l, db, "ok",
                               l->by_token     ? "access token"
                               : l->by_account ? "hospital account"
                                               : "",
                               err);
    }
    case NODE_LOGIN_ELSEWHERE:
        return audit(l, db, "refused", "has an account at the identity provider", err);
    case NODE_LOGIN_EXPIRED:
        return audit(l, db, "refused", "offline credentials expired", err);
    default:
        return audit(l, db, "refused",
                     l->by_centre ? "refused by the centre"
                     : base_uuid_is_zero(&l->staff.id)
                         ? l->by_account ? "unknown account" : "unknown name"
                     : l->staff.usable ? "wrong password"
                                       : "not active",
                     err);
    }
}

static void take_session(struct people_login *l)
{
    struct node_people *p = l->people;
    struct people_session s = {.device = l->device,
                               .created_ms = l->now_ms,
                               .seen_ms = l->now_ms,
                               .has_pin = l->has_pin,
                               .by_account = l->by_account && !l->by_token};
    memcpy(s.hash, l->token_hash, sizeof s.hash);
    if (l->by_token)
        people_session_drop(p, s.hash); /* asked about anew, or by two requests at once */
    struct node_session *made = people_session_add(p, &s, l->grants);
    if (made == NULL) {
        answer(l, NODE_LOGIN_BUSY, 60);
        return;
    }
    l->grants = NULL;
    l->answer.session = made;
    made->ends_ms = l->ends_ms;
    made->checked_ms = l->now_ms;
    /* What moved between reading the person and now. */
    people_reload(p);
}

static void finish_done(struct node_job *job)
{
    struct people_login *l = (struct people_login *)job;
    struct node_people *p = l->people;
    if (job->rc != 0) {
        base_log(BASE_LOG_WARN, "login_failed", "%s", job->err.text);
        if (l->answer.result == NODE_LOGIN_OK)
            answer(l, NODE_LOGIN_ERROR, LOGIN_BUSY_RETRY_S);
    }
    if (l->answer.result == NODE_LOGIN_OK)
        take_session(l);
    else if (l->by_token)
        people_session_drop(p, l->token_hash); /* was let in before, and is not any more */
    login_end(l);
}

static bool credentials_expired(const struct people_login *l)
{
    int64_t days = l->people->config.credentials_expiration_days;
    return days > 0 && l->last_contact_ms > 0 && l->now_ms - l->last_contact_ms > days * 86400000;
}

static int make_token(struct people_login *l)
{
    struct base_buf text;
    if (l->by_token)
        return 0;
    seal_random(l->token, sizeof l->token);
    seal_hash(l->token_hash, l->token, sizeof l->token);
    base_buf_init(&text, 2 * NODE_SESSION_TOKEN_CHARS);
    seal_base64url(&text, l->token, sizeof l->token);
    int rc = base_buf_check(&text);
    if (rc == 0)
        snprintf(l->answer.token, sizeof l->answer.token, "%s", text.data);
    base_buf_release(&text);
    return rc;
}

static void finish(struct people_login *l)
{
    if (l->answer.result == NODE_LOGIN_BUSY || l->answer.result == NODE_LOGIN_ERROR) {
        login_end(l);
        return;
    }
    memset(&l->job, 0, sizeof l->job);
    if (l->seen_before && l->answer.result == NODE_LOGIN_OK) { /* nothing new to write down */
        take_session(l);
        login_end(l);
        return;
    }
    l->job.run = finish_run;
    l->job.done = finish_done;
    l->job.write = true;
    node_store_write(l->people->store, &l->job);
}

static bool is_past(const char *text, int64_t now_ms)
{
    int64_t at = 0;
    return text[0] != '\0' && (!node_moment_ms(&at, text, strlen(text)) || at <= now_ms);
}

/* What the centre says counts more than the list that this node has of it. */
static bool is_refused(const struct people_login *l, const struct node_standing *s)
{
    uint8_t hash[32];
    seal_hash(hash, l->staff.verifier, strlen(l->staff.verifier));
    return !s->known || !s->active || is_past(s->revoked_at, l->now_ms) ||
           is_past(s->valid_until_at, l->now_ms) ||
           (!l->by_account &&
            (!s->has_verifier || !seal_equal(hash, s->verifier_hash, sizeof hash)));
}

static void standing_done(void *user, const struct node_standing *s)
{
    struct people_login *l = user;
    if (s->answered && is_refused(l, s)) {
        l->by_centre = true;
        answer(l, NODE_LOGIN_REFUSED, 0);
    } else if (!s->answered && credentials_expired(l)) {
        answer(l, NODE_LOGIN_EXPIRED, 0);
    } else {
        answer(l, make_token(l) == 0 ? NODE_LOGIN_OK : NODE_LOGIN_ERROR, LOGIN_BUSY_RETRY_S);
    }
    finish(l);
}

void people_login_ask(struct people_login *l)
{
    static const struct node_standing none = {.answered = false};
    const struct node_people_config *config = &l->people->config;
    if (config->ask != NULL)
        config->ask(config->ask_user, &l->staff.id, l, standing_done);
    else
        standing_done(l, &none);
}

void people_login_refuse(struct people_login *l, enum node_login_result result)
{
    answer(l, result, LOGIN_BUSY_RETRY_S);
    finish(l);
}

static void check_done(struct people_check *c, bool ran)
{
    struct people_login *l = login_of(c);
    const struct node_people_config *config = &l->people->config;
    if (!ran)
        people_login_refuse(l, NODE_LOGIN_BUSY);
    else if (!l->matched)
        people_login_refuse(l, NODE_LOGIN_REFUSED);
    else if (l->has_account &&
             config->is_up(config->ask_user)) /* it may have refused them just now */
        people_login_refuse(l, NODE_LOGIN_ELSEWHERE);
    else
        people_login_ask(l);
}

static void attempt_done(struct node_job *job)
{
    struct people_login *l = (struct people_login *)job;
    if (job->rc != 0) {
        base_log(BASE_LOG_WARN, "login_failed", "%s", job->err.text);
        answer(l, job->rc == BASE_EBUSY ? NODE_LOGIN_BUSY : NODE_LOGIN_ERROR, LOGIN_BUSY_RETRY_S);
        login_end(l);
    } else if (l->answer.result == NODE_LOGIN_DELAYED) {
        login_end(l);
    } else {
        l->check.run = check_work;
        l->check.done = check_done;
        people_check_add(l->people, &l->check);
    }
}

void node_people_login(struct node_people *p, const struct node_login_request *r, void *user,
                       node_login_cb done)
{
    struct node_login busy = {.result = NODE_LOGIN_BUSY, .retry_after_s = LOGIN_BUSY_RETRY_S};
    struct people_login *l =
        p->closing || p->waiting_count >= NODE_LOGIN_QUEUE_MAX ? NULL : calloc(1, sizeof *l);
    if (l == NULL) {
        done(user, &busy);
        return;
    }
    l->people = p;
    l->user = user;
    l->done = done;
    l->answer.result = NODE_LOGIN_REFUSED;
    l->now_ms = base_clock_wall_ms();
    l->last_contact_ms = r->last_contact_ms;
    node_username_fold(l->folded, sizeof l->folded, r->name);
    node_login_name_hash(l->name_hash, r->name);
    snprintf(l->password, sizeof l->password, "%s", r->password);
    snprintf(l->device.name, sizeof l->device.name, "%s", r->device);
    snprintf(l->request_id, sizeof l->request_id, "%s", r->request_id);
    l->has_secret = r->device_secret_hash != NULL;
    if (l->has_secret)
        memcpy(l->secret_hash, r->device_secret_hash, sizeof l->secret_hash);
    l->job.run = attempt_run;
    l->job.done = attempt_done;
    l->job.write = true;
    p->busy++;
    node_store_write(p->store, &l->job);
}

void node_login_name_hash(uint8_t out[32], const char *name)
{
    char folded[NODE_LOGIN_NAME_BYTES_MAX * 2 + 1];
    node_username_fold(folded, sizeof folded, name);
    seal_hash(out, folded, strlen(folded));
}

/* The dummy costs as much as a real one: it is made by the same function, of a secret nobody keeps.
 */

struct dummy {
    uv_work_t work;
    struct node_people *people;
    char text[SEAL_PASSWORD_TEXT_BYTES];
    int rc;
};

static void dummy_work(uv_work_t *work)
{
    struct dummy *d = work->data;
    uint8_t secret[32];
    seal_random(secret, sizeof secret);
    d->rc = seal_password_hash(d->text, (const char *)secret, sizeof secret, NULL);
}

static void dummy_done(uv_work_t *work, int status)
{
    struct dummy *d = work->data;
    struct node_people *p = d->people;
    if (status == 0 && d->rc == 0)
        memcpy(p->dummy, d->text, sizeof p->dummy);
    else
        base_log(BASE_LOG_ERROR, "login_dummy",
                 "no memory for Argon2id: unknown names are answered faster");
    p->dummy_ready = true;
    free(d);
    people_check_next(p);
    people_work_done(p);
}

int people_login_start(struct node_people *p, struct base_err *err)
{
    struct dummy *d = calloc(1, sizeof *d);
    if (d == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory");
    unsigned cores = uv_available_parallelism();
    p->checking_max = cores / 2 < 1                    ? 1
                      : cores / 2 > LOGIN_CHECKING_MAX ? LOGIN_CHECKING_MAX
                                                       : (int)(cores / 2);
    d->people = p;
    d->work.data = d;
    p->busy++;
    if (uv_queue_work(p->loop, &d->work, dummy_work, dummy_done) != 0) {
        free(d);
        return base_fail(err, BASE_ENOMEM, "libuv took no work");
    }
    return 0;
}
