/* JSON from anyone: refused, or a tree that writes itself the same twice. */
#include <string.h>

#include "sync/net/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cJSON *once = NULL;
    cJSON *twice = NULL;
    struct base_buf a;
    struct base_buf b;
    struct base_err err = {0};
    if (net_json_parse(&once, (const char *)data, size, &err) != 0) {
        BASE_ASSERT(err.code != 0 && err.code != BASE_ENOMEM && once == NULL);
        return 0;
    }
    base_buf_init(&a, 64 * 1024 * 1024);
    base_buf_init(&b, 64 * 1024 * 1024);
    net_json_write(&a, once);
    BASE_ASSERT(base_buf_check(&a) == 0);
    BASE_ASSERT(net_json_parse(&twice, a.data, a.len, NULL) == 0);
    net_json_write(&b, twice);
    BASE_ASSERT(a.len == b.len && memcmp(a.data, b.data, a.len) == 0);
    base_buf_release(&a);
    base_buf_release(&b);
    cJSON_Delete(once);
    cJSON_Delete(twice);
    return 0;
}
