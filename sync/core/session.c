#include "sync/core/session.h"

#include <stddef.h>

#include "sync/base/err.h"

const char *core_phase_name(enum core_phase p)
{
    static const char *const names[] = {"greeting", "catalog", "filling", "following", "stopped"};
    return names[p];
}

/* The one setter. */
static void enter(struct core_session *s, enum core_phase phase)
{
    s->phase = phase;
    s->greeted = phase != CORE_GREETING && phase != CORE_STOPPED;
}

/* Where a greeted session goes on. A session that must greet anew (the other lane was refused meanwhile) stays there. */
static enum core_phase phase_after(const struct core_session *s)
{
    if (!s->greeted)
        return s->phase;
    if (s->catalog_have < s->catalog_want)
        return CORE_CATALOG;
    return s->filled ? CORE_FOLLOWING : CORE_FILLING;
}

void core_session_init(struct core_session *s, int64_t now, bool link_open, bool filled,
                       int64_t catalog_version)
{
    *s = (struct core_session){.link_open = link_open,
                               .phase = CORE_GREETING,
                               .filled = filled,
                               .lost = true,
                               .outbox = true, /* until a look into it says otherwise */
                               .catalog_have = catalog_version,
                               .batch = CORE_SESSION_BATCH_FIRST,
                               .progress_at = now};
}

static enum core_do pull_action(enum core_phase phase)
{
    static const enum core_do actions[] = {CORE_DO_HELLO, CORE_DO_CATALOG, CORE_DO_FILL,
                                           CORE_DO_FEED, CORE_DO_HELLO};
    return actions[phase];
}

static bool ready(const struct core_lane *lane, int64_t now, int64_t *until)
{
    if (lane->busy)
        return false;
    if (lane->not_before <= now)
        return true;
    if (*until < 0 || lane->not_before < *until)
        *until = lane->not_before;
    return false;
}

enum core_do core_session_next(struct core_session *s, int64_t now, int64_t *until)
{
    *until = -1;
    if (!s->link_open)
        return CORE_DO_WAIT;
    if (s->greeted && s->lost) { /* an outage is not a standstill */
        s->lost = false;
        s->progress_at = now;
    }
    if (s->greeted && s->outbox && ready(&s->push, now, until)) {
        s->push.busy = true;
        s->outbox_again = false;
        return CORE_DO_PUSH;
    }
    if (s->draining && s->phase == CORE_FOLLOWING &&
        s->pull.not_before < s->fed_at + CORE_SESSION_DRAIN_FEED_MS)
        s->pull.not_before = s->fed_at + CORE_SESSION_DRAIN_FEED_MS;
    if (ready(&s->pull, now, until)) {
        s->pull.busy = true;
        if (s->phase == CORE_FOLLOWING)
            s->fed_at = now;
        return pull_action(s->phase);
    }
    return CORE_DO_WAIT;
}

void core_session_on_link(struct core_session *s, int64_t now, bool open)
{
    s->link_open = open;
    s->pull.not_before = s->push.not_before = 0;
    s->lost = true;
    enter(s, CORE_GREETING);
}

void core_session_on_kick(struct core_session *s)
{
    s->pull.not_before = 0;
    if (s->push.failures > 0)
        s->push.not_before = 0;
}

void core_session_on_local(struct core_session *s, int64_t now)
{
    if (!s->outbox)
        s->progress_at = now;
    s->outbox = true;
    s->outbox_again = true;
}

static void pulled(struct core_session *s)
{
    s->pull.busy = false;
    s->pull.failures = 0;
    s->pull.not_before = 0;
}

void core_session_on_hello(struct core_session *s, int64_t catalog_version, bool filled)
{
    pulled(s);
    s->filled = filled;
    s->catalog_want = catalog_version;
    /* The centre was put back: its next catalog may bear the number of ours. */
    if (s->catalog_have > catalog_version)
        s->catalog_have = -1;
    s->greeted =
        s->link_open; /* closed by hand while the answer was worked on: greeted again when it opens */
    enter(s, phase_after(s));
}

void core_session_on_catalog(struct core_session *s, int64_t version, bool filled)
{
    pulled(s);
    s->catalog_have = s->catalog_want = version; /* a newer one that was hoped for may not exist */
    s->filled = filled;
    enter(s, phase_after(s));
}

