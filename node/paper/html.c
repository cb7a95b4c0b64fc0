/* A ward as a document for paper. Every value goes through text(): nothing that somebody typed is ever markup. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "node/paper/internal.h"
#include "sync/net/json.h"

#define NEWS2_CODE "1104051000000101" /* SNOMED CT; the app stores it for a full round */

enum { ROWS_MAX = 200, DAY_MS = 86400000, MOMENT_BYTES = 32 };

static const char style[] =
    "*{box-sizing:border-box}"
    "body{font:10.5pt/1.4 sans-serif;color:#000;background:#fff;margin:0 auto;max-width:190mm}"
    "section{break-after:page;padding:4mm 0}section:last-child{break-after:auto}"
    "h1{font-size:16pt;margin:0 0 1mm}h2{font-size:11.5pt;margin:5mm 0 1.5mm}"
    ".stamp{font-size:9pt;margin:0 0 3mm;border:1px solid #000;padding:1mm 2mm}"
    "table{border-collapse:collapse;width:100%;table-layout:fixed}"
    "th,td{border:1px solid #555;padding:1mm 1.5mm;text-align:left;vertical-align:top;"
    "overflow-wrap:anywhere;font-size:9.5pt}thead{display:table-header-group}"
    "tr{break-inside:avoid}thead th{background:#eee}"
    "dl{display:grid;grid-template-columns:32mm 1fr;margin:0;gap:1mm 3mm}dt{font-weight:bold}dd{"
    "margin:0;overflow-wrap:anywhere}"
    ".training{font-weight:bold;font-size:16pt;text-align:center;border:3px solid "
    "#000;margin:0 0 2mm;padding:1mm}"
    ".must{font-weight:bold}.box{display:block;white-space:nowrap;min-height:6.5mm}"
    ".bed{width:17mm}.born{width:22mm}.code{width:24mm}.med{width:52mm}.lines{height:34mm;"
    "background:repeating-linear-gradient(#fff 0 8mm,#999 8mm 8.3mm)}"
    "@media screen{body{padding:6mm}section{border-bottom:2px dashed #999}}";

static const char training_top[] = "margin-top:18mm;@top-center{font:bold 14pt "
                                   "sans-serif;content:\"TRAINING, not real patients\"}";

void paper_text(struct base_buf *b, struct core_text t)
{
    for (size_t i = 0; t.s != NULL && i < t.len; i++) {
        unsigned char c = (unsigned char)t.s[i];
        if (c == '<')
            base_buf_str(b, "&lt;");
        else if (c == '>')
            base_buf_str(b, "&gt;");
        else if (c == '&')
            base_buf_str(b, "&amp;");
        else if (c == '"')
            base_buf_str(b, "&quot;");
        else if (c == '\'')
            base_buf_str(b, "&#39;");
        else
            base_buf_char(b, c < 0x20 || c == 0x7f ? ' ' : (char)c);
    }
}

struct core_text paper_value(const struct node_row *row, const char *column)
{
    const struct core_column *c =
        row == NULL ? NULL : core_table_column(row->table, column, strlen(column));
    return c == NULL ? (struct core_text){NULL, 0} : row->values[c->ord - CORE_ORD_FIRST];
}

bool paper_is(const struct node_row *row, const char *column, const char *word)
{
    struct core_text v = paper_value(row, column);
    return v.s != NULL && core_text_equal(v, core_text_of(word));
}

static struct core_text either(const struct node_row *row, const char *a, const char *b)
{
    struct core_text v = paper_value(row, a);
    return v.s != NULL && v.len > 0 ? v : paper_value(row, b);
}

/* In the time of the box's own zone: that is what the clock on the wall says. */
void paper_moment(struct base_buf *b, int64_t ms, const char *form)
{
    char text[MOMENT_BYTES];
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    if (localtime_r(&s, &tm) != NULL && strftime(text, sizeof text, form, &tm) > 0)
        base_buf_str(b, text);
}

static void moment_of(struct base_buf *b, const struct node_row *row, const char *column)
{
    struct core_text v = paper_value(row, column);
    int64_t ms = 0;
    if (v.s != NULL && node_moment_ms(&ms, v.s, v.len))
        paper_moment(b, ms, "%d %b %H:%M");
}

