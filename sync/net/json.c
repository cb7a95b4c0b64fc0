#include "sync/net/json.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sync/net/json_scan.h"

/* Up to here members are compared with each other, above they are sorted: a hostile object of
 * 200,000 members must not cost their square. */
enum { PAIRWISE_MEMBERS_MAX = 24 };

struct key {
    const char *name;
    uint32_t mark;
};

struct walk {
    const struct net_json_scan *scan;
    uint32_t at; /* next mark */
};

static int compare_keys(const void *a, const void *b)
{
    const struct key *x = a;
    const struct key *y = b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : (x->mark > y->mark) - (x->mark < y->mark);
}

static int duplicate(const struct walk *w, uint32_t mark)
{
    return net_json_scan_fail(w->scan, mark, BASE_EINVALID, "a member's name is there twice");
}

static int attach(struct walk *w, cJSON *node);

static int attach_number(struct walk *w, cJSON *node)
{
    const char *text = (const char *)w->scan->text + w->scan->marks[w->at++];
    size_t len = net_json_number_chars(text, (const char *)w->scan->end);
    char *copy = cJSON_malloc(len + 1);
    if (copy == NULL)
        return base_fail(w->scan->err, BASE_ENOMEM, "out of memory reading JSON");
    memcpy(copy, text, len);
    copy[len] = '\0';
    node->valuestring = copy; /* cJSON_Delete frees it */
    return 0;
}

