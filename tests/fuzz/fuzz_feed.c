/* A feed, or a page of a repair (first byte 'r'), from a hostile gateway into a real replica: applied
 * or refused, then undone. */
#include "tests/fuzz/replica.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int apply(struct node_db *db, const char *body, size_t len, struct base_err *err)
{
    struct node_feed_result r = {.cursor = -7};
    int64_t mended = 0;
    if (len > 0 && body[0] == 'r')
        return node_repair_apply(db, "", "", body + 1, len - 1, &mended, err);
    int rc = node_feed_apply(db, body, len, &r, err);
    BASE_ASSERT(rc == 0 ? r.cursor >= 1 : r.cursor == -7);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_try(fuzz_replica(true), apply, data, size);
    return 0;
}
