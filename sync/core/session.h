/*
 * sync/core/session.h - the node's side of the sync: what to do next, and when. Pure.
 *
 * Does:       keeps two lanes (pull and push, one request each) through greeting, catalog, first fill and following; backs off
 *             with jitter; sizes batches by the measured time; notices that it is stuck.
 * Does not:   do I/O or read a clock: `now` (milliseconds, monotonic) and randomness are arguments. Nor know rows.
 * Thread:     the caller's.
 * Use:        tell what happened (core_session_on_*), then ask core_session_next until it says CORE_DO_WAIT.
 *
 *   pull lane                                                                    push lane
 *
 *   GREETING ──hello──► CATALOG? ──► FILLING? ──► FOLLOWING ─┐                   idle ◄─────────┐
 *      ▲                   ▲ (newer one known) ◄─────────────┤                    │ greeted and  │ receipt
 *      │ any failure, after a pause        a feed applied ◄──┘                    ▼ outbox       │
 *      └──────────────────────────────────────────────────────                  sending ────────┘
 *   STOPPED: the centre refuses us (fence, revoked): greeted again every CORE_SESSION_REFUSED_MS; nothing is deleted
 */
#ifndef SYNC_CORE_SESSION_H
#define SYNC_CORE_SESSION_H

#include <stdbool.h>
#include <stdint.h>

enum {
    CORE_SESSION_PAUSE_MIN_MS = 250,
    CORE_SESSION_PAUSE_MAX_MS = 30 * 1000,
    CORE_SESSION_REFUSED_MS = 5 * 60 * 1000,
    CORE_SESSION_STUCK_MS = 60 * 1000,
    CORE_SESSION_BATCH_MIN = 100,
    CORE_SESSION_BATCH_MAX = 5000,
    CORE_SESSION_BATCH_FIRST = 1000,
    CORE_SESSION_BATCH_GOAL_MS = 300,
    CORE_SESSION_BATCH_GROWTH = 4, /* times, at most, from one batch to the next */
    CORE_SESSION_COMPANY_MS =
        40, /* changes that came while a small batch was under way wait for company */
    CORE_SESSION_DRAIN_BATCH =
        1000, /* a batch of so many with more behind it: a backlog goes out */
    CORE_SESSION_DRAIN_FEED_MS =
        5000 /* meanwhile most of the feed is our own: fetched this seldom */
};

enum core_phase { CORE_GREETING, CORE_CATALOG, CORE_FILLING, CORE_FOLLOWING, CORE_STOPPED };
const char *core_phase_name(enum core_phase p);

enum core_do {
    CORE_DO_WAIT,
    CORE_DO_HELLO,
    CORE_DO_CATALOG,
    CORE_DO_FILL,
    CORE_DO_FEED,
    CORE_DO_PUSH
};

struct core_lane {
    bool busy;
    int failures;       /* in a row */
    int64_t not_before; /* ms */
};

struct core_session {
    bool link_open;
    enum core_phase phase;
    bool greeted; /* since the last failure of the pull lane */
    struct core_lane pull, push;
    bool outbox;       /* there may be changes to push */
    bool outbox_again; /* written while a push was under way: what that push finds is not all */
    bool lost;         /* no greeting went well since the line was last lost */
    bool filled;
    int64_t catalog_have, catalog_want;
    int batch;           /* changes in the next push */
    bool draining;       /* a backlog goes out */
    int64_t fed_at;      /* when the last feed was asked for; 0: none yet */
    int64_t progress_at; /* when something was last pushed, nothing waited, or the line came back */
    int resets;          /* how often it was found stuck */
};

void core_session_init(struct core_session *s, int64_t now, bool link_open, bool filled,
                       int64_t catalog_version);

/* What to start now: the lane is busy from then on until its core_session_on_*. CORE_DO_WAIT: *until is when to ask again (-1: only
 * after something has happened). */
enum core_do core_session_next(struct core_session *s, int64_t now, int64_t *until);

void core_session_on_link(struct core_session *s, int64_t now, bool open);
void core_session_on_kick(
    struct core_session *s); /* a person or a caller wants it now: pauses end */
void core_session_on_local(struct core_session *s, int64_t now);
void core_session_on_hello(struct core_session *s, int64_t catalog_version, bool filled);
void core_session_on_catalog(struct core_session *s, int64_t version, bool filled);
void core_session_on_fill(struct core_session *s, bool done);
void core_session_on_feed(struct core_session *s, int64_t catalog_version);
/* count: changes taken (0: there was nothing to push); more: some are left; took_ms: of the request. */
void core_session_on_pushed(struct core_session *s, int64_t now, int count, bool more,
                            int64_t took_ms);

enum core_lane_name { CORE_LANE_PULL, CORE_LANE_PUSH };
enum core_failure {
    CORE_FAILED_PASSING, /* line, time-out, 429, 5xx */
    CORE_FAILED_STALE,   /* the catalog must be fetched first */
    CORE_FAILED_REGREET, /* 409, 410: hello tells where we stand */
    CORE_FAILED_REFUSED  /* 401, 403, a fence: a person must act */
};
/* random: any 32 bits; at_least_ms: from Retry-After, else 0. */
void core_session_on_failed(struct core_session *s, enum core_lane_name lane, enum core_failure why,
                            int64_t now, int64_t at_least_ms, uint32_t random);
/* What we believe about the centre may be wrong: greeted again as soon as the pull lane is free. */
void core_session_on_doubt(struct core_session *s);
/* Connected, outbox not empty, nothing taken for CORE_SESSION_STUCK_MS: true once, and the session has begun anew. */
bool core_session_stuck(struct core_session *s, int64_t now);

#endif
