/*
 * The cryptographic half of a small protocol client for tests, driven by gateway_client.py over
 * pipes:
 *
 *   key                                        -> public key (base64url), secret key (hex)
 *   token SK NODE TENANT TICKET AUDIENCE LIFE AGE -> a token; TICKET base64url, LIFE and AGE in
 * seconds push   stdin: one line "TENANT NODE INC CATALOG FIRST CHAIN|- SK FLAGS", then change
 * lines
 *                                              -> chain after in hex, newline, the compressed body
 *   pack, unpack                               -> zstd of stdin
 *
 * FLAGS: letters: s wrong signature, c wrong chain, n wrong count, f unknown format, z not
 * compressed, - none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/base/clock.h"
#include "sync/core/change.h"
#include "sync/net/token.h"
#include "sync/seal/seal.h"

enum { CLIENT_BYTES_MAX = 256 * 1024 * 1024, CLIENT_WORDS = 8 };

static uint8_t secret_key[SEAL_SECRET_KEY_BYTES];

static _Noreturn void die(const char *why)
{
    (void)fprintf(stderr, "push_client: %s\n", why);
    exit(2);
}

static void read_all(struct base_buf *b)
{
    char chunk[65536];
    size_t n;
    base_buf_init(b, CLIENT_BYTES_MAX);
    while ((n = fread(chunk, 1, sizeof chunk, stdin)) > 0)
        base_buf_add(b, chunk, n);
}

static void write_out(const struct base_buf *b)
{
    if (base_buf_check(b) != 0 || fwrite(b->data, 1, b->len, stdout) != b->len)
        die("cannot write");
}

static struct base_uuid uuid_of(const char *s)
{
    struct base_uuid u;
    if (!base_uuid_parse(&u, s, strlen(s)))
        die("not a uuid");
    return u;
}

static void key_of(const char *hex)
{
    if (!seal_hex_decode(secret_key, sizeof secret_key, hex, strlen(hex)))
        die("not a secret key");
}

static int sign(void *user, const void *msg, size_t len, uint8_t sig[64])
{
    seal_sign(sig, msg, len, secret_key);
    return 0;
}

static void make_key(void)
{
    uint8_t pk[SEAL_PUBLIC_KEY_BYTES];
    struct base_buf b;
    base_buf_init(&b, 1024);
    seal_keypair(pk, secret_key);
    seal_base64url(&b, pk, sizeof pk);
    base_buf_char(&b, ' ');
    base_buf_hex(&b, secret_key, sizeof secret_key);
    base_buf_char(&b, '\n');
    write_out(&b);
    base_buf_release(&b);
}

static void make_token(char **arg)
{
    struct net_token t = {.node_id = uuid_of(arg[1]), .tenant_id = uuid_of(arg[2])};
    struct base_buf b;
    struct base_err err = {0};
    size_t len = 0;
    key_of(arg[0]);
    if (!seal_base64url_decode(t.ticket, sizeof t.ticket, &len, arg[3], strlen(arg[3])) ||
        len != sizeof t.ticket)
        die("not a ticket");
    (void)snprintf(t.audience, sizeof t.audience, "%s", arg[4]);
    t.issued_s = base_clock_wall_ms() / 1000 - strtoll(arg[6], NULL, 10);
    t.expires_s = t.issued_s + strtoll(arg[5], NULL, 10);
    base_buf_init(&b, NET_TOKEN_BYTES_MAX);
    if (net_token_make(&b, &t, sign, NULL, &err) != 0)
        die(err.text);
    write_out(&b);
    base_buf_release(&b);
}

static void split(char *line, char *words[CLIENT_WORDS])
{
    for (int i = 0; i < CLIENT_WORDS; i++) {
        words[i] = line;
        line = strchr(line, i == CLIENT_WORDS - 1 ? '\0' : ' ');
        if (line == NULL)
            die("the first line is too short");
        *line++ = '\0';
    }
}

static void start_chain(uint8_t chain[SEAL_HASH_BYTES], char *words[CLIENT_WORDS])
{
    struct base_uuid node = uuid_of(words[1]);
    if (strcmp(words[5], "-") == 0)
        seal_chain_start(chain, &node, strtoll(words[2], NULL, 10));
    else if (!seal_hex_decode(chain, SEAL_HASH_BYTES, words[5], strlen(words[5])))
        die("not a chain");
}

static void write_header(struct base_buf *b, char *words[CLIENT_WORDS], long long count,
                         const uint8_t chain[SEAL_HASH_BYTES])
{
    long long first = strtoll(words[4], NULL, 10);
    base_buf_printf(b,
                    "{\"format\":\"everward-push/%s\",\"tenant\":\"%s\",\"node\":\"%s\",\"inc\":%s,"
                    "\"catalog\":%s,\"first\":%lld,\"last\":%lld,\"chain\":\"",
                    strchr(words[7], 'f') != NULL ? "9" : "1", words[0], words[1], words[2],
                    words[3], first, first + count - 1);
    base_buf_hex(b, chain, SEAL_HASH_BYTES);
    base_buf_str(b, "\"}");
}

static void write_trailer(struct base_buf *b, const struct base_buf *header, const char *flags,
                          long long count, const uint8_t chain[SEAL_HASH_BYTES])
{
    uint8_t sig[SEAL_SIGNATURE_BYTES];
    struct base_buf hex;
    struct base_buf msg;
    base_buf_init(&hex, 256);
    base_buf_init(&msg, 512 * 1024);
    base_buf_hex(&hex, chain, SEAL_HASH_BYTES);
    base_buf_printf(&msg, "everward push 1\n%s\n%s", header->data, hex.data);
    seal_sign(sig, msg.data, msg.len, secret_key);
    if (strchr(flags, 's') != NULL)
        sig[5] ^= 1;
    base_buf_printf(b, "{\"count\":%lld,\"chain\":\"%s\",\"sig\":\"",
                    count + (strchr(flags, 'n') != NULL), hex.data);
    seal_base64url(b, sig, sizeof sig);
    base_buf_str(b, "\"}\n");
    base_buf_release(&hex);
    base_buf_release(&msg);
}

static void make_push(void)
{
    struct base_buf in;
    struct base_buf header;
    struct base_buf body;
    struct base_buf out;
    struct base_err err = {0};
    char *words[CLIENT_WORDS];
    uint8_t chain[SEAL_HASH_BYTES];
    long long count = 0;
    read_all(&in);
    char *lines = memchr(in.data, '\n', in.len);
    if (lines == NULL)
        die("no first line");
    *lines++ = '\0';
    split(in.data, words);
    key_of(words[6]);
    for (char *s = lines; s < in.data + in.len; s++)
        count += *s == '\n';
    start_chain(chain, words);
    base_buf_init(&header, 256 * 1024);
    base_buf_init(&body, CLIENT_BYTES_MAX);
    base_buf_init(&out, CLIENT_BYTES_MAX);
    write_header(&header, words, count, chain);
    base_buf_add(&body, header.data, header.len);
    base_buf_char(&body, '\n');
    for (char *s = lines; s < in.data + in.len;) {
        char *eol = strchr(s, '\n');
        seal_chain_step(chain, s, (size_t)(eol - s));
        base_buf_add(&body, s, (size_t)(eol - s) + 1);
        s = eol + 1;
    }
    base_buf_hex(&out, chain, sizeof chain);
    base_buf_char(&out, '\n');
    if (strchr(words[7], 'c') != NULL)
        chain[0] ^= 1;
    write_trailer(&body, &header, words[7], count, chain);
    if (strchr(words[7], 'z') != NULL)
        base_buf_add(&out, body.data, body.len);
    else if (seal_compress(&out, body.data, body.len, 1, &err) != 0)
        die(err.text);
    write_out(&out);
    base_buf_release(&in);
    base_buf_release(&header);
    base_buf_release(&body);
    base_buf_release(&out);
}

static void convert(bool pack)
{
    struct base_buf in;
    struct base_buf out;
    struct base_err err = {0};
    read_all(&in);
    base_buf_init(&out, CLIENT_BYTES_MAX);
    if ((pack ? seal_compress(&out, in.data, in.len, 1, &err)
              : seal_decompress(&out, in.data, in.len, &err)) != 0)
        die(err.text);
    write_out(&out);
    base_buf_release(&in);
    base_buf_release(&out);
}

int main(int argc, char **argv)
{
    if (seal_init(NULL) != 0 || argc < 2)
        die("which command?");
    if (strcmp(argv[1], "key") == 0)
        make_key();
    else if (strcmp(argv[1], "token") == 0 && argc == 9)
        make_token(argv + 2);
    else if (strcmp(argv[1], "push") == 0)
        make_push();
    else if (strcmp(argv[1], "pack") == 0 || strcmp(argv[1], "unpack") == 0)
        convert(argv[1][0] == 'p');
    else
        die("unknown command");
    return 0;
}
