#include "tunnel/schedule.h"

#include "base/check.h"

enum { N_FLOWS = 4, FRAME = 16 * 1024 };

/* A link with some flows, each of which sends `frame` bytes at a time as long as it `wants` to. */
struct rig {
    struct sl_schedule schedule;
    struct sl_flow flows[N_FLOWS];
    size_t frame[N_FLOWS];
    uint64_t sent[N_FLOWS];
    uint64_t now;
};

static void set_up(struct rig *r)
{
    *r = (struct rig){.now = 1000};
    sl_schedule_init(&r->schedule, r->now);
    for (int i = 0; i < N_FLOWS; i++) {
        sl_flow_init(&r->flows[i], r->now);
        r->frame[i] = FRAME;
    }
}

/* One frame of whoever comes next; -1 when nobody does. */
static int step(struct rig *r)
{
    size_t most;
    struct sl_flow *f = sl_schedule_next(&r->schedule, r->now, &most);
    size_t i = (size_t)(f - r->flows);

    if (f == NULL)
        return -1;
    most = SL_MIN(most, r->frame[i]);
    r->sent[i] += most;
    sl_schedule_sent(&r->schedule, f, most, true, r->now);
    return (int)i;
}

/* A link of `per_ms` bytes a millisecond. */
static void run(struct rig *r, unsigned ms, size_t per_ms)
{
    double credit = 0;

    for (unsigned i = 0; i < ms; i++) {
        r->now++;
        for (credit += (double)per_ms; credit > 0;) {
            int who = step(r);

            if (who < 0)
                break;
            credit -= (double)r->frame[who];
        }
    }
}

static void forget_sent(struct rig *r)
{
    memset(r->sent, 0, sizeof(r->sent));
}

static bool is_about(uint64_t got, double want)
{
    return (double)got > want * 0.9 && (double)got < want * 1.1;
}

static void nobody_is_asked_in_vain(void)
{
    struct rig r;

    set_up(&r);
    sl_check(step(&r) == -1);
    sl_schedule_ready(&r.schedule, &r.flows[0]);
    sl_schedule_ready(&r.schedule, &r.flows[0]); /* known already */
    sl_check(step(&r) == 0);
    sl_schedule_idle(&r.schedule, &r.flows[0]);
    sl_schedule_idle(&r.schedule, &r.flows[0]);
    sl_check(step(&r) == -1);
}

/* Whatever the size of their frames, streams that want as much get as much. */
static void streams_of_a_tier_share_alike(void)
{
    struct rig r;

    set_up(&r);
    r.frame[1] = 100;
    r.frame[2] = 3000;
    for (int i = 0; i < N_FLOWS; i++)
        sl_schedule_ready(&r.schedule, &r.flows[i]);
    run(&r, 1000, 4000);
    for (int i = 0; i < N_FLOWS; i++)
        sl_check(is_about(r.sent[i], 1e6));
}

/* The turn of a stream that had little to say does not make up for it later. */
static void a_turn_is_not_saved_up(void)
{
    struct rig r;
    size_t most;

    set_up(&r);
    sl_schedule_ready(&r.schedule, &r.flows[0]);
    sl_check(sl_schedule_next(&r.schedule, r.now, &most) == &r.flows[0]);
    sl_schedule_sent(&r.schedule, &r.flows[0], 10, false, r.now);
    sl_schedule_ready(&r.schedule, &r.flows[0]);
    sl_check(sl_schedule_next(&r.schedule, r.now, &most) == &r.flows[0]);
    sl_check(most == SL_SCHEDULE_QUANTUM);
}

/* Flow 0 has been sending alone at 5 MB/s for 11 s. */
static void grow_an_elephant(struct rig *r)
{
    set_up(r);
    sl_schedule_ready(&r->schedule, &r->flows[0]);
    run(r, 9900, 5000);
    sl_check(r->flows[0].tier == SL_TIER_DATA); /* fast, but young */
    run(r, 1100, 5000);
    sl_check(r->flows[0].tier == SL_TIER_SUSTAINED);
    forget_sent(r);
}

static void an_elephant_gives_way_but_keeps_its_floor(void)
{
    struct rig r;

    grow_an_elephant(&r);
    sl_flow_init(&r.flows[1], r.now); /* young, and wants all it can get */
    sl_schedule_ready(&r.schedule, &r.flows[1]);
    run(&r, 2000, 5000);
    sl_check(is_about(r.sent[0], 2e6)); /* 1 MB/s */
    sl_check(is_about(r.sent[1], 8e6));
}

static void elephants_alone_take_all(void)
{
    struct rig r;

    grow_an_elephant(&r);
    run(&r, 2000, 5000);
    sl_check(is_about(r.sent[0], 10e6));
}

static void one_that_calms_down_comes_back(void)
{
    struct rig r;

    grow_an_elephant(&r);
    sl_schedule_idle(&r.schedule, &r.flows[0]);
    r.now += 20000;
    sl_schedule_ready(&r.schedule, &r.flows[0]);
    r.frame[0] = 100;
    sl_check(step(&r) == 0);
    sl_check(r.flows[0].tier == SL_TIER_DATA);
}

/* A rate between the two limits changes nothing: no flapping. */
static void the_way_back_is_longer_than_the_way_there(void)
{
    struct rig r;

    grow_an_elephant(&r);
    run(&r, 15000, 2000);
    sl_check(r.flows[0].tier == SL_TIER_SUSTAINED);
    run(&r, 15000, 1000);
    sl_check(r.flows[0].tier == SL_TIER_DATA);
    run(&r, 15000, 2000);
    sl_check(r.flows[0].tier == SL_TIER_DATA);
}

int main(void)
{
    nobody_is_asked_in_vain();
    streams_of_a_tier_share_alike();
    a_turn_is_not_saved_up();
    an_elephant_gives_way_but_keeps_its_floor();
    elephants_alone_take_all();
    one_that_calms_down_comes_back();
    the_way_back_is_longer_than_the_way_there();
    return sl_check_done();
}
