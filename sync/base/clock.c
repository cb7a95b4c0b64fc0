#include "sync/base/clock.h"

#include <stdio.h>
#include <string.h>
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

int64_t base_clock_uptime_ms(void)
{
    return clock_us(CLOCK_BOOTTIME) / 1000;
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

bool base_time_parse(const char *s, int64_t *unix_ms)
{
    struct tm tm = {0};
    int ms = 0;
    int used = 0;
    if (strlen(s) < 20 ||
        sscanf(s, "%4d-%2d-%2dT%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour,
               &tm.tm_min, &tm.tm_sec, &used) != 6 ||
        used != 19)
        return false;
    if (s[19] == '.') {
        if (sscanf(s + 19, ".%3dZ%n", &ms, &used) != 1 || used != 5)
            return false;
        used += 19;
    } else if (s[used++] != 'Z') {
        return false;
    }
    if (s[used] != '\0' || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_mday > 31)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    *unix_ms = (int64_t)timegm(&tm) * 1000 + ms;
    return true;
}
