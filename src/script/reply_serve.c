#include "script/reply_serve.h"

#include "script/intake.h"
#include "script/internal.h"
#include "script/library.h"
#include "script/outlet.h"

/* In the arena of the exchange, between the verdict and its execution. */
struct reply_verb {
    struct sl_script *script;
    int fn; /* in the registry */
    struct sl_response res;
    struct sl_intake *in; /* NULL: nothing of the request body was read */
    bool is_body_taken;   /* by req:body() */
};

struct serving {
    struct sl_script *script; /* not after the task has ended */
    struct sl_loop *loop;
    struct sl_exchange *ex; /* NULL once it ended */
    struct sl_task *task;
    struct sl_response res; /* in the arena of the exchange */
    int fn;
    struct sl_outlet out;
    struct sl_intake *in;
    bool is_body_taken;
    bool has_begun;   /* the head is out, or on its way */
    bool is_running;  /* the task */
    bool is_returned; /* the function has, in order */
    int status;
    const char *error; /* what on_done shall say; NULL: nothing */
    void (*on_gone)(void *user, int status, const char *error);
    void *user;
};

/* --- life --- */

static void free_if_over(struct serving *v)
{
    if (v->ex == NULL && !v->is_running)
        sl_loop_defer(v->loop, v, sl_free);
}

static void drop_intake(struct serving *v)
{
    sl_intake_free(v->in);
    v->in = NULL;
}

/* The exchange is no more, and its owner forgets it. */
static void lose_exchange(struct serving *v)
{
    v->ex = NULL;
    drop_intake(v);
    v->on_gone(v->user, v->status, v->error);
}

/* The client shall not take what it has for the whole. */
static void break_off(struct serving *v)
{
    struct sl_exchange *ex = v->ex;

    v->error = "the body function failed";
    lose_exchange(v);
    sl_exchange_abort(ex);
    free_if_over(v);
}

/* --- the response --- */

static void begin(struct serving *v)
{
    if (v->has_begun)
        return;
    v->has_begun = true;
    sl_exchange_respond(v->ex, &v->res);
}

static int write_exchange(void *user, struct sl_str bytes)
{
    struct serving *v = user;
    struct iovec iov = {(void *)bytes.p, bytes.len};

    if (v->ex == NULL)
        return SL_E_CLOSED;
    begin(v);
    return sl_exchange_write(v->ex, &iov, bytes.len > 0 ? 1 : 0, false);
}

static void fail(struct serving *v)
{
    if (v->has_begun) {
        break_off(v);
        return;
    }
    v->has_begun = true;
    v->status = 500;
    v->error = "the body function failed";
    sl_exchange_fail(v->ex, 500);
}

/* The function has returned. What another task has written last may still be on its way. */
static void finish(struct serving *v)
{
    int rc;

    if (v->out.is_blocked)
        return;
    if (!sl_outlet_is_whole(&v->out)) {
        fail(v);
        return;
    }
    if (!v->has_begun)
        v->res.content_length = 0;
    begin(v);
    rc = sl_exchange_write(v->ex, NULL, 0, true);
    if (rc < 0 && rc != SL_E_AGAIN)
        break_off(v);
}

/* --- the request body --- */

static void flow_exchange(void *user, bool on)
{
    sl_exchange_read(user, on);
}

static int read_exchange(void *user, lua_State *L)
{
    struct serving *v = user;

    if (v->ex == NULL)
        return sl_push_failure(L, "closed");
    if (v->is_body_taken)
        return luaL_error(L, "out:read: the body was asked for with req:body()");
    if (v->in == NULL)
        v->in = sl_intake_new(flow_exchange, v->ex, v->ex->request_ended);
    return sl_intake_read(L, v->in, 2, "out:read");
}

/* --- the task --- */

static int push_call(lua_State *L, void *arg)
{
    struct serving *v = arg;

    lua_rawgeti(L, LUA_REGISTRYINDEX, v->fn);
    sl_outlet_push(L, &v->out);
    return 2;
}

static void on_task_end(struct sl_task *task, enum sl_task_end end)
{
    struct serving *v = sl_task_user(task);

    v->is_running = false;
    v->task = NULL;
    sl_unref(v->script, v->fn);
    sl_outlet_close(&v->out);
    if (v->ex == NULL) {
        free_if_over(v);
        return;
    }
    drop_intake(v);
    sl_exchange_read(v->ex, false); /* what is left is the server's to discard */
    v->is_returned = end == SL_TASK_RETURNED;
    if (v->is_returned) {
        (void)sl_outlet_returned(&v->out, task, v->script, "reply");
        finish(v);
    }
    if (end == SL_TASK_THREW)
        fail(v);
    if (end == SL_TASK_CANCELLED)
        break_off(v);
}

