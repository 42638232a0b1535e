#include "proxy/udp.h"

bool sl_header_is_due(const struct sl_proxy *p, const struct sl_addr *source)
{
    uint8_t ip[16];

    if (!p->settings->accept_proxy)
        return false;
    sl_addr_to_ip16(source, ip);
    return sl_ip_set_has(&p->settings->trusted, ip);
}

static void refuse(struct sl_proxy *p, uint16_t port, const struct sl_addr *source, const char *why)
{
    char ip[SL_ADDR_TEXT_LEN];
    unsigned n_suppressed;

    sl_stat_add(&p->stats.udp_dropped, 1);
    if (sl_log_may(&p->refusals, &n_suppressed))
        sl_log_info("PROXY header in a datagram refused", sl_f_str("why", why),
                    sl_f_str("client", sl_addr_ip(source, ip)), sl_f_int("port", port),
                    sl_f_int("suppressed", n_suppressed));
}

/* The length of a header that names a visitor of datagrams, or 0 with the reason. */
static size_t parse(const struct sl_datagrams *one, struct sl_proxy_header *header,
                    const char **why)
{
    int n = sl_proxy_header_parse(one->bytes, one->len, header, why);

    if (n == SL_E_PARTIAL)
        *why = "it is cut off";
    else if (n > 0 && header->has_addresses && !header->is_datagram)
        *why = "it is about a stream";
    else if (n > 0)
        return (size_t)n;
    return 0;
}

size_t sl_header_take(struct sl_proxy *p, uint16_t port, const struct sl_addr *source,
                      const struct sl_datagrams *one, enum sl_naming *naming)
{
    struct sl_proxy_header header;
    const char *why = "not from a proxy that is trusted";
    size_t n = sl_header_is_due(p, source) ? parse(one, &header, &why) : 0;

    if (n > 0) {
        *naming = sl_named_put(source, port, &header, sl_loop_now_ms(p->loop));
        if (*naming == SL_NAMING_SAME)
            sl_stat_add(&p->stats.proxy_repeated, 1);
        if (*naming != SL_NAMING_FULL)
            return n;
        why = "too many visitors";
    }
    refuse(p, port, source, why);
    return 0;
}
