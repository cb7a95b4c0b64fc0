#include "sync/gateway/fhir/import.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sync/gateway/fhir/import_internal.h"
#include "sync/seal/seal.h"

enum { PROGRESS_MS = 250, NAME_BYTES = 64 };

/* One file's text under way. */
struct reading {
    struct gw_import *im;
    const char *path;
    uint64_t line;
    int entry; /* of a bundle, or -1 */
    struct gw_bundle *bundle;
    const char *full_url;
    struct base_arena arena;
    struct gw_fhir_unit unit;
    int64_t next_progress_ms;
    int64_t begun_ms;
};

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- telling ------------------------------------------------------------------------------------
 */

static void progress(struct reading *rd)
{
    const struct gw_import *im = rd->im;
    int64_t now = now_ms();
    if (im->options->quiet || rd->next_progress_ms < 0 || now < rd->next_progress_ms)
        return;
    const char *slash = strrchr(rd->path, '/');
    double seconds = (double)(now - rd->begun_ms) / 1000;
    rd->next_progress_ms = now + PROGRESS_MS;
    (void)fprintf(stderr, "\r\033[K%llu resources, %.0f/s, %s", (unsigned long long)im->done,
                  seconds > 0 ? (double)im->done / seconds : 0.0,
                  slash != NULL ? slash + 1 : rd->path);
    (void)fflush(stderr);
}

/* file:line: reason. Reasons hold names and places, never values. */
static void refuse(struct reading *rd, const char *type, const char *why)
{
    struct gw_import *im = rd->im;
    struct gw_import_report *r = im->report;
    int t = gw_report_type(r, type);
    r->types[t].refused++;
    gw_report_reason(r, t, GW_ABOUT_REFUSED, why);
    if (im->options->quiet || r->shown++ >= GW_IMPORT_SHOWN_MAX)
        return;
    (void)fprintf(stderr, "%s%s:%llu: ", rd->next_progress_ms >= 0 ? "\r\033[K" : "", rd->path,
                  (unsigned long long)rd->line);
    if (rd->entry >= 0)
        (void)fprintf(stderr, "entry %d: ", rd->entry + 1);
    (void)fprintf(stderr, "%s: %s\n", type, why);
}

/* Where in a line JSON broke is for the message; the report counts by what was wrong. */
static const char *without_place(const char *text)
{
    const char *p = strstr(text, ": ");
    return strncmp(text, "line ", 5) == 0 && p != NULL ? p + 2 : text;
}

static void refuse_text(struct reading *rd, const struct base_err *err)
{
    char type[] = "(not readable)";
    struct gw_import_report *r = rd->im->report;
    r->types[gw_report_type(r, type)].read++;
    rd->im->done++;
    refuse(rd, type, without_place(err->text));
}

/* ---- one resource -------------------------------------------------------------------------------
 */

static int take_unit(struct reading *rd, struct base_err *err)
{
    struct gw_import *im = rd->im;
    struct gw_import_report *r = im->report;
    struct gw_fhir_unit *u = &rd->unit;
    int t = gw_report_type(r, u->type);
    r->types[t].read++;
    im->done++;
    if (u->outcome == GW_FHIR_REFUSED) {
        refuse(rd, u->type, u->reason);
        return 0;
    }
    if (u->outcome == GW_FHIR_UNPLACED) {
        r->types[t].unplaced++;
        gw_report_reason(r, t, GW_ABOUT_UNPLACED, u->reason);
        return 0;
    }
    for (int i = 0; i < u->note_count; i++)
        gw_report_reason(r, t, GW_ABOUT_LEFT_OUT, u->notes[i]);
    return gw_batch_add(im, t, u->rows, u->row_count, err);
}

static int take_entries(struct reading *rd, const cJSON *bundle, int depth, struct base_err *err);

static bool is_bundle(const cJSON *resource)
{
    const cJSON *t = cJSON_IsObject(resource)
                         ? cJSON_GetObjectItemCaseSensitive(resource, "resourceType")
                         : NULL;
    return t != NULL && cJSON_IsString(t) && strcmp(t->valuestring, "Bundle") == 0;
}

