/*
 * outbox accept: what a node exported goes through the same checks and the same merging as its pushes would, in its name,
 * and asks for a review (push_late.c). Signature, chain and numbers of every batch are checked before the first is applied;
 * each batch is one transaction with its receipt, so that a run that is broken off is finished by the next one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/base/log.h"
#include "sync/gateway/outbox.h"
#include "sync/gateway/push.h"
#include "sync/seal/seal.h"

enum { NAME_BYTES_MAX = 256, PERMIT_BYTES = NET_TICKET_BYTES, LIST_MAX = 10000 };

struct accept {
    struct gw_cli *cli;
    struct gw_outbox box;
    char tenant[37], name[NAME_BYTES_MAX], status[16], id[37];
    struct gw_who who;
    PGresult *former;          /* key, life, up to which change */
    int64_t incarnation, head; /* the centre's */
    int64_t inc, first, last;  /* the file's */
    uint8_t chain[CORE_CHAIN_BYTES];
    int64_t inserts, updates, deletes;
    uv_loop_t loop;
    struct gateway gw;
    bool answered;
    int answer;
    int64_t applied, known;
    struct base_err err;
};

/* ---- who, and how far the centre is -------------------------------------------------------- */

static int find_node(struct accept *a)
{
    int code = 0;
    a->who.node_id = a->box.node_id;
    base_uuid_format(&a->who.node_id, a->who.node);
    memcpy(a->who.tenant, a->tenant, sizeof a->tenant);
    (void)base_uuid_parse(&a->who.tenant_id, a->tenant, strlen(a->tenant));
    const char *const values[] = {a->tenant, a->who.node};
    PGresult *r = gw_run(a->cli, &code,
                         "SELECT n.name, n.status, encode(n.public_key, 'hex'), n.incarnation,"
                         " coalesce(h.last_seq, 0) FROM everward.node n"
                         " LEFT JOIN everward.node_head h USING (tenant_id, node_id, incarnation)"
                         " WHERE n.tenant_id = $1::uuid AND n.node_id = $2::uuid",
                         2, values);
    if (r == NULL)
        return code;
    if (PQntuples(r) != 1 || !seal_hex_decode(a->who.public_key, 32, PQgetvalue(r, 0, 2), 64)) {
        code = gw_complain(GW_EXIT_REFUSED, "the tenant has no node of the id that the file names",
                           "everward-gateway node list --tenant T");
    } else {
        (void)snprintf(a->name, sizeof a->name, "%s", PQgetvalue(r, 0, 0));
        (void)snprintf(a->status, sizeof a->status, "%s", PQgetvalue(r, 0, 1));
        a->incarnation = strtoll(PQgetvalue(r, 0, 3), NULL, 10);
        a->head = strtoll(PQgetvalue(r, 0, 4), NULL, 10);
    }
    PQclear(r);
    return code;
}

/* Keys it had; each may have signed up to where the next one took its place. */
static int find_keys(struct accept *a)
{
    int code = 0;
    const char *const values[] = {a->tenant, a->who.node};
    a->former = gw_run(a->cli, &code,
                       "SELECT encode(public_key, 'hex'), incarnation, upto_seq"
                       " FROM everward.node_former_key WHERE tenant_id = $1::uuid"
                       " AND node_id = $2::uuid ORDER BY replaced_at DESC",
                       2, values);
    return code;
}

/* ---- the batches, checked ------------------------------------------------------------------ */

static struct push *decode_by(struct accept *a, int piece, int former)
{
    size_t from = piece == 0 ? 0 : a->box.ends[piece - 1];
    struct push *p = push_new(&a->gw, &a->who);
    if (p == NULL)
        return NULL;
    if (former >= 0 && seal_hex_decode(p->who.former_key, 32, PQgetvalue(a->former, former, 0), 64))
        p->who.former_upto = strtoll(PQgetvalue(a->former, former, 2), NULL, 10);
    push_decode_bytes(p, a->box.bytes.data + from, a->box.ends[piece] - from);
    return p;
}

static struct push *decode(struct accept *a, int piece)
{
    struct push *p = decode_by(a, piece, -1);
    for (int i = 0; p != NULL && p->status != 0 && strcmp(p->code, "bad_signature") == 0 &&
                    i < PQntuples(a->former);
         i++) {
        if (strtoll(PQgetvalue(a->former, i, 1), NULL, 10) != p->inc)
            continue;
        push_done(p);
        p = decode_by(a, piece, i);
    }
    if (p == NULL) {
        (void)base_fail(&a->err, BASE_ENOMEM, "out of memory");
        return NULL;
    }
    if (p->status == 0)
        return p;
    (void)base_fail(&a->err, p->status == 503 ? BASE_ENOMEM : BASE_EINVALID,
                    "batch %d, line %d: %s (%s)", piece + 1, p->line, p->err.text, p->code);
    push_done(p);
    return NULL;
}

