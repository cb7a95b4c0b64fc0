/*
 * One pass over the text decides (form, depth, count, duplicate keys, UTF-8); cJSON then builds
 * what is known to be good. Numbers' texts are noted on the way and hung onto their nodes, in
 * document order.
 */
#include "sync/net/json.h"

#include <stdlib.h>
#include <string.h>

#include "sync/base/arena.h"
#include "sync/core/image.h"

enum {
    JSON_SCRATCH_BYTES_MAX = 64 * 1024 * 1024,
    JSON_KEYS_FIRST = 32,
    JSON_NUMBER_BYTES_MAX = 1024
};

struct slice {
    const char *s;
    size_t len;
};

struct scan {
    const char *text, *s, *end;
    struct base_arena arena; /* unescaped keys, key tables */
    struct slice *numbers;
    size_t number_count, number_cap;
    int nodes;
    struct base_err *err;
};

/* The keys of one object: open addressing, so that a hostile object of many keys stays linear. */
struct keys {
    struct core_text *slots;
    size_t cap, count;
};

static int fail_at(struct scan *sc, const char *at, const char *expected)
{
    int line = 1;
    const char *start = sc->text;
    for (const char *p = sc->text; p < at && p < sc->end; p++)
        if (*p == '\n') {
            line++;
            start = p + 1;
        }
    return base_fail(sc->err, BASE_EINVALID, "JSON, line %d, column %d: expected %s", line,
                     (int)(at - start) + 1, expected);
}

static void skip_space(struct scan *sc)
{
    while (sc->s < sc->end && (*sc->s == ' ' || *sc->s == '\t' || *sc->s == '\n' || *sc->s == '\r'))
        sc->s++;
}

