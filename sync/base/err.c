#include "sync/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void base_err_set(struct base_err *err, int code, const char *fmt, ...)
{
    if (err == NULL)
        return;
    err->code = code;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
}

void base_err_put_before(struct base_err *err, int code, const char *fmt, ...)
{
    if (err == NULL)
        return;
    char old[BASE_ERR_TEXT_BYTES];
    memcpy(old, err->text, sizeof old);
    old[sizeof old - 1] = '\0';
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n + 3 < sizeof err->text)
        (void)snprintf(err->text + n, sizeof err->text - (size_t)n, ": %.*s",
                       (int)(sizeof err->text - (size_t)n - 3), old);
    err->code = code;
}

static const struct {
    int code;
    enum base_err_class class;
    const char *name;
    const char *text;
} codes[] = {
#define X(name, code, class, text) {code, BASE_CLASS_##class, #name, text},
    BASE_ERRORS(X)
#undef X
};

static size_t code_index(int code)
{
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (codes[i].code == code)
            return i;
    return sizeof codes / sizeof codes[0];
}

const char *base_code_name(int code)
{
    size_t i = code_index(code);
    return i < sizeof codes / sizeof codes[0] ? codes[i].name : "?";
}

const char *base_code_text(int code)
{
    size_t i = code_index(code);
    return i < sizeof codes / sizeof codes[0] ? codes[i].text : "unknown error";
}

enum base_err_class base_code_class(int code)
{
    size_t i = code_index(code);
    return i < sizeof codes / sizeof codes[0] ? codes[i].class : BASE_CLASS_BUG;
}

_Noreturn void base_assert_failed(const char *cond, const char *file, int line)
{
    (void)fprintf(stderr, "<0>everward: assertion failed at %s:%d: %s\n", file, line, cond);
    abort();
}
