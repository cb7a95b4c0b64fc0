/*
 * tests/unit/node/api/call.h - a call without a request: what the files behind the routes need, and
 * the golden catalog.
 */
#ifndef TESTS_UNIT_NODE_API_CALL_H
#define TESTS_UNIT_NODE_API_CALL_H

#include "tests/unit/check.h"

#include "node/api/internal.h"
#include "sync/net/catalog_json.h"

static struct core_catalog catalog;

static inline void catalog_load(void)
{
    static char text[NET_CATALOG_BYTES_MAX];
    struct base_err err;
    FILE *f = fopen(EW_SOURCE_DIR "/tests/golden/catalog.json", "rb");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text, f);
    (void)fclose(f);
    core_catalog_init(&catalog);
    if (net_catalog_parse(&catalog, text, n, &err) != 0)
        fail_msg("golden catalog: %s", err.text);
}

static inline const struct core_table *table(const char *name)
{
    const struct core_table *t = core_catalog_table(&catalog, name, strlen(name));
    assert_non_null(t);
    return t;
}

static inline const struct core_column *column(const char *table_name, const char *name)
{
    const struct core_column *c = core_table_column(table(table_name), name, strlen(name));
    assert_non_null(c);
    return c;
}

static inline struct api_call *call_new(void)
{
    struct api_call *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->problem.index = -1;
    base_arena_init(&c->arena, API_ARENA_BYTES_MAX);
    base_buf_init(&c->body, API_REPLY_BYTES_MAX);
    return c;
}

static inline void call_free(struct api_call *c)
{
    if (c->json != NULL)
        cJSON_Delete(c->json);
    base_buf_release(&c->body);
    base_arena_release(&c->arena);
    free(c);
}

#endif
