/*
 * The ward app: files of the program, to anybody (they hold no data), under a policy that lets
 * them load nothing but each other.
 */
#include "node/api/web.h"

#include <string.h>

#include "node/api/internal.h"

static const char app_policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'";

static const struct api_web_file *file_of(const char *name)
{
    for (size_t i = 0; name != NULL && i < api_web_file_count; i++)
        if (strcmp(api_web_files[i].name, name) == 0)
            return &api_web_files[i];
    return NULL;
}

static void app_headers(struct net_http_exchange *x, const struct api_web_file *f)
{
    net_http_reply_header(x, "Content-Security-Policy", app_policy);
    net_http_reply_header(x, "Referrer-Policy", "no-referrer");
    net_http_reply_header(x, "X-Content-Type-Options", "nosniff");
    net_http_reply_header(x, "Cross-Origin-Opener-Policy", "same-origin");
    /* Kept, but asked for each time: a node that was upgraded serves its new app at once. */
    net_http_reply_header(x, "Cache-Control", "no-cache");
    net_http_reply_header(x, "ETag", f->etag);
}

static void serve(struct net_http_exchange *x, struct node_api *a, const char *name)
{
    const struct api_web_file *f = file_of(name);
    struct api_call *c = api_begin_open(x, a);
    if (c == NULL)
        return;
    if (f == NULL) {
        api_refuse(c, 404, "not_found", NULL, "the app has no such file");
        api_finish(c);
        return;
    }
    const char *seen = net_http_header(x, "If-None-Match");
    app_headers(x, f);
    if (seen != NULL && strcmp(seen, f->etag) == 0)
        net_http_reply(x, 304, f->type, "", 0);
    else
        net_http_reply(x, 200, f->type, f->data, f->len);
    api_free(c);
}

void api_on_app(struct net_http_exchange *x, void *user)
{
    serve(x, user, "index.html");
}

void api_on_app_file(struct net_http_exchange *x, void *user)
{
    serve(x, user, net_http_param(x, "file"));
}

/* At the top, because a worker rules over the paths beneath its own. */
void api_on_app_worker(struct net_http_exchange *x, void *user)
{
    serve(x, user, "sw.js");
}
