#include "node/store/page.h"

#include "sync/net/json.h"

enum { PAGE_WORD_BYTES_MAX = 64 };
static const int64_t int_max = (int64_t)1 << 53;

static int bad(struct base_err *err, const char *what)
{
    return base_fail(err, BASE_EPROTO, "the page %s", what);
}

static int read_header(struct page *p, const cJSON *o, struct base_err *err)
{
    const char *format = NULL;
    const char *tenant = NULL;
    const char *table = NULL;
    int rc = net_json_str(o, "format", PAGE_WORD_BYTES_MAX, &format, err);
    if (rc == 0 && strcmp(format, "everward-page/1") != 0)
        rc = base_fail(err, BASE_EUNSUPPORTED, "the page's format is not everward-page/1");
    if (rc == 0)
        rc = net_json_str(o, "tenant", PAGE_WORD_BYTES_MAX, &tenant, err);
    if (rc == 0 && strcmp(tenant, p->db->tenant) != 0)
        rc = base_fail(err, BASE_EDENIED, "the page is another tenant's");
    if (rc == 0)
        rc = net_json_str(o, "table", PAGE_WORD_BYTES_MAX, &table, err);
    if (rc == 0)
        rc = net_json_i64(o, "head", 0, int_max, &p->head, err);
    if (rc != 0)
        return rc;
    p->table = table_named(p->db, table, strlen(table));
    if (p->table == NULL)
        return base_fail(err, BASE_ESTALE, "the page has a table that catalog %lld does not know",
                         (long long)p->db->catalog->c.version);
    return 0;
}

static int check_age(struct page *p, struct base_err *err)
{
    int64_t cursor = -1;
    int64_t filled = 0;
    int rc = meta_i64(p->db, "_cursor", -1, &cursor, err);
    if (rc == 0)
        rc = meta_i64(p->db, "_filled", 0, &filled, err);
    p->published = filled != 0;
    if (rc == 0 && p->published && p->head < cursor)
        rc = base_fail(err, BASE_ESTALE, "the page is of cut %lld, the replica of cut %lld",
                       (long long)p->head, (long long)cursor);
    return rc;
}

int page_open(struct page *p, struct node_db *db, const char *body, size_t len,
              struct base_err *err)
{
    cJSON *o = NULL;
    const char *line = NULL;
    size_t n = 0;
    int rc = 0;
    *p = (struct page){.db = db, .lines = {body, body + len, 0}};
    base_arena_init(&p->arena, 4 * STORE_ROW_BYTES_MAX);
    if (!line_next(&p->lines, &line, &n, &rc, err))
        return rc != 0 ? rc : bad(err, "is empty");
    rc = net_json_parse(&o, line, n, err);
    if (rc == 0)
        rc = read_header(p, o, err);
    if (rc == 0)
        rc = check_age(p, err);
    cJSON_Delete(o);
    return rc;
}

int page_check_start(struct page *p, struct base_err *err)
{
    if (p->before[0] == '\0')
        return 0;
    p->any = true;
    return base_uuid_parse(&p->last, p->before, strlen(p->before))
               ? 0
               : base_fail(err, BASE_ECORRUPT, "the place of %s in the fill", p->table->name);
}

static int read_trailer(struct page *p, const char *line, size_t len, struct base_err *err)
{
    cJSON *o = NULL;
    const char *next = NULL;
    struct base_uuid id;
    int64_t rows = 0;
    int rc = net_json_parse(&o, line, len, err);
    if (rc == 0)
        rc = net_json_i64(o, "rows", 0, int_max, &rows, err);
    if (rc == 0 && rows != p->rows)
        rc = bad(err, "does not hold the rows it says");
    const cJSON *member = rc == 0 ? cJSON_GetObjectItemCaseSensitive(o, "next") : NULL;
    if (rc == 0 && member == NULL)
        rc = bad(err, "does not say what comes next");
    if (rc == 0 && !cJSON_IsNull(member)) {
        rc = net_json_str(o, "next", BASE_UUID_CHARS, &next, err);
        if (rc == 0 && (!base_uuid_parse(&id, next, strlen(next)) || p->rows == 0 ||
                        !base_uuid_equal(&id, &p->last)))
            rc = bad(err, "names another id than its last as the place to go on");
        if (rc == 0)
            base_uuid_format(&id, p->next);
    }
    cJSON_Delete(o);
    if (rc == 0 && p->lines.s != p->lines.end)
        rc = bad(err, "goes on behind its end");
    return rc;
}

static bool skip(const char **s, const char *end, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(end - *s) < n || memcmp(*s, word, n) != 0)
        return false;
    *s += n;
    return true;
}

/* {"restored":3,"row":[...]|null}: what the next row was when the centre's present life first wrote it. */
static int read_restored(struct page *p, const char *s, const char *end, struct base_uuid *id,
                         struct base_err *err)
{
    int64_t rev = 0;
    int rc = 0;
    for (; s < end && *s >= '0' && *s <= '9' && rev < int_max / 10; s++)
        rev = rev * 10 + (*s - '0');
    if (rev == 0 || !skip(&s, end, ",\"row\":"))
        return bad(err, "has a restored row that is none");
    p->restored_rev = rev;
    if (!skip(&s, end, "null")) {
        rc = core_image_read_array(&p->restored, &s, end, &p->arena, err);
        if (rc == 0)
            rc = image_check(p->db, p->table, &p->restored, id, &rev, err);
    }
    if (rc == 0 && (end - s != 1 || *s != '}'))
        rc = bad(err, "has a restored row that goes on behind its end");
    return rc;
}

static const char restored_start[] = "{\"restored\":";

int page_row(struct page *p, struct base_uuid *id, int64_t *rev, struct base_err *err)
{
    const char *line = NULL;
    size_t n = 0;
    int rc = 0;
    base_arena_clear(&p->arena);
    p->restored_rev = p->restored.count = 0;
    if (!line_next(&p->lines, &line, &n, &rc, err))
        return rc != 0 ? rc : bad(err, "ends too early");
    const char *s = line;
    struct base_uuid restored;
    if (skip(&s, line + n, restored_start)) {
        rc = read_restored(p, s, line + n, &restored, err);
        if (rc != 0)
            return base_err_prefix(err, rc, "line %lld", (long long)p->lines.number);
        if (!line_next(&p->lines, &line, &n, &rc, err))
            return rc != 0 ? rc : bad(err, "ends too early");
    }
    if (line[0] == '{')
        return p->restored_rev == 0 ? read_trailer(p, line, n, err)
                                    : bad(err, "ends with a restored row");
    s = line;
    rc = core_image_read_array(&p->image, &s, line + n, &p->arena, err);
    if (rc == 0 && s != line + n)
        rc = bad(err, "has a row that goes on behind its end");
    if (rc == 0)
        rc = image_check(p->db, p->table, &p->image, id, rev, err);
    if (rc == 0 && p->any && memcmp(id->bytes, p->last.bytes, BASE_UUID_BYTES) <= 0)
        rc = bad(err, "is not in order of id");
    if (rc == 0 && p->restored.count > 0 && !base_uuid_equal(id, &restored))
        rc = bad(err, "has a restored row before another one");
    if (rc != 0)
        return base_err_prefix(err, rc, "line %lld", (long long)p->lines.number);
    p->last = *id;
    p->any = true;
    p->rows++;
    return 1;
}

void page_close(struct page *p)
{
    base_arena_release(&p->arena);
}
