#include "script/websock.h"

#include <stdio.h>
#include "http/utf8.h"
#include "http/ws_handshake.h"
#include "script/library.h"

enum {
    READ_AHEAD = 64 * 1024, /* bytes, */
    MAX_AHEAD = 256,        /* and messages, that wait for the script */
    SERVER_MESSAGE = 1024 * 1024,
    MOST_MESSAGE = 1024 * 1024 * 1024,
    MOST_SECONDS = 24 * 3600,
};

/* A message that the script has not asked for yet. */
struct received {
    struct sl_link link;
    enum sl_ws_kind kind;
    size_t len;
    char bytes[];
};

/* A task that waits until its message is out. */
struct sender {
    struct sl_link link;
    struct sl_websock *of;
    struct sl_task *task;
    bool is_taken; /* the message is on its way */
    enum sl_ws_kind kind;
    size_t len;
    char bytes[];
};

struct sl_websock {
    struct sl_loop *loop;
    struct sl_websock **object; /* Lua's pointer to it; NULL: collected */
    const struct sl_websock_channel *channel;
    void *user;       /* of the channel */
    struct sl_ws *ws; /* NULL: the channel was closed */
    char *protocol;   /* NULL: none */
    struct sl_list inbox;
    size_t inbox_len, n_inbox;
    struct sl_task *receiver; /* NULL: nobody waits */
    bool wants_json;          /* the receiver */
    struct sl_timer timer;    /* of the receiver */
    struct sl_list senders;
    bool is_blocked;          /* no message can be taken until on_sent() */
    struct sl_task_link soon; /* tells those who wait that it ended */
    int code;                 /* of the close */
    char reason[SL_WS_MAX_REASON + 1];
    bool is_closed, is_kept, is_freed;
};

/* --- life --- */

static void free_websock(void *ptr)
{
    struct sl_websock *s = ptr;

    for (struct sl_link *it; (it = sl_list_pop(&s->inbox)) != NULL;)
        sl_free(sl_container_of(it, struct received, link));
    sl_free(s->protocol);
    sl_free(s);
}

static void free_if_over(struct sl_websock *s)
{
    if (s->object != NULL || s->is_kept || s->ws != NULL || s->receiver != NULL ||
        !sl_list_is_empty(&s->senders) || s->is_freed)
        return;
    s->is_freed = true;
    sl_loop_unsoon(&s->soon);
    sl_loop_defer(s->loop, s, free_websock);
}

static void close_channel(struct sl_websock *s)
{
    if (s->ws == NULL)
        return;
    sl_ws_free(&s->ws);
    s->channel->close(s->user);
}

static void tell(void *user);

/* How it ended; who waits hears of it at the end of the turn. */
static void note_end(struct sl_websock *s, int code, struct sl_str reason)
{
    if (s->is_closed)
        return;
    s->is_closed = true;
    s->code = code;
    snprintf(s->reason, sizeof(s->reason), "%.*s", SL_STR_FMT(reason));
    sl_loop_soon(s->loop, &s->soon, tell, s);
}

/* Lua let go of it, and nobody waits: the peer is told, not waited for. */
static void close_if_lost(struct sl_websock *s)
{
    if (s->object != NULL || s->is_kept || s->receiver != NULL || !sl_list_is_empty(&s->senders))
        return;
    if (s->ws != NULL)
        sl_ws_close(s->ws, SL_WS_GOING_AWAY, SL_STR_NONE);
    close_channel(s);
    free_if_over(s);
}

struct sl_ws *sl_websock_ws(struct sl_websock *s)
{
    return s->ws;
}

void sl_websock_keep(struct sl_websock *s)
{
    s->is_kept = true;
}

void sl_websock_release(struct sl_websock *s, int code)
{
    s->is_kept = false;
    if (s->ws != NULL)
        sl_ws_close(s->ws, code, SL_STR_NONE);
    free_if_over(s);
}

/* --- receiving --- */

static bool is_full(const struct sl_websock *s)
{
    return s->inbox_len >= READ_AHEAD || s->n_inbox >= MAX_AHEAD;
}

static struct sl_task *take_receiver(struct sl_websock *s)
{
    struct sl_task *task = s->receiver;

    s->receiver = NULL;
    sl_timer_clear(&s->timer);
    return task;
}

