/* What happens to a patient in a stay: Encounter, AllergyIntolerance, Condition, Task, Appointment.
 */
#include <stdio.h>
#include <string.h>

#include "sync/gateway/fhir/read.h"

enum { NAME_BYTES_MAX = 4096 };

static bool is(const char *s, const char *word)
{
    return s != NULL && strcmp(s, word) == 0;
}

static const char *code(struct gw_map *m, const char *element)
{
    return gw_concept(m, gw_object(m, m->resource, element)).code;
}

static void note_more(struct gw_map *m, const cJSON *array, const char *element)
{
    if (array != NULL && cJSON_GetArraySize(array) > 1)
        gw_note(m, "%s: more than one", element);
}

/* A place of a stay: a bed unless it says that it is something else. */
static void add_bed(struct gw_map *m, const cJSON *e, const cJSON *ref, const char *ended)
{
    static const char *const statuses[] = {"planned", "active", "reserved", "completed", NULL};
    char name[NAME_BYTES_MAX];
    char id[BASE_UUID_CHARS + 1];
    const char *why;
    const cJSON *physical = gw_object(m, e, "physicalType");
    const cJSON *period = gw_object(m, e, "period");
    const char *status = gw_code_of(m, e, "status", statuses);
    const char *start = period != NULL ? gw_moment(m, period, "start") : NULL;
    const char *end = period != NULL ? gw_moment(m, period, "end") : NULL;
    const char *target = gw_target(m, ref, &why);
    if (physical != NULL && !gw_has_code(m, physical, "bd")) {
        gw_note(m, "location: a place that is no bed");
        return;
    }
    (void)snprintf(name, sizeof name, "bed/%s/%s", target != NULL ? target : "",
                   start != NULL ? start : "");
    struct gw_fhir_row *row = gw_row(m, GW_WARD_BED_STAY, name);
    if (row == NULL)
        return;
    base_uuid_format(&m->out->rows[0].id, id);
    gw_set(m, row, "patient_id",
           m->out->rows[0].values[gw_ward_column(GW_WARD_ENCOUNTER, "patient_id")]);
    gw_set(m, row, "encounter_id", id);
    gw_set_ref(m, row, "location_id", ref, "location", "Location");
    gw_set(m, row, "started_at", start);
    gw_set(m, row, "ended_at", end);
    if (is(status, "reserved"))
        status = "planned";
    if (status == NULL)
        status = end != NULL || ended != NULL ? "completed" : "active";
    gw_set(m, row, "status", status);
    gw_set_clinical(m, row, start, NULL);
}

/* encounter.location_id: where the patient is now, else where he was last. */
static void set_places(struct gw_map *m, struct gw_fhir_row *row, const char *ended)
{
    const cJSON *list = gw_array(m, m->resource, "location");
    const cJSON *now = NULL;
    bool active = false;
    for (const cJSON *e = list != NULL ? list->child : NULL; e != NULL && !m->failed; e = e->next) {
        const char *why;
        const cJSON *ref = gw_object(m, e, "location");
        const char *target = ref != NULL ? gw_target(m, ref, &why) : NULL;
        if (m->failed)
            return;
        if (target == NULL || (target[0] != '*' && strncmp(target, "Location/", 9) != 0)) {
            gw_note(m, "location: %s", ref != NULL && target == NULL ? why : "is missing");
            continue;
        }
        add_bed(m, e, ref, ended);
        if (!active)
            now = ref;
        active = active || is(gw_string(m, e, "status"), "active");
    }
    gw_set_ref(m, row, "location_id", now, "location", "Location");
}

static void set_attending(struct gw_map *m, struct gw_fhir_row *row)
{
    const cJSON *list = gw_array(m, m->resource, "participant");
    const cJSON *best = list != NULL ? list->child : NULL;
    for (const cJSON *e = best; e != NULL; e = e->next) {
        const cJSON *types = gw_array(m, e, "type");
        for (const cJSON *t = types != NULL ? types->child : NULL; t != NULL; t = t->next)
            if (gw_has_code(m, t, "ATND"))
                best = e;
    }
    note_more(m, list, "participant");
    if (best != NULL)
        gw_set_ref(m, row, "attending_id", gw_object(m, best, "individual"), "participant",
                   "Practitioner");
}

