#include "node/people/glass.h"

#include <stdlib.h>
#include <string.h>

#include "node/people/internal.h"
#include "node/store/sql.h"
#include "sync/base/clock.h"

const struct node_glass_reason node_glass_reasons[] = {
    {"emergency", "Life or health is in danger"},
    {"cross_cover", "I stand in for somebody on another ward"},
    {"consult", "I was asked for advice"},
    {"transfer", "The patient is on the way to us or from us"},
    {"wrong_assignment", "The patient's place in the system is wrong"},
    {"other", "Another reason, told below"},
    {NULL, NULL}};

bool node_glass_is_reason(const char *code)
{
    for (const struct node_glass_reason *r = node_glass_reasons; r->code != NULL; r++)
        if (strcmp(r->code, code) == 0)
            return true;
    return false;
}

static int check_room(struct node_db *db, const struct node_author *author,
                      const struct base_uuid *patient_id, int64_t now_ms, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc =
        node_sql(db, &st,
                 "SELECT (SELECT count(*) FROM node_break_glass WHERE staff_id = ?1 AND "
                 "ends_ms > ?3 AND ended_ms IS NULL), (SELECT 1 FROM \"patient\" WHERE id = ?2)",
                 err);
    if (rc != 0)
        return rc;
    node_sql_uuid(st, 1, &author->actor);
    node_sql_uuid(st, 2, patient_id);
    node_sql_i64(st, 3, now_ms);
    rc = node_sql_step(st, err);
    int64_t open = rc > 0 ? node_sql_col_i64(st, 0) : 0;
    bool known = rc > 0 && node_sql_col_i64(st, 1) == 1;
    node_sql_done(st);
    if (rc < 0)
        return rc;
    if (!known)
        return base_fail(err, BASE_ENOTFOUND, "there is no such patient here");
    if (open >= NODE_GLASS_MAX)
        return base_fail(err, BASE_EFULL, "at most %d at a time", NODE_GLASS_MAX);
    return 0;
}

int node_glass_begin(struct node_db *db, const struct node_author *author,
                     const struct base_uuid *patient_id, const char *reason, const char *text,
                     int64_t now_ms, struct node_glass *out, struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = check_room(db, author, patient_id, now_ms, err);
    if (rc != 0)
        return rc;
    seal_uuid_v7(&out->id, now_ms);
    out->patient_id = *patient_id;
    out->ends_ms = now_ms + NODE_GLASS_LIFE_MS;
    snprintf(out->reason, sizeof out->reason, "%s", reason);
    rc = node_sql(db, &st,
                  "INSERT INTO node_break_glass (id, staff_id, patient_id, reason, text, device, "
                  "begun_ms, ends_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                  err);
    if (rc != 0)
        return rc;
    node_sql_uuid(st, 1, &out->id);
    node_sql_uuid(st, 2, &author->actor);
    node_sql_uuid(st, 3, patient_id);
    node_sql_text(st, 4, reason);
    node_sql_text(st, 5, text);
    node_sql_text(st, 6, author->device);
    node_sql_i64(st, 7, now_ms);
    node_sql_i64(st, 8, out->ends_ms);
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc != 0 ? rc
                   : node_audit_add(db, author, "break_glass", "patient", patient_id, patient_id,
                                    "ok", reason, err);
}

/* ?1 the id, ?2 the time, ?3 the author. */
static int update(struct node_db *db, const char *text, const struct base_uuid *id, int64_t now_ms,
                  const struct base_uuid *actor, const char *verdict, const char *note,
                  struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st, text, err);
    if (rc != 0)
        return rc;
    node_sql_uuid(st, 1, id);
    node_sql_i64(st, 2, now_ms);
    node_sql_uuid(st, 3, actor);
    if (verdict != NULL) {
        node_sql_text(st, 4, verdict);
        node_sql_text(st, 5, note);
    }
    rc = node_sql_step(st, err);
    node_sql_done(st);
    return rc;
}

int node_glass_end(struct node_db *db, const struct node_author *author, const struct base_uuid *id,
                   int64_t now_ms, struct base_err *err)
{
    struct node_glass_entry e;
    int rc = update(db,
                    "UPDATE node_break_glass SET ended_ms = ?2 WHERE id = ?1 AND staff_id = ?3 AND "
                    "ended_ms IS NULL AND ends_ms > ?2",
                    id, now_ms, &author->actor, NULL, NULL, err);
    if (rc == 0 && node_sql_changes(db) == 0)
        return base_fail(err, BASE_ENOTFOUND, "none of yours that is under way");
    if (rc == 0)
        rc = node_glass_get(db, id, &e, err);
    return rc != 0 ? rc
                   : node_audit_add(db, author, "break_glass_end", "patient", &e.glass.patient_id,
                                    &e.glass.patient_id, "ok", "", err);
}

