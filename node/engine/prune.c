/*
 * Old acknowledged changes leave the log (node/store/prune.h), and old entries that the centre has leave the audit trail
 * (node/store/audit_trim.c), beside the lanes and never in their way: a day of contact is noted once, then some go with each
 * tick, and only while the ward writes nothing and the centre is followed. While the centre doubts the trail none of it goes.
 */
#include "node/engine/internal.h"

#include <stdlib.h>

#include "node/store/audit.h"
#include "node/store/prune.h"
#include "sync/base/clock.h"
#include "sync/base/log.h"

enum { PRUNE_RETRY_MS = 60 * 1000, PRUNE_DAY_MS = 24 * 3600 * 1000, CUT_TEXT_BYTES_MAX = 256 };

struct engine_prune {
    struct node_job job;
    struct node_engine *e;
    int64_t keep_days, audit_days;
    int64_t day, noted; /* being noted, and noted last; -1: none */
    int64_t next_ms;
    int64_t gone, gone_today, trimmed;
    bool busy, more, doubted;
};

/* A checkpoint in front of what the centre has had for so long, signed; its entries go with this step and the next ones. */
static int trim(struct engine_prune *p, struct node_db *db, struct base_err *err)
{
    struct node_audit_head head = {0};
    struct base_buf text;
    uint8_t key[NODE_KEYS_PUBLIC_BYTES];
    uint8_t sig[NODE_KEYS_SIGNATURE_BYTES];
    struct base_err why = {0};
    int rc = p->doubted ? 0 : node_audit_cut_due(db, p->audit_days, &head, &why);
    if (rc == BASE_ECORRUPT) { /* `everward audit verify` tells; it is no reason to keep the log */
        base_log(BASE_LOG_ERROR, "audit", "the trail is not trimmed: %s", why.text);
        rc = 0;
    } else if (rc != 0) {
        return base_fail(err, rc, "%s", why.text);
    }
    if (rc == 0 && head.n > 0) {
        base_buf_init(&text, CUT_TEXT_BYTES_MAX);
        node_audit_cut_text(&text, &node_db_identity(db)->node_id, &head);
        rc = base_buf_check(&text) == 0 ? 0 : base_fail(err, BASE_ETOOBIG, "a checkpoint's text");
        if (rc == 0) {
            node_keys_sign_as(p->e->keys, text.data, text.len, sig, key);
            rc = node_audit_cut_add(db, &head, key, sig, err);
        }
        base_buf_release(&text);
    }
    if (rc == 0)
        rc = node_audit_trim_step(db, &p->trimmed, &p->more, err);
    p->more = p->more || head.n > 0;
    return rc;
}

static int run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct engine_prune *p = (struct engine_prune *)job;
    p->trimmed = 0;
    int rc = p->day != p->noted ? node_prune_day(db, p->day, err) : 0;
    if (rc == 0)
        rc = node_prune_step(db, p->keep_days, &p->gone, &p->more, err);
    return rc != 0 || p->more ? rc
                              : trim(p, db, err); /* one of them at a time: a tablet may wait */
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
        if (p->trimmed > 0)
            base_log(BASE_LOG_INFO, "audit_trimmed", "%lld entries that the centre has",
                     (long long)p->trimmed);
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
    p->doubted = e->witness[0] != '\0';
    e->under_way++;
    p->job = (struct node_job){.run = run, .done = done, .write = true};
    node_store_write(e->store, &p->job);
}

int engine_prune_open(struct node_engine *e, int64_t keep_days, int64_t audit_days,
                      struct base_err *err)
{
    struct engine_prune *p = calloc(1, sizeof *p);
    if (p == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for the log's keeper");
    p->e = e;
    p->keep_days = keep_days > 0 ? keep_days : NODE_PRUNE_DAYS_DEFAULT;
    p->audit_days = audit_days > 0 ? audit_days : NODE_AUDIT_KEEP_DAYS_DEFAULT;
    p->noted = -1;
    e->prune = p;
    return 0;
}

void engine_prune_close(struct node_engine *e)
{
    free(e->prune);
    e->prune = NULL;
}
