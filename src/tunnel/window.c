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

void sl_window_open(struct sl_window *w, struct sl_window_budget *b, uint32_t first)
{
    *w = (struct sl_window){.granted = first, .size = first};
    b->committed += first;
    b->n_streams++;
}

void sl_window_close(struct sl_window *w, struct sl_window_budget *b)
{
    uint64_t waiting = w->received - w->passed;

    sl_assert(b->n_streams > 0 && b->committed >= outstanding(w) && b->held >= waiting);
    b->committed -= outstanding(w);
    b->held -= waiting;
    b->n_streams--;
}

int sl_window_receive(struct sl_window *w, struct sl_window_budget *b, size_t n)
{
    if (n > w->granted - w->received)
        return SL_E_LIMIT;
    w->received += n;
    b->held += n;
    return 0;
}

static void count_passed(struct sl_window *w, struct sl_window_budget *b, size_t n)
{
    sl_assert(n <= w->received - w->passed);
    w->passed += n;
    b->held -= n;
    b->committed -= n;
}

static bool is_worth_it(const struct sl_window *w, uint64_t credit, uint64_t aim)
{
    return credit >= WORTH_A_FRAME || credit >= aim / 2 ||
           (w->is_eager && w->received == w->passed);
}

void sl_window_grant(struct sl_window *w, struct sl_window_budget *b, size_t n)
{
    w->granted += n;
    b->committed += n;
}

uint32_t sl_window_pass(struct sl_window *w, struct sl_window_budget *b, size_t n)
{
    uint32_t aim = sl_window_share(b);
    uint64_t credit;

    count_passed(w, b, n);
    if (sl_window_is_scarce(b))
        aim = SL_MIN(aim, w->size);
    credit = aim > outstanding(w) ? aim - outstanding(w) : 0;
    if (credit == 0 || !is_worth_it(w, credit, aim))
        return 0;
    w->size = aim;
    sl_window_grant(w, b, credit);
    return (uint32_t)credit;
}

void sl_window_pass_granted(struct sl_window *w, struct sl_window_budget *b, size_t n)
{
    uint64_t ahead = w->granted - w->received,
             missing = SL_WINDOW_FIRST - SL_MIN(ahead, (uint64_t)SL_WINDOW_FIRST);

    count_passed(w, b, n);
    sl_window_grant(w, b, (size_t)SL_MIN(missing, (uint64_t)n));
}

uint64_t sl_window_add(uint64_t left, uint32_t credit)
{
    return left > UINT64_MAX - credit ? UINT64_MAX : left + credit;
}
