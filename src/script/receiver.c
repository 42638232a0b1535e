#include "script/receiver.h"

#include "script/bind.h"

/* A task that receives on and on lets the loop have its turn after this time. */
enum { MAX_AT_ONCE_MS = 5 };

static struct sl_task *take_task(struct sl_receiver *r)
{
    struct sl_task *task = r->task;

    r->task = NULL;
    sl_receiver_clear(r);
    return task;
}

static void serve(void *user)
{
    struct sl_receiver *r = user;

    r->since_ms = sl_loop_now_ms(r->loop);
    sl_task_resume(take_task(r), r->push, r->user);
    r->on_idle(r->user); /* freed memory waits for the end of the turn */
}

static void on_due(struct sl_timer *t)
{
    struct sl_receiver *r = t->user;

    if (sl_link_is_on(&r->soon.link))
        return; /* it is about to be served */
    sl_task_resume_error(take_task(r), "timed out");
    r->on_idle(r->user);
}

static void cancel(void *op)
{
    struct sl_receiver *r = op;

    take_task(r);
    r->on_idle(r->user);
}

void sl_receiver_init(struct sl_receiver *r, struct sl_loop *loop, sl_push_fn *push,
                      void (*on_idle)(void *user), void *user)
{
    *r = (struct sl_receiver){.loop = loop, .push = push, .on_idle = on_idle, .user = user};
    sl_timer_init(&r->timer, loop, on_due, r);
}

/* At the end of the turn: a task that went on with each message would keep the loop for as long as
 * messages come. It is legal wherever a task is cancelled, too. */
void sl_receiver_wake(struct sl_receiver *r)
{
    if (r->task != NULL)
        sl_loop_soon(r->loop, &r->soon, serve, r);
}

static bool may_go_on(const struct sl_receiver *r)
{
    return sl_loop_now_ms(r->loop) - r->since_ms < MAX_AT_ONCE_MS;
}

int sl_receiver_receive(struct sl_receiver *r, lua_State *L, const char *what, bool has_message,
                        bool is_over)
{
    double timeout = lua_isnoneornil(L, 2) ? -1 : sl_arg_seconds(L, 2);
    struct sl_task *task = sl_task_must_wait(L, what);

    if (r->task != NULL)
        return luaL_error(L, "%s: another task is receiving", what);
    if (has_message ? may_go_on(r) : is_over)
        return r->push(L, r->user);
    r->task = task;
    if (has_message)
        sl_receiver_wake(r);
    else if (timeout >= 0)
        sl_timer_set(&r->timer, timeout * 1e3);
    return sl_task_wait(task, cancel, r);
}

void sl_receiver_clear(struct sl_receiver *r)
{
    sl_timer_clear(&r->timer);
    sl_loop_unsoon(&r->soon);
}
