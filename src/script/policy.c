#include "script/internal.h"
#include "script/nearest.h"

/* Reads the table that a script returned. Which keys there are, and of what type, is said by
 * lua/sluice/api.lua. */

enum { MAX_KEYS = 64, MAX_LIMITS = 64, MAX_BUDGET_MS = 60000, MAX_MEMORY_MB = 64 * 1024 };

static SL_NORETURN void refuse(lua_State *L, const char *fmt, ...)
{
    va_list ap;

    lua_pushfstring(L, "%s: ", sl_script_fast(L)->path);
    va_start(ap, fmt);
    lua_pushvfstring(L, fmt, ap);
    va_end(ap);
    lua_concat(L, 2);
    lua_error(L);
    abort(); /* not reached: lua_error() does not say so in its declaration */
}

/* The names and types of api.lua; the strings live as long as that module. */
struct keys {
    const char *names[MAX_KEYS + 1], *types[MAX_KEYS + 1];
};

static void read_keys(lua_State *L, struct keys *keys)
{
    int n;

    sl_require_trusted(L, "sluice.api");
    lua_getfield(L, -1, "keys");
    n = (int)lua_objlen(L, -1);
    sl_assert(n <= MAX_KEYS);
    for (int i = 0; i < n; i++) {
        lua_rawgeti(L, -1, i + 1);
        lua_getfield(L, -1, "name");
        lua_getfield(L, -2, "type");
        keys->names[i] = luaL_checkstring(L, -2);
        keys->types[i] = luaL_checkstring(L, -1);
        lua_pop(L, 3);
    }
    keys->names[n] = NULL;
    lua_pop(L, 2);
}

/* The key is at -2, its value on top. */
static void check_entry(lua_State *L, const struct keys *keys)
{
    const char *name, *near;

    if (lua_type(L, -2) != LUA_TSTRING)
        refuse(L, "the script table has a %s as key; its keys are names", luaL_typename(L, -2));
    name = lua_tostring(L, -2);
    for (int i = 0; keys->names[i] != NULL; i++) {
        if (strcmp(keys->names[i], name) != 0)
            continue;
        if (strcmp(keys->types[i], luaL_typename(L, -1)) != 0)
            refuse(L, "%s must be a %s, not a %s", name, keys->types[i], luaL_typename(L, -1));
        return;
    }
    near = sl_nearest(sl_str_c(name), keys->names);
    if (near == NULL)
        refuse(L, "unknown key \"%s\"", name);
    refuse(L, "unknown key \"%s\"; did you mean \"%s\"?", name, near);
}

static int take_function(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    if (!lua_isnil(L, -1))
        return luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pop(L, 1);
    return LUA_NOREF;
}

static uint32_t take_number(lua_State *L, int table, const char *name, unsigned most)
{
    double value = 0;

    lua_getfield(L, table, name);
    if (!lua_isnil(L, -1)) {
        value = lua_tonumber(L, -1);
        if (!(value >= 1 && value <= most))
            refuse(L, "%s: %f is not a number from 1 to %d", name, value, (int)most);
    }
    lua_pop(L, 1);
    return (uint32_t)value;
}

static bool take_on_error(lua_State *L, int table)
{
    bool is_lenient = false;

    lua_getfield(L, table, "on_error");
    if (!lua_isnil(L, -1)) {
        const char *value = lua_tostring(L, -1);

        is_lenient = strcmp(value, "continue") == 0;
        if (!is_lenient && strcmp(value, "reject") != 0)
            refuse(L, "on_error must be \"reject\" or \"continue\", not \"%s\"", value);
    }
    lua_pop(L, 1);
    return is_lenient;
}

static void take_jit(lua_State *L, int table, struct sl_policy_table *p)
{
    lua_getfield(L, table, "jit");
    p->jit = lua_toboolean(L, -1);
    lua_pop(L, 1);
    if (p->jit)
        sl_sandbox_allow_jit(L);
}

