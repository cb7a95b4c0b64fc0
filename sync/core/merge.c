#include "sync/core/merge.h"

static const char *const outcome_names[] = {
#define X(name, text) text,
    CORE_OUTCOMES(X)
#undef X
};

static const struct {
    const char *name, *text;
} rules[] = {
#define X(name, text) {#name, text},
    CORE_RULES(X)
#undef X
};

const char *core_outcome_name(enum core_outcome o)
{
    return outcome_names[o];
}

bool core_outcome_parse(enum core_outcome *out, const char *s)
{
    for (size_t i = 0; i < sizeof outcome_names / sizeof outcome_names[0]; i++)
        if (strcmp(outcome_names[i], s) == 0) {
            *out = (enum core_outcome)i;
            return true;
        }
    return false;
}

const char *core_rule_name(enum core_rule r)
{
    return rules[r].name;
}

const char *core_rule_text(enum core_rule r)
{
    return rules[r].text;
}

void core_unseen_add(struct core_unseen *u, int ord)
{
    BASE_ASSERT(ord >= 1 && ord <= CORE_FIELDS_MAX);
    u->any = true;
    u->columns[(ord - 1) / 8] = (uint8_t)(u->columns[(ord - 1) / 8] | 1 << (ord - 1) % 8);
}

bool core_unseen_has(const struct core_unseen *u, int ord)
{
    return u->all_columns || (u->columns[(ord - 1) / 8] >> (ord - 1) % 8 & 1) != 0;
}

static bool all_equal(int n, const struct core_text *a, const struct core_text *b)
{
    for (int i = 0; i < n; i++)
        if (!core_text_equal(a[i], b[i]))
            return false;
    return true;
}

/* The place in the list, the safest first; values that are not in it are the least safe, and alike. */
static int weakness(const char *const *dominance, struct core_text value)
{
    int i = 0;
    while (dominance[i] != NULL &&
           (value.s == NULL || !core_text_equal(value, core_text_of(dominance[i]))))
        i++;
    return i;
}

/* Below zero: incoming is the safer one; above: live is; zero: nobody can tell. */
static int compare_safety(const char *const *dominance, int n, const struct core_text *live,
                          const struct core_text *incoming)
{
    if (dominance == NULL || n != 1)
        return 0;
    return weakness(dominance, incoming[0]) - weakness(dominance, live[0]);
}

bool core_class_is_fact(enum core_class class)
{
    return class == CORE_FACT || class == CORE_LINK;
}

/* Both changed it, to different values, and neither had seen the other. */
static struct core_decision decide_clash(enum core_class class, int safety)
{
    switch (class) {
    case CORE_STATE:
        if (safety != 0)
            return (struct core_decision){safety < 0, CORE_FLAGGED, CORE_RULE_SAFER_WON, true,
                                          true};
        break;
    case CORE_REVIEW:
    case CORE_UNION:
        if (safety < 0)
            return (struct core_decision){true, CORE_CONTESTED, CORE_RULE_SAFER_LIVE, true, false};
        break;
    case CORE_FIELD:
        return (struct core_decision){false, CORE_CONTESTED, CORE_RULE_FIELD_LIVE_STAYS, true,
                                      false};
    case CORE_FACT:
    case CORE_LINK:
        return (struct core_decision){false, CORE_QUARANTINED, CORE_RULE_FACT_REWRITTEN, false,
                                      false};
    case CORE_CLAIM: /* that claims overlap is not told by one row: schema/central/0021_rules.sql */
    case CORE_CENTRAL:
        break;
    }
    return (struct core_decision){false, CORE_CONTESTED, CORE_RULE_REVIEW_LIVE_STAYS, true, false};
}

struct core_decision core_merge_decide(enum core_class class, const char *const *dominance, int n,
                                       const struct core_text *base, const struct core_text *live,
                                       const struct core_text *incoming, bool unseen)
{
    if (class == CORE_CENTRAL)
        return (struct core_decision){false, CORE_QUARANTINED, CORE_RULE_CENTRAL_ONLY, false,
                                      false};
    if (!unseen)
        return (struct core_decision){true, CORE_APPLIED, CORE_RULE_FAST_FORWARD, false, false};
    if (all_equal(n, live, incoming))
        return (struct core_decision){false, CORE_MERGED, CORE_RULE_AGREEMENT, false, false};
    return decide_clash(class, compare_safety(dominance, n, live, incoming));
}

/* Names come in ordinal order, so each is looked for behind the one before: a batch of wide rows does not search its tables
 * from the start for every value. */
static const struct core_column *next_column(const struct core_table *t, int from,
                                             struct core_text name)
{
    for (int i = from; i < t->column_count; i++)
        if (strncmp(t->columns[i].name, name.s, name.len) == 0 &&
            t->columns[i].name[name.len] == '\0')
            return &t->columns[i];
    return NULL;
}

