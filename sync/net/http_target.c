#include <stdlib.h>
#include <string.h>

#include "sync/net/http_internal.h"

enum { SEGMENTS_MAX = 24 };

/* A path cut at its slashes, in place. */
struct segments {
    const char *at[SEGMENTS_MAX];
    size_t len[SEGMENTS_MAX];
    unsigned count;
};

static bool cut(struct segments *s, const char *path)
{
    s->count = 0;
    while (*path == '/') {
        path++;
        if (s->count == SEGMENTS_MAX)
            return false;
        s->at[s->count] = path;
        s->len[s->count++] = strcspn(path, "/");
        path += strcspn(path, "/");
    }
    return *path == '\0' && s->count > 0;
}

static bool is_param(const char *segment, size_t len)
{
    return len > 2 && segment[0] == '{' && segment[len - 1] == '}';
}

static void route_free(struct net_http_route *r)
{
    free((void *)(uintptr_t)r->method);
    free((void *)(uintptr_t)r->path);
    free(r);
}

static struct net_http_route *route_copy(const struct net_http_route *route)
{
    struct net_http_route *own = malloc(sizeof *own);
    if (own == NULL)
        return NULL;
    *own = *route;
    own->method = strdup(route->method);
    own->path = strdup(route->path);
    if (own->method != NULL && own->path != NULL)
        return own;
    route_free(own);
    return NULL;
}

int net_http_route_add(struct net_http_server *s, const struct net_http_route *route,
                       struct base_err *err)
{
    struct segments pattern;
    unsigned params = 0;
    struct net_http_routes *r = &s->routes;
    if (!route->auth_decided)
        return base_fail(err, BASE_EINVALID, "route %s %s: nobody has decided who may call it",
                         route->method, route->path);
    if (route->handler == NULL || !cut(&pattern, route->path))
        return base_fail(err, BASE_EINVALID, "route %s %s is malformed", route->method,
                         route->path);
    for (unsigned i = 0; i < pattern.count; i++)
        params += is_param(pattern.at[i], pattern.len[i]);
    if (params > NET_HTTP_PATH_PARAMS_MAX)
        return base_fail(err, BASE_EINVALID, "route %s %s has more than %d parameters",
                         route->method, route->path, NET_HTTP_PATH_PARAMS_MAX);
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->items[i]->method, route->method) == 0 &&
            strcmp(r->items[i]->path, route->path) == 0)
            return base_fail(err, BASE_EEXISTS, "route %s %s is there twice", route->method,
                             route->path);
    if (r->count == r->cap) {
        size_t cap = r->cap == 0 ? 32 : r->cap * 2;
        struct net_http_route **items = realloc(r->items, cap * sizeof *items);
        if (items == NULL)
            return base_fail(err, BASE_ENOMEM, "out of memory for routes");
        r->items = items;
        r->cap = cap;
    }
    struct net_http_route *own = route_copy(route);
    if (own == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for routes");
    r->items[r->count++] = own;
    return 0;
}

void net_http_routes_release(struct net_http_routes *r)
{
    for (size_t i = 0; i < r->count; i++)
        route_free(r->items[i]);
    free(r->items);
    *r = (struct net_http_routes){.items = NULL};
}

void net_http_routes_each(const struct net_http_server *s, void *user, net_http_route_cb cb)
{
    for (size_t i = 0; i < s->routes.count; i++)
        cb(user, s->routes.items[i]);
}

/* 0: no match. Else a number that is higher the earlier a fixed segment stands. */
static uint32_t match(const struct segments *asked, const char *path)
{
    struct segments pattern;
    uint32_t score = 1;
    if (!cut(&pattern, path) || pattern.count != asked->count)
        return 0;
    for (unsigned i = 0; i < asked->count; i++) {
        bool param = is_param(pattern.at[i], pattern.len[i]);
        if (param ? asked->len[i] == 0
                  : asked->len[i] != pattern.len[i] ||
                        memcmp(asked->at[i], pattern.at[i], asked->len[i]) != 0)
            return 0;
        score = score << 1 | !param;
    }
    return score;
}

static void allow(struct net_http_exchange *x, const char *method)
{
    size_t used = strlen(x->allow);
    size_t len = strlen(method);
    if (strstr(x->allow, method) != NULL || used + len + 3 > sizeof x->allow)
        return;
    if (used > 0) {
        memcpy(x->allow + used, ", ", 2);
        used += 2;
    }
    memcpy(x->allow + used, method, len + 1);
}

