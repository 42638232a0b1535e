#include "script/internal.h"

#include <luajit.h>
#include <lualib.h>
#include "base/buf.h"
#include "base/log.h"
#include "script/c_stack.h"

/* What policy code gets of Lua. Not here: io, debug, ffi, jit, module, dofile, loadfile, newproxy,
   getfenv, setfenv, gcinfo. The functions that are replaced: print, load, loadstring,
   collectgarbage, require, and the pattern functions of string. */
static const char *const base_names[] = {
    "_VERSION", "assert",   "error",  "getmetatable", "ipairs", "next",   "pairs",
    "pcall",    "rawequal", "rawget", "rawlen",       "rawset", "select", "setmetatable",
    "tonumber", "tostring", "type",   "unpack",       NULL,
};
static const char *const os_names[] = {"clock", "date", "difftime", "getenv", "time", NULL};
static const char *const library_names[] = {"bit", "coroutine", "math", "string", "table", NULL};
static const char *const grantable[] = {"debug", "ffi", "io", "os", NULL};

/* --- the replaced functions --- */

static void push_text(lua_State *L, int at)
{
    if (luaL_callmeta(L, at, "__tostring") && lua_isstring(L, -1))
        return;
    switch (lua_type(L, at)) {
    case LUA_TSTRING:
    case LUA_TNUMBER:
        lua_pushvalue(L, at);
        lua_tostring(L, -1);
        break;
    case LUA_TBOOLEAN:
        lua_pushstring(L, lua_toboolean(L, at) ? "true" : "false");
        break;
    case LUA_TNIL:
        lua_pushliteral(L, "nil");
        break;
    default:
        lua_pushfstring(L, "%s: %p", luaL_typename(L, at), lua_topointer(L, at));
    }
}

/* A script that prints means its operator, who reads the log. */
static int print(lua_State *L)
{
    int n = lua_gettop(L);

    for (int i = 1; i <= n; i++) {
        push_text(L, i);
        if (i < n)
            lua_pushliteral(L, "\t");
        luaL_checkstack(L, 4, "too many values to print");
    }
    lua_concat(L, lua_gettop(L) - n);
    sl_log_info("print", sl_f_str("text", lua_tostring(L, -1)),
                sl_f_str("script", sl_script_fast(L)->path));
    return 0;
}

static int collectgarbage(lua_State *L)
{
    const char *what = luaL_optstring(L, 1, "count");

    if (strcmp(what, "count") == 0)
        lua_pushnumber(L, (lua_Number)sl_script_fast(L)->memory / 1024);
    else if (strcmp(what, "step") == 0)
        lua_pushboolean(L, lua_gc(L, LUA_GCSTEP, (int)luaL_optinteger(L, 2, 0)));
    else
        return luaL_error(L, "collectgarbage: \"%s\" is not for scripts (only: count, step)", what);
    return 1;
}

/* load() with a function: joins the pieces that it returns. */
static void join_pieces(lua_State *L)
{
    luaL_Buffer b;

    sl_c_stack_check(L);
    luaL_buffinit(L, &b);
    for (;;) {
        lua_pushvalue(L, 1);
        lua_call(L, 0, 1);
        if (lua_isnil(L, -1) || (lua_isstring(L, -1) && lua_objlen(L, -1) == 0))
            break;
        if (!lua_isstring(L, -1))
            luaL_error(L, "load: the reader must return a string, not a %s", luaL_typename(L, -1));
        luaL_addvalue(&b);
    }
    lua_pop(L, 1);
    luaL_pushresult(&b);
    lua_replace(L, 1);
}

static int load(lua_State *L)
{
    const char *mode = luaL_optstring(L, 3, "t");
    const char *text, *name;
    size_t len;

    if (lua_isfunction(L, 1))
        join_pieces(L);
    text = luaL_checklstring(L, 1, &len);
    name = luaL_optstring(L, 2, text);
    if (strchr(mode, 't') == NULL) {
        lua_pushnil(L);
        lua_pushliteral(L, "bytecode is not loaded here");
        return 2;
    }
    if (!sl_sandbox_load(L, text, len, name))
        return 2;
    if (!lua_isnoneornil(L, 4)) {
        luaL_checktype(L, 4, LUA_TTABLE);
        lua_pushvalue(L, 4);
        lua_setfenv(L, -2);
    }
    return 1;
}

/* An error handler runs where the error was thrown. When that is the hook which ends a run, Lua
   calls no hooks in there, and a handler that loops could not be stopped: so it is not called.
   Upvalue: the handler. */