static void take_grants(lua_State *L, int table)
{
    lua_getfield(L, table, "grants");
    for (int i = 1; lua_istable(L, -1) && i <= (int)lua_objlen(L, -1); i++) {
        lua_rawgeti(L, -1, i);
        if (lua_type(L, -1) != LUA_TSTRING)
            refuse(L, "grants[%d] must be a string, not a %s", i, luaL_typename(L, -1));
        sl_sandbox_grant(L, lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    sl_sandbox_check_grants(L);
}

/* --- limits --- */

static struct sl_str copy_text(lua_State *L, struct sl_policy_table *p, const char *name)
{
    size_t len;
    const char *text;

    if (lua_type(L, -1) != LUA_TSTRING)
        refuse(L, "limits.%s: a string expected, got a %s", name, luaL_typename(L, -1));
    text = lua_tolstring(L, -1, &len);
    return sl_arena_dup(&p->texts, sl_str(text, len));
}

static void take_strings(lua_State *L, struct sl_policy_table *p, struct sl_setting *out)
{
    size_t n = lua_objlen(L, -1);
    struct sl_str *list = sl_arena_alloc(&p->texts, SL_MAX(n, 1) * sizeof(*list));

    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        list[i] = copy_text(L, p, out->name.p);
        lua_pop(L, 1);
    }
    out->kind = SL_SETTING_STRINGS;
    out->strings = list;
    out->n_strings = n;
}

static void take_limit(lua_State *L, struct sl_policy_table *p, struct sl_setting *out)
{
    struct sl_str *text;

    switch (lua_type(L, -1)) {
    case LUA_TNUMBER:
        out->kind = SL_SETTING_NUMBER;
        out->number = lua_tonumber(L, -1);
        break;
    case LUA_TBOOLEAN:
        out->kind = SL_SETTING_BOOL;
        out->number = lua_toboolean(L, -1);
        break;
    case LUA_TTABLE:
        take_strings(L, p, out);
        break;
    default:
        text = sl_arena_alloc(&p->texts, sizeof(*text));
        *text = copy_text(L, p, out->name.p);
        out->kind = SL_SETTING_STRING;
        out->strings = text;
        out->n_strings = 1;
    }
}

static void take_limits(lua_State *L, int table, struct sl_policy_table *p)
{
    lua_getfield(L, table, "limits");
    if (lua_istable(L, -1)) {
        p->limits = sl_arena_alloc(&p->texts, MAX_LIMITS * sizeof(*p->limits));
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            struct sl_setting *out = &p->limits[p->n_limits];

            if (lua_type(L, -2) != LUA_TSTRING)
                refuse(L, "limits: a %s is not the name of a limit", luaL_typename(L, -2));
            if (p->n_limits == MAX_LIMITS)
                refuse(L, "limits: more than %d of them", MAX_LIMITS);
            *out =
                (struct sl_setting){.name = sl_arena_dup(&p->texts, sl_str_c(lua_tostring(L, -2)))};
            take_limit(L, p, out);
            p->n_limits++;
        }
    }
    lua_pop(L, 1);
}

/* --- all of it --- */

static void take_functions(lua_State *L, int table, struct sl_policy_table *p)
{
    p->on_connect = take_function(L, table, "on_connect");
    p->on_hello = take_function(L, table, "on_hello");
    p->on_request = take_function(L, table, "on_request");
    p->on_response = take_function(L, table, "on_response");
    p->on_failure = take_function(L, table, "on_failure");
    p->on_done = take_function(L, table, "on_done");
    p->on_edge = take_function(L, table, "on_edge");
    p->on_stream = take_function(L, table, "on_stream");
    p->start = take_function(L, table, "start");
    p->stop = take_function(L, table, "stop");
    p->check = take_function(L, table, "check");
}

void sl_policy_read(lua_State *L)
{
    struct sl_policy_table *p = &sl_script_fast(L)->policy;
    int table = lua_gettop(L);
    struct keys keys;

    if (!lua_istable(L, table))
        refuse(L, "a script returns a table of its hooks (return policy), not a %s",
               luaL_typename(L, table));
    read_keys(L, &keys);
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1))
        check_entry(L, &keys);
    take_functions(L, table, p);
    p->is_lenient = take_on_error(L, table);
    p->budget_ms = take_number(L, table, "budget_ms", MAX_BUDGET_MS);
    p->memory = (size_t)take_number(L, table, "memory_mb", MAX_MEMORY_MB) << 20;
    take_jit(L, table, p);
    take_grants(L, table);
    take_limits(L, table, p);
}

void sl_policy_clear(struct sl_script *s)
{
    sl_arena_clear(&s->policy.texts);
}
