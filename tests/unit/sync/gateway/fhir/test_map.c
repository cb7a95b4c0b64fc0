#include "tests/unit/check.h"

#include "sync/gateway/fhir/import_internal.h"
#include "sync/gateway/fhir/map.h"
#include "sync/gateway/fhir/read.h"
#include "sync/seal/seal.h"

static struct base_arena arena;
static struct gw_fhir_unit unit;
static struct base_uuid tenant = {{0xa1, 2, 3, 4, 5, 6, 0x77, 8, 0x89, 10, 11, 12, 13, 14, 15, 16}};

static int setup(void **state)
{
    base_arena_init(&arena, GW_FHIR_ARENA_BYTES_MAX);
    return seal_init(NULL);
}

static int teardown(void **state)
{
    base_arena_release(&arena);
    return 0;
}

static void map_parsed(const cJSON *resource, const char *full_url, struct gw_bundle *bundle)
{
    struct gw_fhir_context ctx = {tenant, &arena, full_url, bundle,
                                  bundle != NULL ? gw_bundle_resolve : NULL};
    assert_int_equal(gw_fhir_map(&unit, resource, &ctx, NULL), 0);
}

static void map(const char *json)
{
    struct base_err err = {0};
    cJSON *resource = NULL;
    base_arena_clear(&arena);
    if (net_json_parse(&resource, json, strlen(json), &err) != 0)
        fail_msg("%s: %s", err.text, json);
    map_parsed(resource, NULL, NULL);
    cJSON_Delete(resource);
}

static const char *value(int row, const char *column)
{
    assert_true(row < unit.row_count);
    return unit.rows[row].values[gw_ward_column(unit.rows[row].table, column)];
}

static void assert_value(int row, const char *column, const char *expected)
{
    const char *got = value(row, column);
    if (expected == NULL)
        assert_null(got);
    else if (got == NULL)
        fail_msg("%s is NULL, not %s", column, expected);
    else
        assert_string_equal(got, expected);
}

static bool noted(const char *text)
{
    for (int i = 0; i < unit.note_count; i++)
        if (strstr(unit.notes[i], text) != NULL)
            return true;
    return false;
}

static void assert_refused(const char *json, const char *why)
{
    map(json);
    assert_int_equal(unit.outcome, GW_FHIR_REFUSED);
    assert_int_equal(unit.row_count, 0);
    if (strstr(unit.reason, why) == NULL)
        fail_msg("refused because \"%s\", not because \"%s\"", unit.reason, why);
}

static void assert_unplaced(const char *json, const char *why)
{
    map(json);
    assert_int_equal(unit.outcome, GW_FHIR_UNPLACED);
    assert_int_equal(unit.row_count, 0);
    if (strstr(unit.reason, why) == NULL)
        fail_msg("unplaced because \"%s\", not because \"%s\"", unit.reason, why);
}

#define HEART                                                                                      \
    "{\"resourceType\":\"Observation\",\"id\":\"o1\",\"status\":\"final\","                        \
    "\"code\":{\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"8310-5\"}]},"               \
    "\"subject\":{\"reference\":\"Patient/p1\"}"
#define ORDER                                                                                      \
    "{\"resourceType\":\"MedicationRequest\",\"id\":\"m1\",\"status\":\"active\","                 \
    "\"intent\":\"order\",\"medicationCodeableConcept\":{\"text\":\"Morphine\"},"                  \
    "\"subject\":{\"reference\":\"Patient/p1\"},\"authoredOn\":\"2026-01-02\""

static void decimals_keep_their_zeros_and_digits(void **state)
{
    static const char *const numbers[] = {"36.70", "173.93014137598118", "0.000", "-1.50",
                                          "12345678901234567890.123456789012345678"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        char json[512];
        (void)snprintf(json, sizeof json, HEART ",\"valueQuantity\":{\"value\":%s,\"unit\":\"x\"}}",
                       numbers[i]);
        map(json);
        assert_int_equal(unit.outcome, GW_FHIR_PLACED);
        assert_value(0, "value_decimal", numbers[i]);
        assert_value(0, "value_json", NULL);
    }
}

