#include "script/bind.h"
#include "script/internal.h"

/* The methods of a ClientHello. sni() is that of a request, too: the name of its connection. */

static int push_name(lua_State *L, struct sl_str name)
{
    if (name.len > 0)
        lua_pushlstring(L, name.p, name.len);
    else
        lua_pushnil(L);
    return 1;
}

static int hello_sni(lua_State *L)
{
    const struct sl_handle *h = sl_handle_check(L, 1, SL_ON_HELLO | SL_ON_REQ);

    return push_name(L, h->kind == SL_HANDLE_HELLO ? h->hello->sni : h->peer->sni);
}

/* The protocols in the wire form of the extension: a length byte before each. */
static int hello_alpn(lua_State *L)
{
    const struct sl_tls_hello *hello = sl_handle_check(L, 1, SL_ON_HELLO)->hello;
    int n = 0;

    lua_newtable(L);
    for (size_t at = 0; at < hello->alpn_len;) {
        size_t len = hello->alpn[at++];

        if (len > hello->alpn_len - at)
            break;
        lua_pushlstring(L, (const char *)hello->alpn + at, len);
        lua_rawseti(L, -2, ++n);
        at += len;
    }
    return 1;
}

void sl_bind_hello(lua_State *L)
{
    static const struct luaL_Reg methods[] = {
        {"alpn", hello_alpn}, {"sni", hello_sni}, {NULL, NULL}};

    sl_bind_methods(L, methods);
}
