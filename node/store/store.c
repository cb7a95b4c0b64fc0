/*
 * The store's threads.
 *
 *   loop --> writes --> writer: BEGIN; each job in a savepoint; COMMIT --> dones, moved --> loop
 *        --> reads  --> readers: each job in a read transaction        --> dones
 *
 * A write is answered after the COMMIT that holds it. If that fails, every job of the group is told
 * so, and what the writer knows by heart goes back with the file.
 */
#include <pthread.h>
#include <stdlib.h>
#include <uv.h>

#include "node/cryptvfs/cryptvfs.h"
#include "node/store/internal.h"
#include "sync/base/clock.h"
#include "sync/base/log.h"

enum {
    LISTENERS_MAX = 8,            /* moved and failed together */
    GROUP_US_MAX = 5000,          /* a group that has run for so long commits without more jobs */
    CHECKPOINT_IDLE_MS = 200,     /* without a write */
    CHECKPOINT_IDLE_PAGES = 512,  /* and this much in the WAL: into the database */
    CHECKPOINT_BUSY_PAGES = 8192, /* 32 MiB: even in between writes */
    CHECKPOINT_WAIT_MS = 50,      /* for readers, when the WAL is to be cut */
    WAL_KEEP_BYTES = 64 << 20,
    PATH_BYTES_MAX = 4096,
    VFS_NAME_BYTES = 32
};

struct job_list {
    struct node_job *first, **last;
    int count;
};

struct moved_batch {
    struct node_moved *list;
    int count;
    int64_t last;
    struct moved_batch *next;
};

struct interned {
    struct interned *next;
    char name[];
};

struct worker {
    struct node_store *store;
    struct node_db db;
    uv_thread_t thread;
    bool open, running;
};

struct node_store {
    uv_async_t async; /* its data is the store */
    uv_mutex_t mutex; /* everything down to the line below */
    uv_cond_t write_wake, read_wake;
    struct job_list reads, writes, dones;
    struct moved_batch *moved_first, **moved_last;
    struct shared_catalog *newest;
    struct interned *names;
    int running;
    bool closing;
    int failed_rc;
    char failed_text[BASE_ERR_TEXT_BYTES];
    /* ---- the loop's, or unchanging ---- */
    struct worker writer, readers[NODE_STORE_READERS];
    struct node_identity identity;
    struct shared_catalog *loop_catalog, *retired;
    struct {
        node_moved_cb moved;
        node_failed_cb failed;
        void *user;
    } listeners[LISTENERS_MAX];
    int listener_count;
    int64_t event_last; /* the writer's, and the next */
    bool commits_fail;
    void (*closed)(void *user);
    void *closed_user;
    bool vfs_registered;
    char vfs[VFS_NAME_BYTES];
};

static void list_add(struct job_list *l, struct node_job *job)
{
    if (l->first == NULL)
        l->last = &l->first;
    job->next = NULL;
    *l->last = job;
    l->last = &job->next;
    l->count++;
}

static struct node_job *list_take(struct job_list *l)
{
    struct node_job *job = l->first;
    if (job != NULL) {
        l->first = job->next;
        l->count--;
    }
    return job;
}

const char *store_intern(struct node_store *s, const char *name)
{
    uv_mutex_lock(&s->mutex);
    struct interned *i = s->names;
    while (i != NULL && strcmp(i->name, name) != 0)
        i = i->next;
    if (i == NULL && (i = malloc(sizeof *i + strlen(name) + 1)) != NULL) {
        memcpy(i->name, name, strlen(name) + 1);
        i->next = s->names;
        s->names = i;
    }
    uv_mutex_unlock(&s->mutex);
    return i == NULL ? NULL : i->name;
}

struct shared_catalog *store_newest_catalog(struct node_store *s, int64_t generation)
{
    struct shared_catalog *c = NULL;
    uv_mutex_lock(&s->mutex);
    if (s->newest != NULL && s->newest->generation == generation)
        c = shared_catalog_hold(s->newest);
    uv_mutex_unlock(&s->mutex);
    return c;
}

static void catalog_publish(struct node_store *s, struct shared_catalog *c)
{
    struct shared_catalog *old = NULL;
    uv_mutex_lock(&s->mutex);
    if (s->newest != c) {
        old = s->newest;
        s->newest = shared_catalog_hold(c);
    }
    uv_mutex_unlock(&s->mutex);
    shared_catalog_drop(old);
}

