/* What is written: DocumentReference, Composition, AuditEvent. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/gateway/fhir/read.h"

static bool is(const char *s, const char *word)
{
    return s != NULL && strcmp(s, word) == 0;
}

/* Only an addendum to another note of ours; what it replaces is not told. */
static void set_addendum(struct gw_map *m, struct gw_fhir_row *row, const char *type)
{
    const cJSON *list = gw_array(m, m->resource, "relatesTo");
    for (const cJSON *e = list != NULL ? list->child : NULL; e != NULL && !m->failed; e = e->next) {
        const cJSON *target = cJSON_GetObjectItemCaseSensitive(e, "target");
        if (target == NULL)
            target = cJSON_GetObjectItemCaseSensitive(e, "targetReference");
        if (is(gw_string(m, e, "code"), "appends") && cJSON_IsObject(target))
            gw_set_ref(m, row, "addendum_to_id", target, "relatesTo", type);
        else
            gw_note(m, "relatesTo: no column");
    }
}

static const char *note_status(const char *s)
{
    if (is(s, "entered-in-error"))
        return s;
    return is(s, "preliminary") ? "draft" : "signed";
}

/* Sections with their titles, depth first. The narrative stays XHTML as it was written. */
static void add_sections(struct gw_map *m, struct base_buf *b, const cJSON *list)
{
    for (const cJSON *e = list != NULL ? list->child : NULL; e != NULL && !m->failed; e = e->next) {
        const char *title = gw_string(m, e, "title");
        const cJSON *text = gw_object(m, e, "text");
        const char *div = text != NULL ? gw_string(m, text, "div") : NULL;
        if (title != NULL)
            base_buf_printf(b, "%s%s\n", b->len > 0 ? "\n" : "", title);
        if (div != NULL)
            base_buf_printf(b, "%s\n", div);
        if (net_json_has(e, "entry"))
            gw_note(m, "section.entry: no column");
        add_sections(m, b, gw_array(m, e, "section"));
    }
}

void gw_map_composition(struct gw_map *m)
{
    struct gw_fhir_row *row = gw_row(m, GW_WARD_NOTE, NULL);
    const char *at = gw_moment(m, m->resource, "date");
    struct base_buf b;
    gw_set_patient(m, row, "subject");
    gw_set_ref(m, row, "encounter_id", gw_object(m, m->resource, "encounter"), "encounter",
               "Encounter");
    gw_set(m, row, "status", note_status(gw_string(m, m->resource, "status")));
    gw_set(m, row, "kind", gw_words(m, gw_object(m, m->resource, "type")));
    gw_set(m, row, "title", gw_string(m, m->resource, "title"));
    base_buf_init(&b, GW_FHIR_ARENA_BYTES_MAX);
    add_sections(m, &b, gw_array(m, m->resource, "section"));
    gw_set(m, row, "body", b.len > 0 ? gw_take(m, &b) : NULL);
    base_buf_release(&b);
    set_addendum(m, row, "Composition");
    gw_set_staff(m, row, "performed_by", gw_array(m, m->resource, "author"), NULL, "author");
    gw_set_clinical(m, row, at, at);
}

static int sextet(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *p = c != '\0' ? strchr(digits, c) : NULL;
    return p != NULL ? (int)(p - digits) : -1;
}

/* Text of an attachment, or NULL if it is not base64 of UTF-8 without NUL. */
static const char *decoded(struct gw_map *m, const char *data)
{
    struct base_buf b;
    unsigned bits = 0;
    int have = 0;
    base_buf_init(&b, GW_FHIR_ARENA_BYTES_MAX);
    for (; *data != '\0' && *data != '='; data++) {
        int v = sextet(*data);
        if (v < 0)
            break;
        bits = (bits << 6 | (unsigned)v) & 0xffffff;
        have += 6;
        if (have >= 8) {
            have -= 8;
            base_buf_char(&b, (char)(bits >> have & 0xff));
        }
    }
    bool whole = *data == '\0' || *data == '=';
    cJSON *check = NULL;
    struct base_buf quoted;
    base_buf_init(&quoted, GW_FHIR_ARENA_BYTES_MAX);
    if (whole && b.len > 0 && memchr(b.data, '\0', b.len) == NULL)
        base_buf_json(&quoted, b.data, b.len);
    /* the strict parser is who knows UTF-8 */
    bool text = quoted.len > 0 && net_json_parse(&check, quoted.data, quoted.len, NULL) == 0;
    cJSON_Delete(check);
    base_buf_release(&quoted);
    if (text)
        return gw_take(m, &b);
    base_buf_release(&b);
    return NULL;
}

static void set_content(struct gw_map *m, struct gw_fhir_row *row)
{
    const cJSON *list = gw_array(m, m->resource, "content");
    const cJSON *first = list != NULL ? list->child : NULL;
    const cJSON *file = first != NULL ? gw_object(m, first, "attachment") : NULL;
    const char *title = gw_string(m, m->resource, "description");
    if (first != NULL && first->next != NULL)
        gw_note(m, "content: more than one");
    if (file != NULL) {
        const char *type = gw_string(m, file, "contentType");
        const char *data = gw_string(m, file, "data");
        const char *body = NULL;
        if (data != NULL && type != NULL && strncmp(type, "text/", 5) == 0)
            body = decoded(m, data);
        if (data != NULL && body == NULL)
            gw_note(m, "content.attachment.data: not text");
        gw_set(m, row, "body", body != NULL ? body : gw_string(m, file, "url"));
        if (title == NULL)
            title = gw_string(m, file, "title");
    }
    gw_set(m, row, "title", title);
}