void gw_map_encounter(struct gw_map *m)
{
    static const char *const statuses[] = {"planned", "arrived",  "triaged",   "in-progress",
                                           "onleave", "finished", "cancelled", "entered-in-error",
                                           "unknown", NULL};
    struct gw_fhir_row *row = gw_row(m, GW_WARD_ENCOUNTER, NULL);
    const cJSON *class = gw_object(m, m->resource, "class");
    const cJSON *types = gw_array(m, m->resource, "type");
    const cJSON *reasons = gw_array(m, m->resource, "reasonCode");
    const cJSON *period = gw_object(m, m->resource, "period");
    const char *start = period != NULL ? gw_moment(m, period, "start") : NULL;
    const char *end = period != NULL ? gw_moment(m, period, "end") : NULL;
    struct gw_coding type = gw_concept(m, types != NULL ? types->child : NULL);
    gw_set_patient(m, row, "subject");
    gw_set(m, row, "status", gw_code_of(m, m->resource, "status", statuses));
    gw_set(m, row, "class_code", class != NULL ? gw_string(m, class, "code") : NULL);
    gw_set(m, row, "type_code", type.code);
    gw_set(m, row, "type_display", type.display);
    note_more(m, types, "type");
    gw_set(m, row, "started_at", start);
    gw_set(m, row, "ended_at", end);
    gw_set(m, row, "reason_code", gw_concept(m, reasons != NULL ? reasons->child : NULL).code);
    gw_set(m, row, "reason_text", gw_words(m, reasons != NULL ? reasons->child : NULL));
    note_more(m, reasons, "reasonCode");
    set_attending(m, row);
    gw_set_clinical(m, row, start, NULL);
    set_places(m, row, end);
}

/* "None known" is said by a code: SNOMED CT's family of them and the international patient
 * summary's. */
static bool none_known(struct gw_map *m, const cJSON *concept)
{
    static const char *const codes[] = {"716186003",
                                        "409137002",
                                        "428607008",
                                        "429625007",
                                        "428197003",
                                        "716184000",
                                        "716220001",
                                        "1003774007",
                                        "no-known-allergies",
                                        "no-known-medication-allergies",
                                        "no-known-food-allergies",
                                        "no-known-environmental-allergies",
                                        NULL};
    for (int i = 0; codes[i] != NULL; i++)
        if (gw_has_code(m, concept, codes[i]))
            return true;
    return false;
}

static const char *categories(struct gw_map *m)
{
    struct base_buf b;
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(m->resource, "category");
    base_buf_init(&b, GW_FHIR_ARENA_BYTES_MAX);
    if (list != NULL && !cJSON_IsArray(list))
        gw_refuse(m, "category must be an array");
    for (const cJSON *e = list != NULL ? list->child : NULL; e != NULL && !m->failed; e = e->next) {
        if (!cJSON_IsString(e))
            gw_refuse(m, "category must be an array of codes");
        else
            base_buf_printf(&b, "%s%s", b.len > 0 ? " " : "", e->valuestring);
    }
    if (b.len > 0 && !m->failed)
        return gw_take(m, &b);
    base_buf_release(&b);
    return NULL;
}

/* "Urticaria (severe); Wheeze: after the second dose" */
static const char *reactions(struct gw_map *m)
{
    struct base_buf b;
    const cJSON *list = gw_array(m, m->resource, "reaction");
    base_buf_init(&b, GW_FHIR_ARENA_BYTES_MAX);
    for (const cJSON *r = list != NULL ? list->child : NULL; r != NULL && !m->failed; r = r->next) {
        const cJSON *what = gw_array(m, r, "manifestation");
        const char *severity = gw_string(m, r, "severity");
        const char *said = gw_string(m, r, "description");
        base_buf_str(&b, b.len > 0 ? "; " : "");
        for (const cJSON *e = what != NULL ? what->child : NULL; e != NULL; e = e->next) {
            const char *words = gw_words(m, e);
            base_buf_printf(&b, "%s%s", e != what->child ? ", " : "", words != NULL ? words : "");
        }
        if (severity != NULL)
            base_buf_printf(&b, " (%s)", severity);
        if (said != NULL)
            base_buf_printf(&b, ": %s", said);
        if (net_json_has(r, "substance") || net_json_has(r, "onset") || net_json_has(r, "note") ||
            net_json_has(r, "exposureRoute"))
            gw_note(m, "reaction: substance, onset, route or note has no column");
    }
    if (b.len > 0 && !m->failed)
        return gw_take(m, &b);
    base_buf_release(&b);
    return NULL;
}

