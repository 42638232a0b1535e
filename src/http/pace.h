/*
 * How long a client may keep us waiting for its body. Each byte moves the deadline of a silence, so
 * that one byte now and then could hold a connection for ever; therefore waiting is paid for: the
 * client begins with body_timeout, waiting takes from that, and each byte gives 1/min_body_rate
 * seconds back, up to body_timeout. Time in which nobody wants the body costs nothing.
 *
 * Embedded and begun anew for each body; no clock of its own.
 */
#ifndef SL_HTTP_PACE_H
#define SL_HTTP_PACE_H

#include "http/exchange.h"

struct sl_pace {
    uint64_t since_ms; /* when the waiting began; 0: nobody waits */
    uint64_t n_paid;   /* bytes that have been turned into time */
    uint64_t left_ms;
};

static inline void sl_pace_begin(struct sl_pace *p, const struct sl_http_limits *limits)
{
    *p = (struct sl_pace){.left_ms = limits->body_timeout};
}

static inline void sl_pace_stop(struct sl_pace *p, uint64_t now_ms)
{
    uint64_t waited = p->since_ms != 0 ? now_ms - p->since_ms : 0;

    p->left_ms -= SL_MIN(p->left_ms, waited);
    p->since_ms = 0;
}

/* Waiting begins or goes on, after `n_bytes` of the body in all. How many ms from now it may last;
 * 0: as long as it likes. */
static inline uint32_t sl_pace_wait(struct sl_pace *p, uint64_t now_ms, uint64_t n_bytes,
                                    const struct sl_http_limits *limits)
{
    uint64_t rate = limits->min_body_rate, earned_ms;

    if (rate == 0 || limits->body_timeout == 0)
        return limits->body_timeout;
    sl_pace_stop(p, now_ms);
    p->since_ms = now_ms;
    earned_ms = (n_bytes - p->n_paid) * 1000 / rate;
    p->n_paid += earned_ms * rate / 1000;
    p->left_ms = SL_MIN(p->left_ms + earned_ms, (uint64_t)limits->body_timeout);
    return SL_MAX((uint32_t)p->left_ms, 1u);
}

#endif
