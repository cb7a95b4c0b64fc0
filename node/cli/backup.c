/* The whole node in one sealed file. */
#include "node/cli/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/cli/files.h"
#include "node/cli/identity.h"
#include "sync/base/clock.h"
#include "sync/net/json.h"
#include "sync/seal/seal.h"

enum { CHUNK_BYTES = 1024 * 1024, KEYS_BYTES_MAX = 4096 };

static const char magic[] = "EWBACKUP1\n";
static const char label[] = "everward backup";
/* identity.json is the last: with it the folder is a node. */
static const char *const small_files[] = {
    NODE_TICKET_FILE, NODE_GATEWAY_CA_FILE, "tls/ca.crt",       "tls/ca.key",
    "tls/server.crt", "tls/server.key",     NODE_IDENTITY_FILE, NULL};

static int io_fail(struct base_err *err, const char *what, const char *path)
{
    int code = errno == ENOSPC || errno == EDQUOT  ? BASE_EFULL
               : errno == EACCES || errno == EPERM ? BASE_EDENIED
               : errno == EEXIST                   ? BASE_EEXISTS
               : errno == ENOENT                   ? BASE_ENOTFOUND
                                                   : BASE_EIO;
    return base_fail(err, code, "cannot %s %s: %s", what, path, strerror(errno));
}

static int write_all(int fd, const void *bytes, size_t len, const char *path, struct base_err *err)
{
    const char *p = bytes;
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno != EINTR)
            return io_fail(err, "write", path);
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

