#include "sync/gateway/fhir/read.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/seal/seal.h"

enum { KEY_BYTES_MAX = 1024, DERIVED_BYTES_MAX = 4096 };

static void outcome(struct gw_map *m, enum gw_fhir_outcome what, const char *fmt, va_list ap)
{
    if (m->failed)
        return;
    m->failed = true;
    m->out->outcome = what;
    m->out->row_count = 0;
    m->out->note_count = 0;
    (void)vsnprintf(m->out->reason, sizeof m->out->reason, fmt, ap);
}

void gw_refuse(struct gw_map *m, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    outcome(m, GW_FHIR_REFUSED, fmt, ap);
    va_end(ap);
}

void gw_unplace(struct gw_map *m, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    outcome(m, GW_FHIR_UNPLACED, fmt, ap);
    va_end(ap);
}

static void *get(struct gw_map *m, size_t bytes)
{
    void *p = base_arena_get(m->ctx->arena, bytes);
    if (p == NULL)
        m->no_memory = m->failed = true;
    return p;
}

char *gw_copy(struct gw_map *m, const char *s)
{
    char *p = base_arena_copy(m->ctx->arena, s, strlen(s));
    if (p == NULL)
        m->no_memory = m->failed = true;
    return p;
}

char *gw_take(struct gw_map *m, struct base_buf *b)
{
    char *p = NULL;
    if (base_buf_check(b) != 0)
        m->no_memory = m->failed = true;
    else
        p = gw_copy(m, b->data != NULL ? b->data : "");
    base_buf_release(b);
    return p;
}

void gw_note(struct gw_map *m, const char *fmt, ...)
{
    char text[GW_FHIR_REASON_BYTES];
    va_list ap;
    if (m->failed)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (m->out->note_count == GW_FHIR_NOTES_MAX)
        m->out->notes[GW_FHIR_NOTES_MAX - 1] = "further parts";
    else
        m->out->notes[m->out->note_count++] = gw_copy(m, text);
    if (m->no_memory)
        m->out->note_count = 0;
}

static const cJSON *member(const cJSON *from, const char *name)
{
    return cJSON_IsObject(from) ? cJSON_GetObjectItemCaseSensitive(from, name) : NULL;
}

static const cJSON *typed(struct gw_map *m, const cJSON *from, const char *name,
                          cJSON_bool (*is)(const cJSON *), const char *what)
{
    const cJSON *item = member(from, name);
    if (item == NULL || m->failed)
        return NULL;
    if (is(item))
        return item;
    gw_refuse(m, "%s must be %s", name, what);
    return NULL;
}

const cJSON *gw_object(struct gw_map *m, const cJSON *from, const char *name)
{
    return typed(m, from, name, cJSON_IsObject, "an object");
}

/* An array's elements are objects wherever this is used; null stands for what only has extensions.
 */
const cJSON *gw_array(struct gw_map *m, const cJSON *from, const char *name)
{
    const cJSON *array = typed(m, from, name, cJSON_IsArray, "an array");
    for (const cJSON *e = array != NULL ? array->child : NULL; e != NULL; e = e->next)
        if (!cJSON_IsObject(e)) {
            gw_refuse(m, "%s must be an array of objects", name);
            return NULL;
        }
    return array;
}

const cJSON *gw_first(struct gw_map *m, const cJSON *from, const char *name)
{
    const cJSON *array = gw_array(m, from, name);
    return array != NULL ? array->child : NULL;
}

const char *gw_string(struct gw_map *m, const cJSON *from, const char *name)
{
    const cJSON *item = typed(m, from, name, cJSON_IsString, "a string");
    return item != NULL && item->valuestring[0] != '\0' ? item->valuestring : NULL;
}

const char *gw_bool(struct gw_map *m, const cJSON *from, const char *name)
{
    const cJSON *item = typed(m, from, name, cJSON_IsBool, "true or false");
    return item == NULL ? NULL : cJSON_IsTrue(item) ? "t" : "f";
}

const char *gw_number(struct gw_map *m, const cJSON *from, const char *name)
{
    const cJSON *item = typed(m, from, name, cJSON_IsNumber, "a number");
    return item != NULL ? item->valuestring : NULL;
}

static bool digits(const char *s, int n)
{
    for (int i = 0; i < n; i++)
        if (s[i] < '0' || s[i] > '9')
            return false;
    return true;
}

