#include "sync/gateway/fhir/tables.h"

#include <string.h>

#include "sync/base/err.h"

#define PLAIN(n, t)                                                                                \
    {                                                                                              \
        n, t, GW_WARD_NOTHING, GW_REF_KEPT, GW_RENEW                                               \
    }
#define TEXT(n)    PLAIN(n, GW_TYPE_TEXT)
#define MOMENT(n)  PLAIN(n, GW_TYPE_MOMENT)
#define BOOLEAN(n) PLAIN(n, GW_TYPE_BOOL)
#define DECIMAL(n) PLAIN(n, GW_TYPE_DECIMAL)
#define INTEGER(n) PLAIN(n, GW_TYPE_INT)
#define JSON(n)    PLAIN(n, GW_TYPE_JSON)
#define REF(n, table, need)                                                                        \
    {                                                                                              \
        n, GW_TYPE_UUID, GW_WARD_##table, need, GW_RENEW                                           \
    }
#define ONCE(n)                                                                                    \
    {                                                                                              \
        n, GW_TYPE_TEXT, GW_WARD_NOTHING, GW_REF_KEPT, GW_RENEW_NEVER                              \
    }
#define OFF(n)                                                                                     \
    {                                                                                              \
        n, GW_TYPE_BOOL, GW_WARD_NOTHING, GW_REF_KEPT, GW_RENEW_FALSE                              \
    }
#define PATIENT    REF("patient_id", PATIENT, GW_REF_NEEDED)
#define STAY(need) REF("encounter_id", ENCOUNTER, need)
#define CLINICAL                                                                                   \
    MOMENT("effective_at"), MOMENT("recorded_at"), REF("recorded_by", STAFF, GW_REF_KEPT),         \
        REF("performed_by", STAFF, GW_REF_KEPT), TEXT("device_id"), TEXT("source")
#define CODE TEXT("code_system"), TEXT("code"), TEXT("display")
#define TABLE(name, fact, ...)                                                                     \
    {                                                                                              \
        name, fact,                                                                                \
            sizeof((struct gw_ward_column[]){__VA_ARGS__}) / sizeof(struct gw_ward_column),        \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }

