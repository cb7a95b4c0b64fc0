/* Keys of the node: sources, sealing, rewrapping, and dying at every step. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <pthread.h>
#include <sodium.h>

#include "node/keys/internal.h"

enum { STEPS = 8, FILE_BYTES = 172 };

static char dir[128];
static char key_path[160];
static char other_path[160];
static char sealed_path[160];

static void put(const char *path, mode_t mode, const void *bytes, size_t len)
{
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static size_t get(const char *path, uint8_t *out, size_t max)
{
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, out, max);
    close(fd);
    return n < 0 ? 0 : (size_t)n;
}

static struct node_keys_source with_file(const char *path)
{
    return (struct node_keys_source){.key_file = path, .passphrase_fd = -1};
}

static struct node_keys_source with_passphrase(const char *path)
{
    return (struct node_keys_source){.passphrase_file = path, .passphrase_fd = -1};
}

static int set_up(void **state)
{
    (void)state;
    struct base_err err;
    snprintf(dir, sizeof dir, "/tmp/test_keys_XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(key_path, sizeof key_path, "%s/wrapping.key", dir);
    snprintf(other_path, sizeof other_path, "%s/other.key", dir);
    snprintf(sealed_path, sizeof sealed_path, "%s/" NODE_KEYS_FILE, dir);
    unsetenv("CREDENTIALS_DIRECTORY");
    unsetenv("EVERWARD_PASSPHRASE_FILE");
    return node_keys_make_key_file(key_path, &err) | node_keys_make_key_file(other_path, &err);
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const names[] = {"wrapping.key",        "other.key", NODE_KEYS_FILE,
                                        NODE_KEYS_FILE ".new", "pass",      "everward.key"};
    char path[200];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    return rmdir(dir);
}

static struct node_keys *create(const struct node_keys_source *s)
{
    struct node_keys *k = NULL;
    struct base_err err;
    int rc = node_keys_create(dir, s, &k, &err);
    if (rc != 0)
        print_message("%s\n", err.text);
    assert_int_equal(rc, 0);
    return k;
}

static void keys_made_are_the_keys_opened(void **state)
{
    (void)state;
    struct base_err err;
    struct stat st;
    struct node_keys *made, *opened = NULL;
    uint8_t sig[NODE_KEYS_SIGNATURE_BYTES], pk[NODE_KEYS_PUBLIC_BYTES];
    struct node_keys_source s = with_file(key_path);
    made = create(&s);
    assert_int_equal(stat(sealed_path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_size, FILE_BYTES);
    assert_int_equal(node_keys_open(dir, &s, &opened, &err), 0);
    assert_memory_equal(node_keys_data(made), node_keys_data(opened), 32);
    assert_memory_equal(node_keys_audit(made), node_keys_audit(opened), 32);
    assert_memory_not_equal(node_keys_data(made), node_keys_audit(made), 32);
    node_keys_sign(made, "cut", 3, sig);
    node_keys_public(opened, pk);
    assert_int_equal(crypto_sign_verify_detached(sig, (const uint8_t *)"cut", 3, pk), 0);
    node_keys_free(made);
    node_keys_free(opened);
}

static void a_second_create_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    struct base_err err;
    uint8_t before[FILE_BYTES], after[FILE_BYTES];
    struct node_keys *again = NULL;
    struct node_keys_source s = with_file(key_path);
    node_keys_free(create(&s));
    assert_int_equal(get(sealed_path, before, FILE_BYTES), FILE_BYTES);
    assert_int_equal(node_keys_create(dir, &s, &again, &err), BASE_EEXISTS);
    assert_null(again);
    assert_int_equal(get(sealed_path, after, FILE_BYTES), FILE_BYTES);
    assert_memory_equal(before, after, FILE_BYTES);
}

static void a_wrong_key_is_named_as_such(void **state)
{
    (void)state;
    struct base_err err;
    struct node_keys *k = NULL;
    struct node_keys_source s = with_file(key_path), wrong = with_file(other_path);
    assert_int_equal(node_keys_open(dir, &s, &k, &err), BASE_ENOTFOUND);
    node_keys_free(create(&s));
    assert_int_equal(node_keys_open(dir, &wrong, &k, &err), BASE_EKEY);
    assert_non_null(strstr(err.text, "other.key"));
    assert_null(k);
}

static void a_key_file_others_can_read_is_refused(void **state)
{
    (void)state;
    static const mode_t bad[] = {0404, 0440, 0644, 0660, 0700, 0500, 0200, 04400};
    struct base_err err;
    struct node_keys *k = NULL;
    struct node_keys_source s = with_file(key_path);
    node_keys_free(create(&s));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(chmod(key_path, bad[i]), 0);
        assert_int_equal(node_keys_open(dir, &s, &k, &err), BASE_EDENIED);
        if (bad[i] != 0200 || geteuid() == 0)
            assert_non_null(strstr(err.text, "chmod 0400"));
    }
    assert_int_equal(chmod(key_path, 0600), 0);
    assert_int_equal(node_keys_open(dir, &s, &k, &err), 0);
    node_keys_free(k);
    if (geteuid() == 0) {
        assert_int_equal(chown(key_path, 65534, 65534), 0);
        k = NULL;
        assert_int_equal(node_keys_open(dir, &s, &k, &err), BASE_EDENIED);
        assert_non_null(strstr(err.text, "65534"));
    }
}

static void a_key_file_is_32_bytes_or_64_digits(void **state)
{
    (void)state;
    struct base_err err;
    struct node_keys *k = NULL;
    struct node_keys_source s = with_file(key_path), raw = with_file(other_path);
    uint8_t hex[66], key[32], zeros[32] = {0};
    node_keys_free(create(&s));
    assert_int_equal(get(key_path, hex, sizeof hex), 65);
    assert_int_equal(sodium_hex2bin(key, sizeof key, (const char *)hex, 64, NULL, NULL, NULL), 0);
    put(other_path, 0400, key, 32);
    assert_int_equal(node_keys_open(dir, &raw, &k, &err), 0);
    node_keys_free(k);
    put(other_path, 0400, hex, 64);
    assert_int_equal(node_keys_open(dir, &raw, &k, &err), 0);
    node_keys_free(k);
    k = NULL;
    put(other_path, 0400, hex, 63);
    assert_int_equal(node_keys_open(dir, &raw, &k, &err), BASE_EINVALID);
    hex[64] = '0';
    put(other_path, 0400, hex, 65);
    assert_int_equal(node_keys_open(dir, &raw, &k, &err), BASE_EINVALID);
    hex[3] = 'g';
    put(other_path, 0400, hex, 64);
    assert_int_equal(node_keys_open(dir, &raw, &k, &err), BASE_EINVALID);
    put(other_path, 0400, "", 0);
    assert_int_equal(node_keys_open(dir, &raw, &k, &err), BASE_EINVALID);
    put(other_path, 0400, zeros, 32);
    assert_int_equal(node_keys_open(dir, &raw, &k, &err), BASE_EINVALID);
    assert_null(k);
}

static void every_changed_byte_of_the_sealed_file_is_refused(void **state)
{
    (void)state;
    struct base_err err;
    uint8_t file[FILE_BYTES];
    struct node_keys *k = NULL;
    struct node_keys_source s = with_file(key_path);
    node_keys_free(create(&s));
    assert_int_equal(get(sealed_path, file, sizeof file), FILE_BYTES);
    for (size_t i = 0; i < sizeof file; i++) {
        file[i] ^= (uint8_t)(1U << (i % 8));
        put(sealed_path, 0600, file, sizeof file);
        int rc = node_keys_open(dir, &s, &k, &err);
        assert_true(rc == BASE_EKEY || rc == BASE_ECORRUPT);
        file[i] ^= (uint8_t)(1U << (i % 8));
    }
    put(sealed_path, 0600, file, sizeof file - 1);
    assert_int_equal(node_keys_open(dir, &s, &k, &err), BASE_ECORRUPT);
    put(sealed_path, 0600, "", 0);
    assert_int_equal(node_keys_open(dir, &s, &k, &err), BASE_ECORRUPT);
    assert_null(k);
}

static void a_passphrase_opens_what_it_sealed(void **state)
{
    (void)state;
    char path[200];
    struct base_err err;
    struct node_keys *made, *k = NULL;
    snprintf(path, sizeof path, "%s/pass", dir);
    put(path, 0400, "correct horse battery\nsecond line\n", 34);
    struct node_keys_source s = with_passphrase(path), file = with_file(key_path);
    made = create(&s);
    put(path, 0400, "correct horse battery", 21);
    struct node_keys_source none = {.passphrase_fd = -1};
    setenv("EVERWARD_PASSPHRASE_FILE", path, 1);
    assert_int_equal(node_keys_open(dir, &none, &k, &err), 0);
    unsetenv("EVERWARD_PASSPHRASE_FILE");
    assert_memory_equal(node_keys_data(made), node_keys_data(k), 32);
    node_keys_free(made);
    node_keys_free(k);
    k = NULL;
    put(path, 0400, "correct horse batterz", 21);
    assert_int_equal(node_keys_open(dir, &s, &k, &err), BASE_EKEY);
    assert_int_equal(node_keys_open(dir, &file, &k, &err), BASE_EKEY);
    assert_non_null(strstr(err.text, "sealed under a passphrase"));
    assert_int_equal(node_keys_open(dir, &none, &k, &err), BASE_EINVALID);
    put(path, 0644, "correct horse battery", 21);
    assert_int_equal(node_keys_open(dir, &s, &k, &err), BASE_EDENIED);
}

static void a_short_or_long_passphrase_makes_no_keys(void **state)
{
    (void)state;
    char path[200];
    static uint8_t long_one[NODE_KEYS_PASSPHRASE_BYTES_MAX + 1];
    struct base_err err;
    struct node_keys *k = NULL;
    int ends[2];
    snprintf(path, sizeof path, "%s/pass", dir);
    struct node_keys_source s = with_passphrase(path);
    put(path, 0400, "short", 5);
    assert_int_equal(node_keys_create(dir, &s, &k, &err), BASE_EINVALID);
    memset(long_one, 'x', sizeof long_one);
    put(path, 0400, long_one, sizeof long_one);
    assert_int_equal(node_keys_create(dir, &s, &k, &err), BASE_ETOOBIG);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "\n", 1), 1);
    close(ends[1]);
    struct node_keys_source piped = {.passphrase_fd = ends[0]};
    assert_int_equal(node_keys_create(dir, &piped, &k, &err), BASE_EINVALID);
    close(ends[0]);
    assert_int_not_equal(access(sealed_path, F_OK), 0);
}

static void a_credential_goes_before_a_key_file(void **state)
{
    (void)state;
    char path[200];
    uint8_t hex[65];
    struct base_err err;
    struct node_keys *k = NULL;
    struct node_keys_source s = with_file(key_path);
    node_keys_free(create(&s));
    s.credential = "everward.key";
    setenv("CREDENTIALS_DIRECTORY", dir, 1);
    assert_int_equal(node_keys_open(dir, &s, &k, &err), 0); /* no such credential: the key file */
    node_keys_free(k);
    k = NULL;
    snprintf(path, sizeof path, "%s/everward.key", dir);
    assert_int_equal(get(other_path, hex, sizeof hex), 65);
    put(path, 0400, hex, 65);
    assert_int_equal(node_keys_open(dir, &s, &k, &err), BASE_EKEY);
    assert_non_null(strstr(err.text, "systemd credential"));
    assert_int_equal(get(key_path, hex, sizeof hex), 65);
    put(path, 0440, hex, 65);
    assert_int_equal(node_keys_open(dir, &s, &k, &err), 0);
    node_keys_free(k);
    k = NULL;
    put(path, 0444, hex, 65);
    assert_int_equal(node_keys_open(dir, &s, &k, &err), BASE_EDENIED); /* no silent way round it */
    unsetenv("CREDENTIALS_DIRECTORY");
}

