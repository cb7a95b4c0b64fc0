#include <stdlib.h>
#include <string.h>

#include "sync/base/buf.h"
#include "sync/gateway/fhir/import_internal.h"

static const char *const about_names[] = {[GW_ABOUT_UNPLACED] = "unplaced",
                                          [GW_ABOUT_REFUSED] = "refused",
                                          [GW_ABOUT_LEFT_OUT] = "left_out",
                                          [GW_ABOUT_DANGLING] = "dangling"};

int gw_report_type(struct gw_import_report *r, const char *name)
{
    for (int i = 0; i < r->type_count; i++)
        if (strcmp(r->types[i].name, name) == 0)
            return i;
    /* more types than FHIR has: the input makes them up */
    if (r->type_count == GW_IMPORT_TYPES_MAX - 1)
        name = "(others)";
    if (r->type_count == GW_IMPORT_TYPES_MAX)
        return GW_IMPORT_TYPES_MAX - 1;
    struct gw_import_type *t = &r->types[r->type_count];
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    return r->type_count++;
}

void gw_report_reason(struct gw_import_report *r, int type, enum gw_import_about about,
                      const char *text)
{
    for (int i = 0; i < r->reason_count; i++) {
        struct gw_import_reason *x = &r->reasons[i];
        if (x->type == type && x->about == about && strcmp(x->text, text) == 0) {
            x->count++;
            return;
        }
    }
    if (r->reasons == NULL)
        r->reasons = calloc(GW_IMPORT_REASONS_MAX, sizeof *r->reasons);
    if (r->reasons == NULL)
        return; /* the numbers by type are whole without it */
    if (r->reason_count == GW_IMPORT_REASONS_MAX) {
        r->reasons[GW_IMPORT_REASONS_MAX - 1].count++;
        return;
    }
    struct gw_import_reason *x = &r->reasons[r->reason_count++];
    *x = (struct gw_import_reason){.type = type, .about = about, .count = 1};
    (void)snprintf(x->text, sizeof x->text, "%s",
                   r->reason_count == GW_IMPORT_REASONS_MAX ? "further reasons" : text);
}

uint64_t gw_import_refused(const struct gw_import_report *r)
{
    uint64_t n = 0;
    for (int i = 0; i < r->type_count; i++)
        n += r->types[i].refused;
    return n;
}

static int by_order(const void *a, const void *b)
{
    const struct gw_import_type *x = a;
    const struct gw_import_type *y = b;
    int order = gw_fhir_order(x->name) - gw_fhir_order(y->name);
    return order != 0 ? order : strcmp(x->name, y->name);
}

static int by_type(const void *a, const void *b)
{
    const struct gw_import_reason *x = a;
    const struct gw_import_reason *y = b;
    if (x->about != y->about)
        return x->about < y->about ? -1 : 1;
    if (x->type != y->type)
        return x->type < y->type ? -1 : 1;
    return x->count != y->count ? (x->count > y->count ? -1 : 1) : strcmp(x->text, y->text);
}

static void print_reasons(const struct gw_import_report *r, enum gw_import_about about,
                          const char *title, FILE *to)
{
    bool any = false;
    struct gw_import_reason *sorted = calloc((size_t)r->reason_count + 1, sizeof *sorted);
    if (sorted == NULL)
        return;
    if (r->reason_count > 0)
        memcpy(sorted, r->reasons, (size_t)r->reason_count * sizeof *sorted);
    qsort(sorted, (size_t)r->reason_count, sizeof *sorted, by_type);
    for (int i = 0; i < r->reason_count; i++) {
        const struct gw_import_reason *x = &sorted[i];
        if (x->about != about)
            continue;
        if (!any)
            (void)fprintf(to, "\n%s\n", title);
        any = true;
        (void)fprintf(to, "%12llu  %-26s %s\n", (unsigned long long)x->count,
                      r->types[x->type].name, x->text);
    }
    free(sorted);
}

