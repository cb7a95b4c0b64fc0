/*
 * The fleet page's files: part of the program, to anybody (they hold no data), under a policy that
 * lets them load nothing but each other.
 */
#include <string.h>

#include "sync/gateway/fleet.h"

static const char policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static void serve(struct net_http_exchange *x, const char *name)
{
    const struct gw_web_file *f = NULL;
    for (size_t i = 0; name != NULL && f == NULL && i < gw_web_file_count; i++)
        if (strcmp(gw_web_files[i].name, name) == 0)
            f = &gw_web_files[i];
    if (f == NULL) {
        net_http_problem(x, 404, "not_found", "The fleet page has no such file.", NULL);
        return;
    }
    const char *seen = net_http_header(x, "If-None-Match");
    net_http_reply_header(x, "Content-Security-Policy", policy);
    net_http_reply_header(x, "Referrer-Policy", "no-referrer");
    net_http_reply_header(x, "X-Content-Type-Options", "nosniff");
    net_http_reply_header(x, "Cross-Origin-Opener-Policy", "same-origin");
    net_http_reply_header(x, "Cache-Control", "no-cache");
    net_http_reply_header(x, "ETag", f->etag);
    if (seen != NULL && strcmp(seen, f->etag) == 0)
        net_http_reply(x, 304, f->type, "", 0);
    else
        net_http_reply(x, 200, f->type, f->data, f->len);
}

static void on_page(struct net_http_exchange *x, void *user)
{
    (void)user;
    serve(x, "fleet.html");
}

static void on_file(struct net_http_exchange *x, void *user)
{
    (void)user;
    serve(x, net_http_param(x, "file"));
}

int gw_routes_fleet_web(struct gateway *gw, struct base_err *err)
{
    static const struct net_http_route routes[] = {{"GET", "/fleet", 0, true, on_page},
                                                   {"GET", "/fleet/{file}", 0, true, on_file}};
    int rc = 0;
    for (size_t i = 0; i < sizeof routes / sizeof routes[0] && rc == 0; i++)
        rc = net_http_route_add(gw->http, &routes[i], err);
    return rc;
}