static void a_number_that_the_column_would_rewrite_is_kept_as_json(void **state)
{
    map(HEART ",\"valueQuantity\":{\"value\":1.50e2,\"unit\":\"x\"}}");
    assert_value(0, "value_decimal", NULL);
    assert_value(0, "value_json", "{\"valueQuantity\":{\"value\":1.50e2,\"unit\":\"x\"}}");
    map(HEART ",\"valueQuantity\":{\"value\":-0.0}}");
    assert_value(0, "value_decimal", NULL);
    assert_value(0, "value_json", "{\"valueQuantity\":{\"value\":-0.0}}");
}

static void less_than_five_is_not_five(void **state)
{
    map(HEART ",\"valueQuantity\":{\"value\":5,\"comparator\":\"<\",\"unit\":\"mg\"}}");
    assert_value(0, "value_decimal", NULL);
    assert_value(0, "value_json",
                 "{\"valueQuantity\":{\"value\":5,\"comparator\":\"<\",\"unit\":\"mg\"}}");
}

static void blood_pressure_keeps_its_components_byte_for_byte(void **state)
{
    map(HEART ",\"component\":[{\"code\":{\"text\":\"s\"},\"valueQuantity\":{\"value\":120.0}},"
              "{\"code\":{\"text\":\"d\"},\"valueQuantity\":{\"value\":80.00}}]}");
    assert_value(0, "components",
                 "[{\"code\":{\"text\":\"s\"},\"valueQuantity\":{\"value\":120.0}},"
                 "{\"code\":{\"text\":\"d\"},\"valueQuantity\":{\"value\":80.00}}]");
}

static void moments_keep_precision_and_offset(void **state)
{
    static const char *const moments[] = {"2026",
                                          "2026-02",
                                          "2024-02-29",
                                          "2026-01-02T08:00:00+02:00",
                                          "2026-01-02T08:00:00.100-03:30",
                                          "2026-01-02T23:59:60Z",
                                          "2026-01-02T08:00:00.123456789Z"};
    for (size_t i = 0; i < sizeof moments / sizeof moments[0]; i++) {
        char json[512];
        (void)snprintf(json, sizeof json, HEART ",\"effectiveDateTime\":\"%s\"}", moments[i]);
        map(json);
        assert_int_equal(unit.outcome, GW_FHIR_PLACED);
        assert_value(0, "effective_at", moments[i]);
    }
}

static void what_is_no_moment_is_refused(void **state)
{
    static const char *const wrong[] = {"",
                                        "yesterday",
                                        "2026-13",
                                        "2026-02-29",
                                        "2026-1-2",
                                        "0000",
                                        "2026-01-02T08:00:00",
                                        "2026-01-02T08:00Z",
                                        "2026-01-02T24:00:00Z",
                                        "2026-01-02T08:00:00+15:00",
                                        "2026-01-02T08:00:00.Z",
                                        "2026-01-02 08:00:00Z",
                                        "2026-01-02T08:00:00.1234567890Z"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(gw_is_moment(wrong[i]));
        if (wrong[i][0] == '\0')
            continue; /* an empty string is as good as none */
        char json[512];
        (void)snprintf(json, sizeof json, HEART ",\"effectiveDateTime\":\"%s\"}", wrong[i]);
        assert_refused(json, "effectiveDateTime");
    }
}

static void a_uuid_stays_the_id_and_others_are_derived_from_tenant_and_name(void **state)
{
    struct base_uuid a;
    struct base_uuid b;
    char text[BASE_UUID_CHARS + 1];
    gw_fhir_id(&a, &tenant, "Patient", "563460B4-b997-4772-a548-a9f877eb4c12");
    base_uuid_format(&a, text);
    assert_string_equal(text, "563460b4-b997-4772-a548-a9f877eb4c12");
    gw_fhir_id(&a, &tenant, "Patient", "p1");
    gw_fhir_id(&b, &tenant, "Patient", "p1");
    assert_true(base_uuid_equal(&a, &b));
    gw_fhir_id(&b, &tenant, "Practitioner", "p1");
    assert_false(base_uuid_equal(&a, &b));
    struct base_uuid other = {{9}};
    gw_fhir_id(&b, &other, "Patient", "p1");
    assert_false(base_uuid_equal(&a, &b));
}

