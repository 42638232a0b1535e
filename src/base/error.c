#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *sl_error_text(int code)
{
    switch (code) {
#define SL_ERROR_CASE(name, number, text)                                                          \
    case number:                                                                                   \
        return text;
        SL_ERRORS(SL_ERROR_CASE)
#undef SL_ERROR_CASE
    default:
        return code >= 0 ? "no error" : "unknown error";
    }
}

int sl_error_from_errno(int err)
{
    switch (err) {
    case EAGAIN:
    case EINTR:
        return SL_E_AGAIN;
    case ECONNREFUSED:
        return SL_E_REFUSED;
    case ECONNRESET:
    case EPIPE:
        return SL_E_RESET;
    case ETIMEDOUT:
        return SL_E_TIMEOUT;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EADDRNOTAVAIL:
        return SL_E_UNREACHABLE;
    case EADDRINUSE:
        return SL_E_IN_USE;
    case EACCES:
    case EPERM:
        return SL_E_DENIED;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
        return SL_E_LIMIT;
    case ENOMEM:
        return SL_E_MEMORY;
    case ENOENT:
        return SL_E_NOT_FOUND;
    default:
        return SL_E_SYSTEM;
    }
}

int sl_err_set(struct sl_err *err, int code, const char *fmt, ...)
{
    va_list ap;

    if (err == NULL)
        return code;
    err->code = code;
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    return code;
}

int sl_err_prefix(struct sl_err *err, const char *fmt, ...)
{
    char head[sizeof(err->text)];
    size_t head_len, tail_len;
    va_list ap;

    if (err == NULL)
        return SL_E_CONFIG;
    va_start(ap, fmt);
    vsnprintf(head, sizeof(head), fmt, ap);
    va_end(ap);
    head_len = strlen(head);
    tail_len = SL_MIN(strlen(err->text), sizeof(err->text) - 1 - head_len);
    memmove(err->text + head_len, err->text, tail_len);
    memcpy(err->text, head, head_len);
    err->text[head_len + tail_len] = '\0';
    return err->code;
}
