/*
 * sync/core/change.h - one row written at one node, and its line.
 *
 * The line is the canonical form (docs/PROTOCOL.md, "A change and its line"): written once, then
 * stored, hashed, signed and sent byte for byte. The reader accepts exactly what the writer writes:
 * members in order, no white space.
 */
#ifndef SYNC_CORE_CHANGE_H
#define SYNC_CORE_CHANGE_H

#include <stdint.h>

#include "sync/base/uuid.h"
#include "sync/core/image.h"

enum {
    CORE_CHANGE_LINE_BYTES_MAX = 256 * 1024,
    CORE_BATCH_CHANGES_MAX = 5000,
    CORE_BATCH_BYTES_MAX = 32 * 1024 * 1024,
    CORE_DEVICE_BYTES_MAX = 64
};

enum core_op { CORE_OP_INSERT = 'i', CORE_OP_UPDATE = 'u', CORE_OP_DELETE = 'd' };
enum core_clock { CORE_CLOCK_OK, CORE_CLOCK_UNSURE, CORE_CLOCK_WRONG };

struct core_change_value {
    struct core_text name;
    struct core_text value;
};

struct core_change {
    int64_t seq, txn, base;
    enum core_op op;
    struct core_text table;
    struct base_uuid id;
    const struct core_change_value *values;
    int value_count;
    struct base_uuid actor; /* zero: none */
    struct core_text device;
    struct core_text at;
    enum core_clock clock;
};

const char *core_clock_name(enum core_clock clock);
/* Appends the line without newline. */
void core_change_write(struct base_buf *out, const struct core_change *c);
/* line: without newline. Texts point into line or arena. */
int core_change_read(struct core_change *out, const char *line, size_t len,
                     struct base_arena *arena, struct base_err *err);

#endif