static int check_place(struct accept *a, const struct push *p, int piece)
{
    if (piece == 0) {
        a->first = p->first;
        a->inc = p->inc;
    } else if (p->inc != a->inc || p->first != a->last + 1 ||
               memcmp(p->chain_before, a->chain, sizeof a->chain) != 0) {
        return base_fail(&a->err, BASE_EPROTO, "batch %d does not go on where the one before ends",
                         piece + 1);
    }
    a->last = p->last;
    memcpy(a->chain, p->chain, sizeof a->chain);
    for (int i = 0; i < p->count; i++) {
        a->inserts += p->changes[i].c.op == CORE_OP_INSERT;
        a->updates += p->changes[i].c.op == CORE_OP_UPDATE;
        a->deletes += p->changes[i].c.op == CORE_OP_DELETE;
    }
    return 0;
}

static int check_all(struct accept *a)
{
    int rc = 0;
    for (int i = 0; i < a->box.count && rc == 0; i++) {
        struct push *p = decode(a, i);
        if (p == NULL)
            return a->err.code;
        rc = check_place(a, p, i);
        push_done(p);
        (void)uv_run(&a->loop, UV_RUN_NOWAIT);
    }
    if (rc == 0 && a->box.count > 0 && a->inc != a->incarnation)
        rc = base_fail(&a->err, BASE_EDENIED,
                       "it is of life %lld of the node, which the centre knows in life %lld",
                       (long long)a->inc, (long long)a->incarnation);
    if (rc == 0 && a->box.count > 0 && a->first > a->head + 1)
        rc = base_fail(&a->err, BASE_EDENIED,
                       "it begins with change %lld, and the centre has the node's changes up to "
                       "%lld only",
                       (long long)a->first, (long long)a->head);
    return rc;
}

/* ---- taking in ----------------------------------------------------------------------------- */

static int permit(struct accept *a)
{
    uint8_t ticket[PERMIT_BYTES];
    uint8_t hash[32];
    struct base_buf b;
    char numbers[3][24];
    int code = 0;
    seal_random(ticket, sizeof ticket);
    seal_sha256(hash, ticket, sizeof ticket);
    base_buf_init(&b, 1024);
    base_buf_str(&b, "\\x");
    base_buf_hex(&b, ticket, sizeof ticket);
    BASE_ASSERT(b.len < sizeof a->who.ticket);
    memcpy(a->who.ticket, b.data, b.len + 1);
    seal_wipe(b.data, b.len);
    base_buf_clear(&b);
    base_buf_str(&b, "\\x");
    base_buf_hex(&b, hash, sizeof hash);
    base_buf_str(&b, "/\\x");
    base_buf_hex(&b, a->box.sha256, sizeof a->box.sha256);
    b.data[66] = '\0';
    (void)snprintf(numbers[0], sizeof numbers[0], "%lld", (long long)a->inc);
    (void)snprintf(numbers[1], sizeof numbers[1], "%lld", (long long)a->first);
    (void)snprintf(numbers[2], sizeof numbers[2], "%lld", (long long)a->last);
    const char *const values[] = {a->tenant,  a->who.node, b.data,    b.data + 67,
                                  numbers[0], numbers[1],  numbers[2]};
    PGresult *r = gw_run(a->cli, &code,
                         "INSERT INTO everward.late_accept (tenant_id, node_id, permit_hash,"
                         " file_sha256, incarnation, first_seq, last_seq)"
                         " VALUES ($1::uuid, $2::uuid, $3::bytea, $4::bytea, $5::bigint,"
                         " $6::bigint, $7::bigint) RETURNING accept_id",
                         7, values);
    if (r != NULL)
        (void)snprintf(a->id, sizeof a->id, "%s", PQgetvalue(r, 0, 0));
    PQclear(r);
    base_buf_release(&b);
    seal_wipe(ticket, sizeof ticket);
    a->who.late = true;
    return code;
}

static void on_answered(void *user, const struct push *p, const struct push_answer *answer)
{
    struct accept *a = user;
    a->answered = true;
    a->answer = answer->status;
    if (answer->status == 200) {
        a->applied += p->count - p->skip;
        a->known += p->skip;
    } else {
        (void)base_fail(&a->err, answer->status == 503 ? BASE_EUNREACHABLE : BASE_EDENIED,
                        "changes %lld to %lld: %s (%s)", (long long)p->first, (long long)p->last,
                        answer->detail, answer->code);
    }
}

