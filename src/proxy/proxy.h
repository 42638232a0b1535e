/*
 * The proxy of one worker: joins accepted connections, hooks, routes and targets. Holds no policy
 * of its own: what it does with a request is what the snapshot, the settings and the hooks say.
 *
 * Owner: the worker; one thread. Snapshot, hooks and settings may be exchanged at any time: the
 * next connection and the next exchange see the new ones, what runs goes on with the old ones.
 *
 *     sl_proxy_new(&proxy, &opts, &err);
 *     sl_proxy_set_snapshot(proxy, snapshot);
 *     sl_proxy_listen(proxy, fd, 443);
 */
#ifndef SL_PROXY_PROXY_H
#define SL_PROXY_PROXY_H

#include "http/client.h"
#include "net/fds.h"
#include "proxy/hooks.h"
#include "quic/quic.h"
#include "route/snapshot.h"
#include "tunnel/edge.h"

struct sl_proxy;

/* What an operator may set, with defaults in sl_proxy_settings_default. Times in ms; 0 means no
 * limit where it makes sense. */
struct sl_proxy_settings {
    struct sl_http_limits http;
    uint32_t handshake_timeout; /* TLS handshake and PROXY header, from accept on */
    uint32_t hook_timeout;      /* a hook that waits */
    uint32_t connect_timeout, response_timeout, response_body_timeout;
    uint32_t pipe_timeout;        /* a raw connection on which nothing moves */
    uint32_t max_connections;     /* per worker; 0: max_connections_all */
    uint32_t max_connections_all; /* of all workers together, whoever has them: tunnels are with one
                                     alone; 0: no limit */
    uint32_t udp_idle_timeout;    /* a UDP session without a datagram */
    uint32_t max_udp_sessions;    /* per worker */
    uint32_t max_udp_sockets_all; /* of all workers together: sessions that have a socket of their
                                     own; 0: no limit */
    uint32_t max_body_hook;       /* bytes of a request body that a hook may ask for at most */
    bool no_hello_hook;           /* on_hello is asked only while a route lacks a certificate */
    bool no_quic;                 /* "all" means TCP: nothing is announced */
    struct sl_quic_settings quic; /* zero in the default here: see sl_quic_settings_default */
    bool accept_proxy;            /* peers in `trusted` must begin with a PROXY header */
    struct sl_ip_set trusted;     /* whose PROXY header and X-Forwarded-* are believed */
};

extern const struct sl_proxy_settings sl_proxy_settings_default;

/* Written by the worker alone, read by any thread. */
struct sl_proxy_stats {
    _Atomic uint64_t active_connections, total_connections, requests, errors, bytes_in, bytes_out;
    _Atomic uint64_t http2_requests, http3_requests;             /* of `requests` */
    _Atomic uint64_t quic_handshakes;                            /* that led to HTTP/3 */
    _Atomic uint64_t quic_retries, quic_dropped, quic_forwarded; /* packets; up to a second late */
    _Atomic uint64_t udp_sessions, udp_sessions_total;           /* raw ones: now, and ever */
    _Atomic uint64_t udp_evicted;                                /* of them, for want of room */
    _Atomic uint64_t udp_dropped, udp_refused; /* datagrams; refused: ICMP of targets */
    /* Datagrams of trusted peers: those that nothing named a visitor for, and headers that said
     * what was known. */
    _Atomic uint64_t proxy_missing, proxy_repeated;
};

/* QUIC, for a proxy that is one of several workers. */
struct sl_proxy_quic {
    struct sl_quic_tls *tls; /* shared by the workers; NULL: no QUIC */
    unsigned worker;         /* from 0 */
    /* A datagram on this port for a connection of another worker; valid during the call. It goes
       to sl_proxy_receive() there. NULL: dropped. */
    void (*forward)(void *user, unsigned worker, uint16_t port, const struct sl_udp_packet *packet);
    /* A socket of sl_proxy_listen_quic() was closed. May be NULL. */
    void (*on_closed)(void *user, uint16_t port);
};