/* JSON is read where it lies: a Lua string of the whole would be another copy of what is large. */
static int push_message(lua_State *L, enum sl_ws_kind kind, struct sl_str bytes, bool as_json)
{
    if (!as_json) {
        lua_pushlstring(L, bytes.p, bytes.len);
    } else if (sl_push_json(L, bytes) != 1) {
        lua_pushliteral(L, "invalid");
        return 3;
    }
    lua_pushstring(L, kind == SL_WS_TEXT ? "text" : "binary");
    return 2;
}

struct arrival {
    enum sl_ws_kind kind;
    struct sl_str bytes;
    bool as_json;
};

static int push_arrival(lua_State *L, void *arg)
{
    const struct arrival *a = arg;

    return push_message(L, a->kind, a->bytes, a->as_json);
}

static void keep_message(struct sl_websock *s, enum sl_ws_kind kind, struct sl_str bytes)
{
    struct received *m = sl_alloc(sizeof(*m) + bytes.len + 1);

    m->link = (struct sl_link){0};
    m->kind = kind;
    m->len = bytes.len;
    memcpy(m->bytes, bytes.p, bytes.len + 1);
    sl_list_append(&s->inbox, &m->link);
    s->inbox_len += bytes.len;
    s->n_inbox++;
    if (is_full(s))
        sl_ws_read(s->ws, false);
}

static void on_message(void *user, enum sl_ws_kind kind, struct sl_str bytes)
{
    struct sl_websock *s = user;
    struct arrival a = {kind, bytes, s->wants_json};

    if (s->receiver != NULL)
        sl_task_resume(take_receiver(s), push_arrival, &a);
    else
        keep_message(s, kind, bytes);
}

static int push_first(lua_State *L, struct sl_websock *s, bool as_json)
{
    struct received *m = sl_container_of(sl_list_first(&s->inbox), struct received, link);
    int n = push_message(L, m->kind, sl_str(m->bytes, m->len), as_json);

    sl_link_remove(&m->link);
    s->inbox_len -= m->len;
    s->n_inbox--;
    sl_free(m);
    if (s->ws != NULL && !is_full(s))
        sl_ws_read(s->ws, true);
    return n;
}

static const char *reason_of(const struct sl_websock *s)
{
    return s->reason[0] != '\0' ? s->reason : "closed";
}

static int push_end(lua_State *L, void *arg)
{
    const struct sl_websock *s = arg;

    lua_pushnil(L);
    lua_pushstring(L, reason_of(s));
    lua_pushinteger(L, s->code);
    return 3;
}

static void on_receive_due(struct sl_timer *t)
{
    sl_task_resume_error(take_receiver(t->user), "timed out");
}

static void cancel_receive(void *op)
{
    struct sl_websock *s = op;

    take_receiver(s);
    close_if_lost(s);
}

/* --- sending --- */

static void free_sender(struct sender *w)
{
    sl_link_remove(&w->link);
    sl_free(w);
}

static void cancel_send(void *op)
{
    struct sender *w = op;
    struct sl_websock *s = w->of;

    free_sender(w);
    close_if_lost(s);
}

static struct sender *add_sender(struct sl_websock *s, struct sl_task *task, enum sl_ws_kind kind,
                                 struct sl_str bytes, bool is_taken)
{
    size_t len = is_taken ? 0 : bytes.len;
    struct sender *w = sl_zalloc(sizeof(*w) + len);

    w->of = s;
    w->task = task;
    w->kind = kind;
    w->is_taken = is_taken;
    w->len = len;
    memcpy(w->bytes, len > 0 ? bytes.p : "", len);
    sl_list_append(&s->senders, &w->link);
    return w;
}

/* In their order, until one has to wait again. `s` outlives the turn whatever the tasks do. */
static void serve_senders(struct sl_websock *s)
{
    struct sl_link *it;

    while (!s->is_blocked && s->ws != NULL && (it = sl_list_first(&s->senders)) != NULL) {
        struct sender *w = sl_container_of(it, struct sender, link);
        struct sl_task *task = w->task;
        int rc = w->is_taken ? 0 : sl_ws_send(s->ws, w->kind, sl_str(w->bytes, w->len));

        w->is_taken = true;
        s->is_blocked = rc == SL_E_AGAIN;
        if (rc < 0)
            return; /* on_sent() comes, or the end does */
        free_sender(w);
        sl_task_resume_true(task);
    }
}