/* Disk full, damage: the loop hears of it once, however many jobs it hit. */
static void note_failure(struct node_store *s, int rc, const char *text)
{
    if (rc != BASE_EFULL && rc != BASE_EIO && rc != BASE_ECORRUPT)
        return;
    uv_mutex_lock(&s->mutex);
    s->failed_rc = rc;
    snprintf(s->failed_text, sizeof s->failed_text, "%s", text);
    uv_mutex_unlock(&s->mutex);
}

static int run_sql(struct node_db *db, const char *sql, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st, sql, err);
    return rc == 0 ? stmt_run(st, err) : rc;
}

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
    int rc = run_sql(db, "SAVEPOINT job", &err);
    if (rc == 0) {
        job->err = (struct base_err){0};
        db->doomed = false;
        rc = job->run(job, db, &job->err);
        stmt_reset_busy(db);
        if (rc == 0 && db->doomed)
            rc = base_fail(&job->err, BASE_EIO, "a write failed half-way");
        job->rc = rc;
        if (rc == 0 && (rc = run_sql(db, "RELEASE job", &err)) != 0)
            job_failed(job, rc, &err);
    } else {
        job_failed(job, rc, &err);
    }
    if (rc == 0)
        return true;
    db->heads = heads;
    db->moved.count = moved;
    if (sqlite3_get_autocommit(db->sql) != 0 || run_sql(db, "ROLLBACK TO job", NULL) != 0 ||
        run_sql(db, "RELEASE job", NULL) != 0)
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
        (void)run_sql(db, "ROLLBACK", NULL);
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
    for (struct node_job *job; (job = list_take(group)) != NULL;)
        list_add(&s->dones, job);
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
    struct node_job *job = list_take(l);
    uv_mutex_unlock(&s->mutex);
    return job;
}

