/*
 * node/store/internal.h - what the parts of the store share. Nothing outside this folder and its
 * tests.
 *
 * Layers, lowest first: connection and statements (connection.c, statement.c), tables of the
 * catalog (table.c, row.c), overlay (overlay.c), then the functions of the public headers. The
 * threads (store.c) know jobs and connections only.
 */
#ifndef NODE_STORE_INTERNAL_H
#define NODE_STORE_INTERNAL_H

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/store/rows.h"
#include "node/store/sql.h"
#include "node/store/store.h"
#include "node/store/sync.h"
#include "sync/base/buf.h"
#include "sync/core/image.h"
#include "sync/core/merge.h"
#include "sync/core/replica.h"

enum {
    STORE_STMTS_MAX = 256,          /* cached per connection by their text */
    STORE_STMT_BUCKETS = 512,       /* a power of two */
    STORE_MOVED_MAX = 131072,       /* rows told of one job; a feed body holds fewer */
    STORE_ROW_BYTES_MAX = 16 << 20, /* scratch for one row, decoded */
    STORE_IMAGE_BYTES_MAX = 16 << 20,
    STORE_WRITE_BYTES_MAX = CORE_BATCH_BYTES_MAX / 2, /* lines of one local transaction */
    STORE_FILL_BARE_ROWS_MAX = 2000000, /* an index over so many is built in memory, 100 MB */
    STORE_DIRTY_MAX = 8192              /* rows that wait to be laid out anew */
};

/* A catalog that several connections and the loop share. */
struct shared_catalog {
    atomic_int refs;
    int64_t generation;
    struct core_catalog c;
};
struct shared_catalog *shared_catalog_hold(struct shared_catalog *c);
void shared_catalog_drop(struct shared_catalog *c); /* NULL is nothing */

enum table_stmt {
    TABLE_GET,       /* by id: id, rev, _pending, columns */
    TABLE_EXISTS,    /* by id: shown, or deleted here while the delete waits */
    TABLE_INSERT,    /* fails if the id is there */
    TABLE_PUT,       /* whatever is there */
    TABLE_NEWER,     /* only over a lower rev */
    TABLE_NOT_OLDER, /* also over the same rev */
    TABLE_SETTLE, /* only over changes of ours up to the seq given as pending; none lies there after it */
    TABLE_DELETE,
    TABLE_DELETE_OLDER,
    TABLE_STMTS
};

/* A synced table as this connection uses it. */
struct node_table {
    const struct core_table *core;
    const char *name; /* lives as long as the store */
    int patient_ord;  /* CORE_ORD_ID: the row is the patient; 0: the row has none */
    sqlite3_stmt *stmt[TABLE_STMTS];
};

struct node_stmt {
    struct node_db *db;
    sqlite3_stmt *st;
    char *text;
    uint64_t hash;
    uint64_t used; /* for finding the one unused longest */
    bool busy, cached;
    int bind_rc;
    struct node_stmt *next;
};

/* What the writer knows by heart; goes back with the savepoint that is undone. */
struct store_heads {
    int64_t seq, audit;
    uint8_t chain[CORE_CHAIN_BYTES];
    uint8_t audit_chain[CORE_CHAIN_BYTES];
};

struct store_moved {
    struct node_moved *list;
    int count, cap, lost;
};

struct node_db {
    sqlite3 *sql;
    struct node_store *store; /* NULL: a connection of its own (setup, tools) */
    const struct node_identity *identity;
    const uint8_t *audit_key; /* 32 bytes; NULL: zeros (tools and tests that have no keys) */
    char tenant[BASE_UUID_CHARS + 1];
    bool writer;
    bool doomed;  /* the job at hand must be undone, whatever it says */
    bool guarded; /* the statement being prepared comes from outside (sql.h) */
    struct shared_catalog *catalog;
    struct node_table *tables; /* [i] is catalog->c.tables[i] */
    struct node_stmt *buckets[STORE_STMT_BUCKETS];
    int stmt_count, busy_count;
    uint64_t stmt_clock;
    struct store_heads heads;
    struct store_moved moved;
    int wal_pages;     /* as of the last commit */
    int checked_pages; /* of those, when the checkpointer was last woken */
};

