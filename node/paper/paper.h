/*
 * node/paper/paper.h - the downtime pack as a file: what a ward needs on paper when its node is dead.
 *
 * Does:       one HTML page for each ward (census, then a sheet for each patient), made for A4, no script, nothing from outside;
 *             written sealed (sync/seal/pack_file.h) into a folder, again every few minutes and soon after changes.
 * Does not:   ask who may: what it writes opens only with the hospital's downtime key.
 * Thread:     paper_* functions for jobs on a store thread; node_paper_* on the loop; files on libuv's pool, one at a time.
 * Invariant:  at any moment the folder holds the last complete pack of each ward.
 */
#ifndef NODE_PAPER_PAPER_H
#define NODE_PAPER_PAPER_H

#include "node/store/rows.h"
#include "sync/base/buf.h"
#include "sync/seal/pack_file.h"

enum {
    PAPER_WARDS_MAX = 64,
    PAPER_PLACES_MAX = 1000,
    PAPER_STAYS_MAX = 300,
    PAPER_DAYS_MAX = 7,
    PAPER_HTML_BYTES_MAX = 16 * 1024 * 1024,
    PAPER_ARENA_BYTES_MAX = 128 * 1024 * 1024
};

struct paper_look {
    int64_t now_ms;
    int days;
    const char *centre_at; /* last exchange with the centre, or "" */
    bool training;         /* of nobody: every page says so */
};

/* The ids of the wards, at most PAPER_WARDS_MAX. */
int paper_wards(struct node_db *db, struct base_uuid *out, int *count, struct base_err *err);
/* One ward's document, UTF-8. BASE_ENOTFOUND: no such ward. */
int paper_ward_html(struct node_db *db, const struct base_uuid *ward, const struct paper_look *look,
                    struct base_buf *out, struct base_err *err);

struct node_paper_config {
    const char *folder;
    struct seal_pack_key key;
    int every_s, days;
};

struct node_paper_state {
    char refreshed_at[32]; /* all wards, for the last time; "": not yet */
    char problem[256];     /* "": none */
};

struct uv_loop_s;
struct node_paper;

/* changed: on the loop, whenever the state is another one. config is copied; the folder's text lives as long as it runs. */
int node_paper_start(struct node_paper **out, struct uv_loop_s *loop, struct node_store *store,
                     const struct node_paper_config *config, void *user,
                     void (*changed)(void *user, const struct node_paper_state *s),
                     struct base_err *err);
void node_paper_stop(struct node_paper *p, void (*stopped)(void *user), void *user);
/* NULL is fine. Behind the store: that still tells it what moved. */
void node_paper_free(struct node_paper *p);

#endif
