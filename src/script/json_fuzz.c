/* Any bytes decode or are refused; what was decoded encodes, and that text is valid again. */
#include "script/json.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>

static int round_trip(lua_State *L)
{
    const struct sl_str *in = lua_touserdata(L, 1);
    struct sl_buf *bufs = lua_touserdata(L, 2);
    struct sl_err err;
    int first, second;

    lua_settop(L, 2);
    lua_newtable(L);
    if (sl_json_decode(L, *in, 3, &bufs[0], &err) < 0)
        return 0;
    first = lua_gettop(L);
    sl_assert(sl_json_encode(L, first, 3, &bufs[1], &err) == 0);
    sl_assert(sl_json_decode(L, sl_buf_str(&bufs[1]), 3, &bufs[0], &err) == 0);
    second = lua_gettop(L);
    sl_assert(sl_json_encode(L, second, 3, &bufs[2], &err) == 0);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static lua_State *L;
    struct sl_buf bufs[3] = {{0}};
    char *copy = sl_strndup((const char *)data, size);
    struct sl_str in = {copy, size};

    if (L == NULL)
        L = luaL_newstate();
    lua_settop(L, 0);
    lua_pushcfunction(L, round_trip);
    lua_pushlightuserdata(L, &in);
    lua_pushlightuserdata(L, bufs);
    sl_assert(lua_pcall(L, 2, 0, 0) == 0);
    for (size_t i = 0; i < SL_COUNT(bufs); i++)
        sl_buf_clear(&bufs[i]);
    sl_free(copy);
    return 0;
}
