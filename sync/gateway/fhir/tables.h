/*
 * sync/gateway/fhir/tables.h - the ward tables as the import fills them (docs/CENTRAL.md, "Ward").
 *
 * Does:       names tables, columns, their types, what a column refers to and how strictly, and
 * what a second import may change. The order of the tables is the order of loading: a row's parents
 * stand in an earlier table or in its own. Does not:   know FHIR or SQL's text. Invariant:  column
 * k of a row is specs[table].columns[k]; site_id and rev are left to the database.
 */
#ifndef SYNC_GATEWAY_FHIR_TABLES_H
#define SYNC_GATEWAY_FHIR_TABLES_H

#include <stdbool.h>

enum gw_ward_table {
    GW_WARD_LOCATION,
    GW_WARD_STAFF,
    GW_WARD_STAFF_ROLE,
    GW_WARD_PATIENT,
    GW_WARD_PATIENT_IDENTIFIER,
    GW_WARD_PATIENT_LINK,
    GW_WARD_ENCOUNTER,
    GW_WARD_BED_STAY,
    GW_WARD_ALLERGY,
    GW_WARD_CONDITION,
    GW_WARD_MEDICATION_ORDER,
    GW_WARD_ORDER_EVENT,
    GW_WARD_DOSE_SLOT,
    GW_WARD_TASK,
    GW_WARD_MEDICATION_ADMINISTRATION,
    GW_WARD_APPOINTMENT,
    GW_WARD_LAB_ORDER,
    GW_WARD_SPECIMEN,
    GW_WARD_OBSERVATION,
    GW_WARD_LAB_RESULT,
    GW_WARD_NOTE,
    GW_WARD_AUDIT_EVENT,
    GW_WARD_TABLES
};

enum { GW_WARD_NOTHING = -1, GW_WARD_COLUMNS_MAX = 32 };

enum gw_ward_type {
    GW_TYPE_TEXT,
    GW_TYPE_UUID,
    GW_TYPE_DECIMAL,
    GW_TYPE_INT,
    GW_TYPE_BOOL,
    GW_TYPE_JSON,
    GW_TYPE_MOMENT
};

/* What happens when the row that a column names is not there. */
enum gw_ward_need {
    GW_REF_KEPT,  /* no foreign key: the id stays and finds its row when that comes; counted */
    GW_REF_NULL,  /* a foreign key, nullable: the row goes in without it; counted */
    GW_REF_NEEDED /* the row cannot be without it */
};

/* What a later import may do to the column of a row that is there. */
enum gw_ward_renew {
    GW_RENEW,
    GW_RENEW_NEVER, /* the operator may have changed it: set when the row is made, then left */
    GW_RENEW_FALSE  /* only from true to false: an import takes access away, it does not give it */
};

struct gw_ward_column {
    const char *name;
    enum gw_ward_type type;
    int ref; /* enum gw_ward_table, or GW_WARD_NOTHING */
    enum gw_ward_need need;
    enum gw_ward_renew renew;
};

struct gw_ward_spec {
    const char *name;
    bool fact; /* inserted once, never changed */
    int count;
    struct gw_ward_column columns[GW_WARD_COLUMNS_MAX];
};

const struct gw_ward_spec *gw_ward_spec(enum gw_ward_table table);
/* Index of a column. A name that the table has not is a programmer's error. */
int gw_ward_column(enum gw_ward_table table, const char *name);
/* Does any column name rows of this table? */
bool gw_ward_referred(enum gw_ward_table table);
const char *gw_ward_sql_type(enum gw_ward_type type);

#endif
