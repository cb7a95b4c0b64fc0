/* Files of FHIR: which there are, and their texts one after the other. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sync/gateway/fhir/import_internal.h"

enum { CHUNK_BYTES = 256 * 1024, PATH_BYTES_MAX = 4096, TYPE_CHARS_MAX = 40 };

static bool ends(const char *s, const char *with)
{
    size_t n = strlen(s);
    size_t k = strlen(with);
    return n >= k && strcmp(s + n - k, with) == 0;
}

static bool by_lines(const char *path)
{
    return ends(path, ".ndjson") || ends(path, ".jsonl");
}

/* Patient.ndjson, Patient-23.json, Patient.000.ndjson: what the letters in front say. */
static int order_of(const char *path)
{
    char type[TYPE_CHARS_MAX + 1];
    const char *name = strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path;
    size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    if (n > TYPE_CHARS_MAX)
        n = 0;
    memcpy(type, name, n);
    type[n] = '\0';
    return gw_fhir_order(type);
}

static int add_file(struct gw_files *f, const char *path, struct base_err *err)
{
    if (f->count == GW_IMPORT_FILES_MAX)
        return base_fail(err, BASE_ETOOBIG, "more than %d files: import them in parts",
                         GW_IMPORT_FILES_MAX);
    if (f->count == f->cap) {
        int cap = f->cap > 0 ? f->cap * 2 : 64;
        struct gw_file *list = realloc(f->list, (size_t)cap * sizeof *list);
        if (list == NULL)
            return base_fail(err, BASE_ENOMEM, "out of memory for the list of files");
        f->list = list;
        f->cap = cap;
    }
    struct gw_file *file = &f->list[f->count];
    file->order = order_of(path);
    file->path = strdup(path);
    if (file->path == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for the list of files");
    f->count++;
    return 0;
}

static int add_folder(struct gw_files *f, const char *path, int depth, struct base_err *err);

static int add_path(struct gw_files *f, const char *path, bool named, int depth,
                    struct base_err *err)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return base_fail(err, errno == ENOENT ? BASE_ENOTFOUND : BASE_EIO, "%s: %s", path,
                         strerror(errno));
    if (S_ISDIR(st.st_mode))
        return add_folder(f, path, depth + 1, err);
    if (S_ISREG(st.st_mode) && (by_lines(path) || ends(path, ".json")))
        return add_file(f, path, err);
    if (named)
        return base_fail(err, BASE_EINVALID, "%s: must end in .ndjson, .jsonl or .json", path);
    f->skipped++;
    return 0;
}

static int add_folder(struct gw_files *f, const char *path, int depth, struct base_err *err)
{
    int rc = 0;
    struct dirent *e;
    if (depth > GW_IMPORT_DEPTH_MAX)
        return base_fail(err, BASE_ETOOBIG, "%s: folders in folders, more than %d", path,
                         GW_IMPORT_DEPTH_MAX);
    DIR *d = opendir(path);
    if (d == NULL)
        return base_fail(err, BASE_EIO, "%s: %s", path, strerror(errno));
    while (rc == 0 && (e = readdir(d)) != NULL) {
        char full[PATH_BYTES_MAX];
        if (e->d_name[0] == '.')
            continue;
        int n = snprintf(full, sizeof full, "%s/%s", path, e->d_name);
        if (n >= (int)sizeof full)
            rc = base_fail(err, BASE_ETOOBIG, "%s: a path longer than %d bytes", path,
                           PATH_BYTES_MAX);
        else
            rc = add_path(f, full, false, depth, err);
    }
    (void)closedir(d);
    return rc;
}

static int compare(const void *a, const void *b)
{
    const struct gw_file *x = a;
    const struct gw_file *y = b;
    return x->order != y->order ? x->order - y->order : strcmp(x->path, y->path);
}

int gw_files_find(struct gw_files *out, const char *const *paths, int count, struct base_err *err)
{
    struct gw_files f = {0};
    int rc = 0;
    for (int i = 0; i < count && rc == 0; i++)
        rc = add_path(&f, paths[i], true, 0, err);
    if (rc == 0 && f.count == 0)
        rc = base_fail(err, BASE_ENOTFOUND, "no file that ends in .ndjson, .jsonl or .json");
    if (rc != 0) {
        gw_files_release(&f);
        return rc;
    }
    qsort(f.list, (size_t)f.count, sizeof *f.list, compare);
    *out = f;
    return 0;
}

void gw_files_release(struct gw_files *f)
{
    for (int i = 0; i < f->count; i++)
        free(f->list[i].path);
    free(f->list);
    *f = (struct gw_files){0};
}

static bool blank(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strchr(" \t\r", s[i]) == NULL || s[i] == '\0')
            return false;
    return true;
}

static const char *after_mark(const char *s, size_t *len)
{
    if (*len >= 3 && memcmp(s, "\xef\xbb\xbf", 3) == 0) {
        *len -= 3;
        return s + 3;
    }
    return s;
}

