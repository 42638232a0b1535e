/*
 * The inside of a loop, for the files of this folder only.
 */
#ifndef SL_LOOP_INTERNAL_H
#define SL_LOOP_INTERNAL_H

#include "base/buf.h"
#include "loop/loop.h"

enum { SL_WHEEL_SLOTS = 512, SL_WHEEL_TICK_MS = 100 };

struct sl_loop {
    struct event_base *base;
    struct sl_list adopted; /* of sl_task_link: run when the loop is freed */
    struct sl_list soon;    /* of sl_task_link: run at the end of the turn */
    struct sl_buf deferred; /* of struct deferred: freed at the end of the turn */
    int wake_fd;
    struct sl_watch wake;
    _Atomic(struct post *) inbox; /* a lock-free stack, newest first */
    _Atomic bool stopping;
    uint8_t *scratch[5];
    /* the wheel of deadlines */
    struct sl_list slots[SL_WHEEL_SLOTS];
    struct event tick;
    uint64_t wheel_ms; /* every slot before this time was served */
    size_t n_deadlines;
    bool is_ticking;
    uint64_t skipped_ms; /* by sl_loop_skip() */
};

void sl_wheel_init(struct sl_loop *loop);
void sl_wheel_clear(struct sl_loop *loop);
/* Serves the slots up to now. */
void sl_wheel_turn(struct sl_loop *loop);

#endif
