/* A fixed-size memory of rows that are there: rows are not deleted, so what was seen stays true. */
#include <stdlib.h>
#include <string.h>

#include "sync/gateway/fhir/import_internal.h"

enum { KNOWN_PLACES = 1 << 17 };

struct place {
    struct base_uuid id;
    int table; /* +1; 0 is empty */
};

struct gw_known {
    struct place places[KNOWN_PLACES];
};

struct gw_known *gw_known_new(void)
{
    return calloc(1, sizeof(struct gw_known));
}

void gw_known_free(struct gw_known *k)
{
    free(k);
}

static size_t place_of(enum gw_ward_table table, const struct base_uuid *id)
{
    uint64_t a;
    uint64_t b;
    memcpy(&a, id->bytes, sizeof a);
    memcpy(&b, id->bytes + sizeof a, sizeof b);
    uint64_t h = (a ^ b * 0x9e3779b97f4a7c15u ^ (uint64_t)table) * 0xff51afd7ed558ccdu;
    return (size_t)(h >> 40) & (KNOWN_PLACES - 1);
}

bool gw_known_has(const struct gw_known *k, enum gw_ward_table table, const struct base_uuid *id)
{
    const struct place *p = &k->places[place_of(table, id)];
    return p->table == (int)table + 1 && base_uuid_equal(&p->id, id);
}

void gw_known_add(struct gw_known *k, enum gw_ward_table table, const struct base_uuid *id)
{
    k->places[place_of(table, id)] = (struct place){*id, (int)table + 1};
}
