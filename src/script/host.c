#include "script/host.h"

#include <math.h>
#include "base/log.h"
#include "script/intake.h"
#include "script/internal.h"

/*
 * Each hook: a handle for its object, a task for the call, and the verdict when the task ends -
 * inside the call, or later when the hook waited. The handle of a connection or exchange stays
 * until forget(), so that every hook for it sees the same one.
 */

enum {
    AFTER_CONNECT = SL_VERB_DENY,
    AFTER_HELLO = SL_VERB_DENY | SL_VERB_CERT | SL_VERB_PASSTHROUGH,
    AFTER_REQUEST = SL_VERB_DENY | SL_VERB_REPLY | SL_VERB_REDIRECT | SL_VERB_ROUTE |
                    SL_VERB_TARGET | SL_VERB_SERVE,
    AFTER_RESPONSE = SL_VERB_REPLY, /* and on_failure */
    AFTER_EDGE = SL_VERB_DENY,
    AFTER_STREAM = SL_VERB_DENY | SL_VERB_TARGET,
};

static unsigned verbs_after(enum sl_context context)
{
    switch (context) {
    case SL_CONTEXT_CONNECT:
        return AFTER_CONNECT;
    case SL_CONTEXT_HELLO:
        return AFTER_HELLO;
    case SL_CONTEXT_REQUEST:
        return AFTER_REQUEST;
    case SL_CONTEXT_EDGE:
        return AFTER_EDGE;
    case SL_CONTEXT_STREAM:
        return AFTER_STREAM;
    default:
        return AFTER_RESPONSE;
    }
}

/* --- the end of a hook --- */

static void take_verdict(struct sl_handle *h, struct sl_task *t, enum sl_task_end how,
                         struct sl_verdict *v)
{
    struct sl_err err;

    if (how == SL_TASK_RETURNED) {
        if (sl_verb_read(t, h, verbs_after(sl_task_context(t)), v, &err) < 0)
            sl_report(h->script, sl_context_name(sl_task_context(t)), err.text, NULL);
        return;
    }
    *v = (struct sl_verdict){.kind = SL_VERDICT_ERROR};
    if (how == SL_TASK_THREW && h->script->policy.is_lenient)
        v->kind = SL_VERDICT_NONE;
}

static void drop_hello(struct sl_handle *h)
{
    if (h->kind == SL_HANDLE_HELLO)
        h->kind = SL_HANDLE_CONN;
    h->hello = NULL;
    sl_free(h->hello_copy);
    h->hello_copy = NULL;
}

static void on_hook_end(struct sl_task *t, enum sl_task_end how)
{
    struct sl_handle *h = sl_task_user(t);
    struct sl_verdict later, *v = h->verdict != NULL ? h->verdict : &later;

    take_verdict(h, t, how, v);
    h->task = NULL;
    h->verdict = NULL;
    h->is_editable = false;
    sl_intake_free(h->in);
    h->in = NULL;
    if (h->hello != NULL)
        drop_hello(h);
    if (v == &later)
        sl_hook_resume(h->slot, v);
}

/* --- the call of a hook --- */

/* Runs the task, whose stack holds the function and `n` handles. */
static int run_hook(struct sl_handle *h, struct sl_task *t, int n, struct sl_verdict *v)
{
    v->kind = SL_VERDICT_ERROR; /* also if the object of the hook goes while it runs */
    h->task = t;
    h->verdict = v;
    if (!sl_task_go(t, n))
        return 0;
    h->verdict = NULL;
    return SL_E_AGAIN;
}

static struct sl_task *begin_hook(struct sl_handle *h, enum sl_context context, int function)
{
    struct sl_task_opts opts = {.context = context, .on_end = on_hook_end, .user = h};
    struct sl_task *t = sl_task_take(h->script, &opts);

    if (t == NULL)
        return NULL;
    sl_task_set_function(t, function);
    lua_rawgeti(sl_task_lua(t), LUA_REGISTRYINDEX, function);
    sl_handle_push(sl_task_lua(t), h);
    return t;
}

/* Runs a hook whose handle is its one argument. */
static int call_hook(struct sl_handle *h, enum sl_context context, int function,
                     struct sl_verdict *v)
{
    struct sl_task *t = begin_hook(h, context, function);

    if (t != NULL)
        return run_hook(h, t, 1, v);
    if (h->hello != NULL)
        drop_hello(h);
    *v = (struct sl_verdict){.kind = SL_VERDICT_ERROR};
    return 0;
}

