#include "script/c_stack.h"

#include <lauxlib.h>
#include <pthread.h>
#include <stdint.h>

enum { SHARE = 4, LEAST = 256 * 1024, MOST = 2 * 1024 * 1024 };

/* Where a function that could go on for ever may not begin any more; stacks grow downwards. */
static uintptr_t find_limit(void)
{
    uintptr_t top = (uintptr_t)__builtin_frame_address(0);
    size_t size = 0, room;
    pthread_attr_t attr;
    void *bottom;

    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        if (pthread_attr_getstack(&attr, &bottom, &size) == 0)
            top = (uintptr_t)bottom + size;
        pthread_attr_destroy(&attr);
    }
    room = size / SHARE < LEAST ? LEAST : size / SHARE;
    return top - (room > MOST ? MOST : room); /* the main thread's may be said to have no end */
}

void sl_c_stack_check(lua_State *L)
{
    static __thread uintptr_t limit;

    if (limit == 0)
        limit = find_limit();
    if ((uintptr_t)__builtin_frame_address(0) < limit)
        luaL_error(L, "stack overflow (C functions that call each other)");
}
