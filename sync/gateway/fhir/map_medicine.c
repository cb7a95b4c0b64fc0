/* Orders and doses: MedicationRequest, MedicationAdministration. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/gateway/fhir/read.h"

enum { PERIOD_PLACES_MAX = 6, PERIOD_DIGITS_MAX = 6 };

static bool is(const char *s, const char *word)
{
    return s != NULL && strcmp(s, word) == 0;
}

/* A medicine that is a resource of its own has no table: what the reference says stands as display,
 * so that nobody sees an order for nothing. */
static void set_medicine(struct gw_map *m, struct gw_fhir_row *row)
{
    const cJSON *ref = gw_object(m, m->resource, "medicationReference");
    struct gw_coding c = gw_concept(m, gw_object(m, m->resource, "medicationCodeableConcept"));
    const char *name = ref != NULL ? gw_string(m, ref, "reference") : NULL;
    const cJSON *inside = cJSON_GetObjectItemCaseSensitive(m->resource, "contained");
    if (ref == NULL) {
        gw_set_coding(m, row, c);
        return;
    }
    for (const cJSON *e = inside != NULL ? inside->child : NULL; e != NULL && name != NULL;
         e = e->next) {
        const char *id = gw_string(m, e, "id");
        if (name[0] == '#' && is(id, name + 1))
            c = gw_concept(m, gw_object(m, e, "code"));
    }
    if (c.display == NULL)
        c.display = gw_string(m, ref, "display") != NULL ? gw_string(m, ref, "display") : name;
    if (c.code == NULL)
        gw_note(m, "medicationReference: the medicine's code stands in another resource");
    gw_set_coding(m, row, c);
}

/* value, unit of a plain Quantity; false where a number alone would say something else. */
static bool set_dose(struct gw_map *m, struct gw_fhir_row *row, const cJSON *quantity)
{
    const char *unit = gw_string(m, quantity, "unit");
    const char *code = gw_string(m, quantity, "code");
    const char *value = gw_number(m, quantity, "value");
    if (value == NULL || net_json_has(quantity, "comparator") || (unit == NULL && code == NULL) ||
        !gw_set_decimal(m, row, "dose_quantity", value))
        return false;
    gw_set(m, row, "dose_unit", unit != NULL ? unit : code);
    return true;
}

static int64_t unit_seconds(const char *unit)
{
    static const struct {
        const char *unit;
        int64_t seconds;
    } units[] = {{"s", 1}, {"min", 60}, {"h", 3600}, {"d", 86400}, {"wk", 604800}};
    for (size_t i = 0; unit != NULL && i < sizeof units / sizeof units[0]; i++)
        if (strcmp(unit, units[i].unit) == 0)
            return units[i].seconds;
    return 0;
}

static int64_t small_number(const char *s)
{
    if (s == NULL || strlen(s) > PERIOD_DIGITS_MAX || strspn(s, "0123456789") != strlen(s))
        return 0;
    return strtoll(s, NULL, 10);
}

/* Hours from dose to dose, where the timing says exactly that and the figure is finite. */
static void set_period(struct gw_map *m, struct gw_fhir_row *row, const cJSON *repeat)
{
    static const char *const more[] = {"frequencyMax", "periodMax", "dayOfWeek", "when", NULL};
    int64_t seconds = unit_seconds(gw_string(m, repeat, "periodUnit")) *
                      small_number(gw_number(m, repeat, "period"));
    const char *often = gw_number(m, repeat, "frequency");
    int64_t parts = (often != NULL ? small_number(often) : 1) * 3600;
    char text[64];
    int places = 0;
    for (int i = 0; more[i] != NULL; i++)
        if (net_json_has(repeat, more[i]))
            return;
    if (seconds <= 0 || parts <= 0)
        return;
    while (seconds % parts != 0 && places < PERIOD_PLACES_MAX) {
        seconds *= 10;
        places++;
    }
    if (seconds % parts != 0)
        return;
    int64_t scale = 1;
    for (int i = 0; i < places; i++)
        scale *= 10;
    int64_t v = seconds / parts;
    char fraction[24]; /* behind a 1 that keeps its leading zeros */
    (void)snprintf(fraction, sizeof fraction, "%" PRId64, scale + v % scale);
    fraction[0] = '.';
    (void)snprintf(text, sizeof text, "%" PRId64 "%s", v / scale, places == 0 ? "" : fraction);
    gw_set(m, row, "period_hours", text);
}

