/*
 * tests/unit/node/store/support.h - a real sealed replica in a folder of its own, jobs that are
 * waited for, and short ways to write what a centre would send.
 */
#ifndef TESTS_UNIT_NODE_STORE_SUPPORT_H
#define TESTS_UNIT_NODE_STORE_SUPPORT_H

#include "tests/unit/check.h"

#include <uv.h>

#include "node/store/internal.h"

struct fixture {
    char dir[64];
    uv_loop_t loop;
    struct node_store *store;
    struct node_identity id;
    struct base_err err; /* of the last job */
    int moved, failed, failed_rc;
    struct node_moved last_moved;
};

typedef int (*body_cb)(struct node_db *db, void *arg, struct base_err *err);

extern const uint8_t test_key[32];
extern const char test_tenant[], test_node[], test_timeline[];
extern const char test_catalog[]; /* version 7 */

extern const char *fixture_parent;     /* the folder that a fixture's own is made in; "/tmp" */
void fixture_make(struct fixture *f);  /* created and opened, without a catalog */
void fixture_ready(struct fixture *f); /* with the catalog, filled with nothing, cursor 0 */
void fixture_open(struct fixture *f);
void fixture_close(struct fixture *f);
void fixture_remove(struct fixture *f); /* closes, and deletes the folder */
int on_writer(struct fixture *f, body_cb run, void *arg);
int on_reader(struct fixture *f, body_cb run, void *arg);

/* rc of the call; f->err has the text. */
int apply_catalog(struct fixture *f, const char *json);
int apply_feed(struct fixture *f, const char *body, struct node_feed_result *r);
int apply_page(struct fixture *f, const char *body, struct node_page_result *r);
int begin_fill(struct fixture *f, int64_t head);
int finish_fill(struct fixture *f);
struct node_sync_state state_of(struct fixture *f);
/* Acknowledges up to seq; one outcome (or outcome -1). */
int receipt(struct fixture *f, int64_t seq, int64_t outcome_seq, int outcome);

/* A feed of one cut: rows are the lines between, each with its newline. seq 0: another's. */
int feed_cut(struct fixture *f, int64_t cut, int64_t seq, const char *rows);
/* ["table","op",["id","tenant","rev",rest]]\n; rest: further JSON values or "". */
char *feed_row(const char *table, char op, const char *id, int64_t rev, const char *rest);

/* id n of a series: ascending with n. */
const char *uuid_n(int n);
struct base_uuid uuid_of(const char *text);

/* One edit with up to four columns, NULL ends; a value "\1" stands for null. */
int edit(struct fixture *f, enum core_op op, const char *table, const char *id,
         const char *const pairs[], struct node_version *out);
int edit_at(struct fixture *f, enum core_op op, const char *table, const char *id,
            const char *const pairs[], struct node_version seen, struct node_version *out);

/* The visible value of a column, "" for null, "(none)" if there is no such row. */
const char *shown(struct fixture *f, const char *table, const char *id, const char *column);
enum node_sync sync_of(struct fixture *f, const char *table, const char *id);
struct node_version version_of(struct fixture *f, const char *table, const char *id);
int64_t sql_i64(struct fixture *f, const char *sql);

#endif
