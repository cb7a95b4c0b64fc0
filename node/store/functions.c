/*
 * How values compare: moments by the instant they name, decimals by value, names without regard to
 * case. As functions of SQL too, deterministic, so that indexes can stand on them.
 */

#include "node/store/internal.h"

enum { FOLD_BYTES_MAX = 1 << 20, KEY_BYTES_MAX = 8192, EXPONENT_BIAS = 50000 };

struct scan {
    const char *s, *end;
};

static bool take(struct scan *c, char what)
{
    if (c->s == c->end || *c->s != what)
        return false;
    c->s++;
    return true;
}

static bool digits(struct scan *c, int n, int *out)
{
    int v = 0;
    if (c->end - c->s < n)
        return false;
    for (int i = 0; i < n; i++, c->s++) {
        if (*c->s < '0' || *c->s > '9')
            return false;
        v = v * 10 + (*c->s - '0');
    }
    *out = v;
    return true;
}

/* Days since 0001-01-01 in the proleptic Gregorian calendar (Hinnant, "chrono-compatible low-level
 * date algorithms"). */
static int64_t days_of(int year, int month, int day)
{
    int64_t y = year - (month <= 2);
    int64_t era = y / 400;
    int64_t in_era = y - era * 400;
    int64_t in_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 306;
}

static bool scan_time(struct scan *c, int64_t *ticks)
{
    int hour = 0;
    int minute = 0;
    int second = 0;
    if (!digits(c, 2, &hour) || !take(c, ':') || !digits(c, 2, &minute))
        return false;
    if (take(c, ':') && !digits(c, 2, &second))
        return false;
    *ticks = ((int64_t)hour * 3600 + minute * 60 + second) * 10000000;
    if (!take(c, '.'))
        return true;
    int64_t unit = 1000000;
    for (; c->s < c->end && *c->s >= '0' && *c->s <= '9'; c->s++, unit /= 10)
        *ticks += unit * (*c->s - '0'); /* finer than 100 ns: left to the text */
    return true;
}

static bool scan_offset(struct scan *c, int64_t *minutes)
{
    *minutes = 0;
    if (c->s == c->end || take(c, 'Z'))
        return true;
    int sign = *c->s == '-' ? -1 : 1;
    int hour = 0;
    int minute = 0;
    if ((!take(c, '+') && !take(c, '-')) || !digits(c, 2, &hour))
        return false;
    if (c->s < c->end && (!take(c, ':') || !digits(c, 2, &minute)))
        return false;
    *minutes = sign * (hour * 60 + minute);
    return true;
}

bool moment_ticks(struct core_text v, int64_t *out)
{
    struct scan c = {v.s, v.s + v.len};
    int year = 0;
    int month = 1;
    int day = 1;
    int64_t ticks = 0;
    int64_t offset = 0;
    if (!digits(&c, 4, &year))
        return false;
    if (take(&c, '-') && (!digits(&c, 2, &month) || month < 1 || month > 12))
        return false;
    if (take(&c, '-') && (!digits(&c, 2, &day) || day < 1 || day > 31))
        return false;
    if ((take(&c, 'T') || take(&c, ' ')) && (!scan_time(&c, &ticks) || !scan_offset(&c, &offset)))
        return false;
    if (c.s != c.end)
        return false;
    *out = (days_of(year, month, day) * 1440 - offset) * 600000000 + ticks;
    return true;
}

/*
 * A text whose byte order is the numbers' order, equal for equal values:
 * '0' negative, '1' zero, '2' positive, '3' others (NaN, Infinity). Then five digits of exponent
 * and the digits without leading or trailing zeros; for negative numbers each digit's complement,
 * and '~' at the end, above every digit, so that fewer digits sort behind more.
 */
void decimal_key(struct base_buf *out, struct core_text v)
{
    const char *p = v.s;
    const char *end = v.s + v.len;
    bool negative = p < end && *p == '-';
    p += negative || (p < end && *p == '+');
    const char *point = memchr(p, '.', (size_t)(end - p));
    const char *whole_end = point != NULL ? point : end;
    for (const char *q = p; q < end; q++)
        if (q != point && (*q < '0' || *q > '9')) {
            base_buf_char(out, '3');
            base_buf_add(out, v.s, v.len);
            return;
        }
    const char *first = p;
    while (first < end && (*first == '0' || *first == '.'))
        first++;
    if (first == end) {
        base_buf_char(out, '1');
        return;
    }
    const char *last = end;
    while (last > first && (last[-1] == '0' || last[-1] == '.'))
        last--;
    long exponent = first < whole_end ? whole_end - first : -(first - whole_end - 1);
    char digits5[24];
    snprintf(digits5, sizeof digits5, "%05ld", exponent + EXPONENT_BIAS);
    base_buf_char(out, negative ? '0' : '2');
    for (const char *q = digits5; *q != '\0'; q++)
        base_buf_char(out, negative ? (char)('9' - *q + '0') : *q);
    for (const char *q = first; q < last; q++)
        if (*q != '.')
            base_buf_char(out, negative ? (char)('9' - *q + '0') : *q);
    if (negative)
        base_buf_char(out, '~');
}

