/*
 * Streams that have ended wait here for the next request on this thread, with the first block of
 * their arena: to allocate both anew would be the most expensive thing that HTTP/2 does for a small
 * request. Sanitizers must see each stream end, so that there every one is new.
 */
#include <pthread.h>
#include "http/mux_internal.h"

#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
enum { MAX_SPARES = 0 };
#else
enum { MAX_SPARES = 128 };
#endif

static __thread struct {
    struct sl_mux_stream *streams[MAX_SPARES + 1];
    unsigned n;
} spare;

static pthread_key_t at_thread_end;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void destroy(struct sl_mux_stream *s)
{
    sl_arena_clear(&s->ex.arena);
    sl_free(s);
}

static void destroy_spares(void *unused)
{
    (void)unused;
    while (spare.n > 0)
        destroy(spare.streams[--spare.n]);
}

static void make_key(void)
{
    sl_assert(pthread_key_create(&at_thread_end, destroy_spares) == 0);
}

struct sl_mux_stream *sl_mux_take(void)
{
    struct sl_mux_stream *s;
    struct sl_arena arena;

    if (spare.n == 0)
        return sl_zalloc(sizeof(*s));
    s = spare.streams[--spare.n];
    arena = s->ex.arena;
    memset(s, 0, sizeof(*s));
    s->ex.arena = arena;
    return s;
}

void sl_mux_give(struct sl_mux_stream *s)
{
    if (spare.n == MAX_SPARES) {
        destroy(s);
        return;
    }
    if (spare.n == 0) { /* this thread has something to free at its end */
        pthread_once(&once, make_key);
        pthread_setspecific(at_thread_end, &spare);
    }
    sl_arena_reset(&s->ex.arena);
    spare.streams[spare.n++] = s;
}
