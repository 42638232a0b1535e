/*
 * The sockets that the workers listen on: a SO_REUSEPORT group for each TCP and each UDP port, one
 * socket of it for each worker. They are bound before any worker hears of the snapshot that needs
 * them: a port that cannot be had refuses the whole of it.
 *
 * QUIC connections need their socket until they end, and a group that loses some of its sockets
 * steers wrongly (quic/steer.h). So UDP sockets are kept here and workers get duplicates; a group
 * is closed when the last worker has let go of it, and taken up again when its port comes back
 * before that.
 *
 * Owner: the control thread, but for sl_ports_deliver(), which is for each worker once.
 *
 *     sl_ports_plan(&change, &rt->ports, snapshot, &opts, &err);
 *     sl_ports_commit(&rt->ports, &change);
 *     ... on each worker: sl_ports_deliver(&change, worker, proxy);
 *     sl_ports_change_clear(&change);
 */
#ifndef SL_APP_PORTS_H
#define SL_APP_PORTS_H

#include "proxy/proxy.h"

struct sl_port {
    uint16_t number;
    bool is_udp;
    /* UDP */
    bool is_closing; /* no route needs it any more */
    unsigned n_held; /* duplicates that workers have, or that are on their way to them */
    int *fds;        /* one for each worker */
};

struct sl_ports {
    struct sl_port *at; /* sorted */
    size_t n;
    unsigned n_workers;
};

struct sl_new_port {
    struct sl_port port;
    bool is_taken_up; /* a group that was closing */
    int *fds;         /* for the workers; -1 once handed over */
};

/* What a snapshot changes. */
struct sl_ports_change {
    struct sl_new_port *added;
    struct sl_port *removed;
    size_t n_added, n_removed;
    unsigned n_workers;
};

/* Binds what the snapshot needs and `ports` has not. 0, or SL_E_* with a sentence. To be cleared in
 * either case. */
int sl_ports_plan(struct sl_ports_change *out, const struct sl_ports *ports,
                  const struct sl_snapshot *snapshot, bool has_quic, struct sl_err *err);
/* The change is made: the workers will get it. */
void sl_ports_commit(struct sl_ports *ports, struct sl_ports_change *change);
/* `worker` from 0. */
void sl_ports_deliver(struct sl_ports_change *change, unsigned worker, struct sl_proxy *proxy);
void sl_ports_change_clear(struct sl_ports_change *change);
/* A worker has closed its duplicate. */
void sl_ports_released(struct sl_ports *ports, uint16_t number);
void sl_ports_clear(struct sl_ports *ports);

#endif
