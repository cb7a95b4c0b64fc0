/*
 * When the packs are written.
 *
 *   idle ─(every_s over, or changes and LEAST_MS over)─> wards (read job) ─> render one (read job) ─> seal, write (pool) ─┐
 *    ^                                                                         ^                                       │
 *    └──────────── files of wards that are gone (pool) <── no ward is left ────┴───────────────────────────────────────┘
 *
 * One job and one file at a time: requests get in between. A failure ends the round, is told, and the next round tries again.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "node/cli/files.h"
#include "node/paper/paper.h"
#include "node/store/sync.h"
#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/seal/seal.h"

enum { TICK_MS = 1000, LEAST_MS = 30 * 1000, STUCK_MS = 5 * 60 * 1000, NAME_BYTES = 64 };

static const char suffix[] = ".ewdown";

struct node_paper {
    struct node_job job; /* first: cast from it */
    uv_timer_t timer;
    uv_work_t work;
    struct node_store *store;
    struct node_paper_config config;
    struct node_paper_state state;
    struct base_uuid wards[PAPER_WARDS_MAX];
    int ward_count, at;
    char centre_at[32];
    struct base_buf html;
    int64_t began_ms, round_wall_ms,
        last_ms; /* monotonic but for the wall; last: of the last round's end */
    bool working, dirty, stopping, timer_closed, tried;
    int rc;
    struct base_err err;
    void *user;
    void (*changed)(void *user, const struct node_paper_state *s);
    void (*stopped)(void *user);
    void *stop_user;
};

static void ended_maybe(struct node_paper *p)
{
    if (!p->stopping || p->working || !p->timer_closed)
        return;
    void (*stopped)(void *user) = p->stopped;
    void *user = p->stop_user;
    stopped(user);
}

void node_paper_free(struct node_paper *p)
{
    if (p == NULL)
        return;
    if (p->html.data != NULL)
        seal_wipe(p->html.data, p->html.cap);
    base_buf_release(&p->html);
    free(p);
}

static void tell(struct node_paper *p, const char *problem)
{
    if (strcmp(p->state.problem, problem) != 0) {
        if (problem[0] != '\0')
            base_log(BASE_LOG_ERROR, "downtime_folder", "%s", problem);
        else
            base_log(BASE_LOG_INFO, "downtime_folder", "is refreshed again");
    }
    (void)snprintf(p->state.problem, sizeof p->state.problem, "%s", problem);
    p->changed(p->user, &p->state);
}

static void round_over(struct node_paper *p, int rc, const char *text)
{
    char problem[sizeof p->state.problem];
    p->working = false;
    p->last_ms = base_clock_monotonic_ms();
    if (!p->stopping && rc != 0) {
        (void)snprintf(problem, sizeof problem,
                       "the downtime folder is not refreshed: %.150s; free or mend it", text);
        tell(p, problem);
    } else if (!p->stopping && p->ward_count > 0) {
        base_time_format(p->round_wall_ms, p->state.refreshed_at);
        tell(p, "");
    }
    ended_maybe(p);
}

/* ---- files, on libuv's pool ---------------------------------------------------------------- */

static void name_of(const struct base_uuid *ward, char out[NAME_BYTES])
{
    char id[BASE_UUID_CHARS + 1];
    base_uuid_format(ward, id);
    (void)snprintf(out, NAME_BYTES, "%s%s", id, suffix);
}

static void render_next(struct node_paper *p);

static void write_work(uv_work_t *work)
{
    struct node_paper *p = work->data;
    struct base_buf sealed;
    char name[NAME_BYTES];
    name_of(&p->wards[p->at], name);
    base_buf_init(&sealed, PAPER_HTML_BYTES_MAX + SEAL_PACK_OVERHEAD_BYTES);
    p->rc = seal_pack_write(&sealed, &p->config.key, p->html.data, p->html.len, &p->err);
    if (p->rc == 0)
        p->rc = node_file_write(p->config.folder, name, sealed.data, sealed.len, &p->err);
    base_buf_release(&sealed);
}

static void write_done(uv_work_t *work, int status)
{
    struct node_paper *p = work->data;
    (void)status;
    if (p->rc != 0 || p->stopping) {
        round_over(p, p->rc, p->err.text);
        return;
    }
    p->at++;
    render_next(p);
}

static bool is_gone(const struct node_paper *p, const char *name)
{
    struct base_uuid id;
    if (strlen(name) != BASE_UUID_CHARS + sizeof suffix - 1 ||
        !base_uuid_parse(&id, name, BASE_UUID_CHARS) || strcmp(name + BASE_UUID_CHARS, suffix) != 0)
        return false; /* not ours */
    for (int i = 0; i < p->ward_count; i++)
        if (base_uuid_equal(&id, &p->wards[i]))
            return false;
    return true;
}

