/*
 * node/people/internal.h - what people.c, grants.c and login.c share.
 */
#ifndef NODE_PEOPLE_INTERNAL_H
#define NODE_PEOPLE_INTERNAL_H

#include <uv.h>

#include "node/people/people.h"
#include "sync/seal/seal.h"

enum { PEOPLE_BUCKETS = 1024 };

/* One use of Argon2id (check.c). done with ran false: it was not run, the node stops or has no memory. */
struct people_check {
    uv_work_t work;
    struct node_people *people;
    struct people_check *next;
    void (*run)(struct people_check *c);            /* on the pool */
    void (*done)(struct people_check *c, bool ran); /* on the loop */
};
void people_check_add(struct node_people *p, struct people_check *c);
void people_check_next(struct node_people *p);

struct node_people {
    struct uv_loop_s *loop;
    struct node_store *store;
    struct node_people_config config;
    struct node_session *buckets[PEOPLE_BUCKETS];
    int count;
    bool loaded, reloading, reload_again, flushing, closing, numbering;
    int64_t flushed_ms, reloaded_ms;
    int busy;                             /* jobs and works out */
    char dummy[SEAL_PASSWORD_TEXT_BYTES]; /* what an unknown name's password is checked against */
    bool dummy_ready;
    struct people_check *waiting, **waiting_end; /* for a place on the pool */
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

/* A login under way (login.c, admit.c). */
struct people_login {
    struct node_job job;
    struct people_check check;
    struct node_people *people;
    void *user;
    node_login_cb done;
    char folded[NODE_LOGIN_NAME_BYTES_MAX * 2 + 1];
    char password[NODE_LOGIN_PASSWORD_BYTES_MAX + 1];
    struct node_device_name device;
    char request_id[64];
    bool has_secret, has_pin;
    uint8_t secret_hash[32];
    uint8_t name_hash[32], token[NODE_SESSION_TOKEN_BYTES], token_hash[32];
    int64_t now_ms, last_contact_ms;
    struct people_staff staff;
    struct node_grants *grants;
    bool matched, by_centre; /* the latter: the centre has refused */
    /* of one whom the identity provider has named (admit.c) */
    bool by_account, by_token, seen_before;
    bool has_account; /* of one who came by password */
    int64_t ends_ms;
    char issuer[NODE_ISSUER_BYTES_MAX + 1], subject[NODE_SUBJECT_BYTES_MAX + 1];
    struct node_login answer;
};
/* Asks the centre about somebody whom the node's own list lets in, then ends the login. */
void people_login_ask(struct people_login *l);
void people_login_refuse(struct people_login *l, enum node_login_result result);

/* In jobs. Whose account it is; BASE_ENOTFOUND: nobody's. */
int people_account_read(struct node_db *db, const char *issuer, const char *subject,
                        struct base_uuid *staff_id, struct base_err *err);
int people_has_account(struct node_db *db, const char *issuer, const struct base_uuid *staff_id,
                       bool *out, struct base_err *err);
void people_tokens_end(struct node_people *p); /* all sessions of access tokens */

/* What is known of a session apart from its grants. */
struct people_session {
    uint8_t hash[32];
    struct node_device_name device;
    int64_t created_ms, seen_ms;
    bool locked, has_pin, by_account;
};
struct node_session *people_session_add(struct node_people *p, const struct people_session *s,
                                        struct node_grants *take_grants);
/* Also one that is locked or over but still there. */
struct node_session *people_session_any(struct node_people *p, const uint8_t hash[32]);
/* Drops those that fit; their number. */
int people_session_drop_if(struct node_people *p, void *user,
                           bool (*fits)(void *user, const struct node_session *s));
void people_session_each(struct node_people *p, void *user,
                         void (*cb)(void *user, struct node_session *s)); /* may not drop */
void people_session_drop(struct node_people *p, const uint8_t hash[32]);
/* In jobs. The device whose secret this is; BASE_ENOTFOUND: none that may be used. */
int people_device_by_secret(struct node_db *db, const uint8_t secret_hash[32],
                            struct node_device_name *out, struct base_err *err);
/* Adds to the grants what its person has broken. */
int people_glass_read(struct node_db *db, struct node_grants *g, int64_t now_ms,
                      struct base_err *err);
int people_has_pin(struct node_db *db, const struct base_uuid *staff_id, bool *out,
                   struct base_err *err);
/* 1: the statement changed a row. text: a literal with ?1 bound to the blob. */
int people_sql_blob(struct node_db *db, const char *text, const void *blob, size_t len,
                    struct base_err *err);
void people_reload(struct node_people *p);    /* grants and revocations, as the replica has them */
void people_work_done(struct node_people *p); /* one of busy is back */
int people_login_start(struct node_people *p, struct base_err *err);

#endif
