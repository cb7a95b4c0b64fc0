#include "tests/unit/check.h"

#include <pthread.h>

#include "sync/seal/seal.h"

static int setup(void **state)
{
    return seal_init(NULL);
}

static void a_chain_depends_on_every_line_and_their_order(void **state)
{
    struct base_uuid node = {{1}};
    uint8_t a[SEAL_HASH_BYTES];
    uint8_t b[SEAL_HASH_BYTES];
    seal_chain_start(a, &node, 1);
    seal_chain_start(b, &node, 2);
    assert_memory_not_equal(a, b, sizeof a);
    seal_chain_start(b, &node, 1);
    assert_memory_equal(a, b, sizeof a);
    seal_chain_step(a, "x", 1);
    seal_chain_step(a, "y", 1);
    seal_chain_step(b, "y", 1);
    seal_chain_step(b, "x", 1);
    assert_memory_not_equal(a, b, sizeof a);
}

/* Computed by Python's hashlib from docs/PROTOCOL.md, "Chain": whoever changes these bytes changes
 * the protocol. */
static void chains_and_derived_ids_are_those_of_the_protocol(void **state)
{
    static const char node_text[] = "018f0000-0000-7000-8000-000000000001";
    struct base_uuid node;
    struct base_uuid derived;
    char text[BASE_UUID_CHARS + 1];
    uint8_t want[SEAL_HASH_BYTES];
    uint8_t chain[SEAL_HASH_BYTES];
    assert_true(base_uuid_parse(&node, node_text, BASE_UUID_CHARS));
    seal_chain_start(chain, &node, 2);
    assert_true(seal_hex_decode(
        want, sizeof want, "1212edaea823a8c3b3c740e07df84edb5b25ff62b9bb54543057e62ff2a7d78e", 64));
    assert_memory_equal(chain, want, sizeof want);
    seal_chain_step(chain, "{\"seq\":1}", 9);
    assert_true(seal_hex_decode(
        want, sizeof want, "c1275ec0576db2349f0247a768876fd3da179b4b0ea18ef25ceaf0d0e82196c0", 64));
    assert_memory_equal(chain, want, sizeof want);
    seal_uuid_derived(&derived, &node, "order 1 08:00", 13);
    base_uuid_format(&derived, text);
    assert_string_equal(text, "39847306-9ff6-8f30-9ac1-c591ed70a26c");
}

static void a_signature_holds_for_its_bytes_alone(void **state)
{
    uint8_t pk[SEAL_PUBLIC_KEY_BYTES];
    uint8_t sk[SEAL_SECRET_KEY_BYTES];
    uint8_t sig[SEAL_SIGNATURE_BYTES];
    seal_keypair(pk, sk);
    seal_sign(sig, "batch", 5, sk);
    assert_true(seal_verify(sig, "batch", 5, pk));
    assert_false(seal_verify(sig, "bitch", 5, pk));
    sig[3] ^= 1;
    assert_false(seal_verify(sig, "batch", 5, pk));
}

static void ids_of_one_millisecond_ascend(void **state)
{
    struct base_uuid last = {{0}};
    for (int i = 0; i < 100000; i++) {
        struct base_uuid u;
        seal_uuid_v7(&u, 1763876880123 - (i % 7 == 0 ? 5 : 0)); /* the clock steps back at times */
        assert_true(memcmp(u.bytes, last.bytes, sizeof u.bytes) > 0);
        last = u;
    }
}

enum { THREADS = 4, IDS_EACH = 20000 };

static void *make_ids(void *user)
{
    struct base_uuid *ids = user;
    for (int i = 0; i < IDS_EACH; i++)
        seal_uuid_v7(&ids[i], 1763876880123);
    return NULL;
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, BASE_UUID_BYTES);
}

static void ids_of_many_threads_differ_and_ascend_in_each(void **state)
{
    struct base_uuid *ids = calloc(THREADS * IDS_EACH, sizeof *ids);
    pthread_t threads[THREADS];
    assert_non_null(ids);
    for (int t = 0; t < THREADS; t++)
        assert_int_equal(pthread_create(&threads[t], NULL, make_ids, ids + t * IDS_EACH), 0);
    for (int t = 0; t < THREADS; t++)
        assert_int_equal(pthread_join(threads[t], NULL), 0);
    for (int t = 0; t < THREADS; t++)
        for (int i = 1; i < IDS_EACH; i++)
            assert_true(compare_ids(&ids[t * IDS_EACH + i - 1], &ids[t * IDS_EACH + i]) < 0);
    qsort(ids, THREADS * IDS_EACH, sizeof *ids, compare_ids);
    for (int i = 1; i < THREADS * IDS_EACH; i++)
        assert_true(compare_ids(&ids[i - 1], &ids[i]) < 0);
    free(ids);
}

