#include <stdlib.h>
#include <string.h>

#include "node/api/internal.h"

void api_etag(char out[64], const struct node_version *v)
{
    snprintf(out, 64, "\"%lld.%lld\"", (long long)v->rev, (long long)v->pending_seq);
}

static bool number(const char **s, int64_t *out)
{
    int64_t v = 0;
    int digits = 0;
    while (**s >= '0' && **s <= '9' && digits < 18) {
        v = v * 10 + (*(*s)++ - '0');
        digits++;
    }
    *out = v;
    return digits > 0;
}

/* Exactly what api_etag writes; weak tags, lists and "*" name no version. */
bool api_etag_parse(struct node_version *out, const char *s)
{
    struct node_version v = {0, 0};
    if (*s++ != '"' || !number(&s, &v.rev) || *s++ != '.' || !number(&s, &v.pending_seq) ||
        *s++ != '"' || *s != '\0')
        return false;
    *out = v;
    return true;
}

bool api_is_loopback(const char *peer)
{
    return strncmp(peer, "127.", 4) == 0 || strcmp(peer, "::1") == 0 ||
           strncmp(peer, "::ffff:127.", 11) == 0;
}
