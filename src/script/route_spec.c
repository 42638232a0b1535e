#include "script/route_spec.h"

#include <lauxlib.h>

/* --- fields --- */

static void bad_type(lua_State *L, const char *name, const char *expected)
{
    luaL_error(L, "publish: %s: %s expected, got %s", name, expected, luaL_typename(L, -1));
}

/* The string on top of the stack, which its table goes on holding. */
static struct sl_str take_str(lua_State *L, const char *name)
{
    struct sl_str s;

    if (lua_type(L, -1) != LUA_TSTRING)
        bad_type(L, name, "string");
    s.p = lua_tolstring(L, -1, &s.len);
    lua_pop(L, 1);
    return s;
}

struct sl_str sl_spec_str(lua_State *L, int at, const char *name)
{
    lua_getfield(L, at, name);
    if (!lua_isnil(L, -1))
        return take_str(L, name);
    lua_pop(L, 1);
    return SL_STR_NONE;
}

static int64_t take_int(lua_State *L, const char *name, int64_t least, int64_t most)
{
    double n = lua_tonumber(L, -1);

    if (lua_type(L, -1) != LUA_TNUMBER)
        bad_type(L, name, "number");
    if (!(n >= (double)least && n <= (double)most))
        luaL_error(L, "publish: %s: %f is out of range", name, n);
    lua_pop(L, 1);
    return (int64_t)n;
}

int64_t sl_spec_int(lua_State *L, int at, const char *name, int64_t least, int64_t most,
                    int64_t otherwise)
{
    lua_getfield(L, at, name);
    if (!lua_isnil(L, -1))
        return take_int(L, name, least, most);
    lua_pop(L, 1);
    return otherwise;
}

