#include "sync/gateway/settings.h"

#include <stdlib.h>

#include "tests/unit/check.h"

static void the_sample_configuration_is_accepted_and_says_what_the_defaults_say(void **state)
{
    struct base_config *c = NULL;
    const char *used = NULL;
    struct base_err err = {0};
    int rc =
        gw_config_load(&c, EW_SOURCE_DIR "/packaging/samples/everward-gateway.conf", &used, &err);
    if (rc != 0)
        fail_msg("%s", err.text);
    for (const struct base_setting *s = gw_settings; s->section != NULL; s++) {
        if (strcmp(s->key, "migrate_dsn") == 0) /* the sample shows one that works */
            continue;
        assert_string_equal(base_config_text(c, s->section, s->key), s->fallback);
        if (strncmp(base_config_origin(c, s->section, s->key), "default", 7) == 0)
            fail_msg("the sample does not name %s.%s", s->section, s->key);
    }
    base_config_free(c);
}

static void a_pool_without_connections_is_refused(void **state)
{
    struct base_config *c = NULL;
    const char *used = NULL;
    struct base_err err = {0};
    assert_int_equal(setenv("EVERWARD_DATABASE_POOL", "0", 1), 0);
    assert_int_not_equal(
        gw_config_load(&c, EW_SOURCE_DIR "/packaging/samples/everward-gateway.conf", &used, &err),
        0);
    assert_non_null(strstr(err.text, "database.pool"));
    assert_int_equal(unsetenv("EVERWARD_DATABASE_POOL"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sample_configuration_is_accepted_and_says_what_the_defaults_say),
        cmocka_unit_test(a_pool_without_connections_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
