#include "script/bind.h"
#include "script/internal.h"

/* The methods of a connection, which a hello and a request have, too. */

static int push_ip(lua_State *L, const struct sl_addr *addr)
{
    char text[SL_ADDR_TEXT_LEN];

    lua_pushstring(L, sl_addr_ip(addr, text));
    return 1;
}

static int conn_ip(lua_State *L)
{
    return push_ip(L, &sl_handle_check(L, 1, SL_ON_CONN)->peer->remote);
}

static int conn_local_ip(lua_State *L)
{
    return push_ip(L, &sl_handle_check(L, 1, SL_ON_CONN)->peer->local);
}

static int conn_port(lua_State *L)
{
    lua_pushinteger(L, sl_addr_port(&sl_handle_check(L, 1, SL_ON_CONN)->peer->remote));
    return 1;
}

static int conn_local_port(lua_State *L)
{
    lua_pushinteger(L, sl_addr_port(&sl_handle_check(L, 1, SL_ON_CONN)->peer->local));
    return 1;
}

static int conn_transport(lua_State *L)
{
    const struct sl_peer *peer = sl_handle_check(L, 1, SL_ON_CONN)->peer;

    lua_pushstring(L, peer->is_udp ? "udp" : peer->is_quic ? "quic" : "tcp");
    return 1;
}

static int conn_edge(lua_State *L)
{
    struct sl_str edge = sl_handle_check(L, 1, SL_ON_CONN)->peer->edge;

    if (edge.len == 0)
        return 0;
    lua_pushlstring(L, edge.p, edge.len);
    return 1;
}

static int conn_is_udp(lua_State *L)
{
    lua_pushboolean(L, sl_handle_check(L, 1, SL_ON_CONN)->peer->is_udp);
    return 1;
}

void sl_bind_conn(lua_State *L)
{
    static const struct luaL_Reg methods[] = {
        {"ip", conn_ip},
        {"local_ip", conn_local_ip},
        {"local_port", conn_local_port},
        {"port", conn_port},
        {"transport", conn_transport},
        {"edge", conn_edge},
        {"is_udp", conn_is_udp},
        {NULL, NULL},
    };

    sl_bind_methods(L, methods);
}
