#include "sync/net/issuer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "sync/base/clock.h"
#include "sync/base/log.h"
#include "sync/net/fetch.h"
#include "sync/net/json.h"

struct waiting { /* either checked or up is set */
    struct net_issuer_ask ask;
    net_issuer_cb checked;
    net_issuer_up_cb up;
    void *user;
};

/* What the provider publishes. */
struct published {
    struct net_discovery where;
    struct net_jwks *keys;
};

struct net_issuer {
    struct uv_loop_s *loop;
    struct net_issuer_config config;
    struct published now;                  /* keys NULL: none yet */
    int64_t fetched_ms, tried_ms, came_ms; /* monotonic; 0: never */
    bool fetching, freed, last_good, told_away;
    struct waiting waiting[NET_ISSUER_WAITING_MAX]; /* for the fetch under way */
    int waiting_count;
    /* the fetch under way: the pool's, until it is done */
    uv_work_t work;
    struct published fetched;
    struct base_buf document;
    int fetch_rc;
    struct base_err fetch_err;
};

/* ---- fetching (on the pool) ---------------------------------------------------------------- */

static int get(const struct net_issuer *i, const char *url, struct base_buf *out,
               struct base_err *err)
{
    long status = 0;
    struct net_fetch f = {.url = url,
                          .ca_path = i->config.ca[0] == '\0' ? NULL : i->config.ca,
                          .tls12 = true,
                          .timeout_ms = NET_ISSUER_FETCH_MS};
    base_buf_clear(out);
    int rc = net_fetch(&f, out, &status, err);
    if (rc == 0 && status != 200)
        rc = base_fail(err, BASE_EPROTO, "%s answered %ld", url, status);
    return rc;
}

static int parse_keys(struct net_jwks **out, const char *json, size_t len, struct base_err *err)
{
    int rc = net_jwks_parse(out, json, len, err);
    if (rc == 0 && net_jwks_count(*out) == 0) {
        net_jwks_free(*out);
        *out = NULL;
        rc = base_fail(err, BASE_EPROTO, "the key set has no key that could be used");
    }
    return rc;
}

/* Both texts have been parsed: they go into the document as they came. */
static void fetch_run(uv_work_t *work)
{
    struct net_issuer *i = work->data;
    struct base_err *err = &i->fetch_err;
    char url[NET_ISSUER_BYTES_MAX + 64];
    struct base_buf b;
    size_t n = strlen(i->config.issuer);
    base_buf_init(&b, NET_JWKS_BYTES_MAX);
    base_buf_clear(&i->document);
    (void)snprintf(url, sizeof url, "%s%s.well-known/openid-configuration", i->config.issuer,
                   i->config.issuer[n - 1] == '/' ? "" : "/");
    i->fetched.keys = NULL;
    int rc = get(i, url, &b, err);
    if (rc == 0)
        rc = net_discovery_parse(&i->fetched.where, b.data == NULL ? "" : b.data, b.len,
                                 i->config.issuer, err);
    if (rc == 0) {
        base_buf_str(&i->document, "{\"discovery\":");
        base_buf_add(&i->document, b.data, b.len);
        rc = get(i, i->fetched.where.jwks_uri, &b, err);
    }
    if (rc == 0)
        rc = parse_keys(&i->fetched.keys, b.data == NULL ? "" : b.data, b.len, err);
    if (rc == 0) {
        base_buf_str(&i->document, ",\"jwks\":");
        base_buf_add(&i->document, b.data, b.len);
        base_buf_char(&i->document, '}');
    }
    i->fetch_rc = rc;
    base_buf_release(&b);
}

static void issuer_end(struct net_issuer *i)
{
    net_jwks_free(i->now.keys);
    base_buf_release(&i->document);
    free(i);
}

static void check(struct net_issuer *i, const struct waiting *w, bool may_wait);

/* Told once, not each time it is asked whether it is there. */
static void take_fetched(struct net_issuer *i, enum base_log_level level)
{
    net_jwks_free(i->now.keys);
    i->now = i->fetched;
    i->fetched_ms = i->came_ms = base_clock_monotonic_ms();
    base_log(level, "issuer_keys", "%d keys of %s", net_jwks_count(i->now.keys), i->config.issuer);
    if (i->config.fetched != NULL && base_buf_check(&i->document) == 0)
        i->config.fetched(i->config.user, i->document.data, i->document.len);
}

static void answer_all(struct net_issuer *i)
{
    struct waiting list[NET_ISSUER_WAITING_MAX];
    int count = i->waiting_count;
    memcpy(list, i->waiting, sizeof list);
    i->waiting_count = 0;
    for (int n = 0; n < count; n++) {
        if (list[n].up != NULL)
            list[n].up(list[n].user, !i->freed && i->last_good ? &i->now.where : NULL);
        else if (i->freed)
            list[n].checked(list[n].user, BASE_ECANCELED, NULL, "stopping");
        else
            check(i, &list[n], false);
    }
}

static void fetch_done(uv_work_t *work, int status)
{
    struct net_issuer *i = work->data;
    bool was_good = i->last_good;
    bool first = i->came_ms == 0 && !i->told_away;
    i->fetching = false;
    i->last_good = status == 0 && i->fetch_rc == 0;
    if (i->freed) {
        if (i->last_good)
            net_jwks_free(i->fetched.keys);
        issuer_end(i);
        return;
    }
    if (i->last_good)
        take_fetched(i, was_good ? BASE_LOG_DEBUG : BASE_LOG_INFO);
    else
        base_log(was_good || first ? BASE_LOG_WARN : BASE_LOG_DEBUG, "issuer_away", "%s; %s",
                 i->fetch_err.text,
                 i->now.keys == NULL ? "nobody can be let in by token"
                                     : "the keys known go on serving");
    i->told_away = !i->last_good;
    answer_all(i);
}

