#include "script/ws_serve.h"

#include "http/ws_handshake.h"
#include "script/fields.h"
#include "script/internal.h"
#include "script/library.h"

struct sl_ws_serving {
    struct sl_script *script; /* not after the task has ended */
    struct sl_loop *loop;
    struct sl_exchange *ex;  /* NULL once it ended */
    struct sl_websock *sock; /* NULL before the task runs */
    struct sl_ws_opts opts;
    struct sl_str protocol; /* in the arena of the exchange: until the socket is made */
    int fn;
    bool has_channel; /* the socket may be fed */
    bool has_ended;   /* the last that we say was written, or is on its way */
    bool is_starting; /* the head of the answer is still on its way */
    bool is_running;  /* the task */
    void (*on_gone)(void *user, int status, const char *error);
    void *user;
};

/* --- life --- */

static void free_if_over(struct sl_ws_serving *v)
{
    if (v->ex == NULL && !v->is_running && !v->has_channel)
        sl_loop_defer(v->loop, v, sl_free);
}

/* The exchange is no more, and its owner forgets it. */
static void lose_exchange(struct sl_ws_serving *v)
{
    v->ex = NULL;
    v->on_gone(v->user, 101, NULL);
}

static void abort_exchange(struct sl_ws_serving *v)
{
    struct sl_exchange *ex = v->ex;

    if (ex == NULL)
        return;
    lose_exchange(v);
    sl_exchange_abort(ex);
}

/* --- the channel --- */

static int write_exchange(void *user, const struct iovec *iov, int n_iov, bool fin)
{
    struct sl_ws_serving *v = user;
    int rc = v->ex != NULL ? sl_exchange_write(v->ex, iov, n_iov, fin) : SL_E_CLOSED;

    v->has_ended = fin && (rc == 0 || rc == SL_E_AGAIN);
    return rc;
}

static void read_exchange(void *user, bool on)
{
    struct sl_ws_serving *v = user;

    if (v->ex != NULL)
        sl_exchange_read(v->ex, on);
}

/* Once both sides have ended, the exchange does by itself, after what we have said last. */
static void close_channel(void *user)
{
    struct sl_ws_serving *v = user;

    v->has_channel = false;
    if (v->ex == NULL || !v->has_ended || !v->ex->request_ended)
        abort_exchange(v);
    free_if_over(v);
}

/* --- the task --- */

static int push_call(lua_State *L, void *arg)
{
    static const struct sl_websock_channel channel = {{write_exchange, read_exchange},
                                                      close_channel};
    struct sl_ws_serving *v = arg;
    struct sl_websock_opts opts = {v->loop, v->opts, v->protocol, &channel, v};

    lua_rawgeti(L, LUA_REGISTRYINDEX, v->fn);
    luaL_unref(L, LUA_REGISTRYINDEX, v->fn);
    v->fn = LUA_NOREF;
    v->sock = sl_websock_push(L, &opts);
    v->has_channel = true;
    sl_websock_keep(v->sock);
    if (v->ex == NULL) /* the client went while the task was queued */
        sl_ws_broken(sl_websock_ws(v->sock), SL_E_CLOSED);
    return 2;
}

static int code_of(enum sl_task_end end)
{
    if (end == SL_TASK_RETURNED)
        return SL_WS_NORMAL;
    return end == SL_TASK_THREW ? SL_WS_INTERNAL_ERROR : SL_WS_GOING_AWAY;
}

/* The closing handshake goes on without the script, unless that goes away itself. */
static void on_task_end(struct sl_task *task, enum sl_task_end end)
{
    struct sl_ws_serving *v = sl_task_user(task);
    struct sl_websock *sock = v->sock;

    v->is_running = false;
    if (sock == NULL) {
        abort_exchange(v);
        free_if_over(v);
        return;
    }
    v->sock = v->has_channel ? sock : NULL;
    sl_websock_release(sock, code_of(end));
    if (end == SL_TASK_CANCELLED && v->has_channel)
        sl_ws_broken(sl_websock_ws(sock), SL_E_CANCELLED);
    else if (!v->has_channel)
        free_if_over(v);
}

static void run(struct sl_ws_serving *v)
{
    struct sl_task_opts opts = {
        .context = SL_CONTEXT_HANDLER, .what = "websocket", .on_end = on_task_end, .user = v};

    v->is_starting = false;
    v->is_running = true;
    sl_task_run(v->script, &opts, push_call, v); /* `v` may be gone after this */
}

/* --- the exchange --- */

