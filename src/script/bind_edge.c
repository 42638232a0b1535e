/*
 * sluice.tunnel.edge: connects, accepts, and hears of what happens (script/tunnels.h).
 *
 * An object listens to its edge from the beginning, and keeps what no script has asked for yet: the
 * newest config and the end of the link, which is all there can be. At most two tasks wait on it,
 * one in connect() or accept() and one in event(); while they do, their stacks hold it.
 */
#include "codec/tunnel_greeting.h"
#include "script/bind_tunnel.h"

enum { TIMEOUT_MS = 5000, MOST_MS = 24 * 3600 * 1000, PIN_LEN = 32 };

enum step { STEP_NONE, STEP_CONNECT, STEP_ACCEPT };

/* Lua holds a pointer to it. */
struct edge {
    const struct sl_script_tunnels *tunnels;
    struct sl_script_edge *edge; /* NULL once it was closed, lost, or its script has retired */
    struct sl_loop *loop;
    struct sl_script_owned owned;
    struct sl_task *trying; /* in connect() or accept(), as `step` says */
    enum step step;
    bool is_answered;          /* accept() makes sense */
    struct sl_task *listening; /* in event() */
    struct sl_timer timeout;   /* of event() */
    struct sl_task_link soon;  /* tells those who wait that it is over */
    struct sl_buf config, why; /* of the events that wait */
    bool has_config, is_down;
};

static const char class_name[] = "edge";

/* --- the end --- */

static struct sl_task *take_trying(struct edge *e)
{
    struct sl_task *task = e->trying;

    e->trying = NULL;
    e->step = STEP_NONE;
    return task;
}

static struct sl_task *take_listening(struct edge *e)
{
    struct sl_task *task = e->listening;

    e->listening = NULL;
    sl_timer_clear(&e->timeout);
    return task;
}

static int push_closed(lua_State *L, void *arg SL_UNUSED)
{
    sl_push_failure(L, "closed");
    lua_pushliteral(L, "closed");
    return 3;
}

/* Whoever is told first may cancel the other. */
static void tell_closed(void *user)
{
    struct edge *e = user;

    if (e->trying != NULL)
        sl_task_resume(take_trying(e), push_closed, NULL);
    if (e->listening != NULL)
        sl_task_resume(take_listening(e), push_closed, NULL);
}

/* Who waits hears of it at the end of the turn: this may be inside the end of the script. */
static void end(struct edge *e)
{
    if (e->edge == NULL)
        return;
    e->tunnels->edge_release(e->edge, e);
    e->edge = NULL;
    sl_link_remove(&e->owned.link);
    sl_loop_soon(e->loop, &e->soon, tell_closed, e);
}

static void on_retire(struct sl_script_owned *o)
{
    end(sl_container_of(o, struct edge, owned));
}

static void free_edge(void *ptr)
{
    struct edge *e = ptr;

    sl_buf_clear(&e->config);
    sl_buf_clear(&e->why);
    sl_free(e);
}

/* Nobody waits: a task that does holds the object. */
static int edge_gc(lua_State *L)
{
    struct edge *e = *(struct edge **)lua_touserdata(L, 1);

    if (e == NULL)
        return 0;
    end(e);
    sl_timer_clear(&e->timeout);
    sl_loop_unsoon(&e->soon);
    sl_loop_defer(e->loop, e, free_edge);
    return 0;
}

/* --- what happens to an attempt --- */

static int push_answer(lua_State *L, void *arg)
{
    const struct sl_edge_event *event = arg;

    lua_pushlstring(L, event->text.p, event->text.len);
    return 1;
}

static int push_up(lua_State *L, void *arg)
{
    const struct sl_edge_event *event = arg;

    lua_pushboolean(L, true);
    lua_pushboolean(L, event->resumed);
    return 2;
}

static const char *kind_of(int code)
{
    switch (code) {
    case SL_E_REFUSED:
        return "refused";
    case SL_E_TIMEOUT:
        return "timed out";
    default:
        return "failed";
    }
}

