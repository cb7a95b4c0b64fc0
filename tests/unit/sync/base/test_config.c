#include "tests/unit/check.h"

#include <unistd.h>

#include "sync/base/config.h"

static const struct base_setting table[] = {
    {"sync", "gateway_url", BASE_CONFIG_TEXT, NULL, 0, 0, "where the gateway is"},
    {"api", "port", BASE_CONFIG_INT, "8443", 1, 65535, "TCP port"},
    {"api", "tls12", BASE_CONFIG_BOOL, "false", 0, 0, "also allow TLS 1.2"},
    {NULL, NULL, BASE_CONFIG_TEXT, NULL, 0, 0, NULL},
};

static char path[] = "/tmp/everward-config-XXXXXX";

static int setup(void **state)
{
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
    return unlink(path);
}

static int load(const char *text, struct base_config **out, struct base_err *err)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return base_config_load(out, table, path, err);
}

static void defaults_and_values_have_an_origin(void **state)
{
    struct base_config *c = NULL;
    struct base_err err;
    char where[128];
    assert_int_equal(load("[sync]\ngateway_url = https://x\n\n[api]\ntls12 = true\n", &c, &err), 0);
    assert_string_equal(base_config_text(c, "sync", "gateway_url"), "https://x");
    assert_int_equal(base_config_int(c, "api", "port"), 8443);
    assert_true(base_config_bool(c, "api", "tls12"));
    assert_string_equal(base_config_origin(c, "api", "port"), "default");
    snprintf(where, sizeof where, "%s:5", path);
    assert_string_equal(base_config_origin(c, "api", "tls12"), where);
    base_config_free(c);
}

static void a_typo_is_refused_with_line_and_suggestion(void **state)
{
    struct base_config *c = NULL;
    struct base_err err;
    char where[128];
    assert_int_equal(load("[sync]\ngateway_url = https://x\n[api]\nprot = 1\n", &c, &err),
                     BASE_EINVALID);
    snprintf(where, sizeof where, "%s:4", path);
    assert_non_null(strstr(err.text, where));
    assert_non_null(strstr(err.text, "api.port"));
}

static void a_number_out_of_range_and_a_missing_setting_are_refused(void **state)
{
    struct base_config *c = NULL;
    struct base_err err;
    assert_int_equal(load("[sync]\ngateway_url=x\n[api]\nport=70000\n", &c, &err), BASE_EINVALID);
    assert_int_equal(load("[sync]\ngateway_url=x\n[api]\nport=8443x\n", &c, &err), BASE_EINVALID);
    assert_int_equal(load("[api]\nport=1\n", &c, &err), BASE_EINVALID);
    assert_non_null(strstr(err.text, "sync.gateway_url"));
    assert_int_equal(load("nonsense\n", &c, &err), BASE_EINVALID);
}

static void the_environment_overrides_the_file(void **state)
{
    struct base_config *c = NULL;
    struct base_err err;
    setenv("EVERWARD_API_PORT", "99", 1);
    assert_int_equal(load("[sync]\ngateway_url=x\n[api]\nport=1\n", &c, &err), 0);
    assert_int_equal(base_config_int(c, "api", "port"), 99);
    assert_string_equal(base_config_origin(c, "api", "port"), "env EVERWARD_API_PORT");
    base_config_free(c);
    unsetenv("EVERWARD_API_PORT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_and_values_have_an_origin),
        cmocka_unit_test(a_typo_is_refused_with_line_and_suggestion),
        cmocka_unit_test(a_number_out_of_range_and_a_missing_setting_are_refused),
        cmocka_unit_test(the_environment_overrides_the_file),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
