/*
 * For tests that use the real network of this machine: a listener on a free port of the loopback,
 * and waiting for a condition without a clock of one's own.
 *
 *     listen_on_loopback(&at, &fd);
 *     run_until(loop, peer.n_fin == 1);
 */
#ifndef SL_NET_TEST_NET_H
#define SL_NET_TEST_NET_H

#include "base/check.h"
#include "net/listener.h"
#include "net/tcp.h"

enum { TEST_GUARD_MS = 20000 };

static inline void test_on_guard(struct sl_timer *t)
{
    *(bool *)t->user = true;
}

/* Runs the loop until `cond` holds, and checks that it does; gives up when the guard strikes. */
#define run_until(loop, cond)                                                                      \
    do {                                                                                           \
        struct sl_timer guard_;                                                                    \
        bool is_late_ = false;                                                                     \
        sl_timer_init(&guard_, loop, test_on_guard, &is_late_);                                    \
        sl_timer_set(&guard_, TEST_GUARD_MS);                                                      \
        while (!(cond) && !is_late_)                                                               \
            sl_loop_turn(loop, true);                                                              \
        sl_timer_clear(&guard_);                                                                   \
        sl_check(cond);                                                                            \
    } while (0)

/* Lets everything happen that would happen by itself. */
static inline void run_quiet(struct sl_loop *loop)
{
    for (int i = 0; i < 100; i++)
        sl_loop_turn(loop, false);
}

/* How often the loop wakes up in this time: few times when nothing happens. */
static inline int count_turns(struct sl_loop *loop, double ms)
{
    struct sl_timer timer;
    bool is_over = false;
    int n = 0;

    sl_timer_init(&timer, loop, test_on_guard, &is_over);
    sl_timer_set(&timer, ms);
    while (!is_over) {
        sl_loop_turn(loop, true);
        n++;
    }
    return n;
}

static inline int listen_on_loopback(struct sl_addr *at)
{
    int fd = -1;

    sl_assert(sl_addr_parse(at, SL_STR("127.0.0.1"), 0) == 0);
    sl_assert(sl_socket_listen(&fd, at, false, NULL) == 0);
    return fd;
}

#endif
