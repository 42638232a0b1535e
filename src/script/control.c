#include "script/bind.h"
#include "script/internal.h"

/* start(), stop() and check(): the functions of a script that run in control. */

enum { FIRST_DELAY_MS = 1000, MAX_DELAY_MS = 30000 };

/* One call of one of them; start() has one as long as the script. */
struct sl_control {
    struct sl_script *script;
    sl_script_on_end *on_end;
    void *user;
    struct sl_task *task;          /* start: while it runs */
    struct sl_task_object *object; /* its argument */
    int object_ref;
    struct sl_timer restart;
    unsigned delay_ms;
};

static void start_again(struct sl_control *c);

/* `nil, message` and `false, message` are how these functions refuse. */
static const char *refusal(struct sl_task *t)
{
    lua_State *L = sl_task_lua(t);

    if (sl_task_results(t) < 2 || lua_toboolean(L, 1) || lua_type(L, 2) != LUA_TSTRING)
        return NULL;
    return lua_tostring(L, 2);
}

static void tell(struct sl_control *c, struct sl_task *t, enum sl_task_end how)
{
    const char *message;

    if (how == SL_TASK_THREW)
        c->on_end(c->user, SL_SCRIPT_FAILED, sl_task_error(t));
    else if ((message = refusal(t)) != NULL)
        c->on_end(c->user, SL_SCRIPT_REFUSED, message);
    else
        c->on_end(c->user, SL_SCRIPT_ENDED, NULL);
}

/* --- stop and check: once --- */

static void on_once_end(struct sl_task *t, enum sl_task_end how)
{
    struct sl_control *c = sl_task_user(t);

    if (how != SL_TASK_CANCELLED)
        tell(c, t, how);
    sl_free(c);
}

static int push_function(lua_State *L, void *arg)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, *(int *)arg);
    return 1;
}

static void run_once(struct sl_script *s, enum sl_context context, int function,
                     sl_script_on_end *on_end, void *user)
{
    struct sl_task_opts opts = {.context = context, .on_end = on_once_end};
    struct sl_control *c;

    if (function == LUA_NOREF) {
        on_end(user, SL_SCRIPT_ENDED, NULL);
        return;
    }
    c = sl_zalloc(sizeof(*c));
    *c = (struct sl_control){.script = s, .on_end = on_end, .user = user};
    opts.user = c;
    sl_task_run(s, &opts, push_function, &function);
}

void sl_script_stop(struct sl_script *s, sl_script_on_end *on_end, void *user)
{
    run_once(s, SL_CONTEXT_STOP, s->policy.stop, on_end, user);
}

void sl_script_check(struct sl_script *s, sl_script_on_end *on_end, void *user)
{
    run_once(s, SL_CONTEXT_CHECK, s->policy.check, on_end, user);
}

/* --- start: again when it threw --- */

static void on_restart(struct sl_timer *timer)
{
    start_again(timer->user);
}

static void on_start_end(struct sl_task *t, enum sl_task_end how)
{
    struct sl_control *c = sl_task_user(t);

    c->task = NULL;
    sl_task_object_ended(c->object, t, how);
    luaL_unref(c->script->L, LUA_REGISTRYINDEX, c->object_ref);
    c->object_ref = LUA_NOREF;
    if (how == SL_TASK_CANCELLED)
        return;
    if (how == SL_TASK_THREW) {
        sl_timer_set(&c->restart, c->delay_ms);
        c->delay_ms = SL_MIN(c->delay_ms * 2, MAX_DELAY_MS);
    }
    tell(c, t, how);
}

/* The object is anchored apart from the task, whose function may drop it. */
static void push_start(lua_State *L, void *arg)
{
    struct sl_control *c = arg;

    lua_rawgeti(L, LUA_REGISTRYINDEX, c->script->policy.start);
    c->object = sl_task_object_push(L, c->task);
    lua_pushvalue(L, -1);
    c->object_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_xmove(L, sl_task_lua(c->task), 2);
}

static void start_again(struct sl_control *c)
{
    struct sl_task_opts opts = {.context = SL_CONTEXT_START, .on_end = on_start_end, .user = c};

    c->task = sl_task_take(c->script, &opts);
    if (c->task != NULL && sl_script_protect(c->script, push_start, c, NULL) == 0) {
        sl_task_go(c->task, 1);
        return;
    }
    if (c->task != NULL)
        sl_task_discard(c->task);
    c->task = NULL;
    c->on_end(c->user, SL_SCRIPT_FAILED, "out of memory");
}

void sl_script_start(struct sl_script *s, sl_script_on_end *on_end, void *user)
{
    struct sl_control *c;

    sl_assert(s->control == NULL && s->busy == 0);
    if (s->policy.start == LUA_NOREF) {
        on_end(user, SL_SCRIPT_ENDED, NULL);
        return;
    }
    c = sl_zalloc(sizeof(*c));
    *c = (struct sl_control){
        .script = s, .on_end = on_end, .user = user, .delay_ms = FIRST_DELAY_MS};
    c->object_ref = LUA_NOREF;
    s->control = c;
    sl_timer_init(&c->restart, s->loop, on_restart, c);
    start_again(c);
}

/* Start() may be running or waiting: it is cancelled. */
void sl_control_free(struct sl_script *s)
{
    struct sl_control *c = s->control;

    if (c == NULL)
        return;
    sl_timer_clear(&c->restart);
    if (c->task != NULL)
        sl_task_cancel(c->task);
    s->control = NULL;
    sl_free(c);
}
