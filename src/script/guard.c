#include "script/internal.h"

/*
 * The run-time side of lua/sluice/api.lua: which binding may be called in which context. The table
 * is read once per state into name -> set of contexts; a binding that may be called everywhere is
 * not wrapped at all.
 */

enum { ANYWHERE = (1 << SL_N_CONTEXTS) - 1 };

static const char *const context_names[] = {
#define SL_CONTEXT_NAME(id, name) name,
    SL_CONTEXTS(SL_CONTEXT_NAME)
#undef SL_CONTEXT_NAME
};

const char *sl_context_name(enum sl_context c)
{
    return context_names[c];
}

enum sl_context sl_context_now(lua_State *L)
{
    const struct sl_task *t = sl_script_fast(L)->running;

    return t != NULL ? sl_task_context(t) : SL_CONTEXT_LOAD;
}

static int context_bit(lua_State *L, const char *row, const char *name)
{
    for (int i = 0; i < SL_N_CONTEXTS; i++) {
        if (strcmp(context_names[i], name) == 0)
            return 1 << i;
    }
    return luaL_error(L, "api.lua: %s: there is no context \"%s\"", row, name);
}

/* The row at the top of the stack as a set of contexts. */
static int contexts_of(lua_State *L, const char *name)
{
    int set = 0;

    lua_getfield(L, -1, "where");
    if (lua_istable(L, -1)) {
        for (int i = 1; i <= (int)lua_objlen(L, -1); i++) {
            lua_rawgeti(L, -1, i);
            set |= context_bit(L, name, luaL_checkstring(L, -1));
            lua_pop(L, 1);
        }
        lua_pop(L, 1);
        return set;
    }
    lua_getfield(L, -2, "waits");
    set = lua_toboolean(L, -1) ? SL_CONTEXTS_WAITING : ANYWHERE;
    lua_pop(L, 2);
    return set;
}

/* Handles of all kinds share one method table, so a method is legal where it is for any kind. */
static void push_flat_name(lua_State *L, const char *name)
{
    static const char *const kinds[] = {"conn:", "hello:", "req:", "res:"};

    for (size_t i = 0; i < SL_COUNT(kinds); i++) {
        size_t len = strlen(kinds[i]);

        if (strncmp(name, kinds[i], len) == 0) {
            lua_pushfstring(L, "handle:%s", name + len);
            return;
        }
    }
    lua_pushstring(L, name);
}

static void add_row(lua_State *L, int map)
{
    const char *name;
    int set;

    lua_getfield(L, -1, "name");
    name = luaL_checkstring(L, -1);
    lua_pushvalue(L, -2);
    set = contexts_of(L, name);
    push_flat_name(L, name);
    lua_pushvalue(L, -1);
    lua_rawget(L, map);
    set |= (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    lua_pushinteger(L, set);
    lua_rawset(L, map);
    lua_pop(L, 2);
}

void sl_guard_open(lua_State *L)
{
    struct sl_script *s = sl_script_fast(L);
    int map;

    lua_newtable(L);
    map = lua_gettop(L);
    sl_require_trusted(L, "sluice.api");
    lua_getfield(L, -1, "functions");
    luaL_checktype(L, -1, LUA_TTABLE);
    for (int i = 1; i <= (int)lua_objlen(L, -1); i++) {
        lua_rawgeti(L, -1, i);
        add_row(L, map);
        lua_pop(L, 1);
    }
    lua_settop(L, map);
    s->api = luaL_ref(L, LUA_REGISTRYINDEX);
}

int sl_guard_contexts(lua_State *L, const char *name)
{
    int set;

    lua_rawgeti(L, LUA_REGISTRYINDEX, sl_script_fast(L)->api);
    lua_getfield(L, -1, name);
    if (lua_isnil(L, -1))
        luaL_error(L, "the binding \"%s\" is not listed in lua/sluice/api.lua", name);
    set = (int)lua_tointeger(L, -1);
    lua_pop(L, 2);
    return set;
}

/* Throws "NAME cannot be called in on_connect (only in: on_hello, on_request)". */
static void refuse(lua_State *L, const char *name, int set)
{
    bool first = true;
    luaL_Buffer b;

    luaL_where(L, 1);
    luaL_buffinit(L, &b);
    luaL_addstring(&b, name);
    luaL_addstring(&b, " cannot be called in ");
    luaL_addstring(&b, context_names[sl_context_now(L)]);
    luaL_addstring(&b, " (only in: ");
    for (int i = 0; i < SL_N_CONTEXTS; i++) {
        if ((set >> i & 1) == 0)
            continue;
        luaL_addstring(&b, first ? "" : ", ");
        luaL_addstring(&b, context_names[i]);
        first = false;
    }
    luaL_addchar(&b, ')');
    luaL_pushresult(&b);
    lua_concat(L, 2);
    lua_error(L);
}

/* Upvalues: the function, its contexts, its name. */
static int guarded(lua_State *L)
{
    int set = (int)lua_tointeger(L, lua_upvalueindex(2));

    if (SL_UNLIKELY((set >> sl_context_now(L) & 1) == 0))
        refuse(L, lua_tostring(L, lua_upvalueindex(3)), set);
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

void sl_guard_push(lua_State *L, lua_CFunction fn, const char *name, const char *shown)
{
    int set = sl_guard_contexts(L, name);

    lua_pushcfunction(L, fn);
    if (set == ANYWHERE)
        return;
    lua_pushinteger(L, set);
    lua_pushstring(L, shown);
    lua_pushcclosure(L, guarded, 3);
}
