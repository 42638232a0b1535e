#include "proxy/udp.h"

static void on_packet(void *user SL_UNUSED, const struct sl_udp_packet *packet SL_UNUSED)
{
}

static void on_writable(void *user SL_UNUSED)
{
}

static const struct sl_udp_handler port_handler = {on_packet, NULL, on_writable};

void sl_proxy_listen_udp(struct sl_proxy *p, int fd, uint16_t port)
{
    struct sl_udp_port *l = sl_zalloc(sizeof(*l));

    l->flows = p->flows;
    l->number = port;
    l->udp = sl_udp_new(p->loop, fd, &port_handler, l);
    sl_list_append(&p->flows->ports, &l->link);
}

static void close_port(struct sl_udp_port *l)
{
    sl_link_remove(&l->link);
    sl_udp_free(l->udp);
    sl_loop_defer(l->flows->proxy->loop, l, sl_free);
}

void sl_proxy_unlisten_udp(struct sl_proxy *p, uint16_t port)
{
    sl_list_each(&p->flows->ports, it)
    {
        struct sl_udp_port *l = sl_container_of(it, struct sl_udp_port, link);

        if (l->number == port)
            close_port(l);
    }
}

struct sl_flows *sl_flows_new(struct sl_proxy *p)
{
    struct sl_flows *f = sl_zalloc(sizeof(*f));

    f->proxy = p;
    sl_list_init(&f->ports);
    return f;
}

void sl_flows_free(struct sl_flows *f)
{
    sl_list_each(&f->ports, it) close_port(sl_container_of(it, struct sl_udp_port, link));
    sl_loop_defer(f->proxy->loop, f, sl_free);
}