static int no_room(struct sl_script *s, struct sl_verdict *v)
{
    sl_report(s, "hooks", "more connections and requests than handles", NULL);
    *v = (struct sl_verdict){.kind = SL_VERDICT_ERROR};
    return 0;
}

/* The older script that saw this object first lacks the hook. */
static int no_hook(struct sl_verdict *v)
{
    *v = (struct sl_verdict){0};
    return 0;
}

/* The handle of this slot, a new one if no hook has run for it yet. NULL: the table is full. */
static struct sl_handle *handle_of(struct sl_script *s, struct sl_hook_slot *slot,
                                   enum sl_handle_kind kind)
{
    struct sl_handle *h = slot->script;

    if (h != NULL)
        return h;
    if ((h = sl_handle_new(s, kind)) == NULL)
        return NULL;
    h->slot = slot;
    slot->script = h;
    return h;
}

static int on_connect(void *host, struct sl_hook_slot *slot, const struct sl_peer *peer,
                      struct sl_verdict *v)
{
    struct sl_script *s = host;
    struct sl_handle *h = handle_of(s, slot, SL_HANDLE_CONN);

    if (h == NULL)
        return no_room(s, v);
    h->peer = peer;
    sl_arena_reset(&s->conn_arena);
    return call_hook(h, SL_CONTEXT_CONNECT, s->policy.on_connect, v);
}

/* The hello is valid during the call only. */
static void keep_hello(struct sl_handle *h)
{
    const struct sl_tls_hello *from = h->hello;
    struct sl_tls_hello *to = sl_alloc(sizeof(*to) + from->sni.len + from->alpn_len);
    char *bytes = (char *)(to + 1);

    *to = *from;
    if (from->sni.len > 0)
        memcpy(bytes, from->sni.p, from->sni.len);
    to->sni.p = from->sni.p != NULL ? bytes : NULL;
    if (from->alpn_len > 0)
        memcpy(bytes + from->sni.len, from->alpn, from->alpn_len);
    to->alpn = from->alpn != NULL ? (uint8_t *)bytes + from->sni.len : NULL;
    h->hello = to;
    h->hello_copy = to;
}

static int on_hello(void *host, struct sl_hook_slot *slot, const struct sl_peer *peer,
                    const struct sl_tls_hello *hello, struct sl_verdict *v)
{
    struct sl_handle *h = handle_of(host, slot, SL_HANDLE_CONN);
    struct sl_script *s; /* an older one, if it saw this connection first */
    int rc;

    if (h == NULL)
        return no_room(host, v);
    s = h->script;
    if (s->policy.on_hello == LUA_NOREF)
        return no_hook(v);
    h->peer = peer;
    h->kind = SL_HANDLE_HELLO;
    h->hello = hello;
    sl_arena_reset(&s->conn_arena);
    rc = call_hook(h, SL_CONTEXT_HELLO, s->policy.on_hello, v);
    if (rc == SL_E_AGAIN)
        keep_hello(h);
    return rc;
}

static struct sl_handle *request_handle(struct sl_script *s, struct sl_hook_slot *slot,
                                        struct sl_exchange *ex)
{
    struct sl_handle *h = handle_of(s, slot, SL_HANDLE_REQ);

    if (h != NULL) {
        h->ex = ex;
        h->peer = ex->peer;
    }
    return h;
}

static int on_request(void *host, struct sl_hook_slot *slot, struct sl_exchange *ex,
                      struct sl_verdict *v)
{
    struct sl_handle *h = request_handle(host, slot, ex);

    if (h == NULL)
        return no_room(host, v);
    h->is_editable = true;
    return call_hook(h, SL_CONTEXT_REQUEST, h->script->policy.on_request, v);
}

static int run_on_response(struct sl_handle *req, struct sl_handle *res, struct sl_verdict *v)
{
    struct sl_task *t = begin_hook(res, SL_CONTEXT_RESPONSE, res->script->policy.on_response);

    if (t == NULL) {
        *v = (struct sl_verdict){.kind = SL_VERDICT_ERROR};
        return 0;
    }
    sl_handle_push(sl_task_lua(t), req);
    return run_hook(res, t, 2, v);
}

/* The script that saw the request sees the response, too, even when a newer one has taken over. */
static int on_response(void *host, struct sl_hook_slot *slot, struct sl_exchange *ex,
                       struct sl_response *response, struct sl_str target, struct sl_verdict *v)
{
    struct sl_handle *req = request_handle(host, slot, ex), *res;

    if (req == NULL)
        return no_room(host, v);
    if (req->script->policy.on_response == LUA_NOREF)
        return no_hook(v);
    if ((res = sl_handle_new(req->script, SL_HANDLE_RES)) == NULL)
        return no_room(host, v);
    res->ex = ex;
    res->res = response;
    res->target = target;
    run_on_response(req, res, v);
    sl_handle_end(res);
    return 0;
}

