/*
 * node/api/internal.h - what the files of the API share: the server's state, one call, rendering.
 *
 * A call begins on the loop (who, limits, parsing), works in one store job (api_work_cb: reads or
 * writes, builds the reply's body), ends on the loop (the reply). Nothing of the catalog is kept
 * from one to the next: names are looked up in the job.
 */
#ifndef NODE_API_INTERNAL_H
#define NODE_API_INTERNAL_H

#include <uv.h>

#include "node/api/api.h"
#include "node/people/people.h"
#include "node/store/rows.h"
#include "node/store/sql.h"
#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/net/http.h"
#include "sync/net/json.h"
#include "sync/seal/seal.h"

enum {
    API_BODY_BYTES_MAX = 1024 * 1024,
    API_REPLY_BYTES_MAX = 32 * 1024 * 1024,
    API_ARENA_BYTES_MAX = 32 * 1024 * 1024,
    API_LIMIT_DEFAULT = 50,
    API_PARAMS_MAX = 32,
    API_KEY_BYTES_MAX = 255,
    API_KEYS_KEPT_MS = 7 * 24 * 3600 * 1000, /* what an idempotency key is remembered */
    API_KEYS_MAX = 300 * 1000, /* 8 MiB of fingerprints; more: the oldest go earlier */
    API_TICK_MS = 2000,
    API_RATE_SESSION_PER_S = 200,
    API_RATE_ADDRESS_PER_S = 1000,
    API_RATE_LOGIN_PER_S = 20,
    API_RATE_BURST_S = 3, /* a bucket holds this many seconds' worth */
    API_ADDRESSES_MAX = 4096,
    API_RUNNING_BUCKETS = 256,
    API_LATENCY_STEPS = 12,
    API_CLAIMS_MAX = 256,
    API_CLAIM_MS = 120 * 1000,
    API_WARD_CACHE = 8,
    API_SAMPLES_MAX = 24 * 60,
    API_SAMPLE_MS = 60 * 1000
};

struct api_events;

/* Which keys were used, as fingerprints: open addressing, grown by doubling. */
struct api_keyset {
    struct api_keyslot {
        uint64_t fingerprint; /* 0: free */
        int64_t n;
    } * slots;
    size_t cap, count;
    int64_t first_n; /* what is older is gone from the store */
};
int64_t api_keyset_find(const struct api_keyset *s, uint64_t fingerprint); /* 0: never used */
/* Room for that many more, so that what is written can be remembered. */
int api_keyset_reserve(struct api_keyset *s, size_t extra);
void api_keyset_add(struct api_keyset *s, uint64_t fingerprint, int64_t n);
void api_keyset_release(struct api_keyset *s);

struct api_address {
    char text[46];
    double tokens, login_tokens;
    int64_t at_ms; /* monotonic; 0: free */
};

struct node_api {
    struct uv_loop_s *loop;
    struct node_store *store;
    struct node_engine *engine; /* NULL in tests */
    struct net_http_server *http;
    struct node_people *people;
    struct node_people_config people_config;
    struct api_events *events;
    struct api_oidc *oidc;           /* NULL: no identity provider is configured */
    struct net_http_exchange *again; /* the one whose access token was let in just now */
    char *ca_pem;
    int64_t cert_until_s; /* the end of the certificate in use; 0: none */
    int64_t ca_until_s;   /* ... of the authority that /trust offers */
    const char *state_dir, *keys_source;
    int (*backup)(void *backup_user, struct base_err *err);
    void *backup_user;
    char ca_fingerprint[96];
    uv_timer_t tick;
    int busy; /* jobs of ours out */
    bool stopping, http_stopped, people_closed, tick_closed;
    void (*stopped)(void *user);
    void *stopped_user;
    struct node_engine_status status; /* refreshed by engine or, without one, by a job */
    bool refreshing, refresh_again;
    struct api_call *running[API_RUNNING_BUCKETS]; /* with an idempotency key, by its hash */
    struct api_keyset keys;
    int64_t key_last;                       /* n of the newest */
    bool keys_loaded, keys_busy, keys_more; /* more: the last pruning left some */
    struct api_address addresses[API_ADDRESSES_MAX];
    char *openapi; /* of catalog openapi_version */
    size_t openapi_len;
    int64_t openapi_version;
    int64_t pruned_ms;
    uint64_t latency[API_LATENCY_STEPS + 1], latency_count, latency_us, writes, logins_refused;
};

