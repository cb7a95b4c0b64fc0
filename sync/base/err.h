/*
 * sync/base/err.h - the one error idiom.
 *
 * Does:       names every error code once, with its text and its class; carries a message across
 * modules. Does not:   log. A function returns an error or logs it, never both. Use:        a
 * fallible function returns 0 or a negative BASE_E*. What crosses a module takes a last `struct
 * base_err *err` (may be NULL), set by base_fail() where the error is first seen and prefixed by
 * base_err_prefix() on the way up. Out-parameters are untouched on failure. Privacy:    messages
 * name tables, columns, files, ids. Never a value a patient or a person entered.
 */
#ifndef SYNC_BASE_ERR_H
#define SYNC_BASE_ERR_H

#include <stddef.h>

/* class: RETRY  the same call may go through later, nothing was done
 *        REJECT the input or the request is at fault; repeating it is useless
 *        CORRUPT what was stored or received is damaged
 *        BUG    cannot happen */
enum base_err_class { BASE_CLASS_RETRY, BASE_CLASS_REJECT, BASE_CLASS_CORRUPT, BASE_CLASS_BUG };

/*    name           code  class    text */
#define BASE_ERRORS(X)                                                                             \
    X(BASE_ENOMEM, -1, RETRY, "out of memory")                                                     \
    X(BASE_EIO, -2, RETRY, "input or output failed")                                               \
    X(BASE_EFULL, -3, RETRY, "no space left")                                                      \
    X(BASE_EBUSY, -4, RETRY, "busy")                                                               \
    X(BASE_ETIMEDOUT, -5, RETRY, "timed out")                                                      \
    X(BASE_EUNREACHABLE, -6, RETRY, "cannot be reached")                                           \
    X(BASE_ECANCELED, -7, RETRY, "canceled")                                                       \
    X(BASE_EINVALID, -8, REJECT, "not valid")                                                      \
    X(BASE_ETOOBIG, -9, REJECT, "larger than the limit")                                           \
    X(BASE_ENOTFOUND, -10, REJECT, "not found")                                                    \
    X(BASE_EEXISTS, -11, REJECT, "exists already")                                                 \
    X(BASE_EDENIED, -12, REJECT, "not allowed")                                                    \
    X(BASE_ESTALE, -13, REJECT, "has moved on meanwhile")                                          \
    X(BASE_EUNSUPPORTED, -14, REJECT, "not supported")                                             \
    X(BASE_EAUTH, -15, REJECT, "not authenticated")                                                \
    X(BASE_EPROTO, -16, REJECT, "breaks the protocol")                                             \
    X(BASE_EFENCED, -17, REJECT, "fenced off: clone or restored image")                            \
    X(BASE_ECORRUPT, -18, CORRUPT, "damaged")                                                      \
    X(BASE_EKEY, -19, CORRUPT, "wrong key")                                                        \
    X(BASE_EBUG, -20, BUG, "internal error")

enum base_code {
#define X(name, code, class, text) name = code,
    BASE_ERRORS(X)
#undef X
};

enum { BASE_ERR_TEXT_BYTES = 512 };

struct base_err {
    int code;
    char text[BASE_ERR_TEXT_BYTES]; /* UTF-8, NUL-terminated, cut where it is too long */
};

/* Sets err (if not NULL) to code and the formatted text; gives code. Macros, so that the compiler and the analyzer see which
 * code comes out: what follows a failure is then known not to run. */
#define base_fail(err, code, ...) (base_err_set((err), (code), __VA_ARGS__), (code))
/* Puts "prefix: " before the text, as layers do on the way up; gives code. */
#define base_err_prefix(err, code, ...) (base_err_put_before((err), (code), __VA_ARGS__), (code))

void base_err_set(struct base_err *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void base_err_put_before(struct base_err *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

const char *base_code_name(int code); /* "BASE_EIO"; "?" if unknown */
const char *base_code_text(int code); /* "input or output failed" */
enum base_err_class base_code_class(int code);

/* Programmers' errors only; stays on in release builds. Input is never asserted. */
#define BASE_ASSERT(cond) ((cond) ? (void)0 : base_assert_failed(#cond, __FILE__, __LINE__))
_Noreturn void base_assert_failed(const char *cond, const char *file, int line);

#endif
