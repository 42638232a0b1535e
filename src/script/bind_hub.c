/* sluice.tunnel.hub (script/tunnels.h). */
#include "codec/tunnel_greeting.h"
#include "script/bind_tunnel.h"

enum { DEFAULT_PORT = 8443, MAX_EDGES = 100000, MAX_CONFIG = SL_GREETING_ANSWER_MAX / 2 };

/* Lua holds a pointer to it. */
struct hub {
    const struct sl_script_tunnels *tunnels;
    struct sl_script_hub *hub; /* NULL once it was closed, or its script has retired */
    struct sl_script_owned owned;
};

static const char class_name[] = "hub";

/* --- life --- */

static void end(struct hub *h)
{
    if (h->hub == NULL)
        return;
    h->tunnels->hub_release(h->hub);
    h->hub = NULL;
    sl_link_remove(&h->owned.link);
}

static void on_retire(struct sl_script_owned *o)
{
    end(sl_container_of(o, struct hub, owned));
}

static int hub_gc(lua_State *L)
{
    end(lua_touserdata(L, 1));
    return 0;
}

/* --- sluice.tunnel.hub --- */

static void read_limits(lua_State *L, struct sl_hub_opts *limits)
{
    limits->greeting_ms = sl_opt_ms(L, 1, "greeting_timeout");
    limits->ping_ms = sl_opt_ms(L, 1, "ping_interval");
    limits->dead_ms = sl_opt_ms(L, 1, "dead_after");
    limits->resume_ms = sl_opt_ms(L, 1, "resume_timeout");
    limits->max_streams = (uint32_t)sl_opt_int(L, 1, "max_streams", 1, SL_TUNNEL_STREAMS_MAX, 0);
    limits->max_sessions = (uint32_t)sl_opt_int(L, 1, "max_sessions", 1, SL_TUNNEL_STREAMS_MAX, 0);
}

static void read_options(lua_State *L, struct sl_script_hub_opts *opts)
{
    static const char *const names[] = {"name",
                                        "host",
                                        "port",
                                        "cert",
                                        "key",
                                        "quic",
                                        "greeting_timeout",
                                        "ping_interval",
                                        "dead_after",
                                        "resume_timeout",
                                        "max_streams",
                                        "max_sessions",
                                        NULL};

    luaL_checktype(L, 1, LUA_TTABLE);
    sl_arg_options(L, 1, names);
    opts->name = sl_opt_required_str(L, 1, "name");
    opts->cert = sl_opt_required_str(L, 1, "cert");
    opts->key = sl_opt_required_str(L, 1, "key");
    opts->host = sl_opt_str(L, 1, "host", SL_STR(""));
    opts->port = (uint16_t)sl_opt_int(L, 1, "port", 0, 65535, DEFAULT_PORT);
    opts->no_quic = !sl_opt_bool(L, 1, "quic", true);
    read_limits(L, &opts->limits);
}

static int open_(lua_State *L)
{
    const struct sl_script_tunnels *tunnels = sl_need_tunnels(L, "sluice.tunnel.hub");
    struct sl_script_hub_opts opts = {0};
    struct sl_err err;
    struct hub *h;

    read_options(L, &opts);
    h = sl_object_new(L, class_name, sizeof(*h));
    h->tunnels = tunnels;
    h->hub = tunnels->hub_open(tunnels->user, &opts, &err);
    if (h->hub == NULL)
        return sl_push_failure(L, err.text);
    sl_script_on_retire(sl_script_of(L), &h->owned, on_retire);
    return 1;
}

/* --- methods --- */

static struct hub *check(lua_State *L)
{
    struct hub *h = sl_object_check(L, 1, class_name);

    if (h->hub == NULL)
        luaL_error(L, "the hub is closed");
    return h;
}

static int hub_port(lua_State *L)
{
    const struct hub *h = check(L);

    lua_pushinteger(L, h->tunnels->hub_port(h->hub));
    return 1;
}

/* A field of the entry on top of the stack, which holds it. */
static struct sl_str entry_field(lua_State *L, int i, const char *name, size_t most)
{
    struct sl_str value;

