/* What is measured: Observation, ServiceRequest, Specimen, DiagnosticReport. */
#include <stdio.h>
#include <string.h>

#include "sync/gateway/fhir/read.h"

static bool is(const char *s, const char *word)
{
    return s != NULL && strcmp(s, word) == 0;
}

static void note_more(struct gw_map *m, const cJSON *array, const char *element)
{
    if (array != NULL && cJSON_GetArraySize(array) > 1)
        gw_note(m, "%s: more than one", element);
}

/* effectiveDateTime, effectiveInstant or the start of effectivePeriod */
static const char *effective(struct gw_map *m)
{
    const cJSON *period = gw_object(m, m->resource, "effectivePeriod");
    const char *at = gw_moment(m, m->resource, "effectiveDateTime");
    if (at == NULL)
        at = gw_moment(m, m->resource, "effectiveInstant");
    if (at == NULL && period != NULL)
        at = gw_moment(m, period, "start");
    if (period != NULL && net_json_has(period, "end"))
        gw_note(m, "effectivePeriod.end: no column");
    return at;
}

static void keep_json(struct base_buf *b, const char *name, const cJSON *value)
{
    base_buf_char(b, b->len > 0 ? ',' : '{');
    base_buf_json_str(b, name);
    base_buf_char(b, ':');
    net_json_write(b, value);
}

static bool set_quantity(struct gw_map *m, struct gw_fhir_row *row, const cJSON *q)
{
    const char *unit = gw_string(m, q, "unit");
    const char *code = gw_string(m, q, "code");
    const char *system = gw_string(m, q, "system");
    gw_set(m, row, "value_unit", unit);
    gw_set(m, row, "value_unit_code", code);
    /* a number whose comparator ("<") or odd form stood elsewhere would be read as another value */
    bool plain = !net_json_has(q, "comparator") && !net_json_has(q, "extension");
    if (!plain || !gw_set_decimal(m, row, "value_decimal", gw_number(m, q, "value")))
        return false;
    return code == NULL || is(system, "http://unitsofmeasure.org");
}

/* The columns hold the common values; value_json holds whatever they would not give back whole. */
static void set_value(struct gw_map *m, struct gw_fhir_row *row)
{
    static const char *const whole[] = {"valueRange",  "valueRatio",       "valueSampledData",
                                        "valuePeriod", "dataAbsentReason", NULL};
    static const char *const texts[] = {"valueString", "valueTime", "valueDateTime", NULL};
    const cJSON *q = gw_object(m, m->resource, "valueQuantity");
    const cJSON *concept = gw_object(m, m->resource, "valueCodeableConcept");
    struct base_buf b;
    base_buf_init(&b, GW_FHIR_ARENA_BYTES_MAX);
    if (q != NULL && !set_quantity(m, row, q))
        keep_json(&b, "valueQuantity", q);
    if (concept != NULL) {
        const cJSON *codings = gw_array(m, concept, "coding");
        gw_set(m, row, "value_code", gw_concept(m, concept).code);
        gw_set(m, row, "value_text", gw_words(m, concept));
        if (codings != NULL && codings->child != NULL)
            keep_json(&b, "valueCodeableConcept", concept); /* its system, and all others */
    }
    for (int i = 0; texts[i] != NULL; i++)
        gw_set(m, row, "value_text", gw_string(m, m->resource, texts[i]));
    gw_set(m, row, "value_code",
           net_json_has(m->resource, "valueBoolean")
               ? (is(gw_bool(m, m->resource, "valueBoolean"), "t") ? "true" : "false")
               : NULL);
    const char *integer = gw_number(m, m->resource, "valueInteger");
    if (integer != NULL && !gw_set_decimal(m, row, "value_decimal", integer))
        gw_refuse(m, "valueInteger is no whole number");
    for (int i = 0; whole[i] != NULL; i++) {
        const cJSON *v = gw_object(m, m->resource, whole[i]);
        if (v != NULL)
            keep_json(&b, whole[i], v);
    }
    if (b.len > 0) {
        base_buf_char(&b, '}');
        gw_set(m, row, "value_json", gw_take(m, &b));
    } else {
        base_buf_release(&b);
    }
}

