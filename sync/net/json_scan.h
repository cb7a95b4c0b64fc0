/*
 * sync/net/json_scan.h - the strict reading of one JSON text, before cJSON sees it. Internal to
 * sync/net/json.c.
 *
 * Refuses what cJSON lets through (bytes behind the value, lone surrogates, broken UTF-8, control
 * characters in strings, NUL, numbers like 01 or 1.) and notes where each key and each number
 * begins, in the order of the text, so that the tree made from it can get exact numbers and errors
 * with a place.
 */
#ifndef SYNC_NET_JSON_SCAN_H
#define SYNC_NET_JSON_SCAN_H

#include <stddef.h>
#include <stdint.h>

#include "sync/base/err.h"

enum {
    NET_JSON_NUMBER_CHARS_MAX =
        63, /* cJSON's own buffer: a longer one would be cut without a word */
    NET_JSON_MARKS_INLINE = 128
};

struct net_json_scan {
    const unsigned char *text, *end, *at;
    uint32_t nodes;
    uint32_t *marks; /* offsets: of a member's key, then of its value if that is a number */
    uint32_t mark_count, mark_cap;
    uint32_t few[NET_JSON_MARKS_INLINE];
    struct base_err *err;
};

/* 0, BASE_EINVALID (what was expected, line, column), BASE_ETOOBIG (depth, values, number),
 * BASE_ENOMEM. */
int net_json_scan(struct net_json_scan *s, const char *text, size_t len, struct base_err *err);
void net_json_scan_release(struct net_json_scan *s);
/* The message for a fault at a place that the scan itself could not see. */
int net_json_scan_fail(const struct net_json_scan *s, size_t offset, int code, const char *what);
/* Length of the number that begins at text, as the scan accepted it. */
size_t net_json_number_chars(const char *text, const char *end);

#endif