/* The words of all instructions; one without words stands as it came. */
static const char *instructions(struct gw_map *m, const cJSON *list)
{
    struct base_buf b;
    base_buf_init(&b, GW_FHIR_ARENA_BYTES_MAX);
    for (const cJSON *e = list->child; e != NULL && !m->failed; e = e->next) {
        const char *text = gw_string(m, e, "text");
        const cJSON *timing = gw_object(m, e, "timing");
        const char *patient = gw_string(m, e, "patientInstruction");
        if (text == NULL && list->child->next == NULL)
            text = timing != NULL ? gw_words(m, gw_object(m, timing, "code")) : NULL;
        if (text == NULL)
            text = list->child->next != NULL ? gw_json(m, e) : timing ? gw_json(m, timing) : "";
        base_buf_printf(&b, "%s%s", b.len > 0 && text[0] != '\0' ? "; " : "", text);
        if (patient != NULL)
            base_buf_printf(&b, "%s%s", b.len > 0 ? "; " : "", patient);
    }
    if (b.len > 0 && !m->failed)
        return gw_take(m, &b);
    base_buf_release(&b);
    return NULL;
}

static const cJSON *ordered(struct gw_map *m, const cJSON *rates)
{
    const cJSON *best = NULL;
    if (rates == NULL || cJSON_GetArraySize(rates) == 1)
        return rates != NULL ? rates->child : NULL;
    for (const cJSON *e = rates->child; e != NULL; e = e->next)
        if (gw_has_code(m, gw_object(m, e, "type"), "ordered")) {
            if (best != NULL)
                return NULL;
            best = e;
        }
    return best;
}

/* Dose, unit and route come from one instruction or not at all: a dose from one and a unit from
 * another is an order that nobody wrote. What the columns cannot say is kept in the note. */
static const char *set_dosage(struct gw_map *m, struct gw_fhir_row *row, const cJSON *list)
{
    const cJSON *one = list->child;
    const cJSON *needed = cJSON_GetObjectItemCaseSensitive(one, "asNeededCodeableConcept");
    const char *as_needed = needed != NULL ? "t" : gw_bool(m, one, "asNeededBoolean");
    gw_set(m, row, "frequency_text", instructions(m, list));
    if (one->next != NULL)
        return gw_json(m, list);
    const cJSON *timing = gw_object(m, one, "timing");
    const cJSON *repeat = timing != NULL ? gw_object(m, timing, "repeat") : NULL;
    const cJSON *bounds = repeat != NULL ? gw_object(m, repeat, "boundsPeriod") : NULL;
    const cJSON *rates = gw_array(m, one, "doseAndRate");
    const cJSON *rate = ordered(m, rates);
    const cJSON *quantity = rate != NULL ? gw_object(m, rate, "doseQuantity") : NULL;
    bool whole = needed == NULL && (rates == NULL || rates->child == NULL || quantity != NULL);
    gw_set(m, row, "as_needed", as_needed);
    gw_set(m, row, "route", gw_words(m, gw_object(m, one, "route")));
    if (repeat != NULL)
        set_period(m, row, repeat);
    if (bounds != NULL) {
        gw_set(m, row, "start_at", gw_moment(m, bounds, "start"));
        gw_set(m, row, "end_at", gw_moment(m, bounds, "end"));
    }
    if (quantity != NULL && !set_dose(m, row, quantity))
        whole = false;
    for (const cJSON *e = rate != NULL ? rate->child : NULL; e != NULL; e = e->next)
        whole = whole && (strcmp(e->string, "type") == 0 || strcmp(e->string, "doseQuantity") == 0);
    for (const cJSON *e = one->child; e != NULL; e = e->next)
        whole = whole && (strncmp(e->string, "max", 3) != 0 && !is(e->string, "site") &&
                          !is(e->string, "method") && !is(e->string, "additionalInstruction"));
    return whole ? NULL : gw_json(m, list);
}

