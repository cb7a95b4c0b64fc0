/*
 * The request target, decoded by ourselves: libmicrohttpd lets a malformed escape pass and ends a
 * path at %00.
 */
#include <stdlib.h>
#include <string.h>

#include "sync/net/http_internal.h"

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Decodes len bytes of from into to (room for len + 1). False: bad escape, NUL or control
 * character. */
static bool decode(char *to, const char *from, size_t len, bool plus_is_space)
{
    for (size_t i = 0; i < len; i++) {
        int c = (unsigned char)from[i];
        if (c == '%') {
            int high = i + 2 < len ? hex(from[i + 1]) : -1;
            int low = i + 2 < len ? hex(from[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = high << 4 | low;
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        if (c < 0x20 || c == 0x7f)
            return false;
        *to++ = (char)c;
    }
    *to = '\0';
    return true;
}

static bool split_queries(struct net_http_exchange *x, char *query)
{
    for (char *at = query; at != NULL && *at != '\0';) {
        char *next = strchr(at, '&');
        size_t len = next == NULL ? strlen(at) : (size_t)(next - at);
        if (len > 0) {
            char *equals = memchr(at, '=', len);
            size_t name_len = equals == NULL ? len : (size_t)(equals - at);
            if (x->query_count == HTTP_QUERIES_MAX)
                return false;
            struct http_pair *q = &x->queries[x->query_count++];
            q->name = malloc(name_len + 1);
            q->value = malloc(len - name_len + 1);
            if (q->name == NULL || q->value == NULL || !decode(q->name, at, name_len, true) ||
                !decode(q->value, equals == NULL ? at + len : equals + 1,
                        equals == NULL ? 0 : len - name_len - 1, true))
                return false;
        }
        at = next == NULL ? NULL : next + 1;
    }
    return true;
}

static bool has_dots(const char *path)
{
    for (const char *p = strstr(path, "/.."); p != NULL; p = strstr(p + 1, "/.."))
        if (p[3] == '/' || p[3] == '\0')
            return true;
    return false;
}

bool http_path_split(struct net_http_exchange *x)
{
    char *query = strchr(x->raw, '?');
    size_t len = query == NULL ? strlen(x->raw) : (size_t)(query - x->raw);
    x->path = malloc(len + 1);
    if (x->path == NULL || x->raw[0] != '/' || !decode(x->path, x->raw, len, false) ||
        has_dots(x->path))
        return false;
    return query == NULL || split_queries(x, query + 1);
}

struct segments {
    const char *s[HTTP_SEGMENTS_MAX];
    size_t len[HTTP_SEGMENTS_MAX];
    int count;
};

static bool cut(struct segments *out, const char *path)
{
    out->count = 0;
    for (const char *p = path; *p == '/';) {
        const char *end = strchr(p + 1, '/');
        if (end == NULL)
            end = p + strlen(p);
        if (out->count == HTTP_SEGMENTS_MAX)
            return false;
        out->s[out->count] = p + 1;
        out->len[out->count++] = (size_t)(end - p - 1);
        p = end;
    }
    return true;
}

/* How many segments are fixed and equal; -1: no match. */
static int match(const struct segments *pattern, const struct segments *path)
{
    int fixed = 0;
    if (pattern->count != path->count)
        return -1;
    for (int i = 0; i < path->count; i++) {
        if (pattern->s[i][0] == '{') {
            if (path->len[i] == 0)
                return -1;
        } else if (pattern->len[i] == path->len[i] &&
                   memcmp(pattern->s[i], path->s[i], path->len[i]) == 0) {
            fixed++;
        } else {
            return -1;
        }
    }
    return fixed;
}

static bool take_params(struct net_http_exchange *x, const struct net_http_route *route,
                        const struct segments *path)
{
    struct segments pattern;
    (void)cut(&pattern, route->path);
    for (int i = 0; i < pattern.count; i++) {
        if (pattern.s[i][0] != '{')
            continue;
        struct http_pair *p = &x->params[x->param_count++];
        p->name = strndup(pattern.s[i] + 1, pattern.len[i] - 2);
        p->value = strndup(path->s[i], path->len[i]);
        if (p->name == NULL || p->value == NULL)
            return false;
    }
    return true;
}

const struct net_http_route *http_route_find(struct net_http_exchange *x, char *allow,
                                             size_t allow_bytes)
{
    const char *method =
        strcmp(x->method, MHD_HTTP_METHOD_HEAD) == 0 ? MHD_HTTP_METHOD_GET : x->method;
    const struct net_http_route *best = NULL;
    struct segments path;
    int best_fixed = -1;
    allow[0] = '\0';
    if (!cut(&path, x->path))
        return NULL;
    for (int i = 0; i < x->server->route_count; i++) {
        const struct net_http_route *r = &x->server->routes[i];
        struct segments pattern;
        (void)cut(&pattern, r->path);
        int fixed = match(&pattern, &path);
        if (fixed < 0)
            continue;
        if (strcmp(r->method, method) == 0 && fixed > best_fixed) {
            best = r;
            best_fixed = fixed;
        }
        size_t used = strlen(allow);
        if (strstr(allow, r->method) == NULL)
            (void)snprintf(allow + used, allow_bytes - used, "%s%s", used > 0 ? ", " : "",
                           r->method);
    }
    return best != NULL && take_params(x, best, &path) ? best : NULL;
}