/* Latin, Greek and Cyrillic capitals to small letters: the scripts in which names are written that
 * have case at all, without asking a locale. */
static unsigned fold_point(unsigned c)
{
    if (c >= 'A' && c <= 'Z')
        return c + 32;
    if (c < 0xc0)
        return c;
    if ((c <= 0xde && c != 0xd7) || (c >= 0x391 && c <= 0x3a9) || (c >= 0x410 && c <= 0x42f))
        return c + 32;
    if (c >= 0x400 && c <= 0x40f)
        return c + 80;
    if (c == 0x178)
        return 0xff;
    if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17e))
        return c + (c & 1);
    if ((c >= 0x100 && c <= 0x177 && c != 0x130 && c != 0x131 && c != 0x138) ||
        (c >= 0x460 && c <= 0x481) || (c >= 0x48a && c <= 0x4bf) || (c >= 0x1e00 && c <= 0x1eff))
        return c | 1;
    return c;
}

void text_fold(struct base_buf *out, struct core_text v)
{
    for (size_t i = 0; i < v.len; i++) {
        unsigned char b = (unsigned char)v.s[i];
        size_t more = b >= 0xc3 && b <= 0xdf ? 1 : b == 0xe1 ? 2 : 0;
        if (more == 0 || i + more >= v.len) {
            base_buf_char(out, (char)(b < 0x80 ? fold_point(b) : b));
            continue;
        }
        unsigned c = b & (more == 1 ? 0x1f : 0x0f);
        for (size_t k = 1; k <= more; k++)
            c = c << 6 | ((unsigned char)v.s[i + k] & 0x3f);
        c = fold_point(c);
        if (more == 1) {
            base_buf_char(out, (char)(0xc0 | c >> 6));
        } else {
            base_buf_char(out, (char)(0xe0 | c >> 12));
            base_buf_char(out, (char)(0x80 | (c >> 6 & 0x3f)));
        }
        base_buf_char(out, (char)(0x80 | (c & 0x3f)));
        i += more;
    }
}

static struct core_text argument(sqlite3_value *v)
{
    const char *s = (const char *)sqlite3_value_text(v);
    return (struct core_text){s, s == NULL ? 0 : (size_t)sqlite3_value_bytes(v)};
}

static void sql_moment_key(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    struct core_text v = argument(argv[0]);
    int64_t ticks = 0;
    if (v.s != NULL && moment_ticks(v, &ticks))
        sqlite3_result_int64(ctx, ticks);
    else
        sqlite3_result_null(ctx);
}

static void result_buf(sqlite3_context *ctx, struct base_buf *b)
{
    if (base_buf_check(b) != 0)
        sqlite3_result_error_nomem(ctx);
    else
        sqlite3_result_text64(ctx, b->data == NULL ? "" : b->data, b->len, SQLITE_TRANSIENT,
                              SQLITE_UTF8);
    base_buf_release(b);
}

static void sql_decimal_key(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    struct core_text v = argument(argv[0]);
    struct base_buf b;
    if (v.s == NULL) {
        sqlite3_result_null(ctx);
        return;
    }
    base_buf_init(&b, v.len + KEY_BYTES_MAX);
    decimal_key(&b, v);
    result_buf(ctx, &b);
}

/* fold_prefix(text, folded prefix): does the text, folded, begin so? */
static void sql_fold_prefix(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    struct core_text v = argument(argv[0]);
    struct core_text prefix = argument(argv[1]);
    struct base_buf b;
    if (v.s == NULL || prefix.s == NULL) {
        sqlite3_result_null(ctx);
        return;
    }
    base_buf_init(&b, FOLD_BYTES_MAX);
    size_t enough = prefix.len * 3 + 8; /* folding keeps the number of bytes within that */
    text_fold(&b, (struct core_text){v.s, v.len < enough ? v.len : enough});
    bool yes = base_buf_check(&b) == 0 && b.len >= prefix.len &&
               (prefix.len == 0 || memcmp(b.data, prefix.s, prefix.len) == 0);
    sqlite3_result_int(ctx, yes);
    base_buf_release(&b);
}

int functions_register(sqlite3 *sql)
{
    int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS;
    int rc = sqlite3_create_function_v2(sql, "moment_key", 1, flags, NULL, sql_moment_key, NULL,
                                        NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_create_function_v2(sql, "decimal_key", 1, flags, NULL, sql_decimal_key, NULL,
                                        NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_create_function_v2(sql, "fold_prefix", 2, flags, NULL, sql_fold_prefix, NULL,
                                        NULL, NULL);
    return rc;
}