static void run_group(struct node_store *s, struct node_db *db, struct node_job *job)
{
    struct job_list group = {0};
    struct store_heads heads = db->heads;
    struct base_err err = {0};
    int64_t deadline = base_clock_monotonic_us() + GROUP_US_MAX;
    int rc = run_sql(db, "BEGIN IMMEDIATE", &err);
    bool whole = rc == 0;
    do {
        job->rc = 0;
        list_add(&group, job);
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
        rc = run_sql(db, "COMMIT", &err);
    struct moved_batch *batch = NULL;
    if (rc == 0) {
        if (s->commits_fail)
            base_log(BASE_LOG_INFO, "commits_again", "writes are taken again");
        s->commits_fail = false;
        if (db->catalog != s->newest)
            catalog_publish(s, db->catalog);
        batch = batch_of(s, db);
    } else {
        note_failure(s, rc, err.text);
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

/* The next job, or NULL to end. In between, what waits in the WAL goes into the database. */
static struct node_job *wait_write(struct node_store *s, struct node_db *db)
{
    struct node_job *job = NULL;
    int64_t wal_most = 0;
    if (db->wal_pages >= CHECKPOINT_BUSY_PAGES)
        checkpoint(db, SQLITE_CHECKPOINT_PASSIVE);
    uv_mutex_lock(&s->mutex);
    while ((job = list_take(&s->writes)) == NULL && !s->closing) {
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

static void worker_ends(struct node_store *s)
{
    uv_mutex_lock(&s->mutex);
    s->running--;
    uv_mutex_unlock(&s->mutex);
    uv_async_send(&s->async);
}

static void writer_main(void *arg)
{
    struct worker *w = arg;
    struct node_job *job;
    (void)pthread_setname_np(pthread_self(), "store-writer");
    while ((job = wait_write(w->store, &w->db)) != NULL)
        run_group(w->store, &w->db, job);
    worker_ends(w->store);
}

static void run_read(struct node_store *s, struct node_db *db, struct node_job *job)
{
    job->err = (struct base_err){0};
    job->rc = run_sql(db, "BEGIN", &job->err);
    if (job->rc == 0)
        job->rc = catalog_refresh(db, &job->err);
    if (job->rc == 0)
        job->rc = job->run(job, db, &job->err);
    stmt_reset_busy(db);
    if (sqlite3_get_autocommit(db->sql) == 0)
        (void)run_sql(db, "ROLLBACK", NULL);
    if (job->rc != 0)
        note_failure(s, job->rc, job->err.text);
    uv_mutex_lock(&s->mutex);
    list_add(&s->dones, job);
    uv_mutex_unlock(&s->mutex);
    uv_async_send(&s->async);
}

static void reader_main(void *arg)
{
    struct worker *w = arg;
    struct node_store *s = w->store;
    (void)pthread_setname_np(pthread_self(), "store-reader");
    for (;;) {
        uv_mutex_lock(&s->mutex);
        struct node_job *job;
        while ((job = list_take(&s->reads)) == NULL && !s->closing)
            uv_cond_wait(&s->read_wake, &s->mutex);
        uv_mutex_unlock(&s->mutex);
        if (job == NULL)
            break;
        run_read(s, &w->db, job);
    }
    worker_ends(s);
}

static void submit(struct node_store *s, struct node_job *job, struct job_list *l, uv_cond_t *wake)
{
    uv_mutex_lock(&s->mutex);
    bool refused = s->closing || l->count >= NODE_STORE_QUEUE_MAX;
    if (refused) {
        job->rc = s->closing ? base_fail(&job->err, BASE_ECANCELED, "the store is closing")
                             : base_fail(&job->err, BASE_EBUSY, "too many jobs wait");
        list_add(&s->dones, job);
    } else {
        list_add(l, job);
        uv_cond_signal(wake);
    }
    uv_mutex_unlock(&s->mutex);
    if (refused)
        uv_async_send(&s->async);
}

void node_store_read(struct node_store *s, struct node_job *job)
{
    job->write = false;
    submit(s, job, &s->reads, &s->read_wake);
}

void node_store_write(struct node_store *s, struct node_job *job)
{
    job->write = true;
    submit(s, job, &s->writes, &s->write_wake);
}

static void store_free(struct node_store *s)
{
    for (int i = 0; i < NODE_STORE_READERS; i++)
        if (s->readers[i].open)
            connection_close(&s->readers[i].db);
    if (s->writer.open)
        connection_close(&s->writer.db);
    if (s->vfs_registered)
        (void)node_cryptvfs_unregister(s->vfs);
    shared_catalog_drop(s->newest);
    shared_catalog_drop(s->loop_catalog);
    shared_catalog_drop(s->retired);
    while (s->names != NULL) {
        struct interned *next = s->names->next;
        free(s->names);
        s->names = next;
    }
    uv_cond_destroy(&s->read_wake);
    uv_cond_destroy(&s->write_wake);
    uv_mutex_destroy(&s->mutex);
    free(s);
}

static void on_async_closed(uv_handle_t *handle)
{
    struct node_store *s = handle->data;
    void (*closed)(void *user) = s->closed;
    void *user = s->closed_user;
    store_free(s);
    if (closed != NULL)
        closed(user);
}

static void join_workers(struct node_store *s)
{
    if (s->writer.running)
        uv_thread_join(&s->writer.thread);
    for (int i = 0; i < NODE_STORE_READERS; i++)
        if (s->readers[i].running)
            uv_thread_join(&s->readers[i].thread);
}

static void tell_moved(struct node_store *s, struct moved_batch *b)
{
    while (b != NULL) {
        struct moved_batch *next = b->next;
        for (int i = 0; i < s->listener_count; i++)
            if (s->listeners[i].moved != NULL)
                s->listeners[i].moved(s->listeners[i].user, b->list, b->count, b->last);
        free(b->list);
        free(b);
        b = next;
    }
}

static void on_async(uv_async_t *async)
{
    struct node_store *s = async->data;
    char text[BASE_ERR_TEXT_BYTES];
    uv_mutex_lock(&s->mutex);
    struct job_list dones = s->dones;
    struct moved_batch *moved = s->moved_first;
    int failed = s->failed_rc;
    snprintf(text, sizeof text, "%s", s->failed_text);
    s->dones = (struct job_list){0};
    s->moved_first = NULL;
    s->moved_last = &s->moved_first;
    s->failed_rc = 0;
    shared_catalog_drop(s->retired);
    s->retired = NULL;
    if (s->newest != s->loop_catalog) {
        s->retired = s->loop_catalog;
        s->loop_catalog = shared_catalog_hold(s->newest);
    }
    bool over = s->closing && s->running == 0;
    uv_mutex_unlock(&s->mutex);
    for (struct node_job *job; (job = list_take(&dones)) != NULL;)
        if (job->done != NULL)
            job->done(job);
    tell_moved(s, moved);
    for (int i = 0; failed != 0 && i < s->listener_count; i++)
        if (s->listeners[i].failed != NULL)
            s->listeners[i].failed(s->listeners[i].user, failed, text);
    uv_mutex_lock(&s->mutex);
    over = over && s->dones.first == NULL;
    uv_mutex_unlock(&s->mutex);
    if (over && !uv_is_closing((uv_handle_t *)&s->async)) {
        join_workers(s);
        uv_close((uv_handle_t *)&s->async, on_async_closed);
    }
}

void node_store_close(struct node_store *s, void (*closed)(void *user), void *user)
{
    uv_mutex_lock(&s->mutex);
    s->closed = closed;
    s->closed_user = user;
    s->closing = true;
    uv_cond_broadcast(&s->write_wake);
    uv_cond_broadcast(&s->read_wake);
    uv_mutex_unlock(&s->mutex);
}

static int open_worker(struct node_store *s, struct worker *w, const char *path, bool writer,
                       struct base_err *err)
{
    w->store = s;
    w->db.store = s;
    w->db.identity = &s->identity;
    int rc = connection_open(&w->db, s->vfs, path, writer, false, err);
    w->open = rc == 0;
    if (rc == 0 && writer)
        rc = connection_migrate(&w->db, err);
    if (rc == 0 && writer)
        rc = identity_load(&w->db, &s->identity, err);
    if (rc == 0)
        rc = catalog_refresh(&w->db, err);
    if (rc == 0 && writer)
        rc = heads_load(&w->db, err);
    if (rc == 0)
        base_uuid_format(&s->identity.tenant_id, w->db.tenant);
    if (rc == 0 && writer)
        catalog_publish(s, w->db.catalog);
    return rc;
}

static int start_worker(struct node_store *s, struct worker *w, uv_thread_cb main,
                        struct base_err *err)
{
    uv_mutex_lock(&s->mutex);
    int uv = uv_thread_create(&w->thread, main, w);
    w->running = uv == 0;
    s->running += uv == 0;
    uv_mutex_unlock(&s->mutex);
    return uv == 0 ? 0 : base_fail(err, BASE_ENOMEM, "starting a thread: %s", uv_strerror(uv));
}

static int open_all(struct node_store *s, const char *dir, const uint8_t data_key[32],
                    struct base_err *err)
{
    static atomic_int stores;
    char path[PATH_BYTES_MAX];
    if (snprintf(path, sizeof path, "%s/node.db", dir) >= (int)sizeof path)
        return base_fail(err, BASE_EINVALID, "the replica's folder has too long a name");
    connection_setup();
    snprintf(s->vfs, sizeof s->vfs, "everward-%d", atomic_fetch_add(&stores, 1));
    int rc = node_cryptvfs_register(s->vfs, data_key, err);
    s->vfs_registered = rc == 0;
    if (rc == 0)
        rc = open_worker(s, &s->writer, path, true, err);
    for (int i = 0; rc == 0 && i < NODE_STORE_READERS; i++)
        rc = open_worker(s, &s->readers[i], path, false, err);
    if (rc == 0)
        s->loop_catalog = shared_catalog_hold(s->newest);
    return rc == 0 ? 0 : base_err_prefix(err, rc, "%s", path);
}

int node_store_open(struct node_store **out, struct uv_loop_s *loop, const char *dir,
                    const uint8_t data_key[32], struct base_err *err)
{
    struct node_store *s = calloc(1, sizeof *s);
    if (s == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for the store");
    BASE_ASSERT(uv_mutex_init(&s->mutex) == 0 && uv_cond_init(&s->write_wake) == 0 &&
                uv_cond_init(&s->read_wake) == 0);
    s->moved_last = &s->moved_first;
    s->event_last = base_clock_wall_ms() * 1024; /* ascends over restarts too */
    int rc = open_all(s, dir, data_key, err);
    if (rc != 0) {
        store_free(s);
        return rc;
    }
    BASE_ASSERT(uv_async_init(loop, &s->async, on_async) == 0);
    s->async.data = s;
    rc = start_worker(s, &s->writer, writer_main, err);
    for (int i = 0; rc == 0 && i < NODE_STORE_READERS; i++)
        rc = start_worker(s, &s->readers[i], reader_main, err);
    if (rc != 0) {
        node_store_close(s, NULL, NULL); /* ends on the loop, without telling anybody */
        uv_async_send(&s->async);
        return rc;
    }
    *out = s;
    return 0;
}

void node_store_on_moved(struct node_store *s, node_moved_cb cb, void *user)
{
    BASE_ASSERT(s->listener_count < LISTENERS_MAX);
    s->listeners[s->listener_count].moved = cb;
    s->listeners[s->listener_count++].user = user;
}

void node_store_on_failed(struct node_store *s, node_failed_cb cb, void *user)
{
    BASE_ASSERT(s->listener_count < LISTENERS_MAX);
    s->listeners[s->listener_count].failed = cb;
    s->listeners[s->listener_count++].user = user;
}

const struct core_catalog *node_store_catalog(const struct node_store *s)
{
    return &s->loop_catalog->c;
}

const struct core_catalog *node_db_catalog(const struct node_db *db)
{
    return &db->catalog->c;
}

const struct node_identity *node_store_identity(const struct node_store *s)
{
    return &s->identity;
}

const struct node_identity *node_db_identity(const struct node_db *db)
{
    return db->identity;
}
