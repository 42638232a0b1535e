#include "script/internal.h"

#include <stdlib.h>
#include "base/clock.h"

enum { BETWEEN_COLLECTIONS_MS = 500, RESERVE = 64 * 1024 };

/* Lua's allocator: counts, and refuses what would go past the cap. Shrinking never fails. */
void *sl_script_allocate(void *user, void *ptr, size_t old_len, size_t len)
{
    struct sl_script *s = user;
    void *fresh;

    if (len == 0) {
        s->memory -= ptr != NULL ? old_len : 0;
        free(ptr);
        return NULL;
    }
    if (ptr == NULL)
        old_len = 0;
    if (len > old_len && len - old_len > s->memory_cap - SL_MIN(s->memory, s->memory_cap))
        return NULL;
    fresh = realloc(ptr, len);
    if (fresh != NULL)
        s->memory = s->memory - old_len + len;
    return fresh;
}

/* LuaJIT collects when the heap has grown by a factor, and knows nothing of our cap: a script that
   keeps half of it alive would hit the cap with garbage. So the factor shrinks as the heap grows.
 */
static void tune(struct sl_script *s)
{
    size_t room = s->memory_cap / 10 * 7;
    size_t pause = s->memory > 0 ? room * 100 / s->memory : 200;

    lua_gc(s->L, LUA_GCSETPAUSE, (int)SL_MAX(SL_MIN(pause, 200), 100));
}

void sl_script_set_memory_cap(struct sl_script *s, size_t cap)
{
    s->memory_cap = cap;
    s->memory_relief = cap / 3;
}

static void collect(lua_State *L, void *arg)
{
    (void)arg;
    lua_gc(L, LUA_GCCOLLECT, 0);
}

/* The call into Lua that collects takes a little memory itself. At the cap it would never come to
   collecting, and the state would stay full for ever. */
void sl_script_collect(struct sl_script *s)
{
    size_t cap = s->memory_cap;
    struct sl_err err;

    s->memory_cap = SL_MAX(cap, s->memory) + RESERVE;
    if (sl_script_protect(s, collect, NULL, &err) < 0)
        sl_report(s, "collector", err.text, NULL); /* a __gc of granted FFI code threw */
    s->memory_cap = cap;
    tune(s);
}

/* A whole collection may take as long as many requests: a script that lives at its cap gets two a
   second. When it is too early for the next, the mark stays where it is: past a full heap nothing
   would ever come to it again. */
void sl_script_relieve(struct sl_script *s)
{
    uint64_t now = sl_clock_coarse_ms();
    size_t left;

    if (s->memory <= s->memory_cap / 10 * 6) {
        tune(s);
    } else if (now - s->collected_ms >= BETWEEN_COLLECTIONS_MS) {
        s->collected_ms = now;
        sl_script_collect(s);
    } else {
        return;
    }
    left = s->memory_cap - SL_MIN(s->memory, s->memory_cap);
    s->memory_relief = SL_MIN(s->memory, s->memory_cap) + left / 3;
}