static void set_note(struct gw_map *m, struct gw_fhir_row *row, const char *dosage)
{
    const char *said = gw_notes_text(m, m->resource, "note");
    struct base_buf b;
    base_buf_init(&b, GW_FHIR_ARENA_BYTES_MAX);
    if (said != NULL)
        base_buf_str(&b, said);
    if (dosage != NULL)
        base_buf_printf(&b, "%sdosageInstruction: %s", said != NULL ? "\n" : "", dosage);
    if (b.len > 0 && !m->failed)
        gw_set(m, row, "note", gw_take(m, &b));
    else
        base_buf_release(&b);
}

static void add_event(struct gw_map *m, const char *action, const char *at)
{
    char name[32];
    char id[BASE_UUID_CHARS + 1];
    (void)snprintf(name, sizeof name, "event/%s", action);
    struct gw_fhir_row *row = gw_row(m, GW_WARD_ORDER_EVENT, name);
    if (row == NULL)
        return;
    base_uuid_format(&m->out->rows[0].id, id);
    gw_set(m, row, "order_id", id);
    gw_set(m, row, "patient_id",
           m->out->rows[0].values[gw_ward_column(GW_WARD_MEDICATION_ORDER, "patient_id")]);
    gw_set(m, row, "action", action);
    gw_set_clinical(m, row, at, NULL);
}

/* The order's status is the fold of its events; a plan or a draft has none. */
static void add_events(struct gw_map *m, const char *status, const char *intent, const char *at,
                       const char *end)
{
    static const struct {
        const char *status, *action;
    } last[] = {
        {"on-hold", "hold"}, {"stopped", "stop"}, {"cancelled", "stop"}, {"completed", "complete"}};
    if (intent == NULL || strstr(intent, "order") == NULL || status == NULL ||
        is(status, "draft") || is(status, "unknown") || is(status, "entered-in-error"))
        return;
    add_event(m, "activate", at);
    for (size_t i = 0; i < sizeof last / sizeof last[0]; i++)
        if (strcmp(status, last[i].status) == 0)
            add_event(m, last[i].action, end);
}

static const char *high_alert(struct gw_map *m)
{
    const char *said = NULL;
    const cJSON *list = gw_array(m, m->resource, "extension");
    for (const cJSON *e = list != NULL ? list->child : NULL; e != NULL; e = e->next) {
        if (is(gw_string(m, e, "url"), "urn:everward:high-alert"))
            said = gw_bool(m, e, "valueBoolean");
        else
            gw_note(m, "extension: no column");
    }
    return said;
}

void gw_map_medication_request(struct gw_map *m)
{
    struct gw_fhir_row *row = gw_row(m, GW_WARD_MEDICATION_ORDER, NULL);
    const char *status = gw_string(m, m->resource, "status");
    const char *intent = gw_string(m, m->resource, "intent");
    const char *at = gw_moment(m, m->resource, "authoredOn");
    const cJSON *dosage = gw_array(m, m->resource, "dosageInstruction");
    const cJSON *reasons = gw_array(m, m->resource, "reasonCode");
    const char *more = NULL;
    if (is(gw_bool(m, m->resource, "doNotPerform"), "t"))
        gw_unplace(m, "it orders that something is not given");
    gw_set_patient(m, row, "subject");
    gw_set_ref(m, row, "encounter_id", gw_object(m, m->resource, "encounter"), "encounter",
               "Encounter");
    gw_set(m, row, "status", status);
    gw_set(m, row, "intent", intent);
    set_medicine(m, row);
    if (dosage != NULL && dosage->child != NULL && !m->failed)
        more = set_dosage(m, row, dosage);
    set_note(m, row, more);
    gw_set(m, row, "high_alert", high_alert(m));
    gw_set_ref(m, row, "requester_id", gw_object(m, m->resource, "requester"), "requester",
               "Practitioner");
    gw_set_ref(m, row, "recorded_by", gw_object(m, m->resource, "recorder"), "recorder",
               "Practitioner");
    gw_set(m, row, "priority", gw_string(m, m->resource, "priority"));
    gw_set(m, row, "reason_text", gw_words(m, reasons != NULL ? reasons->child : NULL));
    if (reasons != NULL && cJSON_GetArraySize(reasons) > 1)
        gw_note(m, "reasonCode: more than one");
    gw_set_clinical(m, row, at, at);
    if (!m->failed)
        add_events(m, status, intent, at,
                   row->values[gw_ward_column(GW_WARD_MEDICATION_ORDER, "end_at")]);
}

