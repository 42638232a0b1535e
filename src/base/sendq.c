#include "base/sendq.h"

#include <string.h>

struct sl_sendq_block {
    struct sl_sendq_block *next;
    uint32_t len, cap;
    uint8_t bytes[];
};

/* Of a block with its head: small for the short answers that are most, large for bulk; twice the
 * one before for what comes in pieces. */
enum { SMALL_BLOCK = 1024, LARGE_BLOCK = 16 * 1024 };

static size_t block_size(const struct sl_sendq_block *last, size_t wanted)
{
    size_t size = wanted + sizeof(*last);

    if (last != NULL)
        size = SL_MAX(size, 2 * (size_t)last->cap);
    return SL_MIN(SL_MAX(size, (size_t)SMALL_BLOCK), (size_t)LARGE_BLOCK);
}

static struct sl_sendq_block *add_block(struct sl_sendq *q, size_t wanted)
{
    size_t size = block_size(q->last, wanted);
    struct sl_sendq_block *b = sl_alloc(size);

    b->next = NULL;
    b->len = 0;
    b->cap = (uint32_t)(size - sizeof(*b));
    if (q->last != NULL)
        q->last->next = b;
    else
        q->first = b;
    q->last = b;
    return b;
}

static void append(struct sl_sendq *q, const uint8_t *bytes, size_t len)
{
    struct sl_sendq_block *b = q->last;

    while (len > 0) {
        size_t n;

        if (b == NULL || b->len == b->cap)
            b = add_block(q, len);
        if (q->cursor == NULL) {
            q->cursor = b;
            q->cursor_skip = b->len;
        }
        n = SL_MIN(len, (size_t)(b->cap - b->len));
        memcpy(b->bytes + b->len, bytes, n);
        b->len += (uint32_t)n;
        q->n_unsent += n;
        bytes += n;
        len -= n;
    }
}

void sl_sendq_append(struct sl_sendq *q, const struct iovec *iov, int n_iov)
{
    for (int i = 0; i < n_iov; i++)
        append(q, iov[i].iov_base, iov[i].iov_len);
}

int sl_sendq_peek(const struct sl_sendq *q, struct iovec *iov, int n_iov, size_t max)
{
    size_t skip = q->cursor_skip;
    int n = 0;

    for (struct sl_sendq_block *b = q->cursor; b != NULL && n < n_iov && max > 0; b = b->next) {
        size_t len = SL_MIN(b->len - skip, max);

        if (len > 0)
            iov[n++] = (struct iovec){b->bytes + skip, len};
        max -= len;
        skip = 0;
    }
    return n;
}

/* The cursor is NULL when nothing is unsent, so that it never points at a block that may go. */
void sl_sendq_sent(struct sl_sendq *q, size_t n)
{
    sl_assert(n <= q->n_unsent);
    q->n_unsent -= n;
    q->n_unacked += n;
    q->cursor_skip += n;
    while (q->cursor != NULL && q->cursor_skip >= q->cursor->len) {
        q->cursor_skip -= q->cursor->len;
        q->cursor = q->cursor->next;
    }
}

void sl_sendq_acked(struct sl_sendq *q, size_t n)
{
    sl_assert(n <= q->n_unacked);
    q->n_unacked -= n;
    q->first_skip += n;
    while (q->first != NULL && q->first_skip >= q->first->len) {
        struct sl_sendq_block *b = q->first;

        q->first_skip -= b->len;
        q->first = b->next;
        if (q->first == NULL)
            q->last = NULL;
        sl_free(b);
    }
}

void sl_sendq_rewind(struct sl_sendq *q)
{
    if (q->n_unacked == 0)
        return;
    q->cursor = q->first;
    q->cursor_skip = q->first_skip;
    q->n_unsent += q->n_unacked;
    q->n_unacked = 0;
}

void sl_sendq_clear(struct sl_sendq *q)
{
    while (q->first != NULL) {
        struct sl_sendq_block *b = q->first;

        q->first = b->next;
        sl_free(b);
    }
    *q = (struct sl_sendq){0};
}