static void references_lead_to_the_same_id_in_each_form(void **state)
{
    static const char *const forms[] = {"Patient/p1", "Patient/p1/_history/3",
                                        "https://example.org/fhir/Patient/p1",
                                        "http://localhost:8080/Patient/p1/_history/1"};
    struct base_uuid id;
    char expected[BASE_UUID_CHARS + 1];
    gw_fhir_id(&id, &tenant, "Patient", "p1");
    base_uuid_format(&id, expected);
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        char json[512];
        (void)snprintf(json, sizeof json,
                       "{\"resourceType\":\"Observation\",\"id\":\"o1\",\"code\":{\"text\":\"x\"},"
                       "\"subject\":{\"reference\":\"%s\"}}",
                       forms[i]);
        map(json);
        assert_int_equal(unit.outcome, GW_FHIR_PLACED);
        assert_value(0, "patient_id", expected);
    }
}

static void a_fact_about_nobody_is_unplaced_with_the_reason(void **state)
{
    const char *about = "{\"resourceType\":\"Observation\",\"id\":\"o1\",\"code\":{\"text\":\"x\"}";
    char json[512];
    (void)snprintf(json, sizeof json, "%s}", about);
    assert_unplaced(json, "no subject");
    (void)snprintf(json, sizeof json, "%s,\"subject\":{\"reference\":\"Group/g\"}}", about);
    assert_unplaced(json, "no patient but Group");
    (void)snprintf(json, sizeof json, "%s,\"subject\":{\"display\":\"A.\"}}", about);
    assert_unplaced(json, "looked up");
    (void)snprintf(json, sizeof json, "%s,\"subject\":{\"reference\":\"#p\"}}", about);
    assert_unplaced(json, "contained");
    (void)snprintf(json, sizeof json, "%s,\"subject\":{\"reference\":\"Patient?name=x\"}}", about);
    assert_unplaced(json, "looked up");
}

static void what_is_not_fhir_is_refused_with_the_element(void **state)
{
    assert_refused("[]", "resourceType");
    assert_refused("{\"resourceType\":7}", "resourceType");
    assert_refused("{\"resourceType\":\"Patient\"}", "no id");
    assert_refused("{\"resourceType\":\"Patient\",\"id\":\"a/b\"}", "id");
    assert_refused("{\"resourceType\":\"Patient\",\"id\":\"p\",\"name\":\"Ann\"}", "name");
    assert_refused("{\"resourceType\":\"Patient\",\"id\":\"p\",\"name\":[\"Ann\"]}", "name");
    assert_refused("{\"resourceType\":\"Patient\",\"id\":\"p\",\"name\":[{\"given\":[1]}]}",
                   "given");
    assert_refused("{\"resourceType\":\"Patient\",\"id\":\"p\",\"gender\":\"w\"}", "gender");
    assert_refused("{\"resourceType\":\"Patient\",\"id\":\"p\",\"active\":\"yes\"}", "active");
    assert_refused(HEART ",\"valueQuantity\":{\"value\":\"36.7\"}}", "value");
    assert_refused(HEART ",\"component\":{}}", "component");
}

static void what_may_mean_something_else_is_not_placed(void **state)
{
    assert_unplaced(HEART ",\"modifierExtension\":[{\"url\":\"x\"}]}", "modifierExtension");
    assert_unplaced(ORDER ",\"doNotPerform\":true}", "not given");
    assert_unplaced("{\"resourceType\":\"Procedure\",\"id\":\"x\"}", "no table");
    assert_unplaced("{\"resourceType\":\"Location\",\"id\":\"x\",\"mode\":\"kind\"}", "kind");
}

static void no_known_allergies_is_a_row_of_its_own_kind(void **state)
{
#define ALLERGY                                                                                    \
    "{\"resourceType\":\"AllergyIntolerance\",\"id\":\"a\","                                       \
    "\"patient\":{\"reference\":\"Patient/p1\"},\"code\":{\"coding\":[{\"code\":\"%s\"}]}}"
    char json[512];
    (void)snprintf(json, sizeof json, ALLERGY, "716186003");
    map(json);
    assert_value(0, "kind", "none-known");
    (void)snprintf(json, sizeof json, ALLERGY, "91936005");
    map(json);
    assert_value(0, "kind", "allergy");
}