/* connection.c: SQLite's errors become ours here, and nowhere else. what: names what was done. */
int store_code(sqlite3 *sql);
int store_fail(struct node_db *db, struct base_err *err, const char *what);
/* Before SQLite is used at all; later it changes nothing. */
void connection_setup(void);
int connection_open(struct node_db *db, const char *vfs, const char *path, bool writer, bool create,
                    struct base_err *err);
void connection_close(struct node_db *db);
int connection_exec(struct node_db *db, const char *sql, struct base_err *err);
int connection_migrate(struct node_db *db, struct base_err *err);

/* open.c */
/* Site, and the names; never whose it is. */
int identity_rename(struct node_db *db, const struct node_identity *id, struct base_err *err);
int identity_load(struct node_db *db, struct node_identity *out, struct base_err *err);
int heads_load(struct node_db *db, struct base_err *err);

/* audit.c */
void audit_chain_start(uint8_t chain[CORE_CHAIN_BYTES], const struct node_identity *id);

/* outbox.c: the present life, and the change that it begins behind: the chain begins there. */
int life_start(struct node_db *db, int64_t *incarnation, int64_t *after, struct base_err *err);

/* prune.c: changes below it may be gone (prune.h); the centre knows no more of ours than acked: days of contact tell no more. */
int prune_floor(struct node_db *db, int64_t *seq, struct base_err *err);
int prune_lower(struct node_db *db, int64_t acked, struct base_err *err);
int prune_lower_audited(struct node_db *db, int64_t sent, struct base_err *err);

/* meta.c: the store's own values. */
int meta_i64(struct node_db *db, const char *name, int64_t fallback, int64_t *out,
             struct base_err *err);
int meta_set_i64(struct node_db *db, const char *name, int64_t value, struct base_err *err);
int meta_set(struct node_db *db, const char *name, const char *value, struct base_err *err);
int meta_text(struct node_db *db, const char *name, char *out, size_t bytes, struct base_err *err);
int meta_set_now(struct node_db *db, const char *name, struct base_err *err);

/* statement.c */
int stmt_get(struct node_db *db, struct node_stmt **out, const char *text, struct base_err *err);
/* Steps a statement that gives no row, and gives it back. */
int stmt_run(struct node_stmt *st, struct base_err *err);
void stmt_drop_all(struct node_db *db);
void stmt_reset_busy(struct node_db *db);

/* catalog.c */
int catalog_refresh(struct node_db *db, struct base_err *err); /* as this transaction sees it */
void catalog_forget(struct node_db *db);
int catalog_indexes_make(struct node_db *db, const struct core_table *t, struct base_err *err);
int catalog_indexes_drop(struct node_db *db, const struct core_table *t, struct base_err *err);

/* store.c */
const char *store_intern(struct node_store *s, const char *name);
struct shared_catalog *store_newest_catalog(struct node_store *s, int64_t generation);

/* table.c: which table, its statements, its values. table_of also knows a table of another
 * catalog's instance. */
struct node_table *table_of(struct node_db *db, const struct core_table *t);
struct node_table *table_named(struct node_db *db, const char *name, size_t len);
int table_stmt(struct node_db *db, struct node_table *t, enum table_stmt which, sqlite3_stmt **out,
               struct base_err *err);
void table_release(struct node_table *t);
void sql_name(struct base_buf *out, const char *name); /* quoted */
/* The expression that a column is compared, ordered and indexed by. */
void sql_key(struct base_buf *out, const struct core_column *c);
bool column_has_key(const struct core_column *c);
void sql_columns(struct base_buf *out, const struct core_table *t, const char *before);

/* row.c */
struct row_now {
    bool exists;
    int64_t rev, pending;
    struct core_image image; /* texts in the arena given */
};
/* Binds one value in the form its column has in the file; text and room must stay until the
 * statement is reset. BASE_EPROTO: not a value of that type. */
int value_bind(sqlite3_stmt *st, int at, enum core_type type, struct core_text v,
               struct base_uuid *room, struct base_err *err);
/* The value of a column of the result as text, in the arena. */
int value_read(sqlite3_stmt *st, int col, enum core_type type, struct base_arena *arena,
               struct core_text *out, struct base_err *err);
/* From a result (id, rev, _pending, columns) standing on a row; fields of id and tenant too. */
int row_read(struct node_db *db, struct node_table *t, sqlite3_stmt *st, struct base_arena *arena,
             struct row_now *out, struct base_err *err);
