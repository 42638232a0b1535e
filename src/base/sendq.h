/*
 * A queue of bytes on their way out: appended at the end, sent from a cursor, and kept until they
 * were acknowledged, because whoever sent them may have to do so again. What peek() gave stays
 * where it is until acked() has passed it. Embedded in its owner and zero when empty; one thread.
 *
 *     acknowledged | unacked: sent, kept | unsent
 *          (freed)  first ->               cursor ->        last
 *
 * Memory is taken in blocks with the bytes and given back as they are acknowledged: an empty queue
 * holds none. The queue has no limit; its owner stops appending at n_unsent or at sl_sendq_len().
 *
 *     sl_sendq_append(&q, &iov, 1);
 *     n_iov = sl_sendq_peek(&q, out, 16, window);
 *     sl_sendq_sent(&q, n);
 *     sl_sendq_acked(&q, n);
 */
#ifndef SL_BASE_SENDQ_H
#define SL_BASE_SENDQ_H

#include <sys/uio.h>
#include "base/mem.h"

struct sl_sendq_block;

struct sl_sendq {
    struct sl_sendq_block *first, *cursor, *last;
    size_t n_unsent, n_unacked;     /* bytes */
    size_t first_skip, cursor_skip; /* bytes of these blocks that are behind us */
};

/* Bytes that are held. */
static inline size_t sl_sendq_len(const struct sl_sendq *q)
{
    return q->n_unsent + q->n_unacked;
}

/* Copies the bytes. */
void sl_sendq_append(struct sl_sendq *q, const struct iovec *iov, int n_iov);
/* The next unsent bytes, at most `max` of them in at most `n_iov` pieces; the number of pieces. */
int sl_sendq_peek(const struct sl_sendq *q, struct iovec *iov, int n_iov, size_t max);
/* The next `n` unsent bytes have been sent. */
void sl_sendq_sent(struct sl_sendq *q, size_t n);
/* The oldest `n` bytes that were sent have arrived: their memory is free. */
void sl_sendq_acked(struct sl_sendq *q, size_t n);
/* What was sent and not acknowledged has to be sent again. */
void sl_sendq_rewind(struct sl_sendq *q);
/* Gives all memory back; the queue may be used again. */
void sl_sendq_clear(struct sl_sendq *q);

#endif
