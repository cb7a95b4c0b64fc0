/*
 * A bundle may be larger than what one parsed document may hold, so its text is cut at the entries
 * and each is parsed by itself. What is left, with "entry" emptied, must be JSON too: the cut is
 * exact or the whole is refused.
 */
#include <stdlib.h>
#include <string.h>

#include "sync/gateway/fhir/import_internal.h"

enum { ENTRIES_MAX = 1000000, NAMES_BYTES_MAX = 64 * 1024 * 1024 };

struct piece {
    const char *at;
    size_t len;
};

struct name {
    const char *url, *key;
};

struct gw_bundle {
    struct piece *entries;
    int count, cap;
    struct name *names; /* sorted by url */
    int name_count;
    cJSON *rest; /* all but the entries */
    struct base_arena arena;
};

struct scan {
    const char *p, *end;
    struct piece list; /* the value of "entry", with its brackets */
    bool broken;
};

static void space(struct scan *s)
{
    while (s->p < s->end && strchr(" \t\r\n", *s->p) != NULL && *s->p != '\0')
        s->p++;
}

/* Over a string; p stands on its quote. */
static void string(struct scan *s)
{
    for (s->p++; s->p < s->end && *s->p != '"'; s->p++)
        if (*s->p == '\\' && s->end - s->p > 1)
            s->p++;
    if (s->p >= s->end)
        s->broken = true;
    else
        s->p++;
}

/* Over a value of any kind, by brackets alone: the parser checks the rest. */
static void value(struct scan *s)
{
    int depth = 0;
    do {
        space(s);
        if (s->p >= s->end) {
            s->broken = true;
            return;
        }
        char c = *s->p;
        if (c == '"') {
            string(s);
        } else if (c == '{' || c == '[') {
            depth++;
            s->p++;
        } else if (c == '}' || c == ']') {
            depth--;
            s->p++;
        } else if (depth > 0) {
            s->p++;
        } else {
            while (s->p < s->end && strchr(",]} \t\r\n", *s->p) == NULL)
                s->p++;
            return;
        }
    } while (depth > 0 && !s->broken);
    s->broken = s->broken || depth < 0;
}

/* Finds the top object's "entry" if that is an array. */
static void find_list(struct scan *s)
{
    space(s);
    if (s->p >= s->end || *s->p++ != '{')
        return;
    while (!s->broken) {
        space(s);
        if (s->p >= s->end || *s->p != '"')
            return;
        const char *key = s->p;
        string(s);
        bool entry = s->p - key == 7 && memcmp(key, "\"entry\"", 7) == 0;
        space(s);
        if (s->broken || s->p >= s->end || *s->p++ != ':')
            return;
        space(s);
        const char *from = s->p;
        value(s);
        if (entry && !s->broken && *from == '[') {
            s->list = (struct piece){from, (size_t)(s->p - from)};
            return;
        }
        space(s);
        if (s->p >= s->end || *s->p++ != ',')
            return;
    }
}

static int add_entry(struct gw_bundle *b, const char *at, size_t len, struct base_err *err)
{
    if (b->count == ENTRIES_MAX)
        return base_fail(err, BASE_ETOOBIG, "a bundle of more than %d entries", ENTRIES_MAX);
    if (b->count == b->cap) {
        int cap = b->cap > 0 ? b->cap * 2 : 64;
        struct piece *entries = realloc(b->entries, (size_t)cap * sizeof *entries);
        if (entries == NULL)
            return base_fail(err, BASE_ENOMEM, "out of memory for a bundle");
        b->entries = entries;
        b->cap = cap;
    }
    b->entries[b->count++] = (struct piece){at, len};
    return 0;
}

static int cut(struct gw_bundle *b, struct piece list, struct base_err *err)
{
    struct scan s = {.p = list.at + 1, .end = list.at + list.len - 1};
    int rc = 0;
    space(&s);
    while (rc == 0 && s.p < s.end) {
        const char *from = s.p;
        value(&s);
        if (s.broken || s.p == from)
            return base_fail(err, BASE_EINVALID, "the bundle's entries are no JSON array");
        rc = add_entry(b, from, (size_t)(s.p - from), err);
        space(&s);
        if (rc != 0 || s.p >= s.end)
            break;
        if (*s.p++ != ',')
            return base_fail(err, BASE_EINVALID, "the bundle's entries are no JSON array");
        space(&s);
        if (s.p >= s.end)
            return base_fail(err, BASE_EINVALID, "the bundle's entries end with a comma");
    }
    return rc;
}

static const char *text_of(const cJSON *from, const char *name)
{
    const cJSON *v = cJSON_IsObject(from) ? cJSON_GetObjectItemCaseSensitive(from, name) : NULL;
    return v != NULL && cJSON_IsString(v) ? v->valuestring : NULL;
}