static uint64_t hash_key(struct core_text k)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < k.len; i++)
        h = (h ^ (unsigned char)k.s[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

static bool keys_put(struct keys *k, struct core_text key)
{
    size_t at = hash_key(key) & (k->cap - 1);
    while (k->slots[at].s != NULL) {
        if (core_text_equal(k->slots[at], key))
            return false;
        at = (at + 1) & (k->cap - 1);
    }
    k->slots[at] = key;
    k->count++;
    return true;
}

static int keys_grow(struct scan *sc, struct keys *k)
{
    struct keys bigger = {.cap = k->cap == 0 ? JSON_KEYS_FIRST : k->cap * 4};
    bigger.slots = base_arena_get(&sc->arena, bigger.cap * sizeof *bigger.slots);
    if (bigger.slots == NULL)
        return base_fail(sc->err, BASE_ETOOBIG, "JSON: an object has too many members");
    for (size_t i = 0; i < k->cap; i++)
        if (k->slots[i].s != NULL)
            (void)keys_put(&bigger, k->slots[i]);
    *k = bigger;
    return 0;
}

static int scan_string(struct scan *sc, struct core_text *out)
{
    const char *at = sc->s;
    int rc = core_json_string(out, &sc->s, sc->end, &sc->arena, NULL);
    return rc == 0             ? 0
           : rc == BASE_ENOMEM ? base_fail(sc->err, BASE_ETOOBIG, "JSON: too large")
                               : fail_at(sc, at, "a well-formed string in UTF-8");
}

static bool digits(struct scan *sc)
{
    const char *first = sc->s;
    while (sc->s < sc->end && *sc->s >= '0' && *sc->s <= '9')
        sc->s++;
    return sc->s > first;
}

/* -? (0 | [1-9][0-9]*) (. digits)? ([eE] [+-]? digits)? */
static bool number_form(struct scan *sc)
{
    if (sc->s < sc->end && *sc->s == '-')
        sc->s++;
    const char *first = sc->s;
    if (!digits(sc) || (*first == '0' && sc->s - first > 1))
        return false;
    if (sc->s < sc->end && *sc->s == '.') {
        sc->s++;
        if (!digits(sc))
            return false;
    }
    if (sc->s < sc->end && (*sc->s == 'e' || *sc->s == 'E')) {
        sc->s++;
        if (sc->s < sc->end && (*sc->s == '+' || *sc->s == '-'))
            sc->s++;
        return digits(sc);
    }
    return true;
}

static int scan_number(struct scan *sc)
{
    const char *first = sc->s;
    if (!number_form(sc))
        return fail_at(sc, first, "a value");
    if (sc->s - first > JSON_NUMBER_BYTES_MAX)
        return fail_at(sc, first, "a shorter number");
    if (sc->number_count == sc->number_cap) {
        size_t cap = sc->number_cap == 0 ? 64 : sc->number_cap * 2;
        struct slice *more = realloc(sc->numbers, cap * sizeof *more);
        if (more == NULL)
            return base_fail(sc->err, BASE_ENOMEM, "out of memory in JSON");
        sc->numbers = more;
        sc->number_cap = cap;
    }
    sc->numbers[sc->number_count].s = first;
    sc->numbers[sc->number_count++].len = (size_t)(sc->s - first);
    return 0;
}

static int scan_value(struct scan *sc, int depth);

static int scan_member(struct scan *sc, struct keys *keys, int depth)
{
    struct core_text key;
    const char *at = sc->s;
    if (sc->s == sc->end || *sc->s != '"')
        return fail_at(sc, at, "a member's name in quotes");
    int rc = scan_string(sc, &key);
    if (rc == 0 && keys->count * 2 >= keys->cap)
        rc = keys_grow(sc, keys);
    if (rc != 0)
        return rc;
    if (!keys_put(keys, key))
        return fail_at(sc, at, "each member's name only once");
    skip_space(sc);
    if (sc->s == sc->end || *sc->s != ':')
        return fail_at(sc, sc->s, "\":\"");
    sc->s++;
    return scan_value(sc, depth + 1);
}

static int scan_container(struct scan *sc, int depth)
{
    bool object = *sc->s == '{';
    char close = object ? '}' : ']';
    struct keys keys = {NULL, 0, 0};
    if (depth >= NET_JSON_DEPTH_MAX)
        return fail_at(sc, sc->s, "less depth");
    sc->s++;
    skip_space(sc);
    if (sc->s < sc->end && *sc->s == close) {
        sc->s++;
        return 0;
    }
    for (;;) {
        skip_space(sc);
        int rc = object ? scan_member(sc, &keys, depth) : scan_value(sc, depth + 1);
        if (rc != 0)
            return rc;
        skip_space(sc);
        if (sc->s == sc->end || (*sc->s != ',' && *sc->s != close))
            return fail_at(sc, sc->s, object ? "\",\" or \"}\"" : "\",\" or \"]\"");
        if (*sc->s++ == close)
            return 0;
    }
}

static bool scan_word(struct scan *sc, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(sc->end - sc->s) < n || memcmp(sc->s, word, n) != 0)
        return false;
    sc->s += n;
    return true;
}

static int scan_value(struct scan *sc, int depth)
{
    struct core_text ignored;
    skip_space(sc);
    if (++sc->nodes > NET_JSON_NODES_MAX)
        return base_fail(sc->err, BASE_ETOOBIG, "JSON: more than %d values", NET_JSON_NODES_MAX);
    if (sc->s == sc->end)
        return fail_at(sc, sc->s, "a value");
    switch (*sc->s) {
    case '{':
    case '[':
        return scan_container(sc, depth);
    case '"':
        return scan_string(sc, &ignored);
    case 't':
        return scan_word(sc, "true") ? 0 : fail_at(sc, sc->s, "true");
    case 'f':
        return scan_word(sc, "false") ? 0 : fail_at(sc, sc->s, "false");
    case 'n':
        return scan_word(sc, "null") ? 0 : fail_at(sc, sc->s, "null");
    default:
        return scan_number(sc);
    }
}

/* Document order: children before the next sibling. Depth is bounded by the scan. */
static int hang_numbers(cJSON *node, const struct scan *sc, size_t *next)
{
    for (; node != NULL; node = node->next) {
        if (cJSON_IsNumber(node)) {
            BASE_ASSERT(*next < sc->number_count && node->valuestring == NULL);
            const struct slice *n = &sc->numbers[(*next)++];
            node->valuestring = cJSON_malloc(n->len + 1);
            if (node->valuestring == NULL)
                return base_fail(sc->err, BASE_ENOMEM, "out of memory in JSON");
            memcpy(node->valuestring, n->s, n->len);
            node->valuestring[n->len] = '\0';
        }
        int rc = node->child == NULL ? 0 : hang_numbers(node->child, sc, next);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int build(cJSON **out, const struct scan *sc, const char *text, size_t len)
{
    size_t next = 0;
    cJSON *root = cJSON_ParseWithLength(text, len);
    if (root == NULL)
        return base_fail(sc->err, BASE_ENOMEM, "out of memory in JSON");
    int rc = hang_numbers(root, sc, &next);
    if (rc != 0) {
        cJSON_Delete(root);
        return rc;
    }
    *out = root;
    return 0;
}

int net_json_parse(cJSON **out, const char *text, size_t len, struct base_err *err)
{
    struct scan sc = {.text = text, .s = text, .end = text + len, .err = err};
    base_arena_init(&sc.arena, JSON_SCRATCH_BYTES_MAX);
    int rc = scan_value(&sc, 0);
    if (rc == 0) {
        skip_space(&sc);
        if (sc.s != sc.end)
            rc = fail_at(&sc, sc.s, "the end");
    }
    if (rc == 0)
        rc = build(out, &sc, text, len);
    free(sc.numbers);
    base_arena_release(&sc.arena);
    return rc;
}

static const cJSON *member(const cJSON *object, const char *name)
{
    return cJSON_IsObject(object) ? cJSON_GetObjectItemCaseSensitive(object, name) : NULL;
}

int net_json_str(const cJSON *object, const char *name, size_t bytes_max, const char **out,
                 struct base_err *err)
{
    const cJSON *m = member(object, name);
    if (!cJSON_IsString(m))
        return base_fail(err, BASE_EINVALID, "\"%s\" must be a text", name);
    if (strlen(m->valuestring) > bytes_max)
        return base_fail(err, BASE_EINVALID, "\"%s\" is longer than %zu bytes", name, bytes_max);
    *out = m->valuestring;
    return 0;
}

int net_json_i64(const cJSON *object, const char *name, int64_t min, int64_t max, int64_t *out,
                 struct base_err *err)
{
    const cJSON *m = member(object, name);
    if ((cJSON_IsNumber(m) || cJSON_IsString(m)) && m->valuestring != NULL &&
        m->valuestring[0] != '\0' &&
        strspn(m->valuestring, "-0123456789") == strlen(m->valuestring) &&
        strlen(m->valuestring) <= 20) {
        char *end = NULL;
        long long v = strtoll(m->valuestring, &end, 10);
        bool whole = *end == '\0' && end != m->valuestring;
        bool clamped = (v == INT64_MAX && strcmp(m->valuestring, "9223372036854775807") != 0) ||
                       (v == INT64_MIN && strcmp(m->valuestring, "-9223372036854775808") != 0);
        if (whole && !clamped && v >= min && v <= max) {
            *out = v;
            return 0;
        }
    }
    return base_fail(err, BASE_EINVALID, "\"%s\" must be a whole number from %lld to %lld", name,
                     (long long)min, (long long)max);
}

int net_json_bool(const cJSON *object, const char *name, bool *out, struct base_err *err)
{
    const cJSON *m = member(object, name);
    if (!cJSON_IsBool(m))
        return base_fail(err, BASE_EINVALID, "\"%s\" must be true or false", name);
    *out = cJSON_IsTrue(m) != 0;
    return 0;
}

bool net_json_has(const cJSON *object, const char *name)
{
    return member(object, name) != NULL;
}

int net_json_only(const cJSON *object, const char *const names[], struct base_err *err)
{
    const cJSON *m;
    if (!cJSON_IsObject(object))
        return base_fail(err, BASE_EINVALID, "a JSON object is expected");
    cJSON_ArrayForEach(m, object)
    {
        size_t i = 0;
        while (names[i] != NULL && strcmp(names[i], m->string) != 0)
            i++;
        if (names[i] == NULL)
            return base_fail(err, BASE_EINVALID, "\"%.64s\" is not known here", m->string);
    }
    return 0;
}

static void write_children(struct base_buf *out, const cJSON *value)
{
    bool object = cJSON_IsObject(value) != 0;
    base_buf_char(out, object ? '{' : '[');
    for (const cJSON *child = value->child; child != NULL; child = child->next) {
        if (child != value->child)
            base_buf_char(out, ',');
        if (object) {
            base_buf_json_str(out, child->string);
            base_buf_char(out, ':');
        }
        net_json_write(out, child);
    }
    base_buf_char(out, object ? '}' : ']');
}

void net_json_write(struct base_buf *out, const cJSON *value)
{
    if (cJSON_IsObject(value) || cJSON_IsArray(value))
        write_children(out, value);
    else if (cJSON_IsString(value))
        base_buf_json_str(out, value->valuestring);
    else if (cJSON_IsNumber(value) && value->valuestring != NULL)
        base_buf_str(out, value->valuestring);
    else if (cJSON_IsNumber(value))
        base_buf_printf(out, "%.17g", value->valuedouble);
    else
        base_buf_str(out, cJSON_IsTrue(value) ? "true" : cJSON_IsFalse(value) ? "false" : "null");
}
