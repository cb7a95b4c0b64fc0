/*
 * Staff, roles and permissions as the replica has them. Everything here runs in jobs, except the
 * counting of references.
 */
#include <stdlib.h>
#include <string.h>

#include "node/people/internal.h"
#include "node/store/rows.h"

enum { GRANTS_ARENA_BYTES_MAX = 4 * 1024 * 1024 };

static int by_table(const void *a, const void *b)
{
    return strcmp(((const struct node_grant *)a)->table, ((const struct node_grant *)b)->table);
}

static const struct node_grant *grant_of(const struct node_grants *g, const char *table)
{
    struct node_grant key = {.actions = 0};
    size_t len = strlen(table);
    if (len >= sizeof key.table)
        return NULL;
    memcpy(key.table, table, len + 1);
    return bsearch(&key, g->grants, (size_t)g->count, sizeof key, by_table);
}

bool node_grants_may(const struct node_grants *g, enum node_action action, const char *table)
{
    const struct node_grant *all = grant_of(g, "*");
    if (all != NULL && (all->actions & action) != 0)
        return true;
    const struct node_grant *one = grant_of(g, table);
    return one != NULL && (one->actions & action) != 0;
}

bool node_grants_may_in_ward(const struct node_grants *g, enum node_action action,
                             const char *table)
{
    const struct node_grant *all = grant_of(g, "*");
    const struct node_grant *one = grant_of(g, table);
    return (all != NULL && ((all->actions | all->ward_actions) & action) != 0) ||
           (one != NULL && ((one->actions | one->ward_actions) & action) != 0);
}

bool node_grants_has_role(const struct node_grants *g, const char *role, size_t len)
{
    for (int i = 0; i < g->role_count; i++)
        if (strlen(g->roles[i]) == len && memcmp(g->roles[i], role, len) == 0)
            return true;
    return false;
}

struct node_grants *node_grants_ref(struct node_grants *g)
{
    g->refs++;
    return g;
}

void node_grants_unref(struct node_grants *g)
{
    if (g != NULL && --g->refs == 0)
        free(g);
}

struct node_actions node_actions_parse(const char *s, size_t len)
{
    static const struct {
        const char *word;
        enum node_action action;
    } words[] = {{"read", NODE_MAY_READ},
                 {"create", NODE_MAY_CREATE},
                 {"update", NODE_MAY_UPDATE},
                 {"delete", NODE_MAY_DELETE},
                 {"resolve", NODE_MAY_RESOLVE}};
    static const char ward[] = ":ward";
    struct node_actions actions = {0, 0};
    const char *end = s + len;
    while (s < end) {
        const char *space = memchr(s, ' ', (size_t)(end - s));
        size_t n = (size_t)((space != NULL ? space : end) - s);
        size_t tail = sizeof ward - 1;
        bool in_ward = n > tail && memcmp(s + n - tail, ward, tail) == 0;
        size_t len_of = in_ward ? n - tail : n;
        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
            if (strlen(words[i].word) == len_of && memcmp(words[i].word, s, len_of) == 0)
                *(in_ward ? &actions.in_ward : &actions.anywhere) |= (unsigned)words[i].action;
        s += n + 1;
    }
    return actions;
}

static struct core_text value_of(const struct node_row *row, const char *name)
{
    const struct core_column *c = core_table_column(row->table, name, strlen(name));
    return c == NULL ? (struct core_text){NULL, 0} : row->values[c->ord - CORE_ORD_FIRST];
}

static void copy_text(char *out, size_t out_bytes, struct core_text v)
{
    size_t n = v.s == NULL ? 0 : v.len < out_bytes - 1 ? v.len : out_bytes - 1;
    if (n > 0)
        memcpy(out, v.s, n);
    out[n] = '\0';
}

static bool is_usable(const struct node_row *row, int64_t now_ms)
{
    struct core_text active = value_of(row, "active");
    struct core_text revoked = value_of(row, "revoked_at");
    struct core_text until = value_of(row, "valid_until_at");
    int64_t at = 0;
    if (active.s == NULL || active.len != 1 || active.s[0] != 't')
        return false;
    /* What cannot be read as a time counts against the person. */
    if (revoked.s != NULL && (!node_moment_ms(&at, revoked.s, revoked.len) || at <= now_ms))
        return false;
    return until.s == NULL || (node_moment_ms(&at, until.s, until.len) && at > now_ms);
}

static void staff_from_row(struct people_staff *out, const struct node_row *row, int64_t now_ms)
{
    struct core_text given = value_of(row, "given_names");
    struct core_text family = value_of(row, "family_name");
    char first[120];
    char last[120];
    memset(out, 0, sizeof *out);
    out->id = row->id;
    copy_text(out->username, sizeof out->username, value_of(row, "username"));
    copy_text(first, sizeof first, given);
    copy_text(last, sizeof last, family);
    snprintf(out->name, sizeof out->name, "%s%s%s", first,
             *first != '\0' && *last != '\0' ? " " : "", last);
    if (out->name[0] == '\0')
        snprintf(out->name, sizeof out->name, "%s", out->username);
    struct core_text verifier = value_of(row, "verifier");
    if (verifier.s != NULL && verifier.len < sizeof out->verifier)
        copy_text(out->verifier, sizeof out->verifier, verifier);
    out->usable = is_usable(row, now_ms);
}

