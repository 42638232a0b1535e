/* sluice.websocket.connect: the client side, on the HTTP client. */
#include <stdio.h>
#include "http/client.h"
#include "http/ws_handshake.h"
#include "script/internal.h"
#include "script/library.h"
#include "script/url.h"
#include "script/websock.h"

enum {
    MAX_CLIENTS = 10000, /* of one thread at a time */
    TIMEOUT_S = 10,
};

static __thread unsigned n_clients;

/* Asks for the upgrade, then carries the WebSocket. */
struct client {
    struct sl_loop *loop;
    struct sl_pool *pool;
    struct sl_task *task; /* NULL once it is answered */
    struct sl_call *call;
    struct sl_call_target target;
    struct sl_request req;
    struct sl_ws_asked asked;
    char key[SL_WS_KEY_LEN];
    struct sl_ws_opts opts;
    struct sl_arena arena; /* all strings of the request, and the head of the response */
    struct sl_timer timer; /* of the handshake */
    struct sl_websock *sock;
};

/* --- life --- */

static void free_client(void *ptr)
{
    struct client *c = ptr;

    sl_arena_clear(&c->arena);
    sl_free(c);
}

static void end(void *user)
{
    struct client *c = user;

    c->sock = NULL;
    sl_timer_clear(&c->timer);
    sl_call_free(&c->call);
    n_clients--;
    sl_loop_defer(c->loop, c, free_client);
}

static void fail(struct client *c, const char *text, const char *detail)
{
    struct sl_task *task = c->task;
    char whole[320];

    snprintf(whole, sizeof(whole), "%s%s%s", text, detail != NULL ? ": " : "",
             detail != NULL ? detail : "");
    end(c);
    sl_task_resume_error(task, whole);
}

static void on_due(struct sl_timer *t)
{
    fail(t->user, "timed out", NULL);
}

/* --- the channel --- */

static int write_call(void *user, const struct iovec *iov, int n_iov, bool fin)
{
    struct client *c = user;

    return sl_call_write(c->call, iov, n_iov, fin);
}

static void read_call(void *user, bool on)
{
    struct client *c = user;

    sl_call_read(c->call, on);
}

static const struct sl_websock_channel channel = {{write_call, read_call}, end};

static void on_body(struct sl_call *call, const struct iovec *iov, int n_iov, bool fin)
{
    struct client *c = call->user;

    for (int i = 0; i < n_iov && c->sock != NULL; i++)
        sl_ws_input(sl_websock_ws(c->sock), iov[i].iov_base, iov[i].iov_len);
    if (fin && c->sock != NULL)
        sl_ws_input_end(sl_websock_ws(c->sock));
}

static void on_written(struct sl_call *call)
{
    struct client *c = call->user;

    if (c->sock != NULL)
        sl_ws_written(sl_websock_ws(c->sock));
}

static void on_error(struct sl_call *call, int code)
{
    struct client *c = call->user;

    if (c->sock != NULL)
        sl_ws_broken(sl_websock_ws(c->sock), code);
    else
        fail(c, sl_error_text(code), call->detail);
}

/* --- the handshake --- */

static void on_connected(struct sl_call *call)
{
    struct client *c = call->user;

    sl_call_send(call, &c->req);
    sl_call_write(call, NULL, 0, true); /* a failure comes as on_error() */
    sl_call_read(call, true);
}

struct opening {
    struct client *client;
    struct sl_str protocol;
};

static int push_sock(lua_State *L, void *arg)
{
    const struct opening *o = arg;
    struct sl_websock_opts opts = {o->client->loop, o->client->opts, o->protocol, &channel,
                                   o->client};

    o->client->sock = sl_websock_push(L, &opts);
    return 1;
}

