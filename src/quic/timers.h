/*
 * When the connections of an endpoint are due: a heap of times in nanoseconds, under the one timer
 * of the endpoint.
 *
 * Nearly every packet moves the timer of its connection, mostly to later. So moving it later is one
 * store: the heap keeps the earlier time, and puts it right when that comes.
 *
 * Embedded in the endpoint; one thread. A timer is part of its owner, zero when it is off.
 */
#ifndef SL_QUIC_TIMERS_H
#define SL_QUIC_TIMERS_H

#include "base/mem.h"

#define SL_QUIC_NEVER UINT64_MAX

struct sl_quic_timer {
    uint64_t due; /* what was asked for */
    uint64_t key; /* where it stands in the heap: `due` or earlier */
    size_t place; /* in the heap, from 1; 0: not there */
    void (*on_due)(struct sl_quic_timer *t);
};

struct sl_quic_timers {
    struct sl_quic_timer **heap;
    size_t n, cap;
};

/* SL_QUIC_NEVER switches it off. */
void sl_quic_timers_set(struct sl_quic_timers *all, struct sl_quic_timer *t, uint64_t due);
/* Before the owner of a timer is freed. */
void sl_quic_timers_remove(struct sl_quic_timers *all, struct sl_quic_timer *t);
/* Not later than the earliest of all; SL_QUIC_NEVER when none is on. */
uint64_t sl_quic_timers_first(const struct sl_quic_timers *all);
/* Takes out one that is due by `now`, or returns NULL. */
struct sl_quic_timer *sl_quic_timers_pop(struct sl_quic_timers *all, uint64_t now);
/* No timer may be on. */
void sl_quic_timers_clear(struct sl_quic_timers *all);

#endif
