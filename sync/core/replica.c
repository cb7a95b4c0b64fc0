#include "sync/core/replica.h"

void core_lay_change(struct core_laying *to, const struct core_table *t,
                     const struct core_change *c)
{
    if (c->op == CORE_OP_DELETE) {
        to->exists = false;
        return;
    }
    if (c->op == CORE_OP_INSERT && !to->exists)
        to->image.count = 0;
    /* an update of a row that neither the centre nor we have (its insert was dropped) shows nothing
     */
    if (c->op == CORE_OP_INSERT)
        to->exists = true;
    for (int i = 0; i < c->value_count; i++) {
        const struct core_column *col =
            core_table_column(t, c->values[i].name.s, c->values[i].name.len);
        if (col != NULL)
            core_image_set(&to->image, col->ord, c->values[i].value);
    }
}

void core_lay_settled(struct core_laying *to, const struct core_table *t,
                      const struct core_change *c, const struct core_image *central)
{
    for (int i = 0; i < c->value_count; i++) {
        const struct core_column *col =
            core_table_column(t, c->values[i].name.s, c->values[i].name.len);
        if (col != NULL)
            core_image_set(&to->image, col->ord, core_image_field(central, col->ord));
    }
}
