/* A change line from a hostile node: what is accepted is written back byte for byte, but for the
 * case of hex digits. */
#include <string.h>
#include <strings.h>

#include "sync/core/change.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct base_arena arena;
    struct core_change c;
    base_arena_init(&arena, 4 * 1024 * 1024);
    if (core_change_read(&c, (const char *)data, size, &arena, NULL) == 0) {
        struct core_change again;
        struct base_buf out;
        base_buf_init(&out, 4 * 1024 * 1024);
        core_change_write(&out, &c);
        BASE_ASSERT(base_buf_check(&out) == 0);
        BASE_ASSERT(core_change_read(&again, out.data, out.len, &arena, NULL) == 0);
        BASE_ASSERT(again.seq == c.seq && again.value_count == c.value_count &&
                    core_text_equal(again.at, c.at));
        base_buf_release(&out);
    }
    base_arena_release(&arena);
    return 0;
}
