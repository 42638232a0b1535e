/*
 * Raw UDP in the proxy, for the files udp*.c of this folder: ports on which datagrams come in.
 */
#ifndef SL_PROXY_UDP_H
#define SL_PROXY_UDP_H

#include "net/udp.h"
#include "proxy/internal.h"

/* The socket of a port. */
struct sl_udp_port {
    struct sl_link link; /* in flows->ports */
    struct sl_flows *flows;
    struct sl_udp *udp;
    uint16_t number;
};

/* All raw UDP of a proxy. */
struct sl_flows {
    struct sl_proxy *proxy;
    struct sl_list ports; /* of sl_udp_port */
};

#endif