static void on_sent(void *user)
{
    struct sl_websock *s = user;

    s->is_blocked = false;
    serve_senders(s);
}

/* --- the end --- */

static void on_closed(void *user, int code, struct sl_str reason)
{
    note_end(user, code, reason);
}

static void on_over(void *user)
{
    struct sl_websock *s = user;

    close_channel(s);
    free_if_over(s);
}

/* Messages that came before the end can still be received. */
static void tell(void *user)
{
    struct sl_websock *s = user;
    struct sl_link *it;

    while ((it = sl_list_first(&s->senders)) != NULL) {
        struct sender *w = sl_container_of(it, struct sender, link);
        struct sl_task *task = w->task;

        free_sender(w);
        sl_task_resume_error(task, reason_of(s));
    }
    if (s->receiver != NULL)
        sl_task_resume(take_receiver(s), push_end, s);
    close_if_lost(s);
}

/* --- methods --- */

static struct sl_websock *check_websock(lua_State *L)
{
    return *(struct sl_websock **)sl_object_check(L, 1, "ws");
}

static int receive(lua_State *L, bool as_json)
{
    struct sl_websock *s = check_websock(L);
    double timeout = lua_isnoneornil(L, 2) ? -1 : sl_arg_seconds(L, 2);
    struct sl_task *task = sl_task_must_wait(L, "ws:receive");

    if (s->receiver != NULL)
        return luaL_error(L, "ws:receive: another task is receiving");
    if (!sl_list_is_empty(&s->inbox))
        return push_first(L, s, as_json);
    if (s->is_closed)
        return push_end(L, s);
    s->receiver = task;
    s->wants_json = as_json;
    if (timeout >= 0)
        sl_timer_set(&s->timer, timeout * 1e3);
    return sl_task_wait(task, cancel_receive, s);
}

static int ws_receive(lua_State *L)
{
    return receive(L, false);
}

static int ws_receive_json(lua_State *L)
{
    return receive(L, true);
}

static enum sl_ws_kind kind_arg(lua_State *L, int arg)
{
    static const char *const names[] = {"text", "binary", NULL};

    return luaL_checkoption(L, arg, "text", names) == 0 ? SL_WS_TEXT : SL_WS_BINARY;
}

static int ws_send(lua_State *L)
{
    struct sl_websock *s = check_websock(L);
    struct sl_str bytes = sl_arg_str(L, 2);
    enum sl_ws_kind kind = kind_arg(L, 3);
    struct sl_task *task = sl_task_must_wait(L, "ws:send");
    bool must_queue;
    int rc;

    if (kind == SL_WS_TEXT && !sl_utf8_ok(bytes))
        return sl_push_failure(L, "text must be UTF-8; send other bytes as \"binary\"");
    if (s->ws == NULL || !sl_ws_is_open(s->ws))
        return sl_push_failure(L, reason_of(s));
    must_queue = s->is_blocked || !sl_list_is_empty(&s->senders);
    rc = must_queue ? SL_E_AGAIN : sl_ws_send(s->ws, kind, bytes);
    if (!must_queue)
        s->is_blocked = rc == SL_E_AGAIN;
    if (rc == SL_E_AGAIN)
        return sl_task_wait(task, cancel_send, add_sender(s, task, kind, bytes, !must_queue));
    if (rc < 0)
        return sl_push_failure(L, rc == SL_E_CLOSED ? "closed" : sl_error_text(rc));
    lua_pushboolean(L, 1);
    return 1;
}

static int ws_close(lua_State *L)
{
    struct sl_websock *s = check_websock(L);
    int code = (int)sl_arg_opt_int(L, 2, 1000, 4999, SL_WS_NORMAL);
    struct sl_str reason = sl_arg_opt_str(L, 3, SL_STR(""));

    luaL_argcheck(L, sl_ws_code_ok(code), 2, "not a code that may be sent (1000, 3000 to 4999, …)");
    luaL_argcheck(L, reason.len <= SL_WS_MAX_REASON && sl_utf8_ok(reason), 3,
                  "UTF-8 of at most 123 bytes expected");
    if (s->ws != NULL)
        sl_ws_close(s->ws, code, reason);
    return 0;
}