static void a_dose_comes_from_one_instruction_or_not_at_all(void **state)
{
    map(ORDER ",\"dosageInstruction\":[{\"text\":\"now\",\"doseAndRate\":[{\"doseQuantity\":"
              "{\"value\":2.50,\"unit\":\"mg\"}}]}]}");
    assert_value(0, "dose_quantity", "2.50");
    assert_value(0, "dose_unit", "mg");
    assert_value(0, "note", NULL);
    map(ORDER ",\"dosageInstruction\":[{\"text\":\"one\",\"doseAndRate\":[{\"doseQuantity\":"
              "{\"value\":2.50,\"unit\":\"mg\"}}]},{\"text\":\"then\"}]}");
    assert_value(0, "dose_quantity", NULL);
    assert_value(0, "dose_unit", NULL);
    assert_value(0, "frequency_text", "one; then");
    assert_non_null(strstr(value(0, "note"), "2.50"));
    map(ORDER ",\"dosageInstruction\":[{\"text\":\"some\",\"doseAndRate\":[{\"doseRange\":{\"low\":"
              "{\"value\":1},\"high\":{\"value\":2}}}]}]}");
    assert_value(0, "dose_quantity", NULL);
    assert_non_null(strstr(value(0, "note"), "doseRange"));
    map(ORDER ",\"dosageInstruction\":[{\"doseAndRate\":[{\"doseQuantity\":{\"value\":3}}]}]}");
    assert_value(0, "dose_quantity", NULL); /* three of what? */
}

