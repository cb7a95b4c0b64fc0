/*
 * node/people/internal.h - what people.c, grants.c and login.c share.
 */
#ifndef NODE_PEOPLE_INTERNAL_H
#define NODE_PEOPLE_INTERNAL_H

#include <uv.h>

#include "node/people/people.h"
#include "sync/seal/seal.h"

enum { PEOPLE_BUCKETS = 1024 };

struct people_login;

struct node_people {
    struct uv_loop_s *loop;
    struct node_store *store;
    struct node_people_config config;
    struct node_session *buckets[PEOPLE_BUCKETS];
    int count;
    bool loaded, reloading, reload_again, flushing, closing;
    int64_t flushed_ms, reloaded_ms;
    int busy;                             /* jobs and works out */
    char dummy[SEAL_PASSWORD_TEXT_BYTES]; /* what an unknown name's password is checked against */
    bool dummy_ready;
    struct people_login *waiting, **waiting_end; /* for a place on the pool */
    int waiting_count, checking, checking_max;
    void (*closed)(void *user);
    void *closed_user;
};

/* What the staff table says about one person. */
struct people_staff {
    struct base_uuid id;
    char username[NODE_LOGIN_NAME_BYTES_MAX + 1];
    char name[256];
    char verifier[SEAL_PASSWORD_TEXT_BYTES]; /* "" if none */
    bool usable;                             /* active, not revoked, within its validity */
};

/* In jobs. BASE_ENOTFOUND: nobody of that name. */
int people_staff_by_name(struct node_db *db, const char *folded, int64_t now_ms,
                         struct people_staff *out, struct base_err *err);
/* *out NULL: this person may not be logged in (any more). */
int people_grants_read(struct node_db *db, const struct base_uuid *staff_id, int64_t now_ms,
                       struct node_grants **out, struct base_err *err);

struct node_session *people_session_add(struct node_people *p, const uint8_t hash[32],
                                        struct node_grants *take_grants, const char *device,
                                        int64_t created_ms, int64_t seen_ms);
void people_login_next(struct node_people *p);
void people_work_done(struct node_people *p); /* one of busy is back */
int people_login_start(struct node_people *p, struct base_err *err);

#endif