static void stamp(struct paper *p)
{
    struct base_buf *b = p->out;
    if (p->look->training)
        base_buf_str(b, "<p class=\"training\">TRAINING &ndash; not real patients</p>");
    base_buf_str(b, "<p class=\"stamp\"><b>As of ");
    paper_moment(b, p->look->now_ms, "%d %b %Y %H:%M");
    base_buf_str(b, "</b> &middot; last exchange with the centre: ");
    int64_t ms = 0;
    const char *at = p->look->centre_at;
    if (node_moment_ms(&ms, at, strlen(at)))
        paper_moment(b, ms, "%d %b %Y %H:%M");
    else
        base_buf_str(b, "unknown");
    base_buf_str(b, " &middot; what was done later is not here</p>");
}

static void name(struct base_buf *b, const struct node_row *patient)
{
    struct core_text given = paper_value(patient, "given_names");
    paper_text(b, paper_value(patient, "family_name"));
    if (given.s != NULL && given.len > 0)
        base_buf_str(b, ", ");
    paper_text(b, given);
}

static bool is_wrong(const struct node_row *r)
{
    return paper_is(r, "status", "entered-in-error") ||
           paper_is(r, "verification_status", "entered-in-error");
}

static void allergies(struct paper *p, const struct paper_rows *l)
{
    struct base_buf *b = p->out;
    int real = 0;
    bool none = false;
    for (int i = 0; i < l->count; i++) {
        const struct node_row *r = l->list[i];
        if (is_wrong(r))
            continue;
        if (paper_is(r, "kind", "none-known")) {
            none = true;
            continue;
        }
        base_buf_str(b, real++ > 0 ? "; " : "");
        paper_text(b, either(r, "display", "code"));
        base_buf_str(b, paper_is(r, "criticality", "high") ? " (!)" : "");
        if (paper_value(r, "reaction_text").s != NULL)
            base_buf_str(b, ": ");
        paper_text(b, paper_value(r, "reaction_text"));
    }
    if (real == 0)
        base_buf_str(b, none ? "none known" : "NOT RECORDED: ask");
}

static void problems(struct paper *p, const struct paper_rows *l)
{
    int n = 0;
    for (int i = 0; i < l->count; i++) {
        if (is_wrong(l->list[i]))
            continue;
        base_buf_str(p->out, n++ > 0 ? "; " : "");
        paper_text(p->out, either(l->list[i], "display", "code"));
        if (paper_is(l->list[i], "clinical_status", "resolved"))
            base_buf_str(p->out, " (resolved)");
    }
    if (n == 0)
        base_buf_str(p->out, "none recorded");
}

/* A blood pressure's two numbers. */
static void components(struct base_buf *b, struct core_text json)
{
    cJSON *list = NULL;
    const cJSON *c;
    int n = 0;
    if (json.s == NULL || net_json_parse(&list, json.s, json.len, NULL) != 0)
        return;
    cJSON_ArrayForEach(c, list)
    {
        const cJSON *q = cJSON_GetObjectItemCaseSensitive(c, "valueQuantity");
        const cJSON *v = cJSON_GetObjectItemCaseSensitive(q, "value");
        base_buf_str(b, n++ > 0 ? "/" : "");
        if (v != NULL && v->valuestring != NULL)
            paper_text(b, core_text_of(v->valuestring));
        else
            base_buf_str(b, "?");
    }
    cJSON_Delete(list);
}

static bool seen(const struct paper_rows *l, int before)
{
    struct core_text code = paper_value(l->list[before], "code");
    for (int i = 0; i < before; i++)
        if (!is_wrong(l->list[i]) && core_text_equal(code, paper_value(l->list[i], "code")))
            return true;
    return false;
}

static bool corrected(const struct paper_rows *l, const struct node_row *r)
{
    for (int i = 0; i < l->count; i++) {
        struct core_text v = paper_value(l->list[i], "corrects_id");
        struct base_uuid id;
        if (v.s != NULL && base_uuid_parse(&id, v.s, v.len) && base_uuid_equal(&id, &r->id))
            return true;
    }
    return false;
}

/* The newest of each kind, as it stands; an old one says its time as a new one does. */
static void vitals(struct paper *p, const struct paper_rows *l)
{
    struct base_buf *b = p->out;
    int n = 0;
    for (int i = 0; i < l->count; i++) {
        const struct node_row *r = l->list[i];
        if (is_wrong(r) || corrected(l, r) || seen(l, i) || !paper_is(r, "category", "vital-signs"))
            continue;
        base_buf_str(b, n++ > 0 ? "; " : "");
        paper_text(b, either(r, "display", "code"));
        base_buf_str(b, " <b>");
        paper_text(b, paper_value(r, "value_decimal"));
        components(b, paper_value(r, "components"));
        if (paper_value(r, "value_decimal").s == NULL)
            paper_text(b, either(r, "value_text", "value_code"));
        base_buf_str(b, "</b> ");
        paper_text(b, paper_value(r, "value_unit"));
        base_buf_str(b, " (");
        moment_of(b, r, "effective_at");
        base_buf_str(b, ")");
    }
    if (n == 0)
        base_buf_str(b, "none recorded");
}

