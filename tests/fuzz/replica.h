/* tests/fuzz/replica.h - a real sealed replica that takes hostile bodies, each undone again. */
#ifndef TESTS_FUZZ_REPLICA_H
#define TESTS_FUZZ_REPLICA_H

#include "tests/unit/node/store/support.h"

typedef int (*fuzz_apply_cb)(struct node_db *db, const char *body, size_t len,
                             struct base_err *err);

/* Filled, with two patients (one changed here, waiting) and a task; or, filled false, in its first
 * fill. Lives until the process ends; its folder is removed at once. */
struct fixture *fuzz_replica(bool filled);
/* Runs apply in the writer's transaction and undoes it; then, from time to time, looks whether
 * everything is as before. */
void fuzz_try(struct fixture *f, fuzz_apply_cb apply, const uint8_t *data, size_t size);

#endif
