/*
 * The writer: groups of jobs that share a commit. And checkpoints.
 *
 * Under load a thread of its own moves the WAL's pages into the database, beside the writes; the
 * writer then moves the few that came meanwhile, for the WAL begins anew only from its very end.
 *
 * A write is answered after the COMMIT that holds it. If that fails, every job of the group is told
 * so, and what the writer knows by heart goes back with the file.
 */
#include <pthread.h>

#include "node/cryptvfs/cryptvfs.h"
#include "node/store/worker.h"
#include "sync/base/clock.h"
#include "sync/base/log.h"

enum {
    GROUP_US_MAX = 2000,          /* a group that has run for so long commits without more jobs */
    CHECKPOINT_IDLE_MS = 200,     /* without a write */
    CHECKPOINT_IDLE_PAGES = 512,  /* and this much in the WAL: into the database */
    CHECKPOINT_BUSY_PAGES = 4096, /* 16 MiB: beside the writes */
    CHECKPOINT_TAIL_PAGES = 64,   /* so many at most come after it: writes wait for those */
    CHECKPOINT_NOW_PAGES = 16384, /* 64 MiB: it does not keep up; writes wait for all of them */
    CHECKPOINT_WAIT_MS = 50,      /* for readers, when the WAL is to be cut */
    WAL_KEEP_BYTES = 64 << 20
};

static void job_failed(struct node_job *job, int rc, const struct base_err *err)
{
    job->rc = rc;
    job->err = *err;
}

/* False: SQLite has undone the whole transaction, and the group with it. */
static bool run_write(struct node_db *db, struct node_job *job)
{
    struct store_heads heads = db->heads;
    struct shared_catalog *catalog = db->catalog;
    int moved = db->moved.count;
    struct base_err err = {0};
    int rc = worker_sql(db, "SAVEPOINT job", &err);
    if (rc == 0) {
        job->err = (struct base_err){0};
        db->doomed = false;
        rc = job->run(job, db, &job->err);
        stmt_reset_busy(db);
        if (rc == 0 && db->doomed)
            rc = base_fail(&job->err, BASE_EIO, "a write failed half-way");
        job->rc = rc;
        if (rc == 0 && (rc = worker_sql(db, "RELEASE job", &err)) != 0)
            job_failed(job, rc, &err);
    } else {
        job_failed(job, rc, &err);
    }
    if (rc == 0)
        return true;
    db->heads = heads;
    db->moved.count = moved;
    if (sqlite3_get_autocommit(db->sql) != 0 || worker_sql(db, "ROLLBACK TO job", NULL) != 0 ||
        worker_sql(db, "RELEASE job", NULL) != 0)
        return false;
    return db->catalog == catalog || catalog_refresh(db, NULL) == 0;
}

static struct moved_batch *batch_of(struct node_store *s, struct node_db *db)
{
    if (db->moved.lost > 0)
        base_log(BASE_LOG_WARN, "events_lost", "%d rows moved without an event", db->moved.lost);
    db->moved.lost = 0;
    if (db->moved.count == 0)
        return NULL;
    struct moved_batch *b = malloc(sizeof *b);
    s->event_last += db->moved.count;
    if (b == NULL) {
        base_log(BASE_LOG_WARN, "events_lost", "%d rows moved without an event", db->moved.count);
        db->moved.count = 0;
        return NULL;
    }
    *b = (struct moved_batch){
        .list = db->moved.list, .count = db->moved.count, .last = s->event_last};
    db->moved = (struct store_moved){0};
    return b;
}

static void group_undo(struct node_store *s, struct node_db *db, const struct store_heads *heads,
                       struct job_list *group, int rc, const struct base_err *err)
{
    if (sqlite3_get_autocommit(db->sql) == 0)
        (void)worker_sql(db, "ROLLBACK", NULL);
    db->heads = *heads;
    db->moved.count = db->moved.lost = 0;
    (void)catalog_refresh(db, NULL);
    for (struct node_job *job = group->first; job != NULL; job = job->next)
        if (job->rc == 0)
            job_failed(job, rc, err);
    if (!s->commits_fail) /* once: a full disk must not be filled with lines about it */
        base_log(BASE_LOG_ERROR, "commit_failed", "%d writes: %s", group->count, err->text);
    s->commits_fail = true;
}

static void group_done(struct node_store *s, struct job_list *group, struct moved_batch *batch)
{
    uv_mutex_lock(&s->mutex);
    for (struct node_job *job; (job = job_list_take(group)) != NULL;)
        job_list_add(&s->dones, job);
    if (batch != NULL) {
        batch->next = NULL;
        *s->moved_last = batch;
        s->moved_last = &batch->next;
    }
    uv_mutex_unlock(&s->mutex);
    uv_async_send(&s->async);
}

static struct node_job *next_job(struct node_store *s, struct job_list *l)
{
    uv_mutex_lock(&s->mutex);
    bool alone = l->first != NULL && l->first->exclusive;
    struct node_job *job = alone ? NULL : job_list_take(l);
    uv_mutex_unlock(&s->mutex);
    return job;
}

