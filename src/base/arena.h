/*
 * An arena: many small allocations, one free. Holds what lives as long as one exchange (parsed
 * heads, edited headers). Embedded in its owner; one thread. The first block is kept by
 * sl_arena_reset(), so that a connection that goes on allocates nothing; sl_arena_clear() gives
 * everything back.
 *
 * Callers bound what they store: the arena aborts when memory is out.
 */
#ifndef SL_BASE_ARENA_H
#define SL_BASE_ARENA_H

#include "base/str.h"

struct sl_arena_block;

struct sl_arena {
    struct sl_arena_block *blocks; /* newest first */
    char *at, *end;
};

void *sl_arena_slow(struct sl_arena *a, size_t len);

/* `len` bytes aligned for any type, valid until reset or clear. */
static inline void *sl_arena_alloc(struct sl_arena *a, size_t len)
{
    char *p = a->at;

    len = (len + 15) & ~(size_t)15;
    if (SL_UNLIKELY(len > (size_t)(a->end - p)))
        return sl_arena_slow(a, len);
    a->at = p + len;
    return p;
}

/* A copy of `s` with a NUL behind it that `len` does not count. */
struct sl_str sl_arena_dup(struct sl_arena *a, struct sl_str s);
struct sl_str sl_arena_printf(struct sl_arena *a, const char *fmt, ...) SL_PRINTF(2, 3);
/* Forgets everything, keeps one block. */
void sl_arena_reset(struct sl_arena *a);
/* Gives all memory back; the arena may be used again. */
void sl_arena_clear(struct sl_arena *a);

#endif