static void rewrapping_keeps_the_keys_and_shuts_the_old_key_out(void **state)
{
    (void)state;
    struct base_err err;
    struct node_keys *made, *k = NULL;
    struct node_keys_source s = with_file(key_path), next = with_file(other_path);
    made = create(&s);
    assert_int_equal(node_keys_rewrap(dir, made, &next, &err), 0);
    assert_int_equal(node_keys_open(dir, &s, &k, &err), BASE_EKEY);
    assert_int_equal(node_keys_open(dir, &next, &k, &err), 0);
    assert_memory_equal(node_keys_data(made), node_keys_data(k), 32);
    assert_memory_equal(node_keys_audit(made), node_keys_audit(k), 32);
    node_keys_free(made);
    node_keys_free(k);
}

static int die_at;

static void die(int step)
{
    if (step == die_at)
        _exit(9);
}

/* Runs create (or rewrap) in a child that dies before the given step. */
static void run_and_die(int step, struct node_keys *rewrap, const struct node_keys_source *s)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct node_keys *k = NULL;
        die_at = step;
        node_keys_step_hook = die;
        if (rewrap)
            node_keys_rewrap(dir, rewrap, s, NULL);
        else
            node_keys_create(dir, s, &k, NULL);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
}

static void dying_while_creating_leaves_no_keys_or_all_keys(void **state)
{
    (void)state;
    int none = 0, all = 0;
    struct base_err err;
    struct node_keys_source s = with_file(key_path);
    for (int step = 0; step < STEPS; step++) {
        struct node_keys *k = NULL;
        run_and_die(step, NULL, &s);
        int rc = node_keys_open(dir, &s, &k, &err);
        if (rc == BASE_ENOTFOUND) {
            none++;
            assert_int_equal(node_keys_create(dir, &s, &k, &err), 0); /* and a retry goes through */
        } else {
            assert_int_equal(rc, 0);
            all++;
        }
        node_keys_free(k);
        unlink(sealed_path);
    }
    assert_true(none > 0 && all > 0);
}