struct by_name {
    const char *folded;
    int64_t now_ms;
    struct people_staff *out;
    bool found;
};

/* Two rows may fold to one name: a usable one wins. */
static bool match_name(void *user, const struct node_row *row)
{
    struct by_name *n = user;
    struct core_text username = value_of(row, "username");
    char text[NODE_LOGIN_NAME_BYTES_MAX + 1];
    char folded[NODE_LOGIN_NAME_BYTES_MAX + 1];
    if (username.s == NULL || username.len > NODE_LOGIN_NAME_BYTES_MAX)
        return true;
    copy_text(text, sizeof text, username);
    node_username_fold(folded, sizeof folded, text);
    if (strcmp(folded, n->folded) != 0)
        return true;
    struct people_staff staff;
    staff_from_row(&staff, row, n->now_ms);
    if (!n->found || staff.usable)
        *n->out = staff;
    n->found = true;
    return !staff.usable;
}

int people_staff_by_name(struct node_db *db, const char *folded, int64_t now_ms,
                         struct people_staff *out, struct base_err *err)
{
    const struct core_catalog *catalog = node_db_catalog(db);
    const struct core_table *t = catalog == NULL ? NULL : core_catalog_table(catalog, "staff", 5);
    struct by_name n = {folded, now_ms, out, false};
    struct base_arena arena;
    char after[256] = "";
    int rc = 0;
    if (t == NULL)
        return base_fail(err, BASE_ENOTFOUND, "the staff list is not here yet");
    base_arena_init(&arena, GRANTS_ARENA_BYTES_MAX);
    for (;;) {
        const char *next = NULL;
        struct node_query q = {
            .table = t, .limit = NODE_QUERY_ROWS_MAX, .after = after[0] != '\0' ? after : NULL};
        rc = node_query_run(db, &q, &arena, &n, match_name, &next, err);
        if (rc != 0 || next == NULL || (n.found && out->usable))
            break;
        snprintf(after, sizeof after, "%s", next);
        base_arena_clear(&arena);
    }
    base_arena_release(&arena);
    if (rc == 0 && !n.found)
        return base_fail(err, BASE_ENOTFOUND, "nobody of that name");
    return rc;
}

/* A role at a place is that of the place and all within; one without a place counts everywhere, which makes its
 * rights "in the ward" rights everywhere. */
static void add_place(struct node_grants *g, struct core_text place)
{
    struct base_uuid id;
    if (place.s == NULL)
        g->everywhere = true;
    else if (g->ward_count < NODE_WARDS_MAX && base_uuid_parse(&id, place.s, place.len))
        g->wards[g->ward_count++] = id;
}

static bool add_role(void *user, const struct node_row *row)
{
    struct node_grants *g = user;
    struct core_text role = value_of(row, "role");
    add_place(g, value_of(row, "location_id"));
    if (role.s == NULL || role.len > CORE_NAME_BYTES_MAX)
        return true;
    for (int i = 0; i < g->role_count; i++)
        if (core_text_equal(core_text_of(g->roles[i]), role))
            return true;
    copy_text(g->roles[g->role_count], sizeof g->roles[0], role);
    return ++g->role_count < NODE_ROLES_MAX;
}

static bool add_permission(void *user, const struct node_row *row)
{
    struct node_grants *g = user;
    struct core_text table = value_of(row, "table_name");
    struct core_text actions = value_of(row, "actions");
    struct core_text role = value_of(row, "role");
    if (table.s == NULL || actions.s == NULL || role.s == NULL || table.len > CORE_NAME_BYTES_MAX ||
        !node_grants_has_role(g, role.s, role.len))
        return true;
    struct node_actions bits = node_actions_parse(actions.s, actions.len);
    if (g->everywhere)
        bits.anywhere |= bits.in_ward;
    for (int i = 0; i < g->count; i++)
        if (core_text_equal(core_text_of(g->grants[i].table), table)) {
            g->grants[i].actions |= bits.anywhere;
            g->grants[i].ward_actions |= bits.in_ward;
            return true;
        }
    if (g->count == NODE_GRANTS_MAX)
        return false; /* default deny: what does not fit is not allowed */
    copy_text(g->grants[g->count].table, sizeof g->grants[0].table, table);
    g->grants[g->count].ward_actions = bits.in_ward;
    g->grants[g->count++].actions = bits.anywhere;
    return true;
}

