#include "base/arena.h"
#include "base/check.h"

static void what_it_gives_is_aligned_and_apart(void)
{
    struct sl_arena a = {0};
    char *last = NULL;

    for (size_t len = 1; len < 300; len++) {
        char *p = sl_arena_alloc(&a, len);

        sl_check((uintptr_t)p % 16 == 0 && p != last);
        memset(p, (int)len, len);
        if (last != NULL)
            sl_check(last[0] == (char)(len - 1) && last[len - 2] == (char)(len - 1));
        last = p;
    }
    sl_arena_clear(&a);
}

static void strings_are_copies_with_a_nul(void)
{
    struct sl_arena a = {0};
    char text[] = "abc";
    struct sl_str copy = sl_arena_dup(&a, sl_str(text, 2));

    text[0] = 'x';
    sl_check_str(copy, SL_STR("ab"));
    sl_check(copy.p[2] == '\0');
    copy = sl_arena_dup(&a, SL_STR_NONE);
    sl_check(copy.p != NULL && copy.len == 0 && copy.p[0] == '\0');
    copy = sl_arena_printf(&a, "%s:%d", "host", 80);
    sl_check_str(copy, SL_STR("host:80"));
    sl_check(copy.p[copy.len] == '\0');
    sl_arena_clear(&a);
}

/* A connection that goes on allocates nothing, however much the exchange before it needed. */
static void a_reset_keeps_one_block(void)
{
    struct sl_arena a = {0};
    void *first = sl_arena_alloc(&a, 10);

    for (int i = 0; i < 100; i++)
        (void)sl_arena_alloc(&a, 1000);
    (void)sl_arena_alloc(&a, 1 << 20);
    sl_arena_reset(&a);
    sl_check(sl_arena_alloc(&a, 10) == first);
    sl_arena_clear(&a);
    sl_check(a.blocks == NULL && a.at == NULL);
    sl_arena_reset(&a);
    sl_check(sl_arena_alloc(&a, 10) != NULL);
    sl_arena_clear(&a);
}

static void a_huge_first_block_is_not_kept(void)
{
    struct sl_arena a = {0};

    (void)sl_arena_alloc(&a, 1 << 20);
    sl_arena_reset(&a);
    sl_check(a.blocks == NULL);
    sl_arena_clear(&a);
}

int main(void)
{
    what_it_gives_is_aligned_and_apart();
    strings_are_copies_with_a_nul();
    a_reset_keeps_one_block();
    a_huge_first_block_is_not_kept();
    return sl_check_done();
}
