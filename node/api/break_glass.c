/*
 * /api/v1/break-glass: beginning, ending, listing, reviewing; and finding the patient to begin with.
 */
#include <string.h>

#include "node/api/internal.h"
#include "node/people/glass.h"

enum { GLASS_PATIENTS_MAX = 20, GLASS_NAME_CHARS_MIN = 3, GLASS_PARAM_BYTES_MAX = 128 };

/* In the call's arena. */
struct glass_call {
    const char *reason, *text, *verdict, *note, *state;
    struct base_uuid patient_id;
    struct node_glass begun;
};

static struct glass_call *details(struct api_call *c)
{
    struct glass_call *g = base_arena_get(&c->arena, sizeof *g);
    if (g == NULL) {
        api_refuse_rc(c, BASE_ENOMEM, "out of memory");
        return NULL;
    }
    memset(g, 0, sizeof *g);
    c->user = g;
    return g;
}

void api_on_glass_reasons(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    base_buf_str(&c->body, "{\"items\":[");
    for (const struct node_glass_reason *r = node_glass_reasons; r->code != NULL; r++)
        base_buf_printf(&c->body, "%s{\"code\":\"%s\",\"text\":\"%s\"}",
                        r == node_glass_reasons ? "" : ",", r->code, r->text);
    base_buf_str(&c->body, "]}");
    api_finish(c);
}

static void render_review(struct base_buf *out, const struct node_glass_entry *e)
{
    base_buf_str(out, ",\"review\":");
    if (e->reviewed_ms == 0) {
        base_buf_str(out, "null");
        return;
    }
    base_buf_str(out, "{\"by\":");
    base_buf_json_str(out, e->reviewer);
    api_render_time(out, "at", e->reviewed_ms);
    base_buf_printf(out, ",\"verdict\":\"%s\",\"note\":", e->verdict);
    base_buf_json_str(out, e->note);
    base_buf_char(out, '}');
}

static void render(struct base_buf *out, const struct node_glass_entry *e)
{
    base_buf_str(out, "{\"id\":");
    api_render_uuid(out, &e->glass.id);
    base_buf_str(out, ",\"patient_id\":");
    api_render_uuid(out, &e->glass.patient_id);
    base_buf_printf(out, ",\"reason\":\"%s\",\"text\":", e->glass.reason);
    base_buf_json_str(out, e->text);
    api_render_time(out, "begun_at", e->begun_ms);
    api_render_time(out, "ends_at", e->glass.ends_ms);
    api_render_time(out, "ended_at", e->ended_ms);
    api_render_time(out, "reviewed_at", e->reviewed_ms);
    base_buf_str(out, ",\"staff\":{\"id\":");
    api_render_uuid(out, &e->staff_id);
    base_buf_str(out, ",\"username\":");
    base_buf_json_str(out, e->username);
    base_buf_str(out, ",\"name\":");
    base_buf_json_str(out, e->name[0] != '\0' ? e->name : e->username);
    base_buf_str(out, "},\"device\":");
    base_buf_json_str(out, e->device[0] != '\0' ? e->device : NULL);
    base_buf_printf(out, ",\"reads\":%d,\"writes\":%d", e->reads, e->writes);
    render_review(out, e);
    base_buf_char(out, '}');
}

static int render_one(struct api_call *c, struct node_db *db, const struct base_uuid *id,
                      struct base_err *err)
{
    struct node_glass_entry *e = base_arena_get(&c->arena, sizeof *e);
    int rc = e == NULL ? BASE_ENOMEM : node_glass_get(db, id, e, err);
    if (rc == 0)
        render(&c->body, e);
    return rc;
}

static int begin_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    struct glass_call *g = c->user;
    struct node_author author;
    api_author(c, &author);
    int rc = node_glass_begin(db, &author, &g->patient_id, g->reason, g->text, c->now_ms, &g->begun,
                              err);
    if (rc == BASE_ENOTFOUND)
        return api_refuse(c, 404, "not_found", NULL, "there is no such patient here");
    if (rc == BASE_EFULL) {
        c->problem.retry_after_s = NODE_GLASS_LIFE_MS / 1000;
        return api_refuse(c, 429, "too_many_requests", "End one of them first.", "%s", err->text);
    }
    if (rc != 0)
        return rc;
    c->status = 201;
    return render_one(c, db, &g->begun.id, err);
}

static void begun(struct api_call *c)
{
    const struct glass_call *g = c->user;
    if (g->begun.ends_ms > 0) /* not the stored reply of an earlier one */
        node_people_glass_begun(c->api->people, &c->grants->staff_id, &g->begun);
}

