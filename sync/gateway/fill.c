/*
 * bootstrap and verify: a table's rows by pages, and digests of ranges to compare with.
 */
#include <stdlib.h>
#include <string.h>

#include "sync/base/log.h"
#include "sync/core/digest.h"
#include "sync/core/image.h"
#include "sync/gateway/gateway.h"
#include "sync/net/json.h"
#include "sync/seal/seal.h"

enum {
    PAGE_ROWS_MAX = 5000,
    PAGE_BYTES = 8 * 1024 * 1024, /* a page ends with the row that reaches it */
    PAGE_BYTES_MAX = 64 * 1024 * 1024,
    PAGE_ARENA_BYTES_MAX = 64 * 1024 * 1024,
    PAGE_ZSTD_LEVEL = 1,
    SQL_BYTES_MAX = 256 * 1024,
    VERIFY_BODY_BYTES_MAX = 256 * 1024
};

struct page {
    struct gateway *gw;
    struct net_http_exchange *x;
    struct gw_who who;
    struct gw_catalog *catalog;
    const struct gw_table *table;
    struct gw_pg_conn *conn;
    struct gw_flight flight;
    char after[BASE_UUID_CHARS + 1], from[BASE_UUID_CHARS + 1], to[BASE_UUID_CHARS + 1];
    int64_t limit;
    char limit_text[24];
    bool former; /* asked by a node of the centre's former life */
    int again;   /* times that the catalog turned out to be old */
    uv_work_t work;
    struct base_buf sql, plain, packed;
    int rc;
    /* verify */
    cJSON *json;
    char tbl[CORE_DIGEST_RANGES_MAX][12];
    int ranges;
};

static void free_page(struct page *p)
{
    if (p->conn != NULL)
        gw_pg_give(p->conn);
    gw_flight_release(&p->flight);
    gw_catalog_drop(p->catalog);
    base_buf_release(&p->sql);
    base_buf_release(&p->plain);
    base_buf_release(&p->packed);
    cJSON_Delete(p->json);
    seal_wipe(&p->who, sizeof p->who);
    free(p);
}

static struct page *new_page(struct gateway *gw, struct net_http_exchange *x,
                             const struct gw_who *who)
{
    struct page *p = calloc(1, sizeof *p);
    if (p == NULL) {
        gw_reply_no_conn(gw, x, BASE_EBUSY);
        return NULL;
    }
    p->gw = gw;
    p->x = x;
    p->who = *who;
    gw_flight_init(&p->flight);
    base_buf_init(&p->sql, SQL_BYTES_MAX);
    base_buf_init(&p->plain, PAGE_BYTES_MAX);
    base_buf_init(&p->packed, PAGE_BYTES_MAX);
    return p;
}

static void no_conn(struct page *p, int rc)
{
    gw_reply_no_conn(p->gw, p->x, rc);
    free_page(p);
}

static void bad(struct page *p, const char *code, const char *detail)
{
    net_http_problem(p->x, 400, code, detail, "See docs/PROTOCOL.md.");
    free_page(p);
}

/* ---- a page -------------------------------------------------------------------------------- */

enum { PAGE_HEAD = 2, PAGE_ROWS = 3, PAGE_AGAIN_MAX = 2 };

/* The row as it was restored, where the present life has written it since. */
static int write_restored(struct page *p, const PGresult *r, int i, struct core_image *im,
                          struct base_arena *arena)
{
    int rc = 0;
    if (PQgetisnull(r, i, 3))
        return 0;
    base_buf_printf(&p->plain, "{\"restored\":%s,\"row\":", PQgetvalue(r, i, 3));
    if (PQgetisnull(r, i, 4)) {
        base_buf_str(&p->plain, "null");
    } else {
        rc = core_image_read_composite(im, PQgetvalue(r, i, 4), (size_t)PQgetlength(r, i, 4), arena,
                                       NULL);
        if (rc == 0)
            core_image_write_array(&p->plain, im);
    }
    base_buf_str(&p->plain, "}\n");
    return rc;
}

