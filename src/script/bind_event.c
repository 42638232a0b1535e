/* sluice.event: one task waits until another one of the same state says that there is news. */
#include "script/library.h"

static const char class_name[] = "event";

struct script_event {
    struct wait *wait; /* NULL: nobody waits */
    bool is_set;       /* set while nobody waited */
};

/* A task that waits. Its stack holds the event, so that the pointer stays good. */
struct wait {
    struct script_event *event;
    struct sl_task *task;
    struct sl_loop *loop;
    struct sl_timer timer;
};

static void free_wait(void *op)
{
    struct wait *w = op;

    w->event->wait = NULL;
    sl_timer_clear(&w->timer);
    sl_loop_defer(w->loop, w, sl_free);
}

static void on_due(struct sl_timer *t)
{
    struct wait *w = t->user;
    struct sl_task *task = w->task;

    free_wait(w);
    sl_task_resume_error(task, "timed out");
}

static int new_event(lua_State *L)
{
    sl_object_new(L, class_name, sizeof(struct script_event));
    return 1;
}

static int event_set(lua_State *L)
{
    struct script_event *e = sl_object_check(L, 1, class_name);
    struct sl_task *task;

    if (e->wait == NULL) {
        e->is_set = true;
        return 0;
    }
    task = e->wait->task;
    free_wait(e->wait);
    sl_task_resume_true(task); /* queued: it goes on when this one has paused */
    return 0;
}

static int event_wait(lua_State *L)
{
    struct script_event *e = sl_object_check(L, 1, class_name);
    bool has_end = !lua_isnoneornil(L, 2);
    double seconds = has_end ? sl_arg_seconds(L, 2) : 0;
    struct sl_task *task;
    struct wait *w;

    if (e->is_set) {
        e->is_set = false;
        lua_pushboolean(L, true);
        return 1;
    }
    task = sl_task_must_wait(L, "event:wait");
    if (e->wait != NULL)
        return luaL_error(L, "event:wait: another task waits for it");
    lua_settop(L, 1);
    w = e->wait = sl_zalloc(sizeof(*w));
    w->event = e;
    w->task = task;
    w->loop = sl_script_loop(sl_script_of(L));
    sl_timer_init(&w->timer, w->loop, on_due, w);
    if (has_end)
        sl_timer_set(&w->timer, seconds * 1e3);
    return sl_task_wait(task, free_wait, w);
}

void sl_bind_event(lua_State *L)
{
    static const struct luaL_Reg functions[] = {{"event", new_event}, {NULL, NULL}};
    static const struct luaL_Reg methods[] = {
        {"set", event_set}, {"wait", event_wait}, {NULL, NULL}};

    sl_bind_functions(L, functions);
    sl_bind_class(L, class_name, methods, NULL);
}
