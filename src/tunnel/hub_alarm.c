#include "base/clock.h"
#include "tunnel/hub_internal.h"

/* Addresses that are remembered. One more, and all are forgotten: whoever has so many of them is
 * not stopped by counting. */
enum { ADDRS_MAX = 4096, WINDOW_MS = 60 * 1000, FIRST_LINES = 3, ALARM_AT = 10 };

struct suspect {
    uint8_t ip[16];
    uint64_t since_ms;
    unsigned n; /* refusals since */
};

static void forget(struct sl_hub_alarm *a)
{
    sl_map_each(&a->by_ip, it)
    {
        sl_free(it->value);
    }
    sl_map_clear(&a->by_ip);
}

static struct suspect *find(struct sl_hub_alarm *a, const struct sl_addr *remote, uint64_t now)
{
    uint8_t ip[16];
    struct suspect *s;

    sl_addr_to_ip16(remote, ip);
    s = sl_map_get(&a->by_ip, sl_str((const char *)ip, sizeof(ip)));
    if (s != NULL)
        return s;
    if (a->by_ip.n >= ADDRS_MAX)
        forget(a);
    s = sl_zalloc(sizeof(*s));
    memcpy(s->ip, ip, sizeof(ip));
    s->since_ms = now;
    *sl_map_at(&a->by_ip, sl_str((const char *)s->ip, sizeof(s->ip))) = s;
    return s;
}

/* The first few of an address are told one by one, then the 10th, 20th, 40th … of a minute. */
static bool is_worth_a_line(unsigned n)
{
    return n <= FIRST_LINES || (n % ALARM_AT == 0 && (n / ALARM_AT & (n / ALARM_AT - 1)) == 0);
}

void sl_hub_alarm_refused(struct sl_hub_alarm *a, const struct sl_addr *remote, struct sl_str id,
                          const char *why)
{
    uint64_t now = sl_clock_coarse_ms();
    struct suspect *s = find(a, remote, now);
    char text[SL_ADDR_TEXT_LEN];
    unsigned n_suppressed;

    if (now - s->since_ms >= WINDOW_MS) {
        s->since_ms = now;
        s->n = 0;
    }
    s->n++;
    if (!is_worth_a_line(s->n) || !sl_log_may(&a->limit, &n_suppressed))
        return;
    sl_log_warn(s->n < ALARM_AT ? "an edge was refused"
                                : "edges are refused again and again: somebody may be guessing",
                sl_f_strn("edge", id), sl_f_str("remote", sl_addr_text(remote, text)),
                sl_f_str("error", why), sl_f_int("refused", s->n),
                sl_f_int("suppressed", n_suppressed));
}

void sl_hub_alarm_clear(struct sl_hub_alarm *a)
{
    forget(a);
}
