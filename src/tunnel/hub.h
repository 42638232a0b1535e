/*
 * The hub: takes edges that connect over TLS and QUIC on one port, has them prove who they are,
 * tells them what to do (CONFIG), and hands out the streams and UDP sessions that they open. It
 * knows the edges that may come as a table, and no policy: what becomes of a stream is for its
 * handler.
 *
 *     hub = sl_hub_new(&opts);
 *     sl_hub_set_edges(hub, specs, n);
 *     sl_hub_listen(hub, tcp_fd, udp_fd);
 *
 * An edge answers within `greeting_ms` or is dropped. A wrong secret and an unknown id look the
 * same from outside: both are compared in constant time and refused after the same delay. Who is
 * refused again and again from one address is told in the log once in a while.
 *
 * The newest connection of an edge wins. Between two sluices it takes the tunnel over by its
 * ticket, and the streams go on; else the old tunnel ends first.
 *
 * Thousands of edges that come back at once are let in at a pace: so many handshakes are under way,
 * the other connections wait in the kernel's queue, and those that hold a place without a word for
 * longer than the others need are dropped then.
 *
 * Owner: one worker, one thread. Callbacks may free streams and sessions and ask for the status;
 * none may free the hub or change its table.
 */
#ifndef SL_TUNNEL_HUB_H
#define SL_TUNNEL_HUB_H

#include "quic/quic.h"
#include "tls/context.h"
#include "tunnel/edge.h"

struct sl_hub;
struct sl_hub_edge;

/* An edge that may connect. Copied. */
struct sl_hub_edge_spec {
    struct sl_str id, secret;
    /* A JSON object ({"listenPorts":[443],…}) that the edge is told; the hub adds the member
     * "sluice" to it in the greeting. When it changes, a connected edge gets a CONFIG. */
    struct sl_str config;
};

enum sl_hub_event { SL_HUB_EDGE_UP, SL_HUB_EDGE_DOWN, SL_HUB_STREAM_OPENED, SL_HUB_STREAM_CLOSED };

struct sl_hub_handler {
    /* An edge has proven who it is, and is not connected yet. 0: welcome; SL_E_AGAIN:
     * sl_hub_decide() follows; other: refused. NULL: all are welcome. */
    int (*on_edge)(void *user, struct sl_hub_edge *e);
    /* The edge of an on_edge() that said SL_E_AGAIN has gone before sl_hub_decide(). */
    void (*on_edge_gone)(void *user, struct sl_hub_edge *e);
    /* Takes the stream, which is paused: sets a handler, now or later, or frees it. `from`: the
     * visitor and the address he called, as the edge said; without addresses when it could not. */
    void (*on_stream)(void *user, struct sl_hub_edge *e, struct sl_stream *s,
                      const struct sl_proxy_header *from);
    void (*on_session)(void *user, struct sl_hub_edge *e, struct sl_session *s,
                       const struct sl_proxy_header *from);
    /* May be NULL. `stream`: the id, for the two events of streams. */
    void (*on_event)(void *user, enum sl_hub_event event, struct sl_hub_edge *e, uint32_t stream);
};

struct sl_hub_opts {
    struct sl_loop *loop;
    struct sl_tls_server *tls;    /* offers SL_HUB_ALPN; must outlive the hub */
    struct sl_quic_tls *quic_tls; /* NULL: no QUIC */
    struct sl_cert *cert;         /* the hub takes a reference */
    const struct sl_hub_handler *handler;
    void *user;
    unsigned worker; /* of the QUIC connection ids */
    /* 0: the default */
    uint32_t greeting_ms;   /* 10 s */
    uint32_t refusal_ms;    /* before a refusal is said: 1 s */
    uint32_t ping_ms;       /* 15 s */
    uint32_t dead_ms;       /* 45 s without a byte */
    uint32_t resume_ms;     /* streams wait so long for a new link: 60 s */
    uint32_t max_greetings; /* connections that have not greeted yet: 10000; more are closed */
    uint32_t max_streams;   /* of one edge: 65536 */
    uint32_t max_sessions;  /* of one edge: 65536 */
};

#define SL_HUB_ALPN "\x0dremoteingress"

struct sl_hub *sl_hub_new(const struct sl_hub_opts *opts);
/* Closes every connection; streams end with SL_E_CLOSED, sessions with on_closed(). */
void sl_hub_free(struct sl_hub *h);
/* Takes the sockets; -1: none. */
void sl_hub_listen(struct sl_hub *h, int tcp_fd, int udp_fd);
/* For handshakes from now on; the hub takes a reference. */
void sl_hub_set_cert(struct sl_hub *h, struct sl_cert *cert);
/* From now on. Edges that are not in the table any more, or have another secret, are dropped with
 * their streams; those with a new config get it. */
void sl_hub_set_edges(struct sl_hub *h, const struct sl_hub_edge_spec *specs, size_t n);
/* The answer to an on_edge() that said SL_E_AGAIN: 0 or negative. */
void sl_hub_decide(struct sl_hub_edge *e, int rc);

/* Valid while the edge is, in callbacks. */
struct sl_str sl_hub_edge_id(const struct sl_hub_edge *e);
const struct sl_addr *sl_hub_edge_addr(const struct sl_hub_edge *e);
enum sl_edge_transport sl_hub_edge_transport(const struct sl_hub_edge *e);

/* Every edge of the table, connected or not, in its order. `fn` must change nothing. */
void sl_hub_each(const struct sl_hub *h,
                 void (*fn)(void *arg, struct sl_str id, const struct sl_tunnel_status *status),
                 void *arg);
struct sl_hub_stats {
    uint64_t accepted, refused, dropped; /* connections: at all, wrong secrets, before a greeting */
    size_t n_edges_up;
};
void sl_hub_stats(const struct sl_hub *h, struct sl_hub_stats *out);

#endif