static void dying_while_rewrapping_leaves_the_old_or_the_new_wrapping(void **state)
{
    (void)state;
    int old = 0, new = 0;
    struct base_err err;
    struct node_keys_source s = with_file(key_path), next = with_file(other_path);
    struct node_keys *made = create(&s);
    for (int step = 0; step < STEPS; step++) {
        struct node_keys *k = NULL;
        run_and_die(step, made, &next);
        if (node_keys_open(dir, &s, &k, &err) == 0)
            old++;
        else if (node_keys_open(dir, &next, &k, &err) == 0)
            new ++;
        assert_non_null(k);
        assert_memory_equal(node_keys_data(made), node_keys_data(k), 32);
        node_keys_free(k);
        assert_int_equal(node_keys_rewrap(dir, made, &s, &err), 0);
    }
    node_keys_free(made);
    assert_true(old > 0 && new > 0);
}

static void the_file_shows_no_key(void **state)
{
    (void)state;
    uint8_t file[FILE_BYTES];
    struct node_keys_source s = with_file(key_path);
    struct node_keys *k = create(&s);
    assert_int_equal(get(sealed_path, file, sizeof file), FILE_BYTES);
    assert_null(memmem(file, sizeof file, node_keys_data(k), 8));
    assert_null(memmem(file, sizeof file, node_keys_audit(k), 8));
    node_keys_free(k);
}

