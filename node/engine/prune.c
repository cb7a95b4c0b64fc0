/*
 * Old acknowledged changes leave the log (node/store/prune.h), beside the lanes and never in their way: a day of contact is
 * noted once, then some changes go with each tick, and only while the ward writes nothing and the centre is followed.
 */
#include "node/engine/internal.h"

#include <stdlib.h>

#include "node/store/prune.h"
#include "sync/base/clock.h"
#include "sync/base/log.h"

enum { PRUNE_RETRY_MS = 60 * 1000, PRUNE_DAY_MS = 24 * 3600 * 1000 };

struct engine_prune {
    struct node_job job;
    struct node_engine *e;
    int64_t keep_days;
    int64_t day, noted; /* being noted, and noted last; -1: none */
    int64_t next_ms;
    int64_t gone, gone_today;
    bool busy, more;
};

static int run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct engine_prune *p = (struct engine_prune *)job;
    int rc = p->day == p->noted ? 0 : node_prune_day(db, p->day, err);
    return rc == 0 ? node_prune_step(db, p->keep_days, &p->gone, &p->more, err) : rc;
}

static void done(struct node_job *job)
{
    struct engine_prune *p = (struct engine_prune *)job;
    struct node_engine *e = p->e;
    p->busy = false;
    if (job->rc != 0) {
        base_log(BASE_LOG_WARN, "prune", "old changes could not be put away: %s", job->err.text);
        p->next_ms = base_clock_monotonic_ms() + PRUNE_RETRY_MS;
    } else {
        p->noted = p->day;
        p->gone_today += p->gone;
        p->next_ms = base_clock_monotonic_ms() + ENGINE_TICK_MS;
        if (!p->more && p->gone_today > 0) {
            base_log(BASE_LOG_INFO, "pruned",
                     "%lld changes that the centre acknowledged %lld days of contact ago",
                     (long long)p->gone_today, (long long)p->keep_days);
            p->gone_today = 0;
        }
    }
    engine_done(e);
}

/* The centre's time as it was last measured; the machine's own being set does not move it (engine_clock_follow). */
static int64_t centre_day(struct node_engine *e)
{
    engine_clock_follow(e);
    return (base_clock_wall_ms() + e->status.clock_offset_ms) / PRUNE_DAY_MS;
}

void engine_prune_tick(struct node_engine *e)
{
    struct engine_prune *p = e->prune;
    bool follows = e->session.link_open && e->session.greeted &&
                   e->session.phase == CORE_FOLLOWING && e->status.clock_offset_known &&
                   e->fence[0] == '\0' && !e->put_back;
    if (p->busy || e->stopping || !follows || e->session.outbox ||
        base_clock_monotonic_ms() < p->next_ms)
        return;
    p->day = centre_day(e);
    if (p->day == p->noted && !p->more)
        return;
    p->busy = true;
    e->under_way++;
    p->job = (struct node_job){.run = run, .done = done, .write = true};
    node_store_write(e->store, &p->job);
}

int engine_prune_open(struct node_engine *e, int64_t keep_days, struct base_err *err)
{
    struct engine_prune *p = calloc(1, sizeof *p);
    if (p == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for the log's keeper");
    p->e = e;
    p->keep_days = keep_days > 0 ? keep_days : NODE_PRUNE_DAYS_DEFAULT;
    p->noted = -1;
    e->prune = p;
    return 0;
}

void engine_prune_close(struct node_engine *e)
{
    free(e->prune);
    e->prune = NULL;
}