static void on_catalog(void *user, int rc, struct gw_catalog *c)
{
    struct push *p = user;
    if (rc == 0) {
        p->catalog = gw_catalog_hold(c);
        rc = push_resolve(p);
    }
    if (rc == 0) {
        push_begin(p);
    } else {
        push_answer_away(p, rc);
        push_done(p);
    }
}

static int take_one(struct accept *a, int piece)
{
    struct push *p = decode(a, piece);
    if (p == NULL)
        return a->err.code;
    p->user = a;
    p->answered = on_answered;
    p->late = a->name;
    p->late_upto = INT64_MAX;
    p->careful = true;
    a->answered = false;
    gw_catalog_get(&a->gw, 0, p, on_catalog);
    while (!a->answered)
        (void)uv_run(&a->loop, UV_RUN_ONCE);
    (void)uv_run(&a->loop, UV_RUN_NOWAIT);
    return a->answer == 200 ? 0 : a->err.code;
}

static int note_end(struct accept *a, int rc)
{
    char numbers[2][24];
    int code = 0;
    (void)snprintf(numbers[0], sizeof numbers[0], "%lld", (long long)a->applied);
    (void)snprintf(numbers[1], sizeof numbers[1], "%lld", (long long)a->known);
    const char *const values[] = {a->tenant, a->id, numbers[0], numbers[1],
                                  rc == 0 ? "ok" : a->err.text};
    PGresult *r = gw_run(a->cli, &code,
                         "UPDATE everward.late_accept SET done_at = now(), applied = $3::bigint,"
                         " known = $4::bigint, outcome = $5"
                         " WHERE tenant_id = $1::uuid AND accept_id = $2::uuid",
                         5, values);
    PQclear(r);
    return code;
}

static int take_all(struct accept *a)
{
    const char *dsn = base_config_text(a->cli->config, "database", "dsn");
    int code = permit(a);
    if (code != 0)
        return code;
    int rc = gw_pg_start(&a->gw.pool, &a->loop, dsn, 1, &a->err);
    for (int i = 0; i < a->box.count && rc == 0; i++)
        rc = take_one(a, i);
    if (a->gw.pool != NULL)
        gw_pg_stop(a->gw.pool);
    (void)uv_run(&a->loop, UV_RUN_DEFAULT);
    gw_catalog_drop(a->gw.catalog);
    code = note_end(a, rc);
    if (rc != 0)
        code = gw_complain(rc == BASE_EUNREACHABLE ? GW_EXIT_AGAIN : GW_EXIT_REFUSED, a->err.text,
                           "what was taken in before stays; the same command goes on behind it");
    return code;
}

/* ---- telling ------------------------------------------------------------------------------- */

/* What the centre made of the file's changes, this time or before: all but what was simply applied. */
static PGresult *outcomes(struct accept *a, int *code)
{
    char numbers[3][24];
    (void)snprintf(numbers[0], sizeof numbers[0], "%lld", (long long)a->inc);
    (void)snprintf(numbers[1], sizeof numbers[1], "%lld", (long long)a->first);
    (void)snprintf(numbers[2], sizeof numbers[2], "%lld", (long long)a->last);
    const char *const values[] = {a->tenant, a->who.node, numbers[0], numbers[1], numbers[2]};
    return gw_run(a->cli, code,
                  "SELECT o.v->>'seq', o.v->>'outcome', coalesce(o.v->>'reason', '')"
                  " FROM everward.receipt r, json_array_elements(r.outcomes) AS o (v)"
                  " WHERE r.tenant_id = $1::uuid AND r.node_id = $2::uuid"
                  " AND r.incarnation = $3::bigint AND r.last_seq >= $4::bigint"
                  " AND r.first_seq <= $5::bigint AND (o.v->>'seq')::bigint"
                  " BETWEEN $4::bigint AND $5::bigint ORDER BY (o.v->>'seq')::bigint",
                  5, values);
}

static void tell_change(const struct accept *a, const struct push_change *c, const PGresult *r,
                        int i, bool first)
{
    char id[BASE_UUID_CHARS + 1];
    struct base_buf b;
    base_uuid_format(&c->c.id, id);
    base_buf_init(&b, 64 * 1024);
    base_buf_json_str(&b, PQgetvalue(r, i, 2));
    if (a->cli->json)
        (void)printf("%s{\"seq\":%s,\"table\":\"%.*s\",\"row\":\"%s\",\"reason\":%s}",
                     first ? "" : ",", PQgetvalue(r, i, 0), (int)c->c.table.len, c->c.table.s, id,
                     base_buf_check(&b) == 0 ? b.data : "\"\"");
    else
        (void)printf("quarantined: change %s, %.*s %s: %s\n", PQgetvalue(r, i, 0),
                     (int)c->c.table.len, c->c.table.s, id, PQgetvalue(r, i, 2));
    base_buf_release(&b);
}

