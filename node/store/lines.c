/* Bodies of several lines, one line at a time. */
#include "node/store/internal.h"

bool line_next(struct line_reader *r, const char **line, size_t *len, int *rc, struct base_err *err)
{
    if (r->s == r->end)
        return false;
    const char *stop = memchr(r->s, '\n', (size_t)(r->end - r->s));
    r->number++;
    if (stop == NULL || stop == r->s) {
        *rc = base_fail(err, BASE_EPROTO, "line %lld %s", (long long)r->number,
                        stop == NULL ? "does not end" : "is empty");
        return false;
    }
    *line = r->s;
    *len = (size_t)(stop - r->s);
    r->s = stop + 1;
    return true;
}
