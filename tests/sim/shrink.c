/* A failing schedule made short: steps are left out as long as it fails in the same way. */
#include "tests/sim/sim.h"

enum { TRIES_MAX = 4000 };

static bool fails_alike(struct sim_world *w, const struct sim_schedule *s, const char *how)
{
    struct sim_figures f = {0};
    bool ok = sim_run(w, s, &f, false);
    return !ok && strncmp(w->failed, how, 16) == 0;
}

static void without(struct sim_schedule *out, const struct sim_schedule *s, int from, int count)
{
    *out = *s;
    memmove(&out->steps[from], &out->steps[from + count],
            (size_t)(s->count - from - count) * sizeof out->steps[0]);
    out->count -= count;
}

void sim_shrink(struct sim_world *w, struct sim_schedule *s)
{
    static struct sim_schedule smaller;
    char how[sizeof w->failed];
    int tries = 0;
    memcpy(how, w->failed, sizeof how);
    for (int chunk = s->count / 2; chunk >= 1 && tries < TRIES_MAX;) {
        bool found = false;
        for (int at = 0; at + chunk <= s->count && tries < TRIES_MAX; tries++) {
            without(&smaller, s, at, chunk);
            if (fails_alike(w, &smaller, how)) {
                *s = smaller;
                found = true;
            } else {
                at += chunk;
            }
        }
        if (!found || chunk > 1)
            chunk = found && chunk == 1 ? 1 : chunk / 2;
    }
}
