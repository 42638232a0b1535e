#include "tls/ticket.h"

#include "base/check.h"

static const uint64_t hour_ms = 3600 * 1000;
static struct sl_ticket_ring ring = {.lock = PTHREAD_RWLOCK_INITIALIZER};

static struct sl_ticket_key current(uint64_t now_ms)
{
    struct sl_ticket_key key;

    sl_check(sl_ticket_ring_current(&ring, now_ms, &key) == 0);
    return key;
}

static enum sl_ticket_found find(uint64_t now_ms, const struct sl_ticket_key *key)
{
    struct sl_ticket_key out;
    enum sl_ticket_found found = sl_ticket_ring_find(&ring, now_ms, key->name, &out);

    sl_check(found == SL_TICKET_UNKNOWN || memcmp(out.aes, key->aes, sizeof(out.aes)) == 0);
    return found;
}

static bool is_same(const struct sl_ticket_key *a, const struct sl_ticket_key *b)
{
    return memcmp(a->name, b->name, sizeof(a->name)) == 0;
}

int main(void)
{
    uint64_t t0 = 1000 * hour_ms;
    struct sl_ticket_key first = current(t0), still = current(t0 + 12 * hour_ms - 1), second, third;

    sl_check(is_same(&first, &still));
    sl_check(find(t0, &first) == SL_TICKET_CURRENT);

    second = current(t0 + 12 * hour_ms);
    sl_check(!is_same(&first, &second));
    sl_check(memcmp(first.aes, second.aes, 32) != 0 && memcmp(first.hmac, second.hmac, 32) != 0);
    sl_check(find(t0 + 12 * hour_ms, &second) == SL_TICKET_CURRENT);
    sl_check(find(t0 + 12 * hour_ms, &first) == SL_TICKET_OLD);
    sl_check(find(t0 + 24 * hour_ms - 1, &first) == SL_TICKET_OLD);
    sl_check(find(t0 + 24 * hour_ms, &first) == SL_TICKET_UNKNOWN);

    third = current(t0 + 24 * hour_ms);
    sl_check(find(t0 + 24 * hour_ms, &second) == SL_TICKET_OLD);
    sl_check(find(t0 + 24 * hour_ms, &third) == SL_TICKET_CURRENT);
    sl_check(find(t0 + 100 * hour_ms, &third) == SL_TICKET_UNKNOWN); /* nobody came for long */
    third.name[0] ^= 1;
    sl_check(find(t0 + 24 * hour_ms, &third) == SL_TICKET_UNKNOWN);
    return sl_check_done();
}
