/*
 * Flow control of the streams of a tunnel over TLS: how much the other side may send on each of
 * them before we have passed it on.
 *
 * A receiver grants bytes; a sender spends them. Each stream begins with a grant that both sides
 * know (SL_WINDOW_FIRST between two sluices, SL_WINDOW_MAX with the original), and WINDOW_UPDATE
 * adds to it. A stream's share is the budget divided by the number of streams, between
 * SL_WINDOW_MIN and SL_WINDOW_MAX.
 *
 * The budget bounds what is really held, not what was granted: most streams pass on what comes at
 * once, so that all of them together may be granted much more. While half of the budget is held no
 * window grows any more; those who read keep what they have. When it is spent nevertheless, the
 * tunnel ends the stream that holds most.
 *
 * Pure functions; embedded in tunnel and stream; one thread.
 */
#ifndef SL_TUNNEL_WINDOW_H
#define SL_TUNNEL_WINDOW_H

#include "base/error.h"

enum {
    SL_WINDOW_FIRST = 16 * 1024,
    SL_WINDOW_MIN = 1 << 20,
    SL_WINDOW_MAX = 4 << 20,
    SL_WINDOW_BUDGET = 200 << 20,
};

/* Of one tunnel. */
struct sl_window_budget {
    uint64_t total;
    uint64_t held;      /* arrived and not passed on, and what its owner counts besides */
    uint64_t committed; /* granted and not passed on yet, of all streams */
    uint64_t n_streams;
};

/* The receiving side of one stream; counts since its begin. */
struct sl_window {
    uint64_t granted, received, passed;
    uint32_t size; /* what it may have outstanding, as it was last granted */
    bool is_eager; /* the sender's idea of the window is not known: give back all that was passed on
                      as soon as nothing waits here, so that it cannot be left without */
};

/* The share of one stream now. */
uint32_t sl_window_share(const struct sl_window_budget *b);

/* What is held is so much that nothing should become more. */
static inline bool sl_window_is_scarce(const struct sl_window_budget *b)
{
    return b->held >= b->total / 2;
}

/* A stream begins with `first` bytes granted. */
void sl_window_open(struct sl_window *w, struct sl_window_budget *b, uint32_t first);
/* The stream is over, whatever was granted. */
void sl_window_close(struct sl_window *w, struct sl_window_budget *b);
/* `n` bytes have arrived. 0, or SL_E_LIMIT when the sender has ignored its window. */
int sl_window_receive(struct sl_window *w, struct sl_window_budget *b, size_t n);
/* `n` of them were passed on. Returns the credit to send now, or 0: it is kept until it is worth a
 * frame. */
uint32_t sl_window_pass(struct sl_window *w, struct sl_window_budget *b, size_t n);

/* For a link with a flow control of its own (QUIC), where windows hold nobody back but have to be
 * right when the stream goes on over one that has none: grants `n` bytes that are about to arrive,
 * and passes on what has. What the sender may send beyond what has arrived is the same before and
 * after, or a first window, if that is more. */
void sl_window_grant(struct sl_window *w, struct sl_window_budget *b, size_t n);
void sl_window_pass_granted(struct sl_window *w, struct sl_window_budget *b, size_t n);

/* The sending side is a number: adds credit, without wrapping around. */
uint64_t sl_window_add(uint64_t left, uint32_t credit);

#endif