static void run_group(struct node_store *s, struct node_db *db, struct node_job *job)
{
    struct job_list group = {0};
    struct store_heads heads = db->heads;
    struct base_err err = {0};
    int64_t deadline = base_clock_monotonic_us() + GROUP_US_MAX;
    int rc = worker_sql(db, "BEGIN IMMEDIATE", &err);
    bool whole = rc == 0;
    do {
        job->rc = 0;
        job_list_add(&group, job);
        if (rc == 0)
            whole = run_write(db, job);
        if (!whole && rc == 0) {
            rc = job->rc;
            err = job->err;
        }
        job = whole && group.count < NODE_STORE_GROUP_MAX && base_clock_monotonic_us() < deadline
                  ? next_job(s, &s->writes)
                  : NULL;
    } while (job != NULL);
    if (rc == 0)
        rc = worker_sql(db, "COMMIT", &err);
    struct moved_batch *batch = NULL;
    if (rc == 0) {
        if (s->commits_fail)
            base_log(BASE_LOG_INFO, "commits_again", "writes are taken again");
        s->commits_fail = false;
        if (db->catalog != s->newest)
            catalog_publish(s, db->catalog);
        batch = batch_of(s, db);
    } else {
        worker_failed(s, rc, err.text);
        group_undo(s, db, &heads, &group, rc, &err);
    }
    group_done(s, &group, batch);
}

static void checkpoint(struct node_db *db, int mode)
{
    int frames = 0;
    int moved = 0;
    sqlite3_busy_timeout(db->sql, CHECKPOINT_WAIT_MS);
    int rc = sqlite3_wal_checkpoint_v2(db->sql, NULL, mode, &frames, &moved);
    sqlite3_busy_timeout(db->sql, NODE_CRYPTVFS_OPEN_WAIT_MS);
    if (rc != SQLITE_OK && rc != SQLITE_BUSY && rc != SQLITE_LOCKED)
        base_log(BASE_LOG_WARN, "checkpoint_failed", "%s", sqlite3_errmsg(db->sql));
    db->wal_pages = rc == SQLITE_OK && moved >= frames ? 0 : CHECKPOINT_IDLE_PAGES;
}

/* Under load, between two groups. */
static void checkpoint_beside(struct node_store *s, struct node_db *db)
{
    uv_mutex_lock(&s->mutex);
    enum check_state state = s->check;
    int tail = db->wal_pages - db->checked_pages; /* below 0: the WAL has begun anew since */
    bool begin =
        state == CHECK_IDLE || (state == CHECK_DONE && (tail < 0 || tail > CHECKPOINT_TAIL_PAGES));
    if (begin) {
        s->check = CHECK_WANTED;
        db->checked_pages = db->wal_pages;
        uv_cond_signal(&s->check_wake);
    } else if (state == CHECK_DONE) {
        s->check = CHECK_IDLE;
    }
    uv_mutex_unlock(&s->mutex);
    if ((state == CHECK_DONE && !begin) || db->wal_pages >= CHECKPOINT_NOW_PAGES)
        checkpoint(db, SQLITE_CHECKPOINT_PASSIVE);
}

void checkpointer_main(void *arg)
{
    struct worker *w = arg;
    struct node_store *s = w->store;
    (void)pthread_setname_np(pthread_self(), "store-check");
    uv_mutex_lock(&s->mutex);
    while (!s->closing) {
        if (s->check != CHECK_WANTED && w->generation == s->generation) {
            uv_cond_wait(&s->check_wake, &s->mutex);
            continue;
        }
        if (s->check != CHECK_WANTED) { /* another data key: the old file and its key shall go */
            uv_mutex_unlock(&s->mutex);
            bool followed = worker_follow(w, NULL) == 0;
            uv_mutex_lock(&s->mutex);
            w->generation = followed ? w->generation : s->generation;
            continue;
        }
        s->check = CHECK_RUNS;
        uv_mutex_unlock(&s->mutex);
        if (worker_follow(w, NULL) == 0)
            checkpoint(&w->db, SQLITE_CHECKPOINT_PASSIVE);
        uv_mutex_lock(&s->mutex);
        s->check = CHECK_DONE;
    }
    uv_mutex_unlock(&s->mutex);
    worker_ends(s);
}

/* The next job, or NULL to end. In between, what waits in the WAL goes into the database. */
static struct node_job *wait_write(struct node_store *s, struct node_db *db)
{
    struct node_job *job = NULL;
    int64_t wal_most = 0;
    if (db->wal_pages >= CHECKPOINT_BUSY_PAGES)
        checkpoint_beside(s, db);
    uv_mutex_lock(&s->mutex);
    while ((job = job_list_take(&s->writes)) == NULL && !s->closing) {
        if (db->wal_pages < CHECKPOINT_IDLE_PAGES) {
            uv_cond_wait(&s->write_wake, &s->mutex);
            continue;
        }
        wal_most = (int64_t)db->wal_pages * NODE_CRYPTVFS_PAGE_BYTES;
        int late =
            uv_cond_timedwait(&s->write_wake, &s->mutex, (uint64_t)CHECKPOINT_IDLE_MS * 1000000);
        if (late != UV_ETIMEDOUT || s->writes.first != NULL)
            continue;
        uv_mutex_unlock(&s->mutex);
        checkpoint(db, wal_most >= WAL_KEEP_BYTES ? SQLITE_CHECKPOINT_TRUNCATE
                                                  : SQLITE_CHECKPOINT_PASSIVE);
        uv_mutex_lock(&s->mutex);
    }
    uv_mutex_unlock(&s->mutex);
    return job;
}

void writer_main(void *arg)
{
    struct worker *w = arg;
    struct node_job *job;
    (void)pthread_setname_np(pthread_self(), "store-writer");
    while ((job = wait_write(w->store, &w->db)) != NULL) {
        struct job_list one = {0};
        struct base_err err = {0};
        int rc = w->db.sql == NULL ? worker_follow(w, &err) : 0;
        if (rc == 0 && !job->exclusive) {
            run_group(w->store, &w->db, job);
            continue;
        }
        if (rc == 0) {
            rekey_run(w, job);
        } else { /* the file could not be opened again behind another data key: nothing is done, the next job tries */
            job->rc = rc;
            job->err = err;
        }
        job_list_add(&one, job);
        group_done(w->store, &one, NULL);
    }
    worker_ends(w->store);
}