/* A refusal on its way from a job to the client. */
struct api_problem {
    int status; /* 0: none */
    const char *code;
    char detail[BASE_ERR_TEXT_BYTES], hint[256];
    char column[CORE_NAME_BYTES_MAX + 1]; /* for "errors"; "" if none */
    int index;                            /* of a transaction's write; -1 */
    int retry_after_s;
    int attempts_left;   /* of a PIN; 0: not told */
    const char *current; /* JSON of the row as it is, in the arena; NULL */
};

struct api_param {
    const char *name, *value;
};

struct api_call;
typedef int (*api_work_cb)(struct api_call *c, struct node_db *db, struct base_err *err);

struct api_call {
    struct node_job job; /* first: a job is its call */
    struct node_api *api;
    struct net_http_exchange *x;
    api_work_cb work;
    struct base_arena arena;
    struct base_buf body;
    struct api_problem problem;
    void (*after)(struct api_call *c); /* on the loop, once the work is on the disk; NULL */
    int status;
    char etag[64], location[160], not_modified[64];
    bool write, by_cookie, replayed, locked_too;
    int64_t now_ms, began_us;
    char now[BASE_TIME_CHARS + 1];
    /* who */
    struct node_grants *grants; /* a reference; NULL before authentication */
    uint8_t session_hash[32];
    char device[NODE_DEVICE_BYTES_MAX + 1];
    const char *request_id;
    enum core_clock clock;
    bool complete;          /* the first fill is over */
    const char *data_as_of; /* in the arena; NULL: never */
    /* what */
    const char *table; /* as named in the path or by the handler */
    struct base_uuid id;
    struct node_version version; /* of If-Match */
    bool has_version;
    struct api_param params[API_PARAMS_MAX];
    int param_count;
    cJSON *json;
    /* idempotency */
    bool has_key;
    uint8_t key_hash[32], request_hash[32];
    int64_t key_used, key_n; /* n of the stored reply, 0: none; n of this one's */
    struct api_call *running_next;
    const struct node_glass *glass; /* what it was allowed by; of grants */
    struct {
        struct base_uuid patient;
        bool known, in;
    } wards[API_WARD_CACHE];
    int ward_next;
    void *user;         /* the handler's own, in the arena */
    const char *secret; /* for a cookie, in the arena */
    /* what the audit entry of a read says; action NULL: none */
    const char *audit_action;
    struct base_uuid audit_row, audit_patient;
    bool audit_has_row, audit_has_patient;
};

/* call.c: on the loop */
/* The value of a cookie of ours (name with its "="); NULL if it is not there. */
const char *api_cookie(const struct net_http_exchange *x, const char *name, size_t *len);
/* A call of somebody logged in. NULL: the answer was given. */
struct api_call *api_begin(struct net_http_exchange *x, struct node_api *a);
/* Also of a session that is locked. */
struct api_call *api_begin_locked(struct net_http_exchange *x, struct node_api *a);
/* The hash of the secret a paired device sent along; false: none came. */
bool api_device_secret(const struct api_call *c, uint8_t hash[32]);
/* A call of anybody (rate and headers only). NULL: answered. */
struct api_call *api_begin_open(struct net_http_exchange *x, struct node_api *a);
void api_run(struct api_call *c, api_work_cb work);       /* as a read job, then the reply */
void api_audit_refused(struct api_call *c);               /* an entry for a 403; does not wait */
void api_run_write(struct api_call *c, api_work_cb work); /* as a write job, then the reply */
void api_finish(struct api_call *c); /* replies with what stands in the call and frees it */
void api_free(struct api_call *c);
bool api_may(struct api_call *c, enum node_action action,
             const char *table);       /* false: the problem is set */
