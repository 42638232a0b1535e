#include "script/task.h"

#include "base/log.h"
#include "script/bind.h"
#include "script/internal.h"

enum {
    MAX_IDLE = 256,       /* coroutines kept for the next tasks */
    MAX_ERROR_LEN = 1024, /* of a message that is kept */
    /* Memory beyond the cap for coroutines, so that a script which has used it all up can still run
       what lets go of it. */
    RESERVE = 1024 * 1024,
};

enum task_state {
    TASK_IDLE,    /* in the pool, or being prepared */
    TASK_READY,   /* its values are on its stack; runs at the end of the turn */
    TASK_RUNNING, /* or called something that runs */
    TASK_WAITING,
    TASK_ENDING,
};

struct sl_task {
    struct sl_link link; /* of s->tasks */
    struct sl_link ready;
    struct sl_script *script;
    struct sl_task *next_idle;
    lua_State *L;
    int ref;      /* keeps L alive */
    int function; /* what it runs, if that is in the registry: to name its place in errors */
    enum task_state state;
    struct sl_task_opts opts;
    enum sl_context root; /* of the task that it all began with: start() for what start() spawned */
    bool is_cancelled;    /* while it ran */
    int n_values;         /* READY: arguments or results to go on with */
    int n_results;
    void (*cancel)(void *op);
    void *op;
    char *error;
};

struct sl_script *sl_task_script(const struct sl_task *t)
{
    return t->script;
}

enum sl_context sl_task_context(const struct sl_task *t)
{
    return t->opts.context;
}

enum sl_context sl_task_root(const struct sl_task *t)
{
    return t->root;
}

void *sl_task_user(const struct sl_task *t)
{
    return t->opts.user;
}

lua_State *sl_task_lua(const struct sl_task *t)
{
    return t->L;
}

int sl_task_results(const struct sl_task *t)
{
    return t->n_results;
}

const char *sl_task_error(const struct sl_task *t)
{
    return t->error;
}

static const char *name_of(const struct sl_task *t)
{
    return t->opts.what != NULL ? t->opts.what : sl_context_name(t->opts.context);
}

void sl_task_set_function(struct sl_task *t, int function)
{
    t->function = function;
}

/* --- the pool --- */

static void make_coroutine(lua_State *L, void *arg)
{
    struct sl_task *t = arg;

    t->L = lua_newthread(L);
    t->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    luaL_checkstack(L, SL_TASK_MAX_VALUES, "out of memory");
    if (!lua_checkstack(t->L, SL_TASK_MAX_VALUES + LUA_MINSTACK))
        luaL_error(L, "out of memory");
}

static void drop_coroutine(struct sl_task *t)
{
    luaL_unref(t->script->L, LUA_REGISTRYINDEX, t->ref);
    t->ref = LUA_NOREF;
    t->L = NULL;
}

static void free_task(struct sl_task *t)
{
    drop_coroutine(t);
    sl_free(t);
}

static struct sl_task *new_task(struct sl_script *s)
{
    struct sl_task *t = sl_zalloc(sizeof(*t));
    int rc;

    t->script = s;
    t->ref = LUA_NOREF;
    s->memory_cap += RESERVE;
    rc = sl_script_protect(s, make_coroutine, t, NULL);
    s->memory_cap -= RESERVE;
    if (rc == 0)
        return t;
    free_task(t);
    return NULL;
}

/* A heap that is full of garbage is not collected by tasks that end, when none can begin. */
static struct sl_task *new_task_or_collect(struct sl_script *s)
{
    struct sl_task *t = new_task(s);

    if (t != NULL || s->busy > 0)
        return t;
    sl_script_relieve(s);
    return new_task(s);
}

struct sl_task *sl_task_take(struct sl_script *s, const struct sl_task_opts *opts)
{
    struct sl_task *t = s->idle_tasks;