static int two(const char *s)
{
    return (s[0] - '0') * 10 + (s[1] - '0');
}

static bool is_date(const char *s, size_t *len)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (!digits(s, 4) || memcmp(s, "0000", 4) == 0)
        return false;
    *len = 4;
    if (s[4] != '-')
        return true;
    if (!digits(s + 5, 2) || two(s + 5) < 1 || two(s + 5) > 12)
        return false;
    *len = 7;
    if (s[7] != '-')
        return true;
    int year = two(s) * 100 + two(s + 2);
    int month = two(s + 5);
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    int most = lengths[month - 1] + (month == 2 && leap ? 1 : 0);
    *len = 10;
    return digits(s + 8, 2) && two(s + 8) >= 1 && two(s + 8) <= most;
}

/* What the domain everward.moment takes, and the calendar besides (FHIR R4, 2.24.0.1). */
bool gw_is_moment(const char *s)
{
    size_t n = 0;
    if (!is_date(s, &n))
        return false;
    s += n;
    if (*s == '\0')
        return true;
    if (n != 10 || *s != 'T' || !digits(s + 1, 2) || s[3] != ':' || !digits(s + 4, 2) ||
        s[6] != ':' || !digits(s + 7, 2))
        return false;
    if (two(s + 1) > 23 || two(s + 4) > 59 || two(s + 7) > 60)
        return false;
    s += 9;
    if (*s == '.') {
        size_t fraction = strspn(s + 1, "0123456789");
        if (fraction < 1 || fraction > 9)
            return false;
        s += 1 + fraction;
    }
    if (*s == 'Z')
        return s[1] == '\0';
    return (*s == '+' || *s == '-') && digits(s + 1, 2) && s[3] == ':' && digits(s + 4, 2) &&
           two(s + 1) <= 14 && two(s + 4) <= 59 && s[6] == '\0';
}

const char *gw_moment(struct gw_map *m, const cJSON *from, const char *name)
{
    const char *s = gw_string(m, from, name);
    if (s == NULL || gw_is_moment(s))
        return s;
    gw_refuse(m, "%s is no date or time as FHIR has it", name);
    return NULL;
}

const char *gw_code_of(struct gw_map *m, const cJSON *from, const char *name,
                       const char *const allowed[])
{
    const char *s = gw_string(m, from, name);
    if (s == NULL)
        return NULL;
    for (int i = 0; allowed[i] != NULL; i++)
        if (strcmp(s, allowed[i]) == 0)
            return allowed[i];
    gw_refuse(m, "%s is none of FHIR's codes for it", name);
    return NULL;
}

struct gw_coding gw_concept(struct gw_map *m, const cJSON *concept)
{
    struct gw_coding c = {NULL, NULL, NULL};
    if (concept == NULL)
        return c;
    const char *text = gw_string(m, concept, "text");
    const cJSON *codings = gw_array(m, concept, "coding");
    for (const cJSON *e = codings != NULL ? codings->child : NULL; e != NULL; e = e->next) {
        c.code = gw_string(m, e, "code");
        if (c.code == NULL)
            continue;
        c.system = gw_string(m, e, "system");
        c.display = gw_string(m, e, "display");
        break;
    }
    if (c.code == NULL)
        c.code = text;
    if (c.display == NULL)
        c.display = text;
    return c;
}

bool gw_has_code(struct gw_map *m, const cJSON *concept, const char *code)
{
    const cJSON *codings = gw_array(m, concept, "coding");
    for (const cJSON *e = codings != NULL ? codings->child : NULL; e != NULL; e = e->next) {
        const char *s = gw_string(m, e, "code");
        if (s != NULL && strcmp(s, code) == 0)
            return true;
    }
    return false;
}

const char *gw_words(struct gw_map *m, const cJSON *concept)
{
    const char *text = concept != NULL ? gw_string(m, concept, "text") : NULL;
    struct gw_coding c = gw_concept(m, concept);
    return text != NULL ? text : c.display != NULL ? c.display : c.code;
}

