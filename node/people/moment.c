#include "node/people/people.h"

struct cursor {
    const char *s, *end;
};

static bool number(struct cursor *c, int n, int64_t *out)
{
    int64_t v = 0;
    for (int i = 0; i < n; i++) {
        if (c->s == c->end || *c->s < '0' || *c->s > '9')
            return false;
        v = v * 10 + (*c->s++ - '0');
    }
    *out = v;
    return true;
}

static bool literal(struct cursor *c, char what)
{
    if (c->s == c->end || *c->s != what)
        return false;
    c->s++;
    return true;
}

/* Days since 1970 of a Gregorian date (Howard Hinnant, "chrono-compatible low-level date
 * algorithms"). */
static int64_t days_from_civil(int64_t y, int64_t m, int64_t d)
{
    y -= m <= 2;
    int64_t era = y / 400;
    int64_t yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + doe - 719468;
}

static bool read_time(struct cursor *c, int64_t *ms)
{
    int64_t hour = 0;
    int64_t minute = 0;
    int64_t second = 0;
    if (!number(c, 2, &hour) || !literal(c, ':') || !number(c, 2, &minute) || !literal(c, ':') ||
        !number(c, 2, &second))
        return false;
    *ms = ((hour * 60 + minute) * 60 + second) * 1000;
    if (!literal(c, '.'))
        return true;
    int64_t unit = 100;
    while (c->s < c->end && *c->s >= '0' && *c->s <= '9') {
        *ms += (*c->s++ - '0') * unit;
        unit /= 10;
    }
    return true;
}

/* Z, +02:00, and PostgreSQL's +00. */
static bool read_offset(struct cursor *c, int64_t *ms)
{
    int64_t hour = 0;
    int64_t minute = 0;
    *ms = 0;
    if (c->s == c->end || literal(c, 'Z'))
        return true;
    int64_t sign = literal(c, '-') ? -1 : 1;
    if (sign > 0 && !literal(c, '+'))
        return false;
    if (!number(c, 2, &hour) || (literal(c, ':') && !number(c, 2, &minute)))
        return false;
    *ms = sign * (hour * 60 + minute) * 60000;
    return true;
}

bool node_moment_ms(int64_t *out, const char *text, size_t len)
{
    struct cursor c = {text, text + len};
    int64_t year = 0;
    int64_t month = 1;
    int64_t day = 1;
    int64_t time = 0;
    int64_t offset = 0;
    if (!number(&c, 4, &year) || (literal(&c, '-') && !number(&c, 2, &month)) ||
        (literal(&c, '-') && !number(&c, 2, &day)) || month < 1 || month > 12 || day < 1 ||
        day > 31)
        return false;
    bool timed = literal(&c, 'T') || literal(&c, ' ');
    if (timed && (!read_time(&c, &time) || !read_offset(&c, &offset)))
        return false;
    if (c.s != c.end)
        return false;
    *out = days_from_civil(year, month, day) * 86400000 + time - offset;
    return true;
}