    if (SL_LIKELY(t != NULL)) {
        s->idle_tasks = t->next_idle;
        s->n_idle_tasks--;
    } else if ((t = new_task_or_collect(s)) == NULL) {
        sl_report(s, opts->what != NULL ? opts->what : sl_context_name(opts->context),
                  "no memory for another task (memory_mb in the script table)", NULL);
        return NULL;
    }
    t->opts = *opts;
    t->function = LUA_NOREF;
    t->root =
        opts->context == SL_CONTEXT_TASK && s->running != NULL ? s->running->root : opts->context;
    t->is_cancelled = false;
    t->n_results = 0;
    sl_list_append(&s->tasks, &t->link);
    return t;
}

/* A coroutine that ended in order starts anew with the next function; one that threw or was left in
 * the middle does not. */
static void give_back(struct sl_task *t, bool is_clean)
{
    struct sl_script *s = t->script;

    sl_link_remove(&t->link);
    sl_link_remove(&t->ready);
    sl_free(t->error);
    t->error = NULL;
    t->state = TASK_IDLE;
    if (is_clean && s->n_idle_tasks < MAX_IDLE) {
        lua_settop(t->L, 0);
        t->next_idle = s->idle_tasks;
        s->idle_tasks = t;
        s->n_idle_tasks++;
    } else {
        free_task(t);
    }
    if (SL_UNLIKELY(s->is_retired))
        sl_script_check_gone(s);
}

/* --- how a task ends --- */

static void end(struct sl_task *t, enum sl_task_end how)
{
    t->state = TASK_ENDING;
    if (t->opts.on_end != NULL) {
        t->script->busy++;
        t->opts.on_end(t, how);
        t->script->busy--;
    }
    give_back(t, how == SL_TASK_RETURNED);
}

/* Does the message say where, as "file:12: …" does? */
static bool has_place(const char *message)
{
    for (const char *p = strchr(message, ':'); p != NULL; p = strchr(p + 1, ':')) {
        size_t digits = strspn(p + 1, "0123456789");

        if (digits > 0 && p[1 + digits] == ':')
            return true;
    }
    return false;
}

/* An error of a C function that was called last thing (`return text:find(…)`) has lost its place:
   then the place of the whole function has to do. */
static void add_place(lua_State *L, struct sl_task *t)
{
    lua_Debug ar;
    char *placed;

    if (t->function == LUA_NOREF || has_place(t->error))
        return;
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->function);
    if (!lua_isfunction(L, -1) || !lua_getinfo(L, ">S", &ar))
        return;
    if (asprintf(&placed, "%s:%d: in %s: %s", ar.short_src, ar.linedefined, name_of(t), t->error) <
        0)
        return;
    sl_free(t->error);
    t->error = placed;
}

static void push_traceback(lua_State *L, void *arg)
{
    struct sl_task *t = arg;

    add_place(L, t);
    luaL_traceback(L, t->L, NULL, 0);
    sl_report(t->script, name_of(t), t->error, lua_tostring(L, -1));
}

static void fail(struct sl_task *t, int status)
{
    struct sl_script *s = t->script;
    const char *message = "(the error is not a string)";

    if (status == LUA_ERRMEM)
        message = "the memory of the script is used up (memory_mb in the script table)";
    else if (lua_type(t->L, -1) == LUA_TSTRING)
        message = lua_tostring(t->L, -1);
    t->error = sl_strndup(message, strnlen(message, MAX_ERROR_LEN));
    if (sl_script_protect(s, push_traceback, t, NULL) < 0)
        sl_report(s, name_of(t), t->error, NULL);
    end(t, SL_TASK_THREW);
}

static void cancel_op(struct sl_task *t)
{
    void (*cancel)(void *op) = t->cancel;

    t->cancel = NULL;
    if (cancel != NULL)
        cancel(t->op);
}

/* --- running --- */

/* True when the task waits. */
static bool after_run(struct sl_task *t, int status)
{
    if (SL_LIKELY(status == 0)) {
        t->n_results = lua_gettop(t->L);
        end(t, t->is_cancelled ? SL_TASK_CANCELLED : SL_TASK_RETURNED);
        return false;
    }
    if (status != LUA_YIELD) {
        fail(t, status);
        return false;
    }
    if (t->is_cancelled) {
        cancel_op(t);
        end(t, SL_TASK_CANCELLED);
        return false;
    }
    if (t->state == TASK_WAITING)
        return true;
    lua_settop(t->L, 0);
    lua_pushnil(t->L); /* in place of a message: nothing may be allocated here */
    t->error = sl_strdup("coroutine.yield was called outside of a coroutine of the script's own");
    sl_report(t->script, name_of(t), t->error, NULL);
    end(t, SL_TASK_THREW);
    return false;
}