static int run_handler(lua_State *L)
{
    if (sl_budget_is_over(&sl_script_fast(L)->budget))
        return 1;
    sl_c_stack_check(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

static int wrap_handler(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    lua_pushcclosure(L, run_handler, 1);
    return 1;
}

static int check_c_stack(lua_State *L)
{
    sl_c_stack_check(L);
    return 0;
}

/* In Lua, since a task cannot wait across a C function. */
static const char xpcall_text[] =
    "local xpcall, wrap = ... "
    "return function(f, handler, ...) return xpcall(f, wrap(handler), ...) end";
static const char resume_text[] =
    "local resume, check = ... "
    "return function(thread, ...) check() return resume(thread, ...) end";
static const char wrap_text[] = "local wrap, check = ... "
                                "return function(f) "
                                "  local resume = wrap(f) "
                                "  return function(...) check() return resume(...) end "
                                "end";

/* Field `name` of the library at `from` becomes, in that at `to`, what the text makes of it and of
   the C function. */
static void wrap_function(lua_State *L, int from, int to, const char *name, const char *text,
                          lua_CFunction helper)
{
    if (luaL_loadbuffer(L, text, strlen(text), "=sluice") != 0)
        lua_error(L);
    lua_getfield(L, from, name);
    lua_pushcfunction(L, helper);
    lua_call(L, 2, 1);
    lua_setfield(L, to, name);
}

static void wrap_functions(lua_State *L, int trusted, int policy)
{
    int from = lua_gettop(L) + 1, to = from + 1;

    wrap_function(L, trusted, policy, "xpcall", xpcall_text, wrap_handler);
    lua_getfield(L, trusted, "coroutine");
    lua_getfield(L, policy, "coroutine");
    wrap_function(L, from, to, "resume", resume_text, check_c_stack);
    wrap_function(L, from, to, "wrap", wrap_text, check_c_stack);
    lua_pop(L, 2);
}

static int loadstring(lua_State *L)
{
    lua_settop(L, 2);
    return load(L);
}

static int refuse_global(lua_State *L)
{
    return luaL_error(L, "assignment to the undeclared global \"%s\" (meant to be local?)",
                      lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2));
}

static const struct luaL_Reg replaced[] = {
    {"collectgarbage", collectgarbage},
    {"load", load},
    {"loadstring", loadstring},
    {"print", print},
    {NULL, NULL},
};

/* --- the environments --- */

/* Copies fields from the table at `from` to that at `to`; names NULL: all. Both are absolute. */
static void copy_fields(lua_State *L, int from, int to, const char *const *names)
{
    if (names == NULL) {
        for (lua_pushnil(L); lua_next(L, from);) {
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, to);
        }
        return;
    }
    for (; *names != NULL; names++) {
        lua_getfield(L, from, *names);
        lua_setfield(L, to, *names);
    }
}

/* A copy of the library for policy code, so that it cannot change what the trusted modules use. */
static void copy_library(lua_State *L, int trusted, int policy, const char *name,
                         const char *const *names)
{
    lua_getfield(L, trusted, name);
    lua_newtable(L);
    copy_fields(L, lua_gettop(L) - 1, lua_gettop(L), names);
    lua_setfield(L, policy, name);
    lua_pop(L, 1);
}

/* Assigning to a global that does not exist throws. */
static void make_strict(lua_State *L, int env)
{
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, refuse_global);
    lua_setfield(L, -2, "__newindex");
    lua_pushliteral(L, "the globals");
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, env);
}

static void harden_trusted(lua_State *L, int trusted)
{
    lua_getfield(L, trusted, "string");
    lua_pushnil(L);
    lua_setfield(L, -2, "dump");
    sl_bind_string(
        L); /* replaces fields of the table on top: both environments and ("x"):find() get these */
    lua_pop(L, 1);
    lua_pushliteral(L, "");
    lua_getmetatable(L, -1);
    lua_pushliteral(L, "string");
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
}

static void fill_policy(lua_State *L, int trusted, int policy)
{
    copy_fields(L, trusted, policy, base_names);
    for (const char *const *name = library_names; *name != NULL; name++)
        copy_library(L, trusted, policy, *name, NULL);
    copy_library(L, trusted, policy, "os", os_names);
    for (const struct luaL_Reg *f = replaced; f->name != NULL; f++) {
        lua_pushcfunction(L, f->func);
        lua_setfield(L, policy, f->name);
    }
    wrap_functions(L, trusted, policy);
    lua_pushvalue(L, policy);
    lua_setfield(L, policy, "_G");
}

