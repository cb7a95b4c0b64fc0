/*
 * All groups, or those named in EVERWARD_TEST_GROUPS; of them all tests, or those that fit
 * EVERWARD_TEST_FILTER (cmocka's pattern).
 */
#include "tests/unit/node/cryptvfs/support.h"

int main(void)
{
    static const struct {
        const char *name;
        int (*run)(void);
    } groups[] = {
        {"open", open_tests},   {"tamper", tamper_tests}, {"sql", sql_tests},
        {"crash", crash_tests}, {"power", power_tests},   {"wal", wal_tests},
    };
    const char *only = getenv("EVERWARD_TEST_GROUPS");
    const char *filter = getenv("EVERWARD_TEST_FILTER");
    int failed = 0;
    if (filter)
        cmocka_set_test_filter(filter);
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        if (!only || strstr(only, groups[i].name))
            failed += groups[i].run();
    return failed == 0 ? 0 : 1;
}
