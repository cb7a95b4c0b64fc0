/*
 * tests/sim/wire.h - what the simulated centre says, as the bytes of docs/PROTOCOL.md.
 *
 * Does not: compress. A reply that is cut off ends somewhere in a line.
 */
#ifndef TESTS_SIM_WIRE_H
#define TESTS_SIM_WIRE_H

#include "tests/sim/sim.h"

void sim_timeline(struct base_uuid *out, int64_t timeline);
void sim_tenant(struct base_uuid *out);
void sim_feed_text(struct base_buf *b, const struct sim_world *w, const struct sim_reply *r);
void sim_page_text(struct base_buf *b, const struct sim_world *w, const struct sim_reply *r);
void sim_catalog_text(struct base_buf *b, const struct core_catalog *c);

#endif
