#include "app/trim.h"

#include <malloc.h>
#include "base/clock.h"
#include "base/log.h"

enum { LOOK_MS = 1000 };

bool sl_trim_is_due(struct sl_trim *t, uint64_t count)
{
    t->peak = SL_MAX(t->peak, count);
    if (t->peak < SL_TRIM_LEAST || count > t->peak / 4) {
        t->n_quiet = 0;
        return false;
    }
    if (++t->n_quiet < SL_TRIM_QUIET)
        return false;
    t->n_quiet = 0;
    t->peak = count;
    return true;
}

static void on_look(struct sl_timer *timer)
{
    struct sl_trim *t = timer->user;
    uint64_t peak = t->peak, began;

    sl_timer_set(timer, LOOK_MS);
    if (!sl_trim_is_due(t, t->count(t->user)))
        return;
    began = sl_clock_ns();
    malloc_trim(0);
    sl_log_info("memory given back after a rush", sl_f_int("connections", (int64_t)peak),
                sl_f_double("took_ms", (double)(sl_clock_ns() - began) / 1e6));
}

void sl_trim_start(struct sl_trim *t, struct sl_loop *loop, uint64_t (*count)(void *user),
                   void *user)
{
    t->count = count;
    t->user = user;
    sl_timer_init(&t->timer, loop, on_look, t);
    sl_timer_set(&t->timer, LOOK_MS);
}

void sl_trim_stop(struct sl_trim *t)
{
    sl_timer_clear(&t->timer);
}
