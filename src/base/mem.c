#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log_out.h"

static SL_NORETURN SL_PRINTF(1, 2) void die(const char *fmt, ...)
{
    char text[512];
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    sl_log_out_last_words(text, SL_MIN((size_t)SL_MAX(n, 0), sizeof(text) - 1));
    abort();
}

void sl_assert_failed(const char *cond, const char *file, int line)
{
    die("sluice: bug: %s:%d: assertion failed: %s\n", file, line, cond);
}

static void *must(void *ptr, size_t len)
{
    if (SL_UNLIKELY(ptr == NULL && len > 0))
        die("sluice: out of memory (%zu bytes)\n", len);
    return ptr;
}

void *sl_alloc(size_t len)
{
    return must(malloc(len), len);
}

void *sl_zalloc(size_t len)
{
    return must(calloc(1, len), len);
}

void *sl_realloc(void *ptr, size_t len)
{
    return must(realloc(ptr, len), len);
}

char *sl_strndup(const char *s, size_t len)
{
    char *copy = sl_alloc(len + 1);

    memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

char *sl_strdup(const char *s)
{
    return sl_strndup(s, strlen(s));
}

void sl_free(void *ptr)
{
    free(ptr);
}

void *sl_try_alloc(size_t len)
{
    return malloc(len);
}

void *sl_try_realloc(void *ptr, size_t len)
{
    return realloc(ptr, len);
}
