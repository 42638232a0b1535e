/*
 * A limit for script code that makes C functions call each other without end: gsub with a callback
 * that calls gsub, load() with a reader that calls load(), a coroutine that resumes another one.
 * Lua counts the slots of its own stack, of which each coroutine has a new one; the stack of the
 * thread would be gone long before, and the process with it.
 *
 * A quarter of the thread's stack may be used up where such a function begins; the rest is for what
 * it calls. Any thread.
 *
 *     static int str_gsub(lua_State *L)
 *     {
 *         sl_c_stack_check(L);
 *         …
 */
#ifndef SL_SCRIPT_C_STACK_H
#define SL_SCRIPT_C_STACK_H

#include <lua.h>

/* Throws "stack overflow" when too little is left. */
void sl_c_stack_check(lua_State *L);

#endif
