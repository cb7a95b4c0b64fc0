/*
 * tests/unit/check.h - what every cmocka program of ours begins with: its headers in the order it
 * wants them, a seed that is printed and can be set by EVERWARD_SEED, and a small generator.
 */
#ifndef TESTS_UNIT_CHECK_H
#define TESTS_UNIT_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static inline uint64_t check_seed(void)
{
    const char *set = getenv("EVERWARD_SEED");
    uint64_t seed = set != NULL ? strtoull(set, NULL, 10) : (uint64_t)time(NULL);
    print_message("seed: EVERWARD_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

/* splitmix64 (public domain, Vigna). */
static inline uint64_t check_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline int check_below(uint64_t *state, int n)
{
    return (int)(check_random(state) % (uint64_t)n);
}

#endif
