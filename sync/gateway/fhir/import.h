/*
 * sync/gateway/fhir/import.h - FHIR R4 files into the ward tables of one tenant.
 *
 * Does:       reads NDJSON (one resource a line), single resources and bundles, in the order in
 * which rows need each other; writes set-based batches, each one transaction; keeps what names a
 *             row that has not come yet for the end; counts everything that was read by outcome.
 * Does not:   run beside anything in this process: it waits for the database. Never logs values.
 * Thread:     one import, one thread, one connection (role everward_admin).
 * Invariant:  for each type, read = written + unchanged + unplaced + refused. Killed at any moment,
 * a second run completes it; a second run of the same input changes nothing.
 */
#ifndef SYNC_GATEWAY_FHIR_IMPORT_H
#define SYNC_GATEWAY_FHIR_IMPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "sync/base/err.h"

enum {
    GW_IMPORT_LINE_BYTES_MAX = 4 * 1024 * 1024,
    GW_IMPORT_BUNDLE_BYTES_MAX = 64 * 1024 * 1024,
    GW_IMPORT_FILES_MAX = 100000,
    GW_IMPORT_DEPTH_MAX = 8, /* of folders, and of bundles in bundles */
    GW_IMPORT_BATCH_ROWS = 2000,
    GW_IMPORT_BATCH_ROWS_MAX = 4000,
    GW_IMPORT_BATCH_BYTES = 4 * 1024 * 1024, /* of values; a batch goes when it has so many */
    GW_IMPORT_TYPES_MAX = 256,
    GW_IMPORT_REASONS_MAX = 2048,
    GW_IMPORT_SHOWN_MAX = 100, /* refused resources told one by one; the rest is counted */
    GW_IMPORT_RETRIES = 5
};

struct gw_import_options {
    const char *dsn;    /* everward_admin */
    const char *tenant; /* uuid or name */
    const char *const *paths;
    int path_count;
    bool quiet;     /* no progress, no single refusals on stderr */
    int batch_rows; /* 0: GW_IMPORT_BATCH_ROWS */
};

enum gw_import_about {
    GW_ABOUT_UNPLACED, /* resources that have no place */
    GW_ABOUT_REFUSED,
    GW_ABOUT_LEFT_OUT, /* parts of placed resources without a column */
    GW_ABOUT_DANGLING  /* references whose row is not there */
};

struct gw_import_type {
    char name[48];
    uint64_t read, written, unchanged, unplaced, refused;
};

struct gw_import_reason {
    int type; /* index into types */
    enum gw_import_about about;
    char text[128];
    uint64_t count;
};

/* Everything that was counted. Zeroed by the caller, released by gw_import_report_release. */
struct gw_import_report {
    struct gw_import_type types[GW_IMPORT_TYPES_MAX];
    int type_count;
    struct gw_import_reason *reasons;
    int reason_count;
    uint64_t files, skipped_files, shown;
    double seconds;
};

/* 0 even if resources were refused (the report says so). On an error the report tells what was done
 * until then; the same call again goes on. */
int gw_import_fhir(const struct gw_import_options *o, struct gw_import_report *r,
                   struct base_err *err);
uint64_t gw_import_refused(const struct gw_import_report *r);
void gw_import_print(const struct gw_import_report *r, FILE *to);
void gw_import_print_json(const struct gw_import_report *r, FILE *to);
void gw_import_report_release(struct gw_import_report *r);

#endif