int api_take_id(struct api_call *c);   /* {id} of the path; nonzero: problem set */
int api_take_json(struct api_call *c); /* the body as an object; nonzero: problem set */
int api_take_if_match(struct api_call *c, bool required);
int api_take_key(struct api_call *c, bool required); /* Idempotency-Key; nonzero: problem set */
int api_take_params(struct api_call *c);
void api_headers(struct api_call *c);
void api_headers_for(struct api_call *c, const char *policy); /* of a page that runs something */
const char *api_as_of(const struct node_api *a);              /* NULL: never */

/* anywhere */
/* Sets the problem; returns BASE_EINVALID so that a job's writes are undone. */
int api_refuse(struct api_call *c, int status, const char *code, const char *hint, const char *fmt,
               ...) __attribute__((format(printf, 5, 6)));
int api_refuse_column(struct api_call *c, int status, const char *code, const char *column,
                      const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* The problem for an error code of a lower layer. */
void api_refuse_rc(struct api_call *c, int rc, const char *text);

/* rate.c */
/* Seconds to wait, 0: go on. session may be NULL. */
int api_rate(struct node_api *a, struct node_session *session, const char *peer, bool login);

/* etag.c: "<rev>.<pending_seq>" */
void api_etag(char out[64], const struct node_version *v);
bool api_etag_parse(struct node_version *out, const char *s);
bool api_is_loopback(const char *peer);

/* render.c */
/* reader: base, live and incoming of a conflict are shown to those who may read the table it is
 * about. */
void api_render_row(struct base_buf *out, const struct node_row *row,
                    const struct node_grants *reader);
void api_render_value(struct base_buf *out, const struct core_column *c, struct core_text v);
void api_render_uuid(struct base_buf *out, const struct base_uuid *u);
/* A JSON object of column → text, as conflicts keep it, by type; hidden columns left out. */
void api_render_values(struct base_buf *out, const struct core_table *t, struct core_text json);
void api_render_head(struct base_buf *out,
                     const struct api_call *c); /* {"data_as_of":…,"complete":… */
struct core_text api_value(const struct node_row *row, const char *column);

/* query.c */
int api_query_parse(struct api_call *c, const struct core_table *t, struct node_query *out);
const struct core_table *api_table(struct api_call *c, struct node_db *db,
                                   const char *name); /* NULL: problem set */
/* An internal query: filters on equality of text values, order by column (NULL: id). */
struct api_select {
    const char *table;
    const char *column[3], *value[3]; /* equality; column NULL ends */
    const char *order;
    bool descending;
    int limit;
};
int api_select(struct api_call *c, struct node_db *db, const struct api_select *s, void *user,
               node_row_cb cb, struct base_err *err);

/* values.c */
/* One JSON member as the text of its column, in the arena. Nonzero: problem set. */
int api_value_from_json(struct api_call *c, const struct core_table *t,
                        const struct core_column *col, const cJSON *value, struct core_text *out);
/* The members of an object as columns and values of an edit; server-set columns added for an
 * insert. */
int api_edit_from_json(struct api_call *c, struct node_db *db, const struct core_table *t,
                       const cJSON *values, struct node_edit *edit);
bool api_set_by_node(const char *column);

/* idempotency.c */
/* On the loop. False: answered (running elsewhere). */
bool api_key_enter(struct api_call *c);
void api_key_leave(struct api_call *c);
/* In the job. 1: the stored reply was put into the call; 0: go on; negative: error (problem set or
 * err). */
int api_key_find(struct api_call *c, struct node_db *db, struct base_err *err);
int api_key_store(struct api_call *c, struct node_db *db, struct base_err *err);
void api_keys_load(struct node_api *a);
void api_keys_prune(struct node_api *a);
bool api_ready(const struct node_api *a); /* sessions and keys of the last run are back */

/* scope.c */
/* The right everywhere, in the ward, or for a patient behind broken glass: then each row is asked for. */
bool api_may_some(struct api_call *c, enum node_action action, const char *table);
bool api_patient_ok(struct api_call *c, struct node_db *db, enum node_action action,
                    const char *table, const struct base_uuid *patient);
bool api_row_ok(struct api_call *c, struct node_db *db, enum node_action action,
                const struct node_row *row);
/* Patients of this place may be read in one go: everywhere, or it is in one of the caller's wards. */
bool api_place_ok(struct api_call *c, struct node_db *db, const struct base_uuid *location);
int api_edit_ok(struct api_call *c, struct node_db *db, const struct node_edit *e);
int api_refuse_ward(struct api_call *c);
int api_glass_used(struct api_call *c, struct node_db *db, struct base_err *err);

/* session.c */
void api_render_time(struct base_buf *out, const char *name,
                     int64_t ms); /* ,"name":"…"; null for 0 */

void api_session_cookie(const struct node_api *a, struct net_http_exchange *x, const char *token);
const char *api_cookie_name(const struct node_api *a); /* with its "=" */
const char *api_device_cookie_name(const struct node_api *a);
/* When the centre was last heard; 0: never. */
int64_t api_last_contact_ms(const struct node_api *a);

/* oidc.c: access tokens of the hospital's identity provider */
int api_oidc_open(struct node_api *a, const struct node_api_oidc *config, struct base_err *err);
void api_oidc_close(struct node_api *a); /* who waits is answered */
void api_oidc_tick(struct node_api *a);
bool api_oidc_is_up(const struct node_api *a); /* one can log in there; as seen last */
bool api_oidc_account_first(const struct node_api_oidc *config);
/* Takes the call: either its handler runs anew, with a session to be found, or it is answered. */
void api_oidc_admit(struct api_call *take_c, const char *token, size_t len);

/* write.c */
void api_author(const struct api_call *c, struct node_author *out);
/* Runs edits, turns a failure into the call's problem. */
int api_edits(struct api_call *c, struct node_db *db, const struct node_edit *edits, int count,
              struct node_version *versions, struct base_err *err);
bool api_writable(struct api_call *c, const struct core_table *t, enum core_op op);

/* handlers, one per route (user is the struct node_api) */
void api_on_list(struct net_http_exchange *x, void *user);
void api_on_get(struct net_http_exchange *x, void *user);
void api_on_history(struct net_http_exchange *x, void *user);
void api_on_row_conflicts(struct net_http_exchange *x, void *user);
void api_on_create(struct net_http_exchange *x, void *user);
void api_on_update(struct net_http_exchange *x, void *user);
void api_on_delete(struct net_http_exchange *x, void *user);
void api_on_transaction(struct net_http_exchange *x, void *user);
void api_on_events(struct net_http_exchange *x, void *user);
void api_on_chart(struct net_http_exchange *x, void *user);
void api_on_board(struct net_http_exchange *x, void *user);
void api_console_tick(struct node_api *a);
void api_on_sync_history(struct net_http_exchange *x, void *user);
void api_on_sync_test(struct net_http_exchange *x, void *user);
void api_on_machine(struct net_http_exchange *x, void *user);
void api_on_machine_backup(struct net_http_exchange *x, void *user);
/* The dark modules of a QR code as an SVG path in a square of the returned side, margin included; 0: it can't be made. */
int api_qr_path(struct base_buf *out, const char *text);
void api_on_sync_now(struct net_http_exchange *x, void *user);
void api_on_sync_verify(struct net_http_exchange *x, void *user);
void api_on_dose_claim(struct net_http_exchange *x, void *user);
void api_on_conflicts(struct net_http_exchange *x, void *user);
void api_on_conflict(struct net_http_exchange *x, void *user);
void api_on_resolution(struct net_http_exchange *x, void *user);
void api_on_quarantine(struct net_http_exchange *x, void *user);
void api_on_quarantine_retry(struct net_http_exchange *x, void *user);
void api_on_quarantine_drop(struct net_http_exchange *x, void *user);
void api_on_login(struct net_http_exchange *x, void *user);
void api_on_oidc(struct net_http_exchange *x, void *user);
void api_on_oidc_start(struct net_http_exchange *x, void *user);
void api_on_oidc_callback(struct net_http_exchange *x, void *user);
void api_on_whoami(struct net_http_exchange *x, void *user);
void api_on_logout(struct net_http_exchange *x, void *user);
void api_on_users(struct net_http_exchange *x, void *user);
void api_on_user_unlock(struct net_http_exchange *x, void *user);
void api_on_user_logout(struct net_http_exchange *x, void *user);
void api_on_glass_reasons(struct net_http_exchange *x, void *user);
void api_on_glass_patients(struct net_http_exchange *x, void *user);
void api_on_glass_begin(struct net_http_exchange *x, void *user);
void api_on_glass_end(struct net_http_exchange *x, void *user);
void api_on_glass_list(struct net_http_exchange *x, void *user);
void api_on_glass_review(struct net_http_exchange *x, void *user);
void api_on_pin_set(struct net_http_exchange *x, void *user);
void api_on_pin_drop(struct net_http_exchange *x, void *user);
void api_on_lock(struct net_http_exchange *x, void *user);
void api_on_unlock(struct net_http_exchange *x, void *user);
void api_on_pairing(struct net_http_exchange *x, void *user);
void api_on_claim(struct net_http_exchange *x, void *user);
void api_on_devices(struct net_http_exchange *x, void *user);
void api_on_device_self(struct net_http_exchange *x, void *user);
void api_on_device_change(struct net_http_exchange *x, void *user);
void api_on_device_revoke(struct net_http_exchange *x, void *user);
void api_on_sync(struct net_http_exchange *x, void *user);
void api_on_healthz(struct net_http_exchange *x, void *user);
void api_on_readyz(struct net_http_exchange *x, void *user);
void api_on_metrics(struct net_http_exchange *x, void *user);
void api_on_openapi(struct net_http_exchange *x, void *user);
void api_on_trust(struct net_http_exchange *x, void *user);
void api_on_trust_qr(struct net_http_exchange *x, void *user);
void api_on_trust_info(struct net_http_exchange *x, void *user);
void api_on_trust_profile(struct net_http_exchange *x, void *user);
void api_on_trust_ca(struct net_http_exchange *x, void *user);
void api_on_app(struct net_http_exchange *x, void *user);
void api_on_app_file(struct net_http_exchange *x, void *user);
void api_on_app_worker(struct net_http_exchange *x, void *user);

/* openapi.c */
void api_openapi_write(struct base_buf *out, const struct core_catalog *catalog);

/* SHA-256 of the certificate's DER as AA:BB:…; "" if the PEM is not one. */
void api_fingerprint(char out[96], const char *pem);
void api_plain(struct net_http_exchange *x, int status, const char *type, const char *text,
               size_t len);

/* events.c */
int api_events_open(struct node_api *a, struct base_err *err);
void api_events_moved(struct node_api *a, const struct node_moved *moved, int count, int64_t last);
void api_events_status(struct node_api *a);
/* To the streams of those who may read dose_slot. */
void api_events_claim(struct node_api *a, const char *json);
void api_events_tick(struct node_api *a); /* streams whose session is over end */
void api_events_close(struct node_api *a);
int api_events_streams(const struct node_api *a);

/* server.c */
void api_job_begin(struct node_api *a);
void api_job_end(struct node_api *a);
void api_refresh(struct node_api *a); /* the status, where there is no engine */

#endif
