/* sluice.serve: an HTTP server for scripts (admin APIs, metrics, small origins) on the server code
 * of the data plane. */
#include "http/exchange.h"
#include "net/tcp.h"
#include "script/handle.h"
#include "script/host.h"
#include "script/intake.h"
#include "script/outlet.h"
#include "script/server.h"
#include "script/ws_serve.h"

enum {
    MAX_BODY = 16 * 1024 * 1024,
    MOST_BODY = 1024 * 1024 * 1024,
    BODIES = 8, /* of the largest size that a server holds at a time, all connections together */
    ANSWERS = SL_VERB_DENY | SL_VERB_REPLY | SL_VERB_REDIRECT,
};

struct http_server {
    struct sl_server server;
    struct sl_http_service service;
    struct sl_list conns;
    uint64_t max_body;
    uint64_t held; /* bytes of bodies, of all requests */
    int admit;     /* asked before a body is read; LUA_NOREF: none */
};

struct conn {
    struct sl_link link; /* in server.conns */
    struct http_server *of;
    struct sl_http_conn *http;
    struct sl_peer peer;
    bool has_task;            /* a handler is at work, or a body function of its */
    struct sl_ws_serving *ws; /* what has become of the connection; NULL: nothing else */
};

/* One request: its handler runs, and asks for the body if it wants it; then the answer goes out. */
struct request {
    struct conn *conn;
    struct sl_exchange *ex; /* NULL once it ended while the handler was at work */
    struct sl_buf body;
    struct sl_handle *handle;
    struct sl_task *task;
    struct sl_task_link soon; /* refuses the body */
    int refusal;              /* the status that answers the request in place of the handler; 0 */
    bool is_running;          /* the handler */
    bool is_collecting;
};

static struct http_server *server_of(struct sl_server *s)
{
    return sl_container_of(s, struct http_server, server);
}

/* --- the answer --- */

static void drop_body(struct request *r)
{
    r->conn->of->held -= sl_buf_len(&r->body);
    sl_buf_clear(&r->body);
}

static void end_handle(struct request *r)
{
    if (r->handle != NULL)
        sl_handle_end(r->handle);
    r->handle = NULL;
}

static void free_request(struct request *r)
{
    end_handle(r);
    sl_loop_unsoon(&r->soon);
    drop_body(r);
    sl_free(r);
}

static struct sl_str body_type(const struct sl_verdict *v)
{
    if (v->content_type.len > 0 || v->text.len == 0 ||
        sl_headers_find_id(&v->headers, SL_H_CONTENT_TYPE) != NULL)
        return v->content_type;
    return SL_STR("text/plain; charset=utf-8");
}

static void redirect(struct sl_exchange *ex, struct sl_verdict *v)
{
    sl_headers_add_id(&v->headers, &ex->arena, SL_H_LOCATION, SL_STR("Location"), v->text);
    sl_exchange_reply(ex, v->status, SL_STR_NONE, SL_STR_NONE, &v->headers);
}

static void answer(struct sl_exchange *ex, struct sl_verdict *v)
{
    switch (v->kind) {
    case SL_VERDICT_NONE: /* the handler did not mean this request */
        sl_exchange_fail(ex, 404);
        return;
    case SL_VERDICT_DENY:
        if (v->text.len == 0) {
            sl_exchange_fail(ex, v->status);
            return;
        }
        /* fall through */
    case SL_VERDICT_REPLY:
        sl_exchange_reply(ex, v->status, body_type(v), v->text, &v->headers);
        return;
    case SL_VERDICT_REDIRECT:
        redirect(ex, v);
        return;
    default:
        sl_exchange_fail(ex, 500);
    }
}

static void log_bad_verb(const struct sl_exchange *ex, const struct sl_err *err)
{
    sl_log_error("a handler returned what is no answer", sl_f_str("error", err->text),
                 sl_f_strn("path", ex->req.path));
}

static void on_served(void *user, int status SL_UNUSED, const char *error SL_UNUSED)
{
    struct request *r = user;

    r->conn->ws = NULL;
    r->conn->has_task = false;
    free_request(r);
}

/* What comes now is between the client and a function of the script. */
static void hand_over(struct request *r, const struct sl_verdict *v)
{
    r->handle->collect = NULL;
    if (v->status == 101) {
        (void)sl_ws_serve(&r->conn->ws, r->ex, v->serving, on_served, r);
        return;
    }
    r->conn->has_task = true;
    (void)v->serve(v->serving, r->ex, on_served, r);
}

static void answer_task(struct request *r, struct sl_task *task)
{
    struct sl_exchange *ex = r->ex;
    struct sl_verdict v = {0};
    struct sl_err err;
    int rc = sl_verb_read(task, r->handle, ANSWERS | SL_VERB_SERVE, &v, &err);

    if (rc == 0 && v.kind == SL_VERDICT_SERVE) {
        hand_over(r, &v);
        return;
    }
    end_handle(r);
    if (rc < 0) {
        log_bad_verb(ex, &err);
        sl_exchange_fail(ex, 500);
    } else {
        answer(ex, &v);
    }
}