int row_get(struct node_db *db, struct node_table *t, const struct base_uuid *id,
            struct base_arena *arena, struct row_now *out, struct base_err *err);
/* Shown, or hidden by a delete of ours. */
int row_exists(struct node_db *db, struct node_table *t, const struct base_uuid *id, bool *there,
               struct base_err *err);
/* INSERT, PUT, NEWER, NOT_OLDER or SETTLE. *changed: the row was written. */
int row_write(struct node_db *db, struct node_table *t, enum table_stmt how,
              const struct base_uuid *id, const struct core_image *im, int64_t rev, int64_t pending,
              bool *changed, struct base_err *err);
int row_delete(struct node_db *db, struct node_table *t, const struct base_uuid *id, bool *changed,
               struct base_err *err);
void row_moved(struct node_db *db, const struct node_table *t, const struct base_uuid *id, char op,
               bool local, const struct core_image *im);
/* id, tenant and rev of an image that came from outside. BASE_EDENIED: another tenant. */
int image_check(struct node_db *db, const struct node_table *t, const struct core_image *im,
                struct base_uuid *id, int64_t *rev, struct base_err *err);

/* overlay.c */
struct row_base {
    bool exists; /* the row has changes lying over it */
    bool has_image, gone;
    int64_t rev;
    struct core_image image;
};
int base_get(struct node_db *db, struct node_table *t, const struct base_uuid *id,
             struct base_arena *arena, struct row_base *out, struct base_err *err);
/* im NULL: the centre has no image. New: BASE_EEXISTS if there is one. */
int base_insert(struct node_db *db, struct node_table *t, const struct base_uuid *id,
                const struct core_image *im, int64_t rev, struct base_err *err);
int base_update(struct node_db *db, struct node_table *t, const struct base_uuid *id,
                const struct core_image *im, int64_t rev, bool gone, struct base_err *err);
int base_delete(struct node_db *db, struct node_table *t, const struct base_uuid *id,
                struct base_err *err);
int base_any(struct node_db *db, bool *any, struct base_err *err);
/* Lays what is still pending over the centre's image and writes what is to be seen. */
int overlay_refresh(struct node_db *db, struct node_table *t, const struct base_uuid *id,
                    struct base_err *err);
/* A row without an overlay gets one: a change of it lies over it again. */
int overlay_again(struct node_db *db, struct node_table *t, const struct base_uuid *id,
                  struct base_err *err);
/* Newest receipt or newest outcome seen has moved: the overlays that have both go. */
int overlay_settle(struct node_db *db, struct base_err *err);

/* Rows to be laid out anew, each once. */
struct dirty_rows {
    struct dirty_row {
        struct node_table *table;
        struct base_uuid id;
    } * list;
    int count;
};
void dirty_release(struct dirty_rows *d);
int dirty_add(struct node_db *db, struct dirty_rows *d, struct node_table *t,
              const struct base_uuid *id, struct base_err *err);
int dirty_flush(struct node_db *db, struct dirty_rows *d, struct base_err *err);

/* change.c: the log. Writes line, chain, row; *seq is the new change's. first: of its transaction
 * (0: this one). */
int change_append(struct node_db *db, struct core_change *c, int64_t *seq, size_t *bytes,
                  struct base_err *err);

/* One image that came from the centre (page, repair), with its overlay if it has one. */
int image_apply(struct node_db *db, struct node_table *t, const struct base_uuid *id, int64_t rev,
                const struct core_image *im, bool equal, bool *changed, struct base_err *err);

/* lines.c: bodies of several lines. */
struct line_reader {
    const char *s, *end;
    int64_t number;
};
/* False at the end. BASE_EPROTO through *rc: the last line has no newline, or a line is empty. */
bool line_next(struct line_reader *r, const char **line, size_t *len, int *rc,
               struct base_err *err);

/* functions.c */
int functions_register(sqlite3 *sql);
/* 100 ns steps since 0001-01-01 UTC; false: not a moment. */
bool moment_ticks(struct core_text v, int64_t *out);
void decimal_key(struct base_buf *out, struct core_text v);
void text_fold(struct base_buf *out, struct core_text v);

/* query_sql.c */
struct query_sql;

static inline struct core_text text_null(void)
{
    return (struct core_text){NULL, 0};
}

#endif
