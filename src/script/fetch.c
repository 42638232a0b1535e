#include "script/fetch.h"

#include <stdio.h>

enum { MAX_FETCHES = 10000 }; /* of one thread at a time */

static __thread unsigned n_fetches;

/* --- life --- */

struct sl_fetch *sl_fetch_new(struct sl_script *s)
{
    struct sl_fetch *f;

    if (n_fetches >= MAX_FETCHES)
        return NULL;
    f = sl_zalloc(sizeof(*f));
    f->script = s;
    f->loop = sl_script_loop(s);
    f->body_fn = LUA_NOREF;
    return f;
}

static void free_fetch(void *ptr)
{
    struct sl_fetch *f = ptr;

    sl_intake_free(f->in);
    sl_arena_clear(&f->arena);
    sl_buf_clear(&f->whole);
    sl_free(f);
}

static void free_if_over(struct sl_fetch *f)
{
    if (!f->is_over || f->is_uploading || f->object != NULL || f->is_freed)
        return;
    f->is_freed = true;
    sl_loop_unsoon(&f->soon);
    sl_loop_defer(f->loop, f, free_fetch);
}

void sl_fetch_end(struct sl_fetch *f)
{
    if (!f->is_over) {
        f->is_over = true;
        n_fetches -= f->is_started;
        if (f->timer.user != NULL)
            sl_timer_clear(&f->timer);
        sl_call_free(&f->call);
        sl_unref(f->script, f->body_fn);
        f->body_fn = LUA_NOREF;
        if (f->uploader != NULL)
            sl_task_cancel(f->uploader);
    }
    free_if_over(f);
}

void sl_fetch_cancel(void *op)
{
    sl_fetch_end(op);
}

static void end_soon(void *user)
{
    sl_fetch_end(user);
}

/* The collector is no place to end a task from. Everything else goes at once: with the Lua state
 * the pool may go, too. */
void sl_fetch_drop(struct sl_fetch *f)
{
    f->object = NULL;
    sl_call_free(&f->call);
    if (f->uploader == NULL)
        sl_fetch_end(f);
    else
        sl_loop_soon(f->loop, &f->soon, end_soon, f);
}

/* Whoever waits for more hears of it: the task of the fetch, or who reads the response. */
static void fail(struct sl_fetch *f, int code, const char *text, const char *detail)
{
    struct sl_task *task = f->task;
    char whole[320];

    snprintf(whole, sizeof(whole), "%s%s%s", text, detail != NULL ? ": " : "",
             detail != NULL ? detail : "");
    f->task = NULL;
    sl_fetch_end(f); /* its memory stays until the end of the turn */
    if (task != NULL)
        sl_task_resume_error(task, whole);
    else if (f->in != NULL)
        sl_intake_fail(f->in, code);
}

static void on_due(struct sl_timer *t)
{
    fail(t->user, SL_E_TIMEOUT, "timed out", NULL);
}

/* --- the request --- */

static int write_call(void *user, struct sl_str bytes)
{
    struct sl_fetch *f = user;
    struct iovec iov = {(void *)bytes.p, bytes.len};

    if (f->call == NULL)
        return SL_E_CLOSED;
    f->has_begun = true;
    return sl_call_write(f->call, &iov, bytes.len > 0 ? 1 : 0, false);
}

/* The function has returned. What another task has written last may still be on its way. */
static void end_request(struct sl_fetch *f)
{
    if (f->out.is_blocked || f->is_ended)
        return;
    f->is_ended = true;
    (void)sl_call_write(f->call, NULL, 0, true); /* a failure comes as on_error() */
}

static void on_uploader_end(struct sl_task *task, enum sl_task_end end)
{
    struct sl_fetch *f = sl_task_user(task);

    f->is_uploading = false;
    f->uploader = NULL;
    sl_outlet_close(&f->out);
    if (end == SL_TASK_RETURNED && !f->is_over)
        f->is_returned = sl_outlet_returned(&f->out, task, f->script, "fetch body");
    if (f->is_over)
        free_if_over(f);
    else if (f->is_returned)
        end_request(f);
    else
        fail(f, SL_E_CANCELLED, "the body function failed", NULL);
}

static int push_upload(lua_State *L, void *arg)
{
    struct sl_fetch *f = arg;

    lua_rawgeti(L, LUA_REGISTRYINDEX, f->body_fn);
    luaL_unref(L, LUA_REGISTRYINDEX, f->body_fn);
    f->body_fn = LUA_NOREF;
    sl_outlet_push(L, &f->out);
    return 2;
}

/* The head does not wait for a function that has nothing to say yet. */
static void run_upload(struct sl_fetch *f)
{
    static const struct sl_outlet_ops ops = {write_call, NULL};
    struct sl_task_opts opts = {
        .context = SL_CONTEXT_TASK, .what = "fetch body", .on_end = on_uploader_end, .user = f};
    struct sl_task *task;

    f->out.ops = &ops;
    f->out.user = f;
    f->out.left = f->req.content_length;
    f->is_uploading = true;
    task = sl_task_run(f->script, &opts, push_upload, f);
    if (task == NULL)
        return; /* `f` may be over, but its memory stays until the end of the turn */
    f->uploader = task;
    if (f->is_over)
        sl_task_cancel(task);
    else if (!f->has_begun)
        (void)write_call(f, SL_STR_NONE);
}

