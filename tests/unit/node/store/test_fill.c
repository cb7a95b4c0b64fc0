/* First fill, its interruptions, a catalog that grows; digests and repair. */
#include "sync/seal/seal.h"
#include "tests/unit/node/store/support.h"

static struct fixture f;

static int setup(void **state)
{
    fixture_make(&f);
    assert_int_equal(apply_catalog(&f, test_catalog), 0);
    return 0;
}

static int teardown(void **state)
{
    fixture_remove(&f);
    return 0;
}

#define P(...) ((const char *const[]){__VA_ARGS__, NULL})

static char page_text[1 << 20];

/* Rows first … first + count - 1 of the series, at a rev, with the column values given. */
static const char *page(const char *table, int first, int count, bool last, int64_t head, int rev,
                        const char *rest)
{
    struct base_buf b;
    base_buf_init(&b, sizeof page_text);
    base_buf_printf(&b,
                    "{\"format\":\"everward-page/1\",\"tenant\":\"%s\",\"table\":\"%s\","
                    "\"catalog\":7,\"head\":%lld}\n",
                    test_tenant, table, (long long)head);
    for (int n = first; n < first + count; n++)
        base_buf_printf(&b, "[\"%s\",\"%s\",\"%d\"%s%s]\n", uuid_n(n), test_tenant, rev,
                        rest[0] == '\0' ? "" : ",", rest);
    if (last)
        base_buf_printf(&b, "{\"rows\":%d,\"next\":null}\n", count);
    else
        base_buf_printf(&b, "{\"rows\":%d,\"next\":\"%s\"}\n", count, uuid_n(first + count - 1));
    assert_int_equal(base_buf_check(&b), 0);
    memcpy(page_text, b.data, b.len + 1);
    base_buf_release(&b);
    return page_text;
}

struct next {
    char table[CORE_NAME_BYTES_MAX + 1], after[BASE_UUID_CHARS + 1];
    bool done;
};

static int run_next(struct node_db *db, void *arg, struct base_err *err)
{
    struct next *n = arg;
    return node_fill_next(db, n->table, n->after, &n->done, err);
}

static struct next next(void)
{
    struct next n;
    assert_int_equal(on_reader(&f, run_next, &n), 0);
    return n;
}

/* The rest of a fill: patients in pages of three up to 10, other tables empty. */
static void go_on_filling(int pages_most)
{
    struct node_page_result r;
    for (struct next n = next(); !n.done && pages_most-- > 0; n = next()) {
        int have = 0;
        if (strcmp(n.table, "patient") == 0 && n.after[0] != '\0')
            have = (int)strtol(n.after + 24, NULL, 10);
        if (strcmp(n.table, "patient") == 0)
            page("patient", have + 1, have == 9 ? 1 : 3, have == 9, 5, 1, "\"Berg\"");
        else
            page(n.table, 1, 0, true, 5, 1, "");
        assert_int_equal(apply_page(&f, page_text, &r), 0);
    }
}

static void a_fill_goes_on_wherever_it_broke_off(void **state)
{
    assert_int_equal(state_of(&f).cursor, -1);
    assert_int_equal(begin_fill(&f, 5), 0);
    for (int i = 0; i < 12; i++) {
        assert_false(state_of(&f).filled);
        if (next().done)
            break;
        assert_int_equal(finish_fill(&f), BASE_ESTALE);
        go_on_filling(1);
        fixture_close(&f);
        fixture_open(&f);
    }
    assert_true(next().done);
    assert_int_equal(sql_i64(&f, "SELECT count(*) FROM patient"), 10);
    assert_int_equal(finish_fill(&f), 0);
    assert_true(state_of(&f).filled);
    assert_int_equal(state_of(&f).cursor, 5);
    struct base_uuid timeline = uuid_of(test_timeline);
    struct node_sync_state s = state_of(&f);
    assert_true(base_uuid_equal(&s.timeline, &timeline));
    assert_int_equal(feed_cut(&f, 6, 0, feed_row("patient", 'u', uuid_n(3), 2, "\"Holm\"")), 0);
    assert_string_equal(shown(&f, "patient", uuid_n(3), "family_name"), "Holm");
}

