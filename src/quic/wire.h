/*
 * How an endpoint reaches the network and learns the time. The real wire is a UDP socket and a
 * timer of the kernel (wire.c); tests have a network and a clock of their own (quic/test_net.h).
 *
 * The timer is a timerfd, since those of the loop are as coarse as the kernel's tick: pacing at a
 * few hundred Mbit/s sends a burst each millisecond.
 *
 * Owned by its endpoint, which it calls back: sl_quic_endpoint_receive(),
 * sl_quic_endpoint_on_time() and sl_quic_endpoint_on_writable().
 */
#ifndef SL_QUIC_WIRE_H
#define SL_QUIC_WIRE_H

#include "net/udp.h"
#include "quic/timers.h"

struct sl_quic_endpoint;
struct sl_quic_wire;

struct sl_quic_wire_ops {
    /* As sl_udp_send(): how many were sent. */
    int (*send)(struct sl_quic_wire *w, const struct sl_udp_send *msgs, int n);
    /* Nanoseconds, monotonic. */
    uint64_t (*now)(struct sl_quic_wire *w);
    /* sl_quic_endpoint_on_time() is to be called at `due_ns`, or a little later. A due time before
     * that one is kept. SL_QUIC_NEVER: nothing new. */
    void (*arm)(struct sl_quic_wire *w, uint64_t due_ns);
    /* Goes on with a new socket of the same family, whose address is put into `local`. 0 or
     * SL_E_*. */
    int (*rebind)(struct sl_quic_wire *w, struct sl_addr *local);
    void (*free)(struct sl_quic_wire *w);
};

struct sl_quic_wire {
    const struct sl_quic_wire_ops *ops;
    struct sl_quic_endpoint *endpoint;
    uint64_t patience_ns; /* what is due within that time is waited for by going round */
};

/* Takes the bound socket. */
struct sl_quic_wire *sl_quic_wire_new(struct sl_loop *loop, int fd);

#endif
