/*
 * Errors of the world outside: a function returns 0 (or a count) or a negative SL_E_* code. Bugs
 * assert instead.
 *
 * `struct sl_err` carries the sentence an operator reads, with the path of the thing that is wrong
 * in front:
 *
 *     return sl_err_set(err, SL_E_CONFIG, "routes[3].match.ports: 0 is not a port (1 to 65535)");
 */
#ifndef SL_BASE_ERROR_H
#define SL_BASE_ERROR_H

#include "base/mem.h"

/* name, number, text for logs. One list: enum, names and texts are made from it. */
#define SL_ERRORS(X)                                                                               \
    X(AGAIN, -1, "not now")                                                                        \
    X(CLOSED, -2, "closed by the peer")                                                            \
    X(RESET, -3, "reset by the peer")                                                              \
    X(TIMEOUT, -4, "timed out")                                                                    \
    X(REFUSED, -5, "connection refused")                                                           \
    X(UNREACHABLE, -6, "unreachable")                                                              \
    X(LIMIT, -7, "a limit was reached")                                                            \
    X(PROTOCOL, -8, "the peer broke the protocol")                                                 \
    X(TLS, -9, "TLS failed")                                                                       \
    X(SYSTEM, -10, "the system call failed")                                                       \
    X(CONFIG, -11, "the configuration is wrong")                                                   \
    X(NOT_FOUND, -12, "not found")                                                                 \
    X(IN_USE, -13, "address in use")                                                               \
    X(DENIED, -14, "permission denied")                                                            \
    X(MEMORY, -15, "out of memory")                                                                \
    X(SCRIPT, -16, "the script failed")                                                            \
    X(CANCELLED, -17, "cancelled")                                                                 \
    X(PARTIAL, -18, "more bytes are needed")

enum {
#define SL_ERROR_ENUM(name, number, text) SL_E_##name = number,
    SL_ERRORS(SL_ERROR_ENUM)
#undef SL_ERROR_ENUM
};

/* The text of a code: a lower-case phrase, never NULL. */
const char *sl_error_text(int code);
/* The SL_E_* code for an errno value. */
int sl_error_from_errno(int err);

struct sl_err {
    int code;
    char text[512];
};

/* Stores code and sentence, returns the code. `err` may be NULL. */
int sl_err_set(struct sl_err *err, int code, const char *fmt, ...) SL_PRINTF(3, 4);
/* Puts "prefix: " in front of the sentence, to build a path from the inside out; returns the code.
 */
int sl_err_prefix(struct sl_err *err, const char *fmt, ...) SL_PRINTF(2, 3);

#endif
