/* Deadlines on a clock that the test moves: nothing in here waits. */
#include "loop/loop.h"
#include "base/check.h"

enum { MAX_DEADLINES = 600, SLACK_MS = 250 }; /* what a tick and the wheel's grain may add */

static struct sl_loop *loop;
static struct sl_deadline all[MAX_DEADLINES];
static int fired[MAX_DEADLINES], n_fired, order[MAX_DEADLINES];
static uint64_t fired_ms[MAX_DEADLINES];

static void on_due(struct sl_deadline *d)
{
    int i = (int)(d - all);

    order[n_fired++ % MAX_DEADLINES] = i;
    fired[i]++;
    fired_ms[i] = sl_loop_now_ms(loop);
}

static void begin(void)
{
    memset(fired, 0, sizeof(fired));
    n_fired = 0;
    for (size_t i = 0; i < MAX_DEADLINES; i++)
        sl_deadline_init(&all[i], loop, on_due, NULL);
}

static void end(void)
{
    for (size_t i = 0; i < MAX_DEADLINES; i++)
        sl_deadline_stop(&all[i]);
}

/* Moves the clock in small steps, as it moves in life. */
static void pass(uint64_t ms)
{
    for (uint64_t end_ms = sl_loop_now_ms(loop) + ms; sl_loop_now_ms(loop) < end_ms;)
        sl_loop_skip(loop, SL_MIN(end_ms - sl_loop_now_ms(loop), 20));
}

static void they_come_in_order_and_never_early(void)
{
    static const uint64_t spans[] = {1,     90,    100,   101,   1000,  5000,
                                     51000, 51200, 51300, 60000, 200000};
    uint64_t start;

    begin();
    start = sl_loop_now_ms(loop);
    for (size_t i = SL_COUNT(spans); i-- > 0;)
        sl_deadline_set(&all[i], spans[i]);
    pass(201000);
    sl_check(n_fired == (int)SL_COUNT(spans));
    for (size_t i = 0; i < SL_COUNT(spans); i++) {
        sl_check(fired[i] == 1 && fired_ms[i] >= start + spans[i]);
        sl_check(fired_ms[i] <= start + spans[i] + SLACK_MS);
        sl_check(i == 0 || fired_ms[order[i]] >= fired_ms[order[i - 1]]);
    }
    end();
}

static void the_last_setting_counts(void)
{
    uint64_t start;

    begin();
    start = sl_loop_now_ms(loop);
    sl_deadline_set(&all[0], 1000);
    sl_deadline_set(&all[1], 5000);
    sl_deadline_set(&all[2], 1000);
    pass(500);
    sl_deadline_set(&all[0], 5000); /* later */
    sl_deadline_set(&all[1], 100);  /* earlier */
    sl_deadline_clear(&all[2]);
    pass(1000);
    sl_check(fired[0] == 0 && fired[1] == 1 && fired[2] == 0);
    sl_deadline_set(&all[2], 1000); /* a cleared one is still in the wheel */
    pass(2000);
    sl_check(fired[0] == 0 && fired[2] == 1);
    pass(3000);
    sl_check(fired[0] == 1 && fired_ms[0] >= start + 5500);
    sl_check(n_fired == 3);
    end();
}

/* What a connection does: every byte moves the deadline. */
static void one_that_is_always_moved_never_comes(void)
{
    begin();
    for (int i = 0; i < 2000; i++) {
        sl_deadline_set(&all[0], 300);
        pass(60);
    }
    sl_check(fired[0] == 0);
    pass(600);
    sl_check(fired[0] == 1);
    end();
}

static void stop_all(struct sl_deadline *d)
{
    on_due(d);
    for (size_t i = 0; i < 3; i++)
        sl_deadline_stop(&all[i]);
}

static void a_callback_may_stop_its_neighbours(void)
{
    begin();
    for (size_t i = 0; i < 3; i++) {
        sl_deadline_init(&all[i], loop, stop_all, NULL);
        sl_deadline_set(&all[i], 1000);
    }
    pass(3000);
    sl_check(n_fired == 1);
    end();
}

static void clear_next_and_set_again(struct sl_deadline *d)
{
    on_due(d);
    sl_deadline_clear(&all[1]);
    sl_deadline_set(&all[2], 1);
    if (fired[0] < 3)
        sl_deadline_set(d, 1000);
}

static void a_callback_may_set_itself_and_others(void)
{
    begin();
    sl_deadline_init(&all[0], loop, clear_next_and_set_again, NULL);
    for (size_t i = 0; i < 2; i++)
        sl_deadline_set(&all[i], 1000);
    pass(10000);
    sl_check(fired[0] == 3 && fired[1] == 0 && fired[2] == 3);
    end();
}

/* A laptop that was closed, a virtual machine that stood still. */
static void after_a_long_sleep_nothing_is_late(void)
{
    uint64_t start;

    begin();
    start = sl_loop_now_ms(loop);
    sl_deadline_set(&all[0], 1000);
    for (size_t i = 1; i < MAX_DEADLINES; i++)
        sl_deadline_set(&all[i], 1000000 + 200 * i);
    sl_loop_skip(loop, 1000000);
    sl_check(fired[0] == 1 && n_fired == 1);
    pass(200 * MAX_DEADLINES + 1000);
    sl_check(n_fired == MAX_DEADLINES);
    for (size_t i = 1; i < MAX_DEADLINES; i++) {
        sl_check(fired_ms[i] >= start + 1000000 + 200 * i);
        sl_check(fired_ms[i] <= start + 1000000 + 200 * i + SLACK_MS);
    }
    end();
}

static void it_ticks_by_itself(void)
{
    begin();
    sl_deadline_set(&all[0], 1);
    while (fired[0] == 0) /* the guard of the whole test is the runner's */
        sl_loop_turn(loop, true);
    sl_check(fired[0] == 1);
    end();
}

int main(void)
{
    sl_assert(sl_loop_new(&loop) == 0);
    they_come_in_order_and_never_early();
    the_last_setting_counts();
    one_that_is_always_moved_never_comes();
    a_callback_may_stop_its_neighbours();
    a_callback_may_set_itself_and_others();
    after_a_long_sleep_nothing_is_late();
    it_ticks_by_itself();
    sl_loop_free(loop);
    return sl_check_done();
}