static int push_failed(lua_State *L, void *arg)
{
    const struct sl_edge_event *event = arg;

    lua_pushnil(L);
    lua_pushlstring(L, event->text.p, event->text.len);
    lua_pushstring(L, kind_of(event->code));
    return 3;
}

static void resume(struct edge *e, sl_push_fn *push, const struct sl_edge_event *event)
{
    sl_task_resume(take_trying(e), push, (void *)event);
}

/* --- what happens to the link --- */

/* The event that has waited longest; there is one. */
static int push_event(lua_State *L, void *arg)
{
    struct edge *e = arg;
    bool *kept = e->has_config ? &e->has_config : &e->is_down;
    struct sl_str text = sl_buf_str(e->has_config ? &e->config : &e->why);

    lua_pushstring(L, e->has_config ? "config" : "down");
    lua_pushlstring(L, text.p, text.len);
    *kept = false; /* last: the pushes may throw */
    return 2;
}

static void keep(struct sl_buf *to, bool *is_kept, struct sl_str text)
{
    sl_buf_clear(to); /* a large config is not held for ever */
    sl_buf_append_str(to, text);
    *is_kept = true;
}

static void on_change(struct edge *e, const struct sl_edge_event *event)
{
    if (event->kind == SL_EDGE_EVENT_CONFIG)
        keep(&e->config, &e->has_config, event->text);
    else
        keep(&e->why, &e->is_down, event->text);
    if (e->listening != NULL)
        sl_task_resume(take_listening(e), push_event, e);
}

static void on_event(void *arg, const struct sl_edge_event *event)
{
    struct edge *e = arg;

    switch (event->kind) {
    case SL_EDGE_EVENT_ANSWER:
        e->is_answered = true;
        if (e->step == STEP_CONNECT)
            resume(e, push_answer, event);
        return;
    case SL_EDGE_EVENT_FAILED:
        e->is_answered = false;
        if (e->trying != NULL)
            resume(e, push_failed, event);
        return;
    case SL_EDGE_EVENT_UP:
        if (e->step == STEP_ACCEPT)
            resume(e, push_up, event);
        return;
    case SL_EDGE_EVENT_DOWN:
        if (e->step == STEP_ACCEPT)
            resume(e, push_failed, event);
        else
            on_change(e, event);
        return;
    case SL_EDGE_EVENT_CONFIG:
        on_change(e, event);
        return;
    case SL_EDGE_EVENT_LOST:
        end(e);
    }
}

/* --- connect and accept --- */

static struct edge *check(lua_State *L)
{
    return *(struct edge **)sl_object_check(L, 1, class_name);
}

/* Throws when another task is at it. */
static struct sl_task *must_try(lua_State *L, const struct edge *e, const char *what)
{
    struct sl_task *task = sl_task_must_wait(L, what);

    if (e->trying != NULL)
        luaL_error(L, "%s: another task is in connect() or accept() of this edge", what);
    return task;
}

static void cancel_trying(void *op)
{
    struct edge *e = op;

    if (e->step == STEP_CONNECT && e->edge != NULL)
        e->tunnels->edge_cancel(e->edge);
    take_trying(e);
}

static int try(struct edge *e, struct sl_task *task, enum step step)
{
    e->trying = task;
    e->step = step;
    return sl_task_wait(task, cancel_trying, e);
}

static enum sl_edge_transport transport_option(lua_State *L)
{
    struct sl_str name = sl_opt_str(L, 2, "transport", SL_STR("tls"));

    if (!sl_str_eq(name, SL_STR("tls")) && !sl_str_eq(name, SL_STR("quic")))
        luaL_error(L, "option transport: \"tls\" or \"quic\" expected, got \"%s\"", name.p);
    return sl_str_eq(name, SL_STR("quic")) ? SL_EDGE_QUIC : SL_EDGE_TLS;
}

/* Raw bytes, exactly so many; NULL when the option is missing. */
static const uint8_t *bytes_option(lua_State *L, const char *name, size_t len)
{
    struct sl_str bytes = sl_opt_str(L, 2, name, SL_STR_NONE);

    if (bytes.p != NULL && bytes.len != len)
        luaL_error(L, "option %s: %d bytes expected, got %d", name, (int)len, (int)bytes.len);
    return (const uint8_t *)bytes.p;
}

