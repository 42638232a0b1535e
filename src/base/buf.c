#include "base/buf.h"

#include <stdio.h>

enum { FIRST_CAP = 256 };

void sl_buf_clear(struct sl_buf *b)
{
    sl_free(b->base);
    *b = (struct sl_buf){0};
}

uint8_t *sl_buf_reserve(struct sl_buf *b, size_t len)
{
    size_t used = b->end - b->start;
    size_t cap = b->cap > 0 ? b->cap : FIRST_CAP;

    if (len <= b->cap - b->end)
        return b->base + b->end;
    if (b->start > 0 && len <= b->cap - used && b->start >= used) {
        memcpy(b->base, b->base + b->start, used);
        b->start = 0;
        b->end = used;
        return b->base + used;
    }
    sl_assert(len < SIZE_MAX / 4);
    while (cap - used < len)
        cap *= 2;
    if (b->start > 0) {
        uint8_t *bigger = sl_alloc(cap);

        memcpy(bigger, b->base + b->start, used);
        sl_free(b->base);
        b->base = bigger;
    } else {
        b->base = sl_realloc(b->base, cap);
    }
    b->start = 0;
    b->end = used;
    b->cap = cap;
    return b->base + used;
}

void sl_buf_append(struct sl_buf *b, const void *bytes, size_t len)
{
    if (len == 0)
        return;
    memcpy(sl_buf_reserve(b, len), bytes, len);
    b->end += len;
}

void sl_buf_append_str(struct sl_buf *b, struct sl_str s)
{
    sl_buf_append(b, s.p, s.len);
}

void sl_buf_printf(struct sl_buf *b, const char *fmt, ...)
{
    char *room;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    sl_assert(n >= 0);
    room = (char *)sl_buf_reserve(b, (size_t)n + 1);
    va_start(ap, fmt);
    vsnprintf(room, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->end += (size_t)n;
}

void sl_buf_consume(struct sl_buf *b, size_t len)
{
    sl_assert(len <= sl_buf_len(b));
    b->start += len;
    if (b->start == b->end)
        b->start = b->end = 0;
}
