/*
 * What ends or changes sessions that are there: logging out, locking, a device or person that is sent away.
 */
#include <stdlib.h>
#include <string.h>

#include "node/people/internal.h"
#include "node/store/rows.h"
#include "node/store/sql.h"

/* Logging out. */

struct logout {
    struct node_job job;
    struct node_people *people;
    uint8_t hash[32];
    struct base_uuid staff_id;
    char device[NODE_DEVICE_BYTES_MAX + 1], request_id[64];
    void (*done)(void *user, int rc);
    void *user;
};

static int logout_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct logout *l = (struct logout *)job;
    struct node_author author = {
        .actor = l->staff_id, .device = l->device, .request_id = l->request_id};
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st, "DELETE FROM node_session WHERE token_hash = ?1", err);
    if (rc != 0)
        return rc;
    node_sql_blob(st, 1, l->hash, 32);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc != 0
               ? rc
               : node_audit_add(db, &author, "logout", "staff", &l->staff_id, NULL, "ok", "", err);
}

static void logout_done(struct node_job *job)
{
    struct logout *l = (struct logout *)job;
    struct node_people *p = l->people;
    l->done(l->user, job->rc);
    free(l);
    people_work_done(p);
}

void node_people_logout(struct node_people *p, const uint8_t hash[32], const char *request_id,
                        void *user, void (*done)(void *user, int rc))
{
    struct node_session *s = people_session_any(p, hash);
    struct logout *l = s == NULL ? NULL : calloc(1, sizeof *l);
    if (l == NULL) {
        done(user, s == NULL ? 0 : BASE_ENOMEM);
        return;
    }
    memcpy(l->hash, hash, 32);
    l->staff_id = s->grants->staff_id;
    snprintf(l->device, sizeof l->device, "%s", s->device.name);
    snprintf(l->request_id, sizeof l->request_id, "%s", request_id);
    l->people = p;
    l->user = user;
    l->done = done;
    l->job.run = logout_run;
    l->job.done = logout_done;
    l->job.write = true;
    people_session_drop(p, hash);
    p->busy++;
    node_store_write(p->store, &l->job);
}

/* What the store has done already. */

void node_people_lock(struct node_people *p, const uint8_t hash[32])
{
    struct node_session *s = people_session_any(p, hash);
    if (s != NULL)
        s->locked = true;
}

struct pin_moved {
    const struct base_uuid *staff_id;
    bool has_pin;
};

static void take_pin(void *user, struct node_session *s)
{
    const struct pin_moved *m = user;
    if (base_uuid_equal(&s->grants->staff_id, m->staff_id))
        s->has_pin = m->has_pin;
}

void node_people_pin_moved(struct node_people *p, const struct base_uuid *staff_id, bool has_pin)
{
    struct pin_moved m = {staff_id, has_pin};
    people_session_each(p, &m, take_pin);
}

static bool is_on_device(void *user, const struct node_session *s)
{
    return base_uuid_equal(&s->device.id, (const struct base_uuid *)user);
}

static bool is_of_staff(void *user, const struct node_session *s)
{
    return base_uuid_equal(&s->grants->staff_id, (const struct base_uuid *)user);
}

int node_people_end_device(struct node_people *p, const struct base_uuid *device_id)
{
    struct base_uuid id = *device_id;
    return people_session_drop_if(p, &id, is_on_device);
}

int node_people_end_staff(struct node_people *p, const struct base_uuid *staff_id)
{
    struct base_uuid id = *staff_id;
    return people_session_drop_if(p, &id, is_of_staff);
}

static void take_device(void *user, struct node_session *s)
{
    const struct node_device_name *d = user;
    if (base_uuid_equal(&s->device.id, &d->id))
        s->device = *d;
}

void node_people_device_moved(struct node_people *p, const struct node_device_name *device)
{
    struct node_device_name d = *device;
    people_session_each(p, &d, take_device);
}