    lua_getfield(L, -1, name);
    if (lua_type(L, -1) != LUA_TSTRING)
        luaL_error(L, "edges[%d].%s: a string expected, got a %s", i, name, luaL_typename(L, -1));
    value.p = lua_tolstring(L, -1, &value.len);
    if (value.len > most)
        luaL_error(L, "edges[%d].%s: more than %d bytes", i, name, (int)most);
    lua_pop(L, 1);
    return value;
}

static void read_entry(lua_State *L, int i, struct sl_hub_edge_spec *out)
{
    lua_rawgeti(L, 2, i);
    if (!lua_istable(L, -1))
        luaL_error(L, "edges[%d]: a table expected, got a %s", i, luaL_typename(L, -1));
    out->id = entry_field(L, i, "id", SL_GREETING_ID_MAX);
    out->secret = entry_field(L, i, "secret", SL_GREETING_MAX);
    out->config = entry_field(L, i, "config", MAX_CONFIG);
    if (!sl_greeting_ok(&(struct sl_greeting){out->id, out->secret}))
        luaL_error(L, "edges[%d]: no edge can have this id and secret", i);
    lua_pop(L, 1);
}

static int hub_edges(lua_State *L)
{
    const struct hub *h = check(L);
    struct sl_hub_edge_spec *specs;
    int n;

    luaL_checktype(L, 2, LUA_TTABLE);
    n = (int)lua_objlen(L, 2);
    luaL_argcheck(L, n <= MAX_EDGES, 2, "too many edges");
    specs = lua_newuserdata(L, ((size_t)n + 1) * sizeof(*specs));
    for (int i = 0; i < n; i++)
        read_entry(L, i + 1, &specs[i]);
    h->tunnels->hub_set_edges(h->hub, specs, (size_t)n);
    return 0;
}

struct answer {
    const struct sl_hub_stats *stats;
    const struct sl_hub_edge_status *edges;
    size_t n;
};

static void push_edges(lua_State *L, const struct answer *a)
{
    lua_createtable(L, (int)a->n, 0);
    for (size_t i = 0; i < a->n; i++) {
        sl_push_tunnel_status(L, &a->edges[i].tunnel);
        sl_set_str(L, "id", a->edges[i].id);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

static int push_status(lua_State *L, void *arg)
{
    const struct answer *a = arg;

    lua_createtable(L, 0, 5);
    sl_set_number(L, "accepted", (double)a->stats->accepted);
    sl_set_number(L, "refused", (double)a->stats->refused);
    sl_set_number(L, "dropped", (double)a->stats->dropped);
    sl_set_number(L, "edges_up", (double)a->stats->n_edges_up);
    push_edges(L, a);
    lua_setfield(L, -2, "edges");
    return 1;
}

static void on_status(void *arg, const struct sl_hub_stats *stats,
                      const struct sl_hub_edge_status *edges, size_t n)
{
    struct answer a = {stats, edges, n};

    sl_tunnel_reply(arg, push_status, &a);
}

static int hub_status(lua_State *L)
{
    const struct hub *h = check(L);
    struct sl_tunnel_question *q = sl_tunnel_ask(sl_task_must_wait(L, "hub:status"));

    h->tunnels->hub_status(h->hub, on_status, q);
    return sl_tunnel_await(q);
}

static int hub_close(lua_State *L)
{
    struct hub *h = sl_object_check(L, 1, class_name);

    if (h->hub != NULL)
        h->tunnels->hub_close(h->hub);
    end(h);
    return 0;
}

void sl_bind_hub(lua_State *L)
{
    static const struct luaL_Reg functions[] = {{"tunnel.hub", open_}, {NULL, NULL}};
    static const struct luaL_Reg methods[] = {
        {"port", hub_port},   {"edges", hub_edges}, {"status", hub_status},
        {"close", hub_close}, {NULL, NULL},
    };

    sl_bind_functions(L, functions);
    sl_bind_class(L, class_name, methods, hub_gc);
}
