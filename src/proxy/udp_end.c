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

/* Of all workers. */
static _Atomic uint32_t n_sockets;

int sl_flow_connect(struct sl_flow *f, const struct sl_addr *to,
                    const struct sl_udp_handler *handler)
{
    struct sl_proxy *p = f->flows->proxy;
    uint32_t max = p->settings->max_udp_sockets_all;
    int fd, rc;

    while (max > 0 && n_sockets >= max) {
        if (!sl_flow_evict(f->flows, true))
            return SL_E_LIMIT;
    }
    if ((rc = sl_socket_connect_udp(&fd, to)) < 0)
        return rc;
    n_sockets++;
    f->target_end.udp = sl_udp_new(p->loop, fd, handler, f);
    return 0;
}

void sl_flow_close_end(struct sl_flows *flows, struct sl_flow_end *e)
{
    if (e->session != NULL)
        sl_session_free(&e->session);
    if (e->udp != NULL && e->remote.sa.sa_family == AF_UNSPEC) {
        sl_udp_batch_flush(flows->batch); /* it may hold the last datagrams for this socket */
        sl_udp_free(e->udp);
        n_sockets--;
    }
    e->udp = NULL;
}
