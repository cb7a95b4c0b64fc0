/*
 * node/api/orders.h - what an order's events make of it: a fold that no clock decides.
 *
 * A stop counts for ever. A hold counts until a resume names it (undoes_id): a resume whose author had
 * not seen the hold cannot name it, so it does not end it. In jobs.
 */
#ifndef NODE_API_ORDERS_H
#define NODE_API_ORDERS_H

#include "node/api/internal.h"

/* "draft", "active", "on-hold", "stopped" or "completed". events: of any orders, in any order. */
const char *api_order_state(const struct node_row *order, struct node_row *const *events,
                            int count);
/* The hold that a resume of this order written now would end, as text in the arena; "" if there is none. */
const char *api_order_hold(struct api_call *c, struct node_db *db, struct core_text order_id);

#endif