/* Every row of a table, with at most one filter on equality. */
static int each_row(struct node_db *db, const char *table, const char *column, const char *value,
                    void *user, node_row_cb cb, struct base_err *err)
{
    const struct core_table *t = core_catalog_table(node_db_catalog(db), table, strlen(table));
    struct node_filter *filter = NULL;
    struct base_arena arena;
    char after[256] = "";
    int rc = 0;
    if (t == NULL)
        return 0;
    base_arena_init(&arena, GRANTS_ARENA_BYTES_MAX);
    if (column != NULL) {
        filter = calloc(1, sizeof *filter);
        if (filter == NULL)
            return base_fail(err, BASE_ENOMEM, "out of memory reading %s", table);
        filter->column = core_table_column(t, column, strlen(column));
        filter->value_count = 1;
        filter->values[0] = core_text_of(value);
    }
    for (;;) {
        const char *next = NULL;
        struct node_query q = {.table = t,
                               .filter_count = filter != NULL,
                               .filters = filter,
                               .limit = NODE_QUERY_ROWS_MAX,
                               .after = after[0] != '\0' ? after : NULL};
        rc = filter != NULL && filter->column == NULL
                 ? 0
                 : node_query_run(db, &q, &arena, user, cb, &next, err);
        if (rc != 0 || next == NULL)
            break;
        snprintf(after, sizeof after, "%s", next);
        base_arena_clear(&arena);
    }
    free(filter);
    base_arena_release(&arena);
    return rc;
}

struct by_account {
    const char *issuer;
    struct base_uuid *staff_id;
    bool found;
};

static bool match_account(void *user, const struct node_row *row)
{
    struct by_account *a = user;
    struct core_text staff = value_of(row, "staff_id");
    if (staff.s != NULL && core_text_equal(value_of(row, "issuer"), core_text_of(a->issuer)))
        a->found = base_uuid_parse(a->staff_id, staff.s, staff.len);
    return !a->found;
}

int people_account_read(struct node_db *db, const char *issuer, const char *subject,
                        struct base_uuid *staff_id, struct base_err *err)
{
    struct base_uuid id;
    struct by_account a = {issuer, &id, false};
    if (node_db_catalog(db) == NULL)
        return base_fail(err, BASE_ENOTFOUND, "the staff list is not here yet");
    int rc = each_row(db, "staff_account", "subject", subject, &a, match_account, err);
    if (rc == 0 && !a.found)
        return base_fail(err, BASE_ENOTFOUND, "nobody's account");
    if (rc == 0)
        *staff_id = id;
    return rc;
}

struct has_account {
    const char *issuer;
    bool found;
};

static bool match_issuer(void *user, const struct node_row *row)
{
    struct has_account *h = user;
    h->found = core_text_equal(value_of(row, "issuer"), core_text_of(h->issuer));
    return !h->found;
}

int people_has_account(struct node_db *db, const char *issuer, const struct base_uuid *staff_id,
                       bool *out, struct base_err *err)
{
    struct has_account h = {issuer, false};
    char id[BASE_UUID_CHARS + 1];
    base_uuid_format(staff_id, id);
    int rc = each_row(db, "staff_account", "staff_id", id, &h, match_issuer, err);
    if (rc == 0)
        *out = h.found;
    return rc;
}

int people_grants_read(struct node_db *db, const struct base_uuid *staff_id, int64_t now_ms,
                       struct node_grants **out, struct base_err *err)
{
    const struct core_catalog *catalog = node_db_catalog(db);
    const struct core_table *t = catalog == NULL ? NULL : core_catalog_table(catalog, "staff", 5);
    struct people_staff staff = {.usable = false};
    struct node_row *row = NULL;
    struct node_grants *g = NULL;
    struct base_arena arena;
    char id[BASE_UUID_CHARS + 1];
    int rc = 0;
    *out = NULL;
    if (t == NULL)
        return 0;
    base_arena_init(&arena, GRANTS_ARENA_BYTES_MAX);
    row = base_arena_get(&arena, sizeof *row);
    rc = row == NULL ? BASE_ENOMEM : node_row_get(db, t, staff_id, &arena, row, err);
    if (rc == 0)
        staff_from_row(&staff, row, now_ms);
    base_arena_release(&arena);
    if (rc == BASE_ENOTFOUND || (rc == 0 && !staff.usable))
        return 0;
    if (rc != 0)
        return rc;
    g = calloc(1, sizeof *g);
    if (g == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory reading permissions");
    g->refs = 1;
    g->staff_id = *staff_id;
    snprintf(g->username, sizeof g->username, "%s", staff.username);
    snprintf(g->name, sizeof g->name, "%s", staff.name);
    base_uuid_format(staff_id, id);
    rc = each_row(db, "staff_role", "staff_id", id, g, add_role, err);
    if (rc == 0)
        rc = each_row(db, "role_permission", NULL, NULL, g, add_permission, err);
    if (rc == 0)
        rc = people_glass_read(db, g, now_ms, err);
    if (rc != 0) {
        free(g);
        return rc;
    }
    qsort(g->grants, (size_t)g->count, sizeof g->grants[0], by_table);
    *out = g;
    return 0;
}
