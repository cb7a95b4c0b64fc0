#include "sync/gateway/fhir/map.h"

#include <stdio.h>
#include <string.h>

#include "sync/gateway/fhir/read.h"

enum { ID_BYTES_MAX = 512 };

struct kind {
    const char *type;
    gw_map_cb map;
    const char *elements; /* what the map reads; anything else is told as left out */
};

/* In the order of loading. */
static const struct kind kinds[] = {
    {"Organization", gw_map_organization, "active name identifier partOf type"},
    {"Location", gw_map_location,
     "status name identifier partOf managingOrganization physicalType operationalStatus mode"},
    {"Practitioner", gw_map_practitioner, "active name"},
    {"PractitionerRole", gw_map_practitioner_role,
     "active practitioner organization code location"},
    {"Patient", gw_map_patient,
     "active name identifier telecom gender birthDate deceasedBoolean deceasedDateTime address "
     "maritalStatus contact communication link"},
    {"Encounter", gw_map_encounter,
     "status class type subject participant period reasonCode location"},
    {"AllergyIntolerance", gw_map_allergy,
     "clinicalStatus verificationStatus type category criticality code patient onsetDateTime "
     "recordedDate recorder reaction lastOccurrence"},
    {"Condition", gw_map_condition,
     "clinicalStatus verificationStatus category code subject encounter onsetDateTime onsetPeriod "
     "abatementDateTime recordedDate recorder note"},
    {"MedicationRequest", gw_map_medication_request,
     "status intent medicationCodeableConcept medicationReference subject encounter authoredOn "
     "requester recorder priority reasonCode note dosageInstruction doNotPerform extension"},
    {"Task", gw_map_task,
     "status intent priority code description for encounter executionPeriod restriction authoredOn "
     "lastModified requester owner location note focus input"},
    {"MedicationAdministration", gw_map_medication_administration,
     "status statusReason medicationCodeableConcept medicationReference subject context "
     "supportingInformation effectiveDateTime effectivePeriod performer reasonCode request dosage"},
    {"Appointment", gw_map_appointment,
     "status description start end participant reasonCode created"},
    {"ServiceRequest", gw_map_service_request,
     "status intent category priority code subject encounter authoredOn requester note "
     "doNotPerform"},
    {"Specimen", gw_map_specimen,
     "accessionIdentifier identifier type subject request collection receivedTime"},
    {"Observation", gw_map_observation,
     "status category code subject encounter effectiveDateTime effectiveInstant effectivePeriod "
     "issued performer valueQuantity valueCodeableConcept valueString valueBoolean valueInteger "
     "valueRange valueRatio valueSampledData valueTime valueDateTime valuePeriod dataAbsentReason "
     "interpretation bodySite method component"},
    {"DiagnosticReport", gw_map_diagnostic_report,
     "status code subject encounter effectiveDateTime effectivePeriod issued performer basedOn "
     "result conclusion"},
    {"DocumentReference", gw_map_document,
     "status docStatus type subject date author description content context relatesTo"},
    {"Composition", gw_map_composition,
     "status type subject encounter date author title section relatesTo"},
    {"AuditEvent", gw_map_audit, "type subtype action recorded outcome outcomeDesc agent entity"},
};

enum { KINDS = sizeof kinds / sizeof kinds[0] };

/* What every resource may have and nothing is lost with: the text repeats the content. */
static const char common[] = "resourceType id meta text language";

static bool listed(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = strstr(list, name); n > 0 && p != NULL; p = strstr(p + 1, name))
        if ((p == list || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
            return true;
    return false;
}

int gw_fhir_order(const char *type)
{
    int i = 0;
    while (i < KINDS && strcmp(kinds[i].type, type) != 0)
        i++;
    return i == KINDS && strcmp(type, "Bundle") == 0 ? KINDS + 1 : i;
}

/* A name that comes from the input is shown only if it looks like FHIR's. */
static bool showable(const char *name)
{
    size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    return n > 0 && n < GW_FHIR_TYPE_BYTES && name[n] == '\0';
}

static void note_the_rest(struct gw_map *m, const char *elements)
{
    for (const cJSON *e = m->resource->child; e != NULL && !m->failed; e = e->next) {
        const char *name = e->string + (e->string[0] == '_' ? 1 : 0);
        if (name != e->string && cJSON_IsObject(e))
            gw_note(m, "_%s: an extension of it", showable(name) ? name : "?");
        else if (!listed(common, name) && !listed(elements, name))
            gw_note(m, "%s: no column", showable(name) ? name : "an element that is not FHIR's");
    }
}

/* What stands for the resource's id: its own, else the uuid its bundle gave it. */
static const char *find_id(struct gw_map *m)
{
    const char *id = gw_string(m, m->resource, "id");
    const char *url = m->ctx->full_url;
    if (id == NULL && url != NULL && strncmp(url, "urn:uuid:", 9) == 0)
        id = url + 9;
    if (id == NULL && !m->failed)
        gw_refuse(m, "it has no id: a second import could not know it again");
    if (id != NULL && (strlen(id) > ID_BYTES_MAX || strchr(id, '/') != NULL))
        gw_refuse(m, "id is no FHIR id");
    return id;
}

static void map_kind(struct gw_map *m, const struct kind *kind)
{
    char key[GW_FHIR_TYPE_BYTES + 1 + ID_BYTES_MAX + 1];
    m->id = find_id(m);
    if (m->failed)
        return;
    if (cJSON_GetObjectItemCaseSensitive(m->resource, "modifierExtension") != NULL)
        gw_unplace(m, "it has a modifierExtension, which may change its meaning");
    else if (cJSON_GetObjectItemCaseSensitive(m->resource, "implicitRules") != NULL)
        gw_unplace(m, "it has implicitRules, which may change its meaning");
    if (m->failed)
        return;
    (void)snprintf(key, sizeof key, "%s/%s", kind->type, m->id);
    m->key = key;
    kind->map(m);
    note_the_rest(m, kind->elements);
    m->key = NULL;
}

int gw_fhir_map(struct gw_fhir_unit *out, const cJSON *resource, const struct gw_fhir_context *ctx,
                struct base_err *err)
{
    struct gw_map m = {.ctx = ctx, .out = out, .resource = resource};
    out->outcome = GW_FHIR_PLACED;
    out->reason[0] = '\0';
    out->row_count = out->note_count = 0;
    (void)snprintf(out->type, sizeof out->type, "?");
    const cJSON *type = cJSON_IsObject(resource)
                            ? cJSON_GetObjectItemCaseSensitive(resource, "resourceType")
                            : NULL;
    if (type == NULL || !cJSON_IsString(type) || !showable(type->valuestring)) {
        gw_refuse(&m, "it has no resourceType");
        return 0;
    }
    (void)snprintf(out->type, sizeof out->type, "%s", type->valuestring);
    int k = gw_fhir_order(out->type);
    if (k < KINDS)
        map_kind(&m, &kinds[k]);
    else
        gw_unplace(&m, "there is no table for this type");
    if (m.no_memory) {
        out->row_count = out->note_count = 0;
        return base_fail(err, BASE_ENOMEM, "a %s is too large to be mapped", out->type);
    }
    return 0;
}