/* Exactly len bytes. */
static int read_all(int fd, void *bytes, size_t len, const char *path, struct base_err *err)
{
    char *p = bytes;
    while (len > 0) {
        ssize_t n = read(fd, p, len);
        if (n < 0 && errno != EINTR)
            return io_fail(err, "read", path);
        if (n == 0)
            return base_fail(err, BASE_ECORRUPT, "%s is cut off", path);
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

/* Copies len bytes, hashing them; to < 0: only hashes. */
static int pour(int from, const char *from_path, int to, const char *to_path, int64_t len,
                uint8_t hash[SEAL_HASH_BYTES], struct base_err *err)
{
    char *chunk = malloc(CHUNK_BYTES);
    int rc = chunk == NULL ? base_fail(err, BASE_ENOMEM, "out of memory for a backup") : 0;
    memset(hash, 0, SEAL_HASH_BYTES);
    while (rc == 0 && len > 0) {
        size_t n = len < CHUNK_BYTES ? (size_t)len : CHUNK_BYTES;
        rc = read_all(from, chunk, n, from_path, err);
        if (rc == 0 && to >= 0)
            rc = write_all(to, chunk, n, to_path, err);
        seal_chain_step(hash, chunk, n);
        len -= (int64_t)n;
    }
    free(chunk);
    return rc;
}

static int sync_folder_of(const char *path, struct base_err *err)
{
    char dir[NODE_PATH_BYTES_MAX];
    (void)snprintf(dir, sizeof dir, "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash != NULL)
        slash[slash == dir] = '\0';
    int fd = open(slash == NULL ? "." : dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) != 0 ? io_fail(err, "sync the folder of", path) : 0;
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

/* ---- making -------------------------------------------------------------------------------- */

static int write_header(struct node_backup_facts *f, struct base_err *err)
{
    char ids[2][BASE_UUID_CHARS + 1];
    struct base_buf b;
    base_uuid_format(&f->store.id.tenant_id, ids[0]);
    base_uuid_format(&f->store.id.node_id, ids[1]);
    base_time_format(base_clock_wall_ms(), f->at);
    base_buf_init(&b, sizeof f->header - 1);
    base_buf_printf(&b, "{\"format\":\"everward-backup/1\",\"at\":\"%s\",\"version\":\"%s\"", f->at,
                    EW_VERSION);
    base_buf_printf(&b, ",\"tenant\":\"%s\",\"node\":\"%s\",\"node_name\":", ids[0], ids[1]);
    base_buf_json_str(&b, f->store.id.node_name);
    base_buf_printf(&b,
                    ",\"incarnation\":%lld,\"last_seq\":%lld,\"acked_seq\":%lld,\"audit\":%lld,"
                    "\"keys_bytes\":%lld,\"box_bytes\":%lld,\"store_bytes\":%lld}\n",
                    (long long)f->store.id.incarnation, (long long)f->store.last_seq,
                    (long long)f->store.acked_seq, (long long)f->store.audit_entries,
                    (long long)f->keys_bytes, (long long)f->box_bytes, (long long)f->store_bytes);
    int rc = base_buf_check(&b);
    if (rc == 0)
        memcpy(f->header, b.data, b.len + 1);
    base_buf_release(&b);
    return rc == 0 ? 0 : base_fail(err, rc, "the backup's header does not fit");
}

/* {"store":"<hash>","files":{"ticket":"…",…}} */
static int write_small(const char *dir, const uint8_t hash[SEAL_HASH_BYTES], struct base_buf *out,
                       struct base_err *err)
{
    int rc = 0;
    base_buf_str(out, "{\"store\":\"");
    base_buf_hex(out, hash, SEAL_HASH_BYTES);
    base_buf_str(out, "\",\"files\":{");
    for (int i = 0; small_files[i] != NULL && rc == 0; i++) {
        struct base_buf text;
        base_buf_init(&text, NODE_FILE_BYTES_MAX);
        rc = node_file_read(dir, small_files[i], &text, err);
        if (rc == 0) {
            base_buf_printf(out, "%s\"%s\":", i == 0 ? "" : ",", small_files[i]);
            base_buf_json_str(out, text.data == NULL ? "" : text.data);
            if (text.data != NULL)
                seal_wipe(text.data, text.len);
        }
        base_buf_release(&text);
    }
    base_buf_str(out, "}}");
    return rc != 0 || base_buf_check(out) == 0
               ? rc
               : base_fail(err, base_buf_check(out), "the folder's small files do not fit");
}

struct making {
    const char *dir, *to;
    const struct node_keys *keys;
    struct node_backup_facts *f;
    char copy[NODE_PATH_BYTES_MAX + 16], temporary[NODE_PATH_BYTES_MAX + 16];
    struct base_buf sealed_keys, small;
    uint8_t *box;
    uint8_t hash[SEAL_HASH_BYTES];
};

static int measure(struct making *m, int *store, struct base_err *err)
{
    struct stat st;
    int rc = node_store_copy(m->dir, node_keys_data(m->keys), NULL, m->copy, err);
    if (rc == 0)
        rc = node_store_look(m->copy, node_keys_data(m->keys), &m->f->store, err);
    if (rc == 0 && m->f->store.id.training) /* so that no file of it can come into a real one */
        rc = base_fail(err, BASE_EDENIED,
                       "a training node has no backups: make another one instead");
    if (rc == 0)
        rc = node_file_read(m->dir, NODE_KEYS_FILE, &m->sealed_keys, err);
    if (rc != 0)
        return rc;
    *store = open(m->copy, O_RDONLY | O_CLOEXEC);
    if (*store < 0 || fstat(*store, &st) != 0)
        return io_fail(err, "read", m->copy);
    rc = pour(*store, m->copy, -1, NULL, st.st_size, m->hash, err);
    if (rc == 0)
        rc = write_small(m->dir, m->hash, &m->small, err);
    if (rc == 0 && lseek(*store, 0, SEEK_SET) != 0)
        rc = io_fail(err, "read", m->copy);
    m->f->store_bytes = st.st_size;
    m->f->keys_bytes = (int64_t)m->sealed_keys.len;
    m->f->box_bytes = (int64_t)m->small.len + NODE_KEYS_BOX_BYTES;
    return rc == 0 ? write_header(m->f, err) : rc;
}

static int write_bundle(struct making *m, int store, struct base_err *err)
{
    uint8_t again[SEAL_HASH_BYTES];
    const char *header = m->f->header;
    m->box = malloc((size_t)m->f->box_bytes);
    if (m->box == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for a backup");
    node_keys_box(m->keys, label, header, strlen(header), m->small.data, m->small.len, m->box);
    int fd = open(m->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return io_fail(err, "write", m->temporary);
    int rc = write_all(fd, magic, sizeof magic - 1, m->temporary, err);
    if (rc == 0)
        rc = write_all(fd, header, strlen(header), m->temporary, err);
    if (rc == 0)
        rc = write_all(fd, m->sealed_keys.data, m->sealed_keys.len, m->temporary, err);
    if (rc == 0)
        rc = write_all(fd, m->box, (size_t)m->f->box_bytes, m->temporary, err);
    if (rc == 0)
        rc = pour(store, m->copy, fd, m->temporary, m->f->store_bytes, again, err);
    if (rc == 0 && memcmp(again, m->hash, sizeof again) != 0)
        rc = base_fail(err, BASE_EIO, "%s changed while it was read; check the disk", m->copy);
    if (rc == 0 && fsync(fd) != 0)
        rc = io_fail(err, "sync", m->temporary);
    if (close(fd) != 0 && rc == 0)
        rc = io_fail(err, "write", m->temporary);
    return rc;
}

int node_backup_make(const char *state_dir, const struct node_keys *keys, const char *to,
                     struct node_backup_facts *out, struct base_err *err)
{
    struct making m = {.dir = state_dir, .to = to, .keys = keys, .f = out};
    int store = -1;
    *out = (struct node_backup_facts){.store_bytes = 0};
    if (strlen(to) >= NODE_PATH_BYTES_MAX)
        return base_fail(err, BASE_ETOOBIG, "the path is too long");
    if (access(to, F_OK) == 0)
        return base_fail(err, BASE_EEXISTS, "%s exists already; it was left alone", to);
    (void)snprintf(m.copy, sizeof m.copy, "%s.store", to);
    (void)snprintf(m.temporary, sizeof m.temporary, "%s.new", to);
    (void)unlink(m.copy); /* of one that died */
    base_buf_init(&m.sealed_keys, KEYS_BYTES_MAX);
    base_buf_init(&m.small, NODE_BACKUP_SMALL_BYTES_MAX);
    int rc = measure(&m, &store, err);
    if (rc == 0)
        rc = write_bundle(&m, store, err);
    if (rc == 0 && link(m.temporary, to) != 0) /* refuses to replace, unlike rename */
        rc = io_fail(err, "put in place", to);
    if (rc == 0)
        rc = sync_folder_of(to, err);
    if (store >= 0)
        (void)close(store);
    (void)unlink(m.temporary);
    (void)unlink(m.copy);
    if (m.small.data != NULL)
        seal_wipe(m.small.data, m.small.len);
    base_buf_release(&m.small);
    base_buf_release(&m.sealed_keys);
    free(m.box);
    return rc;
}

/* ---- reading ------------------------------------------------------------------------------- */

static int parse_header(struct node_backup_facts *f, struct base_err *err)
{
    cJSON *h = NULL;
    const char *text[4] = {NULL};
    int64_t inc = 0;
    struct node_store_facts *s = &f->store;
    int rc = net_json_parse(&h, f->header, strlen(f->header), err);
    if (rc == 0)
        rc = net_json_str(h, "format", 64, &text[0], err);
    if (rc == 0 && strcmp(text[0], "everward-backup/1") != 0)
        rc = base_fail(err, BASE_EUNSUPPORTED, "this everward reads everward-backup/1");
    if (rc == 0)
        rc = net_json_str(h, "node", BASE_UUID_CHARS, &text[1], err);
    if (rc == 0 && !base_uuid_parse(&s->id.node_id, text[1], strlen(text[1])))
        rc = base_fail(err, BASE_ECORRUPT, "the node is not a uuid");
    if (rc == 0)
        rc = net_json_str(h, "node_name", sizeof s->id.node_name - 1, &text[2], err);
    if (rc == 0)
        rc = net_json_str(h, "at", sizeof f->at - 1, &text[3], err);
    if (rc == 0) {
        (void)snprintf(s->id.node_name, sizeof s->id.node_name, "%s", text[2]);
        (void)snprintf(f->at, sizeof f->at, "%s", text[3]);
        rc = net_json_i64(h, "incarnation", 1, INT64_MAX, &inc, err);
    }
    s->id.incarnation = inc;
    if (rc == 0)
        rc = net_json_i64(h, "last_seq", 0, INT64_MAX, &s->last_seq, err);
    if (rc == 0)
        rc = net_json_i64(h, "audit", 0, INT64_MAX, &s->audit_entries, err);
    if (rc == 0)
        rc = net_json_i64(h, "keys_bytes", 1, KEYS_BYTES_MAX, &f->keys_bytes, err);
    if (rc == 0)
        rc = net_json_i64(h, "box_bytes", NODE_KEYS_BOX_BYTES + 1,
                          NODE_BACKUP_SMALL_BYTES_MAX + NODE_KEYS_BOX_BYTES, &f->box_bytes, err);
    if (rc == 0)
        rc = net_json_i64(h, "store_bytes", 1, INT64_MAX / 2, &f->store_bytes, err);
    cJSON_Delete(h);
    return rc;
}

/* Open behind the header. */
static int open_bundle(const char *bundle, int *out, struct node_backup_facts *f,
                       struct base_err *err)
{
    char begin[sizeof magic - 1];
    size_t n = 0;
    *f = (struct node_backup_facts){.store_bytes = 0};
    int fd = open(bundle, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return io_fail(err, "read", bundle);
    int rc = read_all(fd, begin, sizeof begin, bundle, err);
    if (rc == 0 && memcmp(begin, magic, sizeof begin) != 0)
        rc = base_fail(err, BASE_EINVALID, "%s is not a backup of everward", bundle);
    while (rc == 0 && (n == 0 || f->header[n - 1] != '\n')) {
        if (n == sizeof f->header - 1)
            rc = base_fail(err, BASE_ECORRUPT, "%s: its header has no end", bundle);
        else
            rc = read_all(fd, f->header + n++, 1, bundle, err);
    }
    if (rc == 0)
        rc = parse_header(f, err);
    if (rc != 0) {
        (void)close(fd);
        return base_err_prefix(err, rc, "%s", bundle);
    }
    *out = fd;
    return 0;
}

int node_backup_look(const char *bundle, struct node_backup_facts *out, struct base_err *err)
{
    int fd = -1;
    int rc = open_bundle(bundle, &fd, out, err);
    if (rc == 0)
        (void)close(fd);
    return rc;
}

int node_backup_keys(const char *bundle, const char *state_dir, struct base_err *err)
{
    struct node_backup_facts f;
    struct base_buf there;
    char bytes[KEYS_BYTES_MAX];
    int fd = -1;
    int rc = open_bundle(bundle, &fd, &f, err);
    if (rc != 0)
        return rc;
    rc = read_all(fd, bytes, (size_t)f.keys_bytes, bundle, err);
    (void)close(fd);
    if (rc != 0 || !node_file_exists(state_dir, NODE_KEYS_FILE))
        return rc != 0
                   ? rc
                   : node_file_write(state_dir, NODE_KEYS_FILE, bytes, (size_t)f.keys_bytes, err);
    base_buf_init(&there, KEYS_BYTES_MAX);
    rc = node_file_read(state_dir, NODE_KEYS_FILE, &there, err);
    if (rc == 0 && (there.len != (size_t)f.keys_bytes || memcmp(there.data, bytes, there.len) != 0))
        rc = base_fail(err, BASE_EEXISTS, "%s holds other keys already; choose an empty folder",
                       state_dir);
    base_buf_release(&there);
    return rc;
}

/* ---- restoring ----------------------------------------------------------------------------- */

static int open_box(const struct node_keys *keys, const struct node_backup_facts *f, int fd,
                    const char *bundle, cJSON **out, struct base_err *err)
{
    BASE_ASSERT(f->box_bytes > NODE_KEYS_BOX_BYTES); /* read_facts */
    size_t len = (size_t)f->box_bytes;
    uint8_t *box = malloc(len);
    uint8_t *plain = malloc(len);
    int rc = box == NULL || plain == NULL
                 ? base_fail(err, BASE_ENOMEM, "out of memory for a backup")
                 : read_all(fd, box, len, bundle, err);
    if (rc == 0)
        rc = node_keys_unbox(keys, label, f->header, strlen(f->header), box, len, plain, err);
    if (rc == 0)
        rc = net_json_parse(out, (const char *)plain, len - NODE_KEYS_BOX_BYTES, err);
    if (plain != NULL)
        seal_wipe(plain, len);
    free(plain);
    free(box);
    return rc == 0 ? 0 : base_err_prefix(err, rc, "%s", bundle);
}

static int put_store(int fd, const char *bundle, const struct node_backup_facts *f,
                     const char *path, const cJSON *small, struct base_err *err)
{
    char temporary[NODE_PATH_BYTES_MAX + 8];
    uint8_t wanted[SEAL_HASH_BYTES];
    uint8_t hash[SEAL_HASH_BYTES];
    const char *text = NULL;
    char more;
    int rc = net_json_str(small, "store", 2 * SEAL_HASH_BYTES, &text, err);
    if (rc == 0 && !seal_hex_decode(wanted, sizeof wanted, text, strlen(text)))
        rc = base_fail(err, BASE_ECORRUPT, "%s: its hash is not hex", bundle);
    if (rc != 0)
        return rc;
    (void)snprintf(temporary, sizeof temporary, "%s.new", path);
    int to = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (to < 0)
        return io_fail(err, "write", temporary);
    rc = pour(fd, bundle, to, temporary, f->store_bytes, hash, err);
    if (rc == 0 && (!seal_equal(hash, wanted, sizeof hash) || read(fd, &more, 1) != 0))
        rc = base_fail(err, BASE_ECORRUPT, "%s was changed: its store is not the one written there",
                       bundle);
    if (rc == 0 && fsync(to) != 0)
        rc = io_fail(err, "sync", temporary);
    if (close(to) != 0 && rc == 0)
        rc = io_fail(err, "write", temporary);
    if (rc == 0 && rename(temporary, path) != 0)
        rc = io_fail(err, "put in place", path);
    if (rc != 0)
        (void)unlink(temporary);
    return rc;
}

static int put_small(const char *dir, const cJSON *small, struct base_err *err)
{
    char tls[NODE_PATH_BYTES_MAX];
    const cJSON *files = cJSON_GetObjectItemCaseSensitive(small, "files");
    const char *text = NULL;
    node_path(tls, dir, "tls");
    int rc = node_state_dir_make(tls, err);
    for (int i = 0; small_files[i] != NULL && rc == 0; i++) {
        rc = net_json_str(files, small_files[i], NODE_FILE_BYTES_MAX, &text, err);
        if (rc == 0)
            rc = node_file_write(dir, small_files[i], text, strlen(text), err);
    }
    return rc;
}

static int check_store(const char *path, const struct node_keys *keys, struct node_backup_facts *f,
                       struct base_err *err)
{
    uint8_t public[NODE_KEYS_PUBLIC_BYTES];
    const struct node_store_facts said = f->store;
    node_keys_public(keys, public);
    int rc =
        node_store_check(path, node_keys_data(keys), node_keys_audit(keys), public, &f->store, err);
    if (rc == 0 &&
        (!base_uuid_equal(&said.id.node_id, &f->store.id.node_id) ||
         said.last_seq != f->store.last_seq || said.audit_entries != f->store.audit_entries))
        rc = base_fail(err, BASE_ECORRUPT, "the store is not the one its header tells of");
    return rc;
}

int node_backup_restore(const char *bundle, const char *state_dir, const struct node_keys *keys,
                        bool scratch, struct node_backup_facts *out, struct base_err *err)
{
    char path[NODE_PATH_BYTES_MAX];
    char log[NODE_PATH_BYTES_MAX];
    cJSON *small = NULL;
    int fd = -1;
    int rc = open_bundle(bundle, &fd, out, err);
    if (rc != 0)
        return rc;
    node_path(path, state_dir, "node.db");
    node_path(log, state_dir, "node.db-wal");
    if (node_file_exists(state_dir, NODE_IDENTITY_FILE))
        rc = base_fail(err, BASE_EEXISTS, "%s belongs to a node already; choose an empty folder",
                       state_dir);
    if (rc == 0 && unlink(log) != 0 && errno != ENOENT) /* of an attempt that died */
        rc = io_fail(err, "remove", log);
    if (rc == 0 && lseek(fd, (off_t)out->keys_bytes, SEEK_CUR) < 0)
        rc = io_fail(err, "read", bundle);
    if (rc == 0)
        rc = open_box(keys, out, fd, bundle, &small, err);
    if (rc == 0)
        rc = put_store(fd, bundle, out, path, small, err);
    if (rc == 0)
        rc = check_store(path, keys, out, err);
    if (rc == 0 && !scratch)
        rc = node_store_restored(path, node_keys_data(keys), node_keys_audit(keys), err);
    if (rc == 0)
        rc = put_small(state_dir, small, err);
    cJSON_Delete(small);
    (void)close(fd);
    return rc;
}

/* ---- verifying ----------------------------------------------------------------------------- */

static void remove_scratch(const char *dir)
{
    static const char *const names[] = {"node.db",     "node.db-wal",  "node.db-shm",
                                        "node.db.new", NODE_KEYS_FILE, NULL};
    char path[NODE_PATH_BYTES_MAX];
    for (int i = 0; names[i] != NULL; i++) {
        node_path(path, dir, names[i]);
        (void)unlink(path);
    }
    for (int i = 0; small_files[i] != NULL; i++) {
        node_path(path, dir, small_files[i]);
        (void)unlink(path);
    }
    node_path(path, dir, "tls");
    (void)rmdir(path);
    (void)rmdir(dir);
}

int node_backup_make_verified(const char *state_dir, const struct node_keys *keys, const char *to,
                              bool verify, struct node_backup_facts *out, struct base_err *err)
{
    char scratch[NODE_PATH_BYTES_MAX];
    struct node_backup_facts back;
    int rc = node_backup_make(state_dir, keys, to, out, err);
    if (rc != 0 || !verify)
        return rc;
    (void)snprintf(scratch, sizeof scratch, "%.4000s.verify", to);
    rc = node_state_dir_make(scratch, err);
    if (rc == 0)
        rc = node_backup_keys(to, scratch, err);
    if (rc == 0)
        rc = node_backup_restore(to, scratch, keys, true, &back, err);
    remove_scratch(scratch);
    return rc == 0 ? 0 : base_err_prefix(err, rc, "%s was written, but does not restore", to);
}
