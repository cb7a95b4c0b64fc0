/*
 * The store's threads.
 *
 *   loop --> writes --> writer: BEGIN; each job in a savepoint; COMMIT --> dones, moved --> loop
 *        --> reads  --> readers: each job in a read transaction        --> dones
 *
 * Here: the loop's side and the readers.
 */
#include <pthread.h>
#include <stdlib.h>

#include "node/cryptvfs/cryptvfs.h"
#include "node/store/worker.h"
#include "sync/base/clock.h"
#include "sync/base/log.h"

void job_list_add(struct job_list *l, struct node_job *job)
{
    if (l->first == NULL)
        l->last = &l->first;
    job->next = NULL;
    *l->last = job;
    l->last = &job->next;
    l->count++;
}

struct node_job *job_list_take(struct job_list *l)
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

void catalog_publish(struct node_store *s, struct shared_catalog *c)
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

void worker_failed(struct node_store *s, int rc, const char *text)
{
    if (rc != BASE_EFULL && rc != BASE_EIO && rc != BASE_ECORRUPT)
        return;
    uv_mutex_lock(&s->mutex);
    s->failed_rc = rc;
    snprintf(s->failed_text, sizeof s->failed_text, "%s", text);
    uv_mutex_unlock(&s->mutex);
}

int worker_sql(struct node_db *db, const char *sql, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st, sql, err);
    return rc == 0 ? stmt_run(st, err) : rc;
}

void worker_ends(struct node_store *s)
{
    uv_mutex_lock(&s->mutex);
    s->running--;
    uv_mutex_unlock(&s->mutex);
    uv_async_send(&s->async);
}

static void run_read(struct node_store *s, struct worker *w, struct node_job *job)
{
    struct node_db *db = &w->db;
    job->err = (struct base_err){0};
    job->rc = worker_follow(w, &job->err);
    if (job->rc == 0)
        job->rc = worker_sql(db, "BEGIN", &job->err);
    if (job->rc == 0)
        job->rc = catalog_refresh(db, &job->err);
    if (job->rc == 0)
        job->rc = job->run(job, db, &job->err);
    stmt_reset_busy(db);
    if (db->sql != NULL && sqlite3_get_autocommit(db->sql) == 0)
        (void)worker_sql(db, "ROLLBACK", NULL);
    if (job->rc != 0)
        worker_failed(s, job->rc, job->err.text);
    uv_mutex_lock(&s->mutex);
    job_list_add(&s->dones, job);
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
        while ((job = job_list_take(&s->reads)) == NULL && !s->closing &&
               w->generation == s->generation)
            uv_cond_wait(&s->read_wake, &s->mutex);
        bool over = s->closing;
        uv_mutex_unlock(&s->mutex);
        if (job == NULL && over)
            break;
        if (job == NULL) { /* nobody asks, but the old file and its key shall go */
            if (worker_follow(w, NULL) != 0)
                w->generation++; /* the next job says why */
            continue;
        }
        run_read(s, w, job);
    }
    worker_ends(s);
}

static void submit(struct node_store *s, struct node_job *job, struct job_list *l, uv_cond_t *wake)
{
    uv_mutex_lock(&s->mutex);
    bool over = s->closing || (s->frozen && job->write && !job->though_frozen);
    bool refused = over || l->count >= NODE_STORE_QUEUE_MAX;
    if (refused) {
        job->rc = over ? base_fail(&job->err, BASE_ECANCELED, "the store is closing")
                       : base_fail(&job->err, BASE_EBUSY, "too many jobs wait");
        job_list_add(&s->dones, job);
    } else {
        job_list_add(l, job);
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

void node_store_freeze(struct node_store *s, bool frozen)
{
    uv_mutex_lock(&s->mutex);
    s->frozen = frozen;
    uv_mutex_unlock(&s->mutex);
}

static void store_free(struct node_store *s)
{
    for (int i = 0; i < NODE_STORE_READERS; i++)
        if (s->readers[i].open)
            connection_close(&s->readers[i].db);
    if (s->checkpointer.open)
        connection_close(&s->checkpointer.db);
    if (s->writer.open)
        connection_close(&s->writer.db);
    if (s->vfs_before[0] != '\0')
        (void)node_cryptvfs_unregister(s->vfs_before);
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
    uv_cond_destroy(&s->check_wake);
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
    if (s->checkpointer.running)
        uv_thread_join(&s->checkpointer.thread);
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
    for (struct node_job *job; (job = job_list_take(&dones)) != NULL;)
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
    uv_cond_broadcast(&s->check_wake);
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
    const char *path = s->path;
    if (snprintf(s->path, sizeof s->path, "%s/node.db", dir) >= (int)sizeof s->path)
        return base_fail(err, BASE_EINVALID, "the replica's folder has too long a name");
    connection_setup();
    snprintf(s->vfs, sizeof s->vfs, "everward-%d", atomic_fetch_add(&stores, 1));
    int rc = node_cryptvfs_register(s->vfs, data_key, err);
    s->vfs_registered = rc == 0;
    if (rc == 0)
        rc = open_worker(s, &s->writer, path, true, err);
    if (rc == 0)
        rc = open_worker(s, &s->checkpointer, path, false, err);
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
                uv_cond_init(&s->read_wake) == 0 && uv_cond_init(&s->check_wake) == 0);
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
    if (rc == 0)
        rc = start_worker(s, &s->checkpointer, checkpointer_main, err);
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

void node_store_audit_key(struct node_store *s, const uint8_t audit_key[32])
{
    s->writer.db.audit_key = s->checkpointer.db.audit_key = audit_key;
    for (int i = 0; i < NODE_STORE_READERS; i++)
        s->readers[i].db.audit_key = audit_key;
}

void node_store_on_moved(struct node_store *s, node_moved_cb cb, void *user)
{
    BASE_ASSERT(s->listener_count < STORE_LISTENERS_MAX);
    s->listeners[s->listener_count].moved = cb;
    s->listeners[s->listener_count++].user = user;
}

void node_store_on_failed(struct node_store *s, node_failed_cb cb, void *user)
{
    BASE_ASSERT(s->listener_count < STORE_LISTENERS_MAX);
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
