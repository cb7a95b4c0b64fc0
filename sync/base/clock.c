#include "sync/base/clock.h"

#include <stdio.h>
#include <time.h>

static int64_t clock_us(clockid_t id)
{
    struct timespec t;
    (void)clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t base_clock_wall_ms(void)
{
    return clock_us(CLOCK_REALTIME) / 1000;
}

int64_t base_clock_monotonic_ms(void)
{
    return clock_us(CLOCK_MONOTONIC) / 1000;
}

int64_t base_clock_monotonic_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

void base_time_format(int64_t unix_ms, char out[BASE_TIME_CHARS + 1])
{
    int64_t ms = unix_ms % 1000;
    if (ms < 0)
        ms += 1000;
    time_t s = (time_t)((unix_ms - ms) / 1000);
    struct tm tm;
    char text[40];
    (void)gmtime_r(&s, &tm);
    (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(out, BASE_TIME_CHARS + 1, "%.19s.%03dZ", text, (int)ms);
}
