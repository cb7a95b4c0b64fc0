#include "sync/core/change.h"

static const char *const clock_names[] = {"ok", "unsure", "wrong"};

const char *core_clock_name(enum core_clock clock)
{
    return clock_names[clock];
}

static void write_uuid(struct base_buf *out, const struct base_uuid *u)
{
    char text[BASE_UUID_CHARS + 1];
    base_uuid_format(u, text);
    base_buf_char(out, '"');
    base_buf_add(out, text, BASE_UUID_CHARS);
    base_buf_char(out, '"');
}

static void write_text(struct base_buf *out, struct core_text v)
{
    if (v.s == NULL)
        base_buf_add(out, "null", 4);
    else
        base_buf_json(out, v.s, v.len);
}

void core_change_write(struct base_buf *out, const struct core_change *c)
{
    base_buf_str(out, "{\"seq\":");
    base_buf_i64(out, c->seq);
    base_buf_str(out, ",\"txn\":");
    base_buf_i64(out, c->txn);
    base_buf_str(out, ",\"op\":\"");
    base_buf_char(out, (char)c->op);
    base_buf_str(out, "\",\"t\":");
    write_text(out, c->table);
    base_buf_str(out, ",\"id\":");
    write_uuid(out, &c->id);
    base_buf_str(out, ",\"base\":");
    base_buf_i64(out, c->base);
    base_buf_str(out, ",\"c\":{");
    for (int i = 0; i < c->value_count; i++) {
        if (i > 0)
            base_buf_char(out, ',');
        write_text(out, c->values[i].name);
        base_buf_char(out, ':');
        write_text(out, c->values[i].value);
    }
    base_buf_str(out, "},\"actor\":");
    if (base_uuid_is_zero(&c->actor))
        base_buf_add(out, "null", 4);
    else
        write_uuid(out, &c->actor);
    base_buf_str(out, ",\"device\":");
    write_text(out, c->device);
    base_buf_str(out, ",\"at\":");
    write_text(out, c->at);
    base_buf_str(out, ",\"clock\":\"");
    base_buf_str(out, clock_names[c->clock]);
    base_buf_str(out, "\"}");
}

/* A line being read. The first thing that does not fit sets rc; everything after it is a no-op. */
struct reader {
    const char *s, *end;
    struct base_arena *arena;
    struct base_err *err;
    int rc;
};

static void expect(struct reader *r, const char *literal)
{
    size_t n = strlen(literal);
    if (r->rc != 0)
        return;
    if ((size_t)(r->end - r->s) < n || memcmp(r->s, literal, n) != 0)
        r->rc = base_fail(r->err, BASE_EPROTO, "a change line must go on with %s", literal);
    else
        r->s += n;
}

static bool accept(struct reader *r, const char *literal)
{
    size_t n = strlen(literal);
    if (r->rc != 0 || (size_t)(r->end - r->s) < n || memcmp(r->s, literal, n) != 0)
        return false;
    r->s += n;
    return true;
}

static int64_t read_count(struct reader *r)
{
    enum { DIGITS_MAX = 15 }; /* below 2^53 */
    int64_t v = 0;
    int digits = 0;
    while (r->rc == 0 && r->s < r->end && *r->s >= '0' && *r->s <= '9' && digits <= DIGITS_MAX) {
        v = v * 10 + (*r->s++ - '0');
        digits++;
    }
    if (r->rc == 0 && (digits == 0 || digits > DIGITS_MAX))
        r->rc = base_fail(r->err, BASE_EPROTO, "a change line needs a number of at most %d digits",
                          DIGITS_MAX);
    return v;
}

static struct core_text read_string(struct reader *r)
{
    struct core_text v = {NULL, 0};
    if (r->rc == 0)
        r->rc = core_json_string(&v, &r->s, r->end, r->arena, r->err);
    return v;
}

static struct core_text read_nullable(struct reader *r)
{
    return accept(r, "null") ? (struct core_text){NULL, 0} : read_string(r);
}