static void the_escrow_opens_with_the_recovery_key_alone(void **state)
{
    (void)state;
    struct base_err err;
    uint8_t pk[32], sk[32], box[NODE_KEYS_ESCROW_BYTES], opened[96];
    struct node_keys_source s = with_file(key_path);
    struct node_keys *k = create(&s);
    crypto_box_keypair(pk, sk);
    assert_int_equal(node_keys_escrow(k, pk, box, &err), 0);
    assert_int_equal(crypto_box_seal_open(opened, box, sizeof box, pk, sk), 0);
    assert_memory_equal(opened, node_keys_data(k), 32);
    box[50] ^= 1;
    assert_int_not_equal(crypto_box_seal_open(opened, box, sizeof box, pk, sk), 0);
    node_keys_free(k);
}

static void write_secret(const char *path, const uint8_t sk[32])
{
    char hex[65];
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    sodium_bin2hex(hex, sizeof hex, sk, 32);
    (void)fprintf(f, "%s\n", hex);
    (void)fclose(f);
    assert_int_equal(chmod(path, 0400), 0);
}

/* The wrapping key is gone; the escrow brings all keys back under a new one. */
static void an_escrow_makes_the_same_keys_under_another_wrapping(void **state)
{
    (void)state;
    struct base_err err;
    char other[PATH_MAX], secret[PATH_MAX], wrong[PATH_MAX], sealed[PATH_MAX];
    uint8_t pk[32], sk[32], box[NODE_KEYS_ESCROW_BYTES], public[2][32];
    struct node_keys_source s = with_file(key_path);
    struct node_keys *k = create(&s);
    struct node_keys *back = NULL;
    snprintf(other, sizeof other, "%.3000s.other", key_path);
    snprintf(secret, sizeof secret, "%.3000s.secret", key_path);
    snprintf(wrong, sizeof wrong, "%.3000s.wrong", key_path);
    crypto_box_keypair(pk, sk);
    assert_int_equal(node_keys_escrow(k, pk, box, &err), 0);
    write_secret(secret, sk);
    sk[1] ^= 1;
    write_secret(wrong, sk);
    assert_int_equal(node_keys_make_key_file(other, &err), 0);
    struct node_keys_source new_source = with_file(other);
    assert_int_equal(node_keys_recover(dir, &new_source, box, secret, &back, &err), BASE_EEXISTS);
    snprintf(sealed, sizeof sealed, "%.3000s/%s", dir, NODE_KEYS_FILE);
    assert_int_equal(unlink(sealed), 0);
    assert_int_equal(node_keys_recover(dir, &new_source, box, wrong, &back, &err), BASE_EKEY);
    assert_int_equal(access(sealed, F_OK), -1);
    assert_int_equal(node_keys_recover(dir, &new_source, box, secret, &back, &err), 0);
    node_keys_free(back);
    assert_int_equal(node_keys_open(dir, &s, &back, &err), BASE_EKEY);
    assert_int_equal(node_keys_open(dir, &new_source, &back, &err), 0);
    assert_memory_equal(node_keys_data(back), node_keys_data(k), 32);
    assert_memory_equal(node_keys_audit(back), node_keys_audit(k), 32);
    node_keys_public(k, public[0]);
    node_keys_public(back, public[1]);
    assert_memory_equal(public[0], public[1], 32);
    node_keys_free(back);
    node_keys_free(k);
    (void)unlink(other);
    (void)unlink(secret);
    (void)unlink(wrong);
}

