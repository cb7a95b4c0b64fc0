/*
 * Rights on rows rather than tables: of patients of one's wards, and of a patient for whom the glass is broken.
 *
 * api_may() asks for a right everywhere; a handler that looks at each row asks api_may_some() first and then
 * api_row_ok(). One that does not know of this refuses those whose rights end at their ward: it fails closed.
 */
#include <string.h>

#include "node/api/internal.h"
#include "node/people/glass.h"

bool api_may_some(struct api_call *c, enum node_action action, const char *table)
{
    const struct core_catalog *catalog = node_store_catalog(c->api->store);
    if (node_grants_may_in_ward(c->grants, action, table))
        return true;
    const struct core_table *t =
        catalog == NULL ? NULL : core_catalog_table(catalog, table, strlen(table));
    if (action == NODE_MAY_READ && c->grants->glass_count > 0 && t != NULL &&
        (strcmp(table, "patient") == 0 || core_table_column(t, "patient_id", 10) != NULL))
        return true;
    return api_may(c, action, table);
}

static bool in_wards_read(struct api_call *c, struct node_db *db, const struct base_uuid *patient)
{
    struct node_stmt *st = NULL;
    struct base_uuid at;
    bool found = false;
    if (node_sql(db, &st,
                 "WITH RECURSIVE at (id, depth) AS ("
                 "SELECT location_id, 0 FROM \"bed_stay\" WHERE patient_id = ?1 AND status IN "
                 "('active', 'planned') UNION "
                 "SELECT location_id, 0 FROM \"encounter\" WHERE patient_id = ?1 AND status IN "
                 "('planned', 'arrived', 'triaged', 'in-progress', 'onleave') UNION "
                 "SELECT l.parent_id, at.depth + 1 FROM \"location\" l JOIN at ON l.id = at.id "
                 "WHERE at.depth < 8) SELECT DISTINCT id FROM at WHERE id IS NOT NULL",
                 NULL) != 0)
        return false; /* what cannot be asked is not allowed */
    node_sql_uuid(st, 1, patient);
    while (!found && node_sql_step(st, NULL) > 0)
        for (int i = 0; i < c->grants->ward_count && node_sql_col_uuid(st, 0, &at) && !found; i++)
            found = base_uuid_equal(&at, &c->grants->wards[i]);
    node_sql_done(st);
    return found;
}

bool api_place_ok(struct api_call *c, struct node_db *db, const struct base_uuid *location)
{
    struct node_stmt *st = NULL;
    struct base_uuid at;
    bool found = false;
    if (node_grants_may(c->grants, NODE_MAY_READ, "patient") &&
        node_grants_may(c->grants, NODE_MAY_READ, "bed_stay"))
        return true;
    if (node_sql(db, &st,
                 "WITH RECURSIVE at (id, depth) AS (SELECT ?1, 0 UNION "
                 "SELECT l.parent_id, at.depth + 1 FROM \"location\" l JOIN at ON l.id = at.id "
                 "WHERE at.depth < 8) SELECT id FROM at WHERE id IS NOT NULL",
                 NULL) != 0)
        return false;
    node_sql_uuid(st, 1, location);
    while (!found && node_sql_step(st, NULL) > 0)
        for (int i = 0; i < c->grants->ward_count && node_sql_col_uuid(st, 0, &at) && !found; i++)
            found = base_uuid_equal(&at, &c->grants->wards[i]);
    node_sql_done(st);
    return found && node_grants_may_in_ward(c->grants, NODE_MAY_READ, "patient") &&
           node_grants_may_in_ward(c->grants, NODE_MAY_READ, "bed_stay");
}

static bool in_wards(struct api_call *c, struct node_db *db, const struct base_uuid *patient)
{
    for (int i = 0; i < API_WARD_CACHE; i++)
        if (c->wards[i].known && base_uuid_equal(&c->wards[i].patient, patient))
            return c->wards[i].in;
    int at = c->ward_next++ % API_WARD_CACHE;
    c->wards[at].known = true;
    c->wards[at].patient = *patient;
    c->wards[at].in = in_wards_read(c, db, patient);
    return c->wards[at].in;
}

bool api_patient_ok(struct api_call *c, struct node_db *db, enum node_action action,
                    const char *table, const struct base_uuid *patient)
{
    bool scoped = node_grants_may_in_ward(c->grants, action, table);
    if (node_grants_may(c->grants, action, table))
        return true;
    if (scoped && in_wards(c, db, patient))
        return true;
    const struct node_glass *glass = node_grants_glass(c->grants, patient, c->now_ms);
    if (glass == NULL || (action != NODE_MAY_READ && !scoped))
        return false;
    c->glass = glass;
    return true;
}

bool api_row_ok(struct api_call *c, struct node_db *db, enum node_action action,
                const struct node_row *row)
{
    const char *table = row->table->name;
    struct core_text text = api_value(row, "patient_id");
    struct base_uuid patient = row->id;
    if (node_grants_may(c->grants, action, table))
        return true;
    if (strcmp(table, "patient") != 0 &&
        (text.s == NULL || !base_uuid_parse(&patient, text.s, text.len)))
        return core_table_column(row->table, "patient_id", 10) == NULL &&
               node_grants_may_in_ward(c->grants, action, table);
    return api_patient_ok(c, db, action, table, &patient);
}

int api_refuse_ward(struct api_call *c)
{
    return api_refuse(c, 403, "outside_ward",
                      "In an emergency: POST /api/v1/break-glass, with a reason.",
                      "this patient is not on one of your wards");
}

/* The patient an edit gives the row; false: it names none. */
static bool edit_patient(const struct node_edit *e, struct base_uuid *out)
{
    for (int i = 0; i < e->count; i++)
        if (strcmp(e->columns[i]->name, "patient_id") == 0)
            return e->values[i].s != NULL && base_uuid_parse(out, e->values[i].s, e->values[i].len);
    return false;
}

int api_edit_ok(struct api_call *c, struct node_db *db, const struct node_edit *e)
{
    enum node_action action = e->op == CORE_OP_INSERT   ? NODE_MAY_CREATE
                              : e->op == CORE_OP_UPDATE ? NODE_MAY_UPDATE
                                                        : NODE_MAY_DELETE;
    const char *table = e->table->name;
    struct base_uuid patient;
    if (node_grants_may(c->grants, action, table))
        return 0;
    if (edit_patient(e, &patient)) {
        if (!api_patient_ok(c, db, action, table, &patient))
            return api_refuse_ward(c);
    } else if (e->op == CORE_OP_INSERT && core_table_column(e->table, "patient_id", 10) != NULL) {
        return api_refuse_ward(c);
    }
    if (e->op == CORE_OP_INSERT)
        return 0;
    struct node_row *row = base_arena_get(&c->arena, sizeof *row);
    if (row == NULL || node_row_get(db, e->table, &e->id, &c->arena, row, NULL) != 0)
        return api_refuse(c, 404, "not_found", NULL, "there is no such row in %s", table);
    return api_row_ok(c, db, action, row) ? 0 : api_refuse_ward(c);
}

/* In the transaction of the write itself. */
int api_glass_used(struct api_call *c, struct node_db *db, struct base_err *err)
{
    struct node_author author;
    struct node_glass g = *c->glass;
    api_author(c, &author);
    int rc = node_glass_count_use(db, &g.id, c->write, err);
    if (rc != 0 || !c->write)
        return rc;
    return node_audit_add(db, &author, "break_glass_write", c->table, NULL, &g.patient_id, "ok",
                          g.reason, err);
}