bool sl_task_go(struct sl_task *t, int n_args)
{
    struct sl_script *s = t->script;
    struct sl_task *outer = s->running;
    bool is_waiting;
    int status;

    t->state = TASK_RUNNING;
    s->running = t;
    s->busy++;
    atomic_store_explicit(&s->budget.running, t->L, memory_order_relaxed);
    sl_budget_enter(&s->budget);
    status = lua_resume(t->L, n_args);
    sl_budget_leave(&s->budget);
    s->busy--;
    s->running = outer;
    if (SL_UNLIKELY(outer != NULL))
        atomic_store_explicit(&s->budget.running, outer->L, memory_order_relaxed);
    is_waiting = after_run(t, status);
    if (SL_UNLIKELY(s->memory > s->memory_relief) && s->busy == 0)
        sl_script_relieve(s); /* when a coroutine that failed holds nothing any more */
    return is_waiting;
}

/* Runs those that are ready now. What they make ready waits for the next turn, so that a chain of
   tasks cannot keep the loop from its descriptors. */
static void run_ready(void *user)
{
    struct sl_script *s = user;
    struct sl_list batch;
    struct sl_link *link;

    sl_list_init(&batch);
    while ((link = sl_list_pop(&s->ready)) != NULL)
        sl_list_append(&batch, link);
    s->busy++;
    while ((link = sl_list_pop(&batch)) != NULL) {
        struct sl_task *t = sl_container_of(link, struct sl_task, ready);

        sl_task_go(t, t->n_values);
    }
    s->busy--;
    if (s->memory > s->memory_relief && s->busy == 0)
        sl_script_relieve(s);
}

static void queue(struct sl_task *t, int n_values)
{
    struct sl_script *s = t->script;

    t->state = TASK_READY;
    t->n_values = n_values;
    sl_loop_soon(s->loop, &s->soon, run_ready, s);
    sl_list_append(&s->ready, &t->ready);
}

struct push {
    struct sl_task *task;
    sl_push_fn *push;
    void *arg;
    int n;
};

static void push_values(lua_State *L, void *arg)
{
    struct push *p = arg;

    luaL_checkstack(L, SL_TASK_MAX_VALUES, "out of memory");
    p->n = p->push(L, p->arg);
    sl_assert(p->n >= 0 && p->n <= SL_TASK_MAX_VALUES);
    lua_xmove(L, p->task->L, p->n);
}

struct sl_task *sl_task_run(struct sl_script *s, const struct sl_task_opts *opts, sl_push_fn *push,
                            void *arg)
{
    struct push p = {NULL, push, arg, 0};
    struct sl_task *t = sl_task_take(s, opts);
    struct sl_err err;

    if (t == NULL)
        return NULL;
    p.task = t;
    if (sl_script_protect(s, push_values, &p, &err) < 0) {
        t->error = sl_strdup(err.text);
        sl_report(s, name_of(t), t->error, NULL);
        end(t, SL_TASK_THREW);
        return NULL;
    }
    if (s->busy > 0) {
        queue(t, p.n - 1);
        return t;
    }
    return sl_task_go(t, p.n - 1) ? t : NULL;
}

/* --- waiting --- */

struct sl_task *sl_task_current(lua_State *L)
{
    struct sl_task *t = sl_script_fast(L)->running;

    return t != NULL && t->L == L ? t : NULL;
}

struct sl_task *sl_task_must_wait(lua_State *L, const char *what)
{
    struct sl_task *t = sl_script_fast(L)->running;