/* The script goes on at once; what came with the head follows as on_body(). */
static void open_sock(struct client *c, struct sl_str protocol)
{
    struct opening o = {c, protocol};
    struct sl_task *task = c->task;

    c->task = NULL;
    sl_timer_clear(&c->timer);
    sl_call_read(c->call, false); /* until the WebSocket wants it */
    sl_task_resume(task, push_sock, &o);
    if (c->sock == NULL && c->call != NULL)
        end(c); /* there was no memory for the object */
}

static void on_head(struct sl_call *call)
{
    struct client *c = call->user;
    struct sl_str protocol;
    const char *why;
    char text[64];

    if (call->res.status != 101) {
        snprintf(text, sizeof(text), "the server answered %d", call->res.status);
        fail(c, text, NULL);
    } else if (sl_ws_check_answer(&call->res, &c->arena, &c->asked, &protocol, &why) < 0) {
        fail(c, why, NULL);
    } else {
        open_sock(c, protocol);
    }
}

static void on_interim(struct sl_call *call SL_UNUSED)
{
    /* says nothing to a script */
}

static void start(struct client *c)
{
    static const struct sl_call_handler handler = {on_connected, on_head,    on_interim,
                                                   on_body,      on_written, on_error};
    struct sl_call_opts opts = {.fresh = true};

    c->call = sl_call_start(c->pool, &c->target, &opts, &c->arena, &handler, c);
}

/* --- arguments --- */

static void add_header(lua_State *L, struct client *c, struct sl_str name, struct sl_str value)
{
    enum sl_header_id id = sl_check_header(L, name, value);

    if (id == SL_H_HOST)
        c->req.authority = sl_arena_dup(&c->arena, value);
    else if (id == SL_H_EXPECT ||
             (name.len > 13 && sl_str_ieq(sl_str(name.p, 14), SL_STR("sec-websocket-"))))
        luaL_error(L,
                   "sluice.websocket.connect: header %s cannot be set, it belongs to the handshake",
                   name.p);
    else
        sl_headers_add(&c->req.headers, &c->arena, sl_arena_dup(&c->arena, name),
                       sl_arena_dup(&c->arena, value));
}

static void read_headers(lua_State *L, struct client *c)
{
    struct sl_str name, value;

    lua_getfield(L, 2, "headers");
    if (!lua_isnil(L, -1) && !lua_istable(L, -1))
        luaL_error(L, "option headers: table expected, got %s", luaL_typename(L, -1));
    if (lua_istable(L, -1)) {
        for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
            if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
                luaL_error(L, "option headers: names and values must be strings");
            name.p = lua_tolstring(L, -2, &name.len);
            value.p = lua_tolstring(L, -1, &value.len);
            add_header(L, c, name, value);
        }
    }
    lua_pop(L, 1);
    if (sl_headers_find_id(&c->req.headers, SL_H_USER_AGENT) == NULL)
        sl_headers_add(&c->req.headers, &c->arena, SL_STR("User-Agent"),
                       SL_STR("sluice/" SLUICE_VERSION));
}

static struct sl_str lower(struct sl_arena *a, struct sl_str s)
{
    struct sl_str copy = sl_arena_dup(a, s);

    for (size_t i = 0; i < copy.len; i++)
        ((char *)copy.p)[i] = (char)sl_lower((unsigned char)copy.p[i]);
    return copy;
}

static void read_target(lua_State *L, struct client *c, const struct sl_url *url)
{
    struct sl_str ca_file = sl_opt_str(L, 2, "ca_file", SL_STR_NONE);
    struct sl_str unix_path = sl_opt_str(L, 2, "unix", SL_STR_NONE);

    c->req.version = SL_HTTP_11;
    c->req.method = SL_STR("GET");
    c->req.scheme = url->is_tls ? SL_STR("https") : SL_STR("http");
    c->req.authority = sl_arena_dup(&c->arena, url->authority);
    c->req.host = lower(&c->arena, url->host);
    c->req.path = sl_arena_dup(&c->arena, url->path);
    c->req.query = url->query.p != NULL ? sl_arena_dup(&c->arena, url->query) : SL_STR_NONE;
    c->target = (struct sl_call_target){.host = c->req.host, .port = url->port, .tls = url->is_tls};
    c->target.tls_verify = sl_opt_bool(L, 2, "verify", true);
    c->target.ca_file = ca_file.p != NULL ? sl_arena_dup(&c->arena, ca_file).p : NULL;
    if (unix_path.p != NULL)
        c->target.unix_path = sl_arena_dup(&c->arena, unix_path);
}

