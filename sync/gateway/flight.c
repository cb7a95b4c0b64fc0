#include <stdlib.h>
#include <string.h>

#include "sync/gateway/pg_internal.h"

void gw_flight_init(struct gw_flight *f)
{
    *f = (struct gw_flight){.failed = -1};
}

void gw_flight_clear(struct gw_flight *f)
{
    for (int i = 0; i < f->count; i++) {
        if (f->results != NULL)
            PQclear(f->results[i]);
        free(f->queries[i].params);
    }
    free(f->results);
    f->results = NULL;
    f->count = 0;
    f->rc = 0;
    f->failed = -1;
    f->sqlstate[0] = '\0';
    f->constraint[0] = '\0';
}

void gw_flight_release(struct gw_flight *f)
{
    gw_flight_clear(f);
    free(f->queries);
    gw_flight_init(f);
}

int gw_flight_add(struct gw_flight *f, const char *sql, int count, const struct gw_param *params)
{
    BASE_ASSERT(count <= GW_PARAMS_MAX);
    if (f->count == f->cap) {
        int cap = f->cap == 0 ? 16 : f->cap * 2;
        struct gw_query *q = realloc(f->queries, (size_t)cap * sizeof *q);
        if (q == NULL) {
            f->rc = BASE_ENOMEM;
            return 0;
        }
        f->queries = q;
        f->cap = cap;
    }
    struct gw_param *copy = NULL;
    if (count > 0) {
        copy = malloc((size_t)count * sizeof *copy);
        if (copy == NULL) {
            f->rc = BASE_ENOMEM;
            return 0;
        }
        memcpy(copy, params, (size_t)count * sizeof *copy);
    }
    f->queries[f->count] = (struct gw_query){sql, copy, count};
    return f->count++;
}

int gw_flight_rows(const struct gw_flight *f, int query)
{
    return f->results == NULL || f->results[query] == NULL ? 0 : PQntuples(f->results[query]);
}

const char *gw_flight_value(const struct gw_flight *f, int query, int column)
{
    if (gw_flight_rows(f, query) == 0 || PQgetisnull(f->results[query], 0, column))
        return NULL;
    return PQgetvalue(f->results[query], 0, column);
}

static bool in_class(const char *sqlstate, const char *const list[])
{
    for (int i = 0; list[i] != NULL; i++)
        if (strncmp(sqlstate, list[i], strlen(list[i])) == 0)
            return true;
    return false;
}

bool gw_sqlstate_passing(const char *sqlstate)
{
    static const char *const list[] = {"40",    "57P",   "57014", "08", "53",
                                       "55P03", "55006", "25P",   "58", NULL};
    return in_class(sqlstate, list);
}

bool gw_sqlstate_permanent(const char *sqlstate)
{
    static const char *const list[] = {"22", "23", "42", "44", "P0", "EW4",
                                       "0A", "21", "27", "54", NULL};
    return in_class(sqlstate, list);
}
