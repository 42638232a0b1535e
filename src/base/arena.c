#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>

enum { BLOCK_LEN = 4096 };

struct sl_arena_block {
    struct sl_arena_block *next;
    size_t len;
    char bytes[] __attribute__((aligned(16)));
};

void *sl_arena_slow(struct sl_arena *a, size_t len)
{
    size_t room = SL_MAX(len, BLOCK_LEN - sizeof(struct sl_arena_block));
    struct sl_arena_block *block = sl_alloc(sizeof(*block) + room);

    block->len = room;
    block->next = a->blocks;
    a->blocks = block;
    a->at = block->bytes + len;
    a->end = block->bytes + room;
    return block->bytes;
}

struct sl_str sl_arena_dup(struct sl_arena *a, struct sl_str s)
{
    char *copy = sl_arena_alloc(a, s.len + 1);

    if (s.len > 0)
        memcpy(copy, s.p, s.len);
    copy[s.len] = '\0';
    return sl_str(copy, s.len);
}

struct sl_str sl_arena_printf(struct sl_arena *a, const char *fmt, ...)
{
    va_list ap;
    char *out;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    sl_assert(n >= 0);
    out = sl_arena_alloc(a, (size_t)n + 1);
    va_start(ap, fmt);
    vsnprintf(out, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return sl_str(out, (size_t)n);
}

void sl_arena_reset(struct sl_arena *a)
{
    struct sl_arena_block *block = a->blocks;

    if (block == NULL)
        return;
    while (block->next !=
           NULL) { /* the oldest block has the usual size unless the first request was huge */
        struct sl_arena_block *next = block->next;

        sl_free(block);
        block = next;
    }
    if (block->len > BLOCK_LEN) {
        sl_free(block);
        *a = (struct sl_arena){0};
        return;
    }
    a->blocks = block;
    a->at = block->bytes;
    a->end = block->bytes + block->len;
}

void sl_arena_clear(struct sl_arena *a)
{
    while (a->blocks != NULL) {
        struct sl_arena_block *next = a->blocks->next;

        sl_free(a->blocks);
        a->blocks = next;
    }
    *a = (struct sl_arena){0};
}