static int on_stream(void *host, struct sl_hook_slot *slot, const struct sl_peer *peer,
                     struct sl_verdict *v)
{
    struct sl_handle *h = handle_of(host, slot, SL_HANDLE_CONN);

    if (h == NULL)
        return no_room(host, v);
    if (h->script->policy.on_stream == LUA_NOREF)
        return no_hook(v);
    h->peer = peer;
    sl_arena_reset(&h->script->conn_arena);
    return call_hook(h, SL_CONTEXT_STREAM, h->script->policy.on_stream, v);
}

static void forget(void *host, struct sl_hook_slot *slot)
{
    struct sl_handle *h = slot->script;
    struct sl_task *t;

    (void)host; /* the handle knows its script, which may be an older one */
    if (h == NULL)
        return;
    slot->script = NULL;
    if ((t = h->task) != NULL) {
        h->task = NULL;
        sl_task_detach(t);
        sl_task_cancel(t);
    }
    sl_free(h->hello_copy);
    sl_handle_end(h);
}

/* --- tables as arguments --- */

static void set_text(lua_State *L, const char *name, struct sl_str text)
{
    if (text.p == NULL)
        return;
    lua_pushlstring(L, text.p, text.len);
    lua_setfield(L, -2, name);
}

static void set_number(lua_State *L, const char *name, double value)
{
    lua_pushnumber(L, value);
    lua_setfield(L, -2, name);
}

static void set_ip(lua_State *L, const struct sl_addr *addr)
{
    char ip[SL_ADDR_TEXT_LEN];

    set_text(L, "ip", sl_str_c(sl_addr_ip(addr, ip)));
}

/* The task of a hook, and what its arguments are made of. */
struct table_call {
    struct sl_task *task;
    struct sl_handle *h;
    const void *facts;
};

/* The task with its function and arguments, which may be more than there is memory for: then NULL.
 */
static struct sl_task *begin_with_table(struct sl_handle *h, enum sl_context context, int function,
                                        void (*push)(lua_State *L, void *call), const void *facts)
{
    struct sl_task_opts opts = {.context = context, .on_end = on_hook_end, .user = h};
    struct table_call call = {sl_task_take(h->script, &opts), h, facts};

    if (call.task == NULL)
        return NULL;
    sl_task_set_function(call.task, function);
    if (sl_script_protect(h->script, push, &call, NULL) == 0)
        return call.task;
    sl_task_discard(call.task);
    return NULL;
}

/* --- on_failure --- */

static void push_failure(lua_State *L, void *arg)
{
    const struct table_call *call = arg;
    const struct sl_failure *failure = call->facts;

    lua_rawgeti(L, LUA_REGISTRYINDEX, sl_script_fast(L)->policy.on_failure);
    sl_handle_push(L, call->h);
    lua_createtable(L, 0, 4);
    set_number(L, "status", failure->status);
    set_text(L, "error", sl_str_c(failure->error));
    set_text(L, "target", failure->target.len > 0 ? failure->target : SL_STR_NONE);
    set_text(L, "route", failure->route.len > 0 ? failure->route : SL_STR_NONE);
    lua_xmove(L, sl_task_lua(call->task), 3);
}

/* The script that saw the request sees its failure, too. */
static int on_failure(void *host, struct sl_hook_slot *slot, struct sl_exchange *ex,
                      const struct sl_failure *failure, struct sl_verdict *v)
{
    struct sl_handle *h = request_handle(host, slot, ex);
    int function = h != NULL ? h->script->policy.on_failure : LUA_NOREF;
    struct sl_task *t;

    if (h == NULL)
        return no_room(host, v);
    if (function == LUA_NOREF)
        return no_hook(v);
    t = begin_with_table(h, SL_CONTEXT_FAILURE, function, push_failure, failure);
    if (t != NULL)
        return run_hook(h, t, 2, v);
    *v = (struct sl_verdict){.kind = SL_VERDICT_ERROR};
    return 0;
}

/* --- on_edge --- */

static void push_edge(lua_State *L, void *arg)
{
    const struct table_call *call = arg;
    const struct sl_edge_facts *edge = call->facts;

    lua_rawgeti(L, LUA_REGISTRYINDEX, sl_script_fast(L)->policy.on_edge);
    lua_createtable(L, 0, 4);
    set_text(L, "event", sl_str_c(edge->event));
    set_text(L, "id", edge->id);
    set_ip(L, &edge->remote);
    set_text(L, "transport", sl_str_c(edge->transport));
    lua_xmove(L, sl_task_lua(call->task), 2);
}

