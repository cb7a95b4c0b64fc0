/* Row images in both written forms: what is read is written and read again as the same row. */
#include "sync/core/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct core_image first, second;

static void same(int fields)
{
    for (int ord = 1; ord <= fields; ord++)
        BASE_ASSERT(core_text_equal(core_image_field(&first, ord), core_image_field(&second, ord)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *s = (const char *)data;
    struct base_arena arena;
    struct base_buf out;
    base_arena_init(&arena, 16 * 1024 * 1024);
    base_buf_init(&out, 16 * 1024 * 1024);
    if (core_image_read_composite(&first, s, size, &arena, NULL) == 0) {
        core_image_write_composite(&out, &first, first.count);
        BASE_ASSERT(core_image_read_composite(&second, out.data, out.len, &arena, NULL) == 0);
        same(first.count);
    }
    const char *at = s;
    base_buf_clear(&out);
    if (core_image_read_array(&first, &at, s + size, &arena, NULL) == 0) {
        core_image_write_array(&out, &first);
        at = out.data;
        BASE_ASSERT(core_image_read_array(&second, &at, out.data + out.len, &arena, NULL) == 0);
        same(first.count);
    }
    base_buf_release(&out);
    base_arena_release(&arena);
    return 0;
}
