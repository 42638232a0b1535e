/* sluice.json. */
#include "script/json.h"
#include "script/library.h"

static const char array_key; /* its address, in the registry */

static int push_array_mt(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)&array_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    return lua_gettop(L);
}

static int encode(lua_State *L)
{
    struct sl_buf *out;
    struct sl_err err;
    int mt;

    luaL_checkany(L, 1);
    lua_settop(L, 1);
    mt = push_array_mt(L);
    out = sl_room(L);
    if (sl_json_encode(L, 1, mt, out, &err) < 0)
        return luaL_error(L, "json.encode: %s", err.text);
    lua_pushlstring(L, (const char *)sl_buf_at(out), sl_buf_len(out));
    sl_room_done(out);
    return 1;
}

int sl_push_json(lua_State *L, struct sl_str text)
{
    int mt = push_array_mt(L), rc;
    struct sl_buf *room = sl_room(L);
    struct sl_err err;

    rc = sl_json_decode(L, text, mt, room, &err);
    sl_room_done(room);
    return rc == 0 ? 1 : sl_push_failure(L, err.text);
}

static int decode(lua_State *L)
{
    struct sl_str text = sl_arg_str(L, 1);
    int64_t from = sl_arg_opt_int(L, 2, 1, INT64_MAX, 1);

    size_t skipped = SL_MIN((size_t)from - 1, text.len);

    return sl_push_json(L, sl_str(text.p + skipped, text.len - skipped));
}

static int array(lua_State *L)
{
    int mt;

    lua_settop(L, 1);
    if (lua_isnil(L, 1)) {
        lua_createtable(L, 0, 0);
        lua_replace(L, 1);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    mt = push_array_mt(L);
    if (lua_getmetatable(L, 1) && !lua_rawequal(L, -1, mt))
        return luaL_error(L, "json.array: the table has another metatable");
    lua_settop(L, mt);
    lua_setmetatable(L, 1);
    return 1;
}

void sl_bind_json(lua_State *L)
{
    static const struct luaL_Reg functions[] = {
        {"json.encode", encode}, {"json.decode", decode}, {"json.array", array}, {NULL, NULL}};

    lua_pushlightuserdata(L, (void *)&array_key);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "array");
    lua_setfield(L, -2, "__metatable");
    lua_rawset(L, LUA_REGISTRYINDEX);
    sl_bind_functions(L, functions);
    lua_pushlightuserdata(L, NULL);
    sl_bind_value(L, "json.null");
}