static struct base_uuid read_uuid(struct reader *r)
{
    struct base_uuid u = {{0}};
    struct core_text v = read_string(r);
    if (r->rc == 0 && !base_uuid_parse(&u, v.s, v.len))
        r->rc = base_fail(r->err, BASE_EPROTO, "a change line holds a malformed uuid");
    return u;
}

static void read_values(struct reader *r, struct core_change *out)
{
    struct core_change_value values[CORE_COLUMNS_MAX];
    int n = 0;
    expect(r, "{");
    if (accept(r, "}"))
        return;
    do {
        if (n == CORE_COLUMNS_MAX) {
            r->rc = base_fail(r->err, BASE_EPROTO, "a change sets more than %d columns",
                              CORE_COLUMNS_MAX);
            return;
        }
        values[n].name = read_string(r);
        expect(r, ":");
        values[n++].value = read_nullable(r);
    } while (accept(r, ","));
    expect(r, "}");
    if (r->rc != 0)
        return;
    struct core_change_value *kept = base_arena_get(r->arena, (size_t)n * sizeof *kept);
    if (kept == NULL) {
        r->rc = base_fail(r->err, BASE_ENOMEM, "out of memory in a change line");
        return;
    }
    memcpy(kept, values, (size_t)n * sizeof *kept);
    out->values = kept;
    out->value_count = n;
}

static enum core_op read_op(struct reader *r)
{
    if (accept(r, "\"i\""))
        return CORE_OP_INSERT;
    if (accept(r, "\"u\""))
        return CORE_OP_UPDATE;
    expect(r, "\"d\"");
    return CORE_OP_DELETE;
}

static enum core_clock read_clock(struct reader *r)
{
    if (accept(r, "\"ok\""))
        return CORE_CLOCK_OK;
    if (accept(r, "\"unsure\""))
        return CORE_CLOCK_UNSURE;
    expect(r, "\"wrong\"");
    return CORE_CLOCK_WRONG;
}

int core_change_read(struct core_change *out, const char *line, size_t len,
                     struct base_arena *arena, struct base_err *err)
{
    struct reader r = {line, line + len, arena, err, 0};
    struct core_change c = {0};
    if (len > CORE_CHANGE_LINE_BYTES_MAX)
        return base_fail(err, BASE_ETOOBIG, "a change line is longer than %d bytes",
                         CORE_CHANGE_LINE_BYTES_MAX);
    expect(&r, "{\"seq\":");
    c.seq = read_count(&r);
    expect(&r, ",\"txn\":");
    c.txn = read_count(&r);
    expect(&r, ",\"op\":");
    c.op = read_op(&r);
    expect(&r, ",\"t\":");
    c.table = read_string(&r);
    expect(&r, ",\"id\":");
    c.id = read_uuid(&r);
    expect(&r, ",\"base\":");
    c.base = read_count(&r);
    expect(&r, ",\"c\":");
    read_values(&r, &c);
    expect(&r, ",\"actor\":");
    if (!accept(&r, "null"))
        c.actor = read_uuid(&r);
    expect(&r, ",\"device\":");
    c.device = read_nullable(&r);
    expect(&r, ",\"at\":");
    c.at = read_string(&r);
    expect(&r, ",\"clock\":");
    c.clock = read_clock(&r);
    expect(&r, "}");
    if (r.rc == 0 && r.s != r.end)
        r.rc = base_fail(err, BASE_EPROTO, "a change line goes on behind its end");
    if (r.rc == 0 && (c.seq < 1 || c.txn < 1 || c.txn > c.seq))
        r.rc = base_fail(err, BASE_EPROTO, "a change line's seq or txn is out of range");
    if (r.rc == 0 && c.device.len > CORE_DEVICE_BYTES_MAX)
        r.rc = base_fail(err, BASE_EPROTO, "a change line's device is longer than %d bytes",
                         CORE_DEVICE_BYTES_MAX);
    if (r.rc == 0)
        *out = c;
    return r.rc;
}