static int on_edge(void *host, struct sl_hook_slot *slot, const struct sl_edge_facts *edge,
                   struct sl_verdict *v)
{
    struct sl_script *s = host;
    struct sl_handle *h = handle_of(s, slot, SL_HANDLE_EDGE);
    struct sl_task *t;

    if (h == NULL)
        return no_room(s, v);
    sl_arena_reset(&s->conn_arena);
    t = begin_with_table(h, SL_CONTEXT_EDGE, h->script->policy.on_edge, push_edge, edge);
    if (t != NULL)
        return run_hook(h, t, 1, v);
    *v = (struct sl_verdict){.kind = SL_VERDICT_ERROR};
    return 0;
}

/* --- on_done --- */

static void set_request(lua_State *L, const struct sl_exchange *ex)
{
    set_text(L, "method", ex->req.method);
    set_text(L, "host", ex->req.host);
    set_text(L, "path", ex->req.path);
    sl_push_version(L, ex->req.version);
    lua_setfield(L, -2, "version");
    set_number(L, "id", (double)ex->id);
}

static void push_entry(lua_State *L, const struct sl_done *done)
{
    lua_createtable(L, 0, 16);
    set_text(L, "kind", done->is_exchange ? SL_STR("exchange") : SL_STR("stream"));
    set_text(L, "route", done->route.len > 0 ? done->route : SL_STR_NONE);
    set_text(L, "target", done->target.len > 0 ? done->target : SL_STR_NONE);
    if (done->ex != NULL)
        set_request(L, done->ex);
    if (done->status != 0)
        set_number(L, "status", done->status);
    if (done->peer != NULL) {
        set_ip(L, &done->peer->remote);
        set_text(L, "edge", done->peer->edge.len > 0 ? done->peer->edge : SL_STR_NONE);
    }
    set_number(L, "duration", done->duration_s);
    set_number(L, "bytes_in", (double)done->bytes_in);
    set_number(L, "bytes_out", (double)done->bytes_out);
    set_text(L, "error", sl_str_c(done->error));
}

/* What the task of on_done runs: the entry is made inside it, where running out of memory is an
 * error like others. */
static int call_done(lua_State *L)
{
    struct sl_script *s = sl_script_fast(L);

    lua_rawgeti(L, LUA_REGISTRYINDEX, s->policy.on_done);
    push_entry(L, s->done);
    lua_call(L, 1, 0);
    return 0;
}

static void on_done(void *host, const struct sl_done *done)
{
    struct sl_script *s = host;
    struct sl_task_opts opts = {.context = SL_CONTEXT_DONE};
    struct sl_task *t = sl_task_take(s, &opts);
    const struct sl_done *outer = s->done;

    if (t == NULL)
        return;
    s->done = done;
    sl_task_set_function(t, s->policy.on_done);
    lua_rawgeti(sl_task_lua(t), LUA_REGISTRYINDEX, s->call_done);
    sl_task_go(t, 0);
    s->done = outer;
}

/* --- the table --- */

void sl_host_open(lua_State *L)
{
    lua_pushcfunction(L, call_done);
    sl_script_fast(L)->call_done = luaL_ref(L, LUA_REGISTRYINDEX);
}

void sl_host_fill_hooks(struct sl_script *s)
{
    const struct sl_policy_table *p = &s->policy;
    unsigned present = 0;

    present |= p->on_connect != LUA_NOREF ? SL_HOOK_CONNECT : 0;
    present |= p->on_hello != LUA_NOREF ? SL_HOOK_HELLO : 0;
    present |= p->on_request != LUA_NOREF ? SL_HOOK_REQUEST : 0;
    present |= p->on_response != LUA_NOREF ? SL_HOOK_RESPONSE : 0;
    present |= p->on_failure != LUA_NOREF ? SL_HOOK_FAILURE : 0;
    present |= p->on_done != LUA_NOREF ? SL_HOOK_DONE : 0;
    present |= p->on_edge != LUA_NOREF ? SL_HOOK_EDGE : 0;
    present |= p->on_stream != LUA_NOREF ? SL_HOOK_STREAM : 0;
    s->hooks = (struct sl_hooks){
        .present = present,
        .host = s,
        .on_connect = on_connect,
        .on_hello = on_hello,
        .on_request = on_request,
        .on_response = on_response,
        .on_failure = on_failure,
        .on_done = on_done,
        .on_edge = on_edge,
        .on_stream = on_stream,
        .forget = forget,
    };
}
