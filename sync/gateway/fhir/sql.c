/*
 * The import's SQL: one statement a table and batch, its columns as arrays of text; a batch is one
 * transaction and one round trip.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sync/gateway/fhir/import_internal.h"
#include "sync/gateway/fhir/seen.h"

enum {
    PARAMS_MAX = GW_WARD_COLUMNS_MAX + 2,
    ARRAY_BYTES_MAX = 256 * 1024 * 1024,
    RETRY_MS = 200,
    REASON_BYTES = 128
};

/* Which of the batch's rows of a table a statement is for. */
struct choice {
    enum gw_ward_table table;
    int only;       /* one row, or -1 */
    bool untouched; /* those that the statement before did not write */
};

static int lost(struct gw_import *im, struct base_err *err)
{
    (void)im;
    return base_fail(err, BASE_EUNREACHABLE,
                     "the connection to PostgreSQL is lost; run the same import again, it goes on");
}

static int failed(struct gw_import *im, const PGresult *r, const char *what, struct base_err *err)
{
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    if (PQstatus(im->pg) != CONNECTION_OK)
        return lost(im, err);
    return base_fail(err, BASE_EIO, "%s: SQLSTATE %s", what, state != NULL ? state : "none");
}

/* ---- beginning ------------------------------------------------------------------------------ */

static int find_tenant(struct gw_import *im, struct base_err *err)
{
    static const char sql[] = "SELECT tenant_id FROM everward.tenant"
                              " WHERE tenant_id::text = lower($1) OR name = $1";
    const char *values[] = {im->options->tenant};
    int rc = 0;
    PGresult *r = PQexecParams(im->pg, sql, 1, NULL, values, NULL, NULL, 0);
    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        rc = failed(im, r, "the tenant cannot be looked up", err);
    else if (PQntuples(r) == 0)
        rc = base_fail(err, BASE_ENOTFOUND, "there is no tenant \"%s\"", im->options->tenant);
    else if (PQntuples(r) > 1)
        rc = base_fail(err, BASE_EINVALID, "several tenants are called \"%s\": give the uuid",
                       im->options->tenant);
    else if (!base_uuid_parse(&im->tenant, PQgetvalue(r, 0, 0), strlen(PQgetvalue(r, 0, 0))))
        rc = base_fail(err, BASE_EBUG, "the tenant's id is no uuid");
    else
        base_uuid_format(&im->tenant, im->tenant_text);
    PQclear(r);
    return rc;
}

int gw_sql_open(struct gw_import *im, struct base_err *err)
{
    for (int t = 0; t < GW_WARD_TABLES; t++) {
        im->sql[t] = gw_sql_insert(gw_ward_spec((enum gw_ward_table)t));
        im->compare[t] = gw_sql_compare(gw_ward_spec((enum gw_ward_table)t));
        if (im->sql[t] == NULL || im->compare[t] == NULL)
            return base_fail(err, BASE_ENOMEM, "out of memory");
    }
    im->pg = PQconnectdb(im->options->dsn);
    if (PQstatus(im->pg) != CONNECTION_OK)
        return base_fail(err, BASE_EUNREACHABLE, "PostgreSQL: %s", PQerrorMessage(im->pg));
    PGresult *r = PQexec(im->pg, "SET client_min_messages = warning; SET statement_timeout = 0;"
                                 " SET lock_timeout = '60s'; SET jit = off");
    int rc = PQresultStatus(r) == PGRES_COMMAND_OK ? 0 : failed(im, r, "a setting", err);
    PQclear(r);
    if (rc == 0 && PQsetClientEncoding(im->pg, "UTF8") != 0)
        rc = base_fail(err, BASE_EUNSUPPORTED, "the connection cannot use UTF-8");
    return rc != 0 ? rc : find_tenant(im, err);
}

void gw_sql_close(struct gw_import *im)
{
    for (int t = 0; t < GW_WARD_TABLES; t++) {
        free(im->sql[t]);
        free(im->compare[t]);
    }
    PQfinish(im->pg);
    im->pg = NULL;
}

/* ---- parameters -------------------------------------------------------------------------------
 */

struct params {
    struct base_buf arrays[PARAMS_MAX]; /* [0] ids, [k + 1] column k */
    const char *values[PARAMS_MAX];
    int count, rows;
};

static void add_text(struct base_buf *b, const char *s)
{
    if (s == NULL) {
        base_buf_str(b, "NULL,");
        return;
    }
    base_buf_char(b, '"');
    for (;;) {
        size_t n = strcspn(s, "\"\\");
        base_buf_add(b, s, n);
        s += n;
        if (*s == '\0')
            break;
        base_buf_char(b, '\\');
        base_buf_char(b, *s++);
    }
    base_buf_add(b, "\",", 2);
}

