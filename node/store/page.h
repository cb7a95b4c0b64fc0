/*
 * node/store/page.h - a bootstrap page (docs/PROTOCOL.md), row by row; for fill and repair.
 *
 * Checks format, tenant, table, order of ids, count and end. Not: which rows are taken.
 */
#ifndef NODE_STORE_PAGE_H
#define NODE_STORE_PAGE_H

#include "node/store/internal.h"

struct page {
    struct node_db *db;
    struct node_table *table;
    struct line_reader lines;
    struct base_arena arena; /* of the row at hand, as it was restored, and what is here of it */
    struct core_image image; /* of the row at hand */
    int64_t
        restored_rev; /* of the row at hand: written by the centre's present life since; 0: not */
    struct core_image restored; /* the row at that revision; empty: the centre does not know it */
    bool published;
    int64_t head, rows;
    char before[BASE_UUID_CHARS + 1]; /* "" or the id that all rows come behind */
    struct base_uuid last;
    bool any, ended;
    char next[BASE_UUID_CHARS + 1]; /* once page_row has given 0: "" for the last page */
};

/* Reads the header. page_close also after an error. BASE_ESTALE: the page is older than the
 * cursor: rows that a cut deleted meanwhile would come back. */
int page_open(struct page *p, struct node_db *db, const char *body, size_t len,
              struct base_err *err);
/* The rows begin behind p->before. */
int page_check_start(struct page *p, struct base_err *err);
/* 1: a row in p->image, 0: the end, checked; negative: error. */
int page_row(struct page *p, struct base_uuid *id, int64_t *rev, struct base_err *err);
void page_close(struct page *p);

#endif