static void derived_ids_are_the_same_everywhere(void **state)
{
    struct base_uuid space = {{0}};
    struct base_uuid a;
    struct base_uuid b;
    seal_uuid_derived(&a, &space, "order 1 08:00", 13);
    seal_uuid_derived(&b, &space, "order 1 08:00", 13);
    assert_true(base_uuid_equal(&a, &b));
    assert_int_equal(a.bytes[6] >> 4, 8);
    seal_uuid_derived(&b, &space, "order 1 09:00", 13);
    assert_false(base_uuid_equal(&a, &b));
}

static void compressed_bytes_come_back_and_a_bomb_stops(void **state)
{
    struct base_buf small;
    struct base_buf back;
    char *zeros = calloc(1, 8 << 20);
    base_buf_init(&small, 16 << 20);
    base_buf_init(&back, 8 << 20);
    assert_int_equal(seal_compress(&small, zeros, 8 << 20, 1, NULL), 0);
    assert_int_equal(seal_decompress(&back, small.data, small.len, NULL), 0);
    assert_int_equal(back.len, 8 << 20);
    base_buf_release(&back);
    base_buf_init(&back, 1 << 20);
    assert_int_equal(seal_decompress(&back, small.data, small.len, NULL), BASE_ETOOBIG);
    for (size_t cut = 0; cut < small.len; cut++) {
        base_buf_clear(&back);
        assert_int_not_equal(seal_decompress(&back, small.data, cut, NULL), 0);
    }
    base_buf_clear(&back);
    assert_int_equal(seal_decompress(&back, "not zstd at all", 15, NULL), BASE_ECORRUPT);
    base_buf_release(&small);
    base_buf_release(&back);
    free(zeros);
}

static void a_frame_with_something_behind_it_or_a_huge_window_is_refused(void **state)
{
    char frame[] = "\x28\xb5\x2f\xfd\x00\x78\x09\x00\x00x"; /* window 2^25, one raw block "x" */
    char two[2 * (sizeof frame - 1)];
    struct base_buf back;
    base_buf_init(&back, 1000);
    assert_int_equal(seal_decompress(&back, frame, sizeof frame - 1, NULL), 0);
    assert_string_equal(back.data, "x");
    memcpy(two, frame, sizeof frame - 1);
    memcpy(two + sizeof frame - 1, frame, sizeof frame - 1);
    base_buf_clear(&back);
    assert_int_equal(seal_decompress(&back, two, sizeof two, NULL), BASE_ECORRUPT);
    base_buf_clear(&back);
    frame[5] = '\x88'; /* window 2^27 */
    assert_int_equal(seal_decompress(&back, frame, sizeof frame - 1, NULL), BASE_ECORRUPT);
    base_buf_release(&back);
}

static void base64url_is_exact(void **state)
{
    struct base_buf out;
    uint8_t bytes[8];
    size_t len = 0;
    base_buf_init(&out, 100);
    seal_base64url(&out, "\xff\xfe\x00", 3);
    assert_string_equal(out.data, "__4A");
    assert_true(seal_base64url_decode(bytes, sizeof bytes, &len, "__4A", 4));
    assert_int_equal(len, 3);
    assert_false(seal_base64url_decode(bytes, sizeof bytes, &len, "__4A ", 5));
    assert_false(seal_base64url_decode(bytes, sizeof bytes, &len, "__4A=", 5));
    assert_false(seal_base64url_decode(bytes, 2, &len, "__4A", 4));
    assert_false(seal_base64url_decode(bytes, sizeof bytes, &len, "__4B/", 5));
    assert_false(seal_base64url_decode(bytes, sizeof bytes, &len, "__5", 3)); /* bits left over */
    assert_false(seal_hex_decode(bytes, 2, "00f", 3));
    assert_true(seal_hex_decode(bytes, 2, "00ff", 4));
    base_buf_release(&out);
}

static void a_password_is_told_from_another(void **state)
{
    char text[SEAL_PASSWORD_TEXT_BYTES];
    assert_int_equal(seal_password_hash(text, "correct horse", 13, NULL), 0);
    assert_true(seal_password_verify(text, "correct horse", 13));
    assert_false(seal_password_verify(text, "correct hors", 12));
    assert_false(seal_password_verify("", "correct horse", 13));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chain_depends_on_every_line_and_their_order),
        cmocka_unit_test(chains_and_derived_ids_are_those_of_the_protocol),
        cmocka_unit_test(a_signature_holds_for_its_bytes_alone),
        cmocka_unit_test(ids_of_one_millisecond_ascend),
        cmocka_unit_test(ids_of_many_threads_differ_and_ascend_in_each),
        cmocka_unit_test(derived_ids_are_the_same_everywhere),
        cmocka_unit_test(compressed_bytes_come_back_and_a_bomb_stops),
        cmocka_unit_test(a_frame_with_something_behind_it_or_a_huge_window_is_refused),
        cmocka_unit_test(base64url_is_exact),
        cmocka_unit_test(a_password_is_told_from_another),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