static bool chosen(const struct gw_batch *b, int i, const struct choice *c)
{
    const struct gw_batch_row *r = &b->rows[i];
    return r->row.table == c->table && !r->dropped && b->units[r->unit].state == GW_UNIT_ALIVE &&
           (c->only < 0 || c->only == i) && (!c->untouched || !r->touched);
}

static struct params *params_new(void)
{
    struct params *p = calloc(1, sizeof *p);
    for (int i = 0; p != NULL && i < PARAMS_MAX; i++)
        base_buf_init(&p->arrays[i], ARRAY_BYTES_MAX);
    return p;
}

static void params_free(struct params *p)
{
    for (int i = 0; p != NULL && i < PARAMS_MAX; i++)
        base_buf_release(&p->arrays[i]);
    free(p);
}

static int params_fill(struct params *p, const struct gw_import *im, const struct gw_batch *b,
                       const struct choice *c, struct base_err *err)
{
    const struct gw_ward_spec *s = gw_ward_spec(c->table);
    p->rows = 0;
    p->count = s->count + 2;
    for (int k = 0; k <= s->count; k++) {
        base_buf_clear(&p->arrays[k]);
        base_buf_char(&p->arrays[k], '{');
    }
    for (int i = 0; i < b->row_count; i++) {
        char id[BASE_UUID_CHARS + 1];
        if (!chosen(b, i, c))
            continue;
        base_uuid_format(&b->rows[i].row.id, id);
        base_buf_str(&p->arrays[0], id);
        base_buf_char(&p->arrays[0], ',');
        for (int k = 0; k < s->count; k++)
            add_text(&p->arrays[k + 1], b->rows[i].row.values[k]);
        p->rows++;
    }
    p->values[0] = im->tenant_text;
    for (int k = 0; k <= s->count && p->rows > 0; k++) {
        struct base_buf *a = &p->arrays[k];
        if (base_buf_check(a) != 0)
            return base_fail(err, base_buf_check(a), "a batch's values");
        a->data[a->len - 1] = '}';
        p->values[k + 1] = a->data;
    }
    return 0;
}

/* ---- what is there -------------------------------------------------------------------------- */

int gw_sql_present(struct gw_import *im, enum gw_ward_table table, const struct base_uuid *ids,
                   int count, bool *present, struct base_err *err)
{
    char sql[256];
    struct base_buf a;
    int rc = 0;
    (void)snprintf(sql, sizeof sql,
                   "SELECT u.n FROM unnest($2::uuid[]) WITH ORDINALITY AS u (id, n)"
                   " CROSS JOIN LATERAL (SELECT FROM ward.%s p"
                   " WHERE p.tenant_id = $1 AND p.id = u.id LIMIT 1) p",
                   gw_ward_spec(table)->name);
    base_buf_init(&a, ARRAY_BYTES_MAX);
    for (int i = 0; i < count; i++) {
        char id[BASE_UUID_CHARS + 1];
        base_uuid_format(&ids[i], id);
        base_buf_char(&a, i > 0 ? ',' : '{');
        base_buf_str(&a, id);
        present[i] = false;
    }
    base_buf_char(&a, '}');
    if (base_buf_check(&a) != 0) {
        rc = base_fail(err, base_buf_check(&a), "a batch's references");
        base_buf_release(&a);
        return rc;
    }
    const char *values[] = {im->tenant_text, a.data};
    PGresult *r = PQexecParams(im->pg, sql, 2, NULL, values, NULL, NULL, 0);
    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        rc = failed(im, r, "references cannot be looked up", err);
    for (int i = 0; rc == 0 && i < PQntuples(r); i++) {
        long long n = strtoll(PQgetvalue(r, i, 0), NULL, 10);
        if (n >= 1 && n <= count)
            present[n - 1] = true;
    }
    PQclear(r);
    base_buf_release(&a);
    return rc;
}

/* ---- a batch at once --------------------------------------------------------------------------
 */

static bool send_text(struct gw_import *im, const char *sql)
{
    return PQsendQueryParams(im->pg, sql, 0, NULL, NULL, NULL, NULL, 0) == 1;
}

int gw_sql_send(struct gw_import *im, struct gw_batch *b, struct base_err *err)
{
    struct params *p = params_new();
    int rc = p != NULL ? 0 : base_fail(err, BASE_ENOMEM, "out of memory");
    if (rc == 0 && (PQenterPipelineMode(im->pg) != 1 || !send_text(im, "BEGIN")))
        rc = lost(im, err);
    for (int t = 0; t < GW_WARD_TABLES && rc == 0; t++) {
        struct choice c = {(enum gw_ward_table)t, -1, false};
        rc = params_fill(p, im, b, &c, err);
        if (rc == 0 && p->rows > 0 &&
            PQsendQueryParams(im->pg, im->sql[t], p->count, NULL, p->values, NULL, NULL, 1) != 1)
            rc = lost(im, err);
    }
    if (rc == 0 && (!send_text(im, "COMMIT") || PQpipelineSync(im->pg) != 1))
        rc = lost(im, err);
    params_free(p);
    return rc;
}

