/* A catalog from a hostile or damaged gateway: refused or a consistent model. */
#include "sync/net/catalog_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct core_catalog c;
    if (net_catalog_parse(&c, (const char *)data, size, NULL) != 0)
        return 0;
    for (int i = 0; i < c.table_count; i++) {
        const struct core_table *t = &c.tables[i];
        BASE_ASSERT(core_catalog_tbl(&c, t->tbl) == t);
        for (int k = 0; k < t->column_count; k++)
            BASE_ASSERT(t->columns[k].ord == CORE_ORD_FIRST + k);
    }
    core_catalog_release(&c);
    return 0;
}
