#include "proxy/udp.h"

/* --- whose datagram it is --- */

static struct sl_str text_of(const struct sl_visitor_key *key)
{
    return sl_str((const char *)key, sizeof(*key));
}

static struct sl_flow *find(const struct sl_udp_port *port, const struct sl_udp_packet *packet,
                            struct sl_visitor_key *key)
{
    sl_addr_to_ip16(&packet->remote, key->remote);
    sl_addr_to_ip16(&packet->local, key->local);
    key->port = sl_addr_port(&packet->remote);
    return sl_map_get(&port->by_visitor, text_of(key));
}

/* What a PROXY header has said of the visitor. False: none has. */
static bool take_name(struct sl_udp_port *port, struct sl_tunnelled *from)
{
    struct sl_proxy *p = port->flows->proxy;
    struct sl_proxy_header header;

    if (!sl_named_enter(&from->remote, port->number, sl_loop_now_ms(p->loop), &header))
        return false;
    if (header.has_addresses) {
        sl_addr_from_ip16(&from->remote, header.from, header.from_port);
        sl_addr_from_ip16(&from->local, header.to, header.to_port);
    }
    return true;
}

/* NULL: refused. */
static struct sl_flow *begin(struct sl_udp_port *port, const struct sl_udp_packet *packet,
                             const struct sl_visitor_key *key)
{
    struct sl_proxy *p = port->flows->proxy;
    struct sl_tunnelled from = {packet->remote, packet->local, port->number, SL_STR_NONE};
    bool is_due = sl_header_is_due(p, &packet->remote);
    struct sl_flow *f;

    if (is_due && !take_name(port, &from)) {
        sl_stat_add(&p->stats.proxy_missing, 1);
        return NULL;
    }
    f = sl_flow_new(port->flows, &from);
    f->is_named = is_due;
    f->port = port;
    f->key = *key;
    f->visitor =
        (struct sl_flow_end){.udp = port->udp, .remote = packet->remote, .local = packet->local};
    *sl_map_at(&port->by_visitor, text_of(&f->key)) = f;
    return sl_flow_begin(f) ? f : NULL;
}

static void pass(struct sl_udp_port *port, const struct sl_udp_packet *packet,
                 const struct sl_datagrams *d)
{
    struct sl_visitor_key key;
    struct sl_flow *f = find(port, packet, &key);

    if (f == NULL)
        f = begin(port, packet, &key);
    if (f != NULL)
        sl_flow_from_visitor(f, d);
    else
        sl_flow_dropped(port->flows, 1);
}

/* The address is another visitor's now. */
static void end_former(struct sl_udp_port *port, const struct sl_udp_packet *packet)
{
    struct sl_visitor_key key;
    struct sl_flow *f = find(port, packet, &key);

    if (f != NULL)
        sl_flow_end(f, NULL);
}

/* Of a trusted proxy. A header may have a datagram of its own, or stand before the visitor's. */
static void pass_named(struct sl_udp_port *port, const struct sl_udp_packet *packet,
                       struct sl_datagrams one)
{
    enum sl_naming naming;
    size_t n;

    if (!sl_proxy_header_is_v2(one.bytes, one.len)) {
        pass(port, packet, &one);
        return;
    }
    n = sl_header_take(port->flows->proxy, port->number, &packet->remote, &one, &naming);
    if (n == 0)
        return;
    if (naming == SL_NAMING_CHANGED)
        end_former(port, packet);
    if (one.len > n)
        pass(port, packet, &(struct sl_datagrams){one.bytes + n, one.len - n, one.len - n});
}

static void on_packet(void *user, const struct sl_udp_packet *packet)
{
    struct sl_udp_port *port = user;
    struct sl_datagrams d = {packet->bytes, packet->len, packet->segment};

    if (!sl_header_is_due(port->flows->proxy, &packet->remote)) {
        pass(port, packet, &d);
        return;
    }
    do {
        pass_named(port, packet, sl_datagrams_first(&d));
    } while (d.len > 0);
}

/* Nothing has waited. */
static void on_writable(void *user SL_UNUSED)
{
}

static const struct sl_udp_handler port_handler = {.on_packet = on_packet,
                                                   .on_writable = on_writable};

/* --- ports --- */

void sl_proxy_listen_udp(struct sl_proxy *p, int fd, uint16_t port)
{
    struct sl_udp_port *l = sl_zalloc(sizeof(*l));

    l->flows = p->flows;
    l->number = port;
    sl_socket_allow_fragments(fd);
    l->udp = sl_udp_new(p->loop, fd, &port_handler, l);
    sl_list_append(&p->flows->ports, &l->link);
}

static void end_flows_of(struct sl_list *flows, const struct sl_udp_port *port)
{
    sl_list_each(flows, it)
    {
        struct sl_flow *f = sl_container_of(it, struct sl_flow, link);

        if (f->port == port)
            sl_flow_end(f, "the port was closed");
    }
}

static void close_port(struct sl_udp_port *port)
{
    struct sl_flows *flows = port->flows;

    end_flows_of(&flows->fresh, port);
    end_flows_of(&flows->proven, port);
    sl_udp_batch_flush(flows->batch); /* it may hold answers for this socket */
    sl_link_remove(&port->link);
    sl_map_clear(&port->by_visitor);
    sl_udp_free(port->udp);
    sl_loop_defer(flows->proxy->loop, port, sl_free);
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

/* --- all of them --- */

struct sl_flows *sl_flows_new(struct sl_proxy *p)
{
    struct sl_flows *flows = sl_zalloc(sizeof(*flows));

    flows->proxy = p;
    flows->batch = sl_udp_batch_new(p->loop);
    sl_list_init(&flows->ports);
    sl_list_init(&flows->fresh);
    sl_list_init(&flows->proven);
    return flows;
}

static void end_all(struct sl_list *flows)
{
    sl_list_each(flows, it)
        sl_flow_end(sl_container_of(it, struct sl_flow, link), "closed by an operator");
}

void sl_flows_free(struct sl_flows *flows)
{
    end_all(&flows->fresh);
    end_all(&flows->proven);
    sl_list_each(&flows->ports, it) close_port(sl_container_of(it, struct sl_udp_port, link));
    sl_udp_batch_free(flows->batch);
    sl_loop_defer(flows->proxy->loop, flows, sl_free);
}

static void end_blocked(struct sl_list *flows, const struct sl_policy *policy)
{
    sl_list_each(flows, it)
    {
        struct sl_flow *f = sl_container_of(it, struct sl_flow, link);

        if (!sl_access_allows(&policy->access, f->peer.ip16))
            sl_flow_end(f, "refused by the policy");
    }
}

void sl_flows_apply_policy(struct sl_flows *flows, const struct sl_policy *policy)
{
    end_blocked(&flows->fresh, policy);
    end_blocked(&flows->proven, policy);
}
