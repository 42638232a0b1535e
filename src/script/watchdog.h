/*
 * The CPU budget of script code: one watchdog thread per process looks at every script each 10 ms
 * while any of them runs Lua, and sleeps while none does.
 *
 * No count hook is set in normal operation: it would cost a quarter of the interpreter's speed.
 * Instead each budget has a sequence number that is odd while Lua runs. The watchdog compares the
 * CPU clock of the thread with what it was when it first saw the number. Past the limit it sends
 * the thread a signal whose handler arms a Lua hook; the hook throws at the next instruction, and
 * at every further one until the run has unwound, so that no pcall, coroutine or error handler can
 * go on. Waiting for the processor does not count.
 *
 * A run that uses the hard limit is stuck in C, or in a loop that was compiled under `jit = true`
 * (compiled code looks at no hooks): the watchdog logs it, writes the Lua traceback as well as can
 * be, and aborts the process, which the supervisor starts again.
 *
 * Owner: the script that embeds the budget. sl_budget_enter() and _leave() are for the thread that
 * runs Lua, in pairs that nest; every other function for the same thread outside such a pair.
 *
 *     sl_budget_start(&b, L, 50);
 *     sl_budget_enter(&b);
 *     status = lua_resume(co, n);
 *     sl_budget_leave(&b);
 *     sl_budget_stop(&b);
 */
#ifndef SL_SCRIPT_WATCHDOG_H
#define SL_SCRIPT_WATCHDOG_H

#include <lua.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include "base/list.h"

struct sl_budget {
    lua_State *L;
    unsigned depth;               /* of enter calls */
    struct sl_budget *outer;      /* what ran on this thread when we were entered */
    volatile sig_atomic_t armed;  /* the hook is set */
    _Atomic uint64_t sequence;    /* odd: Lua runs */
    _Atomic uint64_t over;        /* the sequence of the run that has used its budget up */
    _Atomic bool give_up;         /* the next signal means: write the traceback and abort */
    _Atomic(lua_State *) running; /* the coroutine that was entered, for the traceback */
    _Atomic pthread_t thread;     /* where it runs */
    _Atomic uint32_t limit_ms, hard_ms;
    /* the watchdog's own, under its lock */
    struct sl_link link;
    uint64_t seen, cpu_then_ns, signalled_ns;
};

/* Registers with the watchdog, which is started with the first one. */
void sl_budget_start(struct sl_budget *b, lua_State *L, uint32_t limit_ms);
void sl_budget_stop(struct sl_budget *b);
/* Applies to runs that begin later. The hard limit is 2 s above. */
void sl_budget_limit(struct sl_budget *b, uint32_t limit_ms);

extern _Atomic bool sl_watchdog_sleeps;
extern __thread struct sl_budget *sl_budget_current;
void sl_watchdog_wake(void);
/* First run on this thread: remembers it, and lets the signal through. */
void sl_budget_new_thread(struct sl_budget *b);
void sl_budget_disarm(struct sl_budget *b);

static inline void sl_budget_enter(struct sl_budget *b)
{
    if (b->depth++ > 0)
        return;
    if (SL_UNLIKELY(atomic_load_explicit(&b->thread, memory_order_relaxed) != pthread_self()))
        sl_budget_new_thread(b);
    b->outer = sl_budget_current;
    sl_budget_current = b;
    atomic_store_explicit(&b->sequence,
                          atomic_load_explicit(&b->sequence, memory_order_relaxed) + 1,
                          memory_order_release);
    if (SL_UNLIKELY(atomic_load_explicit(&sl_watchdog_sleeps, memory_order_relaxed)))
        sl_watchdog_wake();
}

/* The sequence moves on first: a signal that comes after that finds another number and does
   nothing; one that came before has left `armed`. */
static inline void sl_budget_leave(struct sl_budget *b)
{
    if (--b->depth > 0)
        return;
    atomic_store_explicit(&b->sequence,
                          atomic_load_explicit(&b->sequence, memory_order_relaxed) + 1,
                          memory_order_release);
    atomic_signal_fence(memory_order_seq_cst);
    if (SL_UNLIKELY(b->armed))
        sl_budget_disarm(b);
    sl_budget_current = b->outer;
}

/* Has the run that is in progress used its budget up? */
static inline bool sl_budget_is_over(const struct sl_budget *b)
{
    return b->armed;
}

#endif
