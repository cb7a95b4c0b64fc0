/* Access tokens, key sets and discovery documents from anyone: the first line is a token, the second a key set, the third the document. */
#include <string.h>

#include "sync/net/jws.h"
#include "sync/seal/seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct net_access_want want = {.issuer = "https://id.example",
                                                .audience = "everward",
                                                .tenant_claim = "tenant",
                                                .now_s = 1800000000};
    static const char own[] = "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":"
                              "\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";
    struct net_jwks *set = NULL;
    struct net_access a;
    struct net_discovery where;
    const char *token = (const char *)data;
    BASE_ASSERT(seal_init(NULL) == 0);
    const char *first = memchr(token, '\n', size);
    size_t token_len = first == NULL ? size : (size_t)(first - token);
    const char *keys = first == NULL ? own : first + 1;
    size_t keys_len = first == NULL ? sizeof own - 1 : size - token_len - 1;
    const char *second = memchr(keys, '\n', keys_len);
    if (second != NULL) {
        (void)net_discovery_parse(&where, second + 1, keys_len - (size_t)(second - keys) - 1,
                                  want.issuer, NULL);
        keys_len = (size_t)(second - keys);
    }
    if (net_jwks_parse(&set, keys, keys_len, NULL) == 0)
        (void)net_access_check(&a, token, token_len, set, &want, NULL);
    net_jwks_free(set);
    return 0;
}