static void pages_out_of_place_are_refused(void **state)
{
    struct node_page_result r;
    assert_int_equal(apply_page(&f, page("patient", 1, 3, false, 5, 1, ""), &r), BASE_EPROTO);
    assert_int_equal(begin_fill(&f, 5), 0);
    assert_int_equal(apply_page(&f, page("patient", 1, 3, false, 5, 1, "\"x\""), &r), 0);
    assert_int_equal(r.rows, 3);
    assert_false(r.last);
    assert_string_equal(r.next, uuid_n(3));
    assert_int_equal(apply_page(&f, page("patient", 1, 3, false, 5, 1, "\"x\""), &r), BASE_EPROTO);
    /* count, end, tenant, table, fields */
    page("patient", 4, 3, true, 5, 1, "\"x\"");
    char *rows = strstr(page_text, "\"rows\":3");
    rows[7] = '4';
    assert_int_equal(apply_page(&f, page_text, &r), BASE_EPROTO);
    page("patient", 4, 3, true, 5, 1, "\"x\"");
    *strstr(page_text, "{\"rows\"") = '\0';
    assert_int_equal(apply_page(&f, page_text, &r), BASE_EPROTO);
    page("patient", 4, 3, true, 5, 1, "\"x\"");
    char *row = strchr(page_text, '\n');
    *strstr(row, "11111111-") = '9';
    assert_int_equal(apply_page(&f, page_text, &r), BASE_EDENIED);
    page("patient", 4, 3, true, 5, 1, "\"x\"");
    *strstr(page_text, "11111111-") = '9';
    assert_int_equal(apply_page(&f, page_text, &r), BASE_EDENIED);
    assert_int_equal(apply_page(&f, page("petient", 4, 3, true, 5, 1, ""), &r), BASE_ESTALE);
    assert_int_equal(
        apply_page(&f, page("patient", 4, 3, true, 5, 1, "null,null,null,null,null,\"x\""), &r),
        BASE_ESTALE);
    assert_int_equal(sql_i64(&f, "SELECT count(*) FROM patient"), 3);
    assert_string_equal(next().table, "staff");
}

static void writes_before_and_during_a_fill_stay(void **state)
{
    assert_int_equal(edit(&f, CORE_OP_INSERT, "patient", uuid_n(2), P("family_name", "Ek"), NULL),
                     0);
    assert_int_equal(receipt(&f, 1, 0, -1), 0); /* in the pages, and in no cut behind the head */
    assert_int_equal(begin_fill(&f, 5), 0);
    assert_int_equal(edit(&f, CORE_OP_INSERT, "patient", uuid_n(3), P("family_name", "El"), NULL),
                     0);
    assert_int_equal(edit(&f, CORE_OP_INSERT, "patient", uuid_n(99), P("family_name", "Em"), NULL),
                     0);
    assert_string_equal(shown(&f, "patient", uuid_n(2), "family_name"), "Ek");
    go_on_filling(100);
    assert_string_equal(shown(&f, "patient", uuid_n(2), "family_name"), "Ek");
    assert_string_equal(shown(&f, "patient", uuid_n(3), "family_name"), "El");
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", uuid_n(5), P("given_names", "Ida"), NULL),
                     0);
    assert_int_equal(finish_fill(&f), 0);
    assert_string_equal(shown(&f, "patient", uuid_n(2), "family_name"), "Berg");
    assert_int_equal(version_of(&f, "patient", uuid_n(2)).pending_seq, 0);
    assert_string_equal(shown(&f, "patient", uuid_n(3), "family_name"), "El");
    assert_int_equal(version_of(&f, "patient", uuid_n(3)).rev, 1);
    assert_string_equal(shown(&f, "patient", uuid_n(5), "given_names"), "Ida");
    assert_string_equal(shown(&f, "patient", uuid_n(5), "family_name"), "Berg");
    assert_string_equal(shown(&f, "patient", uuid_n(99), "family_name"), "Em");
    assert_int_equal(state_of(&f).settled_seq, 1);
}

/* The catalog with one more column of patient, and one more table. */
static char *grown_catalog(void)
{
    static char text[16384];
    const char *at = strstr(test_catalog, "],\"indexes\":[]}"); /* the first: patient */
    snprintf(text, sizeof text,
             "%.*s,{\"ord\":9,\"name\":\"phone\",\"type\":\"text\",\"null\":true,\"class\":null,"
             "\"group\":null,\"api\":\"rw\",\"allowed\":null,\"ref\":null}%s",
             (int)(at - test_catalog), test_catalog, at);
    char *end = strrchr(text, ']');
    snprintf(end, sizeof text - (size_t)(end - text),
             ",{\"tbl\":9,\"name\":\"note\",\"class\":\"review\",\"deletable\":false,"
             "\"push_only\":false,\"order\":60,\"columns\":[{\"ord\":4,\"name\":\"body\","
             "\"type\":\"text\",\"null\":true,\"class\":null,\"group\":null,\"api\":\"rw\","
             "\"allowed\":null,\"ref\":null}],\"indexes\":[]}]}");
    *strstr(text, "\"version\":7") = '"';
    strstr(text, "\"version\":7")[10] = '8';
    return text;
}

