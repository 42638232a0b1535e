/* sluice.tcp.connect and listen. */
#include <stdio.h>
#include "base/arena.h"
#include "net/tcp.h"
#include "script/server.h"
#include "script/sock.h"
#include "tls/dial.h"

enum { TIMEOUT_S = 10, MOST_MS = 24 * 3600 * 1000 };

/* --- connect --- */

struct connect {
    struct sl_dial dial;
    struct sl_task *task;
    struct sl_arena arena; /* the strings of the dial */
};

static void free_connect(void *ptr)
{
    struct connect *c = ptr;

    sl_arena_clear(&c->arena);
    sl_free(c);
}

static void cancel_connect(void *op)
{
    struct connect *c = op;

    sl_dial_cancel(&c->dial);
    sl_loop_defer(c->dial.opts.loop, c, free_connect);
}

static int push_sock(lua_State *L, void *arg)
{
    sl_sock_push(L, arg);
    return 1;
}

static void on_dialled(struct sl_dial *d, struct sl_stream **stream)
{
    struct connect *c = d->user;
    struct sl_task *task = c->task;

    sl_loop_defer(d->opts.loop, c, free_connect);
    sl_task_resume(task, push_sock, stream);
    sl_stream_free(stream, SL_CLOSE_ABORT); /* when there was no memory for the object */
}

static void on_failed(struct sl_dial *d, int code, const char *detail)
{
    struct connect *c = d->user;
    struct sl_task *task = c->task;
    char text[320];

    snprintf(text, sizeof(text), "%s%s%s", sl_error_text(code), detail != NULL ? ": " : "",
             detail != NULL ? detail : "");
    sl_loop_defer(d->opts.loop, c, free_connect);
    sl_task_resume_error(task, text);
}

/* The context of a connection that asks for TLS; 0 and NULL when it does not. */
static int tls_option(lua_State *L, struct sl_tls_client **tls, struct sl_err *err)
{
    struct sl_str ca_file = sl_opt_str(L, 3, "ca_file", SL_STR_NONE);
    bool verify = sl_opt_bool(L, 3, "verify", true);

    *tls = NULL;
    if (!sl_opt_bool(L, 3, "tls", false))
        return 0;
    return sl_library_tls(L, verify, ca_file.p, tls, err);
}

static void read_where(lua_State *L, struct sl_dial_opts *opts)
{
    opts->unix_path = sl_opt_str(L, 3, "unix", SL_STR_NONE);
    opts->server_name = sl_opt_str(L, 3, "server_name", SL_STR_NONE);
    opts->timeout_ms = (uint32_t)SL_MIN(sl_opt_seconds(L, 3, "timeout", TIMEOUT_S) * 1e3, MOST_MS);
    if (opts->unix_path.len > 0)
        return;
    opts->host = sl_arg_str(L, 1);
    opts->port = (uint16_t)sl_arg_int(L, 2, 1, 65535);
}

static struct connect *new_connect(struct sl_task *task, struct sl_dial_opts *opts)
{
    struct connect *c = sl_zalloc(sizeof(*c));

    c->task = task;
    opts->host = sl_arena_dup(&c->arena, opts->host);
    opts->unix_path = sl_arena_dup(&c->arena, opts->unix_path);
    opts->server_name = sl_arena_dup(&c->arena, opts->server_name);
    return c;
}

static int connect_(lua_State *L)
{
    static const char *const names[] = {"timeout", "tls",  "server_name", "verify",
                                        "ca_file", "unix", NULL};
    struct sl_dial_opts opts = {0};
    struct sl_task *task;
    struct connect *c;
    struct sl_err err;

    sl_arg_options(L, 3, names);
    lua_settop(L, 3);
    read_where(L, &opts);
    task = sl_task_must_wait(L, "sluice.tcp.connect");
    if (tls_option(L, &opts.tls, &err) < 0)
        return sl_push_failure(L, err.text);
    opts.loop = sl_script_loop(sl_script_of(L));
    opts.dns = sl_script_services(sl_script_of(L))->dns;
    c = new_connect(task, &opts);
    sl_dial_start(&c->dial, &opts, on_dialled, on_failed, c);
    return sl_task_wait(task, cancel_connect, c);
}

