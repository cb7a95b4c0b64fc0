/*
 * Token buckets, per session and per address. Programs on the box itself are not held back, except
 * at the login.
 */
#include <string.h>

#include "node/api/internal.h"

static double refill(double tokens, int64_t past_ms, int per_s)
{
    double most = (double)per_s * API_RATE_BURST_S;
    tokens += (double)past_ms * per_s / 1000.0;
    return tokens > most ? most : tokens;
}

static struct api_address *address_of(struct node_api *a, const char *peer, int64_t now)
{
    uint32_t h = 2166136261u;
    for (const char *p = peer; *p != '\0'; p++)
        h = (h ^ (unsigned char)*p) * 16777619u;
    struct api_address *oldest = NULL;
    for (unsigned i = 0; i < 8; i++) {
        struct api_address *at = &a->addresses[(h + i) % API_ADDRESSES_MAX];
        if (at->at_ms != 0 && strcmp(at->text, peer) == 0)
            return at;
        if (oldest == NULL || at->at_ms < oldest->at_ms)
            oldest = at;
    }
    snprintf(oldest->text, sizeof oldest->text, "%s", peer);
    oldest->tokens = (double)API_RATE_ADDRESS_PER_S * API_RATE_BURST_S;
    oldest->login_tokens = (double)API_RATE_LOGIN_PER_S * API_RATE_BURST_S;
    oldest->at_ms = now;
    return oldest;
}

int api_rate(struct node_api *a, struct node_session *session, const char *peer, bool login)
{
    bool local = api_is_loopback(peer);
    if (local && !login)
        return 0;
    int64_t now = base_clock_monotonic_ms();
    struct api_address *at = address_of(a, peer, now);
    at->tokens = refill(at->tokens, now - at->at_ms, API_RATE_ADDRESS_PER_S);
    at->login_tokens = refill(at->login_tokens, now - at->at_ms, API_RATE_LOGIN_PER_S);
    at->at_ms = now;
    if (login) {
        if (at->login_tokens < 1)
            return 1;
        at->login_tokens -= 1;
    }
    if (local)
        return 0;
    if (session != NULL) {
        if (session->tokens_at_ms == 0)
            session->tokens = (double)API_RATE_SESSION_PER_S * API_RATE_BURST_S;
        else
            session->tokens =
                refill(session->tokens, now - session->tokens_at_ms, API_RATE_SESSION_PER_S);
        session->tokens_at_ms = now;
        if (session->tokens < 1)
            return 1;
        session->tokens -= 1;
    } else {
        if (at->tokens < 1)
            return 1;
        at->tokens -= 1;
    }
    return 0;
}
