/*
 * sync/net/json.h - cJSON behind a strict door.
 *
 * net_json_parse accepts exactly one RFC 8259 text: whole input, valid UTF-8, no duplicate keys, no
 * lone surrogates, no NUL, depth <= NET_JSON_DEPTH_MAX, at most NET_JSON_NODES_MAX values. Every
 * number keeps its exact text: in a number node `valuestring` holds the digits as they were sent
 * (cJSON itself loses digits above 2^53). Errors name line and column and what was expected, never
 * the input. Users may include <cjson/cJSON.h> through this header only.
 */
#ifndef SYNC_NET_JSON_H
#define SYNC_NET_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sync/base/buf.h"
#include "sync/base/err.h"

enum { NET_JSON_DEPTH_MAX = 32, NET_JSON_NODES_MAX = 200000 };

int net_json_parse(cJSON **out, const char *text, size_t len,
                   struct base_err *err); /* cJSON_Delete */

/* Typed access to an object's members; path is only for the message. Missing or other type:
 * BASE_EINVALID. */
int net_json_str(const cJSON *object, const char *name, size_t bytes_max, const char **out,
                 struct base_err *err);
int net_json_i64(const cJSON *object, const char *name, int64_t min, int64_t max, int64_t *out,
                 struct base_err *err); /* a whole number, or the same as a string of digits */
int net_json_bool(const cJSON *object, const char *name, bool *out, struct base_err *err);
bool net_json_has(const cJSON *object, const char *name);
/* Any member whose name is not in the NULL-terminated list: BASE_EINVALID naming it. */
int net_json_only(const cJSON *object, const char *const names[], struct base_err *err);
/* Writes a parsed value back out, numbers with their exact text. */
void net_json_write(struct base_buf *out, const cJSON *value);

#endif
