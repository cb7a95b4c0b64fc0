/*
 * Somebody whom the hospital's identity provider has named: the staff list and the centre are asked as for a login by
 * password (login.c), only the password is not.
 *
 *   attempt  (read job)   whose account it is, and what they may do
 *   then as login.c: the centre's standing, the audit entry, the session
 *
 * An access token becomes a session of this process's memory alone, known by the token's hash: each request finds it as it finds
 * any other. It is asked about anew after NODE_TOKEN_FRESH_MS.
 */
#include <stdlib.h>
#include <string.h>

#include "node/people/internal.h"
#include "sync/base/clock.h"
#include "sync/base/log.h"

enum { ADMIT_BUSY_RETRY_S = 2 };

static int attempt_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct people_login *l = (struct people_login *)job;
    int rc = 0;
    if (l->has_secret) {
        rc = people_device_by_secret(db, l->secret_hash, &l->device, err);
        if (rc != 0 && rc != BASE_ENOTFOUND)
            return rc;
    }
    rc = people_account_read(db, l->issuer, l->subject, &l->staff.id, err);
    if (rc == 0)
        rc = people_grants_read(db, &l->staff.id, l->now_ms, &l->grants, err);
    if (rc == 0)
        rc = people_has_pin(db, &l->staff.id, &l->has_pin, err);
    l->staff.usable = l->grants != NULL;
    return rc == BASE_ENOTFOUND ? 0 : rc;
}

static void attempt_done(struct node_job *job)
{
    struct people_login *l = (struct people_login *)job;
    if (job->rc != 0) {
        base_log(BASE_LOG_WARN, "login_failed", "%s", job->err.text);
        people_login_refuse(l, job->rc == BASE_EBUSY ? NODE_LOGIN_BUSY : NODE_LOGIN_ERROR);
    } else if (l->grants == NULL) {
        people_login_refuse(l, NODE_LOGIN_REFUSED);
    } else {
        people_login_ask(l);
    }
}

void node_people_admit(struct node_people *p, const struct node_admission *r, void *user,
                       node_login_cb done)
{
    struct node_login busy = {.result = NODE_LOGIN_BUSY, .retry_after_s = ADMIT_BUSY_RETRY_S};
    struct people_login *l = p->closing ? NULL : calloc(1, sizeof *l);
    if (l == NULL) {
        done(user, &busy);
        return;
    }
    l->people = p;
    l->user = user;
    l->done = done;
    l->by_account = true;
    l->answer.result = NODE_LOGIN_REFUSED;
    l->now_ms = base_clock_wall_ms();
    l->last_contact_ms = r->last_contact_ms;
    snprintf(l->issuer, sizeof l->issuer, "%s", r->issuer);
    snprintf(l->subject, sizeof l->subject, "%s", r->subject);
    snprintf(l->device.name, sizeof l->device.name, "%s", r->device);
    snprintf(l->request_id, sizeof l->request_id, "%s", r->request_id);
    l->has_secret = r->device_secret_hash != NULL;
    if (l->has_secret)
        memcpy(l->secret_hash, r->device_secret_hash, sizeof l->secret_hash);
    if (r->token != NULL) {
        l->by_token = true;
        l->ends_ms = r->ends_ms;
        seal_hash(l->token_hash, r->token, r->token_len);
        struct node_session *s = people_session_any(p, l->token_hash);
        l->seen_before = s != NULL;
    }
    l->job.run = attempt_run;
    l->job.done = attempt_done;
    p->busy++;
    node_store_read(p->store, &l->job);
}

struct node_session *node_people_token(struct node_people *p, const char *token, size_t len,
                                       int64_t now_ms, bool *fresh)
{
    uint8_t hash[32];
    seal_hash(hash, token, len);
    struct node_session *s = node_people_session_by_hash(p, hash, now_ms);
    *fresh = s != NULL && now_ms >= s->checked_ms && now_ms - s->checked_ms < NODE_TOKEN_FRESH_MS;
    if (*fresh)
        s->seen_ms = now_ms;
    return s;
}

static bool is_by_token(void *user, const struct node_session *s)
{
    return s->ends_ms != 0;
}

void people_tokens_end(struct node_people *p)
{
    (void)people_session_drop_if(p, NULL, is_by_token);
}