static void hours_from_dose_to_dose_are_exact_or_absent(void **state)
{
    static const struct {
        const char *repeat, *hours;
    } cases[] = {{"\"frequency\":3,\"period\":1,\"periodUnit\":\"d\"", "8"},
                 {"\"frequency\":5,\"period\":1,\"periodUnit\":\"d\"", "4.8"},
                 {"\"frequency\":7,\"period\":1,\"periodUnit\":\"d\"", NULL},
                 {"\"period\":30,\"periodUnit\":\"min\"", "0.5"},
                 {"\"frequency\":1,\"period\":2,\"periodUnit\":\"wk\"", "336"},
                 {"\"frequency\":1,\"period\":1,\"periodUnit\":\"mo\"", NULL},
                 {"\"frequency\":1,\"period\":1.5,\"periodUnit\":\"d\"", NULL},
                 {"\"frequency\":0,\"period\":1,\"periodUnit\":\"d\"", NULL},
                 {"\"frequency\":1,\"frequencyMax\":3,\"period\":1,\"periodUnit\":\"d\"", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char json[1024];
        (void)snprintf(json, sizeof json,
                       ORDER ",\"dosageInstruction\":[{\"timing\":{\"repeat\":{%s}}}]}",
                       cases[i].repeat);
        map(json);
        assert_value(0, "period_hours", cases[i].hours);
    }
}

static void an_orders_status_becomes_events(void **state)
{
    map(ORDER "}");
    assert_int_equal(unit.row_count, 2);
    assert_value(1, "action", "activate");
    assert_string_equal(value(1, "patient_id"), value(0, "patient_id"));
    map("{\"resourceType\":\"MedicationRequest\",\"id\":\"m\",\"status\":\"stopped\",\"intent\":"
        "\"order\",\"subject\":{\"reference\":\"Patient/p1\"}}");
    assert_int_equal(unit.row_count, 3);
    assert_value(2, "action", "stop");
    map("{\"resourceType\":\"MedicationRequest\",\"id\":\"m\",\"status\":\"active\",\"intent\":"
        "\"proposal\",\"subject\":{\"reference\":\"Patient/p1\"}}");
    assert_int_equal(unit.row_count, 1);
}

static void a_task_for_a_due_dose_is_a_slot_of_its_order(void **state)
{
#define DUE                                                                                        \
    "{\"resourceType\":\"Task\",\"id\":\"t\",\"status\":\"%s\",\"intent\":\"order\","              \
    "\"code\":{\"coding\":[{\"code\":\"due-dose\"}]},\"for\":{\"reference\":\"Patient/p1\"},"      \
    "\"focus\":{\"reference\":\"MedicationRequest/m1\"},"                                          \
    "\"input\":[{\"type\":{\"coding\":[{\"code\":\"dose-number\"}]},\"valuePositiveInt\":7}],"     \
    "\"executionPeriod\":{\"start\":\"2026-01-02T08:00:00+02:00\"}}"
    struct base_uuid order;
    char id[BASE_UUID_CHARS + 1];
    char json[1024];
    (void)snprintf(json, sizeof json, DUE, "requested");
    map(json);
    gw_fhir_id(&order, &tenant, "MedicationRequest", "m1");
    base_uuid_format(&order, id);
    assert_int_equal(unit.rows[0].table, GW_WARD_DOSE_SLOT);
    assert_value(0, "order_id", id);
    assert_value(0, "due_at", "2026-01-02T08:00:00+02:00");
    assert_value(0, "number", "7");
    (void)snprintf(json, sizeof json, DUE, "cancelled");
    assert_unplaced(json, "called off");
}

static void beds_of_a_stay_are_rows_and_other_places_are_told(void **state)
{
    map("{\"resourceType\":\"Encounter\",\"id\":\"e\",\"status\":\"in-progress\",\"subject\":"
        "{\"reference\":\"Patient/p1\"},\"location\":[{\"location\":{\"reference\":\"Location/w\"},"
        "\"physicalType\":{\"coding\":[{\"code\":\"wa\"}]}},{\"location\":{\"reference\":"
        "\"Location/b\"},\"status\":\"active\",\"period\":{\"start\":\"2026-01-02\"}}]}");
    assert_int_equal(unit.row_count, 2);
    assert_int_equal(unit.rows[1].table, GW_WARD_BED_STAY);
    assert_value(1, "status", "active");
    assert_string_equal(value(1, "location_id"), value(0, "location_id"));
    assert_true(noted("no bed"));
}

static void a_patient_brings_each_identifier_as_a_fact(void **state)
{
    map("{\"resourceType\":\"Patient\",\"id\":\"p\",\"identifier\":[{\"system\":\"s\",\"value\":"
        "\"1\"},{\"system\":\"s\",\"value\":\"2\",\"type\":{\"coding\":[{\"code\":\"MR\"}]}},"
        "{\"system\":\"s\"}],\"name\":[{\"use\":\"old\",\"family\":\"X\"},{\"family\":\"O'Brien\","
        "\"given\":[\"Zoë\",\"María\"]}],\"photo\":[{}],\"deceasedDateTime\":\"2020\"}");
    assert_int_equal(unit.row_count, 3);
    assert_value(0, "family_name", "O'Brien");
    assert_value(0, "given_names", "Zoë María");
    assert_value(0, "deceased", "t");
    assert_value(2, "type_code", "MR");
    assert_false(base_uuid_equal(&unit.rows[1].id, &unit.rows[2].id));
    assert_true(noted("photo"));
    assert_true(noted("identifier: without a value"));
}

static void an_element_without_a_column_is_told_and_its_name_is_checked(void **state)
{
    map(HEART ",\"referenceRange\":[],\"<script>\":1,\"_effectiveDateTime\":{}}");
    assert_int_equal(unit.outcome, GW_FHIR_PLACED);
    assert_true(noted("referenceRange: no column"));
    assert_true(noted("not FHIR's"));
    assert_true(noted("_effectiveDateTime"));
    assert_false(noted("<"));
}

static void staff_get_a_name_but_no_way_in(void **state)
{
    map("{\"resourceType\":\"Practitioner\",\"id\":\"563460b4-b997-4772-a548-a9f877eb4c12\","
        "\"name\":[{\"family\":\"O'Brien Ångström\"}]}");
    assert_value(0, "username", "obrienngstrm-77eb4c12");
    for (int k = 0; k < gw_ward_spec(GW_WARD_STAFF)->count; k++)
        assert_string_not_equal(gw_ward_spec(GW_WARD_STAFF)->columns[k].name, "verifier");
    assert_unplaced("{\"resourceType\":\"PractitionerRole\",\"id\":\"r\",\"active\":false}",
                    "active");
}

/* ---- bundles ------------------------------------------------------------------------------------ */

static struct gw_bundle *open_bundle(const char *text)
{
    struct gw_bundle *b = NULL;
    struct base_err err = {0};
    if (gw_bundle_open(&b, text, strlen(text), &err) != 0)
        fail_msg("%s", err.text);
    return b;
}

static void a_bundle_is_cut_at_its_entries_and_resolves_their_urls(void **state)
{
    struct gw_bundle *b = open_bundle(
        "{ \"resourceType\":\"Bundle\",\"type\":\"transaction\", \"entry\" : [ {\"fullUrl\":"
        "\"urn:uuid:563460b4-b997-4772-a548-a9f877eb4c12\",\"resource\":{\"resourceType\":"
        "\"Patient\",\"name\":[{\"text\":\"a ] } \\\" [\"}]}} , "
        "{\"fullUrl\":\"http://x/Observation/o\","
        "\"resource\":{\"resourceType\":\"Observation\",\"id\":\"o\",\"code\":{\"text\":\"c\"},"
        "\"subject\":{\"reference\":\"urn:uuid:563460b4-b997-4772-a548-a9f877eb4c12\"}}} ] }");
    assert_non_null(b);
    assert_int_equal(gw_bundle_count(b), 2);
    assert_string_equal(gw_bundle_type(b), "transaction");
    cJSON *entry = NULL;
    assert_int_equal(gw_bundle_entry(b, 1, &entry, NULL), 0);
    base_arena_clear(&arena);
    map_parsed(cJSON_GetObjectItemCaseSensitive(entry, "resource"), "http://x/Observation/o", b);
    assert_int_equal(unit.outcome, GW_FHIR_PLACED);
    assert_value(0, "patient_id", "563460b4-b997-4772-a548-a9f877eb4c12");
    cJSON_Delete(entry);
    assert_int_equal(gw_bundle_entry(b, 0, &entry, NULL), 0);
    map_parsed(cJSON_GetObjectItemCaseSensitive(entry, "resource"),
               "urn:uuid:563460b4-b997-4772-a548-a9f877eb4c12", b);
    assert_int_equal(unit.outcome, GW_FHIR_PLACED);
    char id[BASE_UUID_CHARS + 1];
    base_uuid_format(&unit.rows[0].id, id);
    assert_string_equal(id, "563460b4-b997-4772-a548-a9f877eb4c12");
    cJSON_Delete(entry);
    gw_bundle_close(b);
}

static void broken_bundles_are_refused_and_other_things_are_none(void **state)
{
    static const char *const broken[] = {"{\"resourceType\":\"Bundle\",\"entry\":[{}{}]}",
                                         "{\"resourceType\":\"Bundle\",\"entry\":[{},]}",
                                         "{\"resourceType\":\"Bundle\",\"entry\":[{}]",
                                         "{\"resourceType\":\"Bundle\",\"entry\":[,]}",
                                         "{\"entry\":[],\"resourceType\":\"Bundle\",\"entry\":[]}"};
    static const char *const others[] = {"",
                                         "7",
                                         "[]",
                                         "{\"entry\":7}",
                                         "{\"a\":{\"entry\":[]}}",
                                         "{\"resourceType\":\"List\",\"entry\":[]}",
                                         "{\"entry\""};
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        struct gw_bundle *b = NULL;
        if (gw_bundle_open(&b, broken[i], strlen(broken[i]), NULL) == 0)
            fail_msg("taken: %s", broken[i]);
        assert_null(b);
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_null(open_bundle(others[i]));
}

/* ---- the data we were given ------------------------------------------------------------------------ */

struct tally {
    int resources, placed, unplaced, refused, rows, decimals;
    const char *path;
};

/* Each column as its type has it; decimals occur in the source as they are. */
static void check_unit(struct tally *t, const char *source)
{
    t->resources++;
    t->placed += unit.outcome == GW_FHIR_PLACED;
    t->unplaced += unit.outcome == GW_FHIR_UNPLACED;
    t->refused += unit.outcome == GW_FHIR_REFUSED;
    if (unit.outcome == GW_FHIR_REFUSED)
        print_message("%s: %s\n", t->path, unit.reason);
    assert_true((unit.outcome == GW_FHIR_PLACED) == (unit.row_count > 0));
    assert_true((unit.outcome == GW_FHIR_PLACED) == (unit.reason[0] == '\0'));
    for (int i = 0; i < unit.row_count; i++) {
        const struct gw_ward_spec *s = gw_ward_spec(unit.rows[i].table);
        t->rows++;
        for (int k = 0; k < s->count; k++) {
            const char *v = unit.rows[i].values[k];
            struct base_uuid id;
            if (v == NULL)
                continue;
            if (s->columns[k].type == GW_TYPE_MOMENT)
                assert_true(gw_is_moment(v) && strstr(source, v) != NULL);
            if (s->columns[k].type == GW_TYPE_UUID)
                assert_true(base_uuid_parse(&id, v, strlen(v)));
            if (s->columns[k].type == GW_TYPE_DECIMAL &&
                strcmp(s->columns[k].name, "period_hours") != 0) {
                assert_non_null(strstr(source, v));
                t->decimals++;
            }
        }
    }
}

static int each_text(void *user, uint64_t line, const char *text, size_t len, struct base_err *err)
{
    struct tally *t = user;
    struct gw_bundle *b = NULL;
    cJSON *parsed = NULL;
    struct base_err why = {0};
    assert_non_null(text);
    char *copy = strndup(text, len);
    assert_int_equal(gw_bundle_open(&b, text, len, &why), 0);
    for (int i = 0; b != NULL && i < gw_bundle_count(b); i++) {
        assert_int_equal(gw_bundle_entry(b, i, &parsed, &why), 0);
        const cJSON *resource = cJSON_GetObjectItemCaseSensitive(parsed, "resource");
        const cJSON *url = cJSON_GetObjectItemCaseSensitive(parsed, "fullUrl");
        base_arena_clear(&arena);
        if (resource != NULL) {
            map_parsed(resource, cJSON_IsString(url) ? url->valuestring : NULL, b);
            check_unit(t, copy);
        }
        cJSON_Delete(parsed);
        parsed = NULL;
    }
    if (b == NULL) {
        if (net_json_parse(&parsed, text, len, &why) != 0)
            fail_msg("%s:%llu: %s", t->path, (unsigned long long)line, why.text);
        base_arena_clear(&arena);
        map_parsed(parsed, NULL, NULL);
        check_unit(t, copy);
        cJSON_Delete(parsed);
    }
    gw_bundle_close(b);
    free(copy);
    return 0;
}

static void all_shared_data_is_placed_or_has_a_reason(void **state)
{
    const char *folder = getenv("EVERWARD_SHARED_DATA");
    struct gw_files files = {0};
    struct tally t = {0};
    if (folder == NULL)
        folder = EW_SOURCE_DIR "/../shared/data";
    const char *paths[] = {folder};
    if (gw_files_find(&files, paths, 1, NULL) != 0) {
        const char *ci = getenv("CI");
        if (ci != NULL && strcmp(ci, "true") == 0)
            fail_msg("%s is not there", folder);
        print_message("skipped: %s is not there\n", folder);
        skip();
    }
    for (int i = 0; i < files.count; i++) {
        t.path = files.list[i].path;
        assert_int_equal(gw_file_read(t.path, &t, each_text, NULL), 0);
    }
    print_message("%d resources: %d placed in %d rows, %d unplaced, %d refused, %d decimals\n",
                  t.resources, t.placed, t.rows, t.unplaced, t.refused, t.decimals);
    assert_int_equal(t.resources, t.placed + t.unplaced + t.refused);
    assert_int_equal(t.refused, 0);
    assert_true(t.placed > t.unplaced);
    gw_files_release(&files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decimals_keep_their_zeros_and_digits),
        cmocka_unit_test(a_number_that_the_column_would_rewrite_is_kept_as_json),
        cmocka_unit_test(less_than_five_is_not_five),
        cmocka_unit_test(blood_pressure_keeps_its_components_byte_for_byte),
        cmocka_unit_test(moments_keep_precision_and_offset),
        cmocka_unit_test(what_is_no_moment_is_refused),
        cmocka_unit_test(a_uuid_stays_the_id_and_others_are_derived_from_tenant_and_name),
        cmocka_unit_test(references_lead_to_the_same_id_in_each_form),
        cmocka_unit_test(a_fact_about_nobody_is_unplaced_with_the_reason),
        cmocka_unit_test(what_is_not_fhir_is_refused_with_the_element),
        cmocka_unit_test(what_may_mean_something_else_is_not_placed),
        cmocka_unit_test(no_known_allergies_is_a_row_of_its_own_kind),
        cmocka_unit_test(a_dose_comes_from_one_instruction_or_not_at_all),
        cmocka_unit_test(hours_from_dose_to_dose_are_exact_or_absent),
        cmocka_unit_test(an_orders_status_becomes_events),
        cmocka_unit_test(a_task_for_a_due_dose_is_a_slot_of_its_order),
        cmocka_unit_test(beds_of_a_stay_are_rows_and_other_places_are_told),
        cmocka_unit_test(a_patient_brings_each_identifier_as_a_fact),
        cmocka_unit_test(an_element_without_a_column_is_told_and_its_name_is_checked),
        cmocka_unit_test(staff_get_a_name_but_no_way_in),
        cmocka_unit_test(a_bundle_is_cut_at_its_entries_and_resolves_their_urls),
        cmocka_unit_test(broken_bundles_are_refused_and_other_things_are_none),
        cmocka_unit_test(all_shared_data_is_placed_or_has_a_reason),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