static void another_data_key_is_made_taken_or_dropped(void **state)
{
    (void)state;
    struct base_err err;
    uint8_t public[2][32];
    struct node_keys_source s = with_file(key_path);
    struct node_keys *k = create(&s);
    struct node_keys *next = NULL;
    struct node_keys *opened = NULL;
    assert_int_equal(node_keys_next_open(dir, &s, &opened, &err), BASE_ENOTFOUND);
    assert_int_equal(node_keys_next_drop(dir, &err), 0);
    assert_int_equal(node_keys_next_make(dir, k, &s, &next, &err), 0);
    assert_memory_not_equal(node_keys_data(next), node_keys_data(k), 32);
    assert_memory_equal(node_keys_audit(next), node_keys_audit(k), 32);
    node_keys_public(k, public[0]);
    node_keys_public(next, public[1]);
    assert_memory_equal(public[0], public[1], 32);
    assert_int_equal(node_keys_next_open(dir, &s, &opened, &err), 0);
    assert_memory_equal(node_keys_data(opened), node_keys_data(next), 32);
    node_keys_free(opened);
    assert_int_equal(node_keys_open(dir, &s, &opened, &err), 0); /* not taken yet */
    assert_memory_equal(node_keys_data(opened), node_keys_data(k), 32);
    node_keys_free(opened);
    assert_int_equal(node_keys_next_take(dir, &err), 0);
    assert_int_equal(node_keys_open(dir, &s, &opened, &err), 0);
    assert_memory_equal(node_keys_data(opened), node_keys_data(next), 32);
    node_keys_adopt(k, next);
    assert_memory_equal(node_keys_data(k), node_keys_data(next), 32);
    node_keys_free(opened);
    node_keys_free(next);
    assert_int_equal(node_keys_next_make(dir, k, &s, &next, &err), 0);
    assert_int_equal(node_keys_next_drop(dir, &err), 0);
    assert_int_equal(node_keys_next_open(dir, &s, &opened, &err), BASE_ENOTFOUND);
    node_keys_free(next);
    node_keys_free(k);
}

enum { SIGNATURES = 2000 };

/* Signs while the key is changed under it: each signature is by the key that it says. */
static void *sign_on(void *user)
{
    const struct node_keys *k = user;
    uint8_t sig[NODE_KEYS_SIGNATURE_BYTES];
    uint8_t pk[NODE_KEYS_PUBLIC_BYTES];
    intptr_t wrong = 0;
    for (int i = 0; i < SIGNATURES; i++) {
        node_keys_sign_as(k, "x", 1, sig, pk);
        wrong += crypto_sign_verify_detached(sig, (const uint8_t *)"x", 1, pk) != 0;
    }
    return (void *)wrong;
}