int core_change_resolve(struct core_resolved *out, const struct core_change *c,
                        const struct core_table *t, struct base_err *err)
{
    int next = 0;
    for (int i = 0; i < c->value_count; i++) {
        const struct core_change_value *v = &c->values[i];
        const struct core_column *column = next_column(t, next, v->name);
        if (column == NULL && core_table_column(t, v->name.s, v->name.len) != NULL)
            return base_fail(err, BASE_EINVALID, "%s: a column stands out of order or twice",
                             t->name);
        if (column == NULL)
            return base_fail(err, BASE_ENOTFOUND, "%s has no column of the name the change gives",
                             t->name);
        int rc = core_value_check(t, column, v->value, err);
        if (rc != 0)
            return rc;
        out->ords[i] = column->ord;
        out->values[i] = v->value;
        next = column->ord - CORE_ORD_FIRST + 1;
    }
    out->count = c->value_count;
    return 0;
}

static const struct core_column *column_at(const struct core_table *t, int ord)
{
    return &t->columns[ord - CORE_ORD_FIRST];
}

/* The columns decided together with this one: its group, or itself. */
static int group_of(const struct core_table *t, int ord, int ords[CORE_COLUMNS_MAX])
{
    const char *group = column_at(t, ord)->group;
    int n = 0;
    if (group == NULL) {
        ords[n++] = ord;
        return n;
    }
    for (int i = 0; i < t->column_count; i++)
        if (t->columns[i].group != NULL && strcmp(t->columns[i].group, group) == 0)
            ords[n++] = t->columns[i].ord;
    return n;
}

static const struct core_text *incoming_at(const struct core_resolved *in, int ord)
{
    for (int i = 0; i < in->count; i++)
        if (in->ords[i] == ord)
            return &in->values[i];
    return NULL;
}

/* One group as the three sides have it. What the writer did not touch, it left as it saw it: base,
 * or live if unknown. */
struct sides {
    int count;
    int ords[CORE_COLUMNS_MAX];
    struct core_text base[CORE_COLUMNS_MAX], live[CORE_COLUMNS_MAX], incoming[CORE_COLUMNS_MAX];
    bool unseen;
};

static void sides_of(struct sides *s, const struct core_table *t, int ord,
                     const struct core_resolved *in, const struct core_image *live,
                     const struct core_image *base, const struct core_unseen *unseen)
{
    s->count = group_of(t, ord, s->ords);
    s->unseen = false;
    for (int i = 0; i < s->count; i++) {
        const struct core_text *v = incoming_at(in, s->ords[i]);
        s->live[i] = core_image_field(live, s->ords[i]);
        s->base[i] = base == NULL ? s->live[i] : core_image_field(base, s->ords[i]);
        s->incoming[i] = v == NULL ? s->base[i] : *v;
        s->unseen |= core_unseen_has(unseen, s->ords[i]);
    }
}

static void refuse(struct core_merge *out, enum core_rule rule)
{
    out->outcome = CORE_QUARANTINED;
    out->rule = rule;
    out->write = CORE_WRITE_NOTHING;
    out->contest_count = 0;
}

static struct core_contest *contest_add(struct core_merge *out, enum core_class class,
                                        enum core_rule rule)
{
    BASE_ASSERT(out->contest_count < CORE_CONTESTS_MAX);
    struct core_contest *c = &out->contests[out->contest_count++];
    c->count = 0;
    c->class = class;
    c->rule = rule;
    c->is_delete = c->settled = c->incoming_live = false;
    out->outcome = CORE_CONTESTED;
    out->rule = rule;
    return c;
}

static void contest_group(struct core_merge *out, const struct core_table *t, const struct sides *s,
                          const struct core_decision *d, enum core_rule rule)
{
    bool waits = out->outcome == CORE_CONTESTED; /* one open contest outweighs all settled ones */
    /* More groups contested than a conflict list holds: the rest joins the last, nothing is
     * dropped. */
    struct core_contest *c = out->contest_count == CORE_CONTESTS_MAX
                                 ? &out->contests[CORE_CONTESTS_MAX - 1]
                                 : contest_add(out, column_at(t, s->ords[0])->class, rule);
    for (int i = 0; i < s->count; i++)
        if (!core_text_equal(s->live[i], s->incoming[i]) && c->count < CORE_COLUMNS_MAX)
            c->ords[c->count++] = s->ords[i];
    c->settled = d->settled && (c->count == s->count || c->settled);
    c->incoming_live = d->take_incoming;
    if (c->settled && !waits)
        out->outcome = CORE_FLAGGED;
}

static bool decided_before(const struct core_table *t, const struct core_resolved *in, int at)
{
    const char *group = column_at(t, in->ords[at])->group;
    for (int i = 0; group != NULL && i < at; i++) {
        const char *other = column_at(t, in->ords[i])->group;
        if (other != NULL && strcmp(other, group) == 0)
            return true;
    }
    return false;
}

