/*
 * node/store/worker.h - the store as its threads see it.
 *
 * store.c has the loop's side and the readers, writer.c the writer and its checkpointer.
 */
#ifndef NODE_STORE_WORKER_H
#define NODE_STORE_WORKER_H

#include <uv.h>

#include "node/store/internal.h"

enum {
    STORE_LISTENERS_MAX = 8, /* moved and failed together */
    STORE_VFS_NAME_BYTES = 32,
    STORE_PATH_BYTES = 4096
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
    int generation; /* of the file its connection is to */
};

/* Who moves the WAL's pages into the database while the writer goes on. */
enum check_state { CHECK_IDLE, CHECK_WANTED, CHECK_RUNS, CHECK_DONE };

struct node_store {
    uv_async_t async; /* its data is the store */
    uv_mutex_t mutex; /* everything down to the line below */
    uv_cond_t write_wake, read_wake, check_wake;
    enum check_state check;
    struct job_list reads, writes, dones;
    struct moved_batch *moved_first, **moved_last;
    struct shared_catalog *newest;
    struct interned *names;
    int running;
    bool closing, frozen;
    int generation; /* one more with each other data key */
    int failed_rc;
    char failed_text[BASE_ERR_TEXT_BYTES];
    /* ---- the loop's, or unchanging ---- */
    struct worker writer, checkpointer, readers[NODE_STORE_READERS];
    struct node_identity identity;
    struct shared_catalog *loop_catalog, *retired;
    struct {
        node_moved_cb moved;
        node_failed_cb failed;
        void *user;
    } listeners[STORE_LISTENERS_MAX];
    int listener_count;
    int64_t event_last; /* the writer's, and the next */
    bool commits_fail;
    void (*closed)(void *user);
    void *closed_user;
    bool vfs_registered;
    char vfs[STORE_VFS_NAME_BYTES];        /* of the present generation; the mutex's */
    char vfs_before[STORE_VFS_NAME_BYTES]; /* "": no connection is left on it */
    char path[STORE_PATH_BYTES];
};

void job_list_add(struct job_list *l, struct node_job *job);
struct node_job *job_list_take(struct job_list *l);

/* Runs a statement that is cached. */
int worker_sql(struct node_db *db, const char *sql, struct base_err *err);
/* Disk full, damage: the loop hears of it once, however many jobs it hit. */
void worker_failed(struct node_store *s, int rc, const char *text);
void worker_ends(struct node_store *s);
/* The connection is to the present file: opened anew if another data key has come. */
int worker_follow(struct worker *w, struct base_err *err);
void rekey_run(struct worker *w, struct node_job *job);
void catalog_publish(struct node_store *s, struct shared_catalog *c);
void writer_main(void *arg);
void checkpointer_main(void *arg);

#endif