void gw_map_allergy(struct gw_map *m)
{
    struct gw_fhir_row *row = gw_row(m, GW_WARD_ALLERGY, NULL);
    const cJSON *concept = gw_object(m, m->resource, "code");
    const cJSON *recorder = gw_object(m, m->resource, "recorder");
    gw_set_patient(m, row, "patient");
    gw_set(m, row, "kind", none_known(m, concept) ? "none-known" : "allergy");
    gw_set(m, row, "clinical_status", code(m, "clinicalStatus"));
    gw_set(m, row, "verification_status", code(m, "verificationStatus"));
    gw_set(m, row, "type", gw_string(m, m->resource, "type"));
    gw_set(m, row, "category", categories(m));
    gw_set(m, row, "criticality", gw_string(m, m->resource, "criticality"));
    gw_set_coding(m, row, gw_concept(m, concept));
    gw_set(m, row, "reaction_text", reactions(m));
    gw_set(m, row, "onset_at", gw_moment(m, m->resource, "onsetDateTime"));
    gw_set_ref(m, row, "recorded_by", recorder, "recorder", "Practitioner");
    gw_set_clinical(m, row, gw_moment(m, m->resource, "lastOccurrence"),
                    gw_moment(m, m->resource, "recordedDate"));
}

void gw_map_condition(struct gw_map *m)
{
    struct gw_fhir_row *row = gw_row(m, GW_WARD_CONDITION, NULL);
    const cJSON *kinds = gw_array(m, m->resource, "category");
    const cJSON *period = gw_object(m, m->resource, "onsetPeriod");
    const char *onset = gw_moment(m, m->resource, "onsetDateTime");
    if (onset == NULL && period != NULL)
        onset = gw_moment(m, period, "start");
    gw_set_patient(m, row, "subject");
    gw_set_ref(m, row, "encounter_id", gw_object(m, m->resource, "encounter"), "encounter",
               "Encounter");
    gw_set(m, row, "clinical_status", code(m, "clinicalStatus"));
    gw_set(m, row, "verification_status", code(m, "verificationStatus"));
    gw_set(m, row, "category", gw_concept(m, kinds != NULL ? kinds->child : NULL).code);
    note_more(m, kinds, "category");
    gw_set_coding(m, row, gw_concept(m, gw_object(m, m->resource, "code")));
    gw_set(m, row, "onset_at", onset);
    gw_set(m, row, "abated_at", gw_moment(m, m->resource, "abatementDateTime"));
    gw_set(m, row, "note", gw_notes_text(m, m->resource, "note"));
    gw_set_ref(m, row, "recorded_by", gw_object(m, m->resource, "recorder"), "recorder",
               "Practitioner");
    gw_set_clinical(m, row, onset, gw_moment(m, m->resource, "recordedDate"));
}

static const char *dose_number(struct gw_map *m)
{
    const cJSON *inputs = gw_array(m, m->resource, "input");
    for (const cJSON *e = inputs != NULL ? inputs->child : NULL; e != NULL; e = e->next)
        if (gw_has_code(m, gw_object(m, e, "type"), "dose-number"))
            return gw_number(m, e, "valuePositiveInt");
    return NULL;
}

/* A due dose is a fact derived from its order. One that is off says nothing that can be kept. */
static void due_dose(struct gw_map *m, const char *status, const char *due)
{
    struct gw_fhir_row *row = gw_row(m, GW_WARD_DOSE_SLOT, NULL);
    const cJSON *focus = gw_object(m, m->resource, "focus");
    const char *number = dose_number(m);
    const char *why;
    const char *target = focus != NULL ? gw_target(m, focus, &why) : NULL;
    if (is(status, "cancelled") || is(status, "rejected") || is(status, "entered-in-error"))
        gw_unplace(m, "a due dose that was called off");
    if (due == NULL)
        gw_unplace(m, "a due dose without its time");
    if (target == NULL || strncmp(target, "MedicationRequest/", 18) != 0)
        gw_unplace(m, "a due dose without its order");
    if (number != NULL && (strlen(number) > 9 || strspn(number, "0123456789") != strlen(number)))
        gw_refuse(m, "valuePositiveInt is no positive whole number");
    gw_set_ref(m, row, "order_id", focus, "focus", "MedicationRequest");
    gw_set_patient(m, row, "for");
    gw_set(m, row, "due_at", due);
    gw_set(m, row, "number", number);
    gw_set_clinical(m, row, due, gw_moment(m, m->resource, "authoredOn"));
}