/* Behind a round that wrote every ward there is; a folder may be another node's, too, so only a round with wards. */
static void sweep_work(uv_work_t *work)
{
    struct node_paper *p = work->data;
    char path[NODE_PATH_BYTES_MAX];
    DIR *dir = opendir(p->config.folder);
    for (struct dirent *e = NULL; dir != NULL && (e = readdir(dir)) != NULL;) {
        if (!is_gone(p, e->d_name))
            continue;
        node_path(path, p->config.folder, e->d_name);
        (void)unlink(path);
    }
    if (dir != NULL)
        (void)closedir(dir);
    p->rc = 0;
}

static void sweep_done(uv_work_t *work, int status)
{
    (void)status;
    round_over(work->data, 0, "");
}

/* ---- reading, on a store thread ------------------------------------------------------------ */

static int render_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct node_paper *p = (struct node_paper *)job;
    struct paper_look look = {.now_ms = base_clock_wall_ms(),
                              .days = p->config.days,
                              .centre_at = p->centre_at,
                              .training = node_db_identity(db)->training};
    return paper_ward_html(db, &p->wards[p->at], &look, &p->html, err);
}

static void render_done(struct node_job *job)
{
    struct node_paper *p = (struct node_paper *)job;
    if (job->rc == BASE_ENOTFOUND && !p->stopping) { /* closed since the round began */
        p->at++;
        render_next(p);
    } else if (job->rc != 0 || p->stopping) {
        round_over(p, job->rc, job->err.text);
    } else if (uv_queue_work(p->timer.loop, &p->work, write_work, write_done) != 0) {
        round_over(p, BASE_EBUSY, "no thread is free");
    }
}

static void render_next(struct node_paper *p)
{
    if (p->at == p->ward_count) {
        if (p->ward_count == 0 ||
            uv_queue_work(p->timer.loop, &p->work, sweep_work, sweep_done) != 0)
            round_over(p, 0, "");
        return;
    }
    base_buf_clear(&p->html);
    p->job = (struct node_job){.run = render_run, .done = render_done};
    node_store_read(p->store, &p->job);
}

static int wards_run(struct node_job *job, struct node_db *db, struct base_err *err)
{
    struct node_paper *p = (struct node_paper *)job;
    struct node_sync_state s;
    int rc = node_sync_state_get(db, &s, err);
    if (rc == 0)
        (void)snprintf(p->centre_at, sizeof p->centre_at, "%s", s.last_pull_at);
    return rc == 0 ? paper_wards(db, p->wards, &p->ward_count, err) : rc;
}

static void wards_done(struct node_job *job)
{
    struct node_paper *p = (struct node_paper *)job;
    p->at = 0;
    if (job->rc != 0 || p->stopping)
        round_over(p, job->rc, job->err.text);
    else
        render_next(p);
}

/* ---- when ---------------------------------------------------------------------------------- */

static void on_tick(uv_timer_t *timer)
{
    struct node_paper *p = timer->data;
    int64_t now = base_clock_monotonic_ms();
    int64_t passed = now - p->last_ms;
    int64_t every = (int64_t)p->config.every_s * 1000;
    int64_t least = every < LEAST_MS ? every : LEAST_MS;
    if (p->working) {
        if (now - p->began_ms > STUCK_MS && p->state.problem[0] == '\0')
            tell(p, "the downtime folder does not answer; look at its disk or mount");
        return;
    }
    if (p->tried && passed < every && !(p->dirty && passed >= least))
        return;
    p->working = p->tried = true;
    p->dirty = false;
    p->began_ms = now;
    p->round_wall_ms = base_clock_wall_ms();
    p->job = (struct node_job){.run = wards_run, .done = wards_done};
    node_store_read(p->store, &p->job);
}

static void on_moved(void *user, const struct node_moved *moved, int count, int64_t last)
{
    struct node_paper *p = user;
    (void)moved;
    (void)last;
    p->dirty = p->dirty || count > 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct node_paper *p = handle->data;
    p->timer_closed = true;
    ended_maybe(p);
}

int node_paper_start(struct node_paper **out, struct uv_loop_s *loop, struct node_store *store,
                     const struct node_paper_config *config, void *user,
                     void (*changed)(void *user, const struct node_paper_state *s),
                     struct base_err *err)
{
    struct node_paper *p = calloc(1, sizeof *p);
    if (p == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory");
    p->store = store;
    p->config = *config;
    p->user = user;
    p->changed = changed;
    p->timer.data = p->work.data = p;
    base_buf_init(&p->html, PAPER_HTML_BYTES_MAX);
    (void)uv_timer_init(loop, &p->timer);
    (void)uv_timer_start(&p->timer, on_tick, TICK_MS, TICK_MS);
    node_store_on_moved(store, on_moved, p);
    *out = p;
    return 0;
}

void node_paper_stop(struct node_paper *p, void (*stopped)(void *user), void *user)
{
    p->stopping = true;
    p->stopped = stopped;
    p->stop_user = user;
    (void)uv_timer_stop(&p->timer);
    uv_close((uv_handle_t *)&p->timer, on_timer_closed);
}
