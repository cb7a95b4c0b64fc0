/*
 * node/people/people.h - who is logged in at this node, and what they may do.
 *
 * Does:       checks name and password against the synced staff list (Argon2id on libuv's pool), and asks the centre whether it still holds,
 * counts failures in the store, keeps sessions in memory and their hashes in the store, folds roles
 * into grants. Does not:   know HTTP, or ask the centre: the node decides from its own list, with
 * the line up or down. Thread:     the loop's. node_grants_may() and the _db functions also in
 * jobs. Invariant:  a session lives only as long as its staff row is active; what was revoked is
 * out with the next turn after the replica knows it. A name that does not exist and a wrong
 * password cost the same time and get the same answer.
 */
#ifndef NODE_PEOPLE_PEOPLE_H
#define NODE_PEOPLE_PEOPLE_H

#include <stdbool.h>
#include <stdint.h>

#include "node/people/standing.h"
#include "node/store/store.h"
#include "sync/base/uuid.h"
#include "sync/core/catalog.h"

enum {
    NODE_SESSIONS_MAX = 4096,
    NODE_SESSION_TOKEN_BYTES = 32,
    NODE_SESSION_TOKEN_CHARS = 43,           /* base64url */
    NODE_SESSION_LIFE_MS = 12 * 3600 * 1000, /* a shift; whatever happens */
    NODE_TOKEN_FRESH_MS = 60 * 1000,         /* then an access token's person is asked about anew */
    NODE_ISSUER_BYTES_MAX = 512,
    NODE_SUBJECT_BYTES_MAX = 255,
    NODE_ROLES_MAX = 16,
    NODE_GRANTS_MAX = 256,
    NODE_WARDS_MAX = 32,
    NODE_GLASS_MAX = 8,
    NODE_LOGIN_NAME_BYTES_MAX = 128,
    NODE_LOGIN_PASSWORD_BYTES_MAX = 256,
    NODE_LOGIN_QUEUE_MAX = 64, /* people waiting for their password to be checked */
    NODE_DEVICE_BYTES_MAX = 64,
    NODE_PIN_DIGITS_MIN = 4,
    NODE_PIN_DIGITS_MAX = 12
};

enum node_action {
    NODE_MAY_READ = 1,
    NODE_MAY_CREATE = 2,
    NODE_MAY_UPDATE = 4,
    NODE_MAY_DELETE = 8,
    NODE_MAY_RESOLVE = 16
};

enum node_device_class { NODE_DEVICE_TABLET, NODE_DEVICE_WORKSTATION, NODE_DEVICE_SHARED };
const char *node_device_class_name(enum node_device_class c);
bool node_device_class_parse(enum node_device_class *out, const char *s);

/* Where somebody works. id zero: not a paired device, name is what the client called itself. */
struct node_device_name {
    struct base_uuid id;
    char name[NODE_DEVICE_BYTES_MAX + 1];
    enum node_device_class class;
};

/* A patient whom somebody may see for an hour, whatever their roles say (glass.h). */
struct node_glass {
    struct base_uuid id, patient_id;
    char reason[24];
    int64_t ends_ms; /* wall */
};

/* What one member of staff may do. Immutable once built; counted references, on the loop's thread
 * only. */
struct node_grants {
    int refs;
    struct base_uuid staff_id;
    char username[NODE_LOGIN_NAME_BYTES_MAX + 1];
    char name[256]; /* for showing */
    int role_count;
    char roles[NODE_ROLES_MAX][CORE_NAME_BYTES_MAX + 1];
    int count;
    struct node_grant {
        char table[CORE_NAME_BYTES_MAX + 1]; /* "*": all */
        unsigned actions;
        unsigned ward_actions; /* for patients of one of the wards only */
    } grants[NODE_GRANTS_MAX]; /* ascending by table */
    bool everywhere;           /* a role of theirs has no place */
    int ward_count;
    struct base_uuid wards[NODE_WARDS_MAX]; /* locations, and all within them */
    int glass_count;
    struct node_glass glass[NODE_GLASS_MAX];
};
bool node_grants_may(const struct node_grants *g, enum node_action action, const char *table);
/* For patients of one's wards, at least. */
bool node_grants_may_in_ward(const struct node_grants *g, enum node_action action,
                             const char *table);
