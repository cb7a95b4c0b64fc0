/* A gateway's answer to hello (first byte 'h') or push: refused, or a receipt whose texts live. */
#include <string.h>

#include "node/engine/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t length(const char *s)
{
    return s == NULL ? 0 : strlen(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct engine_receipt r = {0};
    void *root = NULL;
    struct base_err err = {0};
    const char *member = size > 0 && data[0] == 'h' ? "receipt" : NULL;
    const char *text = (const char *)data + (member != NULL);
    int rc = engine_receipt_read(&r, text, size - (member != NULL), member, &root, &err);
    if (rc != 0) {
        BASE_ASSERT(err.code == rc && root == NULL && r.outcomes == NULL);
        return 0;
    }
    BASE_ASSERT(r.incarnation >= 1 && r.position.seq >= 0);
    size_t total = 0;
    for (int i = 0; i < r.count; i++) {
        const struct node_outcome *o = &r.outcomes[i];
        BASE_ASSERT(o->seq >= 1);
        total += length(o->sqlstate) + length(o->constraint) + length(o->reason);
    }
    BASE_ASSERT(total <= size);
    engine_receipt_release(&r, root);
    return 0;
}