const char *gw_notes_text(struct gw_map *m, const cJSON *from, const char *name)
{
    struct base_buf b;
    const cJSON *array = gw_array(m, from, name);
    base_buf_init(&b, GW_FHIR_ARENA_BYTES_MAX);
    for (const cJSON *e = array != NULL ? array->child : NULL; e != NULL; e = e->next) {
        const char *text = gw_string(m, e, "text");
        if (text == NULL)
            continue;
        if (b.len > 0)
            base_buf_char(&b, '\n');
        base_buf_str(&b, text);
    }
    if (b.len > 0)
        return gw_take(m, &b);
    base_buf_release(&b);
    return NULL;
}

const char *gw_json(struct gw_map *m, const cJSON *value)
{
    struct base_buf b;
    base_buf_init(&b, GW_FHIR_ARENA_BYTES_MAX);
    net_json_write(&b, value);
    return gw_take(m, &b);
}

void gw_fhir_id(struct base_uuid *out, const struct base_uuid *tenant, const char *type,
                const char *id)
{
    char name[KEY_BYTES_MAX];
    if (base_uuid_parse(out, id, strlen(id)))
        return;
    int n = snprintf(name, sizeof name, "%s/%s", type, id);
    seal_uuid_derived(out, tenant, name, n < (int)sizeof name ? (size_t)n : sizeof name - 1);
}

struct gw_fhir_row *gw_row(struct gw_map *m, enum gw_ward_table table, const char *name)
{
    const struct gw_ward_spec *spec = gw_ward_spec(table);
    struct gw_fhir_unit *u = m->out;
    if (!m->failed && u->row_count == GW_FHIR_ROWS_MAX)
        gw_refuse(m, "it makes more than %d rows", GW_FHIR_ROWS_MAX);
    if (m->failed)
        return NULL;
    const char **values = get(m, (size_t)spec->count * sizeof *values);
    if (values == NULL)
        return NULL;
    struct gw_fhir_row *row = &u->rows[u->row_count++];
    *row = (struct gw_fhir_row){.table = table, .values = values};
    if (name == NULL) {
        gw_fhir_id(&row->id, &m->ctx->tenant, u->type, m->id);
    } else {
        char full[DERIVED_BYTES_MAX];
        int n = snprintf(full, sizeof full, "%s/%s", m->key, name);
        seal_uuid_derived(&row->id, &m->ctx->tenant, full,
                          n < (int)sizeof full ? (size_t)n : sizeof full - 1);
    }
    return row;
}

void gw_set(struct gw_map *m, struct gw_fhir_row *row, const char *column, const char *value)
{
    if (row == NULL || value == NULL || m->failed)
        return;
    row->values[gw_ward_column(row->table, column)] = gw_copy(m, value);
}

/* Digits with at most one point and no superfluous sign: what numeric prints as it was read. */
static bool plain_decimal(const char *s)
{
    size_t n = strlen(s);
    if (n > GW_FHIR_NUMBER_BYTES_MAX || strpbrk(s, "eE") != NULL)
        return false;
    return s[0] != '-' || strpbrk(s, "123456789") != NULL;
}

bool gw_set_decimal(struct gw_map *m, struct gw_fhir_row *row, const char *column,
                    const char *number)
{
    if (number == NULL || !plain_decimal(number))
        return false;
    gw_set(m, row, column, number);
    return true;
}

void gw_set_coding(struct gw_map *m, struct gw_fhir_row *row, struct gw_coding c)
{
    gw_set(m, row, "code_system", c.system);
    gw_set(m, row, "code", c.code);
    gw_set(m, row, "display", c.display);
}

/* The last two segments of Type/id, …/Type/id, Type/id/_history/v; false if it has no such form. */
static bool type_and_id(char *s)
{
    char *history = strstr(s, "/_history/");
    if (history != NULL)
        *history = '\0';
    char *slash = strrchr(s, '/');
    if (slash == NULL || slash[1] == '\0' || slash == s || strpbrk(s, "?#") != NULL)
        return false;
    *slash = '\0';
    char *before = strrchr(s, '/');
    *slash = '/';
    if (before != NULL)
        memmove(s, before + 1, strlen(before + 1) + 1);
    slash = strchr(s, '/');
    size_t letters = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    return letters > 0 && s + letters == slash && letters < GW_FHIR_TYPE_BYTES &&
           strlen(s) < KEY_BYTES_MAX;
}