static void touch(struct gw_batch *b, enum gw_ward_table table, const PGresult *r)
{
    for (int i = 0; i < PQntuples(r); i++) {
        struct base_uuid id;
        if (PQgetlength(r, i, 0) != BASE_UUID_BYTES)
            continue;
        memcpy(id.bytes, PQgetvalue(r, i, 0), BASE_UUID_BYTES);
        const struct gw_seen_place *place = gw_seen_find(b->seen, table, &id);
        if (place->state == GW_SEEN_ROW)
            b->rows[place->row].touched = true;
    }
}

static bool has_rows(const struct gw_batch *b, enum gw_ward_table table)
{
    struct choice c = {table, -1, false};
    for (int i = 0; i < b->row_count; i++)
        if (chosen(b, i, &c))
            return true;
    return false;
}

/* Reads one statement's results; the state of the first that failed is kept. */
static void receive(struct gw_import *im, struct gw_batch *b, int table, char state[6])
{
    PGresult *r;
    while ((r = PQgetResult(im->pg)) != NULL) {
        ExecStatusType status = PQresultStatus(r);
        if (status == PGRES_TUPLES_OK && table >= 0)
            touch(b, (enum gw_ward_table)table, r);
        if (status == PGRES_FATAL_ERROR && state[0] == '\0') {
            const char *s = PQresultErrorField(r, PG_DIAG_SQLSTATE);
            (void)snprintf(state, 6, "%s", s != NULL ? s : "08006");
        }
        PQclear(r);
    }
}

/* 0 with state empty: committed. 0 with a state: rolled back. */
static int collect(struct gw_import *im, struct gw_batch *b, char state[6], struct base_err *err)
{
    state[0] = '\0';
    receive(im, b, -1, state); /* BEGIN */
    for (int t = 0; t < GW_WARD_TABLES; t++)
        if (has_rows(b, (enum gw_ward_table)t))
            receive(im, b, t, state);
    receive(im, b, -1, state); /* COMMIT */
    PGresult *r = PQgetResult(im->pg);
    bool synced = PQresultStatus(r) == PGRES_PIPELINE_SYNC;
    PQclear(r);
    if (!synced || PQexitPipelineMode(im->pg) != 1 || PQstatus(im->pg) != CONNECTION_OK)
        return lost(im, err);
    if (state[0] != '\0') {
        for (int i = 0; i < b->row_count; i++)
            b->rows[i].touched = false;
        PQclear(PQexec(im->pg, "ROLLBACK"));
    }
    return 0;
}

/* ---- one by one, where the batch was refused --------------------------------------------------
 */

static bool run(struct gw_import *im, const char *sql)
{
    PGresult *r = PQexec(im->pg, sql);
    bool ok = PQresultStatus(r) == PGRES_COMMAND_OK;
    PQclear(r);
    return ok;
}

/* What the database says about a row, in names of ours; its sentence may hold the row's values. */
static void reason_of(const PGresult *r, const struct gw_ward_spec *s, char out[REASON_BYTES])
{
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    const char *constraint = PQresultErrorField(r, PG_DIAG_CONSTRAINT_NAME);
    const char *column = PQresultErrorField(r, PG_DIAG_COLUMN_NAME);
    (void)snprintf(out, REASON_BYTES, "the database refuses the row of %s: SQLSTATE %s %s", s->name,
                   state != NULL ? state : "?",
                   constraint != NULL ? constraint
                   : column != NULL   ? column
                                      : "");
}

/* True: the row's fault. The rest (full disk, shutdown, lock timeout) ends the import. */
static bool rows_fault(const PGresult *r)
{
    const char *s = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    return s != NULL &&
           (strncmp(s, "22", 2) == 0 || strncmp(s, "23", 2) == 0 || strncmp(s, "EW", 2) == 0);
}

static int unit_alone(struct gw_import *im, struct gw_batch *b, int unit, struct params *p,
                      struct base_err *err)
{
    struct gw_batch_unit *u = &b->units[unit];
    int rc = run(im, "SAVEPOINT one") ? 0 : lost(im, err);
    for (int i = u->first; i < u->first + u->count && rc == 0; i++) {
        struct choice c = {b->rows[i].row.table, i, false};
        rc = params_fill(p, im, b, &c, err);
        if (rc != 0 || p->rows == 0)
            continue;
        PGresult *r =
            PQexecParams(im->pg, im->sql[c.table], p->count, NULL, p->values, NULL, NULL, 1);
        if (PQresultStatus(r) == PGRES_TUPLES_OK) {
            touch(b, c.table, r);
        } else if (rows_fault(r) && run(im, "ROLLBACK TO one")) {
            char reason[REASON_BYTES];
            reason_of(r, gw_ward_spec(c.table), reason);
            gw_report_reason(im->report, u->type, GW_ABOUT_UNPLACED, reason);
            u->state = GW_UNIT_UNPLACED; /* and so none of its rows is chosen any more */
        } else {
            rc = failed(im, r, "a row cannot be written", err);
        }
        PQclear(r);
    }
    if (rc == 0 && !run(im, "RELEASE one"))
        rc = lost(im, err);
    return rc;
}

