#include "script/bind.h"
#include "script/internal.h"

/* Reading and editing headers, the same for a request and a response. */

enum { ON_MESSAGE = SL_ON_REQ | SL_ON_RES, MAX_EDITS = 1024 * 1024 };

static struct sl_headers *headers_of(const struct sl_handle *h)
{
    return h->kind == SL_HANDLE_RES ? &h->res->headers : &h->ex->req.headers;
}

/* --- reading --- */

static bool is_named(const struct sl_header *header, enum sl_header_id id, struct sl_str name)
{
    return header->id == id && (id != SL_H_OTHER || sl_str_ieq(header->name, name));
}

/* All values from the one at `first` on, joined. On Lua's memory, which is capped: a loop that
 * reads must not fill the arena. */
static void push_joined(lua_State *L, const struct sl_headers *headers, unsigned first,
                        struct sl_str name)
{
    enum sl_header_id id = headers->at[first].id;
    luaL_Buffer b;

    luaL_buffinit(L, &b);
    for (unsigned i = first; i < headers->n; i++) {
        if (!is_named(&headers->at[i], id, name))
            continue;
        if (i > first)
            luaL_addlstring(&b, id == SL_H_COOKIE ? "; " : ", ", 2);
        luaL_addlstring(&b, headers->at[i].value.p, headers->at[i].value.len);
    }
    luaL_pushresult(&b);
}

void sl_push_header(lua_State *L, const struct sl_headers *headers, struct sl_str name)
{
    enum sl_header_id id = sl_header_id(name);
    const struct sl_header *found = NULL;
    unsigned first = 0;

    for (unsigned i = 0; i < headers->n; i++) {
        if (!is_named(&headers->at[i], id, name))
            continue;
        if (found != NULL) {
            push_joined(L, headers, first, name);
            return;
        }
        found = &headers->at[i];
        first = i;
    }
    if (found != NULL)
        lua_pushlstring(L, found->value.p, found->value.len);
    else
        lua_pushnil(L);
}

static int message_header(lua_State *L)
{
    const struct sl_handle *h = sl_handle_check(L, 1, ON_MESSAGE);

    sl_push_header(L, headers_of(h), sl_arg_str(L, 2));
    return 1;
}

static void push_pair(lua_State *L, const struct sl_header *header)
{
    lua_createtable(L, 2, 0);
    lua_pushlstring(L, header->name.p, header->name.len);
    lua_rawseti(L, -2, 1);
    lua_pushlstring(L, header->value.p, header->value.len);
    lua_rawseti(L, -2, 2);
}

static int message_headers(lua_State *L)
{
    const struct sl_headers *headers = headers_of(sl_handle_check(L, 1, ON_MESSAGE));
    int n = 0;

    lua_createtable(L, (int)headers->n, 0);
    for (unsigned i = 0; i < headers->n; i++) {
        if (headers->at[i].id == SL_H_REMOVED)
            continue;
        push_pair(L, &headers->at[i]);
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

/* --- editing --- */

/* These say where a message ends or belong to one connection; a script that set them could make the
   next hop see other messages than this one. */
static bool is_framing(enum sl_header_id id)
{
    switch (id) {
    case SL_H_CONNECTION:
    case SL_H_CONTENT_LENGTH:
    case SL_H_TRANSFER_ENCODING:
    case SL_H_UPGRADE:
    case SL_H_KEEP_ALIVE:
    case SL_H_PROXY_CONNECTION:
    case SL_H_TE:
    case SL_H_TRAILER:
    case SL_H_HTTP2_SETTINGS:
        return true;
    default:
        return false;
    }
}

static enum sl_header_id check_name(lua_State *L, struct sl_str name)
{
    enum sl_header_id id = sl_header_id(name);

    if (!sl_header_name_ok(name))
        luaL_error(L, "\"%s\" is not a name of a header", name.p);
    if (is_framing(id))
        luaL_error(L, "header %s is set by sluice itself, which frames the message", name.p);
    return id;
}

enum sl_header_id sl_check_header(lua_State *L, struct sl_str name, struct sl_str value)
{
    enum sl_header_id id = check_name(L, name);

    if (!sl_header_value_ok(value))
        luaL_error(L, "the value of header %s holds a line break or another control character",
                   name.p);
    return id;
}

struct sl_handle *sl_check_editable(lua_State *L, unsigned kinds, size_t len)
{
    struct sl_handle *h = sl_handle_check(L, 1, kinds);

    if (h->kind == SL_HANDLE_REQ && !h->is_editable)
        luaL_error(L, "the request has been sent on: its head can be changed only in on_request");
    h->n_edited += len;
    if (h->n_edited > MAX_EDITS)
        luaL_error(L, "more than 1 MiB of changes to one message");
    return h;
}

/* The target is asked for the host in `authority`; routing and cookies go on with the name that the
 * client asked for. */
static void set_host(lua_State *L, struct sl_handle *h, struct sl_str value)
{
    struct sl_str host;
    uint16_t port;

    if (value.p == NULL)
        luaL_error(L, "a request cannot be without host");
    if (sl_authority_split(value, &h->ex->arena, &host, &port) < 0)
        luaL_error(L, "\"%s\" is not a host", value.p);
    h->ex->req.authority = sl_arena_dup(&h->ex->arena, value);
}

static int set_header(lua_State *L)
{
    struct sl_str name = sl_arg_str(L, 2), value = sl_arg_opt_str(L, 3, SL_STR_NONE);
    struct sl_handle *h = sl_check_editable(L, ON_MESSAGE, name.len + value.len);

    enum sl_header_id id;

    luaL_checkany(L, 3); /* a forgotten value removes nothing */
    id = value.p != NULL ? sl_check_header(L, name, value) : check_name(L, name);
    if (id == SL_H_HOST && h->kind == SL_HANDLE_REQ)
        set_host(L, h, value);
    sl_headers_set(headers_of(h), &h->ex->arena, name, value);
    return 0;
}

static int add_header(lua_State *L)
{
    struct sl_str name = sl_arg_str(L, 2), value = sl_arg_str(L, 3);
    struct sl_handle *h = sl_check_editable(L, ON_MESSAGE, name.len + value.len);

    if (sl_check_header(L, name, value) == SL_H_HOST && h->kind == SL_HANDLE_REQ)
        return luaL_error(L, "a request has one host; use set_header");
    sl_headers_add(headers_of(h), &h->ex->arena, sl_arena_dup(&h->ex->arena, name),
                   sl_arena_dup(&h->ex->arena, value));
    return 0;
}

void sl_bind_headers(lua_State *L)
{
    static const struct luaL_Reg methods[] = {
        {"add_header", add_header},
        {"header", message_header},
        {"headers", message_headers},
        {"set_header", set_header},
        {NULL, NULL},
    };

    sl_bind_methods(L, methods);
}