void core_session_on_fill(struct core_session *s, bool done)
{
    pulled(s);
    s->filled = done;
    enter(s, phase_after(s));
}

void core_session_on_feed(struct core_session *s, int64_t catalog_version)
{
    pulled(s);
    if (s->catalog_want < catalog_version)
        s->catalog_want = catalog_version;
    enter(s, phase_after(s));
}

/* Towards the goal time; down by half at most, for one slow batch tells little. */
static int next_batch(int count, int64_t took_ms)
{
    int64_t most = (int64_t)count * CORE_SESSION_BATCH_GROWTH;
    int64_t wanted = took_ms <= 0 ? most : (int64_t)count * CORE_SESSION_BATCH_GOAL_MS / took_ms;
    if (wanted > most)
        wanted = most;
    if (wanted < count / 2)
        wanted = count / 2;
    if (wanted < CORE_SESSION_BATCH_MIN)
        wanted = CORE_SESSION_BATCH_MIN;
    return (int)(wanted > CORE_SESSION_BATCH_MAX ? CORE_SESSION_BATCH_MAX : wanted);
}

void core_session_on_pushed(struct core_session *s, int64_t now, int count, bool more,
                            int64_t took_ms)
{
    s->push.busy = false;
    s->push.failures = 0;
    s->outbox = more || s->outbox_again;
    s->push.not_before = s->outbox && count < s->batch / 2 ? now + CORE_SESSION_COMPANY_MS : 0;
    bool draining = s->outbox && count >= CORE_SESSION_DRAIN_BATCH;
    if (s->draining && !draining)
        s->pull.not_before = 0;
    s->draining = draining;
    s->progress_at = now;
    if (count > s->batch / 2) /* about full (whole transactions): its time tells about the size */
        s->batch = next_batch(count, took_ms);
}

/* Full jitter (somewhere between nothing and the bound), so that two hundred nodes do not come back at once. */
static int64_t pause_ms(int failures, int64_t at_least_ms, uint32_t random)
{
    int64_t bound = CORE_SESSION_PAUSE_MIN_MS;
    for (int i = 1; i < failures && bound < CORE_SESSION_PAUSE_MAX_MS; i++)
        bound *= 2;
    if (bound > CORE_SESSION_PAUSE_MAX_MS)
        bound = CORE_SESSION_PAUSE_MAX_MS;
    return at_least_ms + (int64_t)(random % (uint32_t)bound) + 1;
}

void core_session_on_failed(struct core_session *s, enum core_lane_name name, enum core_failure why,
                            int64_t now, int64_t at_least_ms, uint32_t random)
{
    struct core_lane *lane = name == CORE_LANE_PULL ? &s->pull : &s->push;
    if (name == CORE_LANE_PUSH)
        s->draining = false;
    lane->busy = false;
    lane->failures++;
    lane->not_before = now + pause_ms(lane->failures, at_least_ms, random);
    switch (why) {
    case CORE_FAILED_PASSING:
        if (name == CORE_LANE_PULL) {
            s->lost = true;
            core_session_on_doubt(s);
        } else if (s->batch / 2 >= CORE_SESSION_BATCH_MIN) {
            s->batch /= 2; /* perhaps it is too much for this line */
        }
        break;
    case CORE_FAILED_STALE:
        s->catalog_want = s->catalog_have + 1;
        if (s->greeted)
            enter(s, CORE_CATALOG);
        break;
    case CORE_FAILED_REGREET:
        enter(s, CORE_GREETING);
        break;
    case CORE_FAILED_REFUSED:
        s->lost = true;
        enter(s, CORE_STOPPED);
        s->pull.not_before = now + CORE_SESSION_REFUSED_MS;
        break;
    }
}

void core_session_on_doubt(struct core_session *s)
{
    if (s->phase != CORE_STOPPED)
        enter(s, CORE_GREETING);
}

bool core_session_stuck(struct core_session *s, int64_t now)
{
    if (!s->link_open || !s->greeted || !s->outbox || now - s->progress_at < CORE_SESSION_STUCK_MS)
        return false;
    s->progress_at = now;
    s->resets++;
    s->push.failures = 0; /* busy stays: whoever works for the lane says when it ends */
    s->push.not_before = s->pull.not_before = 0;
    enter(s, CORE_GREETING);
    return true;
}
