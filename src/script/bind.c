#include "script/bind.h"

#include <math.h>
#include "script/internal.h"
#include "script/nearest.h"

/* --- functions and values of sluice.core --- */

/* Pushes the table of sluice.core in which "tcp.connect" is to be set; returns the last part of the
 * name. */
static const char *push_holder(lua_State *L, const char *name)
{
    const char *dot;

    lua_rawgeti(L, LUA_REGISTRYINDEX, sl_script_fast(L)->core);
    while ((dot = strchr(name, '.')) != NULL) {
        lua_pushlstring(L, name, (size_t)(dot - name));
        lua_rawget(L, -2);
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            lua_newtable(L);
            lua_pushlstring(L, name, (size_t)(dot - name));
            lua_pushvalue(L, -2);
            lua_rawset(L, -4);
        }
        lua_remove(L, -2);
        name = dot + 1;
    }
    return name;
}

void sl_bind_functions(lua_State *L, const struct luaL_Reg *functions)
{
    for (; functions->name != NULL; functions++) {
        const char *full = lua_pushfstring(L, "sluice.%s", functions->name);
        const char *last = push_holder(L, functions->name);

        sl_guard_push(L, functions->func, full, full);
        lua_setfield(L, -2, last);
        lua_pop(L, 2);
    }
}

void sl_bind_value(lua_State *L, const char *name)
{
    const char *last;

    lua_pushfstring(L, "sluice.%s", name);
    sl_guard_contexts(L, lua_tostring(L, -1)); /* must be listed */
    lua_pop(L, 1);
    last = push_holder(L, name);
    lua_insert(L, -2);
    lua_setfield(L, -2, last);
    lua_pop(L, 1);
}

static int push_core(lua_State *L)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, sl_script_fast(L)->core);
    return 1;
}

void sl_bind_open(lua_State *L)
{
    struct sl_script *s = sl_script_fast(L);

    lua_newtable(L);
    s->core = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->trusted_env);
    lua_getfield(L, -1, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, push_core);
    lua_setfield(L, -2, "sluice.core");
    lua_pop(L, 3);
}

/* --- classes --- */

static const char *class_key(lua_State *L, const char *name)
{
    return lua_pushfstring(L, "sluice class %s", name);
}

static int object_tostring(lua_State *L)
{
    lua_pushfstring(L, "%s: %p", lua_tostring(L, lua_upvalueindex(1)), lua_touserdata(L, 1));
    return 1;
}

static void push_class_methods(lua_State *L, const char *name, const struct luaL_Reg *methods)
{
    lua_newtable(L);
    for (; methods->name != NULL; methods++) {
        const char *full = lua_pushfstring(L, "%s:%s", name, methods->name);

        sl_guard_push(L, methods->func, full, full);
        lua_setfield(L, -3, methods->name);
        lua_pop(L, 1);
    }
}