/* The exchange goes on by itself from here: it needs no more of us than to say that it ended. */
static void on_handler_end(struct sl_task *task, enum sl_task_end end)
{
    struct request *r = sl_task_user(task);
    struct sl_exchange *ex = r->ex;

    r->is_running = false;
    r->is_collecting = false;
    r->conn->has_task = false;
    r->task = NULL;
    if (ex == NULL) {
        free_request(r); /* the client has gone meanwhile */
        return;
    }
    sl_exchange_read(ex, false);
    if (end == SL_TASK_RETURNED) {
        answer_task(r, task);
        return;
    }
    end_handle(r);
    if (end == SL_TASK_THREW || r->refusal != 0) {
        sl_exchange_fail(ex, r->refusal != 0 ? r->refusal : 500);
    } else {
        sl_exchange_abort(ex);
        free_request(r);
    }
}

/* --- the request --- */

static int push_handler(lua_State *L, void *arg)
{
    struct request *r = arg;

    sl_server_push_handler(L, &r->conn->of->server);
    sl_handle_push(L, r->handle);
    return 2;
}

static int push_admit(lua_State *L, void *arg)
{
    struct request *r = arg;

    lua_rawgeti(L, LUA_REGISTRYINDEX, r->conn->of->admit);
    sl_handle_push(L, r->handle);
    return 2;
}

static void collect(struct sl_handle *h);

static bool make_handle(struct request *r)
{
    struct sl_handle *h = sl_handle_new(r->conn->of->server.script, SL_HANDLE_REQ);

    if (h == NULL)
        return false;
    h->ex = r->ex;
    h->peer = r->ex->peer;
    h->ctx_ref = LUA_NOREF;
    h->owner = r;
    r->handle = h;
    return true;
}

static void run(struct request *r, int (*push)(lua_State *, void *),
                void (*on_end)(struct sl_task *, enum sl_task_end))
{
    struct sl_task_opts opts = {SL_CONTEXT_HANDLER, "http server", on_end, r};
    struct sl_task *task;

    r->is_running = r->conn->has_task = true;
    task = sl_task_run(r->conn->of->server.script, &opts, push, r);
    if (task == NULL)
        return; /* it has ended, and `r` may be gone */
    r->task = task;
    if (r->ex == NULL)
        sl_task_cancel(task);
}

static void run_handler(struct request *r)
{
    if (r->conn->of->server.listener == NULL || !make_handle(r)) {
        sl_exchange_fail(r->ex, 503);
        return;
    }
    r->handle->has_body = r->ex->request_ended;
    r->handle->collect = collect;
    run(r, push_handler, on_handler_end);
}

/* nil: the handler is asked. Anything else is the answer, as from the handler. */
static void on_admit_end(struct sl_task *task, enum sl_task_end end)
{
    struct request *r = sl_task_user(task);
    struct sl_verdict v = {0};
    struct sl_err err;

    if (end != SL_TASK_RETURNED || r->ex == NULL ||
        sl_verb_read(task, r->handle, ANSWERS, &v, &err) < 0 || v.kind != SL_VERDICT_NONE) {
        on_handler_end(task, end);
        return;
    }
    r->is_running = r->conn->has_task = false;
    r->task = NULL;
    end_handle(r);
    run_handler(r);
}

static void run_admit(struct request *r)
{
    if (!make_handle(r)) {
        sl_exchange_fail(r->ex, 503);
        return;
    }
    r->handle->has_body = true; /* an empty one: nothing was read yet */
    run(r, push_admit, on_admit_end);
}

/* --- its body, whole --- */

/* 0, or the status with which these bytes are refused. Clients that each send a body of the largest
   size must not use up the memory together. */
static int refuse_body(const struct request *r, size_t len)
{
    const struct http_server *s = r->conn->of;
    uint64_t length = r->ex->req.content_length;

    if (sl_buf_len(&r->body) + len > s->max_body ||
        (length != SL_LENGTH_UNKNOWN && length > s->max_body))
        return 413;
    return s->held + len > SL_MAX(s->max_body, MAX_BODY) * BODIES ? 503 : 0;
}

/* Outside of Lua. */
static void refuse(void *user)
{
    struct request *r = user;

    if (r->task != NULL)
        sl_task_cancel(r->task);
}

static void collect(struct sl_handle *h)
{
    struct request *r = h->owner;

    r->is_collecting = true;
    r->refusal = refuse_body(r, 0);
    if (r->refusal != 0)
        sl_loop_soon(r->ex->loop, &r->soon, refuse, r);
    else
        sl_exchange_read(r->ex, true);
}

static void take_body(struct request *r, const uint8_t *bytes, size_t len, bool fin)
{
    r->refusal = refuse_body(r, len);
    if (r->refusal != 0) {
        r->is_collecting = false;
        drop_body(r); /* others may have its room at once */
        sl_exchange_read(r->ex, false);
        sl_loop_soon(r->ex->loop, &r->soon, refuse, r);
        return;
    }
    sl_buf_append(&r->body, bytes, len);
    r->conn->of->held += len;
    if (!fin)
        return;
    r->is_collecting = false;
    r->handle->body = sl_buf_str(&r->body);
    sl_handle_got_body(r->handle);
}

