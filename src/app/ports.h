/*
 * The sockets that the workers listen on: a SO_REUSEPORT group for each port and use (TCP, QUIC,
 * plain datagrams), one socket of it for each worker; or a single one for the first worker, where
 * what comes in goes into a tunnel. They are bound before any worker hears of the snapshot that
 * needs them, so that a port that cannot be had is known before anything has changed.
 *
 * QUIC connections need their socket until they end, and a group that loses some of its sockets
 * steers wrongly (quic/steer.h). So these sockets are kept here and workers get duplicates; a group
 * is closed when the last worker has let go of it, and taken up again when its port comes back
 * before that.
 *
 * Sockets that another sluice has handed over (takeover.h) are used in place of new ones, all that
 * there are of a port: the kernel has spread over them who comes, and who waits at one that is
 * closed is lost. So a worker may get several of them.
 *
 * Owner: the control thread, but for sl_ports_deliver(), which is for each worker once.
 *
 *     sl_ports_plan(&change, &rt->ports, snapshot, has_quic);
 *     if (change.n_failed == 0)
 *         sl_ports_commit(&rt->ports, &change);
 *     ... on each worker: sl_ports_deliver(&change, worker, proxy);
 *     sl_ports_change_clear(&change);
 */
#ifndef SL_APP_PORTS_H
#define SL_APP_PORTS_H

#include "net/addr.h"
#include "net/fds.h"
#include "proxy/proxy.h"

struct sl_port {
    uint16_t number;
    enum sl_port_use use;
    struct sl_addr at; /* bound to; AF_UNSPEC: every address */
    unsigned n_open;   /* workers that listen, from the first on; 0: a QUIC group that is closing */
    /* QUIC */
    unsigned n_held;   /* duplicates that workers have, or that are on their way to them */
    struct sl_fds fds; /* one for each worker */
};

/* Sockets of a TCP port that were handed over and are not listened on yet. */
struct sl_inherited_port {
    struct sl_addr at;
    struct sl_fds fds;
};

struct sl_ports {
    struct sl_port *at; /* sorted */
    size_t n;
    unsigned n_workers;
    size_t max_sockets;          /* of all ports together; 0: no limit */
    struct sl_addr bind_address; /* for ports that are opened from now on; AF_UNSPEC: all */
    struct sl_inherited_port *inherited;
    size_t n_inherited;
    /* Whoever had them still has the UDP ports, which are opened by a later snapshot. */
    bool has_former;
};

/* More or fewer workers for one port. */
struct sl_port_change {
    struct sl_port port; /* QUIC: the sockets of a new group, until they are the table's */
    unsigned n_before, n_after;
    /* Of place i for the worker i % n_after; -1: it has one already, or once handed over. */
    struct sl_fds fds;
};

/* A socket that could not be had, and why. */
struct sl_port_failure {
    uint16_t number;
    enum sl_port_use use;
    struct sl_err err;
};

/* What a snapshot changes. */
struct sl_ports_change {
    struct sl_port_change *at;
    struct sl_port_failure *failed;
    size_t n, cap, n_failed, cap_failed;
};

/* Binds what the snapshot needs and `ports` has not, as far as it can be had. To be cleared. */
void sl_ports_plan(struct sl_ports_change *out, const struct sl_ports *ports,
                   const struct sl_snapshot *snapshot, bool has_quic);
/* The change, in which nothing failed, is made: the workers will get it. */
void sl_ports_commit(struct sl_ports *ports, struct sl_ports_change *change);
/* `worker` from 0. */
void sl_ports_deliver(struct sl_ports_change *change, unsigned worker, struct sl_proxy *proxy);
void sl_ports_change_clear(struct sl_ports_change *change);
/* Takes a listening TCP socket that was handed over, for the snapshots from now on. 0, or
 * SL_E_PROTOCOL: it is none, and was closed. */
int sl_ports_inherit(struct sl_ports *ports, int fd);
/* Closes those that nobody has wanted. */
void sl_ports_disinherit(struct sl_ports *ports);
/* A worker has closed its duplicate. */
void sl_ports_released(struct sl_ports *ports, uint16_t number);
void sl_ports_clear(struct sl_ports *ports);

#endif
