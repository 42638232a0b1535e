/*
 * A growable run of bytes: append at the end, consume at the front. Embedded in its owner; one
 * thread. Memory is taken with the first byte and given back by sl_buf_clear(), so that an idle
 * owner holds none.
 *
 *     sl_buf_append(&b, "abc", 3);
 *     n = write(fd, sl_buf_at(&b), sl_buf_len(&b));
 *     sl_buf_consume(&b, n);
 *
 * Invariant: 0 <= start <= end <= cap.
 */
#ifndef SL_BASE_BUF_H
#define SL_BASE_BUF_H

#include <stdarg.h>
#include "base/str.h"

struct sl_buf {
    uint8_t *base;
    size_t start, end, cap;
};

static inline size_t sl_buf_len(const struct sl_buf *b)
{
    return b->end - b->start;
}

static inline uint8_t *sl_buf_at(const struct sl_buf *b)
{
    return b->base != NULL ? b->base + b->start : NULL; /* NULL + 0 is not defined in C */
}

static inline struct sl_str sl_buf_str(const struct sl_buf *b)
{
    return sl_str((const char *)sl_buf_at(b), b->end - b->start);
}

/* Frees the memory and leaves an empty buffer that may be used again. */
void sl_buf_clear(struct sl_buf *b);
/* Room for at least `len` more bytes; the pointer to it. Aborts when memory is out: limit `len`
 * before. */
uint8_t *sl_buf_reserve(struct sl_buf *b, size_t len);
/* Counts `len` bytes written into the reserved room. */
static inline void sl_buf_commit(struct sl_buf *b, size_t len)
{
    sl_assert(len <= b->cap - b->end);
    b->end += len;
}

void sl_buf_append(struct sl_buf *b, const void *bytes, size_t len);
void sl_buf_append_str(struct sl_buf *b, struct sl_str s);
void sl_buf_printf(struct sl_buf *b, const char *fmt, ...) SL_PRINTF(2, 3);
/* Drops `len` bytes at the front; keeps the memory. */
void sl_buf_consume(struct sl_buf *b, size_t len);
/* Empties, keeps the memory. */
static inline void sl_buf_reset(struct sl_buf *b)
{
    b->start = b->end = 0;
}

#endif