void sl_sandbox_open(lua_State *L)
{
    struct sl_script *s = sl_script_fast(L);
    int trusted, policy;

    luaL_openlibs(L);
    lua_pushvalue(L, LUA_GLOBALSINDEX);
    trusted = lua_gettop(L);
    lua_newtable(L);
    policy = lua_gettop(L);
    harden_trusted(L, trusted);
    fill_policy(L, trusted, policy);
    make_strict(L, trusted);
    make_strict(L, policy);
    lua_newtable(L);
    s->grants = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    s->chunks = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushvalue(L, policy);
    lua_replace(L,
                LUA_GLOBALSINDEX); /* whatever is loaded without a word about it is policy code */
    s->policy_env = luaL_ref(L, LUA_REGISTRYINDEX);
    s->trusted_env = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* --- loading --- */

bool sl_sandbox_load(lua_State *L, const char *text, size_t len, const char *name)
{
    struct sl_script *s = sl_script_fast(L);

    if (luaL_loadbufferx(L, text, len, name, "t") != 0) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return false;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->policy_env);
    lua_setfenv(L, -2);
    if (s->policy.jit)
        return true;
    /* Compiled loops look at no hooks, so the CPU budget could not stop them. */
    luaJIT_setmode(L, lua_gettop(L), LUAJIT_MODE_ALLFUNC | LUAJIT_MODE_OFF);
    if (s->is_loading) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, s->chunks);
        lua_pushvalue(L, -2);
        lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
        lua_pop(L, 1);
    }
    return true;
}

void sl_sandbox_allow_jit(lua_State *L)
{
    struct sl_script *s = sl_script_fast(L);
    int n;

    lua_rawgeti(L, LUA_REGISTRYINDEX, s->chunks);
    n = (int)lua_objlen(L, -1);
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, i);
        luaJIT_setmode(L, lua_gettop(L), LUAJIT_MODE_ALLFUNC | LUAJIT_MODE_ON);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* --- grants ---
 *
 * The script names its grants in the table that it returns, but wants `require "ffi"` in its first
 * line. So while it loads, require() hands out an empty table that throws when it is used, and the
 * grant fills it. */

bool sl_sandbox_is_grantable(const char *name)
{
    for (const char *const *g = grantable; *g != NULL; g++) {
        if (strcmp(*g, name) == 0)
            return true;
    }
    return false;
}

static int use_too_early(lua_State *L)
{
    return luaL_error(L,
                      "%s can be used when the script has returned its table with grants = { "
                      "\"%s\" }: use it inside "
                      "functions, not in the body of the script",
                      lua_tostring(L, lua_upvalueindex(1)), lua_tostring(L, lua_upvalueindex(1)));
}

static void push_placeholder(lua_State *L, const char *name)
{
    lua_newtable(L);
    lua_createtable(L, 0, 2);
    lua_pushstring(L, name);
    lua_pushcclosure(L, use_too_early, 1);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index");
    lua_setfield(L, -2, "__newindex");
    lua_setmetatable(L, -2);
}

void sl_sandbox_push_granted(lua_State *L, const char *name)
{
    struct sl_script *s = sl_script_fast(L);

    lua_rawgeti(L, LUA_REGISTRYINDEX, s->grants);
    lua_getfield(L, -1, name);
    if (lua_isnil(L, -1) && strcmp(name, "os") == 0) {
        lua_pop(L, 1); /* a part of it is there without a grant */
        lua_rawgeti(L, LUA_REGISTRYINDEX, s->policy_env);
        lua_getfield(L, -1, name);
        lua_remove(L, -2);
    } else if (lua_isnil(L, -1)) {
        if (!s->is_loading)
            luaL_error(L,
                       "module \"%s\" is not granted: add grants = { \"%s\" } to the table that "
                       "the script returns",
                       name, name);
        lua_pop(L, 1);
        push_placeholder(L, name);
        lua_pushvalue(L, -1);
        lua_setfield(L, -3, name);
    }
    lua_remove(L, -2);
}

void sl_sandbox_grant(lua_State *L, const char *name)
{
    struct sl_script *s = sl_script_fast(L);
    int base = lua_gettop(L);

    if (!sl_sandbox_is_grantable(name))
        luaL_error(L, "%s: grants: \"%s\" cannot be granted (only: io, os, ffi, debug)", s->path,
                   name);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->policy_env);
    sl_sandbox_push_granted(L, name);
    sl_require_trusted(L, name);
    lua_pushnil(L);
    lua_setmetatable(L, base + 2); /* before the fields are set: the placeholder refuses them */
    copy_fields(L, base + 3, base + 2, NULL);
    lua_pushstring(L, name);
    lua_pushvalue(L, base + 2);
    lua_rawset(L, base + 1);
    lua_settop(L, base);
}

void sl_sandbox_check_grants(lua_State *L)
{
    struct sl_script *s = sl_script_fast(L);

    lua_rawgeti(L, LUA_REGISTRYINDEX, s->grants);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        if (!lua_getmetatable(L, -1))
            continue;
        luaL_error(L, "%s: the script requires \"%s\", which it must name: grants = { \"%s\" }",
                   s->path, lua_tostring(L, -3), lua_tostring(L, -3));
    }
    lua_pop(L, 1);
}