void gw_map_document(struct gw_map *m)
{
    struct gw_fhir_row *row = gw_row(m, GW_WARD_NOTE, NULL);
    const cJSON *context = gw_object(m, m->resource, "context");
    const cJSON *stays = context != NULL ? gw_array(m, context, "encounter") : NULL;
    const char *at = gw_moment(m, m->resource, "date");
    const char *status = gw_string(m, m->resource, "status");
    const char *written = gw_string(m, m->resource, "docStatus");
    gw_set_patient(m, row, "subject");
    gw_set_ref(m, row, "encounter_id", stays != NULL ? stays->child : NULL, "context.encounter",
               "Encounter");
    gw_set(m, row, "status", note_status(is(status, "entered-in-error") ? status : written));
    gw_set(m, row, "kind", gw_words(m, gw_object(m, m->resource, "type")));
    set_content(m, row);
    set_addendum(m, row, "DocumentReference");
    gw_set_staff(m, row, "performed_by", gw_array(m, m->resource, "author"), NULL, "author");
    gw_set_clinical(m, row, at, at);
}

/* The ward table that holds a FHIR type, for audit_event.table_name. */
static const char *table_of(const char *target)
{
    static const char *const tables[][2] = {
        {"Patient", "patient"},
        {"Encounter", "encounter"},
        {"Observation", "observation"},
        {"AllergyIntolerance", "allergy"},
        {"Condition", "condition"},
        {"MedicationRequest", "medication_order"},
        {"MedicationAdministration", "medication_administration"},
        {"Task", "task"},
        {"Appointment", "appointment"},
        {"ServiceRequest", "lab_order"},
        {"Specimen", "specimen"},
        {"DiagnosticReport", "lab_result"},
        {"DocumentReference", "note"},
        {"Composition", "note"},
        {"Location", "location"},
        {"Practitioner", "staff"},
    };
    size_t n = strcspn(target, "/");
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        if (strlen(tables[i][0]) == n && memcmp(tables[i][0], target, n) == 0)
            return tables[i][1];
    return NULL;
}

static void set_entities(struct gw_map *m, struct gw_fhir_row *row)
{
    const cJSON *list = gw_array(m, m->resource, "entity");
    bool set = false;
    for (const cJSON *e = list != NULL ? list->child : NULL; e != NULL && !m->failed; e = e->next) {
        const char *why;
        const cJSON *what = gw_object(m, e, "what");
        const char *target = what != NULL ? gw_target(m, what, &why) : NULL;
        const char *table = target != NULL ? table_of(target) : NULL;
        if (m->failed)
            return;
        if (table == NULL) {
            gw_note(m, "entity: names no row");
            continue;
        }
        if (is(table, "patient") &&
            row->values[gw_ward_column(GW_WARD_AUDIT_EVENT, "patient_id")] == NULL)
            gw_set_ref(m, row, "patient_id", what, "entity", "Patient");
        if (!set) {
            char id[BASE_UUID_CHARS + 1];
            char type[GW_FHIR_TYPE_BYTES];
            struct base_uuid u;
            (void)snprintf(type, sizeof type, "%.*s", (int)strcspn(target, "/"), target);
            gw_fhir_id(&u, &m->ctx->tenant, type, strchr(target, '/') + 1);
            base_uuid_format(&u, id);
            gw_set(m, row, "table_name", table);
            gw_set(m, row, "row_id", id);
        }
        set = true;
    }
}

static const char *detail(struct gw_map *m)
{
    struct base_buf b;
    const cJSON *type = gw_object(m, m->resource, "type");
    const cJSON *sub = gw_first(m, m->resource, "subtype");
    const char *parts[3] = {NULL, NULL, gw_string(m, m->resource, "outcomeDesc")};
    const cJSON *codings[2] = {type, sub};
    base_buf_init(&b, GW_FHIR_ARENA_BYTES_MAX);
    for (int i = 0; i < 2; i++) {
        parts[i] = codings[i] != NULL ? gw_string(m, codings[i], "display") : NULL;
        if (parts[i] == NULL && codings[i] != NULL)
            parts[i] = gw_string(m, codings[i], "code");
    }
    for (int i = 0; i < 3; i++)
        if (parts[i] != NULL)
            base_buf_printf(&b, "%s%s", b.len > 0 ? ": " : "", parts[i]);
    if (b.len > 0 && !m->failed)
        return gw_take(m, &b);
    base_buf_release(&b);
    return NULL;
}

void gw_map_audit(struct gw_map *m)
{
    struct gw_fhir_row *row = gw_row(m, GW_WARD_AUDIT_EVENT, NULL);
    const cJSON *agents = gw_array(m, m->resource, "agent");
    gw_set_staff(m, row, "actor_id", agents, "who", "agent");
    gw_set(m, row, "action", gw_string(m, m->resource, "action"));
    set_entities(m, row);
    gw_set(m, row, "outcome", gw_string(m, m->resource, "outcome"));
    gw_set(m, row, "detail", detail(m));
    gw_set(m, row, "occurred_at", gw_moment(m, m->resource, "recorded"));
}