bool node_grants_has_role(const struct node_grants *g, const char *role, size_t len);
/* The glass that is broken for this patient; NULL: none. */
const struct node_glass *node_grants_glass(const struct node_grants *g,
                                           const struct base_uuid *patient_id, int64_t now_ms);
struct node_grants *node_grants_ref(struct node_grants *g);
void node_grants_unref(struct node_grants *g);
/* The words of role_permission.actions, without and with ":ward" behind; unknown words mean nothing. */
struct node_actions {
    unsigned anywhere, in_ward;
};
struct node_actions node_actions_parse(const char *s, size_t len);

struct node_session {
    uint8_t hash[32];
    struct node_grants *grants;
    struct node_device_name device;
    int64_t created_ms, seen_ms; /* wall */
    bool locked;                 /* by hand; see node_people_locked */
    bool has_pin;                /* its person has one, and the device is paired */
    bool by_account;             /* began at the identity provider, for this browser */
    bool dirty;                  /* seen_ms is newer than the store's */
    int64_t ends_ms;             /* wall; an access token's, not in the store; 0: a login's */
    int64_t checked_ms;          /* wall; of such a one: when its person was asked about */
    double tokens;               /* the API's rate bucket */
    int64_t tokens_at_ms;        /* monotonic */
    struct node_session *next;
};

struct node_people_config {
    int64_t session_idle_s; /* also of workstations */
    int64_t idle_tablet_s, idle_shared_s, pin_attempts;
    int64_t credentials_expiration_days; /* since the last contact with the centre */
    int64_t failed_attempts, failed_delay_s;
    /* Asks the centre about who has given the right password; a refusal of the centre is final. NULL: never. */
    void (*ask)(void *ask_user, const struct base_uuid *staff_id, void *user,
                node_standing_cb done);
    void *ask_user;
    const char *issuer; /* the hospital's identity provider; NULL: none */
    /* Whose staff have an account at this provider log in there, while it is there. NULL: it does not matter. */
    const char *account_issuer;
    bool (*is_up)(void *ask_user);
};

struct node_people;
int node_people_open(struct node_people **out, struct uv_loop_s *loop, struct node_store *store,
                     const struct node_people_config *config, struct base_err *err);
/* Waits for what runs, then calls closed. */
void node_people_close(struct node_people *p, void (*closed)(void *user), void *user);
bool node_people_ready(const struct node_people *p); /* the sessions of the last run are back */
/* A row of this table moved. */
void node_people_moved(struct node_people *p, const char *table);
/* Every few seconds: idle sessions end, what was seen is written down. */
void node_people_tick(struct node_people *p, int64_t now_ms);

/* NULL: no such session. Counts as being seen, unless it is locked. Valid until the next turn of the loop. */
struct node_session *node_people_session(struct node_people *p, const char *token, size_t len,
                                         int64_t now_ms);
struct node_session *node_people_session_by_hash(struct node_people *p, const uint8_t hash[32],
                                                 int64_t now_ms); /* not seen */

/* By hand, or by having been idle on a paired device. Only its PIN or logging out is to be allowed. */
bool node_people_locked(const struct node_people *p, const struct node_session *s, int64_t now_ms);
int64_t node_people_idle_s(const struct node_people *p, const struct node_session *s);

enum node_login_result {
    NODE_LOGIN_OK,
    NODE_LOGIN_REFUSED, /* name or password */
    NODE_LOGIN_DELAYED, /* too many failures: again after retry_after_s */
    NODE_LOGIN_ELSEWHERE, /* right, but the person has an account at the identity provider, which is there */
    NODE_LOGIN_EXPIRED, /* right, but the node has not met the centre for too long */
    NODE_LOGIN_BUSY,    /* too many at once: again after retry_after_s */
    NODE_LOGIN_ERROR
};
struct node_login {
    enum node_login_result result;
    int retry_after_s;
    char token[NODE_SESSION_TOKEN_CHARS + 1];
    const struct node_session *session; /* of NODE_LOGIN_OK */
};
typedef void (*node_login_cb)(void *user, const struct node_login *login);
struct node_login_request {
    const char *name, *password, *device, *request_id;
    const uint8_t *device_secret_hash; /* NULL: not from a paired device */
    int64_t last_contact_ms; /* when the centre was last heard; 0 never, -1 unknown (not checked) */
};
void node_people_login(struct node_people *p, const struct node_login_request *r, void *user,
                       node_login_cb done);
