#include "sync/core/image.h"

void core_image_set(struct core_image *im, int ord, struct core_text value)
{
    BASE_ASSERT(ord >= 1 && ord <= CORE_FIELDS_MAX);
    while (im->count < ord)
        im->fields[im->count++] = (struct core_text){NULL, 0};
    im->fields[ord - 1] = value;
}

/* PostgreSQL quotes a field that is empty or holds one of ",()\ or white space (record_out,
 * rowtypes.c). */
static bool needs_quotes(struct core_text v)
{
    if (v.len == 0)
        return true;
    for (size_t i = 0; i < v.len; i++)
        switch (v.s[i]) {
        case '"':
        case '\\':
        case '(':
        case ')':
        case ',':
        case ' ':
        case '\t':
        case '\n':
        case '\r':
        case '\v':
        case '\f':
            return true;
        default:
            break;
        }
    return false;
}

static void write_quoted(struct base_buf *out, struct core_text v)
{
    base_buf_char(out, '"');
    size_t done = 0;
    for (size_t i = 0; i < v.len; i++)
        if (v.s[i] == '"' || v.s[i] == '\\') {
            base_buf_add(out, v.s + done, i + 1 - done);
            base_buf_char(out, v.s[i]);
            done = i + 1;
        }
    base_buf_add(out, v.s + done, v.len - done);
    base_buf_char(out, '"');
}

void core_image_write_composite(struct base_buf *out, const struct core_image *im, int fields)
{
    base_buf_char(out, '(');
    for (int ord = 1; ord <= fields; ord++) {
        struct core_text v = core_image_field(im, ord);
        if (ord > 1)
            base_buf_char(out, ',');
        if (v.s == NULL)
            continue;
        if (needs_quotes(v))
            write_quoted(out, v);
        else
            base_buf_add(out, v.s, v.len);
    }
    base_buf_char(out, ')');
}

void core_image_write_array(struct base_buf *out, const struct core_image *im)
{
    int count = im->count;
    while (count > 0 && im->fields[count - 1].s == NULL)
        count--;
    base_buf_char(out, '[');
    for (int i = 0; i < count; i++) {
        if (i > 0)
            base_buf_char(out, ',');
        if (im->fields[i].s == NULL)
            base_buf_add(out, "null", 4);
        else
            base_buf_json(out, im->fields[i].s, im->fields[i].len);
    }
    base_buf_char(out, ']');
}

/* One field that holds a quote or backslash: unescaped into the arena. *s stands at its first byte,
 * is left at ',' or ')'. */
static int read_escaped(struct core_text *out, const char **s, const char *end,
                        struct base_arena *arena, struct base_err *err)
{
    bool quoted = false;
    const char *p = *s;
    for (; p < end && (quoted || (*p != ',' && *p != ')')); p++) {
        if (*p == '\\')
            p++;
        else if (*p == '"')
            quoted = !quoted;
    }
    if (p >= end || quoted)
        return base_fail(err, BASE_ECORRUPT, "a row image ends within a field");
    char *to = base_arena_get(arena, (size_t)(p - *s) + 1);
    if (to == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory in a row image");
    size_t n = 0;
    for (const char *q = *s; q < p; q++) {
        if (*q == '\\')
            to[n++] = *++q;
        else if (*q != '"')
            to[n++] = *q;
        else if (quoted && q + 1 < p && q[1] == '"')
            to[n++] = *++q;
        else
            quoted = !quoted;
    }
    *out = (struct core_text){to, n};
    *s = p;
    return 0;
}

/* The usual case: quotes at both ends alone, or none at all. False: it needs unescaping. */
static bool read_plain(struct core_text *out, const char **s, const char *end)
{
    const char *p = *s;
    if (*p == '"') {
        for (p++; p < end && *p != '"' && *p != '\\'; p++)
            ;
        if (end - p < 2 || *p != '"' || (p[1] != ',' && p[1] != ')'))
            return false;
        *out = (struct core_text){*s + 1, (size_t)(p - *s - 1)};
        *s = p + 1;
        return true;
    }
    while (p < end && *p != ',' && *p != ')' && *p != '"' && *p != '\\')
        p++;
    if (p == end || *p == '"' || *p == '\\')
        return false;
    *out = p == *s ? (struct core_text){NULL, 0} : (struct core_text){*s, (size_t)(p - *s)};
    *s = p;
    return true;
}

int core_image_read_composite(struct core_image *out, const char *s, size_t len,
                              struct base_arena *arena, struct base_err *err)
{
    const char *end = s + len;
    out->count = 0;
    if (len < 2 || *s != '(')
        return base_fail(err, BASE_ECORRUPT, "a row image does not begin with \"(\"");
    do {
        s++;
        if (out->count == CORE_FIELDS_MAX)
            return base_fail(err, BASE_ECORRUPT, "a row image has more than %d fields",
                             CORE_FIELDS_MAX);
        struct core_text *v = &out->fields[out->count];
        if (s == end)
            return base_fail(err, BASE_ECORRUPT, "a row image ends within a field");
        if (!read_plain(v, &s, end)) {
            int rc = read_escaped(v, &s, end, arena, err);
            if (rc != 0)
                return rc;
        }
        out->count++;
    } while (*s == ',');
    return s + 1 == end ? 0 : base_fail(err, BASE_ECORRUPT, "a row image goes on behind its \")\"");
}

int core_image_read_array(struct core_image *out, const char **s, const char *end,
                          struct base_arena *arena, struct base_err *err)
{
    const char *p = *s;
    out->count = 0;
    if (p >= end || *p != '[')
        return base_fail(err, BASE_EPROTO, "a row must begin with \"[\"");
    p++;
    if (p < end && *p == ']') {
        *s = p + 1;
        return 0;
    }
    for (;;) {
        if (out->count == CORE_FIELDS_MAX)
            return base_fail(err, BASE_EPROTO, "a row has more than %d fields", CORE_FIELDS_MAX);
        struct core_text *v = &out->fields[out->count++];
        if (end - p >= 4 && memcmp(p, "null", 4) == 0) {
            *v = (struct core_text){NULL, 0};
            p += 4;
        } else {
            int rc = core_json_string(v, &p, end, arena, err);
            if (rc != 0)
                return rc;
        }
        if (p >= end || (*p != ',' && *p != ']'))
            return base_fail(err, BASE_EPROTO, "a row must go on with \",\" or end with \"]\"");
        if (*p++ == ']')
            break;
    }
    *s = p;
    return 0;
}