static void page_work(uv_work_t *w)
{
    struct page *p = w->data;
    const PGresult *r = p->flight.results[PAGE_ROWS];
    int n = PQntuples(r);
    struct base_arena arena;
    struct core_image *im = malloc(sizeof *im);
    const char *head = gw_flight_value(&p->flight, PAGE_HEAD, 0);
    base_arena_init(&arena, PAGE_ARENA_BYTES_MAX);
    p->rc = im == NULL ? BASE_ENOMEM : 0;
    base_buf_printf(&p->plain,
                    "{\"format\":\"everward-page/1\",\"tenant\":\"%s\",\"table\":\"%s\","
                    "\"catalog\":%lld,\"head\":%s}\n",
                    p->who.tenant, p->table->core->name, (long long)p->catalog->version,
                    head == NULL ? "0" : head);
    for (int i = 0; i < n && p->rc == 0; i++) {
        base_arena_clear(&arena);
        p->rc = write_restored(p, r, i, im, &arena);
        if (p->rc == 0)
            p->rc = core_image_read_composite(im, PQgetvalue(r, i, 1), (size_t)PQgetlength(r, i, 1),
                                              &arena, NULL);
        if (p->rc == 0)
            core_image_write_array(&p->plain, im);
        base_buf_char(&p->plain, '\n');
    }
    bool more = n > 0 && PQgetvalue(r, n - 1, 2)[0] == 't';
    base_buf_printf(&p->plain, "{\"rows\":%d,\"next\":", n);
    base_buf_json_str(&p->plain, more ? PQgetvalue(r, n - 1, 0) : NULL);
    base_buf_str(&p->plain, "}\n");
    if (p->rc == 0)
        p->rc = base_buf_check(&p->plain);
    if (p->rc == 0)
        p->rc = seal_compress(&p->packed, p->plain.data, p->plain.len, PAGE_ZSTD_LEVEL, NULL);
    base_arena_release(&arena);
    free(im);
}

static void on_page_made(uv_work_t *w, int status)
{
    struct page *p = w->data;
    if (status != 0 || p->rc != 0) {
        base_log(BASE_LOG_ERROR, "page_failed", "table %s: %s", p->table->core->name,
                 base_code_name(p->rc));
        no_conn(p, BASE_EBUSY);
        return;
    }
    size_t len = p->packed.len;
    p->gw->counts.pages++;
    net_http_reply_header(p->x, "Content-Encoding", "zstd");
    net_http_reply_take(p->x, 200, "application/x-ndjson", base_buf_take(&p->packed), len);
    free_page(p);
}

static void on_page_catalog(void *user, int rc, struct gw_catalog *c);

/* A node that has learned of a new column elsewhere asks for the rows once: a page without that
 * column would count as filled. Another gateway may have told it, so the database is asked. */
static bool is_of_its_catalog(const struct page *p)
{
    const char *version = gw_flight_value(&p->flight, PAGE_HEAD, 1);
    return version != NULL && strtoll(version, NULL, 10) == p->catalog->version;
}

static void page_again(struct page *p)
{
    if (p->again++ >= PAGE_AGAIN_MAX) {
        no_conn(p, BASE_EBUSY);
        return;
    }
    gw_flight_release(&p->flight);
    gw_flight_init(&p->flight);
    base_buf_clear(&p->sql);
    if (p->gw->catalog == p->catalog) {
        gw_catalog_drop(p->gw->catalog);
        p->gw->catalog = NULL;
    }
    gw_catalog_drop(p->catalog);
    p->catalog = NULL;
    gw_catalog_get(p->gw, 0, p, on_page_catalog);
}

static void on_page_read(void *user, struct gw_flight *f)
{
    struct page *p = user;
    if (f->rc != 0) {
        gw_reply_failed(p->gw, p->x, f, "bootstrap");
        free_page(p);
        return;
    }
    gw_pg_give(p->conn);
    p->conn = NULL;
    if (!is_of_its_catalog(p)) {
        page_again(p);
        return;
    }
    p->work.data = p;
    if (uv_queue_work(p->gw->loop, &p->work, page_work, on_page_made) != 0)
        no_conn(p, BASE_EBUSY);
}

/* What the row was when the present life first wrote it; made in that life: as it was made. */
static const char restored_sql[] =
    " LEFT JOIN LATERAL (SELECT s.rev, o.image FROM"
    " (SELECT greatest(min(c.rev) - 1, 1) AS rev FROM everward.change c"
    " WHERE c.tenant_id = (SELECT everward.tenant()) AND c.tbl = %d AND c.row_id = b.k"
    " AND c.txn > nullif((SELECT everward.life_began()), 0) HAVING count(*) > 0) s"
    " LEFT JOIN everward.change o ON o.tenant_id = (SELECT everward.tenant()) AND o.tbl = %d"
    " AND o.row_id = b.k AND o.rev = s.rev) p ON true";
