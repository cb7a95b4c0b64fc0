/*
 * sync/gateway/fhir/seen.h - inner part of a batch: what is known about each (table, id) it holds
 * or names. Open addressing; twice as many places as GW_IMPORT_BATCH_ROWS_MAX rows with their
 * references can need, so that a search always ends.
 */
#ifndef SYNC_GATEWAY_FHIR_SEEN_H
#define SYNC_GATEWAY_FHIR_SEEN_H

#include "sync/base/uuid.h"
#include "sync/gateway/fhir/import.h"
#include "sync/gateway/fhir/tables.h"

enum { GW_REFS_MAX = 8 }; /* columns of one table that name rows */
enum { GW_SEEN_PLACES = 1 << 16 };

_Static_assert((GW_REFS_MAX + 1) * GW_IMPORT_BATCH_ROWS_MAX < GW_SEEN_PLACES,
               "a batch's references fit");

enum gw_seen_state {
    GW_SEEN_EMPTY,
    GW_SEEN_PRESENT,
    GW_SEEN_MISSING,
    GW_SEEN_ROW /* of this batch */
};

struct gw_seen_place {
    struct base_uuid id;
    enum gw_ward_table table;
    enum gw_seen_state state;
    int row; /* of GW_SEEN_ROW */
};

struct gw_seen {
    struct gw_seen_place places[GW_SEEN_PLACES];
};

struct gw_seen_place *gw_seen_find(struct gw_seen *s, enum gw_ward_table table,
                                   const struct base_uuid *id);

#endif
