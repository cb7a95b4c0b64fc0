/* node/store/life.h - what fill.c and receipt.c ask of life.c: the centre has begun another life. */
#ifndef NODE_STORE_LIFE_H
#define NODE_STORE_LIFE_H

#include "node/store/page.h"

/* A page's row takes the place of ours whatever its revision; what ours had beyond it is offered. */
int life_row(struct page *p, const struct base_uuid *id, int64_t rev, struct base_err *err);
/* No page has rows between these ids (NULL: from the first, to the last). */
int life_gap(struct node_db *db, struct node_table *t, const struct base_uuid *after,
             const struct base_uuid *before, struct base_err *err);
int life_filled(struct node_db *db, struct base_err *err);
int life_acknowledged(struct node_db *db, int64_t acked, struct base_err *err);

#endif