static const char nothing_restored_sql[] =
    " CROSS JOIN (SELECT NULL::bigint AS rev, NULL::text AS image) p";

/* The bytes are summed up in the database, so that a page of long notes never comes here whole.
 * The parameters that do not apply are mentioned all the same: the protocol wants their types. */
static void write_sql(struct page *p)
{
    const struct gw_table *t = p->table;
    base_buf_printf(&p->sql,
                    "SELECT b.k, b.image, b.n = $4::bigint OR b.cut, p.rev, p.image FROM"
                    " (SELECT a.k, a.image, row_number() OVER w AS n,"
                    " sum(octet_length(a.image)) OVER w - octet_length(a.image) < %d AS fits,"
                    " sum(octet_length(a.image)) OVER w >= %d AS cut"
                    " FROM (SELECT r.%s AS k, %s AS image FROM %s AS r"
                    " WHERE r.%s = (SELECT everward.tenant())",
                    PAGE_BYTES, PAGE_BYTES, t->key, t->image, t->rel, t->tenant);
    base_buf_printf(&p->sql, "%s%s%s AND $1::uuid IS NOT DISTINCT FROM $1::uuid",
                    p->after[0] == '\0' ? "" : " AND r.", p->after[0] == '\0' ? "" : t->key,
                    p->after[0] == '\0' ? "" : " > $1::uuid");
    base_buf_printf(&p->sql, "%s%s%s AND $2::uuid IS NOT DISTINCT FROM $2::uuid",
                    p->from[0] == '\0' ? "" : " AND r.", p->from[0] == '\0' ? "" : t->key,
                    p->from[0] == '\0' ? "" : " >= $2::uuid");
    base_buf_printf(&p->sql, "%s%s%s AND $3::uuid IS NOT DISTINCT FROM $3::uuid",
                    p->to[0] == '\0' ? "" : " AND r.", p->to[0] == '\0' ? "" : t->key,
                    p->to[0] == '\0' ? "" : " < $3::uuid");
    base_buf_printf(&p->sql, " ORDER BY r.%s LIMIT $4::bigint) a WINDOW w AS (ORDER BY a.k)) b",
                    t->key);
    if (p->former)
        base_buf_printf(&p->sql, restored_sql, t->core->tbl, t->core->tbl);
    else
        base_buf_str(&p->sql, nothing_restored_sql);
    base_buf_str(&p->sql, " WHERE b.fits ORDER BY b.k");
}

static void on_page_conn(void *user, int rc, struct gw_pg_conn *conn)
{
    struct page *p = user;
    if (rc != 0) {
        no_conn(p, rc);
        return;
    }
    p->conn = conn;
    write_sql(p);
    if (base_buf_check(&p->sql) != 0) {
        no_conn(p, BASE_EBUSY);
        return;
    }
    const struct gw_param params[] = {gw_text(p->after[0] == '\0' ? NULL : p->after),
                                      gw_text(p->from[0] == '\0' ? NULL : p->from),
                                      gw_text(p->to[0] == '\0' ? NULL : p->to),
                                      gw_text(p->limit_text)};
    struct gw_flight *f = &p->flight;
    gw_add_enter(f, &p->who);
    (void)gw_flight_add(
        f,
        "SELECT coalesce(max(head), 0), (SELECT version FROM everward.catalog_state)"
        " FROM everward.feed_head WHERE tenant_id = (SELECT everward.tenant())",
        0, NULL);
    (void)gw_flight_add(f, p->sql.data, 4, params);
    (void)gw_flight_add(f, "COMMIT", 0, NULL);
    gw_pg_fly(conn, f, p, on_page_read);
}

static void on_page_catalog(void *user, int rc, struct gw_catalog *c)
{
    struct page *p = user;
    if (rc != 0) {
        no_conn(p, rc);
        return;
    }
    const char *name = net_http_query(p->x, "table");
    p->catalog = gw_catalog_hold(c);
    p->table = name == NULL ? NULL : gw_catalog_table(c, name, strlen(name));
    if (p->table == NULL || !p->table->known || p->table->core->push_only) {
        net_http_problem(p->x, 404, "no_table", "No synced table of this name is given out.",
                         "GET /sync/v1/catalog lists them.");
        free_page(p);
        return;
    }
    gw_pg_take(p->gw->pool, p, on_page_conn);
}