static void read_request(lua_State *L, struct client *c)
{
    read_headers(L, c);
    sl_ws_make_key(c->key);
    c->asked.key = sl_str(c->key, sizeof(c->key));
    c->asked.protocols = sl_arena_dup(&c->arena, sl_websock_push_protocols(L, 2));
    lua_pop(L, 1);
    sl_ws_ask(&c->req, &c->arena, &c->asked);
    sl_websock_read_opts(L, 2, true, &c->opts);
}

/* A WebSocket URL is an HTTP URL with another scheme. The result is on the stack. */
static int parse_url(lua_State *L, struct sl_str text, struct sl_url *url)
{
    bool is_tls = sl_str_starts(text, SL_STR("wss://"));
    struct sl_str http;

    if (!is_tls && !sl_str_starts(text, SL_STR("ws://")))
        return SL_E_CONFIG;
    lua_pushstring(L, is_tls ? "https" : "http");
    lua_pushlstring(L, text.p + (is_tls ? 3 : 2), text.len - (is_tls ? 3 : 2));
    lua_concat(L, 2);
    http.p = lua_tolstring(L, -1, &http.len);
    return sl_url_parse(http, url);
}

/* Holds a client while its arguments are read, which may throw. */
static int guard_gc(lua_State *L)
{
    struct client **guard = lua_touserdata(L, 1);

    if (*guard != NULL)
        free_client(*guard);
    *guard = NULL;
    return 0;
}

static int connect_(lua_State *L)
{
    static const char *const names[] = {SL_WEBSOCK_OPTIONS, "timeout", "headers", "verify",
                                        "ca_file",          "unix",    NULL};
    const struct sl_script_services *services = sl_script_services(sl_script_of(L));
    struct sl_str text = sl_arg_str(L, 1);
    struct sl_task *task = sl_task_must_wait(L, "sluice.websocket.connect");
    struct client **guard, *c;
    struct sl_url url;
    double timeout;

    sl_need_service(L, services->pool != NULL, "sluice.websocket.connect");
    sl_arg_options(L, 2, names);
    lua_settop(L, 2);
    if (lua_isnil(L, 2)) {
        lua_createtable(L, 0, 0);
        lua_replace(L, 2);
    }
    timeout = sl_opt_seconds(L, 2, "timeout", TIMEOUT_S);
    if (parse_url(L, text, &url) < 0)
        return sl_push_failure(L, "not a ws or wss URL");
    if (n_clients >= MAX_CLIENTS)
        return sl_push_failure(L, "too many WebSockets at a time");
    guard = sl_object_new(L, "ws client", sizeof(*guard));
    c = *guard = sl_zalloc(sizeof(*c));
    read_target(L, c, &url);
    read_request(L, c);
    *guard = NULL;
    c->loop = sl_script_loop(sl_script_of(L));
    c->pool = services->pool;
    c->task = task;
    n_clients++;
    sl_timer_init(&c->timer, c->loop, on_due, c);
    sl_timer_set(&c->timer, timeout * 1e3);
    start(c);
    return sl_task_wait(task, end, c);
}

void sl_bind_websocket(lua_State *L)
{
    static const struct luaL_Reg functions[] = {{"websocket.connect", connect_}, {NULL, NULL}};
    static const struct luaL_Reg methods[] = {{NULL, NULL}};

    sl_bind_functions(L, functions);
    sl_bind_class(L, "ws client", methods, guard_gc);
    sl_bind_websock(L);
}