struct sl_proxy_opts {
    struct sl_loop *loop;
    struct sl_dns *dns;
    struct sl_pool *pool;
    struct sl_tls_server *tls;                /* shared by the workers */
    const struct sl_proxy_settings *settings; /* must outlive the proxy, or be exchanged */
    /* Takes a snapshot that no exchange uses any more: letting go of the last reference frees every
       route of it, which is no work for a loop that serves requests. NULL: it is let go of here. */
    void (*release_snapshot)(void *user, struct sl_snapshot *snapshot);
    struct sl_proxy_quic quic;
    /* The edge with this name (a target says it), on this thread; NULL: there is none. May be NULL
     * itself. */
    struct sl_edge *(*find_edge)(void *user, struct sl_str name);
    void *user;
};

void sl_proxy_new(struct sl_proxy **out, const struct sl_proxy_opts *opts);
/* Closes every connection at once. */
void sl_proxy_free(struct sl_proxy *p);

/* Takes a reference of its own. */
void sl_proxy_set_snapshot(struct sl_proxy *p, struct sl_snapshot *snapshot);
/* NULL: no hooks. The table must live until it is exchanged and sl_proxy_hooks_idle() says so. */
void sl_proxy_set_hooks(struct sl_proxy *p, const struct sl_hooks *hooks);
/* Settings for connections that begin from now on; the old ones must live as long as the proxy. */
void sl_proxy_set_settings(struct sl_proxy *p, const struct sl_proxy_settings *settings);

/* Accepts on `fd` (taken) for this port. */
void sl_proxy_listen(struct sl_proxy *p, int fd, uint16_t port);
/* Stops listening on the port: what still waits in the kernel is reset. Connections go on. */
void sl_proxy_unlisten(struct sl_proxy *p, uint16_t port);
/* The same for QUIC on a UDP socket. A port that has not let go of its last connections keeps its
 * socket; listening on it again goes on with that, and `fd`, which must be a duplicate, is closed.
 */
void sl_proxy_listen_quic(struct sl_proxy *p, int fd, uint16_t port);
/* New connections are refused; when the last one has ended the socket is closed. */
void sl_proxy_unlisten_quic(struct sl_proxy *p, uint16_t port);
/* A datagram that another worker has forwarded. */
void sl_proxy_receive(struct sl_proxy *p, uint16_t port, const struct sl_udp_packet *packet);
/* Who comes through a tunnel. Copied. */
struct sl_tunnelled {
    struct sl_addr remote, local; /* the visitor, and what he called */
    uint16_t port;                /* of the edge: what routes match */
    struct sl_str edge;           /* its id */
};
/* A stream of a hub (tunnel/hub.h), which is taken: goes on as if it had been accepted here. Routes
 * for tunnels match it, and those for everybody. */
void sl_proxy_take_stream(struct sl_proxy *p, struct sl_stream **stream,
                          const struct sl_tunnelled *from);
/* The same for a UDP session. */
void sl_proxy_take_session(struct sl_proxy *p, struct sl_session **session,
                           const struct sl_tunnelled *from);
/* Raw UDP on a port: datagrams become sessions by visitor. Takes the socket. */
void sl_proxy_listen_udp(struct sl_proxy *p, int fd, uint16_t port);
void sl_proxy_unlisten_udp(struct sl_proxy *p, uint16_t port);

/* No new connections; idle ones close now, or, with a grace of some ms, when they have brought no
 * further request by then; the others after their exchange. `on_drained` comes once when none is
 * left. */
void sl_proxy_drain(struct sl_proxy *p, uint32_t grace, void (*on_drained)(void *user), void *user);
/* Adds duplicates of the TCP sockets that it listens on. 0, or SL_E_LIMIT: no descriptor is left.
 */
int sl_proxy_listening(const struct sl_proxy *p, struct sl_fds *out);
const struct sl_proxy_stats *sl_proxy_stats(const struct sl_proxy *p);
/* The policy has changed: closes connections of visitors that are blocked now. */
void sl_proxy_apply_policy(struct sl_proxy *p);

#endif