static bool read_id(const char *text, char out[BASE_UUID_CHARS + 1])
{
    struct base_uuid u;
    if (text == NULL || text[0] == '\0')
        return true;
    if (!base_uuid_parse(&u, text, strlen(text)))
        return false;
    base_uuid_format(&u, out);
    return true;
}

static void on_page_who(struct gateway *gw, struct net_http_exchange *x, const struct gw_who *who)
{
    struct page *p = new_page(gw, x, who);
    if (p == NULL)
        return;
    const char *limit = net_http_query(x, "limit");
    p->limit = limit == NULL ? PAGE_ROWS_MAX : strtoll(limit, NULL, 10);
    if (!read_id(net_http_query(x, "after"), p->after) ||
        !read_id(net_http_query(x, "from"), p->from) || !read_id(net_http_query(x, "to"), p->to) ||
        p->limit < 1) {
        bad(p, "bad_query", "after, from and to must be uuids, limit a number from 1.");
        return;
    }
    const char *life = net_http_query(x, "life");
    p->former = life != NULL && strcmp(life, "former") == 0;
    if (p->limit > PAGE_ROWS_MAX)
        p->limit = PAGE_ROWS_MAX;
    (void)snprintf(p->limit_text, sizeof p->limit_text, "%lld", (long long)p->limit);
    gw_catalog_get(gw, 0, p, on_page_catalog);
}

static void on_page(struct net_http_exchange *x, void *user)
{
    gw_authenticate(user, x, on_page_who);
}

/* ---- verify -------------------------------------------------------------------------------- */

/* BEGIN, enter, sequence, COMMIT; then a snapshot of its own for head and digests. */
enum { VERIFY_HEAD = 6, VERIFY_FIRST = 7 };

static const char *range_id(const cJSON *range, const char *name)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(range, name);
    return cJSON_IsString(v) ? v->valuestring : NULL;
}

static void on_verified(void *user, struct gw_flight *f)
{
    struct page *p = user;
    if (f->rc != 0) {
        gw_reply_failed(p->gw, p->x, f, "verify");
        free_page(p);
        return;
    }
    struct base_buf b;
    const char *head = gw_flight_value(f, VERIFY_HEAD, 0);
    const cJSON *range;
    int i = 0;
    base_buf_init(&b, PAGE_BYTES_MAX);
    base_buf_printf(&b, "{\"head\":%s,\"digests\":[", head == NULL ? "0" : head);
    cJSON_ArrayForEach(range, cJSON_GetObjectItemCaseSensitive(p->json, "ranges"))
    {
        const char *rows = gw_flight_value(f, VERIFY_FIRST + i, 0);
        const char *digest = gw_flight_value(f, VERIFY_FIRST + i, 1);
        base_buf_str(&b, i == 0 ? "{\"table\":" : ",{\"table\":");
        base_buf_json_str(&b, range_id(range, "table"));
        base_buf_str(&b, ",\"from\":");
        base_buf_json_str(&b, range_id(range, "from"));
        base_buf_str(&b, ",\"to\":");
        base_buf_json_str(&b, range_id(range, "to"));
        base_buf_printf(&b, ",\"rows\":%s,\"digest\":\"%s\"}", rows == NULL ? "0" : rows,
                        digest == NULL ? "0000000000000000" : digest);
        i++;
    }
    base_buf_str(&b, "]}");
    size_t len = b.len;
    char *text = base_buf_take(&b);
    if (text == NULL)
        gw_reply_no_conn(p->gw, p->x, BASE_EBUSY);
    else
        net_http_reply_take(p->x, 200, "application/json", text, len);
    base_buf_release(&b);
    free_page(p);
}

static void add_ranges(struct page *p)
{
    const cJSON *range;
    cJSON_ArrayForEach(range, cJSON_GetObjectItemCaseSensitive(p->json, "ranges"))
    {
        const char *name = range_id(range, "table");
        const struct gw_table *t = gw_catalog_table(p->catalog, name, strlen(name));
        char *tbl = p->tbl[p->ranges++];
        (void)snprintf(tbl, sizeof p->tbl[0], "%d", t->core->tbl);
        const struct gw_param params[] = {gw_text(tbl), gw_text(range_id(range, "from")),
                                          gw_text(range_id(range, "to"))};
        (void)gw_flight_add(
            &p->flight,
            "SELECT d.rows, d.digest FROM everward.digest($1::int, $2::uuid, $3::uuid) d", 3,
            params);
    }
}