static int take_resource(struct reading *rd, const cJSON *resource, int depth, struct base_err *err)
{
    struct gw_fhir_context ctx = {
        .tenant = rd->im->tenant,
        .arena = &rd->arena,
        .full_url = rd->full_url,
        .user = rd->bundle,
        .bundle = rd->bundle != NULL ? gw_bundle_resolve : NULL,
    };
    if (is_bundle(resource) && depth < GW_IMPORT_DEPTH_MAX)
        return take_entries(rd, resource, depth + 1, err);
    base_arena_clear(&rd->arena);
    struct base_err why = {0};
    if (gw_fhir_map(&rd->unit, resource, &ctx, &why) != 0) {
        (void)snprintf(rd->unit.reason, sizeof rd->unit.reason, "it is too large");
        rd->unit.outcome = GW_FHIR_REFUSED;
    }
    progress(rd);
    return take_unit(rd, err);
}

/* ---- bundles ------------------------------------------------------------------------------------
 */

static void count_entry(struct reading *rd, const char *reason)
{
    struct gw_import_report *r = rd->im->report;
    int t = gw_report_type(r, "Bundle.entry");
    r->types[t].read++;
    r->types[t].unplaced++;
    rd->im->done++;
    gw_report_reason(r, t, GW_ABOUT_UNPLACED, reason);
}

static int take_entry(struct reading *rd, const cJSON *entry, bool history, int depth,
                      struct base_err *err)
{
    const cJSON *resource =
        cJSON_IsObject(entry) ? cJSON_GetObjectItemCaseSensitive(entry, "resource") : NULL;
    const cJSON *url =
        cJSON_IsObject(entry) ? cJSON_GetObjectItemCaseSensitive(entry, "fullUrl") : NULL;
    if (resource == NULL) {
        count_entry(rd, "it has no resource");
        return 0;
    }
    if (history) {
        count_entry(rd, "a version of the past, in a history");
        return 0;
    }
    rd->full_url = url != NULL && cJSON_IsString(url) ? url->valuestring : NULL;
    int rc = take_resource(rd, resource, depth, err);
    rd->full_url = NULL;
    return rc;
}

/* A bundle within a parsed document. */
static int take_entries(struct reading *rd, const cJSON *bundle, int depth, struct base_err *err)
{
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(bundle, "type");
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(bundle, "entry");
    bool history =
        type != NULL && cJSON_IsString(type) && strcmp(type->valuestring, "history") == 0;
    int rc = 0;
    if (!cJSON_IsArray(list) || list->child == NULL)
        count_entry(rd, "a bundle without entries");
    for (const cJSON *e = cJSON_IsArray(list) ? list->child : NULL; e != NULL && rc == 0;
         e = e->next)
        rc = take_entry(rd, e, history, depth, err);
    return rc;
}

static int take_bundle(struct reading *rd, struct base_err *err)
{
    bool history = strcmp(gw_bundle_type(rd->bundle), "history") == 0;
    int rc = 0;
    if (gw_bundle_count(rd->bundle) == 0)
        count_entry(rd, "a bundle without entries");
    for (int i = 0; i < gw_bundle_count(rd->bundle) && rc == 0; i++) {
        struct base_err why = {0};
        cJSON *entry = NULL;
        rd->entry = i;
        if (gw_bundle_entry(rd->bundle, i, &entry, &why) != 0)
            refuse_text(rd, &why);
        else
            rc = take_entry(rd, entry, history, 1, err);
        cJSON_Delete(entry);
    }
    rd->entry = -1;
    return rc;
}

/* ---- texts
 * ---------------------------------------------------------------------------------------- */

static bool may_be_bundle(const char *text, size_t len)
{
    return memmem(text, len, "\"entry\"", 7) != NULL && memmem(text, len, "\"Bundle\"", 8) != NULL;
}

static int take_text(void *user, uint64_t line, const char *text, size_t len, struct base_err *err)
{
    struct reading *rd = user;
    struct base_err why = {0};
    cJSON *resource = NULL;
    int rc = 0;
    rd->line = line;
    if (text == NULL) {
        (void)base_fail(&why, BASE_ETOOBIG, "larger than the limit");
        refuse_text(rd, &why);
        return 0;
    }
    if (may_be_bundle(text, len)) {
        if (gw_bundle_open(&rd->bundle, text, len, &why) != 0) {
            refuse_text(rd, &why);
            return 0;
        }
        if (rd->bundle != NULL) {
            rc = take_bundle(rd, err);
            gw_bundle_close(rd->bundle);
            rd->bundle = NULL;
            return rc;
        }
    }
    if (net_json_parse(&resource, text, len, &why) != 0)
        refuse_text(rd, &why);
    else
        rc = take_resource(rd, resource, 0, err);
    cJSON_Delete(resource);
    return rc;
}