static void another_signing_key_is_made_beside_the_old_one_and_taken(void **state)
{
    (void)state;
    struct base_err err;
    struct node_keys_source s = with_file(key_path);
    struct node_keys *k = create(&s);
    struct node_keys *next = NULL;
    struct node_keys *opened = NULL;
    uint8_t public[3][NODE_KEYS_PUBLIC_BYTES];
    void *wrong = NULL;
    pthread_t thread;
    assert_int_equal(node_keys_signing_open(dir, &s, &opened, &err), BASE_ENOTFOUND);
    assert_int_equal(node_keys_signing_make(dir, k, &s, &next, &err), 0);
    assert_int_equal(node_keys_signing_make(dir, k, &s, &opened, &err), BASE_EEXISTS);
    assert_memory_equal(node_keys_data(next), node_keys_data(k), 32);
    assert_memory_equal(node_keys_audit(next), node_keys_audit(k), 32);
    node_keys_public(k, public[0]);
    node_keys_public(next, public[1]);
    assert_memory_not_equal(public[0], public[1], 32);
    assert_int_equal(pthread_create(&thread, NULL, sign_on, k), 0);
    assert_int_equal(node_keys_signing_take(dir, &err), 0);
    node_keys_adopt_signing(k, next);
    assert_int_equal(pthread_join(thread, &wrong), 0);
    assert_null(wrong);
    assert_int_equal(node_keys_open(dir, &s, &opened, &err), 0);
    node_keys_public(opened, public[2]);
    assert_memory_equal(public[1], public[2], 32);
    node_keys_public(k, public[2]);
    assert_memory_equal(public[1], public[2], 32);
    node_keys_free(opened);
    node_keys_free(next);
    node_keys_free(k);
}

static void destroyed_keys_are_gone(void **state)
{
    (void)state;
    struct base_err err;
    struct node_keys_source s = with_file(key_path);
    struct node_keys *k = create(&s);
    struct node_keys *waiting[2];
    assert_int_equal(node_keys_next_make(dir, k, &s, &waiting[0], &err), 0);
    assert_int_equal(node_keys_signing_make(dir, k, &s, &waiting[1], &err), 0);
    node_keys_free(waiting[0]);
    node_keys_free(waiting[1]);
    node_keys_free(k);
    assert_int_equal(node_keys_destroy(dir, key_path, &err), 0);
    char path[256];
    (void)snprintf(path, sizeof path, "%s/" NODE_KEYS_SIGNING_FILE, dir);
    assert_int_equal(access(path, F_OK), -1);
    (void)snprintf(path, sizeof path, "%s/" NODE_KEYS_NEXT_FILE, dir);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(access(key_path, F_OK), -1);
    assert_int_equal(access(sealed_path, F_OK), -1);
    assert_int_equal(node_keys_open(dir, &s, &k, &err), BASE_ENOTFOUND);
    assert_int_equal(node_keys_destroy(dir, key_path, &err), 0); /* again: done before */
}

static void a_hardened_process_dumps_no_core(void **state)
{
    (void)state;
    int status;
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit;
        bool ok = node_keys_harden_process(NULL) == 0 && prctl(PR_GET_DUMPABLE) == 0 &&
                  getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_max == 0;
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(keys_made_are_the_keys_opened),
        CASE(a_second_create_is_refused_and_changes_nothing),
        CASE(a_wrong_key_is_named_as_such),
        CASE(a_key_file_others_can_read_is_refused),
        CASE(a_key_file_is_32_bytes_or_64_digits),
        CASE(every_changed_byte_of_the_sealed_file_is_refused),
        CASE(a_passphrase_opens_what_it_sealed),
        CASE(a_short_or_long_passphrase_makes_no_keys),
        CASE(a_credential_goes_before_a_key_file),
        CASE(rewrapping_keeps_the_keys_and_shuts_the_old_key_out),
        CASE(dying_while_creating_leaves_no_keys_or_all_keys),
        CASE(dying_while_rewrapping_leaves_the_old_or_the_new_wrapping),
        CASE(the_file_shows_no_key),
        CASE(the_escrow_opens_with_the_recovery_key_alone),
        CASE(an_escrow_makes_the_same_keys_under_another_wrapping),
        CASE(another_data_key_is_made_taken_or_dropped),
        CASE(another_signing_key_is_made_beside_the_old_one_and_taken),
        CASE(destroyed_keys_are_gone),
        CASE(a_hardened_process_dumps_no_core),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
