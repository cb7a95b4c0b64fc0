/*
 * sync/gateway/fhir/map.h - one FHIR R4 resource into rows of the ward tables.
 *
 * Does:       reads, checks and places what a resource says, with numbers and moments as they were
 *             written; resolves references to ids; says what it did not place and why.
 * Does not:   know the database: whether a row that a reference names is there, is the import's to
 * find. Thread:     any; pure but for the arena. Invariant:  each unit has exactly one outcome;
 * rows[0] is the resource's own row, the others hang on it. Nothing is left out without a note.
 * Notes and reasons hold names of FHIR's, never values.
 *
 * Ids: a FHIR id that is a uuid is the row's id; any other becomes
 * seal_uuid_derived(tenant, "Type/id"). Rows beside the first are derived from that name and what
 * tells them apart. So a second import meets the rows of the first.
 */
#ifndef SYNC_GATEWAY_FHIR_MAP_H
#define SYNC_GATEWAY_FHIR_MAP_H

#include "sync/base/arena.h"
#include "sync/base/uuid.h"
#include "sync/gateway/fhir/tables.h"
#include "sync/net/json.h"

enum {
    GW_FHIR_ROWS_MAX = 128, /* of one resource */
    GW_FHIR_NOTES_MAX = 64,
    GW_FHIR_REASON_BYTES = 96,
    GW_FHIR_TYPE_BYTES = 41,
    GW_FHIR_ARENA_BYTES_MAX = 64 * 1024 * 1024,
    GW_FHIR_NUMBER_BYTES_MAX = 100 /* a decimal with more characters goes to value_json */
};

struct gw_fhir_row {
    enum gw_ward_table table;
    struct base_uuid id;
    const char **values; /* [spec->count], NULL is SQL NULL; a uuid as its 36 characters */
};

enum gw_fhir_outcome {
    GW_FHIR_PLACED,
    GW_FHIR_UNPLACED, /* understood; has no place here */
    GW_FHIR_REFUSED   /* not FHIR, or not as FHIR has it */
};

struct gw_fhir_unit {
    char type[GW_FHIR_TYPE_BYTES]; /* resourceType; "?" if it has none that can be shown */
    enum gw_fhir_outcome outcome;
    char reason[GW_FHIR_REASON_BYTES]; /* of UNPLACED and REFUSED */
    struct gw_fhir_row rows[GW_FHIR_ROWS_MAX];
    int row_count;
    const char *notes[GW_FHIR_NOTES_MAX]; /* each a part of a placed resource that was left out */
    int note_count;
};

/* What "urn:uuid:…" or a full URL within a bundle stands for: "Type/id", or NULL. */
typedef const char *(*gw_fhir_bundle_cb)(void *user, const char *url);

struct gw_fhir_context {
    struct base_uuid tenant;
    struct base_arena *arena; /* the unit's rows live here */
    const char *full_url;     /* of the bundle's entry, or NULL */
    void *user;
    gw_fhir_bundle_cb bundle; /* NULL outside a bundle */
};

/* Fills out whatever the resource is. BASE_ENOMEM alone is an error. */
int gw_fhir_map(struct gw_fhir_unit *out, const cJSON *resource, const struct gw_fhir_context *ctx,
                struct base_err *err);
/* Order of loading, from 0; types without a table come last. Bundles last of all. */
int gw_fhir_order(const char *type);
/* The id under which Type/id is stored. */
void gw_fhir_id(struct base_uuid *out, const struct base_uuid *tenant, const char *type,
                const char *id);

#endif
