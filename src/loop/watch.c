#include <signal.h>
#include "base/log.h"
#include "loop/internal.h"

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    struct sl_watch *w = arg;

    (void)fd;
    w->on_ready(w, (what & EV_READ ? SL_READ : 0u) | (what & EV_WRITE ? SL_WRITE : 0u));
}

void sl_watch_init(struct sl_watch *w, struct sl_loop *loop, int fd,
                   void (*on_ready)(struct sl_watch *, unsigned), void *user)
{
    w->loop = loop;
    w->on_ready = on_ready;
    w->user = user;
    w->fd = fd;
    w->mask = 0;
}

void sl_watch_set(struct sl_watch *w, unsigned mask)
{
    short what = EV_PERSIST;

    if (mask == w->mask)
        return;
    if (w->mask != 0)
        event_del(&w->ev);
    w->mask = mask;
    if (mask == 0)
        return;
    what |= mask & SL_READ ? EV_READ : 0;
    what |= mask & SL_WRITE ? EV_WRITE : 0;
    event_assign(&w->ev, w->loop->base, w->fd, what, on_event, w);
    if (event_add(&w->ev, NULL) < 0) {
        sl_log_error("cannot watch a descriptor", sl_f_int("fd", w->fd));
        w->mask = 0;
    }
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
    struct sl_timer *t = arg;

    (void)fd;
    (void)what;
    t->on = false;
    t->on_due(t);
}

void sl_timer_init(struct sl_timer *t, struct sl_loop *loop, void (*on_due)(struct sl_timer *),
                   void *user)
{
    t->on_due = on_due;
    t->user = user;
    t->on = false;
    event_assign(&t->ev, loop->base, -1, 0, on_timeout, t);
}

void sl_timer_set(struct sl_timer *t, double ms)
{
    double us = ms > 0 ? ms * 1000 : 0;
    struct timeval tv;

    if (us > 1e15)
        us = 1e15; /* some 31 years: the caller means "never" */
    tv.tv_sec = (time_t)(us / 1e6);
    tv.tv_usec = (suseconds_t)(us - (double)tv.tv_sec * 1e6);
    t->on = true;
    event_add(&t->ev, &tv);
}

void sl_timer_clear(struct sl_timer *t)
{
    if (t->on)
        event_del(&t->ev);
    t->on = false;
}

static void on_signal_event(evutil_socket_t fd, short what, void *arg)
{
    struct sl_signal *s = arg;

    (void)fd;
    (void)what;
    s->on_signal(s);
}

void sl_signal_start(struct sl_signal *s, struct sl_loop *loop, int number,
                     void (*on_signal)(struct sl_signal *), void *user)
{
    s->on_signal = on_signal;
    s->user = user;
    s->number = number;
    event_assign(&s->ev, loop->base, number, EV_SIGNAL | EV_PERSIST, on_signal_event, s);
    event_add(&s->ev, NULL);
}

void sl_signal_stop(struct sl_signal *s)
{
    event_del(&s->ev);
}
