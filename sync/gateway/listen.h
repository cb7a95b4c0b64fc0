/*
 * sync/gateway/listen.h - one own connection that LISTENs to everward_feed.
 *
 * Never through a pool: a LISTEN belongs to a session. While it is down, `up` says so and the feed
 * looks by itself now and then; when it is back, everyone is woken once, because what was said
 * meanwhile was not heard.
 * Thread: the loop's.
 */
#ifndef SYNC_GATEWAY_LISTEN_H
#define SYNC_GATEWAY_LISTEN_H

#include <stdbool.h>

#include "sync/base/err.h"

enum { GW_LISTEN_RETRY_MS = 500 };

struct uv_loop_s;
struct gw_listen;

/* key NULL: the connection was (re)made, anything may have happened. */
typedef void (*gw_listen_cb)(void *user, const char *key);
int gw_listen_start(struct gw_listen **out, struct uv_loop_s *loop, const char *dsn, void *user,
                    gw_listen_cb heard, struct base_err *err);
void gw_listen_stop(struct gw_listen *l);
bool gw_listen_up(const struct gw_listen *l);

#endif
