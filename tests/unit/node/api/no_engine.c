/*
 * tests/unit/node/api/no_engine.c - what the API links to where a test runs it without an engine
 * (node_api_start with NULL): nothing of this is ever called but the names of states.
 */
#include "node/engine/engine.h"

const char *node_state_name(enum node_state s)
{
    static const char *const names[] = {"current", "syncing", "offline", "attention"};
    return names[s];
}

void node_engine_status(const struct node_engine *e, struct node_engine_status *out)
{
    base_assert_failed("there is an engine", __FILE__, __LINE__);
}

void node_engine_kick(struct node_engine *e)
{
    base_assert_failed("there is an engine", __FILE__, __LINE__);
}

void node_engine_on_status(struct node_engine *e, void (*cb)(void *user), void *user)
{
    base_assert_failed("there is an engine", __FILE__, __LINE__);
}

void node_engine_standing(struct node_engine *e, const struct base_uuid *staff_id, void *user,
                          node_standing_cb done)
{
    base_assert_failed("there is an engine", __FILE__, __LINE__);
}

int node_engine_verify(struct node_engine *e, void *user, node_verified_cb done,
                       struct base_err *err)
{
    base_assert_failed("there is an engine", __FILE__, __LINE__);
}

void node_engine_audit(struct node_engine *e, const char *action, const char *outcome,
                       const char *detail)
{
    base_assert_failed("there is an engine", __FILE__, __LINE__);
}

void node_engine_probe(struct node_engine *e, void *user, node_probed_cb done)
{
    base_assert_failed("there is an engine", __FILE__, __LINE__);
}

void node_probe_write(struct base_buf *out, const struct node_probe *p)
{
    base_assert_failed("there is an engine", __FILE__, __LINE__);
}
