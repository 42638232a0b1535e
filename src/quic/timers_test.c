#include "base/check.h"
#include "quic/timers.h"

enum { TIMERS = 200 };

static uint64_t seed = 42;

static uint64_t draw(uint64_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % below;
}

/* Whatever is set, moved and removed: each fires once, at its time, in order. */
static void test_random(void)
{
    struct sl_quic_timers all = {0};
    struct sl_quic_timer timers[TIMERS] = {0};
    uint64_t now = 0;

    for (int round = 0; round < 20000; round++) {
        struct sl_quic_timer *t = &timers[draw(TIMERS)];
        uint64_t kind = draw(10);

        if (kind < 6)
            sl_quic_timers_set(&all, t, now + 1 + draw(1000));
        else if (kind == 6)
            sl_quic_timers_set(&all, t, SL_QUIC_NEVER);
        else if (kind == 7)
            sl_quic_timers_remove(&all, t);
        else
            now += draw(50);
        for (int i = 0; i < TIMERS; i++)
            if (timers[i].place != 0 && timers[i].due != SL_QUIC_NEVER)
                sl_assert(sl_quic_timers_first(&all) <= timers[i].due);
        while ((t = sl_quic_timers_pop(&all, now)) != NULL)
            sl_assert(t->due <= now && t->place == 0);
        for (int i = 0; i < TIMERS; i++)
            sl_assert(timers[i].place == 0 || timers[i].due > now);
    }
    for (int i = 0; i < TIMERS; i++)
        sl_quic_timers_remove(&all, &timers[i]);
    sl_check(all.n == 0 && sl_quic_timers_first(&all) == SL_QUIC_NEVER);
    sl_quic_timers_clear(&all);
}

/* Moved to later it does not fire at the earlier time; moved to earlier it does. */
static void test_moving(void)
{
    struct sl_quic_timers all = {0};
    struct sl_quic_timer a = {0}, b = {0};

    sl_quic_timers_set(&all, &a, 10);
    sl_quic_timers_set(&all, &b, 20);
    sl_quic_timers_set(&all, &a, 30);
    sl_check(sl_quic_timers_pop(&all, 15) == NULL);
    sl_check(sl_quic_timers_pop(&all, 25) == &b && sl_quic_timers_pop(&all, 25) == NULL);
    sl_check(sl_quic_timers_first(&all) == 30);
    sl_quic_timers_set(&all, &a, 5);
    sl_check(sl_quic_timers_first(&all) == 5 && sl_quic_timers_pop(&all, 5) == &a);
    sl_quic_timers_set(&all, &a, 50);
    sl_quic_timers_set(&all, &a, SL_QUIC_NEVER);
    sl_check(sl_quic_timers_pop(&all, 100) == NULL && all.n == 0);
    sl_quic_timers_clear(&all);
}

int main(void)
{
    test_moving();
    test_random();
    return sl_check_done();
}
