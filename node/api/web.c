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

/* The page of a training node says so before any script runs or anybody has logged in. It is sent whole each
 * time: under the other page's ETag a browser that knew this address before would keep that one. */
static const char head_end[] = "<head>\n";
static const char training_meta[] = "<meta name=\"everward-training\" content=\"true\">\n";

static bool mark_page(const struct api_web_file *f, struct base_buf *out)
{
    const char *page = (const char *)f->data;
    const char *at = strstr(page, head_end); /* the array ends with a zero */
    if (at == NULL)
        return false;
    size_t before = (size_t)(at - page) + sizeof head_end - 1;
    base_buf_add(out, page, before);
    base_buf_str(out, training_meta);
    base_buf_add(out, page + before, f->len - before);
    return base_buf_check(out) == 0;
}

static void app_headers(struct net_http_exchange *x, const struct api_web_file *f)
{
    net_http_reply_header(x, "Content-Security-Policy", app_policy);
    net_http_reply_header(x, "Referrer-Policy", "no-referrer");
    net_http_reply_header(x, "X-Content-Type-Options", "nosniff");
    net_http_reply_header(x, "Cross-Origin-Opener-Policy", "same-origin");
    /* Kept, but asked for each time: a node that was upgraded serves its new app at once. */
    net_http_reply_header(x, "Cache-Control", "no-cache");
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
    if (node_store_identity(a->store)->training && strcmp(name, "index.html") == 0) {
        bool marked = mark_page(f, &c->body);
        net_http_reply(x, marked ? 200 : 500, f->type, marked ? c->body.data : "",
                       marked ? c->body.len : 0);
        api_free(c);
        return;
    }
    net_http_reply_header(x, "ETag", f->etag);
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
