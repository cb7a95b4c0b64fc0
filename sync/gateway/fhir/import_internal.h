/*
 * sync/gateway/fhir/import_internal.h - what the parts of the import share: counting (report.c),
 * reading (source.c, bundle.c), batches (batch.c), their SQL (sql.c), what waits (spill.c).
 */
#ifndef SYNC_GATEWAY_FHIR_IMPORT_INTERNAL_H
#define SYNC_GATEWAY_FHIR_IMPORT_INTERNAL_H

#include <libpq-fe.h>

#include "sync/base/buf.h"
#include "sync/gateway/fhir/import.h"
#include "sync/gateway/fhir/map.h"

/* ---- counting ------------------------------------------------------------------------------- */

int gw_report_type(struct gw_import_report *r, const char *name);
void gw_report_reason(struct gw_import_report *r, int type, enum gw_import_about about,
                      const char *text);

/* ---- files ---------------------------------------------------------------------------------- */

struct gw_file {
    char *path;
    int order; /* by the type that its name begins with */
};

struct gw_files {
    struct gw_file *list;
    int count, cap;
    uint64_t skipped;
};

/* All .ndjson, .jsonl and .json below the paths, in the order of loading. */
int gw_files_find(struct gw_files *out, const char *const *paths, int count, struct base_err *err);
void gw_files_release(struct gw_files *f);

/* One text that should hold one resource or bundle. text NULL: the line is too long. */
typedef int (*gw_text_cb)(void *user, uint64_t line, const char *text, size_t len,
                          struct base_err *err);
int gw_file_read(const char *path, void *user, gw_text_cb each, struct base_err *err);

/* ---- bundles -------------------------------------------------------------------------------- */

struct gw_bundle;
/* Splits the text of a bundle into its entries' texts. 0 and *out NULL: it is no bundle. */
int gw_bundle_open(struct gw_bundle **out, const char *text, size_t len, struct base_err *err);
void gw_bundle_close(struct gw_bundle *b);
int gw_bundle_count(const struct gw_bundle *b);
const char *gw_bundle_type(const struct gw_bundle *b); /* "transaction"; "" if it says none */
/* The entry's parsed text (owned by the caller: cJSON_Delete). */
int gw_bundle_entry(const struct gw_bundle *b, int i, cJSON **out, struct base_err *err);
/* gw_fhir_bundle_cb */
const char *gw_bundle_resolve(void *bundle, const char *url);

/* ---- batches -------------------------------------------------------------------------------- */

enum gw_unit_state { GW_UNIT_ALIVE, GW_UNIT_WRITTEN, GW_UNIT_DEFERRED, GW_UNIT_UNPLACED };

struct gw_batch_unit {
    int type; /* in the report */
    int first, count;
    enum gw_unit_state state;
};

struct gw_batch_row {
    struct gw_fhir_row row;
    int unit;
    bool dropped; /* a child that cannot be */
    bool touched; /* inserted or changed by this batch */
};

struct gw_seen; /* hash of (table, id) */
struct gw_spill;
struct gw_import;

struct gw_batch {
    struct base_arena arena;
    struct gw_batch_unit *units;
    struct gw_batch_row *rows;
    int unit_count, row_count, cap;
    struct gw_seen *seen;
    bool in_flight;
};

struct gw_import {
    const struct gw_import_options *options;
    struct gw_import_report *report;
    struct base_uuid tenant;
    char tenant_text[BASE_UUID_CHARS + 1];
    PGconn *pg;
    char *sql[GW_WARD_TABLES], *compare[GW_WARD_TABLES];
    struct gw_batch batches[2];
    int current;
    struct gw_spill *spill; /* what waits for rows that have not come */
    bool last_round;        /* nothing more comes: what is missing stays missing */
    struct gw_known *known; /* rows that are in the database for sure */
    uint64_t done;          /* resources */
    uint64_t deferred;      /* in this round */
};

int gw_batch_init(struct gw_batch *b, int rows, struct base_err *err);
void gw_batch_release(struct gw_batch *b);
/* Adds a unit; sends the batch when it is full. */
int gw_batch_add(struct gw_import *im, int type, const struct gw_fhir_row *rows, int count,
                 struct base_err *err);
/* Sends what there is and waits until everything is in. */
int gw_batch_drain(struct gw_import *im, struct base_err *err);
/* Which of the ids of a table are there: present[i] is set. */
int gw_sql_present(struct gw_import *im, enum gw_ward_table table, const struct base_uuid *ids,
                   int count, bool *present, struct base_err *err);
/* Statements of (tenant, ids, columns…) as arrays; the caller frees them. NULL: out of memory. */
char *gw_sql_insert(const struct gw_ward_spec *s);
char *gw_sql_compare(const struct gw_ward_spec *s);
int gw_sql_open(struct gw_import *im, struct base_err *err);
void gw_sql_close(struct gw_import *im);
int gw_sql_send(struct gw_import *im, struct gw_batch *b, struct base_err *err);
/* Results of what was sent; row by row where the database refuses the batch. */
int gw_sql_finish(struct gw_import *im, struct gw_batch *b, struct base_err *err);

/* ---- rows that the database holds -------------------------------------------------------------
 */

struct gw_known *gw_known_new(void);
void gw_known_free(struct gw_known *k);
bool gw_known_has(const struct gw_known *k, enum gw_ward_table table, const struct base_uuid *id);
void gw_known_add(struct gw_known *k, enum gw_ward_table table, const struct base_uuid *id);

/* ---- what waits -------------------------------------------------------------------------------
 */

/* Units on disk, in a file that has no name: written, then read once. */
int gw_spill_new(struct gw_spill **out, struct base_err *err);
void gw_spill_free(struct gw_spill *s);
int gw_spill_add(struct gw_spill *s, int type, const struct gw_batch_row *rows, int count,
                 struct base_err *err);
uint64_t gw_spill_count(const struct gw_spill *s);
int gw_spill_rewind(struct gw_spill *s, struct base_err *err);
/* The next unit, in the arena; *count 0: no more. */
int gw_spill_next(struct gw_spill *s, struct base_arena *arena, int *type, struct gw_fhir_row *rows,
                  int *count, struct base_err *err);

#endif