static void on_connected(struct sl_call *c)
{
    struct sl_fetch *f = c->user;
    struct iovec iov = {(void *)f->body.p, f->body.len};

    f->call = c;
    sl_call_send(c, &f->req);
    sl_call_read(c, true);
    if (f->has_function)
        run_upload(f);
    else
        sl_call_write(c, &iov, iov.iov_len > 0 ? 1 : 0, true); /* a failure comes as on_error() */
}

static void on_written(struct sl_call *c)
{
    struct sl_fetch *f = c->user;

    if (f->is_uploading) {
        sl_outlet_written(&f->out);
        return;
    }
    f->out.is_blocked = false;
    if (f->is_returned)
        end_request(f);
}

/* --- the response --- */

static void flow_call(void *user, bool on)
{
    struct sl_fetch *f = user;

    if (f->call != NULL)
        sl_call_read(f->call, on);
}

static struct sl_task *take_task(struct sl_fetch *f)
{
    struct sl_task *task = f->task;

    f->task = NULL;
    return task;
}

/* The task goes on while the body is still to come. */
static void begin_stream(struct sl_fetch *f)
{
    f->in = sl_intake_new(flow_call, f, false);
    sl_call_read(f->call, false);
    sl_task_resume(take_task(f), sl_fetch_push_stream, f);
    if (f->object == NULL && !f->is_over)
        sl_fetch_end(f); /* there was no memory for the object */
}

static void on_head(struct sl_call *c)
{
    struct sl_fetch *f = c->user;
    bool is_too_large = c->res.content_length != SL_LENGTH_UNKNOWN &&
                        c->res.content_length > f->max_body &&
                        !sl_str_eq(f->req.method, SL_STR("HEAD"));

    f->res = c->res;
    if (c->res.status == 101)
        fail(f, SL_E_PROTOCOL, "the server changed the protocol unasked", NULL);
    else if (is_too_large)
        fail(f, SL_E_LIMIT, "too large", NULL);
    else if (f->is_stream)
        begin_stream(f);
}

static bool keep(struct sl_fetch *f, const struct iovec *iov, int n_iov)
{
    for (int i = 0; i < n_iov; i++) {
        if (sl_buf_len(&f->whole) + iov[i].iov_len > f->max_body)
            return false;
        sl_buf_append(&f->whole, iov[i].iov_base, iov[i].iov_len);
    }
    return true;
}

/* Each piece may end in Lua, which may close the response. */
static void pass_on(struct sl_fetch *f, const struct iovec *iov, int n_iov, bool fin)
{
    for (int i = 0; i < n_iov && f->in != NULL; i++)
        sl_intake_arrived(f->in, iov[i].iov_base, iov[i].iov_len, fin && i == n_iov - 1);
    if (fin && n_iov == 0)
        sl_intake_arrived(f->in, NULL, 0, true);
}

/* The connection is the pool's again before the script goes on; the memory of `f` stays until the
 * end of the turn. */
static void on_body(struct sl_call *c, const struct iovec *iov, int n_iov, bool fin)
{
    struct sl_fetch *f = c->user;

    if (f->is_stream ? c->bytes_in > f->max_body : !keep(f, iov, n_iov)) {
        fail(f, SL_E_LIMIT, "too large", NULL);
        return;
    }
    if (fin)
        sl_fetch_end(f);
    if (f->is_stream)
        pass_on(f, iov, n_iov, fin);
    else if (fin)
        sl_task_resume(take_task(f), sl_fetch_push_whole, f);
}

static void ignore(struct sl_call *c SL_UNUSED)
{
    /* interim responses say nothing to a script */
}

/* --- the call --- */

static void start(struct sl_fetch *f);

/* A kept connection that the server closed while it rested: another try costs nothing and repeats
 * nothing. What a function has written cannot be had again: it gets a connection of its own. */
static void on_error(struct sl_call *c, int code)
{
    struct sl_fetch *f = c->user;
    bool is_stale = c->was_reused && !c->got_bytes;

    if (!f->is_retry && !f->has_function &&
        (c->is_unprocessed || (is_stale && sl_method_is_idempotent(f->req.method)))) {
        f->is_retry = true;
        sl_call_free(&f->call);
        start(f);
        return;
    }
    fail(f, code, sl_error_text(code), c->detail);
}

static void start(struct sl_fetch *f)
{
    static const struct sl_call_handler handler = {on_connected, on_head,    ignore,
                                                   on_body,      on_written, on_error};
    struct sl_call_opts opts = {.fresh = f->is_retry || f->has_function};
    struct sl_call *call;

    if (f->is_stream || f->has_function)
        opts.connect_timeout = opts.response_timeout = opts.body_timeout = f->timeout_ms;
    call = sl_call_start(f->pool, &f->target, &opts, &f->arena, &handler, f);
    if (!f->is_over)
        f->call = call; /* else it was freed inside sl_call_start() */
}

/* Time is limited for all of a whole response, but for what comes piece by piece only while
 * nothing comes. */
void sl_fetch_start(struct sl_fetch *f, struct sl_task *task)
{
    f->task = task;
    f->is_started = true;
    n_fetches++;
    if (!f->is_stream && !f->has_function) {
        sl_timer_init(&f->timer, f->loop, on_due, f);
        sl_timer_set(&f->timer, f->timeout_ms);
    }
    start(f);
}
