/* A configuration file of any content: loaded or refused. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sync/base/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct base_setting table[] = {
    {"sync", "gateway_url", BASE_CONFIG_TEXT, "", 0, 0, "where the gateway is"},
    {"api", "port", BASE_CONFIG_INT, "8443", 1, 65535, "TCP port"},
    {"api", "tls12", BASE_CONFIG_BOOL, "false", 0, 0, "also allow TLS 1.2"},
    {NULL, NULL, BASE_CONFIG_TEXT, NULL, 0, 0, NULL},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char path[64];
    struct base_config *c = NULL;
    if (path[0] == '\0')
        (void)snprintf(path, sizeof path, "/tmp/everward-fuzz-config-%d", (int)getpid());
    FILE *f = fopen(path, "w");
    if (f == NULL)
        return 0;
    (void)fwrite(data, 1, size, f);
    (void)fclose(f);
    if (base_config_load(&c, table, path, NULL) == 0) {
        int64_t port = base_config_int(c, "api", "port");
        BASE_ASSERT(port >= 1 && port <= 65535);
        base_config_free(c);
    }
    (void)unlink(path);
    return 0;
}
