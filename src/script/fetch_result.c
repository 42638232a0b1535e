/* What a script gets of a response: a table of the whole, or the object `response`. */
#include "script/fetch.h"

/* --- the head --- */

static void push_lower(lua_State *L, struct sl_str name)
{
    luaL_Buffer b;

    luaL_buffinit(L, &b);
    for (size_t i = 0; i < name.len; i++)
        luaL_addchar(&b, (char)sl_lower((unsigned char)name.p[i]));
    luaL_pushresult(&b);
}

static void push_headers(lua_State *L, struct sl_arena *a, const struct sl_headers *headers)
{
    lua_createtable(L, 0, (int)headers->n);
    for (unsigned i = 0; i < headers->n; i++) {
        const struct sl_header *h = &headers->at[i];
        struct sl_str value = sl_headers_get_all(headers, h->name, a);

        if (h->id == SL_H_REMOVED)
            continue;
        push_lower(L, h->name);
        lua_pushlstring(L, value.p, value.len);
        lua_rawset(L, -3);
    }
}

static void push_pairs(lua_State *L, const struct sl_headers *headers)
{
    int n = 0;

    lua_createtable(L, (int)headers->n, 0);
    for (unsigned i = 0; i < headers->n; i++) {
        if (headers->at[i].id == SL_H_REMOVED)
            continue;
        lua_createtable(L, 2, 0);
        lua_pushlstring(L, headers->at[i].name.p, headers->at[i].name.len);
        lua_rawseti(L, -2, 1);
        lua_pushlstring(L, headers->at[i].value.p, headers->at[i].value.len);
        lua_rawseti(L, -2, 2);
        lua_rawseti(L, -2, ++n);
    }
}

static void push_head(lua_State *L, struct sl_fetch *f)
{
    const struct sl_response *res = &f->res;

    lua_createtable(L, 0, 4);
    lua_pushinteger(L, res->status);
    lua_setfield(L, -2, "status");
    push_headers(L, &f->arena, &res->headers);
    lua_setfield(L, -2, "headers");
    push_pairs(L, &res->headers);
    lua_setfield(L, -2, "pairs");
}

int sl_fetch_push_whole(lua_State *L, void *arg)
{
    struct sl_fetch *f = arg;
    struct sl_str body = sl_buf_str(&f->whole);

    push_head(L, f);
    lua_pushlstring(L, body.len > 0 ? body.p : "", body.len);
    lua_setfield(L, -2, "body");
    return 1;
}

/* --- the object --- */

int sl_fetch_push_stream(lua_State *L, void *arg)
{
    struct sl_fetch *f = arg;
    struct sl_fetch **object = sl_object_new(L, "response", sizeof(*object));

    push_head(L, f);
    lua_setfenv(L, -2); /* its fields */
    *object = f;
    f->object = object;
    return 1;
}

static struct sl_fetch *check_response(lua_State *L)
{
    return *(struct sl_fetch **)sl_object_check(L, 1, "response");
}

static int response_read(lua_State *L)
{
    struct sl_fetch *f = check_response(L);

    if (f == NULL)
        return sl_push_failure(L, "closed");
    return sl_intake_read(L, f->in, 2, "response:read");
}

static int response_close(lua_State *L)
{
    struct sl_fetch **object = sl_object_check(L, 1, "response"), *f = *object;

    if (f == NULL)
        return 0;
    *object = NULL;
    f->object = NULL;
    sl_intake_free(f->in); /* who reads hears of it */
    f->in = NULL;
    sl_fetch_end(f);
    return 0;
}

static int response_gc(lua_State *L)
{
    struct sl_fetch **object = lua_touserdata(L, 1), *f = *object;

    *object = NULL;
    if (f != NULL)
        sl_fetch_drop(f);
    return 0;
}

/* A method, else a field. Upvalue 1: the methods. */
static int response_index(lua_State *L)
{
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    if (!lua_isnil(L, -1))
        return 1;
    lua_getfenv(L, 1);
    lua_pushvalue(L, 2);
    lua_rawget(L, -2);
    return 1;
}

void sl_bind_response(lua_State *L)
{
    static const struct luaL_Reg methods[] = {
        {"read", response_read}, {"close", response_close}, {NULL, NULL}};

    sl_bind_class(L, "response", methods, response_gc);
    sl_object_new(L, "response", sizeof(struct sl_fetch *));
    lua_getmetatable(L, -1);
    lua_getfield(L, -1, "__index");
    lua_pushcclosure(L, response_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 2);
}