static void a_new_column_is_fetched_for_rows_of_the_same_rev(void **state)
{
    struct node_page_result r;
    assert_int_equal(begin_fill(&f, 5), 0);
    go_on_filling(100);
    assert_int_equal(finish_fill(&f), 0);
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", uuid_n(4), P("given_names", "Ida"), NULL),
                     0);
    assert_int_equal(apply_catalog(&f, grown_catalog()), 0);
    assert_int_equal(state_of(&f).catalog_version, 8);
    assert_int_equal(node_store_catalog(f.store)->version, 8);
    assert_true(state_of(&f).filled);
    assert_true(state_of(&f).fill_waits); /* whoever begins anew here goes on with it */
    assert_string_equal(next().table, "patient");
    assert_int_equal(
        apply_page(&f, page("patient", 1, 10, true, 5, 1, "\"Berg\",null,null,null,null,\"112\""),
                   &r),
        0);
    assert_string_equal(shown(&f, "patient", uuid_n(1), "phone"), "112");
    assert_string_equal(shown(&f, "patient", uuid_n(4), "phone"), "112");
    assert_string_equal(shown(&f, "patient", uuid_n(4), "given_names"), "Ida");
    assert_string_equal(next().table, "note");
    assert_int_equal(apply_page(&f, page("note", 1, 2, true, 5, 1, "\"b\""), &r), 0);
    assert_int_equal(finish_fill(&f), 0);
    assert_false(state_of(&f).fill_waits);
    assert_int_equal(state_of(&f).cursor, 5);
    assert_int_equal(apply_catalog(&f, grown_catalog()), 0);
    assert_true(next().done);
}

static void a_catalog_that_fails_leaves_the_old_one(void **state)
{
    assert_int_equal(apply_catalog(&f, "{\"format\":\"everward-catalog/1\"}"), BASE_EINVALID);
    assert_int_equal(
        apply_catalog(&f, "{\"format\":\"everward-catalog/1\",\"version\":9,\"tables\":[]}"),
        BASE_EINVALID);
    assert_int_equal(state_of(&f).catalog_version, 7);
    assert_int_equal(begin_fill(&f, 5), 0);
    assert_string_equal(next().table, "staff");
}

/* ---- verify ---- */

struct digest_args {
    const char *from, *to;
    struct core_digest d;
    bool pending;
    char ids[CORE_DIGEST_SPLIT][BASE_UUID_CHARS + 1];
    int count;
};

static int run_digest(struct node_db *db, void *arg, struct base_err *err)
{
    struct digest_args *a = arg;
    const struct core_table *t = core_catalog_table(node_db_catalog(db), "patient", 7);
    int rc = node_digest(db, t, a->from, a->to, &a->d, &a->pending, err);
    return rc == 0 ? node_digest_split(db, t, a->from, a->to, a->ids, &a->count, err) : rc;
}

/* uuid_n's own memory is soon used again. */
static const char *id_kept(char to[64], int n)
{
    snprintf(to, 64, "%s", uuid_n(n));
    return to;
}

static void filled(void)
{
    assert_int_equal(begin_fill(&f, 5), 0);
    go_on_filling(100);
    assert_int_equal(finish_fill(&f), 0);
}

static void the_digest_is_that_of_the_centres_images(void **state)
{
    struct core_digest want = {0};
    char from[64];
    char to[64];
    struct digest_args a = {.from = id_kept(from, 2), .to = id_kept(to, 5)};
    filled();
    for (int n = 2; n < 5; n++) {
        char text[256];
        uint8_t sha[32];
        int len = snprintf(text, sizeof text, "(%s,%s,1,Berg,,,,)", uuid_n(n), test_tenant);
        seal_sha256(sha, text, (size_t)len);
        core_digest_add(&want, sha);
    }
    assert_int_equal(on_reader(&f, run_digest, &a), 0);
    assert_int_equal(a.d.rows, 3);
    assert_true(a.d.hash == want.hash);
    assert_false(a.pending);
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", uuid_n(3), P("given_names", "Ida"), NULL),
                     0);
    assert_int_equal(edit(&f, CORE_OP_INSERT, "patient", "01900000-0002-7000-8000-000000000007",
                          P("given_names", "Ida"), NULL),
                     0);
    a.d = (struct core_digest){0};
    assert_int_equal(on_reader(&f, run_digest, &a), 0);
    assert_true(a.d.hash == want.hash); /* the change lies over the image, and is not part of it */
    assert_true(a.pending);
    a.from = "x";
    assert_int_equal(on_reader(&f, run_digest, &a), BASE_EINVALID);
}

