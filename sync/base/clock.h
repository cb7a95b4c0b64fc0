/*
 * sync/base/clock.h - the machine's clocks. Nothing in sync/core may include this: it gets `now` as
 * an argument.
 */
#ifndef SYNC_BASE_CLOCK_H
#define SYNC_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

enum { BASE_TIME_CHARS = 24 }; /* 2026-11-23T05:48:00.123Z */

int64_t base_clock_wall_ms(void);      /* since 1970, may jump; for showing and recording only */
int64_t base_clock_monotonic_ms(void); /* never jumps; for deadlines */
int64_t base_clock_monotonic_us(void);
int64_t base_clock_uptime_ms(void); /* never jumps, and goes on while the machine sleeps */
void base_time_format(int64_t unix_ms,
                      char out[BASE_TIME_CHARS + 1]); /* UTC with milliseconds and Z */
/* Reads exactly that form (milliseconds may be missing). False: malformed. */
bool base_time_parse(const char *s, int64_t *unix_ms);

#endif