static int ws_protocol(lua_State *L)
{
    lua_pushstring(L, check_websock(L)->protocol); /* NULL becomes nil */
    return 1;
}

static int ws_gc(lua_State *L)
{
    struct sl_websock **object = lua_touserdata(L, 1), *s = *object;

    if (s == NULL)
        return 0;
    *object = NULL;
    s->object = NULL;
    close_if_lost(s);
    free_if_over(s);
    return 0;
}

/* --- making one --- */

static int write_channel(void *user, const struct iovec *iov, int n_iov, bool fin)
{
    struct sl_websock *s = user;

    return s->channel->io.write(s->user, iov, n_iov, fin);
}

static void read_channel(void *user, bool on)
{
    struct sl_websock *s = user;

    s->channel->io.read(s->user, on);
}

struct sl_websock *sl_websock_push(lua_State *L, const struct sl_websock_opts *opts)
{
    static const struct sl_ws_io io = {write_channel, read_channel};
    static const struct sl_ws_handler handler = {on_message, on_sent, on_closed, on_over};
    struct sl_websock **object = sl_object_new(L, "ws", sizeof(*object));
    struct sl_websock *s = sl_zalloc(sizeof(*s));

    *object = s;
    s->object = object;
    s->loop = opts->loop;
    s->channel = opts->channel;
    s->user = opts->user;
    if (opts->protocol.len > 0)
        s->protocol = sl_strndup(opts->protocol.p, opts->protocol.len);
    sl_list_init(&s->inbox);
    sl_list_init(&s->senders);
    sl_timer_init(&s->timer, s->loop, on_receive_due, s);
    s->ws = sl_ws_new(s->loop, &opts->ws, &io, &handler, s);
    sl_ws_read(s->ws, true);
    return s;
}

static uint32_t ms_option(lua_State *L, int arg, const char *name, uint32_t otherwise)
{
    return (uint32_t)(SL_MIN(sl_opt_seconds(L, arg, name, otherwise / 1e3), MOST_SECONDS) * 1e3);
}

void sl_websock_read_opts(lua_State *L, int arg, bool is_client, struct sl_ws_opts *opts)
{
    int64_t usual = is_client ? (int64_t)sl_ws_opts_default.max_message : SERVER_MESSAGE;

    *opts = sl_ws_opts_default;
    opts->is_client = is_client;
    opts->max_message = (size_t)sl_opt_int(L, arg, "max_message", 1, MOST_MESSAGE, usual);
    opts->ping_interval = ms_option(L, arg, "ping_interval", opts->ping_interval);
    opts->ping_timeout = ms_option(L, arg, "ping_timeout", opts->ping_timeout);
}

struct sl_str sl_websock_push_protocols(lua_State *L, int arg)
{
    struct sl_str list;
    luaL_Buffer b;
    int table, n;

    if (lua_isnoneornil(L, arg))
        lua_pushnil(L);
    else
        lua_getfield(L, arg, "protocols");
    table = lua_gettop(L);
    if (!lua_isnil(L, table) && !lua_istable(L, table))
        luaL_error(L, "option protocols: an array of names expected, got %s",
                   luaL_typename(L, table));
    n = lua_istable(L, table) ? (int)lua_objlen(L, table) : 0;
    luaL_buffinit(L, &b);
    for (int i = 1; i <= n; i++) {
        if (i > 1)
            luaL_addstring(&b, ", ");
        lua_rawgeti(L, table, i);
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "option protocols: names must be strings");
        luaL_addvalue(&b);
    }
    luaL_pushresult(&b);
    lua_remove(L, table);
    list.p = lua_tolstring(L, -1, &list.len);
    if (list.len > 0 && !sl_ws_protocols_ok(list))
        luaL_error(L, "option protocols: \"%s\" is not a list of different tokens", list.p);
    return list;
}

void sl_bind_websock(lua_State *L)
{
    static const struct luaL_Reg methods[] = {
        {"receive", ws_receive}, {"receive_json", ws_receive_json}, {"send", ws_send},
        {"close", ws_close},     {"protocol", ws_protocol},         {NULL, NULL},
    };

    sl_bind_class(L, "ws", methods, ws_gc);
}