int node_glass_review(struct node_db *db, const struct node_author *author,
                      const struct base_uuid *id, const char *verdict, const char *note,
                      int64_t now_ms, struct base_err *err)
{
    struct node_glass_entry e;
    int rc = node_glass_get(db, id, &e, err);
    if (rc != 0)
        return rc;
    if (base_uuid_equal(&e.staff_id, &author->actor))
        return base_fail(err, BASE_EDENIED, "nobody reviews their own");
    if (e.reviewed_ms != 0)
        return base_fail(err, BASE_EEXISTS, "it has been reviewed");
    rc = update(db,
                "UPDATE node_break_glass SET reviewed_ms = ?2, reviewed_by = ?3, verdict = ?4, "
                "note = ?5 WHERE id = ?1",
                id, now_ms, &author->actor, verdict, note, err);
    return rc != 0 ? rc
                   : node_audit_add(db, author, "break_glass_review", "patient",
                                    &e.glass.patient_id, &e.glass.patient_id, "ok", verdict, err);
}

int node_glass_count_use(struct node_db *db, const struct base_uuid *id, bool write,
                         struct base_err *err)
{
    return people_sql_blob(db,
                           write ? "UPDATE node_break_glass SET writes = writes + 1 WHERE id = ?1"
                                 : "UPDATE node_break_glass SET reads = reads + 1 WHERE id = ?1",
                           id->bytes, BASE_UUID_BYTES, err) < 0
               ? err->code
               : 0;
}

static void text_col(struct node_stmt *st, int col, char *out, size_t out_bytes)
{
    size_t len = 0;
    const char *s = node_sql_col_text(st, col, &len);
    snprintf(out, out_bytes, "%s", s != NULL ? s : "");
}

#define GLASS_COLUMNS                                                                              \
    "SELECT g.id, g.staff_id, g.patient_id, g.reason, g.text, g.device, g.begun_ms, g.ends_ms, "   \
    "g.ended_ms, g.reads, g.writes, g.reviewed_ms, g.verdict, g.note, s.username, "                \
    "trim(coalesce(s.given_names, '') || ' ' || coalesce(s.family_name, '')), r.username "         \
    "FROM node_break_glass g LEFT JOIN \"staff\" s ON s.id = g.staff_id "                          \
    "LEFT JOIN \"staff\" r ON r.id = g.reviewed_by "

static void entry_read(struct node_stmt *st, struct node_glass_entry *e)
{
    memset(e, 0, sizeof *e);
    (void)node_sql_col_uuid(st, 0, &e->glass.id);
    (void)node_sql_col_uuid(st, 1, &e->staff_id);
    (void)node_sql_col_uuid(st, 2, &e->glass.patient_id);
    text_col(st, 3, e->glass.reason, sizeof e->glass.reason);
    text_col(st, 4, e->text, sizeof e->text);
    text_col(st, 5, e->device, sizeof e->device);
    e->begun_ms = node_sql_col_i64(st, 6);
    e->glass.ends_ms = node_sql_col_i64(st, 7);
    e->ended_ms = node_sql_col_i64(st, 8);
    e->reads = (int)node_sql_col_i64(st, 9);
    e->writes = (int)node_sql_col_i64(st, 10);
    e->reviewed_ms = node_sql_col_i64(st, 11);
    text_col(st, 12, e->verdict, sizeof e->verdict);
    text_col(st, 13, e->note, sizeof e->note);
    text_col(st, 14, e->username, sizeof e->username);
    text_col(st, 15, e->name, sizeof e->name);
    text_col(st, 16, e->reviewer, sizeof e->reviewer);
}

int node_glass_get(struct node_db *db, const struct base_uuid *id, struct node_glass_entry *out,
                   struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st, GLASS_COLUMNS "WHERE g.id = ?1", err);
    if (rc != 0)
        return rc;
    node_sql_uuid(st, 1, id);
    rc = node_sql_step(st, err);
    if (rc > 0)
        entry_read(st, out);
    node_sql_done(st);
    return rc < 0 ? rc : rc > 0 ? 0 : base_fail(err, BASE_ENOTFOUND, "there is no such entry");
}