/* The newest that was counted from a full round, with its time: what came in later is not in it. Nothing is counted here. */
static void news2(struct paper *p, const struct paper_rows *l)
{
    for (int i = 0; i < l->count; i++) {
        const struct node_row *r = l->list[i];
        if (!paper_is(r, "code", NEWS2_CODE) || is_wrong(r) || corrected(l, r))
            continue;
        base_buf_str(p->out, "<b>");
        paper_text(p->out, paper_value(r, "value_decimal"));
        base_buf_str(p->out, "</b> (");
        moment_of(p->out, r, "effective_at");
        base_buf_str(p->out, ")");
        return;
    }
    base_buf_str(p->out, "no full round");
}

static void free_beds(struct paper *p)
{
    base_buf_str(p->out, "<p>Free beds: ");
    for (int i = 0; i < p->free_count; i++) {
        base_buf_str(p->out, i > 0 ? ", " : "");
        paper_text(p->out, paper_value(p->free[i], "name"));
    }
    base_buf_str(p->out, p->free_count == 0 ? "none</p>" : "</p>");
}

static void tasks(struct paper *p, const struct paper_rows *l)
{
    static const char *const over[] = {"completed", "cancelled", "rejected", "failed",
                                       "entered-in-error"};
    int n = 0;
    for (int i = 0; i < l->count; i++) {
        bool done = false;
        for (size_t k = 0; k < sizeof over / sizeof over[0]; k++)
            done = done || paper_is(l->list[i], "status", over[k]);
        if (done)
            continue;
        base_buf_str(p->out, n++ > 0 ? "; " : "");
        paper_text(p->out, either(l->list[i], "description", "code"));
        base_buf_str(p->out, " (");
        moment_of(p->out, l->list[i], "due_at");
        base_buf_str(p->out, ")");
    }
    if (n == 0)
        base_buf_str(p->out, "none");
}

static void code_status(struct base_buf *b, const struct paper_stay *s)
{
    struct core_text v = paper_value(s->encounter, "code_status");
    if (v.s == NULL || v.len == 0)
        base_buf_str(b, "NOT RECORDED: ask");
    else
        paper_text(b, v);
}

static void fact(struct paper *p, const char *label, struct core_text value)
{
    if (value.s == NULL || value.len == 0)
        return;
    base_buf_printf(p->out, "<dt>%s</dt><dd>", label);
    paper_text(p->out, value);
    base_buf_str(p->out, "</dd>");
}

void paper_whose(struct paper *p, const struct paper_stay *s)
{
    paper_text(p->out, paper_value(s->place, "name"));
    base_buf_str(p->out, " &middot; ");
    name(p->out, s->patient);
}

static int sheet(struct paper *p, const struct paper_stay *s)
{
    struct base_buf *b = p->out;
    struct paper_rows l;
    base_buf_str(b, "<section><h1>");
    paper_whose(p, s);
    base_buf_str(b, "</h1>");
    stamp(p);
    base_buf_str(b, "<dl>");
    fact(p, "Born", paper_value(s->patient, "birth_date"));
    fact(p, "Sex", paper_value(s->patient, "sex"));
    int rc =
        paper_rows_of(p, &l, "patient_identifier", "patient_id", s->patient_id, NULL, ROWS_MAX);
    if (rc == 0 && l.count > 0)
        fact(p, "Number", paper_value(l.list[0], "value"));
    base_buf_str(b, "<dt>Code status</dt><dd class=\"must\">");
    code_status(b, s);
    base_buf_str(b, "</dd><dt>Allergies</dt><dd class=\"must\">");
    if (rc == 0)
        rc = paper_rows_of(p, &l, "allergy", "patient_id", s->patient_id, "recorded_at", ROWS_MAX);
    if (rc == 0)
        allergies(p, &l);
    base_buf_str(b, "</dd>");
    fact(p, "Isolation", paper_value(s->patient, "isolation"));
    base_buf_str(b, "<dt>Problems</dt><dd>");
    if (rc == 0)
        rc =
            paper_rows_of(p, &l, "condition", "patient_id", s->patient_id, "recorded_at", ROWS_MAX);
    if (rc == 0)
        problems(p, &l);
    base_buf_str(b, "</dd><dt>Last vital signs</dt><dd>");
    if (rc == 0)
        rc = paper_rows_of(p, &l, "observation", "patient_id", s->patient_id, "effective_at",
                           ROWS_MAX);
    if (rc == 0)
        vitals(p, &l);
    base_buf_str(b, "</dd><dt>NEWS2</dt><dd>");
    if (rc == 0)
        news2(p, &l);
    base_buf_str(b, "</dd><dt>Tasks</dt><dd>");
    if (rc == 0)
        rc = paper_rows_of(p, &l, "task", "patient_id", s->patient_id, "due_at", ROWS_MAX);
    if (rc == 0)
        tasks(p, &l);
    base_buf_str(b, "</dd></dl>");
    if (rc == 0)
        rc = paper_medicines(p, s);
    base_buf_str(b, "<h2>Written by hand (time, what, who)</h2><div class=\"lines\"></div>"
                    "</section>\n");
    return rc;
}