static void run(struct serving *v)
{
    struct sl_task_opts opts = {
        .context = SL_CONTEXT_HANDLER, .what = "reply", .on_end = on_task_end, .user = v};
    struct sl_task *task;

    v->is_running = true;
    task = sl_task_run(v->script, &opts, push_call, v);
    if (task == NULL)
        return; /* it has ended, and `v` may be gone */
    v->task = task;
    if (v->ex == NULL)
        sl_task_cancel(task);
}

/* --- the exchange --- */

static void on_body(struct sl_exchange *ex, const uint8_t *bytes, size_t len, bool fin)
{
    struct serving *v = ex->user;

    if (v->in != NULL)
        sl_intake_arrived(v->in, bytes, len, fin);
}

static void on_written(struct sl_exchange *ex)
{
    struct serving *v = ex->user;

    if (!v->is_returned) {
        sl_outlet_written(&v->out);
        return;
    }
    v->out.is_blocked = false;
    finish(v);
}

static void on_done(struct sl_exchange *ex)
{
    struct serving *v = ex->user;

    lose_exchange(v);
    free_if_over(v);
}

static void on_abort(struct sl_exchange *ex, int code)
{
    struct serving *v = ex->user;
    struct sl_task *task = v->task;

    if (!v->has_begun)
        v->status = 0;
    if (v->error == NULL)
        v->error = sl_error_text(code);
    lose_exchange(v);
    if (task != NULL)
        sl_task_cancel(task);
    else
        free_if_over(v);
}

static bool has_body(const struct serving *v)
{
    return !sl_str_eq(v->ex->req.method, SL_STR("HEAD")) && v->status != 204 && v->status != 304;
}

/* Whose exchange is it, and who hears of its end. */
static struct serving *take_exchange(const struct reply_verb *verb, struct sl_exchange *ex)
{
    static const struct sl_exchange_handler handler = {on_body, on_written, on_done, on_abort};
    struct serving *v = sl_zalloc(sizeof(*v));

    v->script = verb->script;
    v->loop = ex->loop;
    v->ex = ex;
    v->res = verb->res;
    v->status = verb->res.status;
    v->fn = verb->fn;
    v->in = verb->in;
    v->is_body_taken = verb->is_body_taken;
    ex->handler = &handler;
    ex->user = v;
    return v;
}

static int serve(void *serving, struct sl_exchange *ex,
                 void (*on_gone)(void *user, int status, const char *error), void *user)
{
    static const struct sl_outlet_ops ops = {write_exchange, read_exchange};
    struct serving *v = take_exchange(serving, ex);

    v->on_gone = on_gone;
    v->user = user;
    v->out = (struct sl_outlet){.ops = &ops, .user = v, .left = v->res.content_length};
    if (has_body(v)) {
        if (v->in != NULL)
            sl_intake_update(v->in);
        run(v);
        return 0;
    }
    sl_unref(v->script, v->fn);
    v->is_returned = true;
    drop_intake(v);
    begin(v);
    (void)sl_exchange_write(ex, NULL, 0, true);
    return 0;
}

/* --- the verb --- */

void sl_reply_verb_make(lua_State *L, struct sl_handle *h, struct sl_verdict *v)
{
    struct sl_arena *arena = &h->ex->arena;
    struct reply_verb *verb = sl_arena_alloc(arena, sizeof(*verb));

    *verb = (struct reply_verb){.script = h->script, .is_body_taken = h->is_body_asked};
    verb->fn = luaL_ref(L, LUA_REGISTRYINDEX);
    verb->res = (struct sl_response){.version = SL_HTTP_11,
                                     .status = v->status,
                                     .headers = v->headers,
                                     .content_length = v->content_length};
    if (v->content_type.len > 0)
        sl_headers_add_id(&verb->res.headers, arena, SL_H_CONTENT_TYPE, SL_STR("Content-Type"),
                          v->content_type);
    verb->in = h->in;
    h->in = NULL;
    v->kind = SL_VERDICT_SERVE;
    v->serve = serve;
    v->serving = verb;
}