static int take_begin(struct api_call *c, struct glass_call *g)
{
    static const char *const names[] = {"patient_id", "reason", "text", NULL};
    const char *patient = NULL;
    struct base_err err;
    if (net_json_only(c->json, names, &err) != 0 ||
        net_json_str(c->json, "patient_id", BASE_UUID_CHARS, &patient, &err) != 0 ||
        net_json_str(c->json, "reason", 24, &g->reason, &err) != 0 ||
        net_json_str(c->json, "text", NODE_GLASS_TEXT_BYTES_MAX, &g->text, &err) != 0)
        return api_refuse(c, 400, "bad_break_glass",
                          "Send {\"patient_id\":…,\"reason\":…,\"text\":…}.", "%s", err.text);
    if (!base_uuid_parse(&g->patient_id, patient, strlen(patient)))
        return api_refuse_column(c, 422, "invalid_value", "patient_id",
                                 "patient_id: expected a uuid");
    if (!node_glass_is_reason(g->reason))
        return api_refuse_column(c, 422, "invalid_value", "reason",
                                 "reason: expected a code of /api/v1/break-glass/reasons");
    if (strlen(g->text) < NODE_GLASS_TEXT_BYTES_MIN)
        return api_refuse_column(c, 422, "invalid_value", "text",
                                 "text: expected at least %d characters",
                                 NODE_GLASS_TEXT_BYTES_MIN);
    return 0;
}

void api_on_glass_begin(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    struct glass_call *g = details(c);
    if (g == NULL || !api_may(c, NODE_MAY_CREATE, "break_glass") || api_take_key(c, true) != 0 ||
        api_take_json(c) != 0 || take_begin(c, g) != 0) {
        api_finish(c);
        return;
    }
    c->after = begun;
    api_run_write(c, begin_work);
}

static int end_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    struct node_author author;
    api_author(c, &author);
    int rc = node_glass_end(db, &author, &c->id, c->now_ms, err);
    return rc != BASE_ENOTFOUND
               ? rc
               : api_refuse(c, 404, "not_found", NULL, "none of yours that is under way");
}

static void ended(struct api_call *c)
{
    node_people_glass_ended(c->api->people, &c->grants->staff_id, &c->id);
}

/* One's own: no right is needed to stop. */
void api_on_glass_end(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    if (api_take_id(c) != 0) {
        api_finish(c);
        return;
    }
    c->status = 204;
    c->after = ended;
    api_run_write(c, end_work);
}

static bool list_one(void *user, const struct node_glass_entry *e)
{
    struct api_call *c = user;
    if (c->body.data[c->body.len - 1] != '[')
        base_buf_char(&c->body, ',');
    render(&c->body, e);
    return base_buf_check(&c->body) == 0;
}

static int list_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    const struct glass_call *g = c->user;
    bool all = node_grants_may(c->grants, NODE_MAY_READ, "break_glass");
    base_buf_str(&c->body, "{\"data_as_of\":");
    base_buf_json_str(&c->body, c->data_as_of);
    base_buf_str(&c->body, ",\"items\":[");
    int rc = node_glass_each(db, all ? NULL : &c->grants->staff_id, g->state, c, list_one, err);
    base_buf_str(&c->body, "]}");
    c->audit_action = "break_glass_list";
    return rc;
}

/* Everybody may see their own. */
void api_on_glass_list(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    struct glass_call *g = details(c);
    if (g != NULL && api_take_params(c) == 0) {
        g->state = c->param_count > 0 ? c->params[0].value : "open";
        if (c->param_count > 1 || (c->param_count == 1 && strcmp(c->params[0].name, "state") != 0))
            api_refuse_column(c, 400, "unknown_parameter", "state", "this list knows state alone");
        else if (strcmp(g->state, "open") != 0 && strcmp(g->state, "reviewed") != 0 &&
                 strcmp(g->state, "all") != 0)
            api_refuse_column(c, 400, "bad_filter", "state",
                              "state: expected open, reviewed or all");
    }
    if (c->problem.status != 0)
        api_finish(c);
    else
        api_run(c, list_work);
}

static int review_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    const struct glass_call *g = c->user;
    struct node_author author;
    api_author(c, &author);
    int rc = node_glass_review(db, &author, &c->id, g->verdict, g->note, c->now_ms, err);
    if (rc == BASE_ENOTFOUND)
        return api_refuse(c, 404, "not_found", NULL, "there is no such entry");
    if (rc == BASE_EDENIED)
        return api_refuse(c, 403, "own_break_glass", "Somebody else has to look at it.", "%s",
                          err->text);
    if (rc == BASE_EEXISTS)
        return api_refuse(c, 409, "already_reviewed", "Look at it again.", "%s", err->text);
    return rc != 0 ? rc : render_one(c, db, &c->id, err);
}

static int take_review(struct api_call *c, struct glass_call *g)
{
    static const char *const names[] = {"verdict", "note", NULL};
    struct base_err err;
    g->note = "";
    if (net_json_only(c->json, names, &err) != 0 ||
        net_json_str(c->json, "verdict", 16, &g->verdict, &err) != 0 ||
        (net_json_has(c->json, "note") &&
         net_json_str(c->json, "note", NODE_GLASS_TEXT_BYTES_MAX, &g->note, &err) != 0))
        return api_refuse(c, 400, "bad_break_glass", "Send {\"verdict\":…,\"note\":…}.", "%s",
                          err.text);
    if (strcmp(g->verdict, "justified") != 0 && strcmp(g->verdict, "unjustified") != 0 &&
        strcmp(g->verdict, "unclear") != 0)
        return api_refuse_column(c, 422, "invalid_value", "verdict",
                                 "verdict: expected justified, unjustified or unclear");
    return 0;
}