void gw_map_observation(struct gw_map *m)
{
    struct gw_fhir_row *row = gw_row(m, GW_WARD_OBSERVATION, NULL);
    const cJSON *kinds = gw_array(m, m->resource, "category");
    const cJSON *meanings = gw_array(m, m->resource, "interpretation");
    const cJSON *parts = gw_array(m, m->resource, "component");
    struct gw_coding code = gw_concept(m, gw_object(m, m->resource, "code"));
    const char *at = effective(m);
    if (code.code == NULL)
        gw_refuse(m, "it has no code");
    gw_set_patient(m, row, "subject");
    gw_set_ref(m, row, "encounter_id", gw_object(m, m->resource, "encounter"), "encounter",
               "Encounter");
    gw_set(m, row, "status", gw_string(m, m->resource, "status"));
    gw_set(m, row, "category", gw_concept(m, kinds != NULL ? kinds->child : NULL).code);
    note_more(m, kinds, "category");
    gw_set_coding(m, row, code);
    set_value(m, row);
    if (parts != NULL && parts->child != NULL)
        gw_set(m, row, "components", gw_json(m, parts));
    gw_set(m, row, "body_site", gw_words(m, gw_object(m, m->resource, "bodySite")));
    gw_set(m, row, "method", gw_words(m, gw_object(m, m->resource, "method")));
    gw_set(m, row, "interpretation", gw_concept(m, meanings != NULL ? meanings->child : NULL).code);
    note_more(m, meanings, "interpretation");
    gw_set_staff(m, row, "performed_by", gw_array(m, m->resource, "performer"), NULL, "performer");
    gw_set_clinical(m, row, at, gw_moment(m, m->resource, "issued"));
}

static bool laboratory(struct gw_map *m)
{
    static const char *const codes[] = {"108252007", "laboratory", "LAB", "lab", NULL};
    const cJSON *kinds = gw_array(m, m->resource, "category");
    for (const cJSON *e = kinds != NULL ? kinds->child : NULL; e != NULL; e = e->next)
        for (int i = 0; codes[i] != NULL; i++)
            if (gw_has_code(m, e, codes[i]))
                return true;
    return false;
}

void gw_map_service_request(struct gw_map *m)
{
    struct gw_fhir_row *row = gw_row(m, GW_WARD_LAB_ORDER, NULL);
    const char *intent = gw_string(m, m->resource, "intent");
    const char *at = gw_moment(m, m->resource, "authoredOn");
    if (!laboratory(m))
        gw_unplace(m, "its category is not the laboratory");
    if (intent == NULL || strstr(intent, "order") == NULL)
        gw_unplace(m, "its intent is no order");
    if (is(gw_bool(m, m->resource, "doNotPerform"), "t"))
        gw_unplace(m, "it orders that something is not done");
    gw_set_patient(m, row, "subject");
    gw_set_ref(m, row, "encounter_id", gw_object(m, m->resource, "encounter"), "encounter",
               "Encounter");
    gw_set(m, row, "status", gw_string(m, m->resource, "status"));
    gw_set_coding(m, row, gw_concept(m, gw_object(m, m->resource, "code")));
    gw_set(m, row, "priority", gw_string(m, m->resource, "priority"));
    gw_set_ref(m, row, "requester_id", gw_object(m, m->resource, "requester"), "requester",
               "Practitioner");
    gw_set(m, row, "ordered_at", at);
    gw_set(m, row, "note", gw_notes_text(m, m->resource, "note"));
    gw_set_clinical(m, row, at, at);
}

