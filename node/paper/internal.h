/* node/paper/internal.h - what the files of the downtime pack share. */
#ifndef NODE_PAPER_INTERNAL_H
#define NODE_PAPER_INTERNAL_H

#include "node/paper/paper.h"
#include "node/people/people.h"
#include "sync/base/arena.h"

struct paper_rows {
    int count;
    const struct node_row **list;
};

struct paper_stay {
    const struct node_row *stay, *place, *patient;
    const struct node_row *encounter; /* the one under way, or NULL */
    const char *patient_id;
};

struct paper {
    struct node_db *db;
    const struct paper_look *look;
    struct base_arena arena;
    struct base_buf *out;
    struct base_err *err;
    int stay_count;
    struct paper_stay stays[PAPER_STAYS_MAX];
    int free_count;
    const struct node_row *free[PAPER_PLACES_MAX]; /* beds with nobody in them */
};

/* html.c */
void paper_text(struct base_buf *b, struct core_text t);
struct core_text paper_value(const struct node_row *row, const char *column);
bool paper_is(const struct node_row *row, const char *column, const char *word);
void paper_whose(struct paper *p, const struct paper_stay *s); /* bed and name */
void paper_moment(struct base_buf *b, int64_t ms, const char *form);

/* rows.c */
/* Newest first by order (NULL: by id), in the arena. A catalog without the table or column: none. */
int paper_rows_of(struct paper *p, struct paper_rows *out, const char *table, const char *column,
                  const char *value, const char *order, int max);
int paper_collect(struct paper *p, const struct base_uuid *ward, const struct node_row **row);

/* medicines.c */
int paper_medicines(struct paper *p, const struct paper_stay *s);

#endif
