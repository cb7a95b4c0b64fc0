/*
 * node/api/conflicts.h - conflicts as the desk, the chart and a resolution show them. In jobs.
 */
#ifndef NODE_API_CONFLICTS_H
#define NODE_API_CONFLICTS_H

#include "node/api/internal.h"

int api_render_conflict(struct api_call *c, struct node_db *db, const struct node_row *conflict,
                        struct base_err *err);
bool api_conflict_readable(struct api_call *c, struct node_db *db, const struct node_row *conflict);
/* A JSON list of those that match. */
int api_render_conflicts_of(struct api_call *c, struct node_db *db, const struct api_select *select,
                            struct base_err *err);

#endif
