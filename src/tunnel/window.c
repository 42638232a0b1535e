#include "tunnel/window.h"

/* Credit that is always worth a frame. */
enum { WORTH_A_FRAME = 512 * 1024 };

uint32_t sl_window_share(const struct sl_window_budget *b)
{
    uint64_t share = b->total / SL_MAX(b->n_streams, (uint64_t)1);

    return (uint32_t)SL_MIN(SL_MAX(share, (uint64_t)SL_WINDOW_MIN), (uint64_t)SL_WINDOW_MAX);
}

static uint64_t outstanding(const struct sl_window *w)
{
    return w->granted - w->passed;
}

int sl_window_open(struct sl_window *w, struct sl_window_budget *b, uint32_t first)
{
    if (b->committed + first > b->total)
        return SL_E_LIMIT;
    *w = (struct sl_window){.granted = first};
    b->committed += first;
    b->n_streams++;
    return 0;
}

void sl_window_close(struct sl_window *w, struct sl_window_budget *b)
{
    sl_assert(b->n_streams > 0 && b->committed >= outstanding(w));
    b->committed -= outstanding(w);
    b->n_streams--;
}

int sl_window_receive(struct sl_window *w, size_t n)
{
    if (n > w->granted - w->received)
        return SL_E_LIMIT;
    w->received += n;
    return 0;
}

/* What the stream may have outstanding: its share, as far as the budget goes. What it has just
 * passed on is spare again, so that a stream which reads never stops for good. */
static uint64_t target(const struct sl_window *w, const struct sl_window_budget *b)
{
    uint64_t spare = b->total > b->committed ? b->total - b->committed : 0;

    return SL_MIN((uint64_t)sl_window_share(b), outstanding(w) + spare);
}

static bool is_worth_it(const struct sl_window *w, uint64_t credit, uint64_t aim)
{
    return credit >= WORTH_A_FRAME || credit >= aim / 2 ||
           (w->is_eager && w->received == w->passed);
}

uint32_t sl_window_pass(struct sl_window *w, struct sl_window_budget *b, size_t n)
{
    uint64_t aim, credit;

    sl_assert(n <= w->received - w->passed);
    w->passed += n;
    b->committed -= n;
    aim = target(w, b);
    credit = aim > outstanding(w) ? aim - outstanding(w) : 0;
    if (credit == 0 || !is_worth_it(w, credit, aim))
        return 0;
    w->granted += credit;
    b->committed += credit;
    return (uint32_t)credit;
}

void sl_window_grant(struct sl_window *w, struct sl_window_budget *b, size_t n)
{
    w->granted += n;
    b->committed += n;
}

void sl_window_pass_granted(struct sl_window *w, struct sl_window_budget *b, size_t n)
{
    uint64_t ahead = w->granted - w->received,
             missing = SL_WINDOW_FIRST - SL_MIN(ahead, (uint64_t)SL_WINDOW_FIRST);

    sl_assert(n <= w->received - w->passed);
    w->passed += n;
    b->committed -= n;
    sl_window_grant(w, b, (size_t)SL_MIN(missing, (uint64_t)n));
}

uint64_t sl_window_add(uint64_t left, uint32_t credit)
{
    return left > UINT64_MAX - credit ? UINT64_MAX : left + credit;
}