static int one_by_one(struct gw_import *im, struct gw_batch *b, struct base_err *err)
{
    struct params *p = params_new();
    int rc = p != NULL ? 0 : base_fail(err, BASE_ENOMEM, "out of memory");
    if (rc == 0 && !run(im, "BEGIN"))
        rc = lost(im, err);
    for (int t = 0; t < GW_WARD_TABLES && rc == 0; t++)
        for (int i = 0; i < b->unit_count && rc == 0; i++)
            if (b->units[i].state == GW_UNIT_ALIVE && b->units[i].count > 0 &&
                (int)b->rows[b->units[i].first].row.table == t)
                rc = unit_alone(im, b, i, p, err);
    if (rc == 0 && !run(im, "COMMIT"))
        rc = base_fail(err, BASE_EIO, "a batch could not be committed; run the same import again");
    if (rc != 0)
        (void)run(im, "ROLLBACK");
    params_free(p);
    return rc;
}

/* ---- facts that are there already ---------------------------------------------------------------
 */

static void mark_other(struct gw_import *im, struct gw_batch *b, enum gw_ward_table table,
                       const PGresult *r)
{
    for (int i = 0; i < PQntuples(r); i++) {
        struct base_uuid id;
        char reason[REASON_BYTES];
        memcpy(id.bytes, PQgetvalue(r, i, 0), BASE_UUID_BYTES);
        const struct gw_seen_place *place = gw_seen_find(b->seen, table, &id);
        if (place->state != GW_SEEN_ROW)
            continue;
        struct gw_batch_unit *u = &b->units[b->rows[place->row].unit];
        bool own = place->row == u->first;
        (void)snprintf(reason, sizeof reason,
                       "%s: there already with another content, and facts are not changed",
                       gw_ward_spec(table)->name);
        gw_report_reason(im->report, u->type, own ? GW_ABOUT_UNPLACED : GW_ABOUT_LEFT_OUT, reason);
        if (own)
            u->state = GW_UNIT_UNPLACED;
    }
}

static bool has_untouched_facts(const struct gw_batch *b)
{
    for (int i = 0; i < b->row_count; i++) {
        struct choice c = {b->rows[i].row.table, -1, true};
        if (gw_ward_spec(c.table)->fact && chosen(b, i, &c))
            return true;
    }
    return false;
}

static int compare_facts(struct gw_import *im, struct gw_batch *b, struct base_err *err)
{
    if (!has_untouched_facts(b))
        return 0;
    struct params *p = params_new();
    int rc = p != NULL ? 0 : base_fail(err, BASE_ENOMEM, "out of memory");
    for (int t = 0; t < GW_WARD_TABLES && rc == 0; t++) {
        struct choice c = {(enum gw_ward_table)t, -1, true};
        if (!gw_ward_spec(c.table)->fact || !has_rows(b, c.table))
            continue;
        rc = params_fill(p, im, b, &c, err);
        if (rc != 0 || p->rows == 0)
            continue;
        PGresult *r =
            PQexecParams(im->pg, im->compare[t], p->count, NULL, p->values, NULL, NULL, 1);
        if (PQresultStatus(r) == PGRES_TUPLES_OK)
            mark_other(im, b, c.table, r);
        else
            rc = failed(im, r, "facts cannot be compared", err);
        PQclear(r);
    }
    params_free(p);
    return rc;
}

static bool passing(const char *state)
{
    return strcmp(state, "40001") == 0 || strcmp(state, "40P01") == 0;
}

int gw_sql_finish(struct gw_import *im, struct gw_batch *b, struct base_err *err)
{
    char state[6];
    int rc = collect(im, b, state, err);
    for (int again = 0; rc == 0 && passing(state) && again < GW_IMPORT_RETRIES; again++) {
        struct timespec pause = {0, RETRY_MS * 1000000L};
        (void)nanosleep(&pause, NULL);
        rc = gw_sql_send(im, b, err);
        if (rc == 0)
            rc = collect(im, b, state, err);
    }
    if (rc == 0 && state[0] != '\0')
        rc = one_by_one(im, b, err);
    return rc != 0 ? rc : compare_facts(im, b, err);
}
