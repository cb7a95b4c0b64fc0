/* Places and people: Organization, Location, Practitioner, PractitionerRole, Patient. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "sync/gateway/fhir/read.h"

enum { USERNAME_LETTERS_MAX = 24, NAME_BYTES_MAX = 4096 };

static bool is(const char *s, const char *word)
{
    return s != NULL && strcmp(s, word) == 0;
}

void gw_map_organization(struct gw_map *m)
{
    static const char *const places[] = {"prov", "dept", "team", NULL};
    const cJSON *types = gw_array(m, m->resource, "type");
    bool place = types == NULL || types->child == NULL;
    for (const cJSON *t = types != NULL ? types->child : NULL; t != NULL; t = t->next)
        for (int i = 0; places[i] != NULL; i++)
            place = place || gw_has_code(m, t, places[i]);
    if (!place)
        gw_unplace(m, "it is no provider of care");
    struct gw_fhir_row *row = gw_row(m, GW_WARD_LOCATION, NULL);
    const cJSON *identifier = gw_first(m, m->resource, "identifier");
    gw_set(m, row, "kind", "site");
    gw_set(m, row, "name", gw_string(m, m->resource, "name"));
    gw_set(m, row, "code", identifier != NULL ? gw_string(m, identifier, "value") : NULL);
    gw_set(m, row, "active", gw_bool(m, m->resource, "active"));
    gw_set_ref(m, row, "parent_id", gw_object(m, m->resource, "partOf"), "partOf", "Organization");
}

/* HL7 location-physical-type into the four kinds; others have none. */
static const char *kind_of(struct gw_map *m, const cJSON *physical)
{
    static const char *const kinds[][2] = {{"si", "site"}, {"bu", "site"}, {"wi", "ward"},
                                           {"wa", "ward"}, {"ro", "room"}, {"bd", "bed"}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (gw_has_code(m, physical, kinds[i][0]))
            return kinds[i][1];
    gw_note(m, "physicalType: none of site, ward, room, bed");
    return NULL;
}

void gw_map_location(struct gw_map *m)
{
    static const char *const statuses[] = {"active", "suspended", "inactive", NULL};
    const char *status = gw_code_of(m, m->resource, "status", statuses);
    struct gw_fhir_row *row = gw_row(m, GW_WARD_LOCATION, NULL);
    const cJSON *identifier = gw_first(m, m->resource, "identifier");
    const cJSON *bed = gw_object(m, m->resource, "operationalStatus");
    const cJSON *part = gw_object(m, m->resource, "partOf");
    const cJSON *owner = gw_object(m, m->resource, "managingOrganization");
    if (is(gw_string(m, m->resource, "mode"), "kind"))
        gw_unplace(m, "it is a kind of place, not a place");
    gw_set(m, row, "kind", kind_of(m, gw_object(m, m->resource, "physicalType")));
    gw_set(m, row, "name", gw_string(m, m->resource, "name"));
    gw_set(m, row, "code", identifier != NULL ? gw_string(m, identifier, "value") : NULL);
    gw_set(m, row, "operational_status", bed != NULL ? gw_string(m, bed, "code") : NULL);
    gw_set(m, row, "active", status == NULL ? NULL : is(status, "active") ? "t" : "f");
    if (part != NULL) {
        gw_set_ref(m, row, "parent_id", part, "partOf", "Location");
        if (owner != NULL)
            gw_note(m, "managingOrganization: beside partOf");
    } else {
        gw_set_ref(m, row, "parent_id", owner, "managingOrganization", "Organization");
    }
}

/* official, then usual, then the first that is no old one */
static const cJSON *best_name(struct gw_map *m, const cJSON *names)
{
    static const char *const uses[] = {"official", "usual", NULL};
    const cJSON *best = NULL;
    for (int i = 0; uses[i] != NULL && best == NULL; i++)
        for (const cJSON *n = names != NULL ? names->child : NULL; n != NULL && best == NULL;
             n = n->next)
            if (is(gw_string(m, n, "use"), uses[i]))
                best = n;
    for (const cJSON *n = names != NULL ? names->child : NULL; n != NULL && best == NULL;
         n = n->next) {
        const char *use = gw_string(m, n, "use");
        if (!is(use, "old") && !is(use, "maiden") && !is(use, "temp"))
            best = n;
    }
    return best;
}

/* An array of strings, joined; null stands where there is only an extension. */
static const char *joined(struct gw_map *m, const cJSON *from, const char *name,
                          const char *between)
{
    struct base_buf b;
    const cJSON *array = from != NULL ? cJSON_GetObjectItemCaseSensitive(from, name) : NULL;
    if (array == NULL || m->failed)
        return NULL;
    if (!cJSON_IsArray(array)) {
        gw_refuse(m, "%s must be an array", name);
        return NULL;
    }
    base_buf_init(&b, GW_FHIR_ARENA_BYTES_MAX);
    for (const cJSON *e = array->child; e != NULL; e = e->next) {
        if (!cJSON_IsString(e) && !cJSON_IsNull(e))
            gw_refuse(m, "%s must be an array of strings", name);
        if (!cJSON_IsString(e))
            continue;
        if (b.len > 0)
            base_buf_str(&b, between);
        base_buf_str(&b, e->valuestring);
    }
    if (b.len > 0)
        return gw_take(m, &b);
    base_buf_release(&b);
    return NULL;
}

static void note_more(struct gw_map *m, const cJSON *array, const char *element)
{
    if (array != NULL && cJSON_GetArraySize(array) > 1)
        gw_note(m, "%s: more than one", element);
}

static void set_name(struct gw_map *m, struct gw_fhir_row *row, const cJSON *names)
{
    const cJSON *name = best_name(m, names);
    const char *family = name != NULL ? gw_string(m, name, "family") : NULL;
    const char *given = joined(m, name, "given", " ");
    if (family == NULL && given == NULL && name != NULL)
        family = gw_string(m, name, "text");
    gw_set(m, row, "family_name", family);
    gw_set(m, row, "given_names", given);
    note_more(m, names, "name");
    if (name != NULL && (net_json_has(name, "prefix") || net_json_has(name, "suffix")))
        gw_note(m, "name.prefix and suffix: no column");
}

/* The family name's plain letters and the end of the id: alike at every import, unlike anyone's
 * else. */
static void set_username(struct gw_map *m, struct gw_fhir_row *row, const char *family)
{
    char text[BASE_UUID_CHARS + 1];
    char name[USERNAME_LETTERS_MAX + 1 + 8 + 1];
    size_t n = 0;
    if (row == NULL)
        return;
    for (const char *p = family != NULL ? family : ""; *p != '\0' && n < USERNAME_LETTERS_MAX; p++)
        if (isascii(*p) && isalpha((unsigned char)*p))
            name[n++] = (char)tolower((unsigned char)*p);
    base_uuid_format(&row->id, text);
    (void)snprintf(name + n, sizeof name - n, "%s%s", n > 0 ? "-" : "staff-",
                   text + BASE_UUID_CHARS - 8);
    gw_set(m, row, "username", name);
}

void gw_map_practitioner(struct gw_map *m)
{
    struct gw_fhir_row *row = gw_row(m, GW_WARD_STAFF, NULL);
    const char *active = gw_bool(m, m->resource, "active");
    set_name(m, row, gw_array(m, m->resource, "name"));
    if (row != NULL && !m->failed)
        set_username(m, row, row->values[gw_ward_column(GW_WARD_STAFF, "family_name")]);
    gw_set(m, row, "active", active != NULL ? active : "t");
}

static void one_role(struct gw_map *m, const char *role, const cJSON *place)
{
    char name[NAME_BYTES_MAX];
    const char *why;
    const char *target = place != NULL ? gw_target(m, place, &why) : NULL;
    (void)snprintf(name, sizeof name, "role/%s/%s", role, target != NULL ? target : "");
    struct gw_fhir_row *row = gw_row(m, GW_WARD_STAFF_ROLE, name);
    const cJSON *who = gw_object(m, m->resource, "practitioner");
    if (who == NULL)
        gw_unplace(m, "it has no practitioner");
    gw_set_ref(m, row, "staff_id", who, "practitioner", "Practitioner");
    if (!m->failed && row->values[gw_ward_column(GW_WARD_STAFF_ROLE, "staff_id")] == NULL)
        gw_unplace(m, "practitioner names nothing that can be looked up");
    gw_set(m, row, "role", is(role, "ict") ? "it_support" : role);
    gw_set_ref(m, row, "location_id", place, "location", "Location");
}

void gw_map_practitioner_role(struct gw_map *m)
{
    const cJSON *codes = gw_array(m, m->resource, "code");
    const cJSON *places = gw_array(m, m->resource, "location");
    if (is(gw_bool(m, m->resource, "active"), "f"))
        gw_unplace(m, "it is not active: it gives no role");
    if (codes == NULL || codes->child == NULL)
        gw_unplace(m, "it has no code: it gives no role");
    for (const cJSON *c = codes != NULL ? codes->child : NULL; c != NULL && !m->failed;
         c = c->next) {
        struct gw_coding role = gw_concept(m, c);
        const cJSON *place = places != NULL ? places->child : NULL;
        if (role.code == NULL)
            continue;
        do {
            one_role(m, role.code, place);
            place = place != NULL ? place->next : NULL;
        } while (place != NULL && !m->failed);
    }
    if (!m->failed && m->out->row_count == 0)
        gw_unplace(m, "its code has no code");
}

static const char *telecom(struct gw_map *m, const cJSON *list, const char *system)
{
    for (const cJSON *t = list != NULL ? list->child : NULL; t != NULL; t = t->next)
        if (is(gw_string(m, t, "system"), system) && !is(gw_string(m, t, "use"), "old"))
            return gw_string(m, t, "value");
    return NULL;
}

static void set_telecom(struct gw_map *m, struct gw_fhir_row *row)
{
    const cJSON *list = gw_array(m, m->resource, "telecom");
    const char *phone = telecom(m, list, "phone");
    const char *email = telecom(m, list, "email");
    gw_set(m, row, "phone", phone);
    gw_set(m, row, "email", email);
    if (list != NULL &&
        cJSON_GetArraySize(list) > (phone != NULL ? 1 : 0) + (email != NULL ? 1 : 0))
        gw_note(m, "telecom: more than one phone and one email");
}

static void set_address(struct gw_map *m, struct gw_fhir_row *row)
{
    const cJSON *list = gw_array(m, m->resource, "address");
    const cJSON *a = list != NULL ? list->child : NULL;
    while (a != NULL && is(gw_string(m, a, "use"), "old"))
        a = a->next;
    note_more(m, list, "address");
    if (a == NULL)
        return;
    const char *line = joined(m, a, "line", ", ");
    gw_set(m, row, "address_line", line != NULL ? line : gw_string(m, a, "text"));
    gw_set(m, row, "city", gw_string(m, a, "city"));
    gw_set(m, row, "state", gw_string(m, a, "state"));
    gw_set(m, row, "postal_code", gw_string(m, a, "postalCode"));
    gw_set(m, row, "country", gw_string(m, a, "country"));
    if (net_json_has(a, "district") || net_json_has(a, "period") || net_json_has(a, "extension"))
        gw_note(m, "address: district, period or extension has no column");
}

static void set_contact(struct gw_map *m, struct gw_fhir_row *row)
{
    const cJSON *list = gw_array(m, m->resource, "contact");
    const cJSON *c = list != NULL ? list->child : NULL;
    note_more(m, list, "contact");
    if (c == NULL)
        return;
    const cJSON *name = gw_object(m, c, "name");
    const char *given = joined(m, name, "given", " ");
    const char *family = name != NULL ? gw_string(m, name, "family") : NULL;
    struct base_buf b;
    base_buf_init(&b, GW_FHIR_ARENA_BYTES_MAX);
    base_buf_printf(&b, "%s%s%s", given != NULL ? given : "",
                    given != NULL && family != NULL ? " " : "", family != NULL ? family : "");
    if (b.len == 0 && name != NULL)
        base_buf_str(&b, gw_string(m, name, "text") != NULL ? gw_string(m, name, "text") : "");
    const char *whole = gw_take(m, &b);
    gw_set(m, row, "contact_name", whole != NULL && whole[0] != '\0' ? whole : NULL);
    gw_set(m, row, "contact_phone", telecom(m, gw_array(m, c, "telecom"), "phone"));
}

static void set_language(struct gw_map *m, struct gw_fhir_row *row)
{
    const cJSON *list = gw_array(m, m->resource, "communication");
    const cJSON *best = list != NULL ? list->child : NULL;
    for (const cJSON *c = best; c != NULL; c = c->next)
        if (is(gw_bool(m, c, "preferred"), "t")) {
            best = c;
            break;
        }
    note_more(m, list, "communication");
    if (best != NULL)
        gw_set(m, row, "language", gw_concept(m, gw_object(m, best, "language")).code);
}

static void add_identifiers(struct gw_map *m)
{
    const cJSON *list = gw_array(m, m->resource, "identifier");
    for (const cJSON *e = list != NULL ? list->child : NULL; e != NULL && !m->failed; e = e->next) {
        char name[NAME_BYTES_MAX];
        const char *system = gw_string(m, e, "system");
        const char *value = gw_string(m, e, "value");
        const cJSON *type = gw_object(m, e, "type");
        const cJSON *period = gw_object(m, e, "period");
        if (value == NULL) {
            gw_note(m, "identifier: without a value");
            continue;
        }
        if (is(gw_string(m, e, "use"), "old")) {
            gw_note(m, "identifier: an old one");
            continue;
        }
        const char *code = gw_concept(m, type).code;
        (void)snprintf(name, sizeof name, "identifier/%s/%s|%s", code != NULL ? code : "",
                       system != NULL ? system : "", value);
        struct gw_fhir_row *row = gw_row(m, GW_WARD_PATIENT_IDENTIFIER, name);
        if (row == NULL)
            return;
        char id[BASE_UUID_CHARS + 1];
        base_uuid_format(&m->out->rows[0].id, id);
        gw_set(m, row, "patient_id", id);
        gw_set(m, row, "system", system);
        gw_set(m, row, "value", value);
        gw_set(m, row, "type_code", code);
        gw_set_clinical(m, row, period != NULL ? gw_moment(m, period, "start") : NULL, NULL);
    }
}

static void add_links(struct gw_map *m)
{
    const cJSON *list = gw_array(m, m->resource, "link");
    for (const cJSON *e = list != NULL ? list->child : NULL; e != NULL && !m->failed; e = e->next) {
        char name[NAME_BYTES_MAX];
        char id[BASE_UUID_CHARS + 1];
        const char *why;
        const cJSON *other = gw_object(m, e, "other");
        const char *target = other != NULL ? gw_target(m, other, &why) : NULL;
        if (m->failed)
            return;
        if (target == NULL || strncmp(target, "Patient/", 8) != 0) {
            gw_note(m, "link: to no patient");
            continue;
        }
        (void)snprintf(name, sizeof name, "link/%s", target);
        struct gw_fhir_row *row = gw_row(m, GW_WARD_PATIENT_LINK, name);
        if (row == NULL)
            return;
        base_uuid_format(&m->out->rows[0].id, id);
        gw_set(m, row, "patient_id", id);
        gw_set_ref(m, row, "other_patient_id", other, "link.other", "Patient");
        gw_set(m, row, "action", "link");
        gw_set(m, row, "reason", gw_string(m, e, "type"));
        gw_set_clinical(m, row, NULL, NULL);
    }
}

void gw_map_patient(struct gw_map *m)
{
    static const char *const sexes[] = {"male", "female", "other", "unknown", NULL};
    struct gw_fhir_row *row = gw_row(m, GW_WARD_PATIENT, NULL);
    const char *dead = gw_bool(m, m->resource, "deceasedBoolean");
    const char *died = gw_moment(m, m->resource, "deceasedDateTime");
    const char *sex = gw_code_of(m, m->resource, "gender", sexes);
    set_name(m, row, gw_array(m, m->resource, "name"));
    gw_set(m, row, "birth_date", gw_moment(m, m->resource, "birthDate"));
    gw_set(m, row, "sex", sex);
    gw_set(m, row, "deceased", died != NULL ? "t" : dead);
    gw_set(m, row, "deceased_at", died);
    set_telecom(m, row);
    set_address(m, row);
    set_contact(m, row);
    set_language(m, row);
    gw_set(m, row, "marital_status",
           gw_concept(m, gw_object(m, m->resource, "maritalStatus")).code);
    gw_set(m, row, "active", gw_bool(m, m->resource, "active"));
    add_identifiers(m);
    add_links(m);
}