static void on_body(struct sl_exchange *ex, const uint8_t *bytes, size_t len, bool fin)
{
    struct sl_ws_serving *v = ex->user;

    if (v->has_channel && len > 0)
        sl_ws_input(sl_websock_ws(v->sock), bytes, len);
    if (fin && v->has_channel)
        sl_ws_input_end(sl_websock_ws(v->sock));
}

static void on_written(struct sl_exchange *ex)
{
    struct sl_ws_serving *v = ex->user;

    if (v->is_starting)
        run(v);
    else if (v->has_channel)
        sl_ws_written(sl_websock_ws(v->sock));
}

static void on_abort(struct sl_exchange *ex, int code)
{
    struct sl_ws_serving *v = ex->user;

    lose_exchange(v);
    if (v->is_starting)
        sl_unref(v->script, v->fn);
    if (v->has_channel)
        sl_ws_broken(sl_websock_ws(v->sock), code);
    else
        free_if_over(v);
}

static void on_done(struct sl_exchange *ex)
{
    on_abort(ex, SL_E_CLOSED);
}

static void refuse(struct sl_exchange *ex, int status)
{
    struct sl_headers headers = {0};
    struct sl_str type, body = sl_exchange_error_body(ex, status, &type);

    if (status == 426)
        sl_ws_require(&headers, &ex->arena);
    sl_exchange_reply(ex, status, type, body, &headers);
}

static void take_exchange(struct sl_ws_serving *v, struct sl_exchange *ex,
                          const struct sl_ws_verb *verb)
{
    static const struct sl_exchange_handler handler = {on_body, on_written, on_done, on_abort};
    struct sl_response res = {0};

    v->ex = ex;
    ex->handler = &handler;
    ex->user = v;
    res.headers = verb->headers;
    sl_ws_answer(&res, &ex->arena, &ex->req, verb->protocols, &v->protocol);
    sl_exchange_respond(ex, &res);
    v->is_starting = true;
    if (sl_exchange_write(ex, NULL, 0, false) == 0)
        run(v); /* else when it was written, or never */
}

int sl_ws_serve(struct sl_ws_serving **out, struct sl_exchange *ex, const struct sl_ws_verb *verb,
                void (*on_gone)(void *user, int status, const char *error), void *user)
{
    int status = sl_ws_check_request(&ex->req);
    struct sl_ws_serving *v;

    if (status != 0) {
        sl_unref(verb->script, verb->fn);
        refuse(ex, status);
        return status;
    }
    v = sl_zalloc(sizeof(*v));
    v->script = verb->script;
    v->loop = ex->loop;
    v->opts = verb->opts;
    v->fn = verb->fn;
    v->on_gone = on_gone;
    v->user = user;
    *out = v;
    take_exchange(v, ex, verb);
    return 0;
}

/* --- the verb --- */

static int serve(void *serving, struct sl_exchange *ex,
                 void (*on_gone)(void *user, int status, const char *error), void *user)
{
    struct sl_ws_serving *v;

    return sl_ws_serve(&v, ex, serving, on_gone, user);
}

/* The handshake is ours to write. */
static bool is_handshake(struct sl_str name)
{
    struct sl_str prefix = SL_STR("sec-websocket-");

    return name.len >= prefix.len && sl_str_ieq(sl_str(name.p, prefix.len), prefix);
}

static void add_header(lua_State *L, struct sl_str name, struct sl_str value, void *user)
{
    struct sl_ws_verb *verb = user;

    sl_check_header(L, name, value);
    if (is_handshake(name))
        luaL_error(L, "websocket.headers: %s cannot be set, it follows from the request", name.p);
    sl_headers_add(&verb->headers, verb->arena, sl_arena_dup(verb->arena, name),
                   sl_arena_dup(verb->arena, value));
}

void sl_ws_verb_read(lua_State *L, struct sl_arena *arena, struct sl_verdict *v)
{
    struct sl_ws_verb *verb = sl_arena_alloc(arena, sizeof(*verb));

    *verb = (struct sl_ws_verb){.script = sl_script_of(L), .arena = arena};
    sl_websock_read_opts(L, 1, false, &verb->opts);
    verb->protocols = sl_arena_dup(arena, sl_websock_push_protocols(L, 1));
    lua_getfield(L, 1, "headers");
    sl_fields_each(L, "websocket.headers", add_header, verb);
    lua_pop(L, 1);
    sl_opt_function(L, 1, "fn");
    verb->fn = luaL_ref(L, LUA_REGISTRYINDEX);
    v->serve = serve;
    v->serving = verb;
}

bool sl_ws_serving_leave(struct sl_ws_serving *v)
{
    if (!v->is_running)
        return false;
    if (v->has_channel)
        sl_ws_close(sl_websock_ws(v->sock), SL_WS_GOING_AWAY, SL_STR_NONE);
    return true;
}