static void on_body(struct sl_exchange *ex, const uint8_t *bytes, size_t len, bool fin)
{
    struct request *r = ex->user;

    if (r->is_collecting)
        take_body(r, bytes, len, fin);
    else if (r->handle != NULL && r->handle->in != NULL)
        sl_intake_arrived(r->handle->in, bytes, len, fin);
}

static void on_written(struct sl_exchange *ex SL_UNUSED)
{
    /* the answer is one write */
}

static void on_done(struct sl_exchange *ex)
{
    free_request(ex->user);
}

static void on_abort(struct sl_exchange *ex, int code SL_UNUSED)
{
    struct request *r = ex->user;

    r->ex = NULL;
    if (!r->is_running)
        free_request(r);
    else if (r->task != NULL)
        sl_task_cancel(r->task);
}

static void on_request(struct sl_exchange *ex)
{
    static const struct sl_exchange_handler handler = {on_body, on_written, on_done, on_abort};
    struct conn *c = ex->peer->user;
    struct request *r = sl_zalloc(sizeof(*r));

    r->conn = c;
    r->ex = ex;
    ex->handler = &handler;
    ex->user = r;
    if (!ex->request_ended && c->of->admit != LUA_NOREF)
        run_admit(r);
    else
        run_handler(r);
}

/* --- connections --- */

static void on_closed(const struct sl_peer *peer)
{
    struct conn *c = peer->user;
    struct http_server *of = c->of;

    sl_link_remove(&c->link);
    sl_loop_defer(of->server.loop, c, sl_free);
    sl_server_conn_ended(&of->server);
}

static void fill_peer(struct conn *c, const struct sl_stream *stream, const struct sl_addr *remote)
{
    c->peer.user = c;
    c->peer.remote = *remote;
    if (sl_tcp_addrs(stream, &c->peer.local, NULL) < 0)
        c->peer.local = *remote;
    sl_addr_to_ip16(remote, c->peer.ip16);
}

/* At the limit the connection that has waited longest for its next request gives way, so that idle
   clients cannot keep others out. */
static void close_an_idle_one(struct http_server *s)
{
    sl_list_each(&s->conns, it)
    {
        struct conn *c = sl_container_of(it, struct conn, link);

        if (c->http != NULL && sl_http_conn_is_idle(c->http)) {
            sl_http_conn_drain(c->http);
            return;
        }
    }
}

static void on_accept(struct sl_server *server, int fd, const struct sl_addr *remote)
{
    struct http_server *s = server_of(server);
    struct sl_stream *stream = sl_tcp_new(server->loop, fd);
    struct conn *c = sl_zalloc(sizeof(*c));

    c->of = s;
    fill_peer(c, stream, remote);
    sl_list_append(&s->conns, &c->link);
    sl_server_conn_began(server);
    if (server->n_conns >= server->max_conns)
        close_an_idle_one(s);
    c->http = sl_h1_serve(&stream, &s->service, &c->peer, NULL, 0);
}

/* Handlers that are at work may finish; nothing else is waited for. */
static void on_close(struct sl_server *server)
{
    struct http_server *s = server_of(server);

    sl_unref(server->script, s->admit);
    s->admit = LUA_NOREF;

    sl_list_each(&s->conns, it)
    {
        struct conn *c = sl_container_of(it, struct conn, link);

        if (c->has_task)
            sl_http_conn_drain(c->http);
        else if (c->ws == NULL || !sl_ws_serving_leave(c->ws))
            sl_http_conn_kill(c->http);
    }
}

/* One that could not listen was never closed. */
static void free_server(struct sl_server *server)
{
    struct http_server *s = server_of(server);

    if (s->admit != LUA_NOREF)
        sl_unref(server->script, s->admit);
    sl_free(s);
}

static int serve(lua_State *L)
{
    static const char *const names[] = {
        "host", "port", "unix", "max_body", "handler", "admit", "max_connections", NULL};
    static const struct sl_server_ops ops = {on_accept, on_close, free_server};
    struct http_server *s;

    luaL_checktype(L, 1, LUA_TTABLE);
    sl_arg_options(L, 1, names);
    lua_settop(L, 1);
    s = sl_server_new(L, sizeof(*s), &ops);
    s->admit = LUA_NOREF;
    s->max_body = (uint64_t)sl_opt_int(L, 1, "max_body", 0, MOST_BODY, MAX_BODY);
    lua_getfield(L, 1, "admit");
    if (!lua_isnil(L, -1))
        s->admit = sl_ref_function(L, lua_gettop(L));
    lua_settop(L, 2);
    s->service = (struct sl_http_service){
        .on_request = on_request, .on_closed = on_closed, .limits = sl_http_limits_default};
    s->service.limits.upgrade_timeout = 0; /* WebSockets look for dead peers themselves */
    sl_list_init(&s->conns);
    return sl_server_open(L, &s->server);
}

void sl_bind_serve(lua_State *L)
{
    static const struct luaL_Reg functions[] = {{"serve", serve}, {NULL, NULL}};

    sl_bind_outlet(L);
    sl_bind_functions(L, functions);
}
