#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sync/seal/pack_file.h"
#include "sync/seal/seal.h"

static const char page[] = "<!doctype html><title>Ward 1</title>";

static struct base_buf sealed_for(const struct seal_pack_key *k)
{
    struct base_buf b;
    base_buf_init(&b, 4096);
    assert_int_equal(seal_pack_write(&b, k, page, sizeof page, NULL), 0);
    return b;
}

static int opened(const uint8_t secret[32], const char *bytes, size_t len)
{
    struct base_buf out;
    base_buf_init(&out, 8192);
    int rc = seal_pack_read(&out, secret, bytes, len, NULL);
    if (rc == 0)
        assert_memory_equal(out.data, page, sizeof page);
    base_buf_release(&out);
    return rc;
}

static void what_was_sealed_opens_with_its_secret_only(void **state)
{
    struct seal_pack_key k, other;
    uint8_t secret[32], another[32];
    assert_int_equal(seal_pack_key_make(&k, secret, NULL, NULL), 0);
    assert_int_equal(seal_pack_key_make(&other, another, NULL, NULL), 0);
    struct base_buf b = sealed_for(&k);
    assert_int_equal(opened(secret, b.data, b.len), 0);
    assert_int_equal(opened(another, b.data, b.len), BASE_EKEY);
    base_buf_release(&b);
}

static void a_file_that_was_cut_or_changed_anywhere_does_not_open(void **state)
{
    struct seal_pack_key k;
    uint8_t secret[32];
    assert_int_equal(seal_pack_key_make(&k, secret, NULL, NULL), 0);
    struct base_buf b = sealed_for(&k);
    for (size_t n = 0; n < b.len; n++)
        assert_int_not_equal(opened(secret, b.data, n), 0);
    for (size_t i = 0; i < b.len; i++) {
        if (i >= 8 && i < 8 + SEAL_PACK_SALT_BYTES) /* only a passphrase is bound to it */
            continue;
        b.data[i] = (char)(b.data[i] ^ 0x10);
        assert_int_not_equal(opened(secret, b.data, b.len), 0);
        b.data[i] = (char)(b.data[i] ^ 0x10);
    }
    base_buf_release(&b);
}

static void a_passphrase_opens_by_the_salt_of_the_file_alone(void **state)
{
    struct seal_pack_key k, read;
    uint8_t secret[32], again[32];
    assert_int_equal(seal_pack_key_make(&k, secret, "too short", NULL), BASE_EINVALID);
    assert_int_equal(seal_pack_key_make(&k, secret, "a long passphrase", NULL), 0);
    assert_true(seal_pack_key_is_passphrase(&k));
    struct base_buf b = sealed_for(&k);
    assert_int_equal(seal_pack_head(&read, b.data, b.len, NULL), 0);
    assert_int_equal(seal_pack_secret(again, &read, "a long passphrase", NULL), 0);
    assert_int_equal(opened(again, b.data, b.len), 0);
    assert_int_equal(seal_pack_secret(again, &read, "a long passphrasf", NULL), 0);
    assert_int_equal(opened(again, b.data, b.len), BASE_EKEY);
    base_buf_release(&b);
}

static void a_slip_in_a_keys_text_is_seen(void **state)
{
    struct seal_pack_key k, read;
    uint8_t secret[32];
    char text[SEAL_PACK_KEY_TEXT_BYTES];
    assert_int_equal(seal_pack_key_make(&k, secret, NULL, NULL), 0);
    seal_pack_key_format(&k, text);
    assert_true(seal_pack_key_parse(&read, text));
    assert_memory_equal(&read, &k, sizeof k);
    for (size_t i = 0; text[i] != '\0'; i++) {
        char was = text[i];
        text[i] = was == '0' ? '1' : '0';
        assert_false(seal_pack_key_parse(&read, text));
        text[i] = was;
    }
    assert_false(seal_pack_key_parse(&read, ""));
}

static int set_up(void **state)
{
    return seal_init(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_sealed_opens_with_its_secret_only),
        cmocka_unit_test(a_file_that_was_cut_or_changed_anywhere_does_not_open),
        cmocka_unit_test(a_passphrase_opens_by_the_salt_of_the_file_alone),
        cmocka_unit_test(a_slip_in_a_keys_text_is_seen),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