static const struct gw_ward_spec specs[GW_WARD_TABLES] = {
    [GW_WARD_LOCATION] =
        TABLE("location", false, TEXT("kind"), REF("parent_id", LOCATION, GW_REF_NULL),
              TEXT("name"), TEXT("code"), TEXT("operational_status"), BOOLEAN("active")),
    [GW_WARD_STAFF] = TABLE("staff", false, ONCE("username"), TEXT("family_name"),
                            TEXT("given_names"), OFF("active")),
    [GW_WARD_STAFF_ROLE] = TABLE("staff_role", false, REF("staff_id", STAFF, GW_REF_NEEDED),
                                 TEXT("role"), REF("location_id", LOCATION, GW_REF_KEPT)),
    [GW_WARD_PATIENT] =
        TABLE("patient", false, TEXT("family_name"), TEXT("given_names"), MOMENT("birth_date"),
              TEXT("sex"), BOOLEAN("deceased"), MOMENT("deceased_at"), TEXT("phone"), TEXT("email"),
              TEXT("address_line"), TEXT("city"), TEXT("state"), TEXT("postal_code"),
              TEXT("country"), TEXT("language"), TEXT("marital_status"), TEXT("contact_name"),
              TEXT("contact_phone"), BOOLEAN("active")),
    [GW_WARD_PATIENT_IDENTIFIER] = TABLE("patient_identifier", true, PATIENT, TEXT("system"),
                                         TEXT("value"), TEXT("type_code"), CLINICAL),
    [GW_WARD_PATIENT_LINK] =
        TABLE("patient_link", true, PATIENT, REF("other_patient_id", PATIENT, GW_REF_NEEDED),
              TEXT("action"), TEXT("reason"), CLINICAL),
    [GW_WARD_ENCOUNTER] =
        TABLE("encounter", false, PATIENT, TEXT("status"), TEXT("class_code"), TEXT("type_code"),
              TEXT("type_display"), MOMENT("started_at"), MOMENT("ended_at"),
              REF("location_id", LOCATION, GW_REF_KEPT), TEXT("reason_code"), TEXT("reason_text"),
              REF("attending_id", STAFF, GW_REF_KEPT), CLINICAL),
    [GW_WARD_BED_STAY] = TABLE("bed_stay", false, PATIENT, STAY(GW_REF_NULL),
                               REF("location_id", LOCATION, GW_REF_NEEDED), MOMENT("started_at"),
                               MOMENT("ended_at"), TEXT("status"), CLINICAL),
    [GW_WARD_ALLERGY] =
        TABLE("allergy", false, PATIENT, TEXT("kind"), TEXT("clinical_status"),
              TEXT("verification_status"), TEXT("type"), TEXT("category"), TEXT("criticality"),
              CODE, TEXT("reaction_text"), MOMENT("onset_at"), CLINICAL),
    [GW_WARD_CONDITION] =
        TABLE("condition", false, PATIENT, STAY(GW_REF_NULL), TEXT("clinical_status"),
              TEXT("verification_status"), TEXT("category"), CODE, MOMENT("onset_at"),
              MOMENT("abated_at"), TEXT("note"), CLINICAL),
    [GW_WARD_MEDICATION_ORDER] =
        TABLE("medication_order", false, PATIENT, STAY(GW_REF_NULL), TEXT("status"), TEXT("intent"),
              CODE, DECIMAL("dose_quantity"), TEXT("dose_unit"), TEXT("route"),
              TEXT("frequency_text"), DECIMAL("period_hours"), MOMENT("start_at"), MOMENT("end_at"),
              BOOLEAN("as_needed"), BOOLEAN("high_alert"), REF("requester_id", STAFF, GW_REF_KEPT),
              TEXT("priority"), TEXT("reason_text"), TEXT("note"), CLINICAL),
    [GW_WARD_ORDER_EVENT] =
        TABLE("order_event", true, REF("order_id", MEDICATION_ORDER, GW_REF_NEEDED), PATIENT,
              TEXT("action"), TEXT("reason"), CLINICAL),
    [GW_WARD_DOSE_SLOT] = TABLE("dose_slot", true, REF("order_id", MEDICATION_ORDER, GW_REF_NEEDED),
                                PATIENT, MOMENT("due_at"), INTEGER("number"), CLINICAL),
    [GW_WARD_TASK] =
        TABLE("task", false, REF("patient_id", PATIENT, GW_REF_NULL), STAY(GW_REF_NULL),
              TEXT("status"), TEXT("intent"), TEXT("priority"), TEXT("code"), TEXT("description"),
              MOMENT("due_at"), REF("owner_id", STAFF, GW_REF_KEPT),
              REF("location_id", LOCATION, GW_REF_KEPT), TEXT("note"), CLINICAL),
    [GW_WARD_MEDICATION_ADMINISTRATION] =
        TABLE("medication_administration", true, REF("order_id", MEDICATION_ORDER, GW_REF_KEPT),
              REF("slot_id", DOSE_SLOT, GW_REF_KEPT), PATIENT, STAY(GW_REF_KEPT), TEXT("status"),
              CODE, DECIMAL("dose_quantity"), TEXT("dose_unit"), TEXT("route"), TEXT("reason_code"),
              TEXT("reason_text"), REF("witness_id", STAFF, GW_REF_KEPT), CLINICAL),
    [GW_WARD_APPOINTMENT] =
        TABLE("appointment", false, REF("patient_id", PATIENT, GW_REF_NULL), TEXT("status"),
              TEXT("description"), MOMENT("start_at"), MOMENT("end_at"),
              REF("location_id", LOCATION, GW_REF_KEPT), REF("practitioner_id", STAFF, GW_REF_KEPT),
              TEXT("reason_text"), CLINICAL),
    [GW_WARD_LAB_ORDER] = TABLE("lab_order", false, PATIENT, STAY(GW_REF_NULL), TEXT("status"),
                                CODE, TEXT("priority"), REF("requester_id", STAFF, GW_REF_KEPT),
                                MOMENT("ordered_at"), TEXT("note"), CLINICAL),
    [GW_WARD_SPECIMEN] =
        TABLE("specimen", true, REF("lab_order_id", LAB_ORDER, GW_REF_KEPT), PATIENT,
              TEXT("type_code"), TEXT("type_display"), MOMENT("collected_at"),
              REF("collected_by", STAFF, GW_REF_KEPT), TEXT("identifier"), CLINICAL),
    [GW_WARD_OBSERVATION] =
        TABLE("observation", true, PATIENT, STAY(GW_REF_KEPT), TEXT("status"), TEXT("category"),
              CODE, DECIMAL("value_decimal"), TEXT("value_unit"), TEXT("value_unit_code"),
              TEXT("value_text"), TEXT("value_code"), JSON("value_json"), JSON("components"),
              TEXT("body_site"), TEXT("method"), TEXT("interpretation"), CLINICAL),
    [GW_WARD_LAB_RESULT] =
        TABLE("lab_result", false, REF("lab_order_id", LAB_ORDER, GW_REF_KEPT), PATIENT,
              STAY(GW_REF_NULL), TEXT("status"), CODE, TEXT("conclusion"), JSON("results"),
              MOMENT("issued_at"), INTEGER("version"), CLINICAL),
    [GW_WARD_NOTE] =
        TABLE("note", false, PATIENT, STAY(GW_REF_NULL), TEXT("status"), TEXT("kind"),
              TEXT("title"), TEXT("body"), REF("addendum_to_id", NOTE, GW_REF_KEPT), CLINICAL),
    [GW_WARD_AUDIT_EVENT] = TABLE("audit_event", true, REF("actor_id", STAFF, GW_REF_KEPT),
                                  TEXT("action"), TEXT("table_name"), PLAIN("row_id", GW_TYPE_UUID),
                                  REF("patient_id", PATIENT, GW_REF_KEPT), TEXT("outcome"),
                                  TEXT("detail"), MOMENT("occurred_at")),
};

const struct gw_ward_spec *gw_ward_spec(enum gw_ward_table table)
{
    BASE_ASSERT(table < GW_WARD_TABLES);
    return &specs[table];
}

int gw_ward_column(enum gw_ward_table table, const char *name)
{
    const struct gw_ward_spec *s = gw_ward_spec(table);
    for (int i = 0; i < s->count; i++)
        if (strcmp(s->columns[i].name, name) == 0)
            return i;
    base_assert_failed("a column that the table has", __FILE__, __LINE__);
    return GW_WARD_NOTHING;
}

bool gw_ward_referred(enum gw_ward_table table)
{
    for (int t = 0; t < GW_WARD_TABLES; t++)
        for (int k = 0; k < specs[t].count; k++)
            if (specs[t].columns[k].ref == (int)table)
                return true;
    return false;
}

const char *gw_ward_sql_type(enum gw_ward_type type)
{
    static const char *const names[] = {
        [GW_TYPE_TEXT] = "text",   [GW_TYPE_UUID] = "uuid",    [GW_TYPE_DECIMAL] = "numeric",
        [GW_TYPE_INT] = "integer", [GW_TYPE_BOOL] = "boolean", [GW_TYPE_JSON] = "json",
        [GW_TYPE_MOMENT] = "text"};
    return names[type];
}
