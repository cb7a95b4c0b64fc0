/* A resource or bundle from anywhere: every unit has one outcome, and rows that the tables take. */
#include <string.h>

#include "sync/gateway/fhir/import_internal.h"
#include "sync/gateway/fhir/read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct gw_fhir_unit unit;
static struct base_arena arena;

static void check_row(const struct gw_fhir_row *row)
{
    const struct gw_ward_spec *s = gw_ward_spec(row->table);
    for (int k = 0; k < s->count; k++) {
        const char *v = row->values[k];
        struct base_uuid id;
        if (v == NULL)
            continue;
        BASE_ASSERT(s->columns[k].type != GW_TYPE_MOMENT || gw_is_moment(v));
        BASE_ASSERT(s->columns[k].type != GW_TYPE_UUID || base_uuid_parse(&id, v, strlen(v)));
        BASE_ASSERT(s->columns[k].type != GW_TYPE_BOOL || strcmp(v, "t") == 0 ||
                    strcmp(v, "f") == 0);
        BASE_ASSERT((s->columns[k].type != GW_TYPE_INT && s->columns[k].type != GW_TYPE_DECIMAL) ||
                    strspn(v, "-.0123456789") == strlen(v));
    }
}

static void map(const cJSON *resource, struct gw_bundle *bundle)
{
    struct gw_fhir_context ctx = {{{1}}, &arena, NULL, bundle, bundle ? gw_bundle_resolve : NULL};
    base_arena_clear(&arena);
    if (gw_fhir_map(&unit, resource, &ctx, NULL) != 0)
        return;
    BASE_ASSERT((unit.outcome == GW_FHIR_PLACED) == (unit.row_count > 0));
    BASE_ASSERT((unit.outcome == GW_FHIR_PLACED) == (unit.reason[0] == '\0'));
    for (int i = 0; i < unit.row_count; i++)
        check_row(&unit.rows[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gw_bundle *bundle = NULL;
    cJSON *parsed = NULL;
    if (arena.max == 0)
        base_arena_init(&arena, GW_FHIR_ARENA_BYTES_MAX);
    if (gw_bundle_open(&bundle, (const char *)data, size, NULL) == 0 && bundle != NULL)
        for (int i = 0; i < gw_bundle_count(bundle); i++)
            if (gw_bundle_entry(bundle, i, &parsed, NULL) == 0) {
                map(cJSON_GetObjectItemCaseSensitive(parsed, "resource"), bundle);
                cJSON_Delete(parsed);
            }
    parsed = NULL;
    if (net_json_parse(&parsed, (const char *)data, size, NULL) == 0)
        map(parsed, NULL);
    cJSON_Delete(parsed);
    gw_bundle_close(bundle);
    return 0;
}
