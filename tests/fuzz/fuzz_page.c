/*
 * The bundle of a first fill, or a catalog (first byte 'c'), from a hostile gateway into a real
 * replica: applied or refused, then undone.
 */
#include "tests/fuzz/replica.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int apply(struct node_db *db, const char *body, size_t len, struct base_err *err)
{
    struct node_page_result r;
    if (len == 0)
        return 0;
    if (body[0] == 'c')
        return node_catalog_apply(db, body + 1, len - 1, err);
    return node_page_apply(db, body + 1, len - 1, &r, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_try(fuzz_replica(false), apply, data, size);
    return 0;
}