static void set_slot(struct gw_map *m, struct gw_fhir_row *row)
{
    const cJSON *list = gw_array(m, m->resource, "supportingInformation");
    bool set = false;
    for (const cJSON *e = list != NULL ? list->child : NULL; e != NULL && !m->failed; e = e->next) {
        const char *why;
        const char *target = gw_target(m, e, &why);
        if (!set && target != NULL && strncmp(target, "Task/", 5) == 0) {
            gw_set_ref(m, row, "slot_id", e, "supportingInformation", "Task");
            set = true;
        } else {
            gw_note(m, "supportingInformation: no column");
        }
    }
}

static void set_performers(struct gw_map *m, struct gw_fhir_row *row)
{
    const cJSON *list = gw_array(m, m->resource, "performer");
    bool given = false;
    bool witnessed = false;
    for (const cJSON *e = list != NULL ? list->child : NULL; e != NULL && !m->failed; e = e->next) {
        const cJSON *actor = gw_object(m, e, "actor");
        const cJSON *function = gw_object(m, e, "function");
        bool witness = gw_has_code(m, function, "verifier") || gw_has_code(m, function, "witness");
        if (witness ? witnessed : given) {
            gw_note(m, "performer: more than one");
            continue;
        }
        gw_set_ref(m, row, witness ? "witness_id" : "performed_by", actor, "performer",
                   "Practitioner");
        *(witness ? &witnessed : &given) = true;
    }
}

static void set_amount(struct gw_map *m, struct gw_fhir_row *row)
{
    const cJSON *dosage = gw_object(m, m->resource, "dosage");
    const cJSON *dose = dosage != NULL ? gw_object(m, dosage, "dose") : NULL;
    if (dosage == NULL)
        return;
    gw_set(m, row, "route", gw_words(m, gw_object(m, dosage, "route")));
    if (dose != NULL && !set_dose(m, row, dose))
        gw_note(m, "dosage.dose: no plain number with a unit");
    for (const cJSON *e = dosage->child; e != NULL; e = e->next)
        if (!is(e->string, "dose") && !is(e->string, "route"))
            gw_note(m, "dosage: text, site, method or rate has no column");
}

void gw_map_medication_administration(struct gw_map *m)
{
    static const char *const statuses[] = {"completed", "not-done", "in-progress",
                                           "on-hold",   "stopped",  "entered-in-error",
                                           "unknown",   NULL};
    struct gw_fhir_row *row = gw_row(m, GW_WARD_MEDICATION_ADMINISTRATION, NULL);
    const char *status = gw_code_of(m, m->resource, "status", statuses);
    const cJSON *period = gw_object(m, m->resource, "effectivePeriod");
    const char *at = gw_moment(m, m->resource, "effectiveDateTime");
    const cJSON *why = gw_first(m, m->resource, "statusReason");
    const cJSON *reason = gw_first(m, m->resource, "reasonCode");
    if (at == NULL && period != NULL) {
        at = gw_moment(m, period, "start");
        if (net_json_has(period, "end") && !is(gw_string(m, period, "end"), at != NULL ? at : ""))
            gw_note(m, "effectivePeriod.end: no column");
    }
    gw_set_patient(m, row, "subject");
    gw_set_ref(m, row, "encounter_id", gw_object(m, m->resource, "context"), "context",
               "Encounter");
    gw_set_ref(m, row, "order_id", gw_object(m, m->resource, "request"), "request",
               "MedicationRequest");
    set_slot(m, row);
    gw_set(m, row, "status", status);
    set_medicine(m, row);
    set_amount(m, row);
    if (why != NULL && reason != NULL)
        gw_note(m, "reasonCode: beside statusReason");
    gw_set(m, row, "reason_code", gw_concept(m, why != NULL ? why : reason).code);
    gw_set(m, row, "reason_text", gw_words(m, why != NULL ? why : reason));
    set_performers(m, row);
    gw_set_clinical(m, row, at, NULL);
}
