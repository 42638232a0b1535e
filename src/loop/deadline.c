/*
 * Deadlines on a hashed wheel: 512 slots of 100 ms. Setting one later than it stands costs two
 * stores; its place in the wheel is corrected when its slot comes round. So a connection may move
 * its deadline with every byte.
 */
#include "loop/internal.h"

static void on_tick(evutil_socket_t fd, short what, void *arg);

static struct sl_list *slot_of(struct sl_loop *loop, uint64_t ms)
{
    return &loop->slots[ms / SL_WHEEL_TICK_MS % SL_WHEEL_SLOTS];
}

void sl_wheel_init(struct sl_loop *loop)
{
    for (size_t i = 0; i < SL_WHEEL_SLOTS; i++)
        sl_list_init(&loop->slots[i]);
}

void sl_wheel_clear(struct sl_loop *loop)
{
    if (loop->is_ticking)
        event_del(&loop->tick);
    loop->is_ticking = false;
}

static void start_ticking(struct sl_loop *loop)
{
    struct timeval tv = {0, SL_WHEEL_TICK_MS * 1000};

    if (loop->is_ticking)
        return;
    loop->is_ticking = true;
    loop->wheel_ms = sl_loop_now_ms(loop);
    event_assign(&loop->tick, loop->base, -1, EV_PERSIST, on_tick, loop);
    event_add(&loop->tick, &tv);
}

/* Puts `d` into the slot of its due time, or as far ahead as the wheel reaches. */
static void place(struct sl_loop *loop, struct sl_deadline *d)
{
    uint64_t reach = loop->wheel_ms + (uint64_t)(SL_WHEEL_SLOTS - 2) * SL_WHEEL_TICK_MS;

    d->slot_ms = SL_MAX(SL_MIN(d->due_ms, reach), loop->wheel_ms);
    sl_list_append(slot_of(loop, d->slot_ms), &d->link);
}

static void leave(struct sl_deadline *d)
{
    sl_link_remove(&d->link);
    d->loop->n_deadlines--;
}

static void visit(struct sl_loop *loop, struct sl_deadline *d, uint64_t now)
{
    if (d->due_ms == 0) {
        leave(d); /* cleared meanwhile */
    } else if (d->due_ms > now) {
        sl_link_remove(&d->link);
        place(loop, d);
    } else {
        leave(d);
        d->due_ms = 0;
        d->on_due(d);
    }
}

/* Serves one slot. A callback may stop any other deadline, so the slot is emptied from a list of
 * its own. */
static void serve(struct sl_loop *loop, struct sl_list *slot, uint64_t now)
{
    struct sl_list batch;

    sl_list_init(&batch);
    sl_list_each(slot, it)
    {
        sl_link_remove(it);
        sl_list_append(&batch, it);
    }
    for (struct sl_link *it; (it = sl_list_first(&batch)) != NULL;)
        visit(loop, sl_container_of(it, struct sl_deadline, link), now);
}

/* The process slept for longer than the wheel is round: every deadline is looked at, and those that
 * are not due move to where they belong from here on. */
static void serve_all(struct sl_loop *loop, uint64_t now)
{
    loop->wheel_ms = now;
    for (size_t i = 0; i < SL_WHEEL_SLOTS; i++)
        serve(loop, &loop->slots[i], now);
}

void sl_wheel_turn(struct sl_loop *loop)
{
    uint64_t now = sl_loop_now_ms(loop);

    if (now - loop->wheel_ms > (uint64_t)SL_WHEEL_SLOTS * SL_WHEEL_TICK_MS)
        serve_all(loop, now);
    while (loop->wheel_ms + SL_WHEEL_TICK_MS <= now) {
        struct sl_list *slot = slot_of(loop, loop->wheel_ms);

        loop->wheel_ms += SL_WHEEL_TICK_MS;
        serve(loop, slot, now);
    }
    if (loop->n_deadlines == 0)
        sl_wheel_clear(loop);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    sl_wheel_turn(arg);
}

void sl_deadline_init(struct sl_deadline *d, struct sl_loop *loop,
                      void (*on_due)(struct sl_deadline *), void *user)
{
    *d = (struct sl_deadline){.on_due = on_due, .user = user, .loop = loop};
}

void sl_deadline_set(struct sl_deadline *d, uint64_t ms)
{
    struct sl_loop *loop = d->loop;

    d->due_ms = sl_loop_now_ms(loop) + SL_MAX(ms, 1);
    if (sl_link_is_on(&d->link)) {
        if (d->due_ms >= d->slot_ms)
            return; /* moved later: corrected when the slot comes round */
        leave(d);
    }
    start_ticking(loop);
    loop->n_deadlines++;
    place(loop, d);
}

void sl_deadline_clear(struct sl_deadline *d)
{
    d->due_ms = 0;
}

void sl_deadline_stop(struct sl_deadline *d)
{
    d->due_ms = 0;
    if (sl_link_is_on(&d->link))
        leave(d);
}