static void on_verify_conn(void *user, int rc, struct gw_pg_conn *conn)
{
    struct page *p = user;
    if (rc != 0) {
        no_conn(p, rc);
        return;
    }
    struct gw_flight *f = &p->flight;
    p->conn = conn;
    gw_add_enter(f, &p->who);
    (void)gw_flight_add(f, "SELECT everward.sequence_feed()", 0, NULL);
    (void)gw_flight_add(f, "COMMIT", 0, NULL);
    (void)gw_flight_add(f, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", 0, NULL);
    const struct gw_param who[] = {gw_text(p->who.node), gw_text(p->who.ticket)};
    (void)gw_flight_add(f, "SELECT tenant_id FROM everward.enter_node($1::uuid, $2::bytea)", 2,
                        who);
    (void)gw_flight_add(f,
                        "SELECT coalesce(max(head), 0) FROM everward.feed_head"
                        " WHERE tenant_id = (SELECT everward.tenant())",
                        0, NULL);
    add_ranges(p);
    (void)gw_flight_add(f, "COMMIT", 0, NULL);
    gw_pg_fly(conn, f, p, on_verified);
}

/* NULL: fine. Else what is wrong with the ranges. */
static const char *check_ranges(struct page *p)
{
    const cJSON *ranges = cJSON_GetObjectItemCaseSensitive(p->json, "ranges");
    const cJSON *range;
    if (!cJSON_IsArray(ranges) || cJSON_GetArraySize(ranges) > CORE_DIGEST_RANGES_MAX)
        return "ranges must be an array of at most 256.";
    cJSON_ArrayForEach(range, ranges)
    {
        char id[BASE_UUID_CHARS + 1];
        const char *name = range_id(range, "table");
        const struct gw_table *t =
            name == NULL ? NULL : gw_catalog_table(p->catalog, name, strlen(name));
        if (t == NULL || !t->known || t->core->push_only)
            return "a range names a table that is not given out.";
        if (!read_id(range_id(range, "from"), id) || !read_id(range_id(range, "to"), id))
            return "from and to must be uuids or null.";
    }
    return NULL;
}

static void on_verify_catalog(void *user, int rc, struct gw_catalog *c)
{
    struct page *p = user;
    if (rc != 0) {
        no_conn(p, rc);
        return;
    }
    p->catalog = gw_catalog_hold(c);
    const char *wrong = check_ranges(p);
    if (wrong != NULL)
        bad(p, "bad_body", wrong);
    else
        gw_pg_take(p->gw->pool, p, on_verify_conn);
}

static void on_verify_who(struct gateway *gw, struct net_http_exchange *x, const struct gw_who *who)
{
    struct base_err err = {0};
    size_t len = 0;
    const char *format = NULL;
    const char *body = net_http_body(x, &len);
    struct page *p = new_page(gw, x, who);
    if (p == NULL)
        return;
    if (net_json_parse(&p->json, body == NULL ? "" : body, len, &err) != 0 ||
        net_json_str(p->json, "format", 64, &format, &err) != 0) {
        bad(p, "bad_body", err.text);
        return;
    }
    if (strcmp(format, "everward-verify/1") != 0) {
        bad(p, "unsupported_format", "This gateway reads everward-verify/1.");
        return;
    }
    gw_catalog_get(gw, 0, p, on_verify_catalog);
}

static void on_verify(struct net_http_exchange *x, void *user)
{
    gw_authenticate(user, x, on_verify_who);
}

int gw_routes_fill(struct gateway *gw, struct base_err *err)
{
    const struct net_http_route routes[] = {
        {"GET", "/sync/v1/bootstrap", 0, true, on_page},
        {"POST", "/sync/v1/verify", VERIFY_BODY_BYTES_MAX, true, on_verify}};
    int rc = 0;
    for (size_t i = 0; i < sizeof routes / sizeof routes[0] && rc == 0; i++)
        rc = net_http_route_add(gw->http, &routes[i], err);
    return rc;
}