void api_on_glass_review(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    struct glass_call *g = details(c);
    if (g == NULL || !api_may(c, NODE_MAY_UPDATE, "break_glass") || api_take_id(c) != 0 ||
        api_take_json(c) != 0 || take_review(c, g) != 0)
        api_finish(c);
    else
        api_run_write(c, review_work);
}

/* Finding the patient: enough to tell them apart, no more. */

static const char *param_of(const struct api_call *c, const char *name)
{
    for (int i = 0; i < c->param_count; i++)
        if (strcmp(c->params[i].name, name) == 0)
            return c->params[i].value;
    return NULL;
}

static const char patients_sql[] =
    "SELECT p.id, p.family_name, p.given_names, p.birth_date, p.sex FROM \"patient\" p WHERE "
    "(?1 IS NULL OR fold_prefix(p.family_name, ?1)) AND "
    "(?2 IS NULL OR fold_prefix(p.given_names, ?2)) AND (?3 IS NULL OR p.birth_date = ?3) AND "
    "(?4 IS NULL OR EXISTS (SELECT 1 FROM \"patient_identifier\" i WHERE i.patient_id = p.id AND "
    "i.value = ?4)) ORDER BY p.family_name, p.given_names, p.id LIMIT ?5";

static void render_patient(struct base_buf *out, struct node_stmt *st)
{
    static const char *const names[] = {"family_name", "given_names", "birth_date", "sex"};
    struct base_uuid id = {{0}};
    size_t len = 0;
    (void)node_sql_col_uuid(st, 0, &id);
    base_buf_str(out, out->data[out->len - 1] == '[' ? "{\"id\":" : ",{\"id\":");
    api_render_uuid(out, &id);
    for (int i = 0; i < 4; i++) {
        const char *s = node_sql_col_text(st, 1 + i, &len);
        base_buf_printf(out, ",\"%s\":", names[i]);
        base_buf_json_str(out, s);
    }
    base_buf_char(out, '}');
}

static int patients_work(struct api_call *c, struct node_db *db, struct base_err *err)
{
    static const char *const names[] = {"family_name", "given_names", "birth_date", "identifier"};
    struct node_stmt *st = NULL;
    char folded[GLASS_PARAM_BYTES_MAX * 2];
    int rc = node_sql(db, &st, patients_sql, err);
    if (rc != 0)
        return rc;
    for (int i = 0; i < 4; i++) {
        const char *value = param_of(c, names[i]);
        if (value != NULL && i < 2)
            node_username_fold(folded, sizeof folded, value);
        node_sql_text(st, i + 1,
                      value == NULL ? NULL
                      : i < 2       ? base_arena_copy(&c->arena, folded, strlen(folded))
                                    : value);
    }
    node_sql_i64(st, 5, GLASS_PATIENTS_MAX);
    base_buf_str(&c->body, "{\"items\":[");
    while ((rc = node_sql_step(st, err)) > 0)
        render_patient(&c->body, st);
    node_sql_done(st);
    base_buf_str(&c->body, "]}");
    c->table = "patient";
    c->audit_action = "break_glass_search";
    return rc;
}

static int take_search(struct api_call *c)
{
    static const char *const names[] = {"family_name", "given_names", "birth_date", "identifier"};
    const char *family = NULL;
    if (api_take_params(c) != 0)
        return BASE_EINVALID;
    for (int i = 0; i < c->param_count; i++) {
        bool known = false;
        for (size_t k = 0; k < sizeof names / sizeof names[0]; k++)
            known = known || strcmp(names[k], c->params[i].name) == 0;
        if (!known)
            return api_refuse_column(c, 400, "unknown_parameter", "name",
                                     "family_name, given_names, birth_date and identifier");
        if (strlen(c->params[i].value) >= GLASS_PARAM_BYTES_MAX)
            return api_refuse_column(c, 400, "bad_filter", "name", "too long");
    }
    family = param_of(c, "family_name");
    const char *identifier = param_of(c, "identifier");
    if ((family == NULL || strlen(family) < GLASS_NAME_CHARS_MIN) &&
        (identifier == NULL || *identifier == '\0'))
        return api_refuse_column(c, 400, "bad_filter", "family_name",
                                 "give three letters of family_name, or identifier");
    return 0;
}

void api_on_glass_patients(struct net_http_exchange *x, void *user)
{
    struct api_call *c = api_begin(x, user);
    if (c == NULL)
        return;
    if (!api_may(c, NODE_MAY_CREATE, "break_glass") || take_search(c) != 0)
        api_finish(c);
    else
        api_run(c, patients_work);
}