static void read_attempt(lua_State *L, struct sl_edge_attempt *a)
{
    static const char *const names[] = {"host",      "port",        "id",  "secret",
                                        "transport", "timeout",     "pin", "verify",
                                        "ca_file",   "server_name", NULL};

    luaL_checktype(L, 2, LUA_TTABLE);
    sl_arg_options(L, 2, names);
    a->host = sl_opt_required_str(L, 2, "host");
    a->port = (uint16_t)sl_opt_int(L, 2, "port", 1, 65535, 0);
    if (a->port == 0)
        luaL_error(L, "option port is missing");
    a->id = sl_opt_required_str(L, 2, "id");
    a->secret = sl_opt_required_str(L, 2, "secret");
    if (!sl_greeting_ok(&(struct sl_greeting){a->id, a->secret}))
        luaL_error(L, "options id and secret: no edge can have these");
    a->transport = transport_option(L);
    a->timeout_ms = SL_MIN(sl_opt_ms(L, 2, "timeout"), MOST_MS);
    if (a->timeout_ms == 0)
        a->timeout_ms = TIMEOUT_MS;
    a->pin = bytes_option(L, "pin", PIN_LEN);
    a->verify = sl_opt_bool(L, 2, "verify", false);
    a->ca_file = sl_opt_str(L, 2, "ca_file", SL_STR_NONE);
    a->server_name = sl_opt_str(L, 2, "server_name", SL_STR_NONE);
}

static int edge_connect(lua_State *L)
{
    struct edge *e = check(L);
    struct sl_edge_attempt attempt = {0};
    struct sl_task *task;

    read_attempt(L, &attempt);
    task = must_try(L, e, "edge:connect");
    if (e->edge == NULL)
        return push_closed(L, NULL);
    e->is_answered = false;
    e->tunnels->edge_connect(e->edge, &attempt);
    return try(e, task, STEP_CONNECT);
}

static void read_terms(lua_State *L, struct sl_edge_terms *terms)
{
    static const char *const names[] = {"ticket", NULL};
    const uint8_t *ticket;

    sl_arg_options(L, 2, names);
    ticket = bytes_option(L, "ticket", SL_RESUME_TICKET);
    terms->is_sluice = ticket != NULL;
    if (ticket != NULL)
        memcpy(terms->ticket, ticket, SL_RESUME_TICKET);
}

/* What was not asked for about the link before is of no use to anybody any more. */
static void forget_events(struct edge *e)
{
    e->has_config = false;
    e->is_down = false;
}

static int edge_accept(lua_State *L)
{
    struct edge *e = check(L);
    struct sl_edge_terms terms = {0};
    struct sl_task *task;

    read_terms(L, &terms);
    task = must_try(L, e, "edge:accept");
    if (e->edge == NULL)
        return push_closed(L, NULL);
    if (!e->is_answered)
        return sl_push_failure(L, "there is no answer to accept");
    e->is_answered = false;
    forget_events(e);
    e->tunnels->edge_accept(e->edge, &terms);
    return try(e, task, STEP_ACCEPT);
}

/* --- event --- */

static void on_timeout(struct sl_timer *t)
{
    sl_task_resume_error(take_listening(t->user), "timed out");
}

static void cancel_listening(void *op)
{
    take_listening(op);
}

static int edge_event(lua_State *L)
{
    struct edge *e = check(L);
    bool has_timeout = !lua_isnoneornil(L, 2);
    double seconds = has_timeout ? sl_arg_seconds(L, 2) : 0;
    struct sl_task *task = sl_task_must_wait(L, "edge:event");

    if (e->listening != NULL)
        return luaL_error(L, "edge:event: another task waits for the events of this edge");
    if (e->has_config || e->is_down)
        return push_event(L, e);
    if (e->edge == NULL)
        return push_closed(L, NULL);
    if (has_timeout)
        sl_timer_set(&e->timeout, seconds * 1e3);
    e->listening = task;
    return sl_task_wait(task, cancel_listening, e);
}

