#include "sync/core/past.h"

/* Calls per ordinal in "{4,7}". */
static void each_col(struct core_text cols, void (*each)(void *user, int ord), void *user)
{
    int ord = 0;
    for (size_t i = 0; cols.s != NULL && i < cols.len; i++) {
        bool digit = cols.s[i] >= '0' && cols.s[i] <= '9';
        if (digit && ord <= CORE_FIELDS_MAX)
            ord = ord * 10 + (cols.s[i] - '0');
        if (!digit && ord >= 1 && ord <= CORE_FIELDS_MAX)
            each(user, ord);
        if (!digit)
            ord = 0;
    }
}

static void add_unseen(void *user, int ord)
{
    core_unseen_add(user, ord);
}

/* Are changes missing from the log that the author may not have seen? Of the present life none are
 * (everward.life_began answers 0 once one could be), and of the former ones those above its first. */
static bool past_is_short(const struct core_past *first, int64_t live_rev, struct core_seen seen)
{
    int64_t kept_from = first == NULL ? live_rev + 1 : first->rev;
    return live_rev != 0 && seen.base < kept_from - 1;
}

void core_past_unseen(struct core_unseen *out, const struct core_past *past, int64_t live_rev,
                      bool touched, struct core_seen seen)
{
    int64_t above = 0;
    int64_t base = seen.base;
    const struct core_past *first = past;
    const struct core_past *last = NULL;
    for (; past != NULL; past = past->next) {
        last = past;
        if (past->rev <= base && core_past_counts(past, seen))
            continue;
        above++;
        if (past->own)
            continue;
        out->any = true;
        if (past->op == CORE_OP_UPDATE)
            each_col(past->cols, add_unseen, out);
        else
            out->all_columns = true;
    }
    if (seen.former ? past_is_short(first, live_rev, seen)
                    : live_rev > base && above < live_rev - base)
        out->any = out->all_columns = true;
    if (live_rev != 0 && base > live_rev && !seen.former) /* a life that nobody told us of */
        out->any = out->all_columns = true;
    if (live_rev == 0 && !touched && last != NULL && last->op == CORE_OP_DELETE) {
        out->deleted = !last->own;
        out->any |= !last->own;
    }
}

struct overlay {
    struct core_image *to;
    const struct core_image *from;
};

static void lay_over(void *user, int ord)
{
    const struct overlay *o = user;
    core_image_set(o->to, ord, core_image_field(o->from, ord));
}

bool core_past_base(struct core_image *out, const struct core_past *past, struct core_seen seen,
                    const struct core_said *said, struct core_image *scratch,
                    struct base_arena *arena)
{
    bool known = false;
    out->count = 0;
    for (; past != NULL; past = past->next) {
        bool there = seen.former ? past->rev <= seen.base && core_past_counts(past, seen)
                                 : past->rev == seen.base;
        bool start = there || (past->own && past->op == CORE_OP_INSERT);
        if (!start && !(known && past->own && past->rev > seen.base))
            continue;
        if (core_image_read_composite(scratch, past->image.s, past->image.len, arena, NULL) != 0)
            return false;
        if (start) {
            *out = *scratch;
            known = true;
            continue;
        }
        struct overlay o = {out, scratch};
        each_col(past->cols, lay_over, &o);
    }
    for (int ord = 1; known && said != NULL && ord <= CORE_FIELDS_MAX; ord++)
        if (said->set[ord - 1])
            core_image_set(out, ord, said->values[ord - 1]);
    return known;
}
