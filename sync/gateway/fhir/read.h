/*
 * sync/gateway/fhir/read.h - inner part of the mapping: typed reading of a resource into a row.
 *
 * Errors are sticky: the first one refuses (or unplaces) the unit, everything after it is a no-op,
 * and the map of a type reads like a list. Elements that nobody asked for become notes at the end.
 */
#ifndef SYNC_GATEWAY_FHIR_READ_H
#define SYNC_GATEWAY_FHIR_READ_H

#include "sync/gateway/fhir/map.h"

enum { GW_ELEMENTS_MAX = 128 };

struct gw_map {
    const struct gw_fhir_context *ctx;
    struct gw_fhir_unit *out;
    const cJSON *resource;
    const char *id;  /* FHIR id, or what stands for it */
    const char *key; /* "Type/id" */
    bool failed;     /* the unit's outcome is set */
    bool no_memory;
    const char *const *known; /* elements that this type's map reads or may pass over */
};

typedef void (*gw_map_cb)(struct gw_map *m);

/* The outcome, unless one is set. %s only for names of FHIR's. */
void gw_refuse(struct gw_map *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void gw_unplace(struct gw_map *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void gw_note(struct gw_map *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

char *gw_copy(struct gw_map *m, const char *s);
char *gw_take(struct gw_map *m, struct base_buf *b); /* the content, into the arena; releases b */

/* Members by name. NULL if absent; refused if there with another type. */
const cJSON *gw_object(struct gw_map *m, const cJSON *from, const char *name);
const cJSON *gw_array(struct gw_map *m, const cJSON *from, const char *name);
const cJSON *gw_first(struct gw_map *m, const cJSON *from, const char *name); /* object in array */
const char *gw_string(struct gw_map *m, const cJSON *from, const char *name);
const char *gw_bool(struct gw_map *m, const cJSON *from, const char *name); /* "t", "f" */
const char *gw_number(struct gw_map *m, const cJSON *from, const char *name);
const char *gw_moment(struct gw_map *m, const cJSON *from, const char *name);
const char *gw_code_of(struct gw_map *m, const cJSON *from, const char *name,
                       const char *const allowed[]); /* a string out of a NULL-terminated list */

struct gw_coding {
    const char *system, *code, *display; /* display falls back to the concept's text */
};
/* The first coding that has a code; the text alone becomes code and display. */
struct gw_coding gw_concept(struct gw_map *m, const cJSON *concept);
bool gw_has_code(struct gw_map *m, const cJSON *concept, const char *code);
const char *gw_words(struct gw_map *m, const cJSON *concept); /* text, display or code */
const char *gw_notes_text(struct gw_map *m, const cJSON *from, const char *name); /* Annotation[] */
const char *gw_json(struct gw_map *m, const cJSON *value);

/* The resource's next row; NULL when the unit has failed. The first has the resource's own id; the
 * others one derived from the key and the name. */
struct gw_fhir_row *gw_row(struct gw_map *m, enum gw_ward_table table, const char *name);
void gw_set(struct gw_map *m, struct gw_fhir_row *row, const char *column, const char *value);
/* A decimal column; false if the number is none that the column gives back as it is. */
bool gw_set_decimal(struct gw_map *m, struct gw_fhir_row *row, const char *column,
                    const char *number);
void gw_set_coding(struct gw_map *m, struct gw_fhir_row *row, struct gw_coding c);
/* A reference of one of the types (space-separated) that the column's table holds; others become
 * notes. */
void gw_set_ref(struct gw_map *m, struct gw_fhir_row *row, const char *column, const cJSON *ref,
                const char *element, const char *types);
/* patient_id; the unit is unplaced without one. */
void gw_set_patient(struct gw_map *m, struct gw_fhir_row *row, const char *element);
/* The first of several performers that is one of the staff. */
void gw_set_staff(struct gw_map *m, struct gw_fhir_row *row, const char *column, const cJSON *array,
                  const char *member, const char *element);
/* recorded_at, effective_at of the clinical columns, and source. */
void gw_set_clinical(struct gw_map *m, struct gw_fhir_row *row, const char *effective,
                     const char *recorded);
/* "Type/id" a reference leads to, in the arena; NULL with a reason in *why. */
const char *gw_target(struct gw_map *m, const cJSON *ref, const char **why);
bool gw_is_moment(const char *s);

/* The types' maps. */
void gw_map_organization(struct gw_map *m);
void gw_map_location(struct gw_map *m);
void gw_map_practitioner(struct gw_map *m);
void gw_map_practitioner_role(struct gw_map *m);
void gw_map_patient(struct gw_map *m);
void gw_map_encounter(struct gw_map *m);
void gw_map_allergy(struct gw_map *m);
void gw_map_condition(struct gw_map *m);
void gw_map_medication_request(struct gw_map *m);
void gw_map_medication_administration(struct gw_map *m);
void gw_map_task(struct gw_map *m);
void gw_map_appointment(struct gw_map *m);
void gw_map_service_request(struct gw_map *m);
void gw_map_specimen(struct gw_map *m);
void gw_map_diagnostic_report(struct gw_map *m);
void gw_map_observation(struct gw_map *m);
void gw_map_composition(struct gw_map *m);
void gw_map_document(struct gw_map *m);
void gw_map_audit(struct gw_map *m);

#endif
