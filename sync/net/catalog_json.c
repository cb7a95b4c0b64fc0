#include "sync/net/catalog_json.h"

#include <stdlib.h>

#include "sync/net/json.h"

static const char *copy(struct core_catalog *c, const char *s)
{
    return s == NULL ? NULL : base_arena_copy(&c->arena, s, strlen(s));
}

/* A member that is a string or null; *out NULL for null. */
static int nullable(struct core_catalog *c, const cJSON *object, const char *name, const char **out,
                    struct base_err *err)
{
    const char *text = NULL;
    const cJSON *member = cJSON_GetObjectItemCaseSensitive(object, name);
    *out = NULL;
    if (member == NULL || cJSON_IsNull(member))
        return 0;
    int rc = net_json_str(object, name, CORE_NAME_BYTES_MAX, &text, err);
    if (rc != 0)
        return rc;
    *out = copy(c, text);
    return *out == NULL ? base_fail(err, BASE_ENOMEM, "out of memory in the catalog") : 0;
}

static int name_of(struct core_catalog *c, const cJSON *object, const char **out,
                   struct base_err *err)
{
    const char *name = NULL;
    int rc = net_json_str(object, "name", CORE_NAME_BYTES_MAX, &name, err);
    if (rc != 0)
        return rc;
    for (const char *p = name; *p != '\0'; p++)
        if (*p == '"' || *p == '\\' || (unsigned char)*p < 0x20)
            return base_fail(err, BASE_EINVALID,
                             "a name in the catalog holds a quote or control character");
    if (*name == '\0' || *name == '_')
        return base_fail(err, BASE_EINVALID, "a name in the catalog is empty or begins with \"_\"");
    *out = copy(c, name);
    return *out == NULL ? base_fail(err, BASE_ENOMEM, "out of memory in the catalog") : 0;
}

/* A list of texts, or null. */
static int read_texts(struct core_catalog *c, const cJSON *object, const char *name,
                      const struct core_column *column, const char *const **out,
                      struct base_err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(object, name);
    if (list == NULL || cJSON_IsNull(list))
        return 0;
    int n = cJSON_GetArraySize(list);
    if (!cJSON_IsArray(list) || n > CORE_ALLOWED_MAX)
        return base_fail(err, BASE_EINVALID, "%s: %s must be a list of at most %d texts",
                         column->name, name, CORE_ALLOWED_MAX);
    const char **texts = base_arena_get(&c->arena, ((size_t)n + 1) * sizeof *texts);
    if (texts == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory in the catalog");
    int i = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsString(item))
            return base_fail(err, BASE_EINVALID, "%s: %s must be a list of texts", column->name,
                             name);
        texts[i] = copy(c, item->valuestring);
        if (texts[i++] == NULL)
            return base_fail(err, BASE_ENOMEM, "out of memory in the catalog");
    }
    *out = texts;
    return 0;
}

static int read_api(const char *word, struct core_column *column)
{
    column->api = CORE_API_HIDDEN; /* an unknown word shows nothing */
    if (word != NULL && strcmp(word, "rw") == 0)
        column->api = CORE_API_RW;
    if (word != NULL && strcmp(word, "ro") == 0)
        column->api = CORE_API_RO;
    return 0;
}

/* A text of any length that a line can hold; a gateway before it was told says none. */
static int read_preset(struct core_catalog *c, const cJSON *object, struct core_column *column,
                       struct base_err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, "default");
    if (item == NULL || cJSON_IsNull(item))
        return 0;
    if (!cJSON_IsString(item))
        return base_fail(err, BASE_EINVALID, "%s: default must be a text or null", column->name);
    column->preset = copy(c, item->valuestring);
    return column->preset != NULL ? 0 : base_fail(err, BASE_ENOMEM, "out of memory in the catalog");
}

static int read_column(struct core_catalog *c, const struct core_table *t, const cJSON *object,
                       int ord, struct core_column *column, struct base_err *err)
{
    const char *type = NULL;
    const char *class = NULL;
    const char *api = NULL;
    int64_t stated = 0;
    int rc = name_of(c, object, &column->name, err);
    if (rc == 0)
        rc = net_json_i64(object, "ord", CORE_ORD_FIRST, CORE_FIELDS_MAX, &stated, err);
    if (rc == 0)
        rc = net_json_str(object, "type", CORE_NAME_BYTES_MAX, &type, err);
    if (rc == 0)
        rc = net_json_bool(object, "null", &column->nullable, err);
    if (rc == 0)
        rc = nullable(c, object, "class", &class, err);
    if (rc == 0)
        rc = nullable(c, object, "group", &column->group, err);
    if (rc == 0)
        rc = nullable(c, object, "ref", &column->ref, err);
    if (rc == 0)
        rc = nullable(c, object, "api", &api, err);
    if (rc == 0)
        rc = read_texts(c, object, "allowed", column, &column->allowed, err);
    if (rc == 0)
        rc = read_texts(c, object, "dominance", column, &column->dominance, err);
    if (rc == 0)
        rc = read_preset(c, object, column, err);
    if (rc != 0)
        return rc;
    if (stated != ord)
        return base_fail(err, BASE_EINVALID, "%s.%s: ordinals must follow each other from %d",
                         t->name, column->name, CORE_ORD_FIRST);
    column->ord = ord;
    column->class = t->class;
    if (class != NULL && !core_class_parse(&column->class, class))
        column->class = CORE_REVIEW; /* a class of a later version: unsure means a person looks */
    if (!core_type_parse(&column->type, type))
        return base_fail(err, BASE_EUNSUPPORTED,
                         "%s.%s is of type %s, which this version does not know", t->name,
                         column->name, type);
    return read_api(api, column);
}

