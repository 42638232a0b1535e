/* Packets that go from worker to worker, of which strangers can make as many as they like. */
#include "app/runtime.h"
#include "base/check.h"

enum { FLOOD = 100000, LEN = 1200, MOST = 5 * 1024 * 1024 };

static struct sl_worker workers[2];
static struct sl_runtime rt = {.workers = workers, .n_workers = 2};
static uint8_t bytes[LEN];

static void stray_to(unsigned worker)
{
    struct sl_udp_packet packet = {.bytes = bytes, .len = LEN, .segment = LEN};

    sl_stray_forward(&workers[0], worker, 443, &packet);
}

static void what_is_on_its_way_is_bounded(void)
{
    for (int i = 0; i < FLOOD; i++)
        stray_to(1);
    sl_check(workers[1].n_stray > LEN && workers[1].n_stray < MOST);
}

static void nobody_else_gets_any(void)
{
    stray_to(0); /* to itself: a stray that comes back would go round for ever */
    stray_to(2);
    stray_to(255);
    sl_check(workers[0].n_stray == 0);
}

/* A worker that has ended, with its proxy gone, lets go of what was on its way. */
static void the_end_of_a_worker(void)
{
    sl_loop_free(workers[1].loop);
    sl_check(workers[1].n_stray == 0);
}

int main(void)
{
    for (int i = 0; i < 2; i++) {
        workers[i].rt = &rt;
        sl_assert(sl_loop_new(&workers[i].loop) == 0);
    }
    what_is_on_its_way_is_bounded();
    nobody_else_gets_any();
    the_end_of_a_worker();
    sl_loop_free(workers[0].loop);
    return sl_check_done();
}