static bool spec_bool(lua_State *L, int at, const char *name, bool otherwise)
{
    bool value = otherwise;

    lua_getfield(L, at, name);
    if (!lua_isnil(L, -1))
        value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

/* The value of a name among several, by its place. */
static int spec_one_of(lua_State *L, int at, const char *name, const char *const *names)
{
    struct sl_str s = sl_spec_str(L, at, name);

    if (s.p == NULL)
        return 0;
    for (int i = 0; names[i] != NULL; i++) {
        if (sl_str_eq(s, sl_str_c(names[i])))
            return i;
    }
    return luaL_error(L, "publish: %s: \"%s\" is unknown", name, s.p);
}

/* --- arrays --- */

/* Pushes the array and returns its length; when it is missing pushes nil and returns 0. */
static size_t open_array(lua_State *L, int at, const char *name)
{
    lua_getfield(L, at, name);
    if (!lua_isnil(L, -1) && !lua_istable(L, -1))
        bad_type(L, name, "table");
    return lua_istable(L, -1) ? lua_objlen(L, -1) : 0;
}

static void *alloc_array(struct sl_arena *arena, size_t n, size_t len)
{
    void *p = n > 0 ? sl_arena_alloc(arena, n * len) : NULL;

    return p != NULL ? memset(p, 0, n * len) : NULL;
}

const struct sl_str *sl_spec_strs(lua_State *L, int at, const char *name, struct sl_arena *arena,
                                  size_t *n)
{
    struct sl_str *list;

    *n = open_array(L, at, name);
    list = alloc_array(arena, *n, sizeof(*list));
    for (size_t i = 0; i < *n; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        list[i] = take_str(L, name);
    }
    lua_pop(L, 1);
    return list;
}

/* Pushes element `i` (from 0) of the array on top, which must be a table; returns its index. */
static int open_element(lua_State *L, size_t i, const char *name)
{
    lua_rawgeti(L, -1, (int)i + 1);
    if (!lua_istable(L, -1))
        bad_type(L, name, "table");
    return lua_gettop(L);
}

static struct sl_str nth_str(lua_State *L, int at, int i, const char *name)
{
    lua_rawgeti(L, at, i);
    return take_str(L, name);
}

/* {name, value}; a value of false is one that removes. */
static void read_pair(lua_State *L, int at, const char *what, struct sl_str *name,
                      struct sl_str *value)
{
    *name = nth_str(L, at, 1, what);
    lua_rawgeti(L, at, 2);
    if (lua_toboolean(L, -1)) {
        *value = take_str(L, what);
        return;
    }
    *value = SL_STR_NONE;
    lua_pop(L, 1);
}

static const struct sl_header_spec *read_headers(lua_State *L, int at, const char *name,
                                                 struct sl_arena *arena, size_t *n)
{
    struct sl_header_spec *list;

    *n = open_array(L, at, name);
    list = alloc_array(arena, *n, sizeof(*list));
    for (size_t i = 0; i < *n; i++) {
        read_pair(L, open_element(L, i, name), name, &list[i].name, &list[i].value);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return list;
}

static const struct sl_header_match *read_header_matches(lua_State *L, int at,
                                                         struct sl_arena *arena, size_t *n)
{
    struct sl_header_match *list;

    *n = open_array(L, at, "headers");
    list = alloc_array(arena, *n, sizeof(*list));
    for (size_t i = 0; i < *n; i++) {
        read_pair(L, open_element(L, i, "headers"), "headers", &list[i].name, &list[i].value);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return list;
}

static const struct sl_user_spec *read_users(lua_State *L, int at, struct sl_arena *arena,
                                             size_t *n)
{
    struct sl_user_spec *list;

    *n = open_array(L, at, "users");
    list = alloc_array(arena, *n, sizeof(*list));
    for (size_t i = 0; i < *n; i++) {
        read_pair(L, open_element(L, i, "users"), "users", &list[i].name, &list[i].password);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return list;
}

static uint16_t nth_port(lua_State *L, int at, int i)
{
    lua_rawgeti(L, at, i);
    return (uint16_t)take_int(L, "ports", 0, 65535);
}

static const struct sl_port_range *read_ports(lua_State *L, int at, struct sl_arena *arena,
                                              size_t *n)
{
    struct sl_port_range *list;

    *n = open_array(L, at, "ports");
    list = alloc_array(arena, *n, sizeof(*list));
    for (size_t i = 0; i < *n; i++) {
        int range = open_element(L, i, "ports");

        list[i].from = nth_port(L, range, 1);
        list[i].to = nth_port(L, range, 2);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return list;
}

static void read_target(lua_State *L, int at, struct sl_arena *arena, struct sl_target_spec *t)
{
    t->host = sl_spec_str(L, at, "host");
    t->unix_path = sl_spec_str(L, at, "unix");
    t->tunnel = sl_spec_str(L, at, "tunnel");
    t->port = (uint16_t)sl_spec_int(L, at, "port", 0, 65535, 0);
    t->priority = (int)sl_spec_int(L, at, "priority", INT32_MIN, INT32_MAX, 0);
    t->weight = (unsigned)sl_spec_int(L, at, "weight", 0, UINT16_MAX, 1);
    t->path = sl_spec_str(L, at, "path");
    t->methods = sl_spec_strs(L, at, "methods", arena, &t->n_methods);
    t->tls = spec_bool(L, at, "tls", false);
    t->tls_verify = spec_bool(L, at, "verify", false);
}

static const struct sl_target_spec *read_targets(lua_State *L, int at, struct sl_arena *arena,
                                                 size_t *n)
{
    struct sl_target_spec *list;

    *n = open_array(L, at, "targets");
    list = alloc_array(arena, *n, sizeof(*list));
    for (size_t i = 0; i < *n; i++) {
        read_target(L, open_element(L, i, "targets"), arena, &list[i]);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return list;
}

/* --- the route --- */

static void read_match(lua_State *L, int at, struct sl_arena *arena, struct sl_route_spec *r)
{
    static const char *const transports[] = {"tcp", "udp", "all", NULL};
    static const char *const protocols[] = {"any", "http", "tcp", NULL};

    r->ports = read_ports(L, at, arena, &r->n_ports);
    r->domains = sl_spec_strs(L, at, "domains", arena, &r->n_domains);
    r->path = sl_spec_str(L, at, "path");
    r->client_ips = sl_spec_strs(L, at, "client_ips", arena, &r->n_client_ips);
    r->headers = read_header_matches(L, at, arena, &r->n_headers);
    r->transport = SL_TRANSPORT_TCP + spec_one_of(L, at, "transport", transports);
    r->protocol = SL_PROTOCOL_ANY + spec_one_of(L, at, "protocol", protocols);
    r->is_tunnelled = spec_bool(L, at, "tunnelled", false);
}

static void read_action(lua_State *L, int at, struct sl_arena *arena, struct sl_route_spec *r)
{
    static const char *const actions[] = {"forward", "redirect", "reply", NULL};
    static const char *const balances[] = {"round-robin", "least-connections", "ip-hash", NULL};
    static const char *const backends[] = {"http1", "http2", "auto", NULL};

    r->action = SL_ACTION_FORWARD + spec_one_of(L, at, "action", actions);
    r->targets = read_targets(L, at, arena, &r->n_targets);
    r->balance = SL_BALANCE_ROUND_ROBIN + spec_one_of(L, at, "balance", balances);
    r->backend = SL_BACKEND_HTTP1 + spec_one_of(L, at, "backend", backends);
    r->rewrite_host = spec_bool(L, at, "rewrite_host", false);
    r->no_websocket = !spec_bool(L, at, "websocket", true);
    r->send_proxy = (unsigned)sl_spec_int(L, at, "send_proxy", 0, 2, 0);
    r->status = (int)sl_spec_int(L, at, "status", 0, 599, 0);
    r->location = sl_spec_str(L, at, "location");
    r->body = sl_spec_str(L, at, "body");
    r->content_type = sl_spec_str(L, at, "content_type");
    r->connect_timeout_ms = (unsigned)sl_spec_int(L, at, "connect_timeout", 0, UINT32_MAX, 0);
    r->response_timeout_ms = (unsigned)sl_spec_int(L, at, "response_timeout", 0, UINT32_MAX, 0);
    r->alt_svc_port = (unsigned)sl_spec_int(L, at, "alt_svc_port", 0, 65535, 0);
    r->alt_svc_max_age = (unsigned)sl_spec_int(L, at, "alt_svc_max_age", 0, UINT32_MAX, 0);
}

static void read_security(lua_State *L, int at, struct sl_arena *arena, struct sl_route_spec *r)
{
    r->request_headers = read_headers(L, at, "request_headers", arena, &r->n_request_headers);
    r->response_headers = read_headers(L, at, "response_headers", arena, &r->n_response_headers);
    r->allow = sl_spec_strs(L, at, "allow", arena, &r->n_allow);
    r->block = sl_spec_strs(L, at, "block", arena, &r->n_block);
    r->max_connections = (unsigned)sl_spec_int(L, at, "max_connections", 0, UINT32_MAX, 0);
    r->users = read_users(L, at, arena, &r->n_users);
    r->realm = sl_spec_str(L, at, "realm");
}

static void read_cert(lua_State *L, int at, struct sl_route_cert *cert)
{
    int pair;

    lua_getfield(L, at, "cert");
    pair = lua_gettop(L);
    if (lua_istable(L, pair)) {
        cert->cert = sl_spec_str(L, pair, "cert");
        cert->key = sl_spec_str(L, pair, "key");
    } else if (lua_isstring(L, pair)) {
        cert->is_self_signed = true;
    }
    lua_settop(L, pair - 1);
}

void sl_route_spec_read(lua_State *L, int at, struct sl_arena *arena, struct sl_route_spec *out,
                        struct sl_route_cert *cert)
{
    static const char *const modes[] = {"none", "terminate", "passthrough", "reencrypt", NULL};

    *out = (struct sl_route_spec){.name = sl_spec_str(L, at, "name")};
    *cert = (struct sl_route_cert){.is_self_signed = false};
    out->priority = (int)sl_spec_int(L, at, "priority", INT32_MIN, INT32_MAX, 0);
    out->tls = SL_TLS_NONE + spec_one_of(L, at, "tls", modes);
    read_match(L, at, arena, out);
    read_action(L, at, arena, out);
    read_security(L, at, arena, out);
    read_cert(L, at, cert);
}

/* --- the canonical text --- */

static void put_int(struct sl_buf *out, int64_t n)
{
    sl_buf_append(out, &n, sizeof(n));
}

static void put_str(struct sl_buf *out, struct sl_str s)
{
    put_int(out, s.p != NULL ? (int64_t)s.len : -1);
    sl_buf_append_str(out, s);
}

static void put_strs(struct sl_buf *out, const struct sl_str *list, size_t n)
{
    put_int(out, (int64_t)n);
    for (size_t i = 0; i < n; i++)
        put_str(out, list[i]);
}

static void put_headers(struct sl_buf *out, const struct sl_header_spec *list, size_t n)
{
    put_int(out, (int64_t)n);
    for (size_t i = 0; i < n; i++) {
        put_str(out, list[i].name);
        put_str(out, list[i].value);
    }
}

static void put_match(struct sl_buf *out, const struct sl_route_spec *r)
{
    put_int(out, (int64_t)r->n_ports);
    for (size_t i = 0; i < r->n_ports; i++)
        put_int(out, (int64_t)r->ports[i].from << 16 | r->ports[i].to);
    put_strs(out, r->domains, r->n_domains);
    put_str(out, r->path);
    put_strs(out, r->client_ips, r->n_client_ips);
    put_int(out, (int64_t)r->n_headers);
    for (size_t i = 0; i < r->n_headers; i++) {
        put_str(out, r->headers[i].name);
        put_str(out, r->headers[i].value);
    }
    put_int(out, r->transport);
    put_int(out, r->protocol);
    put_int(out, r->is_tunnelled);
}

static void put_target(struct sl_buf *out, const struct sl_target_spec *t)
{
    put_str(out, t->host);
    put_str(out, t->unix_path);
    put_str(out, t->tunnel);
    put_int(out, t->port);
    put_int(out, t->priority);
    put_int(out, t->weight);
    put_str(out, t->path);
    put_strs(out, t->methods, t->n_methods);
    put_int(out, t->tls);
    put_int(out, t->tls_verify);
}

static void put_action(struct sl_buf *out, const struct sl_route_spec *r)
{
    put_int(out, r->action);
    put_int(out, (int64_t)r->n_targets);
    for (size_t i = 0; i < r->n_targets; i++)
        put_target(out, &r->targets[i]);
    put_int(out, r->balance);
    put_int(out, r->backend);
    put_int(out, r->rewrite_host);
    put_int(out, r->no_websocket);
    put_int(out, r->send_proxy);
    put_int(out, r->status);
    put_str(out, r->location);
    put_str(out, r->body);
    put_str(out, r->content_type);
    put_int(out, r->connect_timeout_ms);
    put_int(out, r->response_timeout_ms);
    put_int(out, r->alt_svc_port);
    put_int(out, r->alt_svc_max_age);
}

static void put_security(struct sl_buf *out, const struct sl_route_spec *r)
{
    put_headers(out, r->request_headers, r->n_request_headers);
    put_headers(out, r->response_headers, r->n_response_headers);
    put_strs(out, r->allow, r->n_allow);
    put_strs(out, r->block, r->n_block);
    put_int(out, r->max_connections);
    put_int(out, (int64_t)r->n_users);
    for (size_t i = 0; i < r->n_users; i++) {
        put_str(out, r->users[i].name);
        put_str(out, r->users[i].password);
    }
    put_str(out, r->realm);
}

void sl_route_spec_write(struct sl_buf *out, const struct sl_route_spec *spec,
                         const struct sl_route_cert *cert)
{
    put_str(out, spec->name);
    put_int(out, spec->priority);
    put_match(out, spec);
    put_action(out, spec);
    put_security(out, spec);
    put_int(out, spec->tls);
    put_str(out, cert->cert);
    put_str(out, cert->key);
    put_int(out, cert->is_self_signed);
    sl_buf_append(out, cert->pin, sizeof(cert->pin));
}