static void print_row(FILE *to, const struct gw_import_type *t)
{
    (void)fprintf(to, "%-26s%12llu%12llu%12llu%12llu%12llu\n", t->name, (unsigned long long)t->read,
                  (unsigned long long)t->written, (unsigned long long)t->unchanged,
                  (unsigned long long)t->unplaced, (unsigned long long)t->refused);
}

void gw_import_print(const struct gw_import_report *r, FILE *to)
{
    struct gw_import_type all = {.name = "in all"};
    struct gw_import_type sorted[GW_IMPORT_TYPES_MAX];
    memcpy(sorted, r->types, (size_t)r->type_count * sizeof *sorted);
    qsort(sorted, (size_t)r->type_count, sizeof *sorted, by_order);
    (void)fprintf(to, "%-26s%12s%12s%12s%12s%12s\n", "", "read", "written", "unchanged", "unplaced",
                  "refused");
    for (int i = 0; i < r->type_count; i++) {
        const struct gw_import_type *t = &sorted[i];
        print_row(to, t);
        all.read += t->read;
        all.written += t->written;
        all.unchanged += t->unchanged;
        all.unplaced += t->unplaced;
        all.refused += t->refused;
    }
    print_row(to, &all);
    print_reasons(r, GW_ABOUT_REFUSED, "Refused, by reason:", to);
    print_reasons(r, GW_ABOUT_UNPLACED, "Unplaced, by reason:", to);
    print_reasons(r, GW_ABOUT_DANGLING, "References whose row is not there:", to);
    print_reasons(r, GW_ABOUT_LEFT_OUT, "Parts of placed resources that were left out:", to);
    (void)fprintf(to, "\n%llu files (%llu of another kind skipped), %.1f s, %.0f resources/s\n",
                  (unsigned long long)r->files, (unsigned long long)r->skipped_files, r->seconds,
                  r->seconds > 0 ? (double)all.read / r->seconds : 0.0);
}

void gw_import_print_json(const struct gw_import_report *r, FILE *to)
{
    struct base_buf b;
    base_buf_init(&b, 16 * 1024 * 1024);
    base_buf_printf(&b, "{\"files\":%llu,\"skipped_files\":%llu,\"seconds\":%.3f,\"types\":{",
                    (unsigned long long)r->files, (unsigned long long)r->skipped_files, r->seconds);
    for (int i = 0; i < r->type_count; i++) {
        const struct gw_import_type *t = &r->types[i];
        base_buf_str(&b, i > 0 ? "," : "");
        base_buf_json_str(&b, t->name);
        base_buf_printf(&b,
                        ":{\"read\":%llu,\"written\":%llu,\"unchanged\":%llu,\"unplaced\":%llu,"
                        "\"refused\":%llu}",
                        (unsigned long long)t->read, (unsigned long long)t->written,
                        (unsigned long long)t->unchanged, (unsigned long long)t->unplaced,
                        (unsigned long long)t->refused);
    }
    base_buf_str(&b, "},\"reasons\":[");
    for (int i = 0; i < r->reason_count; i++) {
        const struct gw_import_reason *x = &r->reasons[i];
        base_buf_printf(&b, "%s{\"about\":\"%s\",\"type\":", i > 0 ? "," : "",
                        about_names[x->about]);
        base_buf_json_str(&b, r->types[x->type].name);
        base_buf_str(&b, ",\"reason\":");
        base_buf_json_str(&b, x->text);
        base_buf_printf(&b, ",\"count\":%llu}", (unsigned long long)x->count);
    }
    base_buf_str(&b, "]}\n");
    if (base_buf_check(&b) == 0)
        (void)fwrite(b.data, 1, b.len, to);
    base_buf_release(&b);
}

void gw_import_report_release(struct gw_import_report *r)
{
    free(r->reasons);
    r->reasons = NULL;
    r->reason_count = 0;
}
