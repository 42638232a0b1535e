/* sluice.stats. */
#include <stdatomic.h>
#include "route/snapshot.h"
#include "script/library.h"

static void set_number(lua_State *L, const char *name, double n)
{
    lua_pushnumber(L, n);
    lua_setfield(L, -2, name);
}

static double load(const _Atomic uint64_t *n)
{
    return (double)atomic_load_explicit(n, memory_order_relaxed);
}

/* Routes that share a name are counted together. */
static void add_number(lua_State *L, const char *name, double n)
{
    lua_getfield(L, -1, name);
    n += lua_tonumber(L, -1);
    lua_pop(L, 1);
    set_number(L, name, n);
}

static void push_route_entry(lua_State *L, struct sl_str name)
{
    lua_pushlstring(L, name.p, name.len);
    lua_rawget(L, -2);
    if (!lua_isnil(L, -1))
        return;
    lua_pop(L, 1);
    lua_createtable(L, 0, 5);
    lua_pushlstring(L, name.p, name.len);
    lua_pushvalue(L, -2);
    lua_rawset(L, -4);
}

static void push_routes(lua_State *L, const struct sl_snapshot *s)
{
    struct sl_route *const *routes = NULL;
    size_t n = s != NULL ? sl_snapshot_routes(s, &routes) : 0;

    lua_createtable(L, 0, (int)n);
    for (size_t i = 0; i < n; i++) {
        push_route_entry(L, routes[i]->name);
        add_number(L, "requests", load(&routes[i]->n_requests));
        add_number(L, "errors", load(&routes[i]->n_errors));
        add_number(L, "active", atomic_load_explicit(&routes[i]->n_active, memory_order_relaxed));
        add_number(L, "bytes_in", load(&routes[i]->bytes_in));
        add_number(L, "bytes_out", load(&routes[i]->bytes_out));
        lua_pop(L, 1);
    }
    lua_setfield(L, -2, "per_route");
    set_number(L, "routes_count", (double)n);
}

/* What is live is listened on, but for what comes through tunnels. */
static void push_ports(lua_State *L, const struct sl_snapshot *s)
{
    const struct sl_port_info *ports = NULL;
    size_t n = s != NULL ? sl_snapshot_ports(s, &ports) : 0;
    int n_listening = 0;

    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        if (ports[i].listens == 0)
            continue;
        lua_pushinteger(L, ports[i].port);
        lua_rawseti(L, -2, ++n_listening);
    }
    lua_setfield(L, -2, "listening_ports");
}

static void push_totals(lua_State *L, const struct sl_script_stats *stats)
{
    lua_createtable(L, 0, 27);
    set_number(L, "active_connections", (double)stats->active_connections);
    set_number(L, "total_connections", (double)stats->total_connections);
    set_number(L, "requests", (double)stats->requests);
    set_number(L, "errors", (double)stats->errors);
    set_number(L, "bytes_in", (double)stats->bytes_in);
    set_number(L, "bytes_out", (double)stats->bytes_out);
    set_number(L, "http2_requests", (double)stats->http2_requests);
    set_number(L, "http3_requests", (double)stats->http3_requests);
    set_number(L, "quic_handshakes", (double)stats->quic_handshakes);
    set_number(L, "quic_retries", (double)stats->quic_retries);
    set_number(L, "quic_dropped", (double)stats->quic_dropped);
    set_number(L, "quic_forwarded", (double)stats->quic_forwarded);
    set_number(L, "udp_sessions", (double)stats->udp_sessions);
    set_number(L, "udp_sessions_total", (double)stats->udp_sessions_total);
    set_number(L, "udp_evicted", (double)stats->udp_evicted);
    set_number(L, "udp_dropped", (double)stats->udp_dropped);
    set_number(L, "udp_refused", (double)stats->udp_refused);
    set_number(L, "proxy_missing", (double)stats->proxy_missing);
    set_number(L, "proxy_repeated", (double)stats->proxy_repeated);
    set_number(L, "uptime", stats->uptime_s);
    set_number(L, "workers", stats->workers);
}

/* Holds the snapshot while tables are made from it, which may throw. */
static int snapshot_gc(lua_State *L)
{
    struct sl_snapshot **guard = lua_touserdata(L, 1);

    sl_snapshot_unref(*guard);
    *guard = NULL;
    return 0;
}

static int stats_(lua_State *L)
{
    const struct sl_script_services *services = sl_script_services(sl_script_of(L));
    struct sl_script_stats stats = {0};
    struct sl_snapshot **guard;

    sl_need_service(L, services->stats != NULL, "sluice.stats");
    services->stats(services->user, &stats);
    guard = sl_object_new(L, "snapshot", sizeof(*guard));
    push_totals(L, &stats);
    *guard = services->snapshot != NULL ? services->snapshot(services->user) : NULL;
    push_ports(L, *guard);
    push_routes(L, *guard);
    sl_snapshot_unref(*guard);
    *guard = NULL;
    return 1;
}

void sl_bind_stats(lua_State *L)
{
    static const struct luaL_Reg functions[] = {{"stats", stats_}, {NULL, NULL}};
    static const struct luaL_Reg methods[] = {{NULL, NULL}};

    sl_bind_functions(L, functions);
    sl_bind_class(L, "snapshot", methods, snapshot_gc);
}