static void find_route(struct net_http_exchange *x, const struct segments *asked)
{
    const struct net_http_routes *r = &x->server->routes;
    const char *method = strcmp(x->method, "HEAD") == 0 ? "GET" : x->method;
    uint32_t best = 0;
    for (size_t i = 0; i < r->count; i++) {
        uint32_t score = match(asked, r->items[i]->path);
        if (score == 0)
            continue;
        allow(x, r->items[i]->method);
        if (score > best && strcmp(r->items[i]->method, method) == 0) {
            best = score;
            x->route = r->items[i];
        }
    }
    if (x->route == NULL && x->allow[0] != '\0')
        net_http_refuse(x, 405, "method_not_allowed", "This address does not take this method.");
    else if (x->route == NULL)
        net_http_refuse(x, 404, "not_found", "There is nothing at this address.");
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decodes [from, end) to *to and terminates it; false: malformed or a control character. */
static bool decode(char **to, const char *from, const char *end, bool form)
{
    char *at = *to;
    for (; from < end; from++) {
        char c = *from;
        if (c == '%') {
            int high = end - from > 2 ? hex(from[1]) : -1;
            int low = high < 0 ? -1 : hex(from[2]);
            if (low < 0)
                return false;
            c = (char)(high << 4 | low);
            if (!form && c == '/')
                return false; /* would become another path than the one that was matched */
            from += 2;
        } else if (form && c == '+') {
            c = ' ';
        }
        if ((unsigned char)c < 0x20 || c == 0x7f)
            return false;
        *at++ = c;
    }
    *at++ = '\0';
    *to = at;
    return true;
}

/* RFC 3629, without the surrogates and overlong forms. */
static bool utf8(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    while (*p != '\0') {
        if (*p < 0x80) {
            p++;
            continue;
        }
        int more = *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : 1;
        uint32_t v = *p & (0x3fu >> more);
        if (*p < 0xc2 || *p > 0xf4)
            return false;
        for (int i = 1; i <= more; i++) {
            if ((p[i] & 0xc0) != 0x80)
                return false;
            v = v << 6 | (p[i] & 0x3f);
        }
        if ((more == 2 && (v < 0x800 || (v >= 0xd800 && v <= 0xdfff))) ||
            (more == 3 && (v < 0x10000 || v > 0x10ffff)))
            return false;
        p += more + 1;
    }
    return true;
}

static bool read_query(struct net_http_exchange *x, char **to, const char *query)
{
    while (*query != '\0') {
        const char *end = query + strcspn(query, "&");
        const char *equals = memchr(query, '=', (size_t)(end - query));
        if (end > query) {
            struct net_http_pair *pair = &x->query[x->query_count];
            if (x->query_count == NET_HTTP_QUERY_MAX)
                return false;
            pair->name = *to;
            if (!decode(to, query, equals != NULL ? equals : end, true))
                return false;
            pair->value = *to;
            if (!decode(to, equals != NULL ? equals + 1 : end, end, true) || !utf8(pair->name) ||
                !utf8(pair->value))
                return false;
            x->query_count++;
        }
        query = *end == '\0' ? end : end + 1;
    }
    return true;
}

static bool dots(const struct segments *s)
{
    for (unsigned i = 0; i < s->count; i++)
        if ((s->len[i] == 1 && s->at[i][0] == '.') ||
            (s->len[i] == 2 && memcmp(s->at[i], "..", 2) == 0))
            return true;
    return false;
}

static void read_params(struct net_http_exchange *x, char **to, const struct segments *asked)
{
    struct segments pattern;
    if (!cut(&pattern, x->route->path))
        return;
    for (unsigned i = 0; i < pattern.count; i++) {
        BASE_ASSERT(i < asked->count && asked->at[i] != NULL);
        if (!is_param(pattern.at[i], pattern.len[i]))
            continue;
        struct net_http_pair *pair = &x->params[x->param_count++];
        pair->name = pattern.at[i]; /* "{name}/…": compared with its braces */
        pair->value = *to;
        memcpy(*to, asked->at[i], asked->len[i]);
        (*to)[asked->len[i]] = '\0';
        *to += asked->len[i] + 1;
    }
}

/* x->text has room for twice the target and all terminators: path and its parameters, query. */
void net_http_target_read(struct net_http_exchange *x)
{
    struct segments asked = {.count = 0};
    char *to = x->text;
    const char *end = x->target + strcspn(x->target, "?");
    x->path = to;
    if (x->target[0] != '/' || !decode(&to, x->target, end, false) || !utf8(x->path)) {
        x->path = "";
        net_http_refuse(x, 400, "bad_path", "The address is not a well-formed path.");
        return;
    }
    if (!cut(&asked, x->path) || dots(&asked)) {
        net_http_refuse(x, 400, "bad_path", "The address has \".\", \"..\" or too many parts.");
        return;
    }
    if (*end == '?' && !read_query(x, &to, end + 1)) {
        x->query_count = 0;
        net_http_refuse(x, 400, "bad_path",
                        "The query is not well-formed or has too many parameters.");
        return;
    }
    find_route(x, &asked);
    if (x->route != NULL)
        read_params(x, &to, &asked);
}

const char *net_http_param(const struct net_http_exchange *x, const char *name)
{
    size_t len = strlen(name);
    for (unsigned i = 0; i < x->param_count; i++)
        if (strncmp(x->params[i].name + 1, name, len) == 0 && x->params[i].name[len + 1] == '}')
            return x->params[i].value;
    return NULL;
}

const char *net_http_query(const struct net_http_exchange *x, const char *name)
{
    for (unsigned i = 0; i < x->query_count; i++)
        if (strcmp(x->query[i].name, name) == 0)
            return x->query[i].value;
    return NULL;
}

void net_http_query_each(const struct net_http_exchange *x, void *user, net_http_query_cb cb)
{
    for (unsigned i = 0; i < x->query_count; i++)
        if (!cb(user, x->query[i].name, x->query[i].value))
            return;
}