static int by_url(const void *a, const void *b)
{
    return strcmp(((const struct name *)a)->url, ((const struct name *)b)->url);
}

/* Which row stands behind an entry's fullUrl. */
static int add_name(struct gw_bundle *b, const cJSON *entry, struct base_err *err)
{
    const char *url = text_of(entry, "fullUrl");
    const cJSON *resource =
        cJSON_IsObject(entry) ? cJSON_GetObjectItemCaseSensitive(entry, "resource") : NULL;
    const char *type = text_of(resource, "resourceType");
    const char *id = text_of(resource, "id");
    struct base_buf key;
    if (url == NULL || type == NULL)
        return 0;
    if (id == NULL && strncmp(url, "urn:uuid:", 9) == 0)
        id = url + 9;
    if (id == NULL || strchr(id, '/') != NULL || strchr(type, '/') != NULL)
        return 0;
    base_buf_init(&key, NAMES_BYTES_MAX);
    base_buf_printf(&key, "%s/%s", type, id);
    char *copy = base_arena_copy(&b->arena, url, strlen(url));
    char *name = base_buf_check(&key) == 0 ? base_arena_copy(&b->arena, key.data, key.len) : NULL;
    base_buf_release(&key);
    if (copy == NULL || name == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for a bundle's names");
    b->names[b->name_count++] = (struct name){copy, name};
    return 0;
}

static int name_entries(struct gw_bundle *b, struct base_err *err)
{
    int rc = 0;
    b->names = calloc((size_t)b->count + 1, sizeof *b->names);
    if (b->names == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for a bundle");
    for (int i = 0; i < b->count && rc == 0; i++) {
        cJSON *entry = NULL;
        if (gw_bundle_entry(b, i, &entry, NULL) != 0)
            continue; /* refused when its turn comes */
        rc = add_name(b, entry, err);
        cJSON_Delete(entry);
    }
    qsort(b->names, (size_t)b->name_count, sizeof *b->names, by_url);
    return rc;
}

static int parse_rest(struct gw_bundle *b, const char *text, size_t len, struct piece list,
                      struct base_err *err)
{
    struct base_buf rest;
    int rc;
    base_buf_init(&rest, GW_IMPORT_BUNDLE_BYTES_MAX);
    base_buf_add(&rest, text, (size_t)(list.at - text));
    base_buf_str(&rest, "[]");
    base_buf_add(&rest, list.at + list.len, len - (size_t)(list.at - text) - list.len);
    rc = base_buf_check(&rest);
    if (rc != 0)
        (void)base_fail(err, rc, "the bundle is too large");
    else
        rc = net_json_parse(&b->rest, rest.data, rest.len, err);
    base_buf_release(&rest);
    return rc;
}

int gw_bundle_open(struct gw_bundle **out, const char *text, size_t len, struct base_err *err)
{
    struct scan s = {.p = text, .end = text + len};
    int rc;
    find_list(&s);
    if (s.list.at == NULL) {
        *out = NULL;
        return 0;
    }
    struct gw_bundle *b = calloc(1, sizeof *b);
    if (b == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for a bundle");
    base_arena_init(&b->arena, NAMES_BYTES_MAX);
    rc = parse_rest(b, text, len, s.list, err);
    if (rc != 0)
        goto out;
    const char *type = text_of(b->rest, "resourceType");
    if (type == NULL || strcmp(type, "Bundle") != 0) {
        *out = NULL;
        goto out;
    }
    rc = cut(b, s.list, err);
    if (rc == 0)
        rc = name_entries(b, err);
    if (rc == 0) {
        *out = b;
        b = NULL;
    }
out:
    gw_bundle_close(b);
    return rc;
}

void gw_bundle_close(struct gw_bundle *b)
{
    if (b == NULL)
        return;
    cJSON_Delete(b->rest);
    base_arena_release(&b->arena);
    free(b->entries);
    free(b->names);
    free(b);
}

int gw_bundle_count(const struct gw_bundle *b)
{
    return b->count;
}

const char *gw_bundle_type(const struct gw_bundle *b)
{
    const char *type = text_of(b->rest, "type");
    return type != NULL ? type : "";
}

int gw_bundle_entry(const struct gw_bundle *b, int i, cJSON **out, struct base_err *err)
{
    if (b->entries[i].len > GW_IMPORT_LINE_BYTES_MAX)
        return base_fail(err, BASE_ETOOBIG, "an entry of more than %d bytes",
                         GW_IMPORT_LINE_BYTES_MAX);
    return net_json_parse(out, b->entries[i].at, b->entries[i].len, err);
}

const char *gw_bundle_resolve(void *bundle, const char *url)
{
    const struct gw_bundle *b = bundle;
    struct name wanted = {url, NULL};
    const struct name *found =
        bsearch(&wanted, b->names, (size_t)b->name_count, sizeof *b->names, by_url);
    return found != NULL ? found->key : NULL;
}
