/*
 * The event loop of one thread, and the only place that knows libevent: watches on descriptors,
 * timers, deadlines, work posted from other threads, signals, and frees that wait for the end of
 * the turn.
 *
 * Owner: the thread that runs it. Every function here is for that thread, but for sl_loop_post()
 * and sl_loop_stop(). A callback may stop or clear any watch, timer or deadline, its own included.
 * An object that embeds one and may be freed in a callback goes through sl_loop_defer(), never
 * straight to free: the loop may still hold an event for it in this turn.
 *
 *     struct sl_watch w;
 *     sl_watch_init(&w, loop, fd, on_ready, conn);
 *     sl_watch_set(&w, SL_READ);
 *     sl_loop_run(loop);
 */
#ifndef SL_LOOP_LOOP_H
#define SL_LOOP_LOOP_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include "base/error.h"
#include "base/list.h"
#include "base/str.h"

struct sl_loop;

/* Bytes of each scratch buffer of a loop, and of the one for batches of datagrams. */
enum { SL_SCRATCH_LEN = 128 * 1024, SL_SCRATCH_BATCH_LEN = 1024 * 1024 };

int sl_loop_new(struct sl_loop **out);
/* Runs what is still deferred, then frees. No watch or timer may be left. */
void sl_loop_free(struct sl_loop *loop);
/* Until sl_loop_stop(); what was posted before that has run by then. */
void sl_loop_run(struct sl_loop *loop);
/* One turn, for a program that has a loop of its own (a test): what is ready runs; with `wait` the
 * turn begins by waiting until something is. True when the next turn has work already. */
bool sl_loop_turn(struct sl_loop *loop, bool wait);
/* Any thread. */
void sl_loop_stop(struct sl_loop *loop);
/* Milliseconds, monotonic, coarse (as sl_clock_coarse_ms). */
uint64_t sl_loop_now_ms(const struct sl_loop *loop);
/* Moves this loop's clock on and runs what is due then, as if the process had been asleep; timers
 * do not notice. For tests of deadlines. */
void sl_loop_skip(struct sl_loop *loop, uint64_t ms);

/* Scratch memory that is valid until the callback returns to the loop, SL_SCRATCH_LEN bytes each:
       [0] bytes off the network       [1] the same, decrypted
       [2] bytes about to be written   [3] body bytes put together from several chunks
       [4] a batch of datagrams off the network (SL_SCRATCH_BATCH_LEN bytes) */
uint8_t *sl_loop_scratch(struct sl_loop *loop, int which);

/* --- watches: readiness of a descriptor, level-triggered --- */

enum { SL_READ = 1, SL_WRITE = 2 };

struct sl_watch {
    struct event ev;
    struct sl_loop *loop;
    void (*on_ready)(struct sl_watch *w, unsigned what);
    void *user;
    int fd;
    unsigned mask; /* what is being watched now */
};

void sl_watch_init(struct sl_watch *w, struct sl_loop *loop, int fd,
                   void (*on_ready)(struct sl_watch *, unsigned), void *user);
/* Watches exactly these (SL_READ | SL_WRITE); 0 stops. Costs a system call only when the set
 * changes. */
void sl_watch_set(struct sl_watch *w, unsigned mask);

/* --- timers: as exact as the kernel's tick (some 4 ms), one shot; for scripts and retries --- */

struct sl_timer {
    struct event ev;
    void (*on_due)(struct sl_timer *t);
    void *user;
    bool on;
};

void sl_timer_init(struct sl_timer *t, struct sl_loop *loop, void (*on_due)(struct sl_timer *),
                   void *user);
/* Due `ms` from now (fractions count); replaces an earlier due time. */
void sl_timer_set(struct sl_timer *t, double ms);
void sl_timer_clear(struct sl_timer *t);

/* --- deadlines: coarse (100 ms), nearly free to move; for the phases of connections --- */

struct sl_deadline {
    struct sl_link link;
    void (*on_due)(struct sl_deadline *d);
    void *user;
    struct sl_loop *loop;
    uint64_t due_ms; /* 0: not set */
    uint64_t slot_ms;
};

void sl_deadline_init(struct sl_deadline *d, struct sl_loop *loop,
                      void (*on_due)(struct sl_deadline *), void *user);
/* Due `ms` from now; moving it later costs two stores. */
void sl_deadline_set(struct sl_deadline *d, uint64_t ms);
/* Keeps its place in the wheel: cheap to set again. An owner that is freed calls
 * sl_deadline_stop(). */
void sl_deadline_clear(struct sl_deadline *d);
void sl_deadline_stop(struct sl_deadline *d);

/* --- work at the end of the turn and from other threads --- */

/* A task is embedded in its owner. It runs once, at the end of this turn; posting one that is
 * already queued does nothing. */
struct sl_task_link {
    struct sl_link link;
    void (*run)(void *user);
    void *user;
};

void sl_loop_soon(struct sl_loop *loop, struct sl_task_link *task, void (*run)(void *), void *user);
void sl_loop_unsoon(struct sl_task_link *task);
/* For an object without an owner (a socket that lingers): `run` ends it when the loop is freed
   first. Taken back with sl_loop_unsoon(). */
void sl_loop_adopt(struct sl_loop *loop, struct sl_task_link *task, void (*run)(void *),
                   void *user);
/* Calls `free_fn(ptr)` at the end of this turn. */
void sl_loop_defer(struct sl_loop *loop, void *ptr, void (*free_fn)(void *));
/* Any thread: `fn(arg)` runs on the loop's thread, in order of posting. Never blocks. After
   sl_loop_stop() what is still queued runs in sl_loop_free(). */
void sl_loop_post(struct sl_loop *loop, void (*fn)(void *), void *arg);

/* --- signals and children (one loop per process: the control loop or the supervisor's) --- */

struct sl_signal {
    struct event ev;
    void (*on_signal)(struct sl_signal *s);
    void *user;
    int number;
};

void sl_signal_start(struct sl_signal *s, struct sl_loop *loop, int number,
                     void (*on_signal)(struct sl_signal *), void *user);
void sl_signal_stop(struct sl_signal *s);

#endif
