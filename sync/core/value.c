/*
 * The forms of values, by type (docs/CENTRAL.md, "Types"). Strict: what PostgreSQL would refuse is
 * refused here, so that a bad value is named at the bedside and does not come back as a quarantine
 * hours later.
 */
#include "sync/base/uuid.h"
#include "sync/core/catalog.h"

enum {
    VALUE_TEXT_BYTES_MAX = 200 * 1024,
    VALUE_DECIMAL_DIGITS_MAX =
        1000, /* far above what a chart holds, far below PostgreSQL's 131072 */
    VALUE_INT_DIGITS_MAX = 19
};

struct cursor {
    const char *s, *end;
};

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Reads exactly n digits; -1 if they are not there. */
static int number(struct cursor *c, int n)
{
    int v = 0;
    for (int i = 0; i < n; i++) {
        if (c->s == c->end || !digit(*c->s))
            return -1;
        v = v * 10 + (*c->s++ - '0');
    }
    return v;
}

static bool literal(struct cursor *c, char what)
{
    if (c->s == c->end || *c->s != what)
        return false;
    c->s++;
    return true;
}

static int days_in(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

/* yyyy[-mm[-dd]]; *parts: 1, 2 or 3. */
static bool read_date(struct cursor *c, int *parts)
{
    int year = number(c, 4);
    *parts = 1;
    if (year < 1)
        return false;
    if (!literal(c, '-'))
        return true;
    int month = number(c, 2);
    *parts = 2;
    if (month < 1 || month > 12)
        return false;
    if (!literal(c, '-'))
        return true;
    int day = number(c, 2);
    *parts = 3;
    return day >= 1 && day <= days_in(year, month);
}

static bool read_clock(struct cursor *c)
{
    int hour = number(c, 2);
    if (hour < 0 || hour > 23 || !literal(c, ':'))
        return false;
    int minute = number(c, 2);
    if (minute < 0 || minute > 59 || !literal(c, ':'))
        return false;
    int second = number(c, 2);
    if (second < 0 || second > 60)
        return false;
    if (!literal(c, '.'))
        return true;
    int digits = 0;
    while (c->s < c->end && digit(*c->s) && digits < 9) {
        c->s++;
        digits++;
    }
    return digits > 0;
}

static bool read_offset(struct cursor *c)
{
    if (literal(c, 'Z'))
        return true;
    if (!literal(c, '+') && !literal(c, '-'))
        return false;
    int hour = number(c, 2);
    if (hour < 0 || hour > 14 || !literal(c, ':'))
        return false;
    int minute = number(c, 2);
    return minute >= 0 && minute <= 59;
}

static bool is_moment(struct core_text v)
{
    struct cursor c = {v.s, v.s + v.len};
    int parts = 0;
    if (!read_date(&c, &parts))
        return false;
    if (c.s == c.end)
        return true;
    return parts == 3 && literal(&c, 'T') && read_clock(&c) && read_offset(&c) && c.s == c.end;
}

static bool is_date(struct core_text v)
{
    struct cursor c = {v.s, v.s + v.len};
    int parts = 0;
    return read_date(&c, &parts) && parts == 3 && c.s == c.end;
}

/* PostgreSQL's own ISO form in UTC, or RFC 3339. */
static bool is_instant(struct core_text v)
{
    struct cursor c = {v.s, v.s + v.len};
    int parts = 0;
    if (!read_date(&c, &parts) || parts != 3 || !(literal(&c, ' ') || literal(&c, 'T')) ||
        !read_clock(&c))
        return false;
    if (c.s == c.end || (c.end - c.s == 3 && memcmp(c.s, "+00", 3) == 0))
        return true;
    return read_offset(&c) && c.s == c.end;
}

static bool is_int(struct core_text v)
{
    static const char most[] = "9223372036854775807";
    struct cursor c = {v.s, v.s + v.len};
    (void)literal(&c, '-');
    size_t n = (size_t)(c.end - c.s);
    if (n == 0 || n > VALUE_INT_DIGITS_MAX || (n > 1 && *c.s == '0'))
        return false;
    for (const char *p = c.s; p < c.end; p++)
        if (!digit(*p))
            return false;
    return n < VALUE_INT_DIGITS_MAX || memcmp(c.s, most, n) <= 0;
}

/* -?digits[.digits]: the form PostgreSQL prints; no exponent, because PostgreSQL would rewrite it.
 */
static bool is_decimal(struct core_text v)
{
    struct cursor c = {v.s, v.s + v.len};
    (void)literal(&c, '-');
    size_t whole = 0;
    size_t fraction = 0;
    const char *first = c.s;
    while (c.s < c.end && digit(*c.s)) {
        c.s++;
        whole++;
    }
    if (whole == 0 || whole > VALUE_DECIMAL_DIGITS_MAX || (whole > 1 && *first == '0'))
        return false;
    if (c.s == c.end)
        return true;
    if (!literal(&c, '.'))
        return false;
    while (c.s < c.end && digit(*c.s)) {
        c.s++;
        fraction++;
    }
    return fraction > 0 && fraction <= VALUE_DECIMAL_DIGITS_MAX && c.s == c.end;
}

static bool is_uuid(struct core_text v)
{
    struct base_uuid u;
    return base_uuid_parse(&u, v.s, v.len);
}

static bool is_bytes(struct core_text v)
{
    if (v.len < 2 || v.len % 2 != 0 || v.s[0] != '\\' || v.s[1] != 'x')
        return false;
    for (size_t i = 2; i < v.len; i++)
        if (!digit(v.s[i]) && !(v.s[i] >= 'a' && v.s[i] <= 'f'))
            return false;
    return true;
}

static bool is_of_type(enum core_type type, struct core_text v)
{
    switch (type) {
    case CORE_TYPE_TEXT:
    case CORE_TYPE_JSON: /* well-formedness of JSON is the API's and PostgreSQL's to tell */
        return memchr(v.s, '\0', v.len) == NULL;
    case CORE_TYPE_UUID:
        return is_uuid(v);
    case CORE_TYPE_INT:
        return is_int(v);
    case CORE_TYPE_DECIMAL:
        return is_decimal(v);
    case CORE_TYPE_BOOL:
        return v.len == 1 && (v.s[0] == 't' || v.s[0] == 'f');
    case CORE_TYPE_MOMENT:
        return is_moment(v);
    case CORE_TYPE_DATE:
        return is_date(v);
    case CORE_TYPE_INSTANT:
        return is_instant(v);
    case CORE_TYPE_BYTES:
        return is_bytes(v);
    }
    return false;
}

static bool is_allowed(const struct core_column *c, struct core_text v)
{
    if (c->allowed == NULL)
        return true;
    for (int i = 0; c->allowed[i] != NULL; i++)
        if (core_text_equal(core_text_of(c->allowed[i]), v))
            return true;
    return false;
}

int core_value_check(const struct core_table *t, const struct core_column *c,
                     struct core_text value, struct base_err *err)
{
    if (value.s == NULL) {
        if (c->nullable)
            return 0;
        return base_fail(err, BASE_EINVALID, "%s.%s must not be null", t->name, c->name);
    }
    if (value.len > VALUE_TEXT_BYTES_MAX)
        return base_fail(err, BASE_EINVALID, "%s.%s is longer than %d bytes", t->name, c->name,
                         VALUE_TEXT_BYTES_MAX);
    if (!is_of_type(c->type, value))
        return base_fail(err, BASE_EINVALID, "%s.%s must be of type %s", t->name, c->name,
                         core_type_name(c->type));
    if (!is_allowed(c, value))
        return base_fail(err, BASE_EINVALID, "%s.%s must be one of the allowed values", t->name,
                         c->name);
    return 0;
}