/* ---- what waited -------------------------------------------------------------------------------
 */

static int one_round(struct gw_import *im, struct gw_spill *from, struct base_err *err)
{
    struct base_arena arena;
    struct gw_fhir_row rows[GW_FHIR_ROWS_MAX];
    int rc = gw_spill_rewind(from, err);
    base_arena_init(&arena, GW_FHIR_ARENA_BYTES_MAX);
    im->deferred = 0;
    while (rc == 0) {
        int type = 0;
        int count = 0;
        base_arena_clear(&arena);
        rc = gw_spill_next(from, &arena, &type, rows, &count, err);
        if (rc != 0 || count == 0)
            break;
        rc = gw_batch_add(im, type, rows, count, err);
    }
    if (rc == 0)
        rc = gw_batch_drain(im, err);
    base_arena_release(&arena);
    return rc;
}

/* Again and again while some find what they waited for; then once more, without. */
static int take_waiting(struct gw_import *im, struct base_err *err)
{
    int rc = 0;
    while (rc == 0 && gw_spill_count(im->spill) > 0) {
        struct gw_spill *from = im->spill;
        uint64_t before = gw_spill_count(from);
        struct gw_spill *next = NULL;
        rc = gw_spill_new(&next, err);
        if (rc != 0)
            break;
        im->spill = next;
        rc = one_round(im, from, err);
        gw_spill_free(from);
        im->last_round = im->deferred == before;
    }
    return rc;
}

/* ---- the whole
 * ------------------------------------------------------------------------------------ */

static int import_files(struct gw_import *im, const struct gw_files *files, struct base_err *err)
{
    int rc = 0;
    int64_t now = now_ms();
    struct reading *rd = calloc(1, sizeof *rd);
    if (rd == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory");
    *rd = (struct reading){.im = im, .entry = -1, .begun_ms = now};
    rd->next_progress_ms = isatty(STDERR_FILENO) ? now + PROGRESS_MS : -1;
    base_arena_init(&rd->arena, GW_FHIR_ARENA_BYTES_MAX);
    for (int i = 0; i < files->count && rc == 0; i++) {
        rd->path = files->list[i].path;
        im->report->files++;
        rc = gw_file_read(rd->path, rd, take_text, err);
    }
    if (rd->next_progress_ms >= 0 && !im->options->quiet)
        (void)fprintf(stderr, "\r\033[K");
    base_arena_release(&rd->arena);
    free(rd);
    if (rc == 0)
        rc = gw_batch_drain(im, err);
    return rc;
}

static int prepare(struct gw_import *im, struct base_err *err)
{
    int rows = im->options->batch_rows > 0 ? im->options->batch_rows : GW_IMPORT_BATCH_ROWS;
    int rc = seal_init(err);
    if (rows < GW_FHIR_ROWS_MAX || rows > GW_IMPORT_BATCH_ROWS_MAX)
        rc = base_fail(err, BASE_EINVALID, "batch rows must lie between %d and %d",
                       GW_FHIR_ROWS_MAX, GW_IMPORT_BATCH_ROWS_MAX);
    im->known = gw_known_new();
    if (rc == 0 && im->known == NULL)
        rc = base_fail(err, BASE_ENOMEM, "out of memory");
    for (int i = 0; i < 2 && rc == 0; i++)
        rc = gw_batch_init(&im->batches[i], rows, err);
    if (rc == 0)
        rc = gw_spill_new(&im->spill, err);
    return rc != 0 ? rc : gw_sql_open(im, err);
}

int gw_import_fhir(const struct gw_import_options *o, struct gw_import_report *r,
                   struct base_err *err)
{
    struct gw_files files = {0};
    int64_t begun = now_ms();
    struct gw_import *im = calloc(1, sizeof *im);
    if (im == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory");
    *im = (struct gw_import){.options = o, .report = r};
    int rc = gw_files_find(&files, o->paths, o->path_count, err);
    r->skipped_files = files.skipped;
    if (rc == 0)
        rc = prepare(im, err);
    if (rc == 0)
        rc = import_files(im, &files, err);
    if (rc == 0)
        rc = take_waiting(im, err);
    r->seconds = (double)(now_ms() - begun) / 1000;
    gw_sql_close(im);
    gw_spill_free(im->spill);
    gw_known_free(im->known);
    for (int i = 0; i < 2; i++)
        gw_batch_release(&im->batches[i]);
    gw_files_release(&files);
    free(im);
    return rc;
}