struct lines {
    struct base_buf held; /* the beginning of a line whose end has not been read */
    bool skipping;        /* it is too long; its end is looked for */
    uint64_t number;
    void *user;
    gw_text_cb each;
};

static int give(struct lines *l, const char *s, size_t n, struct base_err *err)
{
    int rc = 0;
    l->number++;
    if (l->number == 1)
        s = after_mark(s, &n);
    if (n > GW_IMPORT_LINE_BYTES_MAX)
        rc = l->each(l->user, l->number, NULL, 0, err);
    else if (!blank(s, n))
        rc = l->each(l->user, l->number, s, n, err);
    return rc;
}

/* The end of a line, or of the file: with what was held before it. */
static int finish_line(struct lines *l, const char *s, size_t n, struct base_err *err)
{
    int rc;
    if (l->skipping) {
        l->number++;
        rc = l->each(l->user, l->number, NULL, 0, err);
    } else if (l->held.len == 0) {
        rc = give(l, s, n, err);
    } else {
        base_buf_add(&l->held, s, n);
        rc = base_buf_check(&l->held) == 0 ? give(l, l->held.data, l->held.len, err)
                                           : base_fail(err, BASE_ENOMEM, "out of memory");
    }
    l->skipping = false;
    base_buf_clear(&l->held);
    return rc;
}

static int take_chunk(struct lines *l, const char *s, size_t n, struct base_err *err)
{
    int rc = 0;
    while (n > 0 && rc == 0) {
        const char *end = memchr(s, '\n', n);
        if (end == NULL)
            break;
        rc = finish_line(l, s, (size_t)(end - s), err);
        n -= (size_t)(end - s) + 1;
        s = end + 1;
    }
    if (rc != 0 || n == 0 || l->skipping)
        return rc;
    if (l->held.len + n > GW_IMPORT_LINE_BYTES_MAX) {
        l->skipping = true;
        base_buf_clear(&l->held);
        return 0;
    }
    base_buf_add(&l->held, s, n);
    return base_buf_check(&l->held) == 0 ? 0 : base_fail(err, BASE_ENOMEM, "out of memory");
}

static int read_lines(int fd, const char *path, void *user, gw_text_cb each, struct base_err *err)
{
    int rc = 0;
    ssize_t n = 0;
    struct lines l = {.user = user, .each = each};
    char *chunk = malloc(CHUNK_BYTES);
    base_buf_init(&l.held, GW_IMPORT_LINE_BYTES_MAX + CHUNK_BYTES);
    if (chunk == NULL)
        rc = base_fail(err, BASE_ENOMEM, "out of memory");
    while (rc == 0 && (n = read(fd, chunk, CHUNK_BYTES)) > 0)
        rc = take_chunk(&l, chunk, (size_t)n, err);
    if (rc == 0 && n < 0)
        rc = base_fail(err, BASE_EIO, "%s: %s", path, strerror(errno));
    if (rc == 0 && (l.held.len > 0 || l.skipping))
        rc = finish_line(&l, "", 0, err);
    base_buf_release(&l.held);
    free(chunk);
    return rc;
}

static int read_whole(int fd, const char *path, void *user, gw_text_cb each, struct base_err *err)
{
    struct base_buf b;
    ssize_t n = 0;
    int rc = 0;
    base_buf_init(&b, GW_IMPORT_BUNDLE_BYTES_MAX + CHUNK_BYTES);
    for (;;) {
        char *to = base_buf_reserve(&b, CHUNK_BYTES);
        if (to == NULL || b.len > GW_IMPORT_BUNDLE_BYTES_MAX)
            break;
        n = read(fd, to, CHUNK_BYTES);
        if (n <= 0)
            break;
        b.len += (size_t)n;
    }
    if (n < 0)
        rc = base_fail(err, BASE_EIO, "%s: %s", path, strerror(errno));
    else if (base_buf_check(&b) == BASE_ENOMEM)
        rc = base_fail(err, BASE_ENOMEM, "%s: out of memory", path);
    else if (b.len > GW_IMPORT_BUNDLE_BYTES_MAX || base_buf_check(&b) != 0)
        rc = each(user, 1, NULL, 0, err);
    else {
        size_t len = b.len;
        const char *s = after_mark(b.data != NULL ? b.data : "", &len);
        rc = each(user, 1, s, len, err);
    }
    base_buf_release(&b);
    return rc;
}

int gw_file_read(const char *path, void *user, gw_text_cb each, struct base_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return base_fail(err, errno == ENOENT ? BASE_ENOTFOUND : BASE_EIO, "%s: %s", path,
                         strerror(errno));
    int rc = by_lines(path) ? read_lines(fd, path, user, each, err)
                            : read_whole(fd, path, user, each, err);
    (void)close(fd);
    return rc;
}
