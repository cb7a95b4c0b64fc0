/*
 * sync/core/number.h - record numbers: prefix, digits of a fixed width, one check digit.
 *
 * The check digit is Damm's: it finds every single wrong digit and every two neighbours that were swapped. ISO/IEC 7064
 * MOD 11,10 and Luhn's, which are better known, each miss one swap in 45.
 * Does not: know which numbers are free (the centre leases them, node/store/numbers.h).
 * Thread: any; no state.
 */
#ifndef SYNC_CORE_NUMBER_H
#define SYNC_CORE_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sync/base/err.h"

enum {
    CORE_NUMBER_PREFIX_MAX = 16, /* bytes */
    CORE_NUMBER_DIGITS_MIN = 4,
    CORE_NUMBER_DIGITS_MAX = 15,
    CORE_NUMBER_BYTES_MAX = CORE_NUMBER_PREFIX_MAX + CORE_NUMBER_DIGITS_MAX + 1,
    CORE_NUMBERS_FLOOR = 100, /* a block has so many at least */
    CORE_NUMBERS_MAX = 20000, /* ... and at most: four weeks of 700 new patients a day */
    CORE_NUMBERS_WEEKS_DAYS = 28
};

/* digits: decimal digits only. The digit as a character. */
char core_number_check(const char *digits, size_t count);

/* Is the last of these digits the check digit of those before? */
bool core_number_valid(const char *digits, size_t count);

/* prefix, n in `width` digits, check digit. BASE_EINVALID: n does not fit, or the form is out of bounds. */
int core_number_format(char out[CORE_NUMBER_BYTES_MAX + 1], const char *prefix, int width,
                       int64_t n, struct base_err *err);

/* Numbers for four weeks, as `taken` in the last `days` (1 … 28) show it; never under the floor or over the maximum. */
int64_t core_numbers_need(int64_t taken, int64_t days);

/* Below half of four weeks' supply it is time to ask for the next block. */
bool core_numbers_low(int64_t left, int64_t need);

#endif