const char *gw_target(struct gw_map *m, const cJSON *ref, const char **why)
{
    const char *s = gw_string(m, ref, "reference");
    *why = "names nothing that can be looked up";
    if (s == NULL)
        return NULL;
    const char *within = m->ctx->bundle != NULL ? m->ctx->bundle(m->ctx->user, s) : NULL;
    if (within != NULL)
        return within;
    if (s[0] == '#') {
        *why = "is a contained resource";
        return NULL;
    }
    if (strncmp(s, "urn:uuid:", 9) == 0) {
        const char *type = gw_string(m, ref, "type");
        struct base_buf b;
        base_buf_init(&b, KEY_BYTES_MAX);
        base_buf_printf(&b, "%s/%s", type != NULL ? type : "*", s + 9);
        return gw_take(m, &b);
    }
    char *copy = gw_copy(m, s);
    return copy != NULL && type_and_id(copy) ? copy : NULL;
}

/* Is the type of "Type/id" in the list? '*' stands for an unknown one. */
static bool type_in(const char *target, const char *types)
{
    size_t n = strcspn(target, "/");
    if (target[0] == '*')
        return true;
    for (const char *t = types; *t != '\0'; t += strspn(t, " ")) {
        size_t len = strcspn(t, " ");
        if (len == n && memcmp(t, target, n) == 0)
            return true;
        t += len;
    }
    return false;
}

static void set_target(struct gw_map *m, struct gw_fhir_row *row, const char *column,
                       const char *target, const char *types)
{
    struct base_uuid id;
    char type[GW_FHIR_TYPE_BYTES];
    char text[BASE_UUID_CHARS + 1];
    const char *slash = strchr(target, '/');
    const char *from = target[0] == '*' ? types : target;
    (void)snprintf(type, sizeof type, "%.*s", (int)strcspn(from, "/ "), from);
    gw_fhir_id(&id, &m->ctx->tenant, type, slash + 1);
    base_uuid_format(&id, text);
    gw_set(m, row, column, text);
}

void gw_set_ref(struct gw_map *m, struct gw_fhir_row *row, const char *column, const cJSON *ref,
                const char *element, const char *types)
{
    const char *why;
    if (row == NULL || ref == NULL || m->failed)
        return;
    const char *target = gw_target(m, ref, &why);
    if (m->failed)
        return;
    if (target == NULL)
        gw_note(m, "%s: %s", element, why);
    else if (!type_in(target, types))
        gw_note(m, "%s: reference to %.*s has no column", element, (int)strcspn(target, "/"),
                target);
    else
        set_target(m, row, column, target, types);
}

void gw_set_patient(struct gw_map *m, struct gw_fhir_row *row, const char *element)
{
    const char *why;
    if (row == NULL)
        return;
    const cJSON *ref = gw_object(m, m->resource, element);
    const char *target = ref != NULL ? gw_target(m, ref, &why) : NULL;
    if (m->failed)
        return;
    if (ref == NULL)
        gw_unplace(m, "it has no %s", element);
    else if (target == NULL)
        gw_unplace(m, "%s %s", element, why);
    else if (!type_in(target, "Patient"))
        gw_unplace(m, "%s is no patient but %.*s", element, (int)strcspn(target, "/"), target);
    else
        set_target(m, row, "patient_id", target, "Patient");
}

void gw_set_staff(struct gw_map *m, struct gw_fhir_row *row, const char *column, const cJSON *array,
                  const char *member_name, const char *element)
{
    bool set = false;
    for (const cJSON *e = array != NULL ? array->child : NULL; e != NULL && row != NULL;
         e = e->next) {
        const char *why;
        const cJSON *ref = member_name != NULL ? gw_object(m, e, member_name) : e;
        const char *target = ref != NULL ? gw_target(m, ref, &why) : NULL;
        if (m->failed)
            return;
        if (!set && target != NULL && type_in(target, "Practitioner")) {
            set_target(m, row, column, target, "Practitioner");
            set = true;
        } else if (ref != NULL) {
            gw_note(m, "%s: one that is not the first of the staff", element);
        }
    }
}

void gw_set_clinical(struct gw_map *m, struct gw_fhir_row *row, const char *effective,
                     const char *recorded)
{
    gw_set(m, row, "effective_at", effective);
    gw_set(m, row, "recorded_at", recorded);
    gw_set(m, row, "source", "interface");
}