    if (t == NULL)
        luaL_error(L, "%s cannot wait in the body of a script; call it in start() or in a hook",
                   what);
    if ((SL_CONTEXTS_WAITING >> t->opts.context & 1) == 0)
        luaL_error(L, "%s cannot wait in %s", what, sl_context_name(t->opts.context));
    if (t->L != L)
        luaL_error(L,
                   "%s cannot wait inside a coroutine that the script made; use sluice.spawn for "
                   "work beside",
                   what);
    if (!lua_isyieldable(L))
        luaL_error(L,
                   "%s cannot wait inside a function that C code calls back (of table.sort, "
                   "string.gsub, require)",
                   what);
    luaL_checkstack(L, SL_TASK_MAX_VALUES, "too many nested calls");
    return t;
}

int sl_task_wait(struct sl_task *t, void (*cancel)(void *op), void *op)
{
    sl_assert(t->state == TASK_RUNNING);
    t->cancel = cancel;
    t->op = op;
    t->state = TASK_WAITING;
    /* The arguments stay on the stack: in `return object:wait()` nothing else keeps the object from
     * the collector. */
    return lua_yield(t->L, lua_gettop(t->L));
}

void sl_task_resume(struct sl_task *t, sl_push_fn *push, void *arg)
{
    struct sl_script *s = t->script;
    struct push p = {t, push, arg, 0};

    sl_assert(t->state == TASK_WAITING);
    t->cancel = NULL;
    if (push != NULL && sl_script_protect(s, push_values, &p, NULL) < 0) {
        lua_pushnil(t->L);
        lua_rawgeti(t->L, LUA_REGISTRYINDEX, s->out_of_memory);
        p.n = 2;
    }
    if (s->busy > 0)
        queue(t, p.n);
    else
        sl_task_go(t, p.n);
}

static int push_error(lua_State *L, void *arg)
{
    return sl_push_failure(L, arg);
}

void sl_task_resume_error(struct sl_task *t, const char *text)
{
    sl_task_resume(t, push_error, (void *)text);
}

void sl_task_fail_later(struct sl_task *t, const char *text)
{
    struct sl_script *s = t->script;

    s->busy++;
    sl_task_resume_error(t, text);
    s->busy--;
}

static int push_true(lua_State *L, void *arg)
{
    (void)arg;
    lua_pushboolean(L, 1);
    return 1;
}

void sl_task_resume_true(struct sl_task *t)
{
    sl_task_resume(t, push_true, NULL);
}

/* --- ending from outside --- */

void sl_task_cancel(struct sl_task *t)
{
    switch (t->state) {
    case TASK_RUNNING:
        t->is_cancelled = true;
        break;
    case TASK_READY:
    case TASK_WAITING:
        t->state = TASK_ENDING;
        cancel_op(t);
        end(t, SL_TASK_CANCELLED);
        break;
    case TASK_IDLE:
    case TASK_ENDING:
        break;
    }
}

void sl_task_discard(struct sl_task *t)
{
    give_back(t, true);
}

void sl_task_detach(struct sl_task *t)
{
    t->opts.on_end = NULL;
    t->opts.user = NULL;
}

/* --- of a script --- */

void sl_tasks_init(struct sl_script *s)
{
    sl_list_init(&s->tasks);
    sl_list_init(&s->ready);
}

/* What a cancelled task leaves behind may end others, so the list is walked by taking from its
 * front. */
void sl_tasks_cancel(struct sl_script *s, unsigned roots)
{
    struct sl_list batch;
    struct sl_link *link;

    sl_list_init(&batch);
    while ((link = sl_list_pop(&s->tasks)) != NULL)
        sl_list_append(&batch, link);
    while ((link = sl_list_pop(&batch)) != NULL) {
        struct sl_task *t = sl_container_of(link, struct sl_task, link);

        sl_list_append(&s->tasks, link);
        if (roots >> t->root & 1)
            sl_task_cancel(t);
    }
}

void sl_tasks_clear(struct sl_script *s)
{
    sl_tasks_cancel(s, UINT32_MAX);
    sl_assert(sl_list_is_empty(&s->tasks));
    sl_loop_unsoon(&s->soon);
    while (s->idle_tasks != NULL) {
        struct sl_task *t = s->idle_tasks;

        s->idle_tasks = t->next_idle;
        free_task(t);
    }
}
