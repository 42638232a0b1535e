/*
 * How C functions reach Lua: rows of functions for the table `sluice.core`, and classes for what
 * scripts make and close.
 *
 * Every row must be listed in lua/sluice/api.lua, the contract table: a name that is missing there
 * is a load error. A function that api.lua allows only in some contexts is wrapped in a guard,
 * which throws "sluice.sleep cannot be called in on_connect (only in: on_request, …)"; one that is
 * legal everywhere is bound bare and costs nothing more.
 *
 *     static const struct luaL_Reg functions[] = {
 *         {"sleep", sleep_}, {"tcp.connect", connect_}, {NULL, NULL},
 *     };
 *
 *     void sl_bind_time(lua_State *L)
 *     {
 *         sl_bind_functions(L, functions);                 // sluice.core.tcp.connect
 *         sl_bind_class(L, "timer", methods, free_timer);  // timer:cancel()
 *     }
 *
 * All of these throw; they run inside `opts.library` or inside C functions called from Lua.
 */
#ifndef SL_SCRIPT_BIND_H
#define SL_SCRIPT_BIND_H

#include <lauxlib.h>
#include <lua.h>
#include "base/error.h"
#include "base/str.h"

/* Adds to `sluice.core`; a dot in a name makes a nested table. In api.lua the row is "sluice." ..
 * name. */
void sl_bind_functions(lua_State *L, const struct luaL_Reg *functions);
/* Sets `sluice.core`.name to the value on top of the stack and pops it (version, args, json.null).
 * Listed in api.lua, too. */
void sl_bind_value(lua_State *L, const char *name);

/* Makes a class of full userdata. In api.lua the rows are name:method. `gc` (may be NULL) frees
   what the object holds. The metatable is locked; tostring gives "timer: 0x…". */
void sl_bind_class(lua_State *L, const char *name, const struct luaL_Reg *methods,
                   lua_CFunction gc);
/* A new zeroed object of a class, pushed. */
void *sl_object_new(lua_State *L, const char *name, size_t len);
/* The object at `arg`, or throws "timer expected, got string". */
void *sl_object_check(lua_State *L, int arg, const char *name);

/* The argument as bytes; throws unless it is a string (or a number). Valid while the value is on
 * the stack. */
struct sl_str sl_arg_str(lua_State *L, int arg);
struct sl_str sl_arg_opt_str(lua_State *L, int arg, struct sl_str otherwise);
/* An integer from `least` to `most`; throws "bad argument #2 to 'read' (1 to 65536 expected, got
 * 0)". */
int64_t sl_arg_int(lua_State *L, int arg, int64_t least, int64_t most);
int64_t sl_arg_opt_int(lua_State *L, int arg, int64_t least, int64_t most, int64_t otherwise);
/* Seconds as a float, 0 to 1e9; throws on NaN and negative ones. */
double sl_arg_seconds(lua_State *L, int arg);

/* The options table at `arg` (nil counts as empty): throws on a key that is not in `names` (ends
 * with NULL), with the nearest one. */
void sl_arg_options(lua_State *L, int arg, const char *const *names);
/* Fields of an options table, with the same checks; a missing field gives `otherwise`. Strings stay
   valid while the table holds them. `sl_opt_required_str` throws when it is missing. */
struct sl_str sl_opt_str(lua_State *L, int arg, const char *name, struct sl_str otherwise);
struct sl_str sl_opt_required_str(lua_State *L, int arg, const char *name);
int64_t sl_opt_int(lua_State *L, int arg, const char *name, int64_t least, int64_t most,
                   int64_t otherwise);
double sl_opt_seconds(lua_State *L, int arg, const char *name, double otherwise);
bool sl_opt_bool(lua_State *L, int arg, const char *name, bool otherwise);
/* Pushes the function `name` or throws. */
void sl_opt_function(lua_State *L, int arg, const char *name);

/* Pushes `nil, text` and returns 2: how the world fails. */
int sl_push_failure(lua_State *L, const char *text);
int sl_push_failure_code(lua_State *L, int code);

#endif