void sl_bind_class(lua_State *L, const char *name, const struct luaL_Reg *methods, lua_CFunction gc)
{
    lua_newtable(L);
    push_class_methods(L, name, methods);
    lua_setfield(L, -2, "__index");
    lua_pushstring(L, name);
    lua_pushcclosure(L, object_tostring, 1);
    lua_setfield(L, -2, "__tostring");
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__metatable");
    if (gc != NULL) {
        lua_pushcfunction(L, gc);
        lua_setfield(L, -2, "__gc");
    }
    class_key(L, name);
    lua_insert(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

void *sl_object_new(lua_State *L, const char *name, size_t len)
{
    void *object = lua_newuserdata(L, len);

    memset(object, 0, len);
    class_key(L, name);
    lua_rawget(L, LUA_REGISTRYINDEX);
    lua_setmetatable(L, -2);
    return object;
}

void *sl_object_check(lua_State *L, int arg, const char *name)
{
    bool is_one = false;

    if (lua_type(L, arg) == LUA_TUSERDATA && lua_getmetatable(L, arg)) {
        class_key(L, name);
        lua_rawget(L, LUA_REGISTRYINDEX);
        is_one = lua_rawequal(L, -1, -2);
        lua_pop(L, 2);
    }
    if (!is_one)
        luaL_typerror(L, arg, name);
    return lua_touserdata(L, arg);
}

/* --- arguments --- */

struct sl_str sl_arg_str(lua_State *L, int arg)
{
    size_t len;
    const char *p = luaL_checklstring(L, arg, &len);

    return sl_str(p, len);
}

struct sl_str sl_arg_opt_str(lua_State *L, int arg, struct sl_str otherwise)
{
    return lua_isnoneornil(L, arg) ? otherwise : sl_arg_str(L, arg);
}

static bool is_int(double value, int64_t least, int64_t most)
{
    return value == floor(value) && value >= (double)least && value <= (double)most;
}

int64_t sl_arg_int(lua_State *L, int arg, int64_t least, int64_t most)
{
    double value = luaL_checknumber(L, arg);

    if (!is_int(value, least, most))
        luaL_argerror(
            L, arg,
            lua_pushfstring(L, "%f to %f expected, got %f", (double)least, (double)most, value));
    return (int64_t)value;
}

int64_t sl_arg_opt_int(lua_State *L, int arg, int64_t least, int64_t most, int64_t otherwise)
{
    return lua_isnoneornil(L, arg) ? otherwise : sl_arg_int(L, arg, least, most);
}

static const double max_seconds = 1e9;

double sl_arg_seconds(lua_State *L, int arg)
{
    double value = luaL_checknumber(L, arg);

    if (!(value >= 0 && value <= max_seconds))
        luaL_argerror(L, arg, lua_pushfstring(L, "seconds from 0 to 1e9 expected, got %f", value));
    return value;
}

/* --- options --- */

/* Throws about the key on top of the stack. */
static void refuse_option(lua_State *L, const char *const *names)
{
    const char *key, *near;

    if (lua_type(L, -1) != LUA_TSTRING)
        luaL_error(L, "options have names: a %s is none", luaL_typename(L, -1));
    key = lua_tostring(L, -1);
    near = sl_nearest(sl_str_c(key), names);
    if (near != NULL)
        luaL_error(L, "unknown option \"%s\"; did you mean \"%s\"?", key, near);
    luaL_error(L, "unknown option \"%s\"", key);
}

static bool is_among(lua_State *L, int at, const char *const *names)
{
    for (; lua_type(L, at) == LUA_TSTRING && *names != NULL; names++) {
        if (strcmp(lua_tostring(L, at), *names) == 0)
            return true;
    }
    return false;
}

void sl_arg_options(lua_State *L, int arg, const char *const *names)
{
    if (lua_isnoneornil(L, arg))
        return;
    luaL_checktype(L, arg, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, arg);) {
        lua_pop(L, 1);
        if (!is_among(L, -1, names))
            refuse_option(L, names);
    }
}

/* Pushes the field; false, with nothing pushed, when it or the whole table is missing. */
static bool push_option(lua_State *L, int arg, const char *name)
{
    if (lua_isnoneornil(L, arg))
        return false;
    lua_getfield(L, arg, name);
    if (!lua_isnil(L, -1))
        return true;
    lua_pop(L, 1);
    return false;
}

/* Throws about the value on top of the stack. */
static void refuse_value(lua_State *L, const char *name, const char *expected)
{
    const char *got = luaL_typename(L, -1);

    if (lua_type(L, -1) == LUA_TNUMBER)
        got = lua_tostring(L, -1);
    luaL_error(L, "option %s: %s expected, got %s", name, expected, got);
}

static void refuse_int(lua_State *L, const char *name, int64_t least, int64_t most)
{
    const char *expected = lua_pushfstring(L, "%f to %f", (double)least, (double)most);

    lua_insert(L, -2);
    refuse_value(L, name, expected);
}

struct sl_str sl_opt_str(lua_State *L, int arg, const char *name, struct sl_str otherwise)
{
    struct sl_str value;

    if (!push_option(L, arg, name))
        return otherwise;
    if (lua_type(L, -1) != LUA_TSTRING) /* a number would become a string that nothing holds */
        refuse_value(L, name, "a string");
    value.p = lua_tolstring(L, -1, &value.len);
    lua_pop(L, 1);
    return value;
}

struct sl_str sl_opt_required_str(lua_State *L, int arg, const char *name)
{
    struct sl_str value = sl_opt_str(L, arg, name, SL_STR_NONE);

    if (value.p == NULL)
        luaL_error(L, "option %s is missing", name);
    return value;
}

int64_t sl_opt_int(lua_State *L, int arg, const char *name, int64_t least, int64_t most,
                   int64_t otherwise)
{
    double value;

    if (!push_option(L, arg, name))
        return otherwise;
    value = lua_tonumber(L, -1);
    if (lua_type(L, -1) != LUA_TNUMBER || !is_int(value, least, most))
        refuse_int(L, name, least, most);
    lua_pop(L, 1);
    return (int64_t)value;
}

double sl_opt_seconds(lua_State *L, int arg, const char *name, double otherwise)
{
    double value;

    if (!push_option(L, arg, name))
        return otherwise;
    value = lua_tonumber(L, -1);
    if (lua_type(L, -1) != LUA_TNUMBER || !(value >= 0 && value <= max_seconds))
        refuse_value(L, name, "a number of seconds");
    lua_pop(L, 1);
    return value;
}

bool sl_opt_bool(lua_State *L, int arg, const char *name, bool otherwise)
{
    bool value;

    if (!push_option(L, arg, name))
        return otherwise;
    if (!lua_isboolean(L, -1))
        refuse_value(L, name, "true or false");
    value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

void sl_opt_function(lua_State *L, int arg, const char *name)
{
    if (!push_option(L, arg, name))
        luaL_error(L, "option %s is missing", name);
    if (!lua_isfunction(L, -1))
        refuse_value(L, name, "a function");
}

/* --- results --- */

int sl_push_failure(lua_State *L, const char *text)
{
    lua_pushnil(L);
    lua_pushstring(L, text);
    return 2;
}

int sl_push_failure_code(lua_State *L, int code)
{
    return sl_push_failure(L, sl_error_text(code));
}