void gw_map_task(struct gw_map *m)
{
    const cJSON *concept = gw_object(m, m->resource, "code");
    const cJSON *period = gw_object(m, m->resource, "executionPeriod");
    const cJSON *limit = gw_object(m, m->resource, "restriction");
    const cJSON *until = limit != NULL ? gw_object(m, limit, "period") : NULL;
    const char *start = period != NULL ? gw_moment(m, period, "start") : NULL;
    const char *due = until != NULL ? gw_moment(m, until, "end") : NULL;
    const char *status = gw_string(m, m->resource, "status");
    if (gw_has_code(m, concept, "due-dose")) {
        due_dose(m, status, start);
        return;
    }
    struct gw_fhir_row *row = gw_row(m, GW_WARD_TASK, NULL);
    const char *words = gw_string(m, m->resource, "description");
    gw_set_ref(m, row, "patient_id", gw_object(m, m->resource, "for"), "for", "Patient");
    gw_set_ref(m, row, "encounter_id", gw_object(m, m->resource, "encounter"), "encounter",
               "Encounter");
    gw_set(m, row, "status", status);
    gw_set(m, row, "intent", gw_string(m, m->resource, "intent"));
    gw_set(m, row, "priority", gw_string(m, m->resource, "priority"));
    gw_set(m, row, "code", gw_concept(m, concept).code);
    gw_set(m, row, "description", words != NULL ? words : gw_words(m, concept));
    gw_set(m, row, "due_at", due != NULL ? due : start);
    gw_set_ref(m, row, "owner_id", gw_object(m, m->resource, "owner"), "owner", "Practitioner");
    gw_set_ref(m, row, "location_id", gw_object(m, m->resource, "location"), "location",
               "Location");
    gw_set(m, row, "note", gw_notes_text(m, m->resource, "note"));
    gw_set_ref(m, row, "recorded_by", gw_object(m, m->resource, "requester"), "requester",
               "Practitioner");
    if (net_json_has(m->resource, "focus"))
        gw_note(m, "focus: no column");
    if (net_json_has(m->resource, "input"))
        gw_note(m, "input: no column");
    gw_set_clinical(m, row, start, gw_moment(m, m->resource, "authoredOn"));
    (void)gw_moment(m, m->resource, "lastModified");
}

void gw_map_appointment(struct gw_map *m)
{
    static const struct {
        const char *type, *column;
    } who[] = {{"Patient", "patient_id"},
               {"Practitioner", "practitioner_id"},
               {"Location", "location_id"}};
    struct gw_fhir_row *row = gw_row(m, GW_WARD_APPOINTMENT, NULL);
    const cJSON *list = gw_array(m, m->resource, "participant");
    const cJSON *reasons = gw_array(m, m->resource, "reasonCode");
    const char *start = gw_moment(m, m->resource, "start");
    for (const cJSON *e = list != NULL ? list->child : NULL; e != NULL && !m->failed; e = e->next) {
        const char *why;
        const cJSON *actor = gw_object(m, e, "actor");
        const char *target = actor != NULL ? gw_target(m, actor, &why) : NULL;
        bool set = false;
        for (size_t i = 0; target != NULL && !m->failed && i < sizeof who / sizeof who[0]; i++) {
            if (strncmp(target, who[i].type, strcspn(target, "/")) != 0 ||
                row->values[gw_ward_column(GW_WARD_APPOINTMENT, who[i].column)] != NULL)
                continue;
            gw_set_ref(m, row, who[i].column, actor, "participant", who[i].type);
            set = true;
        }
        if (!set)
            gw_note(m, "participant: one that has no column");
    }
    gw_set(m, row, "status", gw_string(m, m->resource, "status"));
    gw_set(m, row, "description", gw_string(m, m->resource, "description"));
    gw_set(m, row, "start_at", start);
    gw_set(m, row, "end_at", gw_moment(m, m->resource, "end"));
    gw_set(m, row, "reason_text", gw_words(m, reasons != NULL ? reasons->child : NULL));
    note_more(m, reasons, "reasonCode");
    gw_set_clinical(m, row, start, gw_moment(m, m->resource, "created"));
}