static int census(struct paper *p, const struct node_row *ward)
{
    struct base_buf *b = p->out;
    int rc = 0;
    base_buf_str(b, "<section><h1>");
    paper_text(b, paper_value(ward, "name"));
    base_buf_str(b, ": who lies where</h1>");
    stamp(p);
    base_buf_str(b, "<table><thead><tr><th class=\"bed\">Bed</th><th>Patient</th>"
                    "<th class=\"born\">Born</th><th class=\"code\">Code status</th>"
                    "<th>Allergies</th><th class=\"born\">NEWS2</th></tr></thead><tbody>");
    for (int i = 0; i < p->stay_count && rc == 0; i++) {
        const struct paper_stay *s = &p->stays[i];
        struct paper_rows l;
        base_buf_str(b, "<tr><td><b>");
        paper_text(b, paper_value(s->place, "name"));
        base_buf_str(b, "</b></td><td>");
        name(b, s->patient);
        base_buf_str(b, "</td><td>");
        paper_text(b, paper_value(s->patient, "birth_date"));
        base_buf_str(b, "</td><td>");
        code_status(b, s);
        base_buf_str(b, "</td><td>");
        rc = paper_rows_of(p, &l, "allergy", "patient_id", s->patient_id, "recorded_at", ROWS_MAX);
        if (rc == 0)
            allergies(p, &l);
        base_buf_str(b, "</td><td>");
        if (rc == 0)
            rc = paper_rows_of(p, &l, "observation", "patient_id", s->patient_id, "effective_at",
                               ROWS_MAX);
        if (rc == 0)
            news2(p, &l);
        base_buf_str(b, "</td></tr>");
    }
    base_buf_printf(b, "</tbody></table><p>Patients: %d%s</p>", p->stay_count,
                    p->stay_count == PAPER_STAYS_MAX ? " AND MORE: the list is not complete" : "");
    free_beds(p);
    base_buf_str(b, "</section>\n");
    return rc;
}

int paper_ward_html(struct node_db *db, const struct base_uuid *ward, const struct paper_look *look,
                    struct base_buf *out, struct base_err *err)
{
    struct paper *p = calloc(1, sizeof *p);
    if (p == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for a downtime pack");
    p->db = db;
    p->look = look;
    p->out = out;
    p->err = err;
    base_arena_init(&p->arena, PAPER_ARENA_BYTES_MAX);
    const struct node_row *row = NULL;
    int rc = paper_collect(p, ward, &row);
    if (rc == 0) {
        base_buf_str(out, "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"
                          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src "
                          "'none'; style-src 'unsafe-inline'\"><meta name=\"viewport\" "
                          "content=\"width=device-width\"><title>");
        paper_text(out, paper_value(row, "name"));
        base_buf_printf(out,
                        "</title><style>%s@page{size:A4;margin:12mm 12mm 16mm;%s"
                        "@bottom-right{font:8pt sans-serif;content:\"As of ",
                        style, look->training ? training_top : "");
        paper_moment(out, look->now_ms, "%d %b %Y %H:%M");
        base_buf_str(out, ", page \" counter(page)}}</style></head><body>\n");
        rc = census(p, row);
    }
    for (int i = 0; i < p->stay_count && rc == 0; i++)
        rc = sheet(p, &p->stays[i]);
    base_buf_str(out, "</body></html>\n");
    if (rc == 0 && base_buf_check(out) != 0)
        rc = base_fail(err, base_buf_check(out), "a downtime pack");
    base_arena_release(&p->arena);
    free(p);
    return rc;
}