/* --- the rest --- */

static int edge_hang_up(lua_State *L)
{
    static const struct sl_edge_event hung_up = {.text = SL_STR("hung up")};
    struct edge *e = check(L);

    if (e->edge == NULL)
        return 0;
    e->is_answered = false;
    e->tunnels->edge_hang_up(e->edge);
    if (e->step == STEP_CONNECT) /* of which nothing is heard any more */
        resume(e, push_failed, &hung_up);
    return 0;
}

static int edge_give_up(lua_State *L)
{
    struct edge *e = check(L);

    if (e->edge != NULL)
        e->tunnels->edge_give_up(e->edge);
    return 0;
}

static int edge_close(lua_State *L)
{
    struct edge *e = check(L);

    if (e->edge != NULL)
        e->tunnels->edge_close(e->edge); /* tells us so */
    return 0;
}

static int push_status(lua_State *L, void *arg)
{
    const struct sl_script_edge_status *status = arg;

    sl_push_tunnel_status(L, &status->tunnel);
    sl_set_str(L, "answer", status->answer);
    sl_set_str(L, "config", status->config);
    return 1;
}

static void on_status(void *arg, const struct sl_script_edge_status *status)
{
    sl_tunnel_reply(arg, push_status, (void *)status);
}

static int edge_status(lua_State *L)
{
    struct edge *e = check(L);
    struct sl_task *task = sl_task_must_wait(L, "edge:status");
    struct sl_tunnel_question *q;

    if (e->edge == NULL)
        return push_closed(L, NULL);
    q = sl_tunnel_ask(task);
    e->tunnels->edge_status(e->edge, on_status, q);
    return sl_tunnel_await(q);
}

/* --- sluice.tunnel.edge --- */

static void read_options(lua_State *L, struct sl_script_edge_opts *opts)
{
    static const char *const names[] = {"name", "max_streams", "max_sessions",
                                        "hold", "dead_after",  NULL};

    luaL_checktype(L, 1, LUA_TTABLE);
    sl_arg_options(L, 1, names);
    opts->name = sl_opt_required_str(L, 1, "name");
    opts->max_streams = (uint32_t)sl_opt_int(L, 1, "max_streams", 1, SL_TUNNEL_STREAMS_MAX, 0);
    opts->max_sessions = (uint32_t)sl_opt_int(L, 1, "max_sessions", 1, SL_TUNNEL_STREAMS_MAX, 0);
    opts->hold_ms = sl_opt_ms(L, 1, "hold");
    opts->dead_ms = sl_opt_ms(L, 1, "dead_after");
}

static int open_(lua_State *L)
{
    const struct sl_script_tunnels *tunnels = sl_need_tunnels(L, "sluice.tunnel.edge");
    struct sl_script_edge_opts opts = {0};
    struct edge **object, *e;

    read_options(L, &opts);
    object = sl_object_new(L, class_name, sizeof(*object));
    e = *object = sl_zalloc(sizeof(*e));
    e->tunnels = tunnels;
    e->loop = sl_script_loop(sl_script_of(L));
    sl_timer_init(&e->timeout, e->loop, on_timeout, e);
    e->edge = tunnels->edge_open(tunnels->user, &opts);
    tunnels->edge_listen(e->edge, on_event, e);
    sl_script_on_retire(sl_script_of(L), &e->owned, on_retire);
    return 1;
}

void sl_bind_edge(lua_State *L)
{
    static const struct luaL_Reg functions[] = {{"tunnel.edge", open_}, {NULL, NULL}};
    static const struct luaL_Reg methods[] = {
        {"connect", edge_connect}, {"accept", edge_accept},
        {"event", edge_event},     {"hang_up", edge_hang_up},
        {"give_up", edge_give_up}, {"status", edge_status},
        {"close", edge_close},     {NULL, NULL},
    };

    sl_bind_functions(L, functions);
    sl_bind_class(L, class_name, methods, edge_gc);
}