static void a_range_is_cut_into_equal_parts(void **state)
{
    struct node_page_result r;
    struct digest_args a = {.from = "", .to = ""};
    int64_t rows = 0;
    assert_int_equal(begin_fill(&f, 5), 0);
    assert_int_equal(apply_page(&f, page("patient", 1, 1000, true, 5, 1, "\"x\""), &r), 0);
    assert_int_equal(on_reader(&f, run_digest, &a), 0);
    assert_int_equal(a.count, CORE_DIGEST_SPLIT - 1);
    char ids[CORE_DIGEST_SPLIT + 1][BASE_UUID_CHARS + 1] = {""};
    memcpy(ids[1], a.ids, sizeof ids[0] * (CORE_DIGEST_SPLIT - 1));
    uint64_t all = a.d.hash;
    for (int i = 0; i < CORE_DIGEST_SPLIT; i++) {
        struct digest_args part = {.from = ids[i], .to = ids[i + 1]};
        assert_int_equal(on_reader(&f, run_digest, &part), 0);
        assert_true(part.d.rows >= 62 && part.d.rows <= 63);
        rows += part.d.rows;
        all ^= part.d.hash;
    }
    assert_int_equal(rows, 1000);
    assert_true(all == 0);
}

struct repair_args {
    const char *from, *to, *body;
    int64_t mended;
};

static int run_repair(struct node_db *db, void *arg, struct base_err *err)
{
    struct repair_args *a = arg;
    return node_repair_apply(db, a->from, a->to, a->body, strlen(a->body), &a->mended, err);
}

static void a_repair_mends_what_differs_and_no_more(void **state)
{
    char from[64];
    char to[64];
    struct repair_args a = {.from = id_kept(from, 2), .to = id_kept(to, 9)};
    filled();
    assert_int_equal(edit(&f, CORE_OP_INSERT, "patient", "01900002-0000-7000-8000-000000000001",
                          P("given_names", "Ida"), NULL),
                     0);
    assert_int_equal(edit(&f, CORE_OP_UPDATE, "patient", uuid_n(8), P("given_names", "Ida"), NULL),
                     0);
    /* the centre has 2 … 4 only, with another name at the same rev */
    a.body = page("patient", 2, 3, true, 5, 1, "\"Holm\"");
    assert_int_equal(on_writer(&f, run_repair, &a), 0);
    assert_int_equal(a.mended, 3 + 3); /* 5, 6, 7 go; 8 has a change that waits */
    assert_string_equal(shown(&f, "patient", uuid_n(3), "family_name"), "Holm");
    assert_string_equal(shown(&f, "patient", uuid_n(1), "family_name"), "Berg");
    assert_string_equal(shown(&f, "patient", uuid_n(5), "family_name"), "(none)");
    assert_string_equal(shown(&f, "patient", uuid_n(8), "given_names"), "Ida");
    assert_string_equal(shown(&f, "patient", uuid_n(9), "family_name"), "Berg");
    assert_int_equal(on_writer(&f, run_repair, &a), 0);
    assert_int_equal(a.mended, 0);
    a.body = page("patient", 1, 3, true, 5, 1, "\"Holm\"");
    assert_int_equal(on_writer(&f, run_repair, &a), BASE_EPROTO); /* outside the range */
    a.body = page("patient", 2, 1, true, 4, 1, "\"Holm\"");
    assert_int_equal(on_writer(&f, run_repair, &a), BASE_ESTALE); /* older than the cursor */
    a.body = page("patient", 2, 1, false, 5, 1, "\"Holm\"");
    assert_int_equal(on_writer(&f, run_repair, &a), 0); /* covers 2 alone */
    assert_int_equal(a.mended, 0);
    assert_string_equal(shown(&f, "patient", uuid_n(3), "family_name"), "Holm");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_fill_goes_on_wherever_it_broke_off),
        T(pages_out_of_place_are_refused),
        T(writes_before_and_during_a_fill_stay),
        T(a_new_column_is_fetched_for_rows_of_the_same_rev),
        T(a_catalog_that_fails_leaves_the_old_one),
        T(the_digest_is_that_of_the_centres_images),
        T(a_range_is_cut_into_equal_parts),
        T(a_repair_mends_what_differs_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
