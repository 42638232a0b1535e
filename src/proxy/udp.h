/*
 * Raw UDP in the proxy, for the files of this folder.
 *
 *     udp_port.c     ports, and whose datagram it is that comes in
 *     udp_session.c  sessions of a hub
 *     udp_flow.c     a flow from its admission to its end
 *     udp_target.c   how it comes by a target
 *     udp_end.c      what goes out
 *     udp_header.c   PROXY headers in datagrams, which QUIC has, too
 *
 * A flow is a UDP session as the proxy sees it: the datagrams of one visitor to one port, both
 * ways, until none has come for a while. Each of its two ends is one of three things: the socket of
 * a port with the visitor's address, a socket that is connected to the target, or a session of a
 * tunnel. Nothing waits: what an end cannot take is dropped and counted.
 */
#ifndef SL_PROXY_UDP_H
#define SL_PROXY_UDP_H

#include "base/map.h"
#include "net/udp_batch.h"
#include "proxy/internal.h"
#include "proxy/named.h"

/* The socket of a port. */
struct sl_udp_port {
    struct sl_link link; /* in flows->ports */
    struct sl_flows *flows;
    struct sl_udp *udp;
    struct sl_map by_visitor; /* of sl_flow */
    uint16_t number;
};

/* All raw UDP of a proxy. */
struct sl_flows {
    struct sl_proxy *proxy;
    struct sl_list ports; /* of sl_udp_port */
    /* Flows, the one that was used longest ago first. In `proven` are those whose visitor has gone
     * on after an answer: who made his address up does not get that far. */
    struct sl_list fresh, proven;
    size_t n;
    size_t n_waiting; /* bytes that wait for a target, of all flows */
    struct sl_udp_batch *batch;
    uint64_t n_lost; /* of what the batch has dropped: counted already */
    struct sl_log_limit full;
};

/* One end. Without a socket and a session there is none yet, and what is sent is dropped. */
struct sl_flow_end {
    struct sl_udp *udp;
    struct sl_addr remote, local; /* of a port's socket; else remote has no family, and the socket
                                     is the end's own */
    struct sl_session *session;
};

/* What UDP tells visitors apart by. */
struct sl_visitor_key {
    uint8_t remote[16], local[16];
    uint16_t port;
};

/* Owned by the proxy: ends with sl_flow_end(), which any callback may lead to; its memory stays
 * until the end of the turn. */
struct sl_flow {
    struct sl_link link; /* in flows->fresh or flows->proven */
    struct sl_flows *flows;
    struct sl_udp_port *port; /* NULL: of a hub */
    struct sl_visitor_key key;
    uint16_t number; /* of the port: what routes match */
    struct sl_peer peer;
    struct sl_hook_slot slot;
    struct sl_flow_end visitor, target_end;
    struct sl_deadline idle;
    uint64_t started_ns, bytes_in, bytes_out;
    const char *error;
    bool has_answered; /* the target */
    bool is_proven;
    bool is_counted; /* sl_visitor_leave() is owed */
    bool is_named;   /* sl_named_leave() */
    bool is_over;
    /* udp_target.c */
    struct sl_live *live;
    struct sl_route *route;  /* NULL: a hook has named the target */
    struct sl_target *named; /* which is this */
    const struct sl_target *picks[SL_MAX_PICKS];
    const struct sl_target *target;
    size_t n_picks, next_pick;
    struct sl_dns_query *query;
    int next_addr;             /* of the target's name */
    struct sl_task_link retry; /* with that one */
    /* For the target: each datagram behind its length in two bytes. */
    struct sl_buf waiting;
    bool is_ready;
    bool has_more; /* addresses, for when nobody listens at this one */
    bool sends_proxy;
    bool is_introduced; /* the target got the PROXY header */
};

/* Datagrams of one sender: cut as in a struct sl_udp_packet. */
struct sl_datagrams {
    const uint8_t *bytes;
    size_t len, segment;
};

/* The first `len` bytes of what is left, or less when that is the last datagram: goes on to the
 * next one. */
static inline struct sl_datagrams sl_datagrams_first(struct sl_datagrams *rest)
{
    size_t len = rest->segment > 0 ? SL_MIN(rest->segment, rest->len) : rest->len;
    struct sl_datagrams first = {rest->bytes, len, len};

    rest->bytes += len;
    rest->len -= len;
    return first;
}

/* --- udp_flow.c --- */

/* Of nobody's list yet; `from` is copied. */
struct sl_flow *sl_flow_new(struct sl_flows *flows, const struct sl_tunnelled *from);
/* Its visitor's end is there: asks policy, hooks and routes. False: it has ended. */
bool sl_flow_begin(struct sl_flow *f);
/* The one that was used longest ago makes room, `with_socket`: one that has a socket of its own.
 * False: there is none. */
bool sl_flow_evict(struct sl_flows *flows, bool with_socket);
/* Once; `error` NULL when all was well. */
void sl_flow_end(struct sl_flow *f, const char *error);
void sl_flow_from_visitor(struct sl_flow *f, const struct sl_datagrams *d);
void sl_flow_from_target(struct sl_flow *f, const struct sl_datagrams *d);

/* --- udp_target.c --- */

/* The next of the picks; `error`: why the one before was none. Ends the flow when none is left. */
void sl_flow_next_target(struct sl_flow *f, const char *error);
void sl_flow_to_target(struct sl_flow *f, const struct sl_datagrams *d);
/* The first answer has come. */
void sl_flow_target_ok(struct sl_flow *f);
/* Lets go of the target and of what waits for it. */
void sl_flow_leave_target(struct sl_flow *f);

/* --- udp_end.c --- */

void sl_flow_send(struct sl_flows *flows, struct sl_flow_end *to, const struct sl_datagrams *d);
/* A socket of its own for `to`. 0, or SL_E_*: SL_E_LIMIT when there are too many. */
int sl_flow_connect(struct sl_flow *f, const struct sl_addr *to,
                    const struct sl_udp_handler *handler);
void sl_flow_close_end(struct sl_flows *flows, struct sl_flow_end *e);
void sl_flow_dropped(struct sl_flows *flows, uint64_t n);

/* --- udp_header.c --- */

/* Is this a proxy that has to name its visitors? */
bool sl_header_is_due(const struct sl_proxy *p, const struct sl_addr *source);
/* A datagram that begins like a PROXY header: the length of the header, when it may be believed; 0:
 * the datagram is to be dropped. */
size_t sl_header_take(struct sl_proxy *p, uint16_t port, const struct sl_addr *source,
                      const struct sl_datagrams *one, enum sl_naming *naming);

#endif
