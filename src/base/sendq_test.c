#include "base/sendq.h"

#include <stdlib.h>
#include "base/check.h"

static uint8_t pattern(uint64_t at)
{
    return (uint8_t)(at * 7 ^ at >> 8 ^ at >> 17);
}

/* Appends the next `len` bytes of the pattern, as two pieces. */
static void put(struct sl_sendq *q, uint64_t *at, size_t len)
{
    uint8_t *bytes = sl_alloc(len + 1);
    struct iovec iov[] = {{bytes, len / 3}, {NULL, 0}, {bytes + len / 3, len - len / 3}};

    for (size_t i = 0; i < len; i++)
        bytes[i] = pattern(*at + i);
    sl_sendq_append(q, iov, 3);
    *at += len;
    sl_free(bytes);
}

/* Do the next unsent bytes, up to `max` in `n_iov` pieces, go on with the pattern? Their number. */
static size_t look(const struct sl_sendq *q, uint64_t at, int n_iov, size_t max)
{
    struct iovec iov[8];
    size_t len = 0, n_wrong = 0;
    int n = sl_sendq_peek(q, iov, n_iov, max);

    sl_check(n <= n_iov);
    for (int i = 0; i < n; i++) {
        sl_check(iov[i].iov_len > 0);
        for (size_t k = 0; k < iov[i].iov_len; k++)
            n_wrong += ((uint8_t *)iov[i].iov_base)[k] != pattern(at + len + k);
        len += iov[i].iov_len;
    }
    sl_check(n_wrong == 0 && len <= max);
    return len;
}

static void empty_it_holds_nothing(void)
{
    struct sl_sendq q = {0};
    struct iovec iov;

    sl_check(sl_sendq_len(&q) == 0 && sl_sendq_peek(&q, &iov, 1, 100) == 0);
    sl_sendq_append(&q, NULL, 0);
    sl_sendq_sent(&q, 0);
    sl_sendq_acked(&q, 0);
    sl_check(q.first == NULL);
    sl_sendq_clear(&q);
}

static void acknowledged_in_full_it_is_empty_again(void)
{
    struct sl_sendq q = {0};
    uint64_t at = 0;

    for (int round = 0; round < 3; round++) {
        uint64_t begun = at;

        put(&q, &at, 100000);
        sl_check(q.n_unsent == 100000 && q.n_unacked == 0);
        sl_check(look(&q, begun, 8, 70) == 70);
        sl_check(look(&q, begun, 8, 1 << 20) == 100000);
        sl_check(look(&q, begun, 1, 1 << 20) < 100000);
        sl_sendq_sent(&q, 100000);
        sl_check(look(&q, at, 8, 1 << 20) == 0);
        sl_check(q.n_unsent == 0 && q.n_unacked == 100000);
        sl_sendq_acked(&q, 100000);
        sl_check(q.first == NULL && q.last == NULL && q.cursor == NULL);
    }
}

/* Every order of appending, sending and acknowledging, against three counters. */
static void any_order_keeps_the_bytes(void)
{
    struct sl_sendq q = {0};
    uint64_t appended = 0, sent = 0, acked = 0;

    srandom(1);
    for (int i = 0; i < 20000; i++) {
        size_t n = (size_t)random() % (i % 7 == 0 ? 40000 : 300);

        switch (random() % 3) {
        case 0:
            if (sl_sendq_len(&q) < 200000)
                put(&q, &appended, n);
            break;
        case 1:
            n = SL_MIN(n, q.n_unsent);
            sl_check(look(&q, sent, 8, n) <= n);
            sl_sendq_sent(&q, n);
            sent += n;
            break;
        default:
            n = SL_MIN(n, q.n_unacked);
            sl_sendq_acked(&q, n);
            acked += n;
        }
        sl_check(q.n_unsent == appended - sent && q.n_unacked == sent - acked);
        look(&q, sent, 8, 5000);
    }
    sl_check(acked > 100000);
    sl_sendq_clear(&q);
    sl_check(sl_sendq_len(&q) == 0 && q.first == NULL);
}

static void bytes_stay_where_they_are_until_acknowledged(void)
{
    struct sl_sendq q = {0};
    struct iovec before, after;
    uint64_t at = 0;

    put(&q, &at, 500);
    sl_check(sl_sendq_peek(&q, &before, 1, 500) == 1 && before.iov_len == 500);
    sl_sendq_sent(&q, 400);
    put(&q, &at, 50000);
    sl_sendq_acked(&q, 100);
    sl_check(sl_sendq_peek(&q, &after, 1, 10) == 1);
    sl_check((uint8_t *)after.iov_base == (uint8_t *)before.iov_base + 400);
    sl_check(((uint8_t *)before.iov_base)[399] == pattern(399));
    sl_sendq_clear(&q);
}

static void what_was_not_acknowledged_can_be_sent_again(void)
{
    struct sl_sendq q = {0};
    uint64_t at = 0;

    put(&q, &at, 50000);
    sl_sendq_sent(&q, 40000);
    sl_sendq_acked(&q, 12345);
    sl_sendq_rewind(&q);
    sl_check(q.n_unsent == 50000 - 12345 && q.n_unacked == 0);
    sl_check(look(&q, 12345, 8, 60000) == 50000 - 12345);
    sl_sendq_rewind(&q); /* nothing was sent meanwhile */
    put(&q, &at, 10);
    sl_sendq_sent(&q, 50010 - 12345);
    sl_sendq_acked(&q, 50010 - 12345);
    sl_sendq_rewind(&q);
    sl_check(sl_sendq_len(&q) == 0);
    sl_sendq_clear(&q);
}

/* What is written in small pieces is sent in few: a packet has room for a handful. */
static void pieces_come_together(void)
{
    struct sl_sendq q = {0};
    struct iovec iov[64];
    uint64_t at = 0;

    for (int i = 0; i < 640; i++)
        put(&q, &at, 100);
    sl_check(q.n_unsent == 64000);
    sl_check(sl_sendq_peek(&q, iov, 64, 64000) <= 9);
    sl_sendq_clear(&q);
}

int main(void)
{
    what_was_not_acknowledged_can_be_sent_again();
    empty_it_holds_nothing();
    acknowledged_in_full_it_is_empty_again();
    any_order_keeps_the_bytes();
    bytes_stay_where_they_are_until_acknowledged();
    pieces_come_together();
    return sl_check_done();
}