void gw_map_specimen(struct gw_map *m)
{
    struct gw_fhir_row *row = gw_row(m, GW_WARD_SPECIMEN, NULL);
    const cJSON *identifier = gw_object(m, m->resource, "accessionIdentifier");
    const cJSON *requests = gw_array(m, m->resource, "request");
    const cJSON *taking = gw_object(m, m->resource, "collection");
    struct gw_coding type = gw_concept(m, gw_object(m, m->resource, "type"));
    const char *at = NULL;
    if (identifier == NULL)
        identifier = gw_first(m, m->resource, "identifier");
    if (taking != NULL) {
        const cJSON *period = gw_object(m, taking, "collectedPeriod");
        at = gw_moment(m, taking, "collectedDateTime");
        if (at == NULL && period != NULL)
            at = gw_moment(m, period, "start");
        gw_set_ref(m, row, "collected_by", gw_object(m, taking, "collector"),
                   "collection.collector", "Practitioner");
        for (const cJSON *e = taking->child; e != NULL; e = e->next)
            if (!is(e->string, "collectedDateTime") && !is(e->string, "collector") &&
                !is(e->string, "collectedPeriod"))
                gw_note(m, "collection: method, quantity or site has no column");
    }
    gw_set_patient(m, row, "subject");
    gw_set_ref(m, row, "lab_order_id", requests != NULL ? requests->child : NULL, "request",
               "ServiceRequest");
    note_more(m, requests, "request");
    gw_set(m, row, "type_code", type.code);
    gw_set(m, row, "type_display", type.display);
    gw_set(m, row, "collected_at", at);
    gw_set(m, row, "identifier", identifier != NULL ? gw_string(m, identifier, "value") : NULL);
    gw_set_clinical(m, row, at, gw_moment(m, m->resource, "receivedTime"));
}

/* [{"observation":"<id>","display":"…"}, …] in the report's order */
static const char *results(struct gw_map *m)
{
    const cJSON *list = gw_array(m, m->resource, "result");
    struct base_buf b;
    base_buf_init(&b, GW_FHIR_ARENA_BYTES_MAX);
    for (const cJSON *e = list != NULL ? list->child : NULL; e != NULL && !m->failed; e = e->next) {
        char text[BASE_UUID_CHARS + 1];
        struct base_uuid id;
        const char *why;
        const char *display = gw_string(m, e, "display");
        const char *target = gw_target(m, e, &why);
        if (target == NULL) {
            gw_note(m, "result: %s", why);
            continue;
        }
        gw_fhir_id(&id, &m->ctx->tenant, "Observation", strchr(target, '/') + 1);
        base_uuid_format(&id, text);
        base_buf_printf(&b, "%s{\"observation\":\"%s\"", b.len > 0 ? "," : "[", text);
        if (display != NULL) {
            base_buf_str(&b, ",\"display\":");
            base_buf_json_str(&b, display);
        }
        base_buf_char(&b, '}');
    }
    if (b.len > 0 && !m->failed) {
        base_buf_char(&b, ']');
        return gw_take(m, &b);
    }
    base_buf_release(&b);
    return NULL;
}

void gw_map_diagnostic_report(struct gw_map *m)
{
    struct gw_fhir_row *row = gw_row(m, GW_WARD_LAB_RESULT, NULL);
    const cJSON *orders = gw_array(m, m->resource, "basedOn");
    const char *at = effective(m);
    const char *issued = gw_moment(m, m->resource, "issued");
    gw_set_patient(m, row, "subject");
    gw_set_ref(m, row, "encounter_id", gw_object(m, m->resource, "encounter"), "encounter",
               "Encounter");
    gw_set_ref(m, row, "lab_order_id", orders != NULL ? orders->child : NULL, "basedOn",
               "ServiceRequest");
    note_more(m, orders, "basedOn");
    gw_set(m, row, "status", gw_string(m, m->resource, "status"));
    gw_set_coding(m, row, gw_concept(m, gw_object(m, m->resource, "code")));
    gw_set(m, row, "conclusion", gw_string(m, m->resource, "conclusion"));
    gw_set(m, row, "results", results(m));
    gw_set(m, row, "issued_at", issued);
    gw_set_staff(m, row, "performed_by", gw_array(m, m->resource, "performer"), NULL, "performer");
    gw_set_clinical(m, row, at, issued);
}