/* Somebody whom the identity provider has named, by an access token or at the end of its login. As a login by password:
 * the staff list decides, and the centre's no is final. */
struct node_admission {
    const char *issuer, *subject, *device, *request_id;
    const char *
        token; /* the access token: its session is found by node_people_token; NULL: a session is made */
    size_t token_len;
    int64_t ends_ms;                   /* of the token; wall */
    const uint8_t *device_secret_hash; /* NULL: not from a paired device */
    int64_t last_contact_ms;           /* as node_login_request's */
};
void node_people_admit(struct node_people *p, const struct node_admission *r, void *user,
                       node_login_cb done);
/* NULL: not admitted. fresh false: to be admitted anew before it counts. Valid until the next turn of the loop. */
struct node_session *node_people_token(struct node_people *p, const char *token, size_t len,
                                       int64_t now_ms, bool *fresh);
/* Gone from memory at once; done when it is gone from the store too. */
void node_people_logout(struct node_people *p, const uint8_t hash[32], const char *request_id,
                        void *user, void (*done)(void *user, int rc));

/* Setting and using a PIN, of a session on a paired device. */
enum node_pin_result {
    NODE_PIN_OK,
    NODE_PIN_REFUSED,   /* the password or the PIN is not right; attempts_left */
    NODE_PIN_ENDED,     /* too many wrong ones: the session is over */
    NODE_PIN_NO_DEVICE, /* not on the paired device the session began on */
    NODE_PIN_BUSY,
    NODE_PIN_ERROR
};
struct node_pin {
    enum node_pin_result result;
    int attempts_left, retry_after_s;
};
typedef void (*node_pin_cb)(void *user, const struct node_pin *pin);
struct node_pin_request {
    const uint8_t *session_hash, *device_secret_hash; /* the latter NULL: none came */
    const char *pin, *password, *request_id;          /* password: for setting */
};
bool node_pin_is_strong(const char *pin);
void node_people_pin_set(struct node_people *p, const struct node_pin_request *r, void *user,
                         node_pin_cb done);
void node_people_unlock(struct node_people *p, const struct node_pin_request *r, void *user,
                        node_pin_cb done);
/* After the store has it: a session is locked; a person's PIN is gone or there. */
void node_people_lock(struct node_people *p, const uint8_t hash[32]);
void node_people_pin_moved(struct node_people *p, const struct base_uuid *staff_id, bool has_pin);
/* After the store has it: the sessions of a device or of a person are over; their number. */
int node_people_end_device(struct node_people *p, const struct base_uuid *device_id);
int node_people_end_staff(struct node_people *p, const struct base_uuid *staff_id);
void node_people_device_moved(struct node_people *p, const struct node_device_name *device);

void node_people_glass_begun(struct node_people *p, const struct base_uuid *staff_id,
                             const struct node_glass *glass);
void node_people_glass_ended(struct node_people *p, const struct base_uuid *staff_id,
                             const struct base_uuid *id);

/* For jobs and tests. */
int64_t node_device_idle_s(const struct node_people_config *c, enum node_device_class class);
/* The failures of a name, as node_login_failure counts them. */
void node_login_name_hash(uint8_t out[32], const char *name);
/* Lower case of what hospital names are written in: Latin, Greek, Cyrillic. At most out_bytes - 1
 * bytes. */
void node_username_fold(char *out, size_t out_bytes, const char *name);
/* The start of the moment or instant in UTC; false if text is neither. */
bool node_moment_ms(int64_t *out, const char *text, size_t len);
int node_people_count(const struct node_people *p);
#endif
