/*
 * Which stream of a tunnel sends next. Control frames are not asked about here: they always go
 * first.
 *
 * Streams with bytes to send stand in one of two tiers. Those of the data tier share the link by
 * deficit round robin, so that one greedy stream gets no more than a modest one that wants as much.
 * A stream that has been sending fast for long ("sustained": the backup, not the page) moves to the
 * second tier, which drains when the first is empty and has a floor of SL_SCHEDULE_FLOOR bytes a
 * second otherwise, from a token bucket. Its rate decays: a stream that calms down comes back.
 *
 * Pure: time is passed in (ms, monotonic). One thread; flows are embedded in their streams, which
 * call sl_schedule_idle() before they go.
 *
 *     while (room > 0 && (flow = sl_schedule_next(s, now, &most)) != NULL) {
 *         n = send_frame(flow, SL_MIN(most, room));
 *         sl_schedule_sent(s, flow, n, has_more, now);
 *     }
 */
#ifndef SL_TUNNEL_SCHEDULE_H
#define SL_TUNNEL_SCHEDULE_H

#include "base/list.h"
#include "base/mem.h"

enum {
    /* Bytes of one turn of a stream: with the head of its frame two full records of TLS. */
    SL_SCHEDULE_QUANTUM = 32 * 1024 - 9,
    SL_SCHEDULE_FLOOR = 1000 * 1000, /* bytes a second for the sustained tier, at least */
    SL_SCHEDULE_BURST = 64 * 1024,   /* of that, at once */
    /* A stream is sustained once it is this old and this fast; it comes back at half of that. */
    SL_SUSTAINED_AGE_MS = 10 * 1000,
    SL_SUSTAINED_RATE = 2500 * 1000, /* bytes a second */
};

enum sl_tier { SL_TIER_DATA, SL_TIER_SUSTAINED };

struct sl_flow {
    struct sl_link link; /* in its tier's list while it is ready */
    enum sl_tier tier;
    bool is_ready;
    uint32_t deficit;    /* bytes it may still send in this turn */
    uint64_t started_ms; /* when it was opened */
    uint64_t rated_ms;   /* when `rate` was last brought up to date */
    double rate;         /* bytes a second, an average that forgets over some seconds */
};

struct sl_schedule {
    struct sl_list tiers[2]; /* of sl_flow, next one first */
    double tokens;           /* of the sustained tier */
    uint64_t filled_ms;
    size_t n_ready[2];
};

void sl_schedule_init(struct sl_schedule *s, uint64_t now_ms);
void sl_flow_init(struct sl_flow *f, uint64_t now_ms);
/* The flow has something to send; nothing happens when that was known. */
void sl_schedule_ready(struct sl_schedule *s, struct sl_flow *f);
/* It has nothing to send, or must not (its window is closed), or is about to go. */
void sl_schedule_idle(struct sl_schedule *s, struct sl_flow *f);
/* The flow whose turn it is, with the number of bytes it may send in one frame, or NULL. */
struct sl_flow *sl_schedule_next(struct sl_schedule *s, uint64_t now_ms, size_t *most);
/* The flow that sl_schedule_next() gave has sent `n` bytes; `has_more`: it stays ready. */
void sl_schedule_sent(struct sl_schedule *s, struct sl_flow *f, size_t n, bool has_more,
                      uint64_t now_ms);

#endif
