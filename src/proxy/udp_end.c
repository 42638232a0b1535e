#include "proxy/udp.h"

void sl_flow_dropped(struct sl_flows *flows, uint64_t n)
{
    sl_stat_add(&flows->proxy->stats.udp_dropped, n);
}

static void send_into_tunnel(struct sl_flows *flows, struct sl_session *s,
                             const struct sl_datagrams *d)
{
    struct sl_datagrams rest = *d;

    do {
        struct sl_datagrams one = sl_datagrams_first(&rest);

        if (sl_session_send(s, one.bytes, one.len) < 0)
            sl_flow_dropped(flows, 1);
    } while (rest.len > 0);
}

/* What did not fit into a socket is known later. */
static void count_lost(struct sl_flows *flows)
{
    uint64_t n = sl_udp_batch_dropped(flows->batch);

    if (n == flows->n_lost)
        return;
    sl_flow_dropped(flows, n - flows->n_lost);
    flows->n_lost = n;
}

void sl_flow_send(struct sl_flows *flows, struct sl_flow_end *to, const struct sl_datagrams *d)
{
    bool is_shared = to->remote.sa.sa_family != AF_UNSPEC;
    struct sl_udp_send msg = {.remote = is_shared ? &to->remote : NULL,
                              .local = is_shared ? &to->local : NULL,
                              .bytes = d->bytes,
                              .len = d->len,
                              .segment = d->segment};

    count_lost(flows);
    if (to->session != NULL)
        send_into_tunnel(flows, to->session, d);
    else if (to->udp != NULL)
        sl_udp_batch_add(flows->batch, to->udp, &msg);
    else
        sl_flow_dropped(flows, 1);
}

void sl_flow_close_end(struct sl_flows *flows, struct sl_flow_end *e)
{
    if (e->session != NULL)
        sl_session_free(&e->session);
    if (e->udp != NULL && e->remote.sa.sa_family == AF_UNSPEC) {
        sl_udp_batch_flush(flows->batch); /* it may hold the last datagrams for this socket */
        sl_udp_free(e->udp);
    }
    e->udp = NULL;
}
