#include "loop/loop.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "loop/internal.h"

/* Work that waits for the end of the turn, to free something. */
struct deferred {
    void *ptr;
    void (*free_fn)(void *ptr);
};

/* One message from another thread. */
struct post {
    struct post *next;
    void (*fn)(void *arg);
    void *arg;
};

static void on_wakeup(struct sl_watch *w, unsigned what);

int sl_loop_new(struct sl_loop **out)
{
    struct sl_loop *loop = sl_zalloc(sizeof(*loop));
    struct event_config *config = event_config_new();

    loop->wake_fd = -1;
    sl_list_init(&loop->soon);
    sl_list_init(&loop->adopted);
    sl_wheel_init(loop);
    sl_assert(config != NULL);
    /* One thread owns the loop: no locks. */
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    loop->base = event_base_new_with_config(config);
    event_config_free(config);
    if (loop->base == NULL)
        goto fail;
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->wake_fd < 0)
        goto fail;
    sl_watch_init(&loop->wake, loop, loop->wake_fd, on_wakeup, loop);
    sl_watch_set(&loop->wake, SL_READ);
    *out = loop;
    return 0;
fail:
    sl_loop_free(loop);
    return SL_E_SYSTEM;
}

/* Takes the whole inbox and turns it round: the stack has the newest on top, callers expect the
 * order of posting. */
static struct post *take_inbox(struct sl_loop *loop)
{
    struct post *p = atomic_exchange_explicit(&loop->inbox, NULL, memory_order_acquire);
    struct post *in_order = NULL;

    while (p != NULL) {
        struct post *next = p->next;

        p->next = in_order;
        in_order = p;
        p = next;
    }
    return in_order;
}

static void run_inbox(struct sl_loop *loop)
{
    struct post *p = take_inbox(loop);

    while (p != NULL) {
        struct post *next = p->next;

        p->fn(p->arg);
        sl_free(p);
        p = next;
    }
}

static void on_wakeup(struct sl_watch *w, unsigned what)
{
    struct sl_loop *loop = w->user;
    uint64_t count;

    (void)what;
    if (read(loop->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
        sl_log_error("cannot read the wake-up descriptor", sl_f_int("errno", errno));
    run_inbox(loop);
}

static void wake(struct sl_loop *loop)
{
    uint64_t one = 1;
    ssize_t n = write(loop->wake_fd, &one, sizeof(one));

    (void)n; /* EAGAIN: the counter is full, so a wake-up is under way anyway */
}

void sl_loop_post(struct sl_loop *loop, void (*fn)(void *), void *arg)
{
    struct post *p = sl_alloc(sizeof(*p));
    struct post *top = atomic_load_explicit(&loop->inbox, memory_order_relaxed);

    p->fn = fn;
    p->arg = arg;
    do {
        p->next = top;
    } while (!atomic_compare_exchange_weak_explicit(&loop->inbox, &top, p, memory_order_release,
                                                    memory_order_relaxed));
    if (top == NULL) /* else the one who put the first in has woken the loop */
        wake(loop);
}

/* Tasks first, since they may defer frees; both until nothing is left, but a task posted by a task
 * waits for the next turn. */
static void end_turn(struct sl_loop *loop)
{
    struct sl_list now;

    if (!sl_list_is_empty(&loop->soon)) {
        sl_list_init(&now);
        sl_list_each(&loop->soon, it)
        {
            sl_link_remove(it);
            sl_list_append(&now, it);
        }
        for (struct sl_link *it; (it = sl_list_pop(&now)) != NULL;) {
            struct sl_task_link *task = sl_container_of(it, struct sl_task_link, link);

            task->run(task->user);
        }
    }
    while (sl_buf_len(&loop->deferred) > 0) {
        struct deferred d;

        memcpy(&d, sl_buf_at(&loop->deferred), sizeof(d));
        sl_buf_consume(&loop->deferred, sizeof(d));
        d.free_fn(d.ptr);
    }
}

bool sl_loop_turn(struct sl_loop *loop, bool wait)
{
    int flags = EVLOOP_ONCE;

    if (!wait || !sl_list_is_empty(&loop->soon))
        flags |= EVLOOP_NONBLOCK;
    if (event_base_loop(loop->base, flags) < 0) {
        sl_log_error("the event loop failed", sl_f_int("errno", errno));
        abort();
    }
    end_turn(loop);
    return !sl_list_is_empty(&loop->soon);
}

void sl_loop_run(struct sl_loop *loop)
{
    while (!atomic_load_explicit(&loop->stopping, memory_order_acquire))
        sl_loop_turn(loop, true);
    run_inbox(loop); /* what was posted before the stop may need what its owner frees next */
    end_turn(loop);
}

void sl_loop_stop(struct sl_loop *loop)
{
    atomic_store_explicit(&loop->stopping, true, memory_order_release);
    wake(loop);
}

void sl_loop_free(struct sl_loop *loop)
{
    if (loop == NULL)
        return;
    for (struct sl_link *it; (it = sl_list_pop(&loop->adopted)) != NULL;) {
        struct sl_task_link *task = sl_container_of(it, struct sl_task_link, link);

        task->run(task->user);
    }
    while (atomic_load_explicit(&loop->inbox, memory_order_acquire) != NULL ||
           sl_buf_len(&loop->deferred) > 0 || !sl_list_is_empty(&loop->soon)) {
        run_inbox(loop);
        end_turn(loop);
    }
    sl_wheel_clear(loop);
    if (loop->wake_fd >= 0) {
        sl_watch_set(&loop->wake, 0);
        close(loop->wake_fd);
    }
    if (loop->base != NULL)
        event_base_free(loop->base);
    sl_buf_clear(&loop->deferred);
    for (size_t i = 0; i < SL_COUNT(loop->scratch); i++)
        sl_free(loop->scratch[i]);
    sl_free(loop);
}

uint64_t sl_loop_now_ms(const struct sl_loop *loop)
{
    return sl_clock_coarse_ms() + loop->skipped_ms;
}

void sl_loop_skip(struct sl_loop *loop, uint64_t ms)
{
    loop->skipped_ms += ms;
    if (loop->is_ticking)
        sl_wheel_turn(loop);
    end_turn(loop);
}

uint8_t *sl_loop_scratch(struct sl_loop *loop, int which)
{
    sl_assert(which >= 0 && (size_t)which < SL_COUNT(loop->scratch));
    if (loop->scratch[which] == NULL)
        loop->scratch[which] = sl_alloc(which == 4 ? SL_SCRATCH_BATCH_LEN : SL_SCRATCH_LEN);
    return loop->scratch[which];
}

void sl_loop_soon(struct sl_loop *loop, struct sl_task_link *task, void (*run)(void *), void *user)
{
    if (sl_link_is_on(&task->link))
        return;
    task->run = run;
    task->user = user;
    sl_list_append(&loop->soon, &task->link);
}

void sl_loop_adopt(struct sl_loop *loop, struct sl_task_link *task, void (*run)(void *), void *user)
{
    task->run = run;
    task->user = user;
    sl_list_append(&loop->adopted, &task->link);
}

void sl_loop_unsoon(struct sl_task_link *task)
{
    sl_link_remove(&task->link);
}

void sl_loop_defer(struct sl_loop *loop, void *ptr, void (*free_fn)(void *))
{
    struct deferred d = {ptr, free_fn};

    sl_buf_append(&loop->deferred, &d, sizeof(d));
}