int node_glass_each(struct node_db *db, const struct base_uuid *staff_id, const char *state,
                    void *user, bool (*cb)(void *user, const struct node_glass_entry *e),
                    struct base_err *err)
{
    struct node_glass_entry e;
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st,
                      GLASS_COLUMNS "WHERE (?1 IS NULL OR g.staff_id = ?1) AND (?2 = 'all' OR "
                                    "(?2 = 'reviewed') = (g.reviewed_ms IS NOT NULL)) "
                                    "ORDER BY g.begun_ms DESC, g.id LIMIT ?3",
                      err);
    if (rc != 0)
        return rc;
    if (staff_id == NULL)
        node_sql_text(st, 1, NULL);
    else
        node_sql_uuid(st, 1, staff_id);
    node_sql_text(st, 2, state);
    node_sql_i64(st, 3, NODE_GLASS_LIST_MAX);
    while ((rc = node_sql_step(st, err)) > 0) {
        entry_read(st, &e);
        if (!cb(user, &e))
            break;
    }
    node_sql_done(st);
    return rc < 0 ? rc : 0;
}

int people_glass_read(struct node_db *db, struct node_grants *g, int64_t now_ms,
                      struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = node_sql(db, &st,
                      "SELECT id, patient_id, reason, ends_ms FROM node_break_glass WHERE "
                      "staff_id = ?1 AND ends_ms > ?2 AND ended_ms IS NULL",
                      err);
    if (rc != 0)
        return rc;
    node_sql_uuid(st, 1, &g->staff_id);
    node_sql_i64(st, 2, now_ms);
    while (g->glass_count < NODE_GLASS_MAX && (rc = node_sql_step(st, err)) > 0) {
        struct node_glass *at = &g->glass[g->glass_count++];
        (void)node_sql_col_uuid(st, 0, &at->id);
        (void)node_sql_col_uuid(st, 1, &at->patient_id);
        text_col(st, 2, at->reason, sizeof at->reason);
        at->ends_ms = node_sql_col_i64(st, 3);
    }
    node_sql_done(st);
    return rc < 0 ? rc : 0;
}

/* On the loop. Grants are shared and never change: the sessions get new ones. */

struct glass_moved {
    const struct base_uuid *staff_id, *id;
    const struct node_glass *added; /* NULL: id has ended */
    struct node_grants *now;
};

static struct node_grants *with_glass(const struct node_grants *g, const struct glass_moved *m)
{
    struct node_grants *now = malloc(sizeof *now);
    if (now == NULL)
        return NULL;
    *now = *g;
    now->refs = 1;
    now->glass_count = 0;
    for (int i = 0; i < g->glass_count; i++)
        if (!base_uuid_equal(&g->glass[i].id, m->id))
            now->glass[now->glass_count++] = g->glass[i];
    if (m->added != NULL && now->glass_count < NODE_GLASS_MAX)
        now->glass[now->glass_count++] = *m->added;
    return now;
}

static void take_glass(void *user, struct node_session *s)
{
    struct glass_moved *m = user;
    if (!base_uuid_equal(&s->grants->staff_id, m->staff_id))
        return;
    if (m->now == NULL)
        m->now = with_glass(s->grants, m);
    if (m->now == NULL)
        return; /* no memory: the next reload brings it */
    node_grants_unref(s->grants);
    s->grants = node_grants_ref(m->now);
}

void node_people_glass_begun(struct node_people *p, const struct base_uuid *staff_id,
                             const struct node_glass *glass)
{
    struct glass_moved m = {.staff_id = staff_id, .id = &glass->id, .added = glass};
    people_session_each(p, &m, take_glass);
    node_grants_unref(m.now);
}

void node_people_glass_ended(struct node_people *p, const struct base_uuid *staff_id,
                             const struct base_uuid *id)
{
    struct glass_moved m = {.staff_id = staff_id, .id = id};
    people_session_each(p, &m, take_glass);
    node_grants_unref(m.now);
}

const struct node_glass *node_grants_glass(const struct node_grants *g,
                                           const struct base_uuid *patient_id, int64_t now_ms)
{
    for (int i = 0; i < g->glass_count; i++)
        if (base_uuid_equal(&g->glass[i].patient_id, patient_id) && g->glass[i].ends_ms > now_ms)
            return &g->glass[i];
    return NULL;
}
