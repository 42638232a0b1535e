#include "script/fields.h"

#include <lauxlib.h>

struct visit {
    const char *what;
    sl_take_field *take;
    void *user;
};

/* The name is at -2, the value on top. */
static void visit_field(lua_State *L, const struct visit *v)
{
    struct sl_str name, value;

    if (lua_type(L, -2) != LUA_TSTRING)
        luaL_error(L, "%s: a %s is not a name", v->what, luaL_typename(L, -2));
    if (!lua_isstring(L, -1))
        luaL_error(L, "%s: the value of %s is a %s, not a string", v->what, lua_tostring(L, -2),
                   luaL_typename(L, -1));
    name.p = lua_tolstring(L, -2, &name.len);
    value.p = lua_tolstring(L, -1, &value.len);
    v->take(L, name, value, v->user);
}

static void visit_pairs(lua_State *L, int n, const struct visit *v)
{
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, i);
        if (!lua_istable(L, -1) || lua_objlen(L, -1) != 2)
            luaL_error(L, "%s: item %d of a list is not a pair { name, value }", v->what, i);
        lua_rawgeti(L, -1, 1);
        lua_rawgeti(L, -2, 2);
        visit_field(L, v);
        lua_pop(L, 3);
    }
}

void sl_fields_each(lua_State *L, const char *what, sl_take_field *take, void *user)
{
    struct visit v = {what, take, user};
    int n;

    if (lua_isnil(L, -1))
        return;
    if (!lua_istable(L, -1))
        luaL_error(L, "%s: a table expected, got a %s", what, luaL_typename(L, -1));
    luaL_checkstack(L, 8, what);
    n = (int)lua_objlen(L, -1);
    if (n > 0) {
        visit_pairs(L, n, &v);
        return;
    }
    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1))
        visit_field(L, &v);
}
