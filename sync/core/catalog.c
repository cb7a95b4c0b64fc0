#include "sync/core/catalog.h"

enum { CATALOG_BYTES_MAX = 16 * 1024 * 1024 };

void core_catalog_init(struct core_catalog *c)
{
    *c = (struct core_catalog){0};
    base_arena_init(&c->arena, CATALOG_BYTES_MAX);
}

void core_catalog_release(struct core_catalog *c)
{
    base_arena_release(&c->arena);
    c->tables = NULL;
    c->table_count = 0;
}

static bool same(const char *name, const char *s, size_t len)
{
    return strncmp(name, s, len) == 0 && name[len] == '\0';
}

const struct core_table *core_catalog_table(const struct core_catalog *c, const char *name,
                                            size_t len)
{
    for (int i = 0; i < c->table_count; i++)
        if (same(c->tables[i].name, name, len))
            return &c->tables[i];
    return NULL;
}

const struct core_table *core_catalog_tbl(const struct core_catalog *c, int tbl)
{
    for (int i = 0; i < c->table_count; i++)
        if (c->tables[i].tbl == tbl)
            return &c->tables[i];
    return NULL;
}

const struct core_column *core_table_column(const struct core_table *t, const char *name,
                                            size_t len)
{
    for (int i = 0; i < t->column_count; i++)
        if (same(t->columns[i].name, name, len))
            return &t->columns[i];
    return NULL;
}

static const char *const class_names[] = {
#define X(name, text) text,
    CORE_CLASSES(X)
#undef X
};

static const char *const type_names[] = {
#define X(name, text) text,
    CORE_TYPES(X)
#undef X
};

const char *core_class_name(enum core_class class)
{
    return class_names[class];
}

const char *core_type_name(enum core_type type)
{
    return type_names[type];
}

bool core_class_parse(enum core_class *out, const char *s)
{
    for (size_t i = 0; i < sizeof class_names / sizeof class_names[0]; i++)
        if (strcmp(class_names[i], s) == 0) {
            *out = (enum core_class)i;
            return true;
        }
    return false;
}

bool core_type_parse(enum core_type *out, const char *s)
{
    for (size_t i = 0; i < sizeof type_names / sizeof type_names[0]; i++)
        if (strcmp(type_names[i], s) == 0) {
            *out = (enum core_type)i;
            return true;
        }
    return false;
}
