/* sluice.shared: dictionaries of the process (script/shared.h). */
#include "script/shared.h"
#include "script/library.h"

static struct sl_shared *check_dict(lua_State *L)
{
    return *(struct sl_shared **)sl_object_check(L, 1, "dict");
}

static int shared(lua_State *L)
{
    struct sl_str name = sl_arg_str(L, 1);
    struct sl_shared *d;

    luaL_argcheck(L, name.len > 0 && name.len <= SL_SHARED_MAX_NAME, 1,
                  "a name of 1 to 64 bytes expected");
    if ((d = sl_shared_open(name)) == NULL)
        return luaL_error(L, "sluice.shared: there are %d dictionaries already",
                          SL_SHARED_MAX_DICTS);
    *(struct sl_shared **)sl_object_new(L, "dict", sizeof(d)) = d;
    return 1;
}

static struct sl_shared_value check_value(lua_State *L, int arg)
{
    struct sl_shared_value v = {0};

    switch (lua_type(L, arg)) {
    case LUA_TSTRING:
        v.kind = SL_SHARED_STRING;
        v.str = sl_arg_str(L, arg);
        return v;
    case LUA_TNUMBER:
        v.kind = SL_SHARED_NUMBER;
        v.num = lua_tonumber(L, arg);
        return v;
    case LUA_TBOOLEAN:
        v.kind = SL_SHARED_BOOLEAN;
        v.flag = lua_toboolean(L, arg);
        return v;
    default:
        luaL_argerror(L, arg, "string, number or boolean expected");
        return v;
    }
}

static uint64_t opt_ttl(lua_State *L, int arg)
{
    double seconds;

    if (lua_isnoneornil(L, arg))
        return 0;
    seconds = sl_arg_seconds(L, arg);
    luaL_argcheck(L, seconds > 0, arg, "a time to live above 0 expected, or nil for ever");
    return SL_MAX((uint64_t)(seconds * 1e3), 1);
}

static int push_outcome(lua_State *L, int rc, const char *in_use)
{
    if (rc == SL_E_IN_USE)
        return sl_push_failure(L, in_use);
    if (rc < 0)
        return sl_push_failure(L, rc == SL_E_LIMIT ? "full" : sl_error_text(rc));
    lua_pushboolean(L, true);
    return 1;
}

static int dict_get(lua_State *L)
{
    struct sl_shared *d = check_dict(L);
    struct sl_str key = sl_arg_str(L, 2);
    struct sl_buf *room = sl_room(L);
    struct sl_shared_value v;

    if (sl_shared_get(d, key, &v, room) < 0)
        lua_pushnil(L);
    else if (v.kind == SL_SHARED_STRING)
        lua_pushlstring(L, v.str.len > 0 ? v.str.p : "", v.str.len);
    else if (v.kind == SL_SHARED_NUMBER)
        lua_pushnumber(L, v.num);
    else
        lua_pushboolean(L, v.flag);
    sl_room_done(room);
    return 1;
}

static int dict_set(lua_State *L)
{
    struct sl_shared *d = check_dict(L);
    struct sl_shared_value v = check_value(L, 3);

    return push_outcome(L, sl_shared_set(d, sl_arg_str(L, 2), &v, opt_ttl(L, 4)), "");
}

static int dict_add(lua_State *L)
{
    struct sl_shared *d = check_dict(L);
    struct sl_shared_value v = check_value(L, 3);

    return push_outcome(L, sl_shared_add(d, sl_arg_str(L, 2), &v, opt_ttl(L, 4)), "exists");
}

static int dict_incr(lua_State *L)
{
    struct sl_shared *d = check_dict(L);
    struct sl_str key = sl_arg_str(L, 2);
    double by = luaL_checknumber(L, 3), init = luaL_optnumber(L, 4, 0), now = 0;
    uint64_t ttl = opt_ttl(L, 5);
    int rc = sl_shared_incr(d, key, by, lua_isnoneornil(L, 4) ? NULL : &init, ttl, &now);

    if (rc < 0)
        return push_outcome(L, rc, "not a number");
    lua_pushnumber(L, now);
    return 1;
}

/* Was it there? */
static int dict_delete(lua_State *L)
{
    struct sl_shared *d = check_dict(L);

    lua_pushboolean(L, sl_shared_delete(d, sl_arg_str(L, 2)) == 0);
    return 1;
}

void sl_bind_shared(lua_State *L)
{
    static const struct luaL_Reg functions[] = {{"shared", shared}, {NULL, NULL}};
    static const struct luaL_Reg methods[] = {
        {"get", dict_get},   {"set", dict_set},       {"add", dict_add},
        {"incr", dict_incr}, {"delete", dict_delete}, {NULL, NULL},
    };

    sl_bind_functions(L, functions);
    sl_bind_class(L, "dict", methods, NULL);
}
