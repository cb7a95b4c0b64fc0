/*
 * node/store/sql.h - SQL for a module's own bookkeeping (sessions, idempotency keys, devices) and for reports, without showing SQLite.
 *
 * Statements are cached per connection by their text: pass string literals. Only tables of schema/node and reads of
 * catalog tables: rows of synced tables are written through node/store/rows.h alone.
 * Catalog tables are named as in the catalog, with quotes ("patient"); uuids are 16-byte blobs there; besides the columns there are
 * id, rev, and _pending (seq of the newest pending change, 0 if none).
 */
#ifndef NODE_STORE_SQL_H
#define NODE_STORE_SQL_H

#include <stdint.h>

#include "node/store/store.h"

struct node_stmt;

/* Ready to bind; give back with node_sql_done (always, also after an error). */
int node_sql(struct node_db *db, struct node_stmt **out, const char *text, struct base_err *err);
void node_sql_text(struct node_stmt *st, int at, const char *s); /* at: 1…; NULL binds null */
void node_sql_text_len(struct node_stmt *st, int at, const char *s, size_t len);
void node_sql_i64(struct node_stmt *st, int at, int64_t v);
void node_sql_blob(struct node_stmt *st, int at, const void *p, size_t len);
void node_sql_uuid(struct node_stmt *st, int at, const struct base_uuid *u);
/* 1: a row, 0: finished, negative: error. */
int node_sql_step(struct node_stmt *st, struct base_err *err);
const char *node_sql_col_text(struct node_stmt *st, int col,
                              size_t *len); /* col: 0…; NULL if null; valid until the next step */
int64_t node_sql_col_i64(struct node_stmt *st, int col);
const void *node_sql_col_blob(struct node_stmt *st, int col, size_t *len);
bool node_sql_col_uuid(struct node_stmt *st, int col, struct base_uuid *out); /* false if null */
void node_sql_done(struct node_stmt *st);
/* Rows changed by the last statement of this connection. */
int64_t node_sql_changes(struct node_db *db);
/* Bind-free statements for small schema of a module ("CREATE TABLE IF NOT EXISTS …"); also in schema/node preferred. */
int node_sql_exec(struct node_db *db, const char *text, struct base_err *err);

#endif