static void take(struct core_merge *out, const struct sides *s)
{
    for (int i = 0; i < s->count; i++)
        if (!core_text_equal(s->live[i], s->incoming[i])) {
            core_image_set(&out->image, s->ords[i], s->incoming[i]);
            out->write = CORE_WRITE_UPDATE;
        }
}

static const char *const *dominance_of(const struct core_table *t, const struct sides *s)
{
    return s->count == 1 ? column_at(t, s->ords[0])->dominance : NULL;
}

static void merge_update(struct core_merge *out, const struct core_table *t,
                         const struct core_resolved *in, const struct core_image *live,
                         const struct core_image *base, const struct core_unseen *unseen)
{
    struct sides s;
    out->image = *live;
    for (int i = 0; i < in->count; i++) {
        if (decided_before(t, in, i))
            continue;
        sides_of(&s, t, in->ords[i], in, live, base, unseen);
        struct core_decision d =
            core_merge_decide(column_at(t, in->ords[i])->class, dominance_of(t, &s), s.count,
                              base == NULL ? NULL : s.base, s.live, s.incoming, s.unseen);
        if (d.outcome == CORE_QUARANTINED) {
            refuse(out, d.rule);
            return;
        }
        if (d.take_incoming)
            take(out, &s);
        if (d.conflict)
            contest_group(out, t, &s, &d,
                          !d.settled && unseen->all_columns && base == NULL
                              ? CORE_RULE_UNKNOWN_HISTORY
                              : d.rule);
    }
    if (out->outcome == CORE_APPLIED && unseen->any) {
        out->outcome = CORE_MERGED;
        out->rule = CORE_RULE_OTHER_COLUMNS;
    }
}

static bool same_body(const struct core_resolved *in, const struct core_image *live)
{
    for (int i = 0; i < in->count; i++)
        if (!core_text_equal(in->values[i], core_image_field(live, in->ords[i])))
            return false;
    return true;
}

static void merge_insert(struct core_merge *out, const struct core_table *t,
                         const struct core_resolved *in, const struct core_image *live)
{
    if (live == NULL) {
        out->write = CORE_WRITE_INSERT;
        for (int i = 0; i < in->count; i++)
            core_image_set(&out->image, in->ords[i], in->values[i]);
        return;
    }
    if (same_body(in, live)) {
        out->outcome = CORE_DUPLICATE;
        out->rule = CORE_RULE_FACT_REPEATED;
        return;
    }
    if (core_class_is_fact(t->class)) {
        refuse(out, CORE_RULE_FACT_REWRITTEN);
        return;
    }
    struct core_unseen everything = {.any = true, .all_columns = true};
    merge_update(out, t, in, live, NULL, &everything);
}

static void merge_delete(struct core_merge *out, const struct core_table *t,
                         const struct core_image *live, const struct core_unseen *unseen)
{
    if (!t->deletable) {
        refuse(out, CORE_RULE_NOT_DELETABLE);
    } else if (live == NULL) {
        out->outcome = CORE_DUPLICATE;
        out->rule = CORE_RULE_AGREEMENT;
    } else if (unseen->any || unseen->all_columns) {
        struct core_contest *c = contest_add(out, t->class, CORE_RULE_DELETE_CLASH);
        c->is_delete = true;
        out->image = *live;
    } else {
        out->write = CORE_WRITE_DELETE;
        out->image = *live;
    }
}

static void update_of_a_missing_row(struct core_merge *out, const struct core_table *t,
                                    const struct core_resolved *in,
                                    const struct core_unseen *unseen)
{
    if (!unseen->deleted) {
        refuse(out, CORE_RULE_GONE);
        return;
    }
    struct core_contest *c = contest_add(out, t->class, CORE_RULE_DELETE_CLASH);
    for (int i = 0; i < in->count; i++)
        c->ords[c->count++] = in->ords[i];
}

void core_merge_row(struct core_merge *out, const struct core_table *t,
                    const struct core_change *change, const struct core_resolved *incoming,
                    const struct core_image *live, const struct core_image *base,
                    const struct core_unseen *unseen)
{
    out->outcome = CORE_APPLIED;
    out->rule = CORE_RULE_FAST_FORWARD;
    out->write = CORE_WRITE_NOTHING;
    out->contest_count = 0;
    out->image.count = 0;

    if (t->class == CORE_CENTRAL)
        refuse(out, CORE_RULE_CENTRAL_ONLY);
    else if (change->op == CORE_OP_INSERT)
        merge_insert(out, t, incoming, live);
    else if (core_class_is_fact(t->class))
        refuse(out, CORE_RULE_FACT_NOT_NEW);
    else if (change->op == CORE_OP_DELETE)
        merge_delete(out, t, live, unseen);
    else if (live == NULL)
        update_of_a_missing_row(out, t, incoming, unseen);
    else
        merge_update(out, t, incoming, live, base, unseen);
}