static int attach_few(struct walk *w, cJSON *object)
{
    for (cJSON *child = object->child; child != NULL; child = child->next) {
        uint32_t mark = w->scan->marks[w->at++];
        for (const cJSON *earlier = object->child; earlier != child; earlier = earlier->next)
            if (earlier->string[0] == child->string[0] &&
                strcmp(earlier->string, child->string) == 0)
                return duplicate(w, mark);
        int rc = attach(w, child);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int attach_many(struct walk *w, cJSON *object, size_t count)
{
    int rc = 0;
    size_t n = 0;
    struct key *keys = malloc(count * sizeof *keys);
    if (keys == NULL)
        return base_fail(w->scan->err, BASE_ENOMEM, "out of memory reading JSON");
    for (cJSON *child = object->child; rc == 0 && child != NULL; child = child->next) {
        keys[n++] = (struct key){child->string, w->scan->marks[w->at++]};
        rc = attach(w, child);
    }
    if (rc == 0) {
        qsort(keys, n, sizeof *keys, compare_keys);
        for (size_t i = 1; rc == 0 && i < n; i++)
            if (strcmp(keys[i - 1].name, keys[i].name) == 0)
                rc = duplicate(w, keys[i].mark);
    }
    free(keys);
    return rc;
}

/* In the order of the text, as the marks are. The scan has limited the depth. */
static int attach(struct walk *w, cJSON *node)
{
    int rc = 0;
    if (cJSON_IsNumber(node))
        return attach_number(w, node);
    if (cJSON_IsObject(node)) {
        size_t count = 0;
        for (const cJSON *child = node->child; child != NULL; child = child->next)
            count++;
        return count <= PAIRWISE_MEMBERS_MAX ? attach_few(w, node) : attach_many(w, node, count);
    }
    if (cJSON_IsArray(node))
        for (cJSON *child = node->child; rc == 0 && child != NULL; child = child->next)
            rc = attach(w, child);
    return rc;
}

int net_json_parse(cJSON **out, const char *text, size_t len, struct base_err *err)
{
    struct net_json_scan scan;
    cJSON *root = NULL;
    int rc = net_json_scan(&scan, text, len, err);
    if (rc != 0)
        goto out;
    /* What the scan has accepted, cJSON accepts: it can only run out of memory. */
    root = cJSON_ParseWithLength(text, len);
    if (root == NULL) {
        rc = base_fail(err, BASE_ENOMEM, "out of memory reading JSON");
        goto out;
    }
    struct walk w = {&scan, 0};
    rc = attach(&w, root);
    if (rc == 0) {
        *out = root;
        root = NULL;
    }
out:
    cJSON_Delete(root);
    net_json_scan_release(&scan);
    return rc;
}

static const cJSON *find(const cJSON *object, const char *name)
{
    return cJSON_IsObject(object) ? cJSON_GetObjectItemCaseSensitive(object, name) : NULL;
}

int net_json_str(const cJSON *object, const char *name, size_t bytes_max, const char **out,
                 struct base_err *err)
{
    const cJSON *item = find(object, name);
    if (item == NULL)
        return base_fail(err, BASE_EINVALID, "\"%s\" is missing", name);
    if (!cJSON_IsString(item))
        return base_fail(err, BASE_EINVALID, "\"%s\" must be a string", name);
    if (strlen(item->valuestring) > bytes_max)
        return base_fail(err, BASE_EINVALID, "\"%s\" is longer than %zu bytes", name, bytes_max);
    *out = item->valuestring;
    return 0;
}

static bool whole(const char *s)
{
    if (*s == '-')
        s++;
    if (*s == '0')
        return s[1] == '\0';
    if (*s == '\0')
        return false;
    while (*s >= '0' && *s <= '9')
        s++;
    return *s == '\0';
}

int net_json_i64(const cJSON *object, const char *name, int64_t min, int64_t max, int64_t *out,
                 struct base_err *err)
{
    const cJSON *item = find(object, name);
    if (item == NULL)
        return base_fail(err, BASE_EINVALID, "\"%s\" is missing", name);
    if (!(cJSON_IsNumber(item) || cJSON_IsString(item)) || item->valuestring == NULL ||
        !whole(item->valuestring))
        return base_fail(err, BASE_EINVALID, "\"%s\" must be a whole number", name);
    errno = 0;
    long long v = strtoll(item->valuestring, NULL, 10);
    if (errno != 0 || v < min || v > max)
        return base_fail(err, BASE_EINVALID, "\"%s\" must lie between %lld and %lld", name,
                         (long long)min, (long long)max);
    *out = v;
    return 0;
}

int net_json_bool(const cJSON *object, const char *name, bool *out, struct base_err *err)
{
    const cJSON *item = find(object, name);
    if (item == NULL)
        return base_fail(err, BASE_EINVALID, "\"%s\" is missing", name);
    if (!cJSON_IsBool(item))
        return base_fail(err, BASE_EINVALID, "\"%s\" must be true or false", name);
    *out = cJSON_IsTrue(item);
    return 0;
}

bool net_json_has(const cJSON *object, const char *name)
{
    return find(object, name) != NULL;
}

/* A foreign name goes into the message only if it looks like one: it may be anything. */
static bool showable(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    return n > 0 && n <= 64 && name[n] == '\0';
}

int net_json_only(const cJSON *object, const char *const names[], struct base_err *err)
{
    if (!cJSON_IsObject(object))
        return base_fail(err, BASE_EINVALID, "expected an object");
    for (const cJSON *child = object->child; child != NULL; child = child->next) {
        size_t i = 0;
        while (names[i] != NULL && strcmp(names[i], child->string) != 0)
            i++;
        if (names[i] == NULL)
            return base_fail(err, BASE_EINVALID, "\"%s\" is not known here",
                             showable(child->string) ? child->string : "(unprintable)");
    }
    return 0;
}

static void write_number(struct base_buf *out, const cJSON *value)
{
    if (value->valuestring != NULL)
        base_buf_str(out, value->valuestring);
    else if (!isfinite(value->valuedouble))
        base_buf_str(out, "null");
    else if (value->valuedouble == floor(value->valuedouble) && fabs(value->valuedouble) < 1e15)
        base_buf_i64(out, (int64_t)value->valuedouble);
    else
        base_buf_printf(out, "%.17g", value->valuedouble);
}

void net_json_write(struct base_buf *out, const cJSON *value)
{
    if (cJSON_IsNumber(value)) {
        write_number(out, value);
    } else if (cJSON_IsString(value)) {
        base_buf_json_str(out, value->valuestring);
    } else if (cJSON_IsArray(value) || cJSON_IsObject(value)) {
        base_buf_char(out, cJSON_IsArray(value) ? '[' : '{');
        for (const cJSON *child = value->child; child != NULL; child = child->next) {
            if (child != value->child)
                base_buf_char(out, ',');
            if (cJSON_IsObject(value)) {
                base_buf_json_str(out, child->string);
                base_buf_char(out, ':');
            }
            net_json_write(out, child);
        }
        base_buf_char(out, cJSON_IsArray(value) ? ']' : '}');
    } else {
        base_buf_str(out, cJSON_IsTrue(value) ? "true" : cJSON_IsFalse(value) ? "false" : "null");
    }
}