static void fetch(struct net_issuer *i)
{
    int64_t now = base_clock_monotonic_ms();
    if (i->fetching || i->freed ||
        (i->tried_ms != 0 && now - i->tried_ms < NET_ISSUER_COOL_DOWN_MS))
        return;
    i->tried_ms = now;
    i->work.data = i;
    i->fetching = uv_queue_work(i->loop, &i->work, fetch_run, fetch_done) == 0;
}

static bool wait_for_fetch(struct net_issuer *i, const struct waiting *w)
{
    fetch(i);
    if (!i->fetching || i->waiting_count == NET_ISSUER_WAITING_MAX)
        return false;
    i->waiting[i->waiting_count++] = *w;
    return true;
}

/* ---- checking ------------------------------------------------------------------------------ */

static void check(struct net_issuer *i, const struct waiting *w, bool may_wait)
{
    struct net_access a;
    struct base_err err = {0};
    struct net_access_want want = {.issuer = i->config.issuer,
                                   .audience = w->ask.audience != NULL ? w->ask.audience
                                                                       : i->config.audience,
                                   .tenant_claim = i->config.tenant_claim,
                                   .nonce = w->ask.nonce,
                                   .now_s = base_clock_wall_ms() / 1000};
    if (i->now.keys == NULL) {
        if (!may_wait || !wait_for_fetch(i, w))
            w->checked(w->user, BASE_EUNREACHABLE, NULL, "the issuer's keys are not known");
        return;
    }
    int rc = net_access_check(&a, w->ask.token, w->ask.len, i->now.keys, &want, &err);
    if (rc == BASE_ENOTFOUND && may_wait && wait_for_fetch(i, w))
        return; /* the provider may have a new key */
    if (rc == BASE_ENOTFOUND)
        rc = BASE_EAUTH;
    w->checked(w->user, rc, rc == 0 ? &a : NULL, err.text);
}

void net_issuer_check(struct net_issuer *i, const struct net_issuer_ask *ask, void *user,
                      net_issuer_cb done)
{
    struct waiting w = {.ask = *ask, .checked = done, .user = user};
    if (i->now.keys != NULL &&
        (i->fetched_ms == 0 || base_clock_monotonic_ms() - i->fetched_ms > NET_ISSUER_FRESH_MS))
        fetch(i); /* meanwhile the old ones serve */
    check(i, &w, true);
}

void net_issuer_up(struct net_issuer *i, void *user, net_issuer_up_cb done)
{
    struct waiting w = {.up = done, .user = user};
    if (i->last_good && base_clock_monotonic_ms() - i->came_ms < NET_ISSUER_COOL_DOWN_MS)
        done(user, &i->now.where);
    else if (!wait_for_fetch(i, &w))
        done(user, i->last_good ? &i->now.where : NULL);
}

bool net_issuer_is_up(const struct net_issuer *i)
{
    return i->last_good && base_clock_monotonic_ms() - i->came_ms < 3 * NET_ISSUER_UP_MS;
}

void net_issuer_tick(struct net_issuer *i)
{
    int64_t pause = i->last_good ? NET_ISSUER_UP_MS : 2 * NET_ISSUER_COOL_DOWN_MS;
    if (i->tried_ms == 0 || base_clock_monotonic_ms() - i->tried_ms >= pause)
        fetch(i);
}

/* ---- life ---------------------------------------------------------------------------------- */

static int adopt_keys(struct net_issuer *i, const cJSON *root, struct base_err *err)
{
    struct published p = {.keys = NULL};
    char *where = cJSON_PrintUnformatted(cJSON_GetObjectItemCaseSensitive(root, "discovery"));
    char *keys = cJSON_PrintUnformatted(cJSON_GetObjectItemCaseSensitive(root, "jwks"));
    int rc = where == NULL || keys == NULL
                 ? base_fail(err, BASE_ECORRUPT, "it lacks discovery or jwks")
                 : net_discovery_parse(&p.where, where, strlen(where), i->config.issuer, err);
    if (rc == 0)
        rc = parse_keys(&p.keys, keys, strlen(keys), err);
    cJSON_free(where);
    cJSON_free(keys);
    if (rc != 0)
        return rc;
    if (i->now.keys == NULL)
        i->now = p;
    else
        net_jwks_free(p.keys); /* the provider was faster */
    return 0;
}

int net_issuer_adopt(struct net_issuer *i, const char *document, size_t len, struct base_err *err)
{
    cJSON *root = NULL;
    int rc = net_json_parse(&root, document, len, err);
    if (rc == 0)
        rc = adopt_keys(i, root, err);
    cJSON_Delete(root);
    return rc == 0 ? 0 : base_err_prefix(err, rc, "what was kept of the issuer");
}

int net_issuer_new(struct net_issuer **out, struct uv_loop_s *loop,
                   const struct net_issuer_config *config, struct base_err *err)
{
    if (strncmp(config->issuer, "https://", 8) != 0 ||
        strlen(config->issuer) > NET_ISSUER_BYTES_MAX)
        return base_fail(err, BASE_EINVALID,
                         "oidc.issuer must be an https address of at most %d bytes",
                         NET_ISSUER_BYTES_MAX);
    struct net_issuer *i = calloc(1, sizeof *i);
    if (i == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory");
    i->loop = loop;
    i->config = *config;
    base_buf_init(&i->document, NET_ISSUER_DOCUMENT_BYTES_MAX);
    *out = i;
    return 0;
}

void net_issuer_free(struct net_issuer *i)
{
    if (i == NULL)
        return;
    i->freed = true;
    answer_all(i);
    if (!i->fetching)
        issuer_end(i);
}
