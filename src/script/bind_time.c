/* sluice.sleep, timer, every, now, time. */
#include "script/library.h"

#include "base/clock.h"

enum { MAX_TIMERS = 100000 }; /* of one thread */

static __thread unsigned n_timers;

/* --- sleep --- */

struct sleep {
    struct sl_timer timer;
    struct sl_loop *loop;
    struct sl_task *task;
};

static void free_sleep(void *op)
{
    struct sleep *s = op;

    sl_timer_clear(&s->timer);
    n_timers--;
    sl_loop_defer(s->loop, s, sl_free);
}

static void on_wake(struct sl_timer *t)
{
    struct sleep *s = t->user;
    struct sl_task *task = s->task;

    free_sleep(s);
    sl_task_resume(task, NULL, NULL);
}

static void need_timer(lua_State *L)
{
    if (n_timers >= MAX_TIMERS)
        luaL_error(L, "%d timers and sleeping tasks run already", MAX_TIMERS);
}

static int sleep_(lua_State *L)
{
    double seconds = sl_arg_seconds(L, 1);
    struct sl_task *task = sl_task_must_wait(L, "sluice.sleep");
    struct sleep *s;

    need_timer(L);
    s = sl_zalloc(sizeof(*s));
    s->loop = sl_script_loop(sl_script_of(L));
    s->task = task;
    n_timers++;
    sl_timer_init(&s->timer, s->loop, on_wake, s);
    sl_timer_set(&s->timer, seconds * 1e3);
    return sl_task_wait(task, free_sleep, s);
}

/* --- timer and every --- */

/* Lives while it is on or a run of it goes on. */
struct timer {
    struct sl_timer timer;
    struct sl_script_owned owned;
    struct sl_script *script;
    struct timer **object; /* Lua's pointer to it; NULL: nobody has one */
    int fn;
    double period_ms; /* 0: once */
    bool is_on;
    bool is_running;
};

static void free_if_over(struct timer *t)
{
    if (t->is_on || t->is_running)
        return;
    if (t->object != NULL)
        *t->object = NULL;
    n_timers--;
    sl_loop_defer(sl_script_loop(t->script), t, sl_free);
}

static void stop(struct timer *t)
{
    int fn = t->fn;

    if (!t->is_on)
        return;
    t->is_on = false;
    t->fn = LUA_NOREF;
    sl_timer_clear(&t->timer);
    sl_link_remove(&t->owned.link);
    sl_unref(t->script, fn);
    free_if_over(t);
}

static void on_retire(struct sl_script_owned *o)
{
    stop(sl_container_of(o, struct timer, owned));
}

static void on_run_end(struct sl_task *task, enum sl_task_end end SL_UNUSED)
{
    struct timer *t = sl_task_user(task);

    t->is_running = false;
    free_if_over(t);
}

static int push_fn(lua_State *L, void *arg)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, *(int *)arg);
    return 1;
}

/* A tick that comes while the run before it still goes on is left out: runs never overlap. */
static void on_tick(struct timer *t)
{
    struct sl_task_opts opts = {SL_CONTEXT_TASK, "timer", on_run_end, t};

    sl_timer_set(&t->timer, t->period_ms);
    if (t->is_running)
        return;
    t->is_running = true;
    sl_task_run(t->script, &opts, push_fn, &t->fn);
}

static int push_fn_once(lua_State *L, void *arg)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, *(int *)arg);
    luaL_unref(L, LUA_REGISTRYINDEX, *(int *)arg);
    return 1;
}

static void on_due(struct sl_timer *timer)
{
    static const struct sl_task_opts opts = {.context = SL_CONTEXT_TASK, .what = "timer"};
    struct timer *t = timer->user;
    struct sl_script *script = t->script;
    int fn = t->fn;

    if (t->period_ms > 0) {
        on_tick(t);
        return;
    }
    t->fn = LUA_NOREF;
    stop(t);
    sl_task_run(script, &opts, push_fn_once, &fn);
}

static struct timer *start_timer(lua_State *L, struct timer **object, double seconds, int fn)
{
    struct timer *t = sl_zalloc(sizeof(*t));

    t->script = sl_script_of(L);
    t->object = object;
    t->fn = fn;
    t->is_on = true;
    *object = t;
    n_timers++;
    sl_script_on_retire(t->script, &t->owned, on_retire);
    sl_timer_init(&t->timer, sl_script_loop(t->script), on_due, t);
    sl_timer_set(&t->timer, seconds * 1e3);
    return t;
}

static int timer_(lua_State *L)
{
    double seconds = sl_arg_seconds(L, 1);
    struct timer **object;

    luaL_checktype(L, 2, LUA_TFUNCTION);
    need_timer(L);
    object = sl_object_new(L, "timer", sizeof(*object));
    start_timer(L, object, seconds, sl_ref_function(L, 2));
    return 1;
}

static int every(lua_State *L)
{
    double seconds = sl_arg_seconds(L, 1);
    struct timer **object;

    luaL_argcheck(L, seconds >= 0.001, 1, "at least 0.001 seconds expected");
    luaL_checktype(L, 2, LUA_TFUNCTION);
    need_timer(L);
    object = sl_object_new(L, "timer", sizeof(*object));
    start_timer(L, object, seconds, sl_ref_function(L, 2))->period_ms = seconds * 1e3;
    return 1;
}

static int timer_cancel(lua_State *L)
{
    struct timer **object = sl_object_check(L, 1, "timer");

    if (*object != NULL)
        stop(*object);
    return 0;
}

/* A timer that nobody holds still fires. */
static int timer_gc(lua_State *L)
{
    struct timer **object = lua_touserdata(L, 1);

    if (*object != NULL)
        (*object)->object = NULL;
    return 0;
}

/* --- clocks --- */

static int now(lua_State *L)
{
    lua_pushnumber(L, (double)sl_clock_ns() / 1e9);
    return 1;
}

static int time_(lua_State *L)
{
    lua_pushnumber(L, (double)sl_clock_wall_ms() / 1e3);
    return 1;
}

void sl_bind_time(lua_State *L)
{
    static const struct luaL_Reg functions[] = {
        {"sleep", sleep_}, {"timer", timer_}, {"every", every},
        {"now", now},      {"time", time_},   {NULL, NULL},
    };
    static const struct luaL_Reg methods[] = {{"cancel", timer_cancel}, {NULL, NULL}};

    sl_bind_functions(L, functions);
    sl_bind_class(L, "timer", methods, timer_gc);
}
