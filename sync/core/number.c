#include "sync/core/number.h"

#include <string.h>

/* H. M. Damm, Total anti-symmetrische Quasigruppen, 2004: the one of order 10 that is printed there. */
static const uint8_t quasigroup[10][10] = {
    {0, 3, 1, 7, 5, 9, 8, 6, 4, 2}, {7, 0, 9, 2, 1, 5, 4, 8, 6, 3}, {4, 2, 0, 6, 8, 7, 1, 3, 5, 9},
    {1, 7, 5, 0, 9, 8, 3, 4, 2, 6}, {6, 1, 2, 3, 0, 4, 5, 9, 7, 8}, {3, 6, 7, 4, 2, 0, 9, 5, 8, 1},
    {5, 8, 6, 9, 7, 2, 0, 1, 3, 4}, {8, 9, 4, 5, 3, 6, 2, 0, 1, 7}, {9, 4, 3, 8, 6, 1, 7, 2, 0, 5},
    {2, 5, 8, 1, 4, 3, 6, 7, 9, 0}};

char core_number_check(const char *digits, size_t count)
{
    int at = 0;
    for (size_t i = 0; i < count; i++) {
        BASE_ASSERT(digits[i] >= '0' && digits[i] <= '9');
        at = quasigroup[at][digits[i] - '0'];
    }
    return (char)('0' + at);
}

bool core_number_valid(const char *digits, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (digits[i] < '0' || digits[i] > '9')
            return false;
    return count > 1 && core_number_check(digits, count) == '0';
}

int core_number_format(char out[CORE_NUMBER_BYTES_MAX + 1], const char *prefix, int width,
                       int64_t n, struct base_err *err)
{
    char digits[CORE_NUMBER_DIGITS_MAX];
    size_t len = strlen(prefix);
    int64_t rest = n;
    if (len > CORE_NUMBER_PREFIX_MAX || width < CORE_NUMBER_DIGITS_MIN ||
        width > CORE_NUMBER_DIGITS_MAX || n < 0)
        return base_fail(err, BASE_EINVALID, "the form of record numbers is out of bounds");
    for (int i = width - 1; i >= 0; i--, rest /= 10)
        digits[i] = (char)('0' + rest % 10);
    if (rest != 0)
        return base_fail(err, BASE_EINVALID, "%lld does not fit into %d digits", (long long)n,
                         width);
    memcpy(out, prefix, len);
    memcpy(out + len, digits, (size_t)width);
    out[len + (size_t)width] = core_number_check(digits, (size_t)width);
    out[len + (size_t)width + 1] = '\0';
    return 0;
}

int64_t core_numbers_need(int64_t taken, int64_t days)
{
    BASE_ASSERT(taken >= 0 && days >= 1 && days <= CORE_NUMBERS_WEEKS_DAYS);
    if (taken > CORE_NUMBERS_MAX)
        return CORE_NUMBERS_MAX;
    int64_t need = (taken * CORE_NUMBERS_WEEKS_DAYS + days - 1) / days;
    if (need < CORE_NUMBERS_FLOOR)
        return CORE_NUMBERS_FLOOR;
    return need > CORE_NUMBERS_MAX ? CORE_NUMBERS_MAX : need;
}

bool core_numbers_low(int64_t left, int64_t need)
{
    return left < need / 2;
}
