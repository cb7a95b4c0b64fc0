/*
 * sync/base/uuid.h - uuids as 16 bytes and as their 36 lower-case characters (RFC 9562).
 */
#ifndef SYNC_BASE_UUID_H
#define SYNC_BASE_UUID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BASE_UUID_BYTES = 16, BASE_UUID_CHARS = 36 };

struct base_uuid {
    uint8_t bytes[BASE_UUID_BYTES];
};

/* Accepts 8-4-4-4-12 hex digits of either case, exactly len == 36. False: nothing was written. */
bool base_uuid_parse(struct base_uuid *out, const char *s, size_t len);
void base_uuid_format(const struct base_uuid *u, char out[BASE_UUID_CHARS + 1]);
/* Version 7 from milliseconds since 1970 and ten random bytes. */
void base_uuid_v7(struct base_uuid *out, int64_t unix_ms, const uint8_t random[10]);
bool base_uuid_is_zero(const struct base_uuid *u);
bool base_uuid_equal(const struct base_uuid *a, const struct base_uuid *b);

#endif