static void tell_quarantined(struct accept *a, const PGresult *r)
{
    int told = 0;
    int i = 0;
    for (int piece = 0; piece < a->box.count && i < PQntuples(r); piece++) {
        struct push *p = decode(a, piece);
        for (; p != NULL && i < PQntuples(r); i++) {
            int64_t seq = strtoll(PQgetvalue(r, i, 0), NULL, 10);
            if (seq > p->last)
                break;
            if (strcmp(PQgetvalue(r, i, 1), "quarantined") == 0 && told < LIST_MAX)
                tell_change(a, &p->changes[seq - p->first], r, i, told++ == 0);
        }
        if (p != NULL)
            push_done(p);
        (void)uv_run(&a->loop, UV_RUN_NOWAIT);
    }
}

static int count_of(const PGresult *r, const char *outcome)
{
    int n = 0;
    for (int i = 0; i < PQntuples(r); i++)
        n += strcmp(PQgetvalue(r, i, 1), outcome) == 0;
    return n;
}

static int tell(struct accept *a, bool applied)
{
    int code = 0;
    int64_t changes = a->box.count == 0 ? 0 : a->last - a->first + 1;
    int64_t known = a->box.count == 0 || a->head < a->first ? 0
                    : a->head < a->last                     ? a->head - a->first + 1
                                                            : changes;
    PGresult *r = outcomes(a, &code);
    if (r == NULL)
        return code;
    const char *form =
        a->cli->json
            ? "{\"node\":\"%s\",\"status\":\"%s\",\"batches\":%d,\"first\":%lld,\"last\":%lld,"
              "\"changes\":%lld,\"inserts\":%lld,\"updates\":%lld,\"deletes\":%lld,\"known\":%lld,"
              "\"applied\":%lld,\"merged\":%d,\"contested\":%d,\"duplicate\":%d,\"refused\":%d,"
              "\"quarantined\":["
            : "node %s (%s): %d batches, changes %lld to %lld: %lld (%lld new rows, %lld updates, "
              "%lld deletes)\nknown before: %lld, taken in now: %lld; merged %d, contested %d, "
              "duplicate %d, quarantined %d\n";
    (void)printf(form, a->who.node, a->status, a->box.count, (long long)a->first,
                 (long long)a->last, (long long)changes, (long long)a->inserts,
                 (long long)a->updates, (long long)a->deletes, (long long)known,
                 (long long)a->applied, count_of(r, "merged"), count_of(r, "contested"),
                 count_of(r, "duplicate"), count_of(r, "quarantined"));
    tell_quarantined(a, r);
    if (a->cli->json)
        (void)printf("]}\n");
    else if (!applied)
        (void)printf("Nothing was changed: --apply takes it in.\n");
    PQclear(r);
    return 0;
}

static int run(struct accept *a, const char *secret_path)
{
    struct base_err err = {0};
    int rc = gw_outbox_read(&a->box, a->cli->words[0], a->tenant, secret_path, &err);
    if (rc != 0)
        return gw_complain(GW_EXIT_REFUSED, err.text, "nothing was changed; export anew");
    int code = find_node(a);
    if (code == 0)
        code = find_keys(a);
    if (code != 0)
        return code;
    if (check_all(a) != 0)
        return gw_complain(a->err.code == BASE_ENOMEM ? GW_EXIT_AGAIN : GW_EXIT_REFUSED,
                           a->err.text, "nothing was changed");
    bool apply = gw_option(a->cli, "--apply") != NULL;
    if (apply && a->box.count > 0)
        code = take_all(a);
    return code == 0 ? tell(a, apply) : code;
}

int gw_cmd_outbox_accept(struct gw_cli *cli)
{
    const char *path = gw_option(cli, "--secret-file");
    if (path == NULL || cli->word_count != 1)
        return gw_complain(GW_EXIT_USAGE, "give the sealed file and the recovery secret",
                           "everward-gateway outbox accept FILE --tenant T --secret-file F");
    struct accept *a = calloc(1, sizeof *a);
    if (a == NULL)
        return gw_complain(GW_EXIT_FAILED, "out of memory", NULL);
    a->cli = cli;
    int code = gw_tenant(cli, a->tenant);
    (void)uv_loop_init(&a->loop);
    a->gw = (struct gateway){.loop = &a->loop, .config = cli->config};
    if (code == 0) {
        code = run(a, path);
        gw_outbox_release(&a->box);
    }
    (void)uv_run(&a->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&a->loop);
    PQclear(a->former);
    seal_wipe(&a->who, sizeof a->who);
    free(a);
    return code;
}
