#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sync/gateway/fhir/import_internal.h"

static const uint32_t NO_VALUE = UINT32_MAX;

struct gw_spill {
    FILE *file;
    uint64_t count;
};

int gw_spill_new(struct gw_spill **out, struct base_err *err)
{
    struct gw_spill *s = calloc(1, sizeof *s);
    if (s == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory");
    s->file = tmpfile();
    if (s->file == NULL) {
        free(s);
        return base_fail(err, BASE_EIO, "a temporary file: %s", strerror(errno));
    }
    *out = s;
    return 0;
}

void gw_spill_free(struct gw_spill *s)
{
    if (s == NULL)
        return;
    (void)fclose(s->file);
    free(s);
}

uint64_t gw_spill_count(const struct gw_spill *s)
{
    return s->count;
}

static void put(struct gw_spill *s, const void *p, size_t n)
{
    if (n > 0)
        (void)fwrite(p, 1, n, s->file);
}

static void put_u32(struct gw_spill *s, uint32_t v)
{
    put(s, &v, sizeof v);
}

int gw_spill_add(struct gw_spill *s, int type, const struct gw_batch_row *rows, int count,
                 struct base_err *err)
{
    put_u32(s, (uint32_t)type);
    put_u32(s, (uint32_t)count);
    for (int i = 0; i < count; i++) {
        const struct gw_fhir_row *row = &rows[i].row;
        const struct gw_ward_spec *spec = gw_ward_spec(row->table);
        put_u32(s, (uint32_t)row->table);
        put(s, row->id.bytes, BASE_UUID_BYTES);
        for (int k = 0; k < spec->count; k++) {
            size_t len = row->values[k] != NULL ? strlen(row->values[k]) : 0;
            put_u32(s, row->values[k] != NULL ? (uint32_t)len : NO_VALUE);
            put(s, row->values[k], len);
        }
    }
    s->count++;
    if (ferror(s->file))
        return base_fail(err, BASE_EFULL, "a temporary file: %s", strerror(errno));
    return 0;
}

int gw_spill_rewind(struct gw_spill *s, struct base_err *err)
{
    if (fflush(s->file) != 0 || fseek(s->file, 0, SEEK_SET) != 0)
        return base_fail(err, BASE_EFULL, "a temporary file: %s", strerror(errno));
    return 0;
}

static bool get(struct gw_spill *s, void *p, size_t n)
{
    return fread(p, 1, n, s->file) == n;
}

static int damaged(struct base_err *err)
{
    return base_fail(err, BASE_EIO, "a temporary file cannot be read back");
}

static int read_row(struct gw_spill *s, struct base_arena *arena, struct gw_fhir_row *row,
                    struct base_err *err)
{
    uint32_t table = 0;
    if (!get(s, &table, sizeof table) || table >= GW_WARD_TABLES ||
        !get(s, row->id.bytes, BASE_UUID_BYTES))
        return damaged(err);
    row->table = (enum gw_ward_table)table;
    const struct gw_ward_spec *spec = gw_ward_spec(row->table);
    row->values = base_arena_get(arena, (size_t)spec->count * sizeof *row->values);
    if (row->values == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory");
    for (int k = 0; k < spec->count; k++) {
        uint32_t len = 0;
        if (!get(s, &len, sizeof len))
            return damaged(err);
        if (len == NO_VALUE)
            continue;
        char *p = base_arena_get(arena, (size_t)len + 1);
        if (p == NULL)
            return base_fail(err, BASE_ENOMEM, "out of memory");
        if (!get(s, p, len))
            return damaged(err);
        row->values[k] = p;
    }
    return 0;
}

int gw_spill_next(struct gw_spill *s, struct base_arena *arena, int *type, struct gw_fhir_row *rows,
                  int *count, struct base_err *err)
{
    uint32_t head[2];
    if (s->count == 0) {
        *count = 0;
        return 0;
    }
    if (!get(s, head, sizeof head) || head[1] > GW_FHIR_ROWS_MAX)
        return damaged(err);
    for (uint32_t i = 0; i < head[1]; i++) {
        int rc = read_row(s, arena, &rows[i], err);
        if (rc != 0)
            return rc;
    }
    s->count--;
    *type = (int)head[0];
    *count = (int)head[1];
    return 0;
}