/* --- listen --- */

struct tcp_server {
    struct sl_server server;
    struct sl_list
        starting; /* of struct conn: accepted, their handlers begin at the end of the turn */
    struct sl_task_link soon;
};

struct conn {
    struct sl_link link;
    struct tcp_server *of;
    struct sl_stream *stream; /* until the handler has begun */
    struct sl_sock *sock;
};

static void end_conn(struct conn *c)
{
    struct tcp_server *of = c->of;

    sl_stream_free(&c->stream, SL_CLOSE_ABORT);
    if (c->sock != NULL)
        sl_sock_release(c->sock);
    sl_link_remove(&c->link);
    sl_free(c);
    sl_server_conn_ended(&of->server);
}

/* A handler that returned, threw or was cancelled leaves no socket behind. */
static void on_handler_end(struct sl_task *task, enum sl_task_end end SL_UNUSED)
{
    end_conn(sl_task_user(task));
}

static int push_handler(lua_State *L, void *arg)
{
    struct conn *c = arg;

    sl_server_push_handler(L, &c->of->server);
    c->sock = sl_sock_push(L, &c->stream);
    sl_sock_keep(c->sock);
    return 2;
}

/* Not inside on_accept(): a handler may close its server, and that must not be while it accepts. */
static void start_handlers(void *user)
{
    struct tcp_server *s = user;
    struct sl_link *it = sl_list_pop(&s->starting);
    struct conn *c = sl_container_of(it, struct conn, link);
    struct sl_task_opts opts = {SL_CONTEXT_HANDLER, "tcp server", on_handler_end, c};

    if (!sl_list_is_empty(&s->starting))
        sl_loop_soon(s->server.loop, &s->soon, start_handlers, s);
    sl_task_run(s->server.script, &opts, push_handler, c);
}

static void on_accept(struct sl_server *server, int fd, const struct sl_addr *remote SL_UNUSED)
{
    struct tcp_server *s = sl_container_of(server, struct tcp_server, server);
    struct conn *c = sl_zalloc(sizeof(*c));

    c->of = s;
    c->stream = sl_tcp_new(server->loop, fd);
    sl_list_append(&s->starting, &c->link);
    sl_server_conn_began(server);
    sl_loop_soon(server->loop, &s->soon, start_handlers, s);
}

static void on_close(struct sl_server *server)
{
    struct tcp_server *s = sl_container_of(server, struct tcp_server, server);
    struct sl_link *it;

    while ((it = sl_list_pop(&s->starting)) != NULL)
        end_conn(sl_container_of(it, struct conn, link));
    sl_loop_unsoon(&s->soon);
}

static void free_server(struct sl_server *server)
{
    struct tcp_server *s = sl_container_of(server, struct tcp_server, server);

    sl_loop_unsoon(&s->soon);
    sl_free(s);
}

static int listen_(lua_State *L)
{
    static const char *const names[] = {
        "host", "port", "unix", "mode", "handler", "max_connections", NULL};
    static const struct sl_server_ops ops = {on_accept, on_close, free_server};
    struct tcp_server *s;

    luaL_checktype(L, 1, LUA_TTABLE);
    sl_arg_options(L, 1, names);
    lua_settop(L, 1);
    s = sl_server_new(L, sizeof(*s), &ops);
    sl_list_init(&s->starting);
    return sl_server_open(L, &s->server);
}

void sl_bind_tcp(lua_State *L)
{
    static const struct luaL_Reg functions[] = {
        {"tcp.connect", connect_}, {"tcp.listen", listen_}, {NULL, NULL}};

    sl_bind_functions(L, functions);
    sl_bind_sock(L);
    sl_bind_server(L);
}