static int read_columns(struct core_catalog *c, const cJSON *object, struct core_table *t,
                        struct base_err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(object, "columns");
    int n = cJSON_GetArraySize(list);
    if (!cJSON_IsArray(list) || n > CORE_COLUMNS_MAX)
        return base_fail(err, BASE_EINVALID, "%s: columns must be a list of at most %d", t->name,
                         CORE_COLUMNS_MAX);
    t->columns = base_arena_get(&c->arena, ((size_t)n + 1) * sizeof *t->columns);
    if (t->columns == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory in the catalog");
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        struct core_column *column = &t->columns[t->column_count];
        int rc = read_column(c, t, item, CORE_ORD_FIRST + t->column_count, column, err);
        if (rc != 0)
            return base_err_prefix(err, rc, "%s", t->name);
        if (core_table_column(t, column->name, strlen(column->name)) != NULL)
            return base_fail(err, BASE_EINVALID, "%s.%s stands twice", t->name, column->name);
        t->column_count++;
    }
    return 0;
}

static int read_index(const cJSON *list, const struct core_table *t, struct core_index *index,
                      struct base_err *err)
{
    const cJSON *item;
    index->count = 0;
    cJSON_ArrayForEach(item, list)
    {
        const struct core_column *column =
            cJSON_IsString(item)
                ? core_table_column(t, item->valuestring, strlen(item->valuestring))
                : NULL;
        if (column == NULL || index->count == CORE_INDEX_COLUMNS_MAX)
            return base_fail(err, BASE_EINVALID, "%s: an index names an unknown column or too many",
                             t->name);
        index->ords[index->count++] = column->ord;
    }
    return index->count > 0
               ? 0
               : base_fail(err, BASE_EINVALID, "%s: an index without columns", t->name);
}

static int read_indexes(const cJSON *object, struct core_table *t, struct base_err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(object, "indexes");
    if (list == NULL || cJSON_IsNull(list))
        return 0;
    if (cJSON_GetArraySize(list) > CORE_INDEXES_MAX)
        return base_fail(err, BASE_EINVALID, "%s: more than %d indexes", t->name, CORE_INDEXES_MAX);
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        int rc = read_index(item, t, &t->indexes[t->index_count], err);
        if (rc != 0)
            return rc;
        t->index_count++;
    }
    return 0;
}

static int read_table(struct core_catalog *c, const cJSON *object, struct core_table *t,
                      struct base_err *err)
{
    const char *class = NULL;
    int64_t tbl = 0;
    int64_t order = 0;
    int rc = name_of(c, object, &t->name, err);
    if (rc == 0)
        rc = net_json_i64(object, "tbl", 1, INT32_MAX, &tbl, err);
    if (rc == 0)
        rc = net_json_i64(object, "order", 0, INT32_MAX, &order, err);
    if (rc == 0)
        rc = net_json_str(object, "class", CORE_NAME_BYTES_MAX, &class, err);
    if (rc == 0)
        rc = net_json_bool(object, "deletable", &t->deletable, err);
    if (rc == 0)
        rc = net_json_bool(object, "push_only", &t->push_only, err);
    if (rc != 0)
        return rc;
    t->tbl = (int)tbl;
    t->order = (int)order;
    if (!core_class_parse(&t->class, class))
        t->class = CORE_REVIEW;
    rc = read_columns(c, object, t, err);
    return rc != 0 ? rc : read_indexes(object, t, err);
}

static int compare_tables(const void *a, const void *b)
{
    const struct core_table *x = a;
    const struct core_table *y = b;
    return x->order != y->order ? (x->order < y->order ? -1 : 1) : strcmp(x->name, y->name);
}

static int read_tables(struct core_catalog *c, const cJSON *root, struct base_err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "tables");
    int n = cJSON_GetArraySize(list);
    if (!cJSON_IsArray(list) || n > CORE_TABLES_MAX)
        return base_fail(err, BASE_EINVALID, "tables must be a list of at most %d",
                         CORE_TABLES_MAX);
    c->tables = base_arena_get(&c->arena, ((size_t)n + 1) * sizeof *c->tables);
    if (c->tables == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory in the catalog");
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        struct core_table *t = &c->tables[c->table_count];
        int rc = read_table(c, item, t, err);
        if (rc != 0)
            return rc;
        if (core_catalog_table(c, t->name, strlen(t->name)) != NULL ||
            core_catalog_tbl(c, t->tbl) != NULL)
            return base_fail(err, BASE_EINVALID, "%s stands twice", t->name);
        c->table_count++;
    }
    qsort(c->tables, (size_t)c->table_count, sizeof *c->tables, compare_tables);
    return 0;
}

int net_catalog_parse(struct core_catalog *out, const char *json, size_t len, struct base_err *err)
{
    struct core_catalog c;
    cJSON *root = NULL;
    const char *format = NULL;
    core_catalog_init(&c);
    int rc = len > NET_CATALOG_BYTES_MAX
                 ? base_fail(err, BASE_ETOOBIG, "larger than %d bytes", NET_CATALOG_BYTES_MAX)
                 : net_json_parse(&root, json, len, err);
    if (rc == 0)
        rc = net_json_str(root, "format", CORE_NAME_BYTES_MAX, &format, err);
    if (rc == 0 && strcmp(format, "everward-catalog/1") != 0)
        rc = base_fail(err, BASE_EUNSUPPORTED, "its format is not everward-catalog/1");
    if (rc == 0)
        rc = net_json_i64(root, "version", 0, INT64_MAX, &c.version, err);
    if (rc == 0)
        rc = read_tables(&c, root, err);
    cJSON_Delete(root);
    if (rc != 0) {
        core_catalog_release(&c);
        return base_err_prefix(err, rc, "catalog");
    }
    *out = c;
    return 0;
}
